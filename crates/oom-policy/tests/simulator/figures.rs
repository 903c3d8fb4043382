//! What many machines come to.

use oom_policy::Settings;

use super::best::best;
use super::contest::{Contestant, Outcome, run};
use super::scenario::{Scenario, Trouble};

/// One contestant on one machine.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    pub seed: u64,
    pub trouble: Trouble,
    /// Value kept, as a part of the best.
    pub kept: f64,
    pub kernel_kills: usize,
    pub innocents: usize,
    pub choices: usize,
    pub unproved: usize,
    pub surprises: usize,
}

impl Trial {
    pub fn of(scenario: &Scenario, best: &[bool], outcome: &Outcome) -> Self {
        let kept = scenario.workloads.iter().zip(best);
        let kept = kept.filter(|(_, kept)| **kept);
        let most: u64 = kept.map(|(workload, _)| workload.worth).sum();
        let (choices, unproved) = outcome.choices();
        Self {
            seed: scenario.seed,
            trouble: scenario.trouble(),
            kept: if most == 0 {
                1.0
            } else {
                outcome.kept.min(most) as f64 / most as f64
            },
            kernel_kills: outcome.kernel_kills,
            innocents: outcome.innocents,
            choices,
            unproved,
            surprises: outcome.surprises(),
        }
    }
}

/// Each of `contestants` on the machine of this seed.
pub fn trials(
    seed: u64,
    jobs: Option<usize>,
    contestants: &[Contestant],
    settings: &Settings,
) -> Vec<Trial> {
    let scenario = Scenario::new(seed, jobs);
    let best = best(&scenario);
    let contestants = contestants.iter();
    contestants
        .map(|contestant| Trial::of(&scenario, &best, &run(&scenario, *contestant, settings)))
        .collect()
}

/// One contestant on many machines.
#[derive(Debug)]
pub struct Figures {
    /// The worst first.
    pub trials: Vec<Trial>,
}

impl Figures {
    pub fn of(mut trials: Vec<Trial>) -> Self {
        trials.sort_by(|one, other| {
            let order = one.kept.total_cmp(&other.kept);
            order.then(one.seed.cmp(&other.seed))
        });
        Self { trials }
    }

    /// Those of the machines with this trouble.
    pub fn with(&self, trouble: Trouble) -> Self {
        let trials = self.trials.iter().copied();
        Self {
            trials: trials.filter(|trial| trial.trouble == trouble).collect(),
        }
    }

    pub fn mean(&self) -> f64 {
        let kept = self.trials.iter().map(|trial| trial.kept);
        kept.sum::<f64>() / self.trials.len() as f64
    }

    pub fn worst(&self) -> f64 {
        self.at_permille(0)
    }

    /// What so many of a thousand machines do not exceed.
    pub fn at_permille(&self, permille: usize) -> f64 {
        let last = self.trials.len().saturating_sub(1);
        let trial = self.trials.get(last * permille / 1000);
        trial.map_or(1.0, |trial| trial.kept)
    }

    pub fn sum(&self, of: impl Fn(&Trial) -> usize) -> usize {
        self.trials.iter().map(of).sum()
    }
}

/// The policy as its user sets it, but for pausing: see [`super`].
pub fn settings() -> Settings {
    Settings {
        pause: false,
        ..Settings::default()
    }
}
