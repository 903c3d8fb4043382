//! The walk-through: what a user does who tries user-oom for the first time.
//!
//! The module is inserted; user-oom and psi-monitor run; `bash testproc.sh`
//! starts two machine-learning jobs, and once they are at work the two test
//! processes, until memory runs out. The script and the jobs run in a Debian
//! with PyTorch and OpenCV on `/dev/vda`, in whose root the rest of the machine
//! is mounted.
//!
//! # Sizes
//!
//! Values are 9 and 7 for the jobs, 8 and 5 for the test processes. There is no
//! swap. Memory ends at 10 % available and is enough again at 30 %. The jobs,
//! with 200 and 300 MiB of data and some 125 and 45 MiB of their packages', leave
//! more than the one and less than the other of 992 MiB: so ending the two test
//! processes is not enough, and the job of lesser value goes with them. It is the
//! larger one too, so that no choice can be better that ends the other instead.
//! With 1536 MiB both jobs leave more than is enough, and both stay.
//!
//! An emulated machine is tens of times slower than another: a grace of 30 s
//! here is one of 5 s there, and the kernel waits 5 s for an answer.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, mount, mount_bind};
use rustix::process::Signal;

use crate::guest::files::{kernel_kills, meminfo_bytes, text};
use crate::guest::module::Module;
use crate::guest::probe::{Probe, middle};
use crate::guest::program::Program;
use crate::guest::timeline::{Levels, Timeline};
use crate::guest::{Report, say_on_console, wait};

/// Where Debian is mounted.
const DEBIAN: &str = "/debian";

/// Where the repository is, seen from within Debian and from without.
const REPOSITORY: &str = "/user-oom";

/// To import PyTorch and OpenCV and to load the data, on a busy host.
const LOADING: Duration = Duration::from_secs(900);

/// For memory to run out and to come back.
const LIMIT: Duration = Duration::from_secs(240);

/// What the jobs go through.
const WORKING_SETS_MEBIBYTES: &str = "200,300";

/// Where programs of this room print.
const TERMINALS: [&str; 5] = ["daemon", "monitor", "testproc", "slow", "resumed"];

/// Where the timeline of a walk is left.
const TIMELINE: &str = "timeline";

/// What the daemon is told.
const DAEMON: &[&str] = &["--registered-only", "--grace", "30", "--recover", "30"];

/// The daemon's own, but for the last, which is as above.
const LEVELS: Levels = Levels {
    warn: 10,
    kill: 5,
    recover: 30,
};

/// Longest that starting a small program may take while memory runs out.
const LONGEST_PROBE: Duration = Duration::from_secs(2);

/// The values of all four.
const VALUES: [(&str, u64); 4] = [
    ("ml_test1", 9),
    ("ml_test2", 7),
    ("test_proc1", 8),
    ("test_proc2", 5),
];

/// The job of the greatest value stays and works on; the other one and both
/// test processes go.
pub(super) fn one_job_fits_and_lives(report: &mut Report) -> Result<()> {
    in_debian(|| walk(&["ml_test1"], report))
}

/// With half a gibibyte more, both jobs stay.
pub(super) fn two_jobs_fit_and_live(report: &mut Report) -> Result<()> {
    in_debian(|| walk(&["ml_test1", "ml_test2"], report))
}

/// Where memory runs out slowly, the job that goes has saved before, and goes
/// on from there when it is started again.
pub(super) fn a_warned_job_saves_and_resumes(report: &mut Report) -> Result<()> {
    in_debian(|| save_and_resume(report))
}

/// Runs a scenario in a machine with Debian and the module.
fn in_debian(scenario: impl FnOnce() -> Result<()>) -> Result<()> {
    mount_debian()?;
    let module = Module::load("grace_ms=5000")?;
    let outcome = scenario();
    // What a person would have seen in the three terminals.
    for name in TERMINALS.into_iter().chain([TIMELINE]) {
        show(name);
    }
    outcome?;
    module.unload()
}

