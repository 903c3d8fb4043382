//! The command line, parsed into what the daemon is wired with.
//!
//! Whatever is accepted here is acted on, and what cannot be meant is refused
//! with exit status 2 and a message that names the argument and what would be
//! right. Letters that people know from earlyoom mean here what they mean
//! there.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Parser};
use jiff::fmt::friendly::SpanParser;
use journal::SystemJournal;
use oom_policy::{Amount, Floor, Memory, Settings, SettingsError};

use crate::classify::Patterns;
use crate::pattern::Pattern;
use crate::tell::hook_file;
use crate::tell::page::percent_of;

/// The least memory that can be acted in: as much as the daemon takes itself,
/// and more than what a victim takes while it is being killed.
const LEAST_BYTES: u64 = 4 << 20;

/// Where the journal is kept by default.
const DEFAULT_JOURNAL: &str = "/var/lib/user-oom/journal";

/// What a decision about some thousand processes takes.
const LEAST_JOURNAL_BYTES: u64 = 1 << 20;

/// What cannot be meant as a size in KiB.
const SLIP_BYTES: u64 = 1 << 20;

/// Before memory runs out, kills the processes whose loss costs the least value
///
/// A file named after its pid gives a process a value:
/// `echo 8 > /tmp/user_processes/$$`. Unregistered processes that belong together
/// (a service, or a login and all that it started) share a value of 1. Each
/// argument is also a key of the configuration file; a number may be followed by
/// a unit: `10 %`, `2 GiB`, `500 ms`.
#[derive(Debug, Parser)]
#[command(
    name = "user-oom",
    version = terminal::VERSION,
    disable_version_flag = true,
    max_term_width = 80,
    args_override_self = true,
    after_help = "Exit status: 0 after SIGINT, SIGTERM, ^\\, ^Z or the end of its terminal, and after
