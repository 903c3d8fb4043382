//! Who asks for a decision.

/// Who asks, beside the level itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ask {
    /// Nobody.
    #[default]
    None,
    /// psi-monitor, a person or the pressure gate asks for relief.
    Relief,
    /// The kernel is about to kill and waits.
    LastCall,
}
