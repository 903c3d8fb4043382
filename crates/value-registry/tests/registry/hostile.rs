//! What anybody may put into a directory that is writable for all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use model::ProcessId;
use nix::fcntl::OFlag;
use nix::poll::PollTimeout;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use proptest::prelude::*;
use value_registry::{Lookup, Notice, Reason, ValueError};

use crate::town::{self, NOBODY, SOMEBODY, Town, ago, exists, has_mark, refused, registered};

/// Puts what `make` makes at the name of a live process, before a daemon that
/// acts as root and one that does not.
#[track_caller]
fn check(reason: Reason, make: impl Fn(&Path)) {
    for (mut town, is_root) in [(Town::new(), true), (Town::of_a_user(), false)] {
        if is_root && !town::is_root("unlinks what is refused") {
            continue;
        }
        let id = town.run(100);
        make(&town.path(100));
        assert_eq!(town.refresh(), [refused(id, reason, is_root)]);
        assert_eq!(exists(&town.path(100)), !is_root, "{reason}");
        assert_eq!(town.value(id), None);

        // Said once, however often it is looked at or made.
        town.registry.reread();
        assert_eq!(town.refresh(), []);
        if is_root {
            make(&town.path(100));
            assert_eq!(town.refresh(), []);
            assert!(!exists(&town.path(100)));
            town.write(100, "8");
            assert_eq!(town.refresh(), [registered(id, 8)]);
        }
    }
}

#[track_caller]
fn check_text(text: &str, reason: ValueError) {
    check(Reason::Value(reason), |path| {
        let mut file = File::create(path).expect("it is ours");
        file.write_all(text.as_bytes()).expect("there is room");
        file.set_modified(ago(10)).expect("it is ours");
    });
}

#[test]
fn a_fifo_is_refused_and_nobody_waits_for_its_writer() {
    check(Reason::Special, |path| {
        mkfifo(path, Mode::from_bits_truncate(0o666)).unwrap();
    });
}

#[test]
fn a_socket_is_refused() {
    check(Reason::Special, |path| {
        UnixListener::bind(path).unwrap();
    });
}

#[test]
fn a_symbolic_link_is_refused_wherever_it_leads() {
    check(Reason::Symlink, |path| symlink("absent", path).unwrap());
    check(Reason::Symlink, |path| symlink(path, path).unwrap());
    check(Reason::Symlink, |path| {
        let outside = path.parent().unwrap().parent().unwrap().join("outside");
        fs::write(&outside, "9").unwrap();
        symlink(outside, path).unwrap();
    });
}

#[test]
fn what_a_symbolic_link_leads_to_is_not_removed() {
    let mut town = Town::new();
    town.run(100);
    let outside = town.folder.path().join("outside");
    fs::write(&outside, "9").unwrap();
    symlink(&outside, town.path(100)).unwrap();
    town.refresh();
    assert_eq!(fs::read_to_string(&outside).unwrap(), "9");
}

#[test]
fn an_empty_directory_is_refused() {
    check(Reason::Directory, |path| fs::create_dir(path).unwrap());
}

#[test]
fn what_is_in_a_live_processs_place_is_removed_whole_by_root() {
    if !town::is_root("removes directories of others") {
        return;
    }
    let mut town = Town::new();
    let id = town.run(100);
    let outside = town.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "").unwrap();
    let deep = town.path(100).join("a/b/c/d");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "").unwrap();
    symlink(&outside, deep.join("link")).unwrap();
    symlink(&outside, town.path(100).join("link")).unwrap();
    assert_eq!(town.refresh(), [refused(id, Reason::Directory, true)]);
    assert_eq!(fs::read_dir(town.directory()).unwrap().count(), 0);
    assert!(outside.join("precious").exists());
    town.write(100, "8");
    assert_eq!(town.refresh(), [registered(id, 8)]);
}

