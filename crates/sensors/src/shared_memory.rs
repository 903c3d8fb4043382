//! Shared memory that ends with its last mapping.
//!
//! A file on tmpfs outlives the process that wrote it, so no kill frees its
//! pages. Memory that has no name any more is different: an anonymous shared
//! mapping, a memfd, a file of `/dev/shm` that was unlinked. It is freed with
//! its last mapping, unless a process has it open and not mapped, which no file
//! tells. `smaps` shows which of its pages no other process maps.

use model::Memory;

use crate::families::Allotment;
use crate::process::LastMapped;
use crate::smaps::UNSEEN;
use crate::survey::{Inquiry, What};
use crate::table::ProcessTable;

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
    pub fn ask_for_shared_memory(&mut self, memory: &Memory, ask: &mut dyn FnMut(Inquiry) -> bool) {
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
        let mut budget = Allotment::of_one_call();
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
