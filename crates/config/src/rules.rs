//! Rules: which of them matches a process. What follows from that is their
//! user's business.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use globset::GlobBuilder;

use crate::document::{Keyword, RuleText, TextSetting};
use crate::expressions::Expressions;
use crate::mistake::{Mistake, Mistakes, Position};

/// A pattern that is compiled takes no more,
const PATTERN_BYTES: usize = 256 << 10;
/// and neither do all that look at one thing,
const PATTERNS_BYTES: usize = 4 << 20;
/// nor what is remembered of having matched them. With less, it is computed
/// anew.
const REMEMBERED_BYTES: usize = 64 << 10;

/// The word for a cgroup: a condition of a rule, what a scope is, and a unit.
pub const CGROUP: &str = "cgroup";

/// What a rule can look at.
pub(crate) const CONDITIONS: [Keyword; 12] = [
    Keyword::text("name"),
    Keyword::text("exe"),
    Keyword::text("cmdline"),
    Keyword::text(CGROUP),
    Keyword::text("user"),
    Keyword::text("group"),
    Keyword::text("env"),
    Keyword::text("parent"),
    Keyword::text("ancestor"),
    Keyword::text("container-name"),
    Keyword::text("container-image"),
    Keyword::text("container-label"),
];

/// What of a process is text, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The name that it gives itself.
    Name,
    /// The path of its executable.
    Executable,
    /// The path of its cgroup.
    Cgroup,
    /// The name of its parent.
    Parent,
    /// The name of its parent, of that one's parent, and so on.
    Ancestor,
    /// Its arguments, with spaces between them.
    CommandLine,
    /// `NAME=value`.
    Environment,
    /// What its container is called.
    ContainerName,
    /// What its container was made of.
    ContainerImage,
    /// `KEY=value`, of its container.
    ContainerLabel,
}

/// How many there are.
const FIELDS: usize = 10;

impl Field {
    const ALL: [Self; FIELDS] = [
        Self::Name,
        Self::Executable,
        Self::Cgroup,
        Self::Parent,
        Self::Ancestor,
        Self::CommandLine,
        Self::Environment,
        Self::ContainerName,
        Self::ContainerImage,
        Self::ContainerLabel,
    ];

    fn key(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Executable => "exe",
            Self::Cgroup => "cgroup",
            Self::Parent => "parent",
            Self::Ancestor => "ancestor",
            Self::CommandLine => "cmdline",
            Self::Environment => "env",
            Self::ContainerName => "container-name",
            Self::ContainerImage => "container-image",
            Self::ContainerLabel => "container-label",
        }
    }

    /// Its patterns are globs for paths, else regular expressions.
    fn is_path(self) -> bool {
        matches!(self, Self::Executable | Self::Cgroup)
    }
}

/// A process, as far as rules ask about it.
pub trait Subject {
    /// Calls `each` with each text that the field has.
    fn texts(&mut self, field: Field, each: &mut dyn FnMut(&[u8]));
    /// Its real user id, its real group id, and its other groups.
    fn credentials(&mut self) -> (u32, u32, &[u32]);
    /// Whether its user may mount any file at any path where it runs, so that the path of
    /// its executable says nothing.
    fn chooses_its_paths(&mut self) -> bool {
        false
    }
}

/// The rules, in order.
#[derive(Debug, Default)]
pub struct Rules {
    /// The patterns for each of [`Field::ALL`] that any rule looks at: a set without
    /// patterns takes 5 KiB too.
    sets: [Option<Expressions>; FIELDS],
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    place: Arc<str>,
    /// Which pattern of each set is to match.
    patterns: [Option<usize>; FIELDS],
    user: Option<User>,
    group: Option<Option<u32>>,
    /// It matches by no path that a user may choose.
    takes_no_chosen_path: bool,
    has_matched: AtomicU32,
}

/// What names a user,
const USERS: &str = "expected a name such as `alice`, a number such as 1000, or `@group`";
/// and a group.
const GROUPS: &str = "expected a name such as `staff` or a number such as 50";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    Is(u32),
    InGroup(u32),
    /// There is none of that name.
    Unknown,
}

