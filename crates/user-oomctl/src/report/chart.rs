//! The chart of an incident: memory, swap, stalls, and a band for each process
//! that matters.

use std::cmp::Reverse;
use std::fmt::{self, Write};

use oom_policy::{Levels, Memory, Moment, ProcessId};

use crate::report::html::{Clock, End, Escaped, Size, was_signalled};
use crate::report::incident::{Incident, Life};

/// So many processes have a band.
const BANDS: usize = 14;
/// So many points are drawn: in each step the least.
const STEPS: usize = 400;
/// Between panels, in pixels.
const GAP: f64 = 14.0;
const MEMORY_HEIGHT: f64 = 140.0;
const SWAP_HEIGHT: f64 = 56.0;
const BAND_HEIGHT: f64 = 34.0;
/// A line of text.
const TEXT: f64 = 16.0;
/// Numbers of decisions stand in a strip above.
const MARKS: f64 = 26.0;
/// Two numbers nearer than this become one.
const APART: f64 = 38.0;

/// A chart so many pixels wide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chart {
    pub(crate) width: f64,
}

/// The processes of `incident`: the killed, the paused, those with the highest
/// value, those that held the most.
pub(crate) fn in_order(incident: &Incident) -> Vec<(&ProcessId, &Life)> {
    let mut lives: Vec<_> = incident.lives.iter().collect();
    lives.sort_by_key(|(id, life)| {
        let first = life.signals.first().map(|(at, _)| *at);
        (
            life.signals.is_empty(),
            first,
            !life.was_paused,
            Reverse(life.value),
            Reverse(life.peak_bytes),
            **id,
        )
    });
    lives
}

/// One panel: where it is, and what it shows.
struct Panel<'a> {
    title: &'a str,
    color: &'a str,
    top: f64,
    height: f64,
    total_bytes: u64,
    value: fn(&Memory) -> u64,
    thresholds: [u64; 2],
}

/// Times as places.
struct Axis {
    first: Moment,
    span: f64,
    width: f64,
}

impl Axis {
    /// Whether there is room for two texts in a line.
    fn is_wide(&self) -> bool {
        self.width > 600.0
    }

    fn x(&self, at: Moment) -> f64 {
        at.since(self.first).as_secs_f64() / self.span * self.width
    }
}

/// Writes the chart as an SVG element of `class`.
pub(crate) fn write(
    out: &mut String,
    chart: Chart,
    class: &str,
    incident: &Incident,
) -> fmt::Result {
    let Some((first, last)) = incident.span() else {
        return Ok(());
    };
    let axis = Axis {
        first,
        span: last.since(first).as_secs_f64().max(0.001),
        width: chart.width,
    };
    let lives = in_order(incident);
    let lives = &lives[..lives.len().min(BANDS)];
    let memory = incident.points.last().map(|point| point.memory);
    let memory = memory.unwrap_or_default();
    let mut body = String::new();
    let mut y = MARKS;
    let levels = Levels::of(&incident.settings, &memory);
    let panel = Panel {
        title: "Memory available",
        color: "memory",
        top: y,
        height: MEMORY_HEIGHT,
        total_bytes: memory.total_bytes,
        value: |memory| memory.available_bytes,
        thresholds: [levels.warn_memory, levels.kill_memory],
    };
    write_panel(&mut body, &axis, incident, &panel)?;
    y += TEXT + MEMORY_HEIGHT + GAP;
    if memory.swap_total_bytes > 0 {
        let panel = Panel {
            title: "Swap free",
            color: "swap",
            top: y,
            height: SWAP_HEIGHT,
            total_bytes: memory.swap_total_bytes,
            value: |memory| memory.swap_free_bytes,
            thresholds: [levels.warn_swap, levels.kill_swap],
        };
        write_panel(&mut body, &axis, incident, &panel)?;
        y += TEXT + SWAP_HEIGHT + GAP;
    }
    if !incident.stalls.is_empty() {
        write_stalls(&mut body, &axis, &incident.stalls, y)?;
        y += TEXT + 10.0 + GAP;
    }
    for (id, life) in lives {
        write_band(&mut body, &axis, incident, (**id, life), y)?;
        y += BAND_HEIGHT;
    }
    write_ticks(&mut body, &axis, incident, (first, last), y)?;
    let height = y + TEXT + 8.0;
    writeln!(
        out,
        "<svg class=\"{class}\" viewBox=\"0 0 {:.0} {height:.0}\" role=\"img\" \
         aria-label=\"Memory, swap, stalls, processes and decisions over time\">",
        chart.width
    )?;
    // Below all else.
    write_marks(out, &axis, incident, y)?;
    out.write_str(&body)?;
    out.write_str("</svg>\n")
}

