//! What holds for every machine, sensible or not.

pub mod machine;

use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::Duration;

use machine::{Driven, Snapshot, process, registered};
use oom_policy::{
    Action, Amount, Ask, Candidate, Class, CommandLabel, Cost, Decision, Dossier, Event, Floor,
    Label, Level, Memory, Pausing, Preference, Process, ProcessId, Protection, Refusal, Seen,
    SessionId, Settings, Unpausable, Verdict,
};
use proptest::prelude::*;

/// Small numbers, sizes in between, and the largest there are.
fn quantity() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..1_u64 << 36,
        1 => 0..4_u64,
        1 => any::<u64>(),
        1 => Just(u64::MAX),
    ]
}

fn size() -> impl Strategy<Value = u64> {
    (0..1_u64 << 20).prop_map(|pages| pages * 4096)
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        any::<u32>().prop_map(Amount::PartsPerMillion),
        quantity().prop_map(Amount::Bytes),
        (any::<u32>(), quantity()).prop_map(|(parts_per_million, bytes)| Amount::LowerOf {
            parts_per_million,
            bytes,
        }),
    ]
}

fn floor() -> impl Strategy<Value = Floor> {
    (amount(), amount()).prop_map(|(memory, swap)| Floor { memory, swap })
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..10_000_u64).prop_map(Duration::from_millis),
        Just(Duration::ZERO),
        Just(Duration::MAX),
    ]
}

fn any_settings() -> impl Strategy<Value = Settings> {
    (
        (floor(), floor(), proptest::option::of(amount())),
        (duration(), duration(), duration(), duration(), duration()),
        (any::<bool>(), any::<bool>(), any::<u32>(), any::<bool>()),
        any::<u32>(),
    )
        .prop_map(|(levels, times, flags, user_value_cap)| Settings {
            warn: levels.0,
            kill: levels.1,
            recovery: levels.2,
            grace: times.0,
            deadline: times.1,
            last_call_deadline: times.2,
            horizon: times.3,
            relief_interval: times.4,
            shortest_look: times.3,
            pause: flags.3,
            registered_only: flags.0,
            by_group: flags.1,
            first_ordinary_uid: flags.2,
            user_value_cap,
        })
}

fn protection() -> impl Strategy<Value = Option<Protection>> {
    prop_oneof![
        6 => Just(None),
        1 => Just(Some(Protection::Ours)),
        1 => Just(Some(Protection::Ancestor)),
        1 => Just(Some(Protection::Ignored)),
        1 => Just(Some(Protection::NotPermitted)),
    ]
}

fn preference() -> impl Strategy<Value = Preference> {
    prop_oneof![
        3 => Just(Preference::None),
        1 => Just(Preference::Prefer),
        1 => Just(Preference::Avoid),
    ]
}

fn pausing() -> impl Strategy<Value = Pausing> {
    prop_oneof![
        3 => Just(Pausing::Allowed),
        1 => Just(Pausing::Asked),
        1 => Just(Pausing::Forbidden(Unpausable::PtyMaster)),
    ]
}

/// To which process another is tied, where it is.
fn tie() -> impl Strategy<Value = Option<(u32, u64)>> {
    prop_oneof![
        6 => Just(None),
        1 => (0..40_u32, 0..4_u64).prop_map(Some),
    ]
}

fn tied(to: Option<(u32, u64)>) -> Option<ProcessId> {
    to.map(|(pid, start_ticks)| ProcessId { pid, start_ticks })
}

/// A process whose sizes come from `bytes`.
fn any_process<S: Strategy<Value = u64>>(bytes: impl Fn() -> S) -> impl Strategy<Value = Process> {
    (
        (
            0..40_u32,
            0..4_u64,
            0..40_u32,
            0..40_u32,
            0..4_u64,
            tie(),
            tie(),
        ),
        (
            any::<bool>(),
            prop_oneof![Just(0), Just(1000), Just(1001)],
            prop_oneof![4 => Just(0), 1 => Just(-1000_i16)],
            prop_oneof![10 => Just(false), 1 => Just(true)],
        ),
        (bytes(), bytes(), bytes(), any::<u64>()),
        (
            proptest::option::of(prop_oneof![0..20_u32, any::<u32>()]),
            protection(),
            quantity(),
            preference(),
            pausing(),
            proptest::option::weighted(0.2, (any::<u32>(), proptest::option::of(duration()))),
        ),
    )
        .prop_map(|(ids, owner, sizes, said)| Process {
            seen: Seen {
                id: ProcessId {
                    pid: ids.0,
                    start_ticks: ids.1,
                },
                parent: ids.2,
                group: ids.3,
                session: SessionId(ids.4),
                login: owner.0,
                uid: owner.1,
                oom_score_adj: owner.2,
                is_kernel_thread: owner.3,
                rss_bytes: sizes.0,
                anon_bytes: sizes.0,
                swap_bytes: sizes.1,
                shmem_bytes: sizes.2,
                common_bytes: sizes.2 / 2 / PAGE * PAGE,
                common_with: tied(ids.6),
                major_faults: sizes.3,
                memory_of: tied(ids.5),
                ends_with: tied(ids.6),
                ..process(1, "any").seen
            },
            dossier: Dossier {
                value: said.0,
                protection: said.1,
                critical_below_bytes: said.2,
                preference: said.3,
                pause: said.4,
                label: said
                    .5
                    .map_or(Label::default(), |(limit_millis, grace)| Label {
                        grace,
                        command: Some(CommandLabel {
                            limit_millis,
                            edition: 0,
                        }),
                        ..Label::default()
                    }),
                ..Dossier::default()
            },
        })
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        Just(Ask::None),
        Just(Ask::Pause),
        Just(Ask::Relief),
        Just(Ask::LastCall)
    ]
}