/// What is known by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Account {
    User,
    Group,
}

impl Rules {
    /// Compiles `texts`. `user` and `group` give the number that belongs to a
    /// name; a name that has none matches no process.
    ///
    /// # Errors
    ///
    /// All patterns that cannot be meant.
    pub fn compile(
        texts: &[RuleText],
        user: &dyn Fn(&str) -> Option<u32>,
        group: &dyn Fn(&str) -> Option<u32>,
    ) -> Result<Self, Mistakes> {
        let mut patterns: [Vec<String>; FIELDS] = Default::default();
        let mut problems = Vec::new();
        // What neither is written in digits nor can be a name is refused.
        let number = |account, name: &str| {
            let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
            if name.is_empty() || name.starts_with(['+', '-']) {
                return None;
            }
            let found = match account {
                _ if is_number => return name.parse().ok().map(Some),
                Account::User => user(name),
                Account::Group => group(name),
            };
            Some(found)
        };
        let mut rules = Vec::with_capacity(texts.len());
        for text in texts {
            let mut rule = Rule {
                place: text.mark.to_string().into(),
                patterns: [None; FIELDS],
                user: None,
                group: None,
                takes_no_chosen_path: false,
                has_matched: AtomicU32::new(0),
            };
            for condition in &text.conditions {
                let value = &condition.text;
                let fields = Field::ALL.iter().enumerate();
                let field = fields
                    .into_iter()
                    .find(|(_, field)| field.key() == condition.key);
                match (field, &*condition.key) {
                    (Some((index, field)), _) => match pattern(*field, value) {
                        Ok(pattern) => {
                            rule.patterns[index] = Some(patterns[index].len());
                            patterns[index].push(pattern);
                        }
                        Err(said) => problems.push(problem(condition, &said)),
                    },
                    (None, "user") => {
                        let found = match value.strip_prefix('@') {
                            Some(name) => number(Account::Group, name)
                                .map(|gid| gid.map_or(User::Unknown, User::InGroup)),
                            None => number(Account::User, value)
                                .map(|uid| uid.map_or(User::Unknown, User::Is)),
                        };
                        rule.user = found;
                        if found.is_none() {
                            let said = format!("`{value}` is not a user ({USERS})");
                            problems.push(problem(condition, &said));
                        }
                    }
                    (None, _) => {
                        rule.group = number(Account::Group, value);
                        if rule.group.is_none() {
                            let said = format!("`{value}` is not a group ({GROUPS})");
                            problems.push(problem(condition, &said));
                        }
                    }
                }
            }
            rules.push(rule);
        }
        if !problems.is_empty() {
            return Err(Mistakes(problems));
        }
        let mut sets: [Option<Expressions>; FIELDS] = Default::default();
        let used = sets.iter_mut().zip(&patterns);
        for (set, patterns) in used.filter(|(_, patterns)| !patterns.is_empty()) {
            let built = Expressions::compile(patterns, PATTERNS_BYTES, REMEMBERED_BYTES);
            match (built, texts.first()) {
                (Ok(built), _) => *set = Some(built),
                (Err(_), Some(first)) => {
                    let said = "the patterns of all rules together are too large: use fewer or \
                                simpler ones";
                    return Err(Mistakes(vec![first.mark.problem(said)]));
                }
                (Err(_), None) => {}
            }
        }
        Ok(Self { sets, rules })
    }

    /// Has each rule of which `of` says so, in order, match by no executable whose path
    /// the process's user may choose.
    #[must_use]
    pub fn taking_no_chosen_path(mut self, of: impl IntoIterator<Item = bool>) -> Self {
        for (rule, takes_none) in self.rules.iter_mut().zip(of) {
            rule.takes_no_chosen_path = takes_none;
        }
        self
    }

