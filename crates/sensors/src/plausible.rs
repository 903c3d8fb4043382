//! What the kernel's text may say, and what is taken where it says what cannot
//! be true.
//!
//! Kernels exist that say `MemAvailable: 0` on an idle machine, or fifteen
//! times as much as `MemTotal`; lxcfs says a `SwapFree` that has wrapped below
//! zero. Such a field costs that field alone: something is taken in its place,
//! and an [`Implausible`] says what and why.
//!
//! No I/O here, and no heap: a reading may be the one before a kill.

use std::fmt;
use std::mem::{self, Discriminant};

use model::{Memory, Process};

use crate::file::{decimal, kibibytes};
use crate::notifier::{Notified, NotifierLevel};

/// No machine has more of anything: 64 PiB. A counter that has wrapped below
/// zero is far above.
const ABSURD_BYTES: u64 = 1 << 56;

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
fn reclaimable(bytes: u64, total_bytes: u64) -> u64 {
    bytes - (bytes / 2).min(total_bytes / 16)
}

/// The counters of one reading are not all of the same moment.
fn slack(total_bytes: u64) -> u64 {
    total_bytes / 64
}

/// One line or number that cannot be true, and what is taken in its place.
/// [`fmt::Display`] follows the name of the file: `` `f`, line 3: … ``.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Implausible {
    key: &'static str,
    unit: Unit,
    /// Counted from 1; 0: there is no such line.
    line: usize,
    fault: Fault,
    used: Used,
}

/// What numbers of a file are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Kib,
    Bytes,
    Pages,
    /// It is no quantity of memory.
    None,
}

/// What is wrong. Quantities in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Missing,
    Unreadable(Excerpt),
    Wrapped(Excerpt),
    /// On this line.
    Repeated(usize),
    /// It is more than can be.
    Above {
        found: u64,
        limit: u64,
    },
    /// It is less than can be, since so much is free.
    Below {
        found: u64,
        free: u64,
    },
    /// It could be less only where the kernel keeps back more than it does
    /// unless it is told to.
    Doubtful {
        found: u64,
        free: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Used {
    /// The whole file is left out.
    No,
    /// The field is left out.
    Nothing,
    /// As it is.
    Found,
    Bytes(u64),
    /// Reckoned from free memory, page cache and slab.
    Reckoned(u64),
    /// What the same line said before.
    Before(u64),
}

/// The beginning of what was found, without the heap.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Excerpt {
    bytes: [u8; 32],
    len: u8,
}

impl Excerpt {
    fn of(text: &[u8]) -> Self {
        let mut excerpt = Self {
            bytes: [0; 32],
            len: 0,
        };
        for (to, from) in excerpt.bytes.iter_mut().zip(text.trim_ascii()) {
            *to = match from {
                b' '..=b'~' => *from,
                _ => b'?',
            };
            excerpt.len += 1;
        }
        excerpt
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("?"))
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl Unit {
    fn expected(self) -> &'static str {
        match self {
            Self::Kib => "<number> kB",
            Self::Bytes | Self::None => "<number>",
            Self::Pages => "<pages>",
        }
    }
}

/// A quantity as the file would say it.
struct Amount(u64, Unit);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Unit::Bytes => write!(f, "{} bytes", self.0),
            Unit::Kib | Unit::Pages => write!(f, "{} kB", self.0 >> 10),
            Unit::None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Display for Implausible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key, unit, line, ..
        } = *self;
        if line > 0 {
            write!(f, ", line {line}")?;
        }
        match self.fault {
            Fault::Missing => write!(f, ": there is no line `{key}: {}`", unit.expected())?,
            Fault::Unreadable(found) => {
                let expected = unit.expected();
                write!(f, ": expected `{key}: {expected}`, found `{found}`")?;
            }
            Fault::Wrapped(found) => write!(
                f,
                ": {key} cannot be `{found}`: more than any machine has, or wrapped below zero"
            )?,
            Fault::Repeated(again) => write!(f, ": `{key}` is there again on line {again}")?,
            Fault::Above { found, limit } => {
                let (found, limit) = (Amount(found, unit), Amount(limit, unit));
                write!(f, ": {key} cannot be {found} (at most {limit})")?;
            }
            Fault::Below { found, free } => {
                let (found, free) = (Amount(found, unit), Amount(free, unit));
                write!(f, ": {key} cannot be {found} ({free} are free)")?;
            }
            Fault::Doubtful { found, free } => {
                let (found, free) = (Amount(found, unit), Amount(free, unit));
                write!(f, ": {key} is {found}, but {free} are free")?;
            }
        }
        match self.used {
            Used::No => Ok(()),
            Used::Nothing => write!(f, "; not counted"),
            Used::Found if matches!(self.fault, Fault::Repeated(_)) => {
                write!(f, "; the first counts")
            }
            Used::Found => write!(
                f,
                "; taken as it is, but the kill level waits until free memory is as low"
            ),
            Used::Bytes(bytes) => write!(f, "; taken as {}", Amount(bytes, unit)),
            Used::Reckoned(bytes) => write!(
                f,
                "; taken as {}, by free memory, page cache and slab",
                Amount(bytes, unit)
            ),
            Used::Before(bytes) => write!(f, "; taken as {}, as before", Amount(bytes, unit)),
        }
    }
}

