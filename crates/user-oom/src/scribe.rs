//! The thread that writes to the terminal and the log.
//!
//! A terminal may be stopped and a disk may be full; the loop must not wait for
//! either. So what is to be written goes through bounded rings, and this thread
//! takes its time. Each source has a ring of its own, a [`Lane`], so that no
//! chatter takes the room of what was done, and every record has a number, so
//! that the lines stand in the order in which they were told. The rings are
//! wait-free: the standard library's channel takes a lock to wake its reader.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::bell::Bell;
use crate::hook::{HookCalls, Hooks};
use crate::main_log;
use crate::narrator::touched;
use crate::page;
use crate::record::{Deed, Folded, Record};

/// What was done by the loop. Where a decision kills more than there is room for,
/// they are named together.
const DONE: usize = 256;
/// Tables, the status line, and what a quiet round has found.
const NOTES: usize = 128;
/// What users make the registry say.
const CHATTER: usize = 64;
/// What became of hooks.
const OUTCOMES: usize = 64;
/// Pids of each [`Deed`] that are kept where a lane is full.
const FOLDED: usize = 512;
/// What users make the registry say is written up to so many lines at once,
const AT_ONCE: u32 = 256;
/// and one more after so long each.
const A_LINE: Duration = Duration::from_millis(50);
/// What the thread needs to format.
const STACK_BYTES: usize = 256 * 1024;
/// How long the end waits for a terminal that takes nothing.
const FAREWELL: Duration = Duration::from_secs(1);

/// A record, and how many were told before it.
type Numbered = (u64, Record);

/// Where the lanes end, before the thread is there that empties them.
#[derive(Debug)]
pub(crate) struct Desk {
    told: Arc<AtomicU64>,
    bell: Arc<Bell>,
    rings: Vec<rtrb::Consumer<Numbered>>,
}

impl Desk {
    /// # Errors
    ///
    /// What the kernel says of another eventfd.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            told: Arc::default(),
            bell: Arc::new(Bell::new()?),
            rings: Vec::new(),
        })
    }

    /// One more source, with room for so many records. All of it is written to
    /// once, so that it is there.
    pub(crate) fn lane(&mut self, records: usize) -> Lane {
        let (mut ring, mut end) = rtrb::RingBuffer::new(records);
        while ring.push((0, Record::Dropped(0))).is_ok() {}
        while end.pop().is_ok() {}
        self.rings.push(end);
        Lane {
            told: Arc::clone(&self.told),
            bell: Arc::clone(&self.bell),
            ring,
            folded: [const { Vec::new() }; Deed::ALL.len()],
            dropped: 0,
        }
    }

    /// All that was told and not read.
    #[cfg(test)]
    pub(crate) fn told(&mut self) -> Vec<Record> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// The next record in the order in which they were told.
    fn next(&mut self) -> Option<Record> {
        // What was told before a record that is seen is there by then, but may
        // have come after its lane was looked at; so all are looked at twice.
        if self.rings.iter().all(rtrb::Consumer::is_empty) {
            return None;
        }
        let number = |ring: &&mut rtrb::Consumer<Numbered>| match ring.peek() {
            Ok((number, _)) => *number,
            Err(_) => u64::MAX,
        };
        let (_, record) = self.rings.iter_mut().min_by_key(number)?.pop().ok()?;
        Some(record)
    }

    fn write_all(mut self, mut out: impl Write) {
        loop {
            // Asked before the rings are emptied, so nothing told before the
            // end is lost.
            let over = self.bell.is_over();
            while let Some(record) = self.next() {
                // A terminal that is gone is no reason to stop guarding the
                // machine.
                let _ = page::write(&mut out, &record);
            }
            let _ = out.flush();
            if over || self.bell.wait(std::iter::empty(), None).is_err() {
                return;
            }
        }
    }
}

/// One source's end of its ring. Takes no lock and no memory.
#[derive(Debug)]
pub(crate) struct Lane {
    told: Arc<AtomicU64>,
    bell: Arc<Bell>,
    ring: rtrb::Producer<Numbered>,
    /// By [`Deed`]: whom there was no room to name in a record of its own.
    folded: [Vec<u32>; Deed::ALL.len()],
    dropped: u64,
}

impl Lane {
    /// Keeps the pids of what was done while there is no room.
    fn folding(mut self) -> Self {
        self.folded = Deed::ALL.map(|_| touched(FOLDED, || 0));
        self
    }

    /// Hands `record` over. Where there is no room, a process that was
    /// signalled or has ended is named later, and anything else is counted.
    pub(crate) fn tell(&mut self, record: Record) {
        self.catch_up();
        if self.is_behind() || self.ring.is_full() {
            self.leave_out(&record);
        } else {
            self.push(record);
        }
        self.bell.ring();
    }

