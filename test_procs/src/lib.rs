//! Two processes that grow without end and ignore SIGTERM.
//!
//! `test_proc1` (value 8) and `test_proc2` (value 5, twice as hungry) stand for
//! what fills a machine: each prints its PID, registers its value, and then
//! takes memory at a steady pace until it is killed. SIGTERM does not do it: it
//! is blocked, reported and ignored, so only SIGKILL helps. SIGINT and SIGHUP
//! end them cleanly, their entry in the registry with them.
//!
//! `--max-mib` bounds what one takes; it then holds still, alive. With `--hold`
//! it takes nothing before SIGUSR1, so that two can begin together.

mod hoard;
mod pace;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{CommandFactory, FromArgMatches, Parser};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::hoard::Hoard;
use crate::pace::Pace;

/// The more valuable one.
pub const TEST_PROC1: Character = Character {
    name: "test_proc1",
    value: 8,
    mib_per_second: 40,
};

/// The less valuable and hungrier one.
pub const TEST_PROC2: Character = Character {
    name: "test_proc2",
    value: 5,
    mib_per_second: 80,
};

/// In what the two differ.
#[derive(Clone, Copy, Debug)]
pub struct Character {
    name: &'static str,
    value: u32,
    mib_per_second: u32,
}

/// Why one could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments made no sense, or help was asked for.
    #[error(transparent)]
    Arguments(clap::Error),
    /// Signals could not be taken by descriptor.
    #[error("cannot take signals by descriptor")]
    Signals {
        /// What the kernel said.
        source: Errno,
    },
    /// The value could not be registered.
    #[error("cannot register value {value}")]
    Register {
        /// What it was.
        value: u32,
        /// Where and why.
        source: value_registry::RegistryError,
    },
    /// Standard output took no line.
    #[error("cannot print")]
    Print {
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// 0 for help that was asked for, 2 for arguments that make no sense, else 1.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Arguments(err) if !err.use_stderr() => ExitCode::SUCCESS,
            Self::Arguments(_) => ExitCode::from(2),
            Self::Signals { .. } | Self::Register { .. } | Self::Print { .. } => ExitCode::FAILURE,
        }
    }
}

/// Takes memory without end, and ignores SIGTERM
#[derive(Debug, Parser)]
#[command(version, no_binary_name = true, max_term_width = 80)]
struct Arguments {
    /// Stop growing at this many MiB [default: never]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    max_mib: Option<u64>,

    /// Take this many MiB per second [default: 40 for test_proc1, 80 for
    /// test_proc2]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    rate_mib_s: Option<u32>,

    /// Take this many MiB at once at the start, then go on at the rate
    #[arg(
        long,
        value_name = "N",
        default_value = "0",
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    at_once_mib: u64,

    /// Register, and take nothing until SIGUSR1
    #[arg(long)]
    hold: bool,

    /// Register with this value, 0 to 1000000 [default: 8 for test_proc1, 5 for
    /// test_proc2]
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(..=i64::from(value_registry::MAX_VALUE)))]
    value: Option<u32>,

    /// The registry's directory
    #[arg(long, value_name = "DIR", default_value = value_registry::DEFAULT_DIRECTORY)]
    registry: PathBuf,
}

