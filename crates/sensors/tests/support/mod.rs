//! Trees of kernel files, as they stand and changed.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use model::{Dossier, Memory, Process, ProcessId, Seen};
use sensors::{
    Cgroup, Depth, Inquiry, ProcRoot, ProcessTable, ReadError, Scan, Scopes, What, survey,
};
use tempfile::TempDir;

/// The tree `case` as it stands beside the tests.
pub(crate) fn tree(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/trees")
        .join(case)
}

/// A copy of a tree, to be changed.
pub(crate) struct Copy(TempDir);

impl Copy {
    pub(crate) fn of(case: &str) -> Self {
        let copy = tempfile::tempdir().expect("a directory can be made");
        copy_into(&tree(case), copy.path());
        Self(copy)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Replaces `from` in `file`, which is there, by `to`.
    pub(crate) fn change(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path().join(file)).expect("it is there");
        assert!(text.contains(from), "{from:?} stands in {file}: {text:?}");
        self.write(file, &text.replace(from, to));
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.path().join(file), text).expect("it can be written");
    }

    pub(crate) fn remove(&self, file: &str) {
        let path = self.path().join(file);
        if path.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        }
        .expect("it can be removed");
    }

    /// A process that is as `from` is.
    pub(crate) fn duplicate(&self, from: u32, to: u32) {
        let to = self.path().join(to.to_string());
        fs::create_dir(&to).expect("it is not there yet");
        copy_into(&self.path().join(from.to_string()), &to);
    }

    pub(crate) fn table(&self) -> Table {
        Table::of(self.path())
    }
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the tree is there") {
        let entry = entry.expect("it can be listed");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().expect("it has a type");
        if kind.is_dir() {
            fs::create_dir(&to).expect("it can be made");
            copy_into(&from, &to);
        } else if kind.is_symlink() {
            symlink(fs::read_link(&from).expect("it is a link"), &to).expect("it can be made");
        } else {
            fs::copy(&from, &to).expect("it can be copied");
        }
    }
}

/// A table, and a surveyor that answers at once.
pub(crate) struct Table {
    pub(crate) table: ProcessTable,
    /// The pids that it introduced in its last scan.
    pub(crate) introduced: Vec<u32>,
    /// What the surveyor was asked last.
    pub(crate) asked: Vec<Inquiry>,
    root: PathBuf,
    scopes: Scopes,
}

impl Table {
    pub(crate) fn of(root: &Path) -> Self {
        Self {
            table: ProcessTable::new(ProcRoot::at(root), 16),
            introduced: Vec::new(),
            asked: Vec::new(),
            root: root.to_owned(),
            scopes: Scopes::default(),
        }
    }

    /// Of the processes in `scope`, where not the machine is guarded.
    pub(crate) fn of_scopes(root: &Path, scopes: Vec<Option<Cgroup>>) -> Self {
        let scopes = Scopes::new(scopes);
        Self {
            table: ProcessTable::new(ProcRoot::at(root), 16).of_scopes(&scopes),
            scopes,
            ..Self::of(root)
        }
    }

    /// Reads again which processes are in the scope; of which it was asked.
    pub(crate) fn read_members(&mut self) -> Vec<u32> {
        self.note(|table, ask| table.ask_for_members(ask));
        self.answer(&mut |_, _| {});
        self.identified()
    }

    /// Notes what `asking` asks for, in place of what was asked before.
    fn note(&mut self, asking: impl FnOnce(&mut ProcessTable, &mut dyn FnMut(Inquiry) -> bool)) {
        self.asked.clear();
        asking(&mut self.table, &mut |request| {
            self.asked.push(request);
            true
        });
    }

    pub(crate) fn try_scan(&mut self, depth: Depth) -> Result<Scan, ReadError> {
        let scan = self.table.scan(depth);
        let introduced = self.table.unclassified().map(|(seen, _)| seen.id.pid);
        self.introduced = introduced.collect();
        scan
    }

    #[track_caller]
    pub(crate) fn scan(&mut self, depth: Depth) -> Scan {
        self.try_scan(depth).expect("the tree is sound")
    }

    /// A scan, and what is asked after it answered.
    #[track_caller]
    pub(crate) fn survey(&mut self, depth: Depth) {
        self.scan(depth);
        self.identify(depth, &mut |_, _| {});
    }

    /// Answers what is asked after a scan of `depth`; `each` is given each
    /// process that this has identified.
    pub(crate) fn identify(&mut self, depth: Depth, each: &mut dyn FnMut(&Seen, &mut Dossier)) {
        self.note(|table, ask| table.ask_for_identities(depth, ask));
        self.answer(each);
    }

