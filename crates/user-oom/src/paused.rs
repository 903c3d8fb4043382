//! The units that are paused: hands the guard's orders to the pauser, and keeps
//! account of what comes of them.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use oom_policy::{Action, Decision, Event, Moment, ProcessId};
use reaper::{Held, Pauser, Report};

use crate::tell::record::{PausedWords, Record, Victim};

/// As many as the guard pauses at once, and some that it has thawed since.
const ROOM: usize = 128;

/// Which units are paused, as far as was asked for and reported.
#[derive(Debug)]
pub(crate) struct PausedUnits {
    /// `None`: nothing is paused, or it is a dry run.
    pauser: Option<Pauser>,
    list: Vec<PausedUnit>,
    /// Those that one scope would have go on, and another not yet.
    put_off: Vec<ProcessId>,
    in_all: u64,
}

#[derive(Clone, Copy, Debug)]
struct PausedUnit {
    leader: Victim,
    since: Moment,
    pushed_out_bytes: u64,
    /// It was signalled meanwhile: its end is said, and not that it was thawed.
    is_victim: bool,
}

/// What has come of an order.
#[derive(Debug)]
pub(crate) struct Heard {
    /// What is to be said of it.
    pub(crate) record: Option<Record>,
    /// What the guard is told.
    pub(crate) event: Option<Event<'static>>,
    /// Whether the unit that this process leads stands still or goes on as was
    /// asked, or the error's number.
    pub(crate) turned: Option<(ProcessId, Result<(), i32>)>,
}

impl PausedUnits {
    pub(crate) fn new(pauser: Option<Pauser>) -> Self {
        Self {
            pauser,
            list: Vec::with_capacity(ROOM),
            put_off: Vec::with_capacity(ROOM),
            in_all: 0,
        }
    }

