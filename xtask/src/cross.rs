//! The programs for aarch64: built here, and tested by QEMU, which runs one program of
//! another processor at a time on this machine's kernel.
//!
//! Its pages are of 4 KiB, as most kernels have them, then of 64 KiB, as some have on
//! aarch64: QEMU tells a program so, and the files that the tests read count in them. What
//! is left out is printed, with its reason.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::chore::{Chore, say};
use crate::install;
use crate::tally::Tally;
use crate::tools::{self, CROSS, FOR_CROSS};

/// What runs on the machine that builds.
const OF_THE_BUILD: [&str; 2] = ["manual", "xtask"];

const STARTS: &str = "they start programs, which the kernel does not hand to QEMU";
const COMPUTE: &str =
    "they only compute, with numbers of fixed sizes, for minutes where that is emulated";
const CLOCK: &str = "QEMU tells a program another start time than its own";
const HUGE: &str = "with pages that large, its processes hold more than is measured at once";
const SMALL: &str = "the kernel's own pages are smaller";

/// Programs of tests that are not run, by package. None named: all of it.
const PROGRAMS: [(&str, &[&str], &str); 6] = [
    ("knapsack", &[], COMPUTE),
    ("oom-policy", &[], COMPUTE),
    ("psi-monitor", &[], STARTS),
    (
        "reaper",
        &["keeper", "no_allocation", "pauser", "real_processes"],
        STARTS,
    ),
    ("test_procs", &[], STARTS),
    ("user-oom", &[], STARTS),
];

/// Tests of the others that are not run. Nothing else has these names.
const TESTS: [(&str, &str); 8] = [
    (
        "of_a_process_that_may_not_be_signalled_the_error_is_told_and_nothing_as_freed",
        STARTS,
    ),
    (
        "another_process_is_told_from_us_and_another_user_too",
        STARTS,
    ),
    (
        "only_root_and_the_daemons_own_user_come_by_the_private_socket",
        STARTS,
    ),
    (
        "a_second_daemon_is_told_of_the_first_and_comes_in_after_it",
        STARTS,
    ),
    (
        "code_that_only_the_start_needed_does_not_stay_in_memory",
        "the memory is QEMU's own",
    ),
    (
        "a_value_grows_from_the_process_s_start_until_its_entry_is_touched",
        CLOCK,
    ),
    ("an_entry_that_is_replaced_has_saved", CLOCK),
    ("growth_is_capped_as_values_are", CLOCK),
];

/// Tests that are not run with pages of 64 KiB.
const TESTS_OF_SMALL_PAGES: [(&str, &str); 9] = [
    ("a_child_and_we_are_as_procfs_sees_us", SMALL),
    ("pages_that_forked_children_share_count_once", SMALL),
    ("in_user_namespaces_of_their_own_all_are_one_user", HUGE),
    ("of_root_the_one_process_alone_is_given_up_on", HUGE),
    (
        "of_more_mappings_than_a_program_needs_no_more_are_read_and_they_do_not_hide_memory",
        HUGE,
    ),
    ("pages_of_a_forked_family_count_once", HUGE),
    (
        "shared_memory_counts_by_parts_where_all_that_map_it_are_known",
        HUGE,
    ),
    ("shared_memory_counts_where_the_last_mapping_is_held", HUGE),
    ("what_cannot_be_measured_stays_as_it_is_counted", HUGE),
];

/// Builds and tests all that can be.
///
/// # Errors
///
/// The step that failed.
pub(crate) fn run(root: &Path) -> Result<()> {
    tools::provide(root, FOR_CROSS)?;
    for (package, programs, reason) in PROGRAMS {
        let which = match programs {
            [] => "all".to_owned(),
            some => some.join(", "),
        };
        say(format_args!(
            "── not under QEMU: {package}/tests, {which}: {reason}"
        ))?;
    }
    tell(&TESTS)?;
    let mut tally = Tally::default();
    let units = [everything(), vec!["--lib".to_owned()]].concat();
    let programs = programs(root)?;
    let steps = [("unit tests", units), ("test programs", programs)];
    let mut skipped = TESTS.map(|(test, _)| test).to_vec();
    for (name, arguments) in &steps {
        cargo("test", arguments, &skipped).run_counted(
            &format!("{name} on aarch64"),
            root,
            &mut tally,
        )?;
    }
    tell(&TESTS_OF_SMALL_PAGES)?;
    skipped.extend(TESTS_OF_SMALL_PAGES.map(|(test, _)| test));
    for (name, arguments) in &steps {
        cargo("test", arguments, &skipped)
            .env("QEMU_PAGESIZE", "65536")
            .run_counted(
                &format!("{name} on aarch64 with pages of 64 KiB"),
                root,
                &mut tally,
            )?;
    }
    let programs = [everything(), vec!["--bins".to_owned()]].concat();
    cargo("build", &programs, &[]).run("programs for aarch64", root)?;
    for program in install::PROGRAMS {
        let built = format!("target/{CROSS}/debug/{program}");
        Chore::new("qemu-aarch64", [&built, "--version"])
            .run(&format!("{program} on aarch64"), root)?;
    }
    say(format_args!("in all: {tally}"))
}

