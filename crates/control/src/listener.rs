//! The daemon's side.

use std::cell::RefCell;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, bind, getsockopt, listen, recv, send,
    socket,
};

use crate::message::{MESSAGE_BYTES, first};
use crate::place::{Door, InstanceLock, Place, PlaceError, same_file};
use crate::reply::{Denial, Reply};
use crate::request::Call;

/// How many may wait to be accepted; more wait in connect(2), and so do not
/// wait for us.
const BACKLOG: i32 = 16;

/// Where clients connect. It takes the socket away when it is dropped, if that
/// is still there.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    /// Closed for a moment when there is no other descriptor left, to accept
    /// and hang up on a client that would otherwise be reported for ever. The
    /// private socket has none, to save a descriptor.
    spare: RefCell<Option<OwnedFd>>,
    path: PathBuf,
    /// The socket as it was made, by device and inode.
    made: Metadata,
}

impl Listener {
    /// Makes the socket of `door`. One that is there already is a dead
    /// daemon's, since a living one would have `_lock`, and is replaced.
    ///
    /// # Errors
    ///
    /// - [`PlaceError::NotASocket`]: something else is there.
    /// - [`PlaceError::Socket`]: the kernel refuses.
    pub fn bind(place: &Place, door: Door, _lock: &InstanceLock) -> Result<Self, PlaceError> {
        let path = place.door(door);
        remove_a_dead_daemons(path)?;
        let failed = |source| PlaceError::Socket {
            path: path.to_path_buf(),
            source,
        };
        // Anybody may ask how things are; who may ask for more is judged by who
        // they are, not by who may connect.
        let mode = match door {
            Door::Public => 0o666,
            Door::Private => 0o600,
        };
        let bound = || -> io::Result<Self> {
            let descriptor = socket(
                AddressFamily::Unix,
                SockType::Stream,
                SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                None,
            )?;
            bind(descriptor.as_raw_fd(), &place.address(door)?)?;
            // Before listen(2), so that no client has connected under another
            // mode.
            fs::set_permissions(path, Permissions::from_mode(mode))?;
            listen(&descriptor, Backlog::new(BACKLOG)?)?;
            Ok(Self {
                spare: RefCell::new(match door {
                    Door::Public => Some(descriptor.try_clone()?),
                    Door::Private => None,
                }),
                socket: UnixListener::from(descriptor),
                path: path.to_path_buf(),
                made: fs::symlink_metadata(path)?,
            })
        };
        bound().map_err(failed)
    }

    /// Whether it is the one that clients find: it may have been removed.
    #[must_use]
    pub fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| same_file(&self.made, &found))
    }

    /// The next client, or `None` when none waits.
    ///
    /// The descriptor ([`AsFd`]) stays readable while clients wait: a caller
    /// that has as many connections as it wants takes it out of its epoll set
    /// for that time (or adds it with EPOLLET). Where no descriptor is left to
    /// accept with, the client is hung up on.
    #[must_use]
    pub fn accept(&self) -> Option<Connection> {
        loop {
            match self.socket.accept() {
                Ok((stream, _)) => {
                    if let Some(connection) = Connection::new(stream) {
                        return Some(connection);
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(err) if is_out_of_descriptors(&err) && self.turn_away() => {}
                Err(_) => return None,
            }
        }
    }

    /// Hangs up on the next client; whether that could be done.
    fn turn_away(&self) -> bool {
        let mut spare = self.spare.borrow_mut();
        drop(spare.take());
        let turned_away = self.socket.accept().is_ok();
        *spare = self.socket.as_fd().try_clone_to_owned().ok();
        turned_away
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Readable when a client waits.
impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn remove_a_dead_daemons(path: &Path) -> Result<(), PlaceError> {
    let failed = |source| PlaceError::Socket {
        path: path.to_path_buf(),
        source,
    };
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map_err(failed),
        Ok(_) => Err(PlaceError::NotASocket {
            path: path.to_path_buf(),
        }),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(err) => Err(failed(err)),
    }
}

fn is_out_of_descriptors(err: &io::Error) -> bool {
    let errno = err.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE))
}

/// A client that has connected. Nothing here waits; what it says and is told is
/// kept until all of it is there, or gone.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    peer: Peer,
    /// What it said, not yet understood. Never more than a call may have, and
    /// what came with its end.
    input: Vec<u8>,
    /// What it is told, not yet sent.
    output: Vec<u8>,
}

/// The process that connected, as the kernel says: SO_PEERCRED, unix(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its effective user id when it connected.
    pub uid: u32,
    /// Its pid; `None` where it has none in our pid namespace.
    pub pid: Option<u32>,
}

