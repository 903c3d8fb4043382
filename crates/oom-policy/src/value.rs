//! The value of a unit, and what killing it costs.

use model::{Basis, Class, Cost, Explanation, Memory, Preference, SessionId};

use crate::buffer::reserve_to;
use crate::settings::{MAX_VALUE, Settings};
use crate::units::{Standing, Unit};

/// Growth by this part of all memory within a minute makes a bomb.
const BOMB: u64 = 20;

/// Shares the default value of each session among its unregistered units.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// Sorted; what a session's unregistered units hold, in bytes.
    held: Vec<(SessionId, u64)>,
}

impl Sessions {
    pub(crate) fn reserve(&mut self, processes: usize) {
        reserve_to(&mut self.held, processes);
    }

    pub(crate) fn sum(&mut self, units: &[Unit]) {
        self.held.clear();
        for unit in units.iter().filter(|unit| shares_default(unit)) {
            self.held.push((unit.session, unit.held_bytes()));
        }
        self.held.sort_unstable();
        self.held.dedup_by(|next, first| {
            let same = next.0 == first.0;
            if same {
                first.1 = first.1.saturating_add(next.1);
            }
            same
        });
    }

    /// The unit's share of its session's 1, scaled, by what it holds; rounded
    /// down, so that forty thousand forks together count for no more than 1.
    fn share(&self, unit: &Unit) -> Cost {
        let Ok(found) = self
            .held
            .binary_search_by_key(&unit.session, |(session, _)| *session)
        else {
            return Cost::ONE;
        };
        let all = u128::from(self.held[found].1.max(1));
        let scaled = u128::from(unit.held_bytes()) * u128::from(Cost::PARTS);
        u64::try_from(scaled / all)
            .map_or(Cost::ONE, |parts| Cost::from_parts(parts).min(Cost::ONE))
    }
}

fn shares_default(unit: &Unit) -> bool {
    unit.standing == Standing::Free
        && unit.value.is_none()
        && !unit.critical
        && unit.preference != Preference::Prefer
}

/// The class of a unit, or `None` when it is left alone.
pub(crate) fn class(settings: &Settings, memory: &Memory, unit: &Unit) -> Option<Class> {
    if unit.standing != Standing::Free {
        return None;
    }
    if unit.value.is_some() {
        return Some(Class::Ordinary);
    }
    if settings.registered_only {
        return None;
    }
    let is_bomb =
        memory.total_bytes > 0 && unit.growth.minute_bytes >= memory.total_bytes.div_ceil(BOMB);
    let last = unit.critical
        || unit.preference == Preference::Avoid
        || (unit.system && unit.preference != Preference::Prefer && !is_bomb);
    Some(if last { Class::System } else { Class::Ordinary })
}

/// What killing a unit costs.
pub(crate) fn explain(sessions: &Sessions, unit: &Unit) -> Explanation {
    let basis = match unit.value {
        Some(value) => Basis::Value(value.min(MAX_VALUE)),
        // The last of its class.
        None if unit.critical => Basis::Critical(Cost::of_value(MAX_VALUE)),
        None if unit.preference == Preference::Prefer => Basis::Preferred,
        None => Basis::Share(sessions.share(unit)),
    };
    Explanation::new(basis, unit.growth.is_growing, unit.growth.penalty)
}
