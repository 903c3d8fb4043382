//! An entry as text: its name, its first word, and what it says of pausing. No
//! I/O.

use std::fmt::{self, Write};

use model::{PauseWord, Per, Rate};

use crate::{MAX_VALUE, Reason};

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
    #[error(
        "its first word is not a whole number from 0 to {MAX_VALUE}, in digits alone: write `8` \
         or `8 nopause`"
    )]
    NotANumber,
    /// An editor has put a mark of the encoding before its first word.
    #[error("it begins with a byte order mark: save it as UTF-8 without one, or `echo 8` into it")]
    ByteOrderMark,
    /// Its first word is a number that is too large.
    #[error("its value is above {MAX_VALUE}")]
    OutOfRange,
    /// Something like `+3/h` is not written so, or not right behind the value.
    #[error(
        "what unsaved work adds is not a whole number from 0 to {MAX_VALUE} right after the \
         value, per hour, minute (`m`) or day (`d`): write `8 +3/h`"
    )]
    Rate,
    /// It would fall with unsaved work.
    #[error("its value would fall with unsaved work, and can only grow: write `8 +3/h`")]
    NegativeRate,
    /// What unsaved work adds is too large.
    #[error("what unsaved work adds is above {MAX_VALUE}: write `8 +3/h`")]
    RateOutOfRange,
}

/// What an entry gives its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) value: u32,
    pub(crate) rate: Option<Rate>,
    pub(crate) pause: Option<PauseWord>,
    pub(crate) slip: Option<Slip>,
    pub(crate) labels: Labels,
}

/// The words of an entry behind its value: `alice resnet` of `8 alice resnet`.
///
/// Its user writes what it likes. [`fmt::Display`] puts one space between them,
/// `?` for what is not printable ASCII, a backslash before quotes, and `…` at the
/// end of what was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Labels {
    bytes: [u8; Self::BYTES],
    len: u8,
    is_cut: bool,
}

impl Labels {
    /// No more of them is kept.
    pub const BYTES: usize = 46;

    const NONE: Self = Self {
        bytes: [0; Self::BYTES],
        len: 0,
        is_cut: false,
    };

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn add(&mut self, word: &[u8]) {
        let separator = if self.len == 0 { &b""[..] } else { b" " };
        for byte in separator.iter().chain(word) {
            match self.bytes.get_mut(usize::from(self.len)) {
                Some(place) => {
                    *place = *byte;
                    self.len += 1;
                }
                None => self.is_cut = true,
            }
        }
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.bytes[..usize::from(self.len)] {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                b' '..=b'~' => f.write_char(char::from(*byte))?,
                _ => f.write_char('?')?,
            }
        }
        if self.is_cut {
            f.write_char('…')
        } else {
            Ok(())
        }
    }
}

/// What an entry says of pausing and cannot mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slip {
    /// `pause` and `nopause`: the latter counts.
    Both,
    /// A word that has no effect, and nearly is this one.
    Near(PauseWord),
}

/// What `text` says where it is a value alone, as an entry begins: `8`, `8 +3/h`.
///
/// # Errors
///
/// [`ValueError`]: it is not one.
pub fn parse_worth(text: &str) -> Result<(u32, Option<Rate>), ValueError> {
    let given = parse_entry(text.as_bytes())?;
    let words = 1 + usize::from(given.rate.is_some());
    if words < text.split_ascii_whitespace().count() {
        return Err(ValueError::Rate);
    }
    Ok((given.value, given.rate))
}

/// Whether `entry`, written as a line, is an entry that counts where its owner and
/// its process are right; and what it says of pausing and cannot mean.
///
/// # Errors
///
/// - [`Reason::TooLarge`]: it is too long.
/// - [`Reason::Value`]: it gives no value.
pub fn check_entry(entry: &str) -> Result<Option<Slip>, Reason> {
    // As `write` has it: with the end of the line.
    let bytes = entry.len() as u64 + 1;
    if MAX_BYTES as u64 <= entry.len() as u64 {
        return Err(Reason::TooLarge { bytes });
    }
    parse_entry(entry.as_bytes())
        .map(|given| given.slip)
        .map_err(Reason::Value)
}

