//! The decision itself: what the other modules know, put together.

use std::time::Duration;

use knapsack::Budget;
use model::{
    Action, Ask, Blame, Candidate, Cause, Class, Cost, Decision, EndedBy, Level, Memory, Moment,
    PauseAnswer, PauseRefusal, Pausing, Process, ProcessId, Refusal, Unpausable, Verdict,
};
use serde::{Deserialize, Serialize};

use crate::buffer::{at, reserve_to};
use crate::choice::{Choice, Frees};
use crate::forecast::left_bytes;
use crate::gate::Gates;
use crate::levels::{Levels, Pool, share};
use crate::pauses::{ANY, Pauses, Running, Turn, Turned, expected_growth};
use crate::ranking::{Ranked, Ranking};
use crate::respawn::Respawns;
use crate::scope::{Look, ScopeState, Severity};
use crate::settings::Settings;
use crate::units::{Standing, Unit, Units};
use crate::value::{self, Groups};
use crate::victims::Commanded;

/// A last call is answered within milliseconds: about one of search.
const LAST_CALL_BUDGET: Budget = Budget { states: 1 << 17 };

/// Where memory and swap are full within so long, pausing what grows would only
/// leave it with all of them.
const TOO_FAST: u64 = 3;

/// What a decision is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) memory: &'a Memory,
    pub(crate) ask: Ask,
    /// By ascending pid.
    pub(crate) processes: &'a [Process],
}

/// What a person wants paused.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct PauseWish {
    /// With the unit that this process is in.
    pub(crate) id: ProcessId,
    /// See [`model::Event::PauseAsked`].
    pub(crate) uid: Option<u32>,
    /// What is not known of it is waited for until then.
    pub(crate) until: Moment,
}

/// Decides what is killed: a function of its own state, the time and what was
/// seen. The [`Guard`](crate::Guard) has what it wants carried out, and tells
/// it what became of that.
///
/// No call allocates memory, as long as there are no more processes than
/// [`Policy::new`] or [`Policy::reserve`] made room for.
#[derive(Debug)]
pub(crate) struct Policy {
    settings: Settings,
    capacity: usize,
    units: Units,
    groups: Groups,
    choice: Choice,
    /// What is remembered from one decision to the next.
    scope: ScopeState,
    decision: Decision,
    /// Per candidate: its unit.
    weighed: Vec<u32>,
    /// What is to be signalled: the place of its unit, the unit, its place in
    /// the unit, the process.
    line: Vec<(u64, u32, Place, u32)>,
}

/// What is paused for.
#[derive(Clone, Copy, Debug)]
enum Why {
    /// A stall, or relief.
    Asked(Cause),
    /// So that some of it is paged out, and it is seen what zram gains. It goes on then.
    ToTrySwap,
    /// In exchange for the unit whose turn it is.
    Turn(Turn),
}

/// Orders the processes of a unit: whether not its leader, start time, pid.
type Place = (bool, u64, u32);

impl Policy {
    /// A policy with room for `processes` processes.
    pub(crate) fn new(settings: Settings, gates: Gates, processes: usize) -> Self {
        Self::resume(settings, ScopeState::new(gates), processes)
    }

    /// One that remembers `scope`.
    pub(crate) fn resume(settings: Settings, scope: ScopeState, processes: usize) -> Self {
        let mut policy = Self {
            settings,
            capacity: 0,
            units: Units::default(),
            groups: Groups::default(),
            choice: Choice::with_capacity(processes),
            scope,
            decision: Decision::idle(),
            weighed: Vec::new(),
            line: Vec::new(),
        };
        policy.reserve(processes);
        policy
    }

    /// What it was set up with, and what it remembers.
    pub(crate) fn remembered(&self) -> (&Settings, &ScopeState) {
        (&self.settings, &self.scope)
    }

    /// Makes room for `processes` processes: to be called in quiet rounds,
    /// because it may allocate.
    pub(crate) fn reserve(&mut self, processes: usize) {
        if processes <= self.capacity {
            return;
        }
        self.capacity = processes;
        self.units.reserve(processes);
        self.scope.reserve(processes);
        self.groups.reserve(processes);
        self.choice.reserve(processes);
        reserve_to(&mut self.decision.candidates, processes);
        // Each process is signalled, and paused units are thawed, or made so.
        reserve_to(&mut self.decision.actions, processes + Pauses::MOST);
        reserve_to(&mut self.weighed, processes);
        reserve_to(&mut self.line, processes);
    }

