//! As a service of systemd: says when it is ready, that its loop runs, and when
//! it ends (sd_notify(3)).
//!
//! Writing there may wait for systemd, so the loop does not write; a thread
//! does, for as long as the loop is not late. Where systemd did not start us,
//! none of this does anything.

use std::io;
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::watchdog::Pulse;

/// Nothing here nests deeply, and every page that is touched stays.
const STACK_BYTES: usize = 64 * 1024;

/// The daemon guards. If the service has a watchdog (`WatchdogSec=`), systemd
/// hears from now on that the loop is not late.
pub(crate) fn is_ready(pulse: Pulse) {
    say(&[NotifyState::Ready]);
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let fed = thread::Builder::new()
        .name("service".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || feed(limit, &pulse));
    if let Err(err) = fed {
        lacks(&err);
    }
}

/// It ends; what takes time now is no hang.
pub(crate) fn ends() {
    say(&[NotifyState::Stopping]);
}

/// Twice in the time that systemd waits, as sd_watchdog_enabled(3) advises.
fn feed(limit: Duration, pulse: &Pulse) {
    loop {
        if !pulse.is_late() {
            // That it cannot be said was said when we began.
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
        thread::park_timeout(limit / 2);
    }
}

fn say(state: &[NotifyState<'_>]) {
    if let Err(err) = sd_notify::notify(state) {
        lacks(&err);
    }
}

fn lacks(err: &io::Error) {
    log::warn!("cannot notify systemd: {err}");
}
