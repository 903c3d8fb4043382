//! Pressure stall information as text: how much time was lost waiting for memory
//! ([`Pressure`]), and the line that makes the kernel report stalls at once
//! ([`Trigger`]).
//!
//! Both follow the kernel's `Documentation/accounting/psi.rst`. This crate opens
//! no file; the `sensors` crate does.
//!
//! ```
//! use std::time::Duration;
//!
//! use psi::{Pressure, Share, Trigger};
//!
//! let pressure: Pressure = "\
//! some avg10=12.50 avg60=3.00 avg300=0.50 total=91234
//! full avg10=4.25 avg60=1.00 avg300=0.10 total=31234
//! ".parse()?;
//! assert_eq!(pressure.full.avg10.to_string(), "4.25");
//!
//! // Fires when all tasks stall for half of a second.
//! let trigger = Trigger::new(Share::Full, Duration::from_millis(500), Duration::from_secs(1))?;
//! assert_eq!(trigger.line().as_bytes(), b"full 500000 1000000\0");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod pressure;
mod trigger;

pub use crate::pressure::{ParseError, Percent, PercentError, Pressure, Share, Stalled};
pub use crate::trigger::{Trigger, TriggerError, TriggerLine};
