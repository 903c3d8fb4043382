//! The expanding core: a dynamic program that starts at the break item.
//!
//! The optimum differs from the break solution in few items, and those have
//! about the break item's profit per weight. So the list of states starts with
//! the break solution alone, and takes in turn the best item on the right (to
//! keep it too) and the worst on the left (to give it up). A state that cannot
//! become better than the incumbent, by the bounds of `bounds`, is dropped;
//! when none is left, the incumbent is the optimum.

use crate::bounds::{Judge, Neighbours, Price, Reducer, Slope, Tangents, Target, Targets};
use crate::decisions::{Decisions, STRETCH};
use crate::entry::Entry;
use crate::incumbent::{Bits, Incumbent};
use crate::meter::Meter;
use crate::order::{Order, Piece};
use crate::states::{SENTINEL, State, touch};

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// The most profit.
    Profit,
    /// The most profit, and of that the least weight.
    ProfitThenWeight,
    /// The least weight for the incumbent's profit.
    Weight,
    /// The most of the value in the profit, whatever the rest.
    Value(ValuePart),
}

/// How profits are made of values: `profit × factor` is the value and, in the
/// bits below `shift`, the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ValuePart {
    pub(crate) factor: i64,
    pub(crate) shift: u32,
}

impl ValuePart {
    /// The value in a profit.
    pub(crate) fn of(self, profit: i64) -> i64 {
        (profit * self.factor) >> self.shift
    }

    /// The profit of a value without a count.
    pub(crate) fn profit(self, value: i64) -> i64 {
        (value << self.shift) / self.factor
    }

    /// The least profit that has more value.
    fn above(self, profit: i64) -> i64 {
        (((self.of(profit) + 1) << self.shift) + self.factor - 1) / self.factor
    }
}

/// What is searched for, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task {
    pub(crate) capacity: i64,
    pub(crate) aim: Aim,
    /// What all profits are multiples of.
    pub(crate) unit: i64,
    /// Whether the core will be large: then items are sorted in whole runs.
    pub(crate) far: bool,
    /// The side constraint, with its limit for all items.
    pub(crate) price: Price,
    pub(crate) patience: Option<Patience>,
}

/// When to turn to an easier aim.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// After so many states, if the relaxation is above the incumbent by no more
    /// than `gap`; after as many again, if by no more than `most_gap`.
    pub(crate) states: usize,
    pub(crate) gap: i64,
    pub(crate) most_gap: i64,
    pub(crate) easier: Aim,
    /// How many more states it may take then.
    pub(crate) more_states: usize,
}

/// How much of the [`Patience`] is left.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    left: Option<Patience>,
    states: usize,
}

impl Waiting {
    fn new(patience: Option<Patience>) -> Self {
        Self {
            left: patience,
            states: patience.map_or(0, |patience| patience.states),
        }
    }

    /// Counts so many states. Returns the patience once, when it is over and
    /// the relaxation is above the incumbent by a `gap` small enough to turn.
    fn is_over(&mut self, states: usize, gap: i64) -> Option<Patience> {
        let left = self.left.as_mut()?;
        if let Some(states) = self.states.checked_sub(states + STATES_FOR_A_PIECE) {
            self.states = states;
            return None;
        }
        if gap <= left.gap {
            return self.left.take();
        }
        if left.gap < left.most_gap {
            left.gap = left.most_gap;
            self.states = left.states;
        } else {
            self.left = None;
        }
        None
    }
}

/// What a search proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// Nothing earns more than this.
    pub(crate) bound: i64,
    /// Whether the incumbent is what was wanted.
    pub(crate) complete: bool,
    /// Whether it was the easier aim in the end.
    pub(crate) turned: bool,
}

/// The memory of one search.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) order: Order,
    pub(crate) incumbent: Incumbent,
    /// What is kept for good, and no entry any more.
    settled: Bits,
    pub(crate) settled_weight: i64,
    break_kept: Bits,
    /// Holds the entries while a sample of them is looked at.
    aside: Vec<Entry>,
    states: Vec<State>,
    merged: Vec<State>,
    /// How long `states` and `merged` may get, the sentinel left aside.
    most_states: usize,
    decisions: Decisions,
    /// What the core is made of, in the order it was taken.
    core: Vec<Piece>,
}

/// The break solution, in absolute numbers, and what is wanted.
#[derive(Clone, Copy, Debug)]
struct Frame {
    aim: Aim,
    unit: i64,
    /// Sum of the true profits of the break solution.
    profit: i64,
    weight: i64,
    slack: i64,
    price: Price,
}

