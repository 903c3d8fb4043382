//! The most value that could be kept by a choice that knows the future.

use super::scenario::Scenario;

/// The set of greatest worth that fits at all times, as described in
/// [`super`]; which it is, by workload.
///
/// All sets are looked at, but for those of which it is known that none is
/// better: the most worth first, where even all that is left would not do; and
/// where an equal one was left out before, this one is left out too.
pub fn best(scenario: &Scenario) -> Vec<bool> {
    let turns = scenario.turns();
    let workloads = &scenario.workloads;
    let mut rivals: Vec<Rival> = (0..workloads.len())
        .filter(|index| workloads[*index].worth > 0)
        .map(|index| Rival {
            index,
            worth: workloads[index].worth,
            holds: turns
                .iter()
                .map(|turn| scenario.used(*turn, |other| other == index))
                .map(|used| used - scenario.used(turns[0], |_| false))
                .collect(),
        })
        .collect();
    rivals.sort_by(|one, other| (other.worth, &one.holds).cmp(&(one.worth, &other.holds)));
    let mut search = Search {
        rivals: &rivals,
        left: scenario.capacity() - scenario.used(turns[0], |_| false),
        used: vec![0; turns.len()],
        kept: vec![false; rivals.len()],
        best_worth: 0,
        best: vec![false; rivals.len()],
    };
    search.from(0, 0, rivals.iter().map(|rival| rival.worth).sum());
    let mut best = vec![false; workloads.len()];
    for (rival, kept) in rivals.iter().zip(&search.best) {
        best[rival.index] = *kept;
    }
    best
}

/// What of [`Scenario`] is worth something.
struct Rival {
    index: usize,
    worth: u64,
    /// At each turn, in bytes.
    holds: Vec<u64>,
}

struct Search<'a> {
    rivals: &'a [Rival],
    left: u64,
    used: Vec<u64>,
    kept: Vec<bool>,
    best_worth: u64,
    best: Vec<bool>,
}

impl Search<'_> {
    fn from(&mut self, next: usize, worth: u64, to_come: u64) {
        if worth > self.best_worth {
            self.best_worth = worth;
            self.best.clone_from(&self.kept);
        }
        if next == self.rivals.len() || worth + to_come <= self.best_worth {
            return;
        }
        let rival = &self.rivals[next];
        let to_come = to_come - rival.worth;
        let is_like_the_last = next > 0 && {
            let last = &self.rivals[next - 1];
            !self.kept[next - 1] && last.worth == rival.worth && last.holds == rival.holds
        };
        let sums = || {
            self.used
                .iter()
                .zip(&rival.holds)
                .map(|(used, holds)| used + holds)
        };
        if !is_like_the_last && sums().all(|sum| sum <= self.left) {
            let with = sums().collect();
            let without = std::mem::replace(&mut self.used, with);
            self.kept[next] = true;
            self.from(next + 1, worth + rival.worth, to_come);
            self.kept[next] = false;
            self.used = without;
        }
        self.from(next + 1, worth, to_come);
    }
}
