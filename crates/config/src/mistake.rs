//! A place in a file, and what is wrong there.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// No more of a line is shown.
const SHOWN: usize = 120;

/// A place in a file, with its line. [`fmt::Display`]: `path:line`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    path: Arc<Path>,
    line: usize,
    /// In characters, from 1.
    column: usize,
    /// In characters.
    width: usize,
    /// What is shown of the line: from how many characters on, and so many at most.
    skipped: usize,
    text: Box<str>,
}

/// One file, with the places at which its lines begin, but for the first: a file has
/// many settings, and each has its line counted.
pub(crate) struct LineStarts<'a> {
    path: Arc<Path>,
    text: &'a str,
    begins: Vec<usize>,
}

impl<'a> LineStarts<'a> {
    pub(crate) fn of(path: &Path, text: &'a str) -> Self {
        let mut begins = Vec::new();
        for (at, byte) in text.bytes().enumerate() {
            if byte == b'\n' {
                begins.push(at + 1);
            }
        }
        Self {
            path: path.into(),
            text,
            begins,
        }
    }
}

impl Position {
    /// The place of `span`, in bytes of the file.
    pub(crate) fn of(file: &LineStarts<'_>, span: Range<usize>) -> Self {
        let text = file.text;
        let start = floor(text, span.start);
        let before = file.begins.partition_point(|begin| *begin <= start);
        let begin = before.checked_sub(1).map_or(0, |at| file.begins[at]);
        let line = text[begin..].lines().next().unwrap_or_default();
        let end = floor(text, span.end.max(start)).min(begin + line.len());
        let column = text[begin..start].chars().count() + 1;
        let skipped = if column <= SHOWN {
            0
        } else {
            column - SHOWN / 2
        };
        Self {
            path: Arc::clone(&file.path),
            line: before + 1,
            column,
            width: text.get(start..end).unwrap_or_default().chars().count(),
            skipped,
            text: line.chars().skip(skipped).take(SHOWN).collect(),
        }
    }

    /// Something wrong here. `said`: what was found, and what would be right.
    #[must_use]
    pub fn problem(&self, said: impl Into<String>) -> Mistake {
        Mistake {
            mark: self.clone(),
            // It may quote what the file has, and go to a terminal.
            said: said.into().replace(char::is_control, "?"),
        }
    }

    /// The line with carets below the place, cut where it is long.
    fn excerpt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        // What is shown may go to a terminal.
        let shown: String = self
            .text
            .chars()
            .map(|char| match char {
                '\t' => ' ',
                char if char.is_control() => '?',
                char => char,
            })
            .collect();
        let indent = self.column - 1 - self.skipped;
        let left = shown.chars().count().saturating_sub(indent);
        let carets = self.width.min(left).max(1);
        write!(
            f,
            "{number} | {shown}\n{:pad$} | {:indent$}{:^<carets$}",
            "",
            "",
            "",
            pad = number.len(),
        )
    }
}

/// The last boundary of a character up to `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

impl Position {
    /// By which places in one file are ordered.
    pub(crate) fn place(&self) -> (usize, usize) {
        (self.line, self.column)
    }
}

/// Something wrong in a file. [`fmt::Display`]: a line that says where and what,
/// then the line of the file, then carets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    mark: Position,
    said: String,
}

impl Mistake {
    pub(crate) fn place(&self) -> (usize, usize) {
        self.mark.place()
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mark, said } = self;
        writeln!(f, "{mark}:{}: {said}", mark.column)?;
        mark.excerpt(f)
    }
}

/// All that is wrong, in the order of the files and their lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", all(.0))]
pub struct Mistakes(pub Vec<Mistake>);

fn all(problems: &[Mistake]) -> String {
    let shown: Vec<_> = problems.iter().map(Mistake::to_string).collect();
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, span: Range<usize>, want: &str) {
        let mark = Position::of(&LineStarts::of(Path::new("f"), text), span);
        assert_eq!(mark.problem("odd").to_string(), want);
    }

    #[test]
    fn the_place_is_shown_in_characters() {
        check("a\nb = 1\n", 2..3, "f:2:1: odd\n2 | b = 1\n  | ^");
        check("é = 12", 5..7, "f:1:5: odd\n1 | é = 12\n  |     ^^");
        check("a\tb", 2..3, "f:1:3: odd\n1 | a b\n  |   ^");
    }

    #[test]
    fn a_place_may_be_empty_at_the_end_or_longer_than_its_line() {
        check("", 0..0, "f:1:1: odd\n1 | \n  | ^");
        check("a", 7..9, "f:1:2: odd\n1 | a\n  |  ^");
        check("a\n", 2..2, "f:2:1: odd\n2 | \n  | ^");
        check("ab\ncd", 1..5, "f:1:2: odd\n1 | ab\n  |  ^");
        // In the middle of a character.
        check("é", 1..2, "f:1:1: odd\n1 | é\n  | ^");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = "x".repeat(1000);
        let said = Position::of(&LineStarts::of(Path::new("f"), &text), 500..501);
        let said = said.problem("odd").to_string();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines[1].len(), "1 | ".len() + SHOWN);
        assert_eq!(lines[2], format!("  | {:59}^", ""));
    }

    #[test]
    fn what_is_shown_does_nothing_to_a_terminal() {
        check("\u{1b}[2J", 0..1, "f:1:1: odd\n1 | ?[2J\n  | ^");
        let mark = Position::of(&LineStarts::of(Path::new("f"), "a"), 0..1);
        let said = mark.problem("`\u{1b}[2J\n` is odd").to_string();
        assert_eq!(said, "f:1:1: `?[2J?` is odd\n1 | a\n  | ^");
    }
}
