//! Upper bounds, as exact integers.
//!
//! All profits and weights here are *relative to the break solution*: the best
//! items are kept as long as they fit, and a state is a set of changes to
//! that. A state of weight `w` in a slack `r` has room `r − w`: to be filled
//! with the items right of the core, best first, or, if negative, to be made up
//! for by taking out those on the left, worst first. What that gains or loses
//! at most is a concave function of the room (the linear relaxation, Dantzig
//! 1957), made of one line per item; and being concave, it lies below every
//! one of these lines, so each alone is a bound already. [`Tangents`] picks
//! the line that is least for the room at hand. No division: both sides are
//! multiplied out in `i128`.

use crate::entry::Entry;
use crate::states::State;

/// A profit to be reached within a slack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) profit: i64,
    pub(crate) slack: i64,
}

/// What a solution must reach to be preferred to the incumbent: either of two,
/// where that counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets {
    /// More profit.
    pub(crate) better: Option<Target>,
    /// As much profit at less weight.
    pub(crate) lighter: Option<Target>,
}

/// Profit per weight, as a fraction. A weight of 0 means without limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slope {
    pub(crate) profit: i64,
    pub(crate) weight: i64,
}

impl Slope {
    /// Nothing is left to fill with.
    pub(crate) const FLAT: Self = Self {
        profit: 0,
        weight: 1,
    };
    /// Nothing is left to make up with.
    const WALL: Self = Self {
        profit: 1,
        weight: 0,
    };
}

impl Slope {
    /// Whether it is as steep as another.
    fn is(self, other: Self) -> bool {
        i128::from(self.profit) * i128::from(other.weight)
            == i128::from(other.profit) * i128::from(self.weight)
    }
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
    /// Where it is not 0, a state's side sum is its profit, rounded to this
    /// many bits: profits are that sum and, in the bits below, a little more.
    pub(crate) shift: u32,
}

impl Price {
    /// What a state's profit is with the side constraint priced in.
    #[inline(always)]
    pub(crate) fn priced(self, state: &State) -> i64 {
        let side = if self.shift == 0 {
            i64::from(state.side)
        } else {
            (state.profit + (1 << (self.shift - 1))) >> self.shift
        };
        state.profit + self.each * (self.limit - side)
    }
}

/// One stretch of neighbours with the same profit per weight.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// Sums of the profits and weights before it, from where the ladder began.
    profit: i64,
    weight: i64,
    slope: Slope,
}

/// How many lines a ladder may have.
const LINES: usize = 256;

/// The lines of one side's neighbours, from the core outwards.
#[derive(Debug)]
pub(crate) struct Ladder {
    lines: Vec<Line>,
    /// The line the core ends in.
    first: usize,
    /// Sums of what the core took, from where the ladder began.
    taken_profit: i64,
    taken_weight: i64,
    /// Sums of all lines.
    profit: i64,
    weight: i64,
    /// Whether the last line goes on past what was seen.
    endless: bool,
}

impl Ladder {
    pub(crate) fn new() -> Self {
        Self {
            lines: Vec::with_capacity(LINES),
            first: 0,
            taken_profit: 0,
            taken_weight: 0,
            profit: 0,
            weight: 0,
            endless: false,
        }
    }

    /// Starts anew with these neighbours; `more` tells whether others come
    /// after them.
    pub(crate) fn restart<'a>(&mut self, neighbours: impl Iterator<Item = &'a Entry>, more: bool) {
        self.lines.clear();
        (self.first, self.taken_profit, self.taken_weight) = (0, 0, 0);
        (self.profit, self.weight) = (0, 0);
        self.endless = more;
        for entry in neighbours {
            if entry.profit <= 0 {
                // Neither this one nor any after it earns anything.
                self.endless = false;
                break;
            }
            let slope = Slope::from(*entry);
            if self.lines.last().is_none_or(|line| !line.slope.is(slope)) {
                if self.lines.len() == LINES {
                    self.endless = true;
                    break;
                }
                self.lines.push(Line {
                    profit: self.profit,
                    weight: self.weight,
                    slope,
                });
            }
            self.profit += entry.profit;
            self.weight += entry.weight;
        }
    }

    /// The core takes `times` such entries, or they are left out for good.
    pub(crate) fn take(&mut self, entry: &Entry, times: i64) {
        self.taken_profit += times * entry.profit;
        self.taken_weight += times * entry.weight;
        while self.first + 1 < self.lines.len()
            && self.lines[self.first + 1].weight <= self.taken_weight
        {
            self.first += 1;
        }
    }

    /// Where a line begins, as seen from the core.
    fn start(&self, at: usize) -> (i64, i64) {
        let line = &self.lines[at];
        (
            (line.profit - self.taken_profit).max(0),
            (line.weight - self.taken_weight).max(0),
        )
    }

    /// Where a line ends, as seen from the core.
    fn end(&self, at: usize) -> (i64, i64) {
        match self.lines.get(at + 1) {
            Some(_) => self.start(at + 1),
            None => (
                self.profit - self.taken_profit,
                self.weight - self.taken_weight,
            ),
        }
    }

    /// Whether every neighbour is taken and none comes after.
    fn is_exhausted(&self) -> bool {
        !self.endless && self.weight <= self.taken_weight
    }
}

