//! The pressure gates: when stalls last, units are paused; when they are long,
//! relief is asked for.
//!
//! It is fed with the times at which the kernel's pressure trigger fired. A
//! trigger fires at most once a window, and in every window that stalls for
//! long enough, so events that follow each other by about a window are windows
//! in a row. It opens no file; the trigger line is the caller's.

use std::time::Duration;

use model::Moment;
use serde::{Deserialize, Serialize};

/// Both gates: each counts the windows of a trigger of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gates {
    /// After it, units may be paused.
    pub pause: Gate,
    /// After it, units may be killed as well.
    pub relief: Gate,
}

/// Opens after so many stalled windows in a row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gate {
    window: Duration,
    in_a_row: u32,
    last: Option<Moment>,
    seen: u32,
}

impl Gate {
    /// The window of the pressure trigger that feeds the gate by default.
    pub const WINDOW: Duration = Duration::from_secs(1);
    /// How many windows in a row, by default.
    pub const IN_A_ROW: u32 = 3;
    /// How many such windows in a row: one. A mistake costs a unit seconds.
    pub const PAUSE_IN_A_ROW: u32 = 1;

    /// A gate for a trigger with this window.
    #[must_use]
    pub fn new(window: Duration, in_a_row: u32) -> Self {
        Self {
            window,
            in_a_row,
            last: None,
            seen: 0,
        }
    }

    /// Forgets what it has counted: as new.
    pub(crate) fn forget(&mut self) {
        self.last = None;
        self.seen = 0;
    }

    /// The trigger fired at `now`, a time since any fixed origin: whether that
    /// opens the gate. Windows in a row are counted anew after that.
    pub fn fired(&mut self, now: Moment) -> bool {
        // The kernel looks ten times a window, so the next event is late by a
        // little; half a window later it is another stall.
        let limit = self.window.saturating_add(self.window / 2);
        let follows = self.last.is_some_and(|last| now.since(last) <= limit);
        self.last = Some(now);
        self.seen = if follows { self.seen + 1 } else { 1 };
        if self.seen < self.in_a_row {
            return false;
        }
        self.seen = 0;
        true
    }
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            pause: Gate::new(Gate::WINDOW, Gate::PAUSE_IN_A_ROW),
            relief: Gate::new(Gate::WINDOW, Gate::IN_A_ROW),
        }
    }
}

impl Gates {
    pub(crate) fn forget(&mut self) {
        self.pause.forget();
        self.relief.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(events_millis: &[u64], want: &[u64]) {
        let mut gate = Gates::default().relief;
        let asked: Vec<u64> = events_millis
            .iter()
            .copied()
            .filter(|millis| gate.fired(Moment::after_origin(Duration::from_millis(*millis))))
            .collect();
        assert_eq!(asked, want);
    }

    #[test]
    fn three_windows_in_a_row_ask_for_relief() {
        check(&[1000, 2010, 3050], &[3050]);
    }

    #[test]
    fn two_windows_do_not() {
        check(&[1000, 2000], &[]);
    }

    #[test]
    fn a_window_without_a_stall_starts_the_count_anew() {
        check(&[1000, 2000, 4000, 5000], &[]);
        check(&[1000, 2000, 4000, 5000, 6000], &[6000]);
    }

    #[test]
    fn stalls_that_last_ask_again_after_three_more() {
        check(&[1000, 2000, 3000, 4000, 5000, 6000, 7000], &[3000, 6000]);
    }

    #[test]
    fn a_trigger_with_a_longer_window_is_counted_by_that_window() {
        let mut gate = Gate::new(Duration::from_secs(2), 2);
        assert!(!gate.fired(Moment::ORIGIN + Duration::from_secs(2)));
        assert!(gate.fired(Moment::ORIGIN + Duration::from_secs(4)));
    }

    #[test]
    fn a_clock_that_stands_still_or_runs_back_harms_nothing() {
        let mut gate = Gates::default().relief;
        let now = Moment::ORIGIN + Duration::from_secs(9);
        assert!(!gate.fired(now));
        assert!(!gate.fired(Moment::ORIGIN));
        assert!(!gate.fired(Moment::after_origin(Duration::MAX)));
    }
}
