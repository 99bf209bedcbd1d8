//! What storage knows of itself: segments, starts, durable marks, and whether the last close was
//! clean.
//!
//! Rows over a journal. A row describes only what is already there: a segment's row is written
//! before its first frame is published, and durable before any of its offsets is. So a listed
//! segment that is absent is missing, and never a shorter log. The clean-close marker is the last
//! row that a session writes; the next session durably removes it before its first write to
//! anything.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind};
use crate::format::layout::JournalKind;
use crate::offset::{Offset, PartitionId, ShardId, Timestamp, TopicId};
use crate::storage::commit::Want;
use crate::storage::journal::{Change, Entries, Fingerprint, Journal, JournalHome, JournalTail};
use crate::sync::{Arc, AtomicBool, Ordering, Shared};

/// What is known of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionRow {
    /// Records below this offset are gone.
    pub(crate) start: Offset,
    /// The largest durable end that was noted.
    pub(crate) durable_end: Offset,
    /// A frame at or before it, from which a scan can start.
    pub(crate) scan_from: ScanFrom,
    /// The append time of the last record.
    pub(crate) last_append: Timestamp,
}

/// The place of a frame: segment, byte, and the offset that starts there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScanFrom {
    pub(crate) base: Offset,
    pub(crate) salt: u32,
    pub(crate) position: u64,
    pub(crate) offset: Offset,
}

/// What state a listed segment is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentRowState {
    /// Frames were being added when the row was written.
    Active,
    /// All frames are there; `end` and `bytes` say how many.
    Sealed,
    /// It holds nothing that is needed; the file is to be unlinked.
    Removed,
    /// It stands behind a torn tail, or a repair has replaced it: not part of the log any more, kept
    /// for whoever wants to look.
    Aside,
    /// There is no file: a repair has given up the offsets from the key's to `end`.
    Lost,
}

/// What is known of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentRow {
    pub(crate) state: SegmentRowState,
    pub(crate) end: Offset,
    /// Where the frames end in the file.
    pub(crate) bytes: u64,
    pub(crate) last_append: Timestamp,
}

impl SegmentRow {
    /// Whether the segment is part of the log.
    pub(crate) fn is_live(&self) -> bool {
        use SegmentRowState::{Active, Lost, Sealed};
        matches!(self.state, Active | Sealed | Lost)
    }
}

/// The key of a segment within its partition.
pub(crate) type SegmentKey = (Offset, u32);

/// All rows of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionRows {
    pub(crate) row: PartitionRow,
    pub(crate) segments: BTreeMap<SegmentKey, SegmentRow>,
}

impl PartitionRows {
    /// Whether a segment is listed that holds, or is to hold, records of the log.
    pub(crate) fn has_live_segments(&self) -> bool {
        self.segments.values().any(SegmentRow::is_live)
    }
}

/// How the last session ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CleanClose {
    /// What the other journals held, so that a change behind the manifest's back is noticed.
    pub(crate) journals: Vec<(JournalKind, Fingerprint)>,
    /// Partitions that the close does not vouch for.
    pub(crate) except: Vec<ShardId>,
}

/// One change of the manifest.
#[derive(Clone, Debug)]
pub(crate) enum Row {
    Partition(ShardId, PartitionRow),
    Segment(ShardId, SegmentKey, SegmentRow),
    DropSegment(ShardId, SegmentKey),
    DropPartition(ShardId),
}

impl Row {
    /// The partition that the row is about.
    pub(crate) fn shard(&self) -> ShardId {
        match self {
            Self::Partition(shard, _)
            | Self::Segment(shard, ..)
            | Self::DropSegment(shard, _)
            | Self::DropPartition(shard) => *shard,
        }
    }
}

/// What the manifest said at open.
#[derive(Debug, Default)]
pub(crate) struct ManifestState {
    pub(crate) partitions: BTreeMap<ShardId, PartitionRows>,
    pub(crate) clean: Option<CleanClose>,
}

/// The manifest of an open log.
#[derive(Debug)]
pub(crate) struct Manifest {
    journal: Journal,
    /// Whether this session has made sure that it may write.
    writing: AtomicBool,
    was_clean: bool,
    home: JournalHome,
    /// The other journals, which must stand on solid ground before anything is written.
    dependents: Shared<Vec<Arc<Journal>>>,
}

