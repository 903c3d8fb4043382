//! The thread that writes the journal. A disk may be slow or full: the loop does
//! not wait for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::SystemTime;

use jiff::Timestamp;
use journal::{Account, Error, Line, ProcessRow, SignalLine, SystemJournal, Writer};
use oom_policy::{Candidate, ProcessId};
use terminal::chain;
use value_registry::Labels;

use crate::recorder::{ForReaders, Note, Noted, NotedSignal, Recorder, SignalNotes, Wake};
use crate::tell::accounts::Accounts;
use crate::tell::lane::Lane;

/// Lines that say why it cannot be written.
pub(crate) const LINES: usize = 8;
/// What the thread needs to write a line.
const STACK_BYTES: usize = 256 * 1024;

/// Makes lines of what is noted, and hands them to the writer.
struct Recording {
    wake: Arc<Wake>,
    noted: rtrb::Consumer<Noted>,
    for_readers: rtrb::Consumer<ForReaders>,
    writer: Writer,
    /// `None` where it is not told.
    system: Option<SystemJournal>,
    accounts: Accounts,
    lane: Lane,
    /// That it cannot be written was said.
    was_said: bool,
    rows: Vec<ProcessRow>,
    missing: Vec<u32>,
    chosen: Vec<Candidate>,
    /// Whose labels were written since the last state, and which.
    labelled: HashMap<ProcessId, String>,
}

/// Starts the thread: what notes events, with room for `processes` processes, and
/// what notes signals.
///
/// # Errors
///
/// The kernel has no descriptor or no thread for it.
pub(crate) fn spawn(
    writer: Writer,
    system: Option<SystemJournal>,
    accounts: Accounts,
    lane: Lane,
    processes: usize,
) -> std::io::Result<(Recorder, SignalNotes)> {
    let wake = Arc::new(Wake::new()?);
    let (sender, ended) = mpsc::channel();
    let (recorder, noted) = Recorder::new(Arc::clone(&wake), ended, processes);
    let (noting, for_readers) = SignalNotes::new(Arc::clone(&wake));
    let recording = Recording {
        wake,
        noted,
        for_readers,
        writer,
        system,
        accounts,
        lane,
        was_said: false,
        rows: Vec::new(),
        missing: Vec::new(),
        chosen: Vec::new(),
        labelled: HashMap::new(),
    };
    thread::Builder::new()
        .name("journal".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let _sender = sender;
            recording.write_all();
        })?;
    Ok((recorder, noting))
}

impl Recording {
    /// Until the bell rings the end.
    fn write_all(mut self) {
        loop {
            // Asked first, so nothing noted before the end is lost.
            let over = self.wake.bell.is_over();
            let mut any = false;
            while !self.wake.is_hushed()
                && let Ok(noted) = self.noted.pop()
            {
                any |= matches!(noted.entry, Note::Decision { .. });
                self.write(noted);
            }
            let mut labels = Vec::new();
            while !self.wake.is_hushed()
                && let Ok(for_readers) = self.for_readers.pop()
            {
                match for_readers {
                    ForReaders::Signal(signalled) => {
                        let line = Line::Signal(self.deed(&signalled));
                        self.take(&line);
                        any = true;
                    }
                    ForReaders::Labels(id, words) => labels.extend(self.news_of(id, &words)),
                }
            }
            if !labels.is_empty() {
                self.take(&Line::Labels { of: labels });
            }
            if any {
                self.writer.sync();
            }
            if over || self.wake.bell.wait(std::iter::empty(), None).is_err() {
                return;
            }
        }
    }

    fn write(&mut self, Noted { at, entry }: Noted) {
        let line = match entry {
            Note::State {
                time,
                follows,
                guard,
            } => {
                self.labelled.clear();
                let written = self.writer.state(at, text(time), follows, guard);
                self.say(written);
                return;
            }
            Note::ProcessRow(process) => {
                self.rows.push(ProcessRow(process));
                return;
            }
            Note::Missing(pid) => {
                self.missing.push(pid);
                return;
            }
            Note::Chosen(unit) => {
                self.chosen.push(unit);
                return;
            }
            Note::Table { depth, decision } => Line::Table {
                at,
                depth,
                rows: std::mem::take(&mut self.rows),
                gone: std::mem::take(&mut self.missing),
                decision,
            },
            Note::Killed { lost, by } => {
                let Some(process) = self.rows.pop() else {
                    return;
                };
                Line::Killed {
                    at,
                    process,
                    lost,
                    by,
                }
            }
            Note::Event(event) => match Line::of(at, event) {
                Some(line) => line,
                None => return,
            },
            Note::KernelAsks => Line::KernelAsks { at },
            Note::Adopted(settings) => Line::Adopted { at, settings },
            Note::Decision { time, account } => Line::Decision(Account {
                time: text(time),
                first: std::mem::take(&mut self.chosen),
                ..account
            }),
            Note::Lost(lines) => {
                self.rows.clear();
                self.missing.clear();
                self.chosen.clear();
                Line::Lost { lines }
            }
        };
        self.take(&line);
    }

    fn take(&mut self, line: &Line) {
        if let Some(system) = &self.system {
            system.tell(line);
        }
        let written = self.writer.take(line, || text(SystemTime::now()));
        self.say(written);
        if self.writer.lacks_state() {
            self.wake.ask_for_state();
        }
    }

    /// Says once that it cannot be written, until it can be.
    fn say(&mut self, written: Result<(), Error>) {
        let was_said = std::mem::replace(&mut self.was_said, written.is_err());
        if let Err(err) = written
            && !was_said
        {
            self.lane.note(
                log::Level::Warn,
                format_args!("the journal has gaps: {}", chain(&err)),
            );
        }
    }

    /// The labels of `id`, where those were not written since the last state.
    fn news_of(&mut self, id: ProcessId, labels: &Labels) -> Option<(ProcessId, String)> {
        let labels = labels.to_string();
        let before = self.labelled.insert(id, labels.clone());
        (before.as_ref() != Some(&labels)).then_some((id, labels))
    }

    fn deed(&mut self, signalled: &NotedSignal) -> SignalLine {
        let victim = &signalled.victim;
        SignalLine {
            time: text(signalled.time),
            signal: victim.signal_name(signalled.signal).to_owned(),
            dry: signalled.dry,
            id: victim.id,
            name: victim.name,
            uid: victim.uid,
            user: self.accounts.name(victim.uid).map(ToOwned::to_owned),
            command: signalled.words.command.map(|it| it.to_string()),
            labels: signalled.words.labels.map(|it| it.to_string()),
            value: victim.value,
            rss_bytes: victim.rss_bytes,
        }
    }
}

/// As RFC 3339 has it, in milliseconds, UTC.
fn text(time: SystemTime) -> String {
    // A clock beyond the year 9999 is no reason to say nothing.
    let time = Timestamp::try_from(time).unwrap_or_default();
    format!("{time:.3}")
}
