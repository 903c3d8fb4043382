//! Carries out what the guard decided, and keeps account of what comes of it.
//!
//! The one place from which signals are sent.

use oom_policy::{
    Action, Candidate, Cause, Cost, Decision, Event, Level, Moment, Process, ProcessId,
};
use reaper::{ReapError, Reaper, Signalled, Tally};
use sensors::{ProcRoot, ProcessTable};

use crate::error::errno;
use crate::holds::Holds;
use crate::paused::{self, PausedUnits};
use crate::tell::episode::{Ending, Episode};
use crate::tell::fates::Fates;
use crate::tell::narrator::{Decided, Done, Narrator, Took};
use crate::tell::record::{KillReason, OwnWords, Record, Signal, UnitLine, Victim};
use crate::tell::scribe::Scribe;
use crate::wait::Wait;

/// What may be used to act.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Means<'a> {
    /// Files may be opened and memory allocated, and the exit of what is
    /// opened is waited for here.
    Open(&'a Wait),
    /// Only what is held already: at a last call, opening waits for memory.
    HeldOnly,
}

/// Sends the signals, and follows each victim to its end.
#[derive(Debug)]
pub(crate) struct Executor {
    root: ProcRoot,
    pub(crate) holds: Holds,
    /// `None` where there was no thread for it.
    reaper: Option<Reaper>,
    pub(crate) paused: PausedUnits,
    pub(crate) dryrun: bool,
    ended: u64,
    fates: Fates,
    /// By scope: from the first signal until all its victims are gone.
    episodes: Vec<Option<Episode>>,
    /// The scope that is decided for.
    scope: usize,
    narrator: Narrator,
}

impl Executor {
    pub(crate) fn new(
        root: ProcRoot,
        reaper: Option<Reaper>,
        paused: PausedUnits,
        dryrun: bool,
        capacity: usize,
        scopes: usize,
    ) -> Self {
        Self {
            holds: Holds::new(root.clone(), capacity),
            root,
            reaper,
            paused,
            dryrun,
            ended: 0,
            fates: Fates::new(),
            episodes: vec![None; scopes],
            scope: 0,
            narrator: Narrator::new(capacity),
        }
    }

    /// What is done from now on is decided for that scope.
    pub(crate) fn turn(&mut self, scope: usize) {
        self.scope = scope;
    }

    /// Whether a victim is still expected to end.
    pub(crate) fn is_busy(&self) -> bool {
        self.holds.pending().next().is_some()
    }

    /// Whether one of this scope is.
    fn is_busy_here(&self) -> bool {
        let mut pending = self.holds.endings().filter(|ending| ending.is_pending);
        pending.any(|ending| ending.scope == self.scope)
    }

    /// How many victims are gone since the start.
    pub(crate) fn ended_in_all(&self) -> u64 {
        self.ended
    }

    /// What became of the memory of victims so far.
    pub(crate) fn reaped(&self) -> Tally {
        let reaper = self.reaper.as_ref();
        reaper.map(Reaper::tally).unwrap_or_default()
    }

    /// What was done to the last victims.
    pub(crate) fn fates(&self) -> &Fates {
        &self.fates
    }

    /// Makes room for so many processes; for quiet rounds.
    pub(crate) fn reserve(&mut self, processes: usize) {
        self.holds.reserve(processes);
        self.narrator.reserve(processes);
    }

