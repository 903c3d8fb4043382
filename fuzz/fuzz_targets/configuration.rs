//! A configuration file: which keys it sets, its rules, and what is said of the
//! rest.

#![no_main]

use config::{Field, Grammar, Keyword, Kind, Mistakes, Rules, Setting, Subject, Value};
use libfuzzer_sys::fuzz_target;

/// A process of which each text is the same.
struct Made<'a>(&'a [u8]);

impl Subject for Made<'_> {
    fn texts(&mut self, _: Field, each: &mut dyn FnMut(&[u8])) {
        each(self.0);
    }

    fn credentials(&mut self) -> (u32, u32, &[u32]) {
        (1000, 1000, &[4, 27])
    }
}

fuzz_target!(|text: &str| {
    let key = |name: &'static str, kind| Keyword {
        name: name.into(),
        kind,
    };
    let keys = [
        key("grace", Kind::Text),
        key("dryrun", Kind::Switch),
        key("syslog", Kind::SwitchOrText),
    ];
    let labels = [key("value", Kind::Text), key("protect", Kind::Switch)];
    let grammar = Grammar {
        keys: &keys,
        labels: &labels,
        arguments: &[],
        scope_keys: &["grace"],
    };
    let is_odd = |setting: &Setting| setting.value == Value::Text("odd".to_owned());
    let refusal = |setting: &Setting| is_odd(setting).then(|| "it is odd".to_owned());
    let document = match config::parse("f".as_ref(), text, grammar, refusal) {
        Ok(document) => document,
        Err(mistakes) => return check(&mistakes),
    };
    assert!(document.settings.len() <= keys.len());
    assert!(!document.settings.iter().any(is_odd));
    for setting in &document.settings {
        assert!(keys.iter().any(|key| key.name == setting.key));
    }
    let unknown = |_: &str| None;
    match Rules::compile(&document.rules, &unknown, &unknown) {
        Ok(rules) => {
            let unmatched = rules.unmatched().count();
            assert_eq!(unmatched, document.rules.len());
            let found = rules.first_match(&mut Made(text.as_bytes()));
            assert!(found.is_none_or(|rule| rule < unmatched));
            assert_eq!(
                rules.unmatched().count() + usize::from(found.is_some()),
                unmatched
            );
        }
        Err(mistakes) => check(&mistakes),
    }
});

#[track_caller]
fn check(Mistakes(mistakes): &Mistakes) {
    assert!(!mistakes.is_empty());
    for mistake in mistakes {
        let said = mistake.to_string();
        assert!(said.starts_with("f:"), "{said}");
        let lines: Vec<_> = said.lines().collect();
        let [.., shown, carets] = &lines[..] else {
            panic!("{said}")
        };
        assert!(shown.contains(" | "), "{said}");
        assert!(carets.ends_with('^'), "{said}");
        let is_odd = |char: char| char.is_control() && char != '\n';
        assert!(!said.contains(is_odd), "{said:?}");
    }
}
