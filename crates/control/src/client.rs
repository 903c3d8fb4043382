//! The side of those that ask.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, connect, setsockopt, socket};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::listener::{ConnectionError, receive, transmit};
use crate::message::{ANSWER_BYTES, MessageError, first};
use crate::place::{Door, Place};
use crate::reply::Reply;
use crate::request::Request;

/// A connection to the daemon, for one question.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    path: PathBuf,
}

impl Client {
    /// Connects, waiting at most for `timeout`: a daemon that hangs has a full
    /// queue. Uses the private socket where permitted, so that clients that may
    /// not cannot fill the queue we wait in.
    ///
    /// # Errors
    ///
    /// - [`ClientError::NoDaemon`]: neither socket is there, or nothing listens.
    /// - [`ClientError::NotPermitted`]: we may not go there.
    /// - [`ClientError::Timeout`]: one is there and does not accept.
    /// - [`ClientError::Connect`]: the kernel refuses for another reason.
    pub fn connect(place: &Place, timeout: Duration) -> Result<Self, ClientError> {
        let private = match Self::connect_by(place, Door::Private, timeout) {
            Err(err @ (ClientError::NoDaemon { .. } | ClientError::NotPermitted { .. })) => err,
            done => return done,
        };
        match Self::connect_by(place, Door::Public, timeout) {
            // One that is not for us is one that is there.
            Err(ClientError::NoDaemon { .. }) => Err(private),
            done => done,
        }
    }

    fn connect_by(place: &Place, door: Door, timeout: Duration) -> Result<Self, ClientError> {
        let path = place.socket().to_path_buf();
        let connected = || -> Result<OwnedFd, Errno> {
            let socket = socket(
                AddressFamily::Unix,
                SockType::Stream,
                SockFlag::SOCK_CLOEXEC,
                None,
            )?;
            // For connect(2) too, socket(7). Zero would mean for ever.
            let milliseconds = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
            let limit = TimeVal::milliseconds(milliseconds.clamp(1, MOST_MILLISECONDS));
            setsockopt(&socket, SendTimeout, &limit)?;
            connect(socket.as_raw_fd(), &place.address(door)?)?;
            Ok(socket)
        };
        match connected() {
            Ok(socket) => Ok(Self { socket, path }),
            Err(Errno::EAGAIN) => Err(ClientError::Timeout { path }),
            Err(errno @ (Errno::ENOENT | Errno::ECONNREFUSED)) => Err(ClientError::NoDaemon {
                path,
                source: errno.into(),
            }),
            Err(errno @ Errno::EACCES) => Err(ClientError::NotPermitted {
                path,
                source: errno.into(),
            }),
            Err(errno) => Err(ClientError::Connect {
                path,
                source: errno.into(),
            }),
        }
    }

    /// Asks, and waits for the answer at most for `timeout`.
    ///
    /// A connection is for one question, so that no answer that came too late
    /// can be taken for another's.
    ///
    /// # Errors
    ///
    /// - [`ClientError::Timeout`]: no answer came.
    /// - [`ClientError::Connection`]: the daemon hung up, or the kernel refuses.
    /// - [`ClientError::Answer`]: that was no answer.
    pub fn ask(self, request: &Request, timeout: Duration) -> Result<Reply, ClientError> {
        self.put(request)?.next(timeout)
    }

    /// Asks what has more than one answer.
    ///
    /// # Errors
    ///
    /// [`ClientError::Connection`]: the daemon hung up, or the kernel refuses.
    pub fn put(self, request: &Request) -> Result<Answers, ClientError> {
        // A call is far smaller than the queue of a connection that is new.
        transmit(self.socket.as_fd(), &request.encode())?;
        Ok(Answers {
            client: self,
            request: request.clone(),
            input: Vec::new(),
        })
    }
}

/// The answers to one question.
#[derive(Debug)]
pub struct Answers {
    client: Client,
    request: Request,
    input: Vec<u8>,
}

impl Answers {
    /// Waits for the next at most for `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Client::ask`].
    pub fn next(&mut self, timeout: Duration) -> Result<Reply, ClientError> {
        let deadline = Instant::now().checked_add(timeout);
        let Client { socket, path } = &self.client;
        loop {
            if let Some(message) = first(&self.input) {
                let reply = Reply::decode(&self.request, message);
                let end = message.len() + 1;
                self.input.drain(..end);
                return Ok(reply?);
            }
            if ANSWER_BYTES <= self.input.len() {
                return Err(ClientError::TooLong);
            }
            if receive(socket.as_fd(), &mut self.input, ANSWER_BYTES)? {
                continue;
            }
            let left = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return Err(ClientError::Timeout { path: path.clone() });
            }
            let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, rounded_up(left)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(ClientError::Connection(ConnectionError::Socket {
                        source: errno.into(),
                    }));
                }
            }
        }
    }
}

/// Readable when an answer has come.
impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A day: what a timeout is clipped to where the kernel would overflow.
const MOST_MILLISECONDS: i64 = 24 * 60 * 60 * 1000;

/// In whole milliseconds, as poll(2) takes it, so that it is never too short;
/// where it is too long for that, the caller looks at the clock and waits
/// again.
fn rounded_up(left: Duration) -> PollTimeout {
    PollTimeout::try_from(left.saturating_add(Duration::from_millis(1))).unwrap_or(PollTimeout::MAX)
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no daemon.
    #[error("no user-oom answers at `{}`", path.display())]
    NoDaemon {
        /// Where it would be.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// We may not go there.
    #[error("not permitted to connect to `{}`", path.display())]
    NotPermitted {
        /// Where it would be.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refuses for another reason.
    #[error("cannot connect to `{}`", path.display())]
    Connect {
        /// Where it would be.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is one, and it does not answer in time.
    #[error("the user-oom at `{}` does not answer in time", path.display())]
    Timeout {
        /// Where it is.
        path: PathBuf,
    },
    /// The connection broke.
    #[error("cannot talk to user-oom")]
    Connection(#[source] ConnectionError),
    /// The answer makes no sense.
    #[error("cannot understand user-oom's answer")]
    Answer(#[source] MessageError),
    /// The answer has no end.
    #[error("user-oom's answer has more than {} MiB", ANSWER_BYTES >> 20)]
    TooLong,
}

impl From<ConnectionError> for ClientError {
    fn from(err: ConnectionError) -> Self {
        Self::Connection(err)
    }
}

impl From<MessageError> for ClientError {
    fn from(err: MessageError) -> Self {
        Self::Answer(err)
    }
}
