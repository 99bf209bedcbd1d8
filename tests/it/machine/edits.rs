//! Real files that somebody edits while no log is open: what the simulated disk shows for every bit,
//! sampled where a page cache and a file system lie between.

use std::fs;
use std::path::PathBuf;

use brooklet::{ErrorKind, Log, Record, TopicConfig};

use super::child::{FIRM, value_of};
use super::told::place;
use super::tools::{in_memory, sample, tool};

const RECORDS: u64 = 40;

/// A log of several segments, and where these stand.
fn made() -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = in_memory();
    let log = Log::open(dir.path().join("log")).unwrap();
    log.create_topic(FIRM, TopicConfig::new().segment_bytes(2048)).unwrap();
    let producer = log.producer(FIRM).unwrap();
    for number in 0..RECORDS {
        producer.send(Record::new(&value_of("mine", number))).unwrap();
    }
    log.close().unwrap();
    let entries = fs::read_dir(dir.path().join("log/topics/1/0")).unwrap();
    let mut segments = entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    segments.sort();
    assert!(segments.len() > 2);
    (dir, segments)
}

/// A flipped bit in a file would be served as a record, or hide others.
#[test]
fn a_bit_that_is_flipped_in_a_real_file_is_told_or_harmless() {
    let (dir, segments) = made();
    let places = segments.iter().flat_map(|path| {
        let bytes = fs::metadata(path).unwrap().len() * 8;
        (0..bytes).step_by(7).map(|bit| (path.clone(), bit)).collect::<Vec<_>>()
    });
    let mut told = 0;
    for (number, (path, bit)) in sample(places.collect(), 101).into_iter().enumerate() {
        let copy = dir.path().join(format!("copy-{number}"));
        assert!(
            tool("cp").arg("-r").arg(dir.path().join("log")).arg(&copy).status().unwrap().success()
        );
        let edited = copy.join("topics/1/0").join(path.file_name().unwrap());
        let mut bytes = fs::read(&edited).unwrap();
        bytes[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
        fs::write(&edited, &bytes).unwrap();
        let log = Log::open(&copy).unwrap();
        let mut seen = 0;
        let mut lost = 0;
        for record in log.reader(FIRM).stop_at_end().open().unwrap() {
            match record {
                Ok(record) => {
                    let at = record.offset().value();
                    assert_eq!(record.value().unwrap(), value_of("mine", at), "{bit} of {path:?}");
                    seen += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    assert_eq!(error.path(), Some(&*edited), "{error}");
                    let range = error.lost_range().unwrap();
                    lost += range.end.value() - range.start.value();
                }
            }
        }
        assert_eq!(seen + lost, RECORDS, "{bit} of {path:?}");
        told += usize::from(lost > 0);
        assert_eq!(fs::read(&edited).unwrap(), bytes, "damage was repaired behind our back");
        assert_eq!(log.offsets(&place(FIRM)).unwrap().end.value(), RECORDS);
        log.close().unwrap();
        fs::remove_dir_all(&copy).unwrap();
    }
    assert!(told > 10, "{told} flips were told");
}
