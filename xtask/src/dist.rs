//! What is given out: packages and their checksums.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::chore::{Chore, say};
use crate::install::gone;
use crate::tools::{self, FOR_MACHINES, FOR_PACKAGES};

/// Below the workspace.
const DIRECTORY: &str = "target/dist";

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
    gone(&directory, fs::remove_dir_all(&directory))?;
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make `{}`", directory.display()))?;
    let destination = format!("DESTINATION={DIRECTORY}");
    Chore::new("debian/rules", ["clean", "binary", &destination]).run("Debian packages", root)?;
    Chore::new("debian/rules", ["clean"]).run("tidying up", root)?;
    let packages = ["-c", "lintian --fail-on error,warning target/dist/*.deb"];
    Chore::new("sh", packages).run("lintian", root)?;
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