    /// Sends the signal that `action` of what was `decided` asks for; what
    /// became of it.
    ///
    /// What need not be done at once comes after: [`Self::free_killed`] and
    /// [`Self::tell`].
    pub(crate) fn act(
        &mut self,
        now: Moment,
        action: Action,
        decided: Decided<'_>,
        means: Means<'_>,
        table: &mut ProcessTable,
    ) -> Event<'static> {
        let (id, signal) = match action {
            Action::Command(id) => (id, Signal::Command),
            Action::Terminate(id) => (id, Signal::Term),
            Action::Kill(id) => (id, Signal::Kill),
            Action::Freeze(id) => return self.freeze(id, decided.decision, means),
            Action::PageOut { unit, mebibytes } => {
                let bytes = u64::from(mebibytes) << 20;
                self.page_out(now, unit, bytes, decided, means, table);
                return Event::Ordered;
            }
            Action::Thaw(unit) => {
                self.paused.thaw(unit);
                return Event::Ordered;
            }
        };
        // What is shown of it is read while it is there.
        let process = Process::find(decided.processes, id);
        let mut victim = Victim::new(id, process, score(table, means, id.pid));
        let unit = unit(decided.decision, id);
        let before = self.holds.get(id).and_then(|hold| hold.ending);
        let told_before = before.and_then(|ending| ending.victim.unit);
        victim.unit = unit.map(UnitLine::new).or(told_before);
        let first = before.is_none();
        let after_command = before.is_some_and(|ending| ending.by_command);
        let why = why(decided.decision, &victim, first, after_command);
        if self.dryrun {
            self.narrator.note(Done::Signalled {
                victim,
                signal,
                why,
                first: true,
                dry: true,
            });
            return Event::Unsent(id);
        }
        let lost = unit.map_or(Cost::ZERO, Candidate::lost);
        let ending = Ending::new(now, victim, process, lost, self.scope);
        let was_busy = self.is_busy_here();
        match self.signal(ending, signal, means) {
            Ok(Signalled::Sent) => {
                if !was_busy {
                    self.begin(now, decided.memory.map(|memory| memory.pool_bytes()));
                }
                let grounds = (decided.decision.cause, decided.decision.need_bytes);
                self.fates.signalled(now, &victim, signal, grounds);
                self.paused.is_victim_now(id);
                self.narrator.note(Done::Signalled {
                    victim,
                    signal,
                    why,
                    first,
                    dry: false,
                });
                Event::Sent(id)
            }
            Ok(Signalled::Gone) if first => Event::Unsent(id),
            Ok(Signalled::Gone) => Event::Gone(id),
            Err(err) => {
                let errno = errno(&err);
                self.narrator.note(Done::Unsignalled { victim, errno });
                Event::Refused(id)
            }
        }
    }

    /// Has `id` be frozen with its unit.
    fn freeze(&mut self, id: ProcessId, decision: &Decision, means: Means<'_>) -> Event<'static> {
        let (Means::Open(wait), Some(unit), false) =
            (means, paused::leader(decision, id), self.dryrun)
        else {
            return Event::Unsent(id);
        };
        match self.holds.hold_and_watch(id, wait) {
            Ok(None) => Event::Unsent(id),
            Ok(Some(hold)) if self.paused.add(unit, &hold.process) => Event::Sent(id),
            Ok(Some(_)) | Err(_) => Event::Refused(id),
        }
    }

    /// All of the unit that `unit` leads is added: freezes it, and pages it out.
    fn page_out(
        &mut self,
        now: Moment,
        unit: ProcessId,
        bytes: u64,
        decided: Decided<'_>,
        means: Means<'_>,
        table: &mut ProcessTable,
    ) {
        let Some(cause) = decided.decision.cause else {
            return;
        };
        let process = Process::find(decided.processes, unit);
        let mut leader = Victim::new(unit, process, score(table, means, unit.pid));
        leader.unit = self::unit(decided.decision, unit).map(UnitLine::new);
        let dry = self.dryrun;
        self.narrator.note(Done::Paused { leader, cause, dry });
        if !dry {
            let since = table.scanned_at_ticks();
            self.paused.freeze(now, leader, since, bytes);
        }
    }

    fn signal(
        &mut self,
        ending: Ending,
        signal: Signal,
        means: Means<'_>,
    ) -> Result<Signalled, ReapError> {
        let id = ending.victim.id;
        let hold = match means {
            Means::Open(wait) => self.holds.hold_and_watch(id, wait)?,
            Means::HeldOnly => self.holds.get(id),
        };
        let Some(hold) = hold else {
            return Ok(Signalled::Gone);
        };
        let signalled = match signal {
            Signal::Command if hold.process.is_gone() => Signalled::Gone,
            // The loop has it run, once for the unit.
            Signal::Command => Signalled::Sent,
            Signal::Term => match ending.victim.first_signal {
                Some(first) => hold.process.terminate_by(first)?,
                None => hold.process.terminate()?,
            },
            Signal::Kill => hold.process.kill()?,
        };
        if signalled == Signalled::Sent {
            hold.killed = signal == Signal::Kill;
            hold.ending.get_or_insert(ending).by_command = signal == Signal::Command;
        }
        Ok(signalled)
    }

    /// Has the reaper free what the killed hold. It takes their locks, so
    /// it comes after all that must not wait.
    pub(crate) fn free_killed(&mut self) {
        for hold in self.holds.iter_mut() {
            if std::mem::take(&mut hold.killed)
                && let Some(reaper) = &self.reaper
            {
                reaper.release(&hold.process);
            }
        }
    }

    /// Says what was decided, and then what was done about it.
    pub(crate) fn tell(
        &mut self,
        decided: Decided<'_>,
        took: Took,
        means: Means<'_>,
        table: &mut ProcessTable,
        words: impl Fn(ProcessId) -> OwnWords,
        scribe: &mut Scribe,
    ) {
        let holds = &self.holds;
        let score = |pid| {
            // What was signalled was asked about while it was there.
            let is_victim = holds.endings().any(|it| it.victim.id.pid == pid);
            let means = if is_victim { Means::HeldOnly } else { means };
            score(table, means, pid)
        };
        self.narrator.tell(decided, took, score, words, scribe);
    }

    /// A round of ends begins. One that only waits for a victim that stays is
    /// over with that.
    fn begin(&mut self, now: Moment, pool_bytes: Option<u64>) {
        let episode = &mut self.episodes[self.scope];
        if !episode.is_some_and(|episode| episode.counts()) {
            *episode = Some(Episode::new(now, pool_bytes));
        }
    }

    /// Takes over as victims those that the watchdog has killed, passes that on,
    /// and tells each to `killed`, with what is lost with it. `began`,
    /// `before_bytes`: when the first was killed, and MemAvailable + SwapFree then.
    pub(crate) fn take_over(
        &mut self,
        began: Moment,
        before_bytes: u64,
        words: impl Fn(ProcessId) -> OwnWords,
        scribe: &mut Scribe,
        mut killed: impl FnMut(ProcessId, Cost),
    ) {
        let was_busy = self.is_busy_here();
        let mut any = false;
        for hold in self.holds.iter_mut() {
            let Some(next) = hold.next.take_if(|_| hold.process.is_killed()) else {
                continue;
            };
            let id = next.victim.id;
            let why = (Some(Cause::Level(Level::Kill)), 0);
            self.fates.signalled(began, &next.victim, Signal::Kill, why);
            let first = hold.ending.is_none();
            hold.killed = true;
            hold.ending
                .get_or_insert(Ending {
                    since: began,
                    ..next
                })
                .is_pending = true;
            any = true;
            killed(id, next.lost);
            scribe.pass_on(&Record::Signalled {
                victim: next.victim,
                words: words(id),
                signal: Signal::Kill,
                why: KillReason::LoopHangs,
                first,
                dry: false,
            });
        }
        if any && !was_busy {
            self.begin(began, Some(before_bytes));
        }
    }

    /// Lets go of `id`, which has ended, and says so where it was a victim.
    /// Whether it was one, and whether it was registered.
    pub(crate) fn let_go(
        &mut self,
        now: Moment,
        id: ProcessId,
        wait: &Wait,
        scribe: &mut Scribe,
    ) -> (bool, bool) {
        let Some(hold) = self.holds.let_go(id, wait) else {
            return (false, false);
        };
        if let Some(ending) = &hold.ending {
            self.ended += 1;
            self.fates.gone(now, id);
            if let Some(episode) = &mut self.episodes[ending.scope] {
                episode.count(ending);
            }
            let here = scribe.turn(ending.scope);
            scribe.tell(Record::Gone {
                victim: ending.victim,
                after: now.since(ending.since),
            });
            scribe.turn(here);
        }
        (hold.ending.is_some(), hold.registered)
    }

    /// Says which victims are not expected to end any longer, now that the
    /// guard does not await them, and waits for them no more.
    pub(crate) fn set_aside(
        &mut self,
        now: Moment,
        awaits: impl Fn(ProcessId) -> bool,
        scribe: &mut Scribe,
    ) {
        for hold in self.holds.iter_mut() {
            let is_awaited = |it: &&mut Ending| it.is_pending && it.scope == self.scope;
            let Some(ending) = hold.ending.as_mut().filter(is_awaited) else {
                continue;
            };
            let id = ending.victim.id;
            if awaits(id) || hold.process.is_gone() {
                continue;
            }
            ending.is_pending = false;
            scribe.tell(Record::Stays {
                victim: ending.victim,
                after: now.since(ending.since),
                is_killed: hold.process.is_killed(),
                // What it waits for adds to the line; without, it is said all
                // the same.
                stuck_in: self.root.stuck_in(id).ok().flatten(),
            });
        }
    }

    /// Adds up, once all victims are gone or set aside and at least one is gone:
    /// of one that stays, it was said. `pool_bytes`: MemAvailable + SwapFree now.
    pub(crate) fn settle(&mut self, now: Moment, pool_bytes: u64, scribe: &mut Scribe) {
        if self.is_busy_here() {
            return;
        }
        let episode = &mut self.episodes[self.scope];
        if let Some(episode) = episode.take_if(|episode| episode.counts()) {
            scribe.tell(episode.sum(now, pool_bytes));
        }
    }
}

