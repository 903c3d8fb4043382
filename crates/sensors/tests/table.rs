//! The process table on trees: who is in it, what is read, who is introduced.

mod support;

use std::fs;

use model::{
    Dossier, Memory, Name, Pausing, Preference, ProcessId, Protection, SessionId, Unpausable,
};
use rustix::param::page_size;
use sensors::{
    Depth, Executable, Inquiry, Labelled, Portrait, ReadError, Scopes, What, portray, survey,
};
use support::{Copy, Table, chain, tree};

const KIB: u64 = 1024;
const ALL: [u32; 8] = [1, 2, 800, 1200, 1204, 1205, 1300, 1400];

fn pages(count: u64) -> u64 {
    count * page_size() as u64
}

#[track_caller]
fn full(case: &str) -> Table {
    let mut table = Table::of(&tree(case));
    table.survey(Depth::Full);
    table
}

#[test]
fn every_process_is_in_it_by_ascending_pid() {
    let mut table = Table::of(&tree("good"));
    let scan = table.scan(Depth::Full);
    assert_eq!(table.pids(), ALL);
    assert_eq!((scan.processes, scan.newcomers, scan.gone), (8, 8, 0));
    assert_eq!((scan.unheld, scan.unread), (0, 0));
}

#[test]
fn what_was_seen_is_joined_with_what_is_known_and_kernel_threads_are_left_out() {
    let table = full("good");
    let joined = table.joined();
    let pids: Vec<u32> = joined.iter().map(|process| process.id.pid).collect();
    let want: Vec<u32> = ALL.into_iter().filter(|&pid| pid != 2).collect();
    assert_eq!(pids, want);
    for process in joined {
        assert_eq!(process.seen, table.get(process.id.pid));
        let value = (process.id.pid == 1204).then_some(7);
        let known = Dossier {
            value,
            ..Dossier::default()
        };
        assert_eq!(process.dossier, known);
    }
}

#[test]
fn all_of_a_process_is_read() {
    let process = full("good").get(1204);
    assert_eq!(
        process.id,
        ProcessId {
            pid: 1204,
            start_ticks: 20_150
        }
    );
    assert_eq!((process.parent, process.group), (1200, 1204));
    assert_eq!(process.name, Name::new(b"a) R (b"));
    assert_eq!(process.uid, 1000);
    assert_eq!(process.rss_bytes, pages(100_000));
    assert_eq!(process.anon_bytes, pages(75_000));
    assert_eq!(process.swap_bytes, 2048 * KIB);
    assert_eq!(process.page_table_bytes, 1500 * KIB);
    assert_eq!(process.shmem_bytes, 0, "until it was measured");
    assert_eq!(process.major_faults, 77);
    assert_eq!(process.oom_score, None, "until it is asked for");
    assert_eq!(process.oom_score_adj, 100);
    assert!(process.login);
}

#[test]
fn the_real_user_counts() {
    assert_eq!(full("good").get(1205).uid, 1000, "not 0, the effective one");
}

#[test]
fn a_zombie_holds_nothing() {
    let zombie = full("good").get(1300);
    assert_eq!((zombie.rss_bytes, zombie.anon_bytes), (0, 0));
    assert_eq!(zombie.swap_bytes, 0);
}

#[test]
fn a_process_that_outlived_its_first_thread_holds_what_its_others_show() {
    let mut table = full("good");
    let process = table.get(1400);
    assert_eq!(process.rss_bytes, pages(30_000));
    assert_eq!(process.anon_bytes, pages(20_000));
    assert_eq!(process.swap_bytes, 4096 * KIB);
    table.scan(Depth::Fast);
    assert_eq!(table.get(1400).rss_bytes, pages(30_000));
}

#[test]
fn a_fast_scan_sees_that_a_first_thread_has_ended() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.scan(Depth::Full);
    copy.change("1204/stat", ") R 1200", ") Z 1200");
    copy.change("1204/statm", "200000 100000 25000", "0 0 0");
    fs::create_dir_all(copy.path().join("1204/task/1206")).unwrap();
    copy.write("1204/task/1206/statm", "200000 110000 25000 10 0 90 0\n");
    copy.write("1204/task/1206/status", "Uid:\t1000\t1000\t1000\t1000\n");
    table.scan(Depth::Fast);
    assert_eq!(table.get(1204).rss_bytes, pages(110_000));
    assert_eq!(table.get(1204).id.start_ticks, 20_150, "it is the same");
}

/// A thousandth of memory and swap, as the kernel reckons badness.
fn thousandth() -> u64 {
    let machine = rustix::system::sysinfo();
    (machine.totalram + machine.totalswap) * u64::from(machine.mem_unit) / 1000
}

/// Its threads may hand over to each other faster than one can be read.
#[test]
fn where_no_thread_answers_a_process_holds_what_its_badness_says() {
    let copy = Copy::of("good");
    copy.remove("1400/task/1401/statm");
    copy.write("1400/oom_score", "700\n");
    let mut table = copy.table();
    let scan = table.scan(Depth::Full);
    assert_eq!((scan.newcomers, scan.gone), (8, 0));
    let process = table.get(1400);
    assert_eq!(process.anon_bytes, 50 * thousandth());
    assert_eq!((process.swap_bytes, process.uid), (0, 1001));
    // It grows, and the kernel counts a hint of its own in.
    copy.write("1400/oom_score", "1033\n");
    copy.write("1400/oom_score_adj", "500\n");
    assert_eq!(table.scan(Depth::Fast).gone, 0);
    assert_eq!(table.get(1400).anon_bytes, 50 * thousandth());
    assert_eq!(table.get(1400).oom_score_adj, 500);
    table.scan(Depth::Held);
    assert_eq!(table.get(1400).anon_bytes, 50 * thousandth());
    // Before Linux 5.9.
    copy.write("1400/oom_score", "520\n");
    table.scan(Depth::Fast);
    assert_eq!(table.get(1400).anon_bytes, 20 * thousandth());
    // One answers again.
    copy.write("1400/task/1401/statm", "90000 30000 10000 10 0 90 0\n");
    table.scan(Depth::Fast);
    assert_eq!(table.get(1400).anon_bytes, pages(20_000));
    assert_eq!(table.introduced, [], "it is the same");
}

/// What `of` says of the process as rules look at it.
fn portrayed<T>(copy: &Copy, id: ProcessId, of: impl Fn(&Portrait<'_>) -> T) -> Option<T> {
    let request = Inquiry {
        id,
        what: What::Label,
        rss_bytes: 0,
    };
    let mut found = None;
    let _ = portray(copy.path(), &request, &mut |portrait| {
        found = Some(of(portrait));
        Labelled::ForGood
    });
    found
}

/// Rules ask for them.
#[test]
fn a_process_that_calls_itself_what_is_no_text_has_a_user_and_groups() {
    let copy = Copy::of("good");
    let path = copy.path().join("1204/status");
    let status = fs::read_to_string(&path).unwrap();
    let (name, rest) = status.split_once('\n').unwrap();
    assert!(name.starts_with("Name:"), "{name}");
    let rest = rest.replace("Groups:", "Groups:\t27 1000");
    let mut table = copy.table();
    table.scan(Depth::Full);
    for name in [&b"plain"[..], b"\xff", b"cut in \xe4\xb8"] {
        fs::write(&path, [b"Name:\t", name, b"\n", rest.as_bytes()].concat()).unwrap();
        let found = portrayed(&copy, table.get(1204).id, |it| it.credentials()).flatten();
        assert_eq!(found, Some((1000, 1000, vec![27, 1000])), "{name:?}");
    }
}

/// Only where its user may mount what it likes: not where systemd made both namespaces
/// (`PrivateUsers=`).
#[test]
fn a_process_in_a_users_own_user_and_mount_namespaces_chooses_its_paths() {
    let copy = Copy::of("good");
    let set = |pid: &str, user: &str, mount: &str| {
        let folder = copy.path().join(pid).join("ns");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(user, folder.join("user")).unwrap();
        std::os::unix::fs::symlink(mount, folder.join("mnt")).unwrap();
    };
    set("self", "user:[1]", "mnt:[3]");
    set("1", "user:[1]", "mnt:[1]");
    let mut table = copy.table();
    table.scan(Depth::Full);
    let (all, users, services) = (
        "         0          0 4294967295\n",
        "         0       1000          1\n",
        "         0          0          1\n       112        112          1\n",
    );
    for (user, mount, map, want) in [
        (1, 1, all, false),
        (1, 2, all, false),
        (2, 1, users, false),
        (2, 2, users, true),
        (2, 2, services, false),
    ] {
        set("1204", &format!("user:[{user}]"), &format!("mnt:[{mount}]"));
        fs::write(copy.path().join("1204/uid_map"), map).unwrap();
        let found = portrayed(&copy, table.get(1204).id, |it| it.chooses_its_paths());
        assert_eq!(found, Some(want), "{user} {mount} {map}");
    }
}

#[test]
fn a_thread_that_ends_hands_over_to_another() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.scan(Depth::Full);
    let dossier = table.dossier(1400);
    fs::rename(
        copy.path().join("1400/task/1401"),
        copy.path().join("1400/task/1402"),
    )
    .unwrap();
    copy.change("1400/task/1402/statm", " 30000 ", " 40000 ");
    let scan = table.scan(Depth::Full);
    assert_eq!((scan.newcomers, scan.gone), (0, 0));
    assert_eq!(table.get(1400).rss_bytes, pages(40_000));
    assert_eq!(table.dossier(1400), dossier);
}

