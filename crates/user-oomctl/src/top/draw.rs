//! The screen: three curves, the units, the latest events, a line of help.

use std::time::Duration;

use control::{CandidateRow, Condition};
use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Paragraph, Row, Table, TableState};

use super::state::{SAMPLES, Sample, Shown, Typing};
use crate::printer::plain;

const CURVES: u16 = 7;
const EVENTS: u16 = 4;
/// As long as the daemon tells beforehand that memory will be full, in seconds.
const AHEAD: f64 = 60.0;
const HELP: &str = "q quit  ↑↓ select  s sort  t tree  / filter  v value  p pause, thaw";

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    pub(super) has_colors: bool,
}

impl Palette {
    fn of(self, color: Color) -> Style {
        match self.has_colors {
            true => Style::new().fg(color),
            false => Style::new(),
        }
    }
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, state: &Shown, palette: Palette) {
    let [title, curves, units, detail, events, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(CURVES),
        Constraint::Min(4),
        Constraint::Length(1),
        Constraint::Length(EVENTS),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(title_line(state, palette), title);
    draw_curves(frame, curves, state, palette);
    draw_units(frame, units, state, palette);
    let rows = state.rows();
    let selected = rows.get(state.place(&rows));
    let why = selected.map_or_else(String::new, |(_, row)| match &row.instead {
        Some(instead) => format!("{} {}; instead: {instead}", row.pid, row.why),
        None => format!("{} {}", row.pid, row.why),
    });
    frame.render_widget(Line::raw(plain(&why)), detail);
    let first = state.events.len().saturating_sub(usize::from(EVENTS));
    let told = state.events.iter().skip(first).map(|event| {
        let milliseconds = i64::try_from(event.time_ms).unwrap_or(i64::MAX);
        let time = Timestamp::from_millisecond(milliseconds).unwrap_or_default();
        Line::raw(format!("{} {event}", time.strftime("%H:%M:%SZ")))
    });
    frame.render_widget(Paragraph::new(told.collect::<Vec<_>>()), events);
    frame.render_widget(foot_line(state, palette), foot);
}

fn title_line(state: &Shown, palette: Palette) -> Line<'static> {
    let status = &state.status;
    let level = match (state.is_silent, status.level) {
        (true, _) => "user-oom does not answer".to_owned(),
        (false, level) => format!("user-oom: level {level}"),
    };
    let full = status.full_in.map_or_else(String::new, |left: Duration| {
        format!("  full in {} s", left.as_secs())
    });
    let text = format!(
        "{level}  {} registered  {} paused  {} killed{full}",
        status.registered, status.paused, status.killed
    );
    let color = match status.level {
        Condition::Ok if !state.is_silent => Color::Green,
        Condition::Warn => Color::Yellow,
        Condition::Ok | Condition::Kill | Condition::Unknown => Color::Red,
    };
    Line::styled(text, palette.of(color).add_modifier(Modifier::BOLD))
}

fn draw_curves(frame: &mut Frame<'_>, area: Rect, state: &Shown, palette: Palette) {
    let [memory, swap, pressure] = Layout::horizontal([Constraint::Fill(1); 3])
        .spacing(1)
        .areas(area);
    let status = &state.status;
    let last = state.samples.back().copied().unwrap_or_default();
    let mebibytes = |bytes: u64| bytes >> 20;
    let of_memory = |bytes: u64| match status.total_bytes {
        0 => 0.0,
        total => 100.0 * ratio(bytes, total),
    };
    let warn = of_memory(status.warn_bytes);
    let kill = of_memory(status.kill_bytes);
    // Where memory is at its kill threshold, if it goes on falling.
    let ahead = status.full_in.map(|left| {
        let seconds = left.as_secs_f64().max(1.0);
        let end = seconds.min(AHEAD);
        let fallen = (last.memory - kill) * end / seconds;
        [(0.0, last.memory), (end, last.memory - fallen)]
    });
    let title = format!(
        "memory {} of {} MiB",
        mebibytes(status.available_bytes),
        mebibytes(status.total_bytes)
    );
    let curve = Curve {
        title,
        points: points(state, |sample| sample.memory),
        thresholds: vec![warn, kill],
        ahead: ahead.map(Vec::from).unwrap_or_default(),
        top: 100.0,
    };
    curve.draw(frame, memory, palette);
    let title = match status.swap_total_bytes {
        0 => "no swap".to_owned(),
        total => format!(
            "swap {} of {} MiB",
            mebibytes(status.swap_free_bytes),
            mebibytes(total)
        ),
    };
    let curve = Curve {
        title,
        points: points(state, |sample| sample.swap),
        thresholds: Vec::new(),
        ahead: Vec::new(),
        top: 100.0,
    };
    curve.draw(frame, swap, palette);
    let most = state.samples.iter().map(|sample| sample.full_avg10);
    let curve = Curve {
        title: format!("full avg10 {:.2} %", last.full_avg10),
        points: points(state, |sample| sample.full_avg10),
        thresholds: Vec::new(),
        ahead: Vec::new(),
        top: most.fold(10.0, f64::max),
    };
    curve.draw(frame, pressure, palette);
}

