//! The lines for readers, told to systemd's journal by its native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): a datagram of fields.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

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
    let (need, frees) = (account.need_bytes >> 20, account.frees_bytes >> 20);
    match &*names {
        [] => format!("Nothing is killed, need {need} MiB"),
        _ => format!(
            "Chose {} of {} candidates ({}), need {need} MiB, frees {frees} MiB, value lost {}",
            account.chosen,
            account.candidates,
            names.join(", "),
            account.lost
        ),
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
