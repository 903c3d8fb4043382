//! The walk-through on one's own machine, time after time: in a cgroup, and where
//! none can be made, on the machine itself.
//!
//! What is typed in each terminal is taken from `README.md` or, as a reader does,
//! from what `testproc.sh` prints, so that what is tried is what a reader types.
//! What comes of it is for `testproc.sh` to say.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::chore::{Chore, say};

const HEADING: &str = "## Install and run";

/// A walk that is not over by then does not end by itself.
const LIMIT: Duration = Duration::from_secs(600);

/// How `testproc.sh` exits where it cannot make a cgroup.
const NO_CGROUP: i32 = 3;

/// What the command that it prints has in it.
const GUARD: &str = "user-oom --registered-only --cgroup ";

/// For a program to end after Ctrl-C.
const FAREWELL: Duration = Duration::from_secs(10);

/// Walks so many times, and prints what came of each and of all.
///
/// # Errors
///
/// A walk did not end as expected; its logs are kept, and named.
pub(crate) fn run(root: &Path, times: u32) -> Result<()> {
    let readme = root.join("README.md");
    let text = fs::read_to_string(&readme)
        .with_context(|| format!("cannot read `{}`", readme.display()))?;
    let commands = Commands::of(&text)?;
    Chore::new("bash", ["-c", commands.build]).run("build", root)?;

    let logs = root.join("target/walkthrough");
    let mut as_promised = 0;
    let mut has_cgroups = true;
    for number in 1..=times {
        let folder = logs.join(number.to_string());
        let began = Instant::now();
        let mut end = None;
        if has_cgroups {
            end = walk_in_a_cgroup(root, &commands, &folder)?;
            has_cgroups = end.is_some();
        }
        let end = match end {
            Some(end) => end,
            None => walk(root, &commands, &folder)?,
        };
        let seconds = began.elapsed().as_secs_f64();
        let said = &end.said;
        say(format_args!(
            "walk {number} of {times}: {said} ({seconds:.0} s)"
        ))?;
        if end.as_promised {
            as_promised += 1;
            let _ = fs::remove_dir_all(&folder);
        } else {
            say(format_args!(
                "    not as promised; logs: {}",
                folder.display()
            ))?;
        }
    }
    say(format_args!("{as_promised} of {times} as promised"))?;
    ensure!(
        as_promised == times,
        "{} of {times} walks did not come to their promised end",
        times - as_promised
    );
    Ok(())
}

/// What `README.md` has one type.
#[derive(Debug, PartialEq, Eq)]
struct Commands<'a> {
    build: &'a str,
    in_a_cgroup: &'a str,
    daemon: &'a str,
    monitor: &'a str,
    testproc: &'a str,
}

impl<'a> Commands<'a> {
    fn of(readme: &'a str) -> Result<Self> {
        let (_, section) = readme
            .split_once(HEADING)
            .with_context(|| format!("README.md has no `{HEADING}`"))?;
        let section = section
            .split_once("\n## ")
            .map_or(section, |(section, _)| section);
        let blocks: Vec<&str> = section
            .split("```sh\n")
            .skip(1)
            .filter_map(|rest| rest.split_once("```"))
            .map(|(block, _)| block)
            .collect();
        let [build, in_a_cgroup, daemon, monitor, testproc, ..] = blocks[..] else {
            bail!(
                "README.md has {} commands under `{HEADING}`; what builds, what makes a cgroup, and \
                 one for each of three terminals, are expected",
                blocks.len()
            );
        };
        Ok(Self {
            build,
            in_a_cgroup,
            daemon,
            monitor,
            testproc,
        })
    }
}

/// What came of a walk.
struct End {
    as_promised: bool,
    said: String,
}

/// `None`, once that is said, where no cgroup can be made.
fn walk_in_a_cgroup(root: &Path, commands: &Commands<'_>, folder: &Path) -> Result<Option<End>> {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let log = folder.join("testproc.log");
    let mut testproc = Terminal::open(root, commands.in_a_cgroup, log.clone())?;
    let began = Instant::now();
    let mut status = None;
    let guard = loop {
        let said = read(&log)?;
        let line = said.lines().find(|line| line.contains(GUARD));
        if let Some(line) = line.filter(|_| said.ends_with('\n')) {
            break Some(line.to_owned());
        }
        status = testproc.ended_within(Duration::from_millis(100));
        if status.is_some() || began.elapsed() > LIMIT {
            break None;
        }
    };
    let daemon = guard
        .map(|guard| Terminal::open(root, &guard, folder.join("daemon.log")))
        .transpose()?;
    if daemon.is_some() {
        status = testproc.ended_within(LIMIT);
    }
    drop((testproc, daemon));
    let said = read(&log)?;
    if status.is_some_and(|status| status.code() == Some(NO_CGROUP)) {
        for line in said.lines() {
            say(format_args!("{line}"))?;
        }
        return Ok(None);
    }
    Ok(Some(end(status, &said)))
}

