//! What a user of the machine feels: how long starting a small program takes.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};

/// Starts a small program every 100 ms and measures how long that takes.
#[derive(Debug)]
pub struct Probe {
    thread: thread::JoinHandle<Vec<Duration>>,
}

/// Whether the probe is to end.
static ENOUGH: AtomicBool = AtomicBool::new(false);

impl Probe {
    /// Begins; one at a time.
    #[must_use]
    pub fn start() -> Self {
        ENOUGH.store(false, Ordering::Relaxed);
        let thread = thread::spawn(|| {
            let pause = Timespec {
                tv_sec: 0,
                tv_nsec: 100_000_000,
            };
            let mut times = Vec::new();
            while !ENOUGH.load(Ordering::Relaxed) {
                let start = Instant::now();
                // One that cannot be started counts as one that took for ever.
                let ran = Command::new("/bin/busybox").arg("true").status();
                times.push(match ran {
                    Ok(status) if status.success() => start.elapsed(),
                    _ => Duration::MAX,
                });
                let _ = poll(&mut [], Some(&pause));
            }
            times
        });
        Self { thread }
    }

    /// Ends, and returns how long each took.
    #[must_use]
    pub fn end(self) -> Vec<Duration> {
        ENOUGH.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// The median; zero of nothing.
#[must_use]
pub fn middle(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::middle;
    use std::time::Duration;

    #[test]
    fn the_median_is_in_the_middle() {
        let times = [5, 1, 3].map(Duration::from_secs);
        assert_eq!(middle(&times), Duration::from_secs(3));
        assert_eq!(middle(&[]), Duration::ZERO);
    }
}
