//! What users configure: data, set freely and checked once, when a log is opened or a topic made.

use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::limits::{
    PARTITIONS_MAX, RECORD_BYTES_DEFAULT, RECORD_BYTES_MAX, SEGMENT_BYTES_DEFAULT,
    SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
};

/// When a topic's records are made durable, whoever waits for them or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// Every record is synced as soon as it is written, and consumers see it only then. The default.
    #[default]
    Always,
    /// Records are synced at the latest this long after they were written; consumers do not wait for it.
    ///
    /// A longer time means fewer syncs, and more records that a power cut can take back.
    Every(Duration),
    /// Records are left to the operating system, but for a sync behind every 16 MiB.
    Never,
}

/// How long records are kept: by default for ever.
///
/// Whole sealed segments are removed, oldest first, and never the one being written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Retention {
    /// Segments whose last record was appended longer ago than this are removed.
    pub max_age: Option<Duration>,
    /// The oldest segments are removed while the others hold at least this many bytes.
    pub max_bytes: Option<u64>,
    /// Nothing is removed that some listed group has not committed.
    pub hold_uncommitted: bool,
}

impl Retention {
    /// Keeps everything.
    #[must_use]
    pub fn forever() -> Self {
        Self::default()
    }

    /// Removes segments whose last record is older than `age`.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Keeps about `bytes` per partition, rounded up to whole segments.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Keeps what any listed group has not committed, whatever its age.
    #[must_use]
    pub fn hold_uncommitted(mut self, hold: bool) -> Self {
        self.hold_uncommitted = hold;
        self
    }
}

/// How a topic is kept.
///
/// Setters never fail; the log checks the whole when the topic is made or altered.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use brooklet::{Log, Retention, SyncPolicy, TopicConfig};
///
/// let log = Log::in_memory()?;
/// let config = TopicConfig::new()
///     .partitions(3)
///     .sync(SyncPolicy::Every(Duration::from_millis(50)))
///     .retention(Retention::forever().max_age(Duration::from_secs(7 * 24 * 3600)));
/// log.create_topic("clicks", config)?;
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct TopicConfig {
    pub(crate) partitions: u32,
    /// None takes the log's default when the topic is made.
    pub(crate) sync: Option<SyncPolicy>,
    pub(crate) segment_bytes: u64,
    pub(crate) segment_age: Option<Duration>,
    pub(crate) retention: Retention,
    pub(crate) max_record_bytes: usize,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            partitions: 1,
            sync: None,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            segment_age: None,
            retention: Retention::default(),
            max_record_bytes: RECORD_BYTES_DEFAULT,
        }
    }
}

impl TopicConfig {
    /// One partition, the log's sync policy, segments of 64 MiB, records up to 1 MiB, kept for ever.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many partitions: 1 to 10,000, by default 1.
    ///
    /// More partitions let more consumers share the topic; order holds within each one only.
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// When records are made durable; by default as [`LogOptions`](crate::LogOptions) says.
    pub fn sync(mut self, policy: SyncPolicy) -> Self {
        self.sync = Some(policy);
        self
    }

    /// The size at which a segment is sealed: 1 KiB to 1 GiB, by default 64 MiB.
    ///
    /// Smaller segments let retention work in finer steps, and cost a file and two syncs each.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// The age at which a segment is sealed even if it is small; by default none.
    pub fn segment_age(mut self, age: Duration) -> Self {
        self.segment_age = Some(age);
        self
    }

    /// How long records are kept; by default for ever.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// The largest record accepted, encoded: 64 bytes to 64 MiB, by default 1 MiB.
    pub fn max_record_bytes(mut self, bytes: usize) -> Self {
        self.max_record_bytes = bytes;
        self
    }

    /// How many partitions.
    #[must_use]
    pub fn partition_count(&self) -> u32 {
        self.partitions
    }

    /// The sync policy, once the topic is made.
    #[must_use]
    pub fn sync_policy(&self) -> SyncPolicy {
        self.sync.unwrap_or_default()
    }

    /// How long records are kept.
    #[must_use]
    pub fn retention_policy(&self) -> &Retention {
        &self.retention
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |text: String| Err(Error::new(ErrorKind::InvalidConfig, text));
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            return refuse(format!("{} partitions, not 1 to {PARTITIONS_MAX}", self.partitions));
        }
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            let range = format!("{SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}");
            return refuse(format!("segments of {} bytes, not {range}", self.segment_bytes));
        }
        if !(RECORD_BYTES_LEAST..=RECORD_BYTES_MAX).contains(&self.max_record_bytes) {
            let range = format!("{RECORD_BYTES_LEAST} to {RECORD_BYTES_MAX}");
            return refuse(format!("records of {} bytes, not {range}", self.max_record_bytes));
        }
        let durations = [
            ("segment age", self.segment_age),
            ("retention age", self.retention.max_age),
            ("sync interval", self.interval()),
        ];
        for (name, duration) in durations {
            if duration.is_some_and(|duration| duration.as_millis() == 0) {
                return refuse(format!("a {name} of less than one millisecond"));
            }
        }
        Ok(())
    }

    fn interval(&self) -> Option<Duration> {
        match self.sync {
            Some(SyncPolicy::Every(interval)) => Some(interval),
            _ => None,
        }
    }
}

/// A topic that takes no record of this size would take none at all.
const RECORD_BYTES_LEAST: usize = 64;
