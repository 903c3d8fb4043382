//! Measures the solver on the instances of the benchmarks, and prints a table.
//!
//! Times are CPU time of the thread, the least of several runs where a run is
//! short.

#[path = "../benches/instances/mod.rs"]
mod instances;

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use clap::Parser;
use instances::Instance;
use knapsack::{Budget, Workspace};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Measures the solver on the instances of the benchmarks.
#[derive(Debug, Parser)]
struct Options {
    /// Only instances whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Milliseconds of CPU time after which a search ends.
    #[arg(long, default_value_t = 10)]
    budget_ms: u64,
    /// Write JSON lines, each with its instance, for another program to check.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    family: &'a str,
    class: &'a str,
    scale: u64,
    capacity_percent: u64,
    items: usize,
    micros_value: f64,
    micros_ties: f64,
    kept_value: u64,
    value_proved: bool,
    ties_proved: bool,
    gap: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    weights: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<u64>,
    capacity: u64,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let mut out = BufWriter::new(io::stdout().lock());
    for count in instances::TABLE_SIZES {
        for class in instances::TABLE_VALUES {
            for kept in instances::TABLE_KEPT {
                if class.contains(&options.only) {
                    let instance = instances::process_table(class, count, kept, 0);
                    measure("table", kept, &instance, &options, &mut out)?;
                }
            }
        }
    }
    for count in instances::CLASS_SIZES {
        for class in instances::CLASSES {
            for range in instances::CLASS_RANGES {
                for quarters in 1..=3 {
                    if class.contains(&options.only) {
                        let instance = instances::pisinger(class, count, range, quarters);
                        measure("class", quarters * 25, &instance, &options, &mut out)?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn measure(
    family: &str,
    capacity_percent: u64,
    instance: &Instance,
    options: &Options,
    out: &mut dyn Write,
) -> io::Result<()> {
    let items = &instance.items;
    let mut workspace = Workspace::with_states(items.len(), Workspace::MAX_STATES);
    let unlimited = Budget { states: u64::MAX };
    let budget = Duration::from_millis(options.budget_ms);
    let (mut micros_value, mut micros_ties) = (f64::MAX, f64::MAX);
    let mut runs = 0;
    let started = cpu_time();
    while runs < 200 && (runs < 3 || cpu_time() - started < Duration::from_millis(20)) {
        let start = cpu_time();
        let mut go_on = || cpu_time() - start < budget;
        let solved = workspace.choose_by_value_while(items, instance.need(), unlimited, &mut go_on);
        std::hint::black_box(solved).expect("the need can be covered");
        micros_value = micros_value.min((cpu_time() - start).as_secs_f64() * 1e6);
        let start = cpu_time();
        let mut go_on = || cpu_time() - start < budget;
        let solved = workspace.choose_while(items, instance.need(), unlimited, &mut go_on);
        std::hint::black_box(solved).expect("the need can be covered");
        micros_ties = micros_ties.min((cpu_time() - start).as_secs_f64() * 1e6);
        runs += 1;
    }
    let start = cpu_time();
    let mut go_on = || cpu_time() - start < budget;
    let ties_proved = workspace
        .choose_while(items, instance.need(), unlimited, &mut go_on)
        .expect("the need can be covered")
        .ties_proved;
    let start = cpu_time();
    let mut go_on = || cpu_time() - start < budget;
    let selection = workspace
        .choose_by_value_while(items, instance.need(), unlimited, &mut go_on)
        .expect("the need can be covered");
    let total: u64 = items.iter().map(|item| item.value).sum();
    let line = Line {
        family,
        class: instance.class,
        scale: instance.scale,
        capacity_percent,
        items: items.len(),
        micros_value,
        micros_ties,
        kept_value: total - selection.value,
        value_proved: selection.value_proved,
        ties_proved,
        gap: selection.gap,
        weights: items
            .iter()
            .map(|item| item.weight)
            .filter(|_| options.json)
            .collect(),
        values: items
            .iter()
            .map(|item| item.value)
            .filter(|_| options.json)
            .collect(),
        capacity: instance.capacity,
    };
    if options.json {
        serde_json::to_writer(&mut *out, &line)?;
        writeln!(out)?;
    } else {
        writeln!(
            out,
            "{:<30} {:>7} {:>6} {:>3}% {:>9.1} {:>9.1} {} {} {:.1e}",
            line.class,
            if family == "table" {
                String::new()
            } else {
                line.scale.to_string()
            },
            line.items,
            line.capacity_percent,
            line.micros_value,
            line.micros_ties,
            if line.value_proved { "value" } else { "  -  " },
            if line.ties_proved { "ties" } else { " -  " },
            ratio(line.gap, line.kept_value),
        )?;
    }
    out.flush()
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for reading")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// What this thread has had of the processor.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
