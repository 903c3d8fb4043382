//! One contestant in one contest: starts the jobs, watches, and reports.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{Timespec, poll};
use rustix::fs::{XattrFlags, setxattr};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::mount::{MountFlags, mount};

use super::files::{self, MIB, kernel_kills, meminfo_bytes, text};
use super::job::{self, FILLED, PROGRESS, Place, Progress, REGISTRY};
use super::program::{busybox, output_of};
use super::ray::Ray;
use super::{Report, module, system, wait};
use crate::arena::contestants::{self, Contestant};
use crate::arena::{
    Contest, DIRECTORY, Ended, FIGURE, Framework, Holds, Job, Measured, Spread, State, Swap,
};

/// In which a contestant is at work: Python is slow where it is emulated.
const LIMIT: Duration = Duration::from_secs(90);

/// The cgroup of what measures, where systemd is init.
const MAIN: &str = "main";

/// What a contestant prints goes here, and from here to the console.
const LOG: &str = "/run/contestant.log";

/// Where a disk for files is mounted.
const FILES: &str = "/run/files";

/// Where a contestant reads which groups it is to guard.
const SCOPES: &str = "/etc/user-oom/config.toml";

/// The disks after Debian's: for swap, then for files.
const DISKS: [&str; 2] = ["/dev/vdb", "/dev/vdc"];
const ZRAM: &str = "/dev/zram0";

/// Between two looks at the jobs, and at memory.
const ROUND: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};
const ROUND_LENGTH: Duration = Duration::from_millis(20);

/// Between two starts of a small program.
const BETWEEN_EXECS: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 250_000_000,
};

/// `CONTEST:CONTESTANT:SECONDS`.
pub(super) fn run(names: &str, report: &mut Report) -> Result<()> {
    let names: Vec<_> = names.split(':').collect();
    let [contest, contestant, seconds] = names[..] else {
        bail!("who, in what, and how long?");
    };
    let file = text(format!("/{DIRECTORY}/{contest}.toml"))?;
    let mut contest = Contest::parse(&file).context("the contest cannot be read")?;
    contest.seconds = seconds.parse().context("how long?")?;
    let contestant = contestants::named(contestant).context("there is no such contestant")?;
    let is_service = contestant.unit.is_some();
    if !is_service {
        enter()?;
    }
    prepare(&contest)?;
    let groups = groups(&contest, is_service)?;
    if contestant.knows_groups && !contest.groups.is_empty() {
        write_scopes(&contest)?;
    }
    let mut ray = match contest.tasks_of {
        None => None,
        Some(Framework::Ray) => {
            let workers = contest.jobs.iter().map(|job| job.count).sum::<u32>();
            Some(Ray::start(workers, contestant.killer_of.is_some())?)
        }
    };
    let mut guard = Guard::start(contestant)?;
    let measured = measure(&contest, &groups, ray.as_mut(), &mut guard);
    guard.echo();
    let text = serde_json::to_string(&measured?).context("cannot write the result down")?;
    report.figure(FIGURE, text)
}

fn enter() -> Result<()> {
    system::enter()?;
    super::mount_all()?;
    let options: Option<&CStr> = None;
    mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), options).context("cannot mount /run")
}

/// Our own cgroup, which systemd lets us divide.
fn own_cgroup() -> Result<PathBuf> {
    let own = text("/proc/self/cgroup")?;
    let own = own.trim().rsplit(':').next().unwrap_or_default();
    Ok(Path::new("/sys/fs/cgroup").join(own.trim_start_matches('/')))
}

/// Where jobs and groups of them have their cgroups.
#[derive(Debug)]
struct Groups {
    /// What these are in.
    all: PathBuf,
    /// Whether each job has one of its own.
    each: bool,
}

/// Makes the contest's groups, each with its limit.
fn groups(contest: &Contest, each: bool) -> Result<Groups> {
    let all = own_cgroup()?;
    if each {
        leave_the_jobs_their_slice(&all)?;
    } else if !contest.groups.is_empty() {
        files::write(all.join("cgroup.subtree_control"), "+memory")?;
    }
    for group in &contest.groups {
        let path = all.join(&group.name);
        fs::create_dir(&path).context("cannot make a group")?;
        files::write(path.join("memory.max"), &format!("{}M", group.memory_mib))?;
        if each {
            files::write(path.join("cgroup.subtree_control"), "+memory +pids")?;
        }
    }
    Ok(Groups { all, each })
}

