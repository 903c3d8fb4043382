//! What the guest says to the host: lines on a serial port of its own.
//!
//! The kernel's log and the programs' own output go to another port, so
//! nothing but the guest's `/init` can speak here. A scenario has passed when
//! the port says so, and not otherwise.

use std::fmt;

/// Names the scenarios to run, separated by commas, on the kernel's command
/// line; the kernel hands it to `/init` as a variable of the environment.
pub const SCENARIOS_VARIABLE: &str = "E2E_SCENARIOS";

/// Says how many times as long as otherwise anything may take, likewise.
pub const PATIENCE_VARIABLE: &str = "E2E_PATIENCE";

/// Says that `/init` is to start the systemd of the Debian on `/dev/vda`, and
/// that a service of it runs the scenarios.
pub const SYSTEM_VARIABLE: &str = "E2E_SYSTEM";

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// A scenario has begun.
    Begin(String),
    /// The running scenario measured something.
    Figure {
        /// What.
        key: String,
        /// How much, with its unit.
        value: String,
    },
    /// It ended as it should.
    Passed(String),
    /// It did not, and why.
    Failed {
        /// The scenario.
        name: String,
        /// The chain of causes, in one line.
        reason: String,
    },
    /// All that were asked for have been run.
    Done,
}

impl Word {
    /// Reads one line; `None` where it is none of ours.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim_end();
        if line == "done" {
            return Some(Self::Done);
        }
        let (verb, rest) = line.split_once(' ')?;
        match verb {
            "begin" => Some(Self::Begin(rest.to_owned())),
            "passed" => Some(Self::Passed(rest.to_owned())),
            "figure" => rest.split_once('=').map(|(key, value)| Self::Figure {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            "failed" => rest.split_once(": ").map(|(name, reason)| Self::Failed {
                name: name.to_owned(),
                reason: reason.to_owned(),
            }),
            _ => None,
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(name) => write!(f, "begin {name}"),
            Self::Figure { key, value } => write!(f, "figure {key}={value}"),
            Self::Passed(name) => write!(f, "passed {name}"),
            Self::Failed { name, reason } => {
                write!(f, "failed {name}: {}", reason.replace(['\n', '\r'], " "))
            }
            Self::Done => write!(f, "done"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Word;

    #[track_caller]
    fn is_read_as_it_was_said(word: Word) {
        assert_eq!(Word::parse(&format!("{word}\r\n")), Some(word));
    }

    #[test]
    fn every_word_is_read_as_it_was_said() {
        is_read_as_it_was_said(Word::Begin("one".to_owned()));
        is_read_as_it_was_said(Word::Passed("one".to_owned()));
        is_read_as_it_was_said(Word::Failed {
            name: "one".to_owned(),
            reason: "it did not: really: not".to_owned(),
        });
        is_read_as_it_was_said(Word::Figure {
            key: "wait".to_owned(),
            value: "29 ms".to_owned(),
        });
        is_read_as_it_was_said(Word::Done);
    }

    #[test]
    fn what_is_cut_short_is_no_word() {
        for line in ["", "pass", "passed", "don", "failed one", "figure wait"] {
            assert_eq!(Word::parse(line), None, "{line:?}");
        }
    }
}
