//! A machine small enough to reason about: memory, swap, processes that grow.
//!
//! Time is a number, so minutes pass in microseconds. The kernel here has no
//! page cache and swaps from all processes alike; it says when it would have
//! killed ([`Machine::kernel_would_kill`]), and does so where that is wanted.

#![allow(
    dead_code,
    missing_debug_implementations,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "for tests, each of which uses a part of it"
)]

pub mod dice;

use std::time::Duration;

use oom_policy::{
    Action, Ask, Candidate, Cause, Cost, Decision, Depth, Dossier, Effect, Effects, Event, Gates,
    Guard, Level, Memory, Moment, Name, NextKill, PauseAnswer, Process, ProcessId, Refusal, Seen,
    SessionId, Settings, Surroundings, Verdict,
};

pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

const TICK: Duration = Duration::from_millis(10);
/// From SIGKILL until the memory is back.
const KILL_TAKES: Duration = Duration::from_millis(60);
/// From SIGTERM, for those that heed it.
const TERM_TAKES: Duration = Duration::from_millis(300);

/// An ordinary user's unregistered process of no size; its own session.
pub fn process(pid: u32, name: &str) -> Process {
    let id = ProcessId {
        pid,
        start_ticks: u64::from(pid) * 100,
    };
    Process {
        seen: Seen {
            parent: 1,
            session: SessionId(u64::from(pid)),
            login: true,
            uid: 1000,
            name: Name::new(name.as_bytes()),
            ..Seen::new(id)
        },
        dossier: Dossier::default(),
    }
}

/// The same, holding `bytes` in memory.
pub fn holding(pid: u32, name: &str, bytes: u64) -> Process {
    Process {
        seen: Seen {
            anon_bytes: bytes,
            rss_bytes: bytes,
            ..process(pid, name).seen
        },
        ..process(pid, name)
    }
}

/// The same, registered.
pub fn registered(pid: u32, name: &str, value: u32, bytes: u64) -> Process {
    Process {
        dossier: Dossier {
            value: Some(value),
            ..holding(pid, name, bytes).dossier
        },
        ..holding(pid, name, bytes)
    }
}

/// Root's, outside a login session.
pub fn system(pid: u32, name: &str, bytes: u64) -> Process {
    Process {
        seen: Seen {
            uid: 0,
            login: false,
            ..holding(pid, name, bytes).seen
        },
        ..holding(pid, name, bytes)
    }
}

/// The machine at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub memory: Memory,
    pub ask: Ask,
    /// By ascending pid.
    pub processes: Vec<Process>,
}

/// What the guard says to memory alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub level: Level,
    pub wants_table: bool,
    pub wake_after: Duration,
}

/// A guard whose every signal is sent.
#[derive(Debug)]
pub struct Driven {
    pub guard: Guard,
    effects: Effects,
    /// What persons were told that wanted something paused.
    pub answers: Vec<PauseAnswer>,
}

impl Driven {
    pub fn new(settings: Settings, processes: usize) -> Self {
        let surroundings = Surroundings::default();
        Self {
            guard: Guard::new(settings, Gates::default(), surroundings, processes),
            effects: Effects::default(),
            answers: Vec::new(),
        }
    }

    /// Memory is looked at, and relief asked for where `ask` says so.
    pub fn look(&mut self, now: Duration, memory: &Memory, ask: Ask) -> Look {
        match ask {
            Ask::None | Ask::LastCall => {}
            Ask::Pause => {
                let stalled = Event::Stalled(Ask::Pause);
                self.guard.handle(at(now), stalled, &mut self.effects);
            }
            Ask::Relief => self.guard.handle(at(now), Event::Asked, &mut self.effects),
        }
        let event = match ask {
            Ask::None | Ask::Pause | Ask::Relief => Event::Memory(*memory),
            Ask::LastCall => Event::LastCall {
                sequence: 1,
                memory: *memory,
            },
        };
        self.guard.handle(at(now), event, &mut self.effects);
        let mut look = Look {
            level: self.guard.level(),
            wants_table: false,
            wake_after: Duration::MAX,
        };
        for effect in self.effects.by_ref() {
            match effect {
                Effect::ReadTable(_) => look.wants_table = true,
                Effect::LookAgain { after } => look.wake_after = look.wake_after.min(after),
                _ => {}
            }
        }
        look
    }

