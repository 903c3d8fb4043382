//! `/proc/<pid>/smaps`, proc_pid_smaps(5): shared memory that its process alone
//! maps.

use std::fs::File;
use std::ops::ControlFlow;

use crate::file::for_each_line;
use crate::number::kibibytes;

/// So many mappings of a process are read: 5 to 10 µs each. Ordinary programs
/// have some hundreds, browsers and Java machines up to two thousand.
const MAPPINGS: usize = 4096;

/// More than any process has: all the shared memory that it maps counts. A
/// process that hides its mappings, or makes too many, must not hold the less
/// for it.
pub(crate) const UNSEEN: u64 = u64::MAX;

/// What `smaps` tells of nameless shared memory that its process alone maps;
/// `None` once that is gone, [`UNSEEN`] for more mappings than are read.
pub(crate) fn last_mapped_bytes(smaps: &File) -> Option<u64> {
    let mut bytes = 0_u64;
    let mut mappings = 0;
    let mut is_nameless = false;
    for_each_line(smaps, &mut [0; 8192], |_, line| {
        match line.first() {
            // A mapping begins with its address; what is said of it, with a
            // capital.
            Some(b'0'..=b'9' | b'a'..=b'f') => {
                mappings += 1;
                if mappings > MAPPINGS {
                    return ControlFlow::Break(());
                }
                is_nameless = is_nameless_shared(line);
            }
            _ if is_nameless => {
                let value = line
                    .strip_prefix(b"Private_Clean:")
                    .or_else(|| line.strip_prefix(b"Private_Dirty:"));
                bytes = bytes.saturating_add(value.and_then(kibibytes).unwrap_or(0));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    })
    .ok()?;
    Some(if mappings > MAPPINGS { UNSEEN } else { bytes })
}

/// Whether a mapping is of shared memory that has no name any more:
/// `<addresses> <permissions> <offset> <device> <inode> <path>`.
fn is_nameless_shared(mapping: &[u8]) -> bool {
    let mut fields = mapping
        .split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty());
    let is_shared = fields
        .nth(1)
        .is_some_and(|permissions| permissions.ends_with(b"s"));
    let path = fields.nth(3).unwrap_or_default();
    let is_shared_memory =
        path == b"/dev/zero" || path.starts_with(b"/memfd:") || path.starts_with(b"/dev/shm/");
    is_shared && is_shared_memory && mapping.ends_with(b" (deleted)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mapping: &str, want: bool) {
        assert_eq!(is_nameless_shared(mapping.as_bytes()), want, "{mapping}");
    }

    #[test]
    fn only_shared_memory_without_a_name_ends_with_its_mapping() {
        let address = "7f0000000000-7f0000001000";
        check(
            &format!("{address} rw-s 00000000 00:01 2049    /dev/zero (deleted)"),
            true,
        );
        check(
            &format!("{address} rw-s 00000000 00:01 7       /memfd:a b (deleted)"),
            true,
        );
        check(
            &format!("{address} rw-s 00000000 00:18 7       /dev/shm/t (deleted)"),
            true,
        );
        check(
            &format!("{address} rw-s 00000000 00:18 7       /dev/shm/t"),
            false,
        );
        check(
            &format!("{address} rw-s 00000000 00:01 7       /SYSV00000000 (deleted)"),
            false,
        );
        check(
            &format!("{address} rw-p 00000000 00:01 2049    /dev/zero (deleted)"),
            false,
        );
        check(
            &format!("{address} rw-s 00000000 08:01 9       /srv/db (deleted)"),
            false,
        );
        check(&format!("{address} rw-p 00000000 00:00 0 "), false);
        check("", false);
    }
}
