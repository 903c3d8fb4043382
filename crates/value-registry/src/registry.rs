//! The registry as the daemon sees it: entries read when they change, values
//! answered from memory.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::error::Error;
use std::fmt::Write as _;
use std::mem::{self, Discriminant, discriminant};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nix::dir::OwningIter;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::unistd::geteuid;
use oom_policy::ProcessId;

use crate::directory::{Directory, Identity, Seen, Traits};
use crate::entry::parse_pid;
use crate::{MAX_VALUE, Notice, Reason, RegistryError};

/// What one refresh does of each, or a few more: events taken, names looked
/// at. At some 20 µs a name the loop is held up for milliseconds at most.
const BATCH: usize = 64;

/// A file that makes no sense is given this long to be written to its end,
/// and an entry without a process this long for the process to be seen.
const SETTLE: Duration = Duration::from_secs(1);

/// Files that may wait for that at once.
const UNSETTLED_MAX: usize = 1024;

/// Refusals that are remembered as said. Beyond it all are forgotten, and
/// may be said once more.
const SAID_MAX: usize = 4096;

/// The time of boot has seconds, a start time hundredths, and a file's time
/// the ticks of the kernel's clock: by this much an entry may seem older than
/// the process that wrote it.
const AGE_SLACK: Duration = Duration::from_secs(2);

/// What the administrator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What an ordinary user's entry can give at most (default
    /// [`MAX_VALUE`]: no cap). Root's entries are not capped.
    pub user_value_cap: u32,
    /// Whether to act as root: own the directory, and remove what is refused
    /// (default: whether the effective user is root).
    pub as_root: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            user_value_cap: MAX_VALUE,
            as_root: geteuid().is_root(),
        }
    }
}

/// The process that has a pid now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runner {
    /// The user it runs as: its real user id.
    pub uid: u32,
    /// When it started, in clock ticks since boot, as in [`ProcessId`].
    pub start_ticks: u64,
    /// The same by the clock on the wall, as that is set now. Asked only of
    /// entries found without having been seen to change.
    pub started: SystemTime,
}

/// What processes are worth, as their owners say.
///
/// [`AsFd`] is readable when something has changed; [`Registry::refresh`]
/// reads it. While nothing changes, a refresh is one read and one lstat, so
/// it can be part of every round; it notices what no event tells (a removed
/// directory), and looks again at what was half-written.
#[derive(Debug)]
pub struct Registry {
    options: Options,
    directory: Directory,
    /// The directory is not where it was and could not be opened again.
    is_lost: bool,
    is_taken_over_unsaid: bool,
    inotify: Inotify,
    watch: WatchDescriptor,
    /// By pid; only what spoke for a live process when last looked at.
    entries: BTreeMap<u32, Entry>,
    /// By pid.
    unsettled: BTreeMap<u32, Unsettled>,
    /// Refusals that stand in the log already.
    said: HashSet<(ProcessId, Discriminant<Reason>)>,
    /// All is to be looked at (again).
    is_reread_due: bool,
    reread: Option<Reread>,
    has_more_events: bool,
    swept: u32,
}

/// A value that counts.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start_ticks: u64,
    value: u32,
    identity: Identity,
}

/// A file that was looked at and may be half-written, or ahead of its process.
#[derive(Clone, Copy, Debug)]
struct Unsettled {
    identity: Identity,
    since: Instant,
}

/// A look at everything, a batch at a time.
#[derive(Debug)]
struct Reread {
    /// Pids of entries that counted when it began: their files may be gone.
    known: Vec<u32>,
    names: OwningIter,
}

/// How a name came to be looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// It was seen to change.
    Changed,
    /// It was there, since whenever.
    Standing,
}

