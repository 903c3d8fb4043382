//! How short the machine is, and how much it needs: from memory alone.
//!
//! Nothing here knows of processes.

use model::{Level, Memory, ZRAM_SAMPLE};

use crate::settings::{Amount, Settings, SettingsError};

/// All thresholds in bytes, for a machine with this much memory and swap.
///
/// Nothing is ever short where the warn threshold is not below all memory
/// ([`Settings::fits`]): a limit may have been lowered to less than a size that was
/// set.
#[derive(Clone, Copy, Debug)]
pub struct Levels {
    /// `MemTotal − Hugetlb`: what percentages of memory are of.
    pub(crate) memory_base: u64,
    /// At or below this many bytes of available memory: SIGTERM.
    pub warn_memory: u64,
    /// The same for free swap, in bytes.
    pub warn_swap: u64,
    /// At or below this many bytes of available memory: SIGKILL.
    pub kill_memory: u64,
    /// The same for free swap, in bytes.
    pub kill_swap: u64,
    /// Where relief ends, in bytes: above the warn level, not above all there is.
    pub recovery_memory: u64,
    /// The same share of swap.
    recovery_swap: u64,
    /// The same share of what swap can add to memory; above the warn threshold of
    /// swap, where that is no more than it can add.
    needed_swap: u64,
}

/// What of a unit's memory counts, and against what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    /// Memory and swap are one pool.
    MemoryAndSwap,
    /// Memory alone.
    Memory,
    /// Memory, and the swap of processes that are using theirs.
    MemoryAndActiveSwap,
}

impl Settings {
    /// The level of a machine with this memory.
    #[must_use]
    pub fn level(&self, memory: &Memory) -> Level {
        Levels::of(self, memory).level(memory)
    }

    /// Whether there is more memory than the warn threshold, so that some of it may be
    /// short; also where there is no memory at all, which is text that was misread.
    #[must_use]
    pub fn fits(&self, memory: &Memory) -> bool {
        let base = memory.usable_bytes();
        base == 0 || self.warn.memory.of(base) < base
    }

    /// Refuses what cannot be meant on a machine with this much memory and
    /// swap, percent and bytes mixed as they may be.
    ///
    /// # Errors
    ///
    /// As [`Self::checked`].
    pub fn checked_on(&self, memory: &Memory) -> Result<(), SettingsError> {
        self.checked()?;
        let (base, swap_base) = bases(memory);
        let above = |this: Amount, other: Amount, base| this.of(base) > other.of(base);
        if above(self.kill.memory, self.warn.memory, base)
            || above(self.kill.swap, self.warn.swap, swap_base)
        {
            return Err(SettingsError::KillAboveWarn);
        }
        match self.recovery {
            Some(recovery) if recovery.of(base) > base => Err(SettingsError::RecoveryAboveAll),
            Some(recovery) if !above(recovery, self.warn.memory, base) => {
                Err(SettingsError::RecoveryNotAboveWarn)
            }
            _ => Ok(()),
        }
    }
}

/// Of how many bytes the percentages of memory and of swap are.
fn bases(memory: &Memory) -> (u64, u64) {
    let memory_base = memory.usable_bytes();
    // Swap in zram counts as the memory that it saves, which may be little of
    // its size: its thresholds are no higher than memory's.
    let swap_base = if memory.zram_bytes > 0 || memory.worthless_swap_bytes > 0 {
        memory.swap_total_bytes.min(memory_base)
    } else {
        memory.swap_total_bytes
    };
    (memory_base, swap_base)
}

