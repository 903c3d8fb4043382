//! Where a convex function is the least.
//!
//! Bounds are functions of a price, and any price bounds: so where to try is a
//! guess, in floating point, and only what is bounded is exact.

/// How many times at most a function is asked for.
const ROUNDS: u32 = 12;

/// Tries shares from 0 to `top` until `bound`, which says for each a convex
/// function's value and slope, is the least, give or take `tolerance`, or says
/// that it is enough.
///
/// Where two lines meet, one that falls and one that rises, the function is no
/// less (Kelley 1960).
pub(crate) fn minimise(
    (top, tolerance): (i64, f64),
    guess: Option<i64>,
    mut bound: impl FnMut(i64) -> Option<(f64, f64)>,
) {
    let (mut falling, mut rising) = (None, None);
    let mut share = guess.unwrap_or(0).clamp(0, top);
    let mut lowest = f64::NEG_INFINITY;
    let mut same_side = 0_i32;
    for round in 0..ROUNDS {
        let Some((at, slope)) = bound(share) else {
            return;
        };
        if at <= lowest + tolerance {
            return;
        }
        let line = Some((share, at, slope));
        if slope < 0.0 {
            falling = line;
            same_side = same_side.min(0) - 1;
        } else {
            rising = line;
            same_side = same_side.max(0) + 1;
        }
        // Around a guess it is looked near by first, and not for long.
        let near = guess.is_some() && round < 2;
        if guess.is_some() && round > 3 {
            return;
        }
        let next = match (falling, rising) {
            (Some(low), Some(high)) => {
                let meeting =
                    (low.1 - high.1 + high.2 * as_float(high.0 - low.0)) / (high.2 - low.2);
                lowest = low.1 + low.2 * meeting;
                let meeting = low.0.saturating_add(whole(meeting));
                if meeting <= low.0 || high.0 <= meeting {
                    return;
                }
                // Should that creep, shares of like magnitude are tried.
                if same_side.abs() < 3 {
                    meeting
                } else {
                    lowest = f64::NEG_INFINITY;
                    let mean = (as_float(low.0.max(1)) * as_float(high.0)).sqrt();
                    whole(mean).clamp(low.0 + 1, high.0 - 1)
                }
            }
            (Some(low), None) if near => (low.0 + low.0 / 8 + 1).min(top),
            (Some(_), None) => top,
            (None, Some(high)) if near => high.0 - high.0 / 8 - 1,
            (None, _) => 0,
        };
        if next < 0 || next == share {
            return;
        }
        share = next;
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "where a share is tried is a guess; its bound is exact"
)]
pub(crate) fn whole(number: f64) -> i64 {
    number as i64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "only chooses which price to try, never a bound"
)]
pub(crate) fn as_float(integer: i64) -> f64 {
    integer as f64
}

#[cfg(test)]
mod tests {
    use super::{as_float, minimise};

    /// The greatest of some lines, each with a slope and the place where it is 0.
    fn convex(lines: &[(f64, i64)], at: i64) -> (f64, f64) {
        lines
            .iter()
            .map(|&(slope, zero)| (slope * as_float(at - zero), slope))
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .expect("there are lines")
    }

    #[track_caller]
    fn check(lines: &[(f64, i64)], guess: Option<i64>, want: i64, most_tries: usize) {
        let mut tried = Vec::new();
        minimise((1_000_000, 0.0), guess, |share| {
            assert!((0..=1_000_000).contains(&share), "{share}");
            tried.push(share);
            Some(convex(lines, share))
        });
        let value = |at: &i64| convex(lines, *at).0;
        let best = tried.iter().min_by(|a, b| value(a).total_cmp(&value(b)));
        assert_eq!(best, Some(&want), "{tried:?}");
        assert!(tried.len() <= most_tries, "{tried:?}");
    }

    #[test]
    fn two_lines_are_least_where_they_meet() {
        check(&[(-1.0, 100), (1.0, 100)], None, 100, 4);
        check(&[(-1000.0, 40), (0.5, 40)], None, 40, 4);
    }

    #[test]
    fn what_only_rises_or_falls_is_least_at_an_end() {
        check(&[(2.0, 5)], None, 0, 1);
        check(&[(-2.0, 5)], None, 1_000_000, 2);
    }

    #[test]
    fn a_guess_next_to_the_least_is_all_it_takes() {
        check(&[(-1.0, 1_000), (1.0, 1_000)], Some(950), 1_000, 4);
        check(&[(-1.0, 1_000), (1.0, 1_000)], Some(1_050), 1_000, 4);
    }

    #[test]
    fn what_is_enough_ends_it() {
        let mut tries = 0;
        minimise((10, 0.0), None, |_| {
            tries += 1;
            None
        });
        assert_eq!(tries, 1);
    }
}
