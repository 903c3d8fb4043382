//! An entry as text: its name and its first word. No I/O.

use crate::MAX_VALUE;

/// What an entry may hold at most, in bytes.
pub(crate) const MAX_BYTES: usize = 256;

/// An entry's text gives no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// There is no word in it.
    #[error("it is empty")]
    Empty,
    /// Its first word is not written in the digits 0 to 9 alone, or begins
    /// with a needless 0 (ten or octal eight?).
    #[error("its first word is not a whole number from 0 to {MAX_VALUE}")]
    NotANumber,
    /// Its first word is a number that is too large.
    #[error("its value is above {MAX_VALUE}")]
    OutOfRange,
}

/// The value that `text` gives: its first word, in plain digits. What follows
/// is a comment.
pub(crate) fn parse_value(text: &[u8]) -> Result<u32, ValueError> {
    let word = text
        .split(u8::is_ascii_whitespace)
        .find(|word| !word.is_empty())
        .ok_or(ValueError::Empty)?;
    if !is_canonical(word) {
        return Err(ValueError::NotANumber);
    }
    parse(word)
        .filter(|value| *value <= MAX_VALUE)
        .ok_or(ValueError::OutOfRange)
}

/// The pid that `name` is, written as the kernel writes it; `None` for any
/// other name.
pub(crate) fn parse_pid(name: &[u8]) -> Option<u32> {
    if !is_canonical(name) {
        return None;
    }
    parse(name).filter(|pid| *pid != 0)
}

/// Whether `word` is a number the way a program would print it.
fn is_canonical(word: &[u8]) -> bool {
    match word {
        [] => false,
        [b'0', _, ..] => false,
        digits => digits.iter().all(u8::is_ascii_digit),
    }
}

/// `None` where it does not fit a pid_t.
fn parse(digits: &[u8]) -> Option<u32> {
    let number: i32 = str::from_utf8(digits).ok()?.parse().ok()?;
    u32::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ValueError, parse_pid, parse_value};
    use crate::MAX_VALUE;

    #[track_caller]
    fn check(text: &[u8], want: Result<u32, ValueError>) {
        assert_eq!(parse_value(text), want, "{}", text.escape_ascii());
    }

    #[test]
    fn the_first_word_is_the_value() {
        check(b"8\n", Ok(8));
        check(b"8", Ok(8));
        check(b"0\n", Ok(0));
        check(b"1000000\n", Ok(1_000_000));
        check(b"\t 9 training run, do not end\nsecond line", Ok(9));
    }

    #[test]
    fn what_has_no_word_is_empty() {
        check(b"", Err(ValueError::Empty));
        check(b" \t\r\n", Err(ValueError::Empty));
    }

    #[test]
    fn a_number_too_large_is_out_of_range() {
        check(b"1000001", Err(ValueError::OutOfRange));
        check(b"4294967304", Err(ValueError::OutOfRange));
        check(&[b'9'; 256], Err(ValueError::OutOfRange));
    }

    #[test]
    fn nothing_but_plain_digits_is_a_number() {
        for text in [
            "-5",
            "+5",
            "1e9",
            "٣",
            "0x10",
            "8.0",
            "8,",
            "010",
            "00",
            "½",
            "8\0",
            "\u{feff}8",
            "inf",
        ] {
            check(text.as_bytes(), Err(ValueError::NotANumber));
        }
        check(b"\xff\xfe8", Err(ValueError::NotANumber));
    }

    #[test]
    fn only_a_pid_as_the_kernel_writes_it_names_an_entry() {
        assert_eq!(parse_pid(b"1"), Some(1));
        assert_eq!(parse_pid(b"4194304"), Some(4_194_304));
        assert_eq!(parse_pid(b"2147483647"), Some(2_147_483_647));
        for name in [
            &b""[..],
            b"0",
            b"007",
            b"+7",
            b"-7",
            b"7 ",
            b"7.tmp",
            b".",
            b"..",
            b"2147483648",
            b"99999999999999999999",
            "٧".as_bytes(),
        ] {
            assert_eq!(parse_pid(name), None, "{}", name.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_canonical_number_or_none(
            text in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            if let Ok(value) = parse_value(&text) {
                prop_assert!(value <= MAX_VALUE);
                let word = text
                    .split(u8::is_ascii_whitespace)
                    .find(|word| !word.is_empty())
                    .expect("it has a value, so a word");
                let printed = value.to_string();
                prop_assert_eq!(word, printed.as_bytes());
            }
        }

        #[test]
        fn near_numbers_give_a_canonical_number_or_none(text in "[ \t\n]{0,2}[0-9+eE.-]{0,9}[ x]?") {
            let word = text.split_ascii_whitespace().next();
            let want = word.filter(|word| {
                word.parse::<u32>().is_ok_and(|value| value <= MAX_VALUE && value.to_string() == **word)
            });
            prop_assert_eq!(
                parse_value(text.as_bytes()).ok().map(|value| value.to_string()),
                want.map(str::to_owned)
            );
        }

        #[test]
        fn any_name_is_a_canonical_pid_or_none(
            name in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            if let Some(pid) = parse_pid(&name) {
                let printed = pid.to_string();
                prop_assert_eq!(&name[..], printed.as_bytes());
            }
        }
    }
}
