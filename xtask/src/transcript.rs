//! What the terminals of the walk-through printed, cut to what matters.
//!
//! They are found in the console of the virtual machine that it ran in. Cuts by
//! rules, so that the same run gives the same lines, and marks what it leaves
//! out. Reads no file, and knows no colours.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::{self, Display};

use anyhow::{Context, Result, bail, ensure};

/// The terminals, and what somebody would have typed in each. As the scenario
/// has it: `e2e/src/scenarios/walkthrough.rs`.
const DAEMON: Terminal = Terminal {
    section: "daemon",
    command: "user-oom --registered-only --grace 30 --recover 30",
    most: 40,
};
const MONITOR: Terminal = Terminal {
    section: "monitor",
    command: "psi-monitor",
    most: 24,
};
const TESTPROC: Terminal = Terminal {
    section: "testproc",
    command: "bash testproc.sh --working-set-mib 200,300",
    most: 32,
};

struct Terminal {
    /// Of the log.
    section: &'static str,
    command: &'static str,
    /// How many lines are shown. What happened is shown even if it takes more.
    most: usize,
}

/// Stands for two lines or more.
pub(crate) const GAP: &str = "…";

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What happened.
    Event,
    /// What introduces a table.
    Heading,
    /// What a program was told.
    Setting,
    /// What one could do without.
    Aside,
    /// How things are, said every other second.
    Status,
    /// How much tasks stall, likewise.
    Poll,
    /// Lines that are left out.
    Gap,
}

/// One line of a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

impl Line {
    fn new(text: &str) -> Self {
        Self {
            kind: kind(text),
            text: text.to_owned(),
        }
    }

    fn gap() -> Self {
        Self {
            kind: Kind::Gap,
            text: GAP.to_owned(),
        }
    }
}

/// A terminal, cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transcript {
    pub(crate) command: &'static str,
    pub(crate) lines: Vec<Line>,
}

impl Transcript {
    fn parse(log: &[String], terminal: &Terminal) -> Result<Self> {
        let said = section(log, terminal.section)?;
        let lines: Vec<Line> = said.iter().map(|line| Line::new(line)).collect();
        Ok(Self {
            command: terminal.command,
            lines: condense(&lines, terminal.most),
        })
    }
}

/// As one would see it: the command, and what it printed.
impl Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}", self.command)?;
        for line in &self.lines {
            writeln!(f, "{}", line.text)?;
        }
        Ok(())
    }
}

/// A walk from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    /// The daemon, the monitor and testproc.sh.
    pub(crate) transcripts: [Transcript; 3],
    /// What became of whom: `ml_test1 survived`.
    pub(crate) fates: Vec<String>,
}

impl Walk {
    /// Finds the terminals in the console's `log`.
    ///
    /// # Errors
    ///
    /// A terminal is not there, or cut off, or empty; or the run was given up
    /// before testproc.sh could say who survived.
    pub(crate) fn parse(log: &str) -> Result<Self> {
        let log = without_kernel(log);
        let daemon = Transcript::parse(&log, &DAEMON)?;
        let monitor = Transcript::parse(&log, &MONITOR)?;
        let testproc = Transcript::parse(&log, &TESTPROC)?;
        Ok(Self {
            fates: fates(&testproc.lines)?,
            transcripts: [daemon, monitor, testproc],
        })
    }
}

/// By the last words of testproc.sh.
fn fates(testproc: &[Line]) -> Result<Vec<String>> {
    let end = testproc
        .iter()
        .position(|line| line.text.ends_with("IN THE END"))
        .context("the run did not come to its end: testproc.sh does not say who survived")?;
    let fate = |line: &Line| {
        let words: Vec<&str> = line.text.split_whitespace().collect();
        let [_, _pid, name, _value, fate @ ..] = words.as_slice() else {
            return None;
        };
        Some(format!("{name} {}", fate.join(" ")))
    };
    Ok(testproc.iter().skip(end + 1).filter_map(fate).collect())
}

fn section(log: &[String], name: &str) -> Result<Vec<String>> {
    let begin = format!("--- {name}");
    let end = format!("--- end of {name}");
    let from = log
        .iter()
        .position(|line| *line == begin)
        .with_context(|| format!("there is no section `{begin}`"))?;
    let mut said = Vec::new();
    for line in log.iter().skip(from + 1) {
        // What was cut short before may have no line end of its own.
        if let Some(last) = line.strip_suffix(&end) {
            if !last.is_empty() {
                said.push(last.to_owned());
            }
            ensure!(!said.is_empty(), "the section `{begin}` is empty");
            return Ok(said);
        }
        said.push(line.clone());
    }
    bail!("the section `{begin}` is cut off: there is no `{end}`")
}

