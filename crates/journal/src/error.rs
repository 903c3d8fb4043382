//! What can go wrong with a journal.

use std::io;
use std::path::PathBuf;

use crate::VERSION;

/// Why a journal cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be made or opened.
    #[error("cannot use `{}` for the journal", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// Another user could replace what is in it.
    #[error(
        "`{}` is not safe for the journal: it must belong to root or to user {own_uid}, and only \
         that user may write to it (`chmod go-w`)",
        path.display()
    )]
    Unsafe {
        /// Which.
        path: PathBuf,
        /// Whose it may be besides.
        own_uid: u32,
    },
    /// Another daemon writes to it.
    #[error(
        "another user-oom writes to `{}`: give this one a `--journal` of its own", path.display()
    )]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// A line was not written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A line is larger than all that is kept.
    #[error("a line of {bytes} bytes is larger than the journal may be (`--journal-size`)")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// There is nothing in the directory.
    #[error("there is no journal in `{}`: its files end in `.jsonl`", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// A later version wrote it.
    #[error(
        "`{}` is a journal of version {version}, and this user-oom reads up to version {}: use the \
         one that wrote it ({program})",
        path.display(),
        VERSION
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// What wrote it.
        program: String,
    },
}
