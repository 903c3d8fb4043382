//! One file of the registry, through its descriptor.
//!
//! All that is known of a file comes from a descriptor of it, never from its
//! name: between two looks a name may come to mean another file.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, futimens};
use nix::sys::time::TimeSpec;

use crate::entry::{Given, MAX_BYTES, parse_entry};
use crate::own_group::OwnGroups;
use crate::stamp::Mark;
use crate::{Obstacle, ObstacleKind, Reason, acl};

/// Permission to write, for the group. Where a file has an ACL, it is the ACL's mask:
/// no user that the ACL names may write without it: acl(5).
const GROUP_WRITE: u32 = 0o020;
/// And for all.
const OTHERS_WRITE: u32 = 0o002;

/// O_NONBLOCK: a lease that is held on a file is an error (EWOULDBLOCK), not a
/// wait.
pub(crate) const READ: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY);

/// What is made is written within so long: its writer may wait for a disk.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

/// Times are renewed this often. What clears `/tmp` looks for times that are
/// 10 days old.
const RENEWED_EVERY: Duration = Duration::from_secs(24 * 3600);

/// A file that was found by its name and is yet to be read.
#[derive(Debug)]
pub(crate) struct FoundFile {
    metadata: Metadata,
}

impl FoundFile {
    /// # Errors
    ///
    /// Where it cannot be opened, or there is none of that name.
    pub(crate) fn at<P>(directory: impl AsFd, name: &P) -> Result<Self, Errno>
    where
        P: NixPath + ?Sized,
    {
        // O_PATH: a FIFO is not opened, a device does nothing, a lease that
        // its owner holds on the file does not make us wait.
        let beside = open_entry(directory, name, OFlag::O_PATH)?;
        let metadata = metadata(&beside)?;
        Ok(Self { metadata })
    }

    pub(crate) fn owner(&self) -> u32 {
        self.metadata.uid()
    }

    pub(crate) fn identity(&self) -> FileIdentity {
        FileIdentity::of(&self.metadata)
    }

    pub(crate) fn writing(&self) -> Writing {
        Writing::of(&self.metadata)
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.metadata.is_dir()
    }

    /// Whether it can be no entry, whatever it holds.
    pub(crate) fn is_flawed(&self) -> bool {
        flaw(&self.metadata).is_some()
    }

    /// What it is where a directory should be.
    pub(crate) fn obstacle(&self) -> Obstacle {
        let kind = self.metadata.file_type();
        Obstacle {
            kind: match kind {
                _ if kind.is_symlink() => ObstacleKind::Link,
                _ if kind.is_file() => ObstacleKind::File,
                _ => ObstacleKind::Special,
            },
            owner: self.metadata.uid(),
            has_other_names: self.metadata.nlink() > 1,
        }
    }

    /// Reads the file of that name, if it still is one; `None` where there is
    /// none any more.
    ///
    /// # Errors
    ///
    /// Only where a later try may succeed: too many open files, no memory.
    pub(crate) fn read(
        &self,
        directory: impl AsFd,
        name: &str,
        as_root: bool,
    ) -> Result<Option<SeenFile>, Errno> {
        if let Some(reason) = flaw(&self.metadata) {
            return Ok(SeenFile::of(&self.metadata, None, Err(reason)));
        }
        let file = match open_entry(directory, name, READ) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return Ok(None),
            Err(err) if may_succeed_later(err) => return Err(err),
            Err(err) => {
                let kind = io::Error::from(err).kind();
                let reason = Reason::Unreadable(kind);
                return Ok(SeenFile::of(&self.metadata, None, Err(reason)));
            }
        };
        // The name may mean another file by now: judge the one that is read.
        let metadata = metadata(&file)?;
        let content = match flaw(&metadata) {
            Some(reason) => Err(reason),
            None => read_entry(&file),
        };
        let mut seen = SeenFile::of(&metadata, Mark::on(&file, as_root), content);
        if let Some(traits) = seen.as_mut().and_then(|seen| seen.traits.as_mut())
            && traits.mode & GROUP_WRITE != 0
        {
            traits.has_list = acl::is_on(&file);
        }
        Ok(seen)
    }
}

/// What was seen of a file named like a pid.
#[derive(Debug)]
pub(crate) struct SeenFile {
    /// `None` where even that could not be looked at.
    pub(crate) traits: Option<Traits>,
    /// What a daemon has left on it.
    pub(crate) mark: Option<Mark>,
    /// What it gives, or why it gives nothing.
    pub(crate) content: Result<Given, Reason>,
}

/// What a file is, whatever it holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    pub(crate) identity: FileIdentity,
    pub(crate) owner: u32,
    pub(crate) group: u32,
    /// Whether it has an ACL; asked only where its group may write to it.
    pub(crate) has_list: bool,
    pub(crate) links: u64,
    pub(crate) mode: u32,
    pub(crate) modified: SystemTime,
    /// When it was made, where the file system knows.
    created: Option<SystemTime>,
    /// The latest of its times that systemd-tmpfiles(8) looks at.
    latest: SystemTime,
}

