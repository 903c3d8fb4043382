//! The page: what is written around the charts. Every text in it goes through
//! [`Escaped`]: names, command lines and labels are strangers' words.

use std::fmt::{self, Display, Write};

use jiff::Timestamp;
use journal::Account;
use oom_policy::{Cause, Level, Refusal, Verdict};

use crate::report::chart::{self, Chart};
use crate::report::incident::{Incident, Life};

/// On a screen, and on a phone.
const WIDE: Chart = Chart { width: 860.0 };
const NARROW: Chart = Chart { width: 350.0 };
/// So many processes have a row.
const ROWS: usize = 60;

const STYLE: &str = "
:root { color-scheme: light dark; --back: #fdfdfc; --text: #1c1e21; --faint: #5d636b; --line: #d5d8dc;
  --memory: #2b6cb0; --fill: #2b6cb033; --swap: #6b46c1; --warn: #b7791f; --kill: #c53030; --kept: #2f855a;
  --other: #8a929c; }
@media (prefers-color-scheme: dark) { :root { --back: #16181b; --text: #e7e9ec; --faint: #a0a7b0;
  --line: #3a3f46; --memory: #63a4e8; --fill: #63a4e833; --swap: #a78bfa; --warn: #e0ac4a; --kill: #f27272;
  --kept: #5cc08b; --other: #79818b; } }
body { background: var(--back); color: var(--text); font: 15px/1.45 system-ui, sans-serif; margin: 0 auto;
  max-width: 900px; padding: 16px; }
h1 { font-size: 22px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 28px 0 4px; }
h3 { font-size: 15px; margin: 20px 0 4px; } p { margin: 4px 0; } .faint { color: var(--faint); }
svg { display: block; width: 100%; height: auto; margin: 8px 0; } svg.narrow { display: none; }
svg text { fill: var(--text); font: 12px system-ui, sans-serif; } svg .faint { fill: var(--faint); }
svg text { paint-order: stroke; stroke: var(--back); stroke-width: 4px; } svg text.mark { fill: var(--back); stroke: none; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 500; white-space: nowrap; } td.number { text-align: right;
  white-space: nowrap; } td.words { overflow-wrap: anywhere; min-width: 9em; }
.killed { color: var(--kill); } .paused { color: var(--swap); }
@media (max-width: 600px) { svg.wide { display: none; } svg.narrow { display: block; }
  body { padding: 12px; } table, tbody, tr, td, td.number { display: block; text-align: left; }
  tr { border-bottom: 1px solid var(--line); padding: 6px 0; } tr.head, td:empty { display: none; }
  td { border: 0; padding: 0; } td::before { color: var(--faint); content: attr(data-name) \": \"; } }
";

/// Text as HTML has it, in an element or an attribute.
pub(crate) struct Escaped<T>(pub(crate) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.to_string().chars() {
            match char {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ if char.is_control() => f.write_char('?')?,
                _ => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

/// Bytes as one reads them.
pub(crate) struct Size(pub(crate) u64);

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >> 20 {
            mib @ ..10_000 => write!(f, "{mib} MiB"),
            mib => write!(f, "{}.{} GiB", mib >> 10, (mib & 1023) * 10 / 1024),
        }
    }
}

/// The page of `incidents`; `earlier`: how many more there are before these.
pub(crate) fn page(incidents: &[Incident], earlier: usize, damaged: &[String]) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_page(&mut out, incidents, earlier, damaged);
    out
}

fn write_page(
    out: &mut String,
    incidents: &[Incident],
    earlier: usize,
    damaged: &[String],
) -> fmt::Result {
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>user-oom report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>user-oom report</h1>\n"
    )?;
    if earlier > 0 {
        writeln!(
            out,
            "<p class=\"faint\">{earlier} earlier incidents are not shown.</p>"
        )?;
    }
    for incident in incidents {
        write_incident(out, incident)?;
    }
    if !damaged.is_empty() {
        writeln!(out, "<h3>Lines left out</h3>\n<ul>")?;
        for line in damaged {
            writeln!(out, "<li>{}</li>", Escaped(line))?;
        }
        writeln!(out, "</ul>")?;
    }
    out.write_str("</body>\n</html>\n")
}

fn write_incident(out: &mut String, incident: &Incident) -> fmt::Result {
    let Some((first, last)) = incident.span() else {
        return Ok(());
    };
    let begin = incident.time(first);
    writeln!(
        out,
        "<h2>{}</h2>\n<p class=\"faint\">From {} for {}, on {}; times are UTC</p>",
        Day(begin),
        Clock(begin),
        Span(last.since(first).as_secs_f64()),
        Escaped(&incident.kernel)
    )?;
    writeln!(out, "<p>{}</p>", Outcome(incident))?;
    for (chart, class) in [(WIDE, "wide"), (NARROW, "narrow")] {
        chart::write(out, chart, class, incident)?;
    }
    write_decisions(out, incident)?;
    write_processes(out, incident)
}

/// What came of it, in a sentence.
struct Outcome<'a>(&'a Incident);

impl Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lives = || self.0.lives.values();
        let killed = lives().filter(|it| was_signalled(it)).count();
        let paused = lives().filter(|it| it.was_paused).count();
        let lost: u64 = lives()
            .filter(|it| was_signalled(it))
            .filter_map(|it| it.value)
            .map(u64::from)
            .sum();
        let kept: u64 = lives()
            .filter(|it| !was_signalled(it) && !it.is_gone)
            .filter_map(|it| it.value)
            .map(u64::from)
            .sum();
        let noun = if killed == 1 { "process" } else { "processes" };
        write!(
            f,
            "{killed} {noun} killed, {paused} paused; value lost {lost}, kept {kept}."
        )
    }
}

/// Whether it was killed; in a dry run, nothing is.
pub(crate) fn was_signalled(life: &Life) -> bool {
    life.signals.iter().any(|(_, signal)| !signal.dry)
}

fn write_decisions(out: &mut String, incident: &Incident) -> fmt::Result {
    out.write_str(
        "<h3>Decisions</h3>\n<div class=\"scroll\"><table>\n<tr class=\"head\"><th>#</th><th>Time</th><th>Why</th>\
         <th>Need</th><th>Frees</th><th>Decided</th><th>Value lost</th></tr>\n",
    )?;
    for (number, account) in (1..).zip(&incident.decisions) {
        out.write_str("<tr>")?;
        cell(out, "#", "", number)?;
        cell(out, "Time", "", Clock(incident.time(account.at)))?;
        cell(out, "Why", "", why(account))?;
        cell(out, "Need", "number", Size(account.need_bytes))?;
        cell(out, "Frees", "number", Size(account.frees_bytes))?;
        cell(out, "Decided", "words", Done(account))?;
        cell(out, "Value lost", "number", account.lost)?;
        out.write_str("</tr>\n")?;
    }
    out.write_str("</table></div>\n")
}

/// `content` is HTML by now.
fn cell(out: &mut String, name: &str, class: &str, content: impl Display) -> fmt::Result {
    write!(
        out,
        "<td class=\"{class}\" data-name=\"{name}\">{content}</td>"
    )
}

fn why(account: &Account) -> &'static str {
    match account.cause {
        Some(Cause::Level(Level::Kill)) => "memory at the kill threshold",
        Some(Cause::Level(_)) => "memory at the warn threshold",
        Some(Cause::Stall) => "tasks stall on memory",
        Some(Cause::TimeSlice) => "a paused unit has waited for its turn",
        Some(Cause::Relief) => "relief was asked for",
        Some(Cause::Word) => "a person asked for it",
        Some(Cause::LastCall) => "the kernel was about to kill",
        None => "a grace period is over, or memory is back",
    }
}

