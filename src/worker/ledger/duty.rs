//! What the ledger asks for. Plain values.

use std::time::Duration;

use crate::offset::{Offset, Timestamp, TopicPartition};
use crate::worker::failure::Reason;
use crate::worker::metadata::Metadata;

use super::calendar::PartId;
use super::run::Run;

/// A record to handle.
#[derive(Clone, Debug)]
pub(in crate::worker) struct Attempt<R> {
    pub(in crate::worker) run: Run,
    /// Which attempt it is, from 1.
    pub(in crate::worker) number: u32,
    /// When it is overdue.
    pub(in crate::worker) deadline: Option<Duration>,
    pub(in crate::worker) record: R,
}

/// A partition whose letters are to be looked at before anything of it is handled.
#[derive(Clone, Debug)]
pub(in crate::worker) struct Opening {
    pub(in crate::worker) part: PartId,
    pub(in crate::worker) place: TopicPartition,
}

/// A letter to write.
#[derive(Clone, Debug)]
pub(in crate::worker) struct Letter<R> {
    pub(in crate::worker) run: Run,
    pub(in crate::worker) place: TopicPartition,
    pub(in crate::worker) record: R,
    pub(in crate::worker) attempts: u32,
    pub(in crate::worker) first_failed: Timestamp,
    pub(in crate::worker) last_failed: Timestamp,
    pub(in crate::worker) reason: Reason,
    /// An earlier try failed, so that the letter can be there: look from this offset of the
    /// dead-letter partition on before it is written again.
    pub(in crate::worker) look_from: Option<Offset>,
    /// What is committed in the record's partition.
    pub(in crate::worker) committed: Offset,
}

/// Offsets to commit together.
#[derive(Clone, Debug)]
pub(in crate::worker) struct Plan {
    pub(in crate::worker) entries: Vec<(TopicPartition, Offset, Metadata)>,
    pub(super) parts: Vec<PartId>,
}

/// What to do next. Each is reported back, whatever comes of it.
#[derive(Debug)]
pub(in crate::worker) enum Next<R> {
    /// Report with `opened` or `open_failed`.
    Open(Opening),
    /// Report with `lettered` or `letter_failed`.
    Letter(Box<Letter<R>>),
    /// Report with `committed` or `commit_failed`.
    Commit(Plan),
    /// Report with `finish` or `abandon`.
    Handle(Attempt<R>),
    /// Nothing until something is reported, or until this time.
    Idle(Option<Duration>),
}
