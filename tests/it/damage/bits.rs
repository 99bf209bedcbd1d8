//! Every bit of every segment file, turned over one at a time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use brooklet::testing::{SimDisk, verify};
use brooklet::{ErrorKind, Finding, FindingKind, Log, Verification};

use super::history::{
    History, OTHER, SegmentFile, Stop, TOPIC, appends, log_dir, lost, open_log, read_all,
    read_over, shown,
};
use crate::format::parser::Frame;
use crate::pace::some;

/// What must come of a flip in a frame.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    /// The bytes are no part of a frame: nothing is lost.
    Identical,
    /// The frame is lost and said to be.
    Damaged,
    /// The log ends before the frame, and says that something was cut off.
    Torn,
}

/// A flip, by bit and segment.
struct Flip<'a> {
    history: &'a History,
    segment: &'a SegmentFile,
    bit: u64,
}

impl<'a> Flip<'a> {
    fn frame(&self) -> Option<&'a Frame> {
        let byte = usize::try_from(self.bit / 8).unwrap();
        self.segment.parsed.frames.iter().find(|frame| frame.bytes.contains(&byte))
    }

    fn expected(&self, disk: &SimDisk) -> Expected {
        match (self.frame(), self.history.stop) {
            (None, _) => Expected::Identical,
            (Some(_), Stop::Clean) => Expected::Damaged,
            (Some(frame), _) if frame.base_offset < self.history.known_mark(disk) => {
                Expected::Damaged
            }
            (Some(_), _) => Expected::Torn,
        }
    }

    fn check(&self) -> Expected {
        let disk = self.history.disk.fork();
        disk.flip_bit(&self.segment.path, self.bit).unwrap();
        let before = disk.snapshot();
        let expected = self.expected(&disk);
        self.is_verified(&expected, &verify(&disk.env(), log_dir(&disk)).unwrap());
        let log = open_log(&disk).unwrap();
        let (records, errors) = read_over(&log, TOPIC).unwrap();
        match (&expected, self.frame()) {
            (Expected::Identical, _) => {
                assert_eq!((errors.len(), &records), (0, &self.history.records), "{self}");
                assert!(log.recovery().is_whole(), "{self}: {:?}", log.recovery());
                appends(&log, TOPIC, self.history.records.len() as u64);
            }
            (Expected::Damaged, Some(frame)) => {
                let error = errors.first().unwrap_or_else(|| panic!("{self} was not noticed"));
                assert_eq!(errors.len(), 1, "{self}: {errors:?}");
                self.names_the_frame(error, frame);
                assert_eq!(records, self.history.without(&frame.offsets()), "{self}");
                self.leaves_evidence(&log, &disk, &before);
            }
            (Expected::Torn, Some(frame)) => {
                assert_eq!(errors.len(), 0, "{self}: {errors:?}");
                self.is_cut(&log, frame, &records);
            }
            (_, None) => unreachable!("only a frame can be damaged or torn"),
        }
        appends(&log, OTHER, 1);
        expected
    }

    /// A check of the whole directory says the same as an open and a read.
    fn is_verified(&self, expected: &Expected, found: &Verification) {
        let damage = found.damage().collect::<Vec<_>>();
        match (expected, self.frame()) {
            (Expected::Damaged, Some(frame)) => {
                let [finding] = damage[..] else { panic!("{self}: {found:?}") };
                assert_eq!(finding.path, self.segment.path, "{self}: {finding}");
                let byte = usize::try_from(finding.byte.unwrap()).unwrap();
                assert!(frame.bytes.contains(&byte), "{self}: {finding}");
                let offsets = finding.offsets.clone().unwrap();
                let offsets = offsets.start.value()..offsets.end.value();
                assert_eq!(offsets, frame.offsets(), "{self}: {finding}");
            }
            (Expected::Torn, Some(_)) => {
                assert!(damage.is_empty(), "{self}: {found:?}");
                let is_torn = |finding: &Finding| finding.kind == FindingKind::TornTail;
                assert!(found.findings.iter().any(is_torn), "{self}: {found:?}");
            }
            _ => assert!(damage.is_empty(), "{self}: {found:?}"),
        }
    }

    fn names_the_frame(&self, error: &brooklet::Error, frame: &Frame) {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{self}: {error}");
        assert_eq!(error.path(), Some(&*self.segment.path), "{self}: {error}");
        let byte = usize::try_from(error.byte().unwrap()).unwrap();
        assert!(frame.bytes.contains(&byte), "{self}: {error}, not within {:?}", frame.bytes);
        assert_eq!(lost(error), Some(frame.offsets()), "{self}: {error}");
    }

    /// Nothing on the disk has changed, the damaged file least of all.
    ///
    /// Where a mark keeps recovery from looking at the damaged file, what lies past the mark is
    /// moved as after any unclean stop.
    fn leaves_evidence(&self, log: &Log, disk: &SimDisk, before: &BTreeMap<PathBuf, Vec<u8>>) {
        let after = disk.snapshot();
        assert_eq!(after.get(&self.segment.path), before.get(&self.segment.path), "{self}");
        let seen = log.recovery().partitions.iter().any(|found| found.damage.is_some());
        if seen || self.history.stop != Stop::Marked {
            assert!(after == *before, "{self} changed the disk");
        }
    }

    /// The log ends where the frame began, says so, and goes on from there.
    fn is_cut(&self, log: &Log, frame: &Frame, records: &[super::history::Read]) {
        let lost: Range<u64> = frame.base_offset..u64::MAX;
        assert_eq!(records, self.history.without(&lost), "{self}");
        let report = log.recovery();
        let partition =
            report.partitions.iter().find(|found| found.partition.topic().as_str() == TOPIC);
        let partition = partition.unwrap_or_else(|| panic!("{self}: no report"));
        assert!(partition.torn_bytes > 0 && !report.is_whole(), "{self}: {report:?}");
        assert!(partition.damage.is_none(), "{self}: {report:?}");
        appends(log, TOPIC, frame.base_offset);
    }
}

