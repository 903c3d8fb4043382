//! The thread that freezes and thaws.
//!
//! Stopping a process that forks means looking for its children and waiting
//! until it stands still, which no loop may wait for. So requests reach the
//! thread through a ring with one writer, and its reports come back through
//! another, each with an eventfd, as the reaper's victims do. Nothing that waits
//! for a stranger is done here: what takes a process's mmap lock is left to the
//! thread that pushes out.
//!
//! Whatever is frozen is first given to the keeper and written to the leftover
//! file, so that it is thawed if we end before we thaw it.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use model::{ProcessId, RunState};
use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::bell::{RingsAtEnd, ring, silence};
use crate::calls::{Calls, page_out};
use crate::cgroup::Freezer;
use crate::error::ReapError;
use crate::held::{Held, Signalled, is_readable};
use crate::keeper::{Keeper, RunningKeeper};
use crate::leftover::{self, LeftPaused};
use crate::page_out::{Job, PageOut, PageOutCall, PushedOut};
use crate::process_reader::ProcessReader;

/// As `ps -T` shows it; at most 15 bytes.
const NAME: &str = "oom-pauser";

/// Starting a keeper nests deepest.
const STACK_BYTES: usize = 128 * 1024;

/// How many requests may wait: the members of a large unit, one each.
const REQUESTS: usize = 4096;

/// So many more units are to be frozen or thawed before it takes memory to note one.
const UNASKED: usize = 128;

/// How many reports may wait; later ones wait with the thread.
const REPORTS: usize = 256;

/// How often paused processes are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long a unit may take to stand still. What is in an uninterruptible sleep
/// by then, as under memory pressure it may well be, stops when that is over.
const STANDSTILL: Duration = Duration::from_millis(500);
const UNTIL_NEXT_LOOK: Duration = Duration::from_millis(2);

/// How often newborn children are looked for. A unit that forks faster than it
/// is stopped cannot be paused.
const LOOKS_FOR_NEWBORN: u32 = 64;

/// A keeper that ends sooner than this ends by itself, and is not started for
/// ever.
const SHORT_LIFE: Duration = Duration::from_secs(1);
const SHORT_LIVES: u32 = 3;

/// How long the thread may take to thaw everything when it is dropped. It waits
/// for nothing but the kernel.
const FAREWELL: Duration = Duration::from_secs(5);

/// Freezes units of processes and thaws them, on a thread of its own, and pushes
/// their memory out to swap, on another.
///
/// Make it after [`protect_ourselves`] and after signals are blocked: the
/// threads and the keeper take over their maker's priority and signal mask.
///
/// Dropped, it thaws everything.
///
/// [`protect_ourselves`]: crate::protect_ourselves
#[derive(Debug)]
pub struct Pauser {
    requests: RefCell<Producer<Request>>,
    /// What there was no room for.
    unasked: RefCell<VecDeque<Request>>,
    reports: RefCell<Consumer<Report>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What became of a unit, which is known by its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// It is frozen.
    Frozen {
        /// Its leader.
        unit: ProcessId,
        /// How many processes, newborn ones included.
        processes: u32,
    },
    /// It could not be frozen, or could not stay so, and runs as before.
    Unfrozen {
        /// Its leader.
        unit: ProcessId,
        /// Why. EPERM: one may not be signalled. ESRCH: it is gone. EALREADY: it
        /// was stopped by others. EAGAIN: it forks faster than it is stopped.
        /// EBUSY: another program would answer its stop, and it has no cgroup of its
        /// own ([`ProcessReader::stop_is_answered`]). ECANCELED: another program had
        /// some of it go on at once. ECHILD: there is no keeper any more.
        /// EMFILE, EIO and others: it cannot be made sure that it is thawed if
        /// the daemon is killed.
        errno: i32,
    },
    /// Memory was pushed out. Comes once for each unit that is frozen with bytes
    /// to push out, unless it is thawed before.
    PushedOut {
        /// Its leader.
        unit: ProcessId,
        /// How much.
        bytes: u64,
        /// Whether that is all that was asked for, or all that there was. Else
        /// the swap that is left makes no room, the kernel does not let us, or a
        /// process's mmap lock is held.
        is_complete: bool,
    },
    /// It was thawed, as asked for; or nothing of it is left.
    Thawed {
        /// Its leader.
        unit: ProcessId,
    },
    /// Another program had some of it go on (SIGCONT, or 0 in `cgroup.freeze`),
    /// so all of it was.
    Continued {
        /// Its leader.
        unit: ProcessId,
    },
}

