//! Pausing, on a machine with swap.

use std::collections::HashSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::guest::cgroup::Cgroup;
use crate::guest::daemon::{daemon, give_entry, give_value, knows_of};
use crate::guest::files::{self, MIB, held_mebibytes, kernel_kills, meminfo_bytes, text};
use crate::guest::probe::{Probe, middle};
use crate::guest::program::Program;
use crate::guest::swap::with_swap;
use crate::guest::{Report, roles, wait};

/// On a machine that is emulated, and short of memory.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs `scenario` with so much swap on a disk; the kernel is to kill nothing.
fn with_room(mebibytes: u64, scenario: impl FnOnce() -> Result<()>) -> Result<()> {
    let kills = kernel_kills()?;
    with_swap("/dev/vda", Some(mebibytes), scenario)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    Ok(())
}

/// The same with swap in memory, compressed.
fn with_zram(mebibytes: u64, scenario: impl FnOnce() -> Result<()>) -> Result<()> {
    let kills = kernel_kills()?;
    files::write("/sys/block/zram0/disksize", &format!("{mebibytes}M"))?;
    let outcome = with_swap("/dev/zram0", None, scenario);
    files::write("/sys/block/zram0/reset", "1")?;
    outcome?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    Ok(())
}

fn is_stopped(program: &Program) -> Result<bool> {
    Ok(state(program.pid())? == 'T')
}

