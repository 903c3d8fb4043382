//! The built program, with a pressure file of the test's own, and a daemon of
//! the test's own or none.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use control::{
    Connection, Denial, Door, Fate, Grounds, Place, Relief, Relieved, Reply, Request, Station,
    Status,
};
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_psi-monitor");

/// Long enough for a busy machine; what is waited for takes milliseconds.
const LIMIT: Duration = Duration::from_secs(60);

/// Shorter than what never comes; a test is right however long it really takes.
const SHORT: Duration = Duration::from_millis(300);

const CALM: &str = "0.00";
const HIGH: &str = "62.50";

/// A pressure file and a place for a daemon.
struct Stage {
    directory: TempDir,
}

impl Stage {
    fn new(avg10: &str) -> Self {
        let stage = Self {
            directory: tempfile::tempdir().expect("there is room for a directory"),
        };
        stage.press(avg10);
        stage
    }

    fn pressure(&self) -> PathBuf {
        self.directory.path().join("pressure")
    }

    /// Sets full avg10, in one step.
    fn press(&self, avg10: &str) {
        let text = format!(
            "some avg10=99.00 avg60=50.00 avg300=25.00 total=2\n\
             full avg10={avg10} avg60=1.50 avg300=0.75 total=1\n"
        );
        self.write(&text);
    }

    fn write(&self, text: &str) {
        let new = self.directory.path().join("new");
        fs::write(&new, text).expect("there is room for a file");
        fs::rename(new, self.pressure()).expect("there is room for a file");
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn station(&self) -> Station {
        let mut station = Station::at(Place::at(&self.socket()).expect("it is short enough"));
        station.restore().expect("it is new");
        station
    }

    /// A daemon that says how it is whenever it is asked, gives each of these
    /// answers to a request for relief, and ends when it has given them all.
    fn daemon(&self, answers: Vec<Reply>) -> JoinHandle<()> {
        let station = self.station();
        thread::spawn(move || {
            let mut answers = answers.into_iter();
            while answers.len() > 0 {
                let (mut connection, request) = next(&station);
                let answer = match request {
                    Request::Relief => answers.next(),
                    Request::Status => Some(status()),
                    _ => None,
                };
                let answer = answer.expect("there is one left");
                connection.reply(&answer).expect("the client waits");
            }
        })
    }

    /// A daemon that is asked once, how it is.
    fn daemon_for_one_status(&self) -> JoinHandle<()> {
        self.daemon_for_one(Request::Status, status())
    }

    /// A daemon that is asked this once, and answers so.
    fn daemon_for_one(&self, want: Request, reply: Reply) -> JoinHandle<()> {
        let station = self.station();
        thread::spawn(move || {
            let (mut connection, request) = next(&station);
            assert_eq!(request, want);
            connection.reply(&reply).expect("the client waits");
        })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg("--pressure-file")
            .arg(self.pressure())
            .arg("--socket")
            .arg(self.socket())
            .args(["--interval", "0.1"])
            .args(args)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("it can be run")
    }

    fn start(&self, args: &[&str]) -> Running {
        let mut child = self
            .command(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be run");
        let lines = lines_of(child.stdout.take().expect("it is piped"));
        Running { child, lines }
    }
}

/// The next client and its question.
fn next(station: &Station) -> (Connection, Request) {
    let listener = station.listener(Door::Private).expect("it was made");
    let mut connection = wait(listener, || listener.accept());
    loop {
        if let Some(call) = connection.receive().expect("the client speaks sense") {
            return (connection, call.request);
        }
        wait_until_readable(&connection);
    }
}

/// Polls until `look` sees something.
fn wait<T>(descriptor: &impl AsFd, look: impl Fn() -> Option<T>) -> T {
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        wait_until_readable(descriptor);
    }
}

fn wait_until_readable(descriptor: &impl AsFd) {
    let mut polled = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut polled, 60_000_u16), Ok(1), "nothing came");
}

/// The monitor at work. Ended when dropped.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    /// The first line from here on that contains `words`.
    #[track_caller]
    fn line_with(&self, words: &str) -> String {
        line_with(&self.lines, words)
    }

    fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    fn end(mut self) -> ExitStatus {
        self.child.wait().expect("it is a child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a child that was not waited for keeps its pid"
)]
fn send(pid: u32, signal: Signal) {
    kill(
        Pid::from_raw(i32::try_from(pid).expect("a pid is an i32")),
        signal,
    )
    .expect("it was not waited for");
}

