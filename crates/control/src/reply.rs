//! What is answered.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use varlink::{GetInterfaceDescriptionReply, ServiceInfo};

use crate::fate::Fate;
use crate::happened::Happened;
use crate::interface;
use crate::message::{Mebibytes, MessageError, framed, milliseconds};
use crate::request::Request;
use crate::status::{Condition, Status};

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Relief is under way.
    Relief(Relief),
    /// How things are.
    Status(Status),
    /// What was done to a process.
    Fate(Fate),
    /// What would be killed.
    Plan(PlannedKill),
    /// Why, in words; or what has changed.
    Told(String),
    /// What was done to the last victims.
    History(Vec<Fate>),
    /// An entry was written or removed: of this process, as the daemon sees it.
    Entry {
        /// Its pid.
        pid: u32,
    },
    /// Figures, in the OpenMetrics text format.
    Metrics(String),
    /// Entries that do not count.
    Entries(Vec<RefusedEntry>),
    /// What happened: one of many answers.
    Event(Box<Happened>),
    /// What answers here.
    Info(Box<ServiceInfo>),
    /// What can be asked.
    Description(String),
    /// The request is not carried out, and why.
    Refused(Denial),
}

/// What is done for relief.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relief {
    /// How.
    pub by: Relieved,
    /// How many processes are signalled or paused for it.
    pub processes: u32,
    /// What killing them is expected to free, or what they hold in memory, in
    /// bytes.
    pub bytes: u64,
}

/// How relief comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relieved {
    /// Units are killed.
    Kills,
    /// Units are paused.
    Pauses,
}

/// What would be killed first, if memory fell to a threshold now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedKill {
    /// Which threshold.
    pub level: Condition,
    /// What would be needed, in bytes.
    pub need_bytes: u64,
    /// What the chosen ones are expected to free, in bytes.
    pub frees_bytes: u64,
    /// Whether the chosen ones are enough.
    pub covers_need: bool,
    /// The chosen ones, then those that are kept.
    pub candidates: Vec<CandidateRow>,
    /// How many are left out.
    pub unshown: u32,
}

/// One unit that may be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateRow {
    /// Its leader's pid.
    pub pid: u32,
    /// Its leader's name; `None`: it is another user's.
    pub name: Option<String>,
    /// Its leader's user.
    pub uid: u32,
    /// How many processes it is.
    pub processes: u32,
    /// `None`: it is not registered.
    pub value: Option<u32>,
    /// What the choice counts: `4`, `2.5`.
    #[serde(default)]
    pub cost: String,
    /// How its cost comes about: `cost 4 = value 8 × ½ (growing)`.
    pub why: String,
    /// What it holds, in bytes.
    pub held_bytes: u64,
    /// What killing it is expected to free, in bytes.
    pub frees_bytes: u64,
    /// How fast it grows.
    pub growth_bytes_per_second: u64,
    /// Whether it is paused.
    #[serde(default)]
    pub paused: bool,
    /// Whether it would be killed.
    pub chosen: bool,
    /// What would be killed if it had to be kept, and what that would cost; of the
    /// dearest that are chosen.
    #[serde(default)]
    pub instead: Option<String>,
}

/// An entry that does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedEntry {
    /// The process that it would be for.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Its user.
    pub uid: u32,
    /// Why not.
    pub why: String,
}

#[derive(Serialize, Deserialize)]
struct Entries {
    entries: Vec<RefusedEntry>,
}

#[derive(Serialize, Deserialize)]
struct Metrics {
    open_metrics: String,
}

#[derive(Serialize, Deserialize)]
struct Told {
    told: String,
}

#[derive(Serialize, Deserialize)]
struct Victims {
    victims: Vec<Fate>,
}

#[derive(Serialize, Deserialize)]
struct Event {
    event: Box<Happened>,
}

#[derive(Serialize, Deserialize)]
struct EntryPid {
    pid: u32,
}

