//! Footers that lie under a good checksum, and lengths that lie under a bad one: both are hints, and
//! never believed over the data.

use brooklet::testing::SimDisk;
use brooklet::{Record, StartAt, Timestamp, TopicConfig};

use super::history::{
    History, SegmentFile, Stop, TOPIC, lost, open_log, read_all, segments_of, shown, small_disk,
};
use crate::format::parser::Footer;

/// A footer in place of a segment's own, its checksum computed anew.
fn with_footer(segment: &SegmentFile, entries: &[(u32, u32, i64)], footer: &Footer) -> Vec<u8> {
    let mut bytes = segment.bytes[..footer.frames_end as usize].to_vec();
    let mut checked = Vec::new();
    for (relative, position, time) in entries {
        checked.extend(relative.to_le_bytes());
        checked.extend(position.to_le_bytes());
        checked.extend(time.to_le_bytes());
    }
    bytes.extend(&checked);
    let mut fixed = u32::try_from(entries.len()).unwrap().to_le_bytes().to_vec();
    for word in [footer.frames_end, footer.end, footer.last_append as u64, footer.durable_end] {
        fixed.extend(word.to_le_bytes());
    }
    fixed.resize(52, 0);
    checked.extend(&fixed);
    bytes.extend(b"brookidx");
    bytes.extend(segment.parsed.head.place.checksum(&checked).to_le_bytes());
    bytes.extend(&fixed);
    bytes
}

/// Every lie about one entry's place: where it points, and which offset it says is there.
fn lies(
    segment: &SegmentFile,
    (relative, position, time): (u32, u32, i64),
) -> Vec<Vec<(u32, u32, i64)>> {
    let end = segment.bytes.len() as u32;
    let mut positions: Vec<u32> = (0..end + 64).step_by(4).collect();
    positions.extend([1, 65, u32::MAX, u32::MAX - 63]);
    let mut lies: Vec<Vec<_>> =
        positions.iter().map(|wrong| vec![(relative, *wrong, time)]).collect();
    for wrong in [1, 2, 3, 5, 1000, u32::MAX] {
        lies.push(vec![(wrong, position, time)]);
    }
    lies.push(Vec::new());
    // Out of order, and too many.
    lies.push(vec![(9, end, time), (0, position, time)]);
    lies.push(vec![(0, position, time); 300]);
    lies
}

/// A wrong index would skip records, or serve others for them.
#[test]
fn a_footer_that_lies_about_places_changes_nothing() {
    for stop in Stop::ALL {
        let history = History::new(stop);
        let mut lied = 0;
        for segment in &history.segments {
            let Some(footer) = &segment.parsed.footer else { continue };
            assert_eq!(with_footer(segment, &footer.entries, footer), segment.bytes);
            for entries in lies(segment, footer.entries[0]) {
                let disk = history.disk.fork();
                disk.write_file(&segment.path, &with_footer(segment, &entries, footer)).unwrap();
                let log = open_log(&disk).unwrap();
                let case = || format!("{stop:?}: {} with {entries:?}", shown(&segment.path));
                assert_eq!(read_all(&log, TOPIC).unwrap(), history.records, "{}", case());
                for offset in segment.offsets() {
                    let start = StartAt::Offset(offset.into());
                    let reader = log.reader(TOPIC).start_at(start).stop_at_end();
                    let first = reader.open().unwrap().next().unwrap().unwrap();
                    assert_eq!(first.offset().value(), offset, "{}", case());
                }
                let start = StartAt::Timestamp(Timestamp::from_millis(0));
                let mut reader = log.reader(TOPIC).start_at(start).stop_at_end().open().unwrap();
                assert_eq!(reader.next().unwrap().unwrap().offset().value(), 0, "{}", case());
                lied += 1;
            }
        }
        assert!(lied > 0, "{stop:?}: no footer to lie in");
    }
}

/// A log whose first segment has several index entries; its records carry rising times.
fn long_log() -> (SimDisk, SegmentFile) {
    let disk = small_disk(5);
    let log = open_log(&disk).unwrap();
    log.create_topic(TOPIC, TopicConfig::new().segment_bytes(160 * 1024)).unwrap();
    let producer = log.producer(TOPIC).unwrap();
    for number in 0..50_u8 {
        let time = Timestamp::from_millis(i64::from(number) * 10);
        producer.send(Record::new(&vec![number; 4000]).timestamp(time)).unwrap();
    }
    log.close().unwrap();
    let segment = segments_of(&disk, 1).remove(0);
    assert!(segment.parsed.footer.as_ref().unwrap().entries.len() > 3, "one entry proves little");
    (disk, segment)
}

