//! The most that could have been kept: which set of jobs is worth most of all
//! that fit at the end, each group within its limit.
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
    /// Of each job, in the order of their start.
    keeps: Vec<Keeps>,
}

/// Of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Keeps {
    /// What of its value is in the set: nothing, where it is not.
    value: u32,
    /// Whether it is still growing at the end.
    grows: bool,
    /// What each child is worth that can be killed without it.
    child_value: u32,
    /// What it is worth without these.
    own: u32,
}

/// What can be kept of a job: of each way, the value, and the size.
#[derive(Clone, Debug, PartialEq)]
struct Item {
    ways: Vec<(u32, f64)>,
    /// The number of its group.
    group: Option<usize>,
}

impl Best {
    /// What fits into so much memory and swap.
    #[must_use]
    pub fn of(contest: &Contest, capacity_mib: u64) -> Self {
        let mut items = Vec::new();
        let mut keeps = Vec::new();
        // What is in a tmpfs stays there, whether its job is kept or not.
        let mut stays = 0.0;
        for job in &contest.jobs {
            let group = job.group.as_ref();
            let group =
                group.and_then(|name| contest.groups.iter().position(|group| group.name == *name));
            // Children without a value, or without which it fails, it keeps.
            let child_value = match job.needs_children {
                true => 0,
                false => job.child_value.unwrap_or(0),
            };
            let may_lose = if child_value > 0 { job.children } else { 0 };
            for number in 0..job.count {
                let worth = job.worth(number, contest);
                let mut size = job.final_mib(number, contest.seconds);
                if job.holds == Holds::Tmpfs {
                    stays += size;
                    size = 0.0;
                }
                let less = |lost: u32| {
                    let size = size - f64::from(lost * job.child_mib);
                    (worth - lost * child_value, size)
                };
                items.push(Item {
                    ways: (0..=may_lose).map(less).collect(),
                    group,
                });
                keeps.push(Keeps {
                    value: worth,
                    grows: job.grows(number, contest.seconds),
                    child_value,
                    own: worth - job.children * child_value,
                });
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "mebibytes are few")]
        let capacity = capacity_mib as f64 - stays;
        // What is in a group may be swapped out, too.
        let limits = contest.groups.iter();
        let limits: Vec<_> = limits
            .map(|group| f64::from(group.memory_mib) + f64::from(contest.swap_mib))
            .collect();
        let total = keeps.iter().map(|job| job.value).sum();
        let chosen = most_valuable(&items, &limits, capacity);
        for (job, value) in keeps.iter_mut().zip(chosen) {
            job.value = value;
        }
        Self {
            value: keeps.iter().map(|job| job.value).sum(),
            total,
            keeps,
        }
    }

    /// How many were killed that did not grow and need not have died. Where as
    /// much was kept as is possible, none.
    #[must_use]
    pub fn innocents(&self, jobs: &[Ended]) -> usize {
        if jobs.iter().map(Ended::kept).sum::<u32>() >= self.value {
            return 0;
        }
        let children = |best: &Keeps, value: u32| value.checked_div(best.child_value).unwrap_or(0);
        let innocents = |(job, best): (&Ended, &Keeps)| match job.state {
            State::Killed if best.value == 0 || best.grows => 0,
            State::Killed => 1 + children(best, best.value.saturating_sub(best.own)),
            State::Runs | State::Paused | State::Done => {
                children(best, best.value.saturating_sub(job.kept()))
            }
        };
        let all = jobs.iter().zip(&self.keeps).map(innocents);
        index(all.sum())
    }
}

/// Jobs that share a limit, and of each value the least size of a set of them.
struct Part {
    members: Vec<usize>,
    least: Vec<f64>,
    /// After each member: of each value, in which way it is in that set.
    taken: Vec<Vec<Option<usize>>>,
}

