//! Which units are paused, and when they go on.
//!
//! A paused unit goes on when it fits, most valuable first; when nothing of as
//! much value runs; and after a [`SLICE`] in any case, in exchange for another,
//! so that none waits for ever.

use std::time::Duration;

use model::{Action, Cost, Memory, Moment, Process, ProcessId};
use serde::{Deserialize, Serialize};

use crate::buffer::reserve_to;
use crate::gate::Gate;
use crate::levels::{Levels, share};
use crate::units::Unit;

/// A unit waits so long, and is then given as long to run.
const SLICE: Duration = Duration::from_secs(30);
/// A unit that a person let go on, or that could not be frozen, is left alone for so long.
const LEFT_ALONE: Duration = Duration::from_secs(300);
/// Paging out takes no longer, or is not waited for.
const PAGING_OUT: Duration = Duration::from_secs(5);
/// By then enough is paged out to see what zram gains.
const GAIN_SEEN: Duration = Duration::from_secs(2);
/// No unit is thawed before tasks have not stalled for so long,
const CALM: Duration = Duration::from_secs(2);
/// nor before it was paused for so long,
const LEAST: Duration = Duration::from_secs(5);
/// nor so soon after another: what the last one takes is to be seen first.
const BETWEEN: Duration = Duration::from_secs(1);

/// One unit that is or was paused.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Pause {
    /// The process that leads it.
    unit: ProcessId,
    stage: Stage,
    /// As of the last table, all its members together; in bytes.
    swap_bytes: u64,
    /// What it costs to pause, as of the last table.
    cost: Cost,
    /// What it held when it was paused.
    held_bytes: u64,
    /// How fast it grew when it was paused.
    growth_bytes_per_second: u64,
    /// Whether a member is in the last table.
    is_there: bool,
    /// As much as can be of it is paged out.
    is_paged_out: bool,
    /// A person wants it paused: it goes on by a person's word alone.
    #[serde(default)]
    is_kept: bool,
    /// That is this user.
    #[serde(default)]
    kept_by: u32,
    /// It goes on as soon as some of it is paged out.
    #[serde(default)]
    tries_swap: bool,
    /// How often it had its turn and did not show that it is no leak.
    #[serde(default)]
    turns: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Paused {
        since: Moment,
    },
    /// It runs, and is not paused again before then.
    Spared {
        until: Moment,
    },
    /// It could not be frozen, and until then that is not tried again.
    Unfrozen {
        until: Moment,
    },
    /// It runs until then, or until memory is short: it had grown without end.
    Trial {
        until: Moment,
    },
    /// It was on trial until lately, and runs. If it is paused before then, and grows, it
    /// still does so without end.
    Tried {
        until: Moment,
    },
    /// It runs, and until then takes back what it has in swap.
    Returning {
        until: Moment,
    },
}

/// How a unit stands to pausing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Turned {
    /// It was not paused lately.
    #[default]
    Never,
    /// It goes on, and is the first to be paused should tasks stall.
    Trial,
    /// It goes on, and is not to be paused for now.
    Spared,
    /// It goes on, and cannot be paused.
    Unfrozen,
    /// It is paused.
    Paused,
}

/// What is paused, and what was until lately.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Pauses {
    units: Vec<Pause>,
    /// Each process of them and the pid of its unit's leader, sorted.
    members: Vec<(ProcessId, u32)>,
    /// When tasks last stalled.
    stalled: Option<Moment>,
    last_thaw: Option<Moment>,
    last_slice: Option<Moment>,
    /// The last for which none could be paused in its place.
    #[serde(default)]
    refused: Option<ProcessId>,
}

/// How many may be paused at once.
#[derive(Clone, Copy)]
struct Limit {
    units: usize,
    processes: usize,
}

/// What runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Running {
    /// What the most valuable unit costs to pause that holds a noticeable amount.
    pub(crate) cost: Cost,
    /// What all are expected to take more.
    growth_bytes: u64,
}

