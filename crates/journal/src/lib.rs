//! What the guard was told and what it decided, one line each, in a bounded ring
//! of files; and the way back: the same events, and the same decisions.
//!
//! docs/journal.md says what is in a line.

mod digest;
mod error;
mod folder;
#[cfg(fuzzing)]
pub mod fuzzing;
mod line;
mod reader;
mod replay;
mod row;
mod simulate;
mod system;
mod table;
mod writer;

pub use crate::digest::Digest;
pub use crate::error::Error;
pub use crate::folder::Folder;
pub use crate::line::{Account, Line, Machine, Of, Preface, SignalLine, VERSION};
pub use crate::reader::{JournalReader, LinePlace, ReadLine};
pub use crate::replay::{Replay, Step};
pub use crate::row::ProcessRow;
pub use crate::simulate::{DecisionMade, Parting, Simulation};
pub use crate::system::SystemJournal;
pub use crate::table::{Difference, difference};
pub use crate::writer::Writer;
