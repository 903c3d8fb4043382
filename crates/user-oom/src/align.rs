//! Has the kernel agree with us: where it comes first, it kills what we would
//! have killed next.
//!
//! The kernel kills the largest, and each point of `oom_score_adj` counts as a
//! thousandth of all memory and swap. So below the recovery threshold what would
//! be killed next is kept at [`FIRST`], which no size outweighs, and what would
//! follow at [`NEXT`]. Nothing is lowered, and on a healthy machine nothing is
//! written.
//!
//! The loop says which processes, and a thread writes: for a write the kernel
//! takes a mutex (`oom_adj_mutex`) that any user's process may hold when it loses
//! the processor. The thread does without CAP_SYS_RESOURCE. With it, a write would
//! also forbid the process to lower its own `oom_score_adj` again, even after
//! that was put back (`oom_score_adj_min`), as browsers do.
//!
//! What a process had is written down first. It is put back, unless something
//! else has changed it since, when the choice changes, when memory is back, when
//! the daemon exits, or by the next one should this one not come to it.
//!
//! Where that is written lies beside the socket, in a directory that others may
//! perhaps write to. So it is made anew each time, through no link, and what is
//! found is believed only where no other user can have written it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use oom_policy::{Memory, Moment, NextKill, Process, ProcessId};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use sensors::{Lineage, ProcRoot};
use terminal::chain;

use crate::tell::lane::Lane;

/// What would be killed next, or is dying already: no size outweighs it.
const FIRST: i16 = 1000;
/// What would follow, as long as it holds less than half of all: with more, it
/// would come before the first.
const NEXT: i16 = 500;
/// Never killed, by the kernel or by us.
const NEVER: i16 = -1000;

/// So many processes are raised at most.
const MOST: usize = 64;
/// Memory has to be back for so long: it may waver about the threshold.
const BACK: Duration = Duration::from_secs(5);
/// Before the loop tries again, where the thread was just taking what it left.
const BREATH: Duration = Duration::from_millis(20);
/// How long the end of the thread is waited for.
const FAREWELL: Duration = Duration::from_secs(1);
/// So far up an ancestor is looked for.
const GENERATIONS: usize = 32;
/// Lines that wait to be written.
pub(crate) const LINES: usize = 8;
/// As much of a memo is read: more than any machine has processes.
const LONGEST_BYTES: u64 = 16 << 20;
/// Room for a path and a line, formatted.
const STACK_BYTES: usize = 128 * 1024;

/// A process, and what it is to be raised to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    id: ProcessId,
    oom_score_adj: i16,
}

/// What the next kill is decided by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outlook<'a> {
    /// What would be killed next, in order.
    pub(crate) will: &'a [NextKill],
    pub(crate) processes: &'a [Process],
    pub(crate) memory: &'a Memory,
    /// When the processes were looked at, in clock ticks since boot.
    pub(crate) since_ticks: u64,
}

/// The loop's side. It waits for nothing, and takes no memory.
#[derive(Debug)]
pub(crate) struct Aligner {
    /// `None`: nothing is raised.
    thread: Option<Thread>,
    /// By ascending id.
    wanted: Vec<Wanted>,
    /// What was wanted before, as room.
    before: Vec<Wanted>,
    /// The thread does not have it yet.
    is_news: bool,
    /// When memory was last short, if something may be raised.
    short: Option<Moment>,
    /// When all was last to be put back.
    lowered: Option<Moment>,
}

#[derive(Debug)]
struct Thread {
    shared: Arc<Shared>,
    handle: thread::JoinHandle<()>,
    /// Whether an earlier daemon has left anything raised; comes once that is put
    /// back.
    put_back: mpsc::Receiver<bool>,
    /// Disconnected once it has ended.
    ended: mpsc::Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    order: Mutex<Order>,
    over: AtomicBool,
}

/// All that is to be raised, as the loop leaves it for the thread.
#[derive(Debug)]
struct Order {
    wanted: Vec<Wanted>,
    since_ticks: u64,
    is_new: bool,
}

impl Order {
    fn none() -> Self {
        Self {
            wanted: Vec::with_capacity(MOST),
            since_ticks: 0,
            is_new: false,
        }
    }
}

