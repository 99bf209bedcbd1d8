//! Sending records: one at a time, many at once, or without waiting.
//!
//! A producer is a cheap handle. Many threads may share one; what they send to the same partition
//! at the same time shares its syncs. Encoding and the body checksum happen on the caller's thread,
//! before any lock.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::catalog::{Topic, TopicState};
use crate::config::SyncPolicy;
use crate::error::{Error, ErrorKind, Fate};
use crate::format::batch::{Batch, BatchBuilder, Fit};
use crate::limits::BATCH_BYTES_TARGET;
use crate::name::TopicName;
use crate::offset::{Offset, PartitionId, TopicPartition};
use crate::partitioner::{Choice, Murmur2, Partitioner};
use crate::record::Record;
use crate::storage::commit::{Outcome, Refusal, Want};
use crate::storage::store::PartitionShard;
use crate::storage::waiter::Waiter;
use crate::sync::{Arc, AtomicU64, Ordering};

/// How long a sender waits. What the topic promises is made durable anyway.
///
/// | | `SyncPolicy::Always` | `Every` | `Never` |
/// | --- | --- | --- | --- |
/// | `None` | in memory | in memory | in memory |
/// | `Written` | survives the process | survives the process | survives the process |
/// | `Durable` | survives power loss | forces a sync | forces a sync |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Acks {
    /// Not at all: the record has its offset and is queued.
    ///
    /// If it cannot be written, the hook for background errors is told which offsets are void.
    None,
    /// Until the record is in the file: it survives the death of the process.
    Written,
    /// Until the record is synced: it survives a power cut, and so does every earlier one of its
    /// partition.
    Durable,
}

impl From<Acks> for Want {
    fn from(acks: Acks) -> Self {
        match acks {
            Acks::None => Self::Nothing,
            Acks::Written => Self::Written,
            Acks::Durable => Self::Durable,
        }
    }
}

/// Where a record stands. Prints `orders/3@17`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    partition: TopicPartition,
    offset: Offset,
}

impl Receipt {
    /// The topic and partition.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        self.partition.partition()
    }

    /// The offset in the partition.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.partition, self.offset)
    }
}

/// Where the records of one batch stand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BatchReceipt {
    partition: TopicPartition,
    offsets: Range<Offset>,
}

impl BatchReceipt {
    /// The topic and partition.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The offsets of the records, in the order they were given.
    #[must_use]
    pub fn offsets(&self) -> Range<Offset> {
        self.offsets.clone()
    }
}

/// Why a send failed, and what became of the record.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error} ({})", fate_text(*fate))]
pub struct SendError {
    #[source]
    error: Error,
    fate: Fate,
}

fn fate_text(fate: Fate) -> &'static str {
    match fate {
        Fate::NotAppended => "not appended",
        Fate::Unknown => "may or may not be appended",
    }
}

impl SendError {
    /// What became of the record.
    #[must_use]
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// What went wrong.
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// What went wrong, in short.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.error.kind()
    }

    fn not_appended(error: Error) -> Self {
        Self { error, fate: Fate::NotAppended }
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        error.error
    }
}

/// Some batches of a [`Producer::send_all`] failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} of {} batches failed, the first one: {first}", .results.iter().filter(|result| result.is_err()).count(), .results.len())]
pub struct SendAllError {
    #[source]
    first: SendError,
    results: Vec<Result<BatchReceipt, SendError>>,
}

impl SendAllError {
    /// What became of each batch, in order; empty if nothing was tried.
    pub fn results(&self) -> &[Result<BatchReceipt, SendError>] {
        &self.results
    }

    /// The first failure.
    #[must_use]
    pub fn first(&self) -> &SendError {
        &self.first
    }
}

impl From<SendAllError> for Error {
    fn from(error: SendAllError) -> Self {
        error.first.error
    }
}

/// Sends records to one topic. Clones share everything.
///
/// # Examples
/// ```
/// use brooklet::{Acks, Log, Record, TopicConfig};
///
/// let log = Log::in_memory()?;
/// log.create_topic("orders", TopicConfig::new().partitions(3))?;
/// let producer = log.producer("orders")?.acks(Acks::Written);
/// let receipt = producer.send(Record::new("created").key("order-42"))?;
/// assert_eq!(receipt.to_string(), "orders/0@0");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Producer {
    topic: Arc<Topic>,
    acks: Option<Acks>,
    timeout: Option<Duration>,
    partitioner: Arc<dyn Partitioner>,
    /// Counts the batches of keyless records, which go round the partitions.
    sticky: Arc<AtomicU64>,
}