/// What was implausible in the last reading of a file, by field; and what of it
/// was said, so that each is said once until the field was right in between.
#[derive(Debug)]
pub(crate) struct Findings<const FIELDS: usize> {
    slots: [Slot; FIELDS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    now: Option<Implausible>,
    /// What kind of fault was.
    said: Option<Discriminant<Fault>>,
}

impl Slot {
    fn kind(&self) -> Option<Discriminant<Fault>> {
        self.now.map(|now| mem::discriminant(&now.fault))
    }
}

impl<const FIELDS: usize> Default for Findings<FIELDS> {
    fn default() -> Self {
        Self {
            slots: [Slot::default(); FIELDS],
        }
    }
}

impl<const FIELDS: usize> Findings<FIELDS> {
    /// A reading begins.
    pub(crate) fn begin(&mut self) {
        for slot in &mut self.slots {
            slot.now = None;
        }
    }

    /// The reading is over: what was right in it is said again when it is not.
    pub(crate) fn settle(&mut self) {
        for slot in &mut self.slots {
            slot.said = slot.said.filter(|_| slot.now.is_some());
        }
    }

    /// Whether this field was not taken as it stood.
    pub(crate) fn overrules(&self, field: usize) -> bool {
        self.slots[field]
            .now
            .is_some_and(|now| now.used != Used::Found)
    }

    /// One that is yet to be said; it counts as said.
    pub(crate) fn next_unsaid(&mut self) -> Option<Implausible> {
        let mut slots = self.slots.iter_mut();
        let slot = slots.find(|slot| slot.now.is_some() && slot.said != slot.kind())?;
        slot.said = slot.kind();
        slot.now
    }
}

/// A field as it stands in the text.
#[derive(Clone, Copy, Debug, Default)]
struct Field {
    /// Counted from 1; 0: it is not there.
    line: usize,
    value: Option<u64>,
    fault: Option<Fault>,
}

/// The fields that a file of lines `<key>: <number>` is read for.
#[derive(Debug)]
pub(crate) struct Fields<const FIELDS: usize> {
    keys: &'static [(&'static str, Unit); FIELDS],
    fields: [Field; FIELDS],
}

