//! The clients of the control sockets, and what they wait for.
//!
//! Root and the daemon's own user use the private socket, to which no other
//! user can connect, and have places of their own. Of all that use the public one
//! few are let in at a time, and not for long; how often that is looked at does
//! not depend on how many there are.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use control::{
    Connection, ConnectionError, Denial, Door, Listener, Place, PlaceError, Reply, Request,
    Station, may_ask_relief,
};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use oom_policy::Moment;
use terminal::chain;

use crate::tell::bell::Bell;
use crate::tell::lane::Lane;

/// Places for clients of the private socket; more of them wait in its queue.
const PLACES: usize = 8;
/// One that has not said by then what it wants, or does not read by then what it
/// is told, is hung up on,
const PATIENCE: Duration = Duration::from_secs(2);
/// or by then, where another waits for its place.
const CROWDED_PATIENCE: Duration = Duration::from_millis(100);

/// One that waits for the loop is hung up on by then: that hangs.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// Places for strangers, which are all that use the public socket, root too,
const STRANGERS: usize = 8;
/// for one user of them,
const OF_A_STRANGER: usize = 2;
/// how long they have them, from the last answer on,
const STRANGERS_PATIENCE: Duration = Duration::from_millis(100);
/// and how much they are answered in that time, so that none keeps a place.
const STRANGERS_CALLS: u32 = 8;
/// So many that come by the public socket are looked at
const LOOKED_AT: u32 = 64;
/// in so long. Others wait in its queue.
const TURN: Duration = Duration::from_millis(100);

/// So many subscribe to what happens: by the private socket,
const SUBSCRIBERS: usize = 8;
/// and of strangers, one for each user. They take no other's place.
const SUBSCRIBED_STRANGERS: usize = 4;
/// One of which so much waits to be read is told no more.
const UNREAD_BYTES: usize = 64 * 1024;
/// A subscriber keeps its place.
const FOR_LONG: Duration = Duration::from_secs(365 * 24 * 3600);

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
    own_uid: u32,
    /// What was found ready by the last wait.
    ready: Vec<Source>,
    /// How many strangers are still looked at in this turn, and since when it is.
    turn: (u32, Moment),
    /// Until then no client is let in: there was no descriptor for one.
    shut_until: Moment,
    /// When it is next seen whether the sockets are there.
    next_look: Moment,
    /// They are not, and that was said.
    missing: bool,
}

#[derive(Debug)]
struct Peer {
    connection: Connection,
    door: Door,
    since: Moment,
    /// When it is hung up on.
    until: Moment,
    /// What it waits for.
    waits_for: Option<Ticket>,
    /// How much it has asked.
    calls: u32,
    /// It is hung up on once it has read what it was told.
    is_last: bool,
    /// It is told what happens.
    subscribes: bool,
}

/// What a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Door(Door),
    Removals,
    /// By its place in the list.
    Peer(usize),
}

/// What a request comes to.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// It is answered at once.
    Reply(Reply),
    /// It is answered when what that stands for has come.
    Later(Ticket),
    /// It is told this, and then what happens, where there is a place for it.
    Subscription(Reply),
}

/// What an answer waits for, each by the number of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ticket {
    /// What comes of relief.
    Relief(u64),
    /// A plan for this threshold.
    Plan(u64, control::Condition),
    /// What it says of this process.
    Explain(u64, u32),
    /// What comes of a reload.
    Reload(u64),
    /// A unit that is to be paused or thawed.
    Turn(u64),
}

impl Peer {
    fn patience(&self) -> Duration {
        match self.door {
            Door::Private => PATIENCE,
            Door::Public => STRANGERS_PATIENCE,
        }
    }

    /// What is to be ready before it is heard. One that is told something, or
    /// waits for an answer, is heard again after that; but it may hang up.
    fn waits_until(&self) -> PollFlags {
        match self.waits_for {
            Some(_) => PollFlags::empty(),
            None if self.connection.has_more() => PollFlags::POLLOUT,
            None => PollFlags::POLLIN,
        }
    }

    fn is_idle(&self) -> bool {
        self.waits_for.is_none() && !self.connection.has_more()
    }