impl SeenFile {
    /// `None` for a file that lost its last name since it was opened.
    fn of(metadata: &Metadata, mark: Option<Mark>, content: Result<Given, Reason>) -> Option<Self> {
        let traits = Traits::of(metadata);
        (traits.links != 0).then_some(Self {
            traits: Some(traits),
            mark,
            content,
        })
    }

    /// One of which nothing can be known.
    pub(crate) fn unknown(err: Errno) -> Self {
        let reason = match err {
            Errno::EXDEV => Reason::Mounted,
            err => Reason::Unreadable(io::Error::from(err).kind()),
        };
        Self {
            traits: None,
            mark: None,
            content: Err(reason),
        }
    }
}

impl Traits {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        // Linux knows them for every file.
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let accessed = metadata.accessed().unwrap_or(modified);
        let changed = u64::try_from(metadata.ctime()).unwrap_or(0);
        let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(changed));
        Self {
            identity: FileIdentity::of(metadata),
            owner: metadata.uid(),
            group: metadata.gid(),
            has_list: false,
            links: metadata.nlink(),
            mode: metadata.mode() & 0o7777,
            modified,
            created: metadata.created().ok(),
            latest: modified.max(accessed).max(changed.unwrap_or(modified)),
        }
    }

    /// Whether others than the owner and root may write to it.
    pub(crate) fn others_may_write(&self, groups: &mut OwnGroups) -> bool {
        let may_group = self.mode & GROUP_WRITE != 0;
        self.mode & OTHERS_WRITE != 0
            || may_group && (self.has_list || !groups.is_own(self.group, self.owner))
    }

    /// How long ago it was written or touched, by the clock; `None` where it was
    /// not since it was made. A time to come is now.
    pub(crate) fn unsaved(&self) -> Option<Duration> {
        let as_made = |created: SystemTime| {
            let later = self.modified.duration_since(created);
            later.is_ok_and(|later| later < WRITTEN_WITHIN)
        };
        let is_as_made = self.created.is_some_and(as_made);
        (!is_as_made).then(|| self.modified.elapsed().unwrap_or_default())
    }

    /// Whether its times are so old that they should be renewed.
    pub(crate) fn is_old(&self) -> bool {
        self.latest.elapsed().is_ok_and(|age| age >= RENEWED_EVERY)
    }
}

/// Renews `file`'s time of access alone: the time of modification is its
/// writer's. What clears `/tmp` by age takes the latest of all.
///
/// # Errors
///
/// It is neither ours nor are we root, or the file system is read-only.
pub(crate) fn renew(file: &File) -> Result<(), Errno> {
    futimens(file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_OMIT)
}

/// Which file, in which state. The change time is part of it: inode numbers
/// are used again at once (ext4), and a change time cannot be set. So is the
/// size: before Linux 6.13 a change time has only the ticks of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    place: Inode,
    changed: (i64, i64),
    bytes: u64,
}

impl FileIdentity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            place: Inode::of(metadata),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            bytes: metadata.len(),
        }
    }

    /// Whether it is the same file, in whatever state.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

/// Which file, as it was last written to. What the daemon does to an entry
/// that counts (a mark, times renewed) is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Writing {
    place: Inode,
    modified: (i64, i64),
    bytes: u64,
}

impl Writing {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            place: Inode::of(metadata),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            bytes: metadata.len(),
        }
    }
}

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inode {
    device: u64,
    inode: u64,
}

impl Inode {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// Opens a file of that name in `directory` itself: no symbolic link is
/// followed, and no mount (a user can mount a file system that never answers
/// on a file of his own).
pub(crate) fn open_entry<P>(directory: impl AsFd, name: &P, flags: OFlag) -> Result<File, Errno>
where
    P: NixPath + ?Sized,
{
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

pub(crate) fn metadata(file: &File) -> Result<Metadata, Errno> {
    file.metadata()
        .map_err(|err| Errno::from_raw(err.raw_os_error().unwrap_or_default()))
}

pub(crate) fn may_succeed_later(err: Errno) -> bool {
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

fn read_entry(file: &File) -> Result<Given, Reason> {
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
    parse_entry(&text[..len]).map_err(Reason::Value)
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;

    use super::*;

    #[test]
    fn the_latest_of_a_files_times_is_renewed_and_its_writers_is_not() {
        let file = tempfile::tempfile().unwrap();
        let now = SystemTime::now();
        let old = now - 11 * RENEWED_EVERY;
        let times = FileTimes::new().set_accessed(old).set_modified(old);
        file.set_times(times).unwrap();
        let traits = Traits::of(&file.metadata().unwrap());
        assert!(!traits.is_old(), "its change time is new");
        let traits = Traits {
            latest: old,
            ..traits
        };
        assert!(traits.is_old());

        renew(&file).unwrap();
        let renewed = file.metadata().unwrap();
        assert!(renewed.accessed().unwrap() > now - RENEWED_EVERY);
        assert_eq!(renewed.modified().unwrap(), old);
    }
}
