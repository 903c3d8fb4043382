//! Pages that forked relatives share, counted once.
//!
//! After fork(2) parent and child map the same pages, and the kernel counts
//! them in full for each: five workers of 300 MiB may hold 300 MiB or 1500.
//! `smaps_rollup` tells (proportional set size), but takes the process's mmap
//! lock and walks all its pages: 15 to 45 µs a MiB. So it is asked for only
//! where the sum is plainly wrong, a bounded amount at a time,
//! and what it tells is applied to later readings of `statm`.

use model::{Memory, SessionId};

use crate::process::Remeasuring;
use crate::share::OwnShare;
use crate::survey::{Inquiry, What};
use crate::table::ProcessTable;
use crate::unmeasured::{Rank, ask_once};

impl ProcessTable {
    /// Asks for what corrects the memory that forked relatives seem to hold. Where
    /// all processes of a scope together seem to hold more than a
    /// tenth above what that has in anonymous memory and swap, the
    /// members of the largest families (same executable, same session) are to
    /// be measured, if those not measured hold a noticeable part of memory; and
    /// wherever [`Self::measure_again`] wants it. Allocates nothing.
    ///
    /// Asks for at most 64 processes and 1 GiB of resident memory a call, but
    /// at least one, and no more than `ask` takes; the rest in the calls that
    /// follow. What cannot be measured (no permission; no `smaps_rollup` before
    /// kernel 4.14, no `Pss_Anon` before 5.4) stays as it is counted.
    pub fn ask_for_families(&mut self, memory: &Memory, ask: &mut dyn FnMut(Inquiry) -> bool) {
        self.round += 1;
        let takes_unmeasured = self.awaits_families(memory);
        let ranks = self.rank_relatives(|table, index, has_relatives| {
            let gauge = table.kept[index].own_gauge;
            let is_unmeasured = has_relatives && table.is_here(index) && table.is_unmeasured(index);
            let is_due = takes_unmeasured && is_unmeasured;
            (is_due || gauge.wanted != Remeasuring::No) && table.can_be_asked(index, gauge.is_asked)
        });
        self.ask_in_order(ranks, |table, index| {
            let request = table.request(index, What::OwnMemory);
            ask_once(request, &mut table.kept[index].own_gauge.is_asked, ask)
        });
    }

    /// Whether what is not measured of families is a noticeable part of memory.
    pub(crate) fn awaits_families(&mut self, memory: &Memory) -> bool {
        let is_wrong = self.seems_to_be_too_much(memory);
        let is_due = |table: &Self, index: usize| {
            let is_doubted = table.kept[index].own_gauge.wanted == Remeasuring::Soon;
            (is_doubted || (is_wrong && table.is_unmeasured(index)))
                && table.is_here(index)
                && table.can_be_asked(index, false)
        };
        let bytes_of = |table: &Self, index: usize| table.kept[index].raw_anon_bytes;
        // Most often there are none, and nothing is put in order.
        let due = (0..self.kept.len()).filter(|&index| is_due(self, index));
        let most_bytes = due
            .map(|index| bytes_of(self, index))
            .fold(0, u64::saturating_add);
        if most_bytes == 0 || !memory.is_noticeable(most_bytes) {
            return false;
        }
        let ranks = self
            .rank_relatives(|table, index, has_relatives| has_relatives && is_due(table, index));
        let bytes = ranks
            .iter()
            .map(|rank| bytes_of(self, rank.index))
            .fold(0, u64::saturating_add);
        self.ranks = ranks;
        bytes > 0 && memory.is_noticeable(bytes)
    }

    /// Has the one measured longest ago measured again, and where the sum is wrong,
    /// all relatives that were not measured.
    pub(crate) fn want_families(&mut self, memory: &Memory) {
        let oldest = (0..self.kept.len())
            .filter(|&index| self.can_be_asked(index, self.kept[index].own_gauge.is_asked))
            .filter_map(|index| Some((self.kept[index].correction.as_ref()?.round, index)))
            .min();
        let is_wrong = self.seems_to_be_too_much(memory);
        let ranks = self.rank_relatives(|table, index, has_relatives| {
            has_relatives && is_wrong && table.is_here(index) && table.is_unmeasured(index)
        });
        let unmeasured = ranks.iter().map(|rank| rank.index);
        for index in oldest.map(|(_, index)| index).into_iter().chain(unmeasured) {
            let gauge = &mut self.kept[index].own_gauge;
            gauge.wanted = gauge.wanted.max(Remeasuring::InTurn);
        }
        self.ranks = ranks;
    }

