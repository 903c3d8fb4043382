//! Removes what stands in an entry's way, and keeps the name for the process's
//! user where another would put something there again.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::AsFd;

use model::ProcessId;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Uid, UnlinkatFlags, fchown, unlinkat};
use rustix::fs::{RenameFlags, renameat_with};

use crate::file::{FileIdentity, FoundFile, Traits, metadata, open_entry};
use crate::stamp::Mark;

/// Files in directories that are removed between two rests. What is left is
/// moved aside: a user can make more than the loop has time to remove.
const FILES: usize = 256;

/// Directories in directories that are gone into.
const DEPTH: usize = 16;

/// So many names are tried for what is moved aside.
const TRIES: u32 = 8;

/// What became of a file that was to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// It is another by now, or cannot be removed.
    Stays,
    /// It is gone.
    Removed,
    /// It is a directory with more in it than is removed at once, and has this
    /// name now, which is no pid.
    Aside(String),
}

/// How much may still be removed before the next rest.
#[derive(Debug)]
pub(crate) struct Effort(usize);

impl Effort {
    pub(crate) fn new() -> Self {
        Self(FILES)
    }
}

/// Removes the file named `pid` if `is_it` says that it is still the one that
/// is meant.
///
/// Between the look and the removal a few microseconds remain in which the
/// name can come to mean another file; unlinkat(2) cannot be told which file
/// is meant.
pub(crate) fn remove(directory: impl AsFd, pid: u32, is_it: impl Fn(&FoundFile) -> bool) -> bool {
    let name = pid.to_string();
    let Ok(found) = FoundFile::at(&directory, name.as_str()) else {
        return false;
    };
    let flag = if found.is_directory() {
        UnlinkatFlags::RemoveDir
    } else {
        UnlinkatFlags::NoRemoveDir
    };
    is_it(&found) && unlinkat(&directory, name.as_str(), flag).is_ok()
}

/// Removes the file named `pid` if it is still the one of this `identity`, a
/// directory with all that is in it too, in whatever state: it is moved aside
/// first, so that the name is free, whatever its maker puts into it meanwhile.
pub(crate) fn remove_whole(
    directory: &File,
    pid: u32,
    identity: &FileIdentity,
    effort: &mut Effort,
) -> Removal {
    let is_it = |found: &FoundFile| found.identity() == *identity;
    if remove(directory, pid, is_it) {
        return Removal::Removed;
    }
    let name = pid.to_string();
    match FoundFile::at(directory, name.as_str()) {
        Ok(found) if found.is_directory() && found.identity().is_same_file(identity) => {}
        _ => return Removal::Stays,
    }
    let Some(aside) = move_aside(directory, &name, identity) else {
        return Removal::Stays;
    };
    if remove_below(directory, &aside, effort, DEPTH) {
        Removal::Removed
    } else {
        Removal::Aside(aside)
    }
}

/// Puts an empty file of `owner`'s, the user of the process `id`, in the place
/// of what another user has put there, and removes that. In a sticky directory
/// that other user cannot touch the name any more: one that puts something there
/// in a loop is there again before the process's one attempt to register.
///
/// `None`: it could not be done, and what is there is as it was.
pub(crate) fn reserve(
    directory: &File,
    id: ProcessId,
    owner: u32,
    effort: &mut Effort,
) -> Option<Removal> {
    let name = id.pid.to_string();
    let name = name.as_str();
    let aside = aside_of(name);
    let rename = |flags| renameat_with(directory, aside.as_str(), directory, name, flags);
    if leave_blank(directory, &aside, id, owner).is_ok() {
        for _ in 0..TRIES {
            match rename(RenameFlags::EXCHANGE) {
                Ok(()) => return Some(remove_exchanged(directory, &aside, name, owner, effort)),
                // Gone just now, and soon there again.
                Err(rustix::io::Errno::NOENT) => {}
                Err(_) => break,
            }
            match rename(RenameFlags::NOREPLACE) {
                Ok(()) => return Some(Removal::Removed),
                Err(rustix::io::Errno::EXIST) => {}
                Err(_) => break,
            }
        }
    }
    let _ = unlinkat(directory, aside.as_str(), UnlinkatFlags::NoRemoveDir);
    None
}

/// Makes an empty file of `owner`'s, marked as one that stands for `id`.
fn leave_blank(directory: &File, name: &str, id: ProcessId, owner: u32) -> Result<(), Errno> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let blank = File::from(openat(directory, name, flags, Mode::S_IRUSR)?);
    let modified = Traits::of(&metadata(&blank)?).modified;
    Mark::new(id, modified).leave(&blank, true);
    fchmod(&blank, Mode::from_bits_truncate(0o644))?;
    fchown(&blank, Some(Uid::from_raw(owner)), None)
}

/// Removes what had the name `name` and is `aside` now, unless `owner` or root
/// has put it there in the last moment.
fn remove_exchanged(
    directory: &File,
    aside: &str,
    name: &str,
    owner: u32,
    effort: &mut Effort,
) -> Removal {
    let found = FoundFile::at(directory, aside);
    let is_theirs = |found: &FoundFile| found.owner() == owner || found.owner() == 0;
    if found.is_ok_and(|found| is_theirs(&found) && !found.is_flawed())
        && renameat(directory, aside, directory, name).is_ok()
    {
        return Removal::Stays;
    }
    match unlinkat(directory, aside, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR) if !remove_below(directory, aside, effort, DEPTH) => {
            Removal::Aside(aside.to_owned())
        }
        _ => Removal::Removed,
    }
}

/// A name for what stood at `name`, with a part that cannot be foretold: names
/// that can be are taken beforehand by a user that wants it to stay.
fn aside_of(name: &str) -> String {
    let random = RandomState::new().build_hasher().finish();
    format!(".in-the-way-{name}-{random:016x}")
}

/// Gives the directory another name, and back the old one if it was another
/// directory by then.
fn move_aside(directory: &File, name: &str, identity: &FileIdentity) -> Option<String> {
    for _ in 0..TRIES {
        let aside = aside_of(name);
        let rename = |from: &str, to: &str| {
            renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE)
        };
        match rename(name, &aside) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => continue,
            Err(_) => return None,
        }
        match FoundFile::at(directory, aside.as_str()) {
            Ok(moved) if moved.identity().is_same_file(identity) => return Some(aside),
            _ => {
                // Should that fail too, its owner has made yet another.
                let _ = rename(&aside, name);
                return None;
            }
        }
    }
    None
}

/// Removes the directory `name` with all that is in it; whether all of it is
/// gone. No symbolic link is followed and no mount is gone into.
fn remove_below(directory: &File, name: &str, effort: &mut Effort, depth: usize) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NONBLOCK;
    let Ok(inner) = open_entry(directory, name, flags) else {
        return false;
    };
    let Ok(names) = Dir::openat(&inner, ".", flags | OFlag::O_CLOEXEC, Mode::empty()) else {
        return false;
    };
    for entry in names.into_iter() {
        let Ok(entry) = entry else { return false };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Some(left) = effort.0.checked_sub(1) else {
            return false;
        };
        effort.0 = left;
        let removed = match unlinkat(&inner, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => true,
            Err(Errno::EISDIR) if depth > 0 => match name.to_str() {
                Ok(name) => remove_below(&inner, name, effort, depth - 1),
                Err(_) => false,
            },
            Err(_) => false,
        };
        if !removed {
            return false;
        }
    }
    unlinkat(directory, name, UnlinkatFlags::RemoveDir).is_ok()
}
