//! A child process of a test's own.

#[allow(dead_code, reason = "not every test file pauses a cgroup")]
pub(crate) mod cgroup;
#[allow(dead_code, reason = "not every test file pauses")]
pub(crate) mod reader;

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{self, Command, ExitStatus, Stdio};
use std::time::Duration;

use model::ProcessId;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// Far longer than anything here takes; a test that gets there has failed.
#[allow(dead_code, reason = "not every test file waits")]
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Where the children are.
pub(crate) const PROC: &str = "/proc";

/// Killed and reaped when dropped, also by a failing test.
#[derive(Debug)]
pub(crate) struct Child {
    child: process::Child,
    id: ProcessId,
}

#[allow(dead_code, reason = "not every test file uses every child")]
impl Child {
    /// Does nothing and ends of SIGTERM.
    pub(crate) fn idle() -> Self {
        Self::ready(Command::new("sh").args(["-c", "echo ready; read line"]))
    }

    pub(crate) fn that_ignores_sigterm() -> Self {
        Self::ready(Command::new("sh").args(["-c", "trap '' TERM; echo ready; read line"]))
    }

    /// Creates `saved` on SIGTERM, and ends.
    pub(crate) fn that_saves_on_sigterm(saved: &Path) -> Self {
        let script = "trap ': > \"$SAVED\"; exit 0' TERM; echo ready; read line";
        Self::ready(Command::new("sh").args(["-c", script]).env("SAVED", saved))
    }

    /// One of `tests/child/program.rs`.
    pub(crate) fn in_role(role: &str) -> Self {
        Self::ready(Command::new(env!("CARGO_BIN_EXE_reaper-test-child")).arg(role))
    }

    /// What `script` makes of sh, once it has said `ready`.
    pub(crate) fn of_script(script: &str) -> Self {
        Self::ready(Command::new("sh").args(["-c", script]))
    }

    /// What says `ready` in the end.
    pub(crate) fn of_program(program: &str, arguments: &[&str]) -> Self {
        Self::ready(Command::new(program).args(arguments))
    }

    fn ready(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child can be started");
        let stdout = child.stdout.take().expect("it is piped");
        let start_ticks = start_ticks(child.id())
            .expect("its stat can be read")
            .expect("it is not reaped");
        let child = Self {
            id: ProcessId {
                pid: child.id(),
                start_ticks,
            },
            child,
        };
        let mut said = String::new();
        let read = BufReader::new(stdout).read_line(&mut said);
        read.expect("its output can be read");
        assert_eq!(said, "ready\n");
        child
    }

    pub(crate) fn id(&self) -> ProcessId {
        self.id
    }

    /// Stops it (SIGSTOP), and waits until it stands still.
    pub(crate) fn stop(&self) {
        let pid = Pid::from_raw(i32::try_from(self.id.pid).expect("a pid")).expect("not 0");
        #[expect(
            clippy::disallowed_methods,
            reason = "a child of ours that is not reaped keeps its pid"
        )]
        kill_process(pid, Signal::STOP).expect("it is ours");
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), stopped).expect("it is our child");
    }

    /// Reaps it. It must be known to end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it is ours and not reaped")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Field 22 of `/proc/<pid>/stat`; the name before it may hold anything, so
/// fields are counted from the last parenthesis.
pub(crate) fn start_ticks(pid: u32) -> io::Result<Option<u64>> {
    match fs::read_to_string(format!("{PROC}/{pid}/stat")) {
        Ok(stat) => {
            let (_, fields) = stat.rsplit_once(')').expect("the name stands in ( )");
            let field = fields.split_whitespace().nth(19);
            let start_ticks = field.and_then(|field| field.parse().ok());
            Ok(Some(start_ticks.expect("field 22 is a number")))
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        // ESRCH: it went between open and read.
        Err(err) if err.raw_os_error() == Some(3) => Ok(None),
        Err(err) => Err(err),
    }
}
