//! Memory over time in a walk: the section `timeline` of its log.
//!
//! Written by `e2e/src/guest/timeline.rs`; what the columns are stands in the
//! log itself.

use std::fmt::{self, Display};

use anyhow::{Context, Result, bail, ensure};

use crate::walk_log::{self, section};

/// A run's memory. All in KiB, and in seconds since its begin.
#[derive(Debug)]
pub(crate) struct Timeline {
    pub(crate) total: u64,
    /// What is available when the daemon sends SIGTERM,
    pub(crate) warn: u64,
    /// when it sends SIGKILL,
    pub(crate) kill: u64,
    /// and when it stops.
    pub(crate) recovery: u64,
    pub(crate) processes: Vec<Process>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) signals: Vec<Sent>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) value: u64,
}

impl Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value } = self;
        write!(f, "{name}, value {value}")
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    pub(crate) available: u64,
    /// What the end of each process would free; `None` while it does not run.
    pub(crate) held: Vec<Option<u64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Term,
    Kill,
}

/// A signal that the daemon said it sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sent {
    pub(crate) seconds: f64,
    pub(crate) signal: Signal,
    /// By its place in [`Timeline::processes`].
    pub(crate) to: usize,
}

impl Timeline {
    /// Reads the timeline of a walk's log.
    ///
    /// # Errors
    ///
    /// It is not there, or a line of it is not what it should be; the line is
    /// named.
    pub(crate) fn parse(log: &str) -> Result<Self> {
        let section = section(log, "timeline")?;
        let mut reader = Reader::default();
        for (number, line) in (section.first..).zip(&section.lines) {
            reader
                .line(line)
                .with_context(|| format!("{}:{number}: `{line}`", walk_log::PATH))?;
        }
        reader
            .finish()
            .with_context(|| format!("{}:{}", walk_log::PATH, section.first))
    }

    /// When this process was first sent this signal.
    pub(crate) fn sent(&self, signal: Signal, to: usize) -> Option<f64> {
        let sent = self
            .signals
            .iter()
            .find(|sent| sent.signal == signal && sent.to == to);
        sent.map(|sent| sent.seconds)
    }

    /// When this process was first seen to be gone; `None` if it lived on.
    pub(crate) fn end(&self, process: usize) -> Option<f64> {
        let runs = |sample: &&Sample| sample.held[process].is_some();
        let last = self.samples.iter().rposition(|sample| runs(&sample))?;
        Some(self.samples.get(last + 1)?.seconds)
    }
}

#[derive(Default)]
struct Reader {
    total: Option<u64>,
    warn: Option<u64>,
    kill: Option<u64>,
    recovery: Option<u64>,
    processes: Vec<Process>,
    samples: Vec<Sample>,
    signals: Vec<Sent>,
    last_seconds: f64,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<()> {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        match first {
            "#" => {}
            "total" => self.total = Some(number(rest, "of KiB")?),
            "warn" => self.warn = Some(number(rest, "of KiB")?),
            "kill" => self.kill = Some(number(rest, "of KiB")?),
            "recovery" => self.recovery = Some(number(rest, "of KiB")?),
            "process" => {
                let (name, value) = rest
                    .split_once(' ')
                    .context("a process has a name and a value: `process NAME VALUE`")?;
                self.processes.push(Process {
                    name: name.to_owned(),
                    value: number(value, "for the value")?,
                });
            }
            seconds => self.stamped(seconds, rest)?,
        }
        Ok(())
    }

    fn stamped(&mut self, seconds: &str, rest: &str) -> Result<()> {
        let Ok(seconds) = seconds.parse::<f64>() else {
            bail!("`{seconds}` is not a time (expected seconds, as in `12.50`)");
        };
        ensure!(
            self.last_seconds <= seconds && seconds.is_finite(),
            "{seconds} s comes after {} s",
            self.last_seconds
        );
        self.last_seconds = seconds;
        if let Some(said) = rest.strip_prefix("> ") {
            self.signals.extend(self.signal(seconds, said));
        } else if rest != ">" {
            let sample = self.sample(seconds, rest)?;
            self.samples.push(sample);
        }
        Ok(())
    }

    fn sample(&self, seconds: f64, rest: &str) -> Result<Sample> {
        let mut fields = rest.split_whitespace();
        let available = fields.next().context("there is no available memory")?;
        let mut held = Vec::new();
        for Process { name, .. } in &self.processes {
            let field = fields.next().with_context(|| {
                format!(
                    "there is nothing for {name} (expected after the seconds: available memory, \
                     and {} numbers of KiB, or `-` for a process that does not run)",
                    self.processes.len()
                )
            })?;
            held.push(match field {
                "-" => None,
                kib => Some(number(kib, &format!("of KiB for {name}"))?),
            });
        }
        if let Some(more) = fields.next() {
            bail!("`{more}` is more than there are processes");
        }
        Ok(Sample {
            seconds,
            available: number(available, "of KiB available")?,
            held,
        })
    }

