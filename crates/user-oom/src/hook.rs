//! Programs that are run around an end.
//!
//! What the daemon has given itself, a hook must not have: signals blocked,
//! priority, the kernel's mercy. A child inherits all of it, so the daemon
//! starts itself once more, which lays that down and becomes the hook.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::SigSet;

use crate::error::{Error, system};
use crate::record::{Record, Victim};

/// The argument that makes a process of ours a hook.
pub(crate) const CHILD: &str = "--hook";

/// How many hooks run at once; more are left out and said.
const AT_ONCE: usize = 16;

/// The programs to run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hooks {
    /// Started when a process is about to be signalled.
    pub(crate) before: Option<PathBuf>,
    /// Started when it is gone.
    pub(crate) after: Option<PathBuf>,
}

/// Becomes the program that `command` names, with its arguments.
///
/// # Errors
///
/// [`Error::System`]: there is no such program. Else this does not return.
pub(crate) fn become_hook(proc_root: &Path, mut command: impl Iterator<Item = OsString>) -> Error {
    const DOING: &str = "run a hook";
    // It may raise itself again if it is root; and where it could not be
    // lowered, it was not raised.
    let _ = reaper::resign_protection(proc_root);
    if let Err(errno) = SigSet::all().thread_unblock() {
        return system(DOING)(errno);
    }
    match command.next() {
        Some(program) => system(DOING)(Command::new(program).args(command).exec()),
        None => system(DOING)(io::Error::from(io::ErrorKind::NotFound)),
    }
}

/// Hooks that have been started and may not have ended.
#[derive(Debug)]
pub(crate) struct RunningHooks {
    hooks: Hooks,
    children: Vec<Child>,
}

impl RunningHooks {
    pub(crate) fn new(hooks: Hooks) -> Self {
        Self {
            hooks,
            children: Vec::with_capacity(AT_ONCE),
        }
    }

    /// Starts what `record` calls for.
    pub(crate) fn follow(&mut self, record: &Record) {
        let (program, victim) = match record {
            Record::Signalled {
                victim,
                first: true,
                dry: false,
                ..
            } => (&self.hooks.before, victim),
            Record::Gone { victim, .. } => (&self.hooks.after, victim),
            _ => return,
        };
        let Some(program) = program.clone() else {
            return;
        };
        self.reap();
        if self.children.len() == AT_ONCE {
            log::warn!(
                "{AT_ONCE} hooks are still running: `{}` was not started for {}",
                program.display(),
                victim.id.pid
            );
            return;
        }
        match start(&program, victim) {
            Ok(child) => self.children.push(child),
            Err(err) => log::warn!("cannot run the hook `{}`: {err}", program.display()),
        }
    }

    /// Forgets those that have ended.
    pub(crate) fn reap(&mut self) {
        self.children
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

fn start(program: &Path, victim: &Victim) -> io::Result<Child> {
    let pid = victim.id.pid.to_string();
    let uid = victim.uid.to_string();
    let name = victim.name.to_string();
    let value = victim.value.map(|value| value.to_string());
    Command::new(std::env::current_exe()?)
        .arg(CHILD)
        .arg(program)
        .env("USER_OOM_PID", &pid)
        .env("USER_OOM_UID", &uid)
        .env("USER_OOM_NAME", &name)
        .env("USER_OOM_VALUE", value.unwrap_or_default())
        // What scripts written for earlyoom read.
        .env("EARLYOOM_PID", pid)
        .env("EARLYOOM_UID", uid)
        .env("EARLYOOM_NAME", name)
        .stdin(Stdio::null())
        .spawn()
}
