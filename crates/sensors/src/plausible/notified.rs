//! What the kernel module may say.

use model::Memory;

use super::ABSURD_BYTES;
use super::fields::{Fields, Findings};
use super::implausible::{Excerpt, Fault, Measure, Used};

/// How short the module finds the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotifierLevel {
    /// Memory or swap is above the module's warn level.
    Ok,
    /// Both are at or below it.
    Warn,
    /// Both are at or below its kill level.
    Kill,
    /// The kernel is about to kill, and waits for an answer.
    LastCall,
}

/// What the module says at one moment. What it does not say, or cannot be true,
/// is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notified {
    /// How short the machine is.
    pub level: Option<NotifierLevel>,
    /// `MemTotal` in bytes.
    pub total_bytes: Option<u64>,
    /// `MemAvailable` in bytes, of the moment of reading.
    pub available_bytes: Option<u64>,
    /// `Hugetlb` in bytes.
    pub hugetlb_bytes: Option<u64>,
    /// `SwapTotal` in bytes.
    pub swap_total_bytes: Option<u64>,
    /// `SwapFree` in bytes, of the moment of reading.
    pub swap_free_bytes: Option<u64>,
    /// The number that answers the latest last call; 0 before the first.
    pub sequence: Option<u64>,
}

impl Notified {
    /// `memory` with what the module says in place of what it said; `None`
    /// where the module does not say how much is available, or how much of swap:
    /// what `memory` says of these is of another moment.
    #[must_use]
    pub fn updated(&self, memory: Memory) -> Option<Memory> {
        let total_bytes = self.total_bytes.unwrap_or(memory.total_bytes);
        let available_bytes = self.available_bytes?;
        let hugetlb_bytes = self.hugetlb_bytes.unwrap_or(memory.hugetlb_bytes);
        let swap_total_bytes = self.swap_total_bytes?;
        // What was set aside at another moment is not available now.
        let most_hugetlb_bytes = total_bytes.checked_sub(available_bytes)?;
        Some(Memory {
            total_bytes,
            available_bytes,
            // They are of another moment, and the module does not say them.
            at_least_bytes: 0,
            swap_cached_bytes: 0,
            hugetlb_bytes: hugetlb_bytes.min(most_hugetlb_bytes),
            swap_total_bytes,
            swap_free_bytes: self.swap_free_bytes?.min(swap_total_bytes),
            ..memory
        })
    }
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

pub(crate) const NOTIFIER_KEYS: [(&str, Measure); 7] = [
    ("MemTotalBytes", Measure::Bytes),
    ("MemAvailableBytes", Measure::Bytes),
    ("HugetlbBytes", Measure::Bytes),
    ("SwapTotalBytes", Measure::Bytes),
    ("SwapFreeBytes", Measure::Bytes),
    ("Sequence", Measure::None),
    ("level", Measure::None),
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
    // Free of how much? The module does not know it where it cannot read meminfo.
    let swap_free = swap_total.and_then(|total| value(NotifierKey::SwapFree, total, findings));
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
