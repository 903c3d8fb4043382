//! What the targets share: text as a file, what may be printed, what a reading may be.

use std::fmt::Display;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use model::Memory;
use rustix::fs::{MemfdFlags, memfd_create};

/// A file in memory, so that a reader is tried as it is, with its buffers.
#[derive(Debug)]
pub struct Text {
    file: File,
}

impl Text {
    /// An empty one.
    #[must_use]
    pub fn empty() -> Self {
        let file = memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("a file in memory");
        Self { file: file.into() }
    }

    /// Has it say `text`.
    pub fn set(&self, text: &[u8]) -> &File {
        self.file.write_all_at(text, 0).expect("ours");
        self.file.set_len(text.len() as u64).expect("ours");
        &self.file
    }

    /// Under which it can be opened again.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

/// Strangers' text that is told to people is one line, and short, whatever it
/// holds: it may go to a terminal.
#[track_caller]
pub fn check_printable(told: impl Display) {
    let told = told.to_string();
    assert!(!told.chars().any(char::is_control), "{told:?}");
    assert!(told.chars().count() <= 1000, "{told:?}");
}

/// No part of a reading is larger than the whole.
#[track_caller]
pub fn check_parts(memory: &Memory) {
    for part in [
        memory.available_bytes,
        memory.at_least_bytes,
        memory.anon_bytes,
        memory.shmem_bytes,
        memory.unreclaimable_slab_bytes,
    ] {
        assert!(part <= memory.total_bytes, "{memory:?}");
    }
    assert!(memory.swap_free_bytes <= memory.swap_total_bytes);
}
