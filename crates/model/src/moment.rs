//! Instants, told apart from spans of time.

use std::ops::{Add, AddAssign};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An instant: so long after an origin that is the same for all that is
/// compared, by a clock that does not run back.
///
/// It is written as whole nanoseconds; what is too far for them, after 584 years,
/// is the latest there is.
///
/// The clock's reader makes it; whatever decides is handed it, so that a test
/// sets the time.
///
/// ```
/// use std::time::Duration;
///
/// use model::Moment;
///
/// let now = Moment::ORIGIN + Duration::from_secs(3);
/// let later = now + Duration::from_secs(2);
/// assert_eq!(later.since(now), Duration::from_secs(2));
/// assert_eq!(now.since(later), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u64", from = "u64")]
pub struct Moment(Duration);

impl Moment {
    /// The origin itself.
    pub const ORIGIN: Self = Self(Duration::ZERO);

    /// So long after the origin.
    #[must_use]
    pub const fn after_origin(span: Duration) -> Self {
        Self(span)
    }

    /// How long after `earlier` it is; zero where it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// So much earlier, at the origin at the earliest.
    #[must_use]
    pub const fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span))
    }
}

/// Saturates at the latest moment there is.
impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

/// Since the origin, in nanoseconds.
impl From<Moment> for u64 {
    fn from(moment: Moment) -> Self {
        Self::try_from(moment.0.as_nanos()).unwrap_or(Self::MAX)
    }
}

impl From<u64> for Moment {
    fn from(nanos: u64) -> Self {
        Self(match nanos {
            u64::MAX => Duration::MAX,
            _ => Duration::from_nanos(nanos),
        })
    }
}
