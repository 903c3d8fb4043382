//! What a process is to the policy: looked at when it is first seen, and again
//! once it is known what it executes.

use std::path::PathBuf;

use oom_policy::{
    Dossier, HIDDEN_BELOW_BYTES, Name, PauseWord, Pausing, Preference, Process, ProcessId,
    Protection, Seen, Unpausable, critical_below_bytes,
};
use reaper::Keeper;
use sensors::{Executable, ProcessTable};

use crate::pattern::Pattern;

/// What is known beforehand of the processes to leave alone.
#[derive(Debug)]
pub(crate) struct Classifier {
    pub(crate) patterns: Patterns,
    /// Our own pid.
    own: u32,
    own_uid: u32,
    /// Whether we may signal other users' processes.
    may_signal_all: bool,
    /// Our parent, its parent, and so on.
    ancestors: Vec<ProcessId>,
}

/// What the administrator says by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patterns {
    pub(crate) prefer: Option<Pattern>,
    pub(crate) avoid: Option<Pattern>,
    pub(crate) ignore: Option<Pattern>,
    /// Never kill what root runs.
    pub(crate) ignore_root_user: bool,
}

/// What is known of programs; for the surveyor's thread.
#[derive(Debug)]
pub(crate) struct Programs {
    /// psi-monitor and user-oomctl as they are installed beside us.
    ours: Vec<PathBuf>,
}

/// What a process is by what it executes. The default: nothing is known of
/// that, or there is nothing to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Program {
    critical_below_bytes: u64,
    is_ours: bool,
}

impl Programs {
    pub(crate) fn new() -> Self {
        let us = std::env::current_exe().ok();
        let beside = |name| us.as_ref().map(|us| us.with_file_name(name));
        let ours = ["psi-monitor", "user-oomctl"]
            .into_iter()
            .filter_map(beside);
        Self {
            ours: ours.collect(),
        }
    }

    /// By the executable: any process may call itself as it likes.
    pub(crate) fn recognise(&self, executable: &Executable<'_>) -> Program {
        self.at(executable.path(), || executable.is_roots())
    }

    fn at(&self, path: Option<&[u8]>, is_roots: impl FnOnce() -> bool) -> Program {
        use std::os::unix::ffi::OsStrExt;

        let Some(path) = path else {
            // It hides its executable from us.
            return Program {
                critical_below_bytes: HIDDEN_BELOW_BYTES,
                is_ours: false,
            };
        };
        let mut ours = self.ours.iter();
        Program {
            // Most are not, and then their file need not be looked at.
            critical_below_bytes: match critical_below_bytes(path, true) {
                0 => 0,
                _ => critical_below_bytes(path, is_roots()),
            },
            is_ours: ours.any(|ours| ours.as_os_str().as_bytes() == path),
        }
    }
}

impl Classifier {
    /// `processes`: by ascending pid, us and our ancestors among them.
    pub(crate) fn new(own: u32, own_uid: u32, may_signal_all: bool, processes: &[Seen]) -> Self {
        Self {
            patterns: Patterns::default(),
            own,
            own_uid,
            may_signal_all,
            ancestors: ancestors(own, processes),
        }
    }

    /// Warns of each pattern that matches none of `processes`, and tells which
    /// `--ignore` protects.
    pub(crate) fn say_matches(&self, processes: &[Seen]) {
        for (option, pattern) in [
            ("--prefer", &self.patterns.prefer),
            ("--avoid", &self.patterns.avoid),
            ("--ignore", &self.patterns.ignore),
        ] {
            let Some(pattern) = pattern else { continue };
            let mut matches = 0;
            for process in processes
                .iter()
                .filter(|process| pattern.matches(&process.name))
            {
                matches += 1;
                log::debug!(
                    "`{option} {pattern}` applies to {} {} of uid {}",
                    process.id.pid,
                    process.name,
                    process.uid
                );
            }
            if matches == 0 {
                log::warn!(
                    "`{option} {pattern}` matches no running process: {}",
                    pattern.hint()
                );
            }
        }
    }

    /// Judges those in `table` that are new or have become something else.
    pub(crate) fn classify_new(&self, table: &mut ProcessTable) {
        for (seen, dossier) in table.unclassified() {
            self.classify(Program::default(), seen, dossier);
        }
    }

    /// Goes by `patterns` from now on, for those in `table` too. What they execute
    /// stays known.
    pub(crate) fn adopt(&mut self, patterns: Patterns, table: &mut ProcessTable) {
        self.patterns = patterns;
        for (seen, dossier) in table.classified() {
            let program = Program {
                critical_below_bytes: dossier.critical_below_bytes,
                is_ours: dossier.protection == Some(Protection::Ours),
            };
            self.classify(program, seen, dossier);
        }
    }

