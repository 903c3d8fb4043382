//! `/proc/spl/kstat/zfs/arcstats`: the cache of ZFS.

use std::path::Path;

use model::Memory;

use crate::error::{ReadError, beginning};
use crate::file::WatchedFile;
use crate::number::decimal;

/// The cache of ZFS, which is not page cache: `MemAvailable` leaves it out,
/// though it shrinks down to its minimum when memory is short.
#[derive(Debug)]
pub struct Arcstats {
    // OpenZFS 2.2 has 145 lines of 45 bytes.
    file: WatchedFile<16384>,
}

impl Arcstats {
    /// Opens `path`, which is `/proc/spl/kstat/zfs/arcstats` or looks like it.
    ///
    /// # Errors
    ///
    /// [`ReadError::Open`]: the module of ZFS is not loaded.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Ok(Self {
            file: WatchedFile::open(path)?.in_pieces(),
        })
    }

    /// By how much the cache can shrink, and no more than `memory` has that is
    /// neither available nor held otherwise. No heap.
    ///
    /// # Errors
    ///
    /// - [`ReadError::Read`], [`ReadError::TooLong`]: it could not be read.
    /// - [`ReadError::Missing`], [`ReadError::Malformed`]: its `size` or `c_min`
    ///   is not there, or more than all memory.
    pub fn shrinkable_bytes(&mut self, memory: &Memory) -> Result<u64, ReadError> {
        let text = self.file.read_lines()?;
        let field = |key| field(text, key, memory.total_bytes);
        let found = field("size").and_then(|size| Ok((size, field("c_min")?)));
        let (size, least) = found.map_err(|wrong| wrong.in_file(self.file.path()))?;
        let held = [
            memory.available_bytes,
            memory.anon_bytes,
            memory.shmem_bytes,
            memory.unreclaimable_slab_bytes,
        ];
        let left = held
            .into_iter()
            .fold(memory.usable_bytes(), u64::saturating_sub);
        Ok(size.saturating_sub(least).min(left))
    }
}

/// Why a field is of no use.
enum Wrong {
    Missing(&'static str),
    Malformed { line: usize, found: String },
}

impl Wrong {
    fn in_file(self, path: &Path) -> ReadError {
        let path = path.to_owned();
        match self {
            Self::Missing(key) => ReadError::Missing { path, key },
            Self::Malformed { line, found } => ReadError::Malformed {
                path,
                line,
                expected: "`<name> <type> <bytes>`, no more than all memory",
                found,
            },
        }
    }
}

/// That of the line `<key> <type> <bytes>`.
fn field(text: &[u8], key: &'static str, limit: u64) -> Result<u64, Wrong> {
    // A line without its end may have been cut short within its number.
    let end = text.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
    for (line, content) in (1..).zip(text[..end].split(|&byte| byte == b'\n')) {
        let mut fields = content
            .split(u8::is_ascii_whitespace)
            .filter(|field| !field.is_empty());
        if fields.next() == Some(key.as_bytes()) {
            let bytes = fields.nth(1).and_then(decimal);
            let found = || beginning(content);
            return bytes
                .filter(|&bytes| bytes <= limit)
                .ok_or_else(|| Wrong::Malformed {
                    line,
                    found: found(),
                });
        }
    }
    Err(Wrong::Missing(key))
}
