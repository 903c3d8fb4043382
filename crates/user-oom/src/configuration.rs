//! The configuration: the file and its drop-ins below the arguments, and what
//! is printed of it.
//!
//! There is one definition of each key, the argument of the same name: what a
//! file sets is put in front of the command line as that argument, so both take
//! the same values, and the last of several counts.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::error::ContextKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use config::{Grammar, Keyword, Kind, Mistakes, Origin, Position, Setting, Value};
use nix::unistd::geteuid;
use oom_policy::{Level, Levels, Memory, Settings};
use sensors::Scopes;

use crate::arguments::{Arguments, IMPLIED_DEFAULTS, Unusable, usable_on};
use crate::error::Error;
use crate::pressure::PressureGates;
use crate::rulebook::{LABELS, Rulebook};

/// How wide the file is that [`print`] writes.
const COLUMNS: usize = 80;

/// What is in force, and where it comes from.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) arguments: Arguments,
    pub(crate) rulebook: Arc<Rulebook>,
    /// What is guarded beside what the arguments say.
    pub(crate) scopes: Vec<ScopeEntry>,
    /// The keys that are given as arguments.
    given: Vec<String>,
    /// What the files set, the last of several only.
    settings: Vec<Setting>,
    /// Those that were read, the drop-ins last.
    pub(crate) files: Vec<PathBuf>,
    /// What is to be said of the files and keys, besides the rules.
    pub(crate) remarks: Vec<String>,
}

/// One `[[scope]]` of a file.
#[derive(Debug)]
pub(crate) struct ScopeEntry {
    pub(crate) cgroup: PathBuf,
    /// Where that stands.
    pub(crate) mark: Position,
    /// With what it has of its own.
    pub(crate) arguments: Arguments,
    settings: Vec<Setting>,
}

impl ScopeEntry {
    /// `said` of it, with the place in the file.
    pub(crate) fn mistake(&self, said: impl Into<String>) -> Error {
        self.mistake_of(&[], said.into())
    }

    /// That it is not usable, with the place in the file.
    pub(crate) fn unusable(&self, unusable: &Unusable) -> Error {
        self.mistake_of(unusable.names, unusable.to_string())
    }

    /// The policy's settings, whatever memory it has: see [`obstacle`].
    ///
    /// # Errors
    ///
    /// As [`Arguments::settings`], with the place.
    pub(crate) fn settings(&self) -> Result<Settings, Error> {
        let settings = self.arguments.settings();
        settings.map_err(|unusable| self.unusable(&unusable.in_keys()))
    }

    /// What opens its gates.
    pub(crate) fn gates(&self) -> PressureGates {
        PressureGates {
            pause: self.arguments.pause_gate(),
            relief: self.arguments.gate(),
        }
    }

    /// Where it sets the first of `keys` that it sets; else where it says which cgroup
    /// it is.
    pub(crate) fn place_of(&self, keys: &[&str]) -> &Position {
        let set = |key: &&str| self.settings.iter().find(|setting| setting.key == *key);
        let set = keys.iter().find_map(set);
        set.map_or(&self.mark, |setting| &setting.mark)
    }

    /// `said` of one of `keys`, with its place in the file.
    fn mistake_of(&self, keys: &[&str], said: String) -> Error {
        Error::Configuration(Mistakes(vec![self.place_of(keys).problem(said)]).into())
    }
}

/// Why a scope that has this memory cannot be guarded by `settings`, as a file's keys are
/// called. `is_forced`: also where that would have processes killed at once.
pub(crate) fn obstacle(settings: &Settings, memory: &Memory, is_forced: bool) -> Option<Unusable> {
    if let Err(unusable) = usable_on(settings, memory) {
        return Some(unusable.in_keys());
    }
    let said = at_once(settings, memory).filter(|_| !is_forced)?;
    Some(Unusable::new(format!("{said}; {LOWER_THEM}"), &THRESHOLDS))
}

/// The keys that a scope may have of its own.
const SCOPE_KEYS: [&str; 9] = [
    "memory",
    "memory-size",
    "swap",
    "swap-size",
    "recover",
    "grace",
    "horizon",
    "pressure",
    "pause-pressure",
];

