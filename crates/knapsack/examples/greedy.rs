//! What choosing greedily costs, beside the least possible.
//!
//! Prints a table of means over many random process tables, as multiples of the
//! least value that covers the need, the worst of them in brackets.

#[expect(
    dead_code,
    reason = "the classes of the literature are not wanted here"
)]
#[path = "../benches/instances/mod.rs"]
mod instances;

use std::cmp::Reverse;
use std::io::{self, Write};

use clap::Parser;
use instances::process_table;
use knapsack::{Budget, Item, Workspace};

/// Compares greedy choices with the best one, on random process tables
#[derive(Debug, Parser)]
struct Options {
    /// How many tables for each row
    #[arg(long, default_value_t = 200)]
    tables: u32,
    /// What the values are, as in the benchmarks
    #[arg(long, default_value = "uniform 1..10")]
    values: String,
}

/// How many processes there are, and how many percent of their memory is needed.
const ROWS: [(usize, u64); 6] = [(100, 2), (100, 5), (100, 20), (300, 2), (300, 5), (300, 20)];

fn main() -> io::Result<()> {
    let options = Options::parse();
    let mut out = io::stdout().lock();
    let known = instances::TABLE_VALUES;
    let Some(&class) = known.iter().find(|class| **class == options.values) else {
        writeln!(out, "values are one of: {}", known.join("; "))?;
        return Ok(());
    };
    writeln!(
        out,
        "| items | need | greedy | greedy, what is not needed taken back | largest first |"
    )?;
    writeln!(out, "|--:|--:|--:|--:|--:|")?;
    for (count, percent) in ROWS {
        let mut workspace = Workspace::with_states(count, Workspace::MAX_STATES);
        let mut means = [Mean::default(); 3];
        for number in 0..options.tables {
            let table = process_table(class, count, 100 - percent, u64::from(number));
            let need = table.need();
            let best = workspace
                .choose(&table.items, need, Budget { states: u64::MAX })
                .expect("the need can be covered");
            assert!(best.value_proved, "the budget has no end");
            let costs = [
                greedy(&table.items, need),
                pruned(&table.items, need),
                largest_first(&table.items, need),
            ];
            for (mean, cost) in means.iter_mut().zip(costs) {
                mean.add(cost, best.value);
            }
        }
        let [greedy, pruned, largest] = means.map(|mean| mean.text(options.tables));
        writeln!(
            out,
            "| {count} | {percent} % | {greedy} | {pruned} | {largest} |"
        )?;
    }
    Ok(())
}

/// Of multiples of the least value.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    worst: f64,
}

impl Mean {
    #[expect(clippy::cast_precision_loss, reason = "a multiple for reading")]
    fn add(&mut self, cost: u64, least: u64) {
        let multiple = cost as f64 / least.max(1) as f64;
        self.sum += multiple;
        self.worst = self.worst.max(multiple);
    }

    fn text(self, of: u32) -> String {
        format!("{:.2} ({:.1})", self.sum / f64::from(of), self.worst)
    }
}

/// The least value per weight first, until the need is covered.
fn by_density(items: &[Item], need: u64) -> Vec<Item> {
    let mut order = items.to_vec();
    order.sort_by(|one, other| {
        let one_density = u128::from(one.value) * u128::from(other.weight);
        let other_density = u128::from(other.value) * u128::from(one.weight);
        one_density.cmp(&other_density)
    });
    until(order, need)
}

/// The first ones that cover the need together.
fn until(order: Vec<Item>, need: u64) -> Vec<Item> {
    let mut freed = 0;
    order
        .into_iter()
        .take_while(|item| {
            let wanted = freed < need;
            freed += item.weight;
            wanted
        })
        .collect()
}

fn greedy(items: &[Item], need: u64) -> u64 {
    by_density(items, need).iter().map(|item| item.value).sum()
}

/// Greedy's choice without what of it is not needed, the best first.
fn pruned(items: &[Item], need: u64) -> u64 {
    let chosen = by_density(items, need);
    let mut freed: u64 = chosen.iter().map(|item| item.weight).sum();
    let mut value = 0;
    for item in chosen.iter().rev() {
        if freed - item.weight >= need {
            freed -= item.weight;
        } else {
            value += item.value;
        }
    }
    value
}

/// What a daemon does that ends the largest process, and then the next.
fn largest_first(items: &[Item], need: u64) -> u64 {
    let mut order = items.to_vec();
    order.sort_by_key(|item| Reverse(item.weight));
    until(order, need).iter().map(|item| item.value).sum()
}
