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
    /// Time in which at least one task waited for memory.
    pub some: Stalled,
    /// Time in which all tasks that had something to do waited for memory.
    pub full: Stalled,
}

/// One line of a pressure file: the share of time that was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stalled {
    /// Over about the last ten seconds. The kernel brings it up to date every
    /// two seconds.
    pub avg10: Percent,
    /// Over about the last minute.
    pub avg60: Percent,
    /// Over about the last five minutes.
    pub avg300: Percent,
    /// All of it since boot, or since the cgroup was made; to the microsecond.
    pub total: Duration,
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

    /// In percent, 0.0 to 100.0: for graphs, not for comparing.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.hundredths) / 100.0
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

/// Text that is no percentage from 0 to 100 with at most two decimals.
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

/// Text that is no pressure file for memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The line that begins with this word is not there.
    #[error("there is no line that begins with `{0}`")]
    Missing(Share),
    /// The line that begins with this word is there a second time.
    #[error("line {line} is a second `{share}` line")]
    Twice {
        /// Counted from 1.
        line: usize,
        /// Its first word.
        share: Share,
    },
    /// A line begins with something else than `some` or `full`.
    #[error("line {line} begins with `{found}`, not with `some` or `full`")]
    Line {
        /// Counted from 1.
        line: usize,
        /// The beginning of what stands there.
        found: String,
    },
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

/// Who has to wait before time counts as lost.
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
    /// Reads the text of a pressure file. Fields that a later kernel may add to
    /// the end of a line are passed over.
    ///
    /// # Errors
    ///
    /// - [`ParseError::Missing`]: a line is absent; both are, when `text` is
    ///   empty.
    /// - [`ParseError::Twice`], [`ParseError::Line`], [`ParseError::Field`]:
    ///   a line is not what the kernel writes.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut some = None;
        let mut full = None;
        for (line, content) in (1..).zip(text.lines()) {
            let mut words = content.split_ascii_whitespace();
            let (share, place) = match words.next() {
                Some("some") => (Share::Some, &mut some),
                Some("full") => (Share::Full, &mut full),
                Some(other) => {
                    let found = beginning(other);
                    return Err(ParseError::Line { line, found });
                }
                None => continue,
            };
            let stalled = Stalled::parse(line, words)?;
            if place.replace(stalled).is_some() {
                return Err(ParseError::Twice { line, share });
            }
        }
        Ok(Self {
            some: some.ok_or(ParseError::Missing(Share::Some))?,
            full: full.ok_or(ParseError::Missing(Share::Full))?,
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
        writeln!(f, "some {}", self.some)?;
        writeln!(f, "full {}", self.full)
    }
}

impl Stalled {
    fn parse<'a>(
        line: usize,
        mut words: impl Iterator<Item = &'a str>,
    ) -> Result<Self, ParseError> {
        let mut field = |key: &str, expected: &'static str| {
            let word = words.next().unwrap_or_default();
            match word.strip_prefix(key) {
                Some(value) => Ok((value, word)),
                None => Err(unexpected(line, expected, word)),
            }
        };
        let mut percent = |key, expected| {
            let (value, word) = field(key, expected)?;
            value
                .parse()
                .map_err(|PercentError| unexpected(line, expected, word))
        };
        let avg10 = percent("avg10=", "avg10=<percent>")?;
        let avg60 = percent("avg60=", "avg60=<percent>")?;
        let avg300 = percent("avg300=", "avg300=<percent>")?;
        let expected = "total=<microseconds>";
        let (value, word) = field("total=", expected)?;
        let micros = digits(value).ok_or_else(|| unexpected(line, expected, word))?;
        Ok(Self {
            avg10,
            avg60,
            avg300,
            total: Duration::from_micros(micros),
        })
    }
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            avg10,
            avg60,
            avg300,
            total,
        } = self;
        let total = total.as_micros();
        write!(
            f,
            "avg10={avg10} avg60={avg60} avg300={avg300} total={total}"
        )
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

fn unexpected(line: usize, expected: &'static str, found: &str) -> ParseError {
    ParseError::Field {
        line,
        expected,
        found: beginning(found),
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
