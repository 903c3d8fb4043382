//! Memory that is really taken: every page written to, with words that neither
//! compress (zram, zswap) nor merge (KSM).

use std::collections::TryReserveError;
use std::hash::{BuildHasher, RandomState};

const WORDS_PER_MIB: usize = (1 << 20) / size_of::<u64>();

/// What has been taken so far. Nothing is freed before the end.
#[derive(Debug)]
pub(crate) struct Hoard {
    random: Random,
    chunks: Vec<Vec<u64>>,
}

impl Hoard {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            // Another seed in every process, so that no two of them hold the
            // same page.
            random: Random::seeded(RandomState::new().hash_one(std::process::id())),
            chunks: Vec::new(),
        }
    }

    /// Takes one MiB more and writes all of it.
    ///
    /// # Errors
    ///
    /// [`TryReserveError`] where the kernel promises no more (RLIMIT_AS, or
    /// strict overcommit accounting).
    pub(crate) fn take_mib(&mut self) -> Result<(), TryReserveError> {
        let mut chunk = Vec::new();
        chunk.try_reserve_exact(WORDS_PER_MIB)?;
        self.chunks.try_reserve(1)?;
        chunk.extend(std::iter::repeat_with(|| self.random.next()).take(WORDS_PER_MIB));
        self.chunks.push(chunk);
        Ok(())
    }

    /// What is held, in MiB.
    pub(crate) fn mib(&self) -> u64 {
        self.chunks.len() as u64
    }
}

/// xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift
/// generators, scrambled" (2016). Fast, and random enough to defeat a compressor.
#[derive(Debug)]
struct Random {
    state: u64,
}

impl Random {
    fn seeded(seed: u64) -> Self {
        // The one state it never leaves is 0.
        Self { state: seed.max(1) }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_mib_is_written_and_no_page_is_like_another() {
        let mut hoard = Hoard::new();
        hoard.take_mib().unwrap();
        hoard.take_mib().unwrap();
        assert_eq!(hoard.mib(), 2);

        let words_per_page = 4096 / size_of::<u64>();
        let pages: HashSet<&[u64]> = hoard
            .chunks
            .iter()
            .flat_map(|chunk| chunk.chunks(words_per_page))
            .collect();
        assert_eq!(pages.len(), 2 * 256);
    }

    #[test]
    fn the_words_of_a_page_use_all_their_bytes_alike() {
        let mut hoard = Hoard::new();
        hoard.take_mib().unwrap();
        let mut seen = [0_u32; 256];
        for word in &hoard.chunks[0] {
            for byte in word.to_ne_bytes() {
                seen[usize::from(byte)] += 1;
            }
        }
        // 4096 of each are expected; a fair source strays by 64 (one standard
        // deviation), and ten times that never in the life of the universe.
        assert!(
            seen.iter().all(|&count| (3456..=4736).contains(&count)),
            "{seen:?}"
        );
    }

    #[test]
    fn a_seed_of_zero_is_no_dead_end() {
        let mut random = Random::seeded(0);
        assert_ne!(random.next(), random.next());
    }
}
