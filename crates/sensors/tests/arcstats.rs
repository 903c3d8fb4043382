//! `/proc/spl/kstat/zfs/arcstats`: good, absent, empty, cut short, malformed.

mod support;

use std::fs;

use model::Memory;
use sensors::{Arcstats, ReadError};
use support::chain;

const MIB: u64 = 1 << 20;

/// As OpenZFS 2.1 writes it, cut to a few lines.
const GOOD: &str = "\
13 1 0x01 123 33456 4378203957 8763487563
name                            type data
hits                            4    1234567
c                               4    1073741824
c_min                           4    67108864
c_max                           4    1073741824
size                            4    603979776
compressed_size                 4    503316480
arc_no_grow                     4    0
";

fn machine() -> Memory {
    Memory {
        total_bytes: 2000 * MIB,
        available_bytes: 100 * MIB,
        anon_bytes: 900 * MIB,
        shmem_bytes: 50 * MIB,
        unreclaimable_slab_bytes: 50 * MIB,
        ..Memory::default()
    }
}

fn read_on(text: &str, memory: &Memory) -> Result<u64, ReadError> {
    let folder = tempfile::tempdir().expect("it can be had");
    let path = folder.path().join("arcstats");
    fs::write(&path, text).expect("it can be had");
    let mut arcstats = Arcstats::open(&path)?;
    arcstats.shrinkable_bytes(memory)
}

#[track_caller]
fn check(from: &str, to: &str, want: &str) {
    assert!(GOOD.contains(from), "{from}");
    let read = read_on(&GOOD.replace(from, to), &machine());
    let told = chain(&read.expect_err("it makes no sense"));
    assert!(told.contains(want), "{told}");
}

#[test]
fn the_cache_can_shrink_to_its_minimum() {
    assert_eq!(
        read_on(GOOD, &machine()).expect("it can be had"),
        (576 - 64) * MIB
    );
    let small = GOOD.replace("603979776", "1048576");
    assert_eq!(read_on(&small, &machine()).expect("it can be had"), 0);
}

#[test]
fn no_more_is_counted_than_is_neither_available_nor_held_otherwise() {
    let mut memory = machine();
    memory.anon_bytes = 1700 * MIB;
    assert_eq!(read_on(GOOD, &memory).expect("it can be had"), 100 * MIB);
    memory.hugetlb_bytes = 60 * MIB;
    assert_eq!(read_on(GOOD, &memory).expect("it can be had"), 40 * MIB);
    memory.anon_bytes = u64::MAX;
    assert_eq!(read_on(GOOD, &memory).expect("it can be had"), 0);
}

#[test]
fn what_cannot_be_true_is_named_with_what_would_be_right() {
    let expected = "expected `<name> <type> <bytes>`, no more than all memory, found `";
    let size = format!("arcstats`, line 7: {expected}size ");
    check("603979776", "2097152001", &size);
    check("603979776", "18446744073709551411", &size);
    check("603979776", "-1", &size);
    check("4    603979776", "4", &size);
    let least = format!("arcstats`, line 5: {expected}c_min ");
    check("67108864", "18446744073709551616", &least);
    check("67108864", "none", &least);
    check("\nsize", "\nsiz", "has no line that begins with `size`");
    check("c_min", "c_most", "has no line that begins with `c_min`");
}

#[test]
fn an_empty_file_and_one_that_is_cut_short_are_refused() {
    let within_size = GOOD.find("3979776").expect("it can be had");
    for end in [0, 40, 100, 200, within_size] {
        let read = read_on(&GOOD[..end], &machine());
        assert!(matches!(read, Err(ReadError::Missing { .. })), "{read:?}");
    }
}

#[test]
fn without_zfs_there_is_no_such_file() {
    let folder = tempfile::tempdir().expect("it can be had");
    let told =
        chain(&Arcstats::open(&folder.path().join("arcstats")).expect_err("it is not there"));
    assert!(told.starts_with("cannot open `"), "{told}");
}
