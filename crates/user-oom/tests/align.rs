//! The built daemon, and `oom_score_adj` of what it would kill next.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Daemon, Process, Stage};

/// At or below 10 % (400 MiB of 4000) it warns; it recovers at 12 %, 480 MiB.
const WARN: u64 = 350;
const SHORT: u64 = 450;
const PLENTY: u64 = 3000;
const ENOUGH: u64 = 1000;

fn oom_score_adj(pid: u32) -> i16 {
    let mut file = File::open(format!("/proc/{pid}/oom_score_adj")).expect("it runs");
    // Once: the kernel writes the number anew for each read.
    let mut text = [0; 16];
    let len = file.read(&mut text).expect("it runs");
    let text = str::from_utf8(&text[..len]).expect("plain");
    text.trim().parse().expect("a number")
}

fn adjs<const N: usize>(processes: &[Process; N]) -> [i16; N] {
    processes
        .each_ref()
        .map(|process| oom_score_adj(process.pid()))
}

/// Waits until `found` finds what is wanted.
#[track_caller]
fn wait_for<T: PartialEq + std::fmt::Debug>(want: T, mut found: impl FnMut() -> T) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let found = found();
        if found == want {
            return;
        }
        assert!(Instant::now() < until, "it stays {found:?}, not {want:?}");
        thread::yield_now();
    }
}

/// A daemon, with these arguments, and processes of these values. They are there
/// when it begins, so nothing is known of their growth.
fn known<const N: usize>(
    stage: &Stage,
    arguments: &[&str],
    values: [u32; N],
) -> (Daemon, [Process; N]) {
    let processes = values.map(|value| stage.process(value));
    let arguments = [&["-r", "0.1"], arguments].concat();
    (stage.daemon(&arguments), processes)
}

/// Has so much be available, and waits until the daemon has seen that.
fn set_seen(stage: &Stage, daemon: &mut Daemon, available_mib: u64) {
    stage.set_available(available_mib);
    // Said at the end of a round; what that has led to is done by the next.
    for _ in 0..3 {
        daemon.line_with(&format!("memory {available_mib} of 4000 MiB"));
    }
}

fn memo(stage: &Stage) -> PathBuf {
    stage.path("socket.aligned")
}

#[test]
fn while_memory_is_short_what_is_killed_next_is_raised_and_only_then() {
    let stage = Stage::new();
    let (mut daemon, processes) = known(&stage, &[], [1, 5, 9]);
    let unregistered = stage.unregistered();
    let before = adjs(&processes);
    set_seen(&stage, &mut daemon, ENOUGH);
    assert_eq!(adjs(&processes), before);
    assert!(!memo(&stage).exists());

    stage.set_available(SHORT);
    wait_for([1000, 500, before[2]], || adjs(&processes));
    assert_eq!(oom_score_adj(unregistered.pid()), before[0]);
    assert!(memo(&stage).exists());

    stage.set_available(PLENTY);
    wait_for(before, || adjs(&processes));
    wait_for(false, || memo(&stage).exists());
}

#[test]
fn it_follows_the_choice() {
    let stage = Stage::new();
    let (_daemon, processes) = known(&stage, &[], [2, 5, 9]);
    let before = adjs(&processes);
    stage.set_available(SHORT);
    wait_for([1000, 500, before[2]], || adjs(&processes));
    let one = stage.unregistered();
    fs::write(stage.entry(one.pid()), "1\n").expect("the registry is ours");
    wait_for(([500, before[1], before[2]], 1000), || {
        (adjs(&processes), oom_score_adj(one.pid()))
    });
    fs::write(stage.entry(processes[2].pid()), "0\n").expect("the registry is ours");
    wait_for(([before[0], before[1], 1000], 500), || {
        (adjs(&processes), oom_score_adj(one.pid()))
    });
    drop(one);
    wait_for([500, before[1], 1000], || adjs(&processes));
}

#[test]
fn one_that_is_dying_stays_first() {
    let stage = Stage::new();
    let (mut daemon, processes) = known(&stage, &["--grace", "600"], [1, 5, 9]);
    let before = adjs(&processes);
    stage.set_available(WARN);
    daemon.line_with("signal=SIGTERM");
    wait_for([1000, 500, before[2]], || adjs(&processes));
}

#[test]
fn a_stopped_process_is_raised_too() {
    let stage = Stage::new();
    let (daemon, processes) = known(&stage, &[], [1, 9]);
    let before = adjs(&processes);
    let stopped = i32::try_from(processes[0].pid()).expect("a pid");
    let stopped = nix::unistd::Pid::from_raw(stopped);
    #[expect(clippy::disallowed_methods, reason = "it is a child of ours")]
    nix::sys::signal::kill(stopped, Signal::SIGSTOP).expect("it runs");
    stage.set_available(SHORT);
    wait_for([1000, 500], || adjs(&processes));
    drop(daemon.end_by(Signal::SIGTERM));
    assert_eq!(adjs(&processes), before);
}