/// As ps(1) shows it.
fn state(pid: u32) -> Result<char> {
    let stat = text(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("that is no stat")?;
    rest.chars().next().context("that is no stat")
}

/// How often it has gone through what it holds.
fn passes(program: &Program) -> Result<u64> {
    let made = fs::metadata(roles::passes(program.pid()));
    Ok(made.map_or(0, |file| file.len()))
}

/// Waits until it has gone through what it holds so many times more.
fn works_on(program: &Program, more: u64) -> Result<()> {
    let before = passes(program)?;
    wait::until("it works on", LIMIT, || {
        Ok(passes(program)? >= before + more)
    })
}

/// Waits until `paused` is, while `running` never is.
fn is_paused_beside(paused: &Program, running: &Program) -> Result<()> {
    wait::until("the one of less value is paused", LIMIT, || {
        ensure!(!is_stopped(running)?, "the other is paused");
        is_stopped(paused)
    })
}

/// One that takes so many MiB a second once it is told to.
fn leak(mebibytes: u64) -> Result<Program> {
    let mut leak = Program::role(&["leak", &mebibytes.to_string()])?;
    leak.says("ready")?;
    Ok(leak)
}

/// Ends the daemon, whatever it has paused: all go on.
fn all_go_on_without(daemon: Program, programs: &[&Program]) -> Result<()> {
    daemon.end(Signal::TERM)?;
    wait::until("all go on without the daemon", LIMIT, || {
        let mut stopped = programs.iter().map(|program| is_stopped(program));
        Ok(!stopped.any(|is_stopped| !matches!(is_stopped, Ok(false))))
    })
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

/// One that is given a higher value while it is paused goes on, in exchange for
/// the one it was paused for.
pub(super) fn a_paused_one_that_is_worth_more_later_goes_on(_: &mut Report) -> Result<()> {
    with_room(1000, || {
        let daemon = daemon(&["--registered-only", "--horizon", "0"])?;
        let mut first = Program::role(&["walk", "350"])?;
        let mut second = Program::role(&["walk", "350"])?;
        give_value(&first, 9)?;
        give_value(&second, 2)?;
        knows_of(2)?;
        is_paused_beside(&second, &first)?;
        give_value(&second, 50)?;
        wait::until("the two change places", LIMIT, || {
            Ok(is_stopped(&first)? && !is_stopped(&second)?)
        })?;
        works_on(&second, 5)?;
        first.has_to_live("the first")?;
        second.has_to_live("the second")?;
        all_go_on_without(daemon, &[&first, &second])
    })
}

/// A leak beside a database, whose working set fits: the leak waits, the database
/// never does.
pub(super) fn a_database_works_on_beside_a_leak(report: &mut Report) -> Result<()> {
    with_room(1000, || a_leak_beside_a_database(report))
}

/// And where swap is memory.
pub(super) fn with_swap_in_zram_a_database_works_on(report: &mut Report) -> Result<()> {
    with_zram(1000, || a_leak_beside_a_database(report))
}

fn a_leak_beside_a_database(report: &mut Report) -> Result<()> {
    let mut database = Program::role(&["walk", "200"])?;
    database.says("walking")?;
    let daemon = daemon(&["--registered-only"])?;
    give_value(&database, 30)?;
    let mut leak = leak(20)?;
    give_value(&leak, 5)?;
    knows_of(2)?;
    let before = (Instant::now(), passes(&database)?);
    leak.go()?;
    is_paused_beside(&leak, &database)?;
    let after = (Instant::now(), passes(&database)?);
    let rate = (after.1 - before.1) as f64 / (after.0 - before.0).as_secs_f64();
    report.figure("passes a second until then", format!("{rate:.1}"))?;
    let before = (Instant::now(), passes(&database)?);
    let held = held_mebibytes(leak.pid())?;
    wait::until("the leak has its turn", LIMIT, || {
        ensure!(!is_stopped(&database)?, "the database is paused");
        Ok(held_mebibytes(leak.pid())? >= held + 20)
    })?;
    is_paused_beside(&leak, &database)?;
    let grown = held_mebibytes(leak.pid())? - held;
    report.figure("the leak grew in its turn by", format!("{grown} MiB"))?;
    let after = (Instant::now(), passes(&database)?);
    let rate = (after.1 - before.1) as f64 / (after.0 - before.0).as_secs_f64();
    report.figure("and since", format!("{rate:.1}"))?;
    works_on(&database, 5)?;
    database.has_to_live("the database")?;
    leak.has_to_live("the leak")?;
    all_go_on_without(daemon, &[&database, &leak])
}

/// What swap cannot take is killed, and not paused.
pub(super) fn where_swap_is_full_the_leak_is_killed(_: &mut Report) -> Result<()> {
    with_room(160, || {
        let group = Cgroup::make("old", "memory")?;
        let mut old = Program::role(&["take", "150"])?;
        group.take(&old)?;
        old.go()?;
        old.says("holding")?;
        // Refused where less than that is there to be had.
        let _ = files::write(group.file("memory.reclaim"), "150M");
        let left = meminfo_bytes("SwapFree")?;
        ensure!(left < 30 * MIB, "{} MiB of swap are free", left / MIB);
        let mut valuable = Program::role(&["walk", "150"])?;
        valuable.says("walking")?;
        let mut daemon = daemon(&["--registered-only", "--grace", "1"])?;
        give_value(&old, 20)?;
        give_value(&valuable, 9)?;
        let mut leak = leak(20)?;
        give_value(&leak, 5)?;
        knows_of(3)?;
        leak.go()?;
        wait::until("the leak is gone", LIMIT, || {
            if !leak.is_alive()? {
                return Ok(true);
            }
            ensure!(state(leak.pid())? != 'T', "it is paused");
            Ok(false)
        })?;
        valuable.has_to_live("the valuable one")?;
        old.has_to_live("the one that is in swap")?;
        daemon.has_to_live("the daemon")?;
        drop(old);
        group.remove()
    })
}

/// What a process starts while it is being stopped is stopped too.
pub(super) fn a_tree_is_stopped_with_the_children_that_appear(report: &mut Report) -> Result<()> {
    with_room(1000, || {
        let daemon = daemon(&["--registered-only", "--horizon", "0"])?;
        let mut valuable = Program::role(&["walk", "350"])?;
        let mut tree = Program::role(&["brood", "350"])?;
        give_value(&valuable, 9)?;
        give_value(&tree, 2)?;
        knows_of(2)?;
        is_paused_beside(&tree, &valuable)?;
        wait::until("all of the tree stand still", LIMIT, || {
            let children = children(tree.pid())?;
            let stands_still = |child: &(u32, char)| matches!(child.1, 'T' | 'Z');
            Ok(!children.is_empty() && children.iter().all(stands_still))
        })?;
        report.figure("children that were stopped", children(tree.pid())?.len())?;
        valuable.has_to_live("the valuable one")?;
        valuable.end(Signal::KILL)?;
        wait::until("all of the tree run", LIMIT, || {
            let children = children(tree.pid())?;
            Ok(!is_stopped(&tree)? && children.iter().all(|child| child.1 != 'T'))
        })?;
        works_on(&tree, 5)?;
        tree.has_to_live("the tree")?;
        all_go_on_without(daemon, &[&tree])
    })
}

/// A process's children and their states, whichever of its threads started them.
fn children(pid: u32) -> Result<Vec<(u32, char)>> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let listed = text(thread?.path().join("children"))?;
        let children = listed.split_whitespace().map(str::parse::<u32>);
        // One may be gone by now.
        found.extend(children.filter_map(|child| {
            let child = child.ok()?;
            Some((child, state(child).ok()?))
        }));
    }
    Ok(found)
}