fn write_panel(
    out: &mut String,
    axis: &Axis,
    incident: &Incident,
    panel: &Panel<'_>,
) -> fmt::Result {
    let base = panel.top + TEXT + panel.height;
    let values = || {
        incident
            .points
            .iter()
            .map(|point| (panel.value)(&point.memory))
    };
    let most = values().max().unwrap_or(0);
    let scale = most.max(panel.thresholds[0] * 3 / 2).max(1);
    let height = |bytes: u64| bytes as f64 / scale as f64 * panel.height;
    let least = values().min().unwrap_or(0);
    let highest = match axis.is_wide() {
        true => format!(", {} at most", Size(most)),
        false => String::new(),
    };
    writeln!(
        out,
        "<text x=\"0\" y=\"{:.1}\">{} <tspan class=\"faint\">of {}; {} at least{highest}</tspan></text>",
        panel.top + TEXT - 5.0,
        panel.title,
        Size(panel.total_bytes),
        Size(least),
    )?;
    writeln!(
        out,
        "<line x1=\"0\" x2=\"{0:.1}\" y1=\"{base:.1}\" y2=\"{base:.1}\" stroke=\"var(--line)\"/>",
        axis.width
    )?;
    let points = thinned(axis, incident, panel.value);
    let mut line = String::new();
    for (x, bytes) in &points {
        write!(line, "{x:.1},{:.1} ", base - height(*bytes))?;
    }
    let (from, to) = match (points.first(), points.last()) {
        (Some((from, _)), Some((to, _))) => (*from, *to),
        _ => return Ok(()),
    };
    let color = panel.color;
    if color == "memory" {
        writeln!(
            out,
            "<polygon points=\"{from:.1},{base:.1} {line}{to:.1},{base:.1}\" fill=\"var(--fill)\"/>"
        )?;
    }
    writeln!(
        out,
        "<polyline points=\"{line}\" fill=\"none\" stroke=\"var(--{color})\" stroke-width=\"1.8\"/>"
    )?;
    let [warn, kill] = panel.thresholds;
    let is_apart = height(warn) - height(kill) >= 12.0;
    for (name, bytes, raised) in [
        ("warn", warn, 4.0),
        ("kill", kill, if is_apart { 4.0 } else { -12.0 }),
    ] {
        let y = base - height(bytes);
        writeln!(
            out,
            "<line x1=\"0\" x2=\"{0:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"var(--{name})\" \
             stroke-dasharray=\"5 4\"/>\n\
             <text x=\"{0:.1}\" y=\"{1:.1}\" text-anchor=\"end\" style=\"fill:var(--{name})\">{name} {2}</text>",
            axis.width,
            y - raised,
            Size(bytes)
        )?;
    }
    Ok(())
}

/// In each step the least, which is what matters.
fn thinned(axis: &Axis, incident: &Incident, value: fn(&Memory) -> u64) -> Vec<(f64, u64)> {
    let mut points: Vec<(f64, u64)> = Vec::new();
    let step = axis.width / STEPS as f64;
    for point in &incident.points {
        let (x, bytes) = (axis.x(point.at), value(&point.memory));
        match points.last_mut() {
            Some((last, least)) if x - *last < step => *least = bytes.min(*least),
            _ => points.push((x, bytes)),
        }
    }
    points
}