    /// Decides by `settings` from now on. Victims keep the times they were given.
    pub(crate) fn adopt(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Writes to the memory that the hardest choice would need, so that it is
    /// there before it is needed. Deciding about a full table touches the rest.
    pub(crate) fn touch(&mut self) {
        self.choice.touch();
    }

    /// Forgets all that it has seen and done, and keeps its room: as new. All
    /// but the scope is written anew by each decision, before it is read.
    pub(crate) fn forget(&mut self) {
        self.scope.forget();
    }

    /// All tasks stalled for a window of `gate`: what that asks for.
    pub(crate) fn stalled(&mut self, now: Moment, gate: Ask) -> Ask {
        let gates = &mut self.scope.gates;
        let opens = match gate {
            Ask::None | Ask::LastCall => false,
            Ask::Pause => {
                self.scope.pauses.stalls(now);
                gates.pause.fired(now)
            }
            Ask::Relief => gates.relief.fired(now),
        };
        if opens { gate } else { Ask::None }
    }

    /// Whether tasks stalled within the last window.
    pub(crate) fn stalled_lately(&self, now: Moment) -> bool {
        self.scope.pauses.stalled_lately(now)
    }

    /// As much as can be of the paused unit that `unit` leads is paged out.
    pub(crate) fn paged_out(&mut self, unit: ProcessId) {
        self.scope.pauses.paged_out(unit);
    }

    /// The paused unit that `unit` leads runs, though it was not thawed here.
    pub(crate) fn continued(&mut self, now: Moment, unit: ProcessId) {
        if self.scope.pauses.continued(now, unit) {
            self.scope.next_try = None;
        }
    }

    /// The unit that `unit` leads could not be frozen.
    pub(crate) fn unfrozen(&mut self, now: Moment, unit: ProcessId) {
        let pauses = &mut self.scope.pauses;
        let since = pauses.paused_since(unit);
        if pauses.unfrozen(now, unit) {
            self.scope.next_try = None;
        }
        // Relief that stopped nothing is followed by no interval.
        let relieved = since.filter(|_| since == self.scope.last_relief);
        if relieved.is_some_and(|since| !self.scope.pauses.any_paused_since(since)) {
            self.scope.last_relief = None;
        }
    }

    /// What memory alone says: the level, whether a table is wanted, and when
    /// to look again.
    pub(crate) fn look(&mut self, now: Moment, memory: &Memory, ask: Ask) -> Look {
        self.scope.look(now, memory, ask, &self.settings)
    }

    /// How long until memory is full; `None` where that cannot be told.
    pub(crate) fn full_in(&self) -> Option<Duration> {
        self.scope.forecast.full_in()
    }

    /// Whether so much is available that there is nothing to decide, unless the
    /// kernel calls.
    pub(crate) fn has_recovered(&self, memory: &Memory) -> bool {
        Levels::of(&self.settings, memory).has_recovered(memory)
    }

    /// Whether memory and swap are both below their recovery thresholds.
    pub(crate) fn is_short(&self, memory: &Memory) -> bool {
        Levels::of(&self.settings, memory).is_short(memory)
    }

    /// The warn threshold for available memory, in bytes.
    pub(crate) fn warn_bytes(&self, memory: &Memory) -> u64 {
        Levels::of(&self.settings, memory).warn_memory
    }

    /// The kill threshold, in bytes.
    pub(crate) fn kill_bytes(&self, memory: &Memory) -> u64 {
        Levels::of(&self.settings, memory).kill_memory
    }

    /// Whether the victim `id` is still expected to end: not once it is gone,
    /// has outlived SIGKILL by the deadline, may not be signalled, or was
    /// protected before its grace was over.
    pub(crate) fn awaits(&self, id: ProcessId) -> bool {
        self.scope.victims.is_dying(id)
    }

    /// A process is gone, and its memory with it.
    pub(crate) fn gone(&mut self, id: ProcessId) {
        let lost = self.scope.victims.forget(id);
        self.charge(lost);
    }

    /// No signal was sent: the process had ended by itself, or this is a dry
    /// run.
    pub(crate) fn unsent(&mut self, id: ProcessId) {
        self.scope.victims.forget(id);
        self.scope.pauses.leave_out(id);
        self.scope.respawns.spare(id);
        self.retract(id);
    }

    /// The command for the unit that `leader` leads has failed.
    pub(crate) fn command_failed(&mut self, now: Moment, leader: ProcessId) {
        self.scope.victims.command_failed(now, leader);
    }

    /// A process could not be signalled.
    pub(crate) fn refused(&mut self, id: ProcessId) {
        if self.scope.pauses.paused_as(id).is_some() {
            self.scope.pauses.leave_out(id);
            return;
        }
        self.scope.victims.give_up_on(id);
        self.scope.respawns.spare(id);
        self.retract(id);
        self.scope.reconsider = true;
        // Relief that reached nothing is followed by no interval.
        if self.scope.chosen_for == Some(Severity::Relief) && !self.scope.victims.any_dying() {
            self.scope.last_relief = None;
        }
    }

    /// What was decided about `id` does not happen: nothing is lost or freed by
    /// it. Which candidates were chosen stays, to be reported as decided.
    fn retract(&mut self, id: ProcessId) {
        self.scope.growth.spare(id);
        let decision = &mut self.decision;
        let chosen = |it: &&Candidate| it.chosen && it.leader == id;
        let Some(candidate) = decision.candidates.iter().find(chosen) else {
            return;
        };
        let bytes = decision.frees_bytes;
        decision.frees_bytes = bytes.saturating_sub(candidate.frees_bytes);
        decision.lost = decision.lost.saturating_sub(candidate.lost());
    }

    /// Whether any victim is still expected to end.
    pub(crate) fn awaits_any(&self) -> bool {
        self.scope.victims.any_dying()
    }

    /// What was decided last; its sums without what is known not to happen.
    pub(crate) fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Decides. Processes that are out of order are taken for new ones.
    pub(crate) fn decide(&mut self, now: Moment, seen: Situation<'_>) -> &Decision {
        self.reserve(seen.processes.len());
        let levels = Levels::of(&self.settings, seen.memory);
        let level = self.scope.level(now, seen.memory, &levels);
        self.clear_decision(level);
        let pending = self.scope.pending_bytes(levels.pool(seen.memory));
        let followed = self.scope.victims.follow(seen.processes);
        self.scope.reconsider |= followed.any_protected;
        self.charge(followed.lost);
        let actions = &mut self.decision.actions;
        self.scope.pauses.follow(now, seen.processes, actions);
        let victims = &self.scope.victims;
        self.scope.respawns.follow(now, seen.processes, |process| {
            !process.is_never_killed() && victims.standing(process.id).is_none()
        });
        let (ask, actions) = (seen.ask, &mut self.decision.actions);
        self.scope
            .escalate(now, level, ask, seen.memory, &self.settings, actions);
        self.take_in(now, seen, !levels.is_short(seen.memory));
        self.decision.cause = cause(level, seen.ask);
        if self.decision.cause.is_some() {
            self.decision.respawner = self.scope.respawns.next_untold(seen.processes);
        }
        // Memory was read before the table: it does not have what they held.
        let is_old = followed.any_gone && self.decision.cause.is_some();
        self.decision.verdict = match self.decision.cause {
            None => self.turn(now, seen, &levels),
            Some(_) if is_old => Verdict::Refused(Refusal::Pending { bytes: pending }),
            Some(cause) => self.judge(now, seen, &levels, cause),
        };
        self.decision.wake_after = match is_old {
            true => Some(Duration::ZERO),
            false => self.scope.victims.next_due().map(|due| due.since(now)),
        };
        let refused = matches!(self.decision.verdict, Verdict::Refused(_)) && !is_old;
        self.scope.decided(now, seen.memory, level, refused);
        &self.decision
    }

    fn clear_decision(&mut self, level: Level) {
        let decision = &mut self.decision;
        decision.level = level;
        decision.need_bytes = 0;
        decision.lost = Cost::ZERO;
        decision.frees_bytes = 0;
        decision.blame = None;
        decision.respawner = None;
        decision.actions.clear();
        self.clear_choice();
    }

    /// As before anything was weighed.
    fn clear_choice(&mut self) {
        self.weighed.clear();
        self.decision.candidates.clear();
        self.decision.covers_need = false;
        self.decision.gap = Cost::ZERO;
    }

    /// Groups and measures.
    fn take_in(&mut self, now: Moment, seen: Situation<'_>, is_enough: bool) {
        self.scope.lineage.take_in(&self.settings, seen.processes);
        let (lineage, victims) = (&self.scope.lineage, &self.scope.victims);
        let back = self.scope.respawns.back();
        let standing = |process: &Process| match victims.standing(process.id) {
            Some(standing) => standing,
            None if process.is_never_killed() => Standing::Never,
            None => Standing::Free,
        };
        self.units
            .group(&self.settings, seen.processes, lineage, back, standing);
        self.scope
            .growth
            .measure(now, seen.memory, is_enough, seen.processes, &mut self.units);
        for unit in &mut self.units.units {
            let grows_on = seen.memory.is_noticeable(expected_growth(unit));
            unit.grows_on = unit.growth.is_growing && grows_on;
        }
        let pauses = &self.scope.pauses;
        if pauses.is_empty() {
            return;
        }
        for (process, unit) in seen.processes.iter().zip(&self.units.unit_of) {
            let unit = &mut self.units.units[at(*unit)];
            unit.turned = unit.turned.max(pauses.turned(now, process.id));
            unit.grew |= pauses.grew(now, process.id);
            unit.grows_on |=
                unit.growth.is_growing && pauses.is_just_back(now, seen.memory, process.id);
        }
    }

    fn judge(
        &mut self,
        now: Moment,
        seen: Situation<'_>,
        levels: &Levels,
        cause: Cause,
    ) -> Verdict {
        let memory = seen.memory;
        self.groups.sum(memory, &mut self.units.units);
        let (severity, pool, bare_need) = match cause {
            Cause::LastCall => (
                Severity::LastCall,
                Pool::Memory,
                levels.last_call_need(memory),
            ),
            Cause::Level(Level::Kill) => (Severity::Kill, levels.pool(memory), levels.need(memory)),
            Cause::Level(_) => (Severity::Warn, levels.pool(memory), levels.need(memory)),
            Cause::Stall | Cause::TimeSlice | Cause::Word | Cause::Relief => {
                let memory = &self.scope.pauses.with_cached(memory);
                let seen = Situation { memory, ..seen };
                let need = levels.relief_need(memory);
                let tries_swap = cause == Cause::Stall
                    && self
                        .scope
                        .is_to_try_swap(now, memory, levels, &self.settings);
                let verdict = if tries_swap {
                    let need = levels.bytes_to_try(memory);
                    let verdict = self.pause_for(now, seen, levels, Why::ToTrySwap, need);
                    if verdict != Verdict::Refused(Refusal::Unsurveyed) {
                        self.scope.tried_swap(now, verdict == Verdict::Paused);
                    }
                    verdict
                } else {
                    self.pause_for(now, seen, levels, Why::Asked(cause), need)
                };
                // Nothing is killed for a stall, and what is not known of something
                // cheap is no reason to kill it.
                let is_last = cause != Cause::Relief
                    || matches!(
                        verdict,
                        Verdict::Paused | Verdict::Refused(Refusal::Unsurveyed)
                    );
                if is_last {
                    return verdict;
                }
                let settings = &self.settings;
                if let Some(refusal) = self.scope.relief_refusal(now, memory, levels, settings) {
                    return Verdict::Refused(refusal);
                }
                (Severity::Relief, Pool::MemoryAndActiveSwap, need)
            }
        };
        let bare_need = bare_need.max(1);
        let pending = self.scope.pending_bytes(pool);
        self.decision.need_bytes = bare_need.saturating_sub(pending);
        let got_worse = severity == Severity::LastCall || Some(severity) > self.scope.chosen_for;
        let awaited = self.scope.victims.any_alone(now) && !got_worse && !self.scope.reconsider;
        if awaited {
            return Verdict::Refused(Refusal::Pending { bytes: pending });
        }
        self.scope.reconsider = false;
        if self.scope.victims.any_dying() {
            self.scope.chosen_for = self.scope.chosen_for.max(Some(severity));
            if bare_need <= pending {
                return Verdict::Refused(Refusal::Pending { bytes: pending });
            }
        }
        if cause == Cause::Relief {
            self.scope.last_relief = Some(now);
        }
        let owed = self.owed(seen, severity);
        if !memory.is_noticeable(owed) {
            return Verdict::Refused(Refusal::TakenByOthers);
        }
        let bare_need = bare_need.min(owed);
        self.weigh(seen, severity, |_, _| true, |unit| freed_bytes(unit, pool));
        self.tie();
        let verdict = self.choose(severity, pending, bare_need.saturating_sub(pending));
        // At the kill level the kernel would kill it, whatever comes back.
        if verdict == Verdict::Chosen && severity < Severity::Kill && self.is_in_vain() {
            self.clear_choice();
            return Verdict::Refused(Refusal::ComesBack);
        }
        if verdict == Verdict::Chosen {
            self.sign(now, seen, severity);
            self.scope.chosen_for = self.scope.chosen_for.max(Some(severity));
        }
        verdict
    }

    /// For how much at most the candidates pay: at warn, for no more than others
    /// have left of what memory fell by. Says which these are.
    fn owed(&mut self, seen: Situation<'_>, severity: Severity) -> u64 {
        if severity == Severity::Relief {
            return u64::MAX;
        }
        self.decision.blame = self.groups.blame(
            &self.settings,
            seen.memory,
            &self.units.units,
            seen.processes,
            self.scope.growth.fall(),
        );
        let spares = |blame: &Blame| blame.fell_bytes - blame.taken_bytes;
        let blame = self.decision.blame.filter(|_| severity == Severity::Warn);
        blame.as_ref().map_or(u64::MAX, spares)
    }

    /// Whether what was chosen has a worker that its supervisor starts again. No
    /// other pays for it.
    fn is_in_vain(&self) -> bool {
        let mut back = self.scope.respawns.back().iter();
        let candidates = &self.decision.candidates;
        back.any(|back| {
            let unit = self.units.unit_of[at(back.worker)];
            let mut weighed = self.weighed.iter().zip(candidates);
            let is_chosen = weighed.any(|(it, candidate)| *it == unit && candidate.chosen);
            back.supervisor.is_none() && is_chosen
        })
    }

    /// Makes a candidate of every unit that may be chosen and of which something
    /// is freed.
    fn weigh(
        &mut self,
        seen: Situation<'_>,
        severity: Severity,
        may: impl Fn(&Unit, Class) -> bool,
        freed: impl Fn(&Unit) -> u64,
    ) {
        self.clear_choice();
        for index in 0..self.units.units.len() {
            self.units.units[index].candidate = None;
            let unit = &self.units.units[index];
            let class = value::class(&self.settings, seen.memory, unit);
            let Some(class) = class.filter(|class| may(unit, *class)) else {
                continue;
            };
            let freed = freed(unit);
            // What ends with another costs something, whatever it holds.
            if freed == 0 && unit.ends_with.is_none() {
                continue;
            }
            let leader = &seen.processes[at(unit.leader)];
            let explanation = match severity {
                Severity::Pause => value::explain_pause(unit),
                _ => value::explain(unit),
            };
            self.decision.candidates.push(Candidate {
                leader: leader.id,
                name: leader.name,
                processes: unit.processes,
                class,
                explanation: explanation.by(leader.dossier.gain),
                held_bytes: unit.held_bytes(),
                growth_bytes_per_second: unit.growth.bytes_per_second,
                frees_bytes: freed.saturating_add(self.growth_ahead(severity, unit)),
                ends_with: None,
                ends: 0,
                is_paused: unit.turned == Turned::Paused,
                chosen: false,
            });
            let place = u32::try_from(self.weighed.len()).unwrap_or(u32::MAX);
            self.units.units[index].candidate = Some(place);
            self.weighed.push(u32::try_from(index).unwrap_or(u32::MAX));
        }
    }

    /// Finds which candidates end with which. To kill one is as grave as to kill
    /// the gravest that ends with it.
    fn tie(&mut self) {
        for (index, unit) in (0..).zip(&self.weighed) {
            let class = self.decision.candidates[index].class;
            let mut is_nearest = true;
            for holder in self.units.holders(*unit) {
                let Some(place) = self.units.units[at(holder)].candidate else {
                    continue;
                };
                if std::mem::take(&mut is_nearest) {
                    self.decision.candidates[index].ends_with = Some(place);
                }
                let holder = &mut self.decision.candidates[at(place)];
                holder.ends += 1;
                holder.class = holder.class.max(class);
            }
        }
    }

    /// What a unit takes more until the horizon: nothing where it is paused. What
    /// is paused waits for longer than that, and so may what is left running.
    fn growth_ahead(&self, severity: Severity, unit: &Unit) -> u64 {
        let horizon = self.settings.horizon;
        if unit.turned == Turned::Paused || horizon.is_zero() {
            return 0;
        }
        if severity == Severity::Pause {
            return expected_growth(unit);
        }
        let millis = u64::try_from(horizon.as_millis()).unwrap_or(u64::MAX);
        share(millis, 1000, unit.growth.bytes_per_second)
    }

    /// Chooses for `bare_need` bytes, growth not yet counted.
    fn choose(&mut self, severity: Severity, pending: u64, bare_need: u64) -> Verdict {
        let frees = Frees::of(&self.decision.candidates);
        let (all_growth, ordinary_growth, weighed_growth) = self.growths(severity);
        let all_growth = match self.decision.blame {
            Some(_) if severity == Severity::Warn => ordinary_growth,
            _ => all_growth,
        };
        let opens_system = !matches!(severity, Severity::Pause | Severity::Warn);
        let with = |growth: u64| bare_need.saturating_add(growth);
        let both = frees.ordinary.saturating_add(frees.system);
        // What grows and cannot be ended counts as long as it can be covered:
        // it is a forecast, and no reason to leave undone what can be done.
        let ordinary_cover = [with(all_growth), with(ordinary_growth)]
            .into_iter()
            .find(|need| *need <= frees.ordinary);
        let merged_cover = [with(all_growth), with(weighed_growth)]
            .into_iter()
            .find(|need| opens_system && *need <= both);
        if let Some(need) = ordinary_cover.or(merged_cover) {
            let budget = match severity {
                Severity::LastCall => LAST_CALL_BUDGET,
                _ => Budget::default(),
            };
            self.decision.need_bytes = need;
            self.decision.gap =
                self.choice
                    .cover(&mut self.decision.candidates, need, frees, budget);
            self.decision.covers_need = true;
            return Verdict::Chosen;
        }
        self.decision.need_bytes = with(ordinary_growth);
        match severity {
            // At warn there is still time for a choice that is enough.
            Severity::Warn => Verdict::Refused(Refusal::NothingHelps {
                eligible_bytes: frees.ordinary,
            }),
            // One at a time, and the last one is still pending.
            _ if self.scope.victims.any_dying() && pending > 0 => {
                Verdict::Refused(Refusal::Pending { bytes: pending })
            }
            // Less than is needed ends a stall, or gets the kernel through.
            _ if frees.ordinary > 0 => {
                self.choice.choose_one(&mut self.decision.candidates);
                Verdict::Chosen
            }
            _ => Verdict::Refused(Refusal::NothingHelps {
                eligible_bytes: frees.ordinary,
            }),
        }
    }

    /// What will be taken until the horizon: by all units, by the ordinary
    /// candidates, by all candidates.
    fn growths(&self, severity: Severity) -> (u64, u64, u64) {
        let all = self
            .units
            .units
            .iter()
            .filter(|unit| unit.standing != Standing::Dying)
            .fold(0, |sum, unit| {
                u64::saturating_add(sum, self.growth_ahead(severity, unit))
            });
        let mut ordinary: u64 = 0;
        let mut weighed: u64 = 0;
        for (candidate, unit) in self.decision.candidates.iter().zip(&self.weighed) {
            let growth = self.growth_ahead(severity, &self.units.units[at(*unit)]);
            weighed = weighed.saturating_add(growth);
            if candidate.class == Class::Ordinary {
                ordinary = ordinary.saturating_add(growth);
            }
        }
        (all, ordinary, weighed)
    }

    /// What the policy would kill next, in order, were memory at the kill
    /// threshold and every choice for one unit: for a caller that may not come
    /// to the next step. Replaces what `will` holds, by at most as many as it
    /// has room for.
    ///
    /// `processes` are those of the last decision. Nothing is remembered of this:
    /// what is decided next is the same without it.
    pub(crate) fn will(
        &mut self,
        memory: &Memory,
        processes: &[Process],
        will: &mut Vec<NextKill>,
    ) {
        let room = will.capacity();
        will.clear();
        // At kill, every grace is over at once.
        let in_grace = self.scope.victims.in_grace().take(room);
        will.extend(in_grace.map(|id| NextKill {
            id,
            place: 0,
            lost: Cost::ZERO,
        }));
        let ranking = self.rank(memory);
        self.line.clear();
        for ((index, process), unit) in (0..).zip(processes).zip(&self.units.unit_of) {
            if let Some(place) = ranking.place(*unit) {
                let leader = self.units.units[at(*unit)].leader;
                let order = (leader != index, process.id.start_ticks, process.id.pid);
                self.line.push((place, *unit, order, index));
            }
        }
        self.line.sort_unstable();
        let left = room.saturating_sub(will.len());
        for (place, unit, (follows, ..), index) in self.line.iter().take(left) {
            will.push(NextKill {
                id: processes[at(*index)].id,
                place: u32::try_from(*place).unwrap_or(u32::MAX),
                lost: if *follows {
                    Cost::ZERO
                } else {
                    self.lost_with(*unit)
                },
            });
        }
    }

    /// What would be chosen first, were memory and swap at their thresholds of
    /// `level`, or as low as they are: instead of what `plan` holds. As with
    /// [`Policy::will`], nothing is remembered of this.
    pub(crate) fn plan(
        &mut self,
        memory: &Memory,
        level: Level,
        processes: &[Process],
        plan: &mut Decision,
    ) {
        let levels = Levels::of(&self.settings, memory);
        let memory = &levels.at(level, memory);
        let pool = levels.pool(memory);
        std::mem::swap(&mut self.decision, plan);
        self.clear_decision(level);
        self.decision.cause = Some(Cause::Level(level));
        self.groups.sum(memory, &mut self.units.units);
        let seen = Situation {
            memory,
            ask: Ask::None,
            processes,
        };
        let severity = match level {
            Level::Kill => Severity::Kill,
            Level::Ok | Level::Warn => Severity::Warn,
        };
        self.weigh(seen, severity, |_, _| true, |unit| freed_bytes(unit, pool));
        self.tie();
        self.decision.verdict = self.choose(severity, 0, levels.need(memory).max(1));
        let chosen = self.decision.candidates.iter().filter(|it| it.chosen);
        let frees = chosen.fold(0, |sum: u64, it| sum.saturating_add(it.frees_bytes));
        self.decision.frees_bytes = frees;
        std::mem::swap(&mut self.decision, plan);
    }

    /// What is lost with a unit and all that ends with it.
    fn lost_with(&self, unit: u32) -> Cost {
        let units = (0..).zip(&self.units.units);
        let ends = |other: u32| other == unit || self.units.holders(other).any(|it| it == unit);
        let lost = units.filter(|(other, it)| it.standing == Standing::Free && ends(*other));
        lost.map(|(_, it)| value::explain(it).basis.cost()).sum()
    }

    /// The units to be killed first, one at a time: as [`Choice::choose_one`] does
    /// among the ordinary; then the system class, where that may be opened.
    fn rank(&mut self, memory: &Memory) -> Ranking {
        let levels = Levels::of(&self.settings, memory);
        let pool = levels.pool(memory);
        self.groups.sum(memory, &mut self.units.units);
        let mut ranking = Ranking::default();
        let mut frees: u64 = 0;
        let class_of = |unit: &Unit| {
            let class = value::class(&self.settings, memory, unit);
            class.filter(|_| !unit.chosen)
        };
        let whole = self.choice.sums(self.units.units.len());
        for (index, unit) in (0..).zip(&self.units.units) {
            if class_of(unit).is_none() {
                continue;
            }
            let frees_bytes = match pool {
                Pool::Memory => unit.in_memory_bytes(),
                Pool::MemoryAndSwap | Pool::MemoryAndActiveSwap => unit.held_bytes(),
            };
            frees = frees.saturating_add(frees_bytes);
            let parts = value::explain(unit).cost.parts();
            for it in std::iter::once(index).chain(self.units.holders(index)) {
                let (frees_bytes_of, parts_of) = &mut whole[at(it)];
                *frees_bytes_of = frees_bytes_of.saturating_add(frees_bytes);
                *parts_of = parts_of.saturating_add(parts);
            }
        }
        for ((index, unit), (frees_bytes, parts)) in (0..).zip(&self.units.units).zip(whole) {
            if let Some(class) = class_of(unit).filter(|_| *frees_bytes > 0) {
                ranking.add(Ranked {
                    unit: index,
                    class,
                    frees_bytes: *frees_bytes,
                    cost: Cost::from_parts(*parts),
                });
            }
        }
        if frees < levels.kill_need(memory) {
            ranking.leave_out(Class::System);
        }
        ranking
    }

    /// `process` was killed by the caller between two steps, by
    /// [`Policy::will`], with `lost` as that said; or it was signalled for another
    /// scope. Its memory is pending. Returns the unit that it is paused in, which goes on:
    /// what stands still cannot save its work at SIGTERM.
    pub(crate) fn killed(
        &mut self,
        now: Moment,
        process: &Process,
        lost: Cost,
        by: EndedBy,
    ) -> Option<ProcessId> {
        self.reserve(self.scope.victims.len() + 1);
        let grace = process.dossier.label.grace.unwrap_or(self.settings.grace);
        let victims = &mut self.scope.victims;
        let severity = match by {
            EndedBy::Command => {
                victims.commanded(process, now + self.settings.grace, lost);
                Severity::Warn
            }
            EndedBy::Terminate => {
                victims.terminated(process, now + grace, lost);
                Severity::Warn
            }
            EndedBy::Kill => {
                victims.killed(process, now + self.settings.deadline, lost);
                Severity::Kill
            }
        };
        if let Ok(record) = self.scope.growth.position(process.id) {
            self.scope.growth.end(record);
        }
        self.scope.chosen_for = self.scope.chosen_for.max(Some(severity));
        let paused = self.scope.pauses.paused_as(process.id)?;
        self.scope.pauses.thawed(now, paused, false);
        Some(paused)
    }

    /// Charges what was lost with a victim, now that it is gone, to those of
    /// the last table that stay and grew, by their share.
    fn charge(&mut self, lost: Cost) {
        let Some(table) = self.scope.table.filter(|_| lost > Cost::ZERO) else {
            return;
        };
        let taken = self.scope.growth.recent_bytes();
        for unit in &self.units.units {
            let stays = !unit.chosen && value::class(&self.settings, &table.memory, unit).is_some();
            if stays {
                let penalty = share(unit.growth.recent_bytes, taken, lost.parts());
                self.scope
                    .growth
                    .charge(unit.leader, Cost::from_parts(penalty));
            }
        }
    }

    /// Writes out the actions, and remembers the victims.
    ///
    /// The unit that frees the most comes first, so that memory is back the
    /// soonest; in a unit its leader, then older before younger: a parent that
    /// saw its workers die would start new ones.
    fn sign(&mut self, now: Moment, seen: Situation<'_>, severity: Severity) {
        self.line_up(
            seen,
            |candidate, _| candidate.frees_bytes,
            |leads, id| (!leads, id.start_ticks, id.pid),
        );
        let chosen = |unit: &&Candidate| unit.chosen;
        let chosen = self.decision.candidates.iter().filter(chosen);
        self.decision.lost = chosen.map(Candidate::lost).sum();
        for (_, unit, (follows, ..), index) in &self.line {
            let process = &seen.processes[at(*index)];
            let leads = self.units.units[at(*unit)].candidate.filter(|_| !follows);
            let cost = leads.map_or(Cost::ZERO, |candidate| {
                self.decision.candidates[at(candidate)].lost()
            });
            self.scope.growth.end(at(*index));
            let grace = self.grace(seen, *unit);
            let leader = &seen.processes[at(self.units.units[at(*unit)].leader)];
            let command = leader.dossier.label.command;
            if let Some(command) = command.filter(|_| severity < Severity::Kill) {
                let last = command.limit().saturating_sub(self.settings.grace);
                let commanded = Commanded::by(leader.id, grace, last);
                let until = now + command.limit();
                self.decision.actions.push(Action::Command(process.id));
                self.scope.victims.command(process, commanded, until, cost);
                continue;
            }
            let kills = severity >= Severity::Kill || grace.is_zero();
            let until = match severity {
                Severity::LastCall => now + self.settings.last_call_deadline,
                _ if kills => now + self.settings.deadline,
                _ => now + grace,
            };
            if kills {
                self.decision.actions.push(Action::Kill(process.id));
                self.scope.victims.kill(process, until, cost);
            } else {
                self.decision.actions.push(Action::Terminate(process.id));
                self.scope.victims.terminate(process, until, cost);
            }
        }
        self.scope.victims.sort();
        // What zram held of them goes with them.
        self.scope.next_try = None;
        // Each looks through the table. The largest come first.
        let leaders = self.line.iter().filter(|(_, _, (follows, ..), _)| !follows);
        for (_, unit, _, index) in leaders.take(Respawns::WORKERS) {
            let leader = &seen.processes[at(*index)];
            let command = leader.dossier.label.command;
            let limit = command.map_or(Duration::ZERO, |command| command.limit());
            let grace = self.grace(seen, *unit).saturating_add(limit);
            let respawns = &mut self.scope.respawns;
            respawns.killed(now, grace, seen.processes, leader);
        }
        // What is stopped cannot save its work at SIGTERM, and a frozen cgroup is
        // not left behind.
        self.thaw_line(now, seen);
    }

    /// Lets go on whatever the processes in line are paused in.
    fn thaw_line(&mut self, now: Moment, seen: Situation<'_>) {
        for (.., index) in &self.line {
            let id = seen.processes[at(*index)].id;
            if let Some(paused) = self.scope.pauses.paused_as(id) {
                self.decision.actions.push(Action::Thaw(paused));
                self.scope.pauses.thawed(now, paused, false);
            }
        }
    }

    /// From SIGTERM to SIGKILL, for a unit.
    fn grace(&self, seen: Situation<'_>, unit: u32) -> Duration {
        let leader = &seen.processes[at(self.units.units[at(unit)].leader)];
        leader.dossier.label.grace.unwrap_or(self.settings.grace)
    }

    /// Puts the processes of the chosen units in line: the units that free the most
    /// by `frees` first, in a unit by `place`, which is told whether a process leads
    /// it. Adds up what is freed.
    fn line_up(
        &mut self,
        seen: Situation<'_>,
        frees: impl Fn(&Candidate, &Unit) -> u64,
        place: impl Fn(bool, ProcessId) -> Place,
    ) {
        let candidates = &self.decision.candidates;
        for (candidate, unit) in candidates.iter().zip(&self.weighed) {
            if candidate.chosen {
                let unit = &mut self.units.units[at(*unit)];
                unit.chosen = true;
                let sum = &mut self.decision.frees_bytes;
                *sum = sum.saturating_add(frees(candidate, unit));
            }
        }
        self.line.clear();
        for ((index, process), number) in (0..).zip(seen.processes).zip(&self.units.unit_of) {
            let unit = &self.units.units[at(*number)];
            if let Some(candidate) = unit.candidate.filter(|_| unit.chosen) {
                let bytes = frees(&candidates[at(candidate)], unit);
                let place = place(unit.leader == index, process.id);
                self.line.push((!bytes, *number, place, index));
            }
        }
        self.line.sort_unstable();
    }

    /// [`Self::pause`], where that may be done now.
    fn pause_for(
        &mut self,
        now: Moment,
        seen: Situation<'_>,
        levels: &Levels,
        why: Why,
        need_bytes: u64,
    ) -> Verdict {
        if levels.has_recovered(seen.memory) {
            return Verdict::Refused(Refusal::EnoughAvailable);
        }
        if self.scope.victims.any_alone(now) {
            let bytes = self.scope.pending_bytes(Pool::MemoryAndActiveSwap);
            return Verdict::Refused(Refusal::Pending { bytes });
        }
        if !self.settings.pause {
            return Verdict::Refused(Refusal::NothingHelps { eligible_bytes: 0 });
        }
        self.pause(now, seen, levels, why, need_bytes)
    }

    /// Pauses what costs least among what may be paused, so that `need_bytes` more are
    /// available, or to be paged out. Where that is refused, nothing stays chosen.
    fn pause(
        &mut self,
        now: Moment,
        seen: Situation<'_>,
        levels: &Levels,
        why: Why,
        need_bytes: u64,
    ) -> Verdict {
        let verdict = self.choose_pause(now, seen, levels, why, need_bytes);
        if verdict != Verdict::Paused {
            self.clear_choice();
        }
        verdict
    }

    fn choose_pause(
        &mut self,
        now: Moment,
        seen: Situation<'_>,
        levels: &Levels,
        why: Why,
        need_bytes: u64,
    ) -> Verdict {
        let (cause, turn) = match why {
            Why::Asked(cause) => (cause, None),
            Why::ToTrySwap => (Cause::Stall, None),
            Why::Turn(turn) => (Cause::TimeSlice, Some(turn)),
        };
        let most = turn.map_or(ANY, |turn| turn.most);
        let is_slice = turn.is_some_and(|turn| turn.has_waited);
        let memory = seen.memory;
        let room = memory.free_swap_bytes().saturating_sub(levels.warn_swap);
        self.decision.need_bytes = need_bytes;
        let mut units = self.units.units.iter();
        let is_on_trial = units.any(|unit| unit.turned == Turned::Trial);
        // In an exchange, as much comes back as goes out; but a leak would take more.
        let is_even = turn.is_some_and(|turn| !turn.is_trial);
        let is_full = !is_even && room < need_bytes;
        // What is on trial is to stop, wherever its memory goes.
        if is_full && !is_on_trial {
            return Verdict::Refused(Refusal::SwapFull);
        }
        let rates = self
            .units
            .units
            .iter()
            .map(|unit| unit.growth.bytes_per_second);
        let rate = rates.fold(0, u64::saturating_add);
        let is_too_fast = left_bytes(memory, levels) <= rate.saturating_mul(TOO_FAST);
        if is_too_fast && !is_on_trial {
            return Verdict::Refused(Refusal::FillsTooFast);
        }
        // The cheapest may be the one that has just started.
        let is_known = |unit: &Unit| is_known(seen, unit);
        let may_wait = cause == Cause::Stall && self.unknown(seen).next().is_some();
        if may_wait && self.scope.waits_for_survey(now) {
            return Verdict::Refused(Refusal::Unsurveyed);
        }
        let waits = cause == Cause::Stall && self.scope.pauses.any_pages_out(now);
        // What is left alone by default is not paused either.
        let may = |unit: &Unit, class| {
            class == Class::Ordinary
                && unit.pausable
                && is_known(unit)
                && value::explain_pause(unit).cost <= most
                && (unit.grows_on || !waits || unit.turned == Turned::Trial)
                && match unit.turned {
                    Turned::Paused | Turned::Unfrozen => false,
                    Turned::Spared => cause == Cause::Relief && !is_on_trial,
                    Turned::Never if is_full || is_too_fast => false,
                    Turned::Never => !is_on_trial || turn.is_some() || waits,
                    // It has just been given its place.
                    Turned::Trial => !is_slice,
                }
        };
        // Page tables stay where they are.
        let pool = Pool::MemoryAndActiveSwap;
        self.weigh(seen, Severity::Pause, may, |unit| {
            freed_bytes(unit, pool).saturating_sub(unit.page_table_bytes)
        });
        let verdict = self.choose(Severity::Pause, 0, need_bytes);
        if verdict != Verdict::Chosen {
            return verdict;
        }
        if !self.decision.covers_need && self.any_dearer(memory, most) {
            return Verdict::Refused(Refusal::NothingHelps { eligible_bytes: 0 });
        }
        if self.is_much_dearer_than_unknown(now, seen) {
            return Verdict::Refused(Refusal::Unsurveyed);
        }
        let chosen = self.decision.candidates.iter().filter(|unit| unit.chosen);
        let goes_on =
            |unit: &Unit| unit.turned != Turned::Paused && self.is_noticeable(memory, unit);
        let running = self.units.units.iter().filter(|unit| goes_on(unit)).count();
        // One that has its turn gives way to those that were paused for it.
        let has_its_turn = |(_, unit): (_, &u32)| {
            let turned = self.units.units[at(*unit)].turned;
            matches!(turned, Turned::Trial | Turned::Spared)
        };
        let both = self.decision.candidates.iter().zip(&self.weighed);
        let mut chosen_units = both.filter(|(candidate, _)| candidate.chosen);
        let gives_way = turn.is_some() || chosen_units.any(has_its_turn);
        if !gives_way && self.scope.pauses.any() && running <= chosen.clone().count() {
            // Of those that do not fit together, one is to run.
            return Verdict::Refused(Refusal::NothingHelps { eligible_bytes: 0 });
        }
        let units = chosen.map(|unit| (unit.leader, at(unit.processes)));
        if !self.scope.pauses.has_room(units) {
            return Verdict::Refused(Refusal::FillsTooFast);
        }
        self.scope.last_relief = Some(now);
        let tries_swap = matches!(why, Why::ToTrySwap);
        // A leak would take all that is paged out.
        let is_trial = turn.is_some_and(|turn| turn.is_trial);
        let paged_out = if is_trial || tries_swap {
            need_bytes
        } else {
            u64::MAX
        };
        self.freeze(now, seen, room.min(paged_out));
        if tries_swap {
            let chosen = self.decision.candidates.iter().filter(|unit| unit.chosen);
            for unit in chosen {
                self.scope.pauses.is_to_try_swap(unit.leader);
            }
        }
        Verdict::Paused
    }

    /// What competes for memory and is not known well enough to be paused.
    fn unknown<'a>(&'a self, seen: Situation<'a>) -> impl Iterator<Item = &'a Unit> {
        let is_unknown = move |unit: &&Unit| {
            unit.pausable && !is_known(seen, unit) && self.is_noticeable(seen.memory, unit)
        };
        self.units.units.iter().filter(is_unknown)
    }

    /// Whether some of what was chosen costs several times what one costs that has just
    /// started and is not known yet: in a build there are such at any time, and no
    /// editor is to be paused in their place.
    fn is_much_dearer_than_unknown(&mut self, now: Moment, seen: Situation<'_>) -> bool {
        const SEVERAL: u64 = 4;
        let chosen = self.decision.candidates.iter().filter(|unit| unit.chosen);
        let dearest = chosen.map(|unit| unit.explanation.cost).max();
        let dearest = dearest.map_or(0, Cost::parts);
        let newest = self
            .unknown(seen)
            .filter(|unit| value::explain_pause(unit).cost.parts() < dearest / SEVERAL)
            .map(|unit| seen.processes[at(unit.leader)].id.start_ticks)
            .max();
        newest.is_some_and(|start_ticks| self.scope.is_new(now, start_ticks))
    }

    /// Whether any that runs and competes for memory costs more than `most`.
    fn any_dearer(&self, memory: &Memory, most: Cost) -> bool {
        self.units.units.iter().any(|unit| {
            unit.turned != Turned::Paused
                && most < value::explain_pause(unit).cost
                && self.is_noticeable(memory, unit)
        })
    }

    /// Whether a unit is one of those that compete for memory.
    fn is_noticeable(&self, memory: &Memory, unit: &Unit) -> bool {
        value::class(&self.settings, memory, unit) == Some(Class::Ordinary)
            && memory.is_noticeable(unit.held_bytes())
    }

    /// Writes out the actions that pause what was chosen, and remembers it. What
    /// is pushed out is no more than `room_bytes`.
    ///
    /// The unit that holds the most goes first; in a unit its leader comes last:
    /// it might start what was just stopped anew.
    fn freeze(&mut self, now: Moment, seen: Situation<'_>, room_bytes: u64) {
        self.line_up(
            seen,
            |_, unit| unit.resident_bytes,
            // The youngest first.
            |leads, id| (leads, u64::MAX - id.start_ticks, id.pid),
        );
        // What has become part of another unit since is stopped with that.
        self.thaw_line(now, seen);
        for (candidate, unit) in self.decision.candidates.iter().zip(&self.weighed) {
            if candidate.chosen {
                let unit = &self.units.units[at(*unit)];
                let cost = candidate.explanation.cost;
                let pauses = &mut self.scope.pauses;
                pauses.pause(now, seen.memory, candidate.leader, unit, cost);
            }
        }
        let mut room_left = room_bytes;
        for (_, unit, (leads, ..), index) in &self.line {
            let process = seen.processes[at(*index)].id;
            let unit = &self.units.units[at(*unit)];
            let leader = seen.processes[at(unit.leader)].id;
            let actions = &mut self.decision.actions;
            self.scope.pauses.add(process, leader);
            actions.push(Action::Freeze(process));
            if *leads {
                // All of it, though it may hold more by the time it stands still.
                actions.push(Action::PageOut {
                    unit: leader,
                    mebibytes: u32::try_from(room_left >> 20).unwrap_or(u32::MAX),
                });
                room_left = room_left.saturating_sub(unit.resident_bytes);
            }
        }
        self.scope.pauses.sort();
    }

    /// Whether, in what was decided, all is quiet: nothing is done, and there was no
    /// reason to.
    pub(crate) fn is_idle(&self) -> bool {
        self.decision.cause.is_none() && self.decision.actions.is_empty()
    }

    /// Pauses the unit that `asked.id` is in until a person lets it go on, where the
    /// last decision was idle. `None`: it is not yet known whether it may be paused.
    pub(crate) fn pause_by_word(
        &mut self,
        now: Moment,
        seen: Situation<'_>,
        asked: PauseWish,
    ) -> Option<PauseAnswer> {
        let unit = match self.pausable_by_word(now, seen, asked) {
            Ok(unit) => unit,
            Err(PauseRefusal::Unpausable(Unpausable::Unknown)) if now < asked.until => {
                return None;
            }
            Err(refusal) => return Some(PauseAnswer::Refused(refusal)),
        };
        let leader = seen.processes[at(self.units.units[at(unit)].leader)].id;
        if let Some(paused) = self.scope.pauses.paused_as(leader) {
            self.scope.pauses.keep(paused, asked.uid.unwrap_or(0));
            return Some(PauseAnswer::Stays(paused));
        }
        self.groups.sum(seen.memory, &mut self.units.units);
        let is_it = |it: &Unit, _| seen.processes[at(it.leader)].id == leader;
        self.weigh(seen, Severity::Pause, is_it, |unit| {
            unit.in_memory_bytes().max(1)
        });
        let Some(candidate) = self.decision.candidates.first_mut() else {
            return Some(PauseAnswer::Refused(PauseRefusal::NotEligible));
        };
        candidate.chosen = true;
        let levels = Levels::of(&self.settings, seen.memory);
        let room = seen
            .memory
            .free_swap_bytes()
            .saturating_sub(levels.warn_swap);
        self.decision.cause = Some(Cause::Word);
        self.decision.verdict = Verdict::Paused;
        self.freeze(now, seen, room);
        self.scope.pauses.keep(leader, asked.uid.unwrap_or(0));
        Some(PauseAnswer::Ordered(leader))
    }

    /// The unit that is to be paused.
    fn pausable_by_word(
        &mut self,
        now: Moment,
        seen: Situation<'_>,
        asked: PauseWish,
    ) -> Result<u32, PauseRefusal> {
        if !self.settings.pause {
            return Err(PauseRefusal::Off);
        }
        let mut places = seen.processes.iter().zip(&self.units.unit_of);
        let found = places.find(|(process, _)| process.id == asked.id);
        let Some((_, unit)) = found else {
            // It may be newer than the table.
            let is_new = now < asked.until;
            return Err(match is_new {
                true => PauseRefusal::Unpausable(Unpausable::Unknown),
                false => PauseRefusal::Gone,
            });
        };
        let unit = *unit;
        let members = seen.processes.iter().zip(&self.units.unit_of);
        for (process, _) in members.filter(|(_, of)| **of == unit) {
            if asked.uid.is_some_and(|uid| uid != process.uid) {
                return Err(PauseRefusal::OfAnotherUser);
            }
            match process.dossier.pause {
                // That is what a shell's user asks for, and it stands still without swap, too.
                Pausing::Forbidden(Unpausable::ForegroundJob | Unpausable::NoSwap)
                | Pausing::Allowed
                | Pausing::Asked => {}
                Pausing::Forbidden(why) => return Err(PauseRefusal::Unpausable(why)),
            }
        }
        let it = &self.units.units[at(unit)];
        if value::class(&self.settings, seen.memory, it).is_none() {
            return Err(PauseRefusal::NotEligible);
        }
        let pauses = &mut self.scope.pauses;
        let leader = seen.processes[at(it.leader)].id;
        let leader = pauses.paused_as(leader).unwrap_or(leader);
        let wanted = (leader, at(it.processes));
        let uid = asked.uid.unwrap_or(0);
        if !pauses.is_kept(leader) && !pauses.has_room_to_keep(uid, wanted) {
            return Err(PauseRefusal::TooMany);
        }
        Ok(unit)
    }

    /// Whether any unit is paused, or was a moment ago.
    pub(crate) fn follows_paused(&self) -> bool {
        !self.scope.pauses.is_empty()
    }

    /// Under which leader `id` is paused.
    pub(crate) fn paused_as(&self, id: ProcessId) -> Option<ProcessId> {
        self.scope.pauses.paused_as(id)
    }

    /// Lets a paused unit go on whose turn it is.
    fn turn(&mut self, now: Moment, seen: Situation<'_>, levels: &Levels) -> Verdict {
        if !self.scope.pauses.any() {
            return Verdict::Idle;
        }
        let memory = seen.memory;
        let pauses = &self.scope.pauses;
        let is_unwanted = |process: &&Process| process.refuses_pause();
        let mut unwanted = seen.processes.iter().filter(is_unwanted);
        if let Some(unit) = unwanted.find_map(|process| pauses.paused_as(process.id)) {
            self.thaw(now, unit, false);
            return Verdict::Idle;
        }
        self.groups.sum(memory, &mut self.units.units);
        let mut running = Running::default();
        for unit in &self.units.units {
            let cost = value::explain_pause(unit).cost;
            if unit.turned == Turned::Paused {
                let leader = seen.processes[at(unit.leader)].id;
                self.scope.pauses.note_cost(leader, cost);
                continue;
            }
            running.add_growth(unit);
            if matches!(unit.turned, Turned::Spared | Turned::Trial) {
                // It has its time, whatever its value.
                running.cost = Cost::from_parts(u64::MAX);
            } else if self.is_noticeable(memory, unit) {
                running.cost = running.cost.max(cost);
            }
        }
        let Some(turn) = self.scope.pauses.turn(now, memory, levels, running) else {
            return Verdict::Idle;
        };
        let mut verdict = Verdict::Idle;
        if let Some(bytes) = turn.missing_bytes {
            let missing = levels
                .recovery_memory
                .saturating_sub(memory.available_bytes);
            let need = bytes.saturating_add(missing).max(1);
            if self.pause(now, seen, levels, Why::Turn(turn), need) == Verdict::Paused {
                self.decision.cause = Some(Cause::TimeSlice);
                verdict = Verdict::Paused;
            } else if !turn.is_let_go_anyway
                && (turn.is_trial || self.any_dearer(memory, turn.most))
            {
                // It would take memory from that, or be stopped at once.
                self.scope.pauses.refused(turn.unit);
                return Verdict::Idle;
            }
        }
        let is_trial = turn.is_trial && verdict == Verdict::Paused;
        // It may have been part of what was paused in its place.
        if self.scope.pauses.is_paused(turn.unit) {
            self.thaw(now, turn.unit, turn.has_waited || is_trial);
        }
        verdict
    }

    fn thaw(&mut self, now: Moment, unit: ProcessId, spared: bool) {
        self.decision.actions.push(Action::Thaw(unit));
        self.scope.pauses.thawed(now, unit, spared);
    }
}

/// One process that would be killed, had its caller to do without the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextKill {
    /// Which.
    pub id: ProcessId,
    /// Those of one place are killed together; then memory is looked at.
    pub place: u32,
    /// What is lost with it; a unit's value goes with its leader.
    pub lost: Cost,
}

