//! The most that could have been kept: which set of jobs is worth most of all
//! that fit at the end.
//!
//! Exact: for every value that a set can have, the least memory that one of that
//! value takes. It knows how large each job is going to be, which no contestant
//! does, and counts all memory and all swap, so it is a bound that none can beat
//! and that none reaches in some contests.

use super::{Contest, Ended, Holds, State};

/// A set of jobs that could all have been kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Best {
    /// What it is worth.
    pub value: u32,
    /// What all jobs together are worth.
    pub total: u32,
    /// Of each job, in the order of their start, whether it is in it.
    keeps: Vec<bool>,
    /// Of each job, whether it is still growing at the end.
    grows: Vec<bool>,
}

impl Best {
    /// What fits into so much memory and swap.
    #[must_use]
    pub fn of(contest: &Contest, capacity_mib: u64) -> Self {
        let mut values = Vec::new();
        let mut sizes = Vec::new();
        let mut grows = Vec::new();
        // What is in a tmpfs stays there, whether its job is kept or not.
        let mut stays = 0.0;
        for job in &contest.jobs {
            for number in 0..job.count {
                let size = job.final_mib(number, contest.seconds);
                values.push(job.value.unwrap_or(0));
                if job.holds == Holds::Tmpfs {
                    stays += size;
                    sizes.push(0.0);
                } else {
                    sizes.push(size);
                }
                grows.push(job.grows());
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "mebibytes are few")]
        let capacity = capacity_mib as f64 - stays;
        let keeps = most_valuable(&values, &sizes, capacity);
        let chosen = values.iter().zip(&keeps).filter(|&(_, &is_kept)| is_kept);
        Self {
            value: chosen.map(|(value, _)| value).sum(),
            total: values.iter().sum(),
            keeps,
            grows,
        }
    }

    /// How many were killed that did not grow and need not have died. Where as
    /// much was kept as is possible, none.
    #[must_use]
    pub fn innocents(&self, jobs: &[Ended]) -> usize {
        let kept = jobs.iter().filter(|job| job.state != State::Killed);
        if kept.map(|job| job.value).sum::<u32>() >= self.value {
            return 0;
        }
        jobs.iter()
            .zip(self.keeps.iter().zip(&self.grows))
            .filter(|(job, (keeps, grows))| {
                job.value > 0 && job.state == State::Killed && **keeps && !**grows
            })
            .count()
    }
}

fn most_valuable(values: &[u32], sizes: &[f64], capacity: f64) -> Vec<bool> {
    let total: usize = values.iter().map(|&value| index(value)).sum();
    // After the first jobs: by value, the least size of a set.
    let mut least = vec![f64::INFINITY; total + 1];
    least[0] = 0.0;
    let mut taken = Vec::new();
    for (&value, &size) in values.iter().zip(sizes) {
        let value = index(value);
        let mut takes = vec![false; total + 1];
        for sum in (value..=total).rev() {
            let with = least[sum - value] + size;
            if value > 0 && with < least[sum] {
                least[sum] = with;
                takes[sum] = true;
            }
        }
        taken.push(takes);
    }
    let mut sum = least
        .iter()
        .rposition(|&size| size <= capacity)
        .unwrap_or(0);
    let mut keeps = vec![false; values.len()];
    for (number, takes) in taken.iter().enumerate().rev() {
        if takes[sum] {
            keeps[number] = true;
            sum -= index(values[number]);
        }
    }
    keeps
}

fn index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Best, most_valuable};
    use crate::arena::{Contest, Ended, State};

    /// Tries every set.
    fn by_trying(values: &[u32], sizes: &[f64], capacity: f64) -> u32 {
        let sets = 0_u32..1 << values.len();
        let fitting = sets.filter_map(|set| {
            let members = || (0..values.len()).filter(move |job| set >> job & 1 == 1);
            let size: f64 = members().map(|job| sizes[job]).sum();
            (size <= capacity).then(|| members().map(|job| values[job]).sum())
        });
        fitting.max().unwrap_or(0)
    }

    #[test]
    fn no_set_that_fits_is_worth_more() {
        let mut state = 1_u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        for _ in 0..200 {
            let values: Vec<_> = (0..8).map(|_| random(10)).collect();
            let sizes: Vec<_> = (0..8).map(|_| f64::from(1 + random(50))).collect();
            let capacity = f64::from(random(200));
            let keeps = most_valuable(&values, &sizes, capacity);
            let kept = (0..8).filter(|&job| keeps[job]);
            assert!(kept.clone().map(|job| sizes[job]).sum::<f64>() <= capacity);
            assert_eq!(
                kept.map(|job| values[job]).sum::<u32>(),
                by_trying(&values, &sizes, capacity)
            );
        }
    }

    #[test]
    fn an_innocent_did_not_grow_and_need_not_have_died() {
        let contest = Contest::parse(
            r#"
            title = ""
            says = ""
            memory_mib = 1024
            swap = "none"
            seconds = 60
            [[job]]
            name = "steady"
            value = 5
            start_mib = 100
            [[job]]
            name = "leak"
            value = 3
            growth_mib_s = 10
            "#,
        )
        .unwrap();
        let best = Best::of(&contest, 400);
        assert_eq!((best.value, best.total), (5, 8));
        let ended = |steady, leak| {
            [("steady", 5, steady), ("leak", 3, leak)].map(|(name, value, state)| Ended {
                name: name.to_owned(),
                value,
                state,
                passes: 0,
            })
        };
        assert_eq!(best.innocents(&ended(State::Killed, State::Killed)), 1);
        assert_eq!(best.innocents(&ended(State::Runs, State::Killed)), 0);
    }
}
