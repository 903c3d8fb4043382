//! A message as text: how one is written, and how one is read.
//!
//! Words and `key=number` pairs with one space between, in one order and one
//! spelling each (no `+`, no leading zero), so that a message that can be read
//! is the one that would be written.

use std::fmt::{self, Write};
use std::str::Split;
use std::time::Duration;

/// No message is longer.
pub const MESSAGE_BYTES: usize = 256;

/// A message as it is sent, in place: no heap.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Message {
    bytes: [u8; MESSAGE_BYTES],
    len: usize,
}

impl Message {
    pub(crate) fn of(text: fmt::Arguments<'_>) -> Self {
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
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
pub(crate) struct Found {
    bytes: [u8; Self::BYTES],
    len: usize,
    whole: bool,
}

impl Found {
    /// No more is kept.
    const BYTES: usize = 64;

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

    fn as_bytes(&self) -> &[u8] {
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
pub(crate) struct Words<'a> {
    message: &'a [u8],
    rest: Split<'a, char>,
}

impl<'a> Words<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Result<Self, WordsError> {
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
    pub(crate) fn word(&mut self) -> &'a str {
        self.rest.next().unwrap_or_default()
    }

    pub(crate) fn number<T: TryFrom<u64>>(&mut self, key: &'static str) -> Result<T, WordsError> {
        self.word()
            .strip_prefix(key)
            .and_then(number)
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| self.expected(Expected::Number(key)))
    }

    pub(crate) fn number_or_none<T: TryFrom<u64>>(
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

    /// One of `all`, after `key`; `expected` names both.
    pub(crate) fn one_of<T: Copy>(
        &mut self,
        key: &str,
        all: &[T],
        word: fn(T) -> &'static str,
        expected: &'static str,
    ) -> Result<T, WordsError> {
        let found = self.word().strip_prefix(key);
        let mut all = all.iter().copied();
        all.find(|one| found == Some(word(*one)))
            .ok_or_else(|| self.expected(Expected::Word(expected)))
    }

    pub(crate) fn end(&mut self) -> Result<(), WordsError> {
        match self.rest.next() {
            None => Ok(()),
            Some(_) => Err(self.expected(Expected::End)),
        }
    }

    pub(crate) fn expected(&self, expected: Expected) -> WordsError {
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

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A number, or `none`.
pub(crate) struct OrNone(pub(crate) Option<u64>);

impl fmt::Display for OrNone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => number.fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// Bytes, shown as whole MiB.
pub(crate) struct Mebibytes(pub(crate) u64);

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0 / (1024 * 1024))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
