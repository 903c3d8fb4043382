//! What is printed, line by line: aligned, with a bar on a terminal, coloured
//! where colours are wanted.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use psi::{Percent, Pressure};

const ALARM: Style = AnsiColor::Red.on_default().bold();
const CALM: Style = AnsiColor::Green.on_default();
const FAINT: Style = Style::new().dimmed();

/// How far a folded line is indented.
const HANG: usize = 4;

/// Width of a full bar; a cell is 4 %.
const CELLS: usize = 25;

/// Where lines go, and what fits there.
#[derive(Debug)]
pub(crate) struct Screen<W> {
    out: W,
    bars: bool,
    /// `None`: lines are not folded.
    width: Option<usize>,
}

impl Screen<AutoStream<io::Stdout>> {
    /// Standard output; colours are left out where it is not a terminal, and
    /// where NO_COLOR or TERM=dumb say so.
    pub(crate) fn stdout() -> Self {
        Self {
            bars: io::stdout().is_terminal(),
            width: terminal::width(io::stdout()),
            out: anstream::stdout(),
        }
    }
}

impl<W: Write> Screen<W> {
    /// One line of what is watched: a name and a value, in columns.
    pub(crate) fn setting(&mut self, name: &str, value: impl fmt::Display) -> io::Result<()> {
        self.line(format_args!("  {name:<22}{value}"))
    }

    /// One line for one poll.
    pub(crate) fn poll(&mut self, pressure: &Pressure, threshold: Percent) -> io::Result<()> {
        let full = pressure.full;
        let style = if full.avg10 > threshold { ALARM } else { CALM };
        let bar = if self.bars {
            format!(
                "  {}",
                Bar {
                    full: full.avg10,
                    threshold
                }
            )
        } else {
            String::new()
        };
        self.timed(format_args!(
            "full avg10 {style}{:6}{style:#} %  avg60 {:>6} %{bar}",
            full.avg10,
            full.avg60
                .map_or_else(|| "?".to_owned(), |avg60| avg60.to_string())
        ))
    }

    /// One line for something that happened.
    pub(crate) fn event(&mut self, words: impl fmt::Display) -> io::Result<()> {
        self.timed(format_args!("{words}"))
    }

    /// One line for something that should not have happened.
    pub(crate) fn alarm(&mut self, words: impl fmt::Display) -> io::Result<()> {
        self.timed(format_args!("{ALARM}{words}{ALARM:#}"))
    }

    fn timed(&mut self, words: fmt::Arguments<'_>) -> io::Result<()> {
        let now = TimeOfDay::at(SystemTime::now());
        self.line(format_args!("{FAINT}{now}{FAINT:#}  {words}"))
    }

    /// One write a line, so that lines of several programs do not mix.
    pub(crate) fn line(&mut self, words: fmt::Arguments<'_>) -> io::Result<()> {
        let line = format!("{words}\n");
        self.out
            .write_all(terminal::fold(&line, self.width, HANG).as_bytes())?;
        self.out.flush()
    }
}

/// `[#########·····|··········]`: pressure, and where the threshold is.
struct Bar {
    full: Percent,
    threshold: Percent,
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = |percent: Percent| usize::from(percent.hundredths()) * CELLS / 10_000;
        // Any pressure at all is seen.
        let filled = match self.full.hundredths() {
            0 => 0,
            _ => cells(self.full).max(1),
        };
        let mark = cells(self.threshold);
        let cell = |cell| match cell {
            cell if cell < filled && cell < mark => ('#', CALM),
            cell if cell < filled => ('#', ALARM),
            cell if cell == mark => ('|', FAINT),
            _ => ('.', FAINT),
        };
        f.write_str("[")?;
        let mut before = Style::new();
        for (sign, style) in (0..CELLS).map(cell) {
            // A colour once for all cells that have it.
            if style != before {
                write!(f, "{before:#}{style}")?;
            }
            write!(f, "{sign}")?;
            before = style;
        }
        write!(f, "{before:#}]")
    }
}

