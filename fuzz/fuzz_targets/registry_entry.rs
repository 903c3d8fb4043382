//! An entry of the registry: its name, its first word, and the mark on it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use value_registry::{MAX_VALUE, fuzzing};

fuzz_target!(|text: &[u8]| {
    match fuzzing::value(text) {
        Ok(value) => {
            assert!(value <= MAX_VALUE);
            let word = text
                .split(u8::is_ascii_whitespace)
                .find(|word| !word.is_empty());
            let printed = value.to_string();
            assert_eq!(word, Some(printed.as_bytes()));
            assert_eq!(fuzzing::value(printed.as_bytes()), Ok(value));
            let commented = [text, b"\n7 never mind"].concat();
            assert_eq!(fuzzing::value(&commented), Ok(value));
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
