//! Replay without a group: one partition or all of a topic, from any offset or time.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::away::Away;
use crate::catalog::Topic;
use crate::cursor::{Batch, Cursor, Wanted};
use crate::env::Clock;
use crate::error::{Error, ErrorKind};
use crate::lane::{Brought, Lane, Trips};
use crate::limits::{FETCH_BYTES_DEFAULT, FETCH_BYTES_MAX, FETCH_BYTES_MIN};
use crate::offset::{Offset, PartitionId, StartAt};
use crate::record::StoredRecord;
use crate::storage::waiter::{Waiter, Woken};
use crate::sync::Arc;

/// Says what to read, before it is read.
///
/// # Examples
/// ```
/// use brooklet::{Log, Record, StartAt, TopicConfig};
///
/// let log = Log::in_memory()?;
/// log.create_topic("orders", TopicConfig::new())?;
/// log.producer("orders")?.send(Record::new("created"))?;
/// for record in log.reader("orders").start_at(StartAt::Earliest).stop_at_end().open()? {
///     let record = record?;
///     assert_eq!(record.value(), Some(&b"created"[..]));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ReaderBuilder {
    topic: Result<Arc<Topic>, Error>,
    clock: Arc<dyn Clock>,
    partition: Option<PartitionId>,
    start: StartAt,
    stop_at_end: bool,
    fetch_bytes: usize,
}

impl ReaderBuilder {
    pub(crate) fn new(topic: Result<Arc<Topic>, Error>, clock: Arc<dyn Clock>) -> Self {
        Self {
            topic,
            clock,
            partition: None,
            start: StartAt::Earliest,
            stop_at_end: false,
            fetch_bytes: FETCH_BYTES_DEFAULT,
        }
    }

    /// Reads one partition only; by default all of them.
    pub fn partition(mut self, partition: impl Into<PartitionId>) -> Self {
        self.partition = Some(partition.into());
        self
    }

    /// Where to start, in each partition; by default at the earliest record.
    pub fn start_at(mut self, start: StartAt) -> Self {
        self.start = start;
        self
    }

    /// Ends where the partitions end when the reader is opened, instead of waiting for more.
    pub fn stop_at_end(mut self) -> Self {
        self.stop_at_end = true;
        self
    }

    /// About how many bytes are fetched at a time: 1 KiB to 64 MiB, by default 512 KiB.
    ///
    /// More makes fewer and larger reads; less makes it cheaper to read one record here and one
    /// there. One batch is always fetched, however large.
    pub fn fetch_bytes(mut self, bytes: usize) -> Self {
        self.fetch_bytes = bytes;
        self
    }

    /// Finds the positions and opens the reader.
    ///
    /// Positions are found in files, on the calling thread; [`open_async`](Self::open_async) finds
    /// them on another one.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, `InvalidConfig`, `OffsetOutOfRange` with the range that
    /// is there, and what recovery meets on the partition's first use.
    pub fn open(self) -> Result<Reader, Error> {
        let topic = self.topic?;
        let told = |error: Error| error.during(format_args!("open reader of {}", topic.name));
        if !(FETCH_BYTES_MIN..=FETCH_BYTES_MAX).contains(&self.fetch_bytes) {
            let range = format!("{FETCH_BYTES_MIN} to {FETCH_BYTES_MAX}");
            let text = format!("fetches of {} bytes, not {range}", self.fetch_bytes);
            return Err(told(Error::new(ErrorKind::InvalidConfig, text)));
        }
        let count = u32::try_from(topic.state().shards.len()).unwrap_or(u32::MAX);
        let partitions = match self.partition {
            Some(partition) => vec![partition],
            None => (0..count).map(PartitionId::new).collect(),
        };
        let mut lanes = VecDeque::with_capacity(partitions.len());
        for partition in partitions {
            let shard = topic.shard(partition).map_err(told)?;
            let cursor = Cursor::open(topic.partition(partition), shard, self.start);
            let cursor = cursor.map_err(told)?;
            let until = self.stop_at_end.then(|| cursor.visible_end());
            lanes.push_back(Part { lane: Lane::new(cursor), until, failed: false });
        }
        Ok(Reader {
            topic,
            clock: self.clock,
            lanes,
            fetch_bytes: self.fetch_bytes,
            ready: VecDeque::new(),
            watcher: None,
        })
    }

    /// Opens the reader without touching a file on the caller's thread.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub async fn open_async(self) -> Result<Reader, Error> {
        let store = Arc::clone(self.topic.as_ref().map_err(Error::clone)?.store());
        Away::start(&store, move || self.open()).await?
    }
}

