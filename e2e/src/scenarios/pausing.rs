//! Pausing, on a machine with swap on a disk.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::guest::daemon::{daemon, give_value, knows_of, test_process};
use crate::guest::files::{kernel_kills, text};
use crate::guest::program::Program;
use crate::guest::swap::with_swap;
use crate::guest::{Report, wait};

/// On a machine that is emulated, and short of memory.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs `scenario` with so much swap; the kernel is to kill nothing.
fn with_room(mebibytes: u64, scenario: impl FnOnce() -> Result<()>) -> Result<()> {
    let kills = kernel_kills()?;
    with_swap("/dev/vda", Some(mebibytes), scenario)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    Ok(())
}

fn is_stopped(program: &Program) -> Result<bool> {
    Ok(text(format!("/proc/{}/status", program.pid()))?.contains("\nState:\tT"))
}

/// Two that do not fit: the one of less value waits until the other is done.
pub(super) fn of_two_that_thrash_one_waits_for_the_other(_: &mut Report) -> Result<()> {
    with_room(1000, || {
        let mut daemon = daemon(&["--registered-only", "--horizon", "0"])?;
        let mut valuable = Program::role(&["walk", "350"])?;
        let mut other = Program::role(&["walk", "350"])?;
        give_value(&valuable, 9)?;
        give_value(&other, 2)?;
        knows_of(2)?;
        wait::until("the other is paused", LIMIT, || is_stopped(&other))?;
        valuable.has_to_live("the valuable one")?;
        ensure!(!is_stopped(&valuable)?, "both are paused");
        valuable.end(Signal::KILL)?;
        wait::until("the other goes on", LIMIT, || Ok(!is_stopped(&other)?))?;
        other.has_to_live("the other")?;
        daemon.has_to_live("the daemon")
    })
}

/// Two that grow without end beside two that do not: nothing is lost while swap
/// has room.
pub(super) fn those_that_grow_are_paused(_: &mut Report) -> Result<()> {
    with_room(1000, || {
        let mut steady = [Program::holding(60)?, Program::holding(60)?];
        let mut daemon = daemon(&["--registered-only"])?;
        give_value(&steady[0], 20)?;
        give_value(&steady[1], 15)?;
        let mut more = test_process("test_proc1", &["--rate-mib-s", "10"])?;
        let mut less = test_process("test_proc2", &["--rate-mib-s", "20"])?;
        knows_of(4)?;
        for growing in [&more, &less] {
            growing.signal(Signal::USR1)?;
        }
        wait::until("the one that grows faster is paused", LIMIT, || {
            is_stopped(&less)
        })?;
        for steady in &mut steady {
            steady.has_to_live("a steady one")?;
            ensure!(!is_stopped(steady)?, "a steady one is paused");
        }
        less.has_to_live("one that grows")?;
        more.has_to_live("the other that grows")?;
        daemon.has_to_live("the daemon")
    })
}

/// A bomb that would fill swap within seconds is killed.
pub(super) fn a_bomb_is_killed_though_swap_has_room(_: &mut Report) -> Result<()> {
    with_room(200, || {
        let mut larger = Program::holding(240)?;
        let mut bomb = Program::bomb()?;
        let mut daemon = daemon(&["--registered-only"])?;
        give_value(&larger, 9)?;
        give_value(&bomb, 1)?;
        knows_of(2)?;
        bomb.go()?;
        bomb.ends_within(LIMIT)?;
        larger.has_to_live("the larger one")?;
        ensure!(!is_stopped(&larger)?, "the larger one is paused");
        daemon.has_to_live("the daemon")
    })
}
