//! `/proc/<pid>/smaps`, proc_pid_smaps(5): shared memory that has no name.

use std::fs::File;
use std::mem;
use std::ops::ControlFlow;

use crate::cgroup::hash;
use crate::file::for_each_line;
use crate::number::kibibytes;

/// So many mappings of a process are read: 5 to 10 µs each. Ordinary programs
/// have some hundreds, browsers and Java machines up to two thousand.
const MAPPINGS: usize = 4096;

/// So many segments are told apart, the largest.
const SEGMENTS: usize = 4;

/// Shared memory without a name that a process maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    /// What tells it from others; 0: it is none.
    pub(crate) id: u64,
    /// What of it the process has touched.
    pub(crate) rss_bytes: u64,
    /// The same, each page divided by how many processes have touched it.
    pub(crate) part_bytes: u64,
}

impl Segment {
    /// Whether no other process has touched what this one has.
    fn is_own(&self) -> bool {
        self.part_bytes == self.rss_bytes
    }
}

/// What `smaps` tells of nameless shared memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Nameless {
    pub(crate) segments: [Segment; SEGMENTS],
    /// Of smaller ones, what no other process has touched, in bytes.
    pub(crate) rest_bytes: u64,
}

impl Nameless {
    /// More than any process has: all the shared memory that it maps counts. A
    /// process that hides its mappings, or makes too many, must not hold the less
    /// for it.
    pub(crate) const UNSEEN: Self = Self {
        segments: [Segment {
            id: 0,
            rss_bytes: 0,
            part_bytes: 0,
        }; SEGMENTS],
        rest_bytes: u64::MAX,
    };

    /// By a process's `smaps`; `None` once that is gone, [`Self::UNSEEN`] for more
    /// mappings than are read.
    pub(crate) fn read(smaps: &File) -> Option<Self> {
        let mut found = Self::default();
        let mut mappings = 0;
        let mut mapping = Segment::default();
        for_each_line(smaps, &mut [0; 8192], |_, line| {
            // A mapping begins with its address; what is said of it, with a
            // capital.
            if let Some(b'0'..=b'9' | b'a'..=b'f') = line.first() {
                found.add(mem::take(&mut mapping));
                mappings += 1;
                if mappings > MAPPINGS {
                    return ControlFlow::Break(());
                }
                mapping.id = nameless_shared(line).unwrap_or(0);
            } else if mapping.id != 0 {
                let read = |key: &str| kibibytes(line.strip_prefix(key.as_bytes())?);
                mapping.rss_bytes = read("Rss:").unwrap_or(mapping.rss_bytes);
                mapping.part_bytes = read("Pss:").unwrap_or(mapping.part_bytes);
            }
            ControlFlow::Continue(())
        })
        .ok()?;
        if mappings > MAPPINGS {
            return Some(Self::UNSEEN);
        }
        found.add(mapping);
        Some(found)
    }

    /// Adds a mapping to its segment.
    fn add(&mut self, mut mapping: Segment) {
        if mapping.id == 0 {
            return;
        }
        // Parts are rounded down.
        mapping.part_bytes = mapping.part_bytes.min(mapping.rss_bytes);
        let known = |segment: &&mut Segment| segment.id == mapping.id;
        if let Some(segment) = self.segments.iter_mut().find(known) {
            segment.rss_bytes = segment.rss_bytes.saturating_add(mapping.rss_bytes);
            segment.part_bytes = segment.part_bytes.saturating_add(mapping.part_bytes);
            return;
        }
        let size = |segment: &&mut Segment| (segment.id != 0, segment.rss_bytes);
        if let Some(least) = self.segments.iter_mut().min_by_key(size)
            && (least.id == 0 || least.rss_bytes < mapping.rss_bytes)
        {
            mem::swap(least, &mut mapping);
        }
        if mapping.is_own() {
            self.rest_bytes = self.rest_bytes.saturating_add(mapping.rss_bytes);
        }
    }
}

/// What tells a mapping of shared memory that has no name any more from others:
/// `<addresses> <permissions> <offset> <device> <inode> <path>`.
fn nameless_shared(mapping: &[u8]) -> Option<u64> {
    let mut fields = mapping
        .split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty());
    let is_shared = fields
        .nth(1)
        .is_some_and(|permissions| permissions.ends_with(b"s"));
    let (device, inode) = (fields.nth(1)?, fields.next()?);
    let path = fields.next().unwrap_or_default();
    let is_shared_memory =
        path == b"/dev/zero" || path.starts_with(b"/memfd:") || path.starts_with(b"/dev/shm/");
    (is_shared && is_shared_memory && mapping.ends_with(b" (deleted)"))
        .then(|| (hash(device) ^ hash(inode).rotate_left(1)).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mapping: &str, want: bool) {
        assert_eq!(
            nameless_shared(mapping.as_bytes()).is_some(),
            want,
            "{mapping}"
        );
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
