//! The width of a terminal, lines folded to it at words, and how a program says
//! there what went wrong.
//!
//! A pipe or a file has no width. Lines that go there are not folded, so grep(1)
//! finds them whole.
//!
//! ```
//! let text = "freed 391 MiB from 2 processes in 9.306 s; sum of values lost: 12\n";
//! assert_eq!(
//!     terminal::fold(text, Some(50), 4),
//!     "freed 391 MiB from 2 processes in 9.306 s;\n    sum of values lost: 12\n"
//! );
//! assert_eq!(terminal::fold(text, None, 4), text);
//! ```

use std::borrow::Cow;
use std::error::Error;
use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::termios::{isatty, tcgetwinsize};

/// What a terminal has that does not say how wide it is.
const USUAL: usize = 80;

/// What `--version` says: in a release build with the commit it was made of.
pub const VERSION: &str = env!("USER_OOM_VERSION");

/// How many columns the terminal has that `stream` goes to; `None`: it goes
/// elsewhere.
pub fn width(stream: impl AsFd) -> Option<usize> {
    if !isatty(&stream) {
        return None;
    }
    let columns = tcgetwinsize(&stream).map_or(0, |size| usize::from(size.ws_col));
    Some(if columns == 0 { USUAL } else { columns })
}

/// `err` and all its causes, outermost first, in one line.
#[must_use]
pub fn chain(err: &dyn Error) -> String {
    let mut line = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        line.push_str(": ");
        line.push_str(&err.to_string());
        cause = err.source();
    }
    line
}

/// Says `what` on standard error, folded, in the name of `program`. Where that
/// takes nothing there is nowhere left to say so.
pub fn complain(program: &str, what: &str) {
    let line = format!("{program}: {what}\n");
    let width = width(io::stderr());
    let _ = io::stderr().write_all(fold(&line, width, 4).as_bytes());
}

/// `text` with each line folded at words to fit `width`, if there is one. What
/// is folded goes on after `hang` spaces.
///
/// A word that is too long stays whole. Colours (SGR sequences) take no room.
#[must_use]
pub fn fold(text: &str, width: Option<usize>, hang: usize) -> Cow<'_, str> {
    let Some(width) = width else {
        return Cow::Borrowed(text);
    };
    if text.lines().all(|line| columns(line) <= width) {
        return Cow::Borrowed(text);
    }
    let mut folded = String::with_capacity(text.len() + text.len() / 8);
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        let mut indent = 0;
        while let Some(at) = break_at(rest.trim_end_matches('\n'), width.saturating_sub(indent)) {
            folded.push_str(&rest[..at]);
            folded.push('\n');
            folded.extend(std::iter::repeat_n(' ', hang));
            rest = rest[at..].trim_start_matches(' ');
            indent = hang;
        }
        folded.push_str(rest);
    }
    Cow::Owned(folded)
}

/// How many columns `line` takes.
fn columns(line: &str) -> usize {
    places(line).count()
}

/// The characters of `line` that take a column, each with where it begins.
fn places(line: &str) -> impl Iterator<Item = (usize, char)> {
    let mut is_colour = false;
    line.char_indices().filter(move |&(_, char)| {
        let shown = !is_colour && char != '\x1b';
        is_colour = match char {
            '\x1b' => true,
            'm' => false,
            _ => is_colour,
        };
        shown
    })
}

/// Where to fold `line`, if it has more than `width` columns: behind a comma or
/// the like where that leaves half of the line, else at the last space that
/// fits, else at the first one.
fn break_at(line: &str, width: usize) -> Option<usize> {
    if columns(line) <= width {
        return None;
    }
    let begins = line.len() - line.trim_start().len();
    let (mut last, mut after_pause) = (None, None);
    let mut before = ' ';
    for (column, (at, char)) in places(line).enumerate() {
        if char == ' ' && begins < at && before != ' ' && !is_unit(&line[at..]) {
            if width < column {
                return after_pause.or(last).or(Some(at));
            }
            last = Some(at);
            if matches!(before, ',' | ';' | ':') && width / 2 <= column {
                after_pause = last;
            }
        }
        before = char;
    }
    after_pause.or(last)
}

/// Whether `rest` goes on with the unit of the number before it, which stays
/// with that.
fn is_unit(rest: &str) -> bool {
    let word = rest.split_whitespace().next().unwrap_or_default();
    ["%", "KiB", "MiB", "s"].contains(&word.trim_end_matches([',', ';', ':', '.', ')']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, width: usize, want: &str) {
        assert_eq!(fold(text, Some(width), 2), want);
    }

    #[test]
    fn a_line_that_fits_stays_as_it_is() {
        check("one two\nthree\n", 7, "one two\nthree\n");
        check("", 7, "");
    }

    #[test]
    fn a_line_that_does_not_fit_is_folded_at_words_and_goes_on_indented() {
        check("one two three four", 9, "one two\n  three\n  four");
        check("  one two three\n", 9, "  one two\n  three\n");
        check("one two\nthree four\n", 7, "one two\nthree\n  four\n");
    }

    #[test]
    fn a_pause_in_the_second_half_is_the_better_place() {
        check("one two, three four", 14, "one two,\n  three four");
        check("a, one two three four", 14, "a, one two\n  three four");
    }

    #[test]
    fn a_word_that_is_too_long_stays_whole() {
        check("/run/user-oom/control", 7, "/run/user-oom/control");
        check(
            "at /run/user-oom/control it",
            7,
            "at\n  /run/user-oom/control\n  it",
        );
    }

    #[test]
    fn a_number_keeps_its_unit() {
        check("memory at 12 %, 5 MiB", 12, "memory at\n  12 %,\n  5 MiB");
    }

    #[test]
    fn colours_take_no_room_and_a_character_takes_one_column() {
        let coloured = "\x1b[1m\x1b[31mone\x1b[0m two";
        check(coloured, 7, coloured);
        check(coloured, 6, "\x1b[1m\x1b[31mone\x1b[0m\n  two");
        check("8 × ½ − 3", 9, "8 × ½ − 3");
    }

    #[test]
    fn what_is_no_terminal_has_no_width() {
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        assert_eq!(width(reader), None);
    }
}