impl Running {
    pub(crate) fn add_growth(&mut self, unit: &Unit) {
        self.growth_bytes = self.growth_bytes.saturating_add(expected_growth(unit));
    }
}

/// What `unit` takes within a slice: as much again as it holds at most, for what
/// loads grows as a leak does.
pub(crate) fn expected_growth(unit: &Unit) -> u64 {
    let growth = unit.growth.bytes_per_second;
    growth
        .saturating_mul(SLICE.as_secs())
        .min(unit.held_bytes())
}

/// Whatever a unit costs.
pub(crate) const ANY: Cost = Cost::from_parts(u64::MAX);

/// A unit that is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// The process that leads it.
    pub(crate) unit: ProcessId,
    /// What it needs in memory where there is no room for it: to be had by pausing
    /// another. No more than that is paged out for one that may grow without end.
    pub(crate) missing_bytes: Option<u64>,
    /// Whether it may be a leak: it goes on until memory is short.
    pub(crate) is_trial: bool,
    /// Whether it goes on even if none may be paused in its place.
    pub(crate) is_let_go_anyway: bool,
    /// Whether it is to be left running for as long as it has waited.
    pub(crate) has_waited: bool,
    /// What another may cost at most that is paused in its place.
    pub(crate) most: Cost,
}

/// For its time slice, none is paused that costs more than so many times as much.
const MUCH_DEARER: u64 = 10;
/// The same for one that may be a leak, once it has waited for two, or had one.
const DEARER: u64 = 2;
/// The wait for a time slice is doubled so often at most: that is half an hour.
const MOST_DOUBLINGS: u32 = 6;
/// What is on trial is stopped within such a part of a second of when memory is short.
const SEEN_WITHIN: u64 = 4;

impl Pauses {
    /// How many units may be paused at once, and of how many processes: more are
    /// a fork bomb, which is killed.
    pub(crate) const MOST: usize = 64;
    const ALL: Limit = Limit {
        units: Self::MOST,
        processes: 256,
    };
    /// How many of them people may keep so: the rest is left to us.
    const KEPT: Limit = Limit {
        units: 32,
        processes: 128,
    };
    /// How many of those one user may, unless that is root.
    const KEPT_BY_ONE: Limit = Limit {
        units: 8,
        processes: 96,
    };

    /// Whether these units may be paused, each given as its leader and the number of its
    /// processes. One that is known already is counted once.
    pub(crate) fn has_room(
        &mut self,
        units: impl Iterator<Item = (ProcessId, usize)> + Clone,
    ) -> bool {
        self.has_room_in(Self::ALL, |_| true, units)
    }

    /// Whether `uid` may keep a unit paused, which is given like that.
    pub(crate) fn has_room_to_keep(&mut self, uid: u32, unit: (ProcessId, usize)) -> bool {
        let is_its = |pause: &Pause| pause.is_kept && pause.kept_by == uid;
        let unit = std::iter::once(unit);
        (uid == 0 || self.has_room_in(Self::KEPT_BY_ONE, is_its, unit.clone()))
            && self.has_room_in(Self::KEPT, |pause| pause.is_kept, unit.clone())
            && self.has_room(unit)
    }

    fn has_room_in(
        &mut self,
        limit: Limit,
        counts: impl Fn(&Pause) -> bool + Copy,
        units: impl Iterator<Item = (ProcessId, usize)> + Clone,
    ) -> bool {
        if self.holds(limit, counts, units.clone()) {
            return true;
        }
        self.retain(|pause| !pause.is_over());
        self.holds(limit, counts, units)
    }

