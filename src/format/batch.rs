//! Records inside one frame.
//!
//! A record starts with a fixed part of twelve bytes, then its key, its headers and its value.
//! Nothing is compressed into variable-width numbers: a fixed part decodes in about a nanosecond.
//!
//! ```text
//!  byte 0        4        8     10    11    12
//!       ┌────────┬────────┬─────┬─────┬─────┬───────┬─────────────┬────────┐
//!       │ length │ time   │ key │flags│head-│ key … │ headers …   │ value …│
//!       │ behind │ delta  │ len │     │ers  │       │             │        │
//!       └────────┴────────┴─────┴─────┴─────┴───────┴─────────────┴────────┘
//!  header: name length u16, flags u8, zero u8, value length u32, name …, value …
//! ```
//!
//! Flags: 1 a key is there, 2 a value is there, 4 the time delta (signed milliseconds from the
//! frame's base timestamp) is the record's own time; without it the record takes the frame's append
//! time. The last record is followed by zeros up to a multiple of eight.

use bytes::Bytes;

use crate::error::{Error, ErrorKind};
use crate::format::frame::{
    ALIGNMENT, ATTRIBUTE_APPEND_TIMES, ATTRIBUTE_OWN_TIMES, FrameError, FrameHeader, HEADER_BYTES,
    Seed,
};
use crate::limits::{
    FRAME_BYTES_MAX, HEADER_NAME_BYTES_MAX, HEADERS_MAX, KEY_BYTES_MAX, LETTER_BYTES_MAX,
    RECORD_BYTES_MAX,
};
use crate::offset::{Offset, Timestamp, TopicPartition};
use crate::record::{
    HEADER_FIXED_BYTES, HEADER_HAS_VALUE, Headers, HeadersIter, Record, RecordRef,
};

/// The fixed part in front of every record.
pub(crate) const RECORD_FIXED_BYTES: usize = 12;

const HAS_KEY: u8 = 1;
const HAS_VALUE: u8 = 2;
const HAS_TIME: u8 = 4;
const FLAGS_KNOWN: u8 = HAS_KEY | HAS_VALUE | HAS_TIME;

/// A finished batch that has no place yet: the header is blank but for what the sender knows.
#[derive(Debug)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    header: FrameHeader,
}

impl Batch {
    /// One batch of one record.
    pub(crate) fn of(record: &Record<'_>, record_bytes_max: usize) -> Result<Self, Error> {
        let size = checked_size(record, record_bytes_max)?;
        // Filled to the last byte, the memory becomes shared bytes without another allocation.
        let exact = (HEADER_BYTES + size).next_multiple_of(ALIGNMENT);
        let mut builder = BatchBuilder::with_capacity(exact);
        builder.write(record, size, 0);
        Ok(builder.finish())
    }

    /// How many records, each of which takes one offset.
    pub(crate) fn count(&self) -> u64 {
        u64::from(self.header.count)
    }

    /// The frame's size in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Lays the frame down: says what only the writer of its file knows, and seals the header.
    pub(crate) fn lay_down(&mut self, seed: Seed, at: LayDown) -> FrameHeader {
        let lag = at.base_offset.value().saturating_sub(at.durable_end.value());
        self.header.base_offset = at.base_offset;
        self.header.durable_lag = u32::try_from(lag).unwrap_or(u32::MAX);
        self.header.append_time = at.append_time;
        let encoded = self.header.encode(&mut self.bytes, seed);
        debug_assert!(encoded, "a batch starts with room for its header");
        self.header
    }

    /// The header as it was laid down.
    pub(crate) fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// The frame's bytes; only after [`lay_down`](Self::lay_down) are they worth writing.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Goes over keys and values alone, as a journal that has just written them does.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        entries(self.bytes.get(HEADER_BYTES..).unwrap_or_default(), self.header.count)
    }

    /// The frame's bytes, to be shared with readers.
    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from(self.bytes)
    }
}

/// What only the writer of a file knows about a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayDown {
    pub(crate) base_offset: Offset,
    pub(crate) durable_end: Offset,
    pub(crate) append_time: Timestamp,
}

/// Collects records into one batch.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    bytes: Vec<u8>,
    count: u32,
    attributes: u8,
    base_timestamp: Option<Timestamp>,
    max_time_delta: u32,
}

