//! Feeds a guard with other settings, or other values, what one was told, as long
//! as both do the same.
//!
//! A record has what followed from what was done. From the first other deed on,
//! what it says is not what would have happened: that is where the two part.

use std::collections::BTreeMap;

use oom_policy::{
    Action, Decision, Depth, Effect, Effects, Event, Guard, Memory, Moment, Process, Settings,
};

use crate::line::Line;
use crate::replay::{Replay, Step};

/// A guard beside the one that was recorded.
#[derive(Debug)]
pub struct Simulation {
    theirs: Replay,
    /// `None` before the first state, and behind a gap.
    ours: Option<Guard>,
    settings: Option<Settings>,
    /// By pid.
    values: BTreeMap<u32, u32>,
    table: Vec<Process>,
    table_at: Option<Moment>,
    /// Ours would read the table, and it is not seen yet that theirs did.
    wanted: Option<(Moment, Depth)>,
    way: Way,
    effects: Effects,
}

/// Whether what is recorded is what would have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Together,
    /// Ours did something, and theirs has done nothing yet.
    Ahead,
    Parted,
}

/// What was decided, and about what.
#[derive(Clone, Debug)]
pub struct DecisionMade {
    /// When.
    pub at: Moment,
    /// What.
    pub decision: Decision,
    /// About these,
    pub processes: Vec<Process>,
    /// as of then, where that is not the same time.
    pub table_at: Option<Moment>,
    /// And about this.
    pub memory: Memory,
}

/// What came of a line.
#[derive(Debug)]
pub enum Parting {
    /// Nothing is done.
    Quiet,
    /// It cannot be used: no state comes before it, or lines are missing.
    Skipped,
    /// Both do this.
    Same(Box<DecisionMade>),
    /// One does something else than the other, or nothing.
    Parts {
        /// What is done with the other settings,
        ours: Option<Box<DecisionMade>>,
        /// and what was done.
        theirs: Option<Box<DecisionMade>>,
    },
    /// What was done first in the record after ours had done something.
    Afterwards(Box<DecisionMade>),
}

impl Simulation {
    /// Processes with these pids have these values from the start on.
    #[must_use]
    pub fn new(values: BTreeMap<u32, u32>) -> Self {
        Self {
            theirs: Replay::default(),
            ours: None,
            settings: None,
            values,
            table: Vec::new(),
            table_at: None,
            wanted: None,
            way: Way::Together,
            effects: Effects::default(),
        }
    }

    /// To be decided by from the next beginning on; else as recorded.
    pub fn adopt(&mut self, settings: Settings) {
        self.settings = Some(settings);
    }

    /// Takes in the next line.
    pub fn take(&mut self, line: &Line) -> Parting {
        match line {
            line if line.is_gap() => {
                self.ours = None;
                self.theirs.take(line);
                return Parting::Quiet;
            }
            Line::Journal(_) | Line::Decision(_) | Line::Signal(_) | Line::Labels { .. } => {
                return Parting::Quiet;
            }
            Line::State { follows, guard, .. } => {
                self.theirs.take(line);
                if !follows || self.ours.is_none() {
                    let mut ours = Guard::resume((**guard).clone(), 0);
                    if let Some(settings) = &self.settings {
                        ours.adopt(settings.clone());
                    }
                    self.ours = Some(ours);
                    self.way = Way::Together;
                    self.wanted = None;
                    self.table_at = None;
                }
                return Parting::Quiet;
            }
            _ if self.ours.is_none() => return Parting::Skipped,
            _ => {}
        }
        if self.way == Way::Together
            && !matches!(line, Line::Table { .. })
            && let Some(ours) = self.decide_alone()
        {
            self.way = Way::Ahead;
            self.theirs.take(line);
            return Parting::Parts {
                ours: Some(ours),
                theirs: None,
            };
        }
        let theirs = match self.theirs.take(line) {
            Step::Decided {
                at,
                decision,
                processes,
                memory,
                ..
            } => Some(DecisionMade {
                at,
                decision: decision.clone(),
                processes: processes.to_vec(),
                table_at: None,
                memory: *memory,
            }),
            _ => None,
        };
        match self.way {
            Way::Together => {
                let depth = match line {
                    Line::Table { depth, .. } => *depth,
                    _ => Depth::Fast,
                };
                self.go_on(line, depth, theirs)
            }
            Way::Ahead => match theirs.filter(|theirs| does_something(&theirs.decision)) {
                Some(theirs) => {
                    self.way = Way::Parted;
                    Parting::Afterwards(Box::new(theirs))
                }
                None => Parting::Quiet,
            },
            Way::Parted => Parting::Quiet,
        }
    }

    /// `theirs`: where the line is of a table.
    fn go_on(&mut self, line: &Line, depth: Depth, theirs: Option<DecisionMade>) -> Parting {
        let Some(guard) = &mut self.ours else {
            return Parting::Skipped;
        };
        if let Line::KernelAsks { .. } = line {
            guard.kernel_asks();
        }
        let Some(theirs) = theirs else {
            if let Some((at, event)) = line.event() {
                guard.handle(at, event, &mut self.effects);
                for effect in self.effects.by_ref() {
                    if let Effect::ReadTable(depth) = effect {
                        self.wanted = Some((at, depth));
                    }
                }
            }
            return Parting::Quiet;
        };
        self.wanted = None;
        self.table.clone_from(&theirs.processes);
        for process in &mut self.table {
            if let Some(value) = self.values.get(&process.id.pid) {
                process.dossier.value = Some(*value);
                process.dossier.gain = None;
            }
        }
        self.table_at = Some(theirs.at);
        let ours = self.decide(theirs.at, depth);
        let is_same = deeds(&theirs.decision).eq(ours.iter().flat_map(|it| deeds(&it.decision)));
        match (ours, does_something(&theirs.decision)) {
            (None, false) => Parting::Quiet,
            (Some(ours), true) if is_same => Parting::Same(ours),
            (ours, true) => {
                self.way = Way::Parted;
                Parting::Parts {
                    ours,
                    theirs: Some(Box::new(theirs)),
                }
            }
            (ours, false) => {
                self.way = Way::Ahead;
                Parting::Parts { ours, theirs: None }
            }
        }
    }

    /// Where a table was wanted that theirs did not read: about the last that there
    /// is. Where theirs wanted it too and did not decide yet, ours would not have
    /// either.
    fn decide_alone(&mut self) -> Option<Box<DecisionMade>> {
        let (at, depth) = self.wanted.take()?;
        self.table_at.filter(|_| !self.theirs.wants_table())?;
        self.decide(at, depth)
    }

    /// `None` where nothing is done.
    fn decide(&mut self, at: Moment, depth: Depth) -> Option<Box<DecisionMade>> {
        let guard = self.ours.as_mut()?;
        let processes = &*self.table;
        guard.handle(at, Event::Table { depth, processes }, &mut self.effects);
        self.effects.by_ref().for_each(drop);
        let decision = guard.decision();
        does_something(decision).then(|| {
            Box::new(DecisionMade {
                at,
                decision: decision.clone(),
                processes: processes.to_vec(),
                table_at: self.table_at.filter(|table| *table != at),
                memory: *guard.memory(),
            })
        })
    }
}

/// What changes the course of things.
fn deeds(decision: &Decision) -> impl Iterator<Item = &Action> {
    let is_one = |it: &&Action| !matches!(it, Action::PageOut { .. });
    decision.actions.iter().filter(is_one)
}

fn does_something(decision: &Decision) -> bool {
    deeds(decision).next().is_some()
}
