//! The directory itself: made, taken over, refused, lost and found.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use nix::unistd::geteuid;
use tempfile::TempDir;
use value_registry::{Lookup, Notice, Options, Registry, RegistryError};

use crate::town::{NOBODY, Town, changed, exists, is_root, registered};

fn folder() -> TempDir {
    TempDir::new().expect("a folder")
}

fn open(directory: &Path) -> Result<Registry, RegistryError> {
    Registry::open(directory, Options::default())
}

fn open_as_user(directory: &Path) -> Result<Registry, RegistryError> {
    let options = Options {
        as_root: false,
        ..Options::default()
    };
    Registry::open(directory, options)
}

/// Why there is no registry at `directory`.
#[track_caller]
fn absent(registry: Result<Registry, RegistryError>) -> String {
    let mut registry = registry.expect("it is a path");
    match &registry.refresh(&|_| Lookup::Gone)[..] {
        [Notice::Absent { cause }] => cause.clone(),
        other => panic!("{other:?}"),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it exists").mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

#[test]
fn an_absent_directory_is_made() {
    let folder = folder();
    let directory = folder.path().join("entries");
    open(&directory).unwrap();
    if geteuid().is_root() {
        assert_eq!(mode(&directory), 0o1777);
    }
    let directory = folder.path().join("entries of a user");
    open_as_user(&directory).unwrap();
    assert_eq!(mode(&directory) & 0o1022, 0);
}

#[test]
fn a_directory_that_a_user_made_is_taken_over() {
    if !is_root("takes over a directory of uid 65534") {
        return;
    }
    let folder = folder();
    let directory = folder.path().join("entries");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("100"), "8").unwrap();
    chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut registry = open(&directory).unwrap();
    let metadata = fs::metadata(&directory).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (0, 0));
    assert_eq!(mode(&directory), 0o1777);
    let owner = NOBODY;
    let swept = Notice::Swept { count: 1 };
    let taken_over = Notice::TakenOver { owner };
    assert_eq!(registry.refresh(&|_| Lookup::Gone), [taken_over, swept]);
    assert_eq!(registry.refresh(&|_| Lookup::Gone), []);
    assert_eq!(
        open(&directory).unwrap().refresh(&|_| Lookup::Gone),
        [],
        "it is root's already"
    );
}

#[test]
fn a_symbolic_link_is_no_directory_however_it_is_written() {
    let folder = folder();
    let real = folder.path().join("real");
    let link = folder.path().join("link");
    fs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();
    for written in [
        link.clone(),
        link.join(""),
        link.join("."),
        link.join("./."),
    ] {
        let cause = absent(open(&written));
        let want = format!("is a symbolic link of uid {}, not", geteuid());
        assert!(cause.contains(&want), "{cause}");
    }
    assert_ne!(mode(&real), 0o1777);

    fs::remove_dir(&real).unwrap();
    assert!(absent(open(&link)).contains("symbolic link"));
    assert!(!real.exists());
}

#[test]
fn what_is_in_its_place_is_named_and_what_would_be_right() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(
        absent(open(&file)),
        format!(
            "`{}` is a plain file of uid {}, not a directory: remove it, or name another directory",
            file.display(),
            geteuid()
        )
    );
    assert!(exists(&file), "it is not named as the registry is");
    let below = absent(open(&file.join("entries")));
    assert!(below.contains("cannot reach"), "{below}");
    let parent = absent(open(&folder.path().join("absent/entries")));
    assert!(
        parent.contains("create it, or name another directory: No such"),
        "{parent}"
    );
    let nowhere = open(Path::new(""));
    assert!(matches!(nowhere, Err(RegistryError::Open { .. })));
}

