//! Waiting for a state, with a limit.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::event::{Timespec, poll};

/// Between two looks at a state that nothing announces.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// Waits until `holds` is true.
///
/// # Errors
///
/// `what` did not come true within `limit`, or looking failed.
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !holds()? {
        if Instant::now() >= deadline {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        pause()?;
    }
    Ok(())
}

fn pause() -> Result<()> {
    poll(&mut [], Some(&PAUSE))?;
    Ok(())
}
