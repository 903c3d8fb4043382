//! The built daemon, started when things are not as they should be.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Daemon, Stage};

/// At or below 10 % (400 MiB of 4000) it warns, and 12 % (480) is enough again.
const SHORT: u64 = 350;
const PLENTY: u64 = 2000;

/// The daemon on `stage`, yet to be started.
fn command(stage: &Stage, arguments: &[&str]) -> Command {
    stage.command(Path::new(env!("CARGO_BIN_EXE_user-oom")), arguments)
}

/// `command`, run by `program` with `arguments` before it.
fn by(program: &str, arguments: &[&str], command: &Command) -> Command {
    let mut by = Command::new(program);
    by.args(arguments)
        .arg(command.get_program())
        .args(command.get_args())
        .env_remove("RUST_LOG");
    by
}

/// What is printed where [`mounted`] is `None`.
const NO_MOUNTS: &str = "skipped: only root can make mounts of its own (util-linux's unshare)";

/// `command` where `from` stands in the place of `to`; `None` where we may not.
fn mounted(from: &Path, to: &Path, command: &Command) -> Option<Command> {
    let script = r#"mount --bind "$1" "$2" && shift 2 && exec "$@""#;
    let [from, to] = [from, to].map(|path| path.to_str().expect("plain"));
    in_own_mounts(&["sh", "-c", script, "sh", from, to], command)
}

/// `command`, run by the words of `script` with mounts of its own; `None` where
/// we may not.
fn in_own_mounts(script: &[&str], command: &Command) -> Option<Command> {
    let tried = Command::new("unshare").args(["-m", "true"]).status();
    if !tried.is_ok_and(|status| status.success()) {
        return None;
    }
    let arguments = [&["-m"], script].concat();
    Some(by("unshare", &arguments, command))
}

#[test]
fn started_while_memory_is_short_it_knows_the_values_before_it_chooses() {
    let stage = Stage::new();
    let [mut fifty, mut five] = [50, 5].map(|value| stage.process(value));
    // More files than one look at the registry takes in.
    for pid in 5_000_000..5_002_000 {
        fs::write(stage.entry(pid), "1\n").expect("the folder is ours");
    }
    stage.set_available(SHORT);
    let mut daemon = stage.daemon(&["--grace", "1"]);
    daemon.line_with(&format!(
        "kill pid={} signal=SIGTERM name=test_proc1",
        five.pid()
    ));
    let heard = daemon.heard();
    assert!(
        !heard.iter().any(|line| line.contains("no kill: ")),
        "it chose before it had read the registry: {heard:#?}"
    );
    stage.set_available(PLENTY);
    daemon.line_with("freed");
    assert_eq!(five.killed_by(), Some(Signal::SIGKILL as i32));
    assert!(fifty.lives());
}

#[test]
fn what_stands_still_is_not_said_to_grow_at_the_first_decision() {
    let stage = Stage::new();
    let _processes = [50, 5].map(|value| stage.process(value));
    stage.set_available(SHORT);
    let mut daemon = stage.daemon(&["--dryrun", "--horizon", "5"]);
    // 480 MiB are enough again, and 350 are there.
    daemon.line_with("; need 130 MiB");
    for _ in 0..2 {
        let row = daemon.line_with(" test_proc1 ");
        assert!(!row.contains("while it grows"), "{row}");
    }
}

/// That it guards by the levels: of two it chooses the one worth less.
#[track_caller]
fn check_guards(stage: &Stage, daemon: &mut Daemon) {
    let [mut nine, mut one] = [9, 1].map(|value| stage.process(value));
    for process in [&nine, &one] {
        daemon.line_with(&format!("process {} is registered", process.pid()));
    }
    stage.set_available(SHORT);
    daemon.line_with(&format!(
        "kill pid={} signal=SIGTERM name=test_proc1",
        one.pid()
    ));
    stage.set_available(PLENTY);
    daemon.line_with("freed");
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
    assert!(nine.lives());
}

