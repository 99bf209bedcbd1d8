//! Records that hold frames, and whole files, of the very log that they stand in.

use brooklet::testing::SimDisk;
use brooklet::{Acks, ErrorKind, Record, SyncPolicy, TopicConfig};

use crate::damage::history::{
    Read, SegmentFile, TOPIC, appends, lost, open_log, read_all, read_over, segments_of, small_disk,
};
use crate::format::parser::Frame;
use crate::pace::some;

/// A log in which a record holds a copy of the segment file that it stands in.
struct Nested {
    disk: SimDisk,
    segment: SegmentFile,
    records: Vec<Read>,
}

/// Offsets of the record that holds the file, and of the one behind it.
const OUTER: u64 = 5;

impl Nested {
    fn new(policy: SyncPolicy, is_followed: bool) -> Self {
        let disk = small_disk(11);
        let log = open_log(&disk).unwrap();
        log.create_topic(TOPIC, TopicConfig::new().sync(policy)).unwrap();
        let producer = log.producer(TOPIC).unwrap().acks(Acks::Written);
        for number in 0..OUTER {
            producer.send(Record::new(&format!("record {number}"))).unwrap();
        }
        let inner = segments_of(&disk, 1).remove(0);
        // With a key of four bytes the value, and the frames in it, start at a multiple of eight.
        producer.send(Record::new(&inner.bytes).key("file")).unwrap();
        if is_followed {
            producer.send(Record::new("behind")).unwrap();
        }
        let records = read_all(&log, TOPIC).unwrap();
        drop(log);
        let segment = segments_of(&disk, 1).remove(0);
        let nested = Self { disk, segment, records };
        let value = nested.outer().bytes.start + 64 + 12 + 4;
        assert!(value.is_multiple_of(8) && nested.segment.bytes[value..].starts_with(&inner.bytes));
        nested
    }

    fn outer(&self) -> &Frame {
        let mut frames = self.segment.parsed.frames.iter();
        frames.find(|frame| frame.base_offset == OUTER).unwrap()
    }
}

/// What a record holds would be taken for records once the record around it is torn.
#[test]
fn frames_inside_a_torn_record_are_not_records() {
    for policy in [SyncPolicy::Always, SyncPolicy::Never] {
        let nested = Nested::new(policy, false);
        let outer = nested.outer().bytes.clone();
        let whole = nested.segment.bytes.len();
        for cut in some(outer.start + 1..outer.end, 7) {
            for filled in [cut, whole, whole + 4096] {
                let disk = nested.disk.fork();
                let mut file = nested.segment.bytes[..cut].to_vec();
                file.resize(filled, 0);
                if file.get(outer.clone()) == Some(&nested.segment.bytes[outer.clone()]) {
                    continue;
                }
                disk.write_file(&nested.segment.path, &file).unwrap();
                let log = open_log(&disk).unwrap();
                let case = format!("{policy:?}: cut at {cut}, filled to {filled}");
                let expected = &nested.records[..usize::try_from(OUTER).unwrap()];
                assert_eq!(read_all(&log, TOPIC).unwrap(), expected, "{case}");
                assert!(!log.recovery().is_whole(), "{case}: {:?}", log.recovery());
                appends(&log, TOPIC, OUTER);
            }
        }
    }
}

/// What a record holds would be taken for records once the header around it is damaged.
#[test]
fn frames_inside_a_damaged_record_are_not_records() {
    let nested = Nested::new(SyncPolicy::Always, true);
    let outer = nested.outer().bytes.clone();
    for bit in some(8 * outer.start as u64..8 * outer.end as u64, 7) {
        let disk = nested.disk.fork();
        disk.flip_bit(&nested.segment.path, bit).unwrap();
        let log = open_log(&disk).unwrap();
        let (records, errors) = read_over(&log, TOPIC).unwrap();
        let mut expected = nested.records.clone();
        expected.remove(usize::try_from(OUTER).unwrap());
        assert_eq!(records, expected, "bit {bit}");
        let [error] = &errors[..] else { panic!("bit {bit}: {errors:?}") };
        assert_eq!(error.kind(), ErrorKind::Corrupt, "bit {bit}: {error}");
        assert_eq!(error.byte(), Some(outer.start as u64), "bit {bit}: {error}");
        assert_eq!(lost(error), Some(OUTER..OUTER + 1), "bit {bit}: {error}");
    }
}
