//! What the kernel's text may say, and what is taken where it says what cannot
//! be true.
//!
//! Kernels exist that say `MemAvailable: 0` on an idle machine, or fifteen
//! times as much as `MemTotal`; lxcfs says a `SwapFree` that has wrapped below
//! zero. Such a field costs that field alone: something is taken in its place,
//! and an [`Implausible`] says what and why.
//!
//! No I/O here, and no heap: a reading may be the one before a kill.

mod cgroup;
mod fields;
mod implausible;
mod meminfo;
mod notified;
mod per_cpu;

use model::{Memory, Seen};

use crate::number::kibibytes;

pub(crate) use self::cgroup::{
    CgroupFindings, CgroupKey, CgroupKeys, CgroupTexts, V1_KEYS, V2_KEYS, is_limited, narrow, room,
};
pub(crate) use self::fields::Unfit;
pub use self::implausible::Implausible;
pub(crate) use self::meminfo::{Key, Known, KnownTotal, MeminfoFindings, memory, paging};
#[cfg(test)]
pub(crate) use self::notified::NOTIFIER_KEYS;
pub use self::notified::{Notified, NotifierLevel};
pub(crate) use self::notified::{NotifierFindings, notified};
pub(crate) use self::per_cpu::{PerCpu, PerCpuFindings};

/// No machine has more of anything: 64 PiB. A counter that has wrapped below
/// zero is far above.
pub(crate) const ABSURD_BYTES: u64 = 1 << 56;

/// The counters of one reading are not all of the same moment.
fn slack(total_bytes: u64) -> u64 {
    total_bytes / 64
}

/// A quantity of a process's that its choice can do without; 0 where it makes no
/// sense.
pub(crate) fn quantity(text: &[u8]) -> u64 {
    kibibytes(text)
        .filter(|&bytes| bytes <= ABSURD_BYTES)
        .unwrap_or(0)
}

/// No more of a process is resident than it has. Since Linux 6.2 what is
/// resident is counted per CPU, and may be off by some pages for each.
pub(crate) fn resident_pages(size_pages: u64, resident_pages: u64) -> u64 {
    resident_pages.min(size_pages)
}

/// Has `process` hold no more than there is on a machine with this `memory`.
/// Whether it did.
pub fn bound(process: &mut Seen, memory: &Memory) -> bool {
    let mut bounded = false;
    let mut bound = |bytes: &mut u64, limit: u64| {
        bounded |= *bytes > limit;
        *bytes = limit.min(*bytes);
    };
    bound(&mut process.rss_bytes, memory.total_bytes);
    bound(&mut process.anon_bytes, memory.total_bytes);
    bound(&mut process.shmem_bytes, memory.total_bytes);
    bound(&mut process.page_table_bytes, memory.total_bytes);
    bound(&mut process.swap_bytes, memory.swap_total_bytes);
    bounded
}
