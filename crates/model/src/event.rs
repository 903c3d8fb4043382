//! What the guard is told, and what it wants done.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ask::Ask;
use crate::cost::Cost;
use crate::decision::{Action, EndedBy, Refusal};
use crate::memory::Memory;
use crate::process::{Process, ProcessId, Unpausable};

/// How much of the process table is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Depth {
    /// The memory of processes that are held by pidfd. Opens nothing, allocates
    /// nothing, sees no newcomer: for the kernel's last call.
    Held,
    /// Every process, what the known ones hold in memory, and all of the
    /// newcomers that a decision needs. Swap and faults of the known ones stay
    /// as they were.
    Fast,
    /// Everything of every process: for quiet rounds. Of one that holds what it held
    /// when all of it was read, within 10 s, only what protects it from being killed.
    Full,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Memory was read.
    Memory(Memory),
    /// Memory cannot be read now. No level is reached by old figures, but
    /// relief is decided, and victims are followed.
    Unreadable {
        /// What was read last.
        last: Memory,
    },
    /// The process table was read, by ascending pid, as deep as was asked for.
    Table {
        /// How deep.
        depth: Depth,
        /// Every process seen.
        processes: &'a [Process],
    },
    /// All tasks stalled on memory for a share of a pressure window: that of
    /// the gate to pausing ([`Ask::Pause`]) or to killing ([`Ask::Relief`]).
    Stalled(Ask),
    /// A person or a program asked for relief.
    Asked,
    /// The value of a process was given, changed or withdrawn, or many of those
    /// have ended that the last will names.
    Revalued,
    /// The kernel is about to kill, and waits for an answer to this call.
    LastCall {
        /// The call's number.
        sequence: u64,
        /// What the kernel says is left.
        memory: Memory,
    },
    /// The signal of an action was sent.
    Sent(ProcessId),
    /// An action that is no signal was handed over.
    Ordered,
    /// A victim is gone.
    Gone(ProcessId),
    /// The signal of an action was not sent: the process had exited by itself,
    /// or this is a dry run.
    Unsent(ProcessId),
    /// A process could not be signalled (not permitted).
    Refused(ProcessId),
    /// As much as can be of the paused unit that this process leads is paged out.
    PagedOut(ProcessId),
    /// The paused unit that this process leads runs, though it was not thawed
    /// here: a person let it go on.
    Continued(ProcessId),
    /// The unit that this process leads could not be frozen, or could not stay so, and runs.
    Unfrozen(ProcessId),
    /// A person wants the unit that this process is in to be paused.
    PauseAsked {
        /// The process.
        id: ProcessId,
        /// The user whose unit it is to be; `None`: whichever, as root may.
        uid: Option<u32>,
    },
    /// The command that was to end the unit that this process leads could not be
    /// run, or failed.
    CommandFailed(ProcessId),
    /// A process is ended that was not decided here: the watchdog killed it
    /// from the order of kills it was left, or it is a victim of another scope.
    Killed {
        /// As of the last table.
        process: &'a Process,
        /// What is lost with it, as of that order.
        lost: Cost,
        /// Whether it has its grace, and more.
        by: EndedBy,
    },
}

/// Something to do. Effects are carried out in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read memory again after this long at the latest.
    LookAgain {
        /// From now.
        after: Duration,
    },
    /// Say that memory will soon be full, and what would be killed.
    Forewarn {
        /// In how long, if memory goes on falling as it does.
        full_in: Duration,
    },
    /// Read the process table and hand it over. Where that is not done, it is
    /// asked for again at the next look.
    ReadTable(Depth),
    /// Send a signal, have a command run, or have something paused or resumed. What became
    /// of it is one event: [`Event::Sent`], [`Event::Unsent`], [`Event::Refused`], or
    /// [`Event::Gone`] where it was signalled before; [`Event::Ordered`] of what is no
    /// signal and was handed over.
    Act(Action),
    /// Tell the kernel that memory will come.
    AnswerKernel {
        /// The call's number.
        sequence: u64,
    },
    /// Tell the kernel that none will, and that it need not wait.
    DeclineKernel {
        /// The call's number.
        sequence: u64,
    },
    /// Free the memory of what was killed, without waiting for it.
    Free,
    /// Answer all clients that wait for relief.
    Answer(Answer),
    /// Answer the person whose [`Event::PauseAsked`] was the last.
    AnswerPause(PauseAnswer),
    /// Report the decision and what was done.
    Tell,
    /// Leave the watchdog the order of kills, should the loop hang.
    LeaveWill,
    /// Open a pidfd for each process that may be killed, so that a last call
    /// opens nothing.
    HoldAhead,
    /// Nothing is urgent: make room for the processes to come, and measure.
    Rest,
}

/// What clients that asked for relief are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is under way.
    Granted {
        /// How many signals were sent for it.
        signals: usize,
        /// What the victims are counted to free, in bytes.
        bytes: u64,
    },
    /// Units are paused for it.
    Paused {
        /// How many processes that are.
        processes: usize,
        /// What they hold in memory, in bytes.
        bytes: u64,
    },
    /// It is not, and why.
    Refused(Refusal),
    /// A dry run kills nothing.
    DryRun,
}

/// What a person is told that wants a unit paused. Units are named by their leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseAnswer {
    /// It is being paused.
    Ordered(ProcessId),
    /// It was paused already, and now stays so until it is thawed by a person.
    Stays(ProcessId),
    /// A dry run pauses nothing.
    DryRun,
    /// It is not paused, and why.
    Refused(PauseRefusal),
}

/// Why a unit is not paused though a person wants that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseRefusal {
    /// Pausing is off.
    Off,
    /// Memory is short: now processes are killed.
    Short,
    /// There is no such process (any more).
    Gone,
    /// It is pending, protected, or no candidate.
    NotEligible,
    /// A process of another user is in the unit.
    OfAnotherUser,
    /// A process of the unit may not be paused.
    Unpausable(Unpausable),
    /// No more units or processes may be paused at once.
    TooMany,
}

/// Effects in the order in which they are to be carried out.
///
/// Never more than [`Effects::ROOM`]: of a decision's actions, the next is
/// added when it is known what became of the one before.
#[derive(Debug)]
pub struct Effects {
    queue: VecDeque<Effect>,
}

impl Effects {
    /// How many there are at once at most.
    pub const ROOM: usize = 16;

    /// Adds one at the end.
    pub fn push(&mut self, effect: Effect) {
        self.queue.push_back(effect);
    }
}

impl Default for Effects {
    fn default() -> Self {
        Self {
            queue: VecDeque::with_capacity(Self::ROOM),
        }
    }
}

/// The next to carry out.
impl Iterator for Effects {
    type Item = Effect;

    fn next(&mut self) -> Option<Effect> {
        self.queue.pop_front()
    }
}
