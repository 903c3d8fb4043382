//! Buffers that are there before they are needed.

/// Room for `capacity` in all.
pub(crate) fn reserve_to<T>(buffer: &mut Vec<T>, capacity: usize) {
    buffer.reserve_exact(capacity.saturating_sub(buffer.len()));
}

/// An empty buffer whose room has been written to, so that it is there.
pub(crate) fn touched<T>(capacity: usize, filler: impl FnMut() -> T) -> Vec<T> {
    let mut buffer = Vec::with_capacity(capacity);
    buffer.resize_with(capacity, filler);
    buffer.clear();
    buffer
}
