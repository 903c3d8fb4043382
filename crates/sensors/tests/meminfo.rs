//! `/proc/meminfo`: good, old, absent, empty, cut short, malformed, replaced.

mod support;

use std::fs;
use std::path::Path;

use model::Memory;
use procfs::Current;
use sensors::{Meminfo, ReadError};
use support::{Copy, chain, tree};

const KIB: u64 = 1024;

fn read(case: &str) -> Result<Memory, ReadError> {
    Meminfo::open(&tree(case).join("meminfo"))?.read()
}

/// What is read of a file, and what is told of it.
struct Read {
    memory: Memory,
    told: Vec<String>,
}

fn told(meminfo: &mut Meminfo) -> Vec<String> {
    std::iter::from_fn(|| meminfo.next_implausible())
        .map(|implausible| implausible.to_string())
        .collect()
}

fn read_text(text: &str) -> Result<Read, ReadError> {
    let file = tempfile::NamedTempFile::new().expect("there is room for a file");
    fs::write(file.path(), text).expect("there is room for a file");
    let mut meminfo = Meminfo::open(file.path())?;
    let memory = meminfo.read()?;
    let told = told(&mut meminfo);
    Ok(Read { memory, told })
}

/// The good file with lines changed.
fn changed(changes: &[(&str, &str)]) -> Read {
    let mut text = fs::read_to_string(tree("good").join("meminfo")).expect("it is there");
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    read_text(&text).expect("it says enough")
}

#[track_caller]
fn check_kept(changes: &[(&str, &str)], want: Memory, told: &str) {
    let read = changed(changes);
    assert_eq!(read.memory, want);
    assert_eq!(read.told, [told]);
}

fn good() -> Memory {
    Memory {
        total_bytes: 24_625_112 * KIB,
        available_bytes: 2_309_876 * KIB,
        at_least_bytes: 0,
        hugetlb_bytes: 1_048_576 * KIB,
        swap_total_bytes: 8_388_604 * KIB,
        swap_free_bytes: 4_194_300 * KIB,
        swap_cached_bytes: 1024 * KIB,
        anon_bytes: 18_500_000 * KIB,
        shmem_bytes: 512_000 * KIB,
        unreclaimable_slab_bytes: 150_000 * KIB,
        ..Memory::default()
    }
}

/// Pages that were faulted in again keep their place in swap for a while.
#[test]
fn of_the_swap_cache_only_what_is_not_mapped_counts() {
    let swap_cached = |line: &str| {
        let changes = [("Inactive(anon):  1013024 kB", line)];
        changed(&changes).memory.swap_cached_bytes
    };
    assert_eq!(swap_cached("Inactive(anon): 1012100 kB"), 100 * KIB);
    assert_eq!(swap_cached("Inactive(anon): 9000000 kB"), 1024 * KIB);
    assert_eq!(swap_cached("Unevictable: 3 kB"), 0);
}

