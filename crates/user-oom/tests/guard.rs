//! The built daemon on this machine, with memory that only it sees.
//!
//! Each test has its own registry, meminfo and pressure files, and the daemon
//! judges registered processes only: nothing but the test's own children can
//! come to harm.

#[allow(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::time::{Duration, SystemTime};

use nix::pty::openpty;
use nix::sys::signal::Signal;
use support::{Daemon, Stage, TOTAL_MIB};

/// At or below 10 % (400 MiB of 4000) it warns, and 12 % (480) is enough again.
const SHORT_OF_ONE: u64 = 350;
const SHORT_OF_TWO: u64 = 190;
const PLENTY: u64 = 2000;

#[test]
fn the_least_valuable_goes_first_and_dies_though_it_ignores_sigterm() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--grace", "1"]);
    let [mut nine, mut five, mut one] = [9, 5, 1].map(|value| stage.process(value));
    for process in [&nine, &five, &one] {
        daemon.line_with(&format!("process {} is registered", process.pid()));
    }

    stage.set_available(SHORT_OF_ONE);
    daemon.line_with(&format!(
        "kill pid={} signal=SIGTERM name=test_proc1",
        one.pid()
    ));
    // Memory is back before its grace is over; it dies all the same.
    stage.set_available(PLENTY);
    daemon.line_with(&format!(
        "kill pid={} signal=SIGKILL name=test_proc1",
        one.pid()
    ));
    daemon.line_with(&format!("gone pid={} name=test_proc1", one.pid()));
    let freed = daemon.line_with("freed");
    assert!(freed.contains("from 1 process "), "{freed}");
    assert!(freed.ends_with("sum of values lost: 1"), "{freed}");

    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
    assert!(nine.lives() && five.lives());
    assert!(!stage.entry(one.pid()).exists(), "its entry went with it");
    assert!(stage.entry(nine.pid()).exists());
}

#[test]
fn two_are_chosen_together_where_one_is_not_enough_and_the_candidates_are_shown() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--grace", "1", "-m", "10,2"]);
    let [mut nine, mut five, mut one] = [9, 5, 1].map(|value| stage.process(value));
    for process in [&nine, &five, &one] {
        daemon.line_with(&format!("process {} is registered", process.pid()));
    }

    stage.set_available(SHORT_OF_TWO);
    daemon.line_with("chose 2 of 3 candidates: optimal");
    daemon.line_with("signal=SIGTERM");
    daemon.line_with("signal=SIGTERM");
    daemon.line_with("    PID  NAME ");
    let row = daemon.line_with(&one.pid().to_string());
    assert!(row.contains("test_proc1") && row.contains("kill"), "{row}");
    stage.set_available(PLENTY);
    let freed = daemon.line_with("freed");
    assert!(freed.contains("from 2 processes"), "{freed}");
    assert!(freed.ends_with("sum of values lost: 6"), "{freed}");
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
    assert_eq!(five.killed_by(), Some(Signal::SIGKILL as i32));
    assert!(nine.lives());
}

#[test]
fn a_kill_is_one_line_with_its_time_reason_user_and_what_it_costs_and_frees() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--grace", "0.1"]);
    let one = stage.process(1);
    daemon.line_with("is registered");
    stage.set_available(SHORT_OF_ONE);
    let term = daemon.line_with(" kill pid=");
    let kill = daemon.line_with(" kill pid=");
    stage.set_available(PLENTY);
    let uid = nix::unistd::geteuid();
    let passwd = fs::read_to_string("/etc/passwd").expect("passwd(5)");
    let theirs = format!(":x:{uid}:");
    let mut users = passwd.lines().filter_map(|line| line.split_once(&theirs));
    let user = users.next().map_or("-", |(name, _)| name);
    // It has grown just now, so what it costs may be half its value.
    let fields = format!("uid={uid} user={user} value=1 cost=");
    for (line, signal, reason) in [
        (&term, "SIGTERM", "low memory (warn)"),
        (&kill, "SIGKILL", "still alive after SIGTERM and grace"),
    ] {
        let (time, rest) = line.split_once(' ').expect("more than one word");
        assert!(time.starts_with("20") && time.ends_with('Z'), "{line}");
        let begins = format!(
            "kill pid={} signal={signal} name=test_proc1 reason=\"{reason}\" {fields}",
            one.pid()
        );
        assert!(rest.starts_with(&begins), "{line}");
        for field in [" processes=1 frees=2", "MiB VmRSS=2", "MiB oom_score="] {
            assert!(rest.contains(field), "{line}");
        }
    }
}

