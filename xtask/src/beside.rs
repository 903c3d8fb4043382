//! Our daemon beside earlyoom, on this machine, in one run.
//!
//! Machines differ and are noisy, so what counts is the ratio of two figures
//! of the same run; `docs/measurements.md` says what they came to, and where.
//! No process is killed but those started here: both daemons run dry, or
//! have no candidates, except in the last part, where ours may kill registered
//! processes only, in a registry of its own. Prints figures, without a verdict.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tempfile::TempDir;

use crate::chore::{Chore, say, step};

/// For how many processes on the machine the bounds are stated.
pub(crate) const PROCESSES: usize = 500;
/// As many are made that lack to that, but some at least, to be chosen from.
const CROWD: usize = 100;
/// How often each daemon decides.
pub(crate) const DECISIONS: usize = 7;
/// How often the idle daemons' processor time is counted, and how long.
pub(crate) const WINDOWS: usize = 4;
pub(crate) const WINDOW: Duration = Duration::from_secs(30);
/// A daemon that has said its first word is at rest after so long.
pub(crate) const REST: Duration = Duration::from_secs(3);
/// How many hogs are wanted, and how many are let loose at most: what else the
/// machine does may hide one.
const HOGS: usize = 5;
const ATTEMPTS: usize = 3 * HOGS;
/// What a hog takes if it is not killed.
const HOG_MIB: u64 = 3 * 1024;
/// What it has taken when the kill threshold is crossed.
const CROSSING_MIB: u64 = 2 * 1024;
/// Relief ends so far above the threshold.
const RELIEF_MIB: u64 = 64;
/// A page of x86-64, and of most others.
const PAGE_KIB: u64 = 4;
/// Between two samples of the memory that is available.
const SAMPLE: Duration = Duration::from_millis(1);
/// What has not come by then will not come.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The kernel's view of memory and processes.
pub(crate) const PROC: &str = "/proc";

/// Runs all parts and prints their figures.
///
/// # Errors
///
/// What could not be built, fetched, started, read or understood.
pub(crate) fn run(root: &Path) -> Result<()> {
    let build = [
        "build",
        "--release",
        "--package",
        "user-oom",
        "--package",
        "test_procs",
    ];
    Chore::new("cargo", build).run("programs", root)?;
    let arena = Arena::open()?;
    arena.introduce()?;
    let repeat = "cargo xtask arena --cost";
    step("a crowd", repeat, || {
        let crowd = Crowd::gather(PROCESSES)?;
        arena.decide(&crowd)?;
        arena.idle()
    })?;
    step("a hog", repeat, || arena.hogs())
}

/// Our programs, and a folder for what they write.
pub(crate) struct Ours {
    release: PathBuf,
    folder: TempDir,
}

impl Ours {
    pub(crate) fn open() -> Result<Self> {
        // Cargo puts what it builds beside us, wherever that is.
        let ourselves = std::env::current_exe().context("cannot tell where we are")?;
        let release = ourselves
            .ancestors()
            .nth(2)
            .context("we are not where cargo puts programs")?
            .join("release");
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        Ok(Self { release, folder })
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.release.join(name)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Our daemon, reading the registry `name`, at the socket of that name.
    pub(crate) fn daemon(&self, name: &str) -> Command {
        let mut command = Command::new(self.program("user-oom"));
        command
            .arg("--registry")
            .arg(self.path(name))
            .arg("--socket")
            .arg(self.socket(name));
        command
    }

    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.path(name).with_extension("socket")
    }

    /// The same, guarding registered processes only, on a machine of which
    /// `meminfo` tells.
    pub(crate) fn staged(&self, name: &str, meminfo: &Path) -> Command {
        let mut command = self.daemon(name);
        command.args(["--registered-only", "--recover", "12", "--horizon", "0"]);
        command.args(["--pressure", "off", "-r", "0", "--meminfo"]);
        command.arg(meminfo);
        command
    }