impl Frame {
    /// What a state must reach, relative to the break solution.
    fn targets(&self, incumbent: &Incumbent) -> Targets {
        let better = match self.aim {
            Aim::Profit | Aim::ProfitThenWeight => Some(incumbent.profit + self.unit),
            Aim::Weight => None,
            Aim::Value(part) => Some(part.above(incumbent.profit)),
        };
        let lighter = matches!(self.aim, Aim::ProfitThenWeight | Aim::Weight);
        Targets {
            better: better.map(|profit| Target {
                profit: profit - self.profit,
                slack: self.slack,
            }),
            lighter: lighter.then(|| Target {
                profit: incumbent.profit - self.profit,
                slack: incumbent.weight - 1 - self.weight,
            }),
        }
    }

    /// Whether a bound of the true profit leaves nothing of what is wanted.
    fn is_reached(&self, incumbent: &Incumbent, bound: i64) -> bool {
        match self.aim {
            Aim::Profit => bound < incumbent.profit + self.unit,
            Aim::ProfitThenWeight | Aim::Weight => bound < incumbent.profit,
            Aim::Value(part) => bound < part.above(incumbent.profit),
        }
    }
}

/// With how many entries on each side the states are paired for each of them:
/// while they are few, one that fits is not looked for far away.
const PAIRED: usize = 256;

/// Among how many entries, at most, the first mix is looked for, where there are
/// more than twice as many.
pub(crate) const SAMPLE: usize = 1024;

/// What taking a piece costs beside its states, in states.
const STATES_FOR_A_PIECE: usize = 8;

impl Search {
    pub(crate) fn with_capacity(items: usize, most_states: usize) -> Self {
        let most_states = most_states.max(4);
        Self {
            order: Order::with_capacity(items),
            incumbent: Incumbent::with_capacity(items),
            settled: Bits::with_capacity(items),
            settled_weight: 0,
            break_kept: Bits::with_capacity(items),
            aside: Vec::with_capacity(if items > 2 * SAMPLE { SAMPLE } else { 0 }),
            states: Vec::with_capacity(most_states + 1),
            merged: Vec::with_capacity(most_states + 1),
            most_states,
            decisions: Decisions::with_capacity(most_states * 4 + items / STRETCH + 2),
            core: Vec::with_capacity(items),
        }
    }

    /// Writes to all the memory it was made with.
    pub(crate) fn touch(&mut self) {
        touch(&mut self.order.entries, Entry::default());
        touch(&mut self.aside, Entry::default());
        touch(&mut self.core, Piece::default());
        touch(&mut self.states, SENTINEL);
        touch(&mut self.merged, SENTINEL);
        self.decisions.touch();
        self.incumbent.kept.clear();
        self.settled.clear();
        self.break_kept.clear();
    }

    /// How long the list of states may get.
    pub(crate) fn most_states(&self) -> usize {
        self.most_states
    }

    /// Forgets what was settled, and all entries.
    pub(crate) fn restart(&mut self) {
        self.order.entries.clear();
        self.settled.clear();
        self.settled_weight = 0;
    }

    /// Settles what is the same in every solution that `aim` prefers to the
    /// incumbent: it is not an entry any more, and what of it is kept is in
    /// every set from now on. Any `slope` will do, and about the break entry's
    /// best.
    ///
    /// The incumbent itself may differ from what is settled. Calls `differs` with
    /// each entry that it alone keeps, or does not, and whether it does.
    pub(crate) fn settle(
        &mut self,
        capacity: i64,
        aim: Aim,
        unit: i64,
        slope: Slope,
        mut differs: impl FnMut(&Entry, bool),
    ) {
        let nothing_kept = Frame {
            aim,
            unit,
            profit: 0,
            weight: 0,
            slack: capacity,
            price: Price::default(),
        };
        let targets = nothing_kept.targets(&self.incumbent);
        let entries = &mut self.order.entries;
        let reducer = Reducer::new(slope, Price::default(), &targets).keeping_gainers(entries);
        let mut stay = 0;
        for at in 0..entries.len() {
            let entry = entries[at];
            if reducer.keeps(&entry) {
                entries[stay] = entry;
                stay += 1;
                continue;
            }
            let kept = reducer.gain(&entry) > 0;
            if kept {
                self.settled.set(entry.index);
                self.settled_weight += entry.weight;
            }
            let incumbent = self.incumbent.kept.has(entry.index);
            if incumbent != kept {
                differs(&entry, incumbent);
            }
        }
        entries.truncate(stay);
    }

