//! `docs/arena.md` and its pictures, from the results.

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
    /// Why nothing was measured.
    pub failure: Option<String>,
    /// What was.
    pub measured: Option<Measured>,
}

impl Run {
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
    let mut text = format!("| | {} |\n|---|---|---|---|\n", SHOWN.join(" | "));
    for table in &tables {
        let _ = write!(text, "| {} |", table.contest.title);
        for shown in SHOWN {
            let row = table.rows.iter().find(|row| row.contestant.name == shown);
            let _ = match row {
                Some(row) => write!(
                    text,
                    " {} of {}{}, {} s |",
                    row.show(0, |run, _| run.kept().into()),
                    table.total(),
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
    let mut tables = Vec::new();
    for (name, contest) in contests {
        let fingerprint = contest.fingerprint();
        let of_contest = results
            .iter()
            .filter(|run| run.contest == *name && run.fingerprint == fingerprint);
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
            });
        }
    }
    tables
}

impl Row<'_> {
    fn figures(&self, of: impl Fn(&Measured, &Best) -> f64) -> Vec<f64> {
        let mut figures: Vec<_> = self.runs.iter().map(|(run, best)| of(run, best)).collect();
        figures.sort_by(f64::total_cmp);
        figures
    }

    /// The one in the middle; of an even number, the greater of the two.
    fn median(&self, of: impl Fn(&Measured, &Best) -> f64) -> f64 {
        let figures = self.figures(of);
        figures[figures.len() / 2]
    }

    /// The median, and between which they lie if they differ.
    fn show(&self, places: usize, of: impl Fn(&Measured, &Best) -> f64) -> String {
        let figures = self.figures(of);
        let show = |figure: f64| format!("{figure:.places$}");
        let (least, most) = (show(figures[0]), show(figures[figures.len() - 1]));
        let median = show(figures[figures.len() / 2]);
        if least == most {
            median
        } else {
            format!("{median} ({least} to {most})")
        }
    }
}

