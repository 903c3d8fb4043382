//! The value of a unit, and what killing it costs.

use std::mem;

use model::{Basis, Blame, Class, Cost, Explanation, Memory, Preference, Process, Taker};

use crate::buffer::{at, reserve_to};
use crate::growth::{self, Fall};
use crate::levels::share;
use crate::lineage::Group;
use crate::settings::{MAX_VALUE, Settings};
use crate::units::{Standing, Unit};

/// No unit's share is more than so many times what it would be by number.
const MOST_SHARES: u64 = 4;

/// Unregistered, this or less is killed last; −1000 never is. Kubernetes gives
/// its guaranteed pods −997, and systemd its own daemons −900.
const LAST: i16 = -900;

/// So far from 0, an `oom_score_adj` would change what is not registered by all of
/// its share: +1000 takes a quarter off.
const WHOLE_SHARE: i64 = 4000;

/// Growth by this part of all memory within a minute makes a bomb.
const BOMB: u64 = 20;

/// What takes more within so many seconds than could be freed for it outgrows memory.
const OUTGROWS_WITHIN: u64 = 45;

/// Weighs each group as a whole: shares its default value among its unregistered
/// units, and finds those that took part where it took memory.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// The units that share a value, by group.
    order: Vec<(Group, u32)>,
}

/// What a unit is to its group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Its share of the group's 1.
    share: Cost,
    /// The group is growing, and it took part.
    is_growing: bool,
    /// The group grew like a bomb, and it took part.
    is_bomb: bool,
}

impl Default for Part {
    /// Of no group.
    fn default() -> Self {
        Self {
            share: Cost::ONE,
            is_growing: false,
            is_bomb: false,
        }
    }
}

/// What the units of a group come to, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    units: u64,
    held: u64,
    recent: u64,
    minute: u64,
    per_second: u64,
}

impl Sum {
    fn add(self, unit: &Unit) -> Self {
        let growth = &unit.growth;
        Self {
            units: self.units + 1,
            held: self.held.saturating_add(unit.held_bytes()),
            recent: self.recent.saturating_add(growth.recent_bytes),
            minute: self.minute.saturating_add(growth.minute_bytes),
            per_second: self.per_second.saturating_add(growth.bytes_per_second),
        }
    }
}

impl Groups {
    pub(crate) fn reserve(&mut self, processes: usize) {
        reserve_to(&mut self.order, processes);
    }

    /// Writes to each unit what it is to its group, and whether it outgrows memory.
    pub(crate) fn sum(&mut self, memory: &Memory, units: &mut [Unit]) {
        self.order.clear();
        let mut all = Sum::default();
        let mut could_be_free = memory.pool_bytes();
        for (index, unit) in (0..).zip(units.iter()) {
            all = all.add(unit);
            if unit.standing == Standing::Free {
                could_be_free = could_be_free.saturating_add(unit.held_bytes());
            }
            if shares_default(unit) {
                self.order.push((unit.group, index));
            }
        }
        for unit in units.iter_mut() {
            let (growth, left) = (
                &unit.growth,
                could_be_free.saturating_sub(unit.held_bytes()),
            );
            let takes = growth
                .steady_bytes_per_second
                .saturating_mul(OUTGROWS_WITHIN);
            unit.outgrows = growth.is_growing && left < takes;
        }
        self.order.sort_unstable();
        for group in self.order.chunk_by(|one, other| one.0 == other.0) {
            let members = group.iter().map(|(_, index)| &units[at(*index)]);
            let sum = members.fold(Sum::default(), Sum::add);
            let is_growing = growth::is_noticed(sum.recent, memory)
                && growth::is_a_tenth(sum.recent, all.recent)
                && sum.per_second > 0
                && growth::is_a_tenth(sum.per_second, all.per_second);
            let is_bomb = is_bomb(memory, sum.minute);
            for (_, index) in group {
                let unit = &mut units[at(*index)];
                unit.part = Part {
                    share: part_of_one(unit, &sum),
                    is_growing: is_growing && unit.growth.took_part,
                    is_bomb: is_bomb && unit.growth.took_part,
                };
            }
        }
    }
}

