//! The daemon on a machine that runs out of memory: `user-oom` decides, before
//! the kernel has to.
//!
//! `--registered-only` keeps its hands off the helpers that have no value.
//!
//! What is to be steady is started before the daemon: of what is there when it
//! begins nothing is known to have grown.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::guest::cgroup::Cgroup;
use crate::guest::daemon::{daemon, give_value, knows_of, monitor, test_process};
use crate::guest::files::{self, kernel_kills, meminfo_bytes, text};
use crate::guest::listener::{self, Manner};
use crate::guest::module::{Module, Notice, wait_for_last_calls};
use crate::guest::program::Program;
use crate::guest::swap::with_swap;
use crate::guest::{Report, wait};

/// On a machine that is emulated, and short of memory.
const LIMIT: Duration = Duration::from_secs(120);

/// Two that grow, two that are steady and have a higher value: the steady live.
pub(super) fn the_steady_outlive_the_growing(report: &mut Report) -> Result<()> {
    the_growing_go(report)
}

/// And no less where the module is loaded.
pub(super) fn with_the_module_the_steady_live_too(report: &mut Report) -> Result<()> {
    let module = Module::load("")?;
    the_growing_go(report)?;
    report.figure("last calls", Notice::read()?.number("LastCalls")?)?;
    module.unload()
}

fn the_growing_go(report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    let mut steady = [Program::holding(60)?, Program::holding(60)?];
    // What is paused where there is swap is for other scenarios.
    let mut daemon = daemon(&["--registered-only", "--grace", "1", "--pause", "off"])?;
    give_value(&steady[0], 20)?;
    give_value(&steady[1], 15)?;
    let mut more = test_process("test_proc1", &[])?;
    let mut less = test_process("test_proc2", &[])?;
    knows_of(4)?;
    for growing in [&more, &less] {
        growing.signal(Signal::USR1)?;
    }
    less.ends_within(LIMIT)?;
    more.ends_within(LIMIT)?;
    for steady in &mut steady {
        steady.has_to_live("a steady one")?;
    }
    daemon.has_to_live("the daemon")?;
    ensure!(
        more.was_killed()? && less.was_killed()?,
        "they ignore SIGTERM"
    );
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    Ok(())
}

/// The same where a disk takes what memory does not.
pub(super) fn with_swap_on_a_disk_the_steady_live_too(report: &mut Report) -> Result<()> {
    with_swap("/dev/vda", None, || the_growing_go(report))
}

/// And where memory itself does, compressed.
pub(super) fn with_swap_in_zram_the_steady_live_too(report: &mut Report) -> Result<()> {
    files::write("/sys/block/zram0/disksize", "128M")?;
    let outcome = with_swap("/dev/zram0", None, || the_growing_go(report));
    files::write("/sys/block/zram0/reset", "1")?;
    outcome
}

/// What the daemon alone makes of a bomb at full speed: recorded, not asked.
pub(super) fn a_bomb_and_the_daemon_without_the_module(report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    let mut larger = Program::holding(240)?;
    let mut bomb = Program::bomb()?;
    let mut daemon = daemon(&["--registered-only"])?;
    give_value(&larger, 9)?;
    give_value(&bomb, 1)?;
    knows_of(2)?;
    bomb.go()?;
    wait::until("one of them is gone", LIMIT, || {
        Ok(!larger.is_alive()? || !bomb.is_alive()?)
    })?;
    report.figure("the larger, more valuable one lives", larger.is_alive()?)?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    daemon.has_to_live("the daemon")?;
    Ok(())
}

/// Memory pressure with swap to spare: the levels are ok, the monitor asks.
pub(super) fn pressure_makes_the_monitor_ask_and_the_daemon_relieve(
    report: &mut Report,
) -> Result<()> {
    with_swap("/dev/vda", None, || two_that_thrash(report))
}

