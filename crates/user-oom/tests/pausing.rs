//! The daemon pauses processes where tasks stall and swap has room, and whatever
//! becomes of it, they go on.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use support::{Process, Stage, TOTAL_MIB};

/// What does not come about within this long does not.
const LIMIT: Duration = Duration::from_secs(30);

/// As much swap as the machine of the meminfo file has.
const SWAP_MIB: u64 = 1000;

/// So much is available, and so much of the swap free.
fn set_memory(stage: &Stage, available_mib: u64, swap_free_mib: u64) {
    stage.set_memory(available_mib, SWAP_MIB, swap_free_mib);
}

fn plenty(stage: &Stage) {
    stage.set_pressure(0.0);
    set_memory(stage, TOTAL_MIB, SWAP_MIB);
}

/// Above the warn threshold, below recovery; swap has room.
fn stall(stage: &Stage) {
    set_memory(stage, 450, SWAP_MIB / 2);
    stage.set_pressure(20.0);
}

fn is_stopped(process: &Process) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid()));
    status.expect("it is there").contains("\nState:\tT")
}

#[track_caller]
fn wait_until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "it did not come about");
        std::thread::yield_now();
    }
}

#[test]
fn at_start_pausing_is_spoken_of_where_there_is_swap() {
    for swap_mib in [0, SWAP_MIB] {
        let stage = Stage::new();
        stage.set_memory(TOTAL_MIB, swap_mib, swap_mib);
        let mut daemon = stage.daemon(&[]);
        daemon.line_with("  pressure ");
        let (_, heard) = daemon.end_by(Signal::SIGTERM);
        let is_said = heard.iter().any(|line| line.starts_with("  pause "));
        assert_eq!(is_said, swap_mib > 0, "{heard:#?}");
    }
}

/// The cheaper of two is paused, as `daemon` has said.
fn paused(stage: &Stage, daemon: &mut support::Daemon) -> [Process; 2] {
    plenty(stage);
    let [nine, one] = [9, 1].map(|value| stage.process(value));
    for process in [&nine, &one] {
        daemon.line_with(&format!("process {} is registered", process.pid()));
    }
    stall(stage);
    let said = daemon.line_with(" pause pid=");
    assert!(
        said.contains(&format!(" pause pid={} ", one.pid())),
        "{said}"
    );
    assert!(said.contains("reason=\"memory pressure\""), "{said}");
    // Said once it is frozen.
    daemon.line_with(" paged-out pid=");
    wait_until(|| is_stopped(&one));
    [nine, one]
}

#[test]
fn a_stall_pauses_the_cheaper_until_there_is_room() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    let [_nine, one] = paused(&stage, &mut daemon);
    wait_until(|| stage.told("Status").contains(r#""paused":1,"#));
    plenty(&stage);
    let said = daemon.line_with(" thaw pid=");
    assert!(
        said.contains(&format!(" thaw pid={} ", one.pid())),
        "{said}"
    );
    wait_until(|| !is_stopped(&one));
    wait_until(|| stage.told("Status").contains(r#""paused":0,"#));
}

#[test]
fn where_swap_is_full_a_stall_kills_as_ever() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--grace", "1"]);
    plenty(&stage);
    let mut one = stage.process(1);
    daemon.line_with("is registered");
    set_memory(&stage, 450, SWAP_MIB / 10);
    stage.set_pressure(80.0);
    daemon.line_with("relief (memory stalls): ");
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
}

#[test]
fn what_is_paused_goes_on_when_the_daemon_ends() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    let [_nine, one] = paused(&stage, &mut daemon);
    daemon.end_by(Signal::SIGTERM);
    wait_until(|| !is_stopped(&one));
}

#[test]
fn what_is_paused_goes_on_when_the_daemon_is_killed() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    let [_nine, one] = paused(&stage, &mut daemon);
    daemon.end_by(Signal::SIGKILL);
    wait_until(|| !is_stopped(&one));
}

#[test]
fn what_a_person_continues_is_left_alone() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    let [nine, one] = paused(&stage, &mut daemon);
    let pid = one.pid();
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pidfd = pidfd_open(raw.expect("it is a pid"), PidfdFlags::empty()).expect("it is there");
    pidfd_send_signal(pidfd, rustix::process::Signal::CONT).expect("it is ours");
    let said = daemon.line_with(" continued pid=");
    assert!(said.contains(&format!(" continued pid={pid} ")), "{said}");
    // The stall lasts: the other is next.
    daemon.line_with(&format!(" pause pid={} ", nine.pid()));
    assert!(!is_stopped(&one));
    plenty(&stage);
    wait_until(|| !is_stopped(&nine));
}

