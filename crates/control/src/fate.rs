//! What became of a process, as it is said.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::message::{Mebibytes, milliseconds, milliseconds_or_null};
use crate::reply::shown;

/// What the daemon did to a process, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fate {
    /// The victim's pid.
    pub pid: u32,
    /// Its name, in the list of the last victims; `None`: it was another user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its value; `None` where it had no entry of its own.
    pub value: Option<u32>,
    /// The first signal that it was sent,
    pub first: Signal,
    /// and the last one.
    pub last: Signal,
    /// What [`Signal::Term`] is, where its rule names another signal than SIGTERM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term_signal: Option<String>,
    /// What it was chosen for.
    pub cause: Grounds,
    /// What was needed then, in bytes.
    pub need_bytes: u64,
    /// What it held at the last signal, in bytes: freed, once it is gone.
    pub held_bytes: u64,
    /// How long ago the first signal was.
    #[serde(rename = "since_ms", with = "milliseconds")]
    pub since: Duration,
    /// From the first signal to its end; `None` while it is there.
    #[serde(rename = "gone_after_ms", with = "milliseconds_or_null")]
    pub gone_after: Option<Duration>,
}

/// What ends a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// None yet: the command that a rule has for it.
    Command,
    /// SIGTERM, or what its rule names in its place.
    Term,
    /// SIGKILL.
    Kill,
}

impl Signal {
    /// For people; `term`: what [`Self::Term`] is, where that is not SIGTERM.
    pub(crate) fn name(self, term: Option<&str>) -> String {
        match self {
            Self::Command => "command".to_owned(),
            Self::Term => shown(term.unwrap_or("SIGTERM")),
            Self::Kill => "SIGKILL".to_owned(),
        }
    }
}

/// Why a process was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grounds {
    /// Memory at or below the warn threshold.
    Warn,
    /// Memory at or below the kill threshold.
    Kill,
    /// Relief was asked for.
    Relief,
    /// The kernel was about to kill.
    LastCall,
}

/// For people: `740 (value 5): SIGTERM, then SIGKILL; gone after 5.1 s; …`.
impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.pid)?;
        if let Some(name) = &self.name {
            write!(f, "{} ", shown(name))?;
        }
        match self.value {
            Some(value) => write!(f, "(value {value}): ")?,
            None => f.write_str("(not registered): ")?,
        }
        let [first, last] =
            [self.first, self.last].map(|signal| signal.name(self.term_signal.as_deref()));
        f.write_str(&first)?;
        if first != last {
            write!(f, ", then {last}")?;
        }
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
