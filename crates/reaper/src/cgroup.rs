//! A cgroup (v2) that is frozen as one: `cgroup.freeze`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, fstat, fstatfs, openat};
use rustix::io::{Errno, pread, pwrite};

use crate::process_reader::ProcessReader;

/// The magic number of cgroup v2's file system: statfs(2).
const CGROUP2: i128 = 0x6367_7270;

/// The file that freezes a cgroup, held open, and the one that tells when it
/// is.
#[derive(Debug)]
pub(crate) struct Freezer {
    path: PathBuf,
    inode: u64,
    freeze: OwnedFd,
    events: OwnedFd,
}

impl Freezer {
    /// That of the cgroup at `path`, which must be one, and one that we may
    /// freeze.
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(CWD, path, flags, Mode::empty())?;
        // The type of the magic number differs from machine to machine.
        if i128::from(fstatfs(&directory)?.f_type) != CGROUP2 {
            return Err(Errno::NOTSUP);
        }
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |file, how: OFlags| openat(&directory, file, flags | how, Mode::empty());
        Ok(Self {
            path: path.to_owned(),
            inode: fstat(&directory)?.st_ino,
            freeze: open("cgroup.freeze", OFlags::RDWR)?,
            events: open("cgroup.events", OFlags::RDONLY)?,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }

    /// Whether it is to be frozen, by us or by another program.
    pub(crate) fn is_asked_to_freeze(&self) -> Result<bool, Errno> {
        let mut text = [0; 1];
        pread(&self.freeze, &mut text, 0)?;
        Ok(text == *b"1")
    }

    pub(crate) fn freeze(&self) -> Result<(), Errno> {
        pwrite(&self.freeze, b"1", 0).map(drop)
    }

    pub(crate) fn thaw(&self) -> Result<(), Errno> {
        thaw(self.freeze.as_fd())
    }

    /// Waits at most for `limit` until all of it stands still.
    pub(crate) fn wait_frozen(&self, reader: &dyn ProcessReader, limit: Duration) {
        let began = Instant::now();
        loop {
            let mut text = [0; 256];
            let len = pread(&self.events, &mut text, 0).unwrap_or(0);
            let left = limit.saturating_sub(began.elapsed());
            if len == 0 || reader.says_frozen(&text[..len]) || left.is_zero() {
                return;
            }
            let mut polled = [PollFd::new(&self.events, PollFlags::PRI)];
            let timeout = Timespec::try_from(left).ok();
            if !matches!(
                poll(&mut polled, timeout.as_ref()),
                Ok(_) | Err(Errno::INTR)
            ) {
                return;
            }
        }
    }
}

/// `cgroup.freeze`, to be handed on.
impl AsFd for Freezer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.freeze.as_fd()
    }
}

/// Thaws by `cgroup.freeze`. A cgroup that was removed is thawed.
pub(crate) fn thaw(freeze: BorrowedFd<'_>) -> Result<(), Errno> {
    match pwrite(freeze, b"0", 0) {
        Ok(_) | Err(Errno::NODEV) => Ok(()),
        Err(err) => Err(err),
    }
}