#[test]
fn where_pressure_is_masked_it_says_so_and_guards_the_levels() {
    let pressure = Path::new("/proc/pressure/memory");
    if !pressure.exists() {
        println!(
            "skipped, runs since kernel 4.20 with psi=1: no {}",
            pressure.display()
        );
        return;
    }
    let stage = Stage::new();
    // One that takes any trigger and never fires, and one that looks right and
    // cannot be waited for.
    let plausible = stage.path("plausible");
    let text = fs::read_to_string(pressure).expect("it is there");
    fs::write(&plausible, text).expect("the folder is ours");
    for (mask, want) in [
        (PathBuf::from("/dev/null"), "cannot make sense of"),
        (plausible, "cannot be waited for"),
    ] {
        stage.set_available(PLENTY);
        let ours = command(&stage, &["--grace", "0.1"]);
        let kernels = without_option(&ours, "--pressure-file");
        let Some(mut masked) = mounted(&mask, pressure, &kernels) else {
            println!("{NO_MOUNTS}");
            return;
        };
        let mut daemon = Daemon::start(&mut masked);
        let said = daemon.line_with("relief by pressure is off");
        assert!(said.contains(want), "{said}");
        check_guards(&stage, &mut daemon);
    }
}

#[test]
fn no_machine_is_believed_to_have_more_memory_than_the_kernel_knows_of() {
    let stage = Stage::new();
    let kernels = fs::read_to_string("/proc/meminfo").expect("procfs");
    let (first, rest) = kernels.split_once('\n').expect("lines");
    let word = first.split_whitespace().nth(1).expect("a total");
    let total_kib: u64 = word.parse().expect("a number");
    let ours = without_option(&command(&stage, &["--dryrun"]), "--meminfo");
    let more = format!("MemTotal: {} kB\n{rest}", total_kib * 1000);
    // In a container there is less than the machine has, and that is right.
    let less: String = kernels.lines().map(halved).collect();
    for (text, said_kib, want_kib) in [
        (more, total_kib * 1000, total_kib),
        (less, total_kib / 2, total_kib / 2),
    ] {
        let file = stage.path("meminfo");
        fs::write(&file, text).expect("ours");
        let Some(mut mounted) = mounted(&file, Path::new("/proc/meminfo"), &ours) else {
            println!("{NO_MOUNTS}");
            return;
        };
        let mut daemon = Daemon::start(&mut mounted);
        daemon.line_with(&format!("of {} MiB available", want_kib >> 10));
        if said_kib != want_kib {
            daemon.says(&format!("MemTotal cannot be {said_kib} kB"));
        }
        let (status, heard) = daemon.end_by(Signal::SIGTERM);
        assert!(status.success(), "{status}, {heard:#?}");
        let said = heard.iter().filter(|line| line.contains("MemTotal cannot"));
        assert_eq!(
            said.count(),
            usize::from(said_kib != want_kib),
            "{heard:#?}"
        );
        assert!(
            !heard.iter().any(|line| line.contains("low memory")),
            "{heard:#?}"
        );
    }
}

#[test]
fn of_a_containers_memory_neither_the_machines_huge_pages_nor_its_free_lists_are_part() {
    let stage = Stage::new();
    // As lxcfs has it: of the container's 1000 MiB, some are said to be huge pages that
    // are the machine's.
    let meminfo = |available_mib: u64| {
        let lines = [
            ("MemTotal", 1000),
            ("MemFree", available_mib / 2),
            ("MemAvailable", available_mib),
            ("Cached", available_mib),
            ("AnonPages", 100),
            ("Hugetlb", 400),
            ("KReclaimable", 9000),
        ];
        let line = |(key, mib): (&str, u64)| format!("{key}: {} kB\n", mib << 10);
        lines.map(line).concat()
    };
    // All of the machine's, and more than the container lacks.
    let zoneinfo = stage.path("zoneinfo");
    let lists = "Node 0, zone Normal\n managed 524288\n cpu: 0\n count: 51200\n";
    fs::write(&zoneinfo, lists).expect("ours");
    let ours = without_option(&command(&stage, &["--dryrun"]), "--meminfo");
    for (available_mib, want) in [
        (800, "memory 800 of 1000 MiB available"),
        (80, "low memory (warn): memory 80 of 1000 MiB"),
    ] {
        let file = stage.path("meminfo");
        fs::write(&file, meminfo(available_mib)).expect("ours");
        let mounts = mounted(&zoneinfo, Path::new("/proc/zoneinfo"), &ours)
            .and_then(|command| mounted(&file, Path::new("/proc/meminfo"), &command));
        let Some(mut mounted) = mounts else {
            println!("{NO_MOUNTS}");
            return;
        };
        let mut daemon = Daemon::start(&mut mounted);
        daemon.line_with(want);
        daemon.says("guarding the memory of this container");
        let (status, heard) = daemon.end_by(Signal::SIGTERM);
        assert!(status.success(), "{status}, {heard:#?}");
        assert!(
            !heard.iter().any(|line| line.contains("cannot be")),
            "{heard:#?}"
        );
    }
}

