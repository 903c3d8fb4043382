//! What can go wrong.

use std::io;
use std::path::PathBuf;

/// What could not be done to a process, or for ourselves.
///
/// A process that is gone is not an error: see [`Signalled::Gone`] and the
/// `None` of [`Held::hold`].
///
/// Making one allocates nothing but [`Self::OomScoreAdj`]'s path, so a refused
/// signal costs no memory.
///
/// [`Signalled::Gone`]: crate::Signalled::Gone
/// [`Held::hold`]: crate::Held::hold
#[derive(Debug, thiserror::Error)]
pub enum ReapError {
    /// No descriptor of the process could be had (too many open files, no
    /// memory).
    #[error("cannot hold process {pid}")]
    Hold {
        /// The process.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The caller's reader failed.
    #[error("cannot read the start time of process {pid}")]
    StartTime {
        /// The process.
        pid: u32,
        /// What the reader said.
        source: io::Error,
    },
    /// The process belongs to a user whose processes we may not signal.
    #[error("not permitted to send {signal} to process {pid}")]
    NotPermitted {
        /// The process.
        pid: u32,
        /// The signal's name.
        signal: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused for another reason.
    #[error("cannot send {signal} to process {pid}")]
    Signal {
        /// The process.
        pid: u32,
        /// The signal's name.
        signal: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// poll(2) failed.
    #[error("cannot wait for processes to end")]
    Wait {
        /// What the kernel said.
        source: io::Error,
    },
    /// The reaper's thread or one of its descriptors could not be had.
    #[error("cannot start the reaper threads")]
    Spawn {
        /// What the kernel said.
        source: io::Error,
    },
    /// The pauser's thread, keeper or one of its descriptors could not be had.
    #[error("cannot pause processes")]
    Pauser {
        /// What the kernel said.
        source: io::Error,
    },
    /// Our oom_score_adj could not be written.
    #[error("cannot write `{}`", path.display())]
    OomScoreAdj {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Our priority could not be raised.
    #[error("cannot set our nice value to {nice}")]
    Priority {
        /// The nice value asked for.
        nice: i32,
        /// What the kernel said.
        source: io::Error,
    },
}
