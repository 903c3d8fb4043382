//! `/proc/zoneinfo`: good, old, absent, empty, cut short, malformed.

mod support;

use std::fs;
use std::path::Path;

use rustix::param::page_size;
use sensors::{ReadError, Zoneinfo};
use support::{Copy, chain, tree};

fn read(case: &str) -> Result<u64, ReadError> {
    Zoneinfo::open(&tree(case).join("zoneinfo"))?.per_cpu_bytes(true)
}

/// What is read of the good file with these counts, in pages, and what is told.
fn read_counts(counts: [&str; 2]) -> (u64, Vec<String>) {
    let copy = Copy::of("good");
    copy.change("zoneinfo", "45221", counts[0]);
    copy.change("zoneinfo", "6861", counts[1]);
    let mut zoneinfo = Zoneinfo::open(&copy.path().join("zoneinfo")).expect("it can be read");
    let bytes = zoneinfo.per_cpu_bytes(true).expect("it can be read");
    let told = std::iter::from_fn(|| zoneinfo.next_implausible())
        .map(|implausible| implausible.to_string())
        .collect();
    (bytes / page_size() as u64, told)
}

#[test]
fn the_lists_of_all_cpus_in_all_zones_are_added_up() {
    let page_bytes = page_size() as u64;
    assert_eq!(read("good").unwrap(), (45_221 + 6_861) * page_bytes);
    assert_eq!(read("old").unwrap(), 42 * page_bytes);
}

#[test]
fn more_cpus_than_one_read_holds_are_added_up() {
    let copy = Copy::of("old");
    let cpu = "    cpu: 0\n              count: 42\n              high:  378\n";
    copy.change(
        "zoneinfo",
        "  pagesets\n",
        &("  pagesets\n".to_owned() + &cpu.repeat(1000)),
    );
    let mut zoneinfo = Zoneinfo::open(&copy.path().join("zoneinfo")).unwrap();
    let want = 1001 * 42 * page_size() as u64;
    assert_eq!(zoneinfo.per_cpu_bytes(true).unwrap(), want);
    assert_eq!(zoneinfo.per_cpu_bytes(true).unwrap(), want, "a second time");
}

/// What is available of lists of 42 pages, with so many pages of files that are in
/// use and that are not, in each of two zones.
fn with_files(active: u64, inactive: u64, swap_is_free: bool) -> u64 {
    let zone = format!(
        "Node 0, zone Normal\n      nr_zone_inactive_file {inactive}\n      \
         nr_zone_active_file {active}\n      nr_inactive_file 9999\n              count: 21\n"
    );
    let file = tempfile::NamedTempFile::new().expect("ours");
    fs::write(file.path(), zone.repeat(2)).expect("ours");
    let mut zoneinfo = Zoneinfo::open(file.path()).expect("ours");
    zoneinfo.per_cpu_bytes(swap_is_free).expect("ours") / page_size() as u64
}

#[test]
fn where_nothing_can_be_reclaimed_the_kernel_does_not_empty_them() {
    let mebibyte = (1 << 20) / page_size() as u64;
    assert_eq!(with_files(0, 0, false), 0);
    assert_eq!(with_files(mebibyte / 4, mebibyte / 4 - 1, false), 0);
    assert_eq!(with_files(mebibyte / 4, mebibyte / 4, false), 42);
    assert_eq!(with_files(0, 0, true), 42, "but for swap");
}

#[test]
fn an_absent_file_is_named_with_its_cause() {
    let told = chain(&read("absent").unwrap_err());
    assert!(told.starts_with("cannot open `"), "{told}");
    assert!(told.contains("absent/zoneinfo`: No such file"), "{told}");
}

#[test]
fn an_empty_file_tells_of_no_memory() {
    let told = chain(&read("empty").expect_err("it is refused"));
    assert!(
        told.ends_with("has no line that begins with `Node `"),
        "{told}"
    );
}

#[test]
fn a_list_that_cannot_be_read_is_taken_as_empty() {
    assert_eq!(read("cut").unwrap(), 0);
    assert_eq!(read("malformed").unwrap(), 45_221 * page_size() as u64);
    for (found, told) in [
        ("some", "expected `count: <pages>`, found `some`"),
        ("", "expected `count: <pages>`, found ``"),
        (
            "18446744073709551615",
            "count cannot be `18446744073709551615`: more than any machine has, or wrapped below zero",
        ),
    ] {
        let want = (6861, vec![format!(", line 44: {told}; ignored")]);
        assert_eq!(read_counts([found, "6861"]), want);
    }
}

#[test]
fn lists_that_hold_more_than_they_can_are_not_counted() {
    // An eighth of memory is 438 762 pages.
    assert_eq!(read_counts(["400000", "0"]), (400_000, Vec::new()));
    let (pages, told) = read_counts(["400000", "400000"]);
    assert_eq!(pages, 0);
    let [told] = &told[..] else {
        panic!("it is told once: {told:?}")
    };
    assert!(told.starts_with(", line 51: count cannot be "), "{told}");
}

/// What the kernel holds back at this moment is less than all there is.
#[test]
fn lists_that_hold_more_than_any_machine_has_are_not_counted() {
    // The most that one line may say: 64 PiB.
    let pages = (1 << 56) / page_size() as u64;
    let zone = format!("Node 0, zone Normal\n managed {pages}\n").repeat(32);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(
        file.path(),
        format!("{zone} count: {pages}\n count: {pages}\n"),
    )
    .unwrap();
    let mut zoneinfo = Zoneinfo::open(file.path()).unwrap();
    assert_eq!(zoneinfo.per_cpu_bytes(true).unwrap(), 0);
    assert!(zoneinfo.next_implausible().is_some());
}

#[test]
fn the_machines_own_is_read() {
    let mut zoneinfo = Zoneinfo::open(Path::new("/proc/zoneinfo")).unwrap();
    let meminfo = sensors::Meminfo::open(Path::new("/proc/meminfo"))
        .unwrap()
        .read()
        .unwrap();
    assert!(zoneinfo.per_cpu_bytes(true).unwrap() < meminfo.total_bytes);
}
