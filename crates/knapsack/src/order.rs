//! Where the items stand, sorted no further than the search looks.
//!
//! Finding the break item takes a weighted median, not a sort: each round
//! splits the rest at a pivot and goes on in the half where the capacity ends.
//! The other halves are remembered, nearest on top, and are taken up only if
//! the core grows that far: then what cannot be exchanged any more is left
//! out, and of the rest a run is sorted, longer each time.

use std::ops::Range;

use crate::bounds::{Ladder, Neighbours, Reducer, Slope};
use crate::entry::Entry;

/// The first runs are sorted when they are this short.
const SHORT: usize = 32;

/// How many splits may be remembered on a side; past it a sort is cheaper.
const SPLITS: usize = 64;

/// Entries that are alike and change together: `entries[start..start + len]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Piece {
    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }
}

/// One side of the break item.
#[derive(Debug)]
struct Side {
    /// Sorted and not yet taken.
    window: Range<usize>,
    /// The window as the bounds see it.
    ladder: Ladder,
    /// Not sorted; the nearest to the break item is the last.
    runs: Vec<Range<usize>>,
    /// How long the next window may be.
    next_window: usize,
}

impl Side {
    fn new() -> Self {
        Self {
            window: 0..0,
            ladder: Ladder::new(),
            runs: Vec::with_capacity(SPLITS),
            next_window: SHORT,
        }
    }

    fn restart(&mut self, window: Range<usize>, all: usize) {
        self.window = window;
        self.next_window = SHORT.max(all / 128);
    }

