//! The rules of the configuration: which processes each matches, and what it
//! says of them.
//!
//! Rules only label. The surveyor finds the label of a process, since what rules
//! look at may keep its reader waiting; the loop applies it whenever it reads
//! the process table.

use std::cell::RefCell;
use std::sync::Arc;

use config::{Field, Keyword, Kind, Mistakes, Position, RuleText, Rules, Setting, Subject, Value};
use containers::Container;
use nix::unistd::{Group, User};
use oom_policy::{
    CommandLabel, FirstSignal, Gain, GroupBy, KilledWith, Label, Name, PauseWord, Preference,
    Process, Protection,
};
use sensors::{Labelled, Portrait, outside_namespace};
use value_registry::{MAX_VALUE, ValueError, check_entry};

use crate::arguments::{seconds, value};
use crate::container_facts::ContainerFacts;
use crate::rule_command::RuleCommand;
use crate::start::PASSWD;
use crate::tell::accounts::number_of;

/// What a rule can say.
pub(crate) const LABELS: [Keyword; 11] = [
    label("value", Kind::Text),
    label("max-value", Kind::Text),
    label("protect", Kind::Switch),
    label("prefer", Kind::Switch),
    label("avoid", Kind::Switch),
    label("pause", Kind::Switch),
    label("name", Kind::Text),
    label("grace", Kind::Text),
    label("signal", Kind::Text),
    label("unit", Kind::Text),
    label("group-by", Kind::Text),
];

const fn label(name: &'static str, kind: Kind) -> Keyword {
    Keyword {
        name: std::borrow::Cow::Borrowed(name),
        kind,
    }
}

/// All rules, compiled.
#[derive(Debug, Default)]
pub(crate) struct Rulebook {
    rules: Rules,
    labels: Vec<Label>,
    /// What each has run to end what it matches.
    commands: Vec<Option<Arc<RuleCommand>>>,
    /// What each has run when memory will be full soon.
    forecast_commands: Vec<Option<Arc<RuleCommand>>>,
    /// What is to be said of them.
    pub(crate) remarks: Vec<String>,
}

/// The rules that count, by the configuration as it was read last, and how often
/// it was read before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edition {
    pub(crate) number: u32,
    pub(crate) rulebook: Arc<Rulebook>,
}

impl Edition {
    /// What the first rule that matches says, as far as `facts` are known. On the
    /// surveyor's thread.
    pub(crate) fn label(
        &self,
        portrait: &Portrait<'_>,
        facts: &ContainerFacts,
    ) -> (Label, Labelled) {
        let mut sitter = Sitter {
            portrait,
            credentials: None,
            facts,
            edition: self.number,
            container: None,
        };
        let mut label = self.rulebook.label_of(&mut sitter);
        if let Some(command) = &mut label.command {
            command.edition = self.number;
        }
        let labelled = sitter.container.map(|(_, labelled)| labelled);
        (label, labelled.unwrap_or(Labelled::ForGood))
    }

    /// What the rule that `label` is of has run; `None` where that was another
    /// edition's: what it says may be meant for others by now.
    pub(crate) fn command(&self, label: &Label) -> Option<Arc<RuleCommand>> {
        let said = label.command?;
        let rule = usize::from(label.rule).checked_sub(1)?;
        let command = self.rulebook.commands.get(rule)?.as_ref();
        command.filter(|_| said.edition == self.number).cloned()
    }

    /// What rules have run when memory will be full soon, each with the number that
    /// the labels of its rule have.
    pub(crate) fn forecast_commands(&self) -> impl Iterator<Item = (u16, &Arc<RuleCommand>)> {
        let commands = (1..).zip(&self.rulebook.forecast_commands);
        commands.filter_map(|(rule, command)| Some((rule, command.as_ref()?)))
    }
}

