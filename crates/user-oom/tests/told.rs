//! What was done is told and hooks are run, whatever users, hooks and the
//! terminal do meanwhile.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::openpty;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::sys::termios::{FlowArg, tcflow};
use nix::unistd::mkfifo;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use support::Stage;

/// What does not come within this long does not come.
const LIMIT: Duration = Duration::from_secs(60);
/// At or below 10 % (400 MiB of 4000) it warns, and 12 % (480) is enough again.
const SHORT_OF_ONE: u64 = 350;
const PLENTY: u64 = 2000;
/// Victims of a family of [`CHILDREN`].
const VICTIMS: usize = 41;
const CHILDREN: u32 = 40;

/// A daemon whose output is the test's own affair; killed at its end.
struct Quiet(Child);

impl Quiet {
    fn start(mut command: Command) -> Self {
        // With `command` goes what it holds of the other end of its output.
        Self(command.stdin(Stdio::null()).spawn().expect("it was built"))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Many processes that do nothing, and end with the test.
struct Crowd {
    children: Vec<Child>,
}

impl Crowd {
    fn of(size: usize) -> Self {
        let idle = || {
            Command::new("tail")
                .args(["-f", "/dev/null"])
                .arg(format!("--pid={}", std::process::id()))
                .stdout(Stdio::null())
                .spawn()
                .expect("coreutils")
        };
        Self {
            children: (0..size).map(|_| idle()).collect(),
        }
    }

    /// Registers all of them and withdraws them all again, until `over`.
    fn chatter(&self, registry: &Path, over: &AtomicBool) {
        let entries: Vec<PathBuf> = self
            .children
            .iter()
            .map(|child| registry.join(child.id().to_string()))
            .collect();
        while !over.load(Ordering::Relaxed) {
            for entry in &entries {
                fs::write(entry, "1000000\n").expect("the registry is there");
            }
            for entry in &entries {
                // One that does not count may be gone.
                let _ = fs::remove_file(entry);
            }
        }
    }
}

/// Ends the chatter when dropped, also where the test has failed.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Where hooks say a line each.
struct Told {
    path: PathBuf,
    lines: Receiver<String>,
}

impl Told {
    fn at(path: PathBuf) -> Self {
        mkfifo(&path, Mode::S_IRWXU).expect("the folder is ours");
        // Written to by us as well, so that it does not end between two hooks.
        let open = File::options().read(true).write(true).open(&path);
        let (sender, lines) = mpsc::channel();
        let mut read = BufReader::new(open.expect("it is ours")).lines();
        thread::spawn(move || {
            while let Some(Ok(line)) = read.next() {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { path, lines }
    }

    /// A hook that says which process it runs for.
    fn hook(&self, stage: &Stage, name: &str) -> String {
        let script = format!("echo {name} $USER_OOM_PID >> {}", self.path.display());
        stage.script(name, &script)
    }

    #[track_caller]
    fn next(&self) -> String {
        self.lines.recv_timeout(LIMIT).expect("a hook ran")
    }
}

/// Whether `pid` ends within the limit.
fn ends(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Ok(pidfd) = pidfd_open(pid.expect("a pid"), PidfdFlags::empty()) else {
        return true;
    };
    let mut polled = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, 60_000_u16) == Ok(1)
}

#[test]
fn every_victim_is_told_and_every_hook_is_run_whatever_users_do_to_the_registry() {
    let stage = Stage::new();
    let told = Told::at(stage.path("told"));
    let [before, after] = ["before", "after"].map(|name| told.hook(&stage, name));
    // A reader that is slow: what it does not take is soon more than there is
    // room for.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).expect("a smaller one");
    let arguments = ["--grace", "0.1", "-P", &before, "-N", &after];
    let mut command = stage.command(Path::new(env!("CARGO_BIN_EXE_user-oom")), &arguments);
    command
        .stdout(writer.try_clone().expect("a descriptor"))
        .stderr(writer);
    let _daemon = Quiet::start(command);
    let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
    let family = stage.family_of(CHILDREN);
    let registered = format!("process {} is registered", family.pid());
    assert!(lines.any(|line| line.contains(&registered)));

    let crowd = Crowd::of(300);
    let over = AtomicBool::new(false);
    let ran: HashSet<String> = thread::scope(|scope| {
        scope.spawn(|| crowd.chatter(&stage.registry(), &over));
        let _over = Over(&over);
        stage.set_available(SHORT_OF_ONE);
        (0..2 * VICTIMS).map(|_| told.next()).collect()
    });
    assert_eq!(ran.len(), 2 * VICTIMS, "each once: {ran:#?}");
    stage.set_available(PLENTY);
    let heard: Vec<String> = lines
        .by_ref()
        .take_while(|line| !line.contains(" freed "))
        .collect();
    for what in ["signal=SIGTERM", " gone pid="] {
        let count = heard.iter().filter(|line| line.contains(what)).count();
        assert_eq!(count, VICTIMS, "{what}: {heard:#?}");
    }
}

#[test]
fn hooks_that_never_end_are_killed_with_what_they_started_and_the_others_get_their_turn() {
    let stage = Stage::new();
    let told = Told::at(stage.path("told"));
    let path = told.path.display();
    let hang = format!("tail -f /dev/null & echo started $! >> {path}\nwait");
    let hang = stage.script("hang", &hang);
    let after = told.hook(&stage, "after");
    let mut daemon = stage.daemon(&["--grace", "0.1", "-P", &hang, "-N", &after]);
    // As many as run at once.
    let family = stage.family_of(15);
    daemon.line_with(&format!("process {} is registered", family.pid()));
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with("signal=SIGKILL");
    stage.set_available(PLENTY);
    let started: Vec<u32> = (0..16)
        .map(|_| {
            let line = told.next();
            let pid = line.strip_prefix("started ").expect("no other is run yet");
            pid.parse().expect("a pid")
        })
        .collect();
    for _ in 0..16 {
        let said = daemon.line_with("the hook");
        assert!(
            said.contains(&hang) && said.ends_with("was killed: still running after 30 s"),
            "{said}"
        );
    }
    for _ in 0..16 {
        assert!(told.next().starts_with("after "));
    }
    for pid in started {
        assert!(ends(pid), "{pid} was started by a hook that was killed");
    }
}

#[test]
fn a_hook_that_is_stopped_does_not_outlive_the_daemon() {
    let stage = Stage::new();
    let told = Told::at(stage.path("told"));
    let stops = format!("echo $$ >> {}\nkill -STOP $$", told.path.display());
    let stops = stage.script("stops", &stops);
    let mut daemon = stage.daemon(&["--grace", "0.1", "-P", &stops]);
    let _one = stage.process(1);
    daemon.line_with("is registered");
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with("signal=SIGTERM");
    stage.set_available(PLENTY);
    let hook: u32 = told.next().parse().expect("a pid");
    let (status, heard) = daemon.end_by(Signal::SIGTERM);
    assert!(status.success(), "{heard:#?}");
    assert!(ends(hook), "{hook} is there yet: {heard:#?}");
    let killed = |line: &String| line.ends_with("was killed: user-oom ends");
    assert!(heard.iter().any(killed), "{heard:#?}");
}

#[test]
fn a_hook_that_fails_is_told() {
    let stage = Stage::new();
    let fails = stage.script("fails", "exit 7");
    let mut daemon = stage.daemon(&["--grace", "0.1", "-P", &fails]);
    let mut one = stage.process(1);
    daemon.line_with("is registered");
    stage.set_available(SHORT_OF_ONE);
    // It runs before the signal, and may be told of before that is.
    one.killed_by();
    stage.set_available(PLENTY);
    daemon.line_with(&format!(
        "the hook `{fails}` for {} (test_proc1) failed: exit status: 7",
        one.pid()
    ));
}

#[test]
fn hooks_run_though_the_daemons_executable_was_replaced() {
    let stage = Stage::new();
    let told = Told::at(stage.path("told"));
    let hook = told.hook(&stage, "after");
    let program = stage.path("user-oom");
    // By cp(1): see `process_of`.
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_user-oom"))
        .arg(&program)
        .status();
    assert!(copied.expect("coreutils").success());
    let mut command = stage.command(&program, &["--grace", "0.1", "-N", &hook]);
    let mut daemon = support::Daemon::start(&mut command);
    let one = stage.process(1);
    daemon.line_with("is registered");

    // As a package manager does.
    let new = stage.script("new", "exit 9");
    fs::rename(new, &program).expect("the folder is ours");
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with("signal=SIGTERM");
    stage.set_available(PLENTY);
    assert_eq!(told.next(), format!("after {}", one.pid()));
}

#[test]
fn a_terminal_that_is_stopped_keeps_neither_hooks_from_running_nor_the_daemon_from_ending() {
    let stage = Stage::new();
    let told = Told::at(stage.path("told"));
    let hook = told.hook(&stage, "hook");
    let pty = openpty(None, None).expect("there is a terminal left");
    let terminal = || pty.slave.try_clone().expect("a descriptor");
    let arguments = ["--grace", "0.1", "-P", &hook, "-N", &hook];
    let mut command = stage.command(Path::new(env!("CARGO_BIN_EXE_user-oom")), &arguments);
    command.stdout(terminal()).stderr(terminal());
    let mut daemon = Quiet::start(command);
    let mut heard = BufReader::new(File::from(pty.master)).lines();
    let family = stage.family_of(CHILDREN);
    let registered = format!("process {} is registered", family.pid());
    let said = heard.find(|line| line.as_ref().is_ok_and(|line| line.contains(&registered)));
    assert!(said.is_some());

    // ^S.
    tcflow(&pty.slave, FlowArg::TCOOFF).expect("it is a terminal");
    stage.set_available(SHORT_OF_ONE);
    for _ in 0..2 * VICTIMS {
        told.next();
    }
    let pidfd = pidfd_open(Pid::from_child(&daemon.0), PidfdFlags::empty()).expect("it is ours");
    pidfd_send_signal(pidfd, rustix::process::Signal::TERM).expect("it is ours");
    assert!(ends(daemon.0.id()), "it waits for the terminal");
    assert!(daemon.0.wait().expect("it is ours").success());
}
