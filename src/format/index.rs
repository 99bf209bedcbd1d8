//! The sparse index of one segment, and the footer that keeps it.
//!
//! One entry per 32 KiB of frames says where to start looking for an offset or a time. An index is
//! derived: it can always be built again from the frames, a missing or damaged one is no error, and
//! whoever uses an entry checks the frame that it leads to. It is never evidence of what the
//! segment holds.

use crate::format::frame::{FrameHeader, Seed};
use crate::limits::INDEX_INTERVAL_BYTES;
use crate::offset::{Offset, Timestamp};

const ENTRY_BYTES: usize = 16;
/// The fixed end of a footer, which is the end of its file.
pub(crate) const FOOTER_END_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"brookidx";

/// One stretch of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// The first offset of the stretch, counted from the segment's base.
    relative_offset: u32,
    /// Where its first frame starts in the file.
    position: u32,
    /// The largest record timestamp from the segment's start to the end of this stretch.
    max_timestamp: Timestamp,
}

/// Where to look for an offset or a time in one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    entries: Vec<Entry>,
}

impl Index {
    /// Takes note of a frame that stands at `position`; frames come in order.
    pub(crate) fn note(&mut self, base: Offset, header: &FrameHeader, position: u32) {
        let time = header.max_timestamp();
        if let Some(last) = self.entries.last_mut()
            && u64::from(position.saturating_sub(last.position)) < INDEX_INTERVAL_BYTES
        {
            last.max_timestamp =
                time.map_or(last.max_timestamp, |time| last.max_timestamp.max(time));
            return;
        }
        let relative = header.base_offset.value().saturating_sub(base.value());
        let Ok(relative_offset) = u32::try_from(relative) else { return };
        let before = self.entries.last().map(|entry| entry.max_timestamp);
        let Some(max_timestamp) = before.max(time) else { return };
        self.entries.push(Entry { relative_offset, position, max_timestamp });
    }

    /// The last indexed frame that starts at or before `offset`: its position and its own offset.
    pub(crate) fn frame_before(&self, base: Offset, offset: Offset) -> Option<(u64, Offset)> {
        let relative = offset.value().saturating_sub(base.value());
        let behind =
            self.entries.partition_point(|entry| u64::from(entry.relative_offset) <= relative);
        let entry = self.entries.get(behind.checked_sub(1)?)?;
        let own = base.checked_add(u64::from(entry.relative_offset))?;
        Some((u64::from(entry.position), own))
    }

    /// About how far behind its indexed frame an offset stands, going by how many stand there.
    pub(crate) fn distance_to(&self, base: Offset, offset: Offset) -> u64 {
        let relative = offset.value().saturating_sub(base.value());
        let behind =
            self.entries.partition_point(|entry| u64::from(entry.relative_offset) <= relative);
        let at = |number: Option<usize>| number.and_then(|number| self.entries.get(number));
        let Some(entry) = at(behind.checked_sub(1)) else { return 0 };
        let Some(next) = at(Some(behind)) else { return INDEX_INTERVAL_BYTES };
        let offsets = u64::from(next.relative_offset.saturating_sub(entry.relative_offset)).max(1);
        let bytes = u64::from(next.position.saturating_sub(entry.position));
        // An index that is out of order leads anywhere, but not out of range.
        relative.saturating_sub(u64::from(entry.relative_offset)).saturating_mul(bytes) / offsets
    }

    /// The last indexed frame that starts at or before byte `position`, as its own position.
    pub(crate) fn frame_near(&self, position: u64) -> Option<u64> {
        let behind = self.entries.partition_point(|entry| u64::from(entry.position) <= position);
        self.entries.get(behind.checked_sub(1)?).map(|entry| u64::from(entry.position))
    }

    /// An indexed frame at or before the first one that holds a record of `time` or later: its
    /// position and its own offset.
    ///
    /// `None` says that no indexed stretch holds one.
    pub(crate) fn frame_of_time(&self, base: Offset, time: Timestamp) -> Option<(u64, Offset)> {
        let found = self.entries.partition_point(|entry| entry.max_timestamp < time);
        let entry = self.entries.get(found)?;
        let own = base.checked_add(u64::from(entry.relative_offset))?;
        Some((u64::from(entry.position), own))
    }