impl Part {
    fn of(items: &[Item], group: Option<usize>) -> Self {
        let of_group = |number: &usize| items[*number].group == group;
        let members: Vec<_> = (0..items.len()).filter(of_group).collect();
        let most = |number: &usize| items[*number].ways.iter().map(|(value, _)| *value).max();
        let total: usize = members.iter().filter_map(most).map(index).sum();
        let mut least = vec![f64::INFINITY; total + 1];
        least[0] = 0.0;
        let mut taken = Vec::new();
        for &member in &members {
            let mut takes = vec![None; total + 1];
            // Downwards, so that what is read is still without this member.
            for sum in (0..=total).rev() {
                for (way, &(value, size)) in items[member].ways.iter().enumerate() {
                    let Some(rest) = sum.checked_sub(index(value)) else {
                        continue;
                    };
                    if value > 0 && least[rest] + size < least[sum] {
                        least[sum] = least[rest] + size;
                        takes[sum] = Some(way);
                    }
                }
            }
            taken.push(takes);
        }
        Self {
            members,
            least,
            taken,
        }
    }

    /// Puts down what the members are worth in the least set of that value.
    fn trace(&self, mut sum: usize, items: &[Item], values: &mut [u32]) {
        for (&member, takes) in self.members.iter().zip(&self.taken).rev() {
            if let Some(way) = takes[sum] {
                let (value, _) = items[member].ways[way];
                values[member] = value;
                sum -= index(value);
            }
        }
    }
}

/// Of each item what it is worth in the most valuable set: nothing if it is not in it.
fn most_valuable(items: &[Item], limits: &[f64], capacity: f64) -> Vec<u32> {
    // First of what is in no group, then with one group more each time: of each
    // value the least size, and how much of it is in that group.
    let outside = Part::of(items, None);
    let mut least = outside.least.clone();
    let mut groups = Vec::new();
    for (group, limit) in limits.iter().enumerate() {
        let part = Part::of(items, Some(group));
        let mut with = vec![f64::INFINITY; least.len() + part.least.len() - 1];
        let mut within = vec![0; with.len()];
        let fitting = part.least.iter().enumerate();
        for (inner, inner_size) in fitting.filter(|&(_, size)| size <= limit) {
            for (outer, outer_size) in least.iter().enumerate() {
                if inner_size + outer_size < with[inner + outer] {
                    with[inner + outer] = inner_size + outer_size;
                    within[inner + outer] = inner;
                }
            }
        }
        least = with;
        groups.push((part, within));
    }
    let fits = |size: &f64| *size <= capacity;
    let mut sum = least.iter().rposition(fits).unwrap_or(0);
    let mut values = vec![0; items.len()];
    for (part, within) in groups.iter().rev() {
        part.trace(within[sum], items, &mut values);
        sum -= within[sum];
    }
    outside.trace(sum, items, &mut values);
    values
}