    /// Tells a subscriber what has happened. Whether its place is kept.
    fn tell_event(&mut self, now: Moment, reply: &Reply) -> bool {
        if self.connection.reply(reply).is_err() {
            return false;
        }
        if self.connection.unread_bytes() <= UNREAD_BYTES {
            return true;
        }
        self.subscribes = false;
        self.is_last = true;
        self.tell(now, &Denial::TooSlow {}.into())
    }

    /// Tells it `reply`. Whether its place is kept.
    fn tell(&mut self, now: Moment, reply: &Reply) -> bool {
        self.since = now;
        self.until = now + self.patience();
        self.connection.reply(reply).is_ok() && self.stays()
    }

    fn stays(&self) -> bool {
        !self.is_last || self.connection.has_more()
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
            own_uid,
            ready: Vec::with_capacity(PLACES + STRANGERS + 3),
            turn: (LOOKED_AT, Moment::ORIGIN),
            shut_until: Moment::ORIGIN,
            next_look: Moment::ORIGIN + RETRY,
            missing,
        })
    }

    /// Keeps the lock alone, which tells a second daemon that this one runs.
    pub(crate) fn close(mut self) -> Self {
        if let Some(station) = &mut self.station {
            station.close();
        }
        self
    }

    /// Makes the sockets again where they are missing.
    ///
    /// # Errors
    ///
    /// [`PlaceError::Held`]: another daemon is running, having taken the lock
    /// while it was missing.
    pub(crate) fn restore(&mut self, now: Moment, lane: &mut Lane) -> Result<(), PlaceError> {
        let is_due = self.next_look <= now || self.ready.contains(&Source::Removals);
        let Some(station) = self.station.as_mut().filter(|_| is_due) else {
            return Ok(());
        };
        let restored = station.restore();
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
                    lane.note(log::Level::Warn, format_args!("{how}: `{path}`"));
                }
                self.missing = false;
            }
            Err(err @ PlaceError::Held { .. }) => return Err(err),
            Err(err) => {
                if !std::mem::replace(&mut self.missing, true) {
                    lane.note(log::Level::Warn, without(&err));
                }
            }
        }
        Ok(())
    }

    /// Hangs up on clients that say nothing or do not read, and accepts those
    /// that wait. Returns for how long nothing of this is due.
    pub(crate) fn tend(&mut self, now: Moment) -> Duration {
        self.list.retain(|peer| now < peer.until);
        if self.turn.1 + TURN <= now {
            self.turn = (LOOKED_AT, now);
        }
        for door in [Door::Private, Door::Public] {
            if self.ready.contains(&Source::Door(door)) && !self.let_in(now, door) {
                self.shut_until = now + TURN;
            }
        }
        self.ready.clear();
        let turn = (self.turn.0 == 0).then_some(self.turn.1 + TURN);
        // With the last place taken, the next is let in when one has had its time.
        let place = self.oldest_idle().filter(|_| !self.has_place());
        let place = place.map(|peer| self.list[peer].since + CROWDED_PATIENCE);
        let look = self.station.as_ref().map(|_| self.next_look);
        let due = self.list.iter().map(|peer| peer.until);
        due.chain(turn)
            .chain(
                [self.shut_until]
                    .into_iter()
                    .chain(place)
                    .filter(|due| now < *due),
            )
            .chain(look)
            .min()
            .map_or(Duration::MAX, |due| due.since(now))
    }

    /// Lets in those that wait at `door`, as far as there are places. Whether one
    /// could be let in.
    fn let_in(&mut self, now: Moment, door: Door) -> bool {
        let mut any = false;
        loop {
            let may = match door {
                Door::Private => self.has_place() || self.make_place(now),
                Door::Public => 0 < self.turn.0,
            };
            if !may {
                return true;
            }
            if !self.take_in(now, door) {
                return any;
            }
            any = true;
            if door == Door::Public {
                self.turn.0 -= 1;
            }
        }
    }

    /// Waits until the bell rings, a client comes or says something, something of
    /// ours was removed, or `pause` is over.
    ///
    /// # Errors
    ///
    /// Where poll(2) itself fails.
    pub(crate) fn wait(&mut self, bell: &Bell, now: Moment, pause: Duration) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        let mut polled = vec![PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
        for (fd, flags, source) in self.sources(now) {
            polled.push(PollFd::new(fd, flags));
            ready.push(source);
        }
        // Rounded up, so that what is due is due when the wait is over.
        let pause = pause.saturating_add(Duration::from_millis(1));
        let pause = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled, pause) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut ready_ones = polled.iter().skip(1).map(|fd| fd.any().unwrap_or(true));
        ready.retain(|_| ready_ones.next().unwrap_or(false));
        bell.hush();
        self.ready = ready;
        Ok(())
    }

    /// What is waited for.
    fn sources(&self, now: Moment) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags, Source)> {
        let had_its_time = |peer: usize| self.list[peer].since + CROWDED_PATIENCE <= now;
        let takes_private = self.has_place() || self.oldest_idle().is_some_and(had_its_time);
        let is_open = self.shut_until <= now;
        let station = self.station.as_ref();
        let doors = [
            (Door::Private, is_open && takes_private),
            (Door::Public, is_open && 0 < self.turn.0),
        ];
        let doors = doors.into_iter().filter(|(_, takes)| *takes);
        let doors = doors.filter_map(move |(door, _)| {
            let listener = station?.listener(door)?;
            Some((listener.as_fd(), PollFlags::POLLIN, Source::Door(door)))
        });
        let removals = station.and_then(Station::removals);
        let removals = removals.map(|fd| (fd, PollFlags::POLLIN, Source::Removals));
        let peers = self.list.iter().enumerate().map(|(index, peer)| {
            let fd = peer.connection.as_fd();
            (fd, peer.waits_until(), Source::Peer(index))
        });
        doors.chain(removals).chain(peers)
    }

    fn has_place(&self) -> bool {
        self.places_taken(Door::Private) < PLACES
    }

    fn places_taken(&self, door: Door) -> usize {
        let takes_one = |peer: &&Peer| peer.door == door && !peer.subscribes;
        self.list.iter().filter(takes_one).count()
    }

    /// The private socket's longest connected that has not said what it wants.
    fn oldest_idle(&self) -> Option<usize> {
        let idle = |peer: &Peer| peer.door == Door::Private && peer.is_idle() && !peer.subscribes;
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
    fn take_in(&mut self, now: Moment, door: Door) -> bool {
        let listener = self.station.as_ref().and_then(|all| all.listener(door));
        let Some(connection) = listener.and_then(Listener::accept) else {
            return false;
        };
        let uid = connection.peer().uid;
        let same = |peer: &&Peer| {
            peer.door == door && !peer.subscribes && peer.connection.peer().uid == uid
        };
        let has_place = match door {
            Door::Private => true,
            Door::Public => {
                self.places_taken(door) < STRANGERS
                    && self.list.iter().filter(same).count() < OF_A_STRANGER
            }
        };
        if has_place {
            let mut peer = Peer {
                connection,
                door,
                since: now,
                until: now,
                waits_for: None,
                calls: 0,
                is_last: false,
                subscribes: false,
            };
            peer.until = now + peer.patience();
            self.list.push(peer);
        }
        true
    }

    /// Hears all that have something to say; `answer` says what their requests
    /// come to.
    pub(crate) fn hear_all(
        &mut self,
        now: Moment,
        mut answer: impl FnMut(control::Peer, &Request) -> Wanted,
    ) {
        let own_uid = self.own_uid;
        let mut index = 0;
        let ready = &self.ready;
        let subscribers = self.list.iter().filter(|peer| peer.subscribes);
        let mut audience = Audience {
            list: subscribers
                .map(|peer| (peer.door, peer.connection.peer().uid))
                .collect(),
        };
        self.list.retain_mut(|peer| {
            let is_ready = ready.contains(&Source::Peer(index));
            index += 1;
            !is_ready || hear(peer, own_uid, now, &mut audience, &mut answer)
        });
    }

    /// Tells all that subscribe what has happened, each as `told` has it for it.
    pub(crate) fn tell_subscribers(&mut self, now: Moment, told: impl Fn(control::Peer) -> Reply) {
        self.list.retain_mut(|peer| {
            !peer.subscribes || peer.tell_event(now, &told(peer.connection.peer()))
        });
    }

    /// Whether any subscribes.
    pub(crate) fn any_subscribes(&self) -> bool {
        self.list.iter().any(|peer| peer.subscribes)
    }

    /// Answers all that wait for what has come, by `answer`.
    pub(crate) fn answer(
        &mut self,
        now: Moment,
        answer: impl Fn(control::Peer, Ticket) -> Option<Reply>,
    ) {
        self.list.retain_mut(|peer| {
            let asked_by = peer.connection.peer();
            let reply = peer.waits_for.and_then(|ticket| answer(asked_by, ticket));
            reply.is_none_or(|reply| {
                peer.waits_for = None;
                peer.tell(now, &reply)
            })
        });
    }

    /// Whether any waits for what `of` says.
    pub(crate) fn any_waits(&self, of: impl Fn(Ticket) -> bool) -> bool {
        self.list.iter().filter_map(|peer| peer.waits_for).any(of)
    }
}

