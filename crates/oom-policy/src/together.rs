//! Which set is chosen where killing one candidate ends others too.
//!
//! The search knows nothing of that, so it is asked first as if each ended
//! alone: what it finds costs no more than the best set. Where that happens to
//! have all that ends with each that it has, it is the best set. Else one that
//! lacks some, a *holder*, is looked at twice: without it, and with all that
//! ends with it; and each of the two likewise (branch and bound). What cannot be
//! better than the best set known is not looked into.
//!
//! So many searches are made and no more; the least cost that what is left could
//! have is remembered, and bounds the gap.

use std::cmp::Reverse;
use std::iter;

use knapsack::{Budget, Item, Workspace};
use model::{Candidate, Class};

use crate::buffer::{at, reserve_to};
use crate::choice::item;

/// So many searches among few candidates, and fewer among many, so that they
/// take no longer.
const MOST_SEARCHES: usize = 64;
const LEAST_SEARCHES: usize = 4;
const ITEMS_SEARCHED: usize = 32_000;

/// What is chosen from, and by what.
pub(crate) struct Choosing<'a> {
    pub(crate) candidates: &'a [Candidate],
    pub(crate) class: Class,
    pub(crate) need_pages: u64,
    pub(crate) budget: Budget,
    pub(crate) workspace: &'a mut Workspace,
    pub(crate) items: &'a mut Vec<Item>,
    pub(crate) candidate_of: &'a mut Vec<u32>,
}

/// Buffers, kept from one choice to the next. Vectors are per candidate.
#[derive(Debug, Default)]
pub(crate) struct Together {
    fixed: Vec<Fixed>,
    /// Those fixed, in order, to be undone.
    trail: Vec<u32>,
    /// What the last search took.
    picked: Vec<bool>,
    /// Two sums over what ends with it.
    below: Vec<(u64, u64)>,
    best: Vec<bool>,
    best_sum: Option<SetSum>,
    /// The least that what was not looked into could cost.
    unseen: u64,
    searches: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fixed {
    Open,
    In,
    Out,
}

/// Of a set: the less, the better it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct SetSum {
    cost: u64,
    units: u32,
    freed: Reverse<u64>,
}

impl SetSum {
    fn add(&mut self, candidate: &Candidate) {
        let item = item(candidate);
        self.cost += item.value;
        self.units += 1;
        self.freed.0 += item.weight;
    }
}

/// The candidates whose end ends this one: its holder, that one's, and so on.
pub(crate) fn holders(candidates: &[Candidate], index: u32) -> impl Iterator<Item = u32> {
    let above = move |index: &u32| candidates[at(*index)].ends_with;
    iter::successors(above(&index), above)
}

impl Choosing<'_> {
    fn takes_part(&self, candidate: &Candidate) -> bool {
        candidate.class == self.class && !candidate.chosen
    }

    fn indices(&self) -> impl Iterator<Item = u32> + use<> {
        let len = u32::try_from(self.candidates.len()).unwrap_or(u32::MAX);
        0..len
    }
}

impl Together {
    pub(crate) fn reserve(&mut self, candidates: usize) {
        reserve_to(&mut self.fixed, candidates);
        reserve_to(&mut self.trail, candidates);
        reserve_to(&mut self.picked, candidates);
        reserve_to(&mut self.below, candidates);
        reserve_to(&mut self.best, candidates);
    }

    /// Finds the best set that covers the need, which all together do. The proved
    /// gap to the least cost; [`Self::has`] tells the set.
    pub(crate) fn choose(&mut self, mut asked: Choosing<'_>) -> u64 {
        self.begin(&asked);
        let Some((sum, gap)) = self.search(&mut asked) else {
            return 0;
        };
        if !self.find_lacking(&asked) {
            self.offer(sum);
            return gap;
        }
        self.complete(&mut asked);
        self.do_without_holders(&mut asked);
        self.leave_out_the_dear(&asked);
        self.explore(&mut asked, sum.cost - gap);
        let best = self.best_sum.map_or(0, |sum| sum.cost);
        best - self.unseen.min(best)
    }

    /// Whether the candidate at `index` is in the best set.
    pub(crate) fn has(&self, index: u32) -> bool {
        self.best.get(at(index)) == Some(&true)
    }

