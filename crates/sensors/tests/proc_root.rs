//! One process at a time.

mod support;

use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use model::ProcessId;
use rustix::process::{WaitId, WaitIdOptions};
use sensors::ProcRoot;
use support::{chain, tree};

fn root(case: &str) -> ProcRoot {
    ProcRoot::at(tree(case))
}

#[test]
fn a_runner_is_the_real_user_and_says_what_it_is() {
    let runner = root("good").runner(1205).unwrap().unwrap();
    assert_eq!(runner.uid, 1000, "not 0, its effective user");
    assert_eq!(runner.start_ticks, 20_200);
    assert_eq!(runner.process, 1205);
    assert!(!runner.is_kernel_thread);
    assert!(root("good").runner(2).unwrap().unwrap().is_kernel_thread);
}

#[test]
fn the_id_of_a_thread_leads_to_its_process() {
    let (tell, told) = mpsc::channel();
    let (end, until) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let _ = tell.send(rustix::thread::gettid());
        until.recv()
    });
    let id = told.recv().unwrap().as_raw_nonzero().get();
    let runner = ProcRoot::at("/proc").runner(u32::try_from(id).unwrap());
    drop(end);
    assert!(thread.join().unwrap().is_err(), "it waited for its end");
    assert_eq!(runner.unwrap().unwrap().process, std::process::id());
}

#[test]
fn a_process_that_is_gone_is_no_error() {
    let root = root("vanishing");
    for pid in [7, 11, 12] {
        assert_eq!(root.start_ticks(pid).unwrap(), None, "{pid}");
        assert_eq!(root.runner(pid).unwrap(), None, "{pid}");
        assert_eq!(root.oom_score(pid).unwrap(), None, "{pid}");
        assert_eq!(root.lineage(pid).unwrap(), None, "{pid}");
    }
    assert_eq!(root.runner(9).unwrap(), None, "its status is gone");
}

#[test]
fn what_makes_no_sense_is_named() {
    for (case, found) in [
        ("empty", "found ``"),
        ("cut", "found `1204 (python3) R 1200 1204"),
        ("malformed", "found `1204 python3 R 1200"),
    ] {
        let told = chain(&root(case).start_ticks(1204).unwrap_err());
        assert!(
            told.contains(&format!("{case}/1204/stat`, line 1")),
            "{told}"
        );
        assert!(told.contains(found), "{told}");
    }
}

#[test]
fn a_root_that_is_absent_is_named() {
    let told = chain(&root("nowhere").start_ticks(1).unwrap_err());
    assert!(told.contains("nowhere`: No such file"), "{told}");
}

#[test]
fn the_kernels_own_agrees_with_procfs() {
    let root = ProcRoot::at("/proc");
    let me = std::process::id();
    let theirs = procfs::process::Process::myself().unwrap();
    let runner = root.runner(me).unwrap().unwrap();
    assert_eq!(runner.uid, theirs.status().unwrap().ruid);
    assert_eq!(runner.start_ticks, theirs.stat().unwrap().starttime);
    let lineage = root.lineage(me).unwrap().unwrap();
    assert_eq!(lineage.start_ticks, runner.start_ticks);
    assert_eq!(lineage.parent, std::os::unix::process::parent_id());
    assert_eq!(root.start_ticks(me).unwrap(), Some(runner.start_ticks));
    assert!(!runner.is_kernel_thread);
    assert!(root.oom_score(me).unwrap().is_some());
    assert_eq!(runner.name.to_string(), theirs.stat().unwrap().comm);
    assert_eq!(runner.process, me);
}

#[test]
fn a_child_is_gone_once_it_was_waited_for() {
    let root = ProcRoot::at("/proc");
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    assert!(root.start_ticks(child.id()).unwrap().is_some());
    assert!(!root.runner(child.id()).unwrap().unwrap().has_ended);
    drop(child.stdin.take());
    let pid = rustix::process::Pid::from_child(&child);
    let wait = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    rustix::process::waitid(WaitId::Pid(pid), wait).unwrap();
    assert!(root.runner(child.id()).unwrap().unwrap().has_ended);
    child.wait().unwrap();
    assert_eq!(root.start_ticks(child.id()).unwrap(), None);
    assert_eq!(root.runner(child.id()).unwrap(), None);
}

#[test]
fn what_waits_without_hearing_signals_says_in_which_function_of_the_kernel() {
    let tree = tempfile::tempdir().unwrap();
    let folder = tree.path().join("7");
    std::fs::create_dir(&folder).unwrap();
    let id = ProcessId {
        pid: 7,
        start_ticks: 300,
    };
    let stuck_in = |state: &str, wchan: &str| {
        let stat = format!("7 (a) D b) {state} 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 300 0\n");
        std::fs::write(folder.join("stat"), stat).unwrap();
        std::fs::write(folder.join("wchan"), wchan).unwrap();
        let function = ProcRoot::at(tree.path()).stuck_in(id).unwrap();
        function.map(|function| function.to_string())
    };
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(
        stuck_in("D", "request_wait_answer"),
        some("request_wait_answer")
    );
    assert_eq!(stuck_in("D", "0"), some(""));
    assert_eq!(stuck_in("D", &"x".repeat(99)), some(&"x".repeat(32)));
    assert_eq!(stuck_in("S", "do_wait"), None);
    assert_eq!(stuck_in("Z", "0"), None);
    let other = ProcessId {
        start_ticks: 299,
        ..id
    };
    std::fs::write(
        folder.join("stat"),
        "7 (a) D 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 300 0\n",
    )
    .unwrap();
    assert_eq!(ProcRoot::at(tree.path()).stuck_in(other).unwrap(), None);
}
