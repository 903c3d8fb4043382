//! One file's text, taken apart.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::mistake::{LineStarts, Mistake, Mistakes, Position};
use crate::rules::{CGROUP, CONDITIONS};

/// The table of a rule,
const RULE: &str = "rule";
/// and in it what a process is to be.
const MATCH: &str = "match";
/// The label that says what is run instead of a signal: a table,
const COMMAND: &str = "command";
const FORECAST_COMMAND: &str = "forecast-command";
/// with the program and its arguments,
const RUN: &str = "run";
/// and the time that it has.
const TIME_LIMIT: &str = "time-limit";
/// What is said of one that is not.
const COMMAND_TAKES: &str = "a table, such as `{ run = [\"/usr/bin/systemctl\", \"restart\", \
                             \"cache\"], time-limit = \"30 s\" }`";
/// The table of a scope, which says which [`CGROUP`] it is.
const SCOPE: &str = "scope";

/// What is said of one that is not written as a list of tables.
const SCOPE_BEGINS: &str = "a scope begins with the line `[[scope]]`";

/// More alike than this is a near miss, as clap has it.
const NEAR: f64 = 0.7;

/// A key, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyword {
    /// As it is written.
    pub name: Cow<'static, str>,
    /// What may stand behind it.
    pub kind: Kind,
}

impl Keyword {
    /// One that takes no switch.
    pub(crate) const fn text(name: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            kind: Kind::Text,
        }
    }
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Switch,
    /// A number or a string.
    Text,
    /// Either.
    SwitchOrText,
}

/// What a file sets a key to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Switch(bool),
    /// A string, or a number as it would be printed.
    Text(String),
}

/// What a file may say.
#[derive(Clone, Copy, Debug)]
pub struct Grammar<'a> {
    /// Its keys.
    pub keys: &'a [Keyword],
    /// The labels of a rule.
    pub labels: &'a [Keyword],
    /// What is an argument, but no key.
    pub arguments: &'a [String],
    /// Which of the keys a scope may have of its own, beside `cgroup`.
    pub scope_keys: &'a [&'a str],
}

/// What one file says, or several.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// In the order of the file.
    pub settings: Vec<Setting>,
    /// Likewise.
    pub rules: Vec<RuleText>,
    /// Likewise.
    pub scopes: Vec<ScopeText>,
}

/// One scope, as a file has it.
#[derive(Clone, Debug)]
pub struct ScopeText {
    /// Which cgroup, and where that stands.
    pub cgroup: TextSetting,
    /// What it has of its own.
    pub settings: Vec<Setting>,
}

/// One rule, as a file has it.
#[derive(Clone, Debug)]
pub struct RuleText {
    /// Where it begins.
    pub mark: Position,
    /// What a process is to be.
    pub conditions: Vec<TextSetting>,
    /// What is said of it then.
    pub labels: Vec<Setting>,
    /// What is run to end it.
    pub command: Option<CommandText>,
    /// What is run when memory will be full soon.
    pub forecast_command: Option<CommandText>,
}

/// A command, as a file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandText {
    /// The program and its arguments: one at least,
    pub run: Vec<String>,
    /// and where they stand.
    pub mark: Position,
    /// How long it may take.
    pub limit: TextSetting,
}

impl Document {
    /// Adds what a later file says.
    pub(crate) fn extend(&mut self, later: Self) {
        self.settings.extend(later.settings);
        self.rules.extend(later.rules);
        self.scopes.extend(later.scopes);
    }
}

/// One key that a file sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Which.
    pub key: Cow<'static, str>,
    /// To what.
    pub value: Value,
    /// Where the value stands.
    pub mark: Position,
}

/// One key that a file sets, and that takes no switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextSetting {
    /// Which.
    pub key: Cow<'static, str>,
    /// To what.
    pub text: String,
    /// Where that stands.
    pub mark: Position,
}

