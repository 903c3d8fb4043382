//! The built daemon and what stands in its registry, or in its place.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Running, Stage};

/// At or below 10 % (400 MiB of 4000) it warns, and 12 % (480) is enough again.
const SHORT: u64 = 350;
const PLENTY: u64 = 2000;

#[test]
fn it_guards_without_a_registry_and_takes_its_place_once_that_is_free() {
    let stage = Stage::new();
    fs::remove_dir(stage.registry()).expect("it is empty");
    fs::write(stage.registry(), "").expect("the folder is ours");
    let mut daemon = stage.daemon(&["--grace", "0.1"]);
    let said = daemon.line_with("no registry, so no process has a value; trying again");
    let want = "is a plain file of uid 0, not a directory: remove it, or name another directory";
    if nix::unistd::geteuid().is_root() {
        assert!(said.contains(want), "{said}");
    }
    stage.set_available(SHORT);
    daemon.line_with("no kill: ");
    stage.set_available(PLENTY);

    fs::remove_file(stage.registry()).expect("the folder is ours");
    daemon.line_with("the registry's directory is back");
    let mut one = stage.process(1);
    daemon.line_with(&format!(
        "process {} is registered: value 1 (test_proc1, uid ",
        one.pid()
    ));
    stage.set_available(SHORT);
    assert_eq!(one.killed_by(), Some(Signal::SIGKILL as i32));
}

#[test]
fn what_an_entry_says_of_pausing_is_said_and_a_near_miss_is_warned_of() {
    let stage = Stage::new();
    let one = stage.process(1);
    let pid = one.pid();
    let mut daemon = stage.daemon(&[]);
    daemon.line_with(&format!("process {pid} is registered: value 1 "));
    let write = |text: &str| fs::write(stage.entry(pid), text).expect("the folder is ours");
    write("1 alice nopause\n");
    daemon.line_with(&format!("process {pid} is never paused (test_proc1, uid "));
    write("1 no-pause\n");
    let said = daemon.line_with(&format!("entry {pid} (test_proc1, uid "));
    assert!(
        said.contains("nearly says `nopause`") && said.contains("WARN"),
        "{said}"
    );
    // Its value counts as before.
    stage.set_available(SHORT);
    daemon.line_with(&format!("kill pid={pid} signal=SIGTERM"));
}

#[test]
fn what_has_not_saved_outlives_what_has_a_higher_value_in_its_entry() {
    let stage = Stage::new();
    let (unsaved, steady) = (stage.process(1), stage.process(5));
    // 16 in each thousandth of a second since it started.
    let text = "1 +1000000/m nopause\n";
    fs::write(stage.entry(unsaved.pid()), text).expect("the folder is ours");
    let mut daemon = stage.daemon(&["--dryrun"]);
    daemon.line_with(&format!(
        "process {} is registered: value 1 +1000000/m (test_proc1, uid ",
        unsaved.pid()
    ));
    stage.set_available(SHORT);
    let said = daemon.line_with("would-kill pid=");
    assert!(said.contains(&format!("pid={} ", steady.pid())), "{said}");
    let said = daemon.line_with("keep, cost ");
    assert!(said.contains(" (1 + 1000000/m × 0."), "{said}");
}

#[test]
fn a_registry_that_is_a_loop_of_links_or_has_no_parent_is_no_end_either() {
    let stage = Stage::new();
    fs::remove_dir(stage.registry()).expect("it is empty");
    symlink(stage.registry(), stage.registry()).expect("the folder is ours");
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("is a symbolic link of uid");
    assert!(daemon.is_running());

    let absent = stage.path("absent/registry");
    let absent = absent.to_str().expect("plain");
    // The last one counts.
    let socket = stage.path("another");
    let socket = socket.to_str().expect("plain");
    let mut daemon = stage.daemon(&["--registry", absent, "--socket", socket]);
    daemon.line_with("absent`, where the registry should be: create it, or name another directory");
    assert!(daemon.is_running());
}

#[test]
fn what_is_no_process_has_no_value() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    let own = std::process::id();
    // One that stays until the test is over.
    let (stay, over) = mpsc::channel::<()>();
    let (sender, threads) = mpsc::channel();
    thread::spawn(move || {
        let own = nix::unistd::gettid().as_raw().unsigned_abs();
        sender.send(own).expect("the test waits");
        let _ = over.recv();
    });
    let thread = threads.recv().expect("it says who it is");
    fs::write(stage.entry(thread), "900\n").expect("the folder is ours");
    daemon.line_with(&format!(
        "is ignored: it names a thread of process {own}: name the entry `{own}`"
    ));
    drop(stay);

    let name = fs::read_to_string("/proc/2/comm").unwrap_or_default();
    if name.trim_end() != "kthreadd" {
        eprintln!("not run: no kernel threads are to be seen here");
        return;
    }
    fs::write(stage.entry(2), "900\n").expect("the folder is ours");
    daemon.line_with(
        "entry 2 (kthreadd, uid 0) is ignored: it names a kernel thread; in a container",
    );
}

