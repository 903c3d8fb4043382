//! The guest: `/init`, and the helper programs that scenarios start.
//!
//! `/init` mounts what the kernel has to say, runs the scenarios named in its
//! environment, and restarts the machine, which ends QEMU. The same binary
//! under the word `role` is a helper: see [`roles`].

mod arena;
pub mod cgroup;
pub mod daemon;
pub mod files;
mod job;
pub mod listener;
pub mod module;
pub mod probe;
pub mod program;
mod ray;
pub mod replay;
pub mod roles;
pub mod swap;
mod system;
pub mod timeline;
pub mod wait;

use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result, anyhow, bail};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};

use crate::arena::PREFIX;
use crate::scenarios;
use crate::words::{SCENARIOS_VARIABLE, SYSTEM_VARIABLE, Word};

/// The second serial port: see [`crate::words`].
const PORT: &str = "/dev/ttyS1";

/// Where the image keeps the kernel's own modules, in the order to load them.
const MODULES: &str = "/modules";

/// Runs as `/init`, or as the helper that the arguments name.
///
/// # Errors
///
/// What went wrong, before any scenario could.
pub fn run(mut args: impl Iterator<Item = String>) -> Result<()> {
    match args.next().as_deref() {
        Some("role") => roles::run(args),
        Some(system::WORD) => scenarios_of_this_boot(),
        Some(other) => bail!("`{other}` is no role"),
        None if rustix::process::getpid().is_init() => {
            let ended = init();
            if let Err(err) = &ended {
                report(err);
            }
            rustix::fs::sync();
            reboot(RebootCommand::Restart).context("cannot restart")?;
            ended
        }
        None => bail!("this is the guest's /init; nothing else should start it"),
    }
}

/// Says on the console why it went wrong.
pub fn report(err: &anyhow::Error) {
    // A console that is gone is nothing that we could tell anyone about.
    let _ = writeln!(std::io::stderr(), "guest: {err:#}");
}

/// The console's file is what the host keeps. One that takes nothing is no reason to fail.
pub(crate) fn say_on_console(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The way to the host, held by the running scenario.
#[derive(Debug)]
pub struct Report {
    port: File,
}

impl Report {
    fn open() -> Result<Self> {
        let port = OpenOptions::new()
            .write(true)
            .open(PORT)
            .with_context(|| format!("cannot open `{PORT}`"))?;
        Ok(Self { port })
    }

    fn say(&mut self, word: &Word) -> Result<()> {
        writeln!(self.port, "{word}").context("cannot speak to the host")
    }

    /// Records what was measured, with its unit.
    ///
    /// # Errors
    ///
    /// The port could not be written to.
    pub fn figure(&mut self, key: &str, value: impl std::fmt::Display) -> Result<()> {
        self.say(&Word::Figure {
            key: key.to_owned(),
            value: value.to_string(),
        })
    }
}

fn init() -> Result<()> {
    mount_all()?;
    load_kernel_modules()?;
    // What the module says belongs on the console, which the host keeps.
    fs::write("/proc/sys/kernel/printk", "7").context("cannot open the log up")?;
    match std::env::var_os(SYSTEM_VARIABLE) {
        Some(_) => system::start(),
        None => scenarios_of_this_boot(),
    }
}

fn scenarios_of_this_boot() -> Result<()> {
    let wanted = std::env::var(SCENARIOS_VARIABLE).context("no scenario was named")?;
    let mut report = Report::open()?;
    for name in wanted.split(',') {
        run_scenario(name, &mut report)?;
    }
    report.say(&Word::Done)
}

fn mount_all() -> Result<()> {
    for (kind, at) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("devpts", "/dev/pts"),
        ("tmpfs", "/tmp"),
        ("cgroup2", "/sys/fs/cgroup"),
    ] {
        fs::create_dir_all(at).with_context(|| format!("cannot make `{at}`"))?;
        let options: Option<&CStr> = None;
        mount(kind, at, kind, MountFlags::empty(), options)
            .with_context(|| format!("cannot mount `{at}`"))?;
    }
    Ok(())
}

fn load_kernel_modules() -> Result<()> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(MODULES).context("cannot list the modules")? {
        paths.push(entry.context("cannot list the modules")?.path());
    }
    paths.sort();
    for path in paths {
        module::insert(&path, "")?;
    }
    Ok(())
}

fn run_scenario(name: &str, report: &mut Report) -> Result<()> {
    report.say(&Word::Begin(name.to_owned()))?;
    if let Some(names) = name.strip_prefix(PREFIX) {
        let outcome = arena::run(names, report);
        return report.say(&word(name, outcome));
    }
    let outcome = match scenarios::named(name) {
        Some(scenario) => {
            let run = AssertUnwindSafe(|| (scenario.run)(report));
            catch_unwind(run).unwrap_or_else(|_| Err(anyhow!("panicked; see the console")))
        }
        None => Err(anyhow!("there is no such scenario")),
    };
    let replayed = replay::all(report);
    let outcome = outcome.and(replayed);
    let outcome = outcome.and_then(|()| leaves_nothing_behind());
    report.say(&word(name, outcome))
}

fn word(name: &str, outcome: Result<()>) -> Word {
    match outcome {
        Ok(()) => Word::Passed(name.to_owned()),
        Err(err) => Word::Failed {
            name: name.to_owned(),
            reason: format!("{err:#}"),
        },
    }
}

/// The next scenario of this boot shall find the machine as this one did.
fn leaves_nothing_behind() -> Result<()> {
    if module::is_loaded() {
        bail!("the module is still loaded");
    }
    if files::exists(module::PATH) {
        bail!("`{}` is still there", module::PATH);
    }
    Ok(())
}
