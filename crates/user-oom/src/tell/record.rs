//! What the loop tells the scribe: plain values of fixed size, so that telling
//! takes no memory. Only quiet rounds send [`Record::Note`], which does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use control::Signal;
use oom_policy::{
    Basis, Blame, Candidate, Cause, Class, Cost, Explanation, FirstSignal, Memory, Name, Process,
    ProcessId, Refusal, Respawner, Verdict,
};
use reaper::Tally;
use sensors::{CommandLine, Implausible, KernelFunction};
use value_registry::Labels;

/// One thing to write down.
#[derive(Debug)]
pub(crate) enum Record {
    /// Lines that are there already.
    Page(Box<str>),
    /// How things are, and in how long memory is full, where it falls.
    Status(Memory, Option<Duration>, PausedWords, Shortfalls),
    /// Memory is full soon.
    Forewarned {
        /// In so long, should it go on falling as it does.
        full_in: Duration,
        /// What would be killed first.
        next: Option<Victim>,
    },
    /// That is not known: memory could not be read for so long, and why.
    Unseen(Duration, Arc<str>),
    /// A status line where memory can be read, but not guarded, and why.
    Unguarded(Arc<str>),
    /// A decision.
    Decision(Heading),
    /// Its candidates follow.
    Columns,
    /// One of them.
    Candidate(Row),
    /// How many of them are not shown, each with less memory than those above.
    Unshown(u32),
    /// What the words of the rows above mean.
    Legend(Legend),
    /// Nothing is killed, and why.
    Refused {
        /// What had asked.
        cause: Cause,
        /// Why not.
        refusal: Refusal,
        /// Where the memory is; `None` while it cannot be read.
        memory: Option<Memory>,
    },
    /// Processes that are not candidates took the memory.
    Blamed(Blame),
    /// A signal was sent, or would have been.
    Signalled {
        /// To which process.
        victim: Victim,
        /// How it was started, and what its entry says.
        words: OwnWords,
        /// Which.
        signal: Signal,
        /// What for.
        why: KillReason,
        /// Whether it is the first that it gets.
        first: bool,
        /// Whether it was only said (`--dryrun`).
        dry: bool,
    },
    /// The watchdog has killed, or would have. Told by itself to the page alone.
    KilledByWatchdog {
        /// Which process.
        victim: Victim,
        /// For so long the loop has not run.
        idle: Duration,
        /// As the watchdog saw it.
        memory: Memory,
        /// Whether it was only said (`--dryrun`).
        dry: bool,
    },
    /// A worker is started again each time it is killed.
    ComesBack(Respawner),
    /// A unit is paused, or would have been.
    Paused {
        /// Its leader.
        leader: Victim,
        /// How it was started, and what its entry says.
        words: OwnWords,
        /// What for.
        cause: Cause,
        /// Whether it was only said (`--dryrun`).
        dry: bool,
    },
    /// A unit could not be paused.
    Unpaused {
        /// Its leader.
        leader: Victim,
        /// The error's number.
        errno: i32,
    },
    /// Memory of a paused unit is in swap.
    PushedOut {
        /// Its leader.
        leader: Victim,
        /// How much.
        bytes: u64,
        /// Whether that is all that was to be.
        is_complete: bool,
    },
    /// A paused unit goes on.
    Thawed {
        /// Its leader.
        leader: Victim,
        /// Since it was paused.
        after: Duration,
        /// What was pushed out of it.
        pushed_out_bytes: u64,
        /// Whether the daemon thawed it.
        by_us: bool,
    },
    /// A signal could not be sent.
    Unsignalled {
        /// To which process.
        victim: Victim,
        /// The error's number.
        errno: i32,
    },
    /// A victim is gone.
    Gone {
        /// Which.
        victim: Victim,
        /// Since its first signal.
        after: Duration,
    },
    /// A victim is alive, and is not waited for any longer.
    Stays {
        /// Which.
        victim: Victim,
        /// Since its first signal.
        after: Duration,
        /// Whether SIGKILL was sent. Else it was protected meanwhile, or could
        /// not be sent it.
        is_killed: bool,
        /// Where it waits in the kernel, if no signal ends that.
        stuck_in: Option<KernelFunction>,
    },
    /// All victims are gone, but for those that are not waited for any longer.
    Settled {
        /// How many are gone.
        processes: u32,
        /// What they held when they were signalled.
        counted_bytes: u64,
        /// What came back, where that is less than half of it.
        only_bytes: Option<u64>,
        /// MemAvailable + SwapFree when the first was signalled, where that was
        /// known.
        before_bytes: Option<u64>,
        /// The same once the last was gone.
        after_bytes: u64,
        /// Sum of the values lost.
        value: u64,
        /// From the decision to the end of the last.
        took: Duration,
    },
    /// The kernel's text says what cannot be true.
    Implausible {
        /// In this file.
        path: Arc<Path>,
        /// What, and what is taken in its place.
        what: Implausible,
    },
    /// Something that a quiet round has found.
    Note(log::Level, Box<str>),
    /// What was done to processes for which there was no room in the queue.
    Folded(Folded),
    /// So many records had no room in the queue.
    Dropped(u64),
    /// So many lines about the registry were not even told.
    Unsaid(u64),
}

