//! A Rust source file as tokens, without its comments, attributes and tests.
//!
//! Looks at words, not at meaning: what a macro makes or a re-export hides
//! stays unseen. It is there to catch a slip, not an adversary.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// The tokens of one file, in order.
#[derive(Debug)]
pub(crate) struct Source {
    tokens: Vec<Token>,
}

/// One token and the line it stands on, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    line: usize,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Word(String),
    Mark(char),
    /// What stands between the quotes of a string literal, escapes as written.
    Text(String),
    Open,
    Close,
}

/// Which items of a file count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of them.
    Everything,
    /// Those without `#[cfg(test)]`.
    Shipped,
}

/// Something found, and the line it stands on.
pub(crate) type Finding = (usize, String);

impl Source {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// The file could not be read, or is no Rust.
    pub(crate) fn read(path: &Path, scope: Scope) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        Self::parse(&text, scope).with_context(|| format!("cannot read `{}`", path.display()))
    }

    fn parse(text: &str, scope: Scope) -> Result<Self> {
        let stream: TokenStream = text.parse().map_err(|err| anyhow!("no Rust: {err}"))?;
        let mut tokens = Vec::new();
        flatten(stream, scope, &mut tokens);
        Ok(Self { tokens })
    }

    /// Where `word` stands: an identifier or a keyword.
    pub(crate) fn word(&self, word: &str) -> Vec<Finding> {
        self.tokens
            .iter()
            .filter(|token| token.is_word(word))
            .map(|token| (token.line, word.to_owned()))
            .collect()
    }

    /// Where `head::tail` stands, in a path or an import: `use head::tail`,
    /// `use head::{…, tail::…}`.
    pub(crate) fn path(&self, head: &str, tail: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (at, _) in self
            .tokens
            .iter()
            .enumerate()
            .filter(|(_, token)| token.is_word(head))
        {
            let Some([colon, other_colon, after @ ..]) = self.tokens.get(at + 1..) else {
                continue;
            };
            if !colon.is_mark(':') || !other_colon.is_mark(':') {
                continue;
            }
            let mut found = |token: &Token| findings.push((token.line, format!("{head}::{tail}")));
            match after {
                [first, ..] if first.is_word(tail) => found(first),
                [first, ..] if first.kind == Kind::Open => members(after)
                    .filter(|token| token.is_word(tail))
                    .for_each(&mut found),
                _ => {}
            }
        }
        findings
    }

    /// Where the method `name` is called: `….name(`.
    pub(crate) fn calls(&self, name: &str) -> Vec<Finding> {
        self.tokens
            .windows(3)
            .filter(|window| {
                let [dot, word, open] = window else {
                    return false;
                };
                dot.is_mark('.') && word.is_word(name) && open.kind == Kind::Open
            })
            .map(|window| (window[1].line, format!(".{name}()")))
            .collect()
    }

    /// The functions and methods that are `pub`, by name.
    pub(crate) fn public_functions(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (at, _) in self.words("fn") {
            let before = self.tokens[..at].iter().rev();
            let mut before = before.skip_while(|token| {
                ["async", "const", "unsafe"]
                    .iter()
                    .any(|word| token.is_word(word))
            });
            if before.next().is_some_and(|token| token.is_word("pub")) {
                findings.extend(self.tokens.get(at + 1).and_then(Token::named));
            }
        }
        findings
    }

    /// The types that others than their module see, by name: `pub`, `pub(…)`.
    pub(crate) fn visible_types(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for keyword in ["enum", "struct", "trait", "type", "union"] {
            for (at, _) in self.words(keyword) {
                let is_visible = match &self.tokens[..at] {
                    [.., visibility] if visibility.is_word("pub") => true,
                    [.., visibility, open, _, close] => {
                        visibility.is_word("pub")
                            && open.kind == Kind::Open
                            && close.kind == Kind::Close
                    }
                    _ => false,
                };
                if is_visible {
                    findings.extend(self.tokens.get(at + 1).and_then(Token::named));
                }
            }
        }
        findings
    }

    /// What is called or named by a path: `f(`, `.f(`, `….f::<`, `T::f`. What
    /// is imported is not.
    pub(crate) fn used(&self) -> impl Iterator<Item = &str> {
        let mut in_import = false;
        self.tokens
            .iter()
            .enumerate()
            .filter_map(move |(at, token)| {
                let word = match &token.kind {
                    Kind::Word(word) => word.as_str(),
                    Kind::Mark(';') => {
                        in_import = false;
                        return None;
                    }
                    _ => return None,
                };
                in_import |= word == "use";
                let (before, after) = (&self.tokens[..at], &self.tokens[at + 1..]);
                let is_defined = before.last().is_some_and(|token| token.is_word("fn"));
                let is_called = match after {
                    [open, ..] if open.kind == Kind::Open => true,
                    [colon, other_colon, ..] => colon.is_mark(':') && other_colon.is_mark(':'),
                    _ => false,
                };
                let is_in_path = match before {
                    [.., other_colon, colon] => other_colon.is_mark(':') && colon.is_mark(':'),
                    _ => false,
                };
                (!in_import && !is_defined && (is_called || is_in_path)).then_some(word)
            })
    }

    fn words(&self, word: &'static str) -> impl Iterator<Item = (usize, &Token)> {
        let tokens = self.tokens.iter().enumerate();
        tokens.filter(move |(_, token)| token.is_word(word))
    }

    /// The string literals that are `folder` or a path in it.
    pub(crate) fn paths_in(&self, folder: &str) -> Vec<Finding> {
        self.texts(|text| {
            text.strip_prefix(folder)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// The string literals that are `name` or a path with that in it, unless
    /// `self` stands before it.
    pub(crate) fn paths_with(&self, name: &str) -> Vec<Finding> {
        self.texts(|text| {
            let mut before = text.split('/').take_while(|part| *part != name);
            let is_in_it = text.split('/').any(|part| part == name);
            is_in_it && before.all(|part| part != "self")
        })
    }

    fn texts(&self, is_sought: impl Fn(&str) -> bool) -> Vec<Finding> {
        self.tokens
            .iter()
            .filter_map(|token| match &token.kind {
                Kind::Text(text) if is_sought(text) => Some((token.line, text.clone())),
                _ => None,
            })
            .collect()
    }
}

impl Token {
    fn is_word(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(this) if this == word)
    }

    fn named(&self) -> Option<Finding> {
        match &self.kind {
            Kind::Word(word) => Some((self.line, word.clone())),
            _ => None,
        }
    }

    fn is_mark(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }
}

/// The first words of the members of a braced import; `tokens` begins with
/// its brace.
fn members(tokens: &[Token]) -> impl Iterator<Item = &Token> {
    let mut depth = 0_usize;
    let mut expected = false;
    tokens
        .iter()
        .map_while(move |token| {
            match token.kind {
                Kind::Open => {
                    depth += 1;
                    expected = depth == 1;
                    return Some(None);
                }
                Kind::Close => {
                    depth -= 1;
                    return (depth > 0).then_some(None);
                }
                Kind::Mark(',') if depth == 1 => {
                    expected = true;
                    return Some(None);
                }
                _ => {}
            }
            let first = std::mem::take(&mut expected);
            Some(first.then_some(token))
        })
        .flatten()
}

fn flatten(stream: TokenStream, scope: Scope, tokens: &mut Vec<Token>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        let line = tree.span().start().line;
        let kind = match tree {
            TokenTree::Punct(mark) if mark.as_char() == '#' => {
                if matches!(trees.peek(), Some(TokenTree::Punct(mark)) if mark.as_char() == '!') {
                    trees.next();
                }
                if let Some(TokenTree::Group(attribute)) = trees.peek() {
                    let skipped = scope == Scope::Shipped && is_for_tests(attribute);
                    trees.next();
                    if skipped {
                        skip_item(&mut trees);
                    }
                }
                continue;
            }
            TokenTree::Punct(mark) => Kind::Mark(mark.as_char()),
            TokenTree::Ident(word) => Kind::Word(word.to_string()),
            TokenTree::Literal(literal) => match text_of(&literal.to_string()) {
                Some(text) => Kind::Text(text),
                None => continue,
            },
            TokenTree::Group(group) => {
                tokens.push(Token {
                    line,
                    kind: Kind::Open,
                });
                flatten(group.stream(), scope, tokens);
                tokens.push(Token {
                    line: group.span_close().start().line,
                    kind: Kind::Close,
                });
                continue;
            }
        };
        tokens.push(Token { line, kind });
    }
}