/// Registers and grows until SIGINT, SIGHUP, or a closed pipe at its output.
///
/// # Errors
///
/// See [`Error`]; nothing is left registered.
pub fn run(character: &Character, args: impl Iterator<Item = OsString>) -> Result<(), Error> {
    let arguments = Arguments::command()
        .name(character.name)
        .try_get_matches_from(args)
        .and_then(|matches| Arguments::from_arg_matches(&matches))
        .map_err(Error::Arguments)?;
    let value = arguments.value.unwrap_or(character.value);
    // Before anything is said: whoever reads the PID may signal at once.
    let signals = take_signals().map_err(|source| Error::Signals { source })?;
    let voice = Voice {
        name: character.name,
        pid: std::process::id(),
    };

    let registration = value_registry::register(&arguments.registry, voice.pid, value)
        .map_err(|source| Error::Register { value, source })?;
    let pace = Pace::new(arguments.rate_mib_s.unwrap_or(character.mib_per_second));
    let appetite = Appetite {
        hold: arguments.hold,
        at_once_mib: arguments.at_once_mib,
        max_mib: arguments.max_mib.unwrap_or(u64::MAX),
    };
    let grown = voice
        .say(format_args!(
            "PID {}, value {value}, registered in {}, ignores SIGTERM",
            voice.pid,
            arguments.registry.display()
        ))
        .and_then(|()| grow(&voice, &signals, pace, &appetite));
    drop(registration);
    match grown {
        Err(Error::Print { source }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Prints `err` and all its causes to standard error, or the help that was
/// asked for to standard output.
pub fn report(character: &Character, err: &Error) {
    // Where even this cannot be printed there is nowhere left to say so.
    if let Error::Arguments(err) = err {
        let _ = err.print();
        return;
    }
    let mut line = format!("{}: {err}", character.name);
    let mut cause = std::error::Error::source(err);
    while let Some(err) = cause {
        line.push_str(&format!(": {err}"));
        cause = err.source();
    }
    let _ = writeln!(io::stderr(), "{line}");
}

/// How long between two helpings.
const TICK: Duration = Duration::from_millis(50);

/// How long between two lines.
const REPORT: Duration = Duration::from_secs(1);

/// Blocks the signals we answer, and takes them by descriptor instead.
///
/// A blocked SIGTERM kills nothing, and std has no safe way to ignore one.
/// Called before there is a second thread: a signal's mask is the thread's.
fn take_signals() -> Result<SignalFd, Errno> {
    let mut ours = SigSet::empty();
    ours.add(Signal::SIGTERM);
    ours.add(Signal::SIGINT);
    ours.add(Signal::SIGHUP);
    ours.add(Signal::SIGUSR1);
    ours.thread_block()?;
    SignalFd::with_flags(&ours, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// When to begin, with how much, and where to stop.
struct Appetite {
    hold: bool,
    at_once_mib: u64,
    max_mib: u64,
}

/// Takes memory until a signal ends it.
fn grow(
    voice: &Voice,
    signals: &SignalFd,
    mut pace: Pace,
    appetite: &Appetite,
) -> Result<(), Error> {
    let max_mib = appetite.max_mib;
    let mut hoard = Hoard::new();
    let mut helped = Instant::now();
    let mut reported = (helped, 0);
    let mut growing = !appetite.hold;
    let mut at_once_mib = appetite.at_once_mib;
    loop {
        match next_signal(signals, growing.then_some(TICK))? {
            Some(Signal::SIGTERM) => voice.say(format_args!("SIGTERM ignored"))?,
            Some(Signal::SIGUSR1) => {
                helped = Instant::now();
                reported = (helped, hoard.mib());
                growing = true;
            }
            Some(signal) => return voice.say(format_args!("{signal}: exiting")),
            None => {}
        }
        if !growing {
            continue;
        }

        let now = Instant::now();
        let due_mib = pace
            .due_mib(now - helped)
            .max(std::mem::take(&mut at_once_mib));
        for _ in 0..due_mib.min(max_mib - hoard.mib()) {
            if let Err(err) = hoard.take_mib() {
                voice.say(format_args!("{err}: stops growing"))?;
                growing = false;
                break;
            }
        }
        helped = now;

        let now = Instant::now();
        let (since, held_mib) = reported;
        if now - since >= REPORT {
            let rate = (hoard.mib() - held_mib) as f64 / (now - since).as_secs_f64();
            voice.say(format_args!("{:>7} MiB {rate:>6.1} MiB/s", hoard.mib()))?;
            reported = (now, hoard.mib());
        }
        if growing && hoard.mib() == max_mib {
            voice.say(format_args!("{max_mib:>7} MiB, enough: stops growing"))?;
            growing = false;
        }
    }
}

/// The next signal, or `None` when `timeout` is over; without one, waits for ever.
fn next_signal(signals: &SignalFd, timeout: Option<Duration>) -> Result<Option<Signal>, Error> {
    let fail = |source| Error::Signals { source };
    let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
        PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX)
    });
    match poll(
        &mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)],
        timeout,
    ) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(err) => return Err(fail(err)),
    }
    let Some(info) = signals.read_signal().map_err(fail)? else {
        return Ok(None);
    };
    let number = i32::try_from(info.ssi_signo).map_err(|_| fail(Errno::EINVAL))?;
    Signal::try_from(number).map(Some).map_err(fail)
}

/// How one prints: each line begins with its name.
struct Voice {
    name: &'static str,
    pid: u32,
}

impl Voice {
    fn say(&self, words: std::fmt::Arguments<'_>) -> Result<(), Error> {
        let Self { name, pid } = self;
        // One write a line, so that lines of several processes do not mix.
        let line = format!("{name} [{pid}] {words}\n");
        io::stdout()
            .write_all(line.as_bytes())
            .map_err(|source| Error::Print { source })
    }
}
