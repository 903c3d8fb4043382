//! Ties: of the sets that are worth most, the one of the fewest items given up,
//! and of those the one that gives back most.
//!
//! Where many sets are worth as much, the plain bounds tell them badly apart. A
//! set with a *part* of an item is worth a little more than the best whole one,
//! and as long as it is, its count is whatever it likes. But the best value is
//! proved by now, and that no set is worth more is a side constraint like any
//! other. Priced into the profits it makes the bounds sharp: mostly a handful of
//! states is left.

use crate::bounds::{Price, Slope};
use crate::entry::Entry;
use crate::meter::Meter;
use crate::problem::{Problem, meet, number};
use crate::search::{Aim, Search, Task};

/// How many prices are tried.
const PRICE_ROUNDS: u32 = 12;

/// Into how many parts a count is divided, in bits, so that prices are exact
/// enough.
const FINE_BITS: u32 = 20;

/// Settles the ties among the sets of the incumbent's value, which is proved to
/// be the best; says whether all are. The last run was for values and counts,
/// with no side constraint.
pub(crate) fn settle(problem: &Problem<'_>, search: &mut Search, meter: &mut Meter<'_>) -> bool {
    let Some(break_entry) = search.order.break_entry else {
        return false;
    };
    let mut ahead = Sums::default();
    let slope = Slope::from(break_entry);
    search.settle(
        problem.room(),
        Aim::ProfitThenWeight,
        1,
        slope,
        |entry, more| {
            ahead.add(problem, entry, more);
        },
    );
    let Some(ties) = Ties::new(problem, search) else {
        return false;
    };
    let mut capacity = problem.room() - search.settled_weight;
    let mut kept = ties.measure(search, ahead);
    if kept.value > ties.value {
        return true;
    }

    // Is there a set of more items, if value were no matter?
    let mut at_none = ties.bound(search, capacity, 0, kept.value);
    let mut aim = Aim::ProfitThenWeight;
    if at_none.0 < (kept.count + 1) << ties.fine {
        // No: then it takes a lighter one of as many.
        aim = Aim::Weight;
        ties.reprice(search, 1 << ties.shift);
        let slope = ties.slope(break_entry.index);
        search.settle(capacity, aim, 1 << ties.fine, slope, |entry, more| {
            ahead.add(problem, entry, more);
        });
        kept = ties.measure(search, ahead);
        capacity = kept.weight - 1;
        if capacity < 0 {
            return true;
        }
        at_none = ties.bound(search, capacity, 0, kept.value);
    }
    let share = ties.best_share(search, capacity, kept.value, at_none);
    ties.reprice(search, share);
    let task = Task {
        capacity,
        aim,
        unit: 1 << ties.fine,
        far: false,
        price: Price {
            each: (1 << ties.shift) - share,
            limit: kept.value,
            shift: ties.shift,
        },
        patience: None,
    };
    problem
        .run_at_most(problem.moderate(search), search, &task, meter)
        .complete
}

/// What is left to be told apart, and its profits: the value, shifted, and one
/// for the count, shifted less.
#[derive(Clone, Copy, Debug)]
struct Ties<'a> {
    problem: &'a Problem<'a>,
    shift: u32,
    fine: u32,
    /// What all of it is worth.
    value: i64,
}

/// Sums of what a set keeps.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    value: i64,
    count: i64,
    weight: i64,
}

impl Sums {
    /// One more, or one less.
    fn add(&mut self, problem: &Problem<'_>, entry: &Entry, more: bool) {
        let sign = if more { 1 } else { -1 };
        self.value += sign * problem.value_of(entry.index);
        self.count += sign;
        self.weight += sign * entry.weight;
    }
}

/// A bound of the count, and by how much the relaxation's value is off.
type Bound = (i64, f64);