    /// Has the relatives measured again that were measured before the process at
    /// `index` was forked, which has a `share` of what they have: theirs are smaller
    /// by now.
    pub(crate) fn doubt_elders(&mut self, index: usize, share: OwnShare) {
        let (family, start_ticks) = (self.family(index), self.processes[index].id.start_ticks);
        let shared_bytes = share.anon.shared_bytes();
        for elder in 0..self.kept.len() {
            let kept = &self.kept[elder];
            let is_older = kept
                .correction
                .as_ref()
                .is_some_and(|done| done.at_ticks < start_ticks);
            let is_much = shared_bytes > 0 && kept.raw_anon_bytes / 8 <= shared_bytes;
            let is_relative = elder != index && family.0 != 0 && self.family(elder) == family;
            if is_relative && is_older && is_much {
                self.kept[elder].own_gauge.wanted = Remeasuring::Soon;
            }
        }
    }

    /// Whether all processes of the scope together seem to hold more than there is.
    fn seems_to_be_too_much(&self, memory: &Memory) -> bool {
        let swap_in_use = memory
            .swap_total_bytes
            .saturating_sub(memory.swap_free_bytes);
        let in_use = memory.anon_bytes.saturating_add(swap_in_use);
        let here = (0..self.processes.len()).filter(|&index| self.is_here(index));
        let seeming = here
            .map(|index| &self.processes[index])
            .fold(0_u64, |sum, process| {
                sum.saturating_add(process.anon_bytes)
                    .saturating_add(process.swap_bytes)
            });
        seeming > in_use.saturating_add(in_use / 10)
    }

    /// Whether it was not measured, or has grown by a quarter since.
    fn is_unmeasured(&self, index: usize) -> bool {
        let kept = &self.kept[index];
        let has_grown = |then: u64| kept.raw_anon_bytes > then.saturating_add(then / 4);
        kept.correction.as_ref().is_none_or(|done| {
            // Where both files disagree, it is not measured again and again.
            done.share.anon.has_outgrown(kept.raw_anon_bytes) && has_grown(done.raw_anon_bytes)
        })
    }

    fn family(&self, index: usize) -> (u64, SessionId) {
        (self.kept[index].executable, self.processes[index].session)
    }

    /// Those that `is_due`, which is told whether a process has relatives: the
    /// largest family first, in it the largest member. Allocates nothing.
    fn rank_relatives(&mut self, is_due: impl Fn(&Self, usize, bool) -> bool) -> Vec<Rank> {
        let mut ranks = self.ranked(|table, index| {
            let (executable, SessionId(session)) = table.family(index);
            let bytes = table.kept[index].raw_anon_bytes;
            (executable != 0 && bytes > 0).then_some([executable, session, u64::MAX - bytes])
        });
        ranks.sort_unstable();
        let (mut from, mut due) = (0, 0);
        while let Some(&first) = ranks.get(from) {
            let is_relative = |rank: &&Rank| rank.keys[..2] == first.keys[..2];
            let relatives = ranks[from..].iter().take_while(is_relative);
            let bytes = relatives.clone().map(|rank| u64::MAX - rank.keys[2]);
            let total_bytes = bytes.fold(0, u64::saturating_add);
            let count = relatives.count();
            for at in from..from + count {
                let Rank { keys, index } = ranks[at];
                if is_due(self, index, count > 1) {
                    let keys = [u64::MAX - total_bytes, keys[0], keys[2]];
                    ranks[due] = Rank { keys, index };
                    due += 1;
                }
            }
            from += count;
        }
        ranks.truncate(due);
        ranks.sort_unstable();
        ranks
    }
}
