//! The daemon whose rules match containers, by a container runtime that the test
//! plays, and by real cgroups with the processes of the test in them.

#[allow(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::signal::Signal;
use support::{Daemon, HELD_MIB, Process, Stage, until};

/// At or below 10 % (400 MiB of 4000) it warns.
const SHORT_OF_ONE: u64 = 350;

/// What the daemon says of a rule that has matched nothing.
const UNMATCHED: &str = "1 rule matched no process yet";

const BY_LABEL: &str =
    "[[rule]]\nmatch = { container-label = '^user-oom\\.keep=yes$' }\nvalue = 30\n";

/// A container with a cgroup; gone at its end.
#[derive(Debug)]
struct Container {
    directory: PathBuf,
    id: String,
}

impl Container {
    /// `None`, and why, where no cgroup can be made.
    #[expect(clippy::print_stderr, reason = "a skip prints why")]
    fn new() -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let id = format!(
            "{:0>64x}",
            u64::from(std::process::id()) << 16 | u64::from(number)
        );
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("procfs is mounted");
        let mount = |kind: &str, end: &str| {
            let mut lines = mounts.lines();
            let line = lines.find(|line| line.contains(kind) && line.ends_with(end))?;
            line.split(' ').nth(4).map(PathBuf::from)
        };
        let mount = mount(" - cgroup ", "memory").or_else(|| mount(" - cgroup2 ", ""));
        let Some(mount) = mount else {
            eprintln!("skipped: no cgroups are mounted");
            return None;
        };
        let directory = mount.join(format!("docker-{id}.scope"));
        match fs::create_dir(&directory) {
            Ok(()) => Some(Self { directory, id }),
            Err(err) => {
                eprintln!("skipped: cannot make a cgroup (only root can): {err}");
                None
            }
        }
    }

    /// An unregistered process in it.
    fn process(&self, stage: &Stage) -> Process {
        let elsewhere = stage.path("elsewhere");
        fs::create_dir_all(&elsewhere).expect("the folder is ours");
        let enter = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", enter]).arg(&self.directory);
        command.arg(stage.program("test_proc1"));
        command.args(["--max-mib", &HELD_MIB.to_string(), "--rate-mib-s", "2000"]);
        command.args(["--value", "1", "--registry"]).arg(elsewhere);
        Process::start(&mut command)
    }

    /// What a runtime says of it, whose first process is `pid`.
    fn inspected(&self, pid: u32) -> String {
        let json = format!(
            r#"{{"Id":"{}","Name":"/keep","State":{{"Status":"running","Pid":{pid}}},"Config":{{
               "Image":"docker.io/library/postgres:16","Env":["A=b"],
               "Labels":{{"a.b/c":"d","user-oom.keep":"yes"}}}},"Mounts":[]}}"#,
            self.id
        );
        answer("200 OK", &json)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        until("it is empty", || fs::remove_dir(&self.directory).ok());
    }
}

/// As an Engine API writes it.
fn answer(status: &str, json: &str) -> String {
    format!(
        "HTTP/1.0 {status}\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{json}",
        json.len()
    )
}

/// A container runtime.
#[derive(Clone, Debug)]
struct Engine {
    socket: PathBuf,
    /// What it answers; `None`: nothing.
    answer: Arc<Mutex<Option<String>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Engine {
    fn new(stage: &Stage, answer: Option<String>) -> Self {
        let engine = Self {
            socket: stage.path("engine.sock"),
            answer: Arc::new(Mutex::new(answer)),
            requests: Arc::default(),
        };
        let listener = UnixListener::bind(&engine.socket).expect("the folder is ours");
        let served = engine.clone();
        thread::spawn(move || {
            let mut silent = Vec::new();
            for client in listener.incoming() {
                let client = client.expect("it listens");
                silent.extend(served.serve(client));
            }
        });
        engine
    }

    /// What it does not answer is kept, so that it stays open.
    fn serve(&self, mut client: UnixStream) -> Option<UnixStream> {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            if !matches!(client.read(&mut byte), Ok(1)) {
                return None;
            }
            request.push(byte[0]);
        }
        let answer = self.answer.lock().expect("no test panics here").clone();
        let request = String::from_utf8_lossy(&request).into_owned();
        self.requests
            .lock()
            .expect("no test panics here")
            .push(request);
        let Some(answer) = answer else {
            return Some(client);
        };
        // A client that has heard enough hangs up.
        let _ = client.write_all(answer.as_bytes());
        None
    }