/// What `text` gives: its first word, in plain digits, is the value, to which a
/// word like `+3/h` may add. The words behind on its line are labels, of which
/// `pause` and `nopause` mean something; the other lines are a comment.
pub(crate) fn parse_entry(text: &[u8]) -> Result<Given, ValueError> {
    let line = text.trim_ascii_start().split(|byte| *byte == b'\n').next();
    let mut words = line
        .unwrap_or_default()
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .peekable();
    let value = parse_value(words.next().ok_or(ValueError::Empty)?)?;
    let rate = words.next_if(|word| looks_like_rate(word));
    let rate = rate.map(parse_rate).transpose()?;
    let (mut asks, mut forbids, mut near) = (false, false, None);
    let mut before: &[u8] = b"";
    let mut labels = Labels::NONE;
    for word in words {
        labels.add(word);
        match word {
            // "do not pause" asks for the opposite.
            b"pause" if is_no(before) => near = Some(PauseWord::NoPause),
            b"pause" => asks = true,
            b"nopause" => forbids = true,
            _ if looks_like_rate(word) => return Err(ValueError::Rate),
            _ => near = near_miss(word).or(near),
        }
        before = word;
    }
    let pause = match (asks, forbids) {
        (_, true) => Some(PauseWord::NoPause),
        (true, false) => Some(PauseWord::Pause),
        (false, false) => None,
    };
    let slip = match near.filter(|near| pause != Some(*near)) {
        _ if asks && forbids => Some(Slip::Both),
        near => near.map(Slip::Near),
    };
    Ok(Given {
        value,
        rate,
        pause,
        slip,
        labels,
    })
}

fn parse_value(word: &[u8]) -> Result<u32, ValueError> {
    // UTF-8, UTF-16 of either order.
    const MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];

    if MARKS.iter().any(|mark| word.starts_with(mark)) {
        return Err(ValueError::ByteOrderMark);
    }
    if !is_canonical(word) {
        return Err(ValueError::NotANumber);
    }
    parse(word)
        .filter(|value| *value <= MAX_VALUE)
        .ok_or(ValueError::OutOfRange)
}

/// Whether `word` can only be meant as a rate: `+3/h`, and `+3`, `-3/h`, `3/h`,
/// `+3h`, `+x/h` too; `+gpu`, `-v`, `3/5` and `3/nodes` are labels.
fn looks_like_rate(word: &[u8]) -> bool {
    const UNITS: [&[u8]; 7] = [b"s", b"m", b"min", b"h", b"hour", b"d", b"day"];

    let signed = word.strip_prefix(b"+").or(word.strip_prefix(b"-"));
    let number = signed.unwrap_or(word);
    let has_number = number.first().is_some_and(u8::is_ascii_digit);
    let unit = number.rsplit(|byte| *byte == b'/').next();
    let unit = unit.filter(|unit| unit.len() < number.len());
    let is_per_time =
        unit.is_some_and(|unit| UNITS.iter().any(|known| unit.eq_ignore_ascii_case(known)));
    (signed.is_some() && (has_number || is_per_time)) || (has_number && is_per_time)
}

fn parse_rate(word: &[u8]) -> Result<Rate, ValueError> {
    if word.starts_with(b"-") {
        return Err(ValueError::NegativeRate);
    }
    let (points, per) = word
        .strip_prefix(b"+")
        .and_then(|rate| rate.split_last_chunk())
        .ok_or(ValueError::Rate)?;
    let per = match per {
        b"/m" => Per::Minute,
        b"/h" => Per::Hour,
        b"/d" => Per::Day,
        _ => return Err(ValueError::Rate),
    };
    let points = parse_value(points).map_err(|err| match err {
        ValueError::OutOfRange => ValueError::RateOutOfRange,
        _ => ValueError::Rate,
    })?;
    Ok(Rate { points, per })
}

fn is_no(word: &[u8]) -> bool {
    [&b"no"[..], b"not", b"never", b"don't", b"dont"]
        .iter()
        .any(|no| word.eq_ignore_ascii_case(no))
}

/// Which word was meant by one that differs from it in case, in punctuation or
/// by one slip behind the first letter.
fn near_miss(word: &[u8]) -> Option<PauseWord> {
    const LONGEST: usize = b"nopause".len() + 1;

    let mut letters = [0; LONGEST];
    let mut len = 0;
    for letter in word.iter().filter(|byte| byte.is_ascii_alphabetic()) {
        *letters.get_mut(len)? = letter.to_ascii_lowercase();
        len += 1;
    }
    match &letters[..len] {
        // What many a job does.
        b"parse" => None,
        letters if is_one_slip_from(letters, b"pause") => Some(PauseWord::Pause),
        letters if is_one_slip_from(letters, b"nopause") => Some(PauseWord::NoPause),
        _ => None,
    }
}

