//! The daemon: before a Linux machine runs out of memory, it kills the set of
//! processes that frees enough and costs the least value.
//!
//! This crate is the wiring. [`sensors`] reads what the kernel says,
//! [`value_registry`] what users say; [`oom_policy`] decides, and [`reaper`]
//! kills.

mod act;
mod align;
mod arguments;
mod buffer;
mod classify;
mod clerk;
mod commands;
mod configuration;
mod container_facts;
mod daemon;
mod enrol;
mod error;
mod holds;
mod memory;
mod metrics;
mod pattern;
mod pause_reader;
mod paused;
mod peers;
mod pressure;
mod privileges;
mod recorder;
mod recording;
mod refusals;
mod registry_turn;
mod rehearsal;
mod reload;
mod replay;
mod rule_command;
mod rulebook;
mod senses;
mod service;
mod simulate;
#[cfg(test)]
mod stand_in;
mod start;
mod surveyor;
mod tell;
mod turns;
mod values;
mod wait;
mod watchdog;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};

use clap::{CommandFactory, Parser};
use log::LevelFilter;

use crate::arguments::Arguments;
pub use crate::arguments::Unusable;
use crate::configuration::Configuration;
pub use crate::error::{Error, report};
use crate::tell::syslog::Syslog;

/// The command line, for a man page and completions.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs the daemon with the given command line, program name first, until a
/// signal ends it.
///
/// # Errors
///
/// [`Error`] says what kept it from guarding.
pub fn run(command_line: impl Iterator<Item = OsString>) -> Result<(), Error> {
    start::take_stack()?;
    let command_line: Vec<OsString> = command_line.collect();
    match command_line.get(1) {
        Some(word) if word == rehearsal::CHILD => {
            rehearsal::be_the_child();
            return Ok(());
        }
        Some(word) if word == pause_reader::KEEPER => {
            return start::be_the_keeper(command_line.into_iter().skip(2));
        }
        Some(word) if word == tell::hook::CHILD => {
            return Err(start::become_hook(command_line.into_iter().skip(2)));
        }
        _ => {}
    }
    let asked = Arguments::try_parse_from(&command_line).map_err(Error::Arguments)?;
    if asked.print_config {
        say(&configuration::print());
        return Ok(());
    }
    if let Some(path) = &asked.replay {
        return replay::replay(path);
    }
    if let Some(path) = &asked.simulate {
        return simulate::simulate(path, &command_line, &asked.with_value);
    }
    let read = Configuration::read(&command_line);
    if asked.check_config {
        return check(read, &command_line).map_err(|err| Error::Checked(Box::new(err)));
    }
    let configuration = read?;
    let arguments = &configuration.arguments;
    let descriptors = start::take_descriptors()?;
    let signals = start::take_signals()?;
    let cpu_limit = start::take_cpu_time();
    let syslog = start_log(arguments);
    for remark in arguments.remarks() {
        log::info!("{remark}");
    }
    let remarks = configuration.remarks.iter();
    for remark in remarks.chain(&configuration.rulebook.remarks) {
        log::warn!("{remark}");
    }
    if let Some(seconds) = cpu_limit {
        log::warn!(
            "the kernel kills this daemon once it has used {seconds} s of CPU time: raise the hard \
             limit RLIMIT_CPU (`ulimit -t unlimited`, or LimitCPU=infinity of the unit)"
        );
    }
    let terminal = syslog.is_none() && io::stdout().is_terminal();
    let guarded = start::daemon(
        &configuration,
        &command_line,
        terminal,
        syslog.as_ref(),
        signals,
        descriptors,
    )
    .and_then(|mut daemon| {
        service::is_ready(daemon.watchdog.pulse());
        let guarded = daemon.guard();
        service::ends();
        guarded
    });
    if guarded.is_err() {
        start::give_back_signals();
        tell::main_log::write_out();
    }
    guarded
}

/// Prints what is in force, and says what the daemon would not start with.
fn check(read: Result<Configuration, Error>, command_line: &[OsString]) -> Result<(), Error> {
    let configuration = read?;
    say(&configuration.listing(command_line)?);
    say(&start::matches(&configuration)?);
    say(&start::check(&configuration)?);
    Ok(())
}

fn say(text: &str) {
    // A reader that has seen enough is no error.
    let _ = io::stdout().write_all(text.as_bytes());
}

/// What `[WARN ] ` takes, behind which a folded line goes on.
const LEVEL_COLUMNS: usize = 8;

/// Lines on standard error, for which `RUST_LOG` is heeded, or in the system
/// log, which is returned then.
fn start_log(arguments: &Arguments) -> Option<Syslog> {
    let level = if arguments.debug {
        LevelFilter::Debug
    } else {
        LevelFilter::Info
    };
    let syslog = arguments.syslog.as_deref().map(Syslog::open).transpose();
    if let Ok(Some(syslog)) = syslog {
        tell::main_log::keep(Box::new(syslog.clone()), level);
        return Some(syslog);
    }
    let from_environment = env_logger::Env::default().default_filter_or(level.as_str());
    let width = terminal::width(io::stderr());
    let logger = env_logger::Builder::from_env(from_environment)
        .format(move |out, record| {
            let style = out.default_level_style(record.level());
            let level = record.level();
            let line = format!("[{style}{level:<5}{style:#}] {}\n", record.args());
            out.write_all(terminal::fold(&line, width, LEVEL_COLUMNS).as_bytes())
        })
        .build();
    let level = logger.filter();
    tell::main_log::keep(Box::new(logger), level);
    if let (Err(err), Some(path)) = (syslog, &arguments.syslog) {
        log::warn!(
            "no log daemon listens at `{}` ({err}): writing to standard output and error; if it \
             listens elsewhere, give `--syslog=SOCKET`",
            path.display()
        );
    }
    None
}
