//! Where socket and lock live, and that there is one daemon at a place.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use control::{Door, InstanceLock, Listener, Place, PlaceError, Station};
use nix::poll::{PollFd, PollFlags, poll};

#[track_caller]
fn in_runtime_directory(path: &Path) -> Place {
    Place::in_runtime_directory(Some(path.as_os_str().to_owned())).expect("it is short enough")
}

#[track_caller]
fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path)
        .expect("it is there")
        .permissions()
        .mode()
        & 0o7777
}

#[test]
fn roots_daemon_is_in_run() {
    let place = Place::system();
    assert_eq!(place.socket(), Path::new("/run/user-oom/control"));
    assert_eq!(place.lock(), Path::new("/run/user-oom/control.lock"));
}

#[test]
fn a_users_daemon_is_in_the_runtime_directory() {
    let place = in_runtime_directory(Path::new("/run/user/1000"));
    assert_eq!(place.socket(), Path::new("/run/user/1000/user-oom/control"));
    assert_eq!(
        place.lock(),
        Path::new("/run/user/1000/user-oom/control.lock")
    );
}

#[test]
fn without_a_runtime_directory_the_user_is_told_what_to_give() {
    for runtime_directory in [None, Some("".into()), Some("run/user".into())] {
        let err = Place::in_runtime_directory(runtime_directory).unwrap_err();
        assert_eq!(
            err.to_string(),
            "XDG_RUNTIME_DIR does not name a directory for the control socket: give `--socket PATH`"
        );
    }
}

#[test]
fn a_given_socket_has_its_lock_beside_it() {
    let place = Place::find(Some(Path::new("some/where.sock"))).unwrap();
    assert_eq!(place.socket(), Path::new("some/where.sock"));
    assert_eq!(place.door(Door::Public), place.socket());
    assert_eq!(
        place.door(Door::Private),
        Path::new("some/where.sock.private")
    );
    assert_eq!(place.lock(), Path::new("some/where.sock.lock"));
}

#[test]
fn what_cannot_name_a_socket_is_refused_beforehand() {
    for path in ["", "/", ".."] {
        let err = Place::at(Path::new(path)).unwrap_err();
        assert!(matches!(err, PlaceError::NoName { .. }), "{err:?}");
    }
    let longest = PathBuf::from("x".repeat(99));
    assert!(Place::at(&longest).is_ok());
    let too_long = PathBuf::from("x".repeat(100));
    let err = Place::at(&too_long).unwrap_err();
    assert!(matches!(err, PlaceError::TooLong { .. }), "{err:?}");
    let err = Place::in_runtime_directory(Some(format!("/{}", "x".repeat(100)).into()));
    assert!(matches!(err, Err(PlaceError::TooLong { .. })), "{err:?}");
}

#[test]
fn our_directory_is_made_and_only_we_may_write_in_it() {
    let runtime = tempfile::tempdir().unwrap();
    let place = in_runtime_directory(runtime.path());
    let _lock = InstanceLock::take(&place).unwrap();
    assert_eq!(mode(&runtime.path().join("user-oom")) & 0o022, 0);
    assert_eq!(mode(place.lock()), 0o600);
}

#[test]
fn a_directory_that_others_may_write_in_is_refused() {
    let runtime = tempfile::tempdir().unwrap();
    let directory = runtime.path().join("user-oom");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
    let err = InstanceLock::take(&in_runtime_directory(runtime.path())).unwrap_err();
    assert!(matches!(err, PlaceError::NotOurs { .. }), "{err:?}");
}

#[test]
fn a_symlink_in_place_of_our_directory_is_refused() {
    let runtime = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), runtime.path().join("user-oom")).unwrap();
    let err = InstanceLock::take(&in_runtime_directory(runtime.path())).unwrap_err();
    assert!(matches!(err, PlaceError::NotOurs { .. }), "{err:?}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn a_runtime_directory_that_is_not_there_is_named() {
    let runtime = tempfile::tempdir().unwrap();
    let place = in_runtime_directory(&runtime.path().join("absent"));
    let err = InstanceLock::take(&place).unwrap_err();
    assert!(matches!(err, PlaceError::Directory { .. }), "{err:?}");
}

#[test]
fn a_lock_that_is_a_symlink_or_no_file_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::at(&directory.path().join("socket")).unwrap();
    symlink(directory.path().join("elsewhere"), place.lock()).unwrap();
    let err = InstanceLock::take(&place).unwrap_err();
    assert!(matches!(err, PlaceError::Lock { .. }), "{err:?}");
    assert!(!directory.path().join("elsewhere").exists());

    fs::remove_file(place.lock()).unwrap();
    fs::create_dir(place.lock()).unwrap();
    let err = InstanceLock::take(&place).unwrap_err();
    assert!(matches!(err, PlaceError::Lock { .. }), "{err:?}");
}

