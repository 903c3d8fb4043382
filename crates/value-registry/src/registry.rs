//! The registry as the daemon sees it: entries read when they change, values
//! answered from memory.

use std::error::Error;
use std::fmt::Write as _;
use std::mem;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model::{PauseWord, ProcessId, Worth};
use nix::dir::OwningIter;

use crate::book::{Book, Looked, Round, Why};
use crate::clear::Effort;
use crate::directory::{Directory, plain};
use crate::entry::parse_pid;
use crate::events::Events;
use crate::limits::Queue;
use crate::occupant::Lookup;
use crate::options::Options;
use crate::{Labels, Notice, RegistryError};

/// Names of a look at everything that one refresh looks at. At some 40 µs a
/// name the loop is held up for milliseconds at most.
const BATCH: usize = 64;

/// What one refresh spends on names that have changed,
const EFFORT: usize = 1024;
/// of which a look takes so much,
const LOOKED: usize = 8;
/// and one that its owner must wait for so much.
const DEFERRED: usize = 1;

/// Where the directory cannot be used, that is tried again after so long.
const RETRY: Duration = Duration::from_secs(1);

/// The directory's path is followed again after so long, for what no event
/// tells: that a directory above is moved, or another is mounted.
const FOLLOW: Duration = Duration::from_secs(10);

/// From one look at everything that changes have made necessary to the next.
const REREAD_REST: Duration = Duration::from_secs(1);

/// That there are too many changes is said so often.
const OVERFLOW_REST: Duration = Duration::from_secs(60);

/// What values processes have, as their owners say.
///
/// [`Registry::descriptor`] is readable when something has changed;
/// [`Registry::refresh`] reads it. While nothing changes, a refresh is one
/// read and one look at the directory, so it can be part of every round; it
/// notices what no event tells (a removed directory), and looks again at what
/// was half-written.
#[derive(Debug)]
pub struct Registry {
    options: Options,
    path: PathBuf,
    events: Events,
    /// `None` until there is one.
    directory: Option<Directory>,
    /// When its path is to be followed again.
    follow_due: Option<Instant>,
    /// Why it cannot be used now, as was said.
    complaint: Option<String>,
    next_try: Option<Instant>,
    /// What was found before the first refresh.
    unsaid: Vec<Notice>,
    book: Book,
    /// Pids by whose name something changed.
    changed: Queue,
    has_more_events: bool,
    /// From when on all is to be looked at (again).
    reread_due: Option<Instant>,
    /// What it is to begin with.
    running: Vec<u32>,
    reread: Option<Reread>,
    last_reread: Option<Instant>,
    last_overflow: Option<Instant>,
}

/// A look at everything, a batch at a time.
#[derive(Debug)]
struct Reread {
    /// Pids that are looked at first: of entries that counted when it began,
    /// whose files may be gone, and of processes.
    known: Vec<u32>,
    names: OwningIter,
}

impl Registry {
    /// Makes or opens `directory`, makes it safe, and watches it. Where that
    /// cannot be done, each refresh tries again, and no process has a value
    /// until then. Nothing is read yet.
    ///
    /// As root it is taken over by its descriptor: owned by root, mode 1777,
    /// without an ACL; a link or a file that a user put there, in a directory
    /// like `/tmp` and under the name that [`crate::DEFAULT_DIRECTORY`] has, is
    /// removed. Else it must be root's or the daemon's own user's; the user's
    /// own is made sticky if others may write to it, and is made with mode 755.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Open`]: `directory` is not a path.
    pub fn open(directory: &Path, options: Options) -> Result<Self, RegistryError> {
        let path = plain(directory)?;
        let (events, err) = Events::new();
        let unwatched = err.map(|err| Notice::Unwatched {
            cause: err.desc().to_owned(),
        });
        let now = Instant::now();
        let mut registry = Self {
            options,
            path,
            events,
            directory: None,
            follow_due: None,
            complaint: None,
            next_try: None,
            unsaid: unwatched.into_iter().collect(),
            book: Book::new(options),
            changed: Queue::default(),
            has_more_events: false,
            reread_due: Some(now),
            running: Vec::new(),
            reread: None,
            last_reread: None,
            last_overflow: None,
        };
        let mut notices = mem::take(&mut registry.unsaid);
        registry.find_directory(now, &mut notices);
        registry.unsaid = notices;
        Ok(registry)
    }