impl BatchBuilder {
    /// An empty batch with room for `capacity` bytes, header included.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity.max(HEADER_BYTES));
        bytes.resize(HEADER_BYTES, 0);
        Self { bytes, count: 0, attributes: 0, base_timestamp: None, max_time_delta: 0 }
    }

    /// Whether no record is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a record, unless it does not fit this batch: then the batch is to be finished and a new
    /// one begun.
    ///
    /// A record does not fit if the records would pass `limit` (the first record always fits), or if
    /// its time lies more than about 24 days from the first one's.
    ///
    /// # Errors
    /// The record, its key or a header is larger than allowed; the batch is as it was.
    #[inline(always)]
    pub(crate) fn push(
        &mut self,
        record: &Record<'_>,
        record_bytes_max: usize,
        limit: usize,
    ) -> Result<Fit, Error> {
        let size = checked_size(record, record_bytes_max)?;
        let delta = match (record.own_timestamp(), self.base_timestamp) {
            (Some(time), Some(base)) => {
                let delta = time.as_millis().checked_sub(base.as_millis());
                match delta.and_then(|delta| i32::try_from(delta).ok()) {
                    Some(delta) => delta,
                    None => return Ok(Fit::NextBatch),
                }
            }
            _ => 0,
        };
        let records = self.bytes.len() - HEADER_BYTES + size;
        let full = records > limit.min(FRAME_BYTES_MAX - HEADER_BYTES - ALIGNMENT);
        if full && self.count > 0 {
            return Ok(Fit::NextBatch);
        }
        self.write(record, size, delta);
        Ok(Fit::Taken)
    }

    /// Adds an entry of a journal: a key, and a value unless the entry is removed.
    ///
    /// # Errors
    /// As for [`push`](Self::push).
    pub(crate) fn push_entry(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        limit: usize,
    ) -> Result<Fit, Error> {
        let entry = value.map_or_else(Record::without_value, Record::new).key(key);
        self.push(&entry, RECORD_BYTES_MAX, limit)
    }

    /// Adds a record whose `size` was checked, so that none of the narrowings loses anything.
    #[inline(always)]
    fn write(&mut self, record: &Record<'_>, size: usize, time_delta: i32) {
        let (key, value) = (record.key_bytes(), record.value_bytes());
        let mut flags = u8::from(key.is_some()) * HAS_KEY + u8::from(value.is_some()) * HAS_VALUE;
        if let Some(time) = record.own_timestamp() {
            flags |= HAS_TIME;
            self.attributes |= ATTRIBUTE_OWN_TIMES;
            self.base_timestamp.get_or_insert(time);
            self.max_time_delta = self.max_time_delta.max(time_delta.try_into().unwrap_or(0));
        } else {
            self.attributes |= ATTRIBUTE_APPEND_TIMES;
        }
        let [b0, b1, b2, b3, ..] = (size - RECORD_FIXED_BYTES).to_le_bytes();
        let [t0, t1, t2, t3] = time_delta.to_le_bytes();
        let [k0, k1, ..] = key.map_or(0, <[u8]>::len).to_le_bytes();
        let [header_count, ..] = record.headers().len().to_le_bytes();
        let fixed = [b0, b1, b2, b3, t0, t1, t2, t3, k0, k1, flags, header_count];
        self.bytes.reserve(size);
        self.bytes.extend_from_slice(&fixed);
        if let Some(key) = key {
            self.bytes.extend_from_slice(key);
        }
        for header in record.headers() {
            self.write_header(header.name.as_bytes(), header.value);
        }
        if let Some(value) = value {
            self.bytes.extend_from_slice(value);
        }
        self.count += 1;
    }

    fn write_header(&mut self, name: &[u8], value: Option<&[u8]>) {
        let flags = if value.is_some() { HEADER_HAS_VALUE } else { 0 };
        let value = value.unwrap_or_default();
        let name_len = u16::try_from(name.len()).unwrap_or(u16::MAX);
        let value_len = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&name_len.to_le_bytes());
        self.bytes.extend_from_slice(&[flags, 0]);
        self.bytes.extend_from_slice(&value_len.to_le_bytes());
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
    }

    /// Pads the frame and computes the body checksum, in one call over the whole body.
    pub(crate) fn finish(mut self) -> Batch {
        let padded = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(padded, 0);
        let body = self.bytes.get(HEADER_BYTES..).unwrap_or_default();
        let header = FrameHeader {
            length: u32::try_from(self.bytes.len()).unwrap_or(u32::MAX),
            base_offset: Offset::ZERO,
            body_checksum: crc32fast::hash(body),
            count: self.count,
            attributes: self.attributes,
            durable_lag: u32::MAX,
            append_time: Timestamp::from_millis(0),
            base_timestamp: self.base_timestamp.unwrap_or(Timestamp::from_millis(0)),
            max_time_delta: self.max_time_delta,
        };
        Batch { bytes: self.bytes, header }
    }
}

