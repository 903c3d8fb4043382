//! The last call by the kernel's own rules: nothing is killed that a kernel
//! without the module leaves alone, nothing is held up, and the kernel is not
//! kept from killing.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::guest::cgroup::Cgroup;
use crate::guest::files::{
    self, KernelLog, MIB, PAGE, kernel_kills, meminfo_bytes, takable_bytes, text,
};
use crate::guest::listener::{self, Manner};
use crate::guest::module::{self, Module, Notice};
use crate::guest::program::{Program, busybox};
use crate::guest::{Report, wait};

/// On a machine that is emulated, and short of memory.
const LIMIT: Duration = Duration::from_secs(60);

/// From the kernel's call until memory is back: a call that keeps its victim from
/// ending takes all of the 3 s that it may. It takes 250 ms at most on an emulated
/// machine whose host has time for it; the figure says how long it took.
const SOON_MICROS: u64 = 1_500_000;

/// Less than a grace of 10 s, though the host may be slow.
const MOST_OF_TEN_SECONDS: u64 = 8_000_000;

/// How long each of the log's calls lasted until memory was back, in
/// microseconds.
fn backs(log: &str) -> Vec<u64> {
    let ends = log.split(" back after ").skip(1);
    let micros = ends.filter_map(|end| end.split(' ').next()?.parse().ok());
    micros.collect()
}

/// The same, once all calls have ended.
fn all_backs(log: &mut KernelLog, calls: u64) -> Result<Vec<u64>> {
    let mut all = Vec::new();
    wait::until("all calls have ended", LIMIT, || {
        all = backs(log.text()?);
        Ok(u64::try_from(all.len())? >= calls)
    })?;
    Ok(all)
}

/// A victim in a page fault gets out of it by the kernel's OOM lock, which the
/// call must not keep: none of three bombs is the caller each time.
pub(super) fn a_victim_that_needs_a_page_is_not_held_up(report: &mut Report) -> Result<()> {
    three_bombs("grace_ms=3000 reserve_kib=0", report)
}

/// The same with a reserve, which is gone by the second call.
pub(super) fn a_victim_is_not_held_up_once_the_reserve_is_gone(report: &mut Report) -> Result<()> {
    three_bombs("grace_ms=3000", report)
}

fn three_bombs(parameters: &str, report: &mut Report) -> Result<()> {
    let module = Module::load(parameters)?;
    let kills = kernel_kills()?;
    let mut log = KernelLog::from_now()?;
    let mut bombs = [Program::bomb()?, Program::bomb()?, Program::bomb()?];
    let [first, second, third] = &bombs;
    let listener = listener::start(Manner::Answers, &[first, second, third])?;
    for bomb in &mut bombs {
        bomb.go()?;
    }
    for bomb in &mut bombs {
        bomb.ends_within(LIMIT)?;
    }
    let asked = Notice::read()?.number("LastCallsAsked")?;
    let backs = all_backs(&mut log, asked)?;
    report.figure("memory back", format!("after {backs:?} us"))?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    let held = Notice::read()?.number("LongestHoldMicroseconds")?;
    report.figure("OOM lock held", format!("at most {held} us"))?;
    ensure!(!backs.is_empty(), "there was no call");
    // A kernel that looks for mistakes takes seconds to free a bomb's memory.
    if wait::patience() == 1 {
        ensure!(kernel_kills()? == kills, "the kernel killed");
        let longest = backs.iter().max().copied().unwrap_or_default();
        ensure!(longest <= SOON_MICROS, "{longest} us");
    }
    drop(listener);
    module.unload()
}

/// A memory cgroup that is over its limit waits for the same lock.
pub(super) fn a_cgroup_does_not_wait_for_the_call(report: &mut Report) -> Result<()> {
    let group = Cgroup::make("limited", "memory")?;
    let module = Module::load("grace_ms=10000")?;
    // What it holds is charged where it was taken, so it takes in the group.
    let mut limited = Program::role(&["take", "60"])?;
    group.take(&limited)?;
    limited.go()?;
    limited.says("holding")?;
    let mut bomb = Program::bomb()?;
    let listener = listener::start(Manner::Ignores, &[])?;
    let notifier = File::open(module::PATH).context("cannot open the notifier")?;
    let limit = OpenOptions::new()
        .write(true)
        .open(group.file("memory.max"))
        .context("cannot open the limit")?;
    bomb.go()?;
    module::wait_for_last_call(&notifier)?;
    let began = Instant::now();
    (&limit).write_all(b"1M").context("cannot set the limit")?;
    limited.ends_within(LIMIT)?;
    let waited = began.elapsed();
    report.figure("the cgroup's process is gone", format!("after {waited:?}"))?;
    ensure!(waited < Duration::from_secs(5), "after {waited:?}");
    drop((bomb, limited, listener, notifier));
    group.remove()?;
    module.unload()
}

