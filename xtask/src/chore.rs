//! One step of a task: its name, its time, and how to repeat it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::tally::Tally;

/// Does `work`, saying before what it is and after how long it took.
///
/// # Errors
///
/// What went wrong, and `repeat`: the command that does this step alone.
pub(crate) fn step(name: &str, repeat: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    say(format_args!("── {name}"))?;
    let start = Instant::now();
    let done = work();
    let seconds = start.elapsed().as_secs_f64();
    done.with_context(|| {
        format!("{name} failed after {seconds:.1} s; repeat this step with: {repeat}")
    })?;
    say(format_args!("── {name}: good, {seconds:.1} s"))
}

/// Prints one line.
///
/// # Errors
///
/// Standard output is closed.
pub(crate) fn say(line: fmt::Arguments<'_>) -> Result<()> {
    writeln!(io::stdout(), "{line}").context("cannot print")
}

/// A command as one would type it in the workspace's folder.
pub(crate) struct Chore {
    env: Vec<(&'static str, &'static str)>,
    program: &'static str,
    args: Vec<OsString>,
}

impl Chore {
    pub(crate) fn new<A: Into<OsString>>(
        program: &'static str,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            env: Vec::new(),
            program,
            args: args.into_iter().map(Into::into).collect(),
        }
    }

    pub(crate) fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }

    /// Runs it as the step `name`.
    ///
    /// # Errors
    ///
    /// It could not be started, or did not end well.
    pub(crate) fn run(&self, name: &str, root: &Path) -> Result<()> {
        step(name, &self.to_string(), || {
            let status = self
                .command(root)
                .status()
                .with_context(|| format!("cannot run `{}`", self.program))?;
            if !status.success() {
                bail!("`{}` ended with {status}", self.program);
            }
            Ok(())
        })
    }

    /// Runs it as the step `name`, shows what it prints, and counts the tests
    /// that it says passed.
    ///
    /// # Errors
    ///
    /// As [`Chore::run`].
    pub(crate) fn run_counted(&self, name: &str, root: &Path, tally: &mut Tally) -> Result<()> {
        self.run_heard(name, root, &mut |line| {
            tally.read(&without_colours(line));
            say(format_args!("{line}"))
        })
    }

    /// Runs it as the step `name`; `hear` is told each line that it prints.
    fn run_heard(
        &self,
        name: &str,
        root: &Path,
        hear: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        step(name, &self.to_string(), || {
            let (reader, writer) = io::pipe().context("cannot make a pipe")?;
            let mut command = self.command(root);
            command
                .stdout(writer.try_clone().context("cannot make a pipe")?)
                .stderr(writer);
            if io::stdout().is_terminal() {
                command.env("CARGO_TERM_COLOR", "always");
            }
            let mut child = command
                .spawn()
                .with_context(|| format!("cannot run `{}`", self.program))?;
            // It holds the pipe's other end, which would never close.
            drop(command);
            for line in BufReader::new(reader).split(b'\n') {
                let line = line.context("cannot read what it prints")?;
                hear(&String::from_utf8_lossy(&line))?;
            }
            let status = child.wait().context("cannot wait for it")?;
            if !status.success() {
                bail!("`{}` ended with {status}", self.program);
            }
            Ok(())
        })
    }

    /// Runs it and returns what it printed.
    ///
    /// # Errors
    ///
    /// It could not be started, did not end well, or printed no UTF-8.
    pub(crate) fn output(&self, root: &Path) -> Result<String> {
        let output = self
            .command(root)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot run `{self}`"))?;
        if !output.status.success() {
            bail!("`{self}` ended with {}", output.status);
        }
        String::from_utf8(output.stdout).with_context(|| format!("`{self}` printed no UTF-8"))
    }

    /// Whether it can be run, and ends well. Prints nothing.
    pub(crate) fn succeeds(&self, root: &Path) -> bool {
        self.command(root)
            .output()
            .is_ok_and(|output| output.status.success())
    }

    fn command(&self, root: &Path) -> Command {
        let mut command = Command::new(self.program);
        command
            .args(&self.args)
            .envs(self.env.iter().copied())
            .current_dir(root)
            // Nothing asks: what would wait for an answer hangs in CI.
            .stdin(Stdio::null());
        command
    }
}

/// As one would type it, quoted for a shell.
impl fmt::Display for Chore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            write!(f, "{name}={} ", quoted(OsStr::new(value)))?;
        }
        f.write_str(self.program)?;
        for arg in &self.args {
            write!(f, " {}", quoted(arg))?;
        }
        Ok(())
    }
}

/// `line` without the escape sequences that colour a terminal.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chore_reads_as_one_would_type_it() {
        let chore = Chore::new("cargo", ["doc", "--format", "{p}", "it's"])
            .env("RUSTDOCFLAGS", "--deny warnings");
        assert_eq!(
            chore.to_string(),
            r"RUSTDOCFLAGS='--deny warnings' cargo doc --format '{p}' 'it'\''s'"
        );
    }

    #[test]
    fn a_failure_says_how_to_repeat_the_step() {
        let err = Chore::new("false", ["really"])
            .run("nothing", Path::new("."))
            .unwrap_err();
        let text = format!("{err:#}");
        assert!(text.starts_with("nothing failed after "), "{text}");
        assert!(
            text.contains("repeat this step with: false really: `false` ended with exit status: 1"),
            "{text}"
        );
    }

    #[test]
    fn what_a_counted_step_prints_is_added_up_and_a_failure_is_still_one() {
        let mut tally = Tally::default();
        let closing = "echo '3 passed, 0 failed'; echo 'Ran 2 tests in 1s' >&2";
        let run = |script: &str, tally: &mut Tally| {
            // Shown, these lines would count as tests of xtask's own.
            let chore = Chore::new("sh", ["-c", script]);
            chore.run_heard("counted", Path::new("."), &mut |line| {
                tally.read(line);
                Ok(())
            })
        };
        run(closing, &mut tally).unwrap();
        assert_eq!(tally.to_string(), "5 passed, 0 failed");
        assert!(run("echo '1 passed, 1 failed'; false", &mut tally).is_err());
        assert_eq!(tally.to_string(), "6 passed, 1 failed");
    }

    #[test]
    fn colours_are_not_read() {
        let said = "\u{1b}[1mtest result: \u{1b}[32mok\u{1b}[0m. 1 passed";
        assert_eq!(without_colours(said), "test result: ok. 1 passed");
    }

    #[test]
    fn a_program_that_is_not_there_does_not_succeed() {
        let chore = Chore::new("no-such-program-anywhere", ["--version"]);
        assert!(!chore.succeeds(Path::new(".")));
        assert!(chore.run("nothing", Path::new(".")).is_err());
    }
}