impl<const FIELDS: usize> Fields<FIELDS> {
    /// Reads `text` line by line. A line that is cut short before its colon, or
    /// that has a key we do not know, is passed over.
    pub(crate) fn of(keys: &'static [(&'static str, Unit); FIELDS], text: &[u8]) -> Self {
        let mut fields = [Field::default(); FIELDS];
        for (line, content) in (1..).zip(text.split(|&byte| byte == b'\n')) {
            let Some(colon) = content.iter().position(|&byte| byte == b':') else {
                continue;
            };
            let (key, value) = (&content[..colon], &content[colon + 1..]);
            let known = keys.iter().position(|(known, _)| known.as_bytes() == key);
            if let Some(index) = known {
                fields[index].take(line, value, keys[index].1);
            }
        }
        Self { keys, fields }
    }

    /// Why the file is of no use without this field.
    pub(crate) fn unfit(&self, index: usize) -> Unfit {
        let (key, unit) = self.keys[index];
        let field = &self.fields[index];
        if field.line == 0 {
            return Unfit::Missing { key };
        }
        Unfit::Implausible(Implausible {
            key,
            unit,
            line: field.line,
            // The only sound value that is of no use.
            fault: field
                .fault
                .unwrap_or_else(|| Fault::Unreadable(Excerpt::of(b"0"))),
            used: Used::No,
        })
    }

    /// The value of a field that is there, sound and at most `limit`.
    fn at_most(&self, index: usize, limit: u64, findings: &mut Findings<FIELDS>) -> Option<u64> {
        let Field { value, fault, .. } = self.fields[index];
        let above = |found: &u64| *found > limit;
        let fault = match value.filter(above) {
            Some(found) => Some(Fault::Above { found, limit }),
            None => fault,
        };
        let value = value.filter(|value| !above(value));
        if let Some(fault) = fault {
            let used = value.map_or(Used::Nothing, |_| Used::Found);
            self.note(index, fault, used, findings);
        }
        value
    }

    fn note(&self, index: usize, fault: Fault, used: Used, findings: &mut Findings<FIELDS>) {
        let (key, unit) = self.keys[index];
        let line = self.fields[index].line;
        findings.slots[index].now = Some(Implausible {
            key,
            unit,
            line,
            fault,
            used,
        });
    }

    /// Says what is taken for a field after all.
    fn use_instead(&self, index: usize, used: Used, findings: &mut Findings<FIELDS>) {
        match &mut findings.slots[index].now {
            Some(implausible) => implausible.used = used,
            None => self.note(index, Fault::Missing, used, findings),
        }
    }
}

/// What zoneinfo says of the lists of each CPU, line by line.
#[derive(Debug, Default)]
pub(crate) struct PerCpu {
    page_bytes: u64,
    bytes: u64,
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
        let text = text.trim_ascii();
        let quantity = |pages: &[u8]| {
            let bytes = decimal(pages.trim_ascii())?.checked_mul(self.page_bytes)?;
            (bytes <= ABSURD_BYTES).then_some(bytes)
        };
        if let Some(pages) = text.strip_prefix(b"managed ") {
            let bytes = quantity(pages).unwrap_or(0);
            self.managed_bytes = self.managed_bytes.saturating_add(bytes);
        } else if let Some(pages) = text.strip_prefix(b"count:") {
            self.last_line = line;
            match quantity(pages) {
                Some(bytes) => self.bytes = self.bytes.saturating_add(bytes),
                None => {
                    let fault = Fault::of(pages.trim_ascii(), Some(pages.trim_ascii()));
                    self.unreadable.get_or_insert((line, fault));
                }
            }
        }
    }

    /// The bytes in all lists, and none where that is more than they can hold:
    /// an eighth of memory (`vm.percpu_pagelist_high_fraction`). A list that
    /// makes no sense is taken as empty.
    ///
    /// # Errors
    ///
    /// It tells of no memory at all.
    pub(crate) fn bytes(self, findings: &mut PerCpuFindings) -> Result<u64, Unfit> {
        if !self.any_zone {
            return Err(Unfit::Missing { key: "Node " });
        }
        findings.begin();
        let implausible = |line, fault| {
            Some(Implausible {
                key: "count",
                unit: Unit::Pages,
                line,
                fault,
                used: Used::Nothing,
            })
        };
        if let Some((line, fault)) = self.unreadable {
            findings.slots[Self::COUNT].now = implausible(line, fault);
        }
        let limit = match self.managed_bytes {
            0 => ABSURD_BYTES,
            bytes => (bytes / 8 + slack(bytes)).min(ABSURD_BYTES),
        };
        let bytes = if self.bytes <= limit {
            self.bytes
        } else {
            let found = self.bytes;
            findings.slots[Self::SUM].now =
                implausible(self.last_line, Fault::Above { found, limit });
            0
        };
        findings.settle();
        Ok(bytes)
    }
}

impl Fault {
    /// Why `text` says nothing; `digits` are what there is of it but its unit.
    fn of(text: &[u8], digits: Option<&[u8]>) -> Self {
        let is_number = digits.is_some_and(|digits| {
            let digits = digits.strip_prefix(b"-").unwrap_or(digits);
            !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
        });
        let found = Excerpt::of(text);
        match is_number {
            true => Self::Wrapped(found),
            false => Self::Unreadable(found),
        }
    }
}

