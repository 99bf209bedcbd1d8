//! Files of a version that this build does not know: refused by name, and left alone.

use std::path::PathBuf;

use brooklet::testing::SimDisk;
use brooklet::{ErrorKind, LogOptions, Record};

use super::golden::{golden, golden_disk};
use super::parser::crc32;
use crate::damage::history::{log_dir, open_log, read_over};

/// Says that a later version wrote this file, under a good checksum.
fn make_newer(disk: &SimDisk, path: &PathBuf) {
    let mut bytes = disk.read_file(path).unwrap();
    bytes[12..16].copy_from_slice(&2_u32.to_le_bytes());
    let checksum = crc32(&bytes[12..64]).to_le_bytes();
    bytes[8..12].copy_from_slice(&checksum);
    disk.write_file(path, &bytes).unwrap();
}

/// A log of a later version would be taken for a damaged one, or written to.
#[test]
fn a_newer_journal_is_refused_and_left_alone() {
    for journal in ["manifest", "catalog"] {
        for read_only in [false, true] {
            let disk = golden_disk();
            let path = log_dir(&disk).join(golden(journal, 0).0);
            make_newer(&disk, &path);
            let before = disk.snapshot();
            let options = LogOptions::new().read_only(read_only);
            let error = brooklet::testing::open(&disk.env(), log_dir(&disk), options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnsupportedVersion, "{error}");
            assert_eq!(error.path(), Some(&*path), "{error}");
            assert!(error.to_string().contains("version 2"), "{error}");
            let mut after = disk.snapshot();
            after.remove(&log_dir(&disk).join("LOCK"));
            assert!(after == before, "{journal}: changed");
        }
    }
}

/// A segment of a later version would be read as if this build understood it, or appended to.
#[test]
fn a_newer_segment_is_refused_and_left_alone() {
    for (index, is_clean) in [(0, true), (1, true), (1, false)] {
        let disk = golden_disk();
        let path = log_dir(&disk).join(golden("topics/1/0", index).0);
        if !is_clean {
            // Any write of a session that is not closed takes the marker away.
            let log = open_log(&disk).unwrap();
            log.create_topic("other", brooklet::TopicConfig::new()).unwrap();
        }
        make_newer(&disk, &path);
        let before = disk.read_file(&path).unwrap();
        let log = open_log(&disk).unwrap();
        assert_eq!(log.recovery().was_clean, is_clean);
        let error = match read_over(&log, "orders") {
            Ok((_, errors)) => errors.into_iter().next().unwrap(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::UnsupportedVersion, "{index}: {error}");
        assert_eq!(error.path(), Some(&*path), "{index}: {error}");
        if index == 1 {
            let fixed = brooklet::partitioner::Fixed(0.into());
            let producer = log.producer("orders").unwrap().partitioner(fixed);
            let error = producer.send(Record::new("more")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnsupportedVersion, "{index}: {error}");
        }
        drop(log);
        assert!(disk.read_file(&path).unwrap() == before, "{index}: changed");
    }
}
