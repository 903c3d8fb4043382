//! Which entries count, for which processes, and until when.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use model::{Name, PauseWord, ProcessId};
use nix::poll::PollTimeout;
use nix::unistd::geteuid;
use proptest::prelude::*;
use value_registry::{
    Bearer, Lookup, Notice, Occupant, Options, Reason, RegistryError, Slip, ValueError, register,
};

use crate::town::{
    NOBODY, SOMEBODY, Town, ago, bearer, bearer_of, changed, exists, has_mark, is_readable,
    is_root, refused, refused_of, registered, registered_of, withdrawn,
};

#[test]
fn an_entry_gives_its_process_a_value() {
    let mut town = Town::new();
    let id = town.run(100);
    town.write(100, "8\n");
    assert_eq!(town.refresh(), [registered(id, 8)]);
    assert_eq!(town.value(id), Some(8));
    assert_eq!(town.registry.ids().collect::<Vec<_>>(), [id]);
    assert_eq!(town.refresh(), []);
}

#[test]
fn an_entry_that_stands_already_is_read_at_the_start() {
    let mut town = Town::with(Options::default(), |directory| {
        fs::write(directory.join("100"), "8\n").unwrap();
    });
    let id = town.run(100);
    assert_eq!(town.refresh(), [registered(id, 8)]);
}

#[test]
fn an_entry_is_read_again_when_it_changes() {
    let mut town = Town::new();
    let id = town.run(100);
    town.write(100, "8");
    town.refresh();
    town.write(100, "5 and a comment");
    assert_eq!(town.refresh(), [changed(id, 8, 5)]);
    assert_eq!(town.value(id), Some(5));

    fs::remove_file(town.path(100)).unwrap();
    assert_eq!(town.refresh(), []);
    assert_eq!(town.value(id), None);
    assert_eq!(town.refresh_until_said(), [withdrawn(id)]);
}

#[test]
fn an_entry_prepared_elsewhere_counts_once_it_is_moved_in() {
    let mut town = Town::new();
    let id = town.run(100);
    town.refresh();
    let prepared = town.folder.path().join("prepared");
    fs::write(&prepared, "9").unwrap();
    let file = File::open(&prepared).unwrap();
    file.set_modified(ago(86_400)).unwrap();
    fs::rename(&prepared, town.path(100)).unwrap();
    assert_eq!(town.refresh(), [registered(id, 9)]);
}

#[test]
fn the_descriptor_is_readable_until_a_change_is_read() {
    let mut town = Town::new();
    town.run(100);
    town.refresh();
    assert!(!is_readable(&town.registry, PollTimeout::ZERO));
    town.write(100, "8");
    assert!(is_readable(&town.registry, PollTimeout::ZERO));
    town.refresh();
    // What is done to the entry that counts now is a change too.
    town.refresh();
    assert!(!is_readable(&town.registry, PollTimeout::ZERO));
}

#[test]
fn what_a_shell_writes_counts_until_the_shell_ends() {
    let mut town = Town::new();
    let mut shell = Command::new("sh")
        .args(["-c", "echo 8 > \"$1/$$\"; echo written; read end", "sh"])
        .arg(town.directory())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(shell.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "written\n");
    let notices = town.registry.refresh(&live);
    let [
        Notice::Registered {
            process, value: 8, ..
        },
    ] = notices[..]
    else {
        panic!("{notices:?}");
    };
    let id = process.id;
    assert_eq!(id.pid, shell.id());
    assert_eq!(town.value(id), Some(8));

    drop(shell.stdin.take());
    shell.wait().unwrap();
    assert!(town.registry.ended(id));
    assert!(!exists(&town.path(id.pid)));
    assert_eq!(town.value(id), None);
}

#[test]
fn a_value_is_the_processs_and_not_the_pids() {
    let mut town = Town::new();
    let first = town.run(100);
    town.write(100, "8");
    town.refresh();
    let second = town.run(100);
    assert_eq!(town.value(first), Some(8));
    assert_eq!(town.value(second), None);
}

