//! The checksummed envelope: one for records, for the catalog, for the manifest and for committed
//! offsets.
//!
//! A frame is one batch. Its body checksum is computed by the sender, on its own thread; the header
//! checksum is computed when the frame is laid down in its file, over the header **and the frame's
//! place**. A valid frame that turns up anywhere else, an old frame in reused space, and a payload
//! that contains frames are therefore never taken for records. Only a good header makes a length
//! believable.
//!
//! This module may rely on nothing but bytes; others may rely on [`FrameHeader::decode`] never
//! accepting a header whose length is not a multiple of eight between [`HEADER_BYTES`] and
//! [`FRAME_BYTES_MAX`].

use crc32fast::Hasher;

use crate::limits::FRAME_BYTES_MAX;
use crate::offset::{Offset, ShardId, Timestamp};

/// The size of a frame's header.
pub(crate) const HEADER_BYTES: usize = 64;
/// Frames start and end at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;
/// The version of the format that this build writes, and the newest that it reads.
pub(crate) const FORMAT_VERSION: u8 = 1;

/// Some record of the batch carries a timestamp of its own.
pub(crate) const ATTRIBUTE_OWN_TIMES: u8 = 0b0000_0001;
/// Some record of the batch takes the append time as its timestamp.
pub(crate) const ATTRIBUTE_APPEND_TIMES: u8 = 0b0000_0010;
/// The attributes this version knows; compression, control and transaction bits are reserved and
/// zero.
const ATTRIBUTES_KNOWN: u8 = ATTRIBUTE_OWN_TIMES | ATTRIBUTE_APPEND_TIMES;

/// Where a file's frames belong. Part of every header checksum, stored in none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) shard: ShardId,
    pub(crate) base: Offset,
    pub(crate) salt: u32,
}

/// The checksum of a place, from which every header checksum of that file starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Place {
    /// The seed of this place: the CRC-32 of topic id, partition, base offset and salt.
    pub(crate) fn seed(&self) -> Seed {
        let mut hasher = Hasher::new();
        hasher.update(&self.shard.topic.value().to_le_bytes());
        hasher.update(&self.shard.partition.value().to_le_bytes());
        hasher.update(&self.base.value().to_le_bytes());
        hasher.update(&self.salt.to_le_bytes());
        Seed(hasher.finalize())
    }
}

impl Seed {
    /// The CRC-32 of the place followed by `bytes`.
    pub(crate) fn checksum(self, bytes: &[u8]) -> u32 {
        let mut hasher = Hasher::new_with_initial(self.0);
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// Why bytes are not a frame of this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("fewer bytes than a frame header")]
    Short,
    #[error("header is all zeros")]
    Zeros,
    #[error("header checksum does not match")]
    HeaderChecksum,
    #[error("format version {0} is newer than this build reads")]
    Version(u8),
    #[error("frame length {0} is impossible")]
    Length(u32),
    #[error("attributes {0:#010b} are unknown")]
    Attributes(u8),
    #[error("body checksum does not match")]
    BodyChecksum,
    #[error("records do not fill their frame")]
    Records,
}

/// The fixed part of a frame.
///
/// ```text
///  byte 0        4        8                16       20       24   25   26       28
///       ┌────────┬────────┬────────────────┬────────┬────────┬────┬────┬────────┬────────┐
///       │ header │ length │ base offset    │ body   │ record │ver-│attr│producer│durable │
///       │ crc    │        │                │ crc    │ count  │sion│    │epoch   │lag     │
///  32   ├────────┴────────┼────────────────┼────────┼────────┼────┴────┴────────┴────────┤
///       │ append time     │ base timestamp │max time│ base   │ producer id               │
///       │                 │                │ delta  │sequence│                           │
///       └─────────────────┴────────────────┴────────┴────────┴───────────────────────────┘
///       32                40               48       52       56                          64
/// ```
///
/// All numbers are little endian. The header crc covers the place, then bytes 4 to 64; the body crc
/// covers everything behind the header, padding included. Producer epoch, sequence and id are
/// reserved and zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// The whole frame in bytes, header and padding included.
    pub(crate) length: u32,
    pub(crate) base_offset: Offset,
    pub(crate) body_checksum: u32,
    /// How many records; each takes one offset.
    pub(crate) count: u32,
    pub(crate) attributes: u8,
    /// How far the durable end stood below `base_offset` at lay-down; `u32::MAX` proves nothing.
    pub(crate) durable_lag: u32,
    pub(crate) append_time: Timestamp,
    pub(crate) base_timestamp: Timestamp,
    /// The largest own timestamp, as milliseconds above `base_timestamp`.
    pub(crate) max_time_delta: u32,
}