impl Rulebook {
    /// # Errors
    ///
    /// All that cannot be meant.
    pub(crate) fn compile(texts: &[RuleText]) -> Result<Self, Mistakes> {
        let remarks = RefCell::default();
        let known = |kind: &str, name: &str, file: &str, number: Option<u32>| {
            if number.is_none() && name.parse::<u32>().is_err() {
                let place = match HAS_OTHER_SOURCES {
                    true => String::new(),
                    false => format!(" in `{file}`, all that this static build asks"),
                };
                let remark = format!(
                    "there is no {kind} `{name}`{place}: the rules that name it match no process"
                );
                RefCell::<Vec<String>>::borrow_mut(&remarks).push(remark);
            }
            number
        };
        let user = |name: &str| known("user", name, PASSWD, uid_of(name));
        let group = |name: &str| known("group", name, GROUP, gid_of(name));
        let rules = Rules::compile(texts, &user, &group);
        let mut labels = Vec::with_capacity(texts.len());
        let mut commands = Vec::with_capacity(texts.len());
        let mut forecast_commands = Vec::with_capacity(texts.len());
        let mut problems = Vec::new();
        for (rule, text) in (1..).zip(texts) {
            match labelled(rule, text) {
                Ok((label, command)) => {
                    labels.push(label);
                    commands.push(command.map(Arc::new));
                }
                Err((mark, said)) => problems.push(mark.problem(said)),
            }
            let command = text.forecast_command.as_ref().map(RuleCommand::of);
            match command.transpose() {
                Ok(command) => forecast_commands.push(command.map(Arc::new)),
                Err((mark, said)) => problems.push(mark.problem(said)),
            }
        }
        match rules {
            Ok(rules) if problems.is_empty() => Ok(Self {
                rules: rules.taking_no_chosen_path(labels.iter().map(|label| label.protect)),
                labels,
                commands,
                forecast_commands,
                remarks: remarks.into_inner(),
            }),
            Ok(_) => Err(Mistakes(problems)),
            Err(Mistakes(mut all)) => {
                all.extend(problems);
                Err(Mistakes(all))
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether any has a command.
    pub(crate) fn has_commands(&self) -> bool {
        let mut all = self.commands.iter().chain(&self.forecast_commands);
        all.any(Option::is_some)
    }

    fn label_of(&self, subject: &mut dyn Subject) -> Label {
        let found = self.rules.first_match(subject);
        found.map_or(Label::default(), |rule| self.labels[rule])
    }

    /// Where each stands.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rules.places()
    }

    /// Where those stand that have matched nothing yet.
    pub(crate) fn unmatched(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rules.unmatched()
    }
}

/// Whether libc may ask other sources than the files (NSS). A static glibc loads them
/// too, as they were built for another glibc, and then crashes; musl has none.
const HAS_OTHER_SOURCES: bool = !cfg!(all(target_env = "gnu", target_feature = "crt-static"));

/// The names of groups: group(5).
const GROUP: &str = "/etc/group";

fn uid_of(name: &str) -> Option<u32> {
    if !HAS_OTHER_SOURCES {
        return number_of(PASSWD.as_ref(), name);
    }
    let found = User::from_name(name).ok().flatten();
    found.map(|user| user.uid.as_raw())
}

fn gid_of(name: &str) -> Option<u32> {
    if !HAS_OTHER_SOURCES {
        return number_of(GROUP.as_ref(), name);
    }
    let found = Group::from_name(name).ok().flatten();
    found.map(|group| group.gid.as_raw())
}

/// What `text` says; else what is wrong with it, and where.
fn labelled(
    rule: u16,
    text: &RuleText,
) -> Result<(Label, Option<RuleCommand>), (&Position, String)> {
    let mut label = Label {
        rule,
        ..Label::default()
    };
    let (mut prefer, mut avoid) = (false, false);
    for Setting {
        key,
        value: said,
        mark,
    } in &text.labels
    {
        let wrong = |said: String| (mark, format!("`{key}`: {said}"));
        match (&**key, said) {
            ("value", Value::Text(text)) => {
                let (value, rate) = value_registry::parse_worth(text)
                    .map_err(|err| wrong(not_a_value(text, err)))?;
                label.value = Some(value);
                label.rate = rate;
            }
            ("max-value", Value::Text(text)) => {
                label.max_value = Some(value(text).map_err(wrong)?);
            }
            ("name", Value::Text(text)) => {
                let name = Name::new(text.as_bytes());
                let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
                if text.is_empty() || !is_plain || name.as_bytes().len() < text.len() {
                    return Err(wrong(format!(
                        "`{text}` is not a name (expected 1 to 15 printable ASCII characters)"
                    )));
                }
                label.name = Some(name);
            }
            ("grace", Value::Text(text)) => label.grace = Some(seconds(text).map_err(wrong)?),
            ("signal", Value::Text(text)) => {
                label.signal = first_signal(text).map_err(|said| (mark, said))?;
            }
            ("unit", Value::Text(text)) => {
                label.together = Some(one_of(text, text, &UNITS).map_err(wrong)?);
            }
            ("group-by", Value::Text(text)) => {
                label.group_by = Some(one_of(text, text, &GROUP_BY).map_err(wrong)?);
            }
            ("protect", Value::Switch(is_so)) => label.protect = *is_so,
            ("prefer", Value::Switch(is_so)) => prefer = *is_so,
            ("avoid", Value::Switch(is_so)) => avoid = *is_so,
            ("pause", Value::Switch(is_so)) => {
                label.pause = Some(match is_so {
                    true => PauseWord::Pause,
                    false => PauseWord::NoPause,
                });
            }
            _ => {}
        }
    }
    label.preference = match (prefer, avoid) {
        (true, true) => {
            return Err((
                &text.mark,
                "it cannot be killed both first and last: give `prefer` or `avoid`".to_owned(),
            ));
        }
        (true, false) => Preference::Prefer,
        (false, true) => Preference::Avoid,
        (false, false) => Preference::None,
    };
    let command = text.command.as_ref().map(RuleCommand::of).transpose()?;
    label.command = command.as_ref().map(|command| CommandLabel {
        limit_millis: u32::try_from(command.limit.as_millis()).unwrap_or(u32::MAX),
        edition: 0,
    });
    Ok((label, command))
}

/// Why `text` is not the value of a rule.
fn not_a_value(text: &str, err: ValueError) -> String {
    const RIGHT: &str = "write `8` or `8 +3/h`";

    match err {
        ValueError::Rate if check_entry(text).is_ok() => format!(
            "`{text}` has words after the value: {RIGHT}, and `pause = false` on a line of its own \
             for what is never to be paused"
        ),
        ValueError::Empty | ValueError::NotANumber => format!(
            "`{text}` is not a whole number from 0 to {MAX_VALUE}, in digits alone: {RIGHT}"
        ),
        _ => format!("`{text}`: {err}"),
    }
}

const UNITS: [(&str, KilledWith); 5] = [
    ("process", KilledWith::Process),
    ("tree", KilledWith::Tree),
    ("group", KilledWith::Group),
    ("session", KilledWith::Session),
    (config::CGROUP, KilledWith::Cgroup),
];
const GROUP_BY: [(&str, GroupBy); 2] = [("rule", GroupBy::Rule), ("user", GroupBy::User)];

/// Which of `all` is called `name`, for which `text` stands in the file.
fn one_of<T: Copy>(name: &str, text: &str, all: &[(&str, T)]) -> Result<T, String> {
    let found = all.iter().find(|(known, _)| *known == name);
    found.map(|(_, meant)| *meant).ok_or_else(|| {
        let names = || all.iter().map(|(known, _)| *known);
        let meant = config::nearest(name, names());
        let meant = meant.map(|meant| format!("; did you mean `{meant}`?"));
        let names: Vec<_> = names().collect();
        format!(
            "`{text}` is none of: {}{}",
            names.join(", "),
            meant.unwrap_or_default()
        )
    })
}

/// The signal called `text`; `None`: SIGTERM. What is wrong with it names the key.
fn first_signal(text: &str) -> Result<Option<FirstSignal>, String> {
    let upper = text.to_ascii_uppercase();
    let name = match upper.starts_with("SIG") {
        true => upper,
        false => format!("SIG{upper}"),
    };
    match &*name {
        "SIGKILL" => {
            Err("`signal`: SIGKILL cannot be first: `grace = 0` kills without asking".to_owned())
        }
        "SIGSTOP" | "SIGTSTP" | "SIGCONT" => {
            Err(format!("`signal`: {name} does not end a process"))
        }
        _ => {
            let others = FirstSignal::ALL.map(|signal| (signal.name(), Some(signal)));
            let all = [("SIGTERM", None)].into_iter().chain(others);
            let all: Vec<_> = all.collect();
            one_of(&name, text, &all).map_err(|said| format!("`signal`: {said}"))
        }
    }
}

/// Has what is known of `process` by its rule count. `parent_rule`: of its
/// parent; `age_millis`: how long it has run. Of a tree that one rule matches the topmost has the value, and the
/// others go with it, as below an entry.
pub(crate) fn apply(process: &mut Process, parent_rule: u16, age_millis: u64) {
    let label = process.dossier.label;
    if label.rule == 0 {
        return;
    }
    let dossier = &mut process.dossier;
    if let Some(value) = dossier.value {
        if let Some(most) = label.max_value {
            dossier.value = Some(value.min(most));
            if let Some(gain) = &mut dossier.gain {
                gain.most = gain.most.min(most);
            }
        }
    } else if let Some(value) = label.value.filter(|_| parent_rule != label.rule) {
        let gain = label.rate.map(|rate| Gain {
            base: value,
            rate,
            unsaved_millis: age_millis,
            most: MAX_VALUE,
        });
        dossier.value = Some(gain.map_or(value, |gain| gain.value()));
        dossier.is_rules_value = true;
        dossier.gain = gain;
    }
    if label.protect {
        dossier.protection.get_or_insert(Protection::Ignored);
    }
    if dossier.preference == Preference::None {
        dossier.preference = label.preference;
    }
    if let Some(name) = label.name {
        process.seen.name = name;
    }
}

/// The path of an executable; and for a program that NixOS (`.kitty-wrapped`) or Guix
/// (`.kitty-real`) starts by a wrapper of its name, the path by that name.
fn each_executable(path: &[u8], each: &mut dyn FnMut(&[u8])) {
    each(path);
    if !path.starts_with(b"/nix/store/") && !path.starts_with(b"/gnu/store/") {
        return;
    }
    let after_slash = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0) + 1;
    let (directory, name) = path.split_at(after_slash);
    let wrapped = name.strip_prefix(b".").and_then(|name| {
        name.strip_suffix(b"-wrapped")
            .or_else(|| name.strip_suffix(b"-real"))
    });
    if let Some(name) = wrapped {
        each(&[directory, name].concat());
    }
}

/// A process whose picture is taken field by field.
struct Sitter<'a> {
    portrait: &'a Portrait<'a>,
    credentials: Option<(u32, u32, Vec<u32>)>,
    facts: &'a ContainerFacts,
    edition: u32,
    /// The container that it is in, once that was asked for.
    container: Option<(Option<Arc<Container>>, Labelled)>,
}

