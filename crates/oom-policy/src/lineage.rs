//! Which processes belong together, whatever they have left since: where each
//! was born.
//!
//! A process belongs to its leaf cgroup, where systemd made one. Without, it
//! belongs to the session in which the first of its line was seen. That is
//! remembered for as long as it lives, so setsid(2), a second fork and the
//! death of its parent change nothing. A line begins where the user changes
//! (a login, sudo) and below what init started: each terminal has its own, and
//! what a daemon starts without one, as cron does, has one together. What had lost its parent before it was first seen is its user's
//! orphan, and all of a user's orphans belong together; those of root and of
//! system accounts, which daemons are too, belong together by name.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;

use model::{GroupBy, Process, ProcessId, Seen};
use serde::{Deserialize, Serialize};

use crate::buffer::{at, reserve_to};
use crate::settings::Settings;

/// Processes that belong together: unregistered, they share a value of 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group(u64);

/// What runs as pid 1 where a machine was booted. In a container it is something
/// else, and what it starts are not services of the machine.
const INITS: [&[u8]; 8] = [
    b"init",
    b"systemd",
    b"openrc-init",
    b"runit",
    b"s6-svscan",
    b"dinit",
    b"finit",
    b"shepherd",
];

/// What starts daemons in init's place.
const SUPERVISORS: [&[u8]; 5] = [
    b"runsvdir",
    b"runsv",
    b"s6-svscan",
    b"s6-supervise",
    b"supervise-daemo",
];

/// Where the processes of the last table were born, in its order.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Births {
    births: Vec<Birth>,
    #[serde(skip)]
    previous: Vec<Birth>,
    /// Pid 1 is not a machine's init.
    is_in_container: bool,
}

/// Small, because there are two for each process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Birth {
    start_ticks: u64,
    pid: u32,
    uid: u32,
    origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Origin {
    /// Not found yet.
    Unknown,
    /// The session that the first of its line was in, by the kernel's number; or
    /// the pid of the daemon that started it.
    Session(u32),
    /// Init's child when it was first seen: a daemon, or an orphan.
    Init,
}

impl Birth {
    fn id(&self) -> ProcessId {
        ProcessId {
            pid: self.pid,
            start_ticks: self.start_ticks,
        }
    }
}

impl Births {
    pub(crate) fn reserve(&mut self, processes: usize) {
        reserve_to(&mut self.births, processes);
        reserve_to(&mut self.previous, processes);
    }

    /// The next table is the first.
    pub(crate) fn forget(&mut self) {
        self.births.clear();
    }

    /// Takes in a table.
    pub(crate) fn take_in(&mut self, settings: &Settings, processes: &[Process]) {
        mem::swap(&mut self.births, &mut self.previous);
        self.births.clear();
        let first = processes.iter().find(|process| process.id.pid == 1);
        let is_init = |first: &Process| {
            // WSL names it after the distribution: `init(Ubuntu)`.
            is_named(first, &INITS) || first.name.as_bytes().starts_with(b"init(")
        };
        self.is_in_container = first.is_some_and(|first| !is_init(first));
        let mut known = self.previous.iter().peekable();
        for process in processes {
            while known.next_if(|birth| birth.id() < process.id).is_some() {}
            // What has become another user's is born again.
            let is_it = |birth: &&Birth| birth.id() == process.id && birth.uid == process.uid;
            self.births
                .push(known.next_if(is_it).copied().unwrap_or(Birth {
                    start_ticks: process.id.start_ticks,
                    pid: process.id.pid,
                    uid: process.uid,
                    origin: Origin::Unknown,
                }));
        }
        // After pids wrapped, a parent may come after its child.
        for is_last in [false, true] {
            for index in 0..self.births.len() {
                if self.births[index].origin == Origin::Unknown {
                    self.births[index].origin = self.origin(settings, processes, index, is_last);
                }
            }
        }
    }

    /// What the process at `index` of the table belongs to.
    pub(crate) fn group(&self, settings: &Settings, index: u32, process: &Process) -> Group {
        let label = &process.dossier.label;
        if let Some(by) = label.group_by {
            let uid = (by == GroupBy::User).then_some(process.uid);
            let mut hasher = DefaultHasher::new();
            (by, label.rule, uid).hash(&mut hasher);
            return Group(hasher.finish());
        }
        match self.births[at(index)].origin {
            _ if process.session.is_cgroup() => Group(process.session.0),
            Origin::Session(session) => Group(u64::from(session)),
            Origin::Unknown => Group(process.session.0),
            Origin::Init => {
                let mut hasher = DefaultHasher::new();
                process.uid.hash(&mut hasher);
                if settings.is_service_account(process.uid) {
                    process.name.as_bytes().hash(&mut hasher);
                }
                Group(hasher.finish())
            }
        }
    }

