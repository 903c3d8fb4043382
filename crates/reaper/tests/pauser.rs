//! The pauser, on real children.

#[path = "child/mod.rs"]
mod child;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use model::ProcessId;
use reaper::{Calls, Held, Keeper, Pauser, ProcessReader, Report, RunState};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

use crate::child::cgroup::Cgroup;
use crate::child::reader::Reader;
use crate::child::{Child, LIMIT, PROC, start_ticks};

/// Later than any process starts: no child is newborn.
const NO_NEWBORN: u64 = u64::MAX;

/// A pauser with its keeper, and a place for its leftover file.
struct Stage {
    pauser: Pauser,
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = TempDir::new().expect("it is there");
        Self::with_keeper(folder, env!("CARGO_BIN_EXE_reaper-test-child").into())
    }

    fn with_keeper(folder: TempDir, executable: PathBuf) -> Self {
        let keeper = Keeper {
            executable,
            argument: "keeper".into(),
            leftover: folder.path().join("paused"),
        };
        Self {
            pauser: Pauser::spawn(Reader, keeper).expect("it is there"),
            folder,
        }
    }

    fn leftover(&self) -> PathBuf {
        self.folder.path().join("paused")
    }

    /// Has them frozen as one unit, whose leader is the last.
    fn freeze(&self, members: &[&Child], newborn_since_ticks: u64) -> ProcessId {
        let unit = members.last().expect("it is there").id();
        for member in members {
            assert!(self.pauser.add(unit, &hold(member.id())));
        }
        self.pauser.freeze(unit, newborn_since_ticks, 0);
        unit
    }

    /// Has a process frozen that is no child of the test.
    fn freeze_one(&self, pid: u32) -> ProcessId {
        let started = start_ticks(pid).expect("its stat can be read");
        let start_ticks = started.expect("it is there");
        let unit = ProcessId { pid, start_ticks };
        assert!(self.pauser.add(unit, &hold(unit)));
        self.pauser.freeze(unit, NO_NEWBORN, 0);
        unit
    }

    #[track_caller]
    fn report(&self) -> Report {
        let began = Instant::now();
        loop {
            if let Some(report) = self.pauser.report() {
                return report;
            }
            assert!(began.elapsed() < LIMIT, "no report");
            let reports = self.pauser.reports();
            let mut polled = [PollFd::from_borrowed_fd(reports, PollFlags::IN)];
            poll(&mut polled, Some(&LIMIT.try_into().expect("it is there"))).expect("it is there");
        }
    }
}

#[track_caller]
fn hold(id: ProcessId) -> Held {
    Held::hold_by(Calls::available(), Path::new(PROC), id, start_ticks)
        .expect("a child can be held")
        .expect("the child is there")
}

fn state(pid: u32) -> Option<RunState> {
    Reader
        .state(pid)
        .expect("it is there")
        .map(|(_, state)| state)
}

fn states(children: &[&Child]) -> Vec<Option<RunState>> {
    children.iter().map(|child| state(child.id().pid)).collect()
}

/// Waits until it is so.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "not {what}");
        poll(
            &mut [],
            Some(&Duration::from_millis(2).try_into().expect("it is there")),
        )
        .expect("it is there");
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().expect("it is there")).expect("it is there");
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("it is there");
    pidfd_send_signal(pidfd, signal).expect("it is there");
}

const STOPPED: Option<RunState> = Some(RunState::Stopped);
const RUNS: Option<RunState> = Some(RunState::Runs);

#[test]
fn a_unit_stands_still_until_it_is_thawed() {
    let stage = Stage::new();
    let (one, other) = (Child::idle(), Child::idle());
    let unit = stage.freeze(&[&one, &other], NO_NEWBORN);
    let frozen = Report::Frozen { unit, processes: 2 };
    assert_eq!(stage.report(), frozen);
    assert_eq!(states(&[&one, &other]), [STOPPED; 2]);
    let leftover = fs::read_to_string(stage.leftover()).unwrap();
    for child in [&one, &other] {
        let ProcessId { pid, start_ticks } = child.id();
        let line = format!("process {pid} {start_ticks}");
        assert!(leftover.lines().any(|each| each == line), "{leftover}");
    }

    stage.pauser.thaw(unit);
    assert_eq!(stage.report(), Report::Thawed { unit });
    assert_eq!(states(&[&one, &other]), [RUNS; 2]);
    assert!(!stage.leftover().exists());
}

