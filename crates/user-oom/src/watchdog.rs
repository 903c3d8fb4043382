//! Kills in the loop's place while the loop does not run.
//!
//! After each table the loop leaves its will: what it would kill next, in
//! order, each held by a pidfd. Before it waits it says when it is to come
//! round again, and puts off an alarm until it would be late. A thread beside
//! it sleeps until the alarm; only when the loop is late does it look at
//! memory, with descriptors of its own, and only at the kill threshold does it
//! carry the will out, one place after the other, until there is more memory,
//! the loop is back, or the will is at its end.
//!
//! The loop waits for nothing here: it writes to one of two copies of the will
//! while the thread may read the other, and passes a turn where it cannot.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use oom_policy::{Level, Memory, Settings};
use reaper::Signalled;

use crate::error::errno;
use crate::memory::MemorySource;
use crate::tell::lane::Lane;
use crate::tell::record::{Record, Victim};

/// How late the loop may be.
const PATIENCE: Duration = Duration::from_secs(2);
/// A loop that waits for longer is not waited for: timerfd_settime(2) takes no
/// time beyond what its seconds hold.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// How often memory is looked at while the loop is late.
const LOOK: Duration = Duration::from_millis(100);
/// How long those of one place may take to end,
const DEADLINE: Duration = Duration::from_secs(1);
/// and memory to come back once they are gone.
const SETTLED: Duration = Duration::from_millis(500);
/// Between two looks meanwhile.
const BETWEEN: Duration = Duration::from_millis(20);
/// How many processes a will names at most.
const WILL: usize = 32;
/// Descriptors that are left to all else.
const LEFT: u64 = 64;
/// Lines that wait to be written: a will, and again.
pub(crate) const LINES: usize = 2 * WILL;
/// Nothing here nests deeply or formats, and every page that is touched stays.
const STACK_BYTES: usize = 64 * 1024;

/// One process that the loop would kill.
#[derive(Debug)]
pub(crate) struct Heir {
    pub(crate) held: reaper::Held,
    /// What is printed of it.
    pub(crate) told: Victim,
    /// Those of one place are killed together.
    pub(crate) place: u32,
}

/// What was killed while the loop did not run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Killed {
    /// MemAvailable + SwapFree before the first.
    pub(crate) before_bytes: u64,
    /// Since then.
    pub(crate) ago: Duration,
}

/// The loop's side.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    /// How many kills the loop has taken over.
    known: u32,
    /// 0 where there is no thread.
    room: usize,
}

/// Tells others whether the loop is late.
#[derive(Clone, Debug)]
pub(crate) struct Pulse(Arc<Shared>);

impl Pulse {
    /// It should have come round before now, and still has not.
    pub(crate) fn is_late(&self) -> bool {
        self.0.clock.is_late(self.0.now())
    }
}

#[derive(Debug)]
struct Shared {
    origin: Instant,
    clock: Clock,
    /// `None` where the kernel has none to give.
    alarm: Option<Alarm>,
    wills: [Mutex<Vec<Heir>>; 2],
    /// Which of them counts. The loop writes to the other.
    current: AtomicUsize,
    is_acting: AtomicBool,
    kills: AtomicU32,
    /// MemAvailable + SwapFree before the first of a will was killed,
    before_bytes: AtomicU64,
    /// and when that was.
    began: AtomicU64,
    over: AtomicBool,
}

/// What the loop says of itself, in milliseconds since the origin.
#[derive(Debug, Default)]
struct Clock {
    /// How often it has come round.
    rounds: AtomicU32,
    /// When it last did, or began to wait,
    seen: AtomicU64,
    /// and when it is to come round again.
    due: AtomicU64,
}

impl Clock {
    fn comes_round(&self, now: Duration) {
        self.waits(now, Duration::ZERO);
        self.rounds.fetch_add(1, Ordering::SeqCst);
    }

    fn waits(&self, now: Duration, pause: Duration) {
        self.seen.store(millis(now), Ordering::SeqCst);
        let due = now.saturating_add(pause);
        self.due.store(millis(due), Ordering::SeqCst);
    }

    fn rounds(&self) -> u32 {
        self.rounds.load(Ordering::SeqCst)
    }

