//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

/// Asks user-oom about its state and what it would do
#[derive(Debug, Parser)]
#[command(
    name = "user-oomctl",
    version = terminal::VERSION,
    no_binary_name = true,
    // Else the usage of a subcommand begins with its own name.
    bin_name = "user-oomctl",
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
reason on standard error; 2 for invalid arguments; 3 if no user-oom answers.
doctor: 1 if anything is missing. run: the command's own, 126 if it cannot be
run, 127 if it is not found.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// How much memory there is, the warn threshold, and how many processes are
    /// registered, killed and paused
    Status,

    /// What would be killed if memory fell to the warn threshold now, and why
    Plan {
        /// To the kill threshold
        #[arg(long)]
        kill: bool,
    },

    /// All candidates, with what each holds and costs, and why; and entries of
    /// yours that do not count, with the reason
    List,

    /// Why a process was killed, or why it would be, or would not
    Explain {
        /// The process's pid, or that of the unit it is in [default: the last
        /// victim]
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        pid: Option<u32>,
    },

    /// The last victims
    History,

    /// Make a page for a browser from a journal: memory, processes, decisions
    Report {
        /// A file of a journal, its directory, or `last`: the last incident in
        /// /var/lib/user-oom/journal
        #[arg(value_name = "PATH|last")]
        source: PathBuf,
        /// Write it to this file [default: to standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },

    /// Give a process a value: `set 740 8`, `set 740 8 +3/h nopause`
    Set {
        /// The process
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        pid: u32,
        /// A number, how it grows with unsaved work, and labels
        #[arg(required = true)]
        entry: Vec<String>,
    },

    /// Withdraw a process's value
    Unset {
        /// The process
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        pid: u32,
    },

    /// Say that a process has saved its work, so that its hours count from now
    Saved {
        /// The process [default: the one that runs this command]
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        pid: Option<u32>,
    },

    /// Run a command with a value; its exit status is the command's
    Run {
        /// Its value, such as 8 or `8 +3/h`
        #[arg(long, value_name = "N")]
        value: String,
        /// It may be paused, even while it is in the foreground
        #[arg(long)]
        pause: bool,
        /// A label for its entry
        #[arg(long)]
        name: Option<String>,
        /// Run it in a systemd scope of its own, whose processes are one unit
        #[arg(long)]
        scope: bool,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
        command: Vec<OsString>,
    },

    /// Pause a process of yours, with the unit it is in, until you thaw it
    Pause {
        /// The process
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        pid: u32,
    },

    /// Resume a paused unit; for five minutes, stalls do not pause it again
    Thaw {
        /// A process of it
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        pid: u32,
    },

    /// Print figures for Prometheus, in the OpenMetrics text format
    Metrics,

    /// Print what happens as it happens: levels, kills, pauses
    Watch,

    /// A live screen: memory, swap and stalls, what each unit holds and costs and what
    /// would happen to it, and events as they come
    ///
    /// Keys: q quits; arrows select; s sorts, t shows a tree, / filters; v gives the
    /// selected process a value, p pauses or resumes it. It respects NO_COLOR.
    Top,

    /// Tell users what is done to their processes, until the daemon ends: as desktop
    /// notifications, or without a desktop on their terminals
    ///
    /// As root, it tells all users, on terminals only; `mesg n` keeps a terminal silent.
    Notify,

    /// Warn programs that memory is low, as org.freedesktop.LowMemoryMonitor on the
    /// system bus, until the daemon ends
    LowMemoryMonitor,

    /// Read the configuration again; for root and the daemon's own user
    Reload,

    /// What this machine lacks for user-oom, and the command that fixes it
    Doctor,

    /// Pause the least valuable, or kill it if that is not enough; for root and
    /// the daemon's own user
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_usage_of_each_subcommand_begins_with_the_programs_name() {
        for subcommand in Arguments::command().get_subcommands() {
            let name = subcommand.get_name();
            let help = [name, "--help"].map(OsString::from);
            let help = Arguments::parse_all(help.into_iter())
                .unwrap_err()
                .to_string();
            assert!(
                help.contains(&format!("Usage: user-oomctl {name} ")),
                "{help}"
            );
        }
    }
}
