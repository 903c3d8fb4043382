//! The configuration, read again while the daemon runs.
//!
//! A thread of its own reads the files, which may keep their reader waiting, and
//! finds out what follows. The loop puts that in force between two rounds, and
//! answers what has asked for it. A configuration with a mistake, or one that
//! would have processes killed at once, changes nothing.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use oom_policy::{Level, Memory, Settings};
use psi::Percent;
use sensors::Cgroup;

use crate::arguments::usable_on;
use crate::classify::Patterns;
use crate::configuration::{self, Configuration, InForce, ScopeEntry, obstacle};
use crate::error::{Error, said};
use crate::memory::ListenTarget;
use crate::pressure::PressureGates;
use crate::rule_command::{CommandStarter, RuleCommands};
use crate::rulebook::Edition;
use crate::start::{cgroups_of, thresholds};

/// So many requests wait at most.
const QUEUE: usize = 8;
/// What reading a file needs, built for debugging.
const STACK_BYTES: usize = 1 << 20;

/// What came of it, as it is said: in force, or why nothing has changed.
pub(crate) type Outcome = Result<String, String>;

/// Called with the outcome on the loop's thread, so it must not wait.
type Answer = Box<dyn FnOnce(&Outcome) + Send>;

/// A request, and what is to hear the outcome.
pub(crate) struct ReloadRequest {
    /// As it is said: `SIGHUP of pid 812`.
    pub(crate) by: String,
    pub(crate) answer: Option<Answer>,
}

impl fmt::Debug for ReloadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReloadRequest").field(&self.by).finish()
    }
}

/// Asks for a reload, on any thread.
#[derive(Clone, Debug)]
pub(crate) struct Reloader {
    requests: SyncSender<ReloadRequest>,
}

impl Reloader {
    /// Has the configuration read again. Does not wait; `request` comes back where
    /// too many others wait, and what it asks for is about to be done anyway.
    pub(crate) fn ask(&self, request: ReloadRequest) -> Result<(), ReloadRequest> {
        self.requests.try_send(request).map_err(|err| match err {
            TrySendError::Full(request) | TrySendError::Disconnected(request) => request,
        })
    }
}

/// What is to be in force from now on.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) settings: Settings,
    /// Of the other scopes, in their order.
    pub(crate) others: Vec<Settings>,
    pub(crate) patterns: Patterns,
    pub(crate) edition: Edition,
    /// Where rules have commands for the first time.
    pub(crate) commands: Option<RuleCommands>,
    pub(crate) user_value_cap: u32,
    pub(crate) user_value_share: Option<u32>,
    /// Between two status lines.
    pub(crate) report: Option<Duration>,
    /// The levels at which the module wakes us.
    pub(crate) target: ListenTarget,
    /// What is another value than before,
    pub(crate) changes: Vec<String>,
    /// and what is to be warned of.
    pub(crate) warnings: Vec<String>,
}

/// A request, and what there is to put in force, or why there is nothing.
pub(crate) type Reread = (ReloadRequest, Result<Box<Change>, String>);

/// The loop's side.
#[derive(Debug)]
pub(crate) struct Reloads {
    pub(crate) reloader: Reloader,
    found: Receiver<Reread>,
    bell: Arc<EventFd>,
    /// It has rung since nothing was found.
    has_rung: bool,
}

impl Reloads {
    /// Starts the thread that reads what `reader` reads.
    ///
    /// # Errors
    ///
    /// What the kernel says of another thread or eventfd.
    pub(crate) fn spawn(mut reader: Rereader) -> io::Result<Self> {
        let (requests, asked) = mpsc::sync_channel::<ReloadRequest>(QUEUE);
        let (sender, found) = mpsc::sync_channel(1);
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = Arc::new(EventFd::from_flags(flags)?);
        thread::Builder::new()
            .name("reload".to_owned())
            .stack_size(STACK_BYTES)
            .spawn({
                let bell = Arc::clone(&bell);
                move || {
                    while let Ok(request) = asked.recv() {
                        let change = reader.read().map(Box::new).map_err(|err| said(&err));
                        // Waits until the loop has taken the last.
                        if sender.send((request, change)).is_err() {
                            return;
                        }
                        // Fails only where it has rung 2^64 − 2 times unheard.
                        let _ = bell.write(1);
                    }
                }
            })?;
        Ok(Self {
            reloader: Reloader { requests },
            found,
            bell,
            has_rung: false,
        })
    }

    /// To be told when [`Self::as_fd`] is readable.
    pub(crate) fn heard(&mut self) {
        let _ = self.bell.read();
        self.has_rung = true;
    }

