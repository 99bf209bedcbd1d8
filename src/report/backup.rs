//! What a backup has copied.

use crate::error::Error;

/// What [`Log::backup`](crate::Log::backup) copied, and what it could not.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[must_use]
pub struct BackupReport {
    /// How many topics.
    pub topics: u64,
    /// How many partitions, empty ones too.
    pub partitions: u64,
    /// How many records.
    pub records: u64,
    /// How many bytes their batches take.
    pub bytes: u64,
    /// One error for each stretch of offsets that could not be read; readers of the copy are told of
    /// them as well.
    pub lost: Vec<Error>,
}

impl BackupReport {
    /// Whether everything was copied.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.topics += other.topics;
        self.partitions += other.partitions;
        self.records += other.records;
        self.bytes += other.bytes;
        self.lost.extend(other.lost);
    }
}