/// A line of meminfo of a machine half as large, of which as much is in use.
fn halved(line: &str) -> String {
    let half = |word: &str| {
        word.parse()
            .map_or(word.to_owned(), |kib: u64| (kib / 2).to_string())
    };
    let words: Vec<_> = line.split_whitespace().map(half).collect();
    format!("{}\n", words.join(" "))
}

/// `command` without `option` and its value.
fn without_option(command: &Command, option: &str) -> Command {
    let arguments: Vec<_> = command.get_args().collect();
    let at = arguments.iter().position(|argument| *argument == option);
    let at = at.expect("it is one of them");
    let mut without = Command::new(command.get_program());
    without.args(&arguments[..at]).args(&arguments[at + 2..]);
    without
}

#[test]
fn a_process_whose_files_make_no_sense_is_left_out_and_the_others_are_guarded() {
    let stage = Stage::new();
    let odd = stage.process(0);
    let text = fs::read_to_string(format!("/proc/{}/status", odd.pid())).expect("it runs");
    let without_user: String = text
        .lines()
        .filter(|line| !line.starts_with("Uid:"))
        .map(|line| format!("{line}\n"))
        .collect();
    let status = stage.path("status");
    let garbage = stage.path("garbage");
    fs::write(&status, without_user).expect("the folder is ours");
    fs::write(&garbage, "?\n").expect("the folder is ours");
    for (file, from) in [
        ("status", &status),
        ("status", &garbage),
        ("stat", &garbage),
        ("statm", &garbage),
        ("oom_score_adj", &garbage),
    ] {
        stage.set_available(PLENTY);
        let to = PathBuf::from(format!("/proc/{}/{file}", odd.pid()));
        let ours = command(&stage, &["--grace", "0.1"]);
        let Some(mut mounted) = mounted(from, &to, &ours) else {
            println!("{NO_MOUNTS}");
            return;
        };
        let mut daemon = Daemon::start(&mut mounted);
        let said = daemon.line_with("trying again");
        assert!(said.contains(to.to_str().expect("plain")), "{said}");
        check_guards(&stage, &mut daemon);
        let again = daemon
            .heard()
            .iter()
            .filter(|line| line.contains("trying again"));
        assert_eq!(again.count(), 1, "it is said once");
    }
}

#[test]
fn where_neither_threads_nor_children_can_be_started_it_guards_all_the_same() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can run it as a user that runs nothing else");
        return;
    }
    const USER: u32 = 61_734;
    let stage = Stage::new();
    let program = stage.path("user-oom");
    let copied = Command::new("cp")
        .args([Path::new(env!("CARGO_BIN_EXE_user-oom")), &program])
        .status();
    assert!(copied.expect("coreutils").success());
    let place = stage.path("place");
    fs::create_dir(&place).expect("the folder is ours");
    chown(&place, Some(USER), None).expect("we are root");
    let registry = place.join("registry");
    let mut ours = stage.command(&program, &["--grace", "0.1", "--registry"]);
    ours.arg(&registry)
        .arg("--socket")
        .arg(place.join("socket"));
    let user = USER.to_string();
    let arguments = ["--nproc=1", "setpriv", "--reuid", &user, "--clear-groups"];
    let mut daemon = Daemon::start(&mut by("prlimit", &arguments, &ours));
    for lacking in [
        "no further output",
        "memory is freed only as fast",
        "session-critical programs and shared memory are not",
        "cannot start a child",
    ] {
        daemon.line_with(lacking);
    }

    let mut process = stage.process_of(1, Some(USER));
    let entry = registry.join(process.pid().to_string());
    fs::write(&entry, "1\n").expect("we are root");
    chown(&entry, Some(USER), None).expect("we are root");
    stage.set_available(SHORT);
    assert_eq!(process.killed_by(), Some(Signal::SIGKILL as i32));
    let (status, _) = daemon.end_by(Signal::SIGTERM);
    assert!(status.success(), "{status}");
}

