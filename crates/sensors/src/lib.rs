//! Reads memory, pressure and processes from the kernel, as plain values.
//!
//! Each reader is given its file or its root directory, so a test is a
//! directory. This crate decides nothing, and writes nothing but the lines that
//! arm a [`PressureTrigger`].
//!
//! - [`Meminfo`], [`Zram`], [`Arcstats`] and [`PressureFile`] keep their files
//!   open and read them into a buffer of their own: no heap, no open(2).
//!   [`Zoneinfo`] does the same, with its buffer on the stack.
//! - [`ProcessTable`] keeps a descriptor for each process, so that the scan
//!   before a decision costs one read per process, and the scan during the
//!   kernel's last call opens nothing.
//! - [`survey()`] reads for it the files that may make their reader wait, so it
//!   belongs on a thread of its own.
//! - [`ProcRoot`] reads one process at a time.
//!
//! Text that cannot be true costs the field that it is in, not the file. One
//! module defines what is used instead ([`Implausible`]).
//!
//! ```
//! use sensors::{Depth, ProcRoot, ProcessTable};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let child = std::process::Command::new("sleep").arg("60").spawn()?;
//! let pid = child.id();
//! # struct Reaped(std::process::Child);
//! # impl Drop for Reaped {
//! #     fn drop(&mut self) {
//! #         let _ = self.0.kill().and_then(|()| self.0.wait());
//! #     }
//! # }
//! # let child = Reaped(child);
//!
//! let mut table = ProcessTable::new(ProcRoot::at("/proc"), 1000);
//! table.scan(Depth::Fast)?;
//! for (_, dossier) in table.unclassified().filter(|(seen, _)| seen.id.pid == pid) {
//!     // Session-critical while it holds less than 64 MiB, say.
//!     dossier.critical_below_bytes = 64 << 20;
//! }
//! // The table keeps that, and from now on one read says what the process holds.
//! table.scan(Depth::Held)?;
//! let mut processes = Vec::new();
//! table.join(0, |id| (id.pid == pid).then_some(7.into()), &mut processes);
//! let joined = processes.iter().find(|process| process.id.pid == pid);
//! let process = joined.ok_or("it has not ended")?;
//! assert_eq!(process.parent, std::process::id());
//! assert!(process.rss_bytes > 0 && process.dossier.critical_below_bytes > 0);
//! assert_eq!(process.dossier.value, Some(7));
//! # Ok(())
//! # }
//! ```
//!
//! A process that exits while it is being read is ordinary: it is `None`, or
//! absent, not an error.

mod arcstats;
mod cgroup;
mod cgroup_memory;
mod cgroup_mount;
mod error;
mod families;
mod file;
#[cfg(fuzzing)]
pub mod fuzzing;
mod holders;
mod inquiry;
mod meminfo;
mod notifier;
mod number;
mod one_memory;
mod pausing;
mod pid_files;
mod plausible;
mod pressure;
mod proc_root;
mod process;
mod scopes;
mod share;
mod shared_memory;
mod smaps;
mod survey;
mod table;
mod ties;
mod unmeasured;
mod zoneinfo;
mod zram;

pub use crate::arcstats::Arcstats;
pub use crate::cgroup::{ContainerCgroup, outside_namespace};
pub use crate::cgroup_memory::{Cgroup, CgroupError, CgroupMemory};
pub use crate::error::ReadError;
pub use crate::meminfo::Meminfo;
pub use crate::notifier::{Notifier, NotifierParameters, Percentages};
pub use crate::pausing::PauseFiles;
pub use crate::plausible::{Implausible, Notified, NotifierLevel, bound};
pub use crate::pressure::{PressureFile, PressureTrigger};
pub use crate::proc_root::{KernelFunction, Lineage, ProcRoot, Runner};
pub use crate::scopes::Scopes;
pub use crate::survey::{
    CommandLine, Executable, Inquiry, Labelled, Portrait, Survey, What, portray,
    sees_cgroups_from_within, status_numbers, survey,
};
pub use crate::table::{ProcessTable, Scan};
pub use crate::zoneinfo::Zoneinfo;
pub use crate::zram::Zram;
pub use model::Depth;
