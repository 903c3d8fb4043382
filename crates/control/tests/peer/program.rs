//! A peer in a process of its own: `control-test-peer SOCKET ask METHOD` prints
//! the answer in JSON; `control-test-peer SOCKET hold` takes the lock, says
//! `held` and keeps it until its standard input is closed;
//! `control-test-peer SOCKET crowd N` connects N times at once, says `crowded`,
//! asks nothing, and connects again whenever it is hung up on, until its
//! standard input is closed.

use std::error::Error;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use control::{Client, InstanceLock, Place, Request};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            let _ = writeln!(io::stderr(), "control-test-peer: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut stdout = io::stdout();
    match words[..] {
        [socket, "ask", request] => {
            let request = match request {
                "Relief" => Request::Relief,
                "Status" => Request::Status,
                "History" => Request::History,
                _ => return Err("what am I to ask?".into()),
            };
            let client = Client::connect(&Place::at(Path::new(socket))?, LIMIT)?;
            let reply = client.ask(&request, LIMIT)?;
            write!(stdout, "{}", reply.parameters())?;
        }
        [socket, "hold"] => {
            let _lock = InstanceLock::take(&Place::at(Path::new(socket))?)?;
            stdout.write_all(b"held\n")?;
            stdout.flush()?;
            io::stdin().read_to_end(&mut Vec::new())?;
        }
        [socket, "crowd", size] => {
            let place = Place::at(Path::new(socket))?;
            let (sender, connected) = mpsc::channel();
            for _ in 0..size.parse()? {
                let (place, sender) = (place.clone(), sender.clone());
                thread::spawn(move || be_idle(&place, &sender));
            }
            connected.recv()?;
            stdout.write_all(b"crowded\n")?;
            stdout.flush()?;
            io::stdin().read_to_end(&mut Vec::new())?;
        }
        _ => return Err("what am I to do?".into()),
    }
    Ok(())
}

fn be_idle(place: &Place, connected: &Sender<()>) {
    loop {
        // Where it takes too long it is tried again.
        if let Ok(client) = Client::connect(place, LIMIT) {
            let _ = connected.send(());
            let mut polled = [PollFd::new(client.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut polled, PollTimeout::NONE);
        }
    }
}

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);
