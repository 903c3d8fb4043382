//! What is known of the entries, and what is made of a look at one.

use std::collections::{BTreeMap, HashSet};
use std::mem::{self, Discriminant, discriminant};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use model::{Gain, PauseWord, ProcessId, Rate, Worth};

use crate::clear::{Effort, Removal};
use crate::directory::Directory;
use crate::entry::{Given, Labels, Slip};
use crate::file::{FileIdentity, SeenFile, Traits};
use crate::judge::verdict;
use crate::limits::{Holder, Users};
use crate::occupant::{Lookup, Occupant};
use crate::options::Options;
use crate::own_group::OwnGroups;
use crate::stamp::Mark;
use crate::{Bearer, MAX_VALUE, Notice, Reason, ValueError};

/// A file that makes no sense is given this long to be written to its end, a
/// process this long to be seen, and an entry that was removed this long to be
/// written anew.
pub(crate) const SETTLE: Duration = Duration::from_secs(1);

/// Files that may wait for that at once,
const UNSETTLED: usize = 1024;
/// and of those, one user's.
const UNSETTLED_OF_ONE: usize = 128;

/// What has settled is looked at so much at a time.
const BATCH: usize = 64;

/// Refusals that are remembered as said. Beyond it all are forgotten, and
/// may be said once more.
const SAID: usize = 4096;

/// Between two rests, what looks are made with.
pub(crate) struct Round<'a> {
    pub(crate) now: Instant,
    pub(crate) directory: &'a Directory,
    pub(crate) lookup: &'a dyn Fn(u32) -> Lookup,
    pub(crate) effort: Effort,
    pub(crate) notices: Vec<Notice>,
}

/// How a name came to be looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It was seen to change, and its owner may have it changed so often only.
    Change,
    /// It is its turn.
    Turn,
}

/// What a look came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looked {
    /// It was looked at.
    Done,
    /// Its owner has had too many: it waits.
    Deferred,
    /// There are too many open files, or there is no memory: all must be
    /// looked at again.
    Failed,
}

/// Entries, and files that may come to be some.
#[derive(Debug)]
pub(crate) struct Book {
    options: Options,
    /// By pid; only what spoke for a live process when last looked at.
    entries: BTreeMap<u32, Entry>,
    /// By pid; entries that are gone, while their process may run on.
    withdrawn: BTreeMap<u32, Withdrawn>,
    /// By pid.
    unsettled: BTreeMap<u32, Unsettled>,
    /// Refusals that are in the log already.
    said: HashSet<(ProcessId, Discriminant<Reason>)>,
    users: Users,
    groups: OwnGroups,
    has_changed: bool,
    swept: u32,
}

/// A value that counts.
#[derive(Clone, Copy, Debug)]
struct Entry {
    bearer: Bearer,
    value: u32,
    rate: Option<Rate>,
    /// What its value grows to at most.
    most: u32,
    /// When the process last saved, or started. Its entry's time is a user's to
    /// set, and the clock anyone's: that a time is another than before says that
    /// it has saved, and when is our own.
    saved: Instant,
    pause: Option<PauseWord>,
    slip: Option<Slip>,
    labels: Labels,
    owner: u32,
    holder: Holder,
    identity: FileIdentity,
    modified: SystemTime,
}

impl Entry {
    fn worth(&self, now: Instant) -> Worth {
        self.rate.map_or(self.value.into(), |rate| {
            let unsaved = now.saturating_duration_since(self.saved);
            let gain = Gain {
                base: self.value,
                rate,
                unsaved_millis: u64::try_from(unsaved.as_millis()).unwrap_or(u64::MAX),
                most: self.most,
            };
            gain.into()
        })
    }
}

/// An entry that is gone.
#[derive(Clone, Copy, Debug)]
struct Withdrawn {
    entry: Entry,
    since: Instant,
}

/// A file that was looked at and may be half-written, or ahead of its process.
#[derive(Clone, Copy, Debug)]
struct Unsettled {
    identity: FileIdentity,
    owner: u32,
    since: Instant,
}

