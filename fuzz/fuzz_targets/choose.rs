//! Any items, any need, any budget: what is chosen covers the need, what is
//! proved is true, and what is small is compared with every set.

#![no_main]

#[path = "../../crates/knapsack/tests/support/mod.rs"]
mod support;

use knapsack::{Budget, Item, Workspace};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use support::{Cost, brute_force, check_sums, pruned_greedy};

/// More than are looked at one by one.
const MOST_ITEMS: usize = 4096;

/// Sets double with every item.
const MOST_FOR_BRUTE_FORCE: usize = 12;

thread_local! {
    /// Reused as the daemon does, so that what one solve leaves behind must
    /// not disturb the next: one workspace with all states, one with few.
    static WORKSPACES: RefCell<[Workspace; 2]> = RefCell::new([
        Workspace::with_states(MOST_ITEMS, Workspace::MAX_STATES),
        Workspace::with_states(MOST_ITEMS, 48),
    ]);
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.iter().copied();
    let Some((items, need, budget)) = instance(&mut bytes) else {
        return;
    };
    WORKSPACES.with_borrow_mut(|[large, small]| {
        let check = |workspace: &mut Workspace, budget| {
            let selection = workspace
                .choose(&items, need, budget)
                .expect("the need can be covered");
            check_sums(&items, need, &selection);
            (Cost::of(&selection), selection.gap, selection.ties_proved)
        };
        let few = Budget { states: budget };
        let enough = Budget { states: 1 << 18 };
        let (best, best_gap, best_proved) = check(large, enough);
        let (hurried, hurried_gap, hurried_proved) = check(small, few);
        assert!(hurried.value - hurried_gap <= best.value);
        assert!(best.value - best_gap <= hurried.value);
        assert!(!best_proved || best <= hurried);
        assert!(!hurried_proved || hurried <= best);
        assert!(hurried.value <= pruned_greedy(&items, need).value);
        if items.len() <= MOST_FOR_BRUTE_FORCE {
            let least = brute_force(&items, need);
            assert!(best.value - best_gap <= least.value && least <= best);
            assert!(!best_proved || best == least);
        }
    });
});

/// Reads an instance: how its numbers are shaped, how many items, and them.
fn instance(bytes: &mut impl Iterator<Item = u8>) -> Option<(Vec<Item>, u64, u64)> {
    let shape = bytes.next()?;
    let budget = u64::from(bytes.next()?) << (bytes.next()? % 12);
    let need_in_256 = u64::from(bytes.next()?);
    let weight_shift = u32::from(bytes.next()? % 41);
    let value_shift = u32::from(bytes.next()? % 33);
    let mut items = Vec::new();
    while let (Some(a), Some(b), Some(c)) = (bytes.next(), bytes.next(), bytes.next()) {
        let weight = u64::from(a) << 4 | u64::from(c) >> 4;
        let value = match shape % 6 {
            0 => weight,
            1 => weight + 100,
            2 => weight.saturating_sub(100),
            3 => weight.div_ceil(3) * 3,
            4 => u64::from(b) % 4,
            _ => u64::from(b) << 4 | u64::from(c) & 15,
        };
        // Now and then several alike, or nearly.
        let times = if shape & 0x80 != 0 { 1 + c % 32 } else { 1 };
        let step = u64::from(shape >> 6 & 1);
        for number in 0..u64::from(times) {
            if items.len() == MOST_ITEMS {
                break;
            }
            let weight = (weight << weight_shift) >> 12;
            items.push(Item {
                weight: (weight + step * number).min(Item::MAX_WEIGHT),
                value: ((value << value_shift) >> 12).min(Item::MAX_VALUE),
            });
        }
    }
    let total: u64 = items.iter().map(|item| item.weight).sum();
    let need = u64::try_from(u128::from(total) * u128::from(need_in_256) / 255).ok()?;
    Some((items, need, budget))
}