impl Field {
    /// The first line of a key counts: what follows may be appended.
    fn take(&mut self, line: usize, text: &[u8], unit: Unit) {
        if self.line > 0 {
            self.fault = self.fault.or(Some(Fault::Repeated(line)));
            return;
        }
        self.line = line;
        let text = text.trim_ascii();
        let digits = match unit {
            Unit::Kib => text.strip_suffix(b" kB").map(<[u8]>::trim_ascii_end),
            Unit::Bytes | Unit::Pages | Unit::None => Some(text),
        };
        let bytes = digits.and_then(decimal).and_then(|number| match unit {
            Unit::Kib => number.checked_mul(1024),
            Unit::Bytes | Unit::Pages | Unit::None => Some(number),
        });
        self.value = bytes.filter(|&bytes| bytes <= ABSURD_BYTES);
        if self.value.is_none() {
            self.fault = Some(Fault::of(text, digits));
        }
    }
}

/// Why a file is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    Missing { key: &'static str },
    Implausible(Implausible),
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
}

pub(crate) const KEYS: [(&str, Unit); 17] = [
    ("MemTotal", Unit::Kib),
    ("MemAvailable", Unit::Kib),
    ("MemFree", Unit::Kib),
    ("Buffers", Unit::Kib),
    ("Cached", Unit::Kib),
    ("Active(file)", Unit::Kib),
    ("Inactive(file)", Unit::Kib),
    ("AnonPages", Unit::Kib),
    ("Shmem", Unit::Kib),
    ("SReclaimable", Unit::Kib),
    ("KReclaimable", Unit::Kib),
    ("SUnreclaim", Unit::Kib),
    ("Hugetlb", Unit::Kib),
    ("HugePages_Total", Unit::None),
    ("Hugepagesize", Unit::Kib),
    ("SwapTotal", Unit::Kib),
    ("SwapFree", Unit::Kib),
];

type Meminfo = Fields<{ KEYS.len() }>;
pub(crate) type MeminfoFindings = Findings<{ KEYS.len() }>;

