//! The loop's end of the journal: copies what the guard is told, and what it
//! decides, into a ring. Takes no lock, waits for nothing, and takes memory only
//! when all is quiet.

use std::convert::Infallible;
use std::mem::{Discriminant, discriminant};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, SystemTime};

use journal::{Account, Difference, Digest, difference};
use oom_policy::{
    Candidate, Cause, Checkpoint, Cost, Decision, Depth, Effects, EndedBy, Event, Guard, Level,
    Moment, NextKill, Process, ProcessId, Refusal, Settings, Verdict,
};

use value_registry::Labels;

use crate::buffer::{reserve_to, touched};
use crate::tell::bell::Bell;
use crate::tell::record::{OwnWords, Record, Signal, Victim};

/// What the guard remembers is noted so often while all is quiet.
const STATE_EVERY: Duration = Duration::from_secs(60);
/// After something was decided, what is told is handed on for so long,
const NEWS: Duration = Duration::from_secs(60);
/// at most this often.
const HAND_ON: Duration = Duration::from_millis(250);
/// Of what was chosen no more are named in the line of a decision.
const NAMED: usize = 32;
/// Events, and what belongs to them, beside a table of twice as many processes as
/// there is room for.
const EVENTS: usize = 1024;
/// How long the end waits for a disk that takes nothing.
const FAREWELL: Duration = Duration::from_secs(1);
/// Signals that are noted with their user and command line, and labels.
const FOR_READERS: usize = 256;

/// The guard, of which all that it is told is noted.
#[derive(Debug)]
pub(crate) struct Recorded {
    guard: Guard,
    /// `None` where there is no journal.
    recorder: Option<Recorder>,
}

/// To be read, and to be told nothing behind our back.
impl Deref for Recorded {
    type Target = Guard;

    fn deref(&self) -> &Guard {
        &self.guard
    }
}

impl Recorded {
    pub(crate) fn new(guard: Guard, mut recorder: Option<Recorder>) -> Self {
        if let Some(recorder) = &mut recorder {
            recorder.state(Moment::ORIGIN, guard.checkpoint());
        }
        Self { guard, recorder }
    }

    /// See [`Guard::handle`].
    pub(crate) fn handle(&mut self, now: Moment, event: Event<'_>, effects: &mut Effects) {
        if let Some(recorder) = &mut self.recorder {
            recorder.hear(now, event);
        }
        self.guard.handle(now, event, effects);
        if let (Some(recorder), Event::Table { depth, processes }) = (&mut self.recorder, event) {
            recorder.decided(now, depth, processes, self.guard.decision());
        }
    }

    /// See [`Guard::kernel_asks`].
    pub(crate) fn kernel_asks(&mut self, now: Moment) {
        self.guard.kernel_asks();
        if let Some(recorder) = &mut self.recorder {
            recorder.tell(now, Note::KernelAsks);
        }
    }

    /// See [`Guard::adopt`]. From a quiet round, because it allocates.
    pub(crate) fn adopt(&mut self, now: Moment, settings: Settings) {
        if let Some(recorder) = &mut self.recorder {
            recorder.tell(now, Note::Adopted(Box::new(settings.clone())));
        }
        self.guard.adopt(settings);
    }

    /// See [`Guard::reserve`]: the guard does not remember its room.
    pub(crate) fn reserve(&mut self, processes: usize) {
        self.guard.reserve(processes);
        if let Some(recorder) = &mut self.recorder {
            reserve_to(&mut recorder.table, processes);
        }
    }

    /// See [`Guard::will`]: nothing is remembered of it.
    pub(crate) fn will(&mut self, processes: &[Process], will: &mut Vec<NextKill>) {
        self.guard.will(processes, will);
    }

    /// See [`Guard::plan`]: nothing is remembered of it.
    pub(crate) fn plan(&mut self, level: Level, processes: &[Process], plan: &mut Decision) {
        self.guard.plan(level, processes, plan);
    }

