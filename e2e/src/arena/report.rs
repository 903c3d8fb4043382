//! `docs/arena.md` and its pictures, from the results.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use super::best::Best;
use super::contestants::{ALL, Contestant};
use super::{Contest, Ended, Job, Measured, State, Swap};

/// What one run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Which contest.
    pub contest: String,
    /// As it was then.
    pub fingerprint: u64,
    /// Which contestant.
    pub contestant: String,
    /// Which repeat, from 1.
    pub repeat: u32,
    /// Its version.
    pub kernel: String,
    /// How long it took on the host.
    pub took_s: u64,
    /// How many of the host's processors others kept busy meanwhile.
    pub others_cores: f64,
    /// How long the host took just before for a computation that is always the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computation_ms: Option<f64>,
    /// Of an earlier version of user-oom, or of a change that was taken back: kept, and
    /// only summed up. A version is left out of all contests or of none.
    #[serde(default, skip_serializing_if = "is_false")]
    pub superseded: bool,
    /// Why nothing was measured.
    pub failure: Option<String>,
    /// What was.
    pub measured: Option<Measured>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_false(it: &bool) -> bool {
    !*it
}

/// So much of the host's two processors others may keep busy.
const UNDISTURBED_CORES: f64 = 0.5;

/// So many times as long as at best the computation before a run may take: a host that is
/// shared has slow hours, and what ran in one is not to be compared with another's.
const SLOW: f64 = 1.25;

/// The shortest time that the computation took before a run.
#[must_use]
pub fn fastest_ms(results: &[Run]) -> f64 {
    let known = results.iter().filter_map(|run| run.computation_ms);
    known.fold(f64::INFINITY, f64::min)
}

impl Run {
    /// Whether other work on the host had a part in what was measured.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.others_cores > UNDISTURBED_CORES
    }

    /// Whether the host was slow, or not known not to be.
    #[must_use]
    pub fn is_slow(&self, fastest_ms: f64) -> bool {
        self.computation_ms
            .is_none_or(|took_ms| fastest_ms * SLOW < took_ms)
    }

    /// Whether it is one of the results: of the contest as it is, undisturbed, on a host
    /// at its usual speed.
    #[must_use]
    pub fn counts_in(&self, contest: &Contest, fastest_ms: f64) -> bool {
        let is_current = self.fingerprint == contest.fingerprint() && !self.superseded;
        let is_fair = !self.is_disturbed() && !self.is_slow(fastest_ms);
        is_current && is_fair && self.measured.is_some()
    }

    /// For the terminal.
    #[must_use]
    pub fn in_a_line(&self, contest: &Contest) -> String {
        let Self {
            contest: name,
            contestant,
            took_s,
            others_cores,
            ..
        } = self;
        let mut line = format!("{name} · {contestant}: ");
        let _ = match (&self.measured, &self.failure) {
            (Some(measured), _) => {
                let best = best(contest, measured);
                let _ = write!(
                    line,
                    "kept {} of {} (most by killing {}), full stall {:.1} s, kernel kills {}, innocents {}, exec {:.0}/{:.0} ms, lowest {} MiB",
                    measured.kept(),
                    best.total,
                    best.value,
                    measured.full_stall_s,
                    measured.kernel_kills,
                    best.innocents(&measured.jobs),
                    measured.exec_ms.p50,
                    measured.exec_ms.max,
                    measured.lowest_mib,
                );
                match contest.has_hours() {
                    true => write!(
                        line,
                        ", value × unsaved hours lost {:.0}",
                        measured.value_hours_lost(contest)
                    ),
                    false => Ok(()),
                }
            }
            (None, failure) => write!(line, "{}", failure.as_deref().unwrap_or("nothing")),
        };
        let _ = write!(line, " ({took_s} s, others {others_cores:.1} cores)");
        line
    }
}

fn best(contest: &Contest, measured: &Measured) -> Best {
    Best::of(
        contest,
        measured.available_mib + room_in_swap(contest, measured),
    )
}

/// In MiB. What jobs hold is noise, which does not compress: in zram it takes as much
/// memory as it leaves.
fn room_in_swap(contest: &Contest, measured: &Measured) -> u64 {
    match contest.swap {
        Swap::Zram => 0,
        Swap::None | Swap::Disk => measured.swap_mib,
    }
}

/// The page, in the repository.
pub const PAGE: &str = "docs/arena.md";

/// Between these lines README.md has the summary.
pub const MARKS: [&str; 2] = ["<!-- arena -->\n", "<!-- end of arena -->\n"];

/// Of a contestant in a contest, all repeats.
struct Row<'run> {
    contestant: &'static Contestant,
    runs: Vec<(&'run Measured, Best)>,
}

/// Of a contest, one for each contestant that has been in it.
struct Table<'run> {
    name: &'run str,
    contest: &'run Contest,
    rows: Vec<Row<'run>>,
    /// Of user-oom, but of earlier versions.
    left_out: Vec<&'run Measured>,
}

/// Paths in the repository, and texts. Results of contests that were changed since
/// are left out.
#[must_use]
pub fn pages(contests: &[(String, Contest)], results: &[Run]) -> Vec<(String, String)> {
    let tables = tables(contests, results);
    let mut pages = vec![(PAGE.to_owned(), page(&tables, results))];
    for table in &tables {
        pages.push((format!("docs/arena/{}.svg", table.name), picture(table)));
    }
    pages
}