-h and -v; 1 if it cannot guard, with the reason on standard error; 2 for an
invalid argument or configuration. --check-config: 0 if it could start with
it, else 1. SIGHUP without a terminal: read the configuration again."
)]
pub(crate) struct Arguments {
    /// Send SIGTERM at or below PERCENT of memory available, SIGKILL at or
    /// below KILL_PERCENT, if free swap is at or below its threshold too
    /// (--swap) [default: 10, and half of PERCENT]
    #[arg(
        short = 'm',
        long = "memory",
        value_name = "PERCENT[,KILL_PERCENT]",
        allow_hyphen_values = true
    )]
    memory_percent: Option<Percents>,

    /// The same for free swap; 100: ignore swap [default: 10, and half of
    /// PERCENT]
    #[arg(
        short = 's',
        long = "swap",
        value_name = "PERCENT[,KILL_PERCENT]",
        allow_hyphen_values = true
    )]
    swap_percent: Option<Percents>,

    /// As --memory, in KiB or with a suffix K, M or G; with --memory, the lower
    /// of the two counts
    #[arg(
        short = 'M',
        long = "memory-size",
        value_name = "SIZE[,KILL_SIZE]",
        allow_hyphen_values = true
    )]
    memory_size: Option<Sizes>,

    /// As --swap, in KiB or with a suffix K, M or G; with --swap, the lower of
    /// the two counts
    #[arg(
        short = 'S',
        long = "swap-size",
        value_name = "SIZE[,KILL_SIZE]",
        allow_hyphen_values = true
    )]
    swap_size: Option<Sizes>,

    /// Recovery threshold: stop killing once this much memory is available, in
    /// percent or as a size with a suffix K, M or G; above --memory [default:
    /// 1.5 times --memory]
    #[arg(long, value_name = "PERCENT|SIZE", allow_hyphen_values = true)]
    recover: Option<Recovery>,

    /// Time from SIGTERM to SIGKILL
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "5 s",
        allow_hyphen_values = true
    )]
    grace: Seconds,

    /// Also free room for the remaining processes to grow for this long; 0: off
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "5 s",
        allow_hyphen_values = true
    )]
    horizon: Seconds,

    /// Also act once all tasks have stalled on memory (PSI full) for this share
    /// of each second, three seconds in a row
    #[arg(
        long,
        value_name = "PERCENT|off",
        default_value = "50 %",
        allow_hyphen_values = true
    )]
    pressure: Gate,

    /// When to pause processes and push their memory out to swap instead of
    /// killing them
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = PauseWhen::Relief)]
    pause: PauseWhen,

    /// Pause once all tasks have stalled on memory (PSI full) for this share of
    /// a second
    #[arg(
        long,
        value_name = "PERCENT|off",
        default_value = "10 %",
        allow_hyphen_values = true
    )]
    pause_pressure: Gate,

    /// Time between two status lines; 0: none [default: 1 on a terminal, else 3600]
    #[arg(short = 'r', long, value_name = "SECONDS", allow_hyphen_values = true)]
    report: Option<Seconds>,

    /// Do everything but send signals
    #[arg(long)]
    pub(crate) dryrun: bool,

    /// Kill only registered processes; on a shared machine, those of all users
    ///
    /// Memory that others hold is not freed. If they took it, no process is
    /// killed at the warn threshold, and a line says which processes took it; at
    /// the kill threshold, registered processes are killed for it.
    #[arg(long)]
    registered_only: bool,

    /// Kill the whole process group of a victim
    #[arg(short = 'g', long)]
    by_group: bool,

    /// Kill unregistered processes with a matching name first. The name is the
    /// one that a process gives itself, cut after 15 bytes (`ps -eo comm` shows
    /// it); a script has the name of its interpreter
    #[arg(long, value_name = "REGEX")]
    prefer: Option<Pattern>,

    /// Kill unregistered processes with a matching name last, with those of the
    /// system. Any process can take such a name
    #[arg(long, value_name = "REGEX")]
    avoid: Option<Pattern>,

    /// Never kill a process with a matching name. Any process can take such a
    /// name, so use it only where you trust all users; --debug shows what it
    /// protects
    #[arg(long, value_name = "REGEX")]
    ignore: Option<Pattern>,

    /// Never kill root's processes
    #[arg(long)]
    ignore_root_user: bool,

    /// Run the program at PATH before each kill, without waiting for it. It must
    /// be writable by root and the daemon's user only
    #[arg(short = 'P', long, value_name = "PATH", value_parser = hook_file::parse)]
    pub(crate) before: Option<PathBuf>,

    /// The same as --before, after each kill
    #[arg(short = 'N', long, value_name = "PATH", value_parser = hook_file::parse)]
    pub(crate) after: Option<PathBuf>,

    /// Notify desktop users of each kill over D-Bus, with dbus-send;
    /// systembus-notify shows it
    #[arg(short = 'n', long)]
    pub(crate) notify: bool,

    /// Write to the system log instead of standard output and error
    #[arg(
        long,
        value_name = "SOCKET",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "/dev/log"
    )]
    pub(crate) syslog: Option<PathBuf>,

    /// Leave oom_score_adj alone. By default, that of the processes to be killed
    /// next is raised to 1000 while memory is below the recovery threshold, so
    /// that the kernel's own choice agrees; undone when memory is back, and at exit
    #[arg(long)]
    pub(crate) no_align_kernel: bool,

    /// Log each registry entry and each look at memory
    #[arg(short = 'd', long = "debug")]
    pub(crate) debug: bool,

    /// The highest value that an ordinary user's entry can give, and that those
    /// of what is killed together can; root's can give 1000000
    #[arg(
        long,
        value_name = "N",
        default_value_t = value_registry::DEFAULT_USER_VALUE_CAP,
        allow_hyphen_values = true,
        value_parser = value
    )]
    pub(crate) user_value_cap: u32,

    /// Let the entries of each ordinary user share N points, in proportion to
    /// what they say, instead of counting each in full; root's count in full
    #[arg(
        long,
        value_name = "N",
        allow_hyphen_values = true,
        value_parser = value
    )]
    pub(crate) user_value_share: Option<u32>,

    /// The registry: the directory of the files that give values
    #[arg(long, value_name = "DIR", default_value = value_registry::DEFAULT_DIRECTORY)]
    pub(crate) registry: PathBuf,

    /// Guard this cgroup instead of the machine: a path such as
    /// /user.slice/user-1000.slice. Thresholds are relative to its memory
    /// limit, and only what is in it is killed. `/` or `machine`: the machine
    /// [default: the machine; in a container with a memory limit, the
    /// container]
    #[arg(long, value_name = "PATH", action = ArgAction::Append)]
    cgroup: Vec<PathBuf>,

    /// Where to read memory
    #[arg(long, value_name = "SOURCE", value_enum, default_value_t = Source::Auto)]
    pub(crate) source: Source,

    /// Read this file instead of the kernel's meminfo
    #[arg(long, value_name = "FILE")]
    pub(crate) meminfo: Option<PathBuf>,

    /// Read this file once a second instead of the kernel's memory pressure
    #[arg(long, value_name = "FILE")]
    pub(crate) pressure_file: Option<PathBuf>,

    /// The control socket [default: /run/user-oom/control as root, else in
    /// $XDG_RUNTIME_DIR]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,

    /// Ask the container runtime that listens here, which must be root's, about
    /// containers that rules match; asked only if there are such rules
    /// [default: /run/docker.sock and /run/podman/podman.sock]
    #[arg(long, value_name = "PATH")]
    pub(crate) container_socket: Option<PathBuf>,

    /// Keep a journal of each decision and what led to it in this directory, for
    /// `--replay` [default: /var/lib/user-oom/journal as root, without --meminfo]
    #[arg(long, value_name = "DIR|off")]
    journal: Option<Journal>,

    /// How large the journal may become, in KiB or with a suffix K, M or G; at
    /// least 1M
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "16 MiB",
        value_parser = journal_size
    )]
    pub(crate) journal_size: u64,

    /// Write metrics for Prometheus to this file every 15 s, for
    /// node_exporter's textfile collector: its name must end with `.prom`
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics_file: Option<PathBuf>,

    /// Send decisions and signals to systemd's journal too, which listens at
    /// this socket [default: /run/systemd/journal/socket as root, without
    /// --meminfo]
    #[arg(long, value_name = "PATH|off")]
    journald: Option<Journal>,

    /// Read this file, and the drop-ins in config.d beside it [default:
    /// /etc/user-oom/config.toml, if it is there]
    #[arg(long, value_name = "PATH", help_heading = CONFIGURATION)]
    pub(crate) config: Option<PathBuf>,

    /// Print each key in force, and where its value comes from
    #[arg(long, help_heading = CONFIGURATION)]
    pub(crate) check_config: bool,

    /// Print a configuration file with all keys and their defaults
    #[arg(long, help_heading = CONFIGURATION)]
    pub(crate) print_config: bool,

    /// Start even if the configuration would cause processes to be killed at
    /// once
    #[arg(long, help_heading = CONFIGURATION)]
    pub(crate) force: bool,

    /// Decide again about the events in a journal (one of its files, or the
    /// directory) and print the decisions; exit status 1 if one is not what was
    /// recorded
    #[arg(long, value_name = "PATH", help_heading = JOURNAL)]
    pub(crate) replay: Option<PathBuf>,

    /// Show what this configuration would have done about the events in a
    /// journal (one of its files, or the directory), up to where that departs
    /// from the record
    #[arg(long, value_name = "PATH", help_heading = JOURNAL, conflicts_with = "replay")]
    pub(crate) simulate: Option<PathBuf>,

    /// With --simulate, give a process another value than it had: `740=9`; can
    /// be repeated
    #[arg(
        long,
        value_name = "PID=N",
        help_heading = JOURNAL,
        requires = "simulate",
        value_parser = pid_and_value
    )]
    pub(crate) with_value: Vec<(u32, u32)>,

    /// Print the version
    #[arg(short = 'v', short_alias = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,

    /// No effect: user-oom always raises its own priority
    #[arg(short = 'p', help_heading = FROM_EARLYOOM)]
    protect: bool,

    /// No effect: the choice is by value, not by size alone
    #[arg(long, help_heading = FROM_EARLYOOM)]
    sort_by_rss: bool,

    /// No effect, as in earlyoom
    #[arg(short = 'k', help_heading = FROM_EARLYOOM)]
    kernel_killer: bool,

    /// No effect, as in earlyoom
    #[arg(short = 'i', help_heading = FROM_EARLYOOM)]
    ignore_adjustments: bool,

    /// Refused: the kernel has no values to choose by; see psi-monitor --action
    #[arg(long, help_heading = FROM_EARLYOOM)]
    kernel_oom: bool,
}

