//! What the loop reads for itself: memory, pressure, and the processes.
//!
//! Nothing here waits for another process; what may, the surveyor reads.

use std::time::{Duration, Instant};

use oom_policy::{Ask, Depth, Memory, Moment, PauseWord, Process, ProcessId, Seen, Worth};
use sensors::{ProcessTable, ReadError};
use terminal::chain;

use crate::classify::{Classifier, Patterns, pausing};
use crate::memory::MemorySource;
use crate::pressure::PressureWatches;
use crate::rulebook::{self, Edition};
use crate::surveyor::Surveyor;
use crate::tell::record::Record;
use crate::tell::scribe::Scribe;

/// So far up a process is looked for among the descendants of a registered one.
const GENERATIONS: usize = 32;

/// In a cgroup a decision waits so long for what is known of newcomers: that takes
/// a millisecond, where the machine is not busy,
const NEWCOMERS: Duration = Duration::from_millis(100);
/// and not again for so long.
const KNOWN_FOR: Duration = Duration::from_millis(300);

/// What is not measured and holds much is measured in rounds that are no further
/// apart. Each takes 15 to 45 ms.
const MEASURING: Duration = Duration::from_millis(200);

/// A decision waits so long for what is not measured of the processes that hold much,
/// some 3 GiB of them,
const MEASURED: Duration = Duration::from_millis(300);
/// while all is about to be lost,
const MEASURED_SOON: Duration = Duration::from_millis(100);
/// and once that was in vain not again for so long: what a process keeps its reader
/// from must not hold up each decision.
const UNMEASURED_FOR: Duration = Duration::from_secs(5);

/// What is read, and what could not be. Of several scopes, it is at one at a time.
#[derive(Debug)]
pub(crate) struct Senses {
    /// The number of the scope that it is at, of which these are: memory, pressure,
    /// processes, and when something is due.
    scope: usize,
    pub(crate) memory: Box<MemorySource>,
    pub(crate) pressure: PressureWatches,
    pub(crate) table: ProcessTable,
    pub(crate) surveyor: Surveyor,
    pub(crate) classifier: Classifier,
    /// As of the last table, by ascending pid, kernel threads left out.
    pub(crate) processes: Vec<Process>,
    /// What is measured in turn is once all are known that had started by then, in
    /// clock ticks since boot.
    to_measure_again: Option<u64>,
    measuring: Measuring,
    /// When a decision began to wait for that.
    unmeasured: Option<Moment>,
    /// The table has changed, and with it what may be paused.
    to_tie: bool,
    /// When a decision began to wait for what is known of newcomers.
    asked: Option<Moment>,
    /// Likewise, which rules match.
    to_label: bool,
    said: Said,
    /// Of the last table: processes without a descriptor kept, and processes that
    /// could not be read.
    pub(crate) unheld: usize,
    pub(crate) unread: usize,
}

/// What is yet to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Measuring {
    Nothing,
    /// What is measured in turn.
    InTurn,
    /// What holds much, of which the last table has shown too much or too little.
    Much,
}

/// What was said and still holds.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    per_cpu: bool,
    arc: bool,
    zram: bool,
    pressure: bool,
    processes: bool,
    /// A process holds more than there is.
    bounds: bool,
}

/// What is read of a scope while it is not looked at.
#[derive(Debug)]
pub(crate) struct Unattended {
    pub(crate) memory: Box<MemorySource>,
    pub(crate) pressure: PressureWatches,
    pub(crate) processes: Vec<Process>,
    to_measure_again: Option<u64>,
    measuring: Measuring,
    unmeasured: Option<Moment>,
    to_tie: bool,
    asked: Option<Moment>,
    said: Said,
}

impl Unattended {
    /// `processes` is overwritten: what counts is its room.
    pub(crate) fn new(
        memory: MemorySource,
        pressure: PressureWatches,
        processes: Vec<Process>,
    ) -> Self {
        Self {
            memory: Box::new(memory),
            pressure,
            processes,
            to_measure_again: Some(0),
            measuring: Measuring::Nothing,
            unmeasured: None,
            to_tie: true,
            asked: None,
            said: Said::default(),
        }
    }
}

