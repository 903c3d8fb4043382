//! What our daemon costs and how soon it answers, at rest and while others do
//! what they can against it, beside the bounds.
//!
//! No process is killed but those started here: the daemons have no candidates
//! or registered ones only, in registries of their own. Prints figures, without a
//! verdict: machines differ, and a busy one shows times that are not ours.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::beside::{
    Crowd, DECISIONS, Figures, LIMIT, Ours, PROC, PROCESSES, REST, Running, Took, WINDOW, field,
    load, millis, processes, processor_time, read, status, thread_time, write,
};
use crate::chore::{Chore, say, step};

/// What is started to be looked at at start.
const MANY: usize = 3000;
const STARTS: usize = 5;
/// How often something is asked.
const ASKS: usize = 20;
const WINDOWS: usize = 2;
/// Who does what others can do.
const STRANGER: u32 = 65_534;
const CONNECTIONS: &str = "400";
const CHURNED: &str = "900";
const CHURN_MILLIS: &str = "70";
/// For how long it is watched.
const CHURN: Duration = Duration::from_secs(10);
/// How often two daemons decide beside each other.
const WATCHED_DECISIONS: usize = 30;
const SUBSCRIBERS: usize = 4;
/// Values are from 1 to this.
const VALUES: u32 = 20;
/// After which a plan is made anew.
const PLAN_AGE: Duration = Duration::from_millis(300);
/// Killed together.
const VICTIMS: usize = 40;
/// Held by one of them, so that they are worth a kill.
const HELD_MIB: &str = "300";

/// Available on the machine that the meminfo file tells of.
const PLENTY_MIB: u64 = 2000;
/// Below the warn threshold.
const SHORT_MIB: u64 = 350;

/// With the programs, and the workspace's folder.
type Part = fn(&Ours, &Path) -> Result<()>;

/// Runs all parts and prints their figures.
///
/// # Errors
///
/// What could not be built, started, read or understood.
pub(crate) fn run(root: &Path) -> Result<()> {
    let build = [
        "build",
        "--release",
        "--package=user-oom",
        "--package=user-oomctl",
        "--package=psi-monitor",
        "--package=test_procs",
        "--package=control",
    ];
    Chore::new("cargo", build).run("programs", root)?;
    let ours = Ours::open()?;
    // What is in it is no secret, and others are to reach the sockets.
    let everyone = fs::Permissions::from_mode(0o755);
    fs::set_permissions(ours.path("."), everyone).context("cannot open the folder to others")?;
    let parts: [(&str, Part); 8] = [
        ("a start", start),
        ("a daemon at rest", rest),
        ("decisions", decide),
        ("decisions that are watched", watched),
        ("plans", plans),
        ("idle connections", connections),
        ("a churn of registrations", churn),
        ("processes that cannot be read", unreadable),
    ];
    for (name, part) in parts {
        step(name, "cargo xtask arena --cost", || part(&ours, root))?;
    }
    Ok(())
}

/// One row: what was measured, its bound, and what it came to.
fn row(what: &str, bound: &str, figures: impl fmt::Display) -> Result<()> {
    say(format_args!("  {what:<44}  {bound:<10}  {figures}"))
}

fn begin() -> Result<()> {
    say(format_args!("  {} processes, {}", processes()?, load()?))
}

/// Until its first round is over.
fn start(ours: &Ours, _: &Path) -> Result<()> {
    let _crowd = Crowd::gather(MANY)?;
    begin()?;
    let (mut took, mut ran) = (Figures::default(), Figures::default());
    for _ in 0..STARTS {
        let mut daemon = ours.daemon("start");
        daemon.args(["--registered-only", "-r", "3600"]);
        let began = Instant::now();
        let daemon = Running::start(daemon)?;
        daemon.line_beginning("memory ")?;
        took.push(millis(began.elapsed()));
        ran.push(millis(processor_time(daemon.pid())?));
    }
    row("start", "1000 ms", format_args!("{took} ms"))?;
    row("  of which processor time", "", format_args!("{ran} ms"))
}

