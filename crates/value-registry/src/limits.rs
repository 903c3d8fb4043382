//! What one user may have of the registry: entries, looks, lines.
//!
//! All but root's are limited, each user's for itself: one that changes
//! entries without end, or registers more than can be meant, takes neither the
//! daemon's time nor its log from the others. A user's subordinate ids are on the
//! same account.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::subuid::SubordinateIds;

/// Entries that count at once.
const ENTRIES: u32 = 4096;

/// Changed files that are looked at: so many at once, then so many a second.
/// At some 40 µs each, a user takes 2 % of a CPU.
const LOOKS: Rate = Rate {
    burst: 512,
    per_second: 500,
};

/// Lines in the log.
const LINES: Rate = Rate {
    burst: 10,
    per_second: 1,
};

/// Changed files that wait for that. Beyond them the whole directory is read.
const WAITING: usize = 4096;

/// Users that are told apart; those beyond share what one has.
const USERS: usize = 1024;

/// Stands for all beyond [`USERS`]; no user has this id, setreuid(2).
const THE_REST: u32 = u32::MAX;

const ROOT: u32 = 0;

/// So much at once, and then so much a second.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u32,
    per_second: u32,
}

/// What is left of a [`Rate`].
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: u32,
    /// Up to when it was filled.
    at: Instant,
}

impl Allowance {
    fn full(rate: Rate, now: Instant) -> Self {
        Self {
            left: rate.burst,
            at: now,
        }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let step = Duration::from_secs(1) / rate.per_second;
        let steps = now.saturating_duration_since(self.at).as_nanos() / step.as_nanos().max(1);
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(steps).min(rate.burst);
        if self.left == rate.burst {
            self.at = now;
        } else {
            self.at += step * steps;
        }
    }

    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        let has_any = self.left > 0;
        self.left -= u32::from(has_any);
        has_any
    }
}

/// All users that have anything.
#[derive(Debug)]
pub(crate) struct Users {
    accounts: BTreeMap<u32, Account>,
    subordinates: SubordinateIds,
    /// Lines about what was swept.
    swept: Option<Allowance>,
    forgot_any: bool,
}

/// Whose account something is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder(u32);

#[derive(Debug)]
struct Account {
    entries: u32,
    /// What its entries say together: see [`Users::add_points`].
    points: u64,
    looks: Allowance,
    lines: Allowance,
    /// Lines that were left out.
    unsaid: u32,
    /// Pids whose files changed, and are looked at when it is allowed again.
    waiting: Queue,
}

impl Account {
    fn new(now: Instant) -> Self {
        Self {
            entries: 0,
            points: 0,
            looks: Allowance::full(LOOKS, now),
            lines: Allowance::full(LINES, now),
            unsaid: 0,
            waiting: Queue::default(),
        }
    }

    /// Whether it says no more than a new one would.
    fn is_idle(&mut self, now: Instant) -> bool {
        self.looks.fill(LOOKS, now);
        self.lines.fill(LINES, now);
        self.entries == 0
            && self.unsaid == 0
            && self.waiting.is_empty()
            && self.looks.left == LOOKS.burst
            && self.lines.left == LINES.burst
    }
}

impl Users {
    /// With subordinate ids as the files in `directory` say: `/etc`.
    pub(crate) fn of(directory: &Path) -> Self {
        Self {
            accounts: BTreeMap::new(),
            subordinates: SubordinateIds::of(directory),
            swept: None,
            forgot_any: false,
        }
    }

    /// One more file of `uid`'s is looked at; whether that may be now. If not,
    /// `pid` waits.
    pub(crate) fn may_look(&mut self, uid: u32, pid: u32, now: Instant) -> bool {
        if uid == ROOT {
            return true;
        }
        let account = self.account(uid, now);
        let may = account.looks.take(LOOKS, now);
        let has_room = account.waiting.len() < WAITING;
        if !may && has_room {
            account.waiting.push(pid);
        }
        self.forgot_any |= !may && !has_room;
        may
    }

    /// Whether more had to wait than are remembered, since last asked.
    pub(crate) fn forgot_any(&mut self) -> bool {
        std::mem::take(&mut self.forgot_any)
    }

    /// The look came to nothing that costs much, and is not counted.
    pub(crate) fn refund_look(&mut self, uid: u32) {
        let key = self.key(uid);
        if let Some(account) = self.accounts.get_mut(&key) {
            account.looks.left = (account.looks.left + 1).min(LOOKS.burst);
        }
    }

