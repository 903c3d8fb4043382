//! Wakes another thread by an eventfd(2).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::{read, retry_on_intr, write};

/// Adds one to an eventfd. That cannot fail, and would wait only after 2⁶⁴ − 2
/// of them.
pub(crate) fn ring(bell: BorrowedFd<'_>) {
    let _ = retry_on_intr(|| write(bell, &1_u64.to_ne_bytes()));
}

/// Takes back what was rung, where that does not wait: of an eventfd made with
/// `NONBLOCK`.
pub(crate) fn silence(bell: BorrowedFd<'_>) {
    let _ = read(bell, &mut [0; 8]);
}

/// Rings when it is dropped: a thread that holds it says, however it ends, that
/// it has.
pub(crate) struct RingsAtEnd(pub(crate) Arc<OwnedFd>);

impl Drop for RingsAtEnd {
    fn drop(&mut self) {
        ring(self.0.as_fd());
    }
}
