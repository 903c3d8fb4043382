//! `--simulate`: what another configuration, or other values, would have had done
//! with what a journal has, as far as it can tell.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Display};
use std::path::Path;

use journal::{DecisionMade, JournalReader, Line, Machine, Parting, Simulation};
use oom_policy::{Cost, Memory, Settings, Verdict};

use crate::configuration::Configuration;
use crate::error::Error;
use crate::replay::{Printer, next_line, say};
use crate::tell::narrator::Decided;

/// What a configuration says that a record has only the outcome of.
const NOT_SIMULATED: [&str; 9] = [
    "prefer",
    "avoid",
    "ignore",
    "ignore-root-user",
    "pressure",
    "pause",
    "pause-pressure",
    "user-value-cap",
    "user-value-share",
];
/// So many victims are named.
const NAMED: usize = 5;

/// Simulates the journal in the file or directory `path` by the configuration that
/// `command_line` names, and with `values` by pid.
///
/// # Errors
///
/// - [`Error::Journal`]: it cannot be read.
/// - [`Error::Configuration`], [`Error::Unusable`]: the configuration cannot be used.
/// - [`Error::NothingReplayed`]
pub(crate) fn simulate(
    path: &Path,
    command_line: &[OsString],
    values: &[(u32, u32)],
) -> Result<(), Error> {
    let configuration = Configuration::read(command_line)?;
    let values: BTreeMap<u32, u32> = values.iter().copied().collect();
    let mut reader = JournalReader::open(path).map_err(Error::Journal)?;
    let mut simulation = Simulation::new(values);
    let mut printer = Printer::new()?;
    let mut machine = Machine::default();
    let mut sums = Sums::default();
    say_what_is_as_recorded(&configuration, command_line)?;
    while let Some((place, line)) = next_line(&mut reader)? {
        match &*line {
            Line::Journal(preface) => machine.clone_from(&preface.machine),
            Line::State { guard, .. } => {
                sums.beginnings += 1;
                simulation.adopt(settings(&configuration, &machine, guard.settings())?);
            }
            _ => {}
        }
        printer.keep_time(&line);
        match simulation.take(&line) {
            Parting::Quiet => {}
            Parting::Skipped => sums.skipped += 1,
            Parting::Same(made) => {
                sums.same += 1;
                sums.recorded.add(&made);
                sums.simulated.add(&made);
                print(&mut printer, &made);
            }
            Parting::Parts { ours, theirs } => {
                sums.parts += 1;
                if let Some(ours) = &ours {
                    sums.simulated.add(ours);
                    print(&mut printer, ours);
                }
                if let Some(theirs) = &theirs {
                    sums.recorded.add(theirs);
                }
                say(&format!(
                    "{place}: here it departs from the record\n  recorded   {}\n  simulated  {}{}",
                    Deeds(theirs.as_deref()),
                    Deeds(ours.as_deref()),
                    Age(ours.as_deref())
                ));
            }
            Parting::Afterwards(made) => {
                sums.recorded.add(&made);
                say(&format!(
                    "{place}: recorded afterwards: {}",
                    Deeds(Some(&made))
                ));
            }
        }
    }
    sums.conclude()
}

/// What was done, by now.
#[derive(Debug, Default)]
struct Sums {
    beginnings: u64,
    same: u64,
    parts: u64,
    skipped: u64,
    recorded: Sum,
    simulated: Sum,
}

#[derive(Debug, Default)]
struct Sum {
    killed: usize,
    lost: Cost,
}

impl Sum {
    fn add(&mut self, made: &DecisionMade) {
        if made.decision.verdict == Verdict::Chosen {
            let chosen = made.decision.candidates.iter().filter(|it| it.chosen);
            self.killed += chosen.count();
            self.lost = self.lost.saturating_add(made.decision.lost);
        }
    }
}

impl Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { killed, lost } = self;
        let noun = if *killed == 1 { "unit" } else { "units" };
        write!(f, "{killed} {noun} killed, value lost {lost}")
    }
}