/// What follows from an argument that is not given, if that is the same on every
/// machine; and the argument that replaces it.
pub(crate) const IMPLIED_DEFAULTS: [(&str, &str, &str); 2] = [
    ("memory", "10 %, 5 %", "memory-size"),
    ("swap", "10 %, 5 %", "swap-size"),
];

/// What is about the configuration file, and so cannot be in it.
const CONFIGURATION: &str = "Configuration";

/// What reads a journal, and guards nothing.
const JOURNAL: &str = "Journal";

/// What else is taken, so that a command line of earlyoom's works unchanged.
const FROM_EARLYOOM: &str = "Accepted from earlyoom";

impl Arguments {
    /// The policy's settings, whatever memory there is: see [`usable_on`].
    ///
    /// # Errors
    ///
    /// A sentence that names the argument and what would be right.
    pub(crate) fn settings(&self) -> Result<Settings, Unusable> {
        if self.kernel_oom {
            return Err(Unusable::new(
                "`--kernel-oom` would leave the choice to the kernel, which has no values: leave it \
                 out, or use `psi-monitor --action sysrq`",
                &[],
            ));
        }
        let (warn_memory, kill_memory) = amounts(self.memory_percent, self.memory_size);
        let (warn_swap, kill_swap) = amounts(self.swap_percent, self.swap_size);
        // What is nothing or all of any memory.
        match (self.memory_percent, self.memory_size) {
            (_, Some(Sizes { warn_bytes, .. })) if warn_bytes < LEAST_BYTES => {
                let shown = format!("{} KiB", warn_bytes >> 10);
                return Err(out_of_range("-M", &shown, ""));
            }
            (Some(Percents { warn, .. }), None) if warn.0 == 0 || warn.0 == Percent::ALL => {
                return Err(out_of_range("-m", &format!("{warn} %"), ""));
            }
            _ => {}
        }
        let settings = Settings {
            warn: Floor {
                memory: warn_memory,
                swap: warn_swap,
            },
            kill: Floor {
                memory: kill_memory,
                swap: kill_swap,
            },
            recovery: self.recover.map(|Recovery(amount)| amount),
            grace: self.grace.0,
            horizon: self.horizon.0,
            pause: self.pause == PauseWhen::Relief,
            registered_only: self.registered_only,
            by_group: self.by_group,
            user_value_cap: self.user_value_cap,
            ..Settings::default()
        };
        match settings.checked() {
            Ok(()) => Ok(settings),
            Err(err) => Err(out_of_order(
                &err,
                &match warn_memory {
                    Amount::Bytes(bytes) => format!("{}M", bytes >> 20),
                    Amount::PartsPerMillion(parts)
                    | Amount::LowerOf {
                        parts_per_million: parts,
                        ..
                    } => Percent(parts).to_string(),
                },
            )),
        }
    }