#[test]
fn a_kill_says_how_its_victim_was_started_where_that_was_read_before() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--grace", "0.1", "-r", "0.1"]);
    let one = stage.process(1);
    daemon.line_with("is registered");
    // Below half of memory, a change has the table read, and what would be killed
    // looked at; that is answered by one of the next rounds.
    for available_mib in [1900, 1600, 1300, 1000] {
        stage.set_available(available_mib);
        let status = format!("memory {available_mib} of");
        daemon.line_with(&status);
        daemon.line_with(&status);
    }
    stage.set_available(SHORT_OF_ONE);
    let said = daemon.line_with(" kill pid=");
    assert!(said.contains(&format!("pid={} ", one.pid())), "{said}");
    let (_, command) = said.split_once(" cmd=\"").expect("it was read");
    // By its path, which may be long enough to be cut.
    assert!(command.starts_with('/') && command.ends_with('"'), "{said}");
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_not() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--dryrun"]);
    let mut one = stage.process(1);
    daemon.line_with(&format!("process {} is registered", one.pid()));
    // Below 5 %: SIGKILL at once.
    stage.set_available(SHORT_OF_TWO);
    let said = daemon.line_with("signal=SIGKILL");
    let would_kill = format!(" would-kill pid={} ", one.pid());
    assert!(said.contains(&would_kill), "{said}");
    assert!(said.contains(" value=1 "), "{said}");
    assert!(said.contains(" VmRSS=2"), "{said}");
    let (status, _) = daemon.end_by(Signal::SIGINT);
    assert!(status.success());
    assert!(one.lives());
}

#[test]
fn lasting_stalls_are_relieved_while_memory_is_below_recovery() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--grace", "1"]);
    let [mut nine, mut one] = [9, 1].map(|value| stage.process(value));
    for process in [&nine, &one] {
        daemon.line_with(&format!("process {} is registered", process.pid()));
    }
    // Above the warn level, below recovery.
    stage.set_available(450);
    stage.set_pressure(80.0);
    daemon.line_with("relief (memory stalls): ");
    daemon.line_with(&format!(" pid={} signal=SIG", one.pid()));
    stage.set_pressure(0.0);
    stage.set_available(PLENTY);
    daemon.line_with("freed");
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
    assert!(nine.lives());
}

#[test]
fn a_lasting_stall_is_relieved_by_all_there_is_though_it_is_less_than_is_needed() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--grace", "1", "--pause", "off"]);
    let mut one = stage.process(1);
    daemon.line_with("is registered");
    // Nearly nothing is available; that swap is free keeps it from warning.
    let text = "MemTotal: 4096000 kB\nMemFree: 4000 kB\nMemAvailable: 10000 kB\n\
                SwapTotal: 4096000 kB\nSwapFree: 2600000 kB\n";
    fs::write(stage.path("zram"), text).expect("the folder is ours");
    fs::rename(stage.path("zram"), stage.path("meminfo")).expect("the folder is ours");
    stage.set_pressure(72.0);
    let said = daemon.line_with("relief (memory stalls): ");
    // 12 % are 480 MiB, and it holds 200.
    assert!(said.contains("; need 470 MiB"), "{said}");
    daemon.line_with(&format!(" pid={} signal=SIG", one.pid()));
    stage.set_pressure(0.0);
    stage.set_available(PLENTY);
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
}

#[test]
fn stalls_with_enough_memory_available_are_not_relieved() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    let mut one = stage.process(1);
    daemon.line_with("is registered");
    stage.set_pressure(85.0);
    daemon.line_with("no kill: memory is above the recovery threshold");
    assert!(one.lives());
}

#[test]
fn processes_that_come_and_go_while_the_table_is_read_harm_nothing() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--grace", "1"]);
    let mut one = stage.process(1);
    daemon.line_with("is registered");
    for round in 0..300 {
        // Below half of memory, each change of some size has the table read.
        stage.set_available(TOTAL_MIB / 2 - 1 - 250 * (round % 3));
        let status = Command::new("true").status().expect("coreutils");
        assert!(status.success());
    }
    assert!(daemon.is_running());
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with(&format!("kill pid={} signal=SIGTERM", one.pid()));
    stage.set_available(PLENTY);
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
}

#[test]
fn an_entry_counts_whatever_its_time_says() {
    let stage = Stage::new();
    let mut process = stage.process(7);
    // The clock has jumped by a year since it was written, or back since boot.
    let year = Duration::from_secs(365 * 86_400);
    let entry = fs::File::options()
        .write(true)
        .open(stage.entry(process.pid()))
        .expect("it has registered");
    for time in [SystemTime::now() - year, SystemTime::now() + year] {
        entry.set_modified(time).expect("it is ours");
        let mut daemon = stage.daemon(&[]);
        daemon.line_with(&format!(
            "process {} is registered: value 7 (test_proc1, uid ",
            process.pid()
        ));
    }
    assert!(process.lives());
}