    fn holds(
        &self,
        limit: Limit,
        counts: impl Fn(&Pause) -> bool,
        units: impl Iterator<Item = (ProcessId, usize)>,
    ) -> bool {
        let processes_of = |unit: u32| self.members.iter().filter(move |it| it.1 == unit).count();
        let counted = self.units.iter().filter(|pause| counts(pause));
        let (mut count, mut processes) = (0, 0);
        for pause in counted.clone() {
            count += 1;
            processes += processes_of(pause.unit.pid);
        }
        for (leader, more) in units {
            if counted.clone().any(|pause| pause.unit == leader) {
                processes -= processes_of(leader.pid);
            } else {
                count += 1;
            }
            processes += more;
        }
        count <= limit.units && processes <= limit.processes
    }

    pub(crate) fn reserve(&mut self, processes: usize) {
        reserve_to(&mut self.units, processes.min(Self::MOST));
        reserve_to(&mut self.members, processes.min(Self::ALL.processes));
    }

    /// Forgets all, and keeps its room.
    pub(crate) fn forget_all(&mut self) {
        self.units.clear();
        self.members.clear();
        self.stalled = None;
        self.last_thaw = None;
        self.last_slice = None;
        self.refused = None;
    }

    /// Whether no unit is or was lately paused.
    pub(crate) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Whether any unit is paused.
    pub(crate) fn any(&self) -> bool {
        self.units.iter().any(Pause::is_paused)
    }

    /// Whether what was paused of late is still being paged out: what that comes
    /// to is to be seen first.
    pub(crate) fn any_pages_out(&self, now: Moment) -> bool {
        self.any_pages_out_for_less_than(now, PAGING_OUT)
    }

    /// The same, for as long as it takes to see what the first of it gains.
    pub(crate) fn any_begins_to_page_out(&self, now: Moment) -> bool {
        self.any_pages_out_for_less_than(now, GAIN_SEEN)
    }

    fn any_pages_out_for_less_than(&self, now: Moment, limit: Duration) -> bool {
        let is_new = |since| now.since(since) < limit;
        let mut units = self.units.iter();
        units.any(|pause| !pause.is_paged_out && pause.since().is_some_and(is_new))
    }

    /// As much as can be of `unit` is paged out.
    pub(crate) fn paged_out(&mut self, unit: ProcessId) {
        if let Some(pause) = self.of_unit(unit) {
            pause.is_paged_out = true;
        }
    }

    /// Whether any unit runs on trial.
    pub(crate) fn any_on_trial(&self, now: Moment) -> bool {
        let is_on_trial =
            |pause: &Pause| matches!(pause.stage, Stage::Trial { until } if now < until);
        self.units.iter().any(is_on_trial)
    }

    /// The leader under which `id` was paused, where it is.
    pub(crate) fn paused_as(&self, id: ProcessId) -> Option<ProcessId> {
        let pause = self.of_member(id).filter(|pause| pause.is_paused())?;
        Some(pause.unit)
    }

    /// How the unit that `id` is a member of stands.
    pub(crate) fn turned(&self, now: Moment, id: ProcessId) -> Turned {
        match self.of_member(id).map(|pause| pause.stage) {
            Some(Stage::Paused { .. }) => Turned::Paused,
            Some(Stage::Spared { until }) if now < until => Turned::Spared,
            Some(Stage::Unfrozen { until }) if now < until => Turned::Unfrozen,
            Some(Stage::Trial { until }) if now < until => Turned::Trial,
            _ => Turned::Never,
        }
    }

    /// Whether the unit that `id` is a member of was paused while it grew: whether it
    /// would grow on cannot be seen. Once it has waited for its slice, it may have
    /// been loading, for all that is known.
    pub(crate) fn grew(&self, now: Moment, id: ProcessId) -> bool {
        self.of_member(id).is_some_and(|pause| match pause.stage {
            Stage::Paused { since } => pause.is_leak() && now.since(since) < SLICE,
            Stage::Trial { .. } => pause.is_leak(),
            Stage::Spared { .. }
            | Stage::Unfrozen { .. }
            | Stage::Tried { .. }
            | Stage::Returning { .. } => false,
        })
    }

