//! What we ask of the kernel for ourselves.
//!
//! Locking our memory is not here: nix has mlockall(2), and the daemon knows
//! when its buffers are made.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use rustix::process::setpriority_process;

use crate::error::ReapError;

/// The kernel's OOM killer never picks a process that has this:
/// proc_pid_oom_score_adj(5).
const NEVER: &str = "-1000";

/// First in line for a processor among ordinary tasks: setpriority(2).
const FIRST: i32 = -20;

/// Where a thread stands when nothing was asked for.
const ORDINARY: i32 = 0;

/// What [`protect_ourselves`] got. Nothing of it is fatal: without it a daemon
/// is only likelier to be late, or to be the kernel's victim itself.
#[derive(Debug)]
pub struct SelfProtection {
    /// Whether the kernel's OOM killer will spare us. Needs CAP_SYS_RESOURCE.
    pub oom_score_adj: Result<(), ReapError>,
    /// Whether we run before others. Needs CAP_SYS_NICE or RLIMIT_NICE.
    pub priority: Result<(), ReapError>,
}

impl SelfProtection {
    /// What could not be had.
    pub fn failures(&self) -> impl Iterator<Item = &ReapError> {
        [&self.oom_score_adj, &self.priority]
            .into_iter()
            .filter_map(|result| result.as_ref().err())
    }
}

/// Sets our oom_score_adj to −1000 in the `/proc` at `proc_root`, and the
/// calling thread's nice value to −20.
///
/// Linux keeps a nice value per thread, and a new thread inherits it: call this
/// before threads are made. Programs we start inherit both, so code that starts
/// one (a hook) resets them.
#[must_use]
pub fn protect_ourselves(proc_root: &Path) -> SelfProtection {
    SelfProtection {
        oom_score_adj: write_oom_score_adj(proc_root, NEVER),
        priority: setpriority_process(None, FIRST).map_err(|err| ReapError::Priority {
            nice: FIRST,
            source: err.into(),
        }),
    }
}

/// Gives up what [`protect_ourselves`] got, in a program that we have started
/// and that inherited it: any process may ask for less.
///
/// # Errors
///
/// [`ReapError::OomScoreAdj`]: the kernel would still spare it.
pub fn resign_protection(proc_root: &Path) -> Result<(), ReapError> {
    // A thread that was not raised is where it was, and one that was may be lowered.
    let _ = setpriority_process(None, ORDINARY);
    write_oom_score_adj(proc_root, "0")
}

/// Returns unused heap to the kernel: to be called before memory is locked,
/// since parsing arguments and reading tables for the first time leaves holes
/// of hundreds of KiB that would be locked with the rest.
///
/// It is here because what is unsafe is here.
#[cfg_attr(
    target_env = "gnu",
    expect(
        unsafe_code,
        reason = "the standard library does not ask its allocator to trim"
    )
)]
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes no pointer, locks what it needs, and gives
    // back only pages that no allocation lies in.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn write_oom_score_adj(proc_root: &Path, oom_score_adj: &str) -> Result<(), ReapError> {
    let path = proc_root.join("self/oom_score_adj");
    let written = OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(oom_score_adj.as_bytes()));
    written.map_err(|source| ReapError::OomScoreAdj { path, source })
}
