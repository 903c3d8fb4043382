//! Shared memory that ends with its last mapping.
//!
//! A file on tmpfs outlives whoever wrote it, so its pages are nobody's to
//! give back. Memory that has no name any more is different: an anonymous
//! shared mapping, a memfd, a file of `/dev/shm` that was unlinked. It is
//! freed with its last mapping, unless somebody has it open and not mapped,
//! which no file tells. `smaps` shows which of its pages nobody else maps.

use std::ops::ControlFlow;

use oom_policy::Memory;

use crate::families::Budget;
use crate::file::{for_each_line, kibibytes};
use crate::pid_files::PidPath;
use crate::table::{LastMapped, ProcessTable};

impl ProcessTable {
    /// Measures, for quiet rounds, of how much shared memory each process holds
    /// the last mapping, and keeps it in `shmem_bytes` for later readings
    /// (never more than what the process still has in shared memory). Looks
    /// only at those with more than 1 % of the machine's memory in it; all
    /// others count 0.
    ///
    /// Memory that several processes map counts for none of them, System V
    /// segments never count (they outlive their users), and what some process
    /// has open without mapping it counts although it stays.
    ///
    /// Takes the mmap lock of whom it measures: at most 64 processes and 1 GiB
    /// of resident memory a call, but at least one if there is any, those first
    /// that were never measured, then those measured longest ago.
    ///
    /// Returns how many processes were measured.
    pub fn measure_shared_memory(&mut self, memory: &Memory) -> usize {
        let least_bytes = memory.total_bytes / 100;
        let mut due: Vec<usize> = (0..self.kept.len())
            .filter(|&index| self.kept[index].rss_shmem_bytes > least_bytes)
            .collect();
        due.sort_by_key(|&index| {
            self.kept[index]
                .last_mapped
                .as_ref()
                .map(|measured| measured.round)
        });
        self.round += 1;
        let mut budget = Budget::of_one_call();
        let mut measured = 0;
        for index in due {
            if !budget.spend(self.processes[index].rss_bytes) {
                break;
            }
            let bytes = self.last_mapped_bytes(index).unwrap_or(0);
            let kept = &mut self.kept[index];
            kept.last_mapped = Some(Box::new(LastMapped {
                bytes,
                round: self.round,
            }));
            kept.show(&mut self.processes[index]);
            measured += 1;
        }
        measured
    }

    fn last_mapped_bytes(&self, index: usize) -> Option<u64> {
        let id = self.processes[index].id;
        let root = self.root.open().ok()?;
        let smaps = root.open(&PidPath::new(id.pid, "smaps")).ok()?;
        let mut bytes = 0_u64;
        let mut is_nameless = false;
        for_each_line(&smaps, &mut [0; 8192], |_, line| {
            match line.first() {
                // A mapping begins with its address; what is said of it, with
                // a capital.
                Some(b'0'..=b'9' | b'a'..=b'f') => is_nameless = is_nameless_shared(line),
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
        // Read while smaps is still open, so of the same process.
        (self.root.start_ticks(id.pid).ok()?? == id.start_ticks).then_some(bytes)
    }
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
