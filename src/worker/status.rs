//! How a worker is doing, told to people and to dashboards.

use std::time::Duration;

use crate::error::Error;
use crate::offset::{Offset, Timestamp, TopicPartition};

use super::failure::Reason;

/// How a worker is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// What the worker as a whole does.
    pub state: State,
    /// The partitions it has, in order.
    pub partitions: Vec<PartitionStatus>,
    /// Why the newest attempt to commit failed; none if it did not.
    pub commit_failure: Option<Reason>,
    /// Why the worker could not join its group, or look for records, last; none if it could.
    pub poll_failure: Option<Reason>,
    /// What was done since the worker was started.
    pub counts: Counts,
}

/// The status of a worker that could not be made.
pub(super) fn nothing_of(error: Error) -> Status {
    Status {
        state: State::Stopped,
        partitions: Vec::new(),
        commit_failure: None,
        poll_failure: Some(error.into()),
        counts: Counts::default(),
    }
}

/// What a worker as a whole does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum State {
    /// It handles records.
    Running,
    /// It was asked to pause.
    Paused,
    /// What its handler needs is down; one record at a time is tried.
    Unavailable {
        /// When a handler said so first.
        since: Timestamp,
        /// What it said last.
        reason: Reason,
        /// How many attempts have found it so.
        attempts: u32,
    },
    /// It finishes what it has begun.
    Stopping,
    /// It has ended.
    Stopped,
}

/// How a worker is doing with one partition.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PartitionStatus {
    /// The partition.
    pub partition: TopicPartition,
    /// The next record to handle, as committed.
    pub committed: Offset,
    /// The first record that is not settled; everything below it could be committed.
    pub settled: Offset,
    /// How many records are held, in handlers or waiting.
    pub held: usize,
    /// The records that handlers have in their hands.
    pub running: Vec<RunningRecord>,
    /// What keeps the commit from going on; none if nothing has gone wrong.
    pub blocked: Option<Blocked>,
    /// Whether it is on its way to another member.
    pub is_revoked: bool,
}

/// A record in a handler's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningRecord {
    /// The record.
    pub offset: Offset,
    /// Which attempt it is.
    pub attempt: u32,
    /// How long the handler has had it.
    pub running_for: Duration,
    /// Whether its time is over: what the handler says now is not listened to.
    pub is_overdue: bool,
}

/// The record that keeps a partition's commit from going on, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Blocked {
    /// The record.
    pub at: Offset,
    /// Why it is not settled.
    pub why: Why,
}

/// Why a record is not settled.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Why {
    /// It failed and is tried again.
    Retrying {
        /// How many attempts have failed.
        attempts: u32,
        /// Why the last one failed.
        reason: Reason,
        /// How long until the next one; zero if it can start.
        next_in: Duration,
    },
    /// Its handler takes longer than it may and has not returned.
    Overdue,
    /// It was given up, and its letter is not written; nothing else of the partition is begun.
    Letter {
        /// Why the letter could not be written; none if that was not tried yet.
        reason: Option<Reason>,
    },
    /// It cannot be read.
    Unreadable {
        /// Why not.
        reason: Reason,
    },
    /// The partition's dead letters could not be looked at, which comes first.
    Opening {
        /// Why not.
        reason: Reason,
    },
}

/// What a worker has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Records that a handler was done with.
    pub handled: u64,
    /// Attempts that failed and are followed by another one; timeouts included.
    pub retried: u64,
    /// Records that were given up and have a letter.
    pub dead: u64,
    /// Records that were given up and whose letter could not be written, where that is allowed.
    pub dropped: u64,
    /// Attempts that said that something they need is unavailable.
    pub unavailable: u64,
}
