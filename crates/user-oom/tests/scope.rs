//! The daemon that guards a cgroup, by real cgroups with the processes of the test
//! in them.

#[allow(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Daemon, HELD_MIB, Process, Stage, until};

const MIB: u64 = 1 << 20;

/// What brings a scope of some hundred MiB from its kill threshold to its recovery.
const SMALL_MIB: u64 = 60;

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

    /// One in this; `None`, and why, where none can be.
    #[expect(clippy::print_stderr, reason = "a skip prints why")]
    fn below(&self, name: &str) -> Option<Self> {
        if self.files.limit == V2.limit {
            let control = self.directory.join("cgroup.subtree_control");
            if let Err(err) = fs::write(control, "+memory") {
                eprintln!("skipped: no cgroup below that has the memory controller: {err}");
                return None;
            }
        }
        let directory = self.directory.join(name);
        fs::create_dir(&directory).expect("it is ours");
        Some(Self {
            directory,
            path: format!("{}/{name}", self.path),
            files: self.files,
        })
    }

    /// Removes it, once what was killed in it is gone.
    fn is_removed(&mut self) {
        until("it is empty", || fs::remove_dir(&self.directory).ok());
    }

    fn set_limit(&self, bytes: u64) {
        fs::write(self.directory.join(self.files.limit), bytes.to_string()).expect("it is ours");
    }

    /// As if it had never had one.
    fn lift_limit(&self) {
        let none = match self.files.limit == V2.limit {
            true => "max",
            false => "-1",
        };
        fs::write(self.directory.join(self.files.limit), none).expect("it is ours");
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
        self.process_in(stage, &elsewhere, 1, HELD_MIB)
    }

    /// A process as [`Stage::process`] starts it, in this cgroup.
    fn process(&self, stage: &Stage, value: u32) -> Process {
        self.process_in(stage, &stage.registry(), value, HELD_MIB)
    }

    /// The same, with so little memory that it is gone well within the deadline after
    /// SIGKILL, also on a busy machine: after that another is chosen.
    fn small(&self, stage: &Stage, value: u32) -> Process {
        self.process_in(stage, &stage.registry(), value, SMALL_MIB)
    }

    /// A shell that is worth 1, holds [`HELD_MIB`] by a child, and at SIGTERM writes to
    /// `saved` and ends.
    fn saving(&self, stage: &Stage) -> Process {
        let elsewhere = stage.path("elsewhere");
        fs::create_dir_all(&elsewhere).expect("the folder is ours");
        let script = r#"
            echo $$ > "$1/cgroup.procs"
            trap 'echo saved > "$2"; kill -9 "$child"; exit' TERM
            "$3" --max-mib "$4" --rate-mib-s 2000 --value 1 --registry "$5" &
            child=$!
            { tail -f --pid="$6" /dev/null; kill -9 "$child"; } 2> /dev/null &
            wait"#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(&self.directory);
        command
            .arg(stage.path("saved"))
            .arg(stage.program("test_proc1"));
        command.arg(HELD_MIB.to_string()).arg(elsewhere);
        command.arg(std::process::id().to_string());
        let process = Process::start(&mut command);
        fs::write(stage.entry(process.pid()), "1\n").expect("the registry is ours");
        process
    }

    fn process_in(&self, stage: &Stage, registry: &Path, value: u32, mebibytes: u64) -> Process {
        Process::start(&mut self.command(stage, registry, value, mebibytes))
    }

    fn command(&self, stage: &Stage, registry: &Path, value: u32, mebibytes: u64) -> Command {
        let enter = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", enter]).arg(&self.directory);
        command.arg(stage.program("test_proc1"));
        command.args(["--max-mib", &mebibytes.to_string(), "--rate-mib-s", "2000"]);
        command.args(["--value", &value.to_string(), "--registry"]);
        command.arg(registry);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What was killed in it may be ending yet.
        let limit = Instant::now() + Duration::from_secs(60);
        while self.directory.exists()
            && fs::remove_dir(&self.directory).is_err()
            && Instant::now() < limit
        {
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
    refused(&twice, 2, &["more than once", "`[[scope]]`"]);
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

/// The daemon that guards the machine, with `scopes` in its file.
fn guarding(stage: &Stage, scopes: &str) -> Daemon {
    stage.replace("config.toml", scopes);
    let mut daemon = stage.daemon(&["--grace", "3"]);
    daemon.line_with("  socket");
    daemon
}

/// A scope as a file has it.
fn scope_of(cgroup: &Cgroup, more: &str) -> String {
    format!("[[scope]]\ncgroup = '{}'\n{more}\n", cgroup.path)
}

#[test]
fn two_scopes_that_are_short_at_once_lose_the_least_of_each_and_the_machine_nothing() {
    let (Some(one), Some(two)) = (Cgroup::new("one"), Cgroup::new("two")) else {
        return;
    };
    one.set_limit(2000 * MIB);
    two.set_limit(2000 * MIB);
    let stage = Stage::new();
    let text = scope_of(&one, "") + &scope_of(&two, "memory = '12,11'");
    let mut daemon = guarding(&stage, &text);
    let mut outside = stage.process(1);
    let mut kept = [one.process(&stage, 9), two.process(&stage, 8)];
    let mut victims = [one.small(&stage, 5), two.small(&stage, 4)];
    let all: Vec<_> = kept.iter().chain(&victims).chain([&outside]).collect();
    knows(&mut daemon, &all);
    // Nothing grows, so the kernel has no reason to kill. Of the second 10 % are left,
    // which is enough for the first.
    one.set_limit(one.used_bytes() + 8 * MIB);
    two.set_limit(two.used_bytes() + two.used_bytes() / 9);
    for victim in &mut victims {
        assert_eq!(victim.killed_by(), Some(Signal::SIGKILL as i32));
    }
    for (victim, cgroup) in victims.iter().zip([&one, &two]) {
        let names = format!("kill pid={} ", victim.pid());
        until("its kill is told", || {
            let heard = daemon.heard().iter();
            let mut kills = heard.filter(|line| line.contains(&names));
            let is_named = kills.any(|line| line.contains(&format!(" cgroup={} ", cgroup.path)));
            if !is_named {
                daemon.line_with("");
            }
            is_named.then_some(())
        });
        assert_eq!(cgroup.kernel_kills(), 0);
    }
    assert!(kept.iter_mut().all(Process::lives) && outside.lives());
    until("its status", || {
        let status = stage.told("Status");
        let has = |word: &str| status.contains(word);
        let all = [&one, &two].map(|it| format!(r#""cgroup":"{}","level":"ok""#, it.path));
        let counts = status.matches(r#""registered":1,"#).count() == 2;
        (all.iter().all(|it| has(it)) && counts && has(r#""registered":3,"#)).then_some(())
    });
    let (_, heard) = daemon.end_by(Signal::SIGTERM);
    let of_machine = heard.iter().filter(|line| line.contains("Z low memory ("));
    assert!(
        of_machine.clone().all(|line| line.contains("): cgroup ")),
        "{heard:#?}"
    );
}

#[test]
fn a_victim_of_a_scope_counts_for_the_one_that_is_around_it() {
    let Some(outer) = Cgroup::new("outer") else {
        return;
    };
    let Some(inner) = outer.below("inner") else {
        return;
    };
    outer.set_limit(3000 * MIB);
    inner.set_limit(2000 * MIB);
    let stage = Stage::new();
    let mut daemon = guarding(&stage, &(scope_of(&outer, "") + &scope_of(&inner, "")));
    let mut cheap = outer.process(&stage, 2);
    let mut nine = inner.process(&stage, 9);
    let mut four = inner.small(&stage, 4);
    knows(&mut daemon, &[&cheap, &nine, &four]);
    // At its warn threshold: what ignores SIGTERM has its grace, in which the outer one
    // is as short. All that it needs comes from within.
    inner.set_limit(inner.used_bytes() * 100 / 92);
    daemon.line_with(&format!("kill pid={} signal=SIGTERM", four.pid()));
    outer.set_limit(outer.used_bytes() * 100 / 92);
    assert_eq!(four.killed_by(), Some(Signal::SIGKILL as i32));
    let freed = daemon.line_with(" freed ");
    assert!(freed.contains(&inner.path), "{freed}");
    until("both have enough", || {
        let status = stage.told("Status");
        (status.matches(r#""level":"ok""#).count() == 3).then_some(())
    });
    assert!(cheap.lives() && nine.lives());
    let (_, heard) = daemon.end_by(Signal::SIGTERM);
    let kills = heard.iter().filter(|line| line.contains(" kill pid="));
    let others = kills.filter(|line| !line.contains(&format!("pid={} ", four.pid())));
    assert_eq!(others.count(), 0, "{heard:#?}");
}

/// The machine's scope has it stand still, and that of a cgroup ends it.
#[test]
fn what_another_scope_has_paused_saves_its_work_at_sigterm() {
    let Some(cgroup) = Cgroup::new("paused") else {
        return;
    };
    cgroup.set_limit(2000 * MIB);
    let stage = Stage::new();
    stage.set_memory(4000, 1000, 1000);
    let mut daemon = guarding(&stage, &scope_of(&cgroup, "swap = 100\ngrace = '1 h'\n"));
    let mut nine = cgroup.process(&stage, 9);
    let job = cgroup.saving(&stage);
    knows(&mut daemon, &[&nine, &job]);
    let pid = job.pid().to_string();
    let mut ctl = Command::new(stage.program("user-oomctl"));
    let ctl = ctl.arg("--socket").arg(stage.socket());
    let asked = ctl.args(["pause", &pid]).output().expect("it was built");
    assert!(asked.status.success(), "{asked:?}");
    cgroup.set_limit(cgroup.used_bytes() * 100 / 92);
    let said = daemon.line_with(&format!("kill pid={pid} "));
    assert!(said.contains(" signal=SIGTERM "), "{said}");
    until("it saves", || stage.path("saved").exists().then_some(()));
    daemon.line_with(&format!("gone pid={pid} "));
    assert!(nine.lives());
}

#[test]
fn a_scope_that_is_made_later_is_guarded_from_then_on() {
    let Some(mut cgroup) = Cgroup::new("later") else {
        return;
    };
    fs::remove_dir(&cgroup.directory).expect("it is empty");
    let stage = Stage::new();
    let mut daemon = guarding(&stage, &scope_of(&cgroup, ""));
    daemon.says(&format!(
        "config.toml:2: not guarded until it is there: there is no cgroup `{}`",
        cgroup.path
    ));
    let status = stage.told("Status");
    assert!(status.contains(r#""level":"unknown""#), "{status}");
    // Twice: it may be removed, and made again.
    for value in [7, 3] {
        fs::create_dir(&cgroup.directory).expect("it is ours");
        cgroup.set_limit(2000 * MIB);
        daemon.line_with(&format!("cgroup {} can be read", cgroup.path));
        let mut process = cgroup.process(&stage, value);
        knows(&mut daemon, &[&process]);
        cgroup.set_limit(cgroup.used_bytes() + 6 * MIB);
        let kill = daemon.line_with(&format!("kill pid={} ", process.pid()));
        assert!(kill.contains(&format!("cgroup={} ", cgroup.path)), "{kill}");
        assert_eq!(process.killed_by(), Some(Signal::SIGKILL as i32));
        cgroup.is_removed();
        daemon.line_with("cannot read memory");
    }
    assert!(daemon.is_running());
}

#[test]
fn a_scope_that_cannot_be_meant_is_refused_where_it_stands() {
    let names = ["meant", "meant-not", "meant-absent"];
    let cgroups: Vec<_> = names.into_iter().filter_map(Cgroup::new).collect();
    let [one, unlimited, absent] = &*cgroups else {
        return;
    };
    one.set_limit(500 * MIB);
    fs::remove_dir(&absent.directory).expect("it is empty");
    let stage = Stage::new();
    let refused = |text: &str, arguments: &[&str], status: i32, wants: &[&str]| {
        stage.replace("config.toml", text);
        let program = Path::new(env!("CARGO_BIN_EXE_user-oom"));
        for check in [&[][..], &["--check-config"]] {
            let mut command = stage.command(program, arguments);
            let output = command.args(check).output().expect("it was built");
            let said = String::from_utf8_lossy(&output.stderr).replace("\n    ", " ");
            let status = if check.is_empty() { status } else { 1 };
            assert_eq!(output.status.code(), Some(status), "{said}");
            for want in wants {
                assert!(said.contains(want), "{said}");
            }
        }
    };
    let scope = scope_of(one, "");
    let twice = scope.clone() + &scope;
    refused(&twice, &[], 2, &["config.toml:5:10: ", "guarded already"]);
    let as_first = ["--cgroup", &*one.path];
    refused(
        &scope,
        &as_first,
        2,
        &["config.toml:2:10: ", "guarded already"],
    );
    // None of these can be right by any limit, so not where there is none yet either.
    for cgroup in [one, unlimited, absent] {
        let below = scope_of(cgroup, "recover = 7");
        let said = "config.toml:3:11: `recover` is not between";
        refused(&below, &[], 2, &[said, "give more than 10 and at most 100"]);
        let all = scope_of(cgroup, "memory = '100'");
        let said = "config.toml:3:10: `memory` is 100 %: ";
        refused(&all, &[], 2, &[said, "less than all memory"]);
        let little = scope_of(cgroup, "grace = 4\nmemory-size = '2 MiB'");
        let said = "config.toml:4:15: `memory-size` is 2048 KiB: ";
        refused(&little, &[], 2, &[said, "at least 4 MiB"]);
    }
    let above = scope_of(one, "memory = '101'");
    let said = ["config.toml:3:10: `memory`: ", "is not a percentage"];
    refused(&above, &[], 2, &said);
}

/// Else a user who may set its limit could keep the machine from being guarded.
#[test]
fn a_scope_that_its_limit_does_not_allow_is_guarded_once_that_does() {
    let names = ["never", "tiny", "size", "filled"];
    let cgroups: Vec<_> = names.into_iter().filter_map(Cgroup::new).collect();
    let [unlimited, tiny, size, filled] = &*cgroups else {
        return;
    };
    let stage = Stage::new();
    tiny.set_limit(30 * MIB);
    size.set_limit(500 * MIB);
    filled.set_limit(500 * MIB);
    let mut kept = filled.process(&stage, 3);
    until("it has its memory", || {
        (filled.used_bytes() >= HELD_MIB * MIB).then_some(())
    });
    // 15 % are available.
    filled.set_limit(filled.used_bytes() * 100 / 85);
    let text = scope_of(unlimited, "")
        + &scope_of(tiny, "")
        + &scope_of(size, "memory-size = '600M'")
        + &scope_of(filled, "memory = '20,10'");
    stage.replace("config.toml", &text);
    let whys = [
        "config.toml:2: not guarded until that changes: cgroup `UNLIMITED` has no memory limit",
        "config.toml:5: not guarded until that changes: `memory` is 3072 KiB here: give at least 4 MiB",
        "config.toml:9: not guarded until that changes: `memory-size` is 614400 KiB here: ",
        "config.toml:12: not guarded until that changes: this would have processes killed at once: ",
    ];
    let whys = whys.map(|why| why.replace("UNLIMITED", &unlimited.path));
    let program = Path::new(env!("CARGO_BIN_EXE_user-oom"));
    let mut check = stage.command(program, &["--check-config"]);
    let output = check.output().expect("it was built");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let listed = String::from_utf8_lossy(&output.stdout);
    for why in &whys {
        let is_said = |line: &str| line.starts_with("# Warning: ") && line.contains(why);
        assert!(listed.lines().any(is_said), "{why}: {listed}");
    }

    let mut daemon = stage.daemon(&["--grace", "1"]);
    daemon.line_with("  socket");
    for why in &whys {
        daemon.says(why);
    }
    for cgroup in &cgroups {
        daemon.says(&format!(
            "  also        cgroup {}, once it can be guarded",
            cgroup.path
        ));
    }
    let levels = |want: [&str; 4]| {
        let text = stage.told("Status");
        let is = |(cgroup, level): (&Cgroup, &str)| {
            text.contains(&format!(r#""cgroup":"{}","level":"{level}""#, cgroup.path))
        };
        cgroups.iter().zip(want).all(is).then_some(())
    };
    until("none is guarded", || levels(["unknown"; 4]));
    for cgroup in [unlimited, tiny, size, filled] {
        cgroup.set_limit(1000 * MIB);
        daemon.line_with(&format!("cgroup {} is guarded now", cgroup.path));
    }
    until("all are guarded", || levels(["ok"; 4]));
    assert!(kept.lives());
    filled.set_limit(filled.used_bytes() + 6 * MIB);
    daemon.line_with(&format!("kill pid={} ", kept.pid()));
    assert_eq!(kept.killed_by(), Some(Signal::SIGKILL as i32));
}

#[test]
fn of_a_percentage_and_a_size_the_lower_of_a_scope_that_is_made_later_counts() {
    let Some(cgroup) = Cgroup::new("lower") else {
        return;
    };
    fs::remove_dir(&cgroup.directory).expect("it is empty");
    let stage = Stage::new();
    // Of all the machine has, 10 % are 400 MiB.
    let text = "memory = '10,5'\nmemory-size = '390M,380M'\n";
    let mut daemon = guarding(&stage, &(text.to_owned() + &scope_of(&cgroup, "")));
    let path = &cgroup.path;
    daemon.says(&format!(
        "  also        cgroup {path}, once it can be guarded"
    ));
    fs::create_dir(&cgroup.directory).expect("it is ours");
    cgroup.set_limit(300 * MIB);
    daemon.line_with(&format!("cgroup {path} "));
    let mut process = cgroup.small(&stage, 3);
    knows(&mut daemon, &[&process]);
    until("it is guarded by a tenth of what it may use", || {
        let status = stage.told("Status");
        let of_scope = status.split(path.as_str()).nth(1)?;
        let warn = format!(r#""warn_bytes":{}"#, 30 * MIB);
        (of_scope.starts_with(r#"","level":"ok""#) && of_scope.contains(&warn)).then_some(())
    });
    assert!(process.lives());
    cgroup.set_limit(cgroup.used_bytes() + MIB);
    daemon.line_with(&format!("kill pid={} ", process.pid()));
    assert_eq!(process.killed_by(), Some(Signal::SIGKILL as i32));
}

#[test]
fn a_limit_that_is_lowered_below_a_size_that_was_set_has_nothing_killed() {
    let (Some(first), Some(scope)) = (Cgroup::new("lowered"), Cgroup::new("lowered-too")) else {
        return;
    };
    let stage = Stage::new();
    stage.replace("config.toml", &scope_of(&scope, "memory-size = '100M,80M'"));
    for cgroup in [&first, &scope] {
        cgroup.set_limit(400 * MIB);
    }
    let arguments = ["--cgroup", &first.path, "-M", "100M,80M"];
    let mut daemon = stage.daemon(&[&arguments[..], &["--recover", "150M"]].concat());
    daemon.line_with("  socket");
    let mut processes = [first.small(&stage, 3), scope.small(&stage, 4)];
    let [one, two] = &processes;
    knows(&mut daemon, &[one, two]);
    let level = |want: &str| {
        let status = stage.told("Status");
        (status.matches(&format!(r#""level":"{want}""#)).count() == 2).then_some(())
    };
    for _ in 0..2 {
        for cgroup in [&first, &scope] {
            cgroup.set_limit(98 * MIB);
            let path = &cgroup.path;
            let said =
                daemon.line_with(&format!("cgroup {path} is not guarded until that changes"));
            let why = "`memory-size` is 102400 KiB here: give at least 4 MiB";
            assert!(said.contains(why), "{said}");
        }
        until("neither is guarded", || level("unknown"));
        for cgroup in [&first, &scope] {
            cgroup.set_limit(400 * MIB);
            daemon.line_with(&format!("cgroup {} is guarded now", cgroup.path));
        }
        until("both are guarded", || level("ok"));
    }
    assert!(processes.iter_mut().all(Process::lives));
}

#[test]
fn a_scope_that_is_not_there_keeps_no_other_rules_from_being_read() {
    let names = ["gone", "lifted", "shrunk"];
    let cgroups: Vec<_> = names.into_iter().filter_map(Cgroup::new).collect();
    let [gone, lifted, shrunk] = &*cgroups else {
        return;
    };
    lifted.set_limit(500 * MIB);
    shrunk.set_limit(500 * MIB);
    fs::remove_dir(&gone.directory).expect("it is empty");
    let stage = Stage::new();
    let scopes = scope_of(gone, "") + &scope_of(lifted, "") + &scope_of(shrunk, "");
    let mut daemon = guarding(&stage, &scopes);
    lifted.lift_limit();
    // 10 % of it are too little to begin with.
    shrunk.set_limit(30 * MIB);
    stage.replace(
        "config.toml",
        &("user-value-cap = 900\n".to_owned() + &scopes),
    );
    let said = reload(&mut daemon, &stage);
    assert!(said.contains("user-value-cap = 900"), "{said}");

    // Nor does the first.
    let mut first = Cgroup::new("first").expect("the others could be made");
    first.set_limit(500 * MIB);
    let socket = stage.path("first-socket");
    let socket = socket.to_str().expect("plain");
    let mut daemon = stage.daemon(&["--cgroup", &first.path, "--socket", socket]);
    daemon.line_with("  socket");
    first.is_removed();
    daemon.line_with("cannot read memory");
    let mut ask = Command::new(stage.program("user-oomctl"));
    let asked = ask.args(["--socket", socket, "reload"]).output();
    let asked = asked.expect("it was built");
    assert!(asked.status.success(), "{asked:?}");
}

/// Has it read its file again, and returns the line that says what came of it.
#[track_caller]
fn reload(daemon: &mut Daemon, stage: &Stage) -> String {
    let mut ask = Command::new(stage.program("user-oomctl"));
    // It fails where the configuration is refused.
    let asked = ask
        .arg("--socket")
        .arg(stage.socket())
        .arg("reload")
        .output();
    asked.expect("it was built");
    daemon.line_with("reloaded (")
}

#[test]
fn a_scope_that_is_added_while_it_runs_is_checked_as_at_the_start() {
    let (Some(one), Some(unlimited)) = (Cgroup::new("added"), Cgroup::new("added-not")) else {
        return;
    };
    one.set_limit(500 * MIB);
    let stage = Stage::new();
    let scope = scope_of(&one, "");
    let mut daemon = guarding(&stage, &scope);
    let twice = scope.clone() + &format!("\n[[scope]]\ncgroup = '{}/'\n", one.path);
    let below = scope.clone() + &scope_of(&unlimited, "recover = 7");
    for (file, why) in [(twice, "guarded already"), (below, "is not between")] {
        stage.replace("config.toml", &file);
        let said = reload(&mut daemon, &stage);
        assert!(said.contains("nothing has changed"), "{said}");
        daemon.line_with(why);
    }
    stage.replace("config.toml", &(scope + &scope_of(&unlimited, "")));
    let said = reload(&mut daemon, &stage);
    assert!(said.contains("configuration reloaded"), "{said}");
    daemon.says("has no memory limit");
    daemon.says("adding or removing a scope takes a restart");
}

#[test]
fn the_gates_of_a_scope_take_a_restart_and_that_is_said() {
    let Some(cgroup) = Cgroup::new("gates") else {
        return;
    };
    cgroup.set_limit(500 * MIB);
    let stage = Stage::new();
    let mut daemon = guarding(&stage, &scope_of(&cgroup, "pressure = 40"));
    let file = scope_of(&cgroup, "pressure = 30\npause-pressure = 'off'");
    stage.replace("config.toml", &file);
    reload(&mut daemon, &stage);
    let path = &cgroup.path;
    daemon.says(&format!(
        "`pressure` of cgroup {path} takes a restart: it is still 40.00 %, not 30.00 % ("
    ));
    daemon.says("config.toml:3)");
    daemon.says(&format!(
        "`pause-pressure` of cgroup {path} takes a restart"
    ));
    stage.replace("config.toml", &scope_of(&cgroup, "pressure = 40"));
    reload(&mut daemon, &stage);
    let said = daemon.heard().iter();
    let said = said.filter(|line| line.contains("takes a restart: it is"));
    assert_eq!(said.count(), 2);
}

#[test]
fn the_thresholds_of_a_scope_are_shown_and_can_be_changed_while_it_runs() {
    let Some(cgroup) = Cgroup::new("changed") else {
        return;
    };
    cgroup.set_limit(2000 * MIB);
    let stage = Stage::new();
    stage.replace("config.toml", &scope_of(&cgroup, "memory = '8,4'"));
    let program = Path::new(env!("CARGO_BIN_EXE_user-oom"));
    let mut check = stage.command(program, &["--check-config"]);
    let output = check.output().expect("it was built");
    let listed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown = format!("[[scope]]\ncgroup = \"{}\"", cgroup.path);
    assert!(listed.contains(&shown), "{listed}");
    let line = listed
        .lines()
        .find(|line| line.starts_with("memory = \"8,4\""));
    assert!(
        line.is_some_and(|line| line.ends_with("config.toml:3")),
        "{listed}"
    );

    let mut daemon = stage.daemon(&["--grace", "1"]);
    daemon.line_with("  socket");
    let also = daemon.heard().iter().find(|line| line.contains("  also  "));
    let also = also.expect("it was said").clone();
    assert!(
        also.contains(&format!("cgroup {}: ", cgroup.path)),
        "{also}"
    );
    assert!(also.contains("(8.00 %)"), "{also}");
    let mut process = cgroup.process(&stage, 3);
    knows(&mut daemon, &[&process]);
    // 20 % are available.
    cgroup.set_limit(cgroup.used_bytes() * 100 / 80);
    stage.replace("config.toml", &scope_of(&cgroup, "memory = '30,25'"));
    let said = reload(&mut daemon, &stage);
    assert!(said.contains("nothing has changed"), "{said}");
    assert!(process.lives());
    stage.replace("config.toml", &scope_of(&cgroup, "memory = '15,14'"));
    let said = reload(&mut daemon, &stage);
    assert!(
        said.contains(&format!("thresholds of cgroup {}", cgroup.path)),
        "{said}"
    );
    // 13 %, at which the ones before did nothing.
    cgroup.set_limit(cgroup.used_bytes() * 100 / 87);
    daemon.line_with(&format!("kill pid={} ", process.pid()));
    assert_eq!(process.killed_by(), Some(Signal::SIGKILL as i32));
}

/// Version 1 lets a cgroup be called something else; what is kept open goes with it.
#[test]
fn what_counts_is_the_cgroup_that_has_the_name_not_the_one_that_had_it() {
    let Some(cgroup) = Cgroup::new("renamed") else {
        return;
    };
    if cgroup.files.limit != V1.limit {
        eprintln!("skipped: only cgroups of version 1 can be renamed");
        return;
    }
    let other = Cgroup {
        directory: cgroup.directory.with_extension("other"),
        path: format!("{}.other", cgroup.path),
        files: cgroup.files,
    };
    cgroup.set_limit(1500 * MIB);
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--cgroup", &cgroup.path, "--grace", "1"]);
    let mut one = cgroup.process(&stage, 1);
    knows(&mut daemon, &[&one]);
    fs::rename(&cgroup.directory, &other.directory).expect("it is ours");
    fs::create_dir(&cgroup.directory).expect("it is ours");
    cgroup.set_limit(2000 * MIB);
    // Only the other is short.
    other.set_limit(other.used_bytes() + 12 * MIB);
    let mut nine = cgroup.process(&stage, 9);
    knows(&mut daemon, &[&nine]);
    let total = format!("\"total_bytes\":{},", 2000 * MIB);
    until("its memory", || {
        let status = stage.told("Status");
        let has = |word| status.contains(word);
        (has(&*total) && has(r#""level":"ok""#) && has(r#""registered":1,"#)).then_some(())
    });
    assert!(nine.lives());
    cgroup.set_limit(cgroup.used_bytes() + 12 * MIB);
    daemon.line_with(&format!("kill pid={} ", nine.pid()));
    assert_eq!(nine.killed_by(), Some(Signal::SIGKILL as i32));
    assert!(one.lives());
}

#[test]
fn what_the_kernel_has_killed_at_the_limit_is_told_with_what_helps_there() {
    let Some(cgroup) = Cgroup::new("kernel") else {
        return;
    };
    cgroup.set_limit(SMALL_MIB * MIB);
    for file in ["memory.memsw.limit_in_bytes", "memory.swap.max"] {
        let file = cgroup.directory.join(file);
        if file.exists() {
            let bytes = match file.ends_with("memory.swap.max") {
                true => 0,
                false => SMALL_MIB * MIB,
            };
            fs::write(file, bytes.to_string()).expect("it is ours");
        }
    }
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--cgroup", &cgroup.path, "--dryrun"]);
    daemon.line_with("  socket");
    let mut command = cgroup.command(&stage, &stage.registry(), 1, HELD_MIB);
    let killed = command.output().expect("it was built").status;
    assert!(!killed.success(), "{killed}");
    let said = daemon.line_with("the kernel has killed 1 process in cgroup");
    let helps = match cgroup.files.limit == V1.limit {
        true => "at its memory limit: raise `-m` for more time to act",
        false => "raise `-m`, or set memory.high below the limit, for more time to act",
    };
    assert!(
        said.contains(&cgroup.path) && said.ends_with(helps),
        "{said}"
    );
}

/// Two cgroups of version 2, `a` and `b`, with memory files of ours, since the machine
/// may account for memory by version 1. Their pressure is the kernel's.
#[derive(Debug)]
struct Stand {
    /// With the kernel's pressure.
    real: PathBuf,
    /// Where the daemon sees our files.
    shown: PathBuf,
    /// Where these are.
    files: PathBuf,
}

impl Stand {
    /// `None`, and why, where there can be none.
    #[expect(clippy::print_stderr, reason = "a skip prints why")]
    fn new(stage: &Stage) -> Option<Self> {
        let tried = Command::new("unshare").args(["-m", "true"]).status();
        if !tried.is_ok_and(|status| status.success()) {
            eprintln!("skipped: only root can make mounts of its own (util-linux's unshare)");
            return None;
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("procfs is mounted");
        let mut mounts = mounts.lines();
        let Some(mount) = mounts.find(|line| line.contains(" - cgroup2 ")) else {
            eprintln!("skipped: no cgroups of version 2 are mounted");
            return None;
        };
        let mount = Path::new(mount.split(' ').nth(4).expect("mountinfo has its fields"));
        let name = |what| mount.join(format!("user-oom-test-{}-{what}", std::process::id()));
        let stand = Self {
            real: name("real"),
            shown: name("shown"),
            files: stage.path("files"),
        };
        for directory in [&stand.real, &stand.shown] {
            fs::create_dir(directory).expect("root may make cgroups");
        }
        for name in ["a", "b"] {
            stand.make(name);
            let files = stand.files.join(name);
            fs::create_dir_all(&files).expect("the folder is ours");
            let write = |file, text: String| {
                fs::write(files.join(file), text).expect("the folder is ours");
            };
            write("memory.max", (1000 * MIB).to_string());
            write("memory.current", (95 * MIB).to_string());
            write(
                "memory.stat",
                format!("anon {}\nactive_file 0\ninactive_file 0\n", 95 * MIB),
            );
            let pressure = stand.real.join(name).join("memory.pressure");
            if !pressure.exists() {
                eprintln!("skipped: the kernel keeps no pressure (CONFIG_PSI)");
                return None;
            }
            symlink(pressure, files.join("memory.pressure")).expect("the folder is ours");
        }
        Some(stand)
    }

    fn make(&self, name: &str) {
        fs::create_dir(self.real.join(name)).expect("root may make cgroups");
    }

    fn remove(&self, name: &str) {
        fs::remove_dir(self.real.join(name)).expect("nothing is in it");
    }

    /// What `/proc/<pid>/cgroup` would have for one.
    fn path(&self, name: &str) -> String {
        let shown = self.shown.file_name().and_then(|name| name.to_str());
        format!("/{}/{name}", shown.expect("plain"))
    }

    /// The daemon that guards `a`, and `b` as a further scope.
    fn daemon(&self, stage: &Stage) -> Daemon {
        let scope = format!("[[scope]]\ncgroup = '{}'\n", self.path("b"));
        stage.replace("config.toml", &scope);
        // Where version 1 accounts for memory, version 2 does not.
        let script = r#"mount --bind "$1" "$2" &&
            awk '$3 == "cgroup" && $4 ~ /(^|,)memory(,|$)/ { print $2 }' /proc/self/mounts |
            xargs --no-run-if-empty umount --lazy && shift 2 && exec "$@""#;
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script, "sh"]);
        command.arg(&self.files).arg(&self.shown);
        command.arg(env!("CARGO_BIN_EXE_user-oom"));
        stage.set_but_pressure(&mut command);
        command.args(["--registered-only", "-r", "0", "--cgroup", &self.path("a")]);
        Daemon::start(&mut command)
    }

    /// Waits until the daemon watches the pressure of both, for relief and for pausing.
    fn is_watched_by(&self, daemon: &Daemon) {
        let descriptors = format!("/proc/{}/fd", daemon.pid());
        let is_ours = |target: &PathBuf| {
            ["a", "b"]
                .map(|name| self.real.join(name).join("memory.pressure"))
                .contains(target)
        };
        until("the pressure of both is watched", || {
            let open = fs::read_dir(&descriptors).expect("it runs").flatten();
            let targets = open.filter_map(|open| fs::read_link(open.path()).ok());
            (targets.filter(is_ours).count() == 4).then_some(())
        });
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        for directory in [
            self.real.join("a"),
            self.real.join("b"),
            self.real.clone(),
            self.shown.clone(),
        ] {
            let _ = fs::remove_dir(directory);
        }
    }
}

#[test]
fn the_pressure_of_a_cgroup_that_is_made_again_is_watched_again() {
    let stage = Stage::new();
    let Some(stand) = Stand::new(&stage) else {
        return;
    };
    let mut daemon = stand.daemon(&stage);
    daemon.line_with("  socket");
    stand.is_watched_by(&daemon);
    // So quickly that no reading of their memory fails.
    for name in ["a", "b"] {
        stand.remove(name);
        stand.make(name);
    }
    daemon.line_with("by pressure is off: the kernel has dropped the trigger");
    stand.is_watched_by(&daemon);
    for name in ["a", "b"] {
        let said = format!(
            "the pressure of cgroup {} is watched again",
            stand.path(name)
        );
        daemon.says(&said);
    }
    // For a while.
    for name in ["a", "b"] {
        let (files, away) = (stand.files.join(name), stand.files.join("away"));
        fs::rename(&files, &away).expect("the folder is ours");
        stand.remove(name);
        daemon.line_with("cannot read memory");
        stand.make(name);
        fs::rename(&away, &files).expect("the folder is ours");
        daemon.line_with(&format!("cgroup {} can be read", stand.path(name)));
        stand.is_watched_by(&daemon);
    }
}
