//! From the caller's items to what the search works on.
//!
//! Common divisors are taken out of weights and values. What weighs nothing is
//! always kept and what alone is too heavy never, so neither is searched. And
//! where the plain search does not come to an end soon, a *side constraint* is
//! sought that every better solution obeys and the linear relaxation does not:
//! priced into the profits it makes the bounds of correlated items sharp
//! (Martello and Toth 1997; Martello, Pisinger and Toth 1999).

use crate::Item;
use crate::bounds::Price;
use crate::convex::{as_float, minimise};
use crate::entry::Entry;
use crate::meter::Meter;
use crate::search::{Aim, Patience, Proof, Search, Task, ValuePart};

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
    /// By how many bits a value is shifted to count below it.
    count_bits: u32,
}

/// What profits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profits {
    /// The value.
    Value,
    /// The value and then, for what is worth as much, one for each item.
    ValueThenCount,
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
        let (mut weight_bits, mut value_bits, mut value) = (0, 0, 0);
        for item in items.iter().filter(searched) {
            weight_bits |= item.weight;
            value_bits |= item.value;
            value += item.value;
        }
        let searched = items.iter().filter(searched);
        let weights = searched.clone().map(|item| item.weight);
        let weights = Divisor::of(weights, weight_bits);
        let values = searched.clone().map(|item| item.value);
        let values = Divisor::of(values, value_bits);
        let count_bits = count_bits(items.len(), values.divide(value));
        let counted = searched.map(|item| (values.divide(item.value) << count_bits) + 1);
        let counted = Divisor::of(counted, 1);
        Self {
            items,
            heaviest: room,
            room: weights.divide(room),
            weights,
            values,
            counted,
            count_bits,
        }
    }

    /// Improves the search's incumbent with a moderate part of the budget, mostly
    /// to the end. Where counts are not soon settled, and next to them values
    /// are few, it turns to the value alone and gives up soon.
    pub(crate) fn look_near(
        &self,
        search: &mut Search,
        profits: Profits,
        meter: &mut Meter<'_>,
    ) -> Proof {
        if let Some(profit) = self.enter_plain(search, profits) {
            return Proof {
                bound: profit,
                complete: true,
                turned: false,
            };
        }
        // What most tables take to end.
        let states = 100 + (self.items.len() / 4).min(2000);
        let part = self.value_part();
        let patience = Patience {
            states,
            gap: part.profit(1),
            most_gap: part.profit(FEW_VALUES),
            easier: self.better_value(),
            more_states: 4 * states,
        };
        let task = Task {
            patience: (profits == Profits::ValueThenCount).then_some(patience),
            ..self.task(profits)
        };
        self.run_at_most(self.moderate(search), search, &task, meter)
    }

    /// A moderate part of the budget: about what the largest tables take.
    pub(crate) fn moderate(&self, search: &Search) -> usize {
        4 * search.most_states() + 32 * self.items.len()
    }

    pub(crate) fn run_at_most(
        &self,
        states: usize,
        search: &mut Search,
        task: &Task,
        meter: &mut Meter<'_>,
    ) -> Proof {
        meter.reserve_all_but(states);
        let proof = search.run(task, meter);
        meter.release();
        proof
    }

    /// Goes on where that was not enough, with a side constraint if one helps
    /// to get below `bound`.
    pub(crate) fn look_far(
        &self,
        search: &mut Search,
        profits: Profits,
        bound: i64,
        meter: &mut Meter<'_>,
    ) -> Proof {
        self.enter_plain(search, profits);
        let bound = bound.min(self.relaxation(search).0);
        if meter.is_spent() {
            return Proof {
                bound,
                complete: false,
                turned: false,
            };
        }
        let mut task = Task {
            far: true,
            ..self.task(profits)
        };
        if let Some(side) = self.side_constraint(search, profits, bound) {
            self.enter(search, |item| self.priced(item, profits, &side));
            task.price.each = side.each;
            task.price.limit = side.limit;
        } else {
            self.enter_plain(search, profits);
        }
        search.run(&task, meter)
    }

    /// Has `search` hold the break solution for values and counts.
    pub(crate) fn relax(&self, search: &mut Search) {
        self.enter_plain(search, Profits::ValueThenCount);
        search.find_break(self.room());
    }

    /// What all that is kept may weigh.
    pub(crate) fn room(&self) -> i64 {
        signed(self.room)
    }

    /// What an item is worth, in units of what all values are multiples of.
    pub(crate) fn value_of(&self, index: u32) -> i64 {
        signed(self.values.divide(self.items[index as usize].value))
    }

    /// What an item weighs, in units of what all weights are multiples of.
    pub(crate) fn weight_of(&self, index: u32) -> i64 {
        signed(self.weights.divide(self.items[index as usize].weight))
    }

    /// What is asked of all items.
    fn task(&self, profits: Profits) -> Task {
        Task {
            capacity: self.room(),
            aim: match profits {
                Profits::Value => Aim::Profit,
                Profits::ValueThenCount => Aim::ProfitThenWeight,
            },
            unit: 1,
            far: false,
            price: Price::default(),
            patience: None,
        }
    }

    /// Enters what is searched, and says what the incumbent earns. If everything
    /// fits, keeps it and returns what it earns.
    fn enter_plain(&self, search: &mut Search, profits: Profits) -> Option<i64> {
        self.enter(search, |item| (self.profit(item, profits), 0));
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
        if weight > self.room() {
            return None;
        }
        // What alone was too heavy had to go, and that is enough.
        for entry in &search.order.entries {
            incumbent.kept.set(entry.index);
        }
        (incumbent.profit, incumbent.weight) = (profit, weight);
        Some(profit)
    }

    /// The value that a bound of the profit allows.
    pub(crate) fn value(&self, profit: i64, profits: Profits) -> u64 {
        let value = match profits {
            Profits::Value => profit,
            Profits::ValueThenCount => self.value_part().of(profit),
        };
        self.values.multiply(value.unsigned_abs())
    }

    /// Where the value is in profits that count.
    fn value_part(&self) -> ValuePart {
        ValuePart {
            factor: signed(self.counted.multiply(1)),
            shift: self.count_bits,
        }
    }

    /// A better value, where profits count.
    pub(crate) fn better_value(&self) -> Aim {
        Aim::Value(self.value_part())
    }

    /// What keeping an item earns.
    fn profit(&self, item: &Item, profits: Profits) -> i64 {
        let value = self.values.divide(item.value);
        signed(match profits {
            Profits::Value => value,
            Profits::ValueThenCount => self.counted.divide((value << self.count_bits) + 1),
        })
    }

    /// Enters what is searched, with its profit and side.
    fn enter(&self, search: &mut Search, enter: impl Fn(&Item) -> (i64, i32)) {
        search.restart();
        let entries = &mut search.order.entries;
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
    fn side(&self, item: &Item, profits: Profits, kind: Side) -> i64 {
        match kind {
            Side::Count => 1,
            Side::Excess { slope, unit } => {
                (self.profit(item, profits) - slope * signed(self.weights.divide(item.weight)))
                    / unit
            }
        }
    }

    fn priced(&self, item: &Item, profits: Profits, constraint: &SideConstraint) -> (i64, i32) {
        let side = self.side(item, profits, constraint.kind);
        (
            self.profit(item, profits) - constraint.each * side,
            i32::try_from(side).expect("checked when the constraint was chosen"),
        )
    }

    /// The side constraint that brings the bound down most, if any does.
    fn side_constraint(
        &self,
        search: &mut Search,
        profits: Profits,
        bound: i64,
    ) -> Option<SideConstraint> {
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
        self.excess_at_most(search, profits)
            .filter(|side| side.bound < bound)
            .or_else(|| self.count_at_most(search, profits))
            .or_else(|| self.count_at_least(search, profits))
            .filter(|side| side.bound < bound)
    }

    /// Profits that are `slope × weight` and a multiple of some unit: all that
    /// is kept earns `slope × room` at most, and the most of such units that
    /// fit.
    fn excess_at_most(&self, search: &mut Search, profits: Profits) -> Option<SideConstraint> {
        self.enter(search, |item| (self.profit(item, profits), 0));
        let entries = &search.order.entries;
        let slope = common_slope(entries)?;
        // None is below zero; and from here on no product is more than a profit.
        if entries
            .iter()
            .any(|entry| entry.profit / entry.weight < slope)
        {
            return None;
        }
        let excess = |entry: &Entry| entry.profit - slope * entry.weight;
        let unit = entries
            .iter()
            .map(|entry| excess(entry).unsigned_abs())
            .fold(0, greatest_common_divisor);
        let unit = signed(unit);
        if unit == 0 {
            return None;
        }
        // States count their side in 16 bits.
        let sum: i64 = entries.iter().map(|entry| excess(entry) / unit).sum();
        if sum > i64::from(i16::MAX) {
            return None;
        }
        let kind = Side::Excess { slope, unit };
        self.enter(search, |item| (self.side(item, profits, kind), 0));
        let (limit, _) = self.relaxation(search);
        Some(SideConstraint {
            kind,
            each: unit,
            limit,
            bound: slope * self.room() + unit * limit,
        })
    }

    /// No more items fit than of the lightest.
    fn count_at_most(&self, search: &mut Search, profits: Profits) -> Option<SideConstraint> {
        self.enter(search, |item| (self.profit(item, profits), 1));
        let (_, kept) = self.relaxation(search);
        self.enter(search, |_| (1, 1));
        let (limit, _) = self.relaxation(search);
        (as_float(limit) < kept).then(|| self.best_price(search, profits, limit, 1))
    }

    /// As few items as of the most profitable are not enough to be better.
    fn count_at_least(&self, search: &mut Search, profits: Profits) -> Option<SideConstraint> {
        self.enter(search, |item| (self.profit(item, profits), 1));
        let (_, kept) = self.relaxation(search);
        let entries = &mut search.order.entries;
        entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.profit));
        // What is as good and lighter is preferred too.
        let enough = i64::from(profits == Profits::Value);
        let mut missing = search.incumbent.profit + enough;
        let mut limit = 0;
        for entry in entries {
            if missing <= 0 {
                break;
            }
            missing -= entry.profit;
            limit += 1;
        }
        (as_float(limit) > kept).then(|| self.best_price(search, profits, limit, -1))
    }

    /// The price of counting at which the relaxation's bound is the least: a
    /// convex function, and how many items the relaxation keeps is its slope.
    fn best_price(
        &self,
        search: &mut Search,
        profits: Profits,
        limit: i64,
        sign: i64,
    ) -> SideConstraint {
        let greatest = self
            .items
            .iter()
            .map(|item| self.profit(item, profits))
            .max()
            .unwrap_or(0);
        let mut best = SideConstraint {
            kind: Side::Count,
            each: 0,
            limit,
            bound: i64::MAX,
        };
        minimise((greatest, 0.0), None, |share| {
            let each = sign * share;
            self.enter(search, |item| (self.profit(item, profits) - each, 1));
            let (bound, kept) = self.relaxation(search);
            let bound = bound + each * limit;
            if bound < best.bound {
                (best.each, best.bound) = (each, bound);
            }
            Some((as_float(bound), as_float(sign) * (as_float(limit) - kept)))
        });
        best
    }

    /// The relaxation's bound of what is entered, and how many it keeps.
    fn relaxation(&self, search: &mut Search) -> (i64, f64) {
        search.order.find_break(self.room());
        search.order.relaxation()
    }
}

/// Between so few values it matters that they are whole numbers.
const FEW_VALUES: i64 = 5;

/// By how many bits a value is shifted to count so many items below it: the more
/// the better, since a count that is next to nothing blurs no bound, as far as
/// all that is worth so much allows.
fn count_bits(items: usize, value: u64) -> u32 {
    let most = items.saturating_sub(1);
    let least = usize::BITS - most.leading_zeros();
    (least + 10)
        .min(value.leading_zeros().saturating_sub(5))
        .max(least)
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
    /// `bits` are those that are set in any of the numbers.
    fn of(numbers: impl Iterator<Item = u64>, bits: u64) -> Self {
        if bits == 0 {
            return Self { shift: 0, odd: 1 };
        }
        let shift = bits.trailing_zeros();
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

/// Sums of profits and of weights stay under 2^63.
fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("checked before it is searched")
}
