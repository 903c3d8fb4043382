//! The fuzz targets of `fuzz/`, each for a while on its kept corpus.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::chore::Chore;
use crate::tools::{self, FOR_FUZZING};

/// Compiles and runs `targets`, or all there are.
///
/// What a run finds new stays in `fuzz/target`; what should be kept is copied
/// into `fuzz/corpus` by hand.
///
/// # Errors
///
/// A target that does not compile, or that found an input which fails.
pub(crate) fn run(root: &Path, seconds: u64, targets: &[String]) -> Result<()> {
    tools::provide(root, FOR_FUZZING)?;
    let all = list(root)?;
    if let Some(unknown) = targets.iter().find(|target| !all.contains(target)) {
        bail!(
            "`{unknown}` is not a fuzz target (there are: {})",
            all.join(", ")
        );
    }
    for target in if targets.is_empty() { &all } else { targets } {
        run_one(root, seconds, target)?;
    }
    Ok(())
}

/// By the names of their files.
fn list(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in
        fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry.context("cannot list the fuzz targets")?.path();
        if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The same inputs in the same order wherever it runs: what fails for one fails
/// for all. Longer runs go further on the same way.
const SEED: u32 = 1;

fn run_one(root: &Path, seconds: u64, target: &str) -> Result<()> {
    let found = format!("fuzz/target/corpus/{target}");
    let kept = format!("fuzz/corpus/{target}");
    for folder in [&found, &kept] {
        fs::create_dir_all(root.join(folder)).with_context(|| format!("cannot make {folder}"))?;
    }
    let mut words = ["fuzz", "run", "--fuzz-dir", "fuzz", target]
        .map(OsString::from)
        .to_vec();
    words.extend([found, kept].map(OsString::from));
    words.extend(["--", "-verbosity=0", "-print_final_stats=1"].map(OsString::from));
    words.push(format!("-max_total_time={seconds}").into());
    words.push(format!("-seed={SEED}").into());
    // The sanitizer's flag is unstable; the compiler is the one that is there.
    Chore::new("cargo", words)
        .env("RUSTC_BOOTSTRAP", "1")
        .run(&format!("fuzz {target}"), root)
}
