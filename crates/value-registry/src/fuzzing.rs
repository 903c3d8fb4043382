//! The readers of what users write, for the fuzz targets.
//!
//! They are private: all but the registry itself gets values, not text.
//! `cargo fuzz` sets `cfg(fuzzing)`, and nothing else does.

use model::{PauseWord, Rate};

use crate::ValueError;
use crate::{entry, stamp};

/// What an entry's text gives: a value, what unsaved work adds, and whether its
/// process may be paused, where it says so.
///
/// # Errors
///
/// [`ValueError`]: it gives none.
pub fn entry(text: &[u8]) -> Result<(u32, Option<Rate>, Option<bool>), ValueError> {
    let given = entry::parse_entry(text)?;
    let may_pause = given.pause.map(|word| word == PauseWord::Pause);
    Ok((given.value, given.rate, may_pause))
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