    /// A meminfo file of a machine that lacks half of what `crowd` holds:
    /// 10 % are available, and 12 % are to be.
    pub(crate) fn short_by_half_of(&self, crowd: &Crowd) -> Result<PathBuf> {
        self.machine_of(crowd, 10)
    }

    /// A meminfo file of a machine of which `percent` are available, and where half
    /// of what `crowd` holds is 2 %.
    pub(crate) fn machine_of(&self, crowd: &Crowd, percent: u64) -> Result<PathBuf> {
        let mut held_kib = 0;
        for pid in crowd.pids() {
            held_kib += status(pid)?.anon_kib;
        }
        let total_kib = held_kib / 2 * 50;
        let available_kib = total_kib / 100 * percent;
        let text = format!(
            "MemTotal: {total_kib} kB\nMemAvailable: {available_kib} kB\nAnonPages: {} kB\n",
            // More would leave less available than that, and be taken for wrong.
            total_kib - available_kib
        );
        let path = self.path("meminfo");
        write(&path, &text)?;
        Ok(path)
    }
}

/// Our daemon and earlyoom.
struct Arena {
    ours: Ours,
    earlyoom: PathBuf,
}

impl Arena {
    fn open() -> Result<Self> {
        let ours = Ours::open()?;
        Ok(Self {
            earlyoom: earlyoom(ours.folder.path())?,
            ours,
        })
    }

    fn introduce(&self) -> Result<()> {
        let meminfo = Meminfo::open()?;
        let cores = thread::available_parallelism().context("cannot count the cores")?;
        let kernel = read(&Path::new(PROC).join("sys/kernel/osrelease"))?;
        let total_mib = meminfo.read("MemTotal")? >> 10;
        let mut version = Command::new(&self.earlyoom);
        version.arg("-v");
        let version = Running::start(version)?.line_with("earlyoom")?;
        say(format_args!(
            "{cores} cores, {total_mib} MiB, Linux {}, {version}",
            kernel.trim()
        ))
    }

    /// Three daemons in turns, so that what else the machine does meets them
    /// alike. Ours says a choice again after 10 s only.
    fn decide(&self, crowd: &Crowd) -> Result<()> {
        let count = processes()?;
        say(format_args!("decisions, {count} processes, {}:", load()?))?;
        let meminfo = self.ours.short_by_half_of(crowd)?;
        let ours = |name| {
            let mut ours = self.ours.daemon(name);
            ours.args(["--dryrun", "-m", "10,10", "--recover", "12"]);
            ours.args(["--horizon", "0", "--pressure", "off", "-r", "0"]);
            ours.arg("--meminfo").arg(&meminfo);
            ours
        };
        let all = || ours("all");
        self.register(crowd, "registered")?;
        let mut registered = ours("registered");
        registered.arg("--registered-only");
        let earlyoom = || {
            let mut earlyoom = Command::new(&self.earlyoom);
            earlyoom.args(["-d", "--dryrun", "-m", "99,98", "-s", "100,100", "-r", "0"]);
            earlyoom
        };

        let (mut first, mut later) = (Took::default(), Took::default());
        let mut chosen = Took::default();
        let (mut theirs_first, mut theirs_later) = (Figures::default(), Figures::default());
        for _ in 0..DECISIONS {
            let running = Running::start(all())?;
            first.push(&running.line_with(Took::BEGINS)?)?;
        }
        let of_all = Running::start(all())?;
        of_all.line_with(Took::BEGINS)?;
        let of_registered = Running::start(registered)?;
        of_registered.line_with(Took::BEGINS)?;
        let mut choice = String::new();
        for _ in 0..DECISIONS {
            later.push(&of_all.line_with(Took::BEGINS)?)?;
            choice = of_registered.line_with(Took::BEGINS)?;
            chosen.push(&choice)?;
            let running = Running::start(earlyoom())?;
            let search = || running.line_with("selecting victim took ");
            theirs_first.push(millis_after(&search()?, "took ")?);
            theirs_later.push(millis_after(&search()?, "took ")?);
        }
        let deciding = [
            ("user-oom, running", status(of_all.pid())?),
            ("user-oom, a set", status(of_registered.pid())?),
        ];
        drop((of_all, of_registered));

        say(format_args!("  user-oom, at start      {first}"))?;
        say(format_args!("  earlyoom, at start      {theirs_first} ms"))?;
        say(format_args!("  user-oom, running       {later}"))?;
        say(format_args!("  user-oom, a set         {chosen}"))?;
        let choice = choice.split(':').next().unwrap_or_default().trim();
        say(format_args!(
            "                          ({choice}, all registered)"
        ))?;
        say(format_args!("  earlyoom, running       {theirs_later} ms"))?;
        say(format_args!(
            "  earlyoom's search takes {:.1} times as long at start, {:.1} running, {:.1} beside a set",
            theirs_first.median() / first.all.median(),
            theirs_later.median() / later.all.median(),
            theirs_later.median() / chosen.all.median(),
        ))?;
        self.search_in_silence()?;
        for (which, status) in deciding {
            say(format_args!(
                "  {which:<22}  {status}, after these decisions"
            ))?;
        }
        Ok(())
    }

