//! The command line, parsed into what is watched and what is done about it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use psi::Percent;

/// Watches memory pressure and asks user-oom for relief
///
/// Polls full avg10, the share of the last 10 s in which all tasks stalled on
/// memory, and acts when it is above the threshold.
#[derive(Debug, Parser)]
#[command(
    name = "psi-monitor",
    version = terminal::VERSION,
    no_binary_name = true,
    max_term_width = 80,
    after_help = "Exit status: 0 after SIGINT, SIGTERM, SIGHUP or ^Z, and after -h and -V; 1 if\nit cannot watch, with the reason on standard error; 2 for invalid arguments."
)]
pub(crate) struct Arguments {
    /// Act when full avg10 is above this, 0 or more and below 100
    #[arg(
        long,
        value_name = "PERCENT",
        default_value = "40",
        value_parser = threshold,
        allow_negative_numbers = true
    )]
    pub(crate) threshold: Percent,

    /// Time between two polls; the kernel updates avg10 every 2 s
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "5",
        value_parser = interval,
        allow_negative_numbers = true
    )]
    pub(crate) interval: Duration,

    /// Time from relief to the next poll
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "15",
        value_parser = recovery,
        allow_negative_numbers = true
    )]
    pub(crate) recovery: Duration,

    /// What to do above the threshold
    #[arg(long, value_enum, default_value_t = ActionName::Relief)]
    action: ActionName,

    /// The command for --action exec, run by /bin/sh; the pressure is in its
    /// environment as PSI_FULL_AVG10
    #[arg(long, value_name = "COMMAND")]
    command: Option<OsString>,

    /// Read this file instead of the kernel's memory pressure, such as a
    /// cgroup's memory.pressure
    #[arg(long, value_name = "FILE")]
    pub(crate) pressure_file: Option<PathBuf>,

    /// user-oom's control socket [default: /run/user-oom/control as root, else in
    /// $XDG_RUNTIME_DIR]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,

    /// Print user-oom's status; exit status 0 if it answers, else 1
    #[arg(long)]
    pub(crate) check: bool,

    /// Print which signal user-oom killed this process with, and why; exit
    /// status 0 if it was a victim, else 1
    #[arg(long, value_name = "PID", conflicts_with = "check", value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true)]
    pub(crate) fate: Option<u32>,
}

/// What to do above the threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChosenAction {
    /// Ask user-oom.
    Relief,
    /// Run this by a shell.
    Exec(OsString),
    /// Have the kernel kill.
    SysRq,
    /// Watch only.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ActionName {
    /// Ask user-oom for relief
    Relief,
    /// Run --command
    Exec,
    /// Ask the kernel to kill a process (SysRq f); root only, refused while
    /// user-oom answers
    Sysrq,
    /// Watch only
    None,
}

impl Arguments {
    /// Parses `args`, which begin after the program's name.
    ///
    /// # Errors
    ///
    /// Arguments that make no sense, alone or together; or help was asked for.
    pub(crate) fn parse_all(
        args: impl Iterator<Item = OsString>,
    ) -> Result<(Self, ChosenAction), clap::Error> {
        let mut arguments = Self::try_parse_from(args)?;
        let action = match (arguments.action, arguments.command.take()) {
            (ActionName::Exec, Some(command)) if !command.is_empty() => ChosenAction::Exec(command),
            (ActionName::Exec, _) => {
                return Err(Self::command().error(
                    ErrorKind::MissingRequiredArgument,
                    "`--action exec` needs a command: give `--command COMMAND`",
                ));
            }
            (_, Some(_)) => {
                return Err(Self::command().error(
                    ErrorKind::ArgumentConflict,
                    "`--command` has no effect without `--action exec`: give that too",
                ));
            }
            (ActionName::Relief, None) => ChosenAction::Relief,
            (ActionName::Sysrq, None) => ChosenAction::SysRq,
            (ActionName::None, None) => ChosenAction::None,
        };
        Ok((arguments, action))
    }
}

