//! The module's file and its parameters, with memory to spare.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::event::{Timespec, poll};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::guest::files::{self, KernelLog, MIB, exists, meminfo_bytes, takable_bytes};
use crate::guest::module::{self, Module, Notice, open_to_listen, refuses};
use crate::guest::program::{Program, busybox};
use crate::guest::swap::with_swap;
use crate::guest::{Report, listener, wait};

const SOON: Duration = Duration::from_secs(30);

/// Its numbers are those of `/proc/meminfo`, and so is what it logs.
pub(super) fn the_module_says_what_meminfo_says(_: &mut Report) -> Result<()> {
    let mut log = KernelLog::from_now()?;
    let module = Module::load("report_ms=100")?;
    for what in [
        "available memory",
        "free swap 0.00 % of 0 MiB",
        "warn at 10 %, 10 %",
        "reserve",
    ] {
        ensure!(log.says(what)?, "the log at insertion lacks `{what}`");
    }

    let notice = Notice::read()?;
    ensure!(
        notice.level()? == 0,
        "the level of a machine at rest is {}",
        notice.level()?
    );
    ensure!(notice.number("MemTotalBytes")? == meminfo_bytes("MemTotal")?);
    ensure!(notice.number("HugetlbBytes")? == meminfo_bytes("Hugetlb")?);
    ensure!(notice.number("SwapTotalBytes")? == 0);
    let ours = notice.number("MemAvailableBytes")?;
    let theirs = meminfo_bytes("MemAvailable")?;
    ensure!(
        ours.abs_diff(theirs) < 4 * MIB,
        "available: {ours} and {theirs}"
    );
    let percent: f64 = notice.value("MemAvailablePercent")?.parse()?;
    ensure!((50.0..100.0).contains(&percent), "available: {percent} %");
    ensure!(
        notice.number("ReserveBytes")? == 10 * MIB,
        "the reserve of two CPUs"
    );

    let line = "memory_info: ok: available memory";
    wait::until("it reports every 100 ms", SOON, || log.says(line))?;
    module.unload()?;
    ensure!(log.says("memory_info: unloaded")?);
    Ok(())
}

/// At load as while it runs.
pub(super) fn nonsense_is_refused(_: &mut Report) -> Result<()> {
    for parameters in [
        "sample_ms=0",
        "grace_ms=3600000",
        "warn_percent=101",
        "warn_percent=3",
        "kill_percent=5,11",
        "warn_percent=a,b",
        "warn_percent=4294967301,4294967301",
        "reserve_kib=1000000",
    ] {
        ensure!(
            Module::load(parameters).is_err(),
            "it was loaded with `{parameters}`"
        );
    }

    let module = Module::load("warn_percent=4 kill_percent=2,3")?;
    refuses(&module, "kill_percent", "5")?;
    refuses(&module, "kill_percent", "2,3,4")?;
    refuses(&module, "kill_percent", "2,")?;
    refuses(&module, "kill_percent", "-1")?;
    refuses(&module, "warn_percent", "x")?;
    refuses(&module, "warn_percent", "4294967301,4294967301")?;
    refuses(&module, "sample_ms", "9")?;
    refuses(&module, "report_ms", "x")?;
    refuses(&module, "reserve_kib", "1000000")?;
    refuses(&module, "grace_ms", "10001")?;
    ensure!(module.parameter("kill_percent")? == "2,3");
    ensure!(module.parameter("warn_percent")? == "4,4");

    module.set("kill_percent", "0")?;
    module.set("warn_percent", "25,50")?;
    module.set("kill_percent", "20,40")?;
    ensure!(module.parameter("kill_percent")? == "20,40");
    module.set("reserve_kib", "1024")?;
    wait::until("the reserve shrinks", SOON, || {
        Ok(Notice::read()?.number("ReserveBytes")? == MIB)
    })?;
    module.set("reserve_kib", "4096")?;
    wait::until("the reserve grows", SOON, || {
        Ok(Notice::read()?.number("ReserveBytes")? == 4 * MIB)
    })?;
    module.unload()
}