/// For README.md: value kept and stall, of those who are most alike.
#[must_use]
pub fn summary(contests: &[(String, Contest)], results: &[Run]) -> String {
    const SHOWN: [&str; 3] = ["user-oom", "earlyoom", "nohang"];
    let tables = tables(contests, results);
    let mut text = format!(
        "| contest (value of all jobs; the most that killing can keep) | {} |\n|---|---|---|---|\n",
        SHOWN.join(" | ")
    );
    for table in &tables {
        let _ = write!(
            text,
            "| {} ({}; {}) |",
            table.contest.title,
            table.total(),
            table.best_by_killing()
        );
        for shown in SHOWN {
            let row = table.rows.iter().find(|row| row.contestant.name == shown);
            let _ = match row {
                Some(row) => write!(
                    text,
                    " {}{}, {} s |",
                    row.show(0, |run, _| run.kept().into()),
                    match row.median(|run, _| paused(run).into()) {
                        0.0 => String::new(),
                        paused => format!(" ({paused:.0} paused)"),
                    },
                    row.show(1, |run, _| run.full_stall_s)
                ),
                None => write!(text, " not run |"),
            };
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "\nRepeats of each: {}, in emulated machines.",
        repeats(&tables)
    );
    text
}

fn tables<'run>(contests: &'run [(String, Contest)], results: &'run [Run]) -> Vec<Table<'run>> {
    let fastest_ms = fastest_ms(results);
    let mut tables = Vec::new();
    for (name, contest) in contests {
        let of_contest = (results.iter())
            .filter(|run| run.contest == *name && run.counts_in(contest, fastest_ms));
        let mut rows = Vec::new();
        for contestant in &ALL {
            let of_both = of_contest
                .clone()
                .filter(|run| run.contestant == contestant.name);
            let runs: Vec<_> = of_both
                .filter_map(|run| run.measured.as_ref())
                .map(|measured| (measured, best(contest, measured)))
                .collect();
            if !runs.is_empty() {
                rows.push(Row { contestant, runs });
            }
        }
        if !rows.is_empty() {
            tables.push(Table {
                name,
                contest,
                rows,
                left_out: left_out(name, contest, results),
            });
        }
    }
    tables
}

/// The runs of user-oom's earlier versions.
fn left_out<'run>(name: &str, contest: &Contest, results: &'run [Run]) -> Vec<&'run Measured> {
    let of_contest = |run: &&Run| run.contest == name && run.fingerprint == contest.fingerprint();
    let earlier = (results.iter())
        .filter(of_contest)
        .filter(|run| run.superseded && run.contestant == ALL[0].name);
    earlier.filter_map(|run| run.measured.as_ref()).collect()
}

impl Row<'_> {
    fn figures(&self, of: impl Fn(&Measured, &Best) -> f64) -> Vec<f64> {
        sorted(self.runs.iter().map(|(run, best)| of(run, best)))
    }

    /// The one in the middle; of an even number, the mean of the two.
    fn median(&self, of: impl Fn(&Measured, &Best) -> f64) -> f64 {
        middle(&self.figures(of))
    }

    fn is_ours(&self) -> bool {
        self.contestant.name == ALL[0].name
    }

    /// What each thread took that took a tenth of a second, most first: medians of the
    /// runs in which that is known.
    fn threads(&self) -> String {
        let known = || {
            let each = self.runs.iter().map(|(run, _)| &run.threads_cpu_ms);
            each.filter(|threads| !threads.is_empty())
        };
        let names: BTreeSet<_> = known().flat_map(BTreeMap::keys).collect();
        let took = |name: &String| {
            let took = known().map(|threads| threads.get(name).copied().unwrap_or(0));
            middle(&sorted(took.map(|ms| count(ms) / 1e3)))
        };
        let mut threads: Vec<_> = names.into_iter().map(|name| (took(name), name)).collect();
        threads.retain(|(took, _)| *took >= 0.1);
        threads.sort_by(|one, other| other.0.total_cmp(&one.0));
        let each = threads
            .iter()
            .map(|(took, name)| format!("`{name}` {took:.1} s"));
        each.collect::<Vec<_>>().join(", ")
    }

    /// The median, and between which they lie if they differ.
    fn show(&self, places: usize, of: impl Fn(&Measured, &Best) -> f64) -> String {
        show(&self.figures(of), places)
    }
}

fn sorted(figures: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures
}

