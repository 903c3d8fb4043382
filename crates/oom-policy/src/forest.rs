//! The processes as one forest: which stands below which, and whose entry
//! covers it.
//!
//! A node is a process or, where several always die together, the one that
//! stands for them: for a process group, a session or a cgroup, where the
//! administrator says so, and for processes that have one memory. Each way up is
//! walked once per table.

use model::{KilledWith, Process, Seen};

use crate::buffer::{at, reserve_to};
use crate::settings::{MAX_VALUE, Settings};

/// One node per process of the last table, in its order.
#[derive(Debug, Default)]
pub(crate) struct Forest {
    nodes: Vec<Node>,
    /// The sets of one kind that are killed as one because of a rule: sorted.
    wanted: Vec<u64>,
    /// Set, whether not its leader, process: sorted, to find what stands for each
    /// set.
    members: Vec<(u64, bool, u32)>,
}

/// The process group, session or cgroup that `process` is in.
fn set(kind: KilledWith, process: &Seen) -> Option<u64> {
    let number = match kind {
        KilledWith::Process | KilledWith::Tree => 0,
        KilledWith::Group => process.group.into(),
        KilledWith::Session => process.kernel_session.into(),
        KilledWith::Cgroup if process.session.is_cgroup() => process.session.0,
        KilledWith::Cgroup => 0,
    };
    (number != 0).then_some(number)
}

/// Only what stands for others, or for itself alone, uses more than the first
/// field.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// The node that stands for it.
    node: u32,
    /// What its entries count for together.
    entry: Option<u32>,
    /// The rule that is in that sum already.
    rule: u16,
    /// What has no entry below it is one with it, though it may have none.
    gathers: bool,
    /// For its worker alone, not because anybody says so.
    gathers_its_own: bool,
    parent: Way,
    /// To the nearest node with an entry, itself or above.
    nearest: Way,
    /// Its unit, once it has one.
    unit: Option<u32>,
}

/// Where a way leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    NotWalked,
    /// It is being walked: to come back here is to walk in a circle.
    Walking,
    Nowhere,
    To(u32),
}

impl Way {
    fn of(end: Option<u32>) -> Self {
        end.map_or(Self::Nowhere, Self::To)
    }
}

/// Entries one above the other are few; a bound ends what a table torn between
/// two moments may have made a circle.
const MOST_ENTRIES_ABOVE: u32 = 64;

impl Forest {
    pub(crate) fn reserve(&mut self, processes: usize) {
        reserve_to(&mut self.nodes, processes);
        reserve_to(&mut self.wanted, processes);
        reserve_to(&mut self.members, processes);
    }

    /// Takes in a table. `may_join` says of a process and its place that it is killed with others;
    /// `is_free`, that it may be ended.
    pub(crate) fn plant(
        &mut self,
        processes: &[Process],
        settings: &Settings,
        may_join: impl Fn(u32, &Process) -> bool,
        is_free: impl Fn(&Process) -> bool,
    ) {
        self.nodes.clear();
        for index in (0..).take(processes.len()) {
            self.nodes.push(Node {
                node: index,
                entry: None,
                rule: 0,
                gathers: false,
                gathers_its_own: false,
                parent: Way::NotWalked,
                nearest: Way::NotWalked,
                unit: None,
            });
        }
        for (kind, all) in [
            (KilledWith::Group, settings.by_group),
            (KilledWith::Session, false),
            (KilledWith::Cgroup, false),
        ] {
            self.join_sets(processes, kind, all, &may_join);
        }
        self.join_memories(processes, is_free);
        self.find_entries(processes, settings.user_value_cap);
        self.find_trees(processes);
    }

