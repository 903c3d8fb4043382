//! The daemon that guards a cgroup, by real cgroups with the processes of the test
//! in them.

#[allow(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Daemon, HELD_MIB, Process, Stage, until};

const MIB: u64 = 1 << 20;

/// A cgroup of ours with a memory limit, gone at its end.
#[derive(Debug)]
struct Cgroup {
    directory: PathBuf,
    path: String,
    files: Files,
}

#[derive(Clone, Copy, Debug)]
struct Files {
    limit: &'static str,
    usage: &'static str,
    kills: &'static str,
}

const V1: Files = Files {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    kills: "memory.oom_control",
};

const V2: Files = Files {
    limit: "memory.max",
    usage: "memory.current",
    kills: "memory.events",
};

impl Cgroup {
    /// One called `name`; `None`, and why, where none can be made.
    #[expect(clippy::print_stderr, reason = "a skip prints why")]
    fn new(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("procfs is mounted");
        let mount_of = |kind: &str, controller: &str| {
            let line = mounts.lines().find(|line| {
                line.contains(kind)
                    && line
                        .rsplit([' ', ','])
                        .any(|word| word == controller || controller.is_empty())
            });
            line.and_then(|line| line.split(' ').nth(4)).map(Path::new)
        };
        let (mount, files) = match mount_of(" - cgroup ", "memory") {
            Some(mount) => (Some(mount), V1),
            None => (mount_of(" - cgroup2 ", ""), V2),
        };
        let Some(mount) = mount else {
            eprintln!("skipped: no cgroups are mounted");
            return None;
        };
        let name = format!("user-oom-test-{}-{name}", std::process::id());
        let directory = mount.join(&name);
        if let Err(err) = fs::create_dir(&directory) {
            eprintln!("skipped: cannot make a cgroup (only root can): {err}");
            return None;
        }
        let cgroup = Self {
            directory,
            path: format!("/{name}"),
            files,
        };
        if !cgroup.directory.join(files.limit).exists() {
            eprintln!("skipped: the cgroup that was made has no memory controller");
            return None;
        }
        Some(cgroup)
    }

    fn set_limit(&self, bytes: u64) {
        fs::write(self.directory.join(self.files.limit), bytes.to_string()).expect("it is ours");
    }

    fn used_bytes(&self) -> u64 {
        let text = fs::read_to_string(self.directory.join(self.files.usage)).expect("ours");
        text.trim().parse().expect("a number")
    }

    fn kernel_kills(&self) -> u64 {
        let text = fs::read_to_string(self.directory.join(self.files.kills)).expect("ours");
        let mut lines = text.lines();
        let count = lines.find_map(|line| line.strip_prefix("oom_kill "));
        count.expect("it is counted").parse().expect("a number")
    }

    /// The same, not registered.
    fn unregistered(&self, stage: &Stage) -> Process {
        let elsewhere = stage.path("elsewhere");
        fs::create_dir_all(&elsewhere).expect("the folder is ours");
        self.process_in(stage, &elsewhere, 1)
    }

    /// A process as [`Stage::process`] starts it, in this cgroup.
    fn process(&self, stage: &Stage, value: u32) -> Process {
        self.process_in(stage, &stage.registry(), value)
    }

    fn process_in(&self, stage: &Stage, registry: &Path, value: u32) -> Process {
        let enter = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", enter]).arg(&self.directory);
        command.arg(stage.program("test_proc1"));
        command.args(["--max-mib", &HELD_MIB.to_string(), "--rate-mib-s", "2000"]);
        command.args(["--value", &value.to_string(), "--registry"]);
        command.arg(registry);
        Process::start(&mut command)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What was killed in it may be ending yet.
        let limit = Instant::now() + Duration::from_secs(60);
        while fs::remove_dir(&self.directory).is_err() && Instant::now() < limit {
            thread::yield_now();
        }
    }
}

#[track_caller]
fn knows(daemon: &mut Daemon, processes: &[&Process]) {
    for process in processes {
        daemon.says(&format!("process {} is registered", process.pid()));
    }
}