fn read(log: &Path) -> Result<String> {
    fs::read_to_string(log).with_context(|| format!("cannot read `{}`", log.display()))
}

fn walk(root: &Path, commands: &Commands<'_>, folder: &Path) -> Result<End> {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let open = |name: &str, command| Terminal::open(root, command, folder.join(name));
    let daemon = open("daemon.log", commands.daemon)?;
    let monitor = open("monitor.log", commands.monitor)?;
    let mut testproc = open("testproc.log", commands.testproc)?;
    let status = testproc.ended_within(LIMIT);
    drop((testproc, monitor, daemon));

    Ok(end(status, &read(&folder.join("testproc.log"))?))
}

/// What `testproc.sh` came to by what it said and how it exited; `None`: not.
fn end(status: Option<ExitStatus>, log: &str) -> End {
    let compiled = log
        .lines()
        .any(|line| line.trim().starts_with("Compiling "));
    let mut said = outcome(log);
    if status.is_none() {
        let _ = write!(said, "; did not end within {} s", LIMIT.as_secs());
    }
    if compiled {
        said.push_str("; testproc.sh compiled what was built already");
    }
    End {
        as_promised: !compiled && status.is_some_and(|status| status.success()),
        said,
    }
}

/// One terminal, and the command at work in it. Its end is that of the command,
/// as by Ctrl-C.
struct Terminal {
    pid: u32,
    ended: Receiver<ExitStatus>,
    is_over: bool,
}

impl Terminal {
    fn open(root: &Path, command: &str, log: PathBuf) -> Result<Self> {
        let failed = || format!("cannot write `{}`", log.display());
        let out = File::create(&log).with_context(failed)?;
        let err = out.try_clone().with_context(failed)?;
        // A shell's background job ignores SIGINT, and so would all that it starts.
        let mut child = Command::new("env")
            .args(["--default-signal=INT", "bash", "-c", command])
            .current_dir(root)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .context("cannot run `bash`")?;
        let pid = child.id();
        let (sender, ended) = channel();
        thread::spawn(move || {
            if let Ok(status) = child.wait() {
                let _ = sender.send(status);
            }
        });
        Ok(Self {
            pid,
            ended,
            is_over: false,
        })
    }

    /// How it ended; `None` if it has not within `limit`.
    fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        if self.is_over {
            return None;
        }
        let status = self.ended.recv_timeout(limit);
        self.is_over = status != Err(RecvTimeoutError::Timeout);
        status.ok()
    }

    /// To what runs there: the command that bash waits for, or bash itself, which
    /// may have become the last command.
    fn signal(&self, signal: &str) {
        let children = format!("/proc/{0}/task/{0}/children", self.pid);
        let mut pids = fs::read_to_string(children).unwrap_or_default();
        let comm = fs::read_to_string(format!("/proc/{}/comm", self.pid));
        // The daemon has a child of its own, its keeper.
        let is_bash = comm.is_ok_and(|comm| comm == "bash\n");
        if pids.trim().is_empty() || !is_bash {
            pids = self.pid.to_string();
        }
        let _ = Command::new("bash")
            .args(["-c", "kill -\"$0\" \"$@\"", signal])
            .args(pids.split_whitespace())
            .output();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        for signal in ["INT", "KILL"] {
            if self.is_over || self.ended_within(Duration::ZERO).is_some() {
                return;
            }
            self.signal(signal);
            let _ = self.ended_within(FAREWELL);
        }
    }
}

/// What became of those in the last table of `testproc.sh`, the cheapest first;
/// its last words where there is no table.
fn outcome(log: &str) -> String {
    let Some((_, table)) = log.split_once("IN THE END\n") else {
        let last = log.lines().rfind(|line| !line.trim().is_empty());
        return last.unwrap_or("testproc.sh said nothing").to_owned();
    };
    let mut fates: Vec<(u32, String)> = table.lines().filter_map(|row| fate(row, log)).collect();
    fates.sort();
    let fates: Vec<String> = fates.into_iter().map(|(_, fate)| fate).collect();
    fates.join(", ")
}

