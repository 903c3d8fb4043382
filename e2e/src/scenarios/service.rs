//! The daemon as a service of systemd, which is the machine's init here.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::guest::daemon::knows_of;
use crate::guest::files::{
    MIB, available_bytes, held_mebibytes, kernel_kills, mebibytes_down_to, meminfo_bytes, text,
};
use crate::guest::module::{self, Module, Notice, wait_for_last_calls};
use crate::guest::program::output_of;
use crate::guest::replay::JOURNAL;
use crate::guest::swap::with_swap;
use crate::guest::{Report, say_on_console, wait};
use crate::scenarios::groups::set_up_podman;
use crate::scenarios::recipes::blocks;

/// On a machine that is emulated, and short of memory.
const LIMIT: Duration = Duration::from_secs(120);

pub(super) const SERVICE: &str = "user-oom.service";
/// What warns programs over D-Bus; it has the daemon started before it.
const WARNER: &str = "user-oom-low-memory-monitor.service";
/// What asks the daemon for relief when the machine stalls.
const MONITOR: &str = "user-oom-psi-monitor.service";
/// Who listens to what on the system bus.
const MATCH_RULES: [&str; 6] = [
    "dbus-send",
    "--system",
    "--print-reply",
    "--dest=org.freedesktop.DBus",
    "/org/freedesktop/DBus",
    "org.freedesktop.DBus.Debug.Stats.GetAllMatchRules",
];
/// What a hook starts.
const HOOKED: &str = "hooked.service";
pub(super) const REGISTRY: &str = "/tmp/user_processes";
/// As docs/journal.md has it.
const SIGNAL_SENT: &str = "MESSAGE_ID=cc827a10668f444c8faaf3d6042deb47";

/// A pipe with nothing in it: a helper ends when what it reads from does.
pub(super) const OPEN: &str = "/run/open";

/// What is shipped for a machine with the kernel module.
const LOADS_THE_MODULE: &str =
    include_str!("../../../dist/systemd/user-oom.service.d/memory_info.conf");

