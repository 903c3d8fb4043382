//! The command line, parsed into what the daemon is wired with.
//!
//! Whatever is accepted here is acted on, and what cannot be meant is refused
//! with exit status 2 and a message that names the argument and what would be
//! right. Letters that people know from earlyoom mean here what they mean
//! there.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use oom_policy::{Amount, Floor, Memory, Settings, SettingsError};
use regex_lite::Regex;

use crate::page::percent_of;

/// Before the machine stalls, ends the processes whose end costs the least
/// value, and keeps the rest.
///
/// Processes are given a value by a file named after their pid:
/// `echo 8 > /tmp/user_processes/$$`.
#[derive(Debug, Parser)]
#[command(
    name = "user-oom",
    version,
    max_term_width = 100,
    args_override_self = true
)]
pub(crate) struct Arguments {
    /// Available memory, in percent: act at or below PERCENT (and swap, -s),
    /// kill at once at or below KILL_PERCENT [default: 10, and half of PERCENT]
    #[arg(
        short = 'm',
        value_name = "PERCENT[,KILL_PERCENT]",
        conflicts_with = "memory_size",
        allow_hyphen_values = true
    )]
    memory_percent: Option<Percents>,

    /// Free swap, in percent; 100: swap is ignored [default: 10, and half of
    /// PERCENT]
    #[arg(
        short = 's',
        value_name = "PERCENT[,KILL_PERCENT]",
        conflicts_with = "swap_size",
        allow_hyphen_values = true
    )]
    swap_percent: Option<Percents>,

    /// As -m, in KiB; K, M or G may follow
    #[arg(
        short = 'M',
        value_name = "SIZE[,KILL_SIZE]",
        allow_hyphen_values = true
    )]
    memory_size: Option<Sizes>,

    /// As -s, in KiB; K, M or G may follow
    #[arg(
        short = 'S',
        value_name = "SIZE[,KILL_SIZE]",
        allow_hyphen_values = true
    )]
    swap_size: Option<Sizes>,

    /// Relief ends where this much memory is available, in percent or, with K,
    /// M or G, as a size; above the warn level [default: 1.5 × the warn level]
    #[arg(long, value_name = "PERCENT|SIZE", allow_hyphen_values = true)]
    recover: Option<Recovery>,

    /// From SIGTERM to SIGKILL, in seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "5",
        allow_hyphen_values = true
    )]
    grace: Seconds,

    /// What stays is left room to grow on for this many seconds; 0: none
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "5",
        allow_hyphen_values = true
    )]
    horizon: Seconds,

    /// Relieve a machine that stalls on memory (PSI full) for this share of
    /// three 1 s windows in a row, or off
    #[arg(
        long,
        value_name = "PERCENT|off",
        default_value = "50",
        allow_hyphen_values = true
    )]
    pressure: Gate,

    /// Status line every so many seconds; 0: none [default: 1 on a terminal,
    /// else 3600]
    #[arg(short = 'r', value_name = "SECONDS", allow_hyphen_values = true)]
    report: Option<Seconds>,

    /// Do everything but send signals
    #[arg(long)]
    pub(crate) dryrun: bool,

    /// Judge registered processes only
    #[arg(long)]
    registered_only: bool,

    /// A process is ended with its whole process group
    #[arg(short = 'g')]
    by_group: bool,

    /// Unregistered processes whose name matches go first
    #[arg(long, value_name = "REGEX", value_parser = regex)]
    pub(crate) prefer: Option<Regex>,

    /// Unregistered processes whose name matches go last, with the system's
    #[arg(long, value_name = "REGEX", value_parser = regex)]
    pub(crate) avoid: Option<Regex>,

    /// Processes whose name matches are never ended
    #[arg(long, value_name = "REGEX", value_parser = regex)]
    pub(crate) ignore: Option<Regex>,

    /// Run PATH for each process about to be ended; nobody waits for it
    #[arg(short = 'P', value_name = "PATH", value_parser = hook)]
    pub(crate) before: Option<PathBuf>,

    /// Run PATH for each process that was ended
    #[arg(short = 'N', value_name = "PATH", value_parser = hook)]
    pub(crate) after: Option<PathBuf>,

    /// Raise oom_score_adj of registered processes, the more the less they are
    /// worth, so that the kernel's own choice agrees; put back at the end
    #[arg(long)]
    pub(crate) align_kernel: bool,

    /// Taken for those who come from earlyoom: its protection of itself is the
    /// default here
    #[arg(short = 'p')]
    pub(crate) protect: bool,

    /// Say more: every look, every entry of the registry
    #[arg(short = 'd')]
    pub(crate) debug: bool,

    /// The directory where processes are given values
    #[arg(long, value_name = "DIR", default_value = value_registry::DEFAULT_DIRECTORY)]
    pub(crate) registry: PathBuf,

    /// Where memory is read: from meminfo, from the kernel module, or from the
    /// module where it is loaded
    #[arg(long, value_name = "SOURCE", value_enum, default_value_t = Source::Auto)]
    pub(crate) source: Source,

    /// Read this instead of the kernel's meminfo
    #[arg(long, value_name = "FILE")]
    pub(crate) meminfo: Option<PathBuf>,

    /// Read this instead of the kernel's memory pressure; it can set off no
    /// trigger, so its full avg10 is looked at once a second
    #[arg(long, value_name = "FILE")]
    pub(crate) pressure_file: Option<PathBuf>,

    /// The control socket [default: /run/user-oom/control as root, else in
    /// $XDG_RUNTIME_DIR]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