#[derive(Debug)]
enum Request {
    Add {
        unit: ProcessId,
        member: Held,
    },
    Freeze {
        unit: ProcessId,
        newborn_since_ticks: u64,
        push_out_bytes: u64,
    },
    Thaw {
        unit: ProcessId,
    },
}

impl Pauser {
    /// Starts the threads and the keeper.
    ///
    /// # Errors
    ///
    /// [`ReapError::Pauser`]: one of them or a descriptor could not be had, or
    /// the kernel has no pidfd_send_signal(2) (Linux 5.1), which the keeper
    /// needs.
    pub fn spawn(reader: impl ProcessReader, keeper: Keeper) -> Result<Self, ReapError> {
        let calls = Calls::available();
        let call = calls.process_madvise.then_some(page_out as PageOutCall);
        let spawned = Self::spawn_with(Arc::new(reader), keeper, calls, call);
        spawned.map_err(|source| ReapError::Pauser { source })
    }

    fn spawn_with(
        reader: Arc<dyn ProcessReader>,
        keeper: Keeper,
        calls: Calls,
        call: Option<PageOutCall>,
    ) -> io::Result<Self> {
        if !calls.pidfd_send_signal {
            return Err(Errno::NOSYS.into());
        }
        let (requests, requests_of_thread) = RingBuffer::new(REQUESTS);
        let (reports_of_thread, reports) = RingBuffer::new(REPORTS);
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let shared = Arc::new(Shared {
            wake: eventfd(0, flags)?,
            reported: eventfd(0, flags)?,
            ended: Arc::new(eventfd(0, flags)?),
            stop: AtomicBool::new(false),
            has_unasked: AtomicBool::new(false),
            has_memory_of: Arc::default(),
        });
        let worker = Worker {
            running: Some(RunningKeeper::start(&keeper, &*reader)?),
            keeper,
            short_lives: 0,
            page_out: PageOut::spawn(
                Arc::clone(&reader),
                call,
                shared.wake.try_clone()?,
                Arc::clone(&shared.has_memory_of),
            )?,
            reader,
            calls,
            requests: requests_of_thread,
            reports: reports_of_thread,
            unsaid: VecDeque::new(),
            shared: Arc::clone(&shared),
            added: HashMap::new(),
            paused: Vec::new(),
        };
        let thread = thread::Builder::new()
            .name(NAME.to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || worker.run())?;
        Ok(Self {
            requests: RefCell::new(requests),
            unasked: RefCell::new(VecDeque::with_capacity(UNASKED)),
            reports: RefCell::new(reports),
            shared,
            thread: Some(thread),
        })
    }

    /// Adds a member of the unit that is to be frozen next; descendants first,
    /// the leader last. Whether there was room. Never waits, takes no lock,
    /// allocates nothing.
    ///
    /// Where there was none, [`Self::thaw`] has forgotten what was added.
    #[must_use]
    pub fn add(&self, unit: ProcessId, member: &Held) -> bool {
        let member = member.clone();
        // The thread is woken by what follows. What is to follow something else does not
        // come before it.
        self.unasked.borrow().is_empty()
            && self
                .requests
                .borrow_mut()
                .push(Request::Add { unit, member })
                .is_ok()
    }

