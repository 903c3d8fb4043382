//! How records look: one line each that can be found with grep(1) and, on a
//! terminal, folded to its width and coloured.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use oom_policy::{
    Blame, Cause, Class, Cost, Level, Levels, Memory, Name, Refusal, Respawner, Settings,
};
use reaper::Tally;
use sensors::{Cgroup, KernelFunction};

use crate::paused::why_unpaused;
use crate::tell::accounts::Accounts;
use crate::tell::record::{
    Deed, Folded, Heading, KillReason, Legend, OwnWords, PausedWords, Record, Row, Shortfalls,
    Signal, Treatment, Victim, asks_by,
};

const BAD: Style = AnsiColor::Red.on_default().bold();
const CAREFUL: Style = AnsiColor::Yellow.on_default();
const GOOD: Style = AnsiColor::Green.on_default();
const QUIET: Style = Style::new().dimmed();

/// How far a folded line is indented: behind the names of settings.
const HANG: usize = 4;
const SETTING: usize = 14;

/// Writes records.
#[derive(Debug)]
pub(crate) struct Page<W> {
    out: W,
    /// `None`: lines are not folded, and no column is left out.
    width: Option<usize>,
    accounts: Accounts,
    /// By their numbers,
    scopes: Vec<ScopeWords>,
    /// and the one that the record is of.
    scope: ScopeWords,
}

/// `/x`; empty where the machine is guarded.
#[derive(Clone, Debug, Default)]
struct ScopeWords(Arc<str>);

impl ScopeWords {
    fn of(scope: Option<&Cgroup>) -> Self {
        Self(scope.map_or_else(Arc::default, |scope| scope.to_string().into()))
    }

    /// ` cgroup=/x`
    fn field(&self) -> String {
        match &*self.0 {
            "" => String::new(),
            scope => format!(" cgroup={scope}"),
        }
    }
}

/// `cgroup /x: `
impl Display for ScopeWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            "" => Ok(()),
            scope => write!(f, "cgroup {scope}: "),
        }
    }
}

impl<W: Write> Page<W> {
    /// `width`: of the terminal that `out` goes to, where it is one.
    pub(crate) fn new(out: W, width: Option<usize>, accounts: Accounts) -> Self {
        Self {
            out,
            width,
            accounts,
            scopes: Vec::new(),
            scope: ScopeWords::default(),
        }
    }

