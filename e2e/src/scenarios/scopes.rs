//! Several cgroups (v2) that one daemon guards, beside the machine.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::guest::cgroup::Cgroup;
use crate::guest::daemon::{daemon, give_value, knows_of};
use crate::guest::files::{self, kernel_kills};
use crate::guest::program::{Program, output_of};
use crate::guest::swap::with_swap;
use crate::guest::{Report, say_on_console, wait};
use crate::scenarios::groups::add_ada;

/// On a machine that is emulated.
const LIMIT: Duration = Duration::from_secs(60);

/// Of what a user waits for, with her service manager.
const SLOW: Duration = Duration::from_secs(180);

/// What the daemon is to guard beside the machine.
const FILE: &str = "/tmp/scopes.toml";

/// A cgroup with a memory limit.
fn limited(group: Cgroup, mebibytes: u64) -> Result<Cgroup> {
    files::write(group.file("memory.max"), &format!("{mebibytes}M"))?;
    Ok(group)
}

/// The daemon, which guards the machine and `names`.
fn guarding(names: &[&str]) -> Result<Program> {
    let scopes = names
        .iter()
        .map(|name| format!("[[scope]]\ncgroup = \"/{name}\"\n"));
    files::write(FILE, &scopes.collect::<String>())?;
    daemon(&["--config", FILE, "--grace", "2", "--pause", "off"])
}

/// One that holds so much, all of it charged to `group`.
fn holding(group: &Cgroup, mebibytes: u64) -> Result<Program> {
    let mut program = Program::role(&["take", &mebibytes.to_string()])?;
    program.says("ready")?;
    group.take(&program)?;
    program.go()?;
    program.says("holding")?;
    Ok(program)
}

/// One that takes 40 MiB each second once it is told to go.
fn leak(group: &Cgroup) -> Result<Program> {
    let mut program = Program::role(&["leak", "40"])?;
    program.says("ready")?;
    group.take(&program)?;
    Ok(program)
}

/// Both are short at the same time, and the machine is not: in each the leak goes,
/// and what is outside and worth less stays.
pub(super) fn two_that_are_short_at_once_lose_the_least(report: &mut Report) -> Result<()> {
    let groups = [
        limited(Cgroup::make("one", "memory")?, 200)?,
        limited(Cgroup::make("two", "memory")?, 200)?,
    ];
    let mut outside = Program::holding(60)?;
    let [first, second] = &groups;
    let mut jobs = [holding(first, 60)?, holding(second, 60)?];
    let mut leaks = [leak(first)?, leak(second)?];
    let mut daemon = guarding(&["one", "two"])?;
    for job in &jobs {
        give_value(job, 9)?;
    }
    for leak in &leaks {
        give_value(leak, 5)?;
    }
    give_value(&outside, 1)?;
    knows_of(5)?;
    for leak in &mut leaks {
        leak.go()?;
    }
    for leak in &mut leaks {
        leak.ends_within(LIMIT)?;
    }
    daemon.mentions("freed ")?;
    daemon.mentions("freed ")?;
    for job in &mut jobs {
        job.has_to_live("the job worth 9")?;
    }
    outside.has_to_live("the one outside")?;
    daemon.has_to_live("the daemon")?;
    for group in &groups {
        report.figure("kernel kills", group.kernel_kills()?)?;
        ensure!(group.kernel_kills()? == 0, "the kernel killed");
    }
    drop((daemon, jobs, leaks, outside));
    let [first, second] = groups;
    first.remove()?;
    second.remove()
}

