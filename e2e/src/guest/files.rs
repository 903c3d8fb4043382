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