#[test]
fn an_entry_is_removed_when_its_process_has_ended() {
    let mut town = Town::new();
    let id = town.run(100);
    let other = town.run(101);
    town.write(100, "8");
    town.write(101, "8");
    town.refresh();
    town.processes.remove(&100);
    assert!(town.registry.ended(id));
    assert!(!exists(&town.path(100)));
    assert_eq!(town.value(id), None);
    assert!(!town.registry.ended(id));
    assert_eq!(town.refresh(), []);
    assert_eq!(town.value(other), Some(8));
}

#[test]
fn what_a_later_process_wrote_survives_the_end_of_the_earlier() {
    let mut town = Town::new();
    let first = town.run(100);
    town.write(100, "8");
    town.refresh();
    let second = town.run(100);
    fs::remove_file(town.path(100)).unwrap();
    town.write(100, "5");
    assert!(!town.registry.ended(first));
    assert_eq!(town.refresh(), [registered(second, 5)]);

    // In place: the same inode, in another state.
    let third = town.run(100);
    town.write(100, "12");
    assert!(!town.registry.ended(second));
    assert_eq!(town.refresh(), [registered(third, 12)]);
}

#[test]
fn an_entry_of_an_earlier_process_does_not_speak_for_a_later_one() {
    let mut town = Town::new();
    let first = town.run(100);
    town.write(100, "8");
    town.refresh();
    let second = town.run(100);
    town.registry.reread();
    assert_eq!(town.refresh(), [Notice::Swept { count: 1 }]);
    assert!(!exists(&town.path(100)));
    assert_eq!(town.value(first), None);
    assert_eq!(town.value(second), None);
}

#[test]
fn a_daemon_that_was_started_again_counts_an_entry_whatever_its_time_says() {
    let mut town = Town::new();
    let id = town.run(100);
    let year = Duration::from_secs(365 * 86_400);
    town.write(100, "8");
    let entry = File::open(town.path(100)).unwrap();
    for time in [ago(0) - year, ago(0) + year, SystemTime::UNIX_EPOCH] {
        entry.set_modified(time).unwrap();
        town.restart();
        assert_eq!(town.refresh(), [registered(id, 8)]);
        town.restart();
        assert_eq!(town.refresh(), [registered(id, 8)], "it is marked now");
    }
}

#[test]
fn a_daemon_that_was_started_again_knows_an_entry_that_an_earlier_process_left() {
    let mut town = Town::new();
    town.run(100);
    town.write(100, "8");
    town.refresh();
    if !has_mark(&town.path(100)) {
        eprintln!("not run: the file system has no extended attributes of this kind");
        return;
    }
    let second = town.run(100);
    town.restart();
    assert_eq!(town.refresh(), [Notice::Swept { count: 1 }]);
    assert_eq!(town.value(second), None);
    assert!(!exists(&town.path(100)));

    // Written to in place by the later process, it is that one's.
    town.write(100, "5");
    assert_eq!(town.refresh(), [registered(second, 5)]);
    let third = town.run(100);
    let entry = File::options().write(true).open(town.path(100)).unwrap();
    entry.set_modified(ago(7)).unwrap();
    town.restart();
    assert_eq!(town.refresh(), [registered(third, 5)]);
}

#[test]
fn an_entry_without_a_process_is_removed() {
    let mut town = Town::new();
    town.write_long_ago(100, "8");
    town.write(101, "8");
    assert_eq!(town.refresh(), [Notice::Swept { count: 2 }]);
    assert!(!exists(&town.path(100)));
    assert!(!exists(&town.path(101)));
}

#[test]
fn an_entry_whose_process_cannot_be_looked_up_counts_once_it_can() {
    let mut town = Town::new();
    let id = town.run(100);
    town.unknown.insert(100);
    town.write(100, "8");
    assert_eq!(town.refresh(), []);
    town.unknown.clear();
    assert_eq!(town.refresh_until_said(), [registered(id, 8)]);

    town.unknown.insert(100);
    town.registry.reread();
    assert_eq!(town.refresh(), []);
    assert_eq!(town.value(id), Some(8));
    town.unknown.clear();
    town.processes.clear();
    assert_eq!(town.refresh_until_said(), [Notice::Swept { count: 1 }]);
    assert_eq!(town.value(id), None);
}