    /// For so long there has been no sign of it.
    fn idle(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_millis(self.seen.load(Ordering::SeqCst)))
    }

    fn is_late(&self, now: Duration) -> bool {
        let due = Duration::from_millis(self.due.load(Ordering::SeqCst));
        due.saturating_add(PATIENCE) <= now
    }

    /// What is to be done, if memory is at what `level` says. It is asked only
    /// when that matters. `late_in`: the round in which the loop was late when
    /// this was last asked; what stopped it (SIGSTOP, a frozen cgroup) may have
    /// stopped us as well, and let go of both just now.
    fn duty(
        &self,
        now: Duration,
        late_in: &mut Option<u32>,
        level: impl FnOnce() -> Option<Level>,
    ) -> Duty {
        if !self.is_late(now) {
            return Duty::Sleep;
        }
        let round = self.rounds();
        if late_in.replace(round) != Some(round) {
            return Duty::Look;
        }
        match level() {
            Some(Level::Kill) => Duty::Act,
            Some(Level::Ok | Level::Warn) | None => Duty::Look,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    /// There is nothing to do until the alarm.
    Sleep,
    /// The loop is late, so memory is to be looked at soon.
    Look,
    /// The will is to be carried out.
    Act,
}

/// What wakes the thread: timerfd(2). Putting it off is a system call of a
/// microsecond; a thread that woke to look at the clock cost fifty times that.
#[derive(Debug)]
struct Alarm(TimerFd);

impl Alarm {
    fn new() -> Result<Self, Errno> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map(Self)
    }

    /// Goes off after `wait`, and not at the time set before.
    fn set(&self, wait: Duration) {
        // No time at all would be never.
        let wait = wait.clamp(Duration::from_nanos(1), LONGEST);
        let once = Expiration::OneShot(TimeSpec::from_duration(wait));
        // Fails only where that is no time.
        let _ = self.0.set(once, TimerSetTimeFlags::empty());
    }

    /// Waits until it goes off, no longer than `limit`.
    fn wait(&self, limit: Option<Duration>) {
        let limit = limit.map_or(PollTimeout::NONE, poll_timeout);
        let mut ringing = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ringing, limit).is_ok_and(|count| count > 0) {
            // Does not wait: it may have been put off just now.
            let _ = self.0.wait();
        }
    }
}