/// Why a request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "error", content = "parameters")]
pub enum Denial {
    /// So much is available that a kill would not help.
    #[serde(rename = "io.user-oom.Control.EnoughAvailable")]
    EnoughAvailable {
        /// Available memory in whole percent, rounded down.
        available_percent: u32,
    },
    /// The last relief was just now.
    #[serde(rename = "io.user-oom.Control.RecoveryInterval")]
    RecoveryInterval {
        /// Until the next may be, in whole milliseconds.
        #[serde(rename = "remaining_ms", with = "milliseconds")]
        remaining: Duration,
    },
    /// What earlier victims still hold is enough.
    #[serde(rename = "io.user-oom.Control.Pending")]
    Pending {
        /// In bytes.
        bytes: u64,
    },
    /// Processes that are not candidates took the memory.
    #[serde(rename = "io.user-oom.Control.TakenByOthers")]
    TakenByOthers {},
    /// All eligible candidates together are not enough.
    #[serde(rename = "io.user-oom.Control.NothingHelps")]
    NothingHelps {
        /// What killing all of them would free, in bytes.
        eligible_bytes: u64,
    },
    /// The daemon decides and kills nothing (`--dryrun`).
    #[serde(rename = "io.user-oom.Control.DryRun")]
    DryRun {},
    /// The daemon has not signalled that process, or so many others since that
    /// it has forgotten.
    #[serde(rename = "io.user-oom.Control.NoVictim")]
    NoVictim {},
    /// The configuration cannot be used.
    #[serde(rename = "io.user-oom.Control.NotReloaded")]
    NotReloaded {
        /// Why not.
        why: String,
    },
    /// There is no such process, or it has no entry.
    #[serde(rename = "io.user-oom.Control.NoEntry")]
    NoEntry {
        /// Which of these.
        why: String,
    },
    /// The unit is not paused, or cannot be.
    #[serde(rename = "io.user-oom.Control.NotPaused")]
    NotPaused {
        /// Why not.
        why: String,
    },
    /// The subscriber did not read.
    #[serde(rename = "io.user-oom.Control.TooSlow")]
    TooSlow {},
    /// As many subscribe as may.
    #[serde(rename = "io.user-oom.Control.TooMany")]
    TooMany {},
    /// Memory is short.
    #[serde(rename = "io.user-oom.Control.Busy")]
    Busy {},
    /// Others may ask this.
    #[serde(rename = "io.user-oom.Control.NotPermitted")]
    NotPermitted {
        /// Which users may.
        expected: String,
    },
    /// That was no call of ours.
    #[serde(rename = "io.user-oom.Control.NotUnderstood")]
    NotUnderstood {
        /// What would have been right.
        expected: String,
        /// What is wrong.
        found: String,
    },
    /// There is no such interface here.
    #[serde(rename = "org.varlink.service.InterfaceNotFound")]
    InterfaceNotFound {
        /// Its name.
        interface: String,
    },
    /// The daemon does not know the method; it may be older than the client.
    #[serde(rename = "org.varlink.service.MethodNotFound")]
    MethodNotFound {
        /// Its name.
        method: String,
    },
}

impl Denial {
    /// Relief is for root and the daemon's own user.
    #[must_use]
    pub fn not_permitted() -> Self {
        Self::NotPermitted {
            expected: "root, or the daemon's own user".to_owned(),
        }
    }
}

impl From<Denial> for Reply {
    fn from(denial: Denial) -> Self {
        Self::Refused(denial)
    }
}

impl Reply {
    /// What this service is.
    #[must_use]
    pub fn info() -> Self {
        Self::Info(Box::new(interface::info()))
    }

    /// What can be asked of `interface`.
    #[must_use]
    pub fn description(interface: &str) -> Self {
        match interface::description(interface) {
            Some(description) => Self::Description(description.to_owned()),
            None => Self::Refused(Denial::InterfaceNotFound {
                interface: interface.to_owned(),
            }),
        }
    }

