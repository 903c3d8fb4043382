//! What the tests end: `reaper-test-child ROLE`.
//!
//! Each role says `ready` on its standard output once it is what it should be,
//! and lives until its standard input is closed, so that it never outlives its
//! test.

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::thread;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("holds-200-mib") => holds(200 * 1024 * 1024),
        Some("leader-exits") => leader_exits(),
        role => {
            let _ = writeln!(io::stderr(), "no such role: {role:?}");
            ExitCode::from(2)
        }
    }
}

/// Touches every page of so many bytes.
fn holds(bytes: usize) -> ExitCode {
    let held = black_box(vec![0xa5_u8; bytes]);
    be_ready_until_stdin_closes();
    black_box(held);
    ExitCode::SUCCESS
}

/// The first thread ends, another goes on: the process shows as a zombie and is
/// none.
#[expect(
    unsafe_code,
    reason = "the standard library ends a process with its first thread; exit(2) itself ends the thread alone"
)]
fn leader_exits() -> ExitCode {
    let started = thread::Builder::new().spawn(|| {
        while !first_thread_is_gone() {
            thread::yield_now();
        }
        be_ready_until_stdin_closes();
        std::process::abort();
    });
    if started.is_err() {
        return ExitCode::FAILURE;
    }
    // SAFETY: the call takes no pointers and does not return. What the first
    // thread's stack holds is not lent to the other.
    unsafe { libc::syscall(libc::SYS_exit, 0 as libc::c_long) };
    ExitCode::FAILURE
}

/// The letter after the name in parentheses is the first thread's state.
fn first_thread_is_gone() -> bool {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, fields)| fields.starts_with('Z'))
}

fn be_ready_until_stdin_closes() {
    let mut stdout = io::stdout();
    let _ = stdout.write_all(b"ready\n").and_then(|()| stdout.flush());
    let _ = io::stdin().read_to_end(&mut Vec::new());
}
