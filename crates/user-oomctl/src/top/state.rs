//! What the screen shows, and what a key does to it.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};

use control::{CandidateRow, Condition, Happened, PlannedKill, Reply, Request, Status};
use nix::unistd::{Uid, User};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// One look a second, for so long.
pub(super) const SAMPLES: usize = 120;
const EVENTS: usize = 50;
/// A line of text that is typed is no longer.
const TYPED: usize = 60;

/// One look at memory, in percent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    pub(super) memory: f64,
    pub(super) swap: f64,
    pub(super) full_avg10: f64,
}

/// What comes to be shown.
#[derive(Debug)]
pub(super) enum News {
    /// How things are, and full avg10 in percent where it can be read.
    Status(Box<Status>, f64),
    Plan(Box<PlannedKill>),
    Event(Box<Happened>),
    /// What came of what a person asked for.
    Answer(String),
    /// The daemon does not answer, and why.
    Silent(String),
}

/// What the rows are in the order of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// As the daemon tells them: what would be killed first, then what has a value.
    #[default]
    Fate,
    Held,
    Growth,
    Value,
    Pid,
}

/// A line of text that a person types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Typing {
    /// Only rows with this in their name or user are shown.
    Filter,
    /// The entry of this process.
    Value(u32),
}

/// What is to be done for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Quit,
    Suspend,
    Ask(Request),
}

#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) status: Status,
    pub(super) samples: VecDeque<Sample>,
    pub(super) plan: Option<PlannedKill>,
    /// The latest last.
    pub(super) events: VecDeque<Happened>,
    /// What came of the last wish, or why nothing comes.
    pub(super) said: String,
    pub(super) is_silent: bool,
    pub(super) sort: Sort,
    pub(super) is_tree: bool,
    pub(super) filter: String,
    pub(super) typing: Option<(Typing, String)>,
    /// The leader of the unit that keys are for.
    selected: Option<u32>,
    pub(super) users: HashMap<u32, String>,
    parents: HashMap<u32, u32>,
}

/// A row: how deep below others it is, and what.
pub(super) type TreeRow<'a> = (usize, &'a CandidateRow);

impl Shown {
    /// Takes in what has come. `parent_of` knows the parent of a process.
    pub(super) fn take_in(&mut self, news: News, parent_of: &dyn Fn(u32) -> Option<u32>) {
        match news {
            News::Status(status, full_avg10) => {
                self.is_silent = false;
                if status.level != Condition::Unknown {
                    if self.samples.len() == SAMPLES {
                        self.samples.pop_front();
                    }
                    self.samples.push_back(Sample {
                        memory: percent(status.available_bytes, status.total_bytes),
                        swap: percent(status.swap_free_bytes, status.swap_total_bytes),
                        full_avg10,
                    });
                }
                self.status = *status;
            }
            News::Plan(plan) => {
                for row in &plan.candidates {
                    self.users
                        .entry(row.uid)
                        .or_insert_with(|| user_name(row.uid));
                }
                self.parents = match self.is_tree {
                    true => parents(&plan.candidates, parent_of),
                    false => HashMap::new(),
                };
                self.plan = Some(*plan);
            }
            News::Event(event) => {
                if self.events.len() == EVENTS {
                    self.events.pop_front();
                }
                self.events.push_back(*event);
            }
            News::Answer(said) => self.said = said,
            News::Silent(why) => {
                self.is_silent = true;
                self.said = why;
            }
        }
    }

    pub(super) fn user(&self, uid: u32) -> &str {
        self.users.get(&uid).map_or("", String::as_str)
    }