#[test]
fn a_cgroup_that_is_short_loses_the_least_of_what_is_in_it_and_the_machine_nothing() {
    let Some(cgroup) = Cgroup::new("short") else {
        return;
    };
    cgroup.set_limit(2000 * MIB);
    let stage = Stage::new();
    let elsewhere = stage.path("other-socket");
    let elsewhere = elsewhere.to_str().expect("plain");
    let mut machine = stage.daemon(&["--socket", elsewhere]);
    let mut daemon = stage.daemon(&["--cgroup", &cgroup.path, "--grace", "1"]);
    let guards = format!("guards      cgroup {}", cgroup.path);
    daemon.says(&guards);
    daemon.says("of 2000 MiB available");
    let mut outside = stage.process(1);
    let mut nine = cgroup.process(&stage, 9);
    let mut five = cgroup.process(&stage, 5);
    for daemon in [&mut daemon, &mut machine] {
        knows(daemon, &[&outside, &nine, &five]);
    }

    // Nothing grows, so the kernel has no reason to kill.
    cgroup.set_limit(cgroup.used_bytes() + 12 * MIB);
    let kill = daemon.line_with(" kill pid=");
    assert!(kill.contains(&format!("pid={}", five.pid())), "{kill}");
    assert_eq!(five.killed_by(), Some(Signal::SIGKILL as i32));
    let freed = daemon.line_with("freed");
    assert!(freed.ends_with("sum of values lost: 5"), "{freed}");
    assert!(outside.lives() && nine.lives() && machine.is_running());
    assert_eq!(cgroup.kernel_kills(), 0);
    let short = daemon
        .heard()
        .iter()
        .find(|line| line.contains("low memory ("));
    let short = short.expect("the decision was told");
    let names = format!("): cgroup {}: memory ", cgroup.path);
    assert!(short.contains(&names), "{short}");
    // It counts what is registered in its cgroup.
    until("its status", || {
        let status = stage.told("Status");
        let has = |word| status.contains(word);
        (has(r#""registered":1,"#) && has(r#""killed":1,"#)).then_some(())
    });
    let (_, heard) = machine.end_by(Signal::SIGTERM);
    assert!(
        !heard.iter().any(|line| line.contains("kill pid=")),
        "{heard:#?}"
    );
}

/// The table is not read while there is plenty, so that it is new when memory is
/// short; and its parent is outside.
#[test]
fn what_was_started_in_the_cgroup_just_before_it_is_short_is_chosen_too() {
    let Some(cgroup) = Cgroup::new("newcomer") else {
        return;
    };
    cgroup.set_limit(4000 * MIB);
    let stage = Stage::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_user-oom"));
    // What is not registered is chosen too, where it is in the cgroup.
    stage.set(&mut command).args(["--cgroup", &cgroup.path]);
    command.args(["--horizon", "0", "--recover", "12", "--grace", "1"]);
    let mut daemon = Daemon::start(&mut command);
    let mut nine = cgroup.process(&stage, 9);
    knows(&mut daemon, &[&nine]);
    let mut newcomer = cgroup.unregistered(&stage);
    cgroup.set_limit(cgroup.used_bytes() + 12 * MIB);
    daemon.line_with(&format!("kill pid={} ", newcomer.pid()));
    newcomer.killed_by();
    assert!(nine.lives());
    let (_, heard) = daemon.end_by(Signal::SIGTERM);
    let kills = heard.iter().filter(|line| line.contains(" kill pid="));
    let other = kills.filter(|line| !line.contains(&format!("pid={} ", newcomer.pid())));
    assert_eq!(other.count(), 0, "{heard:#?}");
}

#[test]
fn a_shortage_of_the_machine_is_not_a_cgroups_but_for_what_it_may_yet_take() {
    let Some(cgroup) = Cgroup::new("machine") else {
        return;
    };
    cgroup.set_limit(1000 * MIB);
    let stage = Stage::new();
    let elsewhere = stage.path("other-socket");
    let elsewhere = elsewhere.to_str().expect("plain");
    let mut machine = stage.daemon(&["--socket", elsewhere, "--dryrun"]);
    let mut daemon = stage.daemon(&["--cgroup", &cgroup.path, "--grace", "1"]);
    let mut outside = stage.process(1);
    let mut inside = cgroup.process(&stage, 9);
    for daemon in [&mut daemon, &mut machine] {
        knows(daemon, &[&outside, &inside]);
    }
    // 5 % of the machine, and 20 % of what the cgroup may use.
    stage.set_available(200);
    machine.line_with("low memory (kill)");
    let available = format!("\"available_bytes\":{},", 200 * MIB);
    until("what is available to it", || {
        let status = stage.told("Status");
        (status.contains(&available) && status.contains(r#""level":"ok""#)).then_some(())
    });
    assert!(inside.lives());
    // No more than the machine has is available to it.
    stage.set_available(40);
    daemon.line_with(&format!("kill pid={} ", inside.pid()));
    assert_eq!(inside.killed_by(), Some(Signal::SIGKILL as i32));
    assert!(outside.lives());
}

#[test]
fn a_cgroup_that_cannot_be_guarded_is_refused_with_what_would_be_right() {
    let stage = Stage::new();
    let refused = |arguments: &[&str], status: i32, wants: &[&str]| {
        let program = Path::new(env!("CARGO_BIN_EXE_user-oom"));
        let mut command = stage.command(program, arguments);
        let output = command.output().expect("it was built");
        let said = String::from_utf8_lossy(&output.stderr).replace("\n    ", " ");
        assert_eq!(output.status.code(), Some(status), "{said}");
        for want in wants {
            assert!(said.contains(want), "{said}");
        }
    };
    let twice = ["--cgroup", "/a", "--cgroup", "/b"];
    refused(
        &twice,
        2,
        &["more than once", "start another", "`--socket`"],
    );
    refused(
        &["--cgroup", "/no such"],
        1,
        &["cannot guard a cgroup: ", "no cgroup"],
    );
    let Some(cgroup) = Cgroup::new("unlimited") else {
        return;
    };
    let path = &*cgroup.path;
    let file = cgroup.directory.join(cgroup.files.limit);
    let file = file.to_str().expect("plain");
    refused(
        &["--cgroup", path],
        1,
        &["has no memory limit", file, "such as 2G"],
    );
    cgroup.set_limit(500 * MIB);
    let module = ["--source", "module", "--cgroup", path];
    refused(
        &module,
        2,
        &["`--source module` cannot be used with `--cgroup`"],
    );
    refused(
        &["--cgroup", path, "-M", "600M"],
        2,
        &["less than all memory, 500 MiB"],
    );
}
