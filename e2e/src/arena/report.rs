//! `docs/arena.md` and its pictures, from the results.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::best::Best;
use super::{Contest, Measured};

/// What one run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Which contest.
    pub contest: String,
    /// As it was then.
    pub fingerprint: u64,
    /// Which contestant.
    pub contestant: String,
    /// Which repeat, from 1.
    pub repeat: u32,
    /// Its version.
    pub kernel: String,
    /// How long it took on the host.
    pub took_s: u64,
    /// How many of the host's processors others kept busy meanwhile.
    pub others_cores: f64,
    /// Why nothing was measured.
    pub failure: Option<String>,
    /// What was.
    pub measured: Option<Measured>,
}

impl Run {
    /// For the terminal.
    #[must_use]
    pub fn in_a_line(&self, contest: &Contest) -> String {
        let Self {
            contest: name,
            contestant,
            took_s,
            others_cores,
            ..
        } = self;
        let mut line = format!("{name} · {contestant}: ");
        let _ = match (&self.measured, &self.failure) {
            (Some(measured), _) => {
                let best = best(contest, measured);
                write!(
                    line,
                    "kept {} of {} (best {}), full stall {:.1} s, kernel kills {}, innocents {}, exec {:.0}/{:.0} ms, lowest {} MiB",
                    measured.kept(),
                    best.total,
                    best.value,
                    measured.full_stall_s,
                    measured.kernel_kills,
                    best.innocents(&measured.jobs),
                    measured.exec_ms.p50,
                    measured.exec_ms.max,
                    measured.lowest_mib,
                )
            }
            (None, failure) => write!(line, "{}", failure.as_deref().unwrap_or("nothing")),
        };
        let _ = write!(line, " ({took_s} s, others {others_cores:.1} cores)");
        line
    }
}

fn best(contest: &Contest, measured: &Measured) -> Best {
    Best::of(contest, measured.available_mib + measured.swap_mib)
}

/// Paths in the repository, and texts.
#[must_use]
pub fn pages(_contests: &[(String, Contest)], _results: &[Run]) -> Vec<(String, String)> {
    Vec::new()
}
