//! What dies together.
//!
//! A process is a unit, but for two rules. A process that registered a value
//! takes with it those descendants that have no entry of their own and that
//! its owner may signal: a training run and its loaders are one. And where the
//! administrator says so, a process group is one, worth the sum of its entries.
//!
//! What is never ended, and what is already on its way out, is a unit of its
//! own that nobody can choose: it still counts where growth is measured. This
//! module does not weigh anything.

use model::{Cost, Preference, Process, Protection, SessionId};

use crate::critical::Critical;
use crate::settings::Settings;
use crate::value::MAX_VALUE;

/// What can still be done to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It may be ended.
    Free,
    /// It was signalled, and its memory is awaited.
    Dying,
    /// It is never ended, or did not end when it should have.
    Never,
}

/// What dies together. Indices are into the snapshot's processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    /// The process it is called after.
    pub(crate) leader: u32,
    pub(crate) processes: u32,
    pub(crate) standing: Standing,
    /// What its entry says.
    pub(crate) value: Option<u32>,
    pub(crate) preference: Preference,
    pub(crate) critical: bool,
    /// Root's or a system account's, outside a login session.
    pub(crate) system: bool,
    pub(crate) session: SessionId,
    /// Anonymous resident and last-mapped shared memory, in bytes.
    pub(crate) resident_bytes: u64,
    pub(crate) swap_bytes: u64,
    pub(crate) growth: UnitGrowth,
    /// What its end is counted to give back, once it is given up.
    pub(crate) given_up_bytes: Option<u64>,
}

/// How a unit grew: written by [`crate::growth::Growth`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UnitGrowth {
    /// What it takes of memory now.
    pub(crate) bytes_per_second: u64,
    /// What it took in the last 10 s.
    pub(crate) recent_bytes: u64,
    /// What it took in the last minute.
    pub(crate) minute_bytes: u64,
    /// Whether it took a tenth or more of what memory fell by in the last 10 s,
    /// and still does: what was loading and has loaded is growing no more.
    pub(crate) is_growing: bool,
    /// Whether it grew or had major faults in the last 10 s.
    pub(crate) is_active: bool,
    /// What earlier losses add against it.
    pub(crate) penalty: Cost,
}

impl Unit {
    pub(crate) fn held_bytes(&self) -> u64 {
        self.resident_bytes.saturating_add(self.swap_bytes)
    }
}

const UNKNOWN: u32 = u32::MAX;
const NOBODY: u32 = u32::MAX - 1;
const ON_THIS_WALK: u32 = u32::MAX - 2;

/// Groups a snapshot's processes into units, in buffers kept from one snapshot
/// to the next.
#[derive(Debug, Default)]
pub(crate) struct Units {
    pub(crate) units: Vec<Unit>,
    /// Per process: its unit.
    pub(crate) unit_of: Vec<u32>,
    /// Per unit: signed growth, in [`crate::growth`]'s windows.
    pub(crate) grown: Vec<[i64; 3]>,
    /// Per process: its node, the one process that stands for its group where
    /// groups die together; else itself.
    node: Vec<u32>,
    /// Per node: the sum of its entries.
    entry: Vec<Option<u32>>,
    /// Per node: the nearest node with an entry, itself or above.
    nearest: Vec<u32>,
    /// Per node: the node of its parent, once it was looked for.
    parent: Vec<u32>,
    /// Per node: its unit.
    unit_at: Vec<u32>,
    /// Group, whether not its leader, process: sorted, to find each group's node.
    groups: Vec<(u32, bool, u32)>,
    critical: Critical,
}

impl Units {
    pub(crate) fn reserve(&mut self, processes: usize) {
        reserve_to(&mut self.units, processes);
        reserve_to(&mut self.unit_of, processes);
        reserve_to(&mut self.grown, processes);
        reserve_to(&mut self.node, processes);
        reserve_to(&mut self.entry, processes);
        reserve_to(&mut self.nearest, processes);
        reserve_to(&mut self.parent, processes);
        reserve_to(&mut self.unit_at, processes);
        reserve_to(&mut self.groups, processes);
        self.critical.reserve(processes);
    }

