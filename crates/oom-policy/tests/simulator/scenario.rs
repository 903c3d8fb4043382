//! Random machines of known structure.

use std::time::Duration;

use oom_policy::{Dossier, Process, Seen, SessionId};

use crate::machine::dice::Dice;
use crate::machine::{self, GIB, Machine, Task};

/// For how long a machine is watched.
pub const HORIZON: Duration = Duration::from_secs(120);

/// A value of 1: divisible by what a session's jobs are.
pub const ONE: u64 = 5040;

/// How many jobs a machine has at most: all sets of them are looked at.
pub const MOST_JOBS: usize = 24;

const SERVICE_WORTH: u64 = 10;
/// Between the end of what is supervised and its next start.
const RESTARTS_AFTER: Duration = Duration::from_secs(1);
/// A machine begins with so many percent of its memory in use at most.
const BEGINS_WITH: u64 = 70;

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Holds memory.
    Holder,
    /// One of a fleet: a process, and a tool that it started.
    Agent,
    /// Root's, outside login sessions, and not registered.
    Service,
    /// Grows to a limit.
    Loader,
    /// Grows without limit.
    Leak,
    /// A service that does.
    ServiceLeak,
    /// Starts processes without limit.
    Bomb,
}

/// What makes a machine short; of several, the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// All that it is to do does not fit.
    Crowd,
    Leak,
    /// A leak that a supervisor starts again.
    Restarting,
    ServiceLeak,
    Bomb,
}

impl Trouble {
    pub const ALL: [(Self, &str); 5] = [
        (Self::Crowd, "loads more than fits"),
        (Self::Leak, "a leak"),
        (Self::Restarting, "a leak that comes back"),
        (Self::ServiceLeak, "a service that leaks"),
        (Self::Bomb, "a bomb"),
    ];
}

/// What belongs together, and is worth something.
#[derive(Clone, Debug)]
pub struct Workload {
    pub kind: Kind,
    pub value: Option<u32>,
    /// What is lost with it, in parts of [`ONE`].
    pub worth: u64,
    /// By which its processes are known.
    pub name: String,
    pub tasks: Vec<Task>,
    /// What ends is started again by a supervisor.
    pub restarts: bool,
    /// Between two processes of a bomb.
    pub forks_every: Option<Duration>,
    /// Each of them has a session of its own.
    pub leaves_session: bool,
}

impl Workload {
    /// Whether it must be killed sooner or later.
    pub fn is_endless(&self) -> bool {
        matches!(self.kind, Kind::Leak | Kind::ServiceLeak | Kind::Bomb)
    }

    /// Whether it holds the same at any time.
    pub fn holds_still(&self) -> bool {
        !self.is_endless() && self.tasks.iter().all(|task| !task.grows())
    }

    /// The process that a bomb starts next, or that a supervisor starts after the
    /// one before has ended.
    pub fn next(&self, pid: u32, parent: u32) -> Option<Task> {
        let first = self.tasks.first()?;
        if self.forks_every.is_some() {
            let mut fork = first.again(pid).starting(Duration::ZERO);
            fork.process.seen.parent = parent;
            if self.leaves_session {
                fork.process.seen.session = SessionId(u64::from(pid));
            }
            return Some(fork);
        }
        let again = first.again(pid).starting(RESTARTS_AFTER);
        self.restarts.then_some(again)
    }
}

/// A machine and all that will run on it.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub total_bytes: u64,
    pub swap_bytes: u64,
    pub workloads: Vec<Workload>,
}

impl Scenario {
    /// The machine of this seed: with so many jobs, or else some.
    pub fn new(seed: u64, jobs: Option<usize>) -> Self {
        // Neighbours' streams have nothing in common.
        let mut dice = Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        loop {
            let scenario = Self::draw(seed, &mut dice, jobs);
            let begins_with = scenario.used(Duration::ZERO, |_| true);
            let fits = begins_with * 100 <= scenario.total_bytes * BEGINS_WITH;
            if fits && scenario.runs_short() && scenario.workloads.len() <= MOST_JOBS {
                return scenario;
            }
        }
    }

    fn draw(seed: u64, dice: &mut Dice, jobs: Option<usize>) -> Self {
        let total_bytes = dice.pick(&[4, 8, 16, 32, 64]) * GIB;
        let swap_bytes = match dice.percent(50) {
            true => 0,
            false => total_bytes * dice.pick(&[25, 50, 100]) / 100,
        };
        let mut draft = Draft {
            dice,
            total_bytes,
            workloads: Vec::new(),
            next_pid: 100,
        };
        let wanted = jobs.unwrap_or_else(|| draft.dice.pick(&[3, 4, 5, 6, 7, 8, 9, 10]));
        while draft.workloads.len() < wanted.min(MOST_JOBS) {
            draft.work();
        }
        draft.trouble();
        if draft.dice.percent(25) {
            draft.trouble();
        }
        Self {
            seed,
            total_bytes,
            swap_bytes,
            workloads: draft.workloads,
        }
    }

