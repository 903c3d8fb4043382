//! The expanding core: a dynamic program that starts at the break item.
//!
//! The optimum differs from the break solution in few items, and those have
//! about the break item's profit per weight. So the list of states starts with
//! the break solution alone, and takes in turn the best item on the right (to
//! keep it too) and the worst on the left (to give it up). A state that cannot
//! become better than the incumbent, by the bounds of `bounds`, is dropped;
//! when none is left, the incumbent is the optimum.

use crate::bounds::{GreatestBound, Reducer, Slope, Slopes, Target, Targets};
use crate::decisions::{Decisions, STRETCH};
use crate::entry::Entry;
use crate::incumbent::{Bits, Incumbent};
use crate::meter::Meter;
use crate::order::Order;
use crate::states::{SENTINEL, State};

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// The most profit.
    Profit,
    /// The most profit, and of that the least weight.
    ProfitThenWeight,
}

/// What a search proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// Nothing earns more than this.
    pub(crate) bound: i64,
    /// Whether the incumbent is what was wanted.
    pub(crate) complete: bool,
}

/// The memory of one search.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) order: Order,
    pub(crate) incumbent: Incumbent,
    break_kept: Bits,
    states: Vec<State>,
    merged: Vec<State>,
    /// How long `states` and `merged` may get, the sentinel left aside.
    most_states: usize,
    decisions: Decisions,
    /// The core items' indices, in the order they were taken.
    core: Vec<u32>,
    /// The greatest bound of what was dropped unsearched, absolute.
    dropped_bound: Option<i64>,
}

impl Search {
    pub(crate) fn with_capacity(items: usize, most_states: usize) -> Self {
        let most_states = most_states.max(4);
        Self {
            order: Order::with_capacity(items),
            incumbent: Incumbent::with_capacity(items),
            break_kept: Bits::with_capacity(items),
            states: Vec::with_capacity(most_states + 1),
            merged: Vec::with_capacity(most_states + 1),
            most_states,
            decisions: Decisions::with_capacity(most_states * 4 + items / STRETCH + 2),
            core: Vec::with_capacity(items),
            dropped_bound: None,
        }
    }

    /// Improves the incumbent, as far as the meter allows, to what `aim` asks
    /// of `order.entries` within `capacity`.
    pub(crate) fn run(&mut self, capacity: i64, aim: Aim, meter: &mut Meter<'_>) -> Proof {
        self.order.find_break(capacity);
        self.break_kept.clear();
        for entry in &self.order.entries[..self.order.break_at] {
            self.break_kept.set(entry.index);
        }
        let break_weight = capacity - self.order.slack;
        if self
            .incumbent
            .is_behind(self.order.break_profit, break_weight)
        {
            self.incumbent.kept.copy_from(&self.break_kept);
            self.incumbent.profit = self.order.break_profit;
            self.incumbent.weight = break_weight;
        }
        self.fill_greedily(break_weight);
        self.core.clear();
        self.decisions.clear();
        self.states.clear();
        self.states.push(State::default());
        self.dropped_bound = None;

        let break_slope = Slope::from(self.order.break_entry());
        let mut slopes;
        let mut right_next = true;
        loop {
            let targets = self.targets(aim, break_weight);
            let reducer = Reducer {
                slope: break_slope,
                allowed_loss: targets.allowed_loss(break_slope),
            };
            let right = self.order.peek_right(&reducer);
            let left = self.order.peek_left(&reducer);
            slopes = Slopes {
                right: right.map_or(Slope::ZERO, Slope::from),
                left: left.map_or(Slope::INFINITE, Slope::from),
            };
            let entry = match (right, left) {
                (None, None) => break,
                (Some(entry), None) => {
                    right_next = true;
                    entry
                }
                (None, Some(entry)) => {
                    right_next = false;
                    entry
                }
                (Some(right), Some(left)) => {
                    if right_next {
                        right
                    } else {
                        left
                    }
                }
            };
            if self.states.is_empty() || !meter.pay(2 * self.states.len()) {
                break;
            }
            if self.core.len().is_multiple_of(STRETCH) && !self.core.is_empty() {
                self.close_stretch(&slopes);
            }
            if right_next {
                self.order.take_right();
                if let Some(next) = self.order.peek_right(&reducer) {
                    slopes.right = Slope::from(next);
                } else {
                    slopes.right = Slope::ZERO;
                }
            } else {
                self.order.take_left();
                if let Some(next) = self.order.peek_left(&reducer) {
                    slopes.left = Slope::from(next);
                } else {
                    slopes.left = Slope::INFINITE;
                }
            }
            self.take(entry, right_next, aim, break_weight, &slopes);
            right_next = !right_next;
        }
        // What is left unsearched, or can go no further.
        let targets = self.targets(aim, break_weight);
        self.states
            .retain(|state| targets.may_be_reached(state.profit, state.weight, &slopes));
        let mut live = GreatestBound::new(self.order.slack, &slopes);
        for state in &self.states {
            live.add(state);
        }
        let live = live.floor().map(|bound| bound + self.order.break_profit);
        let unsearched = live.max(self.dropped_bound);
        let profit = self.incumbent.profit;
        Proof {
            bound: unsearched.map_or(profit, |bound| bound.max(profit)),
            complete: unsearched.is_none_or(|bound| match aim {
                Aim::Profit => bound <= profit,
                Aim::ProfitThenWeight => bound < profit,
            }),
        }
    }