/// What `text`, the contents of the file at `path`, says. `refusal` says what is wrong with a value, if anything.
///
/// # Errors
///
/// All that is wrong with it.
pub fn parse(
    path: &Path,
    text: &str,
    grammar: Grammar<'_>,
    mut refusal: impl FnMut(&Setting) -> Option<String>,
) -> Result<Document, Mistakes> {
    let mut document = Parser::new(path, text);
    let found = document.document(grammar);
    let of_scopes = found.scopes.iter().flat_map(|scope| &scope.settings);
    for setting in found.settings.iter().chain(of_scopes) {
        if let Some(said) = refusal(setting) {
            let said = format!("`{}`: {said}", setting.key);
            document.problems.push(setting.mark.problem(said));
        }
    }
    // What is wrong with it as a text says what would be right.
    for (problem, setting) in std::mem::take(&mut document.switches) {
        let is_key = grammar.keys.iter().any(|key| key.name == setting.key);
        if is_key && let Some(said) = refusal(&setting) {
            let said = format!("`{}`: {said}", setting.key);
            document.problems[problem] = setting.mark.problem(said);
        }
    }
    if document.problems.is_empty() {
        return Ok(found);
    }
    document.problems.sort_by_key(Mistake::place);
    Err(Mistakes(document.problems))
}

struct Parser<'a> {
    text: &'a str,
    lines: LineStarts<'a>,
    problems: Vec<Mistake>,
    /// Of those, which are about a switch in place of this text.
    switches: Vec<(usize, Setting)>,
}

impl<'a> Parser<'a> {
    fn new(path: &Path, text: &'a str) -> Self {
        Self {
            text,
            lines: LineStarts::of(path, text),
            problems: Vec::new(),
            switches: Vec::new(),
        }
    }

    fn document(&mut self, grammar: Grammar<'_>) -> Document {
        let table = match DeTable::parse(self.text) {
            Ok(table) => table,
            Err(err) => {
                self.refuse(
                    err.span().unwrap_or_default(),
                    format!("this is not TOML: {}", err.message()),
                );
                return Document::default();
            }
        };
        let mut document = Document::default();
        for (name, value) in table.get_ref() {
            if *name.get_ref() == RULE {
                document.rules = self.rules(name, value, grammar.labels);
            } else if *name.get_ref() == SCOPE {
                document.scopes = self.scopes(name, value, grammar);
            } else if grammar.arguments.iter().any(|it| *it == *name.get_ref()) {
                let word = name.get_ref();
                self.refuse(
                    name.span(),
                    format!("`{word}` is not a key, but an argument only: `--{word}`"),
                );
            } else {
                let setting = self.setting(name, value, grammar.keys, &[RULE, SCOPE]);
                document.settings.extend(setting);
            }
        }
        document
            .settings
            .sort_by_key(|setting| setting.mark.place());
        document
    }

    fn scopes(
        &mut self,
        name: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        grammar: Grammar<'_>,
    ) -> Vec<ScopeText> {
        let own = |key: &&Keyword| grammar.scope_keys.contains(&&*key.name);
        let keys: Vec<_> = grammar.keys.iter().filter(own).cloned().collect();
        let DeValue::Array(list) = value.get_ref() else {
            self.refuse(name.span(), SCOPE_BEGINS.to_owned());
            return Vec::new();
        };
        let scopes = list.iter().filter_map(|scope| self.scope(scope, &keys));
        scopes.collect()
    }

    fn scope(&mut self, scope: &Spanned<DeValue<'_>>, keys: &[Keyword]) -> Option<ScopeText> {
        let DeValue::Table(table) = scope.get_ref() else {
            self.refuse(scope.span(), SCOPE_BEGINS.to_owned());
            return None;
        };
        let refused = self.problems.len();
        let (mut cgroup, mut settings) = (None, Vec::new());
        for (name, value) in table {
            match &**name.get_ref() {
                CGROUP => cgroup = self.text_setting(name, value, &[Keyword::text(CGROUP)]),
                _ => settings.extend(self.setting(name, value, keys, &[CGROUP])),
            }
        }
        if self.problems.len() > refused {
            return None;
        }
        let Some(cgroup) = cgroup else {
            let lacks =
                "it does not say which cgroup: give one, such as `cgroup = \"/user.slice\"`";
            self.refuse(scope.span(), lacks.to_owned());
            return None;
        };
        settings.sort_by_key(|setting| setting.mark.place());
        Some(ScopeText { cgroup, settings })
    }

