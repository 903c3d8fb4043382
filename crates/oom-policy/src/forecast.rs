//! How long until memory is full, should it go on falling as it does.
//!
//! The rate is what was lost over the last [`SPAN`], memory and swap together,
//! and counts only where each half of that time lost its part. So a program
//! that loads once, which falls in one half only, is not a trend, and neither
//! is a cache that is filled and emptied; a leak is known after [`LEAST`].
//! There is no fit over more samples: at a steady rate it would say the same,
//! and after a change of rate it would be wrong for longer.

use std::time::Duration;

use model::{Memory, Moment};
use serde::{Deserialize, Serialize};

use crate::levels::{Levels, Pool};

/// The rate is that of so long,
const SPAN: Duration = Duration::from_secs(10);
/// or at least of so long.
const LEAST: Duration = Duration::from_secs(4);
/// Between two samples.
const EVERY: Duration = Duration::from_millis(500);
/// Samples kept: [`SPAN`], and one that is older.
const SAMPLES: usize = 22;
/// Each half must have lost at least this part of the whole.
const PART: u64 = 4;
/// Longer than this is not said: by then it will be otherwise.
const FARTHEST: Duration = Duration::from_secs(3600);

/// What is left of memory and swap above the kill thresholds, and when that was
/// seen.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Sample {
    at: Moment,
    left_bytes: u64,
}

/// The last samples, the newest at `next − 1`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Forecast {
    samples: [Sample; SAMPLES],
    count: usize,
    next: usize,
    /// How long it is, as of the last look.
    full_in: Option<Duration>,
}

impl Forecast {
    /// Takes in what is left now.
    pub(crate) fn look(&mut self, now: Moment, memory: &Memory, levels: &Levels) {
        let left_bytes = left_bytes(memory, levels);
        let newest = Sample {
            at: now,
            left_bytes,
        };
        self.full_in = self.extrapolate(newest);
        if self.ago(1).is_none_or(|last| EVERY <= now.since(last.at)) {
            self.samples[self.next] = newest;
            self.next = (self.next + 1) % SAMPLES;
            self.count = SAMPLES.min(self.count + 1);
        }
    }

    /// How long until the kill thresholds are met; `None` where memory does not
    /// fall, or not for long enough to tell, or longer than an hour.
    pub(crate) fn full_in(&self) -> Option<Duration> {
        self.full_in
    }

    /// The sample so many before the next.
    fn ago(&self, number: usize) -> Option<Sample> {
        (number <= self.count).then(|| self.samples[(self.next + SAMPLES - number) % SAMPLES])
    }

    fn extrapolate(&self, newest: Sample) -> Option<Duration> {
        let within = |sample: &Sample| newest.at.since(sample.at) <= SPAN;
        let older = (1..).map_while(|number| self.ago(number).filter(within));
        let first = older.last()?;
        let span = newest.at.since(first.at);
        if span < LEAST {
            return None;
        }
        let in_second_half = |sample: &Sample| newest.at.since(sample.at) <= span / 2;
        let later = (1..).map_while(|number| self.ago(number).filter(in_second_half));
        let middle = later.last()?;
        let lost = first.left_bytes.checked_sub(newest.left_bytes)?;
        let halves = [
            first.left_bytes.saturating_sub(middle.left_bytes),
            middle.left_bytes.saturating_sub(newest.left_bytes),
        ];
        if lost == 0 || halves.iter().any(|half| *half < lost / PART) {
            return None;
        }
        let millis = span.as_millis() * u128::from(newest.left_bytes) / u128::from(lost);
        let full_in = Duration::from_millis(u64::try_from(millis).ok()?);
        (full_in <= FARTHEST).then_some(full_in)
    }
}

/// What is left of memory and swap above the kill thresholds.
pub(crate) fn left_bytes(memory: &Memory, levels: &Levels) -> u64 {
    match levels.pool(memory) {
        Pool::MemoryAndSwap => {
            let kill_bytes = levels.kill_memory.saturating_add(levels.kill_swap);
            memory.pool_bytes().saturating_sub(kill_bytes)
        }
        Pool::Memory | Pool::MemoryAndActiveSwap => {
            memory.available_bytes.saturating_sub(levels.kill_memory)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    const GIB: u64 = 1 << 30;

    /// 100 GiB of memory, and as much swap or none; looked at each second for
    /// so long, while so many GiB of the whole are left at each.
    fn full_in(swap_gib: u64, left_gib: impl Fn(u64) -> u64, seconds: u64) -> Option<Duration> {
        let mut forecast = Forecast::default();
        for second in 0..=seconds {
            let left = left_gib(second);
            let memory = Memory {
                total_bytes: 100 * GIB,
                available_bytes: left.saturating_sub(swap_gib) * GIB,
                swap_total_bytes: swap_gib * GIB,
                swap_free_bytes: left.min(swap_gib) * GIB,
                ..Memory::default()
            };
            let levels = Levels::of(&Settings::default(), &memory);
            let now = Moment::ORIGIN + Duration::from_secs(second);
            forecast.look(now, &memory, &levels);
        }
        forecast.full_in()
    }

    #[test]
    fn a_leak_is_followed_to_the_kill_threshold() {
        // 5 GiB are the kill threshold; 50 are left after 10 s at 1 GiB/s.
        let want = Some(Duration::from_secs(45));
        assert_eq!(full_in(0, |second| 60 - second, 10), want);
    }

    #[test]
    fn swap_counts_as_far_as_it_is_free() {
        // Of 100 and 50 GiB, 5 and 2.5 are the thresholds.
        let left = full_in(50, |second| 100 - second, 10).expect("it falls");
        assert_eq!(left.as_secs(), 82);
    }

    #[test]
    fn three_seconds_tell_nothing_yet() {
        assert_eq!(full_in(0, |second| 60 - second, 3), None);
        assert!(full_in(0, |second| 60 - second, 4).is_some());
    }

    #[test]
    fn what_loads_once_is_no_trend() {
        let loads = |second| if second < 3 { 60 } else { 40 };
        for seconds in 4..20 {
            assert_eq!(full_in(0, loads, seconds), None, "{seconds}");
        }
    }

    #[test]
    fn what_rises_or_stands_or_takes_hours_is_not_said() {
        assert_eq!(full_in(0, |second| 40 + second, 20), None);
        assert_eq!(full_in(0, |_| 40, 20), None);
        let slowly = |second: u64| 90 - u64::from(second > 5) - u64::from(second > 10);
        assert_eq!(full_in(0, slowly, 11), Some(Duration::from_secs(415)));
    }

    #[test]
    fn a_change_of_rate_is_followed_within_the_span() {
        let left = |second: u64| 60 - second.min(10) - 2 * second.saturating_sub(10);
        let soon = full_in(0, left, 20).expect("it falls");
        assert_eq!(soon, Duration::from_millis(12_500));
    }

    #[test]
    fn a_clock_that_stands_still_divides_by_nothing() {
        let mut forecast = Forecast::default();
        let memory = Memory {
            total_bytes: 100 * GIB,
            available_bytes: 50 * GIB,
            ..Memory::default()
        };
        let levels = Levels::of(&Settings::default(), &memory);
        for _ in 0..50 {
            forecast.look(Moment::ORIGIN, &memory, &levels);
        }
        assert_eq!(forecast.full_in(), None);
    }
}
