//! The built daemon beside a supervisor that starts its worker again.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use support::{Stage, TOTAL_MIB};

/// Below 10 % of [`TOTAL_MIB`]; 130 MiB less than 12 %.
const SHORT: u64 = 350;
const PLENTY: u64 = TOTAL_MIB / 2;

/// The pid in a line of the daemon's.
fn pid_of(line: &str) -> String {
    let (_, rest) = line.split_once("pid=").expect("it names one");
    rest.split(' ').next().expect("it names one").to_owned()
}

#[test]
fn a_worker_is_killed_twice_and_then_with_the_shell_that_starts_it_again() {
    const REGISTERED: &str = "is registered: value 5 (test_proc1";
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--grace", "0"]);
    let mut shell = stage.restarting(5);
    for workers in 1..=2 {
        daemon.says_so_often(REGISTERED, workers);
        shell.holds();
        stage.set_available(SHORT);
        let kill = daemon.line_with("kill pid=");
        assert!(kill.contains(" name=test_proc1 "), "{kill}");
        stage.set_available(PLENTY);
        daemon.says(&format!("gone pid={} ", pid_of(&kill)));
    }
    // It registers as soon as its predecessor is gone, which may be said later.
    daemon.says_so_often(REGISTERED, 3);
    shell.holds();
    stage.set_available(SHORT);
    let said = daemon.line_with("comes-back ");
    let supervisor = format!(" supervisor={} supervisor-name=sh kills=2: ", shell.pid());
    assert!(said.contains(&supervisor), "{said}");
    let kill = daemon.line_with("kill pid=");
    assert_eq!(pid_of(&kill), shell.pid().to_string(), "{kill}");
    assert!(kill.contains(" processes=2 "), "{kill}");
    stage.set_available(PLENTY);
    daemon.line_with("freed ");
    assert!(!shell.lives());
}
