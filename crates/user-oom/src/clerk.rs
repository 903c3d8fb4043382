//! The thread that answers at the control sockets.
//!
//! It answers from a copy of what the loop has to show, which the loop renews
//! each round; only what is to be done is handed to the loop. The loop waits for
//! nothing here: it writes to one of two copies while the thread may read the
//! other, and passes a turn where it cannot.

use std::cmp::Reverse;
use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use control::{
    CandidateRow, Condition, Denial, EventKind, Happened, Peer, Place, PlaceError, PlannedKill,
    RefusedEntry, Relief, Reply, Request, Status, may_ask_relief,
};
use oom_policy::{
    Candidate, Cost, Decision, Moment, PauseRefusal, Process, cheapest_with, cheapest_without,
};

use crate::buffer::reserve_to;
use crate::enrol::Enroller;
use crate::metrics::{Figures, MetricSample};
use crate::paused::why_unpaused;
use crate::peers::{Peers, Ticket, Wanted};
use crate::refusals::{Refusals, RefusedFor};
use crate::tell::bell::Bell;
use crate::tell::fates::Fates;
use crate::tell::feed::{Feed, FeedItem};
use crate::tell::lane::Lane;
use crate::turns::{NotTurned, UnitWish, WishOutcome};

/// Messages between the loop and the thread that wait to be read.
const QUEUE: usize = 16;
/// What anybody may ask for leaves room for so many that root alone may.
const LEFT_FREE: usize = QUEUE / 2;
/// Lines that wait to be written.
pub(crate) const LINES: usize = 16;
/// So many candidates are told at most.
const MOST_ROWS: usize = 200;
/// Of so many is told what would be killed in their place,
const ALTERNATIVES: usize = 4;
/// naming so many.
const NAMED: usize = 5;
/// To read and write JSON of a few levels.
const STACK_BYTES: usize = 128 * 1024;
/// A plan is told to all that ask for so long: drawing one takes the loop
/// milliseconds.
pub(crate) const PLAN_LASTS: Duration = Duration::from_millis(200);
/// How long the end waits for the sockets to be taken away.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the loop has to show.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) status: Status,
    pub(crate) fates: Fates,
    pub(crate) plans: Plans,
    pub(crate) refusals: Refusals,
    pub(crate) figures: Figures,
}

/// What would be killed at either threshold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plans {
    /// How many requests for it were heard by then.
    pub(crate) until: u64,
    /// When that was.
    pub(crate) drawn: Option<Moment>,
    pub(crate) warn: Plan,
    pub(crate) kill: Plan,
    /// What was killed last, and when that was decided.
    pub(crate) last: Plan,
    pub(crate) last_at: Moment,
}

impl Plans {
    /// Becomes a copy of `other`, in the room that it has.
    pub(crate) fn follow(&mut self, other: &Self) {
        if self.until != other.until {
            self.until = other.until;
            self.drawn = other.drawn;
            self.warn.follow(&other.warn);
            self.kill.follow(&other.kill);
        }
        self.follow_last(other);
    }

    /// The same of what was killed.
    pub(crate) fn follow_last(&mut self, other: &Self) {
        if self.last_at != other.last_at {
            self.last_at = other.last_at;
            self.last.follow(&other.last);
        }
    }

    /// The lines that say what else could have been killed in place of the victim
    /// `pid`; none where it was not the last decision that killed it.
    fn instead_of(&self, pid: u32, viewer: Viewer) -> String {
        let place = self.last.place_of(pid);
        let place = place.filter(|place| self.last.candidates[*place].chosen);
        place.map_or_else(String::new, |place| {
            format!("\n{}", self.last.alternatives(place, viewer))
        })
    }
}

/// What would be killed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) need_bytes: u64,
    pub(crate) frees_bytes: u64,
    pub(crate) covers_need: bool,
    pub(crate) candidates: Vec<Candidate>,
    /// The user of each.
    pub(crate) uids: Vec<u32>,
}