impl Producer {
    pub(crate) fn new(topic: Arc<Topic>, timeout: Option<Duration>) -> Self {
        let partitioner = Arc::new(Murmur2);
        Self { topic, acks: None, timeout, partitioner, sticky: Arc::default() }
    }

    /// How long sends wait; by default `Durable` on `Always` topics and `Written` on the others.
    #[must_use]
    pub fn acks(mut self, acks: Acks) -> Self {
        self.acks = Some(acks);
        self
    }

    /// Who chooses partitions; by default [`Murmur2`], as Kafka's Java client does.
    #[must_use]
    pub fn partitioner(mut self, partitioner: impl Partitioner + 'static) -> Self {
        self.partitioner = Arc::new(partitioner);
        self
    }

    /// How long a send waits for room, instead of what the log's options say; `None` waits for
    /// ever.
    #[must_use]
    pub fn timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic.name
    }

    /// Sends one record and waits as far as the acks say.
    ///
    /// # Errors
    /// The error says whether the record was not appended or its fate is unknown. Nothing was
    /// appended on `InvalidRecord`, `Timeout`, `StorageFull`, `Closed`, `UnknownTopic` and
    /// `ReadOnly`; `Poisoned` and `Io` leave it to the fate.
    pub fn send(&self, record: Record<'_>) -> Result<Receipt, SendError> {
        let state = self.topic.state();
        let (partition, shard) = self.choose(&state, &record)?;
        let batch = self.encode(&state, &record)?;
        let outcome = shard.append(batch, self.want(&state), self.timeout);
        self.receipt(partition, outcome)
    }

    /// Sends one record without waiting or touching a file; safe on an async executor.
    ///
    /// The record is encoded now and owned by the returned [`Pending`] until it is let into the
    /// queue.
    ///
    /// # Examples
    /// ```
    /// use brooklet::{Log, Record, TopicConfig};
    ///
    /// let log = Log::in_memory()?;
    /// log.create_topic("orders", TopicConfig::new())?;
    /// let producer = log.producer("orders")?;
    /// let first = producer.submit(Record::new("created"));
    /// let second = producer.submit(Record::new("paid"));
    /// // In async code: `second.await?`. The two may share a write and a sync.
    /// assert_eq!(second.wait()?.offset().value(), 1);
    /// assert_eq!(first.wait()?.offset().value(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn submit(&self, record: Record<'_>) -> Pending {
        let state = self.topic.state();
        let chosen = self.choose(&state, &record);
        let encoded = chosen.and_then(|chosen| Ok((chosen, self.encode(&state, &record)?)));
        match encoded {
            Ok(((partition, shard), batch)) => {
                let shard = Arc::clone(shard);
                let waiter = shard.submit(batch, self.want(&state), self.timeout);
                Pending {
                    producer: self.clone(),
                    partition,
                    state: Some(Submitted::Waits { shard, waiter }),
                }
            }
            Err(error) => Pending {
                producer: self.clone(),
                partition: PartitionId::ZERO,
                state: Some(Submitted::Failed(error)),
            },
        }
    }

    /// Sends many records, in one batch per partition and about 64 KiB.
    ///
    /// Records of one partition keep their order. Each batch is appended as a whole or not at all;
    /// receipts come in the order in which the batches were begun.
    ///
    /// # Errors
    /// If any record is invalid, nothing is appended. Otherwise the error has one result for each
    /// batch.
    ///
    /// # Examples
    /// ```
    /// use brooklet::{Log, Offset, Record, TopicConfig};
    ///
    /// let log = Log::in_memory()?;
    /// log.create_topic("lines", TopicConfig::new())?;
    /// let lines = ["one", "two", "three"];
    /// let batches = log.producer("lines")?.send_all(lines.iter().map(|line| Record::new(line)))?;
    /// let offsets = batches.first().map(|batch| batch.offsets());
    /// assert_eq!(offsets, Some(Offset::ZERO..Offset::new(3)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_all<'a>(
        &self,
        records: impl IntoIterator<Item = Record<'a>>,
    ) -> Result<Vec<BatchReceipt>, SendAllError> {
        let state = self.topic.state();
        let batches = self.encode_all(&state, records);
        let batches = batches.map_err(|first| SendAllError { first, results: Vec::new() })?;
        let want = self.want(&state);
        let mut results = Vec::with_capacity(batches.len());
        let mut begun = BTreeMap::new();
        for (partition, batch) in batches {
            let outcome = match shard_of(&state, partition) {
                // Everything is written first, so that one sync per partition covers all its
                // batches.
                Some(shard) => shard.ensure_open().map_err(Refusal::not_appended).and_then(|()| {
                    begun.entry(partition).or_insert_with(|| shard.incarnation());
                    shard.append(batch, want.min(Want::Written), self.timeout)
                }),
                None => Err(Refusal::not_appended(Error::bare(ErrorKind::UnknownPartition))),
            };
            results.push(self.batch_receipt(partition, outcome));
        }
        if want == Want::Durable {
            self.await_durable(&state, &begun, &mut results);
        }
        match results.iter().find_map(|result| result.as_ref().err()) {
            Some(first) => Err(SendAllError { first: first.clone(), results }),
            None => Ok(results.into_iter().filter_map(Result::ok).collect()),
        }
    }

    fn encode_all<'a>(
        &self,
        state: &TopicState,
        records: impl IntoIterator<Item = Record<'a>>,
    ) -> Result<Vec<(PartitionId, Batch)>, SendError> {
        let limit = state.config.max_record_bytes;
        let (partitioner, count) = (&*self.partitioner, partition_count(state)?);
        let new_batch = || BatchBuilder::with_capacity(BATCH_BYTES_CAPACITY);
        let refused = |error| self.refused(error);
        let mut begun: Vec<Option<BatchBuilder>> = Vec::new();
        begun.resize_with(state.shards.len(), || None);
        let mut finished = Vec::new();
        let mut sticky = None;
        for record in records {
            let choice = partitioner.partition(record.key_bytes(), record.value_bytes(), count);
            let partition = match choice {
                Choice::Partition(partition) => partition,
                Choice::Sticky => *sticky.get_or_insert_with(|| self.next_sticky(state)),
            };
            let slot =
                begun.get_mut(index(partition)).ok_or_else(|| no_partition(state, partition))?;
            let builder = slot.get_or_insert_with(new_batch);
            while builder.push(&record, limit, BATCH_BYTES_TARGET).map_err(refused)?
                == Fit::NextBatch
            {
                finished.push((partition, std::mem::replace(builder, new_batch()).finish()));
                if sticky == Some(partition) {
                    sticky = None;
                }
            }
        }
        for (slot, partition) in begun.into_iter().zip(0..) {
            if let Some(builder) = slot {
                finished.push((PartitionId::new(partition), builder.finish()));
            }
        }
        Ok(finished)
    }

    /// Waits until all batches that were written are durable; other partitions sync while this one
    /// is waited for.
    ///
    /// `begun` has the incarnations that the partitions were written in.
    fn await_durable(
        &self,
        state: &TopicState,
        begun: &BTreeMap<PartitionId, u64>,
        results: &mut [Result<BatchReceipt, SendError>],
    ) {
        let shards = begun.iter().filter_map(|(partition, incarnation)| {
            Some((*partition, shard_of(state, *partition)?, *incarnation))
        });
        for (_, shard, _) in shards.clone().skip(1) {
            shard.start_sync();
        }
        for (partition, shard, incarnation) in shards {
            let Err(refusal) = shard.sync_written_in(incarnation) else { continue };
            for result in results.iter_mut() {
                if result.as_ref().is_ok_and(|receipt| receipt.partition.partition() == partition) {
                    *result = Err(self.told(partition, refusal.clone()));
                }
            }
        }
    }

    fn want(&self, state: &TopicState) -> Want {
        let default = match state.config.sync_policy() {
            SyncPolicy::Always => Acks::Durable,
            SyncPolicy::Every(_) | SyncPolicy::Never => Acks::Written,
        };
        self.acks.unwrap_or(default).into()
    }

    fn choose<'a>(
        &self,
        state: &'a TopicState,
        record: &Record<'_>,
    ) -> Result<(PartitionId, &'a Arc<PartitionShard>), SendError> {
        let (key, value) = (record.key_bytes(), record.value_bytes());
        let partition = match self.partitioner.partition(key, value, partition_count(state)?) {
            Choice::Partition(partition) => partition,
            Choice::Sticky => self.next_sticky(state),
        };
        let shard = shard_of(state, partition).ok_or_else(|| no_partition(state, partition))?;
        Ok((partition, shard))
    }

    fn next_sticky(&self, state: &TopicState) -> PartitionId {
        let count = (state.shards.len() as u64).max(1);
        let next = self.sticky.fetch_add(1, Ordering::Relaxed) % count;
        PartitionId::new(u32::try_from(next).unwrap_or(0))
    }

    fn encode(&self, state: &TopicState, record: &Record<'_>) -> Result<Batch, SendError> {
        Batch::of(record, state.config.max_record_bytes).map_err(|error| self.refused(error))
    }

    fn refused(&self, error: Error) -> SendError {
        SendError::not_appended(error.during(format_args!("append to {}", self.topic.name)))
    }

    fn told(&self, partition: PartitionId, refusal: Refusal) -> SendError {
        let place = self.topic.partition(partition);
        let error = refusal.error.during(format_args!("append to {place}"));
        SendError { error, fate: refusal.fate }
    }

    fn receipt(&self, partition: PartitionId, outcome: Outcome) -> Result<Receipt, SendError> {
        match outcome {
            Ok(range) => {
                Ok(Receipt { partition: self.topic.partition(partition), offset: range.start })
            }
            Err(refusal) => Err(self.told(partition, refusal)),
        }
    }

    fn batch_receipt(
        &self,
        partition: PartitionId,
        outcome: Outcome,
    ) -> Result<BatchReceipt, SendError> {
        match outcome {
            Ok(offsets) => Ok(BatchReceipt { partition: self.topic.partition(partition), offsets }),
            Err(refusal) => Err(self.told(partition, refusal)),
        }
    }
}

