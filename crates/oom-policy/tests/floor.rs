//! What the policy keeps of the value on random machines, and that no change
//! makes it keep less.
//!
//! `cargo xtask simulate` shows the same for as many machines as one likes,
//! beside what others keep.

pub mod machine;
pub mod simulator;

use std::sync::LazyLock;

use simulator::best::best;
use simulator::contest::Contestant;
use simulator::figures::{Figures, settings, trials};
use simulator::scenario::{Scenario, Trouble};

const MACHINES: u64 = 300;

static FIGURES: LazyLock<Figures> = LazyLock::new(|| {
    let guard = [Contestant::Guard];
    let trials = (1..=MACHINES).flat_map(|seed| trials(seed, None, &guard, &settings()));
    Figures::of(trials.collect())
});

#[track_caller]
fn check(what: &str, kept: f64, floor: f64) {
    assert!(
        kept >= floor,
        "{what}: keeps {kept:.4} of the best, less than {floor}; \
         `cargo xtask simulate --machines {MACHINES}` names the worst machines"
    );
}

/// The floors are what was measured, less 0.01.
#[test]
fn as_much_value_is_kept_as_before() {
    check("the mean of all machines", FIGURES.mean(), 0.957);
    check("a quarter of all machines", FIGURES.at_permille(250), 0.93);
    for (trouble, mean, worst) in [
        (Trouble::Crowd, 0.945, 0.394),
        (Trouble::Leak, 0.953, 0.19),
        (Trouble::Restarting, 0.949, 0.748),
        (Trouble::ServiceLeak, 0.981, 0.766),
        (Trouble::Bomb, 0.958, 0.667),
    ] {
        let figures = FIGURES.with(trouble);
        check(&format!("the mean of {trouble:?}"), figures.mean(), mean);
        check(&format!("the worst of {trouble:?}"), figures.worst(), worst);
    }
}

#[test]
fn of_a_thousand_choices_all_but_one_are_proved_to_cost_the_least() {
    let choices = FIGURES.sum(|trial| trial.choices);
    let unproved = FIGURES.sum(|trial| trial.unproved);
    assert!(choices > 500, "only {choices} choices were made");
    assert!(
        unproved * 1000 <= choices,
        "{unproved} of {choices} were not proved"
    );
}

#[test]
fn the_best_is_what_looking_at_all_sets_finds() {
    for seed in 1..=100 {
        let scenario = Scenario::new(seed, Some(6));
        let workloads = &scenario.workloads;
        if workloads.len() > 12 {
            continue;
        }
        let turns = scenario.turns();
        let worth = |has: &dyn Fn(usize) -> bool| -> u64 {
            let kept = (0..).zip(workloads).filter(|(index, _)| has(*index));
            kept.map(|(_, workload)| workload.worth).sum()
        };
        let most = (0..1_u32 << workloads.len())
            .map(|set| move |index: usize| set >> index & 1 == 1)
            .filter(|has| {
                let fits = |turn| scenario.used(turn, has) <= scenario.capacity();
                turns.iter().copied().all(fits)
            })
            .map(|has| worth(&has))
            .max();
        let found = best(&scenario);
        assert_eq!(Some(worth(&|index| found[index])), most, "seed {seed}");
    }
}