impl Plan {
    /// Becomes what `decision` is.
    pub(crate) fn take(&mut self, decision: &Decision, processes: &[Process]) {
        self.need_bytes = decision.need_bytes;
        self.frees_bytes = decision.frees_bytes;
        self.covers_need = decision.covers_need;
        self.candidates.clone_from(&decision.candidates);
        let uid = |it: &Candidate| Process::find(processes, it.leader).map_or(0, |it| it.uid);
        self.uids.clear();
        self.uids.extend(self.candidates.iter().map(uid));
    }

    /// Becomes a copy of `other`, in the room that it has.
    fn follow(&mut self, other: &Self) {
        self.need_bytes = other.need_bytes;
        self.frees_bytes = other.frees_bytes;
        self.covers_need = other.covers_need;
        self.candidates.clone_from(&other.candidates);
        self.uids.clone_from(&other.uids);
    }

    /// Makes room for the candidates among so many processes.
    pub(crate) fn reserve(&mut self, processes: usize) {
        reserve_to(&mut self.candidates, processes);
        reserve_to(&mut self.uids, processes);
    }

    /// For `viewer`: of other users' processes only what all may know.
    fn told(&self, level: Condition, viewer: Viewer) -> PlannedKill {
        let mut rows: Vec<_> = (0..).zip(&self.candidates).zip(&self.uids).collect();
        rows.sort_by_key(|((_, it), _)| {
            let is_registered = it.explanation.value().is_some();
            (!it.chosen, !is_registered, Reverse(it.held_bytes))
        });
        let count = rows.len();
        rows.truncate(MOST_ROWS);
        let unshown = u32::try_from(count - rows.len()).unwrap_or(u32::MAX);
        let dear = self.dearest_chosen();
        let row = |((place, it), uid): ((usize, &Candidate), &u32)| CandidateRow {
            pid: it.leader.pid,
            name: viewer.may_name(*uid).then(|| it.name.to_string()),
            uid: *uid,
            processes: it.processes,
            value: it.explanation.value(),
            cost: it.explanation.cost.to_string(),
            why: it.explanation.to_string(),
            held_bytes: it.held_bytes,
            frees_bytes: it.frees_bytes,
            growth_bytes_per_second: it.growth_bytes_per_second,
            paused: it.is_paused,
            chosen: it.chosen,
            instead: dear.contains(&place).then(|| self.without(place, viewer)),
        };
        PlannedKill {
            level,
            need_bytes: self.need_bytes,
            frees_bytes: self.frees_bytes,
            covers_need: self.covers_need,
            candidates: rows.into_iter().map(row).collect(),
            unshown,
        }
    }

    /// Those chosen for which it is told what would be killed in their place.
    fn dearest_chosen(&self) -> Vec<usize> {
        let chosen = |place: &usize| self.candidates[*place].chosen;
        let mut dear: Vec<_> = (0..self.candidates.len()).filter(chosen).collect();
        dear.sort_by_key(|place| Reverse(self.candidates[*place].explanation.cost));
        dear.truncate(ALTERNATIVES);
        dear
    }

    /// Why `pid` would be killed at the warn threshold, or not.
    fn explain(&self, pid: u32, viewer: Viewer) -> Result<String, Denial> {
        let place = self.place_of(pid).ok_or_else(|| Denial::NoEntry {
            why: format!(
                "process {pid} is not a candidate: it is gone, never killed, or part of another's \
                 unit (see `user-oomctl list`)"
            ),
        })?;
        let fate = match self.candidates[place].chosen {
            true => "would be killed",
            false => "would be kept",
        };
        let alternatives = self.alternatives(place, viewer);
        let need = self.need_bytes >> 20;
        Ok(format!(
            "{} {fate} at the warn threshold, where {need} MiB would be needed:\n{alternatives}",
            self.described(place, viewer)
        ))
    }

    /// The same of what was decided.
    fn explain_kept(&self, pid: u32, ago: Duration, viewer: Viewer) -> Option<String> {
        let place = self.place_of(pid)?;
        let (ago, need) = (ago.as_secs_f64(), self.need_bytes >> 20);
        let alternatives = self.alternatives(place, viewer);
        Some(format!(
            "{} was kept {ago:.1} s ago, when {need} MiB were needed:\n{alternatives}",
            self.described(place, viewer)
        ))
    }

