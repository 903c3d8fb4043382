//! What became of a process, as it is said.

use std::fmt;
use std::time::Duration;

use crate::message::{Mebibytes, Message, OrNone, Words, WordsError, milliseconds};

/// What the daemon did to a process, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// The victim's pid.
    pub pid: u32,
    /// Its value; `None` where it had no entry of its own.
    pub value: Option<u32>,
    /// The first signal that it was sent,
    pub first: Signal,
    /// and the last one.
    pub last: Signal,
    /// What it was chosen for.
    pub cause: Grounds,
    /// What was needed then, in bytes.
    pub need_bytes: u64,
    /// What it held at the last signal, in bytes: freed, once it is gone.
    pub held_bytes: u64,
    /// How long ago the first signal was.
    pub since: Duration,
    /// From the first signal to its end; `None` while it is there.
    pub gone_after: Option<Duration>,
}

/// What kills a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: `term`.
    Term,
    /// SIGKILL: `kill`.
    Kill,
}

impl Signal {
    const ALL: [Self; 2] = [Self::Term, Self::Kill];

    fn word(self) -> &'static str {
        match self {
            Self::Term => "term",
            Self::Kill => "kill",
        }
    }

    fn decode(words: &mut Words<'_>, key: &'static str) -> Result<Self, WordsError> {
        let expected = "`first=` or `last=` and `term` or `kill`";
        words.one_of(key, &Self::ALL, Self::word, expected)
    }
}

/// Why a process was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// Memory at or below the warn threshold: `warn`.
    Warn,
    /// Memory at or below the kill threshold: `kill`.
    Kill,
    /// Relief was asked for: `relief`.
    Relief,
    /// The kernel was about to kill: `last-call`.
    LastCall,
}

impl Grounds {
    const ALL: [Self; 4] = [Self::Warn, Self::Kill, Self::Relief, Self::LastCall];

    fn word(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Kill => "kill",
            Self::Relief => "relief",
            Self::LastCall => "last-call",
        }
    }
}

impl Fate {
    pub(crate) fn encode(&self) -> Message {
        Message::of(format_args!(
            "fate pid={} value={} first={} last={} cause={} need={} held={} since={} gone={}",
            self.pid,
            OrNone(self.value.map(u64::from)),
            self.first.word(),
            self.last.word(),
            self.cause.word(),
            self.need_bytes,
            self.held_bytes,
            milliseconds(self.since),
            OrNone(self.gone_after.map(milliseconds)),
        ))
    }

    pub(crate) fn decode(words: &mut Words<'_>) -> Result<Self, WordsError> {
        Ok(Self {
            pid: words.number("pid=")?,
            value: words.number_or_none("value=")?,
            first: Signal::decode(words, "first=")?,
            last: Signal::decode(words, "last=")?,
            cause: words.one_of(
                "cause=",
                &Grounds::ALL,
                Grounds::word,
                "`cause=` and `warn`, `kill`, `relief` or `last-call`",
            )?,
            need_bytes: words.number("need=")?,
            held_bytes: words.number("held=")?,
            since: Duration::from_millis(words.number("since=")?),
            gone_after: words.number_or_none("gone=")?.map(Duration::from_millis),
        })
    }
}

/// For people: `740 (value 5): SIGTERM, then SIGKILL; gone after 5.1 s; …`.
impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.pid)?;
        match self.value {
            Some(value) => write!(f, "(value {value}): ")?,
            None => f.write_str("(not registered): ")?,
        }
        f.write_str(match (self.first, self.last) {
            (Signal::Term, Signal::Term) => "SIGTERM",
            (Signal::Term, Signal::Kill) => "SIGTERM, then SIGKILL",
            (Signal::Kill, _) => "SIGKILL",
        })?;
        write!(f, ", {:.1} s ago; ", self.since.as_secs_f64())?;
        f.write_str(match self.cause {
            Grounds::Warn => "low memory (warn)",
            Grounds::Kill => "low memory (kill)",
            Grounds::Relief => "relief was asked for",
            Grounds::LastCall => "the kernel was about to kill",
        })?;
        let (need, held) = (Mebibytes(self.need_bytes), Mebibytes(self.held_bytes));
        write!(f, ", need {need}; ")?;
        match self.gone_after {
            Some(after) => write!(f, "gone after {:.1} s, freed {held}", after.as_secs_f64()),
            None => write!(f, "not gone yet, held {held}"),
        }
    }
}
