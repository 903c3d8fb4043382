//! The registry's turn in the loop: when it is read, and how loudly what it
//! has to say is said.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use oom_policy::Moment;
use sensors::ProcRoot;
use value_registry::{Lookup, Notice, Occupant, Registry};

use crate::wait::{Wait, WakeSource};

/// Every entry is looked at again after so long: a process may have changed
/// its user, and times are to be renewed.
const REREAD: Duration = Duration::from_secs(60);

/// Between two reads of changes: a user may change entries without end.
const BREATH: Duration = Duration::from_millis(50);

/// Once, until it is read: each change would be a round.
const ONCE: EpollFlags = EpollFlags::EPOLLIN.union(EpollFlags::EPOLLONESHOT);

/// When the registry is read.
#[derive(Debug)]
pub(crate) struct RegistryTurn {
    /// Not before then.
    next: Moment,
    next_reread: Moment,
    /// Whether the loop's wait tells of changes.
    is_armed: bool,
}

impl RegistryTurn {
    /// Has `wait` tell of changes.
    ///
    /// # Errors
    ///
    /// What the kernel says of one more descriptor to wait for.
    pub(crate) fn new(registry: &Registry, wait: &Wait) -> Result<Self, Errno> {
        let turn = Self {
            next: Moment::ORIGIN,
            next_reread: Moment::ORIGIN + REREAD,
            is_armed: true,
        };
        if let Some(descriptor) = registry.descriptor() {
            wait.add(descriptor, ONCE, WakeSource::Registry)?;
        }
        Ok(turn)
    }

    /// The wait has told of a change, and tells of no more until that is read.
    pub(crate) fn heard(&mut self) {
        self.is_armed = false;
    }

    /// Reads what there is to be read, where it is time: what to say, and how
    /// long there is no more. Asked in every round, for some of it comes
    /// without an event.
    pub(crate) fn read(
        &mut self,
        now: Moment,
        registry: &mut Registry,
        root: &ProcRoot,
        wait: &Wait,
    ) -> (Vec<Notice>, Duration) {
        if now < self.next {
            return (Vec::new(), self.next.since(now));
        }
        let began = Instant::now();
        // Of what the look of each minute comes to, nothing was missed.
        let may_have_missed = registry.is_to_reread();
        if self.next_reread <= now {
            registry.reread();
            self.next_reread = now + REREAD;
        }
        if may_have_missed && registry.begins_anew() {
            // None where they cannot be listed.
            registry.begin_with(root.pids().into_iter().flatten().collect());
        }
        let notices = registry.refresh(&|pid| lookup(root, pid));
        let is_busy = !self.is_armed || registry.more();
        if let Some(descriptor) = registry.descriptor()
            && !self.is_armed
        {
            // Tells at once where something has changed since.
            self.is_armed = wait.modify(descriptor, ONCE, WakeSource::Registry).is_ok();
        }
        let pause = registry.pause().unwrap_or(Duration::MAX);
        if !is_busy {
            return (notices, pause);
        }
        self.next = now + began.elapsed() + BREATH;
        (notices, pause.max(BREATH))
    }
}

/// Which process has `pid`.
pub(crate) fn lookup(root: &ProcRoot, pid: u32) -> Lookup {
    match root.runner(pid) {
        Ok(Some(runner)) if !runner.has_ended => Lookup::Runs(Occupant {
            uid: runner.uid,
            start_ticks: runner.start_ticks,
            age: runner.age,
            name: runner.name,
            process: runner.process,
            is_kernel_thread: runner.is_kernel_thread,
        }),
        Ok(_) => Lookup::Gone,
        Err(_) => Lookup::Unknown,
    }
}

/// What did not go as its writer meant is a warning.
pub(crate) fn severity(notice: &Notice) -> log::Level {
    match notice {
        Notice::Registered { value, given, .. } if value < given => log::Level::Warn,
        Notice::Registered { .. }
        | Notice::Labelled { .. }
        | Notice::Swept { .. }
        | Notice::TakenOver { .. }
        | Notice::Present => log::Level::Info,
        Notice::Changed { .. } => log::Level::Debug,
        Notice::Withdrawn { .. }
        | Notice::Slipped { .. }
        | Notice::Refused { .. }
        | Notice::Aside { .. }
        | Notice::LeftOut { .. }
        | Notice::ListRemoved
        | Notice::Cleared { .. }
        | Notice::Overflow
        | Notice::Replaced
        | Notice::Unwatched { .. } => log::Level::Warn,
        Notice::Absent { .. } | Notice::Lost { .. } => log::Level::Error,
    }
}
