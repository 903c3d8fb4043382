//! When the process table is read, how deep, and when a dry run is quiet.

use std::time::Duration;

use model::{Depth, Level, Memory, Moment};
use serde::{Deserialize, Serialize};

/// A dry run reports a choice, then keeps quiet for so long.
const DRY_INTERVAL: Duration = Duration::from_secs(10);
/// All of every process is read again in a quiet round after so long,
const SELDOM: Duration = Duration::from_secs(60);
/// or so long while memory is plentiful,
const RARELY: Duration = Duration::from_secs(600);
/// or so long where swap is used or tasks stall.
const SOON: Duration = Duration::from_secs(1);
/// For the next victim alone, the table is not read more often than this: users
/// may change values without end.
const REVALUED_REST: Duration = Duration::from_millis(200);
/// While memory is plentiful, the table is not read more often than this,
/// whatever memory does: half of it does not go unseen.
const PLENTY_REST: Duration = Duration::from_secs(15);
/// Memory that is full sooner than this is said to be so soon,
const SOON_FULL: Duration = Duration::from_secs(60);
/// once, until it is not even in twice that, and not more often than this.
const FOREWARN_REST: Duration = Duration::from_secs(60);

/// What was read when.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Schedule {
    /// At whatever depth.
    table_read: Option<Moment>,
    /// All of every process.
    full_scan: Option<Moment>,
    /// A window has stalled since then.
    stalled: bool,
    /// Since the table was last read, the next victim may have changed.
    revalued: bool,
    /// While a dry run keeps quiet.
    quiet_until: Moment,
    /// Memory was said to be full soon, and is yet expected to be,
    is_forewarned: bool,
    /// and is not said to be again before then.
    forewarn_after: Moment,
}

/// What decides whether and how deep the table is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occasion<'a> {
    pub(crate) now: Moment,
    pub(crate) memory: &'a Memory,
    pub(crate) level: Level,
    /// Whether relief is asked for.
    pub(crate) asked: bool,
    /// Whether victims are pending.
    pub(crate) busy: bool,
    /// Whether the table would tell something new.
    pub(crate) is_news: bool,
    /// Whether units are paused that may be due to go on.
    pub(crate) follows: bool,
}

impl Schedule {
    /// All tasks stalled for a window. What relief would choose depends on
    /// swap and major faults, so they are read while the gate still counts.
    pub(crate) fn stalled(&mut self) {
        self.stalled = true;
    }

    /// Values have changed, or the next victims have ended.
    pub(crate) fn revalued(&mut self) {
        self.revalued = true;
    }

    /// In how long the table is to be read for that; `None`: it is not.
    pub(crate) fn reads_revalued_in(&self, now: Moment) -> Option<Duration> {
        let rested = |last: Moment| (last + REVALUED_REST).since(now);
        self.revalued
            .then(|| self.table_read.map_or(Duration::ZERO, rested))
    }

    /// In how long memory is full, where that is to be said now.
    pub(crate) fn forewarn(&mut self, now: Moment, full_in: Option<Duration>) -> Option<Duration> {
        if full_in.is_none_or(|full_in| 2 * SOON_FULL < full_in) {
            self.is_forewarned = false;
        }
        let full_in = full_in.filter(|full_in| *full_in < SOON_FULL)?;
        if self.is_forewarned || now < self.forewarn_after {
            return None;
        }
        self.is_forewarned = true;
        self.forewarn_after = now + FOREWARN_REST;
        Some(full_in)
    }

    /// Whether a dry run keeps quiet.
    pub(crate) fn is_quiet(&self, now: Moment) -> bool {
        now < self.quiet_until
    }

    /// A dry run has reported a choice.
    pub(crate) fn keep_quiet(&mut self, now: Moment) {
        self.quiet_until = now + DRY_INTERVAL;
    }

    /// How deep to read the table now; `None`: not at all.
    pub(crate) fn depth(&self, occasion: Occasion<'_>) -> Option<Depth> {
        let Occasion {
            now,
            memory,
            level,
            asked,
            busy,
            is_news,
            follows,
        } = occasion;
        let has_rested = |last| !memory.is_plentiful() || PLENTY_REST <= now.since(last);
        let is_urgent = level != Level::Ok || busy;
        let is_due = is_news && (is_urgent || self.table_read.is_none_or(has_rested));
        let is_revalued = self.reads_revalued_in(now) == Some(Duration::ZERO);
        if !(is_due || asked || follows || self.stalled || is_revalued) {
            return None;
        }
        // A deciding scan opens as little as it can; in quiet rounds all is
        // read, which costs twenty times as much.
        if is_urgent || asked || !self.is_full_scan_due(now, memory) {
            Some(Depth::Fast)
        } else {
            Some(Depth::Full)
        }
    }

    fn is_full_scan_due(&self, now: Moment, memory: &Memory) -> bool {
        let swap_bytes = memory.swap_total_bytes;
        let is_swapping = memory.swap_free_bytes < swap_bytes - swap_bytes / 16;
        let interval = if is_swapping || self.stalled {
            SOON
        } else if memory.is_plentiful() {
            RARELY
        } else {
            SELDOM
        };
        self.full_scan
            .is_none_or(|last| interval <= now.since(last))
    }

