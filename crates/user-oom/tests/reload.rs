//! The configuration of the built daemon, read again while it runs.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use support::{Daemon, Stage};

/// At or below 10 % (400 MiB of 4000) it warns.
const SHORT_OF_ONE: u64 = 350;

/// The daemon as a service manager starts it, without a terminal, with this in its
/// file.
fn service(stage: &Stage, file: &str, arguments: &[&str]) -> Daemon {
    stage.replace("config.toml", file);
    let program = Path::new(env!("CARGO_BIN_EXE_user-oom"));
    let command = stage.command(program, arguments);
    // It becomes the daemon: what it starts is not waited for.
    let mut command_of_its_own = Command::new("setsid");
    command_of_its_own
        .args(["env", "--default-signal=HUP"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_remove("RUST_LOG");
    let mut daemon = Daemon::start(&mut command_of_its_own);
    daemon.line_with("  socket");
    daemon
}

/// Has it read `file`, and returns the line that says what came of it.
#[track_caller]
fn reload(daemon: &mut Daemon, stage: &Stage, file: &str) -> String {
    stage.replace("config.toml", file);
    daemon.send(Signal::SIGHUP);
    daemon.line_with("reloaded (SIGHUP of pid ")
}

#[track_caller]
fn is_registered(daemon: &mut Daemon, pid: u32) {
    daemon.says(&format!("process {pid} is registered"));
}

#[test]
fn a_threshold_counts_from_then_on() {
    let stage = Stage::new();
    let mut daemon = service(&stage, "", &[]);
    let job = stage.process(1);
    is_registered(&mut daemon, job.pid());
    stage.set_available(500);
    let said = reload(&mut daemon, &stage, "grace = 7\n");
    assert!(said.contains("grace = 7 (was \"5 s\"); 0 rules"), "{said}");
    stage.set_available(1000);
    // Above the recovery threshold, which is an argument.
    let said = reload(&mut daemon, &stage, "memory = \"11 %\"\n");
    assert!(said.contains("grace = \"5 s\" (was 7)"), "{said}");
    assert!(
        said.contains("memory = \"11 %\" (was \"10 %, 5 %\")"),
        "{said}"
    );
    // 10.75 %.
    stage.set_available(430);
    daemon.line_with(&format!("kill pid={} signal=SIGTERM", job.pid()));
}

#[test]
fn an_argument_counts_before_what_is_read_again() {
    let stage = Stage::new();
    let mut daemon = service(&stage, "", &["-m", "10"]);
    let said = reload(&mut daemon, &stage, "memory = \"11 %\"\n");
    assert!(said.contains("no key has changed"), "{said}");
}

#[test]
fn the_first_command_of_a_rule_may_come_while_it_runs() {
    let stage = Stage::new();
    let job = stage.process(1);
    let mut daemon = service(&stage, "", &[]);
    is_registered(&mut daemon, job.pid());
    let script = stage.script("end.sh", "kill -KILL $USER_OOM_PID");
    let rule = |script: &str| {
        format!(
            "[[rule]]\nmatch = {{ exe = '**/test_proc1' }}\n\
             command = {{ run = ['{script}'], time-limit = '1 h' }}\n"
        )
    };
    let said = reload(&mut daemon, &stage, &rule("/nonexistent"));
    assert!(said.contains("nothing has changed"), "{said}");
    let said = reload(&mut daemon, &stage, &rule(&script));
    assert!(said.contains("; 1 rule"), "{said}");
    stage.set_available(SHORT_OF_ONE);
    daemon.says(&format!("kill pid={} signal=command ", job.pid()));
    daemon.says(&format!("gone pid={} ", job.pid()));
}

#[test]
fn other_rules_count_for_processes_that_run_already() {
    let rule = |labels: &str| format!("[[rule]]\nmatch = {{ exe = '**/test_proc1' }}\n{labels}\n");
    let stage = Stage::new();
    let mut daemon = service(&stage, &rule("protect = true"), &["-r", "1"]);
    let [mut low, mut high] = [stage.process(2), stage.process(8)];
    for job in [&low, &high] {
        is_registered(&mut daemon, job.pid());
    }
    let said = reload(&mut daemon, &stage, &rule("max-value = 1"));
    assert!(said.contains("no key has changed; 1 rule"), "{said}");
    // Both are worth 1 now, and go together only where both are needed.
    let said = reload(&mut daemon, &stage, "");
    assert!(said.contains("0 rules"), "{said}");
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with(&format!("kill pid={} signal=SIGTERM", low.pid()));
    stage.set_available(3000);
    let nothing = "[[rule]]\nmatch = { name = '^no-such-thing$' }\nvalue = 5\n";
    reload(&mut daemon, &stage, nothing);
    let path = stage.path("config.toml").display().to_string();
    daemon.line_with(&format!("1 rule matched no process yet ({path}:1)"));
    assert!(high.lives());
    // Protected, it is not killed for any shortage.
    low.send(Signal::SIGKILL);
    low.killed_by();
    reload(&mut daemon, &stage, &rule("protect = true"));
    stage.set_available(100);
    daemon.line_with("no kill: ");
    assert!(high.lives());
}

#[test]
fn other_patterns_count_for_processes_that_run_already() {
    let stage = Stage::new();
    let mut daemon = service(&stage, "ignore = '^test_proc1$'\n", &[]);
    let job = stage.process(2);
    is_registered(&mut daemon, job.pid());
    stage.set_available(100);
    daemon.line_with("no kill: ");
    let said = reload(&mut daemon, &stage, "");
    assert!(
        said.contains("ignore = not set (was \"^test_proc1$\")"),
        "{said}"
    );
    // It may come before the line about that.
    daemon.says(&format!("kill pid={} signal=SIGKILL", job.pid()));
}

#[test]
fn a_mistake_changes_nothing_and_is_said_with_its_line() {
    let stage = Stage::new();
    let mut daemon = service(&stage, "grace = 7\n", &[]);
    let said = reload(
        &mut daemon,
        &stage,
        "grace = 8\ngraze = 9\nswap = \"5 s\"\n",
    );
    assert!(said.contains("configuration not reloaded"), "{said}");
    assert!(said.contains("nothing has changed"), "{said}");
    daemon.line_with("config.toml:2:1: `graze` is not a key: did you mean `grace`?");
    daemon.line_with("2 | graze = 9");
    daemon.line_with("config.toml:3:8: `swap`: `5 s` is not a percentage");
    let said = reload(&mut daemon, &stage, "grace = 8\n");
    assert!(said.contains("grace = 8 (was 7)"), "{said}");
    for rule in [
        "[[rule]]\nmatch = { name = '(' }\nvalue = 1\n",
        "[[rule]]\nmatch = { name = 'a' }\nvalue = 'much'\n",
    ] {
        let said = reload(&mut daemon, &stage, rule);
        assert!(said.contains("not reloaded"), "{said}");
    }
    let said = reload(&mut daemon, &stage, "recover = 9\n");
    // An argument has it.
    assert!(said.contains("configuration reloaded"), "{said}");
}

#[test]
fn a_file_that_is_gone_changes_nothing() {
    let stage = Stage::new();
    let mut daemon = service(&stage, "grace = 7\n", &[]);
    fs::remove_file(stage.path("config.toml")).expect("it is ours");
    daemon.send(Signal::SIGHUP);
    let said = daemon.line_with("configuration not reloaded");
    assert!(said.contains("config.toml`: No such file"), "{said}");
    let said = reload(&mut daemon, &stage, "grace = 8\n");
    assert!(said.contains("grace = 8 (was 7)"), "{said}");
}

#[test]
fn what_takes_a_restart_stays_and_is_said_each_time() {
    let stage = Stage::new();
    let mut daemon = service(&stage, "", &[]);
    let file = "dryrun = true\npressure = 40\ngrace = 9\n";
    for changes in ["grace = 9 (was \"5 s\")", "no key has changed"] {
        let said = reload(&mut daemon, &stage, file);
        assert!(said.contains(changes), "{said}");
        for why in [
            "`dryrun` takes a restart: it is still false, not true (",
            "`pressure` takes a restart: it is still \"50 %\", not 40 (",
        ] {
            let is_said = |line: &&String| line.contains(why) && line.contains("config.toml:");
            assert!(daemon.heard().iter().any(|line| is_said(&line)), "{why}");
        }
    }
    // It is no dry run.
    let job = stage.process(1);
    is_registered(&mut daemon, job.pid());
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with(&format!("kill pid={} signal=SIGTERM", job.pid()));
}

#[test]
fn the_last_of_several_quick_requests_counts() {
    let stage = Stage::new();
    let mut daemon = service(&stage, "", &[]);
    for grace in 10..30 {
        stage.replace("config.toml", &format!("grace = {grace}\n"));
        daemon.send(Signal::SIGHUP);
    }
    daemon.line_with("grace = 29 (was ");
    let (status, heard) = daemon.end_by(Signal::SIGTERM);
    assert!(status.success(), "{heard:#?}");
}

#[test]
fn a_kill_that_is_due_comes_when_it_was_due() {
    let stage = Stage::new();
    let mut daemon = service(&stage, "grace = \"2 s\"\n", &[]);
    // It ignores SIGTERM.
    let mut job = stage.process(1);
    is_registered(&mut daemon, job.pid());
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with(&format!("kill pid={} signal=SIGTERM", job.pid()));
    let said = reload(&mut daemon, &stage, "grace = \"1 h\"\n");
    assert!(said.contains("grace = \"1 h\" (was \"2 s\")"), "{said}");
    daemon.line_with(&format!("kill pid={} signal=SIGKILL", job.pid()));
    assert_eq!(job.killed_by(), Some(Signal::SIGKILL as i32));
}

#[test]
fn what_would_kill_at_once_is_refused_with_the_figures_unless_it_is_forced() {
    let stage = Stage::new();
    stage.set_available(1000);
    let mut daemon = service(&stage, "", &["--recover", "50"]);
    let file = "memory = \"30 %\"\n";
    let said = reload(&mut daemon, &stage, file);
    assert!(said.contains("not reloaded"), "{said}");
    let figures = "1000 MiB of memory are available, and it acts at or below 1200 MiB";
    assert!(said.contains(figures), "{said}");
    // Where it is short, what lowers the threshold is taken.
    stage.set_available(300);
    let said = reload(&mut daemon, &stage, "memory = \"5 %\"\n");
    assert!(said.contains("memory = \"5 %\" (was "), "{said}");
    drop(daemon);

    let forced = Stage::new();
    forced.set_available(1000);
    let mut daemon = service(&forced, "", &["--recover", "50", "--force"]);
    let said = reload(&mut daemon, &forced, file);
    assert!(said.contains("memory = \"30 %\" (was "), "{said}");
}
