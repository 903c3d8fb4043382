//! The built daemon as a service of systemd: what it says on `NOTIFY_SOCKET`.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Daemon, Stage, Stopped};

/// What does not come within this long does not come.
const LIMIT: Duration = Duration::from_secs(60);

/// Where systemd listens.
struct Manager(UnixDatagram);

impl Manager {
    fn at(stage: &Stage) -> Self {
        let socket = UnixDatagram::bind(stage.path("notify")).expect("a socket of our own");
        socket.set_read_timeout(Some(LIMIT)).expect("a time");
        Self(socket)
    }

    fn starts(&self, stage: &Stage, watchdog: Option<Duration>) -> Daemon {
        let program = Path::new(env!("CARGO_BIN_EXE_user-oom"));
        let mut command = stage.command(program, &["-r", "1"]);
        command.env("NOTIFY_SOCKET", stage.path("notify"));
        if let Some(limit) = watchdog {
            command.env("WATCHDOG_USEC", limit.as_micros().to_string());
        }
        Daemon::start(&mut command)
    }

    fn hears(&self) -> String {
        let mut message = [0; 256];
        let len = self.0.recv(&mut message).expect("it says something");
        String::from_utf8_lossy(&message[..len])
            .trim_end()
            .to_owned()
    }

    /// How many times it said that it runs, until it was silent for so long.
    fn is_silent_for(&self, quiet: Duration) -> usize {
        self.0.set_read_timeout(Some(quiet)).expect("a time");
        let mut message = [0; 256];
        let mut count = 0;
        let began = Instant::now();
        while let Ok(len) = self.0.recv(&mut message) {
            assert_eq!(&message[..len], b"WATCHDOG=1\n");
            count += 1;
            assert!(began.elapsed() < LIMIT, "it goes on");
        }
        self.0.set_read_timeout(Some(LIMIT)).expect("a time");
        count
    }
}

#[test]
fn it_is_ready_once_it_guards_and_says_that_it_ends() {
    let stage = Stage::new();
    let manager = Manager::at(&stage);
    let daemon = manager.starts(&stage, None);
    assert_eq!(manager.hears(), "READY=1");
    assert!(stage.told("Status").contains(r#""level":"ok""#));
    daemon.end_by(Signal::SIGTERM);
    assert_eq!(manager.hears(), "STOPPING=1");
}

#[test]
fn systemds_watchdog_hears_of_the_loop_and_nothing_while_it_hangs() {
    const WATCHDOG: Duration = Duration::from_millis(400);
    let stage = Stage::new();
    let manager = Manager::at(&stage);
    let daemon = manager.starts(&stage, Some(WATCHDOG));
    assert_eq!(manager.hears(), "READY=1");
    for _ in 0..3 {
        assert_eq!(manager.hears(), "WATCHDOG=1");
    }
    let Some(stopped) = Stopped::stop(&daemon) else {
        return;
    };
    // The loop may be due only seconds from now, and late 2 s after that.
    manager.is_silent_for(5 * WATCHDOG);
    drop(stopped);
    assert_eq!(manager.hears(), "WATCHDOG=1");
}