fn rest(ours: &Ours, _: &Path) -> Result<()> {
    let _crowd = Crowd::gather(PROCESSES)?;
    let mut daemon = ours.daemon("rest");
    daemon.args(["--registered-only", "-r", "3600"]);
    let daemon = Running::start(daemon)?;
    daemon.line_beginning("memory ")?;
    daemon.rest(REST)?;
    begin()?;
    let mut took = Figures::default();
    for _ in 0..WINDOWS {
        let before = processor_time(daemon.pid())?;
        daemon.rest(WINDOW)?;
        took.push(millis(processor_time(daemon.pid())?.saturating_sub(before)));
    }
    let seconds = WINDOW.as_secs();
    row(
        &format!("processor time in {seconds} s"),
        "3 ms",
        format_args!("{took} ms"),
    )?;
    row("the daemon", "4096 KiB", status(daemon.pid())?)?;
    let keeper = keeper_of(daemon.pid())?;
    let rollup = read(&Path::new(PROC).join(format!("{keeper}/smaps_rollup")))?;
    let pss_kib: u64 = field(&rollup, "Pss").context("`smaps_rollup` has no `Pss`")?;
    row(
        "its keeper",
        "",
        format_args!("{}, Pss {pss_kib} KiB", status(keeper)?),
    )
}

/// The one child that the daemon's threads have at rest.
fn keeper_of(daemon: u32) -> Result<u32> {
    child_of(daemon)?.context("the daemon has no keeper: is pausing off?")
}

/// The first child that a thread of `pid` has.
fn child_of(pid: u32) -> Result<Option<u32>> {
    let tasks = Path::new(PROC).join(format!("{pid}/task"));
    let listed =
        fs::read_dir(&tasks).with_context(|| format!("cannot list `{}`", tasks.display()))?;
    for task in listed {
        let children = read(&task?.path().join("children"))?;
        if let Some(child) = children.split_whitespace().next() {
            return child.parse().map(Some).context("a pid is a number");
        }
    }
    Ok(None)
}

/// A dry run, on a machine that lacks half of what the crowd holds.
fn deciding(ours: &Ours, name: &str, meminfo: &Path) -> Command {
    let mut daemon = ours.daemon(name);
    daemon.args(["--dryrun", "-m", "10,10", "--recover", "12"]);
    daemon.args(["--horizon", "0", "--pressure", "off", "-r", "0"]);
    daemon.arg("--meminfo").arg(meminfo);
    daemon
}

fn decide(ours: &Ours, _: &Path) -> Result<()> {
    let crowd = Crowd::gather(PROCESSES)?;
    begin()?;
    let meminfo = ours.short_by_half_of(&crowd)?;
    let daemon = || deciding(ours, "decide", &meminfo);
    let (mut first, mut later) = (Took::default(), Took::default());
    for _ in 0..DECISIONS {
        first.push(&Running::start(daemon())?.line_with(Took::BEGINS)?)?;
    }
    let running = Running::start(daemon())?;
    running.line_with(Took::BEGINS)?;
    for _ in 0..DECISIONS {
        later.push(&running.line_with(Took::BEGINS)?)?;
    }
    row("decision at start", "", first)?;
    row("decision of a running daemon", "", later)
}

/// Two daemons that decide beside each other, of which one is asked nothing and
/// the other has subscribers and is shown on a screen.
fn watched(ours: &Ours, _: &Path) -> Result<()> {
    let crowd = Crowd::gather(PROCESSES)?;
    let meminfo = ours.short_by_half_of(&crowd)?;
    let alone = Running::start(deciding(ours, "alone", &meminfo))?;
    let watched = Running::start(deciding(ours, "watched", &meminfo))?;
    for daemon in [&alone, &watched] {
        daemon.line_with(Took::BEGINS)?;
    }
    let ctl = ours.program("user-oomctl");
    let socket = ours.socket("watched");
    let subscribe = || {
        let mut watch = Command::new(&ctl);
        watch.arg("--socket").arg(&socket).arg("watch");
        Running::start(watch)
    };
    let _subscribers = (0..SUBSCRIBERS)
        .map(|_| subscribe())
        .collect::<Result<Vec<_>>>()?;
    let screen = Screen::start(&ctl, &socket)?;
    // The first decision of both with all of them there.
    for daemon in [&alone, &watched] {
        daemon.line_with(Took::BEGINS)?;
    }
    begin()?;
    let shown_before = processor_time(screen.top()?)?;
    let before = [loop_time(&alone)?, loop_time(&watched)?];
    let (mut by_itself, mut beside_them) = (Took::default(), Took::default());
    let mut ratios = Figures::default();
    for _ in 0..WATCHED_DECISIONS {
        let pair = [
            by_itself.push(&alone.line_with(Took::BEGINS)?)?,
            beside_them.push(&watched.line_with(Took::BEGINS)?)?,
        ];
        ratios.push(pair[1] / pair[0]);
    }
    let ran =
        |daemon, before| -> Result<f64> { Ok(millis(loop_time(daemon)?.saturating_sub(before))) };
    let ran = [ran(&alone, before[0])?, ran(&watched, before[1])?];
    let shown = millis(processor_time(screen.top()?)?.saturating_sub(shown_before));
    let ratio = beside_them.median() / by_itself.median();
    row("decision, unwatched", "", &by_itself)?;
    let what = format!("decision, {SUBSCRIBERS} subscribers and `top`");
    row(&what, "", &beside_them)?;
    row("  ratio of the medians", "1.05", format_args!("{ratio:.3}"))?;
    row("  ratios of the pairs", "", &ratios)?;
    row(
        "processor time of the loop meanwhile",
        "",
        format_args!(
            "{:.1} ms, {:.1} ms: ratio {:.3}",
            ran[0],
            ran[1],
            ran[1] / ran[0]
        ),
    )?;
    row("  of `top`", "", format_args!("{shown:.1} ms"))
}