/// Reads records in order, without a group and without moving anybody's position.
///
/// Within a partition, records come in the order of their offsets. Across partitions they come
/// batch by batch, the partitions taking turns; there is no order between them. As an iterator it
/// gives owned records; it waits at the end unless [`stop_at_end`](ReaderBuilder::stop_at_end) was
/// asked for. With feature `stream`, `into_stream` makes an async stream of it.
///
/// An error is given once, and reading can go on behind it: `Corrupt` and `MissingSegment` name the
/// offsets that cannot be read, and the next record is the first one behind them. A partition that
/// reports `OffsetOutOfRange` is not read any further until [`seek`](Self::seek) says where; the
/// others are.
#[derive(Debug)]
pub struct Reader {
    topic: Arc<Topic>,
    clock: Arc<dyn Clock>,
    /// In the order of their turns.
    lanes: VecDeque<Part>,
    fetch_bytes: usize,
    ready: VecDeque<StoredRecord>,
    /// What the partitions wake for a task that waits.
    watcher: Option<Arc<Waiter<()>>>,
}

/// One partition that the reader reads.
#[derive(Debug)]
struct Part {
    lane: Lane,
    /// Where to stop, if at all.
    until: Option<Offset>,
    /// It has met an error that it cannot go on behind, until it is sent elsewhere.
    failed: bool,
}

impl Reader {
    /// The next records of some partition; waits for them unless the reader stops at the end.
    ///
    /// `None` is the end. Under a manual clock nothing waits, and `None` can be followed by more.
    pub fn next_batch(&mut self) -> Option<Result<Batch, Error>> {
        self.next_within(None)
    }

    /// The next records, waited for no longer than `timeout`; `None` if there are none by then.
    pub fn poll(&mut self, timeout: Duration) -> Option<Result<Batch, Error>> {
        self.next_within(Some(timeout))
    }

    /// The offset that is read next in a partition; none if the reader does not read it.
    #[must_use]
    pub fn position(&self, partition: PartitionId) -> Option<Offset> {
        let part = self.lanes.iter().find(|part| part.lane.partition().partition() == partition);
        let ready = self.ready.iter().find(|record| record.partition() == partition);
        ready.map(StoredRecord::offset).or(part.map(|part| part.lane.position()))
    }

    /// Goes on from `offset` in a partition.
    ///
    /// Whether the partition holds it is found out by the next read.
    ///
    /// # Errors
    /// `UnknownPartition` if the reader does not read it.
    pub fn seek(&mut self, partition: PartitionId, offset: Offset) -> Result<(), Error> {
        let topic = self.topic.name.clone();
        let mut parts = self.lanes.iter_mut();
        let part = parts.find(|part| part.lane.partition().partition() == partition);
        let part = part.ok_or_else(|| {
            let text = format!("{topic}/{partition} is not read here");
            Error::new(ErrorKind::UnknownPartition, text)
        })?;
        part.lane.seek(offset);
        part.failed = false;
        self.ready.retain(|record| record.partition() != partition);
        Ok(())
    }

    fn next_within(&mut self, timeout: Option<Duration>) -> Option<Result<Batch, Error>> {
        self.stop_watching();
        let deadline = timeout.map(|timeout| self.clock.monotonic().saturating_add(timeout));
        loop {
            if let Some(found) = self.fetch_any(|lane, wanted| Poll::Ready(lane.fetch(wanted))) {
                return Some(found);
            }
            if self.is_done() || !self.wait(deadline) {
                return None;
            }
        }
    }

