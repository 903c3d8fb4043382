//! The programs under test, as a scenario starts them.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::program::Program;
use super::wait;

/// Where processes are given values.
const REGISTRY: &str = "/tmp/user_processes";

/// `user-oom`, looking after the machine by the time this returns: it answers.
///
/// # Errors
///
/// It could not be started, or went away.
pub fn daemon(arguments: &[&str]) -> Result<Program> {
    let mut daemon = Program::start(Command::new("/bin/user-oom").args(arguments))?;
    // The last line of what it says of itself at start.
    daemon.says("  socket")?;
    wait::until("the daemon answers", Duration::from_secs(30), || {
        let check = Command::new("/bin/psi-monitor").arg("--check").output()?;
        Ok(check.status.success())
    })?;
    Ok(daemon)
}

/// `psi-monitor`.
///
/// # Errors
///
/// It could not be started.
pub fn monitor(arguments: &[&str]) -> Result<Program> {
    Program::start(Command::new("/bin/psi-monitor").args(arguments))
}

/// `test_proc1` or `test_proc2`, registered.
///
/// # Errors
///
/// It could not be started, or not register.
pub fn test_process(name: &str, arguments: &[&str]) -> Result<Program> {
    let mut program = Program::start(Command::new(format!("/bin/{name}")).args(arguments))?;
    program.says("")?;
    Ok(program)
}

/// Gives a process a value, as any shell can.
///
/// # Errors
///
/// The registry cannot be written to: no daemon has made it.
pub fn give_value(program: &Program, value: u32) -> Result<()> {
    let entry = format!("{REGISTRY}/{}", program.pid());
    fs::write(&entry, format!("{value}\n")).with_context(|| format!("cannot write `{entry}`"))
}
