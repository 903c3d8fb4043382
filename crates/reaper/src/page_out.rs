//! The thread that pushes the memory of what is paused out to swap.
//!
//! Reading a process's mappings and process_madvise(2) take its mmap lock,
//! which a thread that was stopped, or waits for a silent file server, may hold
//! for ever. So nothing waits for this thread: when it makes no progress it is
//! left behind in its call, and another goes on with the next process.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use model::{Paging, ProcessId, ZRAM_LEAST_GAIN, ZRAM_SAMPLE};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::bell::ring;
use crate::calls::is_missing;
use crate::held::{Held, is_readable};
use crate::process_reader::ProcessReader;

/// As `ps -T` shows it; at most 15 bytes.
const NAME: &str = "oom-pageout";

const STACK_BYTES: usize = 128 * 1024;

/// What is pushed out at most before the disk is looked at again: large enough
/// that it writes in one go.
const CHUNK_BYTES: u64 = 8 << 20;

/// What is pushed out at least: a multiple of every page size.
const SMALLEST_CHUNK_BYTES: u64 = 256 << 10;

/// How long a call is to take. Meanwhile a thaw waits, and the memory of a process
/// that ends stays, which to us looks as if its end had freed nothing. zram
/// compresses within the call.
const CALL: Duration = Duration::from_millis(10);

/// So much may be on its way to the disk: it is not idle meanwhile, and what
/// others read and write does not queue up behind more.
const WRITEBACK_BYTES: u64 = 4 * CHUNK_BYTES;

/// Nothing in the kernel tells when writeback falls, so it is looked at this
/// often, and for so long before the next chunk goes all the same.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const PACE_LIMIT: Duration = Duration::from_secs(2);

/// So much swap is left alone: a daemon that fills it up has made things worse.
const SWAP_LEFT_BYTES: u64 = 64 << 20;
/// Where there is little of it, such a part: less than the guard leaves free by default.
const SWAP_LEFT: u64 = 16;

/// Once [`ZRAM_SAMPLE`] of swap or so much has gone to zram, and zram takes nearly as much
/// of memory as that held before, no more goes there. By then the level counts free swap
/// in zram as worth nothing.
const SMALLEST_SAMPLE_BYTES: u64 = CHUNK_BYTES;

/// A call that takes longer than this waits for a lock. One that has to wait for a
/// slow disk takes a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many threads may be left behind,
const LEFT_BEHIND: usize = 7;
/// and so many for the processes of one user, unless that is root: any user can
/// keep one waiting.
const LEFT_BEHIND_BY_ONE: usize = 2;

/// process_madvise(2), or what stands for it in a test: advises so many bytes
/// from an address on.
pub(crate) type PageOutCall = fn(BorrowedFd<'_>, Range<u64>) -> Result<(), Errno>;

/// What is to be pushed out, and how far that is.
#[derive(Debug)]
pub(crate) struct Job {
    unit: ProcessId,
    /// The leader's user; `None`: not known.
    owner: Option<u32>,
    members: Vec<Held>,
    /// The `memory.reclaim` of the unit's own cgroup.
    reclaim: Option<PathBuf>,
    limit_bytes: u64,
    cancelled: AtomicBool,
    /// How many members were begun with, or `reclaim`: what hung is not begun with again.
    begun: AtomicUsize,
    /// Counts whatever is done: a call that returned is no call that hangs.
    steps: AtomicU64,
    pushed_bytes: AtomicU64,
    is_complete: AtomicBool,
}

impl Job {
    pub(crate) fn new(
        unit: ProcessId,
        owner: Option<u32>,
        members: Vec<Held>,
        reclaim: Option<PathBuf>,
        limit_bytes: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            unit,
            owner,
            members,
            reclaim,
            limit_bytes,
            cancelled: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
            steps: AtomicU64::new(0),
            pushed_bytes: AtomicU64::new(0),
            is_complete: AtomicBool::new(false),
        })
    }

    fn outcome(&self) -> PushedOut {
        PushedOut {
            unit: self.unit,
            bytes: self.pushed_bytes.load(Ordering::Relaxed),
            is_complete: self.is_complete.load(Ordering::Relaxed),
        }
    }
}

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PushedOut {
    pub(crate) unit: ProcessId,
    pub(crate) bytes: u64,
    pub(crate) is_complete: bool,
}

