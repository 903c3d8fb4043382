//! What a process's end ends besides: the rest of a pid namespace, with its
//! first process; the sessions on a terminal, with what holds its master side;
//! what is in the foreground of a terminal, with the leader of its session; the
//! rest of a service of systemd's, with its main process (but for
//! `KillMode=process`, which no file of the kernel's tells).
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
        self.find_heads();
        for index in 0..self.kept.len() {
            let holder = self.holder(index);
            self.processes[index].ends_with = holder;
        }
    }

    fn find_heads(&mut self) {
        self.heads.clear();
        for (index, (process, kept)) in self.processes.iter().zip(&self.kept).enumerate() {
            let namespace = kept.pid_namespace;
            let service = kept.service;
            let heads = [
                (kept.is_first && namespace != 0).then_some(namespace),
                (service != 0 && self.is_started_by_a_manager(index)).then_some(service),
            ];
            for what in heads.into_iter().flatten() {
                // Nothing is taken in beyond its room.
                if self.heads.len() < self.heads.capacity() {
                    self.heads
                        .push((what, process.id.start_ticks, process.id.pid));
                }
            }
        }
        self.heads.sort_unstable();
    }

    /// systemd starts the main process of a service, and adopts what that leaves:
    /// the oldest is the main process.
    fn is_started_by_a_manager(&self, index: usize) -> bool {
        let parent = self.processes[index].parent;
        parent == 1
            || self.find(parent).is_some_and(|parent| {
                let is_systemd = self.processes[parent].name.as_bytes() == b"systemd";
                is_systemd && self.kept[parent].service != self.kept[index].service
            })
    }

    /// The first process of a pid namespace, or the main process of a service.
    fn head(&self, what: u64) -> Option<ProcessId> {
        let found = self.heads.partition_point(|head| head.0 < what);
        let head = self.heads.get(found).filter(|head| head.0 == what);
        head.map(|&(_, start_ticks, pid)| ProcessId { pid, start_ticks })
    }

    /// What ends it by a hangup where that is in the same pid namespace, and so ends
    /// with the first process of that; else that process; else that of its service.
    fn holder(&mut self, index: usize) -> Option<ProcessId> {
        let first = self.first_process(index);
        let hangup = self.hangup(index);
        let is_within = |id: &ProcessId| {
            let holder = self.find_id(*id);
            first.is_none() || holder.is_some_and(|holder| self.first_process(holder) == first)
        };
        let hangup = hangup.filter(|id| is_within(id) || Some(*id) == first);
        let service = self.kept[index].service;
        let main = || self.head(service).filter(|_| service != 0);
        let id = self.processes[index].id;
        hangup
            .or(first)
            .or_else(main)
            .filter(|holder| *holder != id)
    }

    /// The first process of the pid namespace that this one ends with.
    fn first_process(&self, index: usize) -> Option<ProcessId> {
        if !self.kept[index].is_nested {
            return None;
        }
        let parent = || self.find(self.processes[index].parent);
        let namespace = match (&self.kept[index], self.kept[index].is_first) {
            (kept, false) if kept.pid_namespace != 0 => kept.pid_namespace,
            // It ends with what its own namespace is in; a newborn child is in
            // its parent's.
            _ => self.kept[parent()?].pid_namespace,
        };
        let first = self.head(namespace).filter(|_| namespace != 0);
        first.filter(|id| *id != self.processes[index].id)
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
