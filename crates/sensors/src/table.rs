//! All processes, scan after scan.
//!
//! Which processes there are, and what is read of how many of them. How one is
//! read is for `process.rs` to say.
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

use model::{Depth, Dossier, Process, ProcessId, Seen, Worth};
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom, openat, seek};
use rustix::io::Errno;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::error::ReadError;
use crate::number::decimal;
use crate::proc_root::{Miss, ProcRoot};
use crate::process::{Kept, Owner, Reader};
use crate::scopes::Scopes;
use crate::shared_memory::Mapping;
use crate::unmeasured::Rank;

/// Descriptors that are left for the daemon's other needs.
const LEFT: usize = 64;

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

/// What a scan has come to so far.
#[derive(Debug, Default)]
struct ScanAccount {
    scan: Scan,
    /// The first.
    failure: Option<ReadError>,
}

impl ScanAccount {
    fn miss(&mut self, miss: Miss) {
        match miss {
            Miss::Gone => self.scan.gone += 1,
            Miss::Failed(err) if err.is_denied() || err.is_out_of_descriptors() => {
                self.scan.unread += 1;
            }
            Miss::Failed(err) => {
                self.failure.get_or_insert(err);
            }
        }
    }
}

/// As the kernel counts start times (field 22 of proc_pid_stat(5)).
pub(crate) fn ticks_since_boot() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let ticks = clock_ticks_per_second();
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    seconds * ticks + nanos * ticks / 1_000_000_000
}