#[test]
fn with_few_descriptors_it_guards_all_the_same() {
    // It raises the soft limit itself.
    for limit in ["--nofile=36", "--nofile=48", "--nofile=64", "--nofile=8:36"] {
        let stage = Stage::new();
        let ours = command(&stage, &["--grace", "0.1"]);
        let mut daemon = Daemon::start(&mut by("prlimit", &[limit], &ours));
        check_guards(&stage, &mut daemon);
        let blind = |line: &String| line.contains("trying again");
        assert!(!daemon.heard().iter().any(blind), "{:#?}", daemon.heard());
    }
}

#[test]
fn signals_without_a_meaning_and_a_soft_limit_of_cpu_time_do_not_end_it() {
    let stage = Stage::new();
    let ours = command(&stage, &["--grace", "0.1"]);
    let mut daemon = Daemon::start(&mut by("prlimit", &["--cpu=1:unlimited"], &ours));
    daemon.line_with("registry");
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).expect("it runs");
    let line = limits.lines().find(|line| line.starts_with("Max cpu time"));
    let words: Vec<_> = line.unwrap_or_default().split_whitespace().collect();
    assert_eq!(words[3..5], ["unlimited", "unlimited"], "{limits}");
    for signal in [
        Signal::SIGXCPU,
        Signal::SIGXFSZ,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGALRM,
        Signal::SIGVTALRM,
        Signal::SIGPROF,
        Signal::SIGIO,
        Signal::SIGPWR,
        Signal::SIGPIPE,
    ] {
        daemon.send(signal);
    }
    // The first and the last that a program may use, which have no names.
    for real_time in ["34", "64"] {
        let script = format!("kill -{real_time} {}", daemon.pid());
        let sent = Command::new("sh").args(["-c", &script]).status();
        assert!(sent.expect("a shell").success(), "signal {real_time}");
    }
    check_guards(&stage, &mut daemon);
    let (status, heard) = daemon.end_by(Signal::SIGTERM);
    assert!(status.success(), "{status}, {heard:#?}");
}

#[test]
fn a_hard_limit_of_cpu_time_is_said() {
    let stage = Stage::new();
    let ours = command(&stage, &[]);
    let mut daemon = Daemon::start(&mut by("prlimit", &["--cpu=900:1000"], &ours));
    daemon.line_with("once it has used 1000 s of CPU time: raise the hard limit RLIMIT_CPU");
}

#[test]
fn with_too_few_descriptors_to_see_memory_it_does_not_start_and_says_how_many_would_do() {
    for limit in ["8", "20", "35"] {
        let stage = Stage::new();
        let ours = command(&stage, &[]);
        let limiting = format!("--nofile={limit}");
        let mut daemon = Daemon::start(&mut by("prlimit", &[&limiting], &ours));
        daemon.line_with(&format!(
            "user-oom: {limit} descriptors are too few: raise the hard limit RLIMIT_NOFILE to 36 or more"
        ));
        assert_eq!(daemon.ended().code(), Some(1));
    }
}

#[test]
fn with_a_small_stack_it_guards_or_says_how_large_it_should_be() {
    let stage = Stage::new();
    let ours = command(&stage, &["--grace", "0.1"]);
    let mut daemon = Daemon::start(&mut by("prlimit", &["--stack=65536:unlimited"], &ours));
    check_guards(&stage, &mut daemon);

    let stage = Stage::new();
    let ours = command(&stage, &[]);
    let mut daemon = Daemon::start(&mut by("prlimit", &["--stack=65536:65536"], &ours));
    daemon.line_with("user-oom: a stack of 64 KiB is too small: raise the hard limit RLIMIT_STACK");
    assert_eq!(daemon.ended().code(), Some(1));
}