/// And only root, and only a program that names the call it answers.
pub(super) fn only_one_may_listen(_: &mut Report) -> Result<()> {
    let module = Module::load("")?;
    let listener = open_to_listen()?;
    let second = open_to_listen().map(drop).map_err(|err| err.raw_os_error());
    ensure!(
        second == Err(Some(Errno::BUSY.raw_os_error())),
        "a second one: {second:?}"
    );
    ensure!(
        exists(module::PATH) && Notice::read().is_ok(),
        "readers are welcome"
    );

    let answer = |text: &[u8]| rustix::io::write(&listener, text).map(drop);
    ensure!(answer(b"0\n") == Err(Errno::STALE));
    ensure!(answer(b"1\n") == Err(Errno::STALE), "there was no call yet");
    ensure!(answer(b"") == Err(Errno::INVAL));
    ensure!(answer(b"yes\n") == Err(Errno::INVAL));
    ensure!(answer(b"-1\n") == Err(Errno::INVAL));
    ensure!(answer(b"1 maybe\n") == Err(Errno::INVAL));
    ensure!(answer(b"18446744073709551616 claim\n") == Err(Errno::INVAL));
    ensure!(answer(&[b'1'; 4096]) == Err(Errno::INVAL));
    ensure!(
        answer(b"1 claim\n") == Err(Errno::STALE),
        "there was no call yet"
    );
    ensure!(
        answer(b"1 none\n") == Err(Errno::STALE),
        "there was no call yet"
    );
    ensure!(Notice::read()?.number("ListenerPid")? == u64::from(std::process::id()));

    ensure!(
        module::try_unload() == Err(Errno::AGAIN),
        "it was unloaded while somebody listens"
    );
    drop(listener);
    ensure!(!as_nobody("cat")?, "root alone may read");
    ensure!(!as_nobody("tee")?, "root alone may write");
    module.unload()
}

/// Nor read: the root of a container that has no user namespace has the same uid, and
/// would keep the module loaded.
pub(super) fn root_without_the_capability_may_not_listen(_: &mut Report) -> Result<()> {
    let module = Module::load("")?;
    // Capabilities belong to a thread: the other ones keep theirs.
    let opened = std::thread::spawn(|| {
        let mut ours = capabilities(None)?;
        ours.effective.remove(CapabilitySet::SYS_RESOURCE);
        set_capabilities(None, ours)?;
        let opened = [File::open(module::PATH), open_to_listen()];
        anyhow::Ok(opened.map(|opened| opened.map(drop).map_err(|err| err.raw_os_error())))
    });
    let opened = opened
        .join()
        .map_err(|_| anyhow!("the thread that opens has panicked"))??;
    let refused = Err(Some(Errno::PERM.raw_os_error()));
    ensure!(
        opened == [refused; 2],
        "opened without CAP_SYS_RESOURCE, to read and to listen: {opened:?}"
    );
    drop(open_to_listen()?);
    module.unload()
}

/// Any user's open descriptor would keep the module for ever.
pub(super) fn others_do_not_keep_the_module(_: &mut Report) -> Result<()> {
    const HOLD: &str = "exec < /proc/oom_notifier; echo opened; exec sleep 1000";
    let module = Module::load("")?;
    let mut shell = Command::new("/bin/busybox");
    let shell = shell.args(["sh", "-c", HOLD]).uid(65534).gid(65534);
    let mut holding = Program::start(shell)?;
    let opened = holding.says("opened");
    let unloaded = module::try_unload();
    drop(holding);
    if unloaded.is_err() {
        module.unload()?;
    } else {
        std::mem::forget(module);
    }
    ensure!(opened.is_err(), "others may open it");
    ensure!(unloaded.is_ok(), "others keep it loaded: {unloaded:?}");
    Ok(())
}

/// Whether a busybox applet can use the file as the user `nobody`.
fn as_nobody(applet: &str) -> Result<bool> {
    Ok(Command::new("/bin/busybox")
        .args([applet, module::PATH])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .uid(65534)
        .gid(65534)
        .status()?
        .success())
}

