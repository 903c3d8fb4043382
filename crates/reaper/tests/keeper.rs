//! Whatever ends the daemon, its keeper or both, between freeze and thaw:
//! nothing stays stopped.
//!
//! The daemon is a process of its own, whose pausing thread is traced from one
//! system call to the next, so that it, or its keeper, is killed between any two
//! of them. `USER_OOM_KILLS=1000 cargo test -p reaper --test keeper` makes so many
//! of these kills, and not one at each point.

#[path = "child/mod.rs"]
mod child;

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use reaper::{LeftoverError, ProcessReader, RunState, thaw_leftover};
use rustix::event::poll;
use rustix::io::ioctl_fionbio;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

use crate::child::cgroup::Cgroup;
use crate::child::reader::Reader;
use crate::child::{Child, LIMIT, PROC};

/// How many points between freeze and thaw, and what is killed at each.
const POINTS: usize = 20;
const KILLED: [Killed; 3] = [Killed::Daemon, Killed::Keeper, Killed::Both];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killed {
    Daemon,
    Keeper,
    Both,
}

/// A daemon that pauses what it is told to, and its keeper.
struct Daemon {
    child: process::Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// How much it found left paused.
    thawed: String,
}

impl Daemon {
    fn start(leftover: &Path, members: &[Child]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_reaper-test-child"))
            .arg("pauser")
            .arg(leftover)
            .args(members.iter().map(|member| member.id().pid.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child can be started");
        let mut daemon = Self {
            stdin: child.stdin.take().expect("it is piped"),
            stdout: BufReader::new(child.stdout.take().expect("it is piped")),
            child,
            thawed: String::new(),
        };
        let said = daemon.line();
        let thawed = said.strip_prefix("ready ").expect("it is ready");
        thawed.clone_into(&mut daemon.thawed);
        daemon
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it is text");
        line.trim_end().to_owned()
    }

    #[track_caller]
    fn tell(&mut self, what: &str) {
        self.stdin.write_all(what.as_bytes()).expect("it listens");
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its only child.
    fn keeper(&self) -> Option<u32> {
        let mut found = None;
        let children = Reader.children(&[self.pid()], &mut |child| found = Some(child.pid));
        children.expect("procfs is there");
        found.filter(|pid| state(*pid) != Some(RunState::Ended))
    }

    /// Its thread that freezes, once that has given itself its name.
    fn pauser(&self) -> Pid {
        let mut found = None;
        wait_until("a thread of that name", || {
            let tasks = fs::read_dir(format!("{PROC}/{}/task", self.pid())).expect("it is there");
            let mut ids = tasks.filter_map(|task| task.ok()?.file_name().into_string().ok());
            found = ids.find(|id| {
                let name = format!("{PROC}/{}/task/{id}/comm", self.pid());
                fs::read_to_string(name).is_ok_and(|name| name == "oom-pauser\n")
            });
            found.is_some()
        });
        Pid::from_raw(found.and_then(|id| id.parse().ok()).expect("a number"))
    }

    fn kill(&mut self) {
        self.child.kill().expect("it is ours");
    }

    /// Reaps it.
    fn wait(mut self) {
        self.child.wait().expect("it is ours");
    }

    /// Has it thaw everything and end.
    fn dismiss(self) {
        let Self {
            mut child, stdin, ..
        } = self;
        drop(stdin);
        let status = child.wait().expect("it is ours");
        assert!(status.success(), "{status}");
    }
}

fn state(pid: u32) -> Option<RunState> {
    let state = Reader.state(pid).expect("procfs is there");
    state.map(|(_, state)| state)
}

fn kill(pid: u32) {
    send(pid, Signal::KILL);
}

fn send(pid: u32, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().expect("a pid")).expect("not 0");
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("it is there");
    pidfd_send_signal(pidfd, signal).expect("it is ours");
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "{what}");
        let moment = Duration::from_millis(1).try_into().expect("it is short");
        poll(&mut [], Some(&moment)).expect("time passes");
    }
}

/// Where the tracing of a daemon's thread ended.
#[derive(Debug, PartialEq, Eq)]
enum Traced {
    /// At the stop that was asked for.
    There,
    /// It had done all before.
    Done,
}

