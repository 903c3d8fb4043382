//! Where the sockets and the lock live, and which users may have them.

use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::socket::UnixAddr;
use nix::unistd::geteuid;

/// Where root's daemon is found.
const SYSTEM: &str = "/run/user-oom";

/// In `$XDG_RUNTIME_DIR`, where another user's daemon is found.
const OF_USER: &str = "user-oom";

/// The socket's name in either.
const SOCKET: &str = "control";

/// What the private socket's name has at its end.
const PRIVATE: &str = ".private";

/// The longest path that the public one can have: that of a socket has at most
/// 107 bytes, unix(7).
const LONGEST: usize = 107 - PRIVATE.len();

/// Where a daemon is found: its socket, beside it, with `.private` at the end,
/// another that only root and the daemon's own user may connect to, and with
/// `.lock` at the end its lock.
///
/// A socket has one queue of connections to accept, and any client that may
/// connect can fill it: hence two sockets.
///
/// Never in `/tmp` of our own accord: anybody could have made what is found
/// there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A directory that is ours to make.
    directory: Option<PathBuf>,
    socket: PathBuf,
    private: PathBuf,
    lock: PathBuf,
}

/// Which of the two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// For all users.
    Public,
    /// For root and the daemon's own user.
    Private,
}

impl Place {
    /// Where our daemon is found: `socket`, where it is given (`--socket
    /// PATH`); else [`Self::system`] for root; else in `$XDG_RUNTIME_DIR`.
    ///
    /// # Errors
    ///
    /// - [`PlaceError::NoRuntimeDirectory`]: we are not root, and no absolute
    ///   path stands in `XDG_RUNTIME_DIR`.
    /// - [`PlaceError::NoName`], [`PlaceError::TooLong`]: no socket can have
    ///   that path.
    pub fn find(socket: Option<&Path>) -> Result<Self, PlaceError> {
        match socket {
            Some(socket) => Self::at(socket),
            None if geteuid().is_root() => Ok(Self::system()),
            None => Self::in_runtime_directory(env::var_os("XDG_RUNTIME_DIR")),
        }
    }

    /// Where root's daemon is found: in `/run/user-oom`.
    #[must_use]
    pub fn system() -> Self {
        Self::in_directory(PathBuf::from(SYSTEM))
    }

    /// Where a user's daemon is found whose `$XDG_RUNTIME_DIR` is this.
    ///
    /// # Errors
    ///
    /// As [`Self::find`].
    pub fn in_runtime_directory(runtime_directory: Option<OsString>) -> Result<Self, PlaceError> {
        let runtime_directory = runtime_directory.map(PathBuf::from).unwrap_or_default();
        if !runtime_directory.is_absolute() {
            return Err(PlaceError::NoRuntimeDirectory);
        }
        let place = Self::in_directory(runtime_directory.join(OF_USER));
        place.check()?;
        Ok(place)
    }

    /// At a path of the user's choice, in a directory that is there.
    ///
    /// # Errors
    ///
    /// [`PlaceError::NoName`], [`PlaceError::TooLong`]: no socket can have that
    /// path.
    pub fn at(socket: &Path) -> Result<Self, PlaceError> {
        let Some(name) = socket.file_name() else {
            return Err(PlaceError::NoName {
                path: socket.to_path_buf(),
            });
        };
        let beside = |ending| {
            let mut name = name.to_os_string();
            name.push(ending);
            socket.with_file_name(name)
        };
        let place = Self {
            directory: None,
            lock: beside(".lock"),
            private: beside(PRIVATE),
            socket: socket.to_path_buf(),
        };
        place.check()?;
        Ok(place)
    }

    /// The public socket's path, by which a daemon is known.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The path of either socket.
    #[must_use]
    pub fn door(&self, door: Door) -> &Path {
        match door {
            Door::Public => &self.socket,
            Door::Private => &self.private,
        }
    }

    /// The lock's path.
    #[must_use]
    pub fn lock(&self) -> &Path {
        &self.lock
    }

    pub(crate) fn address(&self, door: Door) -> nix::Result<UnixAddr> {
        UnixAddr::new(self.door(door))
    }

    fn in_directory(directory: PathBuf) -> Self {
        Self {
            socket: directory.join(SOCKET),
            private: directory.join(format!("{SOCKET}{PRIVATE}")),
            lock: directory.join(format!("{SOCKET}.lock")),
            directory: Some(directory),
        }
    }

    fn check(&self) -> Result<(), PlaceError> {
        match self.address(Door::Private) {
            Ok(_) => Ok(()),
            Err(_) => Err(PlaceError::TooLong {
                path: self.socket.clone(),
            }),
        }
    }