impl Aligner {
    /// Has a thread put back what an earlier daemon has left in `memo`, and
    /// then, where that `is_wanted`, raise what it is told to.
    pub(crate) fn spawn(root: ProcRoot, memo: PathBuf, is_wanted: bool, lane: Lane) -> Self {
        let shared = Arc::new(Shared {
            order: Mutex::new(Order::none()),
            over: AtomicBool::new(!is_wanted),
        });
        let (alive, ended) = mpsc::channel::<()>();
        let (has_put_back, put_back) = mpsc::channel();
        let theirs = Arc::clone(&shared);
        let spawned = thread::Builder::new()
            .name("oom-align".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let adjuster = Adjuster::new(root, memo);
                let dropped = drop_resource_capability();
                follow_orders(adjuster, dropped, &theirs, lane, &has_put_back);
                drop(alive);
            })
            .inspect_err(|err| {
                log::warn!("the kernel's own choice does not follow the values: {err}");
            });
        let thread = spawned.ok().map(|handle| Thread {
            shared,
            handle,
            put_back,
            ended,
        });
        Self {
            thread: thread.filter(|_| is_wanted),
            wanted: Vec::with_capacity(MOST),
            before: Vec::with_capacity(MOST),
            ..Self::off()
        }
    }

    /// One that raises nothing.
    pub(crate) fn off() -> Self {
        Self {
            thread: None,
            wanted: Vec::new(),
            before: Vec::new(),
            is_news: false,
            short: None,
            lowered: None,
        }
    }

    /// Whether what an earlier daemon had raised is put back by now.
    pub(crate) fn has_put_back(&self) -> bool {
        let Some(thread) = &self.thread else {
            return false;
        };
        thread.put_back.recv_timeout(FAREWELL).unwrap_or_default()
    }

    /// What any `oom_score_adj` may have been raised to.
    pub(crate) fn may_have_set(&self, now: Moment) -> &'static [i16] {
        let lowers = self.lowered.is_some_and(|at| now.since(at) < BACK);
        match self.short {
            None if !lowers => &[],
            _ => &[NEXT, FIRST],
        }
    }

    /// While memory `is_short`, has what is `dying` and what comes next by
    /// `outlook` be raised; later, nothing. How long until there is more to do.
    pub(crate) fn follow(
        &mut self,
        now: Moment,
        is_short: bool,
        dying: impl Iterator<Item = ProcessId>,
        outlook: Outlook<'_>,
    ) -> Duration {
        let (Some(thread), Some(rest)) = (&self.thread, self.rest(now, is_short)) else {
            return Duration::MAX;
        };
        if !rest.is_zero() {
            return rest;
        }
        std::mem::swap(&mut self.wanted, &mut self.before);
        self.wanted.clear();
        if is_short {
            self.short = Some(now);
            choose(&mut self.wanted, dying, outlook);
        }
        self.is_news |= self.wanted != self.before;
        if self.is_news {
            let Ok(mut order) = thread.shared.order.try_lock() else {
                return BREATH;
            };
            order.wanted.clear();
            order.wanted.extend_from_slice(&self.wanted);
            order.since_ticks = outlook.since_ticks;
            order.is_new = true;
            drop(order);
            thread.handle.thread().unpark();
            self.is_news = false;
        }
        if !is_short {
            self.short = None;
            self.lowered = Some(now);
        }
        Duration::MAX
    }

    /// How long what was raised stays as it is; `None`: nothing is.
    fn rest(&self, now: Moment, is_short: bool) -> Option<Duration> {
        if is_short {
            return Some(Duration::ZERO);
        }
        self.short.map(|short| (short + BACK).since(now))
    }
}

/// All is put back, unless that takes too long.
impl Drop for Aligner {
    fn drop(&mut self) {
        if let Some(thread) = &self.thread {
            thread.shared.over.store(true, Ordering::SeqCst);
            thread.handle.thread().unpark();
            let _ = thread.ended.recv_timeout(FAREWELL);
        }
    }
}

/// What is to be raised, and to what, into `chosen`, by ascending id.
fn choose(chosen: &mut Vec<Wanted>, dying: impl Iterator<Item = ProcessId>, outlook: Outlook<'_>) {
    let Outlook {
        will,
        processes,
        memory,
        ..
    } = outlook;
    let all_bytes = memory.total_bytes.saturating_add(memory.swap_total_bytes);
    let is_large = |id| {
        let process = Process::find(processes, id);
        process.is_some_and(|process| all_bytes / 2 <= process.held_bytes())
    };
    // Where the kernel chooses one that is dying, that may use its reserves.
    let first = |id| Wanted {
        id,
        oom_score_adj: FIRST,
    };
    chosen.extend(dying.take(MOST).map(first));
    let mut ranks = [FIRST, NEXT]
        .into_iter()
        .skip(usize::from(!chosen.is_empty()));
    let mut place = None;
    let mut rank = None;
    for next in will {
        if chosen.iter().any(|wanted| wanted.id == next.id) {
            continue;
        }
        if place.replace(next.place) != Some(next.place) {
            rank = ranks.next();
        }
        let Some(oom_score_adj) = rank.filter(|_| chosen.len() < MOST) else {
            break;
        };
        if oom_score_adj == FIRST || !is_large(next.id) {
            chosen.push(Wanted {
                id: next.id,
                oom_score_adj,
            });
        }
    }
    chosen.sort_unstable();
}

