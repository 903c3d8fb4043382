//! The built daemon where what it writes to does not take it.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal;
use nix::sys::termios::{FlowArg, tcflow};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use support::Stage;

/// At or below 10 % (400 MiB of 4000) it warns, and 12 % (480) is enough again.
const SHORT: u64 = 350;
/// What does not come within this long does not come.
const LIMIT: Duration = Duration::from_secs(30);

fn command(stage: &Stage) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_user-oom"));
    // What it writes is more than a few lines.
    let mut command = stage.command(program, &["--grace", "0.1", "-r", "0.1"]);
    command.stdin(Stdio::null());
    command
}

/// `command`, run by the words of `by`.
fn by(by: &[&str], command: &Command) -> Command {
    let mut run = Command::new(by[0]);
    run.args(&by[1..])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    run
}

fn hold(pid: u32) -> OwnedFd {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pidfd_open(pid.expect("a pid"), PidfdFlags::empty()).expect("it is not reaped")
}

fn send(pid: u32, signal: rustix::process::Signal) {
    pidfd_send_signal(hold(pid), signal).expect("it is ours");
}

/// A child that dies with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("it was built"))
    }

    /// How it ends when it is asked to.
    fn end(mut self) -> ExitStatus {
        send(self.0.id(), rustix::process::Signal::TERM);
        assert!(ends(self.0.id()), "it does not end");
        self.0.wait().expect("it is our child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already dead is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// That what is registered and worth the least is killed when memory is short.
#[track_caller]
fn check_guards(stage: &Stage) {
    let mut process = stage.process(1);
    stage.set_available(SHORT);
    let killed = ends(process.pid());
    assert!(killed, "it does not guard");
    assert_eq!(process.killed_by(), Some(Signal::SIGKILL as i32));
}

/// Whether `pid` ends within the limit.
fn ends(pid: u32) -> bool {
    let pidfd = hold(pid);
    let mut polled = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    let limit = PollTimeout::try_from(LIMIT).expect("it is short");
    poll(&mut polled, limit) == Ok(1)
}

#[test]
fn in_the_background_of_a_terminal_that_stops_who_writes_it_guards() {
    let stage = Stage::new();
    let pty = openpty(None, None).expect("there is a terminal left");
    let script = r#"stty tostop; set -m; "$@" & echo "daemon $!"; wait"#;
    let mut shell = by(
        &["setsid", "--ctty", "--wait", "sh", "-c", script, "sh"],
        &command(&stage),
    );
    let terminal = || pty.slave.try_clone().expect("a descriptor");
    shell
        .stdin(terminal())
        .stdout(terminal())
        .stderr(terminal());
    let mut shell = Running::start(&mut shell);
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let lines = BufReader::new(File::from(pty.master)).lines();
        // Nobody hears the rest once the test is over.
        lines
            .map_while(Result::ok)
            .all(|line| sender.send(line).is_ok())
    });
    let line_with = |text: &str| {
        let until = Instant::now() + LIMIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(err) => panic!("no line with `{text}`: {err}"),
            }
        }
    };
    let told = line_with("daemon ");
    let pid = told
        .trim()
        .strip_prefix("daemon ")
        .and_then(|pid| pid.parse().ok());
    let pid: u32 = pid.expect("its pid");
    line_with("memory 4000 of 4000 MiB");
    check_guards(&stage);
    line_with(" after=");
    send(pid, rustix::process::Signal::TERM);
    line_with("ended by SIGTERM");
    let status = shell.0.wait().expect("it is our child");
    assert!(status.success(), "{status}");
}

#[test]
fn on_a_terminal_of_80_columns_every_line_fits() {
    let stage = Stage::new();
    let size = Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(Some(&size), None).expect("there is a terminal left");
    let terminal = || pty.slave.try_clone().expect("a descriptor");
    let mut ours = command(&stage);
    // Without colours, so that what is read is what is seen.
    ours.env("NO_COLOR", "1")
        .stdout(terminal())
        .stderr(terminal());
    let daemon = Running::start(&mut ours);
    drop((ours, pty.slave));
    check_guards(&stage);
    assert!(daemon.end().success());
    // The last of it is gone, so this comes to an end (EIO).
    let lines = BufReader::new(File::from(pty.master)).lines();
    let lines: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(
        lines.iter().any(|line| line.contains(" kill pid=")),
        "{lines:#?}"
    );
    for line in &lines {
        assert!(line.trim_end().chars().count() <= 80, "{line}");
    }
}

#[test]
fn a_terminal_that_was_stopped_before_keeps_it_neither_from_guarding_nor_from_ending() {
    let stage = Stage::new();
    let pty = openpty(None, None).expect("there is a terminal left");
    // ^S.
    tcflow(&pty.slave, FlowArg::TCOOFF).expect("it is a terminal");
    let terminal = || pty.slave.try_clone().expect("a descriptor");
    let daemon = Running::start(command(&stage).stdout(terminal()).stderr(terminal()));
    check_guards(&stage);
    let status = daemon.end();
    assert!(status.success(), "{status}");
}

#[test]
fn a_file_that_may_not_grow_does_not_end_it() {
    let stage = Stage::new();
    let out = File::create(stage.path("out")).expect("the folder is ours");
    let mut limited = by(&["prlimit", "--fsize=512"], &command(&stage));
    let error = out.try_clone().expect("a descriptor");
    let daemon = Running::start(limited.stdout(out).stderr(error));
    check_guards(&stage);
    let status = daemon.end();
    assert!(status.success(), "{status}");
    let written = fs::metadata(stage.path("out")).expect("it is there").len();
    assert_eq!(written, 512, "it has met its limit");
}

#[test]
fn a_full_disk_a_closed_pipe_and_no_output_at_all_do_not_end_it() {
    let full = || {
        File::options()
            .write(true)
            .open("/dev/full")
            .expect("Linux")
    };
    let closed = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        writer
    };
    for case in ["full", "closed pipe", "closed"] {
        let stage = Stage::new();
        let mut command = command(&stage);
        let daemon = Running::start(match case {
            "full" => command.stdout(full()).stderr(full()),
            "closed pipe" => command.stdout(closed()).stderr(closed()),
            _ => {
                command = by(&["sh", "-c", r#"exec "$@" >&- 2>&-"#, "sh"], &command);
                &mut command
            }
        });
        check_guards(&stage);
        let status = daemon.end();
        assert!(status.success(), "{case}: {status}");
    }
}

#[test]
fn started_by_nohup_it_outlives_its_terminal() {
    let stage = Stage::new();
    let mut nohup = by(&["nohup"], &command(&stage));
    let daemon = Running::start(nohup.stdout(Stdio::null()).stderr(Stdio::null()));
    check_guards(&stage);
    send(daemon.0.id(), rustix::process::Signal::HUP);
    stage.set_available(support::TOTAL_MIB);
    check_guards(&stage);
    let status = daemon.end();
    assert!(status.success() && status.signal().is_none(), "{status}");
}
