//! What a decision is made with, besides what is known: the time, and chance.

use std::time::Duration;

use crate::offset::Timestamp;

/// One moment on both clocks, and a random number for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// What delays and deadlines go by.
    pub(crate) monotonic: Duration,
    /// What is told to people.
    pub(crate) wall: Timestamp,
    /// Spreads back-offs.
    pub(crate) chance: u64,
}
