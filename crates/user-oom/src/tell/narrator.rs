//! Tells the scribe what was decided, what was done about it, and the candidates
//! that explain both.

use std::time::Duration;

use oom_policy::{Candidate, Cause, Decision, Memory, Process, ProcessId, Refusal, Verdict};

use crate::buffer::{reserve_to, touched};
use crate::tell::record::{
    Heading, KillReason, Legend, OwnWords, Record, Row, Signal, Treatment, Victim,
};
use crate::tell::scribe::Scribe;

/// Candidates that are printed beside the chosen and the registered.
const SHOWN: usize = 10;

/// A decision, and what it was made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decided<'a> {
    pub(crate) decision: &'a Decision,
    /// By ascending pid.
    pub(crate) processes: &'a [Process],
    /// `None` while it cannot be read.
    pub(crate) memory: Option<&'a Memory>,
}

/// How long sensing and deciding took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Took {
    pub(crate) read: Duration,
    pub(crate) choose: Duration,
}

/// What was done to a process: less than half of a [`Record`], since room is
/// kept for as many as there are processes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Done {
    Signalled {
        victim: Victim,
        signal: Signal,
        why: KillReason,
        first: bool,
        dry: bool,
    },
    Unsignalled {
        victim: Victim,
        errno: i32,
    },
    Paused {
        leader: Victim,
        cause: Cause,
        dry: bool,
    },
}

impl Done {
    pub(crate) fn record(self, words: impl Fn(ProcessId) -> OwnWords) -> Record {
        match self {
            Self::Signalled {
                victim,
                signal,
                why,
                first,
                dry,
            } => Record::Signalled {
                words: words(victim.id),
                victim,
                signal,
                why,
                first,
                dry,
            },
            Self::Unsignalled { victim, errno } => Record::Unsignalled { victim, errno },
            Self::Paused { leader, cause, dry } => Record::Paused {
                words: words(leader.id),
                leader,
                cause,
                dry,
            },
        }
    }
}

/// Says each thing once, and what was done after what was decided.
#[derive(Debug)]
pub(crate) struct Narrator {
    /// What was done and is yet to be told.
    done: Vec<Done>,
    /// Indices into a decision's candidates, while they are printed.
    order: Vec<u32>,
    /// Why nothing was killed the last time that was said.
    said: Option<(Cause, std::mem::Discriminant<Refusal>)>,
}

