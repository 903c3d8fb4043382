//! What can go wrong, and how that is said.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use control::{ClientError, Denial, PlaceError};

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The arguments make no sense, or help was asked for.
    #[error("invalid arguments")]
    Arguments(#[source] clap::Error),
    /// No socket can have the path given.
    #[error("cannot tell where user-oom's control socket is")]
    Place(#[source] PlaceError),
    /// No daemon runs.
    #[error("no user-oom answers at {sockets}: start one, or name its socket with `--socket PATH`")]
    NoDaemon {
        /// Where one would be.
        sockets: String,
    },
    /// The daemon does not answer, or not to us.
    #[error(transparent)]
    NoAnswer(ClientError),
    /// The daemon refuses.
    #[error("refused: {0}")]
    Refused(Denial),
    /// The command cannot be run.
    #[error("cannot run `{command}`")]
    Run {
        /// Which.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// The doctor has found something.
    #[error("this machine lacks something for user-oom: see above")]
    Lacking,
    /// The journal cannot be read.
    #[error("cannot read the journal")]
    Journal(#[source] journal::Error),
    /// Nothing was decided in it.
    #[error("nothing was decided in the journal `{}`", path.display())]
    NothingDecided {
        /// Where it is.
        path: PathBuf,
    },
    /// The page cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The message bus is not there, or refuses.
    #[error("cannot {task} on the {bus} bus")]
    Bus {
        /// What was to be done.
        task: &'static str,
        /// `session` or `system`.
        bus: &'static str,
        /// Why. A large type.
        source: Box<zbus::Error>,
    },
    /// There is no terminal for a screen.
    #[error(
        "`top` needs a terminal (and TERM not `dumb`); `user-oomctl watch` prints what happens"
    )]
    NoScreen,
    /// The terminal cannot be drawn on.
    #[error("cannot draw on the terminal")]
    Screen {
        /// Why.
        source: io::Error,
    },
    /// Standard output took no line.
    #[error("cannot print")]
    Print {
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// As `--help` has them.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Arguments(err) if !err.use_stderr() => ExitCode::SUCCESS,
            Self::Arguments(_) | Self::Place(_) => ExitCode::from(2),
            Self::NoDaemon { .. } => ExitCode::from(3),
            Self::Run { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ExitCode::from(127)
            }
            Self::Run { .. } => ExitCode::from(126),
            Self::NoAnswer(_)
            | Self::Refused(_)
            | Self::Lacking
            | Self::Journal(_)
            | Self::NothingDecided { .. }
            | Self::Write { .. }
            | Self::Bus { .. }
            | Self::NoScreen
            | Self::Screen { .. }
            | Self::Print { .. } => ExitCode::FAILURE,
        }
    }
}