/// A service that says that it lives, as systemd's watchdog has it do, could not
/// while it is paused.
pub(super) fn a_service_with_a_watchdog_is_never_paused(_: &mut Report) -> Result<()> {
    // As systemd does: the variables name the service's main process.
    const SERVICE: &str = "export WATCHDOG_USEC=30000000 WATCHDOG_PID=$$; exec /init role walk 350";
    with_room(1000, || {
        let daemon = daemon(&["--registered-only", "--horizon", "0"])?;
        let mut shell = Command::new("/bin/busybox");
        let mut service = Program::start(shell.args(["sh", "-c", SERVICE]))?;
        service.says("walking")?;
        let mut other = Program::role(&["walk", "350"])?;
        give_value(&service, 2)?;
        give_value(&other, 9)?;
        knows_of(2)?;
        is_paused_beside(&other, &service)?;
        works_on(&service, 5)?;
        wait::until("the other has its turn", LIMIT, || {
            ensure!(!is_stopped(&service)?, "the service is paused");
            Ok(!is_stopped(&other)?)
        })?;
        service.has_to_live("the service")?;
        other.has_to_live("the other")?;
        all_go_on_without(daemon, &[&service, &other])
    })
}

/// What has a cgroup of its own is frozen by that, and pushed out by that.
pub(super) fn a_cgroup_of_its_own_is_frozen_and_reclaimed(report: &mut Report) -> Result<()> {
    let group = Cgroup::make("job", "memory")?;
    with_room(1000, || {
        let daemon = daemon(&["--registered-only", "--horizon", "0"])?;
        let mut job = Program::role(&["walk", "350"])?;
        group.take(&job)?;
        let valuable = Program::role(&["walk", "350"])?;
        give_value(&job, 2)?;
        give_value(&valuable, 9)?;
        knows_of(2)?;
        let frozen = |wanted: &str| Ok(text(group.file("cgroup.events"))?.contains(wanted));
        wait::until("the cgroup is frozen", LIMIT, || frozen("frozen 1"))?;
        ensure!(!is_stopped(&job)?, "it is stopped by a signal too");
        wait::until("it is pushed out", LIMIT, || {
            Ok(bytes(&text(group.file("memory.current"))?)? < 32 * MIB)
        })?;
        let out = bytes(&text(group.file("memory.swap.current"))?)?;
        report.figure("pushed out", format!("{} MiB", out / MIB))?;
        ensure!(frozen("frozen 1")?, "it went on meanwhile");
        works_on(&valuable, 5)?;
        valuable.end(Signal::KILL)?;
        wait::until("the cgroup is thawed", LIMIT, || frozen("frozen 0"))?;
        works_on(&job, 5)?;
        job.has_to_live("the job")?;
        daemon.end(Signal::TERM)?;
        ensure!(frozen("frozen 0")?, "it is frozen again");
        Ok(())
    })?;
    group.remove()
}