/// A batch closes at its target, so that its memory is rarely grown.
const BATCH_BYTES_CAPACITY: usize = BATCH_BYTES_TARGET + 128;

fn index(partition: PartitionId) -> usize {
    usize::try_from(partition.value()).unwrap_or(usize::MAX)
}

fn shard_of(state: &TopicState, partition: PartitionId) -> Option<&Arc<PartitionShard>> {
    state.shards.get(index(partition))
}

fn partition_count(state: &TopicState) -> Result<NonZeroU32, SendError> {
    let count = u32::try_from(state.shards.len()).ok().and_then(NonZeroU32::new);
    count.ok_or_else(|| no_partition(state, PartitionId::ZERO))
}

fn no_partition(state: &TopicState, partition: PartitionId) -> SendError {
    let text = format!("the partitioner chose {partition} of {}", state.shards.len());
    SendError::not_appended(Error::new(ErrorKind::InvalidRecord, text))
}

/// A record on its way: wait for it, await it, or drop it.
///
/// Dropped while it still waits for room, or for the first opening of its partition, the record is
/// withdrawn. Dropped later, nothing is undone.
#[must_use = "a submitted record can still fail"]
pub struct Pending {
    producer: Producer,
    partition: PartitionId,
    state: Option<Submitted>,
}

