//! What the screen shows on a terminal of 80 columns and 24 lines, and what keys do.

use std::time::Duration;

use control::{CandidateRow, Condition, EventKind, Happened, PlannedKill, Request, Status};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

use super::draw::{Palette, draw};
use super::state::{News, Shown, Wish};

const MIB: u64 = 1 << 20;

pub(super) fn row(pid: u32, name: &str, value: Option<u32>, mebibytes: u64) -> CandidateRow {
    CandidateRow {
        pid,
        name: Some(name.to_owned()),
        uid: 0,
        processes: 1,
        value,
        cost: value.map_or_else(|| "1".to_owned(), |value| value.to_string()),
        why: "cost 4 = value 8, counts as 4 while it grows".to_owned(),
        held_bytes: mebibytes * MIB,
        frees_bytes: mebibytes * MIB,
        growth_bytes_per_second: 0,
        paused: false,
        chosen: false,
        instead: None,
    }
}

/// `train` holds `editor`, by way of a process that leads no unit.
fn parent_of(pid: u32) -> Option<u32> {
    [(740, 1), (741, 7), (7, 740), (742, 1), (1, 0)]
        .iter()
        .find_map(|(child, parent)| (*child == pid).then_some(*parent))
}

fn state() -> Shown {
    let mut state = Shown::default();
    let status = Status {
        level: Condition::Ok,
        available_bytes: 2000 * MIB,
        total_bytes: 4000 * MIB,
        warn_bytes: 400 * MIB,
        kill_bytes: 200 * MIB,
        registered: 2,
        killed: 3,
        full_in: Some(Duration::from_secs(42)),
        ..Status::default()
    };
    for _ in 0..3 {
        take_in(&mut state, News::Status(Box::new(status.clone()), 12.5));
    }
    take_in(&mut state, plan());
    let killed = Happened {
        time_ms: 1_000,
        pid: Some(99),
        name: Some("hog".to_owned()),
        ..Happened::now(EventKind::Gone)
    };
    take_in(&mut state, News::Event(Box::new(killed)));
    state
}

fn plan() -> News {
    let candidates = vec![
        CandidateRow {
            chosen: true,
            growth_bytes_per_second: 40 * MIB,
            ..row(740, "train\u{1b}[2J", Some(8), 300)
        },
        CandidateRow {
            paused: true,
            ..row(742, "batch", None, 500)
        },
        row(741, "editor", Some(9), 150),
    ];
    News::Plan(Box::new(PlannedKill {
        level: Condition::Warn,
        need_bytes: 0,
        frees_bytes: 0,
        covers_need: true,
        candidates,
        unshown: 0,
    }))
}

fn take_in(state: &mut Shown, news: News) {
    state.take_in(news, &parent_of);
}

fn press(state: &mut Shown, code: KeyCode) -> Wish {
    state.press(KeyEvent::new(code, KeyModifiers::NONE))
}

fn type_in(state: &mut Shown, text: &str) -> Vec<Wish> {
    text.chars()
        .map(|char| press(state, KeyCode::Char(char)))
        .collect()
}

/// The screen's lines, and whether any cell has a colour.
fn shown(state: &Shown, has_colors: bool) -> (Vec<String>, bool) {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    let palette = Palette { has_colors };
    terminal.draw(|frame| draw(frame, state, palette)).unwrap();
    let buffer = terminal.backend().buffer();
    let cells = buffer.content().chunks(80);
    let text = cells.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>());
    let is_colored = |cell: &ratatui::buffer::Cell| cell.fg != Color::Reset;
    (text.collect(), buffer.content().iter().any(is_colored))
}

#[test]
fn all_is_on_24_lines_of_80_columns() {
    let (lines, _) = shown(&state(), false);
    let all = lines.join("\n");
    for want in [
        "user-oom: level ok  2 registered  0 paused  3 killed  full in 42 s",
        "memory 2000 of 4000 MiB",
        "no swap",
        "full avg10 12.50 %",
        "    740 train?[2J       root           8       8   300 MiB +40 MiB/s next",
        "    742 batch           root           -       1   500 MiB           paused",
        "    741 editor          root           9       9   150 MiB           kept",
        "740 cost 4 = value 8, counts as 4 while it grows",
        "00:00:01Z gone 99 hog",
        "q quit",
    ] {
        assert!(all.contains(want), "no `{want}` in\n{all}");
    }
    assert!(!all.contains('\u{1b}'));
}