/// The kernel waits for the victim that it has chosen, however long that takes
/// to end: there is nothing to ask.
pub(super) fn the_kernels_own_victim_is_awaited(report: &mut Report) -> Result<()> {
    on_a_disk(|at| {
        let ended = stuck_victim(at, &Mix::PLAIN, Some("grace_ms=1000"))?;
        report.figure("kernel kills", ended.kernel_kills)?;
        ensure!(
            ended.kernel_kills == 1,
            "the kernel killed {} processes, not one",
            ended.kernel_kills
        );
        ensure!(
            ended.killed == 0,
            "{} were killed beside its victim",
            ended.killed
        );
        Ok(())
    })
}

/// Twenty machines that are short in twenty ways, each with and without the
/// module: it costs no process more.
pub(super) fn twenty_mixes_cost_nothing_more(report: &mut Report) -> Result<()> {
    module::insert("/nofs.ko".as_ref(), "")?;
    let outcome = on_a_disk(|at| {
        let mut more = Vec::new();
        let (mut without, mut with) = (0, 0);
        for number in 1..=20 {
            let mix = Mix::random(number);
            let stock = stuck_victim(at, &mix, None)?;
            let ours = stuck_victim(at, &mix, Some("grace_ms=500"))?;
            without += stock.killed + stock.kernel_kills;
            with += ours.killed + ours.kernel_kills;
            if ours.killed > stock.killed || ours.kernel_kills > stock.kernel_kills {
                more.push((number, stock, ours));
            }
        }
        report.figure("killed without the module", without)?;
        report.figure("killed with it", with)?;
        ensure!(more.is_empty(), "more were killed: {more:?}");
        Ok(())
    });
    busybox(&["rmmod", "nofs"])?;
    outcome
}

fn on_a_disk(run: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    const AT: &str = "/disk";
    std::fs::create_dir_all(AT)?;
    busybox(&["mke2fs", "-F", "/dev/vda"])?;
    busybox(&["mount", "-t", "ext4", "/dev/vda", AT])?;
    let outcome = run(AT);
    busybox(&["umount", AT])?;
    outcome
}

/// How a machine is made short, in MiB.
struct Mix {
    /// Of the kernel's victim.
    stuck: u64,
    /// Of three others.
    others: [u64; 3],
    /// More is taken than there is.
    excess: u64,
    /// As in a filesystem's transaction, at the same time.
    nofs: u64,
}

impl Mix {
    const PLAIN: Self = Self {
        stuck: 60,
        others: [20; 3],
        excess: 15,
        nofs: 0,
    };

    fn random(number: u64) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15 ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d);
        let mut between = |least: u64, most: u64| {
            // Marsaglia's xorshift64.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            least + state % (most - least + 1)
        };
        Self {
            stuck: between(60, 90),
            others: [between(5, 30), between(5, 30), between(5, 30)],
            excess: between(5, 25),
            nofs: between(0, 1) * between(1, 12),
        }
    }
}

#[derive(Debug)]
struct Ended {
    /// Of the others.
    killed: u64,
    kernel_kills: u64,
}

