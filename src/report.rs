//! What a log says of itself: what recovery found, where partitions stand, and how it is doing.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::TopicConfig;
use crate::error::Error;
use crate::name::{GroupName, TopicName};
use crate::offset::{Offset, TopicId, TopicPartition};
use crate::role::TopicRole;

pub(crate) mod backup;
pub(crate) mod repair;
pub(crate) mod verification;

/// What the last session left behind, and what became of it.
///
/// Partitions are recovered on first use after an unclean stop, so that a report can grow while the
/// log is open.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Whether the last session closed the log; then there is nothing to recover but what it had
    /// not looked at itself.
    pub was_clean: bool,
    /// What was found in the partitions that were looked at.
    pub partitions: Vec<PartitionRecovery>,
    /// Partitions that were not looked at yet.
    pub pending: Vec<TopicPartition>,
    /// Commits of groups that were behind the end of a recovered partition.
    pub lowered_commits: Vec<LoweredCommit>,
    /// Journals whose last bytes were torn: `manifest`, `catalog`, `offsets`.
    pub torn_journals: Vec<&'static str>,
    /// Files and directories that the log does not know; they are left alone.
    pub unknown_files: Vec<PathBuf>,
}

impl RecoveryReport {
    /// Whether nothing was cut off, set aside or found damaged so far.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.partitions.iter().all(|partition| {
            partition.torn_bytes == 0 && partition.aside.is_empty() && partition.damage.is_none()
        })
    }
}

/// What recovery found in one partition.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PartitionRecovery {
    /// Which partition.
    pub partition: TopicPartition,
    /// Bytes behind the last good batch that were cut off: the end of a write that was under way.
    pub torn_bytes: u64,
    /// Records kept that were not known to be durable; they are now.
    pub kept_records: u64,
    /// Records that a log opened read-only does not show, because no file proves them durable yet.
    pub unproven_records: u64,
    /// Segments behind a torn end: not part of the log any more, and left where they are.
    pub aside: Vec<PathBuf>,
    /// Files that the log does not know; they are left alone.
    pub unknown_files: Vec<PathBuf>,
    /// Damage below what was known durable; it stops appends, and readers get it where it lies.
    pub damage: Option<Error>,
}

/// Where a partition stands: `start <= durable_end <= written_end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offsets {
    /// The first offset that is kept.
    pub start: Offset,
    /// The offset behind the last record that survives a power cut.
    pub durable_end: Offset,
    /// The offset behind the last record that is in the file.
    pub written_end: Offset,
    /// The offset behind the last record that readers see.
    pub end: Offset,
}

impl Offsets {
    /// The offsets that can be read.
    #[must_use]
    pub fn readable(&self) -> Range<Offset> {
        self.start..self.end
    }
}

/// A topic as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicInfo {
    /// Its name.
    pub name: TopicName,
    /// How it is kept.
    pub config: TopicConfig,
    /// What tells it from a topic that has its name after it was deleted.
    pub(crate) id: TopicId,
}

impl TopicInfo {
    /// What it is for.
    #[must_use]
    pub fn role(&self) -> &TopicRole {
        &self.config.role
    }
}

/// A commit that recovery has lowered, because a power cut took back the records below it.
///
/// The group goes on at the end of what was recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoweredCommit {
    /// The group.
    pub group: GroupName,
    /// The partition.
    pub partition: TopicPartition,
    /// What was committed.
    pub from: Offset,
    /// What is committed now: the partition's recovered end.
    pub to: Offset,
}

/// What became of [`Log::ensure_topic`](crate::Log::ensure_topic).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ensured {
    /// There was no such topic, and now there is.
    Created,
    /// The topic is there, as asked for.
    Unchanged,
    /// The topic is there and differs in these settings; it was left as it is.
    Differs(Vec<&'static str>),
}

/// How a log is doing, at one moment.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// One entry for each partition.
    pub partitions: Vec<PartitionStats>,
    /// Segment files that are open for reading.
    pub open_files: usize,
}

impl Stats {
    /// Records appended since the log was opened.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.records).sum()
    }

    /// Syncs of partitions since the log was opened.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.syncs).sum()
    }
}

/// How one partition is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PartitionStats {
    /// Which partition.
    pub partition: TopicPartition,
    /// Where it stands.
    pub offsets: Offsets,
    /// How many segments hold it.
    pub segments: usize,
    /// Records appended since the log was opened.
    pub records: u64,
    /// Bytes appended since the log was opened.
    pub bytes: u64,
    /// Bytes that wait to be written.
    pub queued_bytes: usize,
    /// Bytes that are written and wait to be synced.
    pub unsynced_bytes: u64,
    /// Syncs since the log was opened.
    pub syncs: u64,
    /// How long they took together.
    pub sync_time: Duration,
    /// How long the longest of them took.
    pub longest_sync: Duration,
    /// Why the partition accepts no more writes, if it does not.
    pub stopped: Option<Error>,
}
