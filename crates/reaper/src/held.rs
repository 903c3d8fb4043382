//! A process that is held, so that it cannot be mistaken for another.

use std::array;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use model::{FirstSignal, ProcessId};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat, openat, readlinkat_raw, statat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use crate::calls::Calls;
use crate::error::ReapError;

/// Where a descriptor cannot tell that its process is gone, how long to wait
/// before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A process held by a pidfd. A signal sent through it reaches this process or
/// none, even if the pid was reused since.
///
/// It is held before it is signalled, in quiet times; holding is what may need
/// memory. Sending allocates nothing, not in user space and, for SIGKILL by a
/// pidfd, not in the kernel.
///
/// Clones hold the same process by the same descriptor and cost one atomic
/// addition.
#[derive(Clone, Debug)]
pub struct Held(Arc<HeldProcess>);

#[derive(Debug)]
struct HeldProcess {
    id: ProcessId,
    pid: Pid,
    descriptor: Descriptor,
    /// Else by kill(2).
    signal_by_descriptor: bool,
    /// SIGKILL was sent, and the process was there to get it.
    killed: AtomicBool,
}

#[derive(Debug)]
enum Descriptor {
    /// Readable once the process has ended, all its threads with it.
    Pidfd(OwnedFd),
    /// Where there is no pidfd_open(2).
    Directory {
        /// `/proc/<pid>`, whose files are gone once the process is reaped, and
        /// stay gone when its pid is used again.
        directory: OwnedFd,
        /// A directory cannot tell of an end; this is what a caller polls
        /// instead, and it never becomes readable.
        never: OwnedFd,
    },
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalled {
    /// The kernel took it.
    Sent,
    /// The process was gone.
    Gone,
}

impl Held {
    /// Holds the process `id`, or `None` when it is gone or its pid is
    /// another's now.
    ///
    /// The descriptor is opened first and `start_ticks` asked after: it is
    /// called once with the pid and says when that process started, in clock
    /// ticks since boot (proc_pid_stat(5), field 22), or `None` when it is
    /// gone. What is held by then cannot become another, so if it says what
    /// `id` says, `id` is what is held.
    ///
    /// A zombie is gone: it has no memory left and will not act on a signal.
    ///
    /// This needs pidfd_open(2); [`Self::hold_by`] does without where it must.
    ///
    /// # Errors
    ///
    /// - [`ReapError::Hold`]: no descriptor could be had. Where there are too
    ///   many open files, raise RLIMIT_NOFILE.
    /// - [`ReapError::StartTime`]: `start_ticks` failed.
    pub fn hold(
        id: ProcessId,
        start_ticks: impl FnOnce(u32) -> io::Result<Option<u64>>,
    ) -> Result<Option<Self>, ReapError> {
        let open = |pid| Ok(Descriptor::Pidfd(pidfd_open(pid, PidfdFlags::empty())?));
        Self::hold_opened(Calls::available(), open, id, start_ticks)
    }

    /// [`Self::hold`], with no calls but `calls` ([`Calls::available`], or what
    /// is to be forced) and with the `/proc` that is mounted at `proc_root`:
    /// the kernel's own, of our own pid namespace, never a test's tree.
    ///
    /// Without pidfd_open(2), the process is held by its directory there, which
    /// is as certain: neither what is looked up in it nor a signal sent to
    /// it by pidfd_send_signal(2) reaches a later process of the same pid. But
    /// it cannot tell of the end: see [`Self::tells_its_end`].
    ///
    /// Without pidfd_send_signal(2), signals go by kill(2), right after the
    /// process was seen to be there. A race remains: in between, it may end,
    /// be reaped, and every other free pid be used once, before a new process
    /// gets this one's pid and the signal. That is microseconds against a
    /// whole round of pids (pid_max, 32 768 or more).
    ///
    /// # Errors
    ///
    /// As [`Self::hold`].
    pub fn hold_by(
        calls: Calls,
        proc_root: &Path,
        id: ProcessId,
        start_ticks: impl FnOnce(u32) -> io::Result<Option<u64>>,
    ) -> Result<Option<Self>, ReapError> {
        let open = |pid| Descriptor::open(calls, proc_root, pid);
        Self::hold_opened(calls, open, id, start_ticks)
    }