    /// Notes what is remembered, where that is due. From a round in which nothing is
    /// done, because it allocates.
    pub(crate) fn note_state(&mut self, now: Moment) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        let is_due = recorder.is_broken
            || recorder.wake.lacks_state()
            || STATE_EVERY <= now.since(recorder.state_at);
        // A shortage in which nothing is killed may last for hours.
        if is_due && (self.guard.level() == Level::Ok || recorder.news_until <= now) {
            recorder.state(now, self.guard.checkpoint());
        }
    }

    /// While the kernel waits, nothing is written.
    pub(crate) fn hush(&self, is_last_call: bool) {
        if let Some(recorder) = &self.recorder {
            recorder.wake.hush(is_last_call);
        }
    }
}

/// What wakes the thread that writes, and what keeps it from writing.
#[derive(Debug)]
pub(crate) struct Wake {
    pub(crate) bell: Bell,
    is_last_call: AtomicBool,
    /// What was noted since the last state was too much to keep.
    lacks_state: AtomicBool,
}

impl Wake {
    /// # Errors
    ///
    /// What the kernel says of another eventfd.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            bell: Bell::new()?,
            is_last_call: AtomicBool::new(false),
            lacks_state: AtomicBool::new(false),
        })
    }

    /// Asks for a state, as soon as one can be noted.
    pub(crate) fn ask_for_state(&self) {
        self.lacks_state.store(true, Ordering::Release);
    }

    fn lacks_state(&self) -> bool {
        self.lacks_state.load(Ordering::Acquire)
    }

    /// Whether the kernel waits.
    pub(crate) fn is_hushed(&self) -> bool {
        self.is_last_call.load(Ordering::Acquire)
    }

    fn hush(&self, is_last_call: bool) {
        self.is_last_call.store(is_last_call, Ordering::Release);
        if !is_last_call {
            self.bell.ring();
        }
    }

    fn ring(&self) {
        if !self.is_hushed() {
            self.bell.ring();
        }
    }
}

/// Something to write down, and when it was.
#[derive(Debug)]
pub(crate) struct Noted {
    pub(crate) at: Moment,
    pub(crate) entry: Note,
}

/// What a line, or a part of one, is made of.
#[derive(Debug)]
pub(crate) enum Note {
    /// `follows`: all since the last was noted.
    State {
        time: SystemTime,
        follows: bool,
        guard: Box<Checkpoint>,
    },
    /// An event that is neither a table nor a kill of the watchdog's.
    Event(Event<'static>),
    /// For what comes next.
    ProcessRow(Process),
    /// The same: it is gone.
    Missing(u32),
    /// What makes a table of them.
    Table {
        depth: Depth,
        decision: Digest,
    },
    /// What makes [`Event::Killed`] of the row.
    Killed {
        lost: Cost,
        by: EndedBy,
    },
    KernelAsks,
    Adopted(Box<Settings>),
    /// For the decision that comes next.
    Chosen(Candidate),
    /// Without the time as a text and those that were chosen, which would take memory.
    Decision {
        time: SystemTime,
        account: Account,
    },
    /// There was no room for so many.
    Lost(u64),
}

/// Notes what the guard is told.
#[derive(Debug)]
pub(crate) struct Recorder {
    ring: rtrb::Producer<Noted>,
    wake: Arc<Wake>,
    /// The last that was noted.
    table: Vec<Process>,
    state_at: Moment,
    /// Lines are missing: nothing is noted before the next state.
    is_broken: bool,
    lost: u64,
    news_until: Moment,
    handed_on: Moment,
    /// Why nothing was done, where that was decided last.
    refused: Option<(Cause, Discriminant<Refusal>)>,
    /// Nothing is sent; it is closed when the thread ends.
    ended: Receiver<Infallible>,
}

impl Recorder {
    /// With room for `processes` processes; and the other end. `ended` is closed
    /// when the thread ends.
    pub(crate) fn new(
        wake: Arc<Wake>,
        ended: Receiver<Infallible>,
        processes: usize,
    ) -> (Self, rtrb::Consumer<Noted>) {
        let (mut ring, mut end) = rtrb::RingBuffer::new(EVENTS + 2 * processes);
        let filler = || Noted {
            at: Moment::ORIGIN,
            entry: Note::KernelAsks,
        };
        while ring.push(filler()).is_ok() {}
        while end.pop().is_ok() {}
        let nothing = ProcessId {
            pid: 0,
            start_ticks: 0,
        };
        let recorder = Self {
            ring,
            wake,
            table: touched(processes, || Process {
                seen: oom_policy::Seen::new(nothing),
                dossier: oom_policy::Dossier::default(),
            }),
            state_at: Moment::ORIGIN,
            is_broken: true,
            lost: 0,
            news_until: Moment::ORIGIN,
            handed_on: Moment::ORIGIN,
            refused: None,
            ended,
        };
        (recorder, end)
    }