    /// Which is the first that matches. What rules ask about is read as they ask,
    /// each field once.
    pub fn first_match(&self, subject: &mut dyn Subject) -> Option<usize> {
        let mut matched: [Option<Vec<bool>>; FIELDS] = Default::default();
        let found = self.rules.iter().position(|rule| {
            rule.is_owner(subject)
                && rule.patterns.iter().enumerate().all(|(index, pattern)| {
                    let (Some(pattern), Some(set)) = (*pattern, &self.sets[index]) else {
                        return true;
                    };
                    let field = Field::ALL[index];
                    let matched = &mut matched[index];
                    matched.get_or_insert_with(|| matches(set, subject, field))[pattern]
                        && !(field == Field::Executable
                            && rule.takes_no_chosen_path
                            && subject.chooses_its_paths())
                })
        })?;
        // Only whether it is 0 is asked.
        self.rules[found].has_matched.store(1, Ordering::Relaxed);
        Some(found)
    }

    /// Where each stands.
    pub fn places(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rules.iter().map(|rule| &rule.place)
    }

    /// Where those stand that have matched nothing yet.
    pub fn unmatched(&self) -> impl Iterator<Item = &Arc<str>> {
        let unmatched = |rule: &&Rule| rule.has_matched.load(Ordering::Relaxed) == 0;
        self.rules.iter().filter(unmatched).map(|rule| &rule.place)
    }
}

impl Rule {
    fn is_owner(&self, subject: &mut dyn Subject) -> bool {
        if self.user.is_none() && self.group.is_none() {
            return true;
        }
        let (user, group, others) = subject.credentials();
        let is_user = match self.user {
            None => true,
            Some(User::Is(uid)) => uid == user,
            Some(User::InGroup(gid)) => gid == group || others.contains(&gid),
            Some(User::Unknown) => false,
        };
        is_user && self.group.is_none_or(|gid| gid == Some(group))
    }
}

/// Which patterns of `set` match a text of the field.
fn matches(set: &Expressions, subject: &mut dyn Subject, field: Field) -> Vec<bool> {
    let mut matched = vec![false; set.len()];
    subject.texts(field, &mut |text| {
        set.matches(text, |pattern| matched[pattern] = true);
    });
    matched
}

fn problem(condition: &TextSetting, said: &str) -> Mistake {
    let mark: &Position = &condition.mark;
    mark.problem(format!("`{}`: {said}", condition.key))
}

