//! Directories that no crash leaves and no disk makes: what the fuzzer found, in words.

use brooklet::testing::{SimDisk, open};
use brooklet::{ErrorKind, LogOptions, Record, Retention, SyncPolicy, TopicConfig};

use super::history::{
    History, OTHER, Stop, TOPIC, journal_path, log_dir, open_log, read_over, segments_of,
    small_disk,
};
use crate::corpus::forge::head;
use crate::format::parser::Place;

fn create_parents(disk: &SimDisk, path: &str) {
    let mut dir = log_dir(disk);
    let _ = disk.env().fs.create_dir(&dir);
    for part in path.split('/') {
        dir.push(part);
        let _ = disk.env().fs.create_dir(&dir);
    }
}

/// Retention would add up sizes that nobody knows, and stop the program or the wrong records.
#[test]
fn retention_counts_missing_segments_as_nothing() {
    let history = History::new(Stop::Synced);
    for segment in &history.segments[..2] {
        history.disk.remove(&segment.path).unwrap();
    }
    let log = open_log(&history.disk).unwrap();
    let (records, errors) = read_over(&log, TOPIC).unwrap();
    assert!(!records.is_empty() && !errors.is_empty(), "{records:?} {errors:?}");
    let config = TopicConfig::new().segment_bytes(1024).sync(SyncPolicy::Always);
    log.alter_topic(TOPIC, config.retention(Retention::forever().max_bytes(1 << 20))).unwrap();
    let _ = log.maintain();
    assert_eq!(read_over(&log, TOPIC).unwrap().0, records, "a small partition was cut");
}

/// A new topic would get number 0, which is that of the journals.
#[test]
fn a_directory_with_the_last_number_makes_no_topic_wrap_around() {
    let disk = History::new(Stop::Clean).disk;
    create_parents(&disk, "topics/18446744073709551615");
    let log = open_log(&disk).unwrap();
    let error = log.create_topic("new", TopicConfig::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    log.producer(OTHER).unwrap().send(Record::new("goes on")).unwrap();
}

/// The next file of a journal would be older than the one it takes the place of.
#[test]
fn a_journal_of_the_last_generation_is_not_followed_by_one_of_the_first() {
    let disk = small_disk(1);
    for (partition, name) in (1..).zip(["manifest", "catalog", "offsets"]) {
        create_parents(&disk, name);
        let place = Place { topic: 0, partition, base: u64::MAX, salt: 1 };
        let path = log_dir(&disk).join(name).join("18446744073709551615-00000001.jnl");
        disk.write_file(path, &head(b"brookjnl", &place, 0)).unwrap();
    }
    let log = open_log(&disk).unwrap();
    let error = log.create_topic("new", TopicConfig::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

/// Whoever reads beside a writer would look at a hole in front of an unlisted segment for ever.
#[test]
fn a_hole_before_an_unlisted_segment_is_told_to_whoever_only_reads() {
    let disk = small_disk(1);
    let log = open_log(&disk).unwrap();
    let config = TopicConfig::new().segment_bytes(1024).sync(SyncPolicy::Always);
    log.create_topic(TOPIC, config).unwrap();
    let manifest = journal_path(&disk, "manifest");
    let before = disk.read_file(&manifest).unwrap();
    for _ in 0..20 {
        log.producer(TOPIC).unwrap().send(Record::new("some bytes of a value")).unwrap();
    }
    drop(log);
    let segments = segments_of(&disk, 1);
    assert!(segments.len() > 1, "one segment leaves no hole");
    disk.remove(&segments[0].path).unwrap();
    disk.write_file(&manifest, &before).unwrap();
    let log = open(&disk.env(), log_dir(&disk), LogOptions::new().read_only(true)).unwrap();
    let (records, errors) = read_over(&log, TOPIC).unwrap();
    assert!(!records.is_empty() && !errors.is_empty(), "{records:?} {errors:?}");
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::MissingSegment), "{errors:?}");
}
