//! The threads that free a victim's memory at once.
//!
//! process_mrelease(2) takes the victim's mmap lock, and the victim may hold it
//! for as long as it cannot get memory itself, or for ever where it waits for a
//! file server inside mmap(2): the caller hangs with it. So it is called here,
//! on threads that nothing waits for, and on several, so that a victim that
//! keeps one of them holds up none of the others.
//!
//! Victims reach them through a ring made beforehand, with one writer, and an
//! eventfd that wakes one reader for each. A channel of the standard library
//! takes a lock to wake its reader, which the reader may hold when it loses the
//! processor; here the writer does two stores and a write(2), and waits for
//! nothing. The lock by which the readers take turns is theirs alone.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, retry_on_intr};

use crate::bell::{RingsAtEnd, ring};
use crate::calls::{Calls, is_missing, process_mrelease};
use crate::error::ReapError;
use crate::held::{Held, is_readable};

/// How many victims' locks may be waited for while others are served. The
/// memory of those that find no thread comes back when they get to run.
const THREADS: u64 = 3;

/// How many victims may wait: those of one decision, even for a fork bomb.
const QUEUE: usize = 1024;

/// Nothing here nests deeply or keeps a buffer, and with mlockall(2) every page
/// of a stack is resident.
const STACK_BYTES: usize = 64 * 1024;

/// As `ps -T` shows it; at most 15 bytes.
const NAME: &str = "oom-reaper";

/// How often a victim whose memory is busy is tried, and how long it may take
/// to end by itself in between.
const ATTEMPTS: u32 = 10;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(10);

/// How long the end of the threads is waited for.
const FAREWELL: Duration = Duration::from_secs(1);

/// Frees the memory of killed victims, on threads of its own.
///
/// Make it after [`protect_ourselves`] and after signals are blocked: the
/// threads take over their maker's priority and signal mask.
///
/// Dropped, it finishes what waits. If that takes longer than a second (a
/// victim's mmap lock is held), the threads are left behind; each ends when its
/// call returns, at the latest with the process.
///
/// [`protect_ourselves`]: crate::protect_ourselves
#[derive(Debug)]
pub struct Reaper {
    queue: RefCell<Producer<Held>>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What became of all victims so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Their memory was freed.
    pub released: u64,
    /// Their memory was gone before we came to it.
    pub gone: u64,
    /// The kernel would not: part of the memory stayed busy, or a process that
    /// lives has the same.
    pub failed: u64,
    /// There was no room in the queue.
    pub dropped: u64,
}

impl Reaper {
    /// Starts the threads and makes their queue.
    ///
    /// # Errors
    ///
    /// [`ReapError::Spawn`]: no thread or no descriptor could be had.
    pub fn spawn() -> Result<Self, ReapError> {
        Self::spawn_by(Calls::available())
    }

    /// [`Self::spawn`], with no calls but `calls`.
    ///
    /// # Errors
    ///
    /// As [`Self::spawn`].
    pub fn spawn_by(calls: Calls) -> Result<Self, ReapError> {
        let spawned = Self::spawn_with(calls, process_mrelease);
        spawned.map_err(|source| ReapError::Spawn { source })
    }

    fn spawn_with(calls: Calls, mrelease: Mrelease) -> io::Result<Self> {
        let (mut reaper, worker) = Self::without_thread(calls, QUEUE, mrelease)?;
        for number in 0..THREADS {
            let spawned = thread::Builder::new()
                .name(NAME.to_owned())
                .stack_size(STACK_BYTES)
                .spawn({
                    let worker = worker.clone();
                    move || worker.run()
                });
            match spawned {
                Ok(thread) => reaper.threads.push(thread),
                Err(err) if number == 0 => return Err(err),
                // Fewer do as well, until a victim keeps them.
                Err(_) => break,
            }
        }
        Ok(reaper)
    }

    /// Frees a victim's memory soon; returns whether that will be tried. Never
    /// waits, takes no lock, allocates nothing.
    ///
    /// `false`: the queue is full (counted in [`Tally::dropped`]), the kernel
    /// cannot do it ([`Self::missing`]; or the victim has no pidfd), or the
    /// victim was not sent SIGKILL: only a dying process's memory can be freed.
    /// A victim that is dying frees it all the same, once it gets to run.
    pub fn release(&self, victim: &Held) -> bool {
        if self.missing() || victim.pidfd().is_none() || !victim.is_killed() {
            return false;
        }
        // The one writer: only this function borrows, and nothing in it calls
        // back.
        if self.queue.borrow_mut().push(victim.clone()).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        ring(self.shared.wake.as_fd());
        true
    }

