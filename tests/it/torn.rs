//! Torn tails: what a crash leaves of the last write is told, cut off, and written over cleanly.

mod embedded;

use brooklet::testing::SimDisk;
use brooklet::{Acks, Log, Record, SyncPolicy, TopicConfig};

use crate::damage::history::{
    Read, SegmentFile, TOPIC, appends, open_log, read_all, segments_of, small_disk,
};
use crate::pace::{share, some};

/// What lies behind the bytes of the last write that reached the disk.
#[derive(Clone, Copy, Debug)]
enum Filler {
    Absent,
    Zeros,
    Ones,
    Random,
    /// The rest of a longer record that stood there before.
    Older,
}

impl Filler {
    const ALL: [Self; 5] = [Self::Absent, Self::Zeros, Self::Ones, Self::Random, Self::Older];

    /// Bytes for the place of `last`, which would have been written; `older` is what was there.
    fn bytes(self, last: &[u8], older: &[u8], cut: usize) -> Vec<u8> {
        let rest = last.len() - cut;
        match self {
            Self::Absent => Vec::new(),
            Self::Zeros => vec![0; rest],
            Self::Ones => vec![0xFF; rest],
            Self::Random => (cut..last.len()).map(noise).collect(),
            Self::Older => older[cut.min(older.len())..].to_vec(),
        }
    }
}

/// A byte that looks like any other (the finaliser of MurmurHash3).
fn noise(at: usize) -> u8 {
    let mut word = (at as u32).wrapping_add(0x9E37_79B9);
    for factor in [0x85EB_CA6B, 0xC2B2_AE35_u32] {
        word = (word ^ (word >> 15)).wrapping_mul(factor);
    }
    (word >> 24) as u8
}

/// A log whose last write is about to be torn.
struct Wreck {
    disk: SimDisk,
    segment: SegmentFile,
    records: Vec<Read>,
    /// Where the last write begins, and how many frames and records stand before it.
    at: usize,
    frames: usize,
    /// What was written there before, longer, by a session that is forgotten.
    older: Vec<u8>,
    older_record: Read,
}

impl Wreck {
    fn new(policy: SyncPolicy) -> Self {
        let disk = small_disk(9);
        let log = open_log(&disk).unwrap();
        log.create_topic(TOPIC, TopicConfig::new().sync(policy)).unwrap();
        for number in 0..6 {
            send(&log, &[&format!("record {number}")]);
        }
        log.close().unwrap();
        drop(log);
        let before = segments_of(&disk, 1).remove(0);
        // The same file goes on in two ways, as it does when a write is torn and made again.
        let fork = disk.fork();
        let log = open_log(&fork).unwrap();
        send(&log, &[&"older and longer ".repeat(20)]);
        let older_record = read_all(&log, TOPIC).unwrap().pop().unwrap();
        let older = segments_of(&fork, 1).remove(0).bytes;

        let log = open_log(&disk).unwrap();
        send(&log, &["the last", "batch has", "three records"]);
        send(&log, &["and one behind"]);
        let records = read_all(&log, TOPIC).unwrap();
        drop(log);
        let segment = segments_of(&disk, 1).remove(0);
        let at = before.bytes.len();
        assert_eq!(segment.path, before.path, "a clean close lets the segment go on");
        assert!(segment.bytes.starts_with(&before.bytes) && older.starts_with(&before.bytes));
        let frames = before.parsed.frames.len();
        Self { disk, segment, records, at, frames, older: older[at..].to_vec(), older_record }
    }

    /// Writes `tail` where the last write began, recovers, and goes on.
    fn recovers(&self, tail: &[u8], case: &str) -> bool {
        let disk = self.disk.fork();
        let file = [&self.segment.bytes[..self.at], tail].concat();
        disk.write_file(&self.segment.path, &file).unwrap();
        let (records, kept) = self.expected(tail);
        let torn = &tail[kept..];
        let is_torn = torn.iter().any(|byte| *byte != 0);

        let log = open_log(&disk).unwrap();
        assert_eq!(read_all(&log, TOPIC).unwrap(), records, "{case}");
        let report = log.recovery();
        let told: u64 = report.partitions.iter().map(|found| found.torn_bytes).sum();
        let torn_bytes = if is_torn { torn.len() as u64 } else { 0 };
        assert_eq!(told, torn_bytes, "{case}: {report:?}");
        assert_eq!(report.is_whole(), !is_torn, "{case}: {report:?}");
        let end = records.len() as u64;
        appends(&log, TOPIC, end);
        drop(log);

        for round in 1..=2 {
            let log = open_log(&disk).unwrap();
            let found = read_all(&log, TOPIC).unwrap();
            assert_eq!(found[..records.len()], records, "{case}, opened again");
            assert_eq!(found.len() as u64, end + round, "{case}, opened again");
            assert!(log.recovery().is_whole(), "{case}: {:?}", log.recovery());
            appends(&log, TOPIC, end + round);
        }
        is_torn
    }

    /// The records that whole frames at the start of `tail` hold, and where these frames end.
    fn expected(&self, tail: &[u8]) -> (Vec<Read>, usize) {
        let before = self.segment.parsed.frames[self.frames].base_offset;
        let mut records = self.records.clone();
        if tail.starts_with(&self.older) {
            records.truncate(usize::try_from(before).unwrap());
            records.push(self.older_record.clone());
            return (records, self.older.len());
        }
        let (mut end, mut kept) = (before, 0);
        for frame in &self.segment.parsed.frames[self.frames..] {
            let place = frame.bytes.start - self.at..frame.bytes.end - self.at;
            if tail.get(place.clone()) != Some(&self.segment.bytes[frame.bytes.clone()]) {
                break;
            }
            (end, kept) = (frame.offsets().end, place.end);
        }
        records.truncate(usize::try_from(end).unwrap());
        (records, kept)
    }
}

/// Sends one batch as far as the file, and no further unless the topic says so.
fn send(log: &Log, values: &[&str]) {
    let records = values.iter().map(|value| Record::new(*value).key("key"));
    log.producer(TOPIC).unwrap().acks(Acks::Written).send_all(records).unwrap();
}

/// A torn write would hide what stands before it, pass unsaid, or spoil what is written next.
#[test]
fn every_cut_of_the_last_write_with_every_filler() {
    for policy in [SyncPolicy::Always, SyncPolicy::Never] {
        let wreck = Wreck::new(policy);
        let last = &wreck.segment.bytes[wreck.at..];
        let mut torn = 0;
        for cut in some(0..=last.len(), 7) {
            for filler in Filler::ALL {
                let mut tail = last[..cut].to_vec();
                tail.extend(filler.bytes(last, &wreck.older, cut));
                let case = format!("{policy:?}: cut at {cut}, then {filler:?}");
                torn += usize::from(wreck.recovers(&tail, &case));
            }
        }
        assert!(torn > share(4 * last.len(), 8), "only {torn} tails were torn");
    }
}