    /// The table is read, whether it was wanted or not.
    pub fn step(&mut self, now: Duration, snapshot: &Snapshot) -> &Decision {
        self.look(now, &snapshot.memory, snapshot.ask);
        self.decide(now, &snapshot.processes)
    }

    /// The table is read after a look.
    pub fn decide(&mut self, now: Duration, processes: &[Process]) -> &Decision {
        let depth = Depth::Fast;
        let table = Event::Table { depth, processes };
        self.guard.handle(at(now), table, &mut self.effects);
        while let Some(effect) = self.effects.next() {
            if let Effect::AnswerPause(answer) = effect {
                self.answers.push(answer);
            }
            if let Effect::Act(action) = effect {
                let outcome = match action {
                    Action::Command(id)
                    | Action::Terminate(id)
                    | Action::Kill(id)
                    | Action::Freeze(id) => Event::Sent(id),
                    Action::PageOut { .. } | Action::Thaw(_) => Event::Ordered,
                };
                self.guard.handle(at(now), outcome, &mut self.effects);
            }
        }
        self.guard.decision()
    }

    pub fn learn(&mut self, now: Duration, event: Event<'_>) {
        self.guard.handle(at(now), event, &mut self.effects);
        while self.effects.next().is_some() {}
    }

    pub fn will(&mut self, processes: &[Process], will: &mut Vec<NextKill>) {
        self.guard.will(processes, will);
    }
}

/// So long after the origin.
pub fn at(now: Duration) -> Moment {
    Moment::after_origin(now)
}

/// A process and what it does with its time.
#[derive(Clone, Debug)]
pub struct Task {
    pub process: Process,
    held_bytes: u64,
    rate: u64,
    limit_bytes: u64,
    starts: Duration,
    heeds_term: bool,
    outlives_kill: bool,
    ends: Option<Duration>,
    is_frozen: bool,
    killed_by: Option<Killer>,
    /// What was pushed out of it while it is frozen.
    pushed_out_bytes: u64,
    /// For how long it ran.
    pub ran: Duration,
}

impl Task {
    /// One that stays as it is.
    pub fn steady(process: Process) -> Self {
        Self {
            held_bytes: process.anon_bytes + process.swap_bytes,
            process,
            rate: 0,
            limit_bytes: u64::MAX,
            starts: Duration::ZERO,
            heeds_term: true,
            outlives_kill: false,
            ends: None,
            is_frozen: false,
            killed_by: None,
            pushed_out_bytes: 0,
            ran: Duration::ZERO,
        }
    }

    pub fn growing(process: Process, bytes_per_second: u64) -> Self {
        Self {
            rate: bytes_per_second,
            ..Self::steady(process)
        }
    }

