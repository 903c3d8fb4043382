//! Real children on the real kernel, ended by every set of calls that a kernel
//! may have.

#[path = "child/mod.rs"]
mod child;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use model::ProcessId;
use reaper::{Calls, Held, ReapError, Signalled, count_gone, wait_gone};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::child::{Child, LIMIT, PROC, start_ticks};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// Every set of calls this kernel lets us have.
#[expect(clippy::print_stdout, reason = "a skip says why")]
fn every_kernel() -> Vec<Calls> {
    let mut kernels = Vec::new();
    for pidfd_open in [true, false] {
        for pidfd_send_signal in [true, false] {
            let calls = Calls {
                pidfd_open,
                pidfd_send_signal,
                process_mrelease: false,
                process_madvise: false,
            };
            let available = Calls::available();
            if pidfd_open && !available.pidfd_open
                || pidfd_send_signal && !available.pidfd_send_signal
            {
                println!("skipped on this kernel: {calls:?}; it has {available:?}");
                continue;
            }
            kernels.push(calls);
        }
    }
    kernels
}

#[track_caller]
fn hold(calls: Calls, child: &Child) -> Held {
    Held::hold_by(calls, Path::new(PROC), child.id(), start_ticks)
        .expect("a child can be held")
        .expect("the child is there")
}

#[track_caller]
fn assert_gone(victim: &Held) {
    let victims = std::slice::from_ref(victim);
    let gone = wait_gone(victims, LIMIT).expect("poll(2) works");
    assert!(gone, "{victim:?} stays");
}

#[test]
fn what_does_not_ignore_sigterm_ends_of_it() {
    for calls in every_kernel() {
        let mut child = Child::idle();
        let victim = hold(calls, &child);
        assert_eq!(victim.id(), child.id());
        assert!(!victim.is_gone());

        assert_eq!(victim.terminate().unwrap(), Signalled::Sent);
        assert_gone(&victim);
        assert_eq!(child.wait().signal(), Some(SIGTERM));
        assert!(!victim.is_killed());
    }
}

#[test]
fn what_ignores_sigterm_dies_of_sigkill() {
    for calls in every_kernel() {
        let mut child = Child::that_ignores_sigterm();
        let victim = hold(calls, &child);

        assert_eq!(victim.terminate().unwrap(), Signalled::Sent);
        assert!(!wait_gone(std::slice::from_ref(&victim), Duration::from_millis(50)).unwrap());
        assert!(!victim.is_killed());

        assert_eq!(victim.kill().unwrap(), Signalled::Sent);
        assert!(victim.is_killed());
        assert_gone(&victim);
        assert_eq!(child.wait().signal(), Some(SIGKILL));
    }
}

#[test]
fn a_stopped_process_dies() {
    for calls in every_kernel() {
        let mut child = Child::idle();
        child.stop();
        let victim = hold(calls, &child);

        assert_eq!(victim.kill().unwrap(), Signalled::Sent);
        assert_gone(&victim);
        assert_eq!(child.wait().signal(), Some(SIGKILL));
    }
}

#[test]
fn a_stopped_process_runs_again_to_save_its_work_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    for (number, calls) in every_kernel().into_iter().enumerate() {
        let saved = folder.path().join(number.to_string());
        let mut child = Child::that_saves_on_sigterm(&saved);
        child.stop();
        let victim = hold(calls, &child);

        assert_eq!(victim.terminate().unwrap(), Signalled::Sent);
        assert_gone(&victim);
        assert_eq!(child.wait().code(), Some(0));
        assert!(saved.exists());
    }
}

#[test]
fn a_process_lives_on_while_its_first_thread_alone_has_ended() {
    for calls in every_kernel() {
        let mut child = Child::in_role("leader-exits");
        let victim = hold(calls, &child);
        assert!(!victim.is_gone());

        assert_eq!(victim.kill().unwrap(), Signalled::Sent);
        assert_gone(&victim);
        child.wait();
    }
}

#[test]
fn a_process_of_another_start_time_is_not_held() {
    for calls in every_kernel() {
        let child = Child::idle();
        let earlier = ProcessId {
            start_ticks: child.id().start_ticks - 1,
            ..child.id()
        };
        let held = Held::hold_by(calls, Path::new(PROC), earlier, start_ticks).unwrap();
        assert!(held.is_none());
    }
}

#[test]
fn a_process_that_is_gone_is_no_error() {
    for calls in every_kernel() {
        let mut child = Child::idle();
        let early = hold(calls, &child);
        assert_eq!(early.kill().unwrap(), Signalled::Sent);
        child.wait();

        assert!(early.is_gone());
        assert_eq!(early.kill().unwrap(), Signalled::Gone);
        assert_eq!(early.terminate().unwrap(), Signalled::Gone);
        let late = Held::hold_by(calls, Path::new(PROC), child.id(), |_| {
            Ok(Some(child.id().start_ticks))
        });
        assert!(late.unwrap().is_none());
    }
}

#[test]
fn a_process_that_goes_while_it_is_looked_at_is_not_held() {
    for calls in every_kernel() {
        let mut child = Child::idle();
        let id = child.id();
        let held = Held::hold_by(calls, Path::new(PROC), id, |_| {
            hold(calls, &child).kill().unwrap();
            child.wait();
            Ok(Some(id.start_ticks))
        });
        assert!(held.unwrap().is_none());
    }
}