/// All processes, and a descriptor of each.
///
/// A zombie is in it, and holds nothing. So is a kernel thread.
pub struct ProcessTable {
    pub(crate) root: ProcRoot,
    page_bytes: u64,
    /// By ascending pid, and `kept` beside it.
    pub(crate) processes: Vec<Seen>,
    pub(crate) kept: Vec<Kept>,
    /// Those listed, then those of them that were not known.
    pids: Vec<u32>,
    text: Box<[u8]>,
    /// At most so many descriptors are held.
    hold_at_most: usize,
    /// How many calls have measured anything, so that the oldest measurement
    /// is known.
    pub(crate) round: u64,
    /// The first process of each pid namespace but ours, and the main process of
    /// each service: what tells that from others, start time, pid.
    pub(crate) heads: Vec<(u64, u64, u32)>,
    /// Which processes map which nameless shared memory, in order.
    pub(crate) mappings: Vec<Mapping>,
    /// For what is put in order, so that this takes no memory.
    pub(crate) ranks: Vec<Rank>,
    /// Their processes are not measured, since one of them kept its reader waiting.
    pub(crate) given_up_on: Vec<(Owner, ProcessId)>,
    /// No process is.
    pub(crate) measures_nothing: bool,
    scanned_at_ticks: u64,
    /// Where a cgroup is guarded: the pid from which on it is asked again which
    /// processes are in which.
    pub(crate) members_from: Option<u32>,
    /// The scopes that all processes are in.
    everywhere: u32,
    /// The number of the one that is looked at.
    scope: usize,
    /// See [`Self::disregard`].
    ours: &'static [i16],
    /// See [`Self::keep`].
    kept_on: [Option<ProcessId>; 2],
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
            heads: Vec::with_capacity(capacity),
            mappings: Vec::with_capacity(capacity),
            ranks: Vec::with_capacity(capacity),
            given_up_on: Vec::new(),
            measures_nothing: false,
            scanned_at_ticks: 0,
            members_from: None,
            everywhere: 1,
            scope: 0,
            ours: &[],
            kept_on: [None; 2],
        }
    }

    /// The same, of which only what is found to be in a scope is joined for that
    /// ([`Self::join`]), and measured. A newcomer is where its parent is until that
    /// is known.
    #[must_use]
    pub fn of_scopes(self, scopes: &Scopes) -> Self {
        Self {
            members_from: scopes.cgroups().next().map(|_| 0),
            everywhere: scopes.everywhere(),
            ..self
        }
    }

    /// From now on what a scope shows is looked at and measured, which has that number;
    /// at first, 0.
    pub fn turn(&mut self, scope: usize) {
        self.scope = scope;
    }

    /// Whether a process is in the scope that is looked at.
    pub(crate) fn is_here(&self, index: usize) -> bool {
        self.kept[index].scopes >> self.scope & 1 == 1
    }

    /// When the last scan began, in clock ticks since boot, as start times are:
    /// what started later may have been missed.
    #[must_use]
    pub fn scanned_at_ticks(&self) -> u64 {
        self.scanned_at_ticks
    }

    /// How long a process has run, as of the last scan, in milliseconds.
    #[must_use]
    pub fn age_millis(&self, id: ProcessId) -> u64 {
        let ticks = self.scanned_at_ticks.saturating_sub(id.start_ticks);
        ticks.saturating_mul(1000) / clock_ticks_per_second()
    }

    /// From now on, an `oom_score_adj` that has risen to one of these is the
    /// daemon's own doing, in the process or in its parent, and is not taken for
    /// a hint: what it was before is shown, until it is another again.
    pub fn disregard(&mut self, oom_score_adjs: &'static [i16]) {
        self.ours = oom_score_adjs;
    }

    /// From now on these stay in the table as they were last seen, though they may have
    /// ended.
    ///
    /// While a thread reads of a process's memory, or pages it out, it has that memory:
    /// where the process ends meanwhile, it comes back only afterwards. A row goes once
    /// another process has its pid.
    pub fn keep(&mut self, ids: [Option<ProcessId>; 2]) {
        self.kept_on = ids;
    }

    /// Looks at the processes. Those that are new or have become something else
    /// are to be classified afterwards, even if this fails: see
    /// [`Self::unclassified`].
    ///
    /// # Errors
    ///
    /// [`ReadError`] names the directory that could not be listed, so that only
    /// those held were looked at; or the first file that could not be read or
    /// made no sense, whose process is left out: all others have been read
    /// nevertheless. That a process is gone, hidden from us, or not held for
    /// want of descriptors is not an error: [`Scan`] has the count.
    pub fn scan(&mut self, depth: Depth) -> Result<Scan, ReadError> {
        let mut account = ScanAccount::default();
        self.scanned_at_ticks = ticks_since_boot();
        if depth == Depth::Held {
            self.scan_held(&mut account);
        } else {
            self.spare_a_descriptor();
            match self.list() {
                Ok(()) => {
                    self.scan_known(depth, &mut account);
                    self.scan_newcomers(&mut account);
                    self.find_foreground_jobs();
                }
                Err(err) => {
                    account.failure = Some(err);
                    self.scan_held(&mut account);
                }
            }
        }
        self.part_memories();
        self.find_sharers();
        self.find_holders();
        if depth == Depth::Full {
            self.make_room();
        }
        let scan = Scan {
            processes: self.processes.len(),
            unheld: self.processes.len() - self.held(),
            ..account.scan
        };
        account.failure.map_or(Ok(scan), Err)
    }

    /// Those to be classified since the last call: each once when it is new,
    /// and again when its name or real user is seen to have changed. The caller
    /// fills in the dossier, which is empty then, and the table keeps it. What
    /// a process executes is not known then, and its session is its parent's:
    /// see [`Self::ask_for_identities`].
    pub fn unclassified(&mut self) -> impl Iterator<Item = (&Seen, &mut Dossier)> {
        let both = self.processes.iter().zip(&mut self.kept);
        both.filter_map(|(seen, kept)| {
            mem::take(&mut kept.is_unclassified).then_some((seen, &mut kept.dossier))
        })
    }

    /// Those that were classified, to be classified anew: what was found of them
    /// since is in the dossier.
    pub fn classified(&mut self) -> impl Iterator<Item = (&Seen, &mut Dossier)> {
        let both = self.processes.iter().zip(&mut self.kept);
        both.filter(|(_, kept)| !kept.is_unclassified)
            .map(|(seen, kept)| (seen, &mut kept.dossier))
    }

    /// Has all of those that `is_it` read in the next fast scan already, where what they
    /// have in swap would be as it was at the last full one.
    pub fn renew(&mut self, is_it: impl Fn(ProcessId) -> bool) {
        for (process, kept) in self.processes.iter().zip(&mut self.kept) {
            kept.is_new |= is_it(process.id);
        }
    }

    /// Every process known, by ascending pid, as last seen.
    #[must_use]
    pub fn processes(&self) -> &[Seen] {
        &self.processes
    }

    /// The process with this pid, as last seen.
    #[must_use]
    pub fn get(&self, pid: u32) -> Option<&Seen> {
        let index = self.find(pid)?;
        Some(&self.processes[index])
    }

    /// Puts every process but kernel threads, and but those outside of the scope
    /// number `scope`, into `processes`, in place of what is there: what was seen of
    /// it, its dossier, and in that its `worth`.
    pub fn join(
        &self,
        scope: usize,
        worth: impl Fn(ProcessId) -> Option<Worth>,
        processes: &mut Vec<Process>,
    ) {
        let is_in = |kept: &Kept| kept.scopes >> scope & 1 == 1;
        let both = self.processes.iter().zip(&self.kept);
        let ordinary = both.filter(|(seen, kept)| !seen.is_kernel_thread && is_in(kept));
        processes.clear();
        processes.extend(ordinary.map(|(seen, kept)| {
            let worth = worth(seen.id);
            Process {
                seen: *seen,
                dossier: Dossier {
                    value: worth.map(|worth| worth.value),
                    gain: worth.and_then(|worth| worth.gain),
                    ..kept.dossier
                },
            }
        }));
    }

    /// The scopes that a process is in, a bit each; none of one that is not known.
    #[must_use]
    pub fn scopes_of(&self, id: ProcessId) -> u32 {
        self.find_id(id).map_or(0, |index| self.kept[index].scopes)
    }

    /// Reads the kernel's badness of `pid` now and keeps it until it is read again: no
    /// scan does, for it is only shown. `None` if the process is gone or not known.
    ///
    /// # Errors
    ///
    /// [`ReadError`] names the file that could not be read or made no sense.
    pub fn refresh_score(&mut self, pid: u32) -> Result<Option<u16>, ReadError> {
        let Some(index) = self.find(pid) else {
            return Ok(None);
        };
        let score = self.root.oom_score(pid)?;
        if score.is_some() {
            self.processes[index].oom_score = score;
        }
        Ok(score)
    }

    pub(crate) fn find(&self, pid: u32) -> Option<usize> {
        Seen::position(&self.processes, pid)
    }

    /// Where `id` is; `None` where its pid is another's by now.
    pub(crate) fn find_id(&self, id: ProcessId) -> Option<usize> {
        Seen::place(&self.processes, id)
    }

    fn held(&self) -> usize {
        self.kept.iter().filter(|kept| kept.statm.is_some()).count()
    }

    fn scan_held(&mut self, account: &mut ScanAccount) {
        let Ok(root) = self.root.open() else {
            // Nothing has been scanned yet, so nothing is held.
            return;
        };
        let reader = Reader {
            root,
            page_bytes: self.page_bytes,
            text: &mut self.text,
            ours: self.ours,
            now_ticks: self.scanned_at_ticks,
        };
        let kept_on = self.kept_on;
        retain(&mut self.processes, &mut self.kept, |process, kept| {
            let Err(miss) = reader.look_again(process, kept) else {
                return true;
            };
            let is_kept = matches!(miss, Miss::Gone) && kept_on.contains(&Some(process.id));
            if !is_kept {
                account.miss(miss);
            }
            is_kept
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
    fn scan_known(&mut self, depth: Depth, account: &mut ScanAccount) {
        let Ok(root) = self.root.open() else { return };
        let mut room = self.hold_at_most.saturating_sub(self.held());
        let mut reader = Reader {
            root,
            page_bytes: self.page_bytes,
            text: &mut self.text,
            ours: self.ours,
            now_ticks: self.scanned_at_ticks,
        };
        let (pids, kept_on) = (&mut self.pids, self.kept_on);
        let (mut next, mut unknown) = (0, 0);
        retain(&mut self.processes, &mut self.kept, |process, kept| {
            let pid = process.id.pid;
            while next < pids.len() && pids[next] < pid {
                pids[unknown] = pids[next];
                unknown += 1;
                next += 1;
            }
            if pids.get(next) != Some(&pid) {
                if kept_on.contains(&Some(process.id)) {
                    return true;
                }
                account.scan.gone += 1;
                return false;
            }
            next += 1;
            // A kernel thread shows nothing that changes, unless it executes a program.
            let is_settled = process.is_kernel_thread && kept.statm.is_some();
            let looked = if kept.is_new {
                Ok(false)
            } else if depth == Depth::Full && !is_settled {
                reader.look_unless_changed(process, kept)
            } else {
                reader.look(process, kept)
            };
            let looked = looked.and_then(|is_done| {
                if is_done {
                    return Ok(());
                }
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
            });
            match looked {
                Ok(()) => {
                    kept.missed = false;
                    true
                }
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
                    account.miss(miss);
                    false
                }
            }
        });
        pids.copy_within(next.., unknown);
        let left = pids.len() - next;
        pids.truncate(unknown + left);
    }

    /// Takes in the processes of `self.pids`.
    fn scan_newcomers(&mut self, account: &mut ScanAccount) {
        let known = self.processes.len();
        let mut held = self.held();
        for index in 0..self.pids.len() {
            let pid = self.pids[index];
            let mut taken = self.take_in(pid, known);
            if let Err(Miss::Failed(err)) = &taken
                && err.is_out_of_descriptors()
                && self.let_some_go()
            {
                held = self.held();
                taken = self.take_in(pid, known);
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
                    account.scan.newcomers += 1;
                }
                Err(Miss::Gone) => {}
                Err(miss) => account.miss(miss),
            }
        }
        self.tell_the_new(known);
        merge(&mut self.processes, &mut self.kept, known);
    }

    /// An interactive shell puts what it starts into a process group of its own,
    /// and has those in the foreground of the terminal that it waits for. What
    /// a job starts in turn is in the group of its parent.
    fn find_foreground_jobs(&mut self) {
        for index in 0..self.kept.len() {
            let is_job = self.kept[index].is_in_foreground && self.is_a_shells(index);
            self.processes[index].is_foreground_job = is_job;
        }
    }

    /// Whether its parent is in its session, but not in its process group.
    fn is_a_shells(&self, index: usize) -> bool {
        self.find(self.processes[index].parent)
            .is_some_and(|parent| {
                self.kept[parent].kernel_session == self.kept[index].kernel_session
                    && self.processes[parent].group != self.processes[index].group
            })
    }

    /// Of the newcomers, those from `known` on, only what has just started may
    /// be about to execve(2): what started long before the youngest is read
    /// once. At start that is nearly all, and the first decision waits for it.
    fn tell_the_new(&mut self, known: usize) {
        let newcomers = &self.processes[known..];
        let started = newcomers.iter().map(|process| process.id.start_ticks);
        let Some(youngest) = started.max() else {
            return;
        };
        let just_now = youngest.saturating_sub(clock_ticks_per_second());
        for (process, kept) in newcomers.iter().zip(&mut self.kept[known..]) {
            kept.is_new = just_now <= process.id.start_ticks;
        }
    }

    fn take_in(&mut self, pid: u32, known: usize) -> Result<(Seen, Kept), Miss> {
        let mut reader = Reader {
            root: self.root.open()?,
            page_bytes: self.page_bytes,
            text: &mut self.text,
            ours: self.ours,
            now_ticks: self.scanned_at_ticks,
        };
        let (processes, kept) = (&self.processes, &self.kept);
        // Whom it was forked by is known, or a newcomer that came before it.
        let known_of = |parent: u32| {
            let index = Seen::position(&processes[..known], parent)
                .or_else(|| Some(known + Seen::position(&processes[known..], parent)?))?;
            Some((&processes[index], &kept[index]))
        };
        let of_parent = |parent| {
            let known = known_of(parent);
            let raised = known.filter(|(_, kept)| kept.raised_to.is_some());
            let was = raised.map(|(process, _)| process.oom_score_adj);
            (known.and_then(|(_, kept)| kept.unit), was)
        };
        let (process, mut kept) = reader.take_in(pid, of_parent)?;
        let parents = known_of(process.parent).map_or(0, |(_, kept)| kept.scopes);
        kept.scopes = self.everywhere | parents;
        Ok((process, kept))
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
        let heads = (2 * len).saturating_sub(self.heads.len());
        self.heads.reserve(heads);
        let mappings = (2 * len).saturating_sub(self.mappings.len());
        self.mappings.reserve(mappings);
        // It is empty between two uses.
        self.ranks.reserve(2 * len);
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

/// [`Vec::retain_mut`] for two that belong together.
fn retain(
    processes: &mut Vec<Seen>,
    kept: &mut Vec<Kept>,
    mut keep: impl FnMut(&mut Seen, &mut Kept) -> bool,
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
fn merge(processes: &mut [Seen], kept: &mut [Kept], known: usize) {
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
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn table_of(pids: impl IntoIterator<Item = u32>) -> (Vec<Seen>, Vec<Kept>) {
        pids.into_iter()
            .map(|pid| {
                let process = Seen::new(ProcessId {
                    pid,
                    start_ticks: 0,
                });
                let kept = Kept {
                    raw_anon_bytes: pid.into(),
                    ..Kept::new(None, None)
                };
                (process, kept)
            })
            .unzip()
    }

    #[test]
    fn what_holds_what_it_held_is_read_again_after_a_while_unless_it_has_a_terminal() {
        let tree = tempfile::tempdir().unwrap();
        let directory = tree.path().join("7");
        fs::create_dir(&directory).unwrap();
        let write = |file: &str, text: &str| fs::write(directory.join(file), text).unwrap();
        let stat = "7 (one) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100 0 0\n";
        write("stat", stat);
        write("statm", "200 100 50 10 0 90 0\n");
        let mut table = ProcessTable::new(ProcRoot::at(tree.path()), 4);
        let seen = |table: &mut ProcessTable, uid: u32, adj: i16| {
            write("status", &format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n"));
            write("oom_score_adj", &format!("{adj}\n"));
            table.scan(Depth::Full).unwrap();
            let process = &table.processes[0];
            (process.uid, process.oom_score_adj)
        };
        assert_eq!(seen(&mut table, 1, 0), (1, 0));
        assert_eq!(seen(&mut table, 2, 0), (2, 0), "a newcomer");
        assert_eq!(seen(&mut table, 3, -1000), (2, -1000));
        write("statm", "200 101 50 10 0 90 0\n");
        assert_eq!(seen(&mut table, 4, 0), (4, 0), "it has grown");
        assert_eq!(seen(&mut table, 5, 0), (4, 0));
        let (_, at_ticks) = table.kept[0].examined.as_mut().unwrap();
        *at_ticks = 0;
        assert_eq!(seen(&mut table, 6, 0), (6, 0), "a while has passed");
        assert_eq!(seen(&mut table, 7, 0), (6, 0));
        write("stat", &stat.replace("S 1 7 7 0 -1", "S 1 7 7 34816 7"));
        table.renew(|_| true);
        assert_eq!(seen(&mut table, 8, 0), (8, 0), "it is to be read");
        assert_eq!(seen(&mut table, 9, 0), (9, 0), "it has a terminal");
    }

    fn pids(processes: &[Seen], kept: &[Kept]) -> Vec<u32> {
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