#[test]
fn what_is_no_entry_and_has_no_process_is_left_alone_by_a_users_daemon() {
    let mut town = Town::of_a_user();
    town.write_long_ago(100, "not a value");
    town.write_long_ago(101, "-5");
    fs::create_dir(town.path(102)).unwrap();
    for name in ["007", "+7", "1 ", "0", "readme", "7.tmp", "4294967303"] {
        town.write_long_ago(name, "8");
    }
    town.run(7);
    town.run(1);
    assert_eq!(town.refresh(), []);
    assert_eq!(fs::read_dir(town.directory()).unwrap().count(), 10);
    assert_eq!(town.registry.ids().count(), 0);
}

#[test]
fn a_users_word_counts_up_to_the_cap_and_roots_in_full() {
    if !is_root("gives entries to uid 65534, and caps what they say") {
        return;
    }
    let options = Options {
        user_value_cap: 100,
        ..Options::default()
    };
    let mut town = Town::with(options, |_| {});
    let id = town.run_as(100, NOBODY);
    town.write(100, "5000");
    assert_eq!(town.refresh(), [registered_of(NOBODY, id, 5000)]);
    chown(town.path(100), Some(NOBODY), None).unwrap();
    let process = bearer_of(NOBODY, id);
    assert_eq!(
        town.refresh(),
        [Notice::Changed {
            process,
            value: 100,
            rate: None,
            before: (5000, None)
        }]
    );
    assert_eq!(town.value(id), Some(100));

    let another = town.run_as(101, NOBODY);
    let prepared = town.folder.path().join("prepared");
    fs::write(&prepared, "101").unwrap();
    chown(&prepared, Some(NOBODY), None).unwrap();
    fs::rename(&prepared, town.path(101)).unwrap();
    let notices = town.refresh();
    let (value, given) = (100, 101);
    assert_eq!(
        notices,
        [Notice::Registered {
            process: bearer_of(NOBODY, another),
            value,
            rate: None,
            given,
            share: None,
            is_said: true,
        }]
    );
    assert_eq!(
        notices[0].to_string(),
        "process 101 is registered: value 100 (train.py, uid 65534); its entry says 101, but an \
         ordinary user can give 100 at most (`--user-value-cap`)"
    );
}

#[test]
fn another_users_entry_is_removed_and_the_owner_can_register() {
    if !is_root("has uid 65534 register where an entry of uid 65533 stands") {
        return;
    }
    let mut town = Town::new();
    let mut owner = Command::new("sh");
    owner
        .args(["-c", "read pid; echo 5 > \"$1/$pid\"", "sh"])
        .arg(town.directory())
        .stderr(Stdio::null());
    owner.uid(NOBODY);
    let id = town.run_as(100, NOBODY);
    town.write(100, "0");
    chown(town.path(100), Some(SOMEBODY), None).unwrap();

    assert!(!say(&mut owner, "100").success());
    let (foreign, runner) = (SOMEBODY, NOBODY);
    let reason = Reason::Foreign {
        owner: foreign,
        runner,
    };
    let notices = town.refresh();
    assert_eq!(notices, [refused_of(NOBODY, id, reason, true)]);
    assert_eq!(
        notices[0].to_string(),
        "entry 100 (train.py, uid 65534) is ignored: it belongs to uid 65533, but the process runs as uid 65534; in a container, use the pid that the process has on the host; removed"
    );
    assert_eq!(fs::read_to_string(town.path(100)).unwrap(), "");

    assert!(say(&mut owner, "100").success());
    assert_eq!(town.refresh(), [registered_of(NOBODY, id, 5)]);

    // Said once, and when it ends one that counts; removed each time.
    let prepared = town.folder.path().join("prepared");
    for want in [&[refused_of(NOBODY, id, reason, true)][..], &[], &[]] {
        fs::write(&prepared, "0").unwrap();
        chown(&prepared, Some(SOMEBODY), None).unwrap();
        fs::rename(&prepared, town.path(100)).unwrap();
        assert_eq!(town.refresh(), want);
        assert_eq!(fs::read_to_string(town.path(100)).unwrap(), "");
    }
}