/// A limit within a limit. What is short pays: the inner one by what is in it, though
/// what is beside is worth less; then the outer one.
pub(super) fn of_nested_ones_that_which_is_short_pays(report: &mut Report) -> Result<()> {
    let outer = limited(Cgroup::make("outer", "memory")?, 400)?;
    let inner = limited(outer.below("inner")?, 200)?;
    let beside = outer.below("beside")?;
    let mut job = holding(&inner, 60)?;
    let mut cheap = holding(&beside, 60)?;
    let mut within = leak(&inner)?;
    let mut daemon = guarding(&["outer", "outer/inner"])?;
    give_value(&job, 9)?;
    give_value(&within, 5)?;
    give_value(&cheap, 1)?;
    knows_of(3)?;
    within.go()?;
    let kill = format!("kill pid={} ", within.pid());
    let said = daemon.mentions(&kill)?;
    ensure!(said.contains(" cgroup=/outer/inner "), "{said}");
    within.ends_within(LIMIT)?;
    daemon.mentions("freed ")?;
    cheap.has_to_live("the one beside, though it is worth 1")?;
    job.has_to_live("the job worth 9")?;
    // The outer one is short, the inner one is not.
    let mut outside = leak(&beside)?;
    give_value(&outside, 3)?;
    knows_of(3)?;
    outside.go()?;
    let kill = format!("kill pid={} ", outside.pid());
    let said = daemon.mentions(&kill)?;
    ensure!(said.contains(" cgroup=/outer "), "{said}");
    outside.ends_within(LIMIT)?;
    job.has_to_live("the job worth 9")?;
    daemon.has_to_live("the daemon")?;
    report.figure("kernel kills", outer.kernel_kills()?)?;
    ensure!(outer.kernel_kills()? == 0, "the kernel killed");
    drop((daemon, job, cheap, within, outside));
    inner.remove()?;
    beside.remove()?;
    outer.remove()
}

/// A person has the machine's scope freeze a job in a cgroup of its own, and the scope
/// around that is short: it is thawed to save its work.
pub(super) fn what_another_scope_froze_saves_its_work(report: &mut Report) -> Result<()> {
    let scope = limited(Cgroup::make("scope", "memory")?, 300)?;
    files::write(scope.file("memory.swap.max"), "0")?;
    let own = scope.below("job")?;
    let beside = scope.below("beside")?;
    with_swap("/dev/vda", None, || {
        let mut nine = holding(&beside, 60)?;
        let mut job = saving(&own, 60)?;
        let more = "swap = 100\ngrace = \"1 h\"\n";
        files::write(FILE, &format!("[[scope]]\ncgroup = \"/scope\"\n{more}"))?;
        let mut daemon = daemon(&["--config", FILE, "--registered-only"])?;
        give_value(&nine, 9)?;
        give_value(&job, 1)?;
        knows_of(2)?;
        pause(&job)?;
        let events = own.file("cgroup.events");
        wait::until("it is frozen", LIMIT, || {
            Ok(files::text(&events)?.contains("frozen 1"))
        })?;
        let used: u64 = files::text(scope.file("memory.current"))?.trim().parse()?;
        files::write(scope.file("memory.max"), &(used * 100 / 92).to_string())?;
        let said = daemon.mentions(&format!("kill pid={} ", job.pid()))?;
        ensure!(said.contains(" cgroup=/scope "), "{said}");
        job.says("saved")?;
        job.ends_within(LIMIT)?;
        nine.has_to_live("the job worth 9")?;
        daemon.has_to_live("the daemon")?;
        report.figure("kernel kills", scope.kernel_kills()?)?;
        daemon.end(Signal::TERM)
    })?;
    own.remove()?;
    beside.remove()?;
    scope.remove()
}

/// A shell in `group` that holds so much by a child, and at SIGTERM says `saved`, and
/// ends with it.
fn saving(group: &Cgroup, mebibytes: u64) -> Result<Program> {
    let script = format!(
        "exec 3<&0; trap 'echo saved; kill -9 $child; exit' TERM; echo ready; read go; \
         /init role hold {mebibytes} <&3 & child=$!; while :; do wait; done"
    );
    let mut shell = Command::new("/bin/busybox");
    let mut program = Program::start(shell.args(["sh", "-c", &script]))?;
    program.says("ready")?;
    group.take(&program)?;
    program.go()?;
    program.says("holding")?;
    Ok(program)
}