#[test]
fn what_there_is_no_room_to_ask_is_asked_once_there_is() {
    let stage = Stage::new();
    let (child, other) = (Child::idle(), Child::idle());
    let unit = child.id();
    assert!(stage.pauser.add(unit, &hold(unit)));
    let of_another = hold(other.id());
    // The thread is not woken by what is added.
    let fill = || {
        let is_full = (0..1 << 16).any(|_| !stage.pauser.add(other.id(), &of_another));
        assert!(is_full);
    };
    fill();
    stage.pauser.freeze(unit, NO_NEWBORN, 0);
    assert!(matches!(stage.report(), Report::Frozen { .. }));
    fill();
    stage.pauser.thaw(unit);
    assert_eq!(stage.report(), Report::Thawed { unit });
    assert_eq!(states(&[&child, &other]), [RUNS; 2]);
}

#[test]
fn what_was_stopped_before_stays_stopped() {
    let stage = Stage::new();
    let (stopped, other) = (Child::idle(), Child::idle());
    stopped.stop();
    let unit = stage.freeze(&[&stopped, &other], NO_NEWBORN);
    assert!(matches!(
        stage.report(),
        Report::Frozen { processes: 1, .. }
    ));
    stage.pauser.thaw(unit);
    assert_eq!(stage.report(), Report::Thawed { unit });
    assert_eq!(states(&[&stopped, &other]), [STOPPED, RUNS]);

    // Nor is a unit ours of which all was stopped.
    let unit = stage.freeze(&[&stopped], NO_NEWBORN);
    let errno = rustix::io::Errno::ALREADY.raw_os_error();
    assert_eq!(stage.report(), Report::Unfrozen { unit, errno });
    drop(stage);
    assert_eq!(state(stopped.id().pid), STOPPED);
}

#[test]
fn what_is_gone_is_not_frozen() {
    let stage = Stage::new();
    let child = Child::idle();
    let unit = child.id();
    assert!(stage.pauser.add(unit, &hold(unit)));
    drop(child);
    stage.pauser.freeze(unit, NO_NEWBORN, 0);
    let errno = rustix::io::Errno::SRCH.raw_os_error();
    assert_eq!(stage.report(), Report::Unfrozen { unit, errno });
}

/// All that `pid` has begot.
fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut generation = vec![pid];
    while !generation.is_empty() {
        let mut next = Vec::new();
        let children = Reader.children(&generation, &mut |child| next.push(child.pid));
        children.expect("it is there");
        found.extend(&next);
        generation = next;
    }
    found
}

#[test]
fn children_that_appear_meanwhile_are_stopped_too() {
    let stage = Stage::new();
    // Each lives until standard input is closed, as the test ends it.
    let script = "exec 3<&0; echo ready; i=0; \
                  while [ $i -lt 150 ]; do (cat <&3 & wait) & i=$((i + 1)); done; wait";
    let child = Child::of_script(script);
    let parent = child.id();
    wait_until("a parent of two", || 2 < descendants(parent.pid).len());
    let unit = stage.freeze(&[&child], parent.start_ticks);
    let report = stage.report();
    let Report::Frozen { processes, .. } = report else {
        panic!("{report:?}");
    };
    let all = descendants(parent.pid);
    let running: Vec<_> = all.iter().filter(|pid| state(**pid) == RUNS).collect();
    assert!(running.is_empty(), "{running:?} of {all:?} run");
    assert!(processes as usize > 3, "{processes}");

    stage.pauser.thaw(unit);
    assert_eq!(stage.report(), Report::Thawed { unit });
    for pid in all {
        assert_ne!(state(pid), STOPPED, "{pid}");
    }
    wait_until("grown up", || descendants(parent.pid).len() == 300);
}

#[test]
fn a_child_of_a_unit_that_was_there_before_is_another_units() {
    let stage = Stage::new();
    let child = Child::of_script("exec 3<&0; cat <&3 & echo ready; wait");
    let [other] = descendants(child.id().pid)[..] else {
        panic!("it has one child");
    };
    stage.freeze(&[&child], NO_NEWBORN);
    assert!(matches!(
        stage.report(),
        Report::Frozen { processes: 1, .. }
    ));
    assert_eq!(state(other), RUNS);
}

