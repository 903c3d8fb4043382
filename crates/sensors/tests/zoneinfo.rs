//! `/proc/zoneinfo`: good, old, absent, empty, cut short, malformed.

mod support;

use std::path::Path;

use rustix::param::page_size;
use sensors::{ReadError, Zoneinfo};
use support::{Copy, chain, tree};

fn read(case: &str) -> Result<u64, ReadError> {
    Zoneinfo::open(&tree(case).join("zoneinfo"))?.per_cpu_bytes()
}

#[track_caller]
fn check_refused(case: &str, want: &str) {
    let told = chain(&read(case).expect_err("it is refused"));
    assert!(told.contains(&format!("{case}/zoneinfo`{want}")), "{told}");
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
    let zoneinfo = Zoneinfo::open(&copy.path().join("zoneinfo")).unwrap();
    let want = 1001 * 42 * page_size() as u64;
    assert_eq!(zoneinfo.per_cpu_bytes().unwrap(), want);
    assert_eq!(zoneinfo.per_cpu_bytes().unwrap(), want, "a second time");
}

#[test]
fn an_absent_file_is_named_with_its_cause() {
    let told = chain(&read("absent").unwrap_err());
    assert!(told.starts_with("cannot open `"), "{told}");
    assert!(told.contains("absent/zoneinfo`: No such file"), "{told}");
}

#[test]
fn an_empty_file_tells_of_no_memory() {
    check_refused("empty", " has no line that begins with `Node `");
}

#[test]
fn a_file_cut_short_within_a_count_is_refused() {
    check_refused(
        "cut",
        ", line 44: expected `count: <pages>`, found `              count:    `",
    );
}

#[test]
fn a_word_in_place_of_a_count_is_refused_with_its_line() {
    check_refused(
        "malformed",
        ", line 51: expected `count: <pages>`, found `              count:    some`",
    );
}

#[test]
fn more_pages_than_there_can_be_are_refused() {
    for count in ["18446744073709551615", "4503599627370495"] {
        let copy = Copy::of("good");
        copy.change("zoneinfo", "45221", count);
        copy.change("zoneinfo", "6861", count);
        let read = Zoneinfo::open(&copy.path().join("zoneinfo"))
            .unwrap()
            .per_cpu_bytes();
        assert!(matches!(read, Err(ReadError::Malformed { .. })), "{read:?}");
    }
}

/// What the kernel holds back at this moment is less than all there is.
#[test]
fn the_machines_own_is_read() {
    let zoneinfo = Zoneinfo::open(Path::new("/proc/zoneinfo")).unwrap();
    let meminfo = sensors::Meminfo::open(Path::new("/proc/meminfo"))
        .unwrap()
        .read()
        .unwrap();
    assert!(zoneinfo.per_cpu_bytes().unwrap() < meminfo.total_bytes);
}
