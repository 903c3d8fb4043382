//! What is remembered of a scope, the machine or a cgroup, from one decision to the
//! next.

use std::time::Duration;

use model::{Action, Ask, Level, Memory, Moment, Refusal};
use serde::{Deserialize, Serialize};

use crate::forecast::{Forecast, left_bytes};
use crate::gate::Gates;
use crate::growth::Growth;
use crate::levels::{Levels, Pool, share};
use crate::lineage::Births;
use crate::pace::Pace;
use crate::pauses::Pauses;
use crate::respawn::Respawns;
use crate::settings::Settings;
use crate::victims::Victims;

/// A refusal is not thought over again before this long, or before memory
/// moves by [`SETTLED`].
const RECONSIDER_AFTER: Duration = Duration::from_secs(1);
/// What memory may move by, as a part of all, for a refusal to stand.
const SETTLED: u64 = 256;
/// What memory may move by, as a part of all, before the table is read again to
/// see which processes grew.
const NOTICEABLE: u64 = 64;
/// While units are paused, the table is read so often to see whether one fits.
const FOLLOW: Duration = Duration::from_secs(1);
/// Memory that is full sooner than this has units paused before tasks stall.
const PAUSE_BEFORE: Duration = Duration::from_secs(10);

/// What zram gains is not tried again for so long: where all that went there is back in
/// memory, as little is known as before.
const NEXT_TRY: Duration = Duration::from_secs(600);
/// The same where nothing could be paused for it.
const NEXT_CHOICE: Duration = Duration::from_secs(10);

/// What is known from memory alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// The level the machine is at.
    pub(crate) level: Level,
    /// Whether to read the process table and decide now.
    pub(crate) wants_table: bool,
    /// Whether it is wanted to see which paused unit may go on.
    pub(crate) follows: bool,
    /// What is asked for beside the level.
    pub(crate) ask: Ask,
    /// When to look again at the latest, from now. An event (a pressure
    /// trigger, a victim's end, a request) may come first.
    pub(crate) wake_after: Duration,
}

/// How long a pause may wait for what is not known of a candidate,
const SURVEY: Duration = Duration::from_secs(2);
/// and not again for so long: some processes cannot be looked at.
const NEXT_SURVEY: Duration = Duration::from_secs(60);
/// How long what is much dearer is left running for one that has just started, and
/// may be what is to be paused.
const SURVEY_OF_NEWEST: Duration = Duration::from_secs(5);

/// How bad it is: nothing else is killed while victims are pending, unless it
/// got worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Severity {
    Pause,
    Relief,
    Warn,
    Kill,
    LastCall,
}

/// What the last decision saw.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Table {
    at: Moment,
    pub(crate) memory: Memory,
    level: Level,
    refused: bool,
}

/// How fast memory fills, where processes were born, which units grew, which victims are pending, and what
/// was decided last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ScopeState {
    pub(crate) lineage: Births,
    pub(crate) growth: Growth,
    pub(crate) victims: Victims,
    pub(crate) pauses: Pauses,
    pub(crate) respawns: Respawns,
    pub(crate) gates: Gates,
    pace: Pace,
    pub(crate) forecast: Forecast,
    /// The worst the present victims were chosen for.
    pub(crate) chosen_for: Option<Severity>,
    /// A victim is stuck: choose again without it.
    pub(crate) reconsider: bool,
    pub(crate) last_relief: Option<Moment>,
    /// Since when a pause waits for what is not known of a candidate.
    pub(crate) awaits_survey: Option<Moment>,
    /// The newest of which that was not known, in clock ticks since boot, and when
    /// it was first met.
    #[serde(default)]
    newest_unknown: Option<(u64, Moment)>,
    /// What zram gains is not tried before then.
    #[serde(default)]
    pub(crate) next_try: Option<Moment>,
    pub(crate) table: Option<Table>,
}

impl ScopeState {
    pub(crate) fn new(gates: Gates) -> Self {
        Self {
            lineage: Births::default(),
            growth: Growth::new(),
            victims: Victims::default(),
            pauses: Pauses::default(),
            respawns: Respawns::default(),
            gates,
            pace: Pace::default(),
            forecast: Forecast::default(),
            chosen_for: None,
            reconsider: false,
            last_relief: None,
            awaits_survey: None,
            newest_unknown: None,
            next_try: None,
            table: None,
        }
    }

    /// Makes room for `processes` processes.
    pub(crate) fn reserve(&mut self, processes: usize) {
        self.lineage.reserve(processes);
        self.growth.reserve(processes);
        self.victims.reserve(processes);
        self.pauses.reserve(processes);
        self.respawns.reserve();
    }

