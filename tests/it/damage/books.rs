//! Every bit of the log's own books, manifest and catalog, turned over one at a time.

use std::path::Path;
use std::time::Duration;

use brooklet::testing::{SimDisk, verify};
use brooklet::{Error, ErrorKind, Log, Record};

use super::history::{
    History, OTHER, Stop, TOPIC, appends, journal_path, log_dir, open_log, read_all, shown,
};
use crate::format::parser::parse;
use crate::pace::some;

/// What an open log tells of itself: its topics and all their records.
fn told(log: &Log) -> Result<String, Error> {
    let topics = log.topics()?;
    let names: Vec<_> = topics.iter().map(|topic| (&topic.name, &topic.config)).collect();
    Ok(format!("{names:?} {:?} {:?}", read_all(log, TOPIC)?, read_all(log, OTHER)?))
}

/// Opens a log with a damaged journal: all of it is there, or the open fails and names the file.
fn identical_or_refused(disk: &SimDisk, journal: &Path, whole: &str, case: &str) -> bool {
    let before = disk.snapshot();
    let verified = verify(&disk.env(), log_dir(disk));
    match open_log(disk) {
        Ok(log) => {
            assert!(verified.unwrap().is_whole(), "{case}");
            let found = told(&log).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(found == whole, "{case}: {found}");
            appends(&log, OTHER, 1);
            true
        }
        Err(error) => {
            match verified {
                Ok(verified) => assert!(!verified.is_whole(), "{case}: {error}"),
                Err(refused) => assert_eq!(refused.kind(), ErrorKind::NotALog, "{case}"),
            }
            let typed = [ErrorKind::Corrupt, ErrorKind::NotALog, ErrorKind::UnsupportedVersion];
            assert!(typed.contains(&error.kind()), "{case}: {error}");
            assert_eq!(error.path(), Some(journal), "{case}: {error}");
            assert!(disk.snapshot() == before, "{case} changed the disk");
            false
        }
    }
}

/// Flips every bit of a journal; returns how many flips were harmless and how many refused.
fn flip_all(stop: Stop, journal: &str) -> (usize, usize) {
    let history = History::new(stop);
    let path = journal_path(&history.disk, journal);
    let whole = told(&open_log(&history.disk.fork()).unwrap()).unwrap();
    let (mut harmless, mut refused) = (0, 0);
    let bits = 8 * history.disk.read_file(&path).unwrap().len() as u64;
    for bit in some(0..bits, 61) {
        let disk = history.disk.fork();
        disk.flip_bit(&path, bit).unwrap();
        let case = format!("{stop:?}: bit {} of byte {} of the {journal}", bit % 8, bit / 8);
        match identical_or_refused(&disk, &path, &whole, &case) {
            true => harmless += 1,
            false => refused += 1,
        }
    }
    (harmless, refused)
}

/// A damaged manifest would hide segments, or be believed about them.
#[test]
fn every_bit_flip_of_a_manifest_is_harmless_or_refused() {
    for stop in Stop::ALL {
        let (harmless, refused) = flip_all(stop, "manifest");
        assert!(harmless > 0 && refused > 0, "{stop:?}: {harmless} {refused}");
    }
}

/// A damaged catalog would make topics vanish, and their files with them.
#[test]
fn every_bit_flip_of_a_catalog_is_refused() {
    for stop in Stop::ALL {
        let (harmless, refused) = flip_all(stop, "catalog");
        assert!(harmless == 0 && refused > 0, "{stop:?}: {harmless} {refused}");
    }
}

/// A log whose catalog and offsets begin with a snapshot, as they do behind an unclean stop.
fn with_snapshots() -> SimDisk {
    let disk = History::new(Stop::Synced).disk;
    let log = open_log(&disk).unwrap();
    let mut consumer = log.consumer("billing").topics([TOPIC]).open().unwrap();
    consumer.poll(Duration::ZERO).unwrap();
    consumer.commit().unwrap();
    drop((consumer, log));
    let log = open_log(&disk).unwrap();
    log.producer(OTHER).unwrap().send(Record::new("begins the books anew")).unwrap();
    drop(log);
    disk
}

