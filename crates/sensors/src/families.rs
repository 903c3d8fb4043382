//! Pages that forked relatives share, counted once.
//!
//! After fork(2) parent and child map the same pages, and the kernel counts
//! them in full for each: five workers of 300 MiB may hold 300 MiB or 1500.
//! `smaps_rollup` tells (proportional set size), but takes the process's mmap
//! lock and walks all its pages: 15 to 45 µs a MiB. So it is read only where
//! the sum is plainly wrong, in quiet rounds, a bounded amount at a time, and
//! what it tells is applied to later readings of `statm`.

use std::ops::ControlFlow;

use oom_policy::Memory;

use crate::file::{for_each_line, kibibytes};
use crate::pid_files::PidPath;
use crate::proc_root::Miss;
use crate::table::ProcessTable;

/// What a process holds of its own, as last measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Correction {
    pub(crate) anon: Own,
    pub(crate) swap: Own,
    /// When: see [`ProcessTable::round`].
    round: u64,
    /// What the table knew of it then.
    raw_anon_bytes: u64,
}

/// How much of an amount is a process's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Own {
    /// What was counted for it.
    counted_bytes: u64,
    /// Its share of that.
    own_bytes: u64,
}

impl Own {
    /// What of `counted_bytes` is its own now: up to what was measured the same
    /// share, and what came since in full.
    pub(crate) fn apply(self, counted_bytes: u64) -> u64 {
        match counted_bytes.checked_sub(self.counted_bytes) {
            Some(more) => self.own_bytes + more,
            None => scaled(counted_bytes, self.own_bytes, self.counted_bytes),
        }
    }
}

/// `number × part / whole`, where `part` is at most `whole` or `number` at most
/// `whole`.
fn scaled(number: u64, part: u64, whole: u64) -> u64 {
    let product = u128::from(number) * u128::from(part);
    let quotient = product.checked_div(u128::from(whole)).unwrap_or(0);
    u64::try_from(quotient).unwrap_or(u64::MAX)
}

/// How much one call may measure. The first process is always measured, so
/// that none is too large to be measured ever.
pub(crate) struct Budget {
    bytes: u64,
    processes: u32,
}

impl Budget {
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
    /// Corrects what forked relatives seem to hold, for quiet rounds: where all
    /// processes together seem to hold more than a tenth above what the machine
    /// has in anonymous memory and swap, the members of the largest families
    /// (same executable, same session) are measured. Of those measured before,
    /// the one measured longest ago is measured again with each call.
    ///
    /// Measures at most 64 processes and 1 GiB of resident memory a call, but
    /// at least one; the rest in the calls that follow. What cannot be measured
    /// (no permission; no `smaps_rollup` before kernel 4.14, no `Pss_Anon`
    /// before 5.4) stays as it is counted.
    ///
    /// Returns how many processes were measured.
    pub fn correct_families(&mut self, memory: &Memory) -> usize {
        let swap_in_use = memory
            .swap_total_bytes
            .saturating_sub(memory.swap_free_bytes);
        let in_use = memory.anon_bytes.saturating_add(swap_in_use);
        let seeming = self.processes.iter().fold(0_u64, |sum, process| {
            sum.saturating_add(process.anon_bytes)
                .saturating_add(process.swap_bytes)
        });
        let is_wrong = seeming > in_use.saturating_add(in_use / 10);

        self.round += 1;
        let mut budget = Budget::of_one_call();
        let mut measured = 0;
        let oldest = (0..self.kept.len())
            .filter_map(|index| Some((self.kept[index].correction.as_ref()?.round, index)))
            .min();
        if let Some((_, index)) = oldest
            && budget.spend(self.processes[index].rss_bytes)
        {
            self.measure_own(index);
            measured += 1;
        }
        if is_wrong {
            for index in self.unmeasured_relatives() {
                if !budget.spend(self.processes[index].rss_bytes) {
                    break;
                }
                self.measure_own(index);
                measured += 1;
            }
        }
        measured
    }

