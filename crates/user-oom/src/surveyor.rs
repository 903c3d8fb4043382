//! The thread that reads what may keep its reader waiting.
//!
//! `smaps` and its like take locks that a process can hold for as long as it
//! likes ([`sensors::survey()`]). So the loop asks through a bounded queue and
//! takes the answers when it comes round; a request that finds no room is made
//! again later. Which requests are made is the process table's business.
//!
//! An answer that does not come costs the thread: it is left behind in its
//! call, which the end of the process ends, and another takes its place. While
//! [`LEFT_BEHIND`] of them are, nothing is measured. Which rules match is found
//! all the same, by what keeps no reader waiting. Once a thread is back, and
//! [`AGAIN`] is over, what was left alone because of it is
//! asked for again.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use oom_policy::{Label, Memory, Moment, Name, Process, ProcessId, Seen};
use sensors::{CommandLine, Depth, Executable, Inquiry, ProcessTable, Scopes, Survey, What};

use crate::classify::{Classifier, Program, Programs};
use crate::commands::Commands;
use crate::container_facts::ContainerFacts;
use crate::rulebook::{Edition, Rulebook};

/// How long the first decision waits for what is known of the processes. 3000
/// take some 150 ms.
const FIRST_LOOK: Duration = Duration::from_millis(600);
/// How many requests wait at most.
const QUEUE: usize = 64;
/// What reading and taking apart one file needs.
const STACK_BYTES: usize = 128 * 1024;
/// Labels that depend on what a container runtime did not say yet are found anew
/// after so long.
const LABEL_AGAIN: Duration = Duration::from_secs(1);
/// So many threads may be left behind at a time.
const LEFT_BEHIND: usize = 4;
/// What has kept a thread is left alone for so long at least, or one user could keep
/// one after the other.
const AGAIN: Duration = Duration::from_secs(600);
/// An identity takes some 50 µs, and waits for locks of the kernel's alone.
const IDENTITY_PATIENCE: Duration = Duration::from_secs(1);
/// A measurement waits its turn at a lock that its process may be busy with,
const MEASURE_PATIENCE: Duration = Duration::from_secs(5);
/// and takes 15 to 45 µs for a MiB on an idle machine.
const PATIENCE_PER_MIB: Duration = Duration::from_micros(250);

/// Answers one request, however long that takes.
pub(crate) type Read = dyn Fn(&Inquiry) -> Surveyed + Send + Sync;

/// What was read, and what the executable was recognised as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surveyed {
    pub(crate) survey: Survey,
    pub(crate) program: Program,
    /// What rules say of it, where that was asked,
    pub(crate) label: Label,
    /// and the number of their edition.
    pub(crate) edition: u32,
}

/// Reads below `root`, where procfs is, and labels by the rules that `current`
/// has, and by what is known of containers. `scopes`: what is guarded. `say`: where
/// that is told which a person should know.
pub(crate) fn read(
    root: &Path,
    programs: Programs,
    scopes: Scopes,
    current: Arc<Mutex<Edition>>,
    facts: ContainerFacts,
    say: impl Fn(String) + Send + Sync + 'static,
) -> Arc<Read> {
    let root = root.to_owned();
    Arc::new(move |request| {
        let (mut program, mut label) = (Program::default(), Label::default());
        if request.what.is_label() {
            // Not held while it is read.
            let edition = Edition::clone(&current.lock().unwrap_or_else(PoisonError::into_inner));
            let survey = sensors::portray(&root, request, &mut |portrait| {
                let labelled;
                (label, labelled) = edition.label(portrait, &facts);
                labelled
            });
            facts.take_remarks().into_iter().for_each(&say);
            return Surveyed {
                survey,
                program,
                label,
                edition: edition.number,
            };
        }
        let mut recognise = |executable: &Executable<'_>| {
            program = programs.recognise(executable);
        };
        let survey = sensors::survey(
            &root,
            request,
            &scopes,
            &mut recognise,
            &reaper::have_one_memory,
        );
        Surveyed {
            survey,
            program,
            label,
            edition: 0,
        }
    })
}

/// Where a rule stands, and the pids of what it matches.
type Matched = (Arc<str>, Vec<u32>);

/// Where each rule of `edition` stands, and which of `processes` it matches; and
/// what there is to say of containers. May wait for ever; for a command that a
/// person waits for.
pub(crate) fn matches(
    root: &Path,
    edition: &Edition,
    processes: &[Seen],
    facts: ContainerFacts,
) -> (Vec<Matched>, Vec<String>) {
    let places = edition.rulebook.places();
    let mut matched: Vec<Matched> = places
        .map(|place| (Arc::clone(place), Vec::new()))
        .collect();
    for process in processes.iter().filter(|process| !process.is_kernel_thread) {
        let request = Inquiry {
            id: process.id,
            what: What::Label,
            rss_bytes: process.rss_bytes,
        };
        // What is gone is matched by none.
        let _ = sensors::portray(root, &request, &mut |portrait| {
            let (label, labelled) = edition.label(portrait, &facts);
            let rule = usize::from(label.rule);
            if let Some((_, pids)) = rule.checked_sub(1).and_then(|rule| matched.get_mut(rule)) {
                pids.push(process.id.pid);
            }
            labelled
        });
    }
    (matched, facts.take_remarks())
}

