//! A machine through one contestant's hands.

use std::cmp::Reverse;
use std::time::Duration;

use oom_policy::{Action, Class, Level, Levels, Process, ProcessId, Settings};

use super::scenario::{HORIZON, Scenario, Workload};
use crate::machine::{Ended, Killer, Machine, Made, badness};

const TICK: Duration = Duration::from_millis(50);
/// The others look this often.
const LOOKS_EVERY: Duration = Duration::from_millis(100);
/// and wait this long for a victim to end, as earlyoom does.
const WAITS: Duration = Duration::from_secs(10);

/// What decides who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contestant {
    /// The guard itself.
    Guard,
    /// Of what the guard may choose, the jobs of least value for each byte
    /// until the need is covered.
    LeastValuePerByte,
    /// earlyoom's order: the process of the greatest badness, one at a time.
    BiggestFirst,
    /// Ray's order: the newest process that is not the system's, one at a time.
    NewestFirst,
    /// None: the kernel kills when memory is full.
    KernelAlone,
}

impl Contestant {
    pub const ALL: [Self; 5] = [
        Self::Guard,
        Self::LeastValuePerByte,
        Self::BiggestFirst,
        Self::NewestFirst,
        Self::KernelAlone,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Guard => "user-oom",
            Self::LeastValuePerByte => "least value per byte",
            Self::BiggestFirst => "biggest first (earlyoom)",
            Self::NewestFirst => "newest first (Ray)",
            Self::KernelAlone => "the kernel alone",
        }
    }
}

/// What became of a machine.
#[derive(Debug)]
pub struct Outcome {
    /// In parts of [`super::scenario::ONE`].
    pub kept: u64,
    pub kernel_kills: usize,
    /// Jobs that were killed although they held the same all the time.
    pub innocents: usize,
    /// When a job was lost, which, and by what.
    pub lost: Vec<(Duration, usize, Killer)>,
    /// The guard's.
    pub made: Vec<Made>,
}

impl Outcome {
    /// Choices, and of how many it was not proved that none costs less.
    pub fn choices(&self) -> (usize, usize) {
        let chosen = self.made.iter().filter(|made| !made.chosen.is_empty());
        let unproved = chosen.clone().filter(|made| made.gap.parts() > 0);
        (chosen.count(), unproved.count())
    }

    /// Choices of a registered unit, while another of lower value that frees as
    /// much is left alone.
    pub fn surprises(&self) -> usize {
        let is_surprise = |made: &&Made| {
            let chosen = made.candidates.iter().filter(|it| it.chosen);
            chosen.clone().any(|victim| {
                made.candidates.iter().any(|other| {
                    !other.chosen
                        && other.explanation.value().is_some()
                        && other.explanation.value() < victim.explanation.value()
                        && other.frees_bytes >= victim.frees_bytes
                })
            })
        };
        self.made.iter().filter(is_surprise).count()
    }
}

/// Has `contestant` look after the machine.
pub fn run(scenario: &Scenario, contestant: Contestant, settings: &Settings) -> Outcome {
    let mut stage = Stage::new(scenario, settings);
    let mut rival = Rival::new(contestant, settings);
    let end = stage.machine.now + HORIZON;
    while stage.machine.now < end {
        stage.pass_time();
        match contestant {
            Contestant::Guard => stage.machine.guard(),
            _ => rival.look(&mut stage),
        }
    }
    stage.outcome()
}

/// A machine and what starts on it.
struct Stage<'a> {
    scenario: &'a Scenario,
    machine: Machine,
    began: Duration,
    /// By pid.
    workload_of: Vec<usize>,
    /// When each bomb has its next process.
    next_fork: Vec<Option<Duration>>,
    noted: usize,
    lost: Vec<Option<(Duration, Killer)>>,
}

impl<'a> Stage<'a> {
    fn new(scenario: &'a Scenario, settings: &Settings) -> Self {
        let machine = scenario.machine(settings.clone());
        let machine = machine.ticking(TICK).kernel_killing();
        let began = machine.now;
        let workloads = &scenario.workloads;
        let mut workload_of = Vec::new();
        for (index, workload) in workloads.iter().enumerate() {
            for task in &workload.tasks {
                workload_of.resize(at(task.process.id.pid), 0);
                workload_of.push(index);
            }
        }
        let starts = |workload: &Workload| {
            let first = workload.tasks.first()?.turns().next()?;
            Some(began + first + workload.forks_every?)
        };
        Self {
            scenario,
            machine,
            began,
            workload_of,
            next_fork: workloads.iter().map(starts).collect(),
            noted: 0,
            lost: vec![None; workloads.len()],
        }
    }

