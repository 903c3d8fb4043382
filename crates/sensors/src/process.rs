//! One process: what is read of it, from which files, and what is kept of it
//! beside what it shows.
//!
//! A descriptor of its `statm` is kept. Reading it takes a fifth of what opening
//! it takes, allocates nothing, not even in the kernel, and fails with ESRCH
//! once the process is gone, also where its pid is used again. So of whatever
//! else is read of a process, `statm` is read last; if it can be read, all of it
//! was true of that one process.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

use model::{Dossier, ProcessId, Seen, SessionId};
use rustix::fs::RawDir;
use rustix::io::pread;
use rustix::param::clock_ticks_per_second;
use rustix::system::sysinfo;

use crate::cgroup::Grouping;
use crate::error::ReadError;
use crate::number::decimal;
use crate::pid_files::{PidPath, Stat, Statm};
use crate::proc_root::{Miss, OpenRoot};
use crate::share::OwnShare;
use crate::smaps::Nameless;

/// What the table knows of a process beside what it shows.
#[derive(Debug)]
pub(crate) struct Kept {
    /// What is known of it that the kernel does not say.
    pub(crate) dossier: Dossier,
    /// Its `statm`, or that of the thread that stands for it.
    pub(crate) statm: Option<OwnedFd>,
    /// As it said last.
    pub(crate) code_pages: u64,
    /// Set where the first thread has ended and others run on.
    pub(crate) thread: Option<u32>,
    /// All of it is read in the next scan, however deep. Of what was seen once: before
    /// execve(2) it has its parent's name and user. Or see
    /// [`renew`](crate::ProcessTable::renew).
    pub(crate) is_new: bool,
    /// See [`unclassified`](crate::ProcessTable::unclassified).
    pub(crate) is_unclassified: bool,
    /// What tells its executable from others; 0: nothing that can be seen, or
    /// was seen yet.
    pub(crate) executable: u64,
    pub(crate) in_our_user_namespace: bool,
    /// Where systemd keeps it, once that was read (or its parent's was).
    pub(crate) unit: Option<Grouping>,
    /// The scopes for which it may be chosen, a bit each: those that it is in, its
    /// parent's until that was read.
    pub(crate) scopes: u32,
    /// How often its identity is to be read yet. It is read twice:
    /// what starts a process may move it into another cgroup a moment later.
    pub(crate) identity_reads: u8,
    /// Its identity was asked for, and no answer has come.
    pub(crate) asked: bool,
    /// Whether it is known what would suffer if it were paused.
    pub(crate) ties: Ties,
    /// Whether it is known which rule matches it.
    pub(crate) label: Labelling,
    /// Its session, as the kernel has it.
    pub(crate) kernel_session: u32,
    /// Its process group is the one in the foreground of its terminal.
    pub(crate) is_in_foreground: bool,
    pub(crate) has_terminal: bool,
    pub(crate) ignores_hangup: bool,
    /// What holds the master side of its terminal, where it leads a session.
    pub(crate) hangup: Hangup,
    /// It is in a pid namespace that is not ours,
    pub(crate) is_nested: bool,
    /// and is the first process of that.
    pub(crate) is_first: bool,
    /// What tells its pid namespace from others; 0: not known.
    pub(crate) pid_namespace: u64,
    /// What tells its service from others; 0: it is in none, or that is not known.
    pub(crate) service: u64,
    /// This `oom_score_adj` is the daemon's doing, and not shown.
    pub(crate) raised_to: Option<i16>,
    /// Whether an answer was waited for in vain.
    pub(crate) stuck: Stuck,
    /// Nothing was found where it was to be read: it is gone, unless a later
    /// scan finds it.
    pub(crate) missed: bool,
    /// What it was compared with, to see whether both have one memory, and what
    /// was found.
    pub(crate) compared: Option<Compared>,
    /// The size of all its mappings.
    pub(crate) size_pages: u64,
    /// What the kernel counts, of which [`Kept::correction`] leaves its share.
    pub(crate) raw_anon_bytes: u64,
    pub(crate) raw_swap_bytes: u64,
    /// The most that [`Kept::raw_anon_bytes`] was since [`Kept::raw_swap_bytes`] was
    /// read.
    pub(crate) most_raw_anon_bytes: u64,
    pub(crate) correction: Option<Correction>,
    /// The measurement of that.
    pub(crate) own_gauge: Gauge,
    pub(crate) rss_shmem_bytes: u64,
    /// Pages of files and of shared memory, now and when [`Kept::rss_shmem_bytes`]
    /// was read.
    pub(crate) shared_pages: u64,
    pub(crate) shared_pages_then: u64,
    pub(crate) shared: Option<Shared>,
    /// The measurement of that.
    pub(crate) shared_gauge: Gauge,
    /// What `statm` said when all of it was read last, by the descriptor that is held,
    /// and when that was, in clock ticks since boot.
    pub(crate) examined: Option<(Statm, u64)>,
}

