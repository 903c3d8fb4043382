//! What is wrong in a text, and what is taken in its place.

use std::fmt;

/// One line or number that cannot be true, and what is taken in its place.
/// [`fmt::Display`] follows the name of the file: `` `f`, line 3: … ``.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Implausible {
    pub(super) key: &'static str,
    pub(super) unit: Measure,
    /// Counted from 1; 0: there is no such line.
    pub(super) line: usize,
    pub(super) fault: Fault,
    pub(super) used: Used,
}

/// What numbers of a file are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    Kib,
    Bytes,
    /// Bytes, behind the key and a space.
    Stat,
    /// Bytes, and nothing else in the file.
    Alone,
    Pages,
    /// It is not an amount of memory.
    None,
}

/// What is wrong. Quantities in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Missing,
    Unreadable(Excerpt),
    Wrapped(Excerpt),
    /// On this line.
    Repeated(usize),
    /// It is more than can be.
    Above {
        found: u64,
        limit: u64,
    },
    /// The parts of it add up to another.
    Parts {
        found: u64,
        sum: u64,
    },
    /// It is less than can be, since so much is free.
    Below {
        found: u64,
        free: u64,
    },
    /// It could be less only where the kernel keeps back more than it does
    /// unless it is told to.
    Doubtful {
        found: u64,
        free: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Used {
    /// The whole file is left out.
    No,
    /// The field is left out.
    Nothing,
    /// As it is.
    Found,
    Bytes(u64),
    /// What its parts add up to.
    Sum(u64),
    /// Reckoned from free memory, page cache and slab.
    Reckoned(u64),
    /// What the same line said before.
    Before(u64),
    /// What the machine has.
    Machine(u64),
}

/// The beginning of what was found, without the heap.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Excerpt {
    bytes: [u8; 32],
    len: u8,
}

impl Excerpt {
    pub(super) fn of(text: &[u8]) -> Self {
        let mut excerpt = Self {
            bytes: [0; 32],
            len: 0,
        };
        for (to, from) in excerpt.bytes.iter_mut().zip(text.trim_ascii()) {
            *to = match from {
                b' '..=b'~' => *from,
                _ => b'?',
            };
            excerpt.len += 1;
        }
        excerpt
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("?"))
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// The line that should be there.
struct Line(&'static str, Measure);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(key, unit) = self;
        match unit {
            Measure::Kib => write!(f, "{key}: <number> kB"),
            Measure::Bytes | Measure::None => write!(f, "{key}: <number>"),
            Measure::Pages => write!(f, "{key}: <pages>"),
            Measure::Stat => write!(f, "{key} <number>"),
            Measure::Alone => f.write_str("<number>"),
        }
    }
}

/// A quantity as the file would say it.
struct Quantity(u64, Measure);

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Measure::Bytes | Measure::Stat | Measure::Alone => write!(f, "{} bytes", self.0),
            Measure::Kib | Measure::Pages => write!(f, "{} kB", self.0 >> 10),
            Measure::None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Display for Implausible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key, unit, line, ..
        } = *self;
        if line > 0 {
            write!(f, ", line {line}")?;
        }
        match self.fault {
            Fault::Missing => write!(f, ": there is no line `{}`", Line(key, unit))?,
            Fault::Unreadable(found) => {
                write!(f, ": expected `{}`, found `{found}`", Line(key, unit))?;
            }
            Fault::Wrapped(found) => write!(
                f,
                ": {key} cannot be `{found}`: more than any machine has, or wrapped below zero"
            )?,
            Fault::Repeated(again) => write!(f, ": `{key}` appears again on line {again}")?,
            Fault::Above { found, limit } => {
                let (found, limit) = (Quantity(found, unit), Quantity(limit, unit));
                write!(f, ": {key} cannot be {found} (at most {limit})")?;
            }
            Fault::Parts { found, sum } => {
                let (found, sum) = (Quantity(found, unit), Quantity(sum, unit));
                write!(
                    f,
                    ": {key} cannot be {found} (what is free, anonymous, cached, slab and set aside \
                     is {sum})"
                )?;
            }
            Fault::Below { found, free } => {
                let (found, free) = (Quantity(found, unit), Quantity(free, unit));
                write!(f, ": {key} cannot be {found} ({free} are free)")?;
            }
            Fault::Doubtful { found, free } => {
                let (found, free) = (Quantity(found, unit), Quantity(free, unit));
                write!(f, ": {key} is {found}, but {free} are free")?;
            }
        }
        match self.used {
            Used::No => Ok(()),
            Used::Nothing => write!(f, "; ignored"),
            Used::Found if matches!(self.fault, Fault::Repeated(_)) => {
                write!(f, "; using the first")
            }
            Used::Found => write!(
                f,
                "; used as it is, but the kill level also needs free memory that low"
            ),
            Used::Bytes(bytes) => write!(f, "; using {}", Quantity(bytes, unit)),
            Used::Sum(bytes) => write!(f, "; using {}, the sum", Quantity(bytes, unit)),
            Used::Reckoned(bytes) => write!(
                f,
                "; using {}, from free memory, page cache and slab",
                Quantity(bytes, unit)
            ),
            Used::Before(bytes) => write!(f, "; using {}, as before", Quantity(bytes, unit)),
            Used::Machine(bytes) => {
                write!(f, "; using {}, by sysinfo(2)", Quantity(bytes, unit))
            }
        }
    }
}

impl Fault {
    /// Why `text` says nothing; `digits` are what there is of it but its unit.
    pub(super) fn of(text: &[u8], digits: Option<&[u8]>) -> Self {
        let is_number = digits.is_some_and(|digits| {
            let digits = digits.strip_prefix(b"-").unwrap_or(digits);
            !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
        });
        let found = Excerpt::of(text);
        match is_number {
            true => Self::Wrapped(found),
            false => Self::Unreadable(found),
        }
    }
}