    /// Names the scope of a record wherever it says how much memory there is, and
    /// what is killed for it. `scopes`: by their numbers, `None` for the machine.
    pub(crate) fn of_scopes<'a>(self, scopes: impl Iterator<Item = Option<&'a Cgroup>>) -> Self {
        Self {
            scopes: scopes.map(ScopeWords::of).collect(),
            ..self
        }
    }

    /// Writes one record that was told at `seconds` since 1970, of that scope.
    ///
    /// # Errors
    ///
    /// What the stream says.
    pub(crate) fn write(&mut self, seconds: i64, scope: usize, record: &Record) -> io::Result<()> {
        self.scope = self.scopes.get(scope).cloned().unwrap_or_default();
        let mut text = Vec::new();
        self.format(&mut text, Time(seconds), record)?;
        let hang = match record {
            Record::Page(_) => SETTING,
            _ => HANG,
        };
        let text = String::from_utf8_lossy(&text);
        let folded = terminal::fold(&text, self.width, hang);
        self.out.write_all(folded.as_bytes())
    }

    /// # Errors
    ///
    /// What the stream says.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn format(&mut self, out: &mut Vec<u8>, time: Time, record: &Record) -> io::Result<()> {
        match record {
            Record::Status(memory, full_in, paused, shortfalls) => {
                write!(out, "{}{}", self.scope, MemoryLine(memory))?;
                if let Some(full_in) = full_in {
                    write!(out, ", full in {}", About(*full_in))?;
                }
                writeln!(out, "{paused}{}", ShortfallWords(shortfalls))
            }
            Record::Forewarned { full_in, next } => {
                let about = About(*full_in);
                write!(
                    out,
                    "{time} {CAREFUL}{}memory full{CAREFUL:#} in {about} at this rate",
                    self.scope
                )?;
                match next {
                    None => writeln!(out),
                    Some(victim) => writeln!(out, "; next victim: {}", NextLine(victim)),
                }
            }
            Record::Unseen(since, why) => writeln!(
                out,
                "{}{BAD}memory not readable{BAD:#} for {} s: {why}",
                self.scope,
                since.as_secs()
            ),
            Record::Unguarded(why) => {
                writeln!(out, "{}{BAD}not guarded{BAD:#}: {why}", self.scope)
            }
            Record::Decision(heading) => decision(out, time, &self.scope, heading),
            Record::Columns => columns(out, self.width),
            Record::Candidate(row) => candidate(out, row, self.width),
            Record::Unshown(count) => {
                writeln!(out, "{QUIET}{count:>7}  more, with less memory{QUIET:#}")
            }
            Record::Legend(legend) => explain(out, *legend),
            Record::Refused {
                cause,
                refusal,
                memory,
            } => refused(out, time, &self.scope, *cause, *refusal, memory.as_ref()),
            Record::Blamed(blame) => self.blamed(out, time, blame),
            Record::Signalled {
                victim,
                words,
                signal,
                why,
                dry,
                ..
            } => {
                let style = match signal {
                    Signal::Command | Signal::Term => CAREFUL,
                    Signal::Kill => BAD,
                };
                let signal = victim.signal_name(*signal);
                let verb = verb(*dry);
                let reason = ReasonName(*why);
                let scope = self.scope.field();
                let fields = self.fields(victim);
                writeln!(
                    out,
                    "{time} {style}{verb}{style:#} pid={} signal={signal} name={}{scope} reason=\"{reason}\" {fields}{}",
                    victim.id.pid,
                    Word(&victim.name),
                    WordFields(words)
                )
            }
            Record::KilledByWatchdog {
                victim,
                idle,
                memory,
                dry,
            } => {
                let verb = verb(*dry);
                let reason = ReasonName(KillReason::Decided(Cause::Level(Level::Kill)));
                let scope = self.scope.clone();
                let fields = self.fields(victim);
                writeln!(
                    out,
                    "{time} {BAD}{verb}{BAD:#} pid={} signal=SIGKILL name={} reason=\"{reason}, main \
                     loop stalled for {:.1} s\" now=\"{}{}\" {fields}",
                    victim.id.pid,
                    Word(&victim.name),
                    idle.as_secs_f64(),
                    scope,
                    MemoryLine(memory),
                )
            }
            Record::ComesBack(respawner) => comes_back(out, time, respawner),
            Record::Paused {
                leader,
                words,
                cause,
                dry,
            } => {
                let verb = if *dry { "would-pause" } else { "pause" };
                let reason = CauseName(*cause);
                let fields = self.fields(leader);
                writeln!(
                    out,
                    "{time} {CAREFUL}{verb}{CAREFUL:#} {} reason=\"{reason}\" {fields}{}",
                    Identity(leader),
                    WordFields(words)
                )
            }
            Record::Unpaused { leader, errno } => {
                let err = why_unpaused(*errno);
                writeln!(
                    out,
                    "{time} {CAREFUL}cannot-pause{CAREFUL:#} {} error=\"{err}\"",
                    Identity(leader),
                )
            }
            Record::PushedOut {
                leader,
                bytes,
                is_complete,
            } => {
                let rest = if *is_complete {
                    ""
                } else {
                    " (the swap that is left makes no room, or the rest cannot be paged out)"
                };
                writeln!(
                    out,
                    "{time} {GOOD}paged-out{GOOD:#} {} {} MiB to swap{rest}",
                    Identity(leader),
                    bytes >> 20
                )
            }
            Record::Thawed {
                leader,
                after,
                pushed_out_bytes,
                by_us,
            } => {
                let (verb, rest) = if *by_us {
                    ("thaw", "")
                } else {
                    (
                        "continued",
                        " by another program; not paused again for 5 min",
                    )
                };
                writeln!(
                    out,
                    "{time} {GOOD}{verb}{GOOD:#} {} after={:.1}s paged-out={}MiB{rest}",
                    Identity(leader),
                    after.as_secs_f64(),
                    pushed_out_bytes >> 20
                )
            }
            Record::Unsignalled { victim, errno } => {
                let err = io::Error::from_raw_os_error(*errno);
                let fields = self.fields(victim);
                writeln!(
                    out,
                    "{time} {BAD}cannot-kill{BAD:#} {} error=\"{err}\" {fields}",
                    Identity(victim),
                )
            }
            Record::Gone { victim, after } => writeln!(
                out,
                "{time} {GOOD}gone{GOOD:#} {} after={:.3}s",
                Identity(victim),
                after.as_secs_f64()
            ),
            Record::Stays {
                victim,
                after,
                is_killed,
                stuck_in,
            } => stays(out, time, victim, *after, *is_killed, stuck_in.as_ref()),
            Record::Settled {
                processes,
                counted_bytes,
                only_bytes,
                before_bytes,
                after_bytes,
                value,
                took,
            } => {
                let (style, only, rest) = match only_bytes {
                    None => (GOOD, String::new(), ""),
                    Some(bytes) => (
                        CAREFUL,
                        format!("only {} of ", bytes >> 20),
                        "; the rest is still mapped by other processes, or was taken in the meantime",
                    ),
                };
                writeln!(
                    out,
                    "{time} {}{style}freed{style:#} {only}{} MiB from {processes} {} in {:.3} s; memory \
                     and swap free: {} before, {} MiB after{rest}; sum of values lost: {value}",
                    self.scope,
                    counted_bytes >> 20,
                    plural(*processes, "process", "processes"),
                    took.as_secs_f64(),
                    Before(*before_bytes),
                    after_bytes >> 20,
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
            Record::Folded(folded) => several(out, time, folded),
            Record::Unsaid(count) => writeln!(
                out,
                "{CAREFUL}({count} lines about the registry left out: too many){CAREFUL:#}"
            ),
            Record::Dropped(count) => writeln!(
                out,
                "{CAREFUL}({count} lines lost: the output was too slow){CAREFUL:#}"
            ),
        }
    }

    fn blamed(&mut self, out: &mut Vec<u8>, time: Time, blame: &Blame) -> io::Result<()> {
        write!(
            out,
            "{time} {CAREFUL}not candidates{CAREFUL:#}, but took {} of the {} MiB that memory fell by: ",
            blame.taken_bytes >> 20,
            blame.fell_bytes >> 20
        )?;
        for (place, taker) in blame.takers.iter().flatten().enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            write!(
                out,
                "{separator}pid={} name={} uid={} user={} processes={} took={}MiB",
                taker.id.pid,
                Word(&taker.name),
                taker.uid,
                self.accounts.name(taker.uid).unwrap_or("-"),
                taker.processes,
                taker.taken_bytes >> 20
            )?;
        }
        writeln!(out)
    }

    fn fields<'a>(&'a mut self, victim: &'a Victim) -> VictimFields<'a> {
        VictimFields {
            victim,
            user: self.accounts.name(victim.uid),
        }
    }
}

/// Of a kill, and of one that a dry run leaves out: neither is found by the
/// other's words.
fn verb(dry: bool) -> &'static str {
    if dry { "would-kill" } else { "kill" }
}

