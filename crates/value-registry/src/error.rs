//! What keeps the registry from being used.

use std::io;
use std::path::PathBuf;

use crate::MAX_VALUE;

/// The registry cannot be used, or written to.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The directory was absent and could not be made.
    #[error("cannot make the directory `{}`", .path.display())]
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
    /// A symbolic link stands where the directory should be.
    #[error("`{}` is a symbolic link, not a directory: remove it, or name the directory it leads to", .path.display())]
    Symlink {
        /// The link.
        path: PathBuf,
    },
    /// Something else stands where the directory should be.
    #[error("`{}` is not a directory: remove it, or name another", .path.display())]
    NotADirectory {
        /// What is no directory.
        path: PathBuf,
    },
    /// Root will not make a directory of something else writable for all.
    #[error("`{}` holds `{found}`, which is no entry: not made the registry", .path.display())]
    NotARegistry {
        /// The directory.
        path: PathBuf,
        /// A name in it that is no pid, in printable ASCII.
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
    #[error("`{}` is writable for others and not sticky: its mode should be 1777", .path.display())]
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
    /// Changes cannot be watched: inotify(7) is limited by
    /// `fs.inotify.max_user_instances` and `max_user_watches`.
    #[error("cannot watch the directory `{}` (see fs.inotify.max_user_instances)", .path.display())]
    Watch {
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
