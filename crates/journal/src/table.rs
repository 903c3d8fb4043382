//! The process table as the lines of one file build it up.

use oom_policy::Process;

use crate::row::ProcessRow;

/// How a table differs in one process from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference<'a> {
    /// This process is new, or is not as it was.
    Changed(&'a Process),
    /// The process with this pid is not there any longer.
    Gone(u32),
}

/// Tells each change from `before` to `now` by ascending pid, by which both
/// ascend. Takes no memory.
pub fn difference<'a>(
    before: &[Process],
    now: &'a [Process],
    mut change: impl FnMut(Difference<'a>),
) {
    let mut before = before.iter().peekable();
    for process in now {
        while let Some(old) = before.next_if(|old| old.id.pid < process.id.pid) {
            change(Difference::Gone(old.id.pid));
        }
        if before.next_if(|old| old.id.pid == process.id.pid) != Some(process) {
            change(Difference::Changed(process));
        }
    }
    for old in before {
        change(Difference::Gone(old.id.pid));
    }
}

/// Makes `table` what it has become.
pub(crate) fn apply(table: &mut Vec<Process>, rows: &[ProcessRow], gone: &[u32]) {
    table.retain(|process| gone.binary_search(&process.id.pid).is_err());
    for ProcessRow(process) in rows {
        match table.binary_search_by_key(&process.id.pid, |old| old.id.pid) {
            Ok(place) => table[place] = *process,
            Err(place) => table.insert(place, *process),
        }
    }
}
