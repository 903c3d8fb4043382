//! Which process has a pid, as the caller says.

use std::time::Duration;

use model::Name;

/// The process that has a pid now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// The user it runs as: its real user id.
    pub uid: u32,
    /// When it started, in clock ticks since boot, as in
    /// [`ProcessId`](model::ProcessId).
    pub start_ticks: u64,
    /// How long ago that was, by a clock that no one sets.
    pub age: Duration,
    /// What it calls itself.
    pub name: Name,
    /// The process it is a thread of; its own pid, unless that is a thread's.
    pub process: u32,
    /// Whether it is one of the kernel's own threads.
    pub is_kernel_thread: bool,
}

/// What a pid stands for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A process.
    Runs(Occupant),
    /// No process, or a zombie.
    Gone,
    /// It could not be found out this time.
    Unknown,
}
