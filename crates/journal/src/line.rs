//! What a line says: docs/journal.md.

use oom_policy::{
    Ask, Candidate, Cause, Checkpoint, Cost, Depth, EndedBy, Event, Level, Memory, Moment, Name,
    ProcessId, Settings, Verdict,
};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::row::ProcessRow;

/// What the lines of this version are. One is added where lines change so that an
/// earlier version would take them for something else.
pub const VERSION: u32 = 1;

/// One line. Written as an object with one field, which says what kind it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// The first of each file.
    Journal(Preface),
    /// All that the guard remembers: from here on it can be replayed.
    State {
        /// When.
        at: Moment,
        /// The same by the wall clock.
        time: String,
        /// Whether it is the state that the lines above lead to.
        follows: bool,
        /// That.
        guard: Box<Checkpoint>,
    },
    /// [`Event::Memory`]
    Memory {
        /// When.
        at: Moment,
        /// In bytes.
        #[serde(with = "numbers")]
        memory: Memory,
    },
    /// [`Event::Unreadable`]
    Unreadable {
        /// When.
        at: Moment,
        /// What was read last.
        #[serde(with = "numbers")]
        last: Memory,
    },
    /// [`Event::Table`]
    Table {
        /// When.
        at: Moment,
        /// How deep.
        depth: Depth,
        /// What is new or has changed since the last table, by ascending pid; all
        /// of them after a state.
        rows: Vec<ProcessRow>,
        /// The pids that are gone since then.
        gone: Vec<u32>,
        /// Of the decision that came of it.
        decision: Digest,
    },
    /// [`Event::Stalled`]
    Stalled {
        /// When.
        at: Moment,
        /// Which gate.
        gate: Ask,
    },
    /// [`Event::Asked`]
    Asked {
        /// When.
        at: Moment,
    },
    /// [`Event::Revalued`]
    Revalued {
        /// When.
        at: Moment,
    },
    /// [`Event::LastCall`]
    LastCall {
        /// When.
        at: Moment,
        /// The call's number.
        sequence: u64,
        /// What the kernel says is left.
        #[serde(with = "numbers")]
        memory: Memory,
    },
    /// [`Event::Sent`]
    Sent(Of),
    /// [`Event::Ordered`]
    Ordered {
        /// When.
        at: Moment,
    },
    /// [`Event::Gone`]
    Gone(Of),
    /// [`Event::Unsent`]
    Unsent(Of),
    /// [`Event::Refused`]
    Refused(Of),
    /// [`Event::PagedOut`]
    PagedOut(Of),
    /// [`Event::Continued`]
    Continued(Of),
    /// [`Event::Unfrozen`]
    Unfrozen(Of),
    /// [`Event::CommandFailed`]
    CommandFailed(Of),
    /// [`Event::PauseAsked`]
    PauseAsked {
        /// When.
        at: Moment,
        /// What is to be paused.
        id: ProcessId,
        /// By this user; null: by root.
        uid: Option<u32>,
    },
    /// [`Event::Killed`]
    Killed {
        /// When.
        at: Moment,
        /// As of the last table.
        process: ProcessRow,
        /// What is lost with it.
        lost: Cost,
        /// By what it is to end.
        #[serde(default)]
        by: EndedBy,
    },
    /// [`oom_policy::Guard::kernel_asks`]
    KernelAsks {
        /// When.
        at: Moment,
    },
    /// [`oom_policy::Guard::adopt`]
    Adopted {
        /// When.
        at: Moment,
        /// What it decides by from now on.
        settings: Box<Settings>,
    },
    /// What was decided, for readers: a replay makes it anew.
    Decision(Account),
    /// A signal was sent, for readers.
    Signal(SignalLine),
    /// The labels of entries of those that a decision was about, for readers: each
    /// once after a state.
    Labels {
        /// Pid and start of each, and the words behind the value.
        of: Vec<(ProcessId, String)>,
    },
    /// So many lines are missing.
    Lost {
        /// How many.
        lines: u64,
    },
}

/// A process something became of.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Of {
    /// When.
    pub at: Moment,
    /// Its pid and its start.
    pub id: ProcessId,
}

