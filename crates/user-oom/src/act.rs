//! Carries out what the policy decided, and keeps account of what comes of it.
//!
//! The one place from where signals are sent.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::resource::{Resource, getrlimit};
use oom_policy::{
    Action, Candidate, Cause, Cost, Decision, Level, Memory, NextKill, Outcome, Process, ProcessId,
    Refusal, Snapshot, Verdict,
};
use reaper::{Calls, ReapError, SecondHand, Signalled};
use sensors::{ProcRoot, ProcessTable};

use crate::fates::Fates;
use crate::record::{Heading, Record, Row, Signal, Victim};
use crate::scribe::Scribe;
use crate::watchdog::Heir;

/// Candidates that are printed beside the chosen and the registered.
const SHOWN: usize = 10;

/// What is left of the descriptors, whoever could be held ahead.
const SPARE_DESCRIPTORS: usize = 64;

/// How long sensing and deciding took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) read: Duration,
    pub(crate) choose: Duration,
}

/// What acts, and what it holds.
#[derive(Debug)]
pub(crate) struct Hands {
    root: ProcRoot,
    /// `None` where there was no thread for it.
    second_hand: Option<SecondHand>,
    dryrun: bool,
    /// By ascending id. Registered processes are held, so that their end is
    /// noticed; victims; and where the kernel asks before it kills, everybody
    /// who may be ended, since nothing can be opened then.
    holds: Vec<Hold>,
    /// So many are held ahead: the process table takes half of the
    /// descriptors, and without any left nothing can be read.
    ahead_at_most: usize,
    /// What was done and is yet to be told.
    done: Vec<Done>,
    next_token: u64,
    ended: u64,
    fates: Fates,
    /// From the first signal until all victims are gone.
    episode: Option<Episode>,
    /// Indices into a decision's candidates, while they are printed.
    order: Vec<u32>,
    /// Why nobody was ended the last time that was said.
    said: Option<(Cause, std::mem::Discriminant<Refusal>)>,
}

/// What was done to a process: less than half of a [`Record`], since room is
/// kept for as many as there are processes.
#[derive(Clone, Copy, Debug)]
enum Done {
    Signalled {
        victim: Victim,
        signal: Signal,
        first: bool,
        dry: bool,
    },
    Unsignalled {
        victim: Victim,
        errno: i32,
    },
}

impl From<Done> for Record {
    fn from(done: Done) -> Self {
        match done {
            Done::Signalled {
                victim,
                signal,
                first,
                dry,
            } => Self::Signalled {
                victim,
                signal,
                first,
                dry,
            },
            Done::Unsignalled { victim, errno } => Self::Unsignalled { victim, errno },
        }
    }
}

/// One process held by a descriptor that tells of its end.
#[derive(Debug)]
struct Hold {
    victim: reaper::Held,
    /// What stands for it in epoll, once that watches it.
    token: Option<u64>,
    registered: bool,
    /// Held for a last call, as anybody who may be ended.
    present: bool,
    /// The second hand is yet to free its memory.
    killed: bool,
    /// Since its first signal.
    ending: Option<Ending>,
    /// What it would be, were it killed by the watchdog.
    next: Option<Ending>,
}

/// A victim, from its first signal until it is gone.
#[derive(Clone, Copy, Debug)]
struct Ending {
    /// What was printed at its first signal,
    victim: Victim,
    /// when that was,
    since: Duration,
    /// what it held, and what is lost with it.
    held_bytes: u64,
    lost: Cost,
    /// It is still expected to end.
    is_awaited: bool,
}

impl Ending {
    fn new(now: Duration, victim: Victim, process: Option<&Process>, lost: Cost) -> Self {
        Self {
            victim,
            since: now,
            held_bytes: process.map_or(0, Process::held_bytes),
            lost,
            is_awaited: true,
        }
    }
}

/// A round of ends, and what it has come to so far: what did not end counts
/// for nothing.
#[derive(Clone, Copy, Debug)]
struct Episode {
    began: Duration,
    pool_bytes: Option<u64>,
    gone: u32,
    counted_bytes: u64,
    lost: Cost,
}

/// What came of a decision's actions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// How many were signalled.
    pub(crate) processes: u32,
    /// Whether any could not be.
    pub(crate) any_refused: bool,
}

