//! What happens, on its way to those that subscribe: fixed values in a ring, so that
//! the loop neither waits nor takes memory for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use control::{Condition, EventKind, Happened};
use oom_policy::{Cause, FirstSignal, Memory, Name};

use crate::tell::bell::Bell;
use crate::tell::page::{CauseName, ReasonName};
use crate::tell::record::{KillReason, Record, Signal, Victim};

/// As much as is done to a large unit at once.
const ROOM: usize = 128;

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FeedItem {
    what: EventKind,
    time: SystemTime,
    level: Option<Stand>,
    process: Option<FeedProcess>,
    signal: Option<Signal>,
    why: Option<Why>,
    dry: bool,
    held_bytes: Option<u64>,
    after: Option<Duration>,
    lost: u64,
}

#[derive(Clone, Copy, Debug)]
struct Stand {
    level: Condition,
    available_bytes: u64,
    swap_free_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct FeedProcess {
    pid: u32,
    name: Name,
    uid: u32,
    value: Option<u32>,
    first_signal: Option<FirstSignal>,
}

#[derive(Clone, Copy, Debug)]
enum Why {
    Kill(KillReason),
    Pause(Cause),
}

impl FeedItem {
    fn new(what: EventKind, victim: Option<&Victim>) -> Self {
        Self {
            what,
            time: SystemTime::now(),
            level: None,
            process: victim.map(|victim| FeedProcess {
                pid: victim.id.pid,
                name: victim.name,
                uid: victim.uid,
                value: victim.value,
                first_signal: victim.first_signal,
            }),
            signal: None,
            why: None,
            dry: false,
            held_bytes: None,
            after: None,
            lost: 0,
        }
    }

    fn of(record: &Record) -> Option<Self> {
        Some(match record {
            Record::Forewarned { full_in, next } => Self {
                after: Some(*full_in),
                ..Self::new(EventKind::Forecast, next.as_ref())
            },
            Record::Signalled {
                victim,
                signal,
                why,
                dry,
                ..
            } => Self {
                signal: Some(*signal),
                why: Some(Why::Kill(*why)),
                dry: *dry,
                held_bytes: Some(victim.rss_bytes),
                ..Self::new(EventKind::Signal, Some(victim))
            },
            Record::Paused {
                leader, cause, dry, ..
            } => Self {
                why: Some(Why::Pause(*cause)),
                dry: *dry,
                held_bytes: Some(leader.rss_bytes),
                ..Self::new(EventKind::Paused, Some(leader))
            },
            Record::Unpaused { leader, .. } => Self::new(EventKind::Continued, Some(leader)),
            Record::Thawed {
                leader,
                after,
                by_us,
                ..
            } => {
                let what = if *by_us {
                    EventKind::Thawed
                } else {
                    EventKind::Continued
                };
                Self {
                    after: Some(*after),
                    ..Self::new(what, Some(leader))
                }
            }
            Record::Gone { victim, after } => Self {
                after: Some(*after),
                ..Self::new(EventKind::Gone, Some(victim))
            },
            Record::Stays { victim, after, .. } => Self {
                after: Some(*after),
                ..Self::new(EventKind::Stays, Some(victim))
            },
            _ => return None,
        })
    }

