//! The built daemon beside a process that holds its mmap lock for ever, as any
//! user can arrange: it waits inside mmap(2) for a file server that is silent.
//! A reader of its `smaps` waits as well.
//!
//! Where no file system can be served, the surveyor's own tests have a reader
//! that never returns.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs::{self, File};
use std::process::Command;
use std::time::Duration;

use control::{Client, Place, Reply, Request};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use support::{Running, Stage};

const LIMIT: Duration = Duration::from_secs(30);
/// At or below 10 % (400 MiB of 4000) it warns, and 12 % (480) is enough again.
const SHORT: u64 = 350;
const PLENTY: u64 = 2000;
/// As much shared memory has the process that is stuck.
const STUCK_MIB: u64 = 200;
const OTHER_USER: u32 = 65_534;

/// Which user serves the files, and which waits for them.
#[derive(Clone, Copy, Debug)]
enum Attack {
    /// Root serves, this user waits.
    OfRoots(u32),
    /// This user does both, in a user namespace of its own.
    InANamespace(u32),
}

/// A process that holds its mmap lock, and what keeps it there.
struct Stuck {
    pid: u32,
    _server: Running,
}

impl Stuck {
    /// `Err`: what is missing.
    fn start(stage: &Stage, attack: Attack) -> Result<Self, String> {
        let directory = stage.path("silent");
        fs::create_dir_all(&directory).expect("the folder is ours");
        let (uid, owner) = match attack {
            Attack::OfRoots(uid) => (uid, "root"),
            Attack::InANamespace(uid) => (uid, "namespace"),
        };
        let mut command = Command::new("python3");
        command
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/support/hold_mmap_lock.py"
            ))
            .arg(directory)
            .args([STUCK_MIB.to_string(), uid.to_string(), owner.to_owned()]);
        let mut server = Running::start(&mut command);
        let told = server.line_with("");
        match told.strip_prefix("held ").map(str::parse) {
            Some(Ok(pid)) => Ok(Self {
                pid,
                _server: server,
            }),
            _ => Err(told),
        }
    }
}

fn ask_status(stage: &Stage) {
    let place = Place::at(&stage.socket()).expect("it is short enough");
    let client = Client::connect(&place, LIMIT).expect("the daemon answers");
    let reply = client.ask(&Request::Status, LIMIT);
    assert!(matches!(reply, Ok(Reply::Status(_))), "{reply:?}");
}

/// It answers, sees memory, kills and ends when asked to, though a process
/// cannot be read; and that one is no less a candidate for it. `Err`: what
/// is missing for the attack.
fn guard_beside(attack: Attack) -> Result<(), String> {
    // Each daemon sees the others' processes too, also those of tests that run
    // elsewhere on this machine, and stops reading those of a user after one.
    let fuse = File::open("/dev/fuse").map_err(|err| format!("/dev/fuse: {err}"))?;
    let _alone = Flock::lock(fuse, FlockArg::LockExclusive).map_err(|(_, err)| err.to_string())?;
    let stage = Stage::new();
    let stuck = Stuck::start(&stage, attack)?;
    let mut daemon = stage.daemon(&["--grace", "1"]);
    let [mut nine, mut five] = [9, 5].map(|value| stage.process(value));
    for process in [&nine, &five] {
        daemon.line_with(&format!("process {} is registered", process.pid()));
    }
    ask_status(&stage);

    stage.set_available(SHORT);
    daemon.line_with(&format!(
        "kill pid={} signal=SIGTERM name=test_proc1",
        five.pid()
    ));
    ask_status(&stage);
    stage.set_available(PLENTY);
    daemon.line_with("freed");
    assert_eq!(five.killed_by(), Some(Signal::SIGKILL as i32));
    assert!(nine.lives());

    // Once it has been waited for in vain, which may be before the others are there.
    let stuck_one = format!("process {} python3 ", stuck.pid);
    daemon.says(&stuck_one);
    let mut heard = daemon.heard().iter();
    let said = heard.find(|line| line.contains(&stuck_one));
    let said = said.expect("it was said");
    assert!(said.contains("cannot be read"), "{said}");
    ask_status(&stage);
    fs::write(stage.entry(stuck.pid), "1\n").expect("the folder is ours");
    daemon.line_with(&format!("process {} is registered", stuck.pid));
    stage.set_available(SHORT);
    daemon.line_with(&format!("kill pid={} signal=SIGTERM", stuck.pid));
    ask_status(&stage);

    let (status, heard) = daemon.end_by(Signal::SIGTERM);
    assert!(status.success(), "{status}, {heard:#?}");
    assert!(nine.lives());
    Ok(())
}

#[test]
fn a_process_that_holds_its_mmap_lock_for_ever_holds_up_nothing() {
    let attack = match geteuid() {
        root if root.is_root() => Attack::OfRoots(0),
        user => Attack::InANamespace(user.as_raw()),
    };
    if let Err(missing) = guard_beside(attack) {
        println!("skipped, would run where FUSE can be mounted: {missing}");
    }
}

#[test]
fn an_ordinary_user_cannot_hold_up_the_guard_either() {
    if !geteuid().is_root() {
        println!("skipped: only root can run processes as another user");
        return;
    }
    if let Err(missing) = guard_beside(Attack::OfRoots(OTHER_USER)) {
        println!("skipped, would run where FUSE can be mounted: {missing}");
    }
}

#[test]
fn nor_can_one_in_a_user_namespace_of_its_own() {
    if !geteuid().is_root() {
        println!("skipped: only root can run processes as another user");
        return;
    }
    if let Err(missing) = guard_beside(Attack::InANamespace(OTHER_USER)) {
        println!("skipped, would run where any user can mount FUSE: {missing}");
    }
}