/// The one in the middle of what is sorted; of an even number, the mean of the two.
fn middle(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// The median of what is sorted, and between which it lies if they differ.
fn show(sorted: &[f64], places: usize) -> String {
    let show = |figure: f64| format!("{figure:.places$}");
    let (Some(&least), Some(&most)) = (sorted.first(), sorted.last()) else {
        return "–".to_owned();
    };
    let (least, most) = (show(least), show(most));
    if least == most {
        most
    } else {
        // Whole numbers have halves between them.
        let median = middle(sorted);
        let places = if places == 0 && median.fract() != 0.0 {
            1
        } else {
            places
        };
        format!("{median:.places$} ({least} to {most})")
    }
}

/// [`show`] of what is sorted, and for how many it is infinite.
fn show_ends(sorted: &[f64], places: usize, never: &str) -> String {
    let (ends, without) = sorted.split_at(sorted.partition_point(|end| end.is_finite()));
    match (ends, without.len()) {
        (_, 0) => show(ends, places),
        ([], without) => format!("{never} in {without}"),
        (_, without) => format!("{}; {never} in {without}", show(ends, places)),
    }
}

impl Table<'_> {
    fn ours(&self) -> Option<&Row<'_>> {
        self.rows.iter().find(|row| row.is_ours())
    }

    fn total(&self) -> u32 {
        let jobs = self.contest.jobs.iter();
        let worth = |job: &'_ Job| {
            (0..job.count)
                .map(|number| job.worth(number, self.contest))
                .sum::<u32>()
        };
        jobs.map(worth).sum()
    }

    /// What killing alone can keep: machines differ by some MiB.
    fn best_by_killing(&self) -> u32 {
        let runs = self.rows.iter().flat_map(|row| &row.runs);
        runs.map(|(_, best)| best.value).max().unwrap_or(0)
    }

    /// How much memory the jobs with a value went through that were not killed, in GiB.
    /// Nothing if that is not known, as in some older results.
    fn work_gib(&self, run: &Measured) -> Option<f64> {
        let ended = run.with_jobs(self.contest);
        let kept = ended.filter(|(ended, _)| ended.value > 0 && ended.state != State::Killed);
        let worked = kept.map(|(ended, job)| match ended.worked_mib {
            Some(worked_mib) => Some(count(worked_mib)),
            // Not known in older results: what it used again of what it took later.
            None if job.touching && (job.grows_at_all() || job.children > 0) => None,
            None => Some(count(ended.passes) * f64::from(job.start_mib)),
        });
        let worked: Option<Vec<_>> = worked.collect();
        let worked_mib = worked?.into_iter().fold(0.0, |sum, mib| sum + mib);
        Some(worked_mib / 1024.0)
    }

    /// When all that end by themselves were done in each run, sorted: infinite where they
    /// were not.
    fn done(&self, row: &Row<'_>) -> Vec<f64> {
        let done_s = |run: &Measured| run.all_done_s(self.contest).unwrap_or(f64::INFINITY);
        sorted(row.runs.iter().map(|(run, _)| done_s(run)))
    }

    /// For how long memory was short in each run in which it was, sorted: infinite where
    /// it still was at the end.
    fn back(&self, row: &Row<'_>) -> Vec<f64> {
        let back_s = |(run, _): &(&Measured, Best)| run.back_s(self.contest);
        sorted(row.runs.iter().filter_map(back_s))
    }

    /// [`Self::work_gib`] of each run of which it is known, sorted.
    fn work(&self, row: &Row<'_>) -> Vec<f64> {
        sorted(row.runs.iter().filter_map(|(run, _)| self.work_gib(run)))
    }

    fn machine(&self) -> String {
        let Contest {
            memory_mib,
            swap,
            swap_mib,
            disk_mib_s,
            seconds,
            hour_s,
            ..
        } = self.contest;
        let swap = match swap {
            Swap::None => "no swap".to_owned(),
            Swap::Zram => format!("{swap_mib} MiB of swap in zram"),
            Swap::Disk => match disk_mib_s {
                Some(speed) => format!("{swap_mib} MiB of swap on a disk of {speed} MiB/s"),
                None => format!("{swap_mib} MiB of swap on a disk"),
            },
        };
        let mut machine = format!("{memory_mib} MiB, {swap}, ");
        for group in &self.contest.groups {
            let _ = write!(machine, "{} MiB for `{}`, ", group.memory_mib, group.name);
        }
        if let (1.., Some(speed)) = (self.contest.files_mib(), disk_mib_s) {
            let _ = write!(machine, "files on a disk of {speed} MiB/s, ");
        }
        if self.contest.has_hours() {
            let _ = write!(machine, "hours of {hour_s} s, ");
        }
        machine + &format!("{seconds} s.")
    }
}

fn paused(run: &Measured) -> u32 {
    let paused = run.jobs.iter().filter(|job| job.state == State::Paused);
    paused.map(Ended::kept).sum()
}

const INTRODUCTION: &str = "\
# The arena

<!-- Made by `cargo xtask arena --field --report` from arena.jsonl and the files of e2e/arena: do not edit. -->

What user-oom and others keep when the same jobs run out of the same memory. Each run is a virtual machine of its own (QEMU, two
processors, emulated, Debian 12 on a virtual disk). Its init starts the contestant, then the jobs of one contest, and measures.

```
cargo xtask arena --field                   all that has not been run yet
cargo xtask arena --field --repeats 5       five of each; continues where it was interrupted
cargo xtask arena --field --report          makes this page from the results
cargo xtask arena --field -- --help         more
```

A contest is a file in `e2e/arena`. To add a contestant, add an entry to `e2e/src/arena/contestants.rs` and, if Debian has it, a
package to `e2e/src/host/debian.rs`.

