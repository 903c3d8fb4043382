//! The values of processes: the entries of `/tmp/user_processes`.
//!
//! An entry is a file named after a pid whose first word is the process's value,
//! 0 to 1 000 000, as any shell can write it:
//! `echo 8 > /tmp/user_processes/$$`. With `8 +3/h` it is 3 more for each hour of
//! work that is not saved; a job that has saved touches its entry. Of the words
//! behind that on the same line, `pause` and `nopause` say whether the process may
//! be paused. [`Registry`] reads entries when they change, and answers from memory
//! which value a process has; [`register`] writes one.
//!
//! ```
//! use std::os::unix::fs::MetadataExt;
//! use std::{fs, time::Duration, time::Instant};
//!
//! use model::{Name, ProcessId};
//! use value_registry::{Lookup, Occupant, Options, Registry, register};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let mut registry = Registry::open(&directory.path().join("values"), Options::default())?;
//! let pid = std::process::id();
//! register(&directory.path().join("values"), pid, 8)?.keep();
//!
//! // The caller says which process has a pid, from `/proc`.
//! let uid = fs::metadata(directory.path())?.uid();
//! let we = Occupant {
//!     uid,
//!     start_ticks: 1204,
//!     age: Duration::from_secs(60),
//!     name: Name::new(b"example"),
//!     process: pid,
//!     is_kernel_thread: false,
//! };
//! registry.refresh(&|asked| if asked == pid { Lookup::Runs(we) } else { Lookup::Gone });
//! let id = ProcessId { pid, start_ticks: 1204 };
//! assert_eq!(registry.worth(id, Instant::now()), Some(8.into()));
//! # Ok(())
//! # }
//! ```
//!
//! # Which entries count
//!
//! An entry counts if it belongs to root or to the user that the process runs
//! as. It is bound to the process (pid and start time) that has the pid when the
//! entry is read, and is removed when that process exits. A mark on the entry
//! (`stamp.rs`), never its age, shows that it is left over from an earlier
//! process with the same pid.
//!
//! All users may write to the directory, so everything in it is checked through
//! a descriptor before it is trusted: only a small regular file with one name is
//! accepted, which only its owner may write to, or a group without another user.
//! A daemon that runs as root owns the directory (mode 1777, like `/tmp`) and
//! removes what it refuses, because in a sticky directory that would keep the
//! process's owner from registering. Any other daemon removes only its own user's
//! entries, and refuses a directory in which others could swap them.
//!
//! The calling loop does not wait for any user: nothing is opened that can block
//! (a FIFO, a leased file, another file system), each call does a bounded amount
//! of work, and each user has limits (`limits.rs`).
//!
//! Two gaps remain. Until root takes the directory over, its maker can rename
//! what others put there. And a user can move one of root's files from a
//! directory of their own into this one, on the same file system; it would count
//! if its first word were a number.
//!
//! # What it does not do
//!
//! It does not look at processes: it asks the caller which process has a pid. It
//! decides nothing, sends no signal, prints nothing, and reads nothing during a
//! decision: [`Registry::worth`] is a lookup in memory.

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
mod own_group;
mod place;
mod reason;
mod registration;
mod registry;
mod stamp;
mod subuid;

pub use crate::entry::{Labels, Slip, ValueError, check_entry, parse_worth};
pub use crate::error::RegistryError;
pub use crate::notice::{Bearer, Notice, Obstacle, ObstacleKind};
pub use crate::occupant::{Lookup, Occupant};
pub use crate::options::Options;
pub use crate::reason::Reason;
pub use crate::registration::{Registration, register, saved, withdraw, write};
pub use crate::registry::Registry;

/// Where processes register unless the administrator says otherwise.
pub const DEFAULT_DIRECTORY: &str = "/tmp/user_processes";

/// The highest value an entry can give.
pub const MAX_VALUE: u32 = 1_000_000;

/// The highest value that an ordinary user's entry can give, unless the
/// administrator says otherwise: enough to tell work apart, too little to
/// outweigh whatever root has given a value to.
pub const DEFAULT_USER_VALUE_CAP: u32 = 1000;
