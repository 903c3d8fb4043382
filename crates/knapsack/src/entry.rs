//! An item as the search sees it.

use std::cmp::Ordering;

/// One item that is either kept or chosen.
///
/// The numbers are signed because the search works with differences. Ranges:
/// `weight` is 1 to 2^40, and sums of profits are within ±2^63, so any product
/// of such a sum and a weight fits an `i128` many times over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What keeping it earns, less what its `side` costs while a side
    /// constraint is priced.
    pub(crate) profit: i64,
    /// What keeping it takes up.
    pub(crate) weight: i64,
    /// Which of the caller's items it is.
    pub(crate) index: u32,
    /// What it counts in the side constraint, if one is priced.
    pub(crate) side: i32,
}

impl Entry {
    /// Orders what is best to keep first: more profit per weight, of those
    /// alike the heavier, of those alike the earlier.
    ///
    /// The order is total, so any sort gives the same result.
    #[inline(always)]
    pub(crate) fn best_first(&self, other: &Self) -> Ordering {
        let mine = i128::from(self.profit) * i128::from(other.weight);
        let others = i128::from(other.profit) * i128::from(self.weight);
        others
            .cmp(&mine)
            .then_with(|| other.weight.cmp(&self.weight))
            .then_with(|| self.index.cmp(&other.index))
    }

    /// Whether keeping one is as good as keeping the other.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.profit == other.profit && self.weight == other.weight && self.side == other.side
    }
}