    /// What a state must reach, relative to the break solution.
    fn targets(&self, aim: Aim, break_weight: i64) -> Targets {
        let profit = self.incumbent.profit - self.order.break_profit;
        Targets {
            better: Target {
                profit: profit + 1,
                slack: self.order.slack,
            },
            lighter: (aim == Aim::ProfitThenWeight).then(|| Target {
                profit,
                slack: self.incumbent.weight - 1 - break_weight,
            }),
        }
    }

    /// Keeps, besides the break solution, whatever still fits, best first.
    fn fill_greedily(&mut self, break_weight: i64) {
        let entries = &mut self.order.entries[self.order.break_at..];
        entries.sort_unstable_by(Entry::best_first);
        let mut slack = self.order.slack;
        let mut profit = self.order.break_profit;
        for entry in entries.iter().filter(|entry| {
            let fits = entry.weight <= slack;
            if fits {
                slack -= entry.weight;
                profit += entry.profit;
            }
            fits
        }) {
            self.break_kept.flip(entry.index);
        }
        let weight = break_weight + self.order.slack - slack;
        if self.incumbent.is_behind(profit, weight) {
            self.incumbent.kept.copy_from(&self.break_kept);
            self.incumbent.profit = profit;
            self.incumbent.weight = weight;
        }
        self.break_kept.clear();
        for entry in &self.order.entries[..self.order.break_at] {
            self.break_kept.set(entry.index);
        }
    }

    /// Takes one more item into the core: every state, with and without it.
    fn take(&mut self, entry: Entry, right: bool, aim: Aim, break_weight: i64, slopes: &Slopes) {
        let bit = 1 << (self.core.len() % STRETCH);
        self.core.push(entry.index);
        let sign = if right { 1 } else { -1 };
        let (profit, weight) = (sign * entry.profit, sign * entry.weight);
        let changed = |state: &State| State {
            profit: state.profit + profit,
            weight: state.weight + weight,
            bits: state.bits | bit,
            node: state.node,
        };
        let mut targets = self.targets(aim, break_weight);
        let mut best: Option<State> = None;
        let mut greatest_profit = i64::MIN;
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
            if state.profit <= greatest_profit
                || !targets.may_be_reached(state.profit, state.weight, slopes)
            {
                continue;
            }
            greatest_profit = state.profit;
            if state.weight <= self.order.slack {
                let (profit, weight) = (
                    self.order.break_profit + state.profit,
                    break_weight + state.weight,
                );
                if self.incumbent.is_behind(profit, weight) {
                    self.incumbent.profit = profit;
                    self.incumbent.weight = weight;
                    best = Some(state);
                    targets = self.targets(aim, break_weight);
                }
            }
            if self.merged.len() == self.most_states {
                self.drop_lower_half(slopes);
            }
            self.merged.push(state);
        }
        std::mem::swap(&mut self.states, &mut self.merged);
        if let Some(best) = best {
            self.incumbent.kept.copy_from(&self.break_kept);
            let stretch = (self.core.len() - 1) / STRETCH;
            let (core, kept) = (&self.core, &mut self.incumbent.kept);
            self.decisions
                .for_each_change(&best, stretch, |at| kept.flip(core[at]));
        }
    }

    /// Moves the states' own bits into nodes, before the next stretch.
    fn close_stretch(&mut self, slopes: &Slopes) {
        let stretch = self.core.len() / STRETCH - 1;
        while !self.decisions.close(stretch, &mut self.states) {
            std::mem::swap(&mut self.states, &mut self.merged);
            self.drop_lower_half(slopes);
            std::mem::swap(&mut self.states, &mut self.merged);
        }
    }

    /// Drops the half of the merged states that promises less, and remembers
    /// the greatest bound of what was dropped.
    fn drop_lower_half(&mut self, slopes: &Slopes) {
        let slack = self.order.slack;
        let promise = |state: &State| promise(state, slack, slopes);
        let mut sample = [0.0; 255];
        let count = sample.len().min(self.merged.len());
        for (at, promised) in sample[..count].iter_mut().enumerate() {
            *promised = promise(&self.merged[at * self.merged.len() / count]);
        }
        sample[..count].sort_unstable_by(f64::total_cmp);
        let middle = sample[count / 2];
        let lower = self
            .merged
            .iter()
            .filter(|state| promise(state) < middle)
            .count();
        // Where half or more promise the same, every other of those goes too.
        let thin = lower * 4 < self.merged.len();
        let mut dropped = GreatestBound::new(slack, slopes);
        let mut odd = false;
        self.merged.retain(|state| {
            let promised = promise(state);
            let stays = promised > middle
                || (promised == middle && {
                    odd = !odd;
                    !thin || odd
                });
            if !stays {
                dropped.add(state);
            }
            stays
        });
        let dropped = dropped.floor().map(|bound| bound + self.order.break_profit);
        self.dropped_bound = self.dropped_bound.max(dropped);
    }
}

/// About the bound of a state; only for choosing which to drop, never a proof.
#[expect(
    clippy::cast_precision_loss,
    reason = "an estimate is enough to choose by"
)]
fn promise(state: &State, slack: i64, slopes: &Slopes) -> f64 {
    let room = slack - state.weight;
    let slope = if room >= 0 {
        &slopes.right
    } else {
        &slopes.left
    };
    state.profit as f64 + room as f64 * (slope.profit as f64 / slope.weight as f64)
}
