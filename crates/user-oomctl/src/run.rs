//! Becomes a command that has a value.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::Command;

use control::Request;
use nix::unistd::geteuid;

use crate::error::Error;
use crate::places::DaemonPlaces;

/// Registers this process, and becomes `command`; in a scope of systemd's, by way
/// of systemd-run, which does the same. Returns only where that fails.
///
/// # Errors
///
/// - As [`DaemonPlaces::ask`].
/// - [`Error::Run`]: the command cannot be run.
pub(crate) fn become_command(
    daemon: &DaemonPlaces,
    entry: String,
    scope: bool,
    command: &[OsString],
) -> Result<(), Error> {
    // The daemon sees us by the socket's credentials, whatever our pid is here.
    daemon.ask(&Request::Register { pid: None, entry })?;
    let manager = match geteuid().is_root() {
        true => "--system",
        false => "--user",
    };
    let scoped = [
        "systemd-run",
        "--scope",
        "--quiet",
        "--collect",
        manager,
        "--",
    ];
    let scoped = scoped.into_iter().filter(|_| scope).map(OsStr::new);
    let mut words = scoped.chain(command.iter().map(OsString::as_os_str));
    let program = words.next().unwrap_or_default();
    let source = Command::new(program).args(words).exec();
    Err(Error::Run {
        command: program.to_string_lossy().into_owned(),
        source,
    })
}