/// The kernel chooses one that cannot end before its filesystem is thawed; the
/// listener has missed that, and would kill the others.
fn stuck_victim(at: &str, mix: &Mix, parameters: Option<&str>) -> Result<Ended> {
    let module = parameters.map(Module::load).transpose()?;
    let kills = kernel_kills()?;
    let mut others = Vec::new();
    for mebibytes in mix.others {
        others.push(Program::holding(mebibytes)?);
    }
    let file = format!("{at}/file");
    let mut stuck = Program::role(&["stuck", &mix.stuck.to_string(), &file])?;
    stuck.says("holding")?;
    stuck.set_oom_score_adj(1000)?;
    let listener = match &module {
        Some(_) => Some(listener::start(
            Manner::Misses,
            &others.iter().collect::<Vec<_>>(),
        )?),
        None => None,
    };
    let more = takable_bytes()? / MIB + mix.excess;
    let mut taking = Program::role(&["take", &more.to_string()])?;
    taking.says("ready")?;
    taking.set_oom_score_adj(-1000)?;
    let mut filesystem = match mix.nofs {
        0 => None,
        mebibytes => Some(in_a_transaction(mebibytes * MIB / PAGE)?),
    };
    busybox(&["fsfreeze", "--freeze", at])?;
    let outcome = stuck.go().and_then(|()| {
        let stat = format!("/proc/{}/stat", stuck.pid());
        wait::until("it is stuck", LIMIT, || Ok(text(&stat)?.contains(") D ")))?;
        taking.go()?;
        if let Some(filesystem) = &mut filesystem {
            filesystem.go()?;
            filesystem.ends_within(LIMIT)?;
        }
        taking.says("holding")?;
        let mut killed = 0;
        for other in &mut others {
            killed += u64::from(!other.is_alive()?);
        }
        Ok(Ended {
            killed,
            kernel_kills: kernel_kills()? - kills,
        })
    });
    busybox(&["fsfreeze", "--unfreeze", at])?;
    let ended = outcome?;
    stuck.ends_within(LIMIT)?;
    if filesystem.is_some() {
        files::write(TAKE, "0")?;
    }
    drop((taking, listener, others));
    module.map_or(Ok(()), Module::unload)?;
    Ok(ended)
}

/// Where `nofs.ko` takes memory; it frees what it took before.
const TAKE: &str = "/sys/module/nofs/parameters/take";

/// Told to go, takes so many pages as a filesystem does in a transaction, and
/// is never the kernel's victim.
fn in_a_transaction(pages: u64) -> Result<Program> {
    let script = format!("echo ready; read go; echo {pages} > {TAKE}");
    let mut shell = Command::new("/bin/busybox");
    let mut taking = Program::start(shell.args(["sh", "-c", &script]).stderr(Stdio::null()))?;
    taking.says("ready")?;
    taking.set_oom_score_adj(-1000)?;
    Ok(taking)
}

/// For an allocation in a filesystem's transaction the kernel kills nothing,
/// whatever comes of it.
pub(super) fn a_filesystems_allocation_kills_nothing(report: &mut Report) -> Result<()> {
    module::insert("/nofs.ko".as_ref(), "")?;
    let outcome = only_a_filesystem_allocates(report);
    busybox(&["rmmod", "nofs"])?;
    outcome
}

fn only_a_filesystem_allocates(report: &mut Report) -> Result<()> {
    let module = Module::load("")?;
    let kills = kernel_kills()?;
    let mut log = KernelLog::from_now()?;
    let victims = [Program::holding(20)?, Program::holding(20)?];
    let [first, second] = &victims;
    let listener = listener::start(Manner::Answers, &[first, second])?;
    let mut taking = in_a_transaction(1_000_000)?;
    taking.go()?;
    // To look meanwhile takes memory too, for which the kernel may kill, as it
    // may for its own threads.
    let mut fds = [
        PollFd::new(first, PollFlags::IN),
        PollFd::new(second, PollFlags::IN),
    ];
    let enough = Timespec::try_from(Duration::from_secs(10) * wait::patience())?;
    let ended = poll(&mut fds, Some(&enough)).context("cannot wait for the victims")?;
    taking.end(Signal::KILL)?;
    files::write(TAKE, "0")?;
    let notice = Notice::read()?;
    report.figure("last calls", notice.number("LastCalls")?)?;
    report.figure("of which asked", notice.number("LastCallsAsked")?)?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    all_backs(&mut log, notice.number("LastCallsAsked")?)?;
    ensure!(
        !log.says("of busybox: answered")?,
        "a process was killed for it: {}",
        notice.text()
    );
    ensure!(notice.number("LastCalls")? > 2, "memory was not all taken");
    if notice.number("LastCallsAsked")? == 0 {
        ensure!(ended == 0, "a process was killed: {}", notice.text());
    }
    drop((listener, victims));
    module.unload()
}