/// The time of day in UTC: std knows no other, and a log is easier to compare
/// with others by it.
struct TimeOfDay {
    second: u64,
}

impl TimeOfDay {
    fn at(time: SystemTime) -> Self {
        // A clock that stands before 1970 is no reason to stop watching.
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self {
            second: since.as_secs() % (24 * 60 * 60),
        }
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minute, second) = (self.second / 60, self.second % 60);
        let (hour, minute) = (minute / 60, minute % 60);
        write!(f, "{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Seconds, in a column with others and with percentages.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:6.2} s", self.0.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use anstream::StripStream;

    use super::*;

    fn percent(hundredths: u16) -> Percent {
        Percent::from_hundredths(hundredths).unwrap()
    }

    fn pressure(avg10: u16, avg60: u16) -> Pressure {
        let mut pressure = Pressure::default();
        pressure.full.avg10 = percent(avg10);
        pressure.full.avg60 = Some(percent(avg60));
        pressure
    }

    /// What `print` prints, without colours and the time.
    fn printed(bars: bool, print: impl Fn(&mut Screen<StripStream<Vec<u8>>>)) -> String {
        let mut screen = Screen {
            out: StripStream::new(Vec::new()),
            bars,
            width: None,
        };
        print(&mut screen);
        let text = String::from_utf8(screen.out.into_inner()).unwrap();
        let (time, words) = text.split_once("  ").unwrap();
        assert_eq!(time.len(), "12:34:56Z".len(), "{text}");
        words.to_owned()
    }

    #[test]
    fn a_poll_is_one_aligned_line() {
        let line = |avg10, avg60| {
            printed(false, |screen| {
                screen
                    .poll(&pressure(avg10, avg60), percent(4_000))
                    .unwrap();
            })
        };
        assert_eq!(line(0, 7), "full avg10   0.00 %  avg60   0.07 %\n");
        assert_eq!(line(10_000, 4_312), "full avg10 100.00 %  avg60  43.12 %\n");
    }

    #[track_caller]
    fn check_bar(avg10: u16, threshold: u16, want: &str) {
        let line = printed(true, |screen| {
            screen
                .poll(&pressure(avg10, 0), percent(threshold))
                .unwrap();
        });
        assert_eq!(line.trim_end().rsplit("  ").next(), Some(want));
    }

    #[test]
    fn a_bar_shows_the_pressure_and_where_the_threshold_is() {
        check_bar(0, 4_000, "[..........|..............]");
        check_bar(1, 4_000, "[#.........|..............]");
        check_bar(2_000, 4_000, "[#####.....|..............]");
        check_bar(5_000, 4_000, "[############.............]");
        check_bar(10_000, 4_000, "[#########################]");
        check_bar(0, 0, "[|........................]");
        check_bar(0, 9_999, "[........................|]");
    }

    #[test]
    fn what_is_above_the_threshold_is_red() {
        let mut screen = Screen {
            out: Vec::new(),
            bars: false,
            width: None,
        };
        screen.poll(&pressure(4_001, 0), percent(4_000)).unwrap();
        screen.poll(&pressure(4_000, 0), percent(4_000)).unwrap();
        let text = String::from_utf8(screen.out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].contains(&format!("{ALARM} 40.01{ALARM:#}")),
            "{text:?}"
        );
        assert!(
            lines[1].contains(&format!("{CALM} 40.00{CALM:#}")),
            "{text:?}"
        );
    }

    #[test]
    fn the_time_of_day_is_that_of_utc() {
        let at = |seconds| {
            TimeOfDay::at(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
        };
        assert_eq!(at(0), "00:00:00Z");
        assert_eq!(at(86_399), "23:59:59Z");
        assert_eq!(at(1_000_000_000), "01:46:40Z");
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(TimeOfDay::at(before).to_string(), "00:00:00Z");
    }
}
