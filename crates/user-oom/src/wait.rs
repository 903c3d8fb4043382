//! What the loop waits for: one epoll, in which each descriptor stands for a
//! [`WakeSource`].

use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// What is taken at once; the rest is there at the next wait.
const AT_ONCE: usize = 64;

/// Something that can wake the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WakeSource {
    /// A signal to the daemon.
    Signals,
    /// A change in the registry.
    Registry,
    /// What the clerk has to tell.
    Clerk,
    /// The kernel's pressure trigger after which units may be killed, of the scope
    /// with that number.
    Pressure(usize),
    /// The one after which they may be paused.
    Stall(usize),
    /// Reports of the pauser.
    Pauser,
    /// The thread that reads the configuration again.
    Reload,
    /// Commands of rules that have failed.
    Command,
    /// The kernel module.
    Notifier,
    /// The end of a held process, by its number.
    Held(u64),
}

/// A number stands below its source's kind, and is counted up from 0.
const NUMBER_BITS: u32 = 56;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;

impl WakeSource {
    fn token(self) -> u64 {
        let (kind, number) = match self {
            Self::Signals => (1, 0),
            Self::Registry => (2, 0),
            Self::Clerk => (3, 0),
            Self::Pressure(scope) => (4, scope as u64),
            Self::Notifier => (5, 0),
            Self::Held(number) => (6, number),
            Self::Stall(scope) => (7, scope as u64),
            Self::Pauser => (8, 0),
            Self::Reload => (9, 0),
            Self::Command => (10, 0),
        };
        kind << NUMBER_BITS | (number & NUMBER)
    }

    fn of_token(token: u64) -> Option<Self> {
        let number = token & NUMBER;
        let scope = usize::try_from(number).unwrap_or(0);
        Some(match token >> NUMBER_BITS {
            1 => Self::Signals,
            2 => Self::Registry,
            3 => Self::Clerk,
            4 => Self::Pressure(scope),
            5 => Self::Notifier,
            6 => Self::Held(number),
            7 => Self::Stall(scope),
            8 => Self::Pauser,
            9 => Self::Reload,
            10 => Self::Command,
            _ => return None,
        })
    }
}

/// The one place where the loop waits.
#[derive(Debug)]
pub(crate) struct Wait {
    epoll: Epoll,
}

impl Wait {
    /// # Errors
    ///
    /// The kernel has no epoll to give.
    pub(crate) fn new() -> Result<Self, Errno> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { epoll })
    }

    /// Wakes the loop as `source` when `descriptor` is ready for `flags`.
    ///
    /// # Errors
    ///
    /// What the kernel says; `EEXIST` where it is watched already.
    pub(crate) fn add(
        &self,
        descriptor: impl AsFd,
        flags: EpollFlags,
        source: WakeSource,
    ) -> Result<(), Errno> {
        self.epoll
            .add(descriptor, EpollEvent::new(flags, source.token()))
    }

    /// As [`Wait::add`], for a descriptor that is watched.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub(crate) fn modify(
        &self,
        descriptor: impl AsFd,
        flags: EpollFlags,
        source: WakeSource,
    ) -> Result<(), Errno> {
        self.epoll
            .modify(descriptor, &mut EpollEvent::new(flags, source.token()))
    }

    /// Watches `descriptor` no more. Closing one does the same, unless it is
    /// held elsewhere as well.
    pub(crate) fn remove(&self, descriptor: impl AsFd) {
        // Fails only where it is not watched.
        let _ = self.epoll.delete(descriptor);
    }

    /// Waits until something happens, for `limit` at most.
    ///
    /// # Errors
    ///
    /// Waiting itself fails; an interruption is not a failure.
    pub(crate) fn wait(&self, limit: Duration) -> Result<WokenBy, Errno> {
        let mut events = [EpollEvent::empty(); AT_ONCE];
        let count = match self.epoll.wait(&mut events, timeout(limit)) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno),
        };
        Ok(WokenBy {
            events,
            count,
            next: 0,
        })
    }
}

/// What woke the loop: each source, and what it is ready for.
#[derive(Debug)]
pub(crate) struct WokenBy {
    events: [EpollEvent; AT_ONCE],
    count: usize,
    next: usize,
}

impl Iterator for WokenBy {
    type Item = (WakeSource, EpollFlags);

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.count {
            let event = &self.events[self.next];
            self.next += 1;
            if let Some(source) = WakeSource::of_token(event.data()) {
                return Some((source, event.events()));
            }
        }
        None
    }
}

/// Rounded up, so that what is due is due when the wait is over.
fn timeout(limit: Duration) -> EpollTimeout {
    let millis = limit.as_nanos().div_ceil(1_000_000);
    i32::try_from(millis)
        .ok()
        .and_then(|millis| EpollTimeout::try_from(millis).ok())
        .unwrap_or(EpollTimeout::NONE)
}

#[cfg(test)]
mod tests {
    use nix::sys::eventfd::EventFd;

    use super::*;

    #[test]
    fn each_source_comes_back_as_itself() {
        let wait = Wait::new().expect("epoll");
        let sources = [
            WakeSource::Signals,
            WakeSource::Registry,
            WakeSource::Clerk,
            WakeSource::Pressure(0),
            WakeSource::Pressure(3),
            WakeSource::Stall(2),
            WakeSource::Notifier,
            WakeSource::Command,
            WakeSource::Held(0),
            WakeSource::Held(1 << 40),
            WakeSource::Held(NUMBER),
        ];
        for source in sources {
            let ready = EventFd::from_value(1).expect("eventfd");
            wait.add(&ready, EpollFlags::EPOLLIN, source)
                .expect("epoll");
            let woken: Vec<_> = wait.wait(Duration::ZERO).expect("epoll").collect();
            assert_eq!(woken, [(source, EpollFlags::EPOLLIN)]);
            wait.remove(&ready);
        }
        assert_eq!(wait.wait(Duration::ZERO).expect("epoll").count(), 0);
    }

    #[test]
    fn what_is_due_in_part_of_a_millisecond_is_waited_for_whole() {
        assert_eq!(timeout(Duration::ZERO), EpollTimeout::ZERO);
        assert_eq!(timeout(Duration::from_micros(1)), EpollTimeout::from(1u8));
        assert_eq!(
            timeout(Duration::from_micros(1001)),
            EpollTimeout::from(2u8)
        );
        assert_eq!(timeout(Duration::MAX), EpollTimeout::NONE);
    }
}