    /// The table was read.
    pub(crate) fn was_read(&mut self, now: Moment, depth: Depth) {
        self.table_read = Some(now);
        self.revalued = false;
        if depth == Depth::Full {
            self.full_scan = Some(now);
            self.stalled = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(span: Duration) -> Moment {
        Moment::after_origin(span)
    }

    /// 100 bytes of memory, so many of them available, and no swap.
    fn memory(available_bytes: u64) -> Memory {
        Memory {
            total_bytes: 100,
            available_bytes,
            ..Memory::default()
        }
    }

    fn quiet(now: Moment, memory: &Memory) -> Occasion<'_> {
        Occasion {
            now,
            memory,
            level: Level::Ok,
            asked: false,
            busy: false,
            is_news: true,
            follows: false,
        }
    }

    /// One that has read everything at the first second.
    fn after_a_full_scan() -> Schedule {
        let mut schedule = Schedule::default();
        schedule.was_read(at(SECOND), Depth::Full);
        schedule
    }

    #[track_caller]
    fn check(schedule: &Schedule, occasion: Occasion<'_>, want: Option<Depth>) {
        assert_eq!(schedule.depth(occasion), want);
    }

    #[test]
    fn the_first_look_reads_everything() {
        let plenty = memory(90);
        check(
            &Schedule::default(),
            quiet(at(SECOND), &plenty),
            Some(Depth::Full),
        );
    }

    #[test]
    fn while_memory_is_plentiful_the_table_rests() {
        let (schedule, plenty) = (after_a_full_scan(), memory(90));
        check(&schedule, quiet(at(15 * SECOND), &plenty), None);
        check(
            &schedule,
            quiet(at(16 * SECOND), &plenty),
            Some(Depth::Fast),
        );
        check(
            &schedule,
            quiet(at(601 * SECOND), &plenty),
            Some(Depth::Full),
        );
    }

    #[test]
    fn what_is_no_news_is_not_read() {
        let (schedule, some) = (after_a_full_scan(), memory(40));
        let known = |now| Occasion {
            is_news: false,
            ..quiet(now, &some)
        };
        check(&schedule, known(at(100 * SECOND)), None);
        check(&schedule, quiet(at(2 * SECOND), &some), Some(Depth::Fast));
        check(&schedule, quiet(at(61 * SECOND), &some), Some(Depth::Full));
    }

    #[test]
    fn a_decision_is_not_held_up_by_a_full_scan() {
        let (schedule, short) = (after_a_full_scan(), memory(4));
        let late = quiet(at(1000 * SECOND), &short);
        for urgent in [
            Occasion {
                level: Level::Kill,
                ..late
            },
            Occasion {
                asked: true,
                is_news: false,
                ..late
            },
            Occasion { busy: true, ..late },
        ] {
            check(&schedule, urgent, Some(Depth::Fast));
        }
    }

    #[test]
    fn stalls_and_swap_have_everything_read_soon() {
        let (mut schedule, plenty) = (after_a_full_scan(), memory(90));
        schedule.stalled();
        check(&schedule, quiet(at(2 * SECOND), &plenty), Some(Depth::Full));

        let swapping = Memory {
            swap_total_bytes: 160,
            swap_free_bytes: 149,
            ..memory(40)
        };
        let schedule = after_a_full_scan();
        check(
            &schedule,
            quiet(at(2 * SECOND), &swapping),
            Some(Depth::Full),
        );
        let hardly = Memory {
            swap_free_bytes: 150,
            ..swapping
        };
        check(&schedule, quiet(at(2 * SECOND), &hardly), Some(Depth::Fast));
    }

    #[test]
    fn changed_values_are_read_at_once_and_five_times_a_second_at_most() {
        let (mut schedule, plenty) = (after_a_full_scan(), memory(90));
        let known = |now| Occasion {
            is_news: false,
            ..quiet(now, &plenty)
        };
        assert_eq!(schedule.reads_revalued_in(at(SECOND)), None);
        schedule.revalued();
        let almost = SECOND + SECOND / 10;
        assert_eq!(schedule.reads_revalued_in(at(almost)), Some(SECOND / 10));
        check(&schedule, known(at(almost)), None);
        check(
            &schedule,
            known(at(almost + SECOND / 10)),
            Some(Depth::Fast),
        );
        schedule.was_read(at(2 * SECOND), Depth::Fast);
        check(&schedule, known(at(4 * SECOND)), None);
        schedule.revalued();
        check(&schedule, known(at(4 * SECOND)), Some(Depth::Fast));
    }

    #[test]
    fn what_is_full_within_a_minute_is_said_once_and_again_when_it_was_not() {
        let mut schedule = Schedule::default();
        let soon = Some(59 * SECOND);
        assert_eq!(schedule.forewarn(at(SECOND), None), None);
        assert_eq!(schedule.forewarn(at(SECOND), Some(60 * SECOND)), None);
        assert_eq!(schedule.forewarn(at(SECOND), soon), soon);
        assert_eq!(schedule.forewarn(at(100 * SECOND), soon), None);
        // It wavers about the minute.
        assert_eq!(
            schedule.forewarn(at(101 * SECOND), Some(100 * SECOND)),
            None
        );
        assert_eq!(schedule.forewarn(at(102 * SECOND), soon), None);
        assert_eq!(schedule.forewarn(at(103 * SECOND), None), None);
        assert_eq!(schedule.forewarn(at(104 * SECOND), soon), soon);
        assert_eq!(schedule.forewarn(at(105 * SECOND), None), None);
        assert_eq!(schedule.forewarn(at(163 * SECOND), soon), None, "too soon");
        assert_eq!(schedule.forewarn(at(164 * SECOND), soon), soon);
    }

    #[test]
    fn a_dry_run_is_quiet_for_ten_seconds() {
        let mut schedule = Schedule::default();
        assert!(!schedule.is_quiet(at(SECOND)));
        schedule.keep_quiet(at(SECOND));
        assert!(schedule.is_quiet(at(11 * SECOND).before(Duration::from_nanos(1))));
        assert!(!schedule.is_quiet(at(11 * SECOND)));
    }
}
