//! How soon what is killed for its memory is signalled.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::guest::daemon::{daemon, give_value, knows_of};
use crate::guest::files::{self, kernel_kills};
use crate::guest::program::Program;
use crate::guest::{Report, wait};

/// On a machine that is emulated, and short of memory.
const LIMIT: Duration = Duration::from_secs(120);

/// Freeing what the first holds does not hold up the signal for the last.
pub(super) fn ten_large_victims_are_signalled_at_once(report: &mut Report) -> Result<()> {
    // The registry is the daemon's to make; the next finds all of them in it.
    let first = daemon(&["--registered-only"])?;
    let mut large = Vec::new();
    for _ in 0..10 {
        let program = Program::holding(200)?;
        give_value(&program, 1)?;
        large.push(program);
    }
    knows_of(10)?;
    first.end(Signal::TERM)?;
    let kills = kernel_kills()?;
    let mut steady = Program::holding(10)?;
    // The machine is at its kill level from the start.
    let arguments = [
        "--registered-only",
        "--horizon",
        "0",
        "-m",
        "92,91",
        "--recover",
        "93",
    ];
    let mut daemon = Program::start(std::process::Command::new("/bin/user-oom").args(arguments))?;
    let mut signalled = vec![None; large.len()];
    wait::until("all are signalled", LIMIT, || {
        // Without a pause, as soon as there is something to see.
        loop {
            for (when, program) in signalled.iter_mut().zip(&large) {
                if when.is_none() && is_signalled(program.pid()) {
                    *when = Some(Instant::now());
                }
            }
            let seen = signalled.iter().flatten().count();
            if seen == 0 || seen == large.len() {
                return Ok(seen > 0);
            }
        }
    })?;
    let first = signalled
        .iter()
        .flatten()
        .min()
        .context("none was signalled")?;
    let last = signalled
        .iter()
        .flatten()
        .max()
        .context("none was signalled")?;
    for program in &mut large {
        program.ends_within(LIMIT)?;
    }
    report.figure(
        "from the first signal to the last",
        format!("{:?}", last.duration_since(*first)),
    )?;
    report.figure("until all are gone", format!("{:?}", first.elapsed()))?;
    daemon.mentions("freed ")?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    steady.has_to_live("one without a value")?;
    daemon.end(Signal::TERM)
}

/// Whether SIGKILL is pending for a process, or it has ended.
fn is_signalled(pid: u32) -> bool {
    let Ok(status) = files::text(format!("/proc/{pid}/status")) else {
        return true;
    };
    let pending = |key: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(key));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.unwrap_or(0) & 1 << 8 != 0
    };
    let is_zombie = status.contains("State:\tZ") || status.contains("State:\tX");
    is_zombie || !status.contains("VmRSS:") || pending("SigPnd:") || pending("ShdPnd:")
}