    /// The signal that the daemon says with this line it has sent. Rows of a
    /// table and settings are indented.
    fn signal(&self, seconds: f64, said: &str) -> Option<Sent> {
        let words = || said.split(|c: char| !c.is_alphanumeric() && c != '_');
        let signal = words().find_map(|word| match word {
            "SIGTERM" => Some(Signal::Term),
            "SIGKILL" => Some(Signal::Kill),
            _ => None,
        })?;
        let to = self
            .processes
            .iter()
            .position(|process| words().any(|word| word == process.name))?;
        (!said.starts_with(' ')).then_some(Sent {
            seconds,
            signal,
            to,
        })
    }

    fn finish(self) -> Result<Timeline> {
        let header = |value: Option<u64>, name: &str| {
            value.with_context(|| format!("the timeline has no line `{name} KIB`"))
        };
        ensure!(!self.processes.is_empty(), "the timeline has no process");
        ensure!(self.samples.len() > 1, "the timeline has no samples");
        Ok(Timeline {
            total: header(self.total, "total")?,
            warn: header(self.warn, "warn")?,
            kill: header(self.kill, "kill")?,
            recovery: header(self.recovery, "recovery")?,
            processes: self.processes,
            samples: self.samples,
            signals: self.signals,
        })
    }
}

fn number(text: &str, what: &str) -> Result<u64> {
    text.parse()
        .with_context(|| format!("`{text}` is not a number {what}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const TIMELINE: &str = "\
        --- timeline\n\
        # In KiB\n\
        total 1000\n\
        warn 100\n\
        kill 50\n\
        recovery 300\n\
        process ml_test1 9\n\
        process test_proc2 5\n\
        0.00 500 300 -\n\
        1.00 400 300 100\n\
        2.00 95 300 405\n\
        2.10 >   memory      SIGTERM at 94 MiB for test_proc2\n\
        2.10 > kill pid=616 signal=SIGTERM name=test_proc2 value=5\n\
        3.00 45 300 455\n\
        3.10 > kill pid=616 signal=SIGKILL name=test_proc2 reason=\"still alive after SIGTERM\"\n\
        3.10 >\n\
        4.00 500 300 -\n\
        --- end of timeline\n";

    #[test]
    fn what_a_run_was_is_read() {
        let timeline = Timeline::parse(TIMELINE).unwrap();
        let Timeline {
            total,
            warn,
            kill,
            recovery,
            ..
        } = timeline;
        assert_eq!((total, warn, kill, recovery), (1000, 100, 50, 300));
        assert_eq!(
            timeline.samples[2],
            Sample {
                seconds: 2.0,
                available: 95,
                held: vec![Some(300), Some(405)],
            }
        );
        assert_eq!(timeline.signals.len(), 2);
        assert_eq!(timeline.sent(Signal::Term, 1), Some(2.1));
        assert_eq!(timeline.sent(Signal::Kill, 1), Some(3.1));
        assert_eq!(timeline.sent(Signal::Kill, 0), None);
        assert_eq!((timeline.end(0), timeline.end(1)), (None, Some(4.0)));
    }

    #[track_caller]
    fn check_refused(line: &str, with: &str, want: &str) {
        let log = TIMELINE.replace(line, with);
        let err = format!("{:#}", Timeline::parse(&log).unwrap_err());
        assert!(err.contains(want), "{err}");
    }

    #[test]
    fn a_missing_field_is_named_with_its_file_and_line() {
        check_refused(
            "2.00 95 300 405\n",
            "2.00 95 300\n",
            "docs/walkthrough.log:11: `2.00 95 300`: there is nothing for test_proc2 (expected",
        );
        check_refused("2.00 95 300 405\n", "2.00\n", "no available memory");
        check_refused("process ml_test1 9\n", "process ml_test1\n", "log:7: ");
    }

    #[test]
    fn what_is_no_number_or_too_much_is_named() {
        check_refused(" 405\n", " much\n", "`much` is not a number of KiB for");
        check_refused(" 405\n", " 405 7\n", "`7` is more than");
        check_refused("2.00 95", "soon 95", "`soon` is not a time");
        check_refused("3.00 45", "0.50 45", "0.5 s comes after 2.1 s");
    }

    #[test]
    fn a_header_that_is_missing_is_named() {
        check_refused("kill 50\n", "", "no line `kill KIB`");
        check_refused("process ", "# ", "is more than");
    }
}