fn walk(survivors: &[&str], report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    let mut daemon = daemon()?;
    let mut monitor = terminal("monitor", "/bin/psi-monitor", &[])?;
    let timeline = Timeline::start(&VALUES, LEVELS, path("daemon"));
    let testproc = testproc(&[], report)?;
    timeline.begin();

    let lives = |name: &str| survivors.contains(&name);
    let probe = Probe::start();
    let outcome = wait::until("the others are gone", LIMIT, || {
        let said = text(path("testproc"))?;
        Ok(VALUES
            .iter()
            .all(|(name, _)| lives(name) || said.lines().any(|line| is_end_of(line, name))))
    });
    let times = probe.end();
    outcome?;
    report.figure("probes", times.len())?;
    report.figure("probe, p50", format!("{} ms", middle(&times).as_millis()))?;
    let longest = times.iter().max().copied().unwrap_or_default();
    report.figure("probe, longest", format!("{} ms", longest.as_millis()))?;

    let lost: u64 = VALUES
        .iter()
        .filter_map(|(name, value)| (!lives(name)).then_some(value))
        .sum();
    wait::until("the daemon has summed up", LIMIT, || {
        Ok(values_lost(&text(path("daemon"))?) >= lost)
    })?;
    for name in survivors {
        let before = told(name)?;
        wait::until("those who stay work on", LIMIT, || {
            Ok(told(name)? >= before + 5)
        })?;
    }
    fs::write(path(TIMELINE), timeline.end()?).context("cannot keep the timeline")?;
    report.figure(
        "available afterwards",
        format!("{} MiB", meminfo_bytes("MemAvailable")? >> 20),
    )?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    ensure!(longest <= LONGEST_PROBE, "a probe took {longest:?}");
    daemon.has_to_live("the daemon")?;
    monitor.has_to_live("the monitor")?;

    testproc.end(Signal::INT)?;
    let said = text(path("testproc"))?;
    for (name, _) in VALUES {
        let fate = if lives(name) {
            "survived"
        } else {
            "was killed by SIG"
        };
        let row = format!("  {name}  ");
        let last = said.lines().rfind(|line| line.contains(&row));
        let last = last.with_context(|| format!("{name} is not in the table"))?;
        ensure!(last.contains(fate), "not `{fate}`, but `{last}`");
    }
    let sum = values_lost(&text(path("daemon"))?);
    ensure!(sum == lost, "the daemon says it gave up {sum}, not {lost}");
    monitor.end(Signal::TERM)?;
    daemon.end(Signal::TERM)
}

fn save_and_resume(report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    let daemon = daemon()?;
    let testproc = testproc(&["--ml-only"], report)?;
    // Worth more than the jobs even where it counts half for growing.
    let slow = ["--value", "40", "--rate-mib-s", "1"];
    let mut slow = terminal("slow", "/bin/test_proc2", &slow)?;
    wait::until("the job of lesser value is gone", LIMIT, || {
        let said = text(path("testproc"))?;
        Ok(said.lines().any(|line| is_end_of(line, "ml_test2")))
    })?;
    let said = text(path("testproc"))?;
    let mut lines = said.lines().filter(|line| line.contains("ml_test2"));
    let saved = lines.find(|line| line.contains("SIGTERM: checkpoint after"));
    let saved = saved.context("it has not saved before it went")?;
    report.figure("saved", saved)?;
    ensure!(
        said.contains(") was killed by SIGTERM"),
        "it did not end by the warning, but by force"
    );
    slow.has_to_live("the slow one")?;
    slow.end(Signal::INT)?;

    let resume = ["chroot", DEBIAN, "/user-oom/ml_tests/ml_test2", "--resume"];
    let resumed = terminal("resumed", "/bin/busybox", &resume)?;
    wait::until("it goes on from there", LOADING, || {
        Ok(text(path("resumed"))?.contains("frames/s"))
    })?;
    let said = text(path("resumed"))?;
    let line = said.lines().find(|line| line.contains("resumes in pass"));
    let line = line.context("it begins anew")?;
    report.figure("resumed", line)?;
    let frame = |line: &str| {
        let (_, rest) = line.split_once("frame ")?;
        rest.split(' ').next()?.parse::<u32>().ok()
    };
    ensure!(
        frame(line).is_some() && frame(line) == frame(saved),
        "it goes on elsewhere"
    );
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    resumed.end(Signal::TERM)?;
    testproc.end(Signal::INT)?;
    daemon.end(Signal::TERM)
}

fn daemon() -> Result<Program> {
    let daemon = terminal("daemon", "/bin/user-oom", DAEMON)?;
    wait::until("the daemon answers", LIMIT, || {
        let check = Command::new("/bin/psi-monitor").arg("--check").output()?;
        Ok(check.status.success())
    })?;
    Ok(daemon)
}