    /// The same for a scope that sets the keys of which `sets` says so, to what
    /// `scope` has: of what counts in percent and in bytes it goes by its own alone.
    pub(crate) fn of_scope(self, scope: &Self, sets: impl Fn(&str) -> bool) -> Self {
        fn pick<T>(is_own: bool, own: T, other: T) -> T {
            if is_own { own } else { other }
        }
        let memory = sets("memory") || sets("memory-size");
        let swap = sets("swap") || sets("swap-size");
        let recover = sets("recover") || memory;
        let pause_pressure = sets("pause-pressure");
        Self {
            memory_percent: pick(memory, scope.memory_percent, self.memory_percent),
            memory_size: pick(memory, scope.memory_size, self.memory_size),
            swap_percent: pick(swap, scope.swap_percent, self.swap_percent),
            swap_size: pick(swap, scope.swap_size, self.swap_size),
            recover: pick(recover, scope.recover, self.recover),
            grace: pick(sets("grace"), scope.grace, self.grace),
            horizon: pick(sets("horizon"), scope.horizon, self.horizon),
            pressure: pick(sets("pressure"), scope.pressure, self.pressure),
            pause_pressure: pick(pause_pressure, scope.pause_pressure, self.pause_pressure),
            ..self
        }
    }

    /// What is to be guarded.
    ///
    /// # Errors
    ///
    /// More than one scope is given.
    pub(crate) fn scope(&self) -> Result<ScopeWish<'_>, Unusable> {
        match &*self.cgroup {
            // A file says nothing about the container we are in.
            [] if self.meminfo.is_some() => Ok(ScopeWish::Machine),
            [] => Ok(ScopeWish::Own),
            [one] if *one == Path::new("/") || *one == Path::new("machine") => {
                Ok(ScopeWish::Machine)
            }
            [one] => Ok(ScopeWish::Cgroup(one)),
            [..] => Err(Unusable::new(
                "`--cgroup` is given more than once: give the others as `[[scope]]` in the configuration \
                 file",
                &[],
            )),
        }
    }

    /// Where memory is read: a file given as `--meminfo` is not the module's,
    /// and a dry run must not have the kernel wait for it.
    /// `is_scope`: not all of the machine is guarded, but a cgroup or a container.
    pub(crate) fn source(&self, is_scope: bool) -> Result<Source, Unusable> {
        match (
            self.source,
            self.meminfo.is_some() || self.dryrun || is_scope,
        ) {
            (Source::Module, true) if is_scope => Err(Unusable::new(
                "`--source module` cannot be used with `--cgroup` or in a container: the kernel asks \
                 before it kills for the machine, not before it kills for a cgroup",
                &["source"],
            )),
            (Source::Module, true) => Err(Unusable::new(
                "`--source module` cannot be used with `--meminfo` or `--dryrun`",
                &["source", "meminfo", "dryrun"],
            )),
            (_, true) => Ok(Source::Proc),
            (source, false) => Ok(source),
        }
    }

    /// What is said of processes by their names.
    pub(crate) fn patterns(&self) -> Patterns {
        Patterns {
            prefer: self.prefer.clone(),
            avoid: self.avoid.clone(),
            ignore: self.ignore.clone(),
            ignore_root_user: self.ignore_root_user,
        }
    }

    /// Where the journal is kept, if it is, and whether that was asked for. What is
    /// decided about another machine's numbers is not worth keeping.
    pub(crate) fn journal(&self, as_root: bool) -> Option<(&Path, bool)> {
        match &self.journal {
            Some(Journal::Off) => None,
            Some(Journal::In(path)) => Some((path, true)),
            None => {
                (as_root && self.meminfo.is_none()).then_some((Path::new(DEFAULT_JOURNAL), false))
            }
        }
    }

    /// Where systemd's journal listens, if it is told.
    pub(crate) fn journald(&self, as_root: bool) -> Option<&Path> {
        match &self.journald {
            Some(Journal::Off) => None,
            Some(Journal::In(path)) => Some(path),
            None => (as_root && self.meminfo.is_none()).then_some(Path::new(SystemJournal::SOCKET)),
        }
    }

    /// How much of a window full pressure must fill, or `None` when the gate
    /// is off.
    pub(crate) fn gate(&self) -> Option<psi::Percent> {
        self.pressure.percent()
    }

    /// The same of the gate to pausing.
    pub(crate) fn pause_gate(&self) -> Option<psi::Percent> {
        self.pause_pressure.percent()
    }

    /// What is to be said of arguments that change nothing.
    pub(crate) fn remarks(&self) -> impl Iterator<Item = &'static str> {
        [
            (
                self.protect,
                "`-p` has no effect: user-oom always raises its own priority",
            ),
            (
                self.sort_by_rss,
                "`--sort-by-rss` has no effect: the choice is by value, not by size alone",
            ),
            (
                self.kernel_killer,
                "`-k` has no effect, as in earlyoom since 1.2",
            ),
            (
                self.ignore_adjustments,
                "`-i` has no effect, as in earlyoom since 1.7",
            ),
        ]
        .into_iter()
        .filter_map(|(given, remark)| given.then_some(remark))
    }

    /// What is to be said of the metrics file's name.
    pub(crate) fn metrics_remark(&self) -> Option<String> {
        let path = self.metrics_file.as_deref()?;
        (path.extension() != Some("prom".as_ref())).then(|| {
            format!(
                "node_exporter does not read `metrics-file` `{}`: its name must end with `.prom`, \
                 such as `{}`",
                path.display(),
                path.with_extension("prom").display()
            )
        })
    }

    /// Between two status lines; `None`: none are printed.
    pub(crate) fn report_interval(&self, terminal: bool) -> Option<Duration> {
        match self.report {
            Some(Seconds(interval)) => (!interval.is_zero()).then_some(interval),
            None => Some(Duration::from_secs(if terminal { 1 } else { 3600 })),
        }
    }
}