/// Those that subscribe: by which socket, and as which user.
struct Audience {
    list: Vec<(Door, u32)>,
}

impl Audience {
    /// Whether there was a place for one more.
    fn admits(&mut self, door: Door, uid: u32) -> bool {
        let at_door = self.list.iter().filter(|it| it.0 == door).count();
        let has_place = match door {
            Door::Private => at_door < SUBSCRIBERS,
            Door::Public => at_door < SUBSCRIBED_STRANGERS && !self.list.contains(&(door, uid)),
        };
        if has_place {
            self.list.push((door, uid));
        }
        has_place
    }
}

/// Hears `peer`, or sends it what is left of its answer. Whether it keeps its
/// place.
fn hear(
    peer: &mut Peer,
    own_uid: u32,
    now: Moment,
    audience: &mut Audience,
    answer: &mut impl FnMut(control::Peer, &Request) -> Wanted,
) -> bool {
    if peer.waits_for.is_some() {
        // It has hung up.
        return false;
    }
    if peer.connection.flush().is_err() || !peer.stays() {
        return false;
    }
    // It may say several things at once, which are answered in order.
    while peer.is_idle() {
        match hear_one(peer, own_uid, now, audience, answer) {
            ControlFlow::Continue(()) => {}
            ControlFlow::Break(stays) => return stays,
        }
    }
    true
}

