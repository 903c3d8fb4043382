//! The thread that writes to the terminal and the log.
//!
//! A terminal may be stopped and a disk may be full; the loop must not wait for
//! either. So what is to be written goes through bounded rings, each source's
//! [`Lane`], and this thread takes its time.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use oom_policy::{Memory, ProcessId};
use value_registry::Labels;

use crate::recorder::SignalNotes;
use crate::tell::bell::Bell;
use crate::tell::feed::Feed;
use crate::tell::hook::{FAREWELL, HookCalls, Hooks};
use crate::tell::lane::{Desk, Lane};
use crate::tell::main_log;
use crate::tell::page::Page;
use crate::tell::record::Record;

/// What was done by the loop. Where a decision kills more than there is room for,
/// they are named together.
const DONE: usize = 128;
/// Tables, the status line, and what a quiet round has found.
const NOTES: usize = 64;
/// What users make the registry say.
const CHATTER: usize = 64;
/// Calls of hooks until their thread has seen them.
const CALLS: usize = 1024;
/// What became of hooks.
pub(crate) const OUTCOMES: usize = 64;
/// What users make the registry say is written up to so many lines at once,
const AT_ONCE: u32 = 256;
/// and one more after so long each.
const A_LINE: Duration = Duration::from_millis(50);
/// What the thread needs to format.
const STACK_BYTES: usize = 256 * 1024;

/// The loop's lanes. The thread ends, having written all that waits, when this
/// is dropped; a terminal that takes nothing is left behind.
#[derive(Debug)]
pub(crate) struct Scribe {
    done: Lane,
    notes: Lane,
    chatter: Lane,
    allowance: Allowance,
    /// `None` where there is no hook.
    hooks: Option<HookCalls>,
    /// By scope; empty where there is no journal.
    pub(crate) signals: Vec<Option<SignalNotes>>,
    /// `None` where there is no control socket.
    pub(crate) feed: Option<Feed>,
    scope: usize,
    bell: Arc<Bell>,
    /// Nothing is sent; it is closed when the thread ends.
    ended: Receiver<Infallible>,
}

