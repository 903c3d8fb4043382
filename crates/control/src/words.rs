//! What is said, and how it is written.
//!
//! Words and `key=number` pairs with one space between, in one order and one
//! spelling each (no `+`, no leading zero), so that a message that can be read
//! is the one that would be written.

use std::fmt::{self, Write};
use std::str::Split;
use std::time::Duration;

/// No message is longer.
pub const MESSAGE_BYTES: usize = 256;

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
        /// What they are counted to give back, in bytes.
        bytes: u64,
    },
    /// It is not, and why: `refused …`.
    Refused(Refusal),
    /// How things are: `status …`.
    Status(Status),
    /// What was done to a process: `fate …`.
    Fate(Fate),
}

/// Why a request is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// So much is available that ending somebody would not help:
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
    /// What earlier victims still hold will do: `promised bytes=N`.
    Promised {
        /// In bytes.
        bytes: u64,
    },
    /// All that may be ended would not do: `nothing-helps bytes=N`.
    NothingHelps {
        /// What all of it would give back, in bytes.
        judged_bytes: u64,
    },
    /// Relief is for root and the daemon's own user: `not-permitted`.
    NotPermitted,
    /// The daemon decides and ends nobody (`--dryrun`): `dry-run`.
    DryRun,
    /// The daemon has not signalled that process, or so many others since that
    /// it has forgotten: `no-victim`.
    NoVictim,
    /// The daemon does not know the request; it may be older than the client:
    /// `not-understood`.
    NotUnderstood,
}

/// How things are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The daemon's pid.
    pub pid: u32,
    /// How short the machine is.
    pub level: Level,
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
    /// The warn threshold: it acts when available memory is at or below this
    /// many bytes (and swap below its own).
    pub warn_bytes: u64,
}

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
    pub cause: Cause,
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
}

/// Why a process was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Memory at or below the warn threshold: `warn`.
    Warn,
    /// Memory at or below the kill threshold: `kill`.
    Kill,
    /// Relief was asked for: `relief`.
    Relief,
    /// The kernel was about to kill: `last-call`.
    LastCall,
}

impl Cause {
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

/// How short the machine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
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

impl Level {
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
            "refused" => Self::Refused(Refusal::decode(&mut words)?),
            "status" => Self::Status(Status::decode(&mut words)?),
            "fate" => Self::Fate(Fate::decode(&mut words)?),
            _ => {
                return Err(
                    words.expected(Expected::Word("`granted`, `refused`, `status` or `fate`"))
                );
            }
        };
        words.end()?;
        Ok(reply)
    }
}

impl Refusal {
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
            Self::Promised { bytes } => Message::of(format_args!("refused promised bytes={bytes}")),
            Self::NothingHelps { judged_bytes } => {
                Message::of(format_args!("refused nothing-helps bytes={judged_bytes}"))
            }
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
            "promised" => Self::Promised {
                bytes: words.number("bytes=")?,
            },
            "nothing-helps" => Self::NothingHelps {
                judged_bytes: words.number("bytes=")?,
            },
            "not-permitted" => Self::NotPermitted,
            "dry-run" => Self::DryRun,
            "no-victim" => Self::NoVictim,
            "not-understood" => Self::NotUnderstood,
            _ => return Err(words.expected(Expected::Word("a reason"))),
        })
    }
}

impl Status {
    fn encode(&self) -> Message {
        Message::of(format_args!(
            "status pid={} level={} available={} total={} swap-free={} swap-total={} \
             registered={} ended={} warn={}",
            self.pid,
            self.level.word(),
            self.available_bytes,
            self.total_bytes,
            self.swap_free_bytes,
            self.swap_total_bytes,
            self.registered,
            self.ended,
            self.warn_bytes
        ))
    }

    fn decode(words: &mut Words<'_>) -> Result<Self, WordsError> {
        Ok(Self {
            pid: words.number("pid=")?,
            level: words.level()?,
            available_bytes: words.number("available=")?,
            total_bytes: words.number("total=")?,
            swap_free_bytes: words.number("swap-free=")?,
            swap_total_bytes: words.number("swap-total=")?,
            registered: words.number("registered=")?,
            ended: words.number("ended=")?,
            warn_bytes: words.number("warn=")?,
        })
    }
}

