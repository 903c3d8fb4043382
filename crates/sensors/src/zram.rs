//! Swap in zram: `/proc/swaps`, proc_swaps(5), and `/sys/block/zram<n>/mm_stat`,
//! admin-guide/blockdev/zram of the kernel.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use model::{Memory, Paging, ZRAM_LEAST_GAIN};

use crate::error::{ReadError, beginning};
use crate::file::{WatchedFile, open, read_whole};
use crate::number::decimal;
use crate::plausible::ABSURD_BYTES;

/// So many devices are looked at: a descriptor is kept of each. Old scripts
/// make one for each CPU; the rest are as these are.
const DEVICES: usize = 8;

/// What zram holds counts for its ratio together with this part of the device,
/// compressed by half: so much the kernel's documentation promises, and a few
/// pages do not say what the next ones will be like.
const PRIOR: u64 = 128;

/// What the free swap in zram would take of memory.
///
/// zram keeps what is swapped out to it in memory, compressed. Where that does
/// not compress, the kernel kills with half of zram free: nothing is gained by
/// swapping to it.
#[derive(Debug)]
pub struct Zram {
    swaps: WatchedFile<8192>,
    /// `/sys/block`.
    blocks: PathBuf,
    devices: Vec<Device>,
    usage: Usage,
}

#[derive(Debug)]
struct Device {
    number: u32,
    path: PathBuf,
    mm_stat: Option<OwnedFd>,
}

/// What is known of all swap in zram, in bytes.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Usage {
    /// What was swapped out to it,
    stored: u64,
    /// and takes of memory now.
    held: u64,
    /// Of free swap, what filling it would not gain.
    worthless: u64,
}

/// A line of `/proc/swaps`, in bytes.
#[derive(Clone, Copy, Debug)]
struct Swap {
    number: u32,
    size: u64,
    free: u64,
}

/// What we use of `mm_stat`, in bytes.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Stored {
    original: u64,
    used: u64,
    /// 0: none.
    limit: u64,
}

impl Zram {
    /// Looks for swap in zram in `swaps`, which is `/proc/swaps` or looks like
    /// it, and for its devices in `blocks`, `/sys/block`.
    ///
    /// # Errors
    ///
    /// [`ReadError::Open`] of `swaps`: a kernel without swap has none.
    pub fn open(swaps: &Path, blocks: &Path) -> Result<Self, ReadError> {
        let mut zram = Self {
            swaps: WatchedFile::open(swaps)?.in_pieces(),
            blocks: blocks.to_owned(),
            devices: Vec::new(),
            usage: Usage::default(),
        };
        zram.refresh();
        Ok(zram)
    }

    /// Looks which devices there are; for quiet rounds.
    pub fn refresh(&mut self) {
        let Ok(text) = self.swaps.read_lines() else {
            return;
        };
        let numbers = || swaps(text).map(|swap| swap.number).take(DEVICES);
        let known = self.devices.iter().map(|device| device.number);
        if known.eq(numbers()) && self.devices.iter().all(|device| device.mm_stat.is_some()) {
            return;
        }
        self.devices = numbers()
            .map(|number| {
                let path = self.blocks.join(format!("zram{number}/mm_stat"));
                let mm_stat = open(&path).ok();
                Device {
                    number,
                    path,
                    mm_stat,
                }
            })
            .collect();
    }

    /// Reads how full it is and how well that compresses: one or two pread(2)
    /// for each device and one more, no heap. What cannot be read counts as
    /// compressed by half.
    ///
    /// # Errors
    ///
    /// The first of [`ReadError::Read`], [`ReadError::Malformed`] and
    /// [`ReadError::TooLong`].
    pub fn measure(&mut self) -> Result<(), ReadError> {
        if self.devices.is_empty() {
            self.usage = Usage::default();
            return Ok(());
        }
        let text = self.swaps.read_lines()?;
        let mut usage = Usage::default();
        let mut measured = (0, 0);
        let mut unmeasured = 0;
        let mut failure = None;
        for swap in swaps(text) {
            let mut devices = self.devices.iter();
            let Some(device) = devices.find(|device| device.number == swap.number) else {
                unmeasured += swap.free;
                continue;
            };
            let stored = device.read(swap.size).unwrap_or_else(|err| {
                failure.get_or_insert(err);
                Stored::default()
            });
            let worthless = swap.free - stored.worth(swap);
            usage.stored += stored.original;
            usage.held += stored.used;
            usage.worthless += worthless;
            measured = (measured.0 + worthless, measured.1 + swap.free);
        }
        usage.worthless += part(measured.0, measured.1, unmeasured);
        self.usage = usage;
        failure.map_or(Ok(()), Err)
    }

