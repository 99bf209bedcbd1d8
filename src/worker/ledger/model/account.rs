//! A plain account of what happened to partitions, and what was seen in all histories together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::worker::ledger::run::Run;
use crate::worker::metadata::Metadata;

pub(super) const PLACES: usize = 3;
pub(super) const AHEAD: u64 = 6;
pub(super) const HELD: usize = 8;
pub(super) const FETCH: u64 = 4;
/// The record that ends the process, in histories that have one.
pub(super) const KILLER: (usize, u64) = (0, 1);
pub(super) const TIMEOUT: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    Done,
    Retry,
    RetryAfter,
    Dead,
    Unavailable,
    Abandoned,
}

/// What became of a write, and what is reported of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Done,
    Failed,
    /// It is there, and nobody was told.
    DoneUntold,
}

/// What is durable of one partition, and who has it.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) keys: Vec<Option<u8>>,
    pub(super) committed: u64,
    /// What was committed when the session began.
    pub(super) at_open: u64,
    pub(super) metadata: Metadata,
    /// Records with letters, and where the first letter of each stands.
    pub(super) letters: BTreeMap<u64, u64>,
    pub(super) letters_end: u64,
    /// How often the process ended while a record was examined.
    pub(super) crashes: BTreeMap<u64, u32>,
    pub(super) owner: Option<Owner>,
}

/// One assignment.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) epoch: u64,
    pub(super) is_open: bool,
    pub(super) is_draining: bool,
    pub(super) from: u64,
    pub(super) fetched: u64,
    pub(super) suspect_end: u64,
    pub(super) settled: BTreeSet<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) run: Run,
    pub(super) place: usize,
    pub(super) epoch: u64,
    pub(super) offset: u64,
    pub(super) is_suspect: bool,
    pub(super) is_overdue: bool,
}

/// What was seen in all histories together.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) handled: usize,
    pub(super) answers: BTreeSet<Answer>,
    pub(super) letters: usize,
    pub(super) letters_found_again: usize,
    pub(super) overdue: usize,
    pub(super) suspects: usize,
    pub(super) doomed: usize,
    pub(super) ghosts: usize,
    pub(super) releases: usize,
    pub(super) probes: usize,
    pub(super) full: usize,
}
