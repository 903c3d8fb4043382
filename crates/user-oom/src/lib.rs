//! The daemon: before a Linux machine stalls for want of memory, it chooses
//! exactly which processes to keep, so that the most value survives, and ends
//! the rest for certain.
//!
//! This crate is the wiring. What the kernel says is read by [`sensors`], what
//! users say by [`value_registry`], what follows is decided by [`oom_policy`]
//! and done by [`reaper`].

mod act;
mod align;
mod arguments;
mod bell;
mod classify;
mod daemon;
mod error;
mod fates;
mod hook;
mod hook_file;
mod memory;
mod page;
mod pattern;
mod peers;
mod pressure;
mod privileges;
mod record;
mod registry_turn;
mod rehearsal;
mod scribe;
#[cfg(test)]
mod stand_in;
mod start;
mod surveyor;

use std::ffi::OsString;
use std::io::IsTerminal;

use clap::Parser;

use crate::arguments::Arguments;
pub use crate::arguments::Unusable;
pub use crate::error::{Error, report};

/// Runs the daemon with the given command line, program name first, until a
/// signal ends it.
///
/// # Errors
///
/// [`Error`] says what kept it from guarding.
pub fn run(command_line: impl Iterator<Item = OsString>) -> Result<(), Error> {
    let command_line: Vec<OsString> = command_line.collect();
    match command_line.get(1) {
        Some(word) if word == rehearsal::CHILD => {
            rehearsal::be_the_child();
            return Ok(());
        }
        Some(word) if word == hook::CHILD => {
            return Err(start::become_hook(command_line.into_iter().skip(2)));
        }
        _ => {}
    }
    let arguments = Arguments::try_parse_from(command_line).map_err(Error::Arguments)?;
    start_log(arguments.debug);
    for remark in arguments.remarks() {
        log::info!("{remark}");
    }
    let terminal = std::io::stdout().is_terminal();
    start::daemon(&arguments, terminal)?.guard()
}

/// Lines on standard error; `RUST_LOG` is heeded.
fn start_log(debug: bool) {
    let level = if debug { "debug" } else { "info" };
    let from_environment = env_logger::Env::default().default_filter_or(level);
    // Fails only where a log was started before, by a test.
    let _ = env_logger::Builder::from_env(from_environment)
        .format_timestamp(None)
        .format_target(false)
        .try_init();
}