/// The pauser's side of it.
pub(crate) struct PageOut {
    worker: Worker,
    jobs: Option<Sender<Arc<Job>>>,
    done: Receiver<Done>,
    /// What is not done, in order: the first is being worked on,
    waiting: VecDeque<Arc<Job>>,
    /// and had taken so many steps then.
    seen: (u64, Instant),
    /// What is not worked on, or no more.
    given_up: VecDeque<Arc<Job>>,
    left_behind: Vec<LeftBehind>,
}

/// A thread that has made no progress for long, until it ends.
struct LeftBehind {
    number: u32,
    /// For whose processes.
    owner: Option<u32>,
}

/// What a thread has to say.
enum Done {
    Job(Arc<Job>),
    /// The thread of this number has ended.
    Thread(u32),
}

impl PageOut {
    /// Starts the thread; where none can be had, nothing is pushed out. `wake`
    /// is rung when a job is done. `has_memory_of` is where it says which process's
    /// memory it has.
    pub(crate) fn spawn(
        reader: Arc<dyn ProcessReader>,
        call: Option<PageOutCall>,
        wake: OwnedFd,
        has_memory_of: Arc<AtomicU32>,
    ) -> io::Result<Self> {
        let (done_by_worker, done) = mpsc::channel();
        let mut page_out = Self {
            worker: Worker {
                reader,
                call,
                shared: Arc::new(Shared {
                    wake,
                    never: eventfd(0, EventfdFlags::CLOEXEC)?,
                    working: AtomicU32::new(0),
                    has_memory_of,
                }),
                number: 0,
                done: done_by_worker,
            },
            jobs: None,
            done,
            waiting: VecDeque::new(),
            seen: (0, Instant::now()),
            given_up: VecDeque::new(),
            left_behind: Vec::new(),
        };
        page_out.start();
        Ok(page_out)
    }

    /// Has it pushed out.
    pub(crate) fn ask(&mut self, job: Arc<Job>) {
        if self.is_barred(job.owner) {
            self.given_up.push_back(job);
            return;
        }
        if self.waiting.is_empty() {
            self.seen = (0, Instant::now());
        }
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Arc::clone(&job));
        }
        self.waiting.push_back(job);
    }

    /// Ends what is being pushed out of `unit` soon.
    pub(crate) fn cancel(&self, unit: ProcessId) {
        for job in self.waiting.iter().filter(|job| job.unit == unit) {
            job.cancelled.store(true, Ordering::Release);
        }
    }

    /// What is done, one after another.
    pub(crate) fn next_done(&mut self) -> Option<PushedOut> {
        while let Ok(done) = self.done.try_recv() {
            let done = match done {
                Done::Job(job) => job,
                Done::Thread(number) => {
                    self.left_behind.retain(|thread| thread.number != number);
                    if self.jobs.is_none() {
                        self.start();
                    }
                    continue;
                }
            };
            let place = self.waiting.iter().position(|job| Arc::ptr_eq(job, &done));
            // Else it was left behind.
            if let Some(place) = place {
                self.waiting.remove(place);
                self.seen = (0, Instant::now());
                return Some(done.outcome());
            }
        }
        if self.jobs.is_none() {
            self.given_up.append(&mut self.waiting);
        }
        self.given_up.pop_front().map(|job| job.outcome())
    }

    /// Whether too many threads wait for the processes of this user.
    fn is_barred(&self, owner: Option<u32>) -> bool {
        let threads = self.left_behind.iter();
        owner != Some(0)
            && threads.filter(|thread| thread.owner == owner).count() >= LEFT_BEHIND_BY_ONE
    }

    /// Leaves a thread behind that has made no progress for long, and starts
    /// another.
    pub(crate) fn look(&mut self, now: Instant) {
        let Some(first) = self.waiting.front() else {
            return;
        };
        let steps = first.steps.load(Ordering::Relaxed);
        if steps != self.seen.0 {
            self.seen = (steps, now);
        }
        if now.saturating_duration_since(self.seen.1) < PATIENCE {
            return;
        }
        self.seen.1 = now;
        let owner = first.owner;
        self.left_behind.push(LeftBehind {
            number: self.worker.number,
            owner,
        });
        if self.is_barred(owner) {
            let (barred, others) = self
                .waiting
                .drain(..)
                .partition::<VecDeque<_>, _>(|job| job.owner == owner);
            self.given_up.extend(barred);
            self.waiting = others;
        }
        self.worker.number += 1;
        self.start();
    }

    /// Starts a thread, which begins with what waits; where too many are left behind,
    /// none.
    fn start(&mut self) {
        self.jobs = None;
        let working = &self.worker.shared.working;
        working.store(self.worker.number, Ordering::Release);
        if self.left_behind.len() > LEFT_BEHIND {
            return;
        }
        let (jobs, jobs_of_worker) = mpsc::channel();
        let worker = self.worker.clone();
        let spawned = thread::Builder::new()
            .name(NAME.to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || worker.run(&jobs_of_worker));
        if spawned.is_err() {
            return;
        }
        for job in &self.waiting {
            let _ = jobs.send(Arc::clone(job));
        }
        self.jobs = Some(jobs);
    }
}

