//! Which processes are in the cgroup that is guarded.

mod support;

use std::fs;
use std::path::Path;

use sensors::{Cgroup, Depth};
use support::{Copy, Table};

/// The tree of a machine with its cgroups, and the cgroup `path` of these.
fn scope(path: &str) -> (Copy, Cgroup) {
    let copy = Copy::of("good");
    let mount = copy.path().join("mount");
    fs::create_dir(copy.path().join("self")).expect("it is ours");
    let line = format!("31 25 0:26 / {} rw - cgroup2 cgroup2 rw\n", mount.display());
    copy.write("self/mountinfo", &line);
    let directory = mount.join(path.trim_start_matches('/'));
    fs::create_dir_all(&directory).expect("it is ours");
    fs::write(directory.join("memory.current"), "0\n").expect("it is ours");
    let cgroup = Cgroup::find(copy.path(), Path::new(path)).expect("it is ours");
    (copy, cgroup)
}

/// 1300 has ended, which is said of no cgroup: it is where its parent is, 1200.
fn joined(table: &Table) -> Vec<u32> {
    let joined = table.joined();
    joined.iter().map(|process| process.id.pid).collect()
}

#[test]
fn only_what_is_in_the_cgroup_or_below_is_joined_once_that_was_read() {
    for (path, want) in [
        ("/user.slice", &[1200, 1204, 1205, 1300, 1400][..]),
        (
            "/user.slice/user-1000.slice/session-3.scope",
            &[1200, 1204, 1205, 1300],
        ),
        ("/user.slice/user-1001.slice", &[1400]),
        // A name that another begins with.
        ("/user.slice/user-100", &[]),
        ("/system.slice/ssh.service", &[800]),
    ] {
        let (copy, cgroup) = scope(path);
        let mut table = Table::of_scopes(copy.path(), vec![Some(cgroup)]);
        table.scan(Depth::Full);
        assert_eq!(joined(&table), [0; 0], "it is not known yet");
        table.survey(Depth::Full);
        assert_eq!(joined(&table), want, "{path}");
    }
}

#[test]
fn a_newcomer_is_where_its_parent_is_until_it_was_looked_at() {
    let (copy, cgroup) = scope("/user.slice/user-1000.slice");
    let mut table = Table::of_scopes(copy.path(), vec![Some(cgroup)]);
    table.survey(Depth::Full);
    copy.duplicate(1204, 1500);
    copy.change("1500/stat", "1204 (", "1500 (");
    copy.change("1500/status", "Tgid:\t1204", "Tgid:\t1500");
    table.scan(Depth::Fast);
    assert_eq!(table.get(1500).parent, 1200);
    assert_eq!(joined(&table), [1200, 1204, 1205, 1300, 1500]);
    copy.write("1500/cgroup", "0::/system.slice/ssh.service\n");
    table.identify(Depth::Fast, &mut |_, _| {});
    assert_eq!(joined(&table), [1200, 1204, 1205, 1300]);
}

#[test]
fn what_is_moved_while_it_runs_is_found_in_its_turn() {
    let (copy, cgroup) = scope("/user.slice/user-1000.slice");
    let mut table = Table::of_scopes(copy.path(), vec![Some(cgroup)]);
    table.survey(Depth::Full);
    copy.write("800/cgroup", "0::/user.slice/user-1000.slice/new.scope\n");
    copy.write("1205/cgroup", "0::/user.slice-of-another\n");
    table.scan(Depth::Fast);
    let asked = table.read_members();
    assert!(asked.contains(&800) && asked.contains(&1205), "{asked:?}");
    assert!(!asked.contains(&2), "a kernel thread: {asked:?}");
    assert_eq!(joined(&table), [800, 1200, 1204, 1300]);
    // So many at a time, from where it was left.
    for pid in 2000..2030 {
        copy.duplicate(800, pid);
        copy.change(&format!("{pid}/stat"), "800 (", &format!("{pid} ("));
        let tgid = format!("Tgid:\t{pid}");
        copy.change(&format!("{pid}/status"), "Tgid:\t800", &tgid);
    }
    table.survey(Depth::Fast);
    let mut turns = Vec::new();
    for _turn in 0..3 {
        let asked = table.read_members();
        assert_eq!(asked.len(), 16);
        turns.extend(asked);
    }
    turns.sort_unstable();
    turns.dedup();
    let all = table.pids().len() - 1;
    assert_eq!(turns.len(), all, "each but the kernel thread: {turns:?}");
}