/// When processes are paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PauseWhen {
    /// At relief, where swap has room; they are thawed when memory has room
    Relief,
    /// Never: relief kills
    Off,
}

/// What is to be guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScopeWish<'a> {
    Machine,
    /// The container that we are in, where it has a limit; else the machine.
    Own,
    Cgroup(&'a Path),
}

/// Where memory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Source {
    /// From the kernel module if it is loaded, else from meminfo
    Auto,
    /// From meminfo; the module is not used
    Proc,
    /// From the module; the daemon does not start without it
    Module,
}

/// What was given, or by default the share that `Percents` has; where both are given,
/// the lower of the two.
fn amounts(percents: Option<Percents>, sizes: Option<Sizes>) -> (Amount, Amount) {
    let amount = |Percent(parts_per_million), bytes| match bytes {
        None => Amount::PartsPerMillion(parts_per_million),
        Some(bytes) if percents.is_none() => Amount::Bytes(bytes),
        Some(bytes) => Amount::LowerOf {
            parts_per_million,
            bytes,
        },
    };
    let Percents { warn, kill } = percents.unwrap_or_default();
    (
        amount(warn, sizes.map(|sizes| sizes.warn_bytes)),
        amount(kill, sizes.map(|sizes| sizes.kill_bytes)),
    )
}

/// Refuses `settings` where they cannot be meant with so much memory and swap.
///
/// # Errors
///
/// A sentence that names the argument and what would be right.
pub(crate) fn usable_on(settings: &Settings, memory: &Memory) -> Result<(), Unusable> {
    let base_bytes = memory.usable_bytes();
    let warn_bytes = settings.warn.memory.of(base_bytes);
    if warn_bytes < LEAST_BYTES || !settings.fits(memory) {
        let argument = match settings.warn.memory {
            Amount::Bytes(_) => "-M",
            Amount::LowerOf { bytes, .. } if bytes == warn_bytes => "-M",
            Amount::LowerOf { .. } | Amount::PartsPerMillion(_) => "-m",
        };
        return Err(out_of_range(
            argument,
            &format!("{} KiB here", warn_bytes >> 10),
            &format!(", {} MiB", base_bytes >> 20),
        ));
    }
    settings.checked_on(memory).map_err(|err| {
        let percent = percent_of(warn_bytes, base_bytes);
        out_of_order(&err, &format!("{percent:.2} ({}M)", warn_bytes >> 20))
    })
}

/// `argument` has a warn threshold for memory, `shown`, that leaves no room. `all`: how
/// much memory there is, where that is known.
fn out_of_range(argument: &str, shown: &str, all: &str) -> Unusable {
    Unusable::new(
        format!(
            "`{argument}` is {shown}: give at least {} MiB, which user-oom needs to act, and less \
             than all memory{all} (the default is `-m 10,5`)",
            LEAST_BYTES >> 20
        ),
        &["memory", "memory-size"],
    )
}

/// Thresholds are not in their order. `warn`: that of memory.
fn out_of_order(err: &SettingsError, warn: &str) -> Unusable {
    match err {
        SettingsError::KillAboveWarn => Unusable::new(
            "a kill threshold (the second number of `-m`, `-M`, `-s` or `-S`) is above its \
             warn threshold: give at most the first number",
            &["memory", "memory-size", "swap", "swap-size"],
        ),
        SettingsError::RecoveryNotAboveWarn | SettingsError::RecoveryAboveAll => Unusable::new(
            format!(
                "`--recover` is not between the warn threshold and all memory: give more than {warn} and \
                 at most 100"
            ),
            &["recover", "memory", "memory-size"],
        ),
    }
}

/// Arguments that are well-formed each, but cannot be meant together.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub struct Unusable {
    said: String,
    /// The arguments that it is about.
    pub(crate) names: &'static [&'static str],
}

impl Unusable {
    pub(crate) fn new(said: impl Into<String>, names: &'static [&'static str]) -> Self {
        Self {
            said: said.into(),
            names,
        }
    }

    /// Whether it is about the argument with this long name.
    pub(crate) fn names(&self, argument: &str) -> bool {
        self.names.contains(&argument)
    }

    /// The same, with the arguments called as a file's keys are.
    pub(crate) fn in_keys(mut self) -> Self {
        let parts = self.said.split('`').map(|part| match part {
            "-m" => "memory",
            "-M" => "memory-size",
            "-s" => "swap",
            "-S" => "swap-size",
            "-m 10,5" => "memory = \"10,5\"",
            "--recover" => "recover",
            part => part,
        });
        self.said = parts.collect::<Vec<_>>().join("`");
        self
    }

    /// The same, and where what it is about is set.
    pub(crate) fn at(mut self, places: &[String]) -> Self {
        if !places.is_empty() {
            self.said = format!("{} ({})", self.said, places.join(", "));
        }
        self
    }
}

/// A share of 100, kept in parts per million: 12.3456 is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Percent(u32);

impl Percent {
    /// 100 %.
    const ALL: u32 = 1_000_000;
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 10_000.0)
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = decimal(without_percent_sign(text), 4);
        parts
            .filter(|&parts| parts <= u64::from(Self::ALL))
            .and_then(|parts| u32::try_from(parts).ok())
            .map(Self)
            .ok_or_else(|| {
                format!("`{text}` is not a percentage (expected 0 to 100, such as 10 or `10 %`)")
            })
    }
}

