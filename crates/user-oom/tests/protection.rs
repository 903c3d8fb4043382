//! What is protected, and from what, by the built daemon: what a process says
//! of itself protects nothing that root or the daemon's own user did not start.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use support::{Daemon, HELD_MIB, Process, Stage};

const NOBODY: u32 = 65_534;
const USER: u32 = 2001;
/// Has no other processes on any machine.
const HIDER: u32 = 2_147_483;
/// Of 4000 MiB: 130 must come back.
const SHORT: u64 = 350;

#[expect(clippy::print_stderr, reason = "a skip prints why")]
fn is_root(what: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root {what}");
    }
    is_root
}

/// A directory that user `uid` may write to.
fn directory_of(stage: &Stage, name: &str, uid: u32) -> std::path::PathBuf {
    let path = stage.path(name);
    fs::DirBuilder::new()
        .mode(0o755)
        .create(&path)
        .expect("the folder is ours");
    chown(&path, Some(uid), Some(uid)).expect("we are root");
    path
}

/// How a test process holds `mib` and registers where no daemon looks.
fn hold(command: &mut Command, elsewhere: &Path, mib: u64) {
    command
        .args(["--max-mib", &mib.to_string(), "--rate-mib-s", "2000"])
        .args(["--value", "1", "--registry"])
        .arg(elsewhere);
}

#[test]
fn a_hog_that_runs_as_psi_monitor_is_a_candidate_unless_root_runs_it() {
    if !is_root("runs processes as other users") {
        return;
    }
    let stage = Stage::new();
    let daemon = stage.copy("user-oom", "user-oom");
    let monitor = stage.copy("test_proc1", "psi-monitor");
    let elsewhere = directory_of(&stage, "elsewhere", USER);
    let start = |uid: u32| {
        let mut command = Command::new(&monitor);
        hold(&mut command, &elsewhere, HELD_MIB);
        command.uid(uid).gid(uid);
        let process = Process::start(&mut command);
        fs::write(stage.entry(process.pid()), "1\n").expect("the registry is ours");
        process
    };
    let (mut users, mut roots) = (start(USER), start(0));

    let mut command = Command::new(daemon);
    stage
        .set(&mut command)
        .args(["--registered-only", "--grace", "0.1", "--recover", "12"]);
    let mut daemon = Daemon::start(&mut command);
    for process in [&users, &roots] {
        daemon.line_with(&format!("process {} is registered", process.pid()));
    }
    stage.set_available(SHORT);
    daemon.line_with(&format!(
        "kill pid={} signal=SIGTERM name=psi-monitor",
        users.pid()
    ));
    assert!(users.killed_by().is_some());
    assert!(roots.lives());
}

#[test]
fn a_hog_that_runs_as_the_message_bus_is_a_candidate() {
    if !is_root("mounts") {
        return;
    }
    let bus = Path::new("/usr/bin/dbus-daemon");
    if !bus.exists() {
        eprintln!("skipped: {} is not installed", bus.display());
        return;
    }
    let stage = Stage::new();
    let hog = stage.copy("test_proc1", "hog");
    let elsewhere = directory_of(&stage, "elsewhere", USER);
    // What LD_PRELOAD does with that executable, seen from outside.
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg("mount --bind \"$0\" \"$1\" && shift && exec setpriv --clear-groups \"$@\"")
        .arg(hog)
        .arg(bus)
        .args([format!("--reuid={USER}"), format!("--regid={USER}")])
        .arg(bus);
    hold(&mut command, &elsewhere, 300);
    let hog = Process::start(&mut command);
    let executable = fs::read_link(format!("/proc/{}/exe", hog.pid())).unwrap();
    assert_eq!(executable, bus);

    // All processes of this machine are considered, so none is signalled.
    let mut command = Command::new(env!("CARGO_BIN_EXE_user-oom"));
    stage
        .set(&mut command)
        .args(["--dryrun", "--recover", "12", "--horizon", "0"])
        .args(["--prefer", "^dbus-daemon$"]);
    let mut daemon = Daemon::start(&mut command);
    daemon.line_with("socket");
    stage.set_available(SHORT);
    daemon.line_with(&format!(
        "would-kill pid={} signal=SIGTERM name=dbus-daemon ",
        hog.pid()
    ));
}

