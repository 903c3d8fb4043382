//! From the caller's items to what the search works on.
//!
//! Common divisors are taken out of weights and values. What weighs nothing is
//! always kept and what alone is too heavy never, so neither is searched. And
//! where the plain search does not come to an end soon, a *side constraint* is
//! sought that every better solution obeys and the linear relaxation does not:
//! priced into the profits it makes the bounds of correlated items sharp
//! (Martello and Toth 1997; Martello, Pisinger and Toth 1999).

use crate::Item;
use crate::entry::Entry;
use crate::meter::Meter;
use crate::search::{Aim, Proof, Search};

/// One call's items and the room for what is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Problem<'a> {
    items: &'a [Item],
    /// In units of `weights`, as all that is searched.
    room: u64,
    /// The greatest weight that is searched.
    heaviest: u64,
    weights: Divisor,
    values: Divisor,
    /// Of the profits that count as well as value.
    counted: Divisor,
}

/// A sum over the kept items, `limit` at most or, at a negative price, at
/// least.
#[derive(Clone, Copy, Debug)]
struct SideConstraint {
    kind: Side,
    each: i64,
    limit: i64,
    /// The relaxation's bound with it.
    bound: i64,
}

/// What a side constraint sums.
#[derive(Clone, Copy, Debug)]
enum Side {
    /// Every item counts one.
    Count,
    /// What an item's profit is more than `slope × weight`, in units of
    /// `unit`.
    Excess { slope: i64, unit: i64 },
}

impl<'a> Problem<'a> {
    pub(crate) fn new(items: &'a [Item], room: u64) -> Self {
        let searched = |item: &&Item| item.weight != 0 && item.weight <= room;
        let weights = Divisor::of(items.iter().filter(searched).map(|item| item.weight));
        let values = Divisor::of(items.iter().filter(searched).map(|item| item.value));
        let counting = items.len() as u64 + 1;
        let counted = |item: &Item| values.divide(item.value) * counting + 1;
        let counted = Divisor::of(items.iter().filter(searched).map(counted));
        Self {
            items,
            heaviest: room,
            room: weights.divide(room),
            weights,
            values,
            counted,
        }
    }

    /// Improves the search's incumbent to what `aim` asks, as far as a
    /// moderate part of the budget takes it: mostly to the end.
    pub(crate) fn look_near(&self, search: &mut Search, aim: Aim, meter: &mut Meter<'_>) -> Proof {
        if let Some(profit) = self.enter_plain(search, aim) {
            return Proof {
                bound: profit,
                complete: true,
            };
        }
        meter.reserve_all_but(4 * search.most_states() + 32 * self.items.len());
        let proof = search.run(signed(self.room), aim, None, meter);
        meter.release();
        proof
    }

    /// Goes on where that was not enough, with a side constraint if one helps.
    pub(crate) fn look_far(
        &self,
        search: &mut Search,
        aim: Aim,
        near: Proof,
        meter: &mut Meter<'_>,
    ) -> Proof {
        if meter.is_spent() {
            return near;
        }
        self.enter_plain(search, aim);
        let side = self.side_constraint(search, aim, near.bound);
        let far = if let Some(side) = side {
            self.enter(search, |item| self.priced(item, aim, &side));
            search.run(signed(self.room), aim, Some((side.each, side.limit)), meter)
        } else {
            self.enter_plain(search, aim);
            search.run(signed(self.room), aim, Some((0, 0)), meter)
        };
        let bound = far.bound.min(near.bound).max(search.incumbent.profit);
        Proof {
            bound,
            complete: far.complete || (aim == Aim::Profit && bound == search.incumbent.profit),
        }
    }

    /// Enters what is searched, and says what the incumbent earns by `aim`. If
    /// everything fits, keeps it and returns what it earns.
    fn enter_plain(&self, search: &mut Search, aim: Aim) -> Option<i64> {
        self.enter(search, |item| (self.profit(item, aim), 0));
        let incumbent = &mut search.incumbent;
        (incumbent.profit, incumbent.weight) = (0, 0);
        let (mut profit, mut weight) = (0, 0);
        for entry in &search.order.entries {
            profit += entry.profit;
            weight += entry.weight;
            if incumbent.kept.has(entry.index) {
                incumbent.profit += entry.profit;
                incumbent.weight += entry.weight;
            }
        }
        if weight > signed(self.room) {
            return None;
        }
        // What alone was too heavy had to go, and that is enough.
        for entry in &search.order.entries {
            incumbent.kept.set(entry.index);
        }
        Some(profit)
    }

    /// The value that a bound of the profit allows.
    pub(crate) fn value(&self, profit: i64, aim: Aim) -> u64 {
        let value = match aim {
            Aim::Profit => profit.unsigned_abs(),
            Aim::ProfitThenWeight => self.counted.multiply(profit.unsigned_abs()) / self.counting(),
        };
        self.values.multiply(value)
    }