#[expect(clippy::cast_precision_loss, reason = "for a picture")]
fn ratio(part: u64, of: u64) -> f64 {
    part as f64 / of as f64
}

/// The last one is now, at 0.
fn points(state: &Shown, value: impl Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
    let seconds = (0..u16::MAX).map(|ago| -f64::from(ago));
    let samples = state.samples.iter().rev();
    seconds.zip(samples.map(value)).collect()
}

struct Curve {
    title: String,
    points: Vec<(f64, f64)>,
    thresholds: Vec<f64>,
    ahead: Vec<(f64, f64)>,
    /// The most that is shown; the least is 0.
    top: f64,
}

impl Curve {
    fn draw(&self, frame: &mut Frame<'_>, area: Rect, palette: Palette) {
        let [title, chart] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        frame.render_widget(Line::styled(self.title.as_str(), Modifier::BOLD), title);
        #[expect(clippy::cast_precision_loss, reason = "two minutes")]
        let begin = -(SAMPLES as f64);
        let lines: Vec<_> = self
            .thresholds
            .iter()
            .map(|level| [(begin, *level), (AHEAD, *level)])
            .collect();
        let line = |data| {
            Dataset::default()
                .marker(Marker::Braille)
                .graph_type(GraphType::Line)
                .data(data)
        };
        let mut sets: Vec<_> = lines
            .iter()
            .map(|ends| line(ends.as_slice()).style(palette.of(Color::Red)))
            .collect();
        sets.push(line(self.ahead.as_slice()).style(palette.of(Color::Yellow)));
        sets.push(line(self.points.as_slice()).style(palette.of(Color::Cyan)));
        let scale = ["0 %".to_owned(), format!("{:.0} %", self.top)];
        let chart_widget = Chart::new(sets)
            .x_axis(Axis::default().bounds([begin, AHEAD]))
            .y_axis(Axis::default().bounds([0.0, self.top]).labels(scale));
        frame.render_widget(chart_widget, chart);
    }
}

fn draw_units(frame: &mut Frame<'_>, area: Rect, state: &Shown, palette: Palette) {
    let rows = state.rows();
    let widths = [7, 15, 8, 7, 7, 9, 9, 11].map(Constraint::Length);
    let head = [
        "    PID",
        "NAME",
        "USER",
        "  VALUE",
        "   COST",
        "     HELD",
        "   GROWTH",
        "FATE",
    ];
    let cells = rows.iter().map(|(depth, row)| {
        let name = row.name.as_deref().map_or_else(|| "-".to_owned(), plain);
        let value = row
            .value
            .map_or_else(|| "-".to_owned(), |value| value.to_string());
        let growth = match row.growth_bytes_per_second >> 20 {
            0 => String::new(),
            growth => format!("+{growth} MiB/s"),
        };
        let cells = [
            format!("{:>7}", row.pid),
            format!("{:1$}{name}", "", 2 * depth),
            state.user(row.uid).to_owned(),
            format!("{value:>7}"),
            format!("{:>7}", row.cost),
            format!("{:>9}", format!("{} MiB", row.held_bytes >> 20)),
            format!("{growth:>9}"),
            fate(row).to_owned(),
        ];
        let style = match (row.chosen, row.paused) {
            (true, _) => palette.of(Color::Red).add_modifier(Modifier::BOLD),
            (false, true) => palette.of(Color::Yellow),
            (false, false) => Style::new(),
        };
        Row::new(cells).style(style)
    });
    let table = Table::new(cells, widths)
        .header(Row::new(head).style(Modifier::UNDERLINED))
        .row_highlight_style(Modifier::REVERSED);
    let selected = (!rows.is_empty()).then(|| state.place(&rows));
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(selected));
}

/// What would become of a unit.
fn fate(row: &CandidateRow) -> &'static str {
    match (row.chosen, row.paused) {
        (true, true) => "paused,next",
        (true, false) => "next",
        (false, true) => "paused",
        (false, false) => "kept",
    }
}

fn foot_line(state: &Shown, palette: Palette) -> Line<'static> {
    let prompt = state.typing.as_ref().map(|(typing, text)| match typing {
        Typing::Filter => format!("show names and users that contain: {text}_"),
        Typing::Value(pid) => {
            format!("value of {pid}, such as 8 or `8 nopause`; none: no value: {text}_")
        }
    });
    match prompt {
        Some(prompt) => Line::styled(prompt, Modifier::BOLD),
        None if !state.said.is_empty() => {
            Line::styled(plain(&state.said), palette.of(Color::Yellow))
        }
        None => {
            let filter = match state.filter.as_str() {
                "" => String::new(),
                filter => format!("  filter: {filter}"),
            };
            Line::raw(format!("{HELP}  by {}{filter}", state.sort.name()))
        }
    }
}
