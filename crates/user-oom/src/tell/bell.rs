//! What wakes a thread that waits beside the loop, and tells it of the end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Rung by any thread, heard by one.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: EventFd,
    over: AtomicBool,
}

impl Bell {
    /// # Errors
    ///
    /// What the kernel says of another eventfd.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self {
            rung: EventFd::from_flags(flags)?,
            over: AtomicBool::new(false),
        })
    }

    /// Never waits.
    pub(crate) fn ring(&self) {
        // Fails only where it has rung 2^64 − 2 times unheard.
        let _ = self.rung.write(1);
    }

    /// What has rung is heard of. Never waits.
    pub(crate) fn hush(&self) {
        let _ = self.rung.read();
    }

    /// Nothing more is to come.
    pub(crate) fn ring_the_end(&self) {
        self.over.store(true, Ordering::Release);
        self.ring();
    }

    /// To be asked before a queue is emptied for the last time.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Waits until it rings, one of `others` is readable, or `limit` is over;
    /// without a limit, for as long as it takes.
    ///
    /// # Errors
    ///
    /// Where poll(2) itself fails.
    pub(crate) fn wait<'a>(
        &'a self,
        others: impl Iterator<Item = BorrowedFd<'a>>,
        limit: Option<Duration>,
    ) -> io::Result<()> {
        let mut polled: Vec<PollFd<'_>> = std::iter::once(self.rung.as_fd())
            .chain(others)
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        // Rounded up, so that what is due is due when the wait is over.
        let limit = limit.map_or(PollTimeout::NONE, |limit| {
            let limit = limit.saturating_add(Duration::from_millis(1));
            PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut polled, limit) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.hush();
        Ok(())
    }
}

/// Readable once it has rung.
impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.rung.as_fd()
    }
}
