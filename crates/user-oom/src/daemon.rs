//! The loop: wait for a source, make an event of it, hand it to the guard,
//! carry out the effects.
//!
//! After start-up a round that decides takes no heap memory and no lock, and
//! waits for nothing: what it has to say goes to the scribe, what takes another
//! process's locks goes to the reaper and the surveyor, and
//! registry entries, new holds and larger buffers are left to quiet rounds.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::{Denial, Relief, Relieved};
use nix::sys::epoll::EpollFlags;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use oom_policy::{
    Action, Answer, Ask, Cost, Decision, Depth, Effect, Effects, EndedBy, Event, Guard, Level,
    Memory, Moment, NextKill, PauseRefusal, Process, ProcessId, Refusal, Verdict,
};
use terminal::chain;

use crate::act::{Executor, Means, unit};
use crate::align::{Aligner, Outlook};
use crate::clerk::{self, Clerk, FromClerk, Picture, Plans};
use crate::configuration::obstacle;
use crate::error::{Error, system};
use crate::memory::{ListenTarget, Sight};
use crate::metrics::{Figures, MetricsFile};
use crate::pressure::{PressureWatch, watch_triggers};
use crate::recorder::Recorded;
use crate::reload::{Change, Outcome, ReloadRequest, Reloads};
use crate::rule_command::RuleCommands;
use crate::senses::{Senses, Unattended, say_once};
use crate::start::not_guarded_yet;
use crate::surveyor::Surveyor;
use crate::tell::main_log;
use crate::tell::narrator::{Decided, Took};
use crate::tell::record::{OwnWords, Record, Shortfalls, Victim};
use crate::tell::scribe::Scribe;
use crate::turns::{NotTurned, Turns, UnitWish};
use crate::values::Values;
use crate::wait::{Wait, WakeSource};
use crate::watchdog::{Killed, Watchdog};

/// Before another round, where the watchdog or the surveyor is at work.
const BREATH: Duration = Duration::from_millis(20);

/// In which the surveyor says what a newcomer is, when it is not kept waiting.
const SURVEY: Duration = Duration::from_millis(1);

/// In which it measures a process of some 100 MiB.
const MEASUREMENT: Duration = Duration::from_millis(5);

/// How long a reload is not told of for processes whose label is not found yet.
const LABELLED: Duration = Duration::from_secs(2);

/// So many lines of mistakes are said behind the first.
const MOST_LINES: usize = 30;

/// The daemon at work. Of several scopes, it is at one at a time.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) origin: Instant,
    pub(crate) wait: Wait,
    pub(crate) signals: SignalFd,
    pub(crate) senses: Senses,
    pub(crate) values: Values,
    pub(crate) guard: Recorded,
    pub(crate) effects: Effects,
    pub(crate) executor: Executor,
    /// What rules have run.
    pub(crate) commands: RuleCommands,
    pub(crate) aligner: Aligner,
    pub(crate) clerk: Clerk,
    /// As last shown.
    pub(crate) plans: Plans,
    pub(crate) planned: Planning,
    pub(crate) scribe: Scribe,
    pub(crate) watchdog: Watchdog,
    /// Which processes the watchdog would kill next.
    pub(crate) will: Vec<NextKill>,
    pub(crate) status: StatusLine,
    pub(crate) round: LoopState,
    /// `None` where the configuration cannot be read again.
    pub(crate) reloads: Option<Reloads>,
    pub(crate) reloading: Option<Reloading>,
    pub(crate) hangup: OnHangup,
    /// Units that persons want paused or thawed.
    pub(crate) turns: Turns,
    /// `None` where none is written.
    pub(crate) _metrics: Option<MetricsFile>,
    /// The number of the scope that it is at: whose `guard`, `effects` and `round`
    /// these are, and what `senses` sees.
    pub(crate) scope: usize,
    /// The others, from number 1 on. While it is at one of these, the first scope is
    /// in that one's place.
    pub(crate) others: Vec<OtherScope>,
    /// It begins to guard a scope even where that has processes killed at once.
    pub(crate) is_forced: bool,
}

/// A scope that the loop is not at.
#[derive(Debug)]
pub(crate) struct OtherScope {
    pub(crate) name: Box<str>,
    pub(crate) senses: Unattended,
    pub(crate) guard: Recorded,
    pub(crate) effects: Effects,
    pub(crate) round: LoopState,
}

/// A scope as it is, wherever the loop is.
struct View<'a> {
    guard: &'a Guard,
    processes: &'a [Process],
    round: &'a LoopState,
    is_machine: bool,
}

/// What SIGHUP does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnHangup {
    Ends,
    Reloads,
}

/// A configuration that is in force, and told once processes are labelled by its
/// rules.
#[derive(Debug)]
pub(crate) struct Reloading {
    since: Moment,
    request: ReloadRequest,
    said: String,
}

/// When the status line is due; never without an interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatusLine {
    interval: Option<Duration>,
    next: Moment,
}

impl StatusLine {
    pub(crate) fn every(interval: Option<Duration>) -> Self {
        Self {
            interval,
            next: Moment::ORIGIN,
        }
    }

    /// From now on; no later than it would have been due so.
    fn adopt(&mut self, now: Moment, interval: Option<Duration>) {
        self.interval = interval;
        if let Some(interval) = interval {
            self.next = self.next.min(now + interval);
        }
    }
}

/// Plans that are asked for.
#[derive(Debug)]
pub(crate) struct Planning {
    /// By the last request for one.
    wanted: u64,
    decision: Decision,
}

impl Default for Planning {
    fn default() -> Self {
        Self {
            wanted: 0,
            decision: Decision::idle(),
        }
    }
}

/// Where the loop stands.
#[derive(Debug, Default)]
pub(crate) struct LoopState {
    /// How long nothing need be looked at.
    pause: Duration,
    /// The kernel waits: only what is held may be used.
    is_last_call: bool,
    /// What the last table took.
    took: Took,
    /// When the guard was last told of the table that is there.
    decided: Option<Moment>,
    /// When memory was last read.
    seen: Moment,
    /// Why it cannot be read now, or not be guarded.
    unseen: Option<Arc<str>>,
    /// It can be read, but not be guarded.
    is_obstructed: bool,
    /// It was never guarded yet.
    is_awaited: bool,
    /// It will be full in so long, which was found then and which rules are yet to be
    /// told of.
    forecast: Option<(Moment, Duration)>,
}

impl LoopState {
    /// Of a scope that cannot be guarded yet, because it is not there, or although it
    /// `is_there`.
    pub(crate) fn awaited(why: Arc<str>, is_there: bool) -> Self {
        Self {
            unseen: Some(why),
            is_obstructed: is_there,
            is_awaited: true,
            ..Self::default()
        }
    }
}

