//! What the ledger asks for. Plain values.

use std::time::Duration;

use crate::offset::{Offset, Timestamp, TopicPartition};
use crate::worker::failure::Reason;
use crate::worker::metadata::Metadata;

use super::calendar::PartId;
use super::run::Run;

/// A record to handle.
#[derive(Clone, Debug)]
pub(crate) struct Attempt<R> {
    pub(crate) run: Run,
    /// Which attempt it is, from 1.
    pub(crate) number: u32,
    /// When it is overdue.
    pub(crate) deadline: Option<Duration>,
    pub(crate) record: R,
}

/// A partition whose letters are to be looked at before anything of it is handled.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) part: PartId,
    pub(crate) place: TopicPartition,
}

/// A letter to write.
#[derive(Clone, Debug)]
pub(crate) struct Letter<R> {
    pub(crate) run: Run,
    pub(crate) place: TopicPartition,
    pub(crate) record: R,
    pub(crate) attempts: u32,
    pub(crate) first_failed: Timestamp,
    pub(crate) last_failed: Timestamp,
    pub(crate) reason: Reason,
    /// An earlier try failed, so that the letter can be there: look from this offset of the
    /// dead-letter partition on before it is written again.
    pub(crate) look_from: Option<Offset>,
    /// What is committed in the record's partition.
    pub(crate) committed: Offset,
}

/// Offsets to commit together.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) entries: Vec<(TopicPartition, Offset, Metadata)>,
    pub(super) parts: Vec<PartId>,
}

/// What to do next. Each is reported back, whatever comes of it.
#[derive(Debug)]
pub(crate) enum Next<R> {
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
