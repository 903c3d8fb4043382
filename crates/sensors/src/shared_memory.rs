//! Shared memory that ends with its last mapping.
//!
//! A file on tmpfs outlives the process that wrote it, so no kill frees its
//! pages. Memory that has no name any more is different: an anonymous shared
//! mapping, a memfd, a file of `/dev/shm` that was unlinked. It is freed with
//! its last mapping, unless a process has it open and not mapped, which no file
//! tells. `smaps` shows which processes map it, and each process's part of its pages; where
//! the parts of all that are known are less than its pages, another maps it.

use model::{Memory, ProcessId};

use crate::families::Allotment;
use crate::process::Shared;
use crate::smaps::Nameless;
use crate::survey::{Inquiry, What};
use crate::table::ProcessTable;

/// That a process maps a segment: the oldest of each segment first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mapping {
    segment: u64,
    start_ticks: u64,
    pid: u32,
    rss_bytes: u64,
    part_bytes: u64,
}

/// What the processes that map a segment have of it.
struct Sum {
    oldest: ProcessId,
    is_common: bool,
    /// Parts were read one after the other: a fiftieth may be missing.
    is_whole: bool,
}

impl ProcessTable {
    /// Asks, for quiet rounds, how much shared memory each process maps that ends
    /// with its last mapping. Only those with more than 1 % of the machine's memory
    /// in shared memory are asked about, and what they have forked; all others
    /// count 0.
    ///
    /// What several processes map counts by parts, as far as all are known
    /// ([`Seen::common_bytes`]). System V segments never count (they outlive their
    /// users), and what some process has open without mapping it counts although it
    /// stays. What a process keeps us from seeing counts in full.
    ///
    /// Asks for at most 64 processes and 1 GiB of resident memory a call, but
    /// at least one if there is any, and no more than `ask` takes: those first
    /// that were never measured, then those measured longest ago.
    ///
    /// [`Seen::common_bytes`]: model::Seen::common_bytes
    pub fn ask_for_shared_memory(&mut self, memory: &Memory, ask: &mut dyn FnMut(Inquiry) -> bool) {
        let least_bytes = memory.total_bytes / 100;
        self.round += 1;
        self.count_unseen();
        let mut due: Vec<usize> = (0..self.kept.len())
            .filter(|&index| {
                self.kept[index].rss_shmem_bytes > least_bytes
                    || self.may_map_its_parents(index, least_bytes)
            })
            .filter(|&index| self.can_be_measured(index))
            .collect();
        due.sort_by_key(|&index| self.kept[index].shared.map(|shared| shared.round));
        let mut budget = Allotment::of_one_call();
        due.into_iter()
            .map(|index| self.request(index, What::SharedMemory))
            .take_while(|request| budget.spend(request.rss_bytes) && ask(*request))
            .for_each(drop);
    }

    /// Whether a process may map what its parent maps: one that was forked, and has
    /// not executed another program, does so whether it touches it or not.
    fn may_map_its_parents(&self, index: usize, least_bytes: u64) -> bool {
        let Some(parent) = self.find(self.processes[index].parent) else {
            return false;
        };
        let (parent, child) = (&self.kept[parent], &self.kept[index]);
        let maps_any = |shared: Shared| shared.nameless.segments[0].id != 0;
        let is_asked = least_bytes < parent.rss_shmem_bytes || parent.shared.is_some_and(maps_any);
        is_asked && parent.executable == child.executable
    }

    /// Of those that are not measured any longer, all shared memory counts.
    pub(crate) fn count_unseen(&mut self) {
        for index in 0..self.kept.len() {
            if self.is_given_up_on(index) {
                self.note_shared(index, Nameless::UNSEEN);
            }
        }
        self.find_sharers();
    }

    /// To be followed by [`Self::find_sharers`].
    pub(crate) fn note_shared(&mut self, index: usize, nameless: Nameless) {
        self.kept[index].shared = Some(Shared {
            nameless,
            round: self.round,
            own_bytes: 0,
            common_bytes: 0,
            common_with: None,
        });
    }

    /// Finds out which processes map the same memory. Allocates nothing.
    pub(crate) fn find_sharers(&mut self) {
        self.mappings.clear();
        for (process, kept) in self.processes.iter().zip(&self.kept) {
            // One that runs in another's memory maps nothing besides.
            let shared = kept.shared.filter(|_| kept.memory_of().is_none());
            for segment in shared.iter().flat_map(|shared| &shared.nameless.segments) {
                // Nothing is taken in beyond its room.
                if segment.id != 0 && self.mappings.len() < self.mappings.capacity() {
                    self.mappings.push(Mapping {
                        segment: segment.id,
                        start_ticks: process.id.start_ticks,
                        pid: process.id.pid,
                        rss_bytes: segment.rss_bytes,
                        part_bytes: segment.part_bytes,
                    });
                }
            }
        }
        self.mappings.sort_unstable();
        for index in 0..self.kept.len() {
            let Some(mut shared) = self.kept[index].shared else {
                continue;
            };
            shared.own_bytes = shared.nameless.rest_bytes;
            shared.common_bytes = 0;
            shared.common_with = None;
            for segment in shared.nameless.segments {
                let Some(sum) = self.sum_of(segment.id).filter(|sum| sum.is_whole) else {
                    continue;
                };
                let part_bytes = segment.part_bytes;
                if !sum.is_common {
                    shared.own_bytes = shared.own_bytes.saturating_add(part_bytes);
                } else if *shared.common_with.get_or_insert(sum.oldest) == sum.oldest {
                    shared.common_bytes = shared.common_bytes.saturating_add(part_bytes);
                }
            }
            self.kept[index].shared = Some(shared);
            self.kept[index].show(&mut self.processes[index]);
        }
    }

    fn sum_of(&self, segment: u64) -> Option<Sum> {
        let first = self.mappings.partition_point(|it| it.segment < segment);
        let alike = || {
            let rest = self.mappings[first..].iter();
            rest.take_while(|it| it.segment == segment)
        };
        let oldest = alike().next()?;
        let parts = alike().map(|it| it.part_bytes).fold(0, u64::saturating_add);
        let most = alike().map(|it| it.rss_bytes).max().unwrap_or(0);
        Some(Sum {
            oldest: ProcessId {
                pid: oldest.pid,
                start_ticks: oldest.start_ticks,
            },
            is_common: alike().nth(1).is_some(),
            is_whole: most - most / 50 <= parts,
        })
    }
}