/// How long it takes to hear what would be killed, where the daemon makes a new plan
/// for it, and where it has just made one: from the call to the answer, and to run
/// `user-oomctl plan`, which has to be started first.
fn plans(ours: &Ours, _: &Path) -> Result<()> {
    let crowd = Crowd::gather(PROCESSES)?;
    let meminfo = ours.machine_of(&crowd, 50)?;
    let mut daemon = deciding(ours, "plans", &meminfo);
    daemon.arg("--registered-only");
    let daemon = Running::start(daemon)?;
    daemon.line_with("socket")?;
    for (pid, number) in crowd.pids().zip(0_u32..) {
        let entry = ours.path("plans").join(pid.to_string());
        write(&entry, &format!("{}\n", 1 + number % VALUES))?;
        daemon.line_with(&format!("process {pid} is registered"))?;
    }
    begin()?;
    let socket = ours.socket("plans");
    let ctl = |word| {
        let mut ctl = Command::new(ours.program("user-oomctl"));
        ctl.arg("--socket").arg(&socket).arg(word);
        ask_once(&mut ctl)
    };
    let answer = || answer_to(&socket, "io.user-oom.Control.Plan");
    let plan = || ctl("plan");
    let asked: [(_, &dyn Fn() -> Result<f64>); 2] = [
        ("the answer to Plan", &answer),
        ("`user-oomctl plan`", &plan),
    ];
    for (what, ask) in asked {
        let (mut new, mut old) = (Figures::default(), Figures::default());
        for _ in 0..ASKS {
            daemon.rest(PLAN_AGE)?;
            new.push(ask()?);
            old.push(ask()?);
        }
        let what = format!("{what}, a new plan");
        row(&what, "20 ms", format_args!("{new} ms"))?;
        row("  once more at once", "20 ms", format_args!("{old} ms"))?;
    }
    // What every command takes.
    let mut status = Figures::default();
    for _ in 0..ASKS {
        daemon.rest(PLAN_AGE)?;
        status.push(ctl("status")?);
    }
    row("`user-oomctl status`", "", format_args!("{status} ms"))
}

/// How many milliseconds a call of `method` takes until all of its answer is there.
fn answer_to(socket: &Path, method: &str) -> Result<f64> {
    let daemon = UnixStream::connect(socket).context("cannot connect to the daemon")?;
    let limit = daemon.set_read_timeout(Some(LIMIT));
    limit.context("cannot limit how long an answer takes")?;
    let mut daemon = BufReader::new(daemon);
    let began = Instant::now();
    let call = format!("{{\"method\":\"{method}\"}}\0");
    let called = daemon.get_mut().write_all(call.as_bytes());
    called.context("cannot call the daemon")?;
    let mut answer = Vec::new();
    let heard = daemon.read_until(0, &mut answer);
    let took = millis(began.elapsed());
    heard.context("there is no answer")?;
    let answer = String::from_utf8_lossy(&answer);
    if !answer.ends_with('\0') || answer.contains("\"error\"") {
        bail!("expected an answer, got: {answer}");
    }
    Ok(took)
}

