//! What keeps the registry from being used.

use std::io;
use std::path::PathBuf;

use crate::{MAX_VALUE, Obstacle};

/// The registry cannot be used, or written to.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The directory above it cannot be reached.
    #[error("cannot reach `{}`, where the registry should be: create it, or name another directory", .path.display())]
    Parent {
        /// The directory above.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The directory was absent and could not be made.
    #[error("cannot create the directory `{}`: create it yourself, or name another", .path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The directory could not be opened.
    #[error("cannot open the directory `{}`", .path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something else stands where the directory should be.
    #[error("`{}` is {obstacle}, not a directory: remove it, or name another directory", .path.display())]
    Obstructed {
        /// The directory's place.
        path: PathBuf,
        /// What stands there.
        obstacle: Obstacle,
    },
    /// A file system that a user serves is mounted on the directory.
    #[error("a user's file system (FUSE) is mounted on `{}`: unmount it, or name another directory", .path.display())]
    Mounted {
        /// The directory.
        path: PathBuf,
    },
    /// Root will not make a directory of something else writable for all.
    #[error("`{}` cannot be the registry: it holds `{found}`, which is not an entry; name an empty directory", .path.display())]
    NotARegistry {
        /// The directory.
        path: PathBuf,
        /// A name in it that no entry has, or of what no entry is, in
        /// printable ASCII.
        found: String,
    },
    /// Owner and mode could not be set.
    #[error("cannot take over the directory `{}`", .path.display())]
    TakeOver {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another user's directory, in which that user could swap entries.
    #[error("`{}` belongs to uid {owner}: only a daemon run as root can take it over", .path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Root's directory, writable for others and not sticky: anybody could
    /// swap entries.
    #[error("`{}` is writable by others and not sticky: set its mode to 1777", .path.display())]
    Unprotected {
        /// The directory.
        path: PathBuf,
    },
    /// The names in the directory could not be read.
    #[error("cannot list the directory `{}`", .path.display())]
    List {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another directory took its place while it was being opened.
    #[error("`{}` was replaced while it was being opened", .path.display())]
    Replaced {
        /// The directory.
        path: PathBuf,
    },
    /// No entry can give this value.
    #[error("value {value} is above {MAX_VALUE}")]
    Value {
        /// What was asked for.
        value: u32,
    },
    /// An earlier entry stands in the way: another user's, where the registry
    /// is not root's or no daemon watches it.
    #[error("cannot remove the earlier entry `{}`", .path.display())]
    Remove {
        /// The entry.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The entry could not be written.
    #[error("cannot write the entry `{}`", .path.display())]
    Write {
        /// The entry.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}
