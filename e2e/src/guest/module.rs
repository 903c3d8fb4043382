//! The module under test, and what its file says.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::system::{delete_module, finit_module};

use super::{files, wait};

/// Where the module speaks.
pub const PATH: &str = "/proc/oom_notifier";

/// The level while the kernel waits for an answer.
pub const LAST_CALL: u32 = 3;

const IMAGE: &str = "/memory_info.ko";
const NAME: &str = "memory_info";

/// The module, loaded. Unload it with [`Module::unload`].
#[derive(Debug)]
#[must_use]
pub struct Module(());

impl Module {
    /// Loads it with `parameters`, such as `grace_ms=100 reserve_kib=0`.
    ///
    /// # Errors
    ///
    /// The kernel refused it.
    pub fn load(parameters: &str) -> Result<Self> {
        insert(Path::new(IMAGE), parameters)?;
        Ok(Self(()))
    }

    /// One that was loaded otherwise.
    pub fn loaded() -> Self {
        Self(())
    }

    /// Unloads it.
    ///
    /// # Errors
    ///
    /// The kernel refused, because it is in use.
    pub fn unload(self) -> Result<()> {
        // A descriptor of a process that has just died may be still on its way.
        wait::until("the module is unloaded", Duration::from_secs(5), || {
            Ok(try_unload().is_ok())
        })?;
        std::mem::forget(self);
        Ok(())
    }

    /// Sets a parameter while it runs.
    ///
    /// # Errors
    ///
    /// The module refused the value.
    pub fn set(&self, parameter: &str, value: &str) -> Result<()> {
        files::write(parameter_path(parameter), value)
    }

    /// A parameter as it is.
    ///
    /// # Errors
    ///
    /// It could not be read.
    pub fn parameter(&self, parameter: &str) -> Result<String> {
        Ok(files::text(parameter_path(parameter))?.trim().to_owned())
    }
}

impl Drop for Module {
    /// For a scenario that failed; the next one shall find the machine clean.
    fn drop(&mut self) {
        let _ = wait::until("", Duration::from_secs(5), || Ok(try_unload().is_ok()));
    }
}

fn parameter_path(parameter: &str) -> String {
    format!("/sys/module/{NAME}/parameters/{parameter}")
}

/// Asks the kernel to unload it, once.
///
/// # Errors
///
/// `EAGAIN`: it is in use.
pub fn try_unload() -> rustix::io::Result<()> {
    // Without this flag the call would wait; O_NONBLOCK is what rmmod gives.
    delete_module(
        c"memory_info",
        rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
    )
}

/// Whether it is loaded.
#[must_use]
pub fn is_loaded() -> bool {
    files::exists(format!("/sys/module/{NAME}/initstate"))
}

/// Loads any module.
///
/// # Errors
///
/// The kernel refused it.
pub fn insert(path: &Path, parameters: &str) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    let parameters = CString::new(parameters).context("a parameter holds a NUL")?;
    match finit_module(&file, &parameters, 0) {
        Ok(()) => Ok(()),
        // An earlier one needed it.
        Err(Errno::EXIST) if path.starts_with(super::MODULES) => Ok(()),
        Err(err) => Err(err).with_context(|| format!("cannot load `{}`", path.display())),
    }
}

/// What the file said at one moment.
#[derive(Clone, Debug)]
pub struct Notice {
    text: String,
}

impl Notice {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// It could not be read.
    pub fn read() -> Result<Self> {
        let text = files::text(PATH)?;
        Ok(Self { text })
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first line.
    ///
    /// # Errors
    ///
    /// It is no number.
    pub fn level(&self) -> Result<u32> {
        let line = self.text.lines().next().unwrap_or_default();
        line.parse()
            .with_context(|| format!("`{line}` is no level"))
    }

    /// The value of `key`.
    ///
    /// # Errors
    ///
    /// There is no such line.
    pub fn value(&self, key: &str) -> Result<&str> {
        self.text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
            .with_context(|| format!("`{PATH}` has no `{key}`"))
    }

    /// The value of `key`, which is a whole number.
    ///
    /// # Errors
    ///
    /// There is no such line, or it is no whole number.
    pub fn number(&self, key: &str) -> Result<u64> {
        let value = self.value(key)?;
        value
            .parse()
            .with_context(|| format!("`{key}` is `{value}`"))
    }
}

/// Opens the file as a listener does.
///
/// # Errors
///
/// `EBUSY`: another process listens. `EACCES`: not root. `EPERM`: root without
/// CAP_SYS_RESOURCE.
pub fn open_to_listen() -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open(PATH)
}

/// Waits until the module has counted at least so many last calls.
///
/// # Errors
///
/// It did not within a minute.
pub fn wait_for_last_calls(key: &str, count: u64) -> Result<()> {
    wait::until(
        "the kernel was about to kill",
        Duration::from_secs(60),
        || Ok(Notice::read()?.number(key)? >= count),
    )
}

/// Waits for a last call by the file, opened beforehand: where memory is short,
/// to open anything takes as long as the call.
///
/// # Errors
///
/// There was none within a minute, or it could not be read.
pub fn wait_for_last_call(file: &File) -> Result<()> {
    wait_where(file, |text| text.starts_with(b"3\n"))
}

/// The same for an answer to the first.
///
/// # Errors
///
/// There was none within a minute, or the file could not be read.
pub fn wait_for_an_answer(file: &File) -> Result<()> {
    const NONE: &[u8] = b"LastCallsAnswered: 0\n";
    wait_where(file, |text| !text.windows(NONE.len()).any(|at| at == NONE))
}

/// The same for its end.
///
/// # Errors
///
/// It did not end within a minute, or the file could not be read.
pub fn wait_for_its_end(file: &File) -> Result<()> {
    wait_where(file, |text| !text.starts_with(b"3\n"))
}

fn wait_where(file: &File, is_it: impl Fn(&[u8]) -> bool) -> Result<()> {
    let limit = Timespec::try_from(Duration::from_secs(60) * wait::patience())?;
    let mut text = [0; 1024];
    loop {
        rustix::io::pread(file, &mut text, 0)?;
        if is_it(&text) {
            return Ok(());
        }
        let mut fds = [PollFd::new(file, PollFlags::PRI)];
        ensure!(
            poll(&mut fds, Some(&limit))? > 0,
            "nothing came of a last call"
        );
    }
}

/// Fails unless a parameter's value is refused.
///
/// # Errors
///
/// It was taken.
pub fn refuses(module: &Module, parameter: &str, value: &str) -> Result<()> {
    if module.set(parameter, value).is_ok() {
        bail!("`{parameter}` took `{value}`");
    }
    Ok(())
}