impl Watchdog {
    /// Starts the thread, which reads `memory` and tells `lane`, where so many
    /// `descriptors` are enough. Where there can be none, that is said, and
    /// nothing is done for a loop that hangs.
    pub(crate) fn spawn(
        settings: &Arc<Mutex<Settings>>,
        memory: impl FnOnce() -> Option<MemorySource>,
        lane: Lane,
        dryrun: bool,
        descriptors: u64,
    ) -> Self {
        let room = room(descriptors);
        if room == 0 {
            lacks(format_args!(
                "{descriptors} descriptors are too few (raise RLIMIT_NOFILE to {})",
                LEFT + 2 * WILL as u64
            ));
        }
        let shared = Arc::new(Shared {
            origin: Instant::now(),
            clock: Clock::default(),
            alarm: Alarm::new()
                .inspect_err(|errno| lacks(format_args!("no timer: {}", errno.desc())))
                .ok(),
            wills: [(), ()].map(|()| Mutex::new(Vec::with_capacity(WILL))),
            current: AtomicUsize::new(0),
            is_acting: AtomicBool::new(false),
            kills: AtomicU32::new(0),
            before_bytes: AtomicU64::new(0),
            began: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        let memory = match shared.alarm {
            Some(_) if room > 0 => memory(),
            _ => None,
        };
        let thread = memory.and_then(|memory| {
            // Its buffers are large beside the stack that it is moved to.
            let mut dog = Box::new(Dog {
                shared: Arc::clone(&shared),
                latest: Arc::clone(settings),
                settings: settings
                    .lock()
                    .map_or_else(|err| err.into_inner().clone(), |settings| settings.clone()),
                memory,
                lane,
                dryrun,
                late_in: None,
                hang: None,
            });
            thread::Builder::new()
                .name("watchdog".to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || dog.run())
                .inspect_err(|err| lacks(err))
                .ok()
        });
        Self {
            shared,
            room: thread.map_or(0, |_| room),
            known: 0,
        }
    }

    /// For who asks whether the loop is late.
    pub(crate) fn pulse(&self) -> Pulse {
        Pulse(Arc::clone(&self.shared))
    }

    /// How many processes a will may name.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// The loop runs.
    pub(crate) fn comes_round(&self) {
        // First: should the loop hang between the two, it is late by the alarm
        // and by the clock.
        self.shared.put_off(Duration::ZERO);
        self.shared.clock.comes_round(self.shared.now());
    }

    /// The loop is about to wait, and comes round again after `pause` at the
    /// latest.
    pub(crate) fn waits(&self, pause: Duration) {
        self.shared.put_off(pause);
        self.shared.clock.waits(self.shared.now(), pause);
    }

    /// Leaves a new will. Where the thread still reads the one before the last,
    /// the last stays.
    pub(crate) fn leave(&self, will: impl Iterator<Item = Heir>) {
        let other = 1 - self.shared.current.load(Ordering::SeqCst);
        let Ok(mut heirs) = self.shared.wills[other].try_lock() else {
            return;
        };
        heirs.clear();
        heirs.extend(will.take(WILL));
        drop(heirs);
        self.shared.current.store(other, Ordering::SeqCst);
    }

    /// Whether the thread may be at work (it stops as soon as it sees that the
    /// loop runs), or has killed what the loop does not know of.
    pub(crate) fn has_acted(&self) -> bool {
        self.shared.is_acting.load(Ordering::SeqCst)
            || self.shared.kills.load(Ordering::SeqCst) != self.known
    }

    /// The loop takes over what was killed, where anything was.
    pub(crate) fn take_over(&mut self) -> Option<Killed> {
        let kills = self.shared.kills.load(Ordering::SeqCst);
        let is_new = std::mem::replace(&mut self.known, kills) != kills;
        is_new.then(|| {
            let began = Duration::from_millis(self.shared.began.load(Ordering::SeqCst));
            Killed {
                before_bytes: self.shared.before_bytes.load(Ordering::SeqCst),
                ago: self.shared.now().saturating_sub(began),
            }
        })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        if let Some(alarm) = &self.shared.alarm {
            alarm.set(Duration::ZERO);
        }
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// The loop is to come round after `pause`: nothing need be done until it is
    /// late.
    fn put_off(&self, pause: Duration) {
        if let Some(alarm) = &self.alarm {
            alarm.set(pause.saturating_add(PATIENCE));
        }
    }

    /// Rests until the alarm goes off, no longer than `limit`.
    fn rest(&self, limit: Option<Duration>) {
        if let Some(alarm) = &self.alarm {
            alarm.wait(limit);
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// The will that counts; `None` where the loop was stopped while it wrote
    /// to it, after the thread had looked which one counts.
    fn will(&self) -> Option<MutexGuard<'_, Vec<Heir>>> {
        self.wills[self.current.load(Ordering::SeqCst)]
            .try_lock()
            .ok()
    }
}

/// The thread's side.
#[derive(Debug)]
struct Dog {
    shared: Arc<Shared>,
    /// As the configuration was read last,
    latest: Arc<Mutex<Settings>>,
    /// and when that could be seen: it is not waited for.
    settings: Settings,
    memory: MemorySource,
    lane: Lane,
    dryrun: bool,
    /// The round in which the loop was late when that was last looked at.
    late_in: Option<u32>,
    /// The round that the loop hangs in, and how much of the will is done.
    hang: Option<(u32, usize)>,
}

impl Dog {
    fn run(&mut self) {
        while !self.shared.is_over() {
            let shared = Arc::clone(&self.shared);
            let mut late_in = self.late_in;
            let duty = shared
                .clock
                .duty(shared.now(), &mut late_in, || self.level());
            self.late_in = late_in;
            match duty {
                Duty::Sleep => shared.rest(None),
                Duty::Look => shared.rest(Some(LOOK)),
                Duty::Act => {
                    self.act(&shared);
                    shared.rest(Some(LOOK));
                }
            }
        }
    }

    /// `None` where memory cannot be read: then nothing is killed.
    fn level(&mut self) -> Option<Level> {
        if let Ok(latest) = self.latest.try_lock() {
            self.settings.clone_from(&latest);
        }
        let memory = self.look()?;
        Some(self.settings.level(&memory))
    }

    fn look(&mut self) -> Option<Memory> {
        let mut memory = self.memory.read().ok()?.memory;
        // What cannot be read counts as it does for the loop.
        let _ = self.memory.measure_zram(&mut memory);
        let _ = self.memory.add_per_cpu(&mut memory);
        let _ = self.memory.add_arc(&mut memory);
        Some(memory)
    }

    /// Kills those of one place after the other.
    fn act(&mut self, shared: &Shared) {
        let round = shared.clock.rounds();
        // Either the loop sees that we act, or we see that it runs.
        shared.is_acting.store(true, Ordering::SeqCst);
        if let Some(will) = shared.will() {
            let mut done = match self.hang {
                Some((hang, done)) if hang == round => done,
                _ => 0,
            };
            while let Some(first) = will.get(done)
                && let Some(memory) = self.shortage(shared, round)
            {
                let of_one_place = will[done..]
                    .iter()
                    .take_while(|heir| heir.place == first.place);
                let place = &will[done..done + of_one_place.count()];
                if done == 0 {
                    let before_bytes = memory.pool_bytes();
                    shared.before_bytes.store(before_bytes, Ordering::SeqCst);
                    shared.began.store(millis(shared.now()), Ordering::SeqCst);
                }
                done += place.len();
                let any_killed = self.carry_out(shared, place, memory);
                if self.dryrun {
                    // Memory stays as it is, whatever else is said.
                    done = will.len();
                } else if any_killed {
                    self.wait_for(shared, round, place);
                }
            }
            self.hang = Some((round, done));
        }
        shared.is_acting.store(false, Ordering::SeqCst);
    }

    /// Memory, if that is still at the kill threshold, and the loop still
    /// hangs in `round`.
    fn shortage(&mut self, shared: &Shared, round: u32) -> Option<Memory> {
        let memory = self.look()?;
        let is_short = self.settings.level(&memory) == Level::Kill;
        let hangs = shared.clock.rounds() == round && !shared.is_over();
        (is_short && hangs).then_some(memory)
    }

    /// Kills first, and tells then; whether any was killed. The loop may have
    /// hung for so long that all have ended.
    fn carry_out(&mut self, shared: &Shared, heirs: &[Heir], memory: Memory) -> bool {
        let mut any_killed = false;
        for heir in heirs {
            let killed = match self.dryrun {
                true => Ok(Signalled::Sent),
                false => heir.held.kill(),
            };
            let record = match killed {
                Ok(Signalled::Sent) => Record::KilledByWatchdog {
                    victim: heir.told,
                    idle: shared.clock.idle(shared.now()),
                    memory,
                    dry: self.dryrun,
                },
                Ok(Signalled::Gone) => continue,
                Err(err) => Record::Unsignalled {
                    victim: heir.told,
                    errno: errno(&err),
                },
            };
            if heir.held.is_killed() {
                shared.kills.fetch_add(1, Ordering::SeqCst);
                any_killed = true;
            }
            self.lane.tell(record);
        }
        any_killed
    }

    /// Waits until memory is back, the loop is, or `heirs` have had their time.
    fn wait_for(&mut self, shared: &Shared, round: u32, heirs: &[Heir]) {
        let began = Instant::now();
        let mut gone_since = None;
        while self.shortage(shared, round).is_some() && began.elapsed() < DEADLINE {
            let Some(alive) = heirs.iter().find(|heir| !heir.held.is_gone()) else {
                let since = *gone_since.get_or_insert_with(Instant::now);
                if SETTLED <= since.elapsed() {
                    return;
                }
                shared.rest(Some(BETWEEN));
                continue;
            };
            let mut end = [PollFd::new(alive.held.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut end, poll_timeout(BETWEEN));
        }
    }
}

/// Each that a will names costs a descriptor, and so does each of the will
/// before.
fn room(descriptors: u64) -> usize {
    let room = descriptors.saturating_sub(LEFT) / 2;
    usize::try_from(room).map_or(WILL, |room| room.min(WILL))
}

/// Says why there is no watchdog.
pub(crate) fn lacks(why: impl fmt::Display) {
    log::warn!("no watchdog, so nothing is killed if the main loop hangs: {why}");
}

fn poll_timeout(limit: Duration) -> PollTimeout {
    PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What is to be done at `now`, with memory at `level`, after it was looked
    /// at a moment before.
    fn duty(clock: &Clock, now: Duration, level: Level) -> Duty {
        let mut late_in = None;
        clock.duty(now, &mut late_in, || Some(level));
        clock.duty(now, &mut late_in, || Some(level))
    }

    #[test]
    fn a_loop_that_comes_round_is_never_late_and_memory_is_not_looked_at() {
        let clock = Clock::default();
        for second in 0..600 {
            let now = second * SECOND;
            clock.comes_round(now);
            clock.waits(now, SECOND / 2);
            let duty = clock.duty(now + SECOND, &mut None, || panic!("not looked at"));
            assert_eq!(duty, Duty::Sleep);
        }
    }

    #[test]
    fn a_loop_that_hangs_while_it_works_is_late_after_two_seconds() {
        let clock = Clock::default();
        clock.waits(SECOND, 60 * SECOND);
        clock.comes_round(10 * SECOND);
        let almost = 12 * SECOND - SECOND / 10;
        assert_eq!(duty(&clock, almost, Level::Kill), Duty::Sleep);
        assert_eq!(duty(&clock, 12 * SECOND, Level::Kill), Duty::Act);
        assert_eq!(clock.idle(12 * SECOND), 2 * SECOND);
    }

    #[test]
    fn a_loop_that_does_not_wake_is_late_two_seconds_after_it_was_to() {
        let clock = Clock::default();
        clock.waits(10 * SECOND, SECOND);
        assert_eq!(duty(&clock, 12 * SECOND, Level::Kill), Duty::Sleep);
        assert_eq!(duty(&clock, 13 * SECOND, Level::Kill), Duty::Act);
        assert_eq!(clock.idle(13 * SECOND), 3 * SECOND);
    }

    #[test]
    fn above_the_kill_threshold_nothing_is_done_however_late_the_loop_is() {
        let clock = Clock::default();
        clock.comes_round(SECOND);
        for level in [Level::Ok, Level::Warn] {
            assert_eq!(duty(&clock, 600 * SECOND, level), Duty::Look);
        }
        let mut late_in = Some(clock.rounds());
        let unread = clock.duty(600 * SECOND, &mut late_in, || None);
        assert_eq!(unread, Duty::Look);
        clock.comes_round(601 * SECOND);
        assert_eq!(duty(&clock, 602 * SECOND, Level::Kill), Duty::Sleep);
    }

    #[test]
    fn a_loop_that_was_stopped_together_with_us_has_a_moment_to_come_round() {
        let clock = Clock::default();
        clock.comes_round(SECOND);
        let mut late_in = None;
        let first = clock.duty(60 * SECOND, &mut late_in, || panic!("not looked at"));
        assert_eq!(first, Duty::Look);
        clock.comes_round(60 * SECOND);
        let first = clock.duty(63 * SECOND, &mut late_in, || panic!("not looked at"));
        assert_eq!(first, Duty::Look);
        let second = clock.duty(63 * SECOND + LOOK, &mut late_in, || Some(Level::Kill));
        assert_eq!(second, Duty::Act);
    }

    /// How long until the alarm goes off.
    fn left(watchdog: &Watchdog) -> Duration {
        let alarm = watchdog.shared.alarm.as_ref().expect("a timer");
        match alarm.0.get().expect("a timer is read") {
            Some(Expiration::OneShot(left)) => Duration::from(left),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_thread_wakes_when_the_loop_would_be_late_and_not_before() {
        let (_, desk) = crate::tell::scribe::Scribe::unwritten().expect("an eventfd");
        let lane = { desk }.lane(1);
        let watchdog = Watchdog::spawn(&Arc::default(), || None, lane, true, u64::MAX);
        watchdog.waits(3600 * SECOND);
        let waiting = left(&watchdog);
        assert!(3600 * SECOND < waiting && waiting <= 3600 * SECOND + PATIENCE);
        watchdog.waits(Duration::MAX);
        assert!(LONGEST - 3600 * SECOND < left(&watchdog));
        watchdog.comes_round();
        assert!(left(&watchdog) <= PATIENCE);
    }

    #[test]
    fn where_descriptors_are_few_a_will_is_short() {
        let rooms = [0, 64, 80, 128, 1 << 20].map(room);
        assert_eq!(rooms, [0, 0, 8, 32, 32]);
    }

    #[test]
    fn a_wait_without_end_is_never_late() {
        let clock = Clock::default();
        clock.waits(SECOND, Duration::MAX);
        assert_eq!(duty(&clock, 600 * SECOND, Level::Kill), Duty::Sleep);
    }
}