    /// The next records of some partition, awaited; `None` is the end.
    ///
    /// No file is touched on the caller's thread: what is not in memory is read by the log's own
    /// threads. The future can be dropped at any time, and nothing is lost: what is being read then
    /// is found by the next call, async or not.
    ///
    /// # Examples
    /// ```
    /// use brooklet::{Log, Record, TopicConfig};
    ///
    /// # pollster::block_on(async {
    /// let log = Log::in_memory()?;
    /// log.create_topic("orders", TopicConfig::new())?;
    /// log.producer("orders")?.submit(Record::new("created")).await?;
    /// let mut reader = log.reader("orders").stop_at_end().open_async().await?;
    /// let batch = reader.next_batch_async().await.expect("one record")?;
    /// assert_eq!(batch.len(), 1);
    /// assert!(reader.next_batch_async().await.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn next_batch_async(&mut self) -> Option<Result<Batch, Error>> {
        poll_fn(|context| self.poll_batch(context)).await
    }

    /// The next records, if there are any now; otherwise the task of `context` is woken once there
    /// may be.
    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Batch, Error>>> {
        self.stop_watching();
        loop {
            let parts = self.lanes.iter().filter(|part| !part.is_done());
            let store = Arc::clone(self.topic.store());
            let mut trips = Trips::among(&store, parts.map(|part| &part.lane));
            let found = self.fetch_any(|lane, wanted| lane.poll_fetch(context, wanted, &mut trips));
            if found.is_some() || self.is_done() {
                return Poll::Ready(found);
            }
            if self.start_watching(context) {
                return Poll::Pending;
            }
        }
    }

    /// The next record, if there is one now.
    #[cfg(feature = "stream")]
    pub(crate) fn poll_record(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<StoredRecord, Error>>> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(record)));
            }
            match std::task::ready!(self.poll_batch(context)) {
                Some(Ok(batch)) => self.unpack(&batch),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn unpack(&mut self, batch: &Batch) {
        self.ready.extend(batch.iter().map(|record| record.to_stored()));
    }

    fn is_done(&self) -> bool {
        self.lanes.iter().all(Part::is_done)
    }

    /// Looks at every partition once, beginning behind the one that was read last.
    fn fetch_any(
        &mut self,
        mut fetch: impl FnMut(&mut Lane, Wanted) -> Poll<Brought>,
    ) -> Option<Result<Batch, Error>> {
        for _ in 0..self.lanes.len() {
            let mut part = self.lanes.pop_front()?;
            let wanted =
                Wanted { max_bytes: self.fetch_bytes, until: part.until, on_out_of_range: None };
            let fetched = match part.is_done() {
                true => Poll::Pending,
                false => fetch(&mut part.lane, wanted),
            };
            if let Poll::Ready(Err(error)) = &fetched {
                part.failed = !part.pass_over(error);
                if matches!(error.kind(), ErrorKind::Closed | ErrorKind::UnknownTopic) {
                    // The other partitions could only say the same.
                    self.lanes.iter_mut().for_each(|part| part.failed = true);
                }
            }
            let place = part.lane.partition().clone();
            self.lanes.push_back(part);
            match fetched {
                Poll::Ready(Ok(Some(fetched))) => return Some(Ok(Batch::of(fetched))),
                Poll::Ready(Ok(None)) | Poll::Pending => {}
                Poll::Ready(Err(error)) => {
                    return Some(Err(error.during(format_args!("read {place}"))));
                }
            }
        }
        None
    }

    /// Parks until some partition has more; false if the time is over.
    fn wait(&self, deadline: Option<Duration>) -> bool {
        if self.clock.is_manual() {
            return false;
        }
        let waiter = Arc::new(Waiter::default());
        let mut in_time = true;
        if self.watch(&waiter) {
            in_time = match deadline {
                None => {
                    let _ = waiter.wait();
                    true
                }
                Some(deadline) => {
                    let left = deadline.saturating_sub(self.clock.monotonic());
                    !matches!(waiter.wait_for(left), Woken::TimedOut)
                }
            };
        }
        self.unwatch(&waiter);
        in_time
    }

    /// Has the task of `context` woken when there may be more; false if there may be already.
    fn start_watching(&mut self, context: &mut Context<'_>) -> bool {
        let waiter = Arc::new(Waiter::default());
        let _not_yet = waiter.poll(context.waker());
        let lanes = self.lanes.iter().filter(|part| !part.is_done()).map(|part| &part.lane);
        let is_quiet = !Trips::are_missed(lanes) && self.watch(&waiter);
        self.watcher = Some(waiter);
        if !is_quiet {
            self.stop_watching();
        }
        is_quiet
    }

    fn stop_watching(&mut self) {
        if let Some(waiter) = self.watcher.take() {
            self.unwatch(&waiter);
        }
    }

    /// Has `waiter` filled when some partition has more; false if one has already.
    fn watch(&self, waiter: &Arc<Waiter<()>>) -> bool {
        let mut parts = self.lanes.iter().filter(|part| !part.is_done());
        parts.all(|part| part.lane.watch(waiter))
    }

    fn unwatch(&self, waiter: &Arc<Waiter<()>>) {
        self.lanes.iter().for_each(|part| part.lane.unwatch(waiter));
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop_watching();
    }
}

impl Part {
    fn is_done(&self) -> bool {
        self.failed || self.until.is_some_and(|until| self.lane.position() >= until)
    }

    /// Steps behind what cannot be read; false if there is nothing behind it to go on with.
    fn pass_over(&mut self, error: &Error) -> bool {
        match (error.kind(), error.lost_range()) {
            (_, Some(lost)) if lost.end > self.lane.position() => {
                self.lane.seek(lost.end);
                true
            }
            (ErrorKind::Io, _) => true,
            _ => false,
        }
    }
}

impl Iterator for Reader {
    type Item = Result<StoredRecord, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Some(Ok(record));
            }
            match self.next_batch()? {
                Ok(batch) => self.unpack(&batch),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
