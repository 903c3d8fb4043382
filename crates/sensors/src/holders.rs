//! What a process's end ends besides: the rest of a pid namespace, with its
//! first process; the sessions on a terminal, with what holds its master side;
//! what is in the foreground of a terminal, with the leader of its session.
//!
//! A process that ignores SIGHUP outlives its terminal. One that has left the
//! session has no terminal: setsid(2).

use model::ProcessId;

use crate::process::Hangup;
use crate::survey::{Inquiry, What};
use crate::table::ProcessTable;

impl ProcessTable {
    /// Asks what holds the master side of each session's terminal, once, and again
    /// where that has ended. For quiet rounds.
    pub fn ask_for_terminals(&mut self, ask: &mut dyn FnMut(Inquiry) -> bool) {
        for index in 0..self.kept.len() {
            let is_due = self.leads_a_terminal(index) && self.kept[index].hangup == Hangup::Due;
            if !is_due || !self.can_be_measured(index) {
                continue;
            }
            if !ask(self.request(index, What::Terminal)) {
                return;
            }
            self.kept[index].hangup = Hangup::Asked;
        }
    }

    fn leads_a_terminal(&self, index: usize) -> bool {
        let kept = &self.kept[index];
        kept.has_terminal && kept.kernel_session == self.processes[index].id.pid
    }

    /// Finds of each process what it ends with. Allocates nothing.
    pub(crate) fn find_holders(&mut self) {
        self.find_first_processes();
        for index in 0..self.kept.len() {
            let holder = self.holder(index);
            self.processes[index].ends_with = holder;
        }
    }

    /// The first process of each pid namespace, by what tells that from others.
    fn find_first_processes(&mut self) {
        self.first_processes.clear();
        for (process, kept) in self.processes.iter().zip(&self.kept) {
            if kept.is_first && kept.pid_namespace != 0 {
                // Nothing is taken in beyond its room.
                if self.first_processes.len() < self.first_processes.capacity() {
                    self.first_processes.push((kept.pid_namespace, process.id));
                }
            }
        }
        self.first_processes.sort_unstable();
    }

    /// What ends it by a hangup where that is in the same pid namespace, and so ends
    /// with the first process of that; else that process.
    fn holder(&mut self, index: usize) -> Option<ProcessId> {
        let first = self.first_process(index);
        let hangup = self.hangup(index);
        let is_within = |id: &ProcessId| {
            let holder = self.find_id(*id);
            first.is_none() || holder.is_some_and(|holder| self.first_process(holder) == first)
        };
        hangup
            .filter(|id| is_within(id) || Some(*id) == first)
            .or(first)
    }

    /// The first process of the pid namespace that this one ends with.
    fn first_process(&self, index: usize) -> Option<ProcessId> {
        if self.first_processes.is_empty() {
            return None;
        }
        let parent = || self.find(self.processes[index].parent);
        let namespace = match (&self.kept[index], self.kept[index].is_first) {
            (kept, false) if kept.pid_namespace != 0 => kept.pid_namespace,
            // It ends with what its own namespace is in; a newborn child is in
            // its parent's.
            _ => self.kept[parent()?].pid_namespace,
        };
        let found = self
            .first_processes
            .binary_search_by_key(&namespace, |first| first.0);
        let id = self.first_processes[found.ok()?].1;
        (id != self.processes[index].id).then_some(id)
    }

    fn hangup(&mut self, index: usize) -> Option<ProcessId> {
        let kept = &self.kept[index];
        if !kept.has_terminal || kept.ignores_hangup {
            return None;
        }
        let leader = self.find(kept.kernel_session)?;
        if leader != index && kept.is_in_foreground {
            return Some(self.processes[leader].id);
        }
        let Hangup::Known(Some(holder)) = self.kept[leader].hangup else {
            return None;
        };
        if self.find_id(holder).is_none() {
            self.kept[leader].hangup = Hangup::Due;
            return None;
        }
        (holder != self.processes[index].id).then_some(holder)
    }
}
