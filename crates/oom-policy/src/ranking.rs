//! Which units go first, where each is killed alone and memory looked at
//! between two: a short list, made without a table of all that could be.

use std::cmp::Ordering;

use model::{Class, Cost};

use crate::choice::rate;

/// So many units at most.
const MOST: usize = 16;

/// A unit and what it is ranked by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ranked {
    pub(crate) unit: u32,
    pub(crate) class: Class,
    pub(crate) frees_bytes: u64,
    pub(crate) cost: Cost,
}

/// The first [`MOST`] of all that were added.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ranking {
    first: [Option<Ranked>; MOST],
}

impl Ranking {
    pub(crate) fn add(&mut self, unit: Ranked) {
        let mut unit = Some(unit);
        for place in &mut self.first {
            let goes_first = match (&unit, &*place) {
                (Some(unit), Some(other)) => before(unit, other).is_lt(),
                (Some(_), None) => true,
                (None, _) => return,
            };
            if goes_first {
                std::mem::swap(place, &mut unit);
            }
        }
    }

    pub(crate) fn leave_out(&mut self, class: Class) {
        for place in &mut self.first {
            *place = place.filter(|unit| unit.class != class);
        }
    }

    /// From 1 on; `None` where it is not among the first.
    pub(crate) fn place(&self, unit: u32) -> Option<u64> {
        (1..)
            .zip(&self.first)
            .find(|(_, ranked)| ranked.is_some_and(|ranked| ranked.unit == unit))
            .map(|(place, _)| place)
    }
}

/// The ordinary before the system class; then what frees the most for its
/// cost.
fn before(one: &Ranked, other: &Ranked) -> Ordering {
    let by_rate = rate((other.frees_bytes, other.cost), (one.frees_bytes, one.cost));
    one.class.cmp(&other.class).then(by_rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(unit: u32, class: Class, frees_bytes: u64, value: u32) -> Ranked {
        Ranked {
            unit,
            class,
            frees_bytes,
            cost: Cost::of_value(value),
        }
    }

    #[test]
    fn the_most_for_its_cost_comes_first_and_the_system_class_last() {
        let mut ranking = Ranking::default();
        for unit in [
            ranked(1, Class::Ordinary, 500, 9),
            ranked(2, Class::System, 900, 1),
            ranked(3, Class::Ordinary, 500, 1),
            ranked(4, Class::Ordinary, 400, 1),
        ] {
            ranking.add(unit);
        }
        let places = [3, 4, 1, 2].map(|unit| ranking.place(unit));
        assert_eq!(places, [Some(1), Some(2), Some(3), Some(4)]);
        ranking.leave_out(Class::System);
        assert_eq!(ranking.place(2), None);
    }

    #[test]
    fn of_many_the_first_are_kept() {
        let mut ranking = Ranking::default();
        for unit in 0..100 {
            ranking.add(ranked(unit, Class::Ordinary, 500, unit));
        }
        assert_eq!(ranking.place(0), Some(1));
        assert_eq!(ranking.place(15), Some(16));
        assert_eq!(ranking.place(16), None);
    }
}
