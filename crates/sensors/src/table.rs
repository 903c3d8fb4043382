//! All processes, scan after scan.
//!
//! A descriptor of each process's `statm` is kept. Reading it takes a fifth
//! of what opening it takes, allocates nothing, not even in the kernel, and
//! answers ESRCH once the process is gone: who holds the descriptor cannot be
//! taken in by a pid that is used again. So of whatever else is read of a
//! process, `statm` is read last; if it can be read, all of it was true of
//! that one process.
//!
//! Nothing here opens a file that may keep its reader waiting: `stat`,
//! `status`, `statm`, `oom_score` and `oom_score_adj` take no lock that a
//! process can hold. What else is wanted of a process is asked for
//! ([`ProcessTable::ask_for_identities`] and its like), read elsewhere
//! ([`survey`]) and taken in when it comes ([`ProcessTable::apply`]).
//!
//! [`survey`]: crate::survey()

use std::fmt;
use std::mem::{self, MaybeUninit};
use std::os::fd::OwnedFd;

use model::{Name, Preference, Process, ProcessId, Protection, SessionId};
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom, openat, seek};
use rustix::io::{Errno, pread};
use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};

use crate::cgroup::Unit;
use crate::error::ReadError;
use crate::families::{Correction, Share};
use crate::file::decimal;
use crate::pid_files::{PidPath, Stat, Statm};
use crate::proc_root::{Miss, OpenRoot, ProcRoot};
use crate::survey::{Found, Identity, Request, Survey, What};

/// Descriptors that are left for the daemon's other needs.
const LEFT: usize = 64;

/// How much a scan reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Of the processes that are held, what they hold in memory. Opens
    /// nothing, allocates nothing, sees no newcomer: for the kernel's last
    /// call, and for the last look before a decision.
    Held,
    /// Who is there, what the known ones hold in memory, and all of the
    /// newcomers but `oom_score`. Swap and faults of the known ones stay as
    /// they were.
    Fast,
    /// All of everybody: for quiet rounds.
    Full,
}

/// What a scan came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// How many processes are known now.
    pub processes: usize,
    /// How many of them this scan saw first.
    pub newcomers: usize,
    /// How many were known, and are gone.
    pub gone: usize,
    /// How many of those known have no descriptor held, because descriptors
    /// are short: a fast scan costs them five times as much, and
    /// [`Depth::Held`] leaves them as they were.
    pub unheld: usize,
    /// How many are there and cannot be read: `/proc` hides them (`hidepid`),
    /// or not one descriptor was left.
    pub unread: usize,
}

/// All processes, and a descriptor of each.
///
/// A zombie is in it, and holds nothing. So is a kernel thread, with
/// [`Protection::KernelThread`].
pub struct ProcessTable {
    pub(crate) root: ProcRoot,
    page_bytes: u64,
    /// By ascending pid, and `kept` beside it.
    pub(crate) processes: Vec<Process>,
    pub(crate) kept: Vec<Kept>,
    /// Those listed, then those of them that were not known.
    pids: Vec<u32>,
    text: Box<[u8]>,
    /// At most so many descriptors are held.
    hold_at_most: usize,
    /// How many calls have measured anything, so that the oldest measurement
    /// is known.
    pub(crate) round: u64,
    /// Their processes are not measured any longer.
    given_up_on: Vec<Owner>,
    /// No process is.
    measures_nothing: bool,
}

/// Who is responsible for a process that keeps its reader waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    User(u32),
    /// All that are in user namespaces of their own: there one user has
    /// thousands of user ids.
    Namespaces,
}

/// What the table knows of a process beside what it shows.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Its `statm`, or that of the thread that stands for it.
    statm: Option<OwnedFd>,
    /// Set where the first thread has ended and others run on.
    thread: Option<u32>,
    /// It was seen once. Before execve(2) it has its parent's name and user, so
    /// all of it is read a second time.
    is_new: bool,
    /// See [`ProcessTable::unjudged`].
    is_unjudged: bool,
    /// What tells its executable from others; 0: nothing that can be seen, or
    /// was seen yet.
    pub(crate) executable: u64,
    in_our_user_namespace: bool,
    /// Where systemd keeps it, once that was read (or its parent's was).
    unit: Option<Unit>,
    /// How often its identity is to be read yet. It is read twice:
    /// what starts a process may move it into another cgroup a moment later.
    identity_reads: u8,
    /// Its identity was asked for, and no answer has come.
    asked: bool,
    /// An answer was waited for in vain.
    stuck: bool,
    /// What the kernel counts, of which [`Kept::correction`] leaves its share.
    pub(crate) raw_anon_bytes: u64,
    raw_swap_bytes: u64,
    pub(crate) correction: Option<Correction>,
    pub(crate) rss_shmem_bytes: u64,
    pub(crate) last_mapped: Option<LastMapped>,
}

