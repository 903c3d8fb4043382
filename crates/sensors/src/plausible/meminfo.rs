//! What meminfo may say of memory.

use model::{Memory, Paging};

use super::fields::{Fields, Findings, Unfit};
use super::implausible::{Fault, Measure, Used};
use super::{ABSURD_BYTES, slack};

/// By so much `MemAvailable` may be below `MemFree`: what the kernel keeps back
/// is not available. That is the high watermark, 1.5 times
/// `vm.min_free_kbytes`, which khugepaged raises to at most a twentieth of
/// memory; and what low zones keep for themselves, some 256th.
fn kept_back(total_bytes: u64) -> u64 {
    total_bytes / 100 * 8
}

/// As the kernel reckons `MemAvailable`: page cache and slab count but for the
/// low watermark, and by half at least. That watermark is not in meminfo: taken
/// at its highest, 1.25 times `vm.min_free_kbytes`, this rather counts too
/// little, and the guard acts early rather than late.
pub(super) fn reclaimable(bytes: u64, total_bytes: u64) -> u64 {
    bytes - (bytes / 2).min(total_bytes / 16)
}

/// What of meminfo is used, in the order of [`KEYS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    MemTotal,
    MemAvailable,
    MemFree,
    Buffers,
    Cached,
    ActiveFile,
    InactiveFile,
    ActiveAnon,
    InactiveAnon,
    AnonPages,
    Shmem,
    SReclaimable,
    KReclaimable,
    SUnreclaim,
    Hugetlb,
    HugePagesTotal,
    Hugepagesize,
    SwapTotal,
    SwapFree,
    SwapCached,
    Writeback,
}

pub(crate) const KEYS: [(&str, Measure); 21] = [
    ("MemTotal", Measure::Kib),
    ("MemAvailable", Measure::Kib),
    ("MemFree", Measure::Kib),
    ("Buffers", Measure::Kib),
    ("Cached", Measure::Kib),
    ("Active(file)", Measure::Kib),
    ("Inactive(file)", Measure::Kib),
    ("Active(anon)", Measure::Kib),
    ("Inactive(anon)", Measure::Kib),
    ("AnonPages", Measure::Kib),
    ("Shmem", Measure::Kib),
    ("SReclaimable", Measure::Kib),
    ("KReclaimable", Measure::Kib),
    ("SUnreclaim", Measure::Kib),
    ("Hugetlb", Measure::Kib),
    ("HugePages_Total", Measure::None),
    ("Hugepagesize", Measure::Kib),
    ("SwapTotal", Measure::Kib),
    ("SwapFree", Measure::Kib),
    ("SwapCached", Measure::Kib),
    ("Writeback", Measure::Kib),
];

type MeminfoFields = Fields<{ KEYS.len() }>;
pub(crate) type MeminfoFindings = Findings<{ KEYS.len() }>;

/// What no page is counted twice in, and what adds up to no more than MemTotal.
/// Shared memory is part of `Cached`.
const PARTS: [Key; 7] = [
    Key::MemFree,
    Key::AnonPages,
    Key::Cached,
    Key::Buffers,
    Key::SReclaimable,
    Key::SUnreclaim,
    Key::Hugetlb,
];

/// Of these, some containers show a few of the host's beside a MemTotal of their
/// own; never so many as [`HOSTS`].
const LESS_THAN_ALL: [Key; 8] = [
    Key::MemFree,
    Key::MemAvailable,
    Key::AnonPages,
    Key::Cached,
    Key::ActiveFile,
    Key::InactiveFile,
    Key::SReclaimable,
    Key::SUnreclaim,
];
const HOSTS: usize = 4;

/// Of these, lxcfs shows the host's beside a MemTotal and a MemAvailable of the
/// container's own.
const ALWAYS_HOSTS: [usize; 4] = [
    Key::KReclaimable as usize,
    Key::Hugetlb as usize,
    Key::HugePagesTotal as usize,
    Key::Hugepagesize as usize,
];

/// What is known beside the text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    /// It is a container's, made by something else than the kernel.
    pub(crate) is_containers: bool,
    /// Of MemTotal.
    pub(crate) total: KnownTotal,
}

/// What is known of MemTotal beside the text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KnownTotal {
    /// That of an earlier reading, which stands in for one that is wrong.
    pub(crate) before: Option<u64>,
    /// All that the machine has, where the text is about this machine. A
    /// container may be shown less.
    pub(crate) machine: Option<u64>,
}

