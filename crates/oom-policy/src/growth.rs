//! Which units grow, how fast, and what of earlier losses is charged to them.
//!
//! Every table read is remembered as two marks per process and window: its
//! memory about one window ago, and a later mark that takes over from it. What
//! a unit grew by is what its processes hold beyond the earlier mark; when a
//! process of a unit ends, its mark passes to the unit's leader, so that a pool
//! of short-lived workers does not look like a leak.
//!
//! Sums over processes overstate: forked processes share pages, and a child is
//! new with all its parent's memory. All of them together cannot have taken
//! more than memory fell by, so all growth is scaled down to that.

use std::array;
use std::time::Duration;

use model::{Cost, Memory, Moment, Process, ProcessId};
use serde::{Deserialize, Serialize};

use crate::buffer::{at, reserve_to};
use crate::levels::share;
use crate::units::{UnitGrowth, Units};

const PAGE: u64 = 4096;

const WINDOWS: usize = 4;
/// For the growth that is expected to go on. Measured from up to twice its span
/// ago: a job that has loaded its data and stands still must not be killed for
/// the room that it would take if it went on loading.
const RATE: usize = 0;
/// For what each process takes now.
const RECENT: usize = 1;
/// For bombs, and for standing still.
const MINUTE: usize = 2;
/// For blame: since memory was last enough, however long that is.
const SHORT: usize = 3;
/// Between the two marks of [`RECENT`]: what has grown there, and does now, is more
/// than a burst.
const EARLIER: usize = WINDOWS;
const SPANS: [Duration; WINDOWS] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::MAX,
];

/// Below this part of all memory, growth is noise: 4 MiB of 16 GiB.
const NOISE: u64 = 4096;

/// The growth of all processes, in buffers kept from one table to the next.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Growth {
    /// Of the last table, in its order.
    records: Vec<Record>,
    #[serde(skip)]
    previous: Vec<Record>,
    /// Per unit: what its processes have more or less than at each mark, and had
    /// more at the later than at the earlier.
    #[serde(skip)]
    accounts: Vec<[i32; WINDOWS + 1]>,
    windows: [Window; WINDOWS],
    last: Option<(Moment, u64)>,
    /// What all took in the last 10 s.
    recent_bytes: u64,
    fall: Fall,
}

/// What is remembered of a process. Memory is in pages, so that a record is
/// one cache line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Record {
    id: ProcessId,
    leader: u32,
    held: u32,
    marks: [Marks; WINDOWS],
    /// Major faults at the marks of [`RECENT`], wrapping.
    faults: Marks,
    faults_now: u32,
    charged: u32,
    /// Whether it was ended for its memory.
    ended: bool,
    present: bool,
}

/// A quantity at a window's two marks.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Marks {
    base: u32,
    next: u32,
}

/// The marks of a window, machine-wide.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Window {
    base: Mark,
    next: Mark,
}

/// A moment to measure from.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Mark {
    at: Moment,
    pool_bytes: u64,
    /// Pages at this mark of processes that are gone since, with no parent
    /// left to pass them to.
    gone: u64,
    /// The same, of what was ended for its memory.
    ended: u64,
}

/// Which of a window's two marks to measure from.
#[derive(Clone, Copy)]
enum From {
    Base,
    Next,
}

impl Window {
    /// About a window ago. Where tables were rare and the earlier mark is far
    /// older, the later one says more.
    fn from(&self, now: Moment, span: Duration) -> (From, Mark) {
        if now.since(self.base.at) <= span.saturating_mul(2) {
            (From::Base, self.base)
        } else {
            (From::Next, self.next)
        }
    }
}

impl Marks {
    fn at(self, from: From) -> u32 {
        match from {
            From::Base => self.base,
            From::Next => self.next,
        }
    }
}

/// What all units together did since a mark.
#[derive(Clone, Copy, Default)]
struct Totals {
    /// Pages that those that grew have more.
    grown: u64,
    /// Pages that those that shrank or are gone have less.
    shrunk: u64,
}

impl Growth {
    pub(crate) fn new() -> Self {
        Self {
            records: Vec::new(),
            previous: Vec::new(),
            accounts: Vec::new(),
            windows: [Window::default(); WINDOWS],
            last: None,
            recent_bytes: 0,
            fall: Fall::default(),
        }
    }