/// See [`Kept::identity_reads`].
const IDENTITY_READS: u8 = 2;

/// Shared memory of which a process was seen to hold the last mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastMapped {
    pub(crate) bytes: u64,
    pub(crate) round: u64,
}

impl ProcessTable {
    /// An empty table with room for `capacity` processes; a full scan sees to
    /// it that there is room for twice as many as are there.
    ///
    /// It holds at most half of the descriptors that this process may have at
    /// the time (RLIMIT_NOFILE), and leaves 64 for all else; so raise that
    /// limit first.
    #[must_use]
    pub fn new(root: ProcRoot, capacity: usize) -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        let hold_at_most = limit.map_or(usize::MAX, |limit| {
            let at_most = (limit / 2).min(limit.saturating_sub(LEFT as u64));
            usize::try_from(at_most).unwrap_or(usize::MAX)
        });
        Self {
            root,
            page_bytes: page_size() as u64,
            processes: Vec::with_capacity(capacity),
            kept: Vec::with_capacity(capacity),
            pids: Vec::with_capacity(capacity),
            text: vec![0; 8192].into_boxed_slice(),
            hold_at_most,
            round: 0,
            given_up_on: Vec::new(),
            measures_nothing: false,
        }
    }

    /// Looks at the processes. Those that are new or have become something
    /// else are to be judged afterwards, also where this fails: see
    /// [`Self::unjudged`].
    ///
    /// # Errors
    ///
    /// [`ReadError`] names the directory that could not be listed, so that only
    /// those held were looked at; or the first file that could not be read or
    /// made no sense, whose process is left out: all others have been read
    /// nevertheless. That a process is gone, hidden from us, or not held for
    /// want of descriptors is no error: [`Scan`] has the count.
    pub fn scan(&mut self, depth: Depth) -> Result<Scan, ReadError> {
        let mut scan = Scan::default();
        let mut failure = None;
        if depth == Depth::Held {
            self.scan_held(&mut scan, &mut failure);
        } else {
            self.spare_a_descriptor();
            match self.list() {
                Ok(()) => {
                    self.scan_known(depth, &mut scan, &mut failure);
                    self.scan_newcomers(depth, &mut scan, &mut failure);
                }
                Err(err) => {
                    failure = Some(err);
                    self.scan_held(&mut scan, &mut failure);
                }
            }
        }
        if depth == Depth::Full {
            self.make_room();
        }
        scan.processes = self.processes.len();
        scan.unheld = scan.processes - self.held();
        failure.map_or(Ok(scan), Err)
    }

    /// Those that are to be judged since this was called last: each once when
    /// it is new, and again when its name or real user is seen to have changed.
    /// The judge sets `protection`, `critical_below_bytes` and
    /// `preference`, and the table keeps them. Until then they are as if
    /// nothing were known (but [`Protection::KernelThread`] is set). What a
    /// process executes is not known then, and its session is its parent's:
    /// see [`Self::ask_for_identities`].
    pub fn unjudged(&mut self) -> impl Iterator<Item = &mut Process> {
        let both = self.processes.iter_mut().zip(&mut self.kept);
        both.filter_map(|(process, kept)| mem::take(&mut kept.is_unjudged).then_some(process))
    }

    /// Every process known, by ascending pid, as last seen.
    #[must_use]
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// The process with this pid, as last seen.
    #[must_use]
    pub fn get(&self, pid: u32) -> Option<&Process> {
        let index = self.find(pid)?;
        Some(&self.processes[index])
    }

    /// Puts every process into `processes`, in place of what is there.
    pub fn copy_into(&self, processes: &mut Vec<Process>) {
        processes.clear();
        processes.extend_from_slice(&self.processes);
    }

    /// Reads the kernel's badness of `pid` anew and keeps it; `None` if the
    /// process is gone or not known.
    ///
    /// # Errors
    ///
    /// [`ReadError`] names the file that could not be read or made no sense.
    pub fn refresh_score(&mut self, pid: u32) -> Result<Option<u16>, ReadError> {
        let Some(index) = self.find(pid) else {
            return Ok(None);
        };
        let score = self.root.oom_score(pid)?;
        self.processes[index].oom_score = score;
        Ok(score)
    }

    /// Asks what each process executes and where systemd keeps it, as long as
    /// `ask` takes it; allocates nothing. After a scan of a depth, with that
    /// depth: of newcomers and of what has become something else, after a full
    /// scan also of those that are spared for their executable, since they may
    /// execute another by now.
    pub fn ask_for_identities(&mut self, depth: Depth, ask: &mut dyn FnMut(Request) -> bool) {
        for index in 0..self.kept.len() {
            let (process, kept) = (&self.processes[index], &self.kept[index]);
            let is_favoured =
                process.critical_below_bytes > 0 || process.protection == Some(Protection::Ours);
            let is_due = match kept.identity_reads {
                IDENTITY_READS => true,
                0 => depth == Depth::Full && is_favoured,
                _ => depth == Depth::Full,
            };
            let is_kernels = process.protection == Some(Protection::KernelThread);
            if !is_due || kept.asked || kept.stuck || is_kernels {
                continue;
            }
            if !ask(self.request(index, What::Identity)) {
                return;
            }
            self.kept[index].asked = true;
        }
    }

    /// Takes in what was found; allocates nothing. If that is what a process
    /// executes, the process is returned, to be classified.
    pub fn apply(&mut self, survey: &Survey) -> Option<&mut Process> {
        let index = self.find(survey.id.pid)?;
        if self.processes[index].id != survey.id {
            return None;
        }
        match survey.found {
            Found::Nothing => self.kept[index].asked = false,
            Found::Identity(identity) => {
                self.identify(index, &identity);
                return Some(&mut self.processes[index]);
            }
            Found::Own(share) => {
                let kept = &mut self.kept[index];
                let whole = || Share::whole(kept.raw_anon_bytes, kept.raw_swap_bytes);
                kept.correction = Some(Correction {
                    share: share.unwrap_or_else(whole),
                    round: self.round,
                });
                kept.show(&mut self.processes[index]);
            }
            Found::LastMapped(bytes) => self.count_last_mapped(index, bytes),
        }
        None
    }

    /// No answer to `request` has come in all the time it could take. Its
    /// process is not asked about again; and where it was to be measured,
    /// neither is what else that user runs, unless that is root: or one user
    /// could keep any number of readers waiting. What was asked for beside it
    /// can be asked for again. For quiet rounds.
    pub fn give_up_on(&mut self, request: &Request) {
        for kept in &mut self.kept {
            kept.asked = false;
        }
        let found = self.find(request.id.pid);
        let Some(index) = found.filter(|&index| self.processes[index].id == request.id) else {
            return;
        };
        self.kept[index].stuck = true;
        let owner = self.owner(index);
        if request.what.takes_the_mmap_lock() && owner != Owner::User(0) {
            self.given_up_on.push(owner);
        }
        self.count_unseen();
    }

    /// From now on no process is measured.
    pub fn measure_nothing(&mut self) {
        self.measures_nothing = true;
        self.count_unseen();
    }

    pub(crate) fn can_be_measured(&self, index: usize) -> bool {
        let is_known = self.kept[index].identity_reads < IDENTITY_READS;
        is_known && !self.is_given_up_on(index)
    }

    pub(crate) fn is_given_up_on(&self, index: usize) -> bool {
        self.measures_nothing
            || self.kept[index].stuck
            || self.given_up_on.contains(&self.owner(index))
    }

    fn owner(&self, index: usize) -> Owner {
        if self.kept[index].in_our_user_namespace {
            Owner::User(self.processes[index].uid)
        } else {
            Owner::Namespaces
        }
    }

    pub(crate) fn request(&self, index: usize, what: What) -> Request {
        let process = &self.processes[index];
        Request {
            id: process.id,
            what,
            rss_bytes: process.rss_bytes,
        }
    }

    fn identify(&mut self, index: usize, identity: &Identity) {
        let (process, kept) = (&mut self.processes[index], &mut self.kept[index]);
        if kept.executable != identity.executable {
            kept.executable = identity.executable;
            kept.correction = None;
        }
        kept.in_our_user_namespace = identity.in_our_user_namespace;
        kept.unit = identity.unit;
        kept.identity_reads = kept.identity_reads.saturating_sub(1);
        kept.asked = false;
        kept.place(process, identity.alone);
        kept.show(process);
    }

    pub(crate) fn find(&self, pid: u32) -> Option<usize> {
        position(&self.processes, pid)
    }

    fn held(&self) -> usize {
        self.kept.iter().filter(|kept| kept.statm.is_some()).count()
    }

    fn scan_held(&mut self, scan: &mut Scan, failure: &mut Option<ReadError>) {
        let Ok(root) = self.root.open() else {
            // Nothing has been scanned yet, so nothing is held.
            return;
        };
        let page_bytes = self.page_bytes;
        retain(&mut self.processes, &mut self.kept, |process, kept| {
            let Some(file) = &kept.statm else {
                return true;
            };
            match statm(root, process.id.pid, kept.thread, file) {
                Ok(statm) => {
                    kept.weigh(process, statm, page_bytes);
                    true
                }
                Err(miss) => {
                    count_miss(miss, scan, failure);
                    false
                }
            }
        });
    }

    /// Puts the pids that are listed into `self.pids`, ascending.
    fn list(&mut self) -> Result<(), ReadError> {
        let root = self.root.open()?;
        let failed = |errno: Errno| ReadError::Read {
            path: root.path.to_owned(),
            source: errno.into(),
        };
        self.pids.clear();
        seek(root.directory, SeekFrom::Start(0)).map_err(failed)?;
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut entries = RawDir::new(root.directory, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(failed)?;
            let pid = decimal(entry.file_name().to_bytes());
            self.pids
                .extend(pid.and_then(|pid| u32::try_from(pid).ok()));
        }
        // procfs lists them so; other filesystems do not.
        if !self.pids.is_sorted() {
            self.pids.sort_unstable();
        }
        Ok(())
    }

    /// Looks at those known that are still listed, drops those that are gone,
    /// and leaves in `self.pids` those that are not known.
    fn scan_known(&mut self, depth: Depth, scan: &mut Scan, failure: &mut Option<ReadError>) {
        let Ok(root) = self.root.open() else { return };
        let mut room = self.hold_at_most.saturating_sub(self.held());
        let mut reader = Reader {
            root,
            page_bytes: self.page_bytes,
            text: &mut self.text,
        };
        let pids = &mut self.pids;
        let (mut next, mut unknown) = (0, 0);
        retain(&mut self.processes, &mut self.kept, |process, kept| {
            let pid = process.id.pid;
            while next < pids.len() && pids[next] < pid {
                pids[unknown] = pids[next];
                unknown += 1;
                next += 1;
            }
            if pids.get(next) != Some(&pid) {
                scan.gone += 1;
                return false;
            }
            next += 1;
            let looked = if depth == Depth::Full || (depth == Depth::Fast && kept.is_new) {
                kept.is_new = false;
                let was_held = kept.statm.is_some();
                let looked = reader.look_closely(process, kept);
                if !was_held && kept.statm.is_some() {
                    if room > 0 {
                        room -= 1;
                    } else {
                        kept.statm = None;
                    }
                }
                looked
            } else {
                reader.look(process, kept)
            };
            match looked {
                Ok(()) => true,
                // It is there, and we have no means to look. It will have
                // moved little.
                Err(Miss::Failed(err)) if err.is_out_of_descriptors() => true,
                Err(miss) => {
                    if matches!(miss, Miss::Gone) {
                        // Its pid is listed: another has it by now, or it goes
                        // just now.
                        pids[unknown] = pid;
                        unknown += 1;
                    }
                    count_miss(miss, scan, failure);
                    false
                }
            }
        });
        pids.copy_within(next.., unknown);
        let left = pids.len() - next;
        pids.truncate(unknown + left);
    }

    /// Takes in the processes of `self.pids`.
    fn scan_newcomers(&mut self, depth: Depth, scan: &mut Scan, failure: &mut Option<ReadError>) {
        let known = self.processes.len();
        let mut held = self.held();
        for index in 0..self.pids.len() {
            let pid = self.pids[index];
            let mut taken = self.take_in(pid, depth, known);
            if let Err(Miss::Failed(err)) = &taken
                && err.is_out_of_descriptors()
                && self.let_some_go()
            {
                held = self.held();
                taken = self.take_in(pid, depth, known);
            }
            match taken {
                Ok((process, mut kept)) => {
                    if held < self.hold_at_most {
                        held += 1;
                    } else {
                        kept.statm = None;
                    }
                    self.processes.push(process);
                    self.kept.push(kept);
                    scan.newcomers += 1;
                }
                Err(Miss::Gone) => {}
                Err(miss) => count_miss(miss, scan, failure),
            }
        }
        merge(&mut self.processes, &mut self.kept, known);
    }

    fn take_in(&mut self, pid: u32, depth: Depth, known: usize) -> Result<(Process, Kept), Miss> {
        let mut reader = Reader {
            root: self.root.open()?,
            page_bytes: self.page_bytes,
            text: &mut self.text,
        };
        let (processes, kept) = (&self.processes, &self.kept);
        // Whom it was forked by is known, or a newcomer that came before it.
        let unit_of = |parent: u32| {
            let index = position(&processes[..known], parent)
                .or_else(|| Some(known + position(&processes[known..], parent)?))?;
            kept[index].unit
        };
        reader.take_in(pid, depth, unit_of)
    }

    /// Makes sure that a scan finds one descriptor free.
    fn spare_a_descriptor(&mut self) {
        let Ok(root) = self.root.open() else { return };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let spare = openat(root.directory, c".", flags, Mode::empty());
        if matches!(spare, Err(Errno::MFILE | Errno::NFILE)) {
            self.let_some_go();
        }
    }

    /// Closes some of the descriptors held, and holds no more than that from
    /// now on. `false` if there were none.
    fn let_some_go(&mut self) -> bool {
        self.hold_at_most = self.held().saturating_sub(LEFT);
        let held = self.kept.iter_mut().rev().map(|kept| &mut kept.statm);
        held.filter_map(Option::take).take(LEFT).count() > 0
    }

    fn make_room(&mut self) {
        let len = self.processes.len();
        self.processes.reserve(len);
        self.kept.reserve(len);
        self.pids.reserve((2 * len).saturating_sub(self.pids.len()));
    }
}

