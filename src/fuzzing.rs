//! Doors for the fuzzer: what decodes private things, as functions over bytes. In no normal build.
//!
//! Each function tries the bytes as they are and once more under checksums that were made good, so
//! that chance need not find a checksum. It panics where something that it checks does not hold; its
//! callers catch nothing. The tests below run the committed inputs.

use std::path::Path;

use bytes::Bytes;

use crate::catalog;
use crate::format::batch::{LayDown, StoredBatch};
use crate::format::frame::{Claim, FrameHeader, HEADER_BYTES, Place, Seed};
use crate::format::head::{FileKind, HEAD_BYTES, Head};
use crate::format::index::{FOOTER_END_BYTES, Footer, Index};
use crate::format::layout::{
    journal_name, parse_journal_name, parse_number, parse_segment_name, partition_dir, segment_name,
};
use crate::group::offsets::{commit_change, pattern_change, read_groups};
use crate::limits::FRAME_BYTES_MAX;
use crate::offset::{Offset, PartitionId, ShardId, Timestamp, TopicId, TopicPartition};
use crate::storage::journal::Entries;
use crate::storage::manifest;

/// A frame, a head and a footer of a place: the first 24 bytes are the place.
///
/// # Panics
/// If something is decoded that the bytes do not hold.
pub fn frames(data: &[u8]) {
    let Some((place, bytes)) = data.split_first_chunk::<24>() else { return };
    let (slots, _) = place.as_chunks::<8>();
    let [topic, base, rest] = slots else { return };
    let [p0, p1, p2, p3, s0, s1, s2, s3] = *rest;
    let place = Place {
        shard: ShardId {
            topic: TopicId::new(u64::from_le_bytes(*topic)),
            partition: PartitionId::new(u32::from_le_bytes([p0, p1, p2, p3])),
        },
        base: Offset::new(u64::from_le_bytes(*base)),
        salt: u32::from_le_bytes([s0, s1, s2, s3]),
    };
    let seed = place.seed();
    frame(bytes, seed);
    head(bytes);
    footer(bytes, seed, place.base);
}

fn frame(bytes: &[u8], seed: Seed) {
    let _ = Claim::of(bytes);
    if let Ok(header) = FrameHeader::decode(bytes, seed) {
        batch(header, bytes, seed);
    }
    let mut forged = bytes.to_vec();
    let Some((fixed, body)) = forged.split_first_chunk_mut::<HEADER_BYTES>() else { return };
    set(fixed, 4, &u32::try_from(HEADER_BYTES + body.len()).unwrap_or(0).to_le_bytes());
    set(fixed, 16, &crc32fast::hash(body).to_le_bytes());
    let checksum = seed.checksum(fixed.get(4..).unwrap_or_default());
    set(fixed, 0, &checksum.to_le_bytes());
    if let Ok(header) = FrameHeader::decode(&forged, seed) {
        batch(header, &forged, seed);
    }
}

fn set(bytes: &mut [u8], at: usize, with: &[u8]) {
    if let Some(slot) = bytes.get_mut(at..at + with.len()) {
        slot.copy_from_slice(with);
    }
}

fn batch(header: FrameHeader, bytes: &[u8], seed: Seed) {
    assert!((HEADER_BYTES..=FRAME_BYTES_MAX).contains(&header.len()), "{header:?}");
    assert!(header.durable_mark().is_none_or(|mark| mark <= header.base_offset), "{header:?}");
    let Ok(stored) = StoredBatch::check(header, Bytes::copy_from_slice(bytes)) else { return };
    let Ok(topic) = "t".parse() else { return };
    let place = TopicPartition::new(topic, PartitionId::new(0));
    let records = stored.records(&place, Offset::ZERO);
    let mut taken = 0;
    for record in records {
        assert_eq!(record.headers().iter().count(), record.headers().len(), "{header:?}");
        assert!(record.offset() >= header.base_offset && record.offset() < header.end_offset());
        let _ = record.to_stored();
        taken += 1;
    }
    assert_eq!(taken, header.count, "records of {header:?}");
    let entries = stored.entries().count();
    assert_eq!(entries, usize::try_from(header.count).unwrap_or(0), "entries of {header:?}");
    let _ = stored.first_at_or_after(header.append_time, header.base_offset);
    // What recovery copies is what was there.
    let mut again = stored.to_batch();
    let at = LayDown {
        base_offset: header.base_offset,
        durable_end: Offset::ZERO,
        append_time: header.append_time,
    };
    let laid = again.lay_down(seed, at);
    assert_eq!(FrameHeader::decode(again.bytes(), seed), Ok(laid));
    assert!(StoredBatch::check(laid, again.into_bytes()).is_ok(), "{laid:?}");
    let mut index = Index::default();
    index.note(header.base_offset, &header, 64);
}

