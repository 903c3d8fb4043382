//! An entry of the registry: its name, its value, what unsaved work adds, what it
//! says of pausing, and the mark on it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use value_registry::{MAX_VALUE, fuzzing};

fuzz_target!(|text: &[u8]| {
    match fuzzing::entry(text) {
        Ok((value, rate, may_pause)) => {
            assert!(value <= MAX_VALUE);
            let word = text
                .split(u8::is_ascii_whitespace)
                .find(|word| !word.is_empty());
            let printed = value.to_string();
            assert_eq!(word, Some(printed.as_bytes()));
            assert_eq!(fuzzing::entry(printed.as_bytes()), Ok((value, None, None)));
            let commented = [text, b"\n7 pause nopause"].concat();
            assert_eq!(fuzzing::entry(&commented), Ok((value, rate, may_pause)));
            let labelled = |label: &[u8]| [printed.as_bytes(), b" ", label].concat();
            let labelled = |label| fuzzing::entry(&labelled(label));
            assert_eq!(labelled(b"nopause"), Ok((value, None, Some(false))));
            assert_eq!(labelled(b"pause"), Ok((value, None, Some(true))));
            if let Some(rate) = rate {
                assert!(rate.points <= MAX_VALUE);
                let second = text
                    .split(u8::is_ascii_whitespace)
                    .filter(|word| !word.is_empty())
                    .nth(1);
                assert_eq!(second, Some(rate.to_string().as_bytes()));
                let again = format!("{value} {rate} nopause");
                assert_eq!(
                    fuzzing::entry(again.as_bytes()),
                    Ok((value, Some(rate), Some(false)))
                );
            }
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