/// What the thread does, until the loop is over. Where the capability was not
/// `dropped` it raises nothing.
fn follow_orders(
    mut adjuster: Adjuster,
    dropped: Result<(), NotDropped>,
    shared: &Shared,
    mut lane: Lane,
    has_put_back: &mpsc::Sender<bool>,
) {
    let mut say = |cost: &str, err: &dyn Error| {
        lane.note(log::Level::Warn, format_args!("{cost}: {}", chain(err)));
    };
    let was_any = adjuster.put_back_earlier().unwrap_or_else(|err| {
        say(
            "oom_score_adj values that an earlier daemon set remain",
            &err,
        );
        false
    });
    // Perhaps it is not waited for any longer.
    let _ = has_put_back.send(was_any);
    if let Err(err) = dropped {
        // They could not lower it again.
        say("oom_score_adj of what would be killed is not raised", &err);
        return;
    }
    let mut order = Order::none();
    let mut was_said = false;
    while !shared.over.load(Ordering::SeqCst) {
        if !shared.take(&mut order) {
            thread::park();
            continue;
        }
        match adjuster.adjust(&order.wanted, order.since_ticks) {
            Ok(()) => was_said = false,
            Err(err) => {
                if !std::mem::replace(&mut was_said, true) {
                    say("cannot align the kernel's choice", &err);
                }
            }
        }
    }
}

impl Shared {
    /// Whether there is a new order, which is `order` then.
    fn take(&self, order: &mut Order) -> bool {
        let mut left = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = std::mem::take(&mut left.is_new);
        if is_new {
            order.wanted.clear();
            order.wanted.extend_from_slice(&left.wanted);
            order.since_ticks = left.since_ticks;
        }
        is_new
    }
}

/// Of this thread alone. Where there is none to drop, that is as good.
fn drop_resource_capability() -> Result<(), NotDropped> {
    let mut sets = capabilities(None).map_err(NotDropped)?;
    if !sets.effective.contains(CapabilitySet::SYS_RESOURCE) {
        return Ok(());
    }
    sets.effective.remove(CapabilitySet::SYS_RESOURCE);
    set_capabilities(None, sets).map_err(NotDropped)
}

/// Why the thread still has the capability.
#[derive(Debug, thiserror::Error)]
#[error("cannot drop CAP_SYS_RESOURCE in this thread (capset)")]
struct NotDropped(#[source] Errno);

/// Raises, writes down what was, and puts that back.
#[derive(Debug)]
struct Adjuster {
    root: ProcRoot,
    /// Where what they were is written down.
    memo: PathBuf,
    /// The memo there is ours.
    is_written: bool,
    raised: BTreeMap<ProcessId, Raised>,
}

/// What is known of a process that was raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Raised {
    was: i16,
    /// What started before, in clock ticks since boot, has not inherited what it
    /// was raised to.
    since_ticks: u64,
    session: u32,
}

