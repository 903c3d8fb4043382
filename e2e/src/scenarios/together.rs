//! What ends with another: the daemon counts that where it chooses.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, test_kill_process};

use crate::guest::daemon::{daemon, give_value, give_value_to, knows_of};
use crate::guest::files::{kernel_kills, mebibytes_down_to};
use crate::guest::program::Program;
use crate::guest::{Report, wait};

/// On a machine that is emulated, and short of memory.
const LIMIT: Duration = Duration::from_secs(120);

/// What takes memory until 4 % of it is available, as the daemon counts.
fn taking_to_four_percent() -> Result<Program> {
    let mut taking = Program::role(&["take", &mebibytes_down_to(4)?.to_string()])?;
    taking.says("ready")?;
    taking.go()?;
    Ok(taking)
}

/// What holds a terminal is worth 1, and killing it would be enough; a job on the
/// terminal is worth 50. Another, worth 5, goes.
pub(super) fn a_job_on_a_terminal_keeps_what_holds_it_alive(report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    let mut holder = Program::role(&["terminal", "130", "10"])?;
    let said = holder.says("job ")?;
    let job = said.trim_start_matches("job ").parse()?;
    holder.says("holding")?;
    let mut other = Program::holding(140)?;
    let mut daemon = daemon(&["--registered-only", "--horizon", "0", "--pause", "off"])?;
    give_value(&holder, 1)?;
    give_value_to(job, 50)?;
    give_value(&other, 5)?;
    knows_of(3)?;
    let mut taking = taking_to_four_percent()?;
    wait::until("one of them is gone", LIMIT, || {
        Ok(!other.is_alive()? || !holder.is_alive()?)
    })?;
    daemon.mentions("freed ")?;
    holder.has_to_live("what holds the terminal")?;
    let job = Pid::from_raw(job.cast_signed()).context("a pid")?;
    ensure!(test_kill_process(job).is_ok(), "the job on it is gone");
    ensure!(other.was_killed()?, "the other lives");
    taking.has_to_live("what took the memory")?;
    daemon.has_to_live("the daemon")?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    Ok(())
}

/// By clone(2) with CLONE_VM; the parent waits, as in vfork(2). Perl is on every Debian.
const ONE_MEMORY: &str = r#"
    $| = 1;
    my $at = syscall(9, 0, 100 << 20, 3, 0x22, -1, 0);
    open my $zero, '<', '/dev/zero';
    syscall(0, fileno($zero), $at, 100 << 20);
    if (syscall(56, 0x4111, 0, 0, 0, 0) == 0) { print "child $$\n"; sleep }
"#;

/// Two processes that have 100 MiB between them are worth 9 and 1. Another of as much,
/// worth 5, goes before them.
pub(super) fn processes_with_one_memory_go_together(report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    let mut nine = Program::start(std::process::Command::new("perl").args(["-e", ONE_MEMORY]))?;
    nine.says("child")?;
    let path = format!("/proc/{0}/task/{0}/children", nine.pid());
    let one = fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
    let one = one.trim().parse().context("it has no child")?;
    let mut five = Program::holding(100)?;
    let mut daemon = daemon(&["--registered-only", "--horizon", "0", "--pause", "off"])?;
    give_value(&nine, 9)?;
    give_value_to(one, 1)?;
    give_value(&five, 5)?;
    knows_of(3)?;
    let _taking = taking_to_four_percent()?;
    five.ends_within(LIMIT)?;
    daemon.mentions("freed ")?;
    nine.has_to_live("what has half of a memory")?;
    ensure!(five.was_killed()?, "the other lives");
    daemon.has_to_live("the daemon")?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    Ok(())
}