    /// As it is told; `names`: whether that user may know this user's processes'
    /// names.
    pub(crate) fn told(&self, names: impl Fn(u32) -> bool) -> Happened {
        let since = self.time.duration_since(SystemTime::UNIX_EPOCH);
        let why = self.why.map(|why| match why {
            Why::Kill(reason) => ReasonName(reason).to_string(),
            Why::Pause(cause) => CauseName(cause).to_string(),
        });
        let named = self.process.filter(|it| names(it.uid));
        let level = self.level;
        Happened {
            what: self.what,
            time_ms: since.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)),
            level: level.map(|it| it.level),
            available_bytes: level.map(|it| it.available_bytes),
            swap_free_bytes: level.map(|it| it.swap_free_bytes),
            pid: self.process.map(|it| it.pid),
            name: named.map(|it| it.name.to_string()),
            uid: self.process.map(|it| it.uid),
            value: self.process.and_then(|it| it.value),
            signal: self.signal,
            term_signal: self
                .process
                .filter(|_| self.signal == Some(Signal::Term))
                .and_then(|it| it.first_signal)
                .map(|first| first.name().to_owned()),
            why: why.map(|why| match self.dry {
                true => format!("dry run, nothing is done: {why}"),
                false => why,
            }),
            held_bytes: self.held_bytes,
            after: self.after,
            count: (self.what == EventKind::Lost).then_some(self.lost),
        }
    }
}

/// The loop's end.
#[derive(Debug)]
pub(crate) struct Feed {
    ring: rtrb::Producer<FeedItem>,
    /// Whether any subscribes; else nothing is told.
    is_wanted: Arc<AtomicBool>,
    bell: Arc<Bell>,
    level: Option<Condition>,
    lost: u64,
}

impl Feed {
    /// And the other end. `bell` is rung when something is told.
    pub(crate) fn new(
        is_wanted: Arc<AtomicBool>,
        bell: Arc<Bell>,
    ) -> (Self, rtrb::Consumer<FeedItem>) {
        let (mut ring, mut end) = rtrb::RingBuffer::new(ROOM);
        // All of it is written to once, so that it is there.
        while ring.push(FeedItem::new(EventKind::Lost, None)).is_ok() {}
        while end.pop().is_ok() {}
        let feed = Self {
            ring,
            is_wanted,
            bell,
            level: None,
            lost: 0,
        };
        (feed, end)
    }

    /// Tells of `record`, where that is of interest.
    pub(crate) fn follow(&mut self, record: &Record) {
        if let Some(item) = FeedItem::of(record).filter(|_| self.is_wanted()) {
            self.put(item);
        }
    }

    /// This is the level now; told where it has changed.
    pub(crate) fn level(&mut self, level: Condition, memory: &Memory) {
        let has_changed = self.level.replace(level) != Some(level);
        if has_changed && self.is_wanted() {
            self.put(FeedItem {
                level: Some(Stand {
                    level,
                    available_bytes: memory.available_bytes,
                    swap_free_bytes: memory.swap_free_bytes,
                }),
                ..FeedItem::new(EventKind::Level, None)
            });
        }
    }

    fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Acquire)
    }

    fn put(&mut self, item: FeedItem) {
        if 0 < self.lost {
            let lost = FeedItem {
                lost: self.lost,
                ..FeedItem::new(EventKind::Lost, None)
            };
            if self.ring.push(lost).is_ok() {
                self.lost = 0;
            }
        }
        if self.lost > 0 || self.ring.push(item).is_err() {
            self.lost += 1;
        }
        self.bell.ring();
    }
}

#[cfg(test)]
mod tests {
    use oom_policy::ProcessId;

    use super::*;
    use crate::tell::record::OwnWords;

    #[test]
    fn the_signal_that_a_rule_names_is_told() {
        let told = |signal| {
            let id = ProcessId {
                pid: 7,
                start_ticks: 1,
            };
            let victim = Victim {
                first_signal: Some(FirstSignal::User1),
                ..Victim::new(id, None, None)
            };
            let record = Record::Signalled {
                victim,
                words: OwnWords::default(),
                signal,
                why: KillReason::GraceIsOver(victim.first_signal),
                first: true,
                dry: false,
            };
            FeedItem::of(&record).expect("it is told").told(|_| true)
        };
        assert_eq!(told(Signal::Term).term_signal.as_deref(), Some("SIGUSR1"));
        let killed = told(Signal::Kill);
        assert_eq!(killed.term_signal, None);
        let why = killed.why.expect("it is said");
        assert_eq!(why, "still alive after SIGUSR1 and grace");
    }
}