impl Manifest {
    /// Puts a manifest that was read or created to work.
    pub(crate) fn new(tail: JournalTail, home: &JournalHome, was_clean: bool) -> Arc<Self> {
        Arc::new(Self {
            journal: Journal::new(tail, home, None),
            writing: AtomicBool::new(false),
            was_clean,
            home: home.clone(),
            dependents: Shared::default(),
        })
    }

    /// Adds a journal that must be settled before the first write of a session.
    pub(crate) fn depend_on(&self, journal: &Arc<Journal>) {
        self.dependents.with(|dependents| dependents.push(Arc::clone(journal)));
    }

    /// Must have succeeded before this session writes anything anywhere.
    ///
    /// The manifest begins a new file, without the marker of a clean close: whether the last sync of
    /// the old one succeeded is not known here, and nothing written behind it could be relied on.
    /// After any other end the other journals begin anew as well.
    pub(crate) fn begin_writes(&self) -> Result<(), Error> {
        if self.writing.load(Ordering::Acquire) {
            return Ok(());
        }
        if self.home.read_only {
            return Err(Error::bare(ErrorKind::ReadOnly));
        }
        self.journal.begin()?;
        for journal in self.dependents.get() {
            journal.begin()?;
        }
        self.writing.store(true, Ordering::Release);
        Ok(())
    }

    /// The rows of a partition as they stand in the file now; none if the manifest has no such
    /// partition any more.
    pub(crate) fn read_rows(&self, id: ShardId) -> Result<Option<PartitionRows>, Error> {
        let Some(found) = JournalTail::read(JournalKind::Manifest, &self.home)? else {
            let dir = self.home.root.join(JournalKind::Manifest.dir_name());
            return Err(Error::at_path(ErrorKind::Corrupt, &dir, "the manifest is missing"));
        };
        Ok(decode(&found.journal)?.partitions.remove(&id))
    }

    /// Writes rows as one unit; they are written when this returns, and durable only as `want`
    /// says.
    pub(crate) fn put(&self, rows: &[Row], want: Want) -> Result<Offset, Error> {
        self.begin_writes()?;
        let changes = rows.iter().map(encode_row).collect::<Vec<_>>();
        self.journal.append(&changes, want)
    }

    /// Waits until the rows below `end` are durable.
    pub(crate) fn until_durable(&self, end: Offset) -> Result<(), Error> {
        self.journal.until_durable(end)
    }

    /// Writes the clean-close marker, durably, as the last thing of a session.
    ///
    /// A session that wrote nothing leaves the marker that it found.
    pub(crate) fn close(&self, except: Vec<ShardId>) -> Result<(), Error> {
        let is_marked = self.writing.load(Ordering::Acquire) || !self.was_clean;
        let begun = if is_marked { self.begin_writes() } else { Ok(()) };
        // Nothing changes any more once the marker has named what there is.
        let dependents = self.dependents.get();
        dependents.iter().for_each(|journal| journal.stop(&Error::bare(ErrorKind::Closed)));
        begun?;
        if is_marked {
            let mut journals = Vec::new();
            for journal in dependents {
                journals.push((journal.kind(), journal.fingerprint()?));
            }
            self.journal.fingerprint()?;
            let marker = CleanClose { journals, except };
            let change = (CLEAN_KEY.to_vec(), Some(encode_clean(&marker)));
            self.journal.append(&[change], Want::Durable)?;
        }
        self.stop();
        Ok(())
    }

    /// Refuses all further rows.
    pub(crate) fn stop(&self) {
        self.journal.stop(&Error::bare(ErrorKind::Closed));
    }
}

/// Prepares a manifest that was read to begin a new file, in which no close is marked.
pub(crate) fn begin_anew(tail: &mut JournalTail) {
    tail.leave_out(CLEAN_KEY);
    tail.distrust();
}

/// Reads the rows of a manifest.
///
/// # Errors
/// `Corrupt` if a row that passed its checksum makes no sense.
pub(crate) fn decode(tail: &JournalTail) -> Result<ManifestState, Error> {
    let entries: &Entries = tail.entries();
    let mut state = ManifestState::default();
    for (key, value) in entries {
        decode_entry(&mut state, key, value).ok_or_else(|| {
            let detail = "a row of the manifest cannot be read";
            Error::corrupt(&tail.path(), 0, Offset::ZERO..Offset::ZERO, detail)
        })?;
    }
    Ok(state)
}

