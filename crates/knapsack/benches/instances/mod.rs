//! The instances of the benchmarks, the same on every machine.
//!
//! Two families. *Process tables*, as a machine short of memory has them:
//! sizes spread log-normally, and one of eight ways to give values. And the
//! *classes of the literature* (D. Pisinger, "Where are the hard knapsack
//! problems?", Computers & Operations Research 32, 2005), which are made to be
//! hard.

use knapsack::Item;

/// One instance, and what it is.
pub(crate) struct Instance {
    /// The family and the class, as in the tables.
    pub(crate) class: &'static str,
    /// How large its numbers are: the percentage of the weight that is kept
    /// for process tables, the range R for classes.
    pub(crate) scale: u64,
    pub(crate) items: Vec<Item>,
    /// What may be kept.
    pub(crate) capacity: u64,
}

impl Instance {
    /// What must be freed.
    pub(crate) fn need(&self) -> u64 {
        let total: u64 = self.items.iter().map(|item| item.weight).sum();
        total - self.capacity
    }
}

/// How many items the process tables have.
pub(crate) const TABLE_SIZES: [usize; 3] = [300, 3_000, 30_000];

/// How many percent of a table's weight may be kept.
pub(crate) const TABLE_KEPT: [u64; 4] = [50, 65, 80, 95];

/// The ways in which a table's processes are given values.
pub(crate) const TABLE_VALUES: [&str; 8] = [
    "uniform 1..10",
    "uniform 1..1000",
    "default, 10 % special",
    "all equal",
    "mostly zero",
    "32-bit",
    "near-equal workers",
    "proportional to size",
];

/// How many items the classes have.
pub(crate) const CLASS_SIZES: [usize; 2] = [1_000, 10_000];

/// How large their numbers are.
pub(crate) const CLASS_RANGES: [u64; 2] = [1_000, 1_000_000];

/// The classes.
pub(crate) const CLASSES: [&str; 13] = [
    "uncorrelated",
    "weakly correlated",
    "strongly correlated",
    "inverse strongly correlated",
    "almost strongly correlated",
    "subset sum",
    "similar weights",
    "spanner, uncorrelated",
    "spanner, weakly correlated",
    "spanner, strongly correlated",
    "multiple strongly correlated",
    "profit ceiling",
    "circle",
];

/// One of [`TABLE_VALUES`] with `count` processes, of whose weight `kept`
/// percent may stay: the first of its kind, or another by its `number`.
pub(crate) fn process_table(class: &'static str, count: usize, kept: u64, number: u64) -> Instance {
    let mut random = Random::seeded(class, count, kept + 1000 * number);
    let items: Vec<Item> = (0..count)
        .map(|_| {
            let mut weight = random.process_bytes();
            let value = match class {
                "uniform 1..10" => random.between(1, 10),
                "uniform 1..1000" => random.between(1, 1000),
                "default, 10 % special" => match random.between(1, 10) {
                    1 => random.between(2, 10),
                    _ => 1,
                },
                "all equal" => 7,
                "mostly zero" => match random.between(1, 10) {
                    1 => random.between(1, 10),
                    _ => 0,
                },
                "32-bit" => random.between(1, Item::MAX_VALUE),
                "near-equal workers" => {
                    // 64 MiB, give or take 64 pages.
                    weight = (64 << 20) + 4096 * random.between(0, 128) - (64 << 12);
                    random.between(4, 6)
                }
                "proportional to size" => weight >> 20,
                _ => unreachable!("a class of TABLE_VALUES"),
            };
            Item { weight, value }
        })
        .collect();
    let total: u64 = items.iter().map(|item| item.weight).sum();
    Instance {
        class,
        scale: kept,
        items,
        capacity: total / 100 * kept,
    }
}

/// One of [`CLASSES`] with `count` items and numbers up to about `range`, of
/// whose weight `quarters` quarters may stay.
pub(crate) fn pisinger(class: &'static str, count: usize, range: u64, quarters: u64) -> Instance {
    let mut random = Random::seeded(class, count, range + quarters);
    let tenth = range / 10;
    let span: Vec<Item> = (0..2).map(|_| random.spanning(class, range)).collect();
    let items: Vec<Item> = (0..count)
        .map(|_| match class {
            "inverse strongly correlated" => {
                let value = random.between(1, range);
                Item {
                    weight: value + tenth,
                    value,
                }
            }
            "similar weights" => Item {
                weight: random.between(100 * range, 100 * range + tenth),
                value: random.between(1, range),
            },
            _ if class.starts_with("spanner") => {
                let base = span[usize::from(random.between(0, 1) == 1)];
                let times = random.between(1, SPANNER_LIMIT);
                Item {
                    weight: times * base.weight,
                    value: times * base.value,
                }
            }
            _ => {
                let weight = random.between(1, range);
                let value = match class {
                    "uncorrelated" => random.between(1, range),
                    "weakly correlated" => {
                        random.between(weight.saturating_sub(tenth).max(1), weight + tenth)
                    }
                    "strongly correlated" => weight + tenth,
                    "almost strongly correlated" => {
                        random.between(weight + tenth - range / 500, weight + tenth + range / 500)
                    }
                    "subset sum" => weight,
                    "multiple strongly correlated" if weight.is_multiple_of(6) => {
                        weight + 3 * tenth
                    }
                    "multiple strongly correlated" => weight + 2 * tenth,
                    "profit ceiling" => weight.div_ceil(3) * 3,
                    "circle" => {
                        // 2/3 of the ordinate of a circle around (2R, 0).
                        let away = 2 * range - weight;
                        (4 * range * range - away * away).isqrt() * 2 / 3
                    }
                    _ => unreachable!("a class of CLASSES"),
                };
                Item { weight, value }
            }
        })
        .collect();
    let total: u64 = items.iter().map(|item| item.weight).sum();
    Instance {
        class,
        scale: range,
        items,
        capacity: total / 4 * quarters,
    }
}

/// How often, at most, a spanner instance repeats a base item.
const SPANNER_LIMIT: u64 = 10;

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
struct Random(u64);

impl Random {
    /// A stream of its own for each class, size and scale.
    fn seeded(class: &str, count: usize, scale: u64) -> Self {
        let named = class
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        Self(named ^ (count as u64) << 32 ^ scale)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between `low` and `high`, both included.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// The size of a process in whole pages: log-normal around 48 MiB, with a
    /// spread of e^1.3, from 4 MiB to 8 GiB.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a size of whole pages, far from either limit"
    )]
    fn process_bytes(&mut self) -> u64 {
        // Twelve uniform numbers less six are as good as normal (and, unlike
        // logarithms, the same on every machine but for one exp).
        let normal = (0..12)
            .map(|_| (self.next() >> 11) as f64 / (1_u64 << 53) as f64)
            .sum::<f64>()
            - 6.0;
        let pages = (48 << 8) as f64 * (1.3 * normal).exp();
        (pages as u64).clamp(4 << 8, 8 << 18) << 12
    }

    /// A base item of a spanner instance.
    fn spanning(&mut self, class: &str, range: u64) -> Item {
        let weight = self.between(1, range);
        let value = match class {
            "spanner, uncorrelated" => self.between(1, range),
            "spanner, weakly correlated" => self.between(
                weight.saturating_sub(range / 10).max(1),
                weight + range / 10,
            ),
            _ => weight + range / 10,
        };
        Item {
            weight: (2 * weight).div_ceil(SPANNER_LIMIT),
            value: (2 * value).div_ceil(SPANNER_LIMIT),
        }
    }
}
