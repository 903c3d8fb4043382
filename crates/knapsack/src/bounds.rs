//! Upper bounds, as exact integers.
//!
//! All profits and weights here are *relative to the break solution*: the best
//! items are kept as long as they fit, and a state is a set of changes to
//! that. A state of weight `w` in a slack `r` has room `r − w`: to be filled
//! with the items right of the core, best first, or, if negative, to be made up
//! for by giving up those on the left, worst first. What that gains or loses
//! at most is a concave function of the room (the linear relaxation, Dantzig
//! 1957), made of one line per item; and being concave, it lies below every
//! one of these lines, so each alone is a bound already. [`Tangents`] picks
//! the line that is least for the room at hand. No division: both sides are
//! multiplied out in `i128`.

use std::ops::Range;

use crate::entry::Entry;
use crate::states::State;

/// A profit to be reached within a slack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) profit: i64,
    pub(crate) slack: i64,
}

/// What a solution must reach to be preferred to the incumbent: either of two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets {
    /// More profit.
    pub(crate) better: Target,
    /// As much profit at less weight, where that counts.
    pub(crate) lighter: Option<Target>,
}

/// Profit per weight, as a fraction. A weight of 0 means without limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slope {
    pub(crate) profit: i64,
    pub(crate) weight: i64,
}

impl Slope {
    /// Nothing is left that is worth filling with.
    const FLAT: Self = Self {
        profit: 0,
        weight: 1,
    };
    /// Nothing is left to make up with.
    const WALL: Self = Self {
        profit: 1,
        weight: 0,
    };
}

impl From<Entry> for Slope {
    fn from(entry: Entry) -> Self {
        if entry.profit > 0 {
            Self {
                profit: entry.profit,
                weight: entry.weight,
            }
        } else {
            Self::FLAT
        }
    }
}

/// The price put on a side constraint: a sum over the kept items that is known
/// to be at most (or, at a negative price, at least) some limit in every
/// solution worth looking for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Price {
    /// Profit for each unit of the side sum.
    pub(crate) each: i64,
    /// The limit, less the break solution's side sum.
    pub(crate) limit: i64,
}

impl Price {
    /// What a state's profit is with the side constraint priced in.
    #[inline(always)]
    pub(crate) fn priced(self, state: &State) -> i64 {
        state.profit + self.each * (self.limit - i64::from(state.side))
    }
}

/// The items next to the core, as far as they are sorted.
#[derive(Clone, Debug)]
pub(crate) struct Neighbours {
    /// Kept by the break solution; the worst is the last.
    pub(crate) left: Range<usize>,
    /// Whether there are others left of these.
    pub(crate) more_left: bool,
    /// Given up by the break solution; the best is the first.
    pub(crate) right: Range<usize>,
    /// Whether there are others right of these.
    pub(crate) more_right: bool,
}

/// Where in the neighbours a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Right(usize),
    Left(usize),
    Wall,
}

/// The lines that bound what a state can become, for states by ascending
/// weight.
#[derive(Clone, Debug)]
pub(crate) struct Tangents<'a> {
    entries: &'a [Entry],
    neighbours: &'a Neighbours,
    price: Price,
    at: At,
    /// The line: through this point, with this slope.
    profit: i64,
    weight: i64,
    slope: Slope,
    /// The least room for which the line is the best one.
    least: i64,
}

impl<'a> Tangents<'a> {
    /// Starts at the greatest room of all that will be asked for.
    pub(crate) fn new(
        entries: &'a [Entry],
        neighbours: &'a Neighbours,
        price: Price,
        room: i64,
    ) -> Self {
        let right = &neighbours.right;
        let (mut at, mut profit, mut weight) = (right.start, 0, 0);
        while at < right.end && entries[at].profit > 0 && weight + entries[at].weight < room {
            profit += entries[at].profit;
            weight += entries[at].weight;
            at += 1;
        }
        if at == right.end && neighbours.more_right && right.start < right.end {
            // What comes after may be as good as the last one that is known.
            at -= 1;
            profit -= entries[at].profit;
            weight -= entries[at].weight;
        }
        let slope = if at < right.end {
            Slope::from(entries[at])
        } else {
            Slope::FLAT
        };
        Self {
            entries,
            neighbours,
            price,
            at: At::Right(at),
            profit,
            weight,
            slope,
            least: weight,
        }
    }

    /// Goes on to the line for this room, at most the last's.
    #[inline(always)]
    pub(crate) fn go_to(&mut self, room: i64) {
        while room < self.least {
            self.step();
        }
    }

    #[cold]
    #[inline(never)]
    fn step(&mut self) {
        match self.at {
            At::Right(at) if at > self.neighbours.right.start => {
                let entry = self.entries[at - 1];
                self.at = At::Right(at - 1);
                self.profit -= entry.profit;
                self.weight -= entry.weight;
                self.slope = Slope::from(entry);
                self.least = self.weight;
            }
            At::Right(_) => self.enter_left(self.neighbours.left.end),
            At::Left(at) => {
                let entry = self.entries[at];
                self.profit -= entry.profit;
                self.weight -= entry.weight;
                self.enter_left(at);
            }
            At::Wall => self.least = i64::MIN,
        }
    }

