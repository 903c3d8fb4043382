//! What the table asks of the surveyor about what its processes are, and what it
//! makes of the answers and of those that do not come.

use model::{Depth, Dossier, Label, Pausing, ProcessId, Protection, Seen};
use rustix::param::clock_ticks_per_second;

use crate::process::{Correction, Gauge, Hangup, IDENTITY_READS, Labelling, Owner, Stuck, Ties};
use crate::share::OwnShare;
use crate::survey::{Finding, Identity, Inquiry, Labelled, Survey, What};
use crate::table::ProcessTable;

/// So many processes at a time are asked again what cgroup they are in: some 50 µs
/// each.
const MEMBERS: usize = 16;
/// What started less than this before is asked each time.
const YOUNG_SECONDS: u64 = 30;

impl ProcessTable {
    /// Asks what each process executes and where systemd keeps it, as long as
    /// `ask` takes it; allocates nothing. After a scan of a depth, with that
    /// depth: of newcomers and of what has become something else, after a full
    /// scan also of those that are spared for their executable, since they may
    /// execute another by now.
    pub fn ask_for_identities(&mut self, depth: Depth, ask: &mut dyn FnMut(Inquiry) -> bool) {
        for index in 0..self.kept.len() {
            let kept = &self.kept[index];
            let dossier = &kept.dossier;
            let is_favoured =
                dossier.critical_below_bytes > 0 || dossier.protection == Some(Protection::Ours);
            let is_due = match kept.identity_reads {
                IDENTITY_READS => true,
                0 => depth == Depth::Full && is_favoured,
                _ => depth == Depth::Full,
            };
            if !is_due || self.is_vain(index) {
                continue;
            }
            if !ask(self.request(index, What::Identity)) {
                return;
            }
            self.kept[index].asked = true;
        }
    }

    /// Asks again of some processes which of the cgroups that are guarded they are in:
    /// of the youngest, since what starts a process moves it a moment later, and of
    /// the others in turn, since any may be moved at any time. After each scan;
    /// allocates nothing, and asks nothing where the
    /// machine alone is guarded.
    pub fn ask_for_members(&mut self, ask: &mut dyn FnMut(Inquiry) -> bool) {
        let Some(from) = self.members_from else {
            return;
        };
        let mut young = 0;
        for index in (0..self.kept.len()).rev() {
            if self.is_vain(index) || !self.is_young(index) {
                continue;
            }
            if young == MEMBERS || !ask(self.request(index, What::Identity)) {
                break;
            }
            self.kept[index].asked = true;
            young += 1;
        }
        let start = self
            .processes
            .partition_point(|process| process.id.pid < from);
        let indexes = (start..self.kept.len()).chain(0..start);
        let mut asked = 0;
        for index in indexes {
            if self.is_vain(index) {
                continue;
            }
            if asked == MEMBERS || !ask(self.request(index, What::Identity)) {
                self.members_from = Some(self.processes[index].id.pid);
                return;
            }
            self.kept[index].asked = true;
            asked += 1;
        }
    }

    /// Whether it is of no use to ask what it is or where it is.
    fn is_vain(&self, index: usize) -> bool {
        let kept = &self.kept[index];
        kept.asked
            || kept.stuck != Stuck::No
            || kept.missed
            || self.processes[index].is_kernel_thread
    }

    /// Whether it was asked of any process what it is or where it is, and that is not
    /// answered; whether any of them is one of which nothing is known, or that has
    /// started just now.
    #[must_use]
    pub fn is_asking(&self) -> (bool, bool) {
        let is_asked =
            |index: &usize| self.kept[*index].asked && self.kept[*index].stuck == Stuck::No;
        let mut asked = (0..self.kept.len()).filter(is_asked).peekable();
        let is_asking = asked.peek().is_some();
        let is_unknown = |index: usize| self.kept[index].identity_reads == IDENTITY_READS;
        (
            is_asking,
            asked.any(|index| is_unknown(index) || self.is_young(index)),
        )
    }

    fn is_young(&self, index: usize) -> bool {
        let age = YOUNG_SECONDS * clock_ticks_per_second();
        self.scanned_at_ticks() < self.processes[index].id.start_ticks.saturating_add(age)
    }

    /// Asks for the command line of `id`, unless that could keep the reader
    /// waiting; whether `ask` took it. Allocates nothing.
    pub fn ask_for_command_line(
        &self,
        id: ProcessId,
        ask: &mut dyn FnMut(Inquiry) -> bool,
    ) -> bool {
        self.find_id(id).is_some_and(|index| {
            self.can_be_measured(index) && ask(self.request(index, What::CommandLine))
        })
    }