    /// Gives each of `crowd` a value in the registry `name`.
    fn register(&self, crowd: &Crowd, name: &str) -> Result<()> {
        let registry = self.ours.path(name);
        fs::create_dir(&registry)
            .with_context(|| format!("cannot make `{}`", registry.display()))?;
        for (number, member) in crowd.members.iter().enumerate() {
            let entry = registry.join(member.id().to_string());
            write(&entry, &format!("{}\n", number % 97))?;
        }
        Ok(())
    }

    /// What a search costs earlyoom where it need not say a line for each
    /// process: processor time, by how often it says that it would kill.
    fn search_in_silence(&self) -> Result<()> {
        let mut earlyoom = Command::new(&self.earlyoom);
        earlyoom.args(["--dryrun", "-m", "99,98", "-s", "100,100", "-r", "0"]);
        let running = Running::start(earlyoom)?;
        let search = || running.line_with("sending SIGKILL");
        search()?;
        let before = processor_time(running.pid())?;
        const SEARCHES: u32 = 20;
        for _ in 0..SEARCHES {
            search()?;
        }
        let took = processor_time(running.pid())?.saturating_sub(before) / SEARCHES;
        say(format_args!(
            "  earlyoom without -d: {:.3} ms of processor time a search",
            millis(took)
        ))
    }

    /// What a daemon at rest takes, thresholds at their defaults.
    fn idle(&self) -> Result<()> {
        let mut ours = self.ours.daemon("idle");
        ours.args(["-r", "3600", "--registered-only"]);
        let ours = Running::start(ours)?;
        // The first status line ends the first round.
        ours.line_beginning("memory ")?;
        let mut earlyoom = Command::new(&self.earlyoom);
        earlyoom.args(["--dryrun", "-r", "3600"]);
        let earlyoom = Running::start(earlyoom)?;
        earlyoom.line_with("mem avail")?;
        ours.rest(REST)?;
        let count = processes()?;
        say(format_args!("footprint, {count} processes, {}:", load()?))?;

        let meminfo = Meminfo::open()?;
        let (mut ours_took, mut theirs_took) = (Figures::default(), Figures::default());
        let mut moved_mib = Figures::default();
        for _ in 0..WINDOWS {
            let available_kib = meminfo.available_kib()?;
            let ours_before = processor_time(ours.pid())?;
            let theirs_before = processor_time(earlyoom.pid())?;
            ours.rest(WINDOW)?;
            ours_took.push(millis(
                processor_time(ours.pid())?.saturating_sub(ours_before),
            ));
            theirs_took.push(millis(
                processor_time(earlyoom.pid())?.saturating_sub(theirs_before),
            ));
            moved_mib.push(mib(meminfo.available_kib()?.abs_diff(available_kib)));
        }
        say(format_args!("  user-oom   {}", status(ours.pid())?))?;
        say(format_args!("  earlyoom   {}", status(earlyoom.pid())?))?;
        say(format_args!(
            "  processor time in {} s: user-oom {ours_took} ms, earlyoom {theirs_took} ms; memory moved by {moved_mib} MiB",
            WINDOW.as_secs()
        ))
    }

