//! The values that users give their processes, as the loop keeps them: read
//! from the registry.

use std::time::{Duration, Instant};

use oom_policy::{Moment, PauseWord, ProcessId, Worth};
use sensors::ProcRoot;
use value_registry::{Labels, Notice, Registry};

use crate::refusals::Refusals;
use crate::registry_turn::{RegistryTurn, lookup, severity};
use crate::tell::scribe::Scribe;
use crate::wait::Wait;

/// The registry, and what follows from its changes.
#[derive(Debug)]
pub(crate) struct Values {
    root: ProcRoot,
    registry: Registry,
    turn: RegistryTurn,
    refusals: Refusals,
}

impl Values {
    pub(crate) fn new(root: ProcRoot, registry: Registry, turn: RegistryTurn) -> Self {
        Self {
            root,
            registry,
            turn,
            refusals: Refusals::default(),
        }
    }

    /// Entries that do not count.
    pub(crate) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Values are asked for at the time `now` next.
    pub(crate) fn share_out(&mut self, now: Instant) {
        self.registry.share_out(now);
    }

    /// What `id` is worth at the time `now`; `None` where it is not registered.
    pub(crate) fn get(&self, id: ProcessId, now: Instant) -> Option<Worth> {
        self.registry.worth(id, now)
    }

    /// What the entry of `id` says of pausing.
    pub(crate) fn pause_word(&self, id: ProcessId) -> Option<PauseWord> {
        self.registry.pause_word(id)
    }

    /// The labels of its entry.
    pub(crate) fn labels(&self, id: ProcessId) -> Option<Labels> {
        let labels = self.registry.labels(id);
        labels.filter(|labels| !labels.is_empty())
    }

    /// All that are registered.
    pub(crate) fn registered(&self) -> impl Iterator<Item = ProcessId> {
        self.registry.ids()
    }

    /// `id` has ended.
    pub(crate) fn ended(&mut self, id: ProcessId) {
        self.registry.ended(id);
    }

    /// Caps and shares what ordinary users' entries say so from now on.
    pub(crate) fn limit(&mut self, user_value_cap: u32, user_value_share: Option<u32>) {
        self.registry.limit_values(user_value_cap, user_value_share);
    }

    /// Something has changed, and is read once the round is over.
    pub(crate) fn heard(&mut self) {
        self.turn.heard();
    }

    /// Looks for the entries of `pids`; whether any value has changed.
    pub(crate) fn read_first(
        &mut self,
        pids: impl Iterator<Item = u32>,
        scribe: &mut Scribe,
    ) -> bool {
        let root = &self.root;
        let notices = self.registry.look_for(pids, &|pid| lookup(root, pid));
        self.take_in(&notices, scribe)
    }

    /// Reads what changed, so much at a time: whether any value has, and how
    /// long there is no more to read.
    pub(crate) fn read(
        &mut self,
        now: Moment,
        wait: &Wait,
        scribe: &mut Scribe,
    ) -> (bool, Duration) {
        let (notices, pause) = self.turn.read(now, &mut self.registry, &self.root, wait);
        (self.take_in(&notices, scribe), pause)
    }

    fn take_in(&mut self, notices: &[Notice], scribe: &mut Scribe) -> bool {
        for notice in notices {
            if notice.is_said() {
                scribe.chat(severity(notice), notice);
            }
            self.refusals.take_in(notice);
        }
        self.registry.has_changed()
    }
}