    fn rules(
        &mut self,
        name: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        labels: &[Keyword],
    ) -> Vec<RuleText> {
        let DeValue::Array(list) = value.get_ref() else {
            self.refuse(
                name.span(),
                "a rule begins with the line `[[rule]]`".to_owned(),
            );
            return Vec::new();
        };
        let mut known = labels.to_vec();
        known.extend([MATCH, COMMAND, FORECAST_COMMAND].map(Keyword::text));
        let rules = list.iter().filter_map(|rule| self.rule(rule, &known));
        rules.collect()
    }

    fn rule(&mut self, rule: &Spanned<DeValue<'_>>, labels: &[Keyword]) -> Option<RuleText> {
        let DeValue::Table(table) = rule.get_ref() else {
            self.refuse(
                rule.span(),
                "a rule begins with the line `[[rule]]`".to_owned(),
            );
            return None;
        };
        let mut found = RuleText {
            mark: self.mark(rule.span()),
            conditions: Vec::new(),
            labels: Vec::new(),
            command: None,
            forecast_command: None,
        };
        let refused = self.problems.len();
        for (name, value) in table {
            match &**name.get_ref() {
                MATCH => {}
                COMMAND => {
                    found.command = self.command(COMMAND, value);
                    continue;
                }
                FORECAST_COMMAND => {
                    found.forecast_command = self.command(FORECAST_COMMAND, value);
                    continue;
                }
                _ => {
                    found.labels.extend(self.setting(name, value, labels, &[]));
                    continue;
                }
            }
            let DeValue::Table(conditions) = value.get_ref() else {
                self.refuse(
                    value.span(),
                    "`match` takes a table, such as `{ name = \"^sshd$\" }`".to_owned(),
                );
                continue;
            };
            for (name, value) in conditions {
                let condition = self.text_setting(name, value, &CONDITIONS);
                found.conditions.extend(condition);
            }
        }
        if self.problems.len() > refused {
            return None;
        }
        let lacks = if found.conditions.is_empty() {
            "it would match every process: give a `match`, such as `match = { name = \"^sshd$\" }`"
        } else if found.labels.is_empty()
            && found.command.is_none()
            && found.forecast_command.is_none()
        {
            "it says nothing about what it matches: give a label, such as `protect = true`"
        } else {
            return Some(found);
        };
        self.refuse(rule.span(), lacks.to_owned());
        None
    }

