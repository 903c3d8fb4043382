//! A picture of the walk-through: whose memory filled the machine, over time,
//! and what the daemon did about it.
//!
//! Drawn from the timeline of a run's log; nothing is placed by hand, and the
//! same log gives the same bytes. The picture needs nothing from elsewhere: no
//! script, no font, no image. It has its own background, so that it can be read
//! on a light page and on a dark one. The bands differ in lightness too, and
//! their colours (Okabe and Ito's) can be told apart by the colour-blind.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use crate::timeline::{Process, Sample, Signal, Timeline};
use crate::transcript::{GRACE_SECONDS, Walk};

/// Where it is put.
pub(crate) const PATH: &str = "docs/picture.svg";

// All in pixels, where it is shown no smaller than it is.
const WIDTH: f64 = 860.0;
const MARGIN: f64 = 16.0;
const LEFT: f64 = 150.0;
const TOP: f64 = 44.0;
const PLOT_WIDTH: f64 = 480.0;
const PLOT_HEIGHT: f64 = 360.0;
const BOTTOM: f64 = TOP + PLOT_HEIGHT;
const LEGEND: f64 = LEFT + PLOT_WIDTH + 16.0;
const LEGEND_ROW: f64 = 46.0;
const CALLOUTS: f64 = BOTTOM + 56.0;
const CALLOUT_WIDTH: f64 = (WIDTH - 2.0 * MARGIN) / 3.0;
const CALLOUT_INDENT: f64 = 28.0;
const RADIUS: f64 = 10.0;
const FONT: f64 = 13.0;
const LINE: f64 = 18.0;

/// The width of a character for its size, at the most on average: sans-serif
/// fonts have 0.5 to 0.55, bold ones a little more.
const CHARACTER: f64 = 0.6;

/// Signals so near to each other, in seconds, are of one decision.
const TOGETHER: f64 = 1.0;

const MIB: u64 = 1024;

/// The longest that the kernel takes to free what a process held, in seconds.
const FREEING: f64 = 2.0;