#[test]
fn a_daemon_that_is_not_root_removes_its_own_users_entries_alone() {
    if !is_root("gives an entry to uid 65534 before a daemon of another user") {
        return;
    }
    let mut town = Town::of_a_user();
    town.write_long_ago(100, "8");
    town.write_long_ago(101, "8");
    chown(town.path(101), Some(NOBODY), None).unwrap();
    let id = town.run(102);
    town.write(102, "8");
    chown(town.path(102), Some(NOBODY), None).unwrap();
    let (owner, runner) = (NOBODY, 0);
    let reason = Reason::Foreign { owner, runner };
    assert_eq!(
        town.refresh(),
        [refused(id, reason, false), Notice::Swept { count: 1 }]
    );
    assert!(!exists(&town.path(100)));
    assert!(exists(&town.path(101)));
    assert!(exists(&town.path(102)));
}

#[test]
fn an_entry_that_stands_empty_is_refused_after_a_while() {
    let mut town = Town::of_a_user();
    let id = town.run(100);
    town.write(100, "");
    assert_eq!(town.refresh(), []);
    let reason = Reason::Value(ValueError::Empty);
    // The registry's own clock tells, whatever the file's time says.
    make_recent(&File::open(town.path(100)).unwrap());
    assert_eq!(town.refresh_until_said(), [refused(id, reason, false)]);
    assert_eq!(town.refresh(), []);
}

#[test]
fn a_half_written_entry_is_given_time() {
    let mut town = Town::new();
    let id = town.run(100);
    cut_just_now(&town.path(100));
    assert_eq!(town.refresh(), []);
    town.write(100, "8");
    assert_eq!(town.refresh(), [registered(id, 8)]);

    cut_just_now(&town.path(100));
    assert_eq!(town.refresh(), []);
    assert_eq!(town.value(id), Some(8));
    town.write(100, "5");
    assert_eq!(town.refresh(), [changed(id, 8, 5)]);
}

#[test]
fn what_a_program_registers_counts_until_it_lets_go() {
    let mut town = Town::new();
    let id = town.run(100);
    let registration = register(&town.directory(), 100, 8).unwrap();
    assert_eq!(town.refresh(), [registered(id, 8)]);
    drop(registration);
    assert!(!exists(&town.path(100)));
    assert_eq!(town.refresh(), []);
    assert_eq!(town.value(id), None);

    register(&town.directory(), 100, 7).unwrap().keep();
    assert_eq!(fs::read_to_string(town.path(100)).unwrap(), "7\n");
    assert_eq!(town.refresh(), [changed(id, 8, 7)]);
    let second = register(&town.directory(), 100, 1000).unwrap();
    assert_eq!(town.refresh(), [changed(id, 7, 1000)]);
    // Somebody overrides it: remove, then write.
    fs::remove_file(town.path(100)).unwrap();
    town.write(100, "3");
    drop(second);
    assert_eq!(town.refresh(), [changed(id, 1000, 3)]);
}

#[test]
fn what_cannot_be_registered_is_an_error_that_says_why() {
    let town = Town::new();
    let value = 1_000_001;
    assert!(matches!(
        register(&town.directory(), 100, value),
        Err(RegistryError::Value { value: 1_000_001 })
    ));
    fs::create_dir(town.path(100)).unwrap();
    assert!(matches!(
        register(&town.directory(), 100, 8),
        Err(RegistryError::Remove { .. })
    ));
    let absent = town.folder.path().join("absent");
    assert!(matches!(
        register(&absent, 100, 8),
        Err(RegistryError::Open { .. })
    ));
    assert!(!exists(&absent));
    symlink(town.directory(), &absent).unwrap();
    assert!(matches!(
        register(&absent.join(""), 101, 8),
        Err(RegistryError::Open { .. })
    ));
}

#[test]
fn a_program_replaces_another_users_entry_only_as_root() {
    if !is_root("replaces an entry of uid 65534 in a sticky directory") {
        return;
    }
    let town = Town::new();
    town.write(100, "8");
    chown(town.path(100), Some(NOBODY), None).unwrap();
    fs::set_permissions(town.path(100), fs::Permissions::from_mode(0o600)).unwrap();
    register(&town.directory(), 100, 2).unwrap().keep();
    assert_eq!(fs::read_to_string(town.path(100)).unwrap(), "2\n");
}

