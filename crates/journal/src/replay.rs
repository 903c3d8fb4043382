//! Feeds a guard what another was told, and looks whether it decides the same.

use oom_policy::{Checkpoint, Decision, Effect, Effects, Event, Guard, Memory, Moment, Process};

use crate::digest::Digest;
use crate::line::Line;
use crate::table::apply;

/// A guard that goes through what another went through.
#[derive(Debug, Default)]
pub struct Replay {
    /// `None` before the first state, and behind a gap.
    guard: Option<Guard>,
    table: Vec<Process>,
    /// By the last line, the other would read the table.
    wants_table: bool,
    effects: Effects,
}

/// What came of a line.
#[derive(Debug)]
pub enum Step<'a> {
    /// Nothing that was to be compared.
    Quiet,
    /// It cannot be replayed: no state comes before it, or lines are missing.
    Skipped,
    /// A table was decided about.
    Decided {
        /// When.
        at: Moment,
        /// What was decided,
        decision: &'a Decision,
        /// about these,
        processes: &'a [Process],
        /// and this.
        memory: &'a Memory,
        /// Whether the other guard decided the same.
        is_same: bool,
    },
    /// What the guard remembers is what the other did.
    SameState,
    /// It is not.
    OtherState,
}

impl Replay {
    /// The last table.
    #[must_use]
    pub fn processes(&self) -> &[Process] {
        &self.table
    }

    /// What was decided last; `None` before anything was.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision> {
        self.guard.as_ref().map(Guard::decision)
    }

    /// Whether the other was to read the table after the last line. If the next one has
    /// none, it waited for what was not known of the processes.
    pub(crate) fn wants_table(&self) -> bool {
        self.wants_table
    }

    /// Takes in the next line.
    pub fn take(&mut self, line: &Line) -> Step<'_> {
        self.wants_table = false;
        match line {
            line if line.is_gap() => {
                self.guard = None;
                return Step::Quiet;
            }
            Line::Journal(_) | Line::Decision(_) | Line::Signal(_) | Line::Labels { .. } => {
                return Step::Quiet;
            }
            Line::State { follows, guard, .. } => {
                let ours = self.guard.take().filter(|_| *follows);
                let step = match ours.map(|ours| is_same(&ours.checkpoint(), guard)) {
                    None => Step::Quiet,
                    Some(true) => Step::SameState,
                    Some(false) => Step::OtherState,
                };
                self.guard = Some(Guard::resume((**guard).clone(), self.table.len()));
                self.table.clear();
                return step;
            }
            _ => {}
        }
        let Some(guard) = &mut self.guard else {
            return Step::Skipped;
        };
        if let Line::KernelAsks { .. } = line {
            guard.kernel_asks();
        } else if let Line::Adopted { settings, .. } = line {
            guard.adopt((**settings).clone());
        } else if let Line::Table {
            at,
            depth,
            rows,
            gone,
            decision,
        } = line
        {
            apply(&mut self.table, rows, gone);
            let (depth, processes) = (*depth, &*self.table);
            guard.handle(*at, Event::Table { depth, processes }, &mut self.effects);
            self.effects.by_ref().for_each(drop);
            let is_same = Digest::of(guard.decision()) == *decision;
            return Step::Decided {
                at: *at,
                decision: guard.decision(),
                processes,
                memory: guard.memory(),
                is_same,
            };
        } else if let Some((at, event)) = line.event() {
            guard.handle(at, event, &mut self.effects);
            let effects = self.effects.by_ref();
            self.wants_table = effects
                .filter(|effect| matches!(effect, Effect::ReadTable(_)))
                .count()
                > 0;
        }
        Step::Quiet
    }
}

/// Whether both are written the same.
fn is_same(ours: &Checkpoint, theirs: &Checkpoint) -> bool {
    match (serde_json::to_vec(ours), serde_json::to_vec(theirs)) {
        (Ok(ours), Ok(theirs)) => ours == theirs,
        _ => false,
    }
}
