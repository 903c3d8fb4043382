//! `testproc.sh`, with the built programs or stand-ins for them, and always a
//! stand-in for psi-monitor: whether a daemon answers is the test's to say.

mod lines;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::lines::Lines;

/// A directory of programs and an empty registry.
struct Stage {
    directory: TempDir,
}

impl Stage {
    /// With the built test processes and stand-ins for the machine-learning
    /// jobs; a daemon answers or does not.
    fn new(answers: bool) -> Self {
        let stage = Self {
            directory: tempfile::tempdir().expect("there is room for a directory"),
        };
        fs::create_dir(stage.programs()).expect("there is room for a directory");
        fs::create_dir(stage.registry()).expect("there is room for a directory");
        stage.program("psi-monitor", if answers { "true" } else { "exit 1" });
        let built = [
            ("test_proc1", env!("CARGO_BIN_EXE_test_proc1")),
            ("test_proc2", env!("CARGO_BIN_EXE_test_proc2")),
        ];
        for (name, path) in built {
            symlink(path, stage.programs().join(name)).expect("there is room for a link");
        }
        stage.program("ml_test1", &job(AT_WORK));
        stage.program("ml_test2", &job(AT_WORK));
        stage
    }

    fn programs(&self) -> PathBuf {
        self.directory.path().join("programs")
    }

    fn registry(&self) -> PathBuf {
        self.directory.path().join("registry")
    }