impl std::fmt::Display for Flip<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = shown(&self.segment.path);
        let (byte, stop) = (self.bit / 8, self.history.stop);
        write!(f, "{stop:?}: bit {} of byte {byte} of {name}", self.bit % 8)
    }
}

/// Flips every bit of every segment and counts what came of it.
fn flip_all(stop: Stop) -> [usize; 3] {
    let history = History::new(stop);
    let mut counts = [0; 3];
    for segment in &history.segments {
        for bit in some(0..8 * segment.bytes.len() as u64, 61) {
            let found = Flip { history: &history, segment, bit }.check();
            counts[found as usize] += 1;
        }
    }
    check_untouched(&history.disk, &history);
    counts
}

/// The template itself still holds what it held: no copy wrote through to it.
fn check_untouched(disk: &SimDisk, history: &History) {
    let log = open_log(disk).unwrap();
    assert_eq!(read_all(&log, TOPIC).unwrap(), history.records);
}

/// A flipped bit would be served as data, hide other records, or be repaired behind our back.
#[test]
fn every_bit_flip_after_a_clean_close_is_named_or_harmless() {
    let [identical, damaged, torn] = flip_all(Stop::Clean);
    assert!(identical > 0 && damaged > 0 && torn == 0, "{identical} {damaged} {torn}");
}

/// Damage to what was acknowledged as durable would pass for a torn tail and be cut off.
#[test]
fn every_bit_flip_of_a_synced_log_that_was_not_closed() {
    let [identical, damaged, torn] = flip_all(Stop::Synced);
    assert!(identical > 0 && damaged > 0 && torn > 0, "{identical} {damaged} {torn}");
}

/// A torn tail would be taken for damage and stop the partition, or records would go unreported.
#[test]
fn every_bit_flip_of_a_log_of_which_little_was_synced() {
    let [identical, damaged, torn] = flip_all(Stop::Unsynced);
    assert!(identical > 0 && damaged > 0 && torn > 0, "{identical} {damaged} {torn}");
}

/// The mark in the manifest would not count, so that what it vouches for could be cut off.
#[test]
fn every_bit_flip_of_a_log_whose_manifest_knows_a_mark() {
    let [identical, damaged, torn] = flip_all(Stop::Marked);
    assert!(identical > 0 && damaged > 0 && torn > 0, "{identical} {damaged} {torn}");
}
