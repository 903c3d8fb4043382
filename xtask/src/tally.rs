//! How many tests passed, added up over everything that ran.

use std::fmt;

/// Counts from the closing lines of test runners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    /// Adds what `line` says, where it closes a run: of cargo test, of Python's
    /// unittest, or of `e2e`.
    pub(crate) fn read(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(counts) = line.strip_prefix("test result: ") {
            // Behind the verdict and its full stop.
            let counts = counts.split_once(". ").map_or("", |(_, counts)| counts);
            self.add(counts, "; ", "ignored");
        } else if let Some(run) = line.strip_prefix("Ran ") {
            // `Ran 28 tests in 0.004s`: what failed of them makes the step fail.
            let count = run.split(' ').next().and_then(|word| word.parse().ok());
            self.passed += count.unwrap_or(0);
        } else if line.ends_with(" failed") || line.ends_with(" skipped") {
            self.add(line, ", ", "skipped");
        }
    }

    fn add(&mut self, counts: &str, separator: &str, left_out: &str) {
        for count in counts.split(separator) {
            let Some((number, word)) = count.split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                word if word == left_out => self.skipped += number,
                _ => {}
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed")?;
        match skipped {
            0 => Ok(()),
            _ => write!(f, ", {skipped} skipped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_runners_say_is_added_up() {
        let mut tally = Tally::default();
        for line in [
            "running 12 tests",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 1.11s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
            "Ran 28 tests in 0.004s",
            "OK",
            "38 passed, 1 failed",
            "  passed  one_job_fits_and_lives",
        ] {
            tally.read(line);
        }
        assert_eq!(tally.to_string(), "81 passed, 3 failed, 1 skipped");
    }

    #[test]
    fn what_only_looks_like_a_count_counts_for_nothing() {
        let mut tally = Tally::default();
        for line in [
            "",
            "Ran",
            "Ran away",
            "cargo failed",
            "test result: ",
            "formatting failed",
        ] {
            tally.read(line);
        }
        assert_eq!(tally.to_string(), "0 passed, 0 failed");
    }
}
