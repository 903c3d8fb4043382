//! What is asked and answered.

use std::fmt;
use std::time::Duration;

use crate::fate::Fate;
use crate::message::{Expected, Mebibytes, Message, Words, WordsError, milliseconds};
use crate::status::Status;

/// What a client asks of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// End the least valuable of what would relieve memory: `relief`.
    Relief,
    /// How are things: `status`.
    Status,
    /// What was done to this process, and why: `fate pid=N`.
    Fate {
        /// Which.
        pid: u32,
    },
}

/// What the daemon answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Relief is under way: `granted processes=N bytes=N`.
    Granted {
        /// How many processes were signalled for it.
        processes: u32,
        /// What killing them is expected to free, in bytes.
        bytes: u64,
    },
    /// Units are paused for it: `paused processes=N bytes=N`.
    Paused {
        /// How many processes that are.
        processes: u32,
        /// What they hold in memory, in bytes.
        bytes: u64,
    },
    /// It is not, and why: `refused …`.
    Refused(Denial),
    /// How things are: `status …`.
    Status(Status),
    /// What was done to a process: `fate …`.
    Fate(Fate),
}

/// Why a request is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// So much is available that a kill would not help:
    /// `enough-available percent=N`.
    EnoughAvailable {
        /// Available memory in whole percent, rounded down.
        available_percent: u32,
    },
    /// The last relief was just now: `recovery-interval milliseconds=N`.
    RecoveryInterval {
        /// Until the next may be, in whole milliseconds.
        remaining: Duration,
    },
    /// What earlier victims still hold is enough: `promised bytes=N`.
    Pending {
        /// In bytes.
        bytes: u64,
    },
    /// Processes that are not candidates took the memory: `taken-by-others`.
    TakenByOthers,
    /// All eligible candidates together are not enough:
    /// `nothing-helps bytes=N`.
    NothingHelps {
        /// What killing all of them would free, in bytes.
        eligible_bytes: u64,
    },
    /// Relief is for root and the daemon's own user: `not-permitted`.
    NotPermitted,
    /// The daemon decides and kills nothing (`--dryrun`): `dry-run`.
    DryRun,
    /// The daemon has not signalled that process, or so many others since that
    /// it has forgotten: `no-victim`.
    NoVictim,
    /// The daemon does not know the request; it may be older than the client:
    /// `not-understood`.
    NotUnderstood,
}

impl Request {
    /// As it is sent.
    #[must_use]
    pub fn encode(&self) -> Message {
        match self {
            Self::Relief => Message::of(format_args!("relief")),
            Self::Status => Message::of(format_args!("status")),
            Self::Fate { pid } => Message::of(format_args!("fate pid={pid}")),
        }
    }

    /// What a message asks.
    ///
    /// # Errors
    ///
    /// [`WordsError`] says what was expected and what was found.
    pub fn decode(message: &[u8]) -> Result<Self, WordsError> {
        let mut words = Words::of(message)?;
        let request = match words.word() {
            "relief" => Self::Relief,
            "status" => Self::Status,
            "fate" => Self::Fate {
                pid: words.number("pid=")?,
            },
            _ => return Err(words.expected(Expected::Word("`relief`, `status` or `fate`"))),
        };
        words.end()?;
        Ok(request)
    }
}

impl Reply {
    /// As it is sent.
    #[must_use]
    pub fn encode(&self) -> Message {
        match self {
            Self::Granted { processes, bytes } => {
                Message::of(format_args!("granted processes={processes} bytes={bytes}"))
            }
            Self::Paused { processes, bytes } => {
                Message::of(format_args!("paused processes={processes} bytes={bytes}"))
            }
            Self::Refused(refusal) => refusal.encode(),
            Self::Status(status) => status.encode(),
            Self::Fate(fate) => fate.encode(),
        }
    }

    /// What a message answers.
    ///
    /// # Errors
    ///
    /// [`WordsError`] says what was expected and what was found.
    pub fn decode(message: &[u8]) -> Result<Self, WordsError> {
        let mut words = Words::of(message)?;
        let reply = match words.word() {
            "granted" => Self::Granted {
                processes: words.number("processes=")?,
                bytes: words.number("bytes=")?,
            },
            "paused" => Self::Paused {
                processes: words.number("processes=")?,
                bytes: words.number("bytes=")?,
            },
            "refused" => Self::Refused(Denial::decode(&mut words)?),
            "status" => Self::Status(Status::decode(&mut words)?),
            "fate" => Self::Fate(Fate::decode(&mut words)?),
            _ => {
                return Err(words.expected(Expected::Word(
                    "`granted`, `paused`, `refused`, `status` or `fate`",
                )));
            }
        };
        words.end()?;
        Ok(reply)
    }
}