impl Fate {
    fn encode(&self) -> Message {
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

    fn decode(words: &mut Words<'_>) -> Result<Self, WordsError> {
        Ok(Self {
            pid: words.number("pid=")?,
            value: words.number_or_none("value=")?,
            first: words.signal("first=")?,
            last: words.signal("last=")?,
            cause: words.cause()?,
            need_bytes: words.number("need=")?,
            held_bytes: words.number("held=")?,
            since: Duration::from_millis(words.number("since=")?),
            gone_after: words.number_or_none("gone=")?.map(Duration::from_millis),
        })
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A number, or `none`.
struct OrNone(Option<u64>);

impl fmt::Display for OrNone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => number.fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// For people.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted { processes, bytes } => {
                let noun = if *processes == 1 {
                    "process"
                } else {
                    "processes"
                };
                write!(f, "gives up {processes} {noun}, {}", Mebibytes(*bytes))
            }
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Status(status) => status.fmt(f),
            Self::Fate(fate) => fate.fmt(f),
        }
    }
}

/// For people.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EnoughAvailable { available_percent } => {
                write!(f, "{available_percent} % of memory is available")
            }
            Self::RecoveryInterval { remaining } => write!(
                f,
                "the last relief was just now, the next may be in {:.1} s",
                remaining.as_secs_f64()
            ),
            Self::Promised { bytes } => write!(
                f,
                "{} will come back from those that are ending",
                Mebibytes(*bytes)
            ),
            Self::NothingHelps { judged_bytes } => write!(
                f,
                "all that may be ended holds {}, and that is not enough",
                Mebibytes(*judged_bytes)
            ),
            Self::NotPermitted => f.write_str("relief is for root and the daemon's own user"),
            Self::DryRun => f.write_str("a dry run ends nobody"),
            Self::NoVictim => f.write_str("user-oom has not signalled that process"),
            Self::NotUnderstood => f.write_str("the daemon does not know this request"),
        }
    }
}

/// For people.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}, level {}, ", self.pid, self.level.word())?;
        if self.level == Level::Unknown {
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
        write!(f, ", {} registered, {} ended", self.registered, self.ended)
    }
}

/// For people: `740 (value 5): SIGTERM, then SIGKILL; gone after 5.1 s; …`.
impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.pid)?;
        match self.value {
            Some(value) => write!(f, "(value {value}): ")?,
            None => f.write_str("(no value of its own): ")?,
        }
        f.write_str(match (self.first, self.last) {
            (Signal::Term, Signal::Term) => "SIGTERM",
            (Signal::Term, Signal::Kill) => "SIGTERM, then SIGKILL",
            (Signal::Kill, _) => "SIGKILL",
        })?;
        write!(f, ", {:.1} s ago; ", self.since.as_secs_f64())?;
        f.write_str(match self.cause {
            Cause::Warn => "low memory (warn)",
            Cause::Kill => "low memory (kill)",
            Cause::Relief => "relief was asked for",
            Cause::LastCall => "the kernel was about to kill",
        })?;
        let (need, held) = (Mebibytes(self.need_bytes), Mebibytes(self.held_bytes));
        write!(f, ", need {need}; ")?;
        match self.gone_after {
            Some(after) => write!(f, "gone after {:.1} s, freed {held}", after.as_secs_f64()),
            None => write!(f, "not gone yet, holds {held}"),
        }
    }
}

/// Bytes, shown as whole MiB.
struct Mebibytes(u64);

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0 / (1024 * 1024))
    }
}

/// A message as it is sent, in place: no heap.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Message {
    bytes: [u8; MESSAGE_BYTES],
    len: usize,
}

impl Message {
    fn of(text: fmt::Arguments<'_>) -> Self {
        let mut message = Self {
            bytes: [0; MESSAGE_BYTES],
            len: 0,
        };
        // The longest of all fits (see the tests), so this cannot fail.
        let _ = message.write_fmt(text);
        message
    }

    /// Its text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({})", self.as_bytes().escape_ascii())
    }
}

/// A message that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found `{found}`")]
pub struct WordsError {
    expected: Expected,
    found: Found,
}

impl WordsError {
    /// `message` is longer than any is.
    pub(crate) fn too_long(message: &[u8]) -> Self {
        Self {
            expected: Expected::Short,
            found: Found::new(message),
        }
    }

    /// What was found.
    #[must_use]
    pub fn found(&self) -> Found {
        self.found
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Short,
    Text,
    Word(&'static str),
    Number(&'static str),
    End,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(f, "at most {MESSAGE_BYTES} bytes"),
            Self::Text => f.write_str("text"),
            Self::Word(words) => f.write_str(words),
            Self::Number(key) => write!(f, "`{key}` and a number"),
            Self::End => f.write_str("the end of the message"),
        }
    }
}

/// The beginning of a message that makes no sense. [`fmt::Display`] escapes
/// what is not printable ASCII: it may come from anybody and go to a terminal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Found {
    bytes: [u8; Self::BYTES],
    len: usize,
    whole: bool,
}

impl Found {
    /// No more is kept.
    pub const BYTES: usize = 64;

