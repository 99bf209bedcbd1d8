//! Reading a directory beside the process that writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{TryRecvError, channel};
use std::time::SystemTime;

use brooklet::testing::disk_env;
use brooklet::{
    Error, ErrorKind, Log, LogOptions, Offsets, Reader, Record, StartAt, StoredRecord, TopicConfig,
};
use parking_lot::Mutex;

use super::child::{Process, TOPIC, place, value_at};

const SEGMENT_BYTES: u64 = 2048;

fn made(config: TopicConfig) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = Log::open(&path).unwrap();
    log.create_topic(TOPIC, config.segment_bytes(SEGMENT_BYTES)).unwrap();
    log.close().unwrap();
    (dir, path)
}

fn writer(path: &Path) -> Process {
    let mut writer = Process::start("writer", path);
    writer.until("ready");
    writer
}

fn look(path: &Path) -> Log {
    LogOptions::new().read_only(true).open_files(2).open(path).unwrap()
}

fn reader(log: &Log, start: StartAt) -> Result<Reader, Error> {
    log.reader(TOPIC).start_at(start).stop_at_end().open()
}

fn check(record: &StoredRecord, expected: u64) {
    assert_eq!(record.offset().value(), expected, "a hole");
    assert_eq!(record.value().unwrap(), value_at(expected), "other bytes at {expected}");
}

/// Everything from `start` to the end, which must be dense and as it was sent.
fn read_from(log: &Log, start: u64) -> u64 {
    let mut next = start;
    for record in reader(log, StartAt::Offset(start.into())).unwrap() {
        check(&record.unwrap(), next);
        next += 1;
    }
    assert_eq!(next, log.offsets(&place()).unwrap().end.value());
    next
}

/// What a directory holds: names, bytes, and when they last changed.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (Option<SystemTime>, Vec<u8>)> {
    let fs = disk_env().fs;
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        let changed = |path: &Path| path.metadata().unwrap().modified().ok();
        found.insert(dir.clone(), (changed(&dir), Vec::new()));
        for entry in fs.read_dir(&dir).unwrap() {
            let path = dir.join(entry.name);
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let file = fs.open(&path, brooklet::testing::Access::Read).unwrap();
            let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
            file.read_at(&mut bytes, 0).unwrap();
            found.insert(path.clone(), (changed(&path), bytes));
        }
    }
    found
}

/// What the writer has said so far.
#[derive(Clone, Debug, Default)]
struct Heard {
    acked: u64,
    /// Trims that were begun.
    trimming: BTreeSet<u64>,
    trimmed: u64,
}

impl Heard {
    fn note(&mut self, line: &str) {
        let (verb, number) = line.split_once(' ').unwrap_or((line, "0"));
        let number = number.parse::<u64>().unwrap();
        match verb {
            "ack" => self.acked = number + 1,
            "trimming" => _ = self.trimming.insert(number),
            "trimmed" => self.trimmed = number,
            _ => {}
        }
    }
}

/// The trims that were begun, once one of `start` or behind it was heard of.
fn heard_up_to(start: u64, heard: impl Fn() -> Heard) -> BTreeSet<u64> {
    loop {
        let trims = heard().trimming;
        if trims.last().is_some_and(|last| *last >= start) {
            return trims;
        }
        // What the writer has said may still be on its way through the pipe.
        std::thread::yield_now();
    }
}

/// Opens and reads once beside the writer; `heard` is what it has said by now.
fn look_once(path: &Path, heard: impl Fn() -> Heard) {
    let before = heard();
    let log = look(path);
    let Offsets { end, .. } = log.offsets(&place()).unwrap();
    // The frame of the last acknowledged record proves everything before it; its own durability is
    // known to the writer alone, until the next frame.
    let proven = before.acked.saturating_sub(1);
    assert!(end.value() >= proven, "{proven} records are provable, and the log ends at {end}");
    if before.trimmed > 0 {
        let gone = StartAt::Offset((before.trimmed - 1).into());
        let error = reader(&log, gone).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
    }
    let (mut next, mut reads) = (None, reader(&log, StartAt::Earliest).unwrap());
    loop {
        match reads.next() {
            Some(Ok(record)) => {
                check(&record, next.unwrap_or(record.offset().value()));
                next = Some(record.offset().value() + 1);
            }
            // The writer has trimmed what was about to be read.
            Some(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
                let start = error.valid_range().unwrap().start.value();
                let trims = heard_up_to(start, &heard);
                assert!(trims.contains(&start), "{start} was not trimmed");
                assert!(next.is_none_or(|next| next < start), "{start} is where it stood");
                next = Some(start);
                reads = match reader(&log, StartAt::Offset(start.into())) {
                    Ok(reads) => reads,
                    Err(error) => panic!("the range that an error gave was wrong: {error}"),
                };
            }
            None => break,
        }
    }
    let end = log.offsets(&place()).unwrap().end.value();
    assert!(next.is_none_or(|next| next == end), "read to {next:?} of {end}");
    let report = log.recovery();
    assert!(report.is_whole(), "{report:?}");
    log.close().unwrap();
}

