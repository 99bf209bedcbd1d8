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
    FRAME_BYTES_MAX, HEADER_NAME_BYTES_MAX, HEADERS_MAX, KEY_BYTES_MAX, RECORD_BYTES_MAX,
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

    fn write(&mut self, record: &Record<'_>, size: usize, time_delta: i32) {
        let key = record.key_bytes();
        let value = record.value_bytes();
        let mut flags = 0;
        if key.is_some() {
            flags |= HAS_KEY;
        }
        if value.is_some() {
            flags |= HAS_VALUE;
        }
        match record.own_timestamp() {
            Some(time) => {
                flags |= HAS_TIME;
                self.attributes |= ATTRIBUTE_OWN_TIMES;
                self.base_timestamp.get_or_insert(time);
                self.max_time_delta = self.max_time_delta.max(time_delta.try_into().unwrap_or(0));
            }
            None => self.attributes |= ATTRIBUTE_APPEND_TIMES,
        }
        let key = key.unwrap_or_default();
        // `checked_size` has bounded every length, so that none of these narrowings loses anything.
        let behind = u32::try_from(size - RECORD_FIXED_BYTES).unwrap_or(u32::MAX);
        let key_len = u16::try_from(key.len()).unwrap_or(u16::MAX);
        let header_count = u8::try_from(record.headers().len()).unwrap_or(u8::MAX);
        let [b0, b1, b2, b3] = behind.to_le_bytes();
        let [t0, t1, t2, t3] = time_delta.to_le_bytes();
        let [k0, k1] = key_len.to_le_bytes();
        let fixed = [b0, b1, b2, b3, t0, t1, t2, t3, k0, k1, flags, header_count];
        self.bytes.extend_from_slice(&fixed);
        self.bytes.extend_from_slice(key);
        for header in record.headers() {
            self.write_header(header.name.as_bytes(), header.value);
        }
        self.bytes.extend_from_slice(value.unwrap_or_default());
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
fn checked_size(record: &Record<'_>, record_bytes_max: usize) -> Result<usize, Error> {
    let too_large = |what: &str, size: usize, limit: usize| {
        let text = format!("{what} of {size} bytes is larger than {limit}");
        Err(Error::new(ErrorKind::InvalidRecord, text))
    };
    let key = record.key_bytes().map_or(0, <[u8]>::len);
    if key > KEY_BYTES_MAX {
        return too_large("key", key, KEY_BYTES_MAX);
    }
    if record.headers().len() > HEADERS_MAX {
        let text = format!("{} headers are more than {HEADERS_MAX}", record.headers().len());
        return Err(Error::new(ErrorKind::InvalidRecord, text));
    }
    let mut size = RECORD_FIXED_BYTES + key + record.value_bytes().map_or(0, <[u8]>::len);
    for header in record.headers() {
        if header.name.len() > HEADER_NAME_BYTES_MAX {
            return too_large("header name", header.name.len(), HEADER_NAME_BYTES_MAX);
        }
        size += HEADER_FIXED_BYTES + header.name.len() + header.value.map_or(0, <[u8]>::len);
    }
    let limit = record_bytes_max.min(RECORD_BYTES_MAX);
    if size > limit { too_large("record", size, limit) } else { Ok(size) }
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

    fn check_records(&self) -> Option<()> {
        let mut rest = &self.body[..];
        for _ in 0..self.header.count {
            let (_, behind) = RawRecord::split(rest)?;
            rest = behind;
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
    fn skip_one(&mut self) -> bool {
        self.next().is_some()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = RecordRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<RecordRef<'a>> {
        let left = self.left.checked_sub(1)?;
        let (record, rest) = RawRecord::split(self.rest)?;
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
        self.offset = self.offset.checked_add(1)?;
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

struct RawRecord<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Headers<'a>,
    own_delta: Option<i32>,
}

impl<'a> RawRecord<'a> {
    /// Takes one record off the front of `bytes`; none if what stands there is not a record.
    #[inline]
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (fixed, rest) = bytes.split_first_chunk::<RECORD_FIXED_BYTES>()?;
        let [b0, b1, b2, b3, t0, t1, t2, t3, k0, k1, flags, header_count] = *fixed;
        let behind = usize::try_from(u32::from_le_bytes([b0, b1, b2, b3])).ok()?;
        let key_len = usize::from(u16::from_le_bytes([k0, k1]));
        let (record, rest) = rest.split_at_checked(behind)?;
        let (key, tail) = record.split_at_checked(key_len)?;
        let mut headers = Headers::default();
        let mut value = tail;
        if header_count > 0 {
            let mut iter = HeadersIter::over(tail, header_count);
            while iter.next().is_some() {}
            if iter.left() > 0 {
                return None;
            }
            value = iter.rest();
            let (header_bytes, _) = tail.split_at_checked(tail.len() - value.len())?;
            headers = Headers::checked(header_bytes, header_count);
        }
        // A part that is said to be absent must be empty, or bytes would be dropped silently.
        let absent_key = flags & HAS_KEY == 0;
        let absent_value = flags & HAS_VALUE == 0;
        if flags & !FLAGS_KNOWN != 0
            || (absent_key && !key.is_empty())
            || (absent_value && !value.is_empty())
        {
            return None;
        }
        let record = Self {
            key: (!absent_key).then_some(key),
            value: (!absent_value).then_some(value),
            headers,
            own_delta: (flags & HAS_TIME != 0).then_some(i32::from_le_bytes([t0, t1, t2, t3])),
        };
        Some((record, rest))
    }
}