/// `bash testproc.sh`, once all that it starts are at work.
fn testproc(arguments: &[&str], report: &mut Report) -> Result<Program> {
    let script = format!("{REPOSITORY}/testproc.sh");
    let mut bash = vec![
        "chroot",
        DEBIAN,
        "/bin/bash",
        &script,
        "--working-set-mib",
        WORKING_SETS_MEBIBYTES,
    ];
    bash.extend(arguments);
    let start = Instant::now();
    let testproc = terminal("testproc", "/bin/busybox", &bash)?;
    let mut available = 0;
    wait::until("the jobs are at work", LOADING, || {
        // The last look before the test processes begin.
        if !text(path("testproc"))?.contains("test_proc") {
            available = meminfo_bytes("MemAvailable")?;
        }
        Ok(text(path("testproc"))?.contains("Ctrl-C ends them"))
    })?;
    report.figure("jobs at work", format!("{} s", start.elapsed().as_secs()))?;
    report.figure("available to the rest", format!("{} MiB", available >> 20))?;
    Ok(testproc)
}

/// The rest of the machine, seen from within Debian.
fn mount_debian() -> Result<()> {
    let options: Option<&std::ffi::CStr> = None;
    mount("/dev/vda", DEBIAN, "ext4", MountFlags::empty(), options)
        .context("cannot mount Debian")?;
    for directory in ["/proc", "/sys", "/dev", "/tmp", "/run", REPOSITORY] {
        let at = format!("{DEBIAN}{directory}");
        fs::create_dir_all(&at).with_context(|| format!("cannot make `{at}`"))?;
        mount_bind(directory, &at).with_context(|| format!("cannot mount `{at}`"))?;
    }
    // What cargo would have built.
    let built = format!("{DEBIAN}{REPOSITORY}/target/release");
    mount_bind("/bin", &built).with_context(|| format!("cannot mount `{built}`"))
}

/// Starts a program with its output in a file: a terminal that never fills.
fn terminal(name: &str, program: &str, arguments: &[&str]) -> Result<Program> {
    let run = format!("exec \"$0\" \"$@\" >{} 2>&1", path(name));
    let mut shell = Command::new("/bin/busybox");
    shell.args(["sh", "-c", &run, program]).args(arguments);
    shell.env("PATH", "/usr/sbin:/usr/bin").env("HOME", "/root");
    fs::write(path(name), "").context("cannot make a file")?;
    Program::start(&mut shell)
}

fn path(name: &str) -> String {
    format!("/tmp/{name}.terminal")
}

fn show(name: &str) {
    let said = fs::read_to_string(path(name)).unwrap_or_default();
    say_on_console(&format!("--- {name}\n{said}--- end of {name}"));
}

/// Whether testproc.sh says with this line that this process is gone.
fn is_end_of(line: &str, name: &str) -> bool {
    line.starts_with(&format!("testproc: {name} (")) && line.contains(" was killed by SIG")
}

/// The values that the daemon says were lost, in all.
fn values_lost(said: &str) -> u64 {
    said.lines()
        .filter_map(|line| line.split_once("sum of values lost: "))
        .filter_map(|(_, value)| value.trim().parse::<u64>().ok())
        .sum()
}

/// How often a job has told how far it is.
fn told(name: &str) -> Result<usize> {
    let said = text(path("testproc"))?;
    let who = format!("{name} [");
    let is_progress = |line: &&str| line.starts_with(&who) && line.ends_with("s/s");
    Ok(said.lines().filter(is_progress).count())
}

#[cfg(test)]
mod tests {
    use super::{DAEMON, LEVELS, is_end_of, values_lost};

    #[test]
    fn the_sums_of_several_rounds_are_added() {
        let said = "freed 3 MiB from 1 process; sum of values lost: 5\nelse\n\
                    freed 3 MiB from 2 processes; sum of values lost: 15\n";
        assert_eq!(values_lost(said), 20);
        assert_eq!(values_lost("nothing"), 0);
    }

    #[test]
    fn an_end_is_told_by_the_script_and_not_by_the_process() {
        let line = "testproc: ml_test2 (77) was killed by SIGTERM";
        assert!(is_end_of(line, "ml_test2"));
        assert!(!is_end_of(line, "ml_test1"));
        assert!(!is_end_of("ml_test2 [77] SIGTERM: checkpoint", "ml_test2"));
    }

    #[test]
    fn the_timeline_has_the_recovery_level_that_the_daemon_is_told() {
        let told = DAEMON.windows(2).find(|pair| pair[0] == "--recover");
        let told = told.map(|pair| pair[1].to_owned());
        assert_eq!(told, Some(LEVELS.recover.to_string()));
    }
}
