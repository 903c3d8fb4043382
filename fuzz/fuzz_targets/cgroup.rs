//! The memory files of a cgroup: whatever they say, what is taken for true can be.
//!
//! An input is six files, one behind the other with a zero byte between: the limit,
//! the one that slows down, use, the limit of swap, its use, `memory.stat`.

#![no_main]

use fuzz::{check_parts, check_printable};
use libfuzzer_sys::fuzz_target;
use model::Memory;
use sensors::fuzzing::cgroup;

const MACHINE: Memory = Memory {
    total_bytes: 24 << 30,
    available_bytes: 20 << 30,
    at_least_bytes: 18 << 30,
    hugetlb_bytes: 1 << 30,
    swap_total_bytes: 8 << 30,
    swap_free_bytes: 7 << 30,
    anon_bytes: 2 << 30,
    shmem_bytes: 1 << 20,
    unreclaimable_slab_bytes: 1 << 20,
    worthless_swap_bytes: 0,
    zram_bytes: 0,
    swap_cached_bytes: 0,
};

fuzz_target!(|bytes: &[u8]| {
    let mut files = [&[][..]; 6];
    for (file, text) in files.iter_mut().zip(bytes.splitn(6, |&byte| byte == 0)) {
        *file = text;
    }
    for is_version_1 in [false, true] {
        let (read, told) = cgroup(&MACHINE, is_version_1, files);
        told.iter().for_each(check_printable);
        if let Ok(memory) = read {
            check(&memory);
        }
    }
});

fn check(memory: &Memory) {
    check_parts(memory);
    assert!(memory.available_bytes <= MACHINE.available_bytes);
    assert!(
        memory.at_least_bytes <= memory.available_bytes,
        "{memory:?}"
    );
    assert!(
        memory.usable_bytes() <= MACHINE.usable_bytes(),
        "{memory:?}"
    );
    assert!(memory.swap_free_bytes <= MACHINE.swap_free_bytes);
    assert!(memory.swap_total_bytes <= MACHINE.swap_total_bytes);
}
