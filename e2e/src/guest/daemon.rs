//! The programs under test, as a scenario starts them.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::program::Program;
use super::replay::JOURNAL;
use super::{files, wait};

/// In which the daemon answers, on a machine that is emulated.
const LIMIT: Duration = Duration::from_secs(30);

/// Where processes are given values.
const REGISTRY: &str = "/tmp/user_processes";

/// `user-oom`, looking after the machine by the time this returns: it answers. What
/// it decides is in its journal, which is replayed after the scenario.
///
/// # Errors
///
/// It could not be started, went away, or keeps no journal.
pub fn daemon(arguments: &[&str]) -> Result<Program> {
    let mut daemon = Program::start(Command::new("/bin/user-oom").args(arguments))?;
    // The last line of what it says of itself at start.
    daemon.says("  socket")?;
    wait::until("the daemon answers", LIMIT, || {
        let check = Command::new("/bin/psi-monitor").arg("--check").output()?;
        Ok(check.status.success())
    })?;
    ensure!(files::exists(JOURNAL), "the daemon keeps no journal");
    Ok(daemon)
}

/// Waits until the daemon says that it has read this many registrations: a
/// value that is not yet read does not count.
///
/// # Errors
///
/// It has not, or not yet.
pub fn knows_of(registered: u32) -> Result<()> {
    let wanted = format!(", {registered} registered,");
    wait::until(
        &format!("the daemon knows of {registered} registered processes"),
        LIMIT,
        || {
            let check = Command::new("/bin/psi-monitor").arg("--check").output()?;
            Ok(String::from_utf8_lossy(&check.stdout).contains(&wanted))
        },
    )
}

/// `psi-monitor`.
///
/// # Errors
///
/// It could not be started.
pub fn monitor(arguments: &[&str]) -> Result<Program> {
    Program::start(Command::new("/bin/psi-monitor").args(arguments))
}

/// `test_proc1` or `test_proc2`, registered; it takes nothing before SIGUSR1.
///
/// # Errors
///
/// It could not be started, or not register.
pub fn test_process(name: &str, arguments: &[&str]) -> Result<Program> {
    let mut command = Command::new(format!("/bin/{name}"));
    let mut program = Program::start(command.arg("--hold").args(arguments))?;
    program.says("")?;
    Ok(program)
}

/// Gives a process a value, as any shell can.
///
/// # Errors
///
/// The registry cannot be written to: no daemon has made it.
pub fn give_value(program: &Program, value: u32) -> Result<()> {
    give_entry(program, &value.to_string())
}

/// The same, with labels.
///
/// # Errors
///
/// As above.
pub fn give_entry(program: &Program, entry: &str) -> Result<()> {
    write_entry(program.pid(), entry)
}

/// Gives a process that is not our child a value.
///
/// # Errors
///
/// As above.
pub fn give_value_to(pid: u32, value: u32) -> Result<()> {
    write_entry(pid, &value.to_string())
}

fn write_entry(pid: u32, entry: &str) -> Result<()> {
    let path = format!("{REGISTRY}/{pid}");
    fs::write(&path, format!("{entry}\n")).with_context(|| format!("cannot write `{path}`"))
}