    fn place_of(&self, pid: u32) -> Option<usize> {
        self.candidates.iter().position(|it| it.leader.pid == pid)
    }

    fn described(&self, place: usize, viewer: Viewer) -> String {
        let it = &self.candidates[place];
        let (name, why, frees) = (self.name(it, viewer), it.explanation, it.frees_bytes >> 20);
        format!("{name} ({why}; frees {frees} MiB)")
    }

    /// What was chosen, and the cheapest choice that treats the candidate at
    /// `place` the other way.
    fn alternatives(&self, place: usize, viewer: Viewer) -> String {
        let chosen = self.candidates.iter().filter(|it| it.chosen);
        let chosen: Vec<_> = chosen.copied().collect();
        let ours = match &*chosen {
            [] => "kill nothing: all candidates together free less".to_owned(),
            _ => self.set(&chosen, viewer),
        };
        let (which, other) = match self.candidates[place].chosen {
            true => ("without it", self.without(place, viewer)),
            false => {
                let with = cheapest_with(&self.candidates, place, self.need_bytes);
                ("with it   ", self.set_or_none(with, viewer))
            }
        };
        format!("  cheapest choice      {ours}\n  cheapest {which}  {other}")
    }

    /// The cheapest choice that keeps the candidate at `place`.
    fn without(&self, place: usize, viewer: Viewer) -> String {
        let without = cheapest_without(&self.candidates, place, self.need_bytes);
        self.set_or_none(without, viewer)
    }

    fn set_or_none(&self, chosen: Option<Vec<Candidate>>, viewer: Viewer) -> String {
        chosen.map_or_else(
            || format!("no choice frees {} MiB", self.need_bytes >> 20),
            |chosen| self.set(&chosen, viewer),
        )
    }

    /// `kill 740 resnet and 741 sort: cost 9`
    fn set(&self, chosen: &[Candidate], viewer: Viewer) -> String {
        let cost: Cost = chosen.iter().map(|it| it.explanation.cost).sum();
        let mut chosen: Vec<_> = chosen.iter().collect();
        chosen.sort_by_key(|it| Reverse(it.explanation.cost));
        let named = chosen.iter().take(NAMED).map(|it| self.name(it, viewer));
        let mut names: Vec<_> = named.collect();
        let others = chosen.len() - names.len();
        if others > 0 {
            names.push(format!("{others} others"));
        }
        let last = names.pop().unwrap_or_default();
        let and = if names.is_empty() { "" } else { " and " };
        format!("kill {}{and}{last}: cost {cost}", names.join(", "))
    }

    /// Its pid, and its name where `viewer` may know it.
    fn name(&self, it: &Candidate, viewer: Viewer) -> String {
        let place = self.place_of(it.leader.pid);
        let uid = place.and_then(|place| self.uids.get(place));
        match uid {
            Some(uid) if viewer.may_name(*uid) => format!("{} {}", it.leader.pid, it.name),
            _ => format!("{} -", it.leader.pid),
        }
    }
}

/// Which processes' names may be told.
#[derive(Clone, Copy, Debug)]
struct Viewer {
    uid: u32,
    sees_all: bool,
}

impl Viewer {
    fn new(peer: Peer, own_uid: u32) -> Self {
        Self {
            uid: peer.uid,
            sees_all: may_ask_relief(peer.uid, own_uid),
        }
    }

    fn may_name(self, uid: u32) -> bool {
        self.sees_all || self.uid == uid
    }
}

/// What the thread has to tell the loop.
#[derive(Debug)]
pub(crate) enum FromClerk {
    /// Relief is asked for, for the so many-th time.
    Relief(u64),
    /// A plan is, for the so many-th time.
    Plan(u64),
    /// A reload is, by a process that is said so.
    Reload(u64, Peer),
    /// A person wants a unit paused,
    Pause(UnitWish),
    /// or to go on.
    Thaw(UnitWish),
    /// Another daemon has our lock.
    Displaced(PlaceError),
}

/// What the loop has to tell the thread.
#[derive(Debug)]
enum FromLoop {
    /// What came of the last so many requests for relief.
    Relief {
        until: u64,
        told: Result<Relief, Denial>,
    },
    /// What came of the request of that number that a unit be paused or thawed.
    Turned { number: u64, told: WishOutcome },
}

