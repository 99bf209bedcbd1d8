//! What a decision is made with, besides what is known: the time, and chance.

use std::time::Duration;

use crate::offset::Timestamp;

/// One moment on both clocks, and a random number for it.
#[derive(Clone, Copy, Debug)]
pub(in crate::worker) struct Now {
    /// What delays and deadlines go by.
    pub(in crate::worker) monotonic: Duration,
    /// What is told to people.
    pub(in crate::worker) wall: Timestamp,
    /// Spreads back-offs.
    pub(in crate::worker) chance: u64,
}