fn comes_back(out: &mut impl Write, time: Time, respawner: &Respawner) -> io::Result<()> {
    let Respawner {
        worker,
        name,
        kills,
        supervisor,
        supervisor_name,
        is_unit,
    } = respawner;
    let supervisor_name = supervisor_name.unwrap_or_default();
    write!(
        out,
        "{time} {CAREFUL}comes-back{CAREFUL:#} pid={} name={} supervisor={supervisor} \
         supervisor-name={} kills={kills}: ",
        worker.pid,
        Word(name),
        Word(&supervisor_name),
    )?;
    if *is_unit {
        writeln!(out, "killed together with its supervisor, if at all")
    } else {
        writeln!(
            out,
            "not killed before memory is at the kill threshold; stop it through its supervisor"
        )
    }
}

fn stays(
    out: &mut impl Write,
    time: Time,
    victim: &Victim,
    after: Duration,
    is_killed: bool,
    stuck_in: Option<&KernelFunction>,
) -> io::Result<()> {
    write!(
        out,
        "{time} {BAD}stays{BAD:#} {} after={:.3}s: ",
        Identity(victim),
        after.as_secs_f64()
    )?;
    if !is_killed {
        write!(out, "not sent SIGKILL, ")?;
    }
    if let Some(function) = stuck_in {
        write!(out, "in an uninterruptible sleep")?;
        let function = function.to_string();
        if !function.is_empty() {
            write!(out, " ({function})")?;
        }
        write!(out, ", ")?;
    }
    writeln!(out, "no longer waited for")
}

/// What there was no room for, a line for many.
fn several(out: &mut impl Write, time: Time, folded: &Folded) -> io::Result<()> {
    let Folded { deed, pids, count } = folded;
    let (verb, signal) = match deed {
        Deed::Command => ("kill", " signal=command"),
        Deed::Term => ("kill", " signal=SIGTERM"),
        Deed::Kill => ("kill", " signal=SIGKILL"),
        Deed::Gone => ("gone", ""),
    };
    write!(
        out,
        "{time} {CAREFUL}{verb}{CAREFUL:#}{signal} ({count} more, too many for a line each)"
    )?;
    for pid in pids.iter().take(*count) {
        write!(out, " pid={pid}")?;
    }
    writeln!(out)
}

/// What the daemon says of itself at start.
#[derive(Debug)]
pub(crate) struct Introduction<'a> {
    /// Where not the machine is guarded.
    pub(crate) scope: Option<&'a Cgroup>,
    /// What is guarded beside that, and its memory where it can be guarded now.
    pub(crate) others: &'a [(&'a Cgroup, &'a Settings, Option<Memory>)],
    pub(crate) settings: &'a Settings,
    pub(crate) memory: &'a Memory,
    pub(crate) gate: Option<psi::Percent>,
    pub(crate) pause_gate: Option<psi::Percent>,
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
        scope,
        others,
        settings,
        memory,
        gate,
        pause_gate,
        registry,
        socket,
        dryrun,
    } = introduction;
    let levels = Levels::of(settings, memory);
    let of_memory = |bytes| Threshold(bytes, memory.usable_bytes());
    let of_swap = |bytes| Threshold(bytes, memory.swap_total_bytes);
    writeln!(
        out,
        "{BOLD}user-oom {}{BOLD:#} kills what costs the least value before memory runs out{}",
        env!("CARGO_PKG_VERSION"),
        if *dryrun {
            " (dry run: no signal is sent)"
        } else {
            ""
        }
    )?;
    if let Some(scope) = scope {
        writeln!(
            out,
            "  guards      cgroup {scope}, and kills nothing outside of it"
        )?;
    }
    writeln!(out, "  now         {}", MemoryLine(memory))?;
    writeln!(
        out,
        "  memory      SIGTERM at {}, SIGKILL at {}, recovered at {}",
        of_memory(levels.warn_memory),
        of_memory(levels.kill_memory),
        of_memory(levels.recovery_memory),
    )?;
    if memory.swap_total_bytes > 0 {
        writeln!(
            out,
            "  and swap    SIGTERM at {}, SIGKILL at {}",
            of_swap(levels.warn_swap),
            of_swap(levels.kill_swap),
        )?;
    }
    match pause_gate {
        // Nothing is paused meanwhile.
        _ if !settings.pause || memory.swap_total_bytes == 0 => {}
        Some(percent) => writeln!(
            out,
            "  pause       once all tasks stall for {percent} % of a second, where swap has room"
        )?,
        None => writeln!(out, "  pause       at relief, where swap has room")?,
    }
    match gate {
        Some(percent) => writeln!(
            out,
            "  pressure    relief once all tasks stall for {percent} % of each of 3 s in a row"
        )?,
        None => writeln!(out, "  pressure    not watched")?,
    }
    writeln!(
        out,
        "  grace       {} s from SIGTERM to SIGKILL; frees room for {} s of growth",
        settings.grace.as_secs_f64(),
        settings.horizon.as_secs_f64()
    )?;
    writeln!(
        out,
        "  candidates  {}",
        if settings.registered_only {
            "registered processes only"
        } else {
            "all processes; unregistered ones share a value of 1 in each group"
        }
    )?;
    for (cgroup, settings, memory) in *others {
        let Some(memory) = memory else {
            writeln!(out, "  also        cgroup {cgroup}, once it can be guarded")?;
            continue;
        };
        let levels = Levels::of(settings, memory);
        writeln!(
            out,
            "  also        cgroup {cgroup}: SIGTERM at {}, SIGKILL at {}",
            Threshold(levels.warn_memory, memory.usable_bytes()),
            Threshold(levels.kill_memory, memory.usable_bytes())
        )?;
    }
    writeln!(out, "  registry    {}", registry.display())?;
    match socket {
        Some(socket) => writeln!(out, "  socket      {}", socket.display()),
        None => writeln!(out, "  socket      none"),
    }
}

