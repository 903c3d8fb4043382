//! What the administrator sets.

use nix::unistd::geteuid;

use crate::DEFAULT_USER_VALUE_CAP;

/// What the administrator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What an ordinary user's entry can give at most (default
    /// [`DEFAULT_USER_VALUE_CAP`]). Root's entries are not capped.
    pub user_value_cap: u32,
    /// What the entries of one ordinary user share: each counts for its part of
    /// this by what it says (default: each counts for itself).
    pub user_value_share: Option<u32>,
    /// Whether to act as root: own the directory, and remove what is refused
    /// (default: whether the effective user is root).
    pub as_root: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            user_value_cap: DEFAULT_USER_VALUE_CAP,
            user_value_share: None,
            as_root: geteuid().is_root(),
        }
    }
}
