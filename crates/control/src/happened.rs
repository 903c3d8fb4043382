//! What happens, as subscribers are told.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fate::Signal;
use crate::message::{Mebibytes, milliseconds_or_null};
use crate::reply::shown;
use crate::status::Condition;

/// One thing that happened. What does not apply to it is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Happened {
    /// What.
    pub what: EventKind,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// How short the machine is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Condition>,
    /// Available memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_bytes: Option<u64>,
    /// Free swap in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_free_bytes: Option<u64>,
    /// The process, or the leader of the unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its name; also `None` where it is another user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its value; also `None` where it has no entry of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<u32>,
    /// What it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
    /// What [`Signal::Term`] is, where its rule names another signal than SIGTERM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term_signal: Option<String>,
    /// What for: `low memory (warn)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What it held in memory, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_bytes: Option<u64>,
    /// Since its first signal, or since it was paused; or until memory is full.
    #[serde(
        rename = "after_ms",
        with = "milliseconds_or_null",
        skip_serializing_if = "Option::is_none"
    )]
    pub after: Option<Duration>,
    /// How many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// What happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// This is the level now.
    #[default]
    Level,
    /// Memory is full soon.
    Forecast,
    /// A process was signalled.
    Signal,
    /// A victim is gone.
    Gone,
    /// A victim is there, and not waited for any longer.
    Stays,
    /// A unit is paused.
    Paused,
    /// A unit goes on.
    Thawed,
    /// A unit goes on, by another than the daemon.
    Continued,
    /// So many events were not told.
    Lost,
}

impl Happened {
    /// That this happened now, with all else left out.
    #[must_use]
    pub fn now(what: EventKind) -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
        Self {
            what,
            time_ms: since.map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }),
            ..Self::default()
        }
    }
}

impl Default for Happened {
    fn default() -> Self {
        Self {
            what: EventKind::Level,
            time_ms: 0,
            level: None,
            available_bytes: None,
            swap_free_bytes: None,
            pid: None,
            name: None,
            uid: None,
            value: None,
            signal: None,
            term_signal: None,
            why: None,
            held_bytes: None,
            after: None,
            count: None,
        }
    }
}

/// For people, without the time: `kill 740 train (value 5) SIGTERM: low memory (warn)`.
impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            EventKind::Level => {
                write!(f, "level {}", self.level.unwrap_or_default())?;
                if let Some(bytes) = self.available_bytes {
                    write!(f, ", {} available", Mebibytes(bytes))?;
                }
                if let Some(bytes) = self.swap_free_bytes {
                    write!(f, ", {} of swap free", Mebibytes(bytes))?;
                }
                return Ok(());
            }
            EventKind::Forecast => {
                let left = self.after.unwrap_or_default().as_secs();
                write!(f, "memory is full in about {left} s")?;
                if self.pid.is_some() {
                    f.write_str("; first would be killed:")?;
                }
            }
            EventKind::Signal => f.write_str("kill")?,
            EventKind::Gone => f.write_str("gone")?,
            EventKind::Stays => f.write_str("still there")?,
            EventKind::Paused => f.write_str("pause")?,
            EventKind::Thawed => f.write_str("thaw")?,
            EventKind::Continued => f.write_str("continued by another program:")?,
            EventKind::Lost => {
                return write!(f, "{} events were left out", self.count.unwrap_or(0));
            }
        }
        if let Some(pid) = self.pid {
            let name = self.name.as_deref().map_or_else(|| "-".to_owned(), shown);
            write!(f, " {pid} {name}")?;
        }
        if let Some(value) = self.value {
            write!(f, " (value {value})")?;
        }
        if let Some(signal) = self.signal {
            write!(f, " {}", signal.name(self.term_signal.as_deref()))?;
        }
        if let Some(after) = self.after.filter(|_| self.what != EventKind::Forecast) {
            write!(f, " after {:.1} s", after.as_secs_f64())?;
        }
        if let Some(bytes) = self.held_bytes {
            write!(f, ", held {}", Mebibytes(bytes))?;
        }
        match &self.why {
            Some(why) => write!(f, ": {}", shown(why)),
            None => Ok(()),
        }
    }
}