    /// Makes the directory where it is ours to make; one that others could
    /// write in is refused.
    fn prepare(&self) -> Result<(), PlaceError> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        let failed = |source| PlaceError::Directory {
            path: directory.clone(),
            source,
        };
        match DirBuilder::new().mode(0o755).create(directory) {
            Ok(()) => {}
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
            Err(err) => return Err(failed(err)),
        }
        let found = fs::symlink_metadata(directory).map_err(failed)?;
        if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o022 != 0 {
            return Err(PlaceError::NotOurs {
                path: directory.clone(),
            });
        }
        Ok(())
    }
}

/// A lock that is removed as often as that is not taken: something is at war
/// with us.
const TRIES: u32 = 8;

/// Makes this the only daemon at a place for as long as it lives: an exclusive
/// flock(2), which the kernel releases however its holder exits.
///
/// The file holds its holder's pid and stays when it is released: removing a
/// lock that another is about to take would make two holders.
#[derive(Debug)]
pub struct InstanceLock {
    file: Flock<File>,
}

impl InstanceLock {
    /// Takes it, and never waits for it. Where the file is removed before it is
    /// locked, the one that is there now is taken.
    ///
    /// # Errors
    ///
    /// - [`PlaceError::Held`]: another has it.
    /// - [`PlaceError::Directory`], [`PlaceError::NotOurs`],
    ///   [`PlaceError::Lock`]: it cannot be had.
    pub fn take(place: &Place) -> Result<Self, PlaceError> {
        let mut lock = Self::take_once(place)?;
        let mut tries = 1;
        while !lock.is_there(place) && tries < TRIES {
            lock = Self::take_once(place)?;
            tries += 1;
        }
        sign(&lock.file);
        Ok(lock)
    }

    /// Whether it is the one that others find: it may have been removed.
    #[must_use]
    pub fn is_there(&self, place: &Place) -> bool {
        match (self.file.metadata(), fs::symlink_metadata(&place.lock)) {
            (Ok(ours), Ok(found)) => same_file(&ours, &found),
            _ => false,
        }
    }

    fn take_once(place: &Place) -> Result<Self, PlaceError> {
        place.prepare()?;
        let failed = |source| PlaceError::Lock {
            path: place.lock.clone(),
            source,
        };
        // Who can open it can hold it: so nobody else may open it.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(&place.lock)
            .map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("not a regular file")));
        }
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { file }),
            Err((file, Errno::EWOULDBLOCK)) => Err(PlaceError::Held {
                path: place.lock.clone(),
                pid: signed_by(file),
            }),
            Err((_, errno)) => Err(failed(errno.into())),
        }
    }
}

impl Drop for InstanceLock {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}

pub(crate) fn same_file(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Writes our pid into the lock, for the message of a second daemon. A full
/// disk is no reason not to run.
fn sign(mut file: &File) {
    let _ = file
        .set_len(0)
        .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
}

/// Whose pid stands in the lock.
fn signed_by(file: File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim_end().parse().ok()
}

/// Why there is no place for a daemon's socket.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// We are not root, and there is nowhere of our own.
    #[error(
        "XDG_RUNTIME_DIR does not name a directory for the control socket: give `--socket PATH`"
    )]
    NoRuntimeDirectory,
    /// The path has no last name.
    #[error("`{}` cannot name a socket: give `--socket PATH`", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// The path does not fit.
    #[error(
        "`{}` cannot name a socket, which has at most {LONGEST} bytes, none of them 0: give a \
         shorter `--socket PATH`",
        path.display()
    )]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// The directory cannot be made.
    #[error("cannot make `{}`", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// What is there is not a directory, or others may write in it.
    #[error("`{}` is not a directory that we own and only we can write to", path.display())]
    NotOurs {
        /// What is there.
        path: PathBuf,
    },
    /// The lock cannot be opened or taken.
    #[error("cannot take the lock `{}`", path.display())]
    Lock {
        /// The lock.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another daemon has it.
    #[error("another user-oom is running{}", LockHolder(*pid, path))]
    Held {
        /// The lock.
        path: PathBuf,
        /// Its holder, where it said so.
        pid: Option<u32>,
    },
    /// What is there is not a socket, so not a dead daemon's.
    #[error("`{}` exists and is not a socket", path.display())]
    NotASocket {
        /// What is there.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("cannot listen at `{}`", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// By its pid where it has said that, else by what it holds.
struct LockHolder<'a>(Option<u32>, &'a Path);

impl std::fmt::Display for LockHolder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) => write!(f, " (pid {pid})"),
            None => write!(f, ": it holds `{}`", self.1.display()),
        }
    }
}
