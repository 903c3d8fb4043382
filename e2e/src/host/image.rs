//! The initramfs: `/init`, the module, busybox, the programs under test.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::cpio::Archive;
use super::kernel::{self, Ready, run};
use super::{Places, say};

/// For a machine that has no libc.
const STATIC: &str = "-C target-feature=+crt-static";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What we build, statically linked.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    init: PathBuf,
}

/// Builds all that the guest runs.
pub(crate) fn build_programs(places: &Places) -> Result<Programs> {
    say("building the guest's programs")?;
    let target = places.e2e.join("target/guest");
    build(&places.e2e, &target, &["--bin", "guest"])?;
    Ok(Programs {
        init: built(&target, "guest"),
    })
}

fn build(workspace: &Path, target: &Path, what: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // With --target, the flags are not for build scripts and macros.
    run(Command::new(cargo)
        .current_dir(workspace)
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--target",
            TARGET,
        ])
        .args(what)
        .env("CARGO_TARGET_DIR", target)
        .env("RUSTFLAGS", STATIC))
}

fn built(target: &Path, program: &str) -> PathBuf {
    target.join(TARGET).join("release").join(program)
}

/// Packs the initramfs for a kernel; returns its path.
pub(crate) fn pack(places: &Places, kernel: &Ready, programs: &Programs) -> Result<PathBuf> {
    let path = places.cache().join(format!("{}.cpio", kernel.kernel.name));
    let file = File::create(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
    let mut archive = Archive::new(BufWriter::new(file));
    for directory in ["bin", "dev", "modules", "proc", "sys", "tmp"] {
        archive.directory(directory)?;
    }
    // Before devtmpfs is mounted, /init speaks through this one.
    archive.device("dev/console", 5, 1)?;
    archive.file("init", &bytes(&programs.init)?)?;
    archive.file("bin/busybox", &bytes(&kernel.busybox)?)?;
    archive.file("memory_info.ko", &bytes(&kernel.module)?)?;
    for (number, module) in kernel.modules.iter().enumerate() {
        let name = format!("modules/{number:02}.ko");
        archive.file(&name, &kernel::uncompressed(module)?)?;
    }
    archive.finish()?.flush()?;
    Ok(path)
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}