/// Memory by the text of meminfo.
///
/// # Errors
///
/// There is no MemTotal and none is known, or neither MemAvailable nor MemFree:
/// nothing can be told by the rest.
pub(crate) fn memory(
    text: &[u8],
    known: Known,
    findings: &mut MeminfoFindings,
) -> Result<Memory, Unfit> {
    let mut fields = MeminfoFields::of(&KEYS, text);
    if known.is_containers {
        fields.leave_out(&ALWAYS_HOSTS);
    }
    findings.begin();
    let total_bytes = total(&fields, known.total, findings)?;
    // No part of memory is larger than all of it.
    let part = |key: Key, findings: &mut _| fields.at_most(key as usize, total_bytes, findings);
    let free = part(Key::MemFree, findings);
    let anon = part(Key::AnonPages, findings);
    let shmem = part(Key::Shmem, findings);
    let slab = part(Key::SUnreclaim, findings);
    let other = [free, anon, shmem, slab].into_iter().flatten();
    let other_bytes = other.fold(0, u64::saturating_add);
    let hugetlb_bytes = hugetlb(&fields, total_bytes, other_bytes, findings);
    let held = Unreclaimable {
        anon: anon.unwrap_or(0),
        other: [shmem, slab, Some(hugetlb_bytes)]
            .into_iter()
            .flatten()
            .fold(0, u64::saturating_add),
    };
    let cache = part(Key::Cached, findings).map(|cached| {
        let buffers = part(Key::Buffers, findings).unwrap_or(0);
        (cached + buffers).saturating_sub(shmem.unwrap_or(0))
    });
    let active = part(Key::ActiveFile, findings);
    let inactive = part(Key::InactiveFile, findings);
    let listed = active
        .zip(inactive)
        .map(|(active, inactive)| active + inactive);
    let reclaimable_slab = [Key::SReclaimable, Key::KReclaimable].map(|key| part(key, findings));
    let room = Room {
        total_bytes,
        free,
        cache,
        listed,
        slab: reclaimable_slab[0].unwrap_or(0),
        slab_at_most: reclaimable_slab.into_iter().flatten().max().unwrap_or(0),
    };
    let available_bytes = available(&fields, &room, &held, findings)?;
    let (swap_total_bytes, swap_free_bytes) = swap(&fields, findings);
    let swap_cached_bytes = swap_cached(&fields);
    findings.settle();
    Ok(Memory {
        total_bytes,
        available_bytes,
        at_least_bytes: free.unwrap_or(0).saturating_sub(kept_back(total_bytes)),
        hugetlb_bytes,
        swap_total_bytes,
        swap_free_bytes,
        swap_cached_bytes,
        anon_bytes: anon.unwrap_or(0),
        shmem_bytes: shmem.unwrap_or(0),
        unreclaimable_slab_bytes: slab.unwrap_or(0),
        // It does not say where swap is.
        worthless_swap_bytes: 0,
        zram_bytes: 0,
    })
}

/// What the kernel may take of the swap cache: what no process has mapped again.
/// The anonymous lists hold what is mapped, shared memory, and that.
fn swap_cached(fields: &MeminfoFields) -> u64 {
    let sound = |key: Key| fields.sound(key as usize);
    let listed = sound(Key::ActiveAnon).zip(sound(Key::InactiveAnon));
    let others = sound(Key::AnonPages).zip(sound(Key::Shmem));
    let (Some((active, inactive)), Some((anon, shmem))) = (listed, others) else {
        return 0;
    };
    active
        .saturating_add(inactive)
        .saturating_sub(anon.saturating_add(shmem))
        .min(sound(Key::SwapCached).unwrap_or(0))
}

/// What page-out is paced by, by the text of meminfo. What is implausible in it
/// is not noted: [`memory`] does that.
///
/// # Errors
///
/// It does not say how much is under writeback, or nothing of swap.
pub(crate) fn paging(text: &[u8]) -> Result<Paging, Unfit> {
    let fields = MeminfoFields::of(&KEYS, text);
    let unfit = |key: Key| fields.unfit(key as usize);
    if !fields.is_there(Key::SwapFree as usize) {
        return Err(unfit(Key::SwapFree));
    }
    let (swap_total_bytes, swap_free_bytes) = swap(&fields, &mut MeminfoFindings::default());
    let writeback = fields.sound(Key::Writeback as usize);
    Ok(Paging {
        writeback_bytes: writeback.ok_or_else(|| unfit(Key::Writeback))?,
        swap_total_bytes,
        swap_free_bytes,
        in_zram_bytes: 0,
        zram_bytes: 0,
    })
}