#[test]
fn an_entry_that_says_nopause_ends_the_pause() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    let [_nine, one] = paused(&stage, &mut daemon);
    fs::write(stage.entry(one.pid()), "1 nopause\n").expect("the registry is ours");
    daemon.line_with(&format!(" thaw pid={} ", one.pid()));
    wait_until(|| !is_stopped(&one));
    plenty(&stage);
}

#[test]
fn a_paused_process_that_is_killed_in_a_shortage_ends() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--grace", "1"]);
    let [mut nine, mut one] = paused(&stage, &mut daemon);
    // 200 MiB are missing.
    set_memory(&stage, 400, 0);
    daemon.line_with(&format!(" kill pid={} signal=SIGTERM", one.pid()));
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
    plenty(&stage);
    assert!(nine.lives());
}

#[test]
fn a_dry_run_says_what_it_would_pause_and_stops_nothing() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--dryrun"]);
    plenty(&stage);
    let one = stage.process(1);
    daemon.line_with("is registered");
    stall(&stage);
    daemon.line_with(&format!(" would-pause pid={} ", one.pid()));
    assert!(!is_stopped(&one));
}

#[test]
fn with_pausing_off_nothing_is_stopped() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--pause", "off", "--grace", "1"]);
    plenty(&stage);
    let mut one = stage.process(1);
    daemon.line_with("is registered");
    set_memory(&stage, 450, SWAP_MIB / 2);
    stage.set_pressure(80.0);
    daemon.line_with(&format!(" kill pid={} signal=SIGTERM", one.pid()));
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
    let heard = daemon.heard().iter();
    assert_eq!(heard.filter(|line| line.contains(" pause pid=")).count(), 0);
}

/// Though all of a process is read but once a minute.
#[test]
fn what_executes_a_service_with_a_watchdog_is_not_paused_any_more() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    plenty(&stage);
    let nine = stage.process(9);
    let go = stage.path("go");
    let made = Command::new("mkfifo").arg(&go).status();
    assert!(made.expect("coreutils").success());
    let service = stage.becoming_a_service(1, &format!("read -r _ < {}", go.display()));
    for pid in [nine.pid(), service.pid()] {
        daemon.line_with(&format!("process {pid} is registered"));
    }
    fs::write(&go, "go\n").expect("it is read from");
    let service = service.has_become();
    stall(&stage);
    let said = daemon.line_with(" pause pid=");
    assert!(
        said.contains(&format!(" pause pid={} ", nine.pid())),
        "{said}"
    );
    assert!(!is_stopped(&service));
    plenty(&stage);
}

/// What `user-oomctl` does, and prints.
fn ctl(stage: &Stage, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(stage.program("user-oomctl"));
    command.arg("--socket").arg(stage.socket()).args(arguments);
    let output = command.output().expect("it was built");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn a_person_pauses_and_thaws_by_word_and_it_holds() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    plenty(&stage);
    let one = stage.process(1);
    let pid = one.pid().to_string();
    daemon.line_with("is registered");
    let (is_done, said) = ctl(&stage, &["thaw", &pid]);
    assert!(!is_done && said.contains("it is not paused"), "{said}");
    let (is_done, said) = ctl(&stage, &["pause", &pid]);
    assert!(is_done, "{said}");
    assert!(
        said.starts_with(&format!("process {pid} is paused")),
        "{said}"
    );
    // It stands still by the time that is said.
    assert!(is_stopped(&one));
    let said = daemon.line_with(" pause pid=");
    assert!(said.contains("reason=\"asked for by a person\""), "{said}");
    let (is_done, said) = ctl(&stage, &["thaw", &pid]);
    assert!(is_done, "{said}");
    assert!(!is_stopped(&one));
    daemon.line_with(&format!(" thaw pid={pid} "));
    // The stall lasts: the other is paused, worth more as it is.
    let nine = stage.process(9);
    daemon.line_with(&format!("process {} is registered", nine.pid()));
    stall(&stage);
    daemon.line_with(&format!(" pause pid={} ", nine.pid()));
    assert!(!is_stopped(&one));
    plenty(&stage);
    wait_until(|| !is_stopped(&nine));
}

