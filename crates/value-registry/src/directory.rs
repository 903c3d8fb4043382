//! The directory, through its descriptor.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use model::ProcessId;
use nix::dir::{Dir, OwningIter};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, fchown, geteuid};
use rustix::fs::{FlockOperation, flock};

use crate::clear::{Effort, Removal, remove, remove_whole, reserve};
use crate::entry::parse_pid;
use crate::file::{
    FileIdentity, FoundFile, Inode, READ, SeenFile, Traits, may_succeed_later, metadata,
    open_entry, renew,
};
use crate::place::Site;
use crate::stamp::Mark;
use crate::{Notice, RegistryError, acl};

const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o022;
const ROOTS_MODE: u32 = 0o1777;

/// The registry's directory, held by descriptor.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// See [`Site`].
    is_public: bool,
    descriptor: File,
    place: Inode,
    owned_by_root: bool,
}

impl Directory {
    /// Makes the directory where it is absent, and makes it safe. `path` is
    /// [`plain`].
    pub(crate) fn take(
        path: &Path,
        as_root: bool,
        notices: &mut Vec<Notice>,
    ) -> Result<Self, RegistryError> {
        let site = Site::find(path).map_err(|err| RegistryError::Parent {
            path: path.parent().unwrap_or(path).to_owned(),
            source: err.into(),
        })?;
        let descriptor = site.directory(as_root, notices)?;
        let found = match descriptor.metadata() {
            Ok(found) => found,
            Err(source) => {
                let path = path.to_owned();
                return Err(RegistryError::Open { path, source });
            }
        };
        let directory = Self {
            path: path.to_owned(),
            is_public: site.is_public,
            descriptor,
            place: Inode::of(&found),
            owned_by_root: as_root,
        };
        let mode = found.mode() & 0o7777;
        if as_root {
            directory.take_over(found.uid(), mode, notices)?;
        } else {
            directory.secure(found.uid(), mode)?;
        }
        directory.lock();
        Ok(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its path still leads to it, as far as can be told for want of
    /// descriptors.
    pub(crate) fn is_current(&self) -> bool {
        match Site::find(&self.path).and_then(|site| site.place()) {
            Ok(place) => place == self.place,
            Err(err) => may_succeed_later(err),
        }
    }

    /// Whether it has been removed, as far as the kernel says: a directory that
    /// is merged by overlayfs has a link for ever. One call, of the descriptor.
    pub(crate) fn is_removed(&self) -> bool {
        metadata(&self.descriptor).is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Keeps systemd-tmpfiles(8) out as long as we run: it leaves a directory
    /// alone that another has locked, with all that is in it. Where another
    /// keeps *us* from locking, it is locked as well.
    pub(crate) fn lock(&self) {
        let _ = flock(&self.descriptor, FlockOperation::NonBlockingLockShared);
    }

    /// The names in it, from the first.
    pub(crate) fn list(&self) -> Result<OwningIter, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Dir::openat(&self.descriptor, ".", flags, Mode::empty())?.into_iter())
    }

    /// Finds the file named `pid`, without a look at what it holds; `None`
    /// where there is none.
    ///
    /// # Errors
    ///
    /// Only where a later try may succeed: too many open files, no memory.
    /// What cannot be opened for another cause is `Some(Err(seen))`, an entry
    /// of which nothing can be known.
    pub(crate) fn find(&self, pid: u32) -> Result<Option<Result<FoundFile, SeenFile>>, Errno> {
        match FoundFile::at(&self.descriptor, pid.to_string().as_str()) {
            Ok(found) => Ok(Some(Ok(found))),
            Err(Errno::ENOENT) => Ok(None),
            Err(err) if may_succeed_later(err) => Err(err),
            Err(err) => Ok(Some(Err(SeenFile::unknown(err)))),
        }
    }

    /// Reads what was found by the name `pid`.
    ///
    /// # Errors
    ///
    /// As [`Directory::find`].
    pub(crate) fn read(&self, pid: u32, found: &FoundFile) -> Result<Option<SeenFile>, Errno> {
        found.read(&self.descriptor, &pid.to_string(), self.owned_by_root)
    }

    /// Leaves `mark` on the file named `pid`, where there is one to leave, and
    /// renews its times, if it is still the one that was looked at; which it is
    /// then. Both change it, in what is not its owner's to say.
    pub(crate) fn keep(&self, pid: u32, file: &Traits, mark: Option<Mark>) -> FileIdentity {
        let open = open_entry(&self.descriptor, pid.to_string().as_str(), READ);
        let Ok(open) = open else { return file.identity };
        let identity = || metadata(&open).map(|metadata| FileIdentity::of(&metadata));
        if identity() != Ok(file.identity) {
            return file.identity;
        }
        if let Some(mark) = mark {
            mark.leave(&open, self.owned_by_root);
        }
        if file.is_old() {
            // Not ours to renew: then it is its owner's.
            let _ = renew(&open);
        }
        identity().unwrap_or(file.identity)
    }

    /// Whether this is root's part: to remove whatever is in an entry's way.
    pub(crate) fn is_roots(&self) -> bool {
        self.owned_by_root
    }

    /// Whether an entry of `owner`'s may be removed once its process is gone.
    pub(crate) fn may_sweep(&self, owner: u32) -> bool {
        self.owned_by_root || owner == geteuid().as_raw()
    }

    /// Removes the file named `pid` if it is still the one that was looked at.
    pub(crate) fn remove(&self, pid: u32, identity: &FileIdentity) -> bool {
        remove(&self.descriptor, pid, |found| found.identity() == *identity)
    }

    /// The same, whatever it is.
    pub(crate) fn remove_whole(
        &self,
        pid: u32,
        identity: &FileIdentity,
        effort: &mut Effort,
    ) -> Removal {
        remove_whole(&self.descriptor, pid, identity, effort)
    }

    /// The same where another user put it in the place of `id`, a process of
    /// `owner`'s: an empty file of that user's takes the place, if it can.
    pub(crate) fn reserve(
        &self,
        id: ProcessId,
        owner: u32,
        identity: &FileIdentity,
        effort: &mut Effort,
    ) -> Removal {
        reserve(&self.descriptor, id, owner, effort)
            .unwrap_or_else(|| self.remove_whole(id.pid, identity, effort))
    }

    /// Root's part: root's directory, mode 1777, without an ACL.
    fn take_over(
        &self,
        owner: u32,
        mode: u32,
        notices: &mut Vec<Notice>,
    ) -> Result<(), RegistryError> {
        let is_roots = owner == 0 && mode == ROOTS_MODE;
        // Where a user can have made it and has, a stray file must not keep the
        // daemon out. Another with other things in it was hardly meant: whatever
        // leads to `/etc` (`--registry`, a mount) must not open that to all.
        let is_users = self.is_public && owner != 0;
        if !is_roots
            && !is_users
            && let Some(found) = self.first_stranger()?
        {
            let path = self.path.clone();
            return Err(RegistryError::NotARegistry { path, found });
        }
        let change = || -> Result<bool, Errno> {
            // First, so that its maker cannot undo what follows.
            if owner != 0 {
                let (root, group) = (Uid::from_raw(0), Gid::from_raw(0));
                fchown(&self.descriptor, Some(root), Some(group))?;
            }
            let had_list =
                acl::remove(&self.descriptor).map_err(|err| Errno::from_raw(err.raw_os_error()))?;
            if !is_roots || had_list {
                fchmod(&self.descriptor, Mode::from_bits_truncate(ROOTS_MODE))?;
            }
            Ok(had_list)
        };
        let had_list = change().map_err(|err| self.cannot_take_over(err))?;
        if owner != 0 {
            notices.push(Notice::TakenOver { owner });
        }
        if had_list {
            notices.push(Notice::ListRemoved);
        }
        Ok(())
    }

    /// An ordinary user's part: only root and that user can swap entries.
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

    /// The first that can be no entry, by its name or by what it is, in
    /// printable ASCII. As root, all else is removed sooner or later.
    fn first_stranger(&self) -> Result<Option<String>, RegistryError> {
        let cannot_list = |err: Errno| RegistryError::List {
            path: self.path.clone(),
            source: err.into(),
        };
        for entry in self.list().map_err(cannot_list)? {
            let entry = entry.map_err(cannot_list)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let may_be_entry = parse_pid(name.to_bytes()).is_some()
                && FoundFile::at(&self.descriptor, name).is_ok_and(|found| !found.is_flawed());
            if !may_be_entry {
                return Ok(Some(name.to_bytes().escape_ascii().to_string()));
            }
        }
        Ok(None)
    }
}

/// Opens a directory that is not reached by a symbolic link of that name.
pub(crate) fn open_directory(path: &Path) -> Result<File, RegistryError> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(|err| RegistryError::Open {
            path: path.to_owned(),
            source: err.into(),
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