impl Sitter<'_> {
    fn container(&mut self) -> Option<&Container> {
        let (portrait, facts, edition) = (self.portrait, self.facts, self.edition);
        let (container, _) = self
            .container
            .get_or_insert_with(|| facts.of(portrait, edition));
        container.as_deref()
    }
}

impl Subject for Sitter<'_> {
    fn texts(&mut self, field: Field, each: &mut dyn FnMut(&[u8])) {
        match field {
            Field::Name => each(self.portrait.name().as_bytes()),
            Field::Executable => each_executable(&self.portrait.executable(), each),
            Field::Cgroup => {
                for line in self.portrait.cgroups().split(|byte| *byte == b'\n') {
                    // `<number>:<controllers>:<path>`
                    if let Some(path) = line.splitn(3, |byte| *byte == b':').nth(2) {
                        each(outside_namespace(path));
                    }
                }
            }
            Field::Parent => {
                if let Some(name) = self.portrait.ancestors().first() {
                    each(name.as_bytes());
                }
            }
            Field::Ancestor => {
                for name in self.portrait.ancestors() {
                    each(name.as_bytes());
                }
            }
            Field::CommandLine => each(&self.portrait.command_line()),
            Field::Environment => {
                for variable in self.portrait.environment().split(|byte| *byte == 0) {
                    each(variable);
                }
            }
            Field::ContainerName => {
                if let Some(container) = self.container() {
                    each(container.name.as_bytes());
                }
            }
            Field::ContainerImage => {
                if let Some(container) = self.container() {
                    each(container.image.as_bytes());
                }
            }
            Field::ContainerLabel => {
                let container = self.container();
                for label in container.into_iter().flat_map(|it| &it.labels) {
                    each(label.as_bytes());
                }
            }
        }
    }

    fn credentials(&mut self) -> (u32, u32, &[u32]) {
        // No user has the number −1.
        let unknown = || (u32::MAX, u32::MAX, Vec::new());
        let portrait = self.portrait;
        let credentials = self
            .credentials
            .get_or_insert_with(|| portrait.credentials().unwrap_or_else(unknown));
        (credentials.0, credentials.1, &credentials.2)
    }

    fn chooses_its_paths(&mut self) -> bool {
        self.portrait.chooses_its_paths()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use config::Grammar;
    use oom_policy::ProcessId;

    use super::*;
    use crate::stand_in::ordinary;

    impl Rulebook {
        /// Of one rule.
        pub(crate) fn stand_in(rule: &str) -> Self {
            compile(&format!("[[rule]]\n{rule}\nvalue = 1")).unwrap()
        }
    }

    fn compile(text: &str) -> Result<Rulebook, Mistakes> {
        let grammar = Grammar {
            keys: &[super::label("swap", Kind::Text)],
            labels: &LABELS,
            arguments: &[],
            scope_keys: &[],
        };
        let found = config::parse(Path::new("f"), text, grammar, |_| None)?;
        Rulebook::compile(&found.rules)
    }

    fn label(labels: &str) -> Result<Label, String> {
        let text = format!("[[rule]]\nmatch = {{ name = 'a' }}\n{labels}");
        let compiled = compile(&text);
        compiled
            .map(|book| book.labels[0])
            .map_err(|err| err.to_string())
    }

    fn process(label: Label, value: Option<u32>) -> Process {
        let id = ProcessId {
            pid: 7,
            start_ticks: 7,
        };
        let mut process = Process {
            seen: ordinary(id, 1),
            dossier: Default::default(),
        };
        process.dossier.label = label;
        process.dossier.value = value;
        process
    }

    #[test]
    fn each_label_is_taken() {
        let got = label(
            "value = 30\nmax-value = 50\nprotect = true\navoid = true\npause = false\nname = 'job'\n\
             grace = '1 min'\nsignal = 'INT'\nunit = 'session'\ngroup-by = 'user'",
        );
        let want = Label {
            rule: 1,
            value: Some(30),
            rate: None,
            max_value: Some(50),
            protect: true,
            preference: Preference::Avoid,
            pause: Some(PauseWord::NoPause),
            name: Some(Name::new(b"job")),
            grace: Some(std::time::Duration::from_secs(60)),
            signal: Some(FirstSignal::Interrupt),
            command: None,
            together: Some(KilledWith::Session),
            group_by: Some(GroupBy::User),
        };
        assert_eq!(got, Ok(want));
        assert_eq!(label("signal = 'SIGTERM'").unwrap().signal, None);
        let said = label("signal = 'sigint'").unwrap();
        assert_eq!(said, label("signal = 'INT'").unwrap());
    }

    #[test]
    fn a_label_that_cannot_be_meant_is_refused_where_it_stands() {
        let refused = |labels: &str, want: &str| {
            let said = label(labels).unwrap_err();
            assert!(said.contains(want), "{said}");
        };
        refused(
            "value = 'much'",
            "f:3:9: `value`: `much` is not a whole number from 0 to 1000000",
        );
        refused("value = '30 alice'", "f:3:9: `value`: `30 alice`");
        refused("max-value = 1000001", "f:3:13: `max-value`: `1000001`");
        refused("name = 'sixteen letters.'", "f:3:8: `name`");
        refused("grace = 'long'", "f:3:9: `grace`: `long` is not a time");
        refused(
            "signal = 'SIGKILL'",
            "f:3:10: `signal`: SIGKILL cannot be first: `grace = 0`",
        );
        refused("signal = 'STOP'", "f:3:10: `signal`: SIGSTOP does not end");
        refused(
            "signal = 'SIGUSER1'",
            "`SIGUSER1` is none of: SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH; \
             did you mean `SIGUSR1`?",
        );
        refused(
            "unit = 'sesion'",
            "f:3:8: `unit`: `sesion` is none of: process, tree, group, session, cgroup; did you mean \
             `session`?",
        );
        refused(
            "group-by = 'users'",
            "f:3:12: `group-by`: `users` is none of: rule, user; did you mean `user`?",
        );
        refused(
            "prefer = true\navoid = true",
            "f:1:1: it cannot be killed both",
        );
    }

    #[test]
    fn a_user_that_is_not_there_is_said_and_matches_nothing() {
        let text = "[[rule]]\nmatch = { user = 'no-such-user' }\nvalue = 5\n";
        let remarks = compile(text).unwrap().remarks;
        assert_eq!(remarks.len(), 1);
        assert!(remarks[0].contains("no user `no-such-user`"), "{remarks:?}");
    }

    #[test]
    fn an_entry_counts_before_a_rule_and_no_more_than_that_allows() {
        let label = label("value = 30\nmax-value = 20").unwrap();
        let value = |entry, parent_rule| {
            let mut process = process(label, entry);
            apply(&mut process, parent_rule, 0);
            process.dossier.value
        };
        assert_eq!(value(None, 0), Some(30));
        assert_eq!(value(Some(8), 0), Some(8));
        assert_eq!(value(Some(25), 0), Some(20));
        // Below one of the same rule it goes with that.
        assert_eq!(value(None, 1), None);
        assert_eq!(value(Some(8), 1), Some(8));
        assert_eq!(value(None, 2), Some(30));
    }

    #[test]
    fn a_value_grows_from_the_start_of_the_process() {
        let label = label("value = '30 +5/h'").unwrap();
        let mut process = process(label, None);
        apply(&mut process, 0, 2 * 3_600_000);
        assert_eq!(process.dossier.value, Some(40));
        assert_eq!(process.dossier.gain.unwrap().base, 30);
    }

    #[test]
    fn a_rule_says_what_nothing_else_does() {
        let label = label("protect = true\nprefer = true\nname = 'job'").unwrap();
        let mut plain = process(label, None);
        apply(&mut plain, 0, 0);
        assert_eq!(plain.dossier.protection, Some(Protection::Ignored));
        assert_eq!(plain.dossier.preference, Preference::Prefer);
        assert_eq!(plain.name, Name::new(b"job"));
        let mut other = process(label, None);
        other.dossier.protection = Some(Protection::NotPermitted);
        other.dossier.preference = Preference::Avoid;
        apply(&mut other, 0, 0);
        assert_eq!(other.dossier.protection, Some(Protection::NotPermitted));
        assert_eq!(other.dossier.preference, Preference::Avoid);
    }

    /// A process as it was recorded: a line of `tests/tables`.
    struct Recorded<'a> {
        uid: u32,
        /// Of Kubernetes'.
        namespace: Option<&'a str>,
        fields: [&'a str; 5],
    }

    impl Subject for Recorded<'_> {
        fn texts(&mut self, field: Field, each: &mut dyn FnMut(&[u8])) {
            let [name, executable, cgroup, ancestors, command_line] = self.fields;
            let mut ancestors = ancestors.split(',');
            match field {
                Field::Name => each(name.as_bytes()),
                Field::Executable => each_executable(executable.as_bytes(), each),
                Field::Cgroup => each(cgroup.as_bytes()),
                Field::Parent => each(ancestors.next().unwrap_or_default().as_bytes()),
                Field::Ancestor => ancestors.for_each(|name| each(name.as_bytes())),
                Field::CommandLine => each(command_line.as_bytes()),
                Field::ContainerLabel => {
                    if let Some(name) = self.namespace {
                        each(format!("io.kubernetes.cri.sandbox-namespace={name}").as_bytes());
                    }
                }
                Field::Environment | Field::ContainerName | Field::ContainerImage => {}
            }
        }

        fn credentials(&mut self) -> (u32, u32, &[u32]) {
            (self.uid, self.uid, &[])
        }
    }

    /// As a table has it.
    fn said(label: &Label) -> String {
        match (label.protect, label.preference, label.value) {
            (true, ..) => "protect".to_owned(),
            (_, Preference::Prefer, _) => "prefer".to_owned(),
            (_, Preference::Avoid, _) => "avoid".to_owned(),
            (.., Some(value)) => format!("value {value}"),
            (.., None) => "-".to_owned(),
        }
    }

    #[track_caller]
    fn check_shipped(set: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let read = |path: String| std::fs::read_to_string(folder.join(path)).unwrap();
        let rules = compile(&read(format!("../../dist/config/{set}.toml"))).unwrap();
        let table = read(format!("tests/tables/{set}.txt"));
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let parts: Vec<_> = line.splitn(7, " | ").collect();
            let [want, uid, fields @ ..] = &parts[..] else {
                panic!("{line}")
            };
            let (uid, namespace) = match uid.split_once('@') {
                Some((uid, namespace)) => (uid, Some(namespace)),
                None => (*uid, None),
            };
            let mut process = Recorded {
                uid: uid.parse().unwrap(),
                namespace,
                fields: fields.try_into().unwrap(),
            };
            let label = rules.label_of(&mut process);
            assert_eq!(said(&label), *want, "{set}: {line}");
        }
        let unmatched: Vec<_> = rules.unmatched().collect();
        let most = rules.labels.len() / 3;
        assert!(unmatched.len() <= most, "no process for {unmatched:?}");
    }

    #[test]
    fn the_set_for_servers_knows_recorded_processes() {
        check_shipped("server");
    }

    #[test]
    fn the_set_for_desktops_knows_recorded_processes() {
        check_shipped("desktop");
    }

    #[test]
    fn the_set_for_training_knows_recorded_processes() {
        check_shipped("ml-workstation");
    }

    #[test]
    fn the_set_for_agents_knows_recorded_processes() {
        check_shipped("agents");
    }

    #[test]
    fn the_set_for_kubernetes_knows_recorded_processes() {
        check_shipped("kubernetes-node");
    }
}
