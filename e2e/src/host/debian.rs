//! A Debian on a disk, with the packages that scenarios need.
//!
//! It is made once for each list of packages, since that takes minutes. It has
//! no kernel: a guest mounts it and runs programs in it, or its systemd.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::kernel::run;
use super::{Places, say};
use crate::scenarios::Debian;

/// What one has beside what every Debian has.
struct Contents {
    packages: &'static str,
    /// Services that a scenario starts where it wants them, so that no other boots the
    /// slower for them.
    disabled: &'static [&'static str],
    /// What is added of PyPI, for bookworm's Python.
    wheel: Option<&'static str>,
    /// What the packages take, and some room.
    mebibytes: u64,
}

impl Contents {
    const fn of(debian: Debian) -> Self {
        match debian {
            Debian::Jobs => Self {
                packages: "python3-torch,python3-opencv",
                disabled: &[],
                wheel: None,
                mebibytes: 2560,
            },
            Debian::System => Self {
                packages: "systemd-sysv,libpam-systemd,dbus-user-session,kmod,tmux,procps,podman,crun,\
                           uidmap,cron,openssh-server,docker.io,docker-compose",
                disabled: &["cron", "ssh", "docker", "docker.socket", "containerd"],
                wheel: None,
                mebibytes: 2560,
            },
            Debian::Arena | Debian::ArenaSystem => Self {
                packages: "systemd-sysv,libpam-systemd,dbus,procps,earlyoom,nohang,systemd-oomd",
                disabled: &[],
                wheel: None,
                mebibytes: 1024,
            },
            Debian::ArenaRay => Self {
                wheel: Some("ray==2.60.0"),
                mebibytes: 1536,
                ..Self::of(Debian::Arena)
            },
        }
    }
}

/// Makes the disk's image if there is none of these packages of the release; returns its
/// path.
pub(super) fn prepare(debian: Debian, suite: &str, places: &Places) -> Result<PathBuf> {
    let Contents {
        packages,
        disabled,
        wheel,
        mebibytes,
    } = Contents::of(debian);
    // Bookworm has it in `docker.io`.
    let packages = match (debian, suite) {
        (Debian::System, "trixie") => format!("{packages},docker-cli"),
        _ => packages.to_owned(),
    };
    let mut name = packages.replace(',', "+");
    if let Some(wheel) = wheel {
        name = format!("{name}+{wheel}");
    }
    let image = places.cache().join(format!("{suite}+{name}.ext4"));
    if image.exists() {
        return Ok(image);
    }
    ensure!(
        rustix::process::geteuid().is_root(),
        "unpacking Debian's packages takes root, once; run this as root"
    );
    say(format_args!(
        "fetching Debian {suite} with {packages}: {mebibytes} MiB of disk, some minutes"
    ))?;
    let root = places.cache().join("debian.unfinished");
    let unfinished = image.with_extension("unfinished");
    remove(&root)?;
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--quiet", "--variant=minbase", "--format=directory"]);
    mmdebstrap.arg(format!("--include={packages}"));
    for service in disabled {
        let disable = format!("chroot \"$1\" systemctl disable --quiet {service}");
        mmdebstrap.arg(format!("--customize-hook={disable}"));
    }
    run(mmdebstrap.arg(suite).arg(&root))?;
    if let Some(wheel) = wheel {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-compile", wheel])
            .args(["--python-version", "3.11", "--only-binary=:all:"])
            .args(["--platform", "manylinux2014_x86_64", "--target"])
            .arg(root.join("usr/lib/python3/dist-packages"));
        run(&mut pip).context("pip (Debian: `apt install python3-pip`) cannot fetch it")?;
    }
    let file = File::create(&unfinished)
        .and_then(|file| file.set_len(mebibytes << 20))
        .with_context(|| format!("cannot make `{}`", unfinished.display()));
    file?;
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-d"]);
    run(mkfs.arg(&root).arg(&unfinished))?;
    remove(&root)?;
    fs::rename(&unfinished, &image).context("cannot move Debian's image in place")?;
    Ok(image)
}

fn remove(directory: &Path) -> Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    fs::remove_dir_all(directory)
        .with_context(|| format!("cannot remove `{}`", directory.display()))
}
