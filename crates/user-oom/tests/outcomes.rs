//! What the built daemon says of ends that did not happen, or brought nothing.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use support::Stage;

/// At or below 10 % (400 MiB of 4000) it warns, and 12 % (480) is enough again.
const SHORT: u64 = 350;
const PLENTY: u64 = 2000;

#[test]
fn a_victim_that_outlives_its_deadline_is_named_and_counted_once_it_is_gone() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--grace", "0.1"]);
    let one = stage.process(1);
    daemon.line_with(&format!("process {} is registered", one.pid()));
    // It stops on its way out, and does not get away until we let go of it.
    let pid = Pid::from_raw(i32::try_from(one.pid()).expect("a pid"));
    if let Err(errno) = ptrace::seize(pid, Options::PTRACE_O_TRACEEXIT) {
        println!("skipped: cannot trace a child of ours: {errno}");
        return;
    }

    stage.set_available(SHORT);
    daemon.line_with("signal=SIGTERM");
    stage.set_available(PLENTY);
    daemon.line_with("signal=SIGKILL");
    let said = daemon.line_with(" stays pid=");
    let freed = |line: &String| line.contains("freed");
    assert!(!daemon.heard().iter().any(freed), "{:#?}", daemon.heard());
    assert!(
        said.contains(&format!(" stays pid={} name=test_proc1 ", one.pid())),
        "{said}"
    );
    assert!(said.contains("no longer waited for"), "{said}");
    let status = waitpid(pid, Some(WaitPidFlag::__WALL)).expect("it is traced");
    let status = match status {
        // SIGTERM came first.
        WaitStatus::Stopped(..) => waitpid(pid, Some(WaitPidFlag::__WALL)).expect("traced"),
        status => status,
    };
    assert!(matches!(status, WaitStatus::PtraceEvent(..)), "{status:?}");
    ptrace::cont(pid, None).expect("it stands still");
    daemon.line_with(&format!("gone pid={} name=test_proc1", one.pid()));
    let said = daemon.line_with("freed");
    assert!(said.contains("from 1 process "), "{said}");
    let (status, heard) = daemon.end_by(Signal::SIGTERM);
    assert!(status.success(), "{heard:#?}");
    let stays = heard.iter().filter(|line| line.contains(" stays pid="));
    assert_eq!(stays.count(), 1, "{heard:#?}");
}

#[test]
fn where_memory_does_not_come_back_with_the_victims_that_is_said() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--grace", "0.1"]);
    let one = stage.process(1);
    daemon.line_with(&format!("process {} is registered", one.pid()));
    stage.set_available(SHORT);
    let freed = daemon.line_with("freed");
    assert!(freed.contains("only 0 of 20"), "{freed}");
    assert!(
        freed.contains("350 MiB after; the rest is still mapped"),
        "{freed}"
    );
}
