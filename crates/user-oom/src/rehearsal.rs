//! One dry run of the worst moment, before it comes.
//!
//! `mlockall` with `MCL_ONFAULT` keeps what has been touched, not what never
//! was. So every page of the path is touched once at start: a decision at full
//! size is made, and a child of ours is ended the way a victim is.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use oom_policy::{
    Depth, Dossier, Effects, Event, Guard, Memory, Moment, Name, Process, ProcessId, Seen,
    SessionId,
};
use reaper::{Calls, Held, ReapError, Reaper, wait_gone};
use sensors::ProcRoot;
use terminal::chain;

use crate::error::Error;

/// The argument that makes a process of ours the child.
pub(crate) const CHILD: &str = "--rehearsal";

/// How long the child may take to die.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the child does: nothing, until it is ended or we are.
pub(crate) fn be_the_child() {
    let mut byte = [0];
    // Standard input is a pipe that says nothing, and ends with us.
    let _ = io::stdin().read(&mut byte);
}

/// Ends a child of ours as a victim would be ended. Where none can be started,
/// for want of descriptors, memory or room for another process, that is said:
/// the first victim may then take longer.
///
/// # Errors
///
/// Where a child of ours cannot be ended, nothing can be.
pub(crate) fn end_a_child(
    root: &ProcRoot,
    executable: &Path,
    reaper: Option<&Reaper>,
) -> Result<(), Error> {
    let started = Command::new(executable)
        .arg(CHILD)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(err) => {
            log::warn!(
                "the first kill may take longer: cannot start a child for the rehearsal: {err}"
            );
            return Ok(());
        }
    };
    let ended = end(child.id(), root, reaper);
    // It has our pipe's end; without it, it ends by itself. Its status says
    // nothing more.
    drop(child.stdin.take());
    let _ = child.wait();
    match ended {
        Err(err) if is_for_want_of_something(&err) => {
            log::warn!("the first kill may take longer: {}", chain(&err));
            Ok(())
        }
        ended => ended.map_err(Error::Reaper),
    }
}

fn end(pid: u32, root: &ProcRoot, reaper: Option<&Reaper>) -> Result<(), ReapError> {
    let start_ticks = |pid| root.start_ticks(pid).map_err(io::Error::other);
    let started = start_ticks(pid).map_err(|source| ReapError::StartTime { pid, source })?;
    let Some(ticks) = started else {
        return Ok(());
    };
    let id = ProcessId {
        pid,
        start_ticks: ticks,
    };
    let held = Held::hold_by(Calls::available(), root.path(), id, start_ticks)?;
    let Some(victim) = held else { return Ok(()) };
    victim.kill()?;
    if let Some(reaper) = reaper {
        reaper.release(&victim);
    }
    wait_gone(&[victim], PATIENCE)?;
    Ok(())
}

/// What may be there when it matters; that we may not signal does not pass.
fn is_for_want_of_something(err: &ReapError) -> bool {
    match err {
        ReapError::Hold { source, .. } => matches!(
            source.raw_os_error(),
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)
        ),
        ReapError::StartTime { .. } | ReapError::Wait { .. } => true,
        _ => false,
    }
}

/// What is left of a rehearsal: empty, with the room it took, all of it
/// touched.
#[derive(Debug)]
pub(crate) struct Rehearsed {
    pub(crate) processes: Vec<Process>,
    pub(crate) effects: Effects,
}

/// Decides about `processes` made-up processes, and has `guard` forget it:
/// what it remembers of memory that never was would count as growth of all
/// that is there.
pub(crate) fn decide(guard: &mut Guard, processes: usize) -> Rehearsed {
    let mut processes = made_up(processes);
    let mut effects = Effects::default();
    guard.touch();
    // Twice, since each table is compared with the one before.
    for _ in 0..2 {
        show(guard, Moment::ORIGIN, no_memory(), &processes, &mut effects);
        while effects.next().is_some() {}
    }
    guard.forget();
    processes.clear();
    Rehearsed { processes, effects }
}

/// Has `guard` see `memory`, and then `processes` whether it wants them or not.
pub(crate) fn show(
    guard: &mut Guard,
    now: Moment,
    memory: Memory,
    processes: &[Process],
    effects: &mut Effects,
) {
    guard.handle(now, Event::Memory(memory), effects);
    let depth = Depth::Fast;
    guard.handle(now, Event::Table { depth, processes }, effects);
}

/// A machine without any memory left.
fn no_memory() -> Memory {
    Memory {
        total_bytes: 1 << 30,
        ..Memory::default()
    }
}

/// This many made-up processes.
pub(crate) fn made_up(processes: usize) -> Vec<Process> {
    const MIB: u64 = 1 << 20;
    (1..)
        .take(processes)
        .map(|number: u32| {
            let id = ProcessId {
                // Above every pid there is (2^22), so none is mistaken.
                pid: (1 << 30) + number,
                start_ticks: u64::from(number),
            };
            let bytes = u64::from(number % 97) * MIB;
            Process {
                seen: Seen {
                    parent: 1,
                    session: SessionId(u64::from(number)),
                    uid: 1000,
                    name: Name::new(b"rehearsal"),
                    anon_bytes: bytes,
                    rss_bytes: bytes,
                    login: true,
                    ..Seen::new(id)
                },
                dossier: Dossier {
                    value: Some(number % 89),
                    ..Dossier::default()
                },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use oom_policy::Effect;

    use super::*;
    use crate::stand_in::{at, guard};

    /// What is wanted first where little is left.
    fn first(guard: &mut Guard) -> String {
        let memory = Memory {
            available_bytes: 80 << 20,
            ..no_memory()
        };
        let now = at(Duration::from_millis(50));
        let mut effects = Effects::default();
        show(guard, now, memory, &made_up(40), &mut effects);
        let effects: Vec<Effect> = effects.collect();
        format!("{effects:?} {:?}", guard.decision())
    }

    #[test]
    fn a_decision_after_the_rehearsal_is_that_of_a_guard_without_one() {
        let mut rehearsed = guard();
        assert!(decide(&mut rehearsed, 64).processes.is_empty());
        assert_eq!(first(&mut rehearsed), first(&mut guard()));
    }
}