/// A second process would see damage where there is only somebody at work, or miss durable records.
#[test]
fn a_reader_beside_a_writer_that_appends_rolls_trims_and_dies() {
    let (_dir, path) = made(TopicConfig::new());
    let mut child = writer(&path);
    child.tell("churn 1000000");
    let heard = Mutex::new(Heard::default());
    let (mut looks, mut rest) = (0, 0);
    std::thread::scope(|scope| {
        let (ask, asked) = channel::<()>();
        let (heard, child) = (&heard, &mut child);
        let listener = scope.spawn(move || {
            while asked.try_recv() == Err(TryRecvError::Empty) {
                let line = child.line().expect("it ends only when it is killed");
                heard.lock().note(&line);
            }
            for line in child.kill() {
                heard.lock().note(&line);
            }
        });
        while heard.lock().trimmed < 800 || looks < 40 {
            look_once(&path, || heard.lock().clone());
            looks += 1;
        }
        ask.send(()).unwrap();
        listener.join().unwrap();
        rest += 1;
    });
    let heard = heard.into_inner();
    assert!(rest == 1 && heard.trimmed >= 800 && heard.acked > 800, "{heard:?}");
    let before = snapshot(&path);
    look_once(&path, || heard.clone());
    assert_eq!(snapshot(&path), before, "reading has changed the directory");
    let log = Log::open(&path).unwrap();
    let Offsets { start, end, .. } = log.offsets(&place()).unwrap();
    assert!(end.value() >= heard.acked && start.value() >= heard.trimmed);
    log.close().unwrap();
    let log = look(&path);
    assert!(log.recovery().was_clean);
    assert_eq!(read_from(&log, start.value()), end.value(), "a clean close proves everything");
}

