//! The clients of the control sockets, and what they wait for.
//!
//! Root and the daemon's own user use the private socket, to which no other
//! user can connect, and have places of their own. Of all that use the public one
//! few are let in at a time, and not for long; how often that is looked at does
//! not depend on how many there are.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use control::{
    Connection, ConnectionError, Denial, Door, Listener, Place, PlaceError, Reply, Request,
    Station, may_ask_relief,
};
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use oom_policy::Moment;

use crate::error::chain;
use crate::tell::scribe::Scribe;
use crate::wait::{Wait, WakeSource};

/// Places for clients of the private socket; more of them wait in its queue.
const PLACES: usize = 8;
/// One that has not said by then what it wants is hung up on,
const PATIENCE: Duration = Duration::from_secs(2);
/// or by then, where another waits for its place.
const CROWDED_PATIENCE: Duration = Duration::from_millis(100);

/// Places for strangers, which are all that use the public socket, root too,
const STRANGERS: usize = 8;
/// for one user of them,
const OF_A_STRANGER: usize = 2;
/// and how long they have them.
const STRANGERS_PATIENCE: Duration = Duration::from_millis(100);
/// So many that come by the public socket are looked at
const LOOKED_AT: u32 = 64;
/// in so long. Others wait in its queue.
const TURN: Duration = Duration::from_millis(100);

/// What is missing is tried again after so long.
const RETRY: Duration = Duration::from_secs(5);
/// Where the kernel tells of removals, what it does not tell of is looked for
/// this often: that a directory above was moved.
const SELDOM: Duration = Duration::from_secs(60);

/// All that are connected.
#[derive(Debug)]
pub(crate) struct Peers {
    /// `None` where there is no place for a socket.
    station: Option<Station>,
    list: Vec<Peer>,
    next_number: u64,
    own_uid: u32,
    /// A client waits in the private socket's queue, or may.
    more: bool,
    /// A client waits in the public one's, or may.
    more_strangers: bool,
    /// How many of them are still looked at in this turn, and since when it is.
    turn: (u32, Moment),
    /// When it is next seen whether the sockets are there.
    next_look: Moment,
    /// They are not, and that was said.
    missing: bool,
}

#[derive(Debug)]
struct Peer {
    connection: Connection,
    number: u64,
    door: Door,
    since: Moment,
    /// When it is hung up on; never while it waits for relief.
    until: Option<Moment>,
}

impl Peer {
    fn waits_for_relief(&self) -> bool {
        self.until.is_none()
    }
}

impl Peers {
    /// Makes the sockets at `place`. Where that cannot be, the daemon guards all
    /// the same, and it is tried again.
    ///
    /// # Errors
    ///
    /// [`PlaceError::Held`]: another daemon is running.
    pub(crate) fn open(place: Option<Place>, own_uid: u32) -> Result<Self, PlaceError> {
        let mut station = place.map(Station::at);
        let missing = match station.as_mut().map(Station::restore) {
            Some(Err(err @ PlaceError::Held { .. })) => return Err(err),
            Some(Err(err)) => {
                log::warn!("{}", without(&err));
                true
            }
            Some(Ok(_)) | None => false,
        };
        Ok(Self {
            station,
            list: Vec::with_capacity(PLACES + STRANGERS),
            next_number: 0,
            own_uid,
            more: false,
            more_strangers: false,
            turn: (LOOKED_AT, Moment::ORIGIN),
            next_look: Moment::ORIGIN + RETRY,
            missing,
        })
    }