/// The lines of a serial console that programs have written.
///
/// The kernel writes there whenever it has something to say, even in the middle
/// of a line, and the terminal's driver ends lines with `\r\n`.
fn without_kernel(log: &str) -> Vec<String> {
    // Control characters too, which XML could not hold.
    let text = anstream::adapter::strip_str(log).to_string();
    let mut lines = Vec::new();
    let mut begun = String::new();
    for line in text.lines() {
        match kernel_stamp(line) {
            Some(at) => begun.push_str(&line[..at]),
            None => {
                begun.push_str(line);
                lines.push(begun.trim_end().to_owned());
                begun.clear();
            }
        }
    }
    lines
}

/// Where in this line the kernel begins to speak: `[    1.669657] `.
fn kernel_stamp(line: &str) -> Option<usize> {
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let is_stamp = |text: &str| {
        text.split_once("] ")
            .and_then(|(stamp, _)| stamp.split_once('.'))
            .is_some_and(|(seconds, micros)| {
                is_number(seconds.trim_start()) && micros.len() == 6 && is_number(micros)
            })
    };
    line.match_indices('[')
        .map(|(at, _)| at)
        .find(|at| is_stamp(&line[at + 1..]))
}

fn kind(text: &str) -> Kind {
    let is_aside = |text: &str| {
        text.starts_with('[')
            || text.contains("; nobody is ended: ")
            || text.contains("] working set of ")
            || text.starts_with("testproc: loading ")
    };
    if pressure(text).is_some() {
        Kind::Poll
    } else if speaker(text).is_some() {
        Kind::Status
    } else if is_aside(text) {
        Kind::Aside
    } else if text.contains("PID  NAME ") || text.contains(" judged, ") {
        Kind::Heading
    } else if is_setting(text) {
        Kind::Setting
    } else {
        Kind::Event
    }
}

/// `  grace     30 s from SIGTERM to SIGKILL; …`
fn is_setting(text: &str) -> bool {
    text.strip_prefix("  ")
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_alphabetic()))
}

/// Who tells with this line, as with many others, how things are.
fn speaker(text: &str) -> Option<&str> {
    if text.starts_with("memory ") && text.contains(" MiB available (") {
        return Some("daemon");
    }
    if pressure(text).is_some() {
        return Some("monitor");
    }
    // `ml_test1 [108] epoch 1/1000, step 2/4000, loss 2.309, 1.9 steps/s`
    let (who, words) = text.split_once("] ")?;
    let is_progress = words.ends_with("/s") || words.contains(" done: checkpoint ");
    (is_progress && who.contains(" [")).then_some(who)
}

/// In hundredths of a percent, if this is a poll of psi-monitor's:
/// `02:50:29Z  full avg10   0.89 %  avg60   0.21 %`.
fn pressure(text: &str) -> Option<u32> {
    let (_time, rest) = text.split_once("Z  full avg10 ")?;
    let (percent, _) = rest.split_once(" %")?;
    percent.trim().replace('.', "").parse().ok()
}

/// Cuts to `most` lines, if that can be had without what happened.
///
/// Of what one says of how things are, the first line and the last one stay,
/// and of polls as many as there is room for, those with the most pressure.
fn condense(lines: &[Line], most: usize) -> Vec<Line> {
    let mut of_speaker: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        if let Some(speaker) = speaker(&line.text) {
            of_speaker.entry(speaker).or_default().push(at);
        }
    }
    let mut shown = vec![true; lines.len()];
    let mut dispensable = Vec::new();
    for places in of_speaker.values() {
        let [_, between @ .., _] = places.as_slice() else {
            continue;
        };
        for &at in between {
            match pressure(&lines[at].text) {
                Some(pressure) => dispensable.push((0, pressure, Reverse(at))),
                None => shown[at] = false,
            }
        }
    }
    for (at, line) in lines.iter().enumerate() {
        match line.kind {
            Kind::Aside => dispensable.push((1, 0, Reverse(at))),
            Kind::Setting => dispensable.push((2, 0, Reverse(at))),
            _ => {}
        }
    }
    dispensable.sort_unstable();
    for (_, _, Reverse(at)) in dispensable {
        if with_gaps(lines, &shown).len() <= most {
            break;
        }
        shown[at] = false;
    }
    with_gaps(lines, &shown)
}

