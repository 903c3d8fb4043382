//! What a decision costs once the table is read: `cargo bench -p oom-policy`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use oom_policy::{Ask, Dossier, Memory, Name, Process, ProcessId, Seen, SessionId, Settings};

use machine::dice::Dice;
use machine::{Driven, Snapshot};

#[path = "../tests/machine/mod.rs"]
pub mod machine;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A third registered, most of them small, a few of them large.
fn snapshot(processes: u32, available_bytes: u64, grown: u64) -> Snapshot {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let processes = (0..processes)
        .map(|number| {
            let scale = 1 << dice.below(12);
            let anon_bytes = dice.below(MIB) * scale / 4096 * 4096 + grown * (scale >> 8);
            let registered = dice.below(3) == 0;
            let value = u32::try_from(dice.below(100)).unwrap_or(0);
            let id = ProcessId {
                pid: 1000 + number,
                start_ticks: u64::from(number),
            };
            Process {
                seen: Seen {
                    parent: if number % 5 == 0 { 1 } else { 999 + number },
                    group: 1000 + number / 3,
                    session: SessionId(dice.below(20)),
                    login: dice.below(2) == 0,
                    uid: if dice.below(4) == 0 { 0 } else { 1000 },
                    name: Name::new(b"process"),
                    rss_bytes: anon_bytes,
                    anon_bytes,
                    ..Seen::new(id)
                },
                dossier: Dossier {
                    value: registered.then_some(value),
                    ..Dossier::default()
                },
            }
        })
        .collect::<Vec<_>>();
    let held: u64 = processes.iter().map(|process| process.anon_bytes).sum();
    Snapshot {
        memory: Memory {
            total_bytes: held + 4 * GIB,
            available_bytes,
            ..Memory::default()
        },
        ask: Ask::None,
        processes,
    }
}

/// The same, where of each ten processes nine end with the first, in a line of two.
fn with_holders(snapshot: &Snapshot) -> Snapshot {
    let mut tied = snapshot.clone();
    for index in 0..tied.processes.len() {
        let holder = match index % 10 {
            0 => continue,
            1..5 => index / 10 * 10,
            _ => index / 10 * 10 + 1,
        };
        tied.processes[index].seen.ends_with = Some(tied.processes[holder].id);
    }
    tied
}

fn choosing(criterion: &mut Criterion, id: &str, quiet: &Snapshot, short: &Snapshot) {
    criterion.bench_function(id, |bencher| {
        bencher.iter_batched(
            || {
                let mut policy = Driven::new(Settings::default(), quiet.processes.len());
                policy.step(Duration::from_secs(1), quiet);
                policy.step(Duration::from_secs(3), quiet);
                policy
            },
            |mut policy| {
                let decision = policy.step(Duration::from_secs(5), short);
                assert!(decision.covers_need);
                black_box(decision.frees_bytes);
                policy
            },
            BatchSize::LargeInput,
        );
    });
}

fn decision(criterion: &mut Criterion) {
    for processes in [500, 5000] {
        let quiet = snapshot(processes, 1000 * GIB, 0);
        let short = snapshot(processes, GIB / 2, MIB);
        let id = |name| format!("{name}, {processes} processes");
        choosing(criterion, &id("choosing at the kill level"), &quiet, &short);
        choosing(
            criterion,
            &id("choosing among holders"),
            &with_holders(&quiet),
            &with_holders(&short),
        );
        criterion.bench_function(&id("taking in a quiet table"), |bencher| {
            let mut policy = Driven::new(Settings::default(), quiet.processes.len());
            let mut now = Duration::ZERO;
            bencher.iter(|| {
                now += Duration::from_secs(1);
                black_box(policy.step(now, &quiet).level)
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .measurement_time(Duration::from_secs(2));
    targets = decision
}
criterion_main!(benches);
