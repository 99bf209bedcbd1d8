//! The first bytes of every file: what it is, which version wrote it, and its place.
//!
//! A head is evidence, not authority: the manifest says which files make up a partition, and every
//! frame proves its own place. A damaged head therefore loses nothing; a good head of a newer
//! version is refused.

use crate::format::frame::{FORMAT_VERSION, Place};
use crate::offset::{Offset, PartitionId, ShardId, Timestamp, TopicId};

/// The size of a file's head; the first frame starts behind it.
pub(crate) const HEAD_BYTES: usize = 64;

/// What kind of file it is, by its first eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Segment,
    Journal,
}

impl FileKind {
    fn magic(self) -> [u8; 8] {
        match self {
            Self::Segment => *b"brookseg",
            Self::Journal => *b"brookjnl",
        }
    }
}

/// Why bytes are not a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("fewer bytes than a file head")]
    Short,
    #[error("file does not start as a brooklet file of this kind")]
    Magic,
    #[error("file head checksum does not match")]
    Checksum,
    #[error("format version {found} found, this build reads up to {}", FORMAT_VERSION)]
    Version { found: u32 },
}

/// The head of a segment or journal file.
///
/// ```text
///  byte 0                8        12       16               24        28       32
///       ┌────────────────┬────────┬────────┬────────────────┬─────────┬────────┐
///       │ magic          │ crc of │version │ topic id       │partition│ salt   │
///       │                │ 12..64 │        │                │         │        │
///  32   ├────────────────┼────────┴────────┼────────────────┼─────────┴────────┤
///       │ base offset    │ created         │ mark           │ zeros            │
///       └────────────────┴─────────────────┴────────────────┴──────────────────┘
///       32               40                48               56                 64
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: FileKind,
    pub(crate) place: Place,
    /// When the file was begun.
    pub(crate) created: Timestamp,
    /// Everything below this offset was durable before the file got its name.
    pub(crate) mark: Offset,
}

impl Head {
    pub(crate) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let [m0, m1, m2, m3, m4, m5, m6, m7] = self.kind.magic();
        let partition = self.place.shard.partition.value();
        let words = [
            u64::from_le_bytes([m0, m1, m2, m3, m4, m5, m6, m7]),
            u64::from(FORMAT_VERSION) << 32,
            self.place.shard.topic.value(),
            u64::from(partition) | u64::from(self.place.salt) << 32,
            self.place.base.value(),
            self.created.as_millis().cast_unsigned(),
            self.mark.value(),
            0,
        ];
        let (slots, _) = bytes.as_chunks_mut::<8>();
        for (slot, word) in slots.iter_mut().zip(words) {
            *slot = word.to_le_bytes();
        }
        let (before, covered) = bytes.split_at_mut(CHECKED_FROM);
        let checksum = crc32fast::hash(covered).to_le_bytes();
        if let Some(slot) = before.last_chunk_mut::<4>() {
            *slot = checksum;
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8], kind: FileKind) -> Result<Self, HeadError> {
        let bytes = bytes.first_chunk::<HEAD_BYTES>().ok_or(HeadError::Short)?;
        let (before, covered) = bytes.split_at(CHECKED_FROM);
        if before.first_chunk() != Some(&kind.magic()) {
            return Err(HeadError::Magic);
        }
        if before.last_chunk() != Some(&crc32fast::hash(covered).to_le_bytes()) {
            return Err(HeadError::Checksum);
        }
        let (slots, _) = bytes.as_chunks::<8>();
        let mut words = [0; HEAD_BYTES / 8];
        for (word, slot) in words.iter_mut().zip(slots) {
            *word = u64::from_le_bytes(*slot);
        }
        let [_magic, version, topic, partition_and_salt, base, created, mark, _] = words;
        let [_, _, _, _, v0, v1, v2, v3] = version.to_le_bytes();
        let version = u32::from_le_bytes([v0, v1, v2, v3]);
        if version != u32::from(FORMAT_VERSION) {
            return Err(HeadError::Version { found: version });
        }
        let [p0, p1, p2, p3, s0, s1, s2, s3] = partition_and_salt.to_le_bytes();
        let partition = PartitionId::new(u32::from_le_bytes([p0, p1, p2, p3]));
        Ok(Self {
            kind,
            place: Place {
                shard: ShardId { topic: TopicId::new(topic), partition },
                base: Offset::new(base),
                salt: u32::from_le_bytes([s0, s1, s2, s3]),
            },
            created: Timestamp::from_millis(created.cast_signed()),
            mark: Offset::new(mark),
        })
    }
}