/// Has `daemon` freeze and thaw, and stops its pausing thread at the stop of
/// this number, before or after a system call; it is traced then. `look` is
/// called at each with its number.
fn trace(daemon: &mut Daemon, stop: usize, mut look: impl FnMut(usize)) -> nix::Result<Traced> {
    let thread = daemon.pauser();
    ptrace::seize(thread, ptrace::Options::PTRACE_O_TRACESYSGOOD)?;
    ptrace::interrupt(thread)?;
    waitpid(thread, Some(WaitPidFlag::__WALL))?;
    daemon.tell("freeze\nthaw\n");
    ioctl_fionbio(daemon.stdout.get_ref(), true).expect("a pipe");
    let mut said = Vec::new();
    let mut stops = 0;
    let traced = 'traced: loop {
        look(stops);
        if stops == stop {
            break Traced::There;
        }
        ptrace::syscall(thread, None)?;
        stops += 1;
        let flags = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
        while waitpid(thread, Some(flags))? == WaitStatus::StillAlive {
            // It waits in a system call: for what comes next, once it has done
            // all.
            match daemon.stdout.get_mut().read_to_end(&mut said) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                read => panic!("{read:?}"),
            }
            if String::from_utf8_lossy(&said).contains("Thawed") {
                ptrace::interrupt(thread)?;
                waitpid(thread, Some(WaitPidFlag::__WALL))?;
                break 'traced Traced::Done;
            }
            std::thread::yield_now();
        }
    };
    ioctl_fionbio(daemon.stdout.get_ref(), false).expect("a pipe");
    Ok(traced)
}

/// What the keeper's tests freeze: a leader and two others.
fn members() -> Vec<Child> {
    (0..3).map(|_| Child::idle()).collect()
}

#[track_caller]
fn assert_all_run(members: &[Child], when: &str) {
    for member in members {
        let pid = member.id().pid;
        assert_eq!(state(pid), Some(RunState::Runs), "{pid}, {when}");
    }
}

/// Kills at the stop of this number; nothing may stay stopped.
fn kill_at(stop: usize, killed: Killed, members: &[Child]) -> nix::Result<()> {
    let folder = TempDir::new().expect("a folder");
    let leftover = folder.path().join("paused");
    let when = format!("{killed:?} killed at stop {stop}");
    let mut daemon = Daemon::start(&leftover, members);
    let keeper = daemon.keeper().expect("it has a keeper");
    let traced = trace(&mut daemon, stop, |_| {})?;
    let thread = daemon.pauser();
    match killed {
        Killed::Keeper => {
            kill(keeper);
            ptrace::detach(thread, None)?;
            if traced == Traced::There {
                // Another keeper takes over, or the first was not needed any
                // more.
                while !daemon.line().starts_with("Thawed") {}
            }
            assert_all_run(members, &when);
            wait_until("another keeper", || {
                daemon.keeper().is_some_and(|other| other != keeper)
            });
            daemon.dismiss();
        }
        Killed::Daemon | Killed::Both => {
            if killed == Killed::Both {
                kill(keeper);
            }
            daemon.kill();
            // What is traced is reaped by its tracer first.
            while !matches!(
                waitpid(thread, Some(WaitPidFlag::__WALL)),
                Ok(WaitStatus::Signaled(..)) | Err(_)
            ) {}
            daemon.wait();
            let is_over = || !matches!(state(keeper), Some(RunState::Runs | RunState::Stopped));
            wait_until("the keeper's end", is_over);
            if killed == Killed::Both {
                Daemon::start(&leftover, members).dismiss();
            }
            assert_all_run(members, &when);
        }
    }
    assert!(!leftover.exists(), "{when}");
    Ok(())
}