fn decision(
    out: &mut impl Write,
    time: Time,
    scope: &ScopeWords,
    heading: &Heading,
) -> io::Result<()> {
    let style = cause_style(heading.cause);
    writeln!(
        out,
        "{time} {style}{}{style:#}: {scope}{}; need {} MiB",
        CauseName(heading.cause),
        Seen(heading.memory.as_ref()),
        heading.need_bytes >> 20,
    )?;
    let to_pause = if heading.pauses { " to pause" } else { "" };
    let outcome = if !heading.covers_need {
        "no choice frees the need; this one frees the most for its cost".to_owned()
    } else if heading.gap == Cost::ZERO {
        "optimal".to_owned()
    } else {
        format!("at most {} above the least cost", heading.gap)
    };
    writeln!(
        out,
        "{QUIET}  chose {} of {} {}{to_pause}: {outcome} (read in {:.3} ms, chosen in {:.3} ms){QUIET:#}",
        heading.chosen,
        heading.candidates,
        plural(heading.candidates, "candidate", "candidates"),
        heading.read.as_secs_f64() * 1e3,
        heading.choose.as_secs_f64() * 1e3,
    )
}

/// Columns that a narrow terminal has no room for, and how wide it must be for
/// each.
const WITH_PROCESSES: usize = 68;
const WITH_GROWTH: usize = 80;

fn fits(width: Option<usize>, needed: usize) -> bool {
    width.is_none_or(|width| needed <= width)
}

fn columns(out: &mut impl Write, width: Option<usize>) -> io::Result<()> {
    write!(out, "{QUIET}{:>7}  {:<15}", "PID", "NAME")?;
    if fits(width, WITH_PROCESSES) {
        write!(out, "  {:>5}", "procs")?;
    }
    write!(out, "  {:>9}  {:>7}  {:>9}", "oom_score", "value", "VmRSS")?;
    if fits(width, WITH_GROWTH) {
        write!(out, "  {:>10}", "growth")?;
    }
    writeln!(out, "{QUIET:#}")
}

fn candidate(out: &mut impl Write, row: &Row, width: Option<usize>) -> io::Result<()> {
    let (style, fate) = match row.treatment {
        Treatment::Kill => (CAREFUL, "kill"),
        Treatment::Pause => (CAREFUL, "pause"),
        Treatment::StaysPaused => (QUIET, "paused"),
        Treatment::Keep => (Style::new(), "keep"),
    };
    let value = row.explanation.value();
    let value = value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    write!(out, "{style}{:>7}  {:<15}", row.leader.pid, row.name)?;
    if fits(width, WITH_PROCESSES) {
        write!(out, "  {:>5}", row.processes)?;
    }
    write!(
        out,
        "  {:>9}  {value:>7}  {:>9}",
        Score(row.oom_score).to_string(),
        Resident(row.rss_bytes).to_string(),
    )?;
    if fits(width, WITH_GROWTH) {
        write!(
            out,
            "  {:>10}",
            Growth(row.growth_bytes_per_second).to_string()
        )?;
    }
    write!(out, "  {fate}")?;
    // On a terminal it has a line of its own.
    let gap = if width.is_some() { "\n         " } else { ", " };
    match (row.class, row.explanation.is_plain()) {
        (Class::System, true) => write!(out, "{gap}system")?,
        (Class::System, false) => write!(out, "{gap}system, {}", row.explanation)?,
        (Class::Ordinary, false) => write!(out, "{gap}{}", row.explanation)?,
        (Class::Ordinary, true) => {}
    }
    if row.ends > 0 {
        let others = plural(row.ends, "other", "others");
        write!(out, "{gap}ends {} {others}", row.ends)?;
    }
    writeln!(out, "{style:#}")
}

/// The words that the rows above need, a line each.
fn explain(out: &mut impl Write, legend: Legend) -> io::Result<()> {
    for (is_used, line) in [
        (
            legend.growing,
            "grows: took a tenth or more of what memory fell by in 10 s; counts half",
        ),
        (
            legend.outgrows,
            "outgrows memory: takes more in 45 s than all else could free; counts 1/32",
        ),
        (
            legend.penalty,
            "penalty: its share of the values lost earlier because it grew",
        ),
        (
            legend.share,
            "group's 1: its unregistered processes share a value of 1, by memory held",
        ),
        (
            legend.critical,
            "session-critical: without it, a session or the machine cannot be used",
        ),
        (
            legend.system,
            "system: of root or a system account, in no login session; killed last",
        ),
        (
            legend.ends,
            "ends others: what it holds ends with it; chosen only with them, at their cost",
        ),
    ] {
        if is_used {
            writeln!(out, "{QUIET}  {line}{QUIET:#}")?;
        }
    }
    Ok(())
}