    /// Tells `paging` what was measured last.
    pub(crate) fn tell(&self, paging: &mut Paging) {
        paging.in_zram_bytes = self.usage.stored;
        paging.zram_bytes = self.usage.held;
    }

    /// Tells `memory` what was measured last.
    pub fn count(&self, memory: &mut Memory) {
        memory.zram_bytes = self.usage.held.min(memory.total_bytes);
        memory.worthless_swap_bytes = self.usage.worthless.min(memory.swap_free_bytes);
    }
}

impl Device {
    fn read(&self, size: u64) -> Result<Stored, ReadError> {
        let Some(file) = &self.mm_stat else {
            return Err(ReadError::Read {
                path: self.path.clone(),
                source: std::io::ErrorKind::NotFound.into(),
            });
        };
        // Nine numbers of at most 20 digits, 8 columns wide at least.
        let mut text = [0; 256];
        let len = read_whole(file, &mut text).map_err(|errno| ReadError::Read {
            path: self.path.clone(),
            source: errno.into(),
        })?;
        Stored::parse(&text[..len], size).ok_or_else(|| ReadError::Malformed {
            path: self.path.clone(),
            line: 1,
            expected: Stored::EXPECTED,
            found: beginning(&text[..len]),
        })
    }
}

impl Stored {
    const EXPECTED: &str = "`<stored> <compressed> <memory used> <memory limit> …` in bytes, no more than the device has";

    fn parse(text: &[u8], size: u64) -> Option<Self> {
        let mut fields = text
            .split(u8::is_ascii_whitespace)
            .filter(|field| !field.is_empty())
            .map(|field| decimal(field).filter(|&bytes| bytes <= ABSURD_BYTES));
        let original = fields.next()??;
        let used = fields.nth(1)??;
        let limit = fields.next()??;
        // Cut short within a number, otherwise. What it stores of a page that it
        // cannot compress takes a page, and its pools some more.
        fields.next()?;
        (original <= size && used <= size.saturating_mul(2)).then_some(Self {
            original,
            used,
            limit,
        })
    }

    /// Of what is free of `swap`, what filling it would gain.
    fn worth(self, swap: Swap) -> u64 {
        let prior = (swap.size / PRIOR).max(1);
        let original = self.original + prior;
        let used = (self.used + prior / 2).min(original);
        let room = match self.limit {
            0 => swap.free,
            limit => part(original, used, limit.saturating_sub(self.used)).min(swap.free),
        };
        let gain = original - used;
        // From twice the least gain on it counts in full.
        let above = gain.saturating_sub(original / ZRAM_LEAST_GAIN);
        part(gain.min(above.saturating_mul(2)), original, room)
    }
}

/// Those in zram.
fn swaps(text: &[u8]) -> impl Iterator<Item = Swap> {
    text.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut fields = line
            .split(u8::is_ascii_whitespace)
            .filter(|field| !field.is_empty());
        let name = fields.next()?.rsplit(|&byte| byte == b'/').next()?;
        let number = decimal(name.strip_prefix(b"zram")?)?;
        let mut kibibytes = fields.skip(1).map(|field| {
            let bytes = decimal(field)?.checked_mul(1024)?;
            (bytes <= ABSURD_BYTES).then_some(bytes)
        });
        let size = kibibytes.next()??;
        let used = kibibytes.next()??;
        Some(Swap {
            number: number.try_into().ok()?,
            size,
            free: size.saturating_sub(used),
        })
    })
}

/// `numerator / denominator × of`, rounded down.
fn part(numerator: u64, denominator: u64, of: u64) -> u64 {
    let scaled = u128::from(of) * u128::from(numerator) / u128::from(denominator.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}