/// A thread that another's exec kills is not let into the reserves: the kernel
/// would kill a process for it, so the listener is asked as for any.
pub(super) fn a_thread_that_exec_kills_costs_one_victim(report: &mut Report) -> Result<()> {
    killed_and_not_let_go("", report, |pages| {
        let mut task = Program::role(&["exec", KILLED_TAKE, &pages.to_string()])?;
        task.says("ready")?;
        waits_to_be_killed(&task)?;
        task.go()?;
        Ok(task)
    })
}

/// The same for a process whose memory a live one shares, as after vfork.
pub(super) fn a_process_that_shares_its_memory_costs_one_victim(report: &mut Report) -> Result<()> {
    killed_and_not_let_go("share=1", report, |pages| {
        let script = format!("echo {pages} > {KILLED_TAKE}");
        let mut shell = Command::new("/bin/busybox");
        let task = Program::start(shell.args(["sh", "-c", &script]))?;
        waits_to_be_killed(&task)?;
        task.signal(Signal::KILL)?;
        Ok(task)
    })
}

/// Where `killed.ko` takes memory for one that is killed.
const KILLED_TAKE: &str = "/sys/module/killed/parameters/take";

/// Waits until a thread of it is in `take()` of `killed.ko`.
fn waits_to_be_killed(task: &Program) -> Result<()> {
    let tasks = format!("/proc/{}/task", task.pid());
    wait::until("it waits to be killed", LIMIT, || {
        let threads = std::fs::read_dir(&tasks)?;
        let mut places = threads.filter_map(|thread| text(thread.ok()?.path().join("wchan")).ok());
        Ok(places.any(|place| place == "take"))
    })
}

/// A task that is killed, but not let into the reserves, needs 15 MiB more than
/// there are. The listener has one to kill for it, the kernel would kill another.
fn killed_and_not_let_go(
    parameters: &str,
    report: &mut Report,
    start: impl FnOnce(u64) -> Result<Program>,
) -> Result<()> {
    module::insert("/killed.ko".as_ref(), parameters)?;
    let outcome = with_a_killed_task(report, start);
    busybox(&["rmmod", "killed"])?;
    outcome
}

fn with_a_killed_task(
    report: &mut Report,
    start: impl FnOnce(u64) -> Result<Program>,
) -> Result<()> {
    // Killing takes longer on a kernel that checks all it does; 10 s is the most.
    let grace = (5000 * wait::patience()).min(10_000);
    let module = Module::load(&format!("grace_ms={grace}"))?;
    let kills = kernel_kills()?;
    let mut ours = Program::holding(40)?;
    let mut the_kernels = Program::holding(40)?;
    the_kernels.set_oom_score_adj(1000)?;
    let listener = listener::start(Manner::Answers, &[&ours])?;
    let pages = (takable_bytes()? + 15 * MIB) / PAGE;
    let mut task = start(pages)?;
    task.ends_within(LIMIT)?;
    let notice = Notice::read()?;
    report.figure("last calls asked", notice.number("LastCallsAsked")?)?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    the_kernels.has_to_live("the one that the kernel would kill")?;
    ensure!(!ours.is_alive()?, "memory was not short");
    drop((ours, the_kernels, listener));
    module.unload()
}

/// Memory elsewhere does not help one that is bound to a node, so the machine
/// is not asked, be it short or not.
pub(super) fn one_bound_to_a_node_is_left_to_the_kernel(report: &mut Report) -> Result<()> {
    let group = Cgroup::make("bound", "cpuset")?;
    files::write(group.file("cpuset.mems"), "1")?;
    let bomb = Program::bomb()?;
    group.take(&bomb)?;
    is_left_to_the_kernel(bomb, report)?;
    group.remove()
}

/// The same for one that set_mempolicy(2) binds.
pub(super) fn one_bound_by_its_policy_is_left_to_the_kernel(report: &mut Report) -> Result<()> {
    module::insert("/bound.ko".as_ref(), "")?;
    let taking = taking_for_the_second_node()?;
    let outcome = is_left_to_the_kernel(taking, report);
    busybox(&["rmmod", "bound"])?;
    outcome
}

/// Told to go, takes more than the second node has, by `bound.ko`.
fn taking_for_the_second_node() -> Result<Program> {
    const SCRIPT: &str = "echo ready; read go; echo 1000000 > /sys/module/bound/parameters/take";
    let mut shell = Command::new("/bin/busybox");
    let mut taking = Program::start(shell.args(["sh", "-c", SCRIPT]))?;
    taking.says("ready")?;
    Ok(taking)
}

