//! What is not measured yet, and when it is to be measured again.
//!
//! Until it is, what several processes share counts for each of them, or not at
//! all. So what holds a noticeable part of memory is measured as soon as it is
//! seen, and again once it has grown by a quarter; what holds less, and what was
//! measured long ago, in turn ([`ProcessTable::measure_again`]).

use model::Memory;

use crate::process::Remeasuring;
use crate::survey::Inquiry;
use crate::table::ProcessTable;

/// A process, as it is put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) keys: [u64; 3],
    pub(crate) index: usize,
}

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
    /// Has measured, by the calls that follow, what is not measured for its size
    /// alone: what holds little and was never measured, and of the rest what was
    /// measured longest ago, 1 GiB of resident memory of it. After a full scan, once
    /// all are known; for quiet rounds.
    pub fn measure_again(&mut self, memory: &Memory) {
        self.want_families(memory);
        self.want_shared_memory(memory);
    }

    /// Whether a process of the scope that holds a noticeable part of memory is still to be looked
    /// at or measured, or what was measured of it is not true any longer: what a
    /// decision would count of it is wrong. Allocates nothing.
    #[must_use]
    pub fn awaits_measurements(&mut self, memory: &Memory) -> bool {
        self.awaits_identities(memory)
            || self.awaits_shared_memory(memory)
            || self.awaits_families(memory)
            || self.awaits_one_memory(memory)
    }

    /// Whether anything is still to be measured or was asked for and not answered:
    /// [`Self::awaits_measurements`], and all that [`Self::measure_again`] has
    /// measured.
    #[must_use]
    pub fn is_measuring(&mut self, memory: &Memory) -> bool {
        let is_wanted = (0..self.kept.len()).any(|index| {
            let kept = &self.kept[index];
            let gauges = [kept.own_gauge, kept.shared_gauge];
            let is_open = gauges
                .iter()
                .any(|gauge| gauge.is_asked || gauge.wanted != Remeasuring::No);
            is_open && self.can_be_measured(index) && !kept.missed
        });
        is_wanted || self.awaits_measurements(memory)
    }

    fn awaits_identities(&self, memory: &Memory) -> bool {
        (0..self.kept.len()).any(|index| {
            let process = &self.processes[index];
            memory.is_noticeable(process.rss_bytes)
                && self.is_here(index)
                && !self.is_known(index)
                && !self.is_given_up_on(index)
                && !self.kept[index].missed
                && !process.is_kernel_thread
        })
    }

    /// Whether a process can be measured and is not being measured now.
    pub(crate) fn can_be_asked(&self, index: usize, is_asked: bool) -> bool {
        !is_asked && !self.kept[index].missed && self.can_be_measured(index)
    }

    /// Asks for what `ranks` lists, in order, as far as one call may, by `ask_one`.
    pub(crate) fn ask_in_order(
        &mut self,
        ranks: Vec<Rank>,
        mut ask_one: impl FnMut(&mut Self, usize) -> bool,
    ) {
        let mut budget = Allotment::of_one_call();
        for rank in &ranks {
            let rss_bytes = self.processes[rank.index].rss_bytes;
            if !budget.spend(rss_bytes) || !ask_one(self, rank.index) {
                break;
            }
        }
        self.ranks = ranks;
    }

    /// The processes that `key` has a place for, unordered, in the room of
    /// [`Self::ranks`], beyond which none is taken in.
    pub(crate) fn ranked(&mut self, key: impl Fn(&Self, usize) -> Option<[u64; 3]>) -> Vec<Rank> {
        let mut ranks = std::mem::take(&mut self.ranks);
        ranks.clear();
        for index in 0..self.kept.len() {
            if ranks.len() < ranks.capacity()
                && let Some(keys) = key(self, index)
            {
                ranks.push(Rank { keys, index });
            }
        }
        ranks
    }
}

/// Asks for a measurement that `ask` takes; notes in `is_asked` whether it did.
pub(crate) fn ask_once(
    request: Inquiry,
    is_asked: &mut bool,
    ask: &mut dyn FnMut(Inquiry) -> bool,
) -> bool {
    *is_asked = ask(request);
    *is_asked
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