impl Record {
    /// What was done to which pid, where that must not be lost.
    pub(crate) fn deed(&self) -> Option<(Deed, u32)> {
        match self {
            Self::Signalled {
                victim,
                signal,
                dry: false,
                ..
            } => match signal {
                Signal::Command => Some((Deed::Command, victim.id.pid)),
                Signal::Term => Some((Deed::Term, victim.id.pid)),
                Signal::Kill => Some((Deed::Kill, victim.id.pid)),
            },
            Self::KilledByWatchdog {
                victim, dry: false, ..
            } => Some((Deed::Kill, victim.id.pid)),
            Self::Gone { victim, .. } => Some((Deed::Gone, victim.id.pid)),
            _ => None,
        }
    }
}

/// What the status says of paused units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PausedWords {
    /// How many.
    pub(crate) count: u32,
    /// What the leader of the first is called.
    pub(crate) first: Option<Name>,
}

/// What does not go as it should, as far as it is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shortfalls {
    /// Processes without a descriptor kept, for want of descriptors.
    pub(crate) unheld: usize,
    /// Processes that cannot be read.
    pub(crate) unread: usize,
    /// What became of the memory that the reaper was to free.
    pub(crate) reaped: Tally,
    /// How many rules have matched no process, and where the first of them stands.
    pub(crate) unmatched: (usize, Option<Arc<str>>),
}

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A command is to end it.
    Command,
    /// It was sent SIGTERM.
    Term,
    /// It was sent SIGKILL.
    Kill,
    /// It has ended.
    Gone,
}

impl Deed {
    /// In the order in which they befall a process.
    pub(crate) const ALL: [Self; 4] = [Self::Command, Self::Term, Self::Kill, Self::Gone];
}

/// The same deed, done to several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folded {
    pub(crate) deed: Deed,
    pub(crate) pids: [u32; Self::PIDS],
    /// How many of `pids` count.
    pub(crate) count: usize,
}

impl Folded {
    /// As many as leave a record no larger than it is.
    pub(crate) const PIDS: usize = 16;
}

/// What a decision was about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heading {
    pub(crate) cause: Cause,
    /// `None` while it cannot be read.
    pub(crate) memory: Option<Memory>,
    pub(crate) need_bytes: u64,
    pub(crate) candidates: u32,
    pub(crate) chosen: u32,
    /// Whether they are paused, not killed.
    pub(crate) pauses: bool,
    /// Whether the choice covers the need: where nothing can, the one that
    /// frees the most for its cost is chosen.
    pub(crate) covers_need: bool,
    /// Zero: no choice would have cost less.
    pub(crate) gap: Cost,
    /// Reading the process table took this long.
    pub(crate) read: Duration,
    /// Choosing did.
    pub(crate) choose: Duration,
}

/// What a process says of itself, or its user.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnWords {
    /// How it was started, where that is known.
    pub(crate) command: Option<CommandLine>,
    /// The labels of its entry, where it has some.
    pub(crate) labels: Option<Labels>,
}

/// One candidate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) leader: ProcessId,
    pub(crate) name: Name,
    pub(crate) processes: u32,
    pub(crate) class: Class,
    pub(crate) explanation: Explanation,
    /// How many others end with it.
    pub(crate) ends: u32,
    pub(crate) oom_score: Option<u16>,
    pub(crate) rss_bytes: u64,
    pub(crate) growth_bytes_per_second: u64,
    pub(crate) treatment: Treatment,
}

/// What a decision does to a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    Keep,
    Kill,
    Pause,
    /// It was paused earlier, and stays so.
    StaysPaused,
}