#[test]
fn an_entry_forged_for_another_users_process_does_not_count() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can run processes and own files as other users");
        return;
    }
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    let mut victim = stage.process_of(1, Some(65_534));
    let own = stage.process(5);
    daemon.line_with(&format!("process {} is registered", own.pid()));
    let forged = stage.path("forged");
    fs::write(&forged, "0\n").expect("the folder is ours");
    chown(&forged, Some(65_533), None).expect("we are root");
    fs::rename(&forged, stage.entry(victim.pid())).expect("the folder is ours");
    daemon.line_with(&format!(
        "entry {} (test_proc1, uid 65534) is ignored: it belongs to uid 65533, but the process runs as uid 65534; in a container, use the pid that the process has on the host; removed",
        victim.pid()
    ));
    stage.set_available(SHORT_OF_ONE);
    // The only registered process there is, though it is worth more.
    daemon.line_with(&format!("kill pid={} signal=SIGTERM", own.pid()));
    assert!(victim.lives());
}

#[test]
fn what_ends_it_ends_it_cleanly() {
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        // On a terminal; see `reload.rs`.
        Signal::SIGHUP,
        Signal::SIGTSTP,
    ] {
        let stage = Stage::new();
        let terminal = openpty(None, None).expect("a pty");
        // Where nohup(1) started the tests, SIGHUP is ignored and would not end it.
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_user-oom")]);
        let command = stage.set(&mut command);
        let command = command.args(["--registered-only", "-r", "0"]);
        let mut daemon = Daemon::start_on(command, terminal.slave.into());
        daemon.line_with("socket");
        let (status, heard) = daemon.end_by(signal);
        assert!(status.success(), "{signal}: {status}, {heard:#?}");
        let last = heard.last().expect("it spoke");
        assert!(last.contains(signal.as_str()), "{last}");
    }
}

#[test]
fn a_second_daemon_is_refused_and_told_of_the_first() {
    let stage = Stage::new();
    let mut first = stage.daemon(&[]);
    first.line_with("socket");
    let mut second = stage.daemon(&[]);
    let said = second.line_with("user-oom: ");
    assert!(said.contains(&first.pid().to_string()), "{said}");
    assert_eq!(second.ended().code(), Some(1));
}

#[test]
fn unreadable_memory_is_said_and_read_again_when_it_is_back() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["-r", "1"]);
    daemon.line_with("memory 4000 of 4000 MiB");
    fs::write(stage.path("meminfo"), "MemTotal: many kB\n").expect("ours");
    let said = daemon.line_with("trying again");
    assert!(
        said.contains("meminfo` has no line that begins with `MemAvailable`"),
        "{said}"
    );
    stage.set_available(3000);
    daemon.line_with("memory 3000 of 4000 MiB");
}

#[test]
fn text_that_cannot_be_true_is_said_once_and_the_rest_is_guarded_by() {
    let stage = Stage::new();
    let meminfo = |available: &str, free: u64, swap_free: &str| {
        let text = format!(
            "MemTotal: {} kB\nMemFree: {} kB\nMemAvailable: {available} kB\nSwapTotal: 0 kB\n\
             SwapFree: {swap_free} kB\nAnonPages: {} kB\nShmem: 0 kB\n",
            TOTAL_MIB << 10,
            free << 10,
            (TOTAL_MIB - free) << 10,
        );
        stage.replace("meminfo", &text);
    };
    // It starts with a free swap that has wrapped and nothing available,
    // though much is free.
    meminfo("0", 2000, "18446744073709551411");
    let mut daemon = stage.daemon(&["--grace", "0.1", "-r", "0.1"]);
    let mut one = stage.process(1);
    daemon.line_with("MemAvailable cannot be 0 kB (2048000 kB are free)");
    daemon.line_with("SwapFree cannot be `18446744073709551411 kB`");
    daemon.line_with("memory 2000 of 4000 MiB available (50.00 %), no swap");
    // By then, on a busy machine.
    let registered = format!("process {} is registered", one.pid());
    if !daemon.heard().iter().any(|line| line.contains(&registered)) {
        daemon.line_with(&registered);
    }
    // Fifteen times as much as there is is available, and next to nothing is.
    meminfo("61440000", 100, "18446744073709551411");
    daemon.line_with(&format!(" pid={} signal=SIG", one.pid()));
    // What is done and what is noted have lanes of their own to the terminal.
    let cannot = "MemAvailable cannot be 61440000 kB (at most 102400 kB)";
    if !daemon.heard().iter().any(|line| line.contains(cannot)) {
        daemon.line_with(cannot);
    }
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
    let said = |text: &str| {
        let heard = daemon.heard().iter();
        heard.filter(|line| line.contains(text)).count()
    };
    assert_eq!(said("SwapFree cannot be"), 1);
    assert_eq!(said("MemAvailable cannot be 0 kB"), 1);
}