fn any_memory() -> impl Strategy<Value = Memory> {
    proptest::array::uniform12(quantity()).prop_map(|bytes| Memory {
        total_bytes: bytes[0],
        available_bytes: bytes[1],
        hugetlb_bytes: bytes[2],
        swap_total_bytes: bytes[3],
        swap_free_bytes: bytes[4],
        anon_bytes: bytes[5],
        shmem_bytes: bytes[6],
        unreclaimable_slab_bytes: bytes[7],
        at_least_bytes: bytes[8],
        worthless_swap_bytes: bytes[9],
        zram_bytes: bytes[10],
        swap_cached_bytes: bytes[11],
    })
}

/// Any table: not sorted, pids twice, parents in circles.
fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    let processes = proptest::collection::vec(any_process(quantity), 0..24);
    (any_memory(), ask(), processes).prop_map(|(memory, ask, processes)| Snapshot {
        memory,
        ask,
        processes,
    })
}

/// A table as the kernel would show it, on a machine of 64 GiB.
fn sound_snapshot() -> impl Strategy<Value = Snapshot> {
    const TOTAL: u64 = 64 << 30;
    let processes = proptest::collection::vec(any_process(size), 0..24);
    (0..TOTAL / 4, 0..TOTAL / 4, any::<bool>(), ask(), processes).prop_map(
        |(available_bytes, swap_free, has_swap, ask, mut processes)| {
            processes.sort_by_key(|process| process.id.pid);
            processes.dedup_by_key(|process| process.id.pid);
            Snapshot {
                memory: Memory {
                    total_bytes: TOTAL,
                    available_bytes,
                    swap_total_bytes: if has_swap { TOTAL / 2 } else { 0 },
                    swap_free_bytes: if has_swap { swap_free } else { 0 },
                    ..Memory::default()
                },
                ask,
                processes,
            }
        },
    )
}

/// What is killed or paused.
fn ids(decision: &Decision) -> Vec<ProcessId> {
    decision
        .actions
        .iter()
        .filter_map(|action| match *action {
            Action::Freeze(id) => Some(id),
            action => action.ends().map(|(id, _)| id),
        })
        .collect()
}

fn may_be_killed(process: &Process) -> bool {
    process.id.pid > 1
        && !process.is_kernel_thread
        && process.dossier.protection.is_none()
        && process.oom_score_adj != -1000
}

/// What of a candidate's yield may be lost to whole pages.
const PAGE: u64 = 4096;

/// Up to twelve registered processes, of which some end with an older one.
fn forest() -> impl Strategy<Value = Vec<Process>> {
    let one = (0..12_u32, 1..40_u64, 0..12_usize, any::<bool>());
    proptest::collection::vec(one, 1..=12).prop_map(|all| {
        let mut processes: Vec<Process> = Vec::new();
        for (pid, (value, size, holder, ends_with)) in (100..).zip(all) {
            let mut process = registered(pid, "unit", value, size * PAGE * 256);
            let holder = processes.get(holder).filter(|_| ends_with);
            process.seen.ends_with = holder.map(|holder| holder.id);
            processes.push(process);
        }
        processes
    })
}