impl Groups {
    /// What units that are never chosen took of what memory fell by since it was
    /// enough, where that is much.
    pub(crate) fn blame(
        &mut self,
        settings: &Settings,
        memory: &Memory,
        units: &[Unit],
        processes: &[Process],
        fall: Fall,
    ) -> Option<Blame> {
        self.order.clear();
        let mut grown_bytes: u64 = 0;
        for (index, unit) in (0..).zip(units) {
            let is_other = class(settings, memory, unit).is_none();
            if is_other && unit.standing != Standing::Dying && unit.growth.short_bytes > 0 {
                grown_bytes = grown_bytes.saturating_add(unit.growth.short_bytes);
                self.order.push((unit.group, index));
            }
        }
        let taken_bytes = fall.taken(grown_bytes);
        if !memory.is_noticeable(taken_bytes) || !growth::is_a_tenth(taken_bytes, fall.fell_bytes) {
            return None;
        }
        self.order.sort_unstable();
        let mut takers = [None; Blame::NAMED];
        for group in self.order.chunk_by(|one, other| one.0 == other.0) {
            let members = || group.iter().map(|(_, index)| &units[at(*index)]);
            let most = members().max_by_key(|unit| unit.growth.short_bytes)?;
            let leader = &processes[at(most.leader)];
            let mut taker = Some(Taker {
                id: leader.id,
                name: leader.name,
                uid: leader.uid,
                processes: members().map(|unit| unit.processes).sum(),
                taken_bytes: share(
                    taken_bytes,
                    grown_bytes,
                    members().map(|unit| unit.growth.short_bytes).sum(),
                ),
            });
            let bytes = |taker: Option<Taker>| taker.map_or(0, |taker| taker.taken_bytes);
            for place in &mut takers {
                if bytes(*place) < bytes(taker) {
                    mem::swap(place, &mut taker);
                }
            }
        }
        Some(Blame {
            fell_bytes: fall.fell_bytes,
            taken_bytes,
            takers,
        })
    }
}

/// A unit's share of its group's 1, scaled: by what it holds, with limits for
/// units far larger and far smaller than the others, so that of a thousand small
/// ones and one that fills memory, that one costs least. Rounded down, so that forty
/// thousand forks together count for no more than 1.
fn part_of_one(unit: &Unit, group: &Sum) -> Cost {
    let parts = |part: u64, of: u64| {
        let scaled = u128::from(part) * u128::from(Cost::PARTS) / u128::from(of.max(1));
        u64::try_from(scaled).unwrap_or(Cost::PARTS)
    };
    let least = parts(1, group.units).min(1);
    let most = parts(MOST_SHARES, group.units).min(Cost::PARTS);
    Cost::from_parts(parts(unit.held_bytes(), group.held).clamp(least, most))
}

fn is_bomb(memory: &Memory, minute_bytes: u64) -> bool {
    memory.total_bytes > 0 && minute_bytes >= memory.total_bytes.div_ceil(BOMB)
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
    let is_bomb = unit.part.is_bomb || is_bomb(memory, unit.growth.minute_bytes);
    let last = unit.critical
        || unit.preference == Preference::Avoid
        || (unit.preference == Preference::None && unit.oom_score_adj <= LAST)
        || (unit.system && unit.preference != Preference::Prefer && !is_bomb);
    Some(if last { Class::System } else { Class::Ordinary })
}

/// What killing a unit costs.
pub(crate) fn explain(unit: &Unit) -> Explanation {
    let explanation = explain_as(unit, unit.growth.is_growing || unit.part.is_growing);
    match unit.outgrows {
        true => explanation.outgrowing(),
        false => explanation,
    }
}

/// What pausing a unit costs, or costs to undo: what was paused while it grew is
/// expected to grow on, and counts half as long as that cannot be seen. Else a leak
/// would be worth its whole value as soon as it stands still. There will be room again
/// for what outgrows memory now.
///
/// Where all load, one worth 9 comes to as much as one worth 5 that loads and one worth
/// 2 that does not: those go first.
pub(crate) fn explain_pause(unit: &Unit) -> Explanation {
    let is_growing = unit.grows_on || unit.part.is_growing || unit.grew;
    explain_as(unit, is_growing).by_value_where_even()
}

fn explain_as(unit: &Unit, is_growing: bool) -> Explanation {
    let basis = match unit.value {
        Some(value) => Basis::Value(value.min(MAX_VALUE)),
        // The last of its class.
        None if unit.critical => Basis::Critical(Cost::of_value(MAX_VALUE)),
        None if unit.preference == Preference::Prefer => Basis::Preferred,
        None => hinted(unit),
    };
    Explanation::new(basis, is_growing, unit.growth.penalty)
}

/// A unit's share, as its `oom_score_adj` changes it: among equals, the higher goes
/// first.
fn hinted(unit: &Unit) -> Basis {
    let (share, oom_score_adj) = (unit.part.share, unit.oom_score_adj);
    if oom_score_adj == 0 || unit.preference != Preference::None {
        return Basis::Share(share);
    }
    let cost = if oom_score_adj <= LAST {
        Cost::of_value(MAX_VALUE)
    } else {
        let parts = i64::try_from(share.parts()).unwrap_or(i64::MAX);
        let left = parts.saturating_mul(WHOLE_SHARE - i64::from(oom_score_adj)) / WHOLE_SHARE;
        Cost::from_parts(u64::try_from(left).unwrap_or_default())
    };
    Basis::Hinted {
        cost,
        oom_score_adj,
    }
}
