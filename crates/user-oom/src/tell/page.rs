//! How a record looks on the terminal: aligned, and coloured where the stream
//! it goes to lets colours through.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use oom_policy::{Amount, Cause, Class, Cost, Level, Memory, Refusal, Settings};
use sensors::KernelFunction;

use crate::tell::record::{Deed, Folded, Heading, Record, Row, Signal, Victim};

const BAD: Style = AnsiColor::Red.on_default().bold();
const CAREFUL: Style = AnsiColor::Yellow.on_default();
const GOOD: Style = AnsiColor::Green.on_default();
const QUIET: Style = Style::new().dimmed();

/// Writes one record, with its line ends.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write(out: &mut impl Write, record: &Record) -> io::Result<()> {
    match record {
        Record::Status(memory, None) => writeln!(out, "{}", MemoryLine(memory)),
        Record::Status(memory, Some(full_in)) => {
            writeln!(out, "{}, full in {}", MemoryLine(memory), About(*full_in))
        }
        Record::Forewarned { full_in, next } => {
            let about = About(*full_in);
            write!(
                out,
                "{CAREFUL}memory full{CAREFUL:#} in {about} at this rate"
            )?;
            match next {
                None => writeln!(out),
                Some(victim) => writeln!(out, "; next victim: {}", NextLine(victim)),
            }
        }
        Record::Unseen(since, why) => writeln!(
            out,
            "{BAD}memory not readable{BAD:#} for {} s: {why}",
            since.as_secs()
        ),
        Record::Decision(heading) => decision(out, heading),
        Record::Candidate(row) => candidate(out, row),
        Record::Unshown(count) => {
            writeln!(out, "{QUIET}{:>9} more that are kept{QUIET:#}", count)
        }
        Record::Refused {
            cause,
            refusal,
            memory,
        } => refused(out, *cause, *refusal, memory.as_ref()),
        Record::Signalled {
            victim,
            signal,
            dry,
            ..
        } => {
            let style = match signal {
                Signal::Term => CAREFUL,
                Signal::Kill => BAD,
            };
            let name = match signal {
                Signal::Term => "SIGTERM",
                Signal::Kill => "SIGKILL",
            };
            let dry = if *dry { " (dry run: not sent)" } else { "" };
            writeln!(out, "{style}{name}{style:#} to {}{dry}", VictimLine(victim))
        }
        Record::KilledByWatchdog {
            victim,
            idle,
            memory,
            dry,
        } => writeln!(
            out,
            "{BAD}SIGKILL{BAD:#} to {}{}: {}, and the main loop has not run for {:.1} s",
            VictimLine(victim),
            if *dry { " (dry run: not sent)" } else { "" },
            MemoryLine(memory),
            idle.as_secs_f64()
        ),
        Record::Unsignalled { victim, errno } => writeln!(
            out,
            "{BAD}cannot signal{BAD:#} {}: {}",
            VictimLine(victim),
            io::Error::from_raw_os_error(*errno)
        ),
        Record::Gone { victim, after } => writeln!(
            out,
            "{GOOD}gone{GOOD:#}    {} {}, {:.3} s after its first signal",
            victim.id.pid,
            victim.name,
            after.as_secs_f64()
        ),
        Record::Stays {
            victim,
            after,
            is_killed,
            stuck_in,
        } => stays(out, victim, *after, *is_killed, stuck_in.as_ref()),
        Record::Settled {
            processes,
            counted_bytes,
            only_bytes,
            before_bytes,
            after_bytes,
            value,
            took,
        } => {
            let (style, freed, rest) = match only_bytes {
                None => (GOOD, String::new(), ""),
                Some(bytes) => (
                    CAREFUL,
                    format!("only {} of ", bytes >> 20),
                    "; the rest is still mapped by others, or was taken by others meanwhile",
                ),
            };
            writeln!(
                out,
                "{style}freed{style:#}   {freed}{} MiB by {processes} {} (memory and swap free: {} before, {} MiB after{rest}) in {:.3} s; sum of values given up: {value}",
                counted_bytes >> 20,
                plural(*processes, "process", "processes"),
                Before(*before_bytes),
                after_bytes >> 20,
                took.as_secs_f64()
            )
        }
        Record::Implausible { path, what } => {
            log::warn!("`{}`{what}", path.display());
            Ok(())
        }
        Record::Page(text) => out.write_all(text.as_bytes()),
        Record::Note(level, text) => {
            log::log!(*level, "{text}");
            Ok(())
        }
        Record::Folded(Folded { deed, pids, count }) => {
            let what = match deed {
                Deed::Term => "SIGTERM to",
                Deed::Kill => "SIGKILL to",
                Deed::Gone => "gone   ",
            };
            write!(
                out,
                "{CAREFUL}{what}{CAREFUL:#} {count} more, too many for a line each:"
            )?;
            for pid in pids.iter().take(*count) {
                write!(out, " {pid}")?;
            }
            writeln!(out)
        }
        Record::Unsaid(count) => writeln!(
            out,
            "{CAREFUL}({count} more lines about the registry, too many to be written){CAREFUL:#}"
        ),
        Record::Dropped(count) => writeln!(
            out,
            "{CAREFUL}({count} lines could not be written in time and are lost){CAREFUL:#}"
        ),
    }
}

