//! What can keep the daemon from guarding, and how that is said.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use terminal::chain;

use crate::arguments::Unusable;

/// Why the daemon did not start, or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The arguments are not well-formed, or help was asked for.
    #[error("invalid arguments")]
    Arguments(#[source] clap::Error),
    /// The arguments cannot be meant together.
    #[error("invalid arguments or configuration")]
    Unusable(#[source] Unusable),
    /// The configuration file or a drop-in cannot be used.
    #[error("cannot use the configuration")]
    Configuration(#[source] config::FileError),
    /// The configuration file was there when it was read last.
    #[error(
        "`{}` is gone: put it back, or create an empty one for the defaults",
        .0.display()
    )]
    Gone(PathBuf),
    /// The configuration was checked, and it could not be started with it.
    #[error("the daemon would not start with this configuration")]
    Checked(#[source] Box<Self>),
    /// No socket can have the path given, or another daemon is running.
    #[error(transparent)]
    Control(control::PlaceError),
    /// The registry cannot be used.
    #[error("cannot use the registry")]
    Registry(#[source] value_registry::RegistryError),
    /// Memory cannot be read, so there is nothing to guard by.
    #[error("cannot read how much memory there is")]
    Memory(#[source] sensors::ReadError),
    /// The journal given cannot be read.
    #[error("cannot replay it")]
    Journal(#[source] journal::Error),
    /// A journal has nothing that could be compared.
    #[error("nothing was replayed: no decision in it comes after a state and without a gap")]
    NothingReplayed,
    /// Replayed, it is not what was recorded.
    #[error("{differ} of {compared} decisions and states are not what was recorded")]
    Differs {
        /// So many are not,
        differ: u64,
        /// of so many.
        compared: u64,
    },
    /// The cgroup given cannot be guarded.
    #[error("cannot guard a cgroup")]
    Cgroup(#[source] sensors::CgroupError),
    /// `--source module`, and there is no module.
    #[error("memory_info.ko is not loaded: load it, or leave out `--source module`")]
    NoModule,
    /// Processes cannot be read, so there are no candidates.
    #[error("cannot read the process table")]
    Processes(#[source] sensors::ReadError),
    /// The pressure file given cannot be read.
    #[error(
        "cannot read the file that `--pressure-file` names: give one like `/proc/pressure/memory`"
    )]
    Pressure(#[source] sensors::ReadError),
    /// Memory could not be read as soon as a few clients connect.
    #[error(
        "{limit} descriptors are too few: raise the hard limit RLIMIT_NOFILE to {at_least} or more, \
         better 1024 (`ulimit -Hn`, or LimitNOFILE= of the unit)"
    )]
    FewDescriptors {
        /// RLIMIT_NOFILE, the hard limit.
        limit: u64,
        /// With so many it guards.
        at_least: u64,
    },
    /// The stack would overflow.
    #[error(
        "a stack of {limit_kib} KiB is too small: raise the hard limit RLIMIT_STACK to {at_least_kib} KiB \
         or more (`ulimit -Hs`, or LimitSTACK= of the unit)"
    )]
    SmallStack {
        /// RLIMIT_STACK, the hard limit.
        limit_kib: u64,
        /// With so much it guards.
        at_least_kib: u64,
    },
    /// The kernel takes no such trigger.
    #[error("cannot set a pressure trigger")]
    Trigger(#[source] psi::TriggerError),
    /// Processes cannot be ended.
    #[error("cannot prepare to kill processes")]
    Reaper(#[source] reaper::ReapError),
    /// The kernel refuses what a daemon needs to wait and to write.
    #[error("cannot {doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
}

impl Error {
    /// 0 where help or the version was asked for, 2 for arguments, else 1.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Arguments(err) => match err.exit_code() {
                0 => ExitCode::SUCCESS,
                _ => ExitCode::from(2),
            },
            Self::Unusable(_) | Self::Configuration(_) | Self::Gone(_) => ExitCode::from(2),
            Self::Checked(_)
            | Self::Control(_)
            | Self::Registry(_)
            | Self::Memory(_)
            | Self::Journal(_)
            | Self::NothingReplayed
            | Self::Differs { .. }
            | Self::Cgroup(_)
            | Self::NoModule
            | Self::Processes(_)
            | Self::Pressure(_)
            | Self::FewDescriptors { .. }
            | Self::SmallStack { .. }
            | Self::Trigger(_)
            | Self::Reaper(_)
            | Self::System { .. } => ExitCode::FAILURE,
        }
    }
}

/// Makes an [`Error::System`] of what the kernel says.
pub(crate) fn system<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error::System {
        doing,
        source: source.into(),
    }
}

/// An error as [`report`] says it, without folding.
pub(crate) fn said(err: &Error) -> String {
    match err {
        // It has lines of its own, and carets below some.
        Error::Configuration(config::FileError::Wrong(problems)) => {
            format!("{err}:\n{problems}")
        }
        _ => chain(err),
    }
}

/// Says on standard error what ended the daemon.
pub fn report(err: &Error) {
    use io::Write;

    // Where standard error is gone too, there is nowhere left to say so.
    let _ = match err {
        Error::Arguments(usage) => usage.print(),
        Error::Checked(err) => return report(err),
        // Folded, its carets would point elsewhere.
        Error::Configuration(config::FileError::Wrong(_)) => {
            let said = format!("user-oom: {}\n", said(err));
            io::stderr().write_all(said.as_bytes())
        }
        _ => {
            terminal::complain("user-oom", &said(err));
            return;
        }
    };
}

/// The number of the error that the kernel gave.
pub(crate) fn errno(err: &reaper::ReapError) -> i32 {
    let (reaper::ReapError::Hold { source, .. }
    | reaper::ReapError::StartTime { source, .. }
    | reaper::ReapError::NotPermitted { source, .. }
    | reaper::ReapError::Signal { source, .. }
    | reaper::ReapError::Wait { source }
    | reaper::ReapError::Spawn { source }
    | reaper::ReapError::Pauser { source }
    | reaper::ReapError::OomScoreAdj { source, .. }
    | reaper::ReapError::Priority { source, .. }) = err;
    source.raw_os_error().unwrap_or_default()
}
