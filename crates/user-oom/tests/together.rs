//! What ends together is one choice, with the built daemon and real processes.

#[allow(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Daemon, HELD_MIB, Process, Stage};

/// At or below 9 % (360 MiB of 4000) it kills, and 12 % (480) is enough again.
const LEVELS: [&str; 2] = ["-m", "10,9"];
/// The same, but 40 % (1600 MiB) are wanted then: more than all candidates hold.
const WANTING: [&str; 4] = ["-m", "10,9", "--recover", "40"];
/// The same, but 16 % (640) are enough again: more than [`HELD_MIB`] is wanted then, and
/// less than twice that.
const MORE_THAN_ONE: [&str; 4] = ["-m", "10,9", "--recover", "16"];
/// Between warn and kill.
const SHORT: u64 = 380;
const SHORT_OF_ONE: u64 = 350;
const PLENTY: u64 = 2000;

/// What holds [`HELD_MIB`] once it calls `hold()`, in Python; `script` says so then.
fn python(script: &str) -> String {
    format!(
        "import os, pty, subprocess, sys, time\n\
         def hold():\n    global held\n    held = bytearray(b'x') * ({HELD_MIB} << 20)\n    \
             sys.stdout.write('enough\\n')\n    sys.stdout.flush()\n\
         {script}"
    )
}

/// The only child of `pid`.
fn child_of(pid: u32) -> u32 {
    let path = format!("/proc/{pid}/task/{pid}/children");
    support::until("it has a child", || {
        fs::read_to_string(&path).ok()?.trim().parse().ok()
    })
}

/// Waits until the daemon, started with [`WANTING`], has found out that its two
/// candidates hold [`HELD_MIB`] each. At warn it says what they hold, and kills none,
/// since both are not enough. Before that is measured, it is all that each process
/// maps, or nothing of what is shared.
#[track_caller]
fn until_both_hold(stage: &Stage, daemon: &mut Daemon) {
    let holds = 2 * HELD_MIB..2 * HELD_MIB + 60;
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        stage.set_available(SHORT);
        let said = daemon.line_with(" all candidates together hold ");
        let (_, held) = said.split_once(" together hold ").expect("it says so");
        let (held, _) = held.split_once(" MiB").expect("in MiB");
        if holds.contains(&held.parse().expect("a number")) {
            break;
        }
        assert!(Instant::now() < limit, "{said}");
        stage.set_available(PLENTY);
        support::until("it sees that", || {
            stage.told("status").contains("level=ok").then_some(())
        });
    }
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
    let script = python(
        "hold()\n\
        opens = [(os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)]\n\
        os.posix_spawn('/bin/true', ['true'], {}, file_actions=opens)",
    );
    let mut nine = Process::start(Command::new("python3").args(["-c", &script, fifo]));
    let one = child_of(nine.pid());
    for (pid, value) in [(nine.pid(), 9), (one, 1)] {
        fs::write(stage.entry(pid), format!("{value}\n")).expect("the registry is ours");
    }
    let mut five = stage.process(5);
    let mut daemon = stage.daemon(&WANTING);
    for pid in [nine.pid(), one, five.pid()] {
        daemon.says(&format!("process {pid} is registered"));
    }
    until_both_hold(&stage, &mut daemon);
    // As long as it is short, one after the other is killed.
    stage.set_available(SHORT_OF_ONE);
    let first = daemon.line_with("kill pid=");
    assert!(
        first.contains(&format!(" kill pid={} signal=SIGKILL", five.pid())),
        "{first}"
    );
    let kill = daemon.line_with(&format!(" kill pid={} signal=SIGKILL", nine.pid()));
    assert!(kill.contains(" cost=10 processes=2 "), "{kill}");
    daemon.says(&format!(" kill pid={one} signal=SIGKILL"));
    stage.set_available(PLENTY);
    assert_eq!(five.killed_by(), Some(Signal::SIGKILL as i32));
    assert_eq!(nine.killed_by(), Some(Signal::SIGKILL as i32));
}

