//! What the pauser and its keeper read, by [`sensors`].

use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use oom_policy::ProcessId;
use reaper::{Keeper, Paging, ProcessReader, RunState};
use sensors::{PauseFiles, ProcRoot, ReadError};

/// The argument that makes a process of ours the keeper.
pub(crate) const KEEPER: &str = "--keeper";

/// How the keeper is started: by `executable`, which is ours.
pub(crate) fn keeper(executable: PathBuf, leftover: PathBuf) -> Keeper {
    Keeper {
        executable,
        argument: KEEPER.into(),
        leftover,
    }
}

/// Is the keeper until the daemon is gone: see [`reaper::keep`].
///
/// # Errors
///
/// Standard input is not the daemon's socket.
pub(crate) fn be_the_keeper(
    root: ProcRoot,
    blocks: PathBuf,
    mut arguments: impl Iterator<Item = OsString>,
) -> io::Result<()> {
    let leftover = PathBuf::from(arguments.next().unwrap_or_default());
    reaper::keep(&PauseReader::new(root, blocks), &leftover)
}

/// The kernel's own.
pub(crate) struct PauseReader(PauseFiles);

impl PauseReader {
    pub(crate) fn new(root: ProcRoot, blocks: PathBuf) -> Self {
        Self(PauseFiles::new(root, blocks))
    }
}

impl ProcessReader for PauseReader {
    fn proc_root(&self) -> &Path {
        self.0.proc_root()
    }

    fn state(&self, pid: u32) -> io::Result<Option<(u64, RunState)>> {
        self.0.run_state(pid).map_err(as_io)
    }

    fn stop_is_answered(&self, pid: u32) -> io::Result<bool> {
        self.0.stop_is_answered(pid).map_err(as_io)
    }

    fn first_thread_has_ended(&self, pid: u32) -> io::Result<bool> {
        self.0.first_thread_has_ended(pid).map_err(as_io)
    }

    fn owner(&self, pid: u32) -> io::Result<Option<u32>> {
        self.0.owner(pid).map_err(as_io)
    }

    fn children(&self, parents: &[u32], each: &mut dyn FnMut(ProcessId)) -> io::Result<()> {
        self.0.children(parents, each).map_err(as_io)
    }

    fn cgroup(&self, pid: u32) -> io::Result<Option<PathBuf>> {
        self.0.cgroup(pid).map_err(as_io)
    }

    fn processes_below(&self, cgroup: &Path, each: &mut dyn FnMut(u32)) -> io::Result<()> {
        PauseFiles::processes_below(cgroup, each).map_err(as_io)
    }

    fn says_frozen(&self, events: &[u8]) -> bool {
        PauseFiles::says_frozen(events)
    }

    fn swapped_bytes(&self, pid: u32) -> io::Result<Option<u64>> {
        self.0.swapped_bytes(pid).map_err(as_io)
    }

    fn swapped_bytes_in(&self, cgroup: &Path) -> Option<u64> {
        PauseFiles::swapped_bytes_in(cgroup)
    }

    fn private_ranges(&self, pid: u32, each: &mut dyn FnMut(Range<u64>)) -> io::Result<()> {
        self.0.private_ranges(pid, each).map_err(as_io)
    }

    fn paging(&self) -> io::Result<Paging> {
        self.0.paging().map_err(as_io)
    }
}

fn as_io(err: ReadError) -> io::Error {
    io::Error::other(err)
}