impl FrameHeader {
    /// The offset behind the last record.
    pub(crate) fn end_offset(&self) -> Offset {
        Offset::new(self.base_offset.value().saturating_add(u64::from(self.count)))
    }

    /// The durable end that this frame proves, if it proves any.
    pub(crate) fn durable_mark(&self) -> Option<Offset> {
        if self.durable_lag == u32::MAX {
            return None;
        }
        self.base_offset.value().checked_sub(u64::from(self.durable_lag)).map(Offset::new)
    }

    /// The largest record timestamp of the batch; none if it has no records.
    pub(crate) fn max_timestamp(&self) -> Option<Timestamp> {
        let own = (self.attributes & ATTRIBUTE_OWN_TIMES != 0).then(|| {
            let base = self.base_timestamp.as_millis();
            Timestamp::from_millis(base.saturating_add(i64::from(self.max_time_delta)))
        });
        let appended = (self.attributes & ATTRIBUTE_APPEND_TIMES != 0).then_some(self.append_time);
        own.max(appended)
    }

    /// Writes the header over the first bytes of `frame`, checksum included; false if there is no
    /// room for it.
    #[must_use]
    pub(crate) fn encode(&self, frame: &mut [u8], seed: Seed) -> bool {
        let Some(header) = frame.first_chunk_mut::<HEADER_BYTES>() else { return false };
        let words = [
            pair(0, self.length),
            self.base_offset.value(),
            pair(self.body_checksum, self.count),
            pair(u32::from_le_bytes([FORMAT_VERSION, self.attributes, 0, 0]), self.durable_lag),
            self.append_time.as_millis().cast_unsigned(),
            self.base_timestamp.as_millis().cast_unsigned(),
            pair(self.max_time_delta, 0),
            0,
        ];
        let (slots, _) = header.as_chunks_mut::<8>();
        for (slot, word) in slots.iter_mut().zip(words) {
            *slot = word.to_le_bytes();
        }
        let (checksum, covered) = header.split_at_mut(CHECKSUM_BYTES);
        checksum.copy_from_slice(&seed.checksum(covered).to_le_bytes());
        true
    }

    /// Reads the header at the start of `bytes` and believes it only if it belongs to this place.
    pub(crate) fn decode(bytes: &[u8], seed: Seed) -> Result<Self, FrameError> {
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(FrameError::Short)?;
        let (stored, covered) = header.split_at(CHECKSUM_BYTES);
        if seed.checksum(covered).to_le_bytes() != stored {
            let zeros = header.iter().all(|byte| *byte == 0);
            return Err(if zeros { FrameError::Zeros } else { FrameError::HeaderChecksum });
        }
        let (slots, _) = header.as_chunks::<8>();
        let mut words = [0; HEADER_BYTES / 8];
        for (word, slot) in words.iter_mut().zip(slots) {
            *word = u64::from_le_bytes(*slot);
        }
        let [sizes, base, body, marks, append_time, base_timestamp, times, _producer_id] = words;
        let (_checksum, length) = halves(sizes);
        let (body_checksum, count) = halves(body);
        let (kinds, durable_lag) = halves(marks);
        let [version, attributes, _, _] = kinds.to_le_bytes();
        let (max_time_delta, _base_sequence) = halves(times);
        let decoded = Self {
            length,
            base_offset: Offset::new(base),
            body_checksum,
            count,
            attributes,
            durable_lag,
            append_time: Timestamp::from_millis(append_time.cast_signed()),
            base_timestamp: Timestamp::from_millis(base_timestamp.cast_signed()),
            max_time_delta,
        };
        decoded.check(version)
    }