#[test]
fn a_zombie_is_gone() {
    for calls in every_kernel() {
        let child = Child::idle();
        let early = hold(calls, &child);
        assert_eq!(early.kill().unwrap(), Signalled::Sent);
        assert_gone(&early);

        // Not reaped: its start time can still be read.
        assert!(start_ticks(child.id().pid).unwrap().is_some());
        let late = Held::hold_by(calls, Path::new(PROC), child.id(), start_ticks).unwrap();
        assert!(late.is_none());
    }
}

#[test]
fn numbers_that_are_no_pids_are_nobody() {
    for calls in every_kernel() {
        for pid in [0, u32::MAX, 0x8000_0000, 0x7fff_ffff] {
            let id = ProcessId {
                pid,
                start_ticks: 1,
            };
            let held = Held::hold_by(calls, Path::new(PROC), id, |_| Ok(Some(1))).unwrap();
            assert!(held.is_none(), "{pid}");
        }
    }
}

#[test]
fn a_thread_that_leads_no_process_is_nobody() {
    // Without pidfd_open, the start time alone tells them apart.
    for calls in every_kernel().into_iter().filter(|calls| calls.pidfd_open) {
        // Tests run on threads of their own, so this one leads no process.
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        let own = std::process::id();
        let pid = u32::try_from(thread).unwrap();
        assert_ne!(pid, own);
        let id = ProcessId {
            pid,
            start_ticks: start_ticks(own).unwrap().unwrap(),
        };
        let held = Held::hold_by(calls, Path::new(PROC), id, |_| start_ticks(own)).unwrap();
        assert!(held.is_none());
    }
}

#[test]
fn a_reader_that_fails_is_an_error_that_names_the_process() {
    let child = Child::idle();
    let reader = |_| Err(io::ErrorKind::PermissionDenied.into());
    let err = Held::hold_by(Calls::available(), Path::new(PROC), child.id(), reader);
    let Err(err @ ReapError::StartTime { pid, .. }) = err else {
        panic!("{err:?}");
    };
    assert_eq!(pid, child.id().pid);
    assert_eq!(
        err.to_string(),
        format!("cannot read the start time of process {pid}")
    );
}

#[test]
fn the_descriptor_becomes_readable_when_the_process_is_gone() {
    for calls in every_kernel() {
        let child = Child::idle();
        let victim = hold(calls, &child);
        assert_eq!(victim.tells_its_end(), calls.pidfd_open);
        assert!(!is_readable(&victim));

        victim.kill().unwrap();
        assert_gone(&victim);
        assert_eq!(is_readable(&victim), victim.tells_its_end());
    }
}

#[test]
fn however_many_there_are_those_that_are_gone_are_counted() {
    for calls in every_kernel() {
        let children: Vec<Child> = (0..34).map(|_| Child::idle()).collect();
        let all: Vec<Held> = children.iter().map(|child| hold(calls, child)).collect();
        assert_eq!(count_gone(all.iter()), 0);
        for victim in [&all[0], &all[33]] {
            victim.kill().unwrap();
            assert_gone(victim);
        }
        assert_eq!(count_gone(all.iter()), 2);
        assert_eq!(count_gone(all[1..33].iter()), 0);
    }
}

fn is_readable(victim: &Held) -> bool {
    let descriptor = victim.as_fd();
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())) == Ok(1)
}

#[test]
fn a_pidfd_needs_no_proc_and_nothing_else_is_held_without() {
    let child = Child::idle();
    let held = Held::hold(child.id(), start_ticks);
    if Calls::available().pidfd_open {
        let victim = held.unwrap().unwrap();
        assert_eq!(victim.id(), child.id());
        assert!(victim.tells_its_end());
    } else {
        let err = held.unwrap_err();
        assert!(matches!(err, ReapError::Hold { .. }), "{err:?}");
    }
}

#[test]
fn one_of_many_that_stays_is_waited_for() {
    for calls in every_kernel() {
        let children = [Child::idle(), Child::idle(), Child::idle()];
        let victims = children.each_ref().map(|child| hold(calls, child));
        victims[0].kill().unwrap();
        victims[2].kill().unwrap();
        assert!(!wait_gone(&victims, Duration::from_millis(50)).unwrap());
        assert!(!victims[1].is_gone());

        victims[1].kill().unwrap();
        assert!(wait_gone(&victims, Duration::MAX).unwrap());
    }
}

#[test]
fn nobody_is_not_waited_for() {
    assert!(wait_gone(&[], Duration::ZERO).unwrap());
}

#[test]
fn a_clone_holds_the_same_process() {
    let child = Child::idle();
    let victim = hold(Calls::available(), &child);
    let clone = victim.clone();
    drop(victim);
    assert_eq!(clone.id(), child.id());
    clone.clone().kill().unwrap();
    assert!(clone.is_killed());
    assert_gone(&clone);
}

#[test]
fn another_users_process_is_refused_and_says_so() {
    // Kernel threads and whoever else is root's: an ordinary user may not
    // signal the first process. Root may, so for root there is nobody to try.
    if rustix::process::geteuid().is_root() {
        println!("skipped: root may signal everybody; run it as an ordinary user");
        return;
    }
    for calls in every_kernel() {
        let init = ProcessId {
            pid: 1,
            start_ticks: start_ticks(1).unwrap().unwrap(),
        };
        let victim = Held::hold_by(calls, Path::new(PROC), init, start_ticks)
            .unwrap()
            .unwrap();
        let err = victim.terminate().unwrap_err();
        assert!(
            matches!(err, ReapError::NotPermitted { pid: 1, .. }),
            "{err:?}"
        );
        assert_eq!(
            err.to_string(),
            "not permitted to send SIGTERM to process 1"
        );
    }
}