    /// Readable when something has changed. `None` where the kernel has no
    /// means to tell (inotify(7)): then all is to be read now and then, by
    /// [`Registry::reread`].
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.events.descriptor()
    }

    /// Reads what changed since the last time; the first time, everything.
    ///
    /// The work of one call is bounded: while [`Registry::more`] says so,
    /// there is more to do, and [`Registry::pause`] says when there will be.
    /// Asks `lookup` once for each file looked at: which process has that pid
    /// *now*. A file without a process is removed.
    pub fn refresh(&mut self, lookup: &dyn Fn(u32) -> Lookup) -> Vec<Notice> {
        self.with_directory(lookup, |registry, round| {
            for pid in registry.book.due(round.now) {
                registry.look(pid, Why::Turn, round);
            }
            registry.read_events(round);
            registry.look_at_changes(round);
            registry.continue_reread(round);
            registry.book.sum_up(round);
            if registry.book.forgot_any() {
                registry.reread_after_rest(round.now);
            }
        })
    }

    /// Looks at the entries of `pids` alone, now: as many looks as there are
    /// processes, however many other files a user has put there.
    ///
    /// For the start, so that no process is a candidate before its entry is
    /// read. Refreshes find the rest.
    pub fn look_for(
        &mut self,
        pids: impl IntoIterator<Item = u32>,
        lookup: &dyn Fn(u32) -> Lookup,
    ) -> Vec<Notice> {
        self.with_directory(lookup, |registry, round| {
            for pid in pids {
                registry.look(pid, Why::Turn, round);
            }
        })
    }

    /// Does `work` where there is a directory; what there is to say.
    fn with_directory(
        &mut self,
        lookup: &dyn Fn(u32) -> Lookup,
        work: impl FnOnce(&mut Self, &mut Round<'_>),
    ) -> Vec<Notice> {
        let now = Instant::now();
        let mut notices = mem::take(&mut self.unsaid);
        if !self.find_directory(now, &mut notices) {
            return notices;
        }
        // Put back below: what is looked at is the book's, in the directory.
        let Some(directory) = self.directory.take() else {
            return notices;
        };
        let mut round = Round {
            now,
            directory: &directory,
            lookup,
            effort: Effort::new(),
            notices,
        };
        work(self, &mut round);
        let notices = round.notices;
        self.directory = Some(directory);
        notices
    }

    /// Whether the last refresh left something to be read at once.
    #[must_use]
    pub fn more(&self) -> bool {
        self.has_more_events
            || !self.changed.is_empty()
            || self.reread.is_some()
            || self.is_astray()
    }

    /// How long there is nothing to do, but for what [`Registry::descriptor`]
    /// tells; `None`: until it does.
    #[must_use]
    pub fn pause(&self) -> Option<Duration> {
        if self.more() {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let due = match (self.next_try, &self.directory) {
            (Some(next_try), _) => Some(next_try),
            (None, _) => [self.book.next_due(now), self.reread_due]
                .into_iter()
                .flatten()
                .min(),
        };
        due.map(|due| due.saturating_duration_since(now))
    }

    /// Has the coming refreshes look at everything again.
    ///
    /// To be called now and then, in a quiet round: a process may have changed
    /// its user, a file left behind can come to be in the way of a process
    /// that started after it was looked at, and times are renewed.
    pub fn reread(&mut self) {
        self.reread_due = Some(Instant::now());
    }

    /// Caps and shares the values of ordinary users so from now on; see [`Options`].
    pub fn limit_values(&mut self, user_value_cap: u32, user_value_share: Option<u32>) {
        let before = self.options;
        self.options.user_value_cap = user_value_cap;
        self.options.user_value_share = user_value_share;
        if before != self.options {
            self.book.adopt(self.options);
            self.reread();
        }
    }

    /// Whether everything is to be looked at, now or once that has rested.
    #[must_use]
    pub fn is_to_reread(&self) -> bool {
        self.reread_due.is_some()
    }

    /// Whether the next refresh begins to look at everything. That takes long
    /// where users have put many files there: [`Registry::begin_with`].
    #[must_use]
    pub fn begins_anew(&self) -> bool {
        self.reread_due.is_some_and(|due| due <= Instant::now())
    }

    /// Has it begin with the entries of `pids`: those of the processes that run
    /// are the ones that matter, however many other files there are.
    pub fn begin_with(&mut self, pids: Vec<u32>) {
        self.running = pids;
    }

    /// Whether any value, or what an entry says of pausing, is another than when
    /// this was last asked.
    pub fn has_changed(&mut self) -> bool {
        self.book.has_changed()
    }

    /// Counts what each user's entries share ([`Options::user_value_share`]). To
    /// be called before values are asked for at another time. Allocates nothing.
    pub fn share_out(&mut self, now: Instant) {
        self.book.share_out(now);
    }

    /// The value of `id` at the time `now`, 0 to [`crate::MAX_VALUE`]; `None` if
    /// it is not registered.
    #[must_use]
    pub fn worth(&self, id: ProcessId, now: Instant) -> Option<Worth> {
        self.book.worth(id, now)
    }

    /// What the entry of `id` says of pausing.
    #[must_use]
    pub fn pause_word(&self, id: ProcessId) -> Option<PauseWord> {
        self.book.pause_word(id)
    }

    /// The words of the entry of `id` behind its value.
    #[must_use]
    pub fn labels(&self, id: ProcessId) -> Option<Labels> {
        self.book.labels(id)
    }

    /// All registered processes, by ascending pid.
    pub fn ids(&self) -> impl Iterator<Item = ProcessId> + '_ {
        self.book.ids()
    }

    /// Forgets the entry of a process that has ended and removes it, if it is
    /// still the same; whether it was removed.
    pub fn ended(&mut self, id: ProcessId) -> bool {
        let (Some(identity), Some(directory)) = (self.book.ended(id), &self.directory) else {
            return false;
        };
        directory.remove(id.pid, &identity)
    }

    /// Whether there is a directory to read, which is opened, or made again,
    /// where it is not: what clears `/tmp` removes one that was empty for days.
    fn find_directory(&mut self, now: Instant, notices: &mut Vec<Notice>) -> bool {
        if self.is_current(now) {
            self.agree(notices);
            return true;
        }
        let had_one = self.directory.is_some();
        if self.next_try.is_some_and(|next_try| now < next_try) {
            return false;
        }
        match self.take(notices) {
            Ok(directory) => {
                self.directory = Some(directory);
                self.follow_due = Some(now + FOLLOW);
                self.agree(notices);
                self.book.turn_over();
                self.reread = None;
                self.reread_due = Some(now);
                if had_one {
                    notices.push(Notice::Replaced);
                }
                true
            }
            Err(err) => {
                self.next_try = Some(now + RETRY);
                let cause = chain(&err);
                if self.complaint.as_ref() != Some(&cause) {
                    self.complaint = Some(cause.clone());
                    notices.push(if had_one {
                        Notice::Lost { cause }
                    } else {
                        Notice::Absent { cause }
                    });
                }
                false
            }
        }
    }

    /// Whether the directory may have another path since it was last found.
    fn is_astray(&self) -> bool {
        self.directory.is_some() && self.next_try.is_none() && self.follow_due.is_none()
    }

    /// Whether the path leads to the directory. It is followed where that may
    /// have changed, which takes six calls, and now and then; else its
    /// descriptor is asked.
    fn is_current(&mut self, now: Instant) -> bool {
        let Some(directory) = &self.directory else {
            return false;
        };
        if self.follow_due.is_some_and(|due| now < due) && self.events.is_watching() {
            return !directory.is_removed();
        }
        let is_current = directory.is_current();
        self.follow_due = is_current.then(|| now + FOLLOW);
        is_current
    }

    fn agree(&mut self, notices: &mut Vec<Notice>) {
        self.next_try = None;
        if self.complaint.take().is_some() {
            notices.push(Notice::Present);
        }
    }

    fn take(&mut self, notices: &mut Vec<Notice>) -> Result<Directory, RegistryError> {
        let directory = Directory::take(&self.path, self.options.as_root, notices)?;
        if let Err(err) = self.events.watch(&directory) {
            notices.push(Notice::Unwatched {
                cause: err.desc().to_owned(),
            });
        }
        if directory.is_current() {
            Ok(directory)
        } else {
            let path = self.path.clone();
            Err(RegistryError::Replaced { path })
        }
    }

    fn look(&mut self, pid: u32, cause: Why, round: &mut Round<'_>) -> Looked {
        let look = self.book.look(pid, cause, round);
        if look == Looked::Failed {
            self.reread_after_rest(round.now);
        }
        look
    }

    fn read_events(&mut self, round: &mut Round<'_>) {
        let told = self.events.read(&mut self.changed);
        self.has_more_events = told.more;
        if told.astray {
            self.follow_due = None;
        }
        if told.overflowed {
            self.reread_after_rest(round.now);
            let last = self.last_overflow;
            if last.is_none_or(|last| OVERFLOW_REST <= round.now.duration_since(last)) {
                self.last_overflow = Some(round.now);
                round.notices.push(Notice::Overflow);
            }
        }
    }

    fn look_at_changes(&mut self, round: &mut Round<'_>) {
        let mut spent = 0;
        while spent < EFFORT
            && let Some(pid) = self.changed.pop()
        {
            spent += match self.look(pid, Why::Change, round) {
                Looked::Done | Looked::Failed => LOOKED,
                Looked::Deferred => DEFERRED,
            };
        }
    }

    /// Looks at the next batch of all there is, where that is due.
    fn continue_reread(&mut self, round: &mut Round<'_>) {
        let is_due = self.reread_due.is_some_and(|due| due <= round.now);
        let mut under_way = self.reread.take();
        if is_due {
            let names = match under_way {
                // It goes on: what it has passed by is no process's, and waits.
                Some(reread) => reread.names,
                None => match round.directory.list() {
                    Ok(names) => names,
                    Err(_) => return,
                },
            };
            // Where another kept us from it, it may be free now.
            round.directory.lock();
            let mut known = self.book.pids();
            known.append(&mut self.running);
            under_way = Some(Reread { known, names });
            self.reread_due = None;
            self.last_reread = Some(round.now);
        }
        let Some(mut reread) = under_way else {
            return;
        };
        for _ in 0..BATCH {
            if let Some(pid) = reread.known.pop() {
                self.look(pid, Why::Turn, round);
                continue;
            }
            match reread.names.next() {
                Some(Ok(entry)) => {
                    if let Some(pid) = parse_pid(entry.file_name().to_bytes()) {
                        self.look(pid, Why::Turn, round);
                    }
                }
                Some(Err(_)) => {
                    self.reread_after_rest(round.now);
                    return;
                }
                None => return,
            }
        }
        self.reread = Some(reread);
    }

    fn reread_after_rest(&mut self, now: Instant) {
        let rested = self.last_reread.map_or(now, |last| last + REREAD_REST);
        self.reread_due = Some(self.reread_due.unwrap_or(rested.max(now)));
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