    /// As it is sent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Refused(denial) => framed(denial),
            Self::Event(_) => framed(&varlink::Reply {
                continues: Some(true),
                ..varlink::Reply::parameters(Some(self.parameters()))
            }),
            _ => framed(&varlink::Reply::parameters(Some(self.parameters()))),
        }
    }

    /// What it says, as the interface has it.
    #[must_use]
    pub fn parameters(&self) -> Value {
        let value = match self {
            Self::Relief(relief) => serde_json::to_value(relief),
            Self::Status(status) => serde_json::to_value(status),
            Self::Fate(fate) => serde_json::to_value(fate),
            Self::Plan(plan) => serde_json::to_value(plan),
            Self::Told(told) => serde_json::to_value(Told { told: told.clone() }),
            Self::History(victims) => serde_json::to_value(Victims {
                victims: victims.clone(),
            }),
            Self::Entry { pid } => serde_json::to_value(EntryPid { pid: *pid }),
            Self::Metrics(text) => serde_json::to_value(Metrics {
                open_metrics: text.clone(),
            }),
            Self::Entries(entries) => serde_json::to_value(Entries {
                entries: entries.clone(),
            }),
            Self::Event(event) => serde_json::to_value(Event {
                event: event.clone(),
            }),
            Self::Info(info) => serde_json::to_value(info),
            Self::Description(text) => serde_json::to_value(GetInterfaceDescriptionReply {
                description: Some(text.clone()),
            }),
            Self::Refused(denial) => serde_json::to_value(denial),
        };
        // As with `framed`.
        value.unwrap_or_else(|_| json!({}))
    }

    /// What a message answers to `request`, its end not included.
    ///
    /// # Errors
    ///
    /// [`MessageError`] says what was expected.
    pub fn decode(request: &Request, message: &[u8]) -> Result<Self, MessageError> {
        let reply: varlink::Reply = read(serde_json::from_slice(message), "a Varlink answer")?;
        if reply.error.is_some() {
            let denial = serde_json::from_slice(message);
            return read(denial, "an error of io.user-oom.Control").map(Self::Refused);
        }
        let given = reply.parameters.unwrap_or_else(|| json!({}));
        Ok(match request {
            Request::Relief => Self::Relief(taken(given, "what is done for relief")?),
            Request::Status => Self::Status(taken(given, "a status")?),
            Request::Fate { .. } => Self::Fate(taken(given, "what was done to a process")?),
            Request::Plan { .. } => Self::Plan(taken(given, "a plan")?),
            Request::Explain { .. } | Request::Reload => {
                let Told { told } = taken(given, "an explanation")?;
                Self::Told(told)
            }
            Request::History => {
                let Victims { victims } = taken(given, "the last victims")?;
                Self::History(victims)
            }
            Request::Metrics => {
                let Metrics { open_metrics } = taken(given, "metrics")?;
                Self::Metrics(open_metrics)
            }
            Request::Refused => {
                let Entries { entries } = taken(given, "entries that do not count")?;
                Self::Entries(entries)
            }
            Request::Subscribe => {
                let Event { event } = taken(given, "what happened")?;
                Self::Event(event)
            }
            Request::Register { .. }
            | Request::Unregister { .. }
            | Request::Saved { .. }
            | Request::Pause { .. }
            | Request::Thaw { .. } => {
                let EntryPid { pid } = taken(given, "a pid")?;
                Self::Entry { pid }
            }
            Request::Info => Self::Info(taken(given, "what answers")?),
            Request::Description { .. } => {
                let told: GetInterfaceDescriptionReply = taken(given, "a description")?;
                Self::Description(told.description.unwrap_or_default())
            }
        })
    }
}

fn taken<T: DeserializeOwned>(given: Value, expected: &'static str) -> Result<T, MessageError> {
    read(serde_json::from_value(given), expected)
}

fn read<T>(
    result: Result<T, serde_json::Error>,
    expected: &'static str,
) -> Result<T, MessageError> {
    result.map_err(|source| MessageError { expected, source })
}

/// For people.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relief(relief) => relief.fmt(f),
            Self::Refused(denial) => write!(f, "refused: {denial}"),
            Self::Status(status) => status.fmt(f),
            Self::Fate(fate) => fate.fmt(f),
            Self::Plan(plan) => plan.fmt(f),
            Self::Told(told) => f.write_str(&shown(told)),
            Self::History(victims) => {
                for (index, fate) in victims.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "\n" };
                    write!(f, "{separator}{fate}")?;
                }
                match victims.is_empty() {
                    true => f.write_str("user-oom has signalled no process since it started"),
                    false => Ok(()),
                }
            }
            Self::Entry { pid } => write!(f, "{pid}"),
            Self::Event(event) => event.fmt(f),
            Self::Entries(entries) => {
                for (index, entry) in entries.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "\n" };
                    let (pid, name) = (entry.pid, shown(&entry.name));
                    write!(f, "{separator}  {pid:>7} {name:<15} {}", shown(&entry.why))?;
                }
                Ok(())
            }
            Self::Info(info) => write!(f, "{} {}", info.product, info.version),
            Self::Description(text) | Self::Metrics(text) => f.write_str(text),
        }
    }
}

