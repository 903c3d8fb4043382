//! Access control lists, acl(5): the user who made a directory could have let
//! others rewrite what is put into it.

use std::fs::File;

use rustix::fs::{fgetxattr, fremovexattr};
use rustix::io::Errno;

/// Permissions for the directory, and for what is made in it.
const LISTS: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];

/// Whether `file` has one of its own, as far as can be told.
pub(crate) fn is_on(file: &File) -> bool {
    has(file, LISTS[0]).unwrap_or(true)
}

/// Removes the lists of `directory`; whether there were any.
///
/// # Errors
///
/// What the kernel says where there is one that stays. A file system without
/// them is none.
pub(crate) fn remove(directory: &File) -> Result<bool, Errno> {
    let mut removed = false;
    for list in LISTS {
        // Asked first: removing one that is not there is no error.
        if has(directory, list)? {
            fremovexattr(directory, list)?;
            removed = true;
        }
    }
    Ok(removed)
}

fn has(file: &File, list: &str) -> Result<bool, Errno> {
    match fgetxattr(file, list, &mut [0; 0][..]) {
        Ok(_) => Ok(true),
        Err(Errno::NODATA | Errno::NOTSUP | Errno::NOSYS) => Ok(false),
        Err(err) => Err(err),
    }
}