#[test]
fn two_whose_first_threads_have_ended_are_not_taken_to_have_one_memory() {
    let copy = Copy::of("good");
    copy.duplicate(1400, 1500);
    fs::rename(
        copy.path().join("1500/task/1400"),
        copy.path().join("1500/task/1500"),
    )
    .unwrap();
    let mut table = copy.table();
    table.survey(Depth::Full);
    let memory = Memory {
        total_bytes: pages(100_000),
        ..Memory::default()
    };
    let asked = table.find_one_memory(&memory, &[]);
    assert!(
        asked.iter().all(|pid| ![1400, 1500].contains(pid)),
        "{asked:?}"
    );
}

#[test]
fn what_one_has_in_swap_is_as_the_last_full_scan_found_it_or_renewed() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    // What started of late is read twice anyway.
    table.scan(Depth::Full);
    table.scan(Depth::Full);
    let swapped = |table: &Table| table.get(1204).swap_bytes;
    copy.change("1204/status", "VmSwap:\t    2048", "VmSwap:\t    9000");
    table.scan(Depth::Fast);
    assert_eq!(swapped(&table), 2048 * KIB);
    table.table.renew(|id| id.pid == 1204);
    table.scan(Depth::Fast);
    assert_eq!(swapped(&table), 9000 * KIB);
    copy.change("1204/status", "VmSwap:\t    9000", "VmSwap:\t    8000");
    table.scan(Depth::Fast);
    assert_eq!(swapped(&table), 9000 * KIB, "once");
    table.scan(Depth::Full);
    assert_eq!(swapped(&table), 8000 * KIB);
}

/// Else it would be held nowhere.
#[test]
fn where_one_holds_much_less_in_memory_its_swap_is_read_again() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.scan(Depth::Full);
    table.scan(Depth::Full);
    copy.change("1204/status", "VmSwap:\t    2048", "VmSwap:\t    9000");
    let mut scanned = |was: &str, is: &str| {
        copy.change("1204/statm", was, is);
        table.scan(Depth::Fast);
        let process = table.get(1204);
        (process.anon_bytes, process.swap_bytes)
    };
    // 75000 pages are its own; a sixteenth of them and 16 MiB may go unseen.
    assert_eq!(
        scanned("200000 100000 25000", "200000 92000 25000"),
        (pages(67_000), 2048 * KIB)
    );
    assert_eq!(
        scanned("200000 92000 25000", "200000 91000 25000"),
        (pages(66_000), 9000 * KIB)
    );
    copy.change("1204/status", "VmSwap:\t    9000", "VmSwap:\t    9500");
    // From then on it may shrink as much again,
    assert_eq!(
        scanned("200000 91000 25000", "200000 85000 25000"),
        (pages(60_000), 9000 * KIB)
    );
    // and from what it grows to.
    assert_eq!(
        scanned("200000 85000 25000", "200000 190000 25000"),
        (pages(165_000), 9000 * KIB)
    );
    assert_eq!(
        scanned("200000 190000 25000", "200000 85000 25000"),
        (pages(60_000), 9500 * KIB)
    );
}

#[test]
fn a_kernel_thread_is_told_from_processes() {
    let table = full("good");
    for pid in ALL {
        assert_eq!(table.get(pid).is_kernel_thread, pid == 2, "{pid}");
    }
}

/// There may be more of them than of processes.
#[test]
fn of_a_known_kernel_thread_only_whether_it_has_memory_is_read() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.scan(Depth::Full);
    table.scan(Depth::Full);
    let stat = fs::read(copy.path().join("2/stat")).unwrap();
    copy.remove("2/stat");
    let scan = table.scan(Depth::Full);
    assert_eq!((table.pids(), scan.gone), (ALL.to_vec(), 0));

    // It executes a program for the kernel.
    let stat = String::from_utf8(stat).unwrap();
    copy.write("2/stat", &stat.replace("(kthreadd)", "(modprobe)"));
    copy.write("2/statm", "1000 100 80 20 0 10 0\n");
    table.scan(Depth::Full);
    assert_eq!(table.get(2).name, Name::new(b"modprobe"));
}

#[test]
fn those_of_one_leaf_cgroup_are_one_session() {
    let table = full("good");
    let session = |pid| table.get(pid).session;
    assert_eq!(session(1200), session(1204));
    assert_eq!(session(1204), session(1205));
    assert_ne!(session(1204), session(800));
    assert_ne!(session(1204), session(1400));
    assert!(table.get(1200).login);
    assert!(table.get(1400).login, "a service of a user's own");
    assert!(!table.get(800).login);
    assert!(!table.get(1).login);
}

#[test]
fn without_systemd_a_session_is_what_has_a_session_id() {
    let copy = Copy::of("good");
    for pid in ALL {
        copy.write(&format!("{pid}/cgroup"), "4:memory:/a\n0::/\n");
    }
    copy.remove("800/cgroup");
    let mut table = copy.table();
    table.survey(Depth::Full);
    assert_eq!(table.get(1204).session, SessionId(1200));
    assert_eq!(table.get(800).session, SessionId(800));
    assert!(table.get(1204).login, "it has a terminal");
    assert!(!table.get(1400).login, "it has none");
}

#[test]
fn each_is_to_be_judged_once() {
    let mut table = Table::of(&tree("good"));
    table.scan(Depth::Full);
    assert_eq!(table.introduced, ALL);
    for depth in [Depth::Fast, Depth::Full, Depth::Held] {
        table.scan(depth);
        assert_eq!(table.introduced, [], "{depth:?}");
    }
}

/// Or it would be as any other for good: protected by nothing.
#[test]
fn those_not_judged_after_a_scan_are_to_be_judged_after_the_next() {
    let copy = Copy::of("good");
    copy.write("1200/statm", "?");
    let mut table = copy.table();
    table.table.scan(Depth::Full).unwrap_err();
    table.table.scan(Depth::Fast).unwrap_err();
    table.try_scan(Depth::Held).unwrap();
    assert_eq!(table.introduced, [1, 2, 800, 1204, 1205, 1300, 1400]);
}

#[test]
fn what_a_process_executes_is_told_apart_from_what_it_hides_and_what_it_has_not() {
    let copy = Copy::of("good");
    copy.remove("1200/exe");
    std::os::unix::fs::symlink("/nowhere/bin/sh (deleted)", copy.path().join("1200/exe")).unwrap();
    let mut table = copy.table();
    table.scan(Depth::Full);
    let mut seen = Vec::new();
    table.table.ask_for_identities(Depth::Full, &mut |request| {
        let mut recognise = |executable: &Executable<'_>| {
            assert!(!executable.is_roots(), "it is nowhere");
            let path = executable.path().map(String::from_utf8_lossy);
            seen.push((request.id.pid, path.map(|path| path.into_owned())));
        };
        let _ = survey(
            copy.path(),
            &request,
            &Scopes::default(),
            &mut recognise,
            &|_, _| false,
        );
        true
    });
    let exe = |path: &str| Some(path.to_owned());
    assert_eq!(
        seen,
        [
            (1, exe("/nowhere/lib/systemd/systemd")),
            (800, exe("/nowhere/sbin/sshd")),
            (1200, exe("/nowhere/bin/sh")),
            (1204, exe("/nowhere/bin/python3")),
            (1205, exe("/nowhere/bin/python3")),
            (1400, exe("/nowhere/bin/headless")),
        ],
        "neither the kernel's thread nor the zombie"
    );
}