    /// Fills in what the kernel does not say of the process `seen`.
    pub(crate) fn classify(&self, program: Program, seen: &Seen, dossier: &mut Dossier) {
        let named = |pattern: &Option<Pattern>| {
            pattern
                .as_ref()
                .is_some_and(|pattern| pattern.matches(&seen.name))
        };
        let pid = seen.id.pid;
        dossier.preference = if named(&self.patterns.avoid) {
            Preference::Avoid
        } else if named(&self.patterns.prefer) {
            Preference::Prefer
        } else {
            Preference::None
        };
        dossier.critical_below_bytes = program.critical_below_bytes;
        // A user can have any executable run other code (`LD_PRELOAD`).
        let is_trusted = seen.uid == 0 || seen.uid == self.own_uid;
        let has_its_name = seen.name == Name::new(Keeper::NAME.to_bytes());
        let is_keeper = seen.parent == self.own && has_its_name;
        let is_ours = pid == self.own || is_keeper || (program.is_ours && is_trusted);
        dossier.protection = if is_ours {
            Some(Protection::Ours)
        } else if self.ancestors.contains(&seen.id) {
            Some(Protection::Ancestor)
        } else if named(&self.patterns.ignore) || (self.patterns.ignore_root_user && seen.uid == 0)
        {
            Some(Protection::Ignored)
        } else if !self.may_signal_all && seen.uid != self.own_uid {
            Some(Protection::NotPermitted)
        } else {
            None
        };
    }
}

/// Whether relief may pause `process`, whose dossier has what was found of it so
/// far; `word` is its entry's, which counts before that of a rule.
pub(crate) fn pausing(process: &Process, word: Option<PauseWord>) -> Pausing {
    let said = word.or(process.dossier.label.pause);
    let may_be_foreground = said == Some(PauseWord::Pause);
    match process.dossier.pause {
        _ if word == Some(PauseWord::NoPause) => Pausing::Forbidden(Unpausable::Entry),
        _ if said == Some(PauseWord::NoPause) => Pausing::Forbidden(Unpausable::Rule),
        // Whatever it holds: what it serves would stop with it.
        _ if process.dossier.critical_below_bytes > 0 => Pausing::Forbidden(Unpausable::Critical),
        Pausing::Forbidden(reason) => Pausing::Forbidden(reason),
        _ if may_be_foreground => Pausing::Asked,
        _ if process.is_foreground_job => Pausing::Forbidden(Unpausable::ForegroundJob),
        Pausing::Allowed | Pausing::Asked => Pausing::Allowed,
    }
}

/// The parent of `own`, its parent, and so on.
fn ancestors(own: u32, processes: &[Seen]) -> Vec<ProcessId> {
    let parent_of = |pid: u32| {
        let parent = processes[Seen::position(processes, pid)?].parent;
        Some(processes[Seen::position(processes, parent)?].id)
    };
    std::iter::successors(parent_of(own), |ancestor| parent_of(ancestor.pid))
        // A line of parents is no longer than there are processes.
        .take(processes.len())
        .collect()
}

#[cfg(test)]
mod tests {
    use oom_policy::Name;

    use std::path::Path;

    use super::*;
    use crate::stand_in::ordinary;

    fn process(pid: u32, parent: u32) -> Seen {
        let id = ProcessId {
            pid,
            start_ticks: u64::from(pid),
        };
        ordinary(id, parent)
    }

    /// What `process` is before it is known what it executes.
    fn unknown(classifier: &Classifier, process: &Seen) -> Dossier {
        let mut dossier = Dossier::default();
        classifier.classify(Program::default(), process, &mut dossier);
        dossier
    }

    #[track_caller]
    fn check(classifier: &Classifier, name: &[u8], pid: u32, want: Option<Protection>) {
        let process = Seen {
            name: Name::new(name),
            ..process(pid, 1)
        };
        assert_eq!(unknown(classifier, &process).protection, want);
    }

    #[test]
    fn we_and_our_ancestors_are_left_alone_and_others_are_not() {
        let family = [
            process(1, 0),
            process(20, 1),
            process(30, 20),
            process(31, 20),
        ];
        let classifier = Classifier::new(30, 0, true, &family);
        check(&classifier, b"x", 30, Some(Protection::Ours));
        check(&classifier, b"x", 20, Some(Protection::Ancestor));
        check(&classifier, b"x", 31, None);
        let keeper = Seen {
            name: Name::new(b"user-oom-keeper"),
            ..process(40, 30)
        };
        let mut dossier = Dossier::default();
        classifier.classify(Program::default(), &keeper, &mut dossier);
        assert_eq!(dossier.protection, Some(Protection::Ours));
        let impostor = Seen {
            parent: 20,
            ..keeper
        };
        classifier.classify(Program::default(), &impostor, &mut dossier);
        assert_eq!(dossier.protection, None);
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let circle = [process(5, 6), process(6, 5)];
        assert_eq!(ancestors(5, &circle).len(), 2);
    }

    #[test]
    fn without_root_only_our_own_users_processes_are_judged() {
        let classifier = Classifier::new(30, 1001, false, &[]);
        check(&classifier, b"x", 31, Some(Protection::NotPermitted));
        let classifier = Classifier::new(30, 1001, true, &[]);
        check(&classifier, b"x", 31, None);
        let classifier = Classifier::new(30, 1000, false, &[]);
        check(&classifier, b"x", 31, None);
    }

