//! The words that every part of the daemon speaks: a process, memory, a
//! decision. Plain values and their arithmetic; no files, no clock, no system
//! calls, and nothing is decided here.

mod cost;
mod decision;
mod event;
mod memory;
mod process;
mod snapshot;

pub use crate::cost::{Basis, Cost, Explanation};
pub use crate::decision::{
    Action, Candidate, Cause, Class, Decision, Level, Outcome, Refusal, Verdict,
};
pub use crate::event::{Answer, Depth, Effect, Effects, Event};
pub use crate::memory::Memory;
pub use crate::process::{Name, Preference, Process, ProcessId, Protection, SessionId};
pub use crate::snapshot::{Ask, Snapshot};
