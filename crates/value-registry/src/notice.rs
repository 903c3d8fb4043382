//! What there is to say about the registry, a line each.

use std::fmt;

use model::{Name, PauseWord, ProcessId, Rate};

use crate::{Reason, Slip};

/// A process as the log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// Which.
    pub id: ProcessId,
    /// What it calls itself, printed with `?` for what is not plain ASCII.
    pub name: Name,
    /// The user it runs as.
    pub uid: u32,
}

/// Something a reader of the log would want to know. [`fmt::Display`] is one
/// line and shows nothing that a user chose but numbers and names, the latter
/// in printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A process has a value from now on.
    Registered {
        /// Which.
        process: Bearer,
        /// The value that counts.
        value: u32,
        /// What unsaved work adds to it.
        rate: Option<Rate>,
        /// What its entry says; more than `value` where that is capped.
        given: u32,
        /// What it shares with its user's other entries, by their values.
        share: Option<u32>,
        /// Whether the log is to have it: its user may not write too much there.
        is_said: bool,
    },
    /// A registered process has another value from now on.
    Changed {
        /// Which.
        process: Bearer,
        /// Its value.
        value: u32,
        /// What unsaved work adds to it.
        rate: Option<Rate>,
        /// What both were.
        before: (u32, Option<Rate>),
    },
    /// The entry of a registered process says something else of pausing.
    Labelled {
        /// Which.
        process: Bearer,
        /// What it says.
        word: Option<PauseWord>,
    },
    /// An entry that counts says something of pausing that cannot be meant.
    Slipped {
        /// Which process it is for.
        process: Bearer,
        /// What it says.
        slip: Slip,
    },
    /// A process runs on, but its entry has been gone for a second.
    Withdrawn {
        /// Which.
        process: Bearer,
    },
    /// An entry does not count. Said once for a process and a [`Reason`].
    Refused {
        /// For which process it would have spoken.
        process: Bearer,
        /// Why it does not.
        reason: Reason,
        /// Whether it was removed, so that the process can be registered.
        removed: bool,
        /// Whether the log is to have it: its user may not write too much there.
        is_said: bool,
    },
    /// A directory in an entry's place held more than is removed at once, and
    /// was given a name that is no pid.
    Aside {
        /// The name it had.
        pid: u32,
        /// The name it has.
        name: String,
        /// Whose it is.
        owner: u32,
    },
    /// Files were removed whose processes have ended, or never were.
    Swept {
        /// How many.
        count: u32,
    },
    /// More changed at once than is remembered: all entries are read again.
    Overflow,
    /// Lines about a user's entries were left out.
    LeftOut {
        /// Whose.
        uid: u32,
        /// How many.
        lines: u32,
    },
    /// The directory was another user's, and is root's now.
    TakenOver {
        /// Whose it was.
        owner: u32,
    },
    /// The directory had an access control list, which let others write to
    /// what is in it.
    ListRemoved,
    /// Something that was in the directory's place was removed.
    Cleared {
        /// What.
        obstacle: Obstacle,
    },
    /// The directory was removed or replaced, and made or opened again.
    Replaced,
    /// There is no directory to read. Said once for a cause.
    Absent {
        /// Why, with all causes.
        cause: String,
    },
    /// The directory was removed or replaced and cannot be used; what it said
    /// stays. Said once for a cause.
    Lost {
        /// Why, with all causes.
        cause: String,
    },
    /// After [`Notice::Absent`] or [`Notice::Lost`], it is there.
    Present,
    /// The kernel cannot tell of changes, so they are seen when everything is
    /// read again.
    Unwatched {
        /// What the kernel says.
        cause: String,
    },
}

impl Notice {
    /// Whether the log is to have it.
    #[must_use]
    pub fn is_said(&self) -> bool {
        match self {
            Self::Registered { is_said, .. } | Self::Refused { is_said, .. } => *is_said,
            _ => true,
        }
    }
}

/// What is where the directory should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What kind of thing it is.
    pub kind: ObstacleKind,
    /// Whose it is.
    pub owner: u32,
    /// It has other names (hard links), so its owner need not have put it
    /// there.
    pub has_other_names: bool,
}

/// What kind of thing is where the directory should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObstacleKind {
    /// A symbolic link.
    Link,
    /// A plain file.
    File,
    /// A device, a socket or a pipe.
    Special,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ObstacleKind::Link => "a symbolic link",
            ObstacleKind::File => "a plain file",
            ObstacleKind::Special => "a special file",
        };
        write!(f, "{what} of uid {}", self.owner)
    }
}

