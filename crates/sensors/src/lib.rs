//! What the kernel says of memory, pressure and processes, as plain values.
//!
//! Every reader is given its file or its root directory, so a test is a
//! directory. Nothing is decided here, and nothing is written but the lines
//! that arm a [`PressureTrigger`].
//!
//! - [`Meminfo`] and [`PressureFile`] keep their file open and read it into a
//!   buffer of their own: no heap, no open(2). So does [`Zoneinfo`], with one
//!   on the stack.
//! - [`ProcessTable`] keeps a descriptor of each process, so that the scan a
//!   decision waits for costs one read a process, and the scan during the
//!   kernel's last call opens nothing at all.
//! - [`survey()`] reads for it what may keep its reader waiting, and so belongs
//!   on a thread of its own.
//! - [`ProcRoot`] answers for one process at a time.
//!
//! Text that cannot be true costs the field that it is in, not the file: what
//! is taken in its place is for one module to say ([`Implausible`]).
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
//! for (_, dossier) in table.unjudged().filter(|(seen, _)| seen.id.pid == pid) {
//!     // A system service, say, below 64 MiB.
//!     dossier.critical_below_bytes = 64 << 20;
//! }
//! // From now on that stays, and one read tells what the process holds.
//! table.scan(Depth::Held)?;
//! let mut processes = Vec::new();
//! table.join(|id| (id.pid == pid).then_some(7), &mut processes);
//! let joined = processes.iter().find(|process| process.id.pid == pid);
//! let process = joined.ok_or("it has not ended")?;
//! assert_eq!(process.parent, std::process::id());
//! assert!(process.rss_bytes > 0 && process.dossier.critical_below_bytes > 0);
//! assert_eq!(process.dossier.value, Some(7));
//! # Ok(())
//! # }
//! ```
//!
//! A process that exits while it is looked at is ordinary: it is `None`, or
//! absent, never an error.

mod cgroup;
mod error;
mod families;
mod file;
#[cfg(fuzzing)]
pub mod fuzzing;
mod inquiry;
mod meminfo;
mod notifier;
mod number;
mod pid_files;
mod plausible;
mod pressure;
mod proc_root;
mod process;
mod share;
mod shared_memory;
mod smaps;
mod survey;
mod table;
mod zoneinfo;

pub use crate::error::ReadError;
pub use crate::meminfo::Meminfo;
pub use crate::notifier::{Notifier, NotifierParameters, Percentages};
pub use crate::plausible::{Implausible, Notified, NotifierLevel, bound};
pub use crate::pressure::{PressureFile, PressureTrigger};
pub use crate::proc_root::{KernelFunction, ProcRoot, Runner};
pub use crate::survey::{Executable, Inquiry, Survey, What, survey};
pub use crate::table::{ProcessTable, Scan};
pub use crate::zoneinfo::Zoneinfo;
pub use model::Depth;
