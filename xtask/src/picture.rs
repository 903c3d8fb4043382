//! A picture of the walk-through: its three terminals, as they were in a run.
//!
//! What they show is what the programs printed, cut by the rules of
//! [`transcript`](crate::transcript); nothing is drawn or chosen by hand, and
//! the same log gives the same bytes. The picture needs nothing from
//! elsewhere: no script, no font, no image.

use std::fmt::{self, Display, Write};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::chore::say;
use crate::transcript::{GAP, Kind, Line, Transcript, Walk};

/// Where the scenario leaves its console, and what runs it.
const LOG: &str = "e2e/target/logs/6.1/one_job_fits_and_lives.console";
const RUN: &str = "cargo xtask e2e -- one_job_fits_and_lives";

/// What is made.
const PICTURE: &str = "docs/walkthrough.svg";

// All in pixels, where it is shown no smaller than it is.
const WIDTH: usize = 940;
const MONITOR_WIDTH: usize = 380;
const BETWEEN: usize = 10;
const BAR: usize = 28;
const PADDING: usize = 12;
const FONT: usize = 12;
const LINE: usize = 16;
const GAP_LINE: usize = 10;
const ROUND: usize = 8;
const KNOB: usize = 5;

/// The width of a character for its size. Monospaced fonts have 55 to 62.
const CHARACTER_PERCENT: usize = 62;

/// Words with a colour, which is a class of the style sheet.
const MARKS: [(&str, &str); 12] = [
    ("SIGKILL", "bad"),
    ("  given up", "bad"),
    ("kill:", "bad"),
    ("last call:", "bad"),
    ("SIGTERM", "careful"),
    ("warn:", "careful"),
    ("relief:", "careful"),
    ("WARN ", "careful"),
    ("  kept", "good"),
    ("survived", "good"),
    ("gone  ", "good"),
    ("freed  ", "good"),
];

/// Draws the run that `log` is of: the scenario's last one, if none is named.
///
/// # Errors
///
/// The log could not be read or is not that of a whole run; the picture could
/// not be written.
pub(crate) fn draw(root: &Path, log: Option<&Path>) -> Result<()> {
    let walk = read(root, log)?;
    let path = root.join(PICTURE);
    fs::write(&path, Picture::new(&walk).to_string())
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    say(format_args!("{PICTURE}: {}", walk.fates.join(", ")))
}

/// Prints what the picture would show.
///
/// # Errors
///
/// The log could not be read or is not that of a whole run.
pub(crate) fn print(root: &Path, log: Option<&Path>) -> Result<()> {
    let walk = read(root, log)?;
    let texts = walk.transcripts.map(|transcript| transcript.to_string());
    say(format_args!("{}", texts.join("\n").trim_end()))
}

fn read(root: &Path, log: Option<&Path>) -> Result<Walk> {
    let path = log.map_or_else(|| root.join(LOG), Path::to_path_buf);
    let log = path.display();
    let bytes =
        fs::read(&path).with_context(|| format!("cannot read `{log}` (`{RUN}` makes it)"))?;
    Walk::parse(&String::from_utf8_lossy(&bytes))
        .with_context(|| format!("`{log}` is no log of a whole walk (`{RUN}` makes one)"))
}

/// The daemon above the monitor and testproc.sh.
struct Picture<'walk> {
    windows: [Window<'walk>; 3],
    height: usize,
    description: String,
}

impl<'walk> Picture<'walk> {
    fn new(walk: &'walk Walk) -> Self {
        let [daemon, monitor, testproc] = &walk.transcripts;
        let daemon = Window::new(daemon, (0, 0), WIDTH);
        let (middle, top) = (MONITOR_WIDTH + BETWEEN, daemon.height + BETWEEN);
        let mut monitor = Window::new(monitor, (0, top), MONITOR_WIDTH);
        let mut testproc = Window::new(testproc, (middle, top), WIDTH - middle);
        let height = monitor.height.max(testproc.height);
        monitor.height = height;
        testproc.height = height;
        Self {
            windows: [daemon, monitor, testproc],
            height: top + height,
            description: format!(
                "What each of them printed until memory had run out and come back; an ellipsis \
                 stands for lines left out. In the end: {}.",
                walk.fates.join(", ")
            ),
        }
    }
}