#[test]
fn a_shells_job_in_the_foreground_is_told_from_the_shell_and_from_what_the_job_starts() {
    let copy = Copy::of("good");
    // Of the terminal of the shell 1200: its job is 1204, which has started 1205.
    let set_foreground = |from: &str, to: &str| {
        for pid in [1200, 1204, 1205] {
            let (from, to) = (format!(" 34816 {from} "), format!(" 34816 {to} "));
            copy.change(&format!("{pid}/stat"), &from, &to);
        }
    };
    set_foreground("-1", "1204");
    let mut table = copy.table();
    let check = |table: &Table, want: bool| {
        let found = [1200, 1204, 1205].map(|pid| table.get(pid).is_foreground_job);
        assert_eq!(found, [false, want, false]);
        let joined = table.joined();
        let joined = joined.iter().find(|process| process.id.pid == 1204);
        assert_eq!(joined.map(|process| process.is_foreground_job), Some(want));
    };
    table.scan(Depth::Full);
    check(&table, true);
    table.scan(Depth::Held);
    check(&table, true);

    // Moved to the background, as ^Z and bg do; and back, as fg does.
    set_foreground("1204", "1200");
    table.scan(Depth::Fast);
    check(&table, true);
    table.scan(Depth::Full);
    check(&table, false);
    set_foreground("1200", "1204");
    table.scan(Depth::Full);
    check(&table, true);

    // The shell has gone: nothing waits for the job.
    copy.remove("1200");
    table.scan(Depth::Fast);
    assert!(!table.get(1204).is_foreground_job);
}

#[test]
fn a_foreground_group_that_makes_no_sense_costs_only_itself() {
    let copy = Copy::of("good");
    copy.change("1204/stat", " 34816 -1 ", " 34816 99999999999 ");
    let mut table = copy.table();
    table.scan(Depth::Full);
    assert!(!table.get(1204).is_foreground_job);
}

/// A tree in which 1204 may be paused, 1205 holds a pty master, and of 1200
/// nothing can be read.
fn tied() -> Copy {
    let copy = Copy::of("good");
    for pid in [1204, 1205] {
        fs::create_dir(copy.path().join(format!("{pid}/fd"))).expect("the tree is ours");
        copy.write(&format!("{pid}/environ"), "HOME=/\0");
    }
    let link = copy.path().join("1205/fd/5");
    std::os::unix::fs::symlink("/dev/pts/ptmx", link).expect("the tree is ours");
    copy
}

#[test]
fn what_would_suffer_by_a_pause_is_read_once_where_that_is_worth_it() {
    let copy = tied();
    let mut table = copy.table();
    table.scan(Depth::Full);
    let all = [2, 1200, 1204, 1205];
    // Not before it is known what they are, and then they are to be asked about.
    let is_all = |table: &mut Table| {
        let asks = |seen: &model::Seen| all.contains(&seen.id.pid);
        table
            .table
            .ask_for_ties(asks, &mut |request| panic!("{request:?}"))
    };
    assert!(!is_all(&mut table));
    table.identify(Depth::Full, &mut |_, _| {});
    assert_eq!(table.tie(&[1204]), [1204]);
    assert_eq!(table.dossier(1204).pause, Pausing::Allowed);
    let forbidden = Pausing::Forbidden;
    assert_eq!(table.dossier(1205).pause, forbidden(Unpausable::Unknown));
    assert_eq!(table.tie(&all), [1200, 1205], "no thread of the kernel's");
    assert_eq!(table.dossier(1205).pause, forbidden(Unpausable::PtyMaster));
    assert_eq!(table.dossier(1200).pause, forbidden(Unpausable::Unknown));
    table.survey(Depth::Full);
    assert!(is_all(&mut table), "once");
}

#[test]
fn what_may_have_nothing_in_swap_may_not_be_paused() {
    let copy = tied();
    let cgroups = copy.path().join("cgroups");
    let mount = format!(
        "31 25 0:26 / {} rw - cgroup2 cgroup2 rw\n",
        cgroups.display()
    );
    for directory in [&cgroups.join("pods/a"), &copy.path().join("self")] {
        fs::create_dir_all(directory).expect("the tree is ours");
    }
    copy.write("self/mountinfo", &mount);
    copy.write("1204/cgroup", "0::/pods/a\n");
    for (pods, a, want) in [
        ("max\n", "max\n", None),
        ("max\n", "4096\n", None),
        ("0\n", "max\n", Some(Unpausable::NoSwap)),
        ("max\n", "0\n", Some(Unpausable::NoSwap)),
    ] {
        copy.write("cgroups/pods/memory.swap.max", pods);
        copy.write("cgroups/pods/a/memory.swap.max", a);
        let mut table = copy.table();
        table.survey(Depth::Full);
        table.tie(&[1204]);
        let want = want.map_or(Pausing::Allowed, Pausing::Forbidden);
        assert_eq!(table.dossier(1204).pause, want, "{pods} {a}");
    }
}

#[test]
fn what_would_suffer_by_a_pause_is_read_again_of_another_program() {
    let copy = tied();
    let mut table = copy.table();
    table.survey(Depth::Full);
    table.tie(&[1204, 1205]);

    // Both execute something else.
    copy.change("1204/stat", "(a) R (b)", "(vi)");
    copy.change("1205/stat", "(python3)", "(tmux)");
    let request = table.asked.iter().find(|request| request.id.pid == 1204);
    let late = survey(
        copy.path(),
        request.unwrap(),
        &Scopes::default(),
        &mut |_| {},
        &|_, _| false,
    );
    table.scan(Depth::Full);
    for pid in [1204, 1205] {
        assert_eq!(table.dossier(pid).pause, Pausing::default());
    }
    table.table.apply(&late);
    assert_eq!(table.dossier(1204).pause, Pausing::default(), "it is late");
    table.identify(Depth::Full, &mut |_, _| {});
    assert_eq!(table.tie(&[1204, 1205]), [1204, 1205]);
    assert_eq!(table.dossier(1204).pause, Pausing::Allowed);
}

#[test]
fn a_terminal_that_is_opened_later_is_found_in_turn() {
    let copy = tied();
    let mut table = copy.table();
    table.survey(Depth::Full);
    assert_eq!(table.tie_oldest(), [], "nothing was read");
    table.tie(&[1204, 1205]);
    let link = copy.path().join("1204/fd/3");
    std::os::unix::fs::symlink("/dev/ptmx", link).unwrap();
    for pid in [1204, 1205, 1204] {
        // Each call for measurements is a round.
        table.correct_families(&Memory::default());
        assert_eq!(table.tie_oldest(), [pid]);
        let found = table.dossier(1204).pause;
        assert_eq!(found, Pausing::Forbidden(Unpausable::PtyMaster));
    }
}

/// The tree `good`, where sshd holds the master sides of two terminals; bash is on
/// the first, with what it started.
fn with_terminals() -> Copy {
    let copy = Copy::of("good");
    for directory in ["fd", "fdinfo"] {
        fs::create_dir(copy.path().join("800").join(directory)).expect("the tree is ours");
    }
    for (fd, pty) in [(5, 3), (7, 0)] {
        let link = copy.path().join(format!("800/fd/{fd}"));
        std::os::unix::fs::symlink("/dev/ptmx", link).expect("the tree is ours");
        let info = format!("pos:\t0\nflags:\t02\ntty-index:\t{pty}\n");
        copy.write(&format!("800/fdinfo/{fd}"), &info);
    }
    copy
}

fn ends_with(table: &Table, pids: [u32; 4]) -> [Option<u32>; 4] {
    pids.map(|pid| table.get(pid).ends_with.map(|id| id.pid))
}

#[test]
fn a_session_ends_with_what_holds_its_terminal_but_for_what_ignores_the_hangup() {
    let copy = with_terminals();
    let mut table = copy.table();
    table.survey(Depth::Full);
    let pids = [800, 1200, 1204, 1205];
    assert_eq!(ends_with(&table, pids), [None; 4]);
    // Its leader alone is asked about, once.
    assert_eq!(table.find_terminals(), [1200]);
    assert_eq!(table.find_terminals(), []);
    let all = [None, Some(800), Some(800), Some(800)];
    assert_eq!(ends_with(&table, pids), all);
    let path = copy.path().join("1205/status");
    let text = fs::read_to_string(path).expect("it is there");
    copy.write("1205/status", &format!("{text}SigIgn:\t0000000000000001\n"));
    table.scan(Depth::Full);
    let all = [None, Some(800), Some(800), None];
    assert_eq!(ends_with(&table, pids), all);
    // Another may hold it by now.
    copy.remove("800");
    table.scan(Depth::Full);
    let left = [1200, 1204, 1205].map(|pid| table.get(pid).ends_with);
    assert_eq!(left, [None; 3]);
    assert_eq!(table.find_terminals(), [1200]);
}

#[test]
fn a_terminal_of_another_number_is_anothers() {
    let copy = with_terminals();
    copy.write("800/fdinfo/7", "pos:\t0\ntty-index:\t1\n");
    let mut table = copy.table();
    table.survey(Depth::Full);
    assert_eq!(table.find_terminals(), [1200]);
    assert_eq!(ends_with(&table, [800, 1200, 1204, 1205]), [None; 4]);
}

