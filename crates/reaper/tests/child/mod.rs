//! A child process of a test's own.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::process::{self, Command, ExitStatus, Stdio};
use std::time::Duration;

use oom_policy::ProcessId;

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

    /// One of `tests/child/program.rs`.
    pub(crate) fn in_role(role: &str) -> Self {
        Self::ready(Command::new(env!("CARGO_BIN_EXE_reaper-test-child")).arg(role))
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