fn is_for_tests(attribute: &Group) -> bool {
    attribute.delimiter() == Delimiter::Bracket
        && attribute.stream().to_string().replace(' ', "") == "cfg(test)"
}

/// Passes the item that comes next: to its `;` or the end of its braces.
fn skip_item(trees: &mut impl Iterator<Item = TokenTree>) {
    let ends = |tree: &TokenTree| match tree {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(mark) => mark.as_char() == ';',
        _ => false,
    };
    trees.find(ends);
}

/// The inside of a string literal of any kind; `None` for other literals.
fn text_of(literal: &str) -> Option<String> {
    let (start, end) = (literal.find('"')?, literal.rfind('"')?);
    let prefix = &literal[..start];
    let is_string = matches!(
        prefix.trim_end_matches('#'),
        "" | "r" | "b" | "br" | "c" | "cr"
    );
    (is_string && start < end).then(|| literal[start + 1..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, look: impl Fn(&Source) -> Vec<Finding>, want: &[usize]) {
        let source = Source::parse(text, Scope::Shipped).unwrap();
        let lines: Vec<usize> = look(&source).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, want, "{text}");
    }

    #[test]
    fn a_path_is_found_however_it_is_imported() {
        let fs = |source: &Source| source.path("std", "fs");
        check("use std::fs;", fs, &[1]);
        check("use std::fs::File;", fs, &[1]);
        check("use std::{fmt,\n fs::{self, File}};", fs, &[2]);
        check("fn f() { ::std::fs::read(\"\"); }", fs, &[1]);
        check(
            "fn now() -> T {\n Instant::now() }",
            |s| s.path("Instant", "now"),
            &[2],
        );
    }

    #[test]
    fn what_only_looks_like_the_path_is_not_found() {
        let fs = |source: &Source| source.path("std", "fs");
        check("// std::fs\n/* std::fs */ use std::fmt;", fs, &[]);
        check("/// Like [`std::fs`].\nstruct S;", fs, &[]);
        check("const S: &str = \"std::fs\";", fs, &[]);
        check("use std::{fmt, path::{fs}};", fs, &[]);
        check("use nostd::fs; fn f() { std::fmt::fs() }", fs, &[]);
        check("use std::{fmt}; mod fs;", fs, &[]);
    }

    #[test]
    fn what_is_for_tests_does_not_count_and_what_follows_it_does() {
        let fs = |source: &Source| source.path("std", "fs");
        check(
            "#[cfg(test)]\nmod tests { use std::fs; }\nuse std::fs;",
            fs,
            &[3],
        );
        check(
            "#[cfg(test)]\n#[path = \"x\"]\nuse std::fs;\nuse std::fs;",
            fs,
            &[4],
        );
        check("#[cfg(not(test))]\nuse std::fs;", fs, &[2]);
        check(
            "mod a {\n #[cfg(test)] fn f() -> u8 { std::fs::x() }\n}",
            fs,
            &[],
        );

        let everything = "#[cfg(test)]\nmod tests { fn f() { unsafe { g() } } }";
        let source = Source::parse(everything, Scope::Everything).unwrap();
        assert_eq!(source.word("unsafe"), [(2, "unsafe".to_owned())]);
    }

    #[test]
    fn a_keyword_is_found_in_code_alone() {
        let unsafe_code = |source: &Source| source.word("unsafe");
        check("fn f() {\n unsafe { g() } }", unsafe_code, &[2]);
        check(
            "#![deny(unsafe_code)]\n// unsafe\nfn f() { \"unsafe\"; }",
            unsafe_code,
            &[],
        );
    }

    #[test]
    fn a_method_call_is_told_from_what_has_its_name() {
        let kill = |source: &Source| source.calls("kill");
        check("fn f() { a.b\n.kill()?; }", kill, &[2]);
        check(
            "fn kill() { kill(); a.kill; A::kill(); a.killed(); }",
            kill,
            &[],
        );
    }

    #[test]
    fn a_path_in_a_string_is_found_in_strings_of_every_kind() {
        let proc = |source: &Source| source.paths_in("/proc");
        check("const P: &str = \"/proc\";", proc, &[1]);
        check("f(\n\"/proc/self\");", proc, &[2]);
        check(
            "f(r\"/proc\");\nf(br#\"/proc\"#);\nf(c\"/proc/1\");",
            proc,
            &[1, 2, 3],
        );
    }

    #[test]
    fn other_strings_are_no_path_of_that_folder() {
        let proc = |source: &Source| source.paths_in("/proc");
        check(
            "f(\"/process\"); f(\"see /proc\"); f('\"'); f(1);",
            proc,
            &[],
        );
        check("/// In `/proc`.\n#[doc = \"/proc\"] fn f() {}", proc, &[]);
        check(
            "#[cfg(test)] mod tests { const P: &str = \"/proc\"; }",
            proc,
            &[],
        );
    }

    #[test]
    fn a_file_name_is_found_wherever_it_stands_in_a_path_but_below_self() {
        let exe = |source: &Source| source.paths_with("exe");
        check(
            "f(\"exe\");\nf(\"/proc/1/exe\");\nf(c\"exe/x\");",
            exe,
            &[1, 2, 3],
        );
        check(
            "f(\"/proc/self/exe\"); f(\"an exe\"); f(\"exes\");",
            exe,
            &[],
        );
    }

    #[test]
    fn a_public_function_is_told_from_others_and_from_what_it_is_made_of() {
        let text = "pub const fn a() {}\nfn b() {}\npub(crate) fn c() {}\n\
                    impl S {\npub fn d(&self) {} }\nconst F: fn() = a;";
        check(text, Source::public_functions, &[1, 5]);
    }

    #[test]
    fn types_are_seen_from_outside_where_they_say_so() {
        let text = "pub struct A;\npub(crate) enum B {}\nstruct C;\n\
                    impl I for A { type Item = B; }\nfn f(a: (u8, u8)) -> D { struct E; }\n\
                    pub type F = A;";
        check(text, Source::visible_types, &[2, 1, 6]);
    }

    #[track_caller]
    fn check_use(text: &str, want: bool) {
        let source = Source::parse(text, Scope::Shipped).unwrap();
        assert_eq!(source.used().any(|word| word == "f"), want, "{text}");
    }

    #[test]
    fn a_function_is_used_where_it_is_called_or_named_by_a_path() {
        check_use("fn g() { f(1); }", true);
        check_use("fn g() { a.f(); }", true);
        check_use("fn g() { a.f::<u8>(); }", true);
        check_use("fn g() { b.map(A::f); }", true);
        check_use("fn f() {} fn g() { let f = a.f; h(f); }", false);
        check_use("/// Like [`f()`].\npub use a::f;\nuse a::{f, g};", false);
        check_use("#[cfg(test)] mod tests { fn g() { f(); } }", false);
    }

    #[test]
    fn what_is_no_rust_is_refused() {
        assert!(Source::parse("fn f( {", Scope::Shipped).is_err());
    }
}
