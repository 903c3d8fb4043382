//! The kernel's own choice, where the daemon has come no further than to say what
//! it would kill next.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::guest::daemon::{daemon, give_value, knows_of};
use crate::guest::files::{self, MIB, kernel_kills, mebibytes_down_to, meminfo_bytes, text};
use crate::guest::program::Program;
use crate::guest::{Report, wait};

/// On a machine that is emulated, and short of memory.
const LIMIT: Duration = Duration::from_secs(60);

/// Available memory below the recovery threshold (15 %), and above where the
/// daemon kills (10 %), in percent.
const SHORT_PERCENT: u64 = 12;
/// What is worth least holds so much, in MiB.
const LEAST: u64 = 100;
/// Nor does what follows the kernel's kill make it kill again.
const BEYOND: u64 = 40;

/// The daemon is stopped before memory runs out: without the module, the kernel
/// kills what costs least, though it is not the largest.
pub(super) fn the_kernel_kills_what_the_stopped_daemon_would_have(
    report: &mut Report,
) -> Result<()> {
    the_least_valuable_dies(3, report)
}

/// And not by chance.
pub(super) fn of_twenty_bombs_each_kills_the_least_valuable(report: &mut Report) -> Result<()> {
    the_least_valuable_dies(20, report)
}

fn the_least_valuable_dies(times: u32, report: &mut Report) -> Result<()> {
    let mut died = 0;
    for _ in 0..times {
        died += u32::from(the_least_valuable_dies_once()?);
    }
    report.figure("the least valuable died", format!("{died} of {times}"))?;
    ensure!(died == times, "the kernel killed another");
    Ok(())
}

/// Whether it died, and nothing else.
fn the_least_valuable_dies_once() -> Result<bool> {
    let kills = kernel_kills()?;
    let mut short = Short::new()?;
    let mut bomb = Program::role(&["take", &short.to_take()?.to_string()])?;
    bomb.says("ready")?;
    short.daemon.signal(Signal::STOP)?;
    bomb.go()?;
    short.least.ends_within(LIMIT)?;
    bomb.says("holding")?;
    let is_alone = short.valuable.is_alive()? && bomb.is_alive()?;
    short.daemon.end(Signal::KILL)?;
    Ok(is_alone && kernel_kills()? == kills + 1)
}

/// A machine that is short of memory, and a daemon that has seen that.
struct Short {
    daemon: Program,
    /// The larger.
    valuable: Program,
    least: Program,
}

impl Short {
    fn new() -> Result<Self> {
        let daemon = daemon(&["--registered-only", "--source", "proc", "--pressure", "off"])?;
        let least = Program::holding(LEAST)?;
        give_value(&least, 1)?;
        let rest = mebibytes_down_to(SHORT_PERCENT)?;
        let valuable = Program::holding(rest)?;
        give_value(&valuable, 50)?;
        knows_of(2)?;
        ensure!(LEAST < rest, "the more valuable one is to be the larger");
        ensure!(oom_score_adj(&valuable)? < 1000);
        until_adj("what is worth least", &least, 1000)?;
        Ok(Self {
            daemon,
            valuable,
            least,
        })
    }

    /// What is more than there is, and less than there is without the least, in
    /// MiB.
    fn to_take(&self) -> Result<u64> {
        Ok(meminfo_bytes("MemAvailable")? / MIB + BEYOND)
    }
}

fn oom_score_adj(program: &Program) -> Result<i16> {
    let text = text(format!("/proc/{}/oom_score_adj", program.pid()))?;
    Ok(text.trim().parse()?)
}

fn until_adj(what: &str, program: &Program, adj: i16) -> Result<()> {
    let what = format!("oom_score_adj of {what} is {adj}");
    wait::until(&what, LIMIT, || Ok(oom_score_adj(program)? == adj))
}

/// Once memory is back all is as it was: an ordinary user's process may lower
/// what it had raised by itself, as browsers do.
pub(super) fn what_was_raised_is_as_it_was_when_memory_is_back(_: &mut Report) -> Result<()> {
    // It holds some MiB: less than what the kernel keeps by the thread is not
    // seen.
    const LOWERS: &str = "x=$(head -c 4000000 /dev/zero | tr '\\0' x); \
                          echo 300 > /proc/self/oom_score_adj; echo ready; read line; \
                          echo 0 > /proc/self/oom_score_adj && echo lowered; read line";
    let mut short = Short::new()?;
    let mut shell = Command::new("/bin/busybox");
    shell.args(["sh", "-c", LOWERS]).uid(1000).gid(1000);
    let mut users = Program::start(&mut shell)?;
    users.says("ready")?;
    ensure!(oom_score_adj(&users)? == 300);
    // It holds little, and comes first because it costs nothing.
    give_value(&users, 0)?;
    until_adj("the user's", &users, 1000)?;
    drop(short.valuable);
    until_adj("the user's", &users, 300)?;
    until_adj("what is worth least", &short.least, 0)?;
    wait::until("what was raised is forgotten", LIMIT, || {
        Ok(!files::exists("/run/user-oom/control.aligned"))
    })?;
    users.go()?;
    users.says("lowered")?;
    short.daemon.has_to_live("the daemon")?;
    short.daemon.end(Signal::TERM)
}
