//! What is done about pressure above the threshold.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use control::{Client, ClientError, Place, Reply, Request};
use psi::Percent;
use terminal::chain;

use crate::arguments::ChosenAction;
use crate::error::Error;
use crate::signals::Signals;

/// An [`ChosenAction`], ready to be carried out.
#[derive(Debug)]
pub(crate) enum Remedy {
    /// Asks this daemon.
    Relief(DaemonClient),
    /// Runs a command.
    Exec(Exec),
    /// Has the kernel kill.
    SysRq(SysRq),
    /// Watches only.
    None,
}

/// What came of a remedy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RemedyOutcome {
    /// It was applied; this says how. Now hold still.
    Applied(String),
    /// It could not be; this says why. Go on.
    NotApplied(String),
    /// There was nothing to do.
    Nothing,
}

impl Remedy {
    /// `socket` is where the daemon answers if not where it always does, `proc`
    /// where the kernel's proc file system is.
    ///
    /// # Errors
    ///
    /// - [`Error::Place`]: no daemon can be where `socket` says.
    /// - [`Error::SysRqBesideDaemon`], [`Error::SysRqUnsure`],
    ///   [`Error::SysRq`]: SysRq is not ours to use, or not now.
    pub(crate) fn new(
        action: ChosenAction,
        socket: Option<&Path>,
        proc: &Path,
    ) -> Result<Self, Error> {
        Ok(match action {
            ChosenAction::Relief => Self::Relief(DaemonClient::find(socket)?),
            ChosenAction::Exec(command) => Self::Exec(Exec {
                command,
                running: None,
            }),
            ChosenAction::SysRq => Self::SysRq(SysRq::new(DaemonClient::find(socket)?, proc)?),
            ChosenAction::None => Self::None,
        })
    }

    /// Why it could not be applied now, as far as can be told: better known
    /// before it is needed.
    pub(crate) fn hindrance(&self) -> Option<String> {
        match self {
            Self::Relief(daemon) => daemon.status().err().map(|err| chain(&err)),
            Self::Exec(_) | Self::SysRq(_) | Self::None => None,
        }
    }

    pub(crate) fn apply(&mut self, full: Percent, signals: &Signals) -> RemedyOutcome {
        match self {
            Self::Relief(daemon) => match daemon.relieve() {
                Ok(answer) => RemedyOutcome::Applied(format!("user-oom: {answer}")),
                Err(err) => RemedyOutcome::NotApplied(chain(&err)),
            },
            Self::Exec(exec) => exec.start(full, signals),
            Self::SysRq(sysrq) => sysrq.press(),
            Self::None => RemedyOutcome::Nothing,
        }
    }

    /// How a command that we run has ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        match self {
            Self::Exec(exec) => exec.ended(),
            Self::Relief(_) | Self::SysRq(_) | Self::None => None,
        }
    }
}

/// In the infinitive, as what will be done above the threshold.
impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relief(daemon) => write!(f, "ask user-oom at {daemon} for relief"),
            Self::Exec(exec) => write!(f, "run `{}`", exec.command.display()),
            Self::SysRq(_) => f.write_str("have the kernel kill a process (SysRq f)"),
            Self::None => f.write_str("nothing, watch only"),
        }
    }
}

/// The daemon, if there is one.
#[derive(Debug)]
pub(crate) struct DaemonClient {
    place: Place,
}

impl DaemonClient {
    /// A machine that thrashes answers late.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// # Errors
    ///
    /// [`Error::Place`]: no daemon can be there.
    pub(crate) fn find(socket: Option<&Path>) -> Result<Self, Error> {
        let place = Place::find(socket).map_err(Error::Place)?;
        Ok(Self { place })
    }

