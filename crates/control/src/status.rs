//! How things are, as it is said.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::message::{Mebibytes, milliseconds_or_null};

/// How things are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    pub killed: u64,
    /// How many units are paused.
    pub paused: u32,
    /// The warn threshold: it acts when available memory is at or below this
    /// many bytes (and swap below its own).
    pub warn_bytes: u64,
    /// The kill threshold.
    #[serde(default)]
    pub kill_bytes: u64,
    /// How long until memory is at its kill threshold, if it goes on falling as it
    /// does; `None` where that cannot be told.
    #[serde(default, rename = "full_in_ms", with = "milliseconds_or_null")]
    pub full_in: Option<Duration>,
    /// The cgroups that are guarded beside what the rest is of.
    #[serde(default)]
    pub scopes: Vec<ScopeStatus>,
}

/// How a cgroup is that is guarded beside the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeStatus {
    /// Its path.
    pub cgroup: String,
    /// How short it is; unknown where it is not there.
    pub level: Condition,
    /// Available memory in bytes.
    pub available_bytes: u64,
    /// Its limit in bytes.
    pub total_bytes: u64,
    /// Free swap in bytes.
    pub swap_free_bytes: u64,
    /// All swap in bytes.
    pub swap_total_bytes: u64,
    /// How many processes in it are registered.
    pub registered: u32,
    /// The warn threshold in bytes.
    pub warn_bytes: u64,
}

/// How short the machine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It is not.
    #[default]
    Ok,
    /// Victims are asked to end.
    Warn,
    /// Victims are ended at once.
    Kill,
    /// Memory cannot be read, so no amount of it is told (all are 0).
    Unknown,
}

/// For people.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}, level {}, ", self.pid, self.level)?;
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
        write!(
            f,
            ", {} registered, {} killed",
            self.registered, self.killed
        )?;
        if self.paused > 0 {
            write!(f, ", {} paused", self.paused)?;
        }
        for scope in &self.scopes {
            write!(f, "\ncgroup {}: {scope}", scope.cgroup.escape_debug())?;
        }
        Ok(())
    }
}

/// For people, without what it is called.
impl fmt::Display for ScopeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "level {}, ", self.level)?;
        if self.level == Condition::Unknown {
            return f.write_str("memory not readable");
        }
        write!(
            f,
            "memory {} of {} available (warn at {}), swap {} of {} free, {} registered",
            Mebibytes(self.available_bytes),
            Mebibytes(self.total_bytes),
            Mebibytes(self.warn_bytes),
            Mebibytes(self.swap_free_bytes),
            Mebibytes(self.swap_total_bytes),
            self.registered,
        )
    }
}

/// For people.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Kill => "kill",
            Self::Unknown => "unknown",
        })
    }
}