impl fmt::Debug for ProcessTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessTable")
            .field("root", &self.root)
            .field("processes", &self.processes)
            .field("hold_at_most", &self.hold_at_most)
            .finish_non_exhaustive()
    }
}

impl Kept {
    fn new(statm: Option<OwnedFd>, unit: Option<Unit>) -> Self {
        Self {
            statm,
            thread: None,
            is_new: true,
            is_unjudged: false,
            executable: 0,
            in_our_user_namespace: true,
            unit,
            identity_reads: IDENTITY_READS,
            asked: false,
            stuck: false,
            raw_anon_bytes: 0,
            raw_swap_bytes: 0,
            correction: None,
            rss_shmem_bytes: 0,
            last_mapped: None,
        }
    }

    /// Takes in what `statm` says.
    fn weigh(&mut self, process: &mut Process, statm: Statm, page_bytes: u64) {
        let anon_pages = statm.resident_pages.saturating_sub(statm.shared_pages);
        process.rss_bytes = statm.resident_pages.saturating_mul(page_bytes);
        self.raw_anon_bytes = anon_pages.saturating_mul(page_bytes);
        self.show(process);
    }

    /// Shows in `process` what was counted, as far as it is its own.
    pub(crate) fn show(&self, process: &mut Process) {
        process.anon_bytes = self.raw_anon_bytes;
        process.swap_bytes = self.raw_swap_bytes;
        if let Some(correction) = &self.correction {
            process.anon_bytes = correction.share.anon.apply(self.raw_anon_bytes);
            process.swap_bytes = correction.share.swap.apply(self.raw_swap_bytes);
        }
        let last_mapped_bytes = self
            .last_mapped
            .as_ref()
            .map_or(0, |measured| measured.bytes);
        process.shmem_bytes = last_mapped_bytes.min(self.rss_shmem_bytes);
    }