    /// Freezes what was added for `unit`, then pushes out at most so many bytes
    /// of it. Where there is no room to ask, it is asked for once there is. Never
    /// waits, takes no lock, allocates nothing.
    ///
    /// A child of a member that started at `newborn_since_ticks` (clock ticks
    /// since boot) or later is a member too: that is when the process table was
    /// read which the members are from.
    pub fn freeze(&self, unit: ProcessId, newborn_since_ticks: u64, push_out_bytes: u64) {
        self.ask(Request::Freeze {
            unit,
            newborn_since_ticks,
            push_out_bytes,
        });
    }

    /// Thaws `unit`. Where there is no room to ask, it is asked for once there is.
    /// Never waits, takes no lock, allocates nothing.
    ///
    /// SIGTERM does nothing to what is frozen until it is thawed; SIGKILL kills
    /// it.
    pub fn thaw(&self, unit: ProcessId) {
        self.ask(Request::Thaw { unit });
    }

    /// Whether the memory of process `pid` is being paged out just now. If that process
    /// ends, its memory comes back only after that.
    #[must_use]
    pub fn has_memory_of(&self, pid: u32) -> bool {
        self.shared.has_memory_of.load(Ordering::Acquire) == pid
    }

    /// Readable when there may be a report, or room for what could not be asked.
    #[must_use]
    pub fn reports(&self) -> BorrowedFd<'_> {
        self.shared.reported.as_fd()
    }

    /// The next report, if there is one. Never waits, takes no lock, allocates
    /// nothing.
    pub fn report(&self) -> Option<Report> {
        // Only this function borrows, and nothing in it calls back.
        let mut reports = self.reports.borrow_mut();
        reports.pop().ok().or_else(|| {
            // What comes after this rings again.
            silence(self.shared.reported.as_fd());
            self.ask_the_unasked();
            reports.pop().ok()
        })
    }

    fn ask(&self, request: Request) {
        self.unasked.borrow_mut().push_back(request);
        self.ask_the_unasked();
    }

    fn ask_the_unasked(&self) {
        let mut unasked = self.unasked.borrow_mut();
        if unasked.is_empty() {
            return;
        }
        let mut requests = self.requests.borrow_mut();
        while !requests.is_full()
            && let Some(request) = unasked.pop_front()
        {
            // There is room: nothing else writes to it.
            let _ = requests.push(request);
        }
        let has_unasked = !unasked.is_empty();
        self.shared
            .has_unasked
            .store(has_unasked, Ordering::Release);
        ring(self.shared.wake.as_fd());
    }
}

