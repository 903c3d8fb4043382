//! The lines for readers, told to systemd's journal by its native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): a datagram of fields.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use oom_policy::Verdict;
use serde_json::Value;

use crate::line::{Account, Line, SignalLine};

/// What `journalctl MESSAGE_ID=…` finds decisions by,
const DECISION: &str = "b4b48df948a1489b9b20016f348bbf15";
/// and signals.
const SIGNAL: &str = "cc827a10668f444c8faaf3d6042deb47";
/// So many are named in a message.
const NAMED: usize = 5;
/// As syslog(3) numbers them.
const WARNING: &str = "4";
const NOTICE: &str = "5";

/// Systemd's journal, where it listens.
#[derive(Debug)]
pub struct SystemJournal {
    path: PathBuf,
    socket: UnixDatagram,
}

impl SystemJournal {
    /// Where systemd's journal listens.
    pub const SOCKET: &str = "/run/systemd/journal/socket";

    /// One that listens at `path`, now or later.
    ///
    /// # Errors
    ///
    /// What the kernel says of another socket.
    pub fn at(path: PathBuf) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { path, socket })
    }

    /// Tells what `line` says, where that is for readers. Where the journal does not
    /// listen, or is behind, it is left out: our own journal has it.
    pub fn tell(&self, line: &Line) {
        if let Some(message) = message(line) {
            let _ = self.socket.send_to(&message, &self.path);
        }
    }
}

fn message(line: &Line) -> Option<Vec<u8>> {
    let (id, priority, said, fields) = match line {
        Line::Decision(account) => (
            DECISION,
            NOTICE,
            decided(account),
            serde_json::to_value(account),
        ),
        Line::Signal(signal) => (
            SIGNAL,
            WARNING,
            signalled(signal),
            serde_json::to_value(signal),
        ),
        _ => return None,
    };
    let mut message = Vec::new();
    put(&mut message, "MESSAGE", &said);
    put(&mut message, "MESSAGE_ID", id);
    put(&mut message, "PRIORITY", priority);
    put(&mut message, "SYSLOG_IDENTIFIER", "user-oom");
    if let Ok(Value::Object(fields)) = fields {
        for (name, value) in fields {
            let name = format!("USER_OOM_{}", name.to_ascii_uppercase());
            match value {
                Value::Null => {}
                Value::String(text) => put(&mut message, &name, &text),
                other => put(&mut message, &name, &other.to_string()),
            }
        }
    }
    Some(message)
}

/// With its length, so that a value may have line feeds, which are a stranger's to
/// write.
fn put(message: &mut Vec<u8>, name: &str, value: &str) {
    message.extend_from_slice(name.as_bytes());
    message.push(b'\n');
    message.extend_from_slice(&(value.len() as u64).to_le_bytes());
    message.extend_from_slice(value.as_bytes());
    message.push(b'\n');
}

fn decided(account: &Account) -> String {
    let names = account.first.iter().take(NAMED);
    let names: Vec<_> = names
        .map(|unit| format!("{} {}", unit.leader.pid, unit.name))
        .collect();
    let (names, of) = (names.join(", "), account.candidates);
    let (chosen, need) = (account.chosen, account.need_bytes >> 20);
    let frees = account.frees_bytes >> 20;
    match account.verdict {
        Verdict::Chosen => format!(
            "Chose {chosen} of {of} candidates ({names}), need {need} MiB, frees {frees} MiB, \
             value lost {}",
            account.lost
        ),
        Verdict::Paused => format!(
            "Chose {chosen} of {of} candidates to be paused ({names}), need {need} MiB, frees \
             {frees} MiB"
        ),
        // Earlier victims may be sent SIGKILL at the same time.
        Verdict::Refused(_) | Verdict::Idle => {
            format!("Chose none of {of} candidates, need {need} MiB")
        }
    }
}

fn signalled(line: &SignalLine) -> String {
    let SignalLine {
        signal, id, name, ..
    } = line;
    let sent = if line.dry { "Would send" } else { "Sent" };
    let held = line.rss_bytes >> 20;
    format!("{sent} {signal} to {} {name} ({held} MiB)", id.pid)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use oom_policy::{
        Basis, Candidate, Cause, Class, Cost, Explanation, Level, Moment, Name, ProcessId, Refusal,
    };

    use super::*;

    #[track_caller]
    fn check(verdict: Verdict, chosen: u32, want: &str) {
        let unit = Candidate {
            leader: ProcessId {
                pid: 740,
                start_ticks: 1,
            },
            name: Name::new(b"train"),
            processes: 1,
            class: Class::Ordinary,
            explanation: Explanation::new(Basis::Value(3), false, Cost::ZERO),
            held_bytes: 300 << 20,
            growth_bytes_per_second: 0,
            frees_bytes: 300 << 20,
            ends_with: None,
            ends: 0,
            is_paused: false,
            chosen: true,
        };
        let account = Account {
            at: Moment::ORIGIN,
            time: String::new(),
            level: Level::Warn,
            cause: Some(Cause::Level(Level::Warn)),
            verdict,
            need_bytes: 200 << 20,
            frees_bytes: 300 << 20,
            lost: Basis::Value(3).cost(),
            gap: Cost::ZERO,
            covers_need: true,
            candidates: 5,
            chosen,
            first: (0..chosen).map(|_| unit).collect(),
        };
        assert_eq!(decided(&account), want);
    }

    #[test]
    fn a_message_says_what_is_chosen_and_for_what_and_no_more() {
        let killed =
            "Chose 1 of 5 candidates (740 train), need 200 MiB, frees 300 MiB, value lost 3";
        check(Verdict::Chosen, 1, killed);
        let paused =
            "Chose 1 of 5 candidates to be paused (740 train), need 200 MiB, frees 300 MiB";
        check(Verdict::Paused, 1, paused);
        let none = "Chose none of 5 candidates, need 200 MiB";
        let remaining = Duration::from_secs(1);
        for verdict in [
            // SIGKILL to earlier victims goes with it.
            Verdict::Refused(Refusal::Pending { bytes: 1 }),
            Verdict::Refused(Refusal::RecoveryInterval { remaining }),
            Verdict::Idle,
        ] {
            check(verdict, 0, none);
        }
    }
}
