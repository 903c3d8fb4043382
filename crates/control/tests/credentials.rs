//! Who asks. Apart from the other tests: a process that is being started has,
//! until it is another program, what its parent had open, so that what the
//! parent closes stays open for a moment.

use std::fs::{self, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use control::{
    Denial, Door, InstanceLock, Listener, Place, Relief, Relieved, Reply, Request, may_ask_relief,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::geteuid;
use tempfile::TempDir;

#[test]
fn relief_is_for_root_and_the_daemons_own_user() {
    assert!(may_ask_relief(0, 0));
    assert!(may_ask_relief(0, 1000));
    assert!(may_ask_relief(1000, 1000));
    assert!(!may_ask_relief(1000, 0));
    assert!(!may_ask_relief(1001, 1000));
}

#[test]
fn another_process_is_told_from_us_and_another_user_too() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::at(&directory.path().join("socket")).unwrap();
    let lock = InstanceLock::take(&place).unwrap();
    let listener = Listener::bind(&place, Door::Public, &lock).unwrap();
    let program = peer_for_everybody(&directory);

    let own_uid = geteuid().as_raw();
    for uid in [own_uid, 65534] {
        if uid != own_uid && own_uid != 0 {
            println!("skipped: only root can be another user; run it as root");
            continue;
        }
        let child = Command::new(&program)
            .arg(place.socket())
            .args(["ask", "Relief"])
            .uid(uid)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until_readable(&listener);
        let mut connection = listener.accept().unwrap();
        let peer = connection.peer();
        assert_eq!((peer.uid, peer.pid), (uid, Some(child.id())));
        wait_until_readable(&connection);
        let call = connection.receive().unwrap().expect("it came whole");
        assert_eq!(call.request, Request::Relief);
        let reply = if may_ask_relief(peer.uid, own_uid) {
            Reply::Relief(Relief {
                by: Relieved::Kills,
                processes: 1,
                bytes: 4096,
            })
        } else {
            Reply::Refused(Denial::not_permitted())
        };
        connection.reply(&reply).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let want = if uid == own_uid {
            r#"{"by":"kills","bytes":4096,"processes":1}"#
        } else {
            "NotPermitted"
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(want), "{said}");
    }
}

/// The peer where any user may run it. By cp(1): were it written by us, a child
/// that another test forks meanwhile would hold it open for writing, and it
/// could not be run (ETXTBSY).
fn peer_for_everybody(directory: &TempDir) -> PathBuf {
    fs::set_permissions(directory, Permissions::from_mode(0o755)).expect("it is ours");
    let program = directory.path().join("peer");
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_control-test-peer"))
        .arg(&program)
        .status();
    assert!(copied.expect("coreutils").success());
    program
}

/// For thirty seconds at most, which is far longer than anything here takes.
#[track_caller]
fn wait_until_readable(descriptor: &impl AsFd) {
    let mut polled = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut polled, PollTimeout::from(30_000_u16)), Ok(1));
}

#[test]
fn only_root_and_the_daemons_own_user_come_by_the_private_socket() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::at(&directory.path().join("socket")).unwrap();
    let program = peer_for_everybody(&directory);
    let lock = InstanceLock::take(&place).unwrap();
    let private = Listener::bind(&place, Door::Private, &lock).unwrap();
    let ask = |uid| {
        let mut command = Command::new(&program);
        command
            .arg(place.socket())
            .args(["ask", "Status"])
            .uid(uid)
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };

    let own_uid = geteuid().as_raw();
    let own = ask(own_uid);
    wait_until_readable(&private);
    assert_eq!(private.accept().unwrap().peer().uid, own_uid);
    own.wait_with_output().unwrap();

    if own_uid != 0 {
        println!("skipped: only root can be another user; run it as root");
        return;
    }
    let said = ask(65534).wait_with_output().unwrap().stderr;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("not permitted to connect to"), "{said}");
    assert!(private.accept().is_none());

    let public = Listener::bind(&place, Door::Public, &lock).unwrap();
    let stranger = ask(65534);
    wait_until_readable(&public);
    assert_eq!(public.accept().unwrap().peer().uid, 65534);
    stranger.wait_with_output().unwrap();
}
