//! Writing an entry.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::clear::remove;
use crate::directory::{open_directory, plain};
use crate::file::Writing;
use crate::{MAX_VALUE, RegistryError};

/// An entry that was written; removed when this is dropped, if it is still
/// the one that was written.
#[derive(Debug)]
#[must_use = "the entry is removed when this is dropped"]
pub struct Registration {
    directory: File,
    pid: u32,
    /// `None`: the entry is kept.
    writing: Option<Writing>,
}

impl Registration {
    /// Leaves the entry standing, until its process has ended.
    pub fn keep(mut self) {
        self.writing = None;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(writing) = self.writing {
            remove(&self.directory, self.pid, |found| {
                found.writing() == writing
            });
        }
    }
}

/// Withdraws the entry of the process `pid` in `directory`. Whether there was one.
///
/// # Errors
///
/// - [`RegistryError::Open`]: there is no such directory.
/// - [`RegistryError::Remove`]: it is another user's.
pub fn withdraw(directory: &Path, pid: u32) -> Result<bool, RegistryError> {
    let directory = plain(directory)?;
    let name = pid.to_string();
    let opened = open_directory(&directory)?;
    match unlinkat(&opened, name.as_str(), UnlinkatFlags::NoRemoveDir) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(err) => Err(RegistryError::Remove {
            path: directory.join(name),
            source: err.into(),
        }),
    }
}

/// Says that the process `pid` has saved its work: renews the times of its entry.
/// Whether there is one.
///
/// # Errors
///
/// - [`RegistryError::Open`]: there is no such directory.
/// - [`RegistryError::Write`]: it is another user's.
pub fn saved(directory: &Path, pid: u32) -> Result<bool, RegistryError> {
    let directory = plain(directory)?;
    let name = pid.to_string();
    let opened = open_directory(&directory)?;
    let (now, flags) = (&TimeSpec::UTIME_NOW, UtimensatFlags::NoFollowSymlink);
    match utimensat(&opened, name.as_str(), now, now, flags) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(err) => Err(RegistryError::Write {
            path: directory.join(name),
            source: err.into(),
        }),
    }
}

/// Registers `value` for the process `pid` in `directory`, replacing what was
/// registered before.
///
/// An earlier entry is removed first and written anew: in a sticky directory
/// not even root may open another user's file with O_CREAT
/// (`fs.protected_regular`, proc_sys_fs(5)). The directory is the daemon's to
/// make.
///
/// # Errors
///
/// - [`RegistryError::Value`]: `value` is above [`MAX_VALUE`].
/// - [`RegistryError::Open`]: there is no such directory.
/// - [`RegistryError::Remove`]: another user's entry stands in the way.
/// - [`RegistryError::Write`]: the entry cannot be written.
pub fn register(directory: &Path, pid: u32, value: u32) -> Result<Registration, RegistryError> {
    if value > MAX_VALUE {
        return Err(RegistryError::Value { value });
    }
    write(directory, pid, &value.to_string())
}

/// Writes `entry` for the process `pid`, as [`register`] does.
///
/// # Errors
///
/// As [`register`], and whether `entry` says what an entry may say is not
/// looked at: that is [`check_entry`](crate::check_entry).
pub fn write(directory: &Path, pid: u32, entry: &str) -> Result<Registration, RegistryError> {
    let directory = plain(directory)?;
    let path = directory.join(pid.to_string());
    let name = pid.to_string();
    let directory = open_directory(&directory)?;

    match unlinkat(&directory, name.as_str(), UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(err) => {
            let source = err.into();
            return Err(RegistryError::Remove { path, source });
        }
    }
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(0o644);
    let mut file = match openat(&directory, name.as_str(), flags, mode) {
        Ok(file) => File::from(file),
        Err(err) => {
            let source = err.into();
            return Err(RegistryError::Write { path, source });
        }
    };
    let written = file
        .write_all(format!("{entry}\n").as_bytes())
        .and_then(|()| file.metadata());
    match written {
        Ok(metadata) => Ok(Registration {
            directory,
            pid,
            writing: Some(Writing::of(&metadata)),
        }),
        Err(source) => {
            // Better none than an empty one.
            let _ = unlinkat(&directory, name.as_str(), UnlinkatFlags::NoRemoveDir);
            Err(RegistryError::Write { path, source })
        }
    }
}
