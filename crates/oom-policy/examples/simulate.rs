//! Random machines through the policy and its rivals: `cargo xtask simulate`.
//!
//! What the machines are, and what is counted, is said in [`simulator`].

#[path = "../tests/machine/mod.rs"]
pub mod machine;
#[path = "../tests/simulator/mod.rs"]
pub mod simulator;

use std::io::{self, Write};
use std::num::NonZero;
use std::thread;

use clap::Parser;
use clap::builder::RangedU64ValueParser;
use machine::{Killer, Made};
use oom_policy::Candidate;
use simulator::best::best;
use simulator::contest::{Contestant, Outcome, run};
use simulator::figures::{Figures, Trial, settings, trials};
use simulator::scenario::{ONE, Scenario, Trouble, Workload};

/// How many of the worst are named.
const WORST: usize = 10;

/// Compare what the policy keeps of the value on random machines with the best
/// possible, and with what others keep
#[derive(Debug, Parser)]
#[command(name = "cargo xtask simulate")]
struct Options {
    /// How many machines
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    machines: u64,
    /// The first machine; the next ones have the next numbers
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// How many jobs each machine has at least, up to 16; 3 to 10 if this is not
    /// given
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=16))]
    jobs: Option<usize>,
    /// Show the first machine, and each of the policy's decisions on it
    #[arg(long)]
    show: bool,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let mut out = io::stdout().lock();
    if options.show {
        return show(&mut out, &Scenario::new(options.seed, options.jobs));
    }
    let all = measure(&options);
    table(&mut out, &options, &all)
}

/// By contestant.
fn measure(options: &Options) -> Vec<Figures> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let (first, machines, jobs) = (options.seed, options.machines, options.jobs);
    let trials: Vec<Vec<Trial>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    let seeds = (first..first + machines).skip(worker).step_by(threads);
                    seeds
                        .map(|seed| trials(seed, jobs, &Contestant::ALL, &settings()))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let results = workers.into_iter();
        results
            .flat_map(|worker| worker.join().expect("a worker that does not panic"))
            .collect()
    });
    (0..Contestant::ALL.len())
        .map(|place| Figures::of(trials.iter().map(|trials| trials[place]).collect()))
        .collect()
}

fn table(out: &mut impl Write, options: &Options, all: &[Figures]) -> io::Result<()> {
    writeln!(
        out,
        "{} machines from seed {}; value kept, as a part of the best:\n",
        options.machines, options.seed
    )?;
    writeln!(
        out,
        "{:<24}  mean  half   10%    1%  worst  kernel kills  innocents",
        ""
    )?;
    for (contestant, figures) in Contestant::ALL.iter().zip(all) {
        let kernel_kills = figures.sum(|trial| trial.kernel_kills);
        row(out, contestant.name(), figures, kernel_kills)?;
    }
    writeln!(
        out,
        "\nhalf, 10 %, 1 % of the machines keep no more than this. Kernel kills are
processes; innocents are jobs that were killed though they held the same all
the time. There is no earlier release to compare with: none was made yet.\n"
    )?;
    let guard = &all[0];
    writeln!(
        out,
        "{:<24}  mean  half   10%    1%  worst      machines  innocents",
        "user-oom, where there is"
    )?;
    for (trouble, name) in Trouble::ALL {
        let figures = guard.with(trouble);
        row(out, name, &figures, figures.trials.len())?;
    }
    let (choices, unproved) = (
        guard.sum(|trial| trial.choices),
        guard.sum(|trial| trial.unproved),
    );
    writeln!(
        out,
        "\nIt made {choices} choices: {} proved to cost the least, {unproved} not.
In {} of them a registered job was killed, and one of lower value that would
have freed as much was not.

Its worst machines (show one: --show --seed N):",
        choices - unproved,
        guard.sum(|trial| trial.surprises)
    )?;
    for trial in guard.trials.iter().take(WORST) {
        writeln!(out, "  seed {:<6} {:.3}", trial.seed, trial.kept)?;
    }
    Ok(())
}

