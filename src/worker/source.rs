//! What a worker reads, and how it becomes a member of its group.

use crate::consumer::Consumer;
use crate::error::Error;
use crate::group::hand_over::{HandOver, RebalanceListener};
use crate::log::Log;
use crate::offset::{StartAt, TopicPartition};
use crate::sync::{Arc, Shared};

/// Something that the group has decided, in the order in which it was told.
#[derive(Debug)]
pub(super) enum Change {
    Assigned(TopicPartition),
    Revoked(HandOver),
    Lost(TopicPartition),
}

/// What to read under which name.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) group: String,
    pub(super) topics: Vec<String>,
    pub(super) patterns: Vec<String>,
    pub(super) start: StartAt,
    pub(super) on_out_of_range: Option<StartAt>,
    pub(super) changes: Changes,
}

/// What was told and not looked at yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes(Arc<Shared<Vec<Change>>>);

impl Changes {
    /// All of it; none is left.
    pub(super) fn take(&self) -> Vec<Change> {
        self.0.with(std::mem::take)
    }

    fn extend(&self, changes: impl IntoIterator<Item = Change>) {
        self.0.with(|all| all.extend(changes));
    }
}

impl RebalanceListener for Changes {
    fn assigned(&mut self, partitions: &[TopicPartition]) {
        self.extend(partitions.iter().cloned().map(Change::Assigned));
    }

    fn revoked(&mut self, partitions: Vec<HandOver>) {
        self.extend(partitions.into_iter().map(Change::Revoked));
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        self.extend(partitions.iter().cloned().map(Change::Lost));
    }
}

impl Source {
    /// Joins the group.
    ///
    /// # Errors
    /// As for [`ConsumerBuilder::open`](crate::ConsumerBuilder::open).
    pub(super) fn join(&self, log: &Log) -> Result<Consumer, Error> {
        // What was told to a consumer that is gone does not concern this one.
        drop(self.changes.take());
        let mut builder = log
            .consumer(&self.group)
            .topics(&self.topics)
            .start_at(self.start)
            // A worker is always there; its handlers have a timeout of their own.
            .max_poll_interval(None)
            .listener(self.changes.clone())
            .with_redriven();
        for pattern in &self.patterns {
            builder = builder.matching(pattern.as_str());
        }
        if let Some(start) = self.on_out_of_range {
            builder = builder.on_out_of_range(start);
        }
        builder.open()
    }
}