/// Any machine is short of memory by this.
const SHORT_ALWAYS: &str = "warn_percent=100 kill_percent=100 grace_ms=10000";

fn is_left_to_the_kernel(mut bomb: Program, report: &mut Report) -> Result<()> {
    let module = Module::load(SHORT_ALWAYS)?;
    let kills = kernel_kills()?;
    bomb.set_oom_score_adj(1000)?;
    let listener = listener::start(Manner::Sleeps, &[])?;
    let began = Instant::now();
    bomb.go()?;
    bomb.ends_within(LIMIT)?;
    report.figure("the bomb is gone", format!("after {:?}", began.elapsed()))?;
    ensure!(kernel_kills()? == kills + 1, "the kernel did not kill it");
    let notice = Notice::read()?;
    ensure!(notice.number("LastCallsAsked")? == 0, "{}", notice.text());
    drop(listener);
    module.unload()
}

/// Memory that other processes free by chance did not come of the call. It is
/// believed a few times: then the kernel kills.
pub(super) fn memory_that_others_free_is_believed_a_few_times(report: &mut Report) -> Result<()> {
    let module = Module::load("grace_ms=1000 reserve_kib=0")?;
    let mut log = KernelLog::from_now()?;
    let kills = kernel_kills()?;
    let mut others = Vec::new();
    for _ in 0..16 {
        let other = Program::holding(4)?;
        other.set_oom_score_adj(-1000)?;
        others.push(other);
    }
    let listener = listener::start(Manner::Ignores, &[])?;
    let mut bomb = Program::bomb()?;
    bomb.set_oom_score_adj(1000)?;
    bomb.go()?;
    // They end one by one, as long as the bomb lives; to wait takes no memory.
    let pause = Timespec::try_from(Duration::from_millis(200))?;
    for other in &others {
        let mut fds = [PollFd::new(&bomb, PollFlags::IN)];
        if poll(&mut fds, Some(&pause)).context("cannot wait for the bomb")? > 0 {
            break;
        }
        other.signal(Signal::KILL)?;
    }
    bomb.ends_within(LIMIT)?;
    let asked = Notice::read()?.number("LastCallsAsked")?;
    report.figure("unanswered calls until the kernel killed", asked)?;
    let backs = all_backs(&mut log, asked)?;
    report.figure("memory back", format!("after {backs:?} us"))?;
    ensure!(kernel_kills()? == kills + 1, "the kernel did not kill it");
    ensure!(asked <= 4, "it was kept from killing {asked} times");
    drop((listener, others));
    module.unload()
}

/// Where there is memory that is of no use to the caller, each claim is told that the
/// call is over, and the next call comes at once. The listener is asked a few times:
/// then the kernel kills. On one processor the listener claims before memory is looked
/// at again.
pub(super) fn claims_that_come_too_late_do_not_keep_the_kernel_from_killing(
    report: &mut Report,
) -> Result<()> {
    // A mapping's policy is not its task's, so the module does not see it.
    module::insert("/bound.ko".as_ref(), "mapping=1")?;
    let outcome = fills_the_second_node(report);
    busybox(&["rmmod", "bound"])?;
    outcome
}

fn fills_the_second_node(report: &mut Report) -> Result<()> {
    let module = Module::load(SHORT_ALWAYS)?;
    let kills = kernel_kills()?;
    let mut taking = taking_for_the_second_node()?;
    taking.set_oom_score_adj(1000)?;
    let listener = listener::start(Manner::Answers, &[])?;
    let began = Instant::now();
    taking.go()?;
    taking.ends_within(LIMIT)?;
    let asked = Notice::read()?.number("LastCallsAsked")?;
    report.figure("calls until the kernel killed", asked)?;
    report.figure("the caller is gone", format!("after {:?}", began.elapsed()))?;
    ensure!(kernel_kills()? == kills + 1, "the kernel did not kill it");
    // Four calls that did not help, or eight times as many that were over when claimed.
    ensure!((1..=32).contains(&asked), "it was asked {asked} times");
    drop(listener);
    module.unload()
}