    /// How it is. A daemon that is there and says nothing is an error.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub(crate) fn status(&self) -> Result<Reply, ClientError> {
        self.ask(Request::Status)
    }

    /// What it did to `pid`.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub(crate) fn fate(&self, pid: u32) -> Result<Reply, ClientError> {
        self.ask(Request::Fate { pid })
    }

    /// Silence is not absence: a daemon on a machine that thrashes is silent too.
    ///
    /// # Errors
    ///
    /// - [`Error::SysRqBesideDaemon`]: it answers.
    /// - [`Error::SysRqUnsure`]: neither does it, nor does the kernel say that
    ///   there is none.
    fn is_absent(&self) -> Result<(), Error> {
        match self.status() {
            Err(ClientError::NoDaemon { .. }) => Ok(()),
            Ok(_) => Err(Error::SysRqBesideDaemon {
                daemon: self.to_string(),
            }),
            Err(source) => Err(Error::SysRqUnsure { source }),
        }
    }

    fn relieve(&self) -> Result<Reply, ClientError> {
        self.ask(Request::Relief)
    }

    fn ask(&self, request: Request) -> Result<Reply, ClientError> {
        Client::connect(&self.place, Self::PATIENCE)?.ask(&request, Self::PATIENCE)
    }
}

/// Where it is.
impl fmt::Display for DaemonClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.place.socket().display())
    }
}

/// A command that is run by a shell; one at a time.
#[derive(Debug)]
pub(crate) struct Exec {
    command: OsString,
    running: Option<Child>,
}

impl Exec {
    fn start(&mut self, full: Percent, signals: &Signals) -> RemedyOutcome {
        let _ = self.ended();
        if let Some(child) = &self.running {
            return RemedyOutcome::NotApplied(format!(
                "the command is still running, pid {}",
                child.id()
            ));
        }
        let mut command = Command::new("/bin/sh");
        command
            .arg(OsStr::new("-c"))
            .arg(&self.command)
            .env("PSI_FULL_AVG10", full.to_string())
            .stdin(Stdio::null());
        match signals.unblocked(|| command.spawn()) {
            Ok(child) => {
                let said = format!("running `{}`, pid {}", self.command.display(), child.id());
                self.running = Some(child);
                RemedyOutcome::Applied(said)
            }
            Err(err) => RemedyOutcome::NotApplied(format!("cannot run /bin/sh: {err}")),
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.running.as_mut()?.try_wait().ok().flatten()?;
        self.running = None;
        Some(status)
    }
}

/// The kernel's own killer, sysrq.rst: `f` calls the OOM killer once.
#[derive(Debug)]
pub(crate) struct SysRq {
    daemon: DaemonClient,
    trigger: PathBuf,
}

impl SysRq {
    fn new(daemon: DaemonClient, proc: &Path) -> Result<Self, Error> {
        let sysrq = Self {
            daemon,
            trigger: proc.join("sysrq-trigger"),
        };
        sysrq.daemon.is_absent()?;
        // Found out now rather than when it is needed.
        OpenOptions::new()
            .write(true)
            .open(&sysrq.trigger)
            .map_err(|source| Error::SysRq {
                path: sysrq.trigger.clone(),
                source,
            })?;
        Ok(sysrq)
    }