impl Senses {
    /// `processes` is overwritten: what counts is its room.
    pub(crate) fn new(
        memory: MemorySource,
        pressure: PressureWatches,
        table: ProcessTable,
        surveyor: Surveyor,
        classifier: Classifier,
        processes: Vec<Process>,
    ) -> Self {
        Self {
            scope: 0,
            memory: Box::new(memory),
            pressure,
            to_measure_again: Some(table.scanned_at_ticks()),
            measuring: Measuring::Nothing,
            unmeasured: None,
            table,
            surveyor,
            classifier,
            processes,
            to_tie: true,
            asked: None,
            to_label: true,
            said: Said::default(),
            unheld: 0,
            unread: 0,
        }
    }

    /// Looks at scope number `scope` from now on, and leaves the one that it was at in
    /// `other`.
    pub(crate) fn turn(&mut self, scope: usize, other: &mut Unattended) {
        use std::mem::swap;
        self.scope = scope;
        self.table.turn(scope);
        swap(&mut self.memory, &mut other.memory);
        swap(&mut self.pressure, &mut other.pressure);
        swap(&mut self.processes, &mut other.processes);
        swap(&mut self.to_measure_again, &mut other.to_measure_again);
        swap(&mut self.measuring, &mut other.measuring);
        swap(&mut self.unmeasured, &mut other.unmeasured);
        swap(&mut self.to_tie, &mut other.to_tie);
        swap(&mut self.asked, &mut other.asked);
        swap(&mut self.said, &mut other.said);
    }

    /// Reads what the first decision goes by and later ones find read: the
    /// daemon may be started, or started again, in the middle of a shortage.
    pub(crate) fn read_first(&mut self) {
        let memory = self.memory.last();
        let all_are_known = self
            .surveyor
            .look_first(&mut self.table, &self.classifier, &memory);
        if all_are_known {
            self.to_measure_again = None;
        }
        self.measuring = Measuring::Much;
        // Values are read next.
        self.table.join(self.scope, |_| None, &mut self.processes);
    }

    /// Counts what `memory` leaves out: the free pages in the lists of each CPU,
    /// and what the cache of ZFS can shrink by.
    pub(crate) fn make_exact(&mut self, memory: &mut Memory, scribe: &mut Scribe) {
        let per_cpu = self.memory.add_per_cpu(memory);
        let late = "freed memory is counted late";
        say_if_failed(&mut self.said.per_cpu, scribe, late, per_cpu);
        let arc = self.memory.add_arc(memory);
        let cost = "the cache of ZFS is not counted as available";
        say_if_failed(&mut self.said.arc, scribe, cost, arc);
    }

    /// Reads what the free swap in zram is worth.
    pub(crate) fn measure_zram(&mut self, memory: &mut Memory, scribe: &mut Scribe) {
        let measured = self.memory.measure_zram(memory);
        let cost = "only half of free swap in zram counts";
        say_if_failed(&mut self.said.zram, scribe, cost, measured);
    }

    /// Whether a pressure window of `gate` has stalled, where a file is read in
    /// the kernel's stead, and for how long it need not be looked at.
    pub(crate) fn look_at_pressure(
        &mut self,
        now: Moment,
        gate: Ask,
        scribe: &mut Scribe,
    ) -> (bool, Duration) {
        let Some(pressure) = self.pressure.of(gate) else {
            return (false, Duration::MAX);
        };
        let stalled = match pressure.look(now) {
            Ok(None) => false,
            Ok(Some(stalled)) => {
                self.said.pressure = false;
                stalled
            }
            // The levels are guarded all the same.
            Err(err) => {
                say_once(
                    &mut self.said.pressure,
                    scribe,
                    "relief by pressure is off",
                    &err,
                );
                false
            }
        };
        (stalled, pressure.pause(now))
    }

