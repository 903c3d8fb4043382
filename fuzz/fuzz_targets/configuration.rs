//! A configuration file: which keys it sets, and what is said of the rest.

#![no_main]

use config::{Keyword, Kind, Mistakes, Setting, Value};
use libfuzzer_sys::fuzz_target;

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
    let is_odd = |setting: &Setting| setting.value == Value::Text("odd".to_owned());
    let refusal = |setting: &Setting| is_odd(setting).then(|| "it is odd".to_owned());
    match config::parse("f".as_ref(), text, &keys, refusal) {
        Ok(settings) => {
            assert!(settings.len() <= keys.len());
            assert!(!settings.iter().any(is_odd));
            for setting in settings {
                assert!(keys.iter().any(|key| key.name == setting.key));
            }
        }
        Err(Mistakes(problems)) => {
            assert!(!problems.is_empty());
            for problem in problems {
                let said = problem.to_string();
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
    }
});
