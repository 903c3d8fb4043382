//! The loop: sense, decide, act, once round per wake-up.
//!
//! After start-up a round that decides takes no heap memory and no lock, and
//! waits for nobody: what it has to say goes to the scribe, what takes another
//! process's locks goes to the reaper's second hand, and registry entries, new
//! holds and larger buffers are left to quiet rounds.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::{Reply, Request};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signalfd::SignalFd;
use oom_policy::{
    Ask, Cause, Decision, Level, Memory, NextKill, Outcome, Policy, ProcessId, Protection, Refusal,
    Snapshot, Verdict,
};
use sensors::{Depth, ProcRoot, ProcessTable, ReadError};
use value_registry::{Notice, Registry};

use crate::act::{Hands, Sent, Took, World, find, touched};
use crate::align::Aligner;
use crate::classify::Classifier;
use crate::error::{Error, chain, system};
use crate::main_log;
use crate::memory::{MemorySource, Sight};
use crate::peers::{Peers, Tokens};
use crate::pressure::PressureWatch;
use crate::record::Record;
use crate::registry_turn::{RegistryTurn, severity, who};
use crate::scribe::Scribe;
use crate::surveyor::Surveyor;
use crate::watchdog::{Killed, Watchdog};

const SIGNALS: u64 = 1;
const REGISTRY: u64 = 2;
const CONTROL: u64 = 3;
const PRESSURE: u64 = 4;
const NOTIFIER: u64 = 5;
const STRANGERS: u64 = 6;
const REMOVALS: u64 = 7;
/// Peers on the control socket have the numbers from 2^32 on,
pub(crate) const PEERS: Tokens = Tokens {
    private: CONTROL,
    public: STRANGERS,
    removals: REMOVALS,
    first_peer: 1 << 32,
};
/// and processes held those from here on.
pub(crate) const FIRST_HOLD: u64 = 1 << 48;

/// A dry run says a choice, then keeps quiet for so long.
const DRY_INTERVAL: Duration = Duration::from_secs(10);
/// All of every process is read again in a quiet round after so long,
const SELDOM: Duration = Duration::from_secs(60);
/// or so long while memory is plentiful,
const RARELY: Duration = Duration::from_secs(600);
/// or so long where swap is used or tasks stall.
const SOON: Duration = Duration::from_secs(1);
/// Between two changes of `oom_score_adj` by the registry: all that are
/// registered are read for it, however few entries a user keeps changing.
const ALIGN_REST: Duration = Duration::from_secs(1);
/// How many choices are tried at one last call.
const LAST_CALL_TRIES: u32 = 8;
/// Between two looks while a last call cannot be helped.
const LAST_CALL_PAUSE: Duration = Duration::from_millis(10);
/// While memory is plentiful, the table is not read more often than this,
/// whatever memory does: half of it does not go unseen.
const PLENTY_REST: Duration = Duration::from_secs(15);
/// Before another round, where the watchdog may be at work.
const BREATH: Duration = Duration::from_millis(20);
/// What could not be read is tried again after so long.
const RETRY: Duration = Duration::from_secs(1);

/// Fills a buffer that is touched; pid 0 is nobody.
const NOBODY_GONE: Outcome = Outcome::Gone(ProcessId {
    pid: 0,
    start_ticks: 0,
});

/// What the loop is wired to.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) root: ProcRoot,
    pub(crate) signals: SignalFd,
    pub(crate) memory: MemorySource,
    pub(crate) table: ProcessTable,
    pub(crate) surveyor: Surveyor,
    pub(crate) classifier: Classifier,
    pub(crate) registry: Registry,
    pub(crate) aligner: Option<Aligner>,
    pub(crate) policy: Policy,
    pub(crate) pressure: Option<PressureWatch>,
    pub(crate) peers: Peers,
    pub(crate) hands: Hands,
    pub(crate) scribe: Scribe,
    pub(crate) watchdog: Watchdog,
    pub(crate) dryrun: bool,
    pub(crate) report_interval: Option<Duration>,
}

