//! How much memory there is, and the arithmetic that everything shares.

use serde::{Deserialize, Serialize};

/// The machine's memory in bytes: proc_meminfo(5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// `MemTotal`.
    pub total_bytes: u64,
    /// `MemAvailable`, plus what it leaves out: free pages in the kernel's
    /// per-CPU lists, where that is known.
    pub available_bytes: u64,
    /// `MemFree` less what the kernel may keep back of it, where that is known:
    /// while so much is free, memory is not at the kill level, whatever
    /// [`Self::available_bytes`] says.
    pub at_least_bytes: u64,
    /// `Hugetlb`: set aside for huge pages, so no kill frees it. 0 where the
    /// kernel does not say.
    pub hugetlb_bytes: u64,
    /// `SwapTotal`.
    pub swap_total_bytes: u64,
    /// `SwapFree`.
    pub swap_free_bytes: u64,
    /// Of it, what filling it would not gain: swap in zram takes memory itself.
    pub worthless_swap_bytes: u64,
    /// What zram holds in memory of what was swapped out to it.
    pub zram_bytes: u64,
    /// Of `SwapCached`, what no process has mapped: in swap, and in memory as well,
    /// which `MemAvailable` leaves out. 0 where that is not known.
    pub swap_cached_bytes: u64,
    /// `AnonPages`.
    pub anon_bytes: u64,
    /// `Shmem`: tmpfs and shared memory; killing a process need not free it.
    pub shmem_bytes: u64,
    /// `SUnreclaim`.
    pub unreclaimable_slab_bytes: u64,
}

impl Memory {
    /// The base of all percentages of memory: `MemTotal − Hugetlb`.
    #[must_use]
    pub fn usable_bytes(&self) -> u64 {
        self.total_bytes.saturating_sub(self.hugetlb_bytes)
    }

    /// Whether a process or a unit that holds so much matters to the others: a
    /// hundredth. What holds less is not worth a pause, and keeps nothing paused.
    #[must_use]
    pub fn is_noticeable(&self, bytes: u64) -> bool {
        self.usable_bytes() / 100 <= bytes
    }

    /// Free swap, without what filling it would take of memory, and no more than
    /// there is: swap that was just turned off may still be listed as free.
    #[must_use]
    pub fn free_swap_bytes(&self) -> u64 {
        let free_bytes = self.swap_free_bytes.min(self.swap_total_bytes);
        free_bytes.saturating_sub(self.worthless_swap_bytes)
    }

    /// All that swap can add to memory: `SwapTotal`, without what of it zram
    /// takes or would take of memory.
    #[must_use]
    pub fn usable_swap_bytes(&self) -> u64 {
        self.swap_total_bytes
            .saturating_sub(self.zram_bytes)
            .saturating_sub(self.worthless_swap_bytes)
    }

    /// Available memory and free swap together.
    #[must_use]
    pub fn pool_bytes(&self) -> u64 {
        self.available_bytes.saturating_add(self.free_swap_bytes())
    }

    /// Whether more than half of memory is available.
    #[must_use]
    pub fn is_plentiful(&self) -> bool {
        self.available_bytes > self.total_bytes / 2
    }
}

/// Once this part of all swap is used, it is known what zram gains: so much is paged out
/// before that is looked at.
pub const ZRAM_SAMPLE: u64 = 32;

/// Zram that gains less than this part of what goes to it makes no room: that is
/// compressed in memory that is short.
pub const ZRAM_LEAST_GAIN: u64 = 8;

/// What page-out is paced by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// On its way to a disk: `Writeback` of proc_meminfo(5).
    pub writeback_bytes: u64,
    /// All swap: `SwapTotal`.
    pub swap_total_bytes: u64,
    /// Free swap: `SwapFree`.
    pub swap_free_bytes: u64,
    /// What is swapped out to zram,
    pub in_zram_bytes: u64,
    /// and what zram holds it in, in memory.
    pub zram_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_not_usable() {
        let memory = Memory {
            total_bytes: 100,
            hugetlb_bytes: 80,
            ..Memory::default()
        };
        assert_eq!(memory.usable_bytes(), 20);
    }

    #[test]
    fn no_more_swap_is_free_than_there_is() {
        let memory = Memory {
            available_bytes: 7,
            swap_total_bytes: 10,
            swap_free_bytes: 12,
            ..Memory::default()
        };
        assert_eq!(memory.free_swap_bytes(), 10);
        assert_eq!(memory.pool_bytes(), 17);
    }

    #[test]
    fn swap_in_zram_is_worth_what_filling_it_would_gain() {
        let memory = Memory {
            available_bytes: 7,
            swap_total_bytes: 100,
            swap_free_bytes: 60,
            worthless_swap_bytes: 45,
            zram_bytes: 30,
            ..Memory::default()
        };
        assert_eq!(memory.free_swap_bytes(), 15);
        assert_eq!(memory.pool_bytes(), 22);
        assert_eq!(memory.usable_swap_bytes(), 25);
    }

    #[test]
    fn numbers_that_cannot_be_true_do_not_overflow() {
        let memory = Memory {
            total_bytes: 1,
            hugetlb_bytes: 2,
            available_bytes: u64::MAX,
            swap_total_bytes: u64::MAX,
            swap_free_bytes: u64::MAX,
            ..Memory::default()
        };
        assert_eq!(memory.usable_bytes(), 0);
        assert_eq!(memory.pool_bytes(), u64::MAX);
    }
}
