//! Chooses the set of items that covers a need at the least cost, exactly.
//!
//! Each [`Item`] has a weight (what choosing it frees) and a value (what
//! choosing it costs). [`Workspace::choose`] finds the set whose weights add up
//! to at least the need and which, in this order,
//!
//! 1. costs the least value,
//! 2. has the fewest items,
//! 3. frees the most weight.
//!
//! Seen from the other side, this is the 0/1 knapsack problem: keep the most
//! value within the weight that need not be freed. It is solved by dynamic
//! programming over an expanding core, after the ideas of Pisinger's MINKNAP
//! (1997) and of Martello, Pisinger and Toth's COMBO (1999);
//! `docs/selection.md` explains it from the start.
//!
//! The answer is exact whenever it says so. If the [`Budget`] or the
//! [`Workspace`] ends the search early, it is still a set that covers the need
//! and costs no more than pruned greedy's, with a proved bound on how far it
//! can be from the best.
//!
//! Numbers go in and indices come out. This crate knows nothing about
//! processes, opens no file, reads no clock and, once a [`Workspace`] is made,
//! does not allocate.
//!
//! ```
//! use knapsack::{Budget, Item, Workspace};
//!
//! // Either the last item alone, or the first two together, cover the need.
//! let items = [(300, 9), (300, 8), (500, 5)].map(|(weight, value)| Item { weight, value });
//! let mut workspace = Workspace::with_capacity(items.len());
//!
//! let cheapest = workspace.choose(&items, 450, Budget::default())?;
//! assert_eq!(cheapest.chosen, [2]);
//! assert_eq!(cheapest.value, 5);
//! assert!(cheapest.value_proved);
//! # Ok::<(), knapsack::SelectError>(())
//! ```

mod bounds;
mod convex;
mod decisions;
mod entry;
mod incumbent;
mod meter;
mod mix;
mod order;
mod problem;
mod search;
mod states;
mod ties;
mod workspace;

pub use crate::meter::Budget;
pub use crate::workspace::Workspace;

/// One thing that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// What choosing it brings towards the need. At most [`Item::MAX_WEIGHT`].
    pub weight: u64,
    /// What choosing it costs. At most [`Item::MAX_VALUE`].
    pub value: u64,
}

impl Item {
    /// The heaviest an item may be: 2^40, a tebibyte where the unit is a byte.
    pub const MAX_WEIGHT: u64 = 1 << 40;
    /// The most an item may cost: 2^32 − 1.
    pub const MAX_VALUE: u64 = (1 << 32) - 1;
}

/// The set to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection<'a> {
    /// Indices of the chosen items, ascending.
    pub chosen: &'a [u32],
    /// Sum of their values.
    pub value: u64,
    /// Sum of their weights; at least the need.
    pub weight: u64,
    /// Whether no set that covers the need costs less.
    pub value_proved: bool,
    /// Whether, of all sets of the same cost, none has fewer items, and of
    /// those none weighs more.
    pub ties_proved: bool,
    /// `value` minus the greatest lower bound that was proved.
    pub gap: u64,
}

/// Why there is no selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// More items than the workspace was made for.
    #[error("{items} items, but the workspace was made for {capacity}")]
    TooManyItems {
        /// How many there are.
        items: usize,
        /// How many there may be.
        capacity: usize,
    },
    /// All items together do not cover the need.
    #[error("all items together free {total}, less than the need")]
    NotCoverable {
        /// The sum of all weights.
        total: u64,
    },
    /// A weight or a value is out of range.
    #[error("item {index} is out of range")]
    OutOfRange {
        /// Which.
        index: usize,
    },
}
