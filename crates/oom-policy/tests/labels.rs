//! What a rule's label says of signals, units and groups, on snapshots made by
//! hand.

pub mod machine;

use std::time::Duration;

use machine::{Driven, GIB, Snapshot, holding, registered};
use oom_policy::{
    Action, Ask, Cost, Dossier, GroupBy, KilledWith, Label, Memory, Process, Seen, SessionId,
    Settings,
};

const SECOND: Duration = Duration::from_secs(1);
/// A cgroup as systemd makes one.
const CGROUP: SessionId = SessionId(1 << 40);

/// 100 GiB of memory, no swap.
fn seen(available_percent: u64, processes: Vec<Process>) -> Snapshot {
    Snapshot {
        memory: Memory {
            total_bytes: 100 * GIB,
            available_bytes: available_percent * GIB,
            ..Memory::default()
        },
        ask: Ask::None,
        processes,
    }
}

/// `process`, of which the first rule says `label`.
fn labelled(label: Label, process: Process) -> Process {
    Process {
        dossier: Dossier {
            label: Label { rule: 1, ..label },
            ..process.dossier
        },
        ..process
    }
}

fn killed_with(together: KilledWith, process: Process) -> Process {
    let label = Label {
        together: Some(together),
        ..Label::default()
    };
    labelled(label, process)
}

/// `process`, as a rule that has a value shows it.
fn worth(value: u32, process: Process) -> Process {
    Process {
        dossier: Dossier {
            value: Some(value),
            is_rules_value: true,
            ..process.dossier
        },
        ..process
    }
}

fn child(parent: u32, process: Process) -> Process {
    let seen = Seen {
        parent,
        ..process.seen
    };
    Process { seen, ..process }
}

/// `process` in this process group, session and cgroup.
fn in_sets(group: u32, kernel_session: u32, session: SessionId, process: Process) -> Process {
    let seen = Seen {
        group,
        kernel_session,
        session,
        ..process.seen
    };
    Process { seen, ..process }
}

/// At the kill level there are these units: name, processes, value.
#[track_caller]
fn check(processes: Vec<Process>, want: &[(&str, u32, Option<u32>)]) {
    let mut policy = Driven::new(Settings::default(), 16);
    let decision = policy.step(SECOND, &seen(5, processes));
    let units = decision.candidates.iter().map(|unit| {
        let value = unit.explanation.value();
        (unit.name.to_string(), unit.processes, value)
    });
    let mut units: Vec<_> = units.collect();
    units.sort();
    let want = want
        .iter()
        .map(|(name, processes, value)| ((*name).to_owned(), *processes, *value));
    assert_eq!(units, want.collect::<Vec<_>>());
}

#[test]
fn a_unit_has_the_grace_of_its_leaders_label() {
    let grace = |grace| {
        let label = Label {
            grace: Some(grace),
            ..Label::default()
        };
        labelled(label, registered(100, "job", 1, 10 * GIB))
    };
    let loader = child(100, holding(200, "loader", 10 * GIB));
    let table = |time| vec![grace(time), loader];
    let ids = [grace(SECOND).id, loader.id];
    let mut policy = Driven::new(Settings::default(), 16);
    let decision = policy.step(SECOND, &seen(10, table(30 * SECOND)));
    assert_eq!(decision.actions, ids.map(Action::Terminate));
    assert_eq!(decision.wake_after, Some(30 * SECOND));
    // The default is over, and so it would be by what the rule says now.
    let decision = policy.step(20 * SECOND, &seen(10, table(SECOND)));
    assert!(decision.actions.is_empty());
    let decision = policy.step(31 * SECOND, &seen(10, table(SECOND)));
    assert_eq!(decision.actions, ids.map(Action::Kill));

    let mut policy = Driven::new(Settings::default(), 16);
    let decision = policy.step(SECOND, &seen(10, table(Duration::ZERO)));
    assert_eq!(decision.actions, ids.map(Action::Kill));
}