fn tell(tests: &[(&str, &str)]) -> Result<()> {
    tests
        .iter()
        .try_for_each(|(test, reason)| say(format_args!("── not under QEMU: {test}: {reason}")))
}

/// All that runs where the daemon does.
fn everything() -> Vec<String> {
    let mut arguments = vec!["--workspace".to_owned()];
    arguments.extend(OF_THE_BUILD.map(|package| format!("--exclude={package}")));
    arguments
}

/// Cargo for aarch64, without the tests `skipped`.
fn cargo(command: &str, arguments: &[String], skipped: &[&str]) -> Chore {
    let target = format!("--target={CROSS}");
    let mut words = vec![command.to_owned(), target];
    words.extend_from_slice(arguments);
    if !skipped.is_empty() {
        words.push("--".to_owned());
        words.extend(skipped.iter().map(|test| format!("--skip={test}")));
    }
    Chore::new("cargo", words)
        // Comes with Rust, and the target has a libc of its own.
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld")
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER",
            "qemu-aarch64",
        )
        // One dependency of the benchmarks has a few lines of C, which need no libc.
        .env("CC_aarch64_unknown_linux_musl", "aarch64-linux-gnu-gcc")
        .env("CFLAGS_aarch64_unknown_linux_musl", "-ffreestanding")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0")
        // Few generated cases: the rest of them differ in nothing that a processor has
        // to do with.
        .env("PROPTEST_CASES", "16")
}

/// The packages that have programs of tests that QEMU can run, and these programs, as
/// arguments.
fn programs(root: &Path) -> Result<Vec<String>> {
    let mut packages = Vec::new();
    let mut programs = Vec::new();
    for package in names(&root.join("crates"))? {
        let of_package = programs_of(root, &package)?;
        if !of_package.is_empty() {
            packages.push(format!("--package={package}"));
            programs.extend(of_package.iter().map(|program| format!("--test={program}")));
        }
    }
    Ok([packages, programs].concat())
}

/// By the names of their files.
fn programs_of(root: &Path, package: &str) -> Result<Vec<String>> {
    let left_out = PROGRAMS.iter().find(|(of, ..)| *of == package);
    let folder = root.join("crates").join(package).join("tests");
    if !folder.is_dir() || left_out.is_some_and(|(_, programs, _)| programs.is_empty()) {
        return Ok(Vec::new());
    }
    let mut programs = Vec::new();
    for name in names(&folder)? {
        let program = match name.strip_suffix(".rs") {
            Some(program) => program,
            None if folder.join(&name).join("main.rs").is_file() => name.as_str(),
            None => continue,
        };
        if !left_out.is_some_and(|(_, left_out, _)| left_out.contains(&program)) {
            programs.push(program.to_owned());
        }
    }
    Ok(programs)
}

/// What is in `folder`, sorted.
fn names(folder: &Path) -> Result<Vec<String>> {
    let cannot = || format!("cannot list `{}`", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let name = entry.with_context(cannot)?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripts;

    #[test]
    fn the_programs_that_are_left_out_are_there() {
        let root = crate::root().unwrap();
        for (package, programs, _) in PROGRAMS {
            let folder = if package == "test_procs" {
                ""
            } else {
                "crates"
            };
            let tests = root.join(folder).join(package).join("tests");
            assert!(tests.is_dir(), "{}", tests.display());
            for program in programs {
                let file = tests.join(program).with_extension("rs");
                assert!(file.is_file(), "{}", file.display());
            }
        }
    }

    #[test]
    fn each_test_that_is_left_out_is_there_and_no_other_is_left_out_with_it() {
        let root = crate::root().unwrap();
        let files = scripts::files(&root.join("crates")).unwrap();
        let functions: Vec<String> = files
            .iter()
            .filter(|path| path.extension().is_some_and(|end| end == "rs"))
            .flat_map(|path| {
                let source = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
                let lines = source.lines().map(str::trim_start);
                lines
                    .filter(|line| line.starts_with("fn "))
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect();
        for (test, _) in TESTS.iter().chain(&TESTS_OF_SMALL_PAGES) {
            let named: Vec<&String> = functions
                .iter()
                .filter(|function| function.contains(test))
                .collect();
            assert_eq!(named, [&format!("fn {test}() {{")]);
        }
    }

    #[test]
    fn all_programs_of_tests_are_run_but_those_that_are_left_out() {
        let root = crate::root().unwrap();
        let of = |package| programs_of(&root, package).unwrap();
        assert_eq!(of("value-registry"), ["registry"]);
        assert_eq!(of("reaper"), ["protection", "reaper"]);
        assert_eq!(of("user-oom"), [""; 0]);
        assert_eq!(of("model"), [""; 0]);
        let arguments = programs(&root).unwrap();
        // One name of two programs would run both.
        let left_out = PROGRAMS.iter().flat_map(|(_, programs, _)| *programs);
        for program in left_out {
            assert!(!arguments.contains(&format!("--test={program}")));
        }
        assert!(arguments.contains(&"--package=sensors".to_owned()));
        assert!(arguments.contains(&"--test=table".to_owned()));
    }
}
