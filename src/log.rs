//! The log itself: builds and connects everything below it. No algorithm lives here.

use std::fmt;
use std::path::Path;
use std::task::Waker;
use std::time::Duration;

use crate::catalog::{Topic, Topics};
use crate::config::{BackgroundError, LogOptions, TopicConfig};
use crate::env::{Env, disk, memory};
use crate::error::{Error, ErrorKind};
use crate::group::registry::{Groups, Lowered};
use crate::name::TopicName;
#[cfg(feature = "testing")]
use crate::offset::TopicId;
use crate::offset::{Offset, PartitionId, TopicPartition};
use crate::producer::Producer;
use crate::reader::ReaderBuilder;
use crate::report::{
    Ensured, LoweredCommit, Offsets, PartitionRecovery, PartitionStats, RecoveryReport, Stats,
    TopicInfo,
};
use crate::role::TopicRole;
use crate::storage::commit::Budget;
use crate::storage::committer::Committer;
use crate::storage::store::{PartitionShard, Store, StoreOptions};
use crate::storage::tail::Positions;
use crate::storage::tail::{BackgroundFailure, Serve};
use crate::sync::{Arc, AtomicBool, Ordering, Shared};

mod backup;
mod books;
mod closing;
mod groups;
mod inner;
pub(crate) mod repair;
mod roles;
mod verify;

use inner::{Inner, Turn};

/// An event log in one directory, open in this process. Clones are handles to the same log.
///
/// The log is let go of when the last handle is gone, producers and readers included: its threads
/// stop and its lock is free, but nothing is synced any more. [`close`](Self::close) ends it
/// properly and reports failures.
///
/// Programs that are started meanwhile inherit nothing of it. The child of a bare `fork` has copies
/// of its descriptors and none of its threads, and must not use it.
///
/// # Examples
/// ```
/// use brooklet::{Log, Record, TopicConfig};
///
/// let dir = tempfile::tempdir()?;
/// let log = Log::open(dir.path())?;
/// log.create_topic("orders", TopicConfig::new().partitions(3))?;
/// let receipt = log.producer("orders")?.send(Record::new("created").key("order-42"))?;
/// log.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

