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
use crate::unmeasured::Rank;

impl ProcessTable {
    /// Asks of processes that hold a noticeable part of memory whether they have
    /// one memory: of each with its parent, where the sizes of both agree, else
    /// with the first of that size. Allocates nothing.
    pub fn ask_for_one_memory(&mut self, memory: &Memory, ask: &mut dyn FnMut(Inquiry) -> bool) {
        let ranks = self.rank_alike(memory);
        for at in 1..ranks.len() {
            let Some((index, with)) = self.pair(&ranks, at, memory) else {
                continue;
            };
            if !ask(self.request(index, What::SameMemory(with))) {
                break;
            }
            self.kept[index].compared = Some(Compared {
                with,
                is_same: None,
            });
        }
        self.ranks = ranks;
    }

    /// Whether two that hold a noticeable part of memory are still to be compared.
    pub(crate) fn awaits_one_memory(&mut self, memory: &Memory) -> bool {
        let ranks = self.rank_alike(memory);
        let is_any_due = (1..ranks.len()).any(|at| self.pair(&ranks, at, memory).is_some());
        let is_asked = |rank: &Rank| {
            let kept = &self.kept[rank.index];
            !kept.missed && kept.compared.is_some_and(|it| it.is_same.is_none())
        };
        let is_any_asked = ranks.iter().any(is_asked);
        self.ranks = ranks;
        is_any_due || is_any_asked
    }

    /// Those that may be compared, by the size of their mappings.
    fn rank_alike(&mut self, memory: &Memory) -> Vec<Rank> {
        let mut ranks = self.ranked(|table, index| {
            let size = table.kept[index].size_pages;
            table.is_comparable(index, memory).then_some([size, 0, 0])
        });
        ranks.sort_unstable();
        ranks
    }

    fn is_comparable(&self, index: usize, memory: &Memory) -> bool {
        let kept = &self.kept[index];
        // Two whose first threads have ended look as one to kcmp(2): both have none.
        let is_led = kept.thread.is_none() && kept.size_pages > 0;
        is_led
            && memory.is_noticeable(self.processes[index].rss_bytes)
            && self.is_here(index)
            && self.can_be_measured(index)
    }

    /// What stands at `at`, and what it is to be compared with: `None` where it was.
    fn pair(&self, ranks: &[Rank], at: usize, memory: &Memory) -> Option<(usize, ProcessId)> {
        let Rank { keys, index } = ranks[at];
        let first = ranks[ranks.partition_point(|rank| rank.keys < keys)].index;
        if first == index {
            return None;
        }
        let parent = self.find(self.processes[index].parent).filter(|&parent| {
            self.kept[parent].size_pages == keys[0] && self.is_comparable(parent, memory)
        });
        let with = parent.unwrap_or(first);
        // What has the memory of a third stands for that.
        let with = self.kept[with]
            .memory_of()
            .unwrap_or(self.processes[with].id);
        let compared = self.kept[index].compared;
        let is_known = compared.is_some_and(|it| it.with == with || it.is_same != Some(false));
        let is_due = with != self.processes[index].id && !is_known && !self.kept[index].missed;
        is_due.then_some((index, with))
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
