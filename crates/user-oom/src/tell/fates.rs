//! What was done to the last victims, kept for `psi-monitor --fate` and `user-oomctl
//! history`. Of fixed size: noting a signal takes no memory.

use control::{Denial, Reply};
use oom_policy::{Cause, FirstSignal, Level, Moment, Name, ProcessId};

use crate::tell::record::{Signal, Victim};

/// So many victims are remembered.
const KEPT: usize = 64;

/// The last [`KEPT`] victims; the oldest makes room for the next.
#[derive(Clone, Debug)]
pub(crate) struct Fates {
    list: [Option<Fate>; KEPT],
    next: usize,
    /// How often it has changed.
    version: u64,
}

#[derive(Clone, Copy, Debug)]
struct Fate {
    id: ProcessId,
    name: Name,
    uid: u32,
    value: Option<u32>,
    first: Signal,
    last: Signal,
    first_signal: Option<FirstSignal>,
    cause: control::Grounds,
    need_bytes: u64,
    held_bytes: u64,
    signalled: Moment,
    gone: Option<Moment>,
}

impl Fates {
    pub(crate) fn new() -> Self {
        Self {
            list: [None; KEPT],
            next: 0,
            version: 0,
        }
    }

    /// Becomes a copy of `other`.
    pub(crate) fn follow(&mut self, other: &Self) {
        if self.version != other.version {
            self.clone_from(other);
        }
    }

    /// `signal` was sent to `victim`; the first one for `cause`, when so much
    /// was needed.
    pub(crate) fn signalled(
        &mut self,
        now: Moment,
        victim: &Victim,
        signal: Signal,
        (cause, need_bytes): (Option<Cause>, u64),
    ) {
        self.version += 1;
        if let Some(fate) = self.find(|fate| fate.id == victim.id) {
            fate.last = signal;
            // It may be gone from the table by now, and hold nothing.
            if victim.rss_bytes > 0 {
                fate.held_bytes = victim.rss_bytes;
            }
            return;
        }
        self.list[self.next] = Some(Fate {
            id: victim.id,
            name: victim.name,
            uid: victim.uid,
            value: victim.value,
            first: signal,
            last: signal,
            first_signal: victim.first_signal,
            cause: word_of(cause),
            need_bytes,
            held_bytes: victim.rss_bytes,
            signalled: now,
            gone: None,
        });
        self.next = (self.next + 1) % KEPT;
    }

    /// The victim `id` is gone.
    pub(crate) fn gone(&mut self, now: Moment, id: ProcessId) {
        self.version += 1;
        if let Some(fate) = self.find(|fate| fate.id == id) {
            fate.gone.get_or_insert(now);
        }
    }

    /// What was done to `pid`: of several that had it, to the last.
    pub(crate) fn tell(&self, now: Moment, pid: u32) -> Reply {
        let of_that_pid = self.list.iter().flatten().filter(|fate| fate.id.pid == pid);
        let last = of_that_pid.max_by_key(|fate| fate.signalled);
        last.map_or(Reply::Refused(Denial::NoVictim {}), |fate| {
            Reply::Fate(fate.told(now))
        })
    }

    /// What was done to all, to the last of them last. `may_name`: whether processes of
    /// that user are named.
    pub(crate) fn all(&self, now: Moment, may_name: impl Fn(u32) -> bool) -> Vec<control::Fate> {
        let mut fates: Vec<_> = self.list.iter().flatten().collect();
        fates.sort_by_key(|fate| fate.signalled);
        let told = |fate: &Fate| control::Fate {
            name: may_name(fate.uid).then(|| fate.name.to_string()),
            ..fate.told(now)
        };
        fates.into_iter().map(told).collect()
    }

    fn find(&mut self, is_it: impl Fn(&Fate) -> bool) -> Option<&mut Fate> {
        self.list.iter_mut().flatten().find(|fate| is_it(fate))
    }
}

