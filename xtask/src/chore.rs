//! One step of a task: its name, its time, and how to repeat it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

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
    fn a_program_that_is_not_there_does_not_succeed() {
        let chore = Chore::new("no-such-program-anywhere", ["--version"]);
        assert!(!chore.succeeds(Path::new(".")));
        assert!(chore.run("nothing", Path::new(".")).is_err());
    }
}
