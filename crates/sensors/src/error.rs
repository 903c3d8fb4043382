//! What can go wrong in reading the kernel's files.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::plausible::{Implausible, Unfit};

/// A file that could not be read, or made no sense.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It could not be opened.
    #[error("cannot open `{}`", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is longer than any such file is.
    #[error("`{}` is longer than {limit_bytes} bytes", path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// As much as is read of it.
        limit_bytes: usize,
    },
    /// There is more below a directory than is looked at.
    #[error("`{}` has more or deeper directories below it than are looked at", path.display())]
    TooMany {
        /// Which directory.
        path: PathBuf,
    },
    /// A line that must be there is not.
    #[error("`{}` has no line that begins with `{key}`", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
        /// How the line begins.
        key: &'static str,
    },
    /// A line without which the others say nothing cannot be true.
    #[error("`{}`{what}", path.display())]
    Implausible {
        /// Which file.
        path: PathBuf,
        /// Which line, what it says and what would be right.
        what: Implausible,
    },
    /// A line is not what the kernel writes.
    #[error("`{}`, line {line}: expected {expected}, found `{found}`", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What would be right.
        expected: &'static str,
        /// The beginning of what stands there.
        found: String,
    },
    /// A pressure file is not what the kernel writes.
    #[error("cannot make sense of `{}`", path.display())]
    Pressure {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        source: psi::ParseError,
    },
    /// The kernel keeps no account of pressure.
    #[error(
        "`{}` does not exist: this kernel has no pressure stall information (build it with CONFIG_PSI, or boot it with `psi=1`)",
        path.display()
    )]
    NoPressure {
        /// Which file.
        path: PathBuf,
        /// How the kernel says so.
        source: io::Error,
    },
    /// The kernel refused a trigger that it would grant with CAP_SYS_RESOURCE.
    #[error(
        "cannot arm `{trigger}` at `{}`: without CAP_SYS_RESOURCE a window is a multiple of 2 s, and before kernel 6.4 there is none",
        path.display()
    )]
    TriggerNotPermitted {
        /// Which file.
        path: PathBuf,
        /// As it was asked for.
        trigger: psi::Trigger,
        /// How the kernel says so.
        source: io::Error,
    },
    /// The kernel refused a trigger.
    #[error("cannot arm `{trigger}` at `{}`", path.display())]
    Trigger {
        /// Which file.
        path: PathBuf,
        /// As it was asked for.
        trigger: psi::Trigger,
        /// Why.
        source: io::Error,
    },
}

impl ReadError {
    pub(crate) fn unfit(path: &Path, unfit: Unfit) -> Self {
        let path = path.to_owned();
        match unfit {
            Unfit::Missing { key } => Self::Missing { path, key },
            Unfit::Implausible(what) => Self::Implausible { path, what },
        }
    }

    /// Whether we may not look at it: `/proc` is mounted with `hidepid`.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self.errno(), Some(Errno::ACCESS | Errno::PERM))
    }

    /// Whether no descriptor is left, to us or to the machine.
    pub(crate) fn is_out_of_descriptors(&self) -> bool {
        matches!(self.errno(), Some(Errno::MFILE | Errno::NFILE))
    }

    fn errno(&self) -> Option<Errno> {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } => Errno::from_io_error(source),
            _ => None,
        }
    }
}

/// Enough of `text` to recognise it by, fit to be printed.
pub(crate) fn beginning(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .take(60)
        .flat_map(char::escape_debug)
        .collect()
}