    /// What a process of user `uid` is to a daemon of root's once it is known
    /// to execute what is at `path`, a file of root's.
    fn classified(uid: u32, path: Option<&str>) -> Dossier {
        let programs = Programs {
            ours: ["psi-monitor", "user-oomctl"]
                .map(|name| Path::new("/usr/bin").join(name))
                .to_vec(),
        };
        let classifier = Classifier::new(30, 0, true, &[]);
        let process = Seen {
            uid,
            ..process(31, 1)
        };
        let program = programs.at(path.map(str::as_bytes), || true);
        let mut dossier = Dossier::default();
        classifier.classify(program, &process, &mut dossier);
        dossier
    }

    #[test]
    fn a_psi_monitor_or_user_oomctl_of_another_user_is_as_any_process() {
        let protection = |uid, path: &str| classified(uid, Some(path)).protection;
        let ours = Some(Protection::Ours);
        for name in ["psi-monitor", "user-oomctl"] {
            let installed = format!("/usr/bin/{name}");
            assert_eq!(protection(1000, &installed), None);
            assert_eq!(protection(0, &installed), ours);
            assert_eq!(protection(0, &format!("/tmp/{name}")), None);
        }
    }

    #[test]
    fn a_process_that_hides_its_executable_is_critical_as_a_small_daemon_is() {
        let critical = |path| classified(1000, path).critical_below_bytes;
        assert_eq!(critical(None), HIDDEN_BELOW_BYTES);
        assert_eq!(critical(Some("/usr/bin/bash")), 0);
        assert_eq!(critical(Some("/usr/bin/dbus-daemon")), 64 << 20);
    }

    #[test]
    fn a_program_is_critical_only_where_its_file_is_roots() {
        let programs = Programs { ours: Vec::new() };
        let path = Some(&b"/usr/bin/dbus-daemon"[..]);
        assert_eq!(programs.at(path, || false), Program::default());
        // Of others the file is not even looked at.
        let path = Some(&b"/usr/bin/bash"[..]);
        programs.at(path, || unreachable!("it may lie on a file server"));
    }

    #[test]
    fn before_it_is_known_what_a_process_executes_it_is_as_any_other() {
        let classifier = Classifier::new(30, 0, true, &[]);
        let dossier = unknown(&classifier, &process(31, 1));
        assert_eq!(dossier, Dossier::default());
    }

    #[test]
    fn names_are_matched_and_avoid_is_stronger_than_prefer() {
        let regex = |pattern: &str| pattern.parse().ok();
        let mut classifier = Classifier::new(30, 0, true, &[]);
        classifier.patterns.prefer = regex("^chrom");
        classifier.patterns.avoid = regex("ium$");
        classifier.patterns.ignore = regex("sql");
        check(&classifier, b"mysqld", 31, Some(Protection::Ignored));
        let mut process = Seen {
            name: Name::new(b"chromium"),
            ..process(31, 1)
        };
        let dossier = unknown(&classifier, &process);
        assert_eq!(dossier.preference, Preference::Avoid);
        process.uid = 0;
        classifier.patterns.ignore_root_user = true;
        let dossier = unknown(&classifier, &process);
        assert_eq!(dossier.protection, Some(Protection::Ignored));
    }

    #[test]
    fn what_is_known_of_a_process_is_joined_with_what_its_entry_says() {
        let (none, pause, nopause) = (None, Some(PauseWord::Pause), Some(PauseWord::NoPause));
        let forbidden = Pausing::Forbidden;
        let check = |found, foreground, critical, wants: [Pausing; 3]| {
            let process = Process {
                seen: Seen {
                    is_foreground_job: foreground,
                    ..process(31, 1)
                },
                dossier: Dossier {
                    pause: found,
                    critical_below_bytes: critical,
                    ..Dossier::default()
                },
            };
            let got = [none, pause, nopause].map(|word| pausing(&process, word));
            assert_eq!(got, wants, "{found:?} {foreground} {critical}");
        };
        let entry = forbidden(Unpausable::Entry);
        let (allowed, asked) = (Pausing::Allowed, Pausing::Asked);
        check(allowed, false, 0, [allowed, asked, entry]);
        // The word allows that one thing,
        let foreground = forbidden(Unpausable::ForegroundJob);
        check(allowed, true, 0, [foreground, asked, entry]);
        // and nothing else.
        for reason in [
            Unpausable::Unknown,
            Unpausable::PtyMaster,
            Unpausable::PressureWatch,
            Unpausable::Watchdog,
            Unpausable::NoSwap,
        ] {
            let reason = forbidden(reason);
            check(reason, false, 0, [reason, reason, entry]);
            check(reason, true, 0, [reason, reason, entry]);
        }
        let critical = forbidden(Unpausable::Critical);
        check(allowed, true, 1, [critical, critical, entry]);
        check(Pausing::default(), false, 1, [critical, critical, entry]);
    }
}