impl Drop for Pauser {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        ring(self.shared.wake.as_fd());
        if is_readable(self.shared.ended.as_fd(), FAREWELL)
            && let Some(thread) = self.thread.take()
        {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

/// What both sides look at.
#[derive(Debug)]
struct Shared {
    /// eventfd(2): there is something to do.
    wake: OwnedFd,
    /// eventfd(2): there is a report, or room for what could not be asked.
    reported: OwnedFd,
    /// eventfd(2): the thread is no more.
    ended: Arc<OwnedFd>,
    stop: AtomicBool,
    /// There was no room for all that is to be asked.
    has_unasked: AtomicBool,
    /// The pid of the process whose memory the thread has that pages out; 0: of none.
    has_memory_of: Arc<AtomicU32>,
}

/// A unit that is frozen, or about to be.
struct Unit {
    leader: ProcessId,
    members: Vec<Member>,
    by: Hold,
    newborn_since_ticks: u64,
}

struct Member {
    held: Held,
    /// It took SIGSTOP from us, so it is ours to continue.
    is_stopped: bool,
    /// It stood still when it was last looked at; so if it does not later,
    /// another program had it go on.
    stood_still: bool,
}

enum Hold {
    Cgroup(Freezer),
    Signal,
}

/// The thread's side.
struct Worker {
    reader: Arc<dyn ProcessReader>,
    calls: Calls,
    requests: Consumer<Request>,
    reports: Producer<Report>,
    /// What there was no room for.
    unsaid: VecDeque<Report>,
    shared: Arc<Shared>,
    keeper: Keeper,
    running: Option<RunningKeeper>,
    /// How many keepers in a row ended right after their start.
    short_lives: u32,
    page_out: PageOut,
    added: HashMap<ProcessId, Vec<Held>>,
    paused: Vec<Unit>,
}

impl Worker {
    fn run(mut self) {
        let _ended = RingsAtEnd(Arc::clone(&self.shared.ended));
        let mut next_look = Instant::now();
        loop {
            silence(self.shared.wake.as_fd());
            while let Ok(request) = self.requests.pop() {
                self.carry_out(request);
            }
            if self.shared.has_unasked.swap(false, Ordering::AcqRel) {
                ring(self.shared.reported.as_fd());
            }
            while let Some(done) = self.page_out.next_done() {
                self.say_pushed_out(done);
            }
            // Asked after the requests were seen to be carried out.
            if self.shared.stop.load(Ordering::Acquire) {
                self.thaw_all(|unit| Report::Thawed { unit });
                if let Some(keeper) = self.running.take() {
                    keeper.dismiss();
                }
                return;
            }
            let now = Instant::now();
            if !self.is_idle() && next_look <= now {
                self.look(now);
                next_look = now + LOOK_AGAIN;
            }
            if self.running.is_none() {
                let errno = Errno::CHILD.raw_os_error();
                self.thaw_all(|unit| Report::Unfrozen { unit, errno });
            }
            self.say_the_unsaid();
            self.wait(next_look);
        }
    }

    fn is_idle(&self) -> bool {
        self.paused.is_empty() && self.unsaid.is_empty()
    }

    /// Waits for a request, the keeper's end, or, while anything is paused, the
    /// next look.
    fn wait(&mut self, next_look: Instant) {
        let left = next_look.saturating_duration_since(Instant::now());
        let timeout = (!self.is_idle())
            .then(|| Timespec::try_from(left).ok())
            .flatten();
        let keeper = self.running.as_ref().map(AsFd::as_fd);
        let mut polled: Vec<_> = std::iter::once(self.shared.wake.as_fd())
            .chain(keeper)
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        // Where it fails, what it would have told is found by looking.
        let _ = poll(&mut polled, timeout.as_ref());
        let keeper_is_gone = polled.get(1).is_some_and(|fd| !fd.revents().is_empty());
        if keeper_is_gone {
            // Where none can be had, all is thawed next.
            let _ = self.replace_keeper();
        }
    }

    fn carry_out(&mut self, request: Request) {
        match request {
            Request::Add { unit, member } => self.added.entry(unit).or_default().push(member),
            Request::Freeze {
                unit,
                newborn_since_ticks,
                push_out_bytes,
            } => match self.freeze(unit, newborn_since_ticks) {
                Ok(report) => {
                    self.say(report);
                    self.push_out(unit, push_out_bytes);
                }
                Err(errno) => self.say(Report::Unfrozen {
                    unit,
                    errno: errno.raw_os_error(),
                }),
            },
            Request::Thaw { unit } => {
                self.added.remove(&unit);
                self.thaw(unit);
                self.say(Report::Thawed { unit });
            }
        }
    }

    fn freeze(&mut self, leader: ProcessId, newborn_since_ticks: u64) -> Result<Report, Errno> {
        // One that is frozen again is thawed first.
        self.thaw(leader);
        let added = self.added.remove(&leader).unwrap_or_default();
        let own_cgroup = self.own_cgroup(leader, &added, newborn_since_ticks);
        let (members, by) = match own_cgroup {
            Some(freezer) => (added, Hold::Cgroup(freezer)),
            None => (self.stoppable_of(added)?, Hold::Signal),
        };
        self.paused.push(Unit {
            leader,
            members: members.into_iter().map(Member::new).collect(),
            by,
            newborn_since_ticks,
        });
        let frozen = self.keep(leader, 0).and_then(|()| self.freeze_last());
        if let Err(errno) = frozen {
            self.thaw(leader);
            return Err(errno);
        }
        let unit = self.paused.last().ok_or(Errno::SRCH)?;
        Ok(Report::Frozen {
            unit: leader,
            processes: u32::try_from(unit.members.len()).unwrap_or(u32::MAX),
        })
    }

    /// The cgroup that `leader` is in, where it may be frozen, we are not in it,
    /// and all in it is the unit's.
    fn own_cgroup(
        &self,
        leader: ProcessId,
        members: &[Held],
        newborn_since_ticks: u64,
    ) -> Option<Freezer> {
        let path = self.reader.cgroup(leader.pid).ok().flatten()?;
        let ours = self.reader.cgroup(std::process::id()).ok().flatten()?;
        // The root is an ancestor of all.
        if ours.starts_with(&path) {
            return None;
        }
        let mut others: HashSet<u32> = members.iter().map(|member| member.id().pid).collect();
        let mut is_own = true;
        let found = self.reader.processes_below(&path, &mut |pid| {
            let is_ended_or_newborn = || {
                self.reader.state(pid).is_ok_and(|state| {
                    state.is_none_or(|(start_ticks, state)| {
                        state == RunState::Ended || start_ticks >= newborn_since_ticks
                    })
                })
            };
            is_own = is_own && (others.remove(&pid) || is_ended_or_newborn());
        });
        // A member that has ended is in no cgroup.
        let all_in_it = members
            .iter()
            .all(|member| !others.contains(&member.id().pid) || member.is_gone());
        if found.is_err() || !is_own || !all_in_it {
            return None;
        }
        let freezer = Freezer::open(&path).ok()?;
        // What another program has frozen is not ours to thaw.
        (freezer.is_asked_to_freeze() == Ok(false)).then_some(freezer)
    }

    /// Those that run, where no other program answers a stop of any.
    fn stoppable_of(&self, added: Vec<Held>) -> Result<Vec<Held>, Errno> {
        let running = self.running_of(added)?;
        for member in &running {
            self.check_stoppable(member.id().pid)?;
        }
        Ok(running)
    }

    fn check_stoppable(&self, pid: u32) -> Result<(), Errno> {
        match self.reader.stop_is_answered(pid) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Errno::BUSY),
            Err(_) => Err(Errno::IO),
        }
    }