#[test]
fn whatever_is_killed_between_freeze_and_thaw_nothing_stays_stopped() {
    let members = members();
    let folder = TempDir::new().expect("a folder");
    let mut daemon = Daemon::start(&folder.path().join("paused"), &members);
    let mut frozen = Vec::new();
    let traced = trace(&mut daemon, usize::MAX, |stop| {
        let runs = |member: &Child| state(member.id().pid) == Some(RunState::Runs);
        if !members.iter().all(runs) {
            frozen.push(stop);
        }
    });
    match traced {
        Ok(traced) => assert_eq!(traced, Traced::Done),
        Err(err) => {
            println!("skipped: may not trace a child here: {err}");
            return;
        }
    }
    ptrace::detach(daemon.pauser(), None).expect("it is traced");
    daemon.dismiss();
    // From the one before the first is stopped to the one after the last runs.
    let (Some(first), Some(last)) = (frozen.first(), frozen.last()) else {
        panic!("it froze nothing");
    };
    let (first, stops) = (first - 1, last - first + 3);
    assert!(POINTS <= stops, "{stops}");

    let asked = std::env::var("USER_OOM_KILLS").ok();
    let kills = asked.map_or(POINTS * KILLED.len(), |asked| {
        asked.parse().expect("USER_OOM_KILLS is a number")
    });
    for number in 0..kills {
        let killed = KILLED[number % KILLED.len()];
        let point = number / KILLED.len() % POINTS;
        // Each time round a little later, up to the next point.
        let round = number / (KILLED.len() * POINTS);
        let stop = first + point * stops / POINTS + round % (stops / POINTS);
        kill_at(stop, killed, &members).expect("a child can be traced");
    }
    println!("{kills} of {kills} kills among {stops} stops: nothing stayed stopped");
}

#[test]
fn a_keeper_that_is_killed_is_replaced_and_the_next_holds_everything() {
    let members = members();
    let folder = TempDir::new().expect("a folder");
    let leftover = folder.path().join("paused");
    let mut daemon = Daemon::start(&leftover, &members);
    daemon.tell("freeze\n");
    assert!(daemon.line().starts_with("Frozen"));
    let mut keeper = daemon.keeper().expect("it has a keeper");
    let held = descriptors(keeper);
    for _ in 0..2 {
        kill(keeper);
        wait_until("another keeper that holds as much", || {
            daemon
                .keeper()
                .is_some_and(|other| other != keeper && descriptors(other) == held)
        });
        keeper = daemon.keeper().expect("it was there");
    }
    for member in &members {
        assert_eq!(state(member.id().pid), Some(RunState::Stopped));
    }
    daemon.kill();
    daemon.wait();
    wait_until("the keeper's end", || {
        state(keeper).is_none_or(|state| state == RunState::Ended)
    });
    assert_all_run(&members, "after the second keeper");
    assert!(!leftover.exists());
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("{PROC}/{pid}/fd")).map_or(0, Iterator::count)
}

/// The keeper ignores what ends the daemon.
#[test]
fn a_keeper_outlives_the_signals_that_end_its_daemon() {
    let members = members();
    let folder = TempDir::new().expect("a folder");
    let leftover = folder.path().join("paused");
    let mut daemon = Daemon::start(&leftover, &members);
    let keeper = daemon.keeper().expect("it has a keeper");
    daemon.tell("freeze\n");
    assert!(daemon.line().starts_with("Frozen"));
    let pid = rustix::process::Pid::from_raw(keeper.try_into().expect("a pid")).expect("not 0");
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("it is there");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        pidfd_send_signal(&pidfd, signal).expect("it is ours");
    }
    let status = fs::read_to_string(format!("{PROC}/{keeper}/status")).expect("it is there");
    assert!(status.contains("Name:\tuser-oom-keeper\n"), "{status}");
    let line = fs::read_to_string(format!("{PROC}/{keeper}/cmdline")).expect("it is there");
    assert!(line.starts_with("user-oom-keeper\0"), "{line}");
    daemon.kill();
    daemon.wait();
    wait_until("all run", || {
        members
            .iter()
            .all(|member| state(member.id().pid) == Some(RunState::Runs))
    });
}

/// Its descriptors stay open as long as one of its threads is there.
#[test]
fn a_daemon_whose_other_threads_cannot_end_is_gone_with_its_first() {
    let members = members();
    let folder = TempDir::new().expect("a folder");
    let mut daemon = Daemon::start(&folder.path().join("paused"), &members);
    daemon.tell("freeze\n");
    assert!(daemon.line().starts_with("Frozen"));
    daemon.tell("leave\n");
    wait_until("all run", || {
        members
            .iter()
            .all(|member| state(member.id().pid) == Some(RunState::Runs))
    });
    daemon.kill();
    daemon.wait();
}