    pub fn up_to(self, limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            ..self
        }
    }

    pub fn starting(self, starts: Duration) -> Self {
        Self { starts, ..self }
    }

    pub fn ending(self, ends: Duration) -> Self {
        Self {
            ends: Some(ends),
            ..self
        }
    }

    pub fn ignoring_term(self) -> Self {
        Self {
            heeds_term: false,
            ..self
        }
    }

    pub fn outliving_kill(self) -> Self {
        Self {
            outlives_kill: true,
            ..self
        }
    }

    /// The same, started again as another process.
    pub fn again(&self, pid: u32) -> Self {
        let id = process(pid, "").id;
        let seen = Seen {
            id,
            ..self.process.seen
        };
        Self {
            process: Process {
                seen,
                ..self.process
            },
            ..self.clone()
        }
    }

    pub fn grows(&self) -> bool {
        self.rate > 0
    }

    /// What it holds after `time` if it is left alone, before it is added to a
    /// machine.
    pub fn held_after(&self, time: Duration) -> u64 {
        if time < self.starts || self.ends.is_some_and(|ends| ends <= time) {
            return 0;
        }
        let grown = share(millis(time - self.starts), 1000, self.rate);
        let limit_bytes = self.limit_bytes.max(self.held_bytes);
        self.held_bytes.saturating_add(grown).min(limit_bytes)
    }

    /// When it starts, when it has grown to its limit, and the last moment before
    /// it ends by itself.
    pub fn turns(&self) -> impl Iterator<Item = Duration> {
        let room = self.limit_bytes.saturating_sub(self.held_bytes);
        let full = room
            .saturating_mul(1000)
            .checked_div(self.rate)
            .filter(|_| self.limit_bytes < u64::MAX);
        let full = full.map(|grows| self.starts + Duration::from_millis(grows + 1));
        let last = self.ends.map(|ends| ends - Duration::from_millis(1));
        [Some(self.starts), full, last].into_iter().flatten()
    }

    /// In words; `None`: it stays as it is.
    pub fn does(&self) -> Option<String> {
        let seconds = |time: Duration| format!("{:.0} s", time.as_secs_f64());
        let mut does = Vec::new();
        if self.starts > Duration::ZERO {
            does.push(format!("starts at {}", seconds(self.starts)));
        }
        if self.rate > 0 {
            does.push(format!("grows by {} MiB/s", self.rate / MIB));
        }
        if self.limit_bytes < u64::MAX {
            does.push(format!("to {} MiB", self.limit_bytes / MIB));
        }
        if let Some(ends) = self.ends {
            does.push(format!("ends at {}", seconds(ends)));
        }
        if !self.heeds_term {
            does.push("ignores SIGTERM".to_owned());
        }
        (!does.is_empty()).then(|| does.join(", "))
    }

    fn runs(&self, now: Duration) -> bool {
        self.starts <= now
    }

    fn end_at(&mut self, ends: Duration) {
        self.ends = Some(self.ends.map_or(ends, |sooner| sooner.min(ends)));
    }
}

/// What killed a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killer {
    Daemon,
    Kernel,
}

/// A process that is there no more.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub at: Duration,
    pub id: ProcessId,
    /// `None`: it ended by itself.
    pub by: Option<Killer>,
}

/// How the kernel ranks what it may kill: oom_badness() counts memory and swap,
/// and `oom_score_adj` in thousandths of all of both.
pub fn badness(process: &Process, held_bytes: u64, all_bytes: u64) -> i128 {
    i128::from(held_bytes) + i128::from(process.oom_score_adj) * i128::from(all_bytes) / 1000
}

/// What a test may want to know of a decision.
#[derive(Clone, Debug)]
pub struct Made {
    pub at: Duration,
    pub level: Level,
    pub cause: Option<Cause>,
    pub verdict: Verdict,
    pub chosen: Vec<String>,
    pub covers_need: bool,
    pub gap: Cost,
    pub need_bytes: u64,
    pub memory: Memory,
    /// Where some were chosen.
    pub candidates: Vec<Candidate>,
    pub actions: Vec<Action>,
}

pub struct Machine {
    pub now: Duration,
    pub policy: Driven,
    pub tasks: Vec<Task>,
    /// Decisions with a verdict or an action.
    pub made: Vec<Made>,
    pub kernel_would_kill: bool,
    pub ended: Vec<Ended>,
    kernel_kills: bool,
    tick: Duration,
    total_bytes: u64,
    swap_bytes: u64,
    kernel_bytes: u64,
    tmpfs_bytes: u64,
    tmpfs_rate: u64,
    tmpfs_limit: u64,
    next_look: Duration,
    next_stall: Duration,
    /// What is paged out, and until when.
    paging: Vec<(Duration, ProcessId)>,
    paging_takes: Duration,
    /// What goes on takes back so much a second.
    paging_in_rate: u64,
    caches_swap: bool,
    ask: Ask,
}

impl Machine {
    pub fn new(settings: Settings, total_bytes: u64, swap_bytes: u64) -> Self {
        Self {
            now: Duration::from_secs(1000),
            policy: Driven::new(settings, 64),
            tasks: Vec::new(),
            made: Vec::new(),
            kernel_would_kill: false,
            ended: Vec::new(),
            kernel_kills: false,
            tick: TICK,
            total_bytes,
            swap_bytes,
            kernel_bytes: total_bytes / 64,
            tmpfs_bytes: 0,
            tmpfs_rate: 0,
            tmpfs_limit: 0,
            next_look: Duration::ZERO,
            next_stall: Duration::ZERO,
            paging: Vec::new(),
            paging_takes: Duration::ZERO,
            paging_in_rate: u64::MAX,
            caches_swap: false,
            ask: Ask::None,
        }
    }