impl Display for Picture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let height = self.height;
        write!(
            f,
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title description">
<title id="title">Three terminals: user-oom, psi-monitor and testproc.sh</title>
<desc id="description">{}</desc>
<style>
text {{ font: {FONT}px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #d6dbe1; white-space: pre }}
.window {{ fill: #14181e; stroke: #363d47 }}
.bar {{ fill: #242a33 }}
.knob {{ fill: #4a535f }}
.command {{ font-weight: 600 }}
.bad {{ fill: #ff7b72; font-weight: 600 }}
.careful {{ fill: #e3b341 }}
.good {{ fill: #56d364 }}
.dim {{ fill: #8b949e }}
</style>
"##,
            Escaped(&self.description)
        )?;
        for window in &self.windows {
            write!(f, "{window}")?;
        }
        writeln!(f, "</svg>")
    }
}

/// A terminal: a bar with the command, and below it what was printed.
struct Window<'walk> {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    command: &'walk str,
    rows: Vec<Line>,
}

impl<'walk> Window<'walk> {
    /// As high as it has to be.
    fn new(transcript: &'walk Transcript, (left, top): (usize, usize), width: usize) -> Self {
        let columns = (width - 2 * PADDING) * 100 / (FONT * CHARACTER_PERCENT);
        let rows: Vec<Line> = transcript
            .lines
            .iter()
            .flat_map(|line| rows(line, columns))
            .collect();
        Self {
            left,
            top,
            width,
            height: BAR + PADDING + rows.iter().map(height).sum::<usize>() + PADDING,
            command: transcript.command,
            rows,
        }
    }
}

impl Display for Window<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (right, bottom) = (self.width - 1, self.height - 1);
        let (side, straight) = (BAR - ROUND, right - 2 * ROUND);
        writeln!(
            f,
            r#"<g transform="translate({}.5 {}.5)">
<rect class="window" width="{right}" height="{bottom}" rx="{ROUND}"/>
<path class="bar" d="M0 {BAR}v-{side}a{ROUND} {ROUND} 0 0 1 {ROUND}-{ROUND}h{straight}a{ROUND} {ROUND} 0 0 1 {ROUND} {ROUND}v{side}z"/>"#,
            self.left, self.top
        )?;
        let middle = BAR / 2;
        for knob in 0..3 {
            let x = PADDING + KNOB + knob * 3 * KNOB;
            writeln!(
                f,
                r#"<circle class="knob" cx="{x}" cy="{middle}" r="{KNOB}"/>"#
            )?;
        }
        let (x, y) = (PADDING + 11 * KNOB, middle + FONT / 3);
        let command = Escaped(self.command);
        writeln!(
            f,
            r#"<text class="command" x="{x}" y="{y}"><tspan class="dim">$</tspan> {command}</text>"#
        )?;
        let mut y = BAR + PADDING;
        for row in &self.rows {
            y += height(row);
            let base = y - LINE / 4;
            writeln!(
                f,
                r#"<text x="{PADDING}" y="{base}" xml:space="preserve">{}</text>"#,
                Row(row)
            )?;
        }
        writeln!(f, "</g>")
    }
}

/// A row of a window, in colours.
struct Row<'row>(&'row Line);

impl Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { kind, text } = self.0;
        match kind {
            Kind::Event => write!(f, "{}", Marked(text)),
            Kind::Aside => write!(f, r#"<tspan class="dim">{}</tspan>"#, Marked(text)),
            Kind::Heading | Kind::Setting | Kind::Status | Kind::Poll | Kind::Gap => {
                write!(f, r#"<tspan class="dim">{}</tspan>"#, Escaped(text))
            }
        }
    }
}

/// With the colours of the words in it.
struct Marked<'text>(&'text str);

impl Display for Marked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some((at, word, class)) = first_mark(rest) {
            let (before, from) = rest.split_at(at);
            rest = &from[word.len()..];
            let word = Escaped(word);
            write!(
                f,
                r#"{}<tspan class="{class}">{word}</tspan>"#,
                Escaped(before)
            )?;
        }
        write!(f, "{}", Escaped(rest))
    }
}

/// Where the first of the words with a colour is, and which.
fn first_mark(text: &str) -> Option<(usize, &'static str, &'static str)> {
    MARKS
        .iter()
        .filter_map(|&(word, class)| Some((text.find(word)?, word, class)))
        .min()
}

/// What a row takes in its window.
fn height(row: &Line) -> usize {
    match row.kind {
        Kind::Gap => GAP_LINE,
        _ => LINE,
    }
}

/// The rows that a line takes. How things are is cut to one; what happened is
/// not.
fn rows(line: &Line, columns: usize) -> Vec<Line> {
    let texts = match line.kind {
        Kind::Status | Kind::Poll => vec![cut(&line.text, columns)],
        _ => wrap(&line.text, columns),
    };
    let row = |text| Line {
        kind: line.kind,
        text,
    };
    texts.into_iter().map(row).collect()
}

fn cut(text: &str, columns: usize) -> String {
    match text.char_indices().nth(columns) {
        None => text.to_owned(),
        Some(_) => text.chars().take(columns - 1).chain(GAP.chars()).collect(),
    }
}

/// Breaks between words where that is possible. What does not fit goes on below
/// the last column, if the line has columns.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let indent = " ".repeat(indent(text, columns));
    let mut rows = Vec::new();
    let mut row = String::new();
    let mut rest = text;
    while let Some((end, _)) = rest.char_indices().nth(columns - row.len()) {
        let (head, tail) = rest.split_at(end);
        let at = match head.rfind(' ') {
            _ if tail.starts_with(' ') => end,
            Some(at) if !head[..at].trim().is_empty() => at,
            _ => end,
        };
        row.push_str(rest[..at].trim_end());
        rows.push(std::mem::replace(&mut row, indent.clone()));
        rest = rest[at..].trim_start();
    }
    rows.push(row + rest);
    rows
}

/// Where the last column of a line begins.
fn indent(text: &str, columns: usize) -> usize {
    let fits: String = text.chars().take(columns * 3 / 4).collect();
    match fits.rfind("  ") {
        Some(at) => fits[..at].chars().count() + 2,
        None => 4,
    }
}

/// As text of an XML document.
struct Escaped<'text>(&'text str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::tests::WALK;

    fn picture(log: &str) -> String {
        Picture::new(&Walk::parse(log).unwrap()).to_string()
    }

    #[track_caller]
    fn check_row(kind: Kind, text: &str, want: &str) {
        let text = text.to_owned();
        assert_eq!(Row(&Line { kind, text }).to_string(), want);
    }

    #[test]
    fn the_same_log_gives_the_same_bytes() {
        assert_eq!(picture(WALK), picture(WALK));
    }

    #[test]
    fn nothing_is_wider_than_its_window_or_below_it() {
        let word = "x".repeat(500);
        let words = "some words ".repeat(50);
        let long = format!(
            "{word}\r\n  {word}\r\n      455  {words}\r\nmemory 1 MiB available ({words}\r\n\
             ml_test1 [7] {word} …/s\r\n--- end of "
        );
        let log = WALK.replace("--- end of ", &long);
        let walk = Walk::parse(&log).unwrap();
        let picture = Picture::new(&walk);
        let wide = |text: &str| text.chars().count() * FONT * CHARACTER_PERCENT / 100;
        for window in &picture.windows {
            assert!(window.left + window.width <= WIDTH);
            assert!(window.top + window.height <= picture.height);
            assert!(PADDING + 11 * KNOB + wide("$ ") + wide(window.command) <= window.width);
            for row in &window.rows {
                assert!(2 * PADDING + wide(&row.text) <= window.width, "{row:?}");
            }
            let rows: usize = window.rows.iter().map(height).sum();
            assert!(BAR + 2 * PADDING + rows <= window.height);
        }
    }

    #[test]
    fn what_happened_is_in_the_picture() {
        let picture = picture(WALK);
        for text in [
            "bash testproc.sh ",
            r#"<tspan class="bad">SIGKILL</tspan> to 579 test_proc2, "#,
            r#"<tspan class="good">survived</tspan>"#,
            "In the end: ml_test1 survived, test_proc2 was killed by SIGKILL.</desc>",
        ] {
            assert!(picture.contains(text), "{text} is not in {picture}");
        }
    }

    #[test]
    fn what_xml_would_read_as_its_own_is_escaped() {
        assert_eq!(
            Escaped("a<b> && \"c\"").to_string(),
            "a&lt;b&gt; &amp;&amp; \"c\""
        );
        check_row(
            Kind::Event,
            "warn: <&>",
            r#"<tspan class="careful">warn:</tspan> &lt;&amp;&gt;"#,
        );
        check_row(Kind::Status, "<", r#"<tspan class="dim">&lt;</tspan>"#);
    }

    #[test]
    fn every_word_that_means_something_has_its_colour() {
        check_row(
            Kind::Event,
            "SIGTERM, then SIGKILL",
            r#"<tspan class="careful">SIGTERM</tspan>, then <tspan class="bad">SIGKILL</tspan>"#,
        );
        // What was set at start has not happened.
        check_row(
            Kind::Setting,
            "  memory    SIGTERM at 1 MiB",
            r#"<tspan class="dim">  memory    SIGTERM at 1 MiB</tspan>"#,
        );
    }

    #[test]
    fn a_long_line_goes_on_below_its_last_column() {
        assert_eq!(wrap("exactly as wide", 15), ["exactly as wide"]);
        assert_eq!(
            wrap("gone    107 ml_test1, 0.5 s after", 24),
            ["gone    107 ml_test1,", "        0.5 s after"]
        );
        assert_eq!(
            wrap("no columns, but many words", 14),
            ["no columns,", "    but many", "    words"]
        );
        assert_eq!(
            wrap("…wordwithoutend", 8),
            ["…wordwit", "    hout", "    end"]
        );
    }

    #[test]
    fn how_things_are_is_cut_to_one_row() {
        assert_eq!(cut("memory 1 of 2", 13), "memory 1 of 2");
        assert_eq!(cut("memory 1 of 2", 12), "memory 1 of…");
    }

    #[test]
    fn a_log_that_is_not_there_is_named_with_the_command_that_makes_it() {
        let root = tempfile::tempdir().unwrap();
        let err = format!("{:#}", draw(root.path(), None).unwrap_err());
        assert!(err.contains(LOG) && err.contains(RUN), "{err}");
    }

    #[test]
    fn a_log_that_is_cut_off_is_named_and_nothing_is_drawn() {
        let root = tempfile::tempdir().unwrap();
        let log = root.path().join("walk.console");
        fs::write(&log, "--- daemon\r\nsome").unwrap();
        let err = format!("{:#}", draw(root.path(), Some(&log)).unwrap_err());
        assert!(
            err.contains("walk.console") && err.contains("cut off"),
            "{err}"
        );
        assert!(!root.path().join(PICTURE).exists());
    }
}