/// The daemon at work.
#[derive(Debug)]
pub(crate) struct Daemon {
    parts: Parts,
    epoll: Epoll,
    origin: Instant,
    snapshot: Snapshot,
    outcomes: Vec<Outcome>,
    /// Whom the watchdog would kill next,
    will: Vec<NextKill>,
    /// and whether a value has changed since.
    will_is_old: bool,
    /// Relief was asked for since the last round.
    relief: bool,
    registry_turn: RegistryTurn,
    /// The registry has changed since the kernel's choice was last aligned,
    is_unaligned: bool,
    /// which is not done again before then.
    next_align: Duration,
    /// As of the last look.
    level: Level,
    /// When memory was last read.
    seen: Duration,
    /// Why it cannot be read now.
    unseen: Option<Arc<str>>,
    /// When the table was last read, at whatever depth.
    table_read: Option<Duration>,
    /// When all of every process was last read.
    full_scan: Option<Duration>,
    /// What is due is measured once all is known.
    to_measure: bool,
    /// A window has stalled since then.
    stalled: bool,
    /// While a dry run keeps quiet.
    dry_until: Duration,
    next_report: Option<Duration>,
    in_last_call: bool,
    /// What could not be read, and was said.
    unread: Unread,
}

#[derive(Clone, Copy, Debug, Default)]
struct Unread {
    per_cpu: bool,
    pressure: bool,
    processes: bool,
    hidden: bool,
    /// A process that holds more than there is.
    bounds: bool,
}

/// What came of a decision.
#[derive(Clone, Copy, Debug)]
struct Decided {
    /// When the policy wants to decide again at the latest, from then.
    wake_after: Option<Duration>,
    /// Whether memory will come, or nothing can be done for it.
    settled: bool,
}

