//! Whole files and stretches of them: deleted, swapped, cut, grown, blanked, copied about.

use std::collections::BTreeSet;
use std::path::Path;

use brooklet::testing::SimDisk;
use brooklet::{Error, ErrorKind, Record, TopicConfig};

use super::history::{
    History, OTHER, Read, SegmentFile, Stop, TOPIC, appends, lost, open_log, read_over,
    segments_of, shown, small_disk,
};
use crate::pace::some;

/// The offsets of all records that stand in frames whose bytes are not what they were.
fn changed(disk: &SimDisk, history: &History) -> BTreeSet<u64> {
    let mut offsets = BTreeSet::new();
    for (segment, frame) in history.frames() {
        let now = disk.read_file(&segment.path).unwrap_or_default();
        if now.get(frame.bytes.clone()) != segment.bytes.get(frame.bytes.clone()) {
            offsets.extend(frame.offsets());
        }
    }
    offsets
}

fn offsets(records: &[Read]) -> BTreeSet<u64> {
    records.iter().map(|record| record.offset).collect()
}

/// Every record that is read stands where it was written, is what was written, and comes in order.
fn assert_true(records: &[Read], history: &History, case: &str) {
    assert!(records.is_sorted_by(|one, next| one.offset < next.offset), "{case}: out of order");
    for record in records {
        let written = history.records.get(usize::try_from(record.offset).unwrap());
        assert_eq!(Some(record), written, "{case}");
    }
}

/// After a clean close: what the edit left alone is read, and the rest is named, exactly.
fn exactly_the_changed_is_lost(disk: &SimDisk, history: &History, case: &str) -> Vec<Error> {
    let before = disk.snapshot();
    let log = open_log(disk).unwrap();
    let (records, errors) = read_over(&log, TOPIC).unwrap();
    assert_true(&records, history, case);
    let gone = changed(disk, history);
    let kept: BTreeSet<u64> = offsets(&history.records).difference(&gone).copied().collect();
    assert_eq!(offsets(&records), kept, "{case}: {errors:?}");
    let named: BTreeSet<u64> = errors.iter().flat_map(|error| lost(error).unwrap()).collect();
    assert_eq!(named, gone, "{case}: {errors:?}");
    assert!(disk.snapshot() == before, "{case} changed the disk");
    appends(&log, OTHER, 1);
    errors
}

/// After any stop: nothing wrong is read, and what is gone is told by an error or the report.
///
/// One loss cannot be told from a log that ended earlier: whole frames gone from its very end, all
/// of them past what anything that is left proves.
fn nothing_is_lost_unsaid(disk: &SimDisk, history: &History, case: &str) {
    let mark = history.known_mark(disk);
    let gone = changed(disk, history);
    let first = gone.first().copied().unwrap_or(u64::MAX);
    let looks_unwritten = first >= mark && ends_blank(disk, history, first);
    let log = open_log(disk).unwrap();
    let (records, errors) = read_over(&log, TOPIC).unwrap();
    assert_true(&records, history, case);
    let sound: BTreeSet<u64> = offsets(&history.records).range(..first).copied().collect();
    assert!(offsets(&records).is_superset(&sound), "{case}: {errors:?}");
    let is_told = !errors.is_empty() || !log.recovery().is_whole();
    let is_whole = records == history.records;
    assert!(is_whole || is_told || looks_unwritten, "{case}: {:?}", log.recovery());
    if first < mark {
        // What is known to have been durable is never the price of a torn tail.
        assert!(!errors.is_empty(), "{case}: {:?}", log.recovery());
    }
    appends(&log, OTHER, 1);
}

/// Whether the last segment ends before this offset, with nothing or zeros behind.
fn ends_blank(disk: &SimDisk, history: &History, offset: u64) -> bool {
    let last = history.segments.last().unwrap();
    let frame = last.parsed.frames.iter().find(|frame| frame.base_offset == offset);
    let now = disk.read_file(&last.path).unwrap_or_default();
    frame.is_some_and(|frame| now.iter().skip(frame.bytes.start).all(|byte| *byte == 0))
}

/// Checks one edit of the files after every kind of stop.
fn check(case: &str, edit: impl Fn(&SimDisk, &History)) {
    for stop in Stop::ALL {
        let history = History::new(stop);
        check_one(&history, &format!("{stop:?}: {case}"), &edit);
    }
}

fn check_one(history: &History, case: &str, edit: impl Fn(&SimDisk, &History)) {
    let disk = history.disk.fork();
    edit(&disk, history);
    assert!(disk.snapshot() != history.disk.snapshot(), "{case}: the edit changed nothing");
    match history.stop {
        Stop::Clean => drop(exactly_the_changed_is_lost(&disk, history, case)),
        _ => nothing_is_lost_unsaid(&disk, history, case),
    }
}

