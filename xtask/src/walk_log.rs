//! The log of a walk: what `docs/walkthrough.log` holds.
//!
//! Four sections, each between `--- NAME` and `--- end of NAME`: the timeline
//! (see [`timeline`](crate::timeline)), and what the daemon, the monitor and
//! testproc.sh printed. They are taken from the console of the virtual machine
//! that the walk ran in.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};

/// Where it is kept.
pub(crate) const PATH: &str = "docs/walkthrough.log";

/// In the order in which they are kept.
const SECTIONS: [&str; 4] = ["timeline", "daemon", "monitor", "testproc"];

const HEADER: &str = "\
# A run of `cargo xtask e2e -- one_job_fits_and_lives`, as `cargo xtask picture --run` kept it.
# `cargo xtask picture` draws docs/picture.svg from it, and fills in the transcripts.
";

/// A section's lines.
#[derive(Debug)]
pub(crate) struct Section {
    /// The number of the first, counted from 1.
    pub(crate) first: usize,
    pub(crate) lines: Vec<String>,
}

/// Finds the section `name` in a log.
///
/// # Errors
///
/// It is not there, or empty, or has no end.
pub(crate) fn section(log: &str, name: &str) -> Result<Section> {
    let lines: Vec<&str> = log.lines().collect();
    section_of(&lines, name)
}

fn section_of(log: &[impl AsRef<str>], name: &str) -> Result<Section> {
    let begin = format!("--- {name}");
    let end = format!("--- end of {name}");
    let from = log
        .iter()
        .position(|line| line.as_ref() == begin)
        .with_context(|| format!("there is no section `{begin}`"))?;
    let mut lines = Vec::new();
    for line in log.iter().skip(from + 1) {
        // What was cut short before may have no line end of its own.
        if let Some(last) = line.as_ref().strip_suffix(&end) {
            if !last.is_empty() {
                lines.push(last.to_owned());
            }
            ensure!(!lines.is_empty(), "the section `{begin}` is empty");
            let first = from + 2;
            return Ok(Section { first, lines });
        }
        lines.push(line.as_ref().to_owned());
    }
    bail!("the section `{begin}` is cut off: there is no `{end}`")
}

/// The log to keep of the run with this console.
///
/// # Errors
///
/// A section is not there, or cut off, or empty.
pub(crate) fn of_console(console: &str) -> Result<String> {
    let console = without_kernel(console);
    let mut log = HEADER.to_owned();
    for name in SECTIONS {
        let section = section_of(&console, name)?;
        writeln!(log, "--- {name}")?;
        for line in section.lines {
            writeln!(log, "{line}")?;
        }
        writeln!(log, "--- end of {name}")?;
    }
    Ok(log)
}

/// The lines of a serial console that programs have written.
///
/// The kernel writes there whenever it has something to say, even in the middle
/// of a line, and the terminal's driver ends lines with `\r\n`.
fn without_kernel(console: &str) -> Vec<String> {
    // Control characters too, which XML could not hold.
    let text = anstream::adapter::strip_str(console).to_string();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As a console has it.
    const CONSOLE: &str = "\
        \x1bc\x1b[?7l\x1b[2J[    1.669657] EXT4-fs (vda): mounted filesystem\r\n\
        --- daemon\r\n\
        kill pid=579 signal=SIGKILL name=test_[   68.743833] memory_info: warn: available memory 9.81 %\r\n\
        proc2\r\n\
        --- end of daemon\r\n\
        --- monitor\r\n\
        cut off--- end of monitor\r\n\
        --- testproc\r\n\
        c\r\n\
        --- end of testproc\r\n\
        --- timeline\r\n\
        total 1\r\n\
        --- end of timeline\r\n";

    #[test]
    fn what_is_kept_are_the_sections_without_the_kernels_words() {
        let log = of_console(CONSOLE).unwrap();
        assert_eq!(
            log.strip_prefix(HEADER).unwrap(),
            "--- timeline\n\
             total 1\n\
             --- end of timeline\n\
             --- daemon\n\
             kill pid=579 signal=SIGKILL name=test_proc2\n\
             --- end of daemon\n\
             --- monitor\n\
             cut off\n\
             --- end of monitor\n\
             --- testproc\n\
             c\n\
             --- end of testproc\n"
        );
        let daemon = section(&log, "daemon").unwrap();
        assert_eq!(
            daemon.lines,
            ["kill pid=579 signal=SIGKILL name=test_proc2"]
        );
        assert_eq!(log.lines().nth(daemon.first - 1), Some(&*daemon.lines[0]));
    }

    #[track_caller]
    fn check_refused(console: &str, want: &str) {
        let err = of_console(console).unwrap_err().to_string();
        assert!(err.contains(want), "{err}");
    }

    #[test]
    fn a_section_that_is_not_whole_is_named() {
        let without_end = CONSOLE.replace("--- end of monitor", "");
        check_refused(&without_end, "`--- monitor` is cut off");
        let empty = CONSOLE.replace("cut off", "");
        check_refused(&empty, "`--- monitor` is empty");
        check_refused("", "there is no section `--- timeline`");
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
}
