//! Records: as they are sent, as they are borrowed from a batch, and as they are kept.
//!
//! A [`Record`] borrows everything it is given, so that sending copies each byte once, into the
//! batch. A [`RecordRef`] borrows from the batch it was read in. A [`StoredRecord`] owns its bytes
//! and may outlive both.

use std::fmt;

use bytes::Bytes;

use crate::offset::{Offset, PartitionId, Timestamp, TopicPartition};

/// One record to send.
///
/// Key and value are optional bytes, and no value is not the same as an empty one. Headers keep
/// their order, and a name may come twice.
///
/// # Examples
/// ```
/// use brooklet::{Record, Timestamp};
///
/// let record = Record::new("created")
///     .key("order-42")
///     .header("source", "web")
///     .timestamp(Timestamp::from_millis(1_517_363_399_650));
/// assert_eq!(record.value_bytes(), Some(&b"created"[..]));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Record<'a> {
    key: Option<&'a [u8]>,
    value: Value<'a>,
    headers: Vec<Header<'a>>,
    timestamp: Option<Timestamp>,
}

/// The value of a record to send, or none.
#[derive(Clone, Debug, Default)]
enum Value<'a> {
    #[default]
    None,
    Borrowed(&'a [u8]),
    /// Made for the record by whoever encoded it.
    #[cfg(feature = "json")]
    Owned(Vec<u8>),
}

impl<'a> Record<'a> {
    /// A record with a value and nothing else.
    #[must_use]
    pub fn new<V: AsRef<[u8]> + ?Sized>(value: &'a V) -> Self {
        Self { value: Value::Borrowed(value.as_ref()), ..Self::default() }
    }

    /// A record that owns its value.
    #[cfg(feature = "json")]
    pub(crate) fn owning(value: Vec<u8>) -> Self {
        Self { value: Value::Owned(value), ..Self::default() }
    }

    /// A record without a value; with a key it says that the key is gone.
    #[must_use]
    pub fn without_value() -> Self {
        Self::default()
    }

    /// Sets the key, by which the partition is chosen; at most 65,535 bytes.
    #[must_use]
    pub fn key<K: AsRef<[u8]> + ?Sized>(mut self, key: &'a K) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// Adds a header behind those already there; at most 255 of them.
    #[must_use]
    pub fn header<V: AsRef<[u8]> + ?Sized>(mut self, name: &'a str, value: &'a V) -> Self {
        self.headers.push(Header { name, value: Some(value.as_ref()) });
        self
    }

    /// Adds a header that has a name and no value.
    #[must_use]
    pub fn header_without_value(mut self, name: &'a str) -> Self {
        self.headers.push(Header { name, value: None });
        self
    }

    /// Sets the time of the event; without it the record takes the time of its append.
    #[must_use]
    pub fn timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The key that was set.
    #[must_use]
    pub fn key_bytes(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The value that was set.
    #[must_use]
    pub fn value_bytes(&self) -> Option<&[u8]> {
        match &self.value {
            Value::None => None,
            Value::Borrowed(value) => Some(value),
            #[cfg(feature = "json")]
            Value::Owned(value) => Some(value),
        }
    }

    pub(crate) fn headers(&self) -> &[Header<'a>] {
        &self.headers
    }

    pub(crate) fn own_timestamp(&self) -> Option<Timestamp> {
        self.timestamp
    }
}

/// One header: a name and an optional value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header<'a> {
    /// The name, at most 65,535 bytes.
    pub name: &'a str,
    /// The value; none is not the same as empty.
    pub value: Option<&'a [u8]>,
}

/// The headers of a stored record, in the order they were sent.
///
/// **Invariants**: `bytes` holds exactly `count` headers in the layout of docs/FORMAT.md, and their
/// names are UTF-8; whoever builds one has checked that.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    count: u8,
}

/// The fixed part in front of each stored header: name length, flags, zero, value length.
pub(crate) const HEADER_FIXED_BYTES: usize = 8;
/// The flag of a stored header that has a value.
pub(crate) const HEADER_HAS_VALUE: u8 = 1;

impl<'a> Headers<'a> {
    pub(crate) fn checked(bytes: &'a [u8], count: u8) -> Self {
        Self { bytes, count }
    }

    /// The size of their encoding.
    pub(crate) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// How many headers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The value of the last header of this name, as Kafka's clients look one up.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.iter().filter(|header| header.name == name).last().map(|header| header.value)
    }

    /// Goes over the headers in order.
    #[must_use]
    pub fn iter(&self) -> HeadersIter<'a> {
        HeadersIter { rest: self.bytes, left: self.count }
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = Header<'a>;
    type IntoIter = HeadersIter<'a>;

    fn into_iter(self) -> HeadersIter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Iterator over [`Headers`].
#[derive(Clone, Debug)]
pub struct HeadersIter<'a> {
    rest: &'a [u8],
    left: u8,
}

impl<'a> HeadersIter<'a> {
    pub(crate) fn over(bytes: &'a [u8], count: u8) -> Self {
        Self { rest: bytes, left: count }
    }