    /// How long the window may be that comes now.
    fn grow(&mut self) -> usize {
        let most = self.next_window;
        self.next_window *= 2;
        most
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
    /// The entry that does not fit any more, if there is one.
    pub(crate) break_entry: Option<Entry>,
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
            break_entry: None,
        }
    }

    /// Finds the break solution: the best entries, as long as they fit and
    /// earn anything. All together must not fit.
    pub(crate) fn find_break(&mut self, capacity: i64) {
        self.left.runs.clear();
        self.right.runs.clear();
        let mut rest = 0..self.entries.len();
        let mut slack = capacity;
        while rest.len() > SHORT && self.left.runs.len().max(self.right.runs.len()) < SPLITS / 2 {
            let middle = split(&mut self.entries[rest.clone()]) + rest.start;
            let better = &self.entries[rest.start..middle];
            let weight: i64 = better.iter().map(|entry| entry.weight).sum();
            let earns = better.iter().all(|entry| entry.profit > 0);
            if weight <= slack && earns {
                slack -= weight;
                self.left.runs.push(rest.start..middle);
                rest.start = middle;
            } else {
                self.right.runs.push(middle..rest.end);
                rest.end = middle;
            }
        }
        self.entries[rest.clone()].sort_unstable_by(Entry::best_first);
        let mut break_at = rest.start;
        while break_at < rest.end
            && self.entries[break_at].weight <= slack
            && self.entries[break_at].profit > 0
        {
            slack -= self.entries[break_at].weight;
            break_at += 1;
        }
        let (left, right) = self.entries[rest.clone()].split_at(break_at - rest.start);
        let more = !self.left.runs.is_empty();
        self.left.ladder.restart(left.iter().rev(), more);
        self.left.restart(rest.start..break_at, self.entries.len());
        let more = !self.right.runs.is_empty();
        self.right.ladder.restart(right.iter(), more);
        self.right.restart(break_at..rest.end, self.entries.len());
        self.break_at = break_at;
        self.break_profit = self.kept().iter().map(|entry| entry.profit).sum();
        self.slack = slack;
        // The next on the right must be known: it bounds everything.
        self.fill_right(|_| true);
        self.break_entry = self.entries[self.right.window.clone()].first().copied();
    }

    /// From now on sorts whole runs.
    pub(crate) fn look_far(&mut self) {
        self.left.next_window = self.entries.len();
        self.right.next_window = self.entries.len();
    }

    /// The bound of the linear relaxation, rounded down, and the side sum of what
    /// it keeps, the break entry by its part.
    #[expect(
        clippy::cast_precision_loss,
        reason = "the side sum only chooses which price to try"
    )]
    pub(crate) fn relaxation(&self) -> (i64, f64) {
        let mut bound = self.break_profit;
        let side: i64 = self.kept().iter().map(|entry| i64::from(entry.side)).sum();
        let mut side = side as f64;
        if let Some(entry) = self.break_entry
            && entry.profit > 0
        {
            let gained =
                i128::from(self.slack) * i128::from(entry.profit) / i128::from(entry.weight);
            bound = bound.saturating_add(i64::try_from(gained).unwrap_or(i64::MAX));
            side += self.slack as f64 / entry.weight as f64 * f64::from(entry.side);
        }
        (bound, side)
    }

    /// Profit per weight of the break entry.
    pub(crate) fn break_slope(&self) -> Slope {
        self.break_entry.map_or(Slope::FLAT, Slope::from)
    }

    /// What the break solution keeps.
    pub(crate) fn kept(&self) -> &[Entry] {
        &self.entries[..self.break_at]
    }

    /// Sorts on, so that a side with anything left that may be exchanged has
    /// it next to the core.
    pub(crate) fn fill(&mut self, reducer: &Reducer) {
        self.fill_right(|entry| reducer.keeps(entry));
        self.fill_left(|entry| reducer.keeps(entry));
    }

    fn fill_right(&mut self, keeps: impl Fn(&Entry) -> bool) {
        let Self { entries, right, .. } = self;
        loop {
            while right.window.start < right.window.end && !keeps(&entries[right.window.start]) {
                right.ladder.take(&entries[right.window.start], 1);
                right.window.start += 1;
            }
            if !right.window.is_empty() {
                return;
            }
            let Some(mut run) = right.runs.pop() else {
                // Where there were more than the ladder has lines for, it does
                // not know yet that none is left.
                right.ladder.restart([].iter(), false);
                return;
            };
            run.end = reduce(entries, run.clone(), &keeps);
            let most = right.grow();
            while run.len() > most && right.runs.len() < SPLITS {
                let middle = split(&mut entries[run.clone()]) + run.start;
                right.runs.push(middle..run.end);
                run.end = middle;
            }
            let entries = &mut entries[run.clone()];
            entries.sort_unstable_by(Entry::best_first);
            right.ladder.restart(entries.iter(), !right.runs.is_empty());
            right.window = run;
        }
    }

    fn fill_left(&mut self, keeps: impl Fn(&Entry) -> bool) {
        let Self { entries, left, .. } = self;
        loop {
            while left.window.start < left.window.end && !keeps(&entries[left.window.end - 1]) {
                left.window.end -= 1;
                left.ladder.take(&entries[left.window.end], 1);
            }
            if !left.window.is_empty() {
                return;
            }
            let Some(mut run) = left.runs.pop() else {
                left.ladder.restart([].iter(), false);
                return;
            };
            run.end = reduce(entries, run.clone(), &keeps);
            let most = left.grow();
            while run.len() > most && left.runs.len() < SPLITS {
                let middle = split(&mut entries[run.clone()]) + run.start;
                left.runs.push(run.start..middle);
                run.start = middle;
            }
            let entries = &mut entries[run.clone()];
            entries.sort_unstable_by(Entry::best_first);
            left.ladder
                .restart(entries.iter().rev(), !left.runs.is_empty());
            left.window = run;
        }
    }

    pub(crate) fn neighbours(&self) -> Neighbours<'_> {
        Neighbours {
            left: &self.left.ladder,
            right: &self.right.ladder,
        }
    }

    /// Takes the best on the right. Of entries that are alike it takes half,
    /// rounded up, in one piece: pieces so made add up to every number of
    /// them.
    pub(crate) fn take_right(&mut self) -> Option<Piece> {
        let window = self.right.window.clone();
        let first = self.entries[window.clone()].first()?;
        let alike = self.entries[window.clone()]
            .iter()
            .take_while(|entry| entry.is_like(first))
            .count();
        let piece = piece(window.start, alike.div_ceil(2));
        self.right.ladder.take(first, i64::from(piece.len));
        self.right.window.start = piece.range().end;
        Some(piece)
    }

    /// Takes the worst on the left, likewise.
    pub(crate) fn take_left(&mut self) -> Option<Piece> {
        let window = self.left.window.clone();
        let last = self.entries[window.clone()].last()?;
        let alike = self.entries[window.clone()]
            .iter()
            .rev()
            .take_while(|entry| entry.is_like(last))
            .count();
        let len = alike.div_ceil(2);
        let piece = piece(window.end - len, len);
        self.left.ladder.take(last, i64::from(piece.len));
        self.left.window.end = piece.range().start;
        Some(piece)
    }

    /// Everything on the right that is not taken yet, nearer runs first.
    pub(crate) fn rest_right(&self) -> impl Iterator<Item = &Entry> {
        rest(&self.entries, &self.right)
    }

    /// Everything on the left that is not taken yet, nearer runs first.
    pub(crate) fn rest_left(&self) -> impl Iterator<Item = &Entry> {
        rest(&self.entries, &self.left)
    }

    /// Calls `take` with what greedy keeps besides the break solution: the
    /// best first, each that still fits.
    pub(crate) fn fill_greedily(&mut self, mut take: impl FnMut(&Entry)) {
        let mut slack = self.slack;
        let window = &self.entries[self.right.window.clone()];
        fill_in_order(window, &mut slack, &mut take);
        for run in self.right.runs.iter().rev() {
            fill_greedily(&mut self.entries[run.clone()], &mut slack, &mut take);
        }
    }
}

