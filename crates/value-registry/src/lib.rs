//! Who is worth what: the entries of `/tmp/user_processes`.
//!
//! An entry is a file named like a process's pid whose first word is the
//! process's value, 0 to 1 000 000, as any shell can write it:
//! `echo 8 > /tmp/user_processes/$$`. [`Registry`] reads the entries when they
//! change and answers from memory what a process is worth; [`register`] writes
//! one.
//!
//! # Whose word counts
//!
//! An entry counts if it belongs to the user whom the process runs as, or to
//! root. It is bound to the process (pid and start time) that has the pid when
//! the entry is first read, and is removed when that process has ended.
//!
//! The directory is one that anybody may write to, so nothing in it is
//! believed before it is looked at through a descriptor: what is not a small
//! regular file with one name is refused, unread. A daemon that runs as root
//! owns the directory (mode 1777, like `/tmp`) and unlinks what is refused: in
//! a sticky directory it would keep the process's owner from registering. Any
//! other daemon removes nothing but entries of its own user's, and refuses a
//! directory in which somebody else could swap them.
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

mod directory;
mod entry;
mod error;
mod notice;
mod registration;
mod registry;

pub use crate::entry::ValueError;
pub use crate::error::RegistryError;
pub use crate::notice::{Notice, Reason};
pub use crate::registration::{Registration, register};
pub use crate::registry::{Options, Registry, Runner};

/// Where processes register unless the administrator says otherwise.
pub const DEFAULT_DIRECTORY: &str = "/tmp/user_processes";

/// The highest value an entry can give.
pub const MAX_VALUE: u32 = 1_000_000;
