//! What the administrator sets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The highest value of an entry.
pub(crate) const MAX_VALUE: u32 = 1_000_000;

/// All of something, in parts per million.
const WHOLE: u32 = 1_000_000;

/// An amount of memory or swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Amount {
    /// Parts per million of the total: 1 % is 10 000.
    PartsPerMillion(u32),
    /// Bytes.
    Bytes(u64),
    /// Whichever is less of what there is at the time.
    LowerOf {
        /// Parts per million of the total.
        parts_per_million: u32,
        /// Bytes.
        bytes: u64,
    },
}

impl Amount {
    /// Whole percent.
    #[must_use]
    pub const fn percent(percent: u16) -> Self {
        Self::PartsPerMillion(percent as u32 * 10_000)
    }

    /// The amount in bytes where the total is `total_bytes`, rounded down:
    /// whole bytes are at or below the exact amount when they are at or below
    /// this.
    #[must_use]
    pub fn of(self, total_bytes: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::PartsPerMillion(parts) => {
                let bytes = u128::from(total_bytes) * u128::from(parts) / u128::from(WHOLE);
                u64::try_from(bytes).unwrap_or(u64::MAX)
            }
            Self::LowerOf {
                parts_per_million,
                bytes,
            } => Self::PartsPerMillion(parts_per_million)
                .of(total_bytes)
                .min(bytes),
        }
    }

    /// Whether this is more than `other`, where no total is needed to tell.
    fn is_above(self, other: Self) -> Option<bool> {
        match (self, other) {
            (Self::PartsPerMillion(this), Self::PartsPerMillion(other)) => Some(this > other),
            (Self::Bytes(this), Self::Bytes(other)) => Some(this > other),
            _ => None,
        }
    }
}

/// Below this, both for memory and for swap, a level begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// Of MemTotal − Hugetlb.
    pub memory: Amount,
    /// Of SwapTotal.
    pub swap: Amount,
}

/// All settings of the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// At or below: SIGTERM (default 10 %, 10 %).
    pub warn: Floor,
    /// At or below: SIGKILL (default 5 %, 5 %).
    pub kill: Floor,
    /// Where relief ends; above warn. `None`: at one and a half times the warn
    /// threshold, but no more than half way from there to all there is (a threshold of
    /// 80 % recovers at 90 %, not at 120 %).
    pub recovery: Option<Amount>,
    /// From SIGTERM to SIGKILL (default 5 s).
    pub grace: Duration,
    /// From SIGKILL until a victim counts as stuck (default 1 s).
    pub deadline: Duration,
    /// The same at a last call: the module's grace (default 500 ms).
    pub last_call_deadline: Duration,
    /// What stays is given this much time to grow on (default 5 s; 0: none).
    pub horizon: Duration,
    /// After a relief, before the next (default 15 s).
    pub relief_interval: Duration,
    /// Memory is looked at no more often than this (default 50 ms). A small cgroup
    /// fills faster than a machine, so it is to be looked at more often.
    pub shortest_look: Duration,
    /// At relief, pause what may be paused rather than kill (default: yes).
    pub pause: bool,
    /// Leave all but registered units alone.
    pub registered_only: bool,
    /// A process dies with its whole process group.
    pub by_group: bool,
    /// User ids below this are system accounts (default 1000).
    pub first_ordinary_uid: u32,
    /// What is killed together counts for no more by the entries of others than root's
    /// processes, or for what the highest of them says (default 1000).
    #[serde(default = "uncapped")]
    pub user_value_cap: u32,
}

/// Of a journal that says nothing of it.
fn uncapped() -> u32 {
    MAX_VALUE
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            warn: Floor {
                memory: Amount::percent(10),
                swap: Amount::percent(10),
            },
            kill: Floor {
                memory: Amount::percent(5),
                swap: Amount::percent(5),
            },
            recovery: None,
            grace: Duration::from_secs(5),
            deadline: Duration::from_secs(1),
            last_call_deadline: Duration::from_millis(500),
            horizon: Duration::from_secs(5),
            relief_interval: Duration::from_secs(15),
            shortest_look: Duration::from_millis(50),
            pause: true,
            registered_only: false,
            by_group: false,
            first_ordinary_uid: 1000,
            user_value_cap: 1000,
        }
    }
}

impl Settings {
    /// Whether `uid` is root or a system account. systemd's dynamic users (61184
    /// to 65519, systemd.exec(5)) and `nobody` are services too.
    pub(crate) fn is_service_account(&self, uid: u32) -> bool {
        uid < self.first_ordinary_uid || (61_184..=65_519).contains(&uid) || uid == 65_534
    }

    /// These, with what `other` says of all that a configuration can change while the
    /// daemon runs.
    #[must_use]
    pub fn with_keys_of(&self, other: Self) -> Self {
        Self {
            // Those that cannot be changed, and those that are no keys.
            pause: self.pause,
            deadline: self.deadline,
            last_call_deadline: self.last_call_deadline,
            relief_interval: self.relief_interval,
            shortest_look: self.shortest_look,
            ..other
        }
    }