/// Memory by the text of meminfo. `known_total` is the MemTotal of an earlier
/// reading, which stands in for one that is wrong.
///
/// # Errors
///
/// There is no MemTotal, or neither MemAvailable nor MemFree: nothing can be
/// told by the rest.
pub(crate) fn memory(
    text: &[u8],
    known_total: Option<u64>,
    findings: &mut MeminfoFindings,
) -> Result<Memory, Unfit> {
    let fields = Meminfo::of(&KEYS, text);
    findings.begin();
    let total_bytes = total(&fields, known_total, findings)?;
    // No part of memory is larger than all of it.
    let part = |key: Key, findings: &mut _| fields.at_most(key as usize, total_bytes, findings);
    let free = part(Key::MemFree, findings);
    let anon = part(Key::AnonPages, findings);
    let shmem = part(Key::Shmem, findings);
    let slab = part(Key::SUnreclaim, findings);
    let other = [free, anon, shmem, slab].into_iter().flatten();
    let other_bytes = other.fold(0, u64::saturating_add);
    let hugetlb_bytes = hugetlb(&fields, total_bytes, other_bytes, findings);
    let held = Held {
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
    findings.settle();
    Ok(Memory {
        total_bytes,
        available_bytes,
        at_least_bytes: free.unwrap_or(0).saturating_sub(kept_back(total_bytes)),
        hugetlb_bytes,
        swap_total_bytes,
        swap_free_bytes,
        anon_bytes: anon.unwrap_or(0),
        shmem_bytes: shmem.unwrap_or(0),
        unreclaimable_slab_bytes: slab.unwrap_or(0),
    })
}

/// What no reclaim brings back, but for what of `anon` was freed lazily.
struct Held {
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
    fn at_most(&self, held: &Held) -> u64 {
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
    fields: &Meminfo,
    known_total: Option<u64>,
    findings: &mut MeminfoFindings,
) -> Result<u64, Unfit> {
    const TOTAL: usize = Key::MemTotal as usize;
    let found = fields.at_most(TOTAL, ABSURD_BYTES, findings);
    if let Some(bytes) = found.filter(|&bytes| bytes > 0) {
        return Ok(bytes);
    }
    let known = known_total.ok_or_else(|| fields.unfit(TOTAL))?;
    fields.use_instead(TOTAL, Used::Before(known), findings);
    Ok(known)
}

/// What is free or held otherwise is not set aside for huge pages. 0 where the
/// kernel does not say; before Linux 4.20 it says pages and their size.
fn hugetlb(
    fields: &Meminfo,
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
    fields: &Meminfo,
    room: &Room,
    held: &Held,
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
fn swap(fields: &Meminfo, findings: &mut MeminfoFindings) -> (u64, u64) {
    const TOTAL: usize = Key::SwapTotal as usize;
    const FREE: usize = Key::SwapFree as usize;
    let total = fields.at_most(TOTAL, ABSURD_BYTES, findings);
    if total.is_none() && fields.fields[TOTAL].line > 0 {
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
            if total > 0 || fields.fields[FREE].line > 0 {
                fields.use_instead(FREE, Used::Bytes(0), findings);
            }
            0
        }
    };
    (total, free)
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
pub fn bound(process: &mut Process, memory: &Memory) -> bool {
    let mut bounded = false;
    let mut bound = |bytes: &mut u64, limit: u64| {
        bounded |= *bytes > limit;
        *bytes = limit.min(*bytes);
    };
    bound(&mut process.rss_bytes, memory.total_bytes);
    bound(&mut process.anon_bytes, memory.total_bytes);
    bound(&mut process.shmem_bytes, memory.total_bytes);
    bound(&mut process.swap_bytes, memory.swap_total_bytes);
    bounded
}

/// What the module says beside its level, in the order of [`NOTIFIER_KEYS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotifierKey {
    Total,
    Available,
    Hugetlb,
    SwapTotal,
    SwapFree,
    Sequence,
    /// The first line, which has no key.
    Level,
}

pub(crate) const NOTIFIER_KEYS: [(&str, Unit); 7] = [
    ("MemTotalBytes", Unit::Bytes),
    ("MemAvailableBytes", Unit::Bytes),
    ("HugetlbBytes", Unit::Bytes),
    ("SwapTotalBytes", Unit::Bytes),
    ("SwapFreeBytes", Unit::Bytes),
    ("Sequence", Unit::None),
    ("level", Unit::None),
];

pub(crate) type NotifierFindings = Findings<{ NOTIFIER_KEYS.len() }>;

/// What the module says. A field that cannot be true is as if not said.
pub(crate) fn notified(text: &[u8], findings: &mut NotifierFindings) -> Notified {
    let fields = Fields::of(&NOTIFIER_KEYS, text);
    let value =
        |key: NotifierKey, limit, findings: &mut _| fields.at_most(key as usize, limit, findings);
    findings.begin();
    let first = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let level = match first.trim_ascii() {
        b"0" => Some(NotifierLevel::Ok),
        b"1" => Some(NotifierLevel::Warn),
        b"2" => Some(NotifierLevel::Kill),
        b"3" => Some(NotifierLevel::LastCall),
        other => {
            let fault = Fault::Unreadable(Excerpt::of(other));
            fields.note(NotifierKey::Level as usize, fault, Used::Nothing, findings);
            None
        }
    };
    let total = value(NotifierKey::Total, ABSURD_BYTES, findings).filter(|&bytes| {
        if bytes == 0 {
            let fault = Fault::Unreadable(Excerpt::of(b"0"));
            fields.note(NotifierKey::Total as usize, fault, Used::Nothing, findings);
        }
        bytes > 0
    });
    let limit = total.unwrap_or(ABSURD_BYTES);
    let hugetlb = value(NotifierKey::Hugetlb, limit, findings);
    let limit = limit - hugetlb.unwrap_or(0);
    let available = value(NotifierKey::Available, limit, findings);
    let swap_total = value(NotifierKey::SwapTotal, ABSURD_BYTES, findings);
    // As of meminfo's: where it makes no sense, memory alone decides.
    let swap_free = value(NotifierKey::SwapFree, swap_total.unwrap_or(0), findings);
    let sequence = value(NotifierKey::Sequence, u64::MAX, findings);
    findings.settle();
    Notified {
        level,
        total_bytes: total,
        available_bytes: available,
        hugetlb_bytes: hugetlb,
        swap_total_bytes: swap_total,
        swap_free_bytes: swap_free,
        sequence,
    }
}
