//! What a child prints, line by line, waited for with a limit.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// Long enough for a busy machine; what is waited for takes milliseconds.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Lines {
    lines: Receiver<String>,
}

impl Lines {
    pub(crate) fn of(out: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { lines }
    }

    /// The first line from here on that contains `words`.
    #[track_caller]
    pub(crate) fn with(&self, words: &str) -> String {
        let mut before = String::new();
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => before.push_str(&format!("{line}\n")),
                Err(_) => panic!("no line with `{words}`, but:\n{before}"),
            }
        }
    }
}
