//! Swap, for as long as a scenario runs.

use anyhow::Result;

use crate::guest::program::busybox;

/// Runs `scenario` with swap on `device`: all of it, or so many MiB.
///
/// # Errors
///
/// Those of the scenario, or the device cannot be swapped to.
pub fn with_swap(
    device: &str,
    mebibytes: Option<u64>,
    scenario: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let kibibytes = mebibytes.map(|mebibytes| (mebibytes << 10).to_string());
    let mut mkswap = vec!["mkswap", device];
    mkswap.extend(kibibytes.as_deref());
    busybox(&mkswap)?;
    busybox(&["swapon", device])?;
    let outcome = scenario();
    let swapped_off = busybox(&["swapoff", device]);
    // What a failed scenario leaves behind may not fit without swap: its own error
    // says more than that of the end.
    outcome.and(swapped_off)
}
