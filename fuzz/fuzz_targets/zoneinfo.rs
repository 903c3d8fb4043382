//! Zoneinfo: no more waits in the lists of all CPUs than they can hold.

#![no_main]

use fuzz::{Text, check_printable};
use libfuzzer_sys::fuzz_target;
use rustix::param::page_size;
use sensors::Zoneinfo;

/// No machine has more of anything.
const MOST_BYTES: u64 = 1 << 56;

thread_local! {
    static TEXT: Text = Text::empty();
}

fuzz_target!(|bytes: &[u8]| {
    TEXT.with(|text| {
        text.set(bytes);
        let mut zoneinfo = Zoneinfo::open(&text.path()).expect("ours");
        let listed_bytes = match zoneinfo.per_cpu_bytes(true) {
            Ok(listed_bytes) => listed_bytes,
            Err(err) => return check_printable(err),
        };
        assert!(listed_bytes <= MOST_BYTES);
        assert_eq!(listed_bytes % page_size() as u64, 0);
        assert!(told(&mut zoneinfo) <= 2);
        assert_eq!(zoneinfo.per_cpu_bytes(true).expect("as before"), listed_bytes);
        assert_eq!(told(&mut zoneinfo), 0);

        // An eighth of memory and some slack at most.
        let mut zoneinfo = Zoneinfo::open(&text.path()).expect("ours");
        let pages = 1 << 10;
        text.set(format!("Node 0, zone DMA\n managed {pages}\n count: {pages}\n").as_bytes());
        assert_eq!(zoneinfo.per_cpu_bytes(true).expect("a zone"), 0);
        assert_eq!(told(&mut zoneinfo), 1);

        // What the lists hold is what is printed of them.
        let pages = listed_bytes / page_size() as u64;
        text.set(format!("Node 0, zone Normal\n count: {pages}\n").as_bytes());
        assert_eq!(zoneinfo.per_cpu_bytes(true).expect("a zone"), listed_bytes);
    });
});

fn told(zoneinfo: &mut Zoneinfo) -> usize {
    let told = std::iter::from_fn(|| zoneinfo.next_implausible());
    told.map(check_printable).count()
}
