//! What keeps the monitor from watching, and how that is said.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use control::PlaceError;
use nix::errno::Errno;

/// Why the monitor could not start, or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The arguments make no sense, or help was asked for.
    #[error("invalid arguments")]
    Arguments(#[source] clap::Error),
    /// No pressure can be read, most likely since the kernel keeps none.
    #[error("cannot read memory pressure")]
    NoPressure(#[source] sensors::ReadError),
    /// The file that `--pressure-file` names could not be read.
    #[error(
        "cannot read the file that `--pressure-file` names: give one like `/proc/pressure/memory`"
    )]
    Pressure(#[source] sensors::ReadError),
    /// There is no place for a daemon to answer at.
    #[error("cannot tell where user-oom's control socket is (see `--socket`)")]
    Place(#[source] control::PlaceError),
    /// No daemon answers.
    #[error(transparent)]
    NoAnswer(control::ClientError),
    /// The process that `--fate` names is not a victim of that daemon.
    #[error("user-oom at {daemon} has no record of process {pid}: {answer}")]
    NoFate {
        /// The process.
        pid: u32,
        /// Where it answers.
        daemon: String,
        /// What it answered.
        answer: Box<control::Reply>,
    },
    /// A daemon answers, and the kernel is not to kill behind its back.
    #[error(
        "`--action sysrq` is refused: user-oom answers at {daemon}, and the kernel \
         would kill without its knowledge; use `--action relief`"
    )]
    SysRqBesideDaemon {
        /// Where it answers.
        daemon: String,
    },
    /// A daemon may be there, and the kernel is not to kill behind its back.
    #[error("SysRq f is not used: user-oom may be running")]
    SysRqUnsure {
        /// What came instead of an answer.
        source: control::ClientError,
    },
    /// The kernel does not let us ask it to kill.
    #[error("`--action sysrq` needs root: cannot write `{}`", path.display())]
    SysRq {
        /// What would be written to.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// Signals could not be waited for.
    #[error("cannot wait for signals")]
    Signals {
        /// What the kernel says.
        source: Errno,
    },
    /// Standard output took no line.
    #[error("cannot print")]
    Print {
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// 0 for help that was asked for, 2 for arguments that make no sense, else 1.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Arguments(err) if !err.use_stderr() => ExitCode::SUCCESS,
            Self::Arguments(_)
            | Self::Place(PlaceError::NoName { .. } | PlaceError::TooLong { .. }) => {
                ExitCode::from(2)
            }
            Self::Place(_)
            | Self::NoPressure(_)
            | Self::Pressure(_)
            | Self::NoAnswer(_)
            | Self::NoFate { .. }
            | Self::SysRqBesideDaemon { .. }
            | Self::SysRqUnsure { .. }
            | Self::SysRq { .. }
            | Self::Signals { .. }
            | Self::Print { .. } => ExitCode::FAILURE,
        }
    }
}