impl Arguments {
    /// The policy's settings on a machine with so much memory and swap.
    ///
    /// # Errors
    ///
    /// A sentence that names the argument and what would be right.
    pub(crate) fn settings(&self, machine: &Memory) -> Result<Settings, Unusable> {
        let (warn_memory, kill_memory) = amounts(self.memory_percent, self.memory_size);
        let (warn_swap, kill_swap) = amounts(self.swap_percent, self.swap_size);
        let base_bytes = machine.total_bytes.saturating_sub(machine.hugetlb_bytes);
        let warn_bytes = warn_memory.of(base_bytes);
        if warn_bytes == 0 || base_bytes <= warn_bytes {
            return Err(Unusable(format!(
                "`{}` must be above 0 and below all memory ({} MiB here): the default is `-m 10,5`",
                if self.memory_size.is_some() {
                    "-M"
                } else {
                    "-m"
                },
                base_bytes >> 20,
            )));
        }
        let recovery = match self.recover {
            Some(Recovery(amount)) => amount,
            None => match warn_memory.default_recovery() {
                Amount::Bytes(bytes) => Amount::Bytes(bytes.min(warn_bytes.midpoint(base_bytes))),
                parts @ Amount::PartsPerMillion(_) => parts,
            },
        };
        let settings = Settings {
            warn: Floor {
                memory: warn_memory,
                swap: warn_swap,
            },
            kill: Floor {
                memory: kill_memory,
                swap: kill_swap,
            },
            recovery,
            grace: self.grace.0,
            horizon: self.horizon.0,
            registered_only: self.registered_only,
            by_group: self.by_group,
            ..Settings::default()
        };
        settings.checked_on(machine).map_err(|err| match err {
            SettingsError::KillAboveWarn => Unusable(
                "a kill level (the second number of `-m`, `-M`, `-s` or `-S`) is above its warn \
                 level: give at most as much"
                    .to_owned(),
            ),
            SettingsError::RecoveryNotAboveWarn | SettingsError::RecoveryAboveAll => {
                Unusable(format!(
                    "`--recover` is not between the warn level and all memory: give more than \
                     {:.2} ({}M) and at most 100",
                    percent_of(warn_bytes, base_bytes),
                    warn_bytes >> 20,
                ))
            }
        })
    }

    /// Where memory is read: a file given as `--meminfo` is not the module's,
    /// and a dry run must not have the kernel wait for it.
    pub(crate) fn source(&self) -> Result<Source, Unusable> {
        match (self.source, self.meminfo.is_some() || self.dryrun) {
            (Source::Module, true) => Err(Unusable(
                "`--source module` goes neither with `--meminfo` nor with `--dryrun`".to_owned(),
            )),
            (_, true) => Ok(Source::Proc),
            (source, false) => Ok(source),
        }
    }

    /// How much of a window full pressure must fill, or `None` when the gate
    /// is off.
    pub(crate) fn gate(&self) -> Option<psi::Percent> {
        match self.pressure {
            Gate::Off => None,
            Gate::At(percent) => Some(percent),
        }
    }

