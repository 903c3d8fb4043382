//! The series of runs: each contestant in each contest, a machine each.
//!
//! What a run came to is a line of JSON, written when it is over. What has its
//! line is not run again, so a series that was interrupted goes on with the same
//! command. Contestants take turns, so that what else the host does meets them
//! alike; how much that was is in each line.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::machine::{Boot, Ended};
use super::{Places, boot_once_more_at_most, debian, image, kernel, say};
use crate::arena::contestants::{self, Contestant};
use crate::arena::report::{self, Run};
use crate::arena::{Contest, FIGURE, Framework, Measured, PREFIX, Swap};
use crate::scenarios::{Debian, MEDIUM, Machine};
use crate::words::Word;

const HELP: &str = "\
Runs contestants in contests (e2e/arena/*.toml), each in a machine of its own.

Usage: e2e arena [--contest NAME]… [--contestant NAME]… [--repeats N] [--runs N]
                 [--quick | --report | --list]

  --contest NAME     only this contest; may be given several times
  --contestant NAME  only this contestant; likewise
  --repeats N        how many runs of each (default: 1)
  --runs N           stop after N runs; the same command continues later
  --quick            run four contests afresh with user-oom, earlyoom and nohang, once
                     each, 33 seconds at most; 8 minutes in all, results beside the
                     consoles; fails if, twice in the same contest, user-oom keeps
                     less value than one of the others or the kernel kills
  --report           run nothing; make docs/arena.md and its pictures from the results
  --list             list contests and contestants

Results: docs/arena.jsonl, a line for each run. What has a line is not run again.
Consoles of the guests: e2e/target/logs.";

/// Where results are kept, in the repository.
const RESULTS: &str = "docs/arena.jsonl";

/// What says nothing, or was disturbed by other work on the host, is tried so often.
const TRIES: u32 = 3;

/// Besides a contest's own length: a contestant's start, and a machine that hardly
/// moves at the end.
const SETTLING: Duration = Duration::from_secs(240);

/// Besides that: Python is slow where it is emulated.
const FRAMEWORK_STARTS: Duration = Duration::from_secs(240);

/// What a disk for files has beside them.
const FILE_SYSTEM_MIB: u32 = 256;

/// Contests and contestants of `--quick`.
const QUICK_CONTESTS: [&str; 4] = ["ancestor", "giant", "forty", "bomb"];
const QUICK_CONTESTANTS: [&str; 3] = ["user-oom", "earlyoom", "nohang"];
/// At most: of 12 machines, so that with what each takes to boot it is 8 minutes.
const QUICK_SECONDS: u32 = 33;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    contests: Vec<String>,
    contestants: Vec<String>,
    repeats: u32,
    runs: Option<usize>,
    quick: bool,
}

/// Does what the arguments after `arena` ask for; whether all went well.
pub(super) fn run(args: impl Iterator<Item = String>) -> Result<bool> {
    let places = Places::new()?;
    let Some(wanted) = parse(args, &places)? else {
        return Ok(true);
    };
    let results = if wanted.quick {
        let path = places.logs(kernel::MAIN).join("arena-quick.jsonl");
        remove(&path)?;
        path
    } else {
        places.root.join(RESULTS)
    };
    let all = series(&places, &wanted, &results)?;
    if !wanted.quick {
        return Ok(true);
    }
    let lost = judge(&wanted.contests, &all, 1)?;
    if lost.is_empty() {
        return Ok(true);
    }
    say("once more, for the host may have been busy")?;
    let again = Wanted {
        contests: lost,
        repeats: 2,
        ..wanted
    };
    let all = series(&places, &again, &results)?;
    Ok(judge(&again.contests, &all, 2)?.is_empty())
}

fn parse(mut args: impl Iterator<Item = String>, places: &Places) -> Result<Option<Wanted>> {
    let mut wanted = Wanted {
        repeats: 1,
        ..Wanted::default()
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("`{arg}` which?"));
        match arg.as_str() {
            "--help" | "-h" => return say(HELP).map(|()| None),
            "--list" => return list(places).map(|()| None),
            "--report" => return write_report(places).map(|()| None),
            "--quick" => wanted.quick = true,
            "--contest" => wanted.contests.push(value()?),
            "--contestant" => wanted.contestants.push(value()?),
            "--repeats" => wanted.repeats = number(&value()?)?,
            "--runs" => wanted.runs = Some(number(&value()?)?),
            other => bail!("`{other}` is no option of the arena; see --help"),
        }
    }
    if wanted.quick {
        let has_more = wanted.repeats > 1 || wanted.runs.is_some();
        ensure!(!has_more, "`--quick` runs each once");
        let default = |names: &mut Vec<String>, all: &[&str]| {
            if names.is_empty() {
                names.extend(all.iter().map(|&name| name.to_owned()));
            }
        };
        default(&mut wanted.contests, &QUICK_CONTESTS);
        default(&mut wanted.contestants, &QUICK_CONTESTANTS);
    }
    Ok(Some(wanted))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => bail!("`{text}` is no number"),
    }
}

