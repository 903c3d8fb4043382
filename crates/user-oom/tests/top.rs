//! `user-oomctl top` on a real terminal: that it shows how things are, and that its end
//! leaves the terminal as it was, however it comes.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, tcgetattr};
use support::{Stage, TOTAL_MIB, send, until};

const PLENTY: u64 = TOTAL_MIB / 2;
/// What leaves the screen that programs like it draw on: what was there before is
/// there again.
const LEAVES: &str = "\x1b[?1049l";

/// `top` on a terminal of 80 columns and 24 lines, which is its session's.
struct Top {
    child: Child,
    /// The side of who looks at it.
    terminal: Option<File>,
    /// Its own, for its modes.
    its_side: OwnedFd,
    shown: Receiver<String>,
    all: String,
}

impl Top {
    fn start(stage: &Stage) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).expect("there is a terminal left");
        let mut command = Command::new("setsid");
        command
            .arg("--ctty")
            .arg(stage.program("user-oomctl"))
            .args(["--socket".as_ref(), stage.socket().as_os_str()])
            .arg("top")
            .env("TERM", "xterm");
        let side = || Stdio::from(pty.slave.try_clone().expect("a descriptor"));
        command.stdin(side()).stdout(side()).stderr(side());
        let child = command.spawn().expect("util-linux");
        let terminal = File::from(pty.master);
        let mut reader = terminal.try_clone().expect("a descriptor");
        let (sender, shown) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = reader.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                if count == 0 || sender.send(text).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            terminal: Some(terminal),
            its_side: pty.slave,
            shown,
            all: String::new(),
        }
    }

    #[track_caller]
    fn shows(&mut self, text: &str) {
        until(text, || {
            self.all.extend(self.shown.try_iter());
            self.all.contains(text).then_some(())
        });
    }

    fn types(&mut self, text: &str) {
        let terminal = self.terminal.as_mut().expect("it is there");
        terminal.write_all(text.as_bytes()).expect("it takes keys");
    }

    fn sends(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    fn ends(&mut self) -> ExitStatus {
        until("it ends", || self.child.try_wait().expect("our child"))
    }

    /// Whether what is typed is shown as ever, a line at a time.
    fn is_as_it_was(&self) -> bool {
        let modes = tcgetattr(&self.its_side).expect("it is a terminal");
        let plain = LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG;
        modes.local_flags.contains(plain)
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        // Already dead is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn with_daemon(test: impl FnOnce(&Stage, Top)) {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let process = stage.process(8);
    daemon.line_with(&format!("process {} is registered", process.pid()));
    let mut top = Top::start(&stage);
    top.shows("level ok");
    top.shows("test_proc1");
    assert!(!top.is_as_it_was());
    test(&stage, top);
}

#[test]
fn a_key_ends_it_and_the_terminal_is_as_it_was() {
    with_daemon(|_, mut top| {
        top.types("q");
        assert!(top.ends().success());
        assert!(top.is_as_it_was());
        top.shows(LEAVES);
    });
}

#[test]
fn a_signal_ends_it_and_the_terminal_is_as_it_was() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT] {
        with_daemon(|_, mut top| {
            top.sends(signal);
            assert!(top.ends().success(), "{signal}");
            assert!(top.is_as_it_was(), "{signal}");
            top.shows(LEAVES);
        });
    }
}

#[test]
fn a_terminal_that_is_gone_ends_it() {
    with_daemon(|_, mut top| {
        top.terminal = None;
        top.sends(Signal::SIGHUP);
        top.ends();
    });
}

#[test]
fn stopped_it_gives_the_terminal_back_and_takes_it_again() {
    with_daemon(|_, mut top| {
        top.sends(Signal::SIGTSTP);
        until("the terminal is given back", || {
            top.is_as_it_was().then_some(())
        });
        top.shows(LEAVES);
        let stat = format!("/proc/{}/stat", top.child.id());
        until("it is stopped", || {
            let stat = std::fs::read_to_string(&stat).expect("it is there");
            stat.contains(") T ").then_some(())
        });
        top.all.clear();
        top.sends(Signal::SIGCONT);
        top.shows("\x1b[?1049h");
        top.shows("level ok");
        assert!(!top.is_as_it_was());
        top.types("q");
        assert!(top.ends().success());
    });
}

#[test]
fn a_value_that_is_typed_is_given() {
    with_daemon(|stage, mut top| {
        top.types("v5 nopause\r");
        let entry = || {
            let entries = std::fs::read_dir(stage.registry()).expect("ours");
            let path = entries.filter_map(Result::ok).next()?.path();
            std::fs::read_to_string(path).ok()
        };
        until("the entry is written", || {
            (entry()? == "5 nopause\n").then_some(())
        });
        top.shows("done");
    });
}

#[test]
fn without_a_terminal_or_a_daemon_it_says_so() {
    let stage = Stage::new();
    let mut command = Command::new(stage.program("user-oomctl"));
    command
        .args(["--socket".as_ref(), stage.socket().as_os_str()])
        .arg("top");
    let output = command.output().expect("it was built");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("`top` needs a terminal"), "{error}");

    let mut top = Top::start(&stage);
    assert_eq!(top.ends().code(), Some(3));
    top.shows("no user-oom answers");
    assert!(top.is_as_it_was());
}