    fn state(&mut self, now: Moment, guard: Checkpoint) {
        let follows = !self.is_broken;
        self.is_broken = false;
        self.wake.lacks_state.store(false, Ordering::Release);
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            self.tell(now, Note::Lost(lost));
        }
        self.tell(
            now,
            Note::State {
                time: SystemTime::now(),
                follows,
                guard: Box::new(guard),
            },
        );
        // The next table is noted as a whole.
        self.table.clear();
        self.state_at = now;
        self.wake.ring();
    }

    /// Notes an event, but for a table, which comes with its decision.
    fn hear(&mut self, now: Moment, event: Event<'_>) {
        let event = match event {
            Event::Table { .. } => return,
            Event::Killed { process, lost, by } => {
                self.tell(now, Note::ProcessRow(*process));
                self.tell(now, Note::Killed { lost, by });
                self.news_until = now + NEWS;
                return;
            }
            Event::Memory(memory) => Event::Memory(memory),
            Event::Unreadable { last } => Event::Unreadable { last },
            Event::Stalled(gate) => Event::Stalled(gate),
            Event::Asked => Event::Asked,
            Event::Revalued => Event::Revalued,
            Event::LastCall { sequence, memory } => Event::LastCall { sequence, memory },
            Event::Sent(id) => Event::Sent(id),
            Event::Ordered => Event::Ordered,
            Event::Gone(id) => Event::Gone(id),
            Event::Unsent(id) => Event::Unsent(id),
            Event::Refused(id) => Event::Refused(id),
            Event::PagedOut(unit) => Event::PagedOut(unit),
            Event::Continued(unit) => Event::Continued(unit),
            Event::Unfrozen(unit) => Event::Unfrozen(unit),
            Event::CommandFailed(leader) => Event::CommandFailed(leader),
            Event::PauseAsked { id, uid } => Event::PauseAsked { id, uid },
        };
        self.tell(now, Note::Event(event));
        self.hand_on(now);
    }

    /// Notes a table, and the decision about it.
    fn decided(&mut self, now: Moment, depth: Depth, processes: &[Process], decision: &Decision) {
        let mut lost = 0;
        if !self.is_broken {
            let Self { ring, table, .. } = self;
            let mut put = |entry| lost += u64::from(ring.push(Noted { at: now, entry }).is_err());
            difference(table, processes, |change| {
                put(match change {
                    Difference::Changed(process) => Note::ProcessRow(*process),
                    Difference::Gone(pid) => Note::Missing(pid),
                });
            });
            put(Note::Table {
                depth,
                decision: Digest::of(decision),
            });
        }
        if 0 < lost {
            self.break_off(lost);
        }
        self.table.clear();
        let room = self.table.capacity();
        self.table
            .extend_from_slice(&processes[..processes.len().min(room)]);
        if self.table.len() < processes.len() {
            // There is room for them after the next quiet round.
            self.break_off(1);
        }
        if self.is_news(decision) {
            self.outline(now, decision);
            self.news_until = now + NEWS;
            self.handed_on = now;
            self.wake.ring();
        }
        self.hand_on(now);
    }