impl Registry {
    /// Makes or opens `directory`, makes it safe, and watches it.
    ///
    /// As root it is taken over by its descriptor: owned by root, mode 1777.
    /// Else it must be root's or the daemon's own user's; the user's own is
    /// made sticky if others may write to it, and is made with mode 755.
    /// Nothing is read yet.
    ///
    /// # Errors
    ///
    /// - [`RegistryError::Symlink`], [`RegistryError::NotADirectory`]:
    ///   something else stands there.
    /// - [`RegistryError::NotARegistry`]: as root, outside a directory like
    ///   `/tmp`, it would have to be opened to all and holds other things.
    /// - [`RegistryError::Foreign`], [`RegistryError::Unprotected`]: not as
    ///   root, others could swap the entries.
    /// - [`RegistryError::Create`], [`RegistryError::Open`],
    ///   [`RegistryError::TakeOver`], [`RegistryError::List`],
    ///   [`RegistryError::Watch`], [`RegistryError::Replaced`]: the kernel
    ///   did not do it.
    pub fn open(directory: &Path, options: Options) -> Result<Self, RegistryError> {
        let directory = Directory::take(directory, options.as_root)?;
        let inotify =
            Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).map_err(|err| {
                RegistryError::Watch {
                    path: directory.path().to_owned(),
                    source: err.into(),
                }
            })?;
        let watch = watch(&inotify, &directory)?;
        Ok(Self {
            options,
            is_lost: false,
            is_taken_over_unsaid: directory.taken_from().is_some(),
            directory,
            inotify,
            watch,
            entries: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            said: HashSet::new(),
            is_reread_due: true,
            reread: None,
            has_more_events: false,
            swept: 0,
        })
    }

    /// Reads what changed since the last time; the first time, everything.
    ///
    /// The work of one call is bounded: while [`Registry::more`] says so,
    /// there is more to do. Asks `who` once for each file looked at: which
    /// process has that pid *now*. An entry that is twice, a second apart,
    /// without a process is removed.
    pub fn refresh(&mut self, who: &dyn Fn(u32) -> Option<Runner>) -> Vec<Notice> {
        let mut notices = Vec::new();
        if !self.directory.is_current() {
            self.reopen(&mut notices);
        }
        if mem::take(&mut self.is_taken_over_unsaid)
            && let Some(owner) = self.directory.taken_from()
        {
            notices.push(Notice::TakenOver { owner });
        }
        for pid in self.settled() {
            self.look(pid, Found::Standing, who, &mut notices);
        }
        for pid in self.read_events(&mut notices) {
            self.look(pid, Found::Changed, who, &mut notices);
        }
        self.continue_reread(who, &mut notices);
        if self.swept > 0 {
            let count = mem::take(&mut self.swept);
            notices.push(Notice::Swept { count });
        }
        notices
    }

    /// Looks at the entries of `pids` alone, now: as many looks as there are
    /// processes, however many other files somebody has put there.
    ///
    /// For the start, so that no process is judged before its entry is read.
    /// Refreshes find the rest.
    pub fn look_for(
        &mut self,
        pids: impl IntoIterator<Item = u32>,
        who: &dyn Fn(u32) -> Option<Runner>,
    ) -> Vec<Notice> {
        let mut notices = Vec::new();
        for pid in pids {
            self.look(pid, Found::Standing, who, &mut notices);
        }
        notices
    }

    /// Whether the last refresh left something to be read at once.
    #[must_use]
    pub fn more(&self) -> bool {
        self.has_more_events || self.reread.is_some()
    }

    /// Has the coming refreshes look at everything again.
    ///
    /// To be called now and then, in a quiet round: a file left behind can
    /// come to be in the way of a process that started after it was looked at.
    pub fn reread(&mut self) {
        self.is_reread_due = true;
    }

    /// What `id` is worth, 0 to [`MAX_VALUE`]; `None` if it is not registered.
    #[must_use]
    pub fn value(&self, id: ProcessId) -> Option<u32> {
        self.entries
            .get(&id.pid)
            .filter(|entry| entry.start_ticks == id.start_ticks)
            .map(|entry| entry.value)
    }

    /// All registered processes with what they are worth, by ascending pid.
    pub fn entries(&self) -> impl Iterator<Item = (ProcessId, u32)> + '_ {
        self.entries
            .iter()
            .map(|(pid, entry)| (entry.id(*pid), entry.value))
    }

    /// Forgets the entry of a process that has ended and removes it, if it is
    /// still the same; whether it was removed.
    pub fn ended(&mut self, id: ProcessId) -> bool {
        if self.value(id).is_none() {
            return false;
        }
        self.entries
            .remove(&id.pid)
            .is_some_and(|entry| self.directory.remove(id.pid, &entry.identity))
    }

    /// [`Registry::ended`] for every registered process of which `lives` says
    /// that it has ended; how many entries were removed.
    pub fn sweep(&mut self, lives: impl Fn(ProcessId) -> bool) -> usize {
        let mut removed = 0;
        self.entries.retain(|pid, entry| {
            let stays = lives(entry.id(*pid));
            if !stays && self.directory.remove(*pid, &entry.identity) {
                removed += 1;
            }
            stays
        });
        removed
    }

    /// Opens the directory that stands where ours was, or makes it again:
    /// what clears `/tmp` removes an empty one that nobody used for days.
    fn reopen(&mut self, notices: &mut Vec<Notice>) {
        let opened = Directory::take(self.directory.path(), self.options.as_root)
            .and_then(|directory| Ok((watch(&self.inotify, &directory)?, directory)));
        match opened {
            Ok((watch, directory)) => {
                if watch != self.watch {
                    // It is gone already if the directory is.
                    let _ = self.inotify.rm_watch(self.watch);
                }
                self.watch = watch;
                self.is_taken_over_unsaid = directory.taken_from().is_some();
                self.directory = directory;
                self.is_lost = false;
                self.entries.clear();
                self.unsettled.clear();
                self.reread = None;
                self.is_reread_due = true;
                notices.push(Notice::Replaced);
            }
            Err(err) => {
                if !mem::replace(&mut self.is_lost, true) {
                    let cause = chain(&err);
                    notices.push(Notice::Lost { cause });
                }
            }
        }
    }

    /// Files that have waited for long enough, a batch at most.
    fn settled(&self) -> Vec<u32> {
        self.unsettled
            .iter()
            .filter(|(_, file)| file.since.elapsed() >= SETTLE)
            .map(|(pid, _)| *pid)
            .take(BATCH)
            .collect()
    }

    /// Pids by whose name something changed, each once. Events are counted,
    /// not pids: one file, written to without end, is one pid.
    fn read_events(&mut self, notices: &mut Vec<Notice>) -> BTreeSet<u32> {
        let mut changed = BTreeSet::new();
        let mut taken = 0;
        self.has_more_events = false;
        while taken < BATCH {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => return changed,
                Err(Errno::EINTR) => continue,
                Err(_) => {
                    self.is_reread_due = true;
                    return changed;
                }
            };
            taken += events.len();
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    self.is_reread_due = true;
                    notices.push(Notice::Overflow);
                } else {
                    // From an earlier watch, it costs no more than a look.
                    let name = event.name.as_ref().map(|name| name.as_bytes());
                    changed.extend(name.and_then(parse_pid));
                }
            }
        }
        self.has_more_events = true;
        changed
    }

    /// Looks at the next batch of all there is, where that is due.
    fn continue_reread(&mut self, who: &dyn Fn(u32) -> Option<Runner>, notices: &mut Vec<Notice>) {
        if self.reread.is_none() && self.is_reread_due {
            let Ok(names) = self.directory.list() else {
                return;
            };
            let known = self.entries.keys().copied().collect();
            self.reread = Some(Reread { known, names });
            self.is_reread_due = false;
        }
        let Some(mut reread) = self.reread.take() else {
            return;
        };
        for _ in 0..BATCH {
            if let Some(pid) = reread.known.pop() {
                self.look(pid, Found::Standing, who, notices);
                continue;
            }
            match reread.names.next() {
                Some(Ok(entry)) => {
                    if let Some(pid) = parse_pid(entry.file_name().to_bytes()) {
                        self.look(pid, Found::Standing, who, notices);
                    }
                }
                Some(Err(_)) => {
                    self.is_reread_due = true;
                    return;
                }
                None => return,
            }
        }
        self.reread = Some(reread);
    }

    /// Looks at the file named `pid`, whatever is known of it, and at who has
    /// that pid, in this order: a process that is there after the file was
    /// read is the one it may speak for.
    fn look(
        &mut self,
        pid: u32,
        found: Found,
        who: &dyn Fn(u32) -> Option<Runner>,
        notices: &mut Vec<Notice>,
    ) {
        let waited = self.unsettled.remove(&pid);
        let Ok(seen) = self.directory.look(pid) else {
            self.is_reread_due = true;
            return;
        };
        if seen.is_none() && !self.entries.contains_key(&pid) {
            return;
        }
        let runner = who(pid);

        if let Some(entry) = self.entries.get(&pid).copied()
            && runner.is_some_and(|runner| runner.start_ticks != entry.start_ticks)
        {
            self.entries.remove(&pid);
            if is_file(seen, &entry.identity) {
                self.remove_left_behind(pid, &entry.identity);
                return;
            }
        }
        match (seen, runner) {
            (None, None) => {
                self.entries.remove(&pid);
            }
            (None, Some(_)) => self.withdraw(pid, notices),
            (Some(seen), None) => self.judge_alone(pid, &seen, waited),
            (Some(seen), Some(runner)) => {
                self.judge(pid, &seen, runner, found, waited, notices);
            }
        }
    }

    /// Nobody has this pid: an entry is removed, before it can speak for
    /// whoever gets the pid next. Anything else is left alone. Two looks are
    /// needed: the process may be yet to be seen, or `/proc` could not be read
    /// for want of memory.
    fn judge_alone(&mut self, pid: u32, seen: &Seen, waited: Option<Unsettled>) {
        let Some(file) = seen.file else {
            return;
        };
        let may_remove =
            seen.content.is_ok() && file.links == 1 && self.directory.may_sweep(file.owner);
        if !may_remove && !self.entries.contains_key(&pid) {
            return;
        }
        if self.has_waited(pid, &file, waited) {
            self.entries.remove(&pid);
            if may_remove {
                self.remove_left_behind(pid, &file.identity);
            }
        }
    }

    fn judge(
        &mut self,
        pid: u32,
        seen: &Seen,
        runner: Runner,
        found: Found,
        waited: Option<Unsettled>,
        notices: &mut Vec<Notice>,
    ) {
        let id = ProcessId {
            pid,
            start_ticks: runner.start_ticks,
        };
        let known = self.entries.get(&pid).copied();
        let Some(file) = seen.file else {
            if let Err(reason) = seen.content {
                self.refuse(id, None, reason, notices);
            }
            return;
        };
        match verdict(seen.content, &file, runner, known, found) {
            Ok(given) => self.accept(id, given, &file, notices),
            Err(reason) => {
                if !reason.may_pass() || self.is_settled(pid, &file, waited) {
                    self.refuse(id, Some(&file), reason, notices);
                }
            }
        }
    }

    fn accept(&mut self, id: ProcessId, given: u32, file: &Traits, notices: &mut Vec<Notice>) {
        let value = if file.owner == 0 {
            given
        } else {
            given.min(self.options.user_value_cap)
        };
        let entry = Entry {
            start_ticks: id.start_ticks,
            value,
            identity: file.identity,
        };
        match self.entries.insert(id.pid, entry) {
            None => notices.push(Notice::Registered { id, value, given }),
            Some(Entry { value: before, .. }) if before != value => {
                notices.push(Notice::Changed { id, value, before });
            }
            Some(_) => {}
        }
    }

    fn refuse(
        &mut self,
        id: ProcessId,
        file: Option<&Traits>,
        reason: Reason,
        notices: &mut Vec<Notice>,
    ) {
        self.withdraw(id.pid, notices);
        let removed = self.directory.removes_refused()
            && reason.blocks()
            && file.is_some_and(|file| self.directory.remove(id.pid, &file.identity));
        if self.said.len() >= SAID_MAX {
            self.said.clear();
        }
        if self.said.insert((id, discriminant(&reason))) {
            notices.push(Notice::Refused {
                id,
                reason,
                removed,
            });
        }
    }

    fn withdraw(&mut self, pid: u32, notices: &mut Vec<Notice>) {
        if let Some(entry) = self.entries.remove(&pid) {
            notices.push(Notice::Withdrawn { id: entry.id(pid) });
        }
    }

    fn remove_left_behind(&mut self, pid: u32, identity: &Identity) {
        if self.directory.remove(pid, identity) {
            self.swept += 1;
        }
    }

    /// Whether `file` has stood as it is for long enough; if not, it is looked
    /// at again then.
    fn is_settled(&mut self, pid: u32, file: &Traits, waited: Option<Unsettled>) -> bool {
        file.modified.elapsed().is_ok_and(|age| age >= SETTLE) || self.has_waited(pid, file, waited)
    }

    /// The same since it was first looked at, whatever its time says.
    fn has_waited(&mut self, pid: u32, file: &Traits, waited: Option<Unsettled>) -> bool {
        let waited = waited.filter(|waited| waited.identity == file.identity);
        if waited.is_some_and(|waited| waited.since.elapsed() >= SETTLE) {
            return true;
        }
        if self.unsettled.len() < UNSETTLED_MAX {
            let first = Unsettled {
                identity: file.identity,
                since: Instant::now(),
            };
            self.unsettled.insert(pid, waited.unwrap_or(first));
        }
        false
    }
}

