//! A position in one partition, and what is fetched from there.

use crate::error::{Error, ErrorKind};
use crate::format::batch::{Records, StoredBatch};
use crate::offset::{Offset, StartAt, TopicPartition};
use crate::record::RecordRef;
use crate::storage::store::PartitionShard;
use crate::storage::view::{Bookmark, View};
use crate::storage::waiter::Waiter;
use crate::sync::Arc;

/// A position in one partition.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    partition: TopicPartition,
    shard: Arc<PartitionShard>,
    position: Offset,
    bookmark: Option<Bookmark>,
    incarnation: u64,
    /// The position is where the partition begins, which was not looked up yet.
    is_earliest: bool,
}

/// What a fetch is to bring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// About how much; one batch is always brought.
    pub(crate) max_bytes: usize,
    /// Where to stop, if at all.
    pub(crate) until: Option<Offset>,
    /// Where to go on if retention has passed the position; none tells of it instead.
    pub(crate) on_out_of_range: Option<StartAt>,
}

/// What a look at the memory of a partition has found.
enum Look {
    Found(Option<Fetched>),
    /// What comes next stands in files only.
    InFiles {
        view: Arc<View>,
        end: Offset,
    },
}

impl Cursor {
    /// A cursor at the place that `start` names.
    ///
    /// # Errors
    /// `OffsetOutOfRange` if an offset is named that the partition does not hold.
    pub(crate) fn open(
        partition: TopicPartition,
        shard: Arc<PartitionShard>,
        start: StartAt,
    ) -> Result<Self, Error> {
        shard.ensure_open()?;
        loop {
            let incarnation = shard.incarnation();
            match position_of(&shard, start) {
                Err(error) if looks_again(&shard, &error, incarnation)? => {}
                Err(error) => return Err(error),
                Ok(position) => {
                    let mut cursor = Self::at(partition, shard, position);
                    cursor.incarnation = incarnation;
                    return Ok(cursor);
                }
            }
        }
    }

    /// A cursor at an offset; whether the partition holds it is found out by the first fetch.
    pub(crate) fn at(
        partition: TopicPartition,
        shard: Arc<PartitionShard>,
        position: Offset,
    ) -> Self {
        let bookmark = None;
        Self { partition, shard, position, bookmark, incarnation: 0, is_earliest: false }
    }

    /// A cursor at the first record, which the first fetch looks for.
    pub(crate) fn earliest(partition: TopicPartition, shard: Arc<PartitionShard>) -> Self {
        Self { is_earliest: true, ..Self::at(partition, shard, Offset::ZERO) }
    }

    pub(crate) fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    pub(crate) fn shard(&self) -> Arc<PartitionShard> {
        Arc::clone(&self.shard)
    }

    /// Where the place that `start` names is now.
    pub(crate) fn find(&self, start: StartAt) -> Result<Offset, Error> {
        let cursor = Self::open(self.partition.clone(), self.shard(), start)?;
        Ok(cursor.position)
    }

    /// The first offset that can be read, and the end of what can be seen.
    pub(crate) fn bounds(&self) -> Result<(Offset, Offset), Error> {
        self.shard.ensure_open()?;
        Ok(self.shard.observe(|commit, view, _| (view.start, commit.visible_end())))
    }

    pub(crate) fn position(&self) -> Offset {
        self.position
    }

    /// Goes on from another offset; whether the partition holds it is found out by the next fetch.
    pub(crate) fn seek(&mut self, position: Offset) {
        self.position = position;
        self.bookmark = None;
        self.is_earliest = false;
    }

    /// The end of what can be seen now.
    pub(crate) fn visible_end(&self) -> Offset {
        self.shard.observe(|commit, _, _| commit.visible_end())
    }

    /// Wakes `watcher` once there is more to see than the position; false if there is already.
    pub(crate) fn watch(&self, watcher: &Arc<Waiter<()>>) -> bool {
        self.shard.watch(self.position, watcher)
    }

    pub(crate) fn unwatch(&self, watcher: &Arc<Waiter<()>>) {
        self.shard.unwatch(watcher);
    }

