//! `--syslog`: lines go to the system log, in the form of syslog(3).
//!
//! That is one datagram for each line to a socket, usually `/dev/log`. It is
//! sent to by path each time, so that a log daemon may be restarted.

use std::io::{self, LineWriter, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use log::{Level, Log, Metadata, Record};

/// System daemons: LOG_DAEMON of syslog(3).
const FACILITY: u8 = 3 << 3;

/// How long a log daemon that does not read may hold up a line, which is lost
/// then.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the system log is reached.
#[derive(Clone, Debug)]
pub(crate) struct Syslog {
    socket: Arc<UnixDatagram>,
    path: PathBuf,
}

impl Syslog {
    /// # Errors
    ///
    /// What the kernel says where no log daemon listens at `path`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        UnixDatagram::unbound()?.connect(path)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket: Arc::new(socket),
            path: path.to_owned(),
        })
    }

    /// What writes each line as one of information.
    pub(crate) fn writer(&self) -> LineWriter<Lines> {
        LineWriter::new(Lines(self.clone()))
    }

    fn send(&self, severity: u8, line: &str) {
        let priority = FACILITY | severity;
        let pid = std::process::id();
        let datagram = format!("<{priority}>user-oom[{pid}]: {line}");
        // There is no other place to say that the log is gone.
        let _ = self.socket.send_to(datagram.as_bytes(), &self.path);
    }
}

impl Log for Syslog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.send(severity(record.level()), &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Takes whole lines.
#[derive(Debug)]
pub(crate) struct Lines(Syslog);

impl Write for Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let coloured = String::from_utf8_lossy(text);
        let plain = anstream::adapter::strip_str(&coloured).to_string();
        for line in plain.lines() {
            self.0.send(severity(Level::Info), line);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use log::LevelFilter;

    use super::*;

    #[test]
    fn each_line_is_a_datagram_with_its_severity_and_without_colours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = UnixDatagram::bind(&path).unwrap();
        log.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let receive = || {
            let mut buffer = [0; 200];
            let len = log.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..len].to_vec()).unwrap()
        };
        let pid = std::process::id();

        let syslog = Syslog::open(&path).unwrap();
        let mut writer = syslog.writer();
        write!(writer, "\x1b[1mone").unwrap();
        write!(writer, "\x1b[0m line\nanother\n").unwrap();
        assert_eq!(receive(), format!("<30>user-oom[{pid}]: one line"));
        assert_eq!(receive(), format!("<30>user-oom[{pid}]: another"));
        let record = Record::builder().level(Level::Warn).build();
        log::set_max_level(LevelFilter::Info);
        syslog.log(&record);
        assert_eq!(receive(), format!("<28>user-oom[{pid}]: "));
    }

    #[test]
    fn where_no_log_daemon_listens_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Syslog::open(&folder.path().join("log")).is_err());
    }
}
