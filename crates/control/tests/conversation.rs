//! Both sides over a real socket.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

use control::{
    Client, ClientError, Connection, ConnectionError, Denial, Door, InstanceLock, Listener,
    MESSAGE_BYTES, Place, Reply, Request, Status,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr};
use nix::sys::socket::{connect, send, socket};
use nix::unistd::geteuid;
use tempfile::TempDir;

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

/// Shorter than what never comes; a test is right however long it really takes.
const SHORT: Duration = Duration::from_millis(20);

struct Daemon {
    listener: Listener,
    place: Place,
    _lock: InstanceLock,
    _directory: TempDir,
}

impl Daemon {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        let place = Place::at(&directory.path().join("socket")).expect("it is short enough");
        let lock = InstanceLock::take(&place).expect("it is new");
        let listener = Listener::bind(&place, Door::Public, &lock).expect("it is new");
        Self {
            listener,
            place,
            _lock: lock,
            _directory: directory,
        }
    }

    fn client(&self) -> Client {
        Client::connect(&self.place, LIMIT).expect("a daemon listens")
    }

    #[track_caller]
    fn accept(&self) -> Connection {
        self.listener.accept().expect("a client waits")
    }

    /// A peer that says what it likes.
    fn stranger(&self) -> std::os::fd::OwnedFd {
        let socket = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .expect("there is room for a socket");
        let address = UnixAddr::new(self.place.socket()).expect("it is short enough");
        connect(socket.as_raw_fd(), &address).expect("a daemon listens");
        socket
    }
}

fn say(stranger: &impl AsRawFd, message: &[u8]) -> nix::Result<usize> {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    send(stranger.as_raw_fd(), message, flags)
}

#[track_caller]
fn wait_until_readable(descriptor: &impl AsFd) {
    let mut polled = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(LIMIT).expect("it is short enough");
    assert_eq!(poll(&mut polled, timeout), Ok(1));
}

#[test]
fn a_question_is_answered() {
    let daemon = Daemon::new();
    let answers = [
        (
            Request::Relief,
            Reply::Granted {
                processes: 2,
                bytes: 1 << 30,
            },
        ),
        (
            Request::Relief,
            Reply::Refused(Denial::RecoveryInterval {
                remaining: Duration::from_millis(900),
            }),
        ),
        (Request::Status, Reply::Status(Status::default())),
    ];
    for (request, reply) in answers {
        assert!(daemon.listener.accept().is_none());
        let client = daemon.client();
        let asks = std::thread::spawn(move || client.ask(request, LIMIT));
        wait_until_readable(&daemon.listener);
        let connection = daemon.accept();
        wait_until_readable(&connection);
        assert_eq!(connection.receive().unwrap(), Some(request));
        assert!(connection.receive().unwrap().is_none());
        connection.reply(&reply).unwrap();
        assert_eq!(asks.join().unwrap().unwrap(), reply);
        assert!(matches!(connection.receive(), Err(ConnectionError::Closed)));
    }
}

#[test]
fn a_silent_peer_costs_nothing_but_its_descriptor() {
    let daemon = Daemon::new();
    let stranger = daemon.stranger();
    let connection = daemon.accept();
    assert!(connection.receive().unwrap().is_none());
    assert!(connection.receive().unwrap().is_none());
    drop(stranger);
    assert!(matches!(connection.receive(), Err(ConnectionError::Closed)));
}

#[test]
fn garbage_is_an_error_that_says_what_was_found_and_can_be_answered() {
    let daemon = Daemon::new();
    let stranger = daemon.stranger();
    say(&stranger, b"\x1b[2Jrm -rf").unwrap();
    let connection = daemon.accept();
    let Err(ConnectionError::Words(err)) = connection.receive() else {
        panic!("garbage was understood");
    };
    assert_eq!(
        err.to_string(),
        "expected `relief`, `status` or `fate`, found `\\x1b[2Jrm -rf`"
    );
    let reply = Reply::Refused(Denial::NotUnderstood);
    connection.reply(&reply).unwrap();
    let mut answer = [0; 64];
    let len = nix::sys::socket::recv(stranger.as_raw_fd(), &mut answer, MsgFlags::empty()).unwrap();
    assert_eq!(&answer[..len], b"refused not-understood");
}

