//! What the terminals of the walk-through printed, cut to what matters.
//!
//! Cuts by rules, so that the same run gives the same lines, and marks what it
//! leaves out. Reads no file.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::{self, Display};

use anyhow::{Context, Result};

use crate::walk_log::section;

/// The terminals, and what a user would have typed in each. As the scenario
/// has it: `e2e/src/scenarios/walkthrough.rs`.
const DAEMON: Terminal = Terminal {
    section: "daemon",
    command: "user-oom --registered-only --grace 30 --recover 30",
    most: 40,
};
/// What its command says.
pub(crate) const GRACE_SECONDS: f64 = 30.0;
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
    /// What a program was told.
    Setting,
    /// What one could do without.
    Aside,
    /// How things are, said every other second.
    Status,
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
    fn parse(log: &str, terminal: &Terminal) -> Result<Self> {
        let said = section(log, terminal.section)?.lines;
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
    /// What became of each: `ml_test1 survived`.
    pub(crate) fates: Vec<String>,
}

impl Walk {
    /// Whether this process said that it saved its work on SIGTERM.
    pub(crate) fn saved(&self, name: &str) -> bool {
        self.says(name, "SIGTERM: checkpoint after")
    }

    /// Whether this process said that it ignored SIGTERM.
    pub(crate) fn ignored(&self, name: &str) -> bool {
        self.says(name, "] SIGTERM ignored")
    }

    fn says(&self, name: &str, what: &str) -> bool {
        let [.., testproc] = &self.transcripts;
        let who = format!("{name} [");
        let says = |line: &Line| line.text.starts_with(&who) && line.text.contains(what);
        testproc.lines.iter().any(says)
    }

    /// The daemon's first kill, from what led to it to the signals.
    ///
    /// # Errors
    ///
    /// It sent no signal.
    pub(crate) fn first_kill(&self) -> Result<String> {
        let [daemon, ..] = &self.transcripts;
        let is_signal =
            |line: &Line| line.text.contains("SIGTERM") || line.text.contains("SIGKILL");
        let round = daemon
            .lines
            .split(|line| line.kind != Kind::Event)
            .find(|round| round.iter().any(is_signal))
            .context("the daemon has sent no signal")?;
        Ok(round
            .iter()
            .map(|line| format!("{}\n", line.text))
            .collect())
    }

    /// Finds the terminals in the walk's `log`.
    ///
    /// # Errors
    ///
    /// A terminal is not there, or cut off, or empty; or the run was aborted
    /// before testproc.sh could say which processes survived.
    pub(crate) fn parse(log: &str) -> Result<Self> {
        let daemon = Transcript::parse(log, &DAEMON)?;
        let monitor = Transcript::parse(log, &MONITOR)?;
        let testproc = Transcript::parse(log, &TESTPROC)?;
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

fn kind(text: &str) -> Kind {
    let is_aside = |text: &str| {
        text.starts_with('[')
            || text.contains("; no kill: ")
            || text.contains("] working set of ")
            || text.starts_with("testproc: loading ")
    };
    if speaker(text).is_some() {
        Kind::Status
    } else if is_aside(text) {
        Kind::Aside
    } else if is_setting(text) {
        Kind::Setting
    } else {
        Kind::Event
    }
}

/// `  grace     30 s from SIGTERM to SIGKILL; …`
fn is_setting(text: &str) -> bool {
    text.strip_prefix("  ").is_some_and(|rest| {
        rest.starts_with(|first: char| first.is_ascii_alphabetic()) && rest.contains("  ")
    })
}

/// The process that reports its progress with this line.
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

    /// A log without its timeline.
    pub(crate) const WALK: &str = "\
        --- daemon\n\
        [INFO ] memory_info.ko is loaded: the kernel asks before it kills\n\
        user-oom 0.1.0 kills what costs the least value before memory runs out\n\
        \x20 now         memory 897 of 1032 MiB available (86.87 %), no swap\n\
        memory 896 of 1032 MiB available (86.81 %), no swap\n\
        2026-11-26T01:40:12Z low memory (warn): memory 101 of 1032 MiB available (9.87 %), no swap; need 354 MiB\n\
        \x20 chose 1 of 2 candidates: optimal (read in 1.076 ms, chosen in 1.520 ms)\n\
        2026-11-26T01:40:12Z kill pid=579 signal=SIGKILL name=test_proc2 reason=\"low memory (warn)\" VmRSS=54MiB\n\
        \x20   PID  NAME             procs  oom_score    value      VmRSS      growth\n\
        \x20   579  test_proc2           1        702        5     54 MiB   +23 MiB/s  kill, cost 2.5 = value 5, counts as 2.5 while it grows\n\
        \x20   107  ml_test1             1        949        9    436 MiB              keep\n\
        \x20 grows: took a tenth or more of what memory fell by in 10 s; counts half\n\
        --- end of daemon\n\
        --- monitor\n\
        psi-monitor watches /proc/pressure/memory\n\
        02:49:54Z  full avg10   0.00 %  avg60   0.00 %\n\
        --- end of monitor\n\
        --- testproc\n\
        ml_test1 [107] epoch 1/1000, step 2/4000, loss 2.309, 1.9 steps/s\n\
        test_proc2 [579] SIGTERM ignored\n\
        testproc:      PID  NAME          VALUE  IN THE END\n\
        testproc:      107  ml_test1          9  survived\n\
        testproc:      579  test_proc2        5  was killed by SIGKILL\n\
        --- end of testproc\n";

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
    fn the_first_kill_is_told_from_its_reason_to_its_signals() {
        let walk = Walk::parse(WALK).unwrap();
        let kill = walk.first_kill().unwrap();
        assert!(kill.contains("low memory (warn): memory 101 of"), "{kill}");
        assert!(kill.contains(" VmRSS=54MiB\n"), "{kill}");
        assert!(kill.ends_with("counts half\n"), "{kill}");
        let quiet = WALK.replace("signal=SIGKILL", "signal=none");
        let err = Walk::parse(&quiet).unwrap().first_kill().unwrap_err();
        assert!(err.to_string().contains("no signal"), "{err}");
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
                "kill pid=7 signal=SIGTERM",
                "memory 5 of 9 MiB available (55 %), no swap",
            ],
            99,
            &[
                "memory 9 of 9 MiB available (99 %), no swap",
                GAP,
                "kill pid=7 signal=SIGTERM",
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
            "  now         1 MiB",
            "  memory      2 MiB",
            "[INFO ] process 7 is registered",
            "[INFO ] process 8 is registered",
            "[INFO ] process 9 is registered",
            "low memory (warn): need 3 MiB",
            "  chose 1 of 1 candidate: optimal",
            "kill pid=7 signal=SIGTERM",
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
    fn of_the_kept_run_what_is_said_again_and_again_is_left_out() {
        let walk = Walk::parse(include_str!("../../docs/walkthrough.log")).unwrap();
        for (transcript, terminal) in walk.transcripts.iter().zip([DAEMON, MONITOR, TESTPROC]) {
            let shown = transcript.lines.len();
            assert!(
                shown < terminal.most * 2,
                "{shown} lines of {} are shown: does `speaker` know how it says how things are?",
                terminal.command
            );
        }
    }

    #[test]
    fn the_commands_are_those_of_the_scenario() {
        let scenario = include_str!("../../e2e/src/scenarios/walkthrough.rs");
        let grace = format!(" --grace {GRACE_SECONDS} ");
        assert!(DAEMON.command.contains(&grace), "{grace}");
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
