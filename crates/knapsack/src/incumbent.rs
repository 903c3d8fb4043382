//! The best solution found so far.

/// A set of item indices.
#[derive(Debug)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub(crate) fn with_capacity(items: usize) -> Self {
        Self(vec![0; items.div_ceil(64)])
    }

    pub(crate) fn clear(&mut self) {
        self.0.fill(0);
    }

    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.0.copy_from_slice(&other.0);
    }

    pub(crate) fn set(&mut self, index: u32) {
        self.0[index as usize / 64] |= 1 << (index % 64);
    }

    pub(crate) fn flip(&mut self, index: u32) {
        self.0[index as usize / 64] ^= 1 << (index % 64);
    }

    pub(crate) fn has(&self, index: u32) -> bool {
        self.0[index as usize / 64] & 1 << (index % 64) != 0
    }
}

/// The best solution found so far, by what it keeps.
#[derive(Debug)]
pub(crate) struct Incumbent {
    pub(crate) kept: Bits,
    /// Sum of the profits of what it keeps.
    pub(crate) profit: i64,
    /// Sum of the weights of what it keeps.
    pub(crate) weight: i64,
}

impl Incumbent {
    pub(crate) fn with_capacity(items: usize) -> Self {
        Self {
            kept: Bits::with_capacity(items),
            profit: 0,
            weight: 0,
        }
    }

    /// Whether a solution is preferred to this one: more profit, or the same
    /// for less weight.
    pub(crate) fn is_behind(&self, profit: i64, weight: i64) -> bool {
        profit > self.profit || (profit == self.profit && weight < self.weight)
    }
}