/// Where the machine has recovered in between, calls that did not help do not
/// add up to the kernel's turn.
pub(super) fn a_new_shortage_is_asked_about_anew(report: &mut Report) -> Result<()> {
    // The listener's kills have to show within the grace.
    let module = Module::load(&format!("grace_ms={}", 500 * wait::patience()))?;
    let kills = kernel_kills()?;
    let bombs = (0..6).map(|_| Program::bomb());
    let mut bombs = bombs.collect::<Result<Vec<_>>>()?;
    let victims: Vec<_> = bombs.iter().collect();
    // It kills without an answer, which does not count as help.
    let listener = listener::start(Manner::KillsOnly, &victims)?;
    for bomb in &mut bombs {
        bomb.go()?;
        bomb.ends_within(LIMIT)?;
        wait::until(
            "memory is well",
            LIMIT,
            || Ok(Notice::read()?.level()? == 0),
        )?;
    }
    let asked = Notice::read()?.number("LastCallsAsked")?;
    report.figure("last calls asked", asked)?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    drop(listener);
    module.unload()
}

/// What was set aside is there until there is an answer, and not free while
/// the kernel kills.
pub(super) fn the_kernel_kills_nothing_with_the_reserve_free(report: &mut Report) -> Result<()> {
    let module = Module::load("grace_ms=300")?;
    let mut log = KernelLog::from_now()?;
    let listener = listener::start(Manner::Sleeps, &[])?;
    let mut bomb = Program::bomb()?;
    bomb.set_oom_score_adj(1000)?;
    bomb.go()?;
    bomb.ends_within(LIMIT)?;
    ensure!(
        Notice::read()?.number("LastCallsAsked")? == 1,
        "it was not asked"
    );
    let log = log.text()?;
    let zone = log
        .lines()
        .find(|line| line.starts_with("Node 0 DMA32 free:"));
    let zone = zone.context("the kernel's report has no DMA32")?;
    let kib = |key: &str| {
        let (_, rest) = zone.split_once(key)?;
        rest.split_once("kB")?.0.parse::<u64>().ok()
    };
    let (free, high) = (kib(" free:"), kib(" high:"));
    report.figure(
        "free when the kernel killed",
        format!("{free:?} KiB of {high:?}"),
    )?;
    ensure!(free.is_some() && free <= high, "{zone}");
    drop(listener);
    module.unload()
}

/// Where memory can be spared, not only where there is enough.
pub(super) fn the_reserve_is_filled_while_memory_is_low(_: &mut Report) -> Result<()> {
    let module = Module::load("warn_percent=100 reserve_kib=1024")?;
    module.set("reserve_kib", "4096")?;
    wait::until("the reserve grows", Duration::from_secs(20), || {
        Ok(Notice::read()?.number("ReserveBytes")? == 4 * MIB)
    })?;
    module.unload()
}

/// A process that answers after the call learns that it is late.
pub(super) fn a_late_answer_is_told_that_it_is_late(_: &mut Report) -> Result<()> {
    let module = Module::load("grace_ms=300")?;
    let mut listener = listener::start(Manner::Late, &[])?;
    let mut bomb = Program::bomb()?;
    bomb.set_oom_score_adj(1000)?;
    bomb.go()?;
    bomb.ends_within(LIMIT)?;
    listener.says("too late")?;
    ensure!(Notice::read()?.number("LastCallsAnswered")? == 0);
    drop(listener);
    module.unload()
}

/// One that has no victim says so, and the kernel goes on at once.
pub(super) fn no_is_an_answer(report: &mut Report) -> Result<()> {
    let module = Module::load("grace_ms=10000")?;
    let mut log = KernelLog::from_now()?;
    let kills = kernel_kills()?;
    let mut listener = listener::start(Manner::Declines, &[])?;
    let mut bomb = Program::bomb()?;
    bomb.set_oom_score_adj(1000)?;
    bomb.go()?;
    bomb.ends_within(LIMIT)?;
    ensure!(kernel_kills()? == kills + 1, "the kernel did not kill it");
    listener.has_to_live("the listener")?;
    log.comes_to_say("declined")?;
    log.comes_to_say(" back after ")?;
    let waited = backs(log.text()?);
    report.figure("the call is over", format!("after {waited:?} us"))?;
    ensure!(
        waited.iter().all(|&us| us < MOST_OF_TEN_SECONDS),
        "the grace was spent"
    );
    drop(listener);
    module.unload()
}

