//! Where the items stand, sorted no further than the search looks.
//!
//! Finding the break item takes a weighted median, not a sort: each round
//! splits the rest at a pivot and goes on in the half where the capacity ends.
//! The other halves are remembered, nearest on top, and are taken up only if
//! the core grows that far: then what cannot be exchanged any more is left
//! out, and of the rest a short run is sorted.

use std::ops::Range;

use crate::bounds::Reducer;
use crate::entry::Entry;

/// Runs up to this long are sorted and not split.
const SHORT: usize = 32;

/// How many splits may be remembered on a side; past it a sort is cheaper.
const SPLITS: usize = 64;

/// The unsorted runs of one side, nearest to the break item on top.
#[derive(Debug)]
struct Side {
    /// Sorted, reduced, not yet taken.
    window: Range<usize>,
    runs: Vec<Range<usize>>,
}

impl Side {
    fn new() -> Self {
        Self {
            window: 0..0,
            runs: Vec::with_capacity(SPLITS),
        }
    }
}

/// The items around the break item.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) entries: Vec<Entry>,
    left: Side,
    right: Side,
    /// How many entries the break solution keeps: the first so many.
    pub(crate) break_at: usize,
    /// Sum of the profits of the break solution.
    pub(crate) break_profit: i64,
    /// What the break solution leaves of the capacity.
    pub(crate) slack: i64,
}

impl Order {
    pub(crate) fn with_capacity(items: usize) -> Self {
        Self {
            entries: Vec::with_capacity(items),
            left: Side::new(),
            right: Side::new(),
            break_at: 0,
            break_profit: 0,
            slack: 0,
        }
    }

    /// Finds the break solution: the best entries, as long as they fit.
    ///
    /// Every entry alone fits, and all together do not.
    pub(crate) fn find_break(&mut self, capacity: i64) {
        self.left.runs.clear();
        self.right.runs.clear();
        let mut rest = 0..self.entries.len();
        let mut slack = capacity;
        while rest.len() > SHORT && self.left.runs.len().max(self.right.runs.len()) < SPLITS / 2 {
            let middle = split(&mut self.entries[rest.clone()]) + rest.start;
            let weight: i64 = self.entries[rest.start..middle]
                .iter()
                .map(|entry| entry.weight)
                .sum();
            if weight > slack {
                self.right.runs.push(middle..rest.end);
                rest.end = middle;
            } else {
                slack -= weight;
                self.left.runs.push(rest.start..middle);
                rest.start = middle;
            }
        }
        self.entries[rest.clone()].sort_unstable_by(Entry::best_first);
        let mut break_at = rest.start;
        while self.entries[break_at].weight <= slack {
            slack -= self.entries[break_at].weight;
            break_at += 1;
        }
        self.left.window = rest.start..break_at;
        self.right.window = break_at..rest.end;
        self.break_at = break_at;
        self.break_profit = self.entries[..break_at]
            .iter()
            .map(|entry| entry.profit)
            .sum();
        self.slack = slack;
    }

    /// The entry that does not fit any more.
    pub(crate) fn break_entry(&self) -> Entry {
        self.entries[self.break_at]
    }

    /// The best entry on the right that is not taken yet and may be exchanged.
    pub(crate) fn peek_right(&mut self, reducer: &Reducer) -> Option<Entry> {
        loop {
            while let Some(at) = self.right.window.clone().next() {
                let entry = self.entries[at];
                if reducer.keeps(&entry) {
                    return Some(entry);
                }
                self.right.window.start += 1;
            }
            let mut run = self.right.runs.pop()?;
            run.end = reduce(&mut self.entries, run.clone(), reducer);
            while run.len() > SHORT && self.right.runs.len() < SPLITS {
                let middle = split(&mut self.entries[run.clone()]) + run.start;
                self.right.runs.push(middle..run.end);
                run.end = middle;
            }
            self.entries[run.clone()].sort_unstable_by(Entry::best_first);
            self.right.window = run;
        }
    }

    /// The worst entry on the left that is not taken yet and may be exchanged.
    pub(crate) fn peek_left(&mut self, reducer: &Reducer) -> Option<Entry> {
        loop {
            while let Some(at) = self.left.window.clone().next_back() {
                let entry = self.entries[at];
                if reducer.keeps(&entry) {
                    return Some(entry);
                }
                self.left.window.end -= 1;
            }
            let mut run = self.left.runs.pop()?;
            run.end = reduce(&mut self.entries, run.clone(), reducer);
            while run.len() > SHORT && self.left.runs.len() < SPLITS {
                let middle = split(&mut self.entries[run.clone()]) + run.start;
                self.left.runs.push(run.start..middle);
                run.start = middle;
            }
            self.entries[run.clone()].sort_unstable_by(Entry::best_first);
            self.left.window = run;
        }
    }

    /// Takes what [`Self::peek_right`] showed.
    pub(crate) fn take_right(&mut self) {
        self.right.window.start += 1;
    }

    /// Takes what [`Self::peek_left`] showed.
    pub(crate) fn take_left(&mut self) {
        self.left.window.end -= 1;
    }

    /// Everything on the right that is not taken yet, nearer runs first.
    pub(crate) fn rest_right(&self) -> impl Iterator<Item = &Entry> {
        std::iter::once(&self.right.window)
            .chain(self.right.runs.iter().rev())
            .flat_map(|run| &self.entries[run.clone()])
    }

    /// Everything on the left that is not taken yet, nearer runs first.
    pub(crate) fn rest_left(&self) -> impl Iterator<Item = &Entry> {
        std::iter::once(&self.left.window)
            .chain(self.left.runs.iter().rev())
            .flat_map(|run| &self.entries[run.clone()])
    }
}

/// Moves what may be exchanged to the front; returns where that ends.
fn reduce(entries: &mut [Entry], run: Range<usize>, reducer: &Reducer) -> usize {
    let mut end = run.start;
    for at in run {
        if reducer.keeps(&entries[at]) {
            entries.swap(end, at);
            end += 1;
        }
    }
    end
}

/// Moves what is better than some pivot before it; returns where the pivot's
/// half begins. Neither half is empty.
fn split(entries: &mut [Entry]) -> usize {
    let last = entries.len() - 1;
    let mut thirds = [
        median(entries, [0, last / 8, last / 4]),
        median(entries, [last * 3 / 8, last / 2, last * 5 / 8]),
        median(entries, [last * 3 / 4, last * 7 / 8, last]),
    ];
    thirds.sort_unstable_by(|&a, &b| entries[a].best_first(&entries[b]));
    let pivot = entries[thirds[1]];
    // The pivot has two better and two worse entries among those it was
    // chosen from, so neither half can be empty.
    let mut middle = 0;
    for at in 0..entries.len() {
        let better = entries[at].best_first(&pivot).is_lt();
        entries.swap(middle, at);
        middle += usize::from(better);
    }
    middle
}

/// Which of three entries is neither the best nor the worst.
fn median(entries: &[Entry], mut at: [usize; 3]) -> usize {
    at.sort_unstable_by(|&a, &b| entries[a].best_first(&entries[b]));
    at[1]
}
