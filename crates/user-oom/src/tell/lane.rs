//! The way of a record from the loop to the scribe.
//!
//! Each source has a bounded ring of its own, a [`Lane`], so that no chatter
//! takes the room of what was done, and every record has a number, so that the
//! lines stand in the order in which they were told. The rings are wait-free:
//! the standard library's channel takes a lock to wake its reader.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::buffer::touched;
use crate::tell::bell::Bell;
use crate::tell::page::Page;
use crate::tell::record::{Deed, Folded, Record};

/// Pids of each [`Deed`] that are kept where a lane is full.
const FOLDED: usize = 512;

/// A record, how many were told before it, and when it was told.
#[derive(Debug)]
struct Told {
    number: u64,
    /// Since 1970.
    seconds: i64,
    /// Of which scope.
    scope: usize,
    record: Record,
}

/// Where the lanes end, before the thread is there that empties them.
#[derive(Debug)]
pub(crate) struct Desk {
    told: Arc<AtomicU64>,
    bell: Arc<Bell>,
    rings: Vec<rtrb::Consumer<Told>>,
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
        let filler = || Told {
            number: 0,
            seconds: 0,
            scope: 0,
            record: Record::Dropped(0),
        };
        while ring.push(filler()).is_ok() {}
        while end.pop().is_ok() {}
        self.rings.push(end);
        Lane {
            told: Arc::clone(&self.told),
            bell: Arc::clone(&self.bell),
            ring,
            folded: [const { Vec::new() }; Deed::ALL.len()],
            dropped: 0,
            scope: 0,
        }
    }

    /// What is rung when something is told.
    pub(crate) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    /// All that was told and not read.
    pub(crate) fn told(&mut self) -> Vec<Record> {
        let told = std::iter::from_fn(|| self.next());
        told.map(|told| told.record).collect()
    }

    /// The next record in the order in which they were told.
    fn next(&mut self) -> Option<Told> {
        // What was told before a record that is seen is there by then, but may
        // have come after its lane was looked at; so all are looked at twice.
        if self.rings.iter().all(rtrb::Consumer::is_empty) {
            return None;
        }
        let number = |ring: &&mut rtrb::Consumer<Told>| match ring.peek() {
            Ok(told) => told.number,
            Err(_) => u64::MAX,
        };
        self.rings.iter_mut().min_by_key(number)?.pop().ok()
    }

    /// Writes what comes to `page`, until the bell rings the end.
    pub(crate) fn write_all(mut self, mut page: Page<impl Write>) {
        loop {
            // Asked before the rings are emptied, so nothing told before the
            // end is lost.
            let over = self.bell.is_over();
            while let Some(told) = self.next() {
                // A terminal that is gone is no reason to stop guarding the
                // machine.
                let _ = page.write(told.seconds, told.scope, &told.record);
            }
            let _ = page.flush();
            if over || self.bell.wait(std::iter::empty(), None).is_err() {
                return;
            }
        }
    }
}

/// One source's end of its ring. Takes no lock, and no memory but for a note.
#[derive(Debug)]
pub(crate) struct Lane {
    told: Arc<AtomicU64>,
    bell: Arc<Bell>,
    ring: rtrb::Producer<Told>,
    /// By [`Deed`]: those there was no room to name in records of their own.
    folded: [Vec<u32>; Deed::ALL.len()],
    dropped: u64,
    /// Of which scope is told what is told.
    scope: usize,
}

impl Lane {
    /// Keeps the pids of what was done while there is no room.
    pub(crate) fn folding(mut self) -> Self {
        self.folded = Deed::ALL.map(|_| touched(FOLDED, || 0));
        self
    }

    /// What is told from now on is of that scope.
    pub(crate) fn turn(&mut self, scope: usize) {
        self.scope = scope;
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

    /// Says something that is not urgent, since this takes memory.
    pub(crate) fn note(&mut self, level: log::Level, text: impl Display) {
        self.tell(Record::Note(level, text.to_string().into_boxed_str()));
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
        // There is room: nothing else writes to it.
        let _ = self.ring.push(Told {
            number,
            seconds: seconds_since_1970(),
            scope: self.scope,
            record,
        });
    }
}

/// By the wall clock, which takes no system call (vdso(7)).
fn seconds_since_1970() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use oom_policy::{Name, ProcessId};

    use super::*;
    use crate::tell::record::{KillReason, OwnWords, Signal, Victim};

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
                first_signal: None,
                unit: None,
            },
            words: OwnWords::default(),
            signal: Signal::Term,
            why: KillReason::GraceIsOver(None),
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
        let read = std::iter::from_fn(|| desk.next()).map(|told| match told.record {
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
            match desk.next().map(|told| told.record) {
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
}