/// Whether a record went into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Fit {
    Taken,
    NextBatch,
}

/// The encoded size of a record, once every limit is checked.
#[inline(always)]
fn checked_size(record: &Record<'_>, record_bytes_max: usize) -> Result<usize, Error> {
    let key = record.key_bytes().map_or(0, <[u8]>::len);
    let mut size = RECORD_FIXED_BYTES + key + record.value_bytes().map_or(0, <[u8]>::len);
    if !record.headers().is_empty() {
        size += checked_headers(record)?;
    }
    let limit = record_bytes_max.min(LETTER_BYTES_MAX);
    if key > KEY_BYTES_MAX {
        Err(too_large("key", key, KEY_BYTES_MAX))
    } else if size > limit {
        Err(too_large("record", size, limit))
    } else {
        Ok(size)
    }
}

fn checked_headers(record: &Record<'_>) -> Result<usize, Error> {
    if record.headers().len() > HEADERS_MAX {
        let text = format!("{} headers are more than {HEADERS_MAX}", record.headers().len());
        return Err(Error::new(ErrorKind::InvalidRecord, text));
    }
    let mut size = 0;
    for header in record.headers() {
        if header.name.len() > HEADER_NAME_BYTES_MAX {
            return Err(too_large("header name", header.name.len(), HEADER_NAME_BYTES_MAX));
        }
        size += HEADER_FIXED_BYTES + header.name.len() + header.value.map_or(0, <[u8]>::len);
    }
    Ok(size)
}

#[cold]
fn too_large(what: &str, size: usize, limit: usize) -> Error {
    let text = format!("{what} of {size} bytes is larger than {limit}");
    Error::new(ErrorKind::InvalidRecord, text)
}

/// A stored frame whose checksums and records have been found good.
#[derive(Clone, Debug)]
pub(crate) struct StoredBatch {
    header: FrameHeader,
    /// The records and the padding behind them.
    body: Bytes,
}

impl StoredBatch {
    /// Judges the frame at the start of `frame`, whose header was read before.
    ///
    /// # Errors
    /// Both checksums are good only if the bytes are those that were laid down; records that
    /// contradict their frame are refused all the same, so that no reader meets them.
    pub(crate) fn check(header: FrameHeader, frame: Bytes) -> Result<Self, FrameError> {
        if frame.len() < header.len() {
            return Err(FrameError::Short);
        }
        let body = frame.slice(HEADER_BYTES..header.len());
        if crc32fast::hash(&body) != header.body_checksum {
            return Err(FrameError::BodyChecksum);
        }
        let batch = Self { header, body };
        batch.check_records().ok_or(FrameError::Records)?;
        Ok(batch)
    }

    /// A frame straight from the writer's memory, which needs no second look.
    pub(crate) fn trusted(header: FrameHeader, frame: &Bytes) -> Self {
        Self { header, body: frame.slice(HEADER_BYTES.min(frame.len())..) }
    }