    /// Between two status lines; `None`: none are printed.
    pub(crate) fn report_interval(&self, terminal: bool) -> Option<Duration> {
        match self.report {
            Some(Seconds(interval)) => (!interval.is_zero()).then_some(interval),
            None => Some(Duration::from_secs(if terminal { 1 } else { 3600 })),
        }
    }
}

/// Where memory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Source {
    /// From the module where it is loaded, else from meminfo
    Auto,
    /// From meminfo; the module is left alone
    Proc,
    /// From the module; without it the daemon does not start
    Module,
}

/// What was given, or by default the same share as `Percents` has.
fn amounts(percents: Option<Percents>, sizes: Option<Sizes>) -> (Amount, Amount) {
    match sizes {
        Some(sizes) => (
            Amount::Bytes(sizes.warn_bytes),
            Amount::Bytes(sizes.kill_bytes),
        ),
        None => {
            let Percents { warn, kill } = percents.unwrap_or_default();
            (
                Amount::PartsPerMillion(warn.0),
                Amount::PartsPerMillion(kill.0),
            )
        }
    }
}

/// Arguments that are well-formed each, but cannot be meant together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

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
        let parts = decimal(text, 4).filter(|&parts| parts <= u64::from(Self::ALL));
        parts
            .and_then(|parts| u32::try_from(parts).ok())
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no percentage: a number from 0 to 100 is"))
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
                "the kill level {kill} is above the warn level {warn}: give at most {warn}"
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
            return Err("the kill size is above the warn size: give at most as much".to_owned());
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

/// A span in whole or broken seconds, up to a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seconds(Duration);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const YEAR_MILLIS: u64 = 365 * 24 * 60 * 60 * 1000;
        decimal(text, 3)
            .filter(|&millis| millis <= YEAR_MILLIS)
            .map(|millis| Self(Duration::from_millis(millis)))
            .ok_or_else(|| format!("`{text}` is no span: a number of seconds such as 5 or 0.5 is"))
    }
}

/// `PERCENT|off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Off,
    At(psi::Percent),
}

impl FromStr for Gate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        match psi::Percent::from_str(text) {
            Ok(percent) if percent > psi::Percent::default() => Ok(Self::At(percent)),
            Ok(_) | Err(_) => Err(format!(
                "`{text}` is neither a percentage above 0 and up to 100 nor `off`"
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
            "`{text}` has more than two numbers: give one, or two with a comma between"
        )),
        Some((warn, kill)) => Ok((parse(warn)?, Some(parse(kill)?))),
    }
}

/// KiB, or with a suffix K, M or G.
fn size_bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1 << 10),
    };
    decimal(digits, 3)
        .and_then(|thousandths| thousandths.checked_mul(unit))
        .map(|thousandths| thousandths / 1000)
        .ok_or_else(|| format!("`{text}` is no size: a number of KiB, or one with K, M or G, is"))
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

fn regex(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|err| format!("no regular expression: {err}"))
}

fn hook(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!(
            "`{text}` is not absolute: give the whole path, such as `/usr/local/bin/notify`"
        ))
    }
}

#[cfg(test)]
mod tests {
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
            .settings(&machine())
            .map_err(|err| err.to_string())
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
        assert_eq!(set.recovery, Amount::Bytes((3 << 29) + (3 << 28)));
    }

    #[test]
    fn recovery_stays_between_the_warn_level_and_all_there_is() {
        let set = settings("-m 90").expect("fine");
        assert_eq!(set.recovery, Amount::PartsPerMillion(950_000));
        let set = settings("-m 10 --recover 2G").expect("fine");
        assert_eq!(set.recovery, Amount::Bytes(2 << 30));
        let set = settings("-M 14G").expect("fine");
        assert_eq!(set.recovery, Amount::Bytes(15 << 30));
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
        refused("-M 99999999999999G", "-M");
        refused("-M 0", "-M");
        refused("-M 1T", "-M");
        refused("-M 10,20", "-M");
        refused("-s 101", "-s");
        refused("-m 10 -M 100", "-M");
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
        refused("-N hook.sh", "-N");
        refused("-P hook.sh", "-P");
        refused("--prefer (", "--prefer");
        refused("stray", "stray");
        refused("--source kernel", "--source");
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
