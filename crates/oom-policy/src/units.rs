//! What dies together.
//!
//! A process is a unit, but for four rules. A process that registered a value
//! takes with it those descendants that have no entry of their own and that
//! its owner may signal: a training run and its loaders are one. Processes that
//! have one memory are one, because none of it comes back before all have ended.
//! A worker that its supervisor started again each time it was killed is one
//! with that and all that it has started. And where the administrator says so, a
//! process group, a session or a cgroup is one. The value of these three is the sum
//! of their entries; a rule's value counts once in it.
//!
//! What is never killed, and what is already dying, is a unit of its own that
//! cannot be chosen: it still counts where growth is measured. This module does
//! not weigh anything.

use model::{Cost, Preference, Process, Protection, Seen};

use crate::buffer::{at, reserve_to};
use crate::critical::Critical;
use crate::forest::Forest;
use crate::lineage::{Births, Group};
use crate::pauses::Turned;
use crate::respawn::Back;
use crate::settings::Settings;
use crate::value::Part;

/// What can still be done to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It may be ended.
    Free,
    /// It was signalled, and its memory is pending.
    Dying,
    /// It is never ended, or did not end when it should have.
    Never,
}

/// Processes that are killed together. Indices are into the snapshot's
/// processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    /// The process it is called after.
    pub(crate) leader: u32,
    pub(crate) processes: u32,
    pub(crate) standing: Standing,
    /// What its entry says.
    pub(crate) value: Option<u32>,
    pub(crate) preference: Preference,
    /// The lowest of its processes': what one is spared for goes for all.
    pub(crate) oom_score_adj: i16,
    pub(crate) critical: bool,
    /// Whether each of its processes may be paused of which that is known.
    pub(crate) pausable: bool,
    /// What those hold of which it is not yet known.
    pub(crate) unsurveyed_bytes: u64,
    pub(crate) turned: Turned,
    /// It was paused while it grew.
    pub(crate) grew: bool,
    /// It grows, and what it would take of memory before others had their time matters to
    /// them: a little that it allocates while all stall makes no leak of it.
    pub(crate) grows_on: bool,
    /// A service of the machine.
    pub(crate) system: bool,
    /// What its leader belongs to.
    pub(crate) group: Group,
    /// Written by [`crate::value::Groups`], as is the next.
    pub(crate) part: Part,
    /// Whether it would soon take more than all else could free.
    pub(crate) outgrows: bool,
    /// Anonymous resident and last-mapped shared memory, in bytes: what can be
    /// paged out.
    pub(crate) resident_bytes: u64,
    pub(crate) page_table_bytes: u64,
    pub(crate) swap_bytes: u64,
    /// Others map the shared memory as well that several of its processes map.
    shares_outside: bool,
    pub(crate) growth: UnitGrowth,
    /// The unit whose end ends this one too.
    pub(crate) ends_with: Option<u32>,
    /// Its place among the candidates, where it is one.
    pub(crate) candidate: Option<u32>,
    /// Whether it is chosen.
    pub(crate) chosen: bool,
}

/// How a unit grew: written by [`crate::growth::Growth`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UnitGrowth {
    /// What it takes of memory now.
    pub(crate) bytes_per_second: u64,
    /// What it took in the last 10 s, and before that as well.
    pub(crate) steady_bytes_per_second: u64,
    /// What it took in the last 10 s.
    pub(crate) recent_bytes: u64,
    /// What it took in the last minute.
    pub(crate) minute_bytes: u64,
    /// What it has more than when memory was last enough.
    pub(crate) short_bytes: u64,
    /// Whether it took a tenth or more of what memory fell by in the last 10 s,
    /// and still does: what was loading and has loaded is growing no more.
    pub(crate) is_growing: bool,
    /// Whether it grew or had major faults in the last 10 s.
    pub(crate) is_active: bool,
    /// Whether much of what it holds was taken in the last minute: it is new, or
    /// grew by a quarter or more.
    pub(crate) took_part: bool,
    /// What earlier losses add against it.
    pub(crate) penalty: Cost,
}

impl Unit {
    pub(crate) fn held_bytes(&self) -> u64 {
        self.in_memory_bytes().saturating_add(self.swap_bytes)
    }