    /// The next batches; none at the end of what can be seen, or at the end of what is wanted.
    ///
    /// # Errors
    /// `Corrupt` or `MissingSegment` with the offsets that cannot be read, `OffsetOutOfRange` if
    /// retention has passed the position, `Closed` or `UnknownTopic` if the log was closed or
    /// the topic deleted.
    pub(crate) fn fetch(&mut self, wanted: Wanted) -> Result<Option<Fetched>, Error> {
        match (self.fetch_from_here(wanted), wanted.on_out_of_range) {
            (Err(error), Some(start)) if error.kind() == ErrorKind::OffsetOutOfRange => {
                let position = self.find(start)?;
                self.seek(position);
                self.fetch_from_here(wanted)
            }
            (fetched, _) => fetched,
        }
    }

    /// The same as far as memory knows; none if files must be looked at.
    pub(crate) fn fetch_from_memory(
        &mut self,
        wanted: Wanted,
    ) -> Option<Result<Option<Fetched>, Error>> {
        if !self.shard.is_opened() {
            return None;
        }
        match self.look(wanted) {
            Ok(Look::Found(found)) => Some(Ok(found)),
            Ok(Look::InFiles { .. }) => None,
            Err(error) => {
                let moves =
                    error.kind() == ErrorKind::OffsetOutOfRange && wanted.on_out_of_range.is_some();
                (!moves).then_some(Err(error))
            }
        }
    }

    fn fetch_from_here(&mut self, wanted: Wanted) -> Result<Option<Fetched>, Error> {
        loop {
            match self.fetch_once(wanted) {
                Err(error) if looks_again(&self.shard, &error, self.incarnation)? => {}
                fetched => return fetched,
            }
        }
    }

    fn fetch_once(&mut self, wanted: Wanted) -> Result<Option<Fetched>, Error> {
        self.shard.ensure_open()?;
        match self.look(wanted)? {
            Look::Found(found) => Ok(found),
            Look::InFiles { view, end } => {
                let fetched = view.fetch(self.position, end, self.bookmark, wanted.max_bytes);
                // The files of a deleted topic go, whoever is reading them.
                let closed = || self.shard.observe(|commit, _, _| commit.closed().cloned());
                let (chunk, bookmark) = fetched.map_err(|error| closed().unwrap_or(error))?;
                self.bookmark = Some(bookmark);
                self.step_behind(chunk.batches, end).map(Some)
            }
        }
    }

    /// What the memory of the partition has; it must have been opened before.
    fn look(&mut self, wanted: Wanted) -> Result<Look, Error> {
        let Wanted { until, max_bytes, .. } = wanted;
        if std::mem::take(&mut self.is_earliest) {
            self.position = self.shard.observe(|_, view, _| view.start);
        }
        let from = self.position;
        let incarnation = self.shard.incarnation();
        let (start, end, closed, tail, view) = self.shard.observe(|commit, view, ring| {
            let end = commit.visible_end();
            let limit = until.map_or(end, |until| end.min(until));
            let tail = (from < limit).then(|| ring.fetch(from, limit, max_bytes)).flatten();
            (view.start, end, commit.closed().cloned(), tail, Arc::clone(view))
        });
        if let Some(error) = closed {
            return Err(error);
        }
        if incarnation != self.incarnation {
            // What was learnt of the files before they were recovered may not hold any more.
            self.bookmark = None;
            self.incarnation = incarnation;
        }
        if from < start || from > end {
            return Err(Error::out_of_range(from, start..end));
        }
        let end = until.map_or(end, |until| end.min(until));
        match tail {
            _ if from >= end => Ok(Look::Found(None)),
            Some(batches) => Ok(Look::Found(Some(self.step_behind(batches, end)?))),
            None => Ok(Look::InFiles { view, end }),
        }
    }

    /// Moves behind the batches, or to `end` where that lies within the last one: only rows that no
    /// session wrote put the end of what can be seen there.
    fn step_behind(&mut self, batches: Vec<StoredBatch>, end: Offset) -> Result<Fetched, Error> {
        let Some(last) = batches.last() else {
            return Err(Error::new(ErrorKind::Corrupt, "a fetch below the visible end was empty"));
        };
        let end = last.header().end_offset().min(end);
        let from = std::mem::replace(&mut self.position, end);
        Ok(Fetched { partition: self.partition.clone(), from, end: self.position, batches })
    }
}