    /// Whether the process at `index` of the table is a service of the machine:
    /// a system account's, or started by init. What root has from a shell, from
    /// cron or in a container is not. systemd says it better.
    pub(crate) fn is_service(&self, settings: &Settings, index: u32, process: &Process) -> bool {
        let is_inits = || {
            let is_below_init = self.births[at(index)].origin == Origin::Init;
            process.session.is_cgroup() || is_below_init && !self.is_in_container
        };
        settings.is_service_account(process.uid)
            && !process.login
            && (process.uid != 0 || is_inits())
    }

    fn origin(
        &self,
        settings: &Settings,
        processes: &[Process],
        index: usize,
        is_last: bool,
    ) -> Origin {
        let process = &processes[index];
        let own = Origin::Session(u32::try_from(process.session.0).unwrap_or(0));
        if process.session.is_cgroup() {
            return own;
        }
        let is_older = |id: ProcessId| id.start_ticks <= process.id.start_ticks;
        let parent = Seen::position(processes, process.parent)
            .filter(|parent| process.parent > 1 && is_older(processes[*parent].id));
        let Some(position) = parent else {
            return match self.left_by(process) {
                Some(origin) => origin,
                // What has a terminal has not left its session.
                None if process.login => own,
                None => Origin::Init,
            };
        };
        let (born, parent) = (self.births[position], &processes[position]);
        if parent.uid != process.uid || parent.session.is_cgroup() {
            return own;
        }
        let is_daemons_own = || {
            !settings.is_service_account(process.uid)
                || parent.session == process.session
                || parent.name == process.name
                || is_named(parent, &SUPERVISORS)
        };
        match born.origin {
            Origin::Unknown if is_last => own,
            // Were each a line of its own, a daemon's swarm would be worth its number.
            Origin::Init if !is_daemons_own() && !process.login => {
                Origin::Session(processes[position].id.pid)
            }
            Origin::Init if !is_daemons_own() => own,
            origin => origin,
        }
    }

    /// The origin of a parent that has ended since the table before.
    fn left_by(&self, process: &Process) -> Option<Origin> {
        let found = self
            .previous
            .binary_search_by_key(&process.parent, |birth| birth.pid);
        let parent = &self.previous[found.ok()?];
        let is_its = parent.start_ticks <= process.id.start_ticks && parent.uid == process.uid;
        (is_its && process.parent > 1).then_some(parent.origin)
    }
}

fn is_named(process: &Process, names: &[&[u8]]) -> bool {
    names.contains(&process.name.as_bytes())
}

#[cfg(test)]
mod tests {
    use model::{Dossier, Name, SessionId};

    use super::*;

    /// Of a session that has its pid, without a terminal.
    fn process(pid: u32, parent: u32, uid: u32, name: &str) -> Process {
        Process {
            seen: Seen {
                parent,
                uid,
                session: SessionId(u64::from(pid)),
                name: Name::new(name.as_bytes()),
                ..Seen::new(ProcessId {
                    pid,
                    start_ticks: u64::from(pid),
                })
            },
            dossier: Dossier::default(),
        }
    }

    fn in_session(process: Process, session: u64) -> Process {
        Process {
            seen: Seen {
                session: SessionId(session),
                ..process.seen
            },
            ..process
        }
    }

    fn at_terminal(process: Process) -> Process {
        Process {
            seen: Seen {
                login: true,
                ..process.seen
            },
            ..process
        }
    }

    /// Whether the last two processes of the last table belong together.
    #[track_caller]
    fn check(tables: &[&[Process]], want: bool) {
        let settings = Settings::default();
        let mut lineage = Births::default();
        for table in tables {
            lineage.take_in(&settings, table);
        }
        let last = tables[tables.len() - 1];
        let groups: Vec<Group> = (0..)
            .zip(last)
            .map(|(index, process)| lineage.group(&settings, index, process))
            .collect();
        let [.., one, other] = groups.as_slice() else {
            panic!("two processes are to be compared");
        };
        assert_eq!(one == other, want);
    }

    #[test]
    fn a_child_with_a_session_of_its_own_belongs_to_its_parents_group() {
        for uid in [0, 1000] {
            let shell = in_session(process(50, 40, uid, "sh"), 45);
            let parent = process(60, 50, uid, "bomb");
            check(&[&[shell, parent, process(70, 60, uid, "fork")]], true);
        }
    }