    /// Asks what would suffer if a process were paused: once of each that
    /// `is_worth_it`, and again when it executes something else. Whether all were
    /// asked about: not those that are still unknown; for quiet rounds.
    pub fn ask_for_ties(
        &mut self,
        is_worth_it: impl Fn(&Seen) -> bool,
        ask: &mut dyn FnMut(Inquiry) -> bool,
    ) -> bool {
        let mut all_are_known = true;
        for index in 0..self.kept.len() {
            let process = &self.processes[index];
            let is_due = self.kept[index].ties == Ties::Due
                && !process.is_kernel_thread
                && !self.is_given_up_on(index)
                && !self.kept[index].missed
                && self.kept[index].scopes != 0
                && is_worth_it(process);
            if is_due && !self.is_known(index) {
                all_are_known = false;
            } else if is_due && !self.ask_about_ties(index, ask) {
                return false;
            }
        }
        all_are_known
    }

    /// Asks which rule matches each process of which that is not known, as long as
    /// `ask` takes it; allocates nothing. Whether all that can be were asked about.
    /// Of what is not measured, without what is in its memory: one process that keeps
    /// its reader waiting must not end the rules for others.
    pub fn ask_for_labels(&mut self, ask: &mut dyn FnMut(Inquiry) -> bool) -> bool {
        for index in 0..self.kept.len() {
            let is_due = self.kept[index].label == Labelling::Due
                && self.can_be_labelled(index)
                && !self.processes[index].is_kernel_thread;
            if !is_due {
                continue;
            }
            let what = match self.is_given_up_on(index) {
                true => What::LabelUnread,
                false => What::Label,
            };
            if !ask(self.request(index, what)) {
                return false;
            }
            self.kept[index].label = Labelling::Asked;
        }
        true
    }

    /// Other rules count from now on: has found which of them match each process,
    /// which until then has the label that it had. Answers to what was asked before
    /// must not be applied. `is_any`: whether there are rules at all.
    pub fn relabel(&mut self, is_any: bool) {
        for kept in &mut self.kept {
            kept.label = Labelling::Due;
            if !is_any {
                kept.dossier.label = Label::default();
            }
        }
    }

    /// Has asked again which rule matches what is labelled for now, which keeps
    /// that label until then.
    pub fn await_labels_again(&mut self) {
        for kept in &mut self.kept {
            if kept.label == Labelling::ForNow {
                kept.label = Labelling::Due;
            }
        }
    }

    /// Whether it is still to be found which rule matches a process of which that
    /// can be.
    #[must_use]
    pub fn awaits_labels(&self) -> bool {
        (0..self.kept.len()).any(|index| {
            self.kept[index].label != Labelling::Known
                && self.can_be_labelled(index)
                && !self.kept[index].missed
                && !self.processes[index].is_kernel_thread
        })
    }

    /// Asks again of the process of which that was found longest ago: it may have
    /// opened a terminal since.
    pub fn ask_for_oldest_ties(&mut self, ask: &mut dyn FnMut(Inquiry) -> bool) {
        let known = (0..self.kept.len()).filter_map(|index| match self.kept[index].ties {
            Ties::Known(round) if self.can_be_measured(index) => Some((round, index)),
            _ => None,
        });
        if let Some((_, index)) = known.min() {
            self.ask_about_ties(index, ask);
        }
    }

    fn ask_about_ties(&mut self, index: usize, ask: &mut dyn FnMut(Inquiry) -> bool) -> bool {
        let is_asked = ask(self.request(index, What::Ties));
        if is_asked {
            self.kept[index].ties = Ties::Asked;
        }
        is_asked
    }

    /// Takes in what was found; allocates nothing. If that is what a process
    /// executes or which rule matches it, the process is returned, to be classified.
    pub fn apply(&mut self, survey: &Survey) -> Option<(&Seen, &mut Dossier)> {
        let index = self.find_id(survey.id)?;
        let at_ticks = self.scanned_at_ticks();
        match survey.found {
            Finding::Nothing => {
                self.kept[index].forget_asked();
                self.kept[index].missed = true;
            }
            Finding::Identity(identity) => {
                self.identify(index, &identity);
                return Some((&self.processes[index], &mut self.kept[index].dossier));
            }
            Finding::Own(share) => {
                let kept = &mut self.kept[index];
                let whole = || OwnShare::whole(kept.raw_anon_bytes, kept.raw_swap_bytes);
                let correction = Correction {
                    share: share.unwrap_or_else(whole),
                    raw_anon_bytes: kept.raw_anon_bytes,
                    round: self.round,
                    at_ticks,
                };
                kept.own_gauge = Gauge::default();
                let before = kept.correction.replace(correction);
                kept.show(&mut self.processes[index]);
                if before.is_none() {
                    self.doubt_elders(index, correction.share);
                }
            }
            Finding::SharedMemory(nameless) => {
                let before = self.kept[index].shared;
                self.note_shared(index, nameless);
                self.find_sharers();
                self.doubt_sharers(index, before);
            }
            Finding::Label(labelled) => {
                let kept = &mut self.kept[index];
                // Else it is another program by now.
                if kept.label == Labelling::Asked {
                    kept.label = match labelled {
                        Labelled::ForGood => Labelling::Known,
                        Labelled::ForNow => Labelling::ForNow,
                    };
                    return Some((&self.processes[index], &mut kept.dossier));
                }
            }
            // It is not the table's to keep.
            Finding::CommandLine(_) => {}
            Finding::Terminal(holder) => {
                self.kept[index].hangup = Hangup::Known(holder);
                self.find_holders();
            }
            Finding::SameMemory { with, is_same } => self.compared(index, with, is_same),
            Finding::Ties(pause) => {
                let kept = &mut self.kept[index];
                // Else it executes something else by now.
                if kept.ties == Ties::Asked {
                    kept.ties = Ties::Known(self.round);
                    kept.dossier.pause = pause;
                }
            }
        }
        None
    }