impl Log {
    /// Opens the log in a directory on disk, which is made if it is not there.
    ///
    /// # Errors
    /// `AlreadyOpen` if it is open elsewhere, `NotALog` if the directory holds something else,
    /// `UnsupportedVersion`, `Corrupt` if the log's own books are damaged, and what the system
    /// says.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        LogOptions::new().open(dir)
    }

    /// A log in memory, for tests and for events that need not outlive the process.
    ///
    /// It runs the same code over files in memory, without any thread of its own.
    ///
    /// # Errors
    /// None are expected.
    pub fn in_memory() -> Result<Self, Error> {
        LogOptions::new().open_in_memory()
    }

    #[cfg(feature = "testing")]
    pub(crate) fn open_in(env: &Env, dir: &Path, options: LogOptions) -> Result<Self, Error> {
        Self::open_from(env, dir, Some(env.clone()), options)
    }

    /// The same for a log whose backups go to another world, or to the disk.
    fn open_from(
        env: &Env,
        dir: &Path,
        elsewhere: Option<Env>,
        options: LogOptions,
    ) -> Result<Self, Error> {
        let told = |error: Error| error.during(format_args!("open {}", dir.display()));
        options.check().map_err(told)?;
        let topics = Arc::new(Topics::default());
        let committer = Committer::new(env, report_to(&options, &topics));
        let (store, opening) =
            Store::open(env, dir, store_options(&options), committer).map_err(told)?;
        let groups = Groups::open(&opening.offsets, &store, &topics).map_err(told)?;
        store.follow(Arc::clone(&groups) as Arc<dyn Positions>);
        let inner = Inner {
            store,
            elsewhere,
            options,
            topics,
            groups,
            opening,
            closed: AtomicBool::new(false),
            half_deleted: Shared::default(),
            turn: Turn::default(),
            settling: Turn::default(),
        };
        inner.load_topics().map_err(told)?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The world that the log lives in.
    pub(crate) fn env(&self) -> &Env {
        self.inner.store.env()
    }

    /// Whether a session with topics came to an end without closing the log.
    pub(crate) fn was_cut_short(&self) -> bool {
        !self.inner.opening.was_clean && !self.inner.opening.catalog.is_empty()
    }

    /// Has `job` served by the background, or at once where there is none.
    pub(crate) fn run_aside(&self, job: Arc<dyn Serve>) {
        self.inner.store.run(job);
    }

    /// The name of the folder that a topic's files are in.
    #[cfg(feature = "testing")]
    pub(crate) fn topic_folder(&self, name: &str) -> Result<String, Error> {
        Ok(self.inner.topic(name)?.id.to_string())
    }

    /// Tells folders of topics of dead letters from others, those made later included.
    ///
    /// `about` limits them to letters about the records of one topic. It keeps nothing of the log
    /// alive, and looks at no file.
    ///
    /// # Errors
    /// `UnknownTopic`.
    #[cfg(feature = "testing")]
    pub(crate) fn letter_folders(
        &self,
        about: Option<&str>,
    ) -> Result<impl Fn(&str) -> bool + Send + Sync + use<>, Error> {
        let about = about.map(|name| self.inner.topic(name)).transpose()?;
        let about = about.map(|topic| topic.name.clone());
        let topics = Arc::downgrade(&self.inner.topics);
        Ok(move |folder: &str| {
            let Some(topics) = topics.upgrade() else { return false };
            let id = folder.parse().ok().map(TopicId::new);
            let role = id.and_then(|id| topics.by_id(id)).map(|topic| topic.role());
            let Some(TopicRole::DeadLetters { topic, .. }) = role else { return false };
            about.as_ref().is_none_or(|about| *about == topic)
        })
    }

    /// Wakes a task once `delay` has passed; under a manual clock nobody does.
    pub(crate) fn wake_after(&self, delay: Duration, waker: Waker) {
        self.inner.store.run_after(delay, Arc::new(Alarm(waker)));
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// `TopicExists`, `InvalidName`, `InvalidConfig`, `ReadOnly`, `Closed`, and what the system
    /// says; the topic is then not there, unless its last sync failed and the next open finds
    /// it all the same.
    pub fn create_topic(&self, name: &str, config: TopicConfig) -> Result<(), Error> {
        let told = |error: Error| error.during(format_args!("create topic {name}"));
        let name = topic_name(name).map_err(told)?;
        let config = config.role(TopicRole::Plain);
        let _turn = self.inner.begin_change().map_err(told)?;
        if self.inner.topics.find(name.as_str()).is_some() {
            return Err(told(Error::bare(ErrorKind::TopicExists)));
        }
        self.inner.create(name, config).map_err(told)
    }

    /// Makes a topic unless it is there, and says whether and in what the one that is there
    /// differs.
    ///
    /// # Errors
    /// As for [`create_topic`](Self::create_topic), but for `TopicExists`.
    pub fn ensure_topic(&self, name: &str, config: TopicConfig) -> Result<Ensured, Error> {
        let told = |error: Error| error.during(format_args!("ensure topic {name}"));
        let name = topic_name(name).map_err(told)?;
        let config = config.role(TopicRole::Plain);
        config.check().map_err(told)?;
        let _turn = self.inner.begin_change().map_err(told)?;
        match self.inner.topics.find(name.as_str()) {
            None => self.inner.create(name, config).map(|()| Ensured::Created).map_err(told),
            Some(topic) => {
                let wanted = self.inner.with_defaults(config);
                Ok(match differences(&topic.state().config, &wanted) {
                    differs if differs.is_empty() => Ensured::Unchanged,
                    differs => Ensured::Differs(differs),
                })
            }
        }
    }

    /// Deletes a topic and its records; its disk space is free when this returns.
    ///
    /// Handles to it fail with `UnknownTopic` from then on. A topic made under the same name later
    /// has nothing of it.
    ///
    /// # Errors
    /// `UnknownTopic`, `ReadOnly`, `Closed`, and what the system says. If the files could not be
    /// removed, the topic is gone all the same, and the next open removes them. If the deletion
    /// itself was written only half-way, the topic cannot be used any more: the next change of a
    /// topic finishes it first, or else the next open finds the topic or not.
    pub fn delete_topic(&self, name: &str) -> Result<(), Error> {
        let told = |error: Error| error.during(format_args!("delete topic {name}"));
        let _turn = self.inner.begin_change().map_err(told)?;
        let topic = self.inner.topic(name).map_err(told)?;
        self.inner.delete(&topic).map_err(told)
    }

    /// All topics, by name.
    ///
    /// # Errors
    /// `Closed`.
    pub fn topics(&self) -> Result<Vec<TopicInfo>, Error> {
        self.inner.check_open()?;
        Ok(self.inner.topics.all().iter().map(|topic| describe(topic)).collect())
    }

    /// One topic.
    ///
    /// # Errors
    /// `UnknownTopic`, `Closed`.
    pub fn topic(&self, name: &str) -> Result<TopicInfo, Error> {
        let topic = self.inner.topic(name);
        topic
            .map(|topic| describe(&topic))
            .map_err(|error| error.during(format_args!("describe {name}")))
    }

    /// Gives a topic more partitions, `count` in all; keyed records may go elsewhere from then on.
    ///
    /// # Errors
    /// `InvalidConfig` if that is fewer than there are or more than 10,000; `UnknownTopic`,
    /// `ReadOnly`, `Closed`, and what the system says.
    pub fn add_partitions(&self, name: &str, count: u32) -> Result<(), Error> {
        let told = |error: Error| error.during(format_args!("add partitions to {name}"));
        let _turn = self.inner.begin_change().map_err(told)?;
        let topic = self.inner.topic(name).map_err(told)?;
        self.inner.grow(&topic, count).map_err(told)
    }

    /// Keeps a topic differently: everything but the number of partitions can change.
    ///
    /// Settings that `config` does not name take their defaults. Changing to `Always` syncs what is
    /// written first.
    ///
    /// # Errors
    /// `InvalidConfig`, also if the number of partitions differs; `UnknownTopic`, `ReadOnly`,
    /// `Closed`, and what the system says.
    pub fn alter_topic(&self, name: &str, config: TopicConfig) -> Result<(), Error> {
        let told = |error: Error| error.during(format_args!("alter topic {name}"));
        let _turn = self.inner.begin_change().map_err(told)?;
        let topic = self.inner.topic(name).map_err(told)?;
        self.inner.alter(&topic, config).map_err(told)
    }

    /// A producer for a topic.
    ///
    /// # Errors
    /// `UnknownTopic`, `Closed`.
    pub fn producer(&self, name: &str) -> Result<Producer, Error> {
        let told = |error: Error| error.during(format_args!("open producer for {name}"));
        let topic = self.inner.topic(name).map_err(told)?;
        Ok(Producer::new(topic, self.inner.options.send_timeout))
    }

    /// A reader of a topic; what is wrong with the name is told when it is opened.
    pub fn reader(&self, name: &str) -> ReaderBuilder {
        let told = |error: Error| error.during(format_args!("open reader of {name}"));
        let clock = Arc::clone(&self.inner.store.env().clock);
        ReaderBuilder::new(self.inner.topic(name).map_err(told), clock)
    }

    /// Where a partition stands.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, `Closed`, and what recovery meets on the partition's
    /// first use.
    pub fn offsets(&self, partition: &TopicPartition) -> Result<Offsets, Error> {
        let told = |error: Error| error.during(format_args!("offsets of {partition}"));
        let shard = self.inner.shard(partition).map_err(told)?;
        shard.ensure_open().map_err(told)?;
        Ok(offsets(&shard))
    }

    /// Removes the records below `before`, and returns the first offset that is left.
    ///
    /// They cannot be read any more when this returns; the disk space of whole sealed segments is
    /// freed. What is not durable is made so first, and nothing behind the end is removed.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, `Poisoned`, `ReadOnly`, `Closed`, and what the system
    /// says.
    ///
    /// # Examples
    /// ```
    /// use brooklet::{Log, Record, TopicConfig};
    ///
    /// let log = Log::in_memory()?;
    /// log.create_topic("orders", TopicConfig::new())?;
    /// let producer = log.producer("orders")?;
    /// producer.send(Record::new("old"))?;
    /// let kept = producer.send(Record::new("new"))?;
    /// let start = log.trim(kept.topic_partition(), kept.offset())?;
    /// assert_eq!(start, kept.offset());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn trim(&self, partition: &TopicPartition, before: Offset) -> Result<Offset, Error> {
        let told = |error: Error| error.during(format_args!("trim {partition}"));
        self.inner.check_writable().map_err(told)?;
        let shard = self.inner.shard(partition).map_err(told)?;
        self.inner.store.trim(&shard, before).map_err(told)
    }

    /// Opens a partition anew after a failure has stopped its writes.
    ///
    /// It is recovered as at open: what was acknowledged is there, and what may have been lost is
    /// looked at again.
    ///
    /// # Errors
    /// What recovery meets; the partition then stays as it is. `UnknownTopic`, `UnknownPartition`,
    /// `ReadOnly`, `Closed`.
    pub fn reopen_partition(&self, partition: &TopicPartition) -> Result<(), Error> {
        let told = |error: Error| error.during(format_args!("reopen {partition}"));
        self.inner.check_writable().map_err(told)?;
        self.inner.shard(partition).and_then(|shard| shard.reopen()).map_err(told)
    }

    /// Does what time asks for: late syncs, durable marks, retention, and the removal of files.
    ///
    /// The log's own threads do this by themselves unless
    /// [`manual_maintenance`](LogOptions::manual_maintenance) was asked for or there are none, as
    /// in memory.
    ///
    /// # Errors
    /// The first failure; the rest is done all the same.
    pub fn maintain(&self) -> Result<(), Error> {
        self.inner.check_writable()?;
        self.inner.groups.tick();
        self.inner.store.maintain().map_err(|error| error.during("maintain the log"))
    }

    /// What the last session left behind, and what became of it so far.
    #[must_use]
    pub fn recovery(&self) -> RecoveryReport {
        let (reports, pending) = self.inner.store.reports();
        let partitions = reports.into_iter().filter_map(|(id, report)| {
            Some(PartitionRecovery {
                partition: self.inner.topics.place(id)?,
                torn_bytes: report.torn_bytes,
                kept_records: report.kept_records,
                unproven_records: report.unproven_records,
                aside: report.aside,
                unknown_files: report.unknown,
                damage: report.damage,
            })
        });
        let lowered = self.inner.groups.lowered().into_iter().filter_map(|lowered| {
            let Lowered { group, shard, from, to } = lowered;
            Some(LoweredCommit { group, partition: self.inner.topics.place(shard)?, from, to })
        });
        RecoveryReport {
            was_clean: self.inner.opening.was_clean,
            partitions: partitions.collect(),
            pending: pending.into_iter().filter_map(|id| self.inner.topics.place(id)).collect(),
            lowered_commits: lowered.collect(),
            torn_journals: self.inner.opening.torn_journals.clone(),
            unknown_files: self.inner.opening.unknown.clone(),
        }
    }

    /// How the log is doing now; partitions that were not used yet show zeros.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let topics = self.inner.topics.all();
        let partitions = topics.iter().flat_map(|topic| {
            let state = topic.state();
            let shards = state.shards.iter().zip(0..);
            shards
                .map(|(shard, number)| stats_of(topic.partition(PartitionId::new(number)), shard))
                .collect::<Vec<_>>()
        });
        Stats { partitions: partitions.collect(), open_files: self.inner.store.open_files() }
    }

    /// Ends the log for all handles: what is queued is written, everything is synced, and the end
    /// is marked as clean.
    ///
    /// Senders that wait for room fail with `NotAppended`; parked readers get `Closed`. Closing
    /// again does nothing.
    ///
    /// # Errors
    /// The first failure. The directory is let go of all the same, and the next open recovers.
    pub fn close(&self) -> Result<(), Error> {
        self.inner.closed.store(true, Ordering::Release);
        self.inner.groups.close(&Error::bare(ErrorKind::Closed));
        let closed = self.inner.store.close(&Error::bare(ErrorKind::Closed));
        closed.map_err(|error| error.during("close the log"))
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("store", &self.inner.store).finish_non_exhaustive()
    }
}