    fn answers(&self, answer: String) {
        *self.answer.lock().expect("no test panics here") = Some(answer);
    }

    /// The first lines of those about `container`: others are of other tests.
    fn asked_about(&self, container: &Container) -> Vec<String> {
        let requests = self.requests.lock().expect("no test panics here");
        let about = requests.iter().filter(|line| line.contains(&container.id));
        about
            .filter_map(|request| request.lines().next())
            .map(str::to_owned)
            .collect()
    }

    fn command(&self, stage: &Stage, rules: &str) -> Command {
        stage.replace("config.toml", rules);
        let socket = self.socket.display().to_string();
        let daemon = Path::new(env!("CARGO_BIN_EXE_user-oom"));
        stage.command(daemon, &["-r", "1", "--container-socket", &socket])
    }

    fn daemon(&self, stage: &Stage, rules: &str) -> Daemon {
        Daemon::start(&mut self.command(stage, rules))
    }
}

/// A status line; the introduction says how much memory there is too.
fn status(daemon: &mut Daemon) -> String {
    loop {
        let said = daemon.line_with(" MiB available (");
        if said.starts_with("memory ") {
            return said;
        }
    }
}

/// Its rule has matched, and the loop knows.
fn matches(daemon: &mut Daemon) {
    for _so_that_a_round_is_between in 0..2 {
        while status(daemon).contains(UNMATCHED) {}
    }
}

/// The daemon kills one of the two.
#[track_caller]
fn kills(stage: &Stage, daemon: &mut Daemon, victim: &Process) {
    stage.set_available(SHORT_OF_ONE);
    let said = daemon.line_with("kill pid=");
    let want = format!("kill pid={} ", victim.pid());
    assert!(said.contains(&want), "{said}");
}

#[test]
fn a_container_is_matched_by_its_label_its_image_or_its_name() {
    for rule in [
        BY_LABEL,
        "[[rule]]\nmatch = { container-image = '/postgres:' }\nvalue = 30\n",
        "[[rule]]\nmatch = { container-name = '^keep$' }\nvalue = 30\n",
    ] {
        let stage = Stage::new();
        let Some(container) = Container::new() else {
            return;
        };
        let job = container.process(&stage);
        let beside = container.process(&stage);
        let registered = stage.process(5);
        let engine = Engine::new(&stage, Some(container.inspected(job.pid())));
        let mut daemon = engine.daemon(&stage, rule);
        matches(&mut daemon);
        kills(&stage, &mut daemon, &registered);
        // Once, whatever is in it.
        let want = format!("GET /containers/{}/json HTTP/1.0", container.id);
        assert_eq!(engine.asked_about(&container), [want]);
        drop((job, beside));
    }
}

/// A runtime that answers so at first is complained about, and asked again: the
/// rule matches once it says what it was asked.
#[track_caller]
fn is_asked_again(first: Option<String>, complaint: &str) {
    let stage = Stage::new();
    let Some(container) = Container::new() else {
        return;
    };
    let job = container.process(&stage);
    let registered = stage.process(5);
    let engine = Engine::new(&stage, first);
    let mut daemon = engine.daemon(&stage, BY_LABEL);
    let said = daemon.line_with("the container runtime at ");
    assert!(said.contains(complaint), "{said}");
    engine.answers(container.inspected(job.pid()));
    matches(&mut daemon);
    kills(&stage, &mut daemon, &registered);
}

#[test]
fn a_runtime_that_does_not_answer_is_asked_again() {
    is_asked_again(None, "no answer within ");
}