/// What would be right where processes would be killed at once.
const LOWER_THEM: &str = "lower `memory` or `swap`, or start it with `--force`";

/// A key, its value as a file could have it, and where that comes from.
#[derive(Debug)]
pub(crate) struct InForce {
    pub(crate) key: String,
    /// `None`: it is not set, and nothing is meant by that.
    pub(crate) value: Option<String>,
    pub(crate) source: String,
}

impl Configuration {
    /// Reads what `command_line`, program name first, and the files say.
    ///
    /// # Errors
    ///
    /// [`Error::Arguments`]: also where help was asked for;
    /// [`Error::Configuration`].
    pub(crate) fn read(command_line: &[OsString]) -> Result<Self, Error> {
        let mut command = Arguments::command();
        let given = matches(&mut command, command_line.to_vec())?;
        let path = given.get_one::<PathBuf>("config");
        let origin = Origin {
            path: path.map(PathBuf::as_path),
            own_uid: geteuid().as_raw(),
        };
        let keys = keys(&command);
        let listed = command.get_arguments().filter(|arg| !arg.is_hide_set());
        let arguments: Vec<_> = listed
            .filter_map(|arg| arg.get_long().map(str::to_owned))
            .filter(|name| !keys.iter().any(|key| key.name == *name))
            .collect();
        let refusal = |setting: &Setting| refusal(&mut command, setting);
        let grammar = Grammar {
            keys: &keys,
            labels: &LABELS,
            arguments: &arguments,
            scope_keys: &SCOPE_KEYS,
        };
        let read = config::read(origin, grammar, refusal).map_err(Error::Configuration)?;
        let (found, files, mut remarks) = (read.document, read.files, read.remarks);
        let rulebook = Rulebook::compile(&found.rules);
        let rulebook = rulebook.map_err(|problems| Error::Configuration(problems.into()))?;
        let mut settings: Vec<Setting> = Vec::new();
        for setting in found.settings {
            settings.retain(|earlier| earlier.key != setting.key);
            settings.push(setting);
        }
        let is_given =
            |arg: &Arg| given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
        let given: Vec<_> = keyed(&command)
            .filter(|(_, arg)| is_given(arg))
            .map(|(name, _)| name.to_owned())
            .collect();
        let line = with(&settings, &given, command_line);
        let in_force = matches(&mut command, line)?;
        let taken = || Arguments::from_arg_matches(&in_force).map_err(Error::Arguments);
        let arguments = taken()?;
        let scopes = found.scopes.into_iter().map(|scope| {
            let words = scope.settings.iter().filter_map(word).map(OsString::from);
            let line = [OsString::from("user-oom")].into_iter().chain(words);
            let own = matches(&mut command, line.collect())?;
            let own = Arguments::from_arg_matches(&own).map_err(Error::Arguments)?;
            let sets = |key: &str| scope.settings.iter().any(|setting| setting.key == key);
            Ok(ScopeEntry {
                cgroup: scope.cgroup.text.into(),
                mark: scope.cgroup.mark,
                arguments: taken()?.of_scope(&own, sets),
                settings: scope.settings,
            })
        });
        let scopes: Vec<_> = scopes.collect::<Result<_, Error>>()?;
        if let Some(one_more) = scopes.get(Scopes::MOST - 1) {
            let said = format!("there are more than {} scopes", Scopes::MOST - 1);
            return Err(one_more.mistake(said));
        }
        remarks.extend(arguments.metrics_remark());
        Ok(Self {
            arguments,
            rulebook: rulebook.into(),
            scopes,
            given,
            settings,
            files,
            remarks,
        })
    }