impl Daemon {
    /// Guards the machine until a signal ends it.
    ///
    /// # Errors
    ///
    /// - [`Error::Control`]: the lock was removed, and another daemon has it.
    /// - [`Error::System`]: waiting itself fails.
    ///
    /// Nothing that is read can end the daemon.
    pub(crate) fn guard(&mut self) -> Result<(), Error> {
        main_log::hand_over(|level, text| self.scribe.note(level, text));
        self.watchdog.comes_round();
        self.read_first();
        loop {
            let pause = self.round();
            self.watchdog.waits(pause);
            let woken = self.wait.wait(pause).map_err(system("wait"))?;
            self.watchdog.comes_round();
            self.take_over();
            for (source, flags) in woken {
                if let ControlFlow::Break(end) = self.hear(source, flags) {
                    return end;
                }
            }
        }
    }

    /// Reads what the first decision goes by and later ones find read.
    fn read_first(&mut self) {
        self.senses.read_first();
        let pids = self.senses.processes.iter().map(|process| process.id.pid);
        let has_changed = self.values.read_first(pids, &mut self.scribe);
        self.hold_ahead();
        if has_changed {
            self.revalue();
        }
    }

    /// Holds all that may be killed, as long as the module is there to ask.
    fn hold_ahead(&mut self) {
        if self.senses.memory.notifier().is_some() {
            let processes = &self.senses.processes;
            self.executor.holds.hold_all(processes, &self.wait);
        }
    }

    /// Counts what the watchdog has killed as victims, before their ends are
    /// heard of.
    fn take_over(&mut self) {
        let Some(Killed { before_bytes, ago }) = self.watchdog.take_over() else {
            return;
        };
        let began = self.now().before(ago);
        let (guard, effects) = (&mut self.guard, &mut self.effects);
        let (processes, table) = (&self.senses.processes, &self.senses.table);
        let others = &mut self.others;
        let (surveyor, values) = (&self.senses.surveyor, &self.values);
        let words = |id| own_words(surveyor, values, id);
        let killed = |id, lost| {
            if let Some(process) = Process::find(processes, id) {
                let event = Event::Killed {
                    process,
                    lost,
                    by: EndedBy::Kill,
                };
                guard.handle(began, event, effects);
                let scopes = table.scopes_of(id);
                tell_others(began, others, 0, scopes, process, EndedBy::Kill);
            }
        };
        let scribe = &mut self.scribe;
        self.executor
            .take_over(began, before_bytes, words, scribe, killed);
        self.executor.free_killed();
    }

    /// Goes from the first scope to another, or from there to the first.
    fn turn(&mut self, scope: usize) {
        use std::mem::swap;
        let other = scope.checked_sub(1);
        let Some(other) = other.and_then(|index| self.others.get_mut(index)) else {
            return;
        };
        self.scope = if self.scope == 0 { scope } else { 0 };
        self.senses.turn(self.scope, &mut other.senses);
        swap(&mut self.guard, &mut other.guard);
        swap(&mut self.effects, &mut other.effects);
        swap(&mut self.round, &mut other.round);
        self.executor.turn(self.scope);
        self.scribe.turn(self.scope);
    }

    /// Does something at a scope.
    fn at<T>(&mut self, scope: usize, act: impl FnOnce(&mut Self) -> T) -> T {
        self.turn(scope);
        let done = act(self);
        self.turn(scope);
        done
    }

    /// Hands `event` to the guard of each scope.
    fn handle_everywhere(&mut self, now: Moment, event: Event<'_>) {
        for scope in 0..=self.others.len() {
            self.at(scope, |daemon| daemon.handle(now, event));
        }
    }

    fn now(&self) -> Moment {
        Moment::after_origin(self.origin.elapsed())
    }

    /// Looks at the memory of each scope, and does what follows. Returns how long
    /// nothing need be looked at.
    fn round(&mut self) -> Duration {
        // Before memory is looked at: what that shows has theirs.
        self.let_go_of_late();
        let is_answered = self.look_here();
        if self.executor.holds.late().next().is_some() {
            self.rest_for(BREATH);
        }
        // While the kernel waits, nothing else is done.
        if is_answered {
            return self.round.pause;
        }
        for scope in 1..=self.others.len() {
            let pause = self.at(scope, |daemon| {
                daemon.look_here();
                daemon.round.pause
            });
            self.rest_for(pause);
        }
        self.leisure();
        self.round.pause
    }

    /// Looks at the memory of the scope that it is at; whether the kernel has called.
    fn look_here(&mut self) -> bool {
        let now = self.now();
        self.round.pause = Duration::MAX;
        match self.senses.memory.read() {
            Ok(Sight {
                memory,
                last_call: Some(sequence),
            }) if self.senses.memory.claim(sequence) => {
                self.see(now);
                self.round.is_last_call = true;
                self.guard.hush(true);
                self.handle(now, Event::LastCall { sequence, memory });
                self.guard.hush(false);
                self.round.is_last_call = false;
                return true;
            }
            Ok(Sight { mut memory, .. }) => {
                if let Some(why) = self.obstacle(&memory) {
                    self.look_past(now, why);
                    return false;
                }
                if self.guard.follows_paused() {
                    self.senses.memory.find_swap_cached(&mut memory);
                }
                self.look(now, memory);
            }
            Err(err) => {
                let mut was_said = self.round.unseen.is_some() && !self.round.is_obstructed;
                say_once(&mut was_said, &mut self.scribe, "cannot read memory", &err);
                self.round.is_obstructed = false;
                self.look_without(now, chain(&err));
            }
        }
        false
    }

    /// Why what it is at cannot be guarded, although its memory could be read. Before it is
    /// guarded for the first time, all must be as at a start.
    fn obstacle(&self, memory: &Memory) -> Option<String> {
        let settings = self.guard.settings();
        let obstacle = if self.round.is_awaited {
            not_guarded_yet(&self.senses.memory, settings, memory, self.is_forced)
        } else if !settings.fits(memory) {
            obstacle(settings, memory, true)
        } else {
            None
        };
        obstacle.map(|unusable| unusable.to_string())
    }

    /// Says that what it is at is not guarded, until it is or cannot be read either.
    fn look_past(&mut self, now: Moment, why: String) {
        if !std::mem::replace(&mut self.round.is_obstructed, true) {
            let scope = self.senses.memory.scope();
            let scope = scope.map_or("memory".to_owned(), |scope| format!("cgroup {scope}"));
            self.scribe.note(
                log::Level::Error,
                format_args!("{scope} is not guarded until that changes: {why}"),
            );
        }
        self.look_without(now, why);
    }

