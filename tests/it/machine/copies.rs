//! Directories that somebody copies or moves, while a log is at work in them or not.
//!
//! A copy that is made file by file under a writer's hands is of no moment in particular. Nothing
//! promises that all of it can be read; that what is read is right, and what is not is told, is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use brooklet::{ErrorKind, Log, LogOptions};

use super::child::{FIRM, LOOSE, child, value_of};
use super::told::{After, Told, goes_on, place};
use super::tools::{in_memory, is_long};
use crate::processes::child::Process;

/// Copies a directory as simple programs do, entry by entry, forward or backward in each.
fn copy(from: &Path, to: &Path, backward: bool) {
    fs::create_dir_all(to).unwrap();
    let Ok(entries) = fs::read_dir(from) else { return };
    let mut names = entries.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    names.sort();
    if backward {
        names.reverse();
    }
    for name in names {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy(&from, &to, backward);
        } else if let Err(error) = fs::copy(&from, &to) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "it went while it was copied");
        }
    }
}

/// Whether an error is one that a torn copy may be answered with.
fn is_told(kind: ErrorKind) -> bool {
    use ErrorKind::{Corrupt, MissingSegment, NotALog, Poisoned, UnknownTopic};
    [Corrupt, MissingSegment, NotALog, Poisoned, UnknownTopic].contains(&kind)
}

/// Reads what a copy holds of one topic; each record must be what was sent, where it was acked.
fn read(log: &Log, topic: &str, acked: &BTreeMap<(String, u64), String>) -> (usize, usize) {
    let (mut records, mut errors) = (0, 0);
    let reader = match log.reader(topic).stop_at_end().open() {
        Ok(reader) => reader,
        Err(error) => {
            assert!(is_told(error.kind()), "{error}");
            return (0, 1);
        }
    };
    for record in reader {
        match record {
            Ok(record) => {
                let value = record.value().unwrap();
                let text = std::str::from_utf8(value).unwrap();
                let words = text.split(' ').collect::<Vec<_>>();
                assert_eq!(value, value_of(words[0], words[1].parse().unwrap()), "other bytes");
                let known = acked.get(&(topic.to_owned(), record.offset().value()));
                let named = format!("{} {}", words[0], words[1]);
                assert!(known.is_none_or(|known| *known == named), "{topic}: {named}: {known:?}");
                records += 1;
            }
            Err(error) => {
                assert!(is_told(error.kind()), "{error}");
                errors += 1;
            }
        }
    }
    (records, errors)
}

/// A copy that was made under a writer's hands would be read as something that was never written.
#[test]
fn a_copy_of_a_log_at_work_is_right_or_says_that_it_is_not() {
    let rounds = if is_long() { 400 } else { 16 };
    let (mut whole, mut read_records, mut told_errors) = (0, 0, 0);
    let dir = in_memory();
    let log = dir.path().join("log");
    let mut acked = BTreeMap::new();
    let mut process = Process::spawn(&mut child(&[], "endless", (&log, "first")));
    for round in 0..rounds {
        for _ in 0..150 + round * 37 % 200 {
            let line = process.line().expect("it ends only when it is killed");
            let words = line.split(' ').collect::<Vec<_>>();
            if ["durable", "written"].contains(&words[0]) {
                let offset = words[5].parse().unwrap();
                let named = format!("{} {}", words[2], words[3]);
                acked.insert((words[1].to_owned(), offset), named);
            }
        }
        let copied = dir.path().join("copy");
        copy(&log, &copied, round % 2 == 0);
        let before = (read_records, told_errors);
        match Log::open(&copied) {
            Ok(log) => {
                for topic in [FIRM, LOOSE] {
                    let (records, errors) = read(&log, topic, &acked);
                    read_records += records;
                    told_errors += errors;
                }
                whole += usize::from(told_errors == before.1);
                let _ = log.close().map_err(|error| assert!(is_told(error.kind()), "{error}"));
            }
            Err(error) => {
                assert!(is_told(error.kind()), "{error}");
                told_errors += 1;
            }
        }
        fs::remove_dir_all(&copied).unwrap();
    }
    process.kill();
    assert!(read_records > 0 && whole > 0, "{whole} whole, {read_records} records");
}

/// A copy that is made while nobody writes, or a directory that is moved, would not be the log.
#[test]
fn a_copy_of_a_log_at_rest_and_a_moved_log_hold_everything() {
    for (closes, moves) in [(true, true), (true, false), (false, true), (false, false)] {
        let dir = in_memory();
        let at = dir.path().join("log");
        let mut told = Told::default();
        let mut process = Process::spawn(&mut child(&[], "life", (&at, "first")));
        told.note_all(&process.finish());
        assert_eq!(told.failures, []);
        let log = LogOptions::new().manual_maintenance(true).open(&at).unwrap();
        let producer = log.producer(FIRM).unwrap();
        for number in 0..20 {
            told.note(&format!("try {FIRM} last {number}"));
            let value = value_of("last", number);
            let receipt = producer.send(brooklet::Record::new(&value)).unwrap();
            told.note(&format!("durable {FIRM} last {number} 0 {}", receipt.offset()));
        }
        drop(producer);
        let elsewhere = dir.path().join("elsewhere");
        if closes {
            log.close().unwrap();
        }
        if moves {
            drop(log);
            fs::rename(&at, &elsewhere).unwrap();
        } else {
            // The log is open, and nobody writes.
            copy(&at, &elsewhere, false);
            drop(log);
        }
        let log = Log::open(&elsewhere).unwrap();
        assert_eq!(log.recovery().was_clean, closes, "{moves}");
        told.check(&log, After::Process);
        assert!(log.offsets(&place(FIRM)).unwrap().end >= 20.into());
        goes_on(&log, &mut told, "after");
    }
}
