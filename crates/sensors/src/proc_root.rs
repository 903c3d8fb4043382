//! One process at a time, from procfs.

use std::fmt;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use model::{Name, ProcessId};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, pread};
use rustix::param::clock_ticks_per_second;

use crate::error::{ReadError, beginning};
use crate::file::{for_each_line_of_one, read_whole};
use crate::pid_files::{FirstThread, PidPath, ProcessStatus, Stat, signed};
use crate::table::ticks_since_boot;

/// Where procfs is mounted, or a directory that looks like it.
#[derive(Debug)]
pub struct ProcRoot {
    path: PathBuf,
    /// Opened at first use, so that making a root cannot fail, and kept: a
    /// path below a descriptor is found faster.
    directory: OnceLock<OwnedFd>,
}

/// The user a process runs as, and when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runner {
    /// Its real user id: the user that started it and may signal it, kill(2).
    /// A setuid program that a user starts is still that user's; the effective
    /// user id would make it root's.
    pub uid: u32,
    /// When it started, in clock ticks since boot: field 22 of
    /// `/proc/<pid>/stat`.
    pub start_ticks: u64,
    /// How long ago that was.
    pub age: Duration,
    /// What it calls itself.
    pub name: Name,
    /// The process it is a thread of: its own pid, unless it was asked for by
    /// a thread's id. `/proc/<tid>` exists, though it is not listed.
    pub process: u32,
    /// Whether it is one of the kernel's own threads.
    pub is_kernel_thread: bool,
    /// Whether it has ended, and waits for its parent to ask how.
    pub has_ended: bool,
}

/// Where a process comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// Pid of its parent.
    pub parent: u32,
    /// Its session id; 0 where that is of another pid namespace.
    pub session: u32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
}

/// The name of a function of the kernel's, or its beginning: proc_pid_wchan(5).
///
/// Empty where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelFunction {
    name: [u8; 32],
    len: usize,
}

impl fmt::Display for KernelFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `0` is what those are told who may not know.
        match str::from_utf8(&self.name[..self.len]).map(str::trim_end) {
            Ok("0") | Err(_) => Ok(()),
            Ok(name) => f.write_str(name),
        }
    }
}