impl Sums {
    fn conclude(&self) -> Result<(), Error> {
        if self.beginnings == 0 {
            return Err(Error::NothingReplayed);
        }
        if self.skipped > 0 {
            say(&format!(
                "{} lines could not be used: no state comes before them, or lines are missing",
                self.skipped
            ));
        }
        let (same, parts) = (self.same, self.parts);
        let what = match parts {
            0 => "what is done is what was recorded".to_owned(),
            1 => "the record does not show what would have happened after that".to_owned(),
            _ => format!("it departs {parts} times, each time after a new beginning"),
        };
        say(&format!(
            "{same} decisions are the same; {what}\n  recorded   {}\n  simulated  {}, as far as the \
             record shows",
            self.recorded, self.simulated
        ));
        Ok(())
    }
}

fn settings(
    configuration: &Configuration,
    machine: &Machine,
    recorded: &Settings,
) -> Result<Settings, Error> {
    let memory = Memory {
        total_bytes: machine.memory_bytes,
        swap_total_bytes: machine.swap_bytes,
        ..Memory::default()
    };
    let settings = configuration.settings_on(&memory);
    Ok(Settings {
        // What its entries count for is as recorded.
        user_value_cap: recorded.user_value_cap,
        ..recorded.with_keys_of(settings.map_err(Error::Unusable)?)
    })
}

fn say_what_is_as_recorded(
    configuration: &Configuration,
    command_line: &[OsString],
) -> Result<(), Error> {
    let in_force = configuration.in_force(command_line)?;
    let is_set = |it: &&crate::configuration::InForce| {
        it.source != "default" && NOT_SIMULATED.contains(&it.key.as_str())
    };
    let mut set: Vec<_> = in_force.iter().filter(is_set).map(|it| &*it.key).collect();
    if !configuration.rulebook.is_empty() {
        set.push("rules");
    }
    if !set.is_empty() {
        say(&format!(
            "not simulated, since a journal has only the outcome: {}",
            set.join(", ")
        ));
    }
    Ok(())
}

fn print(printer: &mut Printer, made: &DecisionMade) {
    let decided = Decided {
        decision: &made.decision,
        processes: &made.processes,
        memory: Some(&made.memory),
    };
    printer.decided(made.at, decided);
}

/// What is done, to which, and what is lost and kept of the values given.
struct Deeds<'a>(Option<&'a DecisionMade>);

impl Display for Deeds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(DecisionMade { decision, .. }) = self.0 else {
            return f.write_str("nothing is done");
        };
        let chosen = || decision.candidates.iter().filter(|it| it.chosen);
        f.write_str(match decision.verdict {
            Verdict::Chosen => "kill ",
            Verdict::Paused => "pause ",
            // A grace is over.
            _ => return f.write_str("SIGKILL to what was sent SIGTERM, or a pause ends"),
        })?;
        for (index, it) in chosen().take(NAMED).enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{} {}", it.leader.pid, it.name)?;
        }
        match chosen().count().saturating_sub(NAMED) {
            0 => {}
            others => write!(f, " and {others} others")?,
        }
        if decision.verdict == Verdict::Chosen {
            let kept = decision.candidates.iter().filter(|it| !it.chosen);
            let kept: u64 = kept
                .filter_map(|it| it.explanation.value())
                .map(u64::from)
                .sum();
            write!(f, ": value lost {}, kept {kept}", decision.lost)?;
        }
        Ok(())
    }
}

/// That the processes are as of some time before.
struct Age<'a>(Option<&'a DecisionMade>);

impl Display for Age<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = self.0.and_then(|made| Some((made.at, made.table_at?)));
        made.map_or(Ok(()), |(at, table_at)| {
            let age = at.since(table_at).as_secs_f64();
            write!(
                f,
                "\n             (processes as recorded {age:.1} s before; none were read then)"
            )
        })
    }
}