impl LogOptions {
    /// Opens the log in a directory on disk.
    ///
    /// # Errors
    /// As for [`Log::open`], and `InvalidConfig`.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Log, Error> {
        let dir = dir.as_ref();
        Log::open_from(&disk::env_within(dir), dir, None, self)
    }

    /// Opens a log in memory.
    ///
    /// # Errors
    /// `InvalidConfig`.
    pub fn open_in_memory(self) -> Result<Log, Error> {
        Log::open_from(&memory::env(), Path::new("/log"), None, self)
    }
}

/// Wakes a task.
struct Alarm(Waker);

impl Serve for Alarm {
    fn serve(&self) {
        self.0.wake_by_ref();
    }
}

fn topic_name(name: &str) -> Result<TopicName, Error> {
    TopicName::new(name).map_err(|error| Error::new(ErrorKind::InvalidName, error.to_string()))
}

fn store_options(options: &LogOptions) -> StoreOptions {
    StoreOptions {
        budget: Budget {
            queue_bytes: options.buffer_bytes,
            unsynced_bytes: options.unsynced_bytes,
        },
        ring_bytes: options.tail_bytes,
        open_files: options.open_files,
        wait_for_lock: options.wait_for_lock,
        read_only: options.read_only,
        manual_maintenance: options.manual_maintenance,
        check_interval: options.check_interval,
    }
}

