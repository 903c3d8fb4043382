//! For which process an entry has spoken, written on the entry itself.
//!
//! A pid is used again, and a clock jumps (a machine without a battery, a
//! container that is shown another boot): which of an entry and a process was
//! first cannot be told from the time of either. So the daemon leaves a mark,
//! an extended attribute, on each entry that counts. An entry whose mark names
//! another process with the same pid, and which has not been written to since,
//! is left over from that process. One without a mark counts.
//!
//! Root's daemon uses `trusted.`, which no user can set. Any other uses
//! `user.`, which the entry's owner can set: to the harm of that user's own
//! entries alone. Where the file system has neither, nothing is remembered.

use std::fs::File;
use std::time::{SystemTime, UNIX_EPOCH};

use model::ProcessId;
use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

use crate::entry::{is_canonical, parse_pid};

const OF_ROOT: &str = "trusted.user-oom.process";
const OF_A_USER: &str = "user.user-oom.process";

/// Two numbers of 20 digits, one of 10, one of 9, and what is between.
const MAX_BYTES: usize = 64;

/// Marks `file`, last modified at `modified`, as one that speaks for `id`.
/// Where that cannot be done there is nothing to be done about it.
pub(crate) fn write(file: &File, as_root: bool, id: ProcessId, modified: SystemTime) {
    let text = text(id, modified);
    let _ = fsetxattr(file, name(as_root), text.as_bytes(), XattrFlags::empty());
}

/// Whether `file` spoke for an earlier process with the pid of `id`, and has
/// not been modified since.
pub(crate) fn names_another(
    file: &File,
    as_root: bool,
    id: ProcessId,
    modified: SystemTime,
) -> bool {
    let mut buffer = [0; MAX_BYTES];
    let Ok(len) = fgetxattr(file, name(as_root), &mut buffer) else {
        return false;
    };
    let Some((pid, start_ticks, rest)) = parse(buffer.get(..len).unwrap_or_default()) else {
        return false;
    };
    let marked = ProcessId { pid, start_ticks };
    // One that was renamed was meant for another by its owner.
    pid == id.pid && marked != id && rest == self::modified(modified)
}

fn name(as_root: bool) -> &'static str {
    if as_root { OF_ROOT } else { OF_A_USER }
}

/// `<pid> <start in ticks since boot> <seconds>.<nanoseconds>`
fn text(id: ProcessId, at: SystemTime) -> String {
    format!("{} {} {}", id.pid, id.start_ticks, modified(at))
}

fn modified(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
}

pub(crate) fn parse(text: &[u8]) -> Option<(u32, u64, &str)> {
    let text = str::from_utf8(text).ok()?;
    let (pid, rest) = text.split_once(' ')?;
    let (start_ticks, modified) = rest.split_once(' ')?;
    let pid = parse_pid(pid.as_bytes())?;
    // As we write it, and no other way.
    let start_ticks = is_canonical(start_ticks.as_bytes()).then_some(start_ticks)?;
    Some((pid, start_ticks.parse().ok()?, modified))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let id = ProcessId {
            pid: i32::MAX.cast_unsigned(),
            start_ticks: u64::MAX,
        };
        let at = UNIX_EPOCH + Duration::new(9_999_999_999, 7);
        let text = text(id, at);
        assert!(text.len() <= MAX_BYTES, "{text}");
        assert_eq!(
            parse(text.as_bytes()),
            Some((i32::MAX.cast_unsigned(), u64::MAX, "9999999999.000000007"))
        );
    }

    #[test]
    fn a_mark_has_one_spelling() {
        for text in [
            "+7 8 1.0", "7 +8 1.0", "07 8 1.0", "7 08 1.0", "0 8 1.0", "7 8", "7  8 1.0",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(b"7 0 1.0"), Some((7, 0, "1.0")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_mark_or_none(text: Vec<u8>) {
            let _ = parse(&text);
        }
    }
}
