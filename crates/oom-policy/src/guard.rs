//! The machine that guards: events in, effects out.
//!
//! It is the only door to deciding. What it is told is a plain value, and so
//! is what it wants done, so minutes of guarding are a test of microseconds.

use std::time::Duration;

use model::{
    Answer, Ask, Cause, Decision, Depth, Effect, Effects, Event, Level, Memory, Process, Refusal,
    Verdict,
};

use crate::gate::Gate;
use crate::policy::{Policy, Seen};
use crate::schedule::{Occasion, Schedule};
use crate::settings::Settings;

/// How many choices are tried at one last call: what turns out to be gone or
/// cannot be signalled is not chosen again.
const LAST_CALL_TRIES: u32 = 8;
/// Between two looks while a last call cannot be helped.
const LAST_CALL_PAUSE: Duration = Duration::from_millis(10);

/// What the guard's surroundings can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Signals are reported and not sent (`--dryrun`).
    pub dry_run: bool,
    /// The kernel asks before it kills.
    pub kernel_asks: bool,
}

/// Decides when to look, how deep, what to kill, and in which order things are
/// done.
///
/// No call allocates memory, as long as there are no more processes than
/// [`Guard::new`] or [`Guard::reserve`] made room for and the effects have
/// room.
#[derive(Debug)]
pub struct Guard {
    policy: Policy,
    gate: Gate,
    schedule: Schedule,
    surroundings: Surroundings,
    memory: Memory,
    level: Level,
    /// Relief was asked for since memory was last read.
    relief: bool,
    round: Round,
}

/// The decision that is under way.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    ask: Ask,
    /// The last call that it is for.
    sequence: Option<u64>,
    /// How many choices may yet be tried for it.
    tries: u32,
    depth: Option<Depth>,
    /// Actions whose outcome is yet to be told.
    awaited: usize,
    sent: usize,
}

impl Guard {
    /// A guard with room for `processes` processes. `gate` counts the stalls
    /// it is told of.
    #[must_use]
    pub fn new(
        settings: Settings,
        gate: Gate,
        surroundings: Surroundings,
        processes: usize,
    ) -> Self {
        Self {
            policy: Policy::new(settings, processes),
            gate,
            schedule: Schedule::default(),
            surroundings,
            memory: Memory::default(),
            level: Level::Ok,
            relief: false,
            round: Round::default(),
        }
    }

    /// Makes room for `processes` processes: in quiet rounds, because it may
    /// allocate.
    pub fn reserve(&mut self, processes: usize) {
        self.policy.reserve(processes);
    }