#[test]
fn a_directory_with_too_much_in_it_is_moved_out_of_the_way_by_root() {
    if !town::is_root("moves directories of others") {
        return;
    }
    let mut town = Town::new();
    let id = town.run(100);
    fs::create_dir(town.path(100)).unwrap();
    for number in 0..300 {
        fs::write(town.path(100).join(number.to_string()), "").unwrap();
    }
    // Deeper than is gone into.
    let deep: std::path::PathBuf = (0..40).map(|_| "d").collect();
    fs::create_dir_all(town.path(101).join(deep)).unwrap();
    let notices = town.refresh();
    assert!(notices.contains(&refused(id, Reason::Directory, true)));
    let aside: Vec<String> = notices
        .iter()
        .filter(|notice| matches!(notice, Notice::Aside { .. }))
        .map(ToString::to_string)
        .collect();
    assert_eq!(aside.len(), 2, "{notices:?}");
    assert!(aside[0].contains("renamed to `.in-the-way-10"), "{aside:?}");
    assert!(!exists(&town.path(100)) && !exists(&town.path(101)));
    town.write(100, "8");
    assert_eq!(town.refresh(), [registered(id, 8)]);
}

#[test]
fn a_directory_that_is_filled_while_it_is_looked_at_is_removed_by_root() {
    if !town::is_root("removes directories of others") {
        return;
    }
    let mut town = Town::new();
    let id = town.run(100);
    let place = town.path(100);
    fs::create_dir(&place).unwrap();
    let fill = |_| fs::write(place.join("more"), "").unwrap();
    assert_eq!(
        town.refresh_while(fill),
        [refused(id, Reason::Directory, true)]
    );
    assert_eq!(fs::read_dir(town.directory()).unwrap().count(), 0);
    town.write(100, "8");
    assert_eq!(town.refresh(), [registered(id, 8)]);
}

#[test]
fn names_that_were_taken_beforehand_keep_no_directory_in_its_place() {
    if !town::is_root("moves directories of others") {
        return;
    }
    let mut town = Town::new();
    let id = town.run(100);
    for number in 0..64 {
        town.write(format!(".in-the-way-100-{number}"), "");
    }
    fs::create_dir_all(town.path(100).join("in/it")).unwrap();
    assert_eq!(town.refresh(), [refused(id, Reason::Directory, true)]);
    town.write(100, "8");
    assert_eq!(town.refresh(), [registered(id, 8)]);
}

#[test]
fn a_name_that_another_user_has_taken_is_kept_for_its_processs_user() {
    if !town::is_root("gives files to two users") {
        return;
    }
    let make: [fn(&Path); 4] = [
        |path| fs::create_dir(path).unwrap(),
        |path| fs::create_dir_all(path.join("in/it")).unwrap(),
        |path| fs::write(path, "900").unwrap(),
        |path| symlink("nowhere", path).unwrap(),
    ];
    for make in make {
        let mut town = Town::new();
        let id = town.run_as(100, NOBODY);
        let place = town.path(100);
        make(&place);
        lchown(&place, Some(SOMEBODY), None).unwrap();
        let said = town.refresh();
        assert!(
            matches!(said[..], [Notice::Refused { removed: true, .. }]),
            "{said:?}"
        );
        assert_eq!(fs::read_dir(town.directory()).unwrap().count(), 1);
        let kept = fs::symlink_metadata(&place).unwrap();
        assert!(kept.is_file() && kept.len() == 0, "{kept:?}");
        assert_eq!((kept.uid(), kept.mode() & 0o7777), (NOBODY, 0o644));

        // That user cannot have it again.
        let script = "cd \"$1\" && : > mine && ! mv -T mine 100 && ! rm -f 100 && ! mkdir 100 && \
                      ! true > 100 && rm mine";
        let mut other = Command::new("sh");
        other.args(["-c", script, "sh"]).arg(town.directory());
        let output = other.uid(SOMEBODY).gid(SOMEBODY).output().unwrap();
        assert!(output.status.success(), "{output:?}");

        // It is no entry, and nothing is to be said of it, also by a later daemon.
        assert_eq!(town.value(id), None);
        for _ in 0..2 {
            assert_eq!(town.refresh(), []);
            assert_eq!(town.registry.pause(), None);
            town.restart();
        }
        assert!(exists(&place));

        fs::write(&place, "5").unwrap();
        assert_eq!(town.refresh(), [town::registered_of(NOBODY, id, 5)]);
        town.run_as(100, NOBODY);
        town.registry.reread();
        assert_eq!(town.refresh(), [Notice::Swept { count: 1 }]);
    }
}