impl ManifestState {
    /// Whether segments are listed of a partition that is none of those that are `known`.
    pub(crate) fn lists_records_beyond(&self, known: impl Fn(ShardId) -> bool) -> bool {
        self.partitions.iter().any(|(id, rows)| !known(*id) && rows.has_live_segments())
    }

    /// Takes the rows of a partition in the place of those that it had under the same keys.
    pub(crate) fn apply(&mut self, row: Row) {
        let rows = self.partitions.entry(row.shard()).or_default();
        match row {
            Row::Partition(_, row) => rows.row = row,
            Row::Segment(_, key, row) => _ = rows.segments.insert(key, row),
            Row::DropSegment(_, key) => _ = rows.segments.remove(&key),
            Row::DropPartition(shard) => _ = self.partitions.remove(&shard),
        }
    }

    /// All rows, without the marker of a clean close.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let rows = self.partitions.iter().flat_map(|(id, rows)| {
            let segments = rows.segments.iter().map(|(key, row)| Row::Segment(*id, *key, *row));
            segments.chain([Row::Partition(*id, rows.row)])
        });
        rows.collect()
    }
}

/// The entries of a manifest that holds these rows and nothing else.
pub(crate) fn snapshot_of(rows: &[Row], clean: Option<&CleanClose>) -> Entries {
    let rows = rows.iter().map(encode_row);
    let clean = clean.map(|clean| (CLEAN_KEY.to_vec(), Some(encode_clean(clean))));
    rows.chain(clean).filter_map(|(key, value)| Some((key, value?))).collect()
}

/// Reads the rows that can be read, and counts those that cannot.
pub(crate) fn decode_leniently(entries: &Entries) -> (ManifestState, usize) {
    let mut state = ManifestState::default();
    let mut read = |(key, value): (&Vec<u8>, &Vec<u8>)| decode_entry(&mut state, key, value);
    let senseless = entries.iter().filter(|entry| read(*entry).is_none()).count();
    (state, senseless)
}

/// Keys sort by partition, each partition's own row before those of its segments.
const CLEAN_KEY: &[u8] = b"clean";
const KEY_PARTITION: u8 = 0;
const KEY_SEGMENT: u8 = 1;

fn partition_key(shard: ShardId) -> Vec<u8> {
    let mut key = shard.topic.value().to_be_bytes().to_vec();
    key.extend_from_slice(&shard.partition.value().to_be_bytes());
    key
}

fn segment_key(shard: ShardId, (base, salt): SegmentKey) -> Vec<u8> {
    let mut key = partition_key(shard);
    key.push(KEY_SEGMENT);
    key.extend_from_slice(&base.value().to_be_bytes());
    key.extend_from_slice(&salt.to_be_bytes());
    key
}

fn own_key(shard: ShardId) -> Vec<u8> {
    let mut key = partition_key(shard);
    key.push(KEY_PARTITION);
    key
}

fn encode_row(row: &Row) -> Change {
    match row {
        Row::Partition(shard, row) => (own_key(*shard), Some(encode_partition(row))),
        Row::Segment(shard, key, row) => (segment_key(*shard, *key), Some(encode_segment(row))),
        Row::DropSegment(shard, key) => (segment_key(*shard, *key), None),
        Row::DropPartition(shard) => (own_key(*shard), None),
    }
}