impl Drop for PageOut {
    /// The thread is not waited for: it ends when it looks up.
    fn drop(&mut self) {
        for job in &self.waiting {
            job.cancelled.store(true, Ordering::Release);
        }
    }
}

struct Shared {
    wake: OwnedFd,
    /// Never readable: what is polled to let time pass.
    never: OwnedFd,
    /// The thread of this number is the one that works.
    working: AtomicU32,
    /// The pid of the process whose memory that has at the moment; 0: of none.
    has_memory_of: Arc<AtomicU32>,
}

/// A thread's side.
#[derive(Clone)]
struct Worker {
    reader: Arc<dyn ProcessReader>,
    /// `None`: the kernel does not let us.
    call: Option<PageOutCall>,
    shared: Arc<Shared>,
    number: u32,
    done: Sender<Done>,
}

/// Why no more is pushed out of a unit.
enum Stop {
    /// All that was asked for is out.
    Enough,
    /// It was thawed, swap is full or gains nothing, or the kernel does not let us.
    Short,
}

impl Worker {
    fn run(self, jobs: &Receiver<Arc<Job>>) {
        self.work(jobs);
        let _ = self.done.send(Done::Thread(self.number));
        ring(self.shared.wake.as_fd());
    }

    fn work(&self, jobs: &Receiver<Arc<Job>>) {
        while let Ok(job) = jobs.recv() {
            let is_complete = match self.push_out(&job) {
                Ok(()) | Err(Stop::Enough) => true,
                Err(Stop::Short) => false,
            };
            if self.is_left_behind() {
                return;
            }
            job.is_complete.store(is_complete, Ordering::Relaxed);
            if self.done.send(Done::Job(job)).is_err() {
                return;
            }
            ring(self.shared.wake.as_fd());
        }
    }

    fn is_left_behind(&self) -> bool {
        self.shared.working.load(Ordering::Acquire) != self.number
    }

    fn push_out(&self, job: &Job) -> Result<(), Stop> {
        let mut pace = Pace::default();
        if let Some(reclaim) = &job.reclaim
            && let Ok(file) = OpenOptions::new().write(true).open(reclaim)
        {
            return match job.begun.fetch_add(1, Ordering::Relaxed) {
                0 => self.reclaim(job, reclaim, &file, &mut pace),
                _ => Err(Stop::Short),
            };
        }
        let Some(call) = self.call else {
            return Err(Stop::Short);
        };
        loop {
            let next = job.begun.fetch_add(1, Ordering::Relaxed);
            let Some(member) = job.members.get(next) else {
                return Ok(());
            };
            self.push_out_process(job, member, call, &mut pace)?;
        }
    }

    fn push_out_process(
        &self,
        job: &Job,
        member: &Held,
        call: PageOutCall,
        pace: &mut Pace,
    ) -> Result<(), Stop> {
        let Some(pidfd) = member.pidfd() else {
            return Err(Stop::Short);
        };
        let pid = member.id().pid;
        let mut ranges = Vec::new();
        let read = self.with_memory_of(pid, || {
            let reader = &self.reader;
            reader.private_ranges(pid, &mut |range| ranges.push(range))
        });
        // Gone, or of another by now, which is not paged out by this pidfd.
        if read.is_err() || member.is_gone() {
            return Ok(());
        }
        let pushed_before = job.pushed_bytes.load(Ordering::Relaxed);
        let mut pushed_bytes = pushed_before;
        let swapped_before = self.swapped_bytes(pid);
        for mut range in ranges {
            while !range.is_empty() {
                self.wait_for_room(job, pace)?;
                if member.is_killed() {
                    return Ok(());
                }
                let left_bytes = job.limit_bytes.saturating_sub(pushed_bytes);
                let chunk = first(&mut range, pace.chunk_bytes(left_bytes));
                let began = Instant::now();
                match self.with_memory_of(pid, || call(pidfd, chunk)) {
                    Err(Errno::SRCH) => return Ok(()),
                    Err(err) if is_missing(Some(err)) => return Err(Stop::Short),
                    // A mapping that is locked, or was there no longer.
                    Ok(()) | Err(_) => {}
                }
                pace.learn(began.elapsed());
                job.steps.fetch_add(1, Ordering::Relaxed);
                let pushed = self.swapped_bytes(pid).saturating_sub(swapped_before);
                pushed_bytes = pushed_before.saturating_add(pushed);
                job.pushed_bytes.store(pushed_bytes, Ordering::Relaxed);
                if pushed_bytes >= job.limit_bytes {
                    return Err(Stop::Enough);
                }
            }
        }
        Ok(())
    }