/// Why what processes were is not known, or cannot be written down.
#[derive(Debug, thiserror::Error)]
enum MemoError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "`{}` is not ours: expected a regular file of uid {uid}, with one name, that others may not write",
        path.display()
    )]
    NotOurs { path: PathBuf, uid: u32 },
    #[error(
        "`{}`, line {line}: expected `<pid> <start> <oom_score_adj> <since> <session>`, found {found:?}",
        path.display()
    )]
    Malformed {
        path: PathBuf,
        line: usize,
        found: String,
    },
    #[error("cannot write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl Adjuster {
    /// Raises nothing yet. What is raised is written to `memo` first.
    fn new(root: ProcRoot, memo: PathBuf) -> Self {
        Self {
            root,
            memo,
            is_written: false,
            raised: BTreeMap::new(),
        }
    }

    /// Puts back what a daemon that did not end well has left in the memo; whether
    /// there was one.
    ///
    /// # Errors
    ///
    /// [`MemoError`]: it cannot be read, or cannot be believed. It is left as
    /// it is, and replaced by the next that is written.
    fn put_back_earlier(&mut self) -> Result<bool, MemoError> {
        let Some(text) = read_ours(&self.memo)? else {
            return Ok(false);
        };
        let mut raised = BTreeMap::new();
        for (line, text) in (1..).zip(text.lines()) {
            let (id, was) = parse(text).ok_or_else(|| MemoError::Malformed {
                path: self.memo.clone(),
                line,
                found: text.chars().take(60).collect(),
            })?;
            raised.insert(id, was);
        }
        self.raised = raised;
        self.is_written = true;
        self.put_back();
        Ok(true)
    }

    /// Raises what is `wanted`, and puts back what is no longer. `since_ticks`:
    /// some time before anything of it was raised.
    ///
    /// # Errors
    ///
    /// [`MemoError::Write`]: what they were cannot be written down, so nothing
    /// more was raised.
    fn adjust(&mut self, wanted: &[Wanted], since_ticks: u64) -> Result<(), MemoError> {
        let mut leaving = std::mem::take(&mut self.raised);
        for wanted in wanted {
            let id = wanted.id;
            let is_lower = |raised: &Raised| raised.was < wanted.oom_score_adj;
            if leaving.get(&id).is_some_and(is_lower) && self.read(id).is_some() {
                self.raised.extend(leaving.remove_entry(&id));
            }
        }
        self.lower(&leaving);
        // All are read before any is written to: the kernel writes to all that
        // share one memory.
        let mut next = self.raised.clone();
        let mut writes = Vec::new();
        for &Wanted { id, oom_score_adj } in wanted {
            let Some(is) = self.read(id) else { continue };
            if !self.raised.contains_key(&id) {
                let raised = self.as_it_is(id, is, since_ticks);
                let Some(raised) = raised.filter(|raised| raised.was < oom_score_adj) else {
                    continue;
                };
                next.insert(id, raised);
            } else if !is_ours(is) {
                // It was changed since, and is left alone.
                continue;
            }
            if is != oom_score_adj {
                writes.push((id, oom_score_adj));
            }
        }
        if next.is_empty() {
            self.remove_memo();
        } else if next != self.raised || !leaving.is_empty() {
            self.write_down(&next)?;
        }
        self.raised = next;
        for (id, oom_score_adj) in writes {
            self.write(id, oom_score_adj);
        }
        Ok(())
    }

    /// What is known of `id`, which `is` this, before it is raised; `None` where
    /// it may not be, or is gone.
    fn as_it_is(&self, id: ProcessId, is: i16, since_ticks: u64) -> Option<Raised> {
        let lineage = self.root.lineage(id.pid).ok()??;
        let parent = is_ours(is).then(|| self.lineages());
        let parent =
            parent.and_then(|lineages| inherited_from(id.pid, &lineages, &self.raised).copied());
        let raised = Raised {
            was: parent.map_or(is, |parent| parent.was),
            since_ticks: parent.map_or(since_ticks, |parent| parent.since_ticks),
            session: lineage.session,
        };
        (is != NEVER).then_some(raised)
    }

    fn put_back(&mut self) {
        let raised = std::mem::take(&mut self.raised);
        self.lower(&raised);
        self.remove_memo();
    }

    fn remove_memo(&mut self) {
        if std::mem::take(&mut self.is_written) {
            // What is not there need not be removed.
            let _ = fs::remove_file(&self.memo);
        }
    }

    /// Puts back those that are `leaving`, and what has inherited from them,
    /// unless something else has set it since.
    fn lower(&self, leaving: &BTreeMap<ProcessId, Raised>) {
        if leaving.is_empty() {
            return;
        }
        for (id, raised) in leaving {
            self.put_back_one(*id, raised.was);
        }
        let lineages = self.lineages();
        for (&pid, &Lineage { start_ticks, .. }) in &lineages {
            let id = ProcessId { pid, start_ticks };
            let is_another = !self.raised.contains_key(&id) && !leaving.contains_key(&id);
            if is_another && let Some(raised) = inherited_from(pid, &lineages, leaving) {
                self.put_back_one(id, raised.was);
            }
        }
    }

    fn put_back_one(&self, id: ProcessId, was: i16) {
        if self.read(id).is_some_and(|is| is_ours(is) && was < is) {
            self.write(id, was);
        }
    }

    /// Of all processes.
    fn lineages(&self) -> BTreeMap<u32, Lineage> {
        let pids = self.root.pids().into_iter().flatten();
        let lineage = |pid| Some((pid, self.root.lineage(pid).ok()??));
        pids.filter_map(lineage).collect()
    }

    fn write_down(&mut self, raised: &BTreeMap<ProcessId, Raised>) -> Result<(), MemoError> {
        let mut text = String::new();
        for (id, raised) in raised {
            let ProcessId { pid, start_ticks } = id;
            let Raised {
                was,
                since_ticks,
                session,
            } = raised;
            let _ = writeln!(text, "{pid} {start_ticks} {was} {since_ticks} {session}");
        }
        let mut new = self.memo.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        let written = replace(&new, &self.memo, text.as_bytes());
        if written.is_err() {
            // Half of one says nothing.
            let _ = fs::remove_file(&new);
        }
        written.map_err(|source| MemoError::Write { path: new, source })?;
        self.is_written = true;
        Ok(())
    }

    /// Its `oom_score_adj`, or `None` once it is gone.
    fn read(&self, id: ProcessId) -> Option<i16> {
        self.root.oom_score_adj(id).ok()?
    }

    fn write(&self, id: ProcessId, oom_score_adj: i16) {
        if let Some(mut file) = self.open(id) {
            // Where it is not permitted the kernel's choice stays its own.
            let _ = file.write_all(oom_score_adj.to_string().as_bytes());
        }
    }

    /// The file of the process that `id` names, to be written to, and of no later
    /// one: what is open cannot become another's, so its start time is asked after.
    fn open(&self, id: ProcessId) -> Option<File> {
        let path = self.root.path().join(id.pid.to_string());
        let file = OpenOptions::new()
            .write(true)
            .open(path.join("oom_score_adj"))
            .ok()?;
        let start_ticks = self.root.start_ticks(id.pid).ok()??;
        (start_ticks == id.start_ticks).then_some(file)
    }
}

impl Drop for Adjuster {
    fn drop(&mut self) {
        self.put_back();
    }
}