/// Two copies; `current` is the one that counts, and the loop writes to the
/// other.
#[derive(Debug)]
struct Shared {
    copies: [Mutex<Picture>; 2],
    current: AtomicUsize,
    /// There is something to show.
    is_drawn: AtomicBool,
    to_clerk: Arc<Bell>,
    to_loop: Bell,
    /// What came of reloads; written by the loop in quiet rounds.
    reloaded: Mutex<Vec<(u64, Result<String, String>)>>,
    /// Any subscribes to what happens.
    is_watched: Arc<AtomicBool>,
}

impl Shared {
    fn look<T>(&self, at: impl FnOnce(&Picture) -> T) -> T {
        let current = self.current.load(Ordering::SeqCst);
        let picture = self.copies[current].lock();
        at(&picture.unwrap_or_else(PoisonError::into_inner))
    }

    fn sample(&self) -> MetricSample {
        self.look(|picture| MetricSample {
            status: picture.status.clone(),
            figures: picture.figures,
        })
    }
}

/// What the loop shows, for another thread.
#[derive(Clone, Debug)]
pub(crate) struct View {
    shared: Arc<Shared>,
}

impl View {
    /// `None` before the first round.
    pub(crate) fn sample(&self) -> Option<MetricSample> {
        let is_drawn = self.shared.is_drawn.load(Ordering::SeqCst);
        is_drawn.then(|| self.shared.sample())
    }
}

/// Tells the thread what came of a reload.
#[derive(Clone, Debug)]
pub(crate) struct ReloadEar {
    shared: Arc<Shared>,
    number: u64,
}

impl ReloadEar {
    /// Never waits for longer than the thread takes to empty a list.
    pub(crate) fn hear(&self, told: &Result<String, String>) {
        let reloaded = self.shared.reloaded.lock();
        let mut reloaded = reloaded.unwrap_or_else(PoisonError::into_inner);
        reloaded.push((self.number, told.clone()));
        drop(reloaded);
        self.shared.to_clerk.ring();
    }
}

/// The loop's side. The sockets are taken away when it is dropped.
#[derive(Debug)]
pub(crate) struct Clerk {
    shared: Arc<Shared>,
    outcomes: rtrb::Producer<FromLoop>,
    wishes: rtrb::Consumer<FromClerk>,
    /// The last request for relief that was heard of.
    asked: u64,
    /// Nothing is sent; it is closed when the thread ends.
    ended: Receiver<Infallible>,
    /// Where there is no thread, what keeps a second daemon away.
    _lock: Option<Peers>,
}

