//! A listener of our own, so that the module is tested without the daemon.
//!
//! It holds everything that a last call takes beforehand: its pages locked,
//! its victims by pidfd, the file open. In the call itself it allocates
//! nothing, as the header of the module asks.

use std::fmt;
use std::fs::{self, File};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::module::{self, LAST_CALL};
use super::program::Program;
use super::roles::say;

/// What a listener does at a last call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Kills the next of its victims that is still there, and answers. Without
    /// one it answers all the same.
    Answers,
    /// Kills, and leaves without an answer.
    KillsOnly,
    /// Reads the file and does nothing.
    Ignores,
    /// Does not even read.
    Sleeps,
    /// Exits.
    Exits,
}

impl Manner {
    const ALL: [Self; 5] = [
        Self::Answers,
        Self::KillsOnly,
        Self::Ignores,
        Self::Sleeps,
        Self::Exits,
    ];
}

impl fmt::Display for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answers => "answers",
            Self::KillsOnly => "kills-only",
            Self::Ignores => "ignores",
            Self::Sleeps => "sleeps",
            Self::Exits => "exits",
        })
    }
}

/// Starts one that would give up `victims`, in this order.
///
/// # Errors
///
/// It could not be started, or another process listens.
pub fn start(manner: Manner, victims: &[&Program]) -> Result<Program> {
    let mut words = vec!["listen".to_owned(), manner.to_string()];
    words.extend(victims.iter().map(|victim| victim.pid().to_string()));
    let mut program = Program::role(&words)?;
    program.says("listening")?;
    Ok(program)
}

/// The role `listen MANNER PID…`.
///
/// # Errors
///
/// The words make no sense, another process listens, or the file went away.
pub fn run(mut words: impl Iterator<Item = String>) -> Result<()> {
    let word = words.next().unwrap_or_default();
    let Some(manner) = Manner::ALL
        .into_iter()
        .find(|manner| manner.to_string() == word)
    else {
        bail!("`{word}` is no manner");
    };
    let victims = words.map(|word| hold(&word)).collect::<Result<Vec<_>>>()?;
    fs::write("/proc/self/oom_score_adj", "-1000").context("cannot protect ourselves")?;
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).context("cannot lock our pages")?;
    let file = module::open_to_listen().context("cannot listen")?;
    say("listening")?;
    listen(&file, manner, &victims)
}

fn hold(word: &str) -> Result<OwnedFd> {
    let pid = word
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .context("no pid")?;
    pidfd_open(pid, PidfdFlags::empty()).with_context(|| format!("cannot hold {pid}"))
}

fn listen(file: &File, manner: Manner, victims: &[OwnedFd]) -> Result<()> {
    let mut answered = 0;
    loop {
        let mut fds = [PollFd::new(file, PollFlags::PRI)];
        poll(&mut fds, None)?;
        if manner == Manner::Sleeps {
            // For ever: whoever started us ends us.
            poll(&mut [], None)?;
        }
        let mut text = [0; 1024];
        let len = rustix::io::pread(file, &mut text, 0)?;
        let (level, sequence) = read(&text[..len]).context("the notifier makes no sense")?;
        if level != LAST_CALL || sequence == answered {
            continue;
        }
        match manner {
            Manner::Exits => return Ok(()),
            Manner::Ignores | Manner::Sleeps => {}
            Manner::KillsOnly => kill_the_next(victims)?,
            Manner::Answers => {
                kill_the_next(victims)?;
                let mut digits = [0; 20];
                match rustix::io::write(file, decimal(sequence, &mut digits)) {
                    // Its caller was dying, and the next call has begun.
                    Ok(_) | Err(Errno::STALE) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        answered = sequence;
    }
}

/// Kills the first that is still there, be it dying: then memory is pending,
/// and no other has to be killed.
fn kill_the_next(victims: &[OwnedFd]) -> Result<()> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    for victim in victims {
        let mut fds = [PollFd::new(victim, PollFlags::IN)];
        if poll(&mut fds, Some(&now))? == 0 {
            match pidfd_send_signal(victim, Signal::KILL) {
                Ok(()) => return Ok(()),
                // It has ended meanwhile.
                Err(Errno::SRCH) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(())
}

/// The level and the sequence number, without an allocation.
fn read(text: &[u8]) -> Option<(u32, u64)> {
    let text = str::from_utf8(text).ok()?;
    let level = text.lines().next()?.parse().ok()?;
    let sequence = text
        .lines()
        .find_map(|line| line.strip_prefix("Sequence: "))?;
    Some((level, sequence.parse().ok()?))
}

fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    loop {
        start -= 1;
        // The remainder is a digit.
        digits[start] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            return &digits[start..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{decimal, read};

    #[test]
    fn a_number_is_written_in_full() {
        assert_eq!(decimal(0, &mut [0; 20]), b"0");
        assert_eq!(decimal(1070, &mut [0; 20]), b"1070");
        assert_eq!(decimal(u64::MAX, &mut [0; 20]), b"18446744073709551615");
    }

    #[test]
    fn level_and_number_are_found_among_the_lines() {
        assert_eq!(read(b"3\nReserveBytes: 1\nSequence: 17\n"), Some((3, 17)));
        assert_eq!(read(b"3\nReserveBytes: 1\n"), None);
        assert_eq!(read(b""), None);
    }
}
