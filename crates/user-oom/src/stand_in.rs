//! Processes for tests: real ones that only wait, and made-up ones.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use oom_policy::{Gates, Guard, Moment, Name, ProcessId, Seen, SessionId, Settings, Surroundings};
use sensors::ProcRoot;

/// So long after the origin.
pub(crate) fn at(span: Duration) -> Moment {
    Moment::after_origin(span)
}

/// One that has seen nothing, with the default settings.
pub(crate) fn guard() -> Guard {
    let surroundings = Surroundings::default();
    Guard::new(Settings::default(), Gates::default(), surroundings, 64)
}

/// The kernel's own view.
pub(crate) fn root() -> ProcRoot {
    ProcRoot::at(crate::start::PROC)
}

/// An ordinary user's process that holds nothing.
pub(crate) fn ordinary(id: ProcessId, parent: u32) -> Seen {
    Seen {
        parent,
        session: SessionId(1),
        login: true,
        uid: 1000,
        name: Name::new(b"x"),
        ..Seen::new(id)
    }
}

/// A child that waits until it is dropped.
pub(crate) struct Waiter(Child);

impl Waiter {
    pub(crate) fn new() -> Self {
        Self::started_by(&mut Command::new("cat"))
    }

    /// By a command that does as cat(1) does in the end.
    pub(crate) fn started_by(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it is installed");
        // Only then is execve(2) over, and what it executes to be seen.
        let (stdin, stdout) = (child.stdin.as_mut(), child.stdout.as_mut());
        stdin.expect("a pipe").write_all(b"\n").expect("it reads");
        let mut echoed = [0];
        stdout
            .expect("a pipe")
            .read_exact(&mut echoed)
            .expect("cat");
        Self(child)
    }

    pub(crate) fn id(&self) -> ProcessId {
        let pid = self.0.id();
        let start_ticks = root().start_ticks(pid).expect("procfs");
        ProcessId {
            pid,
            start_ticks: start_ticks.expect("it runs"),
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // Without its input it ends.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