    /// Groups `processes`; `standing` says what can still be done to one.
    pub(crate) fn group(
        &mut self,
        settings: &Settings,
        processes: &[Process],
        standing: impl Fn(&Process) -> Standing,
    ) {
        self.critical.weigh(processes);
        self.find_nodes(settings, processes, &standing);
        self.find_entries(processes);
        self.units.clear();
        self.unit_of.clear();
        refill(&mut self.unit_at, processes.len(), UNKNOWN);
        for (index, process) in (0..).zip(processes) {
            let unit = match standing(process) {
                Standing::Free => self.unit_for(processes, index),
                other => self.new_unit(index, process, other, None),
            };
            self.unit_of.push(unit);
            self.add(settings, unit, index, process);
        }
    }

    fn find_nodes(
        &mut self,
        settings: &Settings,
        processes: &[Process],
        standing: &impl Fn(&Process) -> Standing,
    ) {
        self.node.clear();
        self.node.extend((0..).take(processes.len()));
        if !settings.by_group {
            return;
        }
        self.groups.clear();
        for (index, process) in (0..).zip(processes) {
            let dies_with_its_group = process.group != 0
                && !self.critical.has(index)
                && standing(process) == Standing::Free;
            if dies_with_its_group {
                let follows = process.id.pid != process.group;
                self.groups.push((process.group, follows, index));
            }
        }
        self.groups.sort_unstable();
        let mut current = None;
        for &(group, _, index) in &self.groups {
            let node = match current {
                Some((same, node)) if same == group => node,
                _ => index,
            };
            current = Some((group, node));
            self.node[at(index)] = node;
        }
    }

    fn find_entries(&mut self, processes: &[Process]) {
        refill(&mut self.entry, processes.len(), None);
        refill(&mut self.nearest, processes.len(), UNKNOWN);
        refill(&mut self.parent, processes.len(), UNKNOWN);
        for (index, process) in processes.iter().enumerate() {
            // An entry for the first process would make the whole machine one
            // unit.
            let counts =
                process.id.pid != 1 && process.protection != Some(Protection::KernelThread);
            if let (Some(value), true) = (process.value, counts) {
                let entry = &mut self.entry[at(self.node[index])];
                let sum = entry.unwrap_or(0).saturating_add(value);
                *entry = Some(sum.min(MAX_VALUE));
            }
        }
    }

    /// The unit of a process that may be ended.
    fn unit_for(&mut self, processes: &[Process], index: u32) -> u32 {
        let process = &processes[at(index)];
        let own = self.node[at(index)];
        let root = if self.critical.has(index) && self.entry[at(own)].is_none() {
            own
        } else {
            self.covering(processes, own, process.uid).unwrap_or(own)
        };
        let mut unit = self.unit_at[at(root)];
        if unit == UNKNOWN {
            unit = self.new_unit(index, process, Standing::Free, self.entry[at(root)]);
            self.unit_at[at(root)] = unit;
        } else if index == root {
            // After pids wrapped, a leader may come after what it leads.
            self.units[at(unit)].leader = index;
            self.units[at(unit)].session = process.session;
        }
        unit
    }

    fn new_unit(
        &mut self,
        leader: u32,
        process: &Process,
        standing: Standing,
        value: Option<u32>,
    ) -> u32 {
        let unit = u32::try_from(self.units.len()).unwrap_or(NOBODY);
        self.units.push(Unit {
            leader,
            processes: 0,
            standing,
            value,
            preference: Preference::None,
            critical: false,
            system: false,
            session: process.session,
            resident_bytes: 0,
            swap_bytes: 0,
            growth: UnitGrowth::default(),
            given_up_bytes: None,
        });
        unit
    }