/// From a folder with a procfs of its own, which can be unmounted afterwards.
pub(super) fn no_procfs_is_pinned(_: &mut Report) -> Result<()> {
    const ROOT: &str = "/tmp/root";
    const PROC: &str = "/tmp/root/proc";
    std::fs::create_dir_all(PROC)?;
    std::fs::copy("/bin/busybox", "/tmp/root/busybox")?;
    std::fs::copy("/memory_info.ko", "/tmp/root/memory_info.ko")?;
    busybox(&["mount", "-t", "proc", "proc", PROC])?;
    let loaded = busybox(&["chroot", ROOT, "/busybox", "insmod", "/memory_info.ko"]);
    let unmounted = busybox(&["umount", PROC]);
    if loaded.is_ok() {
        Module::loaded().unload()?;
    }
    if unmounted.is_err() {
        busybox(&["umount", PROC])?;
    }
    std::fs::remove_dir_all(ROOT)?;
    loaded.and(unmounted)
}

/// Each change of level has its poll; the log has some of them.
pub(super) fn the_log_is_not_flooded(report: &mut Report) -> Result<()> {
    // What is taken and freed again is a sixth of memory, half of it below the level.
    let total = meminfo_bytes("MemTotal")?;
    let level = meminfo_bytes("MemAvailable")? * 100 / total - 8;
    let module = Module::load(&format!("warn_percent={level} sample_ms=10"))?;
    let mut log = KernelLog::from_now()?;
    let mut watch = Program::role(&["watch"])?;
    watch.says("watching")?;
    let mut churning = Program::role(&["churn", &(total / MIB / 6).to_string()])?;
    churning.says("churning")?;
    let began = Instant::now();
    for _ in 0..20 {
        watch.says("level 1")?;
        watch.says("level 0")?;
    }
    drop((churning, watch));
    let lines = log.text()?.matches(": available memory").count();
    report.figure("lines for forty changes", lines)?;
    // The module says ten in 5 s, and one when these are over: two times that, should
    // the changes begin in the middle.
    let spans = usize::try_from(began.elapsed().as_secs() / 5)? + 2;
    ensure!(lines <= 10 * spans, "{lines} lines");
    module.unload()
}