fn two_that_thrash(report: &mut Report) -> Result<()> {
    // They count as growing for a while after they have filled what they walk
    // through. What that adds to the need is another matter: with it, the one
    // of less value alone need not be enough.
    // On a slow machine one may even seem to outgrow memory, and count a 32nd:
    // the values are that far apart.
    let arguments = [
        "--registered-only",
        "--pressure",
        "off",
        "--pause",
        "off",
        "--horizon",
        "0",
    ];
    let mut daemon = daemon(&arguments)?;
    let mut valuable = Program::role(&["walk", "350"])?;
    let mut other = Program::role(&["walk", "350"])?;
    give_value(&valuable, 100)?;
    give_value(&other, 2)?;
    valuable.says("walking")?;
    other.says("walking")?;
    knows_of(2)?;
    let mut monitor = monitor(&["--threshold", "10", "--interval", "1", "--recovery", "5"])?;
    other.ends_within(LIMIT)?;
    let total = meminfo_bytes("SwapTotal")?;
    let free = meminfo_bytes("SwapFree")?;
    report.figure("swap free afterwards", format!("{} %", free * 100 / total))?;
    valuable.has_to_live("the valuable one")?;
    daemon.has_to_live("the daemon")?;
    monitor.has_to_live("the monitor")?;
    daemon.mentions(" relief (")?;
    Ok(())
}

/// A table that changes under the daemon's eyes is no reason to end.
pub(super) fn two_hundred_processes_come_and_go(report: &mut Report) -> Result<()> {
    const COME_AND_GO: &str = "i=0; while :; do i=$((i+1)); /bin/busybox true & \
                               [ $((i % 200)) -eq 0 ] && { wait; echo round; }; done";
    let kills = kernel_kills()?;
    let mut steady = Program::holding(60)?;
    let mut daemon = daemon(&["--registered-only"])?;
    give_value(&steady, 9)?;
    let mut shell = std::process::Command::new("/bin/busybox");
    let mut busy = Program::start(shell.args(["sh", "-c", COME_AND_GO]))?;
    busy.says("round")?;
    let mut leak = test_process("test_proc2", &["--rate-mib-s", "40"])?;
    knows_of(2)?;
    leak.signal(Signal::USR1)?;
    leak.ends_within(LIMIT)?;
    busy.says("round")?;
    steady.has_to_live("the steady one")?;
    busy.has_to_live("the busy one")?;
    daemon.has_to_live("the daemon")?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    Ok(())
}

/// What is over its own limit is the kernel's to end: the machine is not short.
pub(super) fn the_daemon_leaves_a_cgroup_to_the_kernel(_: &mut Report) -> Result<()> {
    let group = Cgroup::make("limited", "memory")?;
    files::write(group.file("memory.max"), "50M")?;
    let kills = kernel_kills()?;
    let mut daemon = daemon(&[])?;
    let mut worthless = Program::holding(60)?;
    give_value(&worthless, 0)?;
    knows_of(1)?;
    let mut bomb = Program::bomb()?;
    group.take(&bomb)?;
    bomb.go()?;
    bomb.ends_within(LIMIT)?;
    ensure!(kernel_kills()? == kills + 1, "the kernel did not kill it");
    worthless.has_to_live("one that had nothing to do with it")?;
    daemon.has_to_live("the daemon")?;
    drop(bomb);
    group.remove()
}

/// Not even where it looks on while the kernel kills.
pub(super) fn the_daemon_is_never_the_victim(_: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    let mut daemon = daemon(&["--dryrun", "--registered-only"])?;
    let adj = text(format!("/proc/{}/oom_score_adj", daemon.pid()))?;
    ensure!(adj.trim() == "-1000", "its oom_score_adj is {adj}");
    for round in 1..=3 {
        let mut bomb = Program::bomb()?;
        bomb.go()?;
        bomb.ends_within(LIMIT)?;
        ensure!(kernel_kills()? == kills + round, "the kernel did not kill");
        daemon.has_to_live("the daemon")?;
    }
    Ok(())
}

/// Full speed, no swap: the daemon is asked in time or warned in time, and the
/// least valuable goes, not the largest.
pub(super) fn a_bomb_and_the_daemon_with_the_module(report: &mut Report) -> Result<()> {
    let module = Module::load("")?;
    let larger = Program::holding(240)?;
    the_bomb_alone_goes(larger, Program::bomb()?, report)?;
    module.unload()
}

/// Memory is locked, so free swap does not help: the level is ok until the
/// kernel gives up.
pub(super) fn the_daemon_answers_the_last_call(report: &mut Report) -> Result<()> {
    answers_the_last_call("grace_ms=5000", report)
}

/// And it needs no reserve for that.
pub(super) fn the_daemon_answers_the_last_call_without_a_reserve(
    report: &mut Report,
) -> Result<()> {
    answers_the_last_call("grace_ms=5000 reserve_kib=0", report)
}