    /// As of the last look.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// As last told.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What was decided last, with its explanation.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        self.policy.decision()
    }

    /// Whether the free pages in the lists of each CPU matter for `memory`:
    /// victims are awaited, or there is not so much that nothing is decided.
    /// Reading them costs.
    #[must_use]
    pub fn needs_exact(&self, memory: &Memory) -> bool {
        self.policy.awaits_victims() || !self.policy.has_recovered(memory)
    }

    /// Takes in what happened, and adds what is to be done about it to
    /// `effects`.
    ///
    /// `now` counts from any fixed origin of a clock that does not run back.
    pub fn handle(&mut self, now: Duration, event: Event<'_>, effects: &mut Effects) {
        match event {
            Event::Memory(memory) => self.look(now, memory, effects),
            Event::Table { depth, processes } => self.decide(now, depth, processes, effects),
            Event::Stalled => {
                self.schedule.stalled();
                self.relief |= self.gate.fired(now) == Ask::Relief;
            }
            Event::Asked => self.relief = true,
            Event::LastCall { sequence, memory } => {
                self.memory = memory;
                self.round = Round {
                    ask: Ask::LastCall,
                    sequence: Some(sequence),
                    tries: LAST_CALL_TRIES,
                    ..Round::default()
                };
                effects.push(Effect::ReadTable(Depth::Held));
            }
            Event::Sent(_) => {
                self.round.sent += 1;
                self.settle_one(now, effects);
            }
            Event::Gone(id) => {
                self.policy.gone(id);
                self.settle_one(now, effects);
            }
            Event::Unsent(id) => {
                self.policy.unsent(id);
                self.settle_one(now, effects);
            }
            Event::Refused(id) => {
                self.policy.refused(id);
                self.settle_one(now, effects);
            }
        }
    }

    /// Memory was read: is there anything to decide?
    fn look(&mut self, now: Duration, memory: Memory, effects: &mut Effects) {
        let asked = std::mem::take(&mut self.relief);
        let ask = if asked { Ask::Relief } else { Ask::Nobody };
        let look = self.policy.look(now, &memory, ask);
        self.memory = memory;
        self.level = look.level;
        effects.push(Effect::LookAgain {
            after: look.wake_after,
        });
        if self.schedule.is_quiet(now) {
            if asked {
                effects.push(Effect::Answer(Answer::DryRun));
            }
            return;
        }
        let depth = self.schedule.depth(Occasion {
            now,
            memory: &memory,
            level: look.level,
            asked,
            busy: self.policy.awaits_victims(),
            is_news: look.wants_table,
        });
        if let Some(depth) = depth {
            self.round = Round {
                ask,
                ..Round::default()
            };
            effects.push(Effect::ReadTable(depth));
        }
    }

    /// The table was read: decide, and have it done.
    fn decide(
        &mut self,
        now: Duration,
        depth: Depth,
        processes: &[Process],
        effects: &mut Effects,
    ) {
        self.schedule.was_read(now, depth);
        let seen = Seen {
            memory: &self.memory,
            ask: self.round.ask,
            processes,
        };
        let decision = self.policy.decide(now, seen);
        for action in &decision.actions {
            effects.push(Effect::Act(*action));
        }
        self.round.depth = Some(depth);
        self.round.awaited = decision.actions.len();
        self.round.sent = 0;
        if self.round.awaited == 0 {
            self.conclude(now, effects);
        }
    }

    /// What became of one action is known.
    fn settle_one(&mut self, now: Duration, effects: &mut Effects) {
        // A victim may end long after its round.
        if let Some(awaited) = self.round.awaited.checked_sub(1) {
            self.round.awaited = awaited;
            if awaited == 0 {
                self.conclude(now, effects);
            }
        }
    }

    /// All signals are sent. What comes now is in the order of what waits for
    /// it: the kernel, memory, those who asked, those who read.
    fn conclude(&mut self, now: Duration, effects: &mut Effects) {
        let decision = self.policy.decision();
        let is_pending = matches!(decision.verdict, Verdict::Refused(Refusal::Promised { .. }));
        let memory_will_come = self.round.sent > 0 || is_pending;
        if let Some(sequence) = self.round.sequence.filter(|_| memory_will_come) {
            effects.push(Effect::AnswerKernel { sequence });
        }
        if self.round.sent > 0 {
            effects.push(Effect::Free);
        }
        if let Some(answer) = answer(decision, self.round.sent, self.surroundings.dry_run) {
            effects.push(Effect::Answer(answer));
        }
        effects.push(Effect::Tell);
        if self.surroundings.dry_run && decision.verdict == Verdict::Chosen {
            self.schedule.keep_quiet(now);
        }
        let is_settled = memory_will_come || decision.actions.is_empty();
        let wake_after = decision.wake_after;
        match self.round.sequence {
            None => {
                if let Some(after) = wake_after {
                    effects.push(Effect::LookAgain { after });
                }
                self.rest(effects);
            }
            Some(_) if !is_settled && self.round.tries > 1 => {
                self.round.tries -= 1;
                effects.push(Effect::ReadTable(Depth::Held));
                return;
            }
            Some(_) => effects.push(Effect::LookAgain {
                after: wake_after.filter(|_| is_settled).unwrap_or(LAST_CALL_PAUSE),
            }),
        }
        self.round = Round::default();
    }

    /// What a round that is not urgent leaves time for.
    fn rest(&self, effects: &mut Effects) {
        if self.surroundings.kernel_asks && self.level == Level::Ok {
            effects.push(Effect::HoldAhead);
        }
        if self.round.depth == Some(Depth::Full) {
            effects.push(Effect::Rest);
        }
    }
}

/// What those who asked for relief are told; `None` where nothing was decided.
fn answer(decision: &Decision, sent: usize, dry_run: bool) -> Option<Answer> {
    let granted = Answer::Granted {
        signals: sent,
        bytes: decision.given_up_bytes,
    };
    match decision.verdict {
        Verdict::Chosen if dry_run => Some(Answer::DryRun),
        Verdict::Chosen => Some(granted),
        Verdict::Idle => decision.cause.map(|_: Cause| granted),
        Verdict::Refused(refusal) => Some(Answer::Refused(refusal)),
    }
}
