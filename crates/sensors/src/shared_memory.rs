//! Shared memory that ends with its last mapping.
//!
//! A file on tmpfs outlives the process that wrote it, so no kill frees its
//! pages. Memory that has no name any more is different: an anonymous shared
//! mapping, a memfd, a file of `/dev/shm` that was unlinked. It is freed with
//! its last mapping, unless a process has it open and not mapped, which no file
//! tells. `smaps` shows which processes map it, and each process's part of its pages; where
//! the parts of all that are known are less than its pages, another maps it.

use model::{Memory, ProcessId};

use crate::process::{Gauge, Remeasuring, Shared};
use crate::smaps::Nameless;
use crate::survey::{Inquiry, What};
use crate::table::ProcessTable;
use crate::unmeasured::{Allotment, ask_once};

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
    /// The parts of all, and the most that one has touched.
    parts_bytes: u64,
    most_bytes: u64,
    /// Parts were read one after the other: a fiftieth may be missing.
    is_whole: bool,
}

impl Sum {
    /// Whether a part makes much of a difference.
    fn is_much(&self, part_bytes: u64) -> bool {
        self.most_bytes / 32 <= part_bytes
    }
}

impl ProcessTable {
    /// Asks how much shared memory each process maps that ends
    /// with its last mapping. Only those with more than 1 % of the machine's memory
    /// in shared memory are asked about, and what they have forked; all others
    /// count 0. What holds a noticeable part of memory is asked about as soon as it
    /// is seen, and once it has grown by a quarter; the rest where
    /// [`Self::measure_again`] wants it. Allocates nothing.
    ///
    /// What several processes map counts by parts, as far as all are known
    /// ([`Seen::common_bytes`]). System V segments never count (they outlive their
    /// users), and what some process has open without mapping it counts although it
    /// stays. What a process keeps us from seeing counts in full.
    ///
    /// Asks for at most 64 processes and 1 GiB of resident memory a call, but
    /// at least one if there is any, and no more than `ask` takes: those first
    /// that were never measured, then those measured longest ago; the rest in the
    /// calls that follow.
    ///
    /// [`Seen::common_bytes`]: model::Seen::common_bytes
    pub fn ask_for_shared_memory(&mut self, memory: &Memory, ask: &mut dyn FnMut(Inquiry) -> bool) {
        self.round += 1;
        self.count_unseen();
        let mut ranks = self.ranked(|table, index| {
            let gauge = table.kept[index].shared_gauge;
            let is_due = gauge.wanted != Remeasuring::No || table.awaits_shared(index, memory);
            (is_due && table.can_be_asked(index, gauge.is_asked))
                .then(|| [table.measured_in(index), 0, 0])
        });
        ranks.sort_unstable();
        self.ask_in_order(ranks, |table, index| {
            let request = table.request(index, What::SharedMemory);
            ask_once(request, &mut table.kept[index].shared_gauge.is_asked, ask)
        });
    }

    /// Whether what a process that holds a noticeable part of memory maps is still
    /// to be measured.
    pub(crate) fn awaits_shared_memory(&self, memory: &Memory) -> bool {
        (0..self.kept.len()).any(|index| {
            let is_doubted = self.kept[index].shared_gauge.wanted == Remeasuring::Soon
                && self.is_here(index)
                && memory.is_noticeable(self.processes[index].rss_bytes);
            (is_doubted || self.awaits_shared(index, memory)) && self.can_be_asked(index, false)
        })
    }

    /// Has all measured that were not, and again those measured longest ago.
    pub(crate) fn want_shared_memory(&mut self, memory: &Memory) {
        let least_bytes = memory.total_bytes / 100;
        let mut ranks = self.ranked(|table, index| {
            (table.may_map_any(index, least_bytes) && table.can_be_measured(index))
                .then(|| [table.measured_in(index), 0, 0])
        });
        ranks.sort_unstable();
        let mut budget = Allotment::of_one_call();
        for rank in &ranks {
            let has_room = budget.spend(self.processes[rank.index].rss_bytes);
            let kept = &mut self.kept[rank.index];
            if has_room || kept.shared.is_none() {
                kept.shared_gauge.wanted = kept.shared_gauge.wanted.max(Remeasuring::InTurn);
            }
        }
        self.ranks = ranks;
    }

    /// In which round it was measured last; 0: in none.
    fn measured_in(&self, index: usize) -> u64 {
        self.kept[index].shared.map_or(0, |shared| shared.round)
    }

