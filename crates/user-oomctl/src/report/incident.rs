//! What a journal has of one incident: from a state that follows nothing to the
//! next. Where the state is missing, from the first decision on.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use journal::{Account, JournalReader, Line, ReadLine, Replay, SignalLine, Step};
use oom_policy::{
    EndedBy, FirstSignal, Memory, Moment, Name, Process, ProcessId, Settings, Verdict,
};

use crate::report::html::was_signalled;

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
    /// And when, by the clock at that time.
    pub(crate) signals: Vec<(Moment, SignalLine)>,
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

    /// When the wall clock showed `time`, as long as it is not set to another.
    fn moment(&self, time: &str) -> Moment {
        let time = time.parse::<Timestamp>().unwrap_or(self.origin);
        let since = time.duration_since(self.origin).try_into();
        Moment::after_origin(since.unwrap_or_default())
    }

    /// From the first to the last that is known of it.
    pub(crate) fn span(&self) -> Option<(Moment, Moment)> {
        let points = self.points.iter().map(|point| point.at);
        let lives = self.lives.values().flat_map(|life| [life.first, life.last]);
        let decisions = self.decisions.iter().map(|account| account.at);
        let all = || points.clone().chain(lives.clone()).chain(decisions.clone());
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
            Line::Killed {
                at, process, by, ..
            } => self.killed(*at, &process.0, *by),
            _ => {}
        }
        let Step::Decided { at, processes, .. } = self.replay.take(line) else {
            return;
        };
        let processes = processes.to_vec();
        for process in processes.iter().filter(|it| !it.is_kernel_thread) {
            self.see(at, process);
        }
        for (id, life) in &mut self.lives {
            if !life.is_gone && Process::find(&processes, *id).is_none() {
                life.is_gone = true;
                life.last = at;
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

    /// It was killed by the watchdog, or for another scope. Of the first there is a
    /// line for readers, too, before or after this one.
    fn killed(&mut self, at: Moment, process: &Process, by: EndedBy) {
        self.see(at, process);
        let signal = match by {
            EndedBy::Command => "command",
            EndedBy::Terminate => {
                let first = process.dossier.label.signal;
                first.map_or("SIGTERM", FirstSignal::name)
            }
            EndedBy::Kill => "SIGKILL",
        };
        let signal = SignalLine {
            time: String::new(),
            signal: signal.to_owned(),
            dry: false,
            id: process.id,
            name: process.name,
            uid: process.uid,
            user: None,
            command: None,
            labels: None,
            value: process.dossier.value,
            rss_bytes: process.rss_bytes,
        };
        let is_same = |(_, last): &(Moment, SignalLine)| last.signal == signal.signal;
        if let Some(life) = self.lives.get_mut(&process.id)
            && !life.signals.last().is_some_and(is_same)
        {
            life.signals.push((at, signal));
        }
    }

    fn signal(&mut self, signal: &SignalLine) {
        let at = self.moment(&signal.time);
        let life = self.lives.entry(signal.id).or_insert_with(|| Life {
            value: signal.value,
            peak_bytes: signal.rss_bytes,
            ..Life::new(at, signal.name, signal.uid)
        });
        life.labels = signal.labels.clone().or(life.labels.take());
        match life.signals.last_mut() {
            Some((_, last)) if last.time.is_empty() && last.signal == signal.signal => {
                last.clone_from(signal);
            }
            _ => life.signals.push((at, signal.clone())),
        }
    }
}

/// What [`Moment::ORIGIN`] was by the wall clock, which showed `time` at `at`.
fn origin(at: Moment, time: &str) -> Timestamp {
    let time = time.parse::<Timestamp>().unwrap_or_default();
    let since = SignedDuration::try_from(at.since(Moment::ORIGIN)).unwrap_or_default();
    time.checked_sub(since).unwrap_or(time)
}

/// All incidents in the file or directory `path` in which something was decided or
/// killed, the oldest first; and what is wrong with lines that are left out.
///
/// # Errors
///
/// [`journal::Error`]: it cannot be read.
pub(crate) fn read(path: &Path) -> Result<(Vec<Incident>, Vec<String>), journal::Error> {
    let mut reader = JournalReader::open(path)?;
    let (mut incidents, mut damaged) = (Vec::new(), Vec::new());
    let mut current: Option<Incident> = None;
    let mut keep = |incident: Option<Incident>| {
        let is_one =
            |it: &Incident| !it.decisions.is_empty() || it.lives.values().any(was_signalled);
        incidents.extend(incident.filter(is_one));
    };
    let (mut kernel, mut settings) = (String::new(), Settings::default());
    while let Some(found) = reader.read()? {
        let line = match found {
            ReadLine::Line(line) => line,
            ReadLine::Damaged(why) => {
                let place = reader.place().map(ToString::to_string).unwrap_or_default();
                damaged.push(format!("{place}: {why}"));
                Line::Lost { lines: 1 }.into()
            }
        };
        match &*line {
            Line::Journal(preface) => {
                if !preface.continues {
                    keep(current.take());
                }
                kernel.clone_from(&preface.machine.kernel);
                settings = preface.settings.clone().unwrap_or(settings);
            }
            Line::State {
                at,
                time,
                follows,
                guard,
            } if !follows || current.is_none() => {
                let origin = origin(*at, time);
                keep(current.replace(Incident::new(origin, &kernel, guard.settings())));
            }
            Line::Decision(account) if current.is_none() => {
                let origin = origin(account.at, &account.time);
                current = Some(Incident::new(origin, &kernel, &settings));
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

#[cfg(test)]
mod tests {
    use std::fs;

    use journal::{Machine, Of, Preface, ProcessRow, VERSION};
    use oom_policy::{Cause, Cost, Dossier, Gates, Guard, Level, Seen, SessionId, Surroundings};

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from(seconds * 1_000_000_000)
    }

    fn id(pid: u32) -> ProcessId {
        ProcessId {
            pid,
            start_ticks: 1,
        }
    }

    fn begins(continues: bool) -> Line {
        Line::Journal(Preface {
            version: VERSION,
            program: "a test".to_owned(),
            time: "2026-11-26T12:00:00Z".to_owned(),
            machine: Machine::default(),
            settings: Some(Settings::default()),
            continues,
        })
    }

    fn state(seconds: u64, time: &str, follows: bool) -> Line {
        let guard = Guard::new(
            Settings::default(),
            Gates::default(),
            Surroundings::default(),
            8,
        );
        Line::State {
            at: at(seconds),
            time: time.to_owned(),
            follows,
            guard: guard.checkpoint().into(),
        }
    }

    fn decision(seconds: u64, time: &str) -> Line {
        Line::Decision(Account {
            at: at(seconds),
            time: time.to_owned(),
            level: Level::Warn,
            cause: Some(Cause::Level(Level::Warn)),
            verdict: Verdict::Idle,
            need_bytes: 1,
            frees_bytes: 1,
            lost: Cost::ZERO,
            gap: Cost::ZERO,
            covers_need: true,
            candidates: 1,
            chosen: 0,
            first: Vec::new(),
        })
    }

    fn signal(pid: u32, name: &str, time: &str) -> Line {
        Line::Signal(SignalLine {
            time: time.to_owned(),
            signal: name.to_owned(),
            dry: false,
            id: id(pid),
            name: Name::new(b"train"),
            uid: 1000,
            user: Some("alice".to_owned()),
            command: None,
            labels: None,
            value: Some(3),
            rss_bytes: 1 << 20,
        })
    }

    fn killed(seconds: u64, pid: u32) -> Line {
        let process = Process {
            seen: Seen {
                session: SessionId(1),
                name: Name::new(b"train"),
                ..Seen::new(id(pid))
            },
            dossier: Dossier {
                value: Some(3),
                ..Dossier::default()
            },
        };
        Line::Killed {
            at: at(seconds),
            process: ProcessRow(process),
            lost: Cost::ZERO,
            by: EndedBy::Kill,
        }
    }

    fn incidents(lines: &[Line]) -> Vec<Incident> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("one.jsonl");
        let line = |line| serde_json::to_string(line).expect("it can be written") + "\n";
        fs::write(&path, lines.iter().map(line).collect::<String>()).expect("it is ours");
        let (incidents, damaged) = read(&path).expect("it can be read");
        assert_eq!(damaged, [""; 0]);
        incidents
    }

    fn signals(incident: &Incident, pid: u32) -> Vec<(Moment, &str)> {
        let signals = incident.lives[&id(pid)].signals.iter();
        signals.map(|(at, line)| (*at, &*line.signal)).collect()
    }

    #[test]
    fn what_has_no_state_begins_at_its_first_decision_and_is_not_of_the_daemon_before() {
        let incidents = incidents(&[
            begins(false),
            state(10, "2026-11-26T12:00:10Z", false),
            decision(11, "2026-11-26T12:00:11Z"),
            signal(100, "SIGTERM", "2026-11-26T12:00:11Z"),
            begins(false),
            Line::Lost { lines: 7 },
            decision(21, "2026-11-26T13:00:21Z"),
            signal(200, "SIGTERM", "2026-11-26T13:00:22Z"),
            Line::Gone(Of {
                at: at(23),
                id: id(200),
            }),
            state(80, "2026-11-26T13:01:20Z", true),
        ]);
        let [first, second] = &*incidents else {
            panic!("{} incidents", incidents.len());
        };
        assert_eq!(signals(first, 100), [(at(11), "SIGTERM")]);
        assert!(!first.lives.contains_key(&id(200)));
        assert_eq!(signals(second, 200), [(at(22), "SIGTERM")]);
        assert!(second.lives[&id(200)].is_gone);
    }

    #[test]
    fn a_signal_stays_where_it_was_when_the_clock_is_set_afterwards() {
        let incidents = incidents(&[
            begins(false),
            state(10, "2026-11-26T12:00:10Z", false),
            decision(11, "2026-11-26T12:00:11Z"),
            signal(100, "SIGTERM", "2026-11-26T12:00:12Z"),
            decision(15, "2026-11-26T15:00:15Z"),
            signal(100, "SIGKILL", "2026-11-26T15:00:15Z"),
        ]);
        let signals = signals(&incidents[0], 100);
        assert_eq!(signals, [(at(12), "SIGTERM"), (at(15), "SIGKILL")]);
    }

    #[test]
    fn what_the_watchdog_kills_was_killed_once_whichever_line_comes_first() {
        let told = signal(100, "SIGKILL", "2026-11-26T12:00:12Z");
        for lines in [[killed(12, 100), told.clone()], [told, killed(12, 100)]] {
            let begin = [begins(false), state(10, "2026-11-26T12:00:10Z", false)];
            // Of what is killed for another scope there is no line for readers.
            let lines = [&begin[..], &lines, &[killed(13, 200)]].concat();
            let incidents = incidents(&lines);
            let [incident] = &*incidents else {
                panic!("{} incidents", incidents.len());
            };
            assert_eq!(signals(incident, 100), [(at(12), "SIGKILL")]);
            let (_, line) = &incident.lives[&id(100)].signals[0];
            assert_eq!(line.user.as_deref(), Some("alice"));
            assert_eq!(signals(incident, 200), [(at(13), "SIGKILL")]);
        }
    }
}
