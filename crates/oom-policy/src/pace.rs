//! When to look again: rarely while memory is plentiful, often when a fast hog
//! could cross a threshold before the next look.
//!
//! A look reads one small file. It is timed so that memory filled at
//! [`MEMORY_BYTES_PER_SECOND`], or at twice the fastest rate seen since the
//! last look, meets a look when it meets the next threshold. The assumed rate
//! is what two or three cores reach faulting in fresh pages; one core stays
//! below half of it. Swap is filled at [`SWAP_BYTES_PER_SECOND`] at most, a
//! fast NVMe drive or zram. Faster hogs are caught late by one look.

use std::time::Duration;

use model::{Level, Memory, Moment};
use serde::{Deserialize, Serialize};

use crate::levels::Levels;

/// How fast memory is assumed to fill.
const MEMORY_BYTES_PER_SECOND: u64 = 8 << 30;
/// How fast swap is assumed to fill.
const SWAP_BYTES_PER_SECOND: u64 = 2 << 30;
/// Never more rarely.
const LONGEST: Duration = Duration::from_secs(2);

/// Remembers the last look, to tell how fast memory falls.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pace {
    last: Option<(Moment, u64)>,
}

impl Pace {
    /// How long after this look the next one is due; `shortest` at least. Where it
    /// `ends_in_memory`, whatever swap is free, memory is met at its kill threshold.
    pub(crate) fn after_look(
        &mut self,
        now: Moment,
        memory: &Memory,
        levels: &Levels,
        level: Level,
        ends_in_memory: bool,
        shortest: Duration,
    ) -> Duration {
        let shortest = shortest.min(LONGEST);
        let seen = self.fall_per_second(now, memory.available_bytes);
        self.last = Some((now, memory.available_bytes));
        let (memory_floor, swap_floor) = match level {
            Level::Ok if ends_in_memory => (levels.kill_memory, u64::MAX),
            Level::Ok => (levels.warn_memory, levels.warn_swap),
            Level::Warn => (levels.kill_memory, levels.kill_swap),
            Level::Kill => return shortest,
        };
        let memory_rate = MEMORY_BYTES_PER_SECOND.max(seen.saturating_mul(2));
        let until_memory = time_to_fill(
            memory.available_bytes.saturating_sub(memory_floor),
            memory_rate,
        );
        let until_swap = time_to_fill(
            memory.free_swap_bytes().saturating_sub(swap_floor),
            SWAP_BYTES_PER_SECOND,
        );
        // A level begins when the later of the two arrives.
        until_memory.max(until_swap).clamp(shortest, LONGEST)
    }

    fn fall_per_second(&self, now: Moment, available_bytes: u64) -> u64 {
        let Some((then, before_bytes)) = self.last else {
            return 0;
        };
        let millis = now.since(then).as_millis().max(10);
        let fallen = u128::from(before_bytes.saturating_sub(available_bytes));
        u64::try_from(fallen.saturating_mul(1000) / millis).unwrap_or(u64::MAX)
    }
}

fn time_to_fill(bytes: u64, bytes_per_second: u64) -> Duration {
    let millis = u128::from(bytes) * 1000 / u128::from(bytes_per_second.max(1));
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;
    const SHORTEST: Duration = Duration::from_millis(50);

    fn machine(available_bytes: u64, swap_free_bytes: u64) -> Memory {
        Memory {
            total_bytes: 16 * GIB,
            available_bytes,
            swap_total_bytes: 8 * GIB,
            swap_free_bytes,
            ..Memory::default()
        }
    }

    fn wait(pace: &mut Pace, now: Moment, memory: Memory) -> Duration {
        let levels = Levels::of(&Settings::default(), &memory);
        pace.after_look(
            now,
            &memory,
            &levels,
            levels.level(&memory),
            false,
            SHORTEST,
        )
    }

    #[test]
    fn a_cgroup_that_fills_faster_than_a_machine_is_looked_at_as_often_as_that_takes() {
        let room = |available_mib| {
            let memory = Memory {
                total_bytes: 500 * MIB,
                available_bytes: available_mib * MIB,
                ..Memory::default()
            };
            let levels = Levels::of(&Settings::default(), &memory);
            let (now, shortest) = (Moment::ORIGIN, Duration::from_millis(5));
            let level = levels.level(&memory);
            Pace::default().after_look(now, &memory, &levels, level, false, shortest)
        };
        assert_eq!(room(40), Duration::from_millis(5));
        assert_eq!(room(0), Duration::from_millis(5));
        let half = room(250);
        assert!((20..30).contains(&half.as_millis()), "{half:?}");
    }

    #[track_caller]
    fn check(memory: Memory, want: Duration) {
        assert_eq!(wait(&mut Pace::default(), Moment::ORIGIN, memory), want);
    }

    #[test]
    fn plentiful_memory_is_looked_at_rarely() {
        check(machine(15 * GIB, 8 * GIB), LONGEST);
    }

    #[test]
    fn free_swap_gives_time_when_memory_is_short() {
        check(machine(GIB, 8 * GIB), LONGEST);
        assert!(wait(&mut Pace::default(), Moment::ORIGIN, machine(GIB, GIB)) < LONGEST / 4);
    }

    #[test]
    fn where_the_kill_threshold_of_memory_counts_free_swap_gives_no_time() {
        let after = |memory: Memory| {
            let levels = Levels::of(&Settings::default(), &memory);
            let level = levels.level(&memory);
            Pace::default().after_look(Moment::ORIGIN, &memory, &levels, level, true, SHORTEST)
        };
        let kill = 16 * GIB / 20;
        let half_a_second = Duration::from_millis(500);
        assert_eq!(after(machine(kill + 4 * GIB, 8 * GIB)), half_a_second);
        assert_eq!(after(machine(kill + 100 * MIB, 8 * GIB)), SHORTEST);
    }

    #[test]
    fn close_to_a_threshold_looks_are_frequent() {
        let just_above_warn = 16 * GIB / 10 + 100 * MIB;
        check(machine(just_above_warn, 0), SHORTEST);
        check(machine(0, 0), SHORTEST);
    }

    #[test]
    fn the_assumed_rate_meets_a_look_at_the_threshold() {
        let headroom = 4 * GIB;
        let waited = wait(
            &mut Pace::default(),
            Moment::ORIGIN,
            machine(16 * GIB / 10 + headroom, 0),
        );
        assert_eq!(waited, Duration::from_millis(500));
    }

    #[test]
    fn a_faster_fall_than_assumed_is_looked_at_sooner() {
        let mut pace = Pace::default();
        let now = Moment::ORIGIN + Duration::from_secs(1);
        let calm = wait(&mut pace, now, machine(12 * GIB, 0));
        let later = now + Duration::from_millis(250);
        let falling = wait(&mut pace, later, machine(8 * GIB, 0));
        assert!(falling < calm / 3, "{falling:?} after {calm:?}");
    }

    #[test]
    fn extreme_numbers_stay_within_the_bounds() {
        let mut pace = Pace::default();
        for memory in [machine(u64::MAX, u64::MAX), machine(0, u64::MAX)] {
            let waited = wait(&mut pace, Moment::after_origin(Duration::MAX), memory);
            assert!((SHORTEST..=LONGEST).contains(&waited));
        }
    }
}
