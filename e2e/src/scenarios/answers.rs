//! The last call: what the module makes of a kernel that is about to kill.
//!
//! The listener here is ours: see [`crate::guest::listener`]. The daemon's
//! own part has scenarios of its own.

use std::fs::File;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::event::{Timespec, poll};
use rustix::process::Signal;

use crate::guest::cgroup::Cgroup;
use crate::guest::files::{self, KernelLog, exists, kernel_kills, text};
use crate::guest::listener::{self, Manner};
use crate::guest::module::{self, Module, Notice, wait_for_last_calls};
use crate::guest::program::{Program, busybox};
use crate::guest::{Report, wait};

/// On a machine that is emulated, and short of memory.
const LIMIT: Duration = Duration::from_secs(60);

/// Long enough for an emulated machine, where it is the answer that matters.
const PATIENT: &str = "grace_ms=5000";

/// The bomb takes everything; the listener gives it up; the others stay.
pub(super) fn the_kernel_asks_and_kills_nothing(report: &mut Report) -> Result<()> {
    gives_up_the_bomb(PATIENT, report)
}

/// The same where nothing was set aside.
pub(super) fn the_kernel_asks_with_no_reserve_at_all(report: &mut Report) -> Result<()> {
    gives_up_the_bomb("grace_ms=5000 reserve_kib=0", report)
}

fn gives_up_the_bomb(parameters: &str, report: &mut Report) -> Result<()> {
    let module = Module::load(parameters)?;
    let kills = kernel_kills()?;
    let mut steady = Program::holding(60)?;
    let mut bomb = Program::bomb()?;
    let listener = listener::start(Manner::Answers, &[&bomb])?;
    bomb.go()?;
    bomb.ends_within(LIMIT)?;
    steady.has_to_live("the steady one")?;
    ensure!(kernel_kills()? == kills, "the kernel killed");

    // The bomb may be gone before the answer is written.
    wait_for_last_calls("LastCallsAnswered", 1)?;
    let notice = Notice::read()?;
    report.figure(
        "answer",
        format!("{} us", notice.number("AnswerMicroseconds")?),
    )?;
    report.figure("last calls", notice.number("LastCalls")?)?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    drop(listener);
    module.unload()
}

/// What happens otherwise: the kernel kills the largest process.
pub(super) fn without_the_module_the_kernel_kills(report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    let mut valuable = Program::holding(240)?;
    let mut bomb = Program::bomb()?;
    bomb.go()?;
    wait::until("the kernel kills", LIMIT, || Ok(kernel_kills()? > kills))?;
    wait::until("one of them is gone", LIMIT, || {
        Ok(!valuable.is_alive()? || !bomb.is_alive()?)
    })?;
    report.figure("the larger, more valuable one lives", valuable.is_alive()?)?;
    report.figure("kernel kills", kernel_kills()? - kills)
}

/// No process has the file open for writing; readers do not count.
pub(super) fn without_a_listener_the_kernel_kills_at_once(_: &mut Report) -> Result<()> {
    let module = Module::load(PATIENT)?;
    let mut watch = Program::role(&["watch"])?;
    watch.says("watching")?;
    watch.set_oom_score_adj(-1000)?;
    let mut log = KernelLog::from_now()?;
    let reserve = Notice::read()?.number("ReserveBytes")?;
    goes_off(&mut Program::bomb()?)?;
    let notice = Notice::read()?;
    ensure!(notice.number("LastCalls")? >= 1 && notice.number("LastCallsAsked")? == 0);
    ensure!(
        notice.number("ReserveBytes")? == reserve,
        "the reserve was given to nobody"
    );
    log.comes_to_say("not waited for: no process listens")?;
    drop(watch);
    module.unload()
}