impl Clerk {
    /// Makes the sockets at `place`, and starts the thread, which tells `lane`.
    /// `origin`: of the loop's times. Without sockets, or without a thread, the
    /// daemon guards all the same.
    ///
    /// # Errors
    ///
    /// - [`ClerkError::Place`]: another daemon is running.
    /// - [`ClerkError::Bell`]: the kernel has no eventfd to give.
    pub(crate) fn spawn(
        place: Option<Place>,
        enroller: Enroller,
        origin: Instant,
        lane: Lane,
    ) -> Result<(Self, Feed), ClerkError> {
        let peers = Peers::open(place, enroller.own_uid).map_err(ClerkError::Place)?;
        let picture = Picture {
            status: Status {
                pid: std::process::id(),
                ..Status::default()
            },
            fates: Fates::new(),
            plans: Plans::default(),
            refusals: Refusals::default(),
            figures: Figures::default(),
        };
        let shared = Arc::new(Shared {
            copies: [Mutex::new(picture.clone()), Mutex::new(picture)],
            current: AtomicUsize::new(0),
            is_drawn: AtomicBool::new(false),
            to_clerk: Arc::new(Bell::new().map_err(ClerkError::Bell)?),
            to_loop: Bell::new().map_err(ClerkError::Bell)?,
            reloaded: Mutex::default(),
            is_watched: Arc::default(),
        });
        let (feed, events) =
            Feed::new(Arc::clone(&shared.is_watched), Arc::clone(&shared.to_clerk));
        let (outcomes, outcomes_end) = rtrb::RingBuffer::new(QUEUE);
        let (wishes, wishes_end) = rtrb::RingBuffer::new(QUEUE);
        let (sender, ended) = mpsc::channel();
        let mut desk = Desk {
            shared: Arc::clone(&shared),
            origin,
            outcomes: outcomes_end,
            wishes,
            asked: 0,
            planned: 0,
            reloads: 0,
            turns: 0,
            events,
            enroller,
            lane,
        };
        // What the thread is given is gone where it cannot be started.
        let (hand, handed) = mpsc::channel::<Peers>();
        let thread = thread::Builder::new()
            .name("clerk".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let _sender = sender;
                if let Ok(mut peers) = handed.recv() {
                    desk.serve(&mut peers);
                }
            });
        let lock = match thread {
            Ok(_) => hand.send(peers).err().map(|err| err.0),
            Err(err) => {
                log::warn!("the control socket is off: cannot start its thread: {err}");
                Some(peers.close())
            }
        };
        let clerk = Self {
            shared,
            outcomes,
            wishes: wishes_end,
            asked: 0,
            ended,
            _lock: lock,
        };
        Ok((clerk, feed))
    }

    /// Readable when [`Clerk::next`] has something.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.shared.to_loop.as_fd()
    }

    /// What the thread has to tell. Nothing more comes before the descriptor is
    /// readable again.
    pub(crate) fn next(&mut self) -> Option<FromClerk> {
        self.shared.to_loop.hush();
        let wish = self.wishes.pop().ok()?;
        if let FromClerk::Relief(number) = wish {
            self.asked = number;
        }
        Some(wish)
    }

    /// Tells all that have asked for relief until now what came of it.
    pub(crate) fn answer(&mut self, told: Result<Relief, Denial>) {
        // Were it full, the thread would have been told the same already.
        let until = self.asked;
        let _ = self.outcomes.push(FromLoop::Relief { until, told });
        self.shared.to_clerk.ring();
    }

    /// Tells the one that has asked so that a unit be paused or thawed.
    pub(crate) fn turned(&mut self, number: u64, told: WishOutcome) {
        // Were it full, that one would wait in vain, and ask again.
        let _ = self.outcomes.push(FromLoop::Turned { number, told });
        self.shared.to_clerk.ring();
    }

    /// What tells the thread what came of the reload of that number.
    pub(crate) fn ear(&self, number: u64) -> ReloadEar {
        ReloadEar {
            shared: Arc::clone(&self.shared),
            number,
        }
    }

    /// What is shown.
    pub(crate) fn view(&self) -> View {
        View {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Shows what was asked for. To be called after [`Clerk::show`].
    pub(crate) fn ring(&self) {
        self.shared.to_clerk.ring();
    }

    /// Shows how things are now. Where the thread is reading the copy before the
    /// last, the last stays.
    pub(crate) fn show(&self, draw: impl FnOnce(&mut Picture)) {
        let other = 1 - self.shared.current.load(Ordering::SeqCst);
        let Ok(mut picture) = self.shared.copies[other].try_lock() else {
            return;
        };
        draw(&mut picture);
        drop(picture);
        self.shared.current.store(other, Ordering::SeqCst);
        if !self.shared.is_drawn.swap(true, Ordering::SeqCst) {
            self.shared.to_clerk.ring();
        }
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        self.shared.to_clerk.ring_the_end();
        let _ = self.ended.recv_timeout(FAREWELL);
    }
}

/// Why the daemon cannot run.
#[derive(Debug)]
pub(crate) enum ClerkError {
    Place(PlaceError),
    Bell(std::io::Error),
}

/// The thread's side.
#[derive(Debug)]
struct Desk {
    shared: Arc<Shared>,
    origin: Instant,
    outcomes: rtrb::Consumer<FromLoop>,
    events: rtrb::Consumer<FeedItem>,
    wishes: rtrb::Producer<FromClerk>,
    asked: u64,
    planned: u64,
    reloads: u64,
    turns: u64,
    enroller: Enroller,
    lane: Lane,
}

impl Desk {
    fn serve(&mut self, peers: &mut Peers) {
        while !self.shared.is_drawn.load(Ordering::SeqCst) {
            let waited = self.shared.to_clerk.wait(std::iter::empty(), None);
            if self.shared.to_clerk.is_over() || waited.is_err() {
                return;
            }
        }
        loop {
            let now = Moment::after_origin(self.origin.elapsed());
            if self.shared.to_clerk.is_over() {
                return;
            }
            self.answer_waiting(now, peers);
            self.tell_subscribers(now, peers);
            if let Err(err) = peers.restore(now, &mut self.lane) {
                self.tell(FromClerk::Displaced(err));
                return;
            }
            let pause = peers.tend(now);
            if peers.wait(&self.shared.to_clerk, now, pause).is_err() {
                return;
            }
            let now = Moment::after_origin(self.origin.elapsed());
            peers.hear_all(now, |peer, call| self.answer(now, peer, call));
        }
    }

    /// Answers those that wait for what has come by now.
    fn answer_waiting(&mut self, now: Moment, peers: &mut Peers) {
        while let Ok(outcome) = self.outcomes.pop() {
            match outcome {
                FromLoop::Relief { until, told } => {
                    let reply = told.map_or_else(Reply::Refused, Reply::Relief);
                    peers.answer(now, |_, ticket| {
                        let is_for_it = matches!(ticket, Ticket::Relief(it) if it <= until);
                        is_for_it.then(|| reply.clone())
                    });
                }
                FromLoop::Turned { number, told } => {
                    let reply = match told {
                        Ok(unit) => Reply::Entry { pid: unit.pid },
                        Err(why) => denial(why).into(),
                    };
                    let is_for_it = |ticket| ticket == Ticket::Turn(number);
                    peers.answer(now, |_, ticket| is_for_it(ticket).then(|| reply.clone()));
                }
            }
        }
        let reloaded = self.shared.reloaded.lock();
        let reloaded = std::mem::take(&mut *reloaded.unwrap_or_else(PoisonError::into_inner));
        for (number, told) in reloaded {
            let reply = match told {
                Ok(told) => Reply::Told(told),
                Err(why) => Denial::NotReloaded { why }.into(),
            };
            let is_for_it = |ticket| ticket == Ticket::Reload(number);
            peers.answer(now, |_, ticket| is_for_it(ticket).then(|| reply.clone()));
        }
        let waits = |it| matches!(it, Ticket::Plan(..) | Ticket::Explain(..));
        if peers.any_waits(waits) {
            let own_uid = self.enroller.own_uid;
            self.look(|picture| {
                peers.answer(now, |peer, ticket| {
                    plan_told(picture, peer, own_uid, ticket)
                });
            });
        }
    }

    /// Hands on what has happened.
    fn tell_subscribers(&mut self, now: Moment, peers: &mut Peers) {
        let own_uid = self.enroller.own_uid;
        while let Ok(item) = self.events.pop() {
            peers.tell_subscribers(now, |peer| {
                let sees_all = may_ask_relief(peer.uid, own_uid);
                let happened = item.told(|uid| sees_all || uid == peer.uid);
                Reply::Event(Box::new(happened))
            });
        }
        let is_watched = peers.any_subscribes();
        self.shared.is_watched.store(is_watched, Ordering::Release);
    }

    /// The first that a subscriber is told.
    fn subscribe(&self) -> Wanted {
        // What happens from here on is in the ring when the next are told.
        self.shared.is_watched.store(true, Ordering::Release);
        let status = self.look(|picture| picture.status.clone());
        Wanted::Subscription(Reply::Event(Box::new(Happened {
            level: Some(status.level),
            available_bytes: Some(status.available_bytes),
            swap_free_bytes: Some(status.swap_free_bytes),
            ..Happened::now(EventKind::Level)
        })))
    }

    /// The entries that do not count and are `peer`'s, or for its processes, where
    /// those still run.
    fn refused(&self, peer: Peer) -> Vec<RefusedEntry> {
        let sees_all = may_ask_relief(peer.uid, self.enroller.own_uid);
        let sees = |it: &&RefusedFor| sees_all || it.concerns(peer.uid);
        let mut list = self.look(|picture| {
            let list = picture.refusals.list.iter();
            list.filter(sees).cloned().collect::<Vec<_>>()
        });
        list.retain(|it| self.enroller.runs(it.id));
        list.into_iter().map(RefusedFor::told).collect()
    }

    /// What comes of pausing, or thawing, the unit that `pid` is in.
    fn turned(&mut self, peer: Peer, pid: u32, wish: fn(UnitWish) -> FromClerk) -> Wanted {
        let ticket = self.turn(peer, pid, wish);
        ticket.map_or_else(|denial| Wanted::Reply(denial.into()), Wanted::Later)
    }

    /// Has the loop pause, or thaw, the unit that `pid` is in.
    fn turn(
        &mut self,
        peer: Peer,
        pid: u32,
        wish: fn(UnitWish) -> FromClerk,
    ) -> Result<Ticket, Denial> {
        let id = self.enroller.process(peer, pid)?;
        let number = self.turns + 1;
        let sees_all = may_ask_relief(peer.uid, self.enroller.own_uid);
        let uid = (!sees_all).then_some(peer.uid);
        let wish = wish(UnitWish { number, id, uid });
        let is_told = match uid {
            Some(_) => self.tell_for_users(wish),
            None => self.tell(wish),
        };
        if !is_told {
            return Err(denial(NotTurned::Crowded));
        }
        self.turns = number;
        Ok(Ticket::Turn(number))
    }

    fn answer(&mut self, now: Moment, peer: Peer, request: &Request) -> Wanted {
        Wanted::Reply(match request {
            Request::Plan { level } => {
                return self.plan(now, peer, |number| Ticket::Plan(number, *level));
            }
            Request::Explain { pid } => {
                let viewer = Viewer::new(peer, self.enroller.own_uid);
                match self.look(|picture| explained(picture, now, *pid, viewer)) {
                    Some(reply) => reply,
                    None => return self.plan(now, peer, |number| Ticket::Explain(number, *pid)),
                }
            }
            Request::History => {
                let viewer = Viewer::new(peer, self.enroller.own_uid);
                Reply::History(self.look(|it| it.fates.all(now, |uid| viewer.may_name(uid))))
            }
            Request::Register { .. } | Request::Unregister { .. } | Request::Saved { .. } => {
                let done = self.enroller.carry_out(peer, request);
                done.unwrap_or_else(Reply::Refused)
            }
            Request::Pause { pid } => return self.turned(peer, *pid, FromClerk::Pause),
            Request::Thaw { pid } => return self.turned(peer, *pid, FromClerk::Thaw),
            Request::Metrics => {
                // Where text has no room there is nothing to be said either.
                let text = self.shared.sample().open_metrics();
                Reply::Metrics(text.unwrap_or_default())
            }
            Request::Refused => Reply::Entries(self.refused(peer)),
            Request::Subscribe => return self.subscribe(),
            Request::Reload => {
                self.reloads += 1;
                let number = self.reloads;
                if !self.tell(FromClerk::Reload(number, peer)) {
                    let why = "other requests are already waiting".to_owned();
                    return Wanted::Reply(Denial::NotReloaded { why }.into());
                }
                return Wanted::Later(Ticket::Reload(number));
            }
            Request::Relief => {
                self.asked += 1;
                let number = self.asked;
                if !self.tell(FromClerk::Relief(number)) {
                    // So many ask at once that one before it stands for it.
                    self.asked -= 1;
                }
                return Wanted::Later(Ticket::Relief(self.asked));
            }
            Request::Status => Reply::Status(self.look(|picture| picture.status.clone())),
            Request::Fate { pid } => self.look(|picture| picture.fates.tell(now, *pid)),
            Request::Info => Reply::info(),
            Request::Description { interface } => Reply::description(interface),
        })
    }

    /// What comes of `ticket`, which is for a plan: at once where one was just drawn.
    fn plan(&mut self, now: Moment, peer: Peer, ticket: impl Fn(u64) -> Ticket) -> Wanted {
        let own_uid = self.enroller.own_uid;
        let told = self.look(|picture| {
            let is_recent = |drawn| now.since(drawn) < PLAN_LASTS;
            let is_there = picture.plans.drawn.is_some_and(is_recent);
            match picture.status.level {
                Condition::Ok if is_there => {
                    plan_told(picture, peer, own_uid, ticket(picture.plans.until))
                }
                Condition::Ok => None,
                _ => Some(Denial::Busy {}.into()),
            }
        });
        told.map_or_else(|| Wanted::Later(ticket(self.want_plan())), Wanted::Reply)
    }

    /// Asks for a plan.
    fn want_plan(&mut self) -> u64 {
        let number = self.planned + 1;
        if self.tell_for_users(FromClerk::Plan(number)) {
            self.planned = number;
        }
        self.planned
    }

    /// Whether the loop has room for it and for what root alone may ask for.
    fn tell_for_users(&mut self, wish: FromClerk) -> bool {
        LEFT_FREE < self.wishes.slots() && self.tell(wish)
    }

    /// Whether the loop has room for it.
    fn tell(&mut self, wish: FromClerk) -> bool {
        let told = self.wishes.push(wish).is_ok();
        self.shared.to_loop.ring();
        told
    }

    fn look<T>(&self, at: impl FnOnce(&Picture) -> T) -> T {
        self.shared.look(at)
    }
}

/// Why a unit was not paused, or thawed.
fn denial(why: NotTurned) -> Denial {
    let why = match why {
        NotTurned::DryRun => return Denial::DryRun {},
        NotTurned::Refused(PauseRefusal::Short) => return Denial::Busy {},
        NotTurned::Refused(refusal) => match refusal {
            PauseRefusal::Off => "pausing is off (`--pause off`)".to_owned(),
            PauseRefusal::Short => "memory is short".to_owned(),
            PauseRefusal::Gone => "there is no such process".to_owned(),
            PauseRefusal::NotEligible => {
                "it is protected, not a candidate, or a victim that has not exited yet".to_owned()
            }
            PauseRefusal::OfAnotherUser => {
                "the unit has a process of another user: only root may".to_owned()
            }
            PauseRefusal::Unpausable(why) => why.to_string(),
            PauseRefusal::TooMany => "no more can be paused at once".to_owned(),
        },
        NotTurned::NotPaused => "it is not paused".to_owned(),
        NotTurned::Failed(errno) => why_unpaused(errno),
        NotTurned::Crowded => "other requests are already waiting".to_owned(),
    };
    Denial::NotPaused { why }
}

/// What was done to `pid`, or while memory is short, was decided about it last.
/// `None`: a plan says what would be done.
fn explained(picture: &Picture, now: Moment, pid: u32, viewer: Viewer) -> Option<Reply> {
    let plans = &picture.plans;
    if let Reply::Fate(fate) = picture.fates.tell(now, pid) {
        let instead = plans.instead_of(pid, viewer);
        return Some(Reply::Told(format!("{fate}{instead}")));
    }
    let ago = now.since(plans.last_at);
    (picture.status.level != Condition::Ok).then(|| {
        let told = plans.last.explain_kept(pid, ago, viewer);
        told.map_or(Denial::Busy {}.into(), Reply::Told)
    })
}

/// What waits for a plan is told this, once there is one or memory is short.
fn plan_told(picture: &Picture, peer: Peer, own_uid: u32, ticket: Ticket) -> Option<Reply> {
    let (Ticket::Plan(number, _) | Ticket::Explain(number, _)) = ticket else {
        return None;
    };
    let viewer = Viewer::new(peer, own_uid);
    let plans = &picture.plans;
    if plans.until < number {
        let is_short = picture.status.level != Condition::Ok;
        return is_short.then(|| Denial::Busy {}.into());
    }
    Some(match ticket {
        Ticket::Plan(_, Condition::Kill) => Reply::Plan(plans.kill.told(Condition::Kill, viewer)),
        Ticket::Explain(_, pid) => match plans.warn.explain(pid, viewer) {
            Ok(told) => Reply::Told(told),
            Err(denial) => denial.into(),
        },
        _ => Reply::Plan(plans.warn.told(Condition::Warn, viewer)),
    })
}