/// `text` as a regular expression.
fn pattern(field: Field, text: &str) -> Result<String, String> {
    if field.is_path() {
        if !text.starts_with(['/', '*']) {
            return Err(format!(
                "`{text}` matches no path: begin with `/`, or with `**/` for any directory"
            ));
        }
        let glob = GlobBuilder::new(text)
            .literal_separator(true)
            .backslash_escape(true)
            .build();
        let glob = glob.map_err(|err| format!("not a pattern for paths: {}", err.kind()))?;
        return Ok(glob.regex().to_owned());
    }
    let built = Expressions::compile(&[text], PATTERN_BYTES, 0);
    let regex = built.map_err(|err| match (err.size_limit(), err.source()) {
        (None, Some(cause)) => {
            // The last line says what; those before it show where.
            let said = cause.to_string();
            let last = said.lines().next_back().unwrap_or_default();
            let last = last.strip_prefix("error: ").unwrap_or(last);
            format!("not a regular expression: {last}")
        }
        _ => "it is too large: use a simpler one".to_owned(),
    })?;
    let mut matches_every = false;
    regex.matches(b"", |_| matches_every = true);
    if matches_every {
        return Err(format!(
            "`{text}` matches every text: give one that names what is meant, such as `^postgres$`"
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::document::{Grammar, parse};

    /// A process, and which fields were read.
    #[derive(Default)]
    struct Made {
        texts: Vec<(Field, Vec<&'static str>)>,
        uid: u32,
        gid: u32,
        groups: Vec<u32>,
        read: Vec<Field>,
        chooses_its_paths: bool,
    }

    impl Subject for Made {
        fn texts(&mut self, field: Field, each: &mut dyn FnMut(&[u8])) {
            self.read.push(field);
            let own = self.texts.iter().find(|(own, _)| *own == field);
            for text in own.map(|(_, texts)| texts).into_iter().flatten() {
                each(text.as_bytes());
            }
        }

        fn credentials(&mut self) -> (u32, u32, &[u32]) {
            (self.uid, self.gid, &self.groups)
        }

        fn chooses_its_paths(&mut self) -> bool {
            self.chooses_its_paths
        }
    }

    fn compile(conditions: &[&str]) -> Result<Rules, Mistakes> {
        let text: String = conditions
            .iter()
            .map(|conditions| format!("[[rule]]\nmatch = {{ {conditions} }}\nlabel = 1\n"))
            .collect();
        let grammar = Grammar {
            keys: &[],
            labels: &[Keyword::text("label")],
            arguments: &[],
            scope_keys: &[],
        };
        let found = parse(Path::new("f"), &text, grammar, |_| None)?;
        let user = |name: &str| (name == "alice").then_some(1000);
        let group = |name: &str| (name == "ml").then_some(500);
        Rules::compile(&found.rules, &user, &group)
    }

    #[track_caller]
    fn check(conditions: &str, process: Made, want: bool) -> Vec<Field> {
        let mut process = process;
        let rules = compile(&[conditions]).unwrap();
        assert_eq!(
            rules.first_match(&mut process).is_some(),
            want,
            "{conditions}"
        );
        process.read
    }

    fn with(field: Field, texts: &[&'static str]) -> Made {
        Made {
            texts: vec![(field, texts.to_vec())],
            ..Made::default()
        }
    }

    #[test]
    fn the_first_that_matches_counts_and_the_others_have_matched_nothing() {
        let rules = compile(&["name = 'x'", "name = 'ab'", "name = 'a'", "name = 'b'"]).unwrap();
        let first = |name| rules.first_match(&mut with(Field::Name, &[name]));
        let unmatched = || rules.unmatched().map(|place| &**place).collect::<Vec<_>>();
        assert_eq!(unmatched(), ["f:1", "f:4", "f:7", "f:10"]);
        assert_eq!(first("cab"), Some(1));
        assert_eq!(first("ca"), Some(2));
        assert_eq!(first("c"), None);
        assert_eq!(unmatched(), ["f:1", "f:10"]);
    }

    #[test]
    fn a_path_that_a_user_chose_is_taken_but_where_that_is_not_wanted() {
        let rules = compile(&["exe = '/usr/sbin/sshd'", "exe = '/usr/**'"]).unwrap();
        let rules = rules.taking_no_chosen_path([true, false]);
        let first = |chooses_its_paths| {
            rules.first_match(&mut Made {
                chooses_its_paths,
                ..with(Field::Executable, &["/usr/sbin/sshd"])
            })
        };
        assert_eq!(first(false), Some(0));
        assert_eq!(first(true), Some(1));
        // What it does not ask the path for matches as ever.
        let rules = compile(&["name = 'sshd'"]).unwrap();
        let rules = rules.taking_no_chosen_path([true]);
        let found = rules.first_match(&mut Made {
            chooses_its_paths: true,
            ..with(Field::Name, &["sshd"])
        });
        assert_eq!(found, Some(0));
    }

    #[test]
    fn regular_expressions_look_at_all_of_a_text() {
        let long = "python3 ".to_owned() + &"--flag ".repeat(5000) + "train.py";
        let long: &'static str = Box::leak(long.into_boxed_str());
        check(
            r"cmdline = 'train\.py$'",
            with(Field::CommandLine, &[long]),
            true,
        );
        check(
            r"cmdline = 'train\.py$'",
            with(Field::CommandLine, &["train.pyc"]),
            false,
        );
        let environment = || with(Field::Environment, &["A=1", "WANDB=x"]);
        check("env = '^WANDB='", environment(), true);
        check("env = '^A=1W'", environment(), false);
        check("name = '^微信$'", with(Field::Name, &["微信"]), true);
        let labels = || with(Field::ContainerLabel, &["tier=db", "a.b/c=x y"]);
        check("container-label = '^tier=db$'", labels(), true);
        check("container-label = '^tier='", labels(), true);
        check("container-label = '^db'", labels(), false);
        check(
            "container-image = '/postgres:'",
            with(Field::ContainerImage, &["docker.io/library/postgres:16"]),
            true,
        );
        check(
            "container-name = '^web-[0-9]+$'",
            with(Field::ContainerName, &["web-12"]),
            true,
        );
    }

    #[test]
    fn globs_are_for_whole_paths_and_stop_at_slashes() {
        let exe = |path| with(Field::Executable, &[path]);
        let postgres = "exe = '/usr/lib/postgresql/*/bin/postgres'";
        check(postgres, exe("/usr/lib/postgresql/15/bin/postgres"), true);
        check(postgres, exe("/usr/lib/postgresql/a/b/bin/postgres"), false);
        check(
            postgres,
            exe("/x/usr/lib/postgresql/15/bin/postgres"),
            false,
        );
        check(
            "exe = '**/bin/{node,claude}'",
            exe("/home/a/bin/node"),
            true,
        );
        let cgroup = |path| with(Field::Cgroup, &[path]);
        check(
            "cgroup = '/user.slice/**'",
            cgroup("/user.slice/a/b.scope"),
            true,
        );
        check(
            "cgroup = '/user.slice/*'",
            cgroup("/user.slice/a/b.scope"),
            false,
        );
    }

    #[test]
    fn users_are_known_by_number_and_a_group_by_who_is_in_it() {
        let of = |uid, gid, groups: &[u32]| Made {
            uid,
            gid,
            groups: groups.to_vec(),
            ..Made::default()
        };
        check("user = 'alice'", of(1000, 0, &[]), true);
        check("user = 'alice'", of(1001, 0, &[]), false);
        check("user = 1001", of(1001, 0, &[]), true);
        check("user = 'bob'", of(0, 0, &[]), false);
        check("user = '@ml'", of(1, 500, &[]), true);
        check("user = '@ml'", of(1, 5, &[7, 500]), true);
        check("user = '@ml'", of(1, 5, &[7]), false);
        check("group = 'ml'", of(1, 500, &[]), true);
        check("group = 'ml'", of(1, 5, &[500]), false);
        check("group = 'nogroup-of-ours'", of(1, 0, &[]), false);
    }

    #[test]
    fn what_takes_long_to_read_is_read_only_where_the_rest_matches() {
        let conditions = "cmdline = 'x', env = 'y', name = 'z', user = 5";
        assert_eq!(check(conditions, with(Field::Name, &["z"]), false), []);
        let process = Made {
            uid: 5,
            ..with(Field::Name, &["a"])
        };
        assert_eq!(check(conditions, process, false), [Field::Name]);
        let process = Made {
            uid: 5,
            ..with(Field::Name, &["z"])
        };
        let read = check(conditions, process, false);
        assert_eq!(read, [Field::Name, Field::CommandLine]);
    }

    #[test]
    fn a_pattern_that_cannot_be_meant_is_refused() {
        let refused = |conditions: &str, want: &str| {
            let said = compile(&[conditions]).unwrap_err().to_string();
            assert!(said.contains(want), "{said}");
        };
        refused(
            "name = '('",
            "f:2:18: `name`: not a regular expression: unclosed group",
        );
        refused("name = '.*'", "matches every text");
        refused("cmdline = 'a{1000}{1000}'", "`cmdline`: it is too large");
        refused(
            "exe = 'postgres'",
            "`postgres` matches no path: begin with `/`",
        );
        refused(
            "exe = '/a[b'",
            "`exe`: not a pattern for paths: unclosed character class",
        );
        for user in ["'+0'", "-5", "''", "'@'", "'@+0'", "99999999999"] {
            let want = "is not a user (expected a name such as `alice`, a number";
            refused(&format!("user = {user}"), want);
        }
        refused(
            "group = -5",
            "`group`: `-5` is not a group (expected a name",
        );
    }
}
