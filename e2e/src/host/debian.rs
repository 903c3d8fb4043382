//! A Debian on a disk, with the packages that the machine-learning jobs need.
//!
//! It is made once for each list of packages, since that takes minutes. It has
//! no kernel and is never booted: a guest mounts it and runs programs in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::kernel::run;
use super::{Places, say};

/// Of the release with the main kernel.
const SUITE: &str = "bookworm";

/// Beside what every Debian has.
const PACKAGES: &str = "python3-torch,python3-opencv";

/// What they take is 1.5 GiB.
const IMAGE_MEBIBYTES: u64 = 2560;

/// Makes the disk's image if there is none of these packages; returns its path.
pub(super) fn prepare(places: &Places) -> Result<PathBuf> {
    let name = PACKAGES.replace(',', "+");
    let image = places.cache().join(format!("{SUITE}+{name}.ext4"));
    if image.exists() {
        return Ok(image);
    }
    ensure!(
        rustix::process::geteuid().is_root(),
        "unpacking Debian's packages takes root, once; run this as root"
    );
    say(format_args!(
        "fetching Debian {SUITE} with {PACKAGES}: 1.5 GiB, some minutes"
    ))?;
    let root = places.cache().join("debian.unfinished");
    let unfinished = image.with_extension("unfinished");
    remove(&root)?;
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--quiet", "--variant=minbase", "--format=directory"]);
    mmdebstrap.arg(format!("--include={PACKAGES}"));
    run(mmdebstrap.arg(SUITE).arg(&root))?;
    let file = File::create(&unfinished)
        .and_then(|file| file.set_len(IMAGE_MEBIBYTES << 20))
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