fn splice(disk: &SimDisk, path: &Path, at: usize, bytes: &[u8]) {
    let mut file = disk.read_file(path).unwrap();
    let end = (at + bytes.len()).min(file.len());
    file.splice(at..end, bytes.iter().copied());
    disk.write_file(path, &file).unwrap();
}

/// A deleted file would make a shorter log, or move the offsets of what follows.
#[test]
fn each_segment_deleted_in_turn_is_missing_and_nothing_else_is() {
    for stop in Stop::ALL {
        let history = History::new(stop);
        for (index, segment) in history.segments.iter().enumerate() {
            let case = format!("{stop:?}: segment {index} deleted");
            let disk = history.disk.fork();
            disk.remove(&segment.path).unwrap();
            let log = open_log(&disk).unwrap();
            let (records, errors) = read_over(&log, TOPIC).unwrap();
            assert_true(&records, &history, &case);
            assert_eq!(records, history.without(&segment.offsets()), "{case}: {errors:?}");
            let damage = log.recovery().partitions.into_iter().find_map(|found| found.damage);
            let error = errors.first().or(damage.as_ref()).unwrap_or_else(|| panic!("{case}"));
            assert_eq!(error.kind(), ErrorKind::MissingSegment, "{case}: {error}");
            assert_eq!(error.path(), Some(&*segment.path), "{case}: {error}");
            let named = lost(error).unwrap();
            if errors.is_empty() {
                // Nothing proves how far the last segment went, only that it was there.
                assert!(index == 2 && named.start == segment.offsets().start, "{case}: {error}");
                assert!(named.start <= named.end, "{case}: {error}");
            } else {
                is_missing(&history, segment, &errors, &case);
            }
            appends(&log, OTHER, 1);
            stays_missing(&log, &disk, segment, &case);
        }
    }
}

fn is_missing(history: &History, segment: &SegmentFile, errors: &[Error], case: &str) {
    let named = lost(&errors[0]).unwrap();
    let is_last = segment.offsets().end == history.records.len() as u64;
    // Of an open end only what was known to be durable can be named.
    assert_eq!(named.start, segment.offsets().start, "{case}: {errors:?}");
    assert!(named.end == segment.offsets().end || is_last, "{case}: {errors:?}");
    assert_eq!(errors.len(), 1, "{case}: {errors:?}");
}

/// Whatever happens to the partition next, the hole is told again and never filled.
fn stays_missing(log: &brooklet::Log, disk: &SimDisk, segment: &SegmentFile, case: &str) {
    let before = segment.offsets();
    let sent = log.producer(TOPIC).unwrap().send(Record::new("behind the hole"));
    if let Ok(receipt) = sent {
        let offset = receipt.offset().value();
        assert!(offset >= before.end && before.end < offset + 1, "{case}: {offset}");
    }
    let _ = log.close();
    let log = open_log(disk).unwrap();
    let (records, errors) = read_over(&log, TOPIC).unwrap();
    let damage = log.recovery().partitions.into_iter().find_map(|found| found.damage);
    assert!(!errors.is_empty() || damage.is_some(), "{case}: forgotten after a close");
    assert!(records.iter().all(|record| !before.contains(&record.offset)), "{case}");
}

/// A file under another's name would be read as that other.
#[test]
fn two_segments_swapped_are_both_unreadable() {
    for (one, other) in [(0, 1), (1, 2), (0, 2)] {
        check(&format!("segments {one} and {other} swapped"), |disk, history| {
            let (one, other) = (&history.segments[one], &history.segments[other]);
            disk.write_file(&one.path, &other.bytes).unwrap();
            disk.write_file(&other.path, &one.bytes).unwrap();
        });
    }
}

/// A file that lost its end would be read as if it had ended there.
#[test]
fn every_cut_of_every_segment() {
    for stop in Stop::ALL {
        let history = History::new(stop);
        for segment in &history.segments {
            let cuts = some(0..segment.bytes.len(), 5);
            for cut in cuts.filter(|cut| stop == Stop::Clean || cut % 3 == 0) {
                let case = format!("{stop:?}: {} cut at {cut}", shown(&segment.path));
                check_one(&history, &case, |disk, _| {
                    disk.write_file(&segment.path, &segment.bytes[..cut]).unwrap();
                });
            }
        }
    }
}