/// A measurement that is made again and again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauge {
    pub(crate) wanted: Remeasuring,
    /// It was asked for, and no answer has come.
    pub(crate) is_asked: bool,
}

/// Whether to measure again what has hardly grown, or for the first time what
/// holds little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Remeasuring {
    #[default]
    No,
    /// It was measured long ago, or is one of many.
    InTurn,
    /// What was measured is not true any longer.
    Soon,
}

/// What is known of [`Dossier::pause`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ties {
    /// Nothing.
    Due,
    /// It was asked for, and no answer has come.
    Asked,
    /// It was found in this round.
    Known(u64),
}

/// What is known of [`Dossier::label`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Labelling {
    /// Nothing.
    Due,
    /// It was asked for, and no answer has come.
    Asked,
    /// What there is for now.
    ForNow,
    /// All.
    Known,
}

/// See [`Kept::stuck`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stuck {
    No,
    /// It keeps its mmap lock; what takes none can be read.
    InItsMemory,
    Anywhere,
}

/// See [`Kept::identity_reads`].
pub(crate) const IDENTITY_READS: u8 = 2;

/// So many of a process's threads are asked for it, where each has ended by then.
const THREADS_ASKED: usize = 8;

/// A process whose `statm` stays the same is read again after so long all the same.
const UNCHANGED: Duration = Duration::from_secs(10);

/// A change of no more pages does not have `status` read again: 16 MiB.
const FEW_PAGES: u64 = 4096;

/// What has this `oom_score_adj` is never killed, and was not raised.
const NEVER: i16 = -1000;

/// Shared memory that a process was seen to map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared {
    pub(crate) nameless: Nameless,
    pub(crate) round: u64,
    /// What it had in shared memory of any kind then.
    pub(crate) rss_shmem_bytes: u64,
    /// The parts of all that map what it maps made up the whole, as last added up.
    pub(crate) is_whole: bool,
    /// Of that, what it alone maps,
    pub(crate) own_bytes: u64,
    /// its part of what others map too, as far as all of these are known,
    pub(crate) common_bytes: u64,
    /// and the oldest of them.
    pub(crate) common_with: Option<ProcessId>,
}

/// What a process holds of its own, as last measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Correction {
    pub(crate) share: OwnShare,
    /// What the kernel counted then, as last read.
    pub(crate) raw_anon_bytes: u64,
    /// When, by the table's count of calls,
    pub(crate) round: u64,
    /// and not before then, in clock ticks since boot.
    pub(crate) at_ticks: u64,
}

/// See [`Kept::hangup`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// Not known.
    Due,
    /// It was asked for, and no answer has come.
    Asked,
    Known(Option<ProcessId>),
}

/// See [`Kept::compared`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compared {
    pub(crate) with: ProcessId,
    /// `None`: no answer has come.
    pub(crate) is_same: Option<bool>,
}

/// The user responsible for a process that keeps its reader waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    User(u32),
    /// All that are in user namespaces of their own: there one user has
    /// thousands of user ids.
    Namespaces,
}

impl Kept {
    pub(crate) fn new(statm: Option<OwnedFd>, unit: Option<Grouping>) -> Self {
        Self {
            dossier: Dossier::default(),
            statm,
            code_pages: 0,
            thread: None,
            is_new: true,
            is_unclassified: false,
            executable: 0,
            in_our_user_namespace: true,
            unit,
            scopes: 1,
            identity_reads: IDENTITY_READS,
            asked: false,
            ties: Ties::Due,
            label: Labelling::Due,
            kernel_session: 0,
            is_in_foreground: false,
            has_terminal: false,
            ignores_hangup: false,
            hangup: Hangup::Due,
            is_nested: false,
            is_first: false,
            pid_namespace: 0,
            service: 0,
            raised_to: None,
            stuck: Stuck::No,
            missed: false,
            compared: None,
            size_pages: 0,
            raw_anon_bytes: 0,
            raw_swap_bytes: 0,
            most_raw_anon_bytes: 0,
            correction: None,
            own_gauge: Gauge::default(),
            rss_shmem_bytes: 0,
            shared_pages: 0,
            shared_pages_then: 0,
            shared: None,
            shared_gauge: Gauge::default(),
            examined: None,
        }
    }