fn index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Best, Item, most_valuable};
    use crate::arena::{Contest, Ended, State};

    /// Tries every set.
    fn by_trying(items: &[Item], limits: &[f64], capacity: f64) -> u32 {
        fn try_all(items: &[Item], left: &mut [f64], capacity: f64) -> u32 {
            let Some((item, rest)) = items.split_first() else {
                return 0;
            };
            let mut most = try_all(rest, left, capacity);
            for &(value, size) in &item.ways {
                let fits = item.group.is_none_or(|group| size <= left[group]);
                if fits && size <= capacity {
                    let take = |left: &mut [f64], size: f64| {
                        if let Some(group) = item.group {
                            left[group] -= size;
                        }
                    };
                    take(left, size);
                    most = most.max(value + try_all(rest, left, capacity - size));
                    take(left, -size);
                }
            }
            most
        }
        try_all(items, &mut limits.to_vec(), capacity)
    }

    #[test]
    fn no_set_that_fits_is_worth_more() {
        let mut state = 1_u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        for _ in 0..200 {
            let mut item = |number: usize| Item {
                ways: (0..1 + number % 3)
                    .map(|_| (random(10), f64::from(1 + random(50))))
                    .collect(),
                group: [Some(0), Some(1), None, Some(0), None][number % 5],
            };
            let items: Vec<_> = (0..8).map(&mut item).collect();
            let limits = [random(60), random(60)].map(f64::from);
            let capacity = f64::from(random(200));
            let values = most_valuable(&items, &limits, capacity);
            // Of two ways of the same value, the smaller one.
            let size = |(item, value): (&Item, &u32)| {
                let of_value = item.ways.iter().filter(|(worth, _)| worth == value);
                let least = of_value.map(|(_, size)| *size).reduce(f64::min);
                if *value == 0 { 0.0 } else { least.unwrap() }
            };
            let taken = || items.iter().zip(&values);
            assert!(taken().map(size).sum::<f64>() <= capacity);
            for (group, limit) in limits.iter().enumerate() {
                let within = taken().filter(|(item, _)| item.group == Some(group));
                assert!(within.map(size).sum::<f64>() <= *limit);
            }
            let most = by_trying(&items, &limits, capacity);
            assert_eq!(values.iter().sum::<u32>(), most);
        }
    }

    /// Of these jobs, without swap.
    fn contest(jobs: &str) -> Contest {
        let machine = "title = ''\nsays = ''\nmemory_mib = 1024\nswap = 'none'\nseconds = 60\n";
        Contest::parse(&format!("{machine}{jobs}")).unwrap()
    }

    #[test]
    fn an_innocent_did_not_grow_and_need_not_have_died() {
        let contest = contest(
            r#"
            [[job]]
            name = "steady"
            value = 5
            start_mib = 100
            [[job]]
            name = "leak"
            value = 3
            growth_mib_s = 10
            "#,
        );
        let best = Best::of(&contest, 400);
        assert_eq!((best.value, best.total), (5, 8));
        let ended = |steady, leak| {
            [("steady", 5, steady), ("leak", 3, leak)].map(|(name, value, state)| Ended {
                name: name.to_owned(),
                value,
                state,
                passes: 0,
                worked_mib: None,
                ended_s: None,
                lost: 0,
                unsaved_hours: None,
            })
        };
        assert_eq!(best.innocents(&ended(State::Killed, State::Killed)), 1);
        assert_eq!(best.innocents(&ended(State::Runs, State::Killed)), 0);
    }

    #[test]
    fn what_fits_the_machine_may_not_fit_its_group() {
        let contest = |swap: u32| {
            let text = format!(
                r#"
                title = ""
                says = ""
                memory_mib = 1024
                swap = "disk"
                swap_mib = {swap}
                seconds = 60
                [[group]]
                name = "one"
                memory_mib = 200
                [[job]]
                name = "within"
                group = "one"
                value = 5
                start_mib = 150
                [[job]]
                name = "beside"
                group = "one"
                value = 3
                start_mib = 100
                [[job]]
                name = "outside"
                value = 2
                start_mib = 300
                "#
            );
            Contest::parse(&text).unwrap()
        };
        assert_eq!(Best::of(&contest(0), 900).value, 7);
        assert_eq!(Best::of(&contest(50), 950).value, 10);
        assert_eq!(Best::of(&contest(50), 300).value, 8);
    }

    #[test]
    fn a_child_with_a_value_can_be_lost_alone() {
        let contest = contest(
            r#"
            [[job]]
            name = "browser"
            value = 5
            start_mib = 100
            children = 4
            child_mib = 50
            child_value = 2
            "#,
        );
        let best = Best::of(&contest, 220);
        assert_eq!((best.value, best.total), (9, 13));
        let innocents = |state, lost| {
            best.innocents(&[Ended {
                name: "browser".to_owned(),
                value: 13,
                state,
                passes: 0,
                worked_mib: None,
                ended_s: None,
                lost,
                unsaved_hours: None,
            }])
        };
        assert_eq!(innocents(State::Runs, 4), 0);
        assert_eq!(innocents(State::Runs, 6), 1);
        // With the two children that could have been kept.
        assert_eq!(innocents(State::Killed, 0), 3);
    }
}
