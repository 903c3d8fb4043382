//! The text of the kernel module: whatever it says, what is taken for true can
//! be.

#![no_main]

use std::fmt::Write;

use fuzz::{Text, check_printable};
use libfuzzer_sys::fuzz_target;
use model::Memory;
use sensors::{Notified, Notifier};

/// What is told apart in it, each at most once a reading.
const FIELDS: usize = 7;

thread_local! {
    static TEXT: Text = Text::empty();
}

fuzz_target!(|bytes: &[u8]| {
    TEXT.with(|text| {
        text.set(bytes);
        let mut notifier = Notifier::open(&text.path()).expect("ours").expect("there");
        let notified = notifier.read().expect("it can be read");
        let total_bytes = notified.total_bytes.unwrap_or(u64::MAX);
        let held_bytes = notified.hugetlb_bytes.unwrap_or(0);
        assert_ne!(total_bytes, 0);
        assert!(held_bytes <= total_bytes);
        assert!(notified.available_bytes.unwrap_or(0) <= total_bytes - held_bytes);
        assert!(notified.swap_free_bytes.unwrap_or(0) <= notified.swap_total_bytes.unwrap_or(0));
        assert!(told(&mut notifier) <= FIELDS);
        assert_eq!(notifier.read().expect("as before"), notified);
        assert_eq!(told(&mut notifier), 0);

        let before = Memory {
            total_bytes: 1 << 30,
            hugetlb_bytes: 1 << 29,
            swap_total_bytes: 1 << 20,
            swap_free_bytes: 1 << 20,
            ..Memory::default()
        };
        if let Some(memory) = notified.updated(before) {
            assert!(
                memory.available_bytes <= memory.usable_bytes(),
                "{memory:?}"
            );
            assert!(memory.swap_free_bytes <= memory.swap_total_bytes);
            assert_eq!(Some(memory.swap_total_bytes), notified.swap_total_bytes);
            assert_eq!(Some(memory.swap_free_bytes), notified.swap_free_bytes);
        }
        text.set(printed(&notified).as_bytes());
        assert_eq!(notifier.read().expect("as before"), notified);
    });
});

/// As the module would say it.
fn printed(notified: &Notified) -> String {
    let mut text = match notified.level {
        Some(level) => format!("{}\n", level as u8),
        None => "?\n".to_owned(),
    };
    for (key, value) in [
        ("MemTotalBytes", notified.total_bytes),
        ("HugetlbBytes", notified.hugetlb_bytes),
        ("MemAvailableBytes", notified.available_bytes),
        ("SwapTotalBytes", notified.swap_total_bytes),
        ("SwapFreeBytes", notified.swap_free_bytes),
        ("Sequence", notified.sequence),
    ] {
        if let Some(value) = value {
            let _ = writeln!(text, "{key}: {value}");
        }
    }
    text
}

fn told(notifier: &mut Notifier) -> usize {
    let told = std::iter::from_fn(|| notifier.next_implausible());
    told.map(check_printable).count()
}