    /// Whether the first stretch begins with the segment, as it must for an index that misses
    /// nothing.
    pub(crate) fn begins_at(&self, position: u64) -> bool {
        self.entries.first().is_some_and(|first| {
            first.relative_offset == 0 && u64::from(first.position) == position
        })
    }

    /// How many stretches are indexed.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// What a sealed segment says of itself behind its last frame.
///
/// ```text
///       ┌─────────────────────┬───────────────────┬──────────────────────────┐
///       │ relative offset u32 │ position u32      │ max timestamp i64        │  once per entry
///       ├────────┬────────┬───┴────┬──────────────┼──────────┬───────────────┤
///       │ magic  │ crc    │entries │ frames end   │ end      │ last append   │
///       │ 8      │ u32    │ u32    │ u64          │ offset 8 │ time i64      │
///       ├────────┴────────┴────────┼──────────────┴──────────┴───────────────┤
///       │ durable end u64          │ zeros                                   │  64 bytes
///       └──────────────────────────┴─────────────────────────────────────────┘
/// ```
///
/// The crc starts from the segment's place and covers the entries and the fixed end, its own four
/// bytes left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) index: Index,
    /// Where the frames end in the file, and the footer begins.
    pub(crate) frames_end: u64,
    /// The offset behind the segment's last record.
    pub(crate) end: Offset,
    pub(crate) last_append: Timestamp,
    /// The durable end of the partition when the segment was sealed.
    pub(crate) durable_end: Offset,
}

impl Footer {
    pub(crate) fn encode(&self, seed: Seed) -> Vec<u8> {
        let entries = &self.index.entries;
        let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES + FOOTER_END_BYTES);
        for entry in entries {
            bytes.extend_from_slice(&entry.relative_offset.to_le_bytes());
            bytes.extend_from_slice(&entry.position.to_le_bytes());
            bytes.extend_from_slice(&entry.max_timestamp.as_millis().to_le_bytes());
        }
        let fixed = self.encode_fixed();
        let checksum = seed.checksum(&[&bytes[..], &fixed].concat());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&fixed);
        bytes
    }

    fn encode_fixed(&self) -> [u8; FIXED_BYTES] {
        let entries = u32::try_from(self.index.entries.len()).unwrap_or(u32::MAX);
        let mut bytes = [0; FIXED_BYTES];
        let fields = entries.to_le_bytes().into_iter();
        let fields = fields
            .chain(self.frames_end.to_le_bytes())
            .chain(self.end.value().to_le_bytes())
            .chain(self.last_append.as_millis().to_le_bytes())
            .chain(self.durable_end.value().to_le_bytes());
        for (slot, byte) in bytes.iter_mut().zip(fields) {
            *slot = byte;
        }
        bytes
    }

    /// How long the whole footer is, read from the last [`FOOTER_END_BYTES`] of its file; none if
    /// that is no footer.
    pub(crate) fn length(end: &[u8]) -> Option<u64> {
        let rest = end.strip_prefix(&MAGIC)?;
        let (_checksum, rest) = rest.split_first_chunk::<4>()?;
        let entries = u64::from(u32::from_le_bytes(*rest.first_chunk::<4>()?));
        Some(entries * ENTRY_BYTES as u64 + FOOTER_END_BYTES as u64)
    }

    /// Reads a whole footer; none if it is damaged or belongs elsewhere.
    pub(crate) fn decode(bytes: &[u8], seed: Seed) -> Option<Self> {
        let (entry_bytes, end) =
            bytes.split_at_checked(bytes.len().checked_sub(FOOTER_END_BYTES)?)?;
        let rest = end.strip_prefix(&MAGIC)?;
        let (checksum, fixed) = rest.split_first_chunk::<4>()?;
        if seed.checksum(&[entry_bytes, fixed].concat()).to_le_bytes() != *checksum {
            return None;
        }
        let (count, fixed) = fixed.split_first_chunk::<4>()?;
        let (slots, _) = fixed.as_chunks::<8>();
        let [frames_end, end, last_append, durable_end, ..] = slots else { return None };
        let (entry_slots, trailing) = entry_bytes.as_chunks::<ENTRY_BYTES>();
        let counted = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        if !trailing.is_empty() || entry_slots.len() != counted {
            return None;
        }
        let entries = entry_slots.iter().map(decode_entry).collect();
        Some(Self {
            index: Index { entries },
            frames_end: u64::from_le_bytes(*frames_end),
            end: Offset::new(u64::from_le_bytes(*end)),
            last_append: Timestamp::from_millis(i64::from_le_bytes(*last_append)),
            durable_end: Offset::new(u64::from_le_bytes(*durable_end)),
        })
    }
}

