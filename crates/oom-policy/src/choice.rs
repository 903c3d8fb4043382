//! Which units are chosen for a need.

use std::cmp::{Ordering, Reverse};

use knapsack::{Budget, Item, Workspace};
use model::{Candidate, Class, Cost};

use crate::buffer::{at, reserve_to};
use crate::together::{Choosing, Together, holders};

/// The search weighs memory in pages: 2^40 of them, the most it takes, are
/// more than any machine has.
const PAGE: u64 = 4096;

/// Chooses among candidates, in buffers kept from one choice to the next.
#[derive(Debug)]
pub(crate) struct Choice {
    workspace: Workspace,
    capacity: usize,
    items: Vec<Item>,
    /// Per item: its candidate.
    candidate_of: Vec<u32>,
    /// Candidates of one class, by cost and what they free.
    order: Vec<u32>,
    together: Together,
}

/// The least that a choice costs which has the candidate at `with`, of those that
/// cover `need_bytes`: its candidates, or `None` where none does. Takes memory.
#[must_use]
pub fn cheapest_with(
    candidates: &[Candidate],
    with: usize,
    need_bytes: u64,
) -> Option<Vec<Candidate>> {
    let mut all = candidates.to_vec();
    for (index, it) in all.iter_mut().enumerate() {
        it.chosen = index == with;
    }
    end_together(&mut all);
    completed(all, need_bytes)
}

/// The same of the choices that do not have the candidate at `without`.
#[must_use]
pub fn cheapest_without(
    candidates: &[Candidate],
    without: usize,
    need_bytes: u64,
) -> Option<Vec<Candidate>> {
    let mut is_kept = vec![false; candidates.len()];
    *is_kept.get_mut(without)? = true;
    // What its end would follow from is kept too.
    let number = u32::try_from(without).ok()?;
    for holder in holders(candidates, number) {
        is_kept[at(holder)] = true;
    }
    let mut places = 0..;
    let place_of: Vec<Option<u32>> = is_kept
        .iter()
        .map(|kept| (!kept).then(|| places.next()).flatten())
        .collect();
    let others = candidates.iter().zip(&is_kept).filter(|(_, kept)| !**kept);
    let others = others.map(|(it, _)| Candidate {
        ends_with: it.ends_with.and_then(|holder| place_of[at(holder)]),
        chosen: false,
        ..*it
    });
    completed(others.collect(), need_bytes)
}

/// What is chosen of `all`, and what covers the rest of `need_bytes` for the least.
fn completed(mut all: Vec<Candidate>, need_bytes: u64) -> Option<Vec<Candidate>> {
    let chosen_of = |all: &[Candidate]| -> u64 {
        let chosen = all.iter().filter(|it| it.chosen);
        chosen.fold(0, |sum, it| sum.saturating_add(it.frees_bytes))
    };
    let left = need_bytes.saturating_sub(chosen_of(&all));
    let open: Vec<_> = all.iter().filter(|it| !it.chosen).copied().collect();
    let mut choice = Choice::with_capacity(all.len());
    choice.reserve(all.len());
    if left > 0 {
        choice.cover(&mut all, left, Frees::of(&open), Budget::default());
    }
    let covers = need_bytes <= chosen_of(&all);
    covers.then(|| all.into_iter().filter(|it| it.chosen).collect())
}

/// What killing all candidates of each class would free, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Frees {
    pub(crate) ordinary: u64,
    pub(crate) system: u64,
}

impl Frees {
    pub(crate) fn of(candidates: &[Candidate]) -> Self {
        let mut frees = Self::default();
        for candidate in candidates {
            let sum = match candidate.class {
                Class::Ordinary => &mut frees.ordinary,
                Class::System => &mut frees.system,
            };
            *sum = sum.saturating_add(whole_pages(candidate.frees_bytes));
        }
        frees
    }
}

impl Choice {
    pub(crate) fn with_capacity(processes: usize) -> Self {
        Self {
            workspace: Workspace::with_capacity(processes.min(Workspace::MAX_ITEMS)),
            capacity: processes,
            items: Vec::with_capacity(processes),
            candidate_of: Vec::with_capacity(processes),
            order: Vec::with_capacity(processes),
            together: Together::default(),
        }
    }

    pub(crate) fn reserve(&mut self, processes: usize) {
        if self.capacity < processes {
            self.workspace = Workspace::with_capacity(processes.min(Workspace::MAX_ITEMS));
            self.capacity = processes;
        }
        reserve_to(&mut self.items, processes);
        reserve_to(&mut self.candidate_of, processes);
        reserve_to(&mut self.order, processes);
        self.together.reserve(processes);
    }

    /// Room for two sums for each of so many.
    pub(crate) fn sums(&mut self, count: usize) -> &mut [(u64, u64)] {
        self.together.sums(count)
    }

