//! What the administrator sets.

use std::time::Duration;

/// An amount of memory or swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Parts per million of the total: 1 % is 10 000.
    PartsPerMillion(u32),
    /// Bytes.
    Bytes(u64),
}

/// Below this, both for memory and for swap, a level begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Of MemTotal − Hugetlb.
    pub memory: Amount,
    /// Of SwapTotal.
    pub swap: Amount,
}

/// All settings of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// At or below: SIGTERM (default 10 %, 10 %).
    pub warn: Floor,
    /// At or below: SIGKILL (default 5 %, 5 %).
    pub kill: Floor,
    /// Where relief ends; above warn (default 1.5 × warn).
    pub recovery: Amount,
    /// From SIGTERM to SIGKILL (default 5 s).
    pub grace: Duration,
    /// From SIGKILL until a victim counts as stuck (default 1 s).
    pub deadline: Duration,
    /// The same at a last call: the module's grace (default 3 s).
    pub last_call_deadline: Duration,
    /// What stays is given this much time to grow on (default 5 s; 0: none).
    pub horizon: Duration,
    /// After a relief, before the next (default 15 s).
    pub relief_interval: Duration,
    /// Leave all but registered units alone.
    pub registered_only: bool,
    /// A process dies with its whole process group.
    pub by_group: bool,
    /// User ids below this are system accounts (default 1000).
    pub first_ordinary_uid: u32,
}

/// Settings that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The kill level is above the warn level.
    #[error("the kill level is above the warn level")]
    KillAboveWarn,
    /// The recovery level is not above the warn level.
    #[error("the recovery level is not above the warn level")]
    RecoveryNotAboveWarn,
    /// The recovery level is more than there is.
    #[error("the recovery level is above all memory")]
    RecoveryAboveAll,
}