    /// Whether the unit that `id` is a member of goes on after it grew, for too short a
    /// time yet to tell by what it took.
    pub(crate) fn is_just_back(&self, now: Moment, memory: &Memory, id: ProcessId) -> bool {
        self.of_member(id).is_some_and(|pause| match pause.stage {
            Stage::Trial { until } | Stage::Returning { until } => {
                pause.is_leak() && !memory.is_noticeable(pause.expected_bytes(now, until))
            }
            Stage::Paused { .. }
            | Stage::Spared { .. }
            | Stage::Unfrozen { .. }
            | Stage::Tried { .. } => false,
        })
    }

    fn of_member(&self, id: ProcessId) -> Option<&Pause> {
        let found = self.members.binary_search_by_key(&id, |member| member.0);
        let (_, unit) = self.members[found.ok()?];
        self.units.iter().find(|pause| pause.unit.pid == unit)
    }

    fn of_unit(&mut self, unit: ProcessId) -> Option<&mut Pause> {
        self.units.iter_mut().find(|pause| pause.unit == unit)
    }

    /// Tasks stall.
    pub(crate) fn stalls(&mut self, now: Moment) {
        self.stalled = Some(now);
    }

    /// Whether tasks stalled within a window of the gate.
    pub(crate) fn stalled_lately(&self, now: Moment) -> bool {
        let is_late = |since| now.since(since) < Gate::WINDOW;
        self.stalled.is_some_and(is_late)
    }

    /// The unit that `leader` leads is paused; its members are added next.
    pub(crate) fn pause(
        &mut self,
        now: Moment,
        memory: &Memory,
        leader: ProcessId,
        unit: &Unit,
        cost: Cost,
    ) {
        let grew = self.of_unit(leader).map_or(0, |pause| match pause.stage {
            Stage::Returning { .. } | Stage::Tried { .. } if !unit.grows_on => 0,
            Stage::Trial { until } if pause.has_loaded(now, until, memory, unit) => 0,
            _ => pause.growth_bytes_per_second,
        });
        let turns = self.of_unit(leader).map_or(0, |pause| match pause.stage {
            // It has loaded.
            _ if grew == 0 => 0,
            Stage::Trial { .. } | Stage::Tried { .. } => pause.turns.saturating_add(1),
            Stage::Paused { .. }
            | Stage::Spared { .. }
            | Stage::Unfrozen { .. }
            | Stage::Returning { .. } => pause.turns,
        });
        self.drop_unit(leader);
        self.units.push(Pause {
            unit: leader,
            stage: Stage::Paused { since: now },
            swap_bytes: unit.swap_bytes,
            cost,
            held_bytes: unit.held_bytes(),
            growth_bytes_per_second: if unit.grows_on {
                grew.max(unit.growth.bytes_per_second)
            } else {
                // In a short time slice that does not show.
                grew
            },
            is_there: true,
            is_paged_out: false,
            is_kept: false,
            kept_by: 0,
            tries_swap: false,
            turns,
        });
    }

    /// `id` is paused with the unit that `leader` leads. [`Self::sort`] comes
    /// after the last.
    pub(crate) fn add(&mut self, id: ProcessId, leader: ProcessId) {
        // One that had been in another unit is in the newer.
        self.members.retain(|member| member.0 != id);
        self.members.push((id, leader.pid));
    }

    /// To be called after additions: the members are searched by halves.
    pub(crate) fn sort(&mut self) {
        self.members.sort_unstable();
        // What has become part of another unit goes on with that.
        let members = &self.members;
        let has_any = |unit: u32| members.iter().any(|member| member.1 == unit);
        self.units.retain(|pause| has_any(pause.unit.pid));
    }

    /// `id` could not be stopped, or is gone.
    pub(crate) fn leave_out(&mut self, id: ProcessId) {
        let Ok(found) = self.members.binary_search_by_key(&id, |member| member.0) else {
            return;
        };
        let (_, unit) = self.members.remove(found);
        if !self.members.iter().any(|member| member.1 == unit) {
            self.units.retain(|pause| pause.unit.pid != unit);
        }
    }

