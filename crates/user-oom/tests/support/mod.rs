//! A stage for the daemon: its own registry, socket, meminfo and pressure
//! files, so that neither it nor the machine it runs on sees the other's
//! memory; and processes that hold some.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

/// What does not come within this long does not come.
const LIMIT: Duration = Duration::from_secs(60);
/// As much as the machine of the meminfo file has.
pub(crate) const TOTAL_MIB: u64 = 4000;
/// What each process of ours holds.
pub(crate) const HELD_MIB: u64 = 200;

/// Waits until `found` finds something: what is waited for.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + LIMIT;
    while Instant::now() < limit {
        if let Some(found) = found() {
            return found;
        }
        thread::yield_now();
    }
    panic!("in vain: {what}");
}

/// The folder of the built programs, the test processes among them.
fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet"])
            .args(["--package", "test_procs", "--package", "control"])
            .args(["--package", "user-oomctl"])
            .args([
                "--manifest-path",
                concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"),
            ])
            .status()
            .expect("cargo runs");
        assert!(status.success(), "cargo builds the test processes");
        let daemon = Path::new(env!("CARGO_BIN_EXE_user-oom"));
        daemon.parent().expect("it lies in a folder").to_owned()
    })
}

/// Files of the test's own, gone at its end.
#[derive(Debug)]
pub(crate) struct Stage {
    folder: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let stage = Self {
            folder: TempDir::new().expect("a folder"),
        };
        // Processes of other users must find their program and registry.
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(stage.folder.path(), open).expect("it is ours");
        stage.set_available(TOTAL_MIB);
        stage.set_pressure(0.0);
        fs::create_dir(stage.registry()).expect("a folder");
        // Not the machine's.
        fs::write(stage.path("config.toml"), "").expect("the folder is ours");
        stage
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn registry(&self) -> PathBuf {
        self.path("registry")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("socket")
    }

    pub(crate) fn entry(&self, pid: u32) -> PathBuf {
        self.registry().join(pid.to_string())
    }

    /// From now on so much memory is available, without swap.
    pub(crate) fn set_available(&self, available_mib: u64) {
        self.set_memory(available_mib, 0, 0);
    }

    /// From now on so much memory is available, and of so much swap so much free.
    pub(crate) fn set_memory(&self, available_mib: u64, swap_mib: u64, swap_free_mib: u64) {
        let text = format!(
            "MemTotal: {} kB\nMemFree: 0 kB\nMemAvailable: {} kB\nSwapTotal: {} kB\n\
             SwapFree: {} kB\nAnonPages: 0 kB\nShmem: 0 kB\nSUnreclaim: 0 kB\nHugetlb: 0 kB\n",
            TOTAL_MIB << 10,
            available_mib << 10,
            swap_mib << 10,
            swap_free_mib << 10,
        );
        self.replace("meminfo", &text);
    }

    /// From now on all tasks stall so much of the time.
    pub(crate) fn set_pressure(&self, full_percent: f64) {
        let share =
            |name| format!("{name} avg10={full_percent:.2} avg60=0.00 avg300=0.00 total=0\n");
        self.replace("pressure", &(share("some") + &share("full")));
    }