    /// Per candidate: what killing it frees, in bytes, and costs, with all that
    /// ends with it and `counts`.
    pub(crate) fn sum_up(
        &mut self,
        candidates: &[Candidate],
        counts: impl Fn(&Candidate) -> bool,
    ) -> &[(u64, u64)] {
        self.sums(candidates.len());
        let all = (0..).zip(candidates);
        for (index, candidate) in all.filter(|(_, candidate)| counts(candidate)) {
            for whole in iter::once(index).chain(holders(candidates, index)) {
                let (frees_bytes, cost) = &mut self.below[at(whole)];
                *frees_bytes = frees_bytes.saturating_add(candidate.frees_bytes);
                *cost = cost.saturating_add(item(candidate).value);
            }
        }
        &self.below
    }

    /// Two sums for each of so many, all zero.
    pub(crate) fn sums(&mut self, count: usize) -> &mut [(u64, u64)] {
        self.below.clear();
        self.below.resize(count, (0, 0));
        &mut self.below
    }

    fn begin(&mut self, asked: &Choosing<'_>) {
        let len = asked.candidates.len();
        self.fixed.clear();
        self.fixed.resize(len, Fixed::Open);
        self.best.clear();
        self.best.resize(len, false);
        self.trail.clear();
        self.best_sum = None;
        self.unseen = u64::MAX;
        let searches = ITEMS_SEARCHED / len.max(1);
        self.searches = searches.clamp(LEAST_SEARCHES, MOST_SEARCHES);
    }

    /// The best set for what is fixed, as if each ended alone, and the gap to the
    /// least cost of those.
    fn search(&mut self, asked: &mut Choosing<'_>) -> Option<(SetSum, u64)> {
        let mut sum = SetSum::default();
        self.picked.clear();
        asked.items.clear();
        asked.candidate_of.clear();
        for (index, candidate) in (0..).zip(asked.candidates) {
            let fixed = self.fixed[at(index)];
            let takes_part = asked.takes_part(candidate);
            self.picked.push(takes_part && fixed == Fixed::In);
            if takes_part && fixed == Fixed::In {
                sum.add(candidate);
            } else if takes_part && fixed == Fixed::Open {
                asked.candidate_of.push(index);
                asked.items.push(item(candidate));
            }
        }
        if self.best_sum.is_some_and(|best| best < sum) {
            return None;
        }
        let left = asked.need_pages.saturating_sub(sum.freed.0);
        if left == 0 {
            return Some((sum, 0));
        }
        self.searches = self.searches.saturating_sub(1);
        let selection = asked
            .workspace
            .choose(asked.items, left, asked.budget)
            .ok()?;
        for item in selection.chosen {
            let index = asked.candidate_of[at(*item)];
            self.picked[at(index)] = true;
            sum.add(&asked.candidates[at(index)]);
        }
        Some((sum, selection.gap))
    }

    /// Sums up cost and number of what the last search did not take of what ends
    /// with what it took; whether there is any.
    fn find_lacking(&mut self, asked: &Choosing<'_>) -> bool {
        self.sums(asked.candidates.len());
        let mut any = false;
        for index in asked.indices() {
            let candidate = &asked.candidates[at(index)];
            if self.picked[at(index)] || !asked.takes_part(candidate) {
                continue;
            }
            for holder in holders(asked.candidates, index) {
                if self.picked[at(holder)] {
                    let (cost, units) = &mut self.below[at(holder)];
                    *cost += item(candidate).value;
                    *units += 1;
                    any = true;
                }
            }
        }
        any
    }

    /// Adds what the last search lacks, leaves out what is not needed then, the
    /// dearest first, and keeps the set where it is the best so far.
    fn complete(&mut self, asked: &mut Choosing<'_>) {
        asked.candidate_of.clear();
        for index in asked.indices() {
            let candidate = &asked.candidates[at(index)];
            if !asked.takes_part(candidate) {
                continue;
            }
            let mut above = holders(asked.candidates, index);
            if above.any(|holder| self.picked[at(holder)]) {
                self.picked[at(index)] = true;
            } else if self.picked[at(index)] && self.fixed[at(index)] == Fixed::Open {
                asked.candidate_of.push(index);
            }
        }
        let candidates = asked.candidates;
        let cost = |index: &u32| Reverse(item(&candidates[at(*index)]).value);
        asked.candidate_of.sort_unstable_by_key(cost);
        let mut spare = self.sum_of_picked(asked).freed.0 - asked.need_pages;
        for index in &*asked.candidate_of {
            let weight = item(&candidates[at(*index)]).weight;
            // What ends with it stays, and may go without it.
            if weight <= spare {
                spare -= weight;
                self.picked[at(*index)] = false;
            }
        }
        self.offer(self.sum_of_picked(asked));
    }