/// `PERCENT[,KILL_PERCENT]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Percents {
    warn: Percent,
    kill: Percent,
}

impl Default for Percents {
    fn default() -> Self {
        Self {
            warn: Percent(100_000),
            kill: Percent(50_000),
        }
    }
}

impl FromStr for Percents {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (warn, kill) = pair(text, Percent::from_str)?;
        // Where swap is ignored (`-s 100`), it is ignored at both levels.
        let half = if warn.0 == Percent::ALL {
            warn
        } else {
            Percent(warn.0 / 2)
        };
        let kill = kill.unwrap_or(half);
        if warn < kill {
            return Err(format!(
                "the kill threshold {kill} is above the warn threshold {warn}: give at most {warn}"
            ));
        }
        Ok(Self { warn, kill })
    }
}

/// `SIZE[,KILL_SIZE]` in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    warn_bytes: u64,
    kill_bytes: u64,
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (warn_bytes, kill) = pair(text, size_bytes)?;
        let kill_bytes = kill.unwrap_or(warn_bytes / 2);
        if warn_bytes < kill_bytes {
            return Err(
                "the kill size is above the warn size: give at most the warn size".to_owned(),
            );
        }
        Ok(Self {
            warn_bytes,
            kill_bytes,
        })
    }
}

/// `PERCENT`, or `SIZE` with a suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Recovery(Amount);

impl FromStr for Recovery {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.ends_with(|last: char| last.is_ascii_alphabetic()) {
            size_bytes(text).map(|bytes| Self(Amount::Bytes(bytes)))
        } else {
            Percent::from_str(text).map(|percent| Self(Amount::PartsPerMillion(percent.0)))
        }
    }
}

/// A value as an entry gives it.
pub(crate) fn value(text: &str) -> Result<u32, String> {
    let most = value_registry::MAX_VALUE;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let value = text.parse().ok().filter(|value| is_plain && *value <= most);
    value.ok_or_else(|| format!("`{text}` is not a value (expected a whole number, 0 to {most})"))
}

/// A span in whole or broken seconds, up to a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seconds(Duration);

/// `text` as a time.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(|Seconds(duration)| duration)
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

        // Units are what jiff knows: `500 ms`, `5 s`, `1 min 30 s`.
        let with_unit = || SpanParser::new().parse_unsigned_duration(text).ok();
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match decimal(text, 3)
            .map(Duration::from_millis)
            .or_else(with_unit)
        {
            Some(duration) if duration <= YEAR => Ok(Self(duration)),
            None if !is_number => Err(format!(
                "`{text}` is not a time (expected seconds such as 5 or 0.5, or a unit such as \
                 `500 ms`, `5 s` or `1 min`)"
            )),
            // A number that is too large to be counted is too long as well.
            _ => Err(format!(
                "`{text}` is too long a time (expected at most a year, 31536000 s or `8760 h`)"
            )),
        }
    }
}

/// `DIR|off`, `PATH|off`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Journal {
    Off,
    In(PathBuf),
}

impl FromStr for Journal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "" => Err("expected a path, or `off`".to_owned()),
            path => Ok(Self::In(path.into())),
        }
    }
}

fn pid_and_value(text: &str) -> Result<(u32, u32), String> {
    let most = value_registry::MAX_VALUE;
    let both = text.split_once('=').and_then(|(pid, value)| {
        let value = value.parse().ok().filter(|value| *value <= most)?;
        Some((pid.parse().ok().filter(|pid| *pid > 0)?, value))
    });
    both.ok_or_else(|| format!("`{text}` is not a pid and a value from 0 to {most}: write `740=9`"))
}

/// As [`size_bytes`], where a decision has room.
fn journal_size(text: &str) -> Result<u64, String> {
    let bytes = size_bytes(text)?;
    if bytes < LEAST_JOURNAL_BYTES {
        return Err(format!(
            "`{text}` is too little for the journal of a decision: give at least 1M, or \
             `--journal off`"
        ));
    }
    Ok(bytes)
}

/// `PERCENT|off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Off,
    At(psi::Percent),
}

impl Gate {
    fn percent(self) -> Option<psi::Percent> {
        match self {
            Self::Off => None,
            Self::At(percent) => Some(percent),
        }
    }
}

impl FromStr for Gate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        match psi::Percent::from_str(without_percent_sign(text)) {
            Ok(percent) if percent > psi::Percent::default() => Ok(Self::At(percent)),
            Ok(_) | Err(_) => Err(format!(
                "`{text}` is not a percentage above 0 and up to 100, or `off`"
            )),
        }
    }
}

/// One value, or two with a comma between.
fn pair<T>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<(T, Option<T>), String> {
    match text.split_once(',') {
        None => Ok((parse(text)?, None)),
        Some((_, kill)) if kill.contains(',') => Err(format!(
            "`{text}` has more than two numbers: give one, or two separated by a comma"
        )),
        Some((warn, kill)) => Ok((parse(warn.trim_end())?, Some(parse(kill.trim_start())?))),
    }
}

/// `10 %` as `10`.
fn without_percent_sign(text: &str) -> &str {
    text.strip_suffix('%').map_or(text, str::trim_end)
}