/// What a file is, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preface {
    /// [`VERSION`]
    pub version: u32,
    /// The program that wrote it, with its version.
    pub program: String,
    /// When it was begun, by the wall clock.
    pub time: String,
    /// Where.
    pub machine: Machine,
    /// What the policy was set up with.
    pub settings: Option<Settings>,
    /// Whether it begins where the file before it ends.
    pub continues: bool,
}

/// The machine that a file comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The kernel's name, release and architecture.
    pub kernel: String,
    /// How many processors it has.
    pub processors: usize,
    /// The cgroup that is guarded, where it is not the machine.
    #[serde(default)]
    pub cgroup: Option<String>,
    /// Its memory in bytes.
    pub memory_bytes: u64,
    /// Its swap in bytes.
    pub swap_bytes: u64,
}

/// A decision, as far as it is of use without a replay.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Account {
    /// When.
    pub at: Moment,
    /// The same by the wall clock.
    pub time: String,
    /// How short the machine was.
    pub level: Level,
    /// Why there was something to decide.
    pub cause: Option<Cause>,
    /// What it came to.
    pub verdict: Verdict,
    /// What had to be covered.
    pub need_bytes: u64,
    /// What is expected to be freed.
    pub frees_bytes: u64,
    /// Sum of the values of what was chosen.
    pub lost: Cost,
    /// Proven gap to the least possible cost.
    pub gap: Cost,
    /// Whether what was chosen covers the need.
    pub covers_need: bool,
    /// Of how many candidates.
    pub candidates: u32,
    /// How many were chosen.
    pub chosen: u32,
    /// The first of them.
    pub first: Vec<Candidate>,
}

/// A signal that was sent to a process, or would have been.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignalLine {
    /// By the wall clock.
    pub time: String,
    /// By its name, such as `SIGTERM`; `command` where its rule's is run instead.
    pub signal: String,
    /// Whether it was only said.
    pub dry: bool,
    /// To which process.
    pub id: ProcessId,
    /// Its name.
    pub name: Name,
    /// Its user's number,
    pub uid: u32,
    /// and name, where that is known.
    pub user: Option<String>,
    /// The beginning of its command line, where that is known.
    pub command: Option<String>,
    /// The words of its entry behind the value, where there are some.
    pub labels: Option<String>,
    /// The value that it is registered with.
    pub value: Option<u32>,
    /// Its resident memory.
    pub rss_bytes: u64,
}

impl Line {
    /// The line of an event that is no table; `None` for a table.
    #[must_use]
    pub fn of(at: Moment, event: Event<'_>) -> Option<Self> {
        let of = |id| Of { at, id };
        Some(match event {
            Event::Table { .. } => return None,
            Event::Memory(memory) => Self::Memory { at, memory },
            Event::Unreadable { last } => Self::Unreadable { at, last },
            Event::Stalled(gate) => Self::Stalled { at, gate },
            Event::Asked => Self::Asked { at },
            Event::Revalued => Self::Revalued { at },
            Event::LastCall { sequence, memory } => Self::LastCall {
                at,
                sequence,
                memory,
            },
            Event::Sent(id) => Self::Sent(of(id)),
            Event::Ordered => Self::Ordered { at },
            Event::Gone(id) => Self::Gone(of(id)),
            Event::Unsent(id) => Self::Unsent(of(id)),
            Event::Refused(id) => Self::Refused(of(id)),
            Event::PagedOut(id) => Self::PagedOut(of(id)),
            Event::Continued(id) => Self::Continued(of(id)),
            Event::Unfrozen(id) => Self::Unfrozen(of(id)),
            Event::CommandFailed(id) => Self::CommandFailed(of(id)),
            Event::PauseAsked { id, uid } => Self::PauseAsked { at, id, uid },
            Event::Killed { process, lost, by } => Self::Killed {
                at,
                process: ProcessRow(*process),
                lost,
                by,
            },
        })
    }