/// The unit that `decision` kills and `id` leads.
pub(crate) fn unit(decision: &Decision, id: ProcessId) -> Option<&Candidate> {
    let mut chosen = decision.candidates.iter().filter(|unit| unit.chosen);
    chosen.find(|unit| unit.leader == id)
}

/// Why `victim` is signalled, for the first time or again: at the kill level and
/// at a last call no grace is waited for. `after_command`: it was to be ended by one.
pub(crate) fn why(
    decision: &Decision,
    victim: &Victim,
    first: bool,
    after_command: bool,
) -> KillReason {
    match decision.cause {
        Some(cause @ (Cause::Level(Level::Kill) | Cause::LastCall)) => KillReason::Decided(cause),
        Some(cause) if first => KillReason::Decided(cause),
        _ if after_command => KillReason::CommandIsOver,
        _ => KillReason::GraceIsOver(victim.first_signal),
    }
}

/// As it is now, or as last read where it cannot be read now.
fn score(table: &mut ProcessTable, means: Means<'_>, pid: u32) -> Option<u16> {
    if let Means::Open(_) = means {
        let _ = table.refresh_score(pid);
    }
    table.get(pid)?.oom_score
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use oom_policy::{Depth, Dossier, Effect, Effects, Memory, Seen};

    use super::*;
    use crate::rehearsal::show;
    use crate::stand_in::{Waiter, guard, ordinary, root};

    /// What comes of a decision to kill `process`, which holds 500 MiB and is
    /// registered, and what was told of it. All is over then.
    fn kill(process: Seen) -> (Event<'static>, Vec<Record>) {
        let wait = Wait::new().expect("epoll");
        let means = Means::Open(&wait);
        let reaper = Reaper::spawn().expect("a thread");
        let paused = PausedUnits::new(None);
        let mut executor = Executor::new(root(), Some(reaper), paused, false, 8, 1);
        let (mut scribe, mut desk) = Scribe::unwritten().expect("an eventfd");
        let mut table = ProcessTable::new(root(), 8);
        let memory = Memory {
            total_bytes: 1 << 30,
            ..Memory::default()
        };
        let processes = [Process {
            seen: Seen {
                anon_bytes: 500 << 20,
                ..process
            },
            dossier: Dossier {
                value: Some(7),
                ..Dossier::default()
            },
        }];
        let mut guard = guard();
        let mut effects = Effects::default();
        let now = Moment::ORIGIN;
        show(&mut guard, now, memory, &processes, &mut effects);
        let mut outcomes = Vec::new();
        while let Some(effect) = effects.next() {
            let decided = Decided {
                decision: guard.decision(),
                processes: &processes,
                memory: Some(&memory),
            };
            match effect {
                Effect::Act(action) => {
                    let outcome = executor.act(now, action, decided, means, &mut table);
                    outcomes.push(outcome);
                    guard.handle(now, outcome, &mut effects);
                }
                Effect::Tell => {
                    executor.tell(
                        decided,
                        Took::default(),
                        means,
                        &mut table,
                        |_| OwnWords::default(),
                        &mut scribe,
                    );
                    executor.set_aside(now, |id| guard.awaits(id), &mut scribe);
                    executor.settle(now, 0, &mut scribe);
                }
                _ => {}
            }
        }
        assert!(!executor.is_busy());
        let [outcome] = <[_; 1]>::try_from(outcomes).expect("one was chosen");
        (outcome, desk.told())
    }

    fn is_of_an_end(record: &Record) -> bool {
        matches!(
            record,
            Record::Signalled { .. } | Record::Gone { .. } | Record::Settled { .. }
        )
    }

    #[test]
    fn of_a_process_that_had_ended_by_itself_nothing_is_told_as_freed() {
        let gone = ordinary(Waiter::new().id(), 1);
        let (outcome, told) = kill(gone);
        assert_eq!(outcome, Event::Unsent(gone.id));
        assert!(!told.iter().any(is_of_an_end), "{told:#?}");
    }

    #[test]
    fn a_score_is_read_when_it_is_shown_and_at_a_last_call_as_it_was() {
        let wait = Wait::new().expect("epoll");
        let waiter = Waiter::new();
        let pid = waiter.id().pid;
        let mut table = ProcessTable::new(root(), 8);
        // What goes meanwhile, or cannot be read, is none of ours.
        let _ = table.scan(Depth::Full);
        assert_eq!(score(&mut table, Means::HeldOnly, pid), None);
        let shown = score(&mut table, Means::Open(&wait), pid);
        assert!(shown.is_some());
        assert_eq!(score(&mut table, Means::HeldOnly, pid), shown);
        drop(waiter);
        assert_eq!(score(&mut table, Means::Open(&wait), pid), shown);
    }

    /// Names another user's process to the test below, run as an ordinary user.
    const ANOTHERS: &str = "USER_OOM_TEST_ANOTHERS_PID";

    #[test]
    fn of_a_process_that_may_not_be_signalled_the_error_is_told_and_nothing_as_freed() {
        if nix::unistd::geteuid().is_root() {
            let roots = Waiter::new();
            as_an_ordinary_user(
                "act::tests::of_a_process_that_may_not_be_signalled_the_error_is_told_and_nothing_as_freed",
                roots.id().pid,
            );
            return;
        }
        let Some(pid) = std::env::var(ANOTHERS)
            .ok()
            .and_then(|pid| pid.parse().ok())
        else {
            println!("skipped: needs a process of another user's; root starts one");
            return;
        };
        let start_ticks = root().start_ticks(pid).expect("procfs").expect("it runs");
        let anothers = ProcessId { pid, start_ticks };
        let (outcome, told) = kill(ordinary(anothers, 1));
        assert_eq!(outcome, Event::Refused(anothers));
        assert!(!told.iter().any(is_of_an_end), "{told:#?}");
        let is_refusal = |record: &Record| matches!(record, Record::Unsignalled { .. });
        assert!(told.iter().any(is_refusal), "{told:#?}");
    }

    /// Runs `test` once more as `nobody`, who may not get to where it was built.
    fn as_an_ordinary_user(test: &str, anothers_pid: u32) {
        let folder = tempfile::tempdir().expect("a folder");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).expect("it is ours");
        let copy = folder.path().join("tests");
        let copied = Command::new("cp")
            .arg(std::env::current_exe().expect("procfs"))
            .arg(&copy)
            .status();
        assert!(copied.expect("coreutils").success());
        let ran = Command::new(copy)
            .args([test, "--exact"])
            .env(ANOTHERS, anothers_pid.to_string())
            .uid(65_534)
            .gid(65_534)
            .output()
            .expect("it is a copy of us");
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    }
}