fn head(bytes: &[u8]) {
    for kind in [FileKind::Segment, FileKind::Journal] {
        let _ = Head::decode(bytes, kind);
        let mut forged = bytes.get(..HEAD_BYTES).unwrap_or_default().to_vec();
        let magic = match kind {
            FileKind::Segment => b"brookseg",
            FileKind::Journal => b"brookjnl",
        };
        set(&mut forged, 0, magic);
        let checksum = crc32fast::hash(forged.get(12..).unwrap_or_default());
        set(&mut forged, 8, &checksum.to_le_bytes());
        if let Ok(head) = Head::decode(&forged, kind) {
            assert_eq!(Head::decode(&head.encode(), kind), Ok(head));
        }
    }
}

fn footer(bytes: &[u8], seed: Seed, base: Offset) {
    let _ = Footer::length(bytes);
    let _ = Footer::decode(bytes, seed);
    let Some(entries) = bytes.len().checked_sub(FOOTER_END_BYTES) else { return };
    let mut forged = bytes.to_vec();
    set(&mut forged, entries, b"brookidx");
    set(&mut forged, entries + 12, &u32::try_from(entries / 16).unwrap_or(0).to_le_bytes());
    let (index, fixed) = forged.split_at(entries);
    let checked = [index, fixed.get(12..).unwrap_or_default()].concat();
    let checksum = seed.checksum(&checked);
    set(&mut forged, entries + 8, &checksum.to_le_bytes());
    let Some(footer) = Footer::decode(&forged, seed) else { return };
    assert_eq!(Footer::decode(&footer.encode(seed), seed).as_ref(), Some(&footer));
    for offset in [base, footer.end, footer.durable_end, Offset::new(u64::MAX)] {
        let _ = footer.index.frame_before(base, offset);
        let _ = footer.index.distance_to(base, offset);
        let _ = footer.index.frame_near(offset.value());
        let _ = footer
            .index
            .frame_of_time(base, Timestamp::from_millis(footer.last_append.as_millis()));
    }
}

/// The names of files and directories.
///
/// # Panics
/// If a name is taken for one that the log would not have written.
pub fn layout(name: &str) {
    if let Some((base, salt)) = parse_segment_name(name) {
        assert_eq!(segment_name(base, salt), name);
    }
    if let Some((generation, salt)) = parse_journal_name(name) {
        assert_eq!(journal_name(generation, salt), name);
    }
    if let Some(number) = parse_number(name) {
        assert_eq!(number.to_string(), name);
        let shard = ShardId { topic: TopicId::new(number), partition: PartitionId::new(0) };
        let dir = partition_dir(Path::new("log"), shard);
        assert_eq!(dir.components().count(), 4, "{}", dir.display());
    }
}

/// Entries of the catalog, the manifest and the journal of offsets: a key, and its value.
///
/// # Panics
/// If what was read of an entry is not what is written of it.
pub fn entries(data: &[u8]) {
    let Some((length, rest)) = data.split_first() else { return };
    let (key, value) = rest.split_at_checked(usize::from(*length)).unwrap_or((rest, &[]));
    if let Some((id, config)) = catalog::decode(value) {
        assert!(config.check().is_ok(), "{config:?}");
        assert_eq!(catalog::decode(&catalog::encode(id, &config)), Some((id, config)));
    }
    let _ = catalog::read_topics(&Entries::from([(key.to_vec(), value.to_vec())]));
    manifest::check_entry(key, value);
    let Ok(groups) = read_groups(&Entries::from([(key.to_vec(), value.to_vec())])) else { return };
    for (group, found) in &groups {
        let commits = found.committed.iter();
        let commits = commits.map(|(shard, at)| commit_change(group, *shard, Some(at)));
        let patterns = found.patterns.iter().map(|text| pattern_change(group, text, true));
        let changes = commits.chain(patterns).filter_map(|(key, value)| Some((key, value?)));
        let again: Entries = changes.collect();
        assert_eq!(read_groups(&again).ok().as_ref(), Some(&groups));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Runs every committed input of a target; there must be some.
    #[expect(clippy::disallowed_methods, reason = "the inputs lie in the repository")]
    fn replay(target: &str, run: impl Fn(&[u8])) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut count = 0;
        for entry in std::fs::read_dir(&dir).unwrap() {
            run(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "no inputs in {}", dir.display());
    }

    /// An input that once broke the decoding of frames, heads or footers would break it again.
    #[test]
    fn frames_of_the_corpus() {
        replay("frames", super::frames);
    }

    /// An input that once broke the decoding of names or entries would break it again.
    #[test]
    fn names_of_the_corpus() {
        replay("names", |data| {
            super::entries(data);
            if let Ok(name) = std::str::from_utf8(data) {
                super::layout(name);
            }
        });
    }
}
