//! Which lines are kept: those around something that was decided, and a minute
//! or two before.

use oom_policy::{Checkpoint, Moment, Settings};

use crate::error::Error;
use crate::folder::Folder;
use crate::line::{Line, Machine, Preface, VERSION};

/// Between two states no more than this is kept in memory while nothing
/// happens, beside the first table, which is as large as there are processes.
const WAITING_BYTES: usize = 512 << 10;

/// Writes lines to a [`Folder`], once there is something to tell.
///
/// Until then they wait in memory, from the state before the last one on. With a
/// state in which nothing has happened since the last, that is so again.
#[derive(Debug)]
pub struct Writer {
    folder: Folder,
    program: String,
    machine: Machine,
    settings: Option<Settings>,
    /// What was not written, the newest last. Empty while lines are.
    waiting: Vec<Stretch>,
    /// Whether lines are written as they come.
    is_open: bool,
    /// Whether something has happened since the last state.
    has_news: bool,
    /// Lines that were lost since one was last written.
    lost: u64,
    /// Lines for which there was no room while nothing happened, since the last
    /// state.
    dropped: u64,
    /// That these were dropped is yet to be said.
    lacks_state: bool,
}

/// A state, and the lines from there to the next.
#[derive(Debug)]
struct Stretch {
    at: Moment,
    time: String,
    follows: bool,
    guard: Box<Checkpoint>,
    lines: Vec<u8>,
    /// Of these, the first table.
    table_bytes: usize,
}

impl Writer {
    /// Writes to `folder`.
    #[must_use]
    pub fn new(folder: Folder, program: String, machine: Machine) -> Self {
        Self {
            folder,
            program,
            machine,
            settings: None,
            waiting: Vec::new(),
            is_open: false,
            has_news: false,
            lost: 0,
            dropped: 0,
            lacks_state: false,
        }
    }

    /// The guard remembers `guard`; where `follows` says so, all that led there
    /// from the last state on was taken in.
    ///
    /// # Errors
    ///
    /// As [`Self::take`].
    pub fn state(
        &mut self,
        at: Moment,
        time: String,
        follows: bool,
        guard: Box<Checkpoint>,
    ) -> Result<(), Error> {
        self.settings = Some(guard.settings().clone());
        self.dropped = 0;
        let stretch = Stretch {
            at,
            time,
            follows,
            guard,
            lines: Vec::new(),
            table_bytes: 0,
        };
        if self.is_open && self.has_news {
            self.has_news = false;
            return self.write_out(stretch);
        }
        if self.is_open {
            self.is_open = false;
            self.folder.sync();
        }
        if !follows {
            self.waiting.clear();
        }
        let surplus = self.waiting.len().saturating_sub(1);
        self.waiting.drain(..surplus);
        self.waiting.push(stretch);
        Ok(())
    }

    /// Takes in a line that is no state. `time` tells what time it is, for the file that it
    /// may begin.
    ///
    /// # Errors
    ///
    /// [`Error::Write`], [`Error::TooLong`]: lines are lost, and that will be said
    /// when there is room again.
    pub fn take(&mut self, line: &Line, time: impl Fn() -> String) -> Result<(), Error> {
        if let Line::Lost { lines } = line {
            self.lost += lines;
            self.waiting.clear();
            return Ok(());
        }
        if line.is_news() {
            self.has_news = true;
            self.open()?;
        }
        let text = text(line);
        if self.is_open {
            return self.append(&text, time);
        }
        let Some(last) = self.waiting.last_mut() else {
            // Without a state they lead nowhere.
            self.dropped += 1;
            return Ok(());
        };
        if last.table_bytes == 0 && matches!(line, Line::Table { .. }) {
            last.table_bytes = text.len();
        } else if last.table_bytes + WAITING_BYTES < last.lines.len() + text.len() {
            self.drop_waiting();
            return Ok(());
        }
        last.lines.extend_from_slice(&text);
        Ok(())
    }

    /// Whether lines that waited were dropped since this was last asked: what comes
    /// before the next state cannot be replayed.
    pub fn lacks_state(&mut self) -> bool {
        std::mem::take(&mut self.lacks_state)
    }

    /// There is no room for what waits and the line that has come.
    fn drop_waiting(&mut self) {
        // One more than there are line feeds: that is the state.
        let lines = |stretch: Stretch| stretch.lines.split(|byte| *byte == b'\n').count() as u64;
        self.dropped = self.waiting.drain(..).map(lines).sum::<u64>() + 1;
        self.lacks_state = true;
    }

    /// All that was written is on the disk when this returns.
    pub fn sync(&self) {
        self.folder.sync();
    }

    /// From now on lines are written, those first that wait.
    fn open(&mut self) -> Result<(), Error> {
        if self.is_open {
            return Ok(());
        }
        self.is_open = true;
        self.lost += std::mem::take(&mut self.dropped);
        let mut waiting = std::mem::take(&mut self.waiting);
        if let Some(first) = waiting.first_mut() {
            first.follows = false;
        }
        waiting.into_iter().try_for_each(|it| self.write_out(it))
    }

    fn write_out(&mut self, stretch: Stretch) -> Result<(), Error> {
        let Stretch {
            at,
            time,
            follows,
            guard,
            lines,
            ..
        } = stretch;
        let state = Line::State {
            at,
            time: time.clone(),
            follows: follows && self.lost == 0,
            guard,
        };
        let time = || time.clone();
        self.append(&text(&state), time)?;
        lines
            .split_inclusive(|byte| *byte == b'\n')
            .try_for_each(|line| self.append(line, time))
    }

    fn append(&mut self, line: &[u8], time: impl Fn() -> String) -> Result<(), Error> {
        let preface = |continues| {
            text(&Line::Journal(Preface {
                version: VERSION,
                program: self.program.clone(),
                time: time(),
                machine: self.machine.clone(),
                settings: self.settings.clone(),
                continues,
            }))
        };
        let appended = match self.lost {
            0 => self.folder.append(line, preface),
            lines => {
                let missing = text(&Line::Lost { lines });
                self.folder.append(&[&missing, line].concat(), preface)
            }
        };
        match appended {
            Ok(()) => self.lost = 0,
            Err(_) => self.lost += 1,
        }
        appended
    }
}

/// With its line feed.
fn text(line: &Line) -> Vec<u8> {
    // Only what has keys that are no text cannot be written.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}