/// Lets a bomb take everything, until the kernel has killed it.
fn goes_off(bomb: &mut Program) -> Result<()> {
    let kills = kernel_kills()?;
    bomb.set_oom_score_adj(1000)?;
    bomb.go()?;
    bomb.ends_within(LIMIT)?;
    ensure!(bomb.was_killed()?, "the bomb ended by itself");
    ensure!(kernel_kills()? == kills + 1, "the kernel did not kill it");
    Ok(())
}

/// A listener that kills and does not answer has helped all the same.
pub(super) fn memory_that_comes_back_unanswered_counts(_: &mut Report) -> Result<()> {
    let module = Module::load(PATIENT)?;
    let kills = kernel_kills()?;
    let victim = Program::holding(100)?;
    let mut bomb = Program::bomb()?;
    let listener = listener::start(Manner::KillsOnly, &[&victim, &bomb])?;
    bomb.go()?;
    bomb.ends_within(LIMIT)?;
    let notice = Notice::read()?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    ensure!(notice.number("LastCallsAnswered")? == 0);
    ensure!(
        notice.number("LastCallsAsked")? >= 2,
        "it was asked again: {}",
        notice.text()
    );
    drop(listener);
    module.unload()
}

/// One on each CPU, and one more.
pub(super) fn two_bombs_at_once(report: &mut Report) -> Result<()> {
    let module = Module::load(PATIENT)?;
    let kills = kernel_kills()?;
    let mut steady = Program::holding(60)?;
    let mut bombs = [Program::bomb()?, Program::bomb()?, Program::bomb()?];
    let [first, second, third] = &bombs;
    let listener = listener::start(Manner::Answers, &[first, second, third])?;
    for bomb in &mut bombs {
        bomb.go()?;
    }
    for bomb in &mut bombs {
        bomb.ends_within(LIMIT)?;
    }
    steady.has_to_live("the steady one")?;
    // A kernel that looks for mistakes takes seconds to free a bomb's memory.
    if wait::patience() == 1 {
        ensure!(kernel_kills()? == kills, "the kernel killed");
    }
    report.figure("last calls", Notice::read()?.number("LastCalls")?)?;
    drop(listener);
    module.unload()
}

/// fork() holds the mmap lock for writing while it allocates page tables.
pub(super) fn a_forking_process_can_be_killed(_: &mut Report) -> Result<()> {
    const FORKS: &str = "held=$(head -c 60000000 /dev/zero | tr '\\000' x); echo forking; \
                         while :; do ( : ) & ( : ); done";
    let module = Module::load(PATIENT)?;
    let kills = kernel_kills()?;
    let mut steady = Program::holding(20)?;
    let mut shell = std::process::Command::new("/bin/busybox");
    let mut forking = Program::start(shell.args(["sh", "-c", FORKS]))?;
    forking.says("forking")?;
    let mut bomb = Program::bomb()?;
    let listener = listener::start(Manner::Answers, &[&forking, &bomb])?;
    bomb.go()?;
    forking.ends_within(LIMIT)?;
    bomb.ends_within(LIMIT)?;
    steady.has_to_live("the steady one")?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    drop(listener);
    module.unload()
}

/// They allocate with a directory's and a file's locks held.
pub(super) fn writers_to_a_filesystem_do_not_lock_up(report: &mut Report) -> Result<()> {
    const AT: &str = "/disk";
    std::fs::create_dir_all(AT)?;
    busybox(&["mke2fs", "-F", "/dev/vda"])?;
    busybox(&["mount", "-t", "ext4", "/dev/vda", AT])?;
    let outcome = writers_and_a_bomb(AT, report);
    busybox(&["umount", AT])?;
    outcome
}