impl AsFd for Registry {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl Entry {
    fn id(&self, pid: u32) -> ProcessId {
        ProcessId {
            pid,
            start_ticks: self.start_ticks,
        }
    }
}

/// The value that a file gives a process, or why it gives none.
fn verdict(
    content: Result<u32, Reason>,
    file: &Traits,
    runner: Runner,
    known: Option<Entry>,
    found: Found,
) -> Result<u32, Reason> {
    if let Err(reason @ (Reason::Symlink | Reason::Directory | Reason::Special)) = content {
        return Err(reason);
    }
    if file.owner != 0 && file.owner != runner.uid {
        return Err(Reason::Foreign {
            owner: file.owner,
            runner: runner.uid,
        });
    }
    // A second name of a file of root's would speak with root's word. A
    // second name given to an entry that counts already changes nothing:
    // else any user could end it so, where `fs.protected_hardlinks` is 0.
    if file.links != 1 && !known.is_some_and(|entry| entry.identity.is_same_file(&file.identity)) {
        return Err(Reason::HardLinked);
    }
    let given = content?;
    // Not asked of one that was seen to change: with the clock set forward
    // since, every file looks older than its process.
    if found == Found::Standing
        && known.is_none()
        && runner
            .started
            .duration_since(file.modified)
            .is_ok_and(|older| older > AGE_SLACK)
    {
        return Err(Reason::Older);
    }
    Ok(given)
}

fn is_file(seen: Option<Seen>, identity: &Identity) -> bool {
    seen.and_then(|seen| seen.file)
        .is_some_and(|file| file.identity == *identity)
}

/// Watches names come, go and change. By path, for inotify(7) takes no
/// descriptor; hence the second look at what the path leads to.
fn watch(inotify: &Inotify, directory: &Directory) -> Result<WatchDescriptor, RegistryError> {
    let events = AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_ONLYDIR
        | AddWatchFlags::IN_DONT_FOLLOW;
    let path = directory.path();
    let watch = inotify
        .add_watch(path, events)
        .map_err(|err| RegistryError::Watch {
            path: path.to_owned(),
            source: err.into(),
        })?;
    if directory.is_current() {
        Ok(watch)
    } else {
        // It watches what is not ours.
        let _ = inotify.rm_watch(watch);
        Err(RegistryError::Replaced {
            path: path.to_owned(),
        })
    }
}

/// An error with its causes, in one line.
fn chain(err: &dyn Error) -> String {
    let mut line = err.to_string();
    let mut source = err.source();
    while let Some(cause) = source {
        // Writing to a String cannot fail.
        let _ = write!(line, ": {cause}");
        source = cause.source();
    }
    line
}
