//! What was signalled, and what memory is pending from it.
//!
//! A victim of SIGTERM is killed when its grace is over; one that a command is to end
//! gets SIGTERM when that has failed or its time is over. One that outlives
//! SIGKILL by the deadline while no memory comes back, or cannot be signalled,
//! is not counted on: it is never chosen again, and its memory is not pending.
//! What a kill costs is told when it has happened, not when it was decided.

use std::time::Duration;

use model::{Action, Cost, Memory, Moment, Process, ProcessId, Seen};
use serde::{Deserialize, Serialize};

use crate::buffer::reserve_to;
use crate::units::Standing;

/// Where this part of all memory comes back within a deadline, the kernel is
/// taking the victim down, which it does at some GiB a second: a large one
/// takes longer than its deadline.
const PROGRESS: u64 = 256;

/// What the kernel counts memory in on most machines; only a unit here.
const PAGE: u64 = 4096;

/// 2^32 pages, 16 TiB, are as good as more.
fn pages(bytes: u64) -> u32 {
    u32::try_from(bytes / PAGE).unwrap_or(u32::MAX)
}

/// All that were signalled and are not known to be gone, sorted.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Victims {
    list: Vec<Victim>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Victim {
    id: ProcessId,
    stage: Stage,
    /// When the stage ends.
    until: Moment,
    /// Anonymous resident and last-mapped shared memory when it last showed
    /// some, with its page tables, in pages; and its swap.
    resident: u32,
    swap: u32,
    /// The least memory and swap that was free since its deadline began, in
    /// pages.
    least_free: u32,
    /// Pid of the process whose memory it has: that comes back with the last of these.
    memory: u32,
    /// What is lost with it: its unit's value where it leads one, else nothing.
    cost: Cost,
}

/// What a table says of the victims.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Followed {
    /// One was protected before its grace was over.
    pub(crate) any_protected: bool,
    /// One that was expected to end is gone.
    pub(crate) any_gone: bool,
    /// Cost of those that are gone.
    pub(crate) lost: Cost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// A command is run; `until` its time is over.
    Commanded(Commanded),
    /// SIGTERM was sent; `until` its grace is over.
    Terminated,
    /// SIGKILL was sent; `until` its deadline.
    Killed,
    /// It outlived that, could not be signalled, or is protected by now.
    Stuck,
}

/// What a command is to end. Small, since there is room for as many victims as there
/// are processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commanded {
    /// The pid of its unit's leader; 0 where another scope has the command run, and
    /// sends the signal.
    unit: u32,
    /// From SIGTERM to SIGKILL.
    grace_millis: u32,
    /// So long before its time is over, others are chosen as well: that may be longer
    /// than a grace.
    last_millis: u32,
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

impl Commanded {
    /// In the unit of `leader`. Others are chosen for the last part of its time.
    pub(crate) fn by(leader: ProcessId, grace: Duration, last: Duration) -> Self {
        Self {
            unit: leader.pid,
            grace_millis: millis(grace),
            last_millis: millis(last),
        }
    }

    /// For another scope.
    fn elsewhere() -> Self {
        Self {
            unit: 0,
            grace_millis: 0,
            last_millis: 0,
        }
    }

    fn is_here(self) -> bool {
        self.unit > 0
    }

    fn grace(self) -> Duration {
        Duration::from_millis(self.grace_millis.into())
    }

    /// Until then nothing else is chosen, as in a grace.
    fn alone_until(self, until: Moment) -> Moment {
        until.before(Duration::from_millis(self.last_millis.into()))
    }
}

impl Victim {
    fn new(process: &Process, stage: Stage, until: Moment, cost: Cost) -> Self {
        let mut victim = Self {
            id: process.id,
            stage,
            until,
            resident: 0,
            swap: 0,
            least_free: u32::MAX,
            memory: process.memory_of.unwrap_or(process.id).pid,
            cost,
        };
        victim.note(process);
        victim
    }

    fn note(&mut self, process: &Process) {
        let resident_bytes = process.anon_bytes.saturating_add(process.shmem_bytes);
        if resident_bytes > 0 || process.swap_bytes > 0 {
            // Page tables are as they were when all of it was last read.
            self.resident = pages(resident_bytes.saturating_add(process.page_table_bytes));
            self.swap = pages(process.swap_bytes);
        }
    }

    fn is_in_grace(&self) -> bool {
        matches!(self.stage, Stage::Commanded(_) | Stage::Terminated)
    }