    /// Says what there was no room for, as far as there is now.
    pub(crate) fn catch_up(&mut self) {
        while self.is_behind() && !self.ring.is_full() {
            let record = self.fold().unwrap_or_else(|| {
                let dropped = std::mem::take(&mut self.dropped);
                Record::Dropped(dropped)
            });
            self.push(record);
            self.bell.ring();
        }
    }

    fn is_behind(&self) -> bool {
        self.dropped > 0 || self.folded.iter().any(|pids| !pids.is_empty())
    }

    fn leave_out(&mut self, record: &Record) {
        if let Some((deed, pid)) = record.deed() {
            let pids = &mut self.folded[deed as usize];
            if pids.len() < pids.capacity() {
                pids.push(pid);
                return;
            }
        }
        self.dropped += 1;
    }

    /// The first of those that were left out.
    fn fold(&mut self) -> Option<Record> {
        let deed = Deed::ALL
            .into_iter()
            .find(|deed| !self.folded[*deed as usize].is_empty())?;
        let left = &mut self.folded[deed as usize];
        let mut folded = Folded {
            deed,
            pids: [0; Folded::PIDS],
            count: left.len().min(Folded::PIDS),
        };
        for (to, from) in folded.pids.iter_mut().zip(left.drain(..folded.count)) {
            *to = from;
        }
        Some(Record::Folded(folded))
    }

    fn push(&mut self, record: Record) {
        let number = self.told.fetch_add(1, Ordering::Relaxed);
        // There is room: nobody else puts anything in.
        let _ = self.ring.push((number, record));
    }
}

/// The loop's lanes. The thread ends, having written all that waits, when this
/// is dropped; a terminal that takes nothing is left behind.
#[derive(Debug)]
pub(crate) struct Scribe {
    done: Lane,
    notes: Lane,
    chatter: Lane,
    allowance: Allowance,
    /// `None` where there is no hook.
    hooks: Option<HookCalls>,
    bell: Arc<Bell>,
    /// Nothing is sent; it is closed when the thread ends.
    ended: Receiver<Infallible>,
}

impl Scribe {
    /// Starts the thread, which writes to `out` what comes to `desk`; and, where there
    /// are hooks, theirs. A guard that cannot speak guards all the same.
    pub(crate) fn spawn(mut desk: Desk, hooks: Hooks, out: impl Write + Send + 'static) -> Self {
        let done = desk.lane(DONE).folding();
        let notes = desk.lane(NOTES);
        let chatter = desk.lane(CHATTER);
        let hooks = match hooks.is_empty() {
            true => None,
            false => HookCalls::spawn(hooks, desk.lane(OUTCOMES))
                .inspect_err(|err| log::warn!("no hook is run: cannot start their thread: {err}"))
                .ok(),
        };
        let bell = Arc::clone(&desk.bell);
        let (sender, ended) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("scribe".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let _sender = sender;
                desk.write_all(out);
            });
        if let Err(err) = thread {
            log::warn!("nothing is said from now on: cannot start the thread that writes: {err}");
            main_log::write_out();
        }
        Self {
            done,
            notes,
            chatter,
            allowance: Allowance::new(Instant::now()),
            hooks,
            bell,
            ended,
        }
    }

    /// One whose records a test reads.
    #[cfg(test)]
    pub(crate) fn unwritten() -> (Self, Desk) {
        let mut desk = Desk::new().expect("an eventfd");
        let (_, ended) = mpsc::channel();
        let scribe = Self {
            done: desk.lane(DONE),
            notes: desk.lane(NOTES),
            chatter: desk.lane(CHATTER),
            allowance: Allowance::new(Instant::now()),
            hooks: None,
            bell: Arc::clone(&desk.bell),
            ended,
        };
        (scribe, desk)
    }

    /// Hands `record` over, and has the hooks run that it calls for.
    pub(crate) fn tell(&mut self, record: Record) {
        if let Some(hooks) = &mut self.hooks {
            hooks.follow(&record);
        }
        let lane = match record {
            Record::Status(_) | Record::Candidate(_) | Record::Unshown(_) | Record::Note(..) => {
                &mut self.notes
            }
            _ => &mut self.done,
        };
        lane.tell(record);
    }

    /// Says something from a quiet round.
    pub(crate) fn note(&mut self, level: log::Level, text: impl fmt::Display) {
        if level <= log::max_level() {
            self.tell(Record::Note(level, text.to_string().into_boxed_str()));
        }
    }

    /// Says what a user has made the registry say, so much at a time; more is
    /// counted. From a quiet round.
    pub(crate) fn chat(&mut self, level: log::Level, text: impl fmt::Display) {
        if level > log::max_level() {
            return;
        }
        if self.allowance.spend(Instant::now()) {
            let text = text.to_string().into_boxed_str();
            self.chatter.tell(Record::Note(level, text));
        } else {
            self.allowance.unsaid += 1;
        }
    }

    /// Says what there was no room for. From a quiet round.
    pub(crate) fn catch_up(&mut self) {
        if 0 < self.allowance.unsaid && self.allowance.spend(Instant::now()) {
            let unsaid = std::mem::take(&mut self.allowance.unsaid);
            self.chatter.tell(Record::Unsaid(unsaid));
        }
        for lane in [&mut self.done, &mut self.notes, &mut self.chatter] {
            lane.catch_up();
        }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        let until = Instant::now() + FAREWELL;
        if let Some(hooks) = self.hooks.take() {
            hooks.end(until);
        }
        for lane in [&mut self.done, &mut self.notes, &mut self.chatter] {
            lane.catch_up();
        }
        self.bell.ring_the_end();
        let left = until.saturating_duration_since(Instant::now());
        let _ = self.ended.recv_timeout(left);
    }
}