    pub(crate) fn reserve(&mut self, processes: usize) {
        reserve_to(&mut self.records, processes);
        reserve_to(&mut self.previous, processes);
        reserve_to(&mut self.accounts, processes);
    }

    /// The next table is the first, of which no process is known to have grown.
    pub(crate) fn forget(&mut self) {
        let Self {
            records,
            previous,
            windows: _,
            last,
            recent_bytes: _,
            fall: _,
            accounts: _,
        } = self;
        records.clear();
        previous.clear();
        *last = None;
    }

    /// Takes in a table, and writes every unit's growth. `is_enough` says whether
    /// there is enough memory now.
    pub(crate) fn measure(
        &mut self,
        now: Moment,
        memory: &Memory,
        is_enough: bool,
        processes: &[Process],
        units: &mut Units,
    ) {
        self.take_over(now);
        self.pass_on(processes);
        self.record(processes, units);
        let here = Mark {
            at: now,
            pool_bytes: memory.pool_bytes(),
            ..Mark::default()
        };
        let from_here = Window {
            base: here,
            next: here,
        };
        if self.last.is_none() {
            self.windows = [from_here; WINDOWS];
        }
        if is_enough {
            self.windows[SHORT] = from_here;
            for record in &mut self.records {
                record.marks[SHORT] = Marks {
                    base: record.held,
                    next: record.held,
                };
            }
        }
        self.last = Some((now, memory.pool_bytes()));
        self.write(now, memory, units);
    }

    /// Since memory was last enough.
    pub(crate) fn fall(&self) -> Fall {
        self.fall
    }

    /// What all units took in the last 10 s, in bytes.
    pub(crate) fn recent_bytes(&self) -> u64 {
        self.recent_bytes
    }

    /// Adds to the account of the unit led by the process at `leader`.
    pub(crate) fn charge(&mut self, leader: u32, cost: Cost) {
        let charged = &mut self.records[at(leader)].charged;
        *charged = charged.saturating_add(u32::try_from(cost.parts()).unwrap_or(u32::MAX));
    }

    /// Remembers that the process at `index` of the last table is being ended
    /// for its memory.
    pub(crate) fn end(&mut self, index: usize) {
        self.records[index].ended = true;
    }

    /// `id` is not ended after all.
    pub(crate) fn spare(&mut self, id: ProcessId) {
        if let Ok(found) = self.position(id) {
            self.records[found].ended = false;
        }
    }

    /// Where `id` is in the last table.
    pub(crate) fn position(&self, id: ProcessId) -> Result<usize, usize> {
        self.records.binary_search_by_key(&id, |record| record.id)
    }

    /// Where the later mark is a window old, it takes over, and the last table
    /// is the new later mark.
    fn take_over(&mut self, now: Moment) {
        let Some((last_at, last_pool)) = self.last else {
            return;
        };
        for (index, window) in self.windows.iter_mut().enumerate() {
            if now.since(window.next.at) < SPANS[index] {
                continue;
            }
            window.base = window.next;
            window.next = Mark {
                at: last_at,
                pool_bytes: last_pool,
                ..Mark::default()
            };
            for record in &mut self.records {
                record.marks[index].base = record.marks[index].next;
                record.marks[index].next = record.held;
                if index == RECENT {
                    record.faults.base = record.faults.next;
                    record.faults.next = record.faults_now;
                }
            }
        }
    }

    /// Passes the marks of those that are gone to their leaders.
    fn pass_on(&mut self, processes: &[Process]) {
        let mut seen = processes.iter().map(|process| process.id).peekable();
        for record in &mut self.records {
            while seen.next_if(|id| *id < record.id).is_some() {}
            record.present = seen.peek() == Some(&record.id);
        }
        for index in 0..self.records.len() {
            let gone = self.records[index];
            if gone.present {
                continue;
            }
            let heir = self
                .records
                .binary_search_by_key(&gone.leader, |record| record.id.pid)
                .ok()
                .filter(|heir| self.records[*heir].present);
            for (window, marks) in gone.marks.iter().enumerate() {
                if let Some(heir) = heir {
                    let inherited = &mut self.records[heir].marks[window];
                    inherited.base = inherited.base.saturating_add(marks.base);
                    inherited.next = inherited.next.saturating_add(marks.next);
                    continue;
                }
                let Window { base, next } = &mut self.windows[window];
                for (mark, pages) in [(base, marks.base), (next, marks.next)] {
                    mark.gone += u64::from(pages);
                    if gone.ended {
                        mark.ended += u64::from(pages);
                    }
                }
            }
        }
    }

