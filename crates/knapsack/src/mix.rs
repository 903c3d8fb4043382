//! Profits mixed of value and count, and the bounds that follow.
//!
//! Every solution has a value and a count. The linear relaxation bounds any mix
//! of the two, and so, where one of them is known, the other: no more items than
//! so many are worth so much, and nothing is worth more with so few. Which mix
//! bounds it best is found where a convex function is the least.

use crate::bounds::Slope;
use crate::convex::{as_float, minimise, whole};
use crate::entry::Entry;
use crate::problem::Problem;
use crate::search::{SAMPLE, Search};

/// Into how many parts, in bits, a count is divided.
const FINE_BITS: u32 = 20;

/// How values and counts are written in one profit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix<'a> {
    problem: &'a Problem<'a>,
    /// One of value is `1 << shift`.
    pub(crate) shift: u32,
    /// One of count is `1 << fine`.
    pub(crate) fine: u32,
    /// What all entries are worth.
    pub(crate) value: i64,
    /// The greatest value.
    greatest: i64,
}

/// What is bounded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bounded {
    /// The count of what is worth this value or more, by how much a value counts.
    Count { value: i64 },
    /// The value of no more than this count, by how much a count costs.
    Value { count: i64 },
}

/// A mix, and the bound that it gives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// How much a value counts, or a count costs.
    pub(crate) share: i64,
    /// Nothing is more, in parts.
    pub(crate) most: i64,
}

/// Sums of what a set keeps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) value: i64,
    pub(crate) count: i64,
    pub(crate) weight: i64,
}

impl Sums {
    /// One more, or one less.
    pub(crate) fn add(&mut self, problem: &Problem<'_>, entry: &Entry, more: bool) {
        let sign = if more { 1 } else { -1 };
        self.value += sign * problem.value_of(entry.index);
        self.count += sign;
        self.weight += sign * entry.weight;
    }
}

impl<'a> Mix<'a> {
    /// For what is entered; none where sums might overflow.
    pub(crate) fn new(problem: &'a Problem<'a>, search: &Search) -> Option<Self> {
        let entries = &search.order.entries;
        let (mut value, mut greatest) = (0, 0);
        for entry in entries {
            let one = problem.value_of(entry.index);
            value += one;
            greatest = one.max(greatest);
        }
        let greatest = i64::from(i32::try_from(greatest).ok()?);
        let count = i64::try_from(entries.len()).ok()?;
        // The difference of two counts takes one bit more than a count.
        let count_bits = usize::BITS - entries.len().leading_zeros() + 1;
        // No item costs more than the greatest value to be counted.
        let most = value.max(greatest * count) | 1;
        let room = most.leading_zeros().checked_sub(3 + count_bits)?;
        let fine = room.min(FINE_BITS);
        Some(Self {
            problem,
            shift: count_bits + fine,
            fine,
            value,
            greatest,
        })
    }

    /// Enters profits in which a value and a count are worth so much, and as
    /// sides what is given.
    fn enter(&self, search: &mut Search, value: i64, count: i64, side: impl Fn(i64) -> i64) {
        for entry in &mut search.order.entries {
            let worth = self.problem.value_of(entry.index);
            entry.profit = value * worth + count;
            entry.side = i32::try_from(side(worth)).expect("the greatest value was checked");
        }
    }

    /// Enters profits in which a value counts `share`, and values as sides.
    pub(crate) fn enter_share(&self, search: &mut Search, share: i64) {
        self.enter(search, share, 1 << self.fine, |worth| worth);
    }

    /// An item's profit per weight where a value counts all.
    pub(crate) fn slope(&self, index: u32) -> Slope {
        Slope {
            profit: (self.problem.value_of(index) << self.shift) + (1 << self.fine),
            weight: self.problem.weight_of(index),
        }
    }