    /// The same records as a batch that can be laid down elsewhere.
    pub(crate) fn to_batch(&self) -> Batch {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.body.len());
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend_from_slice(&self.body);
        Batch { bytes, header: self.header }
    }

    pub(crate) fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// The memory that the batch holds, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether the body is exactly its records, so that nobody who reads them meets anything else.
    fn check_records(&self) -> Option<()> {
        let mut rest = &self.body[..];
        for _ in 0..self.header.count {
            rest = behind_record(rest)?;
        }
        (rest.len() < ALIGNMENT && rest.iter().all(|byte| *byte == 0)).then_some(())
    }

    /// Goes over the records that stand at `from` or behind it.
    pub(crate) fn records<'a>(&'a self, of: &'a TopicPartition, from: Offset) -> Records<'a> {
        let mut records = Records {
            batch: self,
            partition: of,
            rest: &self.body,
            offset: self.header.base_offset,
            left: self.header.count,
        };
        while records.offset < from && records.skip_one() {}
        records
    }

    /// Goes over keys and values alone; this is how journals read their entries.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        entries(&self.body, self.header.count)
    }

    fn time_of(&self, own_delta: Option<i32>) -> Timestamp {
        match own_delta {
            Some(delta) => Timestamp::from_millis(
                self.header.base_timestamp.as_millis().saturating_add(i64::from(delta)),
            ),
            None => self.header.append_time,
        }
    }

    /// The first record at `from` or behind it whose timestamp is at or after `time`.
    pub(crate) fn first_at_or_after(&self, time: Timestamp, from: Offset) -> Option<Offset> {
        let mut rest = &self.body[..];
        for index in 0..self.header.count {
            let (record, behind) = RawRecord::split(rest)?;
            let offset = self.header.base_offset.checked_add(u64::from(index))?;
            if offset >= from && self.time_of(record.own_delta) >= time {
                return Some(offset);
            }
            rest = behind;
        }
        None
    }
}

/// Iterator over the records of one stored batch.
#[derive(Clone, Debug)]
pub(crate) struct Records<'a> {
    batch: &'a StoredBatch,
    partition: &'a TopicPartition,
    rest: &'a [u8],
    offset: Offset,
    left: u32,
}

impl Records<'_> {
    /// Only those that stand before `end`.
    pub(crate) fn until(mut self, end: Offset) -> Self {
        let count = end.value().saturating_sub(self.offset.value());
        self.left = self.left.min(u32::try_from(count).unwrap_or(u32::MAX));
        self
    }

    fn skip_one(&mut self) -> bool {
        self.next().is_some()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = RecordRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<RecordRef<'a>> {
        let left = self.left.checked_sub(1)?;
        let (record, rest) = RawRecord::take(self.rest)?;
        let found = RecordRef {
            partition: self.partition,
            offset: self.offset,
            timestamp: self.batch.time_of(record.own_delta),
            append_time: self.batch.header.append_time,
            key: record.key,
            value: record.value,
            headers: record.headers,
            chunk: &self.batch.body,
        };
        // A header whose last offset cannot be counted is refused when it is decoded.
        self.offset = Offset::new(self.offset.value().wrapping_add(1));
        self.left = left;
        self.rest = rest;
        Some(found)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, usize::try_from(self.left).ok())
    }
}

fn entries(body: &[u8], count: u32) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let mut rest = body;
    (0..count).map_while(move |_| {
        let (record, behind) = RawRecord::split(rest)?;
        rest = behind;
        Some((record.key.unwrap_or_default(), record.value))
    })
}

/// The fixed part of a record.
#[derive(Clone, Copy)]
struct Fixed {
    behind: usize,
    time_delta: i32,
    key_len: usize,
    flags: u8,
    header_count: u8,
}

impl Fixed {
    #[inline(always)]
    fn decode(bytes: &[u8; RECORD_FIXED_BYTES]) -> Self {
        let [b0, b1, b2, b3, t0, t1, t2, t3, k0, k1, flags, header_count] = *bytes;
        Self {
            // Where a length of 32 bits does not fit, no record of that length does either.
            behind: usize::try_from(u32::from_le_bytes([b0, b1, b2, b3])).unwrap_or(usize::MAX),
            time_delta: i32::from_le_bytes([t0, t1, t2, t3]),
            key_len: usize::from(u16::from_le_bytes([k0, k1])),
            flags,
            header_count,
        }
    }

    /// Whether a record without headers can be what this says of it.
    ///
    /// A part that is said to be absent must be empty, or bytes would be dropped silently.
    #[inline(always)]
    fn is_sound(self, value_len: usize) -> bool {
        self.flags & !FLAGS_KNOWN == 0
            && (self.flags & HAS_KEY != 0 || self.key_len == 0)
            && (self.flags & HAS_VALUE != 0 || value_len == 0)
    }
}