impl Hands {
    /// `first_token`: from here on, epoll's data stand for processes held.
    pub(crate) fn new(
        root: ProcRoot,
        second_hand: Option<SecondHand>,
        dryrun: bool,
        first_token: u64,
        capacity: usize,
    ) -> Self {
        Self {
            root,
            second_hand,
            dryrun,
            holds: Vec::with_capacity(capacity),
            ahead_at_most: getrlimit(Resource::RLIMIT_NOFILE).map_or(usize::MAX, |(limit, _)| {
                let half = usize::try_from(limit / 2).unwrap_or(usize::MAX);
                half.saturating_sub(SPARE_DESCRIPTORS)
            }),
            done: touched(capacity, || {
                let nothing = ProcessId {
                    pid: 0,
                    start_ticks: 0,
                };
                Done::Unsignalled {
                    victim: describe(None, nothing, None),
                    errno: 0,
                }
            }),
            next_token: first_token,
            ended: 0,
            fates: Fates::new(),
            episode: None,
            order: touched(capacity, || 0),
            said: None,
        }
    }

    /// Whether somebody has been signalled who is still expected to end.
    pub(crate) fn are_busy(&self) -> bool {
        let is_awaited = |hold: &Hold| hold.ending.is_some_and(|ending| ending.is_awaited);
        self.holds.iter().any(is_awaited)
    }

    /// How many victims are gone since the start.
    pub(crate) fn ended_in_all(&self) -> u64 {
        self.ended
    }

    /// What was done to `pid`, for who asks.
    pub(crate) fn fate(&self, now: Duration, pid: u32) -> control::Reply {
        self.fates.tell(now, pid)
    }

    /// Makes room for so many processes; for quiet rounds.
    pub(crate) fn reserve(&mut self, processes: usize) {
        self.holds
            .reserve_exact(processes.saturating_sub(self.holds.len()));
        self.order
            .reserve_exact(processes.saturating_sub(self.order.len()));
        self.done
            .reserve_exact(processes.saturating_sub(self.done.len()));
    }

    /// Does what `decision` says about `snapshot`. What can be told at once of
    /// what became of it goes into `outcomes`.
    ///
    /// What need not be done at once comes after: [`Hands::free_killed`] and
    /// [`Hands::tell`].
    pub(crate) fn carry_out(
        &mut self,
        now: Duration,
        decision: &Decision,
        snapshot: &Snapshot,
        world: &mut World<'_>,
        outcomes: &mut Vec<Outcome>,
    ) -> Sent {
        let mut sent = Sent::default();
        let mut is_busy = self.are_busy();
        for action in &decision.actions {
            let (id, signal) = match *action {
                Action::Terminate(id) => (id, Signal::Term),
                Action::Kill(id) => (id, Signal::Kill),
            };
            // What is shown of it is read while it is there.
            let process = find(&snapshot.processes, id);
            let victim = describe(process, id, score(world, id.pid));
            let first = !self.is_signalled(id);
            let done = if self.dryrun {
                outcomes.push(Outcome::Unsent(id));
                Done::Signalled {
                    victim,
                    signal,
                    first: true,
                    dry: true,
                }
            } else {
                let ending = Ending::new(now, victim, process, lost(decision, id));
                match self.signal(ending, signal, world) {
                    Ok(Signalled::Sent) => {
                        sent.processes += 1;
                        if !is_busy {
                            is_busy = true;
                            self.begin(now, world.memory.map(|memory| memory.pool_bytes()));
                        }
                        let why = (decision.cause, decision.need_bytes);
                        self.fates.signalled(now, &victim, signal, why);
                        Done::Signalled {
                            victim,
                            signal,
                            first,
                            dry: false,
                        }
                    }
                    Ok(Signalled::Gone) => {
                        outcomes.push(match first {
                            true => Outcome::Unsent(id),
                            false => Outcome::Gone(id),
                        });
                        continue;
                    }
                    Err(err) => {
                        sent.any_refused = true;
                        outcomes.push(Outcome::Refused(id));
                        let errno = errno(&err);
                        Done::Unsignalled { victim, errno }
                    }
                }
            };
            self.done.push(done);
        }
        sent
    }

    /// Has the second hand free what those killed hold. It takes their locks,
    /// so it comes after all that must not wait.
    pub(crate) fn free_killed(&mut self) {
        for hold in &mut self.holds {
            if std::mem::take(&mut hold.killed)
                && let Some(second_hand) = &self.second_hand
            {
                second_hand.release(&hold.victim);
            }
        }
    }