#[test]
fn an_ordinary_users_value_is_capped_and_an_entry_that_is_removed_is_a_warning() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: only root can run processes and own files as other users");
        return;
    }
    let stage = Stage::new();
    let mut daemon = stage.daemon(&["--user-value-cap", "30"]);
    let process = stage.process_of(1, Some(65_534));
    let prepared = stage.path("prepared");
    fs::write(&prepared, "1000000\n").expect("the folder is ours");
    chown(&prepared, Some(65_534), None).expect("we are root");
    fs::rename(&prepared, stage.entry(process.pid())).expect("the folder is ours");
    let said = daemon.line_with(&format!("process {} is registered", process.pid()));
    assert!(said.contains("WARN"), "{said}");
    let want = "value 30 (test_proc1, uid 65534); its entry says 1000000, but an ordinary user \
                can give 30 at most (`--user-value-cap`)";
    assert!(said.contains(want), "{said}");

    fs::remove_file(stage.entry(process.pid())).expect("we are root");
    let said = daemon.line_with(&format!(
        "process {} is no longer registered",
        process.pid()
    ));
    assert!(said.contains("WARN"), "{said}");
    let want = "(test_proc1, uid 65534): it runs, but its entry was removed";
    assert!(said.ends_with(want), "{said}");
}

/// Makes and removes a directory, as fast as it can.
const REMAKE: &str = r#"
import os, sys
print("remaking", flush=True)
while True:
    for call in (os.mkdir, os.rmdir):
        try:
            call(sys.argv[1])
        except OSError:
            pass
"#;

#[test]
fn a_job_that_registers_once_is_registered_though_another_user_keeps_taking_its_name() {
    const LIMIT: Duration = Duration::from_secs(60);
    const OWNER: u32 = 65_534;
    const OTHER: u32 = 65_533;

    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: only root can run processes as other users");
        return;
    }
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let job = stage.process_of(1, Some(OWNER));
    let entry = stage.entry(job.pid());
    let mut other = Command::new("python3");
    other.args(["-c", REMAKE]).arg(&entry).uid(OTHER).gid(OTHER);
    let mut other = Running::start(&mut other);
    other.line_with("remaking");
    let began = Instant::now();
    let is_owners = || {
        let found = fs::symlink_metadata(&entry);
        found.is_ok_and(|found| found.is_file() && found.uid() == OWNER)
    };
    while !is_owners() {
        assert!(began.elapsed() < LIMIT, "{:#?}", daemon.heard());
        thread::yield_now();
    }
    let mut register = Command::new("sh");
    register.args(["-c", "echo 7 > \"$1\"", "sh"]).arg(&entry);
    let registered = register.uid(OWNER).gid(OWNER).status();
    assert!(registered.expect("sh").success());
    daemon.line_with(&format!(
        "process {} is registered: value 7 (test_proc1, uid {OWNER}",
        job.pid()
    ));
}

#[test]
fn what_runs_is_looked_at_first_where_more_has_changed_than_the_kernel_tells() {
    const JUNK: usize = 40_000;
    const OTHER: u32 = 65_533;

    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: only root can own files as another user");
        return;
    }
    let stage = Stage::new();
    // In memory: so many files take long on a busy disk.
    let memory = tempfile::tempdir_in("/dev/shm").expect("tmpfs");
    let registry = memory.path().join("registry");
    let mut daemon = stage.daemon(&["--registry", registry.to_str().expect("plain")]);
    daemon.line_with("socket");
    let mut job = Command::new("tail");
    job.args(["-f", "/dev/null"]);
    let jobs: Vec<Running> = (0..20).map(|_| Running::start(&mut job)).collect();

    // Until it goes on, more happens than is kept for it (inotify(7)).
    daemon.send(Signal::SIGSTOP);
    for pid in (1 << 22)..(1 << 22) + JUNK {
        let path = registry.join(pid.to_string());
        fs::write(&path, "1\n").expect("the folder is ours");
        chown(&path, Some(OTHER), None).expect("we are root");
    }
    for job in &jobs {
        fs::write(registry.join(job.pid().to_string()), "7\n").expect("the folder is ours");
    }
    daemon.send(Signal::SIGCONT);
    for job in &jobs {
        daemon.says(&format!("process {} is registered", job.pid()));
    }
    let left = fs::read_dir(registry).expect("a folder").count();
    assert!(left > JUNK / 10 * 3, "{left} of {JUNK} were left");
}