fn lines_of(out: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

#[track_caller]
fn line_with(lines: &Receiver<String>, words: &str) -> String {
    let mut before = String::new();
    loop {
        match lines.recv_timeout(LIMIT) {
            Ok(line) if line.contains(words) => return line,
            Ok(line) => before.push_str(&format!("{line}\n")),
            Err(_) => panic!("no line with `{words}`, but:\n{before}"),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn status() -> Reply {
    Reply::Status(Status {
        pid: 123,
        ..Status::default()
    })
}

fn granted() -> Reply {
    Reply::Relief(Relief {
        by: Relieved::Kills,
        processes: 2,
        bytes: 300 << 20,
    })
}

#[test]
fn it_says_what_it_watches_and_then_a_line_a_poll() {
    let stage = Stage::new("7.05");
    let monitor = stage.start(&["--threshold", "12.5", "--recovery", "90"]);
    let path = stage.pressure();
    monitor.line_with(&format!("watches {}", path.display()));
    let settings: Vec<String> = (0..4).map(|_| monitor.line_with("  ")).collect();
    assert_eq!(
        settings[..3],
        [
            "  threshold, full avg10  12.50 %",
            "  poll interval           0.10 s",
            "  recovery interval      90.00 s",
        ]
    );
    let socket = stage.socket();
    assert_eq!(
        settings[3],
        format!(
            "  above the threshold   ask user-oom at `{}` for relief",
            socket.display()
        )
    );
    for _ in 0..3 {
        let line = monitor.line_with("full avg10");
        assert!(
            line.ends_with("Z  full avg10   7.05 %  avg60   1.50 %"),
            "{line}"
        );
    }
}

#[test]
fn above_the_threshold_it_asks_for_relief_prints_the_answer_and_holds_still() {
    let stage = Stage::new(CALM);
    let daemon = stage.daemon(vec![granted()]);
    let monitor = stage.start(&["--recovery", "86400"]);
    monitor.line_with("full avg10   0.00 %");
    stage.press(HIGH);
    monitor.line_with("full avg10  62.50 %");
    assert!(
        monitor
            .line_with("user-oom")
            .ends_with("user-oom: kills 2 processes to free 300 MiB")
    );
    monitor.line_with("waiting 86400 s for recovery");
    daemon.join().unwrap();
    assert_eq!(
        monitor.lines.recv_timeout(SHORT),
        Err(RecvTimeoutError::Timeout)
    );
}

#[test]
fn after_the_recovery_interval_it_asks_again() {
    let stage = Stage::new(HIGH);
    let refusal = Reply::Refused(Denial::EnoughAvailable {
        available_percent: 84,
    });
    let daemon = stage.daemon(vec![granted(), refusal]);
    let monitor = stage.start(&["--recovery", "0.2"]);
    monitor.line_with("kills 2 processes");
    monitor.line_with("full avg10");
    monitor.line_with("user-oom: refused: 84 % of memory is available");
    daemon.join().unwrap();
}

#[test]
fn at_the_threshold_nothing_is_done() {
    let stage = Stage::new("40.00");
    let monitor = stage.start(&[]);
    for _ in 0..3 {
        monitor.line_with("full avg10  40.00 %");
    }
    stage.press("40.01");
    monitor.line_with("no user-oom answers");
}

#[test]
fn that_no_daemon_answers_is_said_before_one_is_needed() {
    let stage = Stage::new(CALM);
    let monitor = stage.start(&[]);
    monitor.line_with("no user-oom answers");

    let daemon = stage.daemon_for_one_status();
    let monitor = stage.start(&[]);
    monitor.line_with("above the threshold");
    let line = monitor.line_with("");
    assert!(line.contains("full avg10"), "{line}");
    daemon.join().unwrap();
}

#[test]
fn without_a_daemon_it_says_so_and_goes_on() {
    let stage = Stage::new(HIGH);
    let monitor = stage.start(&["--recovery", "86400"]);
    let said = monitor.line_with("no user-oom answers");
    assert!(said.contains(&*stage.socket().to_string_lossy()), "{said}");
    // Nothing was relieved, so there is nothing to hold still for; and a
    // daemon that starts later is asked.
    monitor.line_with("no user-oom answers");
    let daemon = stage.daemon(vec![granted()]);
    monitor.line_with("user-oom: kills");
    daemon.join().unwrap();
}

#[test]
fn a_signal_or_ctrl_z_ends_it_cleanly() {
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGTSTP,
    ] {
        let stage = Stage::new(CALM);
        let monitor = stage.start(&[]);
        monitor.line_with("full avg10");
        monitor.signal(signal);
        assert!(monitor.end().success(), "{signal}");
    }
}

#[test]
fn the_end_of_its_reader_ends_it_cleanly() {
    let stage = Stage::new(CALM);
    let mut child = stage
        .command(&[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    assert!(status.success());
    assert_eq!(text(&stderr), "");
}

#[test]
fn a_command_is_told_the_pressure_and_its_end_is_said() {
    let stage = Stage::new(HIGH);
    let said = stage.directory.path().join("said");
    let command = format!("echo \"$PSI_FULL_AVG10\" > '{}'", said.display());
    let monitor = stage.start(&[
        "--action",
        "exec",
        "--command",
        &command,
        "--recovery",
        "86400",
    ]);
    monitor.line_with("running `echo");
    monitor.line_with("the command succeeded");
    assert_eq!(fs::read_to_string(said).unwrap(), "62.50\n");
}

#[test]
fn a_command_that_fails_is_said_to_have_failed() {
    let stage = Stage::new(HIGH);
    let monitor = stage.start(&[
        "--action",
        "exec",
        "--command",
        "exit 3",
        "--recovery",
        "86400",
    ]);
    monitor.line_with("the command failed: exit status: 3");
}

#[test]
fn a_command_that_still_runs_is_not_run_again_and_can_be_interrupted() {
    let stage = Stage::new(HIGH);
    let monitor = stage.start(&[
        "--action",
        "exec",
        "--command",
        "exec tail -f /dev/null",
        "--recovery",
        "0",
    ]);
    let said = monitor.line_with("running `");
    let still = monitor.line_with("the command is still running, pid ");
    let pid = still.rsplit(' ').next().unwrap();
    assert!(said.ends_with(pid), "{said}, {still}");
    // Or it would be run again once it has ended, and outlive this test.
    stage.press(CALM);
    monitor.line_with("full avg10   0.00 %");
    // What the monitor blocks is not blocked there.
    send(pid.parse().unwrap(), Signal::SIGTERM);
    monitor.line_with("the command failed: signal: 15");
}

#[test]
fn to_watch_only_is_to_do_nothing() {
    let stage = Stage::new(HIGH);
    let monitor = stage.start(&["--action", "none"]);
    monitor.line_with("nothing, watch only");
    for _ in 0..3 {
        let line = monitor.line_with("");
        assert!(line.contains("full avg10  62.50 %"), "{line}");
    }
}

#[test]
fn sysrq_is_refused_while_a_daemon_answers() {
    // Calm, so that nothing would be pressed even if it were not refused.
    let stage = Stage::new(CALM);
    let daemon = stage.daemon_for_one_status();
    let output = stage.run(&["--action", "sysrq"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("`--action sysrq` is refused"), "{said}");
    daemon.join().unwrap();
}

#[test]
fn a_script_is_told_whether_a_daemon_answers() {
    let stage = Stage::new(CALM);
    let output = stage.run(&["--check"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    assert!(
        said.starts_with("psi-monitor: no user-oom answers at"),
        "{said}"
    );

    let daemon = stage.daemon_for_one_status();
    let output = stage.run(&["--check"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.starts_with("user-oom answers at"), "{said}");
    assert!(said.contains("pid 123"), "{said}");
    daemon.join().unwrap();
}

#[test]
fn a_script_is_told_what_became_of_a_process() {
    let stage = Stage::new(CALM);
    let asked = Request::Fate { pid: 7 };
    let fate = Reply::Fate(Fate {
        pid: 7,
        name: None,
        value: Some(5),
        first: control::Signal::Term,
        last: control::Signal::Kill,
        term_signal: None,
        cause: Grounds::Warn,
        need_bytes: 479 << 20,
        held_bytes: 600 << 20,
        since: Duration::from_millis(6_300),
        gone_after: Some(Duration::from_millis(5_100)),
    });
    let daemon = stage.daemon_for_one(asked.clone(), fate.clone());
    let output = stage.run(&["--fate", "7"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), format!("{fate}\n"));
    daemon.join().unwrap();

    let daemon = stage.daemon_for_one(asked, Reply::Refused(Denial::NoVictim {}));
    let output = stage.run(&["--fate", "7"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    assert!(said.contains("process 7: refused: "), "{said}");
    assert!(said.contains("has not signalled that process"), "{said}");
    daemon.join().unwrap();
}

#[test]
fn a_pressure_file_that_is_absent_or_malformed_is_no_start() {
    let stage = Stage::new(CALM);
    for text in ["", "full\n", "some avg10=1.00\n", "lorem ipsum\n"] {
        stage.write(text);
        check_no_start(&stage);
    }
    fs::remove_file(stage.pressure()).unwrap();
    check_no_start(&stage);
}

#[track_caller]
fn check_no_start(stage: &Stage) {
    let output = stage.run(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    assert!(said.contains("`--pressure-file`"), "{said}");
    assert!(
        said.contains(&*stage.pressure().to_string_lossy()),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_pressure_file_that_makes_no_sense_for_a_while_is_said_and_outlived() {
    let stage = Stage::new(CALM);
    let monitor = stage.start(&[]);
    monitor.line_with("full avg10   0.00 %");
    stage.write("full avg10=\n");
    let said = monitor.line_with("full avg10 not readable for 0 s: cannot make sense of `");
    assert!(
        said.ends_with("line 1: expected `avg10=<percent> avg60=<percent> …`, found `avg10=`"),
        "{said}"
    );
    // Nothing old is shown meanwhile.
    monitor.line_with("full avg10 not readable for 1 s");
    stage.write("some avg10=1.00 avg60=0.00 avg300=0.00 total=0\n");
    monitor.line_with("there is no line `full avg10=<percent>`");
    stage.press("1.00");
    monitor.line_with("full avg10   1.00 %");
}

#[test]
fn nonsense_is_refused_with_exit_status_2() {
    let stage = Stage::new(CALM);
    for args in [
        &["--threshold", "100"][..],
        &["--recovery", "-1"],
        &["--action", "shoot"],
        &["--command", "true"],
        &["--action", "exec"],
        &["--sorcery"],
    ] {
        let output = stage.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(args[0]), "{args:?}");
    }
    let too_long = format!("/{}", "x".repeat(200));
    let output = stage.command(&[]).args(["--socket", &too_long]).output();
    assert_eq!(output.unwrap().status.code(), Some(2));
}

#[test]
fn the_kernels_own_pressure_is_read_where_it_keeps_any() {
    if !Path::new("/proc/pressure/memory").exists() {
        println!("skipped: this kernel keeps no pressure (CONFIG_PSI, since 4.20)");
        return;
    }
    let mut child = Command::new(PROGRAM)
        .args(["--action", "none"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = lines_of(child.stdout.take().unwrap());
    line_with(&lines, "watches /proc/pressure/memory");
    line_with(&lines, "full avg10");
    send(child.id(), Signal::SIGINT);
    assert!(child.wait().unwrap().success());
}

/// What a poll looks like on a terminal, with this in its environment.
fn poll_on_a_terminal(env: &[(&str, &str)]) -> String {
    let stage = Stage::new(HIGH);
    let pty = openpty(None, None).expect("there is a terminal left");
    let mut command = stage.command(&["--action", "none"]);
    command
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR")
        .env_remove("CLICOLOR_FORCE")
        .env("TERM", "xterm")
        .envs(env.iter().copied())
        .stdout(pty.slave);
    let mut child = command.spawn().expect("it can be run");
    // It holds the other side of the terminal.
    drop(command);
    let lines = lines_of(File::from(pty.master));
    line_with(&lines, "watch only");
    let line = line_with(&lines, "full avg10 ");
    send(child.id(), Signal::SIGINT);
    assert!(child.wait().expect("it is a child").success());
    line
}

#[test]
fn on_a_terminal_there_is_a_bar_and_colour() {
    let line = poll_on_a_terminal(&[]);
    assert!(line.contains("\u{1b}[31m"), "{line:?}");
    assert_eq!(line.matches('#').count(), 15, "{line:?}");
}

#[test]
fn no_color_leaves_the_bar_and_takes_the_colour() {
    let line = poll_on_a_terminal(&[("NO_COLOR", "1")]);
    assert!(!line.contains('\u{1b}'), "{line:?}");
    assert!(line.contains("[###############..........]"), "{line:?}");
}