/// What was decided, and about which.
struct Done<'a>(&'a Account);

impl Display for Done<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let account = self.0;
        f.write_str(match account.verdict {
            Verdict::Chosen => "kill ",
            Verdict::Paused => "pause ",
            Verdict::Idle => return f.write_str("carry on with what was decided before"),
            Verdict::Refused(refusal) => return f.write_str(refused(refusal)),
        })?;
        for (place, unit) in (0..).zip(&account.first) {
            let separator = if place == 0 { "" } else { ", " };
            write!(
                f,
                "{separator}{} {} ({})",
                unit.leader.pid,
                Escaped(unit.name),
                Escaped(unit.explanation)
            )?;
        }
        let named = u32::try_from(account.first.len()).unwrap_or(u32::MAX);
        match account.chosen.saturating_sub(named) {
            0 => {}
            others => write!(f, " and {others} others")?,
        }
        write!(f, ", of {} candidates", account.candidates)?;
        if !account.covers_need {
            f.write_str("; all together free less than the need")?;
        }
        Ok(())
    }
}

/// Earlier victims may be sent SIGKILL at the same time: nothing more is chosen.
fn refused(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::EnoughAvailable => "nothing more: enough memory is available",
        Refusal::RecoveryInterval { .. } => "nothing more: the last relief was just now",
        Refusal::Pending { .. } => "nothing more: what earlier victims still hold is enough",
        Refusal::Unsurveyed => "nothing yet: it is not known what may be paused",
        Refusal::SwapFull => "nothing more: swap has no room for what would be paused",
        Refusal::ComesBack => "nothing more: the cheapest is started again each time it is killed",
        Refusal::FillsTooFast => "nothing more: memory fills too fast for a pause",
        Refusal::TakenByOthers => "nothing more: processes that are not candidates took the memory",
        Refusal::NothingHelps { .. } => "nothing more: all candidates together free too little",
    }
}