/// What the thread of `daemon` that decides has run for.
fn loop_time(daemon: &Running) -> Result<Duration> {
    let pid = daemon.pid();
    thread_time(&Path::new(PROC).join(format!("{pid}/task/{pid}/schedstat")))?
        .context("the daemon has ended")
}

/// `user-oomctl top` on a terminal of its own, which goes with this.
struct Screen(std::process::Child);

impl Screen {
    fn start(ctl: &Path, socket: &Path) -> Result<Self> {
        let shown = format!(
            "stty rows 24 columns 80; exec {} --socket {} top",
            ctl.display(),
            socket.display()
        );
        let child = Command::new("script")
            .args(["--quiet", "--command", &shown, "/dev/null"])
            .env("TERM", "xterm")
            // What it reads the end of, it types.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot run `script`")?;
        Ok(Self(child))
    }

    /// `top` itself.
    fn top(&self) -> Result<u32> {
        child_of(self.0.id())?.context("`top` has ended")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Its terminal goes with it, and `top` with that.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that ends when its standard input does, which is when it is dropped.
struct Stranger(std::process::Child);

impl Stranger {
    /// Starts it, and waits until it says `ready`.
    fn start(command: &mut Command, ready: &str) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run `{}`", command.get_program().display()))?;
        let mut said = vec![0; ready.len()];
        let stdout = child.stdout.as_mut().context("it is piped")?;
        let read = stdout.read_exact(&mut said);
        let stranger = Self(child);
        if read.is_err() || said != ready.as_bytes() {
            bail!("`{}` is not ready", command.get_program().display());
        }
        Ok(stranger)
    }

    fn of(root: &Path, words: &[&str]) -> Result<Self> {
        let mut command = Command::new("python3");
        command.arg(root.join("xtask/src/strangers.py"));
        command.arg(STRANGER.to_string()).args(words);
        Self::start(&mut command, "ready")
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A meminfo file of a machine with 4000 MiB, of which so much is available.
fn set_available(ours: &Ours, available_mib: u64) -> Result<PathBuf> {
    let text = format!(
        "MemTotal: 4096000 kB\nMemFree: 0 kB\nMemAvailable: {} kB\n",
        available_mib << 10
    );
    let (new, path) = (ours.path("new"), ours.path("meminfo"));
    write(&new, &text)?;
    fs::rename(&new, &path).context("cannot replace the meminfo file")?;
    Ok(path)
}

/// How long root waits for an answer while a user holds the public socket.
fn connections(ours: &Ours, _: &Path) -> Result<()> {
    let meminfo = set_available(ours, PLENTY_MIB)?;
    let daemon = Running::start(ours.staged("connections", &meminfo))?;
    daemon.line_with("socket")?;
    let socket = ours.socket("connections");
    let peer = ours.path("peer");
    fs::copy(ours.program("control-test-peer"), &peer).context("cannot copy a program")?;
    let mut idle = Command::new(&peer);
    idle.arg(&socket).args(["crowd", CONNECTIONS]);
    let _idle = Stranger::start(idle.uid(STRANGER).gid(STRANGER), "crowded")?;
    begin()?;
    for request in ["Relief", "Status"] {
        let took = ask(Command::new(&peer).arg(&socket).args(["ask", request]))?;
        let what = format!("{request}, behind {CONNECTIONS} idle connections");
        row(&what, "500 ms", format_args!("{took} ms"))?;
    }
    Ok(())
}

/// How long `command` takes, several times.
fn ask(command: &mut Command) -> Result<Figures> {
    let mut took = Figures::default();
    for _ in 0..ASKS {
        took.push(ask_once(command)?);
    }
    Ok(took)
}

/// How many milliseconds `command` takes.
fn ask_once(command: &mut Command) -> Result<f64> {
    let began = Instant::now();
    let said = command
        .output()
        .with_context(|| format!("cannot run `{}`", command.get_program().display()))?;
    let took = millis(began.elapsed());
    if !said.status.success() {
        let why = String::from_utf8_lossy(&said.stderr).into_owned();
        bail!("there was no answer: {why}");
    }
    Ok(took)
}

/// A kill while a user registers and withdraws hundreds of processes.
fn churn(ours: &Ours, root: &Path) -> Result<()> {
    let meminfo = set_available(ours, PLENTY_MIB)?;
    let told = ours.path("told");
    write(&told, "")?;
    let hook = ours.path("hook");
    let script = format!("#!/bin/sh\necho $USER_OOM_PID >> {}\n", told.display());
    write(&hook, &script)?;
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).context("cannot make a hook")?;
    let mut daemon = ours.staged("churn", &meminfo);
    daemon.args(["--grace", "0.1", "-N"]).arg(&hook);
    let daemon = Running::start(daemon)?;
    daemon.line_with("socket")?;
    let family = family(ours)?;
    let pid = family.pid();
    write(&ours.path("churn").join(pid.to_string()), "1\n")?;
    daemon.line_with(&format!("process {pid} is registered"))?;
    let registry = ours.path("churn");
    let registry = registry.to_str().context("the folder's name is UTF-8")?;
    let _churn = Stranger::of(root, &["churn", registry, CHURNED, CHURN_MILLIS])?;
    begin()?;

    let before = processor_time(daemon.pid())?;
    let began = Instant::now();
    daemon.rest(CHURN)?;
    let share = 100.0 * share_of(processor_time(daemon.pid())?.saturating_sub(before), began);
    row(
        &format!("{CHURNED} registrations, each {CHURN_MILLIS} ms"),
        "30 %",
        format_args!("{share:.1} % of a core"),
    )?;

    set_available(ours, SHORT_MIB)?;
    let mut signalled = 0;
    let ran = || read(&told).map(|told| told.lines().count());
    // Which of a line and its hook comes first is open.
    daemon.lines_until(Instant::now() + LIMIT, REST / 30, |line| {
        let line = line.unwrap_or_default();
        if line.contains(" signal=SIGTERM ") {
            signalled += 1;
        }
        // Nothing beyond the first choice.
        if line.contains(" kill pid=") {
            set_available(ours, PLENTY_MIB)?;
        }
        Ok((signalled >= VICTIMS && ran()? >= VICTIMS).then_some(()))
    })?;
    row(
        "SIGTERM lines, hooks",
        &format!("{VICTIMS}, {VICTIMS}"),
        format_args!("{signalled}, {}", ran()?),
    )
}

fn share_of(spent: Duration, since: Instant) -> f64 {
    spent.as_secs_f64() / since.elapsed().as_secs_f64()
}

/// A shell and its children, which end with it.
fn family(ours: &Ours) -> Result<Running> {
    let script = r#"
        for child in $(seq "$1"); do tail -f --pid=$$ /dev/null & done
        "$2" --max-mib "$3" --rate-mib-s 2000 --value 1 --registry "$4" &
        wait"#;
    let elsewhere = ours.path("elsewhere");
    fs::create_dir_all(&elsewhere).context("cannot make a folder")?;
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script, "sh"])
        .arg((VICTIMS - 2).to_string())
        .arg(ours.program("test_proc1"))
        .arg(HELD_MIB)
        .arg(elsewhere);
    let family = Running::start(shell)?;
    family.line_with("enough")?;
    Ok(family)
}

