//! What asks for a decision.

use serde::{Deserialize, Serialize};

/// What asks for a decision, beside the level itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Ask {
    /// Nothing does.
    #[default]
    None,
    /// Tasks stall, or memory is full within seconds: units may be paused, and
    /// none is killed.
    Pause,
    /// psi-monitor, a person or the pressure gate asks for relief.
    Relief,
    /// The kernel is about to kill and waits.
    LastCall,
}