#[test]
fn no_name_is_kept_for_root_whose_process_may_become_another_users() {
    if !town::is_root("gives files to two users") {
        return;
    }
    let mut town = Town::new();
    town.run_as(100, 0);
    fs::create_dir(town.path(100)).unwrap();
    chown(town.path(100), Some(SOMEBODY), None).unwrap();
    town.refresh();
    assert!(!exists(&town.path(100)));
}

#[test]
fn a_name_that_was_kept_goes_with_its_process() {
    if !town::is_root("gives files to two users") {
        return;
    }
    let mut town = Town::new();
    for next in [Some(NOBODY), Some(SOMEBODY), None] {
        town.run_as(100, NOBODY);
        fs::create_dir(town.path(100)).unwrap();
        chown(town.path(100), Some(SOMEBODY), None).unwrap();
        town.refresh();
        assert!(exists(&town.path(100)));
        match next {
            Some(uid) => drop(town.run_as(100, uid)),
            None => drop(town.processes.remove(&100)),
        }
        town.registry.reread();
        assert_eq!(town.refresh(), [Notice::Swept { count: 1 }]);
        assert!(!exists(&town.path(100)));
    }
}

#[test]
fn what_is_not_said_for_its_users_sake_is_told_all_the_same() {
    if !town::is_root("gives entries to two users") {
        return;
    }
    let mut town = Town::new();
    let theirs: Vec<ProcessId> = (100..150).map(|pid| town.run_as(pid, NOBODY)).collect();
    for id in &theirs {
        town.write(id.pid, "8");
        let owner = if id.pid < 125 { NOBODY } else { SOMEBODY };
        chown(town.path(id.pid), Some(owner), None).unwrap();
    }
    let notices = town.refresh();
    let told = |process: &ProcessId| {
        notices.iter().any(|notice| match notice {
            Notice::Registered { process: it, .. } => it.id == *process && it.id.pid < 125,
            Notice::Refused { process: it, .. } => it.id == *process && it.id.pid >= 125,
            _ => false,
        })
    };
    assert!(theirs.iter().all(told), "{notices:?}");
    let said = notices.iter().filter(|notice| notice.is_said()).count();
    assert!(said <= 25, "{said} lines");
}

#[test]
fn what_is_swept_without_end_is_said_now_and_then_and_in_full() {
    let mut town = Town::new();
    let began = Instant::now();
    let mut said = Vec::new();
    for _ in 0..100 {
        town.write(100, "8");
        said.extend(town.refresh());
    }
    let lines = said.len() as u64;
    assert!(lines <= 11 + began.elapsed().as_secs(), "{lines} lines");
    assert!(town.registry.pause().is_some(), "the rest is to be said");
    said.extend(town.refresh_until_said());
    let counts = said.iter().map(|notice| match notice {
        Notice::Swept { count } => *count,
        other => panic!("{other:?}"),
    });
    assert_eq!(counts.sum::<u32>(), 100);
}

#[test]
fn junk_for_pids_to_come_is_removed_by_root_when_it_is_seen() {
    if !town::is_root("removes what is in the way of pids to come") {
        return;
    }
    let mut town = Town::new();
    town.write(100, "8");
    town.write(101, "not a value");
    File::create(town.path(102))
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    symlink("nowhere", town.path(103)).unwrap();
    fs::create_dir_all(town.path(104).join("in/it")).unwrap();
    mkfifo(&town.path(105), Mode::from_bits_truncate(0o666)).unwrap();
    assert_eq!(town.refresh(), [Notice::Swept { count: 6 }]);
    assert_eq!(fs::read_dir(town.directory()).unwrap().count(), 0);
}

#[test]
fn an_entry_for_a_kernel_thread_or_for_a_thread_does_not_count() {
    for (mut town, is_root) in [(Town::new(), true), (Town::of_a_user(), false)] {
        if is_root && !town::is_root("unlinks what is refused") {
            continue;
        }
        let kernels = town.run_as(11, 0);
        let thread = town.run(12);
        let runner = town.processes.get_mut(&11).unwrap();
        runner.is_kernel_thread = true;
        town.processes.get_mut(&12).unwrap().process = 7;
        town.write(11, "900");
        town.write(12, "900");
        let reason = Reason::Thread { process: 7 };
        let notices = town.refresh();
        assert_eq!(
            notices,
            [
                town::refused_of(0, kernels, Reason::KernelThread, is_root),
                refused(thread, reason, is_root)
            ]
        );
        assert!(
            notices[0]
                .to_string()
                .contains("the pid that the process has on the host")
        );
        assert!(
            notices[1]
                .to_string()
                .contains("a thread of process 7: name the entry `7`")
        );
        assert_eq!(town.registry.ids().count(), 0);
    }
}