fn answers_the_last_call(parameters: &str, report: &mut Report) -> Result<()> {
    with_swap("/dev/vda", None, || {
        a_bomb_in_locked_memory(parameters, report)
    })
}

fn a_bomb_in_locked_memory(parameters: &str, report: &mut Report) -> Result<()> {
    let module = Module::load(parameters)?;
    let mut larger = Program::role(&["hold", "240", "locked"])?;
    larger.says("holding")?;
    let mut bomb = Program::role(&["bomb", "locked"])?;
    bomb.says("ready")?;
    the_bomb_alone_goes(larger, bomb, report)?;
    let notice = Notice::read()?;
    ensure!(
        notice.number("LastCallsAnswered")? > 0,
        "the daemon was not asked"
    );
    let answer_us = notice.number("AnswerMicroseconds")?;
    report.figure("answer", format!("{answer_us} us"))?;
    module.unload()
}

fn the_bomb_alone_goes(mut larger: Program, mut bomb: Program, report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    let arguments = [
        "--registered-only",
        "--source",
        "module",
        "--pressure",
        "off",
        "--pause",
        "off",
    ];
    let mut daemon = daemon(&arguments)?;
    give_value(&larger, 9)?;
    give_value(&bomb, 1)?;
    knows_of(2)?;
    bomb.go()?;
    bomb.ends_within(LIMIT)?;
    larger.has_to_live("the larger, more valuable one")?;
    daemon.has_to_live("the daemon")?;
    report.figure("last calls", Notice::read()?.number("LastCalls")?)?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    daemon.end(Signal::TERM)
}

/// One that listens before the daemon does is named, and followed.
pub(super) fn the_daemon_listens_once_another_has_ended(_: &mut Report) -> Result<()> {
    let module = Module::load("")?;
    let other = listener::start(Manner::Ignores, &[])?;
    // What it says at start is on its standard error.
    const DAEMON: &str = "exec /bin/user-oom --registered-only --source module 2>&1";
    let mut shell = std::process::Command::new("/bin/busybox");
    let mut daemon = Program::start(shell.args(["sh", "-c", DAEMON]))?;
    daemon.mentions(&format!("process {} (listen) listens", other.pid()))?;
    drop(other);
    daemon.mentions("the kernel asks us now")?;
    ensure!(Notice::read()?.number("ListenerPid")? == u64::from(daemon.pid()));
    let kills = kernel_kills()?;
    let mut bomb = Program::bomb()?;
    give_value(&bomb, 1)?;
    bomb.go()?;
    bomb.ends_within(LIMIT)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    daemon.end(Signal::TERM)?;
    module.unload()
}

/// The same for a module that is loaded after the daemon.
pub(super) fn the_daemon_listens_once_the_module_is_loaded(_: &mut Report) -> Result<()> {
    let daemon = daemon(&["--registered-only"])?;
    let module = Module::load("grace_ms=5000")?;
    wait::until("the daemon listens", LIMIT, || {
        Ok(Notice::read()?.number("ListenerPid")? == u64::from(daemon.pid()))
    })?;
    let kills = kernel_kills()?;
    let mut bomb = Program::bomb()?;
    give_value(&bomb, 1)?;
    knows_of(1)?;
    bomb.go()?;
    bomb.ends_within(LIMIT)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    daemon.end(Signal::TERM)?;
    module.unload()
}

/// The kernel waits for a daemon that cannot answer, until it is gone.
pub(super) fn the_daemon_is_killed_while_it_holds_the_last_call(_: &mut Report) -> Result<()> {
    let module = Module::load("grace_ms=10000")?;
    let kills = kernel_kills()?;
    let daemon = daemon(&["--registered-only", "--source", "module"])?;
    let mut bomb = Program::bomb()?;
    bomb.set_oom_score_adj(1000)?;
    daemon.signal(Signal::STOP)?;
    bomb.go()?;
    wait_for_last_calls("LastCallsAsked", 1)?;
    bomb.has_to_live("the bomb, in the call")?;
    daemon.end(Signal::KILL)?;
    bomb.ends_within(LIMIT)?;
    ensure!(kernel_kills()? == kills + 1, "the kernel did not go on");
    module.unload()
}
