//! What is asked.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use varlink::GetInterfaceDescriptionArgs;

use crate::interface::{NAME, SERVICE};
use crate::message::{MESSAGE_BYTES, framed};
use crate::reply::Denial;
use crate::status::Condition;

/// What a client asks of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// End the least valuable of what would relieve memory.
    Relief,
    /// How are things?
    Status,
    /// What was done to this process, and why?
    Fate {
        /// Which.
        pid: u32,
    },
    /// What would be killed if memory fell to this threshold?
    Plan {
        /// The warn threshold, where it is not the kill threshold.
        level: Condition,
    },
    /// Why was, or would, this process be killed, or not?
    Explain {
        /// Which.
        pid: u32,
    },
    /// What was done to the last victims?
    History,
    /// Write an entry.
    Register {
        /// For this process, as the client sees it; `None`: the client.
        pid: Option<u32>,
        /// What it says.
        entry: String,
    },
    /// Remove an entry.
    Unregister {
        /// Of this process.
        pid: Option<u32>,
    },
    /// Work is saved.
    Saved {
        /// Of this process.
        pid: Option<u32>,
    },
    /// Which entries do not count, and why?
    Refused,
    /// Pause a unit.
    Pause {
        /// By a process of it.
        pid: u32,
    },
    /// Have it go on.
    Thaw {
        /// By a process of it.
        pid: u32,
    },
    /// Tell what happens.
    Subscribe,
    /// Figures for Prometheus.
    Metrics,
    /// Read the configuration again.
    Reload,
    /// What answers here?
    Info,
    /// What can be asked?
    Description {
        /// Of this interface.
        interface: String,
    },
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// No answer is wanted.
    pub oneway: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pid {
    pid: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PidIfAny {
    pid: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LevelIfAny {
    level: Option<Condition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryOf {
    pid: Option<u32>,
    entry: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

const PID: &str = "pid: a process's number";
const PID_OR_NULL: &str = "pid: a process's number or null";

impl Request {
    /// As it is sent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (interface, method, parameters) = match self {
            Self::Relief => (NAME, "Relief", json!({})),
            Self::Status => (NAME, "Status", json!({})),
            Self::Fate { pid } => (NAME, "Fate", json!({ "pid": pid })),
            Self::Plan { level } => (NAME, "Plan", json!({ "level": level })),
            Self::Explain { pid } => (NAME, "Explain", json!({ "pid": pid })),
            Self::History => (NAME, "History", json!({})),
            Self::Register { pid, entry } => {
                (NAME, "Register", json!({ "pid": pid, "entry": entry }))
            }
            Self::Unregister { pid } => (NAME, "Unregister", json!({ "pid": pid })),
            Self::Saved { pid } => (NAME, "Saved", json!({ "pid": pid })),
            Self::Refused => (NAME, "Refused", json!({})),
            Self::Pause { pid } => (NAME, "Pause", json!({ "pid": pid })),
            Self::Thaw { pid } => (NAME, "Thaw", json!({ "pid": pid })),
            Self::Metrics => (NAME, "Metrics", json!({})),
            Self::Subscribe => (NAME, "Subscribe", json!({})),
            Self::Reload => (NAME, "Reload", json!({})),
            Self::Info => (SERVICE, "GetInfo", json!({})),
            Self::Description { interface } => (
                SERVICE,
                "GetInterfaceDescription",
                json!({ "interface": interface }),
            ),
        };
        framed(&varlink::Request {
            method: format!("{interface}.{method}").into(),
            parameters: Some(parameters),
            more: (*self == Self::Subscribe).then_some(true),
            ..varlink::Request::default()
        })
    }
}

impl Call {
    /// What a message asks, its end not included.
    ///
    /// # Errors
    ///
    /// What it is to be answered: that says what was expected.
    pub fn decode(message: &[u8]) -> Result<Self, Denial> {
        if MESSAGE_BYTES <= message.len() {
            return Err(Denial::NotUnderstood {
                expected: format!("fewer than {MESSAGE_BYTES} bytes"),
                found: "more".to_owned(),
            });
        }
        let call: varlink::Request<'_> =
            serde_json::from_slice(message).map_err(|err| Denial::NotUnderstood {
                expected: format!(
                    "a Varlink call such as {{\"method\":\"{NAME}.Status\",\"parameters\":{{}}}}"
                ),
                found: clipped(&err),
            })?;
        let given = call.parameters;
        let request = match call.method.rsplit_once('.') {
            Some((NAME, method)) => match method {
                "Relief" => no_parameters(given).map(|()| Request::Relief)?,
                "Status" => no_parameters(given).map(|()| Request::Status)?,
                "Fate" => {
                    let Pid { pid } = parameters(given, PID)?;
                    Request::Fate { pid }
                }
                "Plan" => {
                    let expected = "level: `warn` or `kill`";
                    let LevelIfAny { level } = parameters(given, expected)?;
                    match level.unwrap_or(Condition::Warn) {
                        level @ (Condition::Warn | Condition::Kill) => Request::Plan { level },
                        level => {
                            return Err(Denial::NotUnderstood {
                                expected: expected.to_owned(),
                                found: format!("`{level}`"),
                            });
                        }
                    }
                }
                "Explain" => {
                    let Pid { pid } = parameters(given, PID)?;
                    Request::Explain { pid }
                }
                "Metrics" => no_parameters(given).map(|()| Request::Metrics)?,
                "Refused" => no_parameters(given).map(|()| Request::Refused)?,
                "Pause" => {
                    let Pid { pid } = parameters(given, PID)?;
                    Request::Pause { pid }
                }
                "Thaw" => {
                    let Pid { pid } = parameters(given, PID)?;
                    Request::Thaw { pid }
                }
                "Subscribe" => {
                    no_parameters(given)?;
                    if call.more != Some(true) {
                        return Err(Denial::NotUnderstood {
                            expected: "`more`: there is more than one answer".to_owned(),
                            found: "none".to_owned(),
                        });
                    }
                    Request::Subscribe
                }
                "History" => no_parameters(given).map(|()| Request::History)?,
                "Register" => {
                    let expected = "entry: such as `8`, and pid: a process's number or null";
                    let EntryOf { pid, entry } = parameters(given, expected)?;
                    Request::Register { pid, entry }
                }
                "Unregister" => {
                    let PidIfAny { pid } = parameters(given, PID_OR_NULL)?;
                    Request::Unregister { pid }
                }
                "Saved" => {
                    let PidIfAny { pid } = parameters(given, PID_OR_NULL)?;
                    Request::Saved { pid }
                }
                "Reload" => no_parameters(given).map(|()| Request::Reload)?,
                _ => return Err(unknown_method(&call.method)),
            },
            Some((SERVICE, method)) => match method {
                "GetInfo" => no_parameters(given).map(|()| Request::Info)?,
                "GetInterfaceDescription" => {
                    let asked: GetInterfaceDescriptionArgs<'_> =
                        parameters(given, "interface: the name of one")?;
                    Request::Description {
                        interface: asked.interface.into_owned(),
                    }
                }
                _ => return Err(unknown_method(&call.method)),
            },
            interface => {
                return Err(Denial::InterfaceNotFound {
                    interface: interface.map_or("", |(name, _)| name).to_owned(),
                });
            }
        };
        Ok(Self {
            request,
            oneway: call.oneway.unwrap_or(false),
        })
    }
}

fn unknown_method(method: &str) -> Denial {
    Denial::MethodNotFound {
        method: method.to_owned(),
    }
}

fn no_parameters(given: Option<Value>) -> Result<(), Denial> {
    parameters(given, "no parameters").map(|Nothing {}| ())
}

/// What is wrong, without the rest of what it quotes: that is the caller's own, and has
/// any length.
fn clipped(err: &serde_json::Error) -> String {
    const LONGEST: usize = 120;
    let text = err.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn parameters<T: DeserializeOwned>(given: Option<Value>, expected: &str) -> Result<T, Denial> {
    let given = given.unwrap_or_else(|| json!({}));
    serde_json::from_value(given).map_err(|err| Denial::NotUnderstood {
        expected: expected.to_owned(),
        found: clipped(&err),
    })
}