    /// Those that run: what was stopped by others stays so when we thaw.
    fn running_of(&self, added: Vec<Held>) -> Result<Vec<Held>, Errno> {
        let mut is_any_stopped = false;
        let mut running = Vec::with_capacity(added.len());
        for member in added {
            match self.state(&member) {
                Some(RunState::Runs) => running.push(member),
                Some(RunState::Stopped | RunState::Stopping) => is_any_stopped = true,
                Some(RunState::Ended) | None => {}
            }
        }
        match running.is_empty() {
            false => Ok(running),
            true if is_any_stopped => Err(Errno::ALREADY),
            true => Err(Errno::SRCH),
        }
    }

    /// `None` once it is gone. One that cannot be looked at runs.
    fn state(&self, member: &Held) -> Option<RunState> {
        if member.is_gone() {
            return None;
        }
        match self.reader.state(member.id().pid) {
            Ok(state) => {
                let (start_ticks, state) = state?;
                (start_ticks == member.id().start_ticks).then_some(state)
            }
            Err(_) => Some(RunState::Runs),
        }
    }

    /// Freezes the last of the paused units, which is kept already.
    fn freeze_last(&mut self) -> Result<(), Errno> {
        let unit = self.paused.last_mut().ok_or(Errno::SRCH)?;
        if let Hold::Cgroup(freezer) = &unit.by {
            freezer.freeze()?;
            freezer.wait_frozen(&*self.reader, STANDSTILL);
            return Ok(());
        }
        if !stop(&mut unit.members)? {
            return Err(Errno::SRCH);
        }
        self.wait_for_standstill()
    }