/// Which of `raised` the process `pid`, which is none of them, has inherited from.
/// It started since, and descends from that one; or it is an orphan in that one's
/// session: the first of its line that is in the session does not lead it.
fn inherited_from<'a>(
    pid: u32,
    lineages: &BTreeMap<u32, Lineage>,
    raised: &'a BTreeMap<ProcessId, Raised>,
) -> Option<&'a Raised> {
    let entry = |pid: u32| Some((pid, *lineages.get(&pid)?));
    let line = std::iter::successors(entry(pid), |(_, child)| entry(child.parent))
        // A line of parents that is read while it changes may be a circle.
        .take(GENERATIONS);
    let (_, child) = entry(pid)?;
    let ancestor = line
        .clone()
        .find_map(|(pid, Lineage { start_ticks, .. })| raised.get(&ProcessId { pid, start_ticks }));
    let found = ancestor.or_else(|| {
        let in_session = line.take_while(|(_, ancestor)| ancestor.session == child.session);
        let (first, _) = in_session.last()?;
        let is_orphan = child.session != 0 && first != child.session;
        let is_of_it = |raised: &&Raised| is_orphan && raised.session == child.session;
        raised.values().find(is_of_it)
    });
    found.filter(|raised| raised.since_ticks <= child.start_ticks)
}

/// Whether it is what only we are likely to have set.
fn is_ours(oom_score_adj: i16) -> bool {
    [FIRST, NEXT].contains(&oom_score_adj)
}

/// Writes `text` to `new`, which is made, and moves it to `path`, in place of
/// what is there. Neither follows a link.
fn replace(new: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let make = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(new)
    };
    let mut file = match make() {
        // An earlier daemon's, or somebody else's trap.
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(new)?;
            make()?
        }
        made => made?,
    };
    file.write_all(text)?;
    fs::rename(new, path)
}

/// What stands in `path`, where only we can have written it; `None` where there
/// is nothing.
fn read_ours(path: &Path) -> Result<Option<String>, MemoError> {
    let uid = geteuid().as_raw();
    let not_ours = || MemoError::NotOurs {
        path: path.to_owned(),
        uid,
    };
    let failed = |source| MemoError::Read {
        path: path.to_owned(),
        source,
    };
    let opened = OpenOptions::new()
        .read(true)
        // A FIFO is not waited for.
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) if err.raw_os_error() == Some(libc::ELOOP) => return Err(not_ours()),
        Err(err) => return Err(failed(err)),
    };
    let found = file.metadata().map_err(failed)?;
    let is_ours = found.is_file()
        && found.uid() == uid
        // Under a second name it may have been kept, to be believed later.
        && found.nlink() == 1
        && found.mode() & 0o022 == 0;
    if !is_ours {
        return Err(not_ours());
    }
    let mut text = String::new();
    file.take(LONGEST_BYTES)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(Some(text))
}