    fn drop_unit(&mut self, unit: ProcessId) {
        self.units.retain(|pause| pause.unit != unit);
        self.members.retain(|member| member.1 != unit.pid);
    }

    /// The paused unit that `unit` leads stays so until a person lets it go on, as `uid`
    /// wants.
    pub(crate) fn keep(&mut self, unit: ProcessId, uid: u32) {
        if let Some(pause) = self.of_unit(unit).filter(|pause| !pause.is_kept) {
            pause.is_kept = true;
            pause.kept_by = uid;
        }
    }

    /// Whether the unit that `unit` leads is paused, whatever has become of its leader.
    pub(crate) fn is_paused(&self, unit: ProcessId) -> bool {
        self.paused(unit).is_some()
    }

    /// Whether it is, because a person wants it.
    pub(crate) fn is_kept(&self, unit: ProcessId) -> bool {
        self.paused(unit).is_some_and(|pause| pause.is_kept)
    }

    /// Since when the unit that `unit` leads is paused, if it is.
    pub(crate) fn paused_since(&self, unit: ProcessId) -> Option<Moment> {
        self.paused(unit)?.since()
    }

    /// Whether any is paused that was then.
    pub(crate) fn any_paused_since(&self, since: Moment) -> bool {
        let mut units = self.units.iter();
        units.any(|pause| pause.since() == Some(since))
    }

    fn paused(&self, unit: ProcessId) -> Option<&Pause> {
        let mut units = self.units.iter();
        units.find(|pause| pause.unit == unit && pause.is_paused())
    }

    /// The paused unit that `unit` leads goes on as soon as some of it is paged out.
    pub(crate) fn is_to_try_swap(&mut self, unit: ProcessId) {
        if let Some(pause) = self.of_unit(unit) {
            pause.tries_swap = true;
        }
    }

    /// None could be paused in place of `unit`: its slice is another's first.
    pub(crate) fn refused(&mut self, unit: ProcessId) {
        self.refused = Some(unit);
    }

    /// The unit goes on. One that has waited for its slice is given as long.
    pub(crate) fn thawed(&mut self, now: Moment, unit: ProcessId, spared: bool) {
        self.last_thaw = Some(now);
        let Some(pause) = self.of_unit(unit) else {
            return;
        };
        let until = now + SLICE;
        match (spared, pause.is_leak()) {
            (true, true) => pause.stage = Stage::Trial { until },
            (true, false) => pause.stage = Stage::Spared { until },
            (false, _) => pause.stage = Stage::Returning { until },
        }
        if spared {
            self.last_slice = Some(now);
            self.refused = None;
        }
    }

    /// The unit runs, though it was not thawed here. Whether it was paused for a moment
    /// only, to try swap.
    pub(crate) fn continued(&mut self, now: Moment, unit: ProcessId) -> bool {
        let until = now + LEFT_ALONE;
        self.runs_on(unit, Stage::Spared { until })
    }

    /// The unit could not be frozen. Whether it was to be paused for a moment only, to try
    /// swap.
    pub(crate) fn unfrozen(&mut self, now: Moment, unit: ProcessId) -> bool {
        let until = now + LEFT_ALONE;
        self.runs_on(unit, Stage::Unfrozen { until })
    }

    fn runs_on(&mut self, unit: ProcessId, stage: Stage) -> bool {
        self.of_unit(unit).is_some_and(|pause| {
            pause.stage = stage;
            pause.tries_swap
        })
    }

