//! Workers that are started again each time they are killed.
//!
//! A supervisor (a loop in a shell, a pool of workers, a service manager) sees
//! its worker end and starts another, so killing that one as well frees memory
//! for moments only. After the second time the worker is a unit with its
//! supervisor and what else that has started; where that may not be killed,
//! nothing is killed where the worker is the choice until memory is at the kill
//! level.

use std::time::Duration;

use model::{Moment, Name, Process, ProcessId, Respawner, Seen, SessionId};
use serde::{Deserialize, Serialize};

use crate::buffer::{at, reserve_to};

/// What is chosen again so soon after its predecessor was, and its grace, is back.
const SOON: Duration = Duration::from_secs(60);
/// So many kills show that killing does not help,
const KILLS: u32 = 2;
/// until so long after the last.
const REMEMBERED: Duration = Duration::from_secs(600);
/// A supervisor keeps a worker or a few. Where there are more, or ever more, they
/// are a bomb, which is killed as long as it forks.
const SIDE_BY_SIDE: usize = 8;

/// The workers that were killed last.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Respawns {
    workers: Vec<Worker>,
    /// Of the last table, in its order.
    back: Vec<Back>,
}

/// A worker that came back twice. Indices are into the table.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Back {
    pub(crate) worker: u32,
    /// What has started it, where that may be killed for it.
    pub(crate) supervisor: Option<u32>,
    record: u32,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Worker {
    key: Key,
    last: ProcessId,
    kills: u32,
    killed: Moment,
    /// What started later than all that its supervisor had started by then may have
    /// replaced it. Others start in the same tick, of which a second has 100.
    newest_ticks: u64,
    /// How many there were then, this one among them.
    side_by_side: usize,
    told: bool,
}

/// What processes have in common that replace each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    name: Name,
    parent: u32,
    /// Of those that pid 1 has started, the service.
    service: Option<SessionId>,
}

impl Key {
    fn of(process: &Process) -> Self {
        Self {
            name: process.name,
            parent: process.parent,
            service: (process.parent <= 1).then_some(process.session),
        }
    }

    /// Whether `process` has the same supervisor, by whatever name.
    fn is_beside(&self, process: &Process) -> bool {
        let name = self.name;
        *self
            == Self {
                name,
                ..Self::of(process)
            }
    }
}

impl Respawns {
    /// The latest are remembered, of one decision the largest.
    pub(crate) const WORKERS: usize = 16;

    pub(crate) fn reserve(&mut self) {
        reserve_to(&mut self.workers, Self::WORKERS);
        reserve_to(&mut self.back, Self::WORKERS * SIDE_BY_SIDE);
    }

    pub(crate) fn forget_all(&mut self) {
        self.workers.clear();
        self.back.clear();
    }

    /// `leader` of a unit that was chosen is killed, within `grace`.
    pub(crate) fn killed(
        &mut self,
        now: Moment,
        grace: Duration,
        processes: &[Process],
        leader: &Process,
    ) {
        let key = Key::of(leader);
        let known = self.workers.iter().find(|worker| worker.key == key);
        if known.is_some_and(|known| leader.id.start_ticks <= known.newest_ticks) {
            // It was there beside the one that was killed.
            return;
        }
        let beside = processes.iter().filter(|process| key.is_beside(process));
        let started = beside.map(|process| process.id.start_ticks);
        let alike = processes.iter().filter(|process| Key::of(process) == key);
        let fresh = Worker {
            key,
            last: leader.id,
            kills: 1,
            killed: now,
            newest_ticks: started.max().unwrap_or(0),
            side_by_side: alike.count(),
            told: false,
        };
        let known = |worker: &&mut Worker| worker.key == fresh.key;
        if let Some(known) = self.workers.iter_mut().find(known) {
            let is_back = now.since(known.killed) <= grace.saturating_add(SOON)
                && fresh.side_by_side <= known.side_by_side.min(SIDE_BY_SIDE);
            *known = Worker {
                kills: if is_back { known.kills + 1 } else { 1 },
                told: is_back && known.told,
                ..fresh
            };
            return;
        }
        if self.workers.len() == Self::WORKERS {
            let oldest = (0..Self::WORKERS).min_by_key(|index| self.workers[*index].killed);
            self.workers.swap_remove(oldest.unwrap_or(0));
        }
        self.workers.push(fresh);
    }

    /// `id` was not killed after all.
    pub(crate) fn spare(&mut self, id: ProcessId) {
        self.workers.retain(|worker| worker.last != id);
    }

    /// Looks which workers are back; `may_kill` says whether a process may be
    /// killed.
    pub(crate) fn follow(
        &mut self,
        now: Moment,
        processes: &[Process],
        may_kill: impl Fn(&Process) -> bool,
    ) {
        self.back.clear();
        for (record, worker) in (0..).zip(&self.workers) {
            if worker.kills < KILLS || REMEMBERED < now.since(worker.killed) {
                continue;
            }
            let before = self.back.len();
            let mut alike = 0;
            for (index, process) in (0..).zip(processes) {
                if Key::of(process) != worker.key || !may_kill(process) {
                    continue;
                }
                alike += 1;
                let is_new = worker.newest_ticks < process.id.start_ticks;
                if is_new && alike <= worker.side_by_side {
                    self.back.push(Back {
                        worker: index,
                        supervisor: supervisor(processes, process, &may_kill),
                        record,
                    });
                }
            }
            if worker.side_by_side < alike {
                self.back.truncate(before);
            }
        }
        self.back.sort_unstable_by_key(|back| back.worker);
    }

    /// Those that are back.
    pub(crate) fn back(&self) -> &[Back] {
        &self.back
    }

    /// One that is back and was not yet reported.
    pub(crate) fn next_untold(&mut self, processes: &[Process]) -> Option<Respawner> {
        let workers = &mut self.workers;
        let untold = |back: &&Back| !workers[at(back.record)].told;
        let back = self.back.iter().find(untold)?;
        workers[at(back.record)].told = true;
        let worker = &processes[at(back.worker)];
        let supervisor = Seen::position(processes, worker.parent);
        Some(Respawner {
            worker: worker.id,
            name: worker.name,
            kills: workers[at(back.record)].kills,
            supervisor: worker.parent,
            supervisor_name: supervisor.map(|found| processes[found].name),
            is_unit: back.supervisor.is_some(),
        })
    }
}

/// What may be killed for having started `worker`. What a session or the machine
/// needs starts anything; and what root runs starts other users' processes, too.
fn supervisor(
    processes: &[Process],
    worker: &Process,
    may_kill: impl Fn(&Process) -> bool,
) -> Option<u32> {
    let found = Seen::position(processes, worker.parent)?;
    let parent = &processes[found];
    let may =
        parent.uid == worker.uid && parent.dossier.critical_below_bytes == 0 && may_kill(parent);
    u32::try_from(found).ok().filter(|_| may)
}