/// How many lines may be said now: [`AT_ONCE`], then one each [`A_LINE`].
#[derive(Debug)]
struct Allowance {
    lines: u32,
    since: Instant,
    unsaid: u64,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self {
            lines: AT_ONCE,
            since: now,
            unsaid: 0,
        }
    }

    /// Whether one more may be said.
    fn spend(&mut self, now: Instant) -> bool {
        let gained = (now - self.since).as_millis() / A_LINE.as_millis();
        let gained = u32::try_from(gained).unwrap_or(AT_ONCE).min(AT_ONCE);
        if AT_ONCE - self.lines <= gained {
            self.lines = AT_ONCE;
            self.since = now;
        } else {
            self.lines += gained;
            self.since += A_LINE * gained;
        }
        let one = self.lines.checked_sub(1);
        self.lines = one.unwrap_or(0);
        one.is_some()
    }
}

#[cfg(test)]
mod tests {
    use oom_policy::{Name, ProcessId};

    use super::*;
    use crate::record::{Signal, Victim};

    fn terminated(pid: u32) -> Record {
        Record::Signalled {
            victim: Victim {
                id: ProcessId {
                    pid,
                    start_ticks: 1,
                },
                name: Name::new(b"train"),
                uid: 0,
                oom_score: None,
                value: None,
                rss_bytes: 0,
            },
            signal: Signal::Term,
            first: true,
            dry: false,
        }
    }

    #[test]
    fn lines_stand_in_the_order_in_which_they_were_told() {
        let mut desk = Desk::new().expect("an eventfd");
        let mut lanes = [8, 8, 8].map(|room| desk.lane(room));
        let order = [1, 0, 2, 2, 1, 0, 1];
        for (number, lane) in (0..).zip(order) {
            lanes[lane].tell(Record::Unshown(number));
        }
        let read = std::iter::from_fn(|| desk.next()).map(|record| match record {
            Record::Unshown(number) => number,
            other => panic!("{other:?}"),
        });
        assert!(read.eq(0..7));
    }

    #[test]
    fn whoever_has_no_line_of_its_own_is_named_once_there_is_room() {
        let mut desk = Desk::new().expect("an eventfd");
        let mut done = desk.lane(4).folding();
        for pid in 1..=30 {
            done.tell(terminated(pid));
        }
        done.tell(Record::Unshown(7));
        let mut named = Vec::new();
        let mut dropped = 0;
        for _ in 0..7 {
            match desk.next() {
                Some(Record::Signalled { victim, .. }) => named.push(victim.id.pid),
                Some(Record::Folded(folded)) => {
                    assert_eq!(folded.deed, Deed::Term);
                    named.extend_from_slice(&folded.pids[..folded.count]);
                }
                Some(Record::Dropped(count)) => dropped += count,
                other => panic!("{other:?}"),
            }
            done.catch_up();
        }
        assert!(named.into_iter().eq(1..=30));
        assert_eq!(dropped, 1, "the last was no deed");
        assert!(desk.next().is_none());
    }

    #[test]
    fn chatter_has_so_many_lines_at_once_and_then_one_after_the_other() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let mut spent = |after| {
            let now = start + after;
            std::iter::from_fn(|| allowance.spend(now).then_some(())).count()
        };
        assert_eq!(spent(Duration::ZERO), 256);
        assert_eq!(spent(Duration::from_millis(49)), 0);
        assert_eq!(spent(Duration::from_millis(75)), 1);
        // What is left of a line's time is not lost.
        assert_eq!(spent(Duration::from_millis(100)), 1);
        assert_eq!(spent(Duration::from_secs(1)), 18);
        assert_eq!(spent(Duration::from_secs(3600)), 256);
    }
}