impl Fate {
    fn told(&self, now: Moment) -> control::Fate {
        let fate = self;
        control::Fate {
            pid: fate.id.pid,
            name: None,
            value: fate.value,
            first: fate.first,
            last: fate.last,
            term_signal: fate.first_signal.map(|first| first.name().to_owned()),
            cause: fate.cause,
            need_bytes: fate.need_bytes,
            held_bytes: fate.held_bytes,
            since: now.since(fate.signalled),
            gone_after: fate.gone.map(|gone| gone.since(fate.signalled)),
        }
    }
}

/// A first signal is never sent without a cause.
fn word_of(cause: Option<Cause>) -> control::Grounds {
    match cause {
        Some(Cause::LastCall) => control::Grounds::LastCall,
        Some(Cause::Relief) => control::Grounds::Relief,
        Some(Cause::Level(Level::Kill)) => control::Grounds::Kill,
        // Nothing is killed for the last three.
        Some(
            Cause::Level(Level::Ok | Level::Warn) | Cause::Stall | Cause::TimeSlice | Cause::Word,
        )
        | None => control::Grounds::Warn,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stand_in::at;

    fn victim(pid: u32, start_ticks: u64) -> Victim {
        Victim {
            id: ProcessId { pid, start_ticks },
            name: Name::new(b"train"),
            uid: 0,
            oom_score: None,
            value: Some(5),
            rss_bytes: 300 << 20,
            first_signal: None,
            unit: None,
        }
    }

    const WHY: (Option<Cause>, u64) = (Some(Cause::Level(Level::Warn)), 200 << 20);
    const SECOND: Duration = Duration::from_secs(1);

    #[track_caller]
    fn told(fates: &Fates, pid: u32) -> control::Fate {
        match fates.tell(at(20 * SECOND), pid) {
            Reply::Fate(fate) => fate,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_signals_of_a_victim_and_its_end_are_one_fate() {
        let mut fates = Fates::new();
        let victim = victim(7, 1);
        fates.signalled(at(2 * SECOND), &victim, Signal::Term, WHY);
        assert_eq!(told(&fates, 7).gone_after, None);
        fates.signalled(at(7 * SECOND), &victim, Signal::Kill, WHY);
        fates.gone(at(8 * SECOND), victim.id);
        let fate = told(&fates, 7);
        assert_eq!(fate.first, Signal::Term);
        assert_eq!(fate.last, Signal::Kill);
        assert_eq!(fate.cause, control::Grounds::Warn);
        assert_eq!(fate.since, 18 * SECOND);
        assert_eq!(fate.gone_after, Some(6 * SECOND));
        // Its name is for those that may see it.
        let name = |may_name: fn(u32) -> bool| fates.all(at(20 * SECOND), may_name).remove(0).name;
        assert_eq!(name(|uid| uid == 0), Some("train".to_owned()));
        assert_eq!(name(|uid| uid == 1000), None);
    }

    #[test]
    fn of_two_that_had_the_pid_the_last_is_told_of() {
        let mut fates = Fates::new();
        fates.signalled(at(SECOND), &victim(7, 1), Signal::Kill, WHY);
        fates.signalled(at(3 * SECOND), &victim(7, 2), Signal::Term, WHY);
        assert_eq!(told(&fates, 7).since, 17 * SECOND);
    }

    #[test]
    fn the_oldest_makes_room_and_a_stranger_is_no_victim() {
        let mut fates = Fates::new();
        for pid in 1..=65 {
            fates.signalled(at(SECOND), &victim(pid, 1), Signal::Kill, WHY);
        }
        let none = Reply::Refused(Denial::NoVictim {});
        assert_eq!(fates.tell(at(SECOND), 1), none);
        assert_eq!(told(&fates, 2).pid, 2);
        assert_eq!(told(&fates, 65).pid, 65);
        assert_eq!(fates.tell(at(SECOND), 66), none);
    }
}