    /// Has `wait` say when a connection comes, and when a socket is removed.
    /// What is watched already stays so.
    pub(crate) fn watch(&self, wait: &Wait) -> Result<(), Errno> {
        let Some(station) = &self.station else {
            return Ok(());
        };
        let listener = |door| station.listener(door).map(Listener::as_fd);
        let watched = [
            (listener(Door::Private), WakeSource::PrivateSocket),
            (listener(Door::Public), WakeSource::PublicSocket),
            (station.removals(), WakeSource::Removals),
        ];
        // Edge-triggered, since not all of what comes is taken at once.
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        for (descriptor, source) in watched {
            match descriptor.map(|descriptor| wait.add(descriptor, flags, source)) {
                None | Some(Ok(()) | Err(Errno::EEXIST)) => {}
                Some(Err(errno)) => return Err(errno),
            }
        }
        Ok(())
    }

    /// A client has come to the private socket.
    pub(crate) fn expect_more(&mut self) {
        self.more = true;
    }

    /// A client has come to the public one.
    pub(crate) fn expect_strangers(&mut self) {
        self.more_strangers = true;
    }

    /// Something of ours was removed.
    pub(crate) fn look_again(&mut self) {
        self.next_look = Moment::ORIGIN;
    }

    /// Makes the sockets again where they are missing. For quiet rounds.
    ///
    /// # Errors
    ///
    /// [`PlaceError::Held`]: another daemon is running, having taken the lock
    /// while it was missing.
    pub(crate) fn restore(
        &mut self,
        now: Moment,
        wait: &Wait,
        scribe: &mut Scribe,
    ) -> Result<(), PlaceError> {
        let Some(station) = self.station.as_mut().filter(|_| self.next_look <= now) else {
            return Ok(());
        };
        let restored = station.restore();
        // What was just made may have gone before it was watched.
        let is_told = station.removals().is_some() && matches!(restored, Ok(false));
        self.next_look = now + if is_told { SELDOM } else { RETRY };
        match restored {
            Ok(made) => {
                if made {
                    let path = station.place().socket().display();
                    let how = match self.missing {
                        true => "control socket created",
                        false => "control socket created again: part of it was removed",
                    };
                    scribe.note(log::Level::Warn, format_args!("{how}: `{path}`"));
                    // What is not watched is looked at when a peer is.
                    let _ = self.watch(wait);
                    self.more = true;
                    self.more_strangers = true;
                }
                self.missing = false;
            }
            Err(err @ PlaceError::Held { .. }) => return Err(err),
            Err(err) => {
                if !std::mem::replace(&mut self.missing, true) {
                    scribe.note(log::Level::Warn, without(&err));
                }
            }
        }
        Ok(())
    }

    /// Hangs up on clients that say nothing, and accepts those that wait.
    /// Returns for how long nothing of this is due.
    pub(crate) fn tend(&mut self, now: Moment, wait: &Wait) -> Duration {
        // Closing a connection ends its watch.
        self.list
            .retain(|peer| peer.until.is_none_or(|until| now < until));
        while self.more && (self.places_taken(Door::Private) < PLACES || self.make_place(now)) {
            self.more = self.take_in(now, Door::Private, wait);
        }
        if self.turn.1 + TURN <= now {
            self.turn = (LOOKED_AT, now);
        }
        while self.more_strangers && 0 < self.turn.0 {
            self.turn.0 -= 1;
            self.more_strangers = self.take_in(now, Door::Public, wait);
        }
        let turn = self.more_strangers.then_some(self.turn.1 + TURN);
        let look = self.missing.then_some(self.next_look);
        let due = self.list.iter().filter_map(|peer| peer.until);
        let place = self.oldest_idle().filter(|_| self.more);
        let place = place.map(|peer| self.list[peer].since + CROWDED_PATIENCE);
        due.chain(turn)
            .chain(place)
            .chain(look)
            .min()
            .map_or(Duration::MAX, |due| due.since(now))
    }

    fn places_taken(&self, door: Door) -> usize {
        self.list.iter().filter(|peer| peer.door == door).count()
    }