/// The loop's side of it.
pub(crate) struct Surveyor {
    read: Arc<Read>,
    /// `None` where no thread could be had, or the last was left behind.
    worker: Option<Worker>,
    left_behind: Vec<LeftBehind>,
    /// What is not answered yet, in order: the first is being read.
    asked: VecDeque<Inquiry>,
    /// Something was asked since the thread was last woken.
    is_to_ring: bool,
    /// When the loop first came round and found that one unanswered. Not when it
    /// was asked: on a busy machine a round takes long, and began before that.
    since: Option<Moment>,
    /// Families were measured first, and shared memory is to be next.
    is_shareds_turn: bool,
    commands: Commands,
    edition: Edition,
    /// When the first of the labels came that are for now.
    for_now_since: Option<Moment>,
    /// Labels are to be asked for again, as what was asked is forgotten.
    is_to_label: bool,
}

/// A request that was not answered, as it is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unanswered {
    pid: u32,
    name: Name,
    uid: Option<u32>,
    what: What,
    after: Duration,
    measures_on: bool,
}

/// A thread that does not answer.
struct LeftBehind {
    /// Which process keeps it.
    by: ProcessId,
    since: Moment,
    /// The thread's own, which goes with it.
    bells: Weak<Bells>,
}

impl LeftBehind {
    fn is_waiting(&self) -> bool {
        self.bells.strong_count() > 0
    }
}

/// One thread, as the loop sees it. Dropped, it ends as soon as it looks up
/// from what it reads.
struct Worker {
    requests: Option<rtrb::Producer<Inquiry>>,
    answers: rtrb::Consumer<Surveyed>,
    shared: Arc<Bells>,
}

struct Bells {
    /// There is something to read.
    work: EventFd,
    /// All of it is read.
    done: EventFd,
}

impl Surveyor {
    /// Starts the thread, which answers by `read`. Where none can be had, that
    /// is said, and nothing is answered.
    pub(crate) fn spawn(read: Arc<Read>, edition: Edition) -> Self {
        let worker = Worker::spawn(&read).inspect_err(|err| {
            log::warn!(
                "session-critical programs and shared memory are not recognised: cannot start the \
                 thread that reads them: {err}"
            );
        });
        Self {
            worker: worker.ok(),
            read,
            left_behind: Vec::new(),
            asked: VecDeque::with_capacity(QUEUE),
            is_to_ring: false,
            since: None,
            is_shareds_turn: false,
            commands: Commands::new(),
            edition,
            for_now_since: None,
            is_to_label: false,
        }
    }

    /// Has what is in `table` labelled by `edition`, which answers go by already or
    /// soon will.
    pub(crate) fn adopt(&mut self, edition: Edition, table: &mut ProcessTable) {
        self.edition = edition;
        table.relabel(!self.edition.rulebook.is_empty());
    }

    /// The rules that count, with their number.
    pub(crate) fn edition(&self) -> &Edition {
        &self.edition
    }

    /// The rules that count.
    pub(crate) fn rulebook(&self) -> &Rulebook {
        &self.edition.rulebook
    }

    /// Asks, unless there is no room; whether there was. It is heard at once by a
    /// thread that is at work, by another with [`Self::ring`]. Takes no lock and no
    /// memory.
    pub(crate) fn ask(&mut self, request: Inquiry) -> bool {
        let Some(Worker {
            requests: Some(requests),
            ..
        }) = &mut self.worker
        else {
            return false;
        };
        // Its answer has room as well, then.
        if self.asked.len() == QUEUE || requests.push(request).is_err() {
            return false;
        }
        self.asked.push_back(request);
        self.is_to_ring = true;
        true
    }

    /// Wakes the thread, where something was asked since it was last woken.
    pub(crate) fn ring(&mut self) {
        if std::mem::take(&mut self.is_to_ring)
            && let Some(worker) = &self.worker
        {
            // Fails only where the bell has rung 2^64 − 2 times unheard.
            let _ = worker.shared.work.write(1);
        }
    }

    /// Takes the answers that are there into `table`. Whether it was found what any
    /// executes, by which another rule may match it. Takes no lock and no memory.
    pub(crate) fn deliver(
        &mut self,
        now: Moment,
        table: &mut ProcessTable,
        classifier: &Classifier,
    ) -> bool {
        let mut is_any_identified = false;
        while let Some(answer) = self.answer() {
            if answer.survey.is_label() && answer.edition != self.edition.number {
                // By other rules than those that count: it was asked again, or will
                // be.
                continue;
            }
            if answer.survey.is_label_for_now() {
                self.for_now_since.get_or_insert(now);
            }
            self.commands.learn(&answer.survey);
            match table.apply(&answer.survey) {
                Some((_, dossier)) if answer.survey.is_label() => dossier.label = answer.label,
                Some((seen, dossier)) => {
                    classifier.classify(answer.program, seen, dossier);
                    is_any_identified = true;
                }
                None => {}
            }
        }
        if !self.asked.is_empty() {
            self.since.get_or_insert(now);
        }
        is_any_identified
    }

