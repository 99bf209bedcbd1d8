//! The files of one tiny log, kept in the repository since version 1 was first written.
//!
//! After a change that is meant to write other bytes, run the tests once with `BROOKLET_BLESS=1`
//! to write them anew. Files that an older build wrote must go on being read; where the layout
//! itself changes, it gets a new version and a directory beside this one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use brooklet::partitioner::Fixed;
use brooklet::testing::SimDisk;
use brooklet::{Log, PartitionId, Record, SyncPolicy, Timestamp, TopicConfig};

use super::parser::{Parsed, parse};
use crate::damage::history::{Read, log_dir, open_log, read_all, small_disk};

/// Bytes by path below the log's directory.
pub(super) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The time of the event that the page explains.
pub(super) const EVENT_MILLIS: i64 = 1_517_363_399_650;

/// Writes the tiny log with everything that the format can express.
fn write_golden() -> Files {
    let disk = small_disk(1);
    let log = open_log(&disk).unwrap();
    let config = TopicConfig::new().partitions(2).segment_bytes(1024).sync(SyncPolicy::Always);
    log.create_topic("orders", config).unwrap();
    let producer =
        |number: u32| log.producer("orders").unwrap().partitioner(Fixed(PartitionId::new(number)));
    let first = Record::new("created")
        .key("order-42")
        .header("source", "web")
        .header_without_value("traced")
        .timestamp(Timestamp::from_millis(EVENT_MILLIS));
    producer(0).send(first).unwrap();
    disk.clock().advance(Duration::from_millis(1500));
    let later = |millis| Timestamp::from_millis(EVENT_MILLIS + millis);
    let several = [
        Record::new("paid").key("order-42").timestamp(later(250)),
        Record::new("paid").key("order-43").timestamp(later(-1000)),
        Record::new(""),
    ];
    producer(0).send_all(several).unwrap();
    producer(0).send(Record::without_value().key("order-42")).unwrap();
    disk.clock().advance(Duration::from_secs(60));
    for number in 0..6 {
        let value = format!("{number}: {}", "filler ".repeat(10));
        producer(0).send(Record::new(&value)).unwrap();
    }
    producer(1).send(Record::new("alone")).unwrap();
    log.close().unwrap();
    files_of(&disk)
}

/// The files that make up a log; the lock and journals made ahead say nothing.
fn files_of(disk: &SimDisk) -> Files {
    let root = log_dir(disk);
    let below = |path: &Path| path.strip_prefix(&root).unwrap().to_path_buf();
    let files = disk.snapshot().into_iter().map(|(path, bytes)| (below(&path), bytes));
    files.filter(|(path, _)| !path.ends_with("LOCK") && !path.ends_with("next.jnl")).collect()
}

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

/// The checked-in files.
#[expect(clippy::disallowed_methods, reason = "the test reads the repository, not a log")]
pub(super) fn golden_files() -> Files {
    let mut files = Files::new();
    let mut left = vec![golden_dir()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|ext| ext == "seg" || ext == "jnl") {
                let bytes = std::fs::read(&path).unwrap();
                files.insert(path.strip_prefix(golden_dir()).unwrap().to_path_buf(), bytes);
            }
        }
    }
    files
}

#[expect(clippy::disallowed_methods, reason = "the golden files lie in the repository")]
fn bless(files: &Files) {
    for path in golden_files().keys() {
        std::fs::remove_file(golden_dir().join(path)).unwrap();
    }
    for (path, bytes) in files {
        let path = golden_dir().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// A disk that holds the golden log.
pub(super) fn golden_disk() -> SimDisk {
    let disk = SimDisk::new(2);
    let fs = disk.env().fs;
    for (path, bytes) in golden_files() {
        let path = log_dir(&disk).join(path);
        let mut missing: Vec<_> =
            path.ancestors().skip(1).take_while(|dir| *dir != disk.root()).collect();
        missing.reverse();
        for dir in missing {
            // Most directories hold several files.
            let _ = fs.create_dir(dir);
        }
        disk.write_file(&path, &bytes).unwrap();
    }
    disk
}

/// The golden file at a place in the tree, such as `topics/1/0`, and there the first or a later.
pub(super) fn golden(dir: &str, index: usize) -> (PathBuf, Vec<u8>) {
    let files = golden_files();
    let mut files = files.into_iter().filter(|(path, _)| path.parent() == Some(Path::new(dir)));
    files.nth(index).unwrap_or_else(|| panic!("no file {index} in {dir}"))
}

pub(super) fn parsed(dir: &str, index: usize) -> Parsed {
    let (path, bytes) = golden(dir, index);
    parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn records(log: &Log) -> Vec<Read> {
    read_all(log, "orders").unwrap()
}

/// A log written by an older build could not be read by this one, or the other way round.
#[test]
fn what_is_written_today_is_what_was_written_then() {
    let today = write_golden();
    if std::env::var_os("BROOKLET_BLESS").is_some() {
        bless(&today);
    }
    let golden = golden_files();
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&today), names(&golden));
    for (path, bytes) in &today {
        let then = &golden[path];
        let differs = bytes.iter().zip(then).position(|(now, then)| now != then);
        assert!(bytes == then, "{}: differs at byte {differs:?}", path.display());
    }
}

/// A log that was written once could not be read any more.
#[test]
fn the_golden_log_is_read_and_gone_on_with() {
    let disk = golden_disk();
    let log = open_log(&disk).unwrap();
    assert!(log.recovery().was_clean);
    let found = records(&log);
    assert_eq!(found.len(), 12);
    let first = Read {
        offset: 0,
        timestamp: EVENT_MILLIS,
        key: Some(b"order-42".to_vec()),
        value: Some(b"created".to_vec()),
        headers: vec![("source".into(), Some(b"web".to_vec())), ("traced".into(), None)],
    };
    assert!(found.contains(&first), "{found:?}");
    log.producer("orders").unwrap().send(Record::new("more").key("k")).unwrap();
    log.close().unwrap();
    let log = open_log(&disk).unwrap();
    assert_eq!(records(&log).len(), 13);
}

/// The second reader, which knows the page alone, would read something else than the log does.
#[test]
fn a_second_reader_finds_the_same_records() {
    let log = open_log(&golden_disk()).unwrap();
    for partition in 0..2_u32 {
        let reader = log.reader("orders").partition(partition).stop_at_end().open().unwrap();
        let found: Vec<_> = reader.map(|record| record.unwrap()).collect();
        let files = golden_files();
        let dir = format!("topics/1/{partition}");
        let segments = files.iter().filter(|(path, _)| path.parent() == Some(Path::new(&dir)));
        let frames = segments.flat_map(|(_, bytes)| parse(bytes).unwrap().frames);
        let parsed: Vec<_> = frames
            .flat_map(|frame| {
                let offsets = frame.offsets();
                offsets
                    .zip(frame.records)
                    .map(move |(offset, record)| (offset, frame.append_time, record))
            })
            .collect();
        assert_eq!(found.len(), parsed.len());
        for (found, (offset, append_time, parsed)) in found.iter().zip(&parsed) {
            assert_eq!(found.offset().value(), *offset);
            assert_eq!(found.append_time().as_millis(), *append_time);
            assert_eq!(found.timestamp().as_millis(), parsed.timestamp);
            assert_eq!(found.key(), parsed.key.as_deref());
            assert_eq!(found.value(), parsed.value.as_deref());
            let headers = found.headers().iter();
            let headers: Vec<_> = headers
                .map(|header| (header.name.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect();
            assert_eq!(headers, parsed.headers);
        }
    }
}