    /// The private socket's longest connected that has not said what it wants.
    fn oldest_idle(&self) -> Option<usize> {
        let idle = |peer: &Peer| peer.door == Door::Private && !peer.waits_for_relief();
        let idle = (0..self.list.len()).filter(|peer| idle(&self.list[*peer]));
        idle.min_by_key(|peer| self.list[*peer].since)
    }

    /// Hangs up on that one, where it has had its time; whether it had.
    fn make_place(&mut self, now: Moment) -> bool {
        let had_time = |peer: &usize| self.list[*peer].since + CROWDED_PATIENCE <= now;
        let peer = self.oldest_idle().filter(had_time);
        peer.map(|peer| self.list.swap_remove(peer)).is_some()
    }

    /// Gives the next that waits at `door` a place, or hangs up where it has none
    /// to claim. Whether there was one.
    fn take_in(&mut self, now: Moment, door: Door, wait: &Wait) -> bool {
        let listener = self.station.as_ref().and_then(|all| all.listener(door));
        let Some(connection) = listener.and_then(Listener::accept) else {
            return false;
        };
        let uid = connection.peer().uid;
        let same = |peer: &&Peer| peer.door == door && peer.connection.peer().uid == uid;
        let (patience, has_place) = match door {
            Door::Private => (PATIENCE, true),
            Door::Public => (
                STRANGERS_PATIENCE,
                self.places_taken(door) < STRANGERS
                    && self.list.iter().filter(same).count() < OF_A_STRANGER,
            ),
        };
        if !has_place {
            return true;
        }
        let number = self.next_number;
        self.next_number += 1;
        let source = WakeSource::Peer(number);
        if wait
            .add(connection.as_fd(), EpollFlags::EPOLLIN, source)
            .is_ok()
        {
            self.list.push(Peer {
                connection,
                number,
                door,
                since: now,
                until: Some(now + patience),
            });
        }
        true
    }

    /// Hears the peer that `number` stands for. Whether relief is asked for; what
    /// asks only to know is answered at once, by what `answer` says to it.
    pub(crate) fn hear(&mut self, number: u64, answer: impl FnOnce(Request) -> Reply) -> bool {
        let Some(position) = self.list.iter().position(|peer| peer.number == number) else {
            return false;
        };
        let peer = &mut self.list[position];
        let may_ask = may_ask_relief(peer.connection.peer().uid, self.own_uid);
        let reply = match peer.connection.receive() {
            Ok(None) => return false,
            Ok(Some(Request::Relief)) if may_ask => {
                peer.until = None;
                return true;
            }
            Ok(Some(Request::Relief)) => Some(Reply::Refused(Denial::NotPermitted)),
            Ok(Some(request @ (Request::Status | Request::Fate { .. }))) => Some(answer(request)),
            Err(ConnectionError::Words(_)) => Some(Reply::Refused(Denial::NotUnderstood)),
            Err(_) => None,
        };
        let peer = self.list.swap_remove(position);
        if let Some(reply) = reply {
            // A peer that does not read its answer has had it.
            let _ = peer.connection.reply(&reply);
        }
        false
    }

    /// Tells all clients that wait for relief what came of it.
    pub(crate) fn answer(&mut self, reply: &Reply) {
        self.list.retain(|peer| {
            if peer.waits_for_relief() {
                let _ = peer.connection.reply(reply);
            }
            !peer.waits_for_relief()
        });
    }
}

/// Where the daemon may be found; `None` where no place was given.
///
/// # Errors
///
/// The path given cannot name a socket.
pub(crate) fn place(given: Option<&Path>) -> Result<Option<Place>, PlaceError> {
    match Place::find(given) {
        Ok(place) => Ok(Some(place)),
        Err(err) if given.is_some() => Err(err),
        Err(err) => {
            log::warn!("running without a control socket: {}", chain(&err));
            Ok(None)
        }
    }
}

fn without(err: &PlaceError) -> String {
    format!(
        "running without a control socket, trying again every {} s: {}",
        RETRY.as_secs(),
        chain(err)
    )
}