    /// What keeping an item earns: its value, and then as many count as are
    /// kept.
    fn profit(&self, item: &Item, aim: Aim) -> i64 {
        let value = self.values.divide(item.value);
        signed(match aim {
            Aim::Profit => value,
            Aim::ProfitThenWeight => self.counted.divide(value * self.counting() + 1),
        })
    }

    /// More than all items together count.
    fn counting(&self) -> u64 {
        self.items.len() as u64 + 1
    }

    /// Enters what is searched, with its profit and side.
    fn enter(&self, search: &mut Search, enter: impl Fn(&Item) -> (i64, i32)) {
        let entries = &mut search.order.entries;
        entries.clear();
        for (index, item) in (0..).zip(self.items) {
            if item.weight != 0 && item.weight <= self.heaviest {
                let (profit, side) = enter(item);
                entries.push(Entry {
                    profit,
                    weight: signed(self.weights.divide(item.weight)),
                    index,
                    side,
                });
            }
        }
    }

    /// What an item's side is.
    fn side(&self, item: &Item, aim: Aim, kind: Side) -> i64 {
        match kind {
            Side::Count => 1,
            Side::Excess { slope, unit } => {
                (self.profit(item, aim) - slope * signed(self.weights.divide(item.weight))) / unit
            }
        }
    }

    fn priced(&self, item: &Item, aim: Aim, constraint: &SideConstraint) -> (i64, i32) {
        let side = self.side(item, aim, constraint.kind);
        (
            self.profit(item, aim) - constraint.each * side,
            i32::try_from(side).expect("checked when the constraint was chosen"),
        )
    }

    /// The side constraint that brings the bound down most, if any does.
    fn side_constraint(&self, search: &mut Search, aim: Aim, bound: i64) -> Option<SideConstraint> {
        let count = search.order.entries.len();
        // Prices are at most the greatest profit; no sum of theirs may
        // overflow, nor any count of items leave 16 bits.
        let greatest = search
            .order
            .entries
            .iter()
            .map(|entry| entry.profit)
            .max()?;
        let sums = i128::from(greatest) * (count as i128 + 1);
        if sums >= 1 << 60 || count >= 1 << 14 {
            return None;
        }
        // Looking for the best price of counting is dear, and sharp bounds
        // from the excess leave nothing for it to do.
        self.excess_at_most(search, aim)
            .filter(|side| side.bound < bound)
            .or_else(|| self.count_at_most(search, aim))
            .or_else(|| self.count_at_least(search, aim))
            .filter(|side| side.bound < bound)
    }

    /// Profits that are `slope × weight` and a multiple of some unit: all that
    /// is kept earns `slope × room` at most, and the most of such units that
    /// fit.
    fn excess_at_most(&self, search: &mut Search, aim: Aim) -> Option<SideConstraint> {
        self.enter(search, |item| (self.profit(item, aim), 0));
        let entries = &search.order.entries;
        let slope = common_slope(entries)?;
        let excess = |entry: &Entry| entry.profit - slope * entry.weight;
        let unit = entries
            .iter()
            .map(|entry| excess(entry).unsigned_abs())
            .fold(0, greatest_common_divisor);
        let unit = signed(unit);
        if unit == 0 || entries.iter().any(|entry| excess(entry) < 0) {
            return None;
        }
        // States count their side in 16 bits.
        let sum: i64 = entries.iter().map(|entry| excess(entry) / unit).sum();
        if sum > i64::from(i16::MAX) {
            return None;
        }
        let kind = Side::Excess { slope, unit };
        self.enter(search, |item| (self.side(item, aim, kind), 0));
        let (limit, _) = self.relaxation(search);
        Some(SideConstraint {
            kind,
            each: unit,
            limit,
            bound: slope * signed(self.room) + unit * limit,
        })
    }

    /// No more items fit than of the lightest.
    fn count_at_most(&self, search: &mut Search, aim: Aim) -> Option<SideConstraint> {
        self.enter(search, |item| (self.profit(item, aim), 0));
        let (_, kept) = self.relaxation(search);
        self.enter(search, |_| (1, 0));
        let (limit, _) = self.relaxation(search);
        (number(limit) < kept).then(|| self.best_price(search, aim, limit, 1))
    }