    /// Makes this table's records, those of known processes with their marks.
    fn record(&mut self, processes: &[Process], units: &Units) {
        std::mem::swap(&mut self.records, &mut self.previous);
        self.records.clear();
        let mut known = self.previous.iter().peekable();
        for (process, unit) in processes.iter().zip(&units.unit_of) {
            while known.next_if(|record| record.id < process.id).is_some() {}
            let known = known.next_if(|record| record.id == process.id);
            let unit = &units.units[at(*unit)];
            let leader = processes[at(unit.leader)].id.pid;
            let held = pages(process.held_bytes());
            let faults_now = low_half(process.major_faults);
            // Of the first table nobody is known to have grown; whoever is new
            // in a later one grew from nothing.
            let before = if self.last.is_none() { held } else { 0 };
            let fresh = Record {
                id: process.id,
                leader,
                held,
                marks: [Marks {
                    base: before,
                    next: before,
                }; WINDOWS],
                faults: Marks {
                    base: faults_now,
                    next: faults_now,
                },
                faults_now,
                charged: 0,
                ended: false,
                present: true,
            };
            let remembered = known.copied().unwrap_or(fresh);
            self.records.push(Record {
                leader,
                held,
                faults_now,
                ..remembered
            });
        }
    }

    fn write(&mut self, now: Moment, memory: &Memory, units: &mut Units) {
        let from: [(From, Mark); WINDOWS] =
            array::from_fn(|window| self.windows[window].from(now, SPANS[window]));
        let ages = from.map(|(_, mark)| now.since(mark.at));
        let mut accounts = std::mem::take(&mut self.accounts);
        accounts.clear();
        accounts.resize(units.units.len(), [0; WINDOWS + 1]);
        for (record, unit) in self.records.iter().zip(&units.unit_of) {
            let grown = &mut accounts[at(*unit)];
            for window in 0..WINDOWS {
                let before = record.marks[window].at(from[window].0);
                grown[window] = grown[window].saturating_add(more(record.held, before));
            }
            let Marks { base, next } = record.marks[RECENT];
            grown[EARLIER] = grown[EARLIER].saturating_add(more(next, base));
            let faults = record.faults.at(from[RECENT].0);
            let unit = &mut units.units[at(*unit)];
            unit.growth.is_active |= faults != record.faults_now;
        }
        let mut totals = [Totals::default(); WINDOWS];
        for grown in &accounts {
            for (total, pages) in totals.iter_mut().zip(grown) {
                let size = u64::from(pages.unsigned_abs());
                if *pages > 0 {
                    total.grown += size;
                } else {
                    total.shrunk += size;
                }
            }
        }
        let scales: [Scale; WINDOWS] = array::from_fn(|window| {
            Scale::new(from[window].1, totals[window], memory, ages[window])
        });
        let mark = from[SHORT].1;
        self.fall = Fall {
            fell_bytes: mark.pool_bytes.saturating_sub(memory.pool_bytes()),
            grown_bytes: totals[SHORT].grown.saturating_mul(PAGE),
            gone_bytes: mark.gone.saturating_sub(mark.ended).saturating_mul(PAGE),
            ended_bytes: mark.ended.saturating_mul(PAGE),
        };
        self.recent_bytes = scales[RECENT].taken(totals[RECENT].grown, SPANS[RECENT]);
        let Window { base, next } = self.windows[RECENT];
        let between = next.at.since(base.at);
        let is_long = matches!(from[RECENT].0, From::Base) && SPANS[RECENT] / 2 <= between;
        for (unit, grown) in units.units.iter_mut().zip(&accounts) {
            let [rate, recent, minute, short, earlier] =
                grown.map(|pages| u64::try_from(pages).unwrap_or(0));
            let record = &mut self.records[at(unit.leader)];
            let minute_bytes = scales[MINUTE].taken(minute, SPANS[MINUTE]);
            if ages[MINUTE] >= SPANS[MINUTE] && !is_noticed(minute_bytes, memory) {
                record.charged = 0;
            }
            let recent_bytes = scales[RECENT].taken(recent, SPANS[RECENT]);
            let bytes_per_second = scales[RATE].per_second(rate, SPANS[RATE]);
            let earlier = share(1000, millis(between), earlier.saturating_mul(PAGE));
            let recent_bytes_per_second = recent_bytes / SPANS[RECENT].as_secs();
            unit.growth = UnitGrowth {
                bytes_per_second,
                steady_bytes_per_second: match is_long {
                    true => recent_bytes_per_second.min(earlier),
                    false => 0,
                },
                recent_bytes,
                minute_bytes,
                short_bytes: short.saturating_mul(PAGE),
                is_growing: is_noticed(recent_bytes, memory)
                    && is_a_tenth(recent_bytes, self.recent_bytes)
                    && rate > 0
                    && is_a_tenth(rate, totals[RATE].grown),
                is_active: unit.growth.is_active || recent > 0,
                took_part: u64::from(pages(unit.held_bytes())) <= minute.saturating_mul(4),
                penalty: Cost::from_parts(u64::from(record.charged)),
            };
        }
        self.accounts = accounts;
    }
}

