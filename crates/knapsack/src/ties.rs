//! Ties: of the kept sets that are worth most, the one with the fewest items
//! chosen, and of those the one whose chosen items weigh most.
//!
//! Where many sets are worth as much, the plain bounds tell them badly apart. A
//! set with a *part* of an item is worth a little more than the best whole one,
//! and as long as it is, its count is whatever it likes. But the best value is
//! proved by now, and that no set is worth more is a side constraint like any
//! other. Priced into the profits it makes the bounds sharp: mostly a handful
//! of states is left.

use crate::bounds::{Price, Slope};
use crate::meter::Meter;
use crate::mix::{Bounded, Mix, Sums};
use crate::problem::Problem;
use crate::search::{Aim, SAMPLE, Search, Task};

/// Whether nothing is worth more than the incumbent, by two bounds: what is
/// worth more would have no more items than so many, and so few are never worth
/// more. A search takes long to find that out. The break solution found last is
/// that of values and counts.
pub(crate) fn is_best_value(problem: &Problem<'_>, search: &mut Search) -> bool {
    let Some(break_entry) = search.order.break_entry else {
        return false;
    };
    let slope = Slope::from(break_entry);
    let ahead = settle_shared(problem, search, problem.better_value(), slope);
    let Some(mix) = Mix::new(problem, search) else {
        return false;
    };
    let capacity = problem.room() - search.settled_weight;
    let kept = mix.measure(search, ahead);
    let more = kept.value + 1;
    if capacity < 0 || more > mix.value {
        // What is settled leaves nothing that could be worth more.
        return true;
    }
    if more <= 0 {
        return false;
    }
    let one_more = (kept.count + 1) << mix.fine;
    let bounded = Bounded::Count { value: more };
    let counts = mix.least(search, capacity, bounded, one_more);
    let bounded = Bounded::Value {
        count: counts.most >> mix.fine,
    };
    let enough = more << mix.shift;
    mix.least(search, capacity, bounded, enough).most < enough
}

/// Settles what all sets share that `aim` prefers to the incumbent, and says
/// what the incumbent has more of it than they.
fn settle_shared(problem: &Problem<'_>, search: &mut Search, aim: Aim, slope: Slope) -> Sums {
    let mut ahead = Sums::default();
    search.settle(problem.room(), aim, 1, slope, |entry, more| {
        ahead.add(problem, entry, more);
    });
    ahead
}

/// Settles the ties among the sets of the incumbent's value, which is proved to
/// be the best; says whether all are. The break solution found last is that of
/// values and counts.
pub(crate) fn settle(problem: &Problem<'_>, search: &mut Search, meter: &mut Meter<'_>) -> bool {
    let Some(break_entry) = search.order.break_entry else {
        return false;
    };
    let mut aim = Aim::ProfitThenWeight;
    let mut ahead = settle_shared(problem, search, aim, Slope::from(break_entry));
    let Some(mix) = Mix::new(problem, search) else {
        return false;
    };
    let unit = 1 << mix.fine;
    let mut capacity = problem.room() - search.settled_weight;
    let mut kept = mix.measure(search, ahead);
    if capacity < 0 || !(0..=mix.value).contains(&kept.value) {
        // What is settled leaves nothing that could be preferred.
        return true;
    }
    mix.adopt(search, kept);

    let bounded = |kept: &Sums| Bounded::Count { value: kept.value };
    let one_more = (kept.count + 1) << mix.fine;
    let mut bound = mix.least(search, capacity, bounded(&kept), one_more);
    if bound.most < one_more {
        // No set has more items: then it takes a lighter one of as many.
        aim = Aim::Weight;
        mix.enter_share(search, 1 << mix.shift);
        let slope = mix.slope(break_entry.index);
        search.settle(capacity, aim, unit, slope, |entry, more| {
            ahead.add(problem, entry, more);
        });
        kept = mix.measure(search, ahead);
        capacity = kept.weight - 1;
        if capacity < 0 || !(0..=mix.value).contains(&kept.value) {
            return true;
        }
        mix.adopt(search, kept);
        if search.order.entries.len() <= 2 * SAMPLE {
            bound = mix.least(search, capacity, bounded(&kept), i64::MIN);
        }
    }
    mix.enter_share(search, bound.share);
    let task = Task {
        capacity,
        aim,
        unit,
        far: false,
        price: Price {
            each: (1 << mix.shift) - bound.share,
            limit: kept.value,
            shift: mix.shift,
        },
        patience: None,
    };
    let states = problem.moderate(search);
    problem.run_at_most(states, search, &task, meter).complete
}