#[test]
fn where_descriptors_are_short_the_status_says_what_that_costs() {
    let stage = Stage::new();
    let ours = command(&stage, &["-r", "0.1"]);
    let mut daemon = Daemon::start(&mut by("prlimit", &["--nofile=64"], &ours));
    daemon.line_with(" not held (raise RLIMIT_NOFILE)");
}

/// A directory for the socket that any user may write to.
fn open_place(stage: &Stage) -> PathBuf {
    let place = stage.path("place");
    fs::create_dir(&place).expect("the folder is ours");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o1777)).expect("ours");
    place
}

/// The daemon with its socket in `place`, while memory is short enough for the
/// kernel's choice to be aligned, and not for a kill.
fn aligning(stage: &Stage, place: &Path) -> Command {
    stage.set_available(450);
    let mut ours = command(stage, &["--socket"]);
    ours.arg(place.join("socket"));
    ours
}

fn oom_score_adj(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/oom_score_adj"))
}

#[test]
fn links_and_memos_that_others_have_planted_beside_the_socket_are_not_followed() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can give a file away");
        return;
    }
    let stage = Stage::new();
    let place = open_place(&stage);
    let precious = stage.path("precious");
    fs::write(&precious, "as it was").expect("the folder is ours");
    let [nine, one] = [9, 1].map(|value| stage.process(value));
    // Another user would have this one spared.
    let stat = fs::read_to_string(format!("/proc/{}/stat", nine.pid())).expect("it runs");
    let start_ticks = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split(' ').nth(20));
    let start_ticks = start_ticks.expect("proc_pid_stat(5)");
    let memo = place.join("socket.aligned");
    let line = format!("{} {start_ticks} -999 0 0\n", nine.pid());
    fs::write(&memo, line).expect("ours");
    chown(&memo, Some(65_533), None).expect("we are root");
    symlink(&precious, place.join("socket.aligned.new")).expect("ours");

    let mut daemon = Daemon::start(&mut aligning(&stage, &place));
    let said = daemon.line_with("that an earlier daemon set remain");
    assert!(said.contains("socket.aligned` is not ours"), "{said}");
    let raised = wait_for(|| {
        let [nine, one] = [&nine, &one]
            .map(|process| fs::read_to_string(oom_score_adj(process.pid())).expect("it runs"));
        nine == "500\n" && one == "1000\n"
    });
    assert!(raised, "the less valuable comes first");
    assert_eq!(fs::read_to_string(&precious).expect("ours"), "as it was");
    assert_eq!(fs::symlink_metadata(&memo).expect("it is there").uid(), 0);
}

#[test]
fn with_a_full_disk_nothing_is_aligned_and_all_is_guarded() {
    let stage = Stage::new();
    let place = open_place(&stage);
    let script = r#"mount -t tmpfs -o size=4k none "$1" && shift && exec "$@""#;
    let place_text = place.to_str().expect("plain");
    let ours = aligning(&stage, &place);
    let Some(mut mounted) = in_own_mounts(&["sh", "-c", script, "sh", place_text], &ours) else {
        println!("{NO_MOUNTS}");
        return;
    };
    let one = stage.process(1);
    let mut daemon = Daemon::start(mounted.arg("--grace").arg("0.1"));
    let said = daemon.line_with("cannot align the kernel's choice");
    assert!(said.contains("No space left"), "{said}");
    let adj = fs::read_to_string(oom_score_adj(one.pid())).expect("it runs");
    drop(one);
    let before = fs::read_to_string("/proc/self/oom_score_adj").expect("Linux");
    assert_eq!(adj, before);
    check_guards(&stage, &mut daemon);
}

/// Looks until `is_so`, or for too long.
fn wait_for(mut is_so: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        if until < Instant::now() {
            return false;
        }
        thread::yield_now();
    }
    true
}
