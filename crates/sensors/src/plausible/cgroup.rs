//! What the files of one cgroup may say of its memory, and what of the machine's
//! memory its limits leave.

use model::Memory;

use super::fields::{Fields, Findings, Unfit};
use super::implausible::{Measure, Used};
use super::meminfo::reclaimable;
use super::{ABSURD_BYTES, slack};
use crate::number::decimal;

/// What is used of them, in the order of [`V2_KEYS`]; of `memory.stat` before
/// [`CgroupKey::Max`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CgroupKey {
    Anon,
    Shmem,
    ActiveFile,
    InactiveFile,
    ReclaimableSlab,
    UnreclaimableSlab,
    Max,
    High,
    Usage,
    SwapMax,
    SwapUsage,
}

pub(crate) type CgroupKeys = [(&'static str, Measure); 11];

/// Of version 2.
pub(crate) const V2_KEYS: CgroupKeys = [
    ("anon", Measure::Stat),
    ("shmem", Measure::Stat),
    ("active_file", Measure::Stat),
    ("inactive_file", Measure::Stat),
    ("slab_reclaimable", Measure::Stat),
    ("slab_unreclaimable", Measure::Stat),
    ("memory.max", Measure::Alone),
    ("memory.high", Measure::Alone),
    ("memory.current", Measure::Alone),
    ("memory.swap.max", Measure::Alone),
    ("memory.swap.current", Measure::Alone),
];

/// Of version 1, which does not tell of slab, and has no limit that slows down.
/// Its last two are of memory and swap together.
pub(crate) const V1_KEYS: CgroupKeys = [
    ("total_rss", Measure::Stat),
    ("total_shmem", Measure::Stat),
    ("total_active_file", Measure::Stat),
    ("total_inactive_file", Measure::Stat),
    ("slab_reclaimable", Measure::Stat),
    ("slab_unreclaimable", Measure::Stat),
    ("memory.limit_in_bytes", Measure::Alone),
    ("memory.high", Measure::Alone),
    ("memory.usage_in_bytes", Measure::Alone),
    ("memory.memsw.limit_in_bytes", Measure::Alone),
    ("memory.memsw.usage_in_bytes", Measure::Alone),
];

pub(crate) type CgroupFindings = Findings<{ V2_KEYS.len() }>;

/// What stands in the files; `None` of one that this kernel does not have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CgroupTexts<'a> {
    pub(crate) stat: &'a [u8],
    pub(crate) max: &'a [u8],
    pub(crate) high: Option<&'a [u8]>,
    pub(crate) usage: &'a [u8],
    pub(crate) swap_max: Option<&'a [u8]>,
    pub(crate) swap_usage: Option<&'a [u8]>,
}

/// What a cgroup leaves to what is in it; `None` of what it does not limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CgroupRoom {
    pub(crate) memory: Option<MemoryRoom>,
    swap: Option<SwapRoom>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryRoom {
    pub(crate) limit_bytes: u64,
    free_bytes: u64,
    reclaimable_bytes: u64,
    anon_bytes: u64,
    shmem_bytes: u64,
    unreclaimable_slab_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SwapRoom {
    total_bytes: u64,
    free_bytes: u64,
}

/// Whether `text` is a limit: not `max`, and not as much as no machine has, which
/// is how version 1 says so.
pub(crate) fn is_limited(text: &[u8]) -> bool {
    decimal(text.trim_ascii()).is_some_and(|bytes| bytes <= ABSURD_BYTES)
}

/// What a limit says. None is told of where the text is not one.
fn limit(
    fields: &mut Fields<11>,
    key: CgroupKey,
    text: Option<&[u8]>,
    findings: &mut CgroupFindings,
) -> Option<u64> {
    let text = text?;
    let is_none = text.trim_ascii() == b"max"
        || decimal(text.trim_ascii()).is_some_and(|bytes| bytes > ABSURD_BYTES);
    if is_none {
        return None;
    }
    fields.take_alone(key as usize, text);
    fields.at_most(key as usize, ABSURD_BYTES, findings)
}

fn alone(
    fields: &mut Fields<11>,
    key: CgroupKey,
    text: Option<&[u8]>,
    findings: &mut CgroupFindings,
) -> Option<u64> {
    fields.take_alone(key as usize, text?);
    fields.at_most(key as usize, ABSURD_BYTES, findings)
}

/// What one cgroup leaves, by the text of its files. `before`: its limit as last
/// read.
///
/// # Errors
///
/// It has a limit and does not say how much is used.
pub(crate) fn room(
    keys: &'static CgroupKeys,
    texts: &CgroupTexts<'_>,
    before: Option<u64>,
    findings: &mut CgroupFindings,
) -> Result<CgroupRoom, Unfit> {
    let mut fields = Fields::of_lines(keys, texts.stat, b' ');
    findings.begin();
    let swap = swap_limit(&mut fields, texts, findings);
    let is_apart = keys[CgroupKey::SwapMax as usize].0 == V2_KEYS[CgroupKey::SwapMax as usize].0;
    let max = hard_limit(&mut fields, texts.max, before, findings);
    // Above it the kernel has what allocates wait, for seconds.
    let high = limit(&mut fields, CgroupKey::High, texts.high, findings);
    let Some(limit_bytes) = max.into_iter().chain(high).min() else {
        findings.settle();
        return Ok(CgroupRoom {
            memory: None,
            swap: swap.filter(|_| is_apart).map(SwapLimit::room),
        });
    };
    // Counters are gathered from each CPU, now and then; and a limit may have been
    // lowered.
    let usage = alone(&mut fields, CgroupKey::Usage, Some(texts.usage), findings);
    let most = usage.unwrap_or(0).max(limit_bytes);
    let most = most.saturating_add(slack(most)).min(ABSURD_BYTES);
    let mut part = |key: CgroupKey| fields.at_most(key as usize, most, findings);
    let (anon, shmem) = (part(CgroupKey::Anon), part(CgroupKey::Shmem));
    let (active, inactive) = (part(CgroupKey::ActiveFile), part(CgroupKey::InactiveFile));
    let reclaimable_slab = part(CgroupKey::ReclaimableSlab).unwrap_or(0);
    let unreclaimable_slab_bytes = part(CgroupKey::UnreclaimableSlab).unwrap_or(0);
    for (key, value) in [
        (CgroupKey::ActiveFile, active),
        (CgroupKey::InactiveFile, inactive),
    ] {
        if value.is_none() {
            fields.use_instead(key as usize, Used::Bytes(0), findings);
        }
    }
    let file = active.unwrap_or(0).saturating_add(inactive.unwrap_or(0));
    let usage_bytes = match usage {
        Some(bytes) => bytes,
        None => {
            let parts = [anon, shmem, Some(file), Some(reclaimable_slab)];
            let parts = parts
                .into_iter()
                .flatten()
                .chain([unreclaimable_slab_bytes]);
            let sum = parts.fold(0, u64::saturating_add);
            if sum == 0 {
                return Err(fields.unfit(CgroupKey::Usage as usize));
            }
            fields.use_instead(CgroupKey::Usage as usize, Used::Sum(sum), findings);
            sum
        }
    };
    let reclaimable_bytes =
        reclaimable(file, limit_bytes).saturating_add(reclaimable(reclaimable_slab, limit_bytes));
    let mut free_bytes = limit_bytes.saturating_sub(usage_bytes);
    let swap = swap.map(|swap| {
        if is_apart {
            return swap.room();
        }
        // Of both together.
        let left = swap.room().free_bytes;
        free_bytes = free_bytes.min(left);
        let total_bytes = swap.max_bytes.saturating_sub(limit_bytes);
        let used = swap.used_bytes.saturating_sub(usage_bytes);
        SwapRoom {
            total_bytes,
            free_bytes: total_bytes.saturating_sub(used).min(left),
        }
    });
    findings.settle();
    let memory = MemoryRoom {
        limit_bytes,
        free_bytes,
        // Cache that is not used is not there.
        reclaimable_bytes: reclaimable_bytes.min(usage_bytes),
        anon_bytes: anon.unwrap_or(0).min(limit_bytes),
        shmem_bytes: shmem.unwrap_or(0).min(limit_bytes),
        unreclaimable_slab_bytes: unreclaimable_slab_bytes.min(limit_bytes),
    };
    Ok(CgroupRoom {
        memory: Some(memory),
        swap,
    })
}

/// The limit of swap, and how much of it is used; of version 1, of memory and swap
/// together.
#[derive(Clone, Copy, Debug)]
struct SwapLimit {
    max_bytes: u64,
    used_bytes: u64,
}

impl SwapLimit {
    fn room(self) -> SwapRoom {
        SwapRoom {
            total_bytes: self.max_bytes,
            free_bytes: self.max_bytes.saturating_sub(self.used_bytes),
        }
    }
}

fn swap_limit(
    fields: &mut Fields<11>,
    texts: &CgroupTexts<'_>,
    findings: &mut CgroupFindings,
) -> Option<SwapLimit> {
    const USAGE: CgroupKey = CgroupKey::SwapUsage;
    let max = limit(fields, CgroupKey::SwapMax, texts.swap_max, findings);
    let used = alone(fields, USAGE, texts.swap_usage, findings);
    let max_bytes = max?;
    // As of the machine's: where it makes no sense, memory alone decides.
    let used_bytes = used.unwrap_or_else(|| {
        fields.use_instead(USAGE as usize, Used::Bytes(max_bytes), findings);
        max_bytes
    });
    Some(SwapLimit {
        max_bytes,
        used_bytes,
    })
}

/// A limit that is no number is taken to be as it was.
fn hard_limit(
    fields: &mut Fields<11>,
    text: &[u8],
    before: Option<u64>,
    findings: &mut CgroupFindings,
) -> Option<u64> {
    const MAX: CgroupKey = CgroupKey::Max;
    let found = limit(fields, MAX, Some(text), findings);
    if found.is_none()
        && findings.overrules(MAX as usize)
        && let Some(before) = before
    {
        fields.use_instead(MAX as usize, Used::Before(before), findings);
        return Some(before);
    }
    found
}

/// Leaves of `memory` what a process in a cgroup with this `room` may use: the
/// smallest limit is all there is to it, and whichever limit is nearest counts.
pub(crate) fn narrow(memory: &mut Memory, room: &CgroupRoom) {
    if let Some(room) = &room.memory {
        if room.limit_bytes < memory.usable_bytes() {
            memory.total_bytes = room.limit_bytes;
            memory.hugetlb_bytes = 0;
            memory.anon_bytes = room.anon_bytes;
            memory.shmem_bytes = room.shmem_bytes;
            memory.unreclaimable_slab_bytes = room.unreclaimable_slab_bytes;
        }
        let available_bytes = room.free_bytes.saturating_add(room.reclaimable_bytes);
        memory.available_bytes = memory
            .available_bytes
            .min(available_bytes)
            .min(memory.total_bytes);
        memory.at_least_bytes = memory.at_least_bytes.min(room.free_bytes);
    }
    if let Some(swap) = &room.swap {
        memory.swap_total_bytes = memory.swap_total_bytes.min(swap.total_bytes);
        memory.swap_free_bytes = memory.swap_free_bytes.min(swap.free_bytes);
    }
    memory.swap_free_bytes = memory.swap_free_bytes.min(memory.swap_total_bytes);
}

impl CgroupKey {
    /// Whether it stands in `memory.stat`.
    pub(crate) fn is_in_stat(index: usize) -> bool {
        index < Self::Max as usize
    }
}