    /// Has everything looked at once, as far as that takes no longer than
    /// [`FIRST_LOOK`]; for the start, which alone may wait. Whether all are known, so
    /// that what is measured in turn is, or will be in the next quiet rounds.
    pub(crate) fn look_first(
        &mut self,
        table: &mut ProcessTable,
        classifier: &Classifier,
        memory: &Memory,
    ) -> bool {
        let began = Instant::now();
        let wait = |surveyor: &mut Self, table: &mut ProcessTable| {
            let left = FIRST_LOOK.saturating_sub(began.elapsed());
            surveyor.wait(left);
            surveyor.deliver(Moment::ORIGIN, table, classifier);
            !left.is_zero()
        };
        // As many at a time as there is room for.
        loop {
            self.ask_for_unknown(table);
            self.ask_for_labels(table);
            if self.asked.is_empty() || !wait(self, table) {
                break;
            }
        }
        let all_are_known = self.measure_again(table.scanned_at_ticks(), table, memory);
        // As much at a time as one call may ask for.
        loop {
            self.ask_for_measurements(table, memory);
            if self.asked.is_empty() || !wait(self, table) {
                break;
            }
        }
        // Nothing is held against what the start did not wait for.
        self.since = None;
        all_are_known
    }

    /// Has those looked at that were not yet: at a busy start, or of many
    /// newcomers, not all have been asked about.
    pub(crate) fn ask_for_unknown(&mut self, table: &mut ProcessTable) {
        table.ask_for_identities(Depth::Fast, &mut |request| self.ask(request));
    }

    /// Has found which rules match those of which that is not known, where there
    /// are rules; whether all were asked about.
    pub(crate) fn ask_for_labels(&mut self, table: &mut ProcessTable) -> bool {
        self.edition.rulebook.is_empty() || table.ask_for_labels(&mut |request| self.ask(request))
    }

    /// Has asked again for labels that were for now, once a second; whether any are
    /// to be asked for.
    pub(crate) fn ask_again_for_labels(&mut self, now: Moment, table: &mut ProcessTable) -> bool {
        let is_time = |since: &mut Moment| LABEL_AGAIN <= now.since(*since);
        let is_any = self.for_now_since.take_if(is_time).is_some();
        if is_any {
            table.await_labels_again();
        }
        std::mem::take(&mut self.is_to_label) || is_any
    }

    /// Has that measured in turn of `table` which its size alone does not have
    /// measured, once all are known that had started by `ticks`: what is not known is
    /// not measured, and newcomers may come without end. Whether they are known; for
    /// quiet rounds.
    pub(crate) fn measure_again(
        &mut self,
        ticks: u64,
        table: &mut ProcessTable,
        memory: &Memory,
    ) -> bool {
        if QUEUE / 2 < self.asked.len() || !table.knows_all_of(ticks) {
            return false;
        }
        table.measure_again(memory);
        table.ask_for_terminals(&mut |request| self.ask(request));
        table.ask_for_oldest_ties(&mut |request| self.ask(request));
        true
    }

    /// Has measured what is due of `table`, as far as one call may, where there is
    /// room. Families and shared memory go first by turns, for many of the one leave
    /// no room for the other. Whether nothing is left to ask or to wait for. Takes no
    /// lock and no memory.
    pub(crate) fn ask_for_measurements(
        &mut self,
        table: &mut ProcessTable,
        memory: &Memory,
    ) -> bool {
        if QUEUE / 2 < self.asked.len() {
            return !self.is_there();
        }
        table.ask_for_one_memory(memory, &mut |request| self.ask(request));
        let before = self.asked.len();
        self.is_shareds_turn = !self.is_shareds_turn;
        for is_shareds in [self.is_shareds_turn, !self.is_shareds_turn] {
            let mut ask = |request| self.ask(request);
            match is_shareds {
                true => table.ask_for_shared_memory(memory, &mut ask),
                false => table.ask_for_families(memory, &mut ask),
            }
            if before < self.asked.len() {
                break;
            }
        }
        !self.is_there() || !table.is_measuring(memory)
    }

    /// Whether all that was asked is answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    /// Whether a thread answers, as far as is known.
    pub(crate) fn is_there(&self) -> bool {
        self.worker.is_some()
    }

