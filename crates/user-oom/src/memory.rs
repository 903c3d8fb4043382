//! Where the daemon learns how much memory there is: from meminfo, or from the
//! kernel module, which also says when the kernel is about to kill.

use std::os::fd::{AsFd, BorrowedFd};

use oom_policy::{Amount, Floor, Memory, Settings};
use sensors::{
    Meminfo, Notified, Notifier, NotifierLevel, NotifierParameters, Percentages, ReadError,
    Zoneinfo,
};

/// Meminfo, what it leaves out, and the module where it is loaded.
#[derive(Debug)]
pub(crate) struct MemorySource {
    meminfo: Meminfo,
    zoneinfo: Option<Zoneinfo>,
    notifier: Option<Notifier>,
    /// What the module does not say is as of the last quiet round.
    rest: Memory,
    /// The last call that was answered.
    answered: u64,
}

/// What was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub(crate) memory: Memory,
    /// The number of the last call that waits for an answer.
    pub(crate) last_call: Option<u64>,
}

impl MemorySource {
    /// # Errors
    ///
    /// Meminfo cannot be read.
    pub(crate) fn new(
        mut meminfo: Meminfo,
        zoneinfo: Option<Zoneinfo>,
        notifier: Option<Notifier>,
    ) -> Result<Self, ReadError> {
        let rest = meminfo.read()?;
        Ok(Self {
            meminfo,
            zoneinfo,
            notifier,
            rest,
            answered: 0,
        })
    }

    /// As it was when it was last read whole.
    pub(crate) fn last(&self) -> Memory {
        self.rest
    }

    /// What becomes ready (POLLPRI) when the module has something to say.
    pub(crate) fn notifier(&self) -> Option<BorrowedFd<'_>> {
        self.notifier.as_ref().map(AsFd::as_fd)
    }

    /// Reads how much there is: one read on a kept descriptor.
    ///
    /// # Errors
    ///
    /// What was read makes no sense. After one from the module, meminfo is
    /// read instead.
    pub(crate) fn read(&mut self) -> Result<Sight, ReadError> {
        let Some(notifier) = &mut self.notifier else {
            self.rest = self.meminfo.read()?;
            return Ok(Sight {
                memory: self.rest,
                last_call: None,
            });
        };
        match notifier.read() {
            Ok(notified) => Ok(Sight {
                memory: notified.updated(self.rest),
                last_call: self.unanswered(&notified),
            }),
            Err(err) => {
                self.notifier = None;
                Err(err)
            }
        }
    }

    /// Counts the free pages in the lists of each CPU as available. Not for a
    /// last call, before which the kernel has emptied them.
    ///
    /// # Errors
    ///
    /// They could not be read, and nothing was added.
    pub(crate) fn add_per_cpu(&self, memory: &mut Memory) -> Result<(), ReadError> {
        if let Some(zoneinfo) = &self.zoneinfo {
            let bytes = zoneinfo.per_cpu_bytes()?;
            memory.available_bytes = memory.available_bytes.saturating_add(bytes);
        }
        Ok(())
    }

    fn unanswered(&self, notified: &Notified) -> Option<u64> {
        let calls = notified.level == NotifierLevel::LastCall;
        (calls && notified.sequence != self.answered).then_some(notified.sequence)
    }

    /// Reads what the module does not say; for quiet rounds.
    pub(crate) fn refresh(&mut self) {
        if let Ok(memory) = self.meminfo.read() {
            self.rest = memory;
        }
    }

    /// Tells the kernel that memory will come. Whether it took that.
    pub(crate) fn answer(&mut self, sequence: u64) -> bool {
        self.answered = sequence;
        self.notifier
            .as_ref()
            .is_some_and(|notifier| notifier.answer(sequence).is_ok())
    }
}

/// Above its kill level the module takes a call of the kernel's for a special
/// case (one NUMA node, one cpuset) and does not ask, so that is never set
/// lower than this.
const SHORT_PERCENT: u8 = 5;

/// Has the module wake us at our levels, in whole percent, rounded up: it only
/// wakes, the level is our own.
///
/// # Errors
///
/// The module refuses.
pub(crate) fn set_levels(
    parameters: &NotifierParameters,
    settings: &Settings,
    memory: &Memory,
) -> Result<(), ReadError> {
    let base_bytes = memory.total_bytes.saturating_sub(memory.hugetlb_bytes);
    let percentages = |floor: Floor| Percentages {
        memory: whole_percent(floor.memory, base_bytes).max(SHORT_PERCENT),
        swap: whole_percent(floor.swap, memory.swap_total_bytes),
    };
    parameters.set_levels(percentages(settings.warn), percentages(settings.kill))
}

