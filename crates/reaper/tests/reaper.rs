//! The reaper, on real children.

#[path = "child/mod.rs"]
mod child;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use reaper::{Calls, Held, Reaper, Tally, wait_gone};

use crate::child::{Child, LIMIT, PROC, start_ticks};

const MIB: u64 = 1024 * 1024;

#[track_caller]
fn hold(child: &Child) -> Held {
    Held::hold_by(Calls::available(), Path::new(PROC), child.id(), start_ticks)
        .expect("a child can be held")
        .expect("the child is there")
}

#[test]
fn a_killed_victims_memory_comes_back_before_the_victim_runs_again() {
    if !Calls::available().process_mrelease || !Calls::available().pidfd_open {
        println!("skipped: no process_mrelease here; would run since Linux 5.15");
        return;
    }
    let child = Child::in_role("holds-200-mib");
    let pid = Pid::from_raw(child.id().pid.try_into().unwrap());
    // A traced process stops on its way out, its memory still its own: so what
    // is freed while it stands there, the reaper has freed.
    if let Err(err) = ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACEEXIT) {
        println!("skipped: may not trace a child here: {err}");
        return;
    }
    let reaper = Reaper::spawn().unwrap();
    let victim = hold(&child);
    victim.kill().unwrap();
    let stopped = waitpid(pid, None).unwrap();
    assert!(
        matches!(stopped, WaitStatus::PtraceEvent(..)),
        "{stopped:?}"
    );
    let before = resident_bytes(&child);
    let taken = reaper.release(&victim);
    let tally = tally_of(&reaper, 1);
    let after = resident_bytes(&child);
    let gone = victim.is_gone();
    // Before anything is asserted: while it stands there it cannot be reaped.
    ptrace::cont(pid, None).unwrap();

    assert!(taken);
    let released = Tally {
        released: 1,
        ..Tally::default()
    };
    assert_eq!(tally, released);
    assert!(before >= 200 * MIB, "{before}");
    assert!(after < 20 * MIB, "{after}");
    assert!(!gone);
    assert!(wait_gone(&[victim], LIMIT).unwrap());
}

/// The tally once `victims` have been dealt with, or as far as it came by then.
fn tally_of(reaper: &Reaper, victims: u64) -> Tally {
    let start = Instant::now();
    loop {
        let tally = reaper.tally();
        let done = tally.released + tally.gone + tally.failed + tally.dropped;
        if done >= victims || start.elapsed() > LIMIT {
            return tally;
        }
        thread::yield_now();
    }
}

/// The second field of statm, in pages: proc_pid_statm(5).
fn resident_bytes(child: &Child) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{}/statm", child.id().pid));
    let statm = statm.expect("the child is there");
    let pages = statm.split(' ').nth(1).and_then(|word| word.parse().ok());
    pages.map_or(0, |pages: u64| pages * rustix::param::page_size() as u64)
}

#[test]
fn many_victims_are_all_accounted_for() {
    if !Calls::available().process_mrelease || !Calls::available().pidfd_open {
        println!("skipped: no process_mrelease here; would run since Linux 5.15");
        return;
    }
    let reaper = Reaper::spawn().unwrap();
    let children: Vec<_> = (0..8).map(|_| Child::idle()).collect();
    let victims: Vec<_> = children.iter().map(hold).collect();
    for victim in &victims {
        victim.kill().unwrap();
        assert!(reaper.release(victim));
    }
    assert!(wait_gone(&victims, LIMIT).unwrap());
    let tally = tally_of(&reaper, 8);
    assert_eq!(tally.released + tally.gone, 8, "{tally:?}");
    assert_eq!((tally.failed, tally.dropped), (0, 0));
}

#[test]
fn what_was_not_killed_is_not_released() {
    let reaper = Reaper::spawn().unwrap();
    let child = Child::that_ignores_sigterm();
    let victim = hold(&child);
    assert!(!reaper.release(&victim));
    victim.terminate().unwrap();
    assert!(!reaper.release(&victim));
    assert_eq!(reaper.tally(), Tally::default());
    assert!(!victim.is_gone());
}

#[test]
fn a_kernel_without_the_call_says_so_and_nothing_waits() {
    for calls in [
        Calls::NONE,
        Calls {
            process_mrelease: false,
            ..Calls::available()
        },
    ] {
        let reaper = Reaper::spawn_by(calls).unwrap();
        assert!(reaper.missing());
        let child = Child::idle();
        let victim = Held::hold_by(calls, Path::new(PROC), child.id(), start_ticks)
            .unwrap()
            .unwrap();
        victim.kill().unwrap();
        assert!(!reaper.release(&victim));
        assert!(wait_gone(&[victim], LIMIT).unwrap());
        assert_eq!(reaper.tally(), Tally::default());
    }
}

#[test]
fn a_victim_without_a_pidfd_is_not_released() {
    let reaper = Reaper::spawn().unwrap();
    let child = Child::idle();
    let victim = Held::hold_by(Calls::NONE, Path::new(PROC), child.id(), start_ticks)
        .unwrap()
        .unwrap();
    victim.kill().unwrap();
    assert!(!reaper.release(&victim));
}

#[test]
fn the_thread_ends_with_its_owner() {
    let names = || -> usize {
        fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .filter(|name| name == "oom-reaper\n")
            .count()
    };
    // Other tests of this file have reapers too.
    let reaper = Reaper::spawn().unwrap();
    let start = Instant::now();
    while names() == 0 {
        assert!(start.elapsed() < LIMIT);
    }
    drop(reaper);
    while names() != 0 {
        assert!(start.elapsed() < LIMIT, "a reaper was left behind");
        rustix::event::poll(&mut [], Some(&Duration::from_millis(1).try_into().unwrap())).unwrap();
    }
}