    fn see(&mut self, now: Moment) {
        self.round.seen = now;
        self.round.is_awaited = false;
        let what = match std::mem::take(&mut self.round.is_obstructed) {
            true => "is guarded now",
            false => "can be read: it is guarded now",
        };
        let was_unseen = self.round.unseen.take().is_some();
        if let Some(scope) = self.senses.memory.scope().filter(|_| was_unseen) {
            self.scribe
                .note(log::Level::Info, format_args!("cgroup {scope} {what}"));
            if self.senses.pressure.renew(scope) {
                watch_triggers(&mut self.senses.pressure, &self.wait, self.scope);
            }
        }
    }

    /// What the kernel has dropped with a cgroup is watched again once that is back.
    /// Returns for how long nothing of this is due. Not while memory is short: the
    /// kernel may take a while.
    fn regain_pressure(&mut self) -> Duration {
        let now = self.now();
        if self.guard.level() != Level::Ok {
            return Duration::MAX;
        }
        let pressure = &mut self.senses.pressure;
        if let Some(scope) = self.senses.memory.scope()
            && pressure.regain(now, scope)
        {
            watch_triggers(pressure, &self.wait, self.scope);
            self.scribe.note(
                log::Level::Info,
                format_args!("the pressure of cgroup {scope} is watched again"),
            );
        }
        self.senses.pressure.rest(now)
    }

    fn look(&mut self, now: Moment, mut memory: Memory) {
        self.see(now);
        self.senses.say_what_was_implausible(&mut self.scribe);
        // Where there is enough without it, it is not worth a read.
        if !memory.is_plentiful() {
            self.senses.measure_zram(&mut memory, &mut self.scribe);
        }
        if self.guard.needs_exact(&memory) {
            self.senses.make_exact(&mut memory, &mut self.scribe);
        }
        self.attend(now);
        self.executor
            .settle(now, memory.pool_bytes(), &mut self.scribe);
        self.handle(now, Event::Memory(memory));
        self.align(now);
        let others = &self.others;
        let is_quiet = self.guard.level() == Level::Ok
            && others.iter().all(|it| it.guard.level() == Level::Ok)
            && !self.executor.is_busy();
        let (is_news, pause) =
            self.senses
                .measure(now, is_quiet, self.guard.memory(), &mut self.scribe);
        self.rest_for(pause);
        if is_news {
            // The last table has shown other amounts.
            self.handle(now, Event::Revalued);
        }
    }

    fn look_without(&mut self, now: Moment, why: String) {
        self.round.unseen = Some(why.into());
        self.attend(now);
        let last = self.senses.memory.last();
        self.handle(now, Event::Unreadable { last });
        self.tell_level(&Memory::default());
    }

    /// Subscribers are told of the level of the first scope.
    fn tell_level(&mut self, memory: &Memory) {
        if self.scope == 0 {
            let level = condition(&self.guard, &self.round);
            self.scribe.level(level, memory);
        }
    }

    /// Looks at pressure, and takes in what has come of earlier rounds.
    fn attend(&mut self, now: Moment) {
        for gate in [Ask::Pause, Ask::Relief] {
            let (stalled, pause) = self.senses.look_at_pressure(now, gate, &mut self.scribe);
            self.say_if_pressure_is_back(gate);
            if stalled {
                self.handle(now, Event::Stalled(gate));
            }
            self.rest_for(pause);
        }
        if self.scope > 0 {
            return;
        }
        self.senses.take_in(now);
        self.executor.holds.watch_signalled(&self.wait);
        while let Some(id) = self.executor.holds.ended_untold() {
            self.has_ended(now, id);
        }
        if self.executor.holds.is_will_spent() {
            self.handle(now, Event::Revalued);
        }
    }

    /// That it was off was said for both gates at once.
    fn say_if_pressure_is_back(&mut self, gate: Ask) {
        let pressure = &mut self.senses.pressure;
        let is_told = gate == Ask::Relief || pressure.relief.is_none();
        let watch = pressure.of(gate).as_mut();
        if let Some(path) = watch
            .and_then(PressureWatch::read_again)
            .filter(|_| is_told)
        {
            let path = path.display();
            self.scribe.note(
                log::Level::Info,
                format_args!("relief by pressure is on again: `{path}` can be read"),
            );
        }
    }

    fn rest_for(&mut self, pause: Duration) {
        self.round.pause = self.round.pause.min(pause);
    }

    /// Hands `event` to the guard and carries out what it wants done.
    fn handle(&mut self, now: Moment, event: Event<'_>) {
        self.guard.handle(now, event, &mut self.effects);
        if let Event::Memory(memory) = &event {
            // Before what follows from it.
            self.tell_level(memory);
        }
        while let Some(effect) = self.effects.next() {
            match effect {
                Effect::LookAgain { after } => self.rest_for(after),
                Effect::Forewarn { full_in } => self.forewarn(now, full_in),
                Effect::ReadTable(depth) => self.read_table(now, depth),
                Effect::Act(action) => self.act(now, action),
                Effect::AnswerKernel { sequence } => self.senses.memory.answer(sequence),
                Effect::DeclineKernel { sequence } => self.senses.memory.decline(sequence),
                Effect::Free => self.executor.free_killed(),
                // Relief is asked for of the first scope.
                Effect::Answer(_) if self.scope > 0 => {}
                Effect::Answer(answer) => self.clerk.answer(outcome(answer, self.guard.memory())),
                Effect::AnswerPause(answer) => {
                    if let Some((number, told)) = self.turns.answered(answer) {
                        self.clerk.turned(number, told);
                    }
                }
                Effect::Tell => self.tell(now),
                // The watchdog looks after the first.
                Effect::LeaveWill if self.scope > 0 => {}
                Effect::LeaveWill => {
                    self.leave_will(now);
                    self.draw_plans(now);
                }
                Effect::HoldAhead => self.hold_ahead(),
                Effect::Rest => self.make_room(),
            }
        }
    }

    fn forewarn(&mut self, now: Moment, full_in: Duration) {
        let edition = self.senses.surveyor.edition();
        if edition.forecast_commands().next().is_some() {
            self.round.forecast = Some((now, full_in));
            // Which processes they match is seen in a table of now.
            self.guard.handle(now, Event::Revalued, &mut self.effects);
        }
        let next = self.will.first().filter(|_| self.scope == 0).map(|next| {
            let process = Process::find(&self.senses.processes, next.id);
            Victim::new(next.id, process, None)
        });
        self.scribe.tell(Record::Forewarned { full_in, next });
    }