fn whole_percent(amount: Amount, total_bytes: u64) -> u8 {
    let percent = match amount {
        Amount::PartsPerMillion(parts) => u64::from(parts).div_ceil(10_000),
        // Without swap its level is met whatever it is.
        Amount::Bytes(_) if total_bytes == 0 => 100,
        Amount::Bytes(bytes) => {
            let hundredfold = u128::from(bytes) * 100;
            u64::try_from(hundredfold.div_ceil(u128::from(total_bytes))).unwrap_or(100)
        }
    };
    u8::try_from(percent.min(100)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use oom_policy::Policy;

    use super::*;
    use crate::error::chain;

    /// The same machine, said by meminfo and by the module.
    #[test]
    fn a_decision_is_the_same_whoever_says_how_much_memory_there_is() {
        const MIB: u64 = 1 << 20;
        let by_meminfo = Memory {
            total_bytes: 1000 * MIB,
            available_bytes: 60 * MIB,
            hugetlb_bytes: 40 * MIB,
            swap_total_bytes: 500 * MIB,
            swap_free_bytes: 20 * MIB,
            anon_bytes: 700 * MIB,
            shmem_bytes: 30 * MIB,
            unreclaimable_slab_bytes: 50 * MIB,
        };
        let notified = Notified {
            level: NotifierLevel::Warn,
            total_bytes: by_meminfo.total_bytes,
            available_bytes: by_meminfo.available_bytes,
            hugetlb_bytes: by_meminfo.hugetlb_bytes,
            swap_total_bytes: by_meminfo.swap_total_bytes,
            swap_free_bytes: by_meminfo.swap_free_bytes,
            sequence: 3,
        };
        // What the module does not say was read in a quiet round, when other
        // things were otherwise.
        let by_module = notified.updated(Memory {
            available_bytes: 900 * MIB,
            swap_free_bytes: 500 * MIB,
            ..by_meminfo
        });
        assert_eq!(by_module, by_meminfo);

        let decide = |memory| {
            let mut policy = Policy::new(Settings::default(), 64);
            let mut snapshot = crate::rehearsal::made_up(64);
            snapshot.memory = memory;
            let decision = policy.step(Duration::from_secs(1), &snapshot);
            (decision.need_bytes, decision.actions.clone())
        };
        assert_eq!(decide(by_module), decide(by_meminfo));
        assert!(!decide(by_module).1.is_empty());
    }

    /// What is available of 1000 MiB and `count` pages in the lists of CPUs.
    fn available_with(count: &str) -> (u64, Result<(), ReadError>) {
        let folder = tempfile::tempdir().unwrap();
        let write = |name, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let meminfo = "MemTotal: 4096000 kB\nMemAvailable: 1024000 kB\n";
        let zoneinfo = format!("Node 0, zone Normal\n count: {count}\n count: 7\n");
        let meminfo = Meminfo::open(&write("meminfo", meminfo)).unwrap();
        let zoneinfo = Zoneinfo::open(&write("zoneinfo", &zoneinfo)).unwrap();
        let mut source = MemorySource::new(meminfo, Some(zoneinfo), None).unwrap();
        let mut memory = source.read().unwrap().memory;
        let added = source.add_per_cpu(&mut memory);
        (memory.available_bytes, added)
    }

    #[test]
    fn what_was_freed_and_waits_in_a_cpus_list_is_available() {
        let page_bytes = rustix::param::page_size() as u64;
        let (available_bytes, added) = available_with("51200");
        assert!(added.is_ok());
        assert_eq!(available_bytes, (1_024_000 << 10) + 51_207 * page_bytes);
    }

    #[test]
    fn lists_that_make_no_sense_are_told_and_not_counted() {
        let (available_bytes, added) = available_with("many");
        assert_eq!(available_bytes, 1_024_000 << 10);
        let told = chain(&added.unwrap_err()).to_string();
        assert!(told.contains("zoneinfo`, line 2"), "{told}");
    }

    #[test]
    fn the_module_is_set_to_wake_no_later_than_our_own_level() {
        assert_eq!(whole_percent(Amount::PartsPerMillion(100_000), 0), 10);
        assert_eq!(whole_percent(Amount::PartsPerMillion(100_001), 0), 11);
        assert_eq!(whole_percent(Amount::Bytes(1), 1000), 1);
        assert_eq!(whole_percent(Amount::Bytes(u64::MAX), 1000), 100);
        assert_eq!(whole_percent(Amount::Bytes(5), 0), 100);
    }
}
