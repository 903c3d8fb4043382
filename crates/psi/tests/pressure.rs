//! The text of pressure files: good, absent, empty, cut short, malformed.

use std::time::Duration;

use proptest::prelude::*;
use psi::{Percent, Pressure, Stalled};

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
        Some(Stalled {
            avg10: percent(1_234),
            avg60: Some(percent(506)),
            avg300: Some(percent(70)),
            total: Some(Duration::from_micros(123_456_789)),
        })
    );
    assert_eq!(pressure.full.avg10, percent(100));
    assert_eq!(pressure.full.total, Some(Duration::from_micros(98_765)));
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

const MISSING: &str = "there is no line `full avg10=<percent>` \
    (a cpu file has none before Linux 5.13; memory's has)";

#[test]
fn a_file_without_its_full_line_is_told_what_is_missing() {
    check_refused("", MISSING);
    check_refused("\n\n", MISSING);
    let (some, full) = GOOD.split_once('\n').unwrap();
    check_refused(some, MISSING);
    // The other line is not needed.
    let pressure = Pressure::parse(full).unwrap();
    assert_eq!(pressure.some, None);
    assert_eq!(pressure.full, Pressure::parse(GOOD).unwrap().full);
}

#[test]
fn a_field_that_cannot_be_true_costs_that_field() {
    let whole = Pressure::parse(GOOD).unwrap();
    for found in ["nan", "-0.05", "100.01", "655.36", "0.050", ""] {
        let text = GOOD.replace("avg60=0.05", &format!("avg60={found}"));
        let mut want = whole;
        want.full.avg60 = None;
        assert_eq!(Pressure::parse(&text), Ok(want), "{found}");
        let text = GOOD.replace("avg10=12.34", &format!("avg10={found}"));
        let want = Pressure {
            some: None,
            ..whole
        };
        assert_eq!(Pressure::parse(&text), Ok(want), "{found}");
    }
    for total in ["-1", "18446744073709551616", ""] {
        let text = GOOD.replace("total=98765", &format!("total={total}"));
        let mut want = whole;
        want.full.total = None;
        assert_eq!(Pressure::parse(&text), Ok(want), "{total}");
    }
}

#[test]
fn zeros_before_a_number_and_line_ends_of_another_system_harm_nothing() {
    let padded = GOOD.replace("avg10=1.00", "avg10=0001.00");
    assert_eq!(Pressure::parse(&padded), Pressure::parse(GOOD));
    let crlf = GOOD.replace('\n', "\r\n");
    assert_eq!(Pressure::parse(&crlf), Pressure::parse(GOOD));
}

#[test]
fn every_cut_of_a_good_text_is_refused_or_loses_fields_alone() {
    let whole = Pressure::parse(GOOD).unwrap();
    let start = GOOD.find("full avg10=1.00 ").unwrap() + "full avg10=1.00 ".len();
    for end in 0..GOOD.len() {
        match Pressure::parse(&GOOD[..end]) {
            Err(_) => assert!(end <= start, "a cut at {end} is refused"),
            Ok(cut) => {
                assert!(end > start, "a cut at {end} is taken");
                assert_eq!(cut.some, whole.some);
                assert_eq!(cut.full.avg10, whole.full.avg10);
            }
        }
    }
}

#[test]
fn an_avg10_that_cannot_be_true_is_told_with_what_would_be_right() {
    for found in ["avg10=nan", "avg10=100.01", "avg10=", "avg20=0.00"] {
        check_refused(
            &GOOD.replace("avg10=1.00", found),
            &format!("line 2: expected `avg10=<percent> avg60=<percent> …`, found `{found}`"),
        );
    }
    check_refused(
        "full",
        "line 1: expected `avg10=<percent> avg60=<percent> …`, found ``",
    );
}

#[test]
fn the_first_of_two_lines_counts_and_what_is_neither_is_passed_over() {
    let text = format!("\u{1b}[2Jsome avg10\n{GOOD}full avg10=99.00 avg60=0.00\n");
    assert_eq!(Pressure::parse(&text), Pressure::parse(GOOD));
}

prop_compose! {
    fn any_stalled()(hundredths in [0..=10_000_u16, 0..=10_000, 0..=10_000], micros: u64) -> Stalled {
        let [avg10, avg60, avg300] = hundredths.map(percent);
        Stalled {
            avg10,
            avg60: Some(avg60),
            avg300: Some(avg300),
            total: Some(Duration::from_micros(micros)),
        }
    }
}

/// What has all its fields; what ends at avg10 might be cut short.
fn check_read_back(pressure: Pressure) -> Result<(), TestCaseError> {
    let ends = |stalled: Stalled| {
        stalled
            .avg60
            .and(stalled.avg300)
            .and(stalled.total)
            .is_none()
    };
    if !ends(pressure.full) && !pressure.some.is_some_and(ends) {
        prop_assert_eq!(Pressure::parse(&pressure.to_string()), Ok(pressure));
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(some in any_stalled(), full in any_stalled()) {
        let pressure = Pressure { some: Some(some), full };
        prop_assert_eq!(Pressure::parse(&pressure.to_string()), Ok(pressure));
    }

    #[test]
    fn any_text_is_read_or_refused(text: String) {
        if let Ok(pressure) = Pressure::parse(&text) {
            check_read_back(pressure)?;
        }
    }

    #[test]
    fn any_near_miss_is_read_or_refused(text in "((some|full|x)( (avg10|avg60|avg300|total|y)=[0-9.+-]{0,22}){0,5}[ \n]?){0,3}") {
        if let Ok(pressure) = Pressure::parse(&text) {
            check_read_back(pressure)?;
        }
    }
}
