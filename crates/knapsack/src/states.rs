//! The states of the dynamic program.

/// One set of changes to the break solution, relative to it.
///
/// A list of states is sorted by weight and, because a state that is no
/// lighter and no better than another is dominated and dropped, by profit too,
/// both strictly ascending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) profit: i64,
    pub(crate) weight: i64,
    /// Which of the present stretch's core pieces are changed.
    pub(crate) bits: u32,
    /// Where the changes of the stretches before it stand.
    pub(crate) node: u16,
    /// What it counts in the side constraint, if one is priced.
    pub(crate) side: i16,
}

/// No state is as heavy.
pub(crate) const SENTINEL: State = State {
    profit: 0,
    weight: i64::MAX / 2,
    bits: 0,
    node: 0,
    side: 0,
};

/// Writes to all the room of `buffer`, and leaves it empty.
pub(crate) fn touch<T: Clone>(buffer: &mut Vec<T>, with: T) {
    buffer.clear();
    buffer.resize(buffer.capacity(), with);
    buffer.clear();
}
