//! Pages that forked relatives share, counted once.
//!
//! After fork(2) parent and child map the same pages, and the kernel counts
//! them in full for each: five workers of 300 MiB may hold 300 MiB or 1500.
//! `smaps_rollup` tells (proportional set size), but takes the process's mmap
//! lock and walks all its pages: 15 to 45 µs a MiB. So it is asked for only
//! where the sum is plainly wrong, in quiet rounds, a bounded amount at a time,
//! and what it tells is applied to later readings of `statm`.

use model::Memory;

use crate::survey::{Inquiry, What};
use crate::table::ProcessTable;

/// How much one call may ask for. The first process is always measured, so
/// that none is too large to be measured ever.
pub(crate) struct Allotment {
    bytes: u64,
    processes: u32,
}

impl Allotment {
    /// 1 GiB of resident memory, some 15 to 45 ms, and 64 processes.
    pub(crate) const fn of_one_call() -> Self {
        Self {
            bytes: 1 << 30,
            processes: 64,
        }
    }

    pub(crate) fn spend(&mut self, rss_bytes: u64) -> bool {
        let is_first = self.processes == Self::of_one_call().processes;
        if self.processes == 0 || (!is_first && self.bytes < rss_bytes) {
            return false;
        }
        self.processes -= 1;
        self.bytes = self.bytes.saturating_sub(rss_bytes);
        true
    }
}

impl ProcessTable {
    /// Asks for what corrects the memory that forked relatives seem to hold;
    /// for quiet rounds. Where all processes together seem to hold more than a
    /// tenth above what the machine has in anonymous memory and swap, the
    /// members of the largest families (same executable, same session) are to
    /// be measured. Of those measured before, the one measured longest ago is
    /// to be measured again with each call.
    ///
    /// Asks for at most 64 processes and 1 GiB of resident memory a call, but
    /// at least one, and no more than `ask` takes; the rest in the calls that
    /// follow. What cannot be measured (no permission; no `smaps_rollup` before
    /// kernel 4.14, no `Pss_Anon` before 5.4) stays as it is counted.
    pub fn ask_for_families(&mut self, memory: &Memory, ask: &mut dyn FnMut(Inquiry) -> bool) {
        let swap_in_use = memory
            .swap_total_bytes
            .saturating_sub(memory.swap_free_bytes);
        let in_use = memory.anon_bytes.saturating_add(swap_in_use);
        let seeming = self.processes.iter().fold(0_u64, |sum, process| {
            sum.saturating_add(process.anon_bytes)
                .saturating_add(process.swap_bytes)
        });
        let is_wrong = seeming > in_use.saturating_add(in_use / 10);

        self.round += 1;
        let mut budget = Allotment::of_one_call();
        let mut asked = |index: usize| {
            let request = self.request(index, What::OwnMemory);
            budget.spend(request.rss_bytes) && ask(request)
        };
        let oldest = (0..self.kept.len())
            .filter(|&index| self.can_be_measured(index))
            .filter_map(|index| Some((self.kept[index].correction.as_ref()?.round, index)))
            .min();
        if let Some((_, index)) = oldest
            && !asked(index)
        {
            return;
        }
        if is_wrong {
            self.unmeasured_relatives()
                .into_iter()
                .take_while(|&index| asked(index))
                .for_each(drop);
        }
    }

    /// Processes that have relatives and have not been measured, or have grown
    /// by a quarter since: the largest family first, in it the largest member.
    fn unmeasured_relatives(&self) -> Vec<usize> {
        let raw = |index: usize| self.kept[index].raw_anon_bytes;
        let family = |index: usize| (self.kept[index].executable, self.processes[index].session);
        let mut members: Vec<usize> = (0..self.kept.len())
            .filter(|&index| self.kept[index].executable != 0 && raw(index) > 0)
            .collect();
        members.sort_unstable_by_key(|&index| (family(index), u64::MAX - raw(index)));
        let mut families: Vec<&[usize]> = members
            .chunk_by(|&one, &other| family(one) == family(other))
            .filter(|relatives| relatives.len() > 1)
            .collect();
        let total = |relatives: &[usize]| relatives.iter().map(|&index| raw(index)).sum::<u64>();
        families.sort_by_cached_key(|relatives| u64::MAX - total(relatives));
        let is_due = |index: &usize| {
            let measured = self.kept[*index].correction.as_ref();
            self.can_be_measured(*index)
                && measured.is_none_or(|done| done.share.anon.has_outgrown(raw(*index)))
        };
        families.concat().into_iter().filter(is_due).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_measured_however_large() {
        let mut budget = Allotment::of_one_call();
        assert!(budget.spend(u64::MAX));
        assert!(!budget.spend(1));
    }

    #[test]
    fn no_more_than_64_are_measured_at_once() {
        let mut budget = Allotment::of_one_call();
        assert_eq!((0..100).filter(|_| budget.spend(1)).count(), 64);
    }
}
