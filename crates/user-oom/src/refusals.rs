//! Entries that do not count, kept to be told to their writers.

use control::RefusedEntry;
use oom_policy::ProcessId;
use value_registry::{Bearer, Notice, Reason};

/// So many are kept at most,
const MOST: usize = 64;
/// and so many for the processes of one user.
const OF_A_USER: usize = 8;

/// The last entries that do not count, the newest last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals {
    pub(crate) list: Vec<RefusedFor>,
    /// How often it has changed.
    version: u64,
}

/// One that does not count.
#[derive(Clone, Debug)]
pub(crate) struct RefusedFor {
    pub(crate) id: ProcessId,
    process: Bearer,
    reason: Reason,
}

impl Refusals {
    /// Takes in what the registry says. From a quiet round.
    pub(crate) fn take_in(&mut self, notice: &Notice) {
        match notice {
            Notice::Registered { process, .. } => self.forget(process.id),
            Notice::Refused {
                process, reason, ..
            } => {
                self.forget(process.id);
                let of_the_user = |it: &RefusedFor| it.process.uid == process.uid;
                if self.list.iter().filter(|it| of_the_user(it)).count() == OF_A_USER
                    && let Some(oldest) = self.list.iter().position(of_the_user)
                {
                    self.list.remove(oldest);
                }
                if self.list.len() == MOST {
                    self.list.remove(0);
                }
                self.version += 1;
                self.list.push(RefusedFor {
                    id: process.id,
                    process: *process,
                    reason: *reason,
                });
            }
            _ => {}
        }
    }

    /// Becomes a copy of `other`. From a quiet round, where that has changed.
    pub(crate) fn follow(&mut self, other: &Self) {
        if self.version != other.version {
            self.clone_from(other);
        }
    }

    fn forget(&mut self, id: ProcessId) {
        let before = self.list.len();
        self.list.retain(|it| it.id != id);
        self.version += u64::from(self.list.len() != before);
    }
}

impl RefusedFor {
    /// Whether `uid` wrote it, or it is for a process of that user.
    pub(crate) fn concerns(&self, uid: u32) -> bool {
        let is_its = |owner: u32| owner == uid;
        is_its(self.process.uid)
            || matches!(self.reason, Reason::Foreign { owner, .. } if is_its(owner))
    }

    pub(crate) fn told(self) -> RefusedEntry {
        RefusedEntry {
            pid: self.id.pid,
            name: self.process.name.to_string(),
            uid: self.process.uid,
            why: self.reason.to_string(),
        }
    }
}