    /// Says what was decided, and then what was done about it.
    pub(crate) fn tell(
        &mut self,
        decision: &Decision,
        snapshot: &Snapshot,
        took: Took,
        world: &mut World<'_>,
    ) {
        match (decision.cause, decision.verdict) {
            (None, _) => self.said = None,
            (Some(_), Verdict::Idle) => {}
            (Some(cause), Verdict::Refused(refusal)) => {
                let reason = (cause, std::mem::discriminant(&refusal));
                // While it lasts it is said once, not every 50 ms.
                if self.said != Some(reason) || cause == Cause::Relief {
                    self.said = Some(reason);
                    world.scribe.tell(Record::Refused {
                        cause,
                        refusal,
                        memory: world.memory,
                    });
                }
            }
            (Some(cause), Verdict::Chosen) => {
                self.said = None;
                self.tell_choice(cause, decision, snapshot, took, world);
            }
        }
        for done in self.done.drain(..) {
            world.scribe.tell(done.into());
        }
    }

    /// A round of ends begins. One that only waits for a victim that stays is
    /// over with that.
    fn begin(&mut self, now: Duration, pool_bytes: Option<u64>) {
        if self.episode.is_some_and(|episode| episode.gone > 0) {
            return;
        }
        self.episode = Some(Episode {
            began: now,
            pool_bytes,
            gone: 0,
            counted_bytes: 0,
            lost: Cost::ZERO,
        });
    }

    /// Prints the heading, and of the candidates the chosen, the registered
    /// and those that hold the most.
    fn tell_choice(
        &mut self,
        cause: Cause,
        decision: &Decision,
        snapshot: &Snapshot,
        took: Took,
        world: &mut World<'_>,
    ) {
        let units = &decision.candidates;
        let count = |units: usize| u32::try_from(units).unwrap_or(u32::MAX);
        world.scribe.tell(Record::Decision(Heading {
            cause,
            memory: world.memory,
            need_bytes: decision.need_bytes,
            candidates: count(units.len()),
            chosen: count(units.iter().filter(|unit| unit.chosen).count()),
            covers_need: decision.covers_need,
            gap: decision.gap,
            read: took.read,
            choose: took.choose,
        }));
        let rank = |unit: &Candidate| {
            let first = unit.chosen || unit.explanation.value().is_some();
            (!first, !unit.chosen, std::cmp::Reverse(unit.held_bytes))
        };
        self.order.clear();
        self.order.extend(0..count(units.len()));
        self.order
            .sort_unstable_by_key(|&index| rank(&units[index as usize]));
        let certain = units
            .iter()
            .filter(|unit| unit.chosen || unit.explanation.value().is_some())
            .count();
        let shown = units.len().min(certain.max(SHOWN));
        for &index in &self.order[..shown] {
            let unit = &units[index as usize];
            let oom_score = score(world, unit.leader.pid);
            world.scribe.tell(Record::Candidate(Row {
                leader: unit.leader,
                name: unit.name,
                processes: unit.processes,
                class: unit.class,
                explanation: unit.explanation,
                oom_score,
                rss_bytes: find(&snapshot.processes, unit.leader)
                    .map_or(0, |process| process.rss_bytes),
                growth_bytes_per_second: unit.growth_bytes_per_second,
                chosen: unit.chosen,
            }));
        }
        if shown < units.len() {
            world
                .scribe
                .tell(Record::Unshown(count(units.len() - shown)));
        }
    }

    fn signal(
        &mut self,
        ending: Ending,
        signal: Signal,
        world: &mut World<'_>,
    ) -> Result<Signalled, ReapError> {
        let id = ending.victim.id;
        let held = if world.may_open {
            self.hold(id)?
        } else {
            self.position(id).ok()
        };
        let Some(position) = held else {
            return Ok(Signalled::Gone);
        };
        if world.may_open {
            self.watch(position, world.epoll);
        }
        let hold = &mut self.holds[position];
        let signalled = match signal {
            Signal::Term => hold.victim.terminate()?,
            Signal::Kill => hold.victim.kill()?,
        };
        if signalled == Signalled::Sent {
            hold.killed = signal == Signal::Kill;
            hold.ending.get_or_insert(ending);
        }
        Ok(signalled)
    }

    /// [`Self::hold`], as long as descriptors are left for what comes.
    fn hold_ahead(&mut self, id: ProcessId) -> Option<usize> {
        match self.position(id) {
            Ok(position) => Some(position),
            Err(_) if self.holds.len() < self.ahead_at_most => self.hold(id).ok()?,
            Err(_) => None,
        }
    }