    /// Whether something is done, or is refused for another reason than before.
    fn is_news(&mut self, decision: &Decision) -> bool {
        let refused = match (decision.cause, decision.verdict) {
            (Some(cause), Verdict::Refused(refusal)) => Some((cause, discriminant(&refusal))),
            _ => None,
        };
        let was_said = refused.is_some() && self.refused == refused;
        self.refused = refused;
        !decision.actions.is_empty() || (decision.cause.is_some() && !was_said)
    }

    /// Notes what a decision comes to.
    fn outline(&mut self, now: Moment, decision: &Decision) {
        let chosen = || decision.candidates.iter().filter(|unit| unit.chosen);
        for unit in chosen().take(NAMED) {
            self.tell(now, Note::Chosen(*unit));
        }
        let count = |units: usize| u32::try_from(units).unwrap_or(u32::MAX);
        self.tell(
            now,
            Note::Decision {
                time: SystemTime::now(),
                account: Account {
                    at: now,
                    time: String::new(),
                    level: decision.level,
                    cause: decision.cause,
                    verdict: decision.verdict,
                    need_bytes: decision.need_bytes,
                    frees_bytes: decision.frees_bytes,
                    lost: decision.lost,
                    gap: decision.gap,
                    covers_need: decision.covers_need,
                    candidates: count(decision.candidates.len()),
                    chosen: count(chosen().count()),
                    first: Vec::new(),
                },
            },
        );
    }

    fn tell(&mut self, now: Moment, entry: Note) {
        if self.is_broken {
            return;
        }
        if self.ring.push(Noted { at: now, entry }).is_err() {
            self.break_off(1);
        }
    }

    /// What follows could not be replayed.
    fn break_off(&mut self, lost: u64) {
        self.is_broken = true;
        self.lost += lost;
    }

    /// Has what was noted be written, where something has happened, or there is
    /// little room left.
    fn hand_on(&mut self, now: Moment) {
        let is_news = now < self.news_until && HAND_ON <= now.since(self.handed_on);
        if is_news || self.ring.slots() < self.ring.buffer().capacity() / 2 {
            self.handed_on = now;
            self.wake.ring();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.wake.bell.ring_the_end();
        let _ = self.ended.recv_timeout(FAREWELL);
    }
}

/// A signal that was sent, or would have been.
#[derive(Debug)]
pub(crate) struct NotedSignal {
    pub(crate) time: SystemTime,
    pub(crate) victim: Victim,
    pub(crate) words: OwnWords,
    pub(crate) signal: Signal,
    pub(crate) dry: bool,
}

/// What is written for readers alone.
#[derive(Debug)]
pub(crate) enum ForReaders {
    Signal(NotedSignal),
    /// Of the entry of a process that a decision was about.
    Labels(ProcessId, Labels),
}

/// Notes what the scribe is told of signals, and labels.
#[derive(Debug)]
pub(crate) struct SignalNotes {
    ring: rtrb::Producer<ForReaders>,
    wake: Arc<Wake>,
}

impl SignalNotes {
    pub(crate) fn new(wake: Arc<Wake>) -> (Self, rtrb::Consumer<ForReaders>) {
        let (ring, end) = rtrb::RingBuffer::new(FOR_READERS);
        (Self { ring, wake }, end)
    }

    /// Notes the labels of `id`, and leaves half of the room to signals.
    pub(crate) fn labels(&mut self, id: ProcessId, labels: Labels) {
        if FOR_READERS / 2 < self.ring.slots() {
            let _ = self.ring.push(ForReaders::Labels(id, labels));
        }
    }

