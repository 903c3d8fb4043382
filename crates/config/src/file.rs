//! The files: the one that is named, and the drop-ins beside it.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::document::{Document, Grammar, Setting, parse};
use crate::mistake::Mistakes;

/// Read where no other file is named, and may be missing.
pub const DEFAULT_PATH: &str = "/etc/user-oom/config.toml";

/// The directory of the drop-ins, beside the file.
const DROP_INS: &str = "config.d";

/// No file is longer.
const MOST_BYTES: u64 = 1 << 20;

/// Write permission of the group and of others.
const SHARED: u32 = 0o022;

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

/// What the file and its drop-ins say, the drop-ins behind it and by name: of
/// several settings the last counts, of several rules the first that matches. Also which files were read. `refusal`: see
/// [`parse`].
///
/// # Errors
///
/// [`FileError`] names the first file that cannot be used; what is wrong with
/// the text of several is said in one go.
pub fn read(
    origin: Origin<'_>,
    grammar: Grammar<'_>,
    mut refusal: impl FnMut(&Setting) -> Option<String>,
) -> Result<(Document, Vec<PathBuf>), FileError> {
    let path = origin.path.unwrap_or(DEFAULT_PATH.as_ref());
    let mut all = Document::default();
    let mut problems = Vec::new();
    let mut files = Vec::new();
    let mut take = |path: PathBuf, text: &str| {
        match parse(&path, text, grammar, &mut refusal) {
            Ok(found) => all.extend(found),
            Err(Mistakes(found)) => problems.extend(found),
        }
        files.push(path);
    };
    match text(path, origin.own_uid) {
        Ok(text) => take(path.to_owned(), &text),
        Err(FileError::Read { source, .. })
            if origin.path.is_none() && source.kind() == io::ErrorKind::NotFound => {}
        Err(err) => return Err(err),
    }
    for path in drop_ins(path)? {
        let text = text(&path, origin.own_uid)?;
        take(path, &text);
    }
    if problems.is_empty() {
        Ok((all, files))
    } else {
        Err(Mistakes(problems).into())
    }
}

/// Those beside the file at `path`, by name.
fn drop_ins(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    let directory = path.with_file_name(DROP_INS);
    let failed = |source| FileError::Read {
        path: directory.clone(),
        source,
    };
    let entries = match fs::read_dir(&directory) {
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
    check(path, &file.metadata().map_err(failed)?, own_uid)?;
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
            why: "is not a regular file".to_owned(),
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
