//! What pausing needs to know of processes.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use model::{Paging, ProcessId, RunState};

/// Reads what the kernel says of processes and cgroups: this crate parses
/// nothing.
///
/// What vanishes is `None`, or is left out.
pub trait ProcessReader: Send + Sync + 'static {
    /// Where procfs is mounted.
    fn proc_root(&self) -> &Path;

    /// When `pid` started (field 22 of proc_pid_stat(5)), and whether it runs.
    /// One that took a stop signal is [`RunState::Stopping`] or
    /// [`RunState::Stopped`], never [`RunState::Runs`] in between: what is
    /// pending is to be read first.
    ///
    /// # Errors
    ///
    /// Its files cannot be read or make no sense.
    fn state(&self, pid: u32) -> io::Result<Option<(u64, RunState)>>;

    /// Whether another program would answer a stop of `pid` by SIGSTOP: would
    /// have it go on, or would stop itself and stay so when `pid` goes on.
    ///
    /// # Errors
    ///
    /// Its files cannot be read or make no sense.
    fn stop_is_answered(&self, pid: u32) -> io::Result<bool>;

    /// Whether the first thread of `pid` has ended, whatever the others do.
    ///
    /// # Errors
    ///
    /// Its files cannot be read or make no sense.
    fn first_thread_has_ended(&self, pid: u32) -> io::Result<bool>;

    /// The real user of `pid`.
    ///
    /// # Errors
    ///
    /// Its files cannot be read or make no sense.
    fn owner(&self, pid: u32) -> io::Result<Option<u32>>;

    /// Calls `each` with every child of each of `parents`.
    ///
    /// # Errors
    ///
    /// The children cannot be found.
    fn children(&self, parents: &[u32], each: &mut dyn FnMut(ProcessId)) -> io::Result<()>;

    /// The directory of the cgroup (v2) that `pid` is in, where that hierarchy
    /// is mounted.
    ///
    /// # Errors
    ///
    /// It cannot be told.
    fn cgroup(&self, pid: u32) -> io::Result<Option<PathBuf>>;

    /// Calls `each` with every process in `cgroup` and below.
    ///
    /// # Errors
    ///
    /// Some cannot be told.
    fn processes_below(&self, cgroup: &Path, each: &mut dyn FnMut(u32)) -> io::Result<()>;

    /// Whether the text of `cgroup.events` says `frozen 1`.
    fn says_frozen(&self, events: &[u8]) -> bool;

    /// What `pid` has in swap.
    ///
    /// # Errors
    ///
    /// Its files cannot be read or make no sense.
    fn swapped_bytes(&self, pid: u32) -> io::Result<Option<u64>>;

    /// What all in `cgroup` have in swap, with what they share; `None` where the kernel
    /// does not tell.
    fn swapped_bytes_in(&self, cgroup: &Path) -> Option<u64>;

    /// Calls `each` with the addresses of each private anonymous mapping of
    /// `pid`. May wait for the process's mmap lock, for ever.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    fn private_ranges(&self, pid: u32, each: &mut dyn FnMut(Range<u64>)) -> io::Result<()>;

    /// How busy swap is, and how full.
    ///
    /// # Errors
    ///
    /// It cannot be told.
    fn paging(&self) -> io::Result<Paging>;
}
