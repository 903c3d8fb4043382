//! What the tests end: `reaper-test-child ROLE`.
//!
//! As `reaper-test-child pauser LEFTOVER PID…` it is a daemon that pauses, and as
//! `reaper-test-child keeper LEFTOVER` that daemon's keeper.
//!
//! Each other role says `ready` on its standard output once it is what it should be,
//! and lives until its standard input is closed, so that it never outlives its
//! test.

mod reader;

use std::hint::black_box;
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use model::ProcessId;
use reaper::{Calls, Held, Keeper, Pauser, ProcessReader, Report};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use crate::reader::Reader;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("holds-200-mib") => holds(200 * 1024 * 1024),
        Some("leader-exits") => leader_exits(),
        Some("resumes") => match resumes() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Some("keeper") => keeps(),
        Some("pauser") => match pauses() {
            Ok(()) => ExitCode::SUCCESS,
            Err(err) => {
                say(&format!("failed: {err}"));
                ExitCode::FAILURE
            }
        },
        role => {
            let _ = writeln!(io::stderr(), "no such role: {role:?}");
            ExitCode::from(2)
        }
    }
}

fn keeps() -> ExitCode {
    let leftover = std::env::args().nth(2).unwrap_or_default();
    match reaper::keep(&Reader, Path::new(&leftover)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Thaws what an earlier one left, says how much, and does what its standard
/// input says, to one unit: `freeze` or `thaw`, each of which it answers with
/// the report. At `leave` its first thread ends, and no other.
fn pauses() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(2);
    let leftover = PathBuf::from(arguments.next().ok_or("no leftover file")?);
    let thawing = reaper::thaw_leftover(&leftover, &Reader)?;
    let mut members = Vec::new();
    for pid in arguments {
        members.push(hold(pid.parse()?)?);
    }
    let unit = members.last().ok_or("no members")?.id();
    let pauser = Pauser::spawn(Reader, keeper(leftover)?)?;
    say(&format!(
        "ready {}",
        thawing.map_or(0, |thawing| thawing.thawed)
    ));
    for line in io::stdin().lock().lines() {
        match line?.as_str() {
            "freeze" => {
                if !members.iter().all(|member| pauser.add(unit, member)) {
                    return Err("no room".into());
                }
                pauser.freeze(unit, u64::MAX, 0);
            }
            // As one that was killed while another thread waits in the kernel.
            "leave" => end_this_thread(),
            _ => pauser.thaw(unit),
        }
        say(&format!("{:?}", next_report(&pauser)?));
    }
    Ok(())
}

fn keeper(leftover: PathBuf) -> io::Result<Keeper> {
    Ok(Keeper {
        executable: std::env::current_exe()?,
        argument: "keeper".into(),
        leftover,
    })
}

fn hold(pid: u32) -> Result<Held, Box<dyn std::error::Error>> {
    let (start_ticks, _) = Reader.state(pid)?.ok_or("it is gone")?;
    let id = ProcessId { pid, start_ticks };
    let start_ticks = |pid| Ok(Reader.state(pid)?.map(|(start_ticks, _)| start_ticks));
    let held = Held::hold_by(Calls::available(), Reader.proc_root(), id, start_ticks)?;
    held.ok_or_else(|| "it is gone".into())
}

fn next_report(pauser: &Pauser) -> io::Result<Report> {
    loop {
        if let Some(report) = pauser.report() {
            return Ok(report);
        }
        let mut polled = [PollFd::from_borrowed_fd(pauser.reports(), PollFlags::IN)];
        let limit = Timespec::try_from(Duration::from_secs(30)).ok();
        if poll(&mut polled, limit.as_ref())? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// A line on standard output.
fn say(line: &str) {
    let mut stdout = io::stdout();
    let _ = stdout
        .write_all(format!("{line}\n").as_bytes())
        .and_then(|()| stdout.flush());
}

/// Has its child go on whenever that stops.
fn resumes() -> io::Result<()> {
    let child = std::process::Command::new("sh")
        .args(["-c", "echo ready; read line"])
        .spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let changed = WaitIdOptions::STOPPED | WaitIdOptions::EXITED;
    while waitid(WaitId::Pid(pid), changed)?.is_some_and(|status| status.stopped()) {
        pidfd_send_signal(&pidfd, Signal::CONT)?;
    }
    Ok(())
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
    end_this_thread();
    ExitCode::FAILURE
}

#[expect(
    unsafe_code,
    reason = "the standard library ends a process with its first thread; exit(2) itself ends the thread alone"
)]
fn end_this_thread() {
    // SAFETY: the call takes no pointers and does not return. What the thread's
    // stack holds is not lent to others.
    unsafe { libc::syscall(libc::SYS_exit, 0 as libc::c_long) };
}

/// The letter after the name in parentheses is the first thread's state.
fn first_thread_is_gone() -> bool {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, fields)| fields.starts_with('Z'))
}

fn be_ready_until_stdin_closes() {
    say("ready");
    let _ = io::stdin().read_to_end(&mut Vec::new());
}