/// Bytes behind the end of a file would be taken for records, or hide those before them.
#[test]
fn anything_behind_the_end_of_a_segment() {
    for index in 0..3 {
        for bytes in [vec![0; 700], vec![0xFF; 700], b"not a frame".to_vec()] {
            check(&format!("segment {index} grown"), |disk, history| {
                let segment = &history.segments[index];
                splice(disk, &segment.path, segment.bytes.len(), &bytes);
            });
        }
        for from in 0..3 {
            check(&format!("segment {from} behind segment {index}"), |disk, history| {
                let (segment, from) = (&history.segments[index], &history.segments[from]);
                splice(disk, &segment.path, segment.bytes.len(), &from.bytes);
            });
        }
    }
}

/// A stretch that a drive lost would be read as empty records, or as the end.
#[test]
fn blanked_stretches() {
    for stop in Stop::ALL {
        let history = History::new(stop);
        for segment in &history.segments {
            for start in (0..segment.bytes.len()).step_by(40) {
                for len in [1, 8, 64, 200, 512, segment.bytes.len()] {
                    let len = len.min(segment.bytes.len() - start);
                    if segment.bytes[start..start + len].iter().all(|byte| *byte == 0) {
                        continue;
                    }
                    let name = shown(&segment.path);
                    let case = format!("{stop:?}: {len} bytes of {name} blanked at {start}");
                    check_one(&history, &case, |disk, _| {
                        splice(disk, &segment.path, start, &vec![0; len]);
                    });
                }
            }
        }
    }
}

/// A valid frame in a wrong place, as a misdirected write leaves it, would be read twice or there.
#[test]
fn every_frame_copied_over_every_other() {
    for stop in Stop::ALL {
        let history = History::new(stop);
        let frames: Vec<_> = history.frames().collect();
        for (from, frame) in &frames {
            for (to, target) in &frames {
                if (&from.path, &frame.bytes) == (&to.path, &target.bytes) {
                    continue;
                }
                let disk = history.disk.fork();
                splice(&disk, &to.path, target.bytes.start, &from.bytes[frame.bytes.clone()]);
                let case = format!(
                    "{stop:?}: offset {} copied over offset {}",
                    frame.base_offset, target.base_offset
                );
                nothing_is_lost_unsaid(&disk, &history, &case);
            }
        }
    }
}

/// A stretch of the file as it once was, as a lost write leaves it, would be read as it is.
#[test]
fn an_old_copy_of_a_file_put_back() {
    let check_history = |stop| {
        let history = History::new(stop);
        for segment in &history.segments {
            for frame in &segment.parsed.frames {
                // Before its frames were written, the file ended here; later it held zeros here.
                let (start, end) = (frame.bytes.start, segment.bytes.len());
                let case = format!("{stop:?}: {} as it was at {start}", shown(&segment.path));
                check_one(&history, &case, |disk, _| {
                    disk.write_file(&segment.path, &segment.bytes[..start]).unwrap();
                });
                check_one(&history, &case, |disk, _| {
                    splice(disk, &segment.path, start, &vec![0; end - start]);
                });
            }
        }
    };
    Stop::ALL.into_iter().for_each(check_history);
}

/// A log that lost its end would go on where it was cut, and give offsets a second time.
#[test]
fn a_last_segment_that_ends_before_the_noted_mark_is_told_and_its_offsets_stay_taken() {
    let disk = small_disk(9);
    let log = open_log(&disk).unwrap();
    log.create_topic(TOPIC, TopicConfig::new()).unwrap();
    let producer = log.producer(TOPIC).unwrap();
    for number in 0..6 {
        producer.send(Record::new(&format!("number {number}"))).unwrap();
    }
    log.maintain().unwrap();
    drop((producer, log));
    let segments = segments_of(&disk, 1);
    let [last] = &*segments else { panic!("{} segments", segments.len()) };
    for frame in &last.parsed.frames {
        let disk = disk.fork();
        disk.write_file(&last.path, &last.bytes[..frame.bytes.start]).unwrap();
        let log = open_log(&disk).unwrap();
        let (records, errors) = read_over(&log, TOPIC).unwrap();
        let case = format!("cut before {}", frame.base_offset);
        assert_eq!(records.len() as u64, frame.base_offset, "{case}");
        assert_eq!(errors.len(), 1, "{case}: {errors:?}");
        assert_eq!(lost(&errors[0]), Some(frame.base_offset..6), "{case}");
        // What is noted to be durable is not gone over at opening; its offsets are not given again.
        let sent = log.producer(TOPIC).unwrap().send(Record::new("more")).unwrap();
        assert_eq!(sent.offset().value(), 6, "{case}");
    }
}