#[test]
fn a_runtime_that_answers_without_end_is_asked_again() {
    let endless = answer("200 OK", &"{\"Id\":\"".repeat(1 << 18));
    is_asked_again(Some(endless), "its answer has more than 256 KiB");
}

#[test]
fn a_runtime_that_answers_nonsense_is_asked_again() {
    is_asked_again(Some("\u{1b}[2J\r\n".to_owned()), "makes no sense");
}

#[test]
fn a_runtime_that_fails_is_asked_again() {
    is_asked_again(Some(failed()), "its answer has status 500");
}

fn failed() -> String {
    answer("500 Internal Server Error", r#"{"message":"busy"}"#)
}

/// As after a restart of Docker that the containers outlive (`live-restore`).
#[test]
fn what_a_runtime_said_counts_while_it_fails_after_a_reload() {
    let stage = Stage::new();
    let Some(container) = Container::new() else {
        return;
    };
    let job = container.process(&stage);
    let registered = stage.process(5);
    let engine = Engine::new(&stage, Some(container.inspected(job.pid())));
    let mut daemon = engine.daemon(&stage, BY_LABEL);
    matches(&mut daemon);
    engine.answers(failed());
    daemon.send(Signal::SIGHUP);
    daemon.line_with("the container runtime at ");
    kills(&stage, &mut daemon, &registered);
}

#[test]
fn a_check_of_the_configuration_says_that_a_runtime_fails() {
    let stage = Stage::new();
    let Some(container) = Container::new() else {
        return;
    };
    let _job = container.process(&stage);
    let engine = Engine::new(&stage, Some(failed()));
    let mut check = engine.command(&stage, BY_LABEL);
    let output = check.arg("--check-config").output().expect("it was built");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("its answer has status 500"), "{said}");
}

/// The rule never matches, since the runtime says so of the container.
#[track_caller]
fn is_not_matched(said: impl Fn(&Container) -> String) {
    let stage = Stage::new();
    let Some(container) = Container::new() else {
        return;
    };
    let job = container.process(&stage);
    let registered = stage.process(5);
    let engine = Engine::new(&stage, Some(said(&container)));
    // Which counts for what the first does not match.
    let by_cgroup = format!(
        "[[rule]]\nmatch = {{ cgroup = '/**/docker-{}.scope' }}\nvalue = 2\n",
        container.id
    );
    let mut daemon = engine.daemon(&stage, &(BY_LABEL.to_owned() + &by_cgroup));
    until("it was asked", || {
        (!engine.asked_about(&container).is_empty()).then_some(())
    });
    // The other rule has matched by then.
    while !status(&mut daemon).contains(UNMATCHED) {}
    for _so_that_its_answer_was_heard in 0..2 {
        let said = status(&mut daemon);
        assert!(said.contains(UNMATCHED), "{said}");
    }
    kills(&stage, &mut daemon, &job);
    drop(registered);
}

#[test]
fn a_container_that_no_runtime_knows_is_not_matched() {
    let unknown = |container: &Container| {
        let message = format!(r#"{{"message":"No such container: {}"}}"#, container.id);
        answer("404 Not Found", &message)
    };
    is_not_matched(unknown);
}

/// Whatever may make cgroups may call one after a container of another's.
#[test]
fn a_cgroup_that_is_only_called_after_a_container_is_not_matched() {
    is_not_matched(|container| container.inspected(std::process::id()));
}

#[test]
fn no_runtime_is_asked_where_no_rule_asks_about_containers() {
    let stage = Stage::new();
    let Some(container) = Container::new() else {
        return;
    };
    let _job = container.process(&stage);
    let _registered = stage.process(5);
    let engine = Engine::new(&stage, None);
    let rule = "[[rule]]\nmatch = { exe = '**/test_proc1' }\nvalue = 30\n";
    let mut daemon = engine.daemon(&stage, rule);
    matches(&mut daemon);
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with("kill pid=");
    assert!(engine.requests.lock().expect("no panic").is_empty());
}