    fn read_table(&mut self, now: Moment, depth: Depth) {
        let ours = self.aligner.may_have_set(now);
        self.senses.table.disregard(ours);
        self.senses.table.keep(self.held_up());
        self.round.decided = None;
        let began = Instant::now();
        self.values.share_out(began);
        let (values, memory) = (&self.values, self.guard.memory());
        let worth = |id| values.get(id, began);
        let word = |id| values.pause_word(id);
        self.round.took.read = self
            .senses
            .read_table(depth, memory, worth, word, &mut self.scribe);
        // While the table was read, the watchdog may have thought that we hang.
        self.watchdog.comes_round();
        if !self.round.is_last_call && self.watchdog.has_acted() {
            // What it did is taken over first; the guard asks again.
            self.rest_for(BREATH);
            return;
        }
        if self.guard.level() != Level::Ok && self.senses.awaits_newcomers(now) {
            self.rest_for(SURVEY);
            return;
        }
        if depth != Depth::Held && self.guard.is_deciding() {
            let is_urgent = self.guard.level() == Level::Kill;
            let memory = self.guard.memory();
            if self.senses.awaits_measurements(now, is_urgent, memory) {
                self.rest_for(MEASUREMENT);
                return;
            }
        }
        let began = Instant::now();
        let processes = &self.senses.processes;
        self.guard
            .handle(now, Event::Table { depth, processes }, &mut self.effects);
        self.round.took.choose = began.elapsed();
        self.round.decided = Some(now);
    }

    fn act(&mut self, now: Moment, action: Action) {
        let decided = decided(&self.guard, &self.senses.processes, &self.round);
        let means = means(&self.wait, &self.round);
        let table = &mut self.senses.table;
        let others = &self.others;
        let outcome = match action {
            // It stands still for another scope's sake too.
            Action::Thaw(unit) if others.iter().any(|it| it.guard.paused_as(unit).is_some()) => {
                self.executor.paused.put_off(unit);
                Event::Ordered
            }
            action => self.executor.act(now, action, decided, means, table),
        };
        let outcome = match outcome {
            Event::Gone(id) if self.puts_off(id) => Event::Ordered,
            outcome => outcome,
        };
        if let (Event::Sent(id), Some((_, by))) = (outcome, action.ends())
            && let Some(process) = Process::find(&self.senses.processes, id)
        {
            let scopes = self.senses.table.scopes_of(id);
            let others = &mut self.others;
            tell_others(now, others, self.scope, scopes, process, by);
        }
        let failed = match action {
            Action::Command(id) if !self.runs(id, outcome) => Some(id),
            _ => None,
        };
        self.guard.handle(now, outcome, &mut self.effects);
        if let Some(id) = failed {
            self.guard
                .handle(now, Event::CommandFailed(id), &mut self.effects);
        }
    }

    /// Has the command run of the unit that `id` leads, where it leads one; whether
    /// something is about to end it. `outcome`: what became of the action.
    fn runs(&mut self, id: ProcessId, outcome: Event<'_>) -> bool {
        if !matches!(outcome, Event::Sent(_)) {
            return false;
        }
        if unit(self.guard.decision(), id).is_none() {
            return true;
        }
        let process = Process::find(&self.senses.processes, id);
        let label = process.map(|process| process.dossier.label);
        let edition = self.senses.surveyor.edition();
        let command = label.and_then(|label| edition.command(&label));
        let leader = Victim::new(id, process, None);
        command.is_some_and(|command| self.commands.run(&leader, command))
    }

    fn tell(&mut self, now: Moment) {
        let decision = self.guard.decision();
        if decision.verdict == Verdict::Chosen {
            self.plans.last.take(decision, &self.senses.processes);
            self.plans.last_at = now;
        }
        self.show();
        let decided = decided(&self.guard, &self.senses.processes, &self.round);
        let means = means(&self.wait, &self.round);
        let (table, scribe) = (&mut self.senses.table, &mut self.scribe);
        let (surveyor, values) = (&self.senses.surveyor, &self.values);
        let words = |id| own_words(surveyor, values, id);
        self.executor
            .tell(decided, self.round.took, means, table, words, scribe);
        let guard = &self.guard;
        self.executor.set_aside(now, |id| guard.awaits(id), scribe);
        // While memory cannot be read, what came back is not known.
        if self.round.unseen.is_none() {
            let pool_bytes = self.guard.memory().pool_bytes();
            self.executor.settle(now, pool_bytes, scribe);
        }
    }

    fn leave_will(&mut self, now: Moment) {
        if self.watchdog.room() == 0 {
            return;
        }
        let Senses {
            processes,
            table,
            surveyor,
            ..
        } = &mut self.senses;
        self.guard.will(processes, &mut self.will);
        let holds = &mut self.executor.holds;
        holds.leave_will(now, &self.will, processes, table, &self.wait);
        self.watchdog.leave(holds.heirs(&self.will));
        let will = self.will.iter().map(|next| next.id);
        let ids = will.chain(self.executor.holds.told_of());
        let wanted = ids.filter_map(|id| Process::find(processes, id));
        surveyor.want_commands(wanted);
    }

    /// Should the kernel come first, it is to choose as we would.
    fn align(&mut self, now: Moment) {
        if self.scope > 0 {
            return;
        }
        let outlook = Outlook {
            will: &self.will,
            processes: &self.senses.processes,
            memory: self.guard.memory(),
            since_ticks: self.senses.table.scanned_at_ticks(),
        };
        let dying = self.executor.holds.pending();
        let is_short = self.guard.is_short();
        let pause = self.aligner.follow(now, is_short, dying, outlook);
        self.rest_for(pause);
    }

    /// Lets go of `id`, unless it is a victim whose memory is held up.
    fn has_ended(&mut self, now: Moment, id: ProcessId) {
        if !self.puts_off(id) {
            self.let_go(now, id);
        }
    }

    fn puts_off(&mut self, id: ProcessId) -> bool {
        self.is_held_up(id) && self.executor.holds.put_off(id, &self.wait)
    }

    /// The victims whose memory is held up: no more than one reads and one pages out.
    fn held_up(&self) -> [Option<ProcessId>; 2] {
        let endings = self.executor.holds.endings();
        let victims = endings.map(|ending| ending.victim.id);
        let mut held_up = victims.filter(|id| self.is_held_up(*id));
        [held_up.next(), held_up.next()]
    }

    /// Whether `id` is being read of or paged out. The thread that does that has its memory,
    /// which comes back only afterwards.
    fn is_held_up(&self, id: ProcessId) -> bool {
        self.senses.surveyor.reads_of() == Some(id) || self.executor.paused.pages_out(id)
    }

    /// Whether the guard of any scope expects the victim `id` to end.
    fn awaits(&self, id: ProcessId) -> bool {
        let mut others = self.others.iter();
        self.guard.awaits(id) || others.any(|other| other.guard.awaits(id))
    }

    /// Lets go of the victims whose memory was held up when they ended, and is no longer,
    /// or is for so long that they are not awaited.
    fn let_go_of_late(&mut self) {
        if self.executor.holds.late().next().is_none() {
            return;
        }
        let now = self.now();
        self.senses.take_in(now);
        loop {
            let mut late = self.executor.holds.late();
            let Some(id) = late.find(|id| !self.is_held_up(*id) || !self.awaits(*id)) else {
                break;
            };
            drop(late);
            self.let_go(now, id);
        }
    }