/// The fixed end without its magic and checksum.
const FIXED_BYTES: usize = FOOTER_END_BYTES - 12;

fn decode_entry(slot: &[u8; ENTRY_BYTES]) -> Entry {
    let [o0, o1, o2, o3, p0, p1, p2, p3, t0, t1, t2, t3, t4, t5, t6, t7] = *slot;
    Entry {
        relative_offset: u32::from_le_bytes([o0, o1, o2, o3]),
        position: u32::from_le_bytes([p0, p1, p2, p3]),
        max_timestamp: Timestamp::from_millis(i64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7])),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::frame::{ATTRIBUTE_OWN_TIMES, Place};
    use crate::offset::{PartitionId, ShardId, TopicId};

    const BASE: u64 = 1_000;
    const HEAD: u64 = 64;

    fn seed() -> Seed {
        let shard = ShardId { topic: TopicId::new(1), partition: PartitionId::new(0) };
        Place { shard, base: Offset::new(BASE), salt: 5 }.seed()
    }

    /// An index of frames of `lengths`, each with one record of the time that stands with it.
    fn index_of(frames: &[(u32, i64)]) -> (Index, Vec<(u64, Offset, Timestamp)>) {
        let mut index = Index::default();
        let mut noted = Vec::new();
        let mut position = HEAD;
        for ((length, time), offset) in frames.iter().zip(BASE..) {
            let header = FrameHeader {
                length: *length,
                base_offset: Offset::new(offset),
                body_checksum: 0,
                count: 1,
                attributes: ATTRIBUTE_OWN_TIMES,
                durable_lag: 0,
                append_time: Timestamp::from_millis(0),
                base_timestamp: Timestamp::from_millis(*time),
                max_time_delta: 0,
            };
            index.note(Offset::new(BASE), &header, u32::try_from(position).unwrap());
            noted.push((position, header.base_offset, Timestamp::from_millis(*time)));
            position += u64::from(*length);
        }
        (index, noted)
    }

    fn footer(index: Index) -> Footer {
        Footer {
            index,
            frames_end: 70_000,
            end: Offset::new(1_040),
            last_append: Timestamp::from_millis(-3),
            durable_end: Offset::new(1_039),
        }
    }

    fn frames() -> impl Strategy<Value = Vec<(u32, i64)>> {
        let length = (8_u32..10_000).prop_map(|eighths| eighths * 8);
        prop::collection::vec((length, -50_i64..50), 0..60)
    }

    proptest! {
        /// A look-up would begin behind what it looks for, or needlessly far before it.
        #[test]
        fn an_offset_is_found_at_or_behind_its_entry(frames in frames()) {
            let (index, noted) = index_of(&frames);
            for (position, offset, _) in &noted {
                let (at, own) = index.frame_before(Offset::new(BASE), *offset).unwrap();
                prop_assert!(noted.iter().any(|(found, of, _)| (*found, *of) == (at, own)));
                prop_assert!(at <= *position && position - at < INDEX_INTERVAL_BYTES);
            }
            prop_assert_eq!(index.begins_at(HEAD), !frames.is_empty());
        }

        /// One read would bring far more than the way to a frame, or end before its stretch begins.
        #[test]
        fn a_distance_stays_within_its_stretch(frames in frames()) {
            let (index, noted) = index_of(&frames);
            let base = Offset::new(BASE);
            for (position, offset, _) in &noted {
                let (at, own) = index.frame_before(base, *offset).unwrap();
                let way = index.distance_to(base, *offset);
                let longest = frames.iter().map(|(length, _)| u64::from(*length)).max().unwrap_or(0);
                prop_assert!(way <= INDEX_INTERVAL_BYTES + longest, "{} from {} to {}", way, at, position);
                prop_assert!(*offset != own || way == 0 || way == INDEX_INTERVAL_BYTES);
            }
        }

        /// A search by time would begin behind the first record that it should find.
        #[test]
        fn a_time_is_found_at_or_behind_its_entry(frames in frames(), time in -60_i64..60) {
            let (index, noted) = index_of(&frames);
            let time = Timestamp::from_millis(time);
            let first = noted.iter().find(|(_, _, own)| *own >= time);
            match (first, index.frame_of_time(Offset::new(BASE), time)) {
                (Some((position, offset, _)), Some((at, own))) => {
                    prop_assert!(at <= *position && own <= *offset);
                    prop_assert!(noted.iter().any(|(found, of, _)| (*found, *of) == (at, own)));
                }
                (None, None) => {}
                (first, found) => prop_assert!(false, "{first:?}, but {found:?}"),
            }
        }

        /// A footer would say something else than the segment that it was written for.
        #[test]
        fn footers_come_back(frames in frames()) {
            let footer = footer(index_of(&frames).0);
            let bytes = footer.encode(seed());
            let end = &bytes[bytes.len() - FOOTER_END_BYTES..];
            prop_assert_eq!(Footer::length(end), Some(bytes.len() as u64));
            prop_assert_eq!(Footer::decode(&bytes, seed()), Some(footer));
        }

        /// A damaged footer would be believed, or stop the program.
        #[test]
        fn a_footer_with_any_byte_changed_is_none(at in any::<prop::sample::Index>(), by in 1..=u8::MAX) {
            let mut bytes = footer(index_of(&[(40_000, 1), (40_000, 2)]).0).encode(seed());
            let at = at.index(bytes.len());
            bytes[at] ^= by;
            prop_assert_eq!(Footer::decode(&bytes, seed()), None);
        }

        /// Some bytes would stop the program.
        #[test]
        fn any_bytes_can_be_looked_at(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Footer::decode(&bytes, seed()), None);
            let _ = Footer::length(&bytes);
            let _ = Footer::length(&[&MAGIC[..], &bytes].concat());
        }
    }

    /// A count that its footer contradicts would be believed, or overflow.
    #[test]
    fn a_footer_that_contradicts_itself_is_none() {
        let good = footer(index_of(&[(40_000, 1), (40_000, 2)]).0).encode(seed());
        let entries = good.len() - FOOTER_END_BYTES;
        for count in [0, 1, 3, u32::MAX] {
            let mut bytes = good.clone();
            bytes[entries + 12..entries + 16].copy_from_slice(&count.to_le_bytes());
            let checked = [&bytes[..entries], &bytes[entries + 12..]].concat();
            let checksum = seed().checksum(&checked);
            bytes[entries + 8..entries + 12].copy_from_slice(&checksum.to_le_bytes());
            assert_eq!(Footer::decode(&bytes, seed()), None, "{count}");
            let length = u64::from(count) * 16 + 64;
            assert_eq!(Footer::length(&bytes[entries..]), Some(length));
        }
        let shard = ShardId { topic: TopicId::new(1), partition: PartitionId::new(1) };
        let elsewhere = Place { shard, base: Offset::new(BASE), salt: 5 }.seed();
        assert_eq!(Footer::decode(&good, elsewhere), None);
        for len in 0..good.len() {
            assert_eq!(Footer::decode(&good[..len], seed()), None);
            assert_eq!(Footer::decode(&good[good.len() - len..], seed()), None);
        }
    }
}