    /// Waits until the last of the paused units stands still, and stops the
    /// children that it had meanwhile.
    fn wait_for_standstill(&mut self) -> Result<(), Errno> {
        let began = Instant::now();
        let last = self.paused.len().checked_sub(1).ok_or(Errno::SRCH)?;
        let mut looks = 0;
        loop {
            // Before the children are looked for: what stands still then had no
            // more.
            let stands_still = self.stands_still(last);
            if self.stop_newborn(last)? {
                looks += 1;
                if looks == LOOKS_FOR_NEWBORN {
                    return Err(Errno::AGAIN);
                }
                continue;
            }
            if stands_still {
                return Ok(());
            }
            if began.elapsed() > STANDSTILL {
                let members = &self.paused[last].members;
                return match members.iter().any(|member| self.was_continued(member)) {
                    true => Err(Errno::CANCELED),
                    false => Ok(()),
                };
            }
            is_readable(self.shared.ended.as_fd(), UNTIL_NEXT_LOOK);
        }
    }

    fn stands_still(&mut self, place: usize) -> bool {
        let mut all = true;
        let unit = &self.paused[place];
        let stopped: Vec<_> = unit
            .members
            .iter()
            .map(|member| member.stood_still || self.stopped(member))
            .collect();
        for (member, stood_still) in self.paused[place].members.iter_mut().zip(stopped) {
            member.stood_still = stood_still;
            all &= stood_still;
        }
        all
    }

    /// Whether it is stopped, or is gone.
    fn stopped(&self, member: &Member) -> bool {
        matches!(
            self.state(&member.held),
            None | Some(RunState::Stopped | RunState::Ended)
        )
    }

    /// Stops the children that members of a unit had since it was seen; whether
    /// there were any.
    fn stop_newborn(&mut self, place: usize) -> Result<bool, Errno> {
        let unit = &self.paused[place];
        let leader = unit.leader;
        let known: HashSet<ProcessId> =
            unit.members.iter().map(|member| member.held.id()).collect();
        let parents: Vec<u32> = known.iter().map(|id| id.pid).collect();
        let mut newborn = Vec::new();
        let since = unit.newborn_since_ticks;
        let found = self.reader.children(&parents, &mut |child| {
            if child.start_ticks >= since && !known.contains(&child) {
                newborn.push(child);
            }
        });
        if found.is_err() {
            return Ok(false);
        }
        let mut held = Vec::new();
        for child in newborn {
            self.check_stoppable(child.pid)?;
            let reader = &self.reader;
            let start_ticks = |pid| Ok(reader.state(pid)?.map(|(start_ticks, _)| start_ticks));
            match Held::hold_by(self.calls, reader.proc_root(), child, start_ticks) {
                Ok(Some(child)) if self.state(&child) == Some(RunState::Runs) => held.push(child),
                // Gone, or stopped by another program.
                Ok(_) => {}
                Err(_) => return Err(Errno::MFILE),
            }
        }
        if held.is_empty() {
            return Ok(false);
        }
        let unit = &mut self.paused[place];
        let first = unit.members.len();
        unit.members.extend(held.into_iter().map(Member::new));
        let kept = self.keep(leader, first);
        let members = &mut self.paused[place].members;
        if let Err(errno) = kept {
            // None was stopped: they are found again.
            members.truncate(first);
            return Err(errno);
        }
        stop(&mut members[first..]).map(|_| true)
    }

