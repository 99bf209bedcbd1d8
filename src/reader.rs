//! Replay without a group: one partition or all of a topic, from any offset or time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::catalog::Topic;
use crate::cursor::{Batch, Cursor};
use crate::env::Clock;
use crate::error::{Error, ErrorKind};
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
            lanes.push_back(Lane { cursor, until, failed: false });
        }
        Ok(Reader {
            topic,
            clock: self.clock,
            lanes,
            fetch_bytes: self.fetch_bytes,
            ready: VecDeque::new(),
        })
    }
}

/// Reads records in order, without a group and without moving anybody's position.
///
/// Within a partition, records come in the order of their offsets. Across partitions they come
/// batch by batch, the partitions taking turns; there is no order between them. As an iterator it
/// gives owned records; it waits at the end unless [`stop_at_end`](ReaderBuilder::stop_at_end) was
/// asked for.
///
/// An error is given once, and reading can go on behind it: `Corrupt` and `MissingSegment` name the
/// offsets that cannot be read, and the next record is the first one behind them. A partition that
/// reports `OffsetOutOfRange` is not read any further until [`seek`](Self::seek) says where; the
/// others are.
#[derive(Debug)]
pub struct Reader {
    topic: Arc<Topic>,
    clock: Arc<dyn Clock>,
    lanes: VecDeque<Lane>,
    fetch_bytes: usize,
    ready: VecDeque<StoredRecord>,
}

#[derive(Debug)]
struct Lane {
    cursor: Cursor,
    /// Where to stop, if at all.
    until: Option<Offset>,
    /// It has met an error that it cannot go on behind, until it is sent elsewhere.
    failed: bool,
}

impl Lane {
    fn is_done(&self) -> bool {
        self.failed || self.until.is_some_and(|until| self.cursor.position() >= until)
    }
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
        let lane = self.lanes.iter().find(|lane| lane.cursor.partition().partition() == partition);
        let ready = self.ready.iter().find(|record| record.partition() == partition);
        ready.map(StoredRecord::offset).or(lane.map(|lane| lane.cursor.position()))
    }

    /// Goes on from `offset` in a partition.
    ///
    /// Whether the partition holds it is found out by the next read.
    ///
    /// # Errors
    /// `UnknownPartition` if the reader does not read it.
    pub fn seek(&mut self, partition: PartitionId, offset: Offset) -> Result<(), Error> {
        let topic = self.topic.name.clone();
        let mut lanes = self.lanes.iter_mut();
        let lane = lanes.find(|lane| lane.cursor.partition().partition() == partition);
        let lane = lane.ok_or_else(|| {
            let text = format!("{topic}/{partition} is not read here");
            Error::new(ErrorKind::UnknownPartition, text)
        })?;
        lane.cursor.seek(offset);
        lane.failed = false;
        self.ready.retain(|record| record.partition() != partition);
        Ok(())
    }

    fn next_within(&mut self, timeout: Option<Duration>) -> Option<Result<Batch, Error>> {
        let deadline = timeout.map(|timeout| self.clock.monotonic().saturating_add(timeout));
        loop {
            if let Some(found) = self.fetch_any() {
                return Some(found);
            }
            if self.lanes.iter().all(Lane::is_done) {
                return None;
            }
            if !self.wait(deadline) {
                return None;
            }
        }
    }

    /// Looks at every partition once, beginning behind the one that was read last.
    fn fetch_any(&mut self) -> Option<Result<Batch, Error>> {
        for _ in 0..self.lanes.len() {
            let mut lane = self.lanes.pop_front()?;
            let fetched = if lane.is_done() {
                Ok(None)
            } else {
                lane.cursor.fetch(lane.until, self.fetch_bytes)
            };
            if let Err(error) = &fetched {
                lane.failed = !lane.pass_over(error);
                if matches!(error.kind(), ErrorKind::Closed | ErrorKind::UnknownTopic) {
                    // The other partitions could only say the same.
                    self.lanes.iter_mut().for_each(|lane| lane.failed = true);
                }
            }
            let place = lane.cursor.partition().clone();
            self.lanes.push_back(lane);
            match fetched {
                Ok(Some(fetched)) => return Some(Ok(Batch::of(fetched))),
                Ok(None) => {}
                Err(error) => return Some(Err(error.during(format_args!("read {place}")))),
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
        let parked = self.lanes.iter().filter(|lane| !lane.is_done());
        let nothing_new = parked.clone().all(|lane| lane.cursor.watch(&waiter));
        let mut in_time = true;
        if nothing_new {
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
        parked.for_each(|lane| lane.cursor.unwatch(&waiter));
        in_time
    }
}

impl Lane {
    /// Steps behind what cannot be read; false if there is nothing behind it to go on with.
    fn pass_over(&mut self, error: &Error) -> bool {
        match (error.kind(), error.lost_range()) {
            (_, Some(lost)) if lost.end > self.cursor.position() => {
                self.cursor.seek(lost.end);
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
                Ok(batch) => self.ready.extend(batch.iter().map(|record| record.to_stored())),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
