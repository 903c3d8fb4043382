//! The initramfs: `/init`, the module, busybox, the programs under test.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::arena::contests;
use super::cpio::Archive;
use super::kernel::{self, Ready, run};
use super::{Places, say};
use crate::arena;
use crate::scenarios::package;

/// For a machine that has no libc.
const STATIC: &str = "-C target-feature=+crt-static";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What we build, statically linked.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    init: PathBuf,
    /// The programs under test.
    tested: [PathBuf; 4],
    /// What only machines with `Machine::listeners` have.
    pub(super) listeners: [PathBuf; 2],
}

/// What is tried, by package and by name.
const PACKAGES: [&str; 4] = ["user-oom", "psi-monitor", "test_procs", "user-oomctl"];
const TESTED: [&str; 4] = ["user-oom", "psi-monitor", "test_proc1", "test_proc2"];

/// What of the repository a guest has, as the walk-through wants it and a
/// machine with systemd: see `scenarios::walkthrough`, `scenarios::service`.
const DIRECTORIES: [&str; 11] = [
    "debian",
    "user-oom",
    "user-oom/dist",
    "user-oom/dist/dbus-1",
    "user-oom/dist/dbus-1/system.d",
    "user-oom/dist/systemd",
    "user-oom/dist/systemd/system.slice.d",
    "user-oom/dist/tmpfiles.d",
    "user-oom/ml_tests",
    "user-oom/target",
    "user-oom/target/release",
];
const FILES: [&str; 11] = [
    "dist/dbus-1/system.d/user-oom.conf",
    "dist/systemd/user-oom-low-memory-monitor.service",
    "dist/systemd/user-oom.service",
    "dist/systemd/user-oom-psi-monitor.service",
    "dist/systemd/system.slice.d/user-oom.conf",
    "dist/tmpfiles.d/user-oom.conf",
    "testproc.sh",
    "ml_tests/job.py",
    "ml_tests/ml_test1",
    "ml_tests/ml_test2",
    "ml_tests/user_value.py",
];

/// Builds all that the guest runs.
pub(crate) fn build_programs(places: &Places) -> Result<Programs> {
    say("building the guest's programs")?;
    let init = places.e2e.join("target/guest");
    build(&places.e2e, &init, &["--bin", "guest"])?;
    let tested = places.e2e.join("target/tested");
    let packages = PACKAGES.map(|package| format!("--package={package}"));
    build(
        &places.root,
        &tested,
        &packages.each_ref().map(String::as_str),
    )?;
    let shrinks = tested.join("shrinks");
    compile(&places.e2e.join("glib/shrinks.c"), &shrinks)?;
    let tested = built(&tested);
    Ok(Programs {
        init: built(&init).join("guest"),
        listeners: [tested.join("user-oomctl"), shrinks],
        tested: TESTED.map(|program| tested.join(program)),
    })
}

impl Programs {
    /// The same, but for those that `tarball` has.
    pub(super) fn or_of(mut self, tarball: &Path, places: &Places) -> Result<Self> {
        let at = places.cache().join("tarball");
        fs::create_dir_all(&at).with_context(|| format!("cannot make `{}`", at.display()))?;
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--overwrite", "--directory"])
            .arg(&at);
        run(tar.arg("--file").arg(tarball))?;
        for program in &mut self.tested {
            let unpacked = at.join("usr/local/bin").join(name_of(program)?);
            if unpacked.exists() {
                *program = unpacked;
            }
        }
        Ok(self)
    }
}

/// Builds a program that uses the libraries of the Debian on the machine's disk.
fn compile(source: &Path, program: &Path) -> Result<()> {
    let mut compiler = Command::new("cc");
    compiler.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-o"]);
    run(compiler.arg(program).arg(source).arg("-ldl"))
}

/// Builds a program of crates.io, once.
pub(crate) fn fetch_program(places: &Places, name: &str, version: &str) -> Result<PathBuf> {
    let root = places.cache().join(format!("{name}-{version}"));
    let program = root.join("bin").join(name);
    if !program.exists() {
        say(format_args!("building {name} {version} of crates.io"))?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut install = Command::new(cargo);
        install.args(["install", "--quiet", "--locked", name, "--version", version]);
        install.args(["--target", TARGET, "--root"]).arg(&root);
        run(install.env("RUSTFLAGS", STATIC))?;
    }
    Ok(program)
}

fn build(workspace: &Path, target: &Path, what: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // With --target, the flags are not for build scripts and macros. Linking
    // all crates as one makes no difference here, but takes minutes.
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
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("RUSTFLAGS", STATIC))
}

fn built(target: &Path) -> PathBuf {
    target.join(TARGET).join("release")
}

/// Packs the initramfs for a kernel, with `more` programs or packages; returns its path.
pub(crate) fn pack(
    places: &Places,
    kernel: &Ready,
    programs: &Programs,
    more: &[PathBuf],
) -> Result<PathBuf> {
    let mut name = kernel.kernel.name.to_owned();
    for file in more {
        name = format!("{name}+{}", name_of(file)?);
    }
    let path = places.cache().join(format!("{name}.cpio"));
    let file = File::create(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
    let mut archive = Archive::new(BufWriter::new(file));
    for directory in ["bin", "dev", "modules", "proc", "run", "sys", "tmp"] {
        archive.directory(directory)?;
    }
    // Before devtmpfs is mounted, /init speaks through this one.
    archive.device("dev/console", 5, 1)?;
    archive.file("init", &bytes(&programs.init)?)?;
    archive.file("bin/busybox", &bytes(&kernel.busybox)?)?;
    for program in &programs.tested {
        archive.file(&format!("bin/{}", name_of(program)?), &bytes(program)?)?;
    }
    archive.directory(package::DIRECTORY)?;
    for file in more {
        let name = name_of(file)?;
        let directory = match name.ends_with(".deb") {
            true => package::DIRECTORY,
            false => "bin",
        };
        archive.file(&format!("{directory}/{name}"), &bytes(file)?)?;
    }
    for directory in DIRECTORIES {
        archive.directory(directory)?;
    }
    for name in FILES {
        archive.file(
            &format!("user-oom/{name}"),
            &bytes(&places.root.join(name))?,
        )?;
    }
    archive.directory(arena::DIRECTORY)?;
    for (name, text) in contests(places)? {
        archive.file(
            &format!("{}/{name}.toml", arena::DIRECTORY),
            text.as_bytes(),
        )?;
    }
    for module in kernel.module.iter().chain(&kernel.helpers) {
        archive.file(name_of(module)?, &bytes(module)?)?;
    }
    for (number, module) in kernel.modules.iter().enumerate() {
        let name = format!("modules/{number:02}.ko");
        archive.file(&name, &kernel::uncompressed(module)?)?;
    }
    archive.finish()?.flush()?;
    Ok(path)
}

fn name_of(file: &Path) -> Result<&str> {
    let name = file.file_name().and_then(|name| name.to_str());
    name.with_context(|| format!("`{}` has no name", file.display()))
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}
