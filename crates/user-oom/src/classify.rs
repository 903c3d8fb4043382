//! Who a process is to the policy: looked at once, when it is first seen.

use std::path::{Path, PathBuf};

use oom_policy::{
    HIDDEN_BELOW_BYTES, Preference, Process, ProcessId, Protection, critical_below_bytes,
};
use sensors::Newcomer;

use crate::pattern::Pattern;

/// What is known beforehand of whom to leave alone.
#[derive(Debug)]
pub(crate) struct Classifier {
    pub(crate) prefer: Option<Pattern>,
    pub(crate) avoid: Option<Pattern>,
    pub(crate) ignore: Option<Pattern>,
    /// Our own pid.
    own: u32,
    /// Never kill what root runs.
    pub(crate) ignore_root_user: bool,
    own_uid: u32,
    /// Whether we may signal other users' processes.
    may_signal_all: bool,
    /// Our parent, its parent, and so on.
    ancestors: Vec<ProcessId>,
    /// psi-monitor as it is installed beside us.
    psi_monitor: Option<PathBuf>,
}

impl Classifier {
    /// `processes`: by ascending pid, us and our ancestors among them.
    pub(crate) fn new(own: u32, own_uid: u32, may_signal_all: bool, processes: &[Process]) -> Self {
        let psi_monitor = std::env::current_exe()
            .ok()
            .map(|executable| executable.with_file_name("psi-monitor"));
        Self {
            prefer: None,
            avoid: None,
            ignore: None,
            ignore_root_user: false,
            own,
            own_uid,
            may_signal_all,
            ancestors: ancestors(own, processes),
            psi_monitor,
        }
    }

    /// Warns of each pattern that matches none of `processes`, and tells which
    /// `--ignore` protects.
    pub(crate) fn say_matches(&self, processes: &[Process]) {
        for (option, pattern) in [
            ("--prefer", &self.prefer),
            ("--avoid", &self.avoid),
            ("--ignore", &self.ignore),
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
                    "`{option} {pattern}` matches no process that is running: {}",
                    pattern.hint()
                );
            }
        }
    }

    /// Fills in what the process table cannot know.
    pub(crate) fn classify(&self, newcomer: &Newcomer<'_>, process: &mut Process) {
        let named = |pattern: &Option<Pattern>| {
            pattern
                .as_ref()
                .is_some_and(|pattern| pattern.matches(&process.name))
        };
        let pid = process.id.pid;
        process.preference = if named(&self.avoid) {
            Preference::Avoid
        } else if named(&self.prefer) {
            Preference::Prefer
        } else {
            Preference::None
        };
        process.critical_below_bytes = match newcomer.executable {
            Some(path) => critical_below_bytes(path, newcomer.executable_owned_by_root),
            None if newcomer.kernel_thread => 0,
            // It hides its executable from us (or is a zombie, and holds nothing).
            None => HIDDEN_BELOW_BYTES,
        };
        process.protection = if newcomer.kernel_thread {
            Some(Protection::KernelThread)
        } else if pid == self.own || self.is_psi_monitor(newcomer) {
            Some(Protection::Ours)
        } else if self.ancestors.contains(&process.id) {
            Some(Protection::Ancestor)
        } else if named(&self.ignore) || (self.ignore_root_user && process.uid == 0) {
            Some(Protection::Ignored)
        } else if !self.may_signal_all && process.uid != self.own_uid {
            Some(Protection::NotPermitted)
        } else {
            None
        };
    }

    /// By its executable: any process may call itself psi-monitor. And by its
    /// user, who can have that executable run other code (`LD_PRELOAD`).
    fn is_psi_monitor(&self, newcomer: &Newcomer<'_>) -> bool {
        use std::os::unix::ffi::OsStrExt;

        let ours = self.psi_monitor.as_deref().map(Path::as_os_str);
        let trusted = newcomer.uid == 0 || newcomer.uid == self.own_uid;
        trusted
            && newcomer.executable.is_some()
            && newcomer.executable == ours.map(OsStrExt::as_bytes)
    }
}