#[test]
fn a_pid_namespace_ends_with_its_first_process_and_that_with_its_terminal() {
    let copy = with_terminals();
    for (pid, here) in [(1204, 1), (1205, 2)] {
        let path = copy.path().join(format!("{pid}/status"));
        let text = fs::read_to_string(path).expect("it is there");
        copy.write(
            &format!("{pid}/status"),
            &format!("{text}NSpid:\t{pid}\t{here}\n"),
        );
        let namespaces = copy.path().join(format!("{pid}/ns"));
        fs::create_dir_all(&namespaces).expect("the tree is ours");
        let link = namespaces.join("pid");
        std::os::unix::fs::symlink("pid:[4026532201]", link).expect("the tree is ours");
    }
    let mut table = copy.table();
    table.survey(Depth::Full);
    table.find_terminals();
    table.scan(Depth::Fast);
    let all = [None, Some(800), Some(800), Some(1204)];
    assert_eq!(ends_with(&table, [800, 1200, 1204, 1205]), all);
}

#[test]
fn a_service_ends_with_its_main_process_the_oldest_that_systemd_started() {
    let copy = Copy::of("good");
    // sshd is its main process; what bash started was left to systemd.
    for pid in [800, 1204, 1205] {
        copy.write(&format!("{pid}/cgroup"), "0::/system.slice/web.service\n");
    }
    copy.change("1204/stat", " R 1200 ", " R 1 ");
    let mut table = copy.table();
    table.survey(Depth::Full);
    table.scan(Depth::Fast);
    let all = [None, None, Some(800), Some(800)];
    assert_eq!(ends_with(&table, [800, 1200, 1204, 1205]), all);
}

#[test]
fn a_request_that_is_given_up_on_is_made_again_but_for_its_process() {
    let copy = tied();
    let mut table = copy.table();
    table.survey(Depth::Full);
    let mut asked = Vec::new();
    table.table.ask_for_ties(|_| true, &mut |request| {
        asked.push(request);
        asked.len() < 100
    });
    let stuck = asked.iter().find(|request| request.id.pid == 1205);
    table.table.give_up_on(stuck.unwrap());
    // It is a user's, whose other processes are not measured either; root's are.
    let again = table.tie(&[1, 800, 1204, 1205]);
    assert_eq!(again, [1, 800]);
    assert_eq!(table.dossier(1205).pause, Pausing::default());
}

#[test]
fn a_process_that_is_gone_is_not_asked_about_again_unless_a_scan_finds_it() {
    let copy = tied();
    let mut table = copy.table();
    table.scan(Depth::Full);
    let stat = fs::read_to_string(copy.path().join("1204/stat")).unwrap();
    fs::remove_file(copy.path().join("1204/stat")).unwrap();
    table.identify(Depth::Fast, &mut |_, _| {});
    assert!(table.identified().contains(&1204));
    table.identify(Depth::Fast, &mut |_, _| {});
    assert_eq!(table.identified(), []);
    assert_eq!(table.tie(&[1204, 1205]), [1205], "nothing waits for it");

    fs::write(copy.path().join("1204/stat"), stat).unwrap();
    table.scan(Depth::Fast);
    table.identify(Depth::Fast, &mut |_, _| {});
    assert_eq!(table.identified(), [1204]);
}

#[test]
fn identities_are_asked_for_twice_and_then_of_those_that_are_spared_for_them() {
    let mut table = Table::of(&tree("good"));
    let own = [1, 800, 1200, 1204, 1205, 1300, 1400];
    for want in [&own[..], &own, &[800]] {
        table.scan(Depth::Full);
        table.identify(Depth::Full, &mut |seen, dossier| {
            dossier.critical_below_bytes = u64::from(seen.id.pid == 800);
        });
        assert_eq!(table.identified(), want);
        table.survey(Depth::Fast);
        assert_eq!(table.identified(), []);
    }
    assert_eq!(table.dossier(800).critical_below_bytes, 1, "it stays so");
}

#[test]
fn what_is_asked_is_not_asked_again_before_it_is_answered() {
    let mut table = Table::of(&tree("good"));
    table.scan(Depth::Full);
    let mut asked = Vec::new();
    table.table.ask_for_identities(Depth::Full, &mut |request| {
        if asked.len() < 3 {
            asked.push(request);
        }
        asked.len() < 3
    });
    assert_eq!(asked.len(), 3);
    let mut more = Vec::new();
    table.table.ask_for_identities(Depth::Full, &mut |request| {
        more.push(request.id.pid);
        true
    });
    assert_eq!(
        more,
        [1200, 1204, 1205, 1300, 1400],
        "the third was refused"
    );
}

#[test]
fn an_answer_about_an_earlier_process_of_the_same_pid_is_not_taken() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.survey(Depth::Full);
    let late = table.asked.iter().find(|request| request.id.pid == 1204);
    let late = survey(
        copy.path(),
        late.unwrap(),
        &Scopes::default(),
        &mut |_| {},
        &|_, _| false,
    );
    copy.change("1204/stat", " 20150 ", " 99999 ");
    table.scan(Depth::Full);
    assert!(table.table.apply(&late).is_none());
}

#[test]
fn a_process_that_becomes_something_else_is_introduced_and_identified_again() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    for _ in 0..2 {
        table.scan(Depth::Full);
        table.identify(Depth::Full, &mut |seen, dossier| {
            dossier.critical_below_bytes = u64::from(seen.id.pid != 1400);
            dossier.preference = Preference::Avoid;
            dossier.protection = Some(Protection::Ours);
        });
    }

    copy.change("1200/stat", "(bash)", "(vi)");
    copy.change("1204/status", "Uid:\t1000", "Uid:\t1001");
    table.survey(Depth::Fast);
    assert_eq!(table.introduced, [], "a fast scan does not look");
    assert_eq!(table.identified(), []);
    table.scan(Depth::Full);
    assert_eq!(table.introduced, [1200, 1204]);
    let dossier = table.dossier(1204);
    assert_eq!(
        dossier.critical_below_bytes, 0,
        "as if nothing were known of it"
    );
    assert_eq!(dossier.preference, Preference::None);
    assert_eq!(dossier.protection, None);
    assert_eq!(table.dossier(800).critical_below_bytes, 1);
    table.identify(Depth::Fast, &mut |_, _| {});
    assert_eq!(table.identified(), [1200, 1204]);
}

#[test]
fn a_fast_scan_sees_memory_newcomers_and_who_is_gone() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.survey(Depth::Full);

    copy.change("1204/statm", "100000", "150000");
    copy.duplicate(1205, 1206);
    copy.duplicate(1205, 900);
    copy.duplicate(1205, 7);
    copy.remove("1200");
    let scan = table.scan(Depth::Fast);
    assert_eq!(
        table.pids(),
        [1, 2, 7, 800, 900, 1204, 1205, 1206, 1300, 1400]
    );
    assert_eq!(table.introduced, [7, 900, 1206]);
    assert_eq!((scan.processes, scan.newcomers, scan.gone), (10, 3, 1));
    assert_eq!(table.get(1204).anon_bytes, pages(125_000));
    // All that counts of a newcomer is known at once.
    let newcomer = table.get(1206);
    assert_eq!(newcomer.uid, 1000);
    assert_eq!(newcomer.anon_bytes, pages(65_000));
    assert_eq!(newcomer.swap_bytes, 1024 * KIB);
    assert_eq!(newcomer.oom_score, None);
    assert_eq!(newcomer.session, table.get(1204).session, "its parent's");
    assert!(newcomer.login);
    assert_eq!(table.table.refresh_score(1206).unwrap(), Some(790));
    assert_eq!(table.get(1206).oom_score, Some(790));
}

#[test]
fn what_the_daemon_has_raised_is_shown_as_it_was_and_so_are_its_children() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.survey(Depth::Full);
    let shown = |table: &support::Table, pid| table.get(pid).oom_score_adj;
    let set = |pid: u32, is: &str| copy.write(&format!("{pid}/oom_score_adj"), &format!("{is}\n"));
    assert_eq!(shown(&table, 1204), 100);

    table.table.disregard(&[500, 1000]);
    set(1204, "500");
    set(1200, "-17");
    // It is told to be in 1204's line.
    copy.duplicate(1204, 1500);
    copy.change("1500/stat", "R 1200 1204", "R 1204 1204");
    copy.duplicate(1400, 1501);
    set(1501, "1000");
    table.survey(Depth::Full);
    assert_eq!(shown(&table, 1204), 100);
    assert_eq!(shown(&table, 1200), -17, "not ours");
    assert_eq!(shown(&table, 1500), 100, "its parent's");
    assert_eq!(shown(&table, 1501), 1000, "its own");
    set(1204, "1000");
    table.survey(Depth::Full);
    assert_eq!(shown(&table, 1204), 100);

    // Not before it is another again is that over.
    table.table.disregard(&[]);
    table.survey(Depth::Full);
    assert_eq!(shown(&table, 1204), 100);
    set(1204, "100");
    table.survey(Depth::Full);
    set(1204, "1000");
    table.survey(Depth::Full);
    assert_eq!(shown(&table, 1204), 1000);

    // Protected is protected, and what was lifted is heard.
    table.table.disregard(&[500, 1000]);
    set(1204, "-1000");
    table.survey(Depth::Full);
    assert_eq!(shown(&table, 1204), -1000);
    set(1204, "1000");
    table.survey(Depth::Full);
    assert_eq!(shown(&table, 1204), 1000);
}

