//! Reads lines back, whatever has become of them.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::vec;

use serde::Deserialize;

use crate::error::Error;
use crate::folder::files;
use crate::line::{Line, VERSION};

/// A line of a table of all the processes that a kernel can have, and more.
const LONGEST: u64 = 1 << 30;

/// The lines of a file, or of all files in a directory.
#[derive(Debug)]
pub struct JournalReader {
    files: vec::IntoIter<PathBuf>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    place: LinePlace,
    lines: BufReader<File>,
}

/// What is in a journal.
#[derive(Debug)]
pub enum ReadLine {
    /// A line.
    Line(Box<Line>),
    /// What is none, and what is wrong with it. It is as if [`Line::Lost`] were in
    /// its place.
    Damaged(String),
}

/// Where a line is. [`fmt::Display`] is the file and the number of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinePlace {
    path: PathBuf,
    number: u64,
}

impl fmt::Display for LinePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.number)
    }
}

impl JournalReader {
    /// Reads the file `path`, or all files of the directory.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], [`Error::Empty`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            files: files(path)?.into_iter(),
            open: None,
        })
    }

    /// Where the line is that was read last; `None` before the first.
    #[must_use]
    pub fn place(&self) -> Option<&LinePlace> {
        self.open.as_ref().map(|open| &open.place)
    }

    /// The next line, or what is in its place; `None` at the end.
    ///
    /// # Errors
    ///
    /// - [`Error::Read`]
    /// - [`Error::Newer`]: a later version wrote it.
    pub fn read(&mut self) -> Result<Option<ReadLine>, Error> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(path) = self.files.next() else {
                    return Ok(None);
                };
                let file = File::open(&path).map_err(|source| Error::Read {
                    path: path.clone(),
                    source,
                })?;
                self.open = Some(Open {
                    place: LinePlace { path, number: 0 },
                    lines: BufReader::new(file),
                });
                continue;
            };
            match open.read()? {
                Some(found) => return Ok(Some(found)),
                None => self.open = None,
            }
        }
    }
}

impl Open {
    fn read(&mut self) -> Result<Option<ReadLine>, Error> {
        let mut text = Vec::new();
        let mut lines = self.lines.by_ref().take(LONGEST);
        let read = lines.read_until(b'\n', &mut text);
        let LinePlace { path, number } = &mut self.place;
        let count = read.map_err(|source| Error::Read {
            path: path.clone(),
            source,
        })?;
        if count == 0 {
            return Ok(None);
        }
        *number += 1;
        if text.last() != Some(&b'\n') {
            return Ok(Some(ReadLine::Damaged("it is cut off".to_owned())));
        }
        match parse(&text) {
            Ok(line) => Ok(Some(ReadLine::Line(line.into()))),
            Err(NotALine::Newer { version, program }) => Err(Error::Newer {
                path: path.clone(),
                version,
                program: plain(&program),
            }),
            Err(NotALine::Damaged(err)) => Ok(Some(ReadLine::Damaged(plain(&err.to_string())))),
        }
    }
}

/// Without what a terminal would take for more than text: a stranger may have
/// written it.
fn plain(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// Why a text is not a line.
#[derive(Debug)]
pub(crate) enum NotALine {
    /// It begins a file of a later version.
    Newer { version: u32, program: String },
    /// It is none of any version.
    Damaged(serde_json::Error),
}

/// As much of the first line as all versions have in common.
#[derive(Deserialize)]
struct Beginning {
    journal: Version,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
    #[serde(default)]
    program: String,
}

/// One line, with or without its line feed.
pub(crate) fn parse(text: &[u8]) -> Result<Line, NotALine> {
    if text.starts_with(b"{\"journal\"")
        && let Ok(Beginning { journal }) = serde_json::from_slice(text)
        && journal.version > VERSION
    {
        return Err(NotALine::Newer {
            version: journal.version,
            program: journal.program,
        });
    }
    serde_json::from_slice(text).map_err(NotALine::Damaged)
}
