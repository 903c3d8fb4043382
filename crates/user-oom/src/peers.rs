//! Who is connected to the control socket, and what they wait for.

use std::os::fd::AsFd;
use std::time::Duration;

use control::{Connection, ConnectionError, Listener, Refusal, Reply, Request, may_ask_relief};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

/// Peers that are listened to at once; others wait in the socket's queue.
const AT_ONCE: usize = 8;
/// A peer that has not said by then what it wants is hung up on.
const PATIENCE: Duration = Duration::from_secs(2);

/// All that are connected.
#[derive(Debug)]
pub(crate) struct Peers {
    listener: Listener,
    list: Vec<Peer>,
    next_token: u64,
    own_uid: u32,
    /// Somebody waits in the socket's queue, or may.
    more: bool,
}

#[derive(Debug)]
struct Peer {
    connection: Connection,
    token: u64,
    since: Duration,
    waits_for_relief: bool,
}

impl Peers {
    /// `first_token`: from here on, epoll's data stand for peers.
    pub(crate) fn new(listener: Listener, first_token: u64, own_uid: u32) -> Self {
        Self {
            listener,
            list: Vec::with_capacity(AT_ONCE),
            next_token: first_token,
            own_uid,
            more: false,
        }
    }

    pub(crate) fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Somebody has come to the socket.
    pub(crate) fn expect_more(&mut self) {
        self.more = true;
    }

    /// Hangs up on those who say nothing, and takes in those who wait.
    /// Returns for how long nothing of this is due.
    pub(crate) fn tend(&mut self, now: Duration, epoll: &Epoll) -> Duration {
        let late = |peer: &Peer| !peer.waits_for_relief && peer.since + PATIENCE <= now;
        // Closing a connection takes it out of epoll.
        self.list.retain(|peer| !late(peer));
        while self.more && self.list.len() < AT_ONCE {
            let Some(connection) = self.listener.accept() else {
                self.more = false;
                break;
            };
            let token = self.next_token;
            self.next_token += 1;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, token);
            if epoll.add(connection.as_fd(), event).is_ok() {
                self.list.push(Peer {
                    connection,
                    token,
                    since: now,
                    waits_for_relief: false,
                });
            }
        }
        self.list
            .iter()
            .map(|peer| (peer.since + PATIENCE).saturating_sub(now))
            .min()
            .unwrap_or(Duration::MAX)
    }

    /// Hears the peer that `token` stands for. Whether relief is asked for; what
    /// asks only to know is answered at once, by what `answer` says to it.
    pub(crate) fn hear(&mut self, token: u64, answer: impl FnOnce(Request) -> Reply) -> bool {
        let Some(position) = self.list.iter().position(|peer| peer.token == token) else {
            return false;
        };
        let peer = &mut self.list[position];
        let reply = match peer.connection.receive() {
            Ok(None) => return false,
            Ok(Some(Request::Relief))
                if may_ask_relief(peer.connection.peer().uid, self.own_uid) =>
            {
                peer.waits_for_relief = true;
                return true;
            }
            Ok(Some(Request::Relief)) => Some(Reply::Refused(Refusal::NotPermitted)),
            Ok(Some(request @ (Request::Status | Request::Fate { .. }))) => Some(answer(request)),
            Err(ConnectionError::Words(_)) => Some(Reply::Refused(Refusal::NotUnderstood)),
            Err(_) => None,
        };
        let peer = self.list.swap_remove(position);
        if let Some(reply) = reply {
            // A peer that does not read its answer has had it.
            let _ = peer.connection.reply(&reply);
        }
        false
    }

    /// Tells all who wait for relief what came of it.
    pub(crate) fn answer(&mut self, reply: &Reply) {
        self.list.retain(|peer| {
            if peer.waits_for_relief {
                let _ = peer.connection.reply(reply);
            }
            !peer.waits_for_relief
        });
    }
}
