//! What may stand in the registry's place, or in its directory, before the
//! daemon is started.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::poll::PollTimeout;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rustix::fs::{XattrFlags, fsetxattr, getxattr};
use tempfile::TempDir;
use value_registry::{Lookup, Notice, Options, Reason, Registry};

use crate::town::{
    NOBODY, SOMEBODY, Town, exists, is_readable, is_root, refused, refused_of, registered,
    registered_of,
};

/// A directory like `/tmp`, and the registry's own place in it.
fn public() -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).expect("it is ours");
    let place = folder.path().join("user_processes");
    (folder, place)
}

fn open(place: &Path) -> Registry {
    Registry::open(place, Options::default()).expect("it is a path")
}

/// What `make` makes, given to a user, is removed from the registry's place.
#[track_caller]
fn check_cleared(what: &str, make: impl Fn(&Path)) {
    let (folder, place) = public();
    make(&place);
    lchown(&place, Some(NOBODY), Some(NOBODY)).expect("we are root");
    let notices = open(&place).refresh(&|_| Lookup::Gone);
    let [Notice::Cleared { .. }] = notices[..] else {
        panic!("{notices:?}");
    };
    assert_eq!(
        notices[0].to_string(),
        format!("removed {what} of uid 65534 that was in place of the registry's directory")
    );
    let made = fs::symlink_metadata(&place).expect("it was made");
    assert!(made.is_dir());
    assert_eq!((made.uid(), made.mode() & 0o7777), (0, 0o1777));
    drop(folder);
}

#[test]
fn what_a_user_put_into_its_place_is_removed_by_root() {
    if !is_root("removes what a user put there") {
        return;
    }
    let precious = TempDir::new().unwrap();
    fs::write(precious.path().join("100"), "8").unwrap();
    check_cleared("a symbolic link", |place| {
        symlink(precious.path(), place).unwrap()
    });
    check_cleared("a symbolic link", |place| symlink(place, place).unwrap());
    check_cleared("a plain file", |place| fs::write(place, "").unwrap());
    check_cleared("a special file", |place| {
        mkfifo(place, Mode::from_bits_truncate(0o666)).unwrap();
    });
    assert!(precious.path().join("100").exists(), "nothing is followed");
}

