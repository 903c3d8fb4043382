//! The directory and the files in it, through descriptors.
//!
//! All that is known of a file comes from a descriptor of it, never from its
//! name: between two looks a name may come to mean another file.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::dir::{Dir, OwningIter};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, mkdir, unlinkat};

use crate::entry::{MAX_BYTES, parse_pid, parse_value};
use crate::{Reason, RegistryError};

const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o022;
const ROOTS_MODE: u32 = 0o1777;

/// The registry's directory, held by descriptor.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    descriptor: File,
    place: Place,
    owned_by_root: bool,
    taken_from: Option<u32>,
}

impl Directory {
    /// Makes the directory where it is absent, and makes it safe.
    pub(crate) fn take(path: &Path, as_root: bool) -> Result<Self, RegistryError> {
        let path = plain(path)?;
        match mkdir(&path, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(err) => {
                let source = err.into();
                return Err(RegistryError::Create { path, source });
            }
        }
        let descriptor = open_directory(&path)?;
        let found = match descriptor.metadata() {
            Ok(found) => found,
            Err(source) => return Err(RegistryError::Open { path, source }),
        };
        let mut directory = Self {
            path,
            descriptor,
            place: Place::of(&found),
            owned_by_root: as_root,
            taken_from: None,
        };
        let mode = found.mode() & 0o7777;
        if as_root {
            directory.take_over(found.uid(), mode)?;
        } else {
            directory.secure(found.uid(), mode)?;
        }
        Ok(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it was before root took it over.
    pub(crate) fn taken_from(&self) -> Option<u32> {
        self.taken_from
    }

    /// Whether its path still leads to it.
    pub(crate) fn is_current(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|metadata| Place::of(&metadata) == self.place)
    }

    /// The names in it, from the first.
    pub(crate) fn list(&self) -> Result<OwningIter, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Dir::openat(&self.descriptor, ".", flags, Mode::empty())?.into_iter())
    }

    /// Looks at the file named `pid`; `None` where there is none.
    ///
    /// # Errors
    ///
    /// Only where a later try may succeed: too many open files, no memory.
    /// What cannot be opened for another cause is an entry that cannot be
    /// read.
    pub(crate) fn look(&self, pid: u32) -> Result<Option<Seen>, Errno> {
        let name = pid.to_string();
        // O_PATH: a FIFO is not opened, a device does nothing, a lease that
        // its owner holds on the file does not make us wait.
        let beside = match self.open_entry(&name, OFlag::O_PATH) {
            Ok(beside) => beside,
            Err(Errno::ENOENT) => return Ok(None),
            Err(err) if may_succeed_later(err) => return Err(err),
            Err(err) => return Ok(Some(Seen::unknown(err))),
        };
        let metadata = metadata(&beside)?;
        if let Some(reason) = flaw(&metadata) {
            return Ok(Seen::of(&metadata, Err(reason)));
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = match self.open_entry(&name, flags) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return Ok(None),
            Err(err) if may_succeed_later(err) => return Err(err),
            Err(err) => {
                let kind = io::Error::from(err).kind();
                return Ok(Seen::of(&metadata, Err(Reason::Unreadable(kind))));
            }
        };
        // The name may mean another file by now: judge the one that is read.
        let metadata = self::metadata(&file)?;
        let content = match flaw(&metadata) {
            Some(reason) => Err(reason),
            None => read_value(&file),
        };
        Ok(Seen::of(&metadata, content))
    }

    /// Whether an entry of `owner`'s may be removed once its process is gone.
    pub(crate) fn may_sweep(&self, owner: u32) -> bool {
        self.owned_by_root || owner == geteuid().as_raw()
    }

    /// Whether what is refused is removed: root's part, in root's directory.
    pub(crate) fn removes_refused(&self) -> bool {
        self.owned_by_root
    }

    /// Removes the file named `pid` if it is still the one that was looked at.
    pub(crate) fn remove(&self, pid: u32, identity: &Identity) -> bool {
        remove(&self.descriptor, pid, identity)
    }

    fn open_entry(&self, name: &str, flags: OFlag) -> Result<File, Errno> {
        open_entry(&self.descriptor, name, flags)
    }

    /// Root's part: root's directory, mode 1777.
    fn take_over(&mut self, owner: u32, mode: u32) -> Result<(), RegistryError> {
        if owner == 0 && mode == ROOTS_MODE {
            return Ok(());
        }
        if !self.is_in_sticky_directory()
            && let Some(found) = self.first_stranger()?
        {
            let path = self.path.clone();
            return Err(RegistryError::NotARegistry { path, found });
        }
        let change = || -> Result<(), Errno> {
            if owner != 0 {
                let (root, group) = (Uid::from_raw(0), Gid::from_raw(0));
                fchown(&self.descriptor, Some(root), Some(group))?;
            }
            fchmod(&self.descriptor, Mode::from_bits_truncate(ROOTS_MODE))
        };
        change().map_err(|err| self.cannot_take_over(err))?;
        self.taken_from = Some(owner).filter(|owner| *owner != 0);
        Ok(())
    }

    /// An ordinary user's part: nobody but root and that user can swap entries.
    fn secure(&self, owner: u32, mode: u32) -> Result<(), RegistryError> {
        let is_protected = mode & STICKY != 0 || mode & OTHERS_WRITE == 0;
        let path = || self.path.clone();
        if owner == geteuid().as_raw() {
            if !is_protected {
                fchmod(&self.descriptor, Mode::from_bits_truncate(mode | STICKY))
                    .map_err(|err| self.cannot_take_over(err))?;
            }
            Ok(())
        } else if owner != 0 {
            Err(RegistryError::Foreign {
                path: path(),
                owner,
            })
        } else if !is_protected {
            Err(RegistryError::Unprotected { path: path() })
        } else {
            Ok(())
        }
    }

    fn cannot_take_over(&self, err: Errno) -> RegistryError {
        RegistryError::TakeOver {
            path: self.path.clone(),
            source: err.into(),
        }
    }

    /// Whether anybody may have made this directory where it stands: in
    /// `/tmp`, a user's stray file must not keep the daemon from starting.
    /// Elsewhere, one with other things in it was hardly meant:
    /// `--registry /etc` must not open `/etc` to all.
    fn is_in_sticky_directory(&self) -> bool {
        self.path
            .parent()
            .and_then(|parent| fs::metadata(parent).ok())
            .is_some_and(|parent| parent.mode() & (STICKY | 0o002) == STICKY | 0o002)
    }

    /// The first name that no entry can have, in printable ASCII.
    fn first_stranger(&self) -> Result<Option<String>, RegistryError> {
        let cannot_list = |err: Errno| RegistryError::List {
            path: self.path.clone(),
            source: err.into(),
        };
        for entry in self.list().map_err(cannot_list)? {
            let entry = entry.map_err(cannot_list)?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") && parse_pid(name).is_none() {
                return Ok(Some(name.escape_ascii().to_string()));
            }
        }
        Ok(None)
    }
}