/// KiB, or with a suffix such as K, M, GiB. Less than a mebibyte in KiB is taken
/// for a suffix left out, but for nothing at all.
///
/// No crate reads these: to those that there are, K is 1000 bytes, and a number
/// without a suffix is bytes.
fn size_bytes(text: &str) -> Result<u64, String> {
    let end = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let suffix = &text[end.len()..];
    let (number, unit) = match suffix.to_ascii_lowercase().as_str() {
        // With a space and no unit it would be a slip.
        "" => (text, Some(1 << 10)),
        "k" | "kib" => (end.trim_end(), Some(1 << 10)),
        "m" | "mib" => (end.trim_end(), Some(1 << 20)),
        "g" | "gib" => (end.trim_end(), Some(1 << 30)),
        "t" | "tib" => (end.trim_end(), Some(1 << 40)),
        _ => (end, None),
    };
    let bytes = unit
        .and_then(|unit| decimal(number, 3)?.checked_mul(unit))
        .map(|thousandths| thousandths / 1000)
        .ok_or_else(|| {
            format!(
                "`{text}` is not a size (expected a number of KiB, or one with K, M, G or T, such \
                 as `512M` or `2 GiB`)"
            )
        })?;
    if bytes < SLIP_BYTES && suffix.is_empty() && bytes > 0 {
        return Err(format!(
            "`{text}` is {text} KiB, too little to act: did you mean `{text}M`?"
        ));
    }
    Ok(bytes)
}