/// Under another name, or where only root makes things, it may be meant.
#[test]
fn what_may_be_meant_is_not_removed_and_the_place_is_taken_once_it_is_free() {
    if !is_root("leaves what was meant") {
        return;
    }
    let (folder, place) = public();
    let cases = [(place.clone(), 0), (folder.path().join("thesis"), NOBODY)];
    for (place, owner) in cases {
        fs::write(&place, "").unwrap();
        chown(&place, Some(owner), None).unwrap();
        let mut registry = open(&place);
        let notices = registry.refresh(&|_| Lookup::Gone);
        assert!(
            matches!(notices[..], [Notice::Absent { .. }]),
            "{notices:?}"
        );
        assert!(place.is_file());
        assert_eq!(registry.refresh(&|_| Lookup::Gone), [], "said once");

        fs::remove_file(&place).unwrap();
        let mut notices = Vec::new();
        for _ in 0..500 {
            notices.extend(registry.refresh(&|_| Lookup::Gone));
            if !notices.is_empty() {
                break;
            }
            is_readable(&registry, PollTimeout::from(20_u8));
        }
        assert_eq!(notices, [Notice::Present]);
        fs::write(place.join("100"), "8").unwrap();
        assert!(is_readable(&registry, PollTimeout::ZERO), "it is watched");
    }
}

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// `u::rwx,u:65533:rwx,g::r-x,m::rwx,o::r-x` as the kernel has it: acl(5).
fn list() -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (0x01_u16, 7_u16, u32::MAX),
        (0x02, 7, SOMEBODY),
        (0x04, 5, u32::MAX),
        (0x10, 7, u32::MAX),
        (0x20, 5, u32::MAX),
    ] {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// Whether the file system has ACLs; says so if not.
#[expect(clippy::print_stderr, reason = "a skip says why")]
fn set_list(path: &Path, name: &str) -> bool {
    match fsetxattr(
        File::open(path).expect("it is ours"),
        name,
        &list(),
        XattrFlags::empty(),
    ) {
        Ok(()) => true,
        Err(err) => {
            eprintln!(
                "not run, the file system of {} has no ACLs: {err}",
                path.display()
            );
            false
        }
    }
}

#[test]
fn access_control_lists_are_removed_at_take_over_and_what_was_made_under_them_does_not_count() {
    if !is_root("takes over a directory of uid 65534") {
        return;
    }
    let (_folder, place) = public();
    fs::create_dir(&place).unwrap();
    if !set_list(&place, ACCESS) || !set_list(&place, DEFAULT) {
        return;
    }
    fs::write(place.join("100"), "8").unwrap();
    chown(&place, Some(NOBODY), Some(NOBODY)).unwrap();

    let mut town = Town::new();
    let id = town.run(100);
    let mut registry = open(&place);
    let lookup = |pid| {
        town.processes
            .get(&pid)
            .copied()
            .map_or(Lookup::Gone, Lookup::Runs)
    };
    let notices = registry.refresh(&lookup);
    // The list's mask is what a mode's group may do.
    let reason = Reason::Writable { mode: 0o664 };
    let owner = NOBODY;
    assert_eq!(
        notices,
        [
            Notice::TakenOver { owner },
            Notice::ListRemoved,
            refused(id, reason, false)
        ]
    );
    for name in [ACCESS, DEFAULT] {
        let left = getxattr(&place, name, &mut [0; 64][..]);
        assert_eq!(left, Err(rustix::io::Errno::NODATA), "{name}");
    }

    // Root's already, and one was added since.
    assert!(set_list(&place, DEFAULT));
    let notices = open(&place).refresh(&|_| Lookup::Unknown);
    assert_eq!(notices, [Notice::ListRemoved]);
    assert_eq!(fs::metadata(&place).unwrap().mode() & 0o7777, 0o1777);
}

#[test]
fn an_entry_that_others_may_write_to_counts_once_they_may_not() {
    let mut town = Town::new();
    let id = town.run(100);
    for mode in [0o646, 0o666, 0o622] {
        town.write(100, "8");
        fs::set_permissions(town.path(100), fs::Permissions::from_mode(mode)).unwrap();
        let notices = town.refresh();
        assert_eq!(town.value(id), None, "{mode:o}");
        if mode == 0o646 {
            assert_eq!(notices, [refused(id, Reason::Writable { mode }, false)]);
            let said = notices[0].to_string();
            assert!(said.contains("(mode 646): `chmod go-w` it"), "{said}");
        }
    }
    fs::set_permissions(town.path(100), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(town.refresh(), [registered(id, 8)]);
}

/// `umask 002`, as many distributions have it.
#[test]
fn an_entry_that_a_users_own_group_may_write_to_counts() {
    if !is_root("gives a file to another user") {
        return;
    }
    // Of the same number on every Linux, and no other user is in its group.
    const DAEMON: u32 = 1;
    let mut town = Town::new();
    let id = town.run_as(100, DAEMON);
    let write = |town: &Town, group: u32| {
        town.write(100, "8");
        chown(town.path(100), Some(DAEMON), Some(group)).unwrap();
        fs::set_permissions(town.path(100), fs::Permissions::from_mode(0o664)).unwrap();
    };
    write(&town, DAEMON);
    assert_eq!(town.refresh(), [registered_of(DAEMON, id, 8)]);

    let refusal = refused_of(DAEMON, id, Reason::Writable { mode: 0o664 }, false);
    for group in [0, NOBODY] {
        write(&town, group);
        assert_eq!(
            town.refresh_until_said(),
            std::slice::from_ref(&refusal),
            "{group}"
        );
        write(&town, DAEMON);
        assert_eq!(town.refresh_until_said(), [registered_of(DAEMON, id, 8)]);
    }
    // The list's mask is in the group's place.
    if set_list(&town.path(100), ACCESS) {
        let refusal = refused_of(DAEMON, id, Reason::Writable { mode: 0o775 }, false);
        assert_eq!(town.refresh_until_said(), [refusal]);
    }
}

#[test]
fn systemd_tmpfiles_leaves_a_registry_alone_while_it_is_watched() {
    if !is_root("has systemd-tmpfiles clear a directory") {
        return;
    }
    let mut town = Town::new();
    let id = town.run(100);
    town.write(100, "8");
    assert_eq!(town.refresh(), [registered(id, 8)]);
    // It goes below the directory that its line names.
    let lines = town.folder.path().join("lines.conf");
    let other = town.folder.path().join("another");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("100"), "8").unwrap();
    fs::write(
        &lines,
        format!("e {} - - - 0\n", town.folder.path().display()),
    )
    .unwrap();
    let cleaned = Command::new("systemd-tmpfiles")
        .arg("--clean")
        .arg(&lines)
        .status();
    match cleaned {
        Err(err) => return eprintln!("not run, no systemd-tmpfiles: {err}"),
        Ok(status) => assert!(status.success()),
    }
    assert!(!exists(&other.join("100")), "it did clear");
    assert!(exists(&town.path(100)));
    assert_eq!(town.value(id), Some(8));
}
