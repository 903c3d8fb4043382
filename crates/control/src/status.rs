//! How things are, as it is said.

use std::fmt;

use crate::message::{Mebibytes, Message, Words, WordsError};

/// How things are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The daemon's pid.
    pub pid: u32,
    /// How short the machine is.
    pub level: Condition,
    /// Available memory in bytes.
    pub available_bytes: u64,
    /// All memory in bytes.
    pub total_bytes: u64,
    /// Free swap in bytes.
    pub swap_free_bytes: u64,
    /// All swap in bytes.
    pub swap_total_bytes: u64,
    /// How many processes are registered.
    pub registered: u32,
    /// How many processes the daemon has ended since it started.
    pub ended: u64,
    /// How many units are paused.
    pub paused: u32,
    /// The warn threshold: it acts when available memory is at or below this
    /// many bytes (and swap below its own).
    pub warn_bytes: u64,
}

/// How short the machine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// It is not: `ok`.
    #[default]
    Ok,
    /// Victims are asked to end: `warn`.
    Warn,
    /// Victims are ended at once: `kill`.
    Kill,
    /// Memory cannot be read, so no amount of it is told (all are 0):
    /// `unknown`.
    Unknown,
}

impl Condition {
    const ALL: [Self; 4] = [Self::Ok, Self::Warn, Self::Kill, Self::Unknown];

    fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Kill => "kill",
        }
    }
}

impl Status {
    pub(crate) fn encode(&self) -> Message {
        Message::of(format_args!(
            "status pid={} level={} available={} total={} swap-free={} swap-total={} \
             registered={} ended={} paused={} warn={}",
            self.pid,
            self.level.word(),
            self.available_bytes,
            self.total_bytes,
            self.swap_free_bytes,
            self.swap_total_bytes,
            self.registered,
            self.ended,
            self.paused,
            self.warn_bytes
        ))
    }

    pub(crate) fn decode(words: &mut Words<'_>) -> Result<Self, WordsError> {
        Ok(Self {
            pid: words.number("pid=")?,
            level: words.one_of(
                "level=",
                &Condition::ALL,
                Condition::word,
                "`level=` and `ok`, `warn`, `kill` or `unknown`",
            )?,
            available_bytes: words.number("available=")?,
            total_bytes: words.number("total=")?,
            swap_free_bytes: words.number("swap-free=")?,
            swap_total_bytes: words.number("swap-total=")?,
            registered: words.number("registered=")?,
            ended: words.number("ended=")?,
            paused: words.number("paused=")?,
            warn_bytes: words.number("warn=")?,
        })
    }
}

/// For people.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}, level {}, ", self.pid, self.level.word())?;
        if self.level == Condition::Unknown {
            f.write_str("memory not readable")?;
        } else {
            write!(
                f,
                "memory {} of {} available (warn at {}), swap {} of {} free",
                Mebibytes(self.available_bytes),
                Mebibytes(self.total_bytes),
                Mebibytes(self.warn_bytes),
                Mebibytes(self.swap_free_bytes),
                Mebibytes(self.swap_total_bytes),
            )?;
        }
        write!(f, ", {} registered, {} killed", self.registered, self.ended)?;
        match self.paused {
            0 => Ok(()),
            paused => write!(f, ", {paused} paused"),
        }
    }
}
