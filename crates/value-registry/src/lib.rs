//! The values of processes: the entries of `/tmp/user_processes`.
//!
//! An entry is a file named like a process's pid whose first word is the
//! process's value, 0 to 1 000 000, as any shell can write it:
//! `echo 8 > /tmp/user_processes/$$`. [`Registry`] reads the entries when they
//! change and answers from memory which value a process has; [`register`] writes
//! one.
//!
//! ```
//! use std::{fs, os::unix::fs::MetadataExt};
//!
//! use model::{Name, ProcessId};
//! use value_registry::{Occupant, Options, Registry, Who, register};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let mut registry = Registry::open(&directory.path().join("values"), Options::default())?;
//! let pid = std::process::id();
//! register(&directory.path().join("values"), pid, 8)?.keep();
//!
//! // Who has a pid is for the caller to say, by `/proc`.
//! let uid = fs::metadata(directory.path())?.uid();
//! let we = Occupant {
//!     uid,
//!     start_ticks: 1204,
//!     name: Name::new(b"example"),
//!     process: pid,
//!     is_kernel_thread: false,
//! };
//! registry.refresh(&|asked| if asked == pid { Who::Runs(we) } else { Who::Gone });
//! let id = ProcessId { pid, start_ticks: 1204 };
//! assert_eq!(registry.value(id), Some(8));
//! # Ok(())
//! # }
//! ```
//!
//! # Whose word counts
//!
//! An entry counts if it belongs to the user whom the process runs as, or to
//! root. It is bound to the process (pid and start time) that has the pid when
//! the entry is read, and is removed when that process has ended. That an entry
//! is left over from an earlier process with the same pid is believed of a mark
//! on it (`stamp.rs`), never of its time.
//!
//! The directory is one that anybody may write to, so nothing in it is
//! believed before it is looked at through a descriptor: what is not a small
//! regular file with one name, which its owner alone may write to, is refused.
//! A daemon that runs as root owns the directory (mode 1777, like `/tmp`) and
//! removes what is refused: in a sticky directory it would keep the process's
//! owner from registering. Any other daemon removes nothing but entries of its
//! own user's, and refuses a directory in which others could swap them.
//!
//! The loop that calls this waits for no user: nothing is opened that can
//! block (a FIFO, a leased file, another file system), work is bounded for each
//! call, and each user has limits of its own (`limits.rs`).
//!
//! What remains: whoever made the directory before root took it over could
//! until then rename what others had put there; and a user can move a file of
//! root's from a directory of his own into this one, on the same file system.
//! The first word of such a file would have to be a number.
//!
//! # What this is not
//!
//! It looks at no process: who has a pid is asked of the caller. It decides
//! nothing, sends no signal, prints nothing, and reads nothing while a
//! decision is made: [`Registry::value`] is a lookup in memory.

mod acl;
mod book;
mod clear;
mod directory;
mod entry;
mod error;
mod events;
mod file;
#[cfg(fuzzing)]
pub mod fuzzing;
mod judge;
mod limits;
mod notice;
mod occupant;
mod options;
mod place;
mod reason;
mod registration;
mod registry;
mod stamp;

pub use crate::entry::ValueError;
pub use crate::error::RegistryError;
pub use crate::notice::{Bearer, Notice, Obstacle};
pub use crate::occupant::{Occupant, Who};
pub use crate::options::Options;
pub use crate::reason::Reason;
pub use crate::registration::{Registration, register};
pub use crate::registry::Registry;

/// Where processes register unless the administrator says otherwise.
pub const DEFAULT_DIRECTORY: &str = "/tmp/user_processes";

/// The highest value an entry can give.
pub const MAX_VALUE: u32 = 1_000_000;

/// The highest value that an ordinary user's entry can give, unless the
/// administrator says otherwise: enough to tell work apart, too little to
/// outweigh whatever root has given a value to.
pub const DEFAULT_USER_VALUE_CAP: u32 = 1000;