    /// How long memory stays below the kill threshold.
    fn hogs(&self) -> Result<()> {
        let meminfo = Meminfo::open()?;
        let available_mib = meminfo.available_kib()? >> 10;
        if available_mib < 2 * HOG_MIB {
            bail!(
                "{available_mib} MiB are available, and a hog takes {HOG_MIB}: have twice as many"
            );
        }
        say(format_args!(
            "a hog of {HOG_MIB} MiB, threshold {CROSSING_MIB} MiB below what is available, {}:",
            load()?
        ))?;
        let mut below = Figures::default();
        for _ in 0..ATTEMPTS {
            let Some(bout) = self.hog(&meminfo)? else {
                say(format_args!(
                    "  memory moved too much to tell the hog from all else; once more"
                ))?;
                continue;
            };
            below.push(millis(bout.below));
            say(format_args!("  {}. {bout}", below.0.len()))?;
            if below.0.len() == HOGS {
                break;
            }
        }
        if below.0.is_empty() {
            bail!("of {ATTEMPTS} hogs none could be told from all else: the machine is too busy");
        }
        say(format_args!(
            "  memory back {below} ms after the kill threshold was crossed"
        ))
    }

    /// One hog; `None` where what else the machine does hid it.
    fn hog(&self, meminfo: &Meminfo) -> Result<Option<Bout>> {
        let name = "hog";
        let before_kib = meminfo.available_kib()?;
        let threshold_kib = before_kib.saturating_sub(CROSSING_MIB << 10);
        let relieved_kib = threshold_kib + (RELIEF_MIB << 10);
        let total_kib = meminfo.read("MemTotal")? - meminfo.read("Hugetlb").unwrap_or(0);
        let mut ours = self.ours.daemon(name);
        ours.args(["--registered-only", "--horizon", "0", "--pressure", "off"]);
        ours.args(["-r", "3600", "-M"])
            .arg(format!("{threshold_kib},{threshold_kib}"))
            .arg("--recover")
            .arg(percent_above(relieved_kib, total_kib));
        let ours = Running::start(ours)?;
        ours.line_beginning("memory ")?;
        let mut calm = Samples::new(before_kib);
        ours.lines_until(Instant::now() + REST, SAMPLE, |_| {
            calm.take(meminfo.available_kib()?);
            Ok(None::<()>)
        })?;
        let drift_mib = (calm.most_kib - calm.least_kib) >> 10;
        if drift_mib > CROSSING_MIB / 4 {
            return Ok(None);
        }

        let mut hog = Command::new(self.ours.program("test_proc2"));
        hog.args(["--value", "1", "--rate-mib-s", "100000", "--max-mib"])
            .arg(HOG_MIB.to_string())
            .arg("--registry")
            .arg(self.ours.path(name));
        let hog = Running::start(hog)?;
        let mut samples = Samples::new(before_kib);
        let mut crossed = None;
        let mut back = None;
        let mut said = Vec::new();
        let below = ours.lines_until(Instant::now() + LIMIT, SAMPLE, |line| {
            said.extend(line);
            let available_kib = meminfo.available_kib()?;
            samples.take(available_kib);
            let now = samples.last;
            if available_kib <= threshold_kib {
                crossed.get_or_insert(now);
                back = None;
            } else if let Some(crossed) = crossed {
                // It may come and go there for a moment.
                let back = *back.get_or_insert(now);
                return Ok((relieved_kib <= available_kib).then_some(back - crossed));
            }
            Ok(None)
        })?;
        let Some(below) = below else {
            return Ok(None);
        };
        // So it was our daemon's doing.
        for want in [&format!(" kill pid={} ", hog.pid()), " freed "] {
            if !said.iter().any(|line| line.contains(want)) {
                ours.line_with(want)?;
            }
        }
        Ok(Some(Bout {
            below,
            deepest_mib: (threshold_kib - samples.least_kib) >> 10,
            longest_gap: samples.longest_gap,
            drift_mib,
            before_mib: before_kib >> 10,
            after_mib: meminfo.available_kib()? >> 10,
        }))
    }
}

