//! The machine that guards: events in, effects out.
//!
//! It is the only door to deciding. What it is told is a plain value, and so
//! is what it wants done, so minutes of guarding are a test of microseconds.

use std::time::Duration;

use model::{
    Action, Answer, Ask, Cause, Decision, Depth, Effect, Effects, Event, Level, Memory, Moment,
    PauseAnswer, PauseRefusal, Process, ProcessId, Refusal, Verdict,
};
use serde::{Deserialize, Serialize};

use crate::gate::Gates;
use crate::policy::{NextKill, PauseWish, Policy, Situation};
use crate::schedule::{Occasion, Schedule};
use crate::scope::ScopeState;
use crate::settings::Settings;

/// How many choices are tried at one last call: what turns out to be gone or
/// cannot be signalled is not chosen again.
const LAST_CALL_TRIES: u32 = 8;
/// Between two looks while a last call cannot be helped.
const LAST_CALL_PAUSE: Duration = Duration::from_millis(10);
/// A pause that waits for what is not known of a candidate is decided again after
/// so long.
const SURVEYED: Duration = Duration::from_millis(100);
/// What a person wants paused may be so new that this is not known; for so long it
/// is waited for.
const SURVEYING: Duration = Duration::from_secs(8);
/// Memory that could not be read is read again after so long.
const RETRY: Duration = Duration::from_secs(1);

/// What the guard's surroundings can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
/// [`Guard::new`] or [`Guard::reserve`] made room for.
#[derive(Debug)]
pub struct Guard {
    policy: Policy,
    schedule: Schedule,
    surroundings: Surroundings,
    memory: Memory,
    level: Level,
    /// What was asked for and is not decided yet.
    asked: Ask,
    /// A person wants a unit paused.
    wish: Option<PauseWish>,
    round: Round,
}

/// All that a guard remembers, and what it was set up with: one that resumes from
/// it decides the same. How it is written is not fixed: what a version adds has a
/// default, so that what an earlier version has written can be read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    settings: Settings,
    surroundings: Surroundings,
    scope: ScopeState,
    schedule: Schedule,
    memory: Memory,
    level: Level,
    asked: Ask,
    wish: Option<PauseWish>,
    round: Round,
}

impl Checkpoint {
    /// What the guard was set up with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// The decision that is under way.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Round {
    ask: Ask,
    /// The last call that it is for.
    sequence: Option<u64>,
    /// How many choices may yet be tried for it.
    tries: u32,
    depth: Option<Depth>,
    /// What became of an action is yet to be told,
    is_acting: bool,
    /// and so many of the decision's were wanted so far.
    acted: usize,
    sent: usize,
    refused: usize,
}

impl Guard {
    /// A guard with room for `processes` processes. `gates` count the stalls
    /// it is told of.
    #[must_use]
    pub fn new(
        settings: Settings,
        gates: Gates,
        surroundings: Surroundings,
        processes: usize,
    ) -> Self {
        Self {
            policy: Policy::new(settings, gates, processes),
            schedule: Schedule::default(),
            surroundings,
            memory: Memory::default(),
            level: Level::Ok,
            asked: Ask::None,
            wish: None,
            round: Round::default(),
        }
    }

    /// One that goes on where another was, with room for `processes` processes.
    #[must_use]
    pub fn resume(checkpoint: Checkpoint, processes: usize) -> Self {
        Self {
            policy: Policy::resume(checkpoint.settings, checkpoint.scope, processes),
            schedule: checkpoint.schedule,
            surroundings: checkpoint.surroundings,
            memory: checkpoint.memory,
            level: checkpoint.level,
            asked: checkpoint.asked,
            wish: checkpoint.wish,
            round: checkpoint.round,
        }
    }