    /// Forgets all that it has seen and done, and keeps its room: as new.
    pub(crate) fn forget(&mut self) {
        // Named one by one, so that what is added here is thought of.
        let Self {
            lineage,
            growth,
            victims,
            pauses,
            respawns,
            gates,
            pace,
            forecast,
            chosen_for,
            reconsider,
            last_relief,
            awaits_survey,
            newest_unknown,
            next_try,
            table,
        } = self;
        lineage.forget();
        growth.forget();
        victims.forget_all();
        pauses.forget_all();
        respawns.forget_all();
        gates.forget();
        *pace = Pace::default();
        *forecast = Forecast::default();
        *chosen_for = None;
        *reconsider = false;
        *last_relief = None;
        *awaits_survey = None;
        *newest_unknown = None;
        *next_try = None;
        *table = None;
    }

    /// What memory alone says: the level, whether a table is wanted, and when
    /// to look again.
    pub(crate) fn look(
        &mut self,
        now: Moment,
        memory: &Memory,
        ask: Ask,
        settings: &Settings,
    ) -> Look {
        let levels = Levels::of(settings, memory);
        let level = self.level(now, memory, &levels);
        let ends_in_memory = self.may_try_swap(now, memory, &levels, settings);
        let shortest = settings.shortest_look;
        let pace = &mut self.pace;
        let wait = pace.after_look(now, memory, &levels, level, ends_in_memory, shortest);
        // What has just been paged out is no loss of memory.
        let roomy = self.pauses.with_cached(memory);
        self.forecast.look(now, &roomy, &levels);
        let due = self.victims.next_due();
        let ask = self.ask(now, &roomy, ask, &levels, settings);
        let is_granted = match ask {
            Ask::Pause => level == Level::Ok,
            Ask::Relief if level == Level::Ok => {
                let refusal = self.relief_refusal(now, &roomy, &levels, settings);
                refusal.is_none() || (settings.pause && !levels.has_recovered(&roomy))
            }
            Ask::None | Ask::Relief | Ask::LastCall => false,
        };
        let last_table = self
            .table
            .map_or(Duration::MAX, |table| now.since(table.at));
        let any_paused = self.pauses.any();
        let follows = any_paused && FOLLOW <= last_table;
        let wants_table = due.is_some_and(|due| due <= now)
            || ask == Ask::LastCall
            || is_granted
            || self.is_news(now, memory, level);
        let until_due = due.map_or(wait, |due| due.since(now));
        let until_followed = if any_paused { FOLLOW } else { wait };
        Look {
            level,
            wants_table,
            follows,
            ask,
            wake_after: wait.min(until_due).min(until_followed),
        }
    }

    /// The level. What free swap in zram is worth goes by what was swapped out, which
    /// need not be like what is being paged out: none is killed before that can be
    /// seen, unless the level is kill.
    pub(crate) fn level(&self, now: Moment, memory: &Memory, levels: &Levels) -> Level {
        let level = levels.level(memory);
        if level != Level::Warn || !self.pauses.any_begins_to_page_out(now) {
            return level;
        }
        levels.level(&Memory {
            worthless_swap_bytes: 0,
            ..*memory
        })
    }

    /// `ask`, or [`Ask::Pause`] where memory is full within seconds. Where there
    /// is enough, there is nothing to pause for.
    fn ask(
        &self,
        now: Moment,
        memory: &Memory,
        ask: Ask,
        levels: &Levels,
        settings: &Settings,
    ) -> Ask {
        let full_in = self.forecast.full_in();
        let is_refused = |table: Table| table.refused && now.since(table.at) < RECONSIDER_AFTER;
        let was_refused = self.table.is_some_and(is_refused);
        let is_soon_full = full_in.is_some_and(|full_in| full_in <= PAUSE_BEFORE);
        // The place of one on trial may still be being made.
        let is_made = !self.pauses.any_pages_out(now);
        let is_short = memory.available_bytes <= levels.warn_memory;
        let is_tried = self.pauses.any_on_trial(now) && (is_made || is_short);
        let wants = !was_refused
            && (is_soon_full || is_tried || self.is_to_try_swap(now, memory, levels, settings));
        match ask {
            Ask::None | Ask::Pause if !settings.pause || levels.has_recovered(memory) => Ask::None,
            Ask::None if wants => Ask::Pause,
            ask => ask,
        }
    }

    /// Whether it may be tried what swap in zram gains.
    fn may_try_swap(
        &self,
        now: Moment,
        memory: &Memory,
        levels: &Levels,
        settings: &Settings,
    ) -> bool {
        settings.pause
            && self.next_try.is_none_or(|next_try| next_try <= now)
            && !self.pauses.any_pages_out(now)
            && levels.swap_is_untried(memory)
    }

