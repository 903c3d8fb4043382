//! `/proc/meminfo`: good, old, absent, empty, cut short, malformed, replaced.

mod support;

use std::fs;
use std::path::Path;

use oom_policy::Memory;
use procfs::Current;
use sensors::{Meminfo, ReadError};
use support::{Copy, chain, tree};

const KIB: u64 = 1024;

fn read(case: &str) -> Result<Memory, ReadError> {
    Meminfo::open(&tree(case).join("meminfo"))?.read()
}

#[track_caller]
fn check_refused(case: &str, want: &str) {
    let told = chain(&read(case).expect_err("it is refused"));
    assert!(told.starts_with('`'), "{told}");
    assert!(told.contains(&format!("{case}/meminfo`{want}")), "{told}");
}

#[test]
fn a_good_file_is_read_in_bytes() {
    assert_eq!(
        read("good").unwrap(),
        Memory {
            total_bytes: 24_625_112 * KIB,
            available_bytes: 2_309_876 * KIB,
            hugetlb_bytes: 1_048_576 * KIB,
            swap_total_bytes: 8_388_604 * KIB,
            swap_free_bytes: 4_194_300 * KIB,
            anon_bytes: 18_500_000 * KIB,
            shmem_bytes: 512_000 * KIB,
            unreclaimable_slab_bytes: 150_000 * KIB,
        }
    );
}

#[test]
fn a_kernel_without_the_hugetlb_line_tells_pages_and_their_size() {
    let memory = read("old").unwrap();
    assert_eq!(memory.hugetlb_bytes, 3 * 2048 * KIB);
}

#[test]
fn a_kernel_without_swap_has_none() {
    let memory = read("old").unwrap();
    assert_eq!((memory.swap_total_bytes, memory.swap_free_bytes), (0, 0));
}

#[test]
fn an_absent_file_is_named_with_its_cause() {
    let err = Meminfo::open(&tree("absent").join("meminfo")).unwrap_err();
    let told = chain(&err);
    assert!(told.starts_with("cannot open `"), "{told}");
    assert!(
        told.ends_with("absent/meminfo`: No such file or directory (os error 2)"),
        "{told}"
    );
}

#[test]
fn an_empty_file_lacks_its_total() {
    check_refused("empty", " has no line that begins with `MemTotal:`");
}

#[test]
fn a_file_cut_short_within_a_line_we_use_is_refused() {
    check_refused(
        "cut",
        ", line 11: expected `<key>: <number> kB`, found `AnonPages:    `",
    );
}

#[test]
fn a_word_in_place_of_a_number_is_refused_with_its_line() {
    check_refused(
        "malformed",
        ", line 3: expected `<key>: <number> kB`, found `MemAvailable:     plenty kB`",
    );
}

#[test]
fn a_kernel_too_old_for_memavailable_is_told_so() {
    let copy = Copy::of("good");
    copy.change("meminfo", "MemAvailable:", "MemAvailing:");
    let err = Meminfo::open(&copy.path().join("meminfo")).unwrap().read();
    assert!(matches!(
        err,
        Err(ReadError::Missing {
            key: "MemAvailable:",
            ..
        })
    ));
}

#[test]
fn more_bytes_than_there_can_be_are_refused() {
    let copy = Copy::of("good");
    copy.change("meminfo", "24625112", "18446744073709551615");
    let err = Meminfo::open(&copy.path().join("meminfo")).unwrap().read();
    assert!(matches!(err, Err(ReadError::Malformed { line: 1, .. })));
}

#[test]
fn a_file_without_end_is_refused() {
    let mut meminfo = Meminfo::open(Path::new("/dev/zero")).unwrap();
    assert!(matches!(meminfo.read(), Err(ReadError::TooLong { .. })));
}

#[test]
fn a_file_replaced_by_rename_is_read_anew() {
    let copy = Copy::of("good");
    let path = copy.path().join("meminfo");
    let mut meminfo = Meminfo::open(&path).unwrap();
    let before = meminfo.read().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    copy.write("meminfo.new", &text.replace("2309876", "1000"));
    fs::rename(copy.path().join("meminfo.new"), &path).unwrap();
    let after = meminfo.read().unwrap();
    assert_eq!(after.available_bytes, 1000 * KIB);
    assert_eq!(after.total_bytes, before.total_bytes);
}

#[test]
fn the_kernels_own_is_read_as_procfs_reads_it() {
    let mut meminfo = Meminfo::open(Path::new("/proc/meminfo")).unwrap();
    // Read twice: it is the same descriptor.
    meminfo.read().unwrap();
    let ours = meminfo.read().unwrap();
    let theirs = procfs::Meminfo::current().unwrap();
    assert_eq!(ours.total_bytes, theirs.mem_total);
    assert_eq!(ours.swap_total_bytes, theirs.swap_total);
    assert!(0 < ours.available_bytes && ours.available_bytes <= ours.total_bytes);
    assert!(0 < ours.anon_bytes && ours.anon_bytes < ours.total_bytes);
}

#[test]
fn reading_the_kernels_own_allocates_nothing() {
    let mut meminfo = Meminfo::open(Path::new("/proc/meminfo")).unwrap();
    let counted = allocation_counter::measure(|| {
        meminfo.read().unwrap();
    });
    assert_eq!(counted.count_total, 0);
}
