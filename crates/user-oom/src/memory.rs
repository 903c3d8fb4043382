//! Where the daemon learns how much memory there is: from meminfo, or from the
//! kernel module, which also says when the kernel is about to kill; and from a
//! cgroup's files, where that is guarded.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oom_policy::{Amount, Floor, Memory, Moment, Settings};
use rustix::io::Errno;
use sensors::{
    Arcstats, Cgroup, CgroupError, CgroupMemory, Implausible, Meminfo, Notified, Notifier,
    NotifierLevel, NotifierParameters, Percentages, ReadError, Zoneinfo, Zram,
};
use terminal::chain;

/// Meminfo, what it leaves out, and the module where it is loaded.
#[derive(Debug)]
pub(crate) struct MemorySource {
    meminfo: Meminfo,
    beside: Beside,
    notifier: Option<Notifier>,
    /// What of it counts, where not all of the machine is guarded; then there is
    /// neither the module nor what meminfo leaves out.
    scope: Option<CgroupMemory>,
    /// What the module does not say is as of the last quiet round.
    rest: Memory,
    /// The last call that was answered.
    answered: u64,
    /// Why the module is not read any longer, until that is said.
    lost: Option<ReadError>,
    /// The module is not loaded, or another process listens: until that is over.
    retry: Option<ListenRetry>,
    paths: Paths,
}

/// Shared with what is told of them, so that telling takes no memory.
#[derive(Debug)]
struct Paths {
    meminfo: Arc<Path>,
    zoneinfo: Option<Arc<Path>>,
    notifier: Option<Arc<Path>>,
}

/// What meminfo leaves out, as far as it is there.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    pub(crate) zoneinfo: Option<Zoneinfo>,
    pub(crate) zram: Option<Zram>,
    pub(crate) arcstats: Option<Arcstats>,
}

/// What was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub(crate) memory: Memory,
    /// The number of the last call that waits for an answer.
    pub(crate) last_call: Option<u64>,
}

impl MemorySource {
    /// `last`: what was read of `meminfo`.
    pub(crate) fn new(
        meminfo: Meminfo,
        last: Memory,
        beside: Beside,
        notifier: Option<Notifier>,
    ) -> Self {
        let paths = Paths {
            meminfo: meminfo.path().into(),
            zoneinfo: beside
                .zoneinfo
                .as_ref()
                .map(|zoneinfo| zoneinfo.path().into()),
            notifier: notifier.as_ref().map(|notifier| notifier.path().into()),
        };
        Self {
            meminfo,
            beside,
            notifier,
            scope: None,
            rest: last,
            answered: 0,
            lost: None,
            retry: None,
            paths,
        }
    }

    /// The memory of `scope` alone, where that is given.
    pub(crate) fn within(self, scope: Option<CgroupMemory>) -> Self {
        Self { scope, ..self }
    }

    /// The cgroup that is guarded, where it is not the machine.
    pub(crate) fn scope(&self) -> Option<&Cgroup> {
        self.scope.as_ref().map(CgroupMemory::cgroup)
    }

    /// Whether it is of the container that we are in, by what stands in for meminfo.
    pub(crate) fn is_containers(&self) -> bool {
        self.meminfo.is_containers()
    }

    /// Why that has no limit of its own, nor one above it, where it was read last.
    pub(crate) fn lacks_limit(&self) -> Option<CgroupError> {
        self.scope.as_ref()?.checked().err()
    }

    /// How many processes the kernel has killed in that since this was last asked.
    pub(crate) fn new_kills(&mut self) -> u64 {
        self.scope.as_mut().map_or(0, CgroupMemory::new_kills)
    }

    /// The module cannot be listened to yet, and is tried again.
    pub(crate) fn listen_later(&mut self, retry: ListenRetry) {
        self.retry = Some(retry);
    }