    /// Refuses what cannot be meant on any machine. Percent and bytes can be
    /// compared only where the totals are known: see [`Self::checked_on`].
    ///
    /// # Errors
    ///
    /// - [`SettingsError::KillAboveWarn`]: for memory or for swap.
    /// - [`SettingsError::RecoveryNotAboveWarn`]: an end of relief at or below
    ///   warn would be the beginning of the next.
    /// - [`SettingsError::RecoveryAboveAll`]: it is over 100 %.
    pub fn checked(&self) -> Result<(), SettingsError> {
        let above = |this: Amount, other| this.is_above(other);
        if above(self.kill.memory, self.warn.memory) == Some(true)
            || above(self.kill.swap, self.warn.swap) == Some(true)
        {
            return Err(SettingsError::KillAboveWarn);
        }
        // `-m 100` leaves no room for any recovery level.
        let recovery = self.recovery.unwrap_or(Amount::percent(100));
        if above(recovery, Amount::percent(100)) == Some(true) {
            return Err(SettingsError::RecoveryAboveAll);
        }
        if above(recovery, self.warn.memory) == Some(false) {
            return Err(SettingsError::RecoveryNotAboveWarn);
        }
        Ok(())
    }
}

/// Settings that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The kill level is above the warn level.
    #[error("the kill threshold is above the warn threshold")]
    KillAboveWarn,
    /// The recovery level is not above the warn level.
    #[error("the recovery threshold is not above the warn threshold")]
    RecoveryNotAboveWarn,
    /// The recovery level is more than there is.
    #[error("the recovery threshold is above all memory")]
    RecoveryAboveAll,
}

#[cfg(test)]
mod tests {
    use model::Memory;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn with(warn: Amount, kill: Amount, recovery: impl Into<Option<Amount>>) -> Settings {
        let mut settings = Settings::default();
        settings.warn.memory = warn;
        settings.kill.memory = kill;
        settings.recovery = recovery.into();
        settings
    }

    #[track_caller]
    fn check(settings: Settings, want: Result<(), SettingsError>) {
        assert_eq!(settings.checked(), want);
    }

    #[test]
    fn the_defaults_can_be_meant() {
        check(Settings::default(), Ok(()));
    }

    #[test]
    fn kill_above_warn_is_refused() {
        check(
            with(
                Amount::percent(10),
                Amount::percent(11),
                Amount::percent(15),
            ),
            Err(SettingsError::KillAboveWarn),
        );
        let mut swap = Settings::default();
        swap.kill.swap = Amount::percent(11);
        check(swap, Err(SettingsError::KillAboveWarn));
    }

    #[test]
    fn recovery_that_is_not_above_warn_is_refused() {
        check(
            with(
                Amount::Bytes(100 * MIB),
                Amount::Bytes(50 * MIB),
                Amount::Bytes(100 * MIB),
            ),
            Err(SettingsError::RecoveryNotAboveWarn),
        );
    }

    #[test]
    fn a_warn_level_of_everything_leaves_no_room_to_recover() {
        let warn = Amount::percent(100);
        check(
            with(warn, Amount::percent(5), None),
            Err(SettingsError::RecoveryNotAboveWarn),
        );
        check(
            with(warn, Amount::percent(5), Amount::percent(150)),
            Err(SettingsError::RecoveryAboveAll),
        );
    }

    #[test]
    fn percent_and_bytes_are_compared_once_the_totals_are_known() {
        let memory = Memory {
            total_bytes: 1000 * MIB,
            ..Memory::default()
        };
        let mixed = with(
            Amount::percent(10),
            Amount::Bytes(200 * MIB),
            Amount::percent(15),
        );
        assert!(mixed.checked().is_ok());
        assert_eq!(mixed.checked_on(&memory), Err(SettingsError::KillAboveWarn));
        let too_much = with(
            Amount::Bytes(800 * MIB),
            Amount::percent(5),
            Amount::Bytes(1200 * MIB),
        );
        assert_eq!(
            too_much.checked_on(&memory),
            Err(SettingsError::RecoveryAboveAll)
        );
        let low = with(
            Amount::Bytes(200 * MIB),
            Amount::percent(5),
            Amount::percent(15),
        );
        assert_eq!(
            low.checked_on(&memory),
            Err(SettingsError::RecoveryNotAboveWarn)
        );
        assert!(Settings::default().checked_on(&memory).is_ok());
    }

    #[test]
    fn which_of_a_percentage_and_a_size_is_lower_depends_on_what_there_is() {
        let lower = Amount::LowerOf {
            parts_per_million: 100_000,
            bytes: 50 * MIB,
        };
        assert_eq!(lower.of(1000 * MIB), 50 * MIB);
        assert_eq!(lower.of(200 * MIB), 20 * MIB);
        assert_eq!(lower.of(0), 0);
    }

    #[test]
    fn no_amount_overflows() {
        assert_eq!(Amount::PartsPerMillion(u32::MAX).of(u64::MAX), u64::MAX);
        assert_eq!(Amount::percent(10).of(1009), 100);
    }
}