#[test]
fn a_person_pauses_nothing_that_says_nopause_and_nothing_where_that_is_off() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    let one = stage.process(1);
    let pid = one.pid().to_string();
    daemon.line_with("is registered");
    fs::write(stage.entry(one.pid()), "1 nopause\n").expect("the registry is ours");
    daemon.line_with("is never paused");
    let (is_done, said) = ctl(&stage, &["pause", &pid]);
    assert!(
        !is_done && said.contains("its entry says `nopause`"),
        "{said}"
    );
    assert!(!is_stopped(&one));

    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--pause", "off"]);
    daemon.line_with("socket");
    let (is_done, said) = ctl(&stage, &["pause", &pid]);
    assert!(!is_done && said.contains("pausing is off"), "{said}");
}

/// A job that script(1) has started, on a terminal of its own. Killed when dropped.
struct OnTerminal {
    script: std::process::Child,
}

impl OnTerminal {
    /// Worth 1; `None` without script(1).
    fn start(stage: &Stage) -> Option<Self> {
        let job = stage.program("test_proc1");
        let command = format!(
            "exec '{}' --max-mib 200 --rate-mib-s 2000 --value 1 --registry '{}'",
            job.display(),
            stage.registry().display()
        );
        let script = Command::new("script")
            .args(["-qc", &command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        Some(Self {
            script: script.ok()?,
        })
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        // The terminal hangs up on the job.
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

/// Its parent would stop with it, and stay so.
#[test]
fn where_another_program_answers_the_stop_another_unit_is_paused() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    plenty(&stage);
    let Some(on_terminal) = OnTerminal::start(&stage) else {
        println!("skipped: script(1) is not installed (bsdutils)");
        return;
    };
    let said = daemon.line_with("is registered");
    let (_, pid) = said.split_once("process ").expect("it says which");
    let pid = pid.split(' ').next().expect("it says which").to_owned();
    let runs = || {
        let script = on_terminal.script.id().to_string();
        [&pid, &script].iter().all(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status"));
            !status.expect("it is there").contains("\nState:\tT")
        })
    };
    let [nine, five] = [9, 5].map(|value| stage.process(value));
    for process in [&nine, &five] {
        daemon.line_with(&format!("process {} is registered", process.pid()));
    }
    stall(&stage);
    let said = daemon.line_with(" cannot-pause ");
    assert!(said.contains(&format!(" pid={pid} ")), "{said}");
    assert!(said.contains("would answer the stop"), "{said}");
    daemon.line_with(&format!(" pause pid={} ", five.pid()));
    wait_until(|| is_stopped(&five));
    assert!(runs());
    plenty(&stage);
    wait_until(|| !is_stopped(&five));
    let (is_done, said) = ctl(&stage, &["pause", &pid]);
    assert!(!is_done && said.contains("would answer the stop"), "{said}");
    assert!(runs());
}

#[test]
fn another_user_pauses_and_thaws_its_own_and_no_others() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can be another user; run it as root");
        return;
    }
    const USER: u32 = 65_534;
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    plenty(&stage);
    let ours = stage.process(9);
    let theirs = stage.process_of(5, Some(USER));
    fs::write(stage.entry(theirs.pid()), "5\n").expect("the registry is ours");
    for pid in [ours.pid(), theirs.pid()] {
        daemon.line_with(&format!("process {pid} is registered"));
    }
    let program = stage.copy("user-oomctl", "user-oomctl");
    let as_user = |arguments: &[&str]| {
        use std::os::unix::process::CommandExt;

        let mut command = Command::new(&program);
        command.arg("--socket").arg(stage.socket()).args(arguments);
        let output = command.uid(USER).gid(USER).output().expect("it was built");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), error)
    };
    let [ours_pid, theirs_pid] = [&ours, &theirs].map(|it| it.pid().to_string());
    let (is_done, error) = as_user(&["pause", &ours_pid]);
    assert!(!is_done && error.contains("not permitted"), "{error}");
    assert!(ctl(&stage, &["pause", &ours_pid]).0);
    let (is_done, error) = as_user(&["thaw", &ours_pid]);
    assert!(!is_done && error.contains("not permitted"), "{error}");
    assert!(is_stopped(&ours));
    let (is_done, error) = as_user(&["pause", &theirs_pid]);
    assert!(is_done, "{error}");
    assert!(is_stopped(&theirs));
    let (is_done, error) = as_user(&["thaw", &theirs_pid]);
    assert!(is_done, "{error}");
    assert!(!is_stopped(&theirs));
}