/// What was seen of a file named like a pid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// `None` where even that could not be looked at.
    pub(crate) file: Option<Traits>,
    /// The value it gives, or why it gives none.
    pub(crate) content: Result<u32, Reason>,
}

/// What a file is, whatever it holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    pub(crate) identity: Identity,
    pub(crate) owner: u32,
    pub(crate) links: u64,
    pub(crate) modified: SystemTime,
}

impl Seen {
    /// `None` for a file that lost its last name since it was opened.
    fn of(metadata: &Metadata, content: Result<u32, Reason>) -> Option<Self> {
        let file = Traits {
            identity: Identity::of(metadata),
            owner: metadata.uid(),
            links: metadata.nlink(),
            // Linux knows it for every file.
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        };
        (file.links != 0).then_some(Self {
            file: Some(file),
            content,
        })
    }

    fn unknown(err: Errno) -> Self {
        let reason = match err {
            Errno::EXDEV => Reason::Mounted,
            err => Reason::Unreadable(io::Error::from(err).kind()),
        };
        Self {
            file: None,
            content: Err(reason),
        }
    }
}

/// Which file, in which state. The change time is part of it: inode numbers
/// are used again at once (ext4), and nobody can set a change time. So is the
/// size: before Linux 6.13 a change time has only the ticks of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    place: Place,
    changed: (i64, i64),
    bytes: u64,
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            place: Place::of(metadata),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            bytes: metadata.len(),
        }
    }

    /// Whether it is the same file, in whatever state.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    device: u64,
    inode: u64,
}

