//! Where the directory stands, and what stands there instead.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statfs::{FUSE_SUPER_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::file::{FoundFile, Inode, metadata, open_entry};
use crate::{DEFAULT_DIRECTORY, Notice, Obstacle, RegistryError};

const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o002;

/// A user that put something in the way can do it again meanwhile.
const TRIES: u32 = 8;

/// The directory above the registry's, and the registry's name in it.
#[derive(Debug)]
pub(crate) struct Site {
    path: PathBuf,
    parent: File,
    name: OsString,
    /// All users may make files here, and remove their own: `/tmp`.
    pub(crate) is_public: bool,
}

impl Site {
    /// # Errors
    ///
    /// What the kernel says where there is no directory to make it in, EISDIR
    /// where it has no name.
    pub(crate) fn find(path: &Path) -> Result<Self, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::EISDIR);
        };
        let parent = File::from(open(above, flags, Mode::empty())?);
        let mode = metadata(&parent)?.mode();
        Ok(Self {
            path: path.to_owned(),
            parent,
            name: name.to_owned(),
            is_public: mode & (STICKY | OTHERS_WRITE) == STICKY | OTHERS_WRITE,
        })
    }

    /// Opens the directory, which is made where it is absent. `as_root`, what
    /// a user put in its place is removed first.
    ///
    /// # Errors
    ///
    /// - [`RegistryError::Obstructed`]: something else stands there.
    /// - [`RegistryError::Mounted`]: a user's file system is mounted on it.
    /// - [`RegistryError::Create`], [`RegistryError::Open`]: the kernel did
    ///   not do it.
    pub(crate) fn directory(
        &self,
        as_root: bool,
        notices: &mut Vec<Notice>,
    ) -> Result<File, RegistryError> {
        for _ in 0..TRIES {
            match mkdirat(
                &self.parent,
                self.name.as_os_str(),
                Mode::from_bits_truncate(0o755),
            ) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(err) => {
                    let (path, source) = (self.path.clone(), err.into());
                    return Err(RegistryError::Create { path, source });
                }
            }
            match self.open() {
                Err(RegistryError::Obstructed { obstacle, .. })
                    if as_root && self.may_clear(&obstacle) && self.clear() =>
                {
                    notices.push(Notice::Cleared { obstacle });
                }
                opened => return opened,
            }
        }
        self.open()
    }

    /// Which directory is at this place.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub(crate) fn place(&self) -> Result<Inode, Errno> {
        let file = self.open_at(OFlag::O_PATH)?;
        metadata(&file).map(|metadata| Inode::of(&metadata))
    }

    fn open(&self) -> Result<File, RegistryError> {
        let err = match self.open_at(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NONBLOCK) {
            Ok(directory) => return Ok(directory),
            Err(err) => err,
        };
        let path = self.path.clone();
        if err == Errno::EXDEV {
            return Err(RegistryError::Mounted { path });
        }
        Err(match FoundFile::at(&self.parent, self.name.as_os_str()) {
            Ok(found) if !found.is_directory() => RegistryError::Obstructed {
                obstacle: found.obstacle(),
                path,
            },
            _ => RegistryError::Open {
                path,
                source: err.into(),
            },
        })
    }

    /// A directory that is a mount is opened too, unless the file system is a
    /// user's: a FUSE server may never answer, fuse(4).
    fn open_at(&self, flags: OFlag) -> Result<File, Errno> {
        match open_entry(&self.parent, self.name.as_os_str(), flags) {
            Err(Errno::EXDEV) => {}
            opened => return opened,
        }
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let beside = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let reopen = |flags| openat(&self.parent, self.name.as_os_str(), flags, Mode::empty());
        let mounted = reopen(beside)?;
        if fstatfs(mounted.as_fd())?.filesystem_type() == FUSE_SUPER_MAGIC {
            return Err(Errno::EXDEV);
        }
        reopen(flags).map(File::from)
    }

    /// Whether `obstacle` is one that any user can have put there to keep the
    /// daemon out: under our own name, in a directory like `/tmp`. What is
    /// root's, and has that name alone, was meant by root.
    fn may_clear(&self, obstacle: &Obstacle) -> bool {
        let ours = Path::new(DEFAULT_DIRECTORY).file_name();
        self.is_public
            && self.path.file_name() == ours
            && (obstacle.owner != 0 || obstacle.has_other_names)
    }

    /// By the name alone: nothing is followed, and no directory is removed.
    fn clear(&self) -> bool {
        unlinkat(
            &self.parent,
            self.name.as_os_str(),
            UnlinkatFlags::NoRemoveDir,
        )
        .is_ok()
    }
}
