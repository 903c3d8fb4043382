//! What a unit is worth, and how that is counted.

use model::{Class, Memory, Preference, SessionId, Worth};

use crate::settings::Settings;
use crate::units::{Standing, Unit, reserve_to};

/// The most an entry is worth.
pub(crate) const MAX_VALUE: u32 = 1_000_000;

/// Values are counted in these parts of 1, so that what shares a value of 1
/// can be told apart. 10^6 × 4096 is below 2^32, the most the search takes.
pub(crate) const SCALE: u64 = 4096;

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
    /// down, so that forty thousand forks together are worth no more than 1.
    fn share(&self, unit: &Unit) -> u64 {
        let Ok(found) = self
            .held
            .binary_search_by_key(&unit.session, |(session, _)| *session)
        else {
            return SCALE;
        };
        let all = u128::from(self.held[found].1.max(1));
        let scaled = u128::from(unit.held_bytes()) * u128::from(SCALE);
        u64::try_from(scaled / all).map_or(SCALE, |share| share.min(SCALE))
    }
}

fn shares_default(unit: &Unit) -> bool {
    unit.standing == Standing::Free
        && unit.value.is_none()
        && !unit.critical
        && unit.preference != Preference::Prefer
}

/// With whom a unit is judged, or `None` when it is left alone.
pub(crate) fn class(settings: &Settings, memory: &Memory, unit: &Unit) -> Option<Class> {
    if unit.standing != Standing::Free {
        return None;
    }
    if unit.value.is_some() {
        return Some(Class::Judged);
    }
    if settings.registered_only {
        return None;
    }
    let is_bomb =
        memory.total_bytes > 0 && unit.growth.minute_bytes >= memory.total_bytes.div_ceil(BOMB);
    let last = unit.critical
        || unit.preference == Preference::Avoid
        || (unit.system && unit.preference != Preference::Prefer && !is_bomb);
    Some(if last { Class::System } else { Class::Judged })
}

/// What a unit's end costs as given, scaled, and how it is counted.
pub(crate) fn worth(sessions: &Sessions, unit: &Unit) -> (u64, Worth) {
    let (given, scaled) = match unit.value {
        Some(value) => {
            let value = value.min(MAX_VALUE);
            (value, u64::from(value) * SCALE)
        }
        // Judged last of the last.
        None if unit.critical => (1, u64::from(MAX_VALUE) * SCALE),
        None if unit.preference == Preference::Prefer => (0, 0),
        None => (1, sessions.share(unit)),
    };
    let growing = unit.growth.is_growing;
    let counted = if growing { scaled / 2 } else { scaled };
    let worth = Worth {
        given,
        registered: unit.value.is_some(),
        growing,
        charged: unit.growth.charged,
        counted: counted.saturating_sub(unit.growth.charged),
    };
    (scaled, worth)
}