    /// The kernel's trigger for `gate` says that it is none any longer.
    pub(crate) fn lose_pressure(&mut self, gate: Ask, scribe: &mut Scribe) {
        self.pressure.lose(gate);
        let what = match gate {
            Ask::Pause => "pausing",
            _ => "relief",
        };
        scribe.note(
            log::Level::Warn,
            format_args!("{what} by pressure is off: the kernel has dropped the trigger"),
        );
    }

    /// Takes in what the surveyor has found since.
    pub(crate) fn take_in(&mut self, now: Moment) {
        let (table, classifier) = (&mut self.table, &self.classifier);
        self.to_label |= self.surveyor.deliver(now, table, classifier);
    }

    /// Has the surveyor measure what is due; stops waiting for one that is
    /// stuck. `is_quiet`: memory is not short, and no victim is pending. Returns
    /// whether what holds much is all measured now and was not before, and for how
    /// long there is nothing more to do.
    pub(crate) fn measure(
        &mut self,
        now: Moment,
        is_quiet: bool,
        memory: &Memory,
        scribe: &mut Scribe,
    ) -> (bool, Duration) {
        let unanswered = self.surveyor.give_up(now, is_quiet, &mut self.table);
        if let Some(unanswered) = unanswered {
            scribe.note(log::Level::Warn, unanswered);
        }
        self.to_label |= self.surveyor.ask_again_for_labels(now, &mut self.table);
        let before = self.measuring;
        self.ask(is_quiet, memory);
        let is_over = self.measuring == Measuring::Nothing;
        match is_quiet && !is_over {
            true => (false, MEASURING),
            false => (is_over && before == Measuring::Much, Duration::MAX),
        }
    }

    fn ask(&mut self, is_quiet: bool, memory: &Memory) {
        let (table, surveyor) = (&mut self.table, &mut self.surveyor);
        let is_measuring = self.to_measure_again.is_some() || self.measuring != Measuring::Nothing;
        if (self.to_tie || is_measuring) && is_quiet {
            surveyor.ask_for_unknown(table);
        }
        if self.to_label && is_quiet {
            self.to_label = !surveyor.ask_for_labels(table);
        }
        // First: a pause waits for it.
        if self.to_tie && is_quiet {
            let processes = &self.processes;
            let is_registered = |process: &Process| process.dossier.value.is_some();
            let is_any = processes.iter().any(is_registered);
            let is_worth_it = |seen: &Seen| {
                memory.is_noticeable(seen.held_bytes())
                    || (is_any && descends_from_registered(processes, seen))
            };
            let mut ask = |request| surveyor.ask(request);
            self.to_tie = !table.ask_for_ties(is_worth_it, &mut ask);
        }
        if let Some(ticks) = self.to_measure_again
            && is_quiet
            && surveyor.measure_again(ticks, table, memory)
        {
            self.to_measure_again = None;
            self.measuring = self.measuring.max(Measuring::InTurn);
        }
        if self.measuring != Measuring::Nothing
            && is_quiet
            && surveyor.ask_for_measurements(table, memory)
        {
            self.measuring = Measuring::Nothing;
        }
        if self.to_measure_again.is_none() {
            surveyor.ask_for_commands(table);
        }
        surveyor.ring();
    }

    /// Goes by other rules and patterns from now on, for what is known already too.
    pub(crate) fn adopt(&mut self, edition: Edition, patterns: Patterns) {
        self.classifier.adopt(patterns, &mut self.table);
        self.surveyor.adopt(edition, &mut self.table);
        self.to_label = true;
    }

    /// Whether it is still to be found which rules match; has it found.
    pub(crate) fn is_labelling(&mut self) -> bool {
        self.to_label = !self.surveyor.ask_for_labels(&mut self.table);
        self.surveyor.ring();
        !self.surveyor.rulebook().is_empty() && self.table.awaits_labels()
    }

    /// In a quiet round: memory that several processes share is measured again in
    /// turn, from one of the next on.
    pub(crate) fn refresh(&mut self) {
        self.memory.refresh();
        self.to_measure_again = Some(self.table.scanned_at_ticks());
    }

