//! The built daemon with its main thread stopped, as if it waited for ever.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal;
use support::{Daemon, Process, Running, Stage, Stopped};

/// At or below 5 % (200 MiB of 4000) it kills, at or below 10 % it warns.
const NEARLY_FULL: u64 = 150;
const WARN: u64 = 350;
/// Below half of all, so that a change has the processes looked at.
const SOME: u64 = 1000;
const PLENTY: u64 = 2000;
/// What does not come within so many milliseconds does not come.
const LIMIT: u16 = 60_000;

/// Each look at memory, by whichever thread.
struct Looks(Inotify);

impl Looks {
    fn at(stage: &Stage) -> Self {
        let looks = Inotify::init(InitFlags::IN_CLOEXEC).expect("inotify(7)");
        looks
            .add_watch(&stage.path("meminfo"), AddWatchFlags::IN_OPEN)
            .expect("it is there");
        Self(looks)
    }

    fn wait_for(&self, count: usize) {
        for _ in 0..count {
            let mut looked = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            let count = poll(&mut looked, PollTimeout::from(LIMIT)).expect("poll(2) works");
            assert_eq!(count, 1, "it does not look");
            self.0.read_events().expect("there are some");
        }
    }
}

/// A daemon that has seen processes of these values, and looked at them since.
fn seen<const N: usize>(
    stage: &Stage,
    arguments: &[&str],
    values: [u32; N],
) -> (Daemon, [Process; N]) {
    let arguments = [&["-r", "1"], arguments].concat();
    let mut daemon = stage.daemon(&arguments);
    let processes = values.map(|value| {
        let process = stage.process(value);
        daemon.line_with(&format!("process {} is registered", process.pid()));
        process
    });
    stage.set_available(SOME);
    // The status is said when a round is over.
    daemon.line_with(&format!("memory {SOME} of 4000 MiB"));
    (daemon, processes)
}

#[test]
fn while_the_loop_hangs_the_least_valuable_is_killed_and_when_it_is_back_it_counts_that() {
    let stage = Stage::new();
    let (mut daemon, [mut nine, mut five, mut one]) = seen(&stage, &[], [9, 5, 1]);
    let Some(stopped) = Stopped::stop(&daemon) else {
        return;
    };
    stage.set_available(NEARLY_FULL);
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
    stage.set_available(PLENTY);
    let said = daemon.line_with("signal=SIGKILL");
    let first = format!("kill pid={} signal=SIGKILL name=test_proc1", one.pid());
    assert!(
        said.contains(&first) && said.contains(" value=1 "),
        "{said}"
    );
    assert!(said.contains("memory 150 of 4000 MiB available"), "{said}");
    assert!(said.contains("main loop stalled for "), "{said}");

    drop(stopped);
    daemon.line_with(&format!("gone pid={} name=test_proc1", one.pid()));
    let freed = daemon.line_with("freed");
    assert!(freed.contains(" 150 MiB before, 2000 MiB after"), "{freed}");
    // Were memory so slow to come back, the next would have gone as well.
    let value = if five.lives() { 1 } else { 6 };
    let sum = format!("sum of values lost: {value}");
    assert!(freed.ends_with(&sum), "{freed}");
    assert!(nine.lives());

    // Now the loop kills by itself, and leaves nothing to the watchdog.
    stage.set_available(NEARLY_FULL);
    let said = daemon.line_with("signal=SIGKILL");
    assert!(!said.contains("main loop"), "{said}");
    stage.set_available(PLENTY);
    let (status, heard) = daemon.end_by(Signal::SIGTERM);
    assert!(status.success(), "{heard:#?}");
}