    fn pass_time(&mut self) {
        self.machine.pass_time();
        let ended = self.machine.ended.split_off(self.noted);
        for ended in &ended {
            let index = self.workload_of[at(ended.id.pid)];
            if let Some(by) = ended.by {
                self.lost[index].get_or_insert((ended.at - self.began, by));
                if self.scenario.workloads[index].restarts {
                    self.start(index, 1);
                }
            }
        }
        self.machine.ended.extend(ended);
        self.noted = self.machine.ended.len();
        self.fork();
    }

    /// A bomb goes on as long as there is one process of it.
    fn fork(&mut self) {
        for index in 0..self.next_fork.len() {
            let Some(due) = self.next_fork[index].filter(|due| *due <= self.machine.now) else {
                continue;
            };
            let mut tasks = self.machine.tasks.iter();
            let oldest = tasks.find(|task| self.workload_of[at(task.process.id.pid)] == index);
            if let Some(parent) = oldest.map(|task| task.process.id.pid) {
                self.start(index, parent);
                let every = self.scenario.workloads[index].forks_every;
                self.next_fork[index] = every.map(|every| due + every);
            } else {
                self.next_fork[index] = None;
            }
        }
    }

    fn workload(&self, process: &Process) -> &Workload {
        &self.scenario.workloads[self.workload_of[at(process.id.pid)]]
    }

    fn start(&mut self, index: usize, parent: u32) {
        let pid = u32::try_from(self.workload_of.len()).expect("few processes");
        if let Some(task) = self.scenario.workloads[index].next(pid, parent) {
            self.workload_of.push(index);
            self.machine.add(task);
        }
    }

    fn outcome(self) -> Outcome {
        let workloads = &self.scenario.workloads;
        let kept = workloads.iter().zip(&self.lost);
        let kept = kept.filter(|(_, lost)| lost.is_none());
        let kept = kept.map(|(workload, _)| workload.worth).sum();
        let by_kernel = |ended: &&Ended| ended.by == Some(Killer::Kernel);
        let lost = (0..).zip(&self.lost);
        let lost = lost.filter_map(|(index, lost)| lost.map(|(time, by)| (time, index, by)));
        let mut lost: Vec<(Duration, usize, Killer)> = lost.collect();
        lost.sort_by_key(|(time, index, _)| (*time, *index));
        let still = lost
            .iter()
            .filter(|(_, index, _)| workloads[*index].holds_still());
        Outcome {
            kept,
            kernel_kills: self.machine.ended.iter().filter(by_kernel).count(),
            innocents: still.count(),
            lost,
            made: self.machine.made,
        }
    }
}

/// What chooses by a rule of its own, at the guard's thresholds.
struct Rival<'a> {
    contestant: Contestant,
    settings: &'a Settings,
    next_look: Duration,
    victims: Vec<ProcessId>,
    chosen_at: Duration,
    killed: bool,
}

impl<'a> Rival<'a> {
    fn new(contestant: Contestant, settings: &'a Settings) -> Self {
        Self {
            contestant,
            settings,
            next_look: Duration::ZERO,
            victims: Vec::new(),
            chosen_at: Duration::ZERO,
            killed: false,
        }
    }

    /// SIGTERM at warn and SIGKILL at kill, and none other while a victim is
    /// awaited: it is killed with SIGKILL when memory falls to kill or its
    /// grace is over.
    fn look(&mut self, stage: &mut Stage<'_>) {
        let now = stage.machine.now;
        if now < self.next_look || self.contestant == Contestant::KernelAlone {
            return;
        }
        self.next_look = now + LOOKS_EVERY;
        let level = self.settings.level(&stage.machine.memory());
        let is_there = |id: &ProcessId| {
            let mut tasks = stage.machine.tasks.iter();
            tasks.any(|task| task.process.id == *id)
        };
        self.victims.retain(is_there);
        let waited = now - self.chosen_at;
        if waited < WAITS && !self.victims.is_empty() {
            if !self.killed && (level == Level::Kill || self.settings.grace <= waited) {
                self.killed = true;
                self.signal(stage);
            }
        } else if level != Level::Ok {
            self.victims = self.choose(stage);
            self.chosen_at = now;
            self.killed = level == Level::Kill;
            self.signal(stage);
        }
    }

