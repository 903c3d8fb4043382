//! The one door for chores: what a developer runs is what CI runs.
//!
//! `Task` says which there are.
//!
//! Each step prints its name and how long it took; the first one that fails
//! ends the run and says how to repeat it. What a step needs beyond Rust and a
//! C compiler is installed where we are root, and named where we are not.

mod beside;
mod chore;
mod cost;
mod cross;
mod dist;
mod fuzz;
mod install;
mod invariants;
mod pages;
mod picture;
mod scripts;
mod source;
mod tally;
mod timeline;
mod tools;
mod transcript;
mod walk_log;
mod walkthrough;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::chore::{Chore, say, step};
use crate::tally::Tally;
use crate::tools::{FOR_CHECKS, FOR_FUZZING, FOR_MACHINES, FOR_TESTS};

/// The one door for chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", no_binary_name = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Clone, Debug, Subcommand)]
enum Task {
    /// Formatting, clippy, documentation, shell scripts, invariants
    Check,
    /// The invariants of docs/architecture.md that a machine can see
    Invariants,
    /// All of check, every test of the workspace, the fuzz targets, the scenarios in
    /// a virtual machine, then the quick series of the arena
    Test,
    /// The programs for aarch64, and as many of their tests as QEMU can run, with
    /// pages of 4 and of 64 KiB
    Cross,
    /// The fuzz targets, on the kept corpus
    Fuzz {
        /// How long each
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Which; all of them if none is named
        targets: Vec<String>,
    },
    /// The scenarios in a virtual machine alone
    E2e {
        /// Which, and on which kernels: see `cargo xtask e2e -- --list`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Our daemon beside others
    #[command(group = clap::ArgGroup::new("what").required(true))]
    Arena {
        /// What it costs and how soon it answers: beside earlyoom, then alone, at rest
        /// and under attack, beside the bounds; takes minutes, a quiet machine with 6
        /// GiB available, and root
        #[arg(long, group = "what")]
        cost: bool,
        /// What it and others keep in the same contests, each in a virtual machine
        #[arg(long, group = "what")]
        field: bool,
        /// Of `--field`: --quick, --repeats N, --report and more: see `cargo xtask arena
        /// --field -- --help`
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            requires = "field"
        )]
        arguments: Vec<OsString>,
    },
    /// What the policy keeps of the value on random machines, beside the best
    /// possible and what others keep
    Simulate {
        /// --machines N, --seed S, --jobs N, --show: see `cargo xtask simulate -- --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// The walk-through on one's own machine, as README.md has it; takes half a
    /// minute each time, and a cgroup of 2 GiB, or without one a GiB of memory
    Walkthrough {
        /// How often
        #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
        times: u32,
    },
    /// Builds the programs and installs them, with manual and units; as root. The
    /// configuration is written where there is none
    Install(Prefix),
    /// Removes all that `install` and the daemon made, but for the configuration
    Uninstall(Prefix),
    /// Packages for Debian, a tarball of static programs and lists of components, with
    /// checksums: in target/dist
    Dist {
        /// Install, change, remove and purge the package in a fresh Debian of each
        /// release that it is for
        #[arg(long = "try")]
        with_try: bool,
    },
    /// docs/picture.svg and the transcripts in README.md and docs/walkthrough.md,
    /// from the run that docs/walkthrough.log keeps; docs/top.svg, the screen of
    /// `user-oomctl top`
    Picture {
        /// Repeat the run first, in a virtual machine, and keep its log
        #[arg(long, conflicts_with = "console")]
        run: bool,
        /// Keep the log of an earlier run first: FILE is its console, which lies in
        /// e2e/target/logs
        #[arg(long, value_name = "FILE")]
        console: Option<PathBuf>,
    },
}

/// Where to install.
#[derive(Clone, Debug, clap::Args)]
struct Prefix {
    /// Below this directory
    #[arg(long, value_name = "DIR", default_value = "/usr/local")]
    prefix: PathBuf,
    /// Into this directory as if it were `/`, for a package; starts and stops nothing
    #[arg(long, value_name = "DIR")]
    destdir: Option<PathBuf>,
}

