//! The kernel's files, as scenarios look at them.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::wait;

/// One mebibyte in bytes.
pub const MIB: u64 = 1 << 20;

/// The size of a page in bytes.
pub const PAGE: u64 = 4096;

/// Whether something has this path.
#[must_use]
pub fn exists(path: impl AsRef<Path>) -> bool {
    path.as_ref().exists()
}

/// A file's text.
///
/// # Errors
///
/// It could not be read.
pub fn text(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// Writes to a file of the kernel's.
///
/// # Errors
///
/// It could not be written to.
pub fn write(path: impl AsRef<Path>, text: &str) -> Result<()> {
    let path = path.as_ref();
    fs::write(path, text).with_context(|| format!("cannot write `{text}` to `{}`", path.display()))
}

/// A number of `/proc/meminfo`, in bytes; 0 where the kernel does not have it.
///
/// # Errors
///
/// It could not be read or made no sense.
pub fn meminfo_bytes(key: &str) -> Result<u64> {
    let text = text("/proc/meminfo")?;
    let Some(line) = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{key}:")))
    else {
        return Ok(0);
    };
    let kib: u64 = line
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .with_context(|| format!("`{key}` of /proc/meminfo is no number"))?;
    Ok(kib * 1024)
}

/// What can be taken before the kernel is out of memory, in bytes: what is free
/// above each zone's min watermark, and what can be reclaimed, all of it. That is
/// more than MemAvailable, which leaves the high watermark, half of what can be
/// reclaimed, and the more the larger the machine is.
///
/// # Errors
///
/// The kernel's files could not be read or made no sense.
pub fn takable_bytes() -> Result<u64> {
    let zones = text("/proc/zoneinfo")?;
    let free: u64 = zones.split("Node ").map(takable_pages).sum();
    let mut takable = free * PAGE;
    for key in ["Active(file)", "Inactive(file)", "SReclaimable"] {
        takable += meminfo_bytes(key)?;
    }
    Ok(takable)
}

/// What is available as the daemon counts it, in bytes: MemAvailable, and what is
/// in per-CPU lists if the kernel has anything to reclaim.
///
/// # Errors
///
/// The kernel's files could not be read or made no sense.
pub fn available_bytes() -> Result<u64> {
    let available = meminfo_bytes("MemAvailable")?;
    let files = meminfo_bytes("Active(file)")? + meminfo_bytes("Inactive(file)")?;
    if files < MIB && meminfo_bytes("SwapFree")? == 0 {
        return Ok(available);
    }
    Ok(available + listed_pages(&text("/proc/zoneinfo")?) * PAGE)
}

/// What is to be taken until so many percent of memory are available, as the daemon
/// counts, in MiB.
///
/// # Errors
///
/// As [`available_bytes`].
pub fn mebibytes_down_to(percent: u64) -> Result<u64> {
    let stays = meminfo_bytes("MemTotal")? * percent / 100;
    Ok(available_bytes()?.saturating_sub(stays) / MIB)
}

/// In the per-CPU lists of one zone of `/proc/zoneinfo`, or of all.
fn listed_pages(zones: &str) -> u64 {
    let counts = zones.lines().filter_map(|line| {
        let count = line.trim().strip_prefix("count:")?;
        count.trim().parse::<u64>().ok()
    });
    counts.sum()
}

/// Of one zone of `/proc/zoneinfo`, with what is in its per-CPU lists, and without
/// what it keeps for allocations that no other zone can serve.
fn takable_pages(zone: &str) -> u64 {
    let numbers = |key: &str| {
        let mut lines = zone.lines().map(str::trim);
        let line = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix([' ', ':']));
        let numbers = line.into_iter().flat_map(|line| {
            line.split(|other: char| !other.is_ascii_digit())
                .filter_map(|number| number.parse::<u64>().ok())
        });
        numbers.collect::<Vec<_>>()
    };
    let first = |key| numbers(key).first().copied().unwrap_or_default();
    let kept = numbers("protection").into_iter().max().unwrap_or_default();
    let free = first("pages free") + listed_pages(zone);
    free.saturating_sub(first("min") + kept)
}

/// What a process holds, in memory and in swap.
///
/// # Errors
///
/// It is gone.
pub fn held_mebibytes(pid: u32) -> Result<u64> {
    let status = text(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let (resident, swapped) = field("VmRSS:")
        .zip(field("VmSwap:"))
        .context("it is gone")?;
    Ok((resident + swapped) >> 10)
}

/// How many processes the kernel's OOM killer has killed since boot.
///
/// # Errors
///
/// It could not be read.
pub fn kernel_kills() -> Result<u64> {
    text("/proc/vmstat")?
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .context("/proc/vmstat has no `oom_kill`")?
        .parse()
        .context("`oom_kill` of /proc/vmstat is no number")
}

/// The kernel's log from now on.
#[derive(Debug)]
pub struct KernelLog {
    file: File,
    text: String,
}

impl KernelLog {
    /// Skips what was logged before.
    ///
    /// # Errors
    ///
    /// `/dev/kmsg` could not be opened.
    pub fn from_now() -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open("/dev/kmsg")
            .context("cannot open `/dev/kmsg`")?;
        file.seek(SeekFrom::End(0))
            .context("cannot skip to the end of the log")?;
        Ok(Self {
            file,
            text: String::new(),
        })
    }

    /// All that was logged since.
    ///
    /// # Errors
    ///
    /// `/dev/kmsg` could not be read.
    pub fn text(&mut self) -> Result<&str> {
        let mut record = [0; 8192];
        loop {
            match self.file.read(&mut record) {
                Ok(len) => {
                    let line = String::from_utf8_lossy(&record[..len]);
                    let (_, message) = line.split_once(';').unwrap_or(("", &line));
                    self.text.push_str(message);
                }
                Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(&self.text),
                // The ring went round: what is gone is gone.
                Err(err) if err.raw_os_error() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {}
                Err(err) => return Err(err).context("cannot read `/dev/kmsg`"),
            }
        }
    }

    /// Whether a line since has this in it.
    ///
    /// # Errors
    ///
    /// `/dev/kmsg` could not be read.
    pub fn says(&mut self, what: &str) -> Result<bool> {
        Ok(self.text()?.contains(what))
    }

    /// Waits for such a line: what the module says of a last call is logged
    /// once it is over.
    ///
    /// # Errors
    ///
    /// There is none within a minute, or `/dev/kmsg` could not be read.
    pub fn comes_to_say(&mut self, what: &str) -> Result<()> {
        wait::until(
            &format!("the log says `{what}`"),
            Duration::from_secs(60),
            || self.says(what),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::takable_pages;

    const ZONE: &str = "0, zone    DMA32\n\
        \x20 per-node stats\n\
        \x20     nr_inactive_anon 5\n\
        \x20 pages free     1000\n\
        \x20       boost    0\n\
        \x20       min      100\n\
        \x20       low      125\n\
        \x20       high     150\n\
        \x20       protection: (0, 0, 300, 300)\n\
        \x20     nr_free_pages 1000\n\
        \x20 pagesets\n\
        \x20   cpu: 0\n\
        \x20             count: 20\n\
        \x20             high:  42\n\
        \x20   cpu: 1\n\
        \x20             count: 3\n";

    #[test]
    fn a_zone_gives_what_it_has_above_its_min_watermark() {
        assert_eq!(takable_pages(ZONE), 1000 + 23 - 100 - 300);
        assert_eq!(takable_pages(&ZONE.replace("1000", "10")), 0);
        assert_eq!(takable_pages(""), 0);
    }
}