/// Whether one letter behind the first is missing, too many or another, or two
/// have changed places, at most.
fn is_one_slip_from(word: &[u8], meant: &[u8]) -> bool {
    let alike = |(one, other): &(&u8, &u8)| one == other;
    let first = word.iter().zip(meant).take_while(alike).count();
    let (word, meant) = (&word[first..], &meant[first..]);
    let last = word.iter().rev().zip(meant.iter().rev());
    let last = last.take_while(alike).count();
    first > 0
        && match (&word[..word.len() - last], &meant[..meant.len() - last]) {
            ([] | [_], [] | [_]) => true,
            ([a, b], [c, d]) => a == d && b == c,
            _ => false,
        }
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

    use model::{PauseWord, Per, Rate};

    use super::{Labels, MAX_BYTES, Slip, ValueError, check_entry, parse_entry, parse_pid};
    use crate::{MAX_VALUE, Reason};

    fn parse_value(text: &[u8]) -> Result<u32, ValueError> {
        parse_entry(text).map(|given| given.value)
    }

    #[track_caller]
    fn check(text: &[u8], want: Result<u32, ValueError>) {
        assert_eq!(parse_value(text), want, "{}", text.escape_ascii());
    }

    /// That `text` gives a value of 8 and these.
    #[track_caller]
    fn check_given(text: &str, rate: Option<Rate>, pause: Option<PauseWord>, slip: Option<Slip>) {
        let given = parse_entry(text.as_bytes());
        let given = given.map(|it| (it.value, it.rate, it.pause, it.slip));
        assert_eq!(given, Ok((8, rate, pause, slip)), "{text:?}");
    }

    #[track_caller]
    fn check_pause(text: &str, pause: Option<PauseWord>, slip: Option<Slip>) {
        check_given(text, None, pause, slip);
    }

    #[test]
    fn a_word_behind_the_value_says_whether_the_process_may_be_paused() {
        let (pause, nopause) = (Some(PauseWord::Pause), Some(PauseWord::NoPause));
        check_pause("8\n", None, None);
        check_pause("8 alice resnet\n", None, None);
        check_pause("8 pause\n", pause, None);
        check_pause("\t8\tnopause", nopause, None);
        check_pause("8 alice pause resnet", pause, None);
        check_pause("8 nopause nopause\r\n", nopause, None);
        // The rest is a comment, as it always was.
        check_pause("8\npause", None, None);
        check_pause("\n\n8 alice\nnopause PAUSE", None, None);
    }

    #[test]
    fn a_word_behind_the_value_says_what_unsaved_work_adds() {
        #[track_caller]
        fn check(text: &str, points: u32, per: Per, pause: Option<PauseWord>) {
            check_given(text, Some(Rate { points, per }), pause, None);
        }

        check("8 +3/h", 3, Per::Hour, None);
        check("8\t+0/m\r\n", 0, Per::Minute, None);
        check("8 +1000000/d\n+x/h", 1_000_000, Per::Day, None);
        let (pause, nopause) = (Some(PauseWord::Pause), Some(PauseWord::NoPause));
        check("8 +3/h pause alice", 3, Per::Hour, pause);
        check("8 +3/h resnet nopause", 3, Per::Hour, nopause);
    }

    #[test]
    fn labels_are_the_words_behind_value_and_rate_made_printable_and_cut() {
        #[track_caller]
        fn check(text: &[u8], want: &str) {
            let given = parse_entry(text).expect("it has a value");
            assert_eq!(given.labels.to_string(), want, "{}", text.escape_ascii());
        }

        check(b"8\nalice\n", "");
        check(b"8 +3/h  alice\tresnet pause\nmore", "alice resnet pause");
        check(b"8 \"a\\b\x1b[m\xff", "\\\"a\\\\b?[m?");
        let just = "x".repeat(Labels::BYTES);
        check(format!("8 {just}").as_bytes(), &just);
        check(format!("8 {just}y").as_bytes(), &format!("{just}…"));
        check(format!("8 {just} y").as_bytes(), &format!("{just}…"));
    }

    #[test]
    fn what_can_only_be_meant_as_a_rate_and_is_none_is_refused() {
        for text in [
            "+3",
            "+3h",
            "+3/H",
            "+3/s",
            "+3/hour",
            "+3/",
            "+03/h",
            "+1.5/h",
            "+3,5/h",
            "+/h",
            "+x/h",
            "+٣/h",
            "++3/h",
            "+-3/h",
            "3/h",
            "3/hour",
            "+3/h/h",
            "+3/h +3/h",
            "pause +3/h",
            "+ 3/h",
            "alice +3",
        ] {
            check(format!("8 {text}").as_bytes(), Err(ValueError::Rate));
        }
        for text in ["-3/h", "-3", "-0/h", "-x/h"] {
            check(
                format!("8 {text}").as_bytes(),
                Err(ValueError::NegativeRate),
            );
        }
        for text in ["+1000001/h", "+99999999999999999999/h"] {
            check(
                format!("8 {text}").as_bytes(),
                Err(ValueError::RateOutOfRange),
            );
        }
        check(b"8+3/h", Err(ValueError::NotANumber));
        for text in [
            "+gpu",
            "-v",
            "3/5",
            "3/nodes",
            "+a/b",
            "+",
            "-",
            "x/h",
            "1/2 of it",
            "/h",
            "3/",
        ] {
            check(format!("8 {text}").as_bytes(), Ok(8));
        }
    }

    #[test]
    fn of_both_words_the_careful_one_counts() {
        let nopause = Some(PauseWord::NoPause);
        check_pause("8 pause nopause", nopause, Some(Slip::Both));
        check_pause("8 nopause alice pause", nopause, Some(Slip::Both));
    }

    #[test]
    fn what_is_nearly_one_of_the_words_means_nothing_and_is_said() {
        for text in [
            "pauze", "PAUSE", "Pause,", "paus", "puase", "paause", "paused", "pause!",
        ] {
            let slip = Some(Slip::Near(PauseWord::Pause));
            check_pause(&format!("8 {text}"), None, slip);
        }
        for text in [
            "no-pause",
            "no_pause",
            "noPause",
            "nopuase",
            "nopauze",
            "nopauses",
            "no pause",
            "do not pause",
            "Never pause",
            "don't pause",
        ] {
            let slip = Some(Slip::Near(PauseWord::NoPause));
            check_pause(&format!("8 {text}"), None, slip);
        }
        let slip = Some(Slip::Near(PauseWord::NoPause));
        check_pause("8 pause no-pause", Some(PauseWord::Pause), slip);
        check_pause("8 nopause NOPAUSE", Some(PauseWord::NoPause), None);
    }

    #[test]
    fn other_words_are_labels() {
        for text in [
            "parse",
            "cause",
            "because",
            "pass",
            "phase",
            "pulse",
            "pauline",
            "p",
            "nop",
            "noise",
            "unpause",
            "pausenopause",
            "résumé",
            "\u{1b}[2J",
        ] {
            check_pause(&format!("8 {text}"), None, None);
        }
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
            "-5", "+5", "1e9", "٣", "0x10", "8.0", "8,", "010", "00", "½", "8\0", "inf",
        ] {
            check(text.as_bytes(), Err(ValueError::NotANumber));
        }
        for text in [
            &b"\xef\xbb\xbf8\n"[..],
            b"\xff\xfe8\0\n\0",
            b"\xfe\xff\x008",
        ] {
            check(text, Err(ValueError::ByteOrderMark));
        }
    }

    #[test]
    fn what_is_to_be_written_is_checked_as_what_is_read() {
        let longest = format!("8 {}", "x".repeat(MAX_BYTES - 3));
        for entry in ["8", "8 +3/h", "8 +3/h nopause alice", &longest] {
            assert_eq!(check_entry(entry), Ok(None), "{entry}");
        }
        assert_eq!(check_entry("8 pause nopause"), Ok(Some(Slip::Both)));
        let bytes = MAX_BYTES as u64 + 1;
        let too_long = format!("{longest}x");
        for (entry, want) in [
            ("8 +3/hour", Reason::Value(ValueError::Rate)),
            ("8 alice +3/h", Reason::Value(ValueError::Rate)),
            ("8.0", Reason::Value(ValueError::NotANumber)),
            ("", Reason::Value(ValueError::Empty)),
            (&too_long, Reason::TooLarge { bytes }),
        ] {
            assert_eq!(check_entry(entry), Err(want), "{entry}");
        }
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