    /// Up to `most` pids that have waited, a few of each user's, whose looks
    /// are allowed by now.
    pub(crate) fn allowed(&mut self, most: usize, now: Instant) -> Vec<u32> {
        const OF_EACH: usize = 16;

        let mut pids = Vec::new();
        for account in self.accounts.values_mut() {
            for _ in 0..OF_EACH.min(most.saturating_sub(pids.len())) {
                if account.waiting.is_empty() || !account.looks.take(LOOKS, now) {
                    break;
                }
                pids.extend(account.waiting.pop());
            }
        }
        pids
    }

    /// Whether any file waits to be looked at.
    pub(crate) fn any_waits(&self) -> bool {
        self.accounts
            .values()
            .any(|account| !account.waiting.is_empty())
    }

    /// Whether any lines were left out and not said to be.
    pub(crate) fn any_unsaid(&self) -> bool {
        self.accounts.values().any(|account| account.unsaid > 0)
    }

    /// One more entry of `uid`'s counts: on whose account; `None` if it has as
    /// many as it may.
    pub(crate) fn add_entry(&mut self, uid: u32, now: Instant) -> Option<Holder> {
        let account = self.account(uid, now);
        if uid != ROOT && account.entries >= ENTRIES {
            return None;
        }
        account.entries += 1;
        Some(Holder(self.key(uid)))
    }

    /// One less does.
    pub(crate) fn remove_entry(&mut self, holder: Holder) {
        if let Some(account) = self.accounts.get_mut(&holder.0) {
            account.entries = account.entries.saturating_sub(1);
        }
    }

    /// Forgets all points.
    pub(crate) fn clear_points(&mut self) {
        for account in self.accounts.values_mut() {
            account.points = 0;
        }
    }

    /// An entry of `holder` says so much.
    pub(crate) fn add_points(&mut self, holder: Holder, points: u32) {
        if let Some(account) = self.accounts.get_mut(&holder.0) {
            account.points += u64::from(points);
        }
    }

    /// What all entries of `holder` say together.
    pub(crate) fn points(&self, holder: Holder) -> u64 {
        self.accounts
            .get(&holder.0)
            .map_or(0, |account| account.points)
    }

    /// Whether one more line may be written because of `uid`. If not, it is
    /// counted.
    pub(crate) fn may_say(&mut self, uid: u32, now: Instant) -> bool {
        if uid == ROOT {
            return true;
        }
        let account = self.account(uid, now);
        // What was left out is said before more is.
        let may = account.unsaid == 0 && account.lines.take(LINES, now);
        account.unsaid += u32::from(!may);
        may
    }

    /// Users whose lines were left out, and how many, where that may be said
    /// now.
    pub(crate) fn unsaid(&mut self, now: Instant) -> Vec<(u32, u32)> {
        let mut unsaid = Vec::new();
        for (uid, account) in &mut self.accounts {
            if account.unsaid > 0 && account.lines.take(LINES, now) {
                unsaid.push((*uid, std::mem::take(&mut account.unsaid)));
            }
        }
        unsaid
    }

    /// Whether a line about files that were swept, whosever they were, may be written
    /// now.
    pub(crate) fn may_say_swept(&mut self, now: Instant) -> bool {
        let lines = self.swept.get_or_insert(Allowance::full(LINES, now));
        lines.take(LINES, now)
    }

    /// The account of `uid`, or the one that it shares.
    fn account(&mut self, uid: u32, now: Instant) -> &mut Account {
        let owner = self.subordinates.owner(uid);
        if !self.accounts.contains_key(&owner) && self.accounts.len() >= USERS {
            self.accounts.retain(|_, account| !account.is_idle(now));
        }
        let key = self.key_of(owner);
        self.accounts
            .entry(key)
            .or_insert_with(|| Account::new(now))
    }

    fn key(&mut self, uid: u32) -> u32 {
        let owner = self.subordinates.owner(uid);
        self.key_of(owner)
    }

    fn key_of(&self, owner: u32) -> u32 {
        if self.accounts.contains_key(&owner) || self.accounts.len() < USERS {
            owner
        } else {
            THE_REST
        }
    }
}

/// Pids in the order in which they came, each once.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    order: VecDeque<u32>,
    members: HashSet<u32>,
}

