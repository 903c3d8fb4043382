//! Commands that rules have run instead of a signal, or when memory will be full soon.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Daemon, Stage, until};

/// Of 4000 MiB: between the warn threshold of 10 % and the kill threshold of 5 %, so
/// that one of 200 MiB is enough;
const SHORT_OF_ONE: u64 = 350;
/// only two are;
const SHORT_OF_TWO: u64 = 220;
/// and below the kill threshold.
const NEARLY_FULL: u64 = 150;
const PLENTY: u64 = 2000;

/// A rule for the processes of tests, with `command`.
fn rule(script: &str, limit: &str) -> String {
    format!(
        "[[rule]]\nmatch = {{ exe = '**/test_proc1' }}\n\
         command = {{ run = ['{script}', 'again'], time-limit = '{limit}' }}\n"
    )
}

fn journal(stage: &Stage) -> String {
    stage.path("journal").display().to_string()
}

/// With a journal. It knows what it labels before it first decides, so the processes
/// are there by now.
fn daemon(stage: &Stage, rules: &str, arguments: &[&str]) -> Daemon {
    stage.replace("config.toml", rules);
    let folder = journal(stage);
    let mut daemon = stage.daemon(&[&["--journal", &folder], arguments].concat());
    daemon.says("is registered");
    daemon
}

/// Ends the daemon; what it said. What it decided is decided again.
fn end(stage: &Stage, daemon: Daemon) -> Vec<String> {
    let (status, heard) = daemon.end_by(Signal::SIGTERM);
    assert!(status.success(), "{heard:#?}");
    let mut replay = Command::new(env!("CARGO_BIN_EXE_user-oom"));
    let output = replay.args(["--replay", &journal(stage)]).output();
    let output = output.expect("it was built");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("are as they were recorded"), "{said}");
    heard
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_command_ends_it_and_no_signal_is_sent() {
    let stage = Stage::new();
    let told = stage.path("told");
    let text = format!(
        "echo \"$1 $USER_OOM_PID $USER_OOM_NAME $USER_OOM_VALUE\" >> {}\n\
         kill -KILL $USER_OOM_PID",
        told.display()
    );
    let script = stage.script("end.sh", &text);
    let job = stage.process(1);
    let mut daemon = daemon(&stage, &rule(&script, "1 h"), &[]);
    stage.set_available(SHORT_OF_ONE);
    let pid = job.pid();
    let said = daemon.line_with(&format!("kill pid={pid} "));
    assert!(said.contains(" signal=command "), "{said}");
    daemon.says(&format!(
        "running `{script} again` to end {pid} (test_proc1)"
    ));
    daemon.says(&format!("gone pid={pid} "));
    stage.set_available(PLENTY);
    assert_eq!(read(&told), format!("again {pid} test_proc1 1\n"));
    let heard = end(&stage, daemon);
    let signals = heard.iter().filter(|line| line.contains("signal=SIG"));
    assert_eq!(signals.count(), 0, "{heard:#?}");
    drop(job);
}

#[test]
fn one_that_fails_is_followed_by_the_signal() {
    let stage = Stage::new();
    let script = stage.script("fail.sh", "exit 3");
    let mut job = stage.process(1);
    let mut daemon = daemon(&stage, &rule(&script, "1 h"), &["--grace", "0.5"]);
    stage.set_available(SHORT_OF_ONE);
    let pid = job.pid();
    daemon.says(&format!(
        "the command `{script} again` for {pid} (test_proc1) failed: exit status: 3"
    ));
    daemon.says(&format!(
        "kill pid={pid} signal=SIGTERM name=test_proc1 reason=\"still alive after its rule's command\""
    ));
    daemon.says(&format!("kill pid={pid} signal=SIGKILL "));
    assert_eq!(job.killed_by(), Some(Signal::SIGKILL as i32));
    stage.set_available(PLENTY);
    end(&stage, daemon);
}

#[test]
fn one_that_takes_too_long_is_ended_and_followed_by_the_signal() {
    let stage = Stage::new();
    let script = stage.script("slow.sh", "exec tail -f /dev/null");
    let mut job = stage.process(1);
    let mut daemon = daemon(&stage, &rule(&script, "500 ms"), &["--grace", "0"]);
    stage.set_available(SHORT_OF_ONE);
    let pid = job.pid();
    // Without a grace it is killed then.
    daemon.says(&format!(
        "kill pid={pid} signal=SIGKILL name=test_proc1 reason=\"still alive after its rule's command\""
    ));
    daemon.says("was killed: still running after 0.5 s");
    assert_eq!(job.killed_by(), Some(Signal::SIGKILL as i32));
    stage.set_available(PLENTY);
    end(&stage, daemon);
}

#[test]
fn at_the_kill_threshold_it_is_not_waited_for_and_not_run() {
    let stage = Stage::new();
    let told = stage.path("told");
    let text = format!("echo ran >> {}; exec tail -f /dev/null", told.display());
    let script = stage.script("slow.sh", &text);
    let mut one = stage.process(1);
    let mut daemon = daemon(&stage, &rule(&script, "1 h"), &[]);
    stage.set_available(SHORT_OF_ONE);
    daemon.says(&format!("kill pid={} signal=command ", one.pid()));
    until("it runs", || told.exists().then_some(()));
    stage.set_available(NEARLY_FULL);
    daemon.says(&format!("kill pid={} signal=SIGKILL ", one.pid()));
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
    stage.set_available(PLENTY);
    end(&stage, daemon);
    assert_eq!(read(&told), "ran\n");
}