/// The picture of a walk.
///
/// # Errors
///
/// It shows no SIGTERM, or no SIGKILL after one, or nothing survived: it would
/// explain nothing.
pub(crate) fn draw(timeline: &Timeline, walk: &Walk) -> Result<String> {
    let story = Story::of(timeline, walk)?;
    let chart = Chart::new(timeline);
    let mut svg = String::new();
    let callout_rows = story.callouts.each_ref().map(|callout| callout.rows());
    let most_rows = callout_rows.iter().map(Vec::len).max().unwrap_or_default();
    let height = CALLOUTS + LINE * count(most_rows) + LINE + MARGIN;
    head(&mut svg, height, timeline, &story)?;
    chart.bands(&mut svg)?;
    chart.axes(&mut svg)?;
    chart.names(&mut svg, &story)?;
    legend(&mut svg, &story)?;
    let mut clear = LEFT;
    for (number, (callout, rows)) in story.callouts.iter().zip(&callout_rows).enumerate() {
        let x = chart.x(callout.seconds);
        clear = clear.max(x - RADIUS);
        marker(&mut svg, number + 1, x, clear + RADIUS)?;
        clear += 2.0 * RADIUS + 2.0;
        callout.draw(&mut svg, number, rows)?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn head(svg: &mut String, height: f64, timeline: &Timeline, story: &Story<'_>) -> Result<()> {
    let total = timeline.total / MIB;
    let said: Vec<String> = story.callouts.iter().map(Callout::sentence).collect();
    let description = escaped(&said.join(" "));
    write!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title description">
<title id="title">Memory of a machine of {total} MiB over time, with four processes as stacked bands</title>
<desc id="description">{description}</desc>
<style>
text {{ font: {FONT}px sans-serif; fill: #1f2328 }}
.card {{ fill: #ffffff; stroke: #d0d7de }}
.small {{ font-size: 12px }}
.bold {{ font-weight: 600 }}
.dim {{ fill: #59636e }}
.right {{ text-anchor: end }}
.middle {{ text-anchor: middle }}
.grid {{ stroke: #59636e; stroke-width: 0.5; opacity: 0.5 }}
.line {{ stroke: #1f2328; stroke-width: 1.2 }}
.dash {{ stroke-dasharray: 6 4 }}
.dot {{ stroke-dasharray: 1.5 4 }}
.time {{ stroke: #1f2328; stroke-width: 1; stroke-dasharray: 2 3 }}
.knob {{ fill: #1f2328 }}
.number {{ fill: #ffffff; font-weight: 600; font-size: 12px }}
.band {{ stroke: #ffffff; stroke-width: 1 }}
.b0 {{ fill: #0072b2 }}
.b1 {{ fill: #8ccbf0 }}
.b2 {{ fill: #f0b23c }}
.b3 {{ fill: #c8500a }}
.rest {{ fill: #c4cad1 }}
.on-b0, .on-b3 {{ fill: #ffffff }}
.on-b1, .on-b2 {{ fill: #1f2328 }}
@media (prefers-color-scheme: dark) {{
text {{ fill: #e6edf3 }}
.card {{ fill: #161b22; stroke: #3d444d }}
.dim {{ fill: #a5aeb8 }}
.grid {{ stroke: #a5aeb8 }}
.line, .time {{ stroke: #e6edf3 }}
.knob {{ fill: #e6edf3 }}
.number {{ fill: #161b22 }}
.band {{ stroke: #161b22 }}
.rest {{ fill: #4b535d }}
.on-b0, .on-b3 {{ fill: #ffffff }}
.on-b1, .on-b2 {{ fill: #1f2328 }}
}}
</style>
<rect class="card" x="0.5" y="0.5" width="{}" height="{}" rx="8"/>
"##,
        WIDTH - 1.0,
        height - 1.0
    )?;
    Ok(())
}

/// Where a moment and an amount of memory are.
struct Chart<'run> {
    timeline: &'run Timeline,
    /// What the rest of the machine held at the most before the first signal.
    most_rest: u64,
}

impl<'run> Chart<'run> {
    fn new(timeline: &'run Timeline) -> Self {
        let mut chart = Self {
            timeline,
            most_rest: 0,
        };
        let first = timeline.signals.first().map_or(0.0, |sent| sent.seconds);
        let before = timeline.samples.iter().filter(|one| one.seconds <= first);
        chart.most_rest = before.map(|one| chart.rest(one)).max().unwrap_or(u64::MAX);
        chart
    }

    fn end(&self) -> f64 {
        self.timeline
            .samples
            .last()
            .map_or(1.0, |last| last.seconds)
    }

    fn x(&self, seconds: f64) -> f64 {
        LEFT + PLOT_WIDTH * seconds / self.end()
    }

    /// Of so many KiB in use.
    fn y(&self, kib: u64) -> f64 {
        BOTTOM - PLOT_HEIGHT * as_float(kib) / as_float(self.timeline.total)
    }

    /// At which so many KiB are left.
    fn y_left(&self, kib: u64) -> f64 {
        self.y(self.timeline.total.saturating_sub(kib))
    }

    /// The edges between the bands of a sample, from the bottom to the top: the
    /// rest of the machine is below the first, and the last is all that is in use.
    ///
    /// A process that ends holds nothing by its status some tenths of a second
    /// before the kernel has freed it all. So what is in use beyond all that is
    /// known is drawn as still held by the one whose end is nearest, if it is near.
    fn edges(&self, sample: &Sample) -> Vec<u64> {
        let rest = self.rest(sample);
        let ending = (0..sample.held.len())
            .filter_map(|one| Some((one, (self.timeline.end(one)? - sample.seconds).abs())))
            .filter(|(_, distance)| *distance <= FREEING)
            .min_by(|one, other| one.1.total_cmp(&other.1));
        let known = match ending {
            Some(_) => rest.min(self.most_rest),
            None => rest,
        };
        let mut edges = vec![0, known];
        let mut edge = known;
        for (one, held) in sample.held.iter().enumerate() {
            edge += held.unwrap_or(0);
            if ending.is_some_and(|(ending, _)| ending == one) {
                edge += rest - known;
            }
            edges.push(edge);
        }
        edges
    }

    /// What is in use and of none of the processes.
    fn rest(&self, sample: &Sample) -> u64 {
        let held: u64 = sample.held.iter().flatten().sum();
        let used = self.timeline.total.saturating_sub(sample.available);
        used.saturating_sub(held)
    }

    /// The lower and the upper edge of a band at each sample, in pixels; band 0 is
    /// the rest of the machine.
    fn band(&self, band: usize) -> Vec<Stretch> {
        let stretch = |sample: &Sample| {
            let edges = self.edges(sample);
            Stretch {
                x: self.x(sample.seconds),
                lower: self.y(edges[band]),
                upper: self.y(edges[band + 1]),
            }
        };
        self.timeline.samples.iter().map(stretch).collect()
    }

    fn bands(&self, svg: &mut String) -> Result<()> {
        for band in 0..=self.timeline.processes.len() {
            let stretches = self.band(band);
            let class = class(band);
            write!(svg, r#"<path class="band {class}" d="M"#)?;
            for Stretch { x, upper, .. } in &stretches {
                write!(svg, "{x:.1} {upper:.1} ")?;
            }
            for Stretch { x, lower, .. } in stretches.iter().rev() {
                write!(svg, "{x:.1} {lower:.1} ")?;
            }
            writeln!(svg, r#"z"/>"#)?;
        }
        Ok(())
    }

    fn axes(&self, svg: &mut String) -> Result<()> {
        let Timeline {
            total,
            warn,
            kill,
            recovery,
            ..
        } = *self.timeline;
        let percent = |kib: u64| (as_float(kib) * 100.0 / as_float(total)).round();
        let left = |name: &str, kib| format!("{name}: {} % left", percent(kib));
        let lines = [
            ("line", 0, format!("{} MiB", total / MIB)),
            ("line", kill, left("kill", kill)),
            ("line dash", warn, left("warn", warn)),
            ("line dot", recovery, left("recovery", recovery)),
            (
                "grid",
                total - total / 2,
                format!("{} MiB", total / 2 / MIB),
            ),
            ("line", total, "0".to_owned()),
        ];
        let (right, x, title) = (LEFT + PLOT_WIDTH, LEFT - 8.0, TOP - 12.0);
        writeln!(
            svg,
            r#"<text class="small bold right" x="{x}" y="{title}">memory in use</text>"#
        )?;
        for (class, kib, label) in lines {
            let y = self.y_left(kib);
            let base = y + 4.0;
            writeln!(
                svg,
                r#"<path class="{class}" d="M{LEFT} {y:.1}H{right}"/>
<text class="small right" x="{x}" y="{base:.1}">{label}</text>"#
            )?;
        }
        let mut seconds = 0.0;
        while seconds <= self.end() {
            let (x, base) = (self.x(seconds), BOTTOM + 18.0);
            writeln!(
                svg,
                r#"<text class="small dim middle" x="{x:.1}" y="{base}">{seconds} s</text>"#
            )?;
            seconds += 10.0;
        }
        Ok(())
    }

    /// A name in each band that has room for it, clear of the lines of the
    /// callouts.
    fn names(&self, svg: &mut String, story: &Story<'_>) -> Result<()> {
        let lines = story.callouts.each_ref().map(|one| self.x(one.seconds));
        for (index, process) in self.timeline.processes.iter().enumerate() {
            let band = index + 1;
            name(
                svg,
                &self.band(band),
                &process.to_string(),
                &class(band),
                &lines,
            )?;
        }
        name(svg, &self.band(0), REST, &class(0), &lines)?;
        name(svg, &self.available(), "available", "free", &lines)
    }

    /// What is left, between two thresholds.
    fn available(&self) -> Vec<Stretch> {
        let (recovery, warn) = (
            self.y_left(self.timeline.recovery),
            self.y_left(self.timeline.warn),
        );
        let above = |used: Stretch| Stretch {
            x: used.x,
            lower: used.upper,
            upper: if recovery < used.upper {
                recovery
            } else {
                warn
            },
        };
        self.band(self.timeline.processes.len())
            .into_iter()
            .map(above)
            .collect()
    }
}

fn name(svg: &mut String, band: &[Stretch], name: &str, on: &str, lines: &[f64]) -> Result<()> {
    if let Some((x, y)) = place(band, width(name, FONT), lines) {
        let (name, y) = (escaped(name), y + FONT / 3.0);
        writeln!(
            svg,
            r#"<text class="middle on-{on}" x="{x:.1}" y="{y:.1}">{name}</text>"#
        )?;
    }
    Ok(())
}

/// The kernel, the daemon, and what processes share.
const REST: &str = "everything else";

/// Of the band's fill.
fn class(band: usize) -> String {
    match band {
        0 => "rest".to_owned(),
        band => format!("b{}", band - 1),
    }
}

/// A band at one moment; the lower edge has the greater number.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    x: f64,
    lower: f64,
    upper: f64,
}

/// The middle of the roomiest place in a band for a text of this width, if one
/// has room for it, that is on none of these lines.
fn place(band: &[Stretch], width: f64, lines: &[f64]) -> Option<(f64, f64)> {
    let room = |first: usize| {
        let from = band[first].x;
        let to = from + width + 8.0;
        let end = band.iter().position(|stretch| to <= stretch.x)?;
        if lines
            .iter()
            .any(|&line| from - 4.0 < line && line < to + 4.0)
        {
            return None;
        }
        let under = &band[first..=end];
        let upper = under.iter().map(|one| one.upper).fold(0.0, f64::max);
        let lower = under.iter().map(|one| one.lower).fold(BOTTOM, f64::min);
        let room = lower - upper;
        (FONT + 4.0 <= room).then_some((room, (from + to) / 2.0, (lower + upper) / 2.0))
    };
    let places = (0..band.len()).filter_map(room);
    let best = places.reduce(|best, place| if best.0 < place.0 { place } else { best });
    best.map(|(_, x, y)| (x, y))
}

/// A row for each band, in their order from the top.
fn legend(svg: &mut String, story: &Story<'_>) -> Result<()> {
    let mut y = TOP + 12.0;
    let mut row = |class: &str, name: &str, fate: &str| {
        let (text, second) = (LEGEND + 22.0, y + LINE);
        let (swatch, name, fate) = (y - 11.0, escaped(name), escaped(fate));
        writeln!(
            svg,
            r#"<rect class="{class}" x="{LEGEND}" y="{swatch}" width="14" height="14" rx="2"/>
<text class="bold" x="{text}" y="{y}">{name}</text>
<text class="small" x="{text}" y="{second}">{fate}</text>"#
        )?;
        y += LEGEND_ROW;
        anyhow::Ok(())
    };
    for (index, fate) in story.fates.iter().enumerate().rev() {
        let process = &story.processes[index];
        row(&class(index + 1), &process.to_string(), fate)?;
    }
    row(&class(0), REST, "kernel, daemon, shells")
}

/// The number of a callout, and below it the line of its time: beside it where
/// another number is in the way.
fn marker(svg: &mut String, number: usize, line: f64, x: f64) -> Result<()> {
    let (y, base) = (TOP - 16.0, TOP - 12.0);
    let from = y + RADIUS;
    writeln!(
        svg,
        r#"<path class="time" d="M{line:.1} {from}V{BOTTOM}"/>
<circle class="knob" cx="{x:.1}" cy="{y}" r="{RADIUS}"/>
<text class="number middle" x="{x:.1}" y="{base}">{number}</text>"#
    )?;
    Ok(())
}

/// What the picture is about.
struct Story<'run> {
    processes: &'run [Process],
    /// What became of each.
    fates: Vec<String>,
    callouts: [Callout; 3],
}

impl<'run> Story<'run> {
    fn of(run: &'run Timeline, walk: &Walk) -> Result<Self> {
        let processes = &run.processes;
        let all = 0..processes.len();
        let with_value =
            |&one: &usize| format!("{}\u{a0}({})", processes[one].name, processes[one].value);
        let together = |signal, from: f64| {
            let near = move |at: f64| (from..=from + TOGETHER).contains(&at);
            let sent = move |&one: &usize| run.sent(signal, one).is_some_and(near);
            all.clone().filter(sent).collect::<Vec<usize>>()
        };
        let warned_at = run
            .signals
            .iter()
            .find(|sent| sent.signal == Signal::Term)
            .context("the run shows no SIGTERM")?
            .seconds;
        let warned = together(Signal::Term, warned_at);
        let mut text = format!(
            "It is sent to {}, the cheapest set that frees enough.",
            list(warned.iter().map(with_value))
        );
        for process in warned.iter().map(|&one| &processes[one]) {
            if walk.saved(&process.name) {
                write!(text, " {} saves its work and ends.", process.name)?;
            }
        }
        let warn = Callout {
            seconds: warned_at,
            title: "Below warn: SIGTERM".to_owned(),
            text,
        };

        let ignored = |one: usize| walk.ignored(&processes[one].name);
        let kills = || {
            run.signals
                .iter()
                .filter(|sent| sent.signal == Signal::Kill)
        };
        let killed_at = kills()
            .find(|sent| ignored(sent.to))
            .or_else(|| kills().next())
            .context("the run shows no SIGKILL")?
            .seconds;
        let killed = together(Signal::Kill, killed_at);
        let since = killed.iter().filter_map(|&one| run.sent(Signal::Term, one));
        let since = since
            .reduce(f64::min)
            .context("the first SIGKILL follows no SIGTERM")?;
        let (it, ignores, has) = match killed.len() {
            1 => ("It is", "ignores SIGTERM", "has not ended yet"),
            _ => ("They are", "ignore SIGTERM", "have not ended yet"),
        };
        let (title, does) = if killed.iter().all(|&one| ignored(one)) {
            ("SIGTERM ignored: SIGKILL", ignores)
        } else {
            ("Not ended in time: SIGKILL", has)
        };
        let kill = Callout {
            seconds: killed_at,
            title: title.to_owned(),
            text: format!(
                "{} {does}. {it} killed with SIGKILL {:.0}\u{a0}s later, {}.",
                list(killed.iter().map(with_value)),
                killed_at - since,
                // Before the grace is over, memory is the only reason.
                if killed_at - since + TOGETHER < GRACE_SECONDS {
                    "as memory falls to the kill threshold"
                } else {
                    "when the grace is over"
                }
            ),
        };

        let survivor = all
            .clone()
            .filter(|&one| run.end(one).is_none())
            .max_by_key(|&one| processes[one].value)
            .context("nothing survived")?;
        let last_end = all
            .clone()
            .filter_map(|one| run.end(one))
            .fold(0.0, f64::max);
        let last = run.samples.last().context("there are no samples")?;
        let is_later = |&one: &usize| {
            run.end(one).is_some() && !warned.contains(&one) && !killed.contains(&one)
        };
        let later: Vec<usize> = all.clone().filter(is_later).collect();
        let mut text = String::new();
        if !later.is_empty() {
            let names = list(later.iter().map(with_value));
            let was = if later.len() == 1 { "was" } else { "were" };
            write!(text, "{names} filled memory again and {was} killed too. ")?;
        }
        write!(
            text,
            "{}\u{a0}MiB are available, and nothing else is killed.",
            last.available / MIB
        )?;
        let lives = Callout {
            seconds: (last_end + last.seconds) / 2.0,
            title: format!("{} works on", processes[survivor].name),
            text,
        };

        let fates = all.map(|one| fate(run, walk, one)).collect::<Result<_>>()?;
        Ok(Self {
            processes,
            fates,
            callouts: [warn, kill, lives],
        })
    }
}

/// `SIGTERM 13 s, SIGKILL 21 s`; what testproc.sh says of its end where it was
/// sent no signal.
fn fate(run: &Timeline, walk: &Walk, one: usize) -> Result<String> {
    let name = &run.processes[one].name;
    let told = walk
        .fates
        .iter()
        .find_map(|fate| fate.strip_prefix(name.as_str())?.strip_prefix(' '))
        .with_context(|| format!("testproc.sh does not say what became of {name}"))?;
    let sent = [(Signal::Term, "SIGTERM"), (Signal::Kill, "SIGKILL")]
        .into_iter()
        .filter_map(|(signal, word)| Some(format!("{word} {:.0} s", run.sent(signal, one)?)));
    let mut said: Vec<String> = sent.collect();
    match run.end(one) {
        Some(end) if run.sent(Signal::Kill, one).is_none() => {
            said.push(format!("ended {end:.0} s"))
        }
        _ if said.is_empty() => said.push(told.to_owned()),
        _ => {}
    }
    Ok(said.join(", "))
}

/// Something to know, at its time.
struct Callout {
    seconds: f64,
    title: String,
    text: String,
}

impl Callout {
    fn sentence(&self) -> String {
        let Self {
            seconds,
            title,
            text,
        } = self;
        format!("At {seconds:.0} s: {title}. {text}")
    }

    /// The text, broken between words.
    fn rows(&self) -> Vec<String> {
        let room = CALLOUT_WIDTH - CALLOUT_INDENT - 12.0;
        let mut rows: Vec<String> = Vec::new();
        for word in self.text.split(' ') {
            match rows.last_mut() {
                Some(row) if width(&format!("{row} {word}"), FONT) <= room => {
                    row.push(' ');
                    row.push_str(word);
                }
                _ => rows.push(word.to_owned()),
            }
        }
        rows
    }

    fn draw(&self, svg: &mut String, place: usize, rows: &[String]) -> Result<()> {
        let left = MARGIN + CALLOUT_WIDTH * count(place);
        let (knob, middle, base) = (left + RADIUS, CALLOUTS - 5.0, CALLOUTS - 1.0);
        let (text, number) = (left + CALLOUT_INDENT, place + 1);
        let title = escaped(&self.title);
        writeln!(
            svg,
            r#"<circle class="knob" cx="{knob:.1}" cy="{middle}" r="{RADIUS}"/>
<text class="number middle" x="{knob:.1}" y="{base}">{number}</text>
<text class="bold" x="{text:.1}" y="{CALLOUTS}">{title}</text>"#
        )?;
        for (number, row) in rows.iter().enumerate() {
            let (y, row) = (CALLOUTS + LINE * count(number + 1), escaped(row));
            writeln!(svg, r#"<text x="{text:.1}" y="{y}">{row}</text>"#)?;
        }
        Ok(())
    }
}

/// `a, b and c`.
fn list(words: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = words.collect();
    match words.pop() {
        Some(last) if !words.is_empty() => format!("{} and {last}", words.join(", ")),
        last => last.unwrap_or_default(),
    }
}

fn width(text: &str, size: f64) -> f64 {
    count(text.chars().count()) * size * CHARACTER
}

#[expect(
    clippy::cast_precision_loss,
    reason = "what is drawn is far smaller, and cannot be that exact"
)]
fn count(number: usize) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "what is drawn is far smaller, and cannot be that exact"
)]
fn as_float(kib: u64) -> f64 {
    kib as f64
}

/// As text of an XML document.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::tests::TIMELINE;
    use crate::transcript::tests::WALK;

    const KEPT: &str = include_str!("../../docs/walkthrough.log");

    fn picture(log: &str) -> Result<String> {
        draw(&Timeline::parse(log)?, &Walk::parse(log)?)
    }

    fn small() -> String {
        format!("{TIMELINE}{WALK}")
    }

    /// A text, and the box that it fills at the most.
    #[derive(Clone, Debug)]
    struct Text {
        said: String,
        left: f64,
        right: f64,
        top: f64,
        bottom: f64,
    }

    fn texts(svg: &str) -> Vec<Text> {
        let attribute = |tag: &str, name: &str| {
            let (_, rest) = tag.split_once(&format!(" {name}=\"")).unwrap_or_default();
            rest.split('"').next().unwrap_or_default().to_owned()
        };
        let text = |line: &str| {
            let (tag, said) = line.strip_prefix("<text")?.split_once('>')?;
            let said = said.strip_suffix("</text>")?.to_owned();
            let class = attribute(tag, "class");
            let (x, y): (f64, f64) = (
                attribute(tag, "x").parse().ok()?,
                attribute(tag, "y").parse().ok()?,
            );
            let size = if class.contains("small") { 12.0 } else { FONT };
            let width = width(&said, size);
            let left = match () {
                () if class.contains("right") => x - width,
                () if class.contains("middle") => x - width / 2.0,
                () => x,
            };
            Some(Text {
                said,
                left,
                right: left + width,
                top: y - size * 0.8,
                bottom: y + size * 0.2,
            })
        };
        svg.lines().filter_map(text).collect()
    }

    #[test]
    fn no_text_covers_another_or_leaves_the_picture() {
        let shifted = KEPT.replace("20.68 47768", "20.68 48768");
        // Decisions that follow on one another at once.
        let near = small().replace("3.10 > SIGKILL", "3.00 > SIGKILL");
        for log in [KEPT, &shifted, &near] {
            let svg = picture(log).unwrap();
            let texts = texts(&svg);
            let of_lines = svg.lines().filter(|line| line.starts_with("<text"));
            assert_eq!(texts.len(), of_lines.count());
            for (index, one) in texts.iter().enumerate() {
                assert!(0.0 <= one.left && one.right <= WIDTH, "{one:?}");
                for other in &texts[index + 1..] {
                    let apart = one.right <= other.left
                        || other.right <= one.left
                        || one.bottom <= other.top
                        || other.bottom <= one.top;
                    assert!(apart, "{one:?} covers {other:?}");
                }
            }
        }
    }

    #[test]
    fn every_process_is_told_with_its_value_and_its_end() {
        let texts = texts(&picture(&small()).unwrap());
        let said = |text: &str| texts.iter().any(|one| one.said == text);
        for text in [
            "ml_test1, value 9",
            "survived",
            "test_proc2, value 5",
            "SIGTERM 2 s, SIGKILL 3 s",
        ] {
            assert!(said(text), "{text} is not in {texts:?}");
        }
    }

    #[test]
    fn what_happened_is_told_at_its_time() {
        let svg = picture(&small()).unwrap();
        for sentence in [
            "At 2 s: Below warn: SIGTERM. It is sent to test_proc2\u{a0}(5), the cheapest set",
            "At 3 s: SIGTERM ignored: SIGKILL. test_proc2\u{a0}(5) ignores SIGTERM. It is killed \
             with SIGKILL 1\u{a0}s later, as memory falls to the kill threshold.",
            "At 4 s: ml_test1 works on. ",
        ] {
            assert!(svg.contains(sentence), "{sentence} is not in {svg}");
        }
        let late = small().replace("test_proc2 [579] SIGTERM ignored\n", "");
        let svg = picture(&late).unwrap();
        let sentence = "SIGKILL. test_proc2\u{a0}(5) has not ended yet. It is killed";
        assert!(svg.contains(sentence), "{svg}");
        let later = small()
            .replace("\n3.", "\n33.")
            .replace("\n4.00", "\n34.00");
        let svg = picture(&later).unwrap();
        assert!(svg.contains("when the grace is over"), "{svg}");
    }

    #[test]
    fn what_is_freed_after_an_end_is_still_of_the_process_that_ended() {
        // Gone by its status, while its memory is not available yet.
        let log = small().replace("4.00 500 300 -\n", "4.00 60 300 -\n4.50 500 300 -\n");
        let timeline = Timeline::parse(&log).unwrap();
        let chart = Chart::new(&timeline);
        let [.., freeing, last] = timeline.samples.as_slice() else {
            panic!("too few samples");
        };
        assert_eq!(chart.edges(freeing), [0, 200, 500, 940]);
        assert_eq!(chart.edges(last), [0, 200, 500, 500]);
    }

    #[test]
    fn the_bands_end_where_available_memory_begins() {
        let timeline = Timeline::parse(KEPT).unwrap();
        let chart = Chart::new(&timeline);
        for sample in &timeline.samples {
            let edges = chart.edges(sample);
            assert!(edges.is_sorted());
            assert_eq!(edges.last(), Some(&(timeline.total - sample.available)));
        }
    }

    #[track_caller]
    fn check_refused(log: &str, want: &str) {
        let err = picture(log).unwrap_err().to_string();
        assert!(err.contains(want), "{err}");
    }

    #[test]
    fn a_run_that_explains_nothing_is_refused() {
        let quiet = small().replace("signal=SIGTERM", "signal=none");
        check_refused(&quiet, "no SIGTERM");
        let gentle = small().replace(
            "> kill pid=616 signal=SIGKILL name=test_proc2 reason=\"still alive after SIGTERM\"",
            ">",
        );
        check_refused(&gentle, "no SIGKILL");
        let nobody = small().replace("4.00 500 300 -", "4.00 500 - -");
        check_refused(&nobody, "nothing survived");
    }

    #[test]
    fn what_xml_would_read_as_its_own_is_escaped() {
        assert_eq!(escaped("a<b> && c"), "a&lt;b&gt; &amp;&amp; c");
    }
}