#[test]
fn all_notices_are_one_line() {
    let id = ProcessId {
        pid: 100,
        start_ticks: 1,
    };
    let line = |notice: Notice| notice.to_string();
    let root = 0;
    assert_eq!(
        line(registered_of(root, id, 8)),
        "process 100 is registered: value 8 (train.py, uid 0)"
    );
    let process = Bearer {
        name: Name::new(b"\x1b[2J\nx\xff"),
        ..bearer_of(root, id)
    };
    assert_eq!(
        line(Notice::Withdrawn { process }),
        "process 100 is no longer registered (?[2J?x?, uid 0): it runs, but its entry was removed"
    );
    assert_eq!(
        line(refused_of(
            root,
            id,
            Reason::Value(ValueError::OutOfRange),
            false
        )),
        "entry 100 (train.py, uid 0) is ignored: its value is above 1000000"
    );
    assert_eq!(
        line(refused_of(
            root,
            id,
            Reason::TooLarge { bytes: 1 << 30 },
            true
        )),
        "entry 100 (train.py, uid 0) is ignored: it holds 1073741824 bytes, more than 256; \
         removed"
    );
    let reason = Reason::Unreadable(io::ErrorKind::PermissionDenied);
    assert_eq!(
        line(refused_of(root, id, reason, false)),
        "entry 100 (train.py, uid 0) is ignored: it cannot be read (permission denied)"
    );
    assert_eq!(
        line(Notice::Swept { count: 3 }),
        "removed 3 entries without a process; in a container, use the pid that the process has on the \
         host"
    );
}

/// Cuts the file to nothing, as a shell does before it writes.
fn cut_just_now(path: &Path) {
    make_recent(&File::create(path).expect("it is ours"));
}

/// However long the test is held up, `file` was written just now.
fn make_recent(file: &File) {
    let in_an_hour = SystemTime::now() + Duration::from_secs(3600);
    file.set_modified(in_an_hour).expect("it is ours");
}

fn say(command: &mut Command, line: &str) -> ExitStatus {
    let mut child = command
        .stdin(Stdio::piped())
        .spawn()
        .expect("there is a shell");
    let mut stdin = child.stdin.take().expect("it is a pipe");
    writeln!(stdin, "{line}").expect("it reads a line");
    child.wait().expect("it is our child")
}

/// The live process of that pid, as the kernel tells.
fn live(pid: u32) -> Lookup {
    let folder = Path::new("/proc").join(pid.to_string());
    let Ok(stat) = fs::read_to_string(folder.join("stat")) else {
        return Lookup::Gone;
    };
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
    let start_ticks = fields.and_then(|fields| fields.split_whitespace().nth(19));
    Lookup::Runs(Occupant {
        uid: fs::metadata(folder).map_or(0, |folder| folder.uid()),
        start_ticks: start_ticks
            .and_then(|ticks| ticks.parse().ok())
            .expect("proc_pid_stat(5)"),
        age: Duration::ZERO,
        name: Name::default(),
        process: pid,
        is_kernel_thread: false,
    })
}