/// Asks the daemon to pause what `program` is in, as `user-oomctl pause` does.
fn pause(program: &Program) -> Result<()> {
    let mut daemon = UnixStream::connect("/run/user-oom/control")?;
    let pid = program.pid();
    let call =
        format!("{{\"method\":\"io.user-oom.Control.Pause\",\"parameters\":{{\"pid\":{pid}}}}}\0");
    daemon.write_all(call.as_bytes())?;
    let mut answer = Vec::new();
    BufReader::new(daemon).read_until(0, &mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    ensure!(!answer.contains("error"), "{answer}");
    Ok(())
}

/// Each takes memory at full speed, and a job is beside it. The machine has more than
/// enough. With one processor, a host that is busy holds up both or neither.
pub(super) fn of_twenty_bombs_the_kernel_kills_none(report: &mut Report) -> Result<()> {
    twenty_bombs(limited(Cgroup::make("bombs", "memory")?, 500)?, report)
}

/// The same with two processors, and `memory.high` below the limit, as is advised.
pub(super) fn nor_does_it_where_bombs_are_slowed_down(report: &mut Report) -> Result<()> {
    let group = limited(Cgroup::make("bombs", "memory")?, 500)?;
    files::write(group.file("memory.high"), "475M")?;
    twenty_bombs(group, report)
}

fn twenty_bombs(group: Cgroup, report: &mut Report) -> Result<()> {
    const BOMBS: usize = 20;
    let mut outside = Program::holding(60)?;
    let mut job = holding(&group, 60)?;
    let mut daemon = guarding(&["bombs"])?;
    give_value(&job, 9)?;
    give_value(&outside, 1)?;
    knows_of(2)?;
    for round in 1..=BOMBS {
        let mut bomb = Program::bomb()?;
        group.take(&bomb)?;
        bomb.go()?;
        bomb.ends_within(LIMIT)?;
        let kills = group.kernel_kills()?;
        ensure!(kills == 0, "the kernel killed at bomb {round} of {BOMBS}");
        daemon.mentions("freed ")?;
    }
    report.figure("kernel kills", format!("0 at {BOMBS} bombs"))?;
    job.has_to_live("the job worth 9")?;
    outside.has_to_live("the one outside")?;
    daemon.has_to_live("the daemon")?;
    drop((daemon, job, outside));
    group.remove()
}

/// What README.md has a user do who may not make cgroups: the script has her service
/// manager make one, and she starts the daemon by the command that it prints.
pub(super) fn a_user_walks_in_a_scope_of_her_own(report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    add_ada()?;
    let uid = output_of(&["id", "--user", "ada"])?;
    let (walk, said) = ("/home/ada/walk", "/home/ada/said");
    let hers = |command: &str, to: &str| {
        let line = format!("cd; export XDG_RUNTIME_DIR=/run/user/{uid}; exec {command} >{to} 2>&1");
        Program::start(Command::new("su").args(["-", "ada", "-c", &line]))
    };
    let mut script = hers(
        "bash /usr/bin/testproc.sh --memory 640M --without-ml --programs /usr/bin",
        walk,
    )?;
    let outcome = (|| {
        let mut command = None;
        wait::until("the command is printed", SLOW, || {
            let printed = files::text(walk).unwrap_or_default();
            let line = printed.lines().find(|line| line.contains("--cgroup"));
            command = line.map(|line| line.trim().to_owned());
            Ok(command.is_some() || !script.is_alive()?)
        })?;
        let command = command.context("there is none")?;
        ensure!(command.contains("/user.slice/"), "not hers: {command}");
        let mut daemon = hers(&command, said)?;
        script.ends_within(SLOW)?;
        ensure!(
            files::text(walk)?.contains("as promised: test_proc2 alone was killed"),
            "not as promised"
        );
        daemon.has_to_live("her daemon")
    })();
    for file in [walk, said] {
        let printed = files::text(file).unwrap_or_default();
        say_on_console(&format!("--- {file}\n{printed}"));
    }
    outcome?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    Ok(())
}