impl Denial {
    fn encode(&self) -> Message {
        match self {
            Self::EnoughAvailable { available_percent } => Message::of(format_args!(
                "refused enough-available percent={available_percent}"
            )),
            Self::RecoveryInterval { remaining } => {
                let milliseconds = milliseconds(*remaining);
                Message::of(format_args!(
                    "refused recovery-interval milliseconds={milliseconds}"
                ))
            }
            Self::Pending { bytes } => Message::of(format_args!("refused promised bytes={bytes}")),
            Self::NothingHelps { eligible_bytes } => {
                Message::of(format_args!("refused nothing-helps bytes={eligible_bytes}"))
            }
            Self::TakenByOthers => Message::of(format_args!("refused taken-by-others")),
            Self::NotPermitted => Message::of(format_args!("refused not-permitted")),
            Self::DryRun => Message::of(format_args!("refused dry-run")),
            Self::NoVictim => Message::of(format_args!("refused no-victim")),
            Self::NotUnderstood => Message::of(format_args!("refused not-understood")),
        }
    }

    fn decode(words: &mut Words<'_>) -> Result<Self, WordsError> {
        Ok(match words.word() {
            "enough-available" => Self::EnoughAvailable {
                available_percent: words.number("percent=")?,
            },
            "recovery-interval" => Self::RecoveryInterval {
                remaining: Duration::from_millis(words.number("milliseconds=")?),
            },
            "promised" => Self::Pending {
                bytes: words.number("bytes=")?,
            },
            "nothing-helps" => Self::NothingHelps {
                eligible_bytes: words.number("bytes=")?,
            },
            "taken-by-others" => Self::TakenByOthers,
            "not-permitted" => Self::NotPermitted,
            "dry-run" => Self::DryRun,
            "no-victim" => Self::NoVictim,
            "not-understood" => Self::NotUnderstood,
            _ => return Err(words.expected(Expected::Word("a reason"))),
        })
    }
}

fn noun(processes: u32) -> &'static str {
    if processes == 1 {
        "process"
    } else {
        "processes"
    }
}

/// For people.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted { processes, bytes } => {
                let noun = noun(*processes);
                write!(f, "kills {processes} {noun} to free {}", Mebibytes(*bytes))
            }
            Self::Paused { processes, bytes } => {
                let noun = noun(*processes);
                let held = Mebibytes(*bytes);
                write!(f, "pauses {processes} {noun} with {held} in memory")
            }
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Status(status) => status.fmt(f),
            Self::Fate(fate) => fate.fmt(f),
        }
    }
}

/// For people.
impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EnoughAvailable { available_percent } => {
                write!(f, "{available_percent} % of memory is available")
            }
            Self::RecoveryInterval { remaining } => write!(
                f,
                "the last relief was just now; the next is possible in {:.1} s",
                remaining.as_secs_f64()
            ),
            Self::Pending { bytes } => {
                write!(f, "{} are pending from earlier victims", Mebibytes(*bytes))
            }
            Self::NothingHelps { eligible_bytes } => write!(
                f,
                "all candidates together hold {}, which is not enough",
                Mebibytes(*eligible_bytes)
            ),
            Self::TakenByOthers => f.write_str("processes that are not candidates took the memory"),
            Self::NotPermitted => f.write_str("relief is for root and the daemon's own user"),
            Self::DryRun => f.write_str("a dry run kills nothing"),
            Self::NoVictim => f.write_str("user-oom has not signalled that process"),
            Self::NotUnderstood => f.write_str("the daemon does not know this request"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fate::{Grounds, Signal};
    use crate::status::Condition;

    #[test]
    fn the_longest_messages_fit() {
        let longest = Status {
            pid: u32::MAX,
            level: Condition::Kill,
            available_bytes: u64::MAX,
            total_bytes: u64::MAX,
            swap_free_bytes: u64::MAX,
            swap_total_bytes: u64::MAX,
            registered: u32::MAX,
            ended: u64::MAX,
            paused: u32::MAX,
            warn_bytes: u64::MAX,
        };
        let fate = Fate {
            pid: u32::MAX,
            value: Some(u32::MAX),
            first: Signal::Term,
            last: Signal::Kill,
            cause: Grounds::LastCall,
            need_bytes: u64::MAX,
            held_bytes: u64::MAX,
            since: Duration::from_millis(u64::MAX),
            gone_after: Some(Duration::from_millis(u64::MAX)),
        };
        for reply in [
            Reply::Status(longest),
            Reply::Fate(fate),
            Reply::Granted {
                processes: u32::MAX,
                bytes: u64::MAX,
            },
            Reply::Paused {
                processes: u32::MAX,
                bytes: u64::MAX,
            },
            Reply::Refused(Denial::RecoveryInterval {
                remaining: Duration::from_millis(u64::MAX),
            }),
            Reply::Refused(Denial::EnoughAvailable {
                available_percent: u32::MAX,
            }),
            Reply::Refused(Denial::NothingHelps {
                eligible_bytes: u64::MAX,
            }),
        ] {
            assert_eq!(Reply::decode(reply.encode().as_bytes()), Ok(reply));
        }
    }
}