#[test]
fn an_entry_says_whether_its_process_may_be_paused_and_a_slip_costs_it_no_value() {
    let mut town = Town::new();
    let id = town.run(100);
    let labelled = |word| Notice::Labelled {
        process: bearer(id),
        word,
    };
    let slipped = |slip| Notice::Slipped {
        process: bearer(id),
        slip,
    };
    let check = |town: &mut Town, text: &str, word, notices: &[Notice]| {
        town.write(100, text);
        assert_eq!(town.refresh(), notices, "{text:?}");
        assert_eq!(town.value(id), Some(8), "{text:?}");
        assert_eq!(town.registry.pause_word(id), word, "{text:?}");
        assert_eq!(town.registry.has_changed(), !notices.is_empty(), "{text:?}");
    };
    check(&mut town, "8 alice resnet", None, &[registered(id, 8)]);
    let pause = Some(PauseWord::Pause);
    check(&mut town, "8 alice pause", pause, &[labelled(pause)]);
    check(&mut town, "8 pause resnet", pause, &[]);
    let nopause = Some(PauseWord::NoPause);
    check(&mut town, "8 nopause", nopause, &[labelled(nopause)]);
    town.write(100, "8 pause nopause");
    let notices = town.refresh();
    assert_eq!(notices, [slipped(Slip::Both)]);
    assert_eq!(
        notices[0].to_string(),
        format!(
            "entry 100 {} says both `pause` and `nopause`: the process is never paused; remove \
             one of the words",
            bearer(id)
        )
    );
    check(&mut town, "8 nopause", nopause, &[]);
    town.write(100, "8 no-pause");
    let notices = town.refresh();
    let near = Slip::Near(PauseWord::NoPause);
    assert_eq!(notices, [labelled(None), slipped(near)]);
    assert!(notices[1].to_string().contains("write `nopause`"));
    assert_eq!(town.value(id), Some(8));
    assert_eq!(town.registry.pause_word(id), None);
    // It is said once.
    town.registry.reread();
    assert_eq!(town.refresh(), []);

    let other = ProcessId {
        start_ticks: id.start_ticks + 1,
        ..id
    };
    town.write(100, "8 nopause");
    town.refresh();
    assert_eq!(town.registry.pause_word(other), None, "another's");
}

const HOUR: Duration = Duration::from_secs(3600);

/// Sets when an entry was written, as touch(1) does.
fn touch(town: &Town, pid: u32, modified: SystemTime) {
    let entry = fs::File::options().write(true).open(town.path(pid));
    let entry = entry.expect("it is ours");
    entry.set_modified(modified).expect("it is ours");
}