#[test]
fn a_second_daemon_is_told_of_the_first_and_comes_in_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::at(&directory.path().join("socket")).unwrap();
    let mut first = Command::new(env!("CARGO_BIN_EXE_control-test-peer"))
        .arg(place.socket())
        .arg("hold")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(first.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    assert_eq!(said, "held\n");

    let err = InstanceLock::take(&place).unwrap_err();
    assert_eq!(
        err.to_string(),
        format!("another user-oom is running (pid {})", first.id(),)
    );

    // Killed: the kernel gives the lock back.
    first.kill().unwrap();
    first.wait().unwrap();
    let lock = InstanceLock::take(&place).unwrap();
    let holder = fs::read_to_string(place.lock()).unwrap();
    assert_eq!(holder, format!("{}\n", std::process::id()));

    drop(lock);
    assert_eq!(fs::read_to_string(place.lock()).unwrap(), "");
    InstanceLock::take(&place).unwrap();
}

#[test]
fn a_holder_that_did_not_sign_is_still_a_holder() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::at(&directory.path().join("socket")).unwrap();
    let _lock = InstanceLock::take(&place).unwrap();
    fs::write(place.lock(), "nonsense").unwrap();
    let err = InstanceLock::take(&place).unwrap_err();
    assert!(matches!(err, PlaceError::Held { pid: None, .. }), "{err:?}");
}

#[test]
fn a_dead_daemons_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::at(&directory.path().join("socket")).unwrap();
    // Of the standard library, so that nothing takes it away.
    drop(std::os::unix::net::UnixListener::bind(place.socket()).unwrap());
    assert!(place.socket().exists());

    let lock = InstanceLock::take(&place).unwrap();
    let listeners =
        [Door::Public, Door::Private].map(|door| Listener::bind(&place, door, &lock).unwrap());
    assert_eq!(mode(place.socket()), 0o666);
    assert_eq!(mode(place.door(Door::Private)), 0o600);
    assert!(matches!(
        InstanceLock::take(&place),
        Err(PlaceError::Held { .. })
    ));

    drop(listeners);
    assert!(!place.socket().exists() && !place.door(Door::Private).exists());
    drop(lock);
    InstanceLock::take(&place).unwrap();
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::at(&directory.path().join("socket")).unwrap();
    fs::write(place.socket(), "precious").unwrap();
    let lock = InstanceLock::take(&place).unwrap();
    let err = Listener::bind(&place, Door::Public, &lock).unwrap_err();
    assert!(matches!(err, PlaceError::NotASocket { .. }), "{err:?}");
    assert_eq!(fs::read_to_string(place.socket()).unwrap(), "precious");
}

#[test]
fn a_listener_takes_away_no_socket_but_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::at(&directory.path().join("socket")).unwrap();
    let lock = InstanceLock::take(&place).unwrap();
    let old = Listener::bind(&place, Door::Public, &lock).unwrap();
    let new = Listener::bind(&place, Door::Public, &lock).unwrap();
    assert!(!old.is_there() && new.is_there());
    drop(old);
    assert!(new.is_there());
}

#[test]
fn whatever_is_removed_is_noticed_and_made_again_and_nothing_else_is() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::at(&directory.path().join("socket")).unwrap();
    let mut station = Station::at(place.clone());
    assert!(station.restore().unwrap());
    assert!(!station.restore().unwrap());
    for path in [
        place.door(Door::Public),
        place.door(Door::Private),
        place.lock(),
    ] {
        fs::remove_file(path).unwrap();
        let noticed = station.removals().expect("inotify(7)");
        let mut polled = [PollFd::new(noticed, PollFlags::POLLIN)];
        assert_eq!(poll(&mut polled, 30_000_u16), Ok(1), "{}", path.display());
        assert!(station.restore().unwrap());
        assert!(path.exists());
        assert!(!station.restore().unwrap());
        assert!(matches!(
            InstanceLock::take(&place),
            Err(PlaceError::Held { .. })
        ));
    }
    drop(station);
    assert!(!place.socket().exists() && !place.door(Door::Private).exists());
}

#[test]
fn a_lock_that_another_took_meanwhile_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::at(&directory.path().join("socket")).unwrap();
    let mut station = Station::at(place.clone());
    station.restore().unwrap();
    fs::remove_file(place.lock()).unwrap();
    let _other = InstanceLock::take(&place).unwrap();
    let err = station.restore().unwrap_err();
    assert!(matches!(err, PlaceError::Held { pid: Some(pid), .. } if pid == std::process::id()));
}

#[test]
fn a_place_that_comes_later_is_taken_then() {
    let runtime = tempfile::tempdir().unwrap();
    let place = Place::at(&runtime.path().join("later/socket")).unwrap();
    let mut station = Station::at(place.clone());
    assert!(matches!(station.restore(), Err(PlaceError::Lock { .. })));
    fs::create_dir(runtime.path().join("later")).unwrap();
    assert!(station.restore().unwrap());
    assert!(place.socket().exists());
}
