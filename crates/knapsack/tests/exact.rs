//! Against brute force: every set looked at.

mod support;

use knapsack::{Budget, Item, Workspace};
use support::{
    Cost, Random, brute_force, by_chosen_value, by_kept_weight, check_proofs, check_sums,
    correlated_instance, large_instance, pruned_greedy, small_instance, table_of_thousands,
};

#[test]
fn nothing_beats_what_is_chosen_among_all_sets() {
    let mut random = Random(1);
    let mut workspace = Workspace::with_states(18, 1 << 14);
    for round in 0..200_000 {
        // Sets double with every item, so the large ones are few.
        let most_items = if round % 100 == 0 { 18 } else { 11 };
        let (items, need) = small_instance(&mut random, most_items);
        let best = brute_force(&items, need);
        let selection = workspace
            .choose(&items, need, Budget::default())
            .expect("the need can be covered");
        check_sums(&items, need, &selection);
        assert!(
            selection.value_proved && selection.ties_proved,
            "round {round}: {items:?} {need}: {selection:?}"
        );
        assert_eq!(
            Cost::of(&selection),
            best,
            "round {round}: {items:?} {need}"
        );
    }
}

#[test]
fn a_search_cut_short_is_feasible_bounded_and_no_worse_than_greedy() {
    let mut random = Random(2);
    let mut workspace = Workspace::with_states(12, 4);
    for round in 0..100_000 {
        let (items, need) = small_instance(&mut random, 12);
        let best = brute_force(&items, need);
        let budget = Budget {
            states: random.between(0, 1) * random.between(0, 200),
        };
        let selection = workspace
            .choose(&items, need, budget)
            .expect("the need can be covered");
        check_sums(&items, need, &selection);
        let found = Cost::of(&selection);
        assert!(best <= found, "round {round}: {items:?} {need}");
        assert!(
            found.value - selection.gap <= best.value,
            "round {round}: {items:?} {need}: {selection:?}, but {best:?}"
        );
        if selection.ties_proved {
            assert_eq!(found, best, "round {round}: {items:?} {need}");
        }
        let greedy = pruned_greedy(&items, need);
        assert!(
            found.value <= greedy.value,
            "round {round}: {items:?} {need}: {selection:?}, greedy {greedy:?}"
        );
    }
}

#[test]
fn nothing_beats_what_is_chosen_from_many_by_a_plain_dynamic_program() {
    let mut random = Random(3);
    let mut proved = 0;
    let mut workspace = Workspace::with_states(2_000, Workspace::MAX_STATES);
    for round in 0..4_000 {
        let most_items = if round % 40 == 0 { 2_000 } else { 120 };
        let (items, need) = large_instance(&mut random, most_items);
        let best = by_chosen_value(&items, need);
        let selection = workspace
            .choose(&items, need, Budget::default())
            .expect("the need can be covered");
        check_sums(&items, need, &selection);
        check_proofs(
            &selection,
            best,
            &format!("round {round}: {items:?} {need}"),
        );
        proved += u32::from(selection.ties_proved);
    }
    assert!(proved > 3_900, "only {proved} of 4000 proved");
}

/// A set of more items that is heavier than the best so far makes states
/// worthwhile again which the best so far had left no room.
#[test]
fn a_heavier_set_of_more_items_leaves_room_again() {
    let kinds = [
        (64, 4095, 7),
        (54, 3439, 6),
        (32, 3935, 7),
        (32, 3695, 7),
        (30, 3751, 7),
        (29, 15, 0),
        (14, 10, 0),
        (11, 4094, 7),
        (7, 3934, 7),
    ];
    let items: Vec<Item> = kinds
        .into_iter()
        .flat_map(|(count, weight, value)| vec![Item { weight, value }; count])
        .collect();
    let need = 313_191;
    let mut workspace = Workspace::with_states(items.len(), Workspace::MAX_STATES);
    let selection = workspace
        .choose(&items, need, Budget::default())
        .expect("the need can be covered");
    check_sums(&items, need, &selection);
    assert!(selection.ties_proved);
    assert_eq!(Cost::of(&selection), by_kept_weight(&items, need));
}

#[test]
fn nothing_beats_what_is_chosen_from_thousands() {
    let mut random = Random(5);
    let mut workspace = Workspace::with_capacity(6_000);
    let mut proved = 0;
    let rounds = 100;
    for round in 0..rounds {
        let (items, need) = table_of_thousands(&mut random, 6_000);
        let best = by_chosen_value(&items, need);
        let selection = workspace
            .choose(&items, need, Budget::default())
            .expect("the need can be covered");
        check_sums(&items, need, &selection);
        check_proofs(&selection, best, &format!("round {round}: {need}"));
        proved += u32::from(selection.ties_proved);
    }
    assert!(proved > rounds * 9 / 10, "only {proved} of {rounds} proved");
}

#[test]
fn nothing_beats_what_is_chosen_where_values_follow_weights() {
    let mut random = Random(4);
    let mut workspaces =
        [48, 512, Workspace::MAX_STATES].map(|states| Workspace::with_states(200, states));
    let mut proved = [0; 3];
    let rounds = 1_500;
    for round in 0..rounds {
        let (items, need) = correlated_instance(&mut random, 120);
        let best = by_kept_weight(&items, need);
        for (workspace, proved) in workspaces.iter_mut().zip(&mut proved) {
            let selection = workspace
                .choose(&items, need, Budget::default())
                .expect("the need can be covered");
            check_sums(&items, need, &selection);
            check_proofs(
                &selection,
                best,
                &format!("round {round}: {items:?} {need}"),
            );
            *proved += u32::from(selection.ties_proved);
        }
    }
    assert!(proved[2] > rounds * 9 / 10, "only {proved:?} proved");
}