    /// Says what the kernel's text has that cannot be true.
    pub(crate) fn say_what_was_implausible(&mut self, scribe: &mut Scribe) {
        while let Some((path, what)) = self.memory.next_implausible() {
            scribe.tell(Record::Implausible { path, what });
        }
        if let Some(err) = self.memory.lost_module() {
            scribe.note(
                log::Level::Error,
                format_args!("the kernel no longer asks before it kills: {}", chain(&err)),
            );
        }
    }

    /// Reads the process table into [`Self::processes`]; what that took.
    /// `worth` and `word` are the registry's; what holds more than `memory` is
    /// taken as holding all of it.
    pub(crate) fn read_table(
        &mut self,
        depth: Depth,
        memory: &Memory,
        worth: impl Fn(ProcessId) -> Option<Worth>,
        word: impl Fn(ProcessId) -> Option<PauseWord>,
        scribe: &mut Scribe,
    ) -> Duration {
        let began = Instant::now();
        let table = &mut self.table;
        let scanned = table.scan(depth);
        self.classifier.classify_new(table);
        if depth != Depth::Held {
            let surveyor = &mut self.surveyor;
            table.ask_for_identities(depth, &mut |request| surveyor.ask(request));
            table.ask_for_members(&mut |request| surveyor.ask(request));
            self.surveyor.ask_for_labels(table);
            self.surveyor.ring();
            self.to_tie = true;
            self.to_label = true;
            if self.surveyor.is_there() && table.awaits_measurements(memory) {
                self.measuring = Measuring::Much;
            }
        }
        match scanned {
            // Those held are the ones that could be read.
            Ok(_) if depth == Depth::Held => {}
            Ok(scan) => {
                self.said.processes = false;
                if self.unread == 0 && scan.unread > 0 {
                    say_hidden(scan.unread, scribe);
                }
                (self.unheld, self.unread) = (scan.unheld, scan.unread);
            }
            // All other processes were read.
            Err(err) => say_once(
                &mut self.said.processes,
                scribe,
                "cannot read every process",
                &err,
            ),
        }
        self.table.join(self.scope, worth, &mut self.processes);
        let mut beyond_memory = None;
        for process in &mut self.processes {
            if sensors::bound(&mut process.seen, memory) {
                beyond_memory = Some(process.id.pid);
            }
            let word = process.dossier.value.and_then(|_| word(process.id));
            process.dossier.pause = pausing(process, word);
        }
        for index in 0..self.processes.len() {
            let parent = Seen::position(&self.processes, self.processes[index].parent);
            let parent = parent.map(|parent| self.processes[parent].dossier.label.rule);
            let process = &mut self.processes[index];
            let age_millis = self.table.age_millis(process.id);
            rulebook::apply(process, parent.unwrap_or_default(), age_millis);
        }
        self.say_beyond(beyond_memory, scribe);
        began.elapsed()
    }

    /// Whether a decision by this table should wait a moment, in a cgroup: what was
    /// started or moved into it since the last table is known to be there once the
    /// surveyor has answered. At most [`NEWCOMERS`], and that once in [`KNOWN_FOR`].
    pub(crate) fn awaits_newcomers(&mut self, now: Moment) -> bool {
        if self.memory.scope().is_none() {
            return false;
        }
        let (is_asking, is_any_unknown) = self.table.is_asking();
        match self.asked {
            Some(asked) if now.since(asked) < NEWCOMERS => is_any_unknown,
            Some(asked) if now.since(asked) < KNOWN_FOR => false,
            _ => {
                self.asked = is_asking.then_some(now);
                is_asking
            }
        }
    }