    /// What was not gone over yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many headers were not gone over yet.
    pub(crate) fn left(&self) -> u8 {
        self.left
    }
}

impl<'a> Iterator for HeadersIter<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        let left = self.left.checked_sub(1)?;
        let (fixed, rest) = self.rest.split_first_chunk::<HEADER_FIXED_BYTES>()?;
        let [n0, n1, flags, zero, v0, v1, v2, v3] = *fixed;
        let name_len = usize::from(u16::from_le_bytes([n0, n1]));
        let value_len = usize::try_from(u32::from_le_bytes([v0, v1, v2, v3])).ok()?;
        // What a later version may say here must not be read as if it said nothing.
        if flags & !HEADER_HAS_VALUE != 0 || zero != 0 || (flags == 0 && value_len > 0) {
            return None;
        }
        let (name, rest) = rest.split_at_checked(name_len)?;
        let (value, rest) = rest.split_at_checked(value_len)?;
        let name = std::str::from_utf8(name).ok()?;
        self.rest = rest;
        self.left = left;
        Some(Header { name, value: (flags & HEADER_HAS_VALUE != 0).then_some(value) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(usize::from(self.left)))
    }
}

/// One record, borrowed from the batch it was read in.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    pub(crate) partition: &'a TopicPartition,
    pub(crate) offset: Offset,
    pub(crate) timestamp: Timestamp,
    pub(crate) append_time: Timestamp,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Headers<'a>,
    /// The chunk that all the slices lie in, so that an owned record can share it.
    pub(crate) chunk: &'a Bytes,
}

impl<'a> RecordRef<'a> {
    /// The topic and partition the record stands in.
    #[must_use]
    pub fn topic_partition(&self) -> &'a TopicPartition {
        self.partition
    }

    /// The partition the record stands in.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        self.partition.partition()
    }

    /// The record's offset in its partition.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The time of the event: the producer's, or the append time if it gave none.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// When the log took the record; never decreases within a partition.
    #[must_use]
    pub fn append_time(&self) -> Timestamp {
        self.append_time
    }

    /// The key, if the record has one.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The value, if the record has one.
    #[must_use]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// The headers, in the order they were sent.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }

    /// An owned record.
    ///
    /// It shares the bytes it was read in where it makes up at least an eighth of them, and is
    /// copied where it is smaller, so that a few kept records do not hold large chunks of
    /// memory.
    #[must_use]
    pub fn to_stored(&self) -> StoredRecord {
        let key = self.key.unwrap_or_default();
        let value = self.value.unwrap_or_default();
        let size = key.len() + self.headers.bytes.len() + value.len();
        let shared = size * SHARE_FRACTION >= self.chunk.len();
        let own = |part: &[u8]| match part {
            [] => Bytes::new(),
            part if shared => self.chunk.slice_ref(part),
            part => Bytes::copy_from_slice(part),
        };
        StoredRecord {
            partition: self.partition.clone(),
            offset: self.offset,
            timestamp: self.timestamp,
            append_time: self.append_time,
            key: self.key.map(own),
            value: self.value.map(own),
            headers: own(self.headers.bytes),
            header_count: self.headers.count,
        }
    }
}

/// A record shares its chunk if it is at least this fraction (one eighth) of it.
const SHARE_FRACTION: usize = 8;

/// One record with bytes of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    partition: TopicPartition,
    offset: Offset,
    timestamp: Timestamp,
    append_time: Timestamp,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Bytes,
    header_count: u8,
}

impl StoredRecord {
    /// The topic and partition the record stands in.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The partition the record stands in.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        self.partition.partition()
    }

    /// The record's offset in its partition.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The time of the event: the producer's, or the append time if it gave none.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// When the log took the record; never decreases within a partition.
    #[must_use]
    pub fn append_time(&self) -> Timestamp {
        self.append_time
    }

    /// The key, if the record has one.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// The value, if the record has one.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// The value as shared bytes, without a copy.
    #[must_use]
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.value.clone()
    }

    /// The headers, in the order they were sent.
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        Headers::checked(&self.headers, self.header_count)
    }

    /// The record as it can be sent again, with its own timestamp.
    #[must_use]
    pub fn to_record(&self) -> Record<'_> {
        Record {
            key: self.key(),
            value: self.value().map_or(Value::None, Value::Borrowed),
            headers: self.headers().iter().collect(),
            timestamp: Some(self.timestamp),
        }
    }
}

/// A record that has a place in a log.
pub trait Located {
    /// The topic and partition.
    fn topic_partition(&self) -> &TopicPartition;

    /// The offset in the partition.
    fn offset(&self) -> Offset;
}

impl Located for RecordRef<'_> {
    fn topic_partition(&self) -> &TopicPartition {
        self.topic_partition()
    }

    fn offset(&self) -> Offset {
        self.offset()
    }
}

impl Located for StoredRecord {
    fn topic_partition(&self) -> &TopicPartition {
        self.topic_partition()
    }

    fn offset(&self) -> Offset {
        self.offset()
    }
}