    fn hold_opened(
        calls: Calls,
        open: impl FnOnce(Pid) -> Result<Descriptor, Errno>,
        id: ProcessId,
        start_ticks: impl FnOnce(u32) -> io::Result<Option<u64>>,
    ) -> Result<Option<Self>, ReapError> {
        let Some(pid) = i32::try_from(id.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let descriptor = match open(pid) {
            Ok(descriptor) => descriptor,
            Err(err) if is_gone(err) => return Ok(None),
            Err(err) => {
                return Err(ReapError::Hold {
                    pid: id.pid,
                    source: err.into(),
                });
            }
        };
        let started = start_ticks(id.pid).map_err(|source| ReapError::StartTime {
            pid: id.pid,
            source,
        })?;
        if started != Some(id.start_ticks) || descriptor.is_gone() {
            return Ok(None);
        }
        Ok(Some(Self(Arc::new(HeldProcess {
            id,
            pid,
            descriptor,
            signal_by_descriptor: calls.pidfd_send_signal,
            killed: AtomicBool::new(false),
        }))))
    }

    /// Which process it is.
    #[must_use]
    pub fn id(&self) -> ProcessId {
        self.0.id
    }

    /// Asks it to end: SIGTERM, and SIGCONT, without which a stopped process
    /// cannot save its work. SIGTERM is pending by then, so it is the first
    /// thing that the process sees when it runs again.
    ///
    /// # Errors
    ///
    /// [`ReapError::NotPermitted`] or [`ReapError::Signal`].
    pub fn terminate(&self) -> Result<Signalled, ReapError> {
        self.ask_to_end(Signal::TERM, "SIGTERM")
    }

    /// The same by another signal than SIGTERM.
    ///
    /// # Errors
    ///
    /// As [`Self::terminate`].
    pub fn terminate_by(&self, first: FirstSignal) -> Result<Signalled, ReapError> {
        let signal = match first {
            FirstSignal::Hangup => Signal::HUP,
            FirstSignal::Interrupt => Signal::INT,
            FirstSignal::Quit => Signal::QUIT,
            FirstSignal::User1 => Signal::USR1,
            FirstSignal::User2 => Signal::USR2,
            FirstSignal::Window => Signal::WINCH,
        };
        self.ask_to_end(signal, first.name())
    }

    fn ask_to_end(&self, signal: Signal, name: &'static str) -> Result<Signalled, ReapError> {
        let signalled = self.send(signal, name)?;
        if signalled == Signalled::Sent {
            // Who took that from us takes this too, unless it is gone by now.
            let _ = self.send(Signal::CONT, "SIGCONT");
        }
        Ok(signalled)
    }

    /// Ends it: SIGKILL. What is stopped (SIGSTOP) or ignores every signal dies
    /// of it too; what is in an uninterruptible sleep dies when that is over.
    ///
    /// # Errors
    ///
    /// [`ReapError::NotPermitted`] or [`ReapError::Signal`].
    pub fn kill(&self) -> Result<Signalled, ReapError> {
        let signalled = self.send(Signal::KILL, "SIGKILL")?;
        if signalled == Signalled::Sent {
            self.0.killed.store(true, Ordering::Release);
        }
        Ok(signalled)
    }

    /// Stops it: SIGSTOP, which cannot be ignored. What is in an uninterruptible
    /// sleep stops when that is over.
    pub(crate) fn stop(&self) -> Result<Signalled, ReapError> {
        self.send(Signal::STOP, "SIGSTOP")
    }

    /// Has it go on after a stop: SIGCONT.
    pub(crate) fn resume(&self) -> Result<Signalled, ReapError> {
        self.send(Signal::CONT, "SIGCONT")
    }

    /// What stands for it where a signal is sent by pidfd_send_signal(2).
    pub(crate) fn holding(&self) -> BorrowedFd<'_> {
        self.0.descriptor.holding()
    }

    /// Whether [`Self::kill`] reached it, on this clone or another.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.0.killed.load(Ordering::Acquire)
    }

    /// Whether it has ended, all its threads with it: its memory is freed,
    /// unless another process shares the memory map. Never waits.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.0.descriptor.is_gone()
    }

    /// Whether its descriptor ([`AsFd`]) becomes readable when it is gone. Where
    /// not (no pidfd_open(2)), it never does, and [`Self::is_gone`] is to be
    /// asked from time to time.
    #[must_use]
    pub fn tells_its_end(&self) -> bool {
        matches!(self.0.descriptor, Descriptor::Pidfd(_))
    }

    /// Its pidfd, where there is one.
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        match &self.0.descriptor {
            Descriptor::Pidfd(pidfd) => Some(pidfd.as_fd()),
            Descriptor::Directory { .. } => None,
        }
    }

    fn send(&self, signal: Signal, name: &'static str) -> Result<Signalled, ReapError> {
        let pid = self.0.id.pid;
        let sent = if self.0.signal_by_descriptor {
            pidfd_send_signal(self.0.descriptor.holding(), signal)
        } else {
            self.send_by_pid(signal)
        };
        match sent {
            Ok(()) => Ok(Signalled::Sent),
            Err(Errno::SRCH) => Ok(Signalled::Gone),
            Err(err @ Errno::PERM) => Err(ReapError::NotPermitted {
                pid,
                signal: name,
                source: err.into(),
            }),
            Err(err) => Err(ReapError::Signal {
                pid,
                signal: name,
                source: err.into(),
            }),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a kernel without pidfd_send_signal has nothing else"
    )]
    fn send_by_pid(&self, signal: Signal) -> Result<(), Errno> {
        if self.is_gone() {
            return Err(Errno::SRCH);
        }
        kill_process(self.0.pid, signal)
    }
}