    /// Finds the break solution of what is entered.
    pub(crate) fn find_break(&mut self, capacity: i64) {
        self.order.find_break(capacity);
        self.break_kept.copy_from(&self.settled);
        for entry in self.order.kept() {
            self.break_kept.set(entry.index);
        }
    }

    /// Whether the break solution found last keeps an entry.
    pub(crate) fn is_in_break(&self, entry: &Entry) -> bool {
        self.break_kept.has(entry.index)
    }

    /// Sets all entries aside but a few from everywhere, and says which part is
    /// left.
    #[expect(clippy::cast_precision_loss, reason = "a part is never exact")]
    pub(crate) fn swap_in_sample(&mut self) -> f64 {
        let entries = &self.order.entries;
        let count = SAMPLE.min(entries.len() / 6);
        let sample = (0..count).map(|at| entries[at * entries.len() / count]);
        self.aside.clear();
        self.aside.extend(sample);
        let part = count as f64 / entries.len() as f64;
        std::mem::swap(&mut self.order.entries, &mut self.aside);
        part
    }

    /// Takes all entries back.
    pub(crate) fn swap_out_sample(&mut self) {
        std::mem::swap(&mut self.order.entries, &mut self.aside);
    }

    /// Improves the incumbent, as far as the meter allows, to what the task
    /// asks of `order.entries`.
    pub(crate) fn run(&mut self, task: &Task, meter: &mut Meter<'_>) -> Proof {
        let mut frame = self.start(task);
        let dropped = self.expand(task, &mut frame, meter);
        self.prove(task, &frame, dropped)
    }

    /// Finds the break solution, makes it the incumbent where it is better,
    /// fills what room it leaves, and empties the core.
    fn start(&mut self, task: &Task) -> Frame {
        self.find_break(task.capacity);
        if task.far {
            self.order.look_far();
        }
        let kept = self.order.kept();
        let side: i64 = kept.iter().map(|entry| i64::from(entry.side)).sum();
        let frame = Frame {
            aim: task.aim,
            unit: task.unit,
            profit: self.order.break_profit + task.price.each * side,
            weight: task.capacity - self.order.slack,
            slack: self.order.slack,
            price: Price {
                limit: task.price.limit - side,
                ..task.price
            },
        };
        if self.incumbent.is_behind(frame.profit, frame.weight) {
            self.incumbent.kept.copy_from(&self.break_kept);
            self.incumbent.profit = frame.profit;
            self.incumbent.weight = frame.weight;
        }
        self.fill_greedily(&frame);
        self.core.clear();
        self.decisions.clear();
        self.states.clear();
        self.states.push(State::default());
        frame
    }

    /// Takes one piece after the other into the core, from the right and from
    /// the left in turn, until no state is left or the meter ends it. Returns
    /// the greatest bound of the states that were dropped for want of room,
    /// relative to the break solution.
    fn expand(&mut self, task: &Task, frame: &mut Frame, meter: &mut Meter<'_>) -> Option<i64> {
        let mut dropped = None;
        let mut pair_at = 2;
        let (relaxation, _) = self.order.relaxation();
        let mut waiting = Waiting::new(task.patience);
        let break_slope = self.order.break_slope();
        let mut right_next = true;
        loop {
            let targets = frame.targets(&self.incumbent);
            let reducer = Reducer::new(break_slope, frame.price, &targets);
            self.order.fill(&reducer);
            if self.states.len() >= pair_at {
                let most = PAIRED * pair_at;
                if !meter.pay(self.order.entries.len().min(2 * most) / 2) {
                    break;
                }
                self.pair(frame, &reducer, most);
                pair_at *= 8;
                continue;
            }
            if self.states.is_empty() || !meter.pay(2 * self.states.len()) {
                break;
            }
            let gap = relaxation - self.incumbent.profit;
            if let Some(over) = waiting.is_over(self.states.len(), gap) {
                frame.aim = over.easier;
                meter.reserve_all_but(over.more_states);
                continue;
            }
            self.close_stretch(frame, &mut dropped);
            let Some((piece, right)) = self.next_piece(right_next) else {
                // Nothing else can be exchanged: every state is a whole set,
                // and none is preferred to the incumbent.
                self.states.clear();
                break;
            };
            self.order.fill(&reducer);
            self.take(piece, right, frame, &mut dropped);
            right_next = !right;
        }
        dropped
    }