fn writers_and_a_bomb(at: &str, report: &mut Report) -> Result<()> {
    let module = Module::load(PATIENT)?;
    let kills = kernel_kills()?;
    let mut writers = [
        Program::role(&["write", at])?,
        Program::role(&["write", at])?,
        Program::role(&["write", "/tmp"])?,
    ];
    let mut bomb = Program::bomb()?;
    let [_, _, in_memory] = &writers;
    let listener = listener::start(Manner::Answers, &[&bomb, in_memory])?;
    for writer in &mut writers {
        writer.says("ready")?;
        writer.go()?;
    }
    bomb.go()?;
    bomb.ends_within(LIMIT)?;
    let [on_disk, also_on_disk, in_memory] = &mut writers;
    on_disk.has_to_live("a writer")?;
    also_on_disk.has_to_live("a writer")?;
    // The files in memory outlive the bomb, and fill it again in the end.
    report.figure("last calls", Notice::read()?.number("LastCalls")?)?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    in_memory.signal(Signal::KILL)?;
    in_memory.ends_within(LIMIT)?;
    drop((listener, writers));
    busybox(&["sh", "-c", "rm -f /tmp/*-*"])?;
    module.unload()
}

/// The grace is over once, and never again until it reads.
pub(super) fn a_silent_listener_is_waited_for_once(_: &mut Report) -> Result<()> {
    let module = Module::load("grace_ms=300")?;
    let listener = listener::start(Manner::Sleeps, &[])?;
    is_waited_for_once()?;
    drop(listener);
    module.unload()
}

/// The same for one that cannot run.
pub(super) fn a_stopped_listener_is_waited_for_once(_: &mut Report) -> Result<()> {
    let module = Module::load("grace_ms=300")?;
    let listener = listener::start(Manner::Answers, &[])?;
    listener.signal(Signal::STOP)?;
    is_waited_for_once()?;

    // Awake again it reads, and counts again.
    listener.signal(Signal::CONT)?;
    let mut bomb = Program::bomb()?;
    bomb.set_oom_score_adj(1000)?;
    bomb.go()?;
    bomb.ends_within(LIMIT)?;
    let notice = Notice::read()?;
    ensure!(notice.number("LastCallsAsked")? >= 2, "{}", notice.text());
    drop(listener);
    module.unload()
}

fn is_waited_for_once() -> Result<()> {
    let mut log = KernelLog::from_now()?;
    goes_off(&mut Program::bomb()?)?;
    goes_off(&mut Program::bomb()?)?;
    let notice = Notice::read()?;
    ensure!(notice.number("LastCalls")? >= 2 && notice.number("LastCallsAsked")? == 1);
    log.comes_to_say("not answered")?;
    log.comes_to_say("the listener has not read the last one")
}

/// Memory came back before the listener had to read: the next time it is asked
/// again.
pub(super) fn a_call_that_is_soon_over_may_be_left_unread(_: &mut Report) -> Result<()> {
    let module = Module::load("grace_ms=10000")?;
    let kills = kernel_kills()?;
    let listener = listener::start(Manner::Sleeps, &[])?;
    let notifier = File::open(module::PATH).context("cannot open the notifier")?;
    for _ in 0..2 {
        let mut bomb = Program::bomb()?;
        bomb.go()?;
        module::wait_for_last_call(&notifier)?;
        bomb.signal(Signal::KILL)?;
        bomb.ends_within(LIMIT)?;
        module::wait_for_its_end(&notifier)?;
    }
    let notice = Notice::read()?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    ensure!(notice.number("LastCallsAsked")? >= 2, "{}", notice.text());
    drop((listener, notifier));
    module.unload()
}

/// It is alive, so it is waited for each time, and each time the kernel kills.
pub(super) fn a_listener_that_only_reads_costs_the_grace(_: &mut Report) -> Result<()> {
    let module = Module::load("grace_ms=300")?;
    let listener = listener::start(Manner::Ignores, &[])?;
    goes_off(&mut Program::bomb()?)?;
    goes_off(&mut Program::bomb()?)?;
    let notice = Notice::read()?;
    ensure!(notice.number("LastCallsAsked")? >= 2 && notice.number("LastCallsAnswered")? == 0);
    drop(listener);
    module.unload()
}

