//! What was decided, and why, as plain values.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cost::{Cost, Explanation};
use crate::process::{Name, ProcessId};

/// How short the machine is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Level {
    /// Above a threshold.
    #[default]
    Ok,
    /// Memory and swap both at or below the warn threshold.
    Warn,
    /// Memory and swap both at or below the kill threshold.
    Kill,
}

/// Why there was something to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// The level is [`Level::Warn`] or [`Level::Kill`].
    Level(Level),
    /// Tasks stall, or memory is full within seconds: nothing is killed for it.
    Stall,
    /// A paused unit has waited long enough: another is paused in its place.
    TimeSlice,
    /// Relief was asked for.
    Relief,
    /// The kernel is about to kill.
    LastCall,
    /// A person wants a unit paused.
    Word,
}

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Have the command of its unit end it: that of the rule that the unit's leader
    /// matches.
    Command(ProcessId),
    /// SIGTERM.
    Terminate(ProcessId),
    /// SIGKILL, then `process_mrelease`.
    Kill(ProcessId),
    /// Stop a process of the unit that the next [`Action::PageOut`] names. The
    /// leader comes last.
    Freeze(ProcessId),
    /// Page out memory of the unit that was stopped.
    PageOut {
        /// The unit's leader.
        unit: ProcessId,
        /// At most so much.
        mebibytes: u32,
    },
    /// Continue the frozen unit that this process leads.
    Thaw(ProcessId),
}

/// By what a process is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EndedBy {
    /// [`Action::Command`]
    Command,
    /// [`Action::Terminate`]
    Terminate,
    /// [`Action::Kill`]
    #[default]
    Kill,
}

impl Action {
    /// What it ends, and by what; `None` for one that ends nothing.
    #[must_use]
    pub fn ends(self) -> Option<(ProcessId, EndedBy)> {
        match self {
            Self::Command(id) => Some((id, EndedBy::Command)),
            Self::Terminate(id) => Some((id, EndedBy::Terminate)),
            Self::Kill(id) => Some((id, EndedBy::Kill)),
            Self::Freeze(_) | Self::PageOut { .. } | Self::Thaw(_) => None,
        }
    }
}

/// Which units are chosen first: all of a class before any of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// Registered units, ordinary users' units, and what grew like a bomb, alone
    /// or as part of its group.
    Ordinary,
    /// Unregistered, of root or a system account, outside a login session, and
    /// not part of what grew like a bomb.
    System,
}

/// One unit that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Candidate {
    /// Its root process.
    pub leader: ProcessId,
    /// The leader's name.
    pub name: Name,
    /// How many processes it is.
    pub processes: u32,
    /// Its class.
    pub class: Class,
    /// What killing it costs, step by step.
    pub explanation: Explanation,
    /// Anonymous resident, swap, page tables and last-mapped shared memory in
    /// bytes.
    pub held_bytes: u64,
    /// Bytes per second, never negative.
    pub growth_bytes_per_second: u64,
    /// What killing it is expected to free, in bytes.
    pub frees_bytes: u64,
    /// The candidate whose end ends this one too: its place among them all. Where
    /// that one is chosen, so is this.
    pub ends_with: Option<u32>,
    /// How many other candidates end with this one.
    pub ends: u32,
    /// Whether it is paused, by an earlier decision.
    pub is_paused: bool,
    /// Whether it was chosen.
    pub chosen: bool,
}

impl Candidate {
    /// What is lost with it: its value, or its share of its group's 1.
    #[must_use]
    pub fn lost(&self) -> Cost {
        self.explanation.basis.cost()
    }
}

