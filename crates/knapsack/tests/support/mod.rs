//! What the tests share: random numbers, random instances, and the oracles.
#![allow(
    dead_code,
    reason = "each test program includes this and uses a part of it"
)]

use knapsack::{Item, Selection};

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between `low` and `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// One of these.
    pub(crate) fn pick<const N: usize>(&mut self, these: [u64; N]) -> u64 {
        these[index(self.between(0, N as u64 - 1))]
    }
}

/// A number that indexes.
fn index(number: u64) -> usize {
    usize::try_from(number).expect("small enough to be an index")
}

/// A selection by its sums, in the order of preference: less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cost {
    pub(crate) value: u64,
    pub(crate) count: u64,
    /// The most freed is best, so this counts down.
    pub(crate) weight: std::cmp::Reverse<u64>,
}

impl Cost {
    pub(crate) const WORST: Self = Self {
        value: u64::MAX,
        count: u64::MAX,
        weight: std::cmp::Reverse(0),
    };

    pub(crate) fn of(selection: &Selection<'_>) -> Self {
        Self {
            value: selection.value,
            count: selection.chosen.len() as u64,
            weight: std::cmp::Reverse(selection.weight),
        }
    }
}

/// The best of all sets that cover `need`, by looking at every one.
pub(crate) fn brute_force(items: &[Item], need: u64) -> Cost {
    let mut best = Cost::WORST;
    let mut cost = Cost {
        value: 0,
        count: 0,
        weight: std::cmp::Reverse(0),
    };
    let mut chosen = 0_u32;
    // A Gray code: from one set to the next, one item changes.
    for step in 0..1_u32 << items.len() {
        if step > 0 {
            let at = step.trailing_zeros();
            chosen ^= 1 << at;
            let item = &items[at as usize];
            if chosen & 1 << at != 0 {
                cost.value += item.value;
                cost.count += 1;
                cost.weight.0 += item.weight;
            } else {
                cost.value -= item.value;
                cost.count -= 1;
                cost.weight.0 -= item.weight;
            }
        }
        if cost.weight.0 >= need && cost < best {
            best = cost;
        }
    }
    best
}

/// What greedy gives up: the least value per weight first until the need is
/// covered, and then whatever of it, the best first, is not needed.
pub(crate) fn pruned_greedy(items: &[Item], need: u64) -> Cost {
    let mut order: Vec<Item> = items
        .iter()
        .copied()
        .filter(|item| item.weight > 0)
        .collect();
    order.sort_by(|a, b| {
        let (mine, others) = (
            u128::from(a.value) * u128::from(b.weight),
            u128::from(b.value) * u128::from(a.weight),
        );
        mine.cmp(&others).then(a.weight.cmp(&b.weight))
    });
    let mut freed = 0;
    let mut chosen = Vec::new();
    for item in order {
        if freed >= need {
            break;
        }
        freed += item.weight;
        chosen.push(item);
    }
    for at in (0..chosen.len()).rev() {
        if freed - chosen[at].weight >= need {
            freed -= chosen[at].weight;
            chosen.remove(at);
        }
    }
    Cost {
        value: chosen.iter().map(|item| item.value).sum(),
        count: chosen.len() as u64,
        weight: std::cmp::Reverse(freed),
    }
}

/// Checks what holds for every selection, proved or not.
#[track_caller]
pub(crate) fn check_sums(items: &[Item], need: u64, selection: &Selection<'_>) {
    assert!(selection.weight >= need, "the need is covered");
    assert!(
        selection.chosen.is_sorted_by(|a, b| a < b),
        "indices ascend"
    );
    let (mut value, mut weight) = (0, 0);
    for &index in selection.chosen {
        value += items[index as usize].value;
        weight += items[index as usize].weight;
    }
    assert_eq!((value, weight), (selection.value, selection.weight));
    assert!(selection.gap <= selection.value, "the bound is at least 0");
    assert_eq!(selection.value_proved, selection.gap == 0);
    assert!(selection.value_proved || !selection.ties_proved);
}

/// Checks what a selection claims to be proved against the best there is.
#[track_caller]
pub(crate) fn check_proofs(selection: &Selection<'_>, best: Cost, instance: &str) {
    let found = Cost::of(selection);
    assert!(
        found.value - selection.gap <= best.value && best <= found,
        "{instance}: {selection:?}, but {best:?}"
    );
    if selection.value_proved {
        assert_eq!(found.value, best.value, "{instance}");
    }
    if selection.ties_proved {
        assert_eq!(found, best, "{instance}");
    }
}

/// A small instance of one of many shapes: what is alike, divisible,
/// proportional, zero or at a limit is where solvers err.
pub(crate) fn small_instance(random: &mut Random, most_items: u64) -> (Vec<Item>, u64) {
    let count = random.between(1, most_items);
    let most_weight = random.pick([1, 3, 10, 100, 10_000, Item::MAX_WEIGHT]);
    let most_value = random.pick([0, 1, 3, 10, 1_000, Item::MAX_VALUE]);
    let shape = random.between(0, 8);
    let least_weight = random.between(0, 1);
    let items: Vec<Item> = (0..count)
        .map(|_| {
            let weight = random.between(least_weight, most_weight);
            let value = random.between(0, most_value);
            let (weight, value) = match shape {
                0 => (weight, weight),
                1 => (weight, weight + most_value / 10),
                2 => (weight, weight / 3 * 3),
                3 => (weight + 10 * most_weight, value),
                4 => (weight * 4096, value * 4096),
                5 => (weight, value * random.between(0, 1)),
                6 => (100 * value + weight % 4, value),
                _ => (weight, value),
            };
            Item {
                weight: weight.min(Item::MAX_WEIGHT),
                value: value.min(Item::MAX_VALUE),
            }
        })
        .collect();
    let total: u64 = items.iter().map(|item| item.weight).sum();
    let need = match random.between(0, 9) {
        0 => total,
        1 => random.between(0, 1).min(total),
        _ => random.between(0, total),
    };
    (items, need)
}

/// The best of all sets that cover `need`, by dynamic programming over what is
/// chosen: the most weight for each value and count, up to greedy's value.
pub(crate) fn by_chosen_value(items: &[Item], need: u64) -> Cost {
    let most_value = index(pruned_greedy(items, need).value);
    let paid = items.iter().filter(|item| item.value > 0).count();
    let most_count = items.len() - paid + paid.min(most_value);
    let columns = most_count + 1;
    let mut most_weight = vec![None; (most_value + 1) * columns];
    most_weight[0] = Some(0_u64);
    for item in items.iter().filter(|item| item.value <= most_value as u64) {
        let value = index(item.value);
        for row in (value..=most_value).rev() {
            for column in (1..columns).rev() {
                let before = most_weight[(row - value) * columns + column - 1];
                let with = before.map(|weight| weight + item.weight);
                let at = &mut most_weight[row * columns + column];
                *at = with.max(*at);
            }
        }
    }
    // Rows are values and columns counts, so the first that covers is best.
    let at = most_weight
        .iter()
        .position(|weight| weight.is_some_and(|weight| weight >= need))
        .expect("greedy covers the need within its value");
    Cost {
        value: (at / columns) as u64,
        count: (at % columns) as u64,
        weight: std::cmp::Reverse(most_weight[at].unwrap_or(0)),
    }
}

/// A large instance whose optimum gives up little value, which is what
/// [`by_chosen_value`] can afford.
pub(crate) fn large_instance(random: &mut Random, most_items: u64) -> (Vec<Item>, u64) {
    let count = random.between(20, most_items);
    let most_weight = random.pick([3, 100, 10_000, Item::MAX_WEIGHT]);
    let most_value = random.pick([1, 3, 10]);
    let shape = random.between(0, 4);
    let items: Vec<Item> = (0..count)
        .map(|_| {
            let weight = random.between(1, most_weight);
            let value = random.between(1, most_value);
            match shape {
                0 => Item {
                    weight: 10 * value,
                    value,
                },
                1 => Item {
                    weight: weight.div_ceil(50) * 50,
                    value,
                },
                2 if count < 100 => Item {
                    weight,
                    value: value - 1,
                },
                _ => Item { weight, value },
            }
        })
        .map(|item| Item {
            weight: item.weight.min(Item::MAX_WEIGHT),
            value: item.value,
        })
        .collect();
    // What some thirty of the items hold.
    let total: u64 = items.iter().map(|item| item.weight).sum();
    let need = total / count * random.between(1, count.min(30));
    (items, need)
}

/// A table of thousands, more than are looked at one by one, of which a few have
/// to go: workers of nearly one size, or of sizes that are spread widely.
pub(crate) fn table_of_thousands(random: &mut Random, most_items: u64) -> (Vec<Item>, u64) {
    let count = random.between(2_100, most_items);
    let least_value = random.pick([1, 4]);
    let most_value = least_value + random.pick([1, 2, 5]);
    let workers = random.between(0, 1) == 0;
    let items: Vec<Item> = (0..count)
        .map(|_| {
            let pages = if workers {
                random.between(16_320, 16_448)
            } else {
                let most = 1 << random.between(4, 20);
                random.between(1, most)
            };
            Item {
                weight: pages << 12,
                value: random.between(least_value, most_value),
            }
        })
        .collect();
    let total: u64 = items.iter().map(|item| item.weight).sum();
    let need = total / count * random.between(1, 8) / 2;
    (items, need)
}

/// The best of all sets that cover `need`, by the textbook's dynamic program
/// over the capacity that is kept: for each, the most value, of that the most
/// items, of that the least weight.
pub(crate) fn by_kept_weight(items: &[Item], need: u64) -> Cost {
    let total: u64 = items.iter().map(|item| item.weight).sum();
    let capacity = index(total - need);
    // Value, count, and how much lighter than the capacity, in one number.
    let kept = |value: u64, count: u64| (value << 16 | count) << 32;
    let mut best: Vec<u64> = (0..=capacity as u64).collect();
    best.reverse();
    for item in items {
        let weight = index(item.weight);
        let earned = kept(item.value, 1);
        // `best[at]` goes on from a set that already weighs `at`.
        for at in 0..(capacity + 1).saturating_sub(weight) {
            best[at] = best[at].max(best[at + weight] + earned);
        }
    }
    let kept_lighter = best[0] & 0xffff_ffff;
    let all: u64 = items.iter().map(|item| item.value).sum();
    Cost {
        value: all - (best[0] >> 48),
        count: items.len() as u64 - (best[0] >> 32 & 0xffff),
        weight: std::cmp::Reverse(need + kept_lighter),
    }
}

/// An instance whose values follow its weights, which the bounds find hard,
/// small enough for [`by_kept_weight`].
pub(crate) fn correlated_instance(random: &mut Random, most_items: u64) -> (Vec<Item>, u64) {
    let count = random.between(10, most_items);
    let range = random.pick([30, 100, 300]);
    let shape = random.between(0, 8);
    let few: Vec<u64> = (0..3).map(|_| random.between(1, range / 10)).collect();
    let items: Vec<Item> = (0..count)
        .map(|_| {
            let weight = random.between(1, range);
            let fixed = range / 10;
            let (weight, value) = match shape {
                0 => (weight, weight),
                1 => (weight, weight + fixed),
                2 => (weight + fixed, weight),
                3 => (weight, weight + fixed + random.between(0, 2)),
                4 if weight.is_multiple_of(6) => (weight, weight + 3 * fixed),
                4 => (weight, weight + 2 * fixed),
                5 => (weight, weight.div_ceil(3) * 3),
                6 => (
                    weight,
                    (4 * range * range - (2 * range - weight).pow(2)).isqrt() * 2 / 3,
                ),
                7 => {
                    let times = random.between(1, 10);
                    (times * few[0], times * (few[0] + few[1]))
                }
                _ => (few[1] * 10, random.between(1, 5)),
            };
            Item { weight, value }
        })
        .collect();
    let total: u64 = items.iter().map(|item| item.weight).sum();
    let need = random.between(0, total);
    (items, need)
}
