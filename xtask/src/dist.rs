//! What is given out: packages, a tarball of static programs, what they are made of,
//! and checksums.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::chore::{Chore, say, step};
use crate::install::{self, Target};
use crate::tools::{self, FOR_MACHINES, FOR_PACKAGES};

/// Below the workspace.
const DIRECTORY: &str = "target/dist";

/// Programs that need no library of the machine they run on.
const STATIC: &str = "x86_64-unknown-linux-musl";

/// Releases of Debian that the packages are for.
const SUITES: [&str; 2] = ["bookworm", "trixie"];

/// Makes all of it in `target/dist`; tries the package where `with_try` says so.
///
/// # Errors
///
/// The step that failed.
pub(crate) fn run(root: &Path, with_try: bool) -> Result<()> {
    tools::provide(root, FOR_PACKAGES)?;
    let directory = root.join(DIRECTORY);
    match fs::remove_dir_all(&directory) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
            return Err(err).with_context(|| format!("cannot empty `{}`", directory.display()));
        }
        _ => {}
    }
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make `{}`", directory.display()))?;
    let destination = format!("DESTINATION={DIRECTORY}");
    Chore::new("debian/rules", ["clean", "binary", &destination]).run("Debian packages", root)?;
    Chore::new("debian/rules", ["clean"]).run("tidying up", root)?;
    let packages = ["-c", "lintian --fail-on error,warning target/dist/*.deb"];
    Chore::new("sh", packages).run("lintian", root)?;
    tarball(root)?;
    materials(root)?;
    let sums = "cd target/dist && sha256sum -- * > SHA256SUMS";
    Chore::new("sh", ["-c", sums]).run("checksums", root)?;
    say(format_args!("made in {DIRECTORY}:"))?;
    Chore::new("ls", ["-l", "--human-readable", DIRECTORY]).run("all of it", root)?;
    match with_try {
        true => SUITES.iter().try_for_each(|suite| try_in(root, suite)),
        false => Ok(()),
    }
}

/// In a Debian that is made for it.
fn try_in(root: &Path, suite: &str) -> Result<()> {
    tools::provide(root, FOR_MACHINES)?;
    let packages = root.join(DIRECTORY);
    let script = root.join("debian/tests/life-of-a-package");
    let copy = format!(
        "--customize-hook=mkdir -p \"$1/packages\" && cp {}/*.deb {} \"$1/packages\"",
        packages.display(),
        script.display()
    );
    let run = "--customize-hook=chroot \"$1\" /packages/life-of-a-package /packages";
    let made = [
        "--variant=minbase",
        "--quiet",
        &copy,
        run,
        suite,
        "/dev/null",
    ];
    Chore::new("mmdebstrap", made).run(&format!("the package on a clean {suite}"), root)
}

/// `bin`, `lib` and `share`, for a prefix such as `/usr/local`.
fn tarball(root: &Path) -> Result<()> {
    Chore::new("rustup", ["target", "add", STATIC]).run("the target", root)?;
    let name = format!("user-oom-{}-x86_64-linux", env!("CARGO_PKG_VERSION"));
    let staging = root.join("target/static").join(&name);
    let target = Target {
        prefix: "/usr/local".into(),
        destdir: Some(staging.clone()),
        platform: Some(STATIC),
    };
    step("static programs", "cargo xtask dist", || {
        let _ = fs::remove_dir_all(&staging);
        install::build(root, &target)?;
        install::place(root, &target)?;
        // As the files are below their prefix.
        for folder in ["bin", "lib", "share"] {
            let from = staging.join("usr/local").join(folder);
            fs::rename(&from, staging.join(folder))
                .with_context(|| format!("cannot move `{}`", from.display()))?;
        }
        for rest in ["usr", "etc"] {
            fs::remove_dir_all(staging.join(rest)).context("cannot tidy up")?;
        }
        Ok(())
    })?;
    let pack = format!(
        "tar --directory target/static --sort=name --owner=0 --group=0 --numeric-owner \
         --mtime=\"@$(dpkg-parsechangelog --show-field Timestamp)\" \
         --create --xz --file {DIRECTORY}/{name}.tar.xz {name}"
    );
    Chore::new("sh", ["-c", &pack]).run("the tarball", root)
}

/// What the programs were made of: a CycloneDX file each.
fn materials(root: &Path) -> Result<()> {
    for program in install::PROGRAMS {
        let manifest = format!("crates/{program}/Cargo.toml");
        let name = format!("{program}.cdx");
        let list = [
            "cyclonedx",
            "--format",
            "json",
            "--manifest-path",
            &manifest,
            "--override-filename",
            &name,
        ];
        Chore::new("cargo", list).run("what it is made of", root)?;
        let made = root.join(format!("crates/{program}/{name}.json"));
        fs::rename(&made, root.join(DIRECTORY).join(format!("{name}.json")))
            .with_context(|| format!("cannot move `{}`", made.display()))?;
    }
    Ok(())
}