/// The head's checksum covers everything behind it.
const CHECKED_FROM: usize = 12;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn heads() -> impl Strategy<Value = Head> {
        let kind = prop_oneof![Just(FileKind::Segment), Just(FileKind::Journal)];
        let numbers = (any::<u64>(), any::<u32>(), any::<u64>(), any::<u32>());
        (kind, numbers, any::<i64>(), any::<u64>()).prop_map(|(kind, numbers, created, mark)| {
            let (topic, partition, base, salt) = numbers;
            let shard =
                ShardId { topic: TopicId::new(topic), partition: PartitionId::new(partition) };
            Head {
                kind,
                place: Place { shard, base: Offset::new(base), salt },
                created: Timestamp::from_millis(created),
                mark: Offset::new(mark),
            }
        })
    }

    fn sample() -> Head {
        let shard = ShardId { topic: TopicId::new(7), partition: PartitionId::new(3) };
        let place = Place { shard, base: Offset::new(4096), salt: 0xdead_beef };
        let created = Timestamp::from_millis(-2);
        Head { kind: FileKind::Segment, place, created, mark: Offset::new(4000) }
    }

    /// The sample as a build of another version would write it.
    fn of_version(version: u32) -> [u8; HEAD_BYTES] {
        let mut bytes = sample().encode();
        bytes[12..16].copy_from_slice(&version.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[CHECKED_FROM..]);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    proptest! {
        /// A file would seem to belong elsewhere than it does.
        #[test]
        fn heads_come_back(head in heads()) {
            prop_assert_eq!(Head::decode(&head.encode(), head.kind), Ok(head));
        }

        /// Damage to a head would be believed, or stop the program.
        #[test]
        fn a_head_with_any_byte_changed_is_refused(at in 0..HEAD_BYTES, by in 1..=u8::MAX) {
            let mut bytes = sample().encode();
            bytes[at] ^= by;
            let expected = if at < 8 { HeadError::Magic } else { HeadError::Checksum };
            prop_assert_eq!(Head::decode(&bytes, FileKind::Segment), Err(expected));
        }

        /// Some bytes would stop the program.
        #[test]
        fn any_bytes_can_be_looked_at(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Head::decode(&bytes, FileKind::Segment).is_err());
            prop_assert!(Head::decode(&bytes, FileKind::Journal).is_err());
        }
    }

    /// A head could move unnoticed: these bytes are version 1 for ever.
    #[test]
    fn the_bytes_of_a_head() {
        let mut expected = b"brookseg".to_vec();
        expected.extend([0; 4]);
        expected.extend([1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0xef, 0xbe, 0xad, 0xde]);
        expected.extend([0, 16, 0, 0, 0, 0, 0, 0, 0xfe, 255, 255, 255, 255, 255, 255, 255]);
        expected.extend([0xa0, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let checksum = crc32fast::hash(&expected[12..]);
        expected[8..12].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(sample().encode()[..], expected);
    }

    /// A newer file would be called damaged, or be read and written to by an older build.
    #[test]
    fn another_version_is_told_from_damage() {
        for found in [0, 2, u32::MAX] {
            let decoded = Head::decode(&of_version(found), FileKind::Segment);
            assert_eq!(decoded, Err(HeadError::Version { found }));
        }
        let other = Head::decode(&of_version(2), FileKind::Journal);
        assert_eq!(other, Err(HeadError::Magic), "a segment is no journal of any version");
        let bytes = sample().encode();
        for len in 0..HEAD_BYTES {
            assert_eq!(Head::decode(&bytes[..len], FileKind::Segment), Err(HeadError::Short));
        }
    }
}