    /// No answer to `request` has come in all the time it could take. Its
    /// process is not asked about again; and where it was to be measured,
    /// neither is what else that user runs, unless that is root: or one user
    /// could keep any number of readers waiting. What was asked for beside it
    /// can be asked for again. Until [`Self::take_up_again`]; for quiet rounds.
    pub fn give_up_on(&mut self, request: &Inquiry) {
        for kept in &mut self.kept {
            kept.forget_asked();
        }
        let Some(index) = self.find_id(request.id) else {
            return;
        };
        let is_measured = request.what.takes_the_mmap_lock();
        self.kept[index].stuck = match is_measured {
            true => Stuck::InItsMemory,
            false => Stuck::Anywhere,
        };
        let owner = self.kept[index].owner(&self.processes[index]);
        if is_measured && owner != Owner::User(0) {
            self.given_up_on.push((owner, request.id));
        }
        self.count_unseen();
    }

    /// The reader that `id` kept waiting is back: what was left alone because of it is
    /// asked for again, and so are all labels, which may have been found without what rules look
    /// at.
    pub fn take_up_again(&mut self, id: ProcessId) {
        self.given_up_on.retain(|(_, by)| *by != id);
        if let Some(index) = self.find_id(id) {
            self.kept[index].stuck = Stuck::No;
        }
        self.relabel(true);
    }

    /// Whether no process is measured from now on.
    pub fn measure_nothing(&mut self, is_so: bool) {
        if self.measures_nothing != is_so {
            self.measures_nothing = is_so;
            self.relabel(true);
            self.count_unseen();
        }
    }

    /// Whether it can be found which rule matches it.
    fn can_be_labelled(&self, index: usize) -> bool {
        let kept = &self.kept[index];
        self.is_known(index) && kept.stuck != Stuck::Anywhere && kept.scopes != 0
    }

    pub(crate) fn can_be_measured(&self, index: usize) -> bool {
        self.is_known(index) && !self.is_given_up_on(index) && self.kept[index].scopes != 0
    }

    /// Whether all that had started by then, in clock ticks since boot, were
    /// looked at, as far as they can be.
    #[must_use]
    pub fn knows_all_of(&self, ticks: u64) -> bool {
        (0..self.kept.len()).all(|index| {
            let process = &self.processes[index];
            let is_vain = self.is_given_up_on(index) || self.kept[index].missed;
            let is_later = ticks < process.id.start_ticks;
            self.is_known(index) || is_vain || is_later || process.is_kernel_thread
        })
    }

    /// Whether it was looked at.
    pub(crate) fn is_known(&self, index: usize) -> bool {
        self.kept[index].identity_reads < IDENTITY_READS
    }

    pub(crate) fn is_given_up_on(&self, index: usize) -> bool {
        let owner = || self.kept[index].owner(&self.processes[index]);
        self.measures_nothing
            || self.kept[index].stuck != Stuck::No
            || self.given_up_on.iter().any(|(it, _)| *it == owner())
    }

    pub(crate) fn request(&self, index: usize, what: What) -> Inquiry {
        let process = &self.processes[index];
        Inquiry {
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
            kept.shared = None;
            kept.compared = None;
            kept.ties = Ties::Due;
            kept.dossier.pause = Pausing::default();
        }
        kept.in_our_user_namespace = identity.in_our_user_namespace;
        kept.pid_namespace = identity.pid_namespace;
        kept.service = identity.service;
        kept.unit = identity.unit;
        kept.scopes = identity.scopes.unwrap_or(kept.scopes);
        kept.identity_reads = kept.identity_reads.saturating_sub(1);
        // The same executable may have been started with other arguments.
        kept.label = Labelling::Due;
        kept.asked = false;
        kept.place(process, identity.alone);
        kept.show(process);
    }
}
