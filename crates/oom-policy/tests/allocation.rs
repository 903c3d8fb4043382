//! Once a policy is made, deciding takes no memory.

pub mod machine;

use std::time::Duration;

use machine::{Driven, GIB, MIB, Snapshot, holding, registered, system};
use oom_policy::{Ask, Event, Memory, Process, Seen, SessionId, Settings};

const PROCESSES: u32 = 500;

fn snapshot(round: u32, available_bytes: u64, ask: Ask) -> Snapshot {
    let processes = (0..PROCESSES)
        .map(|number| {
            // A tenth of them are new in every round.
            let pid = if number < 450 {
                2 + number
            } else {
                number * 100 + round
            };
            let bytes = u64::from(number % 37 + round) * 3 * MIB;
            let process = match number % 4 {
                0 => registered(pid, "registered", number % 13, bytes),
                1 => system(pid, "system", bytes),
                _ => holding(pid, "ordinary", bytes),
            };
            Process {
                seen: Seen {
                    parent: number / 3,
                    group: number / 5,
                    session: SessionId(u64::from(number % 7)),
                    // Of the first ten, two have one memory and eight hold the rest.
                    ends_with: (number >= 10).then(|| registered(2 + number % 8, "", 0, 0).id),
                    memory_of: (number == 9).then(|| registered(10, "", 0, 0).id),
                    ..process.seen
                },
                ..process
            }
        })
        .collect();
    Snapshot {
        memory: Memory {
            total_bytes: 64 * GIB,
            available_bytes,
            swap_total_bytes: 8 * GIB,
            ..Memory::default()
        },
        ask,
        processes,
    }
}

#[track_caller]
fn check(by_group: bool) {
    let settings = Settings {
        by_group,
        ..Settings::default()
    };
    let mut policy = Driven::new(settings, 500);
    let rounds: Vec<Snapshot> = (0..40)
        .map(|round| {
            let (available_bytes, ask) = match round % 5 {
                0 => (40 * GIB, Ask::None),
                1 => (5 * GIB, Ask::None),
                2 => (3 * GIB, Ask::None),
                3 => (8 * GIB, Ask::Relief),
                _ => (GIB, Ask::LastCall),
            };
            snapshot(round, available_bytes, ask)
        })
        .collect();
    let mut chosen = 0;
    let mut will = Vec::with_capacity(32);
    let counted = allocation_counter::measure(|| {
        for (round, snapshot) in (0..).zip(&rounds) {
            let now = Duration::from_secs(round);
            policy.look(now, &snapshot.memory, snapshot.ask);
            let decision = policy.step(now, snapshot);
            let first = decision
                .candidates
                .iter()
                .find(|candidate| candidate.chosen)
                .map(|candidate| candidate.leader);
            if let Some(id) = first {
                chosen += 1;
                policy.learn(now, Event::Gone(id));
            }
            policy.will(&snapshot.processes, &mut will);
        }
    });
    assert_eq!(counted.count_total, 0);
    assert!(chosen > 10, "only {chosen} choices were made");
}

#[test]
fn deciding_takes_no_memory() {
    check(false);
}

#[test]
fn deciding_by_group_takes_no_memory() {
    check(true);
}

#[test]
fn growing_in_a_quiet_round_is_enough_for_a_larger_table() {
    let snapshot = snapshot(1, 3 * GIB, Ask::None);
    let counted = |mut policy: Driven| {
        let counted = allocation_counter::measure(|| {
            policy.step(Duration::from_secs(1), &snapshot);
        });
        counted.count_total
    };
    let mut grown = Driven::new(Settings::default(), 10);
    grown.guard.reserve(500);
    assert_eq!(counted(grown), 0);
    assert_ne!(counted(Driven::new(Settings::default(), 10)), 0);
}

#[test]
fn a_policy_for_a_thousand_processes_takes_well_under_a_mebibyte() {
    let mut policy = None;
    let counted = allocation_counter::measure(|| {
        policy = Some(Driven::new(Settings::default(), 1000));
    });
    assert!(counted.bytes_current > 0);
    assert!(
        counted.bytes_current < 1000 << 10,
        "{} bytes",
        counted.bytes_current
    );
}
