//! What pausing needs to know of processes and cgroups.
//!
//! Read on threads that nothing waits for: `maps` takes a process's mmap lock,
//! and `cgroup` and the files of cgroups the kernel's cgroup_mutex.

use std::fs::{self, File};
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use model::{Paging, ProcessId, RunState};
use rustix::io::Errno;

use crate::cgroup_mount::CgroupMount;
use crate::error::ReadError;
use crate::file::for_each_line;
use crate::meminfo::Meminfo;
use crate::number::decimal;
use crate::pid_files::{FirstThread, PidPath, ProcessStatus};
use crate::proc_root::ProcRoot;
use crate::zram::Zram;

/// So many threads of a process are looked at whose first says nothing.
const THREADS: usize = 64;

/// So deep and so many cgroups are looked at below a unit's own. Any user nests
/// thousands in a cgroup that was delegated to it; containers and user managers
/// nest a few.
const CGROUP_DEPTH: usize = 16;
const CGROUPS: usize = 1024;

/// What waits for what it starts with WUNTRACED, and when that stops, stops itself
/// (SIGSTOP) until a person's shell has it go on: who resumes the one would not
/// resume the other. By the names that they have as processes.
const STOP_WITH_A_CHILD: [&[u8]; 9] = [
    b"su", b"runuser", b"sudo", b"sudo-rs", b"sudo.ws", b"script", b"nsenter", b"newgrp", b"sg",
];

/// Their bits in the masks of signals: signal(7).
const SIGKILL: u64 = 1 << 8;
const SIGSTOP: u64 = 1 << 18;

/// Reads what pausing needs to know of processes and cgroups.
#[derive(Debug)]
pub struct PauseFiles {
    root: ProcRoot,
    /// `/sys/block`.
    blocks: PathBuf,
    cgroups: Option<CgroupMount>,
    /// As last opened, while no thread reads them.
    paging: Mutex<Option<PagingFiles>>,
}

/// What tells how busy swap is, and how full.
#[derive(Debug)]
struct PagingFiles {
    meminfo: Meminfo,
    /// `None`: a kernel without swap does not list any.
    zram: Option<Zram>,
}

impl PauseFiles {
    /// Of the processes below `root`, which is procfs, and the devices in
    /// `blocks`, `/sys/block`. Looks where cgroups are mounted; where they are
    /// not, or that cannot be told, each process is in none.
    #[must_use]
    pub fn new(root: ProcRoot, blocks: PathBuf) -> Self {
        let cgroups = CgroupMount::of_version_2(root.path());
        Self {
            root,
            blocks,
            cgroups,
            paging: Mutex::default(),
        }
    }

    /// Where procfs is.
    #[must_use]
    pub fn proc_root(&self) -> &Path {
        self.root.path()
    }

    /// When `pid` started, in clock ticks since boot, and whether it runs;
    /// `None` once it is gone.
    ///
    /// # Errors
    ///
    /// [`ReadError`] names the file that could not be read or made no sense.
    pub fn run_state(&self, pid: u32) -> Result<Option<(u64, RunState)>, ReadError> {
        // Before the state: a stop is pending until the process is seen stopped, and
        // so is a kill until it shows.
        let pending = self.pending_signals(pid)?;
        let Some(stat) = self.root.stat_of(pid)? else {
            return Ok(None);
        };
        let state = match stat.state {
            // It may run for long yet: in the kernel, and with little of a processor.
            _ if stat.is_dying || pending & SIGKILL != 0 => RunState::Ended,
            FirstThread::Stopped => RunState::Stopped,
            FirstThread::Zombie if !stat.outlived_its_first_thread() => RunState::Ended,
            // A stop is of all threads, but one that sleeps in the kernel does
            // not show it yet, and the first may have ended.
            _ if stat.threads > 1 && self.has_stopped_thread(pid) => RunState::Stopped,
            _ if pending & SIGSTOP != 0 => RunState::Stopping,
            _ => RunState::Runs,
        };
        Ok(Some((stat.start_ticks, state)))
    }