    /// As few items as of the most profitable are not enough to be better.
    fn count_at_least(&self, search: &mut Search, aim: Aim) -> Option<SideConstraint> {
        self.enter(search, |item| (self.profit(item, aim), 0));
        let (_, kept) = self.relaxation(search);
        let entries = &mut search.order.entries;
        entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.profit));
        // What is as good and lighter is preferred too.
        let enough = i64::from(aim == Aim::Profit);
        let mut missing = search.incumbent.profit + enough;
        let mut limit = 0;
        for entry in entries {
            if missing <= 0 {
                break;
            }
            missing -= entry.profit;
            limit += 1;
        }
        (number(limit) > kept).then(|| self.best_price(search, aim, limit, -1))
    }

    /// The price of counting at which the relaxation's bound is the least: a
    /// convex function, and how many items the relaxation keeps is its slope.
    fn best_price(&self, search: &mut Search, aim: Aim, limit: i64, sign: i64) -> SideConstraint {
        let mut bound_at = |each: i64| {
            self.enter(search, |item| (self.profit(item, aim) - each, 0));
            let (bound, kept) = self.relaxation(search);
            (bound + each * limit, number(limit) - kept)
        };
        let greatest = self
            .items
            .iter()
            .map(|item| self.profit(item, aim))
            .max()
            .unwrap_or(0);
        // The slope is negative at `low` and positive at `high`.
        let (mut low, mut high) = if sign > 0 {
            (0, greatest)
        } else {
            (-greatest, 0)
        };
        let mut at_low = bound_at(low);
        let mut at_high = bound_at(high);
        let (mut each, mut bound) = if at_low.0 < at_high.0 {
            (low, at_low.0)
        } else {
            (high, at_high.0)
        };
        for round in 0..PRICE_ROUNDS {
            if high - low < 2 {
                break;
            }
            let middle = low + (high - low) / 2;
            // Where the two lines meet, or, should that creep, the middle.
            let meeting = meet((low, at_low), (high, at_high));
            let next = match meeting {
                Some(meeting) if round % 3 != 2 => meeting.clamp(low + 1, high - 1),
                _ => middle,
            };
            let at_next = bound_at(next);
            // The lines meet where no bound is below.
            let lowest = number(at_low.0) + at_low.1 * number(next - low);
            let meets = meeting == Some(next) && number(at_next.0) <= lowest;
            if at_next.0 < bound {
                (each, bound) = (next, at_next.0);
            }
            if at_next.1 < 0.0 {
                (low, at_low) = (next, at_next);
            } else {
                (high, at_high) = (next, at_next);
            }
            if meets {
                break;
            }
        }
        SideConstraint {
            kind: Side::Count,
            each,
            limit,
            bound,
        }
    }

    /// The relaxation's bound of what is entered, and how many it keeps.
    fn relaxation(&self, search: &mut Search) -> (i64, f64) {
        search.order.find_break(signed(self.room));
        search.order.relaxation()
    }
}

/// How many prices are tried.
const PRICE_ROUNDS: u32 = 12;

/// Where two lines, each a price with the bound and slope there, meet.
#[expect(
    clippy::cast_possible_truncation,
    reason = "where a price is tried is a guess; its bound is exact"
)]
fn meet(low: (i64, (i64, f64)), high: (i64, (i64, f64))) -> Option<i64> {
    let (low, (low_bound, low_slope)) = low;
    let (high, (high_bound, high_slope)) = high;
    let slopes = high_slope - low_slope;
    let along = (number(low_bound - high_bound) + high_slope * number(high - low)) / slopes;
    along.is_finite().then(|| low.saturating_add(along as i64))
}

/// The whole profit per weight by which most neighbours differ, if it is the
/// same for most of a few.
fn common_slope(entries: &[Entry]) -> Option<i64> {
    let slope = |pair: &[Entry]| {
        let profit = pair[0].profit - pair[1].profit;
        let weight = pair[0].weight - pair[1].weight;
        (weight != 0 && profit % weight == 0 && profit / weight > 0).then(|| profit / weight)
    };
    let mut slopes = entries.windows(2).take(64).filter_map(slope);
    let first = slopes.next()?;
    let alike = slopes.filter(|&slope| slope == first).count();
    (alike >= 8).then_some(first)
}

/// What a set of numbers can all be divided by: an odd number and a power of
/// two, because shifting is fast.
#[derive(Clone, Copy, Debug)]
struct Divisor {
    shift: u32,
    odd: u64,
}

impl Divisor {
    fn of(numbers: impl Iterator<Item = u64> + Clone) -> Self {
        let ones = numbers.clone().fold(0, |ones, number| ones | number);
        if ones == 0 {
            return Self { shift: 0, odd: 1 };
        }
        let shift = ones.trailing_zeros();
        let mut odd = 0;
        for number in numbers {
            odd = greatest_common_divisor(odd, number >> shift);
            if odd == 1 {
                break;
            }
        }
        Self { shift, odd }
    }

    fn divide(self, number: u64) -> u64 {
        if self.odd == 1 {
            number >> self.shift
        } else {
            (number >> self.shift) / self.odd
        }
    }

    fn multiply(self, number: u64) -> u64 {
        (number * self.odd) << self.shift
    }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[expect(
    clippy::cast_precision_loss,
    reason = "only chooses which price to try, never a bound"
)]
fn number(integer: i64) -> f64 {
    integer as f64
}

/// Profits stay under 2^47 and weights under 2^41 each, their sums under 2^63.
fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("checked before it is searched")
}
