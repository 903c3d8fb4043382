//! Watches memory pressure, and asks user-oom for relief when it is too high.
//!
//! A poll reads full avg10 from the kernel's pressure file: the share of the last
//! ten seconds in which all tasks that had something to do waited for memory.
//! Above the threshold, the monitor asks the daemon for relief over the control
//! socket (or does what `--action` says). Then it pauses for the recovery
//! interval, because an average falls only some time after its cause is gone.
//!
//! It chooses no victim and kills nothing: the daemon does.

mod arguments;
mod error;
mod remedy;
mod screen;
mod signals;
mod watch;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

use control::Reply;
use log::LevelFilter;

use crate::arguments::Arguments;
pub use crate::error::Error;
use crate::remedy::{DaemonClient, Remedy};
use crate::screen::Screen;
use crate::signals::Signals;
use crate::watch::Watch;

/// Where the kernel's proc file system is.
const PROC: &str = "/proc";

/// The command line, for a man page and completions.
#[must_use]
pub fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// Watches until SIGINT, SIGTERM, SIGHUP, ^Z, or a closed pipe at its output;
/// or only says whether a daemon answers, or what it did to a process, where
/// `args` ask for that. They begin after the program's name.
///
/// # Errors
///
/// See [`Error`].
pub fn run(args: impl Iterator<Item = OsString>) -> Result<(), Error> {
    let (arguments, action) = Arguments::parse_all(args).map_err(Error::Arguments)?;
    let socket = arguments.socket.as_deref();
    let mut screen = Screen::stdout();
    let done = if arguments.check {
        say_how_it_is(&DaemonClient::find(socket)?, &mut screen)
    } else if let Some(pid) = arguments.fate {
        say_what_became_of(pid, &DaemonClient::find(socket)?, &mut screen)
    } else {
        env_logger::Builder::new()
            .filter_level(LevelFilter::Warn)
            .parse_default_env()
            .init();
        // Before there is a second thread.
        let signals = Signals::take().map_err(|source| Error::Signals { source })?;
        let proc = Path::new(PROC);
        let remedy = Remedy::new(action, socket, proc)?;
        Watch::new(&arguments, remedy, proc)?.run(&signals, &mut screen)
    };
    match done {
        Err(Error::Print { source }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Prints `err` and all its causes to standard error, or the help that was
/// asked for to standard output.
pub fn report(err: &Error) {
    // Where even this cannot be printed there is nowhere left to say so.
    if let Error::Arguments(err) = err {
        let _ = err.print();
        return;
    }
    terminal::complain("psi-monitor", &terminal::chain(err));
}

fn say_how_it_is<W: Write>(daemon: &DaemonClient, screen: &mut Screen<W>) -> Result<(), Error> {
    let status = daemon.status().map_err(Error::NoAnswer)?;
    screen
        .line(format_args!("user-oom answers at {daemon}: {status}"))
        .map_err(|source| Error::Print { source })
}

fn say_what_became_of<W: Write>(
    pid: u32,
    daemon: &DaemonClient,
    screen: &mut Screen<W>,
) -> Result<(), Error> {
    match daemon.fate(pid).map_err(Error::NoAnswer)? {
        Reply::Fate(fate) => screen
            .line(format_args!("{fate}"))
            .map_err(|source| Error::Print { source }),
        answer => Err(Error::NoFate {
            pid,
            daemon: daemon.to_string(),
            answer: Box::new(answer),
        }),
    }
}
