//! Asks user-oom how things are and what it would do.
//!
//! Each command is one call over the control socket (crate `control`), and what
//! is printed is the daemon's answer: in plain English, or as it came
//! (`--json`). It decides and kills nothing itself.

mod arguments;
mod doctor;
mod error;
mod low_memory;
mod notify;
mod places;
mod printer;
mod report;
mod run;
mod top;

use std::ffi::OsString;
use std::io;

use clap::CommandFactory;
use control::{Condition, Reply, Request};

use crate::arguments::{Arguments, Command};
pub use crate::error::Error;
use crate::places::DaemonPlaces;
use crate::printer::AnswerPrinter;

/// The command line, for a man page and completions.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Does what `args` ask for, which begin after the program's name.
///
/// # Errors
///
/// See [`Error`].
pub fn run(args: impl Iterator<Item = OsString>) -> Result<(), Error> {
    let arguments = Arguments::parse_all(args).map_err(Error::Arguments)?;
    let printer = AnswerPrinter::stdout(arguments.json);
    match carry_out(arguments, printer) {
        Err(Error::Print { source }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

fn carry_out(arguments: Arguments, mut printer: AnswerPrinter) -> Result<(), Error> {
    let daemon = DaemonPlaces::find(arguments.socket.as_deref());
    match arguments.command {
        Command::Status => printer.answer(&daemon?.ask(&Request::Status)?),
        Command::Relieve => printer.answer(&daemon?.ask(&Request::Relief)?),
        Command::Plan { kill } => {
            let level = match kill {
                true => Condition::Kill,
                false => Condition::Warn,
            };
            printer.answer(&daemon?.ask(&Request::Plan { level })?)
        }
        Command::List => {
            let (daemon, level) = (daemon?, Condition::Warn);
            let plan = daemon.ask(&Request::Plan { level })?;
            printer.list(&plan, &daemon.ask(&Request::Refused)?)
        }
        Command::Explain { pid: Some(pid) } => {
            printer.answer(&daemon?.ask(&Request::Explain { pid })?)
        }
        Command::Explain { pid: None } => {
            let daemon = daemon?;
            match daemon.ask(&Request::History)? {
                Reply::History(victims) if !victims.is_empty() => {
                    let pid = victims[victims.len() - 1].pid;
                    printer.answer(&daemon.ask(&Request::Explain { pid })?)
                }
                none => printer.answer(&none),
            }
        }
        Command::History => printer.answer(&daemon?.ask(&Request::History)?),
        Command::Set { pid, entry } => {
            let (pid, entry) = (Some(pid), entry.join(" "));
            let reply = daemon?.ask(&Request::Register { pid, entry })?;
            printer.done(&reply, "has its value")
        }
        Command::Unset { pid } => {
            let reply = daemon?.ask(&Request::Unregister { pid: Some(pid) })?;
            printer.done(&reply, "no longer has a value")
        }
        Command::Saved { pid } => {
            let pid = Some(pid.unwrap_or_else(std::os::unix::process::parent_id));
            let reply = daemon?.ask(&Request::Saved { pid })?;
            printer.done(&reply, "has saved its work")
        }
        Command::Run {
            value,
            pause,
            name,
            scope,
            command,
        } => {
            let words = [pause.then_some("pause"), name.as_deref()];
            let words = words.into_iter().flatten();
            let entry = words.fold(value.clone(), |entry, word| format!("{entry} {word}"));
            run::become_command(&daemon?, entry, scope, &command)
        }
        Command::Pause { pid } => {
            let reply = daemon?.ask(&Request::Pause { pid })?;
            printer.done(&reply, "is paused, with the unit it leads")
        }
        Command::Thaw { pid } => {
            let reply = daemon?.ask(&Request::Thaw { pid })?;
            printer.done(&reply, "resumes, with the unit it leads")
        }
        Command::Metrics => {
            let reply = daemon?.ask(&Request::Metrics)?;
            match (&reply, printer.json) {
                (Reply::Metrics(text), false) => printer.write_unfolded(text),
                _ => printer.answer(&reply),
            }
        }
        Command::Watch => {
            let mut events = daemon?.subscribe()?;
            loop {
                printer.event(&events.next()?)?;
            }
        }
        Command::Top => top::show(&daemon?),
        Command::Notify => notify::notify(&daemon?, &mut printer),
        Command::LowMemoryMonitor => low_memory::warn(&daemon?, &mut printer),
        Command::Reload => printer.answer(&daemon?.ask(&Request::Reload)?),
        Command::Report { source, output } => {
            let page = report::page(&source)?;
            match output {
                Some(path) => {
                    std::fs::write(&path, page).map_err(|source| Error::Write { path, source })
                }
                None => printer.write_unfolded(&page),
            }
        }
        Command::Doctor => doctor::examine(&daemon?, &mut printer),
        Command::Completions { shell } => {
            let mut command = Arguments::command();
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "user-oomctl", &mut script);
            printer.write_unfolded(&String::from_utf8_lossy(&script))
        }
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
    terminal::complain("user-oomctl", &terminal::chain(err));
}
