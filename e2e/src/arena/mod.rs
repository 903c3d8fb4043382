//! The arena: each contestant in each contest, in a machine of its own.
//!
//! A contest is a file of `e2e/arena`: which jobs run, on what machine. Both
//! halves read it: the host boots that machine and works out the best that can
//! be kept, the guest starts the jobs and measures. [`report`] makes
//! `docs/arena.md` of what was measured.

pub mod best;
pub mod contestants;
pub mod report;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// In a list of scenarios for a guest: `arena:CONTEST:CONTESTANT`.
pub const PREFIX: &str = "arena:";

/// Under which key the guest reports a [`Measured`].
pub const FIGURE: &str = "arena";

/// Where an image has the contests.
pub const DIRECTORY: &str = "arena";

/// One file of `e2e/arena`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contest {
    /// What it is called.
    pub title: String,
    /// What happens, in a sentence.
    pub says: String,
    /// What to know about it: why one of them loses, what is expected.
    #[serde(default)]
    pub note: String,
    /// The machine's memory.
    pub memory_mib: u32,
    /// What it swaps to.
    pub swap: Swap,
    /// How much of it there is.
    #[serde(default)]
    pub swap_mib: u32,
    /// How fast a disk is: as fast as it can be unless said.
    pub disk_mib_s: Option<u32>,
    /// For how long it is watched.
    pub seconds: u32,
    /// How long an hour of unsaved work takes: a contest has no time for a real one,
    /// and a daemon counts no more than a process is old.
    #[serde(default = "an_hour")]
    pub hour_s: f64,
    /// What its jobs are tasks of; processes by themselves unless said. A task has a
    /// value, a size and a growth, and may be touching: nothing else.
    pub tasks_of: Option<Framework>,
    /// Its groups.
    #[serde(default, rename = "group")]
    pub groups: Vec<Group>,
    /// Its jobs, in the order of their start.
    #[serde(rename = "job")]
    pub jobs: Vec<Job>,
    /// The file's lines without those that only describe it.
    #[serde(skip)]
    rules: String,
}

/// Jobs that share a limit of memory, whatever else the machine has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// As its jobs name it.
    pub name: String,
    /// The limit.
    pub memory_mib: u32,
}

/// What runs tasks, and may kill some when memory is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Framework {
    /// Ray: each task is in a worker process, all of which it starts beforehand.
    Ray,
}

/// What a machine swaps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Swap {
    /// Nothing.
    None,
    /// A disk of its own.
    Disk,
    /// Its own memory, compressed.
    Zram,
}

/// A process of a contest, or several alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// What it calls itself.
    pub name: String,
    /// How many there are.
    #[serde(default = "one")]
    pub count: u32,
    /// What each is worth to its user; nothing if it is not registered.
    pub value: Option<u32>,
    /// When the first starts.
    #[serde(default)]
    pub after_s: f64,
    /// When the next starts after the one before.
    #[serde(default)]
    pub every_s: f64,
    /// What it takes at once.
    #[serde(default)]
    pub start_mib: u32,
    /// What it takes in each second from then on.
    #[serde(default)]
    pub growth_mib_s: f64,
    /// Where it stops.
    pub max_mib: Option<u32>,
    /// Whether it writes to all of its memory again and again.
    #[serde(default)]
    pub touching: bool,
    /// When it is done, in times that it has touched all of its memory.
    pub passes: Option<u64>,
    /// Whether it ignores SIGTERM.
    #[serde(default)]
    pub ignores_term: bool,
    /// Whether it is in a session of its own.
    #[serde(default)]
    pub session: bool,
    /// What its memory is.
    #[serde(default)]
    pub holds: Holds,
    /// Processes that it starts, and that end with it.
    #[serde(default)]
    pub children: u32,
    /// What each of these takes.
    #[serde(default)]
    pub child_mib: u32,
    /// Whether it fails when one of them does.
    #[serde(default)]
    pub needs_children: bool,
    /// What each of these is worth by itself; nothing if it is not registered.
    pub child_value: Option<u32>,
    /// What the user of a process tells the kernel of it.
    pub oom_score_adj: Option<i16>,
    /// What it tells the kernel of these instead.
    pub child_oom_score_adj: Option<i16>,
    /// Which group it is in.
    pub group: Option<String>,
    /// What each hour of work that it has not saved is worth besides.
    pub hourly: Option<u32>,
    /// How often it saves: never unless said.
    pub saves_every_s: Option<f64>,
}

/// What a job's memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// Its own: noise, which cannot be compressed.
    #[default]
    Memory,
    /// Files of a tmpfs, which outlive it.
    Tmpfs,
    /// A file on a disk, of its start's size, which it maps and reads again and again.
    File,
}