    /// Forgets what is not among `processes` any more or is spared no longer,
    /// and notes what the others have in swap. What is paused and not among them may only
    /// be out of what is guarded: it is let go on.
    pub(crate) fn follow(&mut self, now: Moment, processes: &[Process], actions: &mut Vec<Action>) {
        if self.units.is_empty() {
            return;
        }
        for pause in &mut self.units {
            pause.swap_bytes = 0;
            pause.is_there = false;
            if let Stage::Trial { until } = pause.stage
                && until <= now
            {
                pause.stage = Stage::Tried {
                    until: until + SLICE,
                };
            }
        }
        let units = &mut self.units;
        self.members.retain(|(id, unit)| {
            let Some(process) = Process::find(processes, *id) else {
                return false;
            };
            if let Some(pause) = units.iter_mut().find(|pause| pause.unit.pid == *unit) {
                pause.swap_bytes = pause.swap_bytes.saturating_add(process.swap_bytes);
                pause.is_there = true;
            }
            true
        });
        let left = |pause: &&Pause| pause.is_paused() && !pause.is_there;
        actions.extend(
            units
                .iter()
                .filter(left)
                .map(|pause| Action::Thaw(pause.unit)),
        );
        self.retain(|pause| {
            pause.is_there
                && match pause.stage {
                    Stage::Paused { .. } => true,
                    Stage::Spared { until }
                    | Stage::Unfrozen { until }
                    | Stage::Trial { until }
                    | Stage::Tried { until }
                    | Stage::Returning { until } => now < until,
                }
        });
    }

    /// Forgets units, and their members with them.
    fn retain(&mut self, stays: impl Fn(&Pause) -> bool) {
        let Self { units, members, .. } = self;
        units.retain(stays);
        members.retain(|member| units.iter().any(|pause| pause.unit.pid == member.1));
    }

    /// What it costs to pause the unit that `id` is paused in, as of now.
    pub(crate) fn note_cost(&mut self, id: ProcessId, cost: Cost) {
        if let Some(pause) = self.paused_as(id).and_then(|unit| self.of_unit(unit)) {
            pause.cost = cost;
        }
    }

    /// `memory`, of which what is paged out and is in memory still counts as
    /// available: the kernel takes it for others first, and for one on trial it is
    /// there already. The levels do not count on it. Nor does it count for others
    /// that run: while tasks thrash, the swap cache is full of what is on its way.
    pub(crate) fn with_cached(&self, memory: &Memory) -> Memory {
        let is_in =
            |pause: &Pause| matches!(pause.stage, Stage::Paused { .. } | Stage::Trial { .. });
        self.with_cached_of(memory, is_in)
    }

    fn with_cached_of(&self, memory: &Memory, is_in: fn(&Pause) -> bool) -> Memory {
        let cached = memory.swap_cached_bytes.min(self.in_swap(is_in));
        Memory {
            available_bytes: memory.available_bytes.saturating_add(cached),
            ..*memory
        }
    }

    fn in_swap(&self, is_in: impl Fn(&Pause) -> bool) -> u64 {
        let units = self.units.iter().filter(|pause| is_in(pause));
        units.fold(0, |sum, pause| u64::saturating_add(sum, pause.swap_bytes))
    }

    /// What may go on in. Of what was let go on a moment ago the rest is still to come,
    /// and what runs grows.
    fn room(&self, now: Moment, memory: &Memory, levels: &Levels, running: Running) -> u64 {
        let taken = levels
            .recovery_memory
            .saturating_add(self.in_swap(|pause| pause.comes_back(now)))
            .saturating_add(running.growth_bytes);
        let available = self.with_cached_of(memory, |_| true).available_bytes;
        available.saturating_sub(taken)
    }