/// Of all sets that have with each candidate all that ends with it, and cover the
/// need: what the best costs, has, and frees.
fn best_of_all_sets(decision: &Decision) -> Option<(Cost, usize, Reverse<u64>)> {
    let candidates = &decision.candidates;
    let sets = (0..1_u32 << candidates.len()).filter_map(|set| {
        let has = |index: usize| set >> index & 1 == 1;
        let is_whole = (0..candidates.len()).all(|index| {
            let holder = candidates[index].ends_with;
            has(index) || !holder.is_some_and(|holder| has(holder as usize))
        });
        let chosen = (0..candidates.len()).filter(|index| has(*index));
        let frees = chosen.clone().map(|index| candidates[index].frees_bytes);
        let freed: u64 = frees.sum();
        let cost = chosen
            .clone()
            .map(|index| candidates[index].explanation.cost);
        (is_whole && freed >= decision.need_bytes)
            .then(|| (cost.sum(), chosen.count(), Reverse(freed)))
    });
    sets.min()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_ends_together_is_chosen_at_the_least_cost(
        processes in forest(),
        need_percent in 1..100_u64,
    ) {
        let held: u64 = processes.iter().map(|process| process.anon_bytes).sum();
        let need = (held * need_percent / 100 / PAGE * PAGE).max(PAGE);
        let recovery = 2 * held;
        let snapshot = Snapshot {
            memory: Memory {
                total_bytes: 4 * held,
                available_bytes: recovery - need,
                ..Memory::default()
            },
            ask: Ask::None,
            processes,
        };
        let floor = |bytes| Floor { memory: Amount::Bytes(bytes), swap: Amount::percent(100) };
        let settings = Settings {
            warn: floor(recovery - 1),
            kill: floor(0),
            recovery: Some(Amount::Bytes(recovery)),
            ..Settings::default()
        };
        let mut policy = Driven::new(settings, 16);
        let decision = policy.step(Duration::from_secs(1), &snapshot);
        prop_assert!(decision.covers_need);
        prop_assert_eq!(decision.gap, Cost::ZERO);
        let chosen = decision.candidates.iter().filter(|candidate| candidate.chosen);
        let cost = chosen.clone().map(|candidate| candidate.explanation.cost).sum();
        let freed = chosen.clone().map(|candidate| candidate.frees_bytes).sum();
        let found = Some((cost, chosen.clone().count(), Reverse(freed)));
        prop_assert_eq!(found, best_of_all_sets(decision));
        for candidate in chosen {
            // Each is told, signalled and counted once.
            let signalled = ids(decision).into_iter().filter(|id| *id == candidate.leader);
            prop_assert_eq!(signalled.count(), 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_numbers_make_it_panic_or_end_the_protected(
        settings in any_settings(),
        rounds in proptest::collection::vec((duration(), any_snapshot(), any::<u8>()), 1..6),
    ) {
        let mut policy = Driven::new(settings, 4);
        let mut now = Duration::ZERO;
        for (after, snapshot, outcome) in rounds {
            now = now.saturating_add(after);
            policy.look(now, &snapshot.memory, snapshot.ask);
            let ended = ids(policy.step(now, &snapshot));
            for id in &ended {
                let known = snapshot.processes.iter().filter(|process| process.id == *id);
                prop_assert!(known.clone().count() > 0);
                prop_assert!(known.clone().any(may_be_killed));
            }
            for (id, bit) in ended.into_iter().zip(0..8) {
                match (outcome >> bit) % 3 {
                    0 => policy.learn(now, Event::Gone(id)),
                    1 => policy.learn(now, Event::Refused(id)),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn at_ok_and_unasked_nobody_is_ended(snapshot in sound_snapshot()) {
        let mut policy = Driven::new(Settings::default(), 32);
        let decision = policy.step(Duration::from_secs(1), &snapshot);
        if decision.level == Level::Ok && snapshot.ask == Ask::None {
            prop_assert_eq!(decision.verdict, Verdict::Idle);
            prop_assert!(decision.actions.is_empty());
        }
    }

    #[test]
    fn the_need_is_covered_or_the_decision_says_why_not(
        snapshot in sound_snapshot(),
        by_group in any::<bool>(),
        registered_only in any::<bool>(),
    ) {
        let settings = Settings { by_group, registered_only, ..Settings::default() };
        let mut policy = Driven::new(settings, 32);
        let decision = policy.step(Duration::from_secs(1), &snapshot);
        let chosen = decision.candidates.iter().filter(|candidate| candidate.chosen);
        let chosen_bytes: u64 = chosen.clone().map(|candidate| candidate.frees_bytes).sum();
        // It ends with another that is chosen, so it is for itself neither spared nor counted.
        let is_held = |candidate: &&Candidate| {
            let holder = candidate.ends_with.map(|holder| &decision.candidates[holder as usize]);
            holder.is_some_and(|holder| holder.chosen)
        };
        let chosen = chosen.filter(|candidate| !is_held(candidate));
        let eligible_bytes: u64 = decision
            .candidates
            .iter()
            .filter(|candidate| candidate.class == Class::Ordinary)
            .map(|candidate| candidate.frees_bytes)
            .sum();
        match decision.verdict {
            Verdict::Idle => prop_assert!(decision.cause.is_none()),
            Verdict::Chosen | Verdict::Paused if decision.covers_need => {
                prop_assert!(chosen_bytes >= decision.need_bytes);
                if decision.verdict == Verdict::Chosen {
                    prop_assert_eq!(decision.frees_bytes, chosen_bytes);
                }
                // Nobody could be spared, and the rest still cover it.
                for spared in chosen.filter(|candidate| candidate.explanation.cost > Cost::ZERO) {
                    let rest = chosen_bytes - spared.frees_bytes;
                    let is_needed = rest < decision.need_bytes + PAGE;
                    // What the system adds may make one of its own needless
                    // only for the whole, never for its own part.
                    prop_assert!(is_needed || spared.class == Class::System);
                }
            }
            Verdict::Chosen | Verdict::Paused => {
                prop_assert_eq!(chosen.count(), 1);
                prop_assert!(eligible_bytes < decision.need_bytes + PAGE);
            }
            Verdict::Refused(Refusal::NothingHelps { eligible_bytes: said }) => {
                prop_assert_eq!(said, eligible_bytes);
                prop_assert!(eligible_bytes < decision.need_bytes + PAGE);
                prop_assert!(decision.actions.is_empty());
            }
            Verdict::Refused(_) => prop_assert!(decision.actions.is_empty()),
        }
    }

    #[test]
    fn everyone_of_a_chosen_unit_is_ended_once_and_nobody_else(snapshot in sound_snapshot()) {
        let mut policy = Driven::new(Settings::default(), 32);
        let decision = policy.step(Duration::from_secs(1), &snapshot);
        let ended = ids(decision);
        let once: HashSet<ProcessId> = ended.iter().copied().collect();
        prop_assert_eq!(once.len(), ended.len());
        let chosen = decision.candidates.iter().filter(|candidate| candidate.chosen);
        let members: u32 = chosen.clone().map(|candidate| candidate.processes).sum();
        prop_assert_eq!(usize::try_from(members).ok(), Some(ended.len()));
        for candidate in chosen {
            prop_assert!(once.contains(&candidate.leader));
        }
    }

    #[test]
    fn whoever_was_ended_is_not_ended_again_but_to_be_killed(
        snapshots in proptest::collection::vec(sound_snapshot(), 2..8),
    ) {
        let mut policy = Driven::new(Settings::default(), 32);
        let mut commanded = HashSet::new();
        let mut terminated = HashSet::new();
        let mut killed = HashSet::new();
        let mut present: HashSet<ProcessId> = HashSet::new();
        let mut now = Duration::from_secs(1);
        for snapshot in &snapshots {
            now += Duration::from_millis(700);
            // Who is absent from a table is forgotten by everybody.
            let seen: HashSet<ProcessId> =
                snapshot.processes.iter().map(|process| process.id).collect();
            commanded.retain(|id| seen.contains(id));
            terminated.retain(|id| seen.contains(id));
            killed.retain(|id| seen.contains(id));
            present = seen;
            for action in &policy.step(now, snapshot).actions {
                match *action {
                    Action::Command(id) => {
                        prop_assert!(commanded.insert(id) && !terminated.contains(&id));
                    }
                    Action::Terminate(id) => prop_assert!(terminated.insert(id)),
                    Action::Kill(id) => prop_assert!(killed.insert(id)),
                    Action::Freeze(_) | Action::PageOut { .. } | Action::Thaw(_) => {}
                }
            }
        }
        prop_assert!(killed.is_subset(&present));
    }

    #[test]
    fn a_policy_that_has_forgotten_decides_like_a_new_one(
        settings in any_settings(),
        rehearsed in proptest::collection::vec((duration(), any_snapshot()), 1..4),
        rounds in proptest::collection::vec((0..3000_u64, sound_snapshot()), 1..5),
    ) {
        let mut policy = Driven::new(settings.clone(), 4);
        let mut now = Duration::ZERO;
        for (after, snapshot) in &rehearsed {
            now = now.saturating_add(*after);
            policy.look(now, &snapshot.memory, snapshot.ask);
            if let Some(id) = ids(policy.step(now, snapshot)).first() {
                policy.learn(now, Event::Refused(*id));
            }
        }
        policy.guard.forget();

        let mut fresh = Driven::new(settings, 4);
        let mut now = Duration::ZERO;
        for (millis, snapshot) in &rounds {
            now += Duration::from_millis(*millis);
            let look = |policy: &mut Driven| policy.look(now, &snapshot.memory, snapshot.ask);
            prop_assert_eq!(look(&mut policy), look(&mut fresh));
            let step = |policy: &mut Driven| format!("{:?}", policy.step(now, snapshot));
            prop_assert_eq!(step(&mut policy), step(&mut fresh));
        }
    }
}