/// Answers without memory are no progress: the kernel kills in the end.
pub(super) fn a_false_promise_is_believed_a_few_times(report: &mut Report) -> Result<()> {
    let module = Module::load("grace_ms=300")?;
    let listener = listener::start(Manner::Answers, &[])?;
    goes_off(&mut Program::bomb()?)?;
    let notice = Notice::read()?;
    let answered = notice.number("LastCallsAnswered")?;
    ensure!((4..=40).contains(&answered), "{}", notice.text());
    report.figure("answers in vain", answered)?;
    drop(listener);
    module.unload()
}

/// The kernel goes on at once, not when the grace is over.
pub(super) fn an_exit_in_the_call_ends_the_wait(_: &mut Report) -> Result<()> {
    let module = Module::load("grace_ms=10000")?;
    let mut log = KernelLog::from_now()?;
    let mut listener = listener::start(Manner::Exits, &[])?;
    goes_off(&mut Program::bomb()?)?;
    listener.ends_within(LIMIT)?;
    is_waited_for_briefly(&mut log)?;
    module.unload()
}

/// The same for one that is killed while the kernel waits for it.
pub(super) fn a_kill_in_the_call_ends_the_wait(_: &mut Report) -> Result<()> {
    let module = Module::load("grace_ms=10000")?;
    let mut log = KernelLog::from_now()?;
    let kills = kernel_kills()?;
    let listener = listener::start(Manner::Sleeps, &[])?;
    let mut bomb = Program::bomb()?;
    bomb.set_oom_score_adj(1000)?;
    let notifier = File::open(module::PATH).context("cannot open the notifier")?;
    bomb.go()?;
    module::wait_for_last_call(&notifier)?;
    bomb.has_to_live("the bomb, in the call")?;
    listener.end(Signal::KILL)?;
    bomb.ends_within(LIMIT)?;
    ensure!(kernel_kills()? == kills + 1, "the kernel did not go on");
    is_waited_for_briefly(&mut log)?;
    drop(notifier);
    module.unload()
}

fn is_waited_for_briefly(log: &mut KernelLog) -> Result<()> {
    log.comes_to_say(" back after ")?;
    let waited_us = waited_us(log.text()?);
    // Of a grace of 10 s, on a host that may be slow.
    ensure!(
        waited_us.is_some_and(|us| us < 8_000_000),
        "waited for {waited_us:?} us"
    );
    Ok(())
}

/// How long the first call of a log took.
fn waited_us(log: &str) -> Option<u64> {
    let line = log.lines().find(|line| line.contains(" back after "))?;
    let (_, rest) = line.split_once("back after ")?;
    rest.split_once(' ')?.0.parse().ok()
}

/// Its worker kills whatever we say, so it is not held up.
pub(super) fn sysrq_is_not_waited_for(_: &mut Report) -> Result<()> {
    // Any machine is short of memory by this.
    let module = Module::load("warn_percent=100 kill_percent=100 grace_ms=10000")?;
    let kills = kernel_kills()?;
    let mut log = KernelLog::from_now()?;
    let mut victim = Program::holding(100)?;
    let mut spared = Program::holding(20)?;
    let listener = listener::start(Manner::Answers, &[&spared])?;
    files::write("/proc/sysrq-trigger", "f")?;
    victim.ends_within(Duration::from_secs(8))?;
    ensure!(kernel_kills()? == kills + 1, "the kernel did not kill");
    spared.has_to_live("the one to spare")?;
    log.comes_to_say("not waited for: SysRq was pressed")?;
    ensure!(Notice::read()?.number("LastCallsAsked")? == 0);
    drop(listener);
    module.unload()
}

/// One node is full, the machine is not: no business of ours.
pub(super) fn a_bound_allocation_is_not_waited_for(_: &mut Report) -> Result<()> {
    let group = Cgroup::make("bound", "cpuset")?;
    files::write(group.file("cpuset.mems"), "1")?;
    let module = Module::load("grace_ms=10000")?;
    let mut log = KernelLog::from_now()?;
    let mut bomb = Program::bomb()?;
    let listener = listener::start(Manner::Answers, &[])?;
    group.take(&bomb)?;
    goes_off(&mut bomb)?;
    log.comes_to_say("not waited for: the task may not use all memory")?;
    ensure!(Notice::read()?.number("LastCallsAsked")? == 0);
    drop(listener);
    group.remove()?;
    module.unload()
}

