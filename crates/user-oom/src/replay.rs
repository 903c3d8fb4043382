//! `--replay`: decides once more about what a journal has, and says whether that
//! is what was decided.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use journal::{JournalReader, Line, ReadLine, Replay, Step};
use oom_policy::{Action, Moment, Process, ProcessId, Seen};

use crate::act::{unit, why};
use crate::error::{Error, system};
use crate::tell::accounts::Accounts;
use crate::tell::lane::Desk;
use crate::tell::narrator::{Decided, Done, Narrator, Took};
use crate::tell::page::Page;
use crate::tell::record::{OwnWords, Signal, UnitLine, Victim};
use crate::tell::scribe::Scribe;

/// Replays the journal in the file or directory `path`.
///
/// # Errors
///
/// - [`Error::Journal`]: it cannot be read.
/// - [`Error::Differs`], [`Error::NothingReplayed`]
pub(crate) fn replay(path: &Path) -> Result<(), Error> {
    let mut reader = JournalReader::open(path).map_err(Error::Journal)?;
    let mut replay = Replay::default();
    let mut printer = Printer::new()?;
    let (mut compared, mut differ, mut skipped) = (0, 0, 0_u64);
    while let Some((place, line)) = next_line(&mut reader)? {
        let (is_same, what) = match replay.take(&line) {
            Step::Quiet => {
                printer.follow(&line, &replay);
                continue;
            }
            Step::Skipped => {
                skipped += 1;
                continue;
            }
            Step::Decided {
                at,
                decision,
                processes,
                memory,
                is_same,
            } => {
                let decided = Decided {
                    decision,
                    processes,
                    memory: Some(memory),
                };
                printer.decided(at, decided);
                (is_same, "the decision")
            }
            Step::SameState => (true, "the state"),
            Step::OtherState => (false, "the state"),
        };
        compared += 1;
        if !is_same {
            differ += 1;
            say(&format!("{place}: {what} is not what was recorded"));
        }
    }
    if 0 < skipped {
        say(&format!(
            "{skipped} lines could not be replayed: no state comes before them, or lines are missing"
        ));
    }
    match (compared, differ) {
        (0, _) => Err(Error::NothingReplayed),
        (_, 0) => {
            say(&format!(
                "{compared} decisions and states are as they were recorded"
            ));
            Ok(())
        }
        _ => Err(Error::Differs { differ, compared }),
    }
}

/// The next line, and where it is; in the place of what is none, which is said,
/// that one is missing.
///
/// # Errors
///
/// [`Error::Journal`]: it cannot be read.
pub(crate) fn next_line(reader: &mut JournalReader) -> Result<Option<(String, Box<Line>)>, Error> {
    let Some(found) = reader.read().map_err(Error::Journal)? else {
        return Ok(None);
    };
    let place = reader.place().map(ToString::to_string).unwrap_or_default();
    let line = match found {
        ReadLine::Line(line) => line,
        ReadLine::Damaged(why) => {
            say(&format!(
                "{place}: not a line of a journal, left out: {why}"
            ));
            Line::Lost { lines: 1 }.into()
        }
    };
    Ok(Some((place, line)))
}

pub(crate) fn say(line: &str) {
    // A reader that has seen enough is no error.
    let _ = writeln!(io::stderr(), "user-oom: {line}");
}

/// Prints what was decided as the daemon does.
pub(crate) struct Printer {
    desk: Desk,
    scribe: Scribe,
    narrator: Narrator,
    page: Page<Box<dyn Write>>,
    /// What the origin of moments is by the wall clock, in seconds since 1970.
    origin: i64,
    signalled: HashMap<ProcessId, Signal>,
}

impl Printer {
    pub(crate) fn new() -> Result<Self, Error> {
        let (scribe, desk) = Scribe::unwritten().map_err(system("print"))?;
        let out: Box<dyn Write> = Box::new(anstream::stdout());
        Ok(Self {
            desk,
            scribe,
            narrator: Narrator::new(0),
            // Users have other numbers on another machine.
            page: Page::new(out, terminal::width(io::stdout()), Accounts::at("")),
            origin: 0,
            signalled: HashMap::new(),
        })
    }

    /// The wall clock, and signals.
    fn follow(&mut self, line: &Line, replay: &Replay) {
        self.keep_time(line);
        if let Line::Sent(of) = line {
            self.sent(of.at, of.id, replay);
        }
    }

    /// The wall clock.
    pub(crate) fn keep_time(&mut self, line: &Line) {
        if let Line::State { at, time, .. } = line {
            let time = time.parse::<Timestamp>().unwrap_or_default();
            self.origin = time.as_second() - seconds(*at);
        }
    }

    pub(crate) fn decided(&mut self, at: Moment, decided: Decided<'_>) {
        let score = |pid| {
            Seen::position(decided.processes, pid)
                .and_then(|place| decided.processes[place].oom_score)
        };
        let (took, scribe) = (Took::default(), &mut self.scribe);
        let unknown = |_| OwnWords::default();
        self.narrator.tell(decided, took, score, unknown, scribe);
        self.write(at);
    }

    fn sent(&mut self, at: Moment, id: ProcessId, replay: &Replay) {
        let Some(decision) = replay.decision() else {
            return;
        };
        let signal = decision.actions.iter().find_map(|action| match action {
            Action::Command(it) if *it == id => Some(Signal::Command),
            Action::Terminate(it) if *it == id => Some(Signal::Term),
            Action::Kill(it) if *it == id => Some(Signal::Kill),
            _ => None,
        });
        let Some(signal) = signal else { return };
        let process = Process::find(replay.processes(), id);
        let score = process.and_then(|process| process.oom_score);
        let mut victim = Victim::new(id, process, score);
        victim.unit = unit(decision, id).map(UnitLine::new);
        let before = self.signalled.insert(id, signal);
        let first = before.is_none();
        let after_command = before == Some(Signal::Command);
        let done = Done::Signalled {
            victim,
            signal,
            why: why(decision, &victim, first, after_command),
            first,
            dry: false,
        };
        self.scribe.tell(done.record(|_| OwnWords::default()));
        self.write(at);
    }

    fn write(&mut self, at: Moment) {
        for record in self.desk.told() {
            let _ = self.page.write(self.origin + seconds(at), 0, &record);
        }
        let _ = self.page.flush();
    }
}

fn seconds(at: Moment) -> i64 {
    let since: Duration = at.since(Moment::ORIGIN);
    i64::try_from(since.as_secs()).unwrap_or(0)
}