    /// Where a stretch of the core is full, stores what its states decided.
    /// While there is no room for that, half of the states are dropped.
    fn close_stretch(&mut self, frame: &Frame, dropped: &mut Option<i64>) {
        if !self.core.len().is_multiple_of(STRETCH) || self.core.is_empty() {
            return;
        }
        let stretch = self.core.len() / STRETCH - 1;
        while !self.decisions.close(stretch, &mut self.states) {
            let neighbours = self.order.neighbours();
            drop_lower_half(&mut self.states, neighbours, frame, dropped);
        }
    }

    /// The best piece on the side whose turn it is, or else on the other, and
    /// whether it came from the right.
    fn next_piece(&mut self, right_next: bool) -> Option<(Piece, bool)> {
        let order = &mut self.order;
        let mut take = |right: bool| {
            let piece = if right {
                order.take_right()
            } else {
                order.take_left()
            };
            piece.map(|piece| (piece, right))
        };
        take(right_next).or_else(|| take(!right_next))
    }

    /// What is known now: the greatest bound of what was left unsearched, and
    /// whether the incumbent is what the task asked for.
    fn prove(&self, task: &Task, frame: &Frame, dropped: Option<i64>) -> Proof {
        let targets = frame.targets(&self.incumbent);
        let neighbours = self.order.neighbours();
        let mut unsearched = dropped;
        if let Some(first) = self.states.first() {
            let mut judge = Judge::new(neighbours, frame.price, targets, first.weight);
            let mut tangents = Tangents::new(neighbours, frame.price, frame.slack - first.weight);
            for state in &self.states {
                let room = frame.slack - state.weight;
                tangents.go_to(room);
                if judge.may_be_preferred(state) {
                    unsearched = tangents.greatest(unsearched, room, state);
                }
            }
        }
        let unsearched = unsearched.map(|bound| bound + frame.profit);
        let profit = self.incumbent.profit;
        Proof {
            bound: unsearched.map_or(profit, |bound| bound.max(profit)),
            turned: frame.aim != task.aim,
            complete: frame.aim == task.aim
                && unsearched.is_none_or(|bound| frame.is_reached(&self.incumbent, bound)),
        }
    }

    /// Keeps, besides the break solution, whatever still fits, best first.
    fn fill_greedily(&mut self, frame: &Frame) {
        let (mut profit, mut weight) = (frame.profit, frame.weight);
        self.order.fill_greedily(|entry| {
            profit += entry.profit + frame.price.each * i64::from(entry.side);
            weight += entry.weight;
        });
        let incumbent = &mut self.incumbent;
        if incumbent.is_behind(profit, weight) {
            (incumbent.profit, incumbent.weight) = (profit, weight);
            incumbent.kept.copy_from(&self.break_kept);
            self.order
                .fill_greedily(|entry| incumbent.kept.flip(entry.index));
        }
    }