#[test]
fn a_process_first_seen_before_its_execve_is_known_by_its_own_name_at_the_next_scan() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.survey(Depth::Full);
    copy.duplicate(1205, 1206);
    table.scan(Depth::Fast);
    let before = table.get(1206).name.to_string();
    copy.change("1206/stat", &format!("({before})"), "(renamed)");
    table.scan(Depth::Fast);
    assert_eq!(table.get(1206).name.to_string(), "renamed");
    // From then on a fast scan leaves the name alone.
    copy.change("1206/stat", "(renamed)", "(again)");
    table.scan(Depth::Fast);
    assert_eq!(table.get(1206).name.to_string(), "renamed");
}

/// An executable has so much code as long as it runs, which `statm` shows.
#[test]
fn what_executes_something_else_is_another_at_the_next_scan() {
    let copy = tied();
    let mut table = copy.table();
    table.survey(Depth::Full);
    table.tie(&[1204]);
    assert_eq!(table.dossier(1204).pause, Pausing::Allowed);
    copy.change("1204/stat", "(a) R (b)", "(service)");
    copy.change("1204/statm", " 10 0", " 77 0");
    table.scan(Depth::Fast);
    assert_eq!(table.introduced, [1204]);
    assert_eq!(table.get(1204).name.to_string(), "service");
    assert_eq!(table.dossier(1204).pause, Pausing::default());
    table.scan(Depth::Fast);
    assert_eq!(table.introduced, []);
}

#[test]
fn at_the_first_scan_only_what_has_just_started_is_read_a_second_time() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.scan(Depth::Fast);
    // They started 18 s and no time before the youngest.
    copy.change("1205/stat", "(python3)", "(renamed)");
    copy.change("1400/stat", "(headless)", "(renamed)");
    table.scan(Depth::Fast);
    assert_eq!(table.get(1205).name.to_string(), "python3");
    assert_eq!(table.get(1400).name.to_string(), "renamed");
}

#[test]
fn a_newcomer_is_in_its_parents_cgroup_until_its_own_was_read() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.survey(Depth::Full);
    copy.duplicate(1205, 1206);
    copy.write("1206/cgroup", "0::/system.slice/job.service\n");
    table.scan(Depth::Fast);
    assert!(table.get(1206).login);
    table.identify(Depth::Fast, &mut |_, _| {});
    assert!(!table.get(1206).login);
}

#[test]
fn whoever_is_moved_right_after_its_start_is_followed() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.survey(Depth::Full);
    copy.write("1204/cgroup", "0::/system.slice/job.service\n");
    table.survey(Depth::Full);
    assert!(!table.get(1204).login);
}

#[test]
fn a_held_scan_reads_memory_alone() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.scan(Depth::Full);
    copy.change("1204/statm", "100000", "150000");
    copy.change("1204/status", "2048 kB", "4096 kB");
    copy.duplicate(1205, 1206);
    let scan = table.scan(Depth::Held);
    assert_eq!(table.pids(), ALL);
    assert_eq!((scan.processes, scan.newcomers), (8, 0));
    assert_eq!(table.get(1204).rss_bytes, pages(150_000));
    assert_eq!(table.get(1204).swap_bytes, 2048 * KIB);
}

#[test]
fn held_scans_allocate_nothing_and_neither_do_fast_ones_without_newcomers() {
    let mut table = full("good");
    for depth in [Depth::Held, Depth::Fast] {
        let counted = allocation_counter::measure(|| {
            table.table.scan(depth).unwrap();
        });
        assert_eq!(counted.count_total, 0, "{depth:?}");
    }
}

#[test]
fn newcomers_find_room_after_a_full_scan() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.scan(Depth::Full);
    for pid in 5000..5008 {
        copy.duplicate(1205, pid);
    }
    let counted = allocation_counter::measure(|| {
        let scan = table.table.scan(Depth::Fast).unwrap();
        assert_eq!(scan.newcomers, 8);
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_pid_that_is_used_again_is_another_process() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.table.scan(Depth::Full).unwrap();
    for (_, dossier) in table.table.unclassified() {
        dossier.critical_below_bytes = 1;
    }
    copy.change("1204/stat", " 20150 ", " 99999 ");
    let scan = table.scan(Depth::Full);
    assert_eq!(table.introduced, [1204]);
    assert_eq!((scan.newcomers, scan.gone), (1, 1));
    assert_eq!(table.get(1204).id.start_ticks, 99_999);
    assert_eq!(table.dossier(1204).critical_below_bytes, 0);
}

#[test]
fn what_is_kept_stays_as_it_was_seen_until_another_has_its_pid() {
    for depth in [Depth::Fast, Depth::Full] {
        let copy = Copy::of("good");
        let mut table = copy.table();
        table.survey(Depth::Full);
        let seen = table.get(1204);
        copy.remove("1204");
        table.table.keep([None, Some(seen.id)]);
        assert_eq!(table.scan(depth).gone, 0);
        assert_eq!(table.get(1204), seen);

        copy.duplicate(1205, 1204);
        copy.change("1204/stat", "1205 ", "1204 ");
        // Of a file that is held a tree goes on to tell, as procfs does not.
        let scan = table.scan(Depth::Full);
        assert_eq!((scan.newcomers, scan.gone), (1, 1));
        assert_eq!(table.pids(), ALL);

        let kept = table.get(1204);
        assert_ne!(kept.id, seen.id);
        copy.remove("1204");
        table.table.keep([Some(kept.id), None]);
        assert_eq!(table.scan(depth).gone, 0);
        table.table.keep([None; 2]);
        assert_eq!(table.scan(depth).gone, 1);
        assert!(table.table.get(1204).is_none());
    }
}

#[test]
fn what_vanishes_while_it_is_looked_at_is_no_error() {
    for depth in [Depth::Fast, Depth::Full] {
        let mut table = Table::of(&tree("vanishing"));
        let scan = table.scan(depth);
        assert_eq!(table.pids(), [1], "{depth:?}");
        assert_eq!((scan.newcomers, scan.unread), (1, 0));
    }
}

#[test]
fn a_known_process_that_vanishes_half_way_is_gone() {
    for file in ["stat", "status", "oom_score_adj"] {
        let copy = Copy::of("good");
        let mut table = copy.table();
        table.scan(Depth::Full);
        copy.remove(&format!("1204/{file}"));
        let scan = table.scan(Depth::Full);
        assert_eq!(scan.gone, 1, "{file}");
        assert!(table.table.get(1204).is_none(), "{file}");
    }
}

#[test]
fn a_machine_without_processes_has_none() {
    let mut table = full("absent");
    assert!(table.pids().is_empty());
    assert_eq!(table.scan(Depth::Held).processes, 0);
}

#[test]
fn a_held_scan_before_any_other_sees_nobody() {
    let mut table = Table::of(&tree("good"));
    assert_eq!(table.scan(Depth::Held).processes, 0);
}

#[test]
fn a_root_that_is_absent_is_an_error_that_names_it() {
    let mut table = Table::of(&tree("nowhere"));
    let err = table.try_scan(Depth::Fast).unwrap_err();
    assert!(chain(&err).contains("nowhere`: No such file"), "{err:?}");
}

#[test]
fn empty_and_cut_files_of_a_process_are_named() {
    for case in ["empty", "cut", "malformed"] {
        let err = Table::of(&tree(case)).try_scan(Depth::Full).unwrap_err();
        let told = chain(&err);
        assert!(
            told.contains(&format!("{case}/1204/stat`, line 1")),
            "{told}"
        );
    }
}

/// What it has in swap is not worth losing sight of the process for.
#[test]
fn a_process_whose_swap_cannot_be_read_is_taken_in_without() {
    let copy = Copy::of("good");
    copy.write("1200/status", "Name:\tbash\nUid:\t1\t1\t1\t1\nVmSwap:\t7\n");
    let mut table = copy.table();
    table.scan(Depth::Full);
    let process = table.get(1200);
    assert_eq!((process.uid, process.swap_bytes), (1, 0));
}

#[test]
fn a_malformed_file_is_named_and_all_others_are_read() {
    for (file, text, want) in [
        ("stat", "1200 (bash S\n", "`, line 1: expected `<pid>"),
        ("statm", "2000 10", "`, line 1: expected `<size>"),
        ("statm", "", "`, line 1: expected `<size>"),
        (
            "status",
            "Name:\tbash\nUid:\t\n",
            "`, line 2: expected `Uid:",
        ),
        (
            "status",
            "Name:\tbash\n",
            "` has no line that begins with `Uid:`",
        ),
        (
            "oom_score_adj",
            "-1001\n",
            "`, line 1: expected a number from -1000 to 1000, found `-1001\\n`",
        ),
        (
            "oom_score_adj",
            "",
            "`, line 1: expected a number from -1000",
        ),
    ] {
        let copy = Copy::of("good");
        let good = Table::of(copy.path()).try_scan(Depth::Full);
        assert!(good.is_ok());
        copy.write(&format!("1200/{file}"), text);
        let mut table = copy.table();
        let told = chain(&table.try_scan(Depth::Full).unwrap_err());
        assert!(told.contains(&format!("/1200/{file}{want}")), "{told}");
        assert_eq!(table.pids(), [1, 2, 800, 1204, 1205, 1300, 1400], "{file}");
    }
}

#[test]
fn a_file_that_was_good_and_is_malformed_is_named_too() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.scan(Depth::Full);
    copy.write("1200/statm", "?");
    for depth in [Depth::Held, Depth::Fast] {
        let err = table.try_scan(depth).unwrap_err();
        assert!(matches!(err, ReadError::Malformed { .. }), "{depth:?}");
        assert_eq!(table.pids().len(), 7);
    }
    copy.write("1200/statm", "2000 1000 700 10 0 90 0\n");
    table.scan(Depth::Fast);
    assert_eq!(table.pids(), ALL);
}

