//! The command line.

use anyhow::{Context, Result, bail};

use super::kernel::{self, Kernel};
use crate::scenarios;

/// What `--help` says.
pub(crate) const HELP: &str = "\
Boots real kernels in QEMU and tries the module and the programs on them.

Usage: e2e [--kernel 6.1|6.12|7.2|all|5.10 | --debug-kernel | --race-kernel] [--full]
           [--at-a-time N] [--second-try] [--list] [SCENARIO…]

  --kernel VERSION  on this kernel (6.1 unless said otherwise), or on all that the
                    module is for: not 5.10, where what `cargo xtask dist` has packed
                    for any Linux is tried
  --debug-kernel    the module's scenarios, on a kernel that is built here and that
                    looks for mistakes (KASAN, lockdep and others); the first time
                    that takes a quarter of an hour, and 3 GiB of disk meanwhile
  --race-kernel     the same with KCSAN in place of KASAN: it looks for data races of
                    the module
  --full            also those that take minutes each and show little more
  --at-a-time N     run so many machines at the same time (1): each has two processors,
                    and waits half of the time
  --second-try      run a scenario that failed once more, in a machine of its own: for
                    where this runs unattended, beside who knows what. It counts as
                    failed all the same if it fails again, or if more than 4 do
  --list            say which scenarios there are, and on which kernels
  SCENARIO          these alone, on any kernel

Consoles of the guests: e2e/target/logs. Kernels: e2e/target/cache, fetched
once; remove it to fetch them anew.";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// How to ask.
    Help,
    /// The table.
    List,
    /// Scenarios.
    Run(Run),
}

/// Which scenarios run, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) kernels: Vec<Kernel>,
    /// All that belong to the kernel if none is named.
    pub(crate) names: Vec<String>,
    /// Whether the long ones too, if none is named.
    pub(crate) full: bool,
    /// How many machines run at the same time.
    pub(crate) at_a_time: usize,
    /// Whether what failed runs once more.
    pub(crate) second_try: bool,
}

/// Reads the arguments, without the program's name.
pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Wanted> {
    let mut run = Run {
        kernels: vec![kernel::MAIN],
        names: Vec::new(),
        full: false,
        at_a_time: 1,
        second_try: false,
    };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--help" | "-h" => return Ok(Wanted::Help),
            "--debug-kernel" => run.kernels = vec![kernel::DEBUG],
            "--race-kernel" => run.kernels = vec![kernel::RACE],
            "--full" => run.full = true,
            "--second-try" => run.second_try = true,
            "--at-a-time" => run.at_a_time = number(&args.next().unwrap_or_default())?,
            "--list" => return Ok(Wanted::List),
            "--kernel" => run.kernels = kernels_named(&args.next().context("`--kernel` which?")?)?,
            option if option.starts_with('-') => bail!("`{option}` is no option; see --help"),
            name if scenarios::named(name).is_some() => run.names.push(arg),
            name => bail!("`{name}` is no scenario; see --list"),
        }
    }
    Ok(Wanted::Run(run))
}

fn number(word: &str) -> Result<usize> {
    let number = word.parse().ok().filter(|number| *number > 0);
    number.with_context(|| format!("`--at-a-time` takes a number from 1, not `{word}`"))
}

fn kernels_named(name: &str) -> Result<Vec<Kernel>> {
    if name == "all" {
        return Ok(kernel::ALL.to_vec());
    }
    let mut kernels = kernel::ALL.iter().chain([&kernel::OLDEST]);
    let known = kernels.find(|kernel| kernel.name == name);
    let kernel = known.with_context(|| format!("`{name}` is none of our kernels; see --help"))?;
    Ok(vec![*kernel])
}

#[cfg(test)]
mod tests {
    use super::{Run, Wanted, kernel, parse};

    fn parsed(line: &str) -> Option<Wanted> {
        parse(line.split_whitespace().map(str::to_owned)).ok()
    }

    #[test]
    fn nothing_said_is_everything_on_the_main_kernel() {
        let want = Wanted::Run(Run {
            kernels: vec![kernel::MAIN],
            names: Vec::new(),
            full: false,
            at_a_time: 1,
            second_try: false,
        });
        assert_eq!(parsed(""), Some(want));
    }

    #[test]
    fn all_kernels_can_be_asked_for() {
        let want = Wanted::Run(Run {
            kernels: kernel::ALL.to_vec(),
            names: vec!["nonsense_is_refused".to_owned()],
            full: true,
            at_a_time: 2,
            second_try: true,
        });
        assert_eq!(
            parsed("nonsense_is_refused --full --second-try --at-a-time 2 --kernel all"),
            Some(want)
        );
    }

    #[test]
    fn the_kernel_without_the_module_is_not_one_of_all() {
        assert!(!kernel::ALL.contains(&kernel::OLDEST));
        let want = Wanted::Run(Run {
            kernels: vec![kernel::OLDEST],
            names: Vec::new(),
            full: false,
            at_a_time: 1,
            second_try: false,
        });
        assert_eq!(parsed("--kernel 5.10"), Some(want));
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for line in [
            "--kernel",
            "--kernel 5.4",
            "--at-a-time",
            "--at-a-time 0",
            "--quick",
            "no_such_scenario",
        ] {
            assert_eq!(parsed(line), None, "{line}");
        }
    }
}