    fn add(&mut self, settings: &Settings, unit: u32, index: u32, process: &Process) {
        let unit = &mut self.units[at(unit)];
        unit.processes += 1;
        unit.critical |= self.critical.has(index);
        unit.system |= is_system(settings, process);
        unit.preference = match (unit.preference, process.preference) {
            (Preference::Avoid, _) | (_, Preference::Avoid) => Preference::Avoid,
            (Preference::Prefer, _) | (_, Preference::Prefer) => Preference::Prefer,
            (Preference::None, Preference::None) => Preference::None,
        };
        unit.resident_bytes = unit
            .resident_bytes
            .saturating_add(process.anon_bytes)
            .saturating_add(process.shmem_bytes);
        unit.swap_bytes = unit.swap_bytes.saturating_add(process.swap_bytes);
    }

    /// The nearest node with an entry, at or above `node`, whose owner may
    /// signal a process of user `uid`.
    fn covering(&mut self, processes: &[Process], node: u32, uid: u32) -> Option<u32> {
        let mut from = node;
        // Entries one above the other are few; a bound ends what a table torn
        // between two moments may have made a circle.
        for _ in 0..64 {
            let nearest = self.nearest_entry(processes, from)?;
            let owner = processes[at(nearest)].uid;
            if nearest == node || owner == 0 || owner == uid {
                return Some(nearest);
            }
            from = self.above(processes, nearest)?;
        }
        None
    }

    /// The nearest node with an entry, `node` itself or above it. Walks each
    /// path once per snapshot.
    fn nearest_entry(&mut self, processes: &[Process], node: u32) -> Option<u32> {
        let mut walker = node;
        let found = loop {
            match self.nearest[at(walker)] {
                ON_THIS_WALK => break NOBODY,
                UNKNOWN if self.entry[at(walker)].is_some() => break walker,
                UNKNOWN => self.nearest[at(walker)] = ON_THIS_WALK,
                known => break known,
            }
            match self.above(processes, walker) {
                Some(above) => walker = above,
                None => break NOBODY,
            }
        };
        let mut walker = Some(node);
        while let Some(here) = walker {
            if self.nearest[at(here)] != ON_THIS_WALK {
                break;
            }
            self.nearest[at(here)] = found;
            walker = self.above(processes, here);
        }
        (found != NOBODY).then_some(found)
    }

    /// The node of the parent.
    fn above(&mut self, processes: &[Process], node: u32) -> Option<u32> {
        let mut above = self.parent[at(node)];
        if above == UNKNOWN {
            above = self.find_above(processes, node).unwrap_or(NOBODY);
            self.parent[at(node)] = above;
        }
        (above != NOBODY).then_some(above)
    }

    fn find_above(&self, processes: &[Process], node: u32) -> Option<u32> {
        let child = &processes[at(node)];
        let parent = processes
            .binary_search_by_key(&child.parent, |process| process.id.pid)
            .ok()?;
        // Nobody is younger than their child: that pid was used again.
        let is_parent = processes[parent].id.start_ticks <= child.id.start_ticks;
        is_parent.then(|| self.node[parent])
    }
}

/// Root or a system account, outside a login session. systemd's dynamic users
/// (61184 to 65519, systemd.exec(5)) and `nobody` are services too.
fn is_system(settings: &Settings, process: &Process) -> bool {
    let is_service_account = process.uid < settings.first_ordinary_uid
        || (61_184..=65_519).contains(&process.uid)
        || process.uid == 65_534;
    is_service_account && !process.login
}

/// `index` as a place in a slice.
pub(crate) fn at(index: u32) -> usize {
    index as usize
}

pub(crate) fn reserve_to<T>(buffer: &mut Vec<T>, capacity: usize) {
    buffer.reserve_exact(capacity.saturating_sub(buffer.len()));
}

fn refill<T: Copy>(buffer: &mut Vec<T>, len: usize, with: T) {
    buffer.clear();
    buffer.resize(len, with);
}