    /// Does what has the memory of `pid` meanwhile: if that ends, it comes back after this.
    fn with_memory_of<T>(&self, pid: u32, work: impl FnOnce() -> T) -> T {
        let holder = &self.shared.has_memory_of;
        holder.store(pid, Ordering::Release);
        let done = work();
        // Else another thread has some by now.
        let _ = holder.compare_exchange(pid, 0, Ordering::AcqRel, Ordering::Relaxed);
        done
    }

    /// By `memory.reclaim`, which also takes what members share.
    fn reclaim(
        &self,
        job: &Job,
        path: &Path,
        mut file: &File,
        pace: &mut Pace,
    ) -> Result<(), Stop> {
        let swapped_bytes = || -> u64 {
            let in_cgroup = path.parent().map(|path| self.reader.swapped_bytes_in(path));
            let members = job.members.iter().map(|member| member.id().pid);
            let in_members = || members.map(|pid| self.swapped_bytes(pid)).sum();
            in_cgroup.flatten().unwrap_or_else(in_members)
        };
        let before = swapped_bytes();
        loop {
            self.wait_for_room(job, pace)?;
            // EAGAIN: less than that could be reclaimed, so this is all.
            let reclaimed = file.write(CHUNK_BYTES.to_string().as_bytes());
            job.steps.fetch_add(1, Ordering::Relaxed);
            let pushed_bytes = swapped_bytes().saturating_sub(before);
            job.pushed_bytes.store(pushed_bytes, Ordering::Relaxed);
            if reclaimed.is_err() || pushed_bytes >= job.limit_bytes {
                return Err(Stop::Enough);
            }
        }
    }

    /// Waits until the disk has written most of what it was given.
    fn wait_for_room(&self, job: &Job, pace: &mut Pace) -> Result<(), Stop> {
        let began = Instant::now();
        loop {
            job.steps.fetch_add(1, Ordering::Relaxed);
            if job.cancelled.load(Ordering::Acquire) || self.is_left_behind() {
                return Err(Stop::Short);
            }
            let Ok(paging) = self.reader.paging() else {
                return Err(Stop::Short);
            };
            let left_bytes = SWAP_LEFT_BYTES.min(paging.swap_total_bytes / SWAP_LEFT);
            if paging.swap_free_bytes <= left_bytes || pace.gains_nothing(paging) {
                return Err(Stop::Short);
            }
            if paging.writeback_bytes < WRITEBACK_BYTES || began.elapsed() > PACE_LIMIT {
                return Ok(());
            }
            is_readable(self.shared.never.as_fd(), LOOK_AGAIN);
        }
    }

    fn swapped_bytes(&self, pid: u32) -> u64 {
        self.reader.swapped_bytes(pid).ok().flatten().unwrap_or(0)
    }
}

/// How much is pushed out in one call, and what comes of it.
struct Pace {
    bytes: u64,
    /// Before the first call.
    before: Option<Paging>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            bytes: CHUNK_BYTES / 8,
            before: None,
        }
    }
}

impl Pace {
    /// Of the `left_bytes` that are asked for.
    fn chunk_bytes(&self, left_bytes: u64) -> u64 {
        let left_bytes = left_bytes
            .checked_next_multiple_of(SMALLEST_CHUNK_BYTES)
            .unwrap_or(u64::MAX);
        self.bytes.min(left_bytes).max(SMALLEST_CHUNK_BYTES)
    }

    /// Whether zram has taken nearly as much memory since the first `paging` as it
    /// was given, others' included.
    fn gains_nothing(&mut self, paging: Paging) -> bool {
        let before = self.before.get_or_insert(paging);
        let stored = paging.in_zram_bytes.saturating_sub(before.in_zram_bytes);
        let taken = paging.zram_bytes.saturating_sub(before.zram_bytes);
        let sample = (paging.swap_total_bytes / ZRAM_SAMPLE).max(SMALLEST_SAMPLE_BYTES);
        stored >= sample && stored.saturating_sub(taken) < stored / ZRAM_LEAST_GAIN
    }