    /// `None` where something was refused.
    fn command(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<CommandText> {
        let DeValue::Table(table) = value.get_ref() else {
            let found = kind_of(value.get_ref());
            let said = format!("`{key}` takes {COMMAND_TAKES}, not {found}");
            self.refuse(value.span(), said);
            return None;
        };
        let refused = self.problems.len();
        let (mut run, mut limit) = (None, None);
        for (name, value) in table {
            match &**name.get_ref() {
                RUN => run = self.arguments(value),
                TIME_LIMIT => limit = self.text_setting(name, value, &[Keyword::text(TIME_LIMIT)]),
                word => self.refuse(name.span(), unknown(word, [RUN, TIME_LIMIT].into_iter())),
            }
        }
        if self.problems.len() > refused {
            return None;
        }
        match (run, limit) {
            (Some((run, mark)), Some(limit)) => Some(CommandText { run, mark, limit }),
            (run, _) => {
                let lacks = if run.is_none() { RUN } else { TIME_LIMIT };
                let said = format!("`{key}` has no `{lacks}`: it takes {COMMAND_TAKES}");
                self.refuse(value.span(), said);
                None
            }
        }
    }

    /// A program with its arguments.
    fn arguments(&mut self, value: &Spanned<DeValue<'_>>) -> Option<(Vec<String>, Position)> {
        let words: Option<Vec<String>> = match value.get_ref() {
            DeValue::Array(list) => list
                .iter()
                .map(|word| word.get_ref().as_str())
                .map(|word| word.map(str::to_owned))
                .collect(),
            _ => None,
        };
        let is_one = |words: &Vec<String>| words.first().is_some_and(|word| !word.is_empty());
        let can_be_given = |words: &Vec<String>| !words.iter().any(|word| word.contains('\0'));
        let Some(words) = words.filter(is_one).filter(can_be_given) else {
            let said = format!(
                "`{RUN}` takes a program and its arguments, such as \
                 `[\"/usr/bin/systemctl\", \"restart\", \"cache\"]`"
            );
            self.refuse(value.span(), said);
            return None;
        };
        Some((words, self.mark(value.span())))
    }

    fn setting(
        &mut self,
        name: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        keys: &[Keyword],
        others: &[&str],
    ) -> Option<Setting> {
        let word = name.get_ref();
        let Some(key) = keys.iter().find(|key| key.name == *word) else {
            let names = keys.iter().map(|key| &*key.name);
            let names = names.chain(others.iter().copied());
            self.refuse(name.span(), unknown(word, names));
            return None;
        };
        let span = value.span();
        let found = match value.get_ref() {
            DeValue::Boolean(value) if key.kind != Kind::Text => Value::Switch(*value),
            DeValue::String(text) if key.kind != Kind::Switch => Value::Text(text.to_string()),
            DeValue::Integer(number) if key.kind != Kind::Switch => Value::Text(number.to_string()),
            DeValue::Float(number) if key.kind != Kind::Switch => Value::Text(number.to_string()),
            other => {
                let wanted = match key.kind {
                    Kind::Switch => "`true` or `false`",
                    Kind::Text => "a number or a string",
                    Kind::SwitchOrText => "a string, `true` or `false`",
                };
                if let DeValue::Boolean(value) = other {
                    let text = Setting {
                        key: key.name.clone(),
                        value: Value::Text(value.to_string()),
                        mark: self.mark(span.clone()),
                    };
                    self.switches.push((self.problems.len(), text));
                }
                let said = format!("`{word}` takes {wanted}, not {}", kind_of(other));
                self.refuse(span, said);
                return None;
            }
        };
        Some(Setting {
            key: key.name.clone(),
            value: found,
            mark: self.mark(value.span()),
        })
    }

    /// Of `keys`, none of which takes a switch.
    fn text_setting(
        &mut self,
        name: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        keys: &[Keyword],
    ) -> Option<TextSetting> {
        let Setting { key, value, mark } = self.setting(name, value, keys, &[])?;
        match value {
            Value::Text(text) => Some(TextSetting { key, text, mark }),
            Value::Switch(_) => None,
        }
    }

    fn refuse(&mut self, span: Range<usize>, said: String) {
        let mark = self.mark(span);
        self.problems.push(mark.problem(said));
    }

    fn mark(&self, span: Range<usize>) -> Position {
        Position::of(&self.lines, span)
    }
}

/// As a person would call it.
fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "`true` or `false`",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// That `word` is none of `names`, and which of them it may be.
fn unknown<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> String {
    // It may go to a terminal.
    let word = word.escape_debug();
    match nearest(&word.to_string(), names) {
        Some(name) => format!("`{word}` is not a key: did you mean `{name}`?"),
        None => format!("`{word}` is not a key: `user-oom --print-config` lists them"),
    }
}

/// Which of `names` may have been meant by `word`.
#[must_use]
pub fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (strsim::jaro(word, name), name))
        .filter(|(likeness, _)| *likeness > NEAR)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Vec<Keyword> {
        let key = |name: &'static str, kind| Keyword {
            name: name.into(),
            kind,
        };
        vec![
            key("memory", Kind::Text),
            key("grace", Kind::Text),
            key("dryrun", Kind::Switch),
            key("syslog", Kind::SwitchOrText),
        ]
    }

    fn parse(
        text: &str,
        refusal: impl FnMut(&Setting) -> Option<String>,
    ) -> Result<Document, Mistakes> {
        let key = |name: &'static str, kind| Keyword {
            name: name.into(),
            kind,
        };
        let labels = [key("value", Kind::Text), key("protect", Kind::Switch)];
        let grammar = Grammar {
            keys: &keys(),
            labels: &labels,
            arguments: &["force".to_owned()],
            scope_keys: &["memory"],
        };
        super::parse(Path::new("f"), text, grammar, refusal)
    }

    #[track_caller]
    fn sets(text: &str, wants: &[(&str, &str)]) {
        let found = parse(text, |_| None).unwrap().settings;
        let found: Vec<_> = found
            .iter()
            .map(|setting| {
                let value = match &setting.value {
                    Value::Switch(value) => value.to_string(),
                    Value::Text(text) => text.clone(),
                };
                (setting.key.to_string(), value)
            })
            .collect();
        let wants: Vec<_> = wants
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(found, wants);
    }

    #[track_caller]
    fn refuses(text: &str, wants: &[&str]) {
        let is_bad = |setting: &Setting| setting.value == Value::Text("bad".to_owned());
        let refusal = |setting: &Setting| is_bad(setting).then(|| "not so".to_owned());
        let Mistakes(found) = parse(text, refusal).unwrap_err();
        let found: Vec<_> = found.iter().map(Mistake::to_string).collect();
        assert_eq!(found.len(), wants.len(), "{found:#?}");
        for (found, want) in found.iter().zip(wants) {
            assert!(found.contains(want), "{found}\nnot {want}");
        }
    }

    #[test]
    fn strings_numbers_and_switches_are_taken_in_the_order_of_the_file() {
        sets("", &[]);
        sets(
            "memory = \"10 %\"\ngrace = 2.5 # s\n\"dryrun\" = true\n",
            &[("memory", "10 %"), ("grace", "2.5"), ("dryrun", "true")],
        );
        sets(
            "grace = 1_000\nmemory = '''5'''",
            &[("grace", "1000"), ("memory", "5")],
        );
        sets("syslog = true", &[("syslog", "true")]);
        sets("syslog = \"/dev/log\"", &[("syslog", "/dev/log")]);
    }

    #[test]
    fn a_key_that_is_none_is_refused_with_the_one_that_it_may_be() {
        refuses(
            "memry = 5",
            &["f:1:1: `memry` is not a key: did you mean `memory`?"],
        );
        refuses(
            "xyz = 5",
            &["`xyz` is not a key: `user-oom --print-config` lists them"],
        );
        refuses(
            "[grace]\ns = 5",
            &["f:1:1: `grace` takes a number or a string, not a table"],
        );
        refuses("a.b = 5", &["`a` is not a key"]);
        refuses("[[rules]]", &["`rules` is not a key: did you mean `rule`?"]);
        refuses("[scopes]", &["did you mean `scope`?"]);
        refuses(
            "force = true",
            &["f:1:1: `force` is not a key, but an argument only: `--force`"],
        );
        refuses("\"\\u001b[2J\" = 5", &["`\\u{1b}[2J` is not a key"]);
    }

    #[test]
    fn a_wrong_type_is_refused_where_it_stands() {
        refuses(
            "\ngrace = true",
            &[
                "f:2:9: `grace` takes a number or a string, not `true` or `false`\n2 | grace = true\n  |         ^^^^",
            ],
        );
        refuses(
            "dryrun = 1",
            &["`dryrun` takes `true` or `false`, not a number"],
        );
        refuses("dryrun = \"yes\"", &["not a string"]);
        refuses("memory = [10, 5]", &["not a list"]);
        refuses("memory = 1979-05-27", &["not a date"]);
        let choices = |setting: &Setting| {
            let is_true = setting.value == Value::Text("true".to_owned());
            is_true.then(|| "`true` is none of: never, relief".to_owned())
        };
        let said = parse("grace = true", choices).unwrap_err().to_string();
        let want = "f:1:9: `grace`: `true` is none of: never, relief\n";
        assert!(said.starts_with(want), "{said}");
        refuses("syslog = 5.0\nsyslog = 6", &["duplicate key"]);
    }

    #[test]
    fn all_that_is_wrong_is_found_in_one_go() {
        refuses(
            "zzz = 1\nmemory = \"bad\"\ndryrun = 1\ngrase = 2",
            &["`zzz`", "f:2:10: `memory`: not so", "`dryrun`", "`grace`?"],
        );
    }

    #[test]
    fn a_file_of_any_length_is_read_in_little_time() {
        let rule = "[[rule]]\nmatch = { name = 'a' }\nvalue = 8\n";
        let began = std::time::Instant::now();
        let found = parse(&rule.repeat(20_000), |_| None).unwrap();
        assert_eq!(found.rules[19_999].mark.to_string(), "f:59998");
        // 0.2 s, and 16 s where each value has the lines before it counted.
        assert!(began.elapsed().as_secs() < 8, "{:?}", began.elapsed());
    }

    #[test]
    fn what_is_not_toml_is_refused_where_that_begins() {
        refuses("grace = \n", &["f:1:9: this is not TOML"]);
        refuses(
            "grace = 5 s",
            &["f:1:9: this is not TOML: string values must be quoted"],
        );
        refuses("grace 5", &["f:1:"]);
        refuses("grace = \"5", &["f:1:"]);
        refuses(&"[".repeat(100_000), &["f:1:"]);
    }

    #[test]
    fn rules_are_taken_in_the_order_of_the_file() {
        let text = "[[rule]]\nmatch = { name = \"a\", user = 5 }\nvalue = 8\n\n[[rule]]\nprotect = true\n[rule.match]\nexe = \"/b\"\n";
        let found = parse(text, |_| None).unwrap();
        let places: Vec<_> = found
            .rules
            .iter()
            .map(|rule| rule.mark.to_string())
            .collect();
        assert_eq!(places, ["f:1", "f:5"]);
        let keys = |rule: &RuleText| {
            let keys = rule
                .conditions
                .iter()
                .map(|condition| condition.key.to_string());
            keys.collect::<Vec<_>>()
        };
        assert_eq!(keys(&found.rules[0]), ["name", "user"]);
        assert_eq!(found.rules[0].labels.len(), 1);
        assert_eq!(found.rules[0].labels[0].key, "value");
        assert_eq!(keys(&found.rules[1]), ["exe"]);
    }

    #[test]
    fn scopes_are_taken_in_the_order_of_the_file() {
        let text =
            "grace = 5\n[[scope]]\nmemory = \"20,10\"\ncgroup = \"/a\"\n[[scope]]\ncgroup = '/b'\n";
        let found = parse(text, |_| None).unwrap();
        let scopes: Vec<_> = found
            .scopes
            .iter()
            .map(|scope| (&*scope.cgroup.text, scope.cgroup.mark.to_string()))
            .collect();
        assert_eq!(scopes, [("/a", "f:4".to_owned()), ("/b", "f:6".to_owned())]);
        assert_eq!(found.scopes[0].settings.len(), 1);
        assert_eq!(found.scopes[0].settings[0].key, "memory");
        assert_eq!(found.settings.len(), 1);
    }

    #[test]
    fn a_scope_that_cannot_be_meant_is_refused() {
        refuses(
            "scope = '/a'",
            &["f:1:1: a scope begins with the line `[[scope]]`"],
        );
        refuses("scope = ['/a']", &["f:1:10: a scope begins"]);
        refuses(
            "[[scope]]\nmemory = 5",
            &["f:1:1: it does not say which cgroup"],
        );
        refuses(
            "[[scope]]\ncgruop = '/a'",
            &["f:2:1: `cgruop` is not a key: did you mean `cgroup`?"],
        );
        refuses(
            "[[scope]]\ncgroup = '/a'\ndryrun = true",
            &["f:3:1: `dryrun` is not a key"],
        );
        refuses(
            "[[scope]]\ncgroup = '/a'\nmemory = 'bad'",
            &["f:3:10: `memory`: not so"],
        );
        refuses(
            "[[scope]]\ncgroup = true",
            &["f:2:10: `cgroup` takes a number or a string"],
        );
    }

    #[test]
    fn a_command_has_its_words_and_its_time() {
        let text = "[[rule]]\nmatch = { name = 'a' }\n\
                    command = { run = ['systemctl', 'restart', 'a'], time-limit = '30 s' }";
        let found = parse(text, |_| None).unwrap().rules;
        let command = found[0].command.as_ref().unwrap();
        assert_eq!(command.run, ["systemctl", "restart", "a"]);
        assert_eq!(command.limit.text, "30 s");
        assert_eq!(command.mark.to_string(), "f:3");
        assert_eq!(found[0].forecast_command, None);
        let text = "[[rule]]\nmatch = { name = 'a' }\n\
                    forecast-command = { run = ['save'], time-limit = '5 s' }";
        let found = parse(text, |_| None).unwrap().rules;
        let command = found[0].forecast_command.as_ref().unwrap();
        assert_eq!(command.run, ["save"]);
        assert_eq!(found[0].command, None);
    }

    #[test]
    fn a_command_that_cannot_be_meant_is_refused() {
        let refused = |command: &str, want: &str| {
            let text = format!("[[rule]]\nmatch = {{ name = 'a' }}\ncommand = {command}");
            refuses(&text, &[want]);
        };
        refused(
            "'systemctl restart a'",
            "f:3:11: `command` takes a table, such as `{ run = [\"/usr/bin/systemctl\", ",
        );
        refused(
            "'systemctl restart a'",
            "time-limit = \"30 s\" }`, not a string",
        );
        refused(
            "{ run = ['a'] }",
            "f:3:11: `command` has no `time-limit`: it takes a table",
        );
        refused("{ time-limit = 5 }", "f:3:11: `command` has no `run`");
        refuses(
            "[[rule]]\nmatch = { name = 'a' }\nforecast-command = true",
            &["f:3:20: `forecast-command` takes a table"],
        );
        for run in ["'a b'", "[]", "['']", "['a', 5]", "[\"a\\u0000\"]"] {
            refused(
                &format!("{{ run = {run}, time-limit = 5 }}"),
                "f:3:19: `run` takes a program and its arguments, such as `[\"",
            );
        }
        refused(
            "{ run = ['a'], time-limt = 5 }",
            "f:3:26: `time-limt` is not a key: did you mean `time-limit`?",
        );
        refused(
            "{ run = ['a'], time-limit = true }",
            "f:3:39: `time-limit` takes a number or a string",
        );
        refuses(
            "[[rule]]\nmatch = { name = 'a' }\ncomand = 5",
            &["f:3:1: `comand` is not a key: did you mean `command`?"],
        );
    }

    #[test]
    fn a_rule_that_cannot_be_meant_is_refused() {
        refuses(
            "rule = 5",
            &["f:1:1: a rule begins with the line `[[rule]]`"],
        );
        refuses("[rule]\nvalue = 8", &["f:1:2: a rule begins"]);
        refuses("rule = [5]", &["f:1:9: a rule begins"]);
        refuses(
            "[[rule]]\nvalue = 8",
            &["f:1:1: it would match every process"],
        );
        refuses(
            "[[rule]]\nmatch = {}\nvalue = 8",
            &["it would match every process"],
        );
        refuses(
            "[[rule]]\nmatch = { name = \"a\" }",
            &["f:1:1: it says nothing about what it matches"],
        );
        refuses(
            "[[rule]]\nmatch = \"a\"\nvalue = 8",
            &["f:2:9: `match` takes a table"],
        );
        refuses(
            "[[rule]]\nmatch = { nmae = \"a\" }\nvalue = 8",
            &["f:2:11: `nmae` is not a key: did you mean `name`?"],
        );
        refuses(
            "[[rule]]\nmatch = { name = true }\nvalue = 8",
            &["f:2:18: `name` takes a number or a string"],
        );
        // A label that is not there yet must not be taken for one.
        refuses(
            "[[rule]]\nmatch = { name = \"a\" }\ngrace = 5",
            &["f:3:1: `grace` is not a key"],
        );
    }
}
