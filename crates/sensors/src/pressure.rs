//! Pressure files, read and waited for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use psi::{Pressure, Trigger};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, write};

use crate::error::ReadError;
use crate::file::{WatchedFile, read_whole};

/// How much time is lost waiting for memory.
#[derive(Debug)]
pub struct PressureFile {
    // The kernel's own is about 100 bytes.
    file: WatchedFile<1024>,
}

impl PressureFile {
    /// Opens `path`: `/proc/pressure/memory`, `memory.pressure` of a cgroup,
    /// or what looks like it. A file of another filesystem is opened anew for
    /// each read.
    ///
    /// # Errors
    ///
    /// - [`ReadError::NoPressure`]: a file of the kernel's is not there, or the kernel
    ///   was built with PSI and started without.
    /// - [`ReadError::Open`]: it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = WatchedFile::open(path).map_err(no_pressure)?;
        Ok(Self { file })
    }

    /// Reads it: one pread(2), no heap.
    ///
    /// # Errors
    ///
    /// - [`ReadError::NoPressure`]: PSI is off.
    /// - [`ReadError::Read`], [`ReadError::Open`], [`ReadError::TooLong`]: it
    ///   could not be read.
    /// - [`ReadError::Pressure`]: it is not what the kernel writes.
    pub fn read(&mut self) -> Result<Pressure, ReadError> {
        let text = self.file.read().map_err(no_pressure)?;
        let parsed = Pressure::parse(&String::from_utf8_lossy(text));
        parsed.map_err(|source| ReadError::Pressure {
            path: self.file.path().to_owned(),
            source,
        })
    }
}

/// A trigger the kernel watches for us, for as long as this lives.
///
/// It has fired when poll(2) on it returns `POLLPRI`; there is nothing to
/// read. `POLLERR` means that the cgroup it watched is gone.
#[derive(Debug)]
pub struct PressureTrigger {
    file: OwnedFd,
}

impl PressureTrigger {
    /// Arms `trigger` at `path`, once that has been read as what it should be:
    /// where containers hide the kernel's pressure there may be a device that
    /// takes any trigger and never fires.
    ///
    /// # Errors
    ///
    /// - [`ReadError::NoPressure`]: the kernel has no PSI, or it is off.
    /// - [`ReadError::Pressure`]: it is not a pressure file.
    /// - [`ReadError::TriggerNotPermitted`]: that takes CAP_SYS_RESOURCE;
    ///   [`Trigger::unprivileged`] may do without.
    /// - [`ReadError::Trigger`]: the kernel refused it for another reason.
    pub fn arm(path: &Path, trigger: &Trigger) -> Result<Self, ReadError> {
        let refused = |errno: Errno| {
            let path = path.to_owned();
            let trigger = *trigger;
            let source = errno.into();
            match errno {
                Errno::NOENT | Errno::OPNOTSUPP => ReadError::NoPressure { path, source },
                Errno::ACCESS | Errno::PERM => ReadError::TriggerNotPermitted {
                    path,
                    trigger,
                    source,
                },
                // It answers so to a window that is right for root alone.
                Errno::INVAL if trigger.is_privileged() => ReadError::TriggerNotPermitted {
                    path,
                    trigger,
                    source,
                },
                _ => ReadError::Trigger {
                    path,
                    trigger,
                    source,
                },
            }
        };
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(CWD, path, flags, Mode::empty()).map_err(refused)?;
        let mut text = [0; 1024];
        let len = read_whole(&file, &mut text).map_err(refused)?;
        Pressure::parse(&String::from_utf8_lossy(&text[..len])).map_err(|source| {
            ReadError::Pressure {
                path: path.to_owned(),
                source,
            }
        })?;
        write(&file, trigger.line().as_bytes()).map_err(refused)?;
        Ok(Self { file })
    }
}

impl AsFd for PressureTrigger {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// How the paths of its files end: of the machine, and of a cgroup.
const OF_THE_KERNEL: [&str; 2] = ["pressure/memory", "memory.pressure"];

/// Says what is meant by a pressure file that is absent, if it is one of the kernel's: of
/// any other that says nothing about the kernel.
fn no_pressure(err: ReadError) -> ReadError {
    match err {
        ReadError::Open { path, source } | ReadError::Read { path, source }
            if match Errno::from_io_error(&source) {
                Some(Errno::NOENT) => OF_THE_KERNEL.iter().any(|end| path.ends_with(end)),
                errno => errno == Some(Errno::OPNOTSUPP),
            } =>
        {
            ReadError::NoPressure { path, source }
        }
        other => other,
    }
}
