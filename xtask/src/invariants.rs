//! The invariants of `docs/architecture.md` that a machine can see.
//!
//! Numbers are those of that list; what needs a running machine (5, 7 to 10, and
//! what of 6 names do not show) is tested where it runs.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::chore::Chore;
use crate::scripts;
use crate::source::{Finding, Scope, Source};

/// The crates that decide: no files, no clock, no system calls.
const DECIDING: [&str; 4] = ["knapsack", "model", "oom-policy", "psi"];

/// The one crate with `unsafe`, which also is the one that sends signals.
const REAPER: &str = "crates/reaper";

/// Where a signal is called for, and by which methods: the daemon carrying out
/// an action; its watchdog carrying out the daemon's will while the daemon
/// hangs; and its rehearsal, which ends a child of its own.
const CALLERS: [(&str, &[&str]); 3] = [
    ("crates/user-oom/src/act.rs", &["kill", "terminate"]),
    ("crates/user-oom/src/rehearsal.rs", &["kill"]),
    ("crates/user-oom/src/watchdog.rs", &["kill"]),
];

/// Files of a process that may keep their reader waiting.
const WAITING: [&str; 12] = [
    "cgroup",
    "cmdline",
    "environ",
    "exe",
    "fd",
    "fdinfo",
    "maps",
    "ns",
    "numa_maps",
    "pagemap",
    "smaps",
    "smaps_rollup",
];

/// Where such files are opened, and by what name, and the one from where that is
/// called for: a thread that nothing waits for. What pauses is given its reader.
const SURVEY: &str = "crates/sensors/src/survey.rs";
/// Has keys of the same names, and opens nothing.
const RULES: &str = "crates/config/src/rules.rs";
const SURVEYOR: &str = "crates/user-oom/src/surveyor.rs";
const PAUSING: &str = "crates/sensors/src/pausing.rs";
const PAUSER: &str = "crates/user-oom/src/pause_reader.rs";

/// Above the binaries: it asks them what they take.
const MANUAL: &str = "manual";

/// From the bottom up; whatever is not named here is a binary, above them all.
/// A crate uses rows below its own.
const ROWS: [&[&str]; 3] = [
    &["model", "psi"],
    &["knapsack", "oom-policy"],
    &[
        "config",
        "containers",
        "control",
        "reaper",
        "journal",
        "sensors",
        "terminal",
        "value-registry",
    ],
];

/// The exceptions, in the same row: which crate uses which.
const BESIDE: [(&str, &str); 1] = [("oom-policy", "knapsack")];

/// Paths that stand in one default each; everything else takes a path as a
/// parameter.
const DEFAULTS: [&str; 3] = ["/proc", "/sys", "/tmp/user_processes"];

/// Words that style forbids where a person reads: a process is *it*, and
/// `docs/glossary.md` has the word for the rest.
const NOT_SAID: [&str; 12] = [
    "everybody",
    "gave back",
    "gave up",
    "give back",
    "given back",
    "given up",
    "gives back",
    "judged",
    "nobody",
    "somebody",
    "whoever",
    "whom",
];

/// Names of types that each program may have one of.
const OF_EACH_PROGRAM: [&str; 2] = ["Arguments", "Error"];

/// Checks them all.
///
/// # Errors
///
/// Everything that breaks one, a line each.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut broken = Vec::new();
    broken.extend(deciding_crates_depend_on_nothing(root)?);
    broken.extend(rows_point_down(root)?);
    let files = sources(root)?;
    for file in &files {
        broken.extend(file.deciding_touches_nothing());
        broken.extend(file.unsafe_stands_in_the_reaper());
        broken.extend(file.signals_have_one_caller());
        broken.extend(file.what_may_wait_is_the_surveyors());
    }
    broken.extend(defaults_stand_once(&files));
    broken.extend(functions_have_callers(&files));
    broken.extend(types_have_one_meaning(&files));
    broken.extend(words_that_are_not_said(root)?);
    broken.extend(tests_that_security_names(root)?);
    if !broken.is_empty() {
        bail!("{} broken:\n  {}", broken.len(), broken.join("\n  "));
    }
    Ok(())
}