#[test]
fn a_badness_that_makes_no_sense_is_not_shown_and_costs_nothing_else() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.scan(Depth::Full);
    for text in ["2001\n", "-1\n", ""] {
        copy.write("1200/oom_score", text);
        assert!(table.table.refresh_score(1200).is_err(), "{text:?}");
        assert_eq!(table.get(1200).oom_score, None, "{text:?}");
        assert_eq!(table.pids(), ALL);
    }
}

#[test]
fn a_badness_is_read_when_it_is_asked_for_and_stays_when_the_process_is_gone() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.scan(Depth::Full);
    assert_eq!(table.table.refresh_score(1204).unwrap(), Some(812));
    copy.write("1204/oom_score", "813\n");
    table.scan(Depth::Full);
    assert_eq!(table.get(1204).oom_score, Some(812));
    assert_eq!(table.table.refresh_score(1204).unwrap(), Some(813));
    copy.remove("1204");
    assert_eq!(table.table.refresh_score(1204).unwrap(), None);
    assert_eq!(table.get(1204).oom_score, Some(813));
}

#[test]
fn a_process_with_a_file_that_cannot_be_read_is_left_out() {
    for file in ["stat", "statm", "status", "oom_score_adj"] {
        let copy = Copy::of("good");
        copy.remove(&format!("1200/{file}"));
        fs::create_dir(copy.path().join("1200").join(file)).unwrap();
        let mut table = copy.table();
        for depth in [Depth::Fast, Depth::Full, Depth::Fast] {
            let told = chain(&table.try_scan(depth).unwrap_err());
            let want = format!("/1200/{file}`: Is a directory");
            assert!(told.contains(&want), "{told}");
            assert_eq!(table.pids(), [1, 2, 800, 1204, 1205, 1300, 1400]);
        }
    }
}

#[test]
fn where_processes_cannot_be_listed_those_held_are_looked_at() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.scan(Depth::Full);
    copy.write("1204/statm", "200000 90000 25000 10 0 90 0\n");
    // What is open stays; the directory cannot be listed any more.
    fs::remove_dir_all(copy.path()).unwrap();
    table.try_scan(Depth::Fast).unwrap_err();
    assert_eq!(table.pids(), ALL);
    assert_eq!(table.get(1204).rss_bytes, pages(90_000));
}

/// As much as the tree's processes really have.
fn memory(anon_kib: u64) -> Memory {
    Memory {
        total_bytes: 4 << 30,
        anon_bytes: anon_kib * KIB,
        ..Memory::default()
    }
}

#[test]
fn a_sum_that_fits_is_left_alone() {
    let mut table = full("good");
    let before = table.table.processes().to_vec();
    assert_eq!(table.correct_families(&memory(10_000_000)), 0);
    assert_eq!(table.table.processes(), before);
}

#[test]
fn pages_of_a_forked_family_count_once() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.survey(Depth::Full);
    // Parent and child; the others have no relatives.
    assert_eq!(table.correct_families(&memory(200_000)), 2);
    let (parent, child) = (table.get(1204), table.get(1205));
    // What statm counts differs from what was measured if pages are not 4 KiB;
    // the ratio holds nevertheless up to what was measured.
    let expected = |counted_bytes: u64, anon_kib: u64, own_kib: u64| match counted_bytes
        .checked_sub(anon_kib * KIB)
    {
        Some(more) => own_kib * KIB + more,
        None => counted_bytes * own_kib / anon_kib,
    };
    assert_eq!(parent.anon_bytes, expected(pages(75_000), 300_000, 160_000));
    assert_eq!(child.anon_bytes, expected(pages(65_000), 260_000, 130_000));
    assert_eq!(parent.swap_bytes, 1024 * KIB);
    assert_eq!(child.swap_bytes, 512 * KIB);
    assert_eq!(parent.rss_bytes, pages(100_000), "as the kernel counts it");

    // It is applied to later readings; what comes on top is its own.
    copy.change("1204/statm", "100000", "110000");
    for depth in [Depth::Held, Depth::Fast, Depth::Full] {
        table.scan(depth);
        let want = expected(pages(85_000), 300_000, 160_000);
        assert_eq!(table.get(1204).anon_bytes, want, "{depth:?}");
        assert_eq!(table.get(1204).swap_bytes, 1024 * KIB);
    }
}

#[test]
fn one_memory_of_two_processes_counts_once_until_one_executes_another_program() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.survey(Depth::Full);
    let held = table.get(1205).held_bytes();
    assert!(held > 0);
    // Their mappings have the same size; what else does in the tree holds little.
    assert!(
        table
            .find_one_memory(&memory(0), &[(1205, 1204)])
            .contains(&1205)
    );
    let shows = |table: &Table| {
        let seen = table.get(1205);
        (seen.memory_of.map(|id| id.pid), seen.held_bytes())
    };
    assert_eq!(shows(&table), (Some(1204), 0));
    assert!(table.get(1204).held_bytes() > held);
    // It is asked once; and both grow.
    assert_eq!(table.find_one_memory(&memory(0), &[]), []);
    copy.write("1204/statm", "210000 100000 25000 10 0 90 0\n");
    table.scan(Depth::Fast);
    assert_eq!(shows(&table), (Some(1204), 0));
    copy.write("1205/statm", "20000 9000 2500 10 0 90 0\n");
    table.scan(Depth::Fast);
    let (memory_of, held) = shows(&table);
    assert_eq!(memory_of, None);
    assert!(held >= pages(6_500));
}

#[test]
fn one_memory_counts_for_the_other_once_the_first_has_ended() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.survey(Depth::Full);
    let held = table.get(1205).held_bytes();
    table.find_one_memory(&memory(0), &[(1205, 1204)]);
    copy.remove("1204");
    table.scan(Depth::Fast);
    assert_eq!(table.get(1205).memory_of, None);
    assert_eq!(table.get(1205).held_bytes(), held);
}

#[test]
fn of_equal_size_is_not_yet_of_one_memory() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.survey(Depth::Full);
    assert!(table.find_one_memory(&memory(0), &[]).contains(&1205));
    assert_eq!(table.get(1205).memory_of, None);
    assert!(table.get(1205).held_bytes() > 0);
}

#[test]
fn a_measurement_is_made_again_one_a_call() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.survey(Depth::Full);
    table.correct_families(&memory(200_000));
    // Copy on write has given both pages of their own.
    copy.change("1204/smaps_rollup", "160000", "300000");
    copy.change("1205/smaps_rollup", "130000", "260000");
    for _ in 0..2 {
        assert_eq!(table.correct_families(&memory(10_000_000)), 1);
    }
    assert_eq!(table.get(1204).anon_bytes, pages(75_000));
    assert_eq!(table.get(1205).anon_bytes, pages(65_000));
}

#[test]
fn what_cannot_be_measured_stays_as_it_is_counted() {
    let copy = Copy::of("good");
    copy.remove("1204/smaps_rollup");
    copy.change("1205/smaps_rollup", "Pss_Anon:", "Pss_Odd:");
    let mut table = copy.table();
    table.survey(Depth::Full);
    assert_eq!(table.correct_families(&memory(200_000)), 2);
    assert_eq!(table.get(1204).anon_bytes, pages(75_000));
    assert_eq!(table.get(1205).anon_bytes, pages(65_000));
}

