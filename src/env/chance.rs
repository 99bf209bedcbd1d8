//! Where random numbers come from: the process itself. Not for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::{Entropy, Env};
use crate::sync::{AtomicU64, Ordering};

/// Numbers that differ from process to process.
#[derive(Debug, Default)]
pub(crate) struct ProcessEntropy {
    keys: RandomState,
    drawn: AtomicU64,
}

impl Entropy for ProcessEntropy {
    fn next_u64(&self) -> u64 {
        // The keys of a `RandomState` come from the system; hashing a counter under them gives as
        // many numbers as anybody wants without another source.
        let mut hasher = self.keys.build_hasher();
        hasher.write_u64(self.drawn.fetch_add(1, Ordering::Relaxed));
        hasher.finish()
    }
}

impl Env {
    /// A salt for a new file.
    pub(crate) fn draw_salt(&self) -> u32 {
        let [a, b, c, d, ..] = self.entropy.next_u64().to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks if two logs of one process could draw the same salts.
    #[test]
    fn two_sources_of_a_process_differ() {
        let (one, other) = (ProcessEntropy::default(), ProcessEntropy::default());
        assert_ne!(one.next_u64(), other.next_u64());
        assert_ne!(one.next_u64(), one.next_u64());
    }
}
