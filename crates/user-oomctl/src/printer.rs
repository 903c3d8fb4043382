//! What is printed.

use std::io::{self, Write};

use control::{Condition, Happened, Reply, Status};
use jiff::Timestamp;

use crate::error::Error;

/// How far a folded line is indented.
const HANG: usize = 4;

/// Where lines are folded, as far as the terminal is no narrower.
const WIDTH: usize = 80;

/// Standard output.
#[derive(Debug)]
pub(crate) struct AnswerPrinter {
    pub(crate) json: bool,
}

impl AnswerPrinter {
    /// `json`: answers are printed as they came.
    pub(crate) fn stdout(json: bool) -> Self {
        Self { json }
    }

    /// Prints `reply`.
    ///
    /// # Errors
    ///
    /// [`Error::Print`].
    pub(crate) fn answer(&mut self, reply: &Reply) -> Result<(), Error> {
        if self.json {
            return self.write_unfolded(&format!("{}\n", reply.parameters()));
        }
        match reply {
            Reply::Status(status) => self.write(&how_it_is(status)),
            _ => self.write(&format!("{reply}\n")),
        }
    }

    /// Prints the candidates of a plan, the registered ones first, and the entries
    /// that do not count.
    ///
    /// # Errors
    ///
    /// [`Error::Print`].
    pub(crate) fn list(&mut self, reply: &Reply, refused: &Reply) -> Result<(), Error> {
        let Reply::Plan(plan) = reply else {
            return self.answer(reply);
        };
        if self.json {
            let mut both = reply.parameters();
            both["refused"] = refused.parameters()["entries"].take();
            return self.write_unfolded(&format!("{both}\n"));
        }
        let mut rows: Vec<_> = plan.candidates.iter().collect();
        rows.sort_by_key(|row| row.value.is_none());
        let mut lines = format!("  {:>7} {:<15} {:>11}  {}\n", "PID", "NAME", "HELD", "COST");
        for row in rows {
            lines += &format!("{row}\n");
        }
        if plan.unshown > 0 {
            lines += &format!("  and {} others\n", plan.unshown);
        }
        if matches!(refused, Reply::Entries(entries) if !entries.is_empty()) {
            lines += &format!("Entries that do not count:\n{refused}\n");
        }
        self.write(&lines)
    }

    /// Prints what has happened, and when.
    ///
    /// # Errors
    ///
    /// [`Error::Print`].
    pub(crate) fn event(&mut self, event: &Happened) -> Result<(), Error> {
        if self.json {
            let reply = Reply::Event(Box::new(event.clone()));
            return self.write_unfolded(&format!("{}\n", reply.parameters()["event"]));
        }
        let milliseconds = i64::try_from(event.time_ms).unwrap_or(i64::MAX);
        let time = Timestamp::from_second(milliseconds / 1000).unwrap_or_default();
        self.write_unfolded(&format!("{time} {event}\n"))
    }

    /// Prints that it was done to a process.
    ///
    /// # Errors
    ///
    /// [`Error::Print`].
    pub(crate) fn done(&mut self, reply: &Reply, what: &str) -> Result<(), Error> {
        match reply {
            Reply::Entry { pid } if !self.json => self.write(&format!("process {pid} {what}\n")),
            _ => self.answer(reply),
        }
    }

    /// Prints lines, folded to the terminal's width.
    ///
    /// # Errors
    ///
    /// [`Error::Print`].
    pub(crate) fn write(&mut self, lines: &str) -> Result<(), Error> {
        let width = terminal::width(io::stdout()).map_or(WIDTH, |width| width.min(WIDTH));
        self.write_unfolded(&terminal::fold(lines, Some(width), HANG))
    }

    /// Prints lines for a program.
    ///
    /// # Errors
    ///
    /// [`Error::Print`].
    pub(crate) fn write_unfolded(&mut self, lines: &str) -> Result<(), Error> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(lines.as_bytes());
        written
            .and_then(|()| stdout.flush())
            .map_err(|source| Error::Print { source })
    }
}

fn how_it_is(status: &Status) -> String {
    let mebibytes = |bytes: u64| bytes >> 20;
    let memory = match status.level {
        Condition::Unknown => "not readable".to_owned(),
        _ => format!(
            "{} of {} MiB available; warns at {} MiB",
            mebibytes(status.available_bytes),
            mebibytes(status.total_bytes),
            mebibytes(status.warn_bytes)
        ),
    };
    let swap = match (status.level, mebibytes(status.swap_total_bytes)) {
        (Condition::Unknown, _) => "not readable".to_owned(),
        (_, 0) => "none".to_owned(),
        (_, total) => format!("{} of {total} MiB free", mebibytes(status.swap_free_bytes)),
    };
    let scopes: String = status
        .scopes
        .iter()
        .map(|scope| format!("  cgroup {}: {scope}\n", scope.cgroup.escape_debug()))
        .collect();
    format!(
        "user-oom (pid {}): level {}\n  memory      {memory}\n  swap        {swap}\n  \
         registered  {}\n  killed      {}\n  paused      {}\n{scopes}",
        status.pid, status.level, status.registered, status.killed, status.paused
    )
}

/// On one line, and without what a terminal would take for more than text: names are
/// their processes' own.
pub(crate) fn plain(text: &str) -> String {
    let shown = |char: char| if char.is_control() { '?' } else { char };
    text.chars().map(shown).collect()
}