    /// Whole or not at all, for a process that reads it meanwhile.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        let new = self.path("new");
        fs::write(&new, text).expect("the folder is ours");
        fs::rename(&new, self.path(name)).expect("the folder is ours");
    }

    /// The daemon on this stage, judging what is registered on it.
    pub(crate) fn daemon(&self, arguments: &[&str]) -> Daemon {
        Daemon::start(&mut self.command(Path::new(env!("CARGO_BIN_EXE_user-oom")), arguments))
    }

    /// The same, by another executable of it, and yet to be started.
    pub(crate) fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        self.set(&mut command)
            .arg("--registered-only")
            // Growth of the processes' first second would blur the need.
            .args(["--horizon", "0", "--recover", "12", "-r", "0"])
            .args(arguments);
        command
    }

    /// Has the daemon that `command` starts be on this stage.
    pub(crate) fn set<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        self.set_but_pressure(command)
            .arg("--pressure-file")
            .arg(self.path("pressure"))
    }

    /// The same, where the kernel says how much tasks stall.
    pub(crate) fn set_but_pressure<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .arg("--config")
            .arg(self.path("config.toml"))
            .arg("--registry")
            .arg(self.registry())
            .arg("--socket")
            .arg(self.socket())
            .arg("--meminfo")
            .arg(self.path("meminfo"))
            .env_remove("RUST_LOG")
    }

    /// A built program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        programs().join(name)
    }

    /// What the daemon answers us.
    pub(crate) fn told(&self, request: &str) -> String {
        self.answer_to(Command::new(programs().join("control-test-peer")), request)
    }

    /// What it answers user `uid`.
    pub(crate) fn told_to(&self, uid: u32, request: &str) -> String {
        let mut command = Command::new(self.path("control-test-peer"));
        command.uid(uid).gid(uid);
        self.answer_to(command, request)
    }

    fn answer_to(&self, mut peer: Command, request: &str) -> String {
        peer.arg(self.socket()).args(["ask", request]);
        let output = peer.output().expect("it was built");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("it is plain")
    }

    /// A copy of the built `program` called `name`, which any user may run. By
    /// cp(1): were it written by us, a child forked meanwhile would hold it
    /// open for writing, and it could not be run (ETXTBSY).
    pub(crate) fn copy(&self, program: &str, name: &str) -> PathBuf {
        let copy = self.path(name);
        let copied = Command::new("cp")
            .arg(programs().join(program))
            .arg(&copy)
            .status();
        assert!(copied.expect("coreutils").success());
        copy
    }

    /// A process registered at 1 that holds [`HELD_MIB`] together with so many
    /// children of its own, which go with it. They end with the test, at the
    /// latest.
    pub(crate) fn family_of(&self, children: u32) -> Process {
        let script = r#"
            for child in $(seq "$2"); do
                tail -f --pid="$1" /dev/null &
            done
            "$3" --max-mib "$4" --rate-mib-s 2000 --value 1 --registry "$5" &
            wait"#;
        let elsewhere = self.path("elsewhere");
        fs::create_dir_all(&elsewhere).expect("the folder is ours");
        let mut process = Process {
            running: Running::start(
                Command::new("sh")
                    .args(["-c", script, "sh"])
                    .arg(std::process::id().to_string())
                    .arg((children - 1).to_string())
                    .arg(programs().join("test_proc1"))
                    .arg(HELD_MIB.to_string())
                    .arg(elsewhere),
            ),
        };
        process.running.line_with("enough");
        fs::write(self.entry(process.pid()), "1\n").expect("the registry is ours");
        process
    }

    /// A shell that starts a process of [`HELD_MIB`], worth `value`, again each time
    /// it ends. Both end with the test, at the latest.
    pub(crate) fn restarting(&self, value: u32) -> Process {
        let script = r#"
            while kill -0 "$1" 2> /dev/null; do
                "$2" --max-mib "$3" --rate-mib-s 2000 --value "$4" --registry "$5"
            done"#;
        Process {
            running: Running::start(
                Command::new("sh")
                    .args(["-c", script, "sh"])
                    .arg(std::process::id().to_string())
                    .arg(programs().join("test_proc1"))
                    .args([HELD_MIB, value.into()].map(|number: u64| number.to_string()))
                    .arg(self.registry()),
            ),
        }
    }

    /// A shell that is worth 1, has a child of [`HELD_MIB`], and at SIGTERM writes
    /// `saved` to a file of the name and ends. Both end with the test, at the latest.
    pub(crate) fn saving(&self, name: &str) -> Process {
        self.saving_at("TERM", name)
    }

    /// The same at another signal.
    pub(crate) fn saving_at(&self, signal: &str, name: &str) -> Process {
        let script = r#"
            trap 'echo saved > "$1"; kill -9 "$child"; exit' "$6"
            "$2" --max-mib "$3" --rate-mib-s 2000 --value 1 --registry "$4" &
            child=$!
            { tail -f --pid="$5" /dev/null; kill -9 "$child"; } 2> /dev/null &
            wait"#;
        let elsewhere = self.path("elsewhere");
        fs::create_dir_all(&elsewhere).expect("the folder is ours");
        let mut process = Process {
            running: Running::start(
                Command::new("sh")
                    .args(["-c", script, "sh"])
                    .arg(self.path(name))
                    .arg(programs().join("test_proc1"))
                    .arg(HELD_MIB.to_string())
                    .arg(elsewhere)
                    .arg(std::process::id().to_string())
                    .arg(signal),
            ),
        };
        process.holds();
        fs::write(self.entry(process.pid()), "1\n").expect("the registry is ours");
        process
    }

    /// So many connections of user `uid` that ask nothing, renewed whenever they
    /// are hung up on.
    pub(crate) fn idle_peers(&self, count: u32, uid: u32) -> Process {
        let program = self.copy("control-test-peer", "control-test-peer");
        let mut command = Command::new(program);
        command
            .arg(self.socket())
            .args(["crowd", &count.to_string()])
            .uid(uid)
            .gid(uid);
        let mut process = Process {
            running: Running::start_with(&mut command, Stdio::piped()),
        };
        process.running.line_with("crowded");
        process
    }

    /// Writes a shell script that is run as it stands.
    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("the folder is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        path.to_str().expect("plain").to_owned()
    }

    /// A process that holds [`HELD_MIB`], ignores SIGTERM and is worth
    /// `value`; it holds all of it by now.
    pub(crate) fn process(&self, value: u32) -> Process {
        self.process_of(value, None)
    }

    /// The same, not registered.
    pub(crate) fn unregistered(&self) -> Process {
        let elsewhere = self.path("elsewhere");
        fs::create_dir_all(&elsewhere).expect("the folder is ours");
        let mut command = Command::new(programs().join("test_proc1"));
        command
            .args(["--max-mib", &HELD_MIB.to_string(), "--rate-mib-s", "2000"])
            .args(["--value", "1", "--registry"])
            .arg(elsewhere);
        Process::start(&mut command)
    }

    /// A shell worth `value`, which becomes such a process after `command`: a
    /// service with a watchdog.
    pub(crate) fn becoming_a_service(&self, value: u32, command: &str) -> Becoming {
        let script = format!("{command}; export WATCHDOG_USEC=1000000; exec \"$@\"");
        let elsewhere = self.path("elsewhere");
        fs::create_dir_all(&elsewhere).expect("the folder is ours");
        let running = Running::start(
            Command::new("sh")
                .args(["-c", &script, "sh"])
                .arg(programs().join("test_proc1"))
                .args(["--max-mib", &HELD_MIB.to_string(), "--rate-mib-s", "2000"])
                .args(["--value", "1", "--registry"])
                .arg(elsewhere),
        );
        fs::write(self.entry(running.pid()), format!("{value}\n")).expect("the registry is ours");
        Becoming { running }
    }

    /// The same as user `uid`; it cannot register itself.
    pub(crate) fn process_of(&self, value: u32, uid: Option<u32>) -> Process {
        let mut program = programs().join("test_proc1");
        if uid.is_some() {
            // Where it was built, another user may not get to.
            program = self.copy("test_proc1", "test_proc1");
        }
        let mut command = Command::new(program);
        command
            .args(["--max-mib", &HELD_MIB.to_string(), "--rate-mib-s", "2000"])
            .args(["--value", &value.to_string()])
            .arg("--registry")
            .arg(match uid {
                None => self.registry(),
                Some(_) => self.path("elsewhere"),
            });
        if let Some(uid) = uid {
            let elsewhere = self.path("elsewhere");
            fs::create_dir_all(&elsewhere).expect("the folder is ours");
            fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o777)).expect("ours");
            command.uid(uid).gid(uid);
        }
        Process::start(&mut command)
    }
}

