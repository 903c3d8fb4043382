//! The commands that a rule has run: to end what it matches, instead of a signal, and
//! when memory will be full soon.
//!
//! It comes from the configuration alone, which root writes, never from an entry.
//! The thread that runs it is one of [`crate::tell::hook`]; the loop hands a call to
//! it, and hears of it again only where the command failed.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fmt};

use config::CommandText;
use nix::unistd::geteuid;
use oom_policy::ProcessId;

use crate::arguments::seconds;
use crate::rulebook::Rulebook;
use crate::tell::hook::{self, HookCalls, Hooks};
use crate::tell::hook_file;
use crate::tell::lane::Lane;
use crate::tell::record::Victim;

/// The longest that a command may take.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Until the thread has seen them, so many calls wait at most.
const ROOM: usize = 64;

/// A program with its arguments, and how long it may run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RuleCommand {
    /// The program first, by an absolute path.
    pub(crate) words: Vec<String>,
    pub(crate) limit: Duration,
}

impl RuleCommand {
    /// # Errors
    ///
    /// What is wrong with it, and where.
    pub(crate) fn of(text: &CommandText) -> Result<Self, (&config::Position, String)> {
        let wrong = |said| (&text.limit.mark, format!("`time-limit`: {said}"));
        let limit = seconds(&text.limit.text).map_err(wrong)?;
        if LONGEST < limit {
            let said =
                "memory does not stay short for that long: give a day at most, such as `30 s`";
            return Err(wrong(said.to_owned()));
        }
        if limit.is_zero() {
            let said =
                "0 leaves no time for a command: give the time that it takes, such as `30 s`";
            return Err(wrong(said.to_owned()));
        }
        let wrong = |said| (&text.mark, format!("`run`: {said}"));
        let mut words = text.run.clone();
        let path = env::var_os("PATH").unwrap_or_default();
        words[0] = hook::find(&words[0], &path).map_err(wrong)?;
        hook_file::check(words[0].as_ref(), geteuid().as_raw())
            .map_err(|said| wrong(format!("`{}`: {said}", words[0])))?;
        Ok(Self { words, limit })
    }
}

/// As a person would type it, cut where it is long.
impl fmt::Display for RuleCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 200;
        let line = self.words.join(" ");
        let plain = line.chars().take(SHOWN);
        plain
            .map(|char| if char.is_control() { '?' } else { char })
            .try_for_each(|char| fmt::Write::write_char(f, char))
    }
}

/// Starts the thread for them once the first rule has one.
#[derive(Debug)]
pub(crate) struct CommandStarter {
    executable: PathBuf,
    /// Where the thread says what became of them; `None` once it was tried.
    lane: Option<Lane>,
}

impl CommandStarter {
    pub(crate) fn new(executable: PathBuf, lane: Lane) -> Self {
        Self {
            executable,
            lane: Some(lane),
        }
    }

    /// Where `rulebook` is the first that has commands.
    pub(crate) fn start_for(&mut self, rulebook: &Rulebook) -> Option<RuleCommands> {
        let lane = self.lane.take_if(|_| rulebook.has_commands())?;
        let hooks = Hooks {
            executable: self.executable.clone(),
            before: None,
            after: None,
            notify: false,
        };
        let calls = HookCalls::spawn(hooks, lane, ROOM)
            .inspect_err(|err| {
                log::warn!("rules send their signal instead of running their command: cannot start a thread: {err}");
            })
            .ok()?;
        Some(RuleCommands { calls: Some(calls) })
    }
}

/// The loop's side: which commands are to run, and which have failed.
#[derive(Debug, Default)]
pub(crate) struct RuleCommands {
    /// `None` where no rule has any.
    calls: Option<HookCalls>,
}

impl RuleCommands {
    /// Has `command` run, to end the unit that `leader` leads; whether it can be.
    /// Takes no lock and no memory.
    pub(crate) fn run(&mut self, leader: &Victim, command: Arc<RuleCommand>) -> bool {
        let calls = self.calls.as_mut();
        calls.is_some_and(|calls| calls.command(leader, command))
    }

    /// Has `command` run because memory will be full in `full_in`; `largest`: of what
    /// its rule matches. Whether it can be.
    pub(crate) fn forecast(
        &mut self,
        largest: &Victim,
        command: Arc<RuleCommand>,
        full_in: Duration,
    ) -> bool {
        let calls = self.calls.as_mut();
        calls.is_some_and(|calls| calls.forecast(largest, command, full_in))
    }

    /// The leader of a unit whose command has failed, each once.
    pub(crate) fn failed(&mut self) -> Option<ProcessId> {
        self.calls.as_mut()?.failed()
    }

    /// Readable when one has failed.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.calls.as_ref().map(AsFd::as_fd)
    }
}

impl Drop for RuleCommands {
    fn drop(&mut self) {
        if let Some(calls) = self.calls.take() {
            calls.end(Instant::now() + hook::FAREWELL);
        }
    }
}