/// 13: in documentation and doc comments, each line by itself.
fn words_that_are_not_said(root: &Path) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for path in scripts::files(root)? {
        let relative = path.strip_prefix(root)?;
        let kind = path.extension().and_then(|end| end.to_str());
        let is_text = match kind {
            Some("md") => true,
            Some("rs") => false,
            _ => continue,
        };
        let text = read(&path)?;
        let lines = (1_u32..).zip(text.lines());
        for (line, said) in lines.filter(|(_, line)| is_text || is_doc_comment(line)) {
            let place = format!("{}:{line}", relative.display());
            broken.extend(not_said(said).map(|word| {
                format!("{place}: `{word}` is not said here: see docs/glossary.md (13)")
            }));
        }
    }
    Ok(broken)
}

fn is_doc_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("///") || line.starts_with("//!")
}

/// Which words of [`NOT_SAID`] stand in `line`, outside of what is quoted as
/// code.
fn not_said(line: &str) -> impl Iterator<Item = &'static str> {
    let said = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let said = said.to_lowercase();
    NOT_SAID.into_iter().filter(move |word| {
        said.match_indices(word).any(|(at, _)| {
            let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
            !letter(said[..at].chars().next_back())
                && !letter(said[at + word.len()..].chars().next())
        })
    })
}

/// What SECURITY.md says is shown by a test has that test.
fn tests_that_security_names(root: &Path) -> Result<Vec<String>> {
    let text = read(&root.join("SECURITY.md"))?;
    let mut broken = Vec::new();
    for (file, test) in named_tests(&text) {
        let source = read(&root.join(file)).unwrap_or_default();
        if !source.contains(&format!("fn {test}(")) {
            broken.push(format!(
                "SECURITY.md names {file}::{test}, which is not there"
            ));
        }
    }
    Ok(broken)
}

/// Every `` `file.rs::test` `` in a text.
fn named_tests(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|word| word.split_once("::"))
        .filter(|(file, _)| file.ends_with(".rs"))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What a deciding crate may bring: an error's text, and how values are written,
/// so that a journal can have them.
const BROUGHT: [&str; 3] = ["thiserror", "serde", "serde_core"];

/// 1, by what is linked.
fn deciding_crates_depend_on_nothing(root: &Path) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for name in DECIDING {
        let tree = Chore::new(
            "cargo",
            [
                "tree",
                "--package",
                name,
                "--edges=normal,no-proc-macro",
                "--prefix=none",
                "--format={p}",
            ],
        )
        .output(root)?;
        broken.extend(
            packages(&tree)
                .filter(|package| !BROUGHT.contains(package) && !DECIDING.contains(package))
                .map(|package| format!("{name} decides, and may not reach {package} (1)")),
        );
    }
    Ok(broken)
}

/// The drawing above the invariants: a crate uses rows below its own.
fn rows_point_down(root: &Path) -> Result<Vec<String>> {
    let tree = Chore::new(
        "cargo",
        [
            "tree",
            "--workspace",
            "--edges=normal",
            "--depth=1",
            "--prefix=depth",
            "--format= {p}",
        ],
    )
    .output(root)?;
    Ok(against_the_rows(&tree))
}

fn against_the_rows(tree: &str) -> Vec<String> {
    let lines: Vec<(&str, &str)> = tree
        .lines()
        .filter_map(|line| {
            let (depth, package) = line.split_once(' ')?;
            Some((depth, package.split(' ').next()?))
        })
        .collect();
    let members: Vec<&str> = lines
        .iter()
        .filter(|(depth, _)| *depth == "0")
        .map(|(_, name)| *name)
        .collect();
    let mut broken = Vec::new();
    let mut user = "";
    for (depth, name) in lines {
        if depth == "0" {
            user = name;
        } else if members.contains(&name)
            && row(name) >= row(user)
            && !BESIDE.contains(&(user, name))
        {
            broken.push(format!("{user} uses {name}, which is in no row below it"));
        }
    }
    broken
}

/// Counted from the bottom.
fn row(package: &str) -> usize {
    let named = ROWS.iter().position(|row| row.contains(&package));
    match package {
        MANUAL => ROWS.len() + 1,
        _ => named.unwrap_or(ROWS.len()),
    }
}

fn packages(tree: &str) -> impl Iterator<Item = &str> {
    tree.lines().filter_map(|line| line.split(' ').next())
}

/// A file of the workspace, read.
struct File {
    /// Relative to the workspace.
    path: PathBuf,
    everything: Source,
    /// Without tests; `None` where the whole file is a test.
    shipped: Option<Source>,
}