#[test]
fn alone_it_takes_none_with_it_and_goes_with_none() {
    let alone = |process| killed_with(KilledWith::Process, process);
    check(
        vec![
            alone(registered(100, "train", 9, GIB)),
            child(100, holding(200, "loader", GIB)),
            registered(300, "other", 5, GIB),
            child(300, alone(holding(400, "cache", GIB))),
            child(300, holding(500, "worker", GIB)),
        ],
        &[
            ("cache", 1, None),
            ("loader", 1, None),
            ("other", 2, Some(5)),
            ("train", 1, Some(9)),
        ],
    );
}

#[test]
fn a_tree_begins_at_the_topmost_that_its_rule_matches() {
    let tree = |process| killed_with(KilledWith::Tree, process);
    check(
        vec![
            tree(holding(100, "make", GIB)),
            child(100, tree(holding(200, "make-2", GIB))),
            child(200, holding(300, "cc", GIB)),
            child(200, registered(400, "kept", 7, GIB)),
            holding(500, "other", GIB),
        ],
        &[("kept", 1, Some(7)), ("make", 3, None), ("other", 1, None)],
    );
}

#[test]
fn a_group_a_session_or_a_cgroup_is_one_where_a_rule_says_so_of_one_in_it() {
    let other = SessionId(2 << 40);
    for (together, want) in [
        (KilledWith::Group, ["a", "b"].as_slice()),
        (KilledWith::Session, &["a", "b", "c"]),
        (KilledWith::Cgroup, &["a", "b", "c", "d"]),
    ] {
        let table = vec![
            in_sets(100, 50, CGROUP, holding(100, "a", GIB)),
            killed_with(together, in_sets(100, 50, CGROUP, holding(200, "b", GIB))),
            in_sets(300, 50, CGROUP, holding(300, "c", GIB)),
            in_sets(400, 60, CGROUP, holding(400, "d", GIB)),
            in_sets(500, 70, other, holding(500, "e", GIB)),
        ];
        let alone = ["a", "b", "c", "d", "e"];
        let alone = alone.into_iter().filter(|name| !want.contains(name));
        let count = u32::try_from(want.len()).unwrap();
        let mut units: Vec<_> = alone.map(|name| (name, 1, None)).collect();
        units.insert(0, ("a", count, None));
        check(table, &units);
    }
}

#[test]
fn a_rules_value_counts_once_in_a_unit_and_entries_each() {
    let of_session = |process: Process| {
        let process = in_sets(process.group, 50, SessionId::default(), process);
        killed_with(KilledWith::Session, process)
    };
    check(
        vec![
            of_session(worth(30, holding(100, "a", GIB))),
            of_session(worth(30, holding(200, "b", GIB))),
            of_session(registered(300, "c", 5, GIB)),
        ],
        &[("a", 3, Some(35))],
    );
}

#[test]
fn what_a_rule_matches_shares_one_default_value_or_that_of_each_user() {
    let grouped = |by, uid, pid| {
        let label = Label {
            group_by: Some(by),
            ..Label::default()
        };
        let process = holding(pid, "page", GIB);
        let seen = Seen {
            uid,
            ..process.seen
        };
        labelled(label, Process { seen, ..process })
    };
    for (by, parts) in [(GroupBy::Rule, [3, 3, 3]), (GroupBy::User, [2, 2, 1])] {
        let table = vec![
            grouped(by, 1000, 100),
            grouped(by, 1000, 200),
            grouped(by, 1001, 300),
        ];
        let mut policy = Driven::new(Settings::default(), 16);
        let decision = policy.step(SECOND, &seen(5, table));
        let lost: Vec<_> = decision.candidates.iter().map(|it| it.lost()).collect();
        let want = parts.map(|parts| Cost::from_parts(Cost::PARTS / parts));
        assert_eq!(lost, want, "{by:?}");
    }
}
