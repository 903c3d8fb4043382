//! Trigger lines, and what no kernel takes.

use std::time::Duration;

use proptest::prelude::*;
use psi::{Share, Trigger, TriggerError};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn the_line_is_in_microseconds_and_ends_with_a_nul() {
    let trigger = Trigger::new(Share::Full, ms(500), ms(1_000)).unwrap();
    assert_eq!(trigger.line().as_bytes(), b"full 500000 1000000\0");
    assert_eq!(trigger.to_string(), "full 500000 1000000");
}

#[test]
fn the_longest_line_fits_what_the_kernel_reads() {
    let trigger = Trigger::new(Share::Some, ms(10_000), ms(10_000)).unwrap();
    assert_eq!(trigger.line().as_bytes(), b"some 10000000 10000000\0");
}

#[test]
fn a_window_outside_the_kernels_bounds_is_refused() {
    for window in [ms(0), ms(499), ms(10_001), Duration::MAX] {
        assert_eq!(
            Trigger::new(Share::Some, ms(1), window),
            Err(TriggerError::Window { window })
        );
    }
}

#[test]
fn a_stall_of_nothing_or_longer_than_its_window_is_refused() {
    let window = ms(1_000);
    for stall in [Duration::ZERO, Duration::from_nanos(999), ms(1_001)] {
        assert_eq!(
            Trigger::new(Share::Some, stall, window),
            Err(TriggerError::Stall { stall, window })
        );
    }
}

#[test]
fn a_trigger_widened_for_anybody_keeps_its_share() {
    let trigger = Trigger::new(Share::Full, ms(500), ms(1_000)).unwrap();
    assert!(trigger.is_privileged());
    let widened = trigger.unprivileged();
    assert!(!widened.is_privileged());
    assert_eq!(widened.to_string(), "full 1000000 2000000");
    assert_eq!(widened.unprivileged(), widened);
}

proptest! {
    #[test]
    fn any_trigger_is_a_line_of_three_words_or_refused(
        full: bool,
        // Within the kernel's bounds as often as not, which u64 alone never is.
        stall in prop_oneof![0..12_000_000_u64, any::<u64>()],
        window in prop_oneof![400_000..11_000_000_u64, any::<u64>()],
    ) {
        let share = if full { Share::Full } else { Share::Some };
        if let Ok(trigger) = Trigger::new(share, Duration::from_micros(stall), Duration::from_micros(window)) {
            prop_assert_eq!(trigger.to_string(), format!("{share} {stall} {window}"));
            let widened = trigger.unprivileged();
            prop_assert!(!widened.is_privileged());
            let text = widened.to_string();
            let micros: Vec<u64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
            let [stall, window] = micros[..].try_into().unwrap();
            let (stall, window) = (Duration::from_micros(stall), Duration::from_micros(window));
            prop_assert_eq!(Trigger::new(share, stall, window).map(|same| same.to_string()), Ok(text));
        }
    }
}