/// Has `holder`, worth 1, and its child, worth 50, stand beside another worth 5. That
/// goes first; then, memory being short all the time, both of these together.
#[track_caller]
fn check_holder(stage: &Stage, holder: u32) {
    let job = child_of(holder);
    for (pid, value) in [(holder, 1), (job, 50)] {
        fs::write(stage.entry(pid), format!("{value}\n")).expect("the registry is ours");
    }
    let mut five = stage.process(5);
    let mut daemon = stage.daemon(&LEVELS);
    for pid in [holder, job, five.pid()] {
        daemon.says(&format!("process {pid} is registered"));
    }
    stage.set_available(SHORT_OF_ONE);
    let first = daemon.line_with("kill pid=");
    assert!(
        first.contains(&format!(" kill pid={} signal=SIGKILL", five.pid())),
        "{first}"
    );
    daemon.line_with(&format!(" kill pid={holder} signal=SIGKILL"));
    daemon.says(&format!(" kill pid={job} signal=SIGKILL"));
    stage.set_available(PLENTY);
    assert_eq!(five.killed_by(), Some(Signal::SIGKILL as i32));
    let lost = daemon.line_with("sum of values lost: ");
    // With what was lost first, where both are said at once.
    let ends = [": 51", ": 56"];
    assert!(ends.iter().any(|end| lost.ends_with(end)), "{lost}");
}

/// A process worth 3 and its child, which share [`HELD_MIB`] as `share` has it, beside
/// one worth 50: the family is killed, for as much as comes back.
#[track_caller]
fn check_family(share: &str) {
    let stage = Stage::new();
    let script = format!(
        "import mmap, os, signal, sys, time\n\
         {share}\
         parent = os.getpid()\n\
         if os.fork() == 0:\n    \
             touched = sum(held[0::4096])\n    \
             sys.stdout.write('enough\\n')\n    sys.stdout.flush()\n    \
             while os.getppid() == parent: time.sleep(0.1)\n    \
             os._exit(0)\n\
         signal.pause()"
    );
    let family = Process::start(Command::new("python3").args(["-c", &script]));
    fs::write(stage.entry(family.pid()), "3\n").expect("the registry is ours");
    let fifty = stage.process(50);
    let mut daemon = stage.daemon(&WANTING);
    for pid in [family.pid(), fifty.pid()] {
        daemon.says(&format!("process {pid} is registered"));
    }
    until_both_hold(&stage, &mut daemon);
    stage.set_available(SHORT_OF_ONE);
    let kill = daemon.line_with("kill pid=");
    stage.set_available(PLENTY);
    assert!(
        kill.contains(&format!("kill pid={} ", family.pid())),
        "{kill}"
    );
    assert!(kill.contains(" processes=2 "), "{kill}");
    let (_, frees) = kill.split_once(" frees=").expect("it says so");
    let (frees, _) = frees.split_once("MiB").expect("in MiB");
    let frees: u64 = frees.parse().expect("a number");
    // And what the interpreters have of their own.
    assert!((HELD_MIB..HELD_MIB + 50).contains(&frees), "{kill}");
    daemon.line_with("freed ");
}

#[test]
fn pages_that_a_family_shares_since_fork_count_once() {
    check_family(&format!("held = bytearray(b'x') * ({HELD_MIB} << 20)\n"));
}

#[test]
fn shared_memory_that_a_family_alone_maps_counts_once() {
    check_family(&format!(
        "held = mmap.mmap(-1, {HELD_MIB} << 20)\n\
         held.write(b'x' * ({HELD_MIB} << 20))\n"
    ));
}

/// A process worth `value`, and its children, as many, which have `held` of it and read
/// all of that.
fn forking(stage: &Stage, held: &str, children: u32, value: u32) -> Process {
    let script = format!(
        "import mmap, os, signal, sys, time\n\
         size = {HELD_MIB} << 20\n\
         {held}\n\
         parent = os.getpid()\n\
         ready, told = os.pipe()\n\
         for child in range({children}):\n    \
             if os.fork() == 0:\n        \
                 touched = sum(held[0::4096])\n        \
                 os.write(told, b'x')\n        \
                 while os.getppid() == parent: time.sleep(0.1)\n        \
                 os._exit(0)\n\
         for child in range({children}): os.read(ready, 1)\n\
         sys.stdout.write('enough\\n')\n\
         sys.stdout.flush()\n\
         signal.pause()"
    );
    let family = Process::start(Command::new("python3").args(["-c", &script]));
    let entry = stage.entry(family.pid());
    fs::write(entry, format!("{value}\n")).expect("the registry is ours");
    family
}

