//! The text of a pressure file.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What a pressure file for memory says: `/proc/pressure/memory`, and
/// `memory.pressure` of a cgroup.
///
/// [`fmt::Display`] writes it as the kernel does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Time in which at least one task waited for memory; `None` where the file
    /// does not say.
    pub some: Option<Stalled>,
    /// Time in which all tasks that had something to do waited for memory.
    pub full: Stalled,
}

/// One line of a pressure file: the share of time that was lost. What the file
/// does not say, or cannot be true, is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stalled {
    /// Over about the last ten seconds. The kernel brings it up to date every
    /// two seconds.
    pub avg10: Percent,
    /// Over about the last minute.
    pub avg60: Option<Percent>,
    /// Over about the last five minutes.
    pub avg300: Option<Percent>,
    /// All of it since boot, or since the cgroup was made; to the microsecond.
    pub total: Option<Duration>,
}

/// A share of time from 0 to 100 %, exact to the hundredth that the kernel
/// prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent {
    hundredths: u16,
}

impl Percent {
    /// All of the time.
    pub const MAX: Self = Self { hundredths: 10_000 };

    /// `hundredths` of a percent; `None` above 10 000.
    #[must_use]
    pub const fn from_hundredths(hundredths: u16) -> Option<Self> {
        if hundredths <= Self::MAX.hundredths {
            Some(Self { hundredths })
        } else {
            None
        }
    }

    /// In hundredths of a percent, 0 to 10 000.
    #[must_use]
    pub const fn hundredths(self) -> u16 {
        self.hundredths
    }
}

impl fmt::Display for Percent {
    /// As the kernel prints it, without the sign: `7.05`. Takes a width, and
    /// stands to the right in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.hundredths / 100;
        let decimals = self.hundredths % 100;
        let width = f.width().unwrap_or(0).saturating_sub(".00".len());
        write!(f, "{whole:width$}.{decimals:02}")
    }
}

/// Text that is not a percentage from 0 to 100 with at most two decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a number from 0 to 100 with at most two decimals")]
pub struct PercentError;

impl FromStr for Percent {
    type Err = PercentError;

    /// Reads `40`, `40.5` and `40.25`.
    fn from_str(text: &str) -> Result<Self, PercentError> {
        let (whole, decimals) = match text.split_once('.') {
            Some((_, "")) => return Err(PercentError),
            Some(parts) => parts,
            None => (text, ""),
        };
        let whole = digits(whole).ok_or(PercentError)?;
        let decimals = match decimals.len() {
            0 => 0,
            1 => digits(decimals).ok_or(PercentError)? * 10,
            2 => digits(decimals).ok_or(PercentError)?,
            _ => return Err(PercentError),
        };
        whole
            .checked_mul(100)
            .and_then(|whole| whole.checked_add(decimals))
            .and_then(|hundredths| u16::try_from(hundredths).ok())
            .and_then(Self::from_hundredths)
            .ok_or(PercentError)
    }
}

/// Text that is not a pressure file for memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The `full` line is not there.
    #[error(
        "there is no line `full avg10=<percent>` (a cpu file has none before Linux 5.13; memory's has)"
    )]
    Missing,
    /// A field is not what it should be.
    #[error("line {line}: expected `{expected}`, found `{found}`")]
    Field {
        /// Counted from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
        /// The beginning of what stands there; empty at the end of the line.
        found: String,
    },
}

/// Which tasks have to wait before time counts as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Share {
    /// At least one task.
    Some,
    /// All tasks that have something to do.
    Full,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Some => "some",
            Self::Full => "full",
        })
    }
}

impl Pressure {
    /// Reads the text of a pressure file. Only `full avg10` must be there: any
    /// other field that is absent or cannot be true costs itself, and lines
    /// that are neither are passed over. Of two lines that begin with the same
    /// word the first counts.
    ///
    /// # Errors
    ///
    /// - [`ParseError::Missing`]: there is no `full` line.
    /// - [`ParseError::Field`]: its avg10 is not what the kernel writes.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut some = None;
        let mut full = None;
        for (line, content) in (1..).zip(text.lines()) {
            let mut words = content.split_ascii_whitespace();
            match words.next() {
                Some("some") => some = some.or_else(|| Stalled::parse(line, words).ok()),
                Some("full") => full = full.or_else(|| Some(Stalled::parse(line, words))),
                _ => {}
            }
        }
        Ok(Self {
            some,
            full: full.unwrap_or(Err(ParseError::Missing))?,
        })
    }
}

impl FromStr for Pressure {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(some) = &self.some {
            writeln!(f, "some {some}")?;
        }
        writeln!(f, "full {}", self.full)
    }
}

impl Stalled {
    fn parse<'a>(
        line: usize,
        words: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<Self, ParseError> {
        let field = |key| words.clone().find_map(|word| word.strip_prefix(key));
        let percent = |key| field(key)?.parse().ok();
        // Where it is the last, it may be cut short.
        let is_last = || {
            words
                .clone()
                .last()
                .is_some_and(|word| word.starts_with("avg10="))
        };
        let avg10 = percent("avg10=").filter(|_| !is_last());
        let avg10 = avg10.ok_or_else(|| ParseError::Field {
            line,
            expected: "avg10=<percent> avg60=<percent> …",
            found: beginning(words.clone().next().unwrap_or_default()),
        })?;
        Ok(Self {
            avg10,
            avg60: percent("avg60="),
            avg300: percent("avg300="),
            total: field("total=").and_then(digits).map(Duration::from_micros),
        })
    }
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "avg10={}", self.avg10)?;
        if let Some(avg60) = self.avg60 {
            write!(f, " avg60={avg60}")?;
        }
        if let Some(avg300) = self.avg300 {
            write!(f, " avg300={avg300}")?;
        }
        if let Some(total) = self.total {
            write!(f, " total={}", total.as_micros())?;
        }
        Ok(())
    }
}

/// A number of ASCII digits alone: `str::parse` would take `+5` too.
fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

/// Enough of `text` to recognise it by, fit to be printed.
fn beginning(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, want: Option<u16>) {
        let got = input.parse().ok().map(Percent::hundredths);
        assert_eq!(got, want, "of {input:?}");
    }

    #[test]
    fn a_percentage_is_exact_to_the_hundredth() {
        check("0.00", Some(0));
        check("0.07", Some(7));
        check("40", Some(4_000));
        check("40.5", Some(4_050));
        check("100.00", Some(10_000));
    }

    #[test]
    fn what_is_no_percentage_is_refused() {
        for text in [
            "", ".", "5.", ".5x", "-1", "+1", "1e1", "1.234", "100.01", "655.36", "٣", "1 ",
        ] {
            check(text, None);
        }
        check("99999999999999999999", None);
        check("18446744073709551615", None);
    }

    #[test]
    fn a_percentage_prints_as_the_kernel_prints_it() {
        for (hundredths, want) in [
            (0, "0.00"),
            (7, "0.07"),
            (705, "7.05"),
            (4_050, "40.50"),
            (10_000, "100.00"),
        ] {
            let percent = Percent::from_hundredths(hundredths).unwrap();
            assert_eq!(percent.to_string(), want);
        }
        assert_eq!(Percent::from_hundredths(10_001), None);
    }

    #[test]
    fn a_percentage_stands_to_the_right_of_its_column() {
        assert_eq!(format!("{:6}", Percent::default()), "  0.00");
        assert_eq!(format!("{:6}", Percent::MAX), "100.00");
    }
}