    /// Whether the kernel has no process_mrelease(2), or a seccomp filter denies
    /// it; see [`Calls::missing`] for a sentence to say.
    #[must_use]
    pub fn missing(&self) -> bool {
        self.shared.missing.load(Ordering::Relaxed)
    }

    /// What became of all victims so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally {
            released: self.shared.released.load(Ordering::Relaxed),
            gone: self.shared.gone.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
            dropped: self.shared.dropped.load(Ordering::Relaxed),
        }
    }

    fn without_thread(
        calls: Calls,
        capacity: usize,
        mrelease: Mrelease,
    ) -> io::Result<(Self, Worker)> {
        let (producer, consumer) = RingBuffer::new(capacity);
        let shared = Arc::new(Shared {
            // Each reads one of it, so each victim wakes one.
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::SEMAPHORE)?,
            ended: Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?),
            stop: AtomicBool::new(false),
            missing: AtomicBool::new(!calls.process_mrelease),
            released: AtomicU64::new(0),
            gone: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        let reaper = Self {
            queue: RefCell::new(producer),
            shared: Arc::clone(&shared),
            threads: Vec::new(),
        };
        let worker = Worker {
            queue: Arc::new(Mutex::new(consumer)),
            shared,
            mrelease,
        };
        Ok((reaper, worker))
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for _ in &self.threads {
            ring(self.shared.wake.as_fd());
        }
        let began = Instant::now();
        let mut running = self.threads.len();
        while running > 0 {
            let left = FAREWELL.saturating_sub(began.elapsed());
            if !is_readable(self.shared.ended.as_fd(), left) {
                // Some victim's lock is waited for.
                self.threads.clear();
                return;
            }
            let mut count = [0; 8];
            if read(&self.shared.ended, &mut count).is_ok() {
                let ended = usize::try_from(u64::from_ne_bytes(count)).unwrap_or(running);
                running = running.saturating_sub(ended);
            }
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.end();
    }
}

