//! How much memory a workspace is, and that solving takes none.

mod support;

use allocation_counter::measure;
use knapsack::{Budget, Item, Workspace};
use support::{Random, correlated_instance, large_instance};

#[test]
fn solving_allocates_nothing() {
    let mut random = Random(9);
    let mut workspace = Workspace::with_states(500, 512);
    for round in 0..500 {
        let (items, need) = if round % 2 == 0 {
            large_instance(&mut random, 500)
        } else {
            correlated_instance(&mut random, 500)
        };
        let allocated = measure(|| {
            let selection = workspace.choose(&items, need, Budget::default());
            assert!(selection.is_ok());
        });
        assert_eq!(allocated.count_total, 0, "round {round}");
    }
}

#[test]
fn the_largest_workspace_is_two_mebibytes_besides_its_items() {
    let made = measure(|| {
        let workspace = Workspace::with_capacity(Workspace::MAX_ITEMS);
        drop(workspace);
    });
    // What the search keeps of each item: profit, weight, index, side.
    let items = (Workspace::MAX_ITEMS * 24) as u64;
    assert!(
        made.bytes_max - items <= 2 << 20,
        "{} bytes besides {items}",
        made.bytes_max - items
    );
}

#[test]
fn a_workspace_for_a_thousand_processes_is_a_quarter_of_a_mebibyte() {
    let made = measure(|| {
        let workspace = Workspace::with_capacity(1000);
        drop(workspace);
    });
    assert!(made.bytes_max <= 256 << 10, "{} bytes", made.bytes_max);
}

#[test]
fn the_largest_instance_is_solved_in_the_memory_made_for_it() {
    let mut random = Random(10);
    let mut workspace = Workspace::with_capacity(Workspace::MAX_ITEMS);
    let items: Vec<Item> = (0..Workspace::MAX_ITEMS)
        .map(|_| Item {
            weight: random.between(1, 1 << 33) << 12 & ((1 << 40) - 1),
            value: 4096 * random.between(1, 10),
        })
        .collect();
    let total: u64 = items.iter().map(|item| item.weight).sum();
    let allocated = measure(|| {
        let selection = workspace.choose(&items, total / 10, Budget::default());
        assert!(selection.is_ok_and(|selection| selection.value_proved));
    });
    assert_eq!(allocated.count_total, 0);
}
