//! The control sockets of the built daemon: crowded, removed, taken over or not
//! to be had.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use control::{Client, Door, Place, Reply, Request};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::unistd::geteuid;
use support::{Stage, TOTAL_MIB};

/// A client's patience. It is answered in milliseconds.
const SOON: Duration = Duration::from_secs(5);

fn place(stage: &Stage) -> Place {
    Place::at(&stage.socket()).expect("it is short enough")
}

#[track_caller]
fn ask(stage: &Stage, request: Request) -> Reply {
    let client = Client::connect(&place(stage), SOON).expect("a daemon listens");
    client.ask(&request, SOON).expect("it answers")
}

#[test]
fn idle_strangers_keep_neither_root_nor_relief_waiting() {
    if !geteuid().is_root() {
        println!("skipped: only root can be another user; run it as root");
        return;
    }
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let mut strangers = stage.idle_peers(400, 65534);
    for _ in 0..20 {
        let reply = ask(&stage, Request::Status);
        assert!(matches!(reply, Reply::Status(_)), "{reply:?}");
    }
    let reply = ask(&stage, Request::Relief);
    assert!(matches!(reply, Reply::Refused(_)), "{reply:?}");
    assert!(strangers.lives());
    assert!(daemon.is_running());
}

#[test]
fn idle_connections_of_roots_to_the_public_socket_do_not_keep_root_waiting() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let address = UnixAddr::new(place(&stage).door(Door::Public)).expect("short enough");
    let _idle: Vec<OwnedFd> = (0..40)
        .map(|_| {
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None);
            let socket = socket.expect("socket(2) works");
            connect(socket.as_raw_fd(), &address).expect("the daemon listens");
            socket
        })
        .collect();
    // Less than one that waits for a place had to wait for it.
    let limit = Duration::from_millis(1500);
    let client = Client::connect(&place(&stage), limit).expect("a daemon listens");
    let reply = client.ask(&Request::Status, limit).expect("it answers");
    assert!(matches!(reply, Reply::Status(_)), "{reply:?}");
}

#[test]
fn nor_do_those_by_the_private_socket_that_connect_again_whenever_they_are_hung_up_on() {
    if !geteuid().is_root() {
        println!("skipped: only root can be another user; run it as root");
        return;
    }
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let mut idle = stage.idle_peers(40, geteuid().as_raw());
    for _ in 0..3 {
        let reply = ask(&stage, Request::Status);
        assert!(matches!(reply, Reply::Status(_)), "{reply:?}");
    }
    assert!(idle.lives());
}

#[test]
fn a_stranger_may_ask_how_things_are_and_has_a_share_that_others_do_not_take() {
    if !geteuid().is_root() {
        println!("skipped: only root can be another user; run it as root");
        return;
    }
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    // More than there are places for strangers.
    let mut others = stage.idle_peers(12, 65534);
    let ask = |request| stage.told_to(65533, request);
    for _ in 0..10 {
        assert!(ask("Status").contains(r#""pid":"#));
    }
    let said = ask("Relief");
    assert!(said.contains("io.user-oom.Control.NotPermitted"), "{said}");
    assert!(others.lives());
}

/// One that connects by the public socket, says this and reads nothing.
fn stranger(stage: &Stage, says: &[u8]) -> UnixStream {
    let path = place(stage).door(Door::Public).to_owned();
    let mut stream = UnixStream::connect(path).expect("the daemon listens");
    let limit = Some(Duration::from_secs(60));
    stream.set_read_timeout(limit).expect("it is a socket");
    stream.write_all(says).expect("its queue takes that");
    stream
}

/// It is hung up on within the limit, and then the next is answered.
fn is_shown_out(stage: &Stage, mut stranger: UnixStream) {
    let mut told = Vec::new();
    match stranger.read_to_end(&mut told) {
        Ok(_) => {}
        // Not all that it said was heard.
        Err(err) => assert_eq!(err.kind(), ErrorKind::ConnectionReset),
    }
    let status = b"{\"method\":\"io.user-oom.Control.Status\"}\0";
    support::until("a place", || {
        let mut next = self::stranger(stage, status);
        let mut byte = [0];
        next.read_exact(&mut byte).ok()
    });
}

#[test]
fn strangers_that_send_slowly_or_never_read_keep_no_place() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    // All places that one user has.
    let [one, other] = [(); 2].map(|()| stranger(&stage, b"{\"method\":\"io.us"));
    is_shown_out(&stage, one);
    is_shown_out(&stage, other);
    // More than it is answered.
    let describe = b"{\"method\":\"org.varlink.service.GetInterfaceDescription\",\
        \"parameters\":{\"interface\":\"io.user-oom.Control\"}}\0";
    let [one, other] = [(); 2].map(|()| stranger(&stage, &describe.repeat(100)));
    ask(&stage, Request::Status);
    is_shown_out(&stage, one);
    is_shown_out(&stage, other);
    assert!(daemon.is_running());
}

#[test]
fn what_is_removed_is_made_again_and_a_second_daemon_is_refused_all_the_same() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    let place = place(&stage);
    ask(&stage, Request::Status);
    for path in [
        place.door(Door::Private),
        place.door(Door::Public),
        place.lock(),
    ] {
        fs::remove_file(path).expect("it is there");
        daemon.line_with("control socket created again");
        assert!(path.exists(), "{}", path.display());
        ask(&stage, Request::Status);
    }
    let mut second = stage.daemon(&[]);
    let said = second.line_with("user-oom: ");
    let want = format!(
        "user-oom: another user-oom is running (pid {})",
        daemon.pid()
    );
    assert_eq!(said, want);
    assert_eq!(second.ended().code(), Some(1));
    assert!(daemon.is_running());
}