    fn check(self, version: u8) -> Result<Self, FrameError> {
        if version != FORMAT_VERSION {
            return Err(FrameError::Version(version));
        }
        if self.attributes & !ATTRIBUTES_KNOWN != 0 {
            return Err(FrameError::Attributes(self.attributes));
        }
        let bounded = (HEADER_BYTES..=FRAME_BYTES_MAX).contains(&self.len())
            && self.len().is_multiple_of(ALIGNMENT);
        let countable = self.base_offset.checked_add(u64::from(self.count)).is_some();
        if bounded && countable { Ok(self) } else { Err(FrameError::Length(self.length)) }
    }

    /// The whole frame in bytes.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }
}

/// What a header says before its checksum was looked at, which is nothing to rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The whole frame in bytes, at least a header's.
    pub(crate) length: u64,
    /// The offset behind the last record.
    pub(crate) end: Offset,
}

impl Claim {
    /// What the header at the start of `bytes` claims; none where it is impossible.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let (words, _) = bytes.first_chunk::<HEADER_BYTES>()?.as_chunks::<8>();
        let [sizes, base, body, ..] = words else { return None };
        let (_checksum, length) = halves(u64::from_le_bytes(*sizes));
        let (_body_checksum, count) = halves(u64::from_le_bytes(*body));
        let end = u64::from_le_bytes(*base).checked_add(u64::from(count))?;
        let length = u64::from(length);
        (length >= HEADER_BYTES as u64).then_some(Self { length, end: Offset::new(end) })
    }
}

/// The checksum stands in front of what it covers.
const CHECKSUM_BYTES: usize = 4;