    /// What is ready when there is something to [`Self::hear`].
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.pauser.as_ref().map(Pauser::reports)
    }

    /// `process` is to be frozen with the unit that `unit` leads; whether there
    /// was room to ask.
    pub(crate) fn add(&self, unit: ProcessId, process: &Held) -> bool {
        let pauser = self.pauser.as_ref();
        pauser.is_some_and(|pauser| pauser.add(unit, process))
    }

    /// Freezes what was added for the unit that `leader` leads, and pages it out,
    /// at most `bytes`. `newborn_since_ticks`: children of it that started then
    /// or later are of the unit too.
    pub(crate) fn freeze(
        &mut self,
        now: Moment,
        leader: Victim,
        newborn_since_ticks: u64,
        bytes: u64,
    ) {
        let Some(pauser) = &self.pauser else {
            return;
        };
        pauser.freeze(leader.id, newborn_since_ticks, bytes);
        self.in_all += 1;
        self.list.retain(|unit| unit.leader.id != leader.id);
        // One that is not on the list is thawed all the same.
        if self.list.len() < ROOM {
            self.list.push(PausedUnit {
                leader,
                since: now,
                pushed_out_bytes: 0,
                is_victim: false,
            });
        }
    }

    /// Whether `id` is being paged out just now.
    pub(crate) fn pages_out(&self, id: ProcessId) -> bool {
        let pauser = self.pauser.as_ref();
        pauser.is_some_and(|pauser| pauser.has_memory_of(id.pid))
    }

    pub(crate) fn thaw(&self, unit: ProcessId) {
        if let Some(pauser) = &self.pauser {
            pauser.thaw(unit);
        }
    }

    /// The unit that `unit` leads goes on once no scope has it stand still.
    pub(crate) fn put_off(&mut self, unit: ProcessId) {
        if self.put_off.len() < ROOM {
            self.put_off.push(unit);
        } else {
            self.thaw(unit);
        }
    }

    /// Thaws what was put off, but for what `stands_still` for a scope yet.
    pub(crate) fn thaw_put_off(&mut self, stands_still: impl Fn(ProcessId) -> bool) {
        let pauser = self.pauser.as_ref();
        self.put_off.retain(|unit| {
            let stays = stands_still(*unit);
            if let Some(pauser) = pauser.filter(|_| !stays) {
                pauser.thaw(*unit);
            }
            stays
        });
    }

    /// `id` was signalled.
    pub(crate) fn is_victim_now(&mut self, id: ProcessId) {
        if let Some(unit) = self.find(id) {
            unit.is_victim = true;
        }
    }

    /// What has come of the orders. `None`: nothing (more) yet.
    pub(crate) fn hear(&mut self, now: Moment) -> Option<Heard> {
        let report = self.pauser.as_ref()?.report()?;
        let turned = match report {
            Report::Frozen { unit, .. } | Report::Thawed { unit } | Report::Continued { unit } => {
                Some((unit, Ok(())))
            }
            Report::Unfrozen { unit, errno } => Some((unit, Err(errno))),
            Report::PushedOut { .. } => None,
        };
        let (record, event) = self.take_in(now, report);
        Some(Heard {
            record,
            event,
            turned,
        })
    }

    fn take_in(&mut self, now: Moment, report: Report) -> (Option<Record>, Option<Event<'static>>) {
        match report {
            // That it would be was said.
            Report::Frozen { .. } => (None, None),
            Report::Unfrozen { unit, errno } => {
                let record = self.remove(unit).map(|unit| Record::Unpaused {
                    leader: unit.leader,
                    errno,
                });
                (record, Some(Event::Unfrozen(unit)))
            }
            Report::PushedOut {
                unit,
                bytes,
                is_complete,
            } => {
                let record = self.find(unit).map(|unit| {
                    unit.pushed_out_bytes = bytes;
                    Record::PushedOut {
                        leader: unit.leader,
                        bytes,
                        is_complete,
                    }
                });
                (record, Some(Event::PagedOut(unit)))
            }
            Report::Thawed { unit } => {
                let ended = self.remove(unit).filter(|unit| !unit.is_victim);
                let record = ended.map(|unit| unit.thawed(now, true));
                (record, None)
            }
            Report::Continued { unit } => {
                let record = self.remove(unit).map(|unit| unit.thawed(now, false));
                (record, Some(Event::Continued(unit)))
            }
        }
    }

    /// How many units were to be paused since the start.
    pub(crate) fn paused_in_all(&self) -> u64 {
        self.in_all
    }

    /// For the status line.
    pub(crate) fn words(&self) -> PausedWords {
        PausedWords {
            count: u32::try_from(self.list.len()).unwrap_or(u32::MAX),
            first: self.list.first().map(|unit| unit.leader.name),
        }
    }

    fn find(&mut self, id: ProcessId) -> Option<&mut PausedUnit> {
        self.list.iter_mut().find(|unit| unit.leader.id == id)
    }

    fn remove(&mut self, id: ProcessId) -> Option<PausedUnit> {
        let position = self.list.iter().position(|unit| unit.leader.id == id)?;
        Some(self.list.remove(position))
    }
}

impl PausedUnit {
    fn thawed(self, now: Moment, by_us: bool) -> Record {
        Record::Thawed {
            leader: self.leader,
            after: now.since(self.since),
            pushed_out_bytes: self.pushed_out_bytes,
            by_us,
        }
    }
}

/// Why a unit could not be paused, by the number of the pauser's error.
pub(crate) fn why_unpaused(errno: i32) -> String {
    match Errno::from_raw(errno) {
        Errno::EBUSY => "another program would answer the stop: a tracer, its parent (su, sudo, \
                         script) or its terminal (tmux, screen); in a cgroup of its own \
                         (`systemd-run --scope`) it can be paused"
            .to_owned(),
        Errno::ECANCELED => "another program resumed it at once".to_owned(),
        Errno::ECHILD => "its keeper ended, and there is no other".to_owned(),
        other => other.desc().to_owned(),
    }
}

/// The leader of the unit that `decision` pauses `process` with.
pub(crate) fn leader(decision: &Decision, process: ProcessId) -> Option<ProcessId> {
    let mut actions = decision.actions.iter();
    actions.find(|action| **action == Action::Freeze(process))?;
    actions.find_map(|action| match *action {
        Action::PageOut { unit, .. } => Some(unit),
        _ => None,
    })
}
