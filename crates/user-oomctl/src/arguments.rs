//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

/// Asks user-oom how things are and what it would do
#[derive(Debug, Parser)]
#[command(
    name = "user-oomctl",
    version,
    no_binary_name = true,
    max_term_width = 80,
    after_help = EXIT_STATUS
)]
pub(crate) struct Arguments {
    /// Print the daemon's answer as it came, in JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// user-oom's control socket [default: your own daemon's in
    /// $XDG_RUNTIME_DIR/user-oom where one runs, else /run/user-oom/control]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_STATUS: &str = "\
Exit status: 0 if it was done; 1 if the daemon refused it or it failed, with the
reason on standard error; 2 for invalid arguments; 3 if no user-oom answers.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// How much memory there is, the warn threshold, and how many processes are
    /// registered, killed and paused
    Status,

    /// Which signal user-oom sent to a process, and why
    Explain {
        /// The victim's pid
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        pid: u32,
    },

    /// Have the least valuable paused, or killed where that is not enough; for
    /// root and the daemon's own user
    Relieve,

    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

impl Arguments {
    /// Parses `args`, which begin after the program's name.
    ///
    /// # Errors
    ///
    /// Arguments that make no sense, or help was asked for.
    pub(crate) fn parse_all(args: impl Iterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(args)
    }
}
