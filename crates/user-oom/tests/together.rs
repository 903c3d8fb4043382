//! What ends together is one choice, with the built daemon and real processes.

#[allow(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use support::{HELD_MIB, Process, Stage};

/// At or below 9 % (360 MiB of 4000) it kills, and 12 % (480) is enough again.
const LEVELS: [&str; 2] = ["-m", "10,9"];
const SHORT_OF_ONE: u64 = 350;
const PLENTY: u64 = 2000;

/// A process of [`HELD_MIB`] that runs `script`, in Python, once it holds them.
fn holding(script: &str, arguments: &[&str]) -> Process {
    let hold = format!(
        "import os, sys, time\nheld = bytearray(b'x') * ({HELD_MIB} << 20)\n\
         def say(text):\n    sys.stdout.write(text + '\\n')\n    sys.stdout.flush()\n{script}\n"
    );
    Process::start(Command::new("python3").args(["-c", &hold]).args(arguments))
}

/// The only child of `pid`.
fn child_of(pid: u32) -> u32 {
    let path = format!("/proc/{pid}/task/{pid}/children");
    support::until("it has a child", || {
        fs::read_to_string(&path).ok()?.trim().parse().ok()
    })
}

#[test]
fn two_processes_with_one_memory_cost_both_their_values() {
    let stage = Stage::new();
    let fifo = stage.path("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("coreutils").success());
    let fifo = fifo.to_str().expect("plain");
    // By clone(2) with CLONE_VM and CLONE_VFORK; before execve(2) the child
    // waits for a writer.
    let script = "say('enough')\n\
        opens = [(os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)]\n\
        os.posix_spawn('/bin/true', ['true'], {}, file_actions=opens)";
    let mut nine = holding(script, &[fifo]);
    let one = child_of(nine.pid());
    for (pid, value) in [(nine.pid(), 9), (one, 1)] {
        fs::write(stage.entry(pid), format!("{value}\n")).expect("the registry is ours");
    }
    let mut five = stage.process(5);
    let mut daemon = stage.daemon(&LEVELS);
    for pid in [nine.pid(), one, five.pid()] {
        daemon.says(&format!("process {pid} is registered"));
    }
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with(&format!("kill pid={} signal=SIGKILL", five.pid()));
    stage.set_available(PLENTY);
    assert_eq!(five.killed_by(), Some(Signal::SIGKILL as i32));
    assert!(nine.lives());

    // Next is what is left.
    daemon.says("freed");
    stage.set_available(SHORT_OF_ONE);
    daemon.line_with(&format!("kill pid={} signal=SIGKILL", nine.pid()));
    daemon.says(&format!("kill pid={one} signal=SIGKILL"));
    stage.set_available(PLENTY);
    assert_eq!(nine.killed_by(), Some(Signal::SIGKILL as i32));
    let freed = daemon.line_with("sum of values lost: 10");
    assert!(freed.contains("from 2 processes"), "{freed}");
}
