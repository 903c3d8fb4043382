//! Ending a process takes no memory of ours: where there is none, none is
//! asked for.

#[path = "child/mod.rs"]
mod child;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use reaper::{Calls, Held, Keeper, Pauser, Reaper, Report, Signalled};

use crate::child::reader::Reader;
use crate::child::{Child, LIMIT, PROC, start_ticks};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting what each thread asks for.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count() {
    // Not `with`: at a thread's end the counter may be gone.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

#[expect(
    unsafe_code,
    reason = "what is asked of the heap can be seen only as the allocator, and GlobalAlloc is unsafe"
)]
// SAFETY: everything is handed to the system's allocator unchanged; the
// counting neither allocates (a const thread local without a destructor) nor
// unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is handed on.
        unsafe { System.realloc(block, layout, size) }
    }
}

fn allocations_of(act: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    act();
    ALLOCATIONS.get() - before
}

#[test]
fn the_allocator_counts() {
    assert_eq!(allocations_of(|| drop(black_box(Box::new(1_u64)))), 1);
}

#[test]
fn a_kill_and_its_release_allocate_nothing() {
    let reaper = Reaper::spawn().unwrap();
    for calls in [Calls::available(), Calls::NONE] {
        let mut child = Child::that_ignores_sigterm();
        let victim = Held::hold_by(calls, Path::new(PROC), child.id(), start_ticks)
            .unwrap()
            .unwrap();
        let allocations = allocations_of(|| {
            assert_eq!(victim.terminate().unwrap(), Signalled::Sent);
            assert_eq!(victim.kill().unwrap(), Signalled::Sent);
            black_box(reaper.release(&victim));
            while !victim.is_gone() {
                std::hint::spin_loop();
            }
        });
        assert_eq!(allocations, 0, "{calls:?}");

        child.wait();
        let allocations = allocations_of(|| {
            assert_eq!(victim.kill().unwrap(), Signalled::Gone);
        });
        assert_eq!(allocations, 0, "{calls:?}");
    }
}

#[test]
fn asking_the_pauser_and_hearing_from_it_allocates_nothing() {
    let folder = tempfile::TempDir::new().unwrap();
    let keeper = Keeper {
        executable: env!("CARGO_BIN_EXE_reaper-test-child").into(),
        argument: "keeper".into(),
        leftover: folder.path().join("paused"),
    };
    let pauser = Pauser::spawn(Reader, keeper).unwrap();
    let child = Child::idle();
    let unit = child.id();
    let member = Held::hold_by(Calls::available(), Path::new(PROC), unit, start_ticks)
        .unwrap()
        .unwrap();
    let mut reports = 0;
    let allocations = allocations_of(|| {
        assert!(pauser.add(unit, &member));
        pauser.freeze(unit, u64::MAX, 1 << 20);
        pauser.thaw(unit);
        let began = Instant::now();
        // Frozen, thawed, and in between maybe what was pushed out.
        while !matches!(pauser.report(), Some(Report::Thawed { .. })) {
            reports += 1;
            assert!(began.elapsed() < LIMIT);
            std::hint::spin_loop();
        }
    });
    assert_eq!(allocations, 0);
    assert!(0 < reports);
}

#[test]
fn a_refused_signal_allocates_nothing() {
    if rustix::process::geteuid().is_root() {
        println!("skipped: root may signal everybody; run it as an ordinary user");
        return;
    }
    let init = model::ProcessId {
        pid: 1,
        start_ticks: start_ticks(1).unwrap().unwrap(),
    };
    let victim = Held::hold_by(Calls::available(), Path::new(PROC), init, start_ticks)
        .unwrap()
        .unwrap();
    let allocations = allocations_of(|| assert!(victim.terminate().is_err()));
    assert_eq!(allocations, 0);
}