fn encode_partition(row: &PartitionRow) -> Vec<u8> {
    let words = [
        row.start.value(),
        row.durable_end.value(),
        row.scan_from.base.value(),
        u64::from(row.scan_from.salt),
        row.scan_from.position,
        row.scan_from.offset.value(),
        row.last_append.as_millis().cast_unsigned(),
    ];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn encode_segment(row: &SegmentRow) -> Vec<u8> {
    let state = match row.state {
        SegmentRowState::Active => 0,
        SegmentRowState::Sealed => 1,
        SegmentRowState::Removed => 2,
        SegmentRowState::Aside => 3,
        SegmentRowState::Lost => 4,
    };
    let time = row.last_append.as_millis().cast_unsigned();
    let words = [state, row.end.value(), row.bytes, time];
    words.iter().flat_map(|word: &u64| word.to_le_bytes()).collect()
}

fn decode_entry(state: &mut ManifestState, key: &[u8], value: &[u8]) -> Option<()> {
    if key == CLEAN_KEY {
        state.clean = Some(decode_clean(value)?);
        return Some(());
    }
    let (topic, rest) = key.split_first_chunk::<8>()?;
    let (partition, rest) = rest.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first()?;
    let topic = TopicId::new(u64::from_be_bytes(*topic));
    let partition = PartitionId::new(u32::from_be_bytes(*partition));
    let rows = state.partitions.entry(ShardId { topic, partition }).or_default();
    match *kind {
        KEY_PARTITION if rest.is_empty() => rows.row = decode_partition(value)?,
        KEY_SEGMENT => {
            let (base, salt) = rest.split_first_chunk::<8>()?;
            let salt = u32::from_be_bytes(salt.try_into().ok()?);
            let key = (Offset::new(u64::from_be_bytes(*base)), salt);
            rows.segments.insert(key, decode_segment(value)?);
        }
        _ => return None,
    }
    Some(())
}

/// Checks that an entry which can be read is written as it was read.
#[cfg(any(fuzzing, test))]
#[expect(clippy::unwrap_used, reason = "a door for the fuzzer, which looks for what breaks it")]
pub(crate) fn check_entry(key: &[u8], value: &[u8]) {
    let mut state = ManifestState::default();
    if decode_entry(&mut state, key, value).is_none() {
        return;
    }
    let mut again = ManifestState::default();
    if let Some(clean) = &state.clean {
        decode_entry(&mut again, CLEAN_KEY, &encode_clean(clean)).unwrap();
        assert_eq!(again.clean, state.clean);
    }
    for (shard, rows) in &state.partitions {
        let own = Row::Partition(*shard, rows.row);
        let segments = rows.segments.iter().map(|(key, row)| Row::Segment(*shard, *key, *row));
        for row in segments.chain([own]) {
            let (key, value) = encode_row(&row);
            decode_entry(&mut again, &key, &value.unwrap()).unwrap();
        }
    }
    assert_eq!(again.partitions, state.partitions);
}

fn words<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let (slots, rest) = bytes.as_chunks::<8>();
    let slots: &[[u8; 8]; N] = slots.try_into().ok()?;
    rest.is_empty().then(|| slots.map(u64::from_le_bytes))
}

fn decode_partition(value: &[u8]) -> Option<PartitionRow> {
    let [start, durable_end, base, salt, position, offset, last_append] = words(value)?;
    Some(PartitionRow {
        start: Offset::new(start),
        durable_end: Offset::new(durable_end),
        scan_from: ScanFrom {
            base: Offset::new(base),
            salt: u32::try_from(salt).ok()?,
            position,
            offset: Offset::new(offset),
        },
        last_append: Timestamp::from_millis(last_append.cast_signed()),
    })
}

fn decode_segment(value: &[u8]) -> Option<SegmentRow> {
    let [state, end, bytes, last_append] = words(value)?;
    let state = match state {
        0 => SegmentRowState::Active,
        1 => SegmentRowState::Sealed,
        2 => SegmentRowState::Removed,
        3 => SegmentRowState::Aside,
        4 => SegmentRowState::Lost,
        _ => return None,
    };
    let last_append = Timestamp::from_millis(last_append.cast_signed());
    Some(SegmentRow { state, end: Offset::new(end), bytes, last_append })
}

fn encode_clean(clean: &CleanClose) -> Vec<u8> {
    let mut words = vec![clean.journals.len() as u64];
    for (kind, print) in &clean.journals {
        let kind = u64::from(kind.shard().partition.value());
        let salt = u64::from(print.salt);
        words.extend([kind, print.generation, salt, print.position, print.end.value()]);
    }
    for shard in &clean.except {
        words.extend([shard.topic.value(), u64::from(shard.partition.value())]);
    }
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn decode_clean(value: &[u8]) -> Option<CleanClose> {
    let (slots, []) = value.as_chunks::<8>() else { return None };
    let mut words = slots.iter().map(|slot| u64::from_le_bytes(*slot));
    let mut clean = CleanClose::default();
    for _ in 0..words.next()? {
        let kind = words.next()?;
        let kinds = [JournalKind::Catalog, JournalKind::Offsets];
        let is_kind = |known: &JournalKind| u64::from(known.shard().partition.value()) == kind;
        let print = Fingerprint {
            generation: words.next()?,
            salt: u32::try_from(words.next()?).ok()?,
            position: words.next()?,
            end: Offset::new(words.next()?),
        };
        clean.journals.push((kinds.into_iter().find(is_kind)?, print));
    }
    while let Some(topic) = words.next() {
        let partition = PartitionId::new(u32::try_from(words.next()?).ok()?);
        clean.except.push(ShardId { topic: TopicId::new(topic), partition });
    }
    Some(clean)
}
