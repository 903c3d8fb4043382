//! What a rule's label says of signals, units and groups, on snapshots made by
//! hand.

pub mod machine;

use std::time::Duration;

use machine::{Driven, GIB, Snapshot, holding, registered};
use oom_policy::{
    Action, Ask, CommandLabel, Cost, Dossier, EndedBy, Event, GroupBy, KilledWith, Label, Memory,
    Process, ProcessId, Seen, SessionId, Settings,
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

/// A unit of two, whose leader's rule has a command, and its ids.
fn commanded() -> ([Process; 2], [ProcessId; 2]) {
    let label = Label {
        grace: Some(3 * SECOND),
        command: Some(CommandLabel {
            limit_millis: 60_000,
            edition: 0,
        }),
        ..Label::default()
    };
    let leader = labelled(label, registered(100, "job", 1, 10 * GIB));
    let loader = child(100, holding(200, "loader", 10 * GIB));
    ([leader, loader], [leader.id, loader.id])
}

#[test]
fn a_command_ends_a_unit_and_the_signal_follows_where_it_fails_or_its_time_is_over() {
    let (unit, ids) = commanded();
    let table = || unit.to_vec();
    for fails in [false, true] {
        let mut policy = Driven::new(Settings::default(), 16);
        let decision = policy.step(SECOND, &seen(10, table()));
        assert_eq!(decision.actions, ids.map(Action::Command));
        assert_eq!(decision.wake_after, Some(60 * SECOND));
        let decision = policy.step(30 * SECOND, &seen(10, table()));
        assert_eq!(decision.actions, []);
        let over = if fails {
            // Of another unit.
            policy.learn(30 * SECOND, Event::CommandFailed(ids[1]));
            let decision = policy.step(30 * SECOND, &seen(10, table()));
            assert_eq!(decision.actions, []);
            policy.learn(31 * SECOND, Event::CommandFailed(ids[0]));
            31 * SECOND
        } else {
            61 * SECOND
        };
        let look = policy.look(over, &seen(10, table()).memory, Ask::None);
        assert!(look.wants_table);
        let decision = policy.decide(over, &table());
        assert_eq!(decision.actions, ids.map(Action::Terminate));
        assert_eq!(decision.wake_after, Some(3 * SECOND));
        // It is over already.
        policy.learn(over + SECOND, Event::CommandFailed(ids[0]));
        let decision = policy.step(over + SECOND, &seen(10, table()));
        assert_eq!(decision.actions, []);
        let decision = policy.step(over + 3 * SECOND, &seen(10, table()));
        assert_eq!(decision.actions, ids.map(Action::Kill));
    }
}

#[test]
fn at_the_kill_threshold_and_at_a_last_call_no_command_is_run_or_waited_for() {
    let (unit, ids) = commanded();
    let kills = ids.map(Action::Kill);
    let table = |available| seen(available, unit.to_vec());
    let last_call = Snapshot {
        ask: Ask::LastCall,
        ..table(10)
    };
    for urgent in [table(5), last_call] {
        let mut policy = Driven::new(Settings::default(), 16);
        assert_eq!(policy.step(SECOND, &urgent).actions, kills);
        let mut policy = Driven::new(Settings::default(), 16);
        let decision = policy.step(SECOND, &table(10));
        assert_eq!(decision.actions, ids.map(Action::Command));
        assert_eq!(policy.step(2 * SECOND, &urgent).actions, kills);
    }
}

#[test]
fn what_a_command_ends_is_not_chosen_again_and_holds_up_no_other_for_long() {
    let (unit, ids) = commanded();
    let other = registered(300, "other", 5, 30 * GIB);
    let table = |available| seen(available, [&unit[..], &[other]].concat());
    let mut policy = Driven::new(Settings::default(), 16);
    let decision = policy.step(SECOND, &table(10));
    assert_eq!(decision.actions, ids.map(Action::Command));
    // It brings 20, which is enough.
    for time in [2, 10, 20] {
        assert_eq!(policy.step(time * SECOND, &table(7)).actions, []);
    }
    // The unit gave back most of what it held, and nothing came of that.
    let small = unit.map(|process| {
        let seen = Seen {
            anon_bytes: GIB,
            ..process.seen
        };
        Process { seen, ..process }
    });
    let decision = policy.step(30 * SECOND, &seen(6, [&small[..], &[other]].concat()));
    assert_eq!(decision.actions, [Action::Terminate(other.id)]);
}

#[test]
fn a_command_for_another_scope_is_waited_for_until_that_sends_the_signal() {
    let (unit, ids) = commanded();
    let table = |available| seen(available, unit.to_vec());
    let ended = |by| Event::Killed {
        process: &unit[1],
        lost: Cost::ZERO,
        by,
    };
    let mut policy = Driven::new(Settings::default(), 16);
    policy.step(SECOND, &seen(50, unit.to_vec()));
    policy.learn(2 * SECOND, ended(EndedBy::Command));
    assert!(policy.guard.awaits(ids[1]));
    // Long after its grace and any limit.
    let decision = policy.step(3600 * SECOND, &seen(50, unit.to_vec()));
    assert_eq!((&*decision.actions, decision.wake_after), (&[][..], None));
    policy.learn(3600 * SECOND, ended(EndedBy::Terminate));
    let decision = policy.step(3605 * SECOND, &seen(50, unit.to_vec()));
    assert_eq!(decision.actions, [Action::Kill(ids[1])]);
    let mut policy = Driven::new(Settings::default(), 16);
    policy.step(SECOND, &seen(50, unit.to_vec()));
    policy.learn(2 * SECOND, ended(EndedBy::Command));
    let decision = policy.step(3 * SECOND, &table(5));
    assert!(decision.actions.contains(&Action::Kill(ids[1])));
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