fn write_processes(out: &mut String, incident: &Incident) -> fmt::Result {
    let lives = chart::in_order(incident);
    out.write_str(
        "<h3>Processes</h3>\n<div class=\"scroll\"><table>\n<tr class=\"head\"><th>Pid</th><th>Name</th>\
         <th>User</th><th>Value</th><th>Peak</th><th>End</th><th>Labels</th></tr>\n",
    )?;
    for (id, life) in lives.iter().take(ROWS) {
        let last = life.signals.last().map(|(_, signal)| signal);
        let user = last.and_then(|signal| signal.user.clone());
        let user = user.unwrap_or_else(|| life.uid.to_string());
        let class = match (was_signalled(life), life.was_paused) {
            (true, _) => "killed",
            (false, true) => "paused",
            (false, false) => "",
        };
        let value = life.value.map_or("–".to_owned(), |value| value.to_string());
        let labels = life.labels.as_ref().map(|labels| format!("[{labels}]"));
        let command = last.and_then(|signal| signal.command.clone());
        let words: Vec<_> = labels.into_iter().chain(command).collect();
        out.write_str("<tr>")?;
        cell(out, "Pid", "", id.pid)?;
        cell(out, "Name", "", Escaped(&life.name))?;
        cell(out, "User", "", Escaped(user))?;
        cell(out, "Value", "number", value)?;
        cell(out, "Peak", "number", Size(life.peak_bytes))?;
        cell(out, "End", class, End(incident, life))?;
        cell(out, "Labels", "words", Escaped(words.join(" ")))?;
        out.write_str("</tr>\n")?;
    }
    out.write_str("</table></div>\n")?;
    match lives.len().saturating_sub(ROWS) {
        0 => Ok(()),
        others => writeln!(
            out,
            "<p class=\"faint\">and {others} others, which held less and were not signalled</p>"
        ),
    }
}

/// How it ended.
pub(crate) struct End<'a>(pub(crate) &'a Incident, pub(crate) &'a Life);

impl Display for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(incident, life) = self;
        for (place, (at, signal)) in (0..).zip(&life.signals) {
            let separator = if place == 0 { "" } else { ", " };
            let would = if signal.dry { "would get " } else { "" };
            let time = Clock(incident.time(*at));
            write!(f, "{separator}{would}{} {time}", Escaped(&signal.signal))?;
        }
        let separator = if life.signals.is_empty() { "" } else { "; " };
        match (life.is_gone, life.was_paused) {
            (true, _) if life.signals.is_empty() => f.write_str("ended, not by user-oom"),
            (true, _) => {
                let time = Clock(incident.time(life.last));
                write!(f, "{separator}gone {time}")
            }
            (false, true) => write!(f, "{separator}paused"),
            (false, false) => write!(f, "{separator}runs on"),
        }
    }
}

/// `2026-11-26`
struct Day(Timestamp);

impl Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_str(text.split('T').next().unwrap_or_default())
    }
}

/// `01:40:12`
pub(crate) struct Clock(pub(crate) Timestamp);

impl Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let time = text.split('T').nth(1).unwrap_or_default();
        f.write_str(time.get(..8).unwrap_or_default())
    }
}

/// Seconds as one says them.
struct Span(f64);

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds @ ..100.0 => write!(f, "{seconds:.1} s"),
            seconds => write!(f, "{:.0} min", seconds / 60.0),
        }
    }
}
