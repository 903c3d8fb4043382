//! `docs/top.svg`: the screen of 80 columns and 24 lines as it is drawn of an example.
//!
//! Each run of cells with one style is a text of a given width, so that the columns
//! stand where they do in a terminal, whatever font the reader has. Curves and the
//! frame of a chart are drawn as lines and dots: few fonts have all of those characters.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use control::{CandidateRow, Condition, EventKind, Happened, PlannedKill, Status};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

use super::draw::{Palette, draw};
use super::state::{News, SAMPLES, Shown};
use super::tests;

const PATH: &str = "docs/top.svg";
/// Where this is set, the picture is made anew: `cargo xtask picture` does so.
const MAKE: &str = "USER_OOM_MAKE_PICTURE";

const COLUMNS: u16 = 80;
const LINES: u16 = 24;

// In pixels.
const CELL_WIDTH: u32 = 9;
const CELL_HEIGHT: u32 = 18;
const MARGIN: u32 = 14;
/// From the top of a cell to what letters stand on.
const BASELINE: u32 = 14;

const MIB: u64 = 1 << 20;
const MEMORY: u64 = 16_000 * MIB;
const SWAP: u64 = 2048 * MIB;
const ALICE: u32 = 1000;
const BOB: u32 = 1001;
/// 01:18:00 of some day.
const BEGIN_MS: u64 = 1_764_206_280_000;

/// The picture is what the screen is today.
#[test]
fn the_picture_in_the_documents_is_what_is_drawn() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(PATH);
    let picture = svg(&drawn(&example()));
    if std::env::var_os(MAKE).is_some() {
        fs::write(path, picture).unwrap();
        return;
    }
    let kept = fs::read_to_string(path).unwrap();
    assert!(
        kept == picture,
        "{PATH} is not what is drawn: run `cargo xtask picture`"
    );
}

#[test]
fn each_character_of_the_screen_is_in_the_picture() {
    let screen = drawn(&example());
    let picture = svg(&screen);
    let dots = |symbol: &str| braille(symbol).map_or(0, u32::count_ones);
    let strokes = |symbol: &str| u32::from(symbol == FRAME);
    let text = |symbol: &str| u32::from(braille(symbol).is_none() && symbol != FRAME);
    let count = |of: &dyn Fn(&str) -> u32| -> u32 {
        let cells = screen.content().iter().map(Cell::symbol);
        cells.filter(|symbol| *symbol != " ").map(of).sum()
    };
    let of_picture = |mark: &str| u32::try_from(picture.matches(mark).count()).unwrap();
    assert_eq!(of_picture("h0"), count(&dots));
    assert_eq!(of_picture(&format!("v{CELL_HEIGHT}")), count(&strokes));
    let told: String = picture
        .split("</text>")
        .filter_map(|part| part.rsplit_once('>'))
        .map(|(_, text)| text)
        .collect();
    let told = told.replace("&lt;", "<").replace("&amp;", "&");
    let letters = told.chars().filter(|char| !char.is_whitespace()).count();
    assert_eq!(u32::try_from(letters).unwrap(), count(&text));
    assert!(count(&dots) > 100 && count(&strokes) > 10 && count(&text) > 500);
}

/// A machine on which one job fills memory beside others.
fn example() -> Shown {
    let mut state = Shown::default();
    state.users.insert(ALICE, "alice".to_owned());
    state.users.insert(BOB, "bob".to_owned());
    let mut take_in = |news| state.take_in(news, &|_| None);
    for second in 0..u32::try_from(SAMPLES).unwrap() {
        let (status, full_avg10) = look(second);
        take_in(News::Status(Box::new(status), full_avg10));
    }
    take_in(News::Plan(Box::new(plan())));
    for event in events() {
        take_in(News::Event(Box::new(event)));
    }
    state
}

/// Memory is taken from the 40th second on, and a little of swap.
fn look(second: u32) -> (Status, f64) {
    let taken = u64::from(second.saturating_sub(40));
    let wave = u64::from(second % 20).abs_diff(10);
    let status = Status {
        level: Condition::Ok,
        available_bytes: MEMORY - (4300 + 40 * wave + 90 * taken) * MIB,
        total_bytes: MEMORY,
        swap_free_bytes: SWAP - 7 * taken * MIB,
        swap_total_bytes: SWAP,
        warn_bytes: MEMORY / 10,
        kill_bytes: MEMORY / 20,
        registered: 3,
        paused: 1,
        killed: 2,
        full_in: (second > 100).then(|| Duration::from_secs(u64::from(160 - second))),
        ..Status::default()
    };
    (status, 0.06 * f64::from(second.saturating_sub(60)))
}

