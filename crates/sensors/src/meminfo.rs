//! `/proc/meminfo`, proc_meminfo(5).

use std::path::Path;

use oom_policy::Memory;

use crate::error::{ReadError, beginning};
use crate::file::{WatchedFile, decimal, kibibytes};

/// How much memory the machine has left.
#[derive(Debug)]
pub struct Meminfo {
    // The kernel's own is under 2 KiB.
    file: WatchedFile<8192>,
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
        Ok(Self { file })
    }

    /// Reads it: on procfs one or two pread(2), no heap.
    ///
    /// What a kernel does not tell is 0: `Hugetlb` is taken from
    /// `HugePages_Total` × `Hugepagesize` before kernel 4.20, and without swap
    /// support there is no `SwapTotal`.
    ///
    /// # Errors
    ///
    /// - [`ReadError::Read`], [`ReadError::Open`], [`ReadError::TooLong`]: it
    ///   could not be read.
    /// - [`ReadError::Missing`]: it has no `MemTotal` or no `MemAvailable`
    ///   (kernels before 3.14).
    /// - [`ReadError::Malformed`]: a line we use is not what the kernel writes.
    pub fn read(&mut self) -> Result<Memory, ReadError> {
        match self.file.read().map(parse)? {
            Ok(memory) => Ok(memory),
            Err(Unfit::Missing { key }) => Err(ReadError::Missing {
                path: self.file.path().to_owned(),
                key,
            }),
            Err(Unfit::Malformed {
                line,
                expected,
                found,
            }) => Err(ReadError::Malformed {
                path: self.file.path().to_owned(),
                line,
                expected,
                found,
            }),
        }
    }
}

/// Why a text is no meminfo.
#[derive(Debug, PartialEq, Eq)]
enum Unfit {
    Missing {
        key: &'static str,
    },
    Malformed {
        line: usize,
        expected: &'static str,
        found: String,
    },
}

fn parse(text: &[u8]) -> Result<Memory, Unfit> {
    let mut memory = Memory::default();
    let mut total_bytes = None;
    let mut available_bytes = None;
    let mut hugetlb_bytes = None;
    let mut huge_pages = 0;
    let mut huge_page_bytes = 0;
    for (line, content) in (1..).zip(text.split(|&byte| byte == b'\n')) {
        let malformed = |expected| Unfit::Malformed {
            line,
            expected,
            found: beginning(content),
        };
        let Some(colon) = content.iter().position(|&byte| byte == b':') else {
            // The end of the text, or a line that is cut short.
            if content.is_empty() {
                continue;
            }
            return Err(malformed("`<key>: <number> kB`"));
        };
        let value = &content[colon + 1..];
        let bytes = || kibibytes(value).ok_or_else(|| malformed("`<key>: <number> kB`"));
        match &content[..colon] {
            b"MemTotal" => total_bytes = Some(bytes()?),
            b"MemAvailable" => available_bytes = Some(bytes()?),
            b"SwapTotal" => memory.swap_total_bytes = bytes()?,
            b"SwapFree" => memory.swap_free_bytes = bytes()?,
            b"AnonPages" => memory.anon_bytes = bytes()?,
            b"Shmem" => memory.shmem_bytes = bytes()?,
            b"SUnreclaim" => memory.unreclaimable_slab_bytes = bytes()?,
            b"Hugetlb" => hugetlb_bytes = Some(bytes()?),
            b"Hugepagesize" => huge_page_bytes = bytes()?,
            b"HugePages_Total" => {
                huge_pages = decimal(value.trim_ascii())
                    .ok_or_else(|| malformed("`HugePages_Total: <number>`"))?;
            }
            _ => {}
        }
    }
    memory.total_bytes = total_bytes.ok_or(Unfit::Missing { key: "MemTotal:" })?;
    memory.available_bytes = available_bytes.ok_or(Unfit::Missing {
        key: "MemAvailable:",
    })?;
    memory.hugetlb_bytes =
        hugetlb_bytes.unwrap_or_else(|| u64::saturating_mul(huge_pages, huge_page_bytes));
    Ok(memory)
}
