//! Work that touches files, and that whoever has time does for the whole worker.

use crate::consumer::Consumer;
use crate::offset::TopicPartition;
use crate::record::StoredRecord;
use crate::storage::waiter::Waiter;
use crate::sync::Arc;

use super::ledger::{Letter, Opening, Plan};

/// The worker's membership in its group. Who has it in hand is the only one who polls or commits.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) consumer: Consumer,
    /// Is filled when a poll may find something.
    pub(super) watch: Option<Arc<Waiter<()>>>,
}

/// One thing to do.
#[derive(Debug)]
pub(super) enum Errand {
    /// Become a member of the group.
    Join,
    /// Look for records, and for what the group has decided; some partitions are to be read no
    /// more for now (true), or again (false).
    Poll(Box<Seat>, Vec<(TopicPartition, bool)>),
    /// Look which records of a partition have letters.
    Open(Opening),
    /// Write a letter.
    Letter(Box<Letter<StoredRecord>>),
    /// Commit.
    Commit(Box<Seat>, Plan),
    /// Leave the group: everything is done.
    Leave(Box<Seat>),
}
