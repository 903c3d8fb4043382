//! Ends a process for certain.
//!
//! - A [`Held`] is a process held by a pidfd whose start time was checked, so
//!   that a signal reaches this process or nobody.
//! - [`SecondHand`] is the thread that frees a killed victim's memory without
//!   waiting for the victim to be scheduled.
//! - [`kill_session`] ends a program that we have started ourselves.
//! - [`protect_ourselves`] asks the kernel to spare us and to run us first.
//!
//! This crate decides nothing: not whom to end, not when, not whether a grace
//! is over. It parses nothing either; the caller brings the reader of start
//! times.
//!
//! Unsafe code stands here alone, in two functions of the library: one calls
//! `process_mrelease`, for which there is no safe wrapper, and [`trim_heap`].

mod calls;
mod error;
mod held;
mod helper;
mod protection;
mod second_hand;

pub use crate::calls::{Calls, Missing};
pub use crate::error::ReapError;
pub use crate::held::{Held, Signalled, wait_gone};
pub use crate::helper::kill_session;
pub use crate::protection::{SelfProtection, protect_ourselves, resign_protection, trim_heap};
pub use crate::second_hand::{SecondHand, Tally};