    /// Whether another program would answer a stop of `pid`:
    ///
    /// - what traces it takes the stop for its own, and it does not go on with
    ///   SIGCONT;
    /// - what holds the master side of the terminal whose session it leads, as
    ///   tmux(1) and screen(1) do, has it go on at once;
    /// - su(1), sudo(8), script(1) and the like, where that is its parent, stop too,
    ///   and stay so.
    ///
    /// # Errors
    ///
    /// [`ReadError`] names the file that could not be read or made no sense.
    pub fn stop_is_answered(&self, pid: u32) -> Result<bool, ReadError> {
        let Some((status, stat)) = self.status(pid)?.zip(self.root.stat_of(pid)?) else {
            return Ok(false);
        };
        if status.is_traced || (stat.session == pid && stat.pty().is_some()) {
            return Ok(true);
        }
        let parent = self.root.stat_of(stat.parent)?;
        Ok(parent.is_some_and(|parent| STOP_WITH_A_CHILD.contains(&parent.name.as_bytes())))
    }

    /// Whether the first thread of `pid` has ended, whatever the others do; so
    /// it has once all have.
    ///
    /// # Errors
    ///
    /// [`ReadError`] names the file that could not be read or made no sense.
    pub fn first_thread_has_ended(&self, pid: u32) -> Result<bool, ReadError> {
        let stat = self.root.stat_of(pid)?;
        Ok(stat.is_none_or(|stat| stat.state == FirstThread::Zombie))
    }

    fn has_stopped_thread(&self, pid: u32) -> bool {
        threads(&self.root, pid).take(THREADS).any(|thread| {
            let path = PidPath::of_thread(pid, Some(thread), "stat");
            let stat = self
                .root
                .look(|root| root.stat(root.open(&path)?, &path, &mut [0; 1024]));
            matches!(stat, Ok(Some(stat)) if stat.state == FirstThread::Stopped)
        })
    }

    fn pending_signals(&self, pid: u32) -> Result<u64, ReadError> {
        let status = self.status(pid)?;
        Ok(status.map_or(0, |status| status.pending_signals))
    }

    /// What `pid` has in swap; `None` once it is gone.
    ///
    /// # Errors
    ///
    /// [`ReadError`] names the file that could not be read or made no sense.
    pub fn swapped_bytes(&self, pid: u32) -> Result<Option<u64>, ReadError> {
        Ok(self.status(pid)?.map(|status| status.swap_bytes))
    }

    /// What all in the cgroup `directory` have in swap, with what they share; `None`
    /// where the kernel does not tell.
    #[must_use]
    pub fn swapped_bytes_in(directory: &Path) -> Option<u64> {
        let text = fs::read(directory.join("memory.swap.current")).ok()?;
        decimal(text.trim_ascii())
    }

    /// The real user of `pid`; `None` once it is gone.
    ///
    /// # Errors
    ///
    /// [`ReadError`] names the file that could not be read or made no sense.
    pub fn owner(&self, pid: u32) -> Result<Option<u32>, ReadError> {
        Ok(self.status(pid)?.and_then(|status| status.uid))
    }

    fn status(&self, pid: u32) -> Result<Option<ProcessStatus>, ReadError> {
        self.root
            .look(|root| root.status(pid, None, &mut [0; 4096]))
    }

    /// Calls `each` with every child of each of `parents`: from the lists that
    /// the kernel keeps (`children`, with CONFIG_PROC_CHILDREN), else from all
    /// processes.
    ///
    /// # Errors
    ///
    /// [`ReadError`] names the file that could not be read or made no sense.
    pub fn children(
        &self,
        parents: &[u32],
        each: &mut dyn FnMut(ProcessId),
    ) -> Result<(), ReadError> {
        let has_lists = self.root.path().join("thread-self/children").exists();
        if !has_lists {
            return self.children_among_all(parents, each);
        }
        for parent in parents {
            for thread in threads(&self.root, *parent) {
                let path = self
                    .root
                    .path()
                    .join(format!("{parent}/task/{thread}/children"));
                // What is gone has no children any more.
                let list = fs::read(path).unwrap_or_default();
                let pids = list.split(|byte| *byte == b' ').filter_map(pid);
                for pid in pids {
                    if let Some(start_ticks) = self.root.start_ticks(pid)? {
                        each(ProcessId { pid, start_ticks });
                    }
                }
            }
        }
        Ok(())
    }

    fn children_among_all(
        &self,
        parents: &[u32],
        each: &mut dyn FnMut(ProcessId),
    ) -> Result<(), ReadError> {
        for pid in self.root.pids()? {
            if let Some(stat) = self.root.stat_of(pid)?
                && parents.contains(&stat.parent)
            {
                each(ProcessId {
                    pid,
                    start_ticks: stat.start_ticks,
                });
            }
        }
        Ok(())
    }