/// A process worth 6 that holds twice [`HELD_MIB`].
fn six_of_two(stage: &Stage) -> Process {
    let script = format!(
        "import signal, sys\n\
         held = bytearray(b'x') * ({HELD_MIB} << 21)\n\
         sys.stdout.write('enough\\n')\n\
         sys.stdout.flush()\n\
         signal.pause()"
    );
    let six = Process::start(Command::new("python3").args(["-c", &script]));
    fs::write(stage.entry(six.pid()), "6\n").expect("the registry is ours");
    six
}

/// Has `five`, worth 5, which seems to hold more than is wanted and holds less, stand
/// beside one worth 6 that holds enough; memory gets short at once, before a full scan.
#[track_caller]
fn check_newcomer(stage: &Stage, daemon: &mut Daemon, five: &Process) {
    let six = six_of_two(stage);
    for pid in [five.pid(), six.pid()] {
        daemon.says(&format!("process {pid} is registered"));
    }
    stage.set_available(SHORT_OF_ONE);
    let kill = daemon.line_with("kill pid=");
    stage.set_available(PLENTY);
    let want = format!("kill pid={} ", six.pid());
    assert!(kill.contains(&want), "{kill}");
}

#[test]
fn pages_of_a_family_that_is_younger_than_the_daemon_count_once() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&MORE_THAN_ONE);
    let five = forking(&stage, "held = bytearray(b'x') * size", 4, 5);
    check_newcomer(&stage, &mut daemon, &five);
}

#[test]
fn one_memory_of_two_processes_that_are_younger_than_the_daemon_counts_once() {
    let stage = Stage::new();
    let fifo = stage.path("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("coreutils").success());
    let fifo = fifo.to_str().expect("plain");
    let mut daemon = stage.daemon(&MORE_THAN_ONE);
    let script = python(
        "hold()\n\
        opens = [(os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)]\n\
        os.posix_spawn('/bin/true', ['true'], {}, file_actions=opens)",
    );
    let five = Process::start(Command::new("python3").args(["-c", &script, fifo]));
    child_of(five.pid());
    fs::write(stage.entry(five.pid()), "5\n").expect("the registry is ours");
    check_newcomer(&stage, &mut daemon, &five);
}

#[test]
fn shared_memory_of_a_large_family_counts_at_the_first_decision() {
    let stage = Stage::new();
    // 1.4 GiB of resident memory: more than one call of the surveyor's measures.
    let held = "held = mmap.mmap(-1, size)\nheld.write(b'x' * size)";
    let family = forking(&stage, held, 6, 3);
    let _fifty = stage.process(50);
    stage.set_available(SHORT_OF_ONE);
    let mut daemon = stage.daemon(&LEVELS);
    let kill = daemon.line_with("kill pid=");
    stage.set_available(PLENTY);
    assert!(
        kill.contains(&format!("kill pid={} ", family.pid())),
        "{kill}"
    );
    assert!(kill.contains(" processes=7 "), "{kill}");
}

#[test]
fn the_holder_of_a_pty_costs_what_is_on_it() {
    let stage = Stage::new();
    let script = python(
        "pid, master = pty.fork()\n\
         if pid == 0:\n    os.execvp('tail', ['tail', '-f', '/dev/null'])\n\
         hold()\n\
         os.waitpid(pid, 0)",
    );
    let holder = Process::start(Command::new("python3").args(["-c", &script]));
    check_holder(&stage, holder.pid());
}

#[test]
fn the_first_process_of_a_pid_namespace_costs_what_is_in_it() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root may make a pid namespace");
        return;
    }
    let stage = Stage::new();
    let script = python(
        "child = subprocess.Popen(['tail', '-f', '/dev/null'])\n\
         hold()\n\
         child.wait()",
    );
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "python3", "-c", &script]);
    let outside = Process::start(&mut command);
    check_holder(&stage, child_of(outside.pid()));
}
