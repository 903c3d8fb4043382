//! Waiting for a state, with a limit.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::event::{Timespec, poll};

use crate::words::PATIENCE_VARIABLE;

/// Between two looks at a state that nothing announces.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// How many times as long as otherwise anything may take on this kernel.
#[must_use]
pub fn patience() -> u32 {
    let said = std::env::var(PATIENCE_VARIABLE);
    said.ok().and_then(|said| said.parse().ok()).unwrap_or(1)
}

/// Waits until `holds` is true.
///
/// # Errors
///
/// `what` did not come true within `limit`, or looking failed.
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let limit = limit * patience();
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