impl Levels {
    /// The thresholds of `settings` where `memory` is guarded now: of a percentage and
    /// a size, the lower.
    #[must_use]
    pub fn of(settings: &Settings, memory: &Memory) -> Self {
        let (memory_base, swap_base) = bases(memory);
        if memory_base == 0 || !settings.fits(memory) {
            return Self {
                memory_base: 0,
                warn_memory: 0,
                warn_swap: 0,
                kill_memory: 0,
                kill_swap: 0,
                recovery_memory: 1,
                recovery_swap: 0,
                needed_swap: 0,
            };
        }
        let warn_memory = settings.warn.memory.of(memory_base);
        let left = memory_base.saturating_sub(warn_memory);
        let half_way = warn_memory + left / 2;
        let recovery_memory = match settings.recovery.map(|amount| amount.of(memory_base)) {
            Some(bytes) if bytes <= memory_base => bytes,
            // It was meant for more memory.
            Some(_) => half_way,
            None => half_way.min(warn_memory.saturating_add(warn_memory / 2)),
        }
        .max(warn_memory.saturating_add(1));
        let warn_swap = settings.warn.swap.of(swap_base);
        let usable_swap = memory.usable_swap_bytes();
        Self {
            memory_base,
            warn_memory,
            warn_swap,
            kill_memory: settings.kill.memory.of(memory_base),
            kill_swap: settings.kill.swap.of(swap_base),
            recovery_memory,
            recovery_swap: share(recovery_memory, memory_base, swap_base),
            needed_swap: share(recovery_memory, memory_base, usable_swap)
                .max(warn_swap)
                .min(usable_swap),
        }
    }

    /// The level: both memory and swap must be at or below its threshold.
    ///
    /// Swap of size 0 is always at its threshold. A machine of no memory at all
    /// is text that was misread, not a machine in need. At the kill level
    /// victims may not save their work, so what is free in any case must be as
    /// low.
    pub(crate) fn level(&self, memory: &Memory) -> Level {
        let at_or_below = |memory_floor, swap_floor| {
            memory.available_bytes <= memory_floor && memory.free_swap_bytes() <= swap_floor
        };
        let is_free = memory.at_least_bytes > self.kill_memory;
        if self.memory_base == 0 {
            Level::Ok
        } else if at_or_below(self.kill_memory, self.kill_swap) && !is_free {
            Level::Kill
        } else if at_or_below(self.warn_memory, self.warn_swap) {
            Level::Warn
        } else {
            Level::Ok
        }
    }

    /// Whether relief has nothing to relieve.
    pub(crate) fn has_recovered(&self, memory: &Memory) -> bool {
        memory.available_bytes >= self.recovery_memory
    }

    /// Whether memory and, where that counts, swap are below their recovery
    /// thresholds.
    pub(crate) fn is_short(&self, memory: &Memory) -> bool {
        let counts_swap = self.pool(memory) == Pool::MemoryAndSwap;
        !self.has_recovered(memory)
            && (!counts_swap || memory.free_swap_bytes() < self.recovery_swap)
    }

    /// What the levels look at. A pool that holds the recovery share of memory
    /// and swap together has one of the two above its own recovery share, and
    /// so above its threshold, as long as recovery is above both. Where it
    /// is not (`-s 100`), only memory can end the shortage.
    pub(crate) fn pool(&self, memory: &Memory) -> Pool {
        if memory.swap_total_bytes > 0 && self.recovery_swap > self.warn_swap {
            Pool::MemoryAndSwap
        } else {
            Pool::Memory
        }
    }

    /// Whether only free swap in zram holds back a level, and too little of it is used to
    /// know what it gains: as long as that is so, half of it counts.
    pub(crate) fn swap_is_untried(&self, memory: &Memory) -> bool {
        let free_bytes = memory.swap_free_bytes.min(memory.swap_total_bytes);
        let used_bytes = memory.swap_total_bytes - free_bytes;
        let elsewhere_bytes =
            free_bytes.saturating_sub(memory.worthless_swap_bytes.saturating_mul(2));
        self.pool(memory) == Pool::MemoryAndSwap
            && self.warn_swap < memory.free_swap_bytes()
            && memory.worthless_swap_bytes > 0
            && used_bytes < memory.swap_total_bytes / ZRAM_SAMPLE
            && elsewhere_bytes <= self.warn_swap
    }