fn stays(
    out: &mut impl Write,
    victim: &Victim,
    after: Duration,
    is_killed: bool,
    stuck_in: Option<&KernelFunction>,
) -> io::Result<()> {
    write!(
        out,
        "{BAD}stays{BAD:#}   {} {}, {:.3} s after its first signal",
        victim.id.pid,
        victim.name,
        after.as_secs_f64()
    )?;
    if !is_killed {
        write!(out, ", not sent SIGKILL")?;
    }
    if let Some(function) = stuck_in {
        write!(out, ", in a sleep that no signal ends")?;
        let function = function.to_string();
        if !function.is_empty() {
            write!(out, " ({function})")?;
        }
    }
    writeln!(out, ": no longer waited for")
}

/// What the daemon says of itself at start.
#[derive(Debug)]
pub(crate) struct Introduction<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) memory: &'a Memory,
    pub(crate) gate: Option<psi::Percent>,
    pub(crate) registry: &'a Path,
    pub(crate) socket: Option<&'a Path>,
    pub(crate) dryrun: bool,
}

/// What is watched, and the thresholds.
pub(crate) fn introduction(introduction: &Introduction<'_>) -> Record {
    let mut page = Vec::new();
    // Writing to memory does not fail.
    let _ = introduce(&mut page, introduction);
    Record::Page(String::from_utf8_lossy(&page).into())
}

fn introduce(out: &mut impl Write, introduction: &Introduction<'_>) -> io::Result<()> {
    const BOLD: Style = Style::new().bold();
    let Introduction {
        settings,
        memory,
        gate,
        registry,
        socket,
        dryrun,
    } = introduction;
    let base_bytes = memory.usable_bytes();
    let memory_floor = |amount: Amount| Floored(amount.of(base_bytes), base_bytes);
    let swap_floor =
        |amount: Amount| Floored(amount.of(memory.swap_total_bytes), memory.swap_total_bytes);
    writeln!(
        out,
        "{BOLD}user-oom {}{BOLD:#} keeps the most value in the memory that is left{}",
        env!("CARGO_PKG_VERSION"),
        if *dryrun {
            " (dry run: no signal is sent)"
        } else {
            ""
        }
    )?;
    writeln!(out, "  now       {}", MemoryLine(memory))?;
    writeln!(
        out,
        "  memory    SIGTERM at {}, SIGKILL at {}, enough again at {}",
        memory_floor(settings.warn.memory),
        memory_floor(settings.kill.memory),
        memory_floor(settings.recovery),
    )?;
    if memory.swap_total_bytes > 0 {
        writeln!(
            out,
            "  and swap  SIGTERM at {}, SIGKILL at {}",
            swap_floor(settings.warn.swap),
            swap_floor(settings.kill.swap),
        )?;
    }
    match gate {
        Some(percent) => writeln!(
            out,
            "  pressure  relief when all tasks stall for {percent} % of the time, 3 s long"
        )?,
        None => writeln!(out, "  pressure  not watched")?,
    }
    writeln!(
        out,
        "  grace     {} s from SIGTERM to SIGKILL; room for {} s of growth",
        settings.grace.as_secs_f64(),
        settings.horizon.as_secs_f64()
    )?;
    writeln!(
        out,
        "  judges    {}",
        if settings.registered_only {
            "registered processes only"
        } else {
            "all processes; each session of those not registered is worth 1 together"
        }
    )?;
    writeln!(out, "  registry  {}", registry.display())?;
    match socket {
        Some(socket) => writeln!(out, "  socket    {}", socket.display()),
        None => writeln!(out, "  socket    none"),
    }
}