    /// The directory of the cgroup (v2) that `pid` is in, below the mount that
    /// we see; `None` where there is none, or once it is gone.
    ///
    /// # Errors
    ///
    /// [`ReadError::Read`].
    pub fn cgroup(&self, pid: u32) -> Result<Option<PathBuf>, ReadError> {
        let Some(mount) = &self.cgroups else {
            return Ok(None);
        };
        let path = self.root.path().join(format!("{pid}/cgroup"));
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(err) if is_gone(&err) => return Ok(None),
            Err(source) => return Err(ReadError::Read { path, source }),
        };
        let mut lines = text.split(|byte| *byte == b'\n');
        Ok(lines.find_map(|line| mount.directory(line)))
    }

    /// Calls `each` with every process in the cgroup at `directory` and below.
    ///
    /// # Errors
    ///
    /// [`ReadError`]: some of them cannot be told. [`ReadError::TooMany`]: its
    /// owner has nested so many cgroups that they are not looked at.
    pub fn processes_below(directory: &Path, each: &mut dyn FnMut(u32)) -> Result<(), ReadError> {
        let mut waiting = vec![(directory.to_owned(), 0)];
        let mut found = 1;
        while let Some((path, depth)) = waiting.pop() {
            processes_in(&path, each)?;
            let failed = |source| ReadError::Open {
                path: path.clone(),
                source,
            };
            let below = match fs::read_dir(&path) {
                Ok(below) => below,
                Err(err) if is_gone(&err) => continue,
                Err(err) => return Err(failed(err)),
            };
            for entry in below {
                let entry = entry.map_err(failed)?;
                if !entry.file_type().is_ok_and(|file_type| file_type.is_dir()) {
                    continue;
                }
                found += 1;
                if depth == CGROUP_DEPTH || found > CGROUPS {
                    return Err(ReadError::TooMany {
                        path: directory.to_owned(),
                    });
                }
                waiting.push((entry.path(), depth + 1));
            }
        }
        Ok(())
    }

    /// Whether the text of a `cgroup.events` says that all in it stands still.
    #[must_use]
    pub fn says_frozen(events: &[u8]) -> bool {
        events
            .split(|byte| *byte == b'\n')
            .any(|line| line == b"frozen 1")
    }

    /// Calls `each` with the addresses of each private mapping of `pid` that is
    /// of no file. Waits for its mmap lock, maybe for ever.
    ///
    /// # Errors
    ///
    /// [`ReadError`]: they cannot be read.
    pub fn private_ranges(
        &self,
        pid: u32,
        each: &mut dyn FnMut(Range<u64>),
    ) -> Result<(), ReadError> {
        let path = self.root.path().join(format!("{pid}/maps"));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(err) if is_gone(&err) => return Ok(()),
            Err(source) => return Err(ReadError::Open { path, source }),
        };
        let read = for_each_line(&file, &mut [0; 8192], |_, line| {
            if let Some(range) = private_range(line) {
                each(range);
            }
            ControlFlow::Continue(())
        });
        match read {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(ReadError::Read {
                path,
                source: errno.into(),
            }),
        }
    }

    /// How busy swap is, and how full.
    ///
    /// # Errors
    ///
    /// Those of [`Meminfo::open`] and [`Meminfo::paging`].
    pub fn paging(&self) -> Result<Paging, ReadError> {
        let kept = || self.paging.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out, so that a read that does not return keeps no other thread waiting.
        let opened = kept().take();
        let mut files = opened.map_or_else(|| self.open_paging_files(), Ok)?;
        let mut paging = files.meminfo.paging()?;
        if let Some(zram) = &mut files.zram {
            zram.refresh();
            if zram.measure().is_ok() {
                zram.tell(&mut paging);
            }
        }
        *kept() = Some(files);
        Ok(paging)
    }

    fn open_paging_files(&self) -> Result<PagingFiles, ReadError> {
        Ok(PagingFiles {
            meminfo: Meminfo::open(&self.root.path().join("meminfo"))?,
            zram: Zram::open(&self.root.path().join("swaps"), &self.blocks).ok(),
        })
    }
}