    /// What was read, once; to be asked after each that was found, too.
    pub(crate) fn found(&mut self) -> Option<Reread> {
        let found = self.has_rung.then(|| self.found.try_recv().ok()).flatten();
        self.has_rung = found.is_some();
        found
    }
}

impl AsFd for Reloads {
    /// Readable when something was found.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// Reads how much memory there is; `None` of a cgroup that cannot be read now.
pub(crate) type ReadMemory = Box<dyn FnMut() -> Result<Option<Memory>, Error> + Send>;

/// What is in force of another scope.
pub(crate) struct ScopeInForce {
    pub(crate) path: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) gates: PressureGates,
    pub(crate) memory: ReadMemory,
}

/// What the thread reads, and what is in force.
pub(crate) struct Rereader {
    /// As the daemon was started: what an argument says is not a file's to change.
    pub(crate) command_line: Vec<std::ffi::OsString>,
    pub(crate) in_force: Vec<InForce>,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) settings: Settings,
    /// Reads the memory that is guarded.
    pub(crate) memory: ReadMemory,
    /// Which cgroup that is, where it is not the machine.
    pub(crate) first: Option<Cgroup>,
    /// Those that are guarded beside it.
    pub(crate) others: Vec<ScopeInForce>,
    pub(crate) target: fn(&Settings, &Memory) -> ListenTarget,
    pub(crate) is_dry_run: bool,
    pub(crate) is_on_terminal: bool,
    /// What other threads go by.
    pub(crate) edition: Arc<Mutex<Edition>>,
    pub(crate) latest: Arc<Mutex<Settings>>,
    pub(crate) commands: CommandStarter,
}

impl Rereader {
    fn read(&mut self) -> Result<Change, Error> {
        let configuration = Configuration::read(&self.command_line)?;
        if let Some(path) = missing(&self.files, &configuration.files) {
            return Err(Error::Gone(path.to_owned()));
        }
        let memory = (self.memory)()?;
        let settings = configuration.settings().map_err(Error::Unusable)?;
        let mut settings = self.settings.with_keys_of(settings);
        // There is no module where a cgroup is guarded.
        let target = (self.target)(&settings, &memory.unwrap_or_default());
        // The module may have been loaded since.
        if let Ok(grace) = target.grace() {
            settings.last_call_deadline = grace;
        }
        let arguments = &configuration.arguments;
        // Where it cannot be guarded anyway, or is short already, that is not the new
        // configuration's doing.
        if let Some(memory) = memory.filter(|memory| usable_on(&self.settings, memory).is_ok()) {
            let usable = configuration.usable_on(&settings, &memory);
            usable.map_err(Error::Unusable)?;
            let is_short = self.settings.level(&memory) != Level::Ok;
            let kills = configuration.kills_at_once(&settings, &memory);
            let is_meant = self.is_dry_run || arguments.force || is_short;
            if let Some(unusable) = kills.filter(|_| !is_meant) {
                return Err(Error::Unusable(unusable));
            }
        }
        let before: Vec<_> = self.others.iter().map(|it| it.settings.clone()).collect();
        let (others, obstacles) = self.scopes(&configuration)?;
        let in_force = configuration.in_force(&self.command_line)?;
        let (mut changes, mut warnings) = self.compare(in_force);
        warnings.extend(obstacles);
        warnings.extend_from_slice(&configuration.remarks);
        warnings.extend_from_slice(&configuration.rulebook.remarks);
        for (scope, _) in self
            .others
            .iter()
            .zip(before.iter().zip(&others))
            .filter(|(_, (before, now))| before != now)
        {
            changes.push(format!("thresholds of cgroup {}", scope.path.display()));
        }
        warnings.extend(self.gates_that_stay(&configuration.scopes));
        let were = self.others.iter().map(|scope| &scope.path);
        let are = configuration.scopes.iter().map(|scope| &scope.cgroup);
        if !were.eq(are) {
            warnings.push("adding or removing a scope takes a restart".to_owned());
        }
        let mut edition = self.edition.lock().unwrap_or_else(PoisonError::into_inner);
        edition.number = edition.number.wrapping_add(1);
        edition.rulebook = configuration.rulebook;
        let commands = self.commands.start_for(&edition.rulebook);
        self.files = configuration.files;
        self.settings.clone_from(&settings);
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.clone_from(&settings);
        Ok(Change {
            target,
            settings,
            others,
            patterns: arguments.patterns(),
            edition: Edition::clone(&edition),
            commands,
            user_value_cap: arguments.user_value_cap,
            user_value_share: arguments.user_value_share,
            report: arguments.report_interval(self.is_on_terminal),
            changes,
            warnings,
        })
    }

