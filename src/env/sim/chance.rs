//! Numbers that a seed determines, the same on every machine.

use crate::env::Entropy;
use crate::sync::{AtomicU64, Ordering};

/// Numbers that a seed determines.
#[derive(Debug)]
pub(crate) struct SeededEntropy {
    state: AtomicU64,
}

impl SeededEntropy {
    /// Starts the sequence that belongs to `seed`.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }
}

impl Clone for SeededEntropy {
    /// An independent source that goes on with the same numbers.
    fn clone(&self) -> Self {
        Self { state: AtomicU64::new(self.state.load(Ordering::Relaxed)) }
    }
}

impl Entropy for SeededEntropy {
    fn next_u64(&self) -> u64 {
        mix(self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP))
    }
}

/// Scrambles a number so that close inputs give unrelated outputs.
///
/// This is the output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// The increment of SplitMix64: 2^64 divided by the golden ratio, made odd.
pub(crate) const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks if a seed no longer replays its run (vectors of SplitMix64, seed 0).
    #[test]
    fn a_seed_determines_the_numbers() {
        let numbers = SeededEntropy::new(0);
        assert_eq!(numbers.next_u64(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(numbers.next_u64(), 0x6E78_9E6A_A1B9_65F4);
    }
}