#[test]
fn a_directory_of_other_things_is_not_opened_to_all() {
    if !is_root("refuses to make the likes of /etc writable for all") {
        return;
    }
    let folder = folder();
    let directory = folder.path().join("precious");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("100"), "8").unwrap();
    fs::write(directory.join("\u{1b}[2Jnotes"), "").unwrap();
    let before = mode(&directory);
    let cause = absent(open(&directory));
    assert!(cause.contains("holds `\\x1b[2Jnotes`"), "{cause}");
    assert_eq!(mode(&directory), before);

    // Root's own is refused in a directory like /tmp as well, by whatever name.
    set_mode(folder.path(), 0o1777);
    let registry = folder.path().join("user_processes");
    fs::rename(&directory, &registry).unwrap();
    for refused in [0o755, 0o777, 0o1755] {
        set_mode(&registry, refused);
        let cause = absent(open(&registry));
        assert!(cause.contains("holds `\\x1b[2Jnotes`"), "{cause}");
        assert_eq!(mode(&registry), refused);
    }
    // There, a user can have made one, with that in it to keep the daemon out.
    chown(&registry, Some(NOBODY), Some(NOBODY)).unwrap();
    open(&registry).unwrap();
    assert_eq!(mode(&registry), 0o1777);
    assert_eq!(fs::metadata(&registry).unwrap().uid(), 0);
    // Once it is the registry, what users put there does not matter.
    set_mode(folder.path(), 0o755);
    open(&registry).unwrap();
}

#[test]
fn an_empty_directory_of_roots_or_one_of_entries_becomes_the_registry() {
    if !is_root("takes over a directory of root's") {
        return;
    }
    for entry in [None, Some("100")] {
        let folder = folder();
        set_mode(folder.path(), 0o1777);
        let registry = folder.path().join("user_processes");
        fs::create_dir(&registry).unwrap();
        if let Some(entry) = entry {
            fs::write(registry.join(entry), "8").unwrap();
        }
        open(&registry).unwrap();
        assert_eq!(mode(&registry), 0o1777);
    }
}

#[test]
fn a_users_own_directory_is_made_sticky_if_others_may_write() {
    let folder = folder();
    let directory = folder.path().join("entries");
    fs::create_dir(&directory).unwrap();
    set_mode(&directory, 0o777);
    open_as_user(&directory).unwrap();
    assert_eq!(mode(&directory), 0o1777);
    set_mode(&directory, 0o700);
    open_as_user(&directory).unwrap();
    assert_eq!(mode(&directory), 0o700);
}

#[test]
fn another_users_directory_is_refused_by_a_daemon_that_is_not_root() {
    if !is_root("gives a directory to uid 65534") {
        return;
    }
    let folder = folder();
    let directory = folder.path().join("entries");
    fs::create_dir(&directory).unwrap();
    chown(&directory, Some(NOBODY), None).unwrap();
    let cause = absent(open_as_user(&directory));
    assert!(cause.contains("belongs to uid 65534"), "{cause}");
}

#[test]
fn an_empty_directory_that_was_cleared_away_is_made_again() {
    let mut town = Town::new();
    let id = town.run(100);
    town.write(100, "8");
    town.refresh();
    fs::remove_dir_all(town.directory()).unwrap();
    assert_eq!(town.refresh(), [Notice::Replaced]);
    assert_eq!(town.value(id), None);
    if geteuid().is_root() {
        assert_eq!(mode(&town.directory()), 0o1777);
    }
    town.write(100, "5");
    assert_eq!(town.refresh(), [changed(id, 8, 5)]);
}

#[test]
fn a_directory_put_in_its_place_is_read() {
    let mut town = Town::new();
    let id = town.run(100);
    town.refresh();
    fs::rename(town.directory(), town.folder.path().join("moved")).unwrap();
    fs::create_dir(town.directory()).unwrap();
    town.write(100, "8");
    assert_eq!(town.refresh(), [Notice::Replaced, registered(id, 8)]);
    // What happens to the one that was moved is nobody's business.
    fs::write(town.folder.path().join("moved/100"), "1").unwrap();
    assert_eq!(town.refresh(), []);
    assert_eq!(town.value(id), Some(8));
}

#[test]
fn a_lost_directory_is_said_once_and_values_stay_until_it_is_back() {
    let mut town = Town::new();
    let id = town.run(100);
    town.write(100, "8");
    town.refresh();
    let moved = town.folder.path().join("moved");
    fs::rename(town.directory(), &moved).unwrap();
    symlink(&moved, town.directory()).unwrap();
    match &town.refresh()[..] {
        [Notice::Lost { cause }] => assert!(cause.contains("symbolic link"), "{cause}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(town.refresh(), []);
    assert_eq!(town.value(id), Some(8));
    fs::remove_file(town.directory()).unwrap();
    fs::rename(&moved, town.directory()).unwrap();
    town.write(100, "5");
    assert_eq!(town.refresh(), [Notice::Present, changed(id, 8, 5)]);
}