/// One that another program had stopped before.
#[test]
fn a_newborn_child_that_cannot_be_kept_at_first_is_stopped_later() {
    let stage = Stage::new();
    let child = Child::of_script("exec 3<&0; cat <&3 & echo ready; wait");
    let parent = child.id();
    let [newborn] = descendants(parent.pid)[..] else {
        panic!("it has one child");
    };
    signal(newborn, Signal::STOP);
    wait_until("stopped", || state(newborn) == STOPPED);
    stage.freeze(&[&child], parent.start_ticks);
    let is_alone = |report| matches!(report, Report::Frozen { processes: 1, .. });
    assert!(is_alone(stage.report()));
    let ends = Child::idle();
    let unit = stage.freeze(&[&ends], NO_NEWBORN);
    assert!(is_alone(stage.report()));

    let elsewhere = TempDir::new().unwrap();
    let elsewhere = elsewhere.path().join("moved");
    fs::rename(stage.folder.path(), &elsewhere).unwrap();
    signal(newborn, Signal::CONT);
    signal(unit.pid, Signal::KILL);
    // Both are looked at, this one last.
    assert_eq!(stage.report(), Report::Thawed { unit });
    assert_eq!(state(newborn), RUNS);
    fs::rename(&elsewhere, stage.folder.path()).unwrap();
    wait_until("stopped again", || state(newborn) == STOPPED);
}

#[test]
fn what_another_program_continues_is_no_longer_paused() {
    let stage = Stage::new();
    let (one, other) = (Child::idle(), Child::idle());
    let unit = stage.freeze(&[&one, &other], NO_NEWBORN);
    assert!(matches!(stage.report(), Report::Frozen { .. }));
    signal(one.id().pid, Signal::CONT);
    assert_eq!(stage.report(), Report::Continued { unit });
    assert_eq!(states(&[&one, &other]), [RUNS; 2]);
    assert!(!stage.leftover().exists());
}

/// It would stop itself with its child, and stay so when that goes on.
#[test]
fn a_child_of_runuser_is_not_stopped_and_runuser_runs_on() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: would run as root, which runuser(1) asks for");
        return;
    }
    if Command::new("runuser").arg("--version").output().is_err() {
        println!("skipped: runuser(1) is not installed");
        return;
    }
    let stage = Stage::new();
    let script = "echo ready; read line";
    let runuser = Child::of_program("runuser", &["-u", "root", "--", "sh", "-c", script]);
    let [child] = descendants(runuser.id().pid)[..] else {
        panic!("it has one child");
    };
    let unit = stage.freeze_one(child);
    let errno = rustix::io::Errno::BUSY.raw_os_error();
    assert_eq!(stage.report(), Report::Unfrozen { unit, errno });
    assert_eq!(state(child), RUNS);
    assert_eq!(state(runuser.id().pid), RUNS);

    // No parent is told of a freeze.
    let Some(cgroup) = Cgroup::new("runuser") else {
        return;
    };
    cgroup.take_pid(child);
    stage.freeze_one(child);
    let frozen = Report::Frozen { unit, processes: 1 };
    assert_eq!(stage.report(), frozen);
    assert!(cgroup.is_frozen());
    stage.pauser.thaw(unit);
    assert_eq!(stage.report(), Report::Thawed { unit });
    assert_eq!(state(runuser.id().pid), RUNS);
    drop(runuser);
    wait_until("gone", || {
        matches!(state(child), None | Some(RunState::Ended))
    });
}

#[test]
fn what_is_traced_is_not_stopped() {
    use std::io::{BufRead, BufReader};

    let mut strace = Command::new("strace");
    strace.args([
        "-qqf",
        "-o",
        "/dev/null",
        "sh",
        "-c",
        "echo ready; read line",
    ]);
    let Ok(mut strace) = strace.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
        println!("skipped: strace(1) is not installed");
        return;
    };
    let mut said = BufReader::new(strace.stdout.take().unwrap()).lines();
    if said.next().is_none() {
        println!("skipped: strace(1) may not trace here");
        strace.wait().unwrap();
        return;
    }
    let stage = Stage::new();
    let child = descendants(strace.id())[0];
    let unit = stage.freeze_one(child);
    let report = stage.report();
    let found = state(child);
    signal(child, Signal::KILL);
    strace.wait().unwrap();
    let errno = rustix::io::Errno::BUSY.raw_os_error();
    assert_eq!(report, Report::Unfrozen { unit, errno });
    assert_ne!(found, STOPPED);
}