    /// What it holds without its swap.
    pub(crate) fn in_memory_bytes(&self) -> u64 {
        self.resident_bytes.saturating_add(self.page_table_bytes)
    }
}

/// Groups a snapshot's processes into units, in buffers kept from one snapshot
/// to the next.
#[derive(Debug, Default)]
pub(crate) struct Units {
    pub(crate) units: Vec<Unit>,
    /// Per process: its unit.
    pub(crate) unit_of: Vec<u32>,
    /// Per process: whether its memory stays, since another has it that is not
    /// killed.
    stays: Vec<bool>,
    forest: Forest,
    critical: Critical,
}

impl Units {
    pub(crate) fn reserve(&mut self, processes: usize) {
        reserve_to(&mut self.units, processes);
        reserve_to(&mut self.unit_of, processes);
        reserve_to(&mut self.stays, processes);
        self.forest.reserve(processes);
        self.critical.reserve(processes);
    }

    /// Groups `processes`; `standing` says what can still be done to one, and
    /// `back` which are one with their supervisor.
    pub(crate) fn group(
        &mut self,
        settings: &Settings,
        processes: &[Process],
        births: &Births,
        back: &[Back],
        standing: impl Fn(&Process) -> Standing,
    ) {
        self.critical.weigh(processes);
        let critical = &self.critical;
        let is_free = |process: &Process| standing(process) == Standing::Free;
        self.forest.plant(
            processes,
            settings,
            |index, process| !critical.has(index) && is_free(process),
            is_free,
        );
        for back in back {
            if let Some(supervisor) = back.supervisor {
                self.forest.gather(back.worker, supervisor);
            }
        }
        self.stays.clear();
        self.stays.resize(processes.len(), false);
        for process in processes {
            let owner = process
                .memory_of
                .filter(|_| standing(process) == Standing::Never);
            if let Some(owner) = owner.and_then(|id| Seen::place(processes, id)) {
                self.stays[owner] = true;
            }
        }
        self.units.clear();
        self.unit_of.clear();
        for (index, process) in (0..).zip(processes) {
            let unit = match standing(process) {
                Standing::Free => self.unit_for(processes, index),
                other => self.new_unit(index, other, None),
            };
            if self.units[at(unit)].leader == index {
                self.units[at(unit)].group = births.group(settings, index, process);
            }
            self.unit_of.push(unit);
            self.units[at(unit)].system |= births.is_service(settings, index, process);
            self.add(unit, index, process);
        }
        self.leave_out_shared(processes);
        self.tie(processes);
    }

    /// Shared memory comes back with the last process that maps it, so it counts
    /// only for a unit that has all of these.
    fn leave_out_shared(&mut self, processes: &[Process]) {
        for (index, process) in processes.iter().enumerate() {
            let Some(oldest) = process.common_with else {
                continue;
            };
            let unit = self.unit_of[index];
            let other = Seen::place(processes, oldest).map(|place| self.unit_of[place]);
            if other != Some(unit) {
                self.units[at(unit)].shares_outside = true;
                if let Some(other) = other {
                    self.units[at(other)].shares_outside = true;
                }
            }
        }
        for (index, process) in processes.iter().enumerate() {
            let unit = &mut self.units[at(self.unit_of[index])];
            if unit.shares_outside && !self.stays[index] {
                let bytes = &mut unit.resident_bytes;
                *bytes = bytes.saturating_sub(process.common_bytes);
            }
        }
    }

    /// Finds which unit's end ends which other. Of a unit that would end with
    /// several, that is the one its leader ends with.
    fn tie(&mut self, processes: &[Process]) {
        let mut any_tied = false;
        for (index, process) in (0..).zip(processes) {
            let holder = process.ends_with.or(process.memory_of);
            let Some(holder) = holder.and_then(|id| Seen::place(processes, id)) else {
                continue;
            };
            let (unit, with) = (self.unit_of[at(index)], self.unit_of[holder]);
            let age = |unit: u32| {
                let leader = processes[at(self.units[at(unit)].leader)].id;
                (leader.start_ticks, leader.pid)
            };
            // Never in a circle: what holds others is older than they are.
            if age(with) < age(unit) {
                let unit = &mut self.units[at(unit)];
                if unit.ends_with.is_none() || unit.leader == index {
                    unit.ends_with = Some(with);
                    any_tied = true;
                }
            }
        }
        if any_tied {
            self.spare_holders(processes);
        }
    }