    /// Has `process` judged, as if nothing were known of it but what it is to
    /// the kernel.
    fn introduce(&mut self, process: &mut Process, stat: &Stat) {
        process.protection = stat.is_kernel_thread.then_some(Protection::KernelThread);
        process.critical_below_bytes = 0;
        process.preference = Preference::None;
        self.is_unjudged = true;
    }

    /// Groups `process` by its unit, or else as if `alone`.
    fn place(&self, process: &mut Process, alone: Unit) {
        let Unit { session, login } = self.unit.unwrap_or(alone);
        process.session = session;
        process.login = login;
    }
}

/// What reads the files of one process after the other.
struct Reader<'a> {
    root: OpenRoot<'a>,
    page_bytes: u64,
    text: &'a mut [u8],
}

impl Reader<'_> {
    /// What a known process holds in memory.
    fn look(&mut self, process: &mut Process, kept: &mut Kept) -> Result<(), Miss> {
        let pid = process.id.pid;
        let statm = match &kept.statm {
            Some(file) => statm(self.root, pid, kept.thread, file)?,
            None => {
                let file = self.open_statm(pid, kept.thread)?;
                if self.stat(pid)?.start_ticks != process.id.start_ticks {
                    return Err(Miss::Gone);
                }
                statm(self.root, pid, kept.thread, &file)?
            }
        };
        if statm.resident_pages == 0 && process.rss_bytes > 0 {
            // Its first thread has ended. Whether others run on, who takes it
            // in anew will see.
            return Err(Miss::Gone);
        }
        kept.weigh(process, statm, self.page_bytes);
        Ok(())
    }

    /// All of a known process. Its `statm` is held afterwards.
    fn look_closely(&mut self, process: &mut Process, kept: &mut Kept) -> Result<(), Miss> {
        let pid = process.id.pid;
        if kept.statm.is_none() {
            kept.statm = Some(self.open_statm(pid, kept.thread)?);
        }
        let stat = self.stat(pid)?;
        if stat.start_ticks != process.id.start_ticks {
            return Err(Miss::Gone);
        }
        let before = (process.name, process.uid);
        self.examine(process, kept, &stat, Depth::Full)?;
        let has_changed = before != (process.name, process.uid);
        // A worker thread of the kernel's is renamed with each piece of work.
        if has_changed && !stat.is_kernel_thread {
            kept.identity_reads = IDENTITY_READS;
            kept.correction = None;
            kept.show(process);
            kept.introduce(process, &stat);
        }
        Ok(())
    }

    /// A process not known so far.
    fn take_in(
        &mut self,
        pid: u32,
        depth: Depth,
        unit_of: impl FnOnce(u32) -> Option<Unit>,
    ) -> Result<(Process, Kept), Miss> {
        let file = self.open_statm(pid, None)?;
        let stat = self.stat(pid)?;
        // Pid 1 puts whom it starts into a cgroup of their own.
        let unit = (stat.parent > 1).then(|| unit_of(stat.parent)).flatten();
        let mut kept = Kept::new(Some(file), unit);
        let mut process = blank();
        process.id = ProcessId {
            pid,
            start_ticks: stat.start_ticks,
        };
        self.examine(&mut process, &mut kept, &stat, depth)?;
        kept.introduce(&mut process, &stat);
        Ok((process, kept))
    }

    /// Reads all but `stat`; `statm` last, for it proves the rest.
    fn examine(
        &mut self,
        process: &mut Process,
        kept: &mut Kept,
        stat: &Stat,
        depth: Depth,
    ) -> Result<(), Miss> {
        let pid = process.id.pid;
        process.name = stat.name;
        process.parent = stat.parent;
        process.group = stat.group;
        process.major_faults = stat.major_faults;
        if !stat.is_kernel_thread {
            if stat.outlived_its_first_thread() && kept.thread.is_none() {
                kept.thread = self.other_thread(pid)?;
                kept.statm = Some(self.open_statm(pid, kept.thread)?);
            }
            let status = self.root.status(pid, kept.thread, self.text)?;
            process.uid = status.uid.ok_or_else(|| ReadError::Missing {
                path: self.root.path.join(PidPath::new(pid, "status").as_str()),
                key: "Uid:",
            })?;
            kept.raw_swap_bytes = status.swap_bytes;
            kept.rss_shmem_bytes = status.shmem_bytes;
            process.oom_score_adj = self.root.score_adj(pid)?;
            if depth == Depth::Full {
                process.oom_score = match self.root.score(pid) {
                    // It is only shown.
                    Err(Miss::Failed(_)) => None,
                    score => Some(score?),
                };
            }
        }
        let alone = Unit {
            session: SessionId(u64::from(stat.session)),
            login: stat.has_terminal,
        };
        kept.place(process, alone);
        if let Some(file) = &kept.statm {
            let statm = statm(self.root, pid, kept.thread, file)?;
            kept.weigh(process, statm, self.page_bytes);
        }
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

/// A process of which nothing has been read.
fn blank() -> Process {
    Process {
        id: ProcessId {
            pid: 0,
            start_ticks: 0,
        },
        parent: 0,
        group: 0,
        session: SessionId::default(),
        login: false,
        uid: 0,
        name: Name::default(),
        oom_score: None,
        oom_score_adj: 0,
        rss_bytes: 0,
        anon_bytes: 0,
        swap_bytes: 0,
        shmem_bytes: 0,
        major_faults: 0,
        value: None,
        protection: None,
        critical_below_bytes: 0,
        preference: Preference::None,
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

fn count_miss(miss: Miss, scan: &mut Scan, failure: &mut Option<ReadError>) {
    match miss {
        Miss::Gone => scan.gone += 1,
        Miss::Failed(err) if err.is_denied() || err.is_out_of_descriptors() => scan.unread += 1,
        Miss::Failed(err) => {
            failure.get_or_insert(err);
        }
    }
}

fn position(processes: &[Process], pid: u32) -> Option<usize> {
    processes
        .binary_search_by_key(&pid, |process| process.id.pid)
        .ok()
}

/// [`Vec::retain_mut`] for two that belong together.
fn retain(
    processes: &mut Vec<Process>,
    kept: &mut Vec<Kept>,
    mut keep: impl FnMut(&mut Process, &mut Kept) -> bool,
) {
    let mut len = 0;
    for index in 0..processes.len() {
        if keep(&mut processes[index], &mut kept[index]) {
            processes.swap(len, index);
            kept.swap(len, index);
            len += 1;
        }
    }
    processes.truncate(len);
    kept.truncate(len);
}

/// Merges the first `known` and the rest, both ascending, in place. The
/// newcomers are nearly always above, and then there is nothing to do.
fn merge(processes: &mut [Process], kept: &mut [Kept], known: usize) {
    let (mut low, mut start) = (0, known);
    while let Some(lowest) = processes.get(start).map(|process| process.id.pid) {
        low += processes[low..start].partition_point(|process| process.id.pid < lowest);
        if low == start {
            break;
        }
        let above = processes[low].id.pid;
        let count = processes[start..].partition_point(|process| process.id.pid < above);
        processes[low..start + count].rotate_right(count);
        kept[low..start + count].rotate_right(count);
        low += count;
        start += count;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn table_of(pids: impl IntoIterator<Item = u32>) -> (Vec<Process>, Vec<Kept>) {
        pids.into_iter()
            .map(|pid| {
                let process = Process {
                    id: ProcessId {
                        pid,
                        start_ticks: 0,
                    },
                    ..blank()
                };
                let kept = Kept {
                    raw_anon_bytes: pid.into(),
                    ..Kept::new(None, None)
                };
                (process, kept)
            })
            .unzip()
    }

    fn pids(processes: &[Process], kept: &[Kept]) -> Vec<u32> {
        let pairs = processes.iter().zip(kept);
        pairs
            .map(|(process, kept)| {
                assert_eq!(u64::from(process.id.pid), kept.raw_anon_bytes);
                process.id.pid
            })
            .collect()
    }

    proptest! {
        #[test]
        fn newcomers_are_merged_in_order_with_what_is_kept_of_them(
            known: BTreeSet<u8>,
            new: BTreeSet<u8>,
        ) {
            let new: BTreeSet<u8> = new.difference(&known).copied().collect();
            let in_two = known.iter().chain(&new).copied().map(u32::from);
            let (mut processes, mut kept) = table_of(in_two);
            merge(&mut processes, &mut kept, known.len());
            let want: Vec<u32> = known.union(&new).copied().map(u32::from).collect();
            prop_assert_eq!(pids(&processes, &kept), want);
        }

        #[test]
        fn those_retained_stay_in_order_with_what_is_kept_of_them(known: BTreeSet<u8>) {
            let (mut processes, mut kept) = table_of(known.iter().copied().map(u32::from));
            retain(&mut processes, &mut kept, |process, _| process.id.pid % 3 == 0);
            let want = known.into_iter().map(u32::from).filter(|pid| pid % 3 == 0);
            prop_assert_eq!(pids(&processes, &kept), want.collect::<Vec<_>>());
        }
    }
}