impl Daemon {
    /// Wires `parts` into one set of descriptors to wait for. `snapshot` is
    /// overwritten: what counts is its room.
    ///
    /// # Errors
    ///
    /// [`Error::System`] where the kernel has no epoll to give.
    pub(crate) fn new(mut parts: Parts, snapshot: Snapshot) -> Result<Self, Error> {
        const DOING: &str = "wait for several things at once";
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(system(DOING))?;
        let signals = EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS);
        epoll
            .add(parts.signals.as_fd(), signals)
            .map_err(system(DOING))?;
        parts.peers.watch(&epoll).map_err(system(DOING))?;
        // What follows it can guard without.
        let watch = |fd: BorrowedFd<'_>, flags, token, cost: &str| {
            let watched = epoll.add(fd, EpollEvent::new(flags, token));
            if let Err(errno) = watched {
                log::warn!("{cost}: {}", errno.desc());
            }
            watched.is_ok()
        };
        if let Some(trigger) = parts.pressure.as_ref().and_then(PressureWatch::trigger) {
            let cost = "no relief by pressure, since its trigger cannot be waited for";
            if !watch(trigger, EpollFlags::EPOLLPRI, PRESSURE, cost) {
                parts.pressure = None;
            }
        }
        if let Some(notifier) = parts.memory.notifier() {
            let cost = "the kernel will not ask before it kills, since memory_info.ko cannot be \
                        waited for";
            if !watch(notifier, EpollFlags::EPOLLPRI, NOTIFIER, cost) {
                parts.memory.do_without_notifier();
            }
        }
        let registry_turn =
            RegistryTurn::new(&parts.registry, &epoll, REGISTRY).map_err(system(DOING))?;
        Ok(Self {
            epoll,
            origin: Instant::now(),
            outcomes: touched(snapshot.processes.capacity(), || NOBODY_GONE),
            snapshot,
            will: Vec::with_capacity(parts.watchdog.room()),
            will_is_old: false,
            relief: false,
            registry_turn,
            is_unaligned: true,
            next_align: Duration::ZERO,
            level: Level::Ok,
            seen: Duration::ZERO,
            unseen: None,
            table_read: None,
            full_scan: None,
            to_measure: true,
            stalled: false,
            dry_until: Duration::ZERO,
            next_report: parts.report_interval.map(|_| Duration::ZERO),
            in_last_call: false,
            unread: Unread::default(),
            parts,
        })
    }

    /// Guards the machine until a signal ends it.
    ///
    /// # Errors
    ///
    /// - [`Error::Control`]: the lock was removed, and another daemon has it.
    /// - [`Error::System`]: waiting itself fails.
    ///
    /// Nothing that is read can end the daemon.
    pub(crate) fn guard(&mut self) -> Result<(), Error> {
        let mut events = [EpollEvent::empty(); 64];
        main_log::hand_over(&mut self.parts.scribe);
        self.parts.watchdog.comes_round();
        self.read_first();
        loop {
            let pause = match self.parts.memory.read() {
                Ok(sight) => self.round(sight),
                Err(err) => self.round_unseen(&err),
            };
            // While the kernel waits, nothing else is done.
            let pause = if std::mem::take(&mut self.in_last_call) {
                pause
            } else {
                pause.min(self.leisure()?)
            };
            self.parts.watchdog.waits(pause);
            let count = match self.epoll.wait(&mut events, timeout(pause)) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(system("wait")(errno)),
            };
            self.parts.watchdog.comes_round();
            self.take_over();
            for event in &events[..count] {
                if self.hear(event).is_break() {
                    return Ok(());
                }
            }
        }
    }

    /// Reads what the first decision goes by and later ones find read: the
    /// daemon may be started, or started again, in the middle of a shortage.
    fn read_first(&mut self) {
        let Parts {
            root,
            table,
            surveyor,
            classifier,
            registry,
            memory,
            hands,
            ..
        } = &mut self.parts;
        surveyor.look_first(table, classifier, &memory.last());
        let pids = table
            .processes()
            .iter()
            .filter(|process| process.protection != Some(Protection::KernelThread))
            .map(|process| process.id.pid);
        let notices = registry.look_for(pids, &|pid| who(root, pid));
        if memory.notifier().is_some() {
            hands.hold_everybody(table.processes(), &self.epoll);
        }
        self.take_in(&notices);
    }

    /// Counts what the watchdog has killed as victims, before their ends are
    /// heard of.
    fn take_over(&mut self) {
        let now = self.now();
        let Some(Killed { before_bytes, ago }) = self.parts.watchdog.take_over() else {
            return;
        };
        let Parts { hands, policy, .. } = &mut self.parts;
        let processes = &self.snapshot.processes;
        hands.take_over(now.saturating_sub(ago), before_bytes, |id, lost| {
            if let Some(process) = find(processes, id) {
                policy.killed(now, process, lost);
            }
        });
        hands.free_killed();
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Looks at memory and, where the policy wants it, at the processes, and
    /// carries out what it decides. Returns how long nothing need be looked at.
    fn round(&mut self, sight: Sight) -> Duration {
        let now = self.now();
        let Sight {
            mut memory,
            last_call,
        } = sight;
        self.seen = now;
        self.unseen = None;
        if let Some(sequence) = last_call {
            return self.last_call(now, memory, sequence);
        }
        self.say_what_was_implausible();
        // Where there is enough without it, it is not worth a read.
        if self.parts.hands.are_busy() || !self.parts.policy.has_recovered(&memory) {
            match self.parts.memory.add_per_cpu(&mut memory) {
                Ok(()) => self.unread.per_cpu = false,
                Err(err) => say_once(
                    &mut self.unread.per_cpu,
                    &mut self.parts.scribe,
                    "what was just freed counts late",
                    &err,
                ),
            }
        }
        let mut pause = self.attend(now);
        self.settle(now, &memory);

        let asked = std::mem::take(&mut self.relief);
        let ask = if asked { Ask::Relief } else { Ask::Nobody };
        let look = self.parts.policy.look(now, &memory, ask);
        pause = pause.min(look.wake_after);
        self.level = look.level;
        self.snapshot.memory = memory;
        let is_quiet = look.level == Level::Ok && !self.parts.hands.are_busy();
        let (table, surveyor) = (&mut self.parts.table, &mut self.parts.surveyor);
        if let Some(unanswered) = surveyor.give_up(now, is_quiet, table) {
            self.parts.scribe.note(log::Level::Warn, unanswered);
        }
        if self.to_measure && is_quiet {
            self.to_measure = !surveyor.ask_for_measurements(now, table, &memory);
        }
        if now < self.dry_until {
            if asked {
                self.parts
                    .peers
                    .answer(&Reply::Refused(control::Denial::DryRun));
            }
            return pause;
        }
        let rested = |last| !memory.is_plentiful() || PLENTY_REST <= now - last;
        let wants_table = look.wants_table
            && (look.level != Level::Ok
                || self.parts.hands.are_busy()
                || self.table_read.is_none_or(rested));
        let will_is_due = self.will_is_old && self.table_read.is_none_or(|last| SOON <= now - last);
        if wants_table || asked || self.stalled || will_is_due {
            self.table_read = Some(now);
            let depth = self.depth(now, look.level, asked);
            self.snapshot.ask = ask;
            let decided = self.decide(now, depth, None);
            pause = pause.min(decided.wake_after.unwrap_or(pause));
            if self.parts.memory.notifier().is_some() && look.level == Level::Ok {
                let processes = &self.snapshot.processes;
                self.parts.hands.hold_everybody(processes, &self.epoll);
            }
            if depth == Depth::Full {
                self.full_scan = Some(now);
                self.stalled = false;
                self.make_room();
            }
        }
        pause
    }

    /// A round while memory cannot be read: no level is reached by old figures,
    /// but stalls are relieved, and whoever was signalled is followed up.
    fn round_unseen(&mut self, err: &ReadError) -> Duration {
        let now = self.now();
        if self.unseen.is_none() {
            say_once(
                &mut false,
                &mut self.parts.scribe,
                "memory is not seen",
                err,
            );
        }
        self.unseen = Some(chain(err).into());
        let mut pause = RETRY.min(self.attend(now));
        let asked = std::mem::take(&mut self.relief);
        if asked && now < self.dry_until {
            self.parts
                .peers
                .answer(&Reply::Refused(control::Denial::DryRun));
        } else if asked || self.parts.hands.are_busy() {
            let last = self.parts.memory.last();
            self.snapshot.memory = Memory {
                // Neither short nor recovered.
                available_bytes: self.parts.policy.warn_bytes(&last) + 1,
                at_least_bytes: 0,
                ..last
            };
            self.snapshot.ask = if asked { Ask::Relief } else { Ask::Nobody };
            let decided = self.decide(now, Depth::Fast, None);
            pause = pause.min(decided.wake_after.unwrap_or(pause));
        }
        pause
    }

    /// Looks at pressure and takes in what has come of earlier rounds. Returns
    /// how long pressure need not be looked at.
    fn attend(&mut self, now: Duration) -> Duration {
        let mut pause = Duration::MAX;
        if let Some(pressure) = &mut self.parts.pressure {
            match pressure.look(now) {
                Ok(None) => {}
                Ok(Some(ask)) => {
                    self.unread.pressure = false;
                    self.relief |= ask == Ask::Relief;
                }
                // The levels are guarded all the same.
                Err(err) => {
                    say_once(
                        &mut self.unread.pressure,
                        &mut self.parts.scribe,
                        "no relief by pressure",
                        &err,
                    );
                }
            }
            pause = pressure.pause(now);
        }
        let Parts {
            table,
            surveyor,
            classifier,
            ..
        } = &mut self.parts;
        surveyor.deliver(now, table, classifier);
        self.parts.hands.watch_signalled(&self.epoll);
        while let Some(id) = self.parts.hands.ended_untold() {
            self.let_go(now, id);
        }
        pause
    }

    fn say_what_was_implausible(&mut self) {
        let Parts { memory, scribe, .. } = &mut self.parts;
        while let Some((path, what)) = memory.next_implausible() {
            scribe.tell(Record::Implausible { path, what });
        }
        if let Some(err) = memory.lost_module() {
            scribe.note(
                log::Level::Error,
                format_args!("the kernel does not ask any longer: {}", chain(&err)),
            );
        }
    }

    /// How much of each process to read. A deciding scan opens as little as it
    /// can; in quiet rounds all is read, which costs twenty times as much, so
    /// now and then only, and more often when swap or stalls make it matter.
    fn depth(&self, now: Duration, level: Level, asked: bool) -> Depth {
        let memory = &self.snapshot.memory;
        let swapping =
            memory.swap_free_bytes < memory.swap_total_bytes - memory.swap_total_bytes / 16;
        let interval = if swapping || self.stalled {
            SOON
        } else if memory.is_plentiful() {
            RARELY
        } else {
            SELDOM
        };
        let due = self.full_scan.is_none_or(|last| interval <= now - last);
        if level == Level::Ok && !asked && !self.parts.hands.are_busy() && due {
            Depth::Full
        } else {
            Depth::Fast
        }
    }

    /// The kernel is about to kill, and waits: end somebody first and say so,
    /// with what is held. Nothing is opened, and nothing waits for memory.
    fn last_call(&mut self, now: Duration, memory: Memory, sequence: u64) -> Duration {
        self.in_last_call = true;
        self.snapshot.memory = memory;
        self.snapshot.ask = Ask::LastCall;
        // Who turns out to be gone or not ours to end is not chosen again.
        for _ in 0..LAST_CALL_TRIES {
            let decided = self.decide(now, Depth::Held, Some(sequence));
            if decided.settled {
                return decided.wake_after.unwrap_or(LAST_CALL_PAUSE);
            }
        }
        LAST_CALL_PAUSE
    }

    /// Reads the processes, decides, and carries it out. `last_call`: what is
    /// answered once somebody was ended.
    fn decide(&mut self, now: Duration, depth: Depth, last_call: Option<u64>) -> Decided {
        let parts = &mut self.parts;
        let began = Instant::now();
        let scanned = parts.table.scan(depth);
        parts.classifier.classify_unjudged(&mut parts.table);
        if last_call.is_none() {
            let (table, surveyor) = (&mut parts.table, &mut parts.surveyor);
            table.ask_for_identities(depth, &mut |request| surveyor.ask(now, request));
        }
        match scanned {
            // Those held are the ones that could be read.
            Ok(_) if depth == Depth::Held => {}
            Ok(scan) => {
                self.unread.processes = false;
                let was_hidden = std::mem::replace(&mut self.unread.hidden, scan.unread > 0);
                if scan.unread > 0 && !was_hidden {
                    parts.scribe.note(
                        log::Level::Warn,
                        format_args!(
                            "{} processes are hidden from us and left alone: `/proc` is mounted \
                             with `hidepid`, or no descriptor is left (raise RLIMIT_NOFILE)",
                            scan.unread
                        ),
                    );
                }
            }
            // All other processes were read.
            Err(err) => say_once(
                &mut self.unread.processes,
                &mut parts.scribe,
                "not every process is seen",
                &err,
            ),
        }
        let processes = &mut self.snapshot.processes;
        parts.table.copy_into(processes);
        processes.retain(|process| process.protection != Some(Protection::KernelThread));
        let mut beyond_memory = None;
        for process in processes {
            process.value = parts.registry.value(process.id);
            if sensors::bound(process, &self.snapshot.memory) {
                beyond_memory = Some(process.id.pid);
            }
        }
        self.unread.bounds &= beyond_memory.is_some();
        if let Some(pid) = beyond_memory.filter(|_| !self.unread.bounds) {
            self.unread.bounds = true;
            parts.scribe.note(
                log::Level::Warn,
                format_args!(
                    "process {pid} cannot hold more memory or swap than there is; taken as all there is"
                ),
            );
        }
        let read = began.elapsed();

        // While the table was read, the watchdog may have thought that we hang.
        parts.watchdog.comes_round();
        if last_call.is_none() && parts.watchdog.has_acted() {
            self.relief |= self.snapshot.ask == Ask::Relief;
            return Decided {
                wake_after: Some(BREATH),
                settled: false,
            };
        }
        let began = Instant::now();
        let decision = parts.policy.step(now, &self.snapshot);
        let took = Took {
            read,
            choose: began.elapsed(),
        };
        let mut world = World {
            epoll: &self.epoll,
            table: &mut parts.table,
            scribe: &mut parts.scribe,
            memory: self.unseen.is_none().then_some(self.snapshot.memory),
            may_open: last_call.is_none(),
        };
        let sent = parts.hands.carry_out(
            now,
            decision,
            &self.snapshot,
            &mut world,
            &mut self.outcomes,
        );
        let promised = matches!(decision.verdict, Verdict::Refused(Refusal::Promised { .. }));
        let memory_will_come = sent.processes > 0 || promised;
        if let Some(sequence) = last_call.filter(|_| memory_will_come) {
            parts.memory.answer(sequence);
        }
        parts.hands.free_killed();
        parts.hands.tell(decision, &self.snapshot, took, &mut world);

        let decided = Decided {
            wake_after: decision.wake_after,
            settled: memory_will_come || decision.actions.is_empty(),
        };
        if parts.dryrun && decision.verdict == Verdict::Chosen {
            self.dry_until = now + DRY_INTERVAL;
        }
        for outcome in self.outcomes.drain(..) {
            parts.policy.learn(now, outcome);
        }
        let policy = &parts.policy;
        parts
            .hands
            .set_aside(now, |id| policy.awaits(id), &mut parts.scribe);
        // While memory cannot be read, what came back is not known.
        if self.unseen.is_none() {
            let pool_bytes = self.snapshot.memory.pool_bytes();
            parts.hands.settle(now, pool_bytes, &mut parts.scribe);
        }
        let decision = policy.decision();
        if sent.any_refused && sent.processes == 0 && decision.cause == Some(Cause::Relief) {
            // It is asked for once, and reached nothing.
            self.relief = true;
            return Decided {
                wake_after: Some(Duration::ZERO),
                ..decided
            };
        }
        let reply = reply(decision, sent, &self.snapshot.memory, parts.dryrun);
        if let Some(reply) = reply {
            parts.peers.answer(&reply);
        }
        if last_call.is_none() && parts.watchdog.room() > 0 {
            parts.policy.will(&self.snapshot, &mut self.will);
            parts
                .hands
                .leave_will(now, &self.will, &self.snapshot, &parts.table, &self.epoll);
            parts.watchdog.leave(parts.hands.heirs(&self.will));
            self.will_is_old = false;
        }
        decided
    }

    fn let_go(&mut self, now: Duration, id: ProcessId) {
        let parts = &mut self.parts;
        let (victim, registered) = parts.hands.let_go(now, id, &self.epoll, &mut parts.scribe);
        if victim {
            parts.policy.learn(now, Outcome::Gone(id));
        }
        if registered {
            parts.registry.ended(id);
        }
    }

    fn settle(&mut self, now: Duration, memory: &Memory) {
        self.parts
            .hands
            .settle(now, memory.pool_bytes(), &mut self.parts.scribe);
    }

    /// In a quiet round, room for the processes to come; memory that several of
    /// them share is measured in one of the next.
    fn make_room(&mut self) {
        let present = self.snapshot.processes.len();
        // Larger only when it is nearly full: each time leaves a hole in the
        // heap that stays locked.
        if self.snapshot.processes.capacity() < present + present / 16 {
            let room = room_for(present);
            self.parts.policy.reserve(room);
            self.parts.hands.reserve(room);
            self.snapshot.processes.reserve_exact(room - present);
            self.outcomes.reserve_exact(room);
        }
        self.parts.memory.refresh();
        self.to_measure = true;
    }

    /// What can wait until a round is over: the registry, peers, the status
    /// line. Returns when something of it is due.
    fn leisure(&mut self) -> Result<Duration, Error> {
        let now = self.now();
        let mut pause = Duration::MAX;
        pause = pause.min(self.read_registry(now));
        pause = pause.min(self.align(now));
        (self.parts.peers)
            .restore(now, &self.epoll, &mut self.parts.scribe)
            .map_err(Error::Control)?;
        pause = pause.min(self.parts.peers.tend(now, &self.epoll));
        main_log::hand_over(&mut self.parts.scribe);
        self.parts.scribe.catch_up();
        if let (Some(due), Some(interval)) = (self.next_report, self.parts.report_interval) {
            if due <= now {
                let record = match &self.unseen {
                    None => Record::Status(self.snapshot.memory),
                    Some(why) => Record::Unseen(now.saturating_sub(self.seen), Arc::clone(why)),
                };
                self.parts.scribe.tell(record);
                self.next_report = Some(now + interval);
            }
            let due = self.next_report.unwrap_or(now);
            pause = pause.min(due.saturating_sub(now));
        }
        Ok(pause)
    }

    /// Reads what changed in the registry, so much at a time; how long there
    /// is no more.
    fn read_registry(&mut self, now: Duration) -> Duration {
        let Parts { root, registry, .. } = &mut self.parts;
        let (notices, pause) = self.registry_turn.read(now, registry, root, &self.epoll);
        self.take_in(&notices);
        pause
    }

    /// Says what the registry had to say, and holds whom it names now.
    fn take_in(&mut self, notices: &[Notice]) {
        let parts = &mut self.parts;
        for notice in notices {
            parts.scribe.chat(severity(notice), notice);
        }
        if !parts.registry.has_changed() {
            return;
        }
        let registered = parts.registry.entries().map(|(id, _)| id);
        parts.hands.hold_registered(registered, &self.epoll);
        self.is_unaligned = true;
        self.will_is_old = true;
    }

    /// Has the kernel's choice follow the registry; how long it may lag.
    fn align(&mut self, now: Duration) -> Duration {
        let parts = &mut self.parts;
        let Some(aligner) = &mut parts.aligner else {
            return Duration::MAX;
        };
        if !self.is_unaligned {
            return Duration::MAX;
        }
        if now < self.next_align {
            return self.next_align - now;
        }
        self.is_unaligned = false;
        self.next_align = now + ALIGN_REST;
        if let Err(err) = aligner.align(parts.registry.entries()) {
            parts.scribe.note(
                log::Level::Warn,
                format_args!("the kernel's choice is its own: {}", chain(&err)),
            );
        }
        Duration::MAX
    }

    fn hear(&mut self, event: &EpollEvent) -> ControlFlow<()> {
        let now = self.now();
        let token = event.data();
        match token {
            SIGNALS => return self.hear_signal(),
            // What it says is read once the round is over.
            REGISTRY => self.registry_turn.heard(),
            CONTROL => self.parts.peers.expect_more(),
            STRANGERS => self.parts.peers.expect_strangers(),
            REMOVALS => self.parts.peers.look_again(),
            // The next round reads it.
            NOTIFIER => {}
            // It would be ready for ever.
            PRESSURE if event.events().contains(EpollFlags::EPOLLERR) => self.lose_pressure(),
            PRESSURE => {
                // Who is given up for relief depends on swap and major faults,
                // so they are read while the gate still counts.
                self.stalled = true;
                if let Some(pressure) = &mut self.parts.pressure
                    && pressure.fired(now) == Ask::Relief
                {
                    self.relief = true;
                }
            }
            FIRST_HOLD.. => {
                if let Some(id) = self.parts.hands.ended(token) {
                    self.let_go(now, id);
                }
            }
            _ => self.hear_peer(token),
        }
        ControlFlow::Continue(())
    }

    /// Its trigger says that it is none any longer.
    fn lose_pressure(&mut self) {
        // Closing it takes it out of epoll.
        self.parts.pressure = None;
        self.parts.scribe.note(
            log::Level::Warn,
            "no relief by pressure from now on: the kernel has dropped its trigger",
        );
    }

    fn hear_signal(&mut self) -> ControlFlow<()> {
        match self.parts.signals.read_signal() {
            Ok(Some(signal)) => {
                let name = i32::try_from(signal.ssi_signo)
                    .ok()
                    .and_then(|number| nix::sys::signal::Signal::try_from(number).ok());
                let name = name.map_or("a signal", nix::sys::signal::Signal::as_str);
                self.parts
                    .scribe
                    .note(log::Level::Info, format_args!("ended by {name}"));
                ControlFlow::Break(())
            }
            Ok(None) | Err(_) => ControlFlow::Continue(()),
        }
    }

    fn hear_peer(&mut self, token: u64) {
        let now = self.now();
        let answer = |request| {
            if let Request::Fate { pid } = request {
                return self.parts.hands.fate(now, pid);
            }
            // What cannot be read is not said as it was.
            let unseen = Memory::default();
            let memory = match self.unseen {
                None => &self.snapshot.memory,
                Some(_) => &unseen,
            };
            Reply::Status(control::Status {
                pid: std::process::id(),
                level: match self.level {
                    _ if self.unseen.is_some() => control::Condition::Unknown,
                    Level::Ok => control::Condition::Ok,
                    Level::Warn => control::Condition::Warn,
                    Level::Kill => control::Condition::Kill,
                },
                available_bytes: memory.available_bytes,
                total_bytes: memory.total_bytes,
                swap_free_bytes: memory.swap_free_bytes,
                swap_total_bytes: memory.swap_total_bytes,
                registered: u32::try_from(self.parts.registry.entries().count())
                    .unwrap_or(u32::MAX),
                ended: self.parts.hands.ended_in_all(),
                warn_bytes: self.parts.policy.warn_bytes(memory),
            })
        };
        if self.parts.peers.hear(token, answer) {
            self.relief = true;
        }
    }
}