    /// Takes in what `statm` says.
    fn weigh(&mut self, process: &mut Seen, statm: Statm, page_bytes: u64) {
        // A zombie has none.
        if statm.code_pages > 0 {
            self.code_pages = statm.code_pages;
        }
        process.rss_bytes = statm.resident_pages.saturating_mul(page_bytes);
        self.size_pages = statm.size_pages;
        self.shared_pages = statm.shared_pages;
        self.raw_anon_bytes = statm.anon_pages().saturating_mul(page_bytes);
        self.most_raw_anon_bytes = self.most_raw_anon_bytes.max(self.raw_anon_bytes);
        self.show(process);
    }

    /// Whether it may have so much more shared memory than its `status` said that
    /// this is to be read again: a newcomer maps it after it was first looked at.
    /// Files are counted beside it.
    fn has_outgrown_its_status(&self, statm: Statm) -> bool {
        let then = self.shared_pages_then;
        statm.shared_pages > then.saturating_add(then / 4).saturating_add(FEW_PAGES)
    }

    /// Whether it holds so much less in memory than since its `status` was read that
    /// this is to be read again: it may have gone to swap.
    fn has_shrunk_since_its_status(&self, statm: Statm, page_bytes: u64) -> bool {
        let most = self.most_raw_anon_bytes / page_bytes.max(1);
        let unseen = (most / 16).saturating_add(FEW_PAGES);
        statm.anon_pages().saturating_add(unseen) < most
    }

    /// Takes in what the process holds in memory and swap together, where no more is
    /// known: all of it counts as its own.
    fn weigh_roughly(&mut self, process: &mut Seen, held_bytes: u64) {
        self.size_pages = 0;
        self.raw_swap_bytes = 0;
        self.raw_anon_bytes = held_bytes;
        self.correction = None;
        process.rss_bytes = held_bytes;
        self.show(process);
    }

    /// Shows in `process` what was counted, as far as it is its own.
    pub(crate) fn show(&self, process: &mut Seen) {
        process.anon_bytes = self.raw_anon_bytes;
        process.swap_bytes = self.raw_swap_bytes;
        if let Some(correction) = &self.correction {
            process.anon_bytes = correction.share.anon.apply(self.raw_anon_bytes);
            process.swap_bytes = correction.share.swap.apply(self.raw_swap_bytes);
        }
        let shared = |bytes: fn(&Shared) -> u64| self.shared.as_ref().map_or(0, bytes);
        let all_bytes = shared(|shared| shared.own_bytes.saturating_add(shared.common_bytes));
        process.shmem_bytes = all_bytes.min(self.rss_shmem_bytes);
        process.common_bytes = shared(|shared| shared.common_bytes).min(process.shmem_bytes);
        process.common_with = self.shared.and_then(|shared| shared.common_with);
        process.memory_of = self.memory_of();
        if process.memory_of.is_some() {
            process.anon_bytes = 0;
            process.swap_bytes = 0;
            process.shmem_bytes = 0;
            process.common_bytes = 0;
            process.page_table_bytes = 0;
        }
    }

    /// The process whose memory it was found to have.
    pub(crate) fn memory_of(&self) -> Option<ProcessId> {
        let same = self.compared.filter(|it| it.is_same == Some(true));
        same.map(|compared| compared.with)
    }

    /// Has the process classified anew, as if nothing were known of it.
    fn introduce(&mut self) {
        self.dossier = Dossier::default();
        self.ties = Ties::Due;
        self.label = Labelling::Due;
        self.is_unclassified = true;
    }

    /// No answer comes to what was asked about it.
    pub(crate) fn forget_asked(&mut self) {
        self.asked = false;
        self.own_gauge.is_asked = false;
        self.shared_gauge.is_asked = false;
        if self.ties == Ties::Asked {
            self.ties = Ties::Due;
        }
        self.compared = self.compared.filter(|it| it.is_same.is_some());
        if self.hangup == Hangup::Asked {
            self.hangup = Hangup::Due;
        }
        if self.label == Labelling::Asked {
            self.label = Labelling::Due;
        }
    }