/// `testproc:  740  test_proc2  5  was killed by SIGKILL`, with its value.
fn fate(row: &str, log: &str) -> Option<(u32, String)> {
    let words: Vec<&str> = row.split_whitespace().collect();
    let ["testproc:", pid, name, value, fate @ ..] = words.as_slice() else {
        return None;
    };
    let rank = value.parse().ok()?;
    let fate = fate.join(" ");
    let fate = fate.strip_prefix("was ").unwrap_or(&fate);
    let ignored = if log.contains(&format!("{name} [{pid}] SIGTERM ignored")) {
        " after SIGTERM was ignored"
    } else {
        ""
    };
    Some((rank, format!("{name} ({value}) {fate}{ignored}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = include_str!("../../README.md");
    const TESTPROC: &str = include_str!("../../testproc.sh");

    #[test]
    fn the_readme_has_a_command_for_each_terminal() {
        let commands = Commands::of(README).unwrap();
        assert!(commands.in_a_cgroup.contains("bash testproc.sh --memory"));
        assert!(README.contains(GUARD) && TESTPROC.contains("--cgroup \"$cgroup_path\""));
        assert!(TESTPROC.contains(&format!("exit {NO_CGROUP}\n")));
        assert!(commands.daemon.contains("target/release/user-oom "));
        assert!(commands.daemon.contains("--registered-only"));
        assert!(commands.monitor.contains("target/release/psi-monitor"));
        assert!(commands.testproc.contains("bash testproc.sh --walk"));
    }

    #[test]
    fn the_script_builds_what_the_readme_builds_so_that_nothing_is_compiled_twice() {
        let commands = Commands::of(README).unwrap();
        let build = format!("build=({})\n", commands.build.trim());
        assert!(TESTPROC.contains(&build), "{build}");
    }

    #[test]
    fn a_readme_that_lost_a_command_is_named() {
        let err = Commands::of("# user-oom\n").unwrap_err().to_string();
        assert!(err.contains(HEADING), "{err}");
        let cut = format!("{HEADING}\n```sh\ncargo build\n```\n\n## Next\n```sh\nls\n```\n");
        let err = Commands::of(&cut).unwrap_err().to_string();
        assert!(err.contains("has 1 commands"), "{err}");
    }

    #[test]
    fn the_tally_says_who_was_killed_and_how() {
        let log = "test_proc2 [9] SIGTERM ignored\n\
            testproc:      PID  NAME          VALUE  IN THE END\n\
            testproc:        8  test_proc1        8  survived\n\
            testproc:        9  test_proc2        5  was killed by SIGKILL\n\
            testproc: as promised: test_proc2 alone was killed\n";
        assert_eq!(
            outcome(log),
            "test_proc2 (5) killed by SIGKILL after SIGTERM was ignored, test_proc1 (8) survived"
        );
        assert_eq!(outcome("a\ntestproc: no\n\n"), "testproc: no");
        assert_eq!(outcome(""), "testproc.sh said nothing");
    }

    /// The command is the last: bash becomes it.
    #[test]
    fn what_has_a_child_of_its_own_is_told_to_end_and_not_its_child() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let program = "trap 'echo told; exit' INT; tail -f --pid=$$ /dev/null & echo begun; wait";
        let command = format!("exec sh -c \"{program}\"");
        let mut terminal = Terminal::open(folder.path(), &command, log.clone()).unwrap();
        while fs::read_to_string(&log).unwrap() != "begun\n" {
            assert_eq!(terminal.ended_within(Duration::from_millis(10)), None);
        }
        drop(terminal);
        assert_eq!(fs::read_to_string(log).unwrap(), "begun\ntold\n");
    }

    #[test]
    fn a_terminal_is_closed_with_what_runs_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        // Not the last command, so that bash stays beside it.
        let command = "echo begun; tail -f /dev/null; true";
        let mut terminal = Terminal::open(folder.path(), command, log.clone()).unwrap();
        let children = format!("/proc/{0}/task/{0}/children", terminal.pid);
        while fs::read_to_string(&children).unwrap().trim().is_empty() {
            assert_eq!(terminal.ended_within(Duration::from_millis(10)), None);
        }
        assert_eq!(fs::read_to_string(log).unwrap(), "begun\n");
        let child = fs::read_to_string(&children).unwrap();
        drop(terminal);
        assert!(!Path::new("/proc").join(child.trim()).exists());
    }
}