fn refused(
    out: &mut impl Write,
    time: Time,
    scope: &ScopeWords,
    cause: Cause,
    refusal: Refusal,
    memory: Option<&Memory>,
) -> io::Result<()> {
    let style = cause_style(cause);
    write!(
        out,
        "{time} {style}{}{style:#}: {scope}{}; no kill: ",
        CauseName(cause),
        Seen(memory)
    )?;
    match refusal {
        Refusal::EnoughAvailable => writeln!(
            out,
            "memory is above the recovery threshold, so tasks stall for another reason (the limit of \
             their own cgroup?)"
        ),
        Refusal::RecoveryInterval { remaining } => writeln!(
            out,
            "{:.0} s left of the interval since the last relief",
            remaining.as_secs_f64().ceil()
        ),
        Refusal::Unsurveyed => writeln!(out, "not yet known which candidates may be paused"),
        Refusal::SwapFull => writeln!(out, "swap has no room for what would be paused"),
        Refusal::ComesBack => writeln!(
            out,
            "the choice is a worker that is started again each time"
        ),
        Refusal::FillsTooFast => writeln!(out, "memory fills too fast to pause for it"),
        Refusal::Pending { bytes } => {
            writeln!(out, "victims still hold {} MiB (pending)", bytes >> 20)
        }
        Refusal::TakenByOthers => {
            writeln!(out, "processes that are not candidates took the memory")
        }
        Refusal::NothingHelps { eligible_bytes } => {
            write!(
                out,
                "all candidates together hold {} MiB, which is not enough",
                eligible_bytes >> 20
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
        Cause::Level(_) | Cause::Stall | Cause::TimeSlice | Cause::Relief | Cause::Word => CAREFUL,
    }
}

fn plural<'a>(count: impl TryInto<u32>, one: &'a str, many: &'a str) -> &'a str {
    if count.try_into().is_ok_and(|count: u32| count == 1) {
        one
    } else {
        many
    }
}

/// When a line was told, in UTC: `2026-11-26T01:40:12Z`.
#[derive(Clone, Copy)]
struct Time(i64);

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A clock beyond the year 9999 is no reason to say nothing.
        Timestamp::from_second(self.0).unwrap_or_default().fmt(f)
    }
}

/// `low memory (warn)`.
pub(crate) struct CauseName(pub(crate) Cause);

impl Display for CauseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Cause::Level(Level::Ok) => "enough memory (ok)",
            Cause::Level(Level::Warn) => "low memory (warn)",
            Cause::Level(Level::Kill) => "low memory (kill)",
            Cause::Stall => "memory pressure",
            Cause::TimeSlice => "turn of another unit",
            Cause::Relief => "relief (memory stalls)",
            Cause::Word => "asked for by a person",
            Cause::LastCall => "last call (kernel about to kill)",
        })
    }
}

/// The same of a signal.
pub(crate) struct ReasonName(pub(crate) KillReason);

impl Display for ReasonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            KillReason::Decided(cause) => CauseName(cause).fmt(f),
            KillReason::CommandIsOver => f.write_str("still alive after its rule's command"),
            KillReason::GraceIsOver(first) => {
                write!(f, "still alive after {} and grace", asks_by(first))
            }
            KillReason::LoopHangs => f.write_str("low memory (kill), main loop stalled"),
        }
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
            )?;
            match self.0.worthless_swap_bytes {
                0 => Ok(()),
                _ => write!(f, ", worth {} MiB (zram)", self.0.free_swap_bytes() >> 20),
            }
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

/// What is paused, where anything is.
impl Display for PausedWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.count) {
            (Some(first), 1) => write!(f, "; paused: {first}"),
            (Some(first), count) => write!(f, "; paused: {first} and {} more", count - 1),
            (None, _) => Ok(()),
        }
    }
}

/// What does not go as it should, where anything does not.
struct ShortfallWords<'a>(&'a Shortfalls);

impl Display for ShortfallWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortfalls {
            unheld,
            unread,
            reaped,
            ref unmatched,
        } = *self.0;
        if unheld > 0 {
            let noun = plural(unheld, "process", "processes");
            write!(f, "; {unheld} {noun} not held (raise RLIMIT_NOFILE)")?;
        }
        if unread > 0 {
            let noun = plural(unread, "process", "processes");
            write!(f, "; {unread} {noun} hidden (hidepid, or RLIMIT_NOFILE)")?;
        }
        let Tally {
            released,
            gone,
            failed,
            dropped,
        } = reaped;
        if failed > 0 || dropped > 0 {
            write!(
                f,
                "; reaper: {released} freed, {gone} had exited, {failed} busy, {dropped} not tried"
            )?;
        }
        if let (count, Some(first)) = unmatched {
            let noun = plural(*count, "rule", "rules");
            let first_of = if *count > 1 { "first: " } else { "" };
            write!(
                f,
                "; {count} {noun} matched no process yet ({first_of}{first})"
            )?;
        }
        Ok(())
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
struct Threshold(u64, u64);

impl Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} MiB ({:.2} %)",
            self.0 >> 20,
            percent_of(self.0, self.1)
        )
    }
}

/// `pid=7340`, and what it calls itself.
struct Identity<'a>(&'a Victim);

impl Display for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Victim { id, name, .. } = self.0;
        write!(f, "pid={} name={}", id.pid, Word(name))
    }
}

/// A victim in fields that can be grepped.
struct VictimFields<'a> {
    victim: &'a Victim,
    user: Option<&'a str>,
}

impl Display for VictimFields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Victim {
            uid,
            oom_score,
            value,
            rss_bytes,
            unit,
            ..
        } = self.victim;
        // Of a process that is in no table nothing more is known.
        if *uid != u32::MAX {
            write!(f, "uid={uid} user={} ", self.user.unwrap_or("-"))?;
        }
        match value {
            Some(value) => write!(f, "value={value}")?,
            None => f.write_str("value=-")?,
        }
        if let Some(unit) = unit {
            write!(
                f,
                " cost={} processes={} frees={}MiB",
                unit.cost,
                unit.processes,
                unit.frees_bytes >> 20
            )?;
        }
        let score = Score(*oom_score);
        write!(f, " VmRSS={}MiB oom_score={score}", rss_bytes >> 20)
    }
}

/// The victim's own words, last: they are the longest.
struct WordFields<'a>(&'a OwnWords);