/// The digits of `text` times 10^`places`, with at most that many behind the
/// point. No sign, no exponent, no white space.
fn decimal(text: &str, places: usize) -> Option<u64> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (text, ""),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || places < fraction.len() || !digits(whole) || !digits(fraction) {
        return None;
    }
    format!("{whole}{fraction:0<places$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use oom_policy::Levels;

    use super::*;

    /// 16 GiB without swap.
    fn machine() -> Memory {
        Memory {
            total_bytes: 16 << 30,
            ..Memory::default()
        }
    }

    #[track_caller]
    fn settings(line: &str) -> Result<Settings, String> {
        let words = std::iter::once("user-oom").chain(line.split_whitespace());
        Arguments::try_parse_from(words)
            .map_err(|err| err.to_string())?
            .settings()
            .and_then(|settings| usable_on(&settings, &machine()).map(|()| settings))
            .map_err(|err| err.to_string())
    }

    fn recovery(settings: &Settings) -> u64 {
        Levels::of(settings, &machine()).recovery_memory
    }

    #[track_caller]
    fn refused(line: &str, names: &str) {
        let said = settings(line).expect_err("must be refused");
        assert!(said.contains(names), "`{line}` says: {said}");
    }

    #[test]
    fn the_defaults_are_the_policys() {
        assert_eq!(settings("").as_ref(), Ok(&Settings::default()));
    }

    #[test]
    fn percentages_take_decimals_and_half_is_the_kill_level() {
        let set = settings("-m 12.5 -s 100").expect("fine");
        assert_eq!(set.warn.memory, Amount::PartsPerMillion(125_000));
        assert_eq!(set.kill.memory, Amount::PartsPerMillion(62_500));
        assert_eq!(set.kill.swap, Amount::PartsPerMillion(1_000_000));
    }

    #[test]
    fn sizes_are_kib_unless_a_suffix_says_otherwise() {
        let set = settings("-M 1.5G,512M -S 2048").expect("fine");
        assert_eq!(set.warn.memory, Amount::Bytes(3 << 29));
        assert_eq!(set.kill.memory, Amount::Bytes(512 << 20));
        assert_eq!(set.warn.swap, Amount::Bytes(2 << 20));
        assert_eq!(set.kill.swap, Amount::Bytes(1 << 20));
        assert_eq!(recovery(&set), (3 << 29) + (3 << 28));
    }

    #[test]
    fn recovery_stays_between_the_warn_level_and_all_there_is() {
        let set = settings("-m 75").expect("fine");
        assert_eq!(recovery(&set), 14 << 30);
        let set = settings("-m 10 --recover 2G").expect("fine");
        assert_eq!(recovery(&set), 2 << 30);
        let set = settings("-M 14G").expect("fine");
        assert_eq!(recovery(&set), 15 << 30);
    }

    #[test]
    fn nonsense_is_refused_with_the_argument_named() {
        for line in [
            "-m -1",
            "-m=-1",
            "-m 101",
            "-m 5,10",
            "-m 10,5,2",
            "-m 10x",
            "-m 1e1",
        ] {
            refused(line, "-m");
        }
        for line in [
            "-m 100", "-m 0", "-m ٣", "-m +5", "-m 5.", "-m .5", "-m ,", "-m 10,",
        ] {
            refused(line, "-m");
        }
        refused("-m 99999999999999999999999", "-m");
        refused("-M 99999999999999G", "--memory-size");
        refused("-M 0", "-M");
        refused("-M 1T", "-M");
        refused("-M 10,20", "--memory-size");
        refused("-s 101", "-s");
        refused("-m 10 --recover 10", "--recover");
        refused("--recover 9", "--recover");
        refused("-M 2G --recover 12", "--recover");
        refused("-m 10 --recover 1G", "--recover");
        refused("--recover 2T", "--recover");
        refused("-M 16G", "-M");
        refused("--grace -1", "--grace");
        refused("--horizon x", "--horizon");
        refused("--pressure 0", "--pressure");
        refused("--pressure on", "--pressure");
        refused("--pause", "--pause");
        refused("--pause on", "--pause");
        refused("--pause-pressure 0", "--pause-pressure");
        refused("--user-value-cap 1000001", "--user-value-cap");
        refused("--user-value-cap -1", "--user-value-cap");
        refused("-N hook.sh", "--after");
        refused("-P hook.sh", "--before");
        refused("--prefer (", "--prefer");
        refused("stray", "stray");
        refused("--source kernel", "--source");
    }

    #[test]
    fn of_a_percentage_and_a_size_the_lower_counts() {
        let [warn, kill] = [1 << 30, 1 << 29].map(|bytes| Amount::LowerOf {
            parts_per_million: if bytes == 1 << 30 { 100_000 } else { 50_000 },
            bytes,
        });
        let set = settings("-m 10 -M 1048576").expect("fine");
        assert_eq!((set.warn.memory, set.kill.memory), (warn, kill));
        let machine = Memory {
            swap_total_bytes: 1 << 30,
            ..machine()
        };
        let set = settings("-s 100 -S 64M").expect("fine");
        assert_eq!(Levels::of(&set, &machine).warn_swap, 64 << 20);
    }

    /// What is a mistake on any machine is one in a file, too.
    #[test]
    fn what_no_memory_can_make_right_is_refused_before_any_is_known() {
        let refused = |line: &str, names: &str| {
            let words = std::iter::once("user-oom").chain(line.split_whitespace());
            let arguments = Arguments::try_parse_from(words).expect("each is well-formed");
            let said = arguments.settings().expect_err("must be refused");
            assert!(said.to_string().contains(names), "`{line}` says: {said}");
        };
        refused("-m 100", "`-m` is 100 %: ");
        refused("-m 0", "`-m` is 0 %: ");
        refused("-M 2048K,0", "`-M` is 2048 KiB: ");
        refused("-m 10 --recover 10", "`--recover` is not between");
        refused("-M 2G --recover 1G", "`--recover` is not between");
        assert!(settings("-m 100 -M 1G").is_ok());
    }

    #[test]
    fn a_size_without_its_suffix_is_refused_with_the_one_that_was_meant() {
        refused("-M 500", "did you mean `500M`?");
        refused("-M 500M,250", "did you mean `250M`?");
        refused("-S 500", "did you mean `500M`?");
        refused("-M 1024K", "at least 4 MiB");
        refused("-m 0.02", "at least 4 MiB");
        let set = settings("-M 4M,0 -S 0").expect("fine");
        assert_eq!(set.warn.memory, Amount::Bytes(4 << 20));
        assert_eq!(set.kill.memory, Amount::Bytes(0));
        assert_eq!(set.warn.swap, Amount::Bytes(0));
    }

    #[test]
    fn help_fits_a_terminal_and_says_what_each_argument_does() {
        let mut command = <Arguments as clap::CommandFactory>::command();
        for help in [command.render_help(), command.render_long_help()] {
            let help = help.to_string();
            let widest = help.lines().max_by_key(|line| line.chars().count());
            let widest = widest.expect("it is not empty");
            assert!(widest.chars().count() <= 80, "{widest}");
            assert!(help.contains("Exit status: 0"), "{help}");
        }
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{argument}");
        }
    }

    #[test]
    fn one_scope_is_guarded_the_machine_where_that_is_said() {
        let scope = |line: &str| {
            let words = std::iter::once("user-oom").chain(line.split_whitespace());
            let arguments = Arguments::try_parse_from(words).expect("fine");
            match arguments.scope() {
                Ok(wish) => format!("{wish:?}"),
                Err(unusable) => unusable.to_string(),
            }
        };
        assert_eq!(scope(""), "Own");
        // Another machine's numbers say nothing about our container.
        assert_eq!(scope("--meminfo x"), "Machine");
        assert_eq!(scope("--cgroup /"), "Machine");
        assert_eq!(scope("--cgroup machine"), "Machine");
        assert_eq!(scope("--meminfo x --cgroup /a"), "Cgroup(\"/a\")");
        assert!(scope("--cgroup /a --cgroup /b").contains("`[[scope]]`"));
    }

    #[test]
    fn a_gate_may_be_off() {
        let arguments = |line: &[&str]| Arguments::try_parse_from(line).expect("fine");
        assert_eq!(
            arguments(&["user-oom"]).gate(),
            psi::Percent::from_hundredths(5000)
        );
        assert_eq!(arguments(&["user-oom", "--pressure", "off"]).gate(), None);
    }

    #[test]
    fn relief_pauses_unless_that_is_off() {
        let pauses = |line| settings(line).expect("fine").pause;
        assert!(pauses("") && pauses("--pause relief"));
        assert!(!pauses("--pause off"));
    }

    #[test]
    fn status_lines_are_rare_away_from_a_terminal_and_can_be_turned_off() {
        let interval = |line: &[&str], terminal| {
            Arguments::try_parse_from(line)
                .expect("fine")
                .report_interval(terminal)
                .map(|interval| interval.as_millis())
        };
        assert_eq!(interval(&["user-oom"], true), Some(1000));
        assert_eq!(interval(&["user-oom"], false), Some(3_600_000));
        assert_eq!(interval(&["user-oom", "-r", "0"], true), None);
        assert_eq!(interval(&["user-oom", "-r", "2.5"], false), Some(2500));
    }
}
