//! Meminfo: whatever it says, what is taken for true can be.

#![no_main]

use fuzz::{Text, check_parts, check_printable};
use libfuzzer_sys::fuzz_target;
use model::Memory;
use sensors::Meminfo;

/// No machine has more of anything.
const MOST_BYTES: u64 = 1 << 56;

/// What is told apart in it, each at most once a reading.
const FIELDS: usize = 17;

thread_local! {
    static TEXT: Text = Text::empty();
}

fuzz_target!(|bytes: &[u8]| {
    TEXT.with(|text| {
        text.set(bytes);
        let mut meminfo = Meminfo::open(&text.path()).expect("ours");
        let memory = match meminfo.read() {
            Ok(memory) => memory,
            Err(err) => return check_printable(err),
        };
        check(&memory);
        assert!(told(&mut meminfo) <= FIELDS);
        // It says the same, and nothing of it is new.
        assert_eq!(meminfo.read().expect("it was read before"), memory);
        assert_eq!(told(&mut meminfo), 0);
        // Later readings stand on the total of this one.
        text.set(&[b"MemTotal: lost\nMemFree: 1 kB\n", bytes].concat());
        let later = meminfo.read().expect("total and free memory are known");
        assert_eq!(later.total_bytes, memory.total_bytes);
        check(&later);
        told(&mut meminfo);
    });
});

fn check(memory: &Memory) {
    assert!(0 < memory.total_bytes && memory.total_bytes <= MOST_BYTES);
    check_parts(memory);
    assert!(memory.usable_bytes() > 0, "{memory:?}");
    assert!(memory.swap_total_bytes <= MOST_BYTES);
    let pool_bytes = memory.available_bytes + memory.swap_free_bytes;
    assert_eq!(memory.pool_bytes(), pool_bytes);
}

fn told(meminfo: &mut Meminfo) -> usize {
    let told = std::iter::from_fn(|| meminfo.next_implausible());
    told.map(check_printable).count()
}
