//! What killing a unit costs, and how that was counted.

use std::fmt;
use std::iter::Sum;

use serde::{Deserialize, Serialize};

use crate::worth::Gain;

/// A cost as the choice counts it, in parts of a value: [`Cost::PARTS`] to a
/// value of 1.
///
/// [`fmt::Display`] rounds to hundredths, and shows what is above zero and
/// would round to zero as `<0.01`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Cost(u64);

impl Cost {
    /// No cost.
    pub const ZERO: Self = Self(0);
    /// What a value of 1 costs.
    pub const ONE: Self = Self(Self::PARTS);
    /// Parts of a value of 1, so that what shares a value can be told apart.
    /// 10^6 × 4096 is below 2^32, the most that the search takes.
    pub const PARTS: u64 = 4096;

    /// The cost of a value.
    #[must_use]
    pub const fn of_value(value: u32) -> Self {
        // 2^32 × 4096 is below 2^64.
        Self(value as u64 * Self::PARTS)
    }

    /// From a count of parts.
    #[must_use]
    pub const fn from_parts(parts: u64) -> Self {
        Self(parts)
    }

    /// The count of parts.
    #[must_use]
    pub const fn parts(self) -> u64 {
        self.0
    }

    /// Half of it, rounded down.
    #[must_use]
    pub const fn half(self) -> Self {
        Self(self.0 / 2)
    }

    /// A thirty-second of it, rounded down.
    #[must_use]
    pub const fn thirty_second(self) -> Self {
        Self(self.0 / 32)
    }

    /// What is left of it without `other`, at least nothing.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Both together.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// As a value, rounded up.
    #[must_use]
    pub const fn rounded_up(self) -> u64 {
        self.0.div_ceil(Self::PARTS)
    }
}

/// Saturates.
impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::ZERO, Self::saturating_add)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let half_a_hundredth = Self::PARTS / 2;
        let hundredths =
            (u128::from(self.0) * 100 + u128::from(half_a_hundredth)) / u128::from(Self::PARTS);
        if hundredths == 0 && self.0 > 0 {
            return f.write_str("<0.01");
        }
        let (whole, rest) = (hundredths / 100, hundredths % 100);
        match (rest, rest % 10) {
            (0, _) => write!(f, "{whole}"),
            (_, 0) => write!(f, "{whole}.{}", rest / 10),
            _ => write!(f, "{whole}.{rest:02}"),
        }
    }
}

/// What the cost of a unit begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Basis {
    /// The value of its entries, 0 to 1 000 000.
    Value(u32),
    /// The same, of an entry whose value grows with unsaved work.
    Gained(Gain),
    /// It is not registered: its share of the 1 that all unregistered units of
    /// its session share by what they hold.
    Share(Cost),
    /// The same, where its `oom_score_adj` says more: a higher one makes it less.
    Hinted {
        /// What it comes to.
        cost: Cost,
        /// What the process, or root, has set.
        oom_score_adj: i16,
    },
    /// It is not registered, and session-critical: more than any value.
    Critical(Cost),
    /// It is not registered, and `--prefer` names it: nothing.
    Preferred,
}

impl Basis {
    /// What it costs before growth and penalty.
    #[must_use]
    pub fn cost(self) -> Cost {
        match self {
            Self::Value(value) => Cost::of_value(value),
            Self::Gained(gain) => Cost::of_value(gain.value()),
            Self::Share(cost) | Self::Hinted { cost, .. } | Self::Critical(cost) => cost,
            Self::Preferred => Cost::ZERO,
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => write!(f, "value {value}"),
            Self::Gained(gain) => write!(f, "value {} ({gain})", gain.value()),
            Self::Share(cost) => write!(f, "{cost} (its share of its group's 1)"),
            Self::Hinted {
                cost,
                oom_score_adj,
            } => write!(f, "{cost} (not registered, oom_score_adj {oom_score_adj})"),
            Self::Critical(cost) => write!(f, "{cost} (session-critical)"),
            Self::Preferred => f.write_str("0 (--prefer)"),
        }
    }
}

/// What a unit costs, step by step, as the choice counted it.
///
/// [`fmt::Display`] is the sum as one would write it down:
/// `cost 0.03 = value 8, counts as 4 while it grows, − penalty 3.97`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Explanation {
    /// What it begins with.
    pub basis: Basis,
    /// Whether it is growing, and so counts half.
    pub growing: bool,
    /// Whether it would soon take more than all else could free, and so counts a
    /// thirty-second instead.
    pub outgrows: bool,
    /// What earlier losses add against it: its share of what was killed while
    /// it grew.
    pub penalty: Cost,
    /// What the choice counted.
    pub cost: Cost,
}

impl Explanation {
    /// Counts.
    #[must_use]
    pub fn new(basis: Basis, growing: bool, penalty: Cost) -> Self {
        let cost = if growing {
            basis.cost().half()
        } else {
            basis.cost()
        };
        Self {
            basis,
            growing,
            outgrows: false,
            penalty,
            cost: cost.saturating_sub(penalty),
        }
    }

    /// The same of a unit that grows and outgrows memory.
    #[must_use]
    pub fn outgrowing(self) -> Self {
        let counts = self.basis.cost().thirty_second();
        Self {
            outgrows: true,
            cost: counts.saturating_sub(self.penalty),
            ..self
        }
    }