    /// Makes sure that members of `leader`'s unit, from the one at `first` on,
    /// are thawed if we end.
    fn keep(&mut self, leader: ProcessId, first: usize) -> Result<(), Errno> {
        self.write_leftover()?;
        if self.running.is_none() {
            // That hands over everything.
            return self.replace_keeper();
        }
        let unit = self.paused.iter().find(|unit| unit.leader == leader);
        let (Some(unit), Some(keeper)) = (unit, &self.running) else {
            return Err(Errno::SRCH);
        };
        match hand_over(keeper, unit, first) {
            Ok(()) => Ok(()),
            Err(Errno::MFILE) => Err(Errno::MFILE),
            Err(_) => self.replace_keeper(),
        }
    }

    /// Starts another keeper and gives it all that is paused. Where none can be
    /// had, nothing may stay frozen, and [`Self::run`] thaws it.
    fn replace_keeper(&mut self) -> Result<(), Errno> {
        loop {
            if let Some(mut keeper) = self.running.take() {
                self.short_lives = if keeper.age() < SHORT_LIFE {
                    self.short_lives + 1
                } else {
                    0
                };
                keeper.end();
            }
            if self.short_lives >= SHORT_LIVES {
                // The next that is to be frozen may find it otherwise.
                self.short_lives = 0;
                return Err(Errno::CHILD);
            }
            let mut keeper = RunningKeeper::start(&self.keeper, &*self.reader)
                .map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::CHILD))?;
            let mut units = self.paused.iter();
            let handed_over = units.try_for_each(|unit| hand_over(&keeper, unit, 0));
            if handed_over == Err(Errno::MFILE) {
                keeper.end();
                return handed_over;
            }
            self.running = Some(keeper);
            if handed_over.is_ok() {
                return Ok(());
            }
            // It is gone as well.
        }
    }

    fn write_leftover(&self) -> Result<(), Errno> {
        let entries: Vec<LeftPaused> = self.paused.iter().flat_map(Unit::entries).collect();
        let written = leftover::write(&self.keeper.leftover, entries.iter());
        written.map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::IO))
    }

    fn push_out(&mut self, leader: ProcessId, limit_bytes: u64) {
        let unit = self.paused.iter().find(|unit| unit.leader == leader);
        let Some(unit) = unit.filter(|_| limit_bytes > 0) else {
            return;
        };
        let members = unit.members.iter().map(|member| member.held.clone());
        let reclaim: Option<PathBuf> = match &unit.by {
            Hold::Cgroup(freezer) => Some(freezer.path().join("memory.reclaim")),
            Hold::Signal => None,
        };
        let owner = self.reader.owner(leader.pid).ok().flatten();
        let job = Job::new(leader, owner, members.collect(), reclaim, limit_bytes);
        self.page_out.ask(job);
    }

    fn say_pushed_out(&mut self, done: PushedOut) {
        // What is thawed comes back by itself.
        if self.paused.iter().any(|unit| unit.leader == done.unit) {
            self.say(Report::PushedOut {
                unit: done.unit,
                bytes: done.bytes,
                is_complete: done.is_complete,
            });
        }
    }

    /// Thaws a unit, if it is frozen.
    fn thaw(&mut self, leader: ProcessId) {
        let Some(place) = self.paused.iter().position(|unit| unit.leader == leader) else {
            return;
        };
        self.page_out.cancel(leader);
        self.paused.remove(place).thaw();
        // The file first: one that names what runs does no harm, and what the
        // keeper holds it may continue again.
        let _ = self.write_leftover();
        if let Some(keeper) = &self.running {
            // One that is gone is replaced when that is heard of.
            let _ = keeper.let_go(leader);
        }
    }

    fn thaw_all(&mut self, report: impl Fn(ProcessId) -> Report) {
        while let Some(unit) = self.paused.last() {
            let unit = unit.leader;
            self.thaw(unit);
            self.say(report(unit));
        }
    }

    /// Looks whether what is paused still is.
    fn look(&mut self, now: Instant) {
        self.page_out.look(now);
        let mut place = 0;
        while place < self.paused.len() {
            let unit = self.paused[place].leader;
            match self.look_at(place) {
                Standing::Still => place += 1,
                Standing::Continued => {
                    self.thaw(unit);
                    self.say(Report::Continued { unit });
                }
                Standing::Gone => {
                    self.thaw(unit);
                    self.say(Report::Thawed { unit });
                }
            }
        }
    }

    fn look_at(&mut self, place: usize) -> Standing {
        let unit = &self.paused[place];
        if unit.members.iter().all(|member| member.held.is_gone()) {
            return Standing::Gone;
        }
        if let Hold::Cgroup(freezer) = &unit.by {
            return match freezer.is_asked_to_freeze() {
                Ok(false) => Standing::Continued,
                Ok(true) => Standing::Still,
                Err(_) => Standing::Gone,
            };
        }
        if unit.members.iter().any(|member| self.was_continued(member)) {
            return Standing::Continued;
        }
        self.stands_still(place);
        // One that cannot be stopped now is tried again at the next look.
        let _ = self.stop_newborn(place);
        Standing::Still
    }

    /// Whether it was stopped and runs again, or still: a stop that it has not come
    /// to yet is pending.
    fn was_continued(&self, member: &Member) -> bool {
        let runs = || self.state(&member.held) == Some(RunState::Runs);
        // One that is killed while it is looked at may seem to run, once.
        member.is_stopped && runs() && runs()
    }

    fn say(&mut self, report: Report) {
        self.unsaid.push_back(report);
        self.say_the_unsaid();
    }

    fn say_the_unsaid(&mut self) {
        while let Some(report) = self.unsaid.front()
            && self.reports.push(*report).is_ok()
        {
            self.unsaid.pop_front();
            ring(self.shared.reported.as_fd());
        }
    }
}