fn threshold(text: &str) -> Result<Percent, String> {
    match text.parse() {
        // Nothing is ever above all of the time.
        Ok(percent) if percent < Percent::MAX => Ok(percent),
        _ => Err(
            "expected 0 or more and below 100, with at most two decimals, such as 40 or 12.5"
                .to_owned(),
        ),
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn interval(text: &str) -> Result<Duration, String> {
    seconds(text)
        .filter(|seconds| (Duration::from_millis(100)..=DAY).contains(seconds))
        .ok_or_else(|| "expected seconds from 0.1 to 86400, such as 5 or 2.5".to_owned())
}

fn recovery(text: &str) -> Result<Duration, String> {
    seconds(text)
        .filter(|seconds| *seconds <= DAY)
        .ok_or_else(|| "expected seconds from 0 to 86400, such as 15 or 2.5".to_owned())
}

/// Digits with at most one point between them; `f64` alone would take `1e3`,
/// `inf` and `nan` too.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) {
        return None;
    }
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Arguments, ChosenAction), clap::Error> {
        Arguments::parse_all(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_defaults_are_40_percent_5_and_15_seconds_and_relief() {
        let (arguments, action) = parse("").unwrap();
        assert_eq!(arguments.threshold.hundredths(), 4_000);
        assert_eq!(arguments.interval, Duration::from_secs(5));
        assert_eq!(arguments.recovery, Duration::from_secs(15));
        assert_eq!(action, ChosenAction::Relief);
        assert!(!arguments.check);
    }

    #[test]
    fn decimals_are_taken() {
        let (arguments, _) = parse("--threshold 12.5 --interval 0.25 --recovery 1.5").unwrap();
        assert_eq!(arguments.threshold.hundredths(), 1_250);
        assert_eq!(arguments.interval, Duration::from_millis(250));
        assert_eq!(arguments.recovery, Duration::from_millis(1_500));
    }

    #[track_caller]
    fn check_refused(line: &str, reason: &str) {
        let err = parse(line).expect_err(line);
        assert_eq!(err.exit_code(), 2, "{line}");
        let text = err.to_string();
        assert!(text.contains(reason), "{line}: {text}");
    }

    #[test]
    fn nonsense_is_refused_with_what_would_be_right() {
        for value in ["-1", "100", "100.01", "1e1", "nan", "40%", "4.123", "", "٣"] {
            check_refused_value("--threshold", value, "0 or more and below 100");
        }
        for value in [
            "0", "0.05", "-5", "86400.1", "1e3", "inf", "5s", ".5", "5.", "1.2.3",
        ] {
            check_refused_value("--interval", value, "from 0.1 to 86400");
        }
        for value in ["-1", "86401", "99999999999999999999999", "+5"] {
            check_refused_value("--recovery", value, "from 0 to 86400");
        }
        check_refused("--action shoot", "relief, exec, sysrq, none");
        check_refused("surplus", "surplus");
    }

    #[track_caller]
    fn check_refused_value(name: &str, value: &str, reason: &str) {
        let args = [name, value].map(OsString::from);
        let err = Arguments::parse_all(args.into_iter()).expect_err(value);
        assert_eq!(err.exit_code(), 2, "{name} {value}");
        let text = err.to_string();
        assert!(
            text.contains(name) && text.contains(reason),
            "{name} {value}: {text}"
        );
    }

    #[test]
    fn a_command_goes_with_exec_and_exec_with_a_command() {
        let (_, action) = parse("--action exec --command true").unwrap();
        assert_eq!(action, ChosenAction::Exec("true".into()));
        check_refused("--action exec", "`--command COMMAND`");
        check_refused("--command true", "without `--action exec`");
    }

    #[test]
    fn help_fits_a_terminal_and_says_what_each_argument_does() {
        let mut command = Arguments::command();
        for help in [command.render_help(), command.render_long_help()] {
            let help = help.to_string();
            let widest = help.lines().max_by_key(|line| line.chars().count());
            let widest = widest.expect("it is not empty");
            assert!(widest.chars().count() <= 80, "{widest}");
        }
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{argument}");
        }
    }
}
