//! `/proc/meminfo`, proc_meminfo(5).

use std::path::Path;

use model::{Memory, Paging};
use rustix::system::sysinfo;

use crate::error::ReadError;
use crate::file::WatchedFile;
use crate::plausible::{self, Implausible, Key, Known, KnownTotal, MeminfoFindings};

/// How much memory the machine has left.
#[derive(Debug)]
pub struct Meminfo {
    // The kernel's own is under 2 KiB.
    file: WatchedFile<8192>,
    /// Of the last reading that had one.
    total_bytes: Option<u64>,
    is_this_machines: bool,
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
            is_this_machines: false,
            findings: MeminfoFindings::default(),
        })
    }

    /// It is about this machine, and so says no more than this machine has.
    #[must_use]
    pub fn of_this_machine(self) -> Self {
        Self {
            is_this_machines: true,
            ..self
        }
    }

    /// Whether something else than the kernel stands in for this machine's meminfo,
    /// as lxcfs does in a container: what it says is of that container. Its huge pages
    /// are the machine's all the same, and so not counted.
    #[must_use]
    pub fn is_containers(&self) -> bool {
        self.is_this_machines && !self.file.is_kernels()
    }

    /// Reads it: on procfs one pread(2), no heap.
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
    ///   `MemTotal` and none is known, or neither `MemAvailable` nor `MemFree`.
    pub fn read(&mut self) -> Result<Memory, ReadError> {
        let known = Known {
            is_containers: self.is_containers(),
            total: KnownTotal {
                before: self.total_bytes,
                machine: self.is_this_machines.then(machine_bytes),
            },
        };
        let text = self.file.read_lines()?;
        match plausible::memory(text, known, &mut self.findings) {
            Ok(memory) => {
                self.total_bytes = Some(memory.total_bytes);
                Ok(memory)
            }
            Err(unfit) => Err(ReadError::unfit(self.file.path(), unfit)),
        }
    }

    /// Reads from it how busy swap is, and how full. What is implausible in it is
    /// not told.
    ///
    /// # Errors
    ///
    /// As [`Self::read`]; [`ReadError::Missing`] and [`ReadError::Implausible`]
    /// where it does not say.
    pub fn paging(&mut self) -> Result<Paging, ReadError> {
        let text = self.file.read_lines()?;
        plausible::paging(text).map_err(|unfit| ReadError::unfit(self.file.path(), unfit))
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

/// All memory of the machine. Memory may be added while we run, so it is asked
/// for with each reading: a fraction of a microsecond.
fn machine_bytes() -> u64 {
    let info = sysinfo();
    info.totalram.saturating_mul(info.mem_unit.into())
}
