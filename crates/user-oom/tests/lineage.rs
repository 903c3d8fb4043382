//! A group cannot be left: with the built daemon, and processes that fork twice
//! and call setsid(2).

#[allow(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::process::Command;

use support::{Daemon, Stage};

const FORKS: usize = 40;
/// At or below 10 % (400 MiB of 4000) it warns, and 12 % (480) is enough again.
const SHORT: u64 = 350;

/// Pid 1 of a pid namespace, so that no other process of this machine is seen:
/// starts two jobs of root's, which register, then the forks of user 2001, each
/// of which holds 5 MiB, and when they do, the program that is named.
const MACHINE: &str = "
import os, signal, subprocess, sys
registry, forks = sys.argv[1], int(sys.argv[2])
ready, done = os.pipe()

def hold(name, mebibytes, uid):
    open('/proc/self/comm', 'w').write(name)
    os.setuid(uid)
    held = bytearray(b'x') * (mebibytes << 20)
    os.write(done, b'.')
    while True:
        signal.pause()

for name, value, mebibytes in ('train', 9, 200), ('db', 8, 140):
    if os.fork() == 0:
        open(f'{registry}/{os.getpid()}', 'w').write(f'{value}')
        hold(name, mebibytes, 0)
for _ in range(forks):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        hold('fork', 5, 2001)
for _ in range(forks + 2):
    os.read(ready, 1)
subprocess.Popen(sys.argv[3:])
while True:
    os.wait()
";

#[test]
fn of_double_forks_with_setsid_beside_registered_jobs_only_forks_are_chosen() {
    let namespaces = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let tried = Command::new("unshare")
        .args(namespaces)
        .arg("true")
        .output();
    if !tried.is_ok_and(|output| output.status.success()) {
        println!("skipped: only root can make a pid namespace (util-linux's unshare)");
        return;
    }
    for kill_percent in [5, 9] {
        let stage = Stage::new();
        let mut daemon = Command::new(env!("CARGO_BIN_EXE_user-oom"));
        stage
            .set(&mut daemon)
            .args(["--dryrun", "--recover", "12", "--horizon", "0", "-r", "0"])
            .args(["-m", &format!("10,{kill_percent}")]);
        let mut command = Command::new("unshare");
        command
            .args(namespaces)
            .args(["python3", "-c", MACHINE])
            .arg(stage.registry())
            .arg(FORKS.to_string())
            .arg(daemon.get_program())
            .args(daemon.get_args())
            .env_remove("RUST_LOG");
        let mut daemon = Daemon::start(&mut command);
        daemon.says("is registered: value 9");
        daemon.says("is registered: value 8");
        stage.set_available(SHORT);
        daemon.line_with("group's 1: ");
        let heard = daemon.heard();
        let killed: Vec<&String> = heard
            .iter()
            .filter(|line| line.contains("would-kill "))
            .collect();
        assert!(!killed.is_empty(), "{heard:#?}");
        let is_fork = |line: &&String| line.contains(" name=fork ");
        assert!(killed.iter().all(is_fork), "{heard:#?}");
    }
}