/// Two fields of four bytes that stand side by side.
fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn halves(word: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::offset::{PartitionId, TopicId};

    fn place(topic: u64, partition: u32, base: u64, salt: u32) -> Place {
        let shard = ShardId { topic: TopicId::new(topic), partition: PartitionId::new(partition) };
        Place { shard, base: Offset::new(base), salt }
    }

    fn seed() -> Seed {
        place(7, 3, 4096, 0xdead_beef).seed()
    }

    fn sample() -> FrameHeader {
        FrameHeader {
            length: 128,
            base_offset: Offset::new(4100),
            body_checksum: 0x0102_0304,
            count: 3,
            attributes: ATTRIBUTE_OWN_TIMES | ATTRIBUTE_APPEND_TIMES,
            durable_lag: 4,
            append_time: Timestamp::from_millis(1_700_000_000_000),
            base_timestamp: Timestamp::from_millis(-1),
            max_time_delta: 250,
        }
    }

    fn encoded(header: &FrameHeader, seed: Seed) -> [u8; HEADER_BYTES] {
        let mut bytes = [0xAA; HEADER_BYTES];
        assert!(header.encode(&mut bytes, seed));
        bytes
    }

    /// The sample with one byte replaced and the checksum made good again.
    fn forged(at: usize, value: u8) -> [u8; HEADER_BYTES] {
        let mut bytes = encoded(&sample(), seed());
        bytes[at] = value;
        let checksum = seed().checksum(&bytes[CHECKSUM_BYTES..]);
        bytes[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn headers() -> impl Strategy<Value = FrameHeader> {
        let sizes = (8_u32..=(FRAME_BYTES_MAX / 8) as u32, any::<u32>(), any::<u32>());
        let marks = (any::<u64>(), any::<u32>(), 0..=ATTRIBUTES_KNOWN);
        let times = (any::<i64>(), any::<i64>(), any::<u32>());
        (sizes, marks, times).prop_map(|(sizes, marks, times)| FrameHeader {
            length: sizes.0 * 8,
            count: sizes.1,
            body_checksum: sizes.2,
            base_offset: Offset::new(marks.0.min(u64::MAX - u64::from(sizes.1))),
            durable_lag: marks.1,
            attributes: marks.2,
            append_time: Timestamp::from_millis(times.0),
            base_timestamp: Timestamp::from_millis(times.1),
            max_time_delta: times.2,
        })
    }

    proptest! {
        /// A header would say something else than was laid down.
        #[test]
        fn headers_come_back(header in headers()) {
            prop_assert_eq!(FrameHeader::decode(&encoded(&header, seed()), seed()), Ok(header));
        }

        /// A hop from header to header would go elsewhere than a walk.
        #[test]
        fn a_claim_is_what_the_header_says(header in headers()) {
            let claim = Claim::of(&encoded(&header, seed()));
            let said = Claim { length: u64::from(header.length), end: header.end_offset() };
            let possible = header.length as usize >= HEADER_BYTES;
            prop_assert_eq!(claim, possible.then_some(said));
        }

        /// Damage to a header would be believed, or stop the program.
        #[test]
        fn a_header_with_any_byte_changed_is_refused(at in 0..HEADER_BYTES, by in 1..=u8::MAX) {
            let mut bytes = encoded(&sample(), seed());
            bytes[at] ^= by;
            let found = FrameHeader::decode(&bytes, seed());
            prop_assert_eq!(found, Err(FrameError::HeaderChecksum));
        }

        /// Anything at all under a good checksum would give a length that nothing bounds.
        #[test]
        fn whatever_is_accepted_is_bounded(mut bytes in prop::array::uniform32(any::<u8>())) {
            // Half of all frames would fail on the version alone.
            bytes[20] = FORMAT_VERSION;
            bytes[21] &= ATTRIBUTES_KNOWN;
            let mut header = [0; HEADER_BYTES];
            header[4..36].copy_from_slice(&bytes);
            let checksum = seed().checksum(&header[CHECKSUM_BYTES..]);
            header[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
            if let Ok(found) = FrameHeader::decode(&header, seed()) {
                prop_assert!((HEADER_BYTES..=FRAME_BYTES_MAX).contains(&found.len()));
                prop_assert!(found.len().is_multiple_of(ALIGNMENT));
                prop_assert!(found.end_offset() >= found.base_offset);
            }
            let _ = FrameHeader::decode(&bytes, seed());
        }
    }

    /// A frame that was laid down elsewhere would be taken for one of this file.
    #[test]
    fn every_part_of_the_place_counts() {
        let bytes = encoded(&sample(), seed());
        let others = [
            place(8, 3, 4096, 0xdead_beef),
            place(7, 4, 4096, 0xdead_beef),
            place(7, 3, 4097, 0xdead_beef),
            place(7, 3, 4096, 0xdead_bee0),
        ];
        for other in others {
            let found = FrameHeader::decode(&bytes, other.seed());
            assert_eq!(found, Err(FrameError::HeaderChecksum), "{other:?}");
        }
        assert_eq!(FrameHeader::decode(&bytes, seed()), Ok(sample()));
    }

    /// The checksum of a place would not be the one that docs/FORMAT.md describes.
    #[test]
    fn the_seed_goes_on_from_the_place() {
        let mut bytes = 7_u64.to_le_bytes().to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(4096_u64.to_le_bytes());
        bytes.extend(0xdead_beef_u32.to_le_bytes());
        bytes.extend(b"behind");
        assert_eq!(seed().checksum(b"behind"), crc32fast::hash(&bytes));
    }

    /// A header could move unnoticed: these bytes are version 1 for ever.
    #[test]
    fn the_bytes_of_a_header() {
        let bytes = encoded(&sample(), seed());
        let expected = [
            128, 0, 0, 0, 4, 16, 0, 0, 0, 0, 0, 0, 4, 3, 2, 1, 3, 0, 0, 0, 1, 3, 0, 0, 4, 0, 0, 0,
            0, 104, 229, 207, 139, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 250, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(bytes[CHECKSUM_BYTES..], expected);
        assert_eq!(bytes[..CHECKSUM_BYTES], seed().checksum(&expected).to_le_bytes());
    }

    /// A malicious header under a good checksum would be believed.
    #[test]
    fn impossible_headers_are_refused_by_name() {
        let longest = FRAME_BYTES_MAX as u32;
        let length = |length: u32| FrameHeader { length, ..sample() };
        for (bytes, expected) in [
            (forged(24, 0), FrameError::Version(0)),
            (forged(24, 2), FrameError::Version(2)),
            (forged(24, u8::MAX), FrameError::Version(u8::MAX)),
            (forged(25, 0b100), FrameError::Attributes(0b100)),
            (forged(25, u8::MAX), FrameError::Attributes(u8::MAX)),
            (encoded(&length(0), seed()), FrameError::Length(0)),
            (encoded(&length(56), seed()), FrameError::Length(56)),
            (encoded(&length(65), seed()), FrameError::Length(65)),
            (encoded(&length(longest + 8), seed()), FrameError::Length(longest + 8)),
            (encoded(&length(u32::MAX), seed()), FrameError::Length(u32::MAX)),
            ([0; HEADER_BYTES], FrameError::Zeros),
            ([0xFF; HEADER_BYTES], FrameError::HeaderChecksum),
        ] {
            assert_eq!(FrameHeader::decode(&bytes, seed()), Err(expected));
        }
        for fits in [64, 72, longest] {
            assert!(FrameHeader::decode(&encoded(&length(fits), seed()), seed()).is_ok());
        }
        // Offsets end where numbers do.
        let base_offset = Offset::new(u64::MAX - 2);
        let past = FrameHeader { base_offset, ..sample() };
        let found = FrameHeader::decode(&encoded(&past, seed()), seed());
        assert_eq!(found, Err(FrameError::Length(past.length)));
        let last = FrameHeader { count: 2, ..past };
        assert_eq!(FrameHeader::decode(&encoded(&last, seed()), seed()), Ok(last));
        for len in 0..HEADER_BYTES {
            let bytes = encoded(&sample(), seed());
            assert_eq!(FrameHeader::decode(&bytes[..len], seed()), Err(FrameError::Short));
            assert!(!sample().encode(&mut bytes.to_vec()[..len], seed()));
        }
    }

    /// A frame would prove records durable that are not, or none where it does.
    #[test]
    fn what_a_lag_proves() {
        let mark = |base, durable_lag| {
            let base_offset = Offset::new(base);
            FrameHeader { base_offset, durable_lag, ..sample() }.durable_mark().map(Offset::value)
        };
        assert_eq!(mark(10, 0), Some(10));
        assert_eq!(mark(10, 10), Some(0));
        assert_eq!(mark(10, 11), None, "no offset lies below zero");
        assert_eq!(mark(u64::MAX, u32::MAX), None, "the largest lag says nothing");
    }

    /// A search by time would pass over a frame that holds what it looks for.
    #[test]
    fn the_largest_time_of_a_frame() {
        let time = |attributes, base: i64, delta| {
            let base_timestamp = Timestamp::from_millis(base);
            let header =
                FrameHeader { attributes, base_timestamp, max_time_delta: delta, ..sample() };
            header.max_timestamp().map(Timestamp::as_millis)
        };
        assert_eq!(time(0, 5, 5), None);
        assert_eq!(time(ATTRIBUTE_OWN_TIMES, 5, 5), Some(10));
        assert_eq!(time(ATTRIBUTE_OWN_TIMES, i64::MAX, 5), Some(i64::MAX));
        assert_eq!(time(ATTRIBUTE_APPEND_TIMES, 5, 5), Some(1_700_000_000_000));
        assert_eq!(time(ATTRIBUTES_KNOWN, 5, 5), Some(1_700_000_000_000));
        assert_eq!(time(ATTRIBUTES_KNOWN, i64::MAX - 1, 0), Some(i64::MAX - 1));
    }
}