/// What stands behind the record at the front of `bytes`; none if that is not a record.
///
/// It decides as [`RawRecord::split`] does, and takes nothing apart where there are no headers.
#[inline(always)]
fn behind_record(bytes: &[u8]) -> Option<&[u8]> {
    let (fixed, rest) = bytes.split_first_chunk::<RECORD_FIXED_BYTES>()?;
    let fixed = Fixed::decode(fixed);
    if fixed.header_count > 0 {
        return RawRecord::split(bytes).map(|(_, behind)| behind);
    }
    let value_len = fixed.behind.checked_sub(fixed.key_len)?;
    if fixed.is_sound(value_len) { rest.get(fixed.behind..) } else { None }
}

struct RawRecord<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Headers<'a>,
    own_delta: Option<i32>,
}

impl<'a> RawRecord<'a> {
    /// Takes one record off the front of `bytes`; none if what stands there is not a record.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let fixed = Fixed::decode(bytes.first_chunk()?);
        let (record, rest) = Self::take(bytes)?;
        let value_len = fixed.behind - fixed.key_len - record.headers.bytes_len();
        fixed.is_sound(value_len).then_some((record, rest))
    }

    /// The same where the record is known to be sound.
    #[inline(always)]
    fn take(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (fixed, rest) = bytes.split_first_chunk::<RECORD_FIXED_BYTES>()?;
        let fixed = Fixed::decode(fixed);
        let (record, rest) = rest.split_at_checked(fixed.behind)?;
        let (key, mut value) = record.split_at_checked(fixed.key_len)?;
        let mut headers = Headers::default();
        if fixed.header_count > 0 {
            (headers, value) = split_headers(value, fixed.header_count)?;
        }
        let record = Self {
            key: (fixed.flags & HAS_KEY != 0).then_some(key),
            value: (fixed.flags & HAS_VALUE != 0).then_some(value),
            headers,
            own_delta: (fixed.flags & HAS_TIME != 0).then_some(fixed.time_delta),
        };
        Some((record, rest))
    }
}