/// What became of memory since it was last enough, in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Fall {
    pub(crate) fell_bytes: u64,
    /// What all that grew has more.
    grown_bytes: u64,
    /// What those had that ended by themselves.
    gone_bytes: u64,
    /// What those had that were killed.
    ended_bytes: u64,
}

impl Fall {
    /// What processes that are not candidates took, where that is `grown_bytes`
    /// more than they had. Of those, some came in place of others that ended.
    pub(crate) fn taken(&self, grown_bytes: u64) -> u64 {
        let all = self.grown_bytes.saturating_sub(self.gone_bytes);
        let taken = self.fell_bytes.saturating_add(self.ended_bytes).min(all);
        let others = grown_bytes.saturating_sub(self.gone_bytes);
        share(taken, all, others).min(self.fell_bytes)
    }
}

/// From the sum of what units grew by to what was really taken.
#[derive(Clone, Copy)]
struct Scale {
    grown: u64,
    /// Pages that were taken by all that grew: what memory fell by, and what
    /// others freed meanwhile.
    gross: u64,
    /// Pages that memory is poorer by, but for what was killed to help it. It is
    /// what goes on: where processes come and go, those that go pay for those
    /// that come.
    net: u64,
    age: Duration,
}

impl Scale {
    fn new(mark: Mark, totals: Totals, memory: &Memory, age: Duration) -> Self {
        let fell =
            (i128::from(mark.pool_bytes) - i128::from(memory.pool_bytes())) / i128::from(PAGE);
        let taken = |freed: u64| {
            let taken = (fell + i128::from(freed)).clamp(0, i128::from(totals.grown));
            u64::try_from(taken).unwrap_or(totals.grown)
        };
        Self {
            grown: totals.grown,
            gross: taken(totals.shrunk.saturating_add(mark.gone)),
            net: taken(mark.ended),
            age,
        }
    }

    /// The bytes that growth by `pages` took within the window.
    fn taken(&self, pages: u64, span: Duration) -> u64 {
        let taken = share(self.gross, self.grown, pages).saturating_mul(PAGE);
        if self.age <= span {
            return taken;
        }
        share(millis(span), millis(self.age), taken)
    }

    /// The bytes a second that growth by `pages` means for what is to come.
    fn per_second(&self, pages: u64, span: Duration) -> u64 {
        let taken = share(self.net, self.grown, pages).saturating_mul(PAGE);
        share(1000, millis(self.age.max(span)), taken)
    }
}

/// Whether growth is more than noise.
pub(crate) fn is_noticed(bytes: u64, memory: &Memory) -> bool {
    bytes > memory.total_bytes / NOISE
}

pub(crate) fn is_a_tenth(part: u64, whole: u64) -> bool {
    part.saturating_mul(10) >= whole
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn pages(bytes: u64) -> u32 {
    u32::try_from(bytes / PAGE).unwrap_or(u32::MAX)
}

/// How many pages more than before: 8 TiB at most.
fn more(now: u32, before: u32) -> i32 {
    let pages = i64::from(now) - i64::from(before);
    let most = if pages < 0 { i32::MIN } else { i32::MAX };
    i32::try_from(pages).unwrap_or(most)
}

fn low_half(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0)
}
