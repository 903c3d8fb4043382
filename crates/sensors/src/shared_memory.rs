//! Shared memory that ends with its last mapping.
//!
//! A file on tmpfs outlives whoever wrote it, so its pages are nobody's to
//! give back. Memory that has no name any more is different: an anonymous
//! shared mapping, a memfd, a file of `/dev/shm` that was unlinked. It is
//! freed with its last mapping, unless somebody has it open and not mapped,
//! which no file tells. `smaps` shows which of its pages nobody else maps.

use std::fs::File;
use std::ops::ControlFlow;

use model::Memory;

use crate::families::Budget;
use crate::file::{for_each_line, kibibytes};
use crate::survey::{Request, UNSEEN, What};
use crate::table::{LastMapped, ProcessTable};

/// So many mappings of a process are read: 5 to 10 µs each. Ordinary programs
/// have some hundreds, browsers and Java machines up to two thousand.
const MAPPINGS: usize = 4096;

impl ProcessTable {
    /// Asks, for quiet rounds, of how much shared memory each process holds the
    /// last mapping. Only those with more than 1 % of the machine's memory in
    /// it are asked about; all others count 0.
    ///
    /// Memory that several processes map counts for none of them, System V
    /// segments never count (they outlive their users), and what some process
    /// has open without mapping it counts although it stays. What a process
    /// keeps us from seeing counts in full.
    ///
    /// Asks for at most 64 processes and 1 GiB of resident memory a call, but
    /// at least one if there is any, and no more than `ask` takes: those first
    /// that were never measured, then those measured longest ago.
    pub fn ask_for_shared_memory(&mut self, memory: &Memory, ask: &mut dyn FnMut(Request) -> bool) {
        let least_bytes = memory.total_bytes / 100;
        self.round += 1;
        self.count_unseen();
        let mut due: Vec<usize> = (0..self.kept.len())
            .filter(|&index| self.kept[index].rss_shmem_bytes > least_bytes)
            .filter(|&index| self.can_be_measured(index))
            .collect();
        due.sort_by_key(|&index| {
            self.kept[index]
                .last_mapped
                .as_ref()
                .map(|measured| measured.round)
        });
        let mut budget = Budget::of_one_call();
        due.into_iter()
            .map(|index| self.request(index, What::LastMapped))
            .take_while(|request| budget.spend(request.rss_bytes) && ask(*request))
            .for_each(drop);
    }

    /// Of those that are not measured any longer, all shared memory counts.
    pub(crate) fn count_unseen(&mut self) {
        for index in 0..self.kept.len() {
            if self.is_given_up_on(index) {
                self.count_last_mapped(index, UNSEEN);
            }
        }
    }

    pub(crate) fn count_last_mapped(&mut self, index: usize, bytes: u64) {
        let kept = &mut self.kept[index];
        kept.last_mapped = Some(LastMapped {
            bytes,
            round: self.round,
        });
        kept.show(&mut self.processes[index]);
    }
}

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
