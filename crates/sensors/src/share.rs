//! How much of a process's memory is its own, and not shared with forked
//! relatives.

use std::fs::File;
use std::ops::ControlFlow;

use crate::file::for_each_line;
use crate::number::kibibytes;

/// How much of its anonymous memory and of its swap is a process's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnShare {
    pub(crate) anon: Own,
    pub(crate) swap: Own,
}

impl OwnShare {
    /// Of what the kernel tells, in bytes: what it counts for the process, and
    /// the process's part of that.
    pub(crate) fn of(anon: (u64, u64), swap: (u64, u64)) -> Self {
        let own = |(counted_bytes, own_bytes): (u64, u64)| Own {
            counted_bytes,
            own_bytes: own_bytes.min(counted_bytes),
        };
        Self {
            anon: own(anon),
            swap: own(swap),
        }
    }

    /// By a process's `smaps_rollup`; `None` where that does not say. By bytes:
    /// the procfs crate takes all lines apart, also those that are not needed,
    /// and panics on some that no kernel writes.
    pub(crate) fn read(rollup: &File) -> Option<Self> {
        let keys = ["Anonymous:", "Pss_Anon:", "Swap:", "SwapPss:"];
        let mut found = [None; 4];
        for_each_line(rollup, &mut [0; 1024], |_, line| {
            for (key, bytes) in keys.iter().zip(&mut found) {
                if let Some(value) = line.strip_prefix(key.as_bytes()) {
                    *bytes = kibibytes(value);
                }
            }
            ControlFlow::Continue(())
        })
        .ok()?;
        let [anon, own_anon, swap, own_swap] = found;
        Some(Self::of((anon?, own_anon?), (swap?, own_swap?)))
    }

    /// Of a process that cannot be measured: all that is counted is its own.
    pub(crate) fn whole(anon_bytes: u64, swap_bytes: u64) -> Self {
        Self::of((anon_bytes, anon_bytes), (swap_bytes, swap_bytes))
    }
}

/// How much of an amount is a process's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    /// What was counted for it.
    counted_bytes: u64,
    /// Its share of that.
    own_bytes: u64,
}

impl Own {
    /// What of `counted_bytes` is its own now: up to what was measured the same
    /// share, and what came since in full.
    pub(crate) fn apply(self, counted_bytes: u64) -> u64 {
        match counted_bytes.checked_sub(self.counted_bytes) {
            Some(more) => self.own_bytes + more,
            None => scaled(counted_bytes, self.own_bytes, self.counted_bytes),
        }
    }

    /// What it had in common with others.
    pub(crate) fn shared_bytes(self) -> u64 {
        self.counted_bytes - self.own_bytes
    }

    /// Whether a quarter or more has come since it was measured.
    pub(crate) fn has_outgrown(self, counted_bytes: u64) -> bool {
        counted_bytes > self.counted_bytes.saturating_add(self.counted_bytes / 4)
    }
}

/// `number × part / whole`, where `part` is at most `whole` or `number` at most
/// `whole`.
fn scaled(number: u64, part: u64, whole: u64) -> u64 {
    let product = u128::from(number) * u128::from(part);
    let quotient = product.checked_div(u128::from(whole)).unwrap_or(0);
    u64::try_from(quotient).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_cannot_be_measured_is_all_its_own() {
        let OwnShare { anon, swap } = OwnShare::whole(300, 20);
        assert_eq!(
            [100, 300, 700].map(|bytes| anon.apply(bytes)),
            [100, 300, 700]
        );
        assert_eq!(swap.apply(20), 20);
    }

    #[test]
    fn a_share_shrinks_in_proportion_and_grows_in_full() {
        let own = OwnShare::of((300, 60), (0, 0)).anon;
        assert_eq!(own.apply(300), 60);
        assert_eq!(own.apply(150), 30);
        assert_eq!(own.apply(400), 160);
        assert_eq!(own.apply(0), 0);
    }

    fn share_of(rollup: &str) -> Option<OwnShare> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(rollup.as_bytes()).unwrap();
        OwnShare::read(&file)
    }

    const ROLLUP: &str = "55d000000000-7ffc00000000 ---p 00000000 00:00 0  [rollup]\n\
        Rss:               400 kB\n\
        Pss_Anon:          160 kB\n\
        Anonymous:         300 kB\n\
        Swap:               20 kB\n\
        SwapPss:            10 kB\n";

    #[test]
    fn a_rollup_tells_what_is_a_processs_own() {
        let kib = |kib: u64| kib << 10;
        let want = OwnShare::of((kib(300), kib(160)), (kib(20), kib(10)));
        assert_eq!(share_of(ROLLUP), Some(want));
    }

    #[test]
    fn a_rollup_that_makes_no_sense_tells_nothing() {
        for (from, to) in [
            (
                "Anonymous:         300 kB",
                "Anonymous: 18446744073709551615 kB",
            ),
            ("Anonymous:         300 kB", "Anonymous: -4 kB"),
            ("SwapPss:", "SwapSum:"),
            ("Swap:               20 kB\n", "Swap:"),
        ] {
            assert!(ROLLUP.contains(from), "{from}");
            assert_eq!(share_of(&ROLLUP.replace(from, to)), None, "{to}");
        }
        assert_eq!(share_of(""), None);
    }

    #[test]
    fn only_four_lines_of_a_rollup_are_looked_at() {
        let want = share_of(ROLLUP);
        for (from, to) in [
            ("[rollup]", "/SYSV1"),
            ("[rollup]", "[stack:"),
            ("Rss:  ", "Rss:--"),
        ] {
            assert_eq!(share_of(&ROLLUP.replace(from, to)), want, "{to}");
        }
    }
}
