//! Guarding cgroups (v2) instead of the machine.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::guest::cgroup::Cgroup;
use crate::guest::daemon::{daemon, give_value, knows_of};
use crate::guest::files::{self, kernel_kills};
use crate::guest::program::Program;
use crate::guest::{Report, wait};

/// On a machine that is emulated.
const LIMIT: Duration = Duration::from_secs(120);

/// So many bombs, one after the other.
const BOMBS: u64 = 20;

/// A cgroup with this limit.
fn limited(name: &str, limit: &str) -> Result<Cgroup> {
    let group = Cgroup::make(name, "memory")?;
    files::write(group.file("memory.max"), limit)?;
    Ok(group)
}

/// The daemon that guards it, with a socket of its own.
fn guard(name: &str, arguments: &[&str]) -> Result<Program> {
    let mut command = Command::new("/bin/user-oom");
    command.args(["--cgroup", &format!("/{name}"), "--socket", &socket(name)]);
    let mut daemon = Program::start(command.args(arguments))?;
    daemon.says("  socket")?;
    Ok(daemon)
}

fn socket(name: &str) -> String {
    format!("/run/{}", name.replace('/', "-"))
}

/// Waits until the daemon of that cgroup knows of so many registered processes in it.
fn has_registered(name: &str, registered: u32) -> Result<()> {
    let wanted = format!(", {registered} registered,");
    wait::until("what is registered is known", LIMIT, || {
        let mut check = Command::new("/bin/psi-monitor");
        check.args(["--check", "--socket", &socket(name)]);
        let check = check.output()?;
        Ok(String::from_utf8_lossy(&check.stdout).contains(&wanted))
    })
}

/// One in `group` that takes so much memory there, and does nothing more.
fn holding(group: &Cgroup, mebibytes: u64) -> Result<Program> {
    let mut program = Program::role(&["take", &mebibytes.to_string()])?;
    program.says("ready")?;
    group.take(&program)?;
    program.go()?;
    program.says("holding")?;
    Ok(program)
}

/// At full speed, into a limit, without swap: the daemon is there before the kernel.
pub(super) fn a_bomb_in_a_cgroup_is_killed_before_the_kernel_kills(
    report: &mut Report,
) -> Result<()> {
    let group = limited("bombed", "200M")?;
    let kills = kernel_kills()?;
    let mut daemon = guard("bombed", &[])?;
    let mut outside = Program::holding(40)?;
    let mut valuable = holding(&group, 60)?;
    give_value(&valuable, 9)?;
    has_registered("bombed", 1)?;
    for _one in 0..BOMBS {
        let mut bomb = Program::bomb()?;
        group.take(&bomb)?;
        bomb.go()?;
        bomb.ends_within(LIMIT)?;
        valuable.has_to_live("the valuable one")?;
        outside.has_to_live("one outside of the cgroup")?;
    }
    daemon.has_to_live("the daemon")?;
    let by_kernel = kernel_kills()? - kills;
    report.figure("kernel kills", format!("{by_kernel} of {BOMBS}"))?;
    ensure!(by_kernel == 0, "the kernel killed {by_kernel} of {BOMBS}");
    drop(valuable);
    group.remove()
}

/// Two are short at once, the machine is not: each loses the least of what is in it.
pub(super) fn two_cgroups_that_are_short_at_once_lose_the_least_of_each(
    _: &mut Report,
) -> Result<()> {
    let groups = [limited("one", "300M")?, limited("two", "300M")?];
    let kills = kernel_kills()?;
    let mut machine = daemon(&[])?;
    let mut daemons = [guard("one", &[])?, guard("two", &[])?];
    let mut outside = Program::holding(20)?;
    give_value(&outside, 0)?;
    let mut kept = Vec::new();
    let mut victims = Vec::new();
    for (group, name) in groups.iter().zip(["one", "two"]) {
        for (value, programs) in [(9, &mut kept), (4, &mut victims)] {
            let program = holding(group, 60)?;
            give_value(&program, value)?;
            programs.push(program);
        }
        has_registered(name, 2)?;
    }
    knows_of(5)?;
    // Less than 5 % above what they hold; nothing grows.
    for group in &groups {
        files::write(group.file("memory.max"), "126M")?;
    }
    for victim in &mut victims {
        victim.ends_within(LIMIT)?;
    }
    for program in kept.iter_mut().chain([&mut outside, &mut machine]) {
        program.has_to_live("what is worth more, or outside")?;
    }
    for daemon in &mut daemons {
        daemon.has_to_live("a daemon")?;
    }
    ensure!(kernel_kills()? == kills, "the kernel killed");
    drop((kept, victims));
    let [one, two] = groups;
    one.remove()?;
    two.remove()
}

/// One is full for what is beside the scope in the cgroup above it: what is in the
/// scope is all that may be killed for it.
pub(super) fn a_limit_above_the_cgroup_counts(_: &mut Report) -> Result<()> {
    let above = limited("above", "400M")?;
    files::write(above.file("cgroup.subtree_control"), "+memory")?;
    let inner = limited("above/inner", "300M")?;
    let beside = limited("above/beside", "max")?;
    let kills = kernel_kills()?;
    let mut daemon = guard("above/inner", &[])?;
    let mut nine = holding(&inner, 50)?;
    let mut four = holding(&inner, 50)?;
    let mut neighbour = holding(&beside, 50)?;
    give_value(&nine, 9)?;
    give_value(&four, 4)?;
    give_value(&neighbour, 1)?;
    has_registered("above/inner", 2)?;
    files::write(above.file("memory.max"), "156M")?;
    four.ends_within(LIMIT)?;
    nine.has_to_live("what is worth more")?;
    neighbour.has_to_live("what is beside the scope")?;
    daemon.has_to_live("the daemon")?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    drop((nine, four, neighbour));
    inner.remove()?;
    beside.remove()?;
    above.remove()
}
