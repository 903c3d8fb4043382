//! For which process an entry has spoken, written on the entry itself.
//!
//! A pid is used again, and a clock jumps (a machine without a battery, a
//! container that is shown another boot): which of an entry and a process was
//! first cannot be told from the time of either. So the daemon leaves a mark,
//! an extended attribute, on each entry that counts. An entry whose mark names
//! another process with the same pid, and which has not been written to since,
//! is left over from that process. One without a mark counts.
//!
//! Root's daemon uses `trusted.`, which no user can set. Any other, and root's
//! without CAP_SYS_ADMIN (as the systemd unit has it), uses `user.`, which the
//! entry's owner can set: to the harm of that user's own entries alone. Where the
//! file system has neither, nothing is remembered.

use std::fmt;
use std::fs::File;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::ProcessId;
use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

use crate::entry::parse_pid;

const OF_ROOT: &str = "trusted.user-oom.process";
const OF_A_USER: &str = "user.user-oom.process";

/// Two numbers of 20 digits, one of 10, one of 9, and what is between.
const MAX_BYTES: usize = 64;

/// The mark on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    id: ProcessId,
    /// When the file had last been written to, since 1970.
    modified: Duration,
}

impl Mark {
    /// Of a file last modified at `modified` that speaks for `id`.
    pub(crate) fn new(id: ProcessId, modified: SystemTime) -> Self {
        Self {
            id,
            modified: modified.duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }

    /// The mark on `file`.
    pub(crate) fn on(file: &File, as_root: bool) -> Option<Self> {
        let named = |name| {
            let mut buffer = [0; MAX_BYTES];
            let len = fgetxattr(file, name, &mut buffer).ok()?;
            parse(buffer.get(..len)?)
        };
        names(as_root).iter().copied().find_map(named)
    }

    /// Leaves it on `file`. Where that cannot be done there is nothing to be
    /// done about it.
    pub(crate) fn leave(&self, file: &File, as_root: bool) {
        let text = self.to_string();
        for name in names(as_root) {
            if fsetxattr(file, *name, text.as_bytes(), XattrFlags::empty()).is_ok() {
                return;
            }
        }
    }

    /// Whether a file with this mark, last modified at `modified`, is left over
    /// from an earlier process with the pid of `id`.
    pub(crate) fn names_another(&self, id: ProcessId, modified: SystemTime) -> bool {
        // One that was renamed was meant for another by its owner.
        self.id.pid == id.pid && self.id != id && self.modified == Self::new(id, modified).modified
    }
}

/// `<pid> <start in ticks since boot> <seconds>.<nanoseconds>`
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProcessId { pid, start_ticks } = self.id;
        let (seconds, nanos) = (self.modified.as_secs(), self.modified.subsec_nanos());
        write!(f, "{pid} {start_ticks} {seconds}.{nanos:09}")
    }
}

/// The best first.
fn names(as_root: bool) -> &'static [&'static str] {
    if as_root {
        &[OF_ROOT, OF_A_USER]
    } else {
        &[OF_A_USER]
    }
}

/// As we write it, and no other way.
pub(crate) fn parse(text: &[u8]) -> Option<Mark> {
    let text = str::from_utf8(text).ok()?;
    let (pid, rest) = text.split_once(' ')?;
    let (start_ticks, modified) = rest.split_once(' ')?;
    let (seconds, nanos) = modified.split_once('.')?;
    let id = ProcessId {
        pid: parse_pid(pid.as_bytes())?,
        start_ticks: start_ticks.parse().ok()?,
    };
    let nanos = nanos.parse().ok().filter(|nanos| *nanos < 1_000_000_000)?;
    let modified = Duration::new(seconds.parse().ok()?, nanos);
    let mark = Mark { id, modified };
    (mark.to_string() == text).then_some(mark)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let id = ProcessId {
            pid: i32::MAX.cast_unsigned(),
            start_ticks: u64::MAX,
        };
        let at = UNIX_EPOCH + Duration::new(9_999_999_999, 7);
        let mark = Mark::new(id, at);
        let text = mark.to_string();
        assert!(text.len() <= MAX_BYTES, "{text}");
        assert_eq!(text, "2147483647 18446744073709551615 9999999999.000000007");
        assert_eq!(parse(text.as_bytes()), Some(mark));
    }

    #[test]
    fn a_mark_is_evidence_of_another_process_with_the_pid_until_it_is_written_to() {
        let [first, second] = [1, 2].map(|start_ticks| ProcessId {
            pid: 100,
            start_ticks,
        });
        let at = UNIX_EPOCH + Duration::from_secs(7);
        let mark = Mark::new(first, at);
        assert!(mark.names_another(second, at));
        assert!(!mark.names_another(first, at));
        assert!(!mark.names_another(second, at + Duration::from_secs(1)));
        let renamed = ProcessId { pid: 101, ..second };
        assert!(!mark.names_another(renamed, at));
    }

    #[test]
    fn a_mark_has_one_spelling() {
        for text in [
            "+7 8 1.000000000",
            "7 +8 1.000000000",
            "07 8 1.000000000",
            "7 08 1.000000000",
            "0 8 1.000000000",
            "7 8 01.000000000",
            "7 8 1.0",
            "7 8 1.1000000000",
            "7 8",
            "7  8 1.000000000",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert!(parse(b"7 0 1.000000000").is_some());
    }

    #[test]
    fn a_root_that_may_not_leave_its_own_leaves_a_users() {
        let file = tempfile::tempfile().unwrap();
        if fsetxattr(&file, OF_A_USER, b"", XattrFlags::empty()).is_err() {
            return eprintln!(
                "not run, the file system has no `user.` attributes (tmpfs: Linux 6.6)"
            );
        }
        let id = ProcessId {
            pid: 100,
            start_ticks: 7,
        };
        let mark = Mark::new(id, UNIX_EPOCH);
        let thread = std::thread::spawn(move || {
            let mut sets = capabilities(None).unwrap();
            sets.effective.remove(CapabilitySet::SYS_ADMIN);
            set_capabilities(None, sets).unwrap();
            mark.leave(&file, true);
            (Mark::on(&file, true), Mark::on(&file, false))
        });
        assert_eq!(thread.join().unwrap(), (Some(mark), Some(mark)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_mark_or_none(text: Vec<u8>) {
            let _ = parse(&text);
        }
    }
}