#[test]
fn shared_memory_counts_where_the_last_mapping_is_held() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.survey(Depth::Full);
    assert_eq!(table.measure_shared_memory(&memory(0)), 2);
    // The memfd; the anonymous mapping is another's as well.
    assert_eq!(table.get(1204).shmem_bytes, 2500 * KIB);
    assert_eq!(table.get(1204).common_with, None);
    assert_eq!(table.get(1205).shmem_bytes, 0);
    // It is never more than what it has in shared memory now.
    copy.change("1204/status", "80000 kB", " 1000 kB");
    table.scan(Depth::Full);
    assert_eq!(table.get(1204).shmem_bytes, 1000 * KIB);
}

/// The `smaps` of a process that maps what 1204 maps.
fn smaps_of_a_child(rss_kib: u64, pss_kib: u64) -> String {
    let mapping = "7f0000000000-7f0001000000 rw-s 00000000 00:01 2049   /dev/zero (deleted)";
    format!("{mapping}\nRss: {rss_kib} kB\nPss: {pss_kib} kB\n")
}

#[test]
fn shared_memory_counts_by_parts_where_all_that_map_it_are_known() {
    let copy = Copy::of("good");
    copy.write("1205/smaps", &smaps_of_a_child(6384, 3192));
    copy.change("1205/status", "       0 kB", "    6384 kB");
    let mut table = copy.table();
    table.survey(Depth::Full);
    // Its child is asked too, whatever it holds.
    assert_eq!(table.measure_shared_memory(&memory(0)), 2);
    let shown = |table: &Table, pid| {
        let seen = table.get(pid);
        let with = seen.common_with.map(|id| id.pid);
        (seen.shmem_bytes / KIB, seen.common_bytes / KIB, with)
    };
    assert_eq!(shown(&table, 1204), (15_692, 13_192, Some(1204)));
    assert_eq!(shown(&table, 1205), (3192, 3192, Some(1204)));

    // One that has touched nothing of it keeps it as well.
    copy.write("1205/smaps", &smaps_of_a_child(0, 0));
    copy.change("1204/smaps", "13192 kB", "16384 kB");
    table.measure_shared_memory(&memory(0));
    assert_eq!(shown(&table, 1204), (18_884, 16_384, Some(1204)));
    assert_eq!(shown(&table, 1205), (0, 0, Some(1204)));

    // A third that is not known has touched all of it.
    copy.write("1205/smaps", &smaps_of_a_child(6384, 2128));
    copy.change("1204/smaps", "16384 kB\nShared", " 7128 kB\nShared");
    table.measure_shared_memory(&memory(0));
    assert_eq!(shown(&table, 1204), (2500, 0, None));
    assert_eq!(shown(&table, 1205), (0, 0, None));

    // All others have ended, and it was measured again.
    copy.change("1204/smaps", " 7128 kB\nShared", "16384 kB\nShared");
    copy.remove("1205");
    table.scan(Depth::Full);
    table.measure_shared_memory(&memory(0));
    assert_eq!(shown(&table, 1204), (18_884, 0, None));
}

#[test]
fn what_holds_much_is_measured_as_soon_as_it_is_known_and_what_holds_little_in_turn() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.scan(Depth::Fast);
    let memory = memory(200_000);
    assert!(table.table.awaits_measurements(&memory), "it is not known");
    assert_eq!(table.measure(&memory), []);
    table.identify(Depth::Fast, &mut |_, _| {});
    // 1205 holds as much, and may map what its parent maps.
    let parent = ProcessId {
        pid: 1204,
        start_ticks: 20_150,
    };
    let all = [
        (1205, What::SameMemory(parent)),
        (1204, What::OwnMemory),
        (1205, What::OwnMemory),
        (1204, What::SharedMemory),
        (1205, What::SharedMemory),
    ];
    assert_eq!(table.measure(&memory), all);
    assert!(!table.table.awaits_measurements(&memory));
    assert!(!table.table.is_measuring(&memory));
    table.survey(Depth::Fast);
    assert_eq!(table.measure(&memory), [], "nothing is new");

    // On a machine of 1 TiB they hold little.
    let large = Memory {
        total_bytes: 1 << 40,
        ..memory
    };
    let mut table = copy.table();
    table.survey(Depth::Full);
    assert!(!table.table.awaits_measurements(&large));
    assert_eq!(table.measure(&large), []);
    table.table.measure_again(&large);
    assert!(table.table.is_measuring(&large));
    let own = [(1204, What::OwnMemory), (1205, What::OwnMemory)];
    assert_eq!(table.measure(&large), own);
    assert!(!table.table.is_measuring(&large));
}

#[test]
fn what_one_call_may_not_ask_for_is_asked_for_in_the_next() {
    let copy = Copy::of("good");
    for pid in [1204, 1205] {
        let pages_of_a_gib = (1 << 30) / page_size();
        let shared = pages_of_a_gib - 75_000;
        let statm = format!("300000 {pages_of_a_gib} {shared} 10 0 90 0\n");
        copy.write(&format!("{pid}/statm"), &statm);
    }
    let mut table = copy.table();
    table.survey(Depth::Full);
    let memory = memory(200_000);
    for pid in [1204, 1205] {
        assert!(table.table.awaits_measurements(&memory), "{pid}");
        let asked = table.measure(&memory);
        assert!(asked.contains(&(pid, What::OwnMemory)), "{asked:?}");
        assert!(asked.contains(&(pid, What::SharedMemory)), "{asked:?}");
    }
    assert!(!table.table.is_measuring(&memory));
    assert_eq!(table.measure(&memory), []);
}

#[test]
fn where_a_rollup_does_not_show_what_statm_counts_it_is_not_measured_again_and_again() {
    let copy = Copy::of("good");
    copy.change("1204/smaps_rollup", "300000 kB", "     0 kB");
    let mut table = copy.table();
    table.survey(Depth::Full);
    table.measure(&memory(200_000));
    assert_eq!(table.measure(&memory(200_000)), []);
    assert!(!table.table.is_measuring(&memory(200_000)));
}

#[test]
fn what_is_asked_and_not_answered_is_awaited_and_not_asked_again() {
    let mut table = full("good");
    let memory = memory(200_000);
    for count in [2, 0] {
        let mut asked = 0;
        table.table.ask_for_families(&memory, &mut |_| {
            asked += 1;
            true
        });
        assert_eq!(asked, count);
        assert!(table.table.awaits_measurements(&memory));
    }
    // The reader does not come back, and is replaced.
    let id = table.get(1204).id;
    table.table.give_up_on(&Inquiry {
        id,
        what: What::OwnMemory,
        rss_bytes: 0,
    });
    let mut asked = Vec::new();
    table.table.ask_for_families(&memory, &mut |request| {
        asked.push(request.id.pid);
        true
    });
    assert_eq!(asked, [], "of that user's nothing is measured");
}

#[test]
fn asking_for_measurements_allocates_nothing() {
    let mut table = full("good");
    let memory = memory(200_000);
    let mut asked = 0;
    let counted = allocation_counter::measure(|| {
        let mut ask = |_| {
            asked += 1;
            true
        };
        assert!(table.table.awaits_measurements(&memory));
        table.table.ask_for_one_memory(&memory, &mut ask);
        table.table.ask_for_families(&memory, &mut ask);
        table.table.ask_for_shared_memory(&memory, &mut ask);
        assert!(table.table.is_measuring(&memory));
    });
    assert_eq!(counted.count_total, 0);
    assert_eq!(asked, 5);
}

#[test]
fn shared_memory_that_is_mapped_after_the_first_look_is_seen_by_a_fast_scan() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.survey(Depth::Full);
    while table.table.awaits_measurements(&memory(0)) {
        table.measure(&memory(0));
    }
    copy.write(
        "1205/smaps",
        &smaps_of_a_child(90_000, 90_000).replace("2049", "7"),
    );
    copy.change("1205/status", "       0 kB", "   90000 kB");
    copy.write("1205/statm", "230000 120000 55000 10 0 90 0\n");
    table.survey(Depth::Fast);
    assert_eq!(table.measure(&memory(0)), [(1205, What::SharedMemory)]);
    assert_eq!(table.get(1205).shmem_bytes, 90_000 * KIB);
}