The values of the jobs are what their user says they are worth, and only user-oom is told them. The others have other inputs, which
are left as they come: `oom_score_adj` (the kernel, earlyoom, bustd, nohang), lists of names (earlyoom, nohang), and
`ManagedOOMPreference=` (systemd-oomd). The desktop's tabs alone have an `oom_score_adj`, as browsers give them one. Each contestant
has the configuration that its package or its documentation gives it, and none is started again if it ends, though some units say
`Restart=always`. One contest has a limit for a group of jobs, which user-oom alone is told of (`[[scope]]`): systemd-oomd knows its
own slice only, the others have no such notion. Disks are files of the host (QEMU's `cache=unsafe`) and as fast as that unless a
speed is given; huge pages and proactive compaction are off.

- **kept**: the value of all jobs that were not killed. **paused**: how much of that is paused at the end. A paused job does not grow,
  so more can be kept than by killing.
- **value × unsaved hours lost**: if jobs are worth more with each hour of unsaved work: for those that were killed, the value without
  the hours, times the hours. **kept** includes the hours at the end.
- **by killing**: the most that killing alone can keep: the most valuable set of jobs that fits into memory and swap at the end, if each
  grows as its file says. Zram adds no room: what jobs hold does not compress. No contestant knows how large a job will become. While
  everything stalls, jobs grow more slowly, so even the bare kernel may end with more.
- **work**: how much memory the jobs with a value that were not killed, and their children, went through: took, wrote or read. What is
  paused or swapped out does no work.
- **innocents**: processes that were killed although they were not going to grow any more and belong to that best set.
- **stall**: how long all tasks waited for memory (PSI full). **start**: how long starting `/bin/true` took, in milliseconds (median,
  99th percentile, maximum). **late**: the most by which a timer of the highest priority was late.
- **lowest**: the least MemAvailable. **short**: for how long less than a tenth of memory was available. **back**: from when less than
  a tenth was available to when at least a tenth was and stayed so. What is paused keeps memory full, so that may be never. **CPU**, **RSS**, **wake-ups**: of the contestant.

";

fn page(tables: &[Table<'_>], results: &[Run]) -> String {
    let mut text = INTRODUCTION.to_owned();
    let _ = runs(&mut text, tables, results);
    let _ = losses(&mut text, tables);
    for table in tables {
        let _ = contest(&mut text, table);
    }
    text
}

fn counts(tables: &[Table<'_>]) -> impl Iterator<Item = usize> {
    let rows = tables.iter().flat_map(|table| &table.rows);
    rows.map(|row| row.runs.len())
}

fn repeats(tables: &[Table<'_>]) -> String {
    let (least, most) = (
        counts(tables).min().unwrap_or(0),
        counts(tables).max().unwrap_or(0),
    );
    if least == most {
        format!("{most}")
    } else {
        format!("{least} to {most}")
    }
}

fn runs(text: &mut String, tables: &[Table<'_>], results: &[Run]) -> fmt::Result {
    let how_many = |is: &dyn Fn(&Run) -> bool| results.iter().filter(|run| is(run)).count();
    let shown = counts(tables).sum::<usize>();
    let mute = how_many(&|run| run.measured.is_none());
    let superseded = how_many(&|run| run.measured.is_some() && run.superseded);
    let disturbed =
        how_many(&|run| run.measured.is_some() && !run.superseded && run.is_disturbed());
    let fastest_ms = fastest_ms(results);
    let slow = how_many(&|run| {
        let is_other = run.superseded || run.is_disturbed() || run.measured.is_none();
        !is_other && run.is_slow(fastest_ms)
    });
    let stale = results
        .len()
        .saturating_sub(shown + mute + superseded + disturbed + slow);
    let calm = || {
        let counts = |run: &&Run| {
            let is_its = |table: &Table<'_>| {
                run.contest == table.name && run.counts_in(table.contest, fastest_ms)
            };
            tables.iter().any(is_its)
        };
        results.iter().filter(counts)
    };
    let others = sorted(calm().map(|run| run.others_cores));
    let computation = sorted(calm().filter_map(|run| run.computation_ms));
    let runs = || {
        tables
            .iter()
            .flat_map(|table| &table.rows)
            .flat_map(|row| &row.runs)
    };
    let probe = runs().filter_map(|(run, _)| {
        Some(count(run.probe_cpu_ms?) / 10.0 / count(run.available.len().max(1) as u64))
    });
    writeln!(
        text,
        "**Repeats of each: {}**; runs: {shown}. In addition, {mute} machines reported nothing, {disturbed} runs were disturbed \
         (other work kept more than {UNDISTURBED_CORES} of the host's two processors busy), before {slow} the host was slow (a computation \
         that is always the same took more than {SLOW} times as long as at best, or was not tried yet), {superseded} were of earlier \
         versions of user-oom, and {stale} of contests that have changed since: all are in arena.jsonl, and not counted below. During \
         the others, other work kept {} processors busy, and before them that computation took {} ms: times in seconds mean \
         something, those in milliseconds little. Measuring took {} % of a processor.\n",
        repeats(tables),
        show(&others, 1),
        show(&computation, 0),
        show(&sorted(probe), 0),
    )?;
    writeln!(text, "| contestant | version | |\n|---|---|---|")?;
    for contestant in &ALL {
        let rows = tables.iter().flat_map(|table| &table.rows);
        let of = rows.filter(|row| row.contestant.name == contestant.name);
        let versions = versions(of.flat_map(|row| &row.runs).map(|(run, _)| &*run.version));
        if versions.is_empty() {
            continue;
        }
        let command = match contestant.command.join(" ") {
            command if command.is_empty() => command,
            command => format!(": `{command}`"),
        };
        writeln!(
            text,
            "| {} | {versions} | {}{command} |",
            contestant.name, contestant.says
        )?;
    }
    text.push('\n');
    Ok(())
}

/// Each, in the order in which they are met; with how many runs, if there are several.
fn versions<'run>(all: impl Iterator<Item = &'run str>) -> String {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for version in all {
        match counted.iter_mut().find(|(known, _)| *known == version) {
            Some((_, runs)) => *runs += 1,
            None => counted.push((version, 1)),
        }
    }
    if let [(only, _)] = counted[..] {
        return only.to_owned();
    }
    let each = counted
        .iter()
        .map(|(version, runs)| format!("{version}: {runs} runs"));
    each.collect::<Vec<_>>().join("; ")
}

/// Where another has a better median.
fn losses(text: &mut String, tables: &[Table<'_>]) -> fmt::Result {
    writeln!(
        text,
        "## Where user-oom is not the best\n\n\
         In each line, their median to ours: `processor time in s 0.2 to 5.0` means 0.2 s for them and 5.0 s for user-oom. Any \
         difference in value counts; stalls, starts and processor time count if they differ by more than half a second, timers by \
         more than 100 ms, work by more than 10 GiB, the time short of memory, and until it is back, by more than 5 s. Not compared: \
         resident memory and wake-ups, in which earlyoom is below user-oom everywhere.\n"
    )?;
    let mut any = false;
    for table in tables {
        let Some(ours) = table.ours() else {
            continue;
        };
        for theirs in table.rows.iter().filter(|row| !row.is_ours()) {
            let mut better = Vec::new();
            let mut compare =
                |what: &str, places: usize, sign: f64, tolerance: f64, of: &Of<'_>| {
                    let (our, their) = (ours.median(of), theirs.median(of));
                    if sign * (their - our) > tolerance {
                        better.push(format!("{what} {their:.places$} to {our:.places$}"));
                    }
                };
            compare("value", 0, 1.0, 0.0, &|run, _| run.kept().into());
            compare("value of what runs at the end", 0, 1.0, 0.0, &|run, _| {
                (run.kept() - paused(run)).into()
            });
            compare("value × unsaved hours lost", 0, -1.0, 0.5, &|run, _| {
                run.value_hours_lost(table.contest)
            });
            compare("kernel kills", 0, -1.0, 0.0, &|run, _| {
                count(run.kernel_kills)
            });
            compare("innocents", 0, -1.0, 0.0, &|run, best| innocents(run, best));
            compare("stall in s", 1, -1.0, 0.5, &|run, _| run.full_stall_s);
            compare(
                "99th percentile of starts in ms",
                0,
                -1.0,
                500.0,
                &|run, _| run.exec_ms.p99,
            );
            compare("slowest start in ms", 0, -1.0, 500.0, &|run, _| {
                run.exec_ms.max
            });
            compare("latest timer in ms", 0, -1.0, 100.0, &|run, _| {
                run.late_ms.max
            });
            compare("seconds short of memory", 0, -1.0, 5.0, &|run, _| {
                count(run.short_s(table.contest) as u64)
            });
            compare("processor time in s", 1, -1.0, 0.5, &|run, _| {
                count(run.cpu_ms) / 1e3
            });
            let back_s = |(run, _): &(&Measured, Best)| run.back_s(table.contest).unwrap_or(0.0);
            let back = |row: &Row<'_>| middle(&sorted(row.runs.iter().map(back_s)));
            if back(ours) - back(theirs) > 5.0 {
                let said = |back_s: f64| match back_s.is_finite() {
                    true => format!("{back_s:.0}"),
                    false => "never".to_owned(),
                };
                better.push(format!(
                    "memory back after s {} to {}",
                    said(back(theirs)),
                    said(back(ours))
                ));
            }
            let (our, their) = (table.work(ours), table.work(theirs));
            if !our.is_empty() && middle(&their) - middle(&our) > 10.0 {
                better.push(format!(
                    "work in GiB {:.0} to {:.0}",
                    middle(&their),
                    middle(&our)
                ));
            }
            let done = |row: &Row<'_>| middle(&table.done(row));
            if table.contest.has_an_end() && done(ours) - done(theirs) > 1.0 {
                better.push(format!(
                    "all done after {:.0} s to {:.0}",
                    done(theirs),
                    done(ours)
                ));
            }
            if !better.is_empty() {
                any = true;
                let title = &table.contest.title;
                let name = theirs.contestant.name;
                writeln!(text, "- {title}, {name}: {}.", better.join("; "))?;
            }
        }
    }
    if !any {
        writeln!(text, "Nowhere, in these runs.")?;
    }
    text.push('\n');
    Ok(())
}

type Of<'of> = dyn Fn(&Measured, &Best) -> f64 + 'of;

fn contest(text: &mut String, table: &Table<'_>) -> fmt::Result {
    let Table { name, contest, .. } = table;
    writeln!(text, "## {}\n\n{}", contest.title, contest.says)?;
    writeln!(
        text,
        "{} All jobs are worth {}, and killing alone can keep {}.\n",
        table.machine(),
        table.total(),
        table.best_by_killing()
    )?;
    writeln!(
        text,
        "| | kept | paused | work, GiB | kernel kills | innocents | stall, s | start, ms | late, ms | lowest, MiB | short, s | back, s | CPU, s | \
         RSS, MiB | wake-ups | runs |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    )?;
    for row in &table.rows {
        let show_of = |places, of: &Of<'_>| row.show(places, of);
        let gone = row.runs.iter().filter(|(run, _)| !run.stays).count();
        let mut runs = row.runs.len().to_string();
        if gone > 0 {
            let _ = write!(runs, "; gone at the end of {gone}");
        }
        let length = row.figures(|run, _| count(run.available.len() as u64));
        if middle(&length) > f64::from(contest.seconds) * 1.1 {
            let _ = write!(runs, "; took {} s", show(&length, 0));
        }
        writeln!(
            text,
            "| {} | **{}** | {} | {} | {} | {} | {} | {} / {} / {} | {} | {} | {} | {} | {} | {} | {} | {runs} |",
            row.contestant.name,
            show_of(0, &|run, _| run.kept().into()),
            show_of(0, &|run, _| paused(run).into()),
            show(&table.work(row), 1),
            show_of(0, &|run, _| count(run.kernel_kills)),
            show_of(0, &innocents),
            show_of(1, &|run, _| run.full_stall_s),
            show_of(0, &|run, _| run.exec_ms.p50),
            show_of(0, &|run, _| run.exec_ms.p99),
            show_of(0, &|run, _| run.exec_ms.max),
            show_of(0, &|run, _| run.late_ms.max),
            show_of(0, &|run, _| count(run.lowest_mib)),
            show_of(0, &|run, _| count(run.short_s(contest) as u64)),
            show_ends(&table.back(row), 0, "never"),
            show_of(1, &|run, _| count(run.cpu_ms) / 1e3),
            show_of(1, &|run, _| count(run.rss_kib) / 1024.0),
            show_of(0, &|run, _| count(run.wakeups)),
        )?;
    }
    let could = ALL.iter().filter(|it| it.can_be_in(contest));
    let not_run = could.map(|contestant| contestant.name);
    let not_run = not_run.filter(|name| table.rows.iter().all(|row| row.contestant.name != *name));
    let not_run: Vec<_> = not_run.collect();
    if !not_run.is_empty() {
        writeln!(text, "\nNot run: {}.", not_run.join(", "))?;
    }
    if !table.left_out.is_empty() {
        let range = |of: fn(&Measured) -> f64, places| {
            show(&sorted(table.left_out.iter().map(|run| of(run))), places)
        };
        writeln!(
            text,
            "\nNot counted: {} runs of earlier versions of user-oom, which kept {}, with a full stall of {} s.",
            table.left_out.len(),
            range(|run| run.kept().into(), 0),
            range(|run| run.full_stall_s, 1)
        )?;
    }
    if contest.has_an_end() {
        writeln!(text, "\n| | all done after, s |\n|---|---|")?;
        for row in &table.rows {
            let done = show_ends(&table.done(row), 1, "not at all");
            writeln!(text, "| {} | {done} |", row.contestant.name)?;
        }
    }
    let threads = table.ours().map(Row::threads).unwrap_or_default();
    if !threads.is_empty() {
        writeln!(text, "\nuser-oom's processor time by thread: {threads}.")?;
    }
    if contest.has_hours() {
        writeln!(text, "\n| | value × unsaved hours lost |\n|---|---|")?;
        for row in &table.rows {
            let lost = row.show(0, |run, _| run.value_hours_lost(contest));
            writeln!(text, "| {} | **{lost}** |", row.contestant.name)?;
        }
    }
    writeln!(text, "\n![{}](arena/{name}.svg)\n", contest.title)?;
    if !contest.note.is_empty() {
        writeln!(text, "{}\n", contest.note.trim())?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "these are small")]
fn count(number: u64) -> f64 {
    number as f64
}

fn innocents(run: &Measured, best: &Best) -> f64 {
    count(best.innocents(&run.jobs) as u64)
}

/// For each contestant two bars: what it kept, and for how long all stood still.
fn picture(table: &Table<'_>) -> String {
    const ROW: usize = 26;
    const TOP: usize = 44;
    /// Where the bars begin, and how long they are at most.
    const KEPT: (f64, f64) = (160.0, 260.0);
    const STALL: (f64, f64) = (480.0, 200.0);
    let height = TOP + table.rows.len() * ROW + 12;
    let total = f64::from(table.total().max(1));
    let stall = |row: &Row<'_>| row.median(|run, _| run.full_stall_s);
    let longest = table.rows.iter().map(stall).fold(1.0, f64::max);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 740 {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"740\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{}\" y=\"18\" font-weight=\"bold\">value kept, of {total} (running + paused); medians of (runs)</text>\n\
         <text x=\"{}\" y=\"18\" font-weight=\"bold\">full stall, s</text>\n",
        KEPT.0, STALL.0
    );
    for (number, row) in table.rows.iter().enumerate() {
        let y = TOP + number * ROW;
        let kept = row.median(|run, _| run.kept().into());
        let runs = kept - row.median(|run, _| paused(run).into());
        let is_ours = row.contestant.name.starts_with(ALL[0].name);
        let colour = if is_ours { "#1f6f8b" } else { "#8a8f98" };
        let bar = |svg: &mut String, from: f64, length: f64, opacity: f64| {
            let _ = writeln!(
                svg,
                "<rect x=\"{from:.1}\" y=\"{y}\" width=\"{length:.1}\" height=\"18\" fill=\"{colour}\" opacity=\"{opacity}\"/>"
            );
        };
        let _ = writeln!(
            svg,
            "<text x=\"150\" y=\"{}\" text-anchor=\"end\">{} ({})</text>",
            y + 13,
            row.contestant.name,
            row.runs.len()
        );
        bar(&mut svg, KEPT.0, kept / total * KEPT.1, 0.4);
        bar(&mut svg, KEPT.0, runs / total * KEPT.1, 1.0);
        bar(&mut svg, STALL.0, stall(row) / longest * STALL.1, 1.0);
        for (x, said) in [
            (
                KEPT.0 + kept / total * KEPT.1,
                match kept - runs {
                    0.0 => format!("{kept}"),
                    paused => format!("{runs} + {paused}"),
                },
            ),
            (
                STALL.0 + stall(row) / longest * STALL.1,
                format!("{:.1}", stall(row)),
            ),
        ] {
            let (x, y) = (x + 5.0, y + 13);
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\">{said}</text>");
        }
    }
    let x = KEPT.0 + f64::from(table.best_by_killing()) / total * KEPT.1;
    let _ = writeln!(
        svg,
        "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{}\" stroke=\"#b03a2e\" stroke-dasharray=\"4 3\"/>\n\
         <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#b03a2e\">most by killing</text>\n</svg>",
        TOP - 6,
        height - 8,
        TOP - 10
    );
    svg
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Run, best, pages};
    use crate::arena::{Contest, Ended, Measured, Spread, State};

    const TEXT: &str = r#"
        title = "A leak"
        says = "A leak beside a job."
        memory_mib = 1024
        swap = "none"
        seconds = 60
        [[job]]
        name = "train"
        value = 9
        start_mib = 100
        touching = true
        [[job]]
        name = "leak"
        value = 1
        growth_mib_s = 20
    "#;

    fn contest() -> Contest {
        Contest::parse(TEXT).unwrap()
    }

    fn run(contestant: &str, repeat: u32, train: State, full_stall_s: f64) -> Run {
        let ended = |name: &str, value, state| Ended {
            name: name.to_owned(),
            value,
            state,
            passes: 1024,
            worked_mib: None,
            ended_s: None,
            lost: 0,
            unsaved_hours: None,
        };
        Run {
            contest: "leak".to_owned(),
            fingerprint: contest().fingerprint(),
            contestant: contestant.to_owned(),
            repeat,
            kernel: "6.1".to_owned(),
            took_s: 70,
            others_cores: 0.5,
            computation_ms: Some(40.0),
            superseded: false,
            failure: None,
            measured: Some(Measured {
                version: "1.0".to_owned(),
                available_mib: 900,
                swap_mib: 0,
                jobs: vec![ended("train", 9, train), ended("leak", 1, State::Killed)],
                kernel_kills: 0,
                full_stall_s,
                some_stall_s: 1.0,
                exec_ms: Spread::default(),
                late_ms: Spread::default(),
                lowest_mib: 90,
                cpu_ms: 100,
                rss_kib: 2048,
                wakeups: 10,
                stays: true,
                available: vec![900, 90],
                probe_cpu_ms: None,
                threads_cpu_ms: BTreeMap::new(),
            }),
        }
    }

    fn page(results: &[Run]) -> String {
        let contests = [("leak".to_owned(), contest())];
        pages(&contests, results).remove(0).1
    }

    #[test]
    fn a_row_has_the_median_and_the_range() {
        let results = [1.0, 5.0, 2.0].map(|stall| run("user-oom", 1, State::Runs, stall));
        let page = page(&results);
        assert!(page.contains("| user-oom | **9** | 0 | 100.0 |"), "{page}");
        assert!(page.contains("| 2.0 (1.0 to 5.0) |"), "{page}");
        assert!(page.contains("**Repeats of each: 3**"), "{page}");
    }

    #[test]
    fn what_does_not_compress_finds_no_room_in_zram() {
        let measured = Measured {
            available_mib: 50,
            swap_mib: 60,
            ..run("user-oom", 1, State::Runs, 1.0).measured.unwrap()
        };
        let most = |swap: &str| {
            let contest = TEXT.replace("\"none\"", swap);
            best(&Contest::parse(&contest).unwrap(), &measured).value
        };
        assert_eq!(most("\"disk\""), 9);
        assert_eq!(most("\"zram\""), 0);
    }

    #[test]
    fn where_we_lose_is_said() {
        let ours = run("user-oom", 1, State::Killed, 1.0);
        let page_of = |theirs: State| page(&[ours.clone(), run("earlyoom", 1, theirs, 0.9)]);
        let lost = page_of(State::Runs);
        assert!(
            lost.contains("- A leak, earlyoom: value 9 to 0; value of what runs at the end 9 to 0; innocents 0 to 1; work in GiB 100 to 0."),
            "{lost}"
        );
        assert!(page_of(State::Killed).contains("Nowhere, in these runs."));
    }

    #[test]
    fn where_hours_count_those_lost_are_shown() {
        let text = TEXT.replace("touching = true", "hourly = 6");
        let contest = Contest::parse(&text.replace("seconds = 60", "seconds = 60\nhour_s = 20"));
        let contests = [("leak".to_owned(), contest.unwrap())];
        let page = |train: State| {
            let mut run = run("user-oom", 1, train, 1.0);
            run.fingerprint = contests[0].1.fingerprint();
            for job in run.measured.iter_mut().flat_map(|run| &mut run.jobs) {
                job.unsaved_hours = (job.name == "train").then_some(2.5);
            }
            pages(&contests, &[run]).remove(0).1
        };
        let lost = page(State::Killed);
        assert!(lost.contains("| user-oom | **22** |"), "{lost}");
        assert!(
            lost.contains("hours of 20 s, 60 s. All jobs are worth 28,"),
            "{lost}"
        );
        assert!(page(State::Runs).contains("| user-oom | **0** |"), "{lost}");
    }

    #[test]
    fn of_an_even_number_the_median_is_between_the_two_in_the_middle() {
        let results = [1.0, 4.0].map(|stall| run("user-oom", 1, State::Runs, stall));
        assert!(page(&results).contains("| 2.5 (1.0 to 4.0) |"));
        let results = [State::Runs, State::Killed].map(|train| run("user-oom", 1, train, 0.0));
        assert!(page(&results).contains("| **4.5 (0 to 9)** |"));
    }

    #[test]
    fn what_does_not_count_is_counted() {
        let disturbed = Run {
            others_cores: 0.51,
            ..run("earlyoom", 1, State::Runs, 1.0)
        };
        let superseded = Run {
            superseded: true,
            ..run("user-oom", 2, State::Killed, 1.0)
        };
        let slow = |computation_ms| Run {
            computation_ms,
            ..run("earlyoom", 2, State::Runs, 1.0)
        };
        let page = page(&[
            run("user-oom", 1, State::Runs, 1.0),
            disturbed,
            superseded,
            slow(None),
            slow(Some(50.1)),
        ]);
        assert!(page.contains("runs: 1. In addition,"), "{page}");
        assert!(page.contains("1 runs were disturbed"), "{page}");
        assert!(page.contains("before 2 the host was slow"), "{page}");
        assert!(page.contains("1 were of earlier versions"), "{page}");
        assert!(
            page.contains(
                "Not counted: 1 runs of earlier versions of user-oom, which kept 0, with"
            ),
            "{page}"
        );
        assert!(page.contains("| user-oom | **9** |"), "{page}");
        assert!(page.contains("Not run: user-oom-no-module,"), "{page}");
    }

    #[test]
    fn each_version_is_named_with_its_runs() {
        let of = |version: &str| {
            let mut run = run("user-oom", 1, State::Runs, 1.0);
            run.measured.as_mut().unwrap().version = version.to_owned();
            run
        };
        let page = page(&[of("a"), of("b"), of("b")]);
        assert!(
            page.contains("| user-oom | a: 1 runs; b: 2 runs |"),
            "{page}"
        );
    }

    #[test]
    fn where_jobs_end_it_is_said_when_all_were_done() {
        let text = TEXT.replace("touching = true", "touching = true\npasses = 5");
        let contests = [("leak".to_owned(), Contest::parse(&text).unwrap())];
        let ended = |state, ended_s| {
            let mut run = run("user-oom", 1, state, 1.0);
            run.fingerprint = contests[0].1.fingerprint();
            for job in run.measured.iter_mut().flat_map(|run| &mut run.jobs) {
                job.ended_s = Some(ended_s);
            }
            run
        };
        let page = |runs: &[Run]| pages(&contests, runs).remove(0).1;
        let both = page(&[ended(State::Done, 30.5), ended(State::Killed, 3.0)]);
        assert!(
            both.contains("| user-oom | 30.5; not at all in 1 |"),
            "{both}"
        );
    }

    #[test]
    fn threads_are_told_of_the_runs_that_have_them() {
        let with = |threads: &[(&str, u64)]| {
            let mut run = run("user-oom", 1, State::Runs, 1.0);
            let threads = threads.iter().map(|(name, ms)| ((*name).to_owned(), *ms));
            run.measured.as_mut().unwrap().threads_cpu_ms = threads.collect();
            run
        };
        let page = page(&[with(&[]), with(&[]), with(&[("loop", 1500), ("idle", 9)])]);
        assert!(page.contains("by thread: `loop` 1.5 s.\n"), "{page}");
    }

    #[test]
    fn what_was_killed_did_no_work() {
        let with = |state, worked_mib| {
            let mut run = run("user-oom", 1, state, 1.0);
            run.measured.as_mut().unwrap().jobs[0].worked_mib = worked_mib;
            page(&[run])
        };
        assert!(with(State::Runs, Some(2048)).contains("| user-oom | **9** | 0 | 2.0 |"));
        assert!(with(State::Killed, Some(2048)).contains("| user-oom | **0** | 0 | 0.0 |"));
    }

    #[test]
    fn what_a_changed_contest_gave_is_not_shown() {
        let old = Run {
            fingerprint: 1,
            ..run("earlyoom", 1, State::Runs, 1.0)
        };
        let page = page(&[run("user-oom", 1, State::Runs, 1.0), old]);
        assert!(!page.contains("| earlyoom |"), "{page}");
        assert!(
            page.contains("and 1 of contests that have changed"),
            "{page}"
        );
    }
}