    fn new(message: &[u8]) -> Self {
        let len = message.len().min(Self::BYTES);
        let mut bytes = [0; Self::BYTES];
        bytes[..len].copy_from_slice(&message[..len]);
        Self {
            bytes,
            len,
            whole: len == message.len(),
        }
    }

    /// As it came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())?;
        if !self.whole {
            f.write_str("...")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Found({self})")
    }
}

/// A message that is being read.
struct Words<'a> {
    message: &'a [u8],
    rest: Split<'a, char>,
}

impl<'a> Words<'a> {
    fn of(message: &'a [u8]) -> Result<Self, WordsError> {
        if MESSAGE_BYTES < message.len() {
            return Err(WordsError::too_long(message));
        }
        let text = str::from_utf8(message).map_err(|_| WordsError {
            expected: Expected::Text,
            found: Found::new(message),
        })?;
        Ok(Self {
            message,
            rest: text.split(' '),
        })
    }

    /// The next word, empty at the end.
    fn word(&mut self) -> &'a str {
        self.rest.next().unwrap_or_default()
    }

    fn number<T: TryFrom<u64>>(&mut self, key: &'static str) -> Result<T, WordsError> {
        self.word()
            .strip_prefix(key)
            .and_then(number)
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| self.expected(Expected::Number(key)))
    }

    fn level(&mut self) -> Result<Level, WordsError> {
        let word = self.word().strip_prefix("level=");
        Level::ALL
            .into_iter()
            .find(|level| word == Some(level.word()))
            .ok_or_else(|| {
                self.expected(Expected::Word(
                    "`level=` and `ok`, `warn`, `kill` or `unknown`",
                ))
            })
    }

    fn number_or_none<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
    ) -> Result<Option<T>, WordsError> {
        let mut ahead = self.rest.clone();
        if ahead.next().and_then(|word| word.strip_prefix(key)) == Some("none") {
            self.rest = ahead;
            return Ok(None);
        }
        self.number(key).map(Some)
    }

    fn signal(&mut self, key: &'static str) -> Result<Signal, WordsError> {
        let word = self.word().strip_prefix(key);
        Signal::ALL
            .into_iter()
            .find(|signal| word == Some(signal.word()))
            .ok_or_else(|| {
                self.expected(Expected::Word("`first=` or `last=` and `term` or `kill`"))
            })
    }

    fn cause(&mut self) -> Result<Cause, WordsError> {
        let word = self.word().strip_prefix("cause=");
        Cause::ALL
            .into_iter()
            .find(|cause| word == Some(cause.word()))
            .ok_or_else(|| {
                self.expected(Expected::Word(
                    "`cause=` and `warn`, `kill`, `relief` or `last-call`",
                ))
            })
    }

    fn end(&mut self) -> Result<(), WordsError> {
        match self.rest.next() {
            None => Ok(()),
            Some(_) => Err(self.expected(Expected::End)),
        }
    }

    fn expected(&self, expected: Expected) -> WordsError {
        WordsError {
            expected,
            found: Found::new(self.message),
        }
    }
}

/// Digits alone, and no 0 before others.
fn number(digits: &str) -> Option<u64> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    is_number.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_messages_fit() {
        let longest = Status {
            pid: u32::MAX,
            level: Level::Kill,
            available_bytes: u64::MAX,
            total_bytes: u64::MAX,
            swap_free_bytes: u64::MAX,
            swap_total_bytes: u64::MAX,
            registered: u32::MAX,
            ended: u64::MAX,
            warn_bytes: u64::MAX,
        };
        let fate = Fate {
            pid: u32::MAX,
            value: Some(u32::MAX),
            first: Signal::Term,
            last: Signal::Kill,
            cause: Cause::LastCall,
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
            Reply::Refused(Refusal::RecoveryInterval {
                remaining: Duration::from_millis(u64::MAX),
            }),
            Reply::Refused(Refusal::EnoughAvailable {
                available_percent: u32::MAX,
            }),
            Reply::Refused(Refusal::NothingHelps {
                judged_bytes: u64::MAX,
            }),
        ] {
            assert_eq!(Reply::decode(reply.encode().as_bytes()), Ok(reply));
        }
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let mut message = Message::of(format_args!("{:256}", ""));
        assert_eq!(message.as_bytes().len(), MESSAGE_BYTES);
        assert!(message.write_str("x").is_err());
        assert_eq!(message.as_bytes().len(), MESSAGE_BYTES);
    }

    #[track_caller]
    fn check(digits: &str, want: Option<u64>) {
        assert_eq!(number(digits), want);
    }

    #[test]
    fn numbers_have_one_spelling() {
        check("0", Some(0));
        check("18446744073709551615", Some(u64::MAX));
        check("18446744073709551616", None);
        check("", None);
        check("00", None);
        check("+1", None);
        check("-1", None);
        check("1 ", None);
        check("٣", None);
    }
}