/// Where earlyoom is. Where it is not installed it is unpacked into `folder`:
/// installing it would start a service that ends processes.
fn earlyoom(folder: &Path) -> Result<PathBuf> {
    if Chore::new("earlyoom", ["-v"]).succeeds(folder) {
        return Ok(PathBuf::from("earlyoom"));
    }
    let fetched = Chore::new("apt-get", ["download", "earlyoom"])
        .run("earlyoom, from Debian", folder)
        .and_then(|()| {
            let package = fs::read_dir(folder)?
                .filter_map(|entry| Some(entry.ok()?.path()))
                .find(|path| path.extension().is_some_and(|end| end == "deb"))
                .context("no package was fetched")?;
            let unpack = ["--extract".into(), package.into_os_string(), ".".into()];
            Chore::new("dpkg-deb", unpack).run("earlyoom, unpacked", folder)
        });
    fetched.context("earlyoom is not there to be compared with: install it")?;
    Ok(folder.join("usr/bin/earlyoom"))
}

/// Processes that wait until we are gone.
pub(crate) struct Crowd {
    members: Vec<Child>,
    /// Each reads from it, and nothing comes.
    silence: Option<PipeWriter>,
}

impl Crowd {
    /// So many that there are `count` processes on the machine.
    pub(crate) fn gather(count: usize) -> Result<Self> {
        let (silent, silence) = io::pipe().context("cannot make a pipe")?;
        let mut crowd = Self {
            members: Vec::new(),
            silence: Some(silence),
        };
        for _ in 0..count.saturating_sub(processes()?).max(CROWD) {
            let silent = silent.try_clone().context("cannot share a pipe")?;
            let member = Command::new("cat")
                .stdin(silent)
                .stdout(Stdio::null())
                .spawn()
                .context("cannot run `cat`")?;
            crowd.members.push(member);
        }
        Ok(crowd)
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.members.iter().map(Child::id)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.silence = None;
        for member in &mut self.members {
            // It reads the end of the pipe, and ends.
            let _ = member.wait();
        }
    }
}