    /// Becomes the module's listener where it was not loaded or another process was:
    /// what it listens to, if it has just become that.
    ///
    /// # Errors
    ///
    /// It cannot, for another reason, and is not tried again.
    pub(crate) fn listen_again(&mut self, now: Moment) -> Result<Option<ListenTarget>, ReadError> {
        let Some(retry) = self.retry.take_if(|retry| retry.next <= now) else {
            return Ok(None);
        };
        let rest = match retry.target.listen() {
            Ok(Some(notifier)) => {
                self.paths.notifier = Some(notifier.path().into());
                self.notifier = Some(notifier);
                return Ok(Some(retry.target));
            }
            Ok(None) => LOAD_REST,
            Err(err) if is_busy(&err) => BUSY_REST,
            Err(err) => return Err(err),
        };
        self.retry = Some(ListenRetry {
            target: retry.target,
            next: now + rest,
        });
        Ok(None)
    }

    /// Has the module wake us at the levels of `target`, or of its listener once
    /// that is us.
    ///
    /// # Errors
    ///
    /// It refuses them.
    pub(crate) fn wake_at(&mut self, target: ListenTarget) -> Result<(), ReadError> {
        match (&mut self.retry, &self.notifier) {
            (Some(retry), _) => retry.target = target,
            (None, Some(_)) => target.set_levels()?,
            (None, None) => {}
        }
        Ok(())
    }

    /// How long until it is worth trying again to listen.
    pub(crate) fn rest_before_listening(&self, now: Moment) -> Duration {
        let retry = self.retry.as_ref();
        retry.map_or(Duration::MAX, |retry| retry.next.since(now))
    }

    /// As it was when it was last read whole.
    pub(crate) fn last(&self) -> Memory {
        self.rest
    }