    /// Takes the line of the entry before `end`, on the left.
    fn enter_left(&mut self, end: usize) {
        let left = &self.neighbours.left;
        if end > left.start {
            let entry = self.entries[end - 1];
            self.at = At::Left(end - 1);
            self.slope = Slope::from(entry);
            self.least = if end - 1 == left.start && self.neighbours.more_left {
                i64::MIN
            } else {
                self.weight - entry.weight
            };
        } else {
            self.at = At::Wall;
            self.slope = Slope::WALL;
            self.least = i64::MIN;
        }
    }

    /// Whether some completion of `state`, with `room` left, might earn
    /// `profit`.
    #[inline(always)]
    pub(crate) fn may_earn(&self, profit: i64, room: i64, state: &State) -> bool {
        let missing = profit - self.price.priced(state) - self.profit;
        i128::from(room - self.weight) * i128::from(self.slope.profit)
            >= i128::from(missing) * i128::from(self.slope.weight)
    }

    /// About the bound of a state; only for choosing which to drop, never a
    /// proof.
    #[expect(
        clippy::cast_precision_loss,
        reason = "an estimate is enough to choose by"
    )]
    pub(crate) fn promise(&self, room: i64, state: &State) -> f64 {
        (self.price.priced(state) + self.profit) as f64
            + (room - self.weight) as f64 * (self.slope.profit as f64 / self.slope.weight as f64)
    }

    /// The greater of `greatest` and the bound of `state`, rounded down, which
    /// profits as integers allow.
    pub(crate) fn greatest(&self, greatest: Option<i64>, room: i64, state: &State) -> Option<i64> {
        if self.slope.weight == 0 {
            // Too heavy, and nothing can make up for it.
            return greatest;
        }
        let gained = i128::from(room - self.weight) * i128::from(self.slope.profit);
        let so_far = self.price.priced(state) + self.profit;
        let weight = i128::from(self.slope.weight);
        // Most states are not the greatest, and cost no division.
        if let Some(greatest) = greatest
            && gained < (i128::from(greatest) + 1 - i128::from(so_far)) * weight
        {
            return Some(greatest);
        }
        let bound = i128::from(so_far) + gained.div_euclid(weight);
        Some(i64::try_from(bound).unwrap_or(i64::MAX))
    }
}

/// Says of states by ascending weight whether they may become preferred to the
/// incumbent.
#[derive(Clone, Debug)]
pub(crate) struct Judge<'a> {
    pub(crate) targets: Targets,
    better: Tangents<'a>,
    /// The room to be lighter in is less, so it has lines of its own.
    lighter: Option<Tangents<'a>>,
}

impl<'a> Judge<'a> {
    /// Starts at the lightest state of all that will be asked for.
    pub(crate) fn new(
        entries: &'a [Entry],
        neighbours: &'a Neighbours,
        price: Price,
        targets: Targets,
        lightest: i64,
    ) -> Self {
        let tangents =
            |target: &Target| Tangents::new(entries, neighbours, price, target.slack - lightest);
        Self {
            targets,
            better: tangents(&targets.better),
            lighter: targets.lighter.as_ref().map(tangents),
        }
    }

    /// Whether some completion of `state`, no lighter than the last, might be
    /// preferred to the incumbent.
    #[inline(always)]
    pub(crate) fn may_be_preferred(&mut self, state: &State) -> bool {
        let may_reach = |target: &Target, tangents: &mut Tangents<'_>| {
            let room = target.slack - state.weight;
            tangents.go_to(room);
            tangents.may_earn(target.profit, room, state)
        };
        if may_reach(&self.targets.better, &mut self.better) {
            return true;
        }
        match (&self.targets.lighter, &mut self.lighter) {
            (Some(target), Some(tangents)) => may_reach(target, tangents),
            _ => false,
        }
    }
}

/// Tells which items cannot be exchanged in any solution that is preferred
/// (the test of Dembo and Hammer, 1980).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reducer {
    slope: Slope,
    allowed_loss: i128,
}

impl Reducer {
    /// `slope` is the break item's.
    pub(crate) fn new(slope: Slope, price: Price, targets: &Targets) -> Self {
        let break_profit = price.each * price.limit;
        let allowed = |target: &Target| {
            i128::from(target.slack) * i128::from(slope.profit)
                - i128::from(target.profit - break_profit) * i128::from(slope.weight)
        };
        let better = allowed(&targets.better);
        Self {
            slope,
            allowed_loss: targets
                .lighter
                .as_ref()
                .map_or(better, |lighter| better.max(allowed(lighter))),
        }
    }

    /// Whether `entry` may be exchanged.
    #[inline(always)]
    pub(crate) fn keeps(&self, entry: &Entry) -> bool {
        let loss = i128::from(entry.profit) * i128::from(self.slope.weight)
            - i128::from(entry.weight) * i128::from(self.slope.profit);
        loss.abs() <= self.allowed_loss
    }
}