/// A program, ended with its owner.
pub(crate) struct Running {
    child: Child,
    name: String,
    /// What it prints, to either stream.
    lines: Receiver<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let name = Path::new(command.get_program()).display().to_string();
        let (reader, writer) = io::pipe().context("cannot make a pipe")?;
        let also = writer.try_clone().context("cannot share a pipe")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(also)
            .stderr(writer)
            .spawn()
            .with_context(|| format!("cannot run `{name}`"))?;
        // It holds the ends for writing, and is to be the only one.
        drop(command);
        Ok(Self {
            child,
            name,
            lines: lines_of(reader),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that contains `text`.
    pub(crate) fn line_with(&self, text: &str) -> Result<String> {
        self.line(text, |line| line.contains(text))
    }

    /// The next line that begins with `text`.
    pub(crate) fn line_beginning(&self, text: &str) -> Result<String> {
        self.line(text, |line| line.starts_with(text))
    }

    pub(crate) fn line(&self, text: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        self.lines_until(Instant::now() + LIMIT, LIMIT, |line| {
            Ok(line.filter(|line| wanted(line)))
        })?
        .with_context(|| format!("`{}` does not say `{text}`", self.name))
    }

    /// Lets it run for `span`, whatever it says.
    pub(crate) fn rest(&self, span: Duration) -> Result<()> {
        self.lines_until(Instant::now() + span, span, |_| Ok(None::<()>))?;
        Ok(())
    }

    /// Calls `look` for each line, and whenever `interval` is over without one,
    /// until it has found something or `end` has come.
    pub(crate) fn lines_until<T>(
        &self,
        end: Instant,
        interval: Duration,
        mut look: impl FnMut(Option<String>) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let line = match self.lines.recv_timeout(left.min(interval)) {
                Ok(line) => Some(line),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("`{}` has ended", self.name);
                }
            };
            let found = look(line)?;
            if found.is_some() {
                return Ok(found);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, or have been ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads until the last writer is gone, at a time of its own.
fn lines_of(reader: PipeReader) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// One hog, from the crossing of the threshold on.
struct Bout {
    /// How long memory stayed below.
    below: Duration,
    /// How far below memory fell.
    deepest_mib: u64,
    /// Between two samples, at most: what the times above are good for.
    longest_gap: Duration,
    /// By how much available memory strayed in the seconds before.
    drift_mib: u64,
    before_mib: u64,
    after_mib: u64,
}

impl fmt::Display for Bout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "back after {:.1} ms, {} MiB too deep; samples at most {:.1} ms apart; available {} MiB before (straying by {}), {} after",
            millis(self.below),
            self.deepest_mib,
            millis(self.longest_gap),
            self.before_mib,
            self.drift_mib,
            self.after_mib,
        )
    }
}

/// The least and the most of what was seen, and how closely it was looked at.
struct Samples {
    least_kib: u64,
    most_kib: u64,
    last: Instant,
    longest_gap: Duration,
}

impl Samples {
    fn new(available_kib: u64) -> Self {
        Self {
            least_kib: available_kib,
            most_kib: available_kib,
            last: Instant::now(),
            longest_gap: Duration::ZERO,
        }
    }

    fn take(&mut self, available_kib: u64) {
        let now = Instant::now();
        self.least_kib = self.least_kib.min(available_kib);
        self.most_kib = self.most_kib.max(available_kib);
        self.longest_gap = self.longest_gap.max(now - self.last);
        self.last = now;
    }
}

/// The kernel's meminfo and zoneinfo, held open.
struct Meminfo {
    meminfo: File,
    zoneinfo: File,
}

impl Meminfo {
    fn open() -> Result<Self> {
        let open = |name| {
            let path = Path::new(PROC).join(name);
            File::open(&path).with_context(|| format!("cannot open `{}`", path.display()))
        };
        Ok(Self {
            meminfo: open("meminfo")?,
            zoneinfo: open("zoneinfo")?,
        })
    }

    /// As the daemon counts it: with the free pages in the per-CPU lists, which
    /// MemAvailable leaves out. Since Linux 6.7 they can hold an eighth of memory.
    fn available_kib(&self) -> Result<u64> {
        let mut text = vec![0; 64 * 1024];
        let mut len = 0;
        loop {
            let at = u64::try_from(len)?;
            let more = self.zoneinfo.read_at(&mut text[len..], at);
            match more.context("cannot read zoneinfo")? {
                0 => break,
                more => len += more,
            }
            if len == text.len() {
                text.resize(2 * len, 0);
            }
        }
        let listed_kib = listed_pages(&String::from_utf8_lossy(&text[..len])) * PAGE_KIB;
        Ok(self.read("MemAvailable")? + listed_kib)
    }

    /// In KiB.
    fn read(&self, key: &str) -> Result<u64> {
        let mut text = [0; 4096];
        let len = self
            .meminfo
            .read_at(&mut text, 0)
            .context("cannot read meminfo")?;
        // The last line read may be cut short, and is far behind what we want.
        let text = String::from_utf8_lossy(&text[..len]);
        field(&text, key).with_context(|| format!("meminfo has no `{key}`"))
    }
}

/// How many pages zoneinfo finds in the lists of all CPUs.
fn listed_pages(zoneinfo: &str) -> u64 {
    let lines = zoneinfo.lines().map(str::trim);
    let counts = lines.filter_map(|line| line.strip_prefix("count:")?.trim().parse::<u64>().ok());
    counts.sum()
}

/// What a process takes.
pub(crate) struct Status {
    rss_kib: u64,
    anon_kib: u64,
    threads: u64,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rss_kib,
            anon_kib,
            threads,
        } = self;
        write!(
            f,
            "VmRSS {rss_kib} KiB, RssAnon {anon_kib} KiB, threads {threads}"
        )
    }
}