    pub fn kernel(mut self, bytes: u64) -> Self {
        self.kernel_bytes = bytes;
        self
    }

    /// Where memory and swap are full, nothing grows, and the kernel kills.
    pub fn kernel_killing(mut self) -> Self {
        self.kernel_kills = true;
        self
    }

    /// Time passes in steps of `tick`.
    pub fn ticking(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    pub fn tmpfs_filling(mut self, bytes_per_second: u64, up_to: u64) -> Self {
        self.tmpfs_rate = bytes_per_second;
        self.tmpfs_limit = up_to;
        self
    }

    /// What is paged out takes so long until that is reported.
    pub fn paging_out_for(mut self, takes: Duration) -> Self {
        self.paging_takes = takes;
        self
    }

    /// What goes on takes back so much a second of what it has in swap.
    pub fn paging_in_at(mut self, bytes_per_second: u64) -> Self {
        self.paging_in_rate = bytes_per_second;
        self
    }

    /// What is paged out stays in memory as well until that is wanted for another.
    pub fn caching_swap(mut self) -> Self {
        self.caches_swap = true;
        self
    }

    /// `starting` and `ending` of a task count from when it is added.
    pub fn with(mut self, task: Task) -> Self {
        self.add(task);
        self
    }

    pub fn add(&mut self, task: Task) {
        self.tasks.push(Task {
            starts: self.now + task.starts,
            ends: task.ends.map(|ends| self.now + ends),
            ..task
        });
        self.tasks.sort_by_key(|task| task.process.id.pid);
    }

    pub fn ask(&mut self, ask: Ask) {
        self.ask = ask;
        self.next_look = self.now;
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.pass_time();
            self.guard();
        }
    }

    /// What the guard does now, if anything.
    pub fn guard(&mut self) {
        if self.stalls() && self.next_stall <= self.now {
            self.next_stall = self.now + Duration::from_secs(1);
            let stalled = Event::Stalled(Ask::Pause);
            self.policy.learn(self.now, stalled);
            self.next_look = self.now;
        }
        if self.next_look <= self.now {
            self.look();
        }
    }

    /// A tick, without the guard.
    pub fn pass_time(&mut self) {
        self.now += self.tick;
        let now = self.now;
        let tick = self.tick;
        let paging_in_rate = self.paging_in_rate;
        let per_tick = |rate: u64| share(millis(tick), 1000, rate);
        let is_full = self.kernel_kills && self.in_swap().1 > 0;
        self.tmpfs_bytes = (self.tmpfs_bytes + per_tick(self.tmpfs_rate)).min(self.tmpfs_limit);
        let runs = |task: &&mut Task| task.runs(now) && !task.is_frozen && !is_full;
        for task in self.tasks.iter_mut().filter(runs) {
            task.ran += tick;
            let room = task.limit_bytes.saturating_sub(task.held_bytes);
            task.held_bytes += per_tick(task.rate).min(room);
            let paged_in = per_tick(paging_in_rate);
            task.pushed_out_bytes = task.pushed_out_bytes.saturating_sub(paged_in);
        }
        let gone = |task: &Task| task.ends.is_some_and(|ends| ends <= now);
        for task in &self.tasks {
            if gone(task) {
                self.ended.push(Ended {
                    at: now,
                    id: task.process.id,
                    by: task.killed_by,
                });
                self.policy.learn(now, Event::Gone(task.process.id));
                self.next_look = now;
            }
        }
        self.tasks.retain(|task| !gone(task));
        let (done, paging) = self.paging.iter().partition(|(until, _)| *until <= now);
        self.paging = paging;
        let done: Vec<(Duration, ProcessId)> = done;
        for (_, unit) in done {
            self.policy.learn(now, Event::PagedOut(unit));
        }
        let (_, missing) = self.in_swap();
        self.kernel_would_kill |= missing > 0;
        if self.kernel_kills && missing > 0 {
            self.kill_as_the_kernel();
        }
    }