#[test]
fn a_cgroup_is_thawed_by_the_keeper_or_by_the_next_daemon() {
    let Some(cgroup) = Cgroup::new("keeper") else {
        return;
    };
    let members = members();
    members.iter().for_each(|member| cgroup.take(member));
    for killed in [Killed::Daemon, Killed::Both] {
        let folder = TempDir::new().expect("a folder");
        let leftover = folder.path().join("paused");
        let mut daemon = Daemon::start(&leftover, &members);
        daemon.tell("freeze\n");
        daemon.line();
        assert!(cgroup.is_frozen());
        if killed == Killed::Both {
            // So that it starts no other.
            send(daemon.pid(), Signal::STOP);
            kill(daemon.keeper().expect("it has a keeper"));
        }
        daemon.kill();
        daemon.wait();
        if killed == Killed::Both {
            assert!(cgroup.is_frozen());
            let next = Daemon::start(&leftover, &members);
            assert_eq!(next.thawed, "1");
            next.dismiss();
        }
        wait_until("thawed", || !cgroup.is_frozen());
        wait_until("no leftover file", || !leftover.exists());
    }
}

/// Has what `text` says is paused thawed; how much that was, and what failed.
#[track_caller]
fn thaw(text: &str) -> (u32, Vec<String>) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("paused");
    fs::write(&path, text).expect("it is ours");
    let thawing = thaw_leftover(&path, &Reader).expect("it is ours");
    let thawing = thawing.expect("it is there");
    assert!(!path.exists());
    let failures = thawing.failures.iter();
    let text = |err: &LeftoverError| err.to_string().replace(&*path.to_string_lossy(), "F");
    (thawing.thawed, failures.map(text).collect())
}

#[test]
fn a_leftover_file_thaws_only_what_it_names_and_is_stopped() {
    let (stopped, running) = (Child::idle(), Child::idle());
    stopped.stop();
    let (id, other) = (stopped.id(), running.id());
    // The same pid with another start time is another process.
    let later = id.start_ticks + 1;
    let text = format!("paused by 1\nprocess {} {later}\n", id.pid);
    assert_eq!(thaw(&text), (0, Vec::new()));
    assert_eq!(state(id.pid), Some(RunState::Stopped));
    let text = format!(
        "paused by 1\nprocess {} {}\nprocess {} {}\n",
        id.pid, id.start_ticks, other.pid, other.start_ticks
    );
    assert_eq!(thaw(&text), (1, Vec::new()));
    assert_eq!(state(id.pid), Some(RunState::Runs));
}

#[test]
fn what_is_damaged_in_a_leftover_file_is_named_and_skipped() {
    let stopped = Child::idle();
    stopped.stop();
    let id = stopped.id();
    let text = format!(
        "process 7\nprocess -1 7\ncgroup 7 relative\nprocess {} {}\nprocess 12",
        id.pid, id.start_ticks
    );
    let header = "line 1 of `F` is skipped (expected `paused by <pid>`)";
    let skipped = |line| {
        format!(
            "line {line} of `F` is skipped (expected `process <pid> <start time>` or `cgroup \
             <inode> <path>`)"
        )
    };
    let failures = vec![header.to_owned(), skipped(2), skipped(3), skipped(5)];
    assert_eq!(thaw(&text), (1, failures));
    assert_eq!(thaw("paused by 1\ncgroup 7 /\n"), (0, Vec::new()));
}

#[test]
fn a_foreign_leftover_file_is_not_heeded() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("paused");
    let stopped = Child::idle();
    stopped.stop();
    let id = stopped.id();
    let check = || {
        assert!(thaw_leftover(&path, &Reader).is_err());
        assert_eq!(state(id.pid), Some(RunState::Stopped));
        fs::remove_file(&path).expect("it was left");
    };
    assert!(matches!(thaw_leftover(&path, &Reader), Ok(None)));

    let text = format!("paused by 1\nprocess {} {}\n", id.pid, id.start_ticks);
    let own: PathBuf = folder.path().join("own");
    fs::write(&own, &text).expect("it is ours");
    symlink(&own, &path).expect("it is ours");
    check();
    fs::write(&path, &text).expect("it is ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("it is ours");
    check();
    if rustix::process::geteuid().is_root() {
        fs::write(&path, &text).expect("it is ours");
        std::os::unix::fs::chown(&path, Some(65534), None).expect("we are root");
        check();
    } else {
        println!("skipped: would give the file to another user as root");
    }
}