impl Treatment {
    pub(crate) fn of(unit: &Candidate, verdict: Verdict) -> Self {
        match (unit.chosen, verdict) {
            (true, Verdict::Paused) => Self::Pause,
            (true, _) => Self::Kill,
            (false, _) if unit.is_paused => Self::StaysPaused,
            (false, _) => Self::Keep,
        }
    }
}

/// A process that was signalled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Victim {
    pub(crate) id: ProcessId,
    pub(crate) name: Name,
    pub(crate) uid: u32,
    pub(crate) oom_score: Option<u16>,
    /// `None`: it is not registered, or dies with one that is.
    pub(crate) value: Option<u32>,
    pub(crate) rss_bytes: u64,
    /// What it is sent instead of SIGTERM.
    pub(crate) first_signal: Option<FirstSignal>,
    /// The unit that it leads, where that is known.
    pub(crate) unit: Option<UnitLine>,
}

/// What a kill says of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnitLine {
    pub(crate) processes: u32,
    pub(crate) cost: Cost,
    /// Of what it holds now: the choice counts what it is expected to take, too.
    pub(crate) frees_bytes: u64,
}

impl UnitLine {
    pub(crate) fn new(unit: &Candidate) -> Self {
        Self {
            processes: unit.processes,
            cost: unit.explanation.cost,
            frees_bytes: unit.frees_bytes.min(unit.held_bytes),
        }
    }
}

/// Why a signal was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KillReason {
    /// There was something to decide.
    Decided(Cause),
    /// Its command failed, or its time is over.
    CommandIsOver,
    /// It was sent its first signal, SIGTERM where that is `None`, and its grace is over.
    GraceIsOver(Option<FirstSignal>),
    /// The watchdog has killed it, because the loop did not run.
    LoopHangs,
}

/// Words of a table that need an explanation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Legend {
    pub(crate) growing: bool,
    pub(crate) outgrows: bool,
    pub(crate) penalty: bool,
    pub(crate) share: bool,
    pub(crate) critical: bool,
    pub(crate) system: bool,
    pub(crate) ends: bool,
}

impl Legend {
    /// With what this row needs.
    pub(crate) fn add(&mut self, row: &Row) {
        let explanation = &row.explanation;
        self.system |= row.class == Class::System;
        self.ends |= row.ends > 0;
        if explanation.is_plain() {
            return;
        }
        self.growing |= explanation.growing && !explanation.outgrows;
        self.outgrows |= explanation.outgrows;
        self.penalty |= explanation.penalty > Cost::ZERO;
        self.share |= matches!(explanation.basis, Basis::Share(_));
        self.critical |= matches!(explanation.basis, Basis::Critical(_));
    }
}

impl Victim {
    /// `process`: where it is known by more than its id.
    pub(crate) fn new(id: ProcessId, process: Option<&Process>, oom_score: Option<u16>) -> Self {
        Self {
            id,
            name: process.map(|process| process.name).unwrap_or_default(),
            uid: process.map_or(u32::MAX, |process| process.uid),
            oom_score,
            value: process.and_then(|process| process.dossier.value),
            rss_bytes: process.map_or(0, |process| process.rss_bytes),
            first_signal: process.and_then(|process| process.dossier.label.signal),
            unit: None,
        }
    }

    /// What it is sent by `signal`, as signal(7) names it.
    pub(crate) fn signal_name(&self, signal: Signal) -> &'static str {
        match signal {
            Signal::Command => "command",
            Signal::Term => asks_by(self.first_signal),
            Signal::Kill => "SIGKILL",
        }
    }
}

/// The name of what asks a process to end where a rule names `first`.
pub(crate) fn asks_by(first: Option<FirstSignal>) -> &'static str {
    first.map_or("SIGTERM", FirstSignal::name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_frees_what_it_holds_and_not_what_it_would_take() {
        let candidate = |frees_bytes| Candidate {
            leader: ProcessId {
                pid: 7,
                start_ticks: 1,
            },
            name: Name::new(b"leak"),
            processes: 1,
            class: Class::Ordinary,
            explanation: Explanation::new(Basis::Value(1), true, Cost::ZERO),
            held_bytes: 300 << 20,
            growth_bytes_per_second: 200 << 20,
            frees_bytes,
            ends_with: None,
            ends: 0,
            is_paused: false,
            chosen: true,
        };
        assert_eq!(UnitLine::new(&candidate(1300 << 20)).frees_bytes, 300 << 20);
        // At a last call, swap does not count.
        assert_eq!(UnitLine::new(&candidate(100 << 20)).frees_bytes, 100 << 20);
    }
}