/// How a paused unit was found.
enum Standing {
    Still,
    Continued,
    Gone,
}

impl Member {
    fn new(held: Held) -> Self {
        Self {
            held,
            is_stopped: false,
            stood_still: false,
        }
    }
}

impl Unit {
    fn thaw(self) {
        match &self.by {
            Hold::Cgroup(freezer) => {
                let _ = freezer.thaw();
            }
            Hold::Signal => {
                // The leader, which waits for the others, first.
                for member in self.members.iter().rev().filter(|member| member.is_stopped) {
                    let _ = member.held.resume();
                }
            }
        }
    }

    fn entries(&self) -> impl Iterator<Item = LeftPaused> {
        let (cgroup, members) = match &self.by {
            Hold::Cgroup(freezer) => {
                let cgroup = LeftPaused::Cgroup {
                    inode: freezer.inode(),
                    path: freezer.path().to_owned(),
                };
                (Some(cgroup), &[][..])
            }
            Hold::Signal => (None, &self.members[..]),
        };
        let members = members
            .iter()
            .map(|member| LeftPaused::Process(member.held.id()));
        cgroup.into_iter().chain(members)
    }
}

/// Gives a unit's members, from the one at `first` on, to the keeper.
fn hand_over(keeper: &RunningKeeper, unit: &Unit, first: usize) -> Result<(), Errno> {
    match &unit.by {
        Hold::Cgroup(freezer) => keeper.hold_cgroup(unit.leader, freezer.as_fd()),
        Hold::Signal => {
            let members = unit.members.iter().skip(first);
            let members: Vec<_> = members.map(|member| member.held.holding()).collect();
            keeper.hold_processes(unit.leader, &members)
        }
    }
}

/// Stops them; whether any was there to be stopped.
fn stop(members: &mut [Member]) -> Result<bool, Errno> {
    let mut is_any = false;
    for member in members {
        member.is_stopped = match member.held.stop() {
            Ok(signalled) => signalled == Signalled::Sent,
            Err(ReapError::NotPermitted { source, .. } | ReapError::Signal { source, .. }) => {
                return Err(Errno::from_io_error(&source).unwrap_or(Errno::INVAL));
            }
            Err(_) => return Err(Errno::INVAL),
        };
        is_any |= member.is_stopped;
    }
    Ok(is_any)
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}