    /// What is shown of the units, in order.
    pub(super) fn rows(&self) -> Vec<TreeRow<'_>> {
        let all = self.plan.iter().flat_map(|plan| &plan.candidates);
        let mut rows: Vec<_> = all.filter(|row| self.is_wanted(row)).collect();
        match self.sort {
            Sort::Fate => {}
            Sort::Held => rows.sort_by_key(|row| Reverse(row.held_bytes)),
            Sort::Growth => rows.sort_by_key(|row| Reverse(row.growth_bytes_per_second)),
            Sort::Value => rows.sort_by_key(|row| Reverse(row.value)),
            Sort::Pid => rows.sort_by_key(|row| row.pid),
        }
        if !self.is_tree {
            return rows.into_iter().map(|row| (0, row)).collect();
        }
        let mut tree = Vec::with_capacity(rows.len());
        let is_shown = |pid: &u32| rows.iter().any(|row| row.pid == *pid);
        let parent = |row: &CandidateRow| self.parents.get(&row.pid).copied().filter(is_shown);
        // The last is the next to be shown.
        let roots = rows.iter().rev().filter(|row| parent(row).is_none());
        let mut open: Vec<TreeRow<'_>> = roots.map(|row| (0, *row)).collect();
        while let Some((depth, row)) = open.pop() {
            tree.push((depth, row));
            let children = rows.iter().rev().filter(|it| parent(it) == Some(row.pid));
            open.extend(children.map(|child| (depth + 1, *child)));
        }
        tree
    }

    fn is_wanted(&self, row: &CandidateRow) -> bool {
        let name = row.name.as_deref().unwrap_or_default();
        [name, self.user(row.uid)]
            .iter()
            .any(|text| text.contains(&self.filter))
    }

    /// Where the selected row is: the first, where that is gone.
    pub(super) fn place(&self, rows: &[TreeRow<'_>]) -> usize {
        let is_it = |row: &TreeRow<'_>| Some(row.1.pid) == self.selected;
        rows.iter().position(is_it).unwrap_or(0)
    }

    fn select(&mut self, by: isize) {
        let rows = self.rows();
        let place = self.place(&rows).saturating_add_signed(by);
        let last = rows.len().saturating_sub(1);
        self.selected = rows.get(place.min(last)).map(|row| row.1.pid);
    }

    fn selected_row(&self) -> Option<&CandidateRow> {
        let rows = self.rows();
        rows.get(self.place(&rows)).map(|row| row.1)
    }

    /// What a key does.
    pub(super) fn press(&mut self, key: KeyEvent) -> Wish {
        let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if with_control => return Wish::Quit,
            KeyCode::Char('z') if with_control => return Wish::Suspend,
            _ if with_control => return Wish::Nothing,
            _ => {}
        }
        if let Some((typing, text)) = self.typing.take() {
            return self.type_on(typing, text, key.code);
        }
        let selected = self.selected_row().map(|row| (row.pid, row.paused));
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Quit,
            KeyCode::Up | KeyCode::Char('k') => self.select(-1),
            KeyCode::Down | KeyCode::Char('j') => self.select(1),
            KeyCode::PageUp => self.select(-10),
            KeyCode::PageDown => self.select(10),
            KeyCode::Home => self.select(isize::MIN),
            KeyCode::End => self.select(isize::MAX),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('t') => self.is_tree = !self.is_tree,
            KeyCode::Char('/') => self.typing = Some((Typing::Filter, self.filter.clone())),
            KeyCode::Char('v') => {
                self.typing = selected.map(|(pid, _)| (Typing::Value(pid), String::new()));
            }
            KeyCode::Char('p') => {
                if let Some((pid, is_paused)) = selected {
                    return Wish::Ask(match is_paused {
                        true => Request::Thaw { pid },
                        false => Request::Pause { pid },
                    });
                }
            }
            _ => {}
        }
        Wish::Nothing
    }

    fn type_on(&mut self, typing: Typing, mut text: String, key: KeyCode) -> Wish {
        match key {
            KeyCode::Esc => {
                if typing == Typing::Filter {
                    self.filter.clear();
                }
                return Wish::Nothing;
            }
            KeyCode::Enter => {
                return match typing {
                    Typing::Filter => Wish::Nothing,
                    Typing::Value(pid) if text.is_empty() => {
                        Wish::Ask(Request::Unregister { pid: Some(pid) })
                    }
                    Typing::Value(pid) => Wish::Ask(Request::Register {
                        pid: Some(pid),
                        entry: text,
                    }),
                };
            }
            KeyCode::Backspace => {
                text.pop();
            }
            KeyCode::Char(char) if text.len() < TYPED => text.push(char),
            _ => {}
        }
        if typing == Typing::Filter {
            self.filter.clone_from(&text);
        }
        self.typing = Some((typing, text));
        Wish::Nothing
    }
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::Fate => Self::Held,
            Self::Held => Self::Growth,
            Self::Growth => Self::Value,
            Self::Value => Self::Pid,
            Self::Pid => Self::Fate,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fate => "fate",
            Self::Held => "held",
            Self::Growth => "growth",
            Self::Value => "value",
            Self::Pid => "pid",
        }
    }
}

/// What the answer to a wish says, on one line.
pub(super) fn told(reply: &Reply) -> String {
    match reply {
        Reply::Entry { pid } => format!("process {pid}: done"),
        Reply::Refused(denial) => format!("refused: {denial}"),
        _ => "done".to_owned(),
    }
}

/// Of all, in percent; without any, all of it is free.
fn percent(part: u64, all: u64) -> f64 {
    if all == 0 {
        return 100.0;
    }
    // Kibibytes of any machine are exact.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let kibibytes = |bytes: u64| (bytes >> 10) as f64;
    100.0 * kibibytes(part) / kibibytes(all)
}

fn user_name(uid: u32) -> String {
    let found = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    found.map_or_else(|| uid.to_string(), |user| user.name)
}

/// The nearest ancestor of each unit's leader that leads a unit too.
fn parents(rows: &[CandidateRow], parent_of: &dyn Fn(u32) -> Option<u32>) -> HashMap<u32, u32> {
    /// A chain that is longer was read while it changed.
    const LONGEST: usize = 64;
    let leads = |pid: &u32| rows.iter().any(|row| row.pid == *pid);
    let nearest = |row: &CandidateRow| {
        let ancestors = std::iter::successors(parent_of(row.pid), |pid| parent_of(*pid));
        let parent = ancestors.take(LONGEST).find(leads)?;
        Some((row.pid, parent))
    };
    rows.iter().filter_map(nearest).collect()
}