    /// It lives on. Should it end later, that is not our doing.
    fn spare(&mut self) {
        self.stage = Stage::Stuck;
        self.cost = Cost::ZERO;
    }
}

impl Victims {
    pub(crate) fn reserve(&mut self, processes: usize) {
        reserve_to(&mut self.list, processes);
    }

    pub(crate) fn standing(&self, id: ProcessId) -> Option<Standing> {
        let found = self.find(id)?;
        Some(match self.list[found].stage {
            Stage::Commanded(_) | Stage::Terminated | Stage::Killed => Standing::Dying,
            Stage::Stuck => Standing::Never,
        })
    }

    /// Whether `id` is still expected to end.
    pub(crate) fn is_dying(&self, id: ProcessId) -> bool {
        self.standing(id) == Some(Standing::Dying)
    }

    /// Whether any is still expected to end.
    pub(crate) fn any_dying(&self) -> bool {
        self.list.iter().any(|victim| victim.stage != Stage::Stuck)
    }

    /// Whether nothing else is chosen while one is expected to end: a command may take
    /// longer than a grace.
    pub(crate) fn any_alone(&self, now: Moment) -> bool {
        self.list.iter().any(|victim| match victim.stage {
            Stage::Commanded(it) => now < it.alone_until(victim.until),
            Stage::Terminated | Stage::Killed => true,
            Stage::Stuck => false,
        })
    }

    /// Forgets victims that are no longer among `processes`, and notes what the
    /// others hold.
    ///
    /// The kernel shows a process without memory from the moment it begins to
    /// take that down (exit_mm), which is before it is back. Until its end is
    /// known, what it last showed is pending.
    ///
    /// One that is protected before its grace is over is not killed.
    pub(crate) fn follow(&mut self, processes: &[Process]) -> Followed {
        let mut followed = Followed::default();
        for index in 0..self.list.len() {
            let is_there = |victim: &Victim| Seen::place(processes, victim.id).is_some();
            if !is_there(&self.list[index]) {
                self.bequeath(index, is_there);
            }
        }
        self.list.retain_mut(|victim| {
            let found = processes.binary_search_by_key(&victim.id, |process| process.id);
            if let Ok(found) = found {
                let process = &processes[found];
                victim.note(process);
                if victim.is_in_grace() && process.is_never_killed() {
                    victim.spare();
                    followed.any_protected = true;
                }
            } else {
                followed.any_gone |= victim.stage != Stage::Stuck;
                followed.lost = followed.lost.saturating_add(victim.cost);
            }
            found.is_ok()
        });
        followed
    }

    /// What is pending from those expected to exit: resident, and swap, in
    /// bytes.
    pub(crate) fn pending_bytes(&self) -> (u64, u64) {
        let awaited = self.list.iter().filter(|it| it.stage != Stage::Stuck);
        awaited.fold((0, 0), |(resident, swap): (u64, u64), victim| {
            (
                resident.saturating_add(u64::from(victim.resident) * PAGE),
                swap.saturating_add(u64::from(victim.swap) * PAGE),
            )
        })
    }

    /// Forgets `id`. Returns what is lost with it.
    pub(crate) fn forget(&mut self, id: ProcessId) -> Cost {
        let Some(found) = self.find(id) else {
            return Cost::ZERO;
        };
        self.bequeath(found, |_| true);
        self.list.remove(found).cost
    }

    /// What the victim there held is pending from another that has its memory, where
    /// one is left that `is_there`.
    fn bequeath(&mut self, index: usize, is_there: impl Fn(&Victim) -> bool) {
        let gone = self.list[index];
        let is_heir = |victim: &&mut Victim| {
            victim.memory == gone.memory && victim.id != gone.id && is_there(victim)
        };
        if let Some(heir) = self.list.iter_mut().find(is_heir) {
            heir.resident = heir.resident.max(gone.resident);
            heir.swap = heir.swap.max(gone.swap);
        }
    }

    pub(crate) fn forget_all(&mut self) {
        self.list.clear();
    }

    /// Nothing more is expected of `id`.
    pub(crate) fn give_up_on(&mut self, id: ProcessId) {
        if let Some(found) = self.find(id) {
            self.list[found].spare();
        }
    }

    pub(crate) fn command(
        &mut self,
        process: &Process,
        commanded: Commanded,
        until: Moment,
        cost: Cost,
    ) {
        let stage = Stage::Commanded(commanded);
        self.list.push(Victim::new(process, stage, until, cost));
    }

