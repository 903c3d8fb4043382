//! The ring of files: lines are appended to the last, and the first is removed
//! when there are too many.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FlockOperation, Mode, OFlags, fchmod, flock, open, openat, statat, unlinkat,
};
use rustix::process::geteuid;

use crate::error::Error;

/// How files end.
pub(crate) const ENDING: &str = ".jsonl";

/// A full ring is so many files: what goes at once is one of them.
const FILES: u64 = 4;

/// The files may tell of users' command lines.
const FILE_MODE: Mode = Mode::from_bits_retain(0o640);
const FOLDER_MODE: u32 = 0o750;
const OTHERS_WRITE: u32 = 0o022;

/// A directory of its own, held by descriptor and locked.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    descriptor: File,
    /// All files together take no more, in bytes.
    limit: u64,
    /// The number of each file, the oldest first, and its size.
    files: VecDeque<(u64, u64)>,
    /// The last of them, while it is written to.
    last: Option<File>,
    /// The number of the last that we began: not even for a full disk is it
    /// removed.
    begun: Option<u64>,
}

impl Folder {
    /// Makes the directory where it is absent. `limit`: all files together take no
    /// more, in bytes.
    ///
    /// # Errors
    ///
    /// - [`Error::Open`]: also where it is a symbolic link.
    /// - [`Error::Unsafe`]: another user could replace what is in it.
    /// - [`Error::InUse`]: another daemon writes to it.
    pub fn open(path: &Path, limit: u64) -> Result<Self, Error> {
        let cannot = |source| Error::Open {
            path: path.to_owned(),
            source,
        };
        match DirBuilder::new().mode(FOLDER_MODE).create(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                let parent = path.parent().unwrap_or(path);
                fs::create_dir_all(parent).map_err(cannot)?;
                DirBuilder::new()
                    .mode(FOLDER_MODE)
                    .create(path)
                    .map_err(cannot)?;
            }
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(cannot(err)),
            _ => {}
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = open(path, flags, Mode::empty());
        let descriptor = File::from(descriptor.map_err(|errno| cannot(errno.into()))?);
        let found = descriptor.metadata().map_err(cannot)?;
        let own_uid = geteuid().as_raw();
        let is_ours = found.uid() == own_uid || found.uid() == 0;
        if !is_ours || found.mode() & OTHERS_WRITE != 0 {
            return Err(Error::Unsafe {
                path: path.to_owned(),
                own_uid,
            });
        }
        flock(&descriptor, FlockOperation::NonBlockingLockExclusive).map_err(|_| Error::InUse {
            path: path.to_owned(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            files: sizes(&descriptor).map_err(cannot)?,
            descriptor,
            limit,
            last: None,
            begun: None,
        })
    }

    /// Appends `line`, which ends in a line feed. A new file begins with
    /// `preface`, which is given whether the file continues the one before it.
    ///
    /// A file that cannot be written to is left as it was, and another is tried,
    /// with the oldest out of the way where the disk is full. Where the file was
    /// deleted, another is begun.
    ///
    /// # Errors
    ///
    /// [`Error::Write`], [`Error::TooLong`]: the line is not there, and all
    /// before it are.
    pub(crate) fn append(
        &mut self,
        line: &[u8],
        preface: impl Fn(bool) -> Vec<u8>,
    ) -> Result<(), Error> {
        self.leave_deleted();
        let bytes = line.len() as u64;
        let size = self.files.back().map_or(0, |(_, size)| *size);
        let continues = self.last.is_some();
        if continues && size + bytes <= self.limit / FILES {
            self.make_room(bytes);
            if let Some(file) = &mut self.last
                && write(file, size, line).is_ok()
            {
                self.grow(bytes);
                return Ok(());
            }
        }
        self.last = None;
        self.begin(line, preface(continues))
    }

    /// What was appended is on the disk when this returns.
    pub(crate) fn sync(&self) {
        if let Some(file) = &self.last {
            // What a disk does not take it does not take the next time either.
            let _ = file.sync_data();
        }
    }

    fn begin(&mut self, line: &[u8], preface: Vec<u8>) -> Result<(), Error> {
        let text = [&preface, line].concat();
        let bytes = text.len() as u64;
        if self.limit < bytes {
            return Err(Error::TooLong { bytes: text.len() });
        }
        let number = self.files.back().map_or(1, |(number, _)| number + 1);
        self.make_room(bytes);
        let created = match self.create(number, &text) {
            Err(err) if is_full(&err) && self.has_spare() => {
                self.remove_oldest();
                self.create(number, &text)
            }
            created => created,
        };
        let file = created.map_err(|source| Error::Write {
            path: self.path.join(name(number)),
            source,
        })?;
        self.files.push_back((number, bytes));
        self.last = Some(file);
        self.begun = Some(number);
        Ok(())
    }

    /// A file with `text` in it, or none.
    fn create(&self, number: u64, text: &[u8]) -> io::Result<File> {
        let name = name(number);
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.descriptor, &name, flags, FILE_MODE)?);
        // Whatever the umask is: a service of systemd has 0077.
        let _ = fchmod(&file, FILE_MODE);
        write(&mut file, 0, text).inspect_err(|_| {
            let _ = unlinkat(&self.descriptor, &name, AtFlags::empty());
        })?;
        Ok(file)
    }

    /// Leaves the last file where it was deleted: what is written to it is not found
    /// by anyone. Others may be gone as well.
    fn leave_deleted(&mut self) {
        let is_deleted = |file: &File| file.metadata().is_ok_and(|found| found.nlink() == 0);
        if self.last.as_ref().is_some_and(is_deleted) {
            self.last = None;
            self.files = sizes(&self.descriptor).unwrap_or_default();
        }
    }

    /// Removes the oldest until all take no more than they may with so many bytes
    /// more.
    fn make_room(&mut self, bytes: u64) {
        let total = |files: &VecDeque<(u64, u64)>| files.iter().map(|(_, size)| size).sum::<u64>();
        while !self.files.is_empty() && self.limit < total(&self.files) + bytes {
            self.remove_oldest();
        }
    }

    /// Whether the oldest may make room where the disk is full.
    fn has_spare(&self) -> bool {
        let oldest = self.files.front();
        oldest.is_some_and(|(number, _)| Some(*number) != self.begun)
    }

    fn grow(&mut self, bytes: u64) {
        if let Some((_, size)) = self.files.back_mut() {
            *size += bytes;
        }
    }

    fn remove_oldest(&mut self) {
        if let Some((number, _)) = self.files.pop_front() {
            let _ = unlinkat(self.descriptor.as_fd(), name(number), AtFlags::empty());
        }
    }
}