    /// Writes to all the memory that a choice may need.
    pub(crate) fn touch(&mut self) {
        self.workspace.touch();
    }

    /// Chooses the best set that covers `need`, which both classes together
    /// can. Ordinary candidates alone when they suffice; else first the least
    /// that the system class must add, then among the ordinary ones what is
    /// still needed. Returns the proved gap to the least cost.
    pub(crate) fn cover(
        &mut self,
        candidates: &mut [Candidate],
        need_bytes: u64,
        frees: Frees,
        budget: Budget,
    ) -> Cost {
        let missing = need_bytes.saturating_sub(frees.ordinary);
        let mut gap = Cost::ZERO;
        let mut left = need_bytes;
        if missing > 0 {
            gap = self.cover_within(candidates, Class::System, missing, budget);
            end_together(candidates);
            left = left.saturating_sub(chosen_bytes(candidates, Class::System));
            left = left.saturating_sub(chosen_bytes(candidates, Class::Ordinary));
        }
        [
            gap,
            self.cover_within(candidates, Class::Ordinary, left, budget),
        ]
        .into_iter()
        .sum()
    }

    fn cover_within(
        &mut self,
        candidates: &mut [Candidate],
        class: Class,
        need_bytes: u64,
        budget: Budget,
    ) -> Cost {
        if need_bytes == 0 {
            return Cost::ZERO;
        }
        let before = chosen_bytes(candidates, class);
        let takes_part = |it: &&Candidate| it.class == class && !it.chosen;
        let count = candidates.iter().filter(takes_part).count();
        let gap = if count > Workspace::MAX_ITEMS {
            self.cover_greedily(candidates, class, need_bytes);
            end_together(candidates);
            chosen_cost(candidates, class)
        } else {
            let parts = self.together.choose(Choosing {
                candidates,
                class,
                need_pages: need_bytes.div_ceil(PAGE),
                budget,
                workspace: &mut self.workspace,
                items: &mut self.items,
                candidate_of: &mut self.candidate_of,
            });
            for (index, candidate) in (0..).zip(candidates.iter_mut()) {
                candidate.chosen |= self.together.has(index);
            }
            Cost::from_parts(parts)
        };
        self.prefer_the_youngest(candidates, class, before.saturating_add(need_bytes));
        gap
    }

    /// Chooses the one ordinary candidate that frees the most for its cost, with
    /// all that ends with it.
    pub(crate) fn choose_one(&mut self, candidates: &mut [Candidate]) {
        let whole = self.together.sum_up(candidates, |_| true);
        let rated = |index: &u32| {
            let (frees_bytes, cost) = whole[at(*index)];
            let start_ticks = candidates[at(*index)].leader.start_ticks;
            (frees_bytes, Cost::from_parts(cost), start_ticks)
        };
        let is_eligible = |index: &u32| {
            let candidate = &candidates[at(*index)];
            candidate.class == Class::Ordinary && !candidate.chosen && rated(index).0 > 0
        };
        let indices = 0..u32::try_from(candidates.len()).unwrap_or(u32::MAX);
        let best = indices.filter(is_eligible).max_by(|one, other| {
            let (one, other) = (rated(one), rated(other));
            rate((one.0, one.1), (other.0, other.1)).then(one.2.cmp(&other.2))
        });
        if let Some(best) = best {
            candidates[at(best)].chosen = true;
            end_together(candidates);
        }
    }

    /// Without the search, for more candidates than it takes (a fork bomb):
    /// those that cost the least for what they free, until it is enough; then,
    /// dearest first, those that turn out not to be needed are left out.
    fn cover_greedily(&mut self, candidates: &mut [Candidate], class: Class, need_bytes: u64) {
        self.order_by(candidates, class, false, |one, other| {
            frees_for_value(other, one)
        });
        let mut sum: u64 = 0;
        for index in &self.order {
            if sum >= need_bytes {
                break;
            }
            let candidate = &mut candidates[at(*index)];
            candidate.chosen = true;
            sum = sum.saturating_add(whole_pages(candidate.frees_bytes));
        }
        self.order.retain(|index| candidates[at(*index)].chosen);
        self.order
            .sort_unstable_by_key(|index| Reverse(candidates[at(*index)].explanation.cost));
        for index in &self.order {
            let candidate = &mut candidates[at(*index)];
            let without = sum.saturating_sub(whole_pages(candidate.frees_bytes));
            if without >= need_bytes {
                candidate.chosen = false;
                sum = without;
            }
        }
    }