#[test]
fn what_has_just_started_is_asked_each_time_since_it_may_be_moved_a_moment_later() {
    let (copy, cgroup) = scope("/user.slice/user-1000.slice");
    // Later than any scan.
    let stat = fs::read_to_string(copy.path().join("800/stat")).expect("it is ours");
    let mut fields: Vec<&str> = stat.split(' ').collect();
    fields[21] = "99999999999";
    copy.write("800/stat", &fields.join(" "));
    let mut table = Table::of_scopes(copy.path(), vec![Some(cgroup)]);
    table.survey(Depth::Full);
    for _turn in 0..2 {
        table.scan(Depth::Fast);
        assert_eq!(table.read_members().first(), Some(&800));
    }
    assert_eq!(table.table.is_asking(), (false, false));
    let mut refuse_none = |_| true;
    table.table.ask_for_members(&mut refuse_none);
    assert_eq!(table.table.is_asking(), (true, true));
}

#[test]
fn a_victim_that_is_ending_stays_where_it_was() {
    let (copy, cgroup) = scope("/user.slice/user-1000.slice");
    let mut table = Table::of_scopes(copy.path(), vec![Some(cgroup)]);
    table.survey(Depth::Full);
    // Its first thread has ended (PF_EXITING); of version 1 it is in `/` then.
    copy.write("1204/cgroup", "0::/\n");
    copy.write("1204/statm", "0 0 0 0 0 0 0\n");
    let stat = fs::read_to_string(copy.path().join("1204/stat")).expect("it is ours");
    let (name, rest) = stat.rsplit_once(") ").expect("it is ours");
    let mut fields: Vec<&str> = rest.split(' ').collect();
    fields[6] = "4194308";
    copy.write("1204/stat", &format!("{name}) {}", fields.join(" ")));
    for depth in [Depth::Fast, Depth::Full] {
        table.survey(depth);
        table.read_members();
        assert_eq!(joined(&table), [1200, 1204, 1205, 1300]);
    }
}

#[test]
fn of_several_scopes_each_has_what_is_in_it_and_the_machine_has_all() {
    let (copy, outer) = scope("/user.slice");
    let of = |path: &str| Some(Cgroup::named(copy.path(), Path::new(path)).expect("it may be"));
    let scopes = vec![
        None,
        Some(outer),
        of("/user.slice/user-1001.slice"),
        of("/no.such.slice"),
    ];
    let mut table = Table::of_scopes(copy.path(), scopes);
    table.scan(Depth::Full);
    let pids = |table: &Table, scope| {
        let joined = table.joined_of(scope);
        joined.iter().map(|it| it.id.pid).collect::<Vec<_>>()
    };
    let all = pids(&table, 0);
    assert!(all.contains(&800) && all.contains(&1400), "{all:?}");
    assert_eq!(pids(&table, 1), [0; 0], "it is not known yet");
    table.survey(Depth::Full);
    assert_eq!(pids(&table, 0), all);
    assert_eq!(pids(&table, 1), [1200, 1204, 1205, 1300, 1400]);
    assert_eq!(pids(&table, 2), [1400]);
    assert_eq!(pids(&table, 3), [0; 0]);
    // It is made, and one moved into it.
    copy.write("800/cgroup", "0::/no.such.slice/a\n");
    table.read_members();
    assert_eq!(pids(&table, 3), [800]);
    assert_eq!(pids(&table, 0), all);
}

#[test]
fn what_is_outside_of_it_is_not_measured() {
    let (copy, cgroup) = scope("/user.slice/user-1001.slice");
    let mut table = Table::of_scopes(copy.path(), vec![Some(cgroup)]);
    table.survey(Depth::Full);
    assert_eq!(table.tie(&[1200, 1204, 1400]), [1400]);
}
