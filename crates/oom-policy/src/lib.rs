//! Decides which processes end so that the most value stays.
//!
//! The policy is a function of its own state, the time and what was seen:
//! [`Policy::step`] takes a [`Snapshot`] and returns a [`Decision`]. It opens
//! no file, reads no clock and makes no system call, so minutes of behaviour
//! are a test of microseconds, and a recorded snapshot is a test.

mod choice;
mod critical;
mod forest;
mod gate;
mod growth;
mod guard;
mod levels;
mod pace;
mod policy;
mod schedule;
mod settings;
mod units;
mod value;
mod victims;

pub use crate::critical::{HIDDEN_BELOW_BYTES, critical_below_bytes};

pub use crate::gate::Gate;
pub use crate::guard::{Guard, Surroundings};
pub use crate::policy::{Look, Policy};
pub use crate::settings::{Amount, Floor, Settings, SettingsError};
pub use model::{
    Action, Answer, Ask, Basis, Candidate, Cause, Class, Cost, Decision, Depth, Effect, Effects,
    Event, Explanation, Level, Memory, Name, Outcome, Preference, Process, ProcessId, Protection,
    Refusal, SessionId, Snapshot, Verdict,
};