    pub fn machine(&self, settings: oom_policy::Settings) -> Machine {
        let tasks = self.workloads.iter().flat_map(|workload| &workload.tasks);
        tasks.cloned().fold(
            Machine::new(settings, self.total_bytes, self.swap_bytes),
            Machine::with,
        )
    }

    /// What is used after `time` with the workloads that `has` names, were
    /// none of them killed.
    pub fn used(&self, time: Duration, has: impl Fn(usize) -> bool) -> u64 {
        let workloads = (0..).zip(&self.workloads).filter(|(index, _)| has(*index));
        let tasks = workloads.flat_map(|(_, workload)| &workload.tasks);
        self.total_bytes / 64 + tasks.map(|task| task.held_after(time)).sum::<u64>()
    }

    /// What can be used without meeting the warn threshold, at 10 % of memory
    /// and of swap.
    pub fn capacity(&self) -> u64 {
        if self.swap_bytes == 0 {
            self.total_bytes - self.total_bytes / 10 - 1
        } else {
            let in_memory = self.total_bytes - self.total_bytes / 100;
            in_memory + self.swap_bytes - self.swap_bytes / 10 - 1
        }
    }

    /// When some workload holds the most that it will, or begins to hold: the
    /// sum of any set is greatest at one of these, or at the end.
    pub fn turns(&self) -> Vec<Duration> {
        let tasks = self.workloads.iter().flat_map(|workload| &workload.tasks);
        let mut turns: Vec<Duration> = tasks.flat_map(Task::turns).collect();
        turns.retain(|turn| *turn < HORIZON);
        turns.push(HORIZON);
        turns.sort_unstable();
        turns.dedup();
        turns
    }

    pub fn trouble(&self) -> Trouble {
        let troubles = self.workloads.iter().map(|workload| match workload.kind {
            Kind::Bomb => Trouble::Bomb,
            Kind::ServiceLeak => Trouble::ServiceLeak,
            Kind::Leak if workload.restarts => Trouble::Restarting,
            Kind::Leak => Trouble::Leak,
            Kind::Holder | Kind::Agent | Kind::Service | Kind::Loader => Trouble::Crowd,
        });
        troubles.max().unwrap_or(Trouble::Crowd)
    }

    fn runs_short(&self) -> bool {
        self.workloads.iter().any(Workload::is_endless)
            || self
                .turns()
                .iter()
                .any(|turn| self.used(*turn, |_| true) > self.capacity())
    }
}

struct Draft<'a> {
    dice: &'a mut Dice,
    total_bytes: u64,
    workloads: Vec<Workload>,
    next_pid: u32,
}