fn parse(line: &str) -> Option<(ProcessId, Raised)> {
    let mut words = line.split(' ');
    let id = ProcessId {
        pid: words.next()?.parse().ok()?,
        start_ticks: words.next()?.parse().ok()?,
    };
    let raised = Raised {
        was: words.next()?.parse().ok()?,
        since_ticks: words.next()?.parse().ok()?,
        session: words.next()?.parse().ok()?,
    };
    let was_raised = NEVER < raised.was && raised.was < FIRST;
    (words.next().is_none() && was_raised).then_some((id, raised))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use oom_policy::{Cost, Dossier, Seen};

    use super::*;
    use crate::stand_in::{Waiter, ordinary, root};
    use crate::tell::lane::Desk;

    fn oom_score_adj(of: &Waiter) -> i16 {
        let path = format!("/proc/{}/oom_score_adj", of.id().pid);
        let text = fs::read_to_string(path).expect("it runs");
        text.trim().parse().expect("a number")
    }

    fn set_oom_score_adj(of: &Waiter, oom_score_adj: i16) {
        let path = format!("/proc/{}/oom_score_adj", of.id().pid);
        fs::write(path, oom_score_adj.to_string()).expect("it is not lower than it was");
    }

    fn first(of: &Waiter) -> Wanted {
        Wanted {
            id: of.id(),
            oom_score_adj: FIRST,
        }
    }

    fn next(of: &Waiter) -> Wanted {
        Wanted {
            id: of.id(),
            oom_score_adj: NEXT,
        }
    }

    fn id(pid: u32) -> ProcessId {
        ProcessId {
            pid,
            start_ticks: 1,
        }
    }

    fn process(pid: u32, anon_bytes: u64) -> Process {
        Process {
            seen: Seen {
                anon_bytes,
                ..ordinary(id(pid), 1)
            },
            dossier: Dossier::default(),
        }
    }

    /// What is chosen where these are dying and the will has these pids at these
    /// places; process 5 holds half of all, others hold less.
    #[track_caller]
    fn check_choice(dying: &[u32], will: &[(u32, u32)], want: &[(u32, i16)]) {
        let will: Vec<NextKill> = will
            .iter()
            .map(|(pid, place)| NextKill {
                id: id(*pid),
                place: *place,
                lost: Cost::ZERO,
            })
            .collect();
        let processes: Vec<Process> = (1..10)
            .map(|pid| process(pid, if pid == 5 { 60 } else { 50 }))
            .collect();
        let memory = Memory {
            total_bytes: 100,
            swap_total_bytes: 20,
            ..Memory::default()
        };
        let mut chosen = Vec::with_capacity(MOST);
        let outlook = Outlook {
            will: &will,
            processes: &processes,
            memory: &memory,
            since_ticks: 0,
        };
        choose(&mut chosen, dying.iter().map(|pid| id(*pid)), outlook);
        let chosen: Vec<(u32, i16)> = chosen
            .iter()
            .map(|wanted| (wanted.id.pid, wanted.oom_score_adj))
            .collect();
        assert_eq!(chosen, want);
    }

    #[test]
    fn the_first_place_is_first_and_the_second_next() {
        check_choice(&[], &[], &[]);
        let will = [(7, 1), (3, 1), (4, 2), (9, 2), (8, 3)];
        check_choice(&[], &will, &[(3, 1000), (4, 500), (7, 1000), (9, 500)]);
    }

    #[test]
    fn what_would_outweigh_the_first_is_not_raised_behind_it() {
        check_choice(&[], &[(7, 1), (5, 2), (4, 3)], &[(7, 1000)]);
        check_choice(&[], &[(5, 1), (7, 2)], &[(5, 1000), (7, 500)]);
    }

    #[test]
    fn while_one_is_dying_it_is_first_and_the_will_next() {
        let will = [(7, 1), (4, 2)];
        check_choice(&[9], &will, &[(7, 500), (9, 1000)]);
        // In its grace, it is in the will too.
        let will = [(9, 0), (7, 1), (4, 2)];
        check_choice(&[9], &will, &[(7, 500), (9, 1000)]);
    }

    #[test]
    fn no_more_are_chosen_than_there_is_room_for() {
        let will: Vec<(u32, u32)> = (1..100).map(|pid| (pid, 1)).collect();
        let first: Vec<(u32, i16)> = (1..=64).map(|pid| (pid, 1000)).collect();
        check_choice(&[], &will, &first);
        let dying: Vec<u32> = (1..100).collect();
        check_choice(&dying, &[(200, 1)], &first);
    }

    #[test]
    fn what_is_wanted_is_raised_and_what_no_longer_is_put_back() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let memo = folder.path().join("aligned");
        let [one, five, nine] = [Waiter::new(), Waiter::new(), Waiter::new()];
        let before = oom_score_adj(&one);
        set_oom_score_adj(&five, before + 7);
        let all = || [&one, &five, &nine].map(oom_score_adj);
        let mut adjuster = Adjuster::new(root(), memo.clone());
        adjuster
            .adjust(&[first(&one), next(&five)], 0)
            .expect("ours");
        assert_eq!(all(), [1000, 500, before]);

        adjuster
            .adjust(&[first(&five), next(&nine)], 0)
            .expect("ours");
        assert_eq!(all(), [before, 1000, 500]);
        adjuster
            .adjust(&[first(&nine), next(&five)], 0)
            .expect("ours");
        assert_eq!(all(), [before, 500, 1000]);

        adjuster.adjust(&[], 0).expect("ours");
        assert_eq!(all(), [before, before + 7, before]);
        assert!(!memo.exists());

        adjuster
            .adjust(&[first(&one), next(&five)], 0)
            .expect("ours");
        drop(adjuster);
        assert_eq!(all(), [before, before + 7, before]);
        assert!(!memo.exists());
    }

    #[test]
    fn what_is_as_high_already_is_not_lowered() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let memo = folder.path().join("aligned");
        let [high, highest] = [Waiter::new(), Waiter::new()];
        set_oom_score_adj(&high, 700);
        set_oom_score_adj(&highest, 1000);
        let all = || [&high, &highest].map(oom_score_adj);
        let mut adjuster = Adjuster::new(root(), memo.clone());
        adjuster
            .adjust(&[next(&high), first(&highest)], 0)
            .expect("ours");
        assert_eq!(all(), [700, 1000]);
        assert!(!memo.exists(), "nothing was raised");
        adjuster.adjust(&[first(&high)], 0).expect("ours");
        assert_eq!(all(), [1000, 1000]);
        // It falls behind, and is higher than what follows by itself.
        adjuster.adjust(&[next(&high)], 0).expect("ours");
        assert_eq!(all(), [700, 1000]);
        drop(adjuster);
        assert_eq!(all(), [700, 1000]);
    }

    #[test]
    fn what_was_changed_since_is_left_alone() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let memo = folder.path().join("aligned");
        let [one, five] = [Waiter::new(), Waiter::new()];
        let before = oom_score_adj(&one);
        let mut adjuster = Adjuster::new(root(), memo.clone());
        adjuster.adjust(&[first(&one)], 0).expect("ours");
        set_oom_score_adj(&one, 800);
        adjuster
            .adjust(&[first(&one), next(&five)], 0)
            .expect("ours");
        assert_eq!([&one, &five].map(oom_score_adj), [800, 500]);
        drop(adjuster);
        assert_eq!([&one, &five].map(oom_score_adj), [800, before]);
    }

    #[test]
    fn a_later_process_with_the_same_pid_is_not_written_to() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let memo = folder.path().join("aligned");
        let one = Waiter::new();
        let before = oom_score_adj(&one);
        let mut earlier = first(&one);
        earlier.id.start_ticks -= 1;
        let mut adjuster = Adjuster::new(root(), memo.clone());
        adjuster.adjust(&[earlier], 0).expect("ours");
        assert_eq!(oom_score_adj(&one), before);

        set_oom_score_adj(&one, 1000);
        let ProcessId { pid, start_ticks } = earlier.id;
        fs::write(&memo, format!("{pid} {start_ticks} 0 {} 0\n", u64::MAX)).expect("ours");
        fs::set_permissions(&memo, fs::Permissions::from_mode(0o600)).expect("ours");
        adjuster.put_back_earlier().expect("it is ours");
        assert_eq!(oom_score_adj(&one), 1000);
    }

    /// Process 10 was raised at tick 100, and is of session 10.
    #[track_caller]
    fn check_inherited(lineages: &[(u32, u32, u32, u64)], is_inherited: bool) {
        let lineages: BTreeMap<u32, Lineage> = lineages
            .iter()
            .map(|&(pid, parent, session, start_ticks)| {
                let lineage = Lineage {
                    parent,
                    session,
                    start_ticks,
                };
                (pid, lineage)
            })
            .collect();
        let raised = Raised {
            was: 3,
            since_ticks: 100,
            session: 10,
        };
        let raised = BTreeMap::from([(id(10), raised)]);
        let found = inherited_from(20, &lineages, &raised);
        assert_eq!(found.is_some(), is_inherited);
    }

    #[test]
    fn what_started_since_and_descends_from_it_has_inherited() {
        let parent = (10, 1, 10, 1);
        check_inherited(&[parent, (20, 10, 10, 100)], true);
        check_inherited(&[parent, (20, 10, 10, 99)], false);
        check_inherited(&[parent, (15, 10, 15, 120), (20, 15, 15, 130)], true);
        // Its pid was used again since.
        check_inherited(&[(10, 1, 30, 150), (20, 10, 30, 160)], false);
        check_inherited(&[(20, 20, 30, 160)], false);
    }

    #[test]
    fn orphans_in_its_session_have_inherited_and_others_there_have_not() {
        check_inherited(&[(1, 0, 1, 1), (20, 1, 10, 130)], true);
        check_inherited(&[(1, 0, 1, 1), (20, 1, 10, 99)], false);
        check_inherited(&[(15, 1, 10, 120), (20, 15, 10, 130)], true);
        check_inherited(&[(1, 0, 1, 1), (20, 1, 20, 130)], false);
        // Another's child, where it does not lead its session.
        let raised = (10, 11, 11, 1);
        check_inherited(&[raised, (11, 1, 11, 1), (20, 11, 11, 130)], false);
        check_inherited(&[(20, 1, 0, 130)], false);
    }

    #[test]
    fn what_a_daemon_left_that_did_not_end_well_is_put_back_at_the_next_start() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let memo = folder.path().join("aligned");
        let [one, nine] = [Waiter::new(), Waiter::new()];
        let before = oom_score_adj(&one);
        let mut adjuster = Adjuster::new(root(), memo.clone());
        adjuster
            .adjust(&[first(&one), next(&nine)], 0)
            .expect("ours");
        // As if it had been killed.
        std::mem::forget(adjuster);
        assert_eq!([&one, &nine].map(oom_score_adj), [1000, 500]);

        let mut next = Adjuster::new(root(), memo.clone());
        next.put_back_earlier().expect("it is what we write");
        assert_eq!([&one, &nine].map(oom_score_adj), [before, before]);
        assert!(!memo.exists());
    }

    /// Has a thread follow the order to raise one process; what that is raised to
    /// once the order is taken, and whether the thread has ended by itself.
    fn raised_by_a_thread(dropped: Result<(), NotDropped>) -> (i16, bool) {
        const LIMIT: Duration = Duration::from_secs(60);
        let folder = tempfile::TempDir::new().expect("a folder");
        let process = Waiter::new();
        let adjuster = Adjuster::new(root(), folder.path().join("aligned"));
        let order = Order {
            wanted: vec![first(&process)],
            since_ticks: 0,
            is_new: true,
        };
        let shared = Shared {
            order: Mutex::new(order),
            over: AtomicBool::new(false),
        };
        let mut desk = Desk::new().expect("an eventfd");
        let lane = desk.lane(LINES);
        let (has_put_back, _put_back) = mpsc::channel();
        thread::scope(|scope| {
            let (alive, ended) = mpsc::channel::<()>();
            let shared = &shared;
            let thread = scope.spawn(move || {
                follow_orders(adjuster, dropped, shared, lane, &has_put_back);
                drop(alive);
            });
            let raises = || oom_score_adj(&process) == FIRST;
            let begun = std::time::Instant::now();
            let mut has_ended = false;
            while !raises() && !has_ended && begun.elapsed() < LIMIT {
                let waited = ended.recv_timeout(BREATH);
                has_ended = waited == Err(mpsc::RecvTimeoutError::Disconnected);
            }
            let found = oom_score_adj(&process);
            shared.over.store(true, Ordering::SeqCst);
            thread.thread().unpark();
            (found, has_ended)
        })
    }

    #[test]
    fn with_a_capability_that_cannot_be_dropped_nothing_is_raised() {
        assert_eq!(raised_by_a_thread(Ok(())), (FIRST, false));
        let was = oom_score_adj(&Waiter::new());
        let dropped = Err(NotDropped(Errno::PERM));
        assert_eq!(raised_by_a_thread(dropped), (was, true));
    }

    /// A raised process, as left by a daemon that was killed, and the memo that
    /// says so.
    struct LeftRaised {
        process: Waiter,
        was: i16,
        memo: String,
    }

    impl LeftRaised {
        fn new() -> Self {
            let process = Waiter::new();
            let ProcessId { pid, start_ticks } = process.id();
            let was = oom_score_adj(&process);
            set_oom_score_adj(&process, FIRST);
            let memo = format!("{pid} {start_ticks} {was} 0 0\n");
            Self { process, was, memo }
        }
    }

    #[track_caller]
    fn check_not_believed(left: &LeftRaised, memo: &Path, want: &str) {
        let mut adjuster = Adjuster::new(root(), memo.to_owned());
        let err = adjuster.put_back_earlier().expect_err("it is not ours");
        let told = chain(&err);
        assert!(told.contains(want), "{told}");
        drop(adjuster);
        assert_eq!(oom_score_adj(&left.process), FIRST);
        assert!(memo.symlink_metadata().is_ok(), "it is left as it is");
    }

    #[test]
    fn a_memo_is_believed_only_where_nobody_else_can_have_written_it() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let memo = folder.path().join("aligned");
        let other = folder.path().join("other");
        let left = LeftRaised::new();
        let mode = |mode| fs::set_permissions(&memo, fs::Permissions::from_mode(mode));
        fs::write(&memo, &left.memo).expect("ours");
        for bits in [0o620, 0o602, 0o666] {
            mode(bits).expect("ours");
            check_not_believed(&left, &memo, "is not ours");
        }
        mode(0o644).expect("ours");
        fs::hard_link(&memo, &other).expect("ours");
        check_not_believed(&left, &memo, "is not ours");
        fs::remove_file(&memo).expect("ours");
        std::os::unix::fs::symlink(&other, &memo).expect("ours");
        check_not_believed(&left, &memo, "is not ours");
        fs::remove_file(&memo).expect("ours");
        nix::unistd::mkfifo(&memo, nix::sys::stat::Mode::S_IRWXU).expect("ours");
        check_not_believed(&left, &memo, "is not ours");
        fs::remove_file(&memo).expect("ours");
        fs::create_dir(&memo).expect("ours");
        check_not_believed(&left, &memo, "is not ours");
        fs::remove_dir(&memo).expect("ours");
        fs::rename(&other, &memo).expect("ours");
        if geteuid().is_root() {
            chown(&memo, Some(65_533), None).expect("we are root");
            check_not_believed(&left, &memo, "is not ours");
            chown(&memo, Some(0), None).expect("we are root");
        } else {
            println!("skipped in part: only root can give a file away");
        }

        let mut adjuster = Adjuster::new(root(), memo.clone());
        adjuster.put_back_earlier().expect("it is ours");
        assert_eq!(oom_score_adj(&left.process), left.was);
        assert!(!memo.exists());
    }

    #[test]
    fn a_memo_that_makes_no_sense_is_refused_with_its_line() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let memo = folder.path().join("aligned");
        let left = LeftRaised::new();
        // Cut short, and what no daemon raises: as high already, or protected.
        for line in ["1 2 3 4", "1 2 1000 4 5", "1 2 -1000 4 5", "1 2 3 4 5 6"] {
            fs::write(&memo, format!("{}{line}\n", left.memo)).expect("ours");
            let want = format!(
                "line 2: expected `<pid> <start> <oom_score_adj> <since> <session>`, found \"{line}\""
            );
            check_not_believed(&left, &memo, &want);
        }
    }

    #[test]
    fn what_others_have_planted_is_replaced_and_not_written_through() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let memo = folder.path().join("aligned");
        let new = folder.path().join("aligned.new");
        let precious = folder.path().join("precious");
        fs::write(&precious, "as it was").expect("ours");
        for planted in [&memo, &new] {
            std::os::unix::fs::symlink(&precious, planted).expect("ours");
        }
        let one = Waiter::new();
        let mut adjuster = Adjuster::new(root(), memo.clone());
        adjuster
            .adjust(&[first(&one)], 0)
            .expect("it can be written");
        assert_eq!(oom_score_adj(&one), FIRST);
        assert_eq!(fs::read_to_string(&precious).expect("ours"), "as it was");
        let written = memo.symlink_metadata().expect("it is there");
        assert!(written.is_file());
        assert_eq!(written.mode() & 0o777, 0o600);
        assert!(!new.exists());
    }

    #[test]
    fn nothing_is_raised_that_cannot_be_written_down() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let memo = folder.path().join("nowhere/aligned");
        let one = Waiter::new();
        let before = oom_score_adj(&one);
        let mut adjuster = Adjuster::new(root(), memo);
        for _ in 0..2 {
            let err = adjuster.adjust(&[first(&one)], 0);
            let told = chain(&err.expect_err("there is no such folder"));
            assert!(
                told.contains("nowhere/aligned.new`: No such file"),
                "{told}"
            );
            assert_eq!(oom_score_adj(&one), before);
        }
    }
}