fn one() -> u32 {
    1
}

fn an_hour() -> f64 {
    3600.0
}

impl Contest {
    /// Reads the text of a file.
    ///
    /// # Errors
    ///
    /// It is no TOML, or has another key than those above.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        const DESCRIBE: [&str; 4] = ["title ", "says ", "note ", "#"];
        let lines = text.lines().map(str::trim);
        let rules = lines
            .filter(|line| !line.is_empty() && !DESCRIBE.iter().any(|key| line.starts_with(key)));
        Ok(Self {
            rules: rules.collect::<Vec<_>>().join("\n"),
            ..toml::from_str(text)?
        })
    }

    /// What the files that its jobs map take.
    #[must_use]
    pub fn files_mib(&self) -> u32 {
        let files = self.jobs.iter().filter(|job| job.holds == Holds::File);
        files.map(|job| job.count * job.start_mib).sum()
    }

    /// Whether so many MiB of available memory are less than a tenth of the machine's.
    fn is_short(&self) -> impl Fn(&u64) -> bool {
        let tenth = u64::from(self.memory_mib) / 10;
        move |mib| *mib < tenth
    }

    /// Whether a job ends by itself.
    #[must_use]
    pub fn has_an_end(&self) -> bool {
        self.jobs.iter().any(|job| job.passes.is_some())
    }

    /// Whether a job is worth more the longer it has not saved.
    #[must_use]
    pub fn has_hours(&self) -> bool {
        self.jobs.iter().any(|job| job.hourly.is_some())
    }

    /// Tells whether a result is of the contest as it is.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        // FNV-1a, which is the same everywhere.
        self.rules
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            })
            >> 16
    }
}

impl Job {
    /// What one of them has taken at the end, started `number`th, in MiB;
    /// nothing where it is done before, or takes nothing of its own.
    #[must_use]
    pub fn final_mib(&self, number: u32, seconds: u32) -> f64 {
        if self.passes.is_some() || self.holds == Holds::File {
            return 0.0;
        }
        let runs = self.runs_s(number, seconds);
        let size = f64::from(self.start_mib) + self.growth_mib_s * runs;
        let own = match self.max_mib {
            Some(max) => size.min(f64::from(max.max(self.start_mib))),
            None => size,
        };
        own + f64::from(self.children * self.child_mib)
    }

    /// For how long the `number`th runs.
    fn runs_s(&self, number: u32, seconds: u32) -> f64 {
        (f64::from(seconds) - self.after_s - self.every_s * f64::from(number)).max(0.0)
    }

    /// What the `number`th is worth at the end: with the work that it has not saved by
    /// then, and its children.
    #[must_use]
    pub fn worth(&self, number: u32, contest: &Contest) -> u32 {
        let own = self.value.unwrap_or(0) + self.children * self.child_value.unwrap_or(0);
        let runs = self.runs_s(number, contest.seconds);
        let since = self.saves_every_s.map_or(runs, |every| runs % every);
        let hourly = f64::from(self.hourly.unwrap_or(0));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "points are few, and none is less than nothing"
        )]
        let unsaved = (hourly * since / contest.hour_s) as u32;
        own + unsaved
    }

    /// Whether it takes more than it starts with.
    #[must_use]
    pub fn grows_at_all(&self) -> bool {
        self.growth_mib_s > 0.0
    }

    /// Whether the `number`th is still taking memory at the end.
    #[must_use]
    pub fn grows(&self, number: u32, seconds: u32) -> bool {
        let taken = f64::from(self.start_mib) + self.growth_mib_s * self.runs_s(number, seconds);
        self.grows_at_all() && self.max_mib.is_none_or(|max| taken < f64::from(max))
    }
}

/// What the guest measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The contestant's version, or the kernel's.
    pub version: String,
    /// Available memory before the first job.
    pub available_mib: u64,
    /// Swap before the first job.
    pub swap_mib: u64,
    /// What became of each job, in their order.
    pub jobs: Vec<Ended>,
    /// How many processes the kernel killed.
    pub kernel_kills: u64,
    /// For how long all tasks waited for memory, and some.
    pub full_stall_s: f64,
    /// For how long some task waited for memory.
    pub some_stall_s: f64,
    /// How long starting a small program took.
    pub exec_ms: Spread,
    /// By how much a timer was late.
    pub late_ms: Spread,
    /// The least memory that was available.
    pub lowest_mib: u64,
    /// Processor time of the contestant.
    pub cpu_ms: u64,
    /// Its resident memory at the end; 0 once it is gone.
    pub rss_kib: u64,
    /// How often it was woken up: its voluntary context switches.
    pub wakeups: u64,
    /// Whether it runs at the end.
    pub stays: bool,
    /// Available memory, each second, in MiB.
    pub available: Vec<u64>,
    /// What the measuring itself took of a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_cpu_ms: Option<u64>,
    /// Of the contestant's processor time, what each of its threads took, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub threads_cpu_ms: BTreeMap<String, u64>,
}