impl Connection {
    fn new(stream: UnixStream) -> Option<Self> {
        let socket = OwnedFd::from(stream);
        let credentials = getsockopt(&socket, PeerCredentials).ok()?;
        let pid = u32::try_from(credentials.pid()).ok();
        Some(Self {
            peer: Peer {
                uid: credentials.uid(),
                pid: pid.filter(|pid| *pid != 0),
            },
            socket,
            input: Vec::new(),
            output: Vec::new(),
        })
    }

    /// The process at the other end.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The next call, or `None` when it is not there (or not all of it) yet.
    ///
    /// # Errors
    ///
    /// After any but [`ConnectionError::Call`] the connection is of no more use,
    /// and is to be dropped.
    ///
    /// - [`ConnectionError::Closed`]: it hung up.
    /// - [`ConnectionError::Call`]: that was no call. It may be told why.
    /// - [`ConnectionError::Socket`]: the kernel refuses.
    pub fn receive(&mut self) -> Result<Option<Call>, ConnectionError> {
        loop {
            if let Some(message) = first(&self.input) {
                let call = Call::decode(message).map_err(ConnectionError::Call);
                let end = message.len() + 1;
                self.input.drain(..end);
                return call.map(Some);
            }
            if MESSAGE_BYTES <= self.input.len() {
                let call = Call::decode(&self.input).map_err(ConnectionError::Call);
                self.input.clear();
                return call.map(Some);
            }
            let room = MESSAGE_BYTES - self.input.len();
            if !receive(self.socket.as_fd(), &mut self.input, room)? {
                return Ok(None);
            }
        }
    }

    /// Answers, as far as its queue takes that now; [`Connection::flush`] sends
    /// the rest.
    ///
    /// # Errors
    ///
    /// After any the connection is of no more use, and is to be dropped.
    ///
    /// - [`ConnectionError::Closed`]: it hung up.
    /// - [`ConnectionError::Socket`]: the kernel refuses.
    pub fn reply(&mut self, reply: &Reply) -> Result<(), ConnectionError> {
        self.output.append(&mut reply.encode());
        self.flush()
    }

    /// Sends what is left of the answers, as far as its queue takes that.
    ///
    /// # Errors
    ///
    /// As [`Connection::reply`].
    pub fn flush(&mut self) -> Result<(), ConnectionError> {
        while self.has_more() {
            let sent = transmit(self.socket.as_fd(), &self.output)?;
            if sent == 0 {
                return Ok(());
            }
            self.output.drain(..sent);
        }
        self.output = Vec::new();
        Ok(())
    }

    /// How much of the answers is not sent.
    #[must_use]
    pub fn unread_bytes(&self) -> usize {
        self.output.len()
    }

    /// Whether not all of the answers is sent.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.output.is_empty()
    }
}

/// Readable when it has said something or has hung up.
impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether a user may ask a daemon that runs as `own_uid` for relief: root and
/// the daemon's own user may.
#[must_use]
pub fn may_ask_relief(peer_uid: u32, own_uid: u32) -> bool {
    peer_uid == 0 || peer_uid == own_uid
}

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The other side hung up.
    #[error("the other side hung up")]
    Closed,
    /// The call makes no sense.
    #[error("cannot understand the call: {0}")]
    Call(Denial),
    /// The kernel refuses.
    #[error("cannot use the control socket")]
    Socket {
        /// What the kernel said.
        source: io::Error,
    },
}

/// Adds what has come to `input`, at most `room` bytes; never waits. Whether
/// anything had.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    input: &mut Vec<u8>,
    room: usize,
) -> Result<bool, ConnectionError> {
    // A plan of some 40 KB comes in few pieces.
    const PIECE_BYTES: usize = 16 * 1024;
    let len = input.len();
    input.resize(len + room.min(PIECE_BYTES), 0);
    let received = loop {
        match recv(
            socket.as_raw_fd(),
            &mut input[len..],
            MsgFlags::MSG_DONTWAIT,
        ) {
            Err(Errno::EINTR) => {}
            received => break received,
        }
    };
    input.truncate(len + received.unwrap_or(0));
    match received {
        Ok(0) | Err(Errno::ECONNRESET) => Err(ConnectionError::Closed),
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN) => Ok(false),
        Err(errno) => Err(ConnectionError::Socket {
            source: errno.into(),
        }),
    }
}

/// Sends as much of `message` as the other side's queue takes; never waits. How
/// much that was.
pub(crate) fn transmit(socket: BorrowedFd<'_>, message: &[u8]) -> Result<usize, ConnectionError> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    loop {
        return match send(socket.as_raw_fd(), message, flags) {
            Ok(sent) => Ok(sent),
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => Ok(0),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Err(ConnectionError::Closed),
            Err(errno) => Err(ConnectionError::Socket {
                source: errno.into(),
            }),
        };
    }
}
