//! What there is to say about the registry, a line each.

use std::fmt;
use std::io;

use oom_policy::ProcessId;

use crate::ValueError;
use crate::entry::MAX_BYTES;

/// Something a reader of the log would want to know. [`fmt::Display`] is one
/// line and shows nothing that a user chose but numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A process is worth something from now on.
    Registered {
        /// Which.
        id: ProcessId,
        /// What it is worth.
        value: u32,
        /// What its entry says; more than `value` where that is capped.
        given: u32,
    },
    /// A registered process is worth something else from now on.
    Changed {
        /// Which.
        id: ProcessId,
        /// What it is worth.
        value: u32,
        /// What it was worth.
        before: u32,
    },
    /// A process still runs, but no entry speaks for it any more.
    Withdrawn {
        /// Which.
        id: ProcessId,
    },
    /// An entry does not count. Said once for a process and a [`Reason`].
    Refused {
        /// For which process it would have spoken.
        id: ProcessId,
        /// Why it does not.
        reason: Reason,
        /// Whether it was removed, so that the process can be registered.
        removed: bool,
    },
    /// Entries were removed whose processes have ended.
    Swept {
        /// How many.
        count: u32,
    },
    /// More changed at once than the kernel remembers: all entries are read
    /// again.
    Overflow,
    /// The directory was another user's, and is root's now.
    TakenOver {
        /// Whose it was.
        owner: u32,
    },
    /// The directory was removed or replaced, and made or opened again: what
    /// was registered in it is forgotten.
    Replaced,
    /// The directory was removed or replaced and cannot be used. Said once;
    /// tried again at each refresh.
    Lost {
        /// Why, with all causes.
        cause: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered { id, value, given } if value < given => write!(
                f,
                "process {} is registered, worth {value} (its entry says {given}; capped)",
                id.pid
            ),
            Self::Registered { id, value, .. } => {
                write!(f, "process {} is registered, worth {value}", id.pid)
            }
            Self::Changed { id, value, before } => {
                write!(f, "process {} is now worth {value} (was {before})", id.pid)
            }
            Self::Withdrawn { id } => write!(f, "process {} is no longer registered", id.pid),
            Self::Refused {
                id,
                reason,
                removed,
            } => {
                let end = if *removed { "; removed" } else { "" };
                write!(f, "entry {} does not count: {reason}{end}", id.pid)
            }
            Self::Swept { count: 1 } => {
                write!(f, "removed the entry of a process that has ended")
            }
            Self::Swept { count } => {
                write!(f, "removed {count} entries of processes that have ended")
            }
            Self::Overflow => write!(
                f,
                "too many changes of the registry at once: reading all of it again"
            ),
            Self::TakenOver { owner } => {
                write!(f, "took over the registry's directory from uid {owner}")
            }
            Self::Replaced => write!(
                f,
                "the registry's directory was removed or replaced: reading it anew"
            ),
            Self::Lost { cause } => write!(f, "the registry is lost: {cause}"),
        }
    }
}

/// Why an entry does not count.
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
    /// It belongs neither to root nor to the user whom the process runs as.
    Foreign {
        /// Whose it is.
        owner: u32,
        /// Whom the process runs as.
        runner: u32,
    },
    /// It was there at the start, and is older than the process.
    Older,
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
    /// read need not be wrong, and an older one is its owner's own.
    pub(crate) fn blocks(self) -> bool {
        !matches!(self, Self::Older | Self::Unreadable(_))
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
                "it belongs to uid {owner}, but the process runs as uid {runner}"
            ),
            Self::Older => write!(
                f,
                "it is older than the process; write it again if it is meant"
            ),
            Self::TooLarge { bytes } => {
                write!(f, "it holds {bytes} bytes, more than {MAX_BYTES}")
            }
            Self::Unreadable(kind) => write!(f, "it cannot be read ({kind})"),
            Self::Value(err) => write!(f, "{err}"),
        }
    }
}