    /// What becomes ready (POLLPRI) when the module has something to say.
    pub(crate) fn notifier(&self) -> Option<BorrowedFd<'_>> {
        self.notifier.as_ref().map(AsFd::as_fd)
    }

    /// Closes the module's file; meminfo is read instead.
    pub(crate) fn do_without_notifier(&mut self) {
        self.notifier = None;
    }

    /// Reads how much there is: one read on a kept descriptor. Where the module
    /// is silent about that or cannot be believed, another one, of meminfo.
    ///
    /// # Errors
    ///
    /// Meminfo cannot be read.
    pub(crate) fn read(&mut self) -> Result<Sight, ReadError> {
        let notified = match self.notifier.as_mut().map(Notifier::read) {
            Some(Ok(notified)) => Some(notified),
            Some(Err(err)) => {
                self.notifier = None;
                self.lost = Some(err);
                None
            }
            None => None,
        };
        let last_call = notified.and_then(|notified| self.unanswered(&notified));
        // Both ask the same function of the kernel's: where meminfo's answer is
        // overruled, the module's needs to be.
        let believed = notified.filter(|_| !self.meminfo.overrules_available());
        if let Some(mut memory) = believed.and_then(|notified| notified.updated(self.rest)) {
            self.count_zram(&mut memory);
            return Ok(Sight { memory, last_call });
        }
        match self.read_whole() {
            Ok(memory) => self.take(memory),
            // The call is answered by what is held, whatever memory is left.
            Err(_) if last_call.is_some() => {}
            Err(err) => return Err(err),
        }
        Ok(Sight {
            memory: self.rest,
            last_call,
        })
    }

    fn read_whole(&mut self) -> Result<Memory, ReadError> {
        let machine = self.meminfo.read()?;
        match &mut self.scope {
            Some(scope) => scope.read(&machine),
            None => Ok(machine),
        }
    }

    /// Something that was implausible in what was read, and the file; each once.
    pub(crate) fn next_implausible(&mut self) -> Option<(Arc<Path>, Implausible)> {
        let Paths {
            meminfo,
            zoneinfo,
            notifier,
        } = &self.paths;
        if let Some(found) = self.meminfo.next_implausible() {
            return Some((Arc::clone(meminfo), found));
        }
        let zoneinfo_read = self.beside.zoneinfo.as_mut();
        if let Some(found) = zoneinfo_read.and_then(Zoneinfo::next_implausible) {
            return Some((Arc::clone(zoneinfo.as_ref()?), found));
        }
        if let Some(found) = self.scope.as_mut().and_then(CgroupMemory::next_implausible) {
            return Some(found);
        }
        let found = self
            .notifier
            .as_mut()
            .and_then(Notifier::next_implausible)?;
        Some((Arc::clone(notifier.as_ref()?), found))
    }

    /// Why the module is not read any longer; once.
    pub(crate) fn lost_module(&mut self) -> Option<ReadError> {
        self.lost.take()
    }

    /// Counts the free pages in the lists of each CPU as available, if the kernel
    /// can take them back. Not for a last call: it has done so, or could not.
    ///
    /// # Errors
    ///
    /// They could not be read, and nothing was added.
    pub(crate) fn add_per_cpu(&mut self, memory: &mut Memory) -> Result<(), ReadError> {
        if let Some(zoneinfo) = &mut self.beside.zoneinfo {
            let bytes = zoneinfo.per_cpu_bytes(memory.free_swap_bytes() > 0)?;
            let more = memory.available_bytes.saturating_add(bytes);
            memory.available_bytes = more.min(memory.usable_bytes());
        }
        Ok(())
    }

    /// Reads what the swap cache holds, which the module does not say. It counts only
    /// where something is paused; 0 where it cannot be read.
    pub(crate) fn find_swap_cached(&mut self, memory: &mut Memory) {
        if self.notifier.is_some() {
            let whole = self.meminfo.read();
            memory.swap_cached_bytes = whole.map_or(0, |whole| whole.swap_cached_bytes);
        }
    }

    /// Counts what the cache of ZFS can shrink by as available. Not for a last
    /// call: it did not shrink then.
    ///
    /// # Errors
    ///
    /// It could not be read, and nothing was added.
    pub(crate) fn add_arc(&mut self, memory: &mut Memory) -> Result<(), ReadError> {
        if let Some(arcstats) = &mut self.beside.arcstats {
            memory.available_bytes += arcstats.shrinkable_bytes(memory)?;
        }
        Ok(())
    }

    /// Reads what the free swap in zram is worth, for `memory` and those read
    /// from now on.
    ///
    /// # Errors
    ///
    /// Not all of it could be read.
    pub(crate) fn measure_zram(&mut self, memory: &mut Memory) -> Result<(), ReadError> {
        let measured = self.beside.zram.as_mut().map(Zram::measure);
        self.count_zram(memory);
        measured.unwrap_or(Ok(()))
    }

    /// As it was measured last.
    fn count_zram(&self, memory: &mut Memory) {
        if let Some(zram) = &self.beside.zram {
            zram.count(memory);
        }
    }

    fn take(&mut self, mut memory: Memory) {
        self.count_zram(&mut memory);
        self.rest = memory;
    }

    fn unanswered(&self, notified: &Notified) -> Option<u64> {
        let calls = notified.level == Some(NotifierLevel::LastCall);
        notified
            .sequence
            .filter(|&sequence| calls && sequence != self.answered)
    }

    /// Reads what the module does not say; for quiet rounds.
    pub(crate) fn refresh(&mut self) {
        if let Ok(memory) = self.read_whole() {
            self.take(memory);
        }
        if let Some(zram) = &mut self.beside.zram {
            zram.refresh();
        }
    }

    /// Claims a last call, so that nothing is killed for one that is over.
    /// Whether it still waits.
    pub(crate) fn claim(&self, sequence: u64) -> bool {
        let claimed = self
            .notifier
            .as_ref()
            .map(|notifier| notifier.claim(sequence));
        !matches!(claimed, Some(Err(Errno::TIME | Errno::STALE)))
    }

    /// Tells the kernel that memory will come. One that has not waited for that
    /// goes on without.
    pub(crate) fn answer(&mut self, sequence: u64) {
        self.answered = sequence;
        if let Some(notifier) = &self.notifier {
            let _ = notifier.answer(sequence);
        }
    }

    /// Tells the kernel that none will come.
    pub(crate) fn decline(&mut self, sequence: u64) {
        self.answered = sequence;
        if let Some(notifier) = &self.notifier {
            let _ = notifier.decline(sequence);
        }
    }
}