    /// Puts a script in the place of a program.
    fn program(&self, name: &str, script: &str) {
        let path = self.programs().join(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("there is room for a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    /// Puts a daemon in place that answers once `answers` is there, sees what
    /// registers, and is so far above its warn threshold as `room` says; and
    /// stand-ins for the test processes.
    fn walk(&self, room: &str) {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        fs::write(path("room"), room).expect("there is room for a file");
        self.program(
            "psi-monitor",
            &format!(
                "if [ \"$1\" = --fate ]; then
                    echo \"$2 (value 5): SIGTERM, then SIGKILL, 6.3 s ago; low memory (warn), need 105 MiB\"
                    exit
                fi
                [ -e {} ] || exit 1
                seen=$(ls {} | wc -l)
                echo \"memory $(cat {}) registered, 0 ended\" | sed \"s/SEEN/$seen/\"",
                path("answers"),
                path("registry"),
                path("room"),
            ),
        );
        for name in ["test_proc1", "test_proc2"] {
            self.program(
                name,
                "trap 'echo begins' USR1; echo 4 >\"$2/$$\"; echo \"given $*\"
                while :; do sleep 0.1; done",
            );
        }
    }

    /// From now on there is a daemon, as [`Stage::walk`] has it.
    fn answer(&self) {
        fs::write(self.directory.path().join("answers"), "").expect("there is room for a file");
    }

    /// The test processes alone.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.command_with_ml(args);
        command.arg("--without-ml");
        command
    }

    fn command_with_ml(&self, args: &[&str]) -> Command {
        let mut command = Command::new("bash");
        command
            .arg(script())
            .arg("--programs")
            .arg(self.programs())
            .arg("--registry")
            .arg(self.registry())
            .args(args)
            .stdin(Stdio::null());
        command
    }

    fn registered(&self) -> usize {
        fs::read_dir(self.registry())
            .expect("the registry is there")
            .count()
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testproc.sh")
}

/// The script at work. Asked to end when dropped, so that it ends its own.
struct Running {
    child: Child,
    lines: Lines,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be run");
        let lines = Lines::of(child.stdout.take().expect("it is piped"));
        Self { child, lines }
    }

    /// The words of the next line that contains `words`.
    #[track_caller]
    fn line_with(&self, words: &str) -> Vec<String> {
        let line = self.lines.with(words);
        line.split_whitespace().map(str::to_owned).collect()
    }

    /// The pids of the test processes in the table of those that were started.
    fn pids(&self) -> [String; 2] {
        self.pids_of(["test_proc1", "test_proc2"])
    }

    /// These in the table of those that were started.
    #[track_caller]
    fn pids_of<const COUNT: usize>(&self, names: [&str; COUNT]) -> [String; COUNT] {
        self.line_with("  NAME  ");
        names.map(|name| {
            let row = self.line_with(&format!("  {name}  "));
            assert_eq!(row[2], name);
            row[1].clone()
        })
    }

    fn end(&self) {
        signal(&self.child.id().to_string(), Signal::SIGTERM);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.end();
            let _ = self.child.wait();
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a child of ours or of the script, not waited for yet"
)]
fn signal(pid: &str, signal: Signal) {
    kill(
        Pid::from_raw(pid.parse().expect("a pid is a number")),
        signal,
    )
    .expect("it was not waited for");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Registers as a test process does, and waits for its end.
const STAND_IN: &str = "echo 4 >\"$2/$$\"; exec tail -f /dev/null";

/// A machine-learning job is given `--registry DIR --lines --working-set-mib N
/// --ready FILE`. This one has its packages and registers.
fn job(then: &str) -> String {
    format!("[ \"$1\" != --check ] || exit 0; echo 6 >\"$2/$$\"; {then}")
}

/// Has loaded its data.
const AT_WORK: &str = ": >\"$7\"; exec tail -f /dev/null";

#[test]
fn without_a_daemon_and_without_a_bound_nothing_is_started() {
    let stage = Stage::new(false);
    let Output { status, stderr, .. } = stage.command(&[]).output().unwrap();
    assert_eq!(status.code(), Some(1));
    let said = text(&stderr);
    assert!(said.contains("--max-mib"), "{said}");
    assert!(said.contains("--i-mean-it"), "{said}");
    assert_eq!(stage.registered(), 0);
}

#[test]
fn a_bound_will_do_without_a_daemon_and_who_lives_at_the_end_survived() {
    let stage = Stage::new(false);
    let mut running = Running::start(stage.command(&["--max-mib", "2"]));
    running.pids();
    running.end();
    running.line_with("IN THE END");
    assert_eq!(running.line_with("  test_proc1  ")[3..], ["8", "survived"]);
    assert_eq!(running.line_with("  test_proc2  ")[3..], ["5", "survived"]);
    assert!(running.child.wait().unwrap().success());
    assert_eq!(stage.registered(), 0);
}

#[test]
fn who_was_killed_and_by_which_signal_is_said_at_the_end() {
    let stage = Stage::new(false);
    let mut running = Running::start(stage.command(&["--max-mib", "2"]));
    let [first, second] = running.pids();
    // It ignores the one and dies of the other.
    signal(&second, Signal::SIGTERM);
    running.line_with("SIGTERM ignored");
    signal(&second, Signal::SIGKILL);
    running.line_with(&format!("test_proc2 ({second}) was killed by SIGKILL"));
    signal(&first, Signal::SIGKILL);
    running.line_with("IN THE END");
    let killed = ["was", "killed", "by", "SIGKILL"];
    assert_eq!(running.line_with("  test_proc1  ")[4..], killed);
    assert_eq!(running.line_with("  test_proc2  ")[4..], killed);
    assert!(running.child.wait().unwrap().success());
    // No daemon removed their entries, so the script did.
    assert_eq!(stage.registered(), 0);
}

#[test]
fn with_a_daemon_they_are_started_without_a_bound() {
    let stage = Stage::new(true);
    stage.program("test_proc1", STAND_IN);
    stage.program("test_proc2", STAND_IN);
    let running = Running::start(stage.command(&[]));
    running.pids();
    running.end();
    assert_eq!(running.line_with("  test_proc1  ")[3..], ["4", "survived"]);
}

#[test]
fn with_ones_word_they_are_started_without_a_daemon() {
    let stage = Stage::new(false);
    stage.program("test_proc1", STAND_IN);
    stage.program("test_proc2", STAND_IN);
    let running = Running::start(stage.command(&["--i-mean-it"]));
    running.pids();
}

#[test]
fn one_that_ignores_sigint_too_is_ended_for_certain() {
    let stage = Stage::new(false);
    stage.program(
        "test_proc1",
        "trap '' INT; echo 4 >\"$2/$$\"; exec tail -f /dev/null",
    );
    let mut running = Running::start(stage.command(&["--max-mib", "2"]));
    let [stubborn, _] = running.pids();
    running.end();
    assert_eq!(running.line_with("  test_proc1  ")[3..], ["4", "survived"]);
    assert!(running.child.wait().unwrap().success());
    assert!(!Path::new("/proc").join(stubborn).exists());
}

#[test]
fn one_that_fails_is_told_from_one_that_was_killed() {
    let stage = Stage::new(false);
    stage.program("test_proc1", "exit 3");
    stage.program("test_proc2", "exit 0");
    let output = stage.command(&["--max-mib", "2"]).output().unwrap();
    let said = text(&output.stdout);
    assert!(said.contains("failed with status 3"), "{said}");
    assert!(said.contains("ended by itself"), "{said}");
    assert!(output.status.success());
}

#[test]
fn the_socket_is_passed_on_to_whoever_looks_for_the_daemon() {
    let stage = Stage::new(true);
    stage.program("psi-monitor", "[ \"$*\" = '--check --socket /there' ]");
    stage.program("test_proc1", "exit 0");
    stage.program("test_proc2", "exit 0");
    let output = stage.command(&["--socket", "/there"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_monitor_that_fails_is_no_daemon_that_does_not_answer() {
    let stage = Stage::new(true);
    stage.program("psi-monitor", "exit 2");
    for args in [&["--max-mib", "2"][..], &["--walk"]] {
        let output = stage.command(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains("psi-monitor --check ended with"), "{said}");
    }
    assert_eq!(stage.registered(), 0);
}

#[test]
fn nonsense_is_refused() {
    let stage = Stage::new(true);
    for args in [
        &["--max-mib", "0"][..],
        &["--max-mib", "many"],
        &["--max-mib"],
        &["--working-set-mib", "-1"],
        &["--working-set-mib", "1,"],
        &["--working-set-mib", "1,2,3"],
        &["--registry", ""],
        &["--without-sense"],
    ] {
        let output = stage.command(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(args[0]), "{args:?}");
    }
    assert_eq!(stage.registered(), 0);
}

#[test]
fn a_program_that_is_missing_is_named() {
    let stage = Stage::new(true);
    fs::remove_file(stage.programs().join("test_proc2")).unwrap();
    let output = stage.command(&["--max-mib", "2"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("test_proc2"));
    assert_eq!(stage.registered(), 0);
}

#[test]
fn help_is_printed_when_asked_for() {
    let output = Stage::new(true).command(&["--help"]).output().unwrap();
    assert!(output.status.success());
    assert!(text(&output.stdout).starts_with("Usage: bash testproc.sh"));
}

#[test]
fn the_jobs_come_first_and_the_test_processes_once_they_are_at_work() {
    let stage = Stage::new(true);
    let path = |name: &str| stage.directory.path().join(name);
    let (go, loaded) = (path("go"), path("loaded"));
    let load = format!(
        "echo \"loads $5\"; until [ -e {} ]; do sleep 0.1; done; : >{}; {AT_WORK}",
        go.display(),
        loaded.display()
    );
    stage.program("ml_test2", &job(&load));
    stage.program("ml_test1", &job(&format!("echo \"loads $5\"; {AT_WORK}")));
    let late = format!("[ -e {} ] || exit 9; {STAND_IN}", loaded.display());
    stage.program("test_proc1", &late);
    stage.program("test_proc2", &late);
    let running = Running::start(stage.command_with_ml(&["--working-set-mib", "77,88"]));
    // In whichever order.
    let said = [running.line_with("loads "), running.line_with("loads ")];
    assert!(said.iter().any(|words| words[1] == "77"), "{said:?}");
    assert!(said.iter().any(|words| words[1] == "88"), "{said:?}");
    fs::write(go, "").unwrap();
    running.pids_of(["ml_test1", "ml_test2", "test_proc1", "test_proc2"]);
    running.end();
    for name in ["ml_test1", "ml_test2", "test_proc1", "test_proc2"] {
        let row = running.line_with(&format!("  {name}  "));
        assert_eq!(row[4..], ["survived"]);
    }
}

#[test]
fn the_end_of_a_job_is_said_like_any_other() {
    let stage = Stage::new(false);
    let mut running = Running::start(stage.command_with_ml(&["--ml-only"]));
    let [first, second] = running.pids_of(["ml_test1", "ml_test2"]);
    signal(&second, Signal::SIGTERM);
    running.line_with(&format!("ml_test2 ({second}) was killed by SIGTERM"));
    signal(&first, Signal::SIGKILL);
    running.line_with(&format!("ml_test1 ({first}) was killed by SIGKILL"));
    assert!(running.child.wait().unwrap().success());
    assert_eq!(stage.registered(), 0);
}

#[test]
fn a_job_that_ends_before_it_is_at_work_is_waited_for_no_longer() {
    let stage = Stage::new(false);
    stage.program("ml_test1", &job("exit 1"));
    stage.program("ml_test2", &job("kill -KILL $$"));
    let output = stage.command_with_ml(&["--ml-only"]).output().unwrap();
    let said = text(&output.stdout);
    assert!(said.contains("failed with status 1"), "{said}");
    assert!(said.contains("was killed by SIGKILL"), "{said}");
}

#[test]
fn a_job_whose_packages_are_missing_is_refused_and_the_way_without_it_is_named() {
    let stage = Stage::new(true);
    stage.program("ml_test2", "echo 'install it with apt' >&2; exit 1");
    let output = stage.command_with_ml(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("install it with apt"), "{said}");
    assert!(said.contains("ml_test2 cannot run here"), "{said}");
    assert!(said.contains("--without-ml"), "{said}");
    assert_eq!(stage.registered(), 0);
}

#[test]
fn the_jobs_alone_need_no_daemon_and_no_test_processes() {
    let stage = Stage::new(false);
    for name in ["test_proc1", "test_proc2", "psi-monitor"] {
        fs::remove_file(stage.programs().join(name)).unwrap();
    }
    let running = Running::start(stage.command_with_ml(&["--ml-only"]));
    running.pids_of(["ml_test1", "ml_test2"]);
    assert_eq!(stage.registered(), 2);
}

#[test]
fn neither_jobs_nor_test_processes_is_nothing_to_start() {
    let stage = Stage::new(true);
    let output = stage.command(&["--ml-only"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// 600 MiB above the warn threshold, and all that register are seen.
const NEAR: &str = "2000 MiB of 9000 MiB available (warn at 1400 MiB), level ok, SEEN";

/// The same, and 6600 MiB above it.
const FAR: &str = "8000 MiB of 9000 MiB available (warn at 1400 MiB), level ok, SEEN";

#[test]
fn a_walk_without_a_daemon_says_what_to_start_and_waits_for_it() {
    let stage = Stage::new(false);
    stage.walk(NEAR);
    let running = Running::start(stage.command(&["--walk"]));
    running.line_with("waiting for user-oom: start it in another terminal");
    running.line_with("Without a cgroup");
    assert_eq!(stage.registered(), 0);
    stage.answer();
    running.line_with("600 MiB to the warn threshold");
    running.pids();
}

#[test]
fn a_walk_waits_until_the_threshold_is_within_reach() {
    let stage = Stage::new(false);
    stage.walk(FAR);
    stage.answer();
    let running = Running::start(stage.command(&["--walk"]));
    running.line_with("6600 MiB to the warn threshold; waiting until");
    assert_eq!(stage.registered(), 0);
    fs::write(stage.directory.path().join("room"), NEAR).unwrap();
    running.line_with("600 MiB to the warn threshold");
    running.pids();
}

#[test]
fn both_begin_together_and_a_walk_ends_with_who_was_killed_and_why() {
    let stage = Stage::new(false);
    stage.walk(NEAR);
    stage.answer();
    let mut running = Running::start(stage.command(&["--walk"]));
    // 180 of the 600 MiB are left to grow through, and of the rest a quarter is
    // test_proc1's. Both are bounded. In whichever order.
    let given = [running.line_with("given "), running.line_with("given ")].map(|g| g.join(" "));
    for want in ["--at-once-mib 105 --rate", "--at-once-mib 315 --rate"] {
        assert!(given.iter().any(|given| given.contains(want)), "{given:?}");
    }
    assert!(given.iter().all(|given| given.contains("--hold")));
    assert!(given.iter().all(|given| given.contains("--max-mib ")));
    let [_, second] = running.pids();
    running.line_with("begins");
    running.line_with("begins");
    signal(&second, Signal::SIGKILL);
    running.line_with(&format!("test_proc2 ({second}) was killed by SIGKILL at "));
    running.line_with("why test_proc2 was killed, according to user-oom:");
    running.line_with(&format!("{second} (value 5): SIGTERM, then SIGKILL"));
    running.line_with("need 105 MiB");
    running.line_with("IN THE END");
    assert_eq!(running.line_with("  test_proc1  ")[4..], ["survived"]);
    running.line_with("testproc: as promised: ");
    assert!(running.child.wait().unwrap().success());
    assert_eq!(stage.registered(), 0);
}

#[test]
fn a_walk_in_which_the_more_valuable_is_killed_fails() {
    let stage = Stage::new(false);
    stage.walk(NEAR);
    stage.answer();
    let mut running = Running::start(stage.command(&["--walk"]));
    let [first, _] = running.pids();
    signal(&first, Signal::SIGKILL);
    running.line_with("testproc: not as promised");
    assert_eq!(running.child.wait().unwrap().code(), Some(1));
    assert_eq!(stage.registered(), 0);
}

#[test]
fn a_walk_that_is_interrupted_has_not_come_to_its_end() {
    let stage = Stage::new(false);
    stage.walk(NEAR);
    stage.answer();
    let mut running = Running::start(stage.command(&["--walk"]));
    running.pids();
    running.end();
    running.line_with("testproc: not as promised");
    assert_eq!(running.child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_walk_is_about_the_test_processes_and_has_bounds_of_its_own() {
    let stage = Stage::new(true);
    for args in [&["--walk", "--ml-only"][..], &["--walk", "--max-mib", "9"]] {
        let output = stage.command_with_ml(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(args[1]), "{args:?}");
    }
    assert_eq!(stage.registered(), 0);
}
