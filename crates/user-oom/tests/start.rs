//! The built daemon, started when things are not as they should be.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;

use nix::sys::signal::Signal;
use support::Stage;

/// At or below 10 % (400 MiB of 4000) it warns, and 12 % (480) is enough again.
const SHORT: u64 = 350;
const PLENTY: u64 = 2000;

#[test]
fn started_while_memory_is_short_it_knows_the_values_before_it_chooses() {
    let stage = Stage::new();
    let [mut fifty, mut five] = [50, 5].map(|value| stage.process(value));
    // More files than one look at the registry takes in.
    for pid in 5_000_000..5_002_000 {
        fs::write(stage.entry(pid), "1\n").expect("the folder is ours");
    }
    stage.set_available(SHORT);
    let mut daemon = stage.daemon(&["--grace", "1"]);
    daemon.line_with(&format!("SIGTERM to {} test_proc1", five.pid()));
    let heard = daemon.heard();
    assert!(
        !heard.iter().any(|line| line.contains("nobody is ended")),
        "it chose before it had read the registry: {heard:#?}"
    );
    stage.set_available(PLENTY);
    daemon.line_with("freed");
    assert_eq!(five.ended_by(), Some(Signal::SIGKILL as i32));
    assert!(fifty.lives());
}

#[test]
fn what_stands_still_is_not_said_to_grow_at_the_first_decision() {
    let stage = Stage::new();
    let _processes = [50, 5].map(|value| stage.process(value));
    stage.set_available(SHORT);
    let mut daemon = stage.daemon(&["--dryrun", "--horizon", "5"]);
    // 480 MiB are enough again, and 350 are there.
    daemon.line_with("; 130 MiB to give back");
    for _ in 0..2 {
        let row = daemon.line_with(" test_proc1 ");
        assert!(!row.contains("growing"), "{row}");
    }
}