    /// Those who have relatives and have not been measured, or have grown by a
    /// quarter since: the largest family first, in it the largest member.
    fn unmeasured_relatives(&self) -> Vec<usize> {
        let raw = |index: usize| self.kept[index].raw_anon_bytes;
        let family = |index: usize| (self.kept[index].executable, self.processes[index].session);
        let mut members: Vec<usize> = (0..self.kept.len())
            .filter(|&index| self.kept[index].executable != 0 && raw(index) > 0)
            .collect();
        members.sort_unstable_by_key(|&index| (family(index), u64::MAX - raw(index)));
        let mut families: Vec<&[usize]> = members
            .chunk_by(|&one, &other| family(one) == family(other))
            .filter(|relatives| relatives.len() > 1)
            .collect();
        let total = |relatives: &[usize]| relatives.iter().map(|&index| raw(index)).sum::<u64>();
        families.sort_by_cached_key(|relatives| u64::MAX - total(relatives));
        let is_due = |index: &usize| match &self.kept[*index].correction {
            None => true,
            Some(done) => raw(*index) > done.raw_anon_bytes + done.raw_anon_bytes / 4,
        };
        families.concat().into_iter().filter(is_due).collect()
    }

    fn measure_own(&mut self, index: usize) {
        let (anon, swap) = self.own(index).unwrap_or_default();
        let kept = &mut self.kept[index];
        kept.correction = Some(Box::new(Correction {
            anon,
            swap,
            round: self.round,
            raw_anon_bytes: kept.raw_anon_bytes,
        }));
        kept.show(&mut self.processes[index]);
    }

    /// What the kernel tells of a process's own share; `None` where it does not.
    fn own(&self, index: usize) -> Option<(Own, Own)> {
        let id = self.processes[index].id;
        let root = self.root.open().ok()?;
        let rollup = root.open(&PidPath::new(id.pid, "smaps_rollup"));
        let rollup = match rollup {
            Ok(rollup) => rollup,
            Err(Miss::Gone | Miss::Failed(_)) => return None,
        };
        let (mut anon, mut own_anon, mut swap, mut own_swap) = (None, None, None, None);
        for_each_line(&rollup, &mut [0; 1024], |_, line| {
            for (key, place) in [
                (&b"Anonymous:"[..], &mut anon),
                (b"Pss_Anon:", &mut own_anon),
                (b"Swap:", &mut swap),
                (b"SwapPss:", &mut own_swap),
            ] {
                if let Some(value) = line.strip_prefix(key) {
                    *place = kibibytes(value);
                }
            }
            ControlFlow::Continue(())
        })
        .ok()?;
        // Read while the rollup is still open, so of the same process.
        if self.root.start_ticks(id.pid).ok()?? != id.start_ticks {
            return None;
        }
        Some((own_of(anon?, own_anon?), own_of(swap?, own_swap?)))
    }
}

fn own_of(counted_bytes: u64, own_bytes: u64) -> Own {
    Own {
        counted_bytes,
        own_bytes: own_bytes.min(counted_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_measured_is_all_its_own() {
        assert_eq!(Own::default().apply(700), 700);
    }

    #[test]
    fn a_share_shrinks_in_proportion_and_grows_in_full() {
        let own = own_of(300, 60);
        assert_eq!(own.apply(300), 60);
        assert_eq!(own.apply(150), 30);
        assert_eq!(own.apply(400), 160);
        assert_eq!(own.apply(0), 0);
    }

    #[test]
    fn the_first_is_measured_however_large() {
        let mut budget = Budget::of_one_call();
        assert!(budget.spend(u64::MAX));
        assert!(!budget.spend(1));
    }

    #[test]
    fn no_more_than_64_are_measured_at_once() {
        let mut budget = Budget::of_one_call();
        assert_eq!((0..100).filter(|_| budget.spend(1)).count(), 64);
    }
}