impl Display for WordFields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(labels) = self.0.labels {
            write!(f, " labels=\"{labels}\"")?;
        }
        match self.0.command {
            Some(command) if !command.is_empty() => write!(f, " cmd=\"{command}\""),
            _ => Ok(()),
        }
    }
}

/// A name as one word: in quotes where it could be taken for more.
struct Word<'a>(&'a Name);

impl Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.to_string();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+:/@".contains(&byte);
        if !name.is_empty() && name.bytes().all(is_plain) {
            return f.write_str(&name);
        }
        write!(f, "{name:?}")
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

/// As wide as its column, whatever the machine.
struct Growth(u64);

impl Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >> 20 {
            0 => Ok(()),
            mib @ 1..1024 => write!(f, "+{mib} MiB/s"),
            mib => write!(f, "+{} GiB/s", mib >> 10),
        }
    }
}

/// Likewise.
struct Resident(u64);

impl Display for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >> 20 {
            mib @ 0..100_000 => write!(f, "{mib} MiB"),
            mib => write!(f, "{} GiB", mib >> 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use oom_policy::{Basis, Explanation, Name, ProcessId, Taker};
    use sensors::CommandLine;

    use super::*;
    use crate::tell::record::UnitLine;

    const MIB: u64 = 1 << 20;

    /// 2026-11-26T01:40:12Z.
    const NOW: i64 = 1_795_657_212;
    const UID: u32 = 1000;

    /// What is written for `record` where no colours get through, on a terminal
    /// as wide as that, or elsewhere.
    fn written(width: Option<usize>, record: &Record) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let passwd = folder.path().join("passwd");
        let line = format!("ann:x:{UID}:1000::/home/ann:/bin/sh\n");
        std::fs::write(&passwd, line).expect("the folder is ours");
        let out = anstream::StripStream::new(Vec::new());
        let mut page = Page::new(out, width, Accounts::at(passwd));
        page.write(NOW, 0, record).expect("a vector takes all");
        String::from_utf8(page.out.into_inner()).expect("text")
    }

    fn plain(record: &Record) -> String {
        written(None, record)
    }

    fn victim() -> Victim {
        Victim {
            id: id(7340),
            name: Name::new(b"python3"),
            uid: UID,
            oom_score: Some(702),
            value: Some(8),
            rss_bytes: 790 * MIB,
            first_signal: None,
            unit: Some(UnitLine {
                processes: 3,
                cost: Cost::from_parts(Cost::PARTS * 3 / 100),
                frees_bytes: 812 * MIB,
            }),
        }
    }