/// The whole machine is short, and its listener has answered: what the kernel would
/// kill for one that is bound were a second victim.
pub(super) fn a_bound_allocation_waits_for_the_victim_of_a_call(_: &mut Report) -> Result<()> {
    let group = Cgroup::make("bound", "cpuset")?;
    files::write(group.file("cpuset.mems"), "1")?;
    let module = Module::load("grace_ms=10000")?;
    let mut log = KernelLog::from_now()?;
    let kills = kernel_kills()?;
    let mut bomb = Program::bomb()?;
    let mut bound = Program::bomb()?;
    bound.set_oom_score_adj(1000)?;
    group.take(&bound)?;
    // To continue it takes no memory.
    bound.signal(Signal::STOP)?;
    bound.go()?;
    // The bomb is the victim that it has answered for, and has yet to die.
    let listener = listener::start(Manner::Answers, &[])?;
    let notifier = File::open(module::PATH).context("cannot open the notifier")?;
    bomb.go()?;
    module::wait_for_an_answer(&notifier)?;
    bound.signal(Signal::CONT)?;
    // That nothing is killed is no state to wait for.
    let pause = Timespec::try_from(Duration::from_secs(2))?;
    poll(&mut [], Some(&pause)).context("cannot wait")?;
    bound.has_to_live("the bound one")?;
    bomb.has_to_live("the bomb")?;
    bomb.signal(Signal::KILL)?;
    bomb.ends_within(LIMIT)?;

    // Now its own part of the machine alone is short.
    bound.ends_within(LIMIT)?;
    ensure!(kernel_kills()? == kills + 1, "the kernel killed another");
    log.comes_to_say("answered, memory is back")?;
    log.comes_to_say("not waited for: the task may not use all memory")?;
    drop((listener, notifier));
    group.remove()?;
    module.unload()
}

/// What is over its own limit dies of it; the machine is not short.
pub(super) fn a_cgroup_is_left_to_the_kernel(_: &mut Report) -> Result<()> {
    let group = Cgroup::make("limited", "memory")?;
    files::write(group.file("memory.max"), "50M")?;
    let module = Module::load("grace_ms=10000")?;
    let mut bomb = Program::bomb()?;
    let listener = listener::start(Manner::Answers, &[])?;
    group.take(&bomb)?;
    goes_off(&mut bomb)?;
    let events = text(group.file("memory.events"))?;
    ensure!(events.contains("oom_kill 1"), "{events}");
    ensure!(
        Notice::read()?.number("LastCalls")? == 0,
        "{}",
        Notice::read()?.text()
    );
    drop(listener);
    group.remove()?;
    module.unload()
}

/// A listener holds the module; when it exits, the module can be unloaded.
pub(super) fn rmmod_in_the_call_is_refused(_: &mut Report) -> Result<()> {
    let module = Module::load("grace_ms=2000")?;
    let mut log = KernelLog::from_now()?;
    let listener = listener::start(Manner::Sleeps, &[])?;
    let mut bomb = Program::bomb()?;
    bomb.set_oom_score_adj(1000)?;
    bomb.go()?;
    wait_for_last_calls("LastCallsAsked", 1)?;
    ensure!(
        module::try_unload().is_err(),
        "it was unloaded while somebody listens"
    );
    // In the call, and with it the last descriptor.
    drop(listener);
    module.unload()?;
    ensure!(!exists(module::PATH));
    bomb.ends_within(LIMIT)?;
    for trouble in ["BUG:", "WARNING:", "general protection"] {
        ensure!(!log.says(trouble)?, "the kernel's log has `{trouble}`");
    }
    Ok(())
}