/// The offset that `start` names.
fn position_of(shard: &PartitionShard, start: StartAt) -> Result<Offset, Error> {
    let (view, end) = shard.observe(|commit, view, _| (Arc::clone(view), commit.visible_end()));
    match start {
        StartAt::Earliest => Ok(view.start),
        StartAt::Latest => Ok(end),
        StartAt::Offset(offset) if offset < view.start || offset > end => {
            Err(Error::out_of_range(offset, view.start..end))
        }
        StartAt::Offset(offset) => Ok(offset),
        StartAt::Timestamp(time) => Ok(view.find_time(time, view.start, end)?.unwrap_or(end)),
    }
}

/// Whether a look at the files that failed is worth another one.
///
/// So it is if they were opened anew since, and they are now if the process that writes them has
/// let go of the one that is missing.
fn looks_again(shard: &PartitionShard, error: &Error, incarnation: u64) -> Result<bool, Error> {
    let Some(path) = error.path().filter(|_| error.kind() == ErrorKind::MissingSegment) else {
        return Ok(false);
    };
    if shard.exclusive(|log, _| (log.notice_removal(path), None))?? {
        shard.reopen()?;
    }
    Ok(shard.incarnation() != incarnation)
}

/// Records of one partition, in order.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    partition: TopicPartition,
    from: Offset,
    end: Offset,
    batches: Vec<StoredBatch>,
}

impl Fetched {
    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        let count = self.end.value().saturating_sub(self.from.value());
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// The memory that they take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.batches.iter().map(StoredBatch::len).sum()
    }

    /// The offset of the first one.
    pub(crate) fn from(&self) -> Offset {
        self.from
    }

    /// The offset behind the last one.
    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    /// Keeps the first `count` records and returns the others.
    pub(crate) fn split_off(&mut self, count: usize) -> Option<Self> {
        let cut = self.from.checked_add(u64::try_from(count).unwrap_or(u64::MAX))?;
        if cut >= self.end {
            return None;
        }
        let mut rest = Self { from: cut, ..self.clone() };
        rest.batches.retain(|batch| batch.header().end_offset() > cut);
        self.batches.retain(|batch| batch.header().base_offset < cut);
        self.end = cut;
        Some(rest)
    }
}

/// Records that were read together.
///
/// It owns their bytes; records are borrowed from it, and [`RecordRef::to_stored`] makes one that
/// outlives it.
///
/// # Examples
/// ```
/// use brooklet::{Log, Record, TopicConfig};
///
/// let log = Log::in_memory()?;
/// log.create_topic("orders", TopicConfig::new())?;
/// log.producer("orders")?.send_all([Record::new("a"), Record::new("b")])?;
/// let mut reader = log.reader("orders").stop_at_end().open()?;
/// let batch = reader.next_batch().expect("two records")?;
/// let values: Vec<_> = batch.iter().filter_map(|record| record.value()).collect();
/// assert_eq!(values, [b"a", b"b"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    parts: Vec<Fetched>,
}

impl Batch {
    pub(crate) fn of(part: Fetched) -> Self {
        Self { parts: vec![part] }
    }

    pub(crate) fn add(&mut self, part: Fetched) {
        self.parts.push(part);
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(Fetched::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory that the records take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(Fetched::bytes).sum()
    }

    /// Goes over the records, partition by partition and each in order.
    #[must_use]
    pub fn iter(&self) -> BatchIter<'_> {
        BatchIter { parts: self.parts.iter(), batches: None, records: None }
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = RecordRef<'a>;
    type IntoIter = BatchIter<'a>;

    fn into_iter(self) -> BatchIter<'a> {
        self.iter()
    }
}

/// Iterator over the records of a [`Batch`].
#[derive(Clone, Debug)]
pub struct BatchIter<'a> {
    parts: std::slice::Iter<'a, Fetched>,
    batches: Option<(&'a Fetched, std::slice::Iter<'a, StoredBatch>)>,
    records: Option<Records<'a>>,
}

impl<'a> Iterator for BatchIter<'a> {
    type Item = RecordRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<RecordRef<'a>> {
        loop {
            if let Some(record) = self.records.as_mut().and_then(Iterator::next) {
                return Some(record);
            }
            let next = self.batches.as_mut().and_then(|(part, batches)| {
                let batch = batches.next()?;
                Some(batch.records(&part.partition, part.from).until(part.end))
            });
            if next.is_some() {
                self.records = next;
                continue;
            }
            let part = self.parts.next()?;
            self.batches = Some((part, part.batches.iter()));
        }
    }
}
