//! What can happen in a history, as those who made it happen have seen it.

use super::value::{Seen, Value};
use crate::producer::Acks;

/// A partition of one topic, as the history numbers topics.
///
/// A topic that was deleted and made again under its name is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The number of the topic in its [`Event::Topic`].
    pub topic: u32,
    /// The partition.
    pub partition: u32,
}

/// How a session ended that was not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process died; what it had given to the system is there.
    Process,
    /// The power went; what was not synced may be gone.
    Power,
}

/// A part of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which partition.
    pub place: Place,
    /// By which assignment its member owned it, as far as it knew.
    pub assignment: u64,
    /// The next offset to read.
    pub offset: u64,
}

/// A dead letter as it is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetterSeen {
    /// Where the record stood that could not be handled.
    pub place: Place,
    /// At which offset.
    pub offset: u64,
    /// The record.
    pub value: Seen,
}

/// One thing that happened, in the order in which it was seen.
///
/// What is asked for is noted before it is asked, the answer after it has come. An answer that never
/// came means that nobody can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A topic is asked for. Numbers are never used twice.
    Topic {
        /// Its number.
        topic: u32,
        /// Its name.
        name: String,
        /// Whether its policy is `Always`.
        is_synced: bool,
        /// Whether retention may remove what it holds.
        expires: bool,
    },
    /// The topic is there.
    Created(u32),
    /// The topic is about to be deleted.
    Deleting(u32),
    /// It is gone.
    Deleted(u32),
    /// A value is about to be sent.
    Send {
        /// Where to.
        place: Place,
        /// What.
        value: Value,
    },
    /// The send was answered with `Ok`.
    Sent {
        /// What.
        value: Value,
        /// The offset it was given.
        offset: u64,
        /// What was waited for.
        acks: Acks,
    },
    /// The send was answered with `NotAppended`: the value must never be seen.
    Failed(Value),
    /// Records below an offset are about to be removed.
    Trim {
        /// Of which partition.
        place: Place,
        /// The first that stays.
        before: u64,
    },
    /// A group whose commits the history does not hold, because a worker makes them.
    Worker(u32),
    /// A member was given a partition.
    Assigned {
        /// The group.
        group: u32,
        /// The partition.
        place: Place,
        /// A number that is never used twice.
        assignment: u64,
    },
    /// A member was handed records of a partition.
    Polled {
        /// By which assignment.
        assignment: u64,
        /// The partition.
        place: Place,
        /// Offsets and values, as they came.
        records: Vec<(u64, Seen)>,
    },
    /// A commit is about to be made.
    Commit {
        /// A number that is never used twice.
        commit: u64,
        /// The group.
        group: u32,
        /// All or nothing of this.
        parts: Vec<Part>,
    },
    /// The commit was answered with `Ok`.
    Committed(u64),
    /// The commit was answered with an error that says that nothing was committed.
    Refused(u64),
    /// The commit was answered with `NotOwner`, and its member was never told that it must let go.
    Disowned(u64),
    /// A handler is about to answer that it has handled a record.
    Handled {
        /// The group.
        group: u32,
        /// The partition.
        place: Place,
        /// The record's offset.
        offset: u64,
    },
    /// The log was closed, with `Ok`.
    Closed,
    /// The session ended otherwise.
    Crashed(Crash),
    /// Which topics are there, when the log is open again.
    Topics(Vec<u32>),
    /// Where a partition stands that was opened again.
    Recovered {
        /// The partition.
        place: Place,
        /// Its first offset.
        start: u64,
        /// The offset behind its last record.
        end: u64,
    },
    /// Recovery says that it has lowered a commit.
    Lowered {
        /// The group.
        group: u32,
        /// The partition.
        place: Place,
        /// What was committed.
        from: u64,
        /// What is committed now.
        to: u64,
    },
    /// A partition was read through while nobody was sending.
    Drained {
        /// The partition.
        place: Place,
        /// Its first offset.
        start: u64,
        /// The offset behind its last record.
        end: u64,
        /// Offsets and values, as they came.
        records: Vec<(u64, Seen)>,
    },
    /// All letters of a group, when the log is open again and its topics are drained.
    Letters {
        /// The group.
        group: u32,
        /// As they are listed.
        letters: Vec<LetterSeen>,
    },
    /// What a group has committed of a drained partition, when its letters are known.
    Position {
        /// The group.
        group: u32,
        /// The partition.
        place: Place,
        /// What is committed, if anything is.
        committed: Option<u64>,
    },
}