    /// How much is to be paged out so that it is known.
    pub(crate) fn bytes_to_try(&self, memory: &Memory) -> u64 {
        const LEAST: u64 = 16 << 20;
        (memory.swap_total_bytes / ZRAM_SAMPLE * 2).max(LEAST)
    }

    /// What is missing to the recovery level, in bytes.
    pub(crate) fn need(&self, memory: &Memory) -> u64 {
        let (target, free) = match self.pool(memory) {
            Pool::MemoryAndSwap => (
                self.recovery_memory.saturating_add(self.needed_swap),
                memory.pool_bytes(),
            ),
            Pool::Memory | Pool::MemoryAndActiveSwap => {
                (self.recovery_memory, memory.available_bytes)
            }
        };
        target.saturating_sub(free)
    }

    /// What is missing to the recovery level from the kill level.
    pub(crate) fn kill_need(&self, memory: &Memory) -> u64 {
        self.need(&self.at(Level::Kill, memory))
    }

    /// The same machine at its thresholds of `level`, or as low as it is.
    pub(crate) fn at(&self, level: Level, memory: &Memory) -> Memory {
        let (available_bytes, swap_free_bytes) = match level {
            Level::Kill => (self.kill_memory, self.kill_swap),
            Level::Ok | Level::Warn => (self.warn_memory, self.warn_swap),
        };
        Memory {
            available_bytes: available_bytes.min(memory.available_bytes),
            swap_free_bytes: swap_free_bytes.min(memory.free_swap_bytes()),
            worthless_swap_bytes: 0,
            ..*memory
        }
    }

    /// What relief needs: memory alone, and at least a twentieth of it.
    pub(crate) fn relief_need(&self, memory: &Memory) -> u64 {
        let missing = self.recovery_memory.saturating_sub(memory.available_bytes);
        missing.max(memory.total_bytes / 20)
    }

    /// What a last call needs: memory alone, and at least a fiftieth of it.
    pub(crate) fn last_call_need(&self, memory: &Memory) -> u64 {
        let missing = self.recovery_memory.saturating_sub(memory.available_bytes);
        missing.max(memory.total_bytes / 50)
    }
}