/// All Rust files of the workspace but our own, which must name what they look for.
fn sources(root: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for folder in ["crates", "test_procs"] {
        for path in scripts::files(&root.join(folder))? {
            if path.extension().is_none_or(|end| end != "rs") {
                continue;
            }
            let relative = path.strip_prefix(root)?.to_path_buf();
            let shipped = if is_test(&relative) {
                None
            } else {
                Some(Source::read(&path, Scope::Shipped)?)
            };
            files.push(File {
                everything: Source::read(&path, Scope::Everything)?,
                path: relative,
                shipped,
            });
        }
    }
    if files.is_empty() {
        bail!("there are no sources in `{}`", root.display());
    }
    Ok(files)
}

/// Folders of what is compiled for tests alone.
const NOT_SHIPPED: [&str; 3] = ["benches", "examples", "tests"];

/// Whether it is compiled for tests alone: it lies in a folder of such, or is
/// a `tests.rs` or `fuzzing.rs`, which a `#[cfg(test)] mod tests;` or a
/// `#[cfg(fuzzing)] pub mod fuzzing;` names.
fn is_test(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name == "tests.rs" || name == "fuzzing.rs")
        || path
            .parent()
            .into_iter()
            .flat_map(Path::iter)
            .any(|folder| NOT_SHIPPED.iter().any(|name| folder == *name))
}

impl File {
    /// The package it belongs to, whose folder has its name.
    fn package(&self) -> &str {
        let folders = self.path.strip_prefix("crates").unwrap_or(&self.path);
        folders
            .iter()
            .next()
            .and_then(|folder| folder.to_str())
            .unwrap_or_default()
    }

    fn is_in(&self, folder: &str) -> bool {
        self.path.iter().any(|part| part == folder)
    }

    fn is_in_a_crate(&self) -> bool {
        self.path.starts_with("crates")
    }

    fn decides(&self) -> bool {
        DECIDING.contains(&self.package())
    }

    /// 1, by what is written.
    fn deciding_touches_nothing(&self) -> Vec<String> {
        let Some(shipped) = self.shipped.as_ref().filter(|_| self.decides()) else {
            return Vec::new();
        };
        let modules = ["env", "fs", "net", "os", "process", "thread"]
            .into_iter()
            .flat_map(|module| shipped.path("std", module));
        let clocks = ["Instant", "SystemTime"]
            .into_iter()
            .flat_map(|clock| shipped.path(clock, "now"));
        self.broken(modules.chain(clocks), "in a crate that decides (1)")
    }

    /// 2.
    fn unsafe_stands_in_the_reaper(&self) -> Vec<String> {
        if self.path.starts_with(REAPER) {
            return Vec::new();
        }
        self.broken(self.everything.word("unsafe"), "outside the reaper (2)")
    }

    /// 4, in as far as names show it: what sends a signal stands in the reaper,
    /// and is called once by each that [`CALLERS`] names.
    fn signals_have_one_caller(&self) -> Vec<String> {
        // Who decides has nothing to send a signal by (1), and may name things
        // as it likes.
        let elsewhere = !self.path.starts_with(REAPER) && !self.decides();
        let Some(shipped) = self.shipped.as_ref().filter(|_| elsewhere) else {
            return Vec::new();
        };
        let words = [
            "SYS_kill",
            "SYS_pidfd_send_signal",
            "SYS_tgkill",
            "kill_process",
            "kill_process_group",
            "killpg",
            "pidfd_send_signal",
            "process_mrelease",
            "tgkill",
        ]
        .into_iter()
        .flat_map(|word| shipped.word(word));
        let paths = ["libc", "signal"]
            .into_iter()
            .flat_map(|module| shipped.path(module, "kill"));
        let mut broken = self.broken(words.chain(paths), "outside the reaper (4)");
        for method in ["kill", "terminate"] {
            let permitted = CALLERS
                .iter()
                .filter(|(path, methods)| self.path == Path::new(path) && methods.contains(&method))
                .count();
            let surplus = shipped.calls(method).into_iter().skip(permitted);
            broken.extend(self.broken(surplus, "beside the one caller (4)"));
        }
        broken
    }

