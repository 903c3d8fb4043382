//! Processes that have one memory: clone(2) with CLONE_VM, and not CLONE_THREAD.
//!
//! The kernel counts that memory in full for each of them, and frees none of it
//! before the last has ended. kcmp(2) tells, but takes a lock that a process
//! holds while it executes another program; so the surveyor asks it, once of
//! each two processes whose mappings have the same size. Until it has answered,
//! and where it cannot, each counts by itself.

use model::{Memory, ProcessId};

use crate::process::Compared;
use crate::survey::{Inquiry, What};
use crate::table::ProcessTable;

impl ProcessTable {
    /// Asks of processes that hold a noticeable part of memory whether they have
    /// one memory: of each with its parent, where the sizes of both agree, else
    /// with the first of that size. For quiet rounds.
    pub fn ask_for_one_memory(&mut self, memory: &Memory, ask: &mut dyn FnMut(Inquiry) -> bool) {
        let size = |index: usize| self.kept[index].size_pages;
        let is_noticeable = |index: usize| memory.is_noticeable(self.processes[index].rss_bytes);
        // Two whose first threads have ended look as one to kcmp(2): both have none.
        let is_led = |index: usize| self.kept[index].thread.is_none() && size(index) > 0;
        let mut large: Vec<usize> = (0..self.kept.len())
            .filter(|&index| is_noticeable(index) && is_led(index) && self.can_be_measured(index))
            .collect();
        large.sort_by_key(|&index| size(index));
        let mut pairs = Vec::new();
        for alike in large.chunk_by(|&one, &other| size(one) == size(other)) {
            for &index in &alike[1..] {
                let parent = self.find(self.processes[index].parent);
                let with = parent.filter(|parent| alike.contains(parent));
                pairs.push((index, with.unwrap_or(alike[0])));
            }
        }
        for (index, with) in pairs {
            // What has the memory of a third stands for that.
            let with = self.kept[with]
                .memory_of()
                .unwrap_or(self.processes[with].id);
            let compared = self.kept[index].compared;
            if with == self.processes[index].id || compared.is_some_and(|it| it.with == with) {
                continue;
            }
            if compared.is_some_and(|it| it.is_same != Some(false)) {
                continue;
            }
            if !ask(self.request(index, What::SameMemory(with))) {
                return;
            }
            self.kept[index].compared = Some(Compared {
                with,
                is_same: None,
            });
        }
    }

    /// Takes in whether the process at `index` has the memory of `with`.
    pub(crate) fn compared(&mut self, index: usize, with: ProcessId, is_same: bool) {
        // Else both could stand for each other, and neither show any.
        let shows_it = |with: usize| self.kept[with].memory_of().is_none();
        let can_stand = self.find_id(with).is_some_and(shows_it);
        let kept = &mut self.kept[index];
        kept.compared = Some(Compared {
            with,
            is_same: Some(is_same && can_stand),
        });
        kept.show(&mut self.processes[index]);
    }

    /// Of those that had one memory, parts what has not any longer: one of two
    /// has ended, or has executed another program and has mappings of its own.
    pub(crate) fn part_memories(&mut self) {
        for index in 0..self.kept.len() {
            let Some(with) = self.kept[index].memory_of() else {
                continue;
            };
            let size = self.kept[index].size_pages;
            let other = self.find_id(with).map(|with| self.kept[with].size_pages);
            // They are read one after the other, and may grow between.
            let is_near = |other: u64| size.abs_diff(other) <= size.max(other) / 4;
            if !other.is_some_and(is_near) {
                self.kept[index].compared = None;
                self.kept[index].show(&mut self.processes[index]);
            }
        }
    }
}
