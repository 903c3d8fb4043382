//! How much is due by now, at so many MiB a second. Reads no clock.

use std::time::Duration;

const MICROSECONDS_PER_SECOND: u64 = 1_000_000;

/// Turns time that went by into whole MiB, without losing the fractions.
#[derive(Debug)]
pub(crate) struct Pace {
    mib_per_second: u64,
    /// MiB × 1 000 000.
    credit: u64,
}

impl Pace {
    /// So many MiB a second, of which none is due yet.
    pub(crate) fn new(mib_per_second: u32) -> Self {
        Self {
            mib_per_second: u64::from(mib_per_second),
            credit: 0,
        }
    }

    /// MiB due after another `elapsed`. At most one second's worth: a process
    /// that was stalled (it was swapped out, or stopped) goes on at its pace
    /// and does not make up for what it missed.
    pub(crate) fn due_mib(&mut self, elapsed: Duration) -> u64 {
        let elapsed = elapsed.min(Duration::from_secs(1));
        let earned = self.mib_per_second * u64::from(elapsed.subsec_micros())
            + self.mib_per_second * elapsed.as_secs() * MICROSECONDS_PER_SECOND;
        self.credit = (self.credit + earned).min(self.mib_per_second * MICROSECONDS_PER_SECOND);
        let due = self.credit / MICROSECONDS_PER_SECOND;
        self.credit %= MICROSECONDS_PER_SECOND;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mib_per_second: u32, tick: Duration, ticks: u32, want_mib: u64) {
        let mut pace = Pace::new(mib_per_second);
        let due: u64 = (0..ticks).map(|_| pace.due_mib(tick)).sum();
        assert_eq!(due, want_mib);
    }

    #[test]
    fn the_rate_is_kept_whatever_the_tick() {
        check(40, Duration::from_millis(100), 10, 40);
        check(40, Duration::from_millis(1), 1000, 40);
        check(80, Duration::from_secs(1), 3, 240);
    }

    #[test]
    fn fractions_add_up() {
        check(1, Duration::from_millis(100), 9, 0);
        check(1, Duration::from_millis(100), 10, 1);
        check(3, Duration::from_millis(250), 40, 30);
    }

    #[test]
    fn what_a_stall_missed_is_not_made_up_for() {
        check(40, Duration::from_secs(60), 1, 40);
    }

    #[test]
    fn the_greatest_rate_does_not_overflow() {
        check(u32::MAX, Duration::from_secs(1), 1, u64::from(u32::MAX));
    }
}
