//! Which of the kernel's calls there are.
//!
//! An old kernel lacks some; a seccomp filter may deny some, with EPERM or
//! ENOSYS. So each is tried once, in a way that does nothing, and what is
//! missing is done without. No decision is taken from version numbers:
//! distributions carry calls back.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::OnceLock;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use rustix::thread::{CapabilitySet, capabilities};

/// Which of the calls that end a process are used.
///
/// [`Self::available`] for the running kernel; any other value forces what is
/// done on a kernel without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// pidfd_open(2), Linux 5.3. Without it a process is held by its directory
    /// under `/proc`.
    pub pidfd_open: bool,
    /// pidfd_send_signal(2), Linux 5.1. Without it kill(2) is used right after
    /// the process was seen to be still there.
    pub pidfd_send_signal: bool,
    /// process_mrelease(2), Linux 5.15. Without it a victim's memory comes back
    /// when the victim is scheduled.
    pub process_mrelease: bool,
    /// process_madvise(2), Linux 5.10, and CAP_SYS_NICE. Without it a paused
    /// process's memory stays until others need it.
    pub process_madvise: bool,
}

impl Calls {
    /// All: Linux 5.15 and later, unfiltered, with CAP_SYS_NICE.
    pub const ALL: Self = Self {
        pidfd_open: true,
        pidfd_send_signal: true,
        process_mrelease: true,
        process_madvise: true,
    };

    /// None: Linux 5.0 and earlier.
    pub const NONE: Self = Self {
        pidfd_open: false,
        pidfd_send_signal: false,
        process_mrelease: false,
        process_madvise: false,
    };

    /// What the running kernel lets us call. It is tried at the first call
    /// (make that at start); later ones return what was found.
    #[must_use]
    pub fn available() -> Self {
        static AVAILABLE: OnceLock<Calls> = OnceLock::new();
        *AVAILABLE.get_or_init(Self::probe)
    }

    /// What is missing, to be said once, at start: each displays as one
    /// sentence.
    pub fn missing(self) -> impl Iterator<Item = Missing> {
        [
            (
                self.pidfd_open,
                Missing {
                    call: "pidfd_open",
                    since: "5.3",
                    instead: "a process is held by its directory in procfs",
                },
            ),
            (
                self.pidfd_send_signal,
                Missing {
                    call: "pidfd_send_signal",
                    since: "5.1",
                    instead: "a signal is sent by pid, right after the process was checked",
                },
            ),
            (
                self.process_mrelease,
                Missing {
                    call: "process_mrelease",
                    since: "5.15",
                    instead: "a victim's memory is freed when the victim runs",
                },
            ),
            (
                self.process_madvise,
                Missing {
                    call: "process_madvise",
                    since: "5.10, CAP_SYS_NICE",
                    instead: "a paused process's memory stays until others need it",
                },
            ),
        ]
        .into_iter()
        .filter(|(is_there, _)| !is_there)
        .map(|(_, missing)| missing)
    }

    /// The later calls are tried on a descriptor that is not a process's: EBADF
    /// is how they say that they are there.
    fn probe() -> Self {
        let opened = pidfd_open(getpid(), PidfdFlags::empty());
        let Ok(no_process) = eventfd(0, EventfdFlags::CLOEXEC) else {
            return Self {
                pidfd_open: !is_missing(opened.err()),
                ..Self::ALL
            };
        };
        let signalled = pidfd_send_signal(&no_process, Signal::CONT);
        let released = process_mrelease(no_process.as_fd());
        let paged_out = page_out(no_process.as_fd(), 0..0);
        Self {
            pidfd_open: !is_missing(opened.err()),
            pidfd_send_signal: !is_missing(signalled.err()),
            process_mrelease: !is_missing(released.err()),
            process_madvise: !is_missing(paged_out.err()) && may_advise_others(),
        }
    }
}

/// A call that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub call: &'static str,
    /// The first Linux that has it.
    pub since: &'static str,
    /// What is done without it.
    pub instead: &'static str,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no {} here (Linux {}, and no seccomp filter against it): {}",
            self.call, self.since, self.instead
        )
    }
}

/// Whether process_madvise(2) would be permitted on another process's memory.
fn may_advise_others() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_NICE))
}

/// Whether this is how a missing call, or one that a seccomp filter denies,
/// answers. None of them answers EPERM of itself when it is tried the way
/// [`Calls::probe`] tries it; `process_mrelease` never does, and
/// `process_madvise` to those that lack CAP_SYS_NICE.
pub(crate) fn is_missing(answer: Option<Errno>) -> bool {
    matches!(answer, Some(Errno::NOSYS | Errno::PERM))
}