/// As tmux(1) has what runs in its panes go on.
#[test]
fn what_is_continued_at_once_does_not_count_as_paused() {
    let stage = Stage::new();
    let resumer = Child::in_role("resumes");
    let [child] = descendants(resumer.id().pid)[..] else {
        panic!("it has one child");
    };
    let unit = stage.freeze_one(child);
    let report = stage.report();
    let errno = rustix::io::Errno::CANCELED.raw_os_error();
    if report != (Report::Unfrozen { unit, errno }) {
        // It was seen to stand still, for a moment.
        assert!(matches!(report, Report::Frozen { .. }), "{report:?}");
        assert_eq!(stage.report(), Report::Continued { unit });
    }
    assert_eq!(state(child), RUNS);
    assert!(!stage.leftover().exists());
}

#[test]
fn a_unit_that_is_killed_while_it_is_paused_is_forgotten() {
    let stage = Stage::new();
    let child = Child::idle();
    let unit = stage.freeze(&[&child], NO_NEWBORN);
    assert!(matches!(stage.report(), Report::Frozen { .. }));
    hold(unit).kill().unwrap();
    assert_eq!(stage.report(), Report::Thawed { unit });
    assert!(!stage.leftover().exists());
}

#[test]
fn the_end_of_the_pauser_thaws_everything() {
    let stage = Stage::new();
    let (one, other) = (Child::idle(), Child::idle());
    stage.freeze(&[&one], NO_NEWBORN);
    stage.freeze(&[&other], NO_NEWBORN);
    for _ in 0..2 {
        assert!(matches!(stage.report(), Report::Frozen { .. }));
    }
    let Stage { pauser, folder } = stage;
    drop(pauser);
    assert_eq!(states(&[&one, &other]), [RUNS; 2]);
    assert!(!folder.path().join("paused").exists());
}

#[test]
fn without_a_keeper_nothing_is_paused() {
    let folder = TempDir::new().unwrap();
    let executable = folder.path().join("keeper");
    symlink(env!("CARGO_BIN_EXE_reaper-test-child"), &executable).unwrap();
    let stage = Stage::with_keeper(folder, executable.clone());
    let child = Child::idle();
    let unit = stage.freeze(&[&child], NO_NEWBORN);
    assert!(matches!(stage.report(), Report::Frozen { .. }));
    // No other can be started, so what is paused is thawed when this one ends.
    fs::remove_file(&executable).unwrap();
    let arguments = |pid| fs::read_to_string(format!("{PROC}/{pid}/cmdline"));
    let keeper = descendants(std::process::id()).into_iter().find(|pid| {
        arguments(*pid).is_ok_and(|line| line.contains(stage.leftover().to_str().unwrap()))
    });
    signal(keeper.unwrap(), Signal::KILL);
    let errno = rustix::io::Errno::CHILD.raw_os_error();
    assert_eq!(stage.report(), Report::Unfrozen { unit, errno });
    assert_eq!(state(unit.pid), RUNS);

    stage.freeze(&[&child], NO_NEWBORN);
    let errno = rustix::io::Errno::NOENT.raw_os_error();
    assert_eq!(stage.report(), Report::Unfrozen { unit, errno });
    assert_eq!(state(unit.pid), RUNS);
    assert!(!stage.leftover().exists());

    // One that can be started is used again.
    symlink(env!("CARGO_BIN_EXE_reaper-test-child"), &executable).unwrap();
    stage.freeze(&[&child], NO_NEWBORN);
    assert!(matches!(stage.report(), Report::Frozen { .. }));
}

#[test]
fn what_is_pushed_out_is_reported_once() {
    if !Calls::available().process_madvise {
        println!("skipped: no process_madvise here; would run since Linux 5.10, with CAP_SYS_NICE");
        return;
    }
    let stage = Stage::new();
    let child = Child::idle();
    let unit = child.id();
    assert!(stage.pauser.add(unit, &hold(unit)));
    stage.pauser.freeze(unit, NO_NEWBORN, 1 << 20);
    assert!(matches!(stage.report(), Report::Frozen { .. }));
    // The reader of this test sees no swap.
    let pushed_out = Report::PushedOut {
        unit,
        bytes: 0,
        is_complete: true,
    };
    assert_eq!(stage.report(), pushed_out);
    assert_eq!(state(unit.pid), STOPPED);
}