    /// Keeps the command lines of `processes`, of the first where they are too
    /// many, and no others. Takes no memory.
    pub(crate) fn want_commands<'a>(
        &mut self,
        processes: impl Iterator<Item = &'a Process> + Clone,
    ) {
        self.commands.want(processes);
    }

    /// Has the command lines read that are wanted and not known; once what is due
    /// is measured, which would find no room beside them. Takes no lock and no
    /// memory.
    pub(crate) fn ask_for_commands(&mut self, table: &ProcessTable) {
        let mut commands = std::mem::take(&mut self.commands);
        commands.ask(|id| table.ask_for_command_line(id, &mut |request| self.ask(request)));
        self.commands = commands;
    }

    /// The command line of `id`, where it is known.
    pub(crate) fn command(&self, id: ProcessId) -> Option<CommandLine> {
        self.commands.get(id)
    }

    /// What is being read of now, as far as answers were taken.
    pub(crate) fn reads_of(&self) -> Option<ProcessId> {
        self.asked.front().map(|request| request.id)
    }

    /// The next answer that is there.
    fn answer(&mut self) -> Option<Surveyed> {
        let answer = self.worker.as_mut()?.answers.pop().ok()?;
        self.asked.pop_front();
        self.since = None;
        Some(answer)
    }

    /// Waits until all that was asked can be taken, no longer than `limit`.
    fn wait(&mut self, limit: Duration) {
        self.ring();
        let Some(worker) = &self.worker else { return };
        let done = &worker.shared.done;
        let mut bells = [PollFd::new(done.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
        if poll(&mut bells, limit).is_ok_and(|count| count > 0) {
            let _ = done.read();
        }
    }

    /// Gives up on a request that is waited for in vain, where there is one:
    /// its thread is left behind, and `table` asks for the rest again. Returns
    /// what there is to say about it.
    ///
    /// Makes a thread, so it is for quiet rounds. Where `is_quiet` does not hold
    /// all is slow, and no wait is held against a process.
    pub(crate) fn give_up(
        &mut self,
        now: Moment,
        is_quiet: bool,
        table: &mut ProcessTable,
    ) -> Option<Unanswered> {
        if is_quiet && self.take_up_again(now, table) {
            self.is_to_label = true;
        }
        let request = *self.asked.front()?;
        if !is_quiet {
            self.since = Some(now);
        }
        let after = now.since(self.since?);
        if after < patience(&request) {
            return None;
        }
        self.asked.clear();
        self.since = None;
        if let Some(worker) = self.worker.take() {
            self.left_behind.push(LeftBehind {
                by: request.id,
                since: now,
                bells: Arc::downgrade(&worker.shared),
            });
        }
        table.give_up_on(&request);
        self.commands.forget_asked();
        let measures_on = self.replace_worker(table);
        self.is_to_label = true;
        let process = table.get(request.id.pid);
        let process = process.filter(|process| process.id == request.id);
        Some(Unanswered {
            pid: request.id.pid,
            name: process.map(|process| process.name).unwrap_or_default(),
            uid: process.map(|process| process.uid),
            what: request.what,
            after,
            measures_on,
        })
    }

    /// Has what was left alone asked for again, where the thread that it cost is back
    /// for long enough; whether there was any. Makes a thread where there is none.
    fn take_up_again(&mut self, now: Moment, table: &mut ProcessTable) -> bool {
        let before = self.left_behind.len();
        self.left_behind.retain(|left| {
            let is_over = !left.is_waiting() && AGAIN <= now.since(left.since);
            if is_over {
                table.take_up_again(left.by);
            }
            !is_over
        });
        let is_any = self.left_behind.len() < before;
        if is_any {
            self.replace_worker(table);
        }
        is_any
    }

    /// Makes a thread where there is none, unless too many are left behind; whether
    /// anything is measured.
    fn replace_worker(&mut self, table: &mut ProcessTable) -> bool {
        let waiting = self.left_behind.iter().filter(|left| left.is_waiting());
        let waiting = waiting.count();
        // One more reads what keeps no reader waiting, once nothing is measured.
        if self.worker.is_none() && waiting <= LEFT_BEHIND {
            self.worker = Worker::spawn(&self.read).ok();
        }
        let measures = self.worker.is_some() && waiting < LEFT_BEHIND;
        table.measure_nothing(!measures);
        measures
    }
}

impl fmt::Debug for Surveyor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surveyor")
            .field("left_behind", &self.left_behind.len())
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, name, .. } = self;
        let seconds = self.after.as_secs();
        write!(f, "process {pid} {name}")?;
        if let Some(uid) = self.uid {
            write!(f, " (uid {uid})")?;
        }
        write!(f, " cannot be read: ")?;
        let file = match self.what {
            What::Identity => "its executable or cgroup",
            What::OwnMemory => "its smaps_rollup",
            What::SharedMemory => "its smaps",
            What::CommandLine => "its cmdline",
            What::Ties => "its environ or open files",
            What::Terminal => "what holds its terminal",
            What::SameMemory(_) => "whether it shares its memory",
            What::Label | What::LabelUnread => "what rules look at",
        };
        write!(f, "{file} did not come within {seconds} s; ")?;
        match (self.what, self.uid) {
            _ if !self.measures_on => write!(
                f,
                "neither did others, so shared memory is not measured and counts in full for each process, \
                 and rules see no process's arguments and environment"
            ),
            (What::Identity | What::Terminal | What::SameMemory(_) | What::LabelUnread, _) => {
                write!(
                    f,
                    "all that it maps is counted, and no rule is found for it"
                )
            }
            (_, Some(0) | None) => write!(
                f,
                "all that it maps is counted, and rules do not see its arguments and environment"
            ),
            _ => write!(
                f,
                "all that it and this user's other processes map is counted, and rules do not see \
                 their arguments and environment"
            ),
        }
    }
}

fn patience(request: &Inquiry) -> Duration {
    match request.what {
        What::Identity | What::Terminal | What::SameMemory(_) => IDENTITY_PATIENCE,
        What::OwnMemory
        | What::SharedMemory
        | What::CommandLine
        | What::Ties
        | What::Label
        | What::LabelUnread => {
            let mib = u32::try_from(request.rss_bytes >> 20).unwrap_or(u32::MAX);
            MEASURE_PATIENCE + PATIENCE_PER_MIB * mib
        }
    }
}