/// Sends a child of ours a signal.
#[track_caller]
pub(crate) fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pidfd = pidfd_open(pid.expect("a pid"), PidfdFlags::empty()).expect("it runs");
    let signal = rustix::process::Signal::from_named_raw(signal as i32).expect("named");
    pidfd_send_signal(pidfd, signal).expect("it is our child");
}

/// A child, what it prints, and its certain end.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    heard: Vec<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_with(command, Stdio::null())
    }

    fn start_with(command: &mut Command, stdin: Stdio) -> Self {
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it was built");
        let (sender, lines) = mpsc::channel();
        for stream in [
            Box::new(child.stdout.take().expect("piped")) as Box<dyn std::io::Read + Send>,
            Box::new(child.stderr.take().expect("piped")),
        ] {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    // Nobody hears the rest once the test is over.
                    let _ = sender.send(line);
                }
            });
        }
        Self {
            child,
            lines,
            heard: Vec::new(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn send(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Waits for a line that contains `text`, and returns it.
    #[track_caller]
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        // Other lines may come without end.
        let limit = Instant::now() + LIMIT;
        loop {
            let left = limit.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.heard.push(line);
                    if let Some(line) = self.heard.last().filter(|line| line.contains(text)) {
                        return line.clone();
                    }
                }
                Err(err) => panic!("no line with `{text}` ({err}) after {:#?}", self.heard),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already dead is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    running: Running,
}

impl Daemon {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self {
            running: Running::start(command),
        }
    }

    /// The same, with that as its standard input.
    pub(crate) fn start_on(command: &mut Command, stdin: Stdio) -> Self {
        Self {
            running: Running::start_with(command, stdin),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Waits for a line that contains `text`, and returns it.
    #[track_caller]
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        self.running.line_with(text)
    }

    /// Waits until it has said `text`, now or before: what it notes and what it
    /// introduces itself with come in either order.
    #[track_caller]
    pub(crate) fn says(&mut self, text: &str) {
        if !self.heard().iter().any(|line| line.contains(text)) {
            self.line_with(text);
        }
    }

    /// Whether it has said `text` by now.
    pub(crate) fn has_said(&mut self, text: &str) -> bool {
        let lines = self.running.lines.try_iter();
        self.running.heard.extend(lines);
        self.heard().iter().any(|line| line.contains(text))
    }

    /// All that was printed until now.
    pub(crate) fn heard(&self) -> &[String] {
        &self.running.heard
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.running
            .child
            .try_wait()
            .expect("it is our child")
            .is_none()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.running.child.wait().expect("it is our child")
    }

    pub(crate) fn send(&self, signal: Signal) {
        self.running.send(signal);
    }

    /// Sends `signal` and waits for the end; how it ended and what it printed.
    pub(crate) fn end_by(mut self, signal: Signal) -> (ExitStatus, Vec<String>) {
        self.send(signal);
        let status = self.running.child.wait().expect("it is our child");
        let mut heard = std::mem::take(&mut self.running.heard);
        while let Ok(line) = self.running.lines.recv() {
            heard.push(line);
        }
        (status, heard)
    }
}

/// A process that holds memory.
#[derive(Debug)]
pub(crate) struct Process {
    running: Running,
}

/// What is to hold memory once it executes what does.
#[derive(Debug)]
pub(crate) struct Becoming {
    running: Running,
}

impl Becoming {
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Waits until it holds all that it is to hold.
    pub(crate) fn has_become(mut self) -> Process {
        self.running.line_with("enough");
        Process {
            running: self.running,
        }
    }
}

impl Process {
    /// Starts a test process, and waits until it holds all that it is to hold.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process = Self {
            running: Running::start(command),
        };
        process.holds();
        process
    }

    /// Waits until a test process holds all that it is to hold.
    pub(crate) fn holds(&mut self) {
        self.running.line_with("enough");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub(crate) fn send(&self, signal: Signal) {
        self.running.send(signal);
    }

    pub(crate) fn lives(&mut self) -> bool {
        self.running
            .child
            .try_wait()
            .expect("it is our child")
            .is_none()
    }

    /// Waits until it has ended; by which signal.
    pub(crate) fn killed_by(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;

        self.running.child.wait().expect("it is our child").signal()
    }
}

/// The daemon's first thread, which is the loop's, standing still until dropped.
pub(crate) struct Stopped(nix::unistd::Pid);

impl Stopped {
    /// `None`, and why, where a child may not be traced.
    #[expect(clippy::print_stdout, reason = "a skip says why")]
    pub(crate) fn stop(daemon: &Daemon) -> Option<Self> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.pid()).expect("a pid"));
        if let Err(errno) = ptrace::seize(pid, Options::empty()) {
            println!("skipped: may not trace a child of ours: {errno}");
            return None;
        }
        ptrace::interrupt(pid).expect("it is traced");
        // One thread stops alone: others are not traced.
        waitpid(pid, Some(WaitPidFlag::__WALL)).expect("it is traced");
        Some(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        ptrace::detach(self.0, None).expect("it stands still");
    }
}