fn decision(out: &mut impl Write, heading: &Heading) -> io::Result<()> {
    let style = cause_style(heading.cause);
    writeln!(
        out,
        "{style}{}{style:#}: {}; {} MiB to give back",
        CauseName(heading.cause),
        Seen(heading.memory.as_ref()),
        heading.need_bytes >> 20,
    )?;
    let exact = if !heading.covers_need {
        "nothing covers that, so the one that gives back the most for its value goes".to_owned()
    } else if heading.gap == Cost::ZERO {
        "no other choice costs less".to_owned()
    } else {
        format!("another choice might cost up to {} less", heading.gap)
    };
    writeln!(
        out,
        "{QUIET}  {} judged, {} given up: {exact} (read in {:.3} ms, chosen in {:.3} ms){QUIET:#}",
        heading.candidates,
        heading.chosen,
        heading.read.as_secs_f64() * 1e3,
        heading.choose.as_secs_f64() * 1e3,
    )?;
    writeln!(
        out,
        "{QUIET}{:>9}  {:<15}  {:>9}  {:>7}  {:>10}  {:>11}{QUIET:#}",
        "PID", "NAME", "oom_score", "value", "VmRSS", "growth"
    )
}

fn candidate(out: &mut impl Write, row: &Row) -> io::Result<()> {
    let (style, fate) = if row.chosen {
        (CAREFUL, "given up")
    } else {
        (Style::new(), "kept")
    };
    let value = row.explanation.value();
    let value = value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    write!(
        out,
        "{style}{:>9}  {:<15}  {:>9}  {value:>7}  {:>10}  {:>11}  {fate}{style:#}",
        row.leader.pid,
        row.name,
        Score(row.oom_score).to_string(),
        format!("{} MiB", row.rss_bytes >> 20),
        Growth(row.growth_bytes_per_second).to_string(),
    )?;
    if row.processes > 1 {
        write!(out, ", {} processes", row.processes)?;
    }
    if row.class == Class::System {
        write!(out, ", system")?;
    }
    if !row.explanation.is_plain() {
        write!(out, "; {}", row.explanation)?;
    }
    writeln!(out)
}

fn refused(
    out: &mut impl Write,
    cause: Cause,
    refusal: Refusal,
    memory: Option<&Memory>,
) -> io::Result<()> {
    let style = cause_style(cause);
    write!(
        out,
        "{style}{}{style:#}: {}; nobody is ended: ",
        CauseName(cause),
        Seen(memory)
    )?;
    match refusal {
        Refusal::EnoughAvailable => writeln!(
            out,
            "memory is available above the recovery level, so tasks stall for another reason (their own cgroup's limit?)"
        ),
        Refusal::RecoveryInterval { remaining } => writeln!(
            out,
            "the recovery interval has {:.0} s to go",
            remaining.as_secs_f64().ceil()
        ),
        Refusal::Promised { bytes } => writeln!(
            out,
            "those already signalled still hold {} MiB",
            bytes >> 20
        ),
        Refusal::NothingHelps { judged_bytes } => {
            write!(
                out,
                "all that may be judged holds {} MiB, and that is not enough",
                judged_bytes >> 20
            )?;
            match memory {
                Some(memory) => writeln!(
                    out,
                    " (Shmem {} MiB, SUnreclaim {} MiB, Hugetlb {} MiB)",
                    memory.shmem_bytes >> 20,
                    memory.unreclaimable_slab_bytes >> 20,
                    memory.hugetlb_bytes >> 20
                ),
                None => writeln!(out),
            }
        }
    }
}

fn cause_style(cause: Cause) -> Style {
    match cause {
        Cause::Level(Level::Kill) | Cause::LastCall => BAD,
        Cause::Level(_) | Cause::Relief => CAREFUL,
    }
}

fn plural<'a>(count: u32, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

struct CauseName(Cause);

impl Display for CauseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Cause::Level(Level::Ok) => "ok",
            Cause::Level(Level::Warn) => "warn",
            Cause::Level(Level::Kill) => "kill",
            Cause::Relief => "relief",
            Cause::LastCall => "last call",
        })
    }
}

/// `memory 2301 of 23998 MiB available (9.59 %), swap none`.
pub(crate) struct MemoryLine<'a>(pub(crate) &'a Memory);

impl Display for MemoryLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Memory {
            available_bytes,
            swap_total_bytes,
            swap_free_bytes,
            ..
        } = *self.0;
        let usable_bytes = self.0.usable_bytes();
        write!(
            f,
            "memory {} of {} MiB available ({:.2} %), ",
            available_bytes >> 20,
            usable_bytes >> 20,
            percent_of(available_bytes, usable_bytes)
        )?;
        if swap_total_bytes == 0 {
            f.write_str("no swap")
        } else {
            write!(
                f,
                "swap {} of {} MiB free ({:.2} %)",
                swap_free_bytes >> 20,
                swap_total_bytes >> 20,
                percent_of(swap_free_bytes, swap_total_bytes)
            )
        }
    }
}