    /// Measures what holds much and is not measured; what of which pids.
    pub(crate) fn measure(&mut self, memory: &Memory) -> Vec<(u32, What)> {
        self.note(|table, ask| {
            table.ask_for_one_memory(memory, ask);
            table.ask_for_families(memory, ask);
            table.ask_for_shared_memory(memory, ask);
        });
        self.answer(&mut |_, _| {});
        let asked = self.asked.iter();
        asked
            .map(|request| (request.id.pid, request.what))
            .collect()
    }

    /// Measures what is asked for; how many.
    pub(crate) fn correct_families(&mut self, memory: &Memory) -> usize {
        self.note(|table, ask| {
            table.measure_again(memory);
            table.ask_for_families(memory, ask);
        });
        self.answer(&mut |_, _| {});
        self.asked.len()
    }

    /// Measures what is asked for; how many.
    pub(crate) fn measure_shared_memory(&mut self, memory: &Memory) -> usize {
        self.note(|table, ask| {
            table.measure_again(memory);
            table.ask_for_shared_memory(memory, ask);
        });
        self.answer(&mut |_, _| {});
        self.asked.len()
    }

    /// Finds what holds the terminals that are asked about; the pids of the leaders.
    pub(crate) fn find_terminals(&mut self) -> Vec<u32> {
        self.note(|table, ask| table.ask_for_terminals(ask));
        self.answer(&mut |_, _| {});
        self.identified()
    }

    /// Compares what is to be compared, where `same` has one memory; the pids.
    pub(crate) fn find_one_memory(&mut self, memory: &Memory, same: &[(u32, u32)]) -> Vec<u32> {
        self.note(|table, ask| table.ask_for_one_memory(memory, ask));
        let have_one = |one, other| same.contains(&(one, other));
        for request in &self.asked {
            let found = survey(&self.root, request, &self.scopes, &mut |_| {}, &have_one);
            self.table.apply(&found);
        }
        self.identified()
    }

    /// Reads what would suffer by a pause of the processes in `worth`, as far as
    /// that is asked for; their pids.
    pub(crate) fn tie(&mut self, worth: &[u32]) -> Vec<u32> {
        self.asked.clear();
        let is_worth_it = |seen: &Seen| worth.contains(&seen.id.pid);
        let is_all = self.table.ask_for_ties(is_worth_it, &mut |request| {
            self.asked.push(request);
            true
        });
        assert!(is_all, "there was room");
        self.answer(&mut |_, _| {});
        self.identified()
    }

    /// The same of the process of which it was read longest ago.
    pub(crate) fn tie_oldest(&mut self) -> Vec<u32> {
        self.note(|table, ask| table.ask_for_oldest_ties(ask));
        self.answer(&mut |_, _| {});
        self.identified()
    }

    fn answer(&mut self, each: &mut dyn FnMut(&Seen, &mut Dossier)) {
        for request in &self.asked {
            let found = survey(&self.root, request, &self.scopes, &mut |_| {}, &|_, _| {
                false
            });
            if let Some((seen, dossier)) = self.table.apply(&found) {
                each(seen, dossier);
            }
        }
    }

    /// The pids that were asked about last.
    pub(crate) fn identified(&self) -> Vec<u32> {
        self.asked.iter().map(|request| request.id.pid).collect()
    }

    #[track_caller]
    pub(crate) fn get(&self, pid: u32) -> Seen {
        *self.table.get(pid).expect("it is known")
    }

    /// All but kernel threads; 7 is the value of pid 1204.
    pub(crate) fn joined(&self) -> Vec<Process> {
        self.joined_of(0)
    }

    /// The same of the scope with that number.
    pub(crate) fn joined_of(&self, scope: usize) -> Vec<Process> {
        let mut processes = Vec::new();
        let value = |id: ProcessId| (id.pid == 1204).then_some(7.into());
        self.table.join(scope, value, &mut processes);
        processes
    }

    #[track_caller]
    pub(crate) fn dossier(&self, pid: u32) -> Dossier {
        let joined = self.joined();
        let position = joined.iter().position(|process| process.id.pid == pid);
        joined[position.expect("it is known")].dossier
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        let processes = self.table.processes().iter();
        processes.map(|process| process.id.pid).collect()
    }
}

/// An error and its causes, as they are printed.
pub(crate) fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        text += ": ";
        text += &err.to_string();
        cause = err.source();
    }
    text
}
