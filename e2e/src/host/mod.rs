//! The host: prepares, boots, and believes what it is told explicitly.

mod arena;
mod args;
mod cpio;
mod debian;
mod image;
mod kernel;
mod machine;
mod splat;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{ErrorKind, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow};

use self::args::{Run, Wanted};
use self::kernel::Kernel;
use self::machine::Boot;
use crate::scenarios::{ALL, Machine, Scenario};
use crate::words::Word;

/// Runs what the arguments ask for; whether all of it passed.
///
/// # Errors
///
/// Something that has nothing to do with a scenario: the arguments, a package,
/// a build.
pub fn run(args: impl Iterator<Item = String>) -> Result<bool> {
    let mut args = args.peekable();
    if args.next_if(|first| first == "arena").is_some() {
        return arena::run(args);
    }
    match args::parse(args)? {
        Wanted::Help => say(args::HELP).map(|()| true),
        Wanted::List => list().map(|()| true),
        Wanted::Run(run) => run_all(&run),
    }
}

/// Says why it went wrong, with all causes.
pub fn report(err: &anyhow::Error) {
    // A terminal that is gone is nothing that we could tell anyone about.
    let _ = writeln!(stderr(), "e2e: {err:#}");
}

/// Where everything that is made or fetched goes.
#[derive(Clone, Debug)]
struct Places {
    /// Of this workspace.
    e2e: PathBuf,
    /// Of the repository.
    root: PathBuf,
}

impl Places {
    fn new() -> Result<Self> {
        let e2e = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let root = e2e.parent().context("e2e is in no repository")?.to_owned();
        Ok(Self { e2e, root })
    }

    /// Kernels and images, which the next run uses again.
    fn cache(&self) -> PathBuf {
        self.e2e.join("target/cache")
    }

    /// What the guests said, and their consoles.
    fn logs(&self, kernel: Kernel) -> PathBuf {
        self.e2e.join("target/logs").join(kernel.name)
    }
}

/// What became of a scenario.
#[derive(Clone, Debug)]
struct Outcome {
    scenario: &'static Scenario,
    /// What was measured, in the order it was said.
    figures: Vec<(String, String)>,
    /// Why it did not pass.
    failure: Option<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            None => write!(f, "passed  {}", self.scenario.name)?,
            Some(reason) => write!(f, "FAILED  {}: {reason}", self.scenario.name)?,
        }
        for (key, value) in &self.figures {
            write!(f, "\n          {key}: {value}")?;
        }
        Ok(())
    }
}

fn say(text: impl fmt::Display) -> Result<()> {
    writeln!(stdout(), "{text}").context("cannot write to the terminal")
}

fn list() -> Result<()> {
    for scenario in ALL {
        let kernels = match scenario {
            Scenario { faults: true, .. } => kernel::DEBUG.name,
            Scenario {
                everywhere: true, ..
            } => "all",
            _ => kernel::MAIN.name,
        };
        let only = match scenario {
            scenario if scenario.machine.packaged => {
                " (only where it is named, after `cargo xtask dist`)"
            }
            Scenario { oldest: true, .. } => " (and 5.10)",
            _ => "",
        };
        say(format_args!("{:<5} {}{only}", kernels, scenario.name))?;
    }
    Ok(())
}

/// So many scenarios may need `--second-try`: more are no accident.
const SECOND_TRIES: usize = 4;

fn run_all(wanted: &Run) -> Result<bool> {
    let places = Places::new()?;
    let programs = image::build_programs(&places)?;
    let mut sum = Sum::default();
    let mut tried_again = Vec::new();
    for &kernel in &wanted.kernels {
        let ready = kernel.prepare(&places)?;
        let programs = match kernel.has_module() {
            true => programs.clone(),
            false => {
                let tarball = made(&places, "user-oom-", "-x86_64-linux.tar.gz")?;
                programs.clone().or_of(&tarball, &places)?
            }
        };
        let boots = boots(kernel, &wanted.names, wanted.full);
        let packaged = boots
            .iter()
            .flatten()
            .any(|scenario| scenario.machine.packaged);
        let package = (packaged.then(|| made(&places, "user-oom_", ".deb"))).transpose()?;
        let images = Images::pack(&places, &ready, &programs, package)?;
        let count = boots.iter().map(Vec::len).sum();
        say(format_args!(
            "Linux {} ({}): {count} scenarios in {} machines, {}",
            kernel.name,
            ready.release,
            boots.len(),
            match wanted.at_a_time {
                1 => "one after the other".to_owned(),
                several => format!("{several} at a time"),
            }
        ))?;
        let fleet = Fleet::new(&places, &ready, &images, count);
        let mut done = fleet.run(&boots, wanted.at_a_time)?;
        if wanted.second_try && !kernel.is_built_here() {
            let tries = (SECOND_TRIES - tried_again.len()).min(done.failed.len());
            let again: Vec<_> = done.failed.drain(..tries).collect();
            for scenario in again {
                tried_again.push(scenario.name);
                done.add(fleet.run_again(scenario)?);
            }
        }
        sum.add(done);
    }
    for name in tried_again {
        say(format_args!("{name}: failed at first; see above"))?;
    }
    let failed = sum.failed.len() + sum.mistakes;
    say(format_args!("{} passed, {failed} failed", sum.passed))?;
    // Nothing that ran is nothing that passed.
    Ok(failed == 0 && sum.passed > 0)
}