/// A forecast, as exactly as it can be meant.
struct About(Duration);

impl Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds @ 0..10 => write!(f, "about {} s", seconds + 1),
            seconds @ 10..120 => write!(f, "about {} s", seconds / 5 * 5),
            seconds => write!(f, "about {} min", seconds / 60),
        }
    }
}

/// What would be killed, by what it is called.
struct NextLine<'a>(&'a Victim);

impl Display for NextLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Victim {
            id, name, value, ..
        } = self.0;
        match value {
            Some(value) => write!(f, "{name} (pid {}, value {value})", id.pid),
            None => write!(f, "{name} (pid {}, not registered)", id.pid),
        }
    }
}

/// The same, where memory can be read.
struct Seen<'a>(Option<&'a Memory>);

impl Display for Seen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(memory) => MemoryLine(memory).fmt(f),
            None => f.write_str("memory not readable"),
        }
    }
}

struct Before(Option<u64>);

impl Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => write!(f, "{} MiB", bytes >> 20),
            None => f.write_str("not readable"),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with two places")]
pub(crate) fn percent_of(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    100.0 * part as f64 / whole as f64
}

/// `2399 MiB (10.00 %)`.
struct Floored(u64, u64);

impl Display for Floored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} MiB ({:.2} %)",
            self.0 >> 20,
            percent_of(self.0, self.1)
        )
    }
}

struct VictimLine<'a>(&'a Victim);

impl Display for VictimLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Victim {
            id,
            name,
            oom_score,
            value,
            rss_bytes,
            ..
        } = self.0;
        write!(f, "{} {name}, oom_score {}, ", id.pid, Score(*oom_score))?;
        match value {
            Some(value) => write!(f, "value {value}, ")?,
            None => f.write_str("no value of its own, ")?,
        }
        write!(f, "VmRSS {} MiB", rss_bytes >> 20)
    }
}

struct Score(Option<u16>);

impl Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(score) => write!(f, "{score}"),
            None => f.write_str("?"),
        }
    }
}

struct Growth(u64);

impl Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >> 20 {
            0 => Ok(()),
            mib => write!(f, "+{mib} MiB/s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use oom_policy::{Basis, Explanation, Name, ProcessId};

    use super::*;

    const MIB: u64 = 1 << 20;

    /// What is written for `record` where no colours get through.
    fn plain(record: &Record) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        write(&mut out, record).expect("a vector takes all");
        String::from_utf8(out.into_inner()).expect("text")
    }

    fn id(pid: u32) -> ProcessId {
        ProcessId {
            pid,
            start_ticks: 7,
        }
    }

    fn memory() -> Memory {
        Memory {
            total_bytes: 1000 * MIB,
            available_bytes: 95 * MIB,
            swap_total_bytes: 400 * MIB,
            swap_free_bytes: 10 * MIB,
            shmem_bytes: 500 * MIB,
            ..Memory::default()
        }
    }

    fn row(pid: u32, basis: Basis) -> Row {
        Row {
            leader: id(pid),
            name: Name::new(b"train"),
            processes: 1,
            class: Class::Judged,
            explanation: Explanation::new(basis, false, Cost::ZERO),
            oom_score: Some(700),
            rss_bytes: 300 * MIB,
            growth_bytes_per_second: 0,
            chosen: false,
        }
    }

    #[test]
    fn status_says_memory_and_swap() {
        assert_eq!(
            plain(&Record::Status(memory(), None)),
            "memory 95 of 1000 MiB available (9.50 %), swap 10 of 400 MiB free (2.50 %)\n"
        );
    }

    #[test]
    fn a_forecast_is_said_as_exactly_as_it_is_meant() {
        let full_in = |seconds| {
            plain(&Record::Status(
                memory(),
                Some(Duration::from_secs(seconds)),
            ))
        };
        for (seconds, want) in [
            (0, "about 1 s"),
            (43, "about 40 s"),
            (119, "about 115 s"),
            (179, "about 2 min"),
            (3600, "about 60 min"),
        ] {
            let line = full_in(seconds);
            assert!(line.ends_with(&format!(", full in {want}\n")), "{line}");
        }
    }