/// process_mrelease(2): frees a dying process's memory without waiting for it
/// to be scheduled.
///
/// It takes the process's mmap lock and so may block for as long as that is
/// held: call it from a thread that may wait.
///
/// Errors: ESRCH, its memory is gone; EAGAIN, part of it is busy; EINVAL, it is
/// not dying, or a process that is not dying has the same memory (vfork,
/// CLONE_VM).
#[expect(
    unsafe_code,
    reason = "neither rustix nor nix nor std has process_mrelease"
)]
pub(crate) fn process_mrelease(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the call takes no pointers, and the borrow keeps `pidfd` open
    // until it returns. The arguments are passed as `long`, as syscall(2)
    // takes them.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_process_mrelease,
            libc::c_long::from(pidfd.as_raw_fd()),
            0 as libc::c_long,
        )
    };
    if returned == -1 {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL));
    }
    Ok(())
}

/// process_madvise(2) with MADV_PAGEOUT: writes to swap what a process has at
/// these addresses of its own.
///
/// It takes the process's mmap lock and so may block for as long as that is
/// held: call it where waiting harms nothing.
///
/// Errors: ESRCH, its memory is gone; ENOMEM, not all of it is mapped; EINVAL,
/// some is locked; EPERM, CAP_SYS_NICE is lacking.
#[expect(
    unsafe_code,
    reason = "neither rustix nor nix nor std has process_madvise"
)]
pub(crate) fn page_out(pidfd: BorrowedFd<'_>, addresses: Range<u64>) -> Result<(), Errno> {
    let Ok(start) = usize::try_from(addresses.start) else {
        return Err(Errno::NOMEM);
    };
    let bytes = addresses.end.saturating_sub(addresses.start);
    let range = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(start),
        iov_len: usize::try_from(bytes).map_err(|_| Errno::NOMEM)?,
    };
    // SAFETY: the kernel reads one iovec, which lives until the call returns, as
    // does the borrow that keeps `pidfd` open. The addresses in it are another
    // process's, and are not accessed here; were they our own, MADV_PAGEOUT
    // changes nothing that a program can see. The arguments are passed as
    // `long` or pointer, as syscall(2) takes them.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            libc::c_long::from(pidfd.as_raw_fd()),
            &raw const range,
            1 as libc::c_long,
            libc::c_long::from(libc::MADV_PAGEOUT),
            0 as libc::c_long,
        )
    };
    if returned == -1 {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL));
    }
    Ok(())
}

/// kcmp(2): whether two processes have one memory (clone(2) with CLONE_VM).
/// Not, where the kernel does not tell: without `CONFIG_KCMP` or the right to
/// trace both.
///
/// It waits while one of them is inside execve(2): call it where waiting harms
/// nothing.
#[must_use]
#[expect(unsafe_code, reason = "neither rustix nor nix nor std has kcmp")]
pub fn have_one_memory(one: u32, other: u32) -> bool {
    // KCMP_VM of linux/kcmp.h, which the libc crate lacks.
    const VM: libc::c_long = 1;
    // SAFETY: the call takes no pointers; a pid that is none's is ESRCH. The
    // arguments are passed as `long`, as syscall(2) takes them.
    let order = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            libc::c_long::from(one),
            libc::c_long::from(other),
            VM,
            0 as libc::c_long,
            0 as libc::c_long,
        )
    };
    order == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_is_not_there_is_named_with_what_is_done_instead() {
        let calls = Calls {
            process_mrelease: false,
            ..Calls::ALL
        };
        let said: Vec<_> = calls.missing().map(|missing| missing.to_string()).collect();
        assert_eq!(
            said,
            [
                "no process_mrelease here (Linux 5.15, and no seccomp filter against it): \
                 a victim's memory is freed when the victim runs"
            ]
        );
        assert_eq!(Calls::ALL.missing().count(), 0);
        assert_eq!(Calls::NONE.missing().count(), 4);
    }

    #[test]
    fn only_enosys_and_eperm_mean_missing() {
        assert!(is_missing(Some(Errno::NOSYS)));
        assert!(is_missing(Some(Errno::PERM)));
        assert!(!is_missing(Some(Errno::BADF)));
        assert!(!is_missing(None));
    }

    #[test]
    fn releasing_what_is_no_process_is_an_error() {
        let no_process = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        assert!(process_mrelease(no_process.as_fd()).is_err());
    }
}
