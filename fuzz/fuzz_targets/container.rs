//! What a container runtime answers: what is kept of it is bounded, and what is
//! said of an answer that is none can be printed.

#![no_main]

use fuzz::check_printable;
use libfuzzer_sys::fuzz_target;

const ID: &[u8; 64] = b"8d9f0b52a1c34d7e96f0aa55cc0d13b27f6e4a90d1b8c3e2f4a5968778695a4b";

fuzz_target!(|text: &[u8]| match containers::fuzzing::answer(text, ID) {
    Ok(Some(container)) => {
        assert!(container.name.len() <= 1024 && container.image.len() <= 1024);
        let labels = container.labels.iter().map(|label| label.len());
        assert!(labels.clone().all(|bytes| bytes <= 1024));
        assert!(labels.sum::<usize>() <= 16 << 10);
    }
    Ok(None) => {}
    Err(err) => check_printable(err),
});