enum Submitted {
    Waits { shard: Arc<PartitionShard>, waiter: Arc<Waiter<Outcome>> },
    Failed(SendError),
}

impl Pending {
    /// Parks until the outcome is known.
    ///
    /// # Errors
    /// As for [`Producer::send`].
    pub fn wait(mut self) -> Result<Receipt, SendError> {
        match self.state.take() {
            Some(Submitted::Waits { shard, waiter }) => loop {
                shard.catch_up();
                if let Some(outcome) = waiter.wait() {
                    return self.producer.receipt(self.partition, outcome);
                }
            },
            Some(Submitted::Failed(error)) => Err(error),
            None => Err(SendError::not_appended(Error::bare(ErrorKind::Closed))),
        }
    }

    /// The outcome, if it is known already; the record goes on if not.
    pub fn try_wait(&mut self) -> Option<Result<Receipt, SendError>> {
        match self.state.as_ref()? {
            Submitted::Waits { waiter, .. } => {
                let outcome = waiter.take()?;
                self.state = None;
                Some(self.producer.receipt(self.partition, outcome))
            }
            Submitted::Failed(error) => {
                let error = error.clone();
                self.state = None;
                Some(Err(error))
            }
        }
    }
}

impl Future for Pending {
    type Output = Result<Receipt, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = match &self.state {
            Some(Submitted::Waits { waiter, .. }) => match waiter.poll(context.waker()) {
                Poll::Ready(outcome) => self.producer.receipt(self.partition, outcome),
                Poll::Pending => return Poll::Pending,
            },
            Some(Submitted::Failed(error)) => Err(error.clone()),
            None => Err(SendError::not_appended(Error::bare(ErrorKind::Closed))),
        };
        self.state = None;
        Poll::Ready(outcome)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(Submitted::Waits { shard, waiter }) = self.state.take() {
            shard.withdraw(&waiter);
        }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("partition", &self.partition).finish_non_exhaustive()
    }
}