    /// Where the hold on `id` is, which is made where there is none; `None`
    /// once it is gone.
    fn hold(&mut self, id: ProcessId) -> Result<Option<usize>, ReapError> {
        let position = match self.position(id) {
            Ok(position) => return Ok(Some(position)),
            Err(position) => position,
        };
        let root = &self.root;
        let start_ticks = |pid| root.start_ticks(pid).map_err(std::io::Error::other);
        let calls = Calls::available();
        let held = reaper::Held::hold_by(calls, root.path(), id, start_ticks)?;
        let Some(victim) = held else {
            return Ok(None);
        };
        self.holds.insert(
            position,
            Hold {
                victim,
                token: None,
                registered: false,
                present: false,
                killed: false,
                ending: None,
                next: None,
            },
        );
        Ok(Some(position))
    }

    /// Has `epoll` say when the process held there is gone.
    fn watch(&mut self, position: usize, epoll: &Epoll) {
        let hold = &mut self.holds[position];
        if hold.token.is_some() {
            return;
        }
        let token = self.next_token;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token);
        // Where it cannot be watched, each round looks.
        if epoll.add(hold.victim.as_fd(), event).is_ok() {
            self.next_token += 1;
            hold.token = Some(token);
        }
    }

    fn is_signalled(&self, id: ProcessId) -> bool {
        self.position(id)
            .is_ok_and(|position| self.holds[position].ending.is_some())
    }

    /// Where `id` is held, or would be.
    fn position(&self, id: ProcessId) -> Result<usize, usize> {
        self.holds
            .binary_search_by_key(&id, |hold| hold.victim.id())
    }

    /// Holds and watches all that `registered` names; for quiet rounds.
    pub(crate) fn hold_registered(
        &mut self,
        registered: impl Iterator<Item = ProcessId>,
        epoll: &Epoll,
    ) {
        for hold in &mut self.holds {
            hold.registered = false;
        }
        for id in registered {
            // Who cannot be held now is held when it must be signalled.
            if let Some(position) = self.hold_ahead(id) {
                self.holds[position].registered = true;
                self.watch(position, epoll);
            }
        }
        self.let_go_of_unused(epoll);
    }

    /// Holds all that may be ended, so that at a last call nothing need be
    /// opened; for quiet rounds.
    pub(crate) fn hold_everybody(&mut self, processes: &[Process], epoll: &Epoll) {
        for hold in &mut self.holds {
            hold.present = false;
        }
        for process in processes {
            if process.protection.is_none() {
                // Who cannot be held cannot be chosen at a last call.
                if let Some(position) = self.hold_ahead(process.id) {
                    self.holds[position].present = true;
                }
            }
        }
        self.let_go_of_unused(epoll);
    }

    /// Holds all that `will` names, for the watchdog; once all else is done.
    pub(crate) fn leave_will(
        &mut self,
        now: Duration,
        will: &[NextKill],
        snapshot: &Snapshot,
        table: &ProcessTable,
        epoll: &Epoll,
    ) {
        for hold in &mut self.holds {
            hold.next = None;
        }
        for next in will {
            // Who cannot be held is not in the will.
            if let Ok(Some(position)) = self.hold(next.id) {
                let process = find(&snapshot.processes, next.id);
                let score = table.get(next.id.pid).and_then(|entry| entry.oom_score);
                let victim = describe(process, next.id, score);
                self.holds[position].next = Some(Ending::new(now, victim, process, next.lost));
            }
        }
        self.let_go_of_unused(epoll);
    }

    /// Those of `will` that are held for the watchdog, in its order.
    pub(crate) fn heirs(&self, will: &[NextKill]) -> impl Iterator<Item = Heir> {
        will.iter().filter_map(|next| {
            let hold = &self.holds[self.position(next.id).ok()?];
            Some(Heir {
                victim: hold.victim.clone(),
                told: hold.next?.victim,
                place: next.place,
            })
        })
    }

    /// Takes over as victims those that the watchdog has killed, and tells each
    /// to `killed`, with what is lost with it. `began`, `before_bytes`: when the
    /// first was killed, and MemAvailable + SwapFree then.
    pub(crate) fn take_over(
        &mut self,
        began: Duration,
        before_bytes: u64,
        mut killed: impl FnMut(ProcessId, Cost),
    ) {
        let was_busy = self.are_busy();
        let mut any = false;
        for hold in &mut self.holds {
            let Some(next) = hold.next.take_if(|_| hold.victim.is_killed()) else {
                continue;
            };
            let id = next.victim.id;
            let why = (Some(Cause::Level(Level::Kill)), 0);
            self.fates.signalled(began, &next.victim, Signal::Kill, why);
            hold.killed = true;
            hold.ending
                .get_or_insert(Ending {
                    since: began,
                    ..next
                })
                .is_awaited = true;
            any = true;
            killed(id, next.lost);
        }
        if any && !was_busy {
            self.begin(began, Some(before_bytes));
        }
    }

    /// Lets go of those who are held for no reason any longer.
    fn let_go_of_unused(&mut self, epoll: &Epoll) {
        self.holds.retain(|hold| {
            let stays =
                hold.registered || hold.present || hold.ending.is_some() || hold.next.is_some();
            if !stays && hold.token.is_some() {
                let _ = epoll.delete(hold.victim.as_fd());
            }
            stays
        });
    }

    /// Watches those signalled while nothing could be added to `epoll`.
    pub(crate) fn watch_signalled(&mut self, epoll: &Epoll) {
        for position in 0..self.holds.len() {
            let hold = &self.holds[position];
            if hold.ending.is_some() && hold.token.is_none() {
                self.watch(position, epoll);
            }
        }
    }

    /// Whether `token` stands for a process held that has ended.
    pub(crate) fn ended(&self, token: u64) -> Option<ProcessId> {
        let hold = self.holds.iter().find(|hold| hold.token == Some(token))?;
        hold.victim.is_gone().then(|| hold.victim.id())
    }

    /// One of the registered and signalled who has ended, and of whom epoll
    /// does not tell: it could not be watched, or the kernel has no pidfds.
    pub(crate) fn ended_untold(&self) -> Option<ProcessId> {
        let untold = |hold: &&Hold| {
            (hold.registered || hold.ending.is_some())
                && (hold.token.is_none() || !hold.victim.tells_its_end())
                && hold.victim.is_gone()
        };
        self.holds.iter().find(untold).map(|hold| hold.victim.id())
    }

    /// Lets go of `id`, which has ended, and says so where it was a victim.
    /// Whether it was one, and whether it was registered.
    pub(crate) fn let_go(
        &mut self,
        now: Duration,
        id: ProcessId,
        epoll: &Epoll,
        scribe: &mut Scribe,
    ) -> (bool, bool) {
        let Ok(position) = self.position(id) else {
            return (false, false);
        };
        let hold = self.holds.remove(position);
        // The second hand may hold the descriptor on, so it is taken out.
        let _ = epoll.delete(hold.victim.as_fd());
        if let Some(ending) = hold.ending {
            self.ended += 1;
            self.fates.gone(now, id);
            if let Some(episode) = &mut self.episode {
                episode.gone += 1;
                episode.counted_bytes += ending.held_bytes;
                episode.lost = episode.lost.saturating_add(ending.lost);
            }
            scribe.tell(Record::Gone {
                victim: ending.victim,
                after: now.saturating_sub(ending.since),
            });
        }
        (hold.ending.is_some(), hold.registered)
    }

    /// Says which victims are not expected to end any longer, now that the
    /// policy does not, and waits for them no more.
    pub(crate) fn set_aside(
        &mut self,
        now: Duration,
        awaits: impl Fn(ProcessId) -> bool,
        scribe: &mut Scribe,
    ) {
        for hold in &mut self.holds {
            let Some(ending) = hold.ending.as_mut().filter(|ending| ending.is_awaited) else {
                continue;
            };
            let id = ending.victim.id;
            if awaits(id) || hold.victim.is_gone() {
                continue;
            }
            ending.is_awaited = false;
            scribe.tell(Record::Stays {
                victim: ending.victim,
                after: now.saturating_sub(ending.since),
                is_killed: hold.victim.is_killed(),
                // What it waits for adds to the line; without, it is said all
                // the same.
                stuck_in: self.root.stuck_in(id).ok().flatten(),
            });
        }
    }

    /// Adds up, once all victims are gone or set aside and at least one is gone:
    /// of one that stays, it was said. `pool_bytes`: MemAvailable + SwapFree now.
    pub(crate) fn settle(&mut self, now: Duration, pool_bytes: u64, scribe: &mut Scribe) {
        if self.are_busy() {
            return;
        }
        let Some(episode) = self.episode.take_if(|episode| episode.gone > 0) else {
            return;
        };
        let came_back = (episode.pool_bytes).map(|before| pool_bytes.saturating_sub(before));
        scribe.tell(Record::Settled {
            processes: episode.gone,
            counted_bytes: episode.counted_bytes,
            only_bytes: came_back.filter(|&bytes| bytes < episode.counted_bytes / 2),
            before_bytes: episode.pool_bytes,
            after_bytes: pool_bytes,
            value: episode.lost.rounded_up(),
            took: now.saturating_sub(episode.began),
        });
    }
}

