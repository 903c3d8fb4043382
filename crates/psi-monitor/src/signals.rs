//! Waiting: for a signal, or for a time to be over. Never by sleeping.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What ends the monitor. SIGTSTP (^Z) does too: a stopped monitor is no use.
const ENDING: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGTSTP,
];

/// The signals we answer, taken by descriptor.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: SignalFd,
    /// The signals blocked before ours were.
    inherited: SigSet,
    ours: SigSet,
}

/// Why a wait was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The time is over.
    Due,
    /// A child of ours has ended, or was stopped.
    Child,
    /// This asks us to end.
    End(Signal),
}

impl Signals {
    /// Blocks them for this thread; called before there is another, since a
    /// new one inherits what is blocked.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub(crate) fn take() -> Result<Self, Errno> {
        let mut ours = SigSet::empty();
        ENDING.into_iter().for_each(|signal| ours.add(signal));
        ours.add(Signal::SIGCHLD);
        let inherited = SigSet::thread_get_mask()?;
        ours.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self {
            fd: SignalFd::with_flags(&ours, flags)?,
            inherited,
            ours,
        })
    }

    /// Waits until `due`, or for the next signal.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub(crate) fn wait_until(&self, due: Instant) -> Result<Woken, Errno> {
        loop {
            if let Some(woken) = self.pending()? {
                return Ok(woken);
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Woken::Due);
            }
            match poll(
                &mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)],
                timeout(left),
            ) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(err) => return Err(err),
            }
        }
    }

    fn pending(&self) -> Result<Option<Woken>, Errno> {
        let Some(info) = self.fd.read_signal()? else {
            return Ok(None);
        };
        let number = i32::try_from(info.ssi_signo).map_err(|_| Errno::EINVAL)?;
        Ok(Some(match Signal::try_from(number)? {
            Signal::SIGCHLD => Woken::Child,
            signal => Woken::End(signal),
        }))
    }

    /// Does `work` with none of our signals blocked: std hands what is blocked
    /// on to a child, which could then not be interrupted. A signal that ends
    /// us ends us the harder way if it comes just then, and SIGCHLD is lost.
    ///
    /// # Errors
    ///
    /// What the kernel or `work` says.
    pub(crate) fn unblocked<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.inherited.thread_set_mask()?;
        let done = work();
        self.ours.thread_block()?;
        done
    }
}

/// `left` in whole milliseconds, up: a poll that ends early would be repeated
/// at once, again and again.
fn timeout(left: Duration) -> PollTimeout {
    let millis = left.as_nanos().div_ceil(1_000_000);
    i32::try_from(millis)
        .ok()
        .and_then(|millis| PollTimeout::try_from(millis).ok())
        .unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_and_bounded() {
        let millis = |left| timeout(left).as_millis();
        assert_eq!(millis(Duration::from_nanos(1)), Some(1));
        assert_eq!(millis(Duration::from_micros(1_500)), Some(2));
        assert_eq!(millis(Duration::from_secs(5)), Some(5_000));
        assert_eq!(millis(Duration::MAX), PollTimeout::MAX.as_millis());
    }
}