fn list(places: &Places) -> Result<()> {
    for (name, text) in contests(places)? {
        let contest = Contest::parse(&text).with_context(|| format!("{name}.toml"))?;
        say(format_args!("contest     {name:<18} {}", contest.says))?;
    }
    for contestant in contestants::ALL {
        let command = contestant.command.join(" ");
        let Contestant { name, says, .. } = contestant;
        say(format_args!("contestant  {name:<18} {says} {command}"))?;
    }
    Ok(())
}

/// The names and texts of all contests, sorted.
pub(super) fn contests(places: &Places) -> Result<Vec<(String, String)>> {
    let at = places.e2e.join("arena");
    let mut contests = Vec::new();
    for entry in fs::read_dir(&at).with_context(|| format!("cannot list `{}`", at.display()))? {
        let path = entry.context("cannot list the contests")?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        let name = name.context("a contest has no name")?.to_owned();
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read `{}`", path.display()))?;
        contests.push((name, text));
    }
    contests.sort();
    Ok(contests)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != ErrorKind::NotFound => {
            Err(err).with_context(|| format!("cannot remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

fn read_results(path: &Path) -> Result<Vec<Run>> {
    let text = match fs::read_to_string(path) {
        Err(err) if err.kind() == ErrorKind::NotFound => String::new(),
        text => text.with_context(|| format!("cannot read `{}`", path.display()))?,
    };
    let runs = text.lines().map(serde_json::from_str);
    let runs: Result<_, _> = runs.collect();
    runs.with_context(|| format!("`{}` has a line that is no result", path.display()))
}

fn keep(path: &Path, run: &Run) -> Result<()> {
    let mut line = serde_json::to_string(run).context("cannot write a result down")?;
    line.push('\n');
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .with_context(|| format!("cannot write to `{}`", path.display()))
}

/// Runs what is still to be run; returns all results.
fn series(places: &Places, wanted: &Wanted, results: &Path) -> Result<Vec<Run>> {
    let mut all = read_results(results)?;
    let contests = chosen(places, wanted)?;
    let contestants = contestants(&wanted.contestants)?;
    let fastest_ms = report::fastest_ms(&all);
    let mut left = Vec::new();
    for repeat in 1..=wanted.repeats {
        for (name, contest) in &contests {
            for &contestant in contestants.iter().filter(|it| it.can_be_in(contest)) {
                let lines = || {
                    all.iter().filter(|run| {
                        (run.contest.as_str(), run.contestant.as_str(), run.repeat)
                            == (name.as_str(), contestant.name, repeat)
                            && run.fingerprint == contest.fingerprint()
                            && !run.superseded
                            && (wanted.quick || !run.is_slow(fastest_ms))
                    })
                };
                // In the quick series what was disturbed counts as well.
                let counts =
                    |run: &Run| run.measured.is_some() && (wanted.quick || !run.is_disturbed());
                if !lines().any(counts) && lines().count() < TRIES as usize {
                    left.push((name, contest, contestant, repeat));
                }
            }
        }
    }
    left.truncate(wanted.runs.unwrap_or(usize::MAX));
    if left.is_empty() {
        say("all of it has been run")?;
        return Ok(all);
    }
    let programs = image::build_programs(places)?;
    let ready = kernel::MAIN.prepare(places)?;
    let mut more = Vec::new();
    for (_, _, contestant, _) in &left {
        if let Some((name, version)) = contestant.package {
            more.push(image::fetch_program(places, name, version)?);
        }
    }
    more.sort();
    more.dedup();
    let image = image::pack(places, &ready, &programs, &more)?;
    let logs = places.logs(kernel::MAIN);
    fs::create_dir_all(&logs).with_context(|| format!("cannot make `{}`", logs.display()))?;
    let count = left.len();
    for (number, (name, contest, contestant, repeat)) in left.into_iter().enumerate() {
        let log = format!("{PREFIX}{name}:{}", contestant.name);
        let scenario = format!("{log}:{}", contest.seconds);
        let log = log.replace(':', "-");
        let machine = machine(contest, contestant);
        let disk = machine
            .debian
            .map(|debian| debian::prepare(debian, kernel::MAIN.disk, places));
        let disk = disk.transpose()?;
        let boot = Boot {
            name: &log,
            scenarios: &scenario,
            machine,
            limit: Duration::from_secs(u64::from(contest.seconds) * 2)
                + SETTLING
                + contest
                    .tasks_of
                    .map_or(Duration::ZERO, |_| FRAMEWORK_STARTS),
        };
        let computation_ms = Some(computation_ms());
        let before = Host::now()?;
        let ended = boot_once_more_at_most(
            &ready,
            &image,
            disk.as_deref(),
            &logs,
            boot,
            &mut |_| Ok(()),
        )?;
        let measured = measured(&ended);
        let run = Run {
            contest: name.clone(),
            fingerprint: contest.fingerprint(),
            contestant: contestant.name.to_owned(),
            repeat,
            kernel: ready.release.clone(),
            took_s: before.at.elapsed().as_secs(),
            others_cores: before.others_cores()?,
            computation_ms,
            superseded: false,
            failure: measured.as_ref().err().map(|err| format!("{err:#}")),
            measured: measured.ok(),
        };
        keep(results, &run)?;
        say(format_args!(
            "  [{}/{count}] {}",
            number + 1,
            run.in_a_line(contest)
        ))?;
        all.push(run);
    }
    Ok(all)
}

/// The contests that are asked for, all if none is named.
fn chosen(places: &Places, wanted: &Wanted) -> Result<Vec<(String, Contest)>> {
    let mut chosen = Vec::new();
    for (name, text) in contests(places)? {
        if wanted.contests.is_empty() || wanted.contests.contains(&name) {
            let mut contest = Contest::parse(&text).with_context(|| format!("{name}.toml"))?;
            if wanted.quick {
                contest.seconds = contest.seconds.min(QUICK_SECONDS);
            }
            chosen.push((name, contest));
        }
    }
    for name in &wanted.contests {
        let is_there = chosen.iter().any(|(chosen, _)| chosen == name);
        ensure!(is_there, "`{name}` is no contest; see --list");
    }
    Ok(chosen)
}

fn contestants(names: &[String]) -> Result<Vec<&'static Contestant>> {
    if names.is_empty() {
        return Ok(contestants::ALL.iter().collect());
    }
    let named = |name: &String| {
        contestants::named(name).with_context(|| format!("`{name}` is no contestant; see --list"))
    };
    names.iter().map(named).collect()
}

fn machine(contest: &Contest, contestant: &Contestant) -> Machine {
    Machine {
        memory_mebibytes: contest.memory_mib,
        disk_mebibytes: (contest.swap == Swap::Disk).then_some(contest.swap_mib),
        second_disk_mebibytes: match contest.files_mib() {
            0 => None,
            files => Some(files + FILE_SYSTEM_MIB),
        },
        disk_mib_s: contest.disk_mib_s,
        debian: Some(match (contest.tasks_of, contestant.unit) {
            (Some(Framework::Ray), _) => Debian::ArenaRay,
            (None, Some(_)) => Debian::ArenaSystem,
            (None, None) => Debian::Arena,
        }),
        ..MEDIUM
    }
}

fn measured(ended: &Ended) -> Result<Measured> {
    for word in &ended.words {
        match word {
            Word::Figure { key, value } if key == FIGURE => {
                return serde_json::from_str(value).context("the guest's result is none");
            }
            Word::Failed { reason, .. } => bail!("{reason}; see {}", ended.console.display()),
            _ => {}
        }
    }
    bail!("{}", ended.how)
}

/// How long a computation takes that is always the same, on one processor.
fn computation_ms() -> f64 {
    let began = Instant::now();
    let number = (0..30_000_000_u64).fold(1_u64, |number, it| {
        std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005) ^ it)
    });
    std::hint::black_box(number);
    (began.elapsed().as_secs_f64() * 1e4).round() / 10.0
}

/// The host's processors at a moment.
struct Host {
    at: Instant,
    busy_ticks: u64,
    our_ticks: u64,
}

/// The kernel's USER_HZ: 100 on all that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

impl Host {
    fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("cannot read `/proc/stat`")?;
        let all = stat.lines().next().unwrap_or_default();
        let numbers: Vec<u64> = all.split_whitespace().flat_map(str::parse).collect();
        // user, nice, system; interrupts; and what other machines took (steal).
        let busy = [0, 1, 2, 5, 6, 7].map(|at| numbers.get(at).copied().unwrap_or(0));
        let own = fs::read_to_string("/proc/self/stat").context("cannot read our own times")?;
        // After the name, which may hold spaces: our children's times, once they ended.
        let own = own.rsplit(')').next().unwrap_or_default();
        let ours = own
            .split_whitespace()
            .skip(13)
            .take(2)
            .flat_map(str::parse::<u64>);
        Ok(Self {
            at: Instant::now(),
            busy_ticks: busy.iter().sum(),
            our_ticks: ours.sum(),
        })
    }

    /// How many processors all others kept busy since.
    fn others_cores(&self) -> Result<f64> {
        let now = Self::now()?;
        let busy = now.busy_ticks.saturating_sub(self.busy_ticks);
        let others = busy.saturating_sub(now.our_ticks.saturating_sub(self.our_ticks));
        #[expect(clippy::cast_precision_loss, reason = "a run takes minutes")]
        let cores = others as f64 / TICKS_PER_SECOND / (now.at - self.at).as_secs_f64();
        Ok((cores * 100.0).round() / 100.0)
    }
}