/// What acting needs of the rest of the daemon.
#[derive(Debug)]
pub(crate) struct World<'a> {
    pub(crate) epoll: &'a Epoll,
    pub(crate) table: &'a mut ProcessTable,
    pub(crate) scribe: &'a mut Scribe,
    /// `None` while it cannot be read, and the snapshot's stands in for it.
    pub(crate) memory: Option<Memory>,
    /// Whether files may be opened and memory taken; not at a last call.
    pub(crate) may_open: bool,
}

/// An empty buffer whose room has been written to, so that it is there.
pub(crate) fn touched<T>(capacity: usize, filler: impl FnMut() -> T) -> Vec<T> {
    let mut buffer = Vec::with_capacity(capacity);
    buffer.resize_with(capacity, filler);
    buffer.clear();
    buffer
}

/// Where `id` is among `processes`, which stand by ascending pid.
pub(crate) fn find(processes: &[Process], id: ProcessId) -> Option<&Process> {
    let position = processes.binary_search_by_key(&id.pid, |process| process.id.pid);
    position
        .ok()
        .map(|position| &processes[position])
        .filter(|process| process.id == id)
}

/// What `decision` loses with `id`: a unit's value goes with its leader.
fn lost(decision: &Decision, id: ProcessId) -> Cost {
    let mut chosen = decision.candidates.iter().filter(|unit| unit.chosen);
    let led = chosen.find(|unit| unit.leader == id);
    led.map_or(Cost::ZERO, Candidate::lost)
}

