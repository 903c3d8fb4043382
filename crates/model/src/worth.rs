//! A value as an entry gives it, and how it grows with unsaved work.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a process is worth now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worth {
    /// Its value now.
    pub value: u32,
    /// How that came about, where its entry says that it grows.
    pub gain: Option<Gain>,
}

impl From<u32> for Worth {
    fn from(value: u32) -> Self {
        Self { value, gain: None }
    }
}

impl From<Gain> for Worth {
    fn from(gain: Gain) -> Self {
        Self {
            value: gain.value(),
            gain: Some(gain),
        }
    }
}

/// A value that grows until its process saves.
///
/// [`fmt::Display`] is the sum as one would write it down:
/// `2 + 7/h × 1.3 h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Gain {
    /// The value of a process that has just saved.
    pub base: u32,
    /// What unsaved work adds.
    pub rate: Rate,
    /// How long ago it saved, in milliseconds: there is one of these for each
    /// candidate, and a [`std::time::Duration`] is twice as large.
    pub unsaved_millis: u64,
    /// The value grows no further.
    pub most: u32,
}

impl Gain {
    /// The value, in whole points, rounded down.
    #[must_use]
    pub fn value(&self) -> u32 {
        let most = u64::from(self.most);
        let sum = u64::from(self.base).saturating_add(self.added());
        u32::try_from(sum.min(most)).unwrap_or(self.most)
    }

    fn added(&self) -> u64 {
        let points = u128::from(self.rate.points);
        let added = points.saturating_mul(self.unsaved_millis.into()) / self.rate.per.millis();
        u64::try_from(added).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Gain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rate { points, per } = self.rate;
        // Rounded down, as the value is.
        let tenths = u128::from(self.unsaved_millis) * 10 / per.millis();
        let (whole, rest) = (tenths / 10, tenths % 10);
        let base = self.base;
        write!(f, "{base} + {points}/{per} × {whole}.{rest} {per}")?;
        if u64::from(self.base).saturating_add(self.added()) > u64::from(self.most) {
            write!(f, ", at most {}", self.most)?;
        }
        Ok(())
    }
}

/// So many points in each span of time.
///
/// [`fmt::Display`] is what an entry says: `+3/h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rate {
    /// So many,
    pub points: u32,
    /// in each of these.
    pub per: Per,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}/{}", self.points, self.per)
    }
}

/// A span of time that a rate is given for. [`fmt::Display`] is its letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Per {
    /// `m`
    Minute,
    /// `h`
    Hour,
    /// `d`
    Day,
}

impl Per {
    fn millis(self) -> u128 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minute => "m",
            Self::Hour => "h",
            Self::Day => "d",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(gain: Gain, value: u32, said: &str) {
        assert_eq!((gain.value(), gain.to_string().as_str()), (value, said));
    }

    fn per(per: Per, points: u32, seconds: u64) -> Gain {
        Gain {
            base: 2,
            rate: Rate { points, per },
            unsaved_millis: seconds * 1000,
            most: 1000,
        }
    }

    #[test]
    fn a_value_grows_by_whole_points_with_unsaved_work() {
        check(per(Per::Hour, 7, 0), 2, "2 + 7/h × 0.0 h");
        check(per(Per::Hour, 7, 514), 2, "2 + 7/h × 0.1 h");
        check(per(Per::Hour, 7, 515), 3, "2 + 7/h × 0.1 h");
        check(per(Per::Hour, 7, 4680), 11, "2 + 7/h × 1.3 h");
        check(per(Per::Minute, 1, 90), 3, "2 + 1/m × 1.5 m");
        check(per(Per::Day, 24, 3600), 3, "2 + 24/d × 0.0 d");
    }

    #[test]
    fn it_grows_to_the_most_it_may_have() {
        check(per(Per::Hour, 998, 3600), 1000, "2 + 998/h × 1.0 h");
        check(
            per(Per::Hour, 999, 3600),
            1000,
            "2 + 999/h × 1.0 h, at most 1000",
        );
        let for_ever = Gain {
            base: u32::MAX,
            unsaved_millis: u64::MAX,
            ..per(Per::Minute, u32::MAX, 0)
        };
        assert_eq!(for_ever.value(), 1000);
    }
}