    /// 6, in as far as names show it: the files in [`WAITING`] are opened in
    /// [`SURVEY`] and [`PAUSING`], and [`SURVEYOR`] and [`PAUSER`] have that done.
    fn what_may_wait_is_the_surveyors(&self) -> Vec<String> {
        let Some(shipped) = self.shipped.as_ref() else {
            return Vec::new();
        };
        let mut broken = Vec::new();
        if ![SURVEY, PAUSING, RULES]
            .map(Path::new)
            .contains(&&*self.path)
        {
            let files = WAITING.iter().flat_map(|file| shipped.paths_with(file));
            let files = files.chain(shipped.word("procfs"));
            broken.extend(self.broken(files, "may keep its reader waiting (6)"));
        }
        if self.path != Path::new(SURVEYOR) {
            for function in ["survey", "portray"] {
                let calls = shipped.path("sensors", function);
                broken.extend(self.broken(calls, "waits on another thread than the surveyor (6)"));
            }
        }
        if self.path != Path::new(PAUSER) {
            let calls = shipped.path("PauseFiles", "new");
            broken.extend(self.broken(calls, "waits on another thread than the pauser's (6)"));
        }
        broken
    }

    fn broken(&self, findings: impl IntoIterator<Item = Finding>, rule: &str) -> Vec<String> {
        findings
            .into_iter()
            .map(|(line, what)| format!("{}:{line}: `{what}` {rule}", self.path.display()))
            .collect()
    }
}

/// 3: in one library, or, where none has it, once in each program.
fn defaults_stand_once(files: &[File]) -> Vec<String> {
    let mut broken = Vec::new();
    for folder in DEFAULTS {
        let mut places = BTreeMap::<&str, Vec<String>>::new();
        for file in files {
            let Some(shipped) = &file.shipped else {
                continue;
            };
            for (line, text) in shipped.paths_in(folder) {
                let place = format!("{}:{line}: `{text}`", file.path.display());
                places.entry(file.package()).or_default().push(place);
            }
        }
        let twice_in_one = places.values().any(|places| places.len() > 1);
        let in_a_library = places.keys().any(|package| row(package) < ROWS.len());
        if twice_in_one || (in_a_library && places.len() > 1) {
            broken.extend(places.into_values().flatten().map(|place| {
                format!("{place}: `{folder}` stands in one default, and there is another (3)")
            }));
        }
    }
    broken
}

/// 11: what a library offers, something beside its tests uses, be it an example.
/// By name alone: of two functions of one name, one that is used hides one that
/// is not.
fn functions_have_callers(files: &[File]) -> Vec<String> {
    let users = files.iter().filter_map(|file| match &file.shipped {
        None if file.is_in("examples") => Some(&file.everything),
        shipped => shipped.as_ref(),
    });
    let used: HashSet<&str> = users.flat_map(Source::used).collect();
    let mut broken = Vec::new();
    for file in files {
        let Some(shipped) = file.shipped.as_ref().filter(|_| file.is_in_a_crate()) else {
            continue;
        };
        let mut functions = shipped.public_functions();
        functions.retain(|(_, name)| !used.contains(name.as_str()));
        broken.extend(file.broken(functions, "is public, and only tests call it (11)"));
    }
    broken
}

