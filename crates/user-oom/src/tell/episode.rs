//! What a shortage came to: counted from the first signal until all victims
//! are gone.

use oom_policy::{Cost, Moment, Process};

use crate::tell::record::{Record, Victim};

/// A victim, from its first signal until it is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// What was printed at its first signal,
    pub(crate) victim: Victim,
    /// when that was,
    pub(crate) since: Moment,
    /// what it held, and what is lost with it.
    pub(crate) held_bytes: u64,
    pub(crate) lost: Cost,
    /// It is still expected to end.
    pub(crate) is_pending: bool,
    /// A command is to end it, and no signal was sent yet.
    pub(crate) by_command: bool,
    /// The scope that it was chosen for.
    pub(crate) scope: usize,
}

impl Ending {
    pub(crate) fn new(
        now: Moment,
        victim: Victim,
        process: Option<&Process>,
        lost: Cost,
        scope: usize,
    ) -> Self {
        Self {
            victim,
            since: now,
            held_bytes: process.map_or(0, |process| process.held_bytes()),
            lost,
            is_pending: true,
            by_command: false,
            scope,
        }
    }
}

/// A round of ends, and what it has come to so far: what did not end counts
/// for nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Episode {
    began: Moment,
    /// MemAvailable + SwapFree then, where it was known.
    pool_bytes: Option<u64>,
    gone: u32,
    counted_bytes: u64,
    lost: Cost,
}

impl Episode {
    pub(crate) fn new(now: Moment, pool_bytes: Option<u64>) -> Self {
        Self {
            began: now,
            pool_bytes,
            gone: 0,
            counted_bytes: 0,
            lost: Cost::ZERO,
        }
    }

    /// Whether any victim is gone.
    pub(crate) fn counts(&self) -> bool {
        self.gone > 0
    }

    /// A victim is gone.
    pub(crate) fn count(&mut self, ending: &Ending) {
        self.gone += 1;
        self.counted_bytes += ending.held_bytes;
        self.lost = self.lost.saturating_add(ending.lost);
    }

    /// Adds up. `pool_bytes`: MemAvailable + SwapFree now.
    pub(crate) fn sum(self, now: Moment, pool_bytes: u64) -> Record {
        let came_back = (self.pool_bytes).map(|before| pool_bytes.saturating_sub(before));
        Record::Settled {
            processes: self.gone,
            counted_bytes: self.counted_bytes,
            only_bytes: came_back.filter(|&bytes| bytes < self.counted_bytes / 2),
            before_bytes: self.pool_bytes,
            after_bytes: pool_bytes,
            value: self.lost.rounded_up(),
            took: now.since(self.began),
        }
    }
}
