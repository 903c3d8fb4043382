//! `user-oomctl top` on a real terminal: that it shows how things are, and that its end
//! leaves the terminal as it was, however it comes.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
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
    all: String,
}

impl Top {
    fn start(stage: &Stage) -> Self {
        Self::start_in(stage, &["--ctty"])
    }

    /// With these words for setsid(1).
    fn start_in(stage: &Stage, words: &[&str]) -> Self {
        // No other child is to have it as well, or it stays when we drop it.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let master = posix_openpt(flags).expect("there is a terminal left");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it is ours");
        let path = ptsname_r(&master).expect("it has a name");
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true);
        let options = options.custom_flags(OFlag::O_NOCTTY.bits());
        let its_side = OwnedFd::from(options.open(path).expect("it is unlocked"));
        let side = || Stdio::from(its_side.try_clone().expect("a descriptor"));
        let mut stty = Command::new("stty");
        stty.args(["rows", "24", "columns", "80"]).stdin(side());
        assert!(stty.status().expect("coreutils").success());
        let mut command = Command::new("setsid");
        command
            .args(words)
            .arg(stage.program("user-oomctl"))
            .args(["--socket".as_ref(), stage.socket().as_os_str()])
            .arg("top")
            .env("TERM", "xterm");
        command.stdin(side()).stdout(side()).stderr(side());
        let child = command.spawn().expect("util-linux");
        let terminal = File::from(OwnedFd::from(master));
        Self {
            child,
            terminal: Some(terminal),
            its_side,
            all: String::new(),
        }
    }

    #[track_caller]
    fn shows(&mut self, text: &str) {
        until(text, || {
            let mut bytes = [0; 4096];
            // What is not there yet is no error.
            while let Ok(count) = self
                .terminal
                .as_ref()
                .expect("it is there")
                .read(&mut bytes)
            {
                self.all += &String::from_utf8_lossy(&bytes[..count]);
            }
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
    with_daemon_and(&["--ctty"], test);
}

/// With these words for setsid(1).
fn with_daemon_and(words: &[&str], test: impl FnOnce(&Stage, Top)) {
    let stage = Stage::new();
    stage.set_available(PLENTY);
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let process = stage.process(8);
    daemon.line_with(&format!("process {} is registered", process.pid()));
    let mut top = Top::start_in(&stage, words);
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
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGALRM,
        Signal::SIGPWR,
    ] {
        with_daemon(|_, mut top| {
            top.sends(signal);
            assert!(top.ends().success(), "{signal}");
            assert!(top.is_as_it_was(), "{signal}");
            top.shows(LEAVES);
        });
    }
}

#[test]
fn a_terminal_that_is_gone_ends_it_with_or_without_a_signal() {
    for words in [&["--ctty"][..], &[]] {
        with_daemon_and(words, |_, mut top| {
            top.terminal = None;
            assert_eq!(top.ends().code(), Some(0), "{words:?}");
        });
    }
}

#[test]
fn a_signal_ends_it_where_the_terminal_takes_nothing() {
    with_daemon(|_, mut top| {
        // An open file of its own, so that only this one never waits.
        let path = format!("/proc/self/fd/{}", top.its_side.as_raw_fd());
        let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
        let mut options = OpenOptions::new();
        let mut full = options.write(true).custom_flags(flags).open(path).unwrap();
        while full.write(&[b' '; 4096]).is_ok() {}
        while full.write(b" ").is_ok() {}
        top.types("/x");
        top.sends(Signal::SIGTERM);
        let status = top.ends();
        // The kernel may have made room for the little that restoring it takes.
        let is_by_it = status.signal() == Some(Signal::SIGTERM as i32);
        assert!(is_by_it || status.success(), "{status}");
        assert!(top.is_as_it_was());
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
