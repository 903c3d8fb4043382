//! The solver's front: what is checked, the two phases, and the answer.

use crate::meter::{Budget, Meter};
use crate::problem::{Problem, Profits};
use crate::search::Search;
use crate::states::touch;
use crate::{Item, SelectError, Selection, ties};

/// Memory for solving, made beforehand: no solve allocates.
#[derive(Debug)]
pub struct Workspace {
    capacity: usize,
    search: Search,
    chosen: Vec<u32>,
}

impl Workspace {
    /// The most items one workspace can be made for: 2^15.
    pub const MAX_ITEMS: usize = 1 << 15;

    /// The most states a workspace can be made for: 2^14.
    pub const MAX_STATES: usize = 1 << 14;

    /// Makes room for `items` items, at most [`Self::MAX_ITEMS`], and as many
    /// states as tables of that size have been seen to need.
    #[must_use]
    pub fn with_capacity(items: usize) -> Self {
        let items = items.min(Self::MAX_ITEMS);
        let states = (2 * items).next_power_of_two();
        Self::with_states(items, states.clamp(1 << 10, Self::MAX_STATES))
    }

    /// Makes room for `items` items, at most [`Self::MAX_ITEMS`], and `states`
    /// states of the search, at most 2^14. With fewer states an answer may be
    /// proved less well; it always covers the need.
    #[must_use]
    pub fn with_states(items: usize, states: usize) -> Self {
        let capacity = items.min(Self::MAX_ITEMS);
        Self {
            capacity,
            search: Search::with_capacity(capacity, states.min(Self::MAX_STATES)),
            chosen: Vec::with_capacity(capacity),
        }
    }

    /// Writes to all the memory it was made with, so that it is there: what was
    /// reserved only is not, until it is first used.
    pub fn touch(&mut self) {
        self.search.touch();
        touch(&mut self.chosen, 0);
    }

    /// Chooses which of `items` to give up so that their weights cover `need`:
    /// least value, then fewest, then most freed.
    ///
    /// # Errors
    ///
    /// - [`SelectError::TooManyItems`]: more than the workspace was made for.
    /// - [`SelectError::OutOfRange`]: a weight or a value is.
    /// - [`SelectError::NotCoverable`]: all items together are less than the
    ///   need.
    pub fn choose(
        &mut self,
        items: &[Item],
        need: u64,
        budget: Budget,
    ) -> Result<Selection<'_>, SelectError> {
        self.choose_while(items, need, budget, &mut || true)
    }

    /// As [`Self::choose`], but also ends the search when `go_on` says so,
    /// which is asked every some 50 µs of work: a deadline, by the caller's
    /// clock.
    ///
    /// # Errors
    ///
    /// Those of [`Self::choose`].
    pub fn choose_while(
        &mut self,
        items: &[Item],
        need: u64,
        budget: Budget,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Selection<'_>, SelectError> {
        self.solve(items, need, true, Meter::new(budget, go_on))
    }

    /// As [`Self::choose_while`], but looks for the least value alone: among
    /// sets that cost the same, any will do.
    ///
    /// # Errors
    ///
    /// Those of [`Self::choose`].
    pub fn choose_by_value_while(
        &mut self,
        items: &[Item],
        need: u64,
        budget: Budget,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Selection<'_>, SelectError> {
        self.solve(items, need, false, Meter::new(budget, go_on))
    }

    fn solve(
        &mut self,
        items: &[Item],
        need: u64,
        ties: bool,
        meter: Meter<'_>,
    ) -> Result<Selection<'_>, SelectError> {
        let total = self.check(items, need)?;
        self.chosen.clear();
        if need == 0 {
            return Ok(Selection {
                chosen: &self.chosen,
                value: 0,
                weight: 0,
                value_proved: true,
                ties_proved: true,
                gap: 0,
            });
        }
        let problem = Problem::new(items, total - need);
        self.search.incumbent.kept.clear();
        let (bound, ties_proved) = search(&problem, &mut self.search, ties, meter);

        let mut value = 0;
        let mut weight = 0;
        let mut kept_value = 0;
        for (index, item) in (0..).zip(items) {
            if self.search.incumbent.kept.has(index) {
                kept_value += item.value;
            } else if item.weight != 0 {
                self.chosen.push(index);
                value += item.value;
                weight += item.weight;
            }
        }
        let gap = bound - kept_value;
        Ok(Selection {
            chosen: &self.chosen,
            value,
            weight,
            value_proved: gap == 0,
            ties_proved,
            gap,
        })
    }

    /// Sums the weights; everything else counts on what is checked here.
    fn check(&self, items: &[Item], need: u64) -> Result<u64, SelectError> {
        if items.len() > self.capacity {
            return Err(SelectError::TooManyItems {
                items: items.len(),
                capacity: self.capacity,
            });
        }
        let out_of_range =
            |item: &Item| item.weight > Item::MAX_WEIGHT || item.value > Item::MAX_VALUE;
        if let Some(index) = items.iter().position(out_of_range) {
            return Err(SelectError::OutOfRange { index });
        }
        let total = items.iter().map(|item| item.weight).sum();
        if total < need {
            return Err(SelectError::NotCoverable { total });
        }
        Ok(total)
    }
}

/// Searches in the order in which most is proved with the least work. Returns
/// what all that is searched can be worth at most, and whether the ties are
/// proved.
///
/// Mostly value and ties are proved together, soon. Where they are not, the
/// value comes first.
fn search(
    problem: &Problem<'_>,
    search: &mut Search,
    ties: bool,
    mut meter: Meter<'_>,
) -> (u64, bool) {
    let profits = match ties {
        true => Profits::ValueThenCount,
        false => Profits::Value,
    };
    let first = problem.look_near(search, profits, &mut meter);
    let mut bound = problem.value(first.bound, profits);
    if ties && first.complete {
        return (bound, true);
    }
    let value = problem.value(search.incumbent.profit, profits);
    let relaxed = bound == value;
    if first.turned && !relaxed && ties::is_best_value(problem, search) {
        bound = value;
    }
    if bound > value {
        let near = match ties {
            true => problem.look_near(search, Profits::Value, &mut meter),
            false => first,
        };
        bound = bound.min(problem.value(near.bound, Profits::Value));
        if !near.complete {
            let far = problem.look_far(search, Profits::Value, near.bound, &mut meter);
            bound = bound.min(problem.value(far.bound, Profits::Value));
        }
    }
    if !ties {
        return (bound, false);
    }
    // Whole values matter for the ties where they did for the value.
    if relaxed || first.turned {
        if !relaxed {
            problem.relax(search);
        }
        let value = problem.value(search.incumbent.profit, profits);
        if bound == value && ties::settle(problem, search, &mut meter) {
            return (bound, true);
        }
    }
    let far = problem.look_far(search, profits, i64::MAX, &mut meter);
    (bound.min(problem.value(far.bound, profits)), far.complete)
}