fn rest<'a>(entries: &'a [Entry], side: &'a Side) -> impl Iterator<Item = &'a Entry> {
    std::iter::once(&side.window)
        .chain(side.runs.iter().rev())
        .flat_map(|run| &entries[run.clone()])
}

fn piece(start: usize, len: usize) -> Piece {
    let narrow = |number| u32::try_from(number).expect("at most 2^15 entries");
    Piece {
        start: narrow(start),
        len: narrow(len),
    }
}

/// Fills `slack` from unsorted `entries`, best first, sorting only what might fit.
fn fill_greedily(entries: &mut [Entry], slack: &mut i64, take: &mut impl FnMut(&Entry)) {
    let mut fitting = 0;
    for at in 0..entries.len() {
        if entries[at].weight <= *slack && entries[at].profit > 0 {
            entries.swap(fitting, at);
            fitting += 1;
        }
    }
    let entries = &mut entries[..fitting];
    if entries.len() > SHORT {
        let middle = split(entries);
        let (better, worse) = entries.split_at_mut(middle);
        fill_greedily(better, slack, take);
        fill_greedily(worse, slack, take);
        return;
    }
    entries.sort_unstable_by(Entry::best_first);
    fill_in_order(entries, slack, take);
}

/// Fills `slack` from sorted `entries`.
fn fill_in_order(entries: &[Entry], slack: &mut i64, take: &mut impl FnMut(&Entry)) {
    for entry in entries {
        if entry.profit > 0 && entry.weight <= *slack {
            *slack -= entry.weight;
            take(entry);
        }
    }
}

/// Moves what may be exchanged to the front; returns where that ends.
fn reduce(entries: &mut [Entry], run: Range<usize>, keeps: impl Fn(&Entry) -> bool) -> usize {
    let mut end = run.start;
    for at in run {
        if keeps(&entries[at]) {
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
    // The pivot has better and worse entries among those it was chosen from,
    // so neither half can be empty.
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