/// A program of ours that systemd runs in a unit of its own.
pub(super) struct Unit(&'static str);

impl Unit {
    /// Takes so much memory and holds it, in a service that `systemd-run` makes.
    pub(super) fn taking(name: &'static str, mebibytes: u64) -> Result<Self> {
        Self::role(name, &["hold", &mebibytes.to_string()])
    }

    fn role(name: &'static str, words: &[&str]) -> Result<Self> {
        Self::start(name, &[&["/init", "role"], words].concat())
    }

    pub(super) fn start(name: &'static str, command: &[&str]) -> Result<Self> {
        let input = format!("StandardInput=file:{OPEN}");
        let output = format!("StandardOutput=file:{}", Self(name).output());
        // Returns once it runs: until then, nothing of it is there to be looked at.
        let unit = [
            "systemd-run",
            "--quiet",
            "--service-type=exec",
            "--unit",
            name,
        ];
        let properties = ["--property", &input, "--property", &output, "--"];
        run(&[&unit[..], &properties, command].concat())?;
        Ok(Self(name))
    }

    /// The same, when it holds it.
    pub(super) fn holding(name: &'static str, mebibytes: u64) -> Result<Self> {
        let before = meminfo_bytes("MemAvailable")?;
        let unit = Self::taking(name, mebibytes)?;
        wait::until(&format!("{name} holds its memory"), LIMIT, || {
            let taken = before.saturating_sub(meminfo_bytes("MemAvailable")?);
            Ok(taken >= mebibytes * MIB * 9 / 10)
        })?;
        Ok(unit)
    }

    /// The file that it prints to.
    fn output(&self) -> String {
        format!("/run/{}.output", self.0)
    }

    /// Waits until it has printed this.
    pub(super) fn says(&self, words: &str) -> Result<()> {
        wait::until(&format!("{} says `{words}`", self.0), LIMIT, || {
            Ok(text(self.output())?.contains(words))
        })
    }

    pub(super) fn property(&self, name: &str) -> Result<String> {
        property(self.0, name)
    }

    fn is_active(&self) -> Result<bool> {
        Ok(self.property("ActiveState")? == "active")
    }

    pub(super) fn give_value(&self, value: u32) -> Result<()> {
        let pid = self.property("MainPID")?;
        let path = format!("{REGISTRY}/{pid}");
        fs::write(&path, format!("{value}\n")).with_context(|| format!("cannot write `{path}`"))
    }
}

/// It starts, says when it is ready, kills what it is there to kill, and stops.
/// Both jobs are root's, in units that `systemd-run` made: those are no services
/// of the machine, so the one without a value goes for the one with.
pub(super) fn the_shipped_unit_guards(report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    let _open = open_pipe()?;
    let outcome = (|| {
        let valuable = Unit::holding("valuable", 200)?;
        add_hook()?;
        run(&["systemctl", "start", SERVICE])?;
        ensure!(property(SERVICE, "ActiveState")? == "active");
        monitor_runs()?;
        valuable.give_value(50)?;
        knows_of(1)?;
        for (text, said) in [
            ("grace = \"7 s\"\n", "configuration reloaded"),
            ("grce = \"8 s\"\n", "configuration not reloaded"),
        ] {
            configure(text)?;
            run(&["systemctl", "reload", SERVICE])?;
            wait::until(said, LIMIT, || Ok(journal()?.contains(said)))?;
        }
        let hog = Unit::taking("hog", mebibytes_down_to(4)?)?;
        let hog_has = format!("\"USER_OOM_ID\":\"[{},", hog.property("MainPID")?);
        wait::until("one of them is gone", LIMIT, || {
            Ok(!hog.is_active()? || !valuable.is_active()?)
        })?;
        ensure!(valuable.is_active()?, "the valuable one is gone");
        wait::until("systemd's journal has the fields of its end", LIMIT, || {
            let told = output_of(&["journalctl", "--no-pager", "--output=json", SIGNAL_SENT])?;
            Ok(told.contains(&hog_has) && told.contains("\"USER_OOM_SIGNAL\":\"SIG"))
        })?;
        wait::until("the hook has started a service", LIMIT, || {
            Ok(property(HOOKED, "ActiveState")? == "active")
        })?;
        ensure!(property(SERVICE, "NRestarts")? == "0", "it was restarted");
        let memory: u64 = property(SERVICE, "MemoryCurrent")?.parse()?;
        let kept: u64 = property("system.slice", "MemoryMin")?.parse()?;
        let kept_of_it: u64 = property(SERVICE, "MemoryMin")?.parse()?;
        ensure!(
            0 < kept_of_it && kept_of_it <= kept,
            "the slice keeps {kept}"
        );
        report.figure("the service's memory", format!("{} KiB", memory / 1024))?;
        run(&["systemctl", "stop", SERVICE])?;
        ensure!(property(SERVICE, "Result")? == "success");
        // It decides about what it wrote down as it did then.
        let replayed = output_of(&["user-oom", "--replay", JOURNAL])?;
        ensure!(replayed.contains("low memory (warn)"), "{replayed}");
        Ok(())
    })();
    show_journal();
    outcome?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    Ok(())
}

/// Under its unit, for as long as that takes: it is to ask for nothing later.
fn monitor_runs() -> Result<()> {
    run(&["systemctl", "start", MONITOR])?;
    wait::until("the monitor says its threshold", LIMIT, || {
        Ok(journal_of_unit(MONITOR)?.contains("threshold, full avg10"))
    })?;
    ensure!(property(MONITOR, "ActiveState")? == "active");
    ensure!(property(MONITOR, "NRestarts")? == "0", "it was restarted");
    run(&["systemctl", "stop", MONITOR])?;
    ensure!(property(MONITOR, "Result")? == "success");
    Ok(())
}

/// A victim that ignores SIGTERM is pending while the daemon is restarted: the new one
/// finds memory low, chooses it again, and kills it when its own grace is over.
pub(super) fn restarted_while_a_victim_is_pending_it_kills_that_and_no_other(
    report: &mut Report,
) -> Result<()> {
    let kills = kernel_kills()?;
    let _open = open_pipe()?;
    let outcome = (|| {
        configure("grace = \"10 min\"\n")?;
        let valuable = Unit::holding("valuable", 200)?;
        run(&["systemctl", "start", SERVICE])?;
        let first = property(SERVICE, "MainPID")?;
        valuable.give_value(50)?;
        knows_of(1)?;
        // Between the warn threshold and the kill threshold.
        let hog = mebibytes_down_to(7)?;
        let script = format!("trap '' TERM; exec /init role hold {hog}");
        let hog = Unit::start("hog", &["sh", "-c", &script])?;
        let sent = |pid: &str, signal: &str| {
            let said = journal_of(pid)?;
            let line = |line: &str| line.contains("kill pid=") && line.contains(signal);
            Ok(said.lines().any(line))
        };
        wait::until("it is sent SIGTERM", LIMIT, || {
            sent(&first, "signal=SIGTERM")
        })?;
        configure("grace = \"3 s\"\n")?;
        run(&["systemctl", "restart", SERVICE])?;
        let second = property(SERVICE, "MainPID")?;
        ensure!(first != second, "it was not restarted");
        ensure!(!sent(&first, "signal=SIGKILL")?, "it was not pending");
        wait::until("it is gone", LIMIT, || Ok(!hog.is_active()?))?;
        ensure!(sent(&second, "signal=SIGKILL")?, "killed by another");
        ensure!(valuable.is_active()?, "the valuable one is gone");
        ensure!(property(SERVICE, "NRestarts")? == "0", "it failed");
        run(&["systemctl", "stop", SERVICE])?;
        ensure!(property(SERVICE, "Result")? == "success");
        Ok(())
    })();
    show_journal();
    outcome?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    Ok(())
}

/// The rule of `docs/recipes.md` gives a container of podman's a value by its label,
/// which the shipped unit asks podman for: of two, the one goes that has an entry of
/// less. What takes the memory is no process.
pub(super) fn a_label_gives_a_container_a_value(report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    // What runs them is nothing of the matter, and is not killed for it.
    let by_label = blocks("Docker, Podman", "toml")?[0];
    let rules = format!(
        "report = \"1 s\"\n\n{by_label}\n\
         [[rule]]\nmatch = {{ exe = '/usr/bin/{{podman,conmon}}' }}\nprotect = true\n"
    );
    configure(&rules)?;
    set_up_podman()?;
    run(&["mkdir", "-p", "/run/podman"])?;
    let outcome = (|| {
        let socket = "/run/podman/podman.sock";
        let api = format!("podman system service --time=0 unix://{socket}");
        run(&[
            "systemd-run",
            "--quiet",
            "--unit",
            "podman-api",
            "sh",
            "-c",
            &api,
        ])?;
        wait::until("podman listens", LIMIT, || Ok(Path::new(socket).exists()))?;
        run(&["systemctl", "start", SERVICE])?;
        let labelled = container("labelled", &["--label", "user-oom.value=30"])?;
        let began = Instant::now();
        wait::until("the rule has matched", LIMIT, || {
            let said = journal()?;
            let status = said.lines().rfind(|line| line.starts_with("memory "));
            Ok(status.is_some_and(|line| !line.contains("matched no process")))
        })?;
        let after = began.elapsed().as_millis();
        report.figure("the label is known", format!("after {after} ms"))?;
        let registered = container("registered", &[])?;
        let entry = format!("{REGISTRY}/{registered}");
        fs::write(&entry, "9\n").with_context(|| format!("cannot write `{entry}`"))?;
        knows_of(1)?;
        run(&["mkdir", "/full"])?;
        run(&["mount", "-t", "tmpfs", "-o", "size=95%", "tmpfs", "/full"])?;
        let mut full = File::create("/full/full").context("cannot fill it")?;
        let tenth = meminfo_bytes("MemTotal")? * 9 / 100;
        while available_bytes()? > tenth {
            let mebibyte = vec![1; usize::try_from(MIB)?];
            full.write_all(&mebibyte).context("cannot fill it")?;
        }
        wait::until("something is killed", LIMIT, || {
            Ok(journal()?.contains("kill pid="))
        })?;
        fs::remove_file("/full/full").context("cannot empty it")?;
        let said = journal()?;
        let killed = said.lines().filter(|line| line.contains("kill pid="));
        let killed: Vec<_> = killed.collect();
        let want = format!("kill pid={registered} ");
        ensure!(killed.iter().all(|line| line.contains(&want)), "{killed:?}");
        ensure!(
            Path::new(&format!("/proc/{labelled}")).exists(),
            "it is gone"
        );
        run(&["systemctl", "stop", SERVICE])?;
        // As the first process of its container it ignores the machine's SIGTERM.
        run(&["pkill", "--signal", "KILL", "--exact", "hold"])
    })();
    show_journal();
    outcome?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    Ok(())
}

/// A container of root's that holds its memory; the pid of its first process.
fn container(name: &str, words: &[&str]) -> Result<u32> {
    let start = [
        "podman",
        "run",
        "--detach",
        "--interactive",
        "--network=none",
        "--name",
        name,
    ];
    let what = ["--rootfs", "/image", "/init", "role", "hold", "200"];
    run(&[&start[..], words, &what].concat())?;
    let pid = output_of(&["podman", "inspect", "--format", "{{.State.Pid}}", name])?;
    let pid = (pid.parse()).with_context(|| format!("`{pid}` is no pid"))?;
    wait::until(&format!("{name} holds its memory"), LIMIT, || {
        Ok(held_mebibytes(pid)? >= 200)
    })?;
    Ok(pid)
}

/// What it has paused goes on when it is stopped: a unit of its own is frozen as a
/// cgroup, which the shipped unit lets it write to.
pub(super) fn stopped_while_a_unit_is_frozen_it_lets_it_go(report: &mut Report) -> Result<()> {
    let _open = open_pipe()?;
    let file = "/swap";
    fs::write(file, vec![0; usize::try_from(600 * MIB)?]).context("cannot make a swap file")?;
    with_swap(file, None, || {
        let outcome = (|| {
            run(&["systemctl", "start", SERVICE])?;
            let less = Unit::role("less", &["walk", "420"])?;
            let more = Unit::role("more", &["walk", "420"])?;
            less.give_value(2)?;
            more.give_value(9)?;
            let events = "/sys/fs/cgroup/system.slice/less.service/cgroup.events";
            let frozen = |wanted: &str| Ok(text(events)?.contains(wanted));
            wait::until("the lesser one is frozen", LIMIT, || frozen("frozen 1"))?;
            let stopped = Instant::now();
            run(&["systemctl", "stop", SERVICE])?;
            wait::until("it goes on", LIMIT, || frozen("frozen 0"))?;
            let after = stopped.elapsed().as_millis();
            report.figure("stopped, and thawed", format!("after {after} ms"))?;
            ensure!(property(SERVICE, "Result")? == "success");
            ensure!(less.is_active()? && more.is_active()?, "one is gone");
            run(&["systemctl", "stop", "less", "more"])
        })();
        show_journal();
        outcome
    })
}

/// The whole daemon stands still: systemd sees that, and starts another.
pub(super) fn a_hang_is_seen_by_systemd_and_mended(report: &mut Report) -> Result<()> {
    drop_in("[Service]\nWatchdogSec=10\n")?;
    let outcome = (|| {
        run(&["systemctl", "start", SERVICE])?;
        let first = property(SERVICE, "MainPID")?;
        let stopped = Instant::now();
        run(&[
            "systemctl",
            "kill",
            "--kill-who=main",
            "--signal=STOP",
            SERVICE,
        ])?;
        wait::until("systemd has started another", LIMIT, || {
            let pid = property(SERVICE, "MainPID")?;
            let state = property(SERVICE, "ActiveState")?;
            Ok(pid != first && pid != "0" && state == "active")
        })?;
        report.figure(
            "guarded again after",
            format!("{} s", stopped.elapsed().as_secs()),
        )?;
        ensure!(property(SERVICE, "NRestarts")? == "1");
        run(&["systemctl", "stop", SERVICE])
    })();
    show_journal();
    outcome
}

/// Under the shipped unit and its drop-in, the daemon has the module loaded, listens to
/// it, and sets its levels, which a reload changes. The last call is answered: memory is
/// locked and swap free, so the level is ok until the kernel is about to kill.
pub(super) fn under_the_shipped_unit_the_kernel_asks_before_it_kills(
    report: &mut Report,
) -> Result<()> {
    install_module()?;
    drop_in(LOADS_THE_MODULE)?;
    let _open = open_pipe()?;
    let file = "/swap";
    fs::write(file, vec![0; usize::try_from(400 * MIB)?]).context("cannot make a swap file")?;
    with_swap(file, None, || {
        let outcome = is_asked_and_answers(report);
        show_journal();
        outcome
    })
}

fn is_asked_and_answers(report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    let configure = |memory| {
        let text = format!("memory = \"{memory}\"\npressure = \"off\"\npause = \"off\"\n");
        configure(&text)
    };
    configure("12 %, 6 %")?;
    run(&["systemctl", "start", SERVICE])?;
    ensure!(module::is_loaded(), "the module is not loaded");
    let module = Module::loaded();
    let listener = Notice::read()?.value("ListenerPid")?.to_owned();
    ensure!(
        listener == property(SERVICE, "MainPID")?,
        "process {listener} listens"
    );
    let levels_are = |warn, kill| {
        Ok::<_, anyhow::Error>(
            module.parameter("warn_percent")? == warn && module.parameter("kill_percent")? == kill,
        )
    };
    ensure!(levels_are("12,10", "6,5")?, "its levels were not set");
    configure("14 %, 7 %")?;
    run(&["systemctl", "reload", SERVICE])?;
    wait::until("a reload changes its levels", LIMIT, || {
        levels_are("14,10", "7,5")
    })?;

    const GO: &str = "/run/go";
    let mut go = pipe(GO)?;
    let valuable = Unit::role("valuable", &["hold", "240", "locked"])?;
    valuable.says("holding")?;
    let script = format!("exec /init role bomb locked < {GO}");
    let bomb = Unit::start("bomb", &["sh", "-c", &script])?;
    bomb.says("ready")?;
    valuable.give_value(50)?;
    bomb.give_value(1)?;
    knows_of(2)?;
    go.write_all(b"\n").context("cannot let it go")?;
    wait::until("the bomb is gone", LIMIT, || Ok(!bomb.is_active()?))?;
    ensure!(valuable.is_active()?, "the valuable one is gone");
    wait_for_last_calls("LastCallsAnswered", 1)?;
    let answer_us = Notice::read()?.number("AnswerMicroseconds")?;
    report.figure("answer", format!("{answer_us} us"))?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    run(&["systemctl", "stop", "valuable", SERVICE])?;
    ensure!(property(SERVICE, "Result")? == "success");
    module.unload()
}

/// Where `make install` puts it, and modprobe finds it.
fn install_module() -> Result<()> {
    let release = text("/proc/sys/kernel/osrelease")?;
    let directory = format!("/lib/modules/{}/updates", release.trim());
    fs::create_dir_all(&directory)
        .and_then(|()| fs::copy("/memory_info.ko", format!("{directory}/memory_info.ko")))
        .context("cannot install the module")?;
    run(&["depmod"])
}

/// A program that uses GLib's GMemoryMonitor is warned over the system bus, and frees
/// what it can spare: without that, there would be too little for another.
pub(super) fn a_program_of_glib_shrinks_and_nothing_is_killed(report: &mut Report) -> Result<()> {
    let kills = kernel_kills()?;
    let _open = open_pipe()?;
    let outcome = (|| {
        // Before the daemon sees memory fall.
        let shrinks = Unit::start("shrinks", &["/usr/bin/shrinks"])?;
        shrinks.says("holding")?;
        run(&["systemctl", "start", WARNER])?;
        let listens = "interface='org.freedesktop.LowMemoryMonitor'";
        wait::until("it listens on the bus", LIMIT, || {
            Ok(output_of(&MATCH_RULES)?.contains(listens))
        })?;
        let said = text(shrinks.output())?;
        ensure!(!said.contains("freed"), "it was warned too early: {said}");
        // It would be 100 MiB below the warn threshold in the end.
        let most = (mebibytes_down_to(10)? + 100).to_string();
        let other = Unit::role("other", &["creep", "20", &most])?;
        other.says("holding")?;
        let said = text(shrinks.output())?;
        report.figure("the program", said.trim().replace('\n', ", "))?;
        ensure!(said.contains("freed at level "), "it was not warned");
        for unit in [&shrinks, &other] {
            ensure!(unit.is_active()?, "{} is gone", unit.0);
        }
        ensure!(!journal()?.contains("kill pid="), "something was killed");
        let available = meminfo_bytes("MemAvailable")? / MIB;
        report.figure("available in the end", format!("{available} MiB"))?;
        run(&["systemctl", "stop", WARNER, SERVICE])
    })();
    show_journal();
    outcome?;
    report.figure("kernel kills", kernel_kills()? - kills)?;
    ensure!(kernel_kills()? == kills, "the kernel killed");
    Ok(())
}

/// Makes it; it stays open until what is returned is dropped.
pub(super) fn open_pipe() -> Result<File> {
    pipe(OPEN)
}

fn pipe(path: &str) -> Result<File> {
    run(&["mkfifo", path])?;
    (File::options().read(true).write(true).open(path)).context("cannot open a pipe")
}

/// A hook that starts a service, as an administrator's may.
fn add_hook() -> Result<()> {
    let hook = "/usr/local/bin/after-kill";
    fs::write(hook, format!("#!/bin/sh\nexec systemctl start {HOOKED}\n"))
        .and_then(|()| fs::set_permissions(hook, fs::Permissions::from_mode(0o755)))
        .context("cannot make a hook")?;
    fs::write(
        format!("/etc/systemd/system/{HOOKED}"),
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
    )
    .context("cannot make a service")?;
    drop_in(&format!(
        "[Service]\nExecStart=\nExecStart=/usr/local/bin/user-oom --force --after {hook}\n"
    ))
}

pub(super) fn configure(text: &str) -> Result<()> {
    fs::create_dir_all("/etc/user-oom")
        .and_then(|()| fs::write("/etc/user-oom/config.toml", text))
        .context("cannot configure it")
}

pub(super) fn drop_in(text: &str) -> Result<()> {
    let directory = format!("/etc/systemd/system/{SERVICE}.d");
    fs::create_dir_all(&directory).context("cannot make a drop-in")?;
    fs::write(format!("{directory}/e2e.conf"), text).context("cannot make a drop-in")?;
    run(&["systemctl", "daemon-reload"])
}

pub(super) fn property(unit: &str, name: &str) -> Result<String> {
    output_of(&["systemctl", "show", "--value", "--property", name, unit])
}

pub(super) fn run(words: &[&str]) -> Result<()> {
    output_of(words).map(|_| ())
}

/// What the daemon has said.
pub(super) fn journal() -> Result<String> {
    journal_of_unit(SERVICE)
}

fn journal_of_unit(unit: &str) -> Result<String> {
    output_of(&["journalctl", "--no-pager", "--output=cat", "--unit", unit])
}

/// What one daemon among several has said.
fn journal_of(pid: &str) -> Result<String> {
    let process = format!("_PID={pid}");
    output_of(&["journalctl", "--no-pager", "--output=cat", &process])
}

/// It belongs on the console, which the host keeps.
pub(super) fn show_journal() {
    let said = journal().unwrap_or_else(|err| format!("{err:#}"));
    say_on_console(&said);
}
