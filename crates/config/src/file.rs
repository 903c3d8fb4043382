//! The files: the one that is named, and the drop-ins beside it.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::document::{Document, Grammar, Setting, parse};
use crate::mistake::Mistakes;

/// Read where no other file is named, and may be missing.
pub const DEFAULT_PATH: &str = "/etc/user-oom/config.toml";

/// The directory of the drop-ins, beside the file.
const DROP_INS: &str = "config.d";

/// No file is longer.
const MOST_BYTES: u64 = 1 << 20;

/// Write permission of the group,
const GROUP: u32 = 0o020;
/// of others,
const OTHERS: u32 = 0o002;
/// and of both.
const SHARED: u32 = GROUP | OTHERS;

/// Where the configuration comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The file; `None`: [`DEFAULT_PATH`], if it is there.
    pub path: Option<&'a Path>,
    /// Our user id: its files are trusted, and root's.
    pub own_uid: u32,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened or read, or its directory cannot be listed.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// Another user than root and ours could change it.
    #[error("`{}` is not trusted: {why}", path.display())]
    Untrusted {
        /// Which.
        path: PathBuf,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// It is not a text of ours.
    #[error("`{}` {why}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What it is.
        why: String,
    },
    /// Its text cannot be meant.
    #[error(transparent)]
    Wrong(#[from] Mistakes),
}

/// What was read.
#[derive(Debug, Default)]
pub struct Found {
    /// What the file and its drop-ins say, the drop-ins behind it and by name: of
    /// several settings the last counts, of several rules the first that matches.
    pub document: Document,
    /// The files that were read, the drop-ins last.
    pub files: Vec<PathBuf>,
    /// What does not keep them from being read, and is to be said.
    pub remarks: Vec<String>,
}

/// What the file and its drop-ins say. `refusal`: see [`parse`].
///
/// # Errors
///
/// [`FileError`] names the first file that cannot be used; what is wrong with
/// the text of several is said in one go.
pub fn read(
    origin: Origin<'_>,
    grammar: Grammar<'_>,
    mut refusal: impl FnMut(&Setting) -> Option<String>,
) -> Result<Found, FileError> {
    let path = origin.path.unwrap_or(DEFAULT_PATH.as_ref());
    let mut all = Found::default();
    let mut problems = Vec::new();
    let mut take = |path: PathBuf, text: &str| {
        match parse(&path, text, grammar, &mut refusal) {
            Ok(found) => all.document.extend(found),
            Err(Mistakes(found)) => problems.extend(found),
        }
        all.files.push(path);
    };
    match text(path, origin.own_uid) {
        Ok(text) => take(path.to_owned(), &text),
        Err(FileError::Read { source, .. })
            if origin.path.is_none() && source.kind() == io::ErrorKind::NotFound => {}
        Err(err) => return Err(err),
    }
    let directory = path.with_file_name(DROP_INS);
    for path in drop_ins(&directory)? {
        let text = text(&path, origin.own_uid)?;
        take(path, &text);
    }
    if problems.is_empty() {
        all.remarks.extend(exposed(&directory, origin.own_uid));
        Ok(all)
    } else {
        Err(Mistakes(problems).into())
    }
}

/// Those in `directory`, by name.
fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    let failed = |source| FileError::Read {
        path: directory.to_owned(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(failed(err)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        if !is_hidden && Path::new(&name).extension() == Some("toml".as_ref()) {
            paths.push(directory.join(name));
        }
    }
    paths.sort();
    Ok(paths)
}

/// That another user than root and `own_uid` may add a file to `directory`: it is not
/// trusted unless it is theirs, but then nothing is read.
fn exposed(directory: &Path, own_uid: u32) -> Option<String> {
    let found = fs::metadata(directory).ok()?;
    let shown = directory.display();
    let (who, right) = if found.uid() != 0 && found.uid() != own_uid {
        let who = format!("uid {} owns `{shown}` and", found.uid());
        (who, format!("chown {own_uid} {shown}"))
    } else if found.mode() & OTHERS != 0 {
        let who = format!(
            "`{shown}` is writable by all (mode {:o}): any user",
            mode(&found)
        );
        (who, format!("chmod go-w {shown}"))
    } else if found.mode() & GROUP != 0 && found.gid() != 0 {
        let who = format!(
            "`{shown}` is writable by its group, gid {} (mode {:o}): any of its users",
            found.gid(),
            mode(&found)
        );
        (who, format!("chmod g-w {shown}"))
    } else {
        return None;
    };
    Some(format!(
        "{who} may add a file there, and that keeps this daemon from starting and from reading its \
         configuration again: `{right}`"
    ))
}

fn mode(found: &Metadata) -> u32 {
    found.mode() & 0o7777
}

/// Whether it is /dev/null: what is linked to that is masked, as units of systemd's are.
fn is_null(file: &Metadata) -> bool {
    file.file_type().is_char_device() && file.rdev() == libc::makedev(1, 3)
}

/// The text of the file at `path`, where only root and `own_uid` can change it.
fn text(path: &Path, own_uid: u32) -> Result<String, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    // A FIFO would keep us waiting.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    let file = opened.map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if is_null(&found) {
        return Ok(String::new());
    }
    check(path, &found, own_uid)?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let unusable = |why: String| FileError::Unusable {
        path: path.to_owned(),
        why,
    };
    if MOST_BYTES < bytes.len() as u64 {
        return Err(unusable(format!(
            "is longer than {} KiB, the most that is read",
            MOST_BYTES >> 10
        )));
    }
    String::from_utf8(bytes).map_err(|err| {
        let valid = err.utf8_error().valid_up_to();
        let before = &err.as_bytes()[..valid];
        let line = before.split(|byte| *byte == b'\n').count();
        unusable(format!("is not UTF-8 text: see line {line}"))
    })
}

/// Whether only root and `own_uid` can change `file`, the one that was opened.
fn check(path: &Path, file: &Metadata, own_uid: u32) -> Result<(), FileError> {
    let shown = path.display();
    if !file.is_file() {
        return Err(FileError::Unusable {
            path: path.to_owned(),
            why: "is not a regular file: write one, or link it to /dev/null to leave it out"
                .to_owned(),
        });
    }
    let why = if file.uid() != 0 && file.uid() != own_uid {
        format!(
            "it belongs to uid {}, and what it says is done with this daemon's rights: \
             `chown {own_uid} {shown}`",
            file.uid()
        )
    } else if file.mode() & SHARED != 0 {
        format!(
            "its group or others may write to it, and what it says is done with this daemon's \
             rights: `chmod go-w {shown}`"
        )
    } else {
        return Ok(());
    };
    Err(FileError::Untrusted {
        path: path.to_owned(),
        why,
    })
}