/// process_mrelease(2), or what stands for it in a test.
type Mrelease = fn(BorrowedFd<'_>) -> Result<(), Errno>;

/// What all threads look at.
#[derive(Debug)]
struct Shared {
    /// eventfd(2): there is something to do.
    wake: OwnedFd,
    /// eventfd(2): how many workers have ended.
    ended: Arc<OwnedFd>,
    stop: AtomicBool,
    missing: AtomicBool,
    released: AtomicU64,
    gone: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

/// A thread's side.
#[derive(Clone, Debug)]
struct Worker {
    queue: Arc<Mutex<Consumer<Held>>>,
    shared: Arc<Shared>,
    mrelease: Mrelease,
}

impl Worker {
    fn run(self) {
        let _ended = RingsAtEnd(Arc::clone(&self.shared.ended));
        loop {
            while let Some(victim) = self.next() {
                self.count(release(&victim, self.mrelease));
            }
            // Asked after the queue was seen empty: what was put in before the
            // end is done before the end.
            if self.shared.stop.load(Ordering::Acquire) {
                return;
            }
            let mut count = [0; 8];
            if retry_on_intr(|| read(&self.shared.wake, &mut count)).is_err() {
                return;
            }
        }
    }

    fn next(&self) -> Option<Held> {
        let queue = self.queue.lock();
        queue.unwrap_or_else(PoisonError::into_inner).pop().ok()
    }

    fn count(&self, released: Released) {
        let counter = match released {
            Released::Done => &self.shared.released,
            Released::Gone => &self.shared.gone,
            Released::Failed => &self.shared.failed,
            Released::Missing => {
                self.shared.missing.store(true, Ordering::Relaxed);
                return;
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What became of one victim's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Released {
    Done,
    Gone,
    Failed,
    Missing,
}

/// Calls `mrelease` until it need not be called again.
fn release(
    victim: &Held,
    mut mrelease: impl FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
) -> Released {
    let Some(pidfd) = victim.pidfd() else {
        return Released::Missing;
    };
    for _ in 0..ATTEMPTS {
        match mrelease(pidfd) {
            Ok(()) => return Released::Done,
            Err(Errno::SRCH) => return Released::Gone,
            // Some pages were pinned, or a signal came between: again, unless
            // it ends by itself meanwhile.
            Err(Errno::AGAIN | Errno::INTR) => {
                if is_readable(pidfd, BETWEEN_ATTEMPTS) {
                    return Released::Gone;
                }
            }
            Err(err) if is_missing(Some(err)) => return Released::Missing,
            Err(_) => return Released::Failed,
        }
    }
    Released::Failed
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::process::{Child, Command, Stdio};

    use model::ProcessId;

    use super::*;
    use crate::held::wait_gone;

    /// A victim that was killed and is a zombie, and the child it is; `None`
    /// without pidfds, where there is nothing to release.
    fn killed() -> Option<(Child, Held)> {
        let (child, victim) = living()?;
        victim.kill().unwrap();
        assert!(wait_gone(std::slice::from_ref(&victim), Duration::from_secs(30)).unwrap());
        Some((child, victim))
    }

    fn living() -> Option<(Child, Held)> {
        if !Calls::available().pidfd_open {
            println!("skipped: no pidfd_open here; would run since Linux 5.3");
            return None;
        }
        let child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let id = ProcessId {
            pid: child.id(),
            start_ticks: 0,
        };
        let victim = Held::hold(id, |_| Ok(Some(0))).unwrap().unwrap();
        Some((child, victim))
    }

    #[test]
    fn a_full_queue_drops_and_says_so() {
        let Some((mut child, victim)) = killed() else {
            return;
        };
        let calls = Calls {
            process_mrelease: true,
            ..Calls::available()
        };
        let (reaper, worker) = Reaper::without_thread(calls, 2, process_mrelease).unwrap();
        assert!(reaper.release(&victim));
        assert!(reaper.release(&victim));
        assert!(!reaper.release(&victim));
        assert!(!reaper.release(&victim));
        assert_eq!(reaper.tally().dropped, 2);

        // What waited is done before the end.
        reaper.shared.stop.store(true, Ordering::Release);
        let shared = Arc::clone(&worker.shared);
        worker.run();
        assert!(is_readable(shared.ended.as_fd(), Duration::ZERO));
        if !reaper.missing() {
            assert_eq!(reaper.tally().gone, 2);
        }
        child.wait().unwrap();
    }

    /// What comes of a release whose calls answer one after another as
    /// `answers` say, and how many of them were asked.
    #[track_caller]
    fn check(victim: &Held, answers: &[Result<(), Errno>], want: (Released, usize)) {
        let asked = Cell::new(0);
        let released = release(victim, |_| {
            let answer = answers[asked.get() % answers.len()];
            asked.set(asked.get() + 1);
            answer
        });
        assert_eq!((released, asked.get()), want);
    }

    #[test]
    fn busy_memory_is_tried_again_and_not_for_ever() {
        let Some((mut child, victim)) = living() else {
            return;
        };
        check(&victim, &[Ok(())], (Released::Done, 1));
        let busy = Err(Errno::AGAIN);
        check(&victim, &[busy, busy, Ok(())], (Released::Done, 3));
        check(&victim, &[Err(Errno::INTR), Ok(())], (Released::Done, 2));
        check(&victim, &[busy], (Released::Failed, 10));
        check(&victim, &[Err(Errno::INVAL)], (Released::Failed, 1));
        check(&victim, &[Err(Errno::SRCH)], (Released::Gone, 1));
        check(&victim, &[Err(Errno::NOSYS)], (Released::Missing, 1));
        check(&victim, &[Err(Errno::PERM)], (Released::Missing, 1));
        victim.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_victim_that_ends_while_its_memory_is_busy_is_not_tried_again() {
        let Some((mut child, victim)) = killed() else {
            return;
        };
        check(&victim, &[Err(Errno::AGAIN)], (Released::Gone, 1));
        child.wait().unwrap();
    }

    #[test]
    fn a_call_found_missing_is_not_made_again() {
        let Some((mut child, victim)) = killed() else {
            return;
        };
        let (reaper, worker) = Reaper::without_thread(Calls::ALL, 2, process_mrelease).unwrap();
        worker.count(Released::Missing);
        assert!(reaper.missing());
        assert!(!reaper.release(&victim));
        assert_eq!(reaper.tally(), Tally::default());
        child.wait().unwrap();
    }

    #[test]
    fn a_victim_that_never_lets_go_of_its_lock_holds_up_no_other() {
        /// The first call never returns.
        fn waits_once(_: BorrowedFd<'_>) -> Result<(), Errno> {
            static CALLS: AtomicU64 = AtomicU64::new(0);
            if CALLS.fetch_add(1, Ordering::SeqCst) == 0 {
                loop {
                    thread::park();
                }
            }
            Ok(())
        }

        let Some((mut child, victim)) = killed() else {
            return;
        };
        let calls = Calls {
            process_mrelease: true,
            ..Calls::available()
        };
        let mut reaper = Reaper::spawn_with(calls, waits_once).unwrap();
        for _ in 0..20 {
            assert!(reaper.release(&victim));
        }
        let began = Instant::now();
        while reaper.tally().released < 19 {
            assert!(began.elapsed() < Duration::from_secs(30), "{reaper:?}");
            thread::yield_now();
        }
        // Nor does it hold up the end.
        let began = Instant::now();
        reaper.end();
        assert_eq!(reaper.tally().released, 19);
        assert!(began.elapsed() < Duration::from_secs(30));
        child.wait().unwrap();
    }
}