#[test]
fn an_entry_of_a_process_that_changed_its_user_does_not_count_any_more() {
    let mut town = Town::new();
    if !town::is_root("gives an entry to uid 65534") {
        return;
    }
    let id = town.run_as(100, NOBODY);
    town.write(100, "8");
    chown(town.path(100), Some(NOBODY), None).unwrap();
    assert_eq!(town.refresh(), [town::registered_of(NOBODY, id, 8)]);
    town.processes.get_mut(&100).unwrap().uid = SOMEBODY;
    town.registry.reread();
    let (owner, runner) = (NOBODY, SOMEBODY);
    let reason = Reason::Foreign { owner, runner };
    assert_eq!(
        town.refresh(),
        [town::refused_of(SOMEBODY, id, reason, true)]
    );
    assert_eq!(town.value(id), None);
}

/// One user has 900 entries, all of them written and removed again and again;
/// another registers meanwhile.
#[test]
fn a_user_who_makes_junk_without_end_takes_no_looks_from_others() {
    if !town::is_root("gives files to two users") {
        return;
    }
    let mut town = Town::in_memory();
    let other = town.run_as(5000, SOMEBODY);
    town.refresh();
    let began = Instant::now();
    // For pids to come.
    for pid in 10_000..13_000 {
        let path = town.path(pid);
        fs::write(&path, "900").unwrap();
        chown(&path, Some(NOBODY), None).unwrap();
    }
    town.write(5000, "5");
    chown(town.path(5000), Some(SOMEBODY), None).unwrap();
    let looks = std::cell::Cell::new(0);
    for _ in 0..100 {
        town.registry.refresh(&|pid| {
            looks.set(looks.get() + 1);
            let runner = town.processes.get(&pid).copied();
            runner.map_or(Lookup::Gone, Lookup::Runs)
        });
        if town.value(other) == Some(5) {
            break;
        }
    }
    assert_eq!(town.value(other), Some(5));
    let seconds = usize::try_from(began.elapsed().as_secs() + 1).unwrap();
    let most = 512 + 500 * seconds + 4;
    assert!(looks.get() <= most, "{} looks, not {most}", looks.get());
}

#[test]
fn a_user_who_changes_entries_without_end_takes_neither_looks_nor_lines_from_others() {
    if !town::is_root("gives entries to two users") {
        return;
    }
    let mut town = Town::in_memory();
    let theirs: Vec<ProcessId> = (1000..1900).map(|pid| town.run_as(pid, NOBODY)).collect();
    let other = town.run_as(5000, SOMEBODY);
    town.refresh();
    let prepared = town.folder.path().join("prepared");
    let write = |pid: u32, uid| {
        fs::write(&prepared, "5").unwrap();
        chown(&prepared, Some(uid), None).unwrap();
        fs::rename(&prepared, town.folder.path().join(format!("entries/{pid}"))).unwrap();
    };
    let began = Instant::now();
    let looks = std::cell::Cell::new(0);
    let mut notices = Vec::new();
    for _ in 0..4 {
        for id in &theirs {
            write(id.pid, NOBODY);
        }
        write(other.pid, SOMEBODY);
        for _ in 0..100 {
            notices.extend(town.registry.refresh(&|pid| {
                looks.set(looks.get() + 1);
                town.processes
                    .get(&pid)
                    .copied()
                    .map_or(Lookup::Gone, Lookup::Runs)
            }));
            if !town.registry.more() {
                break;
            }
        }
        assert_eq!(town.value(other), Some(5));
    }
    // 512 at once and then 500 a second, and each of the other's; 10 lines and
    // then one a second, and the other's. However slow this machine is.
    let seconds = usize::try_from(began.elapsed().as_secs() + 1).unwrap();
    let most = 512 + 500 * seconds + 4;
    assert!(looks.get() <= most, "{} looks, not {most}", looks.get());
    let said = notices
        .iter()
        .filter(|notice| matches!(notice, Notice::Registered { is_said: true, .. }))
        .count();
    assert!(said <= 11 + seconds, "{said} lines in {seconds} s");
    let want = town::registered_of(SOMEBODY, other, 5);
    assert!(notices.contains(&want));

    // In the end all are read, and what was left out is said.
    for _ in 0..500 {
        let all = theirs.iter().all(|id| town.value(*id) == Some(5));
        let told = notices
            .iter()
            .any(|notice| matches!(notice, Notice::LeftOut { .. }));
        if all && told {
            return;
        }
        notices.extend(town.refresh());
        town::is_readable(&town.registry, PollTimeout::from(20_u8));
    }
    panic!("not all were read in ten seconds, or it was not said");
}