/// What became of several.
#[derive(Debug, Default)]
struct Sum {
    passed: usize,
    failed: Vec<&'static Scenario>,
    /// What a kernel that looks for mistakes has found.
    mistakes: usize,
}

impl Sum {
    fn add(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed.extend(more.failed);
        self.mistakes += more.mistakes;
    }
}

/// What a kernel's machines boot with.
#[derive(Debug)]
struct Images {
    usual: PathBuf,
    /// Of those with [`Machine::listeners`]: the others keep the memory.
    with_listeners: PathBuf,
    /// Of those with [`Machine::packaged`], if there are any.
    with_package: Option<PathBuf>,
}

impl Images {
    fn pack(
        places: &Places,
        kernel: &kernel::Ready,
        programs: &image::Programs,
        package: Option<PathBuf>,
    ) -> Result<Self> {
        let package = package.map(|package| image::pack(places, kernel, programs, &[package]));
        Ok(Self {
            usual: image::pack(places, kernel, programs, &[])?,
            with_listeners: image::pack(places, kernel, programs, &programs.listeners)?,
            with_package: package.transpose()?,
        })
    }

    fn of(&self, machine: Machine) -> &Path {
        match &self.with_package {
            Some(image) if machine.packaged => image,
            _ if machine.listeners => &self.with_listeners,
            _ => &self.usual,
        }
    }
}

/// What `cargo xtask dist` has made of the daemon and its programs: the file whose name
/// begins and ends so.
fn made(places: &Places, begin: &str, end: &str) -> Result<PathBuf> {
    let missing = || format!("no `{begin}…{end}` found: run `cargo xtask dist` first");
    let entries = fs::read_dir(places.root.join("target/dist")).with_context(missing)?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let found = paths.find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(begin) && name.ends_with(end)
    });
    found.with_context(missing)
}

/// The scenarios for this kernel, those together that share a machine: on one that
/// is slow to boot, and sees more the longer it runs, all that follow each other.
fn boots(kernel: Kernel, names: &[String], full: bool) -> Vec<Vec<&'static Scenario>> {
    let wanted = ALL.iter().filter(|scenario| {
        if names.is_empty() {
            let is_for = match kernel {
                kernel::MAIN => !scenario.faults,
                kernel::DEBUG => scenario.is_of_the_module() && !scenario.stock,
                kernel::OLDEST => scenario.oldest,
                _ => scenario.everywhere,
            };
            is_for && (full || !scenario.long) && !scenario.machine.packaged
        } else {
            names.iter().any(|name| name == scenario.name)
        }
    });
    let is_alone = |scenario: &Scenario| scenario.alone && !kernel.is_built_here();
    let mut boots: Vec<Vec<&'static Scenario>> = Vec::new();
    for scenario in wanted {
        match boots.last_mut() {
            Some(boot)
                if !is_alone(scenario)
                    && boot
                        .iter()
                        .all(|other| !is_alone(other) && other.machine == scenario.machine) =>
            {
                boot.push(scenario);
            }
            _ => boots.push(vec![scenario]),
        }
    }
    boots
}

/// The machines of one kernel.
#[derive(Debug)]
struct Fleet<'a> {
    places: &'a Places,
    kernel: &'a kernel::Ready,
    images: &'a Images,
    /// How many scenarios there are, and how many have begun.
    count: usize,
    begun: AtomicUsize,
    /// Held by who makes a Debian, which the next finds.
    makes_debian: Mutex<()>,
}

impl<'a> Fleet<'a> {
    fn new(
        places: &'a Places,
        kernel: &'a kernel::Ready,
        images: &'a Images,
        count: usize,
    ) -> Self {
        Self {
            places,
            kernel,
            images,
            count,
            begun: AtomicUsize::new(0),
            makes_debian: Mutex::new(()),
        }
    }

