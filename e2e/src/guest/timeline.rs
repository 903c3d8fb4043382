//! What a picture of a run is drawn from: memory over time, and what was said.
//!
//! Text, one sample to a line; the first lines say what the columns are. The
//! host keeps it as part of `docs/walkthrough.log`, which `cargo xtask picture`
//! reads.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{Timespec, poll};

use super::files::{meminfo_bytes, text};

/// Between two samples.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 250_000_000,
};

/// How much is kept of the time before [`Timeline::begin`].
const LEAD: Duration = Duration::from_secs(10);

/// A process of the picture: what it calls itself, and its value.
pub type Named = (&'static str, u64);

/// The levels of available memory at which the daemon acts, in percent.
#[derive(Clone, Copy, Debug)]
pub struct Levels {
    /// SIGTERM.
    pub warn: u64,
    /// SIGKILL.
    pub kill: u64,
    /// Where it stops.
    pub recover: u64,
}

/// Samples what these processes hold until it is told that it is enough.
#[derive(Debug)]
pub struct Timeline {
    shared: Arc<Shared>,
    thread: thread::JoinHandle<Result<VecDeque<Line>>>,
    named: &'static [Named],
    levels: Levels,
}

#[derive(Debug, Default)]
struct Shared {
    begun: AtomicBool,
    enough: AtomicBool,
}

#[derive(Debug)]
struct Line {
    at: Instant,
    text: String,
}

impl Timeline {
    /// Begins to look, and to follow what is written to the file `daemon`.
    #[must_use]
    pub fn start(named: &'static [Named], levels: Levels, daemon: String) -> Self {
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || look(named, &daemon, &shared))
        };
        Self {
            shared,
            thread,
            named,
            levels,
        }
    }

    /// From now on all is kept.
    pub fn begin(&self) {
        self.shared.begun.store(true, Ordering::Relaxed);
    }

    /// Ends, and returns the text.
    ///
    /// # Errors
    ///
    /// A file of the kernel's could not be read.
    pub fn end(self) -> Result<String> {
        self.shared.enough.store(true, Ordering::Relaxed);
        let lines = self.thread.join();
        let lines = lines
            .ok()
            .context("the thread of the timeline panicked")??;
        let total = meminfo_bytes("MemTotal")? >> 10;
        let Levels {
            warn,
            kill,
            recover,
        } = self.levels;
        let mut said = format!(
            "# Memory in KiB: all of it, and what is available when the daemon sends SIGTERM\n\
             # (warn), when it sends SIGKILL (kill), and when it stops (recovery).\n\
             total {total}\n\
             warn {}\n\
             kill {}\n\
             recovery {}\n\
             # Processes, and their values.\n",
            total * warn / 100,
            total * kill / 100,
            total * recover / 100
        );
        for (name, value) in self.named {
            writeln!(said, "process {name} {value}")?;
        }
        said.push_str(
            "# Seconds, MemAvailable, and RssAnon of each process (what its end frees), in the\n\
             # order above and in KiB; `-` where it does not run. After `>`: what the daemon\n\
             # printed then.\n",
        );
        let begin = lines.front().map(|line| line.at);
        for Line { at, text } in &lines {
            let seconds = begin.map_or(0.0, |begin| (*at - begin).as_secs_f64());
            writeln!(said, "{seconds:.2} {text}")?;
        }
        Ok(said)
    }
}

fn look(named: &[Named], daemon: &str, shared: &Shared) -> Result<VecDeque<Line>> {
    let mut lines = VecDeque::new();
    let mut pids = vec![None; named.len()];
    let mut read = 0;
    while !shared.enough.load(Ordering::Relaxed) {
        let at = Instant::now();
        let said = text(daemon)?;
        // A line that is not whole yet is one of the next look's.
        let whole = said.rfind('\n').map_or(0, |end| end + 1);
        for line in said.get(read..whole).unwrap_or_default().lines() {
            let text = format!("> {line}");
            lines.push_back(Line { at, text });
        }
        read = whole;
        let text = sample(named, &mut pids)?;
        lines.push_back(Line { at, text });
        if !shared.begun.load(Ordering::Relaxed) {
            while lines.front().is_some_and(|line: &Line| line.at + LEAD < at) {
                lines.pop_front();
            }
        }
        // A signal only ends the pause early.
        let _ = poll(&mut [], Some(&PAUSE));
    }
    Ok(lines)
}

fn sample(named: &[Named], pids: &mut [Option<u32>]) -> Result<String> {
    let mut line = (meminfo_bytes("MemAvailable")? >> 10).to_string();
    if pids.contains(&None) {
        for pid in running()? {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            for ((name, _), known) in named.iter().zip(&mut *pids) {
                if *name == comm.trim_end() {
                    known.get_or_insert(pid);
                }
            }
        }
    }
    for pid in pids {
        match pid.and_then(anonymous_kib) {
            Some(kib) => write!(line, " {kib}")?,
            None => line.push_str(" -"),
        }
    }
    Ok(line)
}

fn running() -> Result<impl Iterator<Item = u32>> {
    let entries = fs::read_dir("/proc").context("cannot read `/proc`")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// `None` once it is gone, or a zombie.
fn anonymous_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