impl From<Prefix> for install::Target {
    fn from(Prefix { prefix, destdir }: Prefix) -> Self {
        let triple = || format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        Self {
            triple: destdir.is_some().then(triple),
            prefix,
            destdir,
        }
    }
}

/// Carries out the task that `args` (without the program's name) ask for.
///
/// # Errors
///
/// The first step that failed, with the command that repeats it; arguments
/// that make no sense, as [`clap::Error`].
pub fn run(args: impl Iterator<Item = OsString>) -> Result<()> {
    let arguments = Arguments::try_parse_from(args)?;
    let root = root()?;
    match arguments.task {
        Task::Check => check(&root),
        Task::Invariants => invariants(&root),
        Task::Test => test(&root),
        Task::Cross => cross::run(&root),
        Task::Fuzz { seconds, targets } => fuzz::run(&root, seconds, &targets),
        Task::E2e { arguments } => {
            tools::provide(&root, FOR_MACHINES)?;
            e2e(&root, arguments, &mut Tally::default())
        }
        Task::Install(prefix) => install::install(&root, &prefix.into()),
        Task::Uninstall(prefix) => install::uninstall(&root, &prefix.into()),
        Task::Dist { with_try } => dist::run(&root, with_try),
        Task::Arena {
            field: true,
            arguments,
            ..
        } => field(&root, arguments),
        Task::Arena { .. } => {
            beside::run(&root)?;
            cost::run(&root)
        }
        Task::Simulate { arguments } => simulate(&root, arguments),
        Task::Walkthrough { times } => walkthrough::run(&root, times),
        Task::Picture { run, console } => {
            if run {
                pages::run_and_keep(&root)?;
            } else if let Some(console) = console {
                pages::keep(&root, &console)?;
            }
            pages::make(&root)?;
            screen(&root)
        }
    }
}

/// Prints `err` and its causes, and says with what the process should end: 2
/// for arguments that make no sense, 0 where only help was asked for, else 1.
#[must_use]
pub fn report(err: &anyhow::Error) -> ExitCode {
    // Where standard error is closed there is nobody left to tell.
    if let Some(err) = err.downcast_ref::<clap::Error>() {
        let _ = err.print();
        return if err.use_stderr() {
            ExitCode::from(2)
        } else {
            ExitCode::SUCCESS
        };
    }
    let _ = writeln!(io::stderr(), "xtask: {err:#}");
    ExitCode::FAILURE
}

