//! Both sides over a real socket.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

use control::{
    Call, Client, ClientError, Connection, ConnectionError, Denial, Door, InstanceLock, Listener,
    MESSAGE_BYTES, Place, Relief, Relieved, Reply, Request, Status,
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
            SockType::Stream,
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

/// Waits for a call, however it comes.
#[track_caller]
fn call(connection: &mut Connection) -> Result<Call, ConnectionError> {
    loop {
        if let Some(call) = connection.receive()? {
            return Ok(call);
        }
        wait_until_readable(connection);
    }
}

/// A call as a program of another kind sends it.
const STATUS: &[u8] = b"{\"method\": \"io.user-oom.Control.Status\"}\0";

#[test]
fn a_question_is_answered() {
    let daemon = Daemon::new();
    let answers = [
        (
            Request::Relief,
            Reply::Relief(Relief {
                by: Relieved::Kills,
                processes: 2,
                bytes: 1 << 30,
            }),
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
        let asked = request.clone();
        let asks = std::thread::spawn(move || client.ask(&asked, LIMIT));
        wait_until_readable(&daemon.listener);
        let mut connection = daemon.accept();
        assert_eq!(call(&mut connection).unwrap().request, request);
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
    let mut connection = daemon.accept();
    assert!(connection.receive().unwrap().is_none());
    assert!(connection.receive().unwrap().is_none());
    drop(stranger);
    assert!(matches!(connection.receive(), Err(ConnectionError::Closed)));
}

#[test]
fn a_call_that_comes_byte_by_byte_is_heard_at_its_end_and_several_at_once_in_order() {
    let daemon = Daemon::new();
    let stranger = daemon.stranger();
    let mut connection = daemon.accept();
    let (last, all_but_last) = STATUS.split_last().unwrap();
    for byte in all_but_last {
        say(&stranger, &[*byte]).unwrap();
        assert!(connection.receive().unwrap().is_none());
    }
    say(&stranger, &[*last]).unwrap();
    assert_eq!(call(&mut connection).unwrap().request, Request::Status);

    let fate = br#"{"method":"io.user-oom.Control.Fate","parameters":{"pid":7},"oneway":true}"#;
    let both = [STATUS, fate, b"\0"].concat();
    say(&stranger, &both).unwrap();
    assert_eq!(call(&mut connection).unwrap().request, Request::Status);
    let second = connection
        .receive()
        .unwrap()
        .expect("it came with the first");
    assert_eq!(second.request, Request::Fate { pid: 7 });
    assert!(second.oneway);
    assert!(connection.receive().unwrap().is_none());
}

#[test]
fn what_is_no_call_is_an_error_that_says_what_was_expected_and_what_was_found() {
    #[track_caller]
    fn check(message: &[u8], error: &str, expected: &str, found: &str) {
        let daemon = Daemon::new();
        let stranger = daemon.stranger();
        say(&stranger, message).unwrap();
        say(&stranger, b"\0").unwrap();
        let mut connection = daemon.accept();
        let Err(ConnectionError::Call(denial)) = call(&mut connection) else {
            panic!("it was understood");
        };
        connection.reply(&denial.into()).unwrap();
        let mut answer = [0; 1024];
        let flags = MsgFlags::empty();
        let len = nix::sys::socket::recv(stranger.as_raw_fd(), &mut answer, flags).unwrap();
        let answer = String::from_utf8_lossy(&answer[..len - 1]);
        for part in [error, expected, found] {
            assert!(answer.contains(part), "no `{part}` in {answer}");
        }
        assert!(!answer.contains('\x1b'), "{answer}");
    }
    let ours =
        |method: &str, rest: &str| format!(r#"{{"method":"io.user-oom.Control.{method}"{rest}}}"#);
    let misunderstood = "io.user-oom.Control.NotUnderstood";
    check(
        b"\x1b[2Jrm -rf",
        misunderstood,
        "a Varlink call",
        "line 1 column 1",
    );
    check(b"{}", misunderstood, "a Varlink call", "missing field");
    check(b"\xff\xfe", misunderstood, "a Varlink call", "line 1");
    let deep = ours("Status", &format!(r#","parameters":{}"#, "[".repeat(500)));
    check(
        deep.as_bytes(),
        misunderstood,
        "a Varlink call",
        "recursion limit",
    );
    check(
        ours("Fate", "").as_bytes(),
        misunderstood,
        "pid",
        "missing field `pid`",
    );
    let named = ours("Fate", r#","parameters":{"pid":"\u001b[2J"}"#);
    check(named.as_bytes(), misunderstood, "pid", "invalid type");
    let second = ours("Fate", r#","parameters":{"pid":1,"uid":0}"#);
    check(
        second.as_bytes(),
        misunderstood,
        "pid",
        "unknown field `uid`",
    );
    let needless = ours("Status", r#","parameters":{"pid":1}"#);
    check(
        needless.as_bytes(),
        misunderstood,
        "no parameters",
        "unknown field `pid`",
    );
    let none = "org.varlink.service.MethodNotFound";
    check(
        ours("Sing", "").as_bytes(),
        none,
        "io.user-oom.Control.Sing",
        "",
    );
    let none = "org.varlink.service.InterfaceNotFound";
    check(br#"{"method":"org.example.Sing"}"#, none, "org.example", "");
    check(br#"{"method":"Status"}"#, none, "", "");
}

#[test]
fn a_giant_message_is_refused_and_takes_no_more_room_than_a_call() {
    let daemon = Daemon::new();
    let stranger = daemon.stranger();
    say(&stranger, &[b'r'; MESSAGE_BYTES]).unwrap();
    let mut connection = daemon.accept();
    let Err(ConnectionError::Call(denial)) = call(&mut connection) else {
        panic!("it was understood");
    };
    assert_eq!(
        denial.to_string(),
        format!("expected fewer than {MESSAGE_BYTES} bytes, found more")
    );
}

#[test]
fn a_peer_that_never_reads_is_answered_no_further_without_waiting() {
    let daemon = Daemon::new();
    let stranger = daemon.stranger();
    let mut connection = daemon.accept();
    let reply = Reply::description("io.user-oom.Control");
    let mut replies = 0;
    while !connection.has_more() {
        connection.reply(&reply).unwrap();
        replies += 1;
        assert!(replies < 100_000, "a queue has an end");
    }
    connection.flush().unwrap();
    assert!(connection.has_more());
    // Once it reads, it is told the rest.
    let mut left = replies * reply.encode().len();
    let mut bytes = vec![0; left];
    while 0 < left {
        let flags = MsgFlags::empty();
        left -= nix::sys::socket::recv(stranger.as_raw_fd(), &mut bytes, flags).unwrap();
        connection.flush().unwrap();
    }
    assert!(!connection.has_more());
}

#[test]
fn a_peer_that_left_is_told_nothing_and_ends_nobody() {
    let daemon = Daemon::new();
    drop(daemon.stranger());
    let mut connection = daemon.accept();
    let err = connection
        .reply(&Reply::Refused(Denial::DryRun {}))
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
    let err = daemon.client().ask(&Request::Status, SHORT).unwrap_err();
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
    let err = client.ask(&Request::Status, LIMIT).unwrap_err();
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