    fn let_go(&mut self, now: Moment, id: ProcessId) {
        let (was_victim, was_registered) =
            self.executor.let_go(now, id, &self.wait, &mut self.scribe);
        if was_victim {
            self.handle_everywhere(now, Event::Gone(id));
        }
        if was_registered {
            self.values.ended(id);
        }
    }

    /// In a quiet round, room for the processes to come.
    fn make_room(&mut self) {
        let processes = &mut self.senses.processes;
        let present = processes.len();
        // Larger only when it is nearly full: each time leaves a hole in the
        // heap that stays locked.
        if processes.capacity() < present + present / 16 {
            let room = room_for(present);
            processes.reserve_exact(room - present);
            self.guard.reserve(room);
            self.executor.reserve(room);
        }
        self.plans.last.reserve(processes.capacity());
        self.senses.refresh();
    }

    /// What can wait until a round is over: the registry, the status line.
    fn leisure(&mut self) {
        let now = self.now();
        let (has_changed, pause) = self.values.read(now, &self.wait, &mut self.scribe);
        self.rest_for(pause);
        if has_changed {
            self.revalue();
        }
        self.listen_again(now);
        self.pause_next(now);
        self.thaw_put_off();
        self.reload(now);
        for scope in 0..=self.others.len() {
            let pause = self.at(scope, |daemon| {
                daemon.say_who_else_kills();
                daemon.regain_pressure().min(daemon.follow_forecast())
            });
            self.rest_for(pause);
        }
        main_log::hand_over(|level, text| self.scribe.note(level, text));
        self.scribe.catch_up();
        // Before what is told, so that one who asks about it is told no less.
        self.clerk.show(|picture| {
            self.draw(picture);
            picture.refusals.follow(self.values.refusals());
        });
        self.report(now);
        if !self.executor.is_busy() {
            self.guard.note_state(now);
            for other in &mut self.others {
                other.guard.note_state(now);
            }
        }
    }

    /// Has the commands run that rules have for a forecast, once it is known which
    /// processes they match. Returns for how long nothing of this is due.
    fn follow_forecast(&mut self) -> Duration {
        let Some((since, full_in)) = self.round.forecast else {
            return Duration::MAX;
        };
        let now = self.now();
        let is_seen = self.round.decided.is_some_and(|decided| since <= decided);
        let is_known = is_seen && !self.senses.is_labelling();
        if !is_known && now.since(since) < LABELLED {
            return BREATH;
        }
        self.round.forecast = None;
        let edition = self.senses.surveyor.edition();
        for (rule, command) in edition.forecast_commands() {
            let processes = self.senses.processes.iter();
            let matched = processes.filter(|it| it.dossier.label.rule == rule);
            let Some(largest) = matched.max_by_key(|it| it.rss_bytes) else {
                continue;
            };
            let largest = Victim::new(largest.id, Some(largest), None);
            let seconds = full_in.as_secs();
            if self.executor.dryrun {
                self.scribe.note(
                    log::Level::Info,
                    format_args!("would run `{command}`: memory will be full in {seconds} s"),
                );
            } else if !self
                .commands
                .forecast(&largest, Arc::clone(command), full_in)
            {
                self.scribe.note(
                    log::Level::Warn,
                    format_args!("cannot run `{command}`: too many commands wait"),
                );
            }
        }
        Duration::MAX
    }

    /// Where the module was not loaded at start, or another process has listened to it.
    fn listen_again(&mut self, now: Moment) {
        match self.senses.memory.listen_again(now) {
            Ok(Some(target)) => self.begin_to_listen(&target),
            Ok(None) => {}
            Err(err) => self.scribe.note(
                log::Level::Warn,
                format_args!("the kernel will not ask before it kills: {}", chain(&err)),
            ),
        }
        self.rest_for(self.senses.memory.rest_before_listening(now));
    }

    /// In a cgroup the kernel does not ask before it kills.
    fn say_who_else_kills(&mut self) {
        let kills = self.senses.memory.new_kills();
        let Some(scope) = self.senses.memory.scope().filter(|_| kills > 0) else {
            return;
        };
        let noun = if kills == 1 { "process" } else { "processes" };
        let or_slow_down = match scope.can_be_slowed_down() {
            true => ", or set memory.high below the limit,",
            false => "",
        };
        self.scribe.note(
            log::Level::Warn,
            format_args!(
                "the kernel has killed {kills} {noun} in cgroup {scope}, at its memory limit: raise \
                 `-m`{or_slow_down} for more time to act"
            ),
        );
    }

    fn begin_to_listen(&mut self, target: &ListenTarget) {
        let Some(notifier) = self.senses.memory.notifier() else {
            return;
        };
        let flags = EpollFlags::EPOLLPRI;
        if let Err(errno) = self.wait.add(notifier, flags, WakeSource::Notifier) {
            self.senses.memory.do_without_notifier();
            self.scribe.note(
                log::Level::Warn,
                format_args!(
                    "the kernel will not ask before it kills: cannot wait for \
                     memory_info.ko: {}",
                    errno.desc()
                ),
            );
            return;
        }
        let now = self.now();
        self.guard.kernel_asks(now);
        let mut settings = self.guard.settings().clone();
        match target.grace() {
            Ok(grace) => settings.last_call_deadline = grace,
            Err(err) => log::warn!("{}; using {:?}", chain(&err), settings.last_call_deadline),
        }
        self.guard.adopt(now, settings);
        self.hold_ahead();
        self.scribe.note(
            log::Level::Info,
            format_args!("listening to memory_info.ko: the kernel asks us now before it kills"),
        );
    }

    /// Puts in force what was read of the configuration, one reading after the
    /// other, and tells of it.
    fn reload(&mut self, now: Moment) {
        if let Some(Reloading { since, .. }) = self.reloading {
            if self.senses.is_labelling() && now.since(since) < LABELLED {
                self.rest_for(BREATH);
                return;
            }
            self.handle_everywhere(now, Event::Revalued);
            if let Some(Reloading { request, said, .. }) = self.reloading.take() {
                self.answer_reload(request, Ok(said));
            }
            // Others may wait.
            self.rest_for(Duration::ZERO);
        }
        match self.reloads.as_mut().and_then(Reloads::found) {
            None => {}
            Some((request, Ok(change))) => {
                let said = self.adopt(now, *change);
                self.reloading = Some(Reloading {
                    since: now,
                    request,
                    said,
                });
                self.rest_for(Duration::ZERO);
            }
            Some((request, Err(why))) => self.answer_reload(request, Err(why)),
        }
    }