#[test]
fn what_is_chosen_together_has_it_run_once() {
    let stage = Stage::new();
    let told = stage.path("told");
    // Until both wait for it.
    let text = format!(
        "echo $USER_OOM_PID >> {}\nuntil [ -e {} ]; do sleep 0.01; done\nexit 1",
        told.display(),
        stage.path("enough").display()
    );
    let script = stage.script("both.sh", &text);
    let [mut one, mut two] = [1, 2].map(|value| stage.process(value));
    let mut daemon = daemon(&stage, &rule(&script, "1 h"), &["--grace", "0"]);
    daemon.says(&format!("process {} is registered", one.pid()));
    daemon.says(&format!("process {} is registered", two.pid()));
    stage.set_available(SHORT_OF_TWO);
    for process in [&one, &two] {
        daemon.says(&format!("kill pid={} signal=command ", process.pid()));
    }
    fs::write(stage.path("enough"), "").expect("the folder is ours");
    for process in [&mut one, &mut two] {
        daemon.says(&format!("kill pid={} signal=SIGKILL ", process.pid()));
        assert_eq!(process.killed_by(), Some(Signal::SIGKILL as i32));
    }
    stage.set_available(PLENTY);
    end(&stage, daemon);
    assert_eq!(read(&told).lines().count(), 1, "{}", read(&told));
}

#[test]
fn one_that_cannot_be_started_is_followed_by_the_signal() {
    let stage = Stage::new();
    let script = stage.script("gone.sh", "exit 0");
    let job = stage.process(1);
    let mut daemon = daemon(&stage, &rule(&script, "1 h"), &[]);
    fs::remove_file(&script).expect("the folder is ours");
    stage.set_available(SHORT_OF_ONE);
    daemon.says("failed: exit status: ");
    daemon.says(&format!("kill pid={} signal=SIGTERM ", job.pid()));
    stage.set_available(PLENTY);
    end(&stage, daemon);
}

#[test]
fn a_dry_run_runs_none() {
    let stage = Stage::new();
    let told = stage.path("told");
    let script = stage.script("no.sh", &format!("echo ran >> {}", told.display()));
    let mut job = stage.process(1);
    let mut daemon = daemon(&stage, &rule(&script, "1 h"), &["--dryrun"]);
    stage.set_available(SHORT_OF_ONE);
    let said = daemon.line_with(&format!("would-kill pid={} ", job.pid()));
    assert!(said.contains(" signal=command "), "{said}");
    stage.set_available(PLENTY);
    end(&stage, daemon);
    assert!(job.lives() && !told.exists());
}

/// A rule for the processes of `stage`, with `script` for a forecast.
fn forecast_rule(stage: &Stage, name: &str, script: &str) -> String {
    format!(
        "[[rule]]\nmatch = {{ name = '{name}', cmdline = '{}' }}\n\
         forecast-command = {{ run = ['{script}', 'soon'], time-limit = '1 h' }}\n",
        stage.registry().display()
    )
}

/// Memory falls by 100 MiB a second, and is there again before it is short, until
/// `found` finds something. What is seen of it is its own pace, however busy the machine.
fn falling<T>(stage: &Stage, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    const FALLS: Duration = Duration::from_secs(14);
    let mut began = Instant::now();
    let mut available = 0;
    until(what, || {
        let mut elapsed = began.elapsed();
        if FALLS < elapsed {
            (began, elapsed) = (Instant::now(), Duration::ZERO);
        }
        let fallen = u64::try_from(elapsed.as_millis() / 10).expect("it is short");
        let before = std::mem::replace(&mut available, PLENTY - fallen);
        if before != available {
            stage.set_available(available);
        }
        found()
    })
}

#[test]
fn a_forecast_has_it_run_once_for_the_largest_and_kills_nothing() {
    let stage = Stage::new();
    let (told, other) = (stage.path("told"), stage.path("other"));
    let text = format!(
        "echo \"$1 $USER_OOM_PID $USER_OOM_NAME $USER_OOM_FULL_IN\" >> {}",
        told.display()
    );
    let script = stage.script("save.sh", &text);
    let unmatched = stage.script("other.sh", &format!("echo ran >> {}", other.display()));
    let mut job = stage.process(1);
    stage.set_available(PLENTY);
    let rules = forecast_rule(&stage, "nothing", &unmatched)
        + &forecast_rule(&stage, "test_proc1", &script);
    let mut daemon = daemon(&stage, &rules, &[]);
    let line = falling(&stage, "it is run", || {
        let line = read(&told);
        line.ends_with('\n').then_some(line)
    });
    stage.set_available(PLENTY);
    daemon.says(&format!(
        "running `{script} soon`, for 3600 s at most: memory will be full in "
    ));
    let words: Vec<_> = line.split_whitespace().collect();
    let pid = job.pid().to_string();
    assert_eq!(words[..3], ["soon", &pid, "test_proc1"], "{line}");
    let full_in: u64 = words[3].parse().expect("seconds");
    assert!(full_in < 60, "{line}");
    let (_, heard) = daemon.end_by(Signal::SIGTERM);
    assert!(
        !heard.iter().any(|line| line.contains("kill pid=")),
        "{heard:#?}"
    );
    assert!(job.lives() && !other.exists());
    assert_eq!(read(&told).lines().count(), 1, "{}", read(&told));
}

#[test]
fn a_dry_run_says_what_a_forecast_would_have_run() {
    let stage = Stage::new();
    let told = stage.path("told");
    let script = stage.script("no.sh", &format!("echo ran >> {}", told.display()));
    let _job = stage.process(1);
    stage.set_available(PLENTY);
    let rules = forecast_rule(&stage, "test_proc1", &script);
    let mut daemon = daemon(&stage, &rules, &["--dryrun"]);
    let would_run = format!("would run `{script} soon`: memory will be full in ");
    falling(&stage, "it is told", || {
        daemon.has_said(&would_run).then_some(())
    });
    daemon.end_by(Signal::SIGTERM);
    assert!(!told.exists());
}
