//! What user-oomctl asks the built daemon, and other programs that speak
//! Varlink.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::time::Duration;

use support::{Daemon, Process, Stage, TOTAL_MIB, until};

const PLENTY: u64 = TOTAL_MIB / 2;
/// At or below 10 % (400 MiB) it warns, and 12 % (480) is enough again.
const SHORT: u64 = 350;

fn run(stage: &Stage, arguments: &[&str]) -> Output {
    let mut command = Command::new(stage.program("user-oomctl"));
    command.arg("--socket").arg(stage.socket()).args(arguments);
    command.output().expect("it was built")
}

/// What it prints, having succeeded.
#[track_caller]
fn said(stage: &Stage, arguments: &[&str]) -> String {
    let output = run(stage, arguments);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).expect("it is text");
    assert!(
        arguments.contains(&"--json") || said.lines().all(|line| line.chars().count() <= 80),
        "{said}"
    );
    said
}

/// It ends with this status and this error.
#[track_caller]
fn fails(stage: &Stage, arguments: &[&str], status: i32, with: &str) {
    let output = run(stage, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{error}");
    assert!(error.contains(with), "no `{with}` in {error}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

fn registered(stage: &Stage, daemon: &mut Daemon, value: u32) -> Process {
    let process = stage.process(value);
    daemon.line_with(&format!("process {} is registered", process.pid()));
    process
}

#[test]
fn status_says_how_things_are_in_words_and_in_json() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let status = said(&stage, &["status"]);
    let pid = format!("{}", daemon.pid());
    for part in [
        &pid,
        "level ok",
        "2000 of 4000 MiB available",
        "warns at 400 MiB",
    ] {
        assert!(status.contains(part), "no `{part}` in {status}");
    }
    let json = said(&stage, &["status", "--json"]);
    assert!(json.contains(r#""level":"ok""#), "{json}");
    assert!(json.contains(&format!(r#""pid":{pid},"#)), "{json}");
}

#[test]
fn explain_says_what_was_done_to_a_victim() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--grace", "0.1"]);
    let one = registered(&stage, &mut daemon, 1);
    let pid = one.pid().to_string();
    fails(
        &stage,
        &["explain", &pid],
        1,
        "has not signalled that process",
    );
    stage.set_available(SHORT);
    daemon.line_with(&format!("kill pid={pid} signal=SIGTERM"));
    let told = until("it is gone", || {
        let told = said(&stage, &["explain", &pid]);
        told.contains("gone after").then_some(told)
    });
    assert!(told.contains("(value 1): SIGTERM"), "{told}");
    assert!(told.contains("low memory (warn)"), "{told}");
}

#[test]
fn relief_is_refused_with_the_reason() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    fails(
        &stage,
        &["relieve"],
        1,
        "refused: 50 % of memory is available",
    );
}

#[test]
fn without_a_daemon_one_sentence_says_so() {
    let stage = Stage::new();
    let socket = stage.socket();
    let with = format!(
        "user-oomctl: no user-oom answers at `{}`: start one",
        socket.display()
    );
    for command in ["status", "relieve"] {
        fails(&stage, &[command], 3, &with);
    }
    fails(&stage, &["explain", "7"], 3, &with);
}

#[test]
fn arguments_that_make_no_sense_are_refused_and_help_says_the_exit_statuses() {
    let stage = Stage::new();
    fails(&stage, &["sing"], 2, "unrecognized subcommand");
    fails(&stage, &["explain", "0"], 2, "0");
    fails(&stage, &[], 2, "Usage");
    assert!(said(&stage, &["--help"]).contains("3 if no user-oom answers"));
    let completions = run(&stage, &["completions", "bash"]).stdout;
    let completions = String::from_utf8_lossy(&completions);
    assert!(completions.contains("user-oomctl"), "{completions}");
}

/// What it answers to this, said as it stands.
fn answer(stage: &Stage, message: &[u8]) -> String {
    let mut stream = UnixStream::connect(stage.socket()).expect("it listens");
    let limit = Some(Duration::from_secs(30));
    stream.set_read_timeout(limit).expect("it is a socket");
    stream.write_all(message).expect("it listens");
    let mut answer = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).expect("it answers") > 0 && byte != [0] {
        answer.extend(byte);
    }
    String::from_utf8(answer).expect("it is text")
}

#[test]
fn a_bad_call_is_answered_with_what_was_expected() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let told = answer(&stage, b"status\0");
    assert!(told.contains("io.user-oom.Control.NotUnderstood"), "{told}");
    assert!(told.contains("a Varlink call such as"), "{told}");
    let told = answer(
        &stage,
        b"{\"method\":\"io.user-oom.Control.Fate\",\"parameters\":{\"pid\":-1}}\0",
    );
    assert!(told.contains("pid: a process's number"), "{told}");
    let told = answer(&stage, &[b' '; 5000]);
    assert!(told.contains("fewer than 4096 bytes"), "{told}");
    // And it answers the next.
    said(&stage, &["status"]);
}

#[test]
fn varlinkctl_can_introspect_and_call_it() {
    if Command::new("varlinkctl")
        .arg("--version")
        .output()
        .is_err()
    {
        println!("skipped: no varlinkctl; it comes with systemd 255 (Debian 13)");
        return;
    }
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let varlinkctl = |arguments: &[&str]| {
        let mut command = Command::new("varlinkctl");
        let socket = stage.socket();
        command.arg(arguments[0]).arg(socket).args(&arguments[1..]);
        let output = command.output().expect("it is there");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(varlinkctl(&["info"]).contains("io.user-oom.Control"));
    let description = varlinkctl(&["introspect", "io.user-oom.Control"]);
    assert!(description.contains("method Status"), "{description}");
    let status = varlinkctl(&["call", "-j", "io.user-oom.Control.Status", "{}"]);
    assert!(status.contains("\"level\""), "{status}");
}