    fn sum_of_picked(&self, asked: &Choosing<'_>) -> SetSum {
        let mut sum = SetSum::default();
        let picked = asked.candidates.iter().zip(&self.picked);
        picked
            .filter(|(_, picked)| **picked)
            .for_each(|(candidate, _)| sum.add(candidate));
        sum
    }

    fn offer(&mut self, sum: SetSum) {
        if self.best_sum.is_none_or(|best| sum < best) {
            self.best_sum = Some(sum);
            self.best.copy_from_slice(&self.picked);
        }
    }

    /// Offers a set without those holders that the search took without what ends
    /// with them: mostly the best, or near it.
    fn do_without_holders(&mut self, asked: &mut Choosing<'_>) {
        for _ in 0..3 {
            for index in asked.indices() {
                if self.below[at(index)].1 > 0 {
                    self.fix_out(asked, index);
                }
            }
            match self.search(asked) {
                None => break,
                Some(_) if self.find_lacking(asked) => self.complete(asked),
                Some((sum, _)) => {
                    self.offer(sum);
                    break;
                }
            }
        }
        self.undo(0);
    }

    /// A holder that costs more than the best set known, with all that ends with
    /// it, is in no better one.
    fn leave_out_the_dear(&mut self, asked: &Choosing<'_>) {
        let Some(best) = self.best_sum else { return };
        self.sum_up(asked.candidates, |candidate| asked.takes_part(candidate));
        for index in asked.indices() {
            let ends_others = asked.candidates[at(index)].ends > 0;
            if ends_others && best.cost < self.below[at(index)].1 {
                self.fix_out(asked, index);
            }
        }
    }

    /// Looks for better sets with what is fixed. None costs less than `at_least`.
    fn explore(&mut self, asked: &mut Choosing<'_>, at_least: u64) {
        if self.searches == 0 {
            self.unseen = self.unseen.min(at_least);
            return;
        }
        let Some((sum, gap)) = self.search(asked) else {
            return;
        };
        let at_least = at_least.max(sum.cost - gap);
        let is_no_better = self.best_sum.is_some_and(|best| match gap {
            0 => best <= sum,
            _ => best.cost <= at_least,
        });
        if is_no_better {
            return;
        }
        if !self.find_lacking(asked) {
            self.offer(sum);
            self.unseen = self.unseen.min(at_least);
            return;
        }
        // The one that lacks most: the bound moves furthest.
        let lacks = |index: &u32| self.below[at(*index)];
        let Some(holder) = asked.indices().max_by_key(lacks) else {
            return;
        };
        self.complete(asked);
        let before = self.trail.len();
        self.fix_out(asked, holder);
        self.explore(asked, at_least);
        self.undo(before);
        self.fix_in(asked, holder);
        self.explore(asked, at_least);
        self.undo(before);
    }

    /// It is not chosen, nor is what would end it.
    fn fix_out(&mut self, asked: &Choosing<'_>, index: u32) {
        self.fix(index, Fixed::Out);
        for holder in holders(asked.candidates, index) {
            self.fix(holder, Fixed::Out);
        }
    }

    /// It is chosen, and all that ends with it.
    fn fix_in(&mut self, asked: &Choosing<'_>, index: u32) {
        self.fix(index, Fixed::In);
        for other in asked.indices() {
            if holders(asked.candidates, other).any(|holder| holder == index) {
                self.fix(other, Fixed::In);
            }
        }
    }

    fn fix(&mut self, index: u32, fixed: Fixed) {
        if self.fixed[at(index)] == Fixed::Open {
            self.fixed[at(index)] = fixed;
            self.trail.push(index);
        }
    }

    /// Opens what was fixed since the trail was so long.
    fn undo(&mut self, len: usize) {
        for index in self.trail.drain(len..) {
            self.fixed[at(index)] = Fixed::Open;
        }
    }
}