    /// Takes one more piece into the core: every state, with and without it.
    fn take(&mut self, piece: Piece, right: bool, frame: &Frame, dropped: &mut Option<i64>) {
        let neighbours = self.order.neighbours();
        let bit = 1 << (self.core.len() % STRETCH);
        self.core.push(piece);
        let entries = &self.order.entries;
        let Entry {
            profit,
            weight,
            side,
            ..
        } = entries[piece.range().start];
        let times = if right {
            i64::from(piece.len)
        } else {
            -i64::from(piece.len)
        };
        let profit = times * (profit + frame.price.each * i64::from(side));
        let weight = times * weight;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a side constraint is priced only where all sums fit"
        )]
        let side = match frame.price.shift {
            0 => (times * i64::from(side)) as i16,
            _ => 0,
        };
        let changed = |state: &State| State {
            profit: state.profit + profit,
            weight: state.weight + weight,
            bits: state.bits | bit,
            node: state.node,
            side: state.side + side,
        };
        let mut best: Option<State> = None;
        let mut greatest_profit = i64::MIN;
        let lightest = self.states[0].weight + weight.min(0);
        let targets = frame.targets(&self.incumbent);
        let mut judge = Judge::new(neighbours, frame.price, targets, lightest);
        self.states.push(SENTINEL);
        self.merged.clear();
        let end = self.states.len() - 1;
        let (mut without, mut with) = (0, 0);
        while without < end || with < end {
            let old = self.states[without];
            let new = changed(&self.states[with]);
            let old_first = with == end
                || old.weight < new.weight
                || (old.weight == new.weight && old.profit >= new.profit);
            let state = if old_first {
                without += 1;
                old
            } else {
                with += 1;
                new
            };
            if state.profit <= greatest_profit || !judge.may_be_preferred(&state) {
                continue;
            }
            greatest_profit = state.profit;
            if state.weight <= frame.slack {
                let (profit, weight) = (frame.profit + state.profit, frame.weight + state.weight);
                if self.incumbent.is_behind(profit, weight) {
                    self.incumbent.profit = profit;
                    self.incumbent.weight = weight;
                    best = Some(state);
                    judge.targets = frame.targets(&self.incumbent);
                }
            }
            if self.merged.len() == self.most_states {
                drop_lower_half(&mut self.merged, neighbours, frame, dropped);
            }
            self.merged.push(state);
        }
        std::mem::swap(&mut self.states, &mut self.merged);
        if let Some(best) = best {
            self.remember(&best, None);
        }
    }

    /// Makes the incumbent's set that of a state, and one more entry's change.
    fn remember(&mut self, state: &State, other: Option<u32>) {
        let kept = &mut self.incumbent.kept;
        kept.copy_from(&self.break_kept);
        let stretch = self.core.len().saturating_sub(1) / STRETCH;
        let (core, entries) = (&self.core, &self.order.entries);
        self.decisions.for_each_change(state, stretch, |at| {
            for entry in &entries[core[at].range()] {
                kept.flip(entry.index);
            }
        });
        if let Some(other) = other {
            kept.flip(other);
        }
    }

    /// Pairs every state with one change outside the core, for a better
    /// incumbent: for each such entry, `most` on each side, the heaviest state
    /// that leaves it room is the best one.
    fn pair(&mut self, frame: &Frame, reducer: &Reducer, most: usize) {
        let mut best: Option<(State, u32)> = None;
        let states = &self.states;
        let incumbent = &mut self.incumbent;
        let mut pair = |entry: &Entry, sign: i64| {
            if !reducer.keeps(entry) {
                return;
            }
            let room = frame.slack - sign * entry.weight;
            let fitting = states.partition_point(|state| state.weight <= room);
            if let Some(state) = states[..fitting].last() {
                let earned = entry.profit + frame.price.each * i64::from(entry.side);
                let profit = frame.profit + state.profit + sign * earned;
                let weight = frame.weight + state.weight + sign * entry.weight;
                if incumbent.is_behind(profit, weight) {
                    incumbent.profit = profit;
                    incumbent.weight = weight;
                    best = Some((*state, entry.index));
                }
            }
        };
        for entry in self.order.rest_right().take(most) {
            pair(entry, 1);
        }
        for entry in self.order.rest_left().take(most) {
            pair(entry, -1);
        }
        if let Some((state, index)) = best {
            self.remember(&state, Some(index));
        }
    }
}

/// Drops the half of the states that promises less, and remembers the greatest
/// bound of what was dropped, relative to the break solution.
fn drop_lower_half(
    states: &mut Vec<State>,
    neighbours: Neighbours<'_>,
    frame: &Frame,
    dropped: &mut Option<i64>,
) {
    let start = Tangents::new(neighbours, frame.price, frame.slack - states[0].weight);
    let mut sample = [0.0; 255];
    let count = sample.len().min(states.len());
    let mut tangents = start;
    for (at, promise) in sample[..count].iter_mut().enumerate() {
        let state = &states[at * states.len() / count];
        let room = frame.slack - state.weight;
        tangents.go_to(room);
        *promise = tangents.promise(room, state);
    }
    sample[..count].sort_unstable_by(f64::total_cmp);
    let middle = sample[count / 2];
    let lower = sample[..count].iter().filter(|&&low| low < middle).count();
    // Where half or more promise the same, every other of those goes too.
    let thin = lower * 4 < count;
    let mut tangents = start;
    let mut odd = false;
    states.retain(|state| {
        let room = frame.slack - state.weight;
        tangents.go_to(room);
        let promise = tangents.promise(room, state);
        let stays = promise > middle
            || (promise == middle && {
                odd = !odd;
                !thin || odd
            });
        if !stays {
            *dropped = tangents.greatest(*dropped, room, state);
        }
        stays
    });
}