    /// All that it remembers, where all its effects were carried out. Allocates.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        let (settings, scope) = self.policy.remembered();
        Checkpoint {
            settings: settings.clone(),
            surroundings: self.surroundings,
            scope: scope.clone(),
            schedule: self.schedule.clone(),
            memory: self.memory,
            level: self.level,
            asked: self.asked,
            wish: self.wish,
            round: self.round,
        }
    }

    /// The kernel asks from now on.
    pub fn kernel_asks(&mut self) {
        self.surroundings.kernel_asks = true;
    }

    /// Decides by `settings` from now on, and remembers all that it has seen and
    /// done. A victim's grace stays what it was told.
    pub fn adopt(&mut self, settings: Settings) {
        self.policy.adopt(settings);
    }

    /// Makes room for `processes` processes: in quiet rounds, because it may
    /// allocate.
    pub fn reserve(&mut self, processes: usize) {
        self.policy.reserve(processes);
    }

    /// Writes to the memory that the hardest choice would need, so that it is
    /// there before it is needed. Deciding about a full table touches the rest.
    pub fn touch(&mut self) {
        self.policy.touch();
    }

    /// Forgets all that it has seen and done, and keeps its room: as new.
    pub fn forget(&mut self) {
        let Self {
            policy,
            schedule,
            surroundings: _,
            memory,
            level,
            asked,
            wish,
            round,
        } = self;
        policy.forget();
        *schedule = Schedule::default();
        *memory = Memory::default();
        *level = Level::Ok;
        *asked = Ask::None;
        *wish = None;
        *round = Round::default();
    }

    /// By which it decides.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        self.policy.remembered().0
    }

    /// As of the last look.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Whether the table that was asked for last may cost processes: memory is short,
    /// or relief is asked for.
    #[must_use]
    pub fn is_deciding(&self) -> bool {
        self.level != Level::Ok || self.round.ask != Ask::None
    }

    /// As last told.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// How long until memory is full, should it go on falling as it does:
    /// down to the kill thresholds, memory and swap together. `None` where it
    /// does not fall, or not for long enough to tell, or takes over an hour.
    #[must_use]
    pub fn full_in(&self) -> Option<Duration> {
        self.policy.full_in()
    }

    /// What was decided last, with its explanation.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        self.policy.decision()
    }

    /// The warn threshold for available memory, in bytes.
    #[must_use]
    pub fn warn_bytes(&self, memory: &Memory) -> u64 {
        self.policy.warn_bytes(memory)
    }

    /// The kill threshold, in bytes.
    #[must_use]
    pub fn kill_bytes(&self, memory: &Memory) -> u64 {
        self.policy.kill_bytes(memory)
    }

    /// Whether the victim `id` is still expected to end: not once it is gone,
    /// has outlived SIGKILL by the deadline, may not be signalled, or was
    /// protected before its grace was over.
    #[must_use]
    pub fn awaits(&self, id: ProcessId) -> bool {
        self.policy.awaits(id)
    }

    /// Whether any unit is paused, or was a moment ago.
    #[must_use]
    pub fn follows_paused(&self) -> bool {
        self.policy.follows_paused()
    }

    /// The leader of the unit that `id` is paused in; `None` where it is not.
    #[must_use]
    pub fn paused_as(&self, id: ProcessId) -> Option<ProcessId> {
        self.policy.paused_as(id)
    }

    /// Which processes would be killed next, in order, were memory at the kill
    /// threshold and every choice for one unit: the last will of a loop that
    /// may hang. At most as many as `will` has room for, instead of what it
    /// holds.
    ///
    /// `processes` are those of the last table. Nothing is remembered of this:
    /// what is decided next is the same without it.
    pub fn will(&mut self, processes: &[Process], will: &mut Vec<NextKill>) {
        self.policy.will(&self.memory, processes, will);
    }

    /// What would be chosen first, were memory and swap at their thresholds of
    /// `level`, in place of what `plan` holds. `processes` are those of the last
    /// table. Nothing is remembered of this, as with [`Guard::will`]; it may
    /// allocate, so it is for quiet rounds.
    pub fn plan(&mut self, level: Level, processes: &[Process], plan: &mut Decision) {
        self.policy.plan(&self.memory, level, processes, plan);
    }

    /// Whether memory and swap are both below their recovery thresholds, as last
    /// told: the kernel may kill soon.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.policy.is_short(&self.memory)
    }

    /// Whether the free pages in the per-CPU lists matter for `memory`: victims
    /// are pending, or memory is not so ample that nothing is decided anyway.
    /// Reading them takes time.
    #[must_use]
    pub fn needs_exact(&self, memory: &Memory) -> bool {
        self.policy.awaits_any() || !self.policy.has_recovered(memory)
    }

    /// Takes in what happened, and adds what is to be done about it to
    /// `effects`.
    ///
    /// `now` counts from any fixed origin of a clock that does not run back.
    pub fn handle(&mut self, now: Moment, event: Event<'_>, effects: &mut Effects) {
        match event {
            Event::Memory(memory) => self.look(now, memory, effects),
            Event::Unreadable { last } => self.look_without(now, last, effects),
            Event::Table { depth, processes } => self.decide(now, depth, processes, effects),
            Event::Stalled(gate) => {
                self.schedule.stalled();
                self.asked = self.asked.max(self.policy.stalled(now, gate));
            }
            Event::Asked => self.asked = self.asked.max(Ask::Relief),
            Event::Revalued => {
                self.schedule.revalued();
                self.look_for_the_will(now, effects);
            }
            Event::PauseAsked { id, uid } => {
                let until = now + SURVEYING;
                self.wish = Some(PauseWish { id, uid, until });
                self.schedule.revalued();
                self.look_for_the_will(now, effects);
            }
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
            Event::Ordered => self.settle_one(now, effects),
            Event::Gone(id) => {
                self.policy.gone(id);
                self.schedule.revalued();
                self.settle_one(now, effects);
            }
            Event::Unsent(id) => {
                self.policy.unsent(id);
                self.settle_one(now, effects);
            }
            Event::Refused(id) => {
                self.policy.refused(id);
                self.round.refused += 1;
                self.settle_one(now, effects);
            }
            Event::PagedOut(unit) => self.policy.paged_out(unit),
            Event::Continued(unit) => self.policy.continued(now, unit),
            Event::Unfrozen(unit) => self.policy.unfrozen(now, unit),
            Event::CommandFailed(leader) => {
                self.policy.command_failed(now, leader);
                effects.push(Effect::LookAgain {
                    after: Duration::ZERO,
                });
            }
            Event::Killed { process, lost, by } => {
                if let Some(paused) = self.policy.killed(now, process, lost, by) {
                    effects.push(Effect::Act(Action::Thaw(paused)));
                }
            }
        }
    }

    /// Memory was read: is there anything to decide?
    fn look(&mut self, now: Moment, memory: Memory, effects: &mut Effects) {
        let look = self.policy.look(now, &memory, self.asked);
        self.asked = look.ask;
        self.memory = memory;
        self.level = look.level;
        effects.push(Effect::LookAgain {
            after: look.wake_after,
        });
        let full_in = self.policy.full_in().filter(|_| look.level == Level::Ok);
        if let Some(full_in) = self.schedule.forewarn(now, full_in) {
            effects.push(Effect::Forewarn { full_in });
        }
        if self.keeps_quiet(now, effects) {
            return;
        }
        let depth = self.schedule.depth(Occasion {
            now,
            memory: &memory,
            level: look.level,
            asked: self.asked != Ask::None,
            busy: self.policy.awaits_any(),
            is_news: look.wants_table,
            follows: look.follows,
        });
        match depth {
            Some(depth) => self.read_table(depth, effects),
            None => self.look_for_the_will(now, effects),
        }
    }

    /// Should the loop hang, the watchdog kills by the last will, so that is
    /// not left as it was for longer than need be.
    fn look_for_the_will(&self, now: Moment, effects: &mut Effects) {
        if let Some(after) = self.schedule.reads_revalued_in(now) {
            effects.push(Effect::LookAgain { after });
        }
    }

    /// Memory cannot be read: clients are answered, and victims and what is paused are
    /// followed.
    fn look_without(&mut self, now: Moment, last: Memory, effects: &mut Effects) {
        self.memory = Memory {
            // Neither short nor recovered.
            available_bytes: self.policy.warn_bytes(&last).saturating_add(1),
            at_least_bytes: 0,
            ..last
        };
        self.level = Level::Ok;
        effects.push(Effect::LookAgain { after: RETRY });
        let follows = self.policy.awaits_any() || self.policy.follows_paused();
        let is_needed = self.asked == Ask::Relief || follows;
        if !self.keeps_quiet(now, effects) && is_needed {
            self.read_table(Depth::Fast, effects);
        }
    }

    /// Whether a dry run has just reported a choice, and says nothing more.
    fn keeps_quiet(&mut self, now: Moment, effects: &mut Effects) -> bool {
        let is_quiet = self.schedule.is_quiet(now);
        if is_quiet && std::mem::take(&mut self.asked) == Ask::Relief {
            effects.push(Effect::Answer(Answer::DryRun));
        }
        is_quiet
    }

    fn read_table(&mut self, depth: Depth, effects: &mut Effects) {
        self.round = Round {
            ask: self.asked,
            ..Round::default()
        };
        effects.push(Effect::ReadTable(depth));
    }

    /// The table was read: decide, and have it done.
    fn decide(&mut self, now: Moment, depth: Depth, processes: &[Process], effects: &mut Effects) {
        self.schedule.was_read(now, depth);
        if self.asked <= self.round.ask {
            self.asked = Ask::None;
        }
        let memory = self.memory;
        let seen = Situation {
            memory: &memory,
            ask: self.round.ask,
            processes,
        };
        self.policy.decide(now, seen);
        self.grant(now, seen, effects);
        self.round.depth = Some(depth);
        self.round.acted = 0;
        self.round.sent = 0;
        self.round.refused = 0;
        self.act(now, effects);
    }

    /// Has what a person wants be paused, where nothing else is decided.
    fn grant(&mut self, now: Moment, seen: Situation<'_>, effects: &mut Effects) {
        let Some(wish) = self.wish else {
            return;
        };
        let answer = if self.level != Level::Ok {
            Some(PauseAnswer::Refused(PauseRefusal::Short))
        } else if self.policy.is_idle() {
            self.policy.pause_by_word(now, seen, wish)
        } else {
            None
        };
        if let Some(answer) = answer {
            self.wish = None;
            let is_dry = self.surroundings.dry_run && matches!(answer, PauseAnswer::Ordered(_));
            effects.push(Effect::AnswerPause(match is_dry {
                true => PauseAnswer::DryRun,
                false => answer,
            }));
        } else {
            self.schedule.revalued();
            self.look_for_the_will(now, effects);
        }
    }

    /// The next action; after the last, what follows from all of them.
    fn act(&mut self, now: Moment, effects: &mut Effects) {
        let action = self.policy.decision().actions.get(self.round.acted);
        self.round.is_acting = action.is_some();
        if let Some(action) = action {
            self.round.acted += 1;
            effects.push(Effect::Act(*action));
        } else {
            self.conclude(now, effects);
        }
    }

    /// What became of one action is known.
    fn settle_one(&mut self, now: Moment, effects: &mut Effects) {
        // A victim may end long after its round.
        if self.round.is_acting {
            self.act(now, effects);
        }
    }

    /// All signals are sent. What remains comes in this order: the answer to
    /// the kernel, freeing memory, answers to clients, the log.
    fn conclude(&mut self, now: Moment, effects: &mut Effects) {
        let decision = self.policy.decision();
        let is_pending = matches!(decision.verdict, Verdict::Refused(Refusal::Pending { .. }));
        let memory_will_come = self.round.sent > 0 || is_pending;
        match self.round.sequence {
            Some(sequence) if memory_will_come => effects.push(Effect::AnswerKernel { sequence }),
            Some(sequence) if decision.actions.is_empty() => {
                effects.push(Effect::DeclineKernel { sequence });
            }
            _ => {}
        }
        if self.round.sent > 0 {
            effects.push(Effect::Free);
        }
        if self.round.refused > 0 && self.round.sent == 0 && decision.cause == Some(Cause::Relief) {
            // It is asked for once, and reached nothing: the next choice is
            // made without those that refused.
            self.asked = Ask::Relief;
            effects.push(Effect::Tell);
            effects.push(Effect::LookAgain {
                after: Duration::ZERO,
            });
            self.round = Round::default();
            return;
        }
        let is_for_one_who_asked = !matches!(
            decision.cause,
            Some(Cause::Stall | Cause::TimeSlice | Cause::Word)
        );
        let answer = answer(decision, self.round.sent, self.surroundings.dry_run);
        let is_too_fast = decision.cause == Some(Cause::Stall)
            && decision.verdict == Verdict::Refused(Refusal::FillsTooFast)
            && self.policy.stalled_lately(now);
        let is_postponed = decision.verdict == Verdict::Refused(Refusal::Unsurveyed) || is_too_fast;
        if is_postponed {
            // What is missing is being found out, or a stall slows what fills memory.
            self.asked = self.round.ask;
            effects.push(Effect::LookAgain { after: SURVEYED });
        }
        if let Some(answer) = answer.filter(|_| is_for_one_who_asked && !is_postponed) {
            effects.push(Effect::Answer(answer));
        }
        effects.push(Effect::Tell);
        let is_choice = matches!(decision.verdict, Verdict::Chosen | Verdict::Paused);
        if self.surroundings.dry_run && is_choice {
            self.schedule.keep_quiet(now);
        }
        let is_settled = memory_will_come || decision.actions.is_empty();
        let wake_after = decision.wake_after;
        match self.round.sequence {
            None => {
                effects.push(Effect::LeaveWill);
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

/// What clients that asked for relief are told; `None` where nothing was
/// decided.
fn answer(decision: &Decision, sent: usize, dry_run: bool) -> Option<Answer> {
    let granted = Answer::Granted {
        signals: sent,
        bytes: decision.frees_bytes,
    };
    match decision.verdict {
        Verdict::Chosen | Verdict::Paused if dry_run => Some(Answer::DryRun),
        Verdict::Paused => Some(Answer::Paused {
            processes: sent,
            bytes: decision.frees_bytes,
        }),
        Verdict::Chosen => Some(granted),
        Verdict::Idle => decision.cause.map(|_: Cause| granted),
        Verdict::Refused(refusal) => Some(Answer::Refused(refusal)),
    }
}