/// A value as an entry gives it.
struct Value(u32, Option<Rate>);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.1.map_or(Ok(()), |rate| write!(f, " {rate}"))
    }
}

impl fmt::Display for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, uid {})", self.name, self.uid)
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered {
                process,
                value,
                rate,
                given,
                share,
                ..
            } => {
                let pid = process.id.pid;
                let counts = Value(*value, *rate);
                write!(f, "process {pid} is registered: value {counts} {process}")?;
                if value < given {
                    write!(
                        f,
                        "; its entry says {given}, but an ordinary user can give {value} at most \
                         (`--user-value-cap`)"
                    )?;
                }
                if let Some(share) = share {
                    let uid = process.uid;
                    write!(
                        f,
                        "; it counts for its part of the {share} that the entries of uid {uid} \
                         share (`--user-value-share`)"
                    )?;
                }
                Ok(())
            }
            Self::Changed {
                process,
                value,
                rate,
                before: (value_before, rate_before),
            } => write!(
                f,
                "process {} has value {} now (was {}) {process}",
                process.id.pid,
                Value(*value, *rate),
                Value(*value_before, *rate_before)
            ),
            Self::Labelled { process, word } => {
                let pid = process.id.pid;
                match word {
                    Some(PauseWord::Pause) => write!(
                        f,
                        "process {pid} may be paused even as the foreground job of a shell \
                         {process}: its entry says `pause`"
                    ),
                    Some(PauseWord::NoPause) => write!(
                        f,
                        "process {pid} is never paused {process}: its entry says `nopause`"
                    ),
                    None => write!(
                        f,
                        "process {pid} may be paused like any other {process}: its entry no longer \
                         says `pause` or `nopause`"
                    ),
                }
            }
            Self::Slipped { process, slip } => {
                let pid = process.id.pid;
                match slip {
                    Slip::Both => write!(
                        f,
                        "entry {pid} {process} says both `pause` and `nopause`: the process is \
                         never paused; remove one of the words"
                    ),
                    Slip::Near(PauseWord::Pause) => write!(
                        f,
                        "entry {pid} {process} nearly says `pause`, which has no effect: write \
                         `pause` after the value if the process may be paused even as the \
                         foreground job of a shell"
                    ),
                    Slip::Near(PauseWord::NoPause) => write!(
                        f,
                        "entry {pid} {process} nearly says `nopause`, which has no effect: write \
                         `nopause` after the value if the process must not be paused"
                    ),
                }
            }
            Self::Withdrawn { process } => write!(
                f,
                "process {} is no longer registered {process}: it runs, but its entry was removed",
                process.id.pid
            ),
            Self::Refused {
                process,
                reason,
                removed,
                ..
            } => {
                let end = if *removed { "; removed" } else { "" };
                let pid = process.id.pid;
                write!(f, "entry {pid} {process} is ignored: {reason}{end}")
            }
            Self::Aside { pid, name, owner } => write!(
                f,
                "a directory of uid {owner} in place of entry {pid} holds too much to remove at \
                 once: renamed to `{name}`"
            ),
            Self::Swept { count } => {
                match count {
                    1 => f.write_str("removed an entry without a process")?,
                    _ => write!(f, "removed {count} entries without a process")?,
                }
                f.write_str("; in a container, use the pid that the process has on the host")
            }
            Self::Overflow => write!(
                f,
                "too many registry changes at once: reading all of it again"
            ),
            Self::LeftOut { uid, lines: 1 } => {
                write!(f, "one more line about entries of uid {uid} was left out")
            }
            Self::LeftOut { uid, lines } => write!(
                f,
                "{lines} more lines about entries of uid {uid} were left out"
            ),
            Self::TakenOver { owner } => {
                write!(f, "took over the registry's directory from uid {owner}")
            }
            Self::ListRemoved => write!(
                f,
                "removed the access control list of the registry's directory: it let others change \
                 entries"
            ),
            Self::Cleared { obstacle } => write!(
                f,
                "removed {obstacle} that was in place of the registry's directory"
            ),
            Self::Replaced => write!(
                f,
                "the registry's directory was removed or replaced: reading it again"
            ),
            Self::Absent { cause } => write!(
                f,
                "no registry, so no process has a value; trying again: {cause}"
            ),
            Self::Lost { cause } => write!(
                f,
                "cannot read the registry, so values stay as they are; trying again: {cause}"
            ),
            Self::Present => write!(f, "the registry's directory is back"),
            Self::Unwatched { cause } => write!(
                f,
                "registry changes are seen only once a minute (see fs.inotify in sysctl(8)): \
                 {cause}"
            ),
        }
    }
}