/// One flipped bit in a snapshot would take all that was committed, or all topics, with it.
#[test]
fn every_bit_flip_of_a_snapshot_is_refused() {
    let whole = with_snapshots();
    for journal in ["catalog", "offsets"] {
        let path = journal_path(&whole, journal);
        let bytes = whole.read_file(&path).unwrap();
        let parsed = parse(&bytes).unwrap();
        assert!(parsed.head.mark > 0 && !parsed.frames.is_empty(), "{journal}: no snapshot");
        for bit in 8 * 64..8 * parsed.frames.last().unwrap().bytes.end as u64 {
            let disk = whole.fork();
            disk.flip_bit(&path, bit).unwrap();
            let error = open_log(&disk).expect_err("a damaged snapshot was believed");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "bit {bit} of {journal}: {error}");
            assert_eq!(error.path(), Some(&*path), "bit {bit} of {journal}: {error}");
        }
    }
}

/// A snapshot of nothing would be taken for one that is lost, or the other way round.
#[test]
fn a_snapshot_of_nothing_is_read_and_its_loss_is_told() {
    let disk = with_snapshots();
    let log = open_log(&disk).unwrap();
    log.delete_group("billing").unwrap();
    drop(log);
    let log = open_log(&disk).unwrap();
    log.producer(OTHER).unwrap().send(Record::new("begins the books anew")).unwrap();
    drop(log);
    assert!(open_log(&disk.fork()).unwrap().groups().unwrap().is_empty());
    let path = journal_path(&disk, "offsets");
    let mut bytes = disk.read_file(&path).unwrap();
    assert!(parse(&bytes).unwrap().frames[0].records.is_empty(), "the snapshot lists something");
    bytes[64..].fill(0);
    disk.write_file(&path, &bytes).unwrap();
    let error = open_log(&disk).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

/// A journal that lost its end would pass for one that never had it.
#[test]
fn every_cut_of_a_journal_after_a_clean_close_is_harmless_or_refused() {
    let history = History::new(Stop::Clean);
    let whole = told(&open_log(&history.disk.fork()).unwrap()).unwrap();
    for journal in ["manifest", "catalog"] {
        let path = journal_path(&history.disk, journal);
        let bytes = history.disk.read_file(&path).unwrap();
        let mut refused = 0;
        for cut in some(0..bytes.len(), 17) {
            for filler in [None, Some(0), Some(0xFF)] {
                let disk = history.disk.fork();
                let mut damaged = bytes[..cut].to_vec();
                damaged.resize(filler.map_or(cut, |_| bytes.len()), filler.unwrap_or_default());
                if damaged == bytes {
                    continue;
                }
                disk.write_file(&path, &damaged).unwrap();
                let case = format!("{} cut at {cut}, then {filler:?}", shown(&path));
                let harmless = identical_or_refused(&disk, &path, &whole, &case);
                // Only the manifest can be read again from the files it is about.
                assert!(!harmless || journal == "manifest", "{case}");
                refused += usize::from(!harmless);
            }
        }
        assert!(refused > 0, "{journal}: nothing was refused");
    }
}

/// A book that is gone would be taken for one that was never written.
#[test]
fn a_journal_that_is_gone_is_refused() {
    for stop in Stop::ALL {
        for journal in ["manifest", "catalog"] {
            let disk = History::new(stop).disk;
            let path = journal_path(&disk, journal);
            disk.remove(&path).unwrap();
            let before = disk.snapshot();
            let error = open_log(&disk).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{stop:?}: {error}");
            assert_eq!(error.path(), path.parent(), "{stop:?}: {error}");
            assert!(disk.snapshot() == before, "{stop:?}: {journal}");
        }
    }
}