/// What no reclaim brings back, but for what of `anon` was freed lazily.
struct Unreclaimable {
    anon: u64,
    other: u64,
}

/// What may be available.
struct Room {
    total_bytes: u64,
    free: Option<u64>,
    /// Page cache by `Cached` and `Buffers`, without shared memory.
    cache: Option<u64>,
    /// `Active(file)` and `Inactive(file)`: what of the page cache can be
    /// reclaimed, and anonymous pages that were freed lazily (MADV_FREE).
    listed: Option<u64>,
    slab: u64,
    slab_at_most: u64,
}

impl Room {
    /// No more than this is available, whatever `MemAvailable` says: all but
    /// what is held, and no more than what is free or can be reclaimed. What is
    /// free is available in any case.
    fn at_most(&self, held: &Unreclaimable) -> u64 {
        // Freed lazily, it is still among AnonPages, and can be reclaimed.
        let lazily_freed = match (self.listed, self.cache) {
            (Some(listed), Some(cache)) => listed.saturating_sub(cache).min(held.anon),
            _ => 0,
        };
        let held = (held.anon - lazily_freed).saturating_add(held.other);
        let not_held = self.total_bytes.saturating_sub(held);
        let summed = self
            .free
            .zip(self.listed.or(self.cache))
            .map(|(free, file)| free.saturating_add(file).saturating_add(self.slab_at_most));
        not_held
            .min(summed.unwrap_or(u64::MAX))
            .max(self.free.unwrap_or(0))
    }

    /// `MemAvailable` as the kernel reckons it, without what it keeps back.
    fn reckoned(&self, at_most: u64) -> Option<u64> {
        let file = match (self.listed, self.cache) {
            (Some(listed), Some(cache)) => listed.min(cache),
            (listed, cache) => listed.or(cache).unwrap_or(0),
        };
        let more = reclaimable(file, self.total_bytes) + reclaimable(self.slab, self.total_bytes);
        Some((self.free? + more).min(at_most))
    }
}

fn total(
    fields: &MeminfoFields,
    known: KnownTotal,
    findings: &mut MeminfoFindings,
) -> Result<u64, Unfit> {
    const TOTAL: usize = Key::MemTotal as usize;
    // A balloon may have taken some since the text was read.
    let limit = |machine: u64| machine.saturating_add(slack(machine));
    let found = fields.at_most(TOTAL, known.machine.map_or(ABSURD_BYTES, limit), findings);
    if let Some(bytes) = found.filter(|&bytes| bytes > 0) {
        return Ok(summed(fields, bytes, known.before, findings).unwrap_or(bytes));
    }
    let before = known.before.map(|bytes| (bytes, Used::Before(bytes)));
    let machine = known.machine.map(|bytes| (bytes, Used::Machine(bytes)));
    let (bytes, used) = before.or(machine).ok_or_else(|| fields.unfit(TOTAL))?;
    fields.use_instead(TOTAL, used, findings);
    Ok(bytes)
}

/// What is taken for a MemTotal of `found` that cannot be, by what its parts add
/// up to.
///
/// Memory that is added or removed, by hand or by a balloon, is so in its parts
/// as well: another total than before counts where they fit it. They may be far
/// less (ZFS has its cache in none of them), but memory that was just added is
/// free.
fn summed(
    fields: &MeminfoFields,
    found: u64,
    known_total: Option<u64>,
    findings: &mut MeminfoFindings,
) -> Option<u64> {
    const TOTAL: usize = Key::MemTotal as usize;
    let value = |key: &Key| fields.sound(*key as usize).unwrap_or(0);
    let sum = PARTS.iter().map(value).fold(0, u64::saturating_add);
    let fits = |total: u64| sum <= total.saturating_add(slack(total));
    let fault = Fault::Parts { found, sum };
    let is_known = |known: &u64| {
        let shrunk = found < *known && !fits(found);
        let grown = *known < found && sum < found / 16;
        fits(*known) && (shrunk || grown)
    };
    if let Some(known) = known_total.filter(is_known) {
        fields.note(TOTAL, fault, Used::Before(known), findings);
        return Some(known);
    }
    let larger = LESS_THAN_ALL
        .iter()
        .filter(|key| found < value(key))
        .count();
    if larger < HOSTS || ABSURD_BYTES < sum {
        return None;
    }
    fields.note(TOTAL, fault, Used::Sum(sum), findings);
    Some(sum)
}