/// Hears one call of `peer`. Ends with whether it keeps its place when it has
/// nothing more to say.
fn hear_one(
    peer: &mut Peer,
    own_uid: u32,
    now: Moment,
    audience: &mut Audience,
    answer: &mut impl FnMut(control::Peer, &Request) -> Wanted,
) -> ControlFlow<bool> {
    let call = match peer.connection.receive() {
        Ok(None) => return ControlFlow::Break(true),
        Ok(Some(call)) => call,
        Err(ConnectionError::Call(denial)) => {
            // What follows a message without an end is none.
            peer.is_last = matches!(denial, Denial::NotUnderstood { .. });
            return keeps(peer.tell(now, &Reply::Refused(denial)));
        }
        Err(_) => return ControlFlow::Break(false),
    };
    peer.calls += 1;
    peer.is_last = peer.door == Door::Public && STRANGERS_CALLS <= peer.calls;
    let may_ask = may_ask_relief(peer.connection.peer().uid, own_uid);
    let wanted = match &call.request {
        Request::Relief | Request::Reload if !may_ask => {
            Wanted::Reply(Denial::not_permitted().into())
        }
        request => answer(peer.connection.peer(), request),
    };
    match wanted {
        Wanted::Reply(reply) if !call.oneway => return keeps(peer.tell(now, &reply)),
        Wanted::Later(ticket) if !call.oneway => {
            peer.waits_for = Some(ticket);
            peer.until = now + ANSWER_PATIENCE;
        }
        Wanted::Subscription(first) if !call.oneway && !peer.subscribes => {
            let uid = peer.connection.peer().uid;
            if !audience.admits(peer.door, uid) {
                return keeps(peer.tell(now, &Denial::TooMany {}.into()));
            }
            peer.subscribes = true;
            peer.is_last = false;
            let stays = peer.tell(now, &first);
            peer.until = now + FOR_LONG;
            return keeps(stays);
        }
        Wanted::Reply(_) | Wanted::Later(_) | Wanted::Subscription(_) => {
            return keeps(peer.stays());
        }
    }
    ControlFlow::Continue(())
}