    /// Exchanges the chosen for younger candidates that cost and free the same,
    /// as long as the need stays covered: the least work is lost with them.
    fn prefer_the_youngest(&mut self, candidates: &mut [Candidate], class: Class, need_bytes: u64) {
        self.order_by(candidates, class, true, |one, other| {
            let key = |this: &Candidate| (likeness(this), this.leader.start_ticks);
            key(one).cmp(&key(other))
        });
        let mut spare = chosen_bytes(candidates, class).saturating_sub(need_bytes);
        let mut rest = self.order.as_slice();
        while let Some(first) = rest.first() {
            let same = likeness(&candidates[at(*first)]);
            let len = rest
                .iter()
                .take_while(|other| likeness(&candidates[at(**other)]) == same)
                .count();
            let (chunk, after) = rest.split_at(len);
            rest = after;
            spare = exchange(candidates, chunk, spare);
        }
    }

    fn order_by(
        &mut self,
        candidates: &[Candidate],
        class: Class,
        alone: bool,
        mut by: impl FnMut(&Candidate, &Candidate) -> Ordering,
    ) {
        self.order.clear();
        for (index, candidate) in (0..).zip(candidates) {
            // What ends with another, or ends others, is not exchanged.
            let is_alone = candidate.ends == 0 && candidate.ends_with.is_none();
            if candidate.class == class && (is_alone || !alone) {
                self.order.push(index);
            }
        }
        self.order
            .sort_unstable_by(|one, other| by(&candidates[at(*one)], &candidates[at(*other)]));
    }
}

/// Among candidates that are alike, oldest first, exchanges the oldest chosen
/// for the youngest that are not, as long as that frees at most `spare_bytes`
/// less. Returns what is left of those.
fn exchange(candidates: &mut [Candidate], alike: &[u32], mut spare_bytes: u64) -> u64 {
    let mut old = 0;
    let mut young = alike.len();
    while let Some(last) = young.checked_sub(1).filter(|last| old < *last) {
        let (chosen, other) = (at(alike[old]), at(alike[last]));
        if !candidates[chosen].chosen {
            old += 1;
            continue;
        }
        young = last;
        let gave = whole_pages(candidates[chosen].frees_bytes);
        let gives = whole_pages(candidates[other].frees_bytes);
        let is_younger =
            candidates[other].leader.start_ticks > candidates[chosen].leader.start_ticks;
        if candidates[other].chosen || !is_younger || gave.saturating_sub(gives) > spare_bytes {
            continue;
        }
        candidates[chosen].chosen = false;
        candidates[other].chosen = true;
        spare_bytes = spare_bytes.saturating_add(gives).saturating_sub(gave);
        old += 1;
    }
    spare_bytes
}

/// What the search knows of a candidate.
pub(crate) fn item(candidate: &Candidate) -> Item {
    Item {
        weight: (candidate.frees_bytes / PAGE).min(Item::MAX_WEIGHT),
        value: candidate.explanation.cost.parts().min(Item::MAX_VALUE),
    }
}

/// Chooses all that ends with what is chosen.
fn end_together(candidates: &mut [Candidate]) {
    for index in 0..candidates.len() {
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        if holders(candidates, number).any(|holder| candidates[at(holder)].chosen) {
            candidates[index].chosen = true;
        }
    }
}

fn frees_for_value(one: &Candidate, other: &Candidate) -> Ordering {
    let rated = |unit: &Candidate| (unit.frees_bytes, unit.explanation.cost);
    rate(rated(one), rated(other)).then(one.leader.start_ticks.cmp(&other.leader.start_ticks))
}

/// Which of two frees more for its cost; at the same rate, which frees more.
pub(crate) fn rate(one: (u64, Cost), other: (u64, Cost)) -> Ordering {
    // One more than the cost: what costs nothing is still told apart by yield.
    let times = |(frees_bytes, _): (u64, Cost), (_, cost): (u64, Cost)| {
        u128::from(frees_bytes) * (u128::from(cost.parts()) + 1)
    };
    times(one, other)
        .cmp(&times(other, one))
        .then(one.0.cmp(&other.0))
}

/// Candidates of one likeness cost the same and free about the same: what they
/// free agrees in the first six binary digits.
fn likeness(candidate: &Candidate) -> (Cost, u64) {
    let bytes = candidate.frees_bytes;
    let dropped = 58_u32.saturating_sub(bytes.leading_zeros());
    (candidate.explanation.cost, (bytes >> dropped) << dropped)
}

fn chosen_bytes(candidates: &[Candidate], class: Class) -> u64 {
    candidates
        .iter()
        .filter(|candidate| candidate.chosen && candidate.class == class)
        .fold(0, |sum, candidate| {
            u64::saturating_add(sum, whole_pages(candidate.frees_bytes))
        })
}

fn chosen_cost(candidates: &[Candidate], class: Class) -> Cost {
    candidates
        .iter()
        .filter(|candidate| candidate.chosen && candidate.class == class)
        .map(|candidate| candidate.explanation.cost)
        .sum()
}

/// What the search counts of `bytes`.
fn whole_pages(bytes: u64) -> u64 {
    (bytes / PAGE).min(Item::MAX_WEIGHT) * PAGE
}