/// 12: a type's name means one thing in all crates.
fn types_have_one_meaning(files: &[File]) -> Vec<String> {
    let mut places = BTreeMap::<String, Vec<String>>::new();
    for file in files.iter().filter(|file| file.is_in_a_crate()) {
        let types = file.shipped.as_ref().map(Source::visible_types);
        for (line, name) in types.into_iter().flatten() {
            let place = format!("{}:{line}: `{name}`", file.path.display());
            places.entry(name).or_default().push(place);
        }
    }
    places.retain(|name, places| places.len() > 1 && !OF_EACH_PROGRAM.contains(&name.as_str()));
    let places = places.into_values().flatten();
    places
        .map(|place| format!("{place} is the name of another type as well (12)"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A workspace of these files, and what they break.
    fn broken_by(files: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("test_procs")).unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let files = sources(root.path()).unwrap();
        let mut broken: Vec<String> = files
            .iter()
            .flat_map(|file| {
                let mut broken = file.deciding_touches_nothing();
                broken.extend(file.unsafe_stands_in_the_reaper());
                broken.extend(file.signals_have_one_caller());
                broken.extend(file.what_may_wait_is_the_surveyors());
                broken
            })
            .collect();
        broken.extend(defaults_stand_once(&files));
        broken.extend(functions_have_callers(&files));
        broken.extend(types_have_one_meaning(&files));
        broken
    }

    #[test]
    fn a_test_is_named_by_its_file() {
        let text = "| a | `b.rs::c`, `x` and `d/e.rs::f` | `std::fs` |";
        let named: Vec<_> = named_tests(text).collect();
        assert_eq!(named, [("b.rs", "c"), ("d/e.rs", "f")]);
    }

    #[test]
    fn a_deciding_crate_that_reads_a_file_or_the_clock_breaks_the_first() {
        let text = "use std::fs;\nfn f() { SystemTime::now(); }";
        assert_eq!(
            broken_by(&[("crates/psi/src/lib.rs", text)]),
            [
                "crates/psi/src/lib.rs:1: `std::fs` in a crate that decides (1)",
                "crates/psi/src/lib.rs:2: `SystemTime::now` in a crate that decides (1)",
            ]
        );
        assert!(broken_by(&[("crates/sensors/src/lib.rs", text)]).is_empty());
        assert!(broken_by(&[("crates/psi/tests/trees.rs", text)]).is_empty());
        assert!(broken_by(&[("crates/psi/src/tests.rs", text)]).is_empty());
    }

    #[test]
    fn unsafe_breaks_the_second_even_in_a_test_but_not_in_the_reaper() {
        let text = "fn f() { unsafe { g() } }";
        assert_eq!(
            broken_by(&[("crates/sensors/tests/a.rs", text)]),
            ["crates/sensors/tests/a.rs:1: `unsafe` outside the reaper (2)"]
        );
        assert!(broken_by(&[("crates/reaper/src/lib.rs", text)]).is_empty());
    }

    #[test]
    fn a_second_default_breaks_the_third_and_both_places_are_named() {
        let first = ("crates/sensors/src/lib.rs", "const PROC: &str = \"/proc\";");
        assert!(broken_by(&[first]).is_empty());
        let broken = broken_by(&[
            first,
            ("crates/reaper/src/lib.rs", "\nf(\"/proc/self/stat\");"),
        ]);
        assert_eq!(broken.len(), 2, "{broken:?}");
        assert!(broken[0].starts_with("crates/reaper/src/lib.rs:2: `/proc/self/stat`"));
        assert!(broken[1].starts_with("crates/sensors/src/lib.rs:1: `/proc`"));
    }

    #[test]
    fn programs_have_a_default_each_where_no_library_has_it() {
        let text = "const PROC: &str = \"/proc\";";
        let programs = [
            ("crates/user-oom/src/lib.rs", text),
            ("crates/psi-monitor/src/lib.rs", text),
        ];
        assert!(broken_by(&programs).is_empty());
        let more = |path| broken_by(&[programs[0], programs[1], (path, text)]).len();
        assert_eq!(more("crates/user-oom/src/start.rs"), 3);
        assert_eq!(more("crates/sensors/src/lib.rs"), 3);
    }

    #[test]
    fn a_signal_from_elsewhere_breaks_the_fourth() {
        assert_eq!(
            broken_by(&[(
                "crates/user-oom/src/lib.rs",
                "use nix::sys::signal::{self, kill};\nfn f() { rustix::process::pidfd_send_signal(); }"
            )]),
            [
                "crates/user-oom/src/lib.rs:2: `pidfd_send_signal` outside the reaper (4)",
                "crates/user-oom/src/lib.rs:1: `signal::kill` outside the reaper (4)",
            ]
        );
    }

    #[test]
    fn a_second_caller_of_a_signal_breaks_the_fourth() {
        let once = "fn f() { victim.kill(); }";
        let twice = "fn f() { victim.kill();\nvictim.kill(); }";
        assert!(broken_by(&[("crates/user-oom/src/act.rs", once)]).is_empty());
        assert_eq!(
            broken_by(&[
                ("crates/user-oom/src/act.rs", twice),
                ("crates/user-oom/src/hooks.rs", once),
            ]),
            [
                "crates/user-oom/src/act.rs:2: `.kill()` beside the one caller (4)",
                "crates/user-oom/src/hooks.rs:1: `.kill()` beside the one caller (4)",
            ]
        );
    }

    #[test]
    fn a_file_that_may_keep_its_reader_waiting_breaks_the_sixth_but_at_the_surveyor() {
        let open = "fn f() { open(\"smaps\");\nopen(\"1/ns/user\"); }";
        assert_eq!(
            broken_by(&[("crates/sensors/src/table.rs", open), (SURVEY, open)]),
            [
                "crates/sensors/src/table.rs:2: `1/ns/user` may keep its reader waiting (6)",
                "crates/sensors/src/table.rs:1: `smaps` may keep its reader waiting (6)",
            ]
        );
        let call = "fn f() { sensors::survey(root); }";
        assert_eq!(
            broken_by(&[("crates/user-oom/src/daemon.rs", call), (SURVEYOR, call)]),
            [
                "crates/user-oom/src/daemon.rs:1: `sensors::survey` waits on another thread \
                 than the surveyor (6)"
            ]
        );
        let call = "fn f() { PauseFiles::new(root); }";
        let broken = broken_by(&[
            (
                "crates/sensors/src/pausing.rs",
                "fn f() { open(\"1/maps\"); }",
            ),
            ("crates/user-oom/src/pause_reader.rs", call),
            ("crates/user-oom/src/daemon.rs", call),
        ]);
        let expected = "crates/user-oom/src/daemon.rs:1: `PauseFiles::new` waits on another \
                        thread than the pauser's (6)";
        assert_eq!(broken, [expected]);
        let own = "fn f() { open(\"/proc/self/exe\"); }";
        assert!(broken_by(&[("crates/user-oom/src/hook.rs", own)]).is_empty());
    }

    #[test]
    fn a_public_function_that_only_tests_call_breaks_the_eleventh() {
        let library = "pub fn a() {}\npub fn b() {}\nfn c() {}\n\
                       #[cfg(test)] mod tests { fn t() { super::a(); } }";
        let call = "fn f() { sensors::b(); }";
        let files = [
            ("crates/sensors/src/lib.rs", library),
            ("crates/sensors/tests/a.rs", "fn f() { sensors::a(); }"),
            ("crates/reaper/src/lib.rs", "pub fn d() {}"),
            ("crates/reaper/examples/d.rs", "fn main() { reaper::d(); }"),
            ("crates/user-oom/src/lib.rs", call),
        ];
        assert_eq!(
            broken_by(&files),
            ["crates/sensors/src/lib.rs:1: `a` is public, and only tests call it (11)"]
        );
    }

    #[test]
    fn a_name_of_two_types_breaks_the_twelfth() {
        let place = "pub struct Place;\nstruct Own;\npub enum Error {}";
        assert_eq!(
            broken_by(&[
                ("crates/control/src/lib.rs", place),
                (
                    "crates/sensors/src/lib.rs",
                    "pub(crate) enum Place {}\nstruct Own;"
                ),
                ("crates/user-oom/src/lib.rs", "pub enum Error {}"),
                ("crates/user-oom/tests/a.rs", place),
            ]),
            [
                "crates/control/src/lib.rs:1: `Place` is the name of another type as well (12)",
                "crates/sensors/src/lib.rs:1: `Place` is the name of another type as well (12)",
            ]
        );
    }

    #[test]
    fn a_word_that_is_not_said_breaks_the_thirteenth_but_not_as_code() {
        let root = tempfile::tempdir().unwrap();
        let library =
            "//! For whom it is.\n// Nobody reads this.\n/// Given up, not `nobody` or bywhom.\n";
        fs::write(root.path().join("a.rs"), library).unwrap();
        fs::write(root.path().join("a.md"), "Some are\njudged.\n").unwrap();
        fs::write(root.path().join("a.py"), "# nobody\n").unwrap();
        let broken = words_that_are_not_said(root.path()).unwrap();

        assert_eq!(
            broken,
            [
                "a.md:2: `judged` is not said here: see docs/glossary.md (13)",
                "a.rs:1: `whom` is not said here: see docs/glossary.md (13)",
                "a.rs:3: `given up` is not said here: see docs/glossary.md (13)",
            ]
        );
    }

    #[test]
    fn a_crate_that_uses_its_own_row_or_one_above_is_named() {
        let tree = "\
0 psi v0.1.0 (/x)
0 oom-policy v0.1.0 (/x)
1 knapsack v0.1.0 (/x)
1 psi v0.1.0 (/x)
1 thiserror v2.0.0
0 knapsack v0.1.0 (/x)
1 psi v0.1.0 (/x)
0 sensors v0.1.0 (/x)
1 reaper v0.1.0 (/x)
0 reaper v0.1.0 (/x)
0 user-oom v0.1.0 (/x)
1 sensors v0.1.0 (/x)
1 psi-monitor v0.1.0 (/x)
0 psi-monitor v0.1.0 (/x)
";
        assert_eq!(
            against_the_rows(tree),
            [
                "sensors uses reaper, which is in no row below it",
                "user-oom uses psi-monitor, which is in no row below it",
            ]
        );
    }
}
