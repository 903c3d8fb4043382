//! The built daemon while files it guards by cannot be read, or say nothing.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::time::Duration;

use control::{Client, Condition, Place, Reply, Request};
use nix::sys::signal::Signal;
use support::{Daemon, Process, Stage};

/// A client's patience. It is answered in milliseconds.
const SOON: Duration = Duration::from_secs(5);
const PLENTY: u64 = 2000;
/// Below 10 % of 4000 MiB.
const SHORT_OF_ONE: u64 = 350;

fn registered(stage: &Stage, daemon: &mut Daemon) -> Process {
    let process = stage.process(1);
    daemon.line_with(&format!("process {} is registered", process.pid()));
    process
}

fn status(stage: &Stage) -> control::Status {
    let place = Place::at(&stage.socket()).expect("it is short enough");
    let client = Client::connect(&place, SOON).expect("it listens");
    match client.ask(&Request::Status, SOON).expect("it answers") {
        Reply::Status(status) => status,
        other => panic!("it was asked how things are: {other:?}"),
    }
}

/// A meminfo that is just being written.
fn spoil(stage: &Stage) {
    stage.replace("meminfo", "MemTotal:        4096");
}

#[test]
fn memory_that_cannot_be_read_is_not_shown_as_it_was() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&["-r", "0.1"]);
    daemon.line_with("memory 2000 of 4000 MiB available");
    assert_eq!(status(&stage).level, Condition::Ok);

    spoil(&stage);
    let said = daemon.line_with("memory not readable for ");
    assert!(
        said.contains("meminfo` has no line that begins with `MemAvailable`"),
        "{said}"
    );
    let told = status(&stage);
    assert_eq!((told.level, told.available_bytes), (Condition::Unknown, 0));
    assert!(
        told.to_string()
            .contains("level unknown, memory not readable, 0 registered")
    );
    // It counts on, and no old figure comes between.
    let before = daemon.heard().len();
    daemon.line_with("memory not readable for 2 s");
    let since = &daemon.heard()[before..];
    assert!(
        since.iter().all(|line| !line.contains(" of 4000 MiB")),
        "{since:#?}"
    );

    stage.set_available(3000);
    daemon.line_with("memory 3000 of 4000 MiB available");
    assert_eq!(status(&stage).available_bytes, 3000 << 20);
}

#[test]
fn a_file_that_is_gone_is_read_again_once_it_is_back() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&["-r", "0.1", "--grace", "0.1"]);
    let mut one = registered(&stage, &mut daemon);
    fs::remove_file(stage.path("meminfo")).expect("it is ours");
    let said = daemon.line_with("memory not readable for ");
    assert!(
        said.ends_with("meminfo`: No such file or directory (os error 2)"),
        "{said}"
    );
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with(&format!(
        "kill pid={} signal=SIGTERM name=test_proc1",
        one.pid()
    ));
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
}

#[test]
fn stalls_are_relieved_while_memory_cannot_be_read() {
    let stage = Stage::new();
    // Relief would be refused with so much.
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&["-r", "0.1", "--grace", "0.1"]);
    let mut one = registered(&stage, &mut daemon);
    spoil(&stage);
    daemon.line_with("memory not readable for ");
    stage.set_pressure(80.0);
    daemon.line_with("relief (memory stalls): memory not readable; ");
    daemon.line_with(&format!(" pid={} signal=SIG", one.pid()));
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
    stage.set_pressure(0.0);
    stage.set_available(PLENTY);
    let freed = daemon.line_with("freed");
    assert!(
        freed.contains("not readable before, 2000 MiB after"),
        "{freed}"
    );
}

#[test]
fn a_victim_is_killed_when_its_grace_is_over_though_memory_cannot_be_read() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&["-r", "0", "--grace", "1.5"]);
    let mut one = registered(&stage, &mut daemon);
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with(&format!(
        "kill pid={} signal=SIGTERM name=test_proc1",
        one.pid()
    ));
    spoil(&stage);
    daemon.line_with("trying again");
    daemon.line_with(&format!(
        "kill pid={} signal=SIGKILL name=test_proc1",
        one.pid()
    ));
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
}

#[test]
fn memory_that_cannot_be_read_at_start_is_an_error_that_says_what_would_be_right() {
    let stage = Stage::new();
    stage.replace("meminfo", "MemFree: 7 kB\nMemTotal: many kB\n");
    let mut daemon = stage.daemon(&[]);
    let said = daemon.line_with("user-oom: ");
    assert!(
        said.ends_with("meminfo`, line 2: expected `MemTotal: <number> kB`, found `many kB`"),
        "{said}"
    );
    assert_eq!(daemon.ended().code(), Some(1));
}

#[test]
fn a_pressure_file_without_its_full_line_is_said_and_the_levels_are_guarded() {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    stage.replace(
        "pressure",
        "some avg10=61.20 avg60=60.00 avg300=20.00 total=99\n",
    );
    let mut daemon = stage.daemon(&["--grace", "0.1", "-r", "1"]);
    daemon.line_with("there is no line `full avg10=<percent>`");
    let mut one = registered(&stage, &mut daemon);
    // Some windows later it was not said again.
    for _ in 0..3 {
        daemon.line_with("memory 2000 of 4000 MiB");
    }
    let heard = daemon.heard().iter();
    let said = heard.filter(|line| line.contains("there is no line"));
    assert_eq!(said.count(), 1);
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with(&format!(
        "kill pid={} signal=SIGTERM name=test_proc1",
        one.pid()
    ));
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
}