    /// Makes one of each set of a kind: of all, or where a rule says so of one in it.
    fn join_sets(
        &mut self,
        processes: &[Process],
        kind: KilledWith,
        all: bool,
        may_join: &impl Fn(u32, &Process) -> bool,
    ) {
        self.wanted.clear();
        self.members.clear();
        for (index, process) in (0..).zip(processes) {
            let is_said = process.dossier.label.together == Some(kind) && may_join(index, process);
            self.wanted
                .extend(set(kind, process).filter(|_| is_said && !all));
        }
        if self.wanted.is_empty() && !all {
            return;
        }
        self.wanted.sort_unstable();
        for (index, process) in (0..).zip(processes) {
            let is_wanted = |set: &u64| all || self.wanted.binary_search(set).is_ok();
            let set = set(kind, process).filter(is_wanted);
            if let Some(set) = set.filter(|_| may_join(index, process)) {
                let follows = u64::from(process.id.pid) != set;
                self.members.push((set, follows, index));
            }
        }
        self.members.sort_unstable();
        let mut current = None;
        for place in 0..self.members.len() {
            let (set, _, index) = self.members[place];
            let first = match current {
                Some((same, first)) if same == set => first,
                _ => index,
            };
            current = Some((set, first));
            let (first, node) = (self.top(first), self.top(index));
            self.nodes[at(node)].node = first;
        }
        self.flatten();
    }

    fn flatten(&mut self) {
        for index in (0..).take(self.nodes.len()) {
            self.nodes[at(index)].node = self.top(index);
        }
    }

    /// What has one memory frees none of it before all have ended.
    fn join_memories(&mut self, processes: &[Process], is_free: impl Fn(&Process) -> bool) {
        let mut any_joined = false;
        for (index, process) in (0..).zip(processes) {
            let owner = process.memory_of.filter(|_| is_free(process));
            let Some(owner) = owner.and_then(|id| Seen::place(processes, id)) else {
                continue;
            };
            if is_free(&processes[owner]) {
                let (owner, node) = (self.top(self.nodes[owner].node), self.top(index));
                self.nodes[at(node)].node = owner;
                any_joined = true;
            }
        }
        if any_joined {
            self.flatten();
        }
    }

    /// What stands for a node, and nothing for that.
    fn top(&self, mut node: u32) -> u32 {
        while self.nodes[at(node)].node != node {
            node = self.nodes[at(node)].node;
        }
        node
    }

    /// Any number of processes that are killed together, as with CLONE_VM, must not be
    /// worth more than a user's entry may say.
    fn find_entries(&mut self, processes: &[Process], user_value_cap: u32) {
        // Of each node, the sum of what is neither root's nor a rule's, and how much of
        // that counts at most: the buffer is free by now.
        let users = &mut self.members;
        users.clear();
        users.resize(processes.len(), (0, false, 0));
        for (index, process) in (0..).zip(processes) {
            // An entry for the first process would make the whole machine one
            // unit.
            let counts = process.id.pid != 1 && !process.is_kernel_thread;
            let Some(value) = process.dossier.value.filter(|_| counts) else {
                continue;
            };
            let node = at(self.nodes[at(index)].node);
            let ((users_sum, _, users_most), node) = (&mut users[node], &mut self.nodes[node]);
            let label = &process.dossier.label;
            if process.dossier.is_rules_value
                && std::mem::replace(&mut node.rule, label.rule) == label.rule
            {
                continue;
            }
            let sum = node.entry.get_or_insert(0);
            if process.uid == 0 || process.dossier.is_rules_value {
                *sum = sum.saturating_add(value);
                continue;
            }
            let most = label.max_value.unwrap_or(MAX_VALUE).min(user_value_cap);
            *users_sum = users_sum.saturating_add(value.into());
            // Root's word on one of them may be higher.
            *users_most = (*users_most).max(most).max(value);
        }
        for (node, (sum, _, most)) in self.nodes.iter_mut().zip(users) {
            let users = u32::try_from(*sum).unwrap_or(u32::MAX).min(*most);
            let counted = |roots: u32| roots.saturating_add(users).min(MAX_VALUE);
            node.entry = node.entry.map(counted);
        }
    }

    /// A tree begins at the topmost of those that descend from each other and that
    /// one rule matches.
    fn find_trees(&mut self, processes: &[Process]) {
        for (index, process) in (0..).zip(processes) {
            let label = &process.dossier.label;
            if label.together != Some(KilledWith::Tree) || process.id.pid == 1 {
                continue;
            }
            let parent = Seen::position(processes, process.parent);
            let above = parent.map(|parent| processes[parent].dossier.label.rule);
            if above != Some(label.rule) {
                let node = self.node(index);
                self.nodes[at(node)].gathers = true;
            }
        }
    }