/// As docs/scopes.md says.
fn write_scopes(contest: &Contest) -> Result<()> {
    let scope = |name: &str| format!("[[scope]]\ncgroup = \"/{name}\"\n");
    let scopes = contest.groups.iter().map(|group| scope(&group.name));
    let directory = Path::new(SCOPES).parent().context("it is in none")?;
    fs::create_dir_all(directory).context("cannot configure it")?;
    files::write(SCOPES, &scopes.collect::<String>())
}

/// Moves us into a cgroup that systemd-oomd passes over, so that jobs can have some
/// beside it.
fn leave_the_jobs_their_slice(ours: &Path) -> Result<()> {
    let main = ours.join(MAIN);
    fs::create_dir(&main).context("cannot make a cgroup")?;
    files::write(main.join("cgroup.procs"), "0")?;
    setxattr(&main, "user.oomd_omit", b"1", XattrFlags::empty()).context("cannot be left out")?;
    files::write(ours.join("cgroup.subtree_control"), "+memory +pids")
}

fn prepare(contest: &Contest) -> Result<()> {
    for directory in [REGISTRY, PROGRESS, FILLED] {
        fs::create_dir_all(directory).with_context(|| format!("cannot make `{directory}`"))?;
    }
    let everyone = Permissions::from_mode(0o1777);
    fs::set_permissions(REGISTRY, everyone).context("cannot open the registry")?;
    let options = Some(c"size=90%");
    mount("tmpfs", FILLED, "tmpfs", MountFlags::empty(), options)
        .context("cannot mount a tmpfs")?;
    let mut disks = DISKS.iter();
    match contest.swap {
        Swap::None => {}
        Swap::Disk => {
            let disk = disks.next().context("there is no disk")?;
            busybox(&["mkswap", disk])?;
            busybox(&["swapon", disk])?;
        }
        Swap::Zram => {
            let size = u64::from(contest.swap_mib) * MIB;
            files::write("/sys/block/zram0/disksize", &size.to_string())?;
            busybox(&["mkswap", ZRAM])?;
            busybox(&["swapon", ZRAM])?;
        }
    }
    if contest.files_mib() > 0 {
        make_files(contest, disks.next().context("there is no disk")?)?;
    }
    Ok(())
}

/// Writes what jobs map, and leaves none of it in memory.
fn make_files(contest: &Contest, disk: &str) -> Result<()> {
    output_of(&["/usr/sbin/mkfs.ext4", "-q", disk])?;
    fs::create_dir_all(FILES).context("cannot make a directory")?;
    let options: Option<&CStr> = None;
    mount(disk, FILES, "ext4", MountFlags::empty(), options).context("cannot mount a disk")?;
    for job in (contest.jobs.iter()).filter(|job| job.holds == Holds::File) {
        for number in 0..job.count {
            job::make_file(job, &file_of(job, number))?;
        }
    }
    files::write("/proc/sys/vm/drop_caches", "3")
}

fn file_of(job: &Job, number: u32) -> PathBuf {
    Path::new(FILES).join(format!("{}-{number}", job.name))
}

impl Took {
    fn cpu(&self) -> Duration {
        self.threads.values().sum()
    }

    /// What each thread took since, in milliseconds.
    fn since(&self, before: &Self) -> Result<BTreeMap<String, u64>> {
        let of = |(name, now): (&String, &Duration)| {
            let before = before.threads.get(name).copied().unwrap_or_default();
            let took = now.saturating_sub(before).as_millis();
            Ok((name.clone(), u64::try_from(took)?))
        };
        self.threads.iter().map(of).collect()
    }
}

/// What looks after the machine.
struct Guard {
    contestant: &'static Contestant,
    version: String,
    child: Option<Child>,
    pid: Option<u32>,
}

/// What it took until now.
#[derive(Clone, Debug, Default)]
struct Took {
    /// Processor time, by the threads' names.
    threads: BTreeMap<String, Duration>,
    wakeups: u64,
    rss_kib: u64,
}