    /// What the incumbent keeps of what is entered, and beside it `ahead` of what
    /// is settled.
    pub(crate) fn measure(&self, search: &Search, ahead: Sums) -> Sums {
        let mut sums = ahead;
        for entry in &search.order.entries {
            if search.incumbent.kept.has(entry.index) {
                sums.add(self.problem, entry, true);
            }
        }
        sums
    }

    /// Has the incumbent's sums be these, whose value is one of what is entered.
    pub(crate) fn adopt(&self, search: &mut Search, kept: Sums) {
        search.incumbent.profit = (kept.value << self.shift) + (kept.count << self.fine);
        search.incumbent.weight = kept.weight;
    }

    /// The least bound, or one that is less than `enough` already.
    pub(crate) fn least(
        &self,
        search: &mut Search,
        capacity: i64,
        bounded: Bounded,
        enough: i64,
    ) -> Bound {
        let many = search.order.entries.len() > 2 * SAMPLE;
        let guess = many.then(|| self.guess(search, capacity, bounded));
        let mut least = Bound {
            share: 0,
            most: i64::MAX,
        };
        minimise(self.limits(bounded), guess, |share| {
            let (most, side) = self.relaxation(search, capacity, bounded, share);
            let (most, slope) = match bounded {
                Bounded::Count { value } => (most - share * value, side - as_float(value)),
                Bounded::Value { count } => (most + share * count, as_float(count) - side),
            };
            if most < least.most {
                least = Bound { share, most };
            }
            (most >= enough).then_some((as_float(most), slope))
        });
        least
    }

    /// About which share bounds best, by a sample. What differs from the break
    /// solution is as much less in the sample as there are fewer entries.
    fn guess(&self, search: &mut Search, capacity: i64, bounded: Bounded) -> i64 {
        let break_solution = self.break_sums(search);
        let part = search.swap_in_sample();
        let sampled = self.break_sums(search);
        let scaled =
            |of: i64, all: i64, sampled: i64| as_float(sampled) + as_float(of - all) * part;
        let capacity = scaled(capacity, break_solution.weight, sampled.weight);
        let mut least = (f64::INFINITY, 0);
        let (top, tolerance) = self.limits(bounded);
        minimise((top, tolerance * part), None, |share| {
            let (most, side) = self.relaxation(search, whole(capacity), bounded, share);
            let (most, slope) = match bounded {
                Bounded::Count { value } => {
                    let value = scaled(value, break_solution.value, sampled.value);
                    (as_float(most) - as_float(share) * value, side - value)
                }
                Bounded::Value { count } => {
                    let count = scaled(count, break_solution.count, sampled.count);
                    (as_float(most) + as_float(share) * count, count - side)
                }
            };
            if most < least.0 {
                least = (most, share);
            }
            Some((most, slope))
        });
        search.swap_out_sample();
        least.1
    }

    /// What the break solution keeps of what is entered.
    fn break_sums(&self, search: &Search) -> Sums {
        let mut sums = Sums::default();
        for entry in &search.order.entries {
            if search.is_in_break(entry) {
                sums.add(self.problem, entry, true);
            }
        }
        sums
    }

    /// The relaxation's bound, in parts, and the sum of what is known.
    fn relaxation(
        &self,
        search: &mut Search,
        capacity: i64,
        bounded: Bounded,
        share: i64,
    ) -> (i64, f64) {
        match bounded {
            Bounded::Count { .. } => self.enter_share(search, share),
            Bounded::Value { .. } => self.enter(search, 1 << self.shift, -share, |_| 1),
        }
        search.order.find_break(capacity);
        search.order.relaxation()
    }

    /// The greatest share that makes a difference, and the least difference that
    /// is worth another try.
    fn limits(&self, bounded: Bounded) -> (i64, f64) {
        match bounded {
            Bounded::Count { .. } => (1 << self.shift, as_float(1 << self.fine) / 64.0),
            Bounded::Value { .. } => (
                self.greatest << self.shift,
                as_float(1 << self.shift) / 64.0,
            ),
        }
    }
}