/// The pidfd, to be polled: readable once the process is gone. See
/// [`Held::tells_its_end`] for kernels without.
impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0.descriptor {
            Descriptor::Pidfd(pidfd) => pidfd.as_fd(),
            Descriptor::Directory { never, .. } => never.as_fd(),
        }
    }
}

impl Descriptor {
    fn open(calls: Calls, proc_root: &Path, pid: Pid) -> Result<Self, Errno> {
        if calls.pidfd_open {
            return pidfd_open(pid, PidfdFlags::empty()).map(Self::Pidfd);
        }
        Ok(Self::Directory {
            directory: openat(
                CWD,
                proc_root.join(pid.to_string()),
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )?,
            never: eventfd(0, EventfdFlags::CLOEXEC)?,
        })
    }

    /// What stands for the process: pidfd_send_signal(2) takes both.
    fn holding(&self) -> BorrowedFd<'_> {
        match self {
            Self::Pidfd(pidfd) => pidfd.as_fd(),
            Self::Directory { directory, .. } => directory.as_fd(),
        }
    }

    fn is_gone(&self) -> bool {
        match self {
            Self::Pidfd(pidfd) => is_readable(pidfd.as_fd(), Duration::ZERO),
            Self::Directory { directory, .. } => {
                is_reaped(directory.as_fd()) || is_zombie(directory.as_fd())
            }
        }
    }
}

/// How many of `processes` are gone, as [`Held::is_gone`] has it, by one call for up to
/// 32 of them. Never waits, and takes no memory.
pub fn count_gone<'a>(processes: impl Iterator<Item = &'a Held> + Clone) -> usize {
    let is_untold = |process: &&Held| !process.tells_its_end() && process.is_gone();
    let mut gone = processes.clone().filter(is_untold).count();
    let mut telling = processes.filter(|process| process.tells_its_end());
    while let Some(first) = telling.next() {
        let mut polled: [_; 32] = array::from_fn(|_| PollFd::new(first, PollFlags::IN));
        let mut count = 1;
        for (place, process) in polled[1..].iter_mut().zip(&mut telling) {
            *place = PollFd::new(process, PollFlags::IN);
            count += 1;
        }
        gone += poll(&mut polled[..count], Some(&Timespec::default())).unwrap_or(0);
    }
    gone
}

/// Waits until all of `victims` are gone, at most for `timeout`; whether they
/// are.
///
/// # Errors
///
/// [`ReapError::Wait`]: poll(2) failed (more victims than RLIMIT_NOFILE, no
/// memory).
pub fn wait_gone(victims: &[Held], timeout: Duration) -> Result<bool, ReapError> {
    let deadline = Instant::now().checked_add(timeout);
    let mut waiting: Vec<&Held> = victims.iter().collect();
    loop {
        waiting.retain(|victim| !victim.is_gone());
        if waiting.is_empty() {
            return Ok(true);
        }
        let mut left = deadline.map_or(Duration::MAX, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        });
        if left.is_zero() {
            return Ok(false);
        }
        if !waiting.iter().all(|victim| victim.tells_its_end()) {
            left = left.min(LOOK_AGAIN);
        }
        let mut polled: Vec<_> = waiting
            .iter()
            .map(|victim| PollFd::new(*victim, PollFlags::IN))
            .collect();
        match poll(&mut polled, Timespec::try_from(left).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(err) => return Err(ReapError::Wait { source: err.into() }),
        }
    }
}

/// Waits at most for `timeout` until `descriptor` is readable; whether it is.
/// A signal may cut the wait short.
pub(crate) fn is_readable(descriptor: BorrowedFd<'_>, timeout: Duration) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    let timeout = Timespec::try_from(timeout).ok();
    poll(&mut polled, timeout.as_ref()).is_ok_and(|ready| ready == 1)
}

/// ESRCH: no such process. EINVAL (ENOENT in later kernels): the pid is that of
/// a thread which leads no process, so the process that had it is gone. ENOENT:
/// no such directory.
fn is_gone(err: Errno) -> bool {
    matches!(err, Errno::SRCH | Errno::INVAL | Errno::NOENT)
}

/// Whether nothing can be found any more in this `/proc/<pid>`.
fn is_reaped(directory: BorrowedFd<'_>) -> bool {
    accessat(directory, "stat", Access::EXISTS, AtFlags::empty()).is_err_and(is_gone)
}

/// Whether what is left in this `/proc/<pid>` is one thread (`task` has two
/// links and one more for each) without a working directory: the kernel
/// releases that after the memory, so both are gone. Where we may not
/// look at the working directory the answer is no, until it is reaped.
fn is_zombie(directory: BorrowedFd<'_>) -> bool {
    let one_thread =
        statat(directory, "task", AtFlags::empty()).is_ok_and(|task| task.st_nlink == 3);
    let mut first_byte = [MaybeUninit::uninit(); 1];
    let cwd = readlinkat_raw(directory, "cwd", &mut first_byte);
    one_thread && matches!(cwd, Err(Errno::NOENT))
}
