//! Decides which processes to kill so that the most value stays.
//!
//! [`Guard::handle`] is the only entry point: it takes an [`Event`] and adds the
//! [`Effect`]s to be carried out. It opens no file, reads no clock and makes no
//! system call, so a test runs minutes of guarding in microseconds, and a list
//! of events is a test.
//!
//! ```
//! use std::time::Duration;
//!
//! use oom_policy::{
//!     Action, Depth, Dossier, Effect, Effects, Event, Gates, Guard, Memory, Moment, Name, Process,
//!     ProcessId, Seen, Settings, Surroundings,
//! };
//!
//! # fn job(pid: u32, value: u32, bytes: u64) -> Process {
//! #     Process {
//! #         seen: Seen {
//! #             uid: 1000,
//! #             login: true,
//! #             name: Name::new(b"job"),
//! #             anon_bytes: bytes,
//! #             ..Seen::new(ProcessId { pid, start_ticks: 1 })
//! #         },
//! #         dossier: Dossier {
//! #             value: Some(value),
//! #             ..Dossier::default()
//! #         },
//! #     }
//! # }
//! let mut guard = Guard::new(
//!     Settings::default(),
//!     Gates::default(),
//!     Surroundings::default(),
//!     64,
//! );
//! let mut effects = Effects::default();
//!
//! // With 4 % of memory available and no swap, it asks for the process table.
//! let memory = Memory {
//!     total_bytes: 100 << 30,
//!     available_bytes: 4 << 30,
//!     ..Memory::default()
//! };
//! let now = Moment::after_origin(Duration::from_secs(1));
//! guard.handle(now, Event::Memory(memory), &mut effects);
//! assert!(effects.by_ref().any(|effect| effect == Effect::ReadTable(Depth::Fast)));
//!
//! // Killing the job with the lower value frees enough.
//! let processes = [job(100, 9, 40 << 30), job(200, 5, 40 << 30)];
//! let depth = Depth::Fast;
//! let table = Event::Table { depth, processes: &processes };
//! guard.handle(now, table, &mut effects);
//! let kill = Effect::Act(Action::Kill(processes[1].id));
//! assert_eq!(effects.next(), Some(kill));
//! ```

mod buffer;
mod choice;
mod critical;
mod forecast;
mod forest;
mod gate;
mod growth;
mod guard;
mod levels;
mod lineage;
mod pace;
mod pauses;
mod policy;
mod ranking;
mod respawn;
mod schedule;
mod scope;
mod settings;
mod together;
mod units;
mod value;
mod victims;

pub use crate::choice::{cheapest_with, cheapest_without};
pub use crate::critical::{HIDDEN_BELOW_BYTES, critical_below_bytes};

pub use crate::gate::{Gate, Gates};
pub use crate::guard::{Checkpoint, Guard, Surroundings};
pub use crate::levels::Levels;
pub use crate::policy::NextKill;
pub use crate::settings::{Amount, Floor, Settings, SettingsError};
pub use model::{
    Action, Answer, Ask, Basis, Blame, Candidate, Cause, Class, CommandLabel, Cost, Decision,
    Depth, Dossier, Effect, Effects, EndedBy, Event, Explanation, FirstSignal, Gain, GroupBy,
    KilledWith, Label, Level, Memory, Moment, Name, PauseAnswer, PauseRefusal, PauseWord, Pausing,
    Per, Preference, Process, ProcessId, Protection, Rate, Refusal, Respawner, Seen, SessionId,
    Taker, Unpausable, Verdict, Worth,
};
