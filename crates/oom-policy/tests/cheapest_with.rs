//! The cheapest choice that has a given candidate, or has it not, beside all
//! choices there are.

use oom_policy::{
    Basis, Candidate, Class, Cost, Explanation, Name, ProcessId, cheapest_with, cheapest_without,
};

const PAGE: u64 = 4096;

fn candidate(pid: u32, value: u32, pages: u64) -> Candidate {
    Candidate {
        leader: ProcessId {
            pid,
            start_ticks: 1,
        },
        name: Name::new(b"job"),
        processes: 1,
        class: Class::Ordinary,
        explanation: Explanation::new(Basis::Value(value), false, Cost::ZERO),
        held_bytes: pages * PAGE,
        growth_bytes_per_second: 0,
        frees_bytes: pages * PAGE,
        ends_with: None,
        ends: 0,
        is_paused: false,
        chosen: false,
    }
}

fn cost<'a>(chosen: impl Iterator<Item = &'a Candidate>) -> Cost {
    chosen.map(|it| it.explanation.cost).sum()
}

/// Of all sets that have the candidate at `with`, or have it not.
fn least_of_all(all: &[Candidate], with: usize, has: bool, need_bytes: u64) -> Option<Cost> {
    let sets = (0_u32..1 << all.len()).filter(|set| (set >> with & 1 == 1) == has);
    let costs = sets.filter_map(|set| {
        let chosen = || (0..).zip(all).filter(move |(at, _)| set >> at & 1 == 1);
        let frees: u64 = chosen().map(|(_, it)| it.frees_bytes).sum();
        (need_bytes <= frees).then(|| cost(chosen().map(|(_, it)| it)))
    });
    costs.min()
}

#[test]
fn it_costs_no_more_than_any_other_choice_that_has_the_candidate_or_has_it_not() {
    let mut dice: u32 = 1;
    let mut roll = |sides: u32| {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (dice >> 16) % sides
    };
    for _ in 0..300 {
        let count = 1 + roll(8);
        let all: Vec<_> = (0..count)
            .map(|pid| candidate(pid, roll(20), u64::from(1 + roll(50))))
            .collect();
        let need_bytes = u64::from(roll(250)) * PAGE;
        for with in 0..all.len() {
            let found = cheapest_with(&all, with, need_bytes);
            if let Some(chosen) = &found {
                assert!(chosen.iter().any(|it| it.leader == all[with].leader));
            }
            let found = found.map(|chosen| cost(chosen.iter()));
            assert_eq!(
                found,
                least_of_all(&all, with, true, need_bytes),
                "{all:#?}"
            );
            let found = cheapest_without(&all, with, need_bytes);
            if let Some(chosen) = &found {
                assert!(chosen.iter().all(|it| it.leader != all[with].leader));
            }
            let found = found.map(|chosen| cost(chosen.iter()));
            assert_eq!(
                found,
                least_of_all(&all, with, false, need_bytes),
                "{all:#?}"
            );
        }
    }
}

#[test]
fn what_ends_with_it_is_part_of_it() {
    let mut all = [candidate(1, 1, 10), candidate(2, 50, 10)];
    all[1].ends_with = Some(0);
    all[0].ends = 1;
    let chosen = cheapest_with(&all, 0, 5 * PAGE).expect("it is enough");
    assert_eq!(chosen.len(), 2);
}

#[test]
fn what_would_end_it_is_kept_with_it() {
    let mut all = [
        candidate(1, 1, 10),
        candidate(2, 50, 10),
        candidate(3, 60, 10),
        candidate(4, 70, 20),
    ];
    all[1].ends_with = Some(0);
    all[2].ends_with = Some(0);
    all[0].ends = 2;
    let chosen = cheapest_without(&all, 1, 5 * PAGE).expect("it is enough");
    let pids: Vec<_> = chosen.iter().map(|it| it.leader.pid).collect();
    assert_eq!(pids, [3]);
    assert_eq!(cheapest_without(&all, 1, 31 * PAGE), None);
}