impl<'a> Ties<'a> {
    /// None where sums might overflow.
    fn new(problem: &'a Problem<'a>, search: &Search) -> Option<Self> {
        let entries = &search.order.entries;
        let values = entries.iter().map(|entry| problem.value_of(entry.index));
        let (mut sum, mut greatest) = (0, 0);
        for value in values {
            sum += value;
            greatest = value.max(greatest);
        }
        // The difference of two counts takes one bit more than a count.
        let count_bits = usize::BITS - entries.len().leading_zeros() + 1;
        let room = (sum | 1).leading_zeros().checked_sub(3 + count_bits)?;
        let fine = room.min(FINE_BITS);
        i32::try_from(greatest).is_ok().then_some(Self {
            problem,
            shift: count_bits + fine,
            fine,
            value: sum,
        })
    }

    /// Enters profits in which a value counts `share`: all of it is
    /// `1 << shift`.
    fn reprice(&self, search: &mut Search, share: i64) {
        for entry in &mut search.order.entries {
            let value = self.problem.value_of(entry.index);
            entry.profit = share * value + (1 << self.fine);
            entry.side = i32::try_from(value).expect("checked before");
        }
    }

    /// An item's profit per weight where a value counts all.
    fn slope(&self, index: u32) -> Slope {
        Slope {
            profit: (self.problem.value_of(index) << self.shift) + (1 << self.fine),
            weight: self.problem.weight_of(index),
        }
    }

    /// What the incumbent keeps of what is left, and beside it `ahead` of what
    /// is settled.
    fn measure(&self, search: &mut Search, ahead: Sums) -> Sums {
        let mut sums = ahead;
        for entry in &search.order.entries {
            if search.incumbent.kept.has(entry.index) {
                sums.add(self.problem, entry, true);
            }
        }
        search.incumbent.profit = (sums.value << self.shift) + (sums.count << self.fine);
        search.incumbent.weight = sums.weight;
        sums
    }

    /// The relaxation's bound of the count, where a value counts `share`.
    fn bound(&self, search: &mut Search, capacity: i64, share: i64, value: i64) -> Bound {
        self.reprice(search, share);
        search.order.find_break(capacity);
        let (bound, kept) = search.order.relaxation();
        (bound - share * value, kept - number(value))
    }

    /// The share of a value at which the bound is the least: a convex function,
    /// and by how much the relaxation's value is off is its slope.
    fn best_share(&self, search: &mut Search, capacity: i64, value: i64, at_none: Bound) -> i64 {
        let (mut low, mut at_low) = (0, at_none);
        let mut high = 1 << self.shift;
        let mut at_high = self.bound(search, capacity, high, value);
        let (mut share, mut least) = if at_low.0 < at_high.0 {
            (low, at_low.0)
        } else {
            (high, at_high.0)
        };
        let mut same_side = 0;
        for _ in 0..PRICE_ROUNDS {
            let Some(meeting) = meet((low, at_low), (high, at_high)) else {
                break;
            };
            if meeting <= low || high <= meeting {
                break;
            }
            // No bound is below where the lines meet.
            let lowest = number(at_low.0) + at_low.1 * number(meeting - low);
            // Should that creep, shares of like magnitude are tried.
            let next = if i32::abs(same_side) < 2 {
                meeting
            } else {
                geometric_mean(low.max(1), high).clamp(low + 1, high - 1)
            };
            let at_next = self.bound(search, capacity, next, value);
            if at_next.0 < least {
                (share, least) = (next, at_next.0);
            }
            if number(at_next.0) <= lowest {
                break;
            }
            if at_next.1 < 0.0 {
                (low, at_low) = (next, at_next);
                same_side = same_side.min(0) - 1;
            } else {
                (high, at_high) = (next, at_next);
                same_side = same_side.max(0) + 1;
            }
        }
        share
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "where a share is tried is a guess; its bound is exact"
)]
fn geometric_mean(low: i64, high: i64) -> i64 {
    (number(low) * number(high)).sqrt() as i64
}
