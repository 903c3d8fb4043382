//! Buffers that are kept from one decision to the next, and places in them.

/// `index` as a place in a slice.
pub(crate) fn at(index: u32) -> usize {
    index as usize
}

/// Room for `capacity` in all.
pub(crate) fn reserve_to<T>(buffer: &mut Vec<T>, capacity: usize) {
    buffer.reserve_exact(capacity.saturating_sub(buffer.len()));
}