    /// Whether it holds a noticeable part of memory, and was not measured or has
    /// grown by a quarter since.
    fn awaits_shared(&self, index: usize, memory: &Memory) -> bool {
        let kept = &self.kept[index];
        let least_bytes = memory.total_bytes / 100;
        let has_outgrown = |shared: Shared| {
            let then = shared.rss_shmem_bytes;
            kept.rss_shmem_bytes > then.saturating_add(then / 4).max(least_bytes)
        };
        memory.is_noticeable(self.processes[index].rss_bytes)
            && self.is_here(index)
            && kept.shared.is_none_or(has_outgrown)
            && self.may_map_any(index, least_bytes)
    }

    fn may_map_any(&self, index: usize, least_bytes: u64) -> bool {
        self.kept[index].rss_shmem_bytes > least_bytes
            || self.may_map_its_parents(index, least_bytes)
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
        let kept = &mut self.kept[index];
        kept.shared_gauge = Gauge::default();
        kept.shared = Some(Shared {
            nameless,
            round: self.round,
            rss_shmem_bytes: kept.rss_shmem_bytes,
            is_whole: false,
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
            let was_whole = std::mem::replace(&mut shared.is_whole, true);
            let mut is_much = false;
            for segment in shared.nameless.segments {
                let Some(sum) = self.sum_of(segment.id) else {
                    continue;
                };
                let part_bytes = segment.part_bytes;
                if !sum.is_whole {
                    shared.is_whole = false;
                    is_much |= sum.is_much(part_bytes);
                } else if !sum.is_common {
                    shared.own_bytes = shared.own_bytes.saturating_add(part_bytes);
                } else if *shared.common_with.get_or_insert(sum.oldest) == sum.oldest {
                    shared.common_bytes = shared.common_bytes.saturating_add(part_bytes);
                }
            }
            if was_whole && !shared.is_whole && is_much {
                // One that mapped it as well has ended, and the parts of the others
                // are larger by now.
                self.kept[index].shared_gauge.wanted = Remeasuring::Soon;
            }
            self.kept[index].shared = Some(shared);
            self.kept[index].show(&mut self.processes[index]);
        }
    }

    /// Has those measured again that map what the process at `index` has come to map,
    /// or has touched since: their parts are smaller by now. `before`: what was known
    /// of that one.
    pub(crate) fn doubt_sharers(&mut self, index: usize, before: Option<Shared>) {
        let Some(shared) = self.kept[index].shared else {
            return;
        };
        let id = self.processes[index].id;
        for segment in shared.nameless.segments {
            let Some(sum) = self.sum_of(segment.id).filter(|sum| sum.is_common) else {
                continue;
            };
            let known = before.as_ref().map_or(&[][..], |it| &it.nameless.segments);
            let known = known.iter().find(|it| it.id == segment.id);
            let more_bytes =
                segment.rss_bytes - known.map_or(0, |it| it.rss_bytes.min(segment.rss_bytes));
            let is_too_much = sum.most_bytes.saturating_add(sum.most_bytes / 50) < sum.parts_bytes;
            if !is_too_much || more_bytes < sum.most_bytes / 8 {
                continue;
            }
            let first = self.mappings.partition_point(|it| it.segment < segment.id);
            for at in first..self.mappings.len() {
                let mapping = self.mappings[at];
                if mapping.segment != segment.id {
                    break;
                }
                let is_other = mapping.pid != id.pid && sum.is_much(mapping.part_bytes);
                if let Some(other) = self.find(mapping.pid).filter(|_| is_other) {
                    self.kept[other].shared_gauge.wanted = Remeasuring::Soon;
                }
            }
        }
    }

    /// `None` of what is none, or what no process is known to map.
    fn sum_of(&self, segment: u64) -> Option<Sum> {
        let first = self.mappings.partition_point(|it| it.segment < segment);
        let alike = || {
            let rest = self.mappings[first..].iter();
            rest.take_while(|it| it.segment == segment)
        };
        let oldest = alike().next()?;
        let parts_bytes = alike().map(|it| it.part_bytes).fold(0, u64::saturating_add);
        let most_bytes = alike().map(|it| it.rss_bytes).max().unwrap_or(0);
        Some(Sum {
            oldest: ProcessId {
                pid: oldest.pid,
                start_ticks: oldest.start_ticks,
            },
            is_common: alike().nth(1).is_some(),
            parts_bytes,
            most_bytes,
            is_whole: most_bytes - most_bytes / 50 <= parts_bytes,
        })
    }
}