impl Guard {
    fn start(contestant: &'static Contestant) -> Result<Self> {
        if contestant.module {
            // It stays for as long as the machine does.
            std::mem::forget(module::Module::load("")?);
        }
        let release = text("/proc/sys/kernel/osrelease")?;
        let mut guard = Self {
            contestant,
            version: format!("Linux {}", release.trim()),
            child: None,
            pid: None,
        };
        if let [program, arguments @ ..] = contestant.version {
            let said = Command::new(program).args(arguments).output();
            let said = said.with_context(|| format!("cannot start `{program}`"))?;
            let said = [said.stdout, said.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            said.lines()
                .next()
                .unwrap_or("?")
                .clone_into(&mut guard.version);
        }
        if let Some((name, version)) = contestant.package {
            guard.version = format!("{name} {version}");
        }
        let [program, arguments @ ..] = contestant.command else {
            return Ok(guard);
        };
        let log = File::create(LOG).context("cannot keep what it prints")?;
        let child = Command::new(program)
            .args(arguments)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot keep what it prints")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start `{program}`"))?;
        guard.pid = Some(child.id());
        guard.child = Some(child);
        if let Some(unit) = contestant.unit {
            let started = guard.child.take().map(|mut child| child.wait());
            let started = started.transpose().context("cannot wait for systemctl")?;
            ensure!(
                started.is_some_and(|status| status.success()),
                "`{unit}` does not start"
            );
            let pid = output_of(&["systemctl", "show", "--value", "--property=MainPID", unit])?;
            guard.pid = Some(pid.parse().context("the unit has no process")?);
        }
        let at_work = wait::until(&format!("`{program}` is at work"), LIMIT, || {
            Ok(text(LOG)?.contains(contestant.ready))
        });
        if at_work.is_err() {
            guard.echo();
        }
        at_work.map(|()| guard)
    }

    /// Of it and all that it has started.
    fn took(&self) -> Result<Took> {
        let mut took = Took::default();
        let Some(pid) = self.pid else {
            return Ok(took);
        };
        for pid in family(pid)? {
            let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
                continue;
            };
            for task in tasks.filter_map(Result::ok) {
                let file = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
                let ran = file("schedstat");
                let ran = ran.split(' ').next().and_then(|ran| ran.parse().ok());
                let ran = Duration::from_nanos(ran.unwrap_or(0));
                let name = file("comm").trim().to_owned();
                *took.threads.entry(name).or_default() += ran;
                took.wakeups += field(&file("status"), "voluntary_ctxt_switches:");
            }
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            took.rss_kib += field(&status, "VmRSS:");
        }
        Ok(took)
    }

    fn stays(&mut self) -> Result<bool> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?.is_none()),
            None => Ok(self.pid.is_none_or(|pid| now(pid) != State::Killed)),
        }
    }

    fn echo(&self) {
        let said = fs::read_to_string(LOG).unwrap_or_default();
        for line in said.lines() {
            super::say_on_console(&format!("{}: {line}", self.contestant.name));
        }
    }
}

/// A process, and all below it.
fn family(eldest: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list the processes")? {
        let name = entry.context("cannot list the processes")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        parents.push((pid, field(&status, "PPid:")));
    }
    let mut family = vec![eldest];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        let children = parents.iter().filter(|(_, of)| *of == u64::from(parent));
        family.extend(children.map(|(pid, _)| *pid));
        next += 1;
    }
    Ok(family)
}

/// The number of a line that begins so; 0 where there is none.
fn field(text: &str, beginning: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(beginning))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// What a job runs as.
enum Process {
    Child(Child),
    /// A worker of Ray's, by its pid.
    Worker(u32),
}

impl Process {
    fn pid(&self) -> u32 {
        match self {
            Self::Child(child) => child.id(),
            Self::Worker(pid) => *pid,
        }
    }
}

/// A job that was started, or is going to be.
struct Player<'contest> {
    contest: &'contest Contest,
    job: &'contest Job,
    number: u32,
    at: Duration,
    process: Option<Process>,
    started: Option<Instant>,
    state: Option<(State, Instant)>,
}