/// `part / whole × of`, rounded down.
pub(crate) fn share(part: u64, whole: u64, of: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    // Nearly always; dividing 128 bits is a function call.
    if let Some(product) = of.checked_mul(part) {
        return product / whole;
    }
    let scaled = u128::from(of) * u128::from(part) / u128::from(whole);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Floor;

    const GIB: u64 = 1 << 30;

    fn machine(available_percent: u64, swap_percent: u64) -> Memory {
        Memory {
            total_bytes: 100 * GIB,
            available_bytes: available_percent * GIB,
            swap_total_bytes: 100 * GIB,
            swap_free_bytes: swap_percent * GIB,
            ..Memory::default()
        }
    }

    #[track_caller]
    fn check(settings: &Settings, memory: Memory, want: Level) {
        assert_eq!(Levels::of(settings, &memory).level(&memory), want);
    }

    #[test]
    fn both_memory_and_swap_must_be_short() {
        let settings = Settings::default();
        check(&settings, machine(50, 50), Level::Ok);
        check(&settings, machine(3, 50), Level::Ok);
        check(&settings, machine(50, 3), Level::Ok);
        check(&settings, machine(11, 10), Level::Ok);
        check(&settings, machine(10, 10), Level::Warn);
        check(&settings, machine(5, 6), Level::Warn);
        check(&settings, machine(5, 5), Level::Kill);
        check(&settings, machine(0, 0), Level::Kill);
    }

    #[test]
    fn what_is_free_in_any_case_holds_back_the_kill_level_alone() {
        let settings = Settings::default();
        let mut memory = machine(1, 1);
        memory.at_least_bytes = 6 * GIB;
        check(&settings, memory, Level::Warn);
        memory.at_least_bytes = 5 * GIB;
        check(&settings, memory, Level::Kill);
    }

    #[test]
    fn one_byte_above_the_floor_is_above_it() {
        let settings = Settings::default();
        let mut memory = machine(10, 10);
        memory.available_bytes += 1;
        check(&settings, memory, Level::Ok);
    }

    #[test]
    fn floors_may_be_in_bytes() {
        let settings = Settings {
            warn: Floor {
                memory: Amount::Bytes(7 * GIB),
                swap: Amount::Bytes(3 * GIB),
            },
            kill: Floor {
                memory: Amount::Bytes(2 * GIB),
                swap: Amount::Bytes(GIB),
            },
            ..Settings::default()
        };
        check(&settings, machine(8, 3), Level::Ok);
        check(&settings, machine(7, 3), Level::Warn);
        check(&settings, machine(2, 2), Level::Warn);
        check(&settings, machine(2, 1), Level::Kill);
    }

    /// A limit that is lowered while its scope is guarded, or is found later.
    #[test]
    fn of_a_percentage_and_a_size_the_lower_counts_whatever_there_is() {
        let settings = Settings {
            warn: Floor {
                memory: Amount::LowerOf {
                    parts_per_million: 100_000,
                    bytes: 2 * GIB,
                },
                swap: Amount::percent(100),
            },
            kill: Floor {
                memory: Amount::LowerOf {
                    parts_per_million: 50_000,
                    bytes: GIB,
                },
                swap: Amount::percent(100),
            },
            ..Settings::default()
        };
        let check = |total: u64, want: [u64; 3]| {
            let memory = Memory {
                total_bytes: total,
                ..Memory::default()
            };
            let levels = Levels::of(&settings, &memory);
            let found = [
                levels.warn_memory,
                levels.kill_memory,
                levels.recovery_memory,
            ];
            assert_eq!(found, want, "of {total}");
        };
        check(100 * GIB, [2 * GIB, GIB, 3 * GIB]);
        check(10 * GIB, [GIB, GIB / 2, GIB + GIB / 2]);
        check(GIB / 4 * 5, [GIB / 8, GIB / 16, GIB / 8 + GIB / 16]);
    }

    #[test]
    fn a_size_that_is_no_less_than_all_there_is_makes_nothing_short() {
        let bytes = |gib| Floor {
            memory: Amount::Bytes(gib * GIB),
            swap: Amount::percent(100),
        };
        let settings = Settings {
            warn: bytes(7),
            kill: bytes(2),
            recovery: Some(Amount::Bytes(12 * GIB)),
            ..Settings::default()
        };
        let with = |total: u64, available: u64| Memory {
            total_bytes: total * GIB,
            available_bytes: available * GIB,
            ..Memory::default()
        };
        for available in 0..=7 {
            let memory = with(7, available);
            check(&settings, memory, Level::Ok);
            let levels = Levels::of(&settings, &memory);
            assert!(!levels.is_short(&memory) || available == 0);
            assert_eq!(levels.relief_need(&memory), 7 * GIB / 20);
        }
        assert!(!settings.fits(&with(7, 7)) && settings.fits(&with(8, 8)));
        // Of 8 GiB, 12 GiB are never available.
        let memory = with(8, 7);
        check(&settings, memory, Level::Warn);
        let levels = Levels::of(&settings, &memory);
        assert_eq!(levels.recovery_memory, 7 * GIB + GIB / 2);
        let levels = Levels::of(&settings, &with(100, 50));
        assert_eq!(levels.recovery_memory, 12 * GIB);
    }

    #[test]
    fn recovery_is_at_half_as_much_again_and_at_most_half_way_to_everything() {
        let recovery = |memory| {
            let warn = Floor {
                memory,
                swap: Amount::percent(10),
            };
            let settings = Settings {
                warn,
                ..Settings::default()
            };
            Levels::of(&settings, &machine(50, 50)).recovery_memory
        };
        assert_eq!(recovery(Amount::percent(10)), 15 * GIB);
        assert_eq!(recovery(Amount::percent(80)), 90 * GIB);
        assert_eq!(recovery(Amount::Bytes(20 * GIB)), 30 * GIB);
        assert_eq!(recovery(Amount::Bytes(98 * GIB)), 99 * GIB);
    }

    #[test]
    fn without_swap_memory_alone_counts() {
        let settings = Settings::default();
        let without = |percent| Memory {
            swap_total_bytes: 0,
            swap_free_bytes: 0,
            ..machine(percent, 0)
        };
        check(&settings, without(11), Level::Ok);
        check(&settings, without(9), Level::Warn);
        check(&settings, without(4), Level::Kill);
        let memory = without(9);
        let levels = Levels::of(&settings, &memory);
        assert_eq!(levels.pool(&memory), Pool::Memory);
        assert_eq!(levels.need(&memory), 6 * GIB);
    }

    #[test]
    fn hugetlb_takes_80_percent_no_swap_idle_level_ok() {
        let memory = Memory {
            total_bytes: 100 * GIB,
            hugetlb_bytes: 80 * GIB,
            available_bytes: 9 * GIB,
            ..Memory::default()
        };
        check(&Settings::default(), memory, Level::Ok);
    }

    #[test]
    fn a_swap_floor_of_everything_ignores_swap() {
        let mut settings = Settings::default();
        settings.warn.swap = Amount::percent(100);
        let memory = machine(9, 100);
        check(&settings, memory, Level::Warn);
        let levels = Levels::of(&settings, &memory);
        assert_eq!(levels.pool(&memory), Pool::Memory);
        assert_eq!(levels.need(&memory), 6 * GIB);
    }

    #[test]
    fn the_need_is_what_is_missing_to_recovery_of_memory_and_swap_together() {
        let memory = machine(8, 4);
        let levels = Levels::of(&Settings::default(), &memory);
        assert_eq!(levels.pool(&memory), Pool::MemoryAndSwap);
        assert_eq!(levels.need(&memory), 30 * GIB - 12 * GIB);
    }

    #[test]
    fn meeting_the_need_ends_the_level_wherever_the_memory_comes_back() {
        let settings = Settings::default();
        for available in 0..=30 {
            let memory = machine(available, 30 - available);
            let levels = Levels::of(&settings, &memory);
            assert_eq!(levels.need(&memory), 0);
            assert_eq!(levels.level(&memory), Level::Ok);
        }
    }

    /// `machine`, with all its swap in zram, of which each byte takes this part of
    /// one in memory.
    fn with_zram(available: u64, swap: u64, takes_percent: u64) -> Memory {
        Memory {
            zram_bytes: (100 - swap) * takes_percent * GIB / 100,
            worthless_swap_bytes: swap * takes_percent * GIB / 100,
            ..machine(available, swap)
        }
    }

    #[test]
    fn free_swap_in_zram_that_does_not_compress_holds_back_no_level() {
        let settings = Settings::default();
        check(&settings, with_zram(9, 58, 0), Level::Ok);
        check(&settings, with_zram(9, 58, 50), Level::Ok);
        check(&settings, with_zram(9, 58, 90), Level::Warn);
        check(&settings, with_zram(4, 58, 100), Level::Kill);
        let memory = with_zram(4, 58, 100);
        assert_eq!(Levels::of(&settings, &memory).need(&memory), 11 * GIB);
    }

    #[test]
    fn swap_in_zram_is_untried_until_a_part_of_it_is_used() {
        let settings = Settings::default();
        let is_untried = |memory: Memory| Levels::of(&settings, &memory).swap_is_untried(&memory);
        let untried = with_zram(5, 98, 50);
        assert!(is_untried(untried));
        assert!(!is_untried(with_zram(5, 96, 50)), "it is known by now");
        assert!(!is_untried(machine(5, 98)), "it is on a disk");
        let beside = |disk: u64| Memory {
            swap_total_bytes: untried.swap_total_bytes + disk * GIB,
            swap_free_bytes: untried.swap_free_bytes + disk * GIB,
            ..untried
        };
        assert!(is_untried(beside(10)));
        assert!(!is_untried(beside(11)), "there is a disk beside it");
        let mut ignoring_swap = settings.clone();
        ignoring_swap.warn.swap = Amount::percent(100);
        for times in [1, 3] {
            let memory = Memory {
                swap_total_bytes: untried.swap_total_bytes * times,
                swap_free_bytes: untried.swap_free_bytes * times,
                worthless_swap_bytes: untried.worthless_swap_bytes * times,
                ..untried
            };
            assert!(!Levels::of(&ignoring_swap, &memory).swap_is_untried(&memory));
        }
    }

    /// A device of twice the memory, of which a tenth holds what hardly
    /// compresses: what is free still saves as much as the warn threshold of
    /// memory.
    #[test]
    fn the_size_of_zram_does_not_raise_the_threshold_of_what_it_saves() {
        let settings = Settings::default();
        let memory = Memory {
            swap_total_bytes: 200 * GIB,
            swap_free_bytes: 171 * GIB,
            zram_bytes: 26 * GIB,
            worthless_swap_bytes: 153 * GIB,
            ..machine(1, 0)
        };
        check(&settings, memory, Level::Ok);
        let memory = Memory {
            worthless_swap_bytes: 162 * GIB,
            ..memory
        };
        check(&settings, memory, Level::Warn);
    }

    /// Whatever is killed, and however well it compresses.
    #[test]
    fn meeting_the_need_ends_the_level_with_swap_in_zram() {
        let settings = Settings::default();
        for takes_percent in 0..=100 {
            for swap in 0..=100 {
                let before = with_zram(5, swap, takes_percent);
                let need = Levels::of(&settings, &before).need(&before);
                for swapped in [0, need / 2, need] {
                    let swapped = swapped.min((100 - swap) * GIB);
                    let taken = swapped * takes_percent / 100;
                    let after = Memory {
                        available_bytes: before.available_bytes + need - swapped + taken,
                        swap_free_bytes: before.swap_free_bytes + swapped,
                        zram_bytes: before.zram_bytes - taken,
                        worthless_swap_bytes: before.worthless_swap_bytes + taken,
                        ..before
                    };
                    check(&settings, after, Level::Ok);
                }
            }
        }
    }

    #[test]
    fn relief_and_last_call_need_at_least_something() {
        let memory = machine(90, 90);
        let levels = Levels::of(&Settings::default(), &memory);
        assert_eq!(levels.relief_need(&memory), 5 * GIB);
        assert_eq!(levels.last_call_need(&memory), 2 * GIB);
        assert!(levels.has_recovered(&memory));
        let memory = machine(1, 90);
        assert_eq!(levels.relief_need(&memory), 14 * GIB);
        assert_eq!(levels.last_call_need(&memory), 14 * GIB);
        assert!(!levels.has_recovered(&memory));
    }

    #[track_caller]
    fn check_short(settings: &Settings, memory: Memory, want: bool) {
        let levels = Levels::of(settings, &memory);
        assert_eq!(levels.is_short(&memory), want, "{memory:?}");
    }

    #[test]
    fn short_is_below_the_recovery_thresholds_of_memory_and_swap() {
        let settings = Settings::default();
        check_short(&settings, machine(15, 14), false);
        check_short(&settings, machine(14, 15), false);
        check_short(&settings, machine(14, 14), true);
        check_short(&settings, machine(1, 1), true);
        let mut ignores_swap = Settings::default();
        ignores_swap.warn.swap = Amount::percent(100);
        check_short(&ignores_swap, machine(14, 100), true);
        let without = Memory {
            swap_total_bytes: 0,
            swap_free_bytes: 0,
            ..machine(14, 0)
        };
        check_short(&settings, without, true);
    }

    #[test]
    fn a_machine_without_memory_is_not_in_need() {
        check(&Settings::default(), Memory::default(), Level::Ok);
    }
}