    #[test]
    fn a_child_that_outlives_its_parent_stays_in_its_group() {
        let child = |parent| process(70, parent, 1000, "fork");
        let other = in_session(process(55, 50, 1000, "other"), 50);
        let shell = at_terminal(process(50, 40, 1000, "sh"));
        let parent = in_session(process(60, 50, 1000, "bomb"), 50);
        check(
            &[&[shell, other, parent, child(60)], &[other, child(1)]],
            true,
        );
        // Its parent ended between two readings of the table.
        check(&[&[shell, other, parent], &[other, child(60)]], true);
        // It is seen first when nothing tells where it comes from.
        check(&[&[shell, other, parent], &[other, child(1)]], false);
    }

    #[test]
    fn a_parent_may_have_the_higher_pid() {
        let mut child = process(30, 60, 1000, "fork");
        child.seen.id.start_ticks = 61;
        check(&[&[child, process(60, 50, 1000, "bomb")]], true);
    }

    #[test]
    fn a_users_orphans_belong_together_and_roots_by_name() {
        let orphan = |pid, uid, name| process(pid, 1, uid, name);
        for (one, other, want) in [
            ((1000, "a"), (1000, "b"), true),
            ((1000, "a"), (1001, "a"), false),
            ((0, "a"), (0, "a"), true),
            ((0, "crond"), (0, "sshd"), false),
        ] {
            let table = [orphan(60, one.0, one.1), orphan(70, other.0, other.1)];
            check(&[&table], want);
        }
        // A terminal is a login of its own.
        let shell = |pid| at_terminal(process(pid, 1, 1000, "sh"));
        check(&[&[shell(60), shell(70)]], false);
    }

    #[test]
    fn a_line_begins_where_the_user_changes() {
        check(
            &[&[process(60, 50, 0, "su"), process(70, 60, 1000, "sh")]],
            false,
        );
        let sudo = |uid| process(70, 60, uid, "sh");
        let shell = process(60, 50, 1000, "sh");
        check(&[&[shell, sudo(1000)], &[shell, sudo(0)]], false);
    }

    #[test]
    fn below_roots_daemons_the_jobs_have_one_line_and_each_terminal_its_own() {
        let crond = process(50, 1, 0, "crond");
        let job = |pid, name| process(pid, 50, 0, name);
        check(&[&[crond, job(60, "sh")]], false);
        check(&[&[crond, job(60, "sh"), job(70, "sh")]], true);
        let login = |pid| at_terminal(job(pid, "sh"));
        check(&[&[crond, login(60), login(70)]], false);
        check(
            &[&[
                crond,
                job(60, "sh"),
                process(45, 1, 0, "d"),
                process(70, 45, 0, "sh"),
            ]],
            false,
        );
        // What it forks itself is its own.
        check(&[&[crond, job(60, "crond")]], true);
        // A job's line goes on however it leaves.
        let shell = job(60, "sh");
        check(&[&[crond, shell, process(70, 60, 0, "fork")]], true);
    }

    #[test]
    fn of_roots_processes_those_of_init_are_services_of_the_machine() {
        let check = |table: &[Process], want: bool| {
            let settings = Settings::default();
            let mut births = Births::default();
            births.take_in(&settings, table);
            let last = u32::try_from(table.len() - 1).expect("few");
            let said = births.is_service(&settings, last, &table[table.len() - 1]);
            assert_eq!(said, want, "{table:?}");
        };
        let first = |name| process(1, 0, 0, name);
        let daemon = process(50, 1, 0, "crond");
        let job = process(60, 50, 0, "sh");
        check(&[first("systemd"), daemon], true);
        check(&[first("init"), daemon, job], false);
        check(&[first("init"), daemon, in_session(job, 50)], true);
        // A system account's are, wherever they come from; a user's never.
        check(&[daemon, process(60, 50, 100, "postgres")], true);
        check(&[process(50, 1, 1000, "dbus-daemon")], false);
        check(&[at_terminal(daemon)], false);
        // Runit starts daemons in init's place.
        let supervisor = process(50, 1, 0, "runsv");
        check(&[supervisor, process(60, 50, 0, "udevd")], true);
        check(&[first("init(Ubuntu-22."), daemon], true);
        // A container has no machine.
        check(&[first("tini"), daemon], false);
    }

    #[test]
    fn a_cgroup_says_more_than_birth() {
        const CGROUP: u64 = 1 << 63;
        let parent = in_session(process(60, 50, 1000, "sh"), CGROUP | 1);
        let child = process(70, 60, 1000, "app");
        check(&[&[parent, in_session(child, CGROUP | 1)]], true);
        check(&[&[parent, in_session(child, CGROUP | 2)]], false);
        // One that is moved.
        check(
            &[
                &[parent, in_session(child, CGROUP | 1)],
                &[parent, in_session(child, CGROUP | 2)],
            ],
            false,
        );
    }
}
