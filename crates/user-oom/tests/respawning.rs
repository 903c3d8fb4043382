//! The built daemon beside a supervisor that starts its worker again.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use support::{Stage, TOTAL_MIB};

/// Below 10 % of [`TOTAL_MIB`]; 130 MiB less than 12 %.
const SHORT: u64 = 350;
const PLENTY: u64 = TOTAL_MIB / 2;

#[test]
fn a_worker_is_killed_twice_and_then_with_the_shell_that_starts_it_again() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--grace", "0"]);
    let mut shell = stage.restarting(5);
    // It stays so: how soon the test sees a line does not matter then.
    stage.set_available(SHORT);
    let last = daemon.line_with(&format!("kill pid={} ", shell.pid()));
    assert!(last.contains(" processes=2 "), "{last}");
    let heard = daemon.heard();
    let kills: Vec<_> = heard.iter().filter(|it| it.contains("kill pid=")).collect();
    let [first, second, _] = kills[..] else {
        panic!("{kills:#?}");
    };
    for kill in [first, second] {
        assert!(kill.contains(" name=test_proc1 "), "{kill}");
    }
    let said = heard.iter().find(|line| line.contains("comes-back "));
    let supervisor = format!(" supervisor={} supervisor-name=sh kills=2: ", shell.pid());
    assert!(
        said.is_some_and(|it| it.contains(&supervisor)),
        "{heard:#?}"
    );
    stage.set_available(PLENTY);
    daemon.line_with("freed ");
    assert!(!shell.lives());
}
