//! Regular expressions, all of which look at a text at once.
//!
//! The same as a `RegexSet` of the crate `regex`, which is made of these parts and of
//! others that make it faster at finding where a pattern matches: that is not asked here,
//! and they are a tenth of the daemon.

use std::sync::{Mutex, PoisonError};

use regex_automata::hybrid::dfa::{self, DFA};
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::nfa::thompson::{self, BuildError, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind, PatternSet};

/// When what is remembered of matching was thrown away so often, and helped with fewer
/// bytes for each state of it, a text is matched without.
const CLEARED: usize = 3;
const BYTES_PER_STATE: usize = 10;

/// Expressions, by number from 0 on.
#[derive(Debug)]
pub(crate) struct Expressions {
    /// If it can remember enough; not for a `\b` beside text that is not ASCII.
    quick: Option<Quick>,
    slow: PikeVM,
}

#[derive(Debug)]
struct Quick {
    dfa: DFA,
    remembered: Mutex<dfa::Cache>,
}

impl Expressions {
    /// Compiles `texts`, to take at most `size_bytes`, and to remember at most
    /// `remembered_bytes` of having matched them.
    ///
    /// # Errors
    ///
    /// One of them is not a regular expression, or they take more.
    pub(crate) fn compile<T: AsRef<str>>(
        texts: &[T],
        size_bytes: usize,
        remembered_bytes: usize,
    ) -> Result<Self, Box<BuildError>> {
        // Text of the kernel's need not be UTF-8.
        let nfa = thompson::Compiler::new()
            .syntax(syntax::Config::new().utf8(false))
            .configure(
                thompson::Config::new()
                    .utf8(false)
                    .which_captures(WhichCaptures::None)
                    .nfa_size_limit(Some(size_bytes)),
            )
            .build_many(texts)?;
        let config = DFA::config()
            .match_kind(MatchKind::All)
            .unicode_word_boundary(true)
            .cache_capacity(remembered_bytes)
            .minimum_cache_clear_count(Some(CLEARED))
            .minimum_bytes_per_state(Some(BYTES_PER_STATE));
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa.clone());
        let quick = dfa.ok().map(|dfa| Quick {
            remembered: Mutex::new(dfa.create_cache()),
            dfa,
        });
        let slow = PikeVM::builder()
            .configure(PikeVM::config().match_kind(MatchKind::All))
            .build_from_nfa(nfa)?;
        Ok(Self { quick, slow })
    }

    pub(crate) fn len(&self) -> usize {
        self.slow.pattern_len()
    }

    /// Calls `each` with the number of each that matches.
    pub(crate) fn matches(&self, text: &[u8], mut each: impl FnMut(usize)) {
        let input = Input::new(text);
        let mut matched = PatternSet::new(self.len());
        let found = self
            .quick
            .as_ref()
            .is_some_and(|Quick { dfa, remembered }| {
                let mut remembered = remembered.lock().unwrap_or_else(PoisonError::into_inner);
                dfa.try_which_overlapping_matches(&mut remembered, &input, &mut matched)
                    .is_ok()
            });
        if !found {
            let mut cache = self.slow.create_cache();
            (self.slow).which_overlapping_matches(&mut cache, &input, &mut matched);
        }
        matched.iter().for_each(|pattern| each(pattern.as_usize()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE_BYTES: usize = 1 << 20;

    fn matched(patterns: &Expressions, text: &str) -> Vec<usize> {
        let mut matched = Vec::new();
        patterns.matches(text.as_bytes(), |pattern| matched.push(pattern));
        matched
    }

    #[track_caller]
    fn check(texts: &[&str], text: &str, want: &[usize]) {
        let patterns = Expressions::compile(texts, SIZE_BYTES, SIZE_BYTES).unwrap();
        assert!(patterns.quick.is_some());
        assert_eq!(matched(&patterns, text), want, "quickly");
        let patterns = Expressions::compile(texts, SIZE_BYTES, 0).unwrap();
        assert!(patterns.quick.is_none());
        assert_eq!(matched(&patterns, text), want, "slowly");
    }

    #[test]
    fn all_that_match_are_found_wherever_they_begin() {
        check(&["^a", "b", "c$", "x|abc"], "abc", &[0, 1, 2, 3]);
        check(&["^b", "(?i)B", "a$"], "abc", &[1]);
        check(&["", "y*"], "abc", &[0, 1]);
        check(&["a"], "", &[]);
    }

    #[test]
    fn what_remembering_gives_up_on_is_matched_all_the_same() {
        // `\b` beside what is not ASCII.
        let words = [r"\bé\b", r"\bfoo\b", r"^.\b"];
        check(&words, "à foo é", &[0, 1, 2]);
        check(&words, "éfoo", &[]);
    }

    #[test]
    fn what_is_no_text_is_matched_by_byte() {
        let patterns =
            Expressions::compile(&[r"^(?-u:a\xff)", "b"], SIZE_BYTES, SIZE_BYTES).unwrap();
        let mut matched = Vec::new();
        patterns.matches(b"a\xffb", |pattern| matched.push(pattern));
        assert_eq!(matched, [0, 1]);
    }
}