/// Those that are shown, and a gap for all that are not; one line alone is
/// shown in the gap's place.
fn with_gaps(lines: &[Line], shown: &[bool]) -> Vec<Line> {
    let mut kept = Vec::new();
    let mut rest = lines;
    for run in shown.chunk_by(|one, next| one == next) {
        let (these, others) = rest.split_at(run.len());
        rest = others;
        if run.first() == Some(&true) || these.len() == 1 {
            kept.extend_from_slice(these);
        } else {
            kept.push(Line::gap());
        }
    }
    kept
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// As a console has it.
    pub(crate) const WALK: &str = "\
        \x1bc\x1b[?7l\x1b[2J[    1.669657] EXT4-fs (vda): mounted filesystem\r\n\
        --- daemon\r\n\
        [INFO ] memory_info.ko is loaded: the kernel asks before it kills\r\n\
        user-oom 0.1.0 keeps the most value in the memory that is left\r\n\
        \x20 now       memory 897 of 1032 MiB available (86.87 %), no swap\r\n\
        memory 896 of 1032 MiB available (86.81 %), no swap\r\n\
        warn: memory 101 of 1032 MiB available (9.87 %), no swap; 354 MiB to give back\r\n\
        \x20 2 judged, 1 given up: no other choice costs less (read in 1.076 ms, chosen in 1.520 ms)\r\n\
        \x20     PID  NAME             oom_score    value       VmRSS       growth\r\n\
        \x20     579  test_proc2             702        5      54 MiB    +23 MiB/s  given up; worth 5, growing: 2.5\r\n\
        \x20     107  ml_test1               949        9     436 MiB               kept\r\n\
        SIGKILL to 579 test_[   68.743833] memory_info: warn: available memory 9.81 %\r\n\
        proc2, oom_score 702, value 5, VmRSS 54 MiB\r\n\
        --- end of daemon\r\n\
        --- monitor\r\n\
        psi-monitor watches /proc/pressure/memory\r\n\
        02:49:54Z  full avg10   0.00 %  avg60   0.00 %\r\n\
        --- end of monitor\r\n\
        --- testproc\r\n\
        ml_test1 [107] epoch 1/1000, step 2/4000, loss 2.309, 1.9 steps/s\r\n\
        testproc:      PID  NAME          VALUE  IN THE END\r\n\
        testproc:      107  ml_test1          9  survived\r\n\
        testproc:      579  test_proc2        5  was killed by SIGKILL\r\n\
        --- end of testproc\r\n";

    #[track_caller]
    fn check_refused(log: &str, want: &str) {
        let err = Walk::parse(log).unwrap_err().to_string();
        assert!(err.contains(want), "{err}");
    }

    #[track_caller]
    fn check_condensed(lines: &[&str], most: usize, want: &[&str]) {
        let lines: Vec<Line> = lines.iter().map(|line| Line::new(line)).collect();
        let kept = condense(&lines, most);
        let kept: Vec<&str> = kept.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(kept, want);
    }

    #[test]
    fn the_terminals_are_found_and_what_became_of_whom() {
        let walk = Walk::parse(WALK).unwrap();
        let first = walk.transcripts.each_ref().map(|one| &*one.lines[0].text);
        assert_eq!(
            first,
            [
                "[INFO ] memory_info.ko is loaded: the kernel asks before it kills",
                "psi-monitor watches /proc/pressure/memory",
                "ml_test1 [107] epoch 1/1000, step 2/4000, loss 2.309, 1.9 steps/s",
            ]
        );
        let fates = ["ml_test1 survived", "test_proc2 was killed by SIGKILL"];
        assert_eq!(walk.fates, fates);
    }

    #[test]
    fn a_transcript_reads_as_a_terminal_does() {
        let walk = Walk::parse(WALK).unwrap();
        assert_eq!(
            walk.transcripts[1].to_string(),
            "$ psi-monitor\n\
             psi-monitor watches /proc/pressure/memory\n\
             02:49:54Z  full avg10   0.00 %  avg60   0.00 %\n"
        );
    }

    #[test]
    fn the_kernel_is_left_out_where_it_spoke_in_the_middle_of_a_line() {
        let said = without_kernel(WALK);
        let whole = "SIGKILL to 579 test_proc2, oom_score 702, value 5, VmRSS 54 MiB";
        assert!(said.iter().any(|line| line == whole), "{said:?}");
        assert!(!said.iter().any(|line| line.contains("memory_info: warn")));
    }

    #[test]
    fn a_bracket_is_not_yet_the_kernel() {
        for line in [
            "[INFO ] 1.669657",
            "ml_test1 [108] 1.9",
            "[ 1.66] ",
            "[1.669657",
        ] {
            assert_eq!(kernel_stamp(line), None, "{line}");
        }
        assert_eq!(kernel_stamp("a[12345.669657] b"), Some(1));
    }

    #[test]
    fn escape_sequences_and_control_characters_are_left_out() {
        assert_eq!(without_kernel("\x1b[1;31ma\x1b[0m\x07b  \r\r\n"), ["ab"]);
    }

    #[test]
    fn a_section_that_is_missing_is_named() {
        check_refused("", "no section `--- daemon`");
        check_refused(&WALK.replace("--- monitor", ""), "no section `--- monitor`");
    }

    #[test]
    fn a_section_that_is_cut_off_is_named() {
        let (cut, _) = WALK.split_once("--- end of testproc").unwrap();
        check_refused(cut, "`--- testproc` is cut off");
    }

    #[test]
    fn a_section_that_is_empty_is_named() {
        let log = "--- daemon\r\n--- end of daemon\r\n";
        check_refused(log, "`--- daemon` is empty");
    }

    #[test]
    fn a_last_line_without_an_end_is_shown() {
        let log = "--- daemon\r\na\r\nb--- end of daemon\r\n";
        assert_eq!(section(&without_kernel(log), "daemon").unwrap(), ["a", "b"]);
    }

    #[test]
    fn a_run_that_was_given_up_is_no_walk() {
        check_refused(&WALK.replace("IN THE END", ""), "did not come to its end");
    }

    #[test]
    fn of_how_things_are_the_first_and_the_last_line_stay() {
        check_condensed(
            &[
                "memory 9 of 9 MiB available (99 %), no swap",
                "memory 8 of 9 MiB available (88 %), no swap",
                "memory 7 of 9 MiB available (77 %), no swap",
                "memory 6 of 9 MiB available (66 %), no swap",
                "SIGTERM to 7 a",
                "memory 5 of 9 MiB available (55 %), no swap",
            ],
            99,
            &[
                "memory 9 of 9 MiB available (99 %), no swap",
                GAP,
                "SIGTERM to 7 a",
                "memory 5 of 9 MiB available (55 %), no swap",
            ],
        );
    }

    #[test]
    fn each_process_tells_of_its_own_progress() {
        check_condensed(
            &[
                "a [1] 1.0 steps/s",
                "b [2]      29 MiB   28.1 MiB/s",
                "a [1] epoch 1/9 done: checkpoint after epoch 1, step 0 in /a",
                "a [1] 2.0 steps/s",
                "b [2]      39 MiB   28.1 MiB/s",
                "b [2] SIGTERM ignored",
                "a [1] 3.0 steps/s",
            ],
            99,
            &[
                "a [1] 1.0 steps/s",
                "b [2]      29 MiB   28.1 MiB/s",
                GAP,
                "b [2]      39 MiB   28.1 MiB/s",
                "b [2] SIGTERM ignored",
                "a [1] 3.0 steps/s",
            ],
        );
    }

    #[test]
    fn one_line_is_not_left_out_for_a_gap_as_long() {
        let lines = [
            "a [1] 1.0 steps/s",
            "a [1] 2.0 steps/s",
            "a [1] 3.0 steps/s",
        ];
        check_condensed(&lines, 0, &lines);
    }

    #[test]
    fn where_there_is_no_room_the_polls_with_the_most_pressure_stay() {
        let poll = |pressure| format!("02:49:54Z  full avg10 {pressure} %  avg60   0.00 %");
        let polls = [
            "  0.00", "  0.01", " 12.00", "  9.50", "  0.02", "  0.03", "  0.00",
        ]
        .map(poll);
        let all: Vec<&str> = polls.iter().map(String::as_str).collect();
        check_condensed(&all, 7, &all);
        check_condensed(&all, 6, &[all[0], all[1], all[2], all[3], GAP, all[6]]);
        check_condensed(&all, 5, &[all[0], all[1], all[2], GAP, all[6]]);
    }

    #[test]
    fn asides_go_before_settings_the_last_ones_first_and_what_happened_stays() {
        let lines = [
            "  now       1 MiB",
            "  memory    2 MiB",
            "[INFO ] process 7 is registered",
            "[INFO ] process 8 is registered",
            "[INFO ] process 9 is registered",
            "warn: 3 MiB to give back",
            "  1 judged, 1 given up: no other choice costs less",
            "SIGTERM to 7 a",
        ];
        let [now, memory, note, _, _, happened @ ..] = lines;
        let shown = |kept: &[&'static str]| [kept, &happened].concat();
        check_condensed(&lines, 8, &lines);
        check_condensed(&lines, 7, &shown(&[now, memory, note, GAP]));
        check_condensed(&lines, 6, &shown(&[now, memory, GAP]));
        check_condensed(&lines, 5, &shown(&[now, GAP]));
        check_condensed(&lines, 0, &shown(&[GAP]));
    }

    #[test]
    fn the_commands_are_those_of_the_scenario() {
        let scenario = include_str!("../../e2e/src/scenarios/walkthrough.rs");
        for terminal in [DAEMON, MONITOR, TESTPROC] {
            assert!(scenario.contains(&format!("\"{}\"", terminal.section)));
            let mut words = terminal
                .command
                .split(' ')
                .skip_while(|word| *word == "bash");
            let program = words.next().unwrap();
            assert!(scenario.contains(&format!("/{program}\"")), "{program}");
            for word in words {
                assert!(scenario.contains(&format!("\"{word}\"")), "{word}");
            }
        }
    }
}