fn plan() -> PlannedKill {
    let row = |pid, name: &str, uid, value, cost: &str, why: &str, mebibytes| CandidateRow {
        uid,
        cost: cost.to_owned(),
        why: why.to_owned(),
        ..tests::row(pid, name, value, mebibytes)
    };
    let half = "cost 2 = value 4, counts as 2 while it grows";
    let share = "cost 0.5 = 0.5 (its share of its group's 1)";
    let candidates = vec![
        CandidateRow {
            chosen: true,
            growth_bytes_per_second: 90 * MIB,
            instead: Some("kill 410 sim: cost 9".to_owned()),
            ..row(521, "etl", BOB, Some(4), "2", half, 7110)
        },
        row(410, "sim", ALICE, Some(9), "9", "cost 9 = value 9", 2804),
        CandidateRow {
            paused: true,
            ..row(489, "nightly", BOB, Some(3), "3", "cost 3 = value 3", 610)
        },
        row(397, "jupyter-lab", ALICE, None, "0.5", share, 431),
        row(401, "python3", ALICE, None, "0.5", share, 380),
        row(128, "dbus-daemon", 0, None, "1", "cost 1 = value 1", 12),
    ];
    PlannedKill {
        level: Condition::Warn,
        need_bytes: 1900 * MIB,
        frees_bytes: 7110 * MIB,
        covers_need: true,
        candidates,
        unshown: 0,
    }
}

fn events() -> [Happened; 4] {
    let event = |second: u64, what| Happened {
        time_ms: BEGIN_MS + 1000 * second,
        ..Happened::now(what)
    };
    let of = |pid, name: &str, value, event| Happened {
        pid: Some(pid),
        name: Some(name.to_owned()),
        value: Some(value),
        ..event
    };
    let nightly = |event| of(489, "nightly", 3, event);
    [
        Happened {
            signal: Some(control::Signal::Term),
            held_bytes: Some(3150 * MIB),
            why: Some("low memory (warn)".to_owned()),
            ..of(471, "backup", 1, event(2, EventKind::Signal))
        },
        Happened {
            after: Some(Duration::from_millis(400)),
            ..of(471, "backup", 1, event(3, EventKind::Gone))
        },
        Happened {
            held_bytes: Some(610 * MIB),
            why: Some("its user wants it paused".to_owned()),
            ..nightly(event(70, EventKind::Paused))
        },
        Happened {
            after: Some(Duration::from_secs(58)),
            ..of(521, "etl", 4, event(101, EventKind::Forecast))
        },
    ]
}

fn drawn(state: &Shown) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(COLUMNS, LINES)).unwrap();
    let palette = Palette { has_colors: true };
    terminal.draw(|frame| draw(frame, state, palette)).unwrap();
    terminal.backend().buffer().clone()
}