#[test]
fn a_daemon_whose_lock_another_took_meanwhile_ends() {
    let stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    daemon.line_with("socket");
    // In one step, so that the daemon cannot come in between.
    let place = place(&stage);
    let path = stage.path("taken");
    let mut file = File::create(&path).expect("the folder is ours");
    writeln!(file, "12345").expect("it is ours");
    let _taken = Flock::lock(file, FlockArg::LockExclusiveNonblock).expect("it is new");
    fs::rename(path, place.lock()).expect("the folder is ours");
    daemon.line_with("user-oom: another user-oom is running (pid 12345)");
    assert_eq!(daemon.ended().code(), Some(1));
}

#[test]
fn a_daemon_that_cannot_have_its_socket_guards_and_has_it_later() {
    let stage = Stage::new();
    // Not a socket, so it is left alone.
    fs::write(stage.socket(), "precious").expect("the folder is ours");
    let mut daemon = stage.daemon(&["--grace", "0.1"]);
    let said = daemon.line_with("running without a control socket");
    assert!(said.contains("is not a socket"), "{said}");
    let one = stage.process(1);
    daemon.line_with(&format!("process {} is registered", one.pid()));
    stage.set_available(350);
    daemon.line_with(&format!("kill pid={} signal=SIGTERM", one.pid()));
    stage.set_available(TOTAL_MIB);

    let text = fs::read_to_string(stage.socket()).expect("it is left alone");
    assert_eq!(text, "precious");
    fs::remove_file(stage.socket()).expect("the folder is ours");
    daemon.line_with("control socket created");
    ask(&stage, Request::Status);
}

#[test]
fn without_a_runtime_directory_a_users_daemon_guards_without_a_socket() {
    if !geteuid().is_root() {
        println!("skipped: only root can be another user; run it as root");
        return;
    }
    let stage = Stage::new();
    std::os::unix::fs::chown(stage.registry(), Some(65534), Some(65534)).expect("it is ours");
    let mut command = Command::new(stage.copy("user-oom", "user-oom"));
    command
        .arg("--registered-only")
        .arg("--registry")
        .arg(stage.registry())
        .arg("--meminfo")
        .arg(stage.path("meminfo"))
        .args(["--pressure", "off"])
        .env_remove("XDG_RUNTIME_DIR")
        .uid(65534)
        .gid(65534);
    let mut daemon = support::Daemon::start(&mut command);
    // On two streams.
    daemon.says("running without a control socket: XDG_RUNTIME_DIR does not name a directory");
    daemon.says("socket      none");
    assert!(daemon.is_running());
}