    /// The event that it is of; `None` for what is none, or is a table.
    #[must_use]
    pub fn event(&self) -> Option<(Moment, Event<'_>)> {
        Some(match self {
            Self::Memory { at, memory } => (*at, Event::Memory(*memory)),
            Self::Unreadable { at, last } => (*at, Event::Unreadable { last: *last }),
            Self::Stalled { at, gate } => (*at, Event::Stalled(*gate)),
            Self::Asked { at } => (*at, Event::Asked),
            Self::Revalued { at } => (*at, Event::Revalued),
            Self::LastCall {
                at,
                sequence,
                memory,
            } => (
                *at,
                Event::LastCall {
                    sequence: *sequence,
                    memory: *memory,
                },
            ),
            Self::Sent(of) => (of.at, Event::Sent(of.id)),
            Self::Ordered { at } => (*at, Event::Ordered),
            Self::Gone(of) => (of.at, Event::Gone(of.id)),
            Self::Unsent(of) => (of.at, Event::Unsent(of.id)),
            Self::Refused(of) => (of.at, Event::Refused(of.id)),
            Self::PagedOut(of) => (of.at, Event::PagedOut(of.id)),
            Self::Continued(of) => (of.at, Event::Continued(of.id)),
            Self::Unfrozen(of) => (of.at, Event::Unfrozen(of.id)),
            Self::CommandFailed(of) => (of.at, Event::CommandFailed(of.id)),
            Self::PauseAsked { at, id, uid } => (*at, Event::PauseAsked { id: *id, uid: *uid }),
            Self::Killed {
                at,
                process,
                lost,
                by,
            } => (
                *at,
                Event::Killed {
                    process: &process.0,
                    lost: *lost,
                    by: *by,
                },
            ),
            Self::Journal(_)
            | Self::State { .. }
            | Self::Table { .. }
            | Self::KernelAsks { .. }
            | Self::Adopted { .. }
            | Self::Decision(_)
            | Self::Signal(_)
            | Self::Labels { .. }
            | Self::Lost { .. } => return None,
        })
    }

    /// Whether what comes next does not go on where the lines above end: some are
    /// missing, or another daemon wrote them.
    pub(crate) fn is_gap(&self) -> bool {
        matches!(
            self,
            Self::Lost { .. }
                | Self::Journal(Preface {
                    continues: false,
                    ..
                })
        )
    }

    /// Whether it is of something that is worth keeping, with what led to it.
    pub(crate) fn is_news(&self) -> bool {
        matches!(
            self,
            Self::Decision(_) | Self::Signal(_) | Self::LastCall { .. } | Self::Killed { .. }
        )
    }
}

/// Memory as a list of its numbers.
mod numbers {
    use oom_policy::Memory;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    type Numbers = [u64; 12];

    pub(super) fn serialize<S: Serializer>(memory: &Memory, to: S) -> Result<S::Ok, S::Error> {
        // Named one by one, so that what is added is thought of.
        let Memory {
            total_bytes,
            available_bytes,
            at_least_bytes,
            hugetlb_bytes,
            swap_total_bytes,
            swap_free_bytes,
            worthless_swap_bytes,
            zram_bytes,
            anon_bytes,
            shmem_bytes,
            unreclaimable_slab_bytes,
            swap_cached_bytes,
        } = *memory;
        let numbers: Numbers = [
            total_bytes,
            available_bytes,
            at_least_bytes,
            hugetlb_bytes,
            swap_total_bytes,
            swap_free_bytes,
            worthless_swap_bytes,
            zram_bytes,
            anon_bytes,
            shmem_bytes,
            unreclaimable_slab_bytes,
            swap_cached_bytes,
        ];
        numbers.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Memory, D::Error> {
        let numbers = Numbers::deserialize(from)?;
        let [
            total_bytes,
            available_bytes,
            at_least_bytes,
            hugetlb_bytes,
            swap_total_bytes,
            swap_free_bytes,
            worthless_swap_bytes,
            zram_bytes,
            anon_bytes,
            shmem_bytes,
            unreclaimable_slab_bytes,
            swap_cached_bytes,
        ] = numbers;
        Ok(Memory {
            total_bytes,
            available_bytes,
            at_least_bytes,
            hugetlb_bytes,
            swap_total_bytes,
            swap_free_bytes,
            worthless_swap_bytes,
            zram_bytes,
            anon_bytes,
            shmem_bytes,
            unreclaimable_slab_bytes,
            swap_cached_bytes,
        })
    }
}
