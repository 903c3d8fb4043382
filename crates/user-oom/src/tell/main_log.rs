//! What the main thread logs.
//!
//! A terminal that was stopped (^S) takes no line, and a thread that writes to
//! it waits. So what the main thread logs is kept, and handed to the scribe
//! when there is one; only where there is none, or where the start has failed,
//! does the main thread write it itself.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

use log::{Level, LevelFilter, Log, Metadata, Record};

static MAIN_LOG: OnceLock<MainLog> = OnceLock::new();

/// Writes what other threads log, and keeps what the main thread does.
struct MainLog {
    inner: Box<dyn Log>,
    main: ThreadId,
    /// `None` once nothing is kept any longer.
    kept: Mutex<Option<Vec<Line>>>,
}

struct Line {
    level: Level,
    target: String,
    text: String,
}

/// Has what is logged go to `log`, as far as `level`; what this thread logs,
/// later.
pub(crate) fn keep(log: Box<dyn Log>, level: LevelFilter) {
    let log = MAIN_LOG.get_or_init(|| MainLog {
        inner: log,
        main: thread::current().id(),
        kept: Mutex::new(Some(Vec::new())),
    });
    log::set_max_level(level);
    // Fails only where a log was started before, by a test.
    let _ = log::set_logger(log);
}

/// Hands each line that was kept to `note`; in quiet rounds.
pub(crate) fn hand_over(mut note: impl FnMut(Level, String)) {
    let Some(log) = MAIN_LOG.get() else { return };
    let kept = log.kept().as_mut().map(std::mem::take);
    for line in kept.unwrap_or_default() {
        note(line.level, line.text);
    }
}

/// Writes what was kept, and whatever is logged from now on at once.
pub(crate) fn write_out() {
    let Some(log) = MAIN_LOG.get() else { return };
    let kept = log.kept().take();
    for line in kept.unwrap_or_default() {
        let mut record = Record::builder();
        record.level(line.level).target(&line.target);
        log.inner
            .log(&record.args(format_args!("{}", line.text)).build());
    }
}

impl MainLog {
    fn kept(&self) -> MutexGuard<'_, Option<Vec<Line>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for MainLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if thread::current().id() == self.main
            && let Some(kept) = self.kept().as_mut()
        {
            kept.push(Line {
                level: record.level(),
                target: record.target().to_owned(),
                text: record.args().to_string(),
            });
            return;
        }
        self.inner.log(record);
    }

    fn flush(&self) {
        self.inner.flush();
    }
}