/// Calls `each` with every process in the one cgroup at `directory`.
fn processes_in(directory: &Path, each: &mut dyn FnMut(u32)) -> Result<(), ReadError> {
    let path = directory.join("cgroup.procs");
    let text = match fs::read(&path) {
        Ok(text) => text,
        // Removed meanwhile, or a threaded one, whose processes are those of its
        // nearest domain.
        Err(err) if is_gone(&err) || is_threaded(&err) => return Ok(()),
        Err(source) => return Err(ReadError::Read { path, source }),
    };
    text.split(|byte| *byte == b'\n')
        .filter_map(pid)
        .for_each(each);
    Ok(())
}

/// The threads of a process; none once it is gone.
fn threads(root: &ProcRoot, pid: u32) -> impl Iterator<Item = u32> {
    let listed = fs::read_dir(root.path().join(format!("{pid}/task")));
    let entries = listed.into_iter().flatten().flatten();
    entries.filter_map(|entry| self::pid(entry.file_name().as_bytes()))
}

fn pid(text: &[u8]) -> Option<u32> {
    u32::try_from(decimal(text)?).ok()
}

/// ESRCH: it went between open and read. ENODEV: the cgroup did.
fn is_gone(err: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(err),
        Some(Errno::NOENT | Errno::SRCH | Errno::NODEV)
    )
}

fn is_threaded(err: &io::Error) -> bool {
    Errno::from_io_error(err) == Some(Errno::OPNOTSUPP)
}

/// The addresses of a mapping that is private and of no file:
/// `<addresses> <permissions> <offset> <device> <inode> <path>`. Of the kernel's
/// own (`[vdso]`) there is nothing to write.
fn private_range(mapping: &[u8]) -> Option<Range<u64>> {
    let mut fields = mapping
        .split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty());
    let addresses = fields.next()?;
    let permissions = fields.next()?;
    let inode = fields.nth(2)?;
    let path = fields.next().unwrap_or_default();
    let is_the_kernels = path.starts_with(b"[v");
    if !permissions.ends_with(b"p") || inode != b"0" || is_the_kernels {
        return None;
    }
    let dash = addresses.iter().position(|byte| *byte == b'-')?;
    let address = |text| u64::from_str_radix(str::from_utf8(text).ok()?, 16).ok();
    Some(address(&addresses[..dash])?..address(&addresses[dash + 1..])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_mapping(mapping: &str, want: Option<Range<u64>>) {
        assert_eq!(private_range(mapping.as_bytes()), want, "{mapping}");
    }

    #[test]
    fn only_what_is_private_and_of_no_file_is_pushed_out() {
        let heap = 0x55f0_0000_0000..0x55f0_0002_1000;
        let address = "55f000000000-55f000021000";
        check_mapping(
            &format!("{address} rw-p 00000000 00:00 0    [heap]"),
            Some(heap.clone()),
        );
        check_mapping(
            &format!("{address} rw-p 00000000 00:00 0 "),
            Some(heap.clone()),
        );
        check_mapping(
            &format!("{address} rw-p 00000000 00:00 0    [anon:a name]"),
            Some(heap),
        );
        check_mapping(
            &format!("{address} rw-s 00000000 00:01 2049 /dev/zero (deleted)"),
            None,
        );
        check_mapping(&format!("{address} r-xp 00000000 08:01 77 /bin/true"), None);
        check_mapping(&format!("{address} r-xp 00000000 00:00 0 [vdso]"), None);
        check_mapping("55f000000000 rw-p 00000000 00:00 0", None);
        check_mapping("xyz-55f000021000 rw-p 00000000 00:00 0", None);
        check_mapping("", None);
    }

    #[test]
    fn children_are_the_same_without_the_kernels_lists() {
        let files = PauseFiles::new(ProcRoot::at("/proc"), "/sys/block".into());
        let ourselves = [std::process::id()];
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        let (mut by_lists, mut among_all) = (false, false);
        files
            .children(&ourselves, &mut |child| by_lists |= child.pid == pid)
            .unwrap();
        files
            .children_among_all(&ourselves, &mut |child| among_all |= child.pid == pid)
            .unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(by_lists && among_all, "{by_lists} {among_all}");
    }

    #[test]
    fn only_frozen_1_is_frozen() {
        assert!(PauseFiles::says_frozen(b"populated 1\nfrozen 1\n"));
        assert!(!PauseFiles::says_frozen(b"populated 1\nfrozen 0\n"));
        assert!(!PauseFiles::says_frozen(b"populated 1\nfrozen 10\n"));
        assert!(!PauseFiles::says_frozen(b""));
    }
}