/// The spread of many times, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many.
    pub count: usize,
    /// The median.
    pub p50: f64,
    /// All but one of a hundred are below.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Its name.
    pub name: String,
    /// What it is worth at the end.
    pub value: u32,
    /// How.
    pub state: State,
    /// How often it touched all of its memory.
    pub passes: u64,
    /// How much memory it and its children went through, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worked_mib: Option<u64>,
    /// When it ended by itself or was killed, from the contest's beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_s: Option<f64>,
    /// How much of its value is gone with children that were killed.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub lost: u32,
    /// The hours that it had not saved at its end, or have not been at the contest's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsaved_hours: Option<f64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_nothing(number: &u32) -> bool {
    *number == 0
}

impl Ended {
    /// What was kept of its value.
    #[must_use]
    pub fn kept(&self) -> u32 {
        match self.state {
            State::Killed => 0,
            State::Runs | State::Paused | State::Done => self.value - self.lost,
        }
    }
}

/// How a job is at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It runs.
    Runs,
    /// It is paused.
    Paused,
    /// It did all it had to.
    Done,
    /// It was killed, or failed.
    Killed,
}

impl Measured {
    /// The value of all that was not killed.
    #[must_use]
    pub fn kept(&self) -> u32 {
        self.jobs.iter().map(Ended::kept).sum()
    }