    /// Whether it is to be tried now: a unit is stopped for a moment, and some of it paged
    /// out, while there is memory left to compress in. Without what swap gains, memory would
    /// soon be full.
    pub(crate) fn is_to_try_swap(
        &self,
        now: Moment,
        memory: &Memory,
        levels: &Levels,
        settings: &Settings,
    ) -> bool {
        let left_in_memory = memory.available_bytes.saturating_sub(levels.kill_memory);
        let left_bytes = left_bytes(memory, levels).max(1);
        let is_soon = |full_in: Duration| {
            let millis = u64::try_from(full_in.as_millis()).unwrap_or(u64::MAX);
            let in_memory = share(left_in_memory, left_bytes, millis);
            PAUSE_BEFORE < full_in && Duration::from_millis(in_memory) <= PAUSE_BEFORE
        };
        let is_near = match self.forecast.full_in() {
            Some(full_in) => is_soon(full_in),
            None => left_in_memory == 0,
        };
        is_near
            && !self.pauses.stalled_lately(now)
            && self.may_try_swap(now, memory, levels, settings)
    }

    /// It was tried with what is paused now, or nothing could be.
    pub(crate) fn tried_swap(&mut self, now: Moment, is_paused: bool) {
        self.next_try = Some(now + if is_paused { NEXT_TRY } else { NEXT_CHOICE });
    }

    /// Whether a table would tell something new.
    fn is_news(&self, now: Moment, memory: &Memory, level: Level) -> bool {
        let Some(table) = self.table else {
            return true;
        };
        let moved = memory.pool_bytes().abs_diff(table.memory.pool_bytes()).max(
            memory
                .available_bytes
                .abs_diff(table.memory.available_bytes),
        );
        if level == Level::Ok {
            return moved > memory.total_bytes / NOTICEABLE;
        }
        let stands = table.refused
            && level <= table.level
            && !self.reconsider
            && now.since(table.at) < RECONSIDER_AFTER
            && moved <= memory.total_bytes / SETTLED;
        !stands
    }

    /// Why relief is refused now, whatever the table says.
    pub(crate) fn relief_refusal(
        &self,
        now: Moment,
        memory: &Memory,
        levels: &Levels,
        settings: &Settings,
    ) -> Option<Refusal> {
        if levels.has_recovered(memory) {
            return Some(Refusal::EnoughAvailable);
        }
        let over = self.last_relief? + settings.relief_interval;
        let remaining = over.since(now);
        (!remaining.is_zero()).then_some(Refusal::RecoveryInterval { remaining })
    }

    /// Whether a pause should wait for what is not yet known of a candidate.
    pub(crate) fn waits_for_survey(&mut self, now: Moment) -> bool {
        let over = |since: Moment| NEXT_SURVEY <= now.since(since);
        if self.awaits_survey.is_none_or(over) {
            self.awaits_survey = Some(now);
        }
        self.awaits_survey
            .is_some_and(|since| now.since(since) < SURVEY)
    }

    /// Whether it has been met for too short a time that nothing is known of a
    /// candidate that started at `start_ticks`, the newest such.
    pub(crate) fn is_new(&mut self, now: Moment, start_ticks: u64) -> bool {
        let met = match self.newest_unknown {
            Some((newest, met)) if start_ticks <= newest => met,
            _ => now,
        };
        self.newest_unknown = Some((start_ticks, met));
        now.since(met) < SURVEY_OF_NEWEST
    }

    /// Graces and deadlines that are over; at kill, every grace is.
    pub(crate) fn escalate(
        &mut self,
        now: Moment,
        level: Level,
        ask: Ask,
        memory: &Memory,
        settings: &Settings,
        actions: &mut Vec<Action>,
    ) {
        let at_once = level == Level::Kill || ask == Ask::LastCall;
        let deadline = match ask {
            Ask::LastCall => settings.last_call_deadline,
            Ask::None | Ask::Pause | Ask::Relief => settings.deadline,
        };
        let any_stuck = self
            .victims
            .escalate(now, at_once, deadline, memory, actions);
        self.reconsider |= any_stuck;
        if !self.victims.any_dying() {
            self.chosen_for = None;
        }
    }

    /// What victims still hold.
    pub(crate) fn pending_bytes(&self, pool: Pool) -> u64 {
        let (resident_bytes, swap_bytes) = self.victims.pending_bytes();
        match pool {
            Pool::Memory => resident_bytes,
            Pool::MemoryAndSwap | Pool::MemoryAndActiveSwap => {
                resident_bytes.saturating_add(swap_bytes)
            }
        }
    }

    /// A table was read and decided about.
    pub(crate) fn decided(&mut self, at: Moment, memory: &Memory, level: Level, refused: bool) {
        self.table = Some(Table {
            at,
            memory: *memory,
            level,
            refused,
        });
    }
}