/// A process that polls sees memory go, and come back.
pub(super) fn a_change_of_level_wakes_poll(_: &mut Report) -> Result<()> {
    let module = Module::load("warn_percent=60 kill_percent=40 sample_ms=50")?;
    let mut watch = Program::role(&["watch"])?;
    watch.says("watching")?;
    let mut log = KernelLog::from_now()?;
    let total = meminfo_bytes("MemTotal")? / MIB;
    let spare = |percent| anyhow::Ok(meminfo_bytes("MemAvailable")? / MIB - total * percent / 100);

    let first = Program::holding(spare(50)?)?;
    watch.says("level 1")?;
    let second = Program::holding(spare(30)?)?;
    watch.says("level 2")?;
    drop((first, second));
    watch.says("level 0")?;
    for line in [
        "memory_info: warn:",
        "memory_info: kill:",
        "memory_info: ok:",
    ] {
        ensure!(log.says(line)?, "the log lacks `{line}`");
    }
    drop(watch);
    module.unload()
}

/// Both CPUs allocate, a reader reads, a listener comes and goes.
pub(super) fn loads_and_unloads_a_hundred_times_under_load(_: &mut Report) -> Result<()> {
    let _churning = [
        Program::role(&["churn", "60"])?,
        Program::role(&["churn", "60"])?,
    ];
    let mut log = KernelLog::from_now()?;
    let before = meminfo_bytes("Slab")?;
    for round in 0..100 {
        let module = Module::load("sample_ms=10 report_ms=10")?;
        let notice = Notice::read()?;
        ensure!(notice.number("MemTotalBytes")? > 0);
        if round % 10 == 0 {
            drop(listener::start(listener::Manner::Ignores, &[])?);
        }
        module.unload()?;
    }
    let after = meminfo_bytes("Slab")?;
    ensure!(
        after < before + 16 * MIB,
        "slab grew from {before} to {after} bytes"
    );
    for trouble in ["BUG:", "WARNING:", "Call Trace", "refcount"] {
        ensure!(!log.says(trouble)?, "the kernel's log has `{trouble}`");
    }
    Ok(())
}

/// Memory alone does not make a level where swap is free.
pub(super) fn the_level_counts_swap(_: &mut Report) -> Result<()> {
    with_swap("/dev/vda", None, the_level_follows_both)
}

fn the_level_follows_both() -> Result<()> {
    let module = Module::load("warn_percent=100,90 kill_percent=100,20 sample_ms=50")?;
    let notice = Notice::read()?;
    ensure!(notice.number("SwapTotalBytes")? == meminfo_bytes("SwapTotal")?);
    ensure!(notice.number("SwapFreeBytes")? == meminfo_bytes("SwapFree")?);
    ensure!(
        notice.value("SwapFreePercent")? == "100.00",
        "{}",
        notice.text()
    );
    ensure!(notice.level()? == 0, "swap is free: {}", notice.text());

    let spare = takable_bytes()? + meminfo_bytes("SwapTotal")? / 5;
    let holding = Program::holding(spare / MIB)?;
    wait::until("swap fills to the warn level", SOON, || {
        Ok(Notice::read()?.level()? == 1)
    })?;
    drop(holding);
    module.unload()
}

/// As where its worker finds no `/proc`. Then the swap that is free counts all the
/// same, and the first that opens the file has it try again.
pub(super) fn what_it_cannot_read_it_does_not_say(_: &mut Report) -> Result<()> {
    with_swap("/dev/vda", None, reads_no_meminfo)
}