    /// The command that was to end the unit of `leader` has failed: what is left of
    /// it gets its signal now.
    pub(crate) fn command_failed(&mut self, now: Moment, leader: ProcessId) {
        for victim in &mut self.list {
            if matches!(victim.stage, Stage::Commanded(it) if it.unit == leader.pid) {
                victim.until = victim.until.min(now);
            }
        }
    }

    pub(crate) fn terminate(&mut self, process: &Process, grace_until: Moment, cost: Cost) {
        self.list
            .push(Victim::new(process, Stage::Terminated, grace_until, cost));
    }

    pub(crate) fn kill(&mut self, process: &Process, deadline: Moment, cost: Cost) {
        self.list
            .push(Victim::new(process, Stage::Killed, deadline, cost));
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Those whose grace is not over.
    pub(crate) fn in_grace(&self) -> impl Iterator<Item = ProcessId> {
        let in_grace = self.list.iter().filter(|victim| victim.is_in_grace());
        in_grace.map(|victim| victim.id)
    }

    /// `process` was killed, whether or not it was a victim before.
    pub(crate) fn killed(&mut self, process: &Process, deadline: Moment, cost: Cost) {
        match self.find(process.id) {
            Some(found) => {
                self.list[found].stage = Stage::Killed;
                self.list[found].until = deadline;
            }
            None => {
                self.kill(process, deadline, cost);
                self.sort();
            }
        }
    }

    /// `process` was sent SIGTERM, unless it was already or killed.
    pub(crate) fn terminated(&mut self, process: &Process, grace_until: Moment, cost: Cost) {
        match self.find(process.id) {
            None => {
                self.terminate(process, grace_until, cost);
                self.sort();
            }
            Some(found) => {
                let victim = &mut self.list[found];
                if matches!(victim.stage, Stage::Commanded(_)) {
                    victim.stage = Stage::Terminated;
                    victim.until = grace_until;
                }
            }
        }
    }

    /// A command is run for another scope, which is to end `process`, unless it was a
    /// victim before. Nothing else is chosen until then.
    pub(crate) fn commanded(&mut self, process: &Process, alone_until: Moment, cost: Cost) {
        if self.find(process.id).is_none() {
            self.command(process, Commanded::elsewhere(), alone_until, cost);
            self.sort();
        }
    }

    /// To be called after additions: the list is searched by halves.
    pub(crate) fn sort(&mut self) {
        self.list.sort_unstable_by_key(|victim| victim.id);
    }

    /// Kills whose grace is over, or all when `at_once`, and sends SIGTERM where the
    /// time of a command is over. Returns whether
    /// one turned out to be stuck: its deadline is over, and in that time no
    /// memory came back.
    pub(crate) fn escalate(
        &mut self,
        now: Moment,
        at_once: bool,
        deadline: Duration,
        memory: &Memory,
        actions: &mut Vec<Action>,
    ) -> bool {
        let free = pages(memory.pool_bytes());
        let progress = pages(memory.total_bytes / PROGRESS);
        let mut any_stuck = false;
        for victim in &mut self.list {
            match victim.stage {
                Stage::Commanded(it) if !(at_once || it.is_here() && victim.until <= now) => {}
                Stage::Commanded(it) if !at_once && !it.grace().is_zero() => {
                    actions.push(Action::Terminate(victim.id));
                    victim.stage = Stage::Terminated;
                    victim.until = now + it.grace();
                }
                Stage::Commanded(_) | Stage::Terminated if at_once || victim.until <= now => {
                    actions.push(Action::Kill(victim.id));
                    victim.stage = Stage::Killed;
                    victim.until = now + deadline;
                }
                Stage::Killed if now < victim.until => {
                    victim.least_free = victim.least_free.min(free);
                }
                Stage::Killed if victim.least_free.saturating_add(progress) < free => {
                    victim.until = now + deadline;
                    victim.least_free = free;
                }
                Stage::Killed => {
                    victim.stage = Stage::Stuck;
                    any_stuck = true;
                }
                Stage::Commanded(_) | Stage::Terminated | Stage::Stuck => {}
            }
        }
        any_stuck
    }

    /// When the next grace or deadline is over.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        self.list
            .iter()
            .filter(|victim| match victim.stage {
                Stage::Commanded(commanded) => commanded.is_here(),
                Stage::Terminated | Stage::Killed => true,
                Stage::Stuck => false,
            })
            .map(|victim| victim.until)
            .min()
    }

    fn find(&self, id: ProcessId) -> Option<usize> {
        self.list.binary_search_by_key(&id, |victim| victim.id).ok()
    }
}