/// In which of `contests` user-oom kept less value than another, or the kernel killed
/// beside it, the `repeat`th time; says so.
fn judge(contests: &[String], all: &[Run], repeat: u32) -> Result<Vec<String>> {
    let mut lost = Vec::new();
    for name in contests {
        let of = |ours: bool| {
            all.iter()
                .filter(move |run| run.contest == *name && run.repeat == repeat)
                .filter(move |run| (run.contestant == "user-oom") == ours)
        };
        if of(true).next().is_none() {
            continue;
        }
        let measured = |ours| of(ours).filter_map(|run| run.measured.as_ref());
        let Some(ours) = measured(true).next() else {
            say(format_args!(
                "FAILED  {name}: the machine with user-oom said nothing"
            ))?;
            lost.push(name.clone());
            continue;
        };
        let (our_value, kills) = (ours.kept(), ours.kernel_kills);
        let Some(their_value) = measured(false).map(Measured::kept).max() else {
            say(format_args!(
                "FAILED  {name}: the machines with others said nothing"
            ))?;
            lost.push(name.clone());
            continue;
        };
        if our_value < their_value {
            say(format_args!(
                "FAILED  {name}: user-oom keeps {our_value}, another {their_value}"
            ))?;
        }
        if kills > 0 {
            say(format_args!(
                "FAILED  {name}: the kernel killed beside user-oom"
            ))?;
        }
        if our_value < their_value || kills > 0 {
            lost.push(name.clone());
        }
    }
    Ok(lost)
}