#[test]
fn the_machines_own_memory_is_judged_by_the_same_numbers() {
    let stage = Stage::new();
    let mut one = stage.process(1);
    let mut command = Command::new(env!("CARGO_BIN_EXE_user-oom"));
    command
        .args(["--dryrun", "--registered-only", "-r", "0"])
        .args(["-m", "99.9", "--recover", "99.95", "--pressure", "off"])
        .arg("--registry")
        .arg(stage.registry())
        .arg("--socket")
        .arg(stage.socket());
    let mut daemon = support::Daemon::start(&mut command);
    let text = fs::read_to_string("/proc/meminfo").expect("Linux");
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.parse::<u64>().ok())
        .expect("proc_meminfo(5)");
    daemon.line_with(&format!("of {} MiB available", total >> 10));
    // Nowhere is all but a thousandth of memory available.
    daemon.line_with("low memory (warn): memory");
    assert!(one.lives());
}

/// What a process blocks and what it ignores.
const SIGNALS: &str = "grep -E 'Sig(Blk|Ign)' /proc/self/status | cut -f 2 | xargs echo";

#[test]
fn hooks_run_before_and_after_an_end_and_are_ordinary_processes() {
    let stage = Stage::new();
    let script = stage.path("hook.sh");
    let told = stage.path("told");
    fs::write(
        &script,
        format!(
            "#!/bin/sh\n\
             signals=$({SIGNALS})\n\
             adj=$(cat /proc/self/oom_score_adj)\n\
             echo \"$USER_OOM_PID $USER_OOM_NAME $USER_OOM_VALUE $EARLYOOM_PID $signals $adj\" >> {}\n\
             echo hook ran\n",
            told.display()
        ),
    )
    .expect("the folder is ours");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("ours");
    let script = script.to_str().expect("plain").to_owned();
    let mut daemon = stage.daemon(&["--grace", "0.1", "-P", &script, "-N", &script]);
    let mut one = stage.process(1);
    daemon.line_with("is registered");
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with("signal=SIGTERM");
    stage.set_available(PLENTY);
    // Before its first signal, which may be told after that, and when it is gone.
    let ran = |line: &&String| line.contains("hook ran");
    for _ in daemon.heard().iter().filter(ran).count()..2 {
        daemon.line_with("hook ran");
    }
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
    let pid = one.pid();
    // Blocked and ignored as for any child of ours.
    let ordinary = Command::new("sh").args(["-c", SIGNALS]).output();
    let ordinary = ordinary.expect("a shell").stdout;
    let signals = String::from_utf8_lossy(&ordinary);
    let want = format!("{pid} test_proc1 1 {pid} {} 0\n", signals.trim());
    assert_eq!(fs::read_to_string(told).expect("it ran"), want.repeat(2));
}

#[test]
fn a_pressure_file_that_makes_no_sense_is_said_and_the_levels_are_guarded_all_the_same() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--grace", "0.1"]);
    let mut one = stage.process(1);
    daemon.line_with("is registered");
    fs::write(stage.path("pressure"), "some avg10=much\n").expect("ours");
    let said = daemon.line_with("trying again");
    assert!(said.contains("pressure"), "{said}");
    let again = "relief by pressure is on again: `";
    stage.set_pressure(0.0);
    daemon.line_with(again);
    fs::remove_file(stage.path("pressure")).expect("ours");
    let said = daemon.line_with("trying again");
    assert!(said.contains("pressure`: No such file"), "{said}");
    stage.set_pressure(0.0);
    daemon.line_with(again);
    fs::write(stage.path("pressure"), "some avg10=much\n").expect("ours");
    daemon.line_with("trying again");
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with(&format!("kill pid={} signal=SIGTERM", one.pid()));
    stage.set_available(PLENTY);
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
}

/// Stopped, it could not save its work.
#[test]
fn a_stopped_job_is_continued_and_saves_at_sigterm() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--grace", "60"]);
    let mut job = stage.saving("state");
    daemon.line_with(&format!("process {} is registered", job.pid()));
    job.send(Signal::SIGSTOP);
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with(&format!("kill pid={} signal=SIGTERM", job.pid()));
    daemon.line_with(&format!("gone pid={} ", job.pid()));
    assert_eq!(job.killed_by(), None);
    let saved = fs::read_to_string(stage.path("state")).expect("it has saved");
    assert_eq!(saved, "saved\n");
}
