//! The built programs, each bounded: a test takes no more than a few MiB.

mod lines;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lines::Lines;

/// One of them at work. Ended when dropped.
struct Running {
    child: Child,
    lines: Lines,
}

impl Running {
    fn start(program: &str, registry: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(program)
            .arg("--registry")
            .arg(registry)
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be run");
        let lines = Lines::of(child.stdout.take().expect("it is piped"));
        Self { child, lines }
    }

    #[track_caller]
    fn line_with(&self, words: &str) -> String {
        self.lines.with(words)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a child that was not waited for keeps its pid"
    )]
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid is an i32");
        kill(Pid::from_raw(pid), signal).expect("it was not waited for");
    }

    fn entry(&self, registry: &Path) -> Option<String> {
        fs::read_to_string(registry.join(self.child.id().to_string())).ok()
    }

    fn end(mut self) -> ExitStatus {
        self.child.wait().expect("it is a child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const TEST_PROC1: &str = env!("CARGO_BIN_EXE_test_proc1");
const TEST_PROC2: &str = env!("CARGO_BIN_EXE_test_proc2");

#[test]
fn each_prints_its_pid_and_registers_its_own_value() {
    let registry = tempfile::tempdir().unwrap();
    for (program, value) in [(TEST_PROC1, 8), (TEST_PROC2, 5)] {
        let running = Running::start(program, registry.path(), &["--max-mib", "1"]);
        let line = running.line_with(&format!("PID {}", running.child.id()));
        assert!(line.contains(&format!("value {value}")), "{line}");
        let entry = running.entry(registry.path()).unwrap();
        assert_eq!(entry.split_whitespace().next(), Some(&*value.to_string()));
    }
}

#[test]
fn a_value_of_ones_own_is_taken() {
    let registry = tempfile::tempdir().unwrap();
    let args = ["--max-mib", "1", "--value", "123"];
    let running = Running::start(TEST_PROC2, registry.path(), &args);
    running.line_with("value 123");
    let entry = running.entry(registry.path()).unwrap();
    assert_eq!(entry.split_whitespace().next(), Some("123"));
}

#[test]
fn sigterm_is_ignored_and_said_so() {
    let registry = tempfile::tempdir().unwrap();
    let mut running = Running::start(TEST_PROC1, registry.path(), &["--max-mib", "1"]);
    running.line_with("PID");
    running.signal(Signal::SIGTERM);
    running.line_with("SIGTERM ignored");
    // Also once it holds still.
    running.line_with("stops growing");
    running.signal(Signal::SIGTERM);
    running.line_with("SIGTERM ignored");
    assert_eq!(running.child.try_wait().unwrap(), None);
}

#[test]
fn it_really_holds_what_it_took_and_stops_at_its_bound() {
    let registry = tempfile::tempdir().unwrap();
    let args = ["--max-mib", "24", "--rate-mib-s", "1000"];
    let running = Running::start(TEST_PROC1, registry.path(), &args);
    running.line_with("24 MiB, enough");
    let status = fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    let anonymous_kib: u64 = status
        .lines()
        .filter_map(|line| {
            let value = line
                .strip_prefix("RssAnon:")
                .or(line.strip_prefix("VmSwap:"))?;
            value.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        })
        .sum();
    assert!((24 * 1024..32 * 1024).contains(&anonymous_kib), "{status}");
}

#[test]
fn one_that_is_held_takes_nothing_before_its_signal_and_then_much_at_once() {
    let registry = tempfile::tempdir().unwrap();
    let args = ["--hold", "--at-once-mib", "20", "--max-mib", "24"];
    let running = Running::start(
        TEST_PROC1,
        registry.path(),
        &[&args[..], &["--rate-mib-s", "1"]].concat(),
    );
    running.line_with("PID");
    // Its answer to one signal says that it has not begun before the next.
    running.signal(Signal::SIGTERM);
    running.line_with("SIGTERM ignored");
    let held = || fs::read_to_string(format!("/proc/{}/statm", running.child.id())).unwrap();
    let pages = |statm: String| -> u64 { statm.split(' ').nth(1).unwrap().parse().unwrap() };
    assert!(pages(held()) < (10 << 20) / 4096, "it has taken some");
    running.signal(Signal::SIGUSR1);
    let line = running.line_with("MiB/s");
    let mib: u64 = line.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert!((20..=24).contains(&mib), "{line}");
    running.line_with("24 MiB, enough");
}

#[test]
fn it_says_once_a_second_how_much_and_how_fast() {
    let registry = tempfile::tempdir().unwrap();
    let args = ["--max-mib", "1000", "--rate-mib-s", "1"];
    let running = Running::start(TEST_PROC1, registry.path(), &args);
    let line = running.line_with("MiB/s");
    let words: Vec<&str> = line.split_whitespace().collect();
    let pid = format!("[{}]", running.child.id());
    assert!(
        matches!(words[..], ["test_proc1", who, _, "MiB", _, "MiB/s"] if who == pid),
        "{line}"
    );
}

#[test]
fn sigint_and_sighup_end_it_cleanly_with_its_entry() {
    for signal in [Signal::SIGINT, Signal::SIGHUP] {
        let registry = tempfile::tempdir().unwrap();
        let running = Running::start(TEST_PROC1, registry.path(), &["--max-mib", "1"]);
        running.line_with("PID");
        running.signal(signal);
        running.line_with(signal.as_str());
        assert!(running.end().success());
        assert_eq!(fs::read_dir(registry.path()).unwrap().count(), 0);
    }
}

#[test]
fn the_end_of_its_reader_ends_it_cleanly() {
    let registry = tempfile::tempdir().unwrap();
    let mut child = Command::new(TEST_PROC1)
        .arg("--registry")
        .arg(registry.path())
        .args(["--max-mib", "1000", "--rate-mib-s", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read_dir(registry.path()).unwrap().count(), 0);
}

#[test]
fn nonsense_is_refused_and_nothing_registered() {
    let registry = tempfile::tempdir().unwrap();
    for args in [
        ["--max-mib", "0"],
        ["--max-mib", "-1"],
        ["--rate-mib-s", "0"],
        ["--rate-mib-s", "fast"],
        ["--at-once-mib", "-1"],
        ["--value", "1000001"],
        ["--value", "1e3"],
    ] {
        let output = Command::new(TEST_PROC2)
            .arg("--registry")
            .arg(registry.path())
            .args(args)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(args[0]), "{args:?}: {said}");
    }
    assert_eq!(fs::read_dir(registry.path()).unwrap().count(), 0);
}

#[test]
fn a_registry_that_cannot_be_written_is_named() {
    let output = Command::new(TEST_PROC1)
        .args(["--registry", "/dev/null/registry", "--max-mib", "1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("test_proc1: cannot register value 8: ") && said.contains("/dev/null/"),
        "{said}"
    );
}