impl Queue {
    pub(crate) fn push(&mut self, pid: u32) {
        if self.members.insert(pid) {
            self.order.push_back(pid);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<u32> {
        let pid = self.order.pop_front()?;
        self.members.remove(&pid);
        Some(pid)
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: u32 = 1000;
    const OTHER: u32 = 1001;

    /// Without subordinate ids.
    fn users() -> Users {
        Users::of(Path::new("/proc/self/fdinfo"))
    }

    fn after(now: Instant, millis: u64) -> Instant {
        now + Duration::from_millis(millis)
    }

    #[test]
    fn a_user_has_so_many_looks_at_once_and_then_so_many_a_second() {
        let now = Instant::now();
        let mut users = users();
        let allowed = (0..2000).filter(|pid| users.may_look(USER, *pid, now));
        assert_eq!(allowed.count(), 512);
        assert!(users.any_waits());
        assert!(users.may_look(OTHER, 1, now), "another has its own");
        assert!((0..2000).all(|pid| users.may_look(ROOT, pid, now)));

        assert_eq!(users.allowed(100, now), []);
        assert_eq!(users.allowed(100, after(now, 10)).len(), 5);
        assert_eq!(users.allowed(100, after(now, 10)).len(), 0);
        let mut rest = 0;
        for slice in 1..=200 {
            rest += users.allowed(100, after(now, 10 + slice * 20)).len();
        }
        assert_eq!(rest, 1483, "all that waited, in their order");
        assert!(!users.any_waits());
    }

    #[test]
    fn what_is_left_out_of_the_log_is_counted_and_said_before_more_is() {
        let now = Instant::now();
        let mut users = users();
        let said = (0..100).filter(|_| users.may_say(USER, now));
        assert_eq!(said.count(), 10);
        assert!(users.may_say(OTHER, now));
        assert_eq!(users.unsaid(now), []);
        assert!(!users.may_say(USER, after(now, 1000)));
        assert_eq!(users.unsaid(after(now, 1000)), [(USER, 91)]);
        assert!(!users.any_unsaid());
        assert!(users.may_say(USER, after(now, 2000)));
    }

    #[test]
    fn a_user_has_so_many_entries_and_root_as_many_as_it_likes() {
        let now = Instant::now();
        let mut users = users();
        let counted = (0..5000).filter(|_| users.add_entry(USER, now).is_some());
        assert_eq!(counted.count(), 4096);
        assert!(users.add_entry(OTHER, now).is_some());
        users.remove_entry(Holder(USER));
        assert!(users.add_entry(USER, now).is_some());
        assert!((0..5000).all(|_| users.add_entry(ROOT, now).is_some()));
    }

    #[test]
    fn user_ids_without_end_share_what_one_has() {
        let now = Instant::now();
        let mut users = users();
        for uid in 1..10_000 {
            users.may_say(uid, now);
        }
        assert!(users.accounts.len() <= USERS + 1);
        assert!(!users.may_say(20_000, now));
        // Once they are quiet, they are forgotten.
        let later = after(now, 3_600_000);
        users.unsaid(later);
        let later = after(later, 3_600_000);
        assert!(users.may_say(20_000, later));
        assert!(users.accounts.len() <= 2);
    }

    #[test]
    fn a_users_subordinate_ids_are_on_that_users_account() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("the folder is ours");
        };
        write("passwd", "ann:x:1000:1000::/:\n");
        write("subuid", "ann:100000:65536\n");
        let now = Instant::now();
        let mut users = Users::of(folder.path());
        let theirs = 100_000..104_096;
        assert!(
            theirs
                .clone()
                .all(|uid| users.add_entry(uid, now).is_some())
        );
        assert_eq!(users.add_entry(USER, now), None);
        assert!(users.add_entry(OTHER, now).is_some());
        let looks = theirs.clone().filter(|uid| users.may_look(*uid, 1, now));
        assert_eq!(looks.count(), 512);
        users.refund_look(100_000);
        assert!(users.may_look(100_001, 1, now));
        let lines = theirs.filter(|uid| users.may_say(*uid, now));
        assert_eq!(lines.count(), 10);
        assert!(users.may_say(OTHER, now), "another has its own");
        assert_eq!(users.accounts.len(), 2);
        assert!(users.any_unsaid());
    }

    #[test]
    fn a_queue_keeps_order_and_knows_no_doubles() {
        let mut queue = Queue::default();
        for pid in [7, 5, 7, 9, 5] {
            queue.push(pid);
        }
        assert_eq!(queue.len(), 3);
        let pids: Vec<u32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(pids, [7, 5, 9]);
        queue.push(7);
        assert_eq!(queue.pop(), Some(7));
    }
}