/// Without control characters, of which a name may have some.
pub(crate) fn shown(text: &str) -> String {
    let plain = |char: char| match char {
        '\n' => char,
        _ if char.is_control() => '?',
        _ => char,
    };
    text.chars().map(plain).collect()
}

/// The same, with no line ends either.
fn in_line(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// For people: a sentence, and a line for each candidate.
impl fmt::Display for PlannedKill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chosen = self.candidates.iter().filter(|it| it.chosen).count();
        let signal = match self.level {
            Condition::Kill => "SIGKILL",
            _ => "SIGTERM",
        };
        let (need, frees) = (Mebibytes(self.need_bytes), Mebibytes(self.frees_bytes));
        write!(
            f,
            "If memory fell to the {} threshold now, user-oom would need {need} and ",
            self.level
        )?;
        match chosen {
            0 => f.write_str("kill nothing: all candidates together free less.")?,
            _ => write!(f, "kill these ({signal}) to free {frees}:")?,
        }
        let mut is_kept = false;
        for row in &self.candidates {
            if !row.chosen && !std::mem::replace(&mut is_kept, true) {
                f.write_str("\nIt would keep:")?;
            }
            write!(f, "\n{row}")?;
        }
        match self.unshown {
            0 => Ok(()),
            unshown => write!(f, "\n  and {unshown} others"),
        }
    }
}

/// For people.
impl fmt::Display for CandidateRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref().map_or("-".into(), shown);
        let held = self.held_bytes >> 20;
        write!(
            f,
            "  {:>7} {name:<15} {held:>7} MiB  {}",
            self.pid, self.why
        )?;
        match &self.instead {
            Some(instead) => write!(f, "\n{:26}instead: {}", "", shown(instead)),
            None => Ok(()),
        }
    }
}

/// For people.
impl fmt::Display for Relief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = match self.processes {
            1 => "process",
            _ => "processes",
        };
        let (processes, bytes) = (self.processes, Mebibytes(self.bytes));
        match self.by {
            Relieved::Kills => write!(f, "kills {processes} {noun} to free {bytes}"),
            Relieved::Pauses => write!(f, "pauses {processes} {noun} with {bytes} in memory"),
        }
    }
}

/// For people. What a peer wrote is shown without control characters: it may go
/// to a terminal.
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
            Self::TakenByOthers {} => {
                f.write_str("processes that are not candidates took the memory")
            }
            Self::NotPermitted { expected } => {
                write!(f, "not permitted; this is for {}", in_line(expected))
            }
            Self::NotReloaded { why } => {
                write!(f, "the configuration is unchanged: {}", shown(why))
            }
            Self::NoEntry { why } => f.write_str(&shown(why)),
            Self::NotPaused { why } => f.write_str(&shown(why)),
            Self::TooSlow {} => f.write_str("events were not read in time"),
            Self::TooMany {} => {
                f.write_str("too many clients subscribe already: end one, or ask as root")
            }
            Self::Busy {} => {
                f.write_str("memory is short, and user-oom acts now: see `user-oomctl history`")
            }
            Self::DryRun {} => f.write_str("a dry run kills nothing"),
            Self::NoVictim {} => f.write_str("user-oom has not signalled that process"),
            Self::NotUnderstood { expected, found } => write!(
                f,
                "expected {}, found {}",
                in_line(expected),
                in_line(found)
            ),
            Self::InterfaceNotFound { interface } => write!(
                f,
                "the daemon does not have the interface `{}`",
                in_line(interface)
            ),
            Self::MethodNotFound { method } => write!(
                f,
                "the daemon does not know the method `{}`: it may be older than this program",
                in_line(method)
            ),
        }
    }
}
