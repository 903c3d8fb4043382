//! Where an allocation of the module's fails. The kernel lets one thread ask for
//! that: the n-th of its allocations from now on fails (`fail-nth`).

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;

use crate::guest::Report;
use crate::guest::files::{self, exists};
use crate::guest::module::{self, Module, open_to_listen};
use crate::guest::program::busybox;

/// Each allocation of open(2) in turn: there is no listener then, and the
/// module can be unloaded.
pub(super) fn what_opening_takes_may_fail(report: &mut Report) -> Result<()> {
    let faults = Faults::prepare()?;
    let module = Module::load("")?;
    let mut failed = 0;
    for number in 1.. {
        let (opened, has_failed) = faults.with(number, open_to_listen)?;
        if !has_failed {
            opened.context("cannot listen")?;
            break;
        }
        match opened {
            Ok(_) => {}
            Err(err) if err.raw_os_error() == Some(Errno::NOMEM.raw_os_error()) => failed += 1,
            Err(err) => return Err(err).with_context(|| format!("failing allocation {number}")),
        }
    }
    report.figure("allocations without which it is not open", failed)?;
    ensure!(failed > 0, "no allocation failed");
    module.unload()
}

/// The same for loading, where most are the kernel's own. It is loaded, or it
/// leaves nothing behind.
pub(super) fn what_loading_takes_may_fail(report: &mut Report) -> Result<()> {
    let faults = Faults::prepare()?;
    let (mut failed, mut loaded) = (0, 0);
    for number in 1.. {
        let (module, has_failed) = faults.with(number, || Module::load("reserve_kib=1024"))?;
        match module {
            Ok(module) => {
                loaded += 1;
                module.unload()?;
            }
            Err(err) if !has_failed => return Err(err),
            Err(_) => failed += 1,
        }
        ensure!(!exists(module::PATH), "it left its file");
        if !has_failed {
            break;
        }
    }
    report.figure("allocations without which it is not loaded", failed)?;
    report.figure("loaded all the same", loaded)?;
    ensure!(failed > 0, "no allocation failed");
    Ok(())
}

/// The way to have allocations of this thread fail.
struct Faults {
    nth: File,
}

impl Faults {
    fn prepare() -> Result<Self> {
        const DEBUG: &str = "/sys/kernel/debug";
        busybox(&["mount", "-t", "debugfs", "debugfs", DEBUG])?;
        // Of those that may wait for memory, too.
        for kind in ["failslab", "fail_page_alloc"] {
            files::write(format!("{DEBUG}/{kind}/ignore-gfp-wait"), "N")?;
        }
        files::write(format!("{DEBUG}/fail_page_alloc/min-order"), "0")?;
        busybox(&["umount", DEBUG])?;
        let nth = File::options()
            .read(true)
            .write(true)
            .open("/proc/thread-self/fail-nth")
            .context("cannot have allocations fail")?;
        Ok(Self { nth })
    }

    /// Runs it with the `number`-th allocation failing; says whether there was
    /// one.
    fn with<T>(&self, number: u64, run: impl FnOnce() -> T) -> Result<(T, bool)> {
        let mut left = [0; 16];
        self.nth.write_at(number.to_string().as_bytes(), 0)?;
        let outcome = run();
        let len = self.nth.read_at(&mut left, 0)?;
        self.nth.write_at(b"0", 0)?;
        match str::from_utf8(&left[..len]).unwrap_or_default().trim() {
            "" => bail!("the kernel does not say how many are left"),
            left => Ok((outcome, left == "0")),
        }
    }
}
