//! The text of pressure files: good, absent, empty, cut short, malformed.

use std::time::Duration;

use proptest::prelude::*;
use psi::{ParseError, Percent, Pressure, Share, Stalled};

const GOOD: &str = "\
some avg10=12.34 avg60=5.06 avg300=0.70 total=123456789
full avg10=1.00 avg60=0.05 avg300=0.00 total=98765
";

fn percent(hundredths: u16) -> Percent {
    Percent::from_hundredths(hundredths).expect("at most 100 %")
}

#[track_caller]
fn check_refused(text: &str, want: &str) {
    assert_eq!(
        Pressure::parse(text)
            .expect_err("it is refused")
            .to_string(),
        want
    );
}

#[test]
fn the_kernels_text_is_read_exactly() {
    let pressure: Pressure = GOOD.parse().unwrap();
    assert_eq!(
        pressure.some,
        Stalled {
            avg10: percent(1_234),
            avg60: percent(506),
            avg300: percent(70),
            total: Duration::from_micros(123_456_789),
        }
    );
    assert_eq!(pressure.full.avg10, percent(100));
    assert_eq!(pressure.full.total, Duration::from_micros(98_765));
}

#[test]
fn it_prints_as_the_kernel_prints_it() {
    assert_eq!(Pressure::parse(GOOD).unwrap().to_string(), GOOD);
}

#[test]
fn fields_that_a_later_kernel_adds_are_passed_over() {
    let text = GOOD.replace('\n', " avg900=0.00\n");
    assert_eq!(Pressure::parse(&text), Pressure::parse(GOOD));
}

#[test]
fn an_empty_file_lacks_both_lines() {
    assert_eq!(Pressure::parse(""), Err(ParseError::Missing(Share::Some)));
    assert_eq!(
        Pressure::parse("\n\n"),
        Err(ParseError::Missing(Share::Some))
    );
}

#[test]
fn a_missing_full_line_is_named() {
    let (some, _) = GOOD.split_once('\n').unwrap();
    check_refused(some, "there is no line that begins with `full`");
}

#[test]
fn every_cut_of_a_good_text_is_refused_or_loses_digits_alone() {
    let whole = Pressure::parse(GOOD).unwrap();
    let start_of_total = GOOD.rfind("total=").unwrap() + "total=".len();
    for end in 0..GOOD.len() {
        match Pressure::parse(&GOOD[..end]) {
            Err(_) => assert!(end <= start_of_total, "a cut at {end} is refused"),
            Ok(cut) => {
                assert!(end > start_of_total, "a cut at {end} is taken");
                assert_eq!(cut.some, whole.some);
                assert!(cut.full.total <= whole.full.total);
            }
        }
    }
}

#[test]
fn the_error_says_what_was_found_and_where() {
    check_refused(
        &GOOD.replace("avg60=0.05", "avg60=nan"),
        "line 2: expected `avg60=<percent>`, found `avg60=nan`",
    );
    check_refused(
        "some avg10=0.00 avg60=0.00",
        "line 1: expected `avg300=<percent>`, found ``",
    );
    check_refused(
        &GOOD.replace("total=98765", "total=-1"),
        "line 2: expected `total=<microseconds>`, found `total=-1`",
    );
    check_refused(
        "\u{1b}[2Jsome avg10",
        "line 1 begins with `\\u{1b}[2Jsome`, not with `some` or `full`",
    );
    check_refused(&format!("{GOOD}{GOOD}"), "line 3 is a second `some` line");
}

#[test]
fn more_than_all_of_the_time_is_refused() {
    check_refused(
        &GOOD.replace("12.34", "100.01"),
        "line 1: expected `avg10=<percent>`, found `avg10=100.01`",
    );
}

prop_compose! {
    fn any_stalled()(hundredths in [0..=10_000_u16, 0..=10_000, 0..=10_000], micros: u64) -> Stalled {
        let [avg10, avg60, avg300] = hundredths.map(percent);
        Stalled { avg10, avg60, avg300, total: Duration::from_micros(micros) }
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(some in any_stalled(), full in any_stalled()) {
        let pressure = Pressure { some, full };
        prop_assert_eq!(Pressure::parse(&pressure.to_string()), Ok(pressure));
    }

    #[test]
    fn any_text_is_read_or_refused(text: String) {
        if let Ok(pressure) = Pressure::parse(&text) {
            prop_assert_eq!(Pressure::parse(&pressure.to_string()), Ok(pressure));
        }
    }

    #[test]
    fn any_near_miss_is_read_or_refused(text in "((some|full|x)( (avg10|avg60|avg300|total|y)=[0-9.+-]{0,22}){0,5}[ \n]?){0,3}") {
        if let Ok(pressure) = Pressure::parse(&text) {
            prop_assert_eq!(Pressure::parse(&pressure.to_string()), Ok(pressure));
        }
    }
}