fn report_to(
    options: &LogOptions,
    topics: &Arc<Topics>,
) -> Box<dyn Fn(BackgroundFailure) + Send + Sync> {
    let Some(hook) = options.on_background_error.clone() else { return Box::new(|_| {}) };
    let topics = Arc::downgrade(topics);
    Box::new(move |failure: BackgroundFailure| {
        let partition = topics.upgrade().and_then(|topics| topics.place(failure.id));
        hook(BackgroundError { partition, lost: failure.void, error: failure.error });
    })
}

fn describe(topic: &Topic) -> TopicInfo {
    TopicInfo { name: topic.name.clone(), config: topic.state().config.clone(), id: topic.id }
}

fn differences(is: &TopicConfig, wanted: &TopicConfig) -> Vec<&'static str> {
    let settings = [
        ("partitions", is.partitions == wanted.partitions),
        ("sync", is.sync == wanted.sync),
        ("segment_bytes", is.segment_bytes == wanted.segment_bytes),
        ("segment_age", is.segment_age == wanted.segment_age),
        ("retention", is.retention == wanted.retention),
        ("max_record_bytes", is.max_record_bytes == wanted.max_record_bytes),
    ];
    settings.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

fn offsets(shard: &PartitionShard) -> Offsets {
    shard.observe(|commit, view, _| Offsets {
        start: view.start,
        durable_end: commit.durable_end,
        written_end: commit.written_end,
        end: commit.visible_end(),
    })
}

fn stats_of(partition: TopicPartition, shard: &PartitionShard) -> PartitionStats {
    let counters = shard.counters();
    let offsets = offsets(shard);
    shard.observe(|commit, view, _| PartitionStats {
        partition,
        offsets,
        segments: view.segments.len(),
        records: counters.records,
        bytes: counters.bytes,
        queued_bytes: commit.queue_bytes(),
        unsynced_bytes: commit.unsynced_bytes(),
        syncs: counters.syncs,
        sync_time: counters.sync_time,
        longest_sync: counters.longest_sync,
        stopped: commit.stopped().cloned(),
    })
}