#[test]
fn what_was_measured_before_a_relative_was_forked_is_measured_again() {
    let copy = Copy::of("good");
    let mut table = copy.table();
    table.survey(Depth::Full);
    table.measure(&memory(200_000));
    copy.duplicate(1205, 1206);
    copy.change("1206/stat", "1205 (", "1206 (");
    copy.change("1206/stat", " 20200 ", " 99999999999 ");
    for (pid, own) in [(1204, "160000"), (1205, "130000"), (1206, "130000")] {
        copy.change(&format!("{pid}/smaps_rollup"), own, "100000");
    }
    table.survey(Depth::Fast);
    let own = |asked: Vec<(u32, What)>| {
        let own = asked.into_iter().filter(|it| it.1 == What::OwnMemory);
        own.map(|(pid, _)| pid).collect::<Vec<_>>()
    };
    assert_eq!(own(table.measure(&memory(200_000))), [1206]);
    assert!(table.table.awaits_measurements(&memory(200_000)));
    assert_eq!(own(table.measure(&memory(200_000))), [1204, 1205]);
    assert_eq!(own(table.measure(&memory(200_000))), []);
    assert!(table.get(1204).anon_bytes < pages(75_000) * 2 / 5);
}

#[test]
fn parts_are_measured_again_once_another_maps_it_too_or_does_not_any_longer() {
    let copy = Copy::of("good");
    copy.write("1205/smaps", &smaps_of_a_child(0, 0));
    copy.change("1204/smaps", "13192 kB", "16384 kB");
    let mut table = copy.table();
    table.survey(Depth::Full);
    table.measure_shared_memory(&memory(0));
    while table.table.is_measuring(&memory(0)) {
        table.measure(&memory(0));
    }
    assert_eq!(table.get(1204).common_bytes, 16_384 * KIB);

    // Its child touches all of it.
    copy.write("1205/smaps", &smaps_of_a_child(16_384, 8192));
    copy.change("1204/smaps", "16384 kB\nShared", " 8192 kB\nShared");
    copy.change("1205/status", "       0 kB", "   90000 kB");
    table.survey(Depth::Full);
    let shared = |pid| (pid, What::SharedMemory);
    let first = table.measure(&memory(0));
    assert!(first.contains(&shared(1205)), "{first:?}");
    assert!(!first.contains(&shared(1204)), "{first:?}");
    assert_eq!(table.measure(&memory(0)), [shared(1204)]);
    assert_eq!(table.get(1204).common_bytes, 8192 * KIB);
    assert_eq!(table.measure(&memory(0)), []);

    // And ends.
    copy.remove("1205");
    copy.change("1204/smaps", " 8192 kB\nShared", "16384 kB\nShared");
    table.survey(Depth::Fast);
    assert_eq!(table.get(1204).shmem_bytes, 2500 * KIB);
    assert_eq!(table.measure(&memory(0)), [shared(1204)]);
    assert_eq!(table.get(1204).shmem_bytes, 18_884 * KIB);
    assert_eq!(table.measure(&memory(0)), []);
}

#[test]
fn what_is_not_known_yet_is_not_measured() {
    let mut table = Table::of(&tree("good"));
    table.scan(Depth::Full);
    assert_eq!(table.correct_families(&memory(200_000)), 0);
    assert_eq!(table.measure_shared_memory(&memory(0)), 0);
}

#[test]
fn a_process_that_keeps_its_reader_waiting_counts_with_all_that_it_maps() {
    let mut table = full("good");
    let mut asked = Vec::new();
    table.table.measure_again(&memory(0));
    table
        .table
        .ask_for_shared_memory(&memory(0), &mut |request| {
            asked.push(request);
            true
        });
    table.table.give_up_on(&asked[0]);
    assert_eq!(table.get(1204).shmem_bytes, 80_000 * KIB, "at once");
    assert_eq!(table.measure_shared_memory(&memory(0)), 0);
    assert_eq!(table.get(1204).shmem_bytes, 80_000 * KIB);
    assert_eq!(
        table.correct_families(&memory(200_000)),
        0,
        "its family is the same user's"
    );
    assert_eq!(
        table.get(1204).anon_bytes,
        pages(75_000),
        "what statm shows"
    );
    table.survey(Depth::Full);
    let asked = table.identified();
    assert!(!asked.contains(&1204), "not even that is asked again");
    assert!(asked.contains(&1205), "what takes no lock of a process is");
}

#[test]
fn of_root_the_one_process_alone_is_given_up_on() {
    let copy = Copy::of("good");
    for pid in [1204, 1205] {
        copy.change(&format!("{pid}/status"), "Uid:\t1000", "Uid:\t0");
    }
    let mut table = copy.table();
    table.survey(Depth::Full);
    let mut asked = Vec::new();
    table.table.measure_again(&memory(200_000));
    table
        .table
        .ask_for_families(&memory(200_000), &mut |request| {
            asked.push(request);
            true
        });
    table.table.give_up_on(&asked[0]);
    let others = asked.len() - 1;
    assert_eq!(table.correct_families(&memory(200_000)), others);
}

#[test]
fn in_user_namespaces_of_their_own_all_are_one_user() {
    let copy = Copy::of("good");
    for (pid, namespace) in [("self", 1), ("1204", 2), ("1205", 3)] {
        fs::create_dir_all(copy.path().join(pid).join("ns")).unwrap();
        let link = copy.path().join(pid).join("ns/user");
        std::os::unix::fs::symlink(format!("user:[{namespace}]"), link).unwrap();
    }
    copy.change("1205/status", "Uid:\t1000", "Uid:\t100007");
    let mut table = copy.table();
    table.survey(Depth::Full);
    let mut asked = Vec::new();
    table.table.measure_again(&memory(200_000));
    table
        .table
        .ask_for_families(&memory(200_000), &mut |request| {
            asked.push(request);
            true
        });
    assert_eq!(asked.len(), 2);
    table.table.give_up_on(&asked[0]);
    assert_eq!(table.correct_families(&memory(200_000)), 0);
}

/// Who may not be measured may be matched: by all but what is in its memory.
#[test]
fn one_process_that_keeps_its_reader_waiting_ends_no_rules() {
    let copy = Copy::of("good");
    copy.write("1205/cmdline", "job\0");
    let mut table = copy.table();
    table.survey(Depth::Full);
    let labels = |table: &mut Table| {
        let mut asked = Vec::new();
        assert!(table.table.ask_for_labels(&mut |request| {
            asked.push((request.id.pid, request.what));
            true
        }));
        asked
    };
    let all: Vec<_> = labels(&mut table);
    assert!(all.contains(&(1205, What::Label)));
    let stuck = Inquiry {
        id: table.get(1204).id,
        what: What::Label,
        rss_bytes: 0,
    };
    table.table.give_up_on(&stuck);
    let others = labels(&mut table);
    assert_eq!(others.len(), all.len(), "all are asked about again");
    for (pid, what) in others {
        let want = match table.get(pid).uid {
            1000 => What::LabelUnread,
            _ => What::Label,
        };
        assert_eq!(what, want, "{pid}");
    }
    // What is read then is what no process can hold back.
    for (what, want) in [(What::Label, "job"), (What::LabelUnread, "")] {
        let request = Inquiry {
            id: table.get(1205).id,
            what,
            rss_bytes: 0,
        };
        let mut found = None;
        let survey = portray(copy.path(), &request, &mut |portrait| {
            found = Some((portrait.command_line(), portrait.credentials().is_some()));
            Labelled::ForGood
        });
        assert_eq!(found, Some((want.into(), true)));
        assert!(survey.is_label());
    }
    // Until that reader is back: they are measured, and all is looked at.
    assert_eq!(table.correct_families(&memory(200_000)), 0);
    table.table.take_up_again(stuck.id);
    assert!(labels(&mut table).contains(&(1204, What::Label)));
    assert!(table.correct_families(&memory(200_000)) > 0);
}

#[test]
fn what_cannot_even_be_identified_is_not_labelled() {
    let mut table = full("good");
    let stuck = Inquiry {
        id: table.get(1204).id,
        what: What::Identity,
        rss_bytes: 0,
    };
    table.table.give_up_on(&stuck);
    table.table.ask_for_labels(&mut |request| {
        assert_ne!(request.id, stuck.id);
        assert_eq!(request.what, What::Label);
        true
    });
}

#[test]
fn once_nothing_is_measured_shared_memory_counts_in_full() {
    let mut table = full("good");
    table.table.measure_nothing(true);
    assert_eq!(table.measure_shared_memory(&memory(0)), 0);
    assert_eq!(table.get(1204).shmem_bytes, 80_000 * KIB);
    table.table.measure_nothing(false);
    assert_ne!(table.measure_shared_memory(&memory(0)), 0);
}

#[test]
fn of_more_mappings_than_a_program_needs_no_more_are_read_and_they_do_not_hide_memory() {
    let copy = Copy::of("good");
    let smaps = fs::read_to_string(copy.path().join("1204/smaps")).unwrap();
    copy.write("1204/smaps", &smaps.repeat(1000));
    let mut table = copy.table();
    table.survey(Depth::Full);
    assert_eq!(table.measure_shared_memory(&memory(0)), 2);
    assert_eq!(table.get(1204).shmem_bytes, 80_000 * KIB);
}
