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
    /// Claims the call, kills the next of its victims that is still there, and
    /// answers. Without one it answers all the same.
    Answers,
    /// The same, but it sleeps through its first call.
    Misses,
    /// Waits until the call is over, and says what then becomes of its answer.
    Late,
    /// Has no victim, and says so.
    Declines,
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
    const ALL: [Self; 8] = [
        Self::Answers,
        Self::Misses,
        Self::Late,
        Self::Declines,
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
            Self::Misses => "misses",
            Self::Late => "late",
            Self::Declines => "declines",
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
        let calls = level == LAST_CALL;
        if manner == Manner::Late && !calls && sequence != answered {
            let taken = write(file, sequence, b"\n");
            say(taken.map_or_else(name, |()| "taken"))?;
        } else if !calls || sequence == answered || manner == Manner::Late {
            continue;
        }
        match manner {
            Manner::Exits => return Ok(()),
            Manner::Ignores | Manner::Sleeps | Manner::Late => {}
            Manner::Declines => write(file, sequence, b" none\n")?,
            Manner::KillsOnly => kill_the_next(victims)?,
            Manner::Misses if sequence == 1 => {}
            Manner::Answers | Manner::Misses => {
                if is_in_time(write(file, sequence, b" claim\n"))? {
                    kill_the_next(victims)?;
                    // Where a victim's end has ended it, nothing waits for that.
                    is_in_time(write(file, sequence, b"\n"))?;
                }
            }
        }
        answered = sequence;
    }
}

/// Memory may have come back before, or the next call have begun.
fn is_in_time(said: Result<(), Errno>) -> Result<bool> {
    match said {
        Ok(()) => Ok(true),
        Err(Errno::TIME | Errno::STALE) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn name(errno: Errno) -> &'static str {
    match errno {
        Errno::TIME => "too late",
        _ => "refused",
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

/// Writes the call's number and what is said to it, without an allocation.
fn write(file: &File, number: u64, word: &[u8]) -> Result<(), Errno> {
    let mut text = [0; 32];
    rustix::io::write(file, line(number, word, &mut text)).map(drop)
}

/// Fits twenty digits and the longest word.
fn line<'a>(mut number: u64, word: &[u8], text: &'a mut [u8; 32]) -> &'a [u8] {
    let mut start = text.len() - word.len();
    text[start..].copy_from_slice(word);
    loop {
        start -= 1;
        // The remainder is a digit.
        text[start] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            return &text[start..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{line, read};

    #[test]
    fn a_number_is_written_in_full() {
        assert_eq!(line(0, b"\n", &mut [0; 32]), b"0\n");
        assert_eq!(line(1070, b" none\n", &mut [0; 32]), b"1070 none\n");
        let largest = b"18446744073709551615 claim\n";
        assert_eq!(line(u64::MAX, b" claim\n", &mut [0; 32]), largest);
    }

    #[test]
    fn level_and_number_are_found_among_the_lines() {
        assert_eq!(read(b"3\nReserveBytes: 1\nSequence: 17\n"), Some((3, 17)));
        assert_eq!(read(b"3\nReserveBytes: 1\n"), None);
        assert_eq!(read(b""), None);
    }
}