impl Narrator {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            done: touched(capacity, || {
                let nothing = ProcessId {
                    pid: 0,
                    start_ticks: 0,
                };
                Done::Unsignalled {
                    victim: Victim::new(nothing, None, None),
                    errno: 0,
                }
            }),
            order: touched(capacity, || 0),
            said: None,
        }
    }

    /// Makes room for so many processes; for quiet rounds.
    pub(crate) fn reserve(&mut self, processes: usize) {
        reserve_to(&mut self.order, processes);
        reserve_to(&mut self.done, processes);
    }

    /// Keeps what was done until it is told.
    pub(crate) fn note(&mut self, done: Done) {
        self.done.push(done);
    }

    /// Says what was decided, what was done about it, and what there was to
    /// choose from.
    pub(crate) fn tell(
        &mut self,
        decided: Decided<'_>,
        took: Took,
        score: impl FnMut(u32) -> Option<u16>,
        words: impl Fn(ProcessId) -> OwnWords,
        scribe: &mut Scribe,
    ) {
        let mut is_chosen = false;
        if let Some(respawner) = decided.decision.respawner {
            scribe.tell(Record::ComesBack(respawner));
        }
        match (decided.decision.cause, decided.decision.verdict) {
            (None, _) => self.said = None,
            // Tasks may stall for long, and nothing is the matter: what may be
            // killed for it is asked for as relief.
            (Some(_), Verdict::Idle)
            | (Some(Cause::Stall | Cause::TimeSlice), Verdict::Refused(_))
            | (Some(_), Verdict::Refused(Refusal::Unsurveyed)) => {}
            (Some(cause), Verdict::Refused(refusal)) => {
                let reason = (cause, std::mem::discriminant(&refusal));
                // While it lasts it is said once, not every 50 ms.
                if self.said != Some(reason) || cause == Cause::Relief {
                    self.said = Some(reason);
                    scribe.tell(Record::Refused {
                        cause,
                        refusal,
                        memory: decided.memory.copied(),
                    });
                    if refusal == Refusal::TakenByOthers {
                        self.tell_blame(decided, scribe);
                    }
                }
            }
            // There was nothing to choose from.
            (Some(Cause::Word), _) => {}
            (Some(cause), Verdict::Chosen | Verdict::Paused) => {
                self.said = None;
                scribe.tell(Record::Decision(heading(cause, decided, took)));
                is_chosen = true;
            }
        }
        for done in self.done.drain(..) {
            scribe.tell(done.record(&words));
        }
        if is_chosen {
            self.tell_candidates(decided, score, scribe);
            self.tell_blame(decided, scribe);
            self.note_labels(decided, words, scribe);
        }
    }

    /// Of the candidates that were told of: those that hold the most first.
    fn note_labels(
        &self,
        decided: Decided<'_>,
        words: impl Fn(ProcessId) -> OwnWords,
        scribe: &mut Scribe,
    ) {
        let told = self.order.iter();
        let units = told.filter_map(|&index| decided.decision.candidates.get(index as usize));
        for unit in units.filter(|unit| unit.explanation.value().is_some()) {
            if let Some(labels) = words(unit.leader).labels {
                scribe.labels(unit.leader, labels);
            }
        }
    }

    fn tell_blame(&self, decided: Decided<'_>, scribe: &mut Scribe) {
        if let Some(blame) = decided.decision.blame {
            scribe.tell(Record::Blamed(blame));
        }
    }

    /// Of the candidates, the chosen, the registered and those that hold the
    /// most.
    fn tell_candidates(
        &mut self,
        decided: Decided<'_>,
        mut score: impl FnMut(u32) -> Option<u16>,
        scribe: &mut Scribe,
    ) {
        let units = &decided.decision.candidates;
        let is_certain = |unit: &Candidate| unit.chosen || unit.explanation.value().is_some();
        self.order.clear();
        self.order.extend(0..count(units.len()));
        self.order.sort_unstable_by_key(|&index| {
            let unit = &units[index as usize];
            let held = std::cmp::Reverse(unit.held_bytes);
            (!is_certain(unit), !unit.chosen, held)
        });
        let certain = units.iter().filter(|unit| is_certain(unit)).count();
        let shown = units.len().min(certain.max(SHOWN));
        let mut legend = Legend::default();
        scribe.tell(Record::Columns);
        for &index in &self.order[..shown] {
            let unit = &units[index as usize];
            let leader = Process::find(decided.processes, unit.leader);
            let row = Row {
                leader: unit.leader,
                name: unit.name,
                processes: unit.processes,
                class: unit.class,
                explanation: unit.explanation,
                ends: unit.ends,
                oom_score: score(unit.leader.pid),
                rss_bytes: leader.map_or(0, |process| process.rss_bytes),
                growth_bytes_per_second: unit.growth_bytes_per_second,
                treatment: Treatment::of(unit, decided.decision.verdict),
            };
            legend.add(&row);
            scribe.tell(Record::Candidate(row));
        }
        if shown < units.len() {
            scribe.tell(Record::Unshown(count(units.len() - shown)));
        }
        if legend != Legend::default() {
            scribe.tell(Record::Legend(legend));
        }
    }
}

fn heading(cause: Cause, decided: Decided<'_>, took: Took) -> Heading {
    let decision = decided.decision;
    let chosen = decision.candidates.iter().filter(|unit| unit.chosen);
    Heading {
        cause,
        memory: decided.memory.copied(),
        need_bytes: decision.need_bytes,
        candidates: count(decision.candidates.len()),
        chosen: count(chosen.count()),
        pauses: decision.verdict == Verdict::Paused,
        covers_need: decision.covers_need,
        gap: decision.gap,
        read: took.read,
        choose: took.choose,
    }
}

fn count(units: usize) -> u32 {
    u32::try_from(units).unwrap_or(u32::MAX)
}