#[test]
fn a_value_grows_from_the_process_s_start_until_its_entry_is_touched() {
    let mut town = Town::new();
    let id = town.run(100);
    town.write(100, "2 +7/h pause alice\n");
    let notices = town.refresh();
    assert_eq!(
        notices[0].to_string(),
        format!(
            "process 100 is registered: value 2 +7/h (train.py, uid {})",
            geteuid()
        )
    );
    assert_eq!(town.registry.pause_word(id), Some(PauseWord::Pause));
    // It has run for three hours.
    let worth = |town: &Town, after| {
        let worth = town.registry.worth(id, Instant::now() + after).unwrap();
        let said = worth.gain.map(|gain| gain.to_string());
        (worth.value, said.unwrap_or_default())
    };
    let unsaved = (23, "2 + 7/h × 3.0 h".to_owned());
    assert_eq!(worth(&town, Duration::ZERO), unsaved);
    assert!(town.registry.has_changed());

    // Other changes save nothing.
    fs::set_permissions(town.path(100), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(town.refresh(), []);
    assert_eq!(worth(&town, Duration::ZERO), unsaved);
    assert!(!town.registry.has_changed());

    touch(&town, 100, SystemTime::now());
    assert_eq!(town.refresh(), []);
    assert_eq!(worth(&town, Duration::ZERO).0, 2);
    assert!(town.registry.has_changed());
    assert_eq!(worth(&town, HOUR), (9, "2 + 7/h × 1.0 h".to_owned()));
    assert_eq!(
        worth(&town, HOUR * 1000).0,
        if is_roots() { 7002 } else { 1000 }
    );

    town.write(100, "3\n");
    let notices = town.refresh();
    let want = "process 100 has value 3 now (was 2 +7/h)";
    assert!(notices[0].to_string().starts_with(want), "{notices:?}");
    assert_eq!(worth(&town, HOUR), (3, String::new()));
}

fn is_roots() -> bool {
    geteuid().is_root()
}

#[test]
fn an_entrys_time_may_be_anything_and_the_clock_may_jump() {
    let mut town = Town::new();
    let id = town.run(100);
    town.write(100, "2 +7/h");
    town.refresh();
    let now = SystemTime::now();
    // It has saved, whatever it says of when.
    for modified in [
        now - HOUR,
        now + 1000 * HOUR,
        SystemTime::UNIX_EPOCH,
        SystemTime::UNIX_EPOCH - HOUR,
        now,
    ] {
        touch(&town, 100, modified);
        town.refresh();
        assert_eq!(town.value(id), Some(2), "{modified:?}");
    }
    // A daemon that has not seen it has but the entry's word, for no longer
    // than the process has run.
    for (modified, want) in [
        (now - HOUR, 9),
        (now + 1000 * HOUR, 2),
        (now - 4 * HOUR, 23),
        (SystemTime::UNIX_EPOCH, 23),
        (SystemTime::UNIX_EPOCH - HOUR, 23),
    ] {
        touch(&town, 100, modified);
        town.restart();
        town.refresh();
        assert_eq!(town.value(id), Some(want), "{modified:?}");
    }
}

#[test]
fn an_entry_that_is_replaced_has_saved() {
    let mut town = Town::new();
    let id = town.run(100);
    town.write(100, "2 +7/h");
    town.refresh();
    assert_eq!(town.value(id), Some(23));
    let prepared = town.folder.path().join("prepared");
    fs::write(&prepared, "2 +7/h").unwrap();
    fs::rename(&prepared, town.path(100)).unwrap();
    town.refresh();
    assert_eq!(town.value(id), Some(2));
    fs::remove_file(town.path(100)).unwrap();
    town.refresh();
    town.write(100, "2 +7/h");
    town.refresh();
    assert_eq!(town.value(id), Some(2));
}

#[test]
fn what_unsaved_work_adds_is_refused_where_it_is_not_written_so() {
    let mut town = Town::new();
    let mut pid = 100;
    for (text, why) in [
        ("8 +3/s", ValueError::Rate),
        ("8 pause +3/h", ValueError::Rate),
        ("8 -3/h", ValueError::NegativeRate),
        ("8 +1000001/h", ValueError::RateOutOfRange),
    ] {
        pid += 1;
        let id = town.run(pid);
        town.write_long_ago(pid, text);
        let removed = is_roots();
        let want = refused(id, Reason::Value(why), removed);
        assert_eq!(town.refresh(), [want], "{text}");
        assert_eq!(town.value(id), None);
        assert!(why.to_string().ends_with("write `8 +3/h`"), "{why}");
    }
}

#[test]
fn another_cap_or_share_counts_for_entries_that_were_read_before() {
    if !is_root("gives entries to uid 65534, and caps what they say") {
        return;
    }
    let mut town = Town::new();
    let id = town.run_as(100, NOBODY);
    town.write(100, "50");
    chown(town.path(100), Some(NOBODY), None).unwrap();
    town.refresh();
    assert!(town.registry.has_changed());
    town.registry.limit_values(10, None);
    town.refresh();
    assert!(town.registry.has_changed());
    assert_eq!(town.value(id), Some(10));
    town.registry.limit_values(1000, Some(7));
    town.refresh();
    assert!(town.registry.has_changed());
    town.registry.share_out(Instant::now());
    assert_eq!(town.value(id), Some(7));
    town.registry.limit_values(1000, None);
    town.refresh();
    assert_eq!(town.value(id), Some(50));
    assert!(town.registry.has_changed());
    town.registry.limit_values(1000, None);
    assert!(!town.registry.has_changed());
}

#[test]
fn growth_is_capped_as_values_are() {
    if !is_root("gives an entry to uid 65534, and caps what it grows to") {
        return;
    }
    let mut town = Town::with(
        Options {
            user_value_cap: 10,
            ..Options::default()
        },
        |_| {},
    );
    let id = town.run_as(100, NOBODY);
    town.write(100, "2 +7/h");
    chown(town.path(100), Some(NOBODY), None).unwrap();
    town.refresh();
    assert_eq!(town.value(id), Some(10));
    town.write(100, "11 +7/h");
    town.refresh();
    assert_eq!(town.value(id), Some(10));
}

/// Entries of uid 65534, one for each of `values`, and of uid 65533, one for each
/// of `others`: what they come to.
fn shared(share: u32, values: &[u32], others: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let options = Options {
        user_value_share: Some(share),
        ..Options::default()
    };
    let mut town = Town::with(options, |_| {});
    let mut pid = 100;
    let mut write = |uid, values: &[u32]| -> Vec<ProcessId> {
        let each = values.iter().map(|value| {
            pid += 1;
            let id = town.run_as(pid, uid);
            town.write(pid, value.to_string());
            chown(town.path(pid), Some(uid), None).expect("we are root");
            id
        });
        each.collect()
    };
    let (theirs, others) = (write(NOBODY, values), write(SOMEBODY, others));
    town.refresh();
    town.registry.share_out(Instant::now());
    let values = |ids: Vec<ProcessId>| -> Vec<u32> {
        let value = |id| town.value(id).expect("it is registered");
        ids.into_iter().map(value).collect()
    };
    (values(theirs), values(others))
}

#[test]
fn a_users_entries_share_points_by_what_they_say_and_roots_count_in_full() {
    if !is_root("gives entries to uids 65534 and 65533") {
        return;
    }
    assert_eq!(
        shared(100, &[8, 2], &[1, 1, 1]),
        (vec![80, 20], vec![33, 33, 33])
    );
    assert_eq!(shared(100, &[0, 0], &[1000]), (vec![0, 0], vec![100]));
    let options = Options {
        user_value_share: Some(100),
        ..Options::default()
    };
    let mut town = Town::with(options, |_| {});
    let (id, roots) = (town.run_as(100, NOBODY), town.run_as(101, NOBODY));
    town.write(100, "2 +7/h");
    chown(town.path(100), Some(NOBODY), None).unwrap();
    town.write(101, "5000");
    let notices = town.refresh();
    assert_eq!(
        notices[0].to_string(),
        "process 100 is registered: value 2 +7/h (train.py, uid 65534); it counts for its part of \
         the 100 that the entries of uid 65534 share (`--user-value-share`)"
    );
    town.registry.share_out(Instant::now());
    assert_eq!((town.value(id), town.value(roots)), (Some(100), Some(5000)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_user_gains_by_more_entries_or_larger_numbers(
        share in 0_u32..2000,
        few in proptest::collection::vec(0_u32..=1000, 1..4),
        more in proptest::collection::vec(0_u32..=1000, 0..8),
        times in 1_u32..=10,
        others in proptest::collection::vec(0_u32..=1000, 1..4),
    ) {
        if !geteuid().is_root() {
            // Said by the test above.
            return Ok(());
        }
        let (before, others_before) = shared(share, &few, &others);
        let all: Vec<u32> = few.iter().chain(&more).map(|value| value / 10 * times).collect();
        let (after, others_after) = shared(share, &all, &others);
        let sum = |values: &[u32]| values.iter().map(|value| u64::from(*value)).sum::<u64>();
        prop_assert!(sum(&before) <= u64::from(share) && sum(&after) <= u64::from(share));
        prop_assert_eq!(others_after, others_before);
        let (tenths, _) = shared(share, &few.iter().map(|value| value / 10).collect::<Vec<_>>(), &others);
        let (larger, _) = shared(share, &few.iter().map(|value| value / 10 * times).collect::<Vec<_>>(), &others);
        prop_assert_eq!(larger, tenths, "what counts is how much of them all each is");
    }
}

#[test]
fn roots_word_stays_whatever_the_processs_owner_tries() {
    if !is_root("has uid 65534 try to change an entry of root's") {
        return;
    }
    let mut town = Town::new();
    let id = town.run_as(100, NOBODY);
    town.write(100, "1000");
    chown(town.path(100), Some(NOBODY), None).unwrap();
    assert_eq!(town.refresh(), [registered_of(NOBODY, id, 1000)]);
    // As the README says: removed, then written.
    fs::remove_file(town.path(100)).unwrap();
    town.write(100, "3");
    town.refresh();
    assert_eq!(town.value(id), Some(3));
    let script = r#"
        cd "$1" || exit 1
        echo 900 > 100
        echo 900 >> 100
        rm -f 100
        echo 900 > new && mv -f new 100
        ln -f new 100
        touch 100
        chmod 666 100
        true"#;
    let tried = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(town.directory())
        .uid(NOBODY)
        .gid(NOBODY)
        .stderr(Stdio::null())
        .status();
    assert!(tried.unwrap().success());
    let _ = fs::remove_file(town.path("new"));
    town.refresh();
    assert_eq!(town.value(id), Some(3));
    assert_eq!(fs::read_to_string(town.path(100)).unwrap(), "3");
}