    /// Goes by `change` from now on. Returns what is said of it.
    fn adopt(&mut self, now: Moment, change: Change) -> String {
        let rules = change.edition.rulebook.len();
        self.guard.adopt(now, change.settings);
        for (other, settings) in self.others.iter_mut().zip(change.others) {
            other.guard.adopt(now, settings);
        }
        self.senses.adopt(change.edition, change.patterns);
        let mut warnings = change.warnings;
        if let Some(commands) = change.commands {
            let failed = commands.descriptor().map_or(Ok(()), |failed| {
                self.wait
                    .add(failed, EpollFlags::EPOLLIN, WakeSource::Command)
            });
            if let Err(errno) = failed {
                let unheard =
                    "the failure of a rule's command is not noticed before its time limit";
                warnings.push(format!("{unheard}: {}", errno.desc()));
            }
            self.commands = commands;
        }
        self.values
            .limit(change.user_value_cap, change.user_value_share);
        self.status.adopt(now, change.report);
        if let Err(err) = self.senses.memory.wake_at(change.target) {
            warnings.push(chain(&err));
        }
        for warning in &warnings {
            self.scribe.note(log::Level::Warn, warning);
        }
        let noun = if rules == 1 { "rule" } else { "rules" };
        let changes = match &*change.changes {
            [] => "no key has changed".to_owned(),
            changes => changes.join(", "),
        };
        let said = [format!("{changes}; {rules} {noun}")];
        said.into_iter()
            .chain(warnings)
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn answer_reload(&mut self, request: ReloadRequest, outcome: Outcome) {
        let by = &request.by;
        match &outcome {
            Ok(said) => {
                // The rest was said.
                let first = said.lines().next().unwrap_or_default();
                self.scribe.note(
                    log::Level::Info,
                    format_args!("configuration reloaded ({by}): {first}"),
                );
            }
            Err(why) => {
                let mut lines = why.lines();
                let first = lines.next().unwrap_or_default();
                self.scribe.note(
                    log::Level::Error,
                    format_args!("configuration not reloaded ({by}), nothing has changed: {first}"),
                );
                for line in lines.take(MOST_LINES) {
                    self.scribe.note(log::Level::Error, line);
                }
            }
        }
        if let Some(answer) = request.answer {
            answer(&outcome);
        }
    }

    /// Values have changed: holds what is registered now.
    fn revalue(&mut self) {
        let registered = self.values.registered();
        self.executor.holds.hold_registered(registered, &self.wait);
        self.handle_everywhere(self.now(), Event::Revalued);
    }

    /// Writes the status line where it is due.
    fn report(&mut self, now: Moment) {
        let Some(interval) = self.status.interval else {
            return;
        };
        if self.status.next <= now {
            for scope in 0..=self.others.len() {
                self.at(scope, |daemon| daemon.report_here(now));
            }
            self.status.next = now + interval;
        }
        self.rest_for(self.status.next.since(now));
    }

    fn report_here(&mut self, now: Moment) {
        self.scribe.tell(match &self.round.unseen {
            None => {
                let memory = *self.guard.memory();
                let full_in = self.guard.full_in();
                let (paused, shortfalls) = match self.scope {
                    0 => (self.executor.paused.words(), self.shortfalls()),
                    _ => Default::default(),
                };
                Record::Status(memory, full_in, paused, shortfalls)
            }
            Some(why) if self.round.is_obstructed => Record::Unguarded(Arc::clone(why)),
            Some(why) => {
                let unseen_for = now.since(self.round.seen);
                Record::Unseen(unseen_for, Arc::clone(why))
            }
        });
    }

    fn shortfalls(&self) -> Shortfalls {
        Shortfalls {
            unheld: self.senses.unheld,
            unread: self.senses.unread,
            reaped: self.executor.reaped(),
            unmatched: {
                let mut unmatched = self.senses.surveyor.rulebook().unmatched();
                let first = unmatched.next().cloned();
                (usize::from(first.is_some()) + unmatched.count(), first)
            },
        }
    }

    fn hear(&mut self, source: WakeSource, flags: EpollFlags) -> ControlFlow<Result<(), Error>> {
        let now = self.now();
        match source {
            WakeSource::Signals => return self.hear_signal(),
            WakeSource::Registry => self.values.heard(),
            WakeSource::Clerk => return self.hear_clerk(now),
            // The next round reads it.
            WakeSource::Notifier => {}
            WakeSource::Pressure(scope) => self.hear_pressure(now, scope, Ask::Relief, flags),
            WakeSource::Stall(scope) => self.hear_pressure(now, scope, Ask::Pause, flags),
            WakeSource::Pauser => self.hear_pauser(now),
            WakeSource::Command => {
                while let Some(leader) = self.commands.failed() {
                    self.handle_everywhere(now, Event::CommandFailed(leader));
                }
            }
            // The next round takes it.
            WakeSource::Reload => {
                if let Some(reloads) = &mut self.reloads {
                    reloads.heard();
                }
            }
            WakeSource::Held(number) => {
                if let Some(id) = self.executor.holds.ended(number) {
                    self.has_ended(now, id);
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn hear_pressure(&mut self, now: Moment, scope: usize, gate: Ask, flags: EpollFlags) {
        self.at(scope, |daemon| {
            // It would be ready for ever.
            if flags.contains(EpollFlags::EPOLLERR) {
                daemon.senses.lose_pressure(gate, &mut daemon.scribe);
            } else {
                daemon.handle(now, Event::Stalled(gate));
            }
        });
    }

    fn hear_pauser(&mut self, now: Moment) {
        while let Some(heard) = self.executor.paused.hear(now) {
            if let Some(record) = heard.record {
                self.scribe.tell(record);
            }
            if let Some(event) = heard.event {
                if let Event::PagedOut(unit) = event {
                    let guards = std::iter::once(&self.guard)
                        .chain(self.others.iter().map(|other| &other.guard));
                    let is_in = |id| guards.clone().any(|it| it.paused_as(id) == Some(unit));
                    // What it has in swap counts at the next decision.
                    self.senses.table.renew(is_in);
                }
                self.handle_everywhere(now, event);
            }
            if let Some((unit, turned)) = heard.turned {
                while let Some(number) = self.turns.reported(unit) {
                    let told = turned.map(|()| unit).map_err(NotTurned::Failed);
                    self.clerk.turned(number, told);
                }
            }
        }
    }

    /// A person wants a unit paused.
    fn pause_next(&mut self, now: Moment) {
        if let Some(UnitWish { id, uid, .. }) = self.turns.next() {
            let scope = self.scope_that_paused(id);
            self.at(scope, |daemon| {
                daemon.handle(now, Event::PauseAsked { id, uid });
            });
        }
    }

    /// The first, where none did.
    fn scope_that_paused(&self, id: ProcessId) -> usize {
        let has_paused = |scope: &usize| self.view(*scope).guard.paused_as(id).is_some();
        (0..=self.others.len()).find(has_paused).unwrap_or(0)
    }

    /// What a scope has thawed, as soon as no other has it stand still.
    fn thaw_put_off(&mut self) {
        let Self {
            executor,
            guard,
            others,
            ..
        } = self;
        executor.paused.thaw_put_off(|unit| {
            let mut guards = std::iter::once(&*guard).chain(others.iter().map(|it| &it.guard));
            guards.any(|guard| guard.paused_as(unit).is_some())
        });
    }

    /// A person wants a unit to go on: it is not paused again at once, for any scope.
    fn thaw(&mut self, now: Moment, turn: UnitWish) {
        let scope = self.scope_that_paused(turn.id);
        let id = turn.id;
        if !self.at(scope, |daemon| daemon.thaw_here(now, turn)) {
            return;
        }
        for scope in 0..=self.others.len() {
            self.at(scope, |daemon| {
                if let Some(unit) = daemon.guard.paused_as(id) {
                    daemon.executor.paused.thaw(unit);
                    daemon.handle(now, Event::Continued(unit));
                }
            });
        }
    }

    /// Whether it goes on.
    fn thaw_here(&mut self, now: Moment, turn: UnitWish) -> bool {
        let Some(unit) = self.guard.paused_as(turn.id) else {
            self.clerk.turned(turn.number, Err(NotTurned::NotPaused));
            return false;
        };
        let leader = Process::find(&self.senses.processes, unit);
        let is_its = |uid| leader.is_some_and(|leader| leader.uid == uid);
        if turn.uid.is_some_and(|uid| !is_its(uid)) {
            let refusal = NotTurned::Refused(PauseRefusal::OfAnotherUser);
            self.clerk.turned(turn.number, Err(refusal));
            return false;
        }
        let is_awaited = self.turns.await_thaw(turn.number, unit);
        if is_awaited {
            self.executor.paused.thaw(unit);
            self.handle(now, Event::Continued(unit));
        } else {
            self.clerk.turned(turn.number, Err(NotTurned::Crowded));
        }
        is_awaited
    }

    fn hear_signal(&mut self) -> ControlFlow<Result<(), Error>> {
        match self.signals.read_signal() {
            Ok(Some(signal)) => {
                let name = i32::try_from(signal.ssi_signo)
                    .ok()
                    .and_then(|number| Signal::try_from(number).ok());
                if name == Some(Signal::SIGHUP) && self.hangup == OnHangup::Reloads {
                    self.ask_for_reload(signal.ssi_pid, signal.ssi_uid);
                    return ControlFlow::Continue(());
                }
                let name = name.map_or("a signal", Signal::as_str);
                self.scribe
                    .note(log::Level::Info, format_args!("ended by {name}"));
                ControlFlow::Break(Ok(()))
            }
            Ok(None) | Err(_) => ControlFlow::Continue(()),
        }
    }

    fn ask_for_reload(&mut self, pid: u32, uid: u32) {
        let request = ReloadRequest {
            by: format!("SIGHUP of pid {pid}, uid {uid}"),
            answer: None,
        };
        if let Err(why) = self.ask_to_reload(request) {
            self.scribe.note(
                log::Level::Warn,
                format_args!("SIGHUP does not reload the configuration: {why}"),
            );
        }
    }

    /// Asks for the configuration to be read again; else why not.
    fn ask_to_reload(&self, request: ReloadRequest) -> Result<(), &'static str> {
        let reloads = self.reloads.as_ref();
        let reloads = reloads.ok_or("the daemon must be restarted for it")?;
        let asked = reloads.reloader.ask(request);
        asked.map_err(|_| "other requests are already waiting")
    }

    fn hear_clerk(&mut self, now: Moment) -> ControlFlow<Result<(), Error>> {
        while let Some(wish) = self.clerk.next() {
            match wish {
                FromClerk::Relief(_) => self.handle(now, Event::Asked),
                FromClerk::Plan(number) => {
                    self.planned.wanted = number;
                    let is_recent = |decided| now.since(decided) < clerk::PLAN_LASTS;
                    match self.round.decided.is_some_and(is_recent) {
                        true => self.draw_plans(now),
                        // The table is read again, as often as for the will.
                        false => self.handle(now, Event::Revalued),
                    }
                }
                FromClerk::Reload(number, by) => self.reload_for(number, by),
                FromClerk::Pause(turn) if self.turns.want_pause(turn) => {}
                FromClerk::Pause(turn) => {
                    self.clerk.turned(turn.number, Err(NotTurned::Crowded));
                }
                FromClerk::Thaw(turn) => self.thaw(now, turn),
                FromClerk::Displaced(err) => return ControlFlow::Break(Err(Error::Control(err))),
            }
        }
        ControlFlow::Continue(())
    }

    fn reload_for(&self, number: u64, by: control::Peer) {
        let ear = self.clerk.ear(number);
        let pid = by.pid.unwrap_or(0);
        let request = ReloadRequest {
            by: format!("user-oomctl, pid {pid}, uid {}", by.uid),
            answer: Some(Box::new({
                let ear = ear.clone();
                move |told| ear.hear(told)
            })),
        };
        if let Err(why) = self.ask_to_reload(request) {
            ear.hear(&Err(why.to_owned()));
        }
    }

    /// Where it is asked for: what would be killed at either threshold. Not while
    /// memory is short, when time matters.
    fn draw_plans(&mut self, now: Moment) {
        let is_quiet = self.guard.level() == Level::Ok && !self.round.is_last_call;
        if !is_quiet || self.plans.until == self.planned.wanted {
            return;
        }
        let (guard, plans) = (&mut self.guard, &mut self.plans);
        let (processes, decision) = (&self.senses.processes, &mut self.planned.decision);
        guard.plan(Level::Warn, processes, decision);
        plans.warn.take(decision, processes);
        guard.plan(Level::Kill, processes, decision);
        plans.kill.take(decision, processes);
        plans.until = self.planned.wanted;
        plans.drawn = Some(now);
        // Both copies, so that none is made in a round that decides.
        for _ in 0..2 {
            self.clerk.show(|picture| {
                self.draw(picture);
                picture.plans.follow(&self.plans);
            });
        }
        self.clerk.ring();
    }

    /// Shows those that ask how things are.
    fn show(&self) {
        self.clerk.show(|picture| self.draw(picture));
    }

    /// What is shown in each round.
    fn draw(&self, picture: &mut Picture) {
        self.draw_status(&mut picture.status);
        picture.fates.follow(self.executor.fates());
        picture.figures = Figures {
            full_in: picture.status.full_in,
            paused_in_all: self.executor.paused.paused_in_all(),
            unheld: self.senses.unheld,
            unread: self.senses.unread,
            read: self.round.took.read,
            choose: self.round.took.choose,
        };
        if self.view(0).guard.level() == Level::Ok {
            let room = self.senses.processes.capacity();
            picture.plans.last.reserve(room);
        }
        picture.plans.follow_last(&self.plans);
    }

    /// In the room that `status` has.
    fn draw_status(&self, status: &mut control::Status) {
        let first = self.figures(0);
        status.level = first.level;
        status.available_bytes = first.available_bytes;
        status.total_bytes = first.total_bytes;
        status.swap_free_bytes = first.swap_free_bytes;
        status.swap_total_bytes = first.swap_total_bytes;
        status.registered = first.registered;
        status.warn_bytes = first.warn_bytes;
        let View { guard, round, .. } = self.view(0);
        status.kill_bytes = guard.kill_bytes(&seen(guard, round));
        status.full_in = guard.full_in().filter(|_| round.unseen.is_none());
        status.killed = self.executor.ended_in_all();
        status.paused = self.executor.paused.words().count;
        let scopes = &mut status.scopes;
        scopes.resize_with(self.others.len(), Default::default);
        for (index, (scope, other)) in scopes.iter_mut().zip(&self.others).enumerate() {
            let mut cgroup = std::mem::take(&mut scope.cgroup);
            if cgroup.is_empty() {
                cgroup.push_str(&other.name);
            }
            *scope = control::ScopeStatus {
                cgroup,
                ..self.figures(index + 1)
            };
        }
    }

    /// How a scope is.
    fn figures(&self, scope: usize) -> control::ScopeStatus {
        let View {
            guard,
            processes,
            round,
            is_machine,
        } = self.view(scope);
        let memory = seen(guard, round);
        let is_in_scope = |id: &ProcessId| is_machine || Process::find(processes, *id).is_some();
        let registered = self.values.registered().filter(is_in_scope).count();
        control::ScopeStatus {
            cgroup: String::new(),
            level: condition(guard, round),
            available_bytes: memory.available_bytes,
            total_bytes: memory.total_bytes,
            swap_free_bytes: memory.swap_free_bytes,
            swap_total_bytes: memory.swap_total_bytes,
            registered: u32::try_from(registered).unwrap_or(u32::MAX),
            warn_bytes: guard.warn_bytes(&memory),
        }
    }

    fn view(&self, scope: usize) -> View<'_> {
        let place = match scope {
            scope if scope == self.scope => None,
            0 => self.others.get(self.scope.wrapping_sub(1)),
            scope => self.others.get(scope - 1),
        };
        match place {
            None => View {
                guard: &self.guard,
                processes: &self.senses.processes,
                round: &self.round,
                is_machine: self.senses.memory.scope().is_none(),
            },
            Some(other) => View {
                guard: &other.guard,
                processes: &other.senses.processes,
                round: &other.round,
                is_machine: other.senses.memory.scope().is_none(),
            },
        }
    }
}

/// How `id` was started, and what its entry says.
fn own_words(surveyor: &Surveyor, values: &Values, id: ProcessId) -> OwnWords {
    OwnWords {
        command: surveyor.command(id),
        labels: values.labels(id),
    }
}

/// Tells the guards of the scopes that `process` is in that it was signalled for
/// another one, `here`: its memory will come back there too.
fn tell_others(
    now: Moment,
    others: &mut [OtherScope],
    here: usize,
    scopes: u32,
    process: &Process,
    by: EndedBy,
) {
    for (index, other) in others.iter_mut().enumerate() {
        // While the loop is at that one, the first is in its place.
        let scope = if index + 1 == here { 0 } else { index + 1 };
        if scopes >> scope & 1 == 1 {
            let event = Event::Killed {
                process,
                lost: Cost::ZERO,
                by,
            };
            other.guard.handle(now, event, &mut other.effects);
        }
    }
}

/// What cannot be read is not said as it was.
fn seen(guard: &Guard, round: &LoopState) -> Memory {
    match round.unseen {
        None => *guard.memory(),
        Some(_) => Memory::default(),
    }
}

fn condition(guard: &Guard, round: &LoopState) -> control::Condition {
    match guard.level() {
        _ if round.unseen.is_some() => control::Condition::Unknown,
        Level::Ok => control::Condition::Ok,
        Level::Warn => control::Condition::Warn,
        Level::Kill => control::Condition::Kill,
    }
}

fn decided<'a>(guard: &'a Guard, processes: &'a [Process], round: &LoopState) -> Decided<'a> {
    Decided {
        decision: guard.decision(),
        processes,
        memory: round.unseen.is_none().then_some(guard.memory()),
    }
}

fn means<'a>(wait: &'a Wait, round: &LoopState) -> Means<'a> {
    if round.is_last_call {
        Means::HeldOnly
    } else {
        Means::Open(wait)
    }
}

/// `answer` in the words of the control interface.
fn outcome(answer: Answer, memory: &Memory) -> Result<Relief, Denial> {
    let relief = |by, processes, bytes| Relief {
        by,
        processes: u32::try_from(processes).unwrap_or(u32::MAX),
        bytes,
    };
    Err(match answer {
        Answer::Granted { signals, bytes } => {
            return Ok(relief(Relieved::Kills, signals, bytes));
        }
        Answer::Paused { processes, bytes } => {
            return Ok(relief(Relieved::Pauses, processes, bytes));
        }
        Answer::DryRun => Denial::DryRun {},
        Answer::Refused(Refusal::EnoughAvailable) => Denial::EnoughAvailable {
            available_percent: available_percent(memory),
        },
        Answer::Refused(Refusal::RecoveryInterval { remaining }) => {
            Denial::RecoveryInterval { remaining }
        }
        Answer::Refused(Refusal::Pending { bytes }) => Denial::Pending { bytes },
        // Relief that cannot pause kills.
        Answer::Refused(
            Refusal::Unsurveyed | Refusal::SwapFull | Refusal::FillsTooFast | Refusal::ComesBack,
        ) => Denial::NothingHelps { eligible_bytes: 0 },
        Answer::Refused(Refusal::TakenByOthers) => Denial::TakenByOthers {},
        Answer::Refused(Refusal::NothingHelps { eligible_bytes }) => {
            Denial::NothingHelps { eligible_bytes }
        }
    })
}

/// Buffers are made for a quarter more processes than there are, and for some
/// at least: all of it is locked in memory. Beyond that they grow in the round
/// that needs it, except at a last call, which knows no newcomer.
pub(crate) fn room_for(processes: usize) -> usize {
    const LEAST: usize = 256;
    LEAST.max(processes + processes / 4)
}

/// Rounded down, 0 to 100.
fn available_percent(memory: &Memory) -> u32 {
    let base_bytes = memory.usable_bytes();
    let percent = u128::from(memory.available_bytes) * 100 / u128::from(base_bytes.max(1));
    u32::try_from(percent.min(100)).unwrap_or(100)
}
