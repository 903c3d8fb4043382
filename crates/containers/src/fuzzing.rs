//! The reader of what a runtime answers, for the fuzz target.
//!
//! `cargo fuzz` sets `cfg(fuzzing)`, and nothing else does.

use crate::{AskError, Container, ContainerId, engine};

/// What `text` says of the container `id`, as all of an answer; `None`: nothing,
/// or there is no such container.
///
/// # Errors
///
/// [`AskError`]: it is no answer.
pub fn answer(text: &[u8], id: &ContainerId) -> Result<Option<Container>, AskError> {
    match engine::answer(text, true)? {
        Some((status, body)) => engine::understood(status, body, id),
        None => Ok(None),
    }
}