#[test]
fn a_good_file_is_read_in_bytes() {
    let read = changed(&[]);
    assert_eq!(read.memory, good());
    assert_eq!(read.told, [""; 0]);
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
fn a_file_without_a_total_is_refused_with_what_would_be_right() {
    let refused = |text: &str| chain(&read_text(text).map(|read| read.memory).unwrap_err());
    for text in ["", "MemFree: 1 kB\nMemAvailable: 1 kB\n"] {
        let told = refused(text);
        let want = " has no line that begins with `MemTotal`";
        assert!(told.ends_with(want), "{told}");
    }
    for found in ["many kB", "4000", "", "0.5 kB", "4000 MB"] {
        let told = refused(&format!("MemTotal: {found}\nMemAvailable: 1 kB\n"));
        let want = format!(", line 1: expected `MemTotal: <number> kB`, found `{found}`");
        assert!(told.ends_with(&want), "{told}");
    }
    let told = refused("MemTotal: -1 kB\nMemAvailable: 1 kB\n");
    assert!(told.contains("MemTotal cannot be `-1 kB`"), "{told}");
    let told = refused("MemTotal: 0 kB\nMemAvailable: 0 kB\n");
    assert!(told.contains("expected `MemTotal: <number> kB`"), "{told}");
}

#[test]
fn a_file_that_says_neither_what_is_available_nor_what_is_free_is_refused() {
    let refused = |text: &str| chain(&read_text(text).map(|read| read.memory).unwrap_err());
    let told = refused("MemTotal: 4000 kB\nCached: 100 kB\n");
    assert!(told.ends_with("begins with `MemAvailable`"), "{told}");
    let told = refused("MemTotal: 4000 kB\nMemAvailable: plenty\n");
    assert!(told.contains(", line 2: expected `MemAvailable:"), "{told}");
}

#[test]
fn a_total_that_was_known_stands_in_for_one_that_is_wrong() {
    let copy = Copy::of("good");
    let mut meminfo = Meminfo::open(&copy.path().join("meminfo")).unwrap();
    meminfo.read().unwrap();
    copy.change("meminfo", "24625112", "18446744073709551615");
    assert_eq!(meminfo.read().unwrap(), good());
    let [told] = &told(&mut meminfo)[..] else {
        panic!("it is told once")
    };
    assert!(told.starts_with(", line 1: MemTotal cannot be"), "{told}");
    assert!(told.ends_with("using 24625112 kB, as before"), "{told}");
}

/// The good file's total from the first reading or from the second.
#[track_caller]
fn check_total(first: &str, second: &str, want_kib: u64, want_told: &str) {
    let copy = Copy::of("good");
    copy.change("meminfo", "24625112", first);
    let mut meminfo = Meminfo::open(&copy.path().join("meminfo")).expect("it says enough");
    meminfo.read().expect("it says enough");
    let before = told(&mut meminfo);
    copy.change("meminfo", first, second);
    let memory = meminfo.read().expect("it says enough");
    assert_eq!(memory.total_bytes, want_kib * KIB);
    let told: Vec<String> = before.into_iter().chain(told(&mut meminfo)).collect();
    let told: Vec<&String> = told
        .iter()
        .filter(|line| line.contains("MemTotal"))
        .collect();
    match want_told {
        "" => assert!(told.is_empty(), "{told:#?}"),
        want => assert!(told.len() == 1 && told[0].ends_with(want), "{told:#?}"),
    }
}

#[test]
fn a_total_that_its_parts_do_not_fit_is_not_believed() {
    // 21.7 GiB are free, anonymous, cached, slab or set aside.
    let sum = 22_762_400;
    check_total(
        "24625112",
        "24625",
        24_625_112,
        "; using 24625112 kB, as before",
    );
    check_total(
        "24625112",
        "12000000",
        24_625_112,
        "; using 24625112 kB, as before",
    );
    check_total(
        "24625112",
        "24625112000",
        24_625_112,
        "; using 24625112 kB, as before",
    );
    // Removed, or taken by a balloon; and added.
    check_total("24625112", "23000000", 23_000_000, "");
    check_total("24625112", "99000000", 99_000_000, "");
    // From the start on.
    check_total("24625", "24626", sum, "; using 22762400 kB, the sum");
    // As a container has it, with anonymous memory of its host's.
    check_total("12000000", "12000000", 12_000_000, "");
}

#[test]
fn a_field_that_is_cut_short_costs_that_field() {
    let mut meminfo = Meminfo::open(&tree("cut").join("meminfo")).unwrap();
    let memory = meminfo.read().unwrap();
    assert_eq!(memory.available_bytes, good().available_bytes);
    assert_eq!(memory.anon_bytes, 0);
    let want = ", line 11: expected `AnonPages: <number> kB`, found ``; ignored";
    assert_eq!(told(&mut meminfo), [want]);
    // Of a number it may be the beginning alone.
    check_kept(
        &[("150000 kB", "150000")],
        Memory {
            unreclaimable_slab_bytes: 0,
            ..good()
        },
        ", line 16: expected `SUnreclaim: <number> kB`, found `150000`; ignored",
    );
}

#[test]
fn zeros_before_a_number_line_ends_of_another_system_and_tabs_harm_nothing() {
    let text = fs::read_to_string(tree("good").join("meminfo")).unwrap();
    let crlf = text.replace('\n', "\r\n");
    let padded = text.replace("2309876", "000000000000000000002309876");
    let tabs = text.replace(":  ", ":\t");
    for text in [crlf, padded, tabs] {
        let read = read_text(&text).unwrap();
        assert_eq!(read.memory, good());
        assert_eq!(read.told, [""; 0]);
    }
}

#[test]
fn the_first_of_several_lines_with_one_key_counts() {
    check_kept(
        &[("Dirty:               120 kB", "MemFree: 24625112 kB")],
        good(),
        ", line 2: `MemFree` appears again on line 10; using the first",
    );
}

#[test]
fn lines_beyond_what_a_meminfo_can_be_long_are_as_if_not_there() {
    let mut text = fs::read_to_string(tree("good").join("meminfo")).unwrap();
    text += &"Something: 1 kB\n".repeat(10_000);
    assert_eq!(read_text(&text).unwrap().memory, good());
}

/// What is taken of this much that is said to be available.
#[track_caller]
fn check_available(available: &str, rest: &str, want_kib: u64, told: &str) {
    let text = format!("MemTotal: 1000000 kB\nMemAvailable: {available}\n{rest}");
    let read = read_text(&text).expect("it can be read");
    assert_eq!(read.memory.available_bytes, want_kib * KIB, "{text}");
    assert_eq!(read.told.concat(), told, "{text}");
}

const IDLE: &str = "MemFree: 500000 kB\nBuffers: 10000 kB\nCached: 300000 kB\n\
    Active(file): 100000 kB\nInactive(file): 200000 kB\nAnonPages: 100000 kB\nShmem: 4000 kB\n\
    SReclaimable: 40000 kB\nSUnreclaim: 10000 kB\n";
const SHORT: &str = "MemFree: 10000 kB\nBuffers: 0 kB\nCached: 50000 kB\n\
    Active(file): 20000 kB\nInactive(file): 20000 kB\nAnonPages: 850000 kB\nShmem: 10000 kB\n\
    SReclaimable: 10000 kB\nSUnreclaim: 20000 kB\n";

#[test]
fn no_more_is_available_than_what_no_process_holds() {
    check_available("58000 kB", SHORT, 58_000, "");
    check_available("70000 kB", SHORT, 70_000, "");
    check_available(
        "15000000 kB",
        SHORT,
        35_000,
        ", line 2: MemAvailable cannot be 15000000 kB (at most 60000 kB); \
         using 35000 kB, from free memory, page cache and slab",
    );
    // Whatever else is missing.
    check_available(
        "900000 kB",
        "AnonPages: 850000 kB\nShmem: 10000 kB\n",
        140_000,
        ", line 2: MemAvailable cannot be 900000 kB (at most 140000 kB); using 140000 kB",
    );
    check_available(
        "900000 kB",
        "MemFree: 10000 kB\nCached: 50000 kB\nBuffers: 0 kB\n",
        35_000,
        ", line 2: MemAvailable cannot be 900000 kB (at most 60000 kB); \
         using 35000 kB, from free memory, page cache and slab",
    );
}

#[test]
fn counters_of_different_moments_do_not_make_more_available_than_there_is() {
    let text = |available: &str| format!("MemTotal: 6400 kB\nMemAvailable: {available} kB\n");
    let whole = read_text(&text("6400")).unwrap();
    assert_eq!(whole.memory.available_bytes, 6400 * KIB);
    assert_eq!(whole.told, [""; 0]);
    let more = read_text(&text("6401")).unwrap();
    assert_eq!(more.memory.available_bytes, 6400 * KIB);
    let told = ", line 2: MemAvailable cannot be 6401 kB (at most 6400 kB); using 6400 kB";
    assert_eq!(more.told, [told]);
}

#[test]
fn a_list_of_file_pages_longer_than_memory_is_not_believed_either() {
    let text = SHORT.replace("Inactive(file): 20000", "Inactive(file): 15000000");
    let read = read_text(&format!(
        "MemTotal: 1000000 kB\nMemAvailable: 15000000 kB\n{text}"
    ))
    .unwrap();
    assert_eq!(read.memory.available_bytes, 35_000 * KIB);
    assert_eq!(read.told.len(), 2, "{:#?}", read.told);
}

/// A process that freed memory by MADV_FREE has it among its anonymous pages
/// until the kernel takes it, which is any time: it is available.
#[test]
fn memory_that_was_freed_lazily_is_available() {
    let rest = "MemFree: 20000 kB\nBuffers: 0 kB\nCached: 60000 kB\n\
        Active(file): 20000 kB\nInactive(file): 440000 kB\nAnonPages: 880000 kB\nShmem: 0 kB\n";
    check_available("450000 kB", rest, 450_000, "");
}

#[test]
fn none_at_all_is_not_believed_while_memory_is_free_or_can_be_reclaimed() {
    check_available(
        "0 kB",
        IDLE,
        500_000 + 237_500 + 20_000,
        ", line 2: MemAvailable cannot be 0 kB (500000 kB are free); \
         using 757500 kB, from free memory, page cache and slab",
    );
    let cached = IDLE.replace("MemFree: 500000", "MemFree: 10000");
    let read = read_text(&format!(
        "MemTotal: 1000000 kB\nMemAvailable: 0 kB\n{cached}"
    ))
    .unwrap();
    assert_eq!(read.memory.available_bytes, 267_500 * KIB);
    // What the kernel keeps back for itself is free and not available.
    check_available("0 kB", "MemFree: 70000 kB\n", 0, "");
}

#[test]
fn little_is_believed_while_much_is_free_but_not_for_the_kill_level() {
    check_available("430000 kB", IDLE, 430_000, "");
    check_available(
        "3000 kB",
        IDLE,
        3000,
        ", line 2: MemAvailable is 3000 kB, but 500000 kB are free; \
         used as it is, but the kill level also needs free memory that low",
    );
    let text = format!("MemTotal: 1000000 kB\nMemAvailable: 3000 kB\n{IDLE}");
    let memory = read_text(&text).unwrap().memory;
    assert_eq!(memory.at_least_bytes, 420_000 * KIB);
}

#[test]
fn what_is_available_is_reckoned_where_the_kernel_does_not_say() {
    let want = 500_000 + 237_500 + 20_000;
    let taken = "; using 757500 kB, from free memory, page cache and slab";
    let text = format!("MemTotal: 1000000 kB\n{IDLE}");
    let read = read_text(&text).unwrap();
    assert_eq!(read.memory.available_bytes, want * KIB);
    assert_eq!(
        read.told,
        [format!(
            ": there is no line `MemAvailable: <number> kB`{taken}"
        )]
    );
    for (found, fault) in [
        (
            "many kB",
            "expected `MemAvailable: <number> kB`, found `many kB`",
        ),
        ("900", "expected `MemAvailable: <number> kB`, found `900`"),
        (
            "18446744073709551411 kB",
            "MemAvailable cannot be `18446744073709551411 kB`: \
             more than any machine has, or wrapped below zero",
        ),
    ] {
        check_available(found, IDLE, want, &format!(", line 2: {fault}{taken}"));
    }
}

/// What is taken of swap that is said to be so.
#[track_caller]
fn check_swap(rest: &str, want_kib: (u64, u64), told: &str) {
    let read = read_text(&format!("MemTotal: 1000 kB\nMemAvailable: 500 kB\n{rest}"))
        .expect("it can be read");
    let memory = read.memory;
    assert_eq!(
        (memory.swap_total_bytes, memory.swap_free_bytes),
        (want_kib.0 * KIB, want_kib.1 * KIB),
        "{rest}"
    );
    assert_eq!(read.told.concat(), told, "{rest}");
}

#[test]
fn swap_that_makes_no_sense_is_not_free() {
    check_swap("", (0, 0), "");
    check_swap("SwapTotal: 9 kB\nSwapFree: 9 kB\n", (9, 9), "");
    let wrapped = "SwapFree cannot be `18446744073709551411 kB`: \
        more than any machine has, or wrapped below zero; using 0 kB";
    for total in [0, 100] {
        check_swap(
            &format!("SwapTotal: {total} kB\nSwapFree: 18446744073709551411 kB\n"),
            (total, 0),
            &format!(", line 4: {wrapped}"),
        );
    }
    check_swap(
        "SwapTotal: 100 kB\nSwapFree: 101 kB\n",
        (100, 100),
        ", line 4: SwapFree cannot be 101 kB (at most 100 kB); using 100 kB",
    );
    check_swap(
        "SwapTotal: 100 kB\n",
        (100, 0),
        ": there is no line `SwapFree: <number> kB`; using 0 kB",
    );
    check_swap(
        "SwapTotal: some kB\nSwapFree: 0 kB\n",
        (0, 0),
        ", line 3: expected `SwapTotal: <number> kB`, found `some kB`; using 0 kB",
    );
}

#[test]
fn no_part_of_memory_is_larger_than_all_of_it() {
    let read = changed(&[
        ("AnonPages:      18500000", "AnonPages: 24625113"),
        ("Shmem:            512000", "Shmem: 99999999999"),
        ("Hugetlb:         1048576", "Hugetlb: 24625112"),
    ]);
    assert_eq!(read.memory.anon_bytes, 0);
    assert_eq!(read.memory.shmem_bytes, 0);
    // By HugePages_Total and Hugepagesize.
    assert_eq!(read.memory.hugetlb_bytes, 1_048_576 * KIB);
    assert_eq!(read.told.len(), 3, "{:#?}", read.told);
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

#[test]
fn saying_what_cannot_be_true_allocates_nothing() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "MemTotal: 1000 kB\nMemAvailable: 0 kB\nMemFree: 900 kB\nSwapFree: -3 kB\n";
    fs::write(file.path(), text).unwrap();
    let mut meminfo = Meminfo::open(file.path()).unwrap();
    let counted = allocation_counter::measure(|| {
        meminfo.read().unwrap();
        assert!(meminfo.next_implausible().is_some());
        assert!(meminfo.next_implausible().is_some());
        assert!(meminfo.next_implausible().is_none());
    });
    assert_eq!(counted.count_total, 0);
}
