//! What a worker goes by: plain values with their defaults and limits.

use std::time::Duration;

use crate::retry::Retry;

/// When a worker commits what it has settled.
///
/// A commit covers every record up to the first one that is not settled. More of them cost more
/// syncs, fewer of them repeat more records after a crash. Whatever is chosen, a worker also
/// commits when a partition is taken from it, when it stops, and when a partition could not go on
/// otherwise (see [`max_ahead`](super::Worker::max_ahead)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitEvery {
    /// When the records that were fetched together are settled. The default.
    #[default]
    Batch,
    /// When so many records of a partition are settled, and when there is nothing left to do.
    Records(u64),
    /// When something has been settled for so long.
    Interval(Duration),
}

/// What the ledger decides by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) retry: Retry,
    /// How long an attempt may take.
    pub(super) handler_timeout: Option<Duration>,
    pub(super) commit_every: CommitEvery,
    /// How far past its partition's committed offset a record may start.
    pub(super) max_ahead: u64,
    /// How many records of one partition are held before no more are fetched.
    pub(super) max_held: usize,
    /// How much memory the records of one partition take before no more are fetched.
    pub(super) max_held_bytes: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            retry: Retry::default(),
            handler_timeout: None,
            commit_every: CommitEvery::default(),
            max_ahead: AHEAD_DEFAULT,
            max_held: HELD_RECORDS_MAX,
            max_held_bytes: HELD_BYTES_MAX,
        }
    }
}

/// How long the worker waits after so many failures of its own: of probes, commits, letters.
///
/// Half of the ceiling at least, so that a chance of nothing does not make it spin.
pub(super) fn patience(failures: u32, chance: u64) -> Duration {
    let drawn = |chance| PATIENCE.delay(failures, chance).unwrap_or_default();
    drawn(u64::MAX) / 2 + drawn(chance) / 2
}

const PATIENCE: Retry = Retry::exponential(Duration::from_millis(200))
    .max_delay(Duration::from_secs(30))
    .any_attempts();

/// Records past the committed offset that may have been started unless configured otherwise.
const AHEAD_DEFAULT: u64 = 1_000;

/// Records of one partition that are held, whatever the window ahead is.
const HELD_RECORDS_MAX: usize = 10_000;

/// Bytes of one partition's records that are held, but for the last fetch.
const HELD_BYTES_MAX: usize = 16 * 1024 * 1024;