    /// Whether a decision by this table should wait a moment: a process that holds much
    /// is not measured, and may have that in common with others, which it is killed
    /// for or spared. Has it measured. At most [`MEASURED`], or [`MEASURED_SOON`] where
    /// `is_urgent`, and not again for [`UNMEASURED_FOR`] where that was not enough.
    pub(crate) fn awaits_measurements(
        &mut self,
        now: Moment,
        is_urgent: bool,
        memory: &Memory,
    ) -> bool {
        let (table, surveyor) = (&mut self.table, &mut self.surveyor);
        if !surveyor.is_there() || !table.awaits_measurements(memory) {
            self.unmeasured = None;
            return false;
        }
        // One call's at a time: what else is asked meanwhile must not wait for long.
        if surveyor.is_idle() {
            surveyor.ask_for_measurements(table, memory);
            surveyor.ring();
        }
        let limit = match is_urgent {
            true => MEASURED_SOON,
            false => MEASURED,
        };
        let since = self.unmeasured.map(|since| now.since(since));
        if since.is_none_or(|since| UNMEASURED_FOR <= since) {
            self.unmeasured = Some(now);
        }
        since.is_none_or(|since| since < limit || UNMEASURED_FOR <= since)
    }

    fn say_beyond(&mut self, pid: Option<u32>, scribe: &mut Scribe) {
        // What is in a cgroup may hold memory that is charged to another.
        let pid = pid.filter(|_| self.memory.scope().is_none());
        let was_said = std::mem::replace(&mut self.said.bounds, pid.is_some());
        if let Some(pid) = pid.filter(|_| !was_said) {
            scribe.note(
                log::Level::Warn,
                format_args!(
                    "process {pid} cannot hold more memory or swap than the machine has; counted as all of it"
                ),
            );
        }
    }
}

/// Whether a process is registered, or one that it descends from. `processes`: by
/// ascending pid, with their values.
fn descends_from_registered(processes: &[Process], seen: &Seen) -> bool {
    let find = |pid| Some(&processes[Seen::position(processes, pid)?]);
    std::iter::successors(find(seen.id.pid), |process| find(process.parent))
        // A line of parents that is read while it changes may be a circle.
        .take(GENERATIONS)
        .any(|process| process.dossier.value.is_some())
}

fn say_hidden(unread: usize, scribe: &mut Scribe) {
    scribe.note(
        log::Level::Warn,
        format_args!(
            "{unread} processes cannot be read and are never killed: `/proc` is mounted with \
             `hidepid`, or no descriptor is left (raise RLIMIT_NOFILE)"
        ),
    );
}

fn say_if_failed(said: &mut bool, scribe: &mut Scribe, cost: &str, outcome: Result<(), ReadError>) {
    match outcome {
        Ok(()) => *said = false,
        Err(err) => say_once(said, scribe, cost, &err),
    }
}