impl ProcRoot {
    /// The processes below `path`: `/proc`, or a tree that looks like it.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            directory: OnceLock::new(),
        }
    }

    /// The directory it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The pids of all processes there are, in no order.
    ///
    /// # Errors
    ///
    /// [`ReadError::Open`]: the directory cannot be listed.
    pub fn pids(&self) -> Result<impl Iterator<Item = u32>, ReadError> {
        let listed = fs::read_dir(&self.path).map_err(|source| ReadError::Open {
            path: self.path.clone(),
            source,
        })?;
        Ok(listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
    }

    /// When `pid` started, in clock ticks since boot, or `None` once it is
    /// gone. Pid and start time together are used only once.
    ///
    /// # Errors
    ///
    /// [`ReadError`] names the file that could not be read or made no sense.
    pub fn start_ticks(&self, pid: u32) -> Result<Option<u64>, ReadError> {
        self.stat_of(pid)
            .map(|stat| stat.map(|stat| stat.start_ticks))
    }

    /// Where `pid` comes from, or `None` once it is gone.
    ///
    /// # Errors
    ///
    /// [`ReadError`] names the file that could not be read or made no sense.
    pub fn lineage(&self, pid: u32) -> Result<Option<Lineage>, ReadError> {
        let lineage = |stat: Stat| Lineage {
            parent: stat.parent,
            session: stat.session,
            start_ticks: stat.start_ticks,
        };
        self.stat_of(pid).map(|stat| stat.map(lineage))
    }

    /// The user `pid` runs as and when it started, or `None` once it is gone.
    ///
    /// # Errors
    ///
    /// [`ReadError`] names the file that could not be read or made no sense.
    pub fn runner(&self, pid: u32) -> Result<Option<Runner>, ReadError> {
        self.look(|root| {
            // The pid may be used again between two files. Its `stat` is held
            // meanwhile: if that can still be read at the end, all of it was
            // one process.
            let stat_path = PidPath::new(pid, "stat");
            let file = root.open(&stat_path)?;
            let status = root.status(pid, None, &mut [0; 4096])?;
            let stat = root.stat(&file, &stat_path, &mut [0; 1024])?;
            let uid = status.uid.ok_or_else(|| ReadError::Missing {
                path: root.path.join(PidPath::new(pid, "status").as_str()),
                key: "Uid:",
            })?;
            let age = ticks_since_boot().saturating_sub(stat.start_ticks);
            Ok(Runner {
                uid,
                start_ticks: stat.start_ticks,
                age: Duration::from_millis(age * 1000 / clock_ticks_per_second()),
                name: stat.name,
                process: status.process.unwrap_or(pid),
                is_kernel_thread: stat.is_kernel_thread,
                has_ended: stat.state == FirstThread::Zombie && !stat.outlived_its_first_thread(),
            })
        })
    }

    /// The kernel's badness of `pid` now, 0 to 2000, or `None` once it is
    /// gone.
    ///
    /// # Errors
    ///
    /// [`ReadError`] names the file that could not be read or made no sense.
    pub fn oom_score(&self, pid: u32) -> Result<Option<u16>, ReadError> {
        self.look(|root| root.score(pid))
    }

    /// The `oom_score_adj` of `id`, −1000 to 1000, or `None` once it is gone.
    ///
    /// # Errors
    ///
    /// [`ReadError`] names the file that could not be read or made no sense.
    pub fn oom_score_adj(&self, id: ProcessId) -> Result<Option<i16>, ReadError> {
        let found = self.look(|root| root.score_adj(id.pid))?;
        // Of a later process with that pid, if that is there by now.
        let is_its = self.start_ticks(id.pid)? == Some(id.start_ticks);
        Ok(found.filter(|_| is_its))
    }

    /// The kernel's function that `id` waits in, where no signal ends that
    /// (state D); `None` where it does not wait so, or is gone. No lock of the
    /// process's is waited for, and no memory is taken.
    ///
    /// # Errors
    ///
    /// [`ReadError`] names the file that could not be read or made no sense.
    pub fn stuck_in(&self, id: ProcessId) -> Result<Option<KernelFunction>, ReadError> {
        let stat = self.stat_of(id.pid)?;
        let is_stuck = stat.is_some_and(|stat| {
            stat.start_ticks == id.start_ticks && stat.state == FirstThread::Uninterruptible
        });
        if !is_stuck {
            return Ok(None);
        }
        self.look(|root| {
            let path = PidPath::new(id.pid, "wchan");
            let mut function = KernelFunction::default();
            let len = read_whole(root.open(&path)?, &mut function.name)
                .map_err(|errno| root.read_failed(errno, &path))?;
            function.len = len;
            Ok(function)
        })
    }

    pub(crate) fn stat_of(&self, pid: u32) -> Result<Option<Stat>, ReadError> {
        self.look(|root| {
            let path = PidPath::new(pid, "stat");
            root.stat(root.open(&path)?, &path, &mut [0; 1024])
        })
    }

    /// What `reading` finds, or `None` if it finds a process gone.
    pub(crate) fn look<T>(
        &self,
        reading: impl FnOnce(OpenRoot<'_>) -> Result<T, Miss>,
    ) -> Result<Option<T>, ReadError> {
        match reading(self.open()?) {
            Ok(found) => Ok(Some(found)),
            Err(Miss::Gone) => Ok(None),
            Err(Miss::Failed(err)) => Err(err),
        }
    }

    /// The directory, opened if it is not yet.
    pub(crate) fn open(&self) -> Result<OpenRoot<'_>, ReadError> {
        let directory = match self.directory.get() {
            Some(directory) => directory,
            None => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let directory = openat(CWD, &self.path, flags, Mode::empty()).map_err(|errno| {
                    ReadError::Open {
                        path: self.path.clone(),
                        source: errno.into(),
                    }
                })?;
                self.directory.get_or_init(|| directory)
            }
        };
        Ok(OpenRoot {
            path: &self.path,
            directory: directory.as_fd(),
        })
    }
}

/// A new root at the same path, which opens it anew.
impl Clone for ProcRoot {
    fn clone(&self) -> Self {
        Self::at(&self.path)
    }
}

const READ: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK);

/// Why a process could not be seen.
#[derive(Debug)]
pub(crate) enum Miss {
    /// It is gone.
    Gone,
    /// A file of its could not be read, or made no sense.
    Failed(ReadError),
}

impl From<ReadError> for Miss {
    fn from(err: ReadError) -> Self {
        Self::Failed(err)
    }
}

/// [`ProcRoot`] with its directory open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenRoot<'a> {
    pub(crate) path: &'a Path,
    pub(crate) directory: BorrowedFd<'a>,
}

