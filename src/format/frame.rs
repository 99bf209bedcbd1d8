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

    /// The length that a header claims, which is nothing to rely on.
    pub(crate) fn claimed_length(bytes: &[u8]) -> Option<usize> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let (sizes, _) = header.split_first_chunk::<8>()?;
        let (_checksum, length) = halves(u64::from_le_bytes(*sizes));
        usize::try_from(length).ok()
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
