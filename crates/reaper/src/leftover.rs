//! The file that says what is paused, for the case that daemon and keeper die
//! at once.
//!
//! ```text
//! paused by 7340
//! process 1204 987654
//! cgroup 4711 /sys/fs/cgroup/user.slice/job.scope
//! ```
//!
//! A process is named by pid and start time, a cgroup by inode and path, so that
//! neither is mistaken for a later one of the same name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use model::{ProcessId, RunState};
use rustix::fs::OFlags;
use rustix::process::geteuid;

use crate::calls::Calls;
use crate::error::ReapError;
use crate::held::{Held, Signalled};
use crate::process_reader::ProcessReader;

/// A line for each process; more than that was not written by us.
const LONGEST_BYTES: u64 = 4 << 20;

/// What stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LeftPaused {
    Process(ProcessId),
    Cgroup { inode: u64, path: PathBuf },
}

/// What [`thaw_leftover`] found.
#[derive(Debug)]
pub struct Thawing {
    /// Processes that were continued, and cgroups that were thawed.
    pub thawed: u32,
    /// Lines that make no sense, or things that could not be thawed.
    pub failures: Vec<LeftoverError>,
}

/// Why what was left paused could not be thawed.
#[derive(Debug, thiserror::Error)]
pub enum LeftoverError {
    /// The file cannot be read or removed.
    #[error("cannot read or remove `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another user may have written it.
    #[error(
        "`{}` is not a file of at most 4 MiB that we own and only we can write to: remove it",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A line makes no sense.
    #[error("line {line} of `{}` is skipped (expected {expected})", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What would be right.
        expected: &'static str,
    },
    /// A process could not be continued.
    #[error("cannot thaw process {pid}")]
    Process {
        /// The process.
        pid: u32,
        /// Why.
        source: ReapError,
    },
    /// A cgroup could not be thawed.
    #[error("cannot thaw the cgroup `{}`", path.display())]
    Cgroup {
        /// The cgroup.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Thaws what an earlier daemon and its keeper left paused, and removes the
/// file that says so.
///
/// A process gets SIGCONT only if the one of that pid has that start time and
/// is stopped. For the daemon's start, while it has the instance lock; `None`
/// where there is no file.
///
/// # Errors
///
/// - [`LeftoverError::File`]: the file cannot be read or removed.
/// - [`LeftoverError::Foreign`]: it is not a file that only we can write to.
pub fn thaw_leftover(
    path: &Path,
    reader: &dyn ProcessReader,
) -> Result<Option<Thawing>, LeftoverError> {
    let failed = |source| LeftoverError::File {
        path: path.to_owned(),
        source,
    };
    let Some(text) = read(path)? else {
        return Ok(None);
    };
    let mut thawing = Thawing {
        thawed: 0,
        failures: Vec::new(),
    };
    let mut lines = text.split(|byte| *byte == b'\n').zip(1..);
    if lines.next().and_then(|(line, _)| daemon(line)).is_none() {
        thawing.failures.push(damaged(path, 1, HEADER));
    }
    for (line, number) in lines.filter(|(line, _)| !line.is_empty()) {
        let Some(entry) = LeftPaused::parse(line) else {
            thawing.failures.push(damaged(path, number, ENTRY));
            continue;
        };
        match entry.thaw(reader) {
            Ok(thawed) => thawing.thawed += u32::from(thawed),
            Err(err) => thawing.failures.push(err),
        }
    }
    fs::remove_file(path).map_err(failed)?;
    Ok(Some(thawing))
}

/// What the first line says.
const HEADER: &str = "`paused by <pid>`";

/// What each other says.
const ENTRY: &str = "`process <pid> <start time>` or `cgroup <inode> <path>`";

fn damaged(path: &Path, line: usize, expected: &'static str) -> LeftoverError {
    LeftoverError::Damaged {
        path: path.to_owned(),
        line,
        expected,
    }
}

/// Writes `entries` in the place of what was there, whole or not at all; removes
/// the file where there are none.
pub(crate) fn write<'a>(
    path: &Path,
    entries: impl Iterator<Item = &'a LeftPaused>,
) -> io::Result<()> {
    let mut text = format!("paused by {}\n", std::process::id()).into_bytes();
    let header = text.len();
    for entry in entries {
        entry.write(&mut text);
    }
    if text.len() == header {
        return remove(path);
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    remove(new.as_ref())?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&new)?
        .write_all(&text)?;
    fs::rename(new, path)
}

