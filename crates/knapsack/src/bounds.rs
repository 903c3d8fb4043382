//! Upper bounds, as exact integers.
//!
//! All profits and weights here are *relative to the break solution*: the best
//! items are kept as long as they fit, and a state is a set of changes to
//! that. A state of weight `w` in a slack `r` has `r − w` left over, to be
//! filled by what comes next on the right, or short, to be made up by what
//! comes next on the left. Nothing fills better than the best item on the
//! right or makes up cheaper than the worst on the left, which bounds what a
//! state can become. No division: both sides are multiplied out in `i128`.

use crate::entry::Entry;
use crate::states::State;

/// Profit per weight, as a fraction. A weight of 0 means without limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slope {
    pub(crate) profit: i64,
    pub(crate) weight: i64,
}

impl Slope {
    /// Nothing is left to fill with.
    pub(crate) const ZERO: Self = Self {
        profit: 0,
        weight: 1,
    };
    /// Nothing is left to make up with.
    pub(crate) const INFINITE: Self = Self {
        profit: 1,
        weight: 0,
    };
}

impl From<Entry> for Slope {
    fn from(entry: Entry) -> Self {
        Self {
            profit: entry.profit,
            weight: entry.weight,
        }
    }
}

/// How fast profit can still be gained, and must at least be lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slopes {
    /// Of the best item not yet in the core that the break solution gives up.
    pub(crate) right: Slope,
    /// Of the worst item not yet in the core that the break solution keeps.
    pub(crate) left: Slope,
}

/// A profit to be reached within a slack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) profit: i64,
    pub(crate) slack: i64,
}

impl Target {
    /// Whether some completion of `state` might reach this.
    #[inline(always)]
    pub(crate) fn may_be_reached(&self, profit: i64, weight: i64, slopes: &Slopes) -> bool {
        let room = self.slack - weight;
        let slope = if room >= 0 {
            &slopes.right
        } else {
            &slopes.left
        };
        i128::from(room) * i128::from(slope.profit)
            >= i128::from(self.profit - profit) * i128::from(slope.weight)
    }
}

/// What a solution must reach to be preferred to the incumbent: either of two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets {
    /// More profit.
    pub(crate) better: Target,
    /// As much profit at less weight, where that counts.
    pub(crate) lighter: Option<Target>,
}

impl Targets {
    /// Whether some completion of a state might be preferred to the incumbent.
    #[inline(always)]
    pub(crate) fn may_be_reached(&self, profit: i64, weight: i64, slopes: &Slopes) -> bool {
        self.better.may_be_reached(profit, weight, slopes)
            || self
                .lighter
                .is_some_and(|lighter| lighter.may_be_reached(profit, weight, slopes))
    }

    /// What an item's exchange may lose against the break item's slope, times
    /// the break item's weight (the test of Dembo and Hammer, 1980).
    pub(crate) fn allowed_loss(&self, slope: Slope) -> i128 {
        let allowed = |target: &Target| {
            i128::from(target.slack) * i128::from(slope.profit)
                - i128::from(target.profit) * i128::from(slope.weight)
        };
        let better = allowed(&self.better);
        match &self.lighter {
            Some(lighter) => better.max(allowed(lighter)),
            None => better,
        }
    }
}

/// Tells which items cannot be exchanged in any solution that is preferred.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reducer {
    pub(crate) slope: Slope,
    pub(crate) allowed_loss: i128,
}

impl Reducer {
    /// Whether `entry` may be exchanged.
    #[inline(always)]
    pub(crate) fn keeps(&self, entry: &Entry) -> bool {
        let loss = i128::from(entry.profit) * i128::from(self.slope.weight)
            - i128::from(entry.weight) * i128::from(self.slope.profit);
        loss.abs() <= self.allowed_loss
    }
}

/// The greatest bound of several states, as two fractions over the slopes'
/// weights, so that no state costs a division.
#[derive(Debug)]
pub(crate) struct GreatestBound<'a> {
    slack: i64,
    slopes: &'a Slopes,
    right: Option<i128>,
    left: Option<i128>,
}

impl<'a> GreatestBound<'a> {
    pub(crate) fn new(slack: i64, slopes: &'a Slopes) -> Self {
        Self {
            slack,
            slopes,
            right: None,
            left: None,
        }
    }

    /// Takes one more state.
    pub(crate) fn add(&mut self, state: &State) {
        let room = self.slack - state.weight;
        let (slope, greatest) = if room >= 0 {
            (&self.slopes.right, &mut self.right)
        } else {
            (&self.slopes.left, &mut self.left)
        };
        if slope.weight == 0 {
            return; // Too heavy, and nothing can make up for it.
        }
        let bound = i128::from(state.profit) * i128::from(slope.weight)
            + i128::from(room) * i128::from(slope.profit);
        *greatest = Some(greatest.map_or(bound, |greatest| greatest.max(bound)));
    }

    /// The greatest of all, rounded down, which profits as integers allow.
    pub(crate) fn floor(&self) -> Option<i64> {
        let floor = |bound: Option<i128>, slope: &Slope| {
            bound.map(|bound| {
                i64::try_from(bound.div_euclid(i128::from(slope.weight))).unwrap_or(i64::MAX)
            })
        };
        floor(self.right, &self.slopes.right).max(floor(self.left, &self.slopes.left))
    }
}