    /// Notes `record`, where it is of a signal. Where there is no room, the
    /// event of it says as much as is needed.
    pub(crate) fn follow(&mut self, record: &Record) {
        if let Record::Signalled {
            victim,
            words,
            signal,
            dry,
            ..
        } = record
        {
            let _ = self.ring.push(ForReaders::Signal(NotedSignal {
                time: SystemTime::now(),
                victim: *victim,
                words: *words,
                signal: *signal,
                dry: *dry,
            }));
            self.wake.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use journal::{Folder, Machine, Writer};
    use oom_policy::{Dossier, Memory, Seen};

    use super::*;
    use crate::recording;
    use crate::stand_in::guard;
    use crate::tell::accounts::Accounts;
    use crate::tell::scribe::Scribe;

    const PROCESSES: u32 = 200;

    /// One holds more each time, and one is another.
    fn table(round: u32) -> Vec<Process> {
        let process = |number: u32| Process {
            seen: Seen {
                anon_bytes: u64::from(number * (round + 1)) << 20,
                ..Seen::new(ProcessId {
                    pid: 100 + number,
                    start_ticks: u64::from(round / 2),
                })
            },
            dossier: Dossier {
                value: Some(number),
                ..Dossier::default()
            },
        };
        (0..PROCESSES).map(process).collect()
    }

    fn memory(available_bytes: u64) -> Memory {
        Memory {
            total_bytes: 64 << 30,
            available_bytes,
            ..Memory::default()
        }
    }

    #[test]
    fn noting_events_and_decisions_takes_no_memory_even_where_there_is_no_room() {
        let wake = Arc::new(Wake::new().expect("an eventfd"));
        let (sender, ended) = mpsc::channel();
        let room = usize::try_from(PROCESSES).expect("it is small");
        let (recorder, mut noted) = Recorder::new(wake, ended, room);
        let mut guard = guard();
        guard.reserve(room);
        let mut guard = Recorded::new(guard, Some(recorder));
        let mut effects = Effects::default();
        let tables: Vec<_> = (0..20).map(table).collect();
        let mut is_lost = false;
        for (round, processes) in (0_u64..).zip(&tables) {
            let now = Moment::ORIGIN + Duration::from_secs(round + 1);
            let taken = allocation_counter::measure(|| {
                guard.handle(now, Event::Memory(memory(1 << 30)), &mut effects);
                effects.by_ref().for_each(drop);
                let depth = Depth::Fast;
                guard.handle(now, Event::Table { depth, processes }, &mut effects);
                effects.by_ref().for_each(drop);
            });
            assert_eq!(taken.count_total, 0, "round {round}");
            is_lost |= guard.recorder.as_ref().is_some_and(|it| it.is_broken);
        }
        assert!(is_lost, "the ring has room for all");
        let decided = |noted: &Noted| matches!(noted.entry, Note::Decision { .. });
        let noted = std::iter::from_fn(|| noted.pop().ok());
        assert!(noted.filter(decided).count() > 0);
        // Nothing is waited for at its end.
        drop(sender);
    }

    #[test]
    fn where_what_waits_is_too_much_to_keep_a_state_is_noted_before_its_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(folder.path(), 16 << 20).expect("it is ours");
        let writer = Writer::new(folder, "a test".to_owned(), Machine::default());
        let (_, mut desk) = Scribe::unwritten().expect("an eventfd");
        let (accounts, lane) = (Accounts::at(""), desk.lane(1));
        let (recorder, _signals) =
            recording::spawn(writer, None, accounts, lane, 8).expect("a thread");
        let mut guard = Recorded::new(guard(), Some(recorder));
        let mut effects = Effects::default();
        let now = Moment::ORIGIN + Duration::from_secs(1);
        guard.note_state(now);
        let mut taken = 0;
        loop {
            let recorder = guard.recorder.as_ref().expect("there is one");
            assert_eq!(recorder.state_at, Moment::ORIGIN, "nothing is due");
            if recorder.wake.lacks_state() {
                break;
            }
            if recorder.ring.slots() < EVENTS / 2 {
                thread::yield_now();
                continue;
            }
            guard.handle(now, Event::Memory(memory(60 << 30)), &mut effects);
            effects.by_ref().for_each(drop);
            taken += 1;
            assert!(taken < 100_000, "it is kept without end");
        }
        guard.note_state(now);
        let recorder = guard.recorder.as_ref().expect("there is one");
        assert_eq!(recorder.state_at, now);
        assert!(!recorder.wake.lacks_state());
    }
}