/// The listener is frozen and cannot answer, so suspending ends the call.
pub(super) fn suspend_does_not_wait_for_the_call(report: &mut Report) -> Result<()> {
    let module = Module::load("grace_ms=10000")?;
    let mut log = KernelLog::from_now()?;
    let listener = listener::start(Manner::Ignores, &[])?;
    let mut bomb = Program::bomb()?;
    bomb.set_oom_score_adj(1000)?;
    // To open anything in the call takes as long as the call.
    let notifier = File::open(module::PATH).context("cannot open the notifier")?;
    let state = OpenOptions::new().write(true).open("/sys/power/state")?;
    bomb.go()?;
    module::wait_for_last_call(&notifier)?;
    // There is no swap to hibernate to, which the kernel finds out at the end.
    let hibernated = (&state).write_all(b"disk");
    ensure!(hibernated.is_err(), "it hibernated to nowhere");
    let log = log.text()?;
    let frozen = log
        .lines()
        .find(|line| line.contains("Freezing user space processes completed"));
    let frozen = frozen.context("user space was not frozen")?;
    report.figure("the kernel says", frozen)?;
    let seconds = frozen
        .split_once("elapsed ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
    ensure!(seconds.is_some_and(|seconds| seconds < 5.0), "{frozen}");
    bomb.ends_within(LIMIT)?;
    drop((listener, notifier));
    module.unload()
}

/// Twenty-five times two bombs, and not one for the kernel.
pub(super) fn fifty_bombs_and_no_kernel_kill(report: &mut Report) -> Result<()> {
    fifty_bombs("", report)
}

/// The same where nothing was set aside.
pub(super) fn fifty_bombs_without_a_reserve(report: &mut Report) -> Result<()> {
    fifty_bombs("reserve_kib=0", report)
}

fn fifty_bombs(parameters: &str, report: &mut Report) -> Result<()> {
    let module = Module::load(parameters)?;
    let kills = kernel_kills()?;
    let mut longest = 0;
    for _ in 0..25 {
        let before = Notice::read()?.number("LastCallsAsked")?;
        let mut log = KernelLog::from_now()?;
        let mut bombs = [Program::bomb()?, Program::bomb()?];
        let [first, second] = &bombs;
        let listener = listener::start(Manner::Answers, &[first, second])?;
        for bomb in &mut bombs {
            bomb.go()?;
        }
        for bomb in &mut bombs {
            bomb.ends_within(LIMIT)?;
        }
        let calls = Notice::read()?.number("LastCallsAsked")? - before;
        longest = all_backs(&mut log, calls)?
            .into_iter()
            .fold(longest, u64::max);
        drop(listener);
    }
    let notice = Notice::read()?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    report.figure("last calls", notice.number("LastCalls")?)?;
    report.figure("of which asked", notice.number("LastCallsAsked")?)?;
    report.figure("memory back", format!("after {longest} us at most"))?;
    let held = notice.number("LongestHoldMicroseconds")?;
    report.figure("OOM lock held", format!("at most {held} us"))?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    module.unload()
}

/// Of a call, nearly all is a stall: the callback's sleep as well as what the
/// kernel does in between. There is one processor, on which nothing else runs.
pub(super) fn pressure_counts_the_wait(report: &mut Report) -> Result<()> {
    let module = Module::load("grace_ms=5000")?;
    let mut bomb = Program::bomb()?;
    bomb.set_oom_score_adj(1000)?;
    let listener = listener::start(Manner::Ignores, &[])?;
    let notifier = File::open(module::PATH).context("cannot open the notifier")?;
    let pressure = File::open("/proc/pressure/memory").context("cannot open the pressure")?;
    stalled(&pressure)?;
    bomb.go()?;
    module::wait_for_last_call(&notifier)?;
    let (began, before) = (Instant::now(), stalled(&pressure)?);
    module::wait_for_its_end(&notifier)?;
    let (took, stalled) = (began.elapsed(), stalled(&pressure)? - before);
    report.figure("stalled", format!("{stalled:?} of {took:?}"))?;
    ensure!(took > Duration::from_secs(3), "it was not waited for");
    ensure!(took.mul_f64(0.85) < stalled, "{stalled:?} of {took:?}");
    bomb.ends_within(LIMIT)?;
    drop((listener, notifier));
    module.unload()
}

/// For how long some task has stalled since boot. Read once, it takes no memory
/// when it is read again.
fn stalled(pressure: &File) -> Result<Duration> {
    let mut text = [0; 512];
    let len = rustix::io::pread(pressure, &mut text, 0)?;
    let text = str::from_utf8(&text[..len])?;
    let total = text
        .lines()
        .next()
        .and_then(|some| some.split_once("total="));
    let (_, micros) = total.context("the kernel does not say how long")?;
    Ok(Duration::from_micros(micros.parse()?))
}

/// Where the reserve is, memory cannot be taken away, and the kernel finds that
/// out by itself: a notifier that frees it on MEM_GOING_OFFLINE would come too late.
pub(super) fn memory_with_the_reserve_is_not_taken_away(report: &mut Report) -> Result<()> {
    files::write("/proc/dynamic_debug/control", "func offline_pages +p")?;
    let block = added_block()?;
    files::write(format!("{block}/state"), "online_kernel")?;
    let module = Module::load("reserve_kib=49152")?;
    let mut log = KernelLog::from_now()?;
    ensure!(
        files::write(format!("{block}/state"), "offline").is_err(),
        "it was taken away"
    );
    let log = log.text()?;
    let why = log.lines().find(|line| line.contains("memory offlining"));
    let why = why.context("the kernel does not say why not")?;
    report.figure("the kernel says", why)?;
    ensure!(why.contains("failure to isolate range"), "{why}");
    module.unload()
}

/// The block of memory that the machine has beside what it has booted with.
fn added_block() -> Result<String> {
    let at = "/sys/devices/system/memory";
    let size = u64::from_str_radix(text(format!("{at}/block_size_bytes"))?.trim(), 16)?;
    for entry in std::fs::read_dir(at)? {
        let block = entry?.path();
        let Ok(index) = text(block.join("phys_index")) else {
            continue;
        };
        if u64::from_str_radix(index.trim(), 16)? * size >= 4 << 30 {
            return Ok(block.display().to_string());
        }
    }
    anyhow::bail!("no memory was added")
}