    /// Each key with its value, as a file could have it, and where that comes
    /// from. `command_line`: as it was read with.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub(crate) fn listing(&self, command_line: &[OsString]) -> Result<String, Error> {
        let mut list = String::new();
        if self.files.is_empty() {
            let _ = writeln!(list, "# There is no file `{}`.", config::DEFAULT_PATH);
        }
        for file in &self.files {
            let _ = writeln!(list, "# Read `{}`.", file.display());
        }
        for remark in &self.remarks {
            let _ = writeln!(list, "# Warning: {remark}.");
        }
        for InForce { key, value, source } in self.in_force(command_line)? {
            let line = match value {
                Some(value) => format!("{key} = {value}"),
                None => format!("#{key} ="),
            };
            let _ = writeln!(list, "{line:<39} # {source}");
        }
        for scope in &self.scopes {
            let line = format!("cgroup = {}", literal(&scope.cgroup.to_string_lossy()));
            let _ = writeln!(list, "\n[[scope]]\n{line:<39} # {}", scope.mark);
            for setting in &scope.settings {
                let value = match &setting.value {
                    Value::Text(text) => literal(text),
                    Value::Switch(is_so) => is_so.to_string(),
                };
                let line = format!("{} = {value}", setting.key);
                let _ = writeln!(list, "{line:<39} # {}", setting.mark);
            }
        }
        Ok(list)
    }

    /// All keys. `command_line`: as it was read with.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub(crate) fn in_force(&self, command_line: &[OsString]) -> Result<Vec<InForce>, Error> {
        let mut command = Arguments::command();
        let in_force = matches(
            &mut command,
            with(&self.settings, &self.given, command_line),
        )?;
        let mut list = Vec::new();
        for (name, arg) in keyed(&command) {
            let id = arg.get_id().as_str();
            let set = self.settings.iter().find(|setting| setting.key == name);
            let source = match set {
                _ if self.is_given(name) => "argument".to_owned(),
                Some(setting) => setting.mark.to_string(),
                None => "default".to_owned(),
            };
            let given = || {
                let mut raw = in_force.get_raw(id)?;
                Some(literal(&raw.next()?.to_string_lossy()))
            };
            let by_default = || {
                let (default, unless) = implied(name)?;
                let is_replaced = in_force.value_source(&unless.replace('-', "_"));
                is_replaced.is_none().then(|| literal(default))
            };
            let value = match arg.get_action() {
                ArgAction::SetTrue => Some(in_force.get_flag(id).to_string()),
                _ => given().or_else(by_default),
            };
            list.push(InForce {
                key: name.to_owned(),
                value,
                source,
            });
        }
        Ok(list)
    }

    /// The policy's settings, whatever memory there is.
    ///
    /// # Errors
    ///
    /// As [`Arguments::settings`], and where a file sets what is named.
    pub(crate) fn settings(&self) -> Result<Settings, Unusable> {
        let settings = self.arguments.settings();
        settings.map_err(|unusable| self.placed(unusable))
    }

    /// Refuses `settings` of [`Self::settings`] where they cannot be meant with so much
    /// memory and swap.
    ///
    /// # Errors
    ///
    /// As [`usable_on`], and where a file sets what is named.
    pub(crate) fn usable_on(&self, settings: &Settings, memory: &Memory) -> Result<(), Unusable> {
        usable_on(settings, memory).map_err(|unusable| self.placed(unusable))
    }

    /// The policy's settings on a machine with so much memory and swap.
    ///
    /// # Errors
    ///
    /// As [`Self::settings`] and [`Self::usable_on`].
    pub(crate) fn settings_on(&self, machine: &Memory) -> Result<Settings, Unusable> {
        let settings = self.settings()?;
        self.usable_on(&settings, machine).map(|()| settings)
    }

    fn placed(&self, unusable: Unusable) -> Unusable {
        let named = self
            .settings
            .iter()
            .filter(|setting| unusable.names(&setting.key) && !self.is_given(&setting.key));
        let places: Vec<_> = named
            .map(|setting| format!("`{}` is set at {}", setting.key, setting.mark))
            .collect();
        unusable.at(&places)
    }

    /// Refuses what would have processes killed at once on a machine that has
    /// this memory. Where the defaults would too, the machine is short, and not
    /// the configuration wrong.
    pub(crate) fn kills_at_once(&self, settings: &Settings, memory: &Memory) -> Option<Unusable> {
        let mut said = at_once(settings, memory)?;
        for setting in &self.settings {
            if THRESHOLDS.contains(&&*setting.key) && !self.is_given(&setting.key) {
                let _ = write!(said, " (`{}` is set at {})", setting.key, setting.mark);
            }
        }
        Some(Unusable::new(format!("{said}; {LOWER_THEM}"), &[]))
    }

    /// Whether a file sets a threshold.
    pub(crate) fn sets_a_threshold(&self) -> bool {
        self.settings
            .iter()
            .any(|setting| THRESHOLDS.contains(&&*setting.key) && !self.is_given(&setting.key))
    }

    fn is_given(&self, key: &str) -> bool {
        self.given.iter().any(|given| given == key)
    }
}