impl Draft<'_> {
    fn work(&mut self) {
        match self.dice.below(100) {
            0..40 => self.holder(),
            40..75 => self.loader(),
            75..90 => self.service(),
            _ => self.fleet(),
        }
    }

    /// One time in four there is none but the work itself.
    fn trouble(&mut self) {
        match self.dice.below(100) {
            0..25 => {}
            25..75 => self.leak(),
            75..85 => self.service_leak(),
            _ => self.bomb(),
        }
    }

    fn holder(&mut self) {
        let bytes = self.permille(20, 250);
        let task = Task::steady(self.job("holder", bytes));
        let task = self.perhaps_ending(task);
        self.push_job(Kind::Holder, "holder", task);
    }

    fn loader(&mut self) {
        let bytes = self.permille(1, 10);
        let limit = self.permille(80, 400);
        let rate = (limit - bytes) / self.dice.between(5, 60);
        let starts = self.seconds(0, 60);
        let task = Task::growing(self.job("loader", bytes), rate);
        let task = self.perhaps_ending(task.up_to(limit).starting(starts));
        self.push_job(Kind::Loader, "loader", task);
    }

    fn leak(&mut self) {
        let bytes = self.permille(1, 10);
        let rate = self.leaking();
        let starts = self.seconds(0, 60);
        let task = Task::growing(self.job("leak", bytes), rate).starting(starts);
        let restarts = self.dice.percent(30);
        let leak = self.push_job(Kind::Leak, "leak", task);
        leak.worth = 0;
        leak.restarts = restarts && leak.value.is_none();
    }

    fn service(&mut self) {
        let bytes = self.permille(10, 60);
        let pid = self.pid();
        // Daemons have names of their own.
        let process = machine::system(pid, &format!("service-{pid}"), bytes);
        let (worth, tasks) = (SERVICE_WORTH * ONE, vec![Task::steady(process)]);
        self.push(Kind::Service, "service", None, worth, tasks);
    }

    fn service_leak(&mut self) {
        let bytes = self.permille(10, 60);
        let rate = self.leaking();
        let process = machine::system(self.pid(), "service-leak", bytes);
        let tasks = vec![Task::growing(process, rate)];
        self.push(Kind::ServiceLeak, "service-leak", None, 0, tasks);
    }

    /// In bytes a second: all memory is filled in 20 to 100 s.
    fn leaking(&mut self) -> u64 {
        self.total_bytes / self.dice.between(20, 100)
    }

    /// A third of them leave their session with each process, and a third are
    /// root's.
    fn bomb(&mut self) {
        let bytes = self.permille(1, 5);
        let pid = self.pid();
        let process = match self.dice.percent(33) {
            true => machine::system(pid, "bomb", bytes),
            false => machine::holding(pid, "bomb", bytes),
        };
        let starts = self.seconds(5, 60);
        let task = Task::steady(process).starting(starts);
        let every = Duration::from_millis(self.dice.between(2, 8) * 50);
        let leaves_session = self.dice.percent(33);
        let bomb = self.push(Kind::Bomb, "bomb", None, 0, vec![task]);
        bomb.forks_every = Some(every);
        bomb.leaves_session = leaves_session;
    }

    fn fleet(&mut self) {
        let count = self.dice.between(4, 10);
        let bytes = self.permille(100, 500) / count;
        let value = self.value();
        let session = SessionId(u64::from(self.next_pid));
        let is_growing = self.dice.percent(30);
        let seconds = self.dice.between(5, 60);
        for _ in 0..count {
            let leader = self.job("agent", bytes * 2 / 3);
            let leader = in_session(leader, session, 1);
            let tool = self.job("tool", bytes / 3);
            let tool = in_session(tool, session, leader.id.pid);
            let tool = match is_growing {
                true => Task::growing(tool, bytes / seconds).up_to(bytes),
                false => Task::steady(tool),
            };
            let worth = value.map_or(ONE / count, |value| u64::from(value) * ONE);
            let tasks = vec![Task::steady(with_value(leader, value)), tool];
            self.push(Kind::Agent, "agent", value, worth, tasks);
        }
    }

    fn job(&mut self, name: &str, bytes: u64) -> Process {
        machine::holding(self.pid(), name, bytes)
    }

    /// One process, three times in four with a value.
    fn push_job(&mut self, kind: Kind, name: &str, task: Task) -> &mut Workload {
        let value = self.value();
        let mut task = match self.dice.percent(15) {
            true => task.ignoring_term(),
            false => task,
        };
        task.process = with_value(task.process, value);
        let worth = value.map_or(ONE, |value| u64::from(value) * ONE);
        self.push(kind, name, value, worth, vec![task])
    }

    fn push(
        &mut self,
        kind: Kind,
        name: &str,
        value: Option<u32>,
        worth: u64,
        tasks: Vec<Task>,
    ) -> &mut Workload {
        let name = format!("{name}-{}", tasks[0].process.id.pid);
        self.workloads.push(Workload {
            kind,
            value,
            worth,
            name,
            tasks,
            restarts: false,
            forks_every: None,
            leaves_session: false,
        });
        self.workloads.last_mut().expect("it was pushed")
    }

    fn perhaps_ending(&mut self, task: Task) -> Task {
        if !self.dice.percent(20) {
            return task;
        }
        let ends = self.seconds(65, 110);
        task.ending(ends)
    }

    /// One in four has no entry; of the others, one in ten is worth far more
    /// than the rest.
    fn value(&mut self) -> Option<u32> {
        let value = match self.dice.percent(10) {
            true => self.dice.pick(&[20, 50, 100]),
            false => self.dice.pick(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        };
        self.dice.percent(75).then_some(value)
    }

    fn pid(&mut self) -> u32 {
        self.next_pid += 1;
        self.next_pid
    }

    /// Between so many thousandths of all memory.
    fn permille(&mut self, low: u64, high: u64) -> u64 {
        self.total_bytes / 1000 * self.dice.between(low, high)
    }

    fn seconds(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.dice.between(low * 1000, high * 1000))
    }
}

fn with_value(process: Process, value: Option<u32>) -> Process {
    Process {
        dossier: Dossier {
            value,
            ..process.dossier
        },
        ..process
    }
}

fn in_session(process: Process, session: SessionId, parent: u32) -> Process {
    Process {
        seen: Seen {
            session,
            parent,
            ..process.seen
        },
        ..process
    }
}
