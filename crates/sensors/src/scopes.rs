//! What is guarded at once: the machine, and cgroups of it.

use crate::cgroup_memory::Cgroup;

/// The scopes of one daemon, numbered from 0. A set of them is a bit each.
#[derive(Clone, Debug, Default)]
pub struct Scopes {
    /// `None` is the machine.
    list: Vec<Option<Cgroup>>,
}

impl Scopes {
    /// There are no more.
    pub const MOST: usize = u32::BITS as usize;

    /// `list`: at most [`Self::MOST`], `None` for the machine.
    #[must_use]
    pub fn new(list: Vec<Option<Cgroup>>) -> Self {
        Self { list }
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
