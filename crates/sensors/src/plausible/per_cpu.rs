//! What the lists of each CPU may hold, by zoneinfo.

use super::fields::{Findings, Unfit};
use super::implausible::{Fault, Implausible, Measure, Used};
use super::{ABSURD_BYTES, slack};
use crate::number::decimal;

/// So much of files in memory, and reclaim gets somewhere: it takes 32 pages at a time.
const RECLAIMABLE_BYTES: u64 = 1 << 20;

/// What zoneinfo says of the lists of each CPU, line by line.
#[derive(Debug, Default)]
pub(crate) struct PerCpu {
    page_bytes: u64,
    bytes: u64,
    /// Of files, on the lists that reclaim takes from; nothing where they do not say.
    file_bytes: Option<u64>,
    /// All memory of the zones so far; 0 where they do not say.
    managed_bytes: u64,
    any_zone: bool,
    unreadable: Option<(usize, Fault)>,
    last_line: usize,
}

pub(crate) type PerCpuFindings = Findings<2>;

impl PerCpu {
    const COUNT: usize = 0;
    const SUM: usize = 1;

    pub(crate) fn new(page_bytes: u64) -> Self {
        Self {
            page_bytes,
            ..Self::default()
        }
    }

    pub(crate) fn take(&mut self, line: usize, text: &[u8]) {
        self.any_zone |= text.starts_with(b"Node ");
        let quantity = |pages: &[u8]| {
            let bytes = decimal(pages.trim_ascii())?.checked_mul(self.page_bytes)?;
            (bytes <= ABSURD_BYTES).then_some(bytes)
        };
        let text = text.trim_ascii_start();
        // There are hundreds of lines, and most are told apart by their first byte.
        match text.first() {
            Some(b'm') => {
                if let Some(pages) = text.strip_prefix(b"managed ") {
                    let bytes = quantity(pages).unwrap_or(0);
                    self.managed_bytes = self.managed_bytes.saturating_add(bytes);
                }
            }
            Some(b'n') => {
                let pages = text
                    .strip_prefix(b"nr_zone_inactive_file ")
                    .or_else(|| text.strip_prefix(b"nr_zone_active_file "));
                if let Some(bytes) = pages.and_then(quantity) {
                    let sum = self.file_bytes.unwrap_or(0).saturating_add(bytes);
                    self.file_bytes = Some(sum);
                }
            }
            Some(b'c') => {
                let Some(pages) = text.strip_prefix(b"count:") else {
                    return;
                };
                self.last_line = line;
                match quantity(pages) {
                    Some(bytes) => self.bytes = self.bytes.saturating_add(bytes),
                    None => {
                        let fault = Fault::of(pages.trim_ascii(), Some(pages.trim_ascii()));
                        self.unreadable.get_or_insert((line, fault));
                    }
                }
            }
            _ => {}
        }
    }

    /// The bytes in all lists, and none where that is more than they can hold:
    /// an eighth of memory (`vm.percpu_pagelist_high_fraction`). A list that
    /// makes no sense is taken as empty, and all are where neither swap nor files
    /// leave reclaim anything to take.
    ///
    /// # Errors
    ///
    /// It tells of no memory at all.
    pub(crate) fn bytes(
        self,
        swap_is_free: bool,
        findings: &mut PerCpuFindings,
    ) -> Result<u64, Unfit> {
        if !self.any_zone {
            return Err(Unfit::Missing { key: "Node " });
        }
        findings.begin();
        let implausible = |line, fault| Implausible {
            key: "count",
            unit: Measure::Pages,
            line,
            fault,
            used: Used::Nothing,
        };
        if let Some((line, fault)) = self.unreadable {
            findings.note(Self::COUNT, implausible(line, fault));
        }
        let limit = match self.managed_bytes {
            0 => ABSURD_BYTES,
            bytes => (bytes / 8 + slack(bytes)).min(ABSURD_BYTES),
        };
        let bytes = if self.bytes <= limit {
            self.bytes
        } else {
            let found = self.bytes;
            findings.note(
                Self::SUM,
                implausible(self.last_line, Fault::Above { found, limit }),
            );
            0
        };
        findings.settle();
        let has_files = |bytes| RECLAIMABLE_BYTES <= bytes;
        let are_emptied = swap_is_free || self.file_bytes.is_none_or(has_files);
        Ok(if are_emptied { bytes } else { 0 })
    }
}
