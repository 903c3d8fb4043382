//! At the limits: of the numbers, of the memory, of the budget.

mod support;

use knapsack::{Budget, Item, SelectError, Workspace};
use support::{Cost, Random, check_sums, correlated_instance, large_instance, pruned_greedy};

const MAX_ITEM: Item = Item {
    weight: Item::MAX_WEIGHT,
    value: Item::MAX_VALUE,
};

#[test]
fn the_greatest_numbers_overflow_nothing() {
    let mut workspace = Workspace::with_states(Workspace::MAX_ITEMS, Workspace::MAX_STATES);
    let mut random = Random(5);
    for shape in 0..4 {
        let items: Vec<Item> = (0..Workspace::MAX_ITEMS)
            .map(|_| match shape {
                0 => MAX_ITEM,
                1 => Item {
                    weight: Item::MAX_WEIGHT - random.between(0, 1),
                    value: Item::MAX_VALUE - random.between(0, 1),
                },
                2 => Item {
                    weight: random.between(1, Item::MAX_WEIGHT),
                    value: random.between(Item::MAX_VALUE - 3, Item::MAX_VALUE),
                },
                _ => Item {
                    weight: random.between(0, 1) * Item::MAX_WEIGHT,
                    value: random.between(0, 1) * Item::MAX_VALUE,
                },
            })
            .collect();
        let total: u64 = items.iter().map(|item| item.weight).sum();
        for need in [1, total / 3, total / 2 + 1, total - 1, total] {
            let selection = workspace
                .choose(&items, need, Budget { states: 200_000 })
                .expect("the need can be covered");
            check_sums(&items, need, &selection);
        }
    }
}

/// Neighbours that differ by the same steep slope suggest a side constraint that
/// would overflow with the weights of the others.
#[test]
fn a_steep_slope_of_a_few_neighbours_overflows_nothing() {
    let steep = |slope: u64| {
        [(1, slope), (2, 2 * slope - 1)]
            .map(|(weight, value)| Item { weight, value })
            .repeat(5)
    };
    let heavy = |pairs: [(u64, u64); 4]| pairs.map(|(weight, value)| Item { weight, value });
    let mut workspace = Workspace::with_states(14, 4);
    for (slope, others, need) in [
        (
            1 << 31,
            [
                (696_187_355_136, 12),
                (894_829_592_576, 17),
                (854_430_056_448, 16),
                (891_675_475_968, 15),
            ],
            2_051_312_913_434,
        ),
        (
            33_554_433,
            [
                (1_099_511_627_776, 65),
                (549_755_813_888, 33),
                (893_353_197_568, 57),
                (481_036_337_152, 29),
            ],
            1_703_362_589_167,
        ),
    ] {
        let items = [steep(slope), heavy(others).to_vec()].concat();
        for states in [4_000, 1 << 19] {
            let selection = workspace
                .choose(&items, need, Budget { states })
                .expect("the need can be covered");
            check_sums(&items, need, &selection);
        }
    }
}

#[test]
fn alike_items_are_chosen_as_few_as_cover_the_need() {
    let mut workspace = Workspace::with_capacity(Workspace::MAX_ITEMS);
    let items = vec![MAX_ITEM; Workspace::MAX_ITEMS];
    let selection = workspace
        .choose(&items, 100 * Item::MAX_WEIGHT + 1, Budget::default())
        .expect("the need can be covered");
    assert_eq!(selection.chosen.len(), 101);
    assert!(selection.value_proved && selection.ties_proved);
}

#[test]
fn one_item_too_many_is_an_error_that_says_so() {
    let mut workspace = Workspace::with_capacity(3);
    assert_eq!(
        workspace.choose(&[MAX_ITEM; 4], 1, Budget::default()),
        Err(SelectError::TooManyItems {
            items: 4,
            capacity: 3
        })
    );
    let mut workspace = Workspace::with_capacity(usize::MAX);
    let items = vec![MAX_ITEM; Workspace::MAX_ITEMS + 1];
    assert_eq!(
        workspace.choose(&items, 1, Budget::default()),
        Err(SelectError::TooManyItems {
            items: Workspace::MAX_ITEMS + 1,
            capacity: Workspace::MAX_ITEMS
        })
    );
}

#[test]
fn a_number_out_of_range_is_an_error_that_says_which() {
    let mut workspace = Workspace::with_capacity(2);
    for wrong in [
        Item {
            weight: Item::MAX_WEIGHT + 1,
            value: 0,
        },
        Item {
            weight: 0,
            value: Item::MAX_VALUE + 1,
        },
    ] {
        assert_eq!(
            workspace.choose(&[MAX_ITEM, wrong], 1, Budget::default()),
            Err(SelectError::OutOfRange { index: 1 })
        );
    }
}