    /// A call took so long.
    fn learn(&mut self, took: Duration) {
        if took > CALL {
            self.bytes = (self.bytes / 2).max(SMALLEST_CHUNK_BYTES);
        } else if took < CALL / 4 {
            self.bytes = (self.bytes * 2).min(CHUNK_BYTES);
        }
    }
}

/// Takes as much off the front of `range`.
fn first(range: &mut Range<u64>, bytes: u64) -> Range<u64> {
    let end = range.start.saturating_add(bytes).min(range.end);
    let first = range.start..end;
    range.start = end;
    first
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::OpenOptionsExt;
    use std::process::{Child, Command, Stdio};

    use model::RunState;
    use rustix::fs::{CWD, Mode, OFlags, mkfifoat};
    use tempfile::TempDir;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Whose processes have one mapping of two chunks each.
    struct Machine {
        paging: Paging,
        swapped_bytes: fn() -> u64,
        swapped_bytes_in: fn() -> Option<u64>,
    }

    impl ProcessReader for Machine {
        fn proc_root(&self) -> &Path {
            Path::new("")
        }

        fn state(&self, _: u32) -> io::Result<Option<(u64, RunState)>> {
            Ok(None)
        }

        fn owner(&self, _: u32) -> io::Result<Option<u32>> {
            Ok(None)
        }

        fn stop_is_answered(&self, _: u32) -> io::Result<bool> {
            Ok(false)
        }

        fn first_thread_has_ended(&self, _: u32) -> io::Result<bool> {
            Ok(false)
        }

        fn children(&self, _: &[u32], _: &mut dyn FnMut(ProcessId)) -> io::Result<()> {
            Ok(())
        }

        fn cgroup(&self, _: u32) -> io::Result<Option<PathBuf>> {
            Ok(None)
        }

        fn processes_below(&self, _: &Path, _: &mut dyn FnMut(u32)) -> io::Result<()> {
            Ok(())
        }

        fn says_frozen(&self, _: &[u8]) -> bool {
            false
        }

        fn swapped_bytes(&self, _: u32) -> io::Result<Option<u64>> {
            Ok(Some((self.swapped_bytes)()))
        }

        fn swapped_bytes_in(&self, _: &Path) -> Option<u64> {
            (self.swapped_bytes_in)()
        }

        fn private_ranges(&self, _: u32, each: &mut dyn FnMut(Range<u64>)) -> io::Result<()> {
            each(0..2 * CHUNK_BYTES);
            Ok(())
        }

        fn paging(&self) -> io::Result<Paging> {
            Ok(self.paging)
        }
    }

    /// A child that waits, killed when dropped.
    struct Waiter(Child);

    impl Waiter {
        fn new() -> Self {
            Self(Command::new("cat").stdin(Stdio::piped()).spawn().unwrap())
        }

        fn held(&self) -> Held {
            let id = ProcessId {
                pid: self.0.id(),
                start_ticks: 0,
            };
            Held::hold(id, |_| Ok(Some(0))).unwrap().unwrap()
        }
    }

    impl Drop for Waiter {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    const UNIT: ProcessId = ProcessId {
        pid: 1,
        start_ticks: 1,
    };

    const ROOT: Option<u32> = Some(0);

    const IDLE: Paging = Paging {
        writeback_bytes: 0,
        swap_total_bytes: 1 << 30,
        swap_free_bytes: 1 << 30,
        in_zram_bytes: 0,
        zram_bytes: 0,
    };

    fn page_out(paging: Paging, swapped_bytes: fn() -> u64, call: PageOutCall) -> PageOut {
        let machine = Machine {
            paging,
            swapped_bytes,
            swapped_bytes_in: || None,
        };
        page_out_of(machine, call)
    }

    fn page_out_of(machine: Machine, call: PageOutCall) -> PageOut {
        let wake = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        PageOut::spawn(Arc::new(machine), Some(call), wake, Arc::default()).unwrap()
    }

    /// Whose memory it has.
    fn holder(page_out: &PageOut) -> u32 {
        page_out.worker.shared.has_memory_of.load(Ordering::SeqCst)
    }

    #[track_caller]
    fn outcome(page_out: &mut PageOut) -> (u64, bool) {
        let began = Instant::now();
        loop {
            if let Some(done) = page_out.next_done() {
                return (done.bytes, done.is_complete);
            }
            assert!(began.elapsed() < LIMIT);
            thread::yield_now();
        }
    }

    fn no_swap() -> u64 {
        0
    }

    fn does_nothing(_: BorrowedFd<'_>, _: Range<u64>) -> Result<(), Errno> {
        Ok(())
    }

    #[test]
    fn no_more_is_pushed_out_than_was_asked_for() {
        static PUSHED: AtomicU64 = AtomicU64::new(0);
        fn pushed() -> u64 {
            PUSHED.load(Ordering::SeqCst)
        }
        fn push(_: BorrowedFd<'_>, range: Range<u64>) -> Result<(), Errno> {
            PUSHED.fetch_add(range.end - range.start, Ordering::SeqCst);
            Ok(())
        }

        let waiter = Waiter::new();
        let mut page_out = page_out(IDLE, pushed, push);
        // In whole chunks of the smallest size.
        page_out.ask(Job::new(
            UNIT,
            ROOT,
            vec![waiter.held()],
            None,
            CHUNK_BYTES - 1,
        ));
        assert_eq!(outcome(&mut page_out), (CHUNK_BYTES, true));
        assert_eq!(pushed(), CHUNK_BYTES);
        // All of two, for which more was asked for than there is.
        let members = vec![waiter.held(), waiter.held()];
        page_out.ask(Job::new(UNIT, ROOT, members, None, u64::MAX));
        assert_eq!(outcome(&mut page_out), (4 * CHUNK_BYTES, true));
    }

    #[test]
    fn what_a_cgroup_shares_and_what_is_newborn_in_it_counts_as_pushed_out() {
        static PUSHED: AtomicU64 = AtomicU64::new(0);
        let machine = Machine {
            paging: IDLE,
            swapped_bytes: no_swap,
            swapped_bytes_in: || Some(PUSHED.fetch_add(CHUNK_BYTES, Ordering::SeqCst)),
        };
        let folder = TempDir::new().unwrap();
        let reclaim = folder.path().join("memory.reclaim");
        fs::write(&reclaim, "").unwrap();
        let mut page_out = page_out_of(machine, does_nothing);
        let members = vec![Waiter::new().held()];
        page_out.ask(Job::new(
            UNIT,
            ROOT,
            members,
            Some(reclaim.clone()),
            2 * CHUNK_BYTES,
        ));
        assert_eq!(outcome(&mut page_out), (2 * CHUNK_BYTES, true));
        let asked = CHUNK_BYTES.to_string().repeat(2);
        assert_eq!(fs::read_to_string(reclaim).unwrap(), asked);
    }

    #[test]
    fn slow_calls_are_for_less_and_quick_ones_for_more() {
        let mut pace = Pace::default();
        for _ in 0..10 {
            pace.learn(Duration::ZERO);
        }
        assert_eq!(pace.chunk_bytes(u64::MAX), CHUNK_BYTES);
        assert_eq!(pace.chunk_bytes(CHUNK_BYTES / 2), CHUNK_BYTES / 2);
        pace.learn(2 * CALL);
        assert_eq!(pace.chunk_bytes(u64::MAX), CHUNK_BYTES / 2);
        pace.learn(CALL / 2);
        assert_eq!(pace.chunk_bytes(u64::MAX), CHUNK_BYTES / 2);
        for _ in 0..10 {
            pace.learn(2 * CALL);
        }
        assert_eq!(pace.chunk_bytes(u64::MAX), SMALLEST_CHUNK_BYTES);
        assert_eq!(pace.chunk_bytes(0), SMALLEST_CHUNK_BYTES);
    }

    #[test]
    fn what_does_not_compress_is_not_pushed_out_to_zram_for_long() {
        let gains_nothing = |stored_mib: u64, taken_mib: u64| {
            let before = Paging {
                in_zram_bytes: 100 << 20,
                zram_bytes: 20 << 20,
                ..IDLE
            };
            let mut pace = Pace::default();
            assert!(!pace.gains_nothing(before));
            pace.gains_nothing(Paging {
                in_zram_bytes: before.in_zram_bytes + (stored_mib << 20),
                zram_bytes: before.zram_bytes + (taken_mib << 20),
                ..before
            })
        };
        // A 32nd of 1 GiB.
        assert!(!gains_nothing(31, 31));
        assert!(gains_nothing(32, 32));
        assert!(gains_nothing(32, 33));
        assert!(gains_nothing(32, 29));
        assert!(!gains_nothing(32, 28));
        // On a disk.
        assert!(!gains_nothing(0, 0));
    }

    #[test]
    fn what_is_killed_is_let_go_of_and_its_memory_is_said_to_be_had_until_then() {
        static CALLED_AFTER: AtomicBool = AtomicBool::new(false);
        static KILLED: AtomicBool = AtomicBool::new(false);
        static WAITS: AtomicBool = AtomicBool::new(false);
        /// The first call lasts until the process was sent SIGKILL.
        fn waits(_: BorrowedFd<'_>, _: Range<u64>) -> Result<(), Errno> {
            CALLED_AFTER.fetch_or(KILLED.load(Ordering::SeqCst), Ordering::SeqCst);
            WAITS.store(true, Ordering::SeqCst);
            while !KILLED.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            Ok(())
        }

        let waiter = Waiter::new();
        let held = waiter.held();
        let mut page_out = page_out(IDLE, no_swap, waits);
        page_out.ask(Job::new(UNIT, ROOT, vec![held.clone()], None, u64::MAX));
        while !WAITS.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        assert_eq!(holder(&page_out), held.id().pid);
        held.kill().unwrap();
        KILLED.store(true, Ordering::SeqCst);
        assert_eq!(outcome(&mut page_out), (0, true));
        assert_eq!(holder(&page_out), 0);
        assert!(!CALLED_AFTER.load(Ordering::SeqCst));
    }

    #[test]
    fn where_swap_is_nearly_full_nothing_more_is_pushed_out() {
        let waiter = Waiter::new();
        let full = Paging {
            swap_free_bytes: SWAP_LEFT_BYTES - 1,
            ..IDLE
        };
        let mut page_out = page_out(full, no_swap, |_, _| panic!("it is full"));
        page_out.ask(Job::new(UNIT, ROOT, vec![waiter.held()], None, CHUNK_BYTES));
        assert_eq!(outcome(&mut page_out), (0, false));
    }

    #[test]
    fn of_little_swap_most_is_used() {
        for (swap_free_bytes, is_paged_out) in [((16 << 20) + 1, true), (16 << 20, false)] {
            let waiter = Waiter::new();
            let little = Paging {
                swap_total_bytes: 256 << 20,
                swap_free_bytes,
                ..IDLE
            };
            let mut page_out = page_out(little, no_swap, does_nothing);
            page_out.ask(Job::new(UNIT, ROOT, vec![waiter.held()], None, CHUNK_BYTES));
            assert_eq!(outcome(&mut page_out), (0, is_paged_out));
        }
    }

    #[test]
    fn what_is_not_permitted_is_not_complete() {
        let waiter = Waiter::new();
        let mut page_out = page_out(IDLE, no_swap, |_, _| Err(Errno::PERM));
        page_out.ask(Job::new(UNIT, ROOT, vec![waiter.held()], None, CHUNK_BYTES));
        assert_eq!(outcome(&mut page_out), (0, false));
    }

    #[test]
    fn a_unit_that_is_thawed_is_not_pushed_out_further() {
        let waiter = Waiter::new();
        let busy = Paging {
            writeback_bytes: u64::MAX,
            ..IDLE
        };
        let mut page_out = page_out(busy, no_swap, does_nothing);
        page_out.ask(Job::new(UNIT, ROOT, vec![waiter.held()], None, CHUNK_BYTES));
        page_out.cancel(UNIT);
        assert_eq!(outcome(&mut page_out), (0, false));
    }

    #[test]
    fn a_process_that_never_lets_go_of_its_lock_holds_up_no_other() {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        static ADVISED: AtomicU64 = AtomicU64::new(0);
        /// The first call never returns.
        fn waits_once(_: BorrowedFd<'_>, range: Range<u64>) -> Result<(), Errno> {
            if CALLS.fetch_add(1, Ordering::SeqCst) == 0 {
                loop {
                    thread::park();
                }
            }
            ADVISED.fetch_add(range.end - range.start, Ordering::SeqCst);
            Ok(())
        }

        let waiter = Waiter::new();
        let mut page_out = page_out(IDLE, no_swap, waits_once);
        let members = vec![waiter.held(), waiter.held()];
        page_out.ask(Job::new(UNIT, ROOT, members, None, CHUNK_BYTES));
        while CALLS.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        let now = Instant::now();
        page_out.look(now);
        assert!(page_out.left_behind.is_empty());
        page_out.look(now + PATIENCE);
        assert_eq!(page_out.left_behind.len(), 1);
        // It goes on with the second member.
        assert_eq!(outcome(&mut page_out), (0, true));
        assert_eq!(ADVISED.load(Ordering::SeqCst), 2 * CHUNK_BYTES);
    }

    #[test]
    fn a_cgroup_that_is_not_reclaimed_in_time_is_not_begun_with_again() {
        let folder = TempDir::new().unwrap();
        let reclaim = folder.path().join("memory.reclaim");
        mkfifoat(CWD, &reclaim, Mode::RWXU).unwrap();
        let full = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(&reclaim);
        let mut full = full.unwrap();
        while full.write(&[0]).is_ok() {}
        let mut page_out = page_out(IDLE, no_swap, does_nothing);
        let members = vec![Waiter::new().held()];
        page_out.ask(Job::new(UNIT, ROOT, members, Some(reclaim), CHUNK_BYTES));
        leave_behind(&mut page_out);
        assert_eq!(outcome(&mut page_out), (0, false));
        assert_eq!(page_out.left_behind.len(), 1);
    }

    /// Waits until the thread is within a call for the first that waits, and leaves it
    /// behind.
    fn leave_behind(page_out: &mut PageOut) {
        let first = Arc::clone(page_out.waiting.front().unwrap());
        let (begun, steps) = (&first.begun, &first.steps);
        let before = page_out.left_behind.iter();
        let before = before.filter(|thread| thread.owner == first.owner).count();
        // Each waits for room before its call.
        while begun.load(Ordering::Relaxed) <= before
            || steps.load(Ordering::Relaxed) <= before as u64
        {
            thread::yield_now();
        }
        let now = Instant::now();
        page_out.look(now);
        page_out.look(now + PATIENCE);
    }

    #[test]
    fn after_a_few_threads_that_do_not_come_back_nothing_is_pushed_out_until_one_does() {
        static ARE_HELD: AtomicBool = AtomicBool::new(true);
        fn waits(_: BorrowedFd<'_>, _: Range<u64>) -> Result<(), Errno> {
            while ARE_HELD.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            Ok(())
        }

        let waiter = Waiter::new();
        let mut page_out = page_out(IDLE, no_swap, waits);
        let members = (0..=LEFT_BEHIND).map(|_| waiter.held()).collect();
        page_out.ask(Job::new(UNIT, ROOT, members, None, CHUNK_BYTES));
        for _ in 0..=LEFT_BEHIND {
            leave_behind(&mut page_out);
        }
        assert_eq!(outcome(&mut page_out), (0, false));
        page_out.ask(Job::new(UNIT, ROOT, vec![waiter.held()], None, CHUNK_BYTES));
        assert_eq!(outcome(&mut page_out), (0, false));

        ARE_HELD.store(false, Ordering::SeqCst);
        while !page_out.left_behind.is_empty() {
            assert_eq!(page_out.next_done(), None);
            thread::yield_now();
        }
        page_out.ask(Job::new(UNIT, ROOT, vec![waiter.held()], None, CHUNK_BYTES));
        assert_eq!(outcome(&mut page_out), (0, true));
    }

    #[test]
    fn one_user_cannot_keep_the_memory_of_others_from_being_pushed_out() {
        const ALICE: Option<u32> = Some(1000);
        const BOB: Option<u32> = Some(1001);
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        /// Those for Alice, the first ones, never return.
        fn waits(_: BorrowedFd<'_>, _: Range<u64>) -> Result<(), Errno> {
            if CALLS.fetch_add(1, Ordering::SeqCst) < LEFT_BEHIND_BY_ONE {
                loop {
                    thread::park();
                }
            }
            Ok(())
        }

        let waiter = Waiter::new();
        let mut page_out = page_out(IDLE, no_swap, waits);
        let members = (0..=LEFT_BEHIND).map(|_| waiter.held()).collect();
        page_out.ask(Job::new(UNIT, ALICE, members, None, CHUNK_BYTES));
        let ask_for = |page_out: &mut PageOut, owner| {
            page_out.ask(Job::new(
                UNIT,
                owner,
                vec![waiter.held()],
                None,
                CHUNK_BYTES,
            ));
        };
        ask_for(&mut page_out, ALICE);
        ask_for(&mut page_out, BOB);
        for _ in 0..LEFT_BEHIND_BY_ONE {
            leave_behind(&mut page_out);
        }
        let mut outcomes = [(); 3].map(|()| outcome(&mut page_out));
        outcomes.sort_unstable();
        assert_eq!(outcomes, [(0, false), (0, false), (0, true)]);
        ask_for(&mut page_out, ALICE);
        assert_eq!(outcome(&mut page_out), (0, false));
        assert_eq!(page_out.left_behind.len(), LEFT_BEHIND_BY_ONE);
    }
}