fn keeps(stays: bool) -> ControlFlow<bool> {
    match stays {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(false),
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use control::{Call, EventKind, Happened};

    use super::*;
    use crate::stand_in::at;

    const SUBSCRIBE: &[u8] = b"{\"method\":\"io.user-oom.Control.Subscribe\",\"more\":true}\0";
    const STATUS: &[u8] = b"{\"method\":\"io.user-oom.Control.Status\"}\0";

    fn event() -> Reply {
        Reply::Event(Box::new(Happened::now(EventKind::Level)))
    }

    /// Peers at a socket of their own, and its path.
    struct Stage {
        peers: Peers,
        bell: Bell,
        folder: tempfile::TempDir,
    }

    impl Stage {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let place = Place::at(&folder.path().join("socket")).expect("it is short");
            let own_uid = nix::unistd::geteuid().as_raw();
            let peers = Peers::open(Some(place), own_uid);
            Self {
                peers: peers.unwrap_or_else(|err| panic!("{err}")),
                bell: Bell::new().expect("an eventfd"),
                folder,
            }
        }

        fn client(&self) -> UnixStream {
            let socket = UnixStream::connect(self.folder.path().join("socket.private"));
            socket.expect("it listens")
        }

        /// Lets in and hears all that wait.
        fn turn(&mut self, second: u32) {
            let now = at(Duration::from_secs(1) * second);
            for _ in 0..2 {
                self.peers.tend(now);
                let waited = self.peers.wait(&self.bell, now, Duration::ZERO);
                waited.expect("poll(2)");
                self.peers.hear_all(now, |_, request| match request {
                    Request::Subscribe => Wanted::Subscription(event()),
                    _ => Wanted::Reply(Reply::info()),
                });
            }
            self.peers.tend(now);
        }
    }

    /// The messages that are there; whether it was hung up on after them.
    fn read(client: &mut UnixStream) -> (Vec<String>, bool) {
        client.set_nonblocking(true).expect("it is a socket");
        let mut bytes = Vec::new();
        let is_over = client.read_to_end(&mut bytes).is_ok();
        let text = String::from_utf8(bytes).expect("it is JSON");
        (
            text.split_terminator('\0').map(str::to_owned).collect(),
            is_over,
        )
    }

    #[test]
    fn a_subscriber_that_does_not_read_is_told_so_and_hung_up_on() {
        assert!(Call::decode(&SUBSCRIBE[..SUBSCRIBE.len() - 1]).is_ok());
        let mut stage = Stage::new();
        let [mut idle, mut reads] = [stage.client(), stage.client()];
        for client in [&mut idle, &mut reads] {
            client.write_all(SUBSCRIBE).expect("it is heard");
        }
        stage.turn(1);
        let mut told = read(&mut reads).0.len();
        for _ in 0..10_000 {
            stage
                .peers
                .tell_subscribers(at(Duration::from_secs(1)), |_| event());
            told += read(&mut reads).0.len();
        }
        assert_eq!(told, 10_001);
        let subscribe = stage.peers.list.iter().filter(|peer| peer.subscribes);
        assert_eq!(subscribe.count(), 1);
        let (mut messages, mut is_over) = (Vec::new(), false);
        while !is_over {
            let (more, over) = read(&mut idle);
            messages.extend(more);
            is_over = over;
            stage.turn(1);
        }
        let last = messages.last().expect("some were told");
        assert!(last.contains("io.user-oom.Control.TooSlow"), "{last}");
        assert!(messages.len() < 10_000, "{}", messages.len());
    }

    #[test]
    fn subscribers_take_no_other_clients_place_and_are_so_many_at_most() {
        let mut stage = Stage::new();
        let mut clients = Vec::new();
        for _ in 0..SUBSCRIBERS + 1 {
            let mut client = stage.client();
            client.write_all(SUBSCRIBE).expect("it is heard");
            stage.turn(1);
            clients.push(client);
        }
        let first = |client| read(client).0.remove(0);
        let mut refused = clients.pop().expect("it is the last");
        assert!(first(&mut refused).contains("io.user-oom.Control.TooMany"));
        for client in &mut clients {
            assert!(first(client).contains(r#""continues":true"#));
        }
        // An hour later they are there, and others are heard.
        stage.turn(3600);
        let mut other = stage.client();
        other.write_all(STATUS).expect("it is heard");
        stage.turn(3601);
        assert!(first(&mut other).contains("parameters"));
        stage
            .peers
            .tell_subscribers(at(Duration::from_secs(3601)), |_| event());
        assert!(clients.iter_mut().all(|client| read(client).0.len() == 1));
    }
}