#[test]
fn a_giant_message_is_refused_and_the_next_is_read_whole() {
    let daemon = Daemon::new();
    let stranger = daemon.stranger();
    say(&stranger, &[b'r'; 100_000]).unwrap();
    say(&stranger, &[b'r'; MESSAGE_BYTES + 1]).unwrap();
    say(&stranger, b"relief").unwrap();
    let connection = daemon.accept();
    for _ in 0..2 {
        let err = connection.receive().unwrap_err();
        assert!(matches!(err, ConnectionError::Words(_)), "{err:?}");
    }
    assert_eq!(connection.receive().unwrap(), Some(Request::Relief));
}

#[test]
fn an_empty_message_is_a_goodbye() {
    let daemon = Daemon::new();
    let stranger = daemon.stranger();
    say(&stranger, b"").unwrap();
    assert!(matches!(
        daemon.accept().receive(),
        Err(ConnectionError::Closed)
    ));
}

#[test]
fn a_peer_that_never_reads_is_found_out_without_waiting() {
    let daemon = Daemon::new();
    let _stranger = daemon.stranger();
    let connection = daemon.accept();
    let reply = Reply::Status(Status::default());
    let err = (0..1_000_000)
        .find_map(|_| connection.reply(&reply).err())
        .expect("a queue has an end");
    assert!(matches!(err, ConnectionError::Unread), "{err:?}");
}

#[test]
fn a_peer_that_left_is_told_nothing_and_ends_nobody() {
    let daemon = Daemon::new();
    drop(daemon.stranger());
    let connection = daemon.accept();
    let err = connection
        .reply(&Reply::Refused(Denial::DryRun))
        .unwrap_err();
    assert!(matches!(err, ConnectionError::Closed), "{err:?}");
}

#[test]
fn without_a_daemon_the_client_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::at(&directory.path().join("socket")).unwrap();
    let err = Client::connect(&place, LIMIT).unwrap_err();
    assert!(matches!(err, ClientError::NoDaemon { .. }), "{err:?}");
    assert_eq!(
        err.to_string(),
        format!("no user-oom answers at `{}`", place.socket().display())
    );

    // A dead daemon leaves its socket behind.
    drop(std::os::unix::net::UnixListener::bind(place.socket()).unwrap());
    let err = Client::connect(&place, LIMIT).unwrap_err();
    assert!(matches!(err, ClientError::NoDaemon { .. }), "{err:?}");
}

#[test]
fn a_daemon_that_does_not_answer_is_not_waited_for_for_ever() {
    let daemon = Daemon::new();
    let err = daemon.client().ask(Request::Status, SHORT).unwrap_err();
    assert!(matches!(err, ClientError::Timeout { .. }), "{err:?}");
}

#[test]
fn a_daemon_that_does_not_accept_is_not_waited_for_for_ever() {
    let daemon = Daemon::new();
    let mut waiting = Vec::new();
    let err = loop {
        match Client::connect(&daemon.place, SHORT) {
            Ok(client) => waiting.push(client),
            Err(err) => break err,
        }
        assert!(waiting.len() < 10_000, "a queue has an end");
    };
    assert!(matches!(err, ClientError::Timeout { .. }), "{err:?}");

    // Once it accepts, all who waited are there.
    let accepted = std::iter::from_fn(|| daemon.listener.accept()).count();
    assert_eq!(accepted, waiting.len());
}

#[test]
fn a_daemon_that_hangs_up_is_no_answer() {
    let daemon = Daemon::new();
    let client = daemon.client();
    drop(daemon.accept());
    let err = client.ask(Request::Status, LIMIT).unwrap_err();
    assert!(
        matches!(err, ClientError::Connection(ConnectionError::Closed)),
        "{err:?}"
    );
}

#[test]
fn the_kernel_says_who_asks() {
    let daemon = Daemon::new();
    let _client = daemon.client();
    let peer = daemon.accept().peer();
    assert_eq!(peer.uid, geteuid().as_raw());
    assert_eq!(peer.pid, Some(std::process::id()));
}

#[test]
fn descriptors_are_not_handed_to_programs_we_start() {
    let daemon = Daemon::new();
    let client = daemon.client();
    let connection = daemon.accept();
    for descriptor in [daemon.listener.as_fd(), client.as_fd(), connection.as_fd()] {
        let link = format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd());
        let info = fs::read_to_string(Path::new(&link)).unwrap();
        let flags = info
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .unwrap();
        let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
        assert_ne!(flags & 0o2_000_000, 0, "no O_CLOEXEC: {info}");
    }
}
