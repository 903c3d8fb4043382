//! Gives up the cheapest set of items that covers a need, exactly.

/// One thing that can be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// What giving it up gives back. At most 2^40.
    pub weight: u64,
    /// What giving it up costs. At most 2^32 − 1.
    pub value: u64,
}

/// The set to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection<'a> {
    /// Indices of the items given up, ascending.
    pub given_up: &'a [u32],
    /// Sum of their values.
    pub value: u64,
    /// Sum of their weights; at least the need.
    pub weight: u64,
    /// Whether no set that covers the need costs less.
    pub value_proved: bool,
    /// Whether, among those that cost the same, none is fewer, and among
    /// those none gives back more.
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
    #[error("all items together give back {total}, less than the need")]
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

/// What solving may cost, in elementary steps; and bounds the time it takes.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// How many states may be made.
    pub states: u64,
}

/// Memory for solving, made beforehand: no solve allocates.
#[derive(Debug)]
pub struct Workspace {
    given_up: Vec<u32>,
}

impl Workspace {
    /// Makes room for `items` items.
    #[must_use]
    pub fn with_capacity(items: usize) -> Self {
        Self {
            given_up: Vec::with_capacity(items),
        }
    }

    /// Chooses which of `items` to give up so that their weights cover `need`:
    /// least value, then fewest, then most given back.
    ///
    /// # Errors
    ///
    /// See [`SelectError`].
    pub fn give_up(
        &mut self,
        items: &[Item],
        need: u64,
        budget: Budget,
    ) -> Result<Selection<'_>, SelectError> {
        let _ = (items, need, budget, &mut self.given_up);
        todo!()
    }
}