/// What is free or held otherwise is not set aside for huge pages. 0 where the
/// kernel does not say; before Linux 4.20 it says pages and their size.
fn hugetlb(
    fields: &MeminfoFields,
    total_bytes: u64,
    other_bytes: u64,
    findings: &mut MeminfoFindings,
) -> u64 {
    let limit = total_bytes.saturating_sub(other_bytes);
    let limit = limit
        .saturating_add(slack(total_bytes))
        .min(total_bytes - 1);
    let said = fields.at_most(Key::Hugetlb as usize, limit, findings);
    said.unwrap_or_else(|| {
        let pages = fields.at_most(Key::HugePagesTotal as usize, u64::MAX, findings);
        let size = fields.at_most(Key::Hugepagesize as usize, total_bytes, findings);
        let bytes = u64::saturating_mul(pages.unwrap_or(0), size.unwrap_or(0));
        // The pages that are meant may be of several sizes.
        if bytes <= limit { bytes } else { 0 }
    })
}

fn available(
    fields: &MeminfoFields,
    room: &Room,
    held: &Unreclaimable,
    findings: &mut MeminfoFindings,
) -> Result<u64, Unfit> {
    const AVAILABLE: usize = Key::MemAvailable as usize;
    let at_most = room.at_most(held);
    let reckoned = room.reckoned(at_most);
    let kept_back = kept_back(room.total_bytes);
    let Some(found) = fields.at_most(AVAILABLE, ABSURD_BYTES, findings) else {
        // Also before Linux 3.14, which has no such line.
        let bytes = reckoned.ok_or_else(|| fields.unfit(AVAILABLE))?;
        fields.use_instead(AVAILABLE, Used::Reckoned(bytes), findings);
        return Ok(bytes);
    };
    let free = room.free.unwrap_or(0);
    // Slack or not, no more than all of it.
    let limit = at_most.saturating_add(slack(room.total_bytes));
    if found > limit.min(room.total_bytes) {
        let fault = Fault::Above {
            found,
            limit: at_most,
        };
        // What counted too much may count anything, so the most that can be
        // true is not what is likely.
        let (bytes, used) = match reckoned {
            Some(bytes) => (bytes, Used::Reckoned(bytes)),
            None => (at_most, Used::Bytes(at_most)),
        };
        fields.note(AVAILABLE, fault, used, findings);
        return Ok(bytes);
    }
    match reckoned {
        // 0 is what the kernel says where it finds less than it keeps back.
        Some(bytes) if found == 0 && bytes > kept_back => {
            let fault = Fault::Below { found, free };
            fields.note(AVAILABLE, fault, Used::Reckoned(bytes), findings);
            Ok(bytes)
        }
        _ => {
            // True where `vm.min_free_kbytes` or `vm.watermark_scale_factor`
            // was set far higher than usual; so it is not overruled.
            if found < free.saturating_sub(kept_back) {
                let fault = Fault::Doubtful { found, free };
                fields.note(AVAILABLE, fault, Used::Found, findings);
            }
            Ok(found)
        }
    }
}

/// Total and free. Of swap that makes no sense none is counted as free: then
/// memory alone decides, as on a machine without swap. Counted as free, it
/// would hold back every level while memory runs out.
fn swap(fields: &MeminfoFields, findings: &mut MeminfoFindings) -> (u64, u64) {
    const TOTAL: usize = Key::SwapTotal as usize;
    const FREE: usize = Key::SwapFree as usize;
    let total = fields.at_most(TOTAL, ABSURD_BYTES, findings);
    if total.is_none() && fields.is_there(TOTAL) {
        fields.use_instead(TOTAL, Used::Bytes(0), findings);
    }
    let total = total.unwrap_or(0);
    // While swap is turned off, what was free in it may be listed yet.
    let free = match fields.at_most(FREE, ABSURD_BYTES, findings) {
        Some(found) if found > total => {
            let fault = Fault::Above {
                found,
                limit: total,
            };
            fields.note(FREE, fault, Used::Bytes(total), findings);
            total
        }
        Some(found) => found,
        None => {
            if total > 0 || fields.is_there(FREE) {
                fields.use_instead(FREE, Used::Bytes(0), findings);
            }
            0
        }
    };
    (total, free)
}