    /// None while one that was killed is yet to end.
    fn kill_as_the_kernel(&mut self) {
        if self.tasks.iter().any(|task| task.killed_by.is_some()) {
            return;
        }
        let (now, all_bytes) = (self.now, self.total_bytes + self.swap_bytes);
        let running = self.tasks.iter_mut().filter(|task| task.runs(now));
        let largest = running
            .filter(|task| !task.process.is_never_killed())
            .max_by_key(|task| badness(&task.process, task.held_bytes, all_bytes));
        if let Some(largest) = largest {
            largest.killed_by = Some(Killer::Kernel);
            largest.end_at(now + KILL_TAKES);
        }
    }

    /// What is in swap, and what finds no place there.
    fn in_swap(&self) -> (u64, u64) {
        let over = self.over();
        (
            over.max(self.pushed_out()).min(self.swap_bytes),
            over.saturating_sub(self.swap_bytes),
        )
    }

    /// What does not fit in memory.
    fn over(&self) -> u64 {
        let fits = self.total_bytes - self.total_bytes / 100;
        (self.kernel_bytes + self.tmpfs_bytes + self.held()).saturating_sub(fits)
    }

    fn pushed_out(&self) -> u64 {
        self.tasks.iter().map(|task| task.pushed_out_bytes).sum()
    }

    /// Whether those that run need more than there is.
    pub fn stalls(&self) -> bool {
        self.over() > self.pushed_out()
    }

    fn held(&self) -> u64 {
        let running = self.tasks.iter().filter(|task| task.runs(self.now));
        running.map(|task| task.held_bytes).sum()
    }

    pub fn snapshot(&self) -> Snapshot {
        let (in_swap, _) = self.in_swap();
        let held = self.held() - self.pushed_out();
        let in_swap = in_swap.saturating_sub(self.pushed_out());
        let processes = self
            .tasks
            .iter()
            .filter(|task| task.runs(self.now))
            .map(|task| {
                let rest = task.held_bytes - task.pushed_out_bytes;
                let swap_bytes = task.pushed_out_bytes + share(in_swap, held, rest);
                let anon_bytes = task.held_bytes - swap_bytes;
                Process {
                    seen: Seen {
                        anon_bytes,
                        swap_bytes,
                        rss_bytes: anon_bytes,
                        ..task.process.seen
                    },
                    ..task.process
                }
            })
            .collect();
        Snapshot {
            memory: self.memory(),
            ask: self.ask,
            processes,
        }
    }

    pub fn memory(&self) -> Memory {
        let (in_swap, _) = self.in_swap();
        let used = self.kernel_bytes + self.tmpfs_bytes + self.held() - in_swap;
        let unused = self.total_bytes.saturating_sub(used);
        let cached_bytes = if self.caches_swap {
            self.pushed_out().min(unused)
        } else {
            0
        };
        Memory {
            at_least_bytes: 0,
            total_bytes: self.total_bytes,
            available_bytes: unused - cached_bytes,
            hugetlb_bytes: 0,
            swap_total_bytes: self.swap_bytes,
            swap_free_bytes: self.swap_bytes - in_swap,
            anon_bytes: self.held() - in_swap,
            shmem_bytes: self.tmpfs_bytes,
            unreclaimable_slab_bytes: self.kernel_bytes,
            swap_cached_bytes: cached_bytes,
            ..Memory::default()
        }
    }

    fn look(&mut self) {
        let Look {
            wants_table,
            wake_after,
            ..
        } = self.policy.look(self.now, &self.memory(), self.ask);
        self.next_look = self.now + wake_after;
        if wants_table {
            let snapshot = self.snapshot();
            let decision = self.policy.decide(self.now, &snapshot.processes);
            let made = Made {
                at: self.now,
                level: decision.level,
                cause: decision.cause,
                verdict: decision.verdict,
                chosen: chosen(decision),
                covers_need: decision.covers_need,
                gap: decision.gap,
                need_bytes: decision.need_bytes,
                memory: snapshot.memory,
                candidates: match decision.verdict {
                    Verdict::Chosen => decision.candidates.clone(),
                    Verdict::Idle | Verdict::Paused | Verdict::Refused(_) => Vec::new(),
                },
                actions: decision.actions.clone(),
            };
            if let Some(wake_after) = decision.wake_after {
                self.next_look = self.next_look.min(self.now + wake_after);
            }
            if made.verdict != Verdict::Idle || !made.actions.is_empty() {
                self.made.push(made.clone());
            }
            self.carry_out(&made.actions);
        }
        self.ask = Ask::None;
    }