/// # Errors
///
/// Also where there is no such process any longer.
pub(crate) fn status(pid: u32) -> Result<Status> {
    let path = Path::new(PROC).join(format!("{pid}/status"));
    let text = read(&path)?;
    let field =
        |key| field(&text, key).with_context(|| format!("`{}` has no `{key}`", path.display()));
    Ok(Status {
        rss_kib: field("VmRSS")?,
        anon_kib: field("RssAnon")?,
        threads: field("Threads")?,
    })
}

/// What all threads of `pid` have run for, to the nanosecond.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let tasks = Path::new(PROC).join(format!("{pid}/task"));
    let listed =
        fs::read_dir(&tasks).with_context(|| format!("cannot list `{}`", tasks.display()))?;
    let mut sum = Duration::ZERO;
    for task in listed {
        // A thread that has ended since runs no more.
        sum += thread_time(&task?.path().join("schedstat"))?.unwrap_or_default();
    }
    Ok(sum)
}

/// What one thread has run for; `None` once it is gone.
pub(crate) fn thread_time(schedstat: &Path) -> Result<Option<Duration>> {
    let text = match fs::read_to_string(schedstat) {
        Ok(text) => text,
        Err(err) if is_gone(&err) => return Ok(None),
        Err(err) => {
            return Err(err).with_context(|| format!("cannot read `{}`", schedstat.display()));
        }
    };
    let nanos = text.split(' ').next().and_then(|word| word.parse().ok());
    let nanos = nanos.with_context(|| format!("`{}` makes no sense", schedstat.display()))?;
    Ok(Some(Duration::from_nanos(nanos)))
}

/// `/proc` has no such task, or had one while we were about to read it (ESRCH).
fn is_gone(err: &io::Error) -> bool {
    const ESRCH: i32 = 3;
    err.kind() == io::ErrorKind::NotFound || err.raw_os_error() == Some(ESRCH)
}

/// How many processes there are.
pub(crate) fn processes() -> Result<usize> {
    let listed = fs::read_dir(PROC).context("cannot list processes")?;
    Ok(listed
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .count())
}

/// How many tasks wanted a processor in the last minute.
pub(crate) fn load() -> Result<String> {
    let text = read(&Path::new(PROC).join("loadavg"))?;
    let average = text.split(' ').next().unwrap_or_default();
    Ok(format!("load average {average}"))
}

pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// The number in the line `key: number …`.
pub(crate) fn field<T: FromStr>(text: &str, key: &str) -> Option<T> {
    text.lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        .find_map(|rest| rest.split_whitespace().next()?.parse().ok())
}

/// The time behind `label`, in milliseconds: `took 2.5 ms`, `took 0.0025 seconds`.
fn millis_after(line: &str, label: &str) -> Result<f64> {
    let found = line.split_once(label).and_then(|(_, rest)| {
        let mut words = rest.split([' ', ',', ')']);
        let number: f64 = words.next()?.parse().ok()?;
        match words.next()? {
            "ms" => Some(number),
            "s" | "seconds" => Some(1e3 * number),
            _ => None,
        }
    });
    found.ok_or_else(|| anyhow!("no time behind `{label}` in `{line}`"))
}

/// In percent, with as many places as are taken, and not less.
fn percent_above(part: u64, whole: u64) -> String {
    let parts = (part * 1_000_000).div_ceil(whole);
    format!("{}.{:04}", parts / 10_000, parts % 10_000)
}