    /// Whose `process` is.
    pub(crate) fn owner(&self, process: &Seen) -> Owner {
        if self.in_our_user_namespace {
            Owner::User(process.uid)
        } else {
            Owner::Namespaces
        }
    }

    /// Takes in an `oom_score_adj`, which the daemon may have raised to one of
    /// `ours` since it was as it `was`, or since its parent was.
    fn hear(&mut self, process: &mut Seen, is: i16, ours: &[i16], was: Option<i16>) {
        if self.raised_to == Some(is) {
            return;
        }
        let is_raised = |was: &i16| ours.contains(&is) && *was < is && *was != NEVER;
        if let Some(was) = was.filter(is_raised) {
            self.raised_to = Some(is);
            process.oom_score_adj = was;
        } else {
            self.raised_to = None;
            process.oom_score_adj = is;
        }
    }

    /// Groups `process` by its unit, or else as if `alone`.
    pub(crate) fn place(&self, process: &mut Seen, alone: Grouping) {
        let Grouping { session, login } = self.unit.unwrap_or(alone);
        process.session = session;
        process.login = login;
    }
}

/// What reads the files of one process after the other.
pub(crate) struct Reader<'a> {
    pub(crate) root: OpenRoot<'a>,
    pub(crate) page_bytes: u64,
    pub(crate) text: &'a mut [u8],
    /// What the daemon may have raised any `oom_score_adj` to.
    pub(crate) ours: &'a [i16],
    /// In clock ticks since boot.
    pub(crate) now_ticks: u64,
}