    /// Runs them all, so many machines at a time.
    fn run(&self, boots: &[Vec<&'static Scenario>], at_a_time: usize) -> Result<Sum> {
        let left = Mutex::new(boots.iter());
        let left = || left.lock().unwrap_or_else(PoisonError::into_inner);
        let next = || left().next();
        let lane = || -> Result<Sum> {
            let mut sum = Sum::default();
            while let Some(boot) = next() {
                // What goes wrong here would go wrong with the others, too.
                let done = self.run_boot(boot).inspect_err(|_| *left() = [].iter());
                sum.add(done?);
            }
            Ok(sum)
        };
        thread::scope(|scope| {
            let lanes: Vec<_> = (0..at_a_time).map(|_| scope.spawn(lane)).collect();
            let mut sum = Sum::default();
            for lane in lanes {
                sum.add(
                    lane.join()
                        .map_err(|_| anyhow!("a lane of machines panicked"))??,
                );
            }
            Ok(sum)
        })
    }

    /// In a machine of its own.
    fn run_again(&self, scenario: &'static Scenario) -> Result<Sum> {
        keep_console(&self.places.logs(self.kernel.kernel), scenario.name)?;
        say(format_args!("  {} once more, alone", scenario.name))?;
        Self::new(self.places, self.kernel, self.images, 1).run_boot(&[scenario])
    }

    fn run_boot(&self, boot: &[&'static Scenario]) -> Result<Sum> {
        let ended = self.boot(boot)?;
        let mut sum = Sum::default();
        for outcome in outcomes(boot, &ended) {
            say(format_args!("  {outcome}"))?;
            match outcome.failure {
                None => sum.passed += 1,
                Some(_) => sum.failed.push(outcome.scenario),
            }
        }
        if self.kernel.kernel.is_built_here() {
            let log = read_console(&ended.console)?;
            for line in splat::splats(&log) {
                sum.mistakes += 1;
                say(format_args!("  FAILED  the kernel found a mistake: {line}"))?;
            }
        }
        if !sum.failed.is_empty() || sum.mistakes > 0 {
            say_console(&ended.console)?;
        }
        Ok(sum)
    }

    fn boot(&self, boot: &[&'static Scenario]) -> Result<machine::Ended> {
        let logs = self.places.logs(self.kernel.kernel);
        fs::create_dir_all(&logs).with_context(|| format!("cannot make `{}`", logs.display()))?;
        let debian = (boot.iter().find_map(|scenario| scenario.machine.debian))
            .map(|debian| {
                let _held = self.makes_debian.lock();
                debian::prepare(debian, self.kernel.kernel.disk, self.places)
            })
            .transpose()?;
        let first = boot.first().context("there is nothing to do")?;
        let names: Vec<_> = boot.iter().map(|scenario| scenario.name).collect();
        let boot = Boot {
            name: first.name,
            scenarios: &names.join(","),
            machine: first.machine,
            limit: boot.iter().map(|scenario| scenario.limit).sum(),
        };
        let image = self.images.of(boot.machine);
        let begun = &mut |name: &str| {
            let begun = 1 + self.begun.fetch_add(1, Relaxed);
            say(format_args!("  [{begun}/{}] {name}", self.count))
        };
        boot_once_more_at_most(self.kernel, image, debian.as_deref(), &logs, boot, begun)
    }
}

fn boot_once_more_at_most(
    kernel: &kernel::Ready,
    image: &Path,
    debian: Option<&Path>,
    logs: &Path,
    boot: Boot<'_>,
    begun: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<machine::Ended> {
    let mut run = || machine::run(kernel, image, debian, logs, boot, begun);
    let mut ended = run()?;
    if ended.words.is_empty() {
        // A processor that is emulated now and then sees half of what the
        // kernel patches of itself while it boots. Nothing of ours has run.
        let kept = ended.console.with_extension("first.console");
        fs::rename(&ended.console, &kept).context("cannot keep the console")?;
        say(format_args!(
            "  {} before anything of ours ran; booting once more; see {}",
            ended.how,
            kept.display()
        ))?;
        ended = run()?;
    }
    Ok(ended)
}

/// The next run would write over it.
fn keep_console(logs: &Path, name: &str) -> Result<()> {
    let console = logs.join(format!("{name}.console"));
    match fs::rename(&console, console.with_extension("failed.console")) {
        // It ran in a machine that is named after another scenario.
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome.context("cannot keep the console"),
    }
}

/// Why a scenario failed is in what the daemon and the kernel said, and where
/// this runs unattended the file is gone by the time it is read.
fn say_console(console: &Path) -> Result<()> {
    let text = read_console(console)?;
    say(format_args!(
        "  the end of {}:\n{}",
        console.display(),
        tail(&text)
    ))
}

fn read_console(console: &Path) -> Result<String> {
    let text = fs::read(console).with_context(|| format!("cannot read `{}`", console.display()))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The last lines of a console: a kernel's report of one OOM kill is some
/// hundred.
fn tail(text: &str) -> String {
    const LINES: usize = 400;
    let skipped = text.lines().count().saturating_sub(LINES);
    let lines = text.lines().skip(skipped);
    lines
        .map(|line| format!("    | {}", line.trim_end()))
        .collect::<Vec<_>>()
        .join("\n")
}

/// What was said of each scenario. Whatever was not said to have passed has
/// failed.
fn outcomes(boot: &[&'static Scenario], ended: &machine::Ended) -> Vec<Outcome> {
    let mut figures: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut verdicts = BTreeMap::new();
    let mut running = None;
    for word in ended.words.iter().cloned() {
        match word {
            Word::Begin(name) => running = Some(name),
            Word::Figure { key, value } => {
                if let Some(name) = &running {
                    figures.entry(name.clone()).or_default().push((key, value));
                }
            }
            Word::Passed(name) => {
                running = None;
                verdicts.insert(name, None);
            }
            Word::Failed { name, reason } => {
                running = None;
                verdicts.insert(name, Some(reason));
            }
            Word::Done => {}
        }
    }
    boot.iter()
        .map(|&scenario| Outcome {
            scenario,
            figures: figures.remove(scenario.name).unwrap_or_default(),
            failure: verdicts.remove(scenario.name).unwrap_or_else(|| {
                let when = match &running {
                    Some(name) if name == scenario.name => "in the middle of it",
                    _ => "before it",
                };
                Some(format!(
                    "{} {when}; see {}",
                    ended.how,
                    ended.console.display()
                ))
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::machine::Ended;
    use super::{boots, kernel, outcomes, tail};
    use crate::scenarios::ALL;
    use crate::words::Word;

    fn ended(words: Vec<Word>) -> Ended {
        Ended {
            words,
            how: "the machine was ended after 1 s".to_owned(),
            console: "console.log".into(),
        }
    }

    #[test]
    fn what_was_not_said_to_have_passed_has_failed() {
        let boot = [&ALL[0], &ALL[1], &ALL[2]];
        let said = ended(vec![
            Word::Begin(ALL[0].name.to_owned()),
            Word::Passed(ALL[0].name.to_owned()),
            Word::Begin(ALL[1].name.to_owned()),
        ]);
        let outcomes = outcomes(&boot, &said);
        assert_eq!(outcomes[0].failure, None);
        let middle = outcomes[1].failure.as_deref().unwrap();
        assert!(middle.contains("in the middle of it"), "{middle}");
        let never = outcomes[2].failure.as_deref().unwrap();
        assert!(never.contains("before it"), "{never}");
    }

    #[test]
    fn of_a_long_console_the_end_is_said() {
        let console: String = (0..1000).map(|line| format!("{line}\r\n")).collect();
        let said = tail(&console);
        assert!(said.starts_with("    | 600\n"), "{said}");
        assert!(said.ends_with("\n    | 999"), "{said}");
        assert_eq!(tail("one\n"), "    | one");
        assert_eq!(tail(""), "");
    }

    #[test]
    fn a_word_about_another_scenario_counts_for_nothing() {
        let said = ended(vec![Word::Passed("another".to_owned()), Word::Done]);
        assert!(outcomes(&[&ALL[0]], &said)[0].failure.is_some());
    }

    #[test]
    fn every_scenario_is_in_one_boot_of_the_main_kernel() {
        let names: Vec<_> = boots(kernel::MAIN, &[], true)
            .concat()
            .iter()
            .map(|scenario| scenario.name)
            .collect();
        let all: Vec<_> = ALL
            .iter()
            .filter(|scenario| !scenario.faults && !scenario.machine.packaged)
            .map(|scenario| scenario.name)
            .collect();
        assert_eq!(names, all);
    }

    #[test]
    fn where_there_is_no_module_what_runs_is_not_about_it() {
        let scenarios = boots(kernel::OLDEST, &[], true).concat();
        assert!(!scenarios.is_empty());
        for scenario in scenarios {
            assert!(!scenario.is_of_the_module(), "{}", scenario.name);
            assert!(
                !scenario.name.contains("with_the_module"),
                "{}",
                scenario.name
            );
        }
    }

    #[test]
    fn who_wants_a_machine_alone_has_it_alone() {
        for boot in boots(kernel::MAIN, &[], true) {
            assert!(boot.len() == 1 || boot.iter().all(|scenario| !scenario.alone));
            assert!(
                boot.iter()
                    .all(|scenario| scenario.machine == boot[0].machine)
            );
        }
    }
}