impl OpenRoot<'_> {
    pub(crate) fn open(&self, path: &PidPath) -> Result<OwnedFd, Miss> {
        openat(self.directory, path.as_c_str(), READ, Mode::empty()).map_err(|errno| {
            self.missed(errno, path, |path, source| ReadError::Open { path, source })
        })
    }

    pub(crate) fn read_failed(&self, errno: Errno, path: &PidPath) -> Miss {
        self.missed(errno, path, |path, source| ReadError::Read { path, source })
    }

    fn missed(
        &self,
        errno: Errno,
        path: &PidPath,
        failed: impl FnOnce(PathBuf, io::Error) -> ReadError,
    ) -> Miss {
        match errno {
            // Before it is looked up, and after its file was opened.
            Errno::NOENT | Errno::SRCH => Miss::Gone,
            _ => Miss::Failed(failed(self.path.join(path.as_str()), errno.into())),
        }
    }

    pub(crate) fn malformed(
        &self,
        path: &PidPath,
        line: usize,
        expected: &'static str,
        found: &[u8],
    ) -> Miss {
        Miss::Failed(ReadError::Malformed {
            path: self.path.join(path.as_str()),
            line,
            expected,
            found: beginning(found),
        })
    }

    pub(crate) fn stat(
        &self,
        file: impl AsFd,
        path: &PidPath,
        buffer: &mut [u8],
    ) -> Result<Stat, Miss> {
        // One pread(2) gives all of it.
        let len = pread(file, &mut buffer[..], 0).map_err(|errno| self.read_failed(errno, path))?;
        Stat::parse(&buffer[..len])
            .ok_or_else(|| self.malformed(path, 1, Stat::EXPECTED, &buffer[..len]))
    }

    /// The status of `pid`, or of the one of its threads that stands for it.
    pub(crate) fn status(
        &self,
        pid: u32,
        thread: Option<u32>,
        buffer: &mut [u8],
    ) -> Result<ProcessStatus, Miss> {
        let path = PidPath::of_thread(pid, thread, "status");
        let mut status = ProcessStatus::default();
        let mut malformed = None;
        for_each_line_of_one(self.open(&path)?, buffer, |line, text| {
            match status.take(text) {
                Ok(()) => ControlFlow::Continue(()),
                Err(expected) => {
                    malformed = Some(self.malformed(&path, line, expected, text));
                    ControlFlow::Break(())
                }
            }
        })
        .map_err(|errno| self.read_failed(errno, &path))?;
        malformed.map_or(Ok(status), Err)
    }

    pub(crate) fn score(&self, pid: u32) -> Result<u16, Miss> {
        let path = PidPath::new(pid, "oom_score");
        self.number(&path, "a number from 0 to 2000", |number| {
            u16::try_from(number).ok().filter(|score| *score <= 2000)
        })
    }

    pub(crate) fn score_adj(&self, pid: u32) -> Result<i16, Miss> {
        let path = PidPath::new(pid, "oom_score_adj");
        self.number(&path, "a number from -1000 to 1000", |number| {
            (-1000..=1000).contains(&number).then_some(number)
        })
    }

    fn number<T>(
        &self,
        path: &PidPath,
        expected: &'static str,
        fit: impl FnOnce(i16) -> Option<T>,
    ) -> Result<T, Miss> {
        let mut buffer = [0; 32];
        let file = self.open(path)?;
        // Once: the kernel writes the number anew for each read, and what is
        // behind `0` of `1000` is `00`.
        let len = pread(file, &mut buffer, 0).map_err(|errno| self.read_failed(errno, path))?;
        signed(&buffer[..len])
            .and_then(fit)
            .ok_or_else(|| self.malformed(path, 1, expected, &buffer[..len]))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn a_number_that_changes_while_it_is_read_is_the_one_or_the_other() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        let over = AtomicBool::new(false);
        let root = ProcRoot::at("/proc");
        let before = root.look(|root| root.score_adj(pid)).unwrap().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let path = format!("/proc/{pid}/oom_score_adj");
                while !over.load(Ordering::SeqCst) {
                    fs::write(&path, "1000").unwrap();
                    fs::write(&path, before.to_string()).unwrap();
                }
            });
            let read = || root.look(|root| root.score_adj(pid));
            let odd = (0..50_000)
                .map(|_| read())
                .find(|found| !matches!(found, Ok(Some(adj)) if [before, 1000].contains(adj)));
            over.store(true, Ordering::SeqCst);
            assert!(odd.is_none(), "{odd:?}");
        });
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