pub(crate) fn millis(span: Duration) -> f64 {
    1e3 * span.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "shown with one place")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// What our decisions took.
#[derive(Default)]
pub(crate) struct Took {
    all: Figures,
    choosing: Figures,
}

impl Took {
    pub(crate) const BEGINS: &str = "(read in ";

    /// Takes in what `line` says, and returns both together, in milliseconds.
    pub(crate) fn push(&mut self, line: &str) -> Result<f64> {
        let read = millis_after(line, Self::BEGINS)?;
        let choose = millis_after(line, "chosen in ")?;
        self.all.push(read + choose);
        self.choosing.push(choose);
        Ok(read + choose)
    }

    pub(crate) fn median(&self) -> f64 {
        self.all.median()
    }
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms, of which choosing {} ms", self.all, self.choosing)
    }
}

/// Figures of one kind.
#[derive(Default)]
pub(crate) struct Figures(pub(crate) Vec<f64>);

impl Figures {
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The middle one; of an even number, the greater of the two.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// The median, and between which they lie.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        write!(f, "{:.3} ({least:.3} to {most:.3})", self.median())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_its_unit() {
        let ours = "chose 1 of 3 candidates: so (read in 2.345 ms, chosen in 0.120 ms)";
        assert_eq!(millis_after(ours, "(read in ").unwrap(), 2.345);
        assert_eq!(millis_after(ours, "chosen in ").unwrap(), 0.12);
        let seconds = "selecting victim took 0.007 seconds";
        assert_eq!(millis_after(seconds, "took ").unwrap(), 7.0);
        for nonsense in ["took 3 minutes", "took ms", "took 3", "gave 3 ms"] {
            assert!(millis_after(nonsense, "took ").is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_field_is_the_one_of_that_name() {
        let text = "SwapCached: 3 kB\nCached:\t 4 kB\nThreads:\t5\n";
        assert_eq!(field(text, "Cached"), Some(4));
        assert_eq!(field(text, "Threads"), Some(5));
        assert_eq!(field::<u64>(text, "Swap"), None);
    }

    #[test]
    fn free_pages_in_the_lists_of_each_cpu_are_counted() {
        let zoneinfo = "Node 0, zone Normal\n  pages free 900\n  pagesets\n    cpu: 0\n\
                        \x20             count: 20\n              high:  42\n    cpu: 1\n\
                        \x20             count: 3\n";
        assert_eq!(listed_pages(zoneinfo), 23);
        assert_eq!(listed_pages(""), 0);
    }

    #[test]
    fn a_recovery_level_is_never_rounded_down() {
        assert_eq!(percent_above(1, 8), "12.5000");
        assert_eq!(percent_above(1, 3), "33.3334");
        assert_eq!(percent_above(1, 3_000_000), "0.0001");
    }

    #[test]
    fn the_median_is_the_middle_one() {
        let figures = Figures(vec![9.0, 1.0, 5.0]);
        assert_eq!(figures.median(), 5.0);
        assert_eq!(figures.to_string(), "5.000 (1.000 to 9.000)");
    }

    #[test]
    fn what_a_program_says_is_heard_line_by_line_until_it_ends() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; echo three"]);
        let running = Running::start(command).unwrap();
        assert_eq!(running.line_with("tw").unwrap(), "two");
        assert_eq!(running.line_beginning("three").unwrap(), "three");
        let err = running.line_with("four").unwrap_err();
        assert_eq!(err.to_string(), "`sh` has ended");
    }

    #[test]
    fn our_own_processor_time_and_memory_can_be_read() {
        let ourselves = std::process::id();
        assert!(processor_time(ourselves).unwrap() > Duration::ZERO);
        let status = status(ourselves).unwrap();
        assert!(0 < status.anon_kib && status.anon_kib < status.rss_kib);
        assert!(Meminfo::open().unwrap().available_kib().unwrap() > 0);
        assert!(processes().unwrap() > 0);
    }
}