fn write_stalls(out: &mut String, axis: &Axis, stalls: &[Moment], top: f64) -> fmt::Result {
    let y = top + TEXT;
    writeln!(
        out,
        "<text x=\"0\" y=\"{:.1}\">Pressure <tspan class=\"faint\">all tasks stalled on memory, {} times</tspan></text>",
        y - 5.0,
        stalls.len()
    )?;
    let mut before = f64::NEG_INFINITY;
    for at in stalls {
        let x = axis.x(*at);
        if x - before >= 1.0 {
            before = x;
            writeln!(
                out,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y:.1}\" y2=\"{:.1}\" stroke=\"var(--warn)\"/>",
                y + 10.0
            )?;
        }
    }
    Ok(())
}

fn write_band(
    out: &mut String,
    axis: &Axis,
    incident: &Incident,
    (id, life): (ProcessId, &Life),
    top: f64,
) -> fmt::Result {
    let value = life.value.map_or("not registered".to_owned(), |value| {
        format!("value {value}")
    });
    let from = axis.x(life.first);
    let to = match life.is_gone {
        true => axis.x(life.last).max(from + 2.0),
        false => axis.width,
    };
    let color = match (was_signalled(life), life.was_paused, life.value) {
        (true, ..) => "kill",
        (false, true, _) => "swap",
        (false, false, Some(_)) => "kept",
        (false, false, None) => "other",
    };
    let y = top + TEXT;
    writeln!(
        out,
        "<text x=\"0\" y=\"{:.1}\">{} {} <tspan class=\"faint\">{value}, {}</tspan></text>",
        y - 4.0,
        id.pid,
        Escaped(&life.name),
        Size(life.peak_bytes)
    )?;
    // In the narrow chart it would run into what stands at the left.
    if axis.is_wide() {
        writeln!(
            out,
            "<text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            axis.width,
            y - 4.0,
            End(incident, life)
        )?;
    }
    writeln!(
        out,
        "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"8\" rx=\"2\" fill=\"var(--{color})\"/>",
        to - from
    )?;
    for (at, _) in life.signals.iter().filter(|(_, signal)| !signal.dry) {
        let x = axis.x(*at);
        writeln!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"var(--text)\" \
             stroke-width=\"2\"/>",
            y - 2.0,
            y + 10.0
        )?;
    }
    Ok(())
}

/// Of each decision its number, and a line through all panels.
fn write_marks(out: &mut String, axis: &Axis, incident: &Incident, bottom: f64) -> fmt::Result {
    let mut marks: Vec<(f64, usize, usize)> = Vec::new();
    for (number, account) in (1..).zip(&incident.decisions) {
        let x = axis.x(account.at);
        match marks.last_mut() {
            Some((last, _, to)) if x - *last < APART => *to = number,
            _ => marks.push((x, number, number)),
        }
    }
    for (x, from, to) in marks {
        let name = match from == to {
            true => from.to_string(),
            false => format!("{from}–{to}"),
        };
        let half = if from == to { 9.0 } else { 18.0 };
        let middle = x.clamp(half, axis.width - half);
        writeln!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"20\" y2=\"{bottom:.1}\" stroke=\"var(--faint)\" \
             stroke-dasharray=\"2 3\"/>\n\
             <rect x=\"{:.1}\" y=\"1\" width=\"{:.1}\" height=\"18\" rx=\"9\" fill=\"var(--text)\"/>\n\
             <text class=\"mark\" x=\"{middle:.1}\" y=\"14\" text-anchor=\"middle\">{name}</text>",
            middle - half,
            half * 2.0
        )?;
    }
    Ok(())
}

fn write_ticks(
    out: &mut String,
    axis: &Axis,
    incident: &Incident,
    (first, last): (Moment, Moment),
    y: f64,
) -> fmt::Result {
    let half = last.since(first) / 2;
    let ticks = [(first, "start"), (first + half, "middle"), (last, "end")];
    for (at, anchor) in ticks {
        writeln!(
            out,
            "<text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            axis.x(at),
            y + TEXT,
            Clock(incident.time(at))
        )?;
    }
    Ok(())
}