/// What the core has on both sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbours<'a> {
    /// Kept by the break solution.
    pub(crate) left: &'a Ladder,
    /// Not kept by the break solution.
    pub(crate) right: &'a Ladder,
}

/// Where a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Past the last on the right.
    Flat,
    Right(usize),
    Left(usize),
    /// Past the last on the left.
    Wall,
}

/// The lines that bound what a state can become, for states by descending
/// room. A room that is greater than the last is bounded too, if less sharply:
/// each line is a bound everywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tangents<'a> {
    neighbours: Neighbours<'a>,
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
    pub(crate) fn new(neighbours: Neighbours<'a>, price: Price, room: i64) -> Self {
        let mut tangents = Self {
            neighbours,
            price,
            at: At::Wall,
            profit: 0,
            weight: 0,
            slope: Slope::WALL,
            least: i64::MIN,
        };
        let right = neighbours.right;
        if right.is_exhausted() {
            tangents.be_flat();
            return tangents;
        }
        let mut at = right.first;
        loop {
            let (profit, weight) = right.end(at);
            if room < weight {
                tangents.be_right(at);
                return tangents;
            }
            if at + 1 == right.lines.len() {
                if right.endless {
                    tangents.be_right(at);
                } else {
                    tangents.be_flat();
                    (tangents.profit, tangents.weight) = (profit, weight);
                    tangents.least = weight;
                }
                return tangents;
            }
            at += 1;
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
        let Neighbours { left, right } = self.neighbours;
        match self.at {
            At::Flat if !right.is_exhausted() => self.be_right(right.lines.len() - 1),
            At::Right(at) if at > right.first => self.be_right(at - 1),
            At::Flat | At::Right(_) if !left.is_exhausted() => self.be_left(left.first),
            At::Left(at) if at + 1 < left.lines.len() => self.be_left(at + 1),
            _ => {
                // It stands where all on the left is given up: a room may be
                // asked for that is greater again, and there it bounds nothing.
                self.at = At::Wall;
                self.slope = Slope::WALL;
                (self.profit, self.weight) = (0, left.taken_weight - left.weight);
                self.least = i64::MIN;
            }
        }
    }

    fn be_flat(&mut self) {
        self.at = At::Flat;
        self.slope = Slope::FLAT;
        self.least = 0;
    }

    fn be_right(&mut self, at: usize) {
        let right = self.neighbours.right;
        self.at = At::Right(at);
        (self.profit, self.weight) = right.start(at);
        self.slope = right.lines[at].slope;
        self.least = self.weight;
    }

    fn be_left(&mut self, at: usize) {
        let left = self.neighbours.left;
        let (profit, weight) = left.start(at);
        self.at = At::Left(at);
        (self.profit, self.weight) = (-profit, -weight);
        self.slope = left.lines[at].slope;
        self.least = if at + 1 == left.lines.len() && left.endless {
            i64::MIN
        } else {
            -left.end(at).1
        };
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
    better: Option<Tangents<'a>>,
    /// The room to be lighter in is less, so it has lines of its own.
    lighter: Option<Tangents<'a>>,
}

impl<'a> Judge<'a> {
    /// Starts at the lightest state of all that will be asked for.
    pub(crate) fn new(
        neighbours: Neighbours<'a>,
        price: Price,
        targets: Targets,
        lightest: i64,
    ) -> Self {
        let tangents = |target: &Target| Tangents::new(neighbours, price, target.slack - lightest);
        Self {
            targets,
            better: targets.better.as_ref().map(tangents),
            lighter: targets.lighter.as_ref().map(tangents),
        }
    }

    /// Whether some completion of `state`, no lighter than the last, might be
    /// preferred to the incumbent.
    #[inline(always)]
    pub(crate) fn may_be_preferred(&mut self, state: &State) -> bool {
        let may_reach = |target: &Option<Target>, tangents: &mut Option<Tangents<'_>>| {
            let (Some(target), Some(tangents)) = (target, tangents) else {
                return false;
            };
            let room = target.slack - state.weight;
            tangents.go_to(room);
            tangents.may_earn(target.profit, room, state)
        };
        // Where it counts, being lighter is mostly the easier of the two.
        may_reach(&self.targets.lighter, &mut self.lighter)
            || may_reach(&self.targets.better, &mut self.better)
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
        let either = [&targets.better, &targets.lighter];
        Self {
            slope,
            allowed_loss: either
                .into_iter()
                .flatten()
                .map(allowed)
                .max()
                .expect("something is wanted"),
        }
    }

    /// The same where nothing is kept before, and that is what the targets are
    /// relative to: then each of these is kept that gains by it.
    pub(crate) fn keeping_gainers(mut self, entries: &[Entry]) -> Self {
        let gains = entries.iter().map(|entry| self.gain(entry).max(0));
        self.allowed_loss += gains.sum::<i128>();
        self
    }

    /// What keeping `entry` gains, at the slope's price of weight.
    #[inline(always)]
    pub(crate) fn gain(&self, entry: &Entry) -> i128 {
        i128::from(entry.profit) * i128::from(self.slope.weight)
            - i128::from(entry.weight) * i128::from(self.slope.profit)
    }

    /// Whether `entry` may be exchanged.
    #[inline(always)]
    pub(crate) fn keeps(&self, entry: &Entry) -> bool {
        self.gain(entry).abs() <= self.allowed_loss
    }
}