impl Scribe {
    /// Starts the thread, which writes to `page` what comes to `desk`; and, where
    /// there are hooks, theirs. A guard that cannot speak guards all the same.
    pub(crate) fn spawn(
        mut desk: Desk,
        hooks: Hooks,
        page: Page<impl Write + Send + 'static>,
    ) -> Self {
        let done = desk.lane(DONE).folding();
        let notes = desk.lane(NOTES);
        let chatter = desk.lane(CHATTER);
        let hooks = match hooks.is_empty() {
            true => None,
            false => HookCalls::spawn(hooks, desk.lane(OUTCOMES), CALLS)
                .inspect_err(|err| log::warn!("hooks are off: cannot start their thread: {err}"))
                .ok(),
        };
        let bell = desk.bell();
        let (sender, ended) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("scribe".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let _sender = sender;
                desk.write_all(page);
            });
        if let Err(err) = thread {
            log::warn!("no further output: cannot start the thread that writes: {err}");
            main_log::write_out();
        }
        Self {
            done,
            notes,
            chatter,
            allowance: Allowance::new(Instant::now()),
            hooks,
            signals: Vec::new(),
            scope: 0,
            feed: None,
            bell,
            ended,
        }
    }

    /// One whose records are read from the desk.
    ///
    /// # Errors
    ///
    /// What the kernel says of another eventfd.
    pub(crate) fn unwritten() -> io::Result<(Self, Desk)> {
        let mut desk = Desk::new()?;
        let (_, ended) = mpsc::channel();
        let scribe = Self {
            done: desk.lane(DONE),
            notes: desk.lane(NOTES),
            chatter: desk.lane(CHATTER),
            allowance: Allowance::new(Instant::now()),
            hooks: None,
            signals: Vec::new(),
            scope: 0,
            feed: None,
            bell: desk.bell(),
            ended,
        };
        Ok((scribe, desk))
    }

    /// What is told from now on is of that scope; of which it was.
    pub(crate) fn turn(&mut self, scope: usize) -> usize {
        for lane in [&mut self.done, &mut self.notes, &mut self.chatter] {
            lane.turn(scope);
        }
        std::mem::replace(&mut self.scope, scope)
    }

    /// Hands `record` over, and passes it on.
    pub(crate) fn tell(&mut self, record: Record) {
        self.pass_on(&record);
        let lane = match record {
            Record::Status(..)
            | Record::Columns
            | Record::Candidate(_)
            | Record::Unshown(_)
            | Record::Legend(_)
            | Record::Note(..) => &mut self.notes,
            _ => &mut self.done,
        };
        lane.tell(record);
    }

    /// Notes `record` in the journal where that has it, has the hooks run that it
    /// calls for, and tells those that subscribe. Of what the watchdog has killed,
    /// it has told the page itself.
    pub(crate) fn pass_on(&mut self, record: &Record) {
        if let Some(Some(signals)) = self.signals.get_mut(self.scope) {
            signals.follow(record);
        }
        if let Some(hooks) = &mut self.hooks {
            hooks.follow(record);
        }
        if let Some(feed) = &mut self.feed {
            feed.follow(record);
        }
    }

    /// Notes in the journal, where there is one, the labels of a process that a decision
    /// was about.
    pub(crate) fn labels(&mut self, id: ProcessId, labels: Labels) {
        if let Some(Some(signals)) = self.signals.get_mut(self.scope) {
            signals.labels(id, labels);
        }
    }

    /// This is the level now: those that subscribe are told where it has changed.
    pub(crate) fn level(&mut self, level: control::Condition, memory: &Memory) {
        if let Some(feed) = &mut self.feed {
            feed.level(level, memory);
        }
    }

    /// Says something from a quiet round.
    pub(crate) fn note(&mut self, level: log::Level, text: impl fmt::Display) {
        if level <= log::max_level() {
            self.tell(Record::Note(level, text.to_string().into_boxed_str()));
        }
    }

    /// Says what a user has made the registry say, so much at a time; more is
    /// counted. From a quiet round.
    pub(crate) fn chat(&mut self, level: log::Level, text: impl fmt::Display) {
        if level > log::max_level() {
            return;
        }
        if self.allowance.spend(Instant::now()) {
            self.chatter.note(level, text);
        } else {
            self.allowance.unsaid += 1;
        }
    }

    /// Says what there was no room for. From a quiet round.
    pub(crate) fn catch_up(&mut self) {
        if 0 < self.allowance.unsaid && self.allowance.spend(Instant::now()) {
            let unsaid = std::mem::take(&mut self.allowance.unsaid);
            self.chatter.tell(Record::Unsaid(unsaid));
        }
        for lane in [&mut self.done, &mut self.notes, &mut self.chatter] {
            lane.catch_up();
        }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        let until = Instant::now() + FAREWELL;
        if let Some(hooks) = self.hooks.take() {
            hooks.end(until);
        }
        for lane in [&mut self.done, &mut self.notes, &mut self.chatter] {
            lane.catch_up();
        }
        self.bell.ring_the_end();
        let left = until.saturating_duration_since(Instant::now());
        let _ = self.ended.recv_timeout(left);
    }
}

/// How many lines may be said now: [`AT_ONCE`], then one each [`A_LINE`].
#[derive(Debug)]
struct Allowance {
    lines: u32,
    since: Instant,
    unsaid: u64,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self {
            lines: AT_ONCE,
            since: now,
            unsaid: 0,
        }
    }

    /// Whether one more may be said.
    fn spend(&mut self, now: Instant) -> bool {
        let gained = (now - self.since).as_millis() / A_LINE.as_millis();
        let gained = u32::try_from(gained).unwrap_or(AT_ONCE).min(AT_ONCE);
        if AT_ONCE - self.lines <= gained {
            self.lines = AT_ONCE;
            self.since = now;
        } else {
            self.lines += gained;
            self.since += A_LINE * gained;
        }
        let one = self.lines.checked_sub(1);
        self.lines = one.unwrap_or(0);
        one.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chatter_has_so_many_lines_at_once_and_then_one_after_the_other() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let mut spent = |after| {
            let now = start + after;
            std::iter::from_fn(|| allowance.spend(now).then_some(())).count()
        };
        assert_eq!(spent(Duration::ZERO), 256);
        assert_eq!(spent(Duration::from_millis(49)), 0);
        assert_eq!(spent(Duration::from_millis(75)), 1);
        // What is left of a line's time is not lost.
        assert_eq!(spent(Duration::from_millis(100)), 1);
        assert_eq!(spent(Duration::from_secs(1)), 18);
        assert_eq!(spent(Duration::from_secs(3600)), 256);
    }
}