fn bytes(text: &str) -> Result<u64> {
    text.trim().parse().context("that is no number")
}

/// Two that grow without end beside two that do not: nothing is lost while swap
/// has room.
pub(super) fn those_that_grow_are_paused(_: &mut Report) -> Result<()> {
    with_room(1000, those_that_grow_beside_those_that_do_not)
}

/// And where swap is memory.
pub(super) fn with_swap_in_zram_those_that_grow_are_paused(_: &mut Report) -> Result<()> {
    with_zram(1000, those_that_grow_beside_those_that_do_not)
}

fn those_that_grow_beside_those_that_do_not() -> Result<()> {
    let mut steady = [Program::holding(60)?, Program::holding(60)?];
    let mut daemon = daemon(&["--registered-only"])?;
    give_value(&steady[0], 20)?;
    give_value(&steady[1], 15)?;
    let (mut more, mut less) = (leak(10)?, leak(20)?);
    give_value(&more, 8)?;
    give_value(&less, 5)?;
    knows_of(4)?;
    more.go()?;
    less.go()?;
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

/// One that swap has room for may be paused instead: it stays so, holds nothing
/// up, and is the first to be killed when memory and swap run out.
pub(super) fn a_paused_bomb_is_the_first_to_be_killed(report: &mut Report) -> Result<()> {
    with_room(600, || {
        let mut database = Program::role(&["walk", "150"])?;
        database.says("walking")?;
        let mut bomb = Program::bomb()?;
        // What the leak needs is to come from the bomb, and not for a stall.
        let daemon = daemon(&["--registered-only", "--pressure", "off"])?;
        give_value(&database, 9)?;
        give_value(&bomb, 1)?;
        knows_of(2)?;
        let probe = Probe::start();
        bomb.go()?;
        wait::until("the bomb is paused or killed", LIMIT, || {
            ensure!(!is_stopped(&database)?, "the database is paused");
            Ok(!bomb.is_alive()? || is_stopped(&bomb)?)
        })?;
        works_on(&database, 5)?;
        report.figure("the bomb is paused", bomb.is_alive()?)?;
        say_longest(&probe.end(), report)?;
        // So slow that what the bomb holds keeps it going for a while: what outgrows
        // memory however much is freed for it counts least.
        let mut leak = leak(5)?;
        give_entry(&leak, "5 nopause")?;
        leak.go()?;
        bomb.ends_within(LIMIT)?;
        leak.has_to_live("the leak")?;
        database.has_to_live("the database")?;
        all_go_on_without(daemon, &[&database, &leak])
    })
}

/// As `make -j` beside an editor, which goes on all the while: steps wait where they
/// do not fit, and none is lost.
pub(super) fn a_build_of_many_processes_is_done_beside_an_editor(
    report: &mut Report,
) -> Result<()> {
    with_room(1000, || {
        let mut editor = Program::role(&["walk", "150"])?;
        editor.says("walking")?;
        let daemon = daemon(&[])?;
        give_value(&editor, 9)?;
        knows_of(1)?;
        let probe = Probe::start();
        let began = Instant::now();
        // A user's, or its steps would be services of the machine.
        let mut make = Command::new("/init");
        make.args(["role", "build", "8", "32", "60"]);
        let mut build = Program::start(make.uid(1000).gid(1000))?;
        build.says("ready")?;
        build.go()?;
        let mut paused = HashSet::new();
        wait::until("the build has ended", LIMIT, || {
            ensure!(!is_stopped(&editor)?, "the editor is paused");
            for (pid, state) in children(build.pid())? {
                if state == 'T' {
                    paused.insert(pid);
                }
            }
            Ok(!build.is_alive()?)
        })?;
        build.says("built")?;
        let took = began.elapsed().as_secs_f64();
        let steps = paused.len();
        report.figure(
            "built",
            format!("after {took:.0} s, {steps} of 32 steps paused"),
        )?;
        say_longest(&probe.end(), report)?;
        editor.has_to_live("the editor")?;
        all_go_on_without(daemon, &[&editor])
    })
}

fn say_longest(times: &[Duration], report: &mut Report) -> Result<()> {
    let longest = times.iter().max().copied().unwrap_or_default();
    let millis = |time: Duration| format!("{} ms", time.as_millis());
    report.figure("fork and exec, p50", millis(middle(times)))?;
    report.figure("fork and exec, longest", millis(longest))
}

/// Two jobs that do not fit together, and end.
pub(super) fn two_jobs_of_65_percent_are_done_in_turn(report: &mut Report) -> Result<()> {
    with_room(1000, || jobs_that_do_not_fit(&[9, 5], 65, report))
}

/// And three.
pub(super) fn three_jobs_of_45_percent_are_done_in_turn(report: &mut Report) -> Result<()> {
    with_room(1000, || jobs_that_do_not_fit(&[9, 5, 2], 45, report))
}

/// How long a job takes alone, once it has its data.
const JOB: Duration = Duration::from_secs(30);

/// Does such jobs with pausing; then for as long without, and with a daemon that
/// only kills.
fn jobs_that_do_not_fit(values: &[u32], percent: u64, report: &mut Report) -> Result<()> {
    let mebibytes = (meminfo_bytes("MemTotal")? * percent / 100 / MIB).to_string();
    let begin = |passes: u64| Program::role(&["work", &mebibytes, &passes.to_string()]);
    let seconds = |time: Duration| format!("{:.0} s", time.as_secs_f64());

    let began = Instant::now();
    let mut alone = begin(u64::MAX)?;
    alone.says("working")?;
    let loaded = Instant::now();
    wait::until(
        "one job has worked",
        2 * JOB,
        || Ok(loaded.elapsed() >= JOB),
    )?;
    let wanted = passes(&alone)?.max(1);
    let in_sequence = began.elapsed() * u32::try_from(values.len())?;
    drop(alone);
    report.figure("one after the other", seconds(in_sequence))?;

    let daemon_pauses = daemon(&["--registered-only", "--horizon", "0"])?;
    let began = Instant::now();
    let mut jobs = all_of(values, || begin(wanted))?;
    for (job, value) in jobs.iter().zip(values) {
        give_value(job, *value)?;
    }
    for job in &mut jobs {
        job.ends_within(5 * in_sequence)?;
        ensure!(passes(job)? == wanted, "one ended before it was done");
    }
    let makespan = began.elapsed();
    report.figure("with pausing", seconds(makespan))?;
    daemon_pauses.end(Signal::TERM)?;

    let mut for_as_long = |what: &str| -> Result<()> {
        let began = Instant::now();
        let mut jobs = all_of(values, || begin(wanted))?;
        for (job, value) in jobs.iter().zip(values) {
            // Of no use where no daemon reads it.
            give_value(job, *value)?;
        }
        wait::until("as long is over", 2 * makespan, || {
            Ok(began.elapsed() >= makespan)
        })?;
        let mut done = 0;
        let mut killed = 0;
        for job in &mut jobs {
            done += passes(job)?;
            killed += u32::from(job.was_killed()?);
        }
        let all = wanted * values.len() as u64;
        let percent = done * 100 / all;
        report.figure(what, format!("{percent} % done, {killed} killed"))
    };
    for_as_long("for as long without a daemon")?;
    let kills = daemon(&["--registered-only", "--horizon", "0", "--pause", "off"])?;
    for_as_long("for as long with `--pause off`")?;
    kills.end(Signal::TERM)
}

fn all_of(values: &[u32], begin: impl Fn() -> Result<Program>) -> Result<Vec<Program>> {
    values.iter().map(|_| begin()).collect()
}