/// A screen as an SVG with its own background: it looks the same on any page.
fn svg(screen: &Buffer) -> String {
    let lines: Vec<_> = screen.content().chunks(usize::from(COLUMNS)).collect();
    let width = u32::from(COLUMNS) * CELL_WIDTH + 2 * MARGIN;
    let height = u32::from(LINES) * CELL_HEIGHT + 2 * MARGIN;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-labelledby="title">
<title id="title">The screen of user-oomctl top: curves of memory, swap and stalls, a table of processes, the latest events, and keys</title>
<style>
text {{ font: 15px monospace; white-space: pre }}
path {{ fill: none; stroke-linecap: round; stroke-width: 2.4 }}
.frame {{ stroke: #9198a1; stroke-width: 1 }}
.bold {{ font-weight: 600 }}
</style>
<rect width="{width}" height="{height}" rx="8" fill="{BACKGROUND}"/>
"##
    );
    let mut paths: BTreeMap<&str, String> = BTreeMap::new();
    for (y, cells) in (0..).zip(&lines) {
        let top = MARGIN + y * CELL_HEIGHT;
        let mut column = 0;
        for run in cells.chunk_by(|one, other| kind(one) == kind(other)) {
            let left = MARGIN + column * CELL_WIDTH;
            let length = u32::try_from(run.len()).unwrap();
            column += length;
            match kind(&run[0]) {
                Kind::Text(style) => text(&mut svg, run, style, (left, top)),
                Kind::Drawn(color) => {
                    let path = paths.entry(color).or_default();
                    for (cell, at) in run.iter().zip(0..) {
                        stroke(path, cell.symbol(), left + at * CELL_WIDTH, top);
                    }
                }
            }
        }
    }
    for (color, path) in paths {
        let look = match color {
            FRAME => "class=\"frame\"".to_owned(),
            color => format!("stroke=\"{color}\""),
        };
        writeln!(svg, "<path {look} d=\"{path}\"/>").unwrap();
    }
    svg + "</svg>\n"
}

const BACKGROUND: &str = "#161b22";
const FOREGROUND: &str = "#e6edf3";
/// What the frame of a chart is made of.
const FRAME: &str = "│";

/// How a cell is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// As text in a colour; bold, underlined, reversed.
    Text((&'static str, Modifier)),
    /// As dots or lines in a colour.
    Drawn(&'static str),
}

fn kind(cell: &Cell) -> Kind {
    let color = match cell.fg {
        Color::Reset => FOREGROUND,
        Color::Red => "#ff7b72",
        Color::Green => "#7ee787",
        Color::Yellow => "#f2cc60",
        Color::Cyan => "#76e3ea",
        other => panic!("a picture of {other} was not thought of"),
    };
    if cell.symbol() == FRAME {
        Kind::Drawn(FRAME)
    } else if braille(cell.symbol()).is_some() {
        Kind::Drawn(color)
    } else {
        Kind::Text((color, cell.modifier))
    }
}

/// Spaces at its ends are left out where nothing is seen of them.
fn text(
    svg: &mut String,
    run: &[Cell],
    (color, look): (&str, Modifier),
    (mut left, top): (u32, u32),
) {
    let width = |cells: &str| u32::try_from(cells.chars().count()).unwrap() * CELL_WIDTH;
    let text: String = run.iter().map(Cell::symbol).collect();
    let is_reversed = look.contains(Modifier::REVERSED);
    if is_reversed {
        let width = width(&text);
        writeln!(
            svg,
            r#"<rect x="{left}" y="{top}" width="{width}" height="{CELL_HEIGHT}" fill="{color}"/>"#
        )
        .unwrap();
    }
    if look.contains(Modifier::UNDERLINED) {
        let (y, end) = (top + CELL_HEIGHT - 1, left + width(&text));
        writeln!(
            svg,
            r#"<line x1="{left}" y1="{y}" x2="{end}" y2="{y}" stroke="{color}"/>"#
        )
        .unwrap();
    }
    let shown = text.trim_start();
    left += width(&text) - width(shown);
    let shown = shown.trim_end();
    if shown.is_empty() {
        return;
    }
    // Words apart, so that one that a font has wider moves no other.
    for word in shown.split_inclusive("  ") {
        let bare = word.trim();
        if !bare.is_empty() {
            let x = left + width(word) - width(word.trim_start());
            let fill = if is_reversed { BACKGROUND } else { color };
            let bold = match look.contains(Modifier::BOLD) {
                true => " class=\"bold\"",
                false => "",
            };
            let (length, y) = (width(bare), top + BASELINE);
            let bare = bare.replace('&', "&amp;").replace('<', "&lt;");
            writeln!(
                svg,
                r#"<text x="{x}" y="{y}" textLength="{length}" fill="{fill}"{bold}>{bare}</text>"#
            )
            .unwrap();
        }
        left += width(word);
    }
}

/// What dots a character has: Unicode's eight bits for a pattern of braille.
fn braille(symbol: &str) -> Option<u32> {
    let char = symbol.chars().next().map(u32::from)?;
    (0x2801..0x2900).contains(&char).then(|| char - 0x2800)
}

/// Dots, or a part of a chart's frame, as parts of a path.
fn stroke(path: &mut String, symbol: &str, left: u32, top: u32) {
    if symbol == FRAME {
        let middle = left + CELL_WIDTH / 2;
        write!(path, "M{middle} {top}v{CELL_HEIGHT}").unwrap();
        return;
    }
    // Column and row of each bit.
    const DOTS: [(u32, u32); 8] = [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
        (1, 2),
        (0, 3),
        (1, 3),
    ];
    let dots = braille(symbol).unwrap_or(0);
    for (bit, (column, row)) in DOTS.iter().enumerate() {
        if dots & (1 << bit) != 0 {
            // In tenths, from the middle of the dot.
            let x = 10 * left + (2 * column + 1) * 10 * CELL_WIDTH / 4;
            let y = 10 * top + (2 * row + 1) * 10 * CELL_HEIGHT / 8;
            write!(path, "M{}.{} {}.{}h0", x / 10, x % 10, y / 10, y % 10).unwrap();
        }
    }
}