    /// Makes the process at `worker` and all below `supervisor` that has no entry
    /// one with that; what another user runs only where the supervisor has one.
    pub(crate) fn gather(&mut self, worker: u32, supervisor: u32) {
        let (worker, supervisor) = (self.node(worker), self.node(supervisor));
        if worker == supervisor {
            return;
        }
        let value = self.nodes[at(worker)].entry.take();
        let gathering = &mut self.nodes[at(supervisor)];
        gathering.gathers_its_own |= !gathering.gathers && gathering.entry.is_none();
        gathering.gathers = true;
        let sum = match (gathering.entry, value) {
            (Some(own), Some(value)) => Some(own.saturating_add(value).min(MAX_VALUE)),
            (own, value) => own.or(value),
        };
        gathering.entry = sum;
    }

    /// What stands for the process at `index`.
    pub(crate) fn node(&self, index: u32) -> u32 {
        self.nodes[at(index)].node
    }

    /// The sum of a node's entries.
    pub(crate) fn entry(&self, node: u32) -> Option<u32> {
        self.nodes[at(node)].entry
    }

    /// A node's unit.
    pub(crate) fn unit(&self, node: u32) -> Option<u32> {
        self.nodes[at(node)].unit
    }

    /// Makes `unit` the unit of a node.
    pub(crate) fn set_unit(&mut self, node: u32, unit: u32) {
        self.nodes[at(node)].unit = Some(unit);
    }

    /// The nearest node with an entry, `node` itself or above, whose owner may
    /// signal a process of user `uid`.
    pub(crate) fn covering(&mut self, processes: &[Process], node: u32, uid: u32) -> Option<u32> {
        let is_alone = |node: u32| {
            let label = &processes[at(node)].dossier.label;
            label.together == Some(KilledWith::Process)
        };
        if is_alone(node) {
            return None;
        }
        let mut from = node;
        for _ in 0..MOST_ENTRIES_ABOVE {
            let nearest = self.nearest(processes, from)?;
            let owner = processes[at(nearest)].uid;
            if is_alone(nearest) {
                return None;
            }
            let roots_word = owner == 0 && !self.nodes[at(nearest)].gathers_its_own;
            if nearest == node || roots_word || owner == uid {
                return Some(nearest);
            }
            from = self.parent(processes, nearest)?;
        }
        None
    }

    /// The nearest node with an entry, `node` itself or above it.
    fn nearest(&mut self, processes: &[Process], node: u32) -> Option<u32> {
        let mut walker = node;
        let found = loop {
            let here = &mut self.nodes[at(walker)];
            match here.nearest {
                Way::To(found) => break Some(found),
                Way::Nowhere | Way::Walking => break None,
                Way::NotWalked if here.entry.is_some() || here.gathers => break Some(walker),
                Way::NotWalked => here.nearest = Way::Walking,
            }
            match self.parent(processes, walker) {
                Some(parent) => walker = parent,
                None => break None,
            }
        };
        // The same way once more: all on it lead there.
        let mut walker = Some(node);
        while let Some(here) = walker {
            let nearest = &mut self.nodes[at(here)].nearest;
            if *nearest != Way::Walking {
                break;
            }
            *nearest = Way::of(found);
            walker = self.parent(processes, here);
        }
        found
    }

    /// The node of the parent.
    fn parent(&mut self, processes: &[Process], node: u32) -> Option<u32> {
        if self.nodes[at(node)].parent == Way::NotWalked {
            self.nodes[at(node)].parent = Way::of(self.find_parent(processes, node));
        }
        match self.nodes[at(node)].parent {
            Way::To(parent) => Some(parent),
            Way::NotWalked | Way::Walking | Way::Nowhere => None,
        }
    }

    fn find_parent(&self, processes: &[Process], node: u32) -> Option<u32> {
        let child = &processes[at(node)];
        let position = Seen::position(processes, child.parent)?;
        // A parent is not younger than its child: that pid was used again.
        let is_parent = processes[position].id.start_ticks <= child.id.start_ticks;
        let index = u32::try_from(position).ok()?;
        is_parent.then(|| self.node(index))
    }
}
