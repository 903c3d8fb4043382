//! The machine at one moment, as plain values.

use crate::memory::Memory;
use crate::process::Process;

/// Who asks, beside the level itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ask {
    /// Nobody.
    #[default]
    Nobody,
    /// psi-monitor, a person or the pressure gate asks for relief.
    Relief,
    /// The kernel is about to kill and waits.
    LastCall,
}

/// The machine at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Its memory.
    pub memory: Memory,
    /// Who asks.
    pub ask: Ask,
    /// Every process seen, by ascending pid.
    pub processes: Vec<Process>,
}
