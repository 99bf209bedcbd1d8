//! Files that are no part of the log: those of others, and what was set aside.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use brooklet::testing::{Entropy, Env, SimDisk, open};
use brooklet::{Fate, LogOptions, Offset, PartitionId, Record, TopicConfig, TopicPartition};

use super::history::{History, OTHER, Stop, TOPIC, appends, log_dir, open_log, read_all};

const NAMES: [&str; 6] = [
    "notes.txt",
    "manifest/notes.txt",
    "catalog/notes.txt",
    "offsets/notes.txt",
    "topics/1/0/notes.txt",
    "topics/1/0/00000000000000000000-00000000.seg.bak",
];

fn put_beside(disk: &SimDisk) -> Vec<PathBuf> {
    let paths = NAMES.map(|name| log_dir(disk).join(name));
    for path in &paths {
        disk.write_file(path, b"somebody else's").unwrap();
    }
    paths.to_vec()
}

/// Somebody else's file would be removed with what is the log's own, or pass unsaid.
#[test]
fn files_that_are_not_the_logs_are_told_and_left_alone() {
    for stop in Stop::ALL {
        let history = History::new(stop);
        let disk = history.disk.fork();
        let paths = put_beside(&disk);
        let are_there = |when: &str| {
            for path in &paths {
                let found = disk.read_file(path).unwrap_or_default();
                assert_eq!(found, b"somebody else's", "{stop:?}, {when}: {}", path.display());
            }
        };
        let log = open_log(&disk).unwrap();
        let records = read_all(&log, TOPIC).unwrap();
        assert_eq!(records, history.records, "{stop:?}");
        if stop != Stop::Clean {
            let partitions = log.recovery().partitions;
            let told = partitions.iter().flat_map(|found| &found.unknown_files);
            let told = told.filter(|path| paths.contains(path)).count();
            assert_eq!(told, 2, "{stop:?}: {partitions:?}");
        }
        let end = records.len() as u64;
        appends(&log, TOPIC, end);
        appends(&log, OTHER, 1);
        let place = TopicPartition::new(TOPIC.parse().unwrap(), PartitionId::ZERO);
        log.trim(&place, Offset::new(end)).unwrap();
        log.maintain().unwrap();
        are_there("after a trim");
        log.delete_topic(TOPIC).unwrap();
        are_there("after its topic was deleted");
        drop(log);
        let log = open_log(&disk).unwrap();
        log.close().unwrap();
        are_there("after a close");
    }
}

/// What stands behind a torn end would be thrown away, or come back into a log that has grown.
#[test]
fn segments_behind_a_torn_end_are_told_and_stay_as_they_are() {
    let history = History::new(Stop::Unsynced);
    let disk = history.disk.fork();
    let (torn, behind) = (&history.segments[1], &history.segments[2]);
    let last = torn.parsed.frames.last().unwrap();
    assert!(last.base_offset >= history.known_mark(&disk), "it would be damage");
    disk.flip_bit(&torn.path, 8 * last.bytes.start as u64).unwrap();
    let log = open_log(&disk).unwrap();
    let mut end = read_all(&log, TOPIC).unwrap().len() as u64;
    assert_eq!(end, last.base_offset);
    let report = log.recovery();
    let aside = report.partitions.iter().flat_map(|found| found.aside.clone()).collect::<Vec<_>>();
    assert_eq!(aside, std::slice::from_ref(&behind.path));
    // Past the base of what was set aside, and over its end.
    while end <= behind.offsets().end {
        appends(&log, TOPIC, end);
        end += 1;
    }
    log.maintain().unwrap();
    drop(log);
    let log = open_log(&disk).unwrap();
    let values = read_all(&log, TOPIC).unwrap();
    assert_eq!(values.len() as u64, end);
    assert_eq!(values.last().unwrap().value, Some(format!("appended at {}", end - 1).into_bytes()));
    log.close().unwrap();
    assert_eq!(disk.read_file(&behind.path).unwrap(), behind.bytes, "it was given up");
}

/// A torn end would be cut off unsaid where the file of a roll that came to nothing stands behind it.
#[test]
fn a_torn_end_is_told_though_an_empty_segment_stands_behind_it() {
    let history = History::new(Stop::Unsynced);
    let disk = history.disk.fork();
    let segment = history.segments.last().unwrap();
    let last = segment.parsed.frames.last().unwrap();
    assert!(last.base_offset >= history.known_mark(&disk), "it would be damage");
    disk.flip_bit(&segment.path, 8 * last.bytes.start as u64).unwrap();
    let empty = segment.path.with_file_name(format!("{:020}-{:08x}.seg", last.base_offset, 7));
    disk.write_file(&empty, &[]).unwrap();
    let log = open_log(&disk).unwrap();
    assert_eq!(read_all(&log, TOPIC).unwrap().len() as u64, last.base_offset);
    let report = log.recovery();
    assert!(report.partitions.iter().any(|found| found.torn_bytes > 0), "{report:?}");
    appends(&log, TOPIC, last.base_offset);
}

/// A machine that was woken from the same snapshot as before: it gives the same number again, and
/// other ones every so many draws.
#[derive(Debug)]
struct Again {
    drawn: AtomicU64,
    other: u64,
}

impl Entropy for Again {
    fn next_u64(&self) -> u64 {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        if drawn % self.other == self.other - 1 { 1_000 + drawn } else { 7 }
    }
}

/// A session that draws the numbers of one before it could not write, or would write into its file.
#[test]
fn a_file_that_has_the_drawn_salt_is_left_alone_and_another_one_is_drawn() {
    for (other, is_sent) in [(5, true), (u64::MAX, false)] {
        let disk = SimDisk::new(3);
        let again = Again { drawn: AtomicU64::new(0), other };
        let env = Env { entropy: Arc::new(again), ..disk.env() };
        let log = open(&env, log_dir(&disk), LogOptions::new()).unwrap();
        log.create_topic(TOPIC, TopicConfig::new()).unwrap();
        let taken = log_dir(&disk).join("topics/1/0/00000000000000000000-00000007.seg");
        for dir in ["topics/1", "topics/1/0"] {
            env.fs.create_dir(&log_dir(&disk).join(dir)).unwrap();
        }
        disk.write_file(&taken, b"of before").unwrap();
        let sent = log.producer(TOPIC).unwrap().send(Record::new("a"));
        assert_eq!(sent.is_ok(), is_sent, "{sent:?}");
        assert_eq!(disk.read_file(&taken).unwrap(), b"of before");
        match sent {
            Ok(_) => assert_eq!(read_all(&log, TOPIC).unwrap().len(), 1),
            Err(error) => {
                assert_eq!(error.fate(), Fate::NotAppended);
                // Nothing is wrong with the partition: it goes on once there is a name to be had.
                disk.env().fs.remove_file(&taken).unwrap();
                log.producer(TOPIC).unwrap().send(Record::new("a")).unwrap();
            }
        }
    }
}
