//! What is guarded at once: the machine, and cgroups of it.

use std::path::Path;
use std::sync::OnceLock;

use crate::cgroup_memory::Cgroup;
use crate::cgroup_mount::CgroupMount;

/// The scopes of one daemon, numbered from 0. A set of them is a bit each.
#[derive(Clone, Debug, Default)]
pub struct Scopes {
    /// `None` is the machine.
    list: Vec<Option<Cgroup>>,
    /// Where all cgroups of version 2 are, once that was asked for.
    mount: OnceLock<Option<CgroupMount>>,
}

impl Scopes {
    /// There are no more.
    pub const MOST: usize = u32::BITS as usize;

    /// `list`: at most [`Self::MOST`], `None` for the machine.
    #[must_use]
    pub fn new(list: Vec<Option<Cgroup>>) -> Self {
        Self {
            list,
            mount: OnceLock::new(),
        }
    }

    /// Whether a process with this line may have nothing in swap; `proc`: where procfs
    /// is.
    pub(crate) fn forbid_swap(&self, proc: &Path, line: &[u8]) -> bool {
        let mount = self.mount.get_or_init(|| CgroupMount::of_version_2(proc));
        mount.as_ref().is_some_and(|mount| mount.forbids_swap(line))
    }

    /// Those that are not the machine.
    pub(crate) fn cgroups(&self) -> impl Iterator<Item = &Cgroup> {
        self.list.iter().flatten()
    }

    /// Those that all processes are in.
    pub(crate) fn everywhere(&self) -> u32 {
        self.set(|scope| Some(scope.is_none())).unwrap_or(0)
    }

    /// Those that a process is in, by one line of its list of cgroups; `None` where
    /// the line is of another hierarchy.
    pub(crate) fn holding(&self, line: &[u8]) -> Option<u32> {
        self.set(|scope| scope.map_or(Some(true), |scope| scope.holds(line)))
    }

    fn set(&self, is_in: impl Fn(Option<&Cgroup>) -> Option<bool>) -> Option<u32> {
        let mut scopes = self.list.iter().rev();
        scopes.try_fold(0, |set, scope| {
            Some(set << 1 | u32::from(is_in(scope.as_ref())?))
        })
    }
}