/// The parent of `own`, its parent, and so on.
fn ancestors(own: u32, processes: &[Process]) -> Vec<ProcessId> {
    let parent_of = |pid: u32| {
        let position = processes.binary_search_by_key(&pid, |process| process.id.pid);
        let parent = processes[position.ok()?].parent;
        let position = processes.binary_search_by_key(&parent, |process| process.id.pid);
        Some(processes[position.ok()?].id)
    };
    std::iter::successors(parent_of(own), |ancestor| parent_of(ancestor.pid))
        // A line of parents is no longer than there are processes.
        .take(processes.len())
        .collect()
}

#[cfg(test)]
mod tests {
    use oom_policy::Name;

    use super::*;
    use crate::stand_in::ordinary;

    fn process(pid: u32, parent: u32) -> Process {
        let id = ProcessId {
            pid,
            start_ticks: u64::from(pid),
        };
        ordinary(id, parent)
    }

    fn newcomer(pid: u32, executable: Option<&'static [u8]>) -> Newcomer<'static> {
        Newcomer {
            pid,
            name: Name::new(b"x"),
            executable,
            executable_owned_by_root: true,
            uid: 1000,
            kernel_thread: false,
        }
    }

    #[track_caller]
    fn check(classifier: &Classifier, name: &[u8], pid: u32, want: Option<Protection>) {
        let mut process = Process {
            name: Name::new(name),
            ..process(pid, 1)
        };
        classifier.classify(&newcomer(pid, None), &mut process);
        assert_eq!(process.protection, want);
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

    /// What `newcomer` is to a daemon of root's.
    fn classified(newcomer: &Newcomer<'_>) -> Process {
        let mut classifier = Classifier::new(30, 0, true, &[]);
        classifier.psi_monitor = Some(PathBuf::from("/usr/bin/psi-monitor"));
        let mut process = process(newcomer.pid, 1);
        classifier.classify(newcomer, &mut process);
        process
    }

    #[test]
    fn a_psi_monitor_of_another_user_is_as_any_process() {
        let monitor = newcomer(31, Some(b"/usr/bin/psi-monitor"));
        assert_eq!(classified(&monitor).protection, None);
        let own = Newcomer { uid: 0, ..monitor };
        assert_eq!(classified(&own).protection, Some(Protection::Ours));
        let elsewhere = Newcomer {
            executable: Some(b"/tmp/psi-monitor"),
            ..own
        };
        assert_eq!(classified(&elsewhere).protection, None);
    }

    #[test]
    fn a_process_that_hides_its_executable_is_critical_as_a_small_daemon_is() {
        let hidden = newcomer(31, None);
        assert_eq!(classified(&hidden).critical_below_bytes, HIDDEN_BELOW_BYTES);
        let thread = Newcomer {
            kernel_thread: true,
            ..hidden
        };
        assert_eq!(classified(&thread).critical_below_bytes, 0);
        let shell = newcomer(31, Some(b"/usr/bin/bash"));
        assert_eq!(classified(&shell).critical_below_bytes, 0);
        let bus = newcomer(31, Some(b"/usr/bin/dbus-daemon"));
        assert_eq!(classified(&bus).critical_below_bytes, 64 << 20);
    }

    #[test]
    fn names_are_matched_and_avoid_is_stronger_than_prefer() {
        let regex = |pattern: &str| pattern.parse().ok();
        let mut classifier = Classifier::new(30, 0, true, &[]);
        classifier.prefer = regex("^chrom");
        classifier.avoid = regex("ium$");
        classifier.ignore = regex("sql");
        check(&classifier, b"mysqld", 31, Some(Protection::Ignored));
        let mut process = Process {
            name: Name::new(b"chromium"),
            ..process(31, 1)
        };
        classifier.classify(&newcomer(31, None), &mut process);
        assert_eq!(process.preference, Preference::Avoid);
        process.uid = 0;
        classifier.ignore_root_user = true;
        classifier.classify(&newcomer(31, None), &mut process);
        assert_eq!(process.protection, Some(Protection::Ignored));
    }
}