fn reads_no_meminfo() -> Result<()> {
    const MEMINFO: &str = "/proc/meminfo";
    const HUGE_PAGES: &str = "/proc/sys/vm/nr_hugepages";
    let swap = meminfo_bytes("SwapTotal")?;
    let load = || {
        let module = Module::load("warn_percent=100,90 kill_percent=0")?;
        anyhow::Ok((module, Notice::read()?))
    };
    busybox(&["mount", "-o", "bind", "/dev/null", MEMINFO])?;
    let loaded = load();
    busybox(&["umount", MEMINFO])?;
    let (module, blind) = loaded?;
    for key in [
        "HugetlbBytes",
        "MemAvailablePercent",
        "SwapTotalBytes",
        "SwapFreePercent",
    ] {
        ensure!(blind.value(key).is_err(), "{key}: {}", blind.text());
    }
    ensure!(blind.number("SwapFreeBytes")? == swap, "{}", blind.text());
    ensure!(blind.level()? == 0, "swap is free: {}", blind.text());

    let seeing = Notice::read()?;
    ensure!(
        seeing.number("SwapTotalBytes")? == swap,
        "{}",
        seeing.text()
    );
    files::write(HUGE_PAGES, "2")?;
    let (ours, theirs) = (Notice::read()?, meminfo_bytes("Hugetlb")?);
    files::write(HUGE_PAGES, "0")?;
    ensure!(theirs > 0, "there are no huge pages");
    ensure!(ours.number("HugetlbBytes")? == theirs, "{}", ours.text());
    module.unload()
}

/// With no reader it does not look at memory at all, and with one a processor
/// that is idle is not woken for it. The kernel's own tracing sees both.
pub(super) fn an_idle_machine_is_left_alone(report: &mut Report) -> Result<()> {
    const TRACING: &str = "/sys/kernel/tracing";
    busybox(&["mount", "-t", "tracefs", "tracefs", TRACING])?;
    let outcome = leaves_alone(TRACING, report);
    busybox(&["umount", TRACING])?;
    outcome
}

fn leaves_alone(tracing: &str, report: &mut Report) -> Result<()> {
    const SAMPLES: &str = "function sample [memory_info]";
    // Of all timers, its own is known by this.
    const PERIOD: &str = "sample_ms=777";
    const PERIODS: [&str; 3] = ["[timeout=78]", "[timeout=195]", "[timeout=777]"];
    let trace = format!("{tracing}/trace");
    let module = Module::load(PERIOD)?;
    for event in ["workqueue/workqueue_execute_start", "timer/timer_start"] {
        files::write(format!("{tracing}/events/{event}/enable"), "1")?;
    }
    // What loading has begun is over by then.
    pass(2)?;
    files::write(&trace, "")?;
    pass(4)?;
    let unread = files::text(&trace)?.matches(SAMPLES).count();
    report.figure("looks in 4 s without a reader", unread)?;
    let reader = File::open(module::PATH)?;
    let mut own = String::new();
    wait::until("it looks for a reader", SOON, || {
        let text = files::text(&trace)?;
        let line = text
            .lines()
            .find(|line| PERIODS.iter().any(|period| line.contains(period)));
        own = line.unwrap_or_default().to_owned();
        Ok(line.is_some() && text.matches(SAMPLES).count() >= 2)
    })?;
    drop(reader);
    for event in ["workqueue/workqueue_execute_start", "timer/timer_start"] {
        files::write(format!("{tracing}/events/{event}/enable"), "0")?;
    }
    module.unload()?;
    report.figure("its timer", own.trim())?;
    ensure!(unread == 0, "it looked {unread} times");
    let (_, flags) = own.split_once("flags=").context("a timer has no flags")?;
    ensure!(
        flags.split(['|', ' ']).any(|flag| flag == "D"),
        "it is not deferrable"
    );
    Ok(())
}

/// Lets seconds pass: that something does not happen is no state to wait for.
fn pass(seconds: u64) -> Result<()> {
    let time = Timespec::try_from(Duration::from_secs(seconds))?;
    poll(&mut [], Some(&time)).context("cannot wait")?;
    Ok(())
}

/// There is little memory in a kernel that saves the crash of another.
pub(super) fn a_crash_kernel_does_not_load_it(_: &mut Report) -> Result<()> {
    let Err(err) = module::insert("/memory_info.ko".as_ref(), "") else {
        Module::loaded().unload()?;
        bail!("it was loaded");
    };
    ensure!(
        err.downcast_ref::<Errno>() == Some(&Errno::NODEV),
        "{err:#}"
    );
    Ok(())
}
