//! An entry of the registry: its name, its first word, what it says of pausing,
//! and the mark on it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use value_registry::{MAX_VALUE, fuzzing};

fuzz_target!(|text: &[u8]| {
    match fuzzing::entry(text) {
        Ok((value, may_pause)) => {
            assert!(value <= MAX_VALUE);
            let word = text
                .split(u8::is_ascii_whitespace)
                .find(|word| !word.is_empty());
            let printed = value.to_string();
            assert_eq!(word, Some(printed.as_bytes()));
            assert_eq!(fuzzing::entry(printed.as_bytes()), Ok((value, None)));
            let commented = [text, b"\n7 pause nopause"].concat();
            assert_eq!(fuzzing::entry(&commented), Ok((value, may_pause)));
            let labelled = |label: &[u8]| [printed.as_bytes(), b" ", label].concat();
            let labelled = |label| fuzzing::entry(&labelled(label));
            assert_eq!(labelled(b"nopause"), Ok((value, Some(false))));
            assert_eq!(labelled(b"pause"), Ok((value, Some(true))));
            if let Some(may_pause) = may_pause {
                let mut words = text.split(u8::is_ascii_whitespace);
                assert!(
                    words.any(|word| word == if may_pause { &b"pause"[..] } else { b"nopause" })
                );
            }
        }
        Err(err) => fuzz::check_printable(err),
    }
    if let Some(pid) = fuzzing::pid(text) {
        assert!(pid > 0 && i32::try_from(pid).is_ok());
        assert_eq!(text, pid.to_string().as_bytes());
    }
    if let Some(mark) = fuzzing::mark(text) {
        assert_eq!(text, mark.as_bytes());
    }
});