/// Why nothing (more) is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// Memory is at or above the recovery level: relief is for thrashing, not
    /// for tasks throttled at their own cgroup's limit.
    EnoughAvailable,
    /// The recovery interval since the last relief is not over.
    RecoveryInterval {
        /// What is left of it.
        remaining: Duration,
    },
    /// What earlier victims still hold is enough.
    Pending {
        /// In bytes.
        bytes: u64,
    },
    /// Of a candidate it is not yet known whether it may be paused.
    Unsurveyed,
    /// Swap has no room for what would be pushed out.
    SwapFull,
    /// What costs least is a worker that is started again each time it is killed.
    ComesBack,
    /// Memory and swap fill so fast that pausing would only fill them: what
    /// grows is killed when a threshold is met.
    FillsTooFast,
    /// At warn: processes that are not candidates took the memory.
    TakenByOthers,
    /// Killing all eligible candidates would not bring the level back to ok.
    NothingHelps {
        /// What killing all of them would free, in bytes.
        eligible_bytes: u64,
    },
}

/// What processes that are not candidates took of memory since it was last
/// enough, where that is much of what memory fell by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Blame {
    /// What memory and swap fell by, in bytes.
    pub fell_bytes: u64,
    /// What they took of it, in bytes.
    pub taken_bytes: u64,
    /// The groups that took the most, that first.
    pub takers: [Option<Taker>; Self::NAMED],
}

impl Blame {
    /// So many are named.
    pub const NAMED: usize = 3;
}

/// A group that took memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Taker {
    /// The process of it that took the most.
    pub id: ProcessId,
    /// Its name.
    pub name: Name,
    /// Its real user.
    pub uid: u32,
    /// How many processes of the group took some.
    pub processes: u32,
    /// What they took, in bytes.
    pub taken_bytes: u64,
}

/// A worker that was killed several times and started again each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Respawner {
    /// The one that runs now.
    pub worker: ProcessId,
    /// Its name.
    pub name: Name,
    /// How often it was killed.
    pub kills: u32,
    /// The pid of its parent, which starts it again.
    pub supervisor: u32,
    /// What that is called, where it can be seen.
    pub supervisor_name: Option<Name>,
    /// Whether both are one unit by now; else the worker is not killed before
    /// memory is at the kill level.
    pub is_unit: bool,
}

/// The end of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// There was nothing to decide.
    Idle,
    /// The chosen candidates are killed.
    Chosen,
    /// The chosen candidates are paused.
    Paused,
    /// None is killed, and why.
    Refused(Refusal),
}

/// What one step decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// The level the machine is at.
    pub level: Level,
    /// Why there was something to decide; `None` when there was not.
    pub cause: Option<Cause>,
    /// What it came to.
    pub verdict: Verdict,
    /// Bytes that had to be covered, growth over the horizon included.
    pub need_bytes: u64,
    /// All candidates, in no particular order; empty when nothing was decided.
    pub candidates: Vec<Candidate>,
    /// Sum of the chosen units' given values, shares of a group's 1 counted
    /// as such.
    pub lost: Cost,
    /// What killing the chosen units is expected to free, in bytes.
    pub frees_bytes: u64,
    /// Whether others than the candidates took the memory.
    pub blame: Option<Blame>,
    /// Whether the chosen units cover the need. False where all candidates
    /// together would not: then one unit is chosen, and memory is looked at
    /// again.
    pub covers_need: bool,
    /// Proven gap to the least possible cost; zero: exact.
    pub gap: Cost,
    /// A worker that turned out to come back each time it is killed.
    pub respawner: Option<Respawner>,
    /// To be carried out, in order.
    pub actions: Vec<Action>,
    /// When the policy wants the next step at the latest (a grace or a
    /// deadline ends then), from now.
    pub wake_after: Option<Duration>,
}

impl Decision {
    /// Nothing is decided yet.
    #[must_use]
    pub fn idle() -> Self {
        Self {
            level: Level::Ok,
            cause: None,
            verdict: Verdict::Idle,
            need_bytes: 0,
            candidates: Vec::new(),
            lost: Cost::ZERO,
            frees_bytes: 0,
            blame: None,
            covers_need: false,
            gap: Cost::ZERO,
            respawner: None,
            actions: Vec::new(),
            wake_after: None,
        }
    }
}
