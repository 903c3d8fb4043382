//! What the built daemon says afterwards about those it killed.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::time::Duration;

use control::{Client, Denial, Fate, Grounds, Place, Reply, Request};
use support::{HELD_MIB, Stage, TOTAL_MIB, until};

const LIMIT: Duration = Duration::from_secs(30);

fn ask(stage: &Stage, request: Request) -> Reply {
    let place = Place::at(&stage.socket()).expect("it is short enough");
    let client = Client::connect(&place, LIMIT).expect("the daemon answers");
    client.ask(&request, LIMIT).expect("the daemon answers")
}

#[test]
fn who_was_killed_by_which_signal_and_why_is_told_to_those_who_ask() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--grace", "1"]);
    let [nine, one] = [9, 1].map(|value| stage.process(value));
    for process in [&nine, &one] {
        daemon.line_with(&format!("process {} is registered", process.pid()));
    }
    let fate = |pid| ask(&stage, Request::Fate { pid });
    assert_eq!(fate(one.pid()), Reply::Refused(Denial::NoVictim {}));

    // 10 % warns, and 12 % is enough again: 480 of 4000 MiB.
    stage.set_available(350);
    daemon.line_with(&format!("kill pid={} signal=SIGTERM", one.pid()));
    stage.set_available(TOTAL_MIB / 2);
    daemon.line_with(&format!("gone pid={} ", one.pid()));
    let (told, gone_after) = until("it is gone", || match fate(one.pid()) {
        Reply::Fate(told) => told.gone_after.map(|after| (told, after)),
        other => panic!("{other:?}"),
    });
    assert!(Duration::from_secs(1) <= gone_after && gone_after <= told.since);
    assert!(HELD_MIB <= told.held_bytes >> 20, "{told:?}");
    assert_eq!(
        told,
        Fate {
            pid: one.pid(),
            value: Some(1),
            first: control::Signal::Term,
            last: control::Signal::Kill,
            cause: Grounds::Warn,
            need_bytes: 130 << 20,
            ..told.clone()
        }
    );
    assert_eq!(fate(nine.pid()), Reply::Refused(Denial::NoVictim {}));
}

#[test]
fn the_status_says_where_it_warns() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let Reply::Status(status) = ask(&stage, Request::Status) else {
        panic!("a status is answered to everybody");
    };
    assert_eq!(status.warn_bytes, (TOTAL_MIB << 20) / 10);
}