    /// The same, where of sets that come to the same by halves the one of less value is
    /// to be the cheapest: with a part for each two of value, where it counts half.
    #[must_use]
    pub fn by_value_where_even(self) -> Self {
        let hair = match self.growing {
            true => self.basis.cost().parts() / (2 * Cost::PARTS),
            false => 0,
        };
        Self {
            cost: self.cost.saturating_add(Cost::from_parts(hair)),
            ..self
        }
    }

    /// The same, where its value came about by `gain`; not where it is the sum of
    /// several entries.
    #[must_use]
    pub fn by(self, gain: Option<Gain>) -> Self {
        match gain {
            Some(gain) if self.basis == Basis::Value(gain.value()) => Self {
                basis: Basis::Gained(gain),
                ..self
            },
            _ => self,
        }
    }

    /// The value it is registered with; `None`: it is not registered.
    #[must_use]
    pub fn value(&self) -> Option<u32> {
        match self.basis {
            Basis::Value(value) => Some(value),
            Basis::Gained(gain) => Some(gain.value()),
            Basis::Share(_) | Basis::Hinted { .. } | Basis::Critical(_) | Basis::Preferred => None,
        }
    }

    /// Whether it costs what its value says, with nothing to explain.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(self.basis, Basis::Value(_)) && self.cost == self.basis.cost()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cost {} = {}", self.cost, self.basis)?;
        let basis = self.basis.cost();
        if self.outgrows {
            let counts = basis.thirty_second();
            write!(f, ", counts as {counts} while it outgrows memory")?;
        } else if self.growing {
            write!(f, ", counts as {} while it grows", basis.half())?;
        }
        if self.penalty > Cost::ZERO {
            let comma = if self.growing || self.outgrows {
                ","
            } else {
                ""
            };
            write!(f, "{comma} − penalty {}", self.penalty)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worth::{Per, Rate};

    #[track_caller]
    fn check(basis: Basis, growing: bool, penalty_parts: u64, want: &str) {
        let penalty = Cost::from_parts(penalty_parts);
        let said = Explanation::new(basis, growing, penalty).to_string();
        assert_eq!(said, want);
    }

    #[test]
    fn a_cost_is_shown_in_hundredths() {
        for (parts, want) in [
            (0, "0"),
            (1, "<0.01"),
            (Cost::PARTS / 58, "0.02"),
            (Cost::PARTS / 2, "0.5"),
            (Cost::PARTS * 3 / 4, "0.75"),
            (Cost::PARTS - 1, "1"),
            (Cost::PARTS * 8, "8"),
            (u64::MAX, "4503599627370496"),
        ] {
            assert_eq!(Cost::from_parts(parts).to_string(), want, "{parts}");
        }
    }

    #[test]
    fn each_step_of_a_registered_units_cost_is_shown() {
        check(Basis::Value(8), false, 0, "cost 8 = value 8");
        check(
            Basis::Value(8),
            true,
            0,
            "cost 4 = value 8, counts as 4 while it grows",
        );
        check(
            Basis::Value(8),
            true,
            3 * Cost::PARTS,
            "cost 1 = value 8, counts as 4 while it grows, − penalty 3",
        );
        check(
            Basis::Value(8),
            false,
            9 * Cost::PARTS,
            "cost 0 = value 8 − penalty 9",
        );
    }

    #[test]
    fn what_outgrows_memory_counts_a_thirty_second() {
        let plain = Explanation::new(Basis::Value(8), true, Cost::ZERO);
        assert_eq!(plain.outgrowing().cost.parts(), Cost::PARTS / 4);
        assert_eq!(
            plain.outgrowing().to_string(),
            "cost 0.25 = value 8, counts as 0.25 while it outgrows memory"
        );
        let charged = Explanation::new(Basis::Value(8), true, Cost::of_value(3));
        assert_eq!(
            charged.outgrowing().to_string(),
            "cost 0 = value 8, counts as 0.25 while it outgrows memory, − penalty 3"
        );
    }

    #[test]
    fn a_value_that_has_grown_says_from_what() {
        let gain = Gain {
            base: 2,
            rate: Rate {
                points: 7,
                per: Per::Hour,
            },
            unsaved_millis: 4_680_000,
            most: 1000,
        };
        let basis = Basis::Gained(gain);
        check(basis, false, 0, "cost 11 = value 11 (2 + 7/h × 1.3 h)");
        check(
            basis,
            true,
            0,
            "cost 5.5 = value 11 (2 + 7/h × 1.3 h), counts as 5.5 while it grows",
        );
    }

    #[test]
    fn a_share_of_a_session_is_not_shown_as_1() {
        let share = Basis::Share(Cost::from_parts(Cost::PARTS / 58));
        check(
            share,
            false,
            0,
            "cost 0.02 = 0.02 (its share of its group's 1)",
        );
        check(
            share,
            true,
            0,
            "cost 0.01 = 0.02 (its share of its group's 1), counts as 0.01 while it grows",
        );
    }

    #[test]
    fn what_is_critical_or_preferred_says_so() {
        check(
            Basis::Critical(Cost::of_value(1_000_000)),
            false,
            0,
            "cost 1000000 = 1000000 (session-critical)",
        );
        check(Basis::Preferred, false, 0, "cost 0 = 0 (--prefer)");
    }

    #[test]
    fn only_a_registered_unit_that_counts_in_full_is_plain() {
        let plain = |basis, growing| Explanation::new(basis, growing, Cost::ZERO).is_plain();
        assert!(plain(Basis::Value(8), false));
        assert!(plain(Basis::Value(0), true));
        assert!(!plain(Basis::Value(8), true));
        assert!(!plain(Basis::Share(Cost::ONE), false));
    }
}