/// Between two tries to listen where another process does.
const BUSY_REST: Duration = Duration::from_secs(2);

/// The same where the module is not loaded.
const LOAD_REST: Duration = Duration::from_secs(30);

/// The module, and what it is to be told by its listener.
#[derive(Clone, Debug)]
pub(crate) struct ListenTarget {
    path: PathBuf,
    parameters: NotifierParameters,
    warn: Percentages,
    kill: Percentages,
}

impl ListenTarget {
    /// `settings` in whole percent, rounded up: the module only wakes us, the
    /// level is our own.
    pub(crate) fn new(
        path: PathBuf,
        parameters: NotifierParameters,
        settings: &Settings,
        memory: &Memory,
    ) -> Self {
        let base_bytes = memory.usable_bytes();
        let percentages = |floor: Floor| Percentages {
            memory: whole_percent(floor.memory, base_bytes).max(SHORT_PERCENT),
            swap: whole_percent(floor.swap, memory.swap_total_bytes),
        };
        Self {
            path,
            parameters,
            warn: percentages(settings.warn),
            kill: percentages(settings.kill),
        }
    }

    /// Becomes the listener, and has the module wake us at our levels; `None`
    /// where it is not loaded.
    ///
    /// # Errors
    ///
    /// It cannot be opened (see [`is_busy`]).
    pub(crate) fn listen(&self) -> Result<Option<Notifier>, ReadError> {
        let notifier = Notifier::open(&self.path)?;
        // They only wake us: it asks all the same.
        if notifier.is_some()
            && let Err(err) = self.set_levels()
        {
            log::warn!(
                "the levels of memory_info.ko stay what they were: {}",
                chain(&err)
            );
        }
        Ok(notifier)
    }

    /// How long a last call waits for each step of the answer.
    ///
    /// # Errors
    ///
    /// The module is not loaded, or its parameter makes no sense.
    pub(crate) fn grace(&self) -> Result<Duration, ReadError> {
        self.parameters.grace_millis().map(Duration::from_millis)
    }

    fn set_levels(&self) -> Result<(), ReadError> {
        self.parameters.set_levels(self.warn, self.kill)
    }

    /// Which process listens instead of us.
    pub(crate) fn holder(&self) -> String {
        let Some(pid) = Notifier::listener(&self.path) else {
            return "another process".to_owned();
        };
        // The module's file is beside the processes' directories.
        match fs::read_to_string(self.path.with_file_name(format!("{pid}/comm"))) {
            Ok(comm) => format!("process {pid} ({})", comm.trim_end()),
            Err(_) => format!("process {pid}"),
        }
    }
}

/// The module, which is not loaded yet, or to which another process listens.
#[derive(Debug)]
pub(crate) struct ListenRetry {
    target: ListenTarget,
    next: Moment,
}

impl ListenRetry {
    pub(crate) fn of(target: ListenTarget) -> Self {
        Self {
            target,
            next: Moment::ORIGIN,
        }
    }
}

/// Whether another process listens.
pub(crate) fn is_busy(err: &ReadError) -> bool {
    let busy = Some(Errno::BUSY.raw_os_error());
    matches!(err, ReadError::Open { source, .. } if source.raw_os_error() == busy)
}

/// Above its kill level the module takes a call of the kernel's for a special
/// case (one NUMA node, one cpuset) and does not ask, so that is never set
/// lower than this.
const SHORT_PERCENT: u8 = 5;