/// Whether it is known of `unit` what would suffer were it paused. What is newborn
/// in it has the environment and the files of its parent.
fn is_known(seen: Situation<'_>, unit: &Unit) -> bool {
    let leader = &seen.processes[at(unit.leader)];
    !leader.is_unsurveyed() && !seen.memory.is_noticeable(unit.unsurveyed_bytes)
}

/// What killing `unit` frees, in bytes, of what counts.
fn freed_bytes(unit: &Unit, pool: Pool) -> u64 {
    let counts_swap = match pool {
        Pool::MemoryAndSwap => true,
        Pool::Memory => false,
        // One that is faulting in what it has in swap wants that in memory. What
        // is paused wants nothing of it.
        Pool::MemoryAndActiveSwap => unit.growth.is_active && unit.turned != Turned::Paused,
    };
    if counts_swap {
        unit.held_bytes()
    } else {
        unit.in_memory_bytes()
    }
}

/// Why there is something to decide.
fn cause(level: Level, ask: Ask) -> Option<Cause> {
    match (ask, level) {
        (Ask::LastCall, _) => Some(Cause::LastCall),
        (_, Level::Warn | Level::Kill) => Some(Cause::Level(level)),
        (Ask::Pause, Level::Ok) => Some(Cause::Stall),
        (Ask::Relief, Level::Ok) => Some(Cause::Relief),
        (Ask::None, Level::Ok) => None,
    }
}
