//! Debian's own systemd as the machine's init.
//!
//! `/init` copies itself and the programs under test into the Debian on
//! `/dev/vda`, adds a service that runs the scenarios, and becomes systemd. The
//! machine ends with that service.

use std::env;
use std::ffi::CStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount, mount_move};
use rustix::process::{chdir, chroot};

use crate::arena::{DIRECTORY, PREFIX};
use crate::scenarios::package;
use crate::words::{PATIENCE_VARIABLE, SCENARIOS_VARIABLE};

/// Tells the guest that a service of systemd has started it.
pub(super) const WORD: &str = "scenarios";

/// Where Debian is mounted before it is the root.
const ROOT: &str = "/debian";

/// Where we are in it, as in every other guest.
const OURSELVES: &str = "/init";

/// What of `dist` goes where.
const INSTALLED: [(&str, &str); 6] = [
    (
        "systemd/user-oom.service",
        "etc/systemd/system/user-oom.service",
    ),
    (
        "systemd/user-oom-psi-monitor.service",
        "etc/systemd/system/user-oom-psi-monitor.service",
    ),
    (
        "systemd/system.slice.d/user-oom.conf",
        "etc/systemd/system/system.slice.d/user-oom.conf",
    ),
    (
        "tmpfiles.d/user-oom.conf",
        "usr/lib/tmpfiles.d/user-oom.conf",
    ),
    (
        "systemd/user-oom-low-memory-monitor.service",
        "etc/systemd/system/user-oom-low-memory-monitor.service",
    ),
    (
        "dbus-1/system.d/user-oom.conf",
        "usr/share/dbus-1/system.d/user-oom.conf",
    ),
];

/// The service that runs the scenarios, and what systemd starts it for.
const SERVICE: &str = "e2e.service";
const WANTS: &str = "etc/systemd/system/multi-user.target.wants";

/// The slice of that service where it runs a contest, as Ubuntu has systemd-oomd look
/// after slices. What the service itself is in is left out: see [`super::arena`].
const JOBS: &str = "jobs.slice";
const LOOKED_AFTER: &str = "[Slice]\n\
    ManagedOOMSwap=kill\n\
    ManagedOOMMemoryPressure=kill\n\
    ManagedOOMMemoryPressureLimit=50%\n";

/// Becomes systemd; does not return otherwise than with why it could not.
///
/// # Errors
///
/// Debian could not be mounted, written to or started.
pub(super) fn start() -> Result<()> {
    let root = unpack()?;
    if !is_packaged()? {
        for (from, to) in INSTALLED {
            copy(&Path::new("/user-oom/dist").join(from), &root.join(to))?;
        }
    }
    write(&root.join("etc/systemd/system").join(SERVICE), &service())?;
    write(&root.join("etc/systemd/system").join(JOBS), LOOKED_AFTER)?;
    let wants = root.join(WANTS);
    fs::create_dir_all(&wants).context("cannot enable the service")?;
    std::os::unix::fs::symlink(Path::new("..").join(SERVICE), wants.join(SERVICE))
        .context("cannot enable the service")?;

    make_root()?;
    Err(Command::new("/lib/systemd/systemd").exec()).context("cannot become systemd")
}

/// Makes the Debian on `/dev/vda` the root, with ourselves and the programs under
/// test in it, and no init but us.
///
/// # Errors
///
/// Debian could not be mounted or written to.
pub(super) fn enter() -> Result<()> {
    unpack()?;
    make_root()
}

fn unpack() -> Result<&'static Path> {
    let options: Option<&CStr> = None;
    mount("/dev/vda", ROOT, "ext4", MountFlags::empty(), options).context("cannot mount Debian")?;
    let root = Path::new(ROOT);
    for file in [OURSELVES, "/memory_info.ko"] {
        copy(Path::new(file), &root.join(file.trim_start_matches('/')))?;
    }
    if !is_packaged()? {
        let script = "testproc.sh";
        let from = Path::new("/user-oom").join(script);
        copy(&from, &root.join("usr/bin").join(script))?;
        for entry in fs::read_dir("/bin").context("cannot list the programs")? {
            let entry = entry.context("cannot list the programs")?;
            copy(&entry.path(), &root.join("usr/bin").join(entry.file_name()))?;
            // Where the units have them.
            let installed = root.join("usr/local/bin").join(entry.file_name());
            std::os::unix::fs::symlink(Path::new("/usr/bin").join(entry.file_name()), installed)
                .context("cannot install a program")?;
        }
    }
    for directory in [DIRECTORY, package::DIRECTORY] {
        let to = root.join(directory);
        fs::create_dir_all(&to).context("cannot make a directory")?;
        let entries = fs::read_dir(Path::new("/").join(directory));
        for entry in entries.with_context(|| format!("cannot list `/{directory}`"))? {
            let entry = entry.with_context(|| format!("cannot list `/{directory}`"))?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(root)
}

/// Whether Debian's package is here, beside which nothing of ours is installed.
fn is_packaged() -> Result<bool> {
    let mut packages = fs::read_dir(Path::new("/").join(package::DIRECTORY))
        .context("cannot list the packages")?;
    Ok(packages.next().is_some())
}

fn make_root() -> Result<()> {
    chdir(ROOT).context("cannot enter Debian")?;
    mount_move(ROOT, "/").context("cannot make Debian the root")?;
    chroot(".").context("cannot make Debian the root")?;
    chdir("/").context("cannot enter Debian")
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let directory = to.parent().context("that is no file's path")?;
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make `{}`", directory.display()))?;
    fs::copy(from, to)
        .map(|_| ())
        .with_context(|| format!("cannot copy `{}`", from.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Its end, however it comes, is the machine's.
fn service() -> String {
    let variable = |name| {
        let value = env::var(name).unwrap_or_default();
        format!("Environment={name}={value}\n")
    };
    format!(
        "[Unit]\n\
         After=systemd-user-sessions.service dbus.service\n\
         SuccessAction=reboot-force\n\
         FailureAction=reboot-force\n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart={OURSELVES} {WORD}\n\
         StandardOutput=tty\n\
         StandardError=tty\n\
         TTYPath=/dev/ttyS0\n\
         {}{}{}",
        if env::var(SCENARIOS_VARIABLE).is_ok_and(|names| names.starts_with(PREFIX)) {
            format!("Slice={JOBS}\nDelegate=yes\n")
        } else {
            String::new()
        },
        variable(SCENARIOS_VARIABLE),
        variable(PATIENCE_VARIABLE)
    )
}