/// Removes the file if it is of this daemon, and not of one that has started
/// since.
pub(crate) fn remove_of(path: &Path, pid: u32) {
    let text = read(path).ok().flatten().unwrap_or_default();
    let first = text.split(|byte| *byte == b'\n').next();
    if first.and_then(daemon) == Some(pid) {
        let _ = remove(path);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, LeftoverError> {
    let failed = |source| LeftoverError::File {
        path: path.to_owned(),
        source,
    };
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path);
    let file: File = match opened {
        Ok(file) => file,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(failed(err)),
    };
    let found = file.metadata().map_err(failed)?;
    let is_ours = found.is_file()
        && found.uid() == geteuid().as_raw()
        && found.mode() & 0o022 == 0
        && found.len() <= LONGEST_BYTES;
    if !is_ours {
        return Err(LeftoverError::Foreign {
            path: path.to_owned(),
        });
    }
    let mut text = Vec::new();
    file.take(LONGEST_BYTES)
        .read_to_end(&mut text)
        .map_err(failed)?;
    Ok(Some(text))
}

fn daemon(header: &[u8]) -> Option<u32> {
    number(header.strip_prefix(b"paused by ")?)
}

/// Of digits alone.
fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    let is_decimal = text.iter().all(u8::is_ascii_digit);
    let text = str::from_utf8(text).ok().filter(|_| is_decimal)?;
    text.parse().ok()
}

impl LeftPaused {
    fn parse(line: &[u8]) -> Option<Self> {
        let space = |text: &[u8]| text.iter().position(|byte| *byte == b' ');
        if let Some(rest) = line.strip_prefix(b"process ") {
            let (pid, start_ticks) = rest.split_at(space(rest)?);
            return Some(Self::Process(ProcessId {
                pid: number(pid)?,
                start_ticks: number(&start_ticks[1..])?,
            }));
        }
        let rest = line.strip_prefix(b"cgroup ")?;
        let (inode, path) = rest.split_at(space(rest)?);
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(&path[1..]));
        Some(Self::Cgroup {
            inode: number(inode)?,
            path: Some(path).filter(|path| path.is_absolute())?,
        })
    }

    fn write(&self, text: &mut Vec<u8>) {
        match self {
            Self::Process(id) => {
                text.extend(format!("process {} {}", id.pid, id.start_ticks).bytes());
            }
            Self::Cgroup { inode, path } => {
                text.extend(format!("cgroup {inode} ").bytes());
                text.extend(path.as_os_str().as_bytes());
            }
        }
        text.push(b'\n');
    }

    /// Whether there was something to thaw.
    fn thaw(&self, reader: &dyn ProcessReader) -> Result<bool, LeftoverError> {
        match self {
            Self::Process(id) => {
                let mut is_stopped = false;
                let held = Held::hold_by(Calls::available(), reader.proc_root(), *id, |pid| {
                    let state = reader.state(pid)?;
                    is_stopped = state.is_some_and(|(_, state)| {
                        matches!(state, RunState::Stopped | RunState::Stopping)
                    });
                    Ok(state.map(|(start_ticks, _)| start_ticks))
                });
                let resumed = held.and_then(|held| match held {
                    Some(held) if is_stopped => Ok(held.resume()? == Signalled::Sent),
                    _ => Ok(false),
                });
                resumed.map_err(|source| LeftoverError::Process {
                    pid: id.pid,
                    source,
                })
            }
            Self::Cgroup { inode, path } => {
                match crate::cgroup::Freezer::open(path) {
                    Ok(freezer) if freezer.inode() == *inode => freezer
                        .thaw()
                        .map(|()| true)
                        .map_err(|err| LeftoverError::Cgroup {
                            path: path.clone(),
                            source: err.into(),
                        }),
                    _ => Ok(false),
                }
            }
        }
    }
}