/// What is said where `settings` would have processes killed at once on `memory`,
/// and the defaults would not.
fn at_once(settings: &Settings, memory: &Memory) -> Option<String> {
    let acts = |settings: &Settings| settings.level(memory) != Level::Ok;
    if !acts(settings) || acts(&Settings::default()) {
        return None;
    }
    let mib = |bytes: u64| bytes >> 20;
    let levels = Levels::of(settings, memory);
    let mut said = format!(
        "this would have processes killed at once: {} MiB of memory are available, and it acts \
         at or below {} MiB",
        mib(memory.available_bytes),
        mib(levels.warn_memory),
    );
    if memory.swap_total_bytes > 0 {
        let _ = write!(
            said,
            "; {} MiB of swap are free, and it acts at or below {} MiB",
            mib(memory.swap_free_bytes),
            mib(levels.warn_swap),
        );
    }
    Some(said)
}

/// Whether a daemon that runs can go by another value of `key`; else it takes a
/// restart.
pub(crate) fn can_change(key: &str) -> bool {
    CHANGEABLE.contains(&key)
}

const CHANGEABLE: [&str; 16] = [
    "memory",
    "swap",
    "memory-size",
    "swap-size",
    "recover",
    "grace",
    "horizon",
    "report",
    "registered-only",
    "by-group",
    "prefer",
    "avoid",
    "ignore",
    "ignore-root-user",
    "user-value-cap",
    "user-value-share",
];

/// The keys by which it is decided when to act.
const THRESHOLDS: [&str; 4] = ["memory", "memory-size", "swap", "swap-size"];

fn matches(command: &mut Command, line: Vec<OsString>) -> Result<ArgMatches, Error> {
    command
        .try_get_matches_from_mut(line)
        .map_err(Error::Arguments)
}

/// `command_line` with those of `settings` in front of its arguments that are not
/// `given` there.
fn with(settings: &[Setting], given: &[String], command_line: &[OsString]) -> Vec<OsString> {
    let (program, arguments) = command_line.split_at(1.min(command_line.len()));
    let set = settings
        .iter()
        .filter(|setting| !given.iter().any(|key| *key == setting.key));
    let set = set.filter_map(word).map(OsString::from);
    let program = program.iter().cloned();
    program
        .chain(set)
        .chain(arguments.iter().cloned())
        .collect()
}

