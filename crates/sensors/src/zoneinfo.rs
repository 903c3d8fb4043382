//! `/proc/zoneinfo`, proc_zoneinfo(5).

use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::param::page_size;

use crate::error::ReadError;
use crate::file::{for_each_line, open};
use crate::plausible::{Implausible, PerCpu, PerCpuFindings};

/// The free memory that `MemAvailable` leaves out.
///
/// Each CPU keeps a list of the pages that were freed on it last, and they
/// count as free only when they leave it. Since Linux 6.7 such lists grow with
/// what is freed at once, up to an eighth of memory all together
/// (`percpu_pagelist_high_fraction` of the kernel's admin-guide/sysctl/vm):
/// what a large process frees can stay there for minutes. The kernel cuts
/// them short where free memory is short, and empties them before it kills if
/// reclaim has freed anything at all (`__alloc_pages_direct_reclaim`). Where
/// there is nothing to reclaim, it kills with them full: Linux 6.12 did with 24
/// of 463 MiB in them.
#[derive(Debug)]
pub struct Zoneinfo {
    path: PathBuf,
    file: OwnedFd,
    page_bytes: u64,
    findings: PerCpuFindings,
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
            findings: PerCpuFindings::default(),
        })
    }

    /// How many bytes the lists of all CPUs hold together that the kernel takes
    /// back before it kills: none where no swap is free and less than 1 MiB of
    /// files is in memory. No heap; the file grows with the number of CPUs, about
    /// 100 bytes each in every zone.
    ///
    /// A list that cannot be true is taken as empty, and all of them where
    /// their sum cannot be: [`Self::next_implausible`].
    ///
    /// # Errors
    ///
    /// - [`ReadError::Read`]: it could not be read.
    /// - [`ReadError::Missing`]: it tells of no memory at all.
    pub fn per_cpu_bytes(&mut self, swap_is_free: bool) -> Result<u64, ReadError> {
        let mut lists = PerCpu::new(self.page_bytes);
        for_each_line(&self.file, &mut [0; 8192], |line, text| {
            lists.take(line, text);
            ControlFlow::Continue(())
        })
        .map_err(|errno| ReadError::Read {
            path: self.path.clone(),
            source: errno.into(),
        })?;
        lists
            .bytes(swap_is_free, &mut self.findings)
            .map_err(|unfit| ReadError::unfit(&self.path, unfit))
    }

    /// What was implausible in the last reading and was not yet asked for here.
    /// Each is told once, until it was right in between.
    pub fn next_implausible(&mut self) -> Option<Implausible> {
        self.findings.next_unsaid()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