/// Says what could not be read and what that costs, once until it could be
/// again.
pub(crate) fn say_once(said: &mut bool, scribe: &mut Scribe, cost: &str, err: &ReadError) {
    if !std::mem::replace(said, true) {
        scribe.note(
            log::Level::Error,
            format_args!("{cost}: {}; trying again", chain(err)),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::sync::{Arc, Mutex};
    use std::thread;

    use sensors::{Inquiry, Meminfo, ProcRoot, Scopes, What};

    use super::*;
    use crate::classify::Programs;
    use crate::container_facts::{ContainerFacts, PATIENCE};
    use crate::memory::Beside;
    use crate::rulebook::Rulebook;
    use crate::stand_in::{Waiter, root};
    use crate::surveyor::{Surveyed, read};

    /// What does not come within this long does not come.
    const LIMIT: Duration = Duration::from_secs(60);

    /// Less in use than any seem to hold: each is to be measured.
    const MEMORY: Memory = Memory {
        total_bytes: 0,
        available_bytes: 0,
        at_least_bytes: 0,
        hugetlb_bytes: 0,
        swap_total_bytes: 0,
        swap_free_bytes: 0,
        worthless_swap_bytes: 0,
        zram_bytes: 0,
        swap_cached_bytes: 0,
        anon_bytes: 0,
        shmem_bytes: 0,
        unreclaimable_slab_bytes: 0,
    };

    /// Those of a `table`, with a file of memory in `folder`.
    fn senses(folder: &Path, table: ProcessTable, surveyor: Surveyor) -> Senses {
        let meminfo = folder.join("meminfo");
        let text = "MemTotal: 4096 kB\nMemAvailable: 4096 kB\n";
        std::fs::write(&meminfo, text).expect("the folder is ours");
        let meminfo = Meminfo::open(&meminfo).expect("it was written");
        Senses::new(
            MemorySource::new(meminfo, MEMORY, Beside::default(), None),
            PressureWatches::default(),
            table,
            surveyor,
            Classifier::new(1, 0, true, &[]),
            Vec::new(),
        )
    }

    #[test]
    fn a_decision_waits_a_moment_for_what_is_not_measured_and_not_soon_again() {
        let waiters = [Waiter::new(), Waiter::new()];
        let folder = tempfile::tempdir().unwrap();
        for waiter in &waiters {
            let pid = waiter.id().pid.to_string();
            symlink(root().path().join(&pid), folder.path().join(pid)).unwrap();
        }
        let mut table = ProcessTable::new(ProcRoot::at(folder.path()), 16);
        table.scan(Depth::Full).unwrap();
        let never = |_: &Inquiry| -> Surveyed {
            loop {
                thread::park();
            }
        };
        let surveyor = Surveyor::spawn(Arc::new(never), Edition::default());
        let mut senses = senses(folder.path(), table, surveyor);
        for (is_urgent, limit) in [(false, MEASURED), (true, MEASURED_SOON)] {
            senses.unmeasured = None;
            let first = LIMIT;
            let mut waits = |after: Duration| {
                let now = Moment::after_origin(first + after);
                senses.awaits_measurements(now, is_urgent, &MEMORY)
            };
            assert!(waits(Duration::ZERO));
            assert!(waits(limit / 2));
            assert!(!waits(limit));
            assert!(!waits(UNMEASURED_FOR / 2));
            assert!(waits(UNMEASURED_FOR));
            assert!(!waits(UNMEASURED_FOR + limit));
        }
    }

    #[test]
    fn what_a_busy_start_did_not_get_to_is_looked_at_measured_and_labelled() {
        let [gone, waiters @ ..] = [Waiter::new(), Waiter::new(), Waiter::new()];
        let folder = tempfile::tempdir().unwrap();
        for waiter in waiters.iter().chain([&gone]) {
            let pid = waiter.id().pid.to_string();
            symlink(root().path().join(&pid), folder.path().join(pid)).unwrap();
        }
        let mut table = ProcessTable::new(ProcRoot::at(folder.path()), 16);
        table.scan(Depth::Full).unwrap();
        drop(gone);

        let answered: Arc<Mutex<BTreeSet<_>>> = Arc::default();
        let noted = Arc::clone(&answered);
        let edition = Edition {
            number: 0,
            rulebook: Arc::new(Rulebook::stand_in("match = { name = 'none' }")),
        };
        let read = read(
            root().path(),
            Programs::new(),
            Scopes::default(),
            Arc::new(Mutex::new(edition.clone())),
            ContainerFacts::new(Vec::new(), folder.path().to_owned(), PATIENCE),
            |said| panic!("{said}"),
        );
        let surveyor = Surveyor::spawn(
            Arc::new(move |request| {
                let what = match request.what {
                    What::OwnMemory => Some("measured"),
                    What::Ties => Some("tied"),
                    What::Label => Some("labelled"),
                    _ => None,
                };
                if let Some(what) = what {
                    noted.lock().unwrap().insert((request.id.pid, what));
                }
                read(request)
            }),
            edition,
        );
        let mut senses = senses(folder.path(), table, surveyor);

        let pids = waiters.iter().map(|waiter| waiter.id().pid);
        let wanted: Vec<_> = pids
            .flat_map(|pid| ["measured", "tied", "labelled"].map(|what| (pid, what)))
            .collect();
        let began = Instant::now();
        while !wanted
            .iter()
            .all(|one| answered.lock().unwrap().contains(one))
        {
            assert!(began.elapsed() < LIMIT, "{answered:?}, not {wanted:?}");
            senses.take_in(Moment::ORIGIN);
            senses.ask(true, &MEMORY);
            thread::yield_now();
        }
    }
}
