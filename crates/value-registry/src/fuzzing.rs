//! The readers of what users write, for the fuzz targets.
//!
//! They are private: all but the registry itself gets values, not text.
//! `cargo fuzz` sets `cfg(fuzzing)`, and nothing else does.

use crate::ValueError;
use crate::{entry, stamp};

/// The value that an entry's text gives.
///
/// # Errors
///
/// [`ValueError`]: it gives none.
pub fn value(text: &[u8]) -> Result<u32, ValueError> {
    entry::parse_value(text)
}

/// The pid that an entry's name is.
#[must_use]
pub fn pid(name: &[u8]) -> Option<u32> {
    entry::parse_pid(name)
}

/// A mark, as it is written.
#[must_use]
pub fn mark(text: &[u8]) -> Option<String> {
    stamp::parse(text).map(|mark| mark.to_string())
}