#[test]
fn a_need_beyond_everything_is_an_error_that_says_what_there_is() {
    let mut workspace = Workspace::with_capacity(2);
    let items = [Item {
        weight: 7,
        value: 0,
    }; 2];
    assert_eq!(
        workspace.choose(&items, 15, Budget::default()),
        Err(SelectError::NotCoverable { total: 14 })
    );
    assert_eq!(
        workspace.choose(&[], 1, Budget::default()),
        Err(SelectError::NotCoverable { total: 0 })
    );
}

#[test]
fn without_a_need_nothing_is_chosen() {
    let mut workspace = Workspace::with_capacity(1);
    let worthless = [Item {
        weight: 1,
        value: 0,
    }];
    for items in [&[][..], &worthless] {
        let selection = workspace
            .choose(items, 0, Budget::default())
            .expect("no need is always covered");
        assert_eq!(selection.chosen, []);
        assert!(selection.value_proved && selection.ties_proved);
    }
}

#[test]
fn what_weighs_nothing_is_never_chosen() {
    let mut workspace = Workspace::with_capacity(3);
    let items = [(0, 0), (5, 9), (0, 3)].map(|(weight, value)| Item { weight, value });
    let selection = workspace
        .choose(&items, 5, Budget::default())
        .expect("the need can be covered");
    assert_eq!(selection.chosen, [1]);
}

#[test]
fn what_costs_nothing_goes_first_but_never_needlessly() {
    let mut workspace = Workspace::with_capacity(4);
    let items = [(4, 0), (6, 0), (9, 1), (3, 0)].map(|(weight, value)| Item { weight, value });
    let selection = workspace
        .choose(&items, 9, Budget::default())
        .expect("the need can be covered");
    // Two of no cost cover it; of such pairs this one gives back the most.
    assert_eq!(selection.chosen, [0, 1]);
}

#[test]
fn a_clock_that_says_stop_ends_the_search_with_a_bounded_answer() {
    let mut random = Random(6);
    let mut workspace = Workspace::with_states(400, Workspace::MAX_STATES);
    let mut asked = 0;
    for _ in 0..50 {
        let (items, need) = correlated_instance(&mut random, 400);
        let unlimited = Budget { states: u64::MAX };
        let selection = workspace
            .choose_while(&items, need, unlimited, &mut || {
                asked += 1;
                false
            })
            .expect("the need can be covered");
        check_sums(&items, need, &selection);
        assert!(selection.value <= pruned_greedy(&items, need).value);
    }
    assert!(asked > 0, "some search took long enough to be asked");
}

#[test]
fn the_order_of_the_items_changes_nothing_that_is_proved() {
    let mut random = Random(7);
    let mut workspace = Workspace::with_states(300, Workspace::MAX_STATES);
    for round in 0..2_000 {
        let (mut items, need) = if round % 2 == 0 {
            large_instance(&mut random, 300)
        } else {
            correlated_instance(&mut random, 100)
        };
        let mut solve = |items: &[Item]| {
            let selection = workspace
                .choose(items, need, Budget::default())
                .expect("the need can be covered");
            selection.ties_proved.then(|| Cost::of(&selection))
        };
        let before = solve(&items);
        for at in (1..items.len()).rev() {
            let other = usize::try_from(random.between(0, at as u64)).unwrap();
            items.swap(at, other);
        }
        let after = solve(&items);
        if let (Some(before), Some(after)) = (before, after) {
            assert_eq!(before, after, "round {round}: {items:?} {need}");
        }
    }
}

#[test]
fn few_states_and_no_budget_still_bound_what_is_lost() {
    let mut random = Random(8);
    let mut large = Workspace::with_states(400, Workspace::MAX_STATES);
    let mut small = Workspace::with_states(400, 48);
    for round in 0..3_000 {
        let (items, need) = if round % 2 == 0 {
            large_instance(&mut random, 400)
        } else {
            correlated_instance(&mut random, 150)
        };
        let best = large
            .choose(&items, need, Budget::default())
            .expect("the need can be covered");
        let (best_proved, best) = (best.ties_proved, Cost::of(&best));
        for states in [0, random.between(1, 5_000), 1 << 20] {
            let hurried = small
                .choose(&items, need, Budget { states })
                .expect("the need can be covered");
            check_sums(&items, need, &hurried);
            let found = Cost::of(&hurried);
            assert!(found.value - hurried.gap <= best.value, "round {round}");
            assert!(!best_proved || best <= found, "round {round}");
            assert!(!hurried.ties_proved || found <= best, "round {round}");
            let greedy = pruned_greedy(&items, need);
            assert!(
                found.value <= greedy.value,
                "round {round}: {items:?} {need}"
            );
        }
    }
}