    #[test]
    fn memory_that_is_full_soon_is_said_with_what_would_be_killed() {
        let said = |next| {
            plain(&Record::Forewarned {
                full_in: Duration::from_secs(43),
                next,
            })
        };
        assert_eq!(said(None), "memory full in about 40 s at this rate\n");
        let job = Victim {
            id: id(7),
            name: Name::new(b"train"),
            uid: 1000,
            oom_score: None,
            value: Some(5),
            rss_bytes: 300 * MIB,
        };
        let unknown = Victim { value: None, ..job };
        assert_eq!(
            said(Some(job)),
            "memory full in about 40 s at this rate; next victim: train (pid 7, value 5)\n"
        );
        assert_eq!(
            said(Some(unknown)),
            "memory full in about 40 s at this rate; next victim: train (pid 7, not registered)\n"
        );
    }

    #[test]
    fn memory_that_cannot_be_read_is_not_shown_as_it_was() {
        let why = "`f`, line 1: cut short";
        assert_eq!(
            plain(&Record::Unseen(Duration::from_millis(12_700), why.into())),
            "memory not readable for 12 s: `f`, line 1: cut short\n"
        );
        let said = plain(&Record::Refused {
            cause: Cause::Relief,
            refusal: Refusal::NothingHelps {
                judged_bytes: 3 * MIB,
            },
            memory: None,
        });
        assert_eq!(
            said,
            "relief: memory not readable; nobody is ended: all that may be judged holds 3 MiB, \
             and that is not enough\n"
        );
    }

    #[test]
    fn candidates_stand_in_columns_and_say_what_they_cost() {
        let mut given_up = row(12, Basis::Value(8));
        given_up.chosen = true;
        given_up.processes = 3;
        given_up.growth_bytes_per_second = 40 * MIB;
        given_up.explanation = Explanation::new(Basis::Value(8), true, Cost::of_value(2));
        let share = Basis::Share(Cost::from_parts(Cost::PARTS / 58));
        let table = [
            plain(&Record::Decision(Heading {
                cause: Cause::Level(Level::Warn),
                memory: Some(memory()),
                need_bytes: 60 * MIB,
                candidates: 2,
                chosen: 1,
                covers_need: true,
                gap: Cost::ZERO,
                read: Duration::from_micros(900),
                choose: Duration::from_micros(20),
            })),
            plain(&Record::Candidate(given_up)),
            plain(&Record::Candidate(row(4_194_304, share))),
        ]
        .concat();
        assert_eq!(
            table,
            "warn: memory 95 of 1000 MiB available (9.50 %), swap 10 of 400 MiB free (2.50 %); 60 MiB to give back\n\
             \x20 2 judged, 1 given up: no other choice costs less (read in 0.900 ms, chosen in 0.020 ms)\n\
             \x20     PID  NAME             oom_score    value       VmRSS       growth\n\
             \x20      12  train                  700        8     300 MiB    +40 MiB/s  given up, 3 processes; cost 2 = value 8 × ½ (growing) − penalty 2\n\
             \x20 4194304  train                  700        -     300 MiB               kept; cost 0.02 = 0.02 (its share of its session's 1)\n"
        );
    }

    #[test]
    fn a_choice_that_is_not_proved_says_by_how_much_it_may_be_wrong() {
        let said = plain(&Record::Decision(Heading {
            cause: Cause::Relief,
            memory: Some(memory()),
            need_bytes: 0,
            candidates: 0,
            chosen: 0,
            covers_need: true,
            gap: Cost::from_parts(Cost::PARTS * 3 / 2),
            read: Duration::ZERO,
            choose: Duration::ZERO,
        }));
        assert!(said.contains("might cost up to 1.5 less"), "{said}");
    }

    #[test]
    fn where_nothing_helps_it_says_where_the_memory_is() {
        let said = plain(&Record::Refused {
            cause: Cause::Level(Level::Warn),
            refusal: Refusal::NothingHelps {
                judged_bytes: 3 * MIB,
            },
            memory: Some(memory()),
        });
        assert!(
            said.contains("nobody is ended") && said.contains("Shmem 500 MiB"),
            "{said}"
        );
    }

    #[test]
    fn a_name_cannot_write_to_the_terminal() {
        let victim = Victim {
            id: id(9),
            name: Name::new(b"\x1b[2Jx"),
            uid: 0,
            oom_score: None,
            value: Some(5),
            rss_bytes: MIB,
        };
        let said = plain(&Record::Signalled {
            victim,
            signal: Signal::Kill,
            first: true,
            dry: false,
        });
        assert_eq!(
            said,
            "SIGKILL to 9 ?[2Jx, oom_score ?, value 5, VmRSS 1 MiB\n"
        );
    }
}