fn whole_percent(amount: Amount, total_bytes: u64) -> u8 {
    let percent = match amount {
        Amount::PartsPerMillion(parts) => u64::from(parts).div_ceil(10_000),
        // Without swap its level is met whatever it is.
        Amount::Bytes(_) if total_bytes == 0 => 100,
        Amount::Bytes(bytes) => {
            let hundredfold = u128::from(bytes) * 100;
            u64::try_from(hundredfold.div_ceil(u128::from(total_bytes))).unwrap_or(100)
        }
        Amount::LowerOf {
            parts_per_million,
            bytes,
        } => {
            let parts = whole_percent(Amount::PartsPerMillion(parts_per_million), total_bytes);
            return parts.min(whole_percent(Amount::Bytes(bytes), total_bytes));
        }
    };
    u8::try_from(percent.min(100)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use oom_policy::{Action, Effect, Effects, Event};

    use super::*;
    use crate::rehearsal::{made_up, show};
    use crate::stand_in::{at, guard};

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
            swap_cached_bytes: 0,
            anon_bytes: 700 * MIB,
            shmem_bytes: 30 * MIB,
            unreclaimable_slab_bytes: 50 * MIB,
            ..Memory::default()
        };
        let notified = Notified {
            level: Some(NotifierLevel::Warn),
            total_bytes: Some(by_meminfo.total_bytes),
            available_bytes: Some(by_meminfo.available_bytes),
            hugetlb_bytes: Some(by_meminfo.hugetlb_bytes),
            swap_total_bytes: Some(by_meminfo.swap_total_bytes),
            swap_free_bytes: Some(by_meminfo.swap_free_bytes),
            sequence: Some(3),
        };
        // What the module does not say was read in a quiet round, when other
        // things were otherwise.
        let by_module = notified.updated(Memory {
            available_bytes: 900 * MIB,
            swap_free_bytes: 500 * MIB,
            ..by_meminfo
        });
        let by_module = by_module.expect("the module says what is available");
        assert_eq!(by_module, by_meminfo);

        let decide = |memory| {
            let mut guard = guard();
            let mut effects = Effects::default();
            let now = at(Duration::from_secs(1));
            show(&mut guard, now, memory, &made_up(64), &mut effects);
            let need_bytes = guard.decision().need_bytes;
            let mut actions: Vec<Action> = Vec::new();
            while let Some(effect) = effects.next() {
                if let Effect::Act(action) = effect {
                    actions.push(action);
                    let Some((id, _)) = action.ends() else {
                        panic!("nothing here may be paused: {action:?}");
                    };
                    guard.handle(now, Event::Sent(id), &mut effects);
                }
            }
            (need_bytes, actions)
        };
        assert_eq!(decide(by_module), decide(by_meminfo));
        assert!(!decide(by_module).1.is_empty());
    }

    const MEMINFO: &str = "MemTotal: 4096000 kB\nMemAvailable: 1024000 kB\n";

    fn told(source: &mut MemorySource) -> Vec<String> {
        std::iter::from_fn(|| source.next_implausible())
            .map(|(path, found)| format!("{}{found}", path.file_name().unwrap().display()))
            .collect()
    }

    /// What is available of 1000 MiB and `count` pages in the lists of CPUs.
    fn available_with(count: &str) -> (u64, Vec<String>) {
        available_of(MEMINFO, &format!(" count: {count}\n count: 7\n"))
    }

    /// What is available by that meminfo and that zone.
    fn available_of(meminfo: &str, zone: &str) -> (u64, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let write = |name, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let zoneinfo = format!("Node 0, zone Normal\n{zone}");
        let mut meminfo = Meminfo::open(&write("meminfo", meminfo)).unwrap();
        let last = meminfo.read().unwrap();
        let zoneinfo = Zoneinfo::open(&write("zoneinfo", &zoneinfo)).unwrap();
        let beside = Beside {
            zoneinfo: Some(zoneinfo),
            ..Beside::default()
        };
        let mut source = MemorySource::new(meminfo, last, beside, None);
        let mut memory = source.read().unwrap().memory;
        source.add_per_cpu(&mut memory).unwrap();
        (memory.available_bytes, told(&mut source))
    }

    #[test]
    fn what_was_freed_and_waits_in_a_cpus_list_is_available() {
        let page_bytes = rustix::param::page_size() as u64;
        let (available_bytes, told) = available_with("12000");
        assert_eq!(available_bytes, (1_024_000 << 10) + 12_007 * page_bytes);
        assert_eq!(told, [""; 0]);
    }

    #[test]
    fn without_files_it_is_only_with_free_swap() {
        let page_bytes = rustix::param::page_size() as u64;
        for (swap, pages) in [
            ("", 0),
            ("SwapTotal: 4096 kB\nSwapFree: 0 kB\n", 0),
            ("SwapTotal: 4096 kB\nSwapFree: 4 kB\n", 12_000),
        ] {
            let meminfo = MEMINFO.to_owned() + swap;
            let zone = " nr_zone_inactive_file 0\n nr_zone_active_file 7\n count: 12000\n";
            let want = (1_024_000 << 10) + pages * page_bytes;
            assert_eq!(available_of(&meminfo, zone).0, want, "{swap}");
        }
    }

    #[test]
    fn lists_that_make_no_sense_are_told_and_not_counted() {
        let page_bytes = rustix::param::page_size() as u64;
        let (available_bytes, told) = available_with("many");
        assert_eq!(available_bytes, (1_024_000 << 10) + 7 * page_bytes);
        let want = "zoneinfo, line 2: expected `count: <pages>`, found `many`; ignored";
        assert_eq!(told, [want]);
    }

    #[test]
    fn what_swap_in_zram_takes_of_memory_is_counted_by_meminfo_and_by_the_module() {
        const MIB: u64 = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let swap = "SwapTotal: 1024000 kB\nSwapFree: 614400 kB\n";
        let path = write("meminfo", &(MEMINFO.to_owned() + swap));
        let swaps = write("swaps", "\n/dev/zram0 partition 1024000 409600 100\n");
        let mm_stat = |used: u64| {
            let text = format!("{} 1 {} 0 0\n", 400 * MIB, used * MIB);
            write("zram0/mm_stat", &text);
        };
        let module = write(
            "oom_notifier",
            "3\nMemTotalBytes: 4194304000\nMemAvailableBytes: 524288000\nHugetlbBytes: 0\n\
             SwapTotalBytes: 1048576000\nSwapFreeBytes: 629145600\nSequence: 3\n",
        );
        mm_stat(400);
        for notifier in [None, Notifier::open(&module).unwrap()] {
            let mut meminfo = Meminfo::open(&path).unwrap();
            let last = meminfo.read().unwrap();
            let beside = Beside {
                zram: Zram::open(&swaps, folder.path()).ok(),
                ..Beside::default()
            };
            let mut source = MemorySource::new(meminfo, last, beside, notifier);
            let mut memory = source.read().unwrap().memory;
            source.measure_zram(&mut memory).unwrap();
            assert_eq!(memory.swap_free_bytes, 600 * MIB);
            assert!(memory.free_swap_bytes() < 25 * MIB, "{memory:?}");
            // What is read next, at a last call too, has what was measured last.
            assert_eq!(
                source.read().unwrap().memory.free_swap_bytes(),
                memory.free_swap_bytes()
            );
        }
    }

    /// The module cannot read meminfo, as on a kernel that it does not know.
    #[test]
    fn where_the_module_does_not_know_swap_that_is_read_anew_of_meminfo() {
        const MIB: u64 = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let swap = |free_mib: u64| {
            let swap = format!(
                "Hugetlb: 2048 kB\nSwapTotal: 1024000 kB\nSwapFree: {} kB\n",
                free_mib << 10
            );
            write("meminfo", &(MEMINFO.to_owned() + &swap))
        };
        let path = swap(900);
        for said in [
            "SwapFreeBytes: 734003200\n",
            "HugetlbBytes: 0\nSwapTotalBytes: 0\nSwapFreeBytes: 734003200\n",
        ] {
            let text = format!("2\nMemTotalBytes: 4194304000\nMemAvailableBytes: 4096\n{said}");
            let module = Notifier::open(&write("oom_notifier", &text)).unwrap();
            swap(900);
            let mut meminfo = Meminfo::open(&path).unwrap();
            let last = meminfo.read().unwrap();
            let mut source = MemorySource::new(meminfo, last, Beside::default(), module);
            swap(700);
            let memory = source.read().unwrap().memory;
            assert_eq!(memory.swap_total_bytes, 1000 * MIB, "{said}");
            assert_eq!(memory.swap_free_bytes, 700 * MIB, "{said}");
            assert_eq!(memory.hugetlb_bytes, 2 * MIB, "{said}");
        }
    }

    #[test]
    fn the_swap_cache_is_found_beside_the_module_as_without() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let cached = "AnonPages: 400000 kB\nShmem: 20000 kB\nActive(anon): 20000 kB\n\
                      Inactive(anon): 800000 kB\nSwapTotal: 1024000 kB\nSwapFree: 614400 kB\n\
                      SwapCached: 409600 kB\n";
        let path = write("meminfo", &(MEMINFO.to_owned() + cached));
        let module = write("oom_notifier", "3\nMemAvailableBytes: 524288000\n");
        let found = |notifier| {
            let mut meminfo = Meminfo::open(&path).unwrap();
            let last = meminfo.read().unwrap();
            let mut source = MemorySource::new(meminfo, last, Beside::default(), notifier);
            let mut memory = source.read().unwrap().memory;
            source.find_swap_cached(&mut memory);
            memory.swap_cached_bytes
        };
        assert_eq!(found(None), 400_000 << 10);
        assert_eq!(found(Notifier::open(&module).unwrap()), 400_000 << 10);
    }

    #[test]
    fn what_the_cache_of_zfs_can_shrink_by_is_available_and_junk_costs_that_alone() {
        const MIB: u64 = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meminfo");
        std::fs::write(&path, MEMINFO).unwrap();
        let available = |size: &str| {
            let arcstats = folder.path().join("arcstats");
            std::fs::write(&arcstats, format!("c_min 4 104857600\nsize 4 {size}\n")).unwrap();
            let mut meminfo = Meminfo::open(&path).unwrap();
            let last = meminfo.read().unwrap();
            let beside = Beside {
                arcstats: Arcstats::open(&arcstats).ok(),
                ..Beside::default()
            };
            let mut source = MemorySource::new(meminfo, last, beside, None);
            let mut memory = source.read().unwrap().memory;
            let counted = source.add_arc(&mut memory);
            (memory.available_bytes / MIB, counted.is_ok())
        };
        assert_eq!(available("629145600"), (1500, true));
        for junk in ["-1", "18446744073709551615", "4194304001", "many"] {
            assert_eq!(available(junk), (1000, false), "{junk}");
        }
    }

    /// A module's file beside a meminfo, and what is made of both.
    #[track_caller]
    fn check_module(meminfo: &str, module: &str, want_available_kib: u64, want_told: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meminfo");
        std::fs::write(&path, meminfo).unwrap();
        let mut meminfo = Meminfo::open(&path).unwrap();
        let last = meminfo.read().unwrap();
        let path = folder.path().join("oom_notifier");
        std::fs::write(&path, module).unwrap();
        let notifier = Notifier::open(&path).unwrap();
        let mut source = MemorySource::new(meminfo, last, Beside::default(), notifier);
        let sight = source.read().unwrap();
        assert_eq!(sight.memory.available_bytes, want_available_kib << 10);
        assert_eq!(sight.last_call, Some(3));
        let told = told(&mut source);
        assert_eq!(told.len(), want_told.len(), "{told:#?}");
        for (told, want) in told.iter().zip(want_told) {
            assert!(told.contains(want), "{told}");
        }
    }

    #[test]
    fn where_the_module_makes_no_sense_meminfo_is_read_and_its_calls_are_answered() {
        let module = |available| {
            format!(
                "3\nMemTotalBytes: 4194304000\nMemAvailableBytes: {available}\nHugetlbBytes: 0\n\
                 SwapTotalBytes: 0\nSwapFreeBytes: 0\nSequence: 3\n"
            )
        };
        check_module(MEMINFO, &module("524288000"), 512_000, &[]);
        check_module(
            MEMINFO,
            &module("18446744073709551411"),
            1_024_000,
            &["oom_notifier, line 3: MemAvailableBytes cannot be"],
        );
        // The module asks the same function of the kernel's.
        check_module(
            "MemTotal: 4096000 kB\nMemFree: 2048000 kB\nMemAvailable: 0 kB\n",
            &module("0"),
            2_048_000,
            &["meminfo, line 3: MemAvailable cannot be 0 kB"],
        );
    }

    /// A module whose file is in `folder`, once that is there.
    fn target_in(folder: &Path) -> ListenTarget {
        ListenTarget {
            path: folder.join("oom_notifier"),
            parameters: NotifierParameters::at(folder.join("parameters")),
            warn: Percentages {
                memory: 12,
                swap: 10,
            },
            kill: Percentages { memory: 6, swap: 5 },
        }
    }

    /// As under a unit of systemd's that has `ProtectKernelTunables=`.
    #[test]
    fn a_module_whose_levels_cannot_be_set_is_listened_to_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let target = target_in(folder.path());
        std::fs::write(&target.path, "0\n").unwrap();
        assert!(target.set_levels().is_err());
        assert!(target.listen().unwrap().is_some());
    }

    #[test]
    fn a_module_that_is_loaded_later_is_listened_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meminfo");
        std::fs::write(&path, MEMINFO).unwrap();
        let mut meminfo = Meminfo::open(&path).unwrap();
        let last = meminfo.read().unwrap();
        let mut source = MemorySource::new(meminfo, last, Beside::default(), None);
        let target = target_in(folder.path());
        source.listen_later(ListenRetry::of(target.clone()));

        let start = at(Duration::from_secs(1));
        assert!(source.listen_again(start).unwrap().is_none());
        assert_eq!(source.rest_before_listening(start), LOAD_REST);
        let parameters = folder.path().join("parameters");
        std::fs::create_dir(&parameters).unwrap();
        std::fs::write(parameters.join("grace_ms"), "2000\n").unwrap();
        std::fs::write(&target.path, "0\n").unwrap();
        assert!(source.listen_again(start).unwrap().is_none(), "too early");

        let found = source.listen_again(start + LOAD_REST).unwrap();
        let grace = found.expect("it is loaded").grace();
        assert_eq!(grace.unwrap(), Duration::from_secs(2));
        assert!(source.notifier().is_some());
        let levels = |name| std::fs::read_to_string(parameters.join(name)).unwrap();
        assert_eq!(levels("warn_percent"), "12,10\n");
        assert_eq!(levels("kill_percent"), "6,5\n");
        assert_eq!(source.rest_before_listening(start), Duration::MAX);
        assert!(
            source
                .listen_again(start + 2 * LOAD_REST)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn the_process_that_listens_instead_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let target = |pid: &str| {
            let target = target_in(folder.path());
            std::fs::write(&target.path, format!("0\nListenerPid: {pid}\n")).unwrap();
            target
        };
        std::fs::create_dir(folder.path().join("812")).unwrap();
        std::fs::write(folder.path().join("812/comm"), "other\n").unwrap();
        assert_eq!(target("812").holder(), "process 812 (other)");
        assert_eq!(target("813").holder(), "process 813");
        assert_eq!(target("0").holder(), "another process");
    }

    #[test]
    fn only_a_file_that_another_has_open_is_tried_again() {
        let refused = |errno: Errno| ReadError::Open {
            path: "oom_notifier".into(),
            source: errno.into(),
        };
        assert!(is_busy(&refused(Errno::BUSY)));
        assert!(!is_busy(&refused(Errno::ACCESS)));
    }

    #[test]
    fn the_module_is_set_to_wake_no_later_than_our_own_level() {
        assert_eq!(whole_percent(Amount::PartsPerMillion(100_000), 0), 10);
        assert_eq!(whole_percent(Amount::PartsPerMillion(100_001), 0), 11);
        assert_eq!(whole_percent(Amount::Bytes(1), 1000), 1);
        assert_eq!(whole_percent(Amount::Bytes(u64::MAX), 1000), 100);
        assert_eq!(whole_percent(Amount::Bytes(5), 0), 100);
        let lower = Amount::LowerOf {
            parts_per_million: 100_000,
            bytes: 40,
        };
        assert_eq!(whole_percent(lower, 1000), 4);
        assert_eq!(whole_percent(lower, 200), 10);
    }
}