impl Table<'_> {
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

    /// How much memory the jobs with a value went through, in GiB.
    fn work_gib(&self, run: &Measured) -> f64 {
        let jobs = self.contest.jobs.iter();
        let sizes = jobs.flat_map(|job| (0..job.count).map(move |_| job.start_mib));
        let ended = run.jobs.iter().zip(sizes);
        let work = ended.filter(|(job, _)| job.value > 0).map(|(job, mib)| {
            let passes = u32::try_from(job.passes).unwrap_or(u32::MAX);
            f64::from(passes) * f64::from(mib) / 1024.0
        });
        work.sum()
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
cargo xtask arena --field --help            more
```

A contest is a file in `e2e/arena`. To add a contestant, add an entry to `e2e/src/arena/contestants.rs` and, if Debian has it, a
package to `e2e/src/host/debian.rs`.

The values of the jobs are what their user says they are worth, and only user-oom is told them: the others have no such input except
lists of names (earlyoom `--prefer`, `--avoid`; nohang's regular expressions), which are not set. None is told anything else.

- **kept**: the value of all jobs that were not killed. **paused**: how much of that is paused at the end. A paused job does not grow,
  so more can be kept than by killing.
- **value × unsaved hours lost**: if jobs are worth more with each hour of unsaved work: for those that were killed, the value without
  the hours, times the hours. **kept** includes the hours at the end.
- **by killing**: the most that killing alone can keep: the most valuable set of jobs that fits into memory and swap at the end, if each
  grows as its file says. Zram adds no room: what jobs hold does not compress. No contestant knows how large a job will become. While
  everything stalls, jobs grow more slowly, so even the bare kernel may end with more.
- **work**: how much memory the jobs with a value went through. What is paused or swapped out does no work.
- **innocents**: jobs that were killed although they did not grow and belong to that best set.
- **stall**: how long all tasks waited for memory (PSI full). **start**: how long starting `/bin/true` took, in milliseconds (median,
  99th percentile, maximum). **late**: the most by which a timer of the highest priority was late.
- **lowest**: the least MemAvailable. **CPU**, **RSS**, **wake-ups**: of the contestant.

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
    let mut others: Vec<_> = results.iter().map(|run| run.others_cores).collect();
    others.sort_by(f64::total_cmp);
    let other = |at: usize| others.get(at).copied().unwrap_or(0.0);
    let mute = results.iter().filter(|run| run.measured.is_none()).count();
    let stale = results.len() - mute - counts(tables).sum::<usize>();
    writeln!(
        text,
        "**Repeats of each: {}**; runs: {}. In addition, {mute} machines reported nothing, and {stale} runs were of contests \
         that have changed since. During a run, other work kept {:.1} of the host's two processors busy (median; {:.1} to \
         {:.1}): times in seconds mean something, those in milliseconds little.\n",
        repeats(tables),
        counts(tables).sum::<usize>(),
        other(others.len() / 2),
        other(0),
        other(others.len().saturating_sub(1)),
    )?;
    writeln!(text, "| contestant | version | |\n|---|---|---|")?;
    for contestant in &ALL {
        let rows = tables.iter().flat_map(|table| &table.rows);
        let mut of = rows.filter(|row| row.contestant.name == contestant.name);
        let Some((run, _)) = of.find_map(|row| row.runs.first()) else {
            continue;
        };
        let command = match contestant.command.join(" ") {
            command if command.is_empty() => command,
            command => format!(": `{command}`"),
        };
        writeln!(
            text,
            "| {} | {} | {}{command} |",
            contestant.name, run.version, contestant.says
        )?;
    }
    text.push('\n');
    Ok(())
}

/// Where another has a better median.
fn losses(text: &mut String, tables: &[Table<'_>]) -> fmt::Result {
    writeln!(text, "## Where user-oom is not the best\n")?;
    let mut any = false;
    for table in tables {
        let is_ours = |row: &&Row<'_>| row.contestant.name == ALL[0].name;
        let Some(ours) = table.rows.iter().find(is_ours) else {
            continue;
        };
        for theirs in table.rows.iter().filter(|row| !is_ours(row)) {
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
            compare("work in GiB", 0, 1.0, 10.0, &|run, _| table.work_gib(run));
            compare("slowest start in ms", 0, -1.0, 500.0, &|run, _| {
                run.exec_ms.max
            });
            compare("processor time in s", 1, -1.0, 2.0, &|run, _| {
                count(run.cpu_ms) / 1e3
            });
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
    writeln!(
        text,
        "\nTheirs to ours. Any difference in value counts; stalls and starts count if they differ by more than half a \
         second, work by more than 10 GiB, processor time by more than 2 s. The section of each contest says why.\n"
    )
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
        "| | kept | paused | work, GiB | kernel kills | innocents | stall, s | start, ms | late, ms | lowest, MiB | CPU, s | RSS, \
         MiB | wake-ups | runs |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    )?;
    for row in &table.rows {
        let show = |places, of: &Of<'_>| row.show(places, of);
        let gone = row.runs.iter().filter(|(run, _)| !run.stays).count();
        let runs = match gone {
            0 => row.runs.len().to_string(),
            gone => format!("{}; gone at the end of {gone}", row.runs.len()),
        };
        writeln!(
            text,
            "| {} | **{}** | {} | {} | {} | {} | {} | {} / {} / {} | {} | {} | {} | {} | {} | {runs} |",
            row.contestant.name,
            show(0, &|run, _| run.kept().into()),
            show(0, &|run, _| paused(run).into()),
            show(1, &|run, _| table.work_gib(run)),
            show(0, &|run, _| count(run.kernel_kills)),
            show(0, &innocents),
            show(1, &|run, _| run.full_stall_s),
            show(0, &|run, _| run.exec_ms.p50),
            show(0, &|run, _| run.exec_ms.p99),
            show(0, &|run, _| run.exec_ms.max),
            show(0, &|run, _| run.late_ms.max),
            show(0, &|run, _| count(run.lowest_mib)),
            show(1, &|run, _| count(run.cpu_ms) / 1e3),
            show(1, &|run, _| count(run.rss_kib) / 1024.0),
            show(0, &|run, _| count(run.wakeups)),
        )?;
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
         <text x=\"{}\" y=\"18\" font-weight=\"bold\">value kept, of {total} (pale: paused)</text>\n\
         <text x=\"{}\" y=\"18\" font-weight=\"bold\">full stall, s</text>\n",
        KEPT.0, STALL.0
    );
    for (number, row) in table.rows.iter().enumerate() {
        let y = TOP + number * ROW;
        let kept = row.median(|run, _| run.kept().into());
        let runs = row.median(|run, _| (run.kept() - paused(run)).into());
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
            "<text x=\"150\" y=\"{}\" text-anchor=\"end\">{}</text>",
            y + 13,
            row.contestant.name
        );
        bar(&mut svg, KEPT.0, kept / total * KEPT.1, 0.4);
        bar(&mut svg, KEPT.0, runs / total * KEPT.1, 1.0);
        bar(&mut svg, STALL.0, stall(row) / longest * STALL.1, 1.0);
        for (x, said) in [
            (KEPT.0 + kept / total * KEPT.1, format!("{kept:.0}")),
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
            lost.contains("- A leak, earlyoom: value 9 to 0; value of what runs at the end 9 to 0; innocents 0 to 1."),
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
    fn what_a_changed_contest_gave_is_not_shown() {
        let old = Run {
            fingerprint: 1,
            ..run("earlyoom", 1, State::Runs, 1.0)
        };
        let page = page(&[run("user-oom", 1, State::Runs, 1.0), old]);
        assert!(!page.contains("| earlyoom |"), "{page}");
        assert!(page.contains("1 runs were of contests"), "{page}");
    }
}