#[test]
fn a_users_daemon_leaves_a_directory_with_something_in_it() {
    let mut town = Town::of_a_user();
    let id = town.run(100);
    fs::create_dir(town.path(100)).unwrap();
    fs::write(town.path(100).join("precious"), "").unwrap();
    assert_eq!(town.refresh(), [refused(id, Reason::Directory, false)]);
    assert!(exists(&town.path(100).join("precious")));
    town.registry.reread();
    assert_eq!(town.refresh(), []);
}

#[test]
fn a_file_of_a_gibibyte_is_refused_unread() {
    let bytes = 1 << 30;
    check(Reason::TooLarge { bytes }, |path| {
        let file = File::create(path).unwrap();
        file.set_len(bytes).unwrap();
        file.set_modified(ago(10)).unwrap();
    });
}

#[test]
fn what_is_no_number_in_range_is_refused() {
    check_text("-5", ValueError::NotANumber);
    check_text("1e9", ValueError::NotANumber);
    check_text("٣", ValueError::NotANumber);
    check_text("", ValueError::Empty);
    check_text("\n\n", ValueError::Empty);
    check_text("1000001", ValueError::OutOfRange);
    check_text("99999999999999999999", ValueError::OutOfRange);
}

#[test]
fn a_file_with_a_second_name_is_refused() {
    check(Reason::HardLinked, |path| {
        let outside = path.parent().unwrap().parent().unwrap().join("outside");
        fs::write(&outside, "9").unwrap();
        fs::hard_link(outside, path).unwrap();
    });
}

#[test]
fn a_second_name_does_not_end_an_entry_that_counts() {
    let mut town = Town::new();
    let id = town.run(100);
    town.write(100, "8");
    town.refresh();
    fs::hard_link(town.path(100), town.folder.path().join("second")).unwrap();
    assert_eq!(town.refresh(), []);
    town.registry.reread();
    assert_eq!(town.refresh(), []);
    assert_eq!(town.value(id), Some(8));
}

#[test]
fn a_second_name_made_while_no_daemon_runs_does_not_end_an_entry_that_counted() {
    let mut town = Town::new();
    let id = town.run(100);
    town.write(100, "8");
    town.refresh();
    if !has_mark(&town.path(100)) {
        eprintln!("not run: the file system has no extended attributes of this kind");
        return;
    }
    fs::hard_link(town.path(100), town.folder.path().join("second")).unwrap();
    town.restart();
    assert_eq!(town.refresh(), [registered(id, 8)]);
    // It speaks for no other process by that,
    let other = town.run(101);
    fs::hard_link(town.path(100), town.path(101)).unwrap();
    town.refresh();
    assert_eq!((town.value(id), town.value(other)), (Some(8), None));
    // nor as it has not been seen to count.
    town.write_long_ago(100, "9");
    town.restart();
    town.refresh();
    assert_eq!(town.value(id), None);
}

#[test]
fn an_entry_spoilt_gives_no_value_any_more() {
    let mut town = Town::of_a_user();
    let id = town.run(100);
    town.write(100, "8");
    town.refresh();
    town.write_long_ago(100, "eight");
    let reason = Reason::Value(ValueError::NotANumber);
    assert_eq!(town.refresh(), [refused(id, reason, false)]);
    assert_eq!(town.value(id), None);
}