    fn signalled(victim: Victim, why: KillReason, dry: bool) -> Record {
        Record::Signalled {
            victim,
            words: OwnWords {
                command: Some(CommandLine::new(b"python3\0train.py\0")),
                labels: None,
            },
            signal: Signal::Kill,
            why,
            first: true,
            dry,
        }
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
            class: Class::Ordinary,
            explanation: Explanation::new(basis, false, Cost::ZERO),
            ends: 0,
            oom_score: Some(700),
            rss_bytes: 300 * MIB,
            growth_bytes_per_second: 0,
            treatment: Treatment::Keep,
        }
    }

    #[test]
    fn status_says_memory_and_swap() {
        assert_eq!(
            plain(&Record::Status(
                memory(),
                None,
                PausedWords::default(),
                Shortfalls::default()
            )),
            "memory 95 of 1000 MiB available (9.50 %), swap 10 of 400 MiB free (2.50 %)\n"
        );
    }

    #[test]
    fn where_a_cgroup_is_guarded_it_is_named_wherever_memory_is_said() {
        let told = |record: &Record| {
            let out = anstream::StripStream::new(Vec::new());
            let mut page = Page::new(out, None, Accounts::at("passwd"));
            page.scopes = vec![ScopeWords("/x".into())];
            page.write(NOW, 0, record).expect("a vector takes all");
            String::from_utf8(page.out.into_inner()).expect("text")
        };
        let (paused, shortfalls) = (PausedWords::default(), Shortfalls::default());
        let status = told(&Record::Status(memory(), None, paused, shortfalls));
        assert!(
            status.starts_with("cgroup /x: memory 95 of 1000 MiB"),
            "{status}"
        );
        let full_in = Duration::from_secs(40);
        let forewarned = told(&Record::Forewarned {
            full_in,
            next: None,
        });
        assert!(
            forewarned.contains("Z cgroup /x: memory full in"),
            "{forewarned}"
        );
        let refused = told(&Record::Refused {
            cause: Cause::Level(Level::Warn),
            refusal: Refusal::SwapFull,
            memory: Some(memory()),
        });
        let want = "low memory (warn): cgroup /x: memory 95 of 1000 MiB";
        assert!(refused.contains(want), "{refused}");
        let unseen = told(&Record::Unseen(full_in, "gone".into()));
        assert!(
            unseen.starts_with("cgroup /x: memory not readable"),
            "{unseen}"
        );
    }

    #[test]
    fn a_forecast_is_said_as_exactly_as_it_is_meant() {
        let full_in = |seconds| {
            plain(&Record::Status(
                memory(),
                Some(Duration::from_secs(seconds)),
                PausedWords::default(),
                Shortfalls::default(),
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
        assert_eq!(
            said(None),
            "2026-11-26T01:40:12Z memory full in about 40 s at this rate\n"
        );
        let job = Victim {
            id: id(7),
            name: Name::new(b"train"),
            uid: 1000,
            oom_score: None,
            value: Some(5),
            rss_bytes: 300 * MIB,
            first_signal: None,
            unit: None,
        };
        let unknown = Victim { value: None, ..job };
        assert_eq!(
            said(Some(job)),
            "2026-11-26T01:40:12Z memory full in about 40 s at this rate; next victim: train (pid 7, value 5)\n"
        );
        assert_eq!(
            said(Some(unknown)),
            "2026-11-26T01:40:12Z memory full in about 40 s at this rate; next victim: train (pid 7, not registered)\n"
        );
    }

    #[test]
    fn status_says_what_does_not_go_as_it_should() {
        let shortfalls = Shortfalls {
            unheld: 12,
            unread: 1,
            reaped: Tally {
                released: 5,
                failed: 2,
                ..Tally::default()
            },
            unmatched: (2, Some("c.toml:7".into())),
        };
        assert_eq!(
            plain(&Record::Status(
                memory(),
                None,
                PausedWords::default(),
                shortfalls
            )),
            "memory 95 of 1000 MiB available (9.50 %), swap 10 of 400 MiB free (2.50 %); 12 \
             processes not held (raise RLIMIT_NOFILE); 1 process hidden (hidepid, or \
             RLIMIT_NOFILE); reaper: 5 freed, 0 had exited, 2 busy, 0 not tried; 2 rules \
             matched no process yet (first: c.toml:7)\n"
        );
    }

    #[test]
    fn memory_that_cannot_be_read_is_not_shown_as_it_was() {
        let why = "`f`, line 1: cut short";
        assert_eq!(
            plain(&Record::Unseen(Duration::from_millis(12_700), why.into())),
            "memory not readable for 12 s: `f`, line 1: cut short\n"
        );
        let why = "cgroup `/x` has no memory limit";
        assert_eq!(
            plain(&Record::Unguarded(why.into())),
            "not guarded: cgroup `/x` has no memory limit\n"
        );
        let said = plain(&Record::Refused {
            cause: Cause::Relief,
            refusal: Refusal::NothingHelps {
                eligible_bytes: 3 * MIB,
            },
            memory: None,
        });
        assert_eq!(
            said,
            "2026-11-26T01:40:12Z relief (memory stalls): memory not readable; no kill: all \
             candidates together hold 3 MiB, which is not enough\n"
        );
    }

    #[test]
    fn a_kill_is_one_line_with_all_there_is_to_know_of_it() {
        let why = KillReason::Decided(Cause::Level(Level::Kill));
        assert_eq!(
            plain(&signalled(victim(), why, false)),
            "2026-11-26T01:40:12Z kill pid=7340 signal=SIGKILL name=python3 reason=\"low memory \
             (kill)\" uid=1000 user=ann value=8 cost=0.03 processes=3 frees=812MiB VmRSS=790MiB \
             oom_score=702 cmd=\"python3 train.py\"\n"
        );
        let of_the_unit = Victim {
            value: None,
            unit: None,
            uid: 1001,
            ..victim()
        };
        assert_eq!(
            plain(&signalled(
                of_the_unit,
                KillReason::GraceIsOver(None),
                false
            )),
            "2026-11-26T01:40:12Z kill pid=7340 signal=SIGKILL name=python3 reason=\"still alive \
             after SIGTERM and grace\" uid=1001 user=- value=- VmRSS=790MiB oom_score=702 \
             cmd=\"python3 train.py\"\n"
        );
    }

    #[test]
    fn what_a_dry_run_leaves_out_is_not_found_as_a_kill() {
        let said = plain(&signalled(
            victim(),
            KillReason::Decided(Cause::Relief),
            true,
        ));
        assert!(
            said.contains("Z would-kill pid=7340 ") && !said.contains(" kill "),
            "{said}"
        );
    }

    #[test]
    fn on_a_terminal_a_kill_is_folded_and_nothing_is_lost() {
        let record = signalled(victim(), KillReason::Decided(Cause::LastCall), false);
        let said = written(Some(80), &record);
        assert!(said.lines().count() > 1, "{said}");
        assert!(
            said.lines().all(|line| line.chars().count() <= 80),
            "{said}"
        );
        let words = |text: &str| -> Vec<String> {
            text.split_whitespace().map(ToOwned::to_owned).collect()
        };
        assert_eq!(words(&said), words(&plain(&record)));
    }

    fn killed_and_kept() -> [Record; 4] {
        let mut killed = row(12, Basis::Value(8));
        killed.treatment = Treatment::Kill;
        killed.processes = 3;
        killed.growth_bytes_per_second = 40 * MIB;
        killed.explanation = Explanation::new(Basis::Value(8), true, Cost::of_value(2));
        let share = Basis::Share(Cost::from_parts(Cost::PARTS / 58));
        let kept = row(4_194_304, share);
        let mut legend = Legend::default();
        legend.add(&killed);
        legend.add(&kept);
        [
            Record::Columns,
            Record::Candidate(killed),
            Record::Candidate(kept),
            Record::Legend(legend),
        ]
    }

    fn table(width: Option<usize>) -> String {
        let lines = killed_and_kept();
        lines.iter().map(|record| written(width, record)).collect()
    }

    #[test]
    fn candidates_stand_in_columns_and_say_what_they_cost() {
        assert_eq!(
            plain(&Record::Decision(Heading {
                cause: Cause::Level(Level::Warn),
                memory: Some(memory()),
                need_bytes: 60 * MIB,
                candidates: 2,
                chosen: 1,
                pauses: false,
                covers_need: true,
                gap: Cost::ZERO,
                read: Duration::from_micros(900),
                choose: Duration::from_micros(20),
            })),
            "2026-11-26T01:40:12Z low memory (warn): memory 95 of 1000 MiB available (9.50 %), \
             swap 10 of 400 MiB free (2.50 %); need 60 MiB\n\
             \x20 chose 1 of 2 candidates: optimal (read in 0.900 ms, chosen in 0.020 ms)\n"
        );
        assert_eq!(
            table(None),
            "\x20   PID  NAME             procs  oom_score    value      VmRSS      growth\n\
             \x20    12  train                3        700        8    300 MiB   +40 MiB/s  kill, cost 2 = value 8, counts as 4 while it grows, − penalty 2\n\
             4194304  train                1        700        -    300 MiB              keep, cost 0.02 = 0.02 (its share of its group's 1)\n\
             \x20 grows: took a tenth or more of what memory fell by in 10 s; counts half\n\
             \x20 penalty: its share of the values lost earlier because it grew\n\
             \x20 group's 1: its unregistered processes share a value of 1, by memory held\n"
        );
    }

    #[test]
    fn what_took_the_memory_is_named_on_one_line() {
        let taker = |pid, name: &[u8], uid, processes, mebibytes: u64| {
            Some(Taker {
                id: ProcessId {
                    pid,
                    start_ticks: 1,
                },
                name: Name::new(name),
                uid,
                processes,
                taken_bytes: mebibytes << 20,
            })
        };
        let said = plain(&Record::Blamed(Blame {
            fell_bytes: 1210 << 20,
            taken_bytes: 1204 << 20,
            takers: [
                taker(4711, b"python3", 1000, 12, 980),
                taker(813, b"a b", 1001, 1, 224),
                None,
            ],
        }));
        assert_eq!(
            said,
            "2026-11-26T01:40:12Z not candidates, but took 1204 of the 1210 MiB that memory fell by: \
             pid=4711 name=python3 uid=1000 user=ann processes=12 took=980MiB; \
             pid=813 name=\"a b\" uid=1001 user=- processes=1 took=224MiB\n"
        );
    }

    #[test]
    fn the_table_fits_80_columns_and_a_narrower_terminal_has_fewer() {
        assert_eq!(
            table(Some(80)),
            "\x20   PID  NAME             procs  oom_score    value      VmRSS      growth\n\
             \x20    12  train                3        700        8    300 MiB   +40 MiB/s  kill\n\
             \x20        cost 2 = value 8, counts as 4 while it grows, − penalty 2\n\
             4194304  train                1        700        -    300 MiB              keep\n\
             \x20        cost 0.02 = 0.02 (its share of its group's 1)\n\
             \x20 grows: took a tenth or more of what memory fell by in 10 s; counts half\n\
             \x20 penalty: its share of the values lost earlier because it grew\n\
             \x20 group's 1: its unregistered processes share a value of 1, by memory held\n"
        );
        for (width, growth, processes) in [(80, true, true), (79, false, true), (67, false, false)]
        {
            let table = table(Some(width));
            let (head, rows) = table.split_once('\n').expect("more than one");
            assert_eq!(head.contains("growth"), growth, "{width}");
            assert_eq!(head.contains("procs"), processes, "{width}");
            assert!(rows.contains("kill"), "{rows}");
            assert!(
                table.lines().all(|line| line.chars().count() <= width),
                "{table}"
            );
        }
    }

    #[test]
    fn a_row_says_how_many_others_end_with_it() {
        let mut holder = row(7, Basis::Value(8));
        holder.ends = 2;
        let said = plain(&Record::Candidate(holder));
        assert!(said.ends_with("  keep, ends 2 others\n"), "{said}");
        holder.ends = 1;
        let said = written(Some(80), &Record::Candidate(holder));
        assert!(said.ends_with("  keep\n         ends 1 other\n"), "{said}");
        let mut legend = Legend::default();
        legend.add(&holder);
        let said = written(Some(80), &Record::Legend(legend));
        assert!(
            said.starts_with("  ends others: ") && said.len() <= 81,
            "{said}"
        );
    }

    #[test]
    fn a_row_that_needs_no_explanation_has_none() {
        let record = Record::Candidate(row(7, Basis::Value(8)));
        for width in [None, Some(80)] {
            let said = written(width, &record);
            assert!(
                said.ends_with("  keep\n") && said.lines().count() == 1,
                "{said}"
            );
        }
        let mut legend = Legend::default();
        legend.add(&row(7, Basis::Value(8)));
        assert_eq!(legend, Legend::default());
    }

    #[test]
    fn a_choice_that_is_not_proved_says_by_how_much_it_may_be_wrong() {
        let said = plain(&Record::Decision(Heading {
            cause: Cause::Relief,
            memory: Some(memory()),
            need_bytes: 0,
            candidates: 0,
            chosen: 0,
            pauses: false,
            covers_need: true,
            gap: Cost::from_parts(Cost::PARTS * 3 / 2),
            read: Duration::ZERO,
            choose: Duration::ZERO,
        }));
        assert!(said.contains("at most 1.5 above the least cost"), "{said}");
    }

    #[test]
    fn where_nothing_helps_it_says_where_the_memory_is() {
        let said = plain(&Record::Refused {
            cause: Cause::Level(Level::Warn),
            refusal: Refusal::NothingHelps {
                eligible_bytes: 3 * MIB,
            },
            memory: Some(memory()),
        });
        assert!(
            said.contains("no kill: ") && said.contains("Shmem 500 MiB"),
            "{said}"
        );
    }

    #[test]
    fn a_name_cannot_write_to_the_terminal() {
        let victim = Victim {
            name: Name::new(b"\x1b[2J\" signal="),
            ..victim()
        };
        let said = plain(&signalled(victim, KillReason::GraceIsOver(None), false));
        assert!(
            said.contains(" pid=7340 signal=SIGKILL name=\"?[2J\\\" signal=\" reason="),
            "{said}"
        );
    }
}