impl Player<'_> {
    fn start(&mut self, groups: &Groups, ray: Option<&mut Ray>) -> Result<()> {
        if let Some(ray) = ray {
            let now = Instant::now();
            self.started = Some(now);
            // Where Ray itself was killed, it is one that was not kept.
            match ray.work(self.job) {
                Ok(pid) => self.process = Some(Process::Worker(pid)),
                Err(_) => self.state = Some((State::Killed, now)),
            }
            return Ok(());
        }
        let file = (self.job.holds == Holds::File).then(|| file_of(self.job, self.number));
        let mut command = job::command(&Place {
            job: self.job.clone(),
            cgroup: self.cgroup(groups)?,
            file,
            hour_s: self.contest.hour_s,
            parent: None,
        })?;
        let now = Instant::now();
        self.started = Some(now);
        // Where not even a process can be made, it is one that was not kept.
        match command.spawn() {
            Ok(child) => self.process = Some(Process::Child(child)),
            Err(_) => self.state = Some((State::Killed, now)),
        }
        Ok(())
    }

    fn cgroup(&self, groups: &Groups) -> Result<Option<PathBuf>> {
        let group = self.job.group.as_ref();
        let group = group.map(|name| groups.all.join(name));
        if !groups.each {
            return Ok(group);
        }
        let name = format!("{}-{}", self.job.name, self.number);
        let own = group.unwrap_or_else(|| groups.all.clone()).join(name);
        fs::create_dir(&own).context("cannot make a cgroup")?;
        Ok(Some(own))
    }

    fn look(&mut self) -> Result<()> {
        let ended = match &mut self.process {
            _ if self.state.is_some() => None,
            None => None,
            Some(Process::Child(child)) => {
                let status = child.try_wait().context("cannot look at a job")?;
                status.map(|status| match status.success() {
                    true => State::Done,
                    false => State::Killed,
                })
            }
            Some(Process::Worker(pid)) => Some(now(*pid)).filter(|state| *state == State::Killed),
        };
        if let Some(state) = ended {
            self.state = Some((state, Instant::now()));
        }
        Ok(())
    }

    fn ended(&self, began: Instant) -> Result<Ended> {
        let pid = self.process.as_ref().map_or(0, Process::pid);
        let progress = Progress::of(pid);
        let (state, at) = self.state.unwrap_or_else(|| (now(pid), Instant::now()));
        let unsaved = self.started.map(|started| {
            let unsaved = (at - started).saturating_sub(progress.saved);
            hundredths(unsaved.as_secs_f64() / self.contest.hour_s)
        });
        Ok(Ended {
            name: self.job.name.clone(),
            value: self.job.worth(self.number, self.contest),
            state,
            passes: progress.passes,
            worked_mib: Some(progress.worked_kib / 1024),
            ended_s: self.state.map(|(_, at)| seconds(at - began)),
            lost: self.lost(pid)?,
            unsaved_hours: self.job.hourly.and(unsaved),
        })
    }

    /// Of children that it has no longer.
    fn lost(&self, pid: u32) -> Result<u32> {
        let Some(value) = self.job.child_value.filter(|_| self.state.is_none()) else {
            return Ok(0);
        };
        let mut lost = self.job.children;
        for child in family(pid)?.into_iter().skip(1) {
            lost = lost.saturating_sub(u32::from(now(child) != State::Killed));
        }
        Ok(lost * value)
    }
}

fn seconds(length: Duration) -> f64 {
    hundredths(length.as_secs_f64())
}

fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

fn now(pid: u32) -> State {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    match state.and_then(|state| state.trim().chars().next()) {
        None | Some('Z' | 'X') => State::Killed,
        Some('T' | 't') => State::Paused,
        Some(_) => State::Runs,
    }
}

fn measure(
    contest: &Contest,
    groups: &Groups,
    mut ray: Option<&mut Ray>,
    guard: &mut Guard,
) -> Result<Measured> {
    let mut players: Vec<_> = (contest.jobs.iter())
        .flat_map(|job| {
            (0..job.count).map(move |number| Player {
                contest,
                job,
                number,
                at: Duration::from_secs_f64(job.after_s + job.every_s * f64::from(number)),
                process: None,
                started: None,
                state: None,
            })
        })
        .collect();
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).context("cannot lock our pages")?;
    let available = meminfo_bytes("MemAvailable")?;
    let swap = meminfo_bytes("SwapFree")?;
    let took_before = guard.took()?;
    let probe_before = own_cpu()?;
    let stalls_before = Stalls::read()?;
    let enough = Arc::new(AtomicBool::new(false));
    let seen = sampler(&enough);
    let execs = Execs::start(&enough);

    let began = Instant::now();
    let length = Duration::from_secs(contest.seconds.into());
    while began.elapsed() < length {
        for player in &mut players {
            if player.process.is_none() && player.state.is_none() && player.at <= began.elapsed() {
                player.start(groups, ray.as_deref_mut())?;
            }
            player.look()?;
        }
        pause(&ROUND);
    }

    let stalls = Stalls::read()?;
    let kills = kernel_kills()?;
    let took = guard.took()?;
    let probe_cpu = own_cpu()?.saturating_sub(probe_before);
    let exec_ms = execs.end();
    enough.store(true, Ordering::Relaxed);
    let jobs = players.iter().map(|player| player.ended(began));
    let jobs = jobs.collect::<Result<_>>()?;
    let seen = seen.join().ok().context("the sampler panicked")??;
    Ok(Measured {
        version: guard.version.clone(),
        available_mib: available / MIB,
        swap_mib: swap / MIB,
        jobs,
        kernel_kills: kills,
        full_stall_s: (stalls.full.saturating_sub(stalls_before.full)).as_secs_f64(),
        some_stall_s: (stalls.some.saturating_sub(stalls_before.some)).as_secs_f64(),
        exec_ms,
        late_ms: spread(seen.late),
        lowest_mib: seen.lowest / MIB,
        cpu_ms: u64::try_from(took.cpu().saturating_sub(took_before.cpu()).as_millis())?,
        rss_kib: took.rss_kib,
        wakeups: took.wakeups.saturating_sub(took_before.wakeups),
        stays: guard.stays()?,
        available: seen.each_second,
        probe_cpu_ms: Some(u64::try_from(probe_cpu.as_millis())?),
        threads_cpu_ms: took.since(&took_before)?,
    })
}

