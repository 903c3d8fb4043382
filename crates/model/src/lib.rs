//! The types that all parts of the daemon share: a process, memory, an event, a
//! decision. Plain values and their arithmetic: no files, no clock, no system
//! calls, no decisions.
//!
//! ```
//! use model::{Basis, Cost, Explanation, Memory};
//!
//! let memory = Memory {
//!     total_bytes: 16 << 30,
//!     available_bytes: 1 << 30,
//!     hugetlb_bytes: 4 << 30,
//!     ..Memory::default()
//! };
//! assert_eq!(memory.usable_bytes(), 12 << 30);
//!
//! // A growing process costs half its value, less the penalty for earlier losses.
//! let explanation = Explanation::new(Basis::Value(8), true, Cost::of_value(3));
//! assert_eq!(explanation.to_string(), "cost 1 = value 8, counts as 4 while it grows, − penalty 3");
//! ```

mod ask;
mod cost;
mod decision;
mod event;
mod memory;
mod moment;
mod process;
mod worth;

pub use crate::ask::Ask;
pub use crate::cost::{Basis, Cost, Explanation};
pub use crate::decision::{
    Action, Blame, Candidate, Cause, Class, Decision, EndedBy, Level, Refusal, Respawner, Taker,
    Verdict,
};
pub use crate::event::{Answer, Depth, Effect, Effects, Event, PauseAnswer, PauseRefusal};
pub use crate::memory::{Memory, Paging, ZRAM_LEAST_GAIN, ZRAM_SAMPLE};
pub use crate::moment::Moment;
pub use crate::process::{
    CommandLabel, Dossier, FirstSignal, GroupBy, KilledWith, Label, Name, PauseWord, Pausing,
    Preference, Process, ProcessId, Protection, RunState, Seen, SessionId, Unpausable,
};
pub use crate::worth::{Gain, Per, Rate, Worth};