    /// What is never killed does not end with what is killed either. (But what we
    /// may not signal is not spared by us.)
    fn spare_holders(&mut self, processes: &[Process]) {
        for (process, unit) in processes.iter().zip(&self.unit_of) {
            let is_spared = process.is_never_killed()
                && process.dossier.protection != Some(Protection::NotPermitted);
            let mut holder = self.units[at(*unit)].ends_with.filter(|_| is_spared);
            while let Some(unit) = holder {
                let unit = &mut self.units[at(unit)];
                if unit.standing == Standing::Free {
                    unit.standing = Standing::Never;
                }
                holder = unit.ends_with;
            }
        }
    }

    /// The units whose end ends `unit`: its holder, that one's, and so on.
    pub(crate) fn holders(&self, unit: u32) -> impl Iterator<Item = u32> {
        let above = |unit: &u32| self.units[at(*unit)].ends_with;
        std::iter::successors(above(&unit), above)
    }

    /// The unit of a process that may be ended.
    fn unit_for(&mut self, processes: &[Process], index: u32) -> u32 {
        let process = &processes[at(index)];
        let own = self.forest.node(index);
        let root = if self.critical.has(index) && self.forest.entry(own).is_none() {
            own
        } else {
            let covering = self.forest.covering(processes, own, process.uid);
            covering.unwrap_or(own)
        };
        let Some(unit) = self.forest.unit(root) else {
            let value = self.forest.entry(root);
            let unit = self.new_unit(index, Standing::Free, value);
            self.forest.set_unit(root, unit);
            return unit;
        };
        if index == root {
            // After pids wrapped, a leader may come after what it leads.
            self.units[at(unit)].leader = index;
        }
        unit
    }

    fn new_unit(&mut self, leader: u32, standing: Standing, value: Option<u32>) -> u32 {
        let unit = u32::try_from(self.units.len()).unwrap_or(u32::MAX);
        self.units.push(Unit {
            leader,
            processes: 0,
            standing,
            value,
            preference: Preference::None,
            oom_score_adj: i16::MAX,
            critical: false,
            pausable: true,
            unsurveyed_bytes: 0,
            turned: Turned::Never,
            grew: false,
            grows_on: false,
            system: false,
            group: Group::default(),
            part: Part::default(),
            outgrows: false,
            resident_bytes: 0,
            page_table_bytes: 0,
            swap_bytes: 0,
            shares_outside: false,
            growth: UnitGrowth::default(),
            ends_with: None,
            candidate: None,
            chosen: false,
        });
        unit
    }

    fn add(&mut self, unit: u32, index: u32, process: &Process) {
        let unit = &mut self.units[at(unit)];
        unit.processes += 1;
        unit.critical |= self.critical.has(index);
        if process.is_unsurveyed() {
            unit.unsurveyed_bytes = unit.unsurveyed_bytes.saturating_add(process.held_bytes());
        } else {
            unit.pausable &= process.may_be_paused();
        }
        unit.oom_score_adj = unit.oom_score_adj.min(process.oom_score_adj);
        unit.preference = match (unit.preference, process.dossier.preference) {
            (Preference::Avoid, _) | (_, Preference::Avoid) => Preference::Avoid,
            (Preference::Prefer, _) | (_, Preference::Prefer) => Preference::Prefer,
            (Preference::None, Preference::None) => Preference::None,
        };
        if self.stays[at(index)] {
            return;
        }
        unit.resident_bytes = unit
            .resident_bytes
            .saturating_add(process.anon_bytes)
            .saturating_add(process.shmem_bytes);
        unit.page_table_bytes = unit
            .page_table_bytes
            .saturating_add(process.page_table_bytes);
        unit.swap_bytes = unit.swap_bytes.saturating_add(process.swap_bytes);
    }
}