#[track_caller]
fn check_leaves_alone(arguments: &[&str]) {
    let stage = Stage::new();
    let (mut daemon, processes) = known(&stage, arguments, [1, 9]);
    let before = adjs(&processes);
    set_seen(&stage, &mut daemon, SHORT);
    assert_eq!(adjs(&processes), before);
    assert!(!memo(&stage).exists());
}

#[test]
fn asked_to_it_raises_nothing() {
    check_leaves_alone(&["--no-align-kernel"]);
}

#[test]
fn in_a_dry_run_it_raises_nothing() {
    check_leaves_alone(&["--dryrun"]);
}

#[test]
fn what_was_raised_is_put_back_when_the_daemon_ends_unless_it_was_changed_since() {
    let stage = Stage::new();
    let (daemon, processes) = known(&stage, &[], [1, 5, 9]);
    let before = adjs(&processes);
    stage.set_available(SHORT);
    wait_for([1000, 500, before[2]], || adjs(&processes));
    fs::write(format!("/proc/{}/oom_score_adj", processes[0].pid()), "300").expect("ours");
    let (status, heard) = daemon.end_by(Signal::SIGTERM);
    assert!(status.success(), "{heard:#?}");
    assert_eq!(adjs(&processes), [300, before[1], before[2]]);
    assert!(!memo(&stage).exists());
}

#[track_caller]
fn check_put_back_by_the_next(arguments: &[&str]) {
    let stage = Stage::new();
    let (daemon, processes) = known(&stage, &[], [1, 5, 9]);
    let before = adjs(&processes);
    stage.set_available(SHORT);
    wait_for([1000, 500, before[2]], || adjs(&processes));
    drop(daemon.end_by(Signal::SIGKILL));
    assert_eq!(adjs(&processes), [1000, 500, before[2]]);
    stage.set_available(PLENTY);
    let _next = stage.daemon(arguments);
    wait_for(before, || adjs(&processes));
    wait_for(false, || memo(&stage).exists());
}

#[test]
fn what_a_killed_daemon_had_raised_is_put_back_by_the_next() {
    check_put_back_by_the_next(&[]);
}

#[test]
fn also_by_one_that_raises_nothing() {
    check_put_back_by_the_next(&["--no-align-kernel"]);
    check_put_back_by_the_next(&["--dryrun"]);
}

/// A shell in a session of its own, which holds the memory of a shell.
struct Shell {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Shell {
    /// At each line, it does something and says a pid: of a child; of a
    /// grandchild that has lost its parent; of itself, once it executes something
    /// else.
    const SCRIPT: &str = r#"
        echo $$
        read line
        tail -f --pid="$1" /dev/null >/dev/null & echo $!
        read line
        (tail -f --pid="$1" /dev/null >/dev/null & echo $!)
        read line
        exec sh -c 'echo $$; read line'"#;

    fn start() -> Self {
        let mut child = Command::new("setsid")
            .args(["sh", "-c", Self::SCRIPT, "sh"])
            .arg(std::process::id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux");
        let said = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, said }
    }

    fn says(&mut self) -> u32 {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("it runs");
        line.trim().parse().expect("a pid")
    }

    fn goes_on(&mut self) -> u32 {
        let stdin = self.child.stdin.as_mut().expect("piped");
        stdin.write_all(b"\n").expect("it runs");
        self.says()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Already dead is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A shell that was raised, and what has inherited that.
fn raised_family(stage: &Stage) -> (Daemon, Shell, [u32; 3]) {
    let mut daemon = stage.daemon(&["-r", "0.1"]);
    let mut shell = Shell::start();
    let pid = shell.says();
    fs::write(stage.entry(pid), "1\n").expect("the registry is ours");
    daemon.line_with(&format!("process {pid} is registered"));
    stage.set_available(SHORT);
    wait_for(1000, || oom_score_adj(pid));
    let child = shell.goes_on();
    let orphan = shell.goes_on();
    assert_eq!(shell.goes_on(), pid, "it is another program by now");
    let family = [pid, child, orphan];
    assert_eq!(family.map(oom_score_adj), [1000; 3]);
    (daemon, shell, family)
}

#[test]
fn what_has_inherited_it_is_put_back_too() {
    let before = oom_score_adj(std::process::id());
    let stage = Stage::new();
    let (_daemon, _shell, family) = raised_family(&stage);
    stage.set_available(PLENTY);
    wait_for([before; 3], || family.map(oom_score_adj));
}

#[test]
fn also_where_what_was_raised_has_ended_and_the_daemon_was_killed() {
    let before = oom_score_adj(std::process::id());
    let stage = Stage::new();
    let (daemon, shell, [_, child, orphan]) = raised_family(&stage);
    drop(daemon.end_by(Signal::SIGKILL));
    drop(shell);
    stage.set_available(PLENTY);
    let _next = stage.daemon(&[]);
    wait_for([before; 2], || [child, orphan].map(oom_score_adj));
}