impl Place {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// Opens a directory that is not reached by a symbolic link of that name.
pub(crate) fn open_directory(path: &Path) -> Result<File, RegistryError> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let err = match open(path, flags, Mode::empty()) {
        Ok(descriptor) => return Ok(File::from(descriptor)),
        Err(err) => err,
    };
    let path = path.to_owned();
    Err(match fs::symlink_metadata(&path) {
        Ok(found) if found.is_symlink() => RegistryError::Symlink { path },
        Ok(found) if !found.is_dir() => RegistryError::NotADirectory { path },
        _ => RegistryError::Open {
            path,
            source: err.into(),
        },
    })
}

/// `path`, absolute and without a slash or dot at its end: O_NOFOLLOW follows
/// `link/` and `link/.` all the same.
pub(crate) fn plain(path: &Path) -> Result<PathBuf, RegistryError> {
    match std::path::absolute(path) {
        Ok(absolute) => Ok(absolute.components().collect()),
        Err(source) => Err(RegistryError::Open {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Removes the file named `pid` if it is still the one of this `identity`.
///
/// Between the look and the removal a few microseconds remain in which the
/// name can come to mean another file; unlinkat(2) cannot be told which file
/// is meant.
pub(crate) fn remove(directory: impl AsFd, pid: u32, identity: &Identity) -> bool {
    let name = pid.to_string();
    let Ok(metadata) =
        open_entry(&directory, &name, OFlag::O_PATH).and_then(|file| metadata(&file))
    else {
        return false;
    };
    let flag = if metadata.is_dir() {
        UnlinkatFlags::RemoveDir
    } else {
        UnlinkatFlags::NoRemoveDir
    };
    Identity::of(&metadata) == *identity && unlinkat(&directory, name.as_str(), flag).is_ok()
}

/// Opens a file of that name in `directory` itself: no symbolic link is
/// followed, and no mount (a user can mount a file system that never answers
/// on a file of his own).
fn open_entry(directory: impl AsFd, name: &str, flags: OFlag) -> Result<File, Errno> {
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV);
    match openat2(&directory, name, how) {
        // Before Linux 5.6, and under a filter that does not know it.
        Err(Errno::ENOSYS | Errno::EPERM) => openat(&directory, name, flags, Mode::empty()),
        opened => opened,
    }
    .map(File::from)
}

fn metadata(file: &File) -> Result<Metadata, Errno> {
    file.metadata()
        .map_err(|err| Errno::from_raw(err.raw_os_error().unwrap_or_default()))
}

fn may_succeed_later(err: Errno) -> bool {
    matches!(
        err,
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EINTR
    )
}

/// What keeps a file from being an entry, whatever it holds.
fn flaw(metadata: &Metadata) -> Option<Reason> {
    let kind = metadata.file_type();
    if kind.is_symlink() {
        Some(Reason::Symlink)
    } else if kind.is_dir() {
        Some(Reason::Directory)
    } else if !kind.is_file() {
        Some(Reason::Special)
    } else if metadata.len() > MAX_BYTES as u64 {
        let bytes = metadata.len();
        Some(Reason::TooLarge { bytes })
    } else {
        None
    }
}

fn read_value(file: &File) -> Result<u32, Reason> {
    let mut text = [0; MAX_BYTES + 1];
    let mut len = 0;
    loop {
        match (&mut &*file).read(&mut text[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(Reason::Unreadable(err.kind())),
        }
    }
    // It grew since its size was looked at.
    if len > MAX_BYTES {
        return Err(Reason::TooLarge { bytes: len as u64 });
    }
    parse_value(&text[..len]).map_err(Reason::Value)
}
