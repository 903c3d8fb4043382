//! Buffers that are there before they are needed.

/// An empty buffer whose room has been written to, so that it is there.
pub(crate) fn touched<T>(capacity: usize, filler: impl FnMut() -> T) -> Vec<T> {
    let mut buffer = Vec::with_capacity(capacity);
    buffer.resize_with(capacity, filler);
    buffer.clear();
    buffer
}