    /// The settings of the scopes that are guarded, by `configuration` as far as that
    /// has them. Of what it has besides, the daemon must be able to start with it, and
    /// what it could not guard then is to be warned of.
    fn scopes(
        &mut self,
        configuration: &Configuration,
    ) -> Result<(Vec<Settings>, Vec<String>), Error> {
        let is_meant = self.is_dry_run || configuration.arguments.force;
        let cgroups = cgroups_of(configuration, self.first.as_ref())?;
        let mut obstacles = Vec::new();
        for (scope, cgroup) in configuration.scopes.iter().zip(cgroups) {
            if !self.others.iter().any(|it| it.path == scope.cgroup) {
                let (.., obstacle) = thresholds(scope, cgroup, self.is_dry_run)?;
                obstacles.extend(obstacle.map(|it| it.to_string()));
            }
        }
        let mut all = Vec::new();
        for other in &mut self.others {
            let in_force = &other.settings;
            let mut scopes = configuration.scopes.iter();
            let settings = match scopes.find(|scope| scope.cgroup == other.path) {
                None => in_force.clone(),
                Some(scope) => {
                    let settings = in_force.with_keys_of(scope.settings()?);
                    // As of the first.
                    if let Some(memory) = (other.memory)()?
                        && usable_on(in_force, &memory).is_ok()
                    {
                        let is_short = in_force.level(&memory) != Level::Ok;
                        let obstacle = obstacle(&settings, &memory, is_meant || is_short);
                        if let Some(unusable) = obstacle {
                            return Err(scope.unusable(&unusable));
                        }
                    }
                    settings
                }
            };
            all.push(settings);
        }
        for (other, settings) in self.others.iter_mut().zip(&all) {
            other.settings.clone_from(settings);
        }
        Ok((all, obstacles))
    }

    /// What would be another gate of a guarded scope, if it could be changed.
    fn gates_that_stay(&self, new: &[ScopeEntry]) -> Vec<String> {
        let shown = |gate: Option<Percent>| gate.map_or("off".to_owned(), |at| format!("{at} %"));
        let mut warnings = Vec::new();
        for other in &self.others {
            let Some(scope) = new.iter().find(|scope| scope.cgroup == other.path) else {
                continue;
            };
            let (was, is) = (other.gates, scope.gates());
            for (key, was, is) in [
                ("pressure", was.relief, is.relief),
                ("pause-pressure", was.pause, is.pause),
            ] {
                if was != is {
                    warnings.push(format!(
                        "`{key}` of cgroup {} takes a restart: it is still {}, not {} ({})",
                        other.path.display(),
                        shown(was),
                        shown(is),
                        scope.place_of(&[key]),
                    ));
                }
            }
        }
        warnings
    }

    /// What of `new` is another value than before, which counts from now on, and
    /// what would be if it could be changed.
    fn compare(&mut self, new: Vec<InForce>) -> (Vec<String>, Vec<String>) {
        let shown = |value: &Option<String>| value.clone().unwrap_or("not set".to_owned());
        let (mut changes, mut warnings) = (Vec::new(), Vec::new());
        for (old, new) in self.in_force.iter_mut().zip(new) {
            if old.value == new.value {
                continue;
            }
            let (was, is, key) = (shown(&old.value), shown(&new.value), &new.key);
            if configuration::can_change(key) {
                changes.push(format!("{key} = {is} (was {was})"));
                *old = new;
            } else {
                warnings.push(format!(
                    "`{key}` takes a restart: it is still {was}, not {is} ({})",
                    new.source
                ));
            }
        }
        (changes, warnings)
    }
}

/// The first of the files that were read `before` that is gone, unless it is a
/// drop-in, which may be removed. At start the default file may be missing; while
/// the daemon runs, it is more likely to be written anew, or removed by mistake.
fn missing<'a>(before: &'a [PathBuf], now: &[PathBuf]) -> Option<&'a Path> {
    let main = before.first()?;
    let is_there = now.contains(main) || main != Path::new(config::DEFAULT_PATH);
    (!is_there).then_some(main)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_file_may_not_vanish_and_a_drop_in_may() {
        let main = PathBuf::from(config::DEFAULT_PATH);
        let drop_in = main.with_file_name("config.d/1.toml");
        let both = [main.clone(), drop_in.clone()];
        assert_eq!(missing(&both, &both), None);
        assert_eq!(missing(&both, &both[..1]), None);
        assert_eq!(missing(&both, &both[1..]), Some(&*main));
        assert_eq!(missing(&[drop_in], &[]), None);
        assert_eq!(missing(&[], &both), None);
    }
}