/// Twice as many names as the kernel's queue holds by default, most of them
/// of no process. Each refresh is bounded ([`Town::refresh`] counts its looks).
#[test]
fn a_hundred_thousand_entries_are_read_in_bounded_steps_and_not_kept() {
    let mut town = Town::in_memory();
    let first = town.run(1);
    let last = town.run(100_000);
    town.refresh();
    for pid in 1..=100_000_u32 {
        town.write(pid, "8");
    }
    let notices = town.refresh_all();
    let overflowed = notices.contains(&Notice::Overflow);
    let limit = Path::new("/proc/sys/fs/inotify/max_queued_events");
    let limit: usize = fs::read_to_string(limit).unwrap().trim().parse().unwrap();
    if limit < 100_000 {
        assert!(overflowed);
    } else {
        eprintln!("not seen: an overflow, for the queue holds {limit} events");
    }
    assert!(notices.contains(&registered(first, 8)));
    assert!(notices.contains(&registered(last, 8)));
    assert_eq!(town.registry.ids().count(), 2);
    assert_eq!(town.value(last), Some(8));
}

/// One thread swaps what stands at a live process's name as fast as it can,
/// among files that give 0 to 3, links to one that gives 777, FIFOs and
/// directories; names that `ended` removes come back at once.
#[test]
fn no_swap_in_the_middle_makes_a_wrong_value_or_a_wait() {
    let mut town = Town::new();
    let folder = town.folder.path().to_owned();
    let directory = town.directory();
    let outside = folder.join("outside");
    fs::write(&outside, "777").unwrap();
    thread::scope(|scope| {
        let swaps = scope.spawn(|| {
            let fresh = folder.join("fresh");
            let target = directory.join("100");
            for round in 0..8_000_u32 {
                // Whatever fails here, fails for a race that is meant.
                let _ = match round % 5 {
                    0 => symlink(&outside, &fresh),
                    1 => mkfifo(&fresh, Mode::from_bits_truncate(0o666)).map_err(Into::into),
                    2 => fs::create_dir(&target),
                    3 => write_over(&target, round % 4),
                    _ => write_over(&fresh, round % 4),
                };
                let _ = fs::rename(&fresh, &target);
                let _ = fs::remove_dir(&target);
            }
        });
        while !swaps.is_finished() {
            let id = town.run(100);
            for _ in 0..3 {
                let Town {
                    registry,
                    processes,
                    ..
                } = &mut town;
                registry.refresh(&|pid| {
                    processes
                        .get(&pid)
                        .copied()
                        .map_or(Lookup::Gone, Lookup::Runs)
                });
                let value = town.value(id);
                assert!(value.is_none_or(|value| value < 4), "{value:?}");
            }
            town.registry.ended(id);
            assert_eq!(town.value(id), None);
        }
    });
    assert_eq!(fs::read_to_string(&outside).unwrap(), "777");

    // It still reads what stands there when all is quiet.
    let id = town.run(100);
    let _ = fs::remove_file(town.path(100));
    town.refresh();
    town.write(100, "9");
    town.refresh();
    assert_eq!(town.value(id), Some(9));
}

/// Writes to a file of that name, but follows no link and waits for no reader
/// of a FIFO.
fn write_over(path: &Path, value: u32) -> io::Result<()> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(flags.bits())
        .open(path)?;
    write!(file, "{value}")
}

proptest! {
    #[test]
    fn any_file_gives_a_canonical_number_or_none(
        text in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..400),
            "[ \n]?[0-9]{1,8}[ \n]?[a-z0-9]{0,3}".prop_map(String::into_bytes),
        ],
    ) {
        let mut town = Town::of_a_user();
        let id = town.run(100);
        town.write_long_ago(100, &text);
        town.refresh();
        let word = text
            .split(u8::is_ascii_whitespace)
            .find(|word| !word.is_empty())
            .unwrap_or_default();
        let want = str::from_utf8(word)
            .ok()
            .and_then(|word| word.parse().ok())
            .filter(|value: &u32| *value <= 1_000_000 && value.to_string().as_bytes() == word)
            .filter(|_| text.len() <= 256);
        prop_assert_eq!(town.value(id), want);
    }
}
