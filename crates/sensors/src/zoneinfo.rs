//! `/proc/zoneinfo`, proc_zoneinfo(5).

use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::param::page_size;

use crate::error::{ReadError, beginning};
use crate::file::{decimal, for_each_line, open};

/// The free memory that `MemAvailable` leaves out.
///
/// Each CPU keeps a list of the pages that were freed on it last, and they
/// count as free only when they leave it. Since Linux 6.7 such lists grow with
/// what is freed at once, up to an eighth of memory all together
/// (`percpu_pagelist_high_fraction` of the kernel's admin-guide/sysctl/vm):
/// what a large process gives back can stay there for minutes. The kernel cuts
/// them short where free memory is short, and empties them before it kills.
#[derive(Debug)]
pub struct Zoneinfo {
    path: PathBuf,
    file: OwnedFd,
    page_bytes: u64,
}

impl Zoneinfo {
    /// Opens `path`, which is `/proc/zoneinfo` or looks like it.
    ///
    /// # Errors
    ///
    /// [`ReadError::Open`].
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Ok(Self {
            path: path.to_owned(),
            file: open(path)?,
            page_bytes: page_size() as u64,
        })
    }

    /// How many bytes the lists of all CPUs hold together. No heap; the file
    /// grows with the number of CPUs, about 100 bytes each in every zone.
    ///
    /// # Errors
    ///
    /// - [`ReadError::Read`]: it could not be read.
    /// - [`ReadError::Missing`]: it tells of no memory at all.
    /// - [`ReadError::Malformed`]: a line we use is not what the kernel writes.
    pub fn per_cpu_bytes(&self) -> Result<u64, ReadError> {
        let mut bytes = 0_u64;
        let mut malformed = None;
        let mut any_zone = false;
        for_each_line(&self.file, &mut [0; 8192], |line, text| {
            any_zone |= text.starts_with(b"Node ");
            let Some(pages) = text.trim_ascii_start().strip_prefix(b"count:") else {
                return ControlFlow::Continue(());
            };
            let sum = decimal(pages.trim_ascii())
                .and_then(|pages| pages.checked_mul(self.page_bytes))
                .and_then(|more| bytes.checked_add(more));
            if let Some(sum) = sum {
                bytes = sum;
                return ControlFlow::Continue(());
            }
            malformed = Some((line, beginning(text)));
            ControlFlow::Break(())
        })
        .map_err(|errno| ReadError::Read {
            path: self.path.clone(),
            source: errno.into(),
        })?;
        if let Some((line, found)) = malformed {
            return Err(ReadError::Malformed {
                path: self.path.clone(),
                line,
                expected: "`count: <pages>`",
                found,
            });
        }
        if !any_zone {
            return Err(ReadError::Missing {
                path: self.path.clone(),
                key: "Node ",
            });
        }
        Ok(bytes)
    }
}