    fn press(&self) -> RemedyOutcome {
        if let Err(err) = self.daemon.is_absent() {
            return RemedyOutcome::NotApplied(chain(&err));
        }
        let press = || -> io::Result<()> {
            OpenOptions::new()
                .write(true)
                .open(&self.trigger)?
                .write_all(b"f")
        };
        match press() {
            Ok(()) => {
                RemedyOutcome::Applied("asked the kernel to kill a process (SysRq f)".to_owned())
            }
            Err(err) => RemedyOutcome::NotApplied(format!(
                "cannot write `{}`: {err}",
                self.trigger.display()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;

    use control::{Call, Connection, Door, InstanceLock, Listener};
    use nix::poll::{PollFd, PollFlags, poll};

    use super::*;

    /// A proc file system of our own, in which SysRq does nothing.
    fn proc() -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        fs::write(proc.path().join("sysrq-trigger"), "").unwrap();
        proc
    }

    fn sysrq(proc: &Path) -> Result<SysRq, Error> {
        let daemon = DaemonClient::find(Some(&proc.join("socket")))?;
        SysRq::new(daemon, proc)
    }

    #[test]
    fn sysrq_is_pressed_where_no_daemon_answers() {
        let proc = proc();
        let outcome = sysrq(proc.path()).unwrap().press();
        assert!(matches!(outcome, RemedyOutcome::Applied(_)), "{outcome:?}");
        let pressed = fs::read_to_string(proc.path().join("sysrq-trigger")).unwrap();
        assert_eq!(pressed, "f");
    }

    #[test]
    fn sysrq_is_not_pressed_once_it_cannot_be() {
        let proc = proc();
        let sysrq = sysrq(proc.path()).unwrap();
        fs::remove_file(proc.path().join("sysrq-trigger")).unwrap();
        let outcome = sysrq.press();
        assert!(
            matches!(outcome, RemedyOutcome::NotApplied(_)),
            "{outcome:?}"
        );
    }

    #[test]
    fn without_permission_to_press_sysrq_there_is_no_start() {
        let nothing = tempfile::tempdir().unwrap();
        let err = sysrq(nothing.path()).unwrap_err();
        assert!(matches!(err, Error::SysRq { .. }), "{err:?}");
        assert!(chain(&err).contains("needs root"));
    }

    #[test]
    fn a_daemon_that_starts_later_keeps_sysrq_from_being_pressed() {
        let proc = proc();
        let sysrq = sysrq(proc.path()).unwrap();
        let place = sysrq.daemon.place.clone();
        let lock = InstanceLock::take(&place).unwrap();
        let listener = Listener::bind(&place, Door::Public, &lock).unwrap();
        let daemon = std::thread::spawn(move || answer_one_status(&listener));

        let outcome = sysrq.press();
        assert!(
            matches!(outcome, RemedyOutcome::NotApplied(_)),
            "{outcome:?}"
        );
        daemon.join().unwrap();
        let pressed = fs::read_to_string(proc.path().join("sysrq-trigger")).unwrap();
        assert_eq!(pressed, "");
    }

    #[test]
    fn silence_and_what_the_kernel_does_not_explain_are_not_absence() {
        let proc = proc();
        let sysrq = sysrq(proc.path()).unwrap();
        let place = sysrq.daemon.place.clone();
        let lock = InstanceLock::take(&place).unwrap();
        let silent = Listener::bind(&place, Door::Private, &lock).unwrap();
        check_left_alone(&sysrq, "does not answer in time");
        drop(silent);

        // No socket, but something is there.
        std::os::unix::fs::symlink("socket", place.socket()).unwrap();
        check_left_alone(&sysrq, "(os error 40)");
        fs::remove_file(place.socket()).unwrap();
        assert!(matches!(sysrq.press(), RemedyOutcome::Applied(_)));
    }

    #[track_caller]
    fn check_left_alone(sysrq: &SysRq, why: &str) {
        let outcome = sysrq.press();
        let RemedyOutcome::NotApplied(said) = &outcome else {
            panic!("{outcome:?}");
        };
        assert!(said.contains(why), "{said}");
        assert_eq!(fs::read_to_string(&sysrq.trigger).unwrap(), "");
        let proc = sysrq.trigger.parent().unwrap();
        let daemon = DaemonClient {
            place: sysrq.daemon.place.clone(),
        };
        let err = SysRq::new(daemon, proc).unwrap_err();
        assert!(chain(&err).contains(why), "{err:?}");
    }

    fn answer_one_status(listener: &Listener) {
        let mut connection = wait(listener, || listener.accept());
        let call = wait_for_call(&mut connection);
        assert_eq!(call.request, Request::Status);
        connection
            .reply(&Reply::Status(control::Status::default()))
            .unwrap();
    }

    fn wait_for_call(connection: &mut Connection) -> Call {
        loop {
            if let Some(call) = connection.receive().unwrap() {
                return call;
            }
            let mut polled = [PollFd::new(connection.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut polled, 60_000_u16), Ok(1), "nothing came");
        }
    }

    /// Polls until `look` sees something.
    fn wait<T>(descriptor: &impl AsFd, look: impl Fn() -> Option<T>) -> T {
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            let mut polled = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut polled, 60_000_u16), Ok(1), "nothing came");
        }
    }
}