/// A configuration file with all keys, each with what it is for and its default,
/// and none in force.
pub(crate) fn print() -> String {
    let command = Arguments::command();
    let mut file = format!(
        "\
# The configuration of user-oom: `{}`, and the drop-ins
# `config.d/*.toml` beside it, in the order of their names. An argument of the
# same name takes precedence over a drop-in, and that over this file.
#
# A line that begins with `#` and a key has the default.
# `user-oom --check-config` shows what is in force, and where it comes from. On
# SIGHUP, a daemon without a terminal reads it again: rules and most keys take
# effect at once, and a mistake changes nothing.
",
        config::DEFAULT_PATH
    );
    for (name, arg) in keyed(&command) {
        file.push('\n');
        let default = match arg.get_action() {
            ArgAction::SetTrue => Some("false".to_owned()),
            _ => {
                let default = arg.get_default_values().first();
                let default = default.map(|value| value.to_string_lossy().into_owned());
                default
                    .or_else(|| implied(name).map(|(default, _)| default.to_owned()))
                    .map(|value| literal(&value))
            }
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let help = named_as_keys(&help, &command);
        let help = match help.split_once(" [default") {
            Some((before, _)) if default.is_some() => before,
            _ => &help,
        };
        let restart = match can_change(name) {
            true => "",
            false => " Takes a restart.",
        };
        comment(&mut file, "", &format!("{help}.{restart}"));
        let choices = arg.get_possible_values();
        for choice in choices.iter().filter(|_| arg.get_action().takes_values()) {
            if let Some(help) = choice.get_help() {
                comment(&mut file, "  ", &format!("- {}: {help}", choice.get_name()));
            }
        }
        // Without a default, it is not set, and what it takes is shown.
        let takes = || arg.get_value_names().and_then(<[_]>::first);
        let _ = match (default, takes()) {
            (Some(default), _) => writeln!(file, "#{name} = {default}"),
            (None, takes) => writeln!(
                file,
                "#{name} =   # not set; takes {}",
                takes.map_or("true", |takes| takes.as_str())
            ),
        };
    }
    file.push_str(RULES);
    file.push_str(SCOPES);
    file
}

/// What [`print`] says of rules.
const RULES: &str = r#"
# Rules describe processes that have no entry in the registry. The first that
# matches counts; every condition in its `match` must hold.
# - name, cmdline, env, parent, ancestor: a regular expression; env is looked
#   for in each `NAME=value`, parent and ancestor in names
# - exe, cgroup: a pattern for the whole path; `*` stops at `/`, `**` does not
# - container-name, container-image, container-label: a regular expression; the
#   last is looked for in each `KEY=VALUE`. Root's container runtimes are asked
# - user: a name, a number, or `@group`: a process with that group; group: the
#   process's own
#
# [[rule]]
# match = { cmdline = 'train\.py', user = "@ml" }
# value = "30 +5/h"   # as in an entry
# max-value = 100     # the highest value that an entry can give
# protect = false     # true: never kill
# prefer = false      # true: kill first
# avoid = false       # true: kill last
# pause = true        # whether it may be paused
# name = "training"   # as it is shown
# grace = "1 min"     # from the first signal to SIGKILL
# signal = "SIGINT"   # first; SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1,
#                     # SIGUSR2, SIGWINCH
# command = { run = ["systemctl", "restart", "cache"], time-limit = "30 s" }
#                     # instead of a signal, which follows if this fails
# forecast-command = { run = ["pkill", "-USR1", "train"], time-limit = "9 s" }
#                     # run once memory will be full within a minute
# unit = "session"    # what is killed together: process, tree, group, session,
#                     # cgroup
# group-by = "rule"   # what shares a value of 1 if it has none: rule, user
"#;

/// What [`print`] says of scopes.
const SCOPES: &str = r#"
# A scope is a cgroup that is guarded besides the machine (or besides `cgroup`),
# by its own limit: only processes in it are killed for it. One that does not
# exist or has no limit yet is guarded once it does. What it does not set is as
# for the machine. Takes a restart, except for a scope's thresholds and times.
#
# [[scope]]
# cgroup = "/user.slice/user-1000.slice"
# memory = "10,5"     # likewise memory-size, swap, swap-size, recover, grace,
#                     # horizon, pressure, pause-pressure
"#;

/// What a key means that is not set, where that does not depend on the machine,
/// and the key that it does not mean that beside.
fn implied(name: &str) -> Option<(&'static str, &'static str)> {
    let mut all = IMPLIED_DEFAULTS.iter();
    all.find_map(|(key, default, unless)| (*key == name).then_some((*default, *unless)))
}

/// The keys: the arguments that are listed with the others, by their long names.
fn keyed(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    command.get_arguments().filter_map(|arg| {
        let is_key = arg.get_help_heading().is_none()
            && !arg.is_hide_set()
            && !matches!(
                arg.get_action(),
                ArgAction::Version | ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong
            );
        is_key.then(|| arg.get_long())?.map(|name| (name, arg))
    })
}

fn keys(command: &Command) -> Vec<Keyword> {
    keyed(command)
        .map(|(name, arg)| Keyword {
            name: name.to_owned().into(),
            kind: match arg.get_action() {
                ArgAction::SetTrue => Kind::Switch,
                _ if arg
                    .get_num_args()
                    .is_some_and(|range| range.min_values() == 0) =>
                {
                    Kind::SwitchOrText
                }
                _ => Kind::Text,
            },
        })
        .collect()
}

/// The argument that sets what `setting` does; `None` where that is what is so
/// without.
fn word(setting: &Setting) -> Option<String> {
    match &setting.value {
        Value::Switch(true) => Some(format!("--{}", setting.key)),
        Value::Switch(false) => None,
        Value::Text(text) => Some(format!("--{}={text}", setting.key)),
    }
}

/// Why it cannot be set to that.
fn refusal(command: &mut Command, setting: &Setting) -> Option<String> {
    use std::error::Error as _;

    let line = ["user-oom".to_owned()].into_iter().chain(word(setting));
    let err = command.try_get_matches_from_mut(line).err()?;
    if let Some(source) = err.source() {
        return Some(source.to_string());
    }
    let context = |kind| err.get(kind).map(ToString::to_string);
    Some(match context(ContextKind::ValidValue) {
        Some(values) if values.is_empty() => empty(command, &setting.key),
        Some(values) => {
            let found = context(ContextKind::InvalidValue).unwrap_or_default();
            let meant = context(ContextKind::SuggestedValue);
            let meant = meant.map(|meant| format!("; did you mean `{meant}`?"));
            format!(
                "`{found}` is none of: {values}{}",
                meant.unwrap_or_default()
            )
        }
        None => err.kind().to_string(),
    })
}

/// What is said where `key` is set to an empty text and may not be.
fn empty(command: &Command, key: &str) -> String {
    let arg = keyed(command).find_map(|(name, arg)| (name == key).then_some(arg));
    let takes = arg.and_then(|arg| arg.get_value_names()?.first());
    let takes = takes.map_or("a value", |takes| takes.as_str());
    let default = arg.and_then(|arg| arg.get_default_values().first());
    let such_as = default.map(|default| format!(" such as `{}`", default.to_string_lossy()));
    format!(
        "it is empty: give {takes}{}, or remove the line to have the default",
        such_as.unwrap_or_default()
    )
}

/// `text` as TOML has it: a number as it is, else as a string.
fn literal(text: &str) -> String {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_canonical = text == "0" || !text.starts_with('0');
    if is_number && is_canonical {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if char.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(char));
            }
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// `--grace` as `` `grace` ``, for each argument that is a key.
fn named_as_keys(help: &str, command: &Command) -> String {
    let mut words: Vec<String> = help.split(' ').map(str::to_owned).collect();
    for word in &mut words {
        let Some(at) = word.find("--") else { continue };
        let rest = &word[at + 2..];
        let end = rest.find(|char: char| !char.is_ascii_lowercase() && char != '-');
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        if keyed(command).any(|(key, _)| key == name) {
            *word = format!("{}`{name}`{after}", &word[..at]);
        }
    }
    words.join(" ")
}

/// `text` as comment lines, all but the first of which begin with `hang`.
fn comment(file: &mut String, hang: &str, text: &str) {
    let mut line = "#".to_owned();
    for word in text.split_whitespace() {
        if COLUMNS <= line.len() + word.len() {
            let _ = writeln!(file, "{line}");
            line = format!("#{hang}");
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(file, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_is_a_key_unless_it_is_about_the_file_or_has_no_effect() {
        let command = Arguments::command();
        for arg in command.get_arguments() {
            let is_for_itself = arg.get_help_heading().is_some()
                || arg.is_hide_set()
                || arg.get_id().as_str() == "version";
            let is_key = keyed(&command).any(|(_, key)| key.get_id() == arg.get_id());
            assert_eq!(is_key, !is_for_itself, "{arg}: give it a long name");
        }
    }

    #[test]
    fn what_can_be_changed_is_a_key() {
        let command = Arguments::command();
        let keys: Vec<_> = keyed(&command).map(|(name, _)| name).collect();
        assert!(CHANGEABLE.iter().all(|key| keys.contains(key)), "{keys:?}");
    }

    #[test]
    fn a_value_is_printed_as_toml_reads_it() {
        assert_eq!(literal("1000"), "1000");
        assert_eq!(literal("0"), "0");
        assert_eq!(literal("007"), "\"007\"");
        assert_eq!(literal("a\"\\\n"), "\"a\\\"\\\\\\u000a\"");
    }

    #[test]
    fn arguments_are_called_by_their_keys() {
        let command = Arguments::command();
        let check = |help: &str, want: &str| assert_eq!(named_as_keys(help, &command), want);
        check("above --memory [default]", "above `memory` [default]");
        check("low (--swap) is", "low (`swap`) is");
        check("see --help, --action", "see --help, --action");
    }
}