    /// Which unit is to go on now, if any.
    pub(crate) fn turn(
        &self,
        now: Moment,
        memory: &Memory,
        levels: &Levels,
        running: Running,
    ) -> Option<Turn> {
        let has_passed =
            |since: Option<Moment>, span| since.is_none_or(|since| span <= now.since(since));
        if !has_passed(self.last_thaw, BETWEEN) {
            return None;
        }
        let tried = self.units.iter().find(|pause| pause.has_tried_swap(now));
        if let Some(pause) = tried {
            return Some(Turn {
                unit: pause.unit,
                missing_bytes: None,
                is_trial: false,
                is_let_go_anyway: true,
                has_waited: false,
                most: ANY,
            });
        }
        let ours = self.units.iter().filter(|pause| !pause.is_kept);
        let mut paused = ours.filter_map(|pause| Some((pause, now.since(pause.since()?))));
        let room = self.room(now, memory, levels, running);
        let swap_room = memory
            .free_swap_bytes()
            .saturating_sub(levels.warn_swap)
            .saturating_sub(running.growth_bytes);
        // What grows is to be paused again, and for a second time as well.
        let can_grow = |pause: &Pause| pause.growth_bytes(now) <= swap_room / 2;
        // One that has nothing in swap still needs memory not to be short.
        let fits = |pause: &Pause| {
            let needed = pause.swap_bytes.saturating_add(pause.growth_bytes(now));
            needed.max(1) <= room && can_grow(pause)
        };
        let fits_as_it_is = |pause: &Pause| pause.swap_bytes.max(1) <= room;
        // Beside what is paged out for it, swap is to hold what it takes until it is stopped,
        // and for a second time as well.
        let to_grow = |pause: &Pause| {
            let others = if fits_as_it_is(pause) {
                0
            } else {
                pause.swap_bytes
            };
            swap_room.saturating_sub(others) / 2
        };
        let can_be_tried = |pause: &Pause| {
            let left = room.saturating_sub(pause.swap_bytes);
            let takes = left.min(pause.expected_growth());
            let until_seen = pause.growth_bytes_per_second / SEEN_WITHIN;
            takes.saturating_add(until_seen) <= to_grow(pause)
        };
        let missing = |pause: &Pause| {
            let more = to_grow(pause).min(pause.expected_growth());
            let is_exchanged = !fits_as_it_is(pause) && can_be_tried(pause);
            is_exchanged.then(|| pause.swap_bytes.saturating_add(more))
        };
        let has_its_turn = |pause: &Pause, waited: Duration| {
            pause.wait() <= waited && (can_be_tried(pause) || can_grow(pause))
        };
        if has_passed(self.stalled, CALM) {
            let most = paused.clone().map(|(pause, _)| pause.cost).max();
            let is_wanted = |pause: &Pause| running.cost < pause.cost && Some(pause.cost) == most;
            let may_go_on = |(pause, waited): &(&Pause, Duration)| {
                LEAST <= *waited && (fits(pause) || is_wanted(pause))
            };
            let best = paused
                .clone()
                .filter(may_go_on)
                .max_by_key(|(pause, waited)| (pause.cost, *waited));
            if let Some((pause, waited)) = best {
                // If it may be a leak, it takes no more than there is before its turn comes.
                let has_its_turn = !pause.is_leak() || pause.wait() <= waited;
                let missing_bytes = missing(pause).filter(|_| has_its_turn);
                return Some(Turn {
                    unit: pause.unit,
                    missing_bytes,
                    is_trial: pause.is_leak() && missing_bytes.is_some(),
                    is_let_go_anyway: true,
                    has_waited: false,
                    most: ANY,
                });
            }
        }
        if !has_passed(self.last_slice, SLICE) {
            return None;
        }
        // One for which nothing can be paused, or nothing dear, keeps no other from its slice.
        let (pause, _) = paused
            .by_ref()
            .filter(|(pause, waited)| has_its_turn(pause, *waited))
            .max_by_key(|(pause, waited)| {
                let is_refused = self.refused == Some(pause.unit);
                (!is_refused, running.cost <= pause.most(now), *waited)
            })?;
        Some(Turn {
            unit: pause.unit,
            missing_bytes: missing(pause),
            is_trial: pause.is_leak(),
            is_let_go_anyway: pause.is_leak() && can_grow(pause),
            has_waited: true,
            most: pause.most(now),
        })
    }
}

impl Pause {
    fn is_paused(&self) -> bool {
        self.since().is_some()
    }

