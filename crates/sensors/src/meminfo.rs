//! `/proc/meminfo`, proc_meminfo(5).

use std::path::Path;

use model::Memory;

use crate::error::ReadError;
use crate::file::WatchedFile;
use crate::plausible::{self, Implausible, Key, MeminfoFindings};

/// How much memory the machine has left.
#[derive(Debug)]
pub struct Meminfo {
    // The kernel's own is under 2 KiB.
    file: WatchedFile<8192>,
    /// Of the last reading that had one.
    total_bytes: Option<u64>,
    findings: MeminfoFindings,
}

impl Meminfo {
    /// Opens `path`, which is `/proc/meminfo` or looks like it. A file that is
    /// not in procfs may be replaced by rename(2) at any time: it is opened
    /// anew for each read.
    ///
    /// # Errors
    ///
    /// [`ReadError::Open`].
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = WatchedFile::open(path)?;
        Ok(Self {
            file,
            total_bytes: None,
            findings: MeminfoFindings::default(),
        })
    }

    /// Reads it: on procfs one or two pread(2), no heap.
    ///
    /// A field that cannot be true costs that field alone:
    /// [`Self::next_implausible`] says what is taken in its place. What a
    /// kernel does not tell is 0: `Hugetlb` is taken from `HugePages_Total` ×
    /// `Hugepagesize` before kernel 4.20, and without swap support there is no
    /// `SwapTotal`. `MemAvailable`, which kernels before 3.14 do not tell, is
    /// reckoned from the rest.
    ///
    /// # Errors
    ///
    /// - [`ReadError::Read`], [`ReadError::Open`], [`ReadError::TooLong`]: it
    ///   could not be read.
    /// - [`ReadError::Missing`], [`ReadError::Implausible`]: it has no
    ///   `MemTotal` and never had, or neither `MemAvailable` nor `MemFree`.
    pub fn read(&mut self) -> Result<Memory, ReadError> {
        let text = self.file.read_lines()?;
        match plausible::memory(text, self.total_bytes, &mut self.findings) {
            Ok(memory) => {
                self.total_bytes = Some(memory.total_bytes);
                Ok(memory)
            }
            Err(unfit) => Err(ReadError::unfit(self.file.path(), unfit)),
        }
    }

    /// What was implausible in the last reading and was not yet asked for here.
    /// Each is told once, until it was right in between.
    pub fn next_implausible(&mut self) -> Option<Implausible> {
        self.findings.next_unsaid()
    }

    /// Whether the last reading overruled `MemAvailable`.
    #[must_use]
    pub fn overrules_available(&self) -> bool {
        self.findings.overrules(Key::MemAvailable as usize)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}