#[test]
fn without_colors_there_are_none() {
    assert!(!shown(&state(), false).1);
    assert!(shown(&state(), true).1);
}

/// The names that are shown, in order.
fn names(state: &Shown) -> Vec<String> {
    let rows = state.rows().into_iter();
    rows.map(|(depth, row)| format!("{}{}", " ".repeat(depth), row.name.as_ref().unwrap()))
        .collect()
}

#[test]
fn rows_are_sorted_filtered_and_a_tree() {
    let mut state = state();
    let train = "train\u{1b}[2J";
    assert_eq!(names(&state), [train, "batch", "editor"]);
    press(&mut state, KeyCode::Char('s'));
    assert_eq!(names(&state), ["batch", train, "editor"]);
    for _ in 0..4 {
        press(&mut state, KeyCode::Char('s'));
    }
    press(&mut state, KeyCode::Char('t'));
    take_in(&mut state, plan());
    assert_eq!(names(&state), [train, " editor", "batch"]);
    type_in(&mut state, "/bat");
    assert_eq!(names(&state), ["batch"]);
    press(&mut state, KeyCode::Enter);
    assert_eq!(names(&state), ["batch"]);
    type_in(&mut state, "/");
    press(&mut state, KeyCode::Esc);
    assert_eq!(names(&state).len(), 3);
}

#[test]
fn a_value_is_given_to_what_is_selected_and_what_is_paused_is_thawed() {
    let mut state = state();
    press(&mut state, KeyCode::Down);
    let thaw = type_in(&mut state, "p");
    assert_eq!(thaw, [Wish::Ask(Request::Thaw { pid: 742 })]);
    press(&mut state, KeyCode::End);
    let pause = type_in(&mut state, "p");
    assert_eq!(pause, [Wish::Ask(Request::Pause { pid: 741 })]);
    // What is selected stays so where the rows are in another order.
    press(&mut state, KeyCode::Char('s'));
    type_in(&mut state, "v8 nopausex");
    press(&mut state, KeyCode::Backspace);
    let value = Request::Register {
        pid: Some(741),
        entry: "8 nopause".to_owned(),
    };
    assert_eq!(press(&mut state, KeyCode::Enter), Wish::Ask(value));
    type_in(&mut state, "v");
    let unset = Request::Unregister { pid: Some(741) };
    assert_eq!(press(&mut state, KeyCode::Enter), Wish::Ask(unset));
}

#[test]
fn what_is_typed_ends_nothing_and_a_key_ends_it() {
    let mut state = state();
    assert_eq!(type_in(&mut state, "/q"), [Wish::Nothing, Wish::Nothing]);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(state.press(control_c), Wish::Quit);
    press(&mut state, KeyCode::Esc);
    assert_eq!(type_in(&mut state, "q"), [Wish::Quit]);
}

#[test]
fn a_daemon_that_is_gone_is_said_and_what_was_stays() {
    let mut state = state();
    take_in(&mut state, News::Silent("no user-oom answers".to_owned()));
    let (lines, _) = shown(&state, false);
    assert!(
        lines[0].starts_with("user-oom does not answer"),
        "{}",
        lines[0]
    );
    assert!(
        lines[23].starts_with("no user-oom answers"),
        "{}",
        lines[23]
    );
    assert!(lines.iter().any(|line| line.contains("editor")));
}

#[test]
fn a_narrow_and_low_terminal_does_no_harm() {
    for (width, height) in [(1, 1), (20, 5), (300, 100)] {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let palette = Palette { has_colors: true };
        terminal
            .draw(|frame| draw(frame, &state(), palette))
            .unwrap();
    }
}