/// `count` comes before the innocents.
fn row(out: &mut impl Write, name: &str, figures: &Figures, count: usize) -> io::Result<()> {
    writeln!(
        out,
        "{name:<24} {:>5.3} {:>5.3} {:>5.3} {:>5.3}  {:>5.3}  {count:>12}  {:>9}",
        figures.mean(),
        figures.at_permille(500),
        figures.at_permille(100),
        figures.at_permille(10),
        figures.worst(),
        figures.sum(|trial| trial.innocents),
    )
}

fn show(out: &mut impl Write, scenario: &Scenario) -> io::Result<()> {
    let best = best(scenario);
    writeln!(
        out,
        "seed {}: {} of memory, {} of swap; the best keeps what is marked with *\n",
        scenario.seed,
        gib(scenario.total_bytes),
        gib(scenario.swap_bytes)
    )?;
    for (workload, kept) in scenario.workloads.iter().zip(&best) {
        writeln!(
            out,
            "{} {}",
            if *kept { '*' } else { ' ' },
            described(workload)
        )?;
    }
    let outcome = run(scenario, Contestant::Guard, &settings());
    let began = scenario.machine(settings()).now;
    for made in outcome.made.iter().filter(|made| !made.chosen.is_empty()) {
        writeln!(out)?;
        decision(out, made, (made.at - began).as_secs_f64())?;
    }
    writeln!(out)?;
    lost(out, scenario, &outcome)?;
    writeln!(out, "\nvalue kept, as a part of the best:")?;
    for contestant in Contestant::ALL {
        let outcome = run(scenario, contestant, &settings());
        let trial = Trial::of(scenario, &best, &outcome);
        writeln!(out, "  {:<24} {:.3}", contestant.name(), trial.kept)?;
    }
    Ok(())
}

fn described(workload: &Workload) -> String {
    let bytes = |task: &machine::Task| task.process.held_bytes();
    let held = workload.tasks.iter().map(bytes).sum();
    let value = match workload.value {
        Some(value) => format!("value {value}"),
        None => "no entry".to_owned(),
    };
    let does: Vec<String> = workload
        .tasks
        .iter()
        .filter_map(machine::Task::does)
        .collect();
    let restarts = if workload.restarts {
        "; comes back"
    } else {
        ""
    };
    format!(
        "{:<17} {:>9}  {value}, worth {:.2}; {}{restarts}",
        workload.name,
        gib(held),
        workload.worth as f64 / ONE as f64,
        if does.is_empty() {
            "holds it".to_owned()
        } else {
            does.join("; ")
        },
    )
}

fn decision(out: &mut impl Write, made: &Made, seconds: f64) -> io::Result<()> {
    writeln!(
        out,
        "{seconds:.2} s, {:?}: {} available, {} of swap free; need {}{}",
        made.level,
        gib(made.memory.available_bytes),
        gib(made.memory.swap_free_bytes),
        gib(made.need_bytes),
        if made.covers_need {
            ""
        } else {
            ", which is not covered"
        },
    )?;
    // A bomb's hundreds are alike.
    let line = |candidate: &Candidate| {
        format!(
            "  {} {:<14} {:>9}  {}",
            if candidate.chosen { "kill" } else { "    " },
            candidate.name.to_string(),
            gib(candidate.frees_bytes),
            candidate.explanation
        )
    };
    for alike in made
        .candidates
        .chunk_by(|one, other| line(one) == line(other))
    {
        match alike {
            [one] => writeln!(out, "{}", line(one))?,
            alike => writeln!(out, "{} (each of {})", line(&alike[0]), alike.len())?,
        }
    }
    Ok(())
}

fn lost(out: &mut impl Write, scenario: &Scenario, outcome: &Outcome) -> io::Result<()> {
    for (time, index, by) in &outcome.lost {
        let workload = &scenario.workloads[*index];
        let by = match by {
            Killer::Daemon => "",
            Killer::Kernel => ", to the kernel",
        };
        writeln!(
            out,
            "{:.2} s: lost {}{by}",
            time.as_secs_f64(),
            workload.name
        )?;
    }
    Ok(())
}

fn gib(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / machine::GIB as f64)
}