fn write_report(places: &Places) -> Result<()> {
    let results = read_results(&places.root.join(RESULTS))?;
    let mut contests_read = Vec::new();
    for (name, text) in contests(places)? {
        let contest = Contest::parse(&text).with_context(|| format!("{name}.toml"))?;
        contests_read.push((name, contest));
    }
    for (path, text) in report::pages(&contests_read, &results) {
        let path: PathBuf = places.root.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).context("cannot make a folder")?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    let readme = places.root.join("README.md");
    let text = fs::read_to_string(&readme).context("cannot read `README.md`")?;
    let summary = report::summary(&contests_read, &results);
    let text = between(&text, report::MARKS, &summary).context("`README.md` has no marks")?;
    fs::write(&readme, text).context("cannot write `README.md`")
}

/// The text with `new` between the two marks.
fn between(text: &str, [begin, end]: [&str; 2], new: &str) -> Option<String> {
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}{new}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::{RESULTS, between, contests, read_results};
    use crate::arena::report::{self, MARKS};
    use crate::arena::{Contest, contestants};
    use crate::host::Places;

    fn all_contests() -> Vec<(String, Contest)> {
        let read = |(name, text): (String, String)| {
            let contest = Contest::parse(&text).unwrap_or_else(|err| panic!("{name}: {err}"));
            (name, contest)
        };
        let texts = contests(&Places::new().unwrap()).unwrap();
        texts.into_iter().map(read).collect()
    }

    #[test]
    fn every_contest_can_be_read() {
        let contests = all_contests();
        assert!(contests.iter().any(|(name, _)| name == "bomb"));
        for (name, contest) in contests {
            assert!(!contest.title.is_empty(), "{name}");
            assert!(!name.contains([':', ',']), "{name}");
            for group in contest.jobs.iter().filter_map(|job| job.group.as_ref()) {
                let is_there = contest.groups.iter().any(|there| there.name == *group);
                assert!(is_there, "{name}: `{group}` is no group");
            }
        }
        for contestant in contestants::ALL {
            assert!(!contestant.name.contains([':', ',']));
        }
    }

    #[test]
    fn the_page_is_what_the_results_say() {
        let places = Places::new().unwrap();
        let results = read_results(&places.root.join(RESULTS)).unwrap();
        let contests = all_contests();
        for (path, text) in report::pages(&contests, &results) {
            let kept = std::fs::read_to_string(places.root.join(&path)).unwrap_or_default();
            let repeat = "cargo xtask arena --field --report";
            assert!(kept == text, "{path} is out of date: {repeat}");
        }
        let readme = std::fs::read_to_string(places.root.join("README.md")).unwrap();
        let summary = report::summary(&contests, &results);
        assert_eq!(between(&readme, MARKS, &summary).unwrap(), readme);
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let marks = ["<", ">"];
        assert_eq!(between("a<b>c", marks, "d").unwrap(), "a<d>c");
        assert_eq!(between("a<b", marks, "d"), None);
    }
}