    /// What another may cost at most that is paused for its time slice. For one that may
    /// be a leak that is no more than itself at first.
    fn most(&self, now: Moment) -> Cost {
        let times = match self.stage {
            Stage::Paused { since } if self.is_leak() => {
                let has_waited = slices(now.since(since)) > 1 || self.turns > 0;
                if has_waited { DEARER } else { 1 }
            }
            _ => MUCH_DEARER,
        };
        Cost::from_parts(self.cost.parts().max(1).saturating_mul(times))
    }

    /// How long it waits for its turn: twice as long after each but the first in which it
    /// grew on.
    fn wait(&self) -> Duration {
        SLICE.saturating_mul(1 << self.turns.saturating_sub(1).min(MOST_DOUBLINGS))
    }

    /// Since when it is paused; `None` where it runs.
    fn since(&self) -> Option<Moment> {
        match self.stage {
            Stage::Paused { since } => Some(since),
            Stage::Spared { .. }
            | Stage::Unfrozen { .. }
            | Stage::Trial { .. }
            | Stage::Tried { .. }
            | Stage::Returning { .. } => None,
        }
    }

    /// Whether it was paused so that some of it was paged out, and is, or cannot be.
    fn has_tried_swap(&self, now: Moment) -> bool {
        let is_over = |since| self.is_paged_out || PAGING_OUT <= now.since(since);
        self.tries_swap && self.since().is_some_and(is_over) && !self.is_kept
    }

    /// Whether it runs, and neither has its turn nor is left alone, but for what a person
    /// had kept paused.
    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Returning { .. } | Stage::Tried { .. })
            || self.is_kept && !self.is_paused()
    }

    /// Whether it runs, and was let go on so lately that it takes back what it has in
    /// swap. What a person let go on may leave it there.
    fn comes_back(&self, now: Moment) -> bool {
        match self.stage {
            Stage::Paused { .. } | Stage::Tried { .. } => false,
            Stage::Returning { .. } => true,
            // It may have been paused until its keeper ended.
            Stage::Unfrozen { until } => LEFT_ALONE.saturating_sub(until.since(now)) <= SLICE,
            Stage::Spared { until } | Stage::Trial { until } => until.since(now) <= SLICE,
        }
    }

    /// What it has taken since it was let go on, for a slice that ends then, if it grows on.
    fn expected_bytes(&self, now: Moment, until: Moment) -> u64 {
        let ran = SLICE.saturating_sub(until.since(now)).as_millis();
        share(
            u64::try_from(ran).unwrap_or(u64::MAX),
            1000,
            self.growth_bytes_per_second,
        )
    }

    /// Whether `unit`, which is the same, took back what it had and little more, while a
    /// leak would have taken much: it was loading, and has loaded.
    fn has_loaded(&self, now: Moment, until: Moment, memory: &Memory, unit: &Unit) -> bool {
        let expected = self.expected_bytes(now, until);
        let taken = unit.held_bytes().saturating_sub(self.held_bytes);
        memory.is_noticeable(expected) && taken < expected / 2
    }

    /// Whether it grew when it was paused, and would take any room there is.
    fn is_leak(&self) -> bool {
        self.growth_bytes_per_second > 0
    }

    /// What it would have taken within a slice: as much again as it held at most.
    fn expected_growth(&self) -> u64 {
        self.growth_bytes_per_second
            .saturating_mul(SLICE.as_secs())
            .min(self.held_bytes)
    }

    /// What it is expected to take once it goes on, beyond what it has in swap. The
    /// longer it waits the less is made of it, or it would wait for ever: half with
    /// each slice.
    fn growth_bytes(&self, now: Moment) -> u64 {
        let expected = self.expected_growth();
        let Some(since) = self.since() else {
            return expected;
        };
        expected.checked_shr(slices(now.since(since))).unwrap_or(0)
    }
}

/// How many time slices have passed.
fn slices(waited: Duration) -> u32 {
    u32::try_from(waited.as_secs() / SLICE.as_secs()).unwrap_or(u32::MAX)
}