/// A later entry that leads astray would lose the records between, or give an error for them.
#[test]
fn a_later_entry_that_lies_changes_nothing() {
    let (disk, segment) = long_log();
    let footer = segment.parsed.footer.as_ref().unwrap();
    let frames = &segment.parsed.frames;
    let elsewhere = frames.iter().map(|frame| frame.bytes.start as u32);
    let wrong: Vec<u32> = elsewhere.chain([0, 8, 1001, footer.frames_end as u32]).collect();
    let mut lied = 0;
    for index in 1..footer.entries.len() {
        let (relative, position, time) = footer.entries[index];
        let places = wrong.iter().filter(|wrong| **wrong != position);
        let lies = places.map(|wrong| (relative, *wrong, time));
        let offsets = [relative - 1, relative + 1, relative + 7, u32::MAX];
        for lie in lies.chain(offsets.map(|relative| (relative, position, time))) {
            let mut entries = footer.entries.clone();
            entries[index] = lie;
            let disk = disk.fork();
            disk.write_file(&segment.path, &with_footer(&segment, &entries, footer)).unwrap();
            let log = open_log(&disk).unwrap();
            for offset in segment.offsets() {
                let time = Timestamp::from_millis(offset.cast_signed() * 10);
                for start in [StartAt::Offset(offset.into()), StartAt::Timestamp(time)] {
                    let reader = log.reader(TOPIC).start_at(start).stop_at_end();
                    let first = reader.open().unwrap().next().unwrap().unwrap();
                    let found = (first.offset().value(), first.value().unwrap()[0]);
                    assert_eq!(found, (offset, offset as u8), "{start:?} with {lie:?}");
                }
            }
            lied += 1;
        }
    }
    assert!(lied > 100, "only {lied} lies were told");
}

/// A reader that hops from length to length would be led past a record, or into the middle of one.
#[test]
fn a_length_on_the_way_that_lies_misleads_nobody() {
    let (disk, segment) = long_log();
    let frames = &segment.parsed.frames;
    for (liar, frame) in frames.iter().enumerate() {
        let start = frame.bytes.start;
        let lengths = frames[liar + 1..].iter().map(|later| (later.bytes.start - start) as u32);
        let honest = frame.bytes.len() as u32;
        let lies = lengths.chain([0, 8, 64, 72, u32::MAX]).filter(|length| *length != honest);
        let lies = lies.map(|length| (4, u64::from(length), 4));
        let bases = [0, 1, 49, u64::MAX].map(|base| (8, base, 8));
        for (at, lie, len) in lies.chain(bases.into_iter().filter(|lie| lie.1 != liar as u64)) {
            let disk = disk.fork();
            let mut bytes = segment.bytes.clone();
            bytes[start + at..][..len].copy_from_slice(&lie.to_le_bytes()[..len]);
            disk.write_file(&segment.path, &bytes).unwrap();
            let log = open_log(&disk).unwrap();
            for offset in segment.offsets() {
                let reader = log.reader(TOPIC).start_at(StartAt::Offset(offset.into()));
                let mut reader = reader.fetch_bytes(1024).stop_at_end().open().unwrap();
                let first = reader.next().unwrap();
                let what = || format!("offset {offset} where frame {liar} says {lie}");
                if offset == liar as u64 {
                    let error = first.unwrap_err();
                    assert_eq!(lost(&error), Some(offset..offset + 1), "{}: {error}", what());
                } else {
                    let first = first.unwrap();
                    let found = (first.offset().value(), first.value().unwrap()[0]);
                    assert_eq!(found, (offset, offset as u8), "{}", what());
                }
            }
        }
    }
}

/// A footer of another segment, as a misdirected write leaves it, would be believed here.
#[test]
fn a_footer_of_another_place_is_no_footer() {
    for stop in Stop::ALL {
        let history = History::new(stop);
        let [one, other, _] = &history.segments[..] else { panic!("three segments") };
        let foreign = other.parsed.footer.as_ref().unwrap();
        let own = one.parsed.footer.as_ref().unwrap();
        let disk = history.disk.fork();
        let mut bytes = one.bytes[..own.bytes.start].to_vec();
        bytes.extend(&other.bytes[foreign.bytes.clone()]);
        disk.write_file(&one.path, &bytes).unwrap();
        assert_eq!(read_all(&open_log(&disk).unwrap(), TOPIC).unwrap(), history.records);
    }
}