/// Says what could not be read and what that costs, once until it could be
/// again.
fn say_once(said: &mut bool, scribe: &mut Scribe, cost: &str, err: &ReadError) {
    if !std::mem::replace(said, true) {
        scribe.note(
            log::Level::Error,
            format_args!("{cost}: {}; trying again", chain(err)),
        );
    }
}

/// Buffers are made for a quarter more processes than there are, and for some
/// at least: all of it is locked in memory. Beyond that they grow in the round
/// that needs it, except at a last call, which knows nobody new.
pub(crate) fn room_for(processes: usize) -> usize {
    const LEAST: usize = 256;
    LEAST.max(processes + processes / 4)
}

/// What those who asked for relief are told; `None` where nobody asked.
fn reply(decision: &Decision, sent: Sent, memory: &Memory, dryrun: bool) -> Option<Reply> {
    use control::Denial as Told;

    let granted = Reply::Granted {
        processes: sent.processes,
        bytes: decision.given_up_bytes,
    };
    let told = match decision.verdict {
        Verdict::Chosen if dryrun => Told::DryRun,
        Verdict::Chosen => return Some(granted),
        Verdict::Idle => return decision.cause.map(|_| granted),
        Verdict::Refused(Refusal::EnoughAvailable) => Told::EnoughAvailable {
            available_percent: available_percent(memory),
        },
        Verdict::Refused(Refusal::RecoveryInterval { remaining }) => {
            Told::RecoveryInterval { remaining }
        }
        Verdict::Refused(Refusal::Promised { bytes }) => Told::Promised { bytes },
        Verdict::Refused(Refusal::NothingHelps { judged_bytes }) => {
            Told::NothingHelps { judged_bytes }
        }
    };
    Some(Reply::Refused(told))
}

/// Rounded down, 0 to 100.
fn available_percent(memory: &Memory) -> u32 {
    let base_bytes = memory.usable_bytes();
    let percent = u128::from(memory.available_bytes) * 100 / u128::from(base_bytes.max(1));
    u32::try_from(percent.min(100)).unwrap_or(100)
}

/// Rounded up, so that what is due is due when the wait is over.
fn timeout(pause: Duration) -> EpollTimeout {
    let millis = pause.as_nanos().div_ceil(1_000_000);
    i32::try_from(millis)
        .ok()
        .and_then(|millis| EpollTimeout::try_from(millis).ok())
        .unwrap_or(EpollTimeout::NONE)
}