/// Looks at the log, tries to change it, and shows that not a byte of the directory changed.
fn look_without_touching(path: &Path, readable: u64, unproven: u64) {
    let before = snapshot(path);
    let log = look(path);
    assert_eq!(read_from(&log, 0), readable);
    let report = log.recovery();
    let counted = report.partitions.iter().map(|partition| partition.unproven_records);
    assert_eq!(counted.sum::<u64>(), unproven, "{report:?}");
    assert!(report.is_whole() && report.pending.is_empty(), "{report:?}");
    let producer = log.producer(TOPIC).unwrap();
    let refused = [
        log.create_topic("more", TopicConfig::new()).unwrap_err(),
        log.delete_topic(TOPIC).unwrap_err(),
        log.alter_topic(TOPIC, TopicConfig::new()).unwrap_err(),
        log.add_partitions(TOPIC, 2).unwrap_err(),
        log.trim(&place(), 1.into()).unwrap_err(),
        log.reopen_partition(&place()).unwrap_err(),
        log.maintain().unwrap_err(),
        producer.send(Record::new("mine")).unwrap_err().into(),
        producer.submit(Record::new("mine")).wait().unwrap_err().into(),
        producer.send_all([Record::new("mine")]).unwrap_err().into(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
    }
    log.close().unwrap();
    assert_eq!(snapshot(path), before, "reading has changed the directory");
}

/// A reading process would write into another one's directory, or keep the writer out of it.
#[test]
fn reading_changes_nothing_and_takes_no_lock() {
    let (_dir, path) = made(TopicConfig::new());
    look_without_touching(&path, 0, 0);
    let mut child = writer(&path);
    look_without_touching(&path, 0, 0);
    child.tell("append 100");
    child.until("done");
    // The frame of the last record proves all before it, and nothing proves that one yet.
    look_without_touching(&path, 99, 1);
    child.tell("maintain");
    child.until("done");
    look_without_touching(&path, 100, 0);
    child.tell("append 30");
    child.until("done");
    child.kill();
    look_without_touching(&path, 129, 1);
    tear_tail(&path);
    look_without_touching(&path, 129, 1);
    let mut child = writer(&path);
    child.tell("append 1");
    child.until("done");
    child.tell("close");
    child.finish();
    look_without_touching(&path, 131, 0);
}

/// Half a frame behind the last one, as a write leaves it that is under way.
fn tear_tail(path: &Path) {
    let mut last =
        snapshot(path).into_iter().filter(|(path, _)| path.to_string_lossy().ends_with("seg"));
    let (last, (_, bytes)) = last.next_back().unwrap();
    let frames = bytes.get(64..).unwrap();
    let file = disk_env().fs.open(&last, brooklet::testing::Access::ReadWrite).unwrap();
    file.write_at(&frames[..frames.len().min(100)], bytes.len() as u64).unwrap();
}

/// A reader that stays while the writer trims would meet missing files, or skip records silently.
#[test]
fn a_reader_that_stays_is_told_what_was_trimmed_and_goes_on_behind_it() {
    let (_dir, path) = made(TopicConfig::new());
    let mut child = writer(&path);
    child.tell("append 300");
    child.until("done");
    let (log, by_time) = (look(&path), look(&path));
    let mut reads = reader(&log, StartAt::Earliest).unwrap();
    check(&reads.next().unwrap().unwrap(), 0);
    by_time.offsets(&place()).unwrap();
    child.tell("trim 200");
    child.until("done");
    let mut next = 1;
    let error = loop {
        match reads.next().expect("not all was read or refused") {
            Ok(record) => check(&record, next),
            Err(error) => break error,
        }
        next += 1;
    };
    // What it had fetched it gave, and not more than one segment of it.
    assert!((2..60).contains(&next), "{next}");
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
    assert_eq!(error.valid_range().unwrap().start.value(), 200, "{error}");
    assert_eq!(read_from(&log, 200), 299);
    let gone = reader(&log, StartAt::Offset(199.into())).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::OffsetOutOfRange, "{gone}");
    let mut reads = reader(&by_time, StartAt::Timestamp(SystemTime::UNIX_EPOCH.into())).unwrap();
    check(&reads.next().unwrap().unwrap(), 200);
    child.tell("delete");
    child.until("done");
    let mut gone = look(&path).reader(TOPIC).open().unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::UnknownTopic, "{gone}");
    // The files that are open still can be read; where one is not, the reader is told why.
    let mut reads = reader(&log, StartAt::Offset(200.into())).unwrap();
    gone = reads.find_map(Result::err).expect("every file is gone, and two are open at most");
    assert_eq!(gone.kind(), ErrorKind::UnknownTopic, "{gone}");
    child.kill();
}

/// A segment that somebody has removed would pass for a trimmed one.
#[test]
fn a_segment_that_is_listed_and_not_there_is_missing_for_a_reader_too() {
    let (_dir, path) = made(TopicConfig::new());
    let mut child = writer(&path);
    child.tell("append 100");
    child.until("done");
    let segments =
        snapshot(&path).into_keys().filter(|path| path.to_string_lossy().ends_with("seg"));
    let second = segments.take(2).last().unwrap();
    disk_env().fs.remove_file(&second).unwrap();
    let log = look(&path);
    let reads = reader(&log, StartAt::Earliest).unwrap();
    let (read, failed): (Vec<_>, Vec<_>) = reads.partition(Result::is_ok);
    let [Err(error)] = failed.as_slice() else { panic!("{failed:?}") };
    assert_eq!(error.kind(), ErrorKind::MissingSegment, "{error}");
    assert_eq!(error.path(), Some(second.as_path()));
    let lost = error.lost_range().unwrap();
    let lost = lost.end.value() - lost.start.value();
    assert_eq!(read.len() as u64 + lost, 99);
    child.kill();
}

/// Opening would fail while a writer opens, closes, and changes its topics.
#[test]
fn journals_are_read_while_they_are_written() {
    let (_dir, path) = made(TopicConfig::new());
    let mut child = Process::start("restless", &path);
    let mut turns = 0;
    for _ in 0..150 {
        let log = look(&path);
        assert!(log.topics().unwrap().iter().any(|topic| topic.name.as_str() == TOPIC));
        assert!(read_from(&log, 0) + 1 >= turns, "after {turns} turns");
        log.close().unwrap();
        if child.line().unwrap().starts_with("turn ") {
            turns += 1;
        }
    }
    assert!(turns > 60, "{turns}");
    child.kill();
}
