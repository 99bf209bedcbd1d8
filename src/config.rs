//! What users configure: data, set freely and checked once, when a log is opened or a topic made.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::limits::{
    BUFFER_BYTES_DEFAULT, LETTER_BYTES_MAX, PARTITIONS_MAX, RECORD_BYTES_DEFAULT, RECORD_BYTES_MAX,
    SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, TAIL_BYTES_DEFAULT,
    UNSYNCED_BYTES_DEFAULT,
};
use crate::offset::{Offset, TopicPartition};
use crate::role::TopicRole;

/// When a topic's records are made durable, whoever waits for them or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// Every record is synced as soon as it is written, and consumers see it only then. The
    /// default.
    #[default]
    Always,
    /// Records are synced at the latest this long after they were written; consumers do not wait
    /// for it.
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
    /// Given by the log when it makes the topic, whatever the user's configuration says.
    pub(crate) role: TopicRole,
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
            role: TopicRole::Plain,
        }
    }
}

impl TopicConfig {
    /// One partition, the log's sync policy, segments of 64 MiB, records up to 1 MiB, kept for
    /// ever.
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

    /// The same settings for a topic of another role.
    pub(crate) fn role(mut self, role: TopicRole) -> Self {
        self.role = role;
        self
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
        let most = if self.role.is_plain() { RECORD_BYTES_MAX } else { LETTER_BYTES_MAX };
        if !(RECORD_BYTES_LEAST..=most).contains(&self.max_record_bytes) {
            let range = format!("{RECORD_BYTES_LEAST} to {most}");
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

/// A failure that nobody was waiting for, as it is told to the log's owner.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BackgroundError {
    /// The partition it concerns; none where it is about the log as a whole.
    pub partition: Option<TopicPartition>,
    /// Records that were accepted with [`Acks::None`](crate::Acks::None) and are lost.
    ///
    /// Their offsets are given to other records.
    pub lost: Option<std::ops::Range<Offset>>,
    /// What failed.
    pub error: Error,
}

/// Called with failures that nobody waits for.
pub(crate) type ErrorHook = Arc<dyn Fn(BackgroundError) + Send + Sync>;

/// How a log is opened.
///
/// Setters never fail; the whole is checked when the log is opened.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use brooklet::{LogOptions, SyncPolicy};
///
/// let dir = tempfile::tempdir()?;
/// let log = LogOptions::new()
///     .default_sync(SyncPolicy::Every(Duration::from_millis(100)))
///     .wait_for_lock(Duration::from_secs(5))
///     .open(dir.path())?;
/// log.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct LogOptions {
    pub(crate) default_sync: SyncPolicy,
    pub(crate) buffer_bytes: usize,
    pub(crate) unsynced_bytes: u64,
    pub(crate) tail_bytes: usize,
    pub(crate) send_timeout: Option<Duration>,
    pub(crate) open_files: usize,
    pub(crate) wait_for_lock: Duration,
    pub(crate) read_only: bool,
    pub(crate) manual_maintenance: bool,
    pub(crate) check_interval: Duration,
    pub(crate) on_background_error: Option<ErrorHook>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            default_sync: SyncPolicy::Always,
            buffer_bytes: BUFFER_BYTES_DEFAULT,
            unsynced_bytes: UNSYNCED_BYTES_DEFAULT,
            tail_bytes: TAIL_BYTES_DEFAULT,
            send_timeout: Some(Duration::from_secs(60)),
            open_files: 256,
            wait_for_lock: Duration::ZERO,
            read_only: false,
            manual_maintenance: false,
            check_interval: Duration::from_secs(30),
            on_background_error: None,
        }
    }
}

impl LogOptions {
    /// A log that syncs every record, with moderate budgets, maintained by its own threads.
    pub fn new() -> Self {
        Self::default()
    }

    /// The sync policy of topics that are made without one; by default `Always`.
    pub fn default_sync(mut self, policy: SyncPolicy) -> Self {
        self.default_sync = policy;
        self
    }

    /// How many bytes may wait to be written per partition; by default 32 MiB.
    ///
    /// More lets bursts pass; less makes senders feel a slow disk sooner. A larger record still
    /// passes when it is alone.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// How many written bytes may wait to be synced per partition; by default 256 MiB.
    ///
    /// Senders wait above it. Less bounds what a power cut can take of weaker topics, and the
    /// length of a sync.
    pub fn unsynced_bytes(mut self, bytes: u64) -> Self {
        self.unsynced_bytes = bytes;
        self
    }

    /// How many of the newest bytes of each partition stay in memory for readers; by default 1 MiB.
    ///
    /// Less makes readers that follow closely go to the page cache.
    pub fn tail_bytes(mut self, bytes: usize) -> Self {
        self.tail_bytes = bytes;
        self
    }

    /// How long a send waits for room before it fails with `Timeout`; by default a minute, `None`
    /// for ever.
    pub fn send_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.send_timeout = timeout;
        self
    }

    /// How many segment files are kept open for reading: at least 1, by default 256.
    pub fn open_files(mut self, files: usize) -> Self {
        self.open_files = files;
        self
    }

    /// How long to wait for a directory that another process has open; by default not at all.
    pub fn wait_for_lock(mut self, wait: Duration) -> Self {
        self.wait_for_lock = wait;
        self
    }

    /// Opens without the lock and changes nothing, also beside a process that writes.
    ///
    /// The log is seen as it was when it was opened, each partition up to what its files prove
    /// durable.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Leaves retention, durable marks and timed syncs to [`Log::maintain`](crate::Log::maintain).
    pub fn manual_maintenance(mut self, manual: bool) -> Self {
        self.manual_maintenance = manual;
        self
    }

    /// How often retention is looked at: at least a millisecond, by default 30 seconds.
    pub fn check_interval(mut self, interval: Duration) -> Self {
        self.check_interval = interval;
        self
    }

    /// Has `hook` called with every failure that nobody waits for.
    ///
    /// It runs on whichever thread met the failure, with no lock held, and should be short.
    pub fn on_background_error(
        mut self,
        hook: impl Fn(BackgroundError) + Send + Sync + 'static,
    ) -> Self {
        self.on_background_error = Some(Arc::new(hook));
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |text: &str| Err(Error::new(ErrorKind::InvalidConfig, text));
        if self.open_files == 0 {
            return refuse("open_files of 0");
        }
        if self.buffer_bytes == 0 || self.unsynced_bytes == 0 {
            return refuse("a send budget of 0 bytes");
        }
        if self.check_interval.as_millis() == 0 {
            return refuse("a check interval of less than one millisecond");
        }
        TopicConfig::new().sync(self.default_sync).check()
    }
}

impl fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogOptions")
            .field("default_sync", &self.default_sync)
            .field("buffer_bytes", &self.buffer_bytes)
            .field("unsynced_bytes", &self.unsynced_bytes)
            .field("read_only", &self.read_only)
            .field("manual_maintenance", &self.manual_maintenance)
            .finish_non_exhaustive()
    }
}
