//! Pressure stall information as text: what the kernel says of time lost
//! waiting for memory ([`Pressure`]), and the line that asks it to say so at
//! once ([`Trigger`]).
//!
//! The source of both is the kernel's `Documentation/accounting/psi.rst`. No
//! file is opened here; see the `sensors` crate.

mod pressure;
mod trigger;

pub use crate::pressure::{ParseError, Percent, PercentError, Pressure, Share, Stalled};
pub use crate::trigger::{Trigger, TriggerError, TriggerLine};