    fn signal(&self, stage: &mut Stage<'_>) {
        let signal = if self.killed {
            Action::Kill
        } else {
            Action::Terminate
        };
        let actions: Vec<Action> = self.victims.iter().copied().map(signal).collect();
        stage.machine.carry_out(&actions);
    }

    fn choose(&self, stage: &Stage<'_>) -> Vec<ProcessId> {
        let snapshot = stage.machine.snapshot();
        let all_bytes = snapshot.memory.total_bytes + snapshot.memory.swap_total_bytes;
        let processes = snapshot.processes.iter();
        let one = match self.contestant {
            Contestant::BiggestFirst => {
                processes.max_by_key(|process| badness(process, process.held_bytes(), all_bytes))
            }
            Contestant::NewestFirst => processes
                .filter(|process| class(process) == Class::Ordinary)
                .max_by_key(|process| process.id.start_ticks),
            Contestant::LeastValuePerByte => return self.least_value_per_byte(stage),
            Contestant::Guard | Contestant::KernelAlone => None,
        };
        one.map(|process| process.id).into_iter().collect()
    }

    /// Whole jobs, until memory and swap are back at their recovery thresholds.
    /// What is not registered is worth 1 together with the rest of its session.
    fn least_value_per_byte(&self, stage: &Stage<'_>) -> Vec<ProcessId> {
        let snapshot = stage.machine.snapshot();
        let memory = snapshot.memory;
        let memory_bytes = Levels::of(self.settings, &memory).recovery_memory;
        let swap_bytes = u128::from(memory_bytes) * u128::from(memory.swap_total_bytes)
            / u128::from(memory.usable_bytes());
        let wanted = memory_bytes + u64::try_from(swap_bytes).expect("no more than there is");
        let need = wanted.saturating_sub(memory.pool_bytes());
        let sessions = |session| {
            let processes = snapshot.processes.iter();
            let shares = processes.filter(|process| {
                process.session == session && stage.workload(process).value.is_none()
            });
            shares.map(|process| process.held_bytes()).sum()
        };
        let mut jobs: Vec<Held<'_>> = Vec::new();
        for process in &snapshot.processes {
            let entry = stage.workload(process);
            let owner = entry.value.map(|_| stage.workload_of[at(process.id.pid)]);
            match jobs
                .iter_mut()
                .find(|job| owner.is_some() && job.owner == owner)
            {
                Some(job) => job.add(process),
                None => jobs.push(Held {
                    owner,
                    value: entry.value.map_or(1, u64::from),
                    shared_by: entry.value.map_or_else(|| sessions(process.session), |_| 0),
                    class: class(process),
                    bytes: process.held_bytes(),
                    processes: vec![process],
                }),
            }
        }
        jobs.retain(|job| job.bytes > 0);
        jobs.sort_by_key(|job| {
            let bytes = job.bytes.max(job.shared_by);
            let rate = (u128::from(job.value) << 64) / u128::from(bytes);
            (job.class, rate, Reverse(job.bytes))
        });
        let mut freed = 0;
        let mut chosen = Vec::new();
        for job in jobs {
            if freed >= need {
                break;
            }
            freed += job.bytes;
            chosen.extend(job.processes.iter().map(|process| process.id));
        }
        chosen
    }
}

/// What is killed together.
struct Held<'a> {
    /// By its place; `None`: it is not registered.
    owner: Option<usize>,
    value: u64,
    /// What all that share the value hold, if they do.
    shared_by: u64,
    class: Class,
    bytes: u64,
    processes: Vec<&'a Process>,
}

impl<'a> Held<'a> {
    fn add(&mut self, process: &'a Process) {
        self.bytes += process.held_bytes();
        self.processes.push(process);
    }
}

fn class(process: &Process) -> Class {
    let is_system = process.uid == 0 && !process.login && process.dossier.value.is_none();
    if is_system {
        Class::System
    } else {
        Class::Ordinary
    }
}

fn at(pid: u32) -> usize {
    usize::try_from(pid).expect("a pid is an index")
}
