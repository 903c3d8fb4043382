//! Why an entry does not count.

use std::fmt;
use std::io;

use crate::ValueError;
use crate::entry::MAX_BYTES;

/// Why an entry does not count. [`fmt::Display`] says what would be right
/// where that is not plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is a symbolic link.
    Symlink,
    /// It is a directory.
    Directory,
    /// It is a FIFO, a socket or a device.
    Special,
    /// Another file system, or file, is mounted on it.
    Mounted,
    /// It has another name, so it may be any file of its owner's.
    HardLinked,
    /// It belongs neither to root nor to the user the process runs as.
    Foreign {
        /// Whose it is.
        owner: u32,
        /// The user the process runs as.
        runner: u32,
    },
    /// Others than its owner may write to it.
    Writable {
        /// Its mode.
        mode: u32,
    },
    /// Its name is the id of a thread that is not the first of its process.
    Thread {
        /// The process's pid.
        process: u32,
    },
    /// Its name is the pid of a kernel thread.
    KernelThread,
    /// Its user has as many entries as one may have.
    TooMany,
    /// It is too large to be an entry.
    TooLarge {
        /// Its size in bytes.
        bytes: u64,
    },
    /// It cannot be read.
    Unreadable(io::ErrorKind),
    /// Its text gives no value.
    Value(ValueError),
}

impl Reason {
    /// Whether it may be a writer between opening and writing, so that a
    /// second look is due.
    pub(crate) fn may_pass(self) -> bool {
        matches!(
            self,
            Self::TooLarge { .. } | Self::Unreadable(_) | Self::Value(_)
        )
    }

    /// Whether such a file is in the way of a valid entry. What cannot be
    /// read need not be wrong, and the others are their owner's own to mend.
    pub(crate) fn blocks(self) -> bool {
        !matches!(
            self,
            Self::Unreadable(_) | Self::Writable { .. } | Self::TooMany
        )
    }

    /// Whether its name is a process's pid.
    pub(crate) fn names_a_process(self) -> bool {
        !matches!(self, Self::Thread { .. } | Self::KernelThread)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symlink => write!(f, "it is a symbolic link"),
            Self::Directory => write!(f, "it is a directory"),
            Self::Special => write!(f, "it is not a regular file"),
            Self::Mounted => write!(f, "something is mounted on it"),
            Self::HardLinked => write!(f, "it has another name (hard link)"),
            Self::Foreign { owner, runner } => write!(
                f,
                "it belongs to uid {owner}, but the process runs as uid {runner}; in a container, \
                 use the pid that the process has on the host"
            ),
            Self::Writable { mode } => write!(
                f,
                "its group or others may write to it (mode {mode:o}): `chmod go-w` it, and write \
                 the next under `umask 022`"
            ),
            Self::Thread { process } => write!(
                f,
                "it names a thread of process {process}: name the entry `{process}`"
            ),
            Self::KernelThread => write!(
                f,
                "it names a kernel thread; in a container, use the pid that the process has on the host"
            ),
            Self::TooMany => write!(f, "its user has reached the limit of entries for one user"),
            Self::TooLarge { bytes } => {
                write!(f, "it holds {bytes} bytes, more than {MAX_BYTES}")
            }
            Self::Unreadable(kind) => write!(f, "it cannot be read ({kind})"),
            Self::Value(err) => write!(f, "{err}"),
        }
    }
}