/// How long a check takes beside processes whose files make a reader wait.
fn unreadable(ours: &Ours, root: &Path) -> Result<()> {
    let mount = ours.path("mount");
    fs::create_dir(&mount).context("cannot make a folder")?;
    let mut hold = Command::new("python3");
    hold.arg(root.join("crates/user-oom/tests/support/hold_mmap_lock.py"))
        .arg(&mount)
        .args(["200", &STRANGER.to_string(), "root"]);
    let hold = Running::start(hold)?;
    let said = hold.line_with("")?;
    if !said.starts_with("held") {
        return say(format_args!("  skipped: no process can be held up: {said}"));
    }
    let _slow = Stranger::of(root, &["mappings", "270", "4"])?;
    let mut daemon = ours.daemon("unreadable");
    daemon.args(["--registered-only", "-r", "3600"]);
    let daemon = Running::start(daemon)?;
    daemon.line_with("socket")?;
    begin()?;
    let mut check = Command::new(ours.program("psi-monitor"));
    check
        .arg("--check")
        .arg("--socket")
        .arg(ours.socket("unreadable"));
    for when in ["at start", "later"] {
        let took = ask(&mut check)?;
        let what = format!("psi-monitor --check, {when}");
        row(&what, "200 ms", format_args!("{took} ms"))?;
        daemon.rest(REST)?;
    }
    Ok(())
}
