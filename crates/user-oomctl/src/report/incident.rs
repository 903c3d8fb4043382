//! What a journal has of one incident: from a state that follows nothing to the
//! next.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use journal::{Account, JournalReader, Line, ReadLine, Replay, SignalLine};
use oom_policy::{Memory, Moment, Name, Process, ProcessId, Settings, Verdict};

/// Memory at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryPoint {
    pub(crate) at: Moment,
    pub(crate) memory: Memory,
}

/// What was seen of a process.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) value: Option<u32>,
    pub(crate) first: Moment,
    pub(crate) last: Moment,
    pub(crate) peak_bytes: u64,
    /// It is not seen any more.
    pub(crate) is_gone: bool,
    pub(crate) signals: Vec<SignalLine>,
    /// The words of its entry behind the value.
    pub(crate) labels: Option<String>,
    /// It was chosen to be paused.
    pub(crate) was_paused: bool,
}

impl Life {
    /// As it is first seen.
    fn new(at: Moment, name: Name, uid: u32) -> Self {
        Self {
            name: name.to_string(),
            uid,
            value: None,
            first: at,
            last: at,
            peak_bytes: 0,
            is_gone: false,
            signals: Vec::new(),
            labels: None,
            was_paused: false,
        }
    }
}

/// One incident.
#[derive(Debug)]
pub(crate) struct Incident {
    /// What [`Moment::ORIGIN`] is by the wall clock.
    origin: Timestamp,
    pub(crate) kernel: String,
    pub(crate) settings: Settings,
    pub(crate) points: Vec<MemoryPoint>,
    pub(crate) stalls: Vec<Moment>,
    pub(crate) lives: BTreeMap<ProcessId, Life>,
    pub(crate) decisions: Vec<Account>,
    replay: Replay,
}

impl Incident {
    fn new(origin: Timestamp, kernel: &str, settings: &Settings) -> Self {
        Self {
            origin,
            kernel: kernel.to_owned(),
            settings: settings.clone(),
            points: Vec::new(),
            stalls: Vec::new(),
            lives: BTreeMap::new(),
            decisions: Vec::new(),
            replay: Replay::default(),
        }
    }

    /// By the wall clock.
    pub(crate) fn time(&self, at: Moment) -> Timestamp {
        let since = SignedDuration::try_from(at.since(Moment::ORIGIN)).unwrap_or_default();
        self.origin.checked_add(since).unwrap_or(self.origin)
    }

    /// When the wall clock showed `time`.
    pub(crate) fn moment(&self, time: &str) -> Moment {
        let time = time.parse::<Timestamp>().unwrap_or(self.origin);
        let since = time.duration_since(self.origin).try_into();
        Moment::after_origin(since.unwrap_or_default())
    }

    /// From the first to the last that is known of it.
    pub(crate) fn span(&self) -> Option<(Moment, Moment)> {
        let points = self.points.iter().map(|point| point.at);
        let lives = self.lives.values().flat_map(|life| [life.first, life.last]);
        let all = || points.clone().chain(lives.clone());
        Some((all().min()?, all().max()?))
    }

    fn take(&mut self, line: &Line) {
        match line {
            Line::Memory { at, memory } => self.point(*at, *memory),
            Line::LastCall { at, memory, .. } => self.point(*at, *memory),
            Line::Stalled { at, .. } => self.stalls.push(*at),
            Line::Decision(account) => {
                // A state's is taken later than what it is of: at the start, once
                // all is read.
                self.origin = origin(account.at, &account.time);
                for unit in account.first.iter().filter(|it| it.chosen) {
                    if account.verdict == Verdict::Paused
                        && let Some(life) = self.lives.get_mut(&unit.leader)
                    {
                        life.was_paused = true;
                    }
                }
                self.decisions.push(account.clone());
            }
            Line::Signal(signal) => self.signal(signal),
            Line::Labels { of } => {
                for (id, labels) in of {
                    if let Some(life) = self.lives.get_mut(id) {
                        life.labels = Some(labels.clone());
                    }
                }
            }
            Line::Gone(of) => {
                if let Some(life) = self.lives.get_mut(&of.id) {
                    life.is_gone = true;
                    life.last = life.last.max(of.at);
                }
            }
            Line::Killed { at, process, .. } => self.see(*at, &process.0),
            _ => {}
        }
        self.replay.take(line);
        if let Line::Table { at, .. } = line {
            let processes = self.replay.processes().to_vec();
            for process in processes.iter().filter(|it| !it.is_kernel_thread) {
                self.see(*at, process);
            }
            for (id, life) in &mut self.lives {
                if !life.is_gone && Process::find(&processes, *id).is_none() {
                    life.is_gone = true;
                    life.last = *at;
                }
            }
        }
    }

    fn point(&mut self, at: Moment, memory: Memory) {
        self.points.push(MemoryPoint { at, memory });
    }

    fn see(&mut self, at: Moment, process: &Process) {
        let held_bytes = process.rss_bytes.saturating_add(process.swap_bytes);
        let lives = self.lives.entry(process.id);
        let life = lives.or_insert_with(|| Life::new(at, process.name, process.uid));
        life.last = at;
        life.value = process.dossier.value.or(life.value);
        life.peak_bytes = life.peak_bytes.max(held_bytes);
    }

    fn signal(&mut self, signal: &SignalLine) {
        let at = self.moment(&signal.time);
        let life = self.lives.entry(signal.id).or_insert_with(|| Life {
            value: signal.value,
            peak_bytes: signal.rss_bytes,
            ..Life::new(at, signal.name, signal.uid)
        });
        life.labels = signal.labels.clone().or(life.labels.take());
        life.signals.push(signal.clone());
    }
}

/// What [`Moment::ORIGIN`] was by the wall clock, which showed `time` at `at`.
fn origin(at: Moment, time: &str) -> Timestamp {
    let time = time.parse::<Timestamp>().unwrap_or_default();
    let since = SignedDuration::try_from(at.since(Moment::ORIGIN)).unwrap_or_default();
    time.checked_sub(since).unwrap_or(time)
}

/// All incidents in the file or directory `path` in which something was decided,
/// the oldest first; and what is wrong with lines that are left out.
///
/// # Errors
///
/// [`journal::Error`]: it cannot be read.
pub(crate) fn read(path: &Path) -> Result<(Vec<Incident>, Vec<String>), journal::Error> {
    let mut reader = JournalReader::open(path)?;
    let (mut incidents, mut damaged) = (Vec::new(), Vec::new());
    let mut current: Option<Incident> = None;
    let mut keep = |incident: Option<Incident>| {
        incidents.extend(incident.filter(|it| !it.decisions.is_empty()));
    };
    let mut kernel = String::new();
    while let Some(found) = reader.read()? {
        let line = match found {
            ReadLine::Line(line) => line,
            ReadLine::Damaged(why) => {
                let place = reader.place().map(ToString::to_string).unwrap_or_default();
                damaged.push(format!("{place}: {why}"));
                continue;
            }
        };
        match &*line {
            Line::Journal(preface) => kernel.clone_from(&preface.machine.kernel),
            Line::State {
                at,
                time,
                follows,
                guard,
            } if !follows || current.is_none() => {
                let origin = origin(*at, time);
                keep(current.replace(Incident::new(origin, &kernel, guard.settings())));
            }
            _ => {}
        }
        if let Some(incident) = &mut current {
            incident.take(&line);
        }
    }
    keep(current);
    Ok((incidents, damaged))
}
