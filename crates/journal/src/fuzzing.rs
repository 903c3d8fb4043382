//! The reader of a line, for the fuzz target: all others read files.
//!
//! `cargo fuzz` sets `cfg(fuzzing)`, and nothing else does.

use crate::line::Line;
use crate::reader;

/// A line, with or without its line feed; `None`: it is damaged, or of a later
/// version.
#[must_use]
pub fn line(text: &[u8]) -> Option<Line> {
    reader::parse(text).ok()
}