/// What all our threads took of a processor, those that have ended included.
fn own_cpu() -> Result<Duration> {
    let stat = text("/proc/self/stat")?;
    // After the name, which may hold spaces.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let times = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = times.flat_map(str::parse::<u64>).sum();
    // USER_HZ is 100.
    Ok(Duration::from_millis(ticks * 10))
}

fn pause(length: &Timespec) {
    // A signal only ends the pause early.
    let _ = poll(&mut [], Some(length));
}

/// For how long tasks have waited for memory since boot.
#[derive(Clone, Copy, Debug)]
struct Stalls {
    some: Duration,
    full: Duration,
}

impl Stalls {
    fn read() -> Result<Self> {
        let text = text("/proc/pressure/memory")?;
        let total = |share| {
            let line = text.lines().find(|line| line.starts_with(share))?;
            let micros = line.split("total=").nth(1)?.trim().parse().ok()?;
            Some(Duration::from_micros(micros))
        };
        Ok(Self {
            some: total("some").context("no pressure is known")?,
            full: total("full").context("no pressure is known")?,
        })
    }
}

/// What was seen of memory and of timers.
#[derive(Debug, Default)]
struct Seen {
    lowest: u64,
    each_second: Vec<u64>,
    late: Vec<Duration>,
}

/// Has the highest priority, so what makes it late makes all others late.
fn sampler(enough: &Arc<AtomicBool>) -> thread::JoinHandle<Result<Seen>> {
    let enough = Arc::clone(enough);
    thread::spawn(move || {
        rustix::process::setpriority_process(None, -20).context("cannot have priority")?;
        let began = Instant::now();
        let mut seen = Seen {
            lowest: u64::MAX,
            ..Seen::default()
        };
        while !enough.load(Ordering::Relaxed) {
            let available = meminfo_bytes("MemAvailable")?;
            seen.lowest = seen.lowest.min(available);
            let second = usize::try_from(began.elapsed().as_secs())?;
            while seen.each_second.len() <= second {
                seen.each_second.push(available / MIB);
            }
            let slept = Instant::now();
            pause(&ROUND);
            seen.late.push(slept.elapsed().saturating_sub(ROUND_LENGTH));
        }
        Ok(seen)
    })
}

/// Starts a small program again and again.
struct Execs(Arc<Mutex<Times>>);

#[derive(Default)]
struct Times {
    took: Vec<Duration>,
    running_since: Option<Instant>,
}

impl Execs {
    fn start(enough: &Arc<AtomicBool>) -> Self {
        let times = Arc::new(Mutex::new(Times::default()));
        let (enough, shared) = (Arc::clone(enough), Arc::clone(&times));
        thread::spawn(move || {
            while !enough.load(Ordering::Relaxed) {
                let began = Instant::now();
                let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
                lock().running_since = Some(began);
                // One that could not be started took as long as it was tried.
                let _ = Command::new("/bin/true").status();
                let mut times = lock();
                times.running_since = None;
                times.took.push(began.elapsed());
                drop(times);
                pause(&BETWEEN_EXECS);
            }
        });
        Self(times)
    }

    /// With the one that has not come to its end.
    fn end(self) -> Spread {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let running = times.running_since.map(|since| since.elapsed());
        spread(times.took.iter().copied().chain(running).collect())
    }
}

fn spread(mut times: Vec<Duration>) -> Spread {
    times.sort_unstable();
    let at = |percent: usize| {
        let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        let time = times.get(at).copied().unwrap_or_default();
        (time.as_secs_f64() * 1e4).round() / 10.0
    };
    Spread {
        count: times.len(),
        p50: at(50),
        p99: at(99),
        max: at(100),
    }
}

#[cfg(test)]
mod tests {
    use super::spread;
    use std::time::Duration;

    #[test]
    fn a_spread_is_of_the_sorted_times() {
        let spread = spread((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!((spread.count, spread.p50), (200, 101.0));
        assert_eq!((spread.p99, spread.max), (199.0, 200.0));
        assert_eq!(super::spread(Vec::new()).max, 0.0);
    }
}