impl Book {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            entries: BTreeMap::new(),
            withdrawn: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            said: HashSet::new(),
            users: Users::of(Path::new("/etc")),
            groups: OwnGroups::of(Path::new("/etc")),
            has_changed: false,
            swept: 0,
        }
    }

    /// Values are as `options` have them; what an entry's is capped at counts once
    /// it is looked at again.
    pub(crate) fn adopt(&mut self, options: Options) {
        self.options = options;
        self.has_changed = true;
    }

    /// Sums up what each user's entries say, where they share points.
    pub(crate) fn share_out(&mut self, now: Instant) {
        if self.options.user_value_share.is_none() {
            return;
        }
        self.users.clear_points();
        for entry in self.entries.values() {
            self.users.add_points(entry.holder, entry.worth(now).value);
        }
    }

    pub(crate) fn worth(&self, id: ProcessId, now: Instant) -> Option<Worth> {
        let entry = self.known(id)?;
        let worth = entry.worth(now);
        let Some(share) = self.options.user_value_share.filter(|_| entry.owner != 0) else {
            return Some(worth);
        };
        let points = self.users.points(entry.holder).max(1);
        let part = u64::from(share) * u64::from(worth.value) / points;
        // Its sum may be older than `now`.
        Some(
            u32::try_from(part)
                .map_or(share, |part| part.min(share))
                .into(),
        )
    }

    pub(crate) fn pause_word(&self, id: ProcessId) -> Option<PauseWord> {
        self.known(id)?.pause
    }

    pub(crate) fn labels(&self, id: ProcessId) -> Option<Labels> {
        Some(self.known(id)?.labels)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = ProcessId> + '_ {
        self.entries.values().map(|entry| entry.bearer.id)
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.entries.keys().copied().collect()
    }

    /// Whether any value, or what an entry says of pausing, is another than when
    /// this was last asked.
    pub(crate) fn has_changed(&mut self) -> bool {
        mem::take(&mut self.has_changed)
    }

    /// Whether more files had to wait than are remembered.
    pub(crate) fn forgot_any(&mut self) -> bool {
        self.users.forgot_any()
    }

    /// Forgets an entry whose process has ended, and the file it was.
    pub(crate) fn ended(&mut self, id: ProcessId) -> Option<FileIdentity> {
        self.withdrawn.remove(&id.pid);
        self.known(id)?;
        self.forget(id.pid).map(|entry| entry.identity)
    }

    /// Another directory is read from now on.
    pub(crate) fn turn_over(&mut self) {
        self.unsettled.clear();
    }

    /// Files that have waited for long enough, and those of users that may
    /// have one looked at again; so many at a time.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<u32> {
        let settled = self
            .unsettled
            .iter()
            .filter(|(_, file)| now.saturating_duration_since(file.since) >= SETTLE)
            .map(|(pid, _)| *pid)
            .take(BATCH);
        let mut due: Vec<u32> = settled.collect();
        due.extend(self.users.allowed(BATCH, now));
        due
    }

    /// When something of it is due next.
    pub(crate) fn next_due(&self, now: Instant) -> Option<Instant> {
        const A_FEW_LOOKS: Duration = Duration::from_millis(50);

        let unsettled = self.unsettled.values().map(|file| file.since);
        let withdrawn = self.withdrawn.values().map(|gone| gone.since);
        let settles = unsettled.chain(withdrawn).min().map(|since| since + SETTLE);
        let waits = self.users.any_waits().then(|| now + A_FEW_LOOKS);
        let unsaid =
            (self.users.any_unsaid() || self.swept > 0).then(|| now + Duration::from_secs(1));
        [settles, waits, unsaid].into_iter().flatten().min()
    }

    /// What need not be said for each file.
    pub(crate) fn sum_up(&mut self, round: &mut Round<'_>) {
        self.say_withdrawn(round);
        for (uid, lines) in self.users.unsaid(round.now) {
            round.notices.push(Notice::LeftOut { uid, lines });
        }
        if self.swept > 0 && self.users.may_say_swept(round.now) {
            let count = mem::take(&mut self.swept);
            round.notices.push(Notice::Swept { count });
        }
    }

    /// Looks at the file named `pid`, whatever is known of it, and then at the
    /// process with that pid: one that is there after the file was read is the
    /// one the file may speak for.
    pub(crate) fn look(&mut self, pid: u32, cause: Why, round: &mut Round<'_>) -> Looked {
        let seen = match round.directory.find(pid) {
            Err(_) => return Looked::Failed,
            Ok(None) => None,
            Ok(Some(Err(unknown))) => Some(unknown),
            Ok(Some(Ok(found))) => {
                let owner = found.owner();
                if cause == Why::Change && !self.users.may_look(owner, pid, round.now) {
                    return Looked::Deferred;
                }
                match round.directory.read(pid, &found) {
                    Ok(seen) => seen,
                    Err(_) => return Looked::Failed,
                }
            }
        };
        let waited = self.unsettled.remove(&pid);
        let Some(seen) = seen else {
            self.withdraw(pid, round.now);
            return Looked::Done;
        };
        match (round.lookup)(pid) {
            Lookup::Runs(runner) => self.meet(pid, &seen, &runner, waited, round),
            Lookup::Gone => self.judge_alone(pid, &seen, round),
            Lookup::Unknown => {
                if let Some(file) = seen.traits {
                    self.has_waited(pid, &file, waited, round.now);
                }
            }
        }
        Looked::Done
    }

    /// No process has this pid: the file is removed, before it can speak for
    /// one that gets the pid next, or be in its way.
    fn judge_alone(&mut self, pid: u32, seen: &SeenFile, round: &mut Round<'_>) {
        let has_counted = self.forget(pid).is_some();
        let Some(file) = seen.traits else {
            return;
        };
        // What never counted is junk, which a user can make without end.
        if has_counted {
            self.users.refund_look(file.owner);
        }
        if round.directory.is_roots() {
            let removal = round
                .directory
                .remove_whole(pid, &file.identity, &mut round.effort);
            self.swept += u32::from(removal == Removal::Removed);
            self.say_aside(pid, file.owner, removal, round);
        } else if seen.content.is_ok() && file.links == 1 {
            self.remove_left_behind(pid, &file, round);
        }
    }

    /// A process has this pid.
    fn meet(
        &mut self,
        pid: u32,
        seen: &SeenFile,
        runner: &Occupant,
        waited: Option<Unsettled>,
        round: &mut Round<'_>,
    ) {
        let bearer = Bearer {
            id: ProcessId {
                pid,
                start_ticks: runner.start_ticks,
            },
            name: runner.name,
            uid: runner.uid,
        };
        let Some(file) = seen.traits else {
            if let Err(reason) = seen.content {
                self.refuse(bearer, None, reason, round);
            }
            return;
        };
        if self.is_left_behind(bearer.id, seen, &file) {
            self.forget(pid);
            self.remove_left_behind(pid, &file, round);
            return;
        }
        if is_blank(&bearer, seen, &file) {
            self.withdraw(pid, round.now);
            return;
        }
        // An earlier daemon may have seen it count. Only who may write to a file can
        // put a mark on it: its owner and root, or it is refused for that.
        let has_counted = seen.mark == Some(Mark::new(bearer.id, file.modified))
            || self
                .known(bearer.id)
                .is_some_and(|known| known.identity.is_same_file(&file.identity));
        match verdict(
            pid,
            seen.content,
            &file,
            runner,
            has_counted,
            &mut self.groups,
        ) {
            Ok(given) => self.accept(bearer, runner.age, given, seen, &file, round),
            Err(reason) => {
                if !reason.may_pass() || self.is_settled(pid, &file, waited, round.now) {
                    self.refuse(bearer, Some(&file), reason, round);
                }
            }
        }
    }

    /// Whether the file is known to have spoken for an earlier process with
    /// this pid: we saw it do so, or an earlier daemon did and marked it.
    fn is_left_behind(&self, id: ProcessId, seen: &SeenFile, file: &Traits) -> bool {
        match self.entries.get(&id.pid) {
            Some(entry) if entry.bearer.id == id => false,
            Some(entry) if entry.identity == file.identity => true,
            _ => seen
                .mark
                .is_some_and(|mark| mark.names_another(id, file.modified)),
        }
    }

    fn known(&self, id: ProcessId) -> Option<&Entry> {
        self.entries
            .get(&id.pid)
            .filter(|entry| entry.bearer.id == id)
    }

    fn accept(
        &mut self,
        bearer: Bearer,
        age: Duration,
        given: Given,
        seen: &SeenFile,
        file: &Traits,
        round: &mut Round<'_>,
    ) {
        let pid = bearer.id.pid;
        let known = self.known(bearer.id).copied();
        // Also where it was an earlier process's.
        let earlier = self.take_out(pid);
        let Some(holder) = self.users.add_entry(file.owner, round.now) else {
            self.has_changed |= earlier.is_some();
            self.refuse(bearer, Some(file), Reason::TooMany, round);
            return;
        };
        let most = match file.owner {
            0 => MAX_VALUE,
            _ => self.options.user_value_cap,
        };
        let mark = Mark::new(bearer.id, file.modified);
        // Not tried again where the file system knows no marks.
        let is_marked =
            seen.mark == Some(mark) || known.is_some_and(|known| known.modified == file.modified);
        let identity = if is_marked && !file.is_old() {
            file.identity
        } else {
            round
                .directory
                .keep(pid, file, Some(mark).filter(|_| !is_marked))
        };
        let gone = self.withdrawn.remove(&pid).map(|gone| gone.entry);
        let before = known.or(gone.filter(|gone| gone.bearer.id == bearer.id));
        let saved = match &before {
            Some(before) if before.modified == file.modified => before.saved,
            Some(_) => round.now,
            None => {
                let span = file.unsaved().map_or(age, |unsaved| unsaved.min(age));
                round.now.checked_sub(span).unwrap_or(round.now)
            }
        };
        let entry = Entry {
            bearer,
            value: given.value.min(most),
            rate: given.rate,
            most,
            saved,
            pause: given.pause,
            slip: given.slip,
            labels: given.labels,
            owner: file.owner,
            holder,
            identity,
            modified: file.modified,
        };
        self.entries.insert(pid, entry);
        let counts_as = |entry: &Entry| {
            let saved = entry.rate.map(|_| entry.saved);
            (entry.bearer.id, entry.value, entry.rate, saved, entry.pause)
        };
        self.has_changed |= earlier.as_ref().map(counts_as) != Some(counts_as(&entry));
        self.say_accepted(&entry, before.as_ref(), given.value, round);
    }

    /// Says what is new of `entry`, which says `given` and was `before`.
    fn say_accepted(
        &mut self,
        entry: &Entry,
        before: Option<&Entry>,
        given: u32,
        round: &mut Round<'_>,
    ) {
        let (process, value, rate) = (entry.bearer, entry.value, entry.rate);
        match before.map(|before| (before.value, before.rate)) {
            Some(before) if before == (value, rate) => {}
            Some(before) => {
                let notice = Notice::Changed {
                    process,
                    value,
                    rate,
                    before,
                };
                self.say(entry.owner, notice, round);
            }
            None => {
                let notice = Notice::Registered {
                    process,
                    value,
                    rate,
                    given,
                    share: self.options.user_value_share.filter(|_| entry.owner != 0),
                    is_said: self.users.may_say(entry.owner, round.now),
                };
                round.notices.push(notice);
            }
        }
        let word = entry.pause;
        if before.and_then(|before| before.pause) != word {
            self.say(entry.owner, Notice::Labelled { process, word }, round);
        }
        if let Some(slip) = entry.slip
            && before.and_then(|before| before.slip) != Some(slip)
        {
            self.say(entry.owner, Notice::Slipped { process, slip }, round);
        }
    }

    fn refuse(
        &mut self,
        bearer: Bearer,
        file: Option<&Traits>,
        reason: Reason,
        round: &mut Round<'_>,
    ) {
        let pid = bearer.id.pid;
        let counted = self.forget(pid).is_some();
        let mut removed = false;
        if round.directory.is_roots()
            && reason.blocks()
            && let Some(file) = file
        {
            let Round {
                directory, effort, ..
            } = round;
            // A process of root's may be about to become another user's, which
            // could not write to a file of root's.
            let is_anothers = ![0, bearer.uid].contains(&file.owner) && bearer.uid != 0;
            let removal = if is_anothers && reason.names_a_process() {
                directory.reserve(bearer.id, bearer.uid, &file.identity, effort)
            } else {
                directory.remove_whole(pid, &file.identity, effort)
            };
            removed = removal != Removal::Stays;
            self.say_aside(pid, file.owner, removal, round);
        }
        if self.said.len() >= SAID {
            self.said.clear();
        }
        if self.said.insert((bearer.id, discriminant(&reason))) || counted {
            let writer = file.map_or(bearer.uid, |file| file.owner);
            round.notices.push(Notice::Refused {
                process: bearer,
                reason,
                removed,
                is_said: self.users.may_say(writer, round.now),
            });
        }
    }

    /// The entry is gone. Its value counts no more; that is said when it has
    /// not come back after a while.
    fn withdraw(&mut self, pid: u32, now: Instant) {
        if let Some(entry) = self.forget(pid) {
            self.withdrawn.insert(pid, Withdrawn { entry, since: now });
        }
    }

    fn say_withdrawn(&mut self, round: &mut Round<'_>) {
        let settled: Vec<Entry> = self
            .withdrawn
            .values()
            .filter(|gone| round.now.saturating_duration_since(gone.since) >= SETTLE)
            .map(|gone| gone.entry)
            .take(BATCH)
            .collect();
        for entry in settled {
            let id = entry.bearer.id;
            self.withdrawn.remove(&id.pid);
            let runs = matches!(
                (round.lookup)(id.pid),
                Lookup::Runs(runner) if runner.start_ticks == id.start_ticks
            );
            if runs {
                let process = entry.bearer;
                self.say(entry.owner, Notice::Withdrawn { process }, round);
            }
        }
    }

    fn forget(&mut self, pid: u32) -> Option<Entry> {
        let entry = self.take_out(pid)?;
        self.has_changed = true;
        Some(entry)
    }

    fn take_out(&mut self, pid: u32) -> Option<Entry> {
        let entry = self.entries.remove(&pid)?;
        self.users.remove_entry(entry.holder);
        Some(entry)
    }

    fn remove_left_behind(&mut self, pid: u32, file: &Traits, round: &Round<'_>) {
        if round.directory.may_sweep(file.owner) && round.directory.remove(pid, &file.identity) {
            self.swept += 1;
        }
    }

    /// Says it, unless `uid` has caused too much to be said.
    fn say(&mut self, uid: u32, notice: Notice, round: &mut Round<'_>) {
        if self.users.may_say(uid, round.now) {
            round.notices.push(notice);
        }
    }

    fn say_aside(&mut self, pid: u32, owner: u32, removal: Removal, round: &mut Round<'_>) {
        if let Removal::Aside(name) = removal {
            self.say(owner, Notice::Aside { pid, name, owner }, round);
        }
    }

    /// Whether `file` has stood as it is for long enough; if not, it is looked
    /// at again then.
    fn is_settled(
        &mut self,
        pid: u32,
        file: &Traits,
        waited: Option<Unsettled>,
        now: Instant,
    ) -> bool {
        file.modified.elapsed().is_ok_and(|age| age >= SETTLE)
            || self.has_waited(pid, file, waited, now)
    }

    /// The same since it was first looked at, whatever its time says.
    fn has_waited(
        &mut self,
        pid: u32,
        file: &Traits,
        waited: Option<Unsettled>,
        now: Instant,
    ) -> bool {
        let waited = waited.filter(|waited| waited.identity == file.identity);
        if waited.is_some_and(|waited| now.saturating_duration_since(waited.since) >= SETTLE) {
            return true;
        }
        let of_its_owner = self
            .unsettled
            .values()
            .filter(|other| other.owner == file.owner)
            .count();
        if self.unsettled.len() < UNSETTLED && of_its_owner < UNSETTLED_OF_ONE {
            let first = Unsettled {
                identity: file.identity,
                owner: file.owner,
                since: now,
            };
            self.unsettled.insert(pid, waited.unwrap_or(first));
        }
        false
    }
}

/// Whether it is the empty file that keeps the name of `bearer`'s entry for its
/// user: see [`Directory::reserve`].
fn is_blank(bearer: &Bearer, seen: &SeenFile, file: &Traits) -> bool {
    let mark = Mark::new(bearer.id, file.modified);
    seen.content == Err(Reason::Value(ValueError::Empty))
        && seen.mark == Some(mark)
        && file.owner == bearer.uid
}