impl Worker {
    fn spawn(read: &Arc<Read>) -> io::Result<Self> {
        let (mut requests, mut asked) = rtrb::RingBuffer::new(QUEUE);
        let filler = Inquiry {
            id: ProcessId {
                pid: 0,
                start_ticks: 0,
            },
            what: What::Identity,
            rss_bytes: 0,
        };
        // All of the ring is written to once, so that it is there.
        while requests.push(filler).is_ok() {}
        while asked.pop().is_ok() {}
        let (given, answers) = rtrb::RingBuffer::new(QUEUE);
        let shared = Arc::new(Bells {
            work: EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?,
            done: EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?,
        });
        thread::Builder::new()
            .name("surveyor".to_owned())
            .stack_size(STACK_BYTES)
            .spawn({
                let (shared, read) = (Arc::clone(&shared), Arc::clone(read));
                move || answer_all(asked, given, &shared, &*read)
            })?;
        Ok(Self {
            requests: Some(requests),
            answers,
            shared,
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It is not waited for: it may never come back.
        self.requests = None;
        let _ = self.shared.work.write(1);
    }
}

fn answer_all(
    mut requests: rtrb::Consumer<Inquiry>,
    mut answers: rtrb::Producer<Surveyed>,
    bells: &Bells,
    read: &Read,
) {
    loop {
        while let Ok(request) = requests.pop() {
            let answer = read(&request);
            if requests.is_abandoned() {
                return;
            }
            // There is room: no more is asked than that.
            let _ = answers.push(answer);
        }
        if requests.is_abandoned() {
            return;
        }
        let _ = bells.done.write(1);
        match bells.work.read() {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Condvar, Mutex};

    use oom_policy::{Pausing, Unpausable};
    use sensors::ProcRoot;

    use super::*;
    use crate::classify::pausing;
    use crate::stand_in::at;
    use crate::stand_in::{Waiter, root};

    /// What does not come within this long does not come.
    const LIMIT: Duration = Duration::from_secs(60);
    const LATE: Duration = Duration::from_secs(3600);

    /// A reader that answers from procfs, but about some processes never.
    #[derive(Default)]
    struct Silent {
        about: Mutex<BTreeSet<u32>>,
        over: Mutex<bool>,
        ended: Condvar,
        has_returned: AtomicBool,
    }

    impl Silent {
        fn about(pids: impl IntoIterator<Item = u32>) -> Arc<Self> {
            Arc::new(Self {
                about: Mutex::new(pids.into_iter().collect()),
                ..Self::default()
            })
        }

        fn read(self: &Arc<Self>) -> Arc<Read> {
            let silent = Arc::clone(self);
            Arc::new(move |request| {
                let measures = request.what.takes_the_mmap_lock();
                if measures && silent.about.lock().unwrap().contains(&request.id.pid) {
                    let mut over = silent.over.lock().unwrap();
                    while !*over {
                        over = silent.ended.wait(over).unwrap();
                    }
                    silent.has_returned.store(true, Ordering::Release);
                }
                Surveyed {
                    survey: sensors::survey(
                        root().path(),
                        request,
                        &Scopes::default(),
                        &mut |_| {},
                        &|_, _| false,
                    ),
                    program: Program::default(),
                    label: Label::default(),
                    edition: 0,
                }
            })
        }

        fn answer_at_last(&self) {
            *self.over.lock().unwrap() = true;
            self.ended.notify_all();
        }
    }

    /// A table of these processes alone, all of which seem to share much.
    struct Town {
        tree: tempfile::TempDir,
        table: ProcessTable,
        classifier: Classifier,
        memory: Memory,
    }

    impl Town {
        fn of(waiters: &[Waiter]) -> Self {
            Self::with(waiters.iter().map(|waiter| waiter.id().pid))
        }

        fn with(pids: impl IntoIterator<Item = u32>) -> Self {
            let tree = tempfile::tempdir().unwrap();
            for pid in pids {
                let pid = pid.to_string();
                let there = root().path().join(&pid);
                std::os::unix::fs::symlink(there, tree.path().join(pid)).unwrap();
            }
            let mut table = ProcessTable::new(ProcRoot::at(tree.path()), 16);
            table.scan(Depth::Full).unwrap();
            Self {
                tree,
                table,
                classifier: Classifier::new(1, 0, true, &[]),
                // Less in use than they seem to hold: each is to be measured.
                memory: Memory::default(),
            }
        }

        fn root(&self) -> &Path {
            self.tree.path()
        }
    }

    /// Takes answers until there are none to wait for.
    fn take_all(surveyor: &mut Surveyor, town: &mut Town) {
        let began = Instant::now();
        while !surveyor.asked.is_empty() {
            assert!(began.elapsed() < LIMIT, "{surveyor:?}");
            surveyor.wait(LIMIT);
            surveyor.deliver(Moment::ORIGIN, &mut town.table, &town.classifier);
        }
    }

    /// Whether relief may pause these processes, once all is known of them.
    fn pausing_of(pids: &[u32]) -> Vec<Pausing> {
        let mut town = Town::with(pids.iter().copied());
        let mut surveyor = Surveyor::spawn(Silent::about([]).read(), Edition::default());
        surveyor.look_first(&mut town.table, &town.classifier, &town.memory);
        take_all(&mut surveyor, &mut town);
        let mut ask = |request| surveyor.ask(request);
        assert!(town.table.ask_for_ties(|_| true, &mut ask));
        take_all(&mut surveyor, &mut town);
        let mut asked_again = false;
        town.table.ask_for_ties(|_| true, &mut |_| {
            asked_again = true;
            true
        });
        assert!(!asked_again, "each is read once");
        let mut joined = Vec::new();
        town.table.join(0, |_| None, &mut joined);
        let found = pids.iter().map(|pid| {
            let process = joined.iter().find(|process| process.id.pid == *pid);
            process.map(|process| pausing(process, None)).unwrap()
        });
        found.collect()
    }

    /// Without what the test's own service manager may have told it.
    fn untold(program: &str) -> Command {
        let mut command = Command::new(program);
        for name in ["MEMORY_PRESSURE_WATCH", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(name);
        }
        command
    }

    #[track_caller]
    fn check_pausing(command: &mut Command, want: Pausing) {
        let waiter = Waiter::started_by(command);
        assert_eq!(pausing_of(&[waiter.id().pid]), [want]);
    }

    #[test]
    fn an_ordinary_process_may_be_paused() {
        check_pausing(&mut untold("cat"), Pausing::Allowed);
    }

    #[test]
    fn what_watches_memory_pressure_may_not_be_paused() {
        let watches = Pausing::Forbidden(Unpausable::PressureWatch);
        let told = |path: &str| {
            let mut command = untold("cat");
            command.env("MEMORY_PRESSURE_WATCH", path);
            command
        };
        check_pausing(&mut told("/run/pressure"), watches);
        check_pausing(&mut told("/dev/null"), Pausing::Allowed);
        // Behind much else.
        check_pausing(told("/run/pressure").env("A", "a".repeat(100_000)), watches);
    }

    /// As systemd tells every service from version 254 on.
    #[test]
    fn what_is_told_where_to_watch_may_be_paused_unless_it_watches() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory.pressure");
        std::fs::write(&path, "").unwrap();
        let told = |script: &str| {
            let mut command = untold("sh");
            command.env("MEMORY_PRESSURE_WATCH", &path);
            command.args(["-c", script]);
            command
        };
        check_pausing(&mut told("exec cat"), Pausing::Allowed);
        let watches = Pausing::Forbidden(Unpausable::PressureWatch);
        let script = "exec 9< \"$MEMORY_PRESSURE_WATCH\" && exec cat";
        check_pausing(&mut told(script), watches);
    }

    #[test]
    fn what_a_watchdog_watches_may_not_be_paused_and_its_children_may() {
        let watchdog = Pausing::Forbidden(Unpausable::Watchdog);
        let shell = |script: &str| {
            let mut command = untold("sh");
            command
                .env("WATCHDOG_USEC", "30000000")
                .args(["-c", script]);
            command
        };
        check_pausing(&mut shell("exec cat"), watchdog);
        check_pausing(&mut shell("WATCHDOG_PID=$$ exec cat"), watchdog);
        let mut child = shell("exec cat");
        child.env("WATCHDOG_PID", std::process::id().to_string());
        check_pausing(&mut child, Pausing::Allowed);
    }

    #[test]
    fn a_process_whose_environment_or_files_are_too_many_may_not_be_paused() {
        let unknown = Pausing::Forbidden(Unpausable::Unknown);
        // One word may have 128 KiB.
        let half = "a".repeat(130_000);
        check_pausing(
            untold("cat")
                .env("A", &half)
                .env("B", &half)
                .env("C", &half),
            unknown,
        );
        let script = "ulimit -n 5000 && for n in $(seq 10 4200); do eval \"exec $n</dev/null\"; \
                      done && exec cat";
        check_pausing(untold("bash").args(["-c", script]), unknown);
    }

    /// An interactive shell on a terminal, whose other side script(1) holds.
    struct Terminal {
        script: std::process::Child,
        shell: u32,
    }

    impl Terminal {
        /// `None` without script(1).
        fn open() -> Option<Self> {
            let mut command = untold("script");
            command
                .args(["-qc", "exec bash --norc --noprofile -i", "/dev/null"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null());
            let script = command.spawn().ok()?;
            let shell = child_of(script.id(), "bash");
            Some(Self { script, shell })
        }

        fn type_in(&mut self, text: &str) {
            let stdin = self.script.stdin.as_mut().unwrap();
            stdin.write_all(text.as_bytes()).unwrap();
        }

        /// Waits until relief may do `want` to `pid`.
        #[track_caller]
        fn awaits(&self, pid: u32, want: Pausing) {
            let began = Instant::now();
            loop {
                let found = pausing_of(&[self.script.id(), self.shell, pid])[2];
                if found == want {
                    return;
                }
                assert!(began.elapsed() < LIMIT, "{found:?}, not {want:?}");
            }
        }
    }

    impl Drop for Terminal {
        fn drop(&mut self) {
            // The terminal hangs up on the shell and its jobs.
            let _ = self.script.kill();
            let _ = self.script.wait();
        }
    }

    /// Waits for a child of `parent` with this name.
    #[track_caller]
    fn child_of(parent: u32, name: &str) -> u32 {
        let began = Instant::now();
        let name = Name::new(name.as_bytes());
        loop {
            let mut table = ProcessTable::new(root(), 1024);
            // What goes meanwhile, or cannot be read, is none of ours.
            let _ = table.scan(Depth::Fast);
            let mut processes = table.processes().iter();
            let child = processes.find(|seen| seen.parent == parent && seen.name == name);
            if let Some(child) = child {
                return child.id.pid;
            }
            assert!(began.elapsed() < LIMIT, "{parent} has no child {name}");
        }
    }

    #[test]
    fn of_a_terminal_its_holder_and_the_job_that_its_shell_waits_for_may_not_be_paused() {
        let Some(mut terminal) = Terminal::open() else {
            println!("skipped: script(1) is not installed (bsdutils)");
            return;
        };
        let (holder, shell) = (terminal.script.id(), terminal.shell);
        let found = pausing_of(&[holder, shell]);
        assert_eq!(
            found,
            [Pausing::Forbidden(Unpausable::PtyMaster), Pausing::Allowed]
        );

        let foreground = Pausing::Forbidden(Unpausable::ForegroundJob);
        terminal.type_in("tail -f /dev/null | sh -c 'sleep 1000; true'\n");
        let job = child_of(shell, "tail");
        terminal.awaits(job, foreground);
        // The shell waits for each of a pipeline, and not for what they start.
        let other = child_of(shell, "sh");
        terminal.awaits(other, foreground);
        let inner = child_of(other, "sleep");
        let found = pausing_of(&[shell, job, other, inner]);
        assert_eq!(found[1..], [foreground, foreground, Pausing::Allowed]);

        // ^Z, then in the background, and back.
        terminal.type_in("\x1a");
        terminal.awaits(job, Pausing::Allowed);
        terminal.type_in("bg\n");
        terminal.awaits(job, Pausing::Allowed);
        terminal.type_in("fg\n");
        terminal.awaits(job, foreground);
    }

    #[test]
    fn everything_is_looked_at_and_measured_before_the_first_decision() {
        let waiters = [Waiter::new(), Waiter::new()];
        let mut town = Town::of(&waiters);
        assert!(town.root().read_dir().unwrap().count() == 2);
        let mut surveyor = Surveyor::spawn(Silent::about([]).read(), Edition::default());
        surveyor.look_first(&mut town.table, &town.classifier, &town.memory);
        take_all(&mut surveyor, &mut town);
        let mut asked = 0;
        town.table.ask_for_identities(Depth::Fast, &mut |_| {
            asked += 1;
            true
        });
        assert_eq!(asked, 0, "all of them are known");
    }

    #[test]
    fn a_read_that_never_returns_holds_up_neither_the_start_nor_the_others_nor_the_end() {
        let waiters = [Waiter::new(), Waiter::new(), Waiter::new()];
        let mut town = Town::of(&waiters);
        let stuck = waiters[0].id().pid;
        let silent = Silent::about([stuck]);
        let mut surveyor = Surveyor::spawn(silent.read(), Edition::default());
        let began = Instant::now();
        surveyor.look_first(&mut town.table, &town.classifier, &town.memory);
        // All others are answered, on however busy a machine.
        let is_waited_for = |surveyor: &Surveyor| {
            let first = surveyor.asked.front();
            first.is_some_and(|first| first.id.pid == stuck && first.what.takes_the_mmap_lock())
        };
        let table = &mut town.table;
        while !is_waited_for(&surveyor) {
            assert!(began.elapsed() < LIMIT, "{surveyor:?}");
            surveyor.wait(Duration::from_millis(1));
            surveyor.deliver(Moment::ORIGIN, table, &town.classifier);
            surveyor.ask_for_measurements(table, &town.memory);
        }

        // Were it to end, its memory would not be back yet.
        assert_eq!(surveyor.reads_of(), Some(waiters[0].id()));

        // Nothing is held against it early, nor while memory is short.
        assert!(
            surveyor
                .give_up(at(Duration::from_secs(4)), true, table)
                .is_none()
        );
        assert!(surveyor.give_up(at(LATE), false, table).is_none());
        let soon = LATE + Duration::from_secs(4);
        assert!(surveyor.give_up(at(soon), true, table).is_none());
        let unanswered = surveyor.give_up(at(2 * LATE), true, table).unwrap();
        assert_eq!(unanswered.pid, stuck);
        assert!(unanswered.measures_on);

        // Another thread answers; the process is asked about no more.
        table.scan(Depth::Full).unwrap();
        table.ask_for_identities(Depth::Full, &mut |request| {
            assert_ne!(request.id.pid, stuck);
            surveyor.ask(request)
        });
        assert_eq!(surveyor.asked.len(), 2);
        take_all(&mut surveyor, &mut town);

        // An answer that comes late is not taken.
        silent.answer_at_last();
        let began = Instant::now();
        while !silent.has_returned.load(Ordering::Acquire) {
            assert!(began.elapsed() < LIMIT);
            thread::yield_now();
        }
        assert!(surveyor.answer().is_none());
    }

    #[test]
    fn while_a_few_threads_are_left_behind_nothing_is_measured() {
        let waiters: Vec<Waiter> = (0..6).map(|_| Waiter::new()).collect();
        let mut town = Town::of(&waiters);
        let silent = Silent::about(waiters.iter().map(|waiter| waiter.id().pid));
        let mut surveyor = Surveyor::spawn(silent.read(), Edition::default());
        let mut request = None;
        town.table.ask_for_identities(Depth::Full, &mut |asked| {
            request = Some(asked);
            true
        });
        // As if each were another user's, so each is measured.
        let request = Inquiry {
            what: What::SharedMemory,
            ..request.unwrap()
        };
        for left_behind in 1..=LEFT_BEHIND {
            assert!(surveyor.ask(request));
            // On a busy machine it may be asked long after a round began.
            assert!(surveyor.give_up(at(LATE), true, &mut town.table).is_none());
            surveyor.deliver(Moment::ORIGIN, &mut town.table, &town.classifier);
            let given_up = surveyor.give_up(at(LATE), true, &mut town.table).unwrap();
            assert_eq!(given_up.measures_on, left_behind < LEFT_BEHIND);
            assert!(surveyor.ask_again_for_labels(at(LATE), &mut town.table));
        }
        town.table.scan(Depth::Full).unwrap();
        surveyor.measure_again(u64::MAX, &mut town.table, &town.memory);
        surveyor.ask_for_measurements(&mut town.table, &town.memory);
        assert!(surveyor.asked.is_empty(), "nothing is measured");
        // What takes no lock of a process is still read.
        town.table
            .ask_for_identities(Depth::Full, &mut |request| surveyor.ask(request));
        assert!(!surveyor.asked.is_empty());
        take_all(&mut surveyor, &mut town);

        // What rules look at is, too, but for what a process can keep back.
        let asked = |surveyor: &mut Surveyor, town: &mut Town| {
            let mut asked = Vec::new();
            town.table.ask_for_labels(&mut |request| {
                asked.push(request.what);
                true
            });
            town.table.relabel(true);
            assert!(surveyor.asked.is_empty());
            asked
        };
        let labels = asked(&mut surveyor, &mut town);
        assert!(!labels.is_empty());
        assert!(labels.iter().all(|what| *what == What::LabelUnread));

        // The threads are back, and after a while all is measured again.
        silent.answer_at_last();
        let began = Instant::now();
        while surveyor.left_behind.iter().any(LeftBehind::is_waiting) {
            assert!(began.elapsed() < LIMIT, "{surveyor:?}");
            thread::yield_now();
        }
        let soon = LATE + AGAIN / 2;
        assert!(surveyor.give_up(at(soon), true, &mut town.table).is_none());
        assert_eq!(surveyor.left_behind.len(), LEFT_BEHIND);
        let later = LATE + AGAIN;
        assert!(
            surveyor
                .give_up(at(later), false, &mut town.table)
                .is_none()
        );
        assert_eq!(surveyor.left_behind.len(), LEFT_BEHIND, "not in a hurry");
        assert!(surveyor.give_up(at(later), true, &mut town.table).is_none());
        assert!(surveyor.left_behind.is_empty());
        assert!(surveyor.ask_again_for_labels(at(later), &mut town.table));
        let labels = asked(&mut surveyor, &mut town);
        assert!(labels.iter().all(|what| *what == What::Label));
        assert!(!labels.is_empty());
    }

    #[test]
    fn more_than_there_is_room_for_is_measured_in_the_calls_that_follow() {
        let waiters: Vec<Waiter> = (0..QUEUE + 2).map(|_| Waiter::new()).collect();
        let mut town = Town::of(&waiters);
        let mut surveyor = Surveyor::spawn(Silent::about([]).read(), Edition::default());
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < LIMIT, "{surveyor:?}");
            surveyor.ask_for_unknown(&mut town.table);
            take_all(&mut surveyor, &mut town);
            if surveyor.measure_again(u64::MAX, &mut town.table, &town.memory) {
                break;
            }
        }
        let mut calls = 0;
        while !surveyor.ask_for_measurements(&mut town.table, &town.memory) {
            assert!(began.elapsed() < LIMIT, "{surveyor:?}");
            take_all(&mut surveyor, &mut town);
            calls += 1;
        }
        assert!(calls > 1, "{calls}");
        assert!(surveyor.ask_for_measurements(&mut town.table, &town.memory));
        assert!(surveyor.asked.is_empty(), "nothing is measured twice");
    }

    #[test]
    fn no_more_is_asked_than_there_is_room_for() {
        let waiter = Waiter::new();
        let silent = Silent::about([waiter.id().pid]);
        let mut surveyor = Surveyor::spawn(silent.read(), Edition::default());
        let request = Inquiry {
            id: waiter.id(),
            what: What::OwnMemory,
            rss_bytes: 0,
        };
        let taken = (0..2 * QUEUE).filter(|_| surveyor.ask(request)).count();
        assert_eq!(taken, QUEUE);
        silent.answer_at_last();
    }

    #[test]
    fn a_measurement_of_a_large_process_may_take_longer() {
        let request = |what, rss_bytes| Inquiry {
            id: ProcessId {
                pid: 1,
                start_ticks: 1,
            },
            what,
            rss_bytes,
        };
        assert_eq!(
            patience(&request(What::Identity, 1 << 40)),
            IDENTITY_PATIENCE
        );
        assert_eq!(patience(&request(What::SharedMemory, 0)), MEASURE_PATIENCE);
        let large = patience(&request(What::OwnMemory, 64 << 30));
        assert!(large > Duration::from_secs(20), "{large:?}");
    }

    #[test]
    fn what_is_said_of_a_process_names_it_its_user_and_what_follows() {
        let unanswered = Unanswered {
            pid: 31,
            name: Name::new(b"hog"),
            uid: Some(1000),
            what: What::SharedMemory,
            after: Duration::from_millis(6500),
            measures_on: true,
        };
        assert_eq!(
            unanswered.to_string(),
            "process 31 hog (uid 1000) cannot be read: its smaps did not come within 6 s; \
             all that it and this user's other processes map is counted, and rules do not see their \
             arguments and environment"
        );
    }
}
