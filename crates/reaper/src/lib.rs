//! Kills processes and frees their memory, or pauses them.
//!
//! - A [`Held`] is a process held by a pidfd whose start time was checked, so
//!   that a signal reaches this process or none.
//! - [`Reaper`]: threads that free a victim's memory without
//!   waiting for the victim to be scheduled.
//! - [`Pauser`] freezes and thaws processes and pushes their memory out to swap;
//!   its [`Keeper`] thaws them when the daemon is gone.
//! - [`kill_session`] kills a program that we started ourselves.
//! - [`protect_ourselves`] asks the kernel not to kill us and to run us first.
//!
//! This crate decides nothing: not what to kill, not when, not whether a grace
//! period is over. It parses nothing either; the caller supplies the reader of
//! start times.
//!
//! Here a child is held, sent SIGTERM, and waited for:
//!
//! ```
//! use std::{fs, io, process::Command, time::Duration};
//!
//! use model::ProcessId;
//! use reaper::{Held, Signalled, wait_gone};
//!
//! // Field 22 of proc_pid_stat(5); the name before it is `sleep`.
//! fn start_ticks(pid: u32) -> io::Result<Option<u64>> {
//!     let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
//!     Ok(stat.split(' ').nth(21).and_then(|field| field.parse().ok()))
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut child = Command::new("sleep").arg("60").spawn()?;
//! let pid = child.id();
//! let start_ticks_now = start_ticks(pid)?.ok_or("it has a start time")?;
//! let id = ProcessId { pid, start_ticks: start_ticks_now };
//! let held = Held::hold(id, start_ticks)?.ok_or("it is not reaped yet")?;
//! assert_eq!(held.terminate()?, Signalled::Sent);
//! assert!(wait_gone(&[held], Duration::from_secs(10))?);
//!
//! // The same pid with another start time is another process, and is not held.
//! let other = ProcessId { pid, start_ticks: start_ticks_now + 1 };
//! assert!(Held::hold(other, start_ticks)?.is_none());
//! child.wait()?;
//! # Ok(())
//! # }
//! ```
//!
//! This is the only crate with unsafe code: in what [`trim_memory`] calls, and in
//! the calls of `process_mrelease`, `process_madvise` and `kcmp`, which have no
//! safe wrapper.

mod bell;
mod calls;
mod cgroup;
mod error;
mod held;
mod helper;
mod keeper;
mod leftover;
mod page_out;
mod pauser;
mod process_reader;
mod protection;
mod reaper;

pub use crate::calls::{Calls, Missing, have_one_memory};
pub use crate::error::ReapError;
pub use crate::held::{Held, Signalled, count_gone, wait_gone};
pub use crate::helper::kill_session;
pub use crate::keeper::{Keeper, keep};
pub use crate::leftover::{LeftoverError, Thawing, thaw_leftover};
pub use crate::pauser::{Pauser, Report};
pub use crate::process_reader::ProcessReader;
pub use crate::protection::{
    Code, SelfProtection, protect_ourselves, resign_protection, trim_memory,
};
pub use crate::reaper::{Reaper, Tally};
pub use model::{Paging, RunState};