/// The daemon as user 65534 with `capabilities`, on a stage with a process of
/// another user's, which root has registered.
fn unprivileged(stage: &Stage, capabilities: &str) -> (Daemon, Process) {
    let daemon = stage.copy("user-oom", "user-oom");
    let own = directory_of(stage, "own", NOBODY);
    let victim = stage.process_of(1, Some(USER));
    fs::write(stage.entry(victim.pid()), "1\n").expect("the registry is ours");
    let mut command = Command::new("setpriv");
    command
        .args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")])
        .arg("--clear-groups")
        .arg(format!("--inh-caps={capabilities}"))
        .arg(format!("--ambient-caps={capabilities}"))
        .arg(daemon);
    stage
        .set(&mut command)
        .arg("--socket")
        .arg(own.join("socket"))
        .args(["--registered-only", "--grace", "0.1", "--recover", "12"]);
    (Daemon::start(&mut command), victim)
}

#[test]
fn a_daemon_with_cap_kill_guards_whom_it_may_signal() {
    if !is_root("grants capabilities") {
        return;
    }
    let stage = Stage::new();
    let (mut daemon, mut victim) = unprivileged(&stage, "+kill,+ipc_lock");
    let said = daemon.line_with("running as uid 65534");
    assert!(
        said.contains("CAP_SYS_NICE") && !said.contains("CAP_KILL"),
        "{said}"
    );
    assert!(!said.contains("swapped out"), "{said}");
    stage.set_available(SHORT);
    daemon.line_with(&format!("kill pid={} signal=SIGTERM", victim.pid()));
    assert!(victim.killed_by().is_some());
}

#[test]
fn a_daemon_without_cap_kill_guards_its_own_users_processes_and_says_so() {
    if !is_root("runs processes as other users") {
        return;
    }
    let stage = Stage::new();
    let (mut daemon, mut victim) = unprivileged(&stage, "-all");
    let said = daemon.line_with("can kill processes of uid 65534 only");
    assert!(
        said.contains("run it as root or with CAP_KILL, CAP_IPC_LOCK"),
        "{said}"
    );
    stage.set_available(SHORT);
    daemon.line_with("no kill: ");
    assert!(victim.lives());
}

#[test]
fn what_hides_its_executable_is_killed_last_while_it_is_small() {
    if !is_root("runs processes as other users") {
        return;
    }
    let stage = Stage::new();
    let daemon = stage.copy("user-oom", "user-oom");
    let own = directory_of(&stage, "own", HIDER);
    let hider = stage.copy("test_proc1", "hider");
    // A program that its user may run and not read is not dumpable: prctl(2).
    fs::set_permissions(&hider, fs::Permissions::from_mode(0o711)).expect("it is ours");
    let [small, large] = [40, HELD_MIB].map(|mib| {
        let mut command = Command::new(&hider);
        hold(&mut command, &own, mib);
        Process::start(command.uid(HIDER).gid(HIDER))
    });
    let mut command = Command::new(daemon);
    stage
        .set(&mut command)
        .arg("--socket")
        .arg(own.join("socket"))
        .args(["--dryrun", "--recover", "12", "--horizon", "0"])
        .uid(HIDER)
        .gid(HIDER);
    let mut daemon = Daemon::start(&mut command);
    daemon.line_with("  socket");
    stage.set_available(SHORT);
    let row = daemon.line_with(&format!("{}  hider", large.pid()));
    assert!(!row.contains("system"), "{row}");
    let row = daemon.line_with(&format!("{}  hider", small.pid()));
    assert!(row.contains("system"), "{row}");
}
