//! The end of programs that we have started ourselves.

use std::io;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process_group};

/// Sends SIGKILL to a child that leads a session (setsid(2)), and to all of its
/// process group. One that has ended is left alone.
///
/// No pidfd is needed: until a child has been waited for, its pid is its own.
///
/// # Errors
///
/// What the kernel says.
pub fn kill_session(child: &mut Child) -> io::Result<()> {
    if child.try_wait()?.is_some() {
        return Ok(());
    }
    // It leads no group where it was stopped before it could.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    child.kill()
}