#[test]
fn a_cgroup_of_its_own_is_frozen_as_one() {
    let Some(cgroup) = Cgroup::new("own") else {
        return;
    };
    let stage = Stage::new();
    let (one, other) = (Child::idle(), Child::idle());
    cgroup.take(&one);
    cgroup.take(&other);
    let unit = stage.freeze(&[&one, &other], NO_NEWBORN);
    let frozen = Report::Frozen { unit, processes: 2 };
    assert_eq!(stage.report(), frozen);
    assert!(cgroup.is_frozen());
    let leftover = fs::read_to_string(stage.leftover()).unwrap();
    assert!(
        leftover.contains(cgroup.path().to_str().unwrap()),
        "{leftover}"
    );

    stage.pauser.thaw(unit);
    assert_eq!(stage.report(), Report::Thawed { unit });
    wait_until("thawed", || !cgroup.is_frozen());
    assert!(!stage.leftover().exists());

    // What another program thaws is no longer paused.
    let unit = stage.freeze(&[&one, &other], NO_NEWBORN);
    assert_eq!(stage.report(), frozen);
    fs::write(cgroup.path().join("cgroup.freeze"), "0").unwrap();
    assert_eq!(stage.report(), Report::Continued { unit });

    // And what another has frozen is not ours: its processes are stopped.
    fs::write(cgroup.path().join("cgroup.freeze"), "1").unwrap();
    stage.freeze(&[&one, &other], NO_NEWBORN);
    assert!(matches!(stage.report(), Report::Frozen { .. }));
    drop(stage);
    assert!(cgroup.is_frozen());
}

#[test]
fn a_cgroup_with_another_units_process_is_not_frozen_as_one() {
    let Some(cgroup) = Cgroup::new("shared") else {
        return;
    };
    let stage = Stage::new();
    let (child, stranger) = (Child::idle(), Child::idle());
    cgroup.take(&child);
    cgroup.take(&stranger);
    stage.freeze(&[&child], NO_NEWBORN);
    assert!(matches!(stage.report(), Report::Frozen { .. }));
    assert_eq!(states(&[&child, &stranger]), [STOPPED, RUNS]);
    assert!(!cgroup.is_frozen());
}

#[test]
fn where_one_may_not_be_stopped_none_is() {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: would run as root, which can become another user");
        return;
    }
    let folder = TempDir::new().unwrap();
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(folder.path(), open).unwrap();
    // Where that user can execute it.
    let program = folder.path().join("program");
    fs::copy(env!("CARGO_BIN_EXE_reaper-test-child"), &program).unwrap();
    let mut its = Command::new("cat")
        .stdin(Stdio::piped())
        .uid(NOBODY)
        .spawn()
        .unwrap();
    let roots = Child::idle();
    let mut command = Command::new(&program);
    command
        .arg("pauser")
        .arg(folder.path().join("paused"))
        .args([its.id().to_string(), roots.id().pid.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .uid(NOBODY);
    let mut started = None;
    // A child that another test starts has our copy open for writing until it
    // executes its own program.
    wait_until("executable", || match command.spawn() {
        Err(err) if err.kind() == ErrorKind::ExecutableFileBusy => false,
        spawned => started.replace(spawned).is_none(),
    });
    let mut pauser = started.unwrap().unwrap();
    let mut said = BufReader::new(pauser.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "ready 0");
    let mut stdin = pauser.stdin.take().unwrap();
    stdin.write_all(b"freeze\n").unwrap();
    let report = said.next().unwrap().unwrap();
    let found = (state(its.id()), state(roots.id().pid));
    drop(stdin);
    pauser.wait().unwrap();
    its.kill().unwrap();
    its.wait().unwrap();
    let errno = rustix::io::Errno::PERM.raw_os_error();
    assert!(report.starts_with("Unfrozen"), "{report}");
    assert!(report.contains(&format!("errno: {errno}")), "{report}");
    assert_eq!(found, (RUNS, RUNS));
}