/// The number of each file in `directory`, the oldest first, and its size.
fn sizes(directory: &File) -> io::Result<VecDeque<(u64, u64)>> {
    let mut files = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let Some(number) = entry.file_name().to_str().ok().and_then(number) else {
            continue;
        };
        let size = statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
            .map_or(0, |found| u64::try_from(found.st_size).unwrap_or(0));
        files.push((number, size));
    }
    files.sort_unstable();
    Ok(files.into())
}

/// All of `line` behind the `size` bytes that are there, or none of it.
fn write(file: &mut File, size: u64, line: &[u8]) -> io::Result<()> {
    file.write_all(line).inspect_err(|_| {
        // Where not even that can be done, the reader names half a line.
        let _ = file.set_len(size);
    })
}

fn is_full(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn name(number: u64) -> String {
    format!("{number:08}{ENDING}")
}

/// The number that a file's name has.
fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(ENDING)?;
    let is_plain = digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_plain)
}

/// The files in the directory `path`, the oldest first; `path` itself, where it is
/// a file.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let cannot = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    if !fs::metadata(path).map_err(cannot)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(cannot)? {
        let name = entry.map_err(cannot)?.file_name();
        let file = path.join(&name);
        if let Some(number) = OsStr::to_str(&name).and_then(number)
            && file.is_file()
        {
            found.push((number, file));
        }
    }
    if found.is_empty() {
        return Err(Error::Empty {
            path: path.to_owned(),
        });
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}