fn describe(process: Option<&Process>, id: ProcessId, oom_score: Option<u16>) -> Victim {
    Victim {
        id,
        name: process.map(|process| process.name).unwrap_or_default(),
        uid: process.map_or(u32::MAX, |process| process.uid),
        oom_score,
        value: process.and_then(|process| process.value),
        rss_bytes: process.map_or(0, |process| process.rss_bytes),
    }
}

/// As last read; read now where it never was.
fn score(world: &mut World<'_>, pid: u32) -> Option<u16> {
    match world.table.get(pid)?.oom_score {
        None if world.may_open => world.table.refresh_score(pid).ok().flatten(),
        score => score,
    }
}

pub(crate) fn errno(err: &ReapError) -> i32 {
    let (ReapError::Hold { source, .. }
    | ReapError::StartTime { source, .. }
    | ReapError::NotPermitted { source, .. }
    | ReapError::Signal { source, .. }
    | ReapError::Wait { source }
    | ReapError::SecondHand { source }
    | ReapError::OomScoreAdj { source, .. }
    | ReapError::Priority { source, .. }) = err;
    source.raw_os_error().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use nix::sys::epoll::EpollCreateFlags;
    use oom_policy::{Policy, Settings};

    use super::*;
    use crate::stand_in::{Waiter, ordinary, root};

    /// What comes of a decision to kill `process`, which holds 500 MiB and is
    /// registered, and what was told of it. All is over then.
    fn kill(process: Process) -> (Sent, Vec<Outcome>, Vec<Record>) {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
        let second_hand = SecondHand::spawn().expect("a thread");
        let mut hands = Hands::new(root(), Some(second_hand), false, 1, 8);
        let (mut scribe, mut desk) = Scribe::unwritten();
        let mut table = ProcessTable::new(root(), 8);
        let mut world = World {
            epoll: &epoll,
            table: &mut table,
            scribe: &mut scribe,
            memory: Some(Memory::default()),
            may_open: true,
        };
        let snapshot = Snapshot {
            memory: Memory {
                total_bytes: 1 << 30,
                ..Memory::default()
            },
            processes: vec![Process {
                value: Some(7),
                anon_bytes: 500 << 20,
                ..process
            }],
            ..Snapshot::default()
        };
        let mut policy = Policy::new(Settings::default(), 8);
        let decision = policy.step(Duration::ZERO, &snapshot);
        assert_eq!(decision.actions, [Action::Kill(process.id)]);
        let mut outcomes = Vec::new();
        let now = Duration::ZERO;
        let sent = hands.carry_out(now, decision, &snapshot, &mut world, &mut outcomes);
        let took = Took {
            read: now,
            choose: now,
        };
        hands.tell(decision, &snapshot, took, &mut world);
        for outcome in &outcomes {
            policy.learn(now, *outcome);
        }
        hands.set_aside(now, |id| policy.awaits(id), &mut scribe);
        hands.settle(now, 0, &mut scribe);
        assert!(!hands.are_busy());
        (sent, outcomes, desk.told())
    }

    fn is_of_an_end(record: &Record) -> bool {
        matches!(
            record,
            Record::Signalled { .. } | Record::Gone { .. } | Record::Settled { .. }
        )
    }

    #[test]
    fn of_a_process_that_had_ended_by_itself_nothing_is_told_as_freed() {
        let gone = ordinary(Waiter::new().id(), 1);
        let (sent, outcomes, told) = kill(gone);
        assert_eq!(sent.processes, 0);
        assert_eq!(outcomes, [Outcome::Unsent(gone.id)]);
        assert!(!told.iter().any(is_of_an_end), "{told:#?}");
    }

    /// Names another user's process to the test below, run as an ordinary user.
    const ANOTHERS: &str = "USER_OOM_TEST_ANOTHERS_PID";

    #[test]
    fn of_a_process_that_may_not_be_signalled_the_error_is_told_and_nothing_as_freed() {
        if nix::unistd::geteuid().is_root() {
            let roots = Waiter::new();
            as_an_ordinary_user(
                "act::tests::of_a_process_that_may_not_be_signalled_the_error_is_told_and_nothing_as_freed",
                roots.id().pid,
            );
            return;
        }
        let Some(pid) = std::env::var(ANOTHERS)
            .ok()
            .and_then(|pid| pid.parse().ok())
        else {
            println!("skipped: needs a process of another user's; root starts one");
            return;
        };
        let start_ticks = root().start_ticks(pid).expect("procfs").expect("it runs");
        let anothers = ProcessId { pid, start_ticks };
        let (sent, outcomes, told) = kill(ordinary(anothers, 1));
        assert!(sent.any_refused && sent.processes == 0);
        assert_eq!(outcomes, [Outcome::Refused(anothers)]);
        assert!(!told.iter().any(is_of_an_end), "{told:#?}");
        let is_refusal = |record: &Record| matches!(record, Record::Unsignalled { .. });
        assert!(told.iter().any(is_refusal), "{told:#?}");
    }

    /// Runs `test` once more as `nobody`, who may not get to where it was built.
    fn as_an_ordinary_user(test: &str, anothers_pid: u32) {
        let folder = tempfile::tempdir().expect("a folder");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).expect("it is ours");
        let copy = folder.path().join("tests");
        let copied = Command::new("cp")
            .arg(std::env::current_exe().expect("procfs"))
            .arg(&copy)
            .status();
        assert!(copied.expect("coreutils").success());
        let ran = Command::new(copy)
            .args([test, "--exact"])
            .env(ANOTHERS, anothers_pid.to_string())
            .uid(65_534)
            .gid(65_534)
            .output()
            .expect("it is a copy of us");
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    fn who_is_held_for_a_last_call_stays_held_when_the_registry_changes() {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
        let second_hand = SecondHand::spawn().expect("a thread");
        let mut hands = Hands::new(root(), Some(second_hand), false, 1, 8);
        let [one, two] = [Waiter::new(), Waiter::new()];
        let mut processes = [&one, &two].map(|waiter| ordinary(waiter.id(), 1));
        processes.sort_unstable_by_key(|process| process.id);
        let [first, second] = processes.map(|process| process.id);

        hands.hold_everybody(&processes, &epoll);
        hands.hold_registered([first].into_iter(), &epoll);
        assert!(hands.position(first).is_ok() && hands.position(second).is_ok());

        // Out of the table, the registered one alone is of use.
        hands.hold_everybody(&[], &epoll);
        assert!(hands.position(first).is_ok() && hands.position(second).is_err());
        hands.hold_registered(std::iter::empty(), &epoll);
        assert!(hands.position(first).is_err());
    }
}