fn check(root: &Path) -> Result<()> {
    tools::provide(root, FOR_CHECKS)?;
    Chore::new("cargo", ["fmt", "--all", "--check"]).run("formatting", root)?;
    Chore::new(
        "cargo",
        [
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "--deny=warnings",
        ],
    )
    .run("clippy", root)?;
    // A workspace of its own, which falls behind unseen otherwise.
    Chore::new(
        "cargo",
        [
            "clippy",
            "--manifest-path=fuzz/Cargo.toml",
            "--target-dir=target/fuzz",
            "--",
            "--deny=warnings",
        ],
    )
    .env("RUSTFLAGS", "--cfg=fuzzing")
    // Nothing is linked, so libFuzzer need not be compiled.
    .env("CUSTOM_LIBFUZZER_PATH", "/nowhere/libfuzzer.a")
    .run("clippy of the fuzz targets", root)?;
    Chore::new("cargo", ["doc", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "--deny=warnings")
        .run("documentation", root)?;
    least_rust(root)?;
    // Advisories come from a database that not every machine reaches.
    Chore::new("cargo", ["deny", "check", "bans", "licenses", "sources"])
        .run("dependencies", root)?;
    Chore::new("shellcheck", scripts::find(root)?).run("shell scripts", root)?;
    invariants(root)
}

/// Draws docs/top.svg: a test compares it, and makes it where it is told to.
fn screen(root: &Path) -> Result<()> {
    let test = [
        "test",
        "--quiet",
        "--package=user-oomctl",
        "--lib",
        "the_picture_in_the_documents_is_what_is_drawn",
    ];
    Chore::new("cargo", test)
        .env("USER_OOM_MAKE_PICTURE", "1")
        .run("docs/top.svg", root)
}

/// Compiles with the least Rust that the manifest promises, where that is
/// installed. (That no newer API is used is clippy's `incompatible_msrv`.)
fn least_rust(root: &Path) -> Result<()> {
    const LEAST: &str = env!("CARGO_PKG_RUST_VERSION");
    let toolchain = format!("+{LEAST}");
    if !Chore::new("cargo", [toolchain.as_str(), "--version"]).succeeds(root) {
        return say(format_args!(
            "── least Rust: skipped, since {LEAST} is not installed (rustup toolchain install {LEAST})"
        ));
    }
    Chore::new(
        "cargo",
        [
            toolchain.as_str(),
            "check",
            "--workspace",
            "--target-dir",
            "target/least-rust",
        ],
    )
    .run("least Rust", root)
}

fn invariants(root: &Path) -> Result<()> {
    step("invariants", "cargo xtask invariants", || {
        invariants::check(root)
    })
}

fn test(root: &Path) -> Result<()> {
    // All together, before anything takes minutes.
    let tools = [FOR_CHECKS, FOR_TESTS, FOR_FUZZING, FOR_MACHINES];
    tools::provide(root, tools.into_iter().flatten())?;
    check(root)?;
    let mut tally = Tally::default();
    Chore::new("cargo", ["test", "--workspace"]).run_counted("tests", root, &mut tally)?;
    Chore::new(
        "python3",
        [
            "-B",
            "-m",
            "unittest",
            "discover",
            "--start-directory",
            "ml_tests/tests",
            "--top-level-directory",
            "ml_tests",
            "--verbose",
        ],
    )
    .run_counted("tests of the machine-learning jobs", root, &mut tally)?;
    miri(root, &mut tally)?;
    fuzz::run(root, FUZZ_SECONDS, &[])?;
    let unattended = ["--second-try", "--at-a-time", "2"];
    e2e(root, unattended.map(Into::into).to_vec(), &mut tally)?;
    field(root, vec!["--quick".into()])?;
    say(format_args!("in all: {tally}"))
}

/// How long each fuzz target runs as part of the tests.
const FUZZ_SECONDS: u64 = 4;

/// The crates that only compute, under Miri, where the toolchain has it.
fn miri(root: &Path, tally: &mut Tally) -> Result<()> {
    if !Chore::new("cargo", ["miri", "--version"]).succeeds(root) {
        return say(format_args!(
            "── Miri: skipped, since this toolchain has none (it comes with nightly ones: \
             rustup +nightly component add miri)"
        ));
    }
    Chore::new(
        "cargo",
        [
            "miri",
            "test",
            "--package",
            "knapsack",
            "--package",
            "oom-policy",
            "--lib",
        ],
    )
    .run_counted("Miri", root, tally)
}

/// It runs the policy's own crate, so it is an example there.
fn simulate(root: &Path, arguments: Vec<OsString>) -> Result<()> {
    let mut command = [
        "run",
        "--release",
        "--package",
        "oom-policy",
        "--example",
        "simulate",
        "--",
    ]
    .map(OsString::from)
    .to_vec();
    command.extend(arguments);
    Chore::new("cargo", command).run("random machines", root)
}

/// The arena's contests, in the same virtual machines as the scenarios.
fn field(root: &Path, arguments: Vec<OsString>) -> Result<()> {
    tools::provide(root, FOR_MACHINES)?;
    let words = [vec!["arena".into()], arguments].concat();
    in_machines(words).run("the arena", root)
}

fn e2e(root: &Path, arguments: Vec<OsString>, tally: &mut Tally) -> Result<()> {
    in_machines(arguments).run_counted("scenarios in a virtual machine", root, tally)
}

/// `e2e` is a workspace of its own: what runs in the virtual machine is built
/// otherwise.
fn in_machines(arguments: Vec<OsString>) -> Chore {
    let mut command = [
        "run",
        "--release",
        "--manifest-path",
        "e2e/Cargo.toml",
        "--",
    ]
    .map(OsString::from)
    .to_vec();
    command.extend(arguments);
    Chore::new("cargo", command)
}

/// The workspace's folder.
fn root() -> Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.parent().context("xtask lies in no workspace")?;
    Ok(root.to_path_buf())
}