#[test]
fn a_kill_of_the_watchdogs_is_told_wherever_others_are() {
    let stage = Stage::new();
    let journal = stage.path("journal");
    let journal = journal.to_str().expect("plain");
    let called = stage.path("called");
    let hook = format!("echo $USER_OOM_PID >> {}", called.display());
    let hook = stage.script("before", &hook);
    let arguments = ["--journal", journal, "-P", &hook];
    let (mut daemon, [nine, one]) = seen(&stage, &arguments, [9, 1]);
    let ctl = || {
        let mut command = Command::new(stage.program("user-oomctl"));
        command.arg("--socket").arg(stage.socket());
        command
    };
    let mut watch = Running::start(ctl().arg("watch"));
    watch.line_with("Z level ok");
    let Some(stopped) = Stopped::stop(&daemon) else {
        return;
    };
    stage.set_available(NEARLY_FULL);
    daemon.line_with("signal=SIGKILL");
    stage.set_available(PLENTY);
    drop(stopped);
    let kill = watch.line_with("Z kill ");
    let victim = format!("kill {} test_proc1 (value 1) SIGKILL", one.pid());
    assert!(kill.contains(&victim), "{kill}");
    assert!(kill.contains("main loop stalled"), "{kill}");
    daemon.line_with("freed");
    // What hooks are still to be run, the end waits for.
    let (status, heard) = daemon.end_by(Signal::SIGTERM);
    assert!(status.success(), "{heard:#?}");
    let kills = heard.iter().filter(|line| line.contains("signal=SIGKILL"));
    let killed = kills.count();
    let called = fs::read_to_string(called).expect("a hook has run");
    let called: Vec<_> = called.lines().collect();
    assert_eq!(called.len(), killed, "{heard:#?}");
    assert!(called.contains(&&*one.pid().to_string()), "{called:?}");

    let report = ctl().args(["report", journal]).output();
    let report = String::from_utf8(report.expect("it was built").stdout).expect("plain");
    // Were memory so slow to come back, the other would have gone as well.
    let outcome = match killed {
        1 => "1 process killed, 0 paused; value lost 1, kept 9.",
        _ => "2 processes killed, 0 paused; value lost 10, kept 0.",
    };
    assert!(report.contains(outcome), "no `{outcome}` in {report}");
    let row = format!("data-name=\"Pid\">{}<", one.pid());
    let row = report.lines().find(|line| line.contains(&row));
    assert!(row.is_some_and(|row| row.contains(">SIGKILL ")), "{row:?}");
    drop(nine);
}

#[test]
fn a_process_that_registers_just_before_the_loop_hangs_is_killed_before_what_is_worth_more() {
    let stage = Stage::new();
    let (mut daemon, [mut nine]) = seen(&stage, &[], [9]);
    // It is not a candidate yet.
    let mut five = stage.unregistered();
    // Processes have just been looked at when that is refused.
    let refused = stage.told("Relief");
    assert!(refused.contains("io.user-oom.Control."), "{refused}");
    fs::write(stage.entry(five.pid()), "5\n").expect("the registry is ours");
    daemon.line_with(&format!("process {} is registered", five.pid()));
    // It is in the will within 200 ms, by the end of a look.
    let (looks, registered) = (Looks::at(&stage), Instant::now());
    while registered.elapsed() < Duration::from_millis(400) {
        looks.wait_for(1);
    }
    looks.wait_for(2);
    let Some(stopped) = Stopped::stop(&daemon) else {
        return;
    };
    stage.set_available(NEARLY_FULL);
    let said = daemon.line_with("signal=SIGKILL");
    stage.set_available(PLENTY);
    assert!(said.contains(" value=5 "), "{said}");
    assert_eq!(five.killed_by(), Some(Signal::SIGKILL as i32));
    assert!(nine.lives());
    drop(stopped);
    let (status, heard) = daemon.end_by(Signal::SIGTERM);
    assert!(status.success(), "{heard:#?}");
}

#[test]
fn above_the_kill_threshold_the_watchdog_only_looks() {
    let stage = Stage::new();
    let (daemon, [mut one]) = seen(&stage, &[], [1]);
    let Some(stopped) = Stopped::stop(&daemon) else {
        return;
    };
    stage.set_available(WARN);
    Looks::at(&stage).wait_for(3);
    assert!(one.lives());
    // The loop is back before anything else is due.
    stage.set_available(PLENTY);
    drop(stopped);
    let (status, heard) = daemon.end_by(Signal::SIGTERM);
    assert!(status.success(), "{heard:#?}");
    assert!(
        !heard.iter().any(|line| line.contains("signal=SIGKILL")),
        "{heard:#?}"
    );
}

#[test]
fn in_a_dry_run_it_is_only_said() {
    let stage = Stage::new();
    let (mut daemon, [mut nine, mut one]) = seen(&stage, &["--dryrun"], [9, 1]);
    let Some(stopped) = Stopped::stop(&daemon) else {
        return;
    };
    stage.set_available(NEARLY_FULL);
    let said = daemon.line_with("signal=SIGKILL");
    assert!(said.contains(&one.pid().to_string()), "{said}");
    assert!(said.contains(" would-kill "), "{said}");
    assert!(said.contains("main loop stalled for "), "{said}");
    drop(stopped);
    let (status, _) = daemon.end_by(Signal::SIGTERM);
    assert!(status.success());
    assert!(one.lives() && nine.lives());
}