impl Reader<'_> {
    /// What a known process holds in memory, by its descriptor, where that is
    /// held. Opens nothing. Where the thread that stood for it has ended, others may
    /// run on, and it is as it was.
    pub(crate) fn look_again(&self, process: &mut Seen, kept: &mut Kept) -> Result<(), Miss> {
        match self.look_if_held(process, kept) {
            Err(Miss::Gone) if kept.thread.is_some() => Ok(()),
            looked => looked.map(drop),
        }
    }

    fn look_if_held(&self, process: &mut Seen, kept: &mut Kept) -> Result<Option<Statm>, Miss> {
        let Some(file) = &kept.statm else {
            return Ok(None);
        };
        let statm = statm(self.root, process.id.pid, kept.thread, file)?;
        kept.weigh(process, statm, self.page_bytes);
        Ok(Some(statm))
    }

    /// Spares a known process a close look where its `statm` says what it said at the
    /// last one, which was not long ago; whether it does. What counts at once is read:
    /// its `oom_score_adj`. Which job is in the foreground of a terminal counts, too, so
    /// what has one is not spared.
    pub(crate) fn look_unless_changed(
        &self,
        process: &mut Seen,
        kept: &mut Kept,
    ) -> Result<bool, Miss> {
        let pid = process.id.pid;
        let (Some(file), Some((then, at_ticks)), None) = (&kept.statm, kept.examined, kept.thread)
        else {
            return Ok(false);
        };
        let age = self.now_ticks.saturating_sub(at_ticks);
        // What holds nothing ends, or its other threads run on.
        if then.resident_pages == 0
            || kept.has_terminal
            || UNCHANGED.as_secs() * clock_ticks_per_second() <= age
            || kept.has_shrunk_since_its_status(then, self.page_bytes)
            || statm(self.root, pid, None, file)? != then
        {
            return Ok(false);
        }
        let oom_score_adj = self.root.score_adj(pid)?;
        // Last, for it proves the rest.
        if statm(self.root, pid, None, file)? != then {
            return Ok(false);
        }
        let was = Some(process.oom_score_adj);
        kept.hear(process, oom_score_adj, self.ours, was);
        kept.weigh(process, then, self.page_bytes);
        Ok(true)
    }

    /// What a known process holds in memory, unless it executes something else by
    /// now: whether it still is what it was.
    pub(crate) fn look(&mut self, process: &mut Seen, kept: &mut Kept) -> Result<bool, Miss> {
        let pid = process.id.pid;
        let looked = match &kept.statm {
            Some(file) => statm(self.root, pid, kept.thread, file),
            None => self.open_statm(pid, kept.thread).and_then(|file| {
                if self.stat(pid)?.start_ticks != process.id.start_ticks {
                    return Err(Miss::Gone);
                }
                statm(self.root, pid, kept.thread, &file)
            }),
        };
        let statm = match looked {
            // The thread that stood for it is. Others may run on.
            Err(Miss::Gone) if kept.thread.is_some() => return Ok(false),
            looked => looked?,
        };
        let shows_nothing = statm.resident_pages == 0 && !process.is_kernel_thread;
        if shows_nothing && (process.rss_bytes > 0 || self.stat(pid)?.outlived_its_first_thread()) {
            // Its first thread has ended. Others may run on.
            return Ok(false);
        }
        if ![0, kept.code_pages].contains(&statm.code_pages) {
            return Ok(false);
        }
        if kept.has_outgrown_its_status(statm)
            || kept.has_shrunk_since_its_status(statm, self.page_bytes)
        {
            return Ok(false);
        }
        kept.weigh(process, statm, self.page_bytes);
        Ok(true)
    }

    /// All of a known process. Its `statm` is held afterwards.
    pub(crate) fn look_closely(&mut self, process: &mut Seen, kept: &mut Kept) -> Result<(), Miss> {
        let pid = process.id.pid;
        if kept.statm.is_none() && kept.thread.is_none() {
            kept.statm = Some(self.open_statm(pid, None)?);
        }
        let stat = self.stat(pid)?;
        if stat.start_ticks != process.id.start_ticks {
            return Err(Miss::Gone);
        }
        let before = (process.name, process.uid);
        let code_pages = kept.code_pages;
        let was = Some(process.oom_score_adj);
        self.examine(process, kept, &stat, was)?;
        // 0: it was seen by its badness alone.
        let has_changed =
            before != (process.name, process.uid) || ![0, kept.code_pages].contains(&code_pages);
        // A worker thread of the kernel's is renamed with each piece of work.
        if has_changed && !stat.is_kernel_thread {
            kept.identity_reads = IDENTITY_READS;
            kept.correction = None;
            kept.shared = None;
            kept.show(process);
            kept.introduce();
        }
        Ok(())
    }

    /// A process not known so far. `parent`: where the parent's unit is, and what
    /// `oom_score_adj` that had before it was raised.
    pub(crate) fn take_in(
        &mut self,
        pid: u32,
        parent: impl FnOnce(u32) -> (Option<Grouping>, Option<i16>),
    ) -> Result<(Seen, Kept), Miss> {
        let file = self.open_statm(pid, None)?;
        let stat = self.stat(pid)?;
        // Pid 1 puts whom it starts into a cgroup of their own.
        let known = (stat.parent > 1).then(|| parent(stat.parent));
        let (unit, was) = known.unwrap_or_default();
        let mut kept = Kept::new(Some(file), unit);
        let mut process = Seen::new(ProcessId {
            pid,
            start_ticks: stat.start_ticks,
        });
        self.examine(&mut process, &mut kept, &stat, was)?;
        kept.introduce();
        Ok((process, kept))
    }

    /// Reads all but `stat`. Where the first thread has ended and others run on, by
    /// one of them; they may end, too, and be replaced at any time, faster than we
    /// can look. Where none answers, the kernel's badness tells what the process
    /// holds: that is of whichever thread is there.
    fn examine(
        &mut self,
        process: &mut Seen,
        kept: &mut Kept,
        stat: &Stat,
        oom_score_adj_was: Option<i16>,
    ) -> Result<(), Miss> {
        let pid = process.id.pid;
        if stat.is_kernel_thread || !stat.outlived_its_first_thread() {
            return self.examine_by_thread(process, kept, stat, oom_score_adj_was);
        }
        let mut last = kept.thread.take();
        for _ in 0..THREADS_ASKED {
            let Some(thread) = last
                .take()
                .map_or_else(|| self.other_thread(pid), |it| Ok(Some(it)))?
            else {
                break;
            };
            kept.thread = Some(thread);
            let opened = self.open_statm(pid, kept.thread);
            let answered = opened.and_then(|file| {
                kept.statm = Some(file);
                self.examine_by_thread(process, kept, stat, oom_score_adj_was)
            });
            match answered {
                Err(Miss::Gone) => {}
                answered => return answered,
            }
        }
        kept.thread = None;
        kept.statm = None;
        let held_bytes = self.held_bytes_by_score(pid)?;
        self.examine_by_thread(process, kept, stat, oom_score_adj_was)?;
        if let Some(bytes) = held_bytes {
            kept.weigh_roughly(process, bytes);
        }
        // It is the same process still.
        self.open_statm(pid, None).map(drop)
    }

    /// What `pid` holds in memory and swap, to a thousandth of the machine's, as its
    /// `oom_score` has it; `None` where that says nothing.
    fn held_bytes_by_score(&self, pid: u32) -> Result<Option<u64>, Miss> {
        let score = i64::from(self.root.score(pid)?);
        let adjustment = i64::from(self.root.score_adj(pid)?);
        // (1000 + thousandths + adjustment) × 2/3, rounded down; before Linux 5.9
        // thousandths + adjustment, and at least 1.
        let since_5_9 = (score * 3 + 1) / 2 - 1000 - adjustment;
        let thousandths = match since_5_9 {
            -2.. => since_5_9,
            _ if score > 1 => score - adjustment,
            _ => 0,
        };
        let thousandths = u64::try_from(thousandths).unwrap_or(0).min(1000);
        let machine = sysinfo();
        let total = machine
            .totalram
            .saturating_add(machine.totalswap)
            .saturating_mul(u64::from(machine.mem_unit));
        Ok((thousandths > 0).then(|| total / 1000 * thousandths))
    }

    /// The same by [`Kept::thread`], or else by the first; `statm` last, for it proves
    /// the rest.
    fn examine_by_thread(
        &mut self,
        process: &mut Seen,
        kept: &mut Kept,
        stat: &Stat,
        oom_score_adj_was: Option<i16>,
    ) -> Result<(), Miss> {
        let pid = process.id.pid;
        process.is_kernel_thread = stat.is_kernel_thread;
        process.name = stat.name;
        process.parent = stat.parent;
        process.group = stat.group;
        process.major_faults = stat.major_faults;
        kept.kernel_session = stat.session;
        process.kernel_session = stat.session;
        kept.has_terminal = stat.has_terminal();
        kept.is_in_foreground = kept.has_terminal && stat.foreground == stat.group;
        if !stat.is_kernel_thread {
            let status = self.root.status(pid, kept.thread, self.text)?;
            process.uid = status.uid.ok_or_else(|| ReadError::Missing {
                path: self.root.path.join(PidPath::new(pid, "status").as_str()),
                key: "Uid:",
            })?;
            kept.is_nested = status.is_nested;
            kept.is_first = status.is_first;
            kept.ignores_hangup = status.ignores_hangup;
            kept.raw_swap_bytes = status.swap_bytes;
            kept.rss_shmem_bytes = status.shmem_bytes;
            process.page_table_bytes = status.page_table_bytes;
            let oom_score_adj = self.root.score_adj(pid)?;
            kept.hear(process, oom_score_adj, self.ours, oom_score_adj_was);
        }
        let alone = Grouping {
            session: SessionId(u64::from(stat.session)),
            login: stat.has_terminal(),
        };
        kept.place(process, alone);
        let statm = self.look_if_held(process, kept)?;
        kept.examined = statm.map(|statm| (statm, self.now_ticks));
        kept.shared_pages_then = kept.shared_pages;
        kept.most_raw_anon_bytes = kept.raw_anon_bytes;
        Ok(())
    }

    fn stat(&mut self, pid: u32) -> Result<Stat, Miss> {
        let path = PidPath::new(pid, "stat");
        self.root.stat(self.root.open(&path)?, &path, self.text)
    }

    fn open_statm(&self, pid: u32, thread: Option<u32>) -> Result<OwnedFd, Miss> {
        self.root.open(&PidPath::of_thread(pid, thread, "statm"))
    }

    /// A thread of `pid` that is not its first.
    fn other_thread(&self, pid: u32) -> Result<Option<u32>, Miss> {
        let path = PidPath::new(pid, "task");
        let directory = self.root.open(&path)?;
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut entries = RawDir::new(directory, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|errno| self.root.read_failed(errno, &path))?;
            let thread = decimal(entry.file_name().to_bytes());
            let thread = thread.and_then(|thread| u32::try_from(thread).ok());
            if thread.is_some_and(|thread| thread != pid) {
                return Ok(thread);
            }
        }
        Ok(None)
    }
}

/// What the open `file` says now. One pread(2) gives all of it.
fn statm(root: OpenRoot<'_>, pid: u32, thread: Option<u32>, file: &OwnedFd) -> Result<Statm, Miss> {
    let path = || PidPath::of_thread(pid, thread, "statm");
    // Seven numbers of at most 20 digits.
    let mut buffer = [0; 160];
    let len = pread(file, &mut buffer, 0).map_err(|errno| root.read_failed(errno, &path()))?;
    Statm::parse(&buffer[..len])
        .ok_or_else(|| root.malformed(&path(), 1, Statm::EXPECTED, &buffer[..len]))
}