    /// What became of each, and the job that it was.
    pub fn with_jobs<'both>(
        &'both self,
        contest: &'both Contest,
    ) -> impl Iterator<Item = (&'both Ended, &'both Job)> {
        let jobs = contest.jobs.iter();
        let each = jobs.flat_map(|job| std::iter::repeat_n(job, job.count as usize));
        self.jobs.iter().zip(each)
    }

    /// For how many seconds less than a tenth of the machine's memory was available.
    #[must_use]
    pub fn short_s(&self, contest: &Contest) -> usize {
        let is_short = contest.is_short();
        self.available.iter().filter(|mib| is_short(mib)).count()
    }

    /// From when less than a tenth of the machine's memory was available to when at least
    /// a tenth was, and stayed so, in seconds; infinite if that was not until the end.
    /// Nothing if there always was as much.
    #[must_use]
    pub fn back_s(&self, contest: &Contest) -> Option<f64> {
        let is_short = contest.is_short();
        let first = self.available.iter().position(&is_short)?;
        let last = self.available.iter().rposition(is_short)?;
        if last + 1 == self.available.len() {
            return Some(f64::INFINITY);
        }
        Some(f64::from(
            u32::try_from(last + 1 - first).unwrap_or(u32::MAX),
        ))
    }

    /// When the last of the jobs that end by themselves was done; nothing if one was not.
    #[must_use]
    pub fn all_done_s(&self, contest: &Contest) -> Option<f64> {
        let ends = self
            .with_jobs(contest)
            .filter(|(_, job)| job.passes.is_some());
        let done = ends.map(|(ended, _)| ended.ended_s.filter(|_| ended.state == State::Done));
        let done: Option<Vec<_>> = done.collect();
        done?.into_iter().reduce(f64::max)
    }

    /// Of what was killed, the value by itself times the hours that were not saved.
    #[must_use]
    pub fn value_hours_lost(&self, contest: &Contest) -> f64 {
        let ended = self.with_jobs(contest);
        let killed = ended.filter(|(ended, _)| ended.state == State::Killed);
        killed
            .map(|(ended, job)| {
                f64::from(job.value.unwrap_or(0)) * ended.unsaved_hours.unwrap_or(0.0)
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Contest, Ended, Holds, Job, Measured, Spread, Swap};

    const TEXT: &str = r#"
        title = "A leak"
        says = "A leak beside a job."
        memory_mib = 1024
        swap = "disk"
        swap_mib = 512
        seconds = 60
        [[job]]
        name = "leak"
        count = 2
        every_s = 10
        value = 1
        start_mib = 20
        growth_mib_s = 1.5
        children = 2
        child_mib = 3
    "#;

    fn leak() -> Job {
        Contest::parse(TEXT).unwrap().jobs.remove(0)
    }

    #[test]
    fn a_contest_is_read() {
        let contest = Contest::parse(TEXT).unwrap();
        assert_eq!((contest.swap, contest.swap_mib), (Swap::Disk, 512));
        assert_eq!(leak().holds, Holds::Memory);
        assert!(!leak().touching && leak().grows(0, 60));
    }

    #[test]
    fn a_result_is_of_the_rules_not_of_their_description() {
        let fingerprint = |text: &str| Contest::parse(text).unwrap().fingerprint();
        let same = TEXT.replace("A leak beside", "# Two leaks beside") + "\n# That is all.";
        assert_eq!(fingerprint(TEXT), fingerprint(&same));
        assert_ne!(fingerprint(TEXT), fingerprint(&TEXT.replace("1.5", "1.6")));
    }

    #[test]
    fn a_task_has_only_what_is_said_of_it() {
        let contests = concat!(env!("CARGO_MANIFEST_DIR"), "/arena");
        let mut tasks = 0;
        for file in std::fs::read_dir(contests).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let contest = Contest::parse(&text).unwrap();
            for job in contest.jobs.iter().filter(|_| contest.tasks_of.is_some()) {
                tasks += 1;
                let rest = Job {
                    name: job.name.clone(),
                    count: job.count,
                    value: job.value,
                    after_s: job.after_s,
                    every_s: job.every_s,
                    start_mib: job.start_mib,
                    growth_mib_s: job.growth_mib_s,
                    max_mib: job.max_mib,
                    touching: job.touching,
                    ..toml::from_str("name = ''").unwrap()
                };
                assert_eq!(*job, rest);
            }
        }
        assert!(tasks > 0);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let text = TEXT.replace("value", "worth");
        assert!(Contest::parse(&text).is_err());
        assert!(Contest::parse("").is_err());
    }

    #[test]
    fn a_job_is_worth_its_children_and_what_it_has_not_saved() {
        let worth = |job: Job| job.worth(1, &Contest::parse(TEXT).unwrap());
        assert_eq!(worth(leak()), 1);
        let with_children = Job {
            child_value: Some(4),
            ..leak()
        };
        assert_eq!(worth(with_children.clone()), 1 + 2 * 4);
        // It runs for 50 s, and the last 15 of them are not saved.
        let hour = Contest {
            hour_s: 5.0,
            ..Contest::parse(TEXT).unwrap()
        };
        let hourly = Job {
            hourly: Some(2),
            ..with_children
        };
        assert_eq!(hourly.worth(1, &hour), 9 + 2 * 10);
        let saves = Job {
            saves_every_s: Some(35.0),
            ..hourly
        };
        assert_eq!(saves.worth(1, &hour), 9 + 2 * 3);
    }

    #[test]
    fn a_result_without_what_is_new_is_still_read() {
        let line = r#"{"name":"leak","value":5,"state":"runs","passes":7}"#;
        let ended: Ended = serde_json::from_str(line).unwrap();
        assert_eq!((ended.kept(), ended.unsaved_hours), (5, None));
        assert_eq!(serde_json::to_string(&ended).unwrap(), line);
    }

    #[test]
    fn memory_is_back_once_it_stays() {
        let contest = Contest::parse(TEXT).unwrap();
        let back = |available: &[u64]| {
            let measured = Measured {
                version: String::new(),
                available_mib: 0,
                swap_mib: 0,
                jobs: Vec::new(),
                kernel_kills: 0,
                full_stall_s: 0.0,
                some_stall_s: 0.0,
                exec_ms: Spread::default(),
                late_ms: Spread::default(),
                lowest_mib: 0,
                cpu_ms: 0,
                rss_kib: 0,
                wakeups: 0,
                stays: true,
                available: available.to_vec(),
                probe_cpu_ms: None,
                threads_cpu_ms: BTreeMap::new(),
            };
            measured.back_s(&contest)
        };
        assert_eq!(back(&[900, 102]), None);
        assert_eq!(back(&[900, 101, 300, 50, 400]), Some(3.0));
        assert_eq!(back(&[900, 101, 300, 50]), Some(f64::INFINITY));
    }

    #[test]
    fn a_job_grows_from_its_start_to_its_limit() {
        assert_eq!(leak().final_mib(0, 60), 20.0 + 90.0 + 6.0);
        assert_eq!(leak().final_mib(1, 60), 20.0 + 75.0 + 6.0);
        let bounded = Job {
            max_mib: Some(50),
            ..leak()
        };
        assert_eq!(bounded.final_mib(0, 60), 56.0);
        // It has 35 MiB after the 10 s that it runs, and 50 after 20.
        assert!(bounded.grows(5, 60) && !bounded.grows(4, 60));
        let done = Job {
            passes: Some(10),
            ..leak()
        };
        assert_eq!(done.final_mib(0, 60), 0.0);
    }
}
