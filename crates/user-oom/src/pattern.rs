//! `--prefer`, `--avoid` and `--ignore`: patterns for the names that processes
//! give themselves.

use std::fmt;
use std::str::FromStr;

use oom_policy::Name;
use regex_lite::Regex;

/// The most bytes that the kernel keeps of a name: proc_pid_comm(5).
const NAME_BYTES: usize = 15;

/// Endings of scripts, and under which name the kernel has what runs them.
const INTERPRETERS: &[(&str, &str)] = &[
    (".jar", "java"),
    (".js", "node"),
    (".pl", "perl"),
    (".py", "python3"),
    (".rb", "ruby"),
    (".sh", "bash"),
];

/// A regular expression that does not match every name.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Regex);

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let regex = Regex::new(text).map_err(|err| err.to_string())?;
        if (' '..='~').all(|char| regex.is_match(char.encode_utf8(&mut [0; 4]))) {
            return Err(format!(
                "`{text}` matches every name: give one that names the processes meant, such as \
                 `^postgres$`"
            ));
        }
        Ok(Self(regex))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl Pattern {
    pub(crate) fn matches(&self, name: &Name) -> bool {
        // A byte that is not UTF-8 becomes three.
        let mut buffer = [0; 3 * NAME_BYTES];
        self.0.is_match(readable(name.as_bytes(), &mut buffer))
    }

    /// Why this may match no process, so far as that can be seen of it.
    pub(crate) fn hint(&self) -> String {
        let Some(text) = literal(self.0.as_str()) else {
            return "a pattern is matched against the first 15 bytes of the name that a process \
                    gives itself, which `ps -eo comm` shows"
                .to_owned();
        };
        let name = text.rsplit('/').next().unwrap_or(&text);
        let script = INTERPRETERS
            .iter()
            .find(|(ending, _)| name.ends_with(ending));
        if let Some((_, interpreter)) = script {
            return format!(
                "a script started as `{interpreter} {name}` has the name `{interpreter}` \
                 (`ps -eo comm` shows names)"
            );
        }
        let mut end = name.len().min(NAME_BYTES);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        if end < text.len() {
            return format!(
                "a name is without directories and at most 15 bytes long: try `^{}$`",
                &name[..end]
            );
        }
        "`ps -eo comm` shows the names that processes have".to_owned()
    }
}

/// What `pattern` matches, if that is one text, from its start or to its end or
/// both. A full stop may be meant as one, and is taken for one.
fn literal(pattern: &str) -> Option<String> {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let pattern = pattern.strip_suffix('$').unwrap_or(pattern);
    let mut text = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => text.push(chars.next().filter(char::is_ascii_punctuation)?),
            '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '^' | '$' => return None,
            char => text.push(char),
        }
    }
    Some(text)
}

/// The name as text, in `buffer` where it is not UTF-8 as it is. What the
/// kernel has cut off in the middle of a character ends before that character.
fn readable<'a>(name: &'a [u8], buffer: &'a mut [u8; 3 * NAME_BYTES]) -> &'a str {
    if let Ok(text) = str::from_utf8(name) {
        return text;
    }
    let mut len = 0;
    let mut chunks = name.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        let invalid = chunk.invalid();
        let is_incomplete = || str::from_utf8(invalid).is_err_and(|err| err.error_len().is_none());
        let is_cut = chunks.peek().is_none() && is_incomplete();
        let mark = if invalid.is_empty() || is_cut {
            ""
        } else {
            "\u{fffd}"
        };
        for part in [chunk.valid(), mark] {
            buffer[len..len + part.len()].copy_from_slice(part.as_bytes());
            len += part.len();
        }
    }
    str::from_utf8(&buffer[..len]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check(text: &str, name: &[u8], want: bool) {
        assert_eq!(pattern(text).matches(&Name::new(name)), want);
    }

    #[test]
    fn names_in_any_script_are_matched() {
        check("^微信$", "微信".as_bytes(), true);
        check("^微信$", "微博".as_bytes(), false);
        check("^Isolated Web Co$", b"Isolated Web Content", true);
    }

    #[test]
    fn a_name_cut_in_the_middle_of_a_character_ends_before_it() {
        check("^abcd微信微$", "abcd微信微信".as_bytes(), true);
        check("^微信微$", &"微信微信".as_bytes()[..10], true);
    }

    #[test]
    fn a_byte_that_is_no_text_is_one_odd_character() {
        check("^a.b$", b"a\xffb", true);
        check("^a.b微$", b"a\xffb\xe5\xbe\xae\xe4\xbf", true);
        check("^.{15}$", &[0xff; 15], true);
    }

    #[test]
    fn what_matches_every_name_is_refused() {
        for text in ["", ".", ".*", "x*", "|", "a|", "(?:)", "^", "."] {
            let said = Pattern::from_str(text).unwrap_err();
            assert!(said.contains("every name"), "`{text}`: {said}");
        }
        for text in ["^$", "[^x]", "a", "..", "^[a-z]*$"] {
            assert!(Pattern::from_str(text).is_ok(), "`{text}`");
        }
    }

    #[test]
    fn a_hint_names_what_the_kernel_calls_such_a_process() {
        let check = |text: &str, want: &str| {
            let hint = pattern(text).hint();
            assert!(hint.contains(want), "`{text}`: {hint}");
        };
        check("train.py", "has the name `python3`");
        check(r"^/srv/train\.py$", "`python3 train.py`");
        check("gnome-control-center", "try `^gnome-control-c$`");
        check("/usr/bin/postgres", "try `^postgres$`");
        check("微信微信微信", "try `^微信微信微$`");
        check("(^|/)(init|Xorg)$", "first 15 bytes");
        check("postgres", "`ps -eo comm`");
    }
}