/// Takes `count` headers off the front of what stands behind a key.
///
/// Apart from the loops over records, which are tight without it.
#[inline(never)]
fn split_headers(bytes: &[u8], count: u8) -> Option<(Headers<'_>, &[u8])> {
    let mut iter = HeadersIter::over(bytes, count);
    while iter.next().is_some() {}
    if iter.left() > 0 {
        return None;
    }
    let value = iter.rest();
    let (headers, _) = bytes.split_at_checked(bytes.len() - value.len())?;
    Some((Headers::checked(headers, count), value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::frame::Place;
    use crate::offset::{PartitionId, ShardId, TopicId};
    use crate::record::StoredRecord;

    #[derive(Clone, Debug, PartialEq)]
    struct Owned {
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        headers: Vec<(String, Option<Vec<u8>>)>,
        time: Option<i64>,
    }

    impl Owned {
        fn record(&self) -> Record<'_> {
            let mut record = match &self.value {
                Some(value) => Record::new(value),
                None => Record::without_value(),
            };
            if let Some(key) = &self.key {
                record = record.key(key);
            }
            if let Some(time) = self.time {
                record = record.timestamp(Timestamp::from_millis(time));
            }
            for (name, value) in &self.headers {
                record = match value {
                    Some(value) => record.header(name, value),
                    None => record.header_without_value(name),
                };
            }
            record
        }

        fn of(record: &StoredRecord, own_time: bool) -> Self {
            let headers = record.headers().iter();
            Self {
                key: record.key().map(<[u8]>::to_vec),
                value: record.value().map(<[u8]>::to_vec),
                headers: headers
                    .map(|header| (header.name.to_owned(), header.value.map(<[u8]>::to_vec)))
                    .collect(),
                time: own_time.then(|| record.timestamp().as_millis()),
            }
        }
    }

    const APPENDED: i64 = 1_700_000_000_000;
    const LIMIT: usize = 1024;

    fn seed() -> Seed {
        let shard = ShardId { topic: TopicId::new(1), partition: PartitionId::new(0) };
        Place { shard, base: Offset::ZERO, salt: 5 }.seed()
    }

    fn orders() -> TopicPartition {
        TopicPartition::new("orders".parse().unwrap(), PartitionId::new(0))
    }

    fn laid(batch: Batch, base: u64) -> (FrameHeader, Bytes) {
        let mut batch = batch;
        let at = LayDown {
            base_offset: Offset::new(base),
            durable_end: Offset::new(base),
            append_time: Timestamp::from_millis(APPENDED),
        };
        let header = batch.lay_down(seed(), at);
        (header, batch.into_bytes())
    }

    fn owned() -> impl Strategy<Value = Owned> {
        let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
        let headers = prop::collection::vec((".{0,6}", bytes()), 0..4);
        // Times within the reach of one batch, and on both sides of its base.
        let time = prop::option::of(-1_000_000_000_i64..1_000_000_000);
        (bytes(), bytes(), headers, time).prop_map(|(key, value, headers, time)| Owned {
            key,
            value,
            headers,
            time,
        })
    }

    /// A body under good checksums, with the count that its header is to claim.
    fn forged(body: &[u8], count: u32) -> Result<StoredBatch, FrameError> {
        let mut frame = vec![0; HEADER_BYTES];
        frame.extend(body);
        let header = FrameHeader {
            length: u32::try_from(frame.len()).unwrap(),
            base_offset: Offset::ZERO,
            body_checksum: crc32fast::hash(body),
            count,
            attributes: 0,
            durable_lag: 0,
            append_time: Timestamp::from_millis(0),
            base_timestamp: Timestamp::from_millis(i64::MAX),
            max_time_delta: 0,
        };
        assert!(header.encode(&mut frame, seed()));
        let header = FrameHeader::decode(&frame, seed())?;
        StoredBatch::check(header, Bytes::from(frame))
    }

    proptest! {
        /// What is sent would not be what is read.
        #[test]
        fn batches_come_back(records in prop::collection::vec(owned(), 1..20), base in any::<u32>()) {
            let mut builder = BatchBuilder::with_capacity(0);
            for record in &records {
                let fit = builder.push(&record.record(), LIMIT, FRAME_BYTES_MAX).unwrap();
                prop_assert_eq!(fit, Fit::Taken);
            }
            let (header, bytes) = laid(builder.finish(), base.into());
            prop_assert_eq!(FrameHeader::decode(&bytes, seed()), Ok(header));
            prop_assert!(header.len() == bytes.len() && bytes.len().is_multiple_of(ALIGNMENT));
            let stored = StoredBatch::check(header, bytes).unwrap();
            let place = orders();
            let found: Vec<_> =
                stored.records(&place, Offset::ZERO).map(|record| record.to_stored()).collect();
            prop_assert_eq!(found.len(), records.len());
            for ((found, sent), offset) in found.iter().zip(&records).zip(u64::from(base)..) {
                prop_assert_eq!(found.offset().value(), offset);
                prop_assert_eq!(&Owned::of(found, sent.time.is_some()), sent);
                let time = sent.time.unwrap_or(APPENDED);
                prop_assert_eq!(found.timestamp().as_millis(), time);
                prop_assert!(header.max_timestamp().unwrap().as_millis() >= time);
            }
            // Part of a batch is the same records, from wherever it is begun.
            let from = Offset::new(u64::from(base) + records.len() as u64 / 2);
            let part = stored.records(&place, from).map(|record| record.to_stored());
            prop_assert!(part.eq(found.iter().filter(|record| record.offset() >= from).cloned()));
            let (again, bytes) = laid(stored.to_batch(), base.into());
            prop_assert_eq!(again, header);
            prop_assert!(StoredBatch::check(again, bytes).is_ok());
        }

        /// Bytes that are no records would be read as some, hang, or stop the program.
        #[test]
        fn any_body_can_be_checked(body in prop::collection::vec(any::<u8>(), 0..40), count in 0_u32..9) {
            let mut body = body;
            body.resize(body.len().next_multiple_of(ALIGNMENT), 0);
            if let Ok(batch) = forged(&body, count) {
                let place = orders();
                prop_assert_eq!(batch.records(&place, Offset::ZERO).count(), count as usize);
                for record in batch.records(&place, Offset::ZERO) {
                    prop_assert_eq!(record.headers().iter().count(), record.headers().len());
                    let _ = record.to_stored();
                }
                prop_assert_eq!(batch.entries().count(), count as usize);
                let _ = batch.first_at_or_after(Timestamp::from_millis(i64::MAX), Offset::ZERO);
            }
        }

        /// One changed byte of a body would be served.
        #[test]
        fn a_body_with_any_byte_changed_is_refused(at in any::<prop::sample::Index>(), by in 1..=u8::MAX) {
            let record = Record::new("value").key("key").header("name", "text");
            let (header, bytes) = laid(Batch::of(&record, LIMIT).unwrap(), 0);
            let mut bytes = bytes.to_vec();
            let at = HEADER_BYTES + at.index(bytes.len() - HEADER_BYTES);
            bytes[at] ^= by;
            let found = StoredBatch::check(header, Bytes::from(bytes));
            prop_assert_eq!(found.unwrap_err(), FrameError::BodyChecksum);
        }

        /// A frame whose end is not there would be read beyond it.
        #[test]
        fn a_frame_with_its_end_missing_is_refused(cut in 0_usize..80) {
            let (header, bytes) = laid(Batch::of(&Record::new("value"), LIMIT).unwrap(), 0);
            prop_assume!(cut < bytes.len());
            let found = StoredBatch::check(header, bytes.slice(..cut));
            prop_assert_eq!(found.unwrap_err(), FrameError::Short);
        }
    }

    /// One record's fixed part, and what stands behind it.
    fn raw(behind: u32, key: u16, flags: u8, headers: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = behind.to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(key.to_le_bytes());
        bytes.extend([flags, headers]);
        bytes.extend(rest);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes
    }

    /// A malicious frame under good checksums would be served, allocate, or stop the program.
    #[test]
    fn records_that_contradict_their_frame_are_refused() {
        let both = HAS_KEY | HAS_VALUE;
        let name = |len: u16, value: u32, text: &[u8]| {
            let mut header = len.to_le_bytes().to_vec();
            header.extend([HEADER_HAS_VALUE, 0]);
            header.extend(value.to_le_bytes());
            header.extend(text);
            header
        };
        let cases = [
            ("a count without records", Vec::new(), 1),
            ("a huge count", raw(0, 0, 0, 0, &[]), u32::MAX),
            (
                "one record too few",
                [raw(4, 0, 2, 0, b"abcd"), raw(4, 0, 2, 0, b"abcd")].concat(),
                1,
            ),
            ("records without a count", raw(4, 0, HAS_VALUE, 0, b"abcd"), 0),
            ("a record longer than its frame", raw(5, 0, HAS_VALUE, 0, b"abcd"), 1),
            ("a length near its limit", raw(u32::MAX, 0, HAS_VALUE, 0, b"abcd"), 1),
            ("a key longer than its record", raw(4, 5, both, 0, b"abcd"), 1),
            ("a key that is not there", raw(4, 4, HAS_VALUE, 0, b"abcd"), 1),
            ("a value that is not there", raw(4, 0, HAS_KEY, 0, b"abcd"), 1),
            ("an unknown flag", raw(4, 0, 8 | HAS_VALUE, 0, b"abcd"), 1),
            ("headers that are not there", raw(4, 0, HAS_VALUE, 9, b"abcd"), 1),
            ("a header's name too long", raw(12, 0, both, 1, &name(5, 0, b"name")), 1),
            ("a header's value too long", raw(12, 0, both, 1, &name(4, 1, b"name")), 1),
            (
                "a header's value near its limit",
                raw(12, 0, both, 1, &name(4, u32::MAX, b"name")),
                1,
            ),
            ("a name that is no text", raw(12, 0, both, 1, &name(4, 0, &[0xFF; 4])), 1),
            ("a header's unknown flag", raw(12, 0, both, 1, b"\x04\0\x03\0\0\0\0\0name"), 1),
            ("a header's zero that is not", raw(12, 0, both, 1, b"\x04\0\x01\x01\0\0\0\0name"), 1),
            (
                "a header's value that is not there",
                raw(13, 0, both, 1, b"\x04\0\0\0\x01\0\0\0namev"),
                1,
            ),
            ("padding that is not zeros", [&raw(3, 0, 2, 0, b"abc")[..15], b"x"].concat(), 1),
            ("more padding than fits", [raw(4, 0, 2, 0, b"abcd"), vec![0; 8]].concat(), 1),
        ];
        for (what, body, count) in cases {
            assert_eq!(forged(&body, count).unwrap_err(), FrameError::Records, "{what}");
        }
        assert!(forged(&[], 0).is_ok());
        assert!(forged(&raw(12, 0, both, 1, &name(4, 0, b"name")), 1).is_ok());
        let late = forged(&raw(4, 0, HAS_VALUE | HAS_TIME, 0, b"abcd"), 1).unwrap();
        assert_eq!(late.time_of(Some(i32::MAX)), Timestamp::from_millis(i64::MAX));
    }

    /// A record over its limit would be written, or one at its limit refused.
    #[test]
    fn limits_are_kept_to_the_byte() {
        let check = |record: Record<'_>, limit| Batch::of(&record, limit).map(|batch| batch.len());
        let refused = |record: Record<'_>, limit| {
            assert_eq!(check(record, limit).unwrap_err().kind(), ErrorKind::InvalidRecord);
        };
        let value = vec![0; LIMIT];
        assert!(check(Record::new(&value[RECORD_FIXED_BYTES..]), LIMIT).is_ok());
        refused(Record::new(&value[RECORD_FIXED_BYTES - 1..]), LIMIT);
        let key = vec![0; KEY_BYTES_MAX + 1];
        assert!(check(Record::without_value().key(&key[1..]), RECORD_BYTES_MAX).is_ok());
        refused(Record::without_value().key(&key), RECORD_BYTES_MAX);
        let name = "n".repeat(HEADER_NAME_BYTES_MAX + 1);
        let record = |name| Record::without_value().header_without_value(name);
        assert!(check(record(&name[1..]), RECORD_BYTES_MAX).is_ok());
        refused(record(&name), RECORD_BYTES_MAX);
        let with = |count| (0..count).fold(Record::new(""), |record, _| record.header("n", "v"));
        assert!(check(with(HEADERS_MAX), RECORD_BYTES_MAX).is_ok());
        refused(with(HEADERS_MAX + 1), RECORD_BYTES_MAX);
        let largest = vec![0; RECORD_BYTES_MAX - RECORD_FIXED_BYTES];
        let len = check(Record::new(&largest), usize::MAX).unwrap();
        assert!(len <= FRAME_BYTES_MAX, "{len}");
    }

    /// A batch would take what does not fit it, or lose a record at its edge.
    #[test]
    fn a_batch_is_closed_at_its_size_and_at_its_reach_in_time() {
        let mut builder = BatchBuilder::with_capacity(0);
        assert!(builder.is_empty());
        let large = vec![0; 500];
        // The first record always fits, whatever the limit.
        assert_eq!(builder.push(&Record::new(&large), LIMIT, 1).unwrap(), Fit::Taken);
        assert_eq!(builder.push(&Record::new(""), LIMIT, 1).unwrap(), Fit::NextBatch);
        assert_eq!(builder.push(&Record::new(""), LIMIT, LIMIT).unwrap(), Fit::Taken);
        assert!(builder.push(&Record::new(&[0; LIMIT]), LIMIT, LIMIT).is_err());
        let at = |millis| Record::new("").timestamp(Timestamp::from_millis(millis));
        let reach = i64::from(i32::MAX);
        for (time, fit) in [
            (7, Fit::Taken),
            (7 + reach, Fit::Taken),
            (8 + reach, Fit::NextBatch),
            (6 - reach, Fit::Taken),
            (5 - reach, Fit::NextBatch),
            (i64::MIN, Fit::NextBatch),
            (i64::MAX, Fit::NextBatch),
        ] {
            assert_eq!(builder.push(&at(time), LIMIT, LIMIT).unwrap(), fit, "{time}");
        }
        assert_eq!(builder.finish().count(), 5);
    }

    /// A frame would claim to prove durable what is not.
    #[test]
    fn a_frame_says_how_far_behind_durability_is() {
        let lag = |base, durable| {
            let mut batch = Batch::of(&Record::new(""), LIMIT).unwrap();
            let at = LayDown {
                base_offset: Offset::new(base),
                durable_end: Offset::new(durable),
                append_time: Timestamp::from_millis(0),
            };
            batch.lay_down(seed(), at).durable_mark().map(Offset::value)
        };
        assert_eq!(lag(10, 10), Some(10));
        assert_eq!(lag(10, 4), Some(4));
        assert_eq!(lag(1 << 40, 4), None, "further behind than the field reaches");
        assert_eq!(lag(u64::from(u32::MAX), 0), None);
    }
}
