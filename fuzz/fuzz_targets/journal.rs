//! A line of a journal: what is read of it is written as what is read again, and
//! a replay takes whatever comes.

#![no_main]

use journal::{Replay, fuzzing};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let mut replay = Replay::default();
    for text in text.split(|byte| *byte == b'\n') {
        let Some(line) = fuzzing::line(text) else {
            continue;
        };
        let written = serde_json::to_vec(&line).expect("it can be written");
        let again = fuzzing::line(&written).expect("it can be read");
        assert_eq!(
            serde_json::to_vec(&again).expect("it can be written"),
            written
        );
        replay.take(&line);
    }
});