    pub fn carry_out(&mut self, actions: &[Action]) {
        for action in actions {
            let (id, takes) = match *action {
                // A command takes it down as its own wish does.
                Action::Command(id) | Action::Terminate(id) => (id, TERM_TAKES),
                Action::Kill(id) => (id, KILL_TAKES),
                Action::Freeze(id) => {
                    self.unit(id).is_frozen = true;
                    continue;
                }
                Action::PageOut { unit, mebibytes } => {
                    let task = self.unit(unit);
                    task.pushed_out_bytes = task.held_bytes.min(u64::from(mebibytes) * MIB);
                    self.paging.push((self.now + self.paging_takes, unit));
                    continue;
                }
                Action::Thaw(unit) => {
                    self.unit(unit).is_frozen = false;
                    continue;
                }
            };
            let Some(task) = self.tasks.iter_mut().find(|task| task.process.id == id) else {
                panic!("{action:?} is for a process that is not there");
            };
            let heeds = match action {
                Action::Kill(_) => !task.outlives_kill,
                _ => task.heeds_term,
            };
            if heeds {
                task.killed_by = Some(Killer::Daemon);
                task.end_at(self.now + takes);
            }
        }
    }

    /// A person wants it paused; `uid`: as that user.
    pub fn pause_by_word(&mut self, pid: u32, uid: Option<u32>) {
        let mut tasks = self.tasks.iter();
        let task = tasks.find(|task| task.process.id.pid == pid);
        let id = task.expect("a process that is there").process.id;
        self.policy.learn(self.now, Event::PauseAsked { id, uid });
        self.next_look = self.now;
    }

    /// What the last of them was told.
    pub fn answered(&self) -> Option<PauseAnswer> {
        self.policy.answers.last().copied()
    }

    /// A person continues it.
    pub fn let_go_on(&mut self, pid: u32) {
        let mut tasks = self.tasks.iter_mut();
        let task = tasks.find(|task| task.process.id.pid == pid);
        let task = task.expect("a process that is there");
        task.is_frozen = false;
        task.pushed_out_bytes = 0;
        let continued = Event::Continued(task.process.id);
        self.policy.learn(self.now, continued);
    }

    fn unit(&mut self, id: ProcessId) -> &mut Task {
        let mut tasks = self.tasks.iter_mut();
        let found = tasks.find(|task| task.process.id == id);
        found.expect("an action is for a process that is there")
    }

    /// Names of those that are frozen.
    pub fn frozen(&self) -> Vec<String> {
        let frozen = self.tasks.iter().filter(|task| task.is_frozen);
        frozen.map(|task| task.process.name.to_string()).collect()
    }

    /// Leaders of all units that were killed or paused, in that order.
    pub fn victims(&self) -> Vec<String> {
        let made = self.made.iter();
        made.flat_map(|made| made.chosen.iter().cloned()).collect()
    }

    pub fn alive(&self) -> Vec<String> {
        let tasks = self.tasks.iter();
        tasks.map(|task| task.process.name.to_string()).collect()
    }

    pub fn refusals(&self) -> Vec<Refusal> {
        let made = self.made.iter();
        made.filter_map(|made| match made.verdict {
            Verdict::Refused(refusal) => Some(refusal),
            Verdict::Idle | Verdict::Chosen | Verdict::Paused => None,
        })
        .collect()
    }
}

/// Leaders of the units that a decision gives up, sorted.
pub fn chosen(decision: &Decision) -> Vec<String> {
    let candidates = decision.candidates.iter();
    let mut names: Vec<String> = candidates
        .filter(|candidate| candidate.chosen)
        .map(|candidate| candidate.name.to_string())
        .collect();
    names.sort();
    names
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn share(part: u64, whole: u64, of: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    let share = u128::from(part) * u128::from(of) / u128::from(whole);
    u64::try_from(share).expect("a share is no more than the part")
}
