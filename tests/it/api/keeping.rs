//! Retention and trim: what goes, what stays, and what a reader in the middle sees of it.

use std::path::Path;
use std::time::Duration;

use brooklet::testing::{CrashPolicy, SimDisk, open};
use brooklet::{
    ErrorKind, Log, LogOptions, Offset, Offsets, Record, Retention, StartAt, SyncPolicy,
    TopicConfig,
};

use super::{all, offset, place, reopen, send, simulated};

const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn ends(log: &Log) -> Offsets {
    log.offsets(&place("t", 0)).unwrap()
}

/// How many segment files a simulated disk holds.
fn segments(disk: &SimDisk) -> usize {
    disk.files().iter().filter(|path| path.extension() == Some("seg".as_ref())).count()
}

/// A topic with ten records an hour and about four to a segment.
fn fill(disk: &SimDisk, log: &Log, retention: Retention) {
    let config = TopicConfig::new().segment_bytes(1024).retention(retention);
    log.create_topic("t", config).unwrap();
    let producer = log.producer("t").unwrap();
    for _ in 0..10 {
        for _ in 0..10 {
            producer.send(Record::new(&[b'v'; 150])).unwrap();
        }
        disk.clock().advance(HOUR);
    }
}

/// Old records would stay for ever on a topic that nobody writes to, or young ones go.
#[test]
fn records_go_by_age_on_idle_topics_too() {
    let (disk, log) = simulated(1);
    fill(&disk, &log, Retention::forever().max_age(5 * HOUR));
    log.maintain().unwrap();
    let kept = ends(&log);
    // At ten o'clock the records of the sixth round and later are at most five hours old.
    assert!(offset(40) < kept.start && kept.start <= offset(50), "{kept:?}");
    for round in 5..10 {
        disk.clock().advance(HOUR);
        log.maintain().unwrap();
        let start = ends(&log).start;
        assert!(offset(10 * round) <= start && start <= offset(10 * round + 10), "{start}");
    }
    disk.clock().advance(HOUR);
    log.maintain().unwrap();
    assert_eq!(ends(&log).readable(), offset(100)..offset(100), "nothing is left of an idle topic");
    assert_eq!(segments(&disk), 0, "and its space is free");
    // Offsets go on where they were, also behind a restart.
    assert_eq!(log.producer("t").unwrap().send(Record::new("v")).unwrap().offset(), offset(100));
    let log = reopen(&disk.crash(CrashPolicy::LoseAll, 1));
    assert_eq!(ends(&log).readable(), offset(100)..offset(101));
}

/// A topic would grow past its size, or lose the segment that is being written.
#[test]
fn records_go_by_size_oldest_first() {
    let (disk, log) = simulated(2);
    fill(&disk, &log, Retention::forever().max_bytes(4096));
    let before = segments(&disk);
    log.maintain().unwrap();
    let kept = ends(&log);
    assert_eq!(kept.end, offset(100));
    assert!(offset(50) < kept.start && kept.start < offset(90), "{kept:?}");
    assert!(segments(&disk) < before / 2);
    let found = all(log.reader("t"));
    assert_eq!(found.len() as u64, kept.end.value() - kept.start.value());
    assert!(found.iter().map(|record| record.value().unwrap().len()).sum::<usize>() >= 2048);
    // Looking again, nothing more goes.
    log.maintain().unwrap();
    assert_eq!(ends(&log), kept);
}

/// Records would go that nobody said should.
#[test]
fn without_retention_nothing_goes() {
    let (disk, log) = simulated(3);
    fill(&disk, &log, Retention::forever());
    disk.clock().advance(100 * YEAR);
    log.maintain().unwrap();
    assert_eq!(ends(&log).readable(), Offset::ZERO..offset(100));
    drop(log);
    let log = reopen(&disk);
    log.maintain().unwrap();
    assert_eq!(ends(&log).readable(), Offset::ZERO..offset(100));
}

/// A clock that is set while the log is open would delete everything, or keep it for ever.
#[test]
fn a_jump_of_the_wall_clock_does_not_age_what_is_open() {
    let (disk, log) = simulated(4);
    fill(&disk, &log, Retention::forever().max_age(20 * HOUR));
    for wall in [YEAR * 10, Duration::ZERO] {
        disk.clock().set_wall(i64::try_from(wall.as_millis()).unwrap() * 3);
        log.maintain().unwrap();
        assert_eq!(ends(&log).readable(), Offset::ZERO..offset(100));
    }
    disk.clock().advance_monotonic(21 * HOUR);
    log.maintain().unwrap();
    assert_eq!(
        ends(&log).start,
        offset(100),
        "the time that passed counts, whatever the wall says"
    );
}

/// A clock that is wrong at open would cost a whole partition at the first look.
#[test]
fn a_partition_that_would_go_as_a_whole_at_open_gets_twice_the_age_once() {
    for closes in [true, false] {
        let (disk, log) = simulated(5);
        fill(&disk, &log, Retention::forever().max_age(20 * HOUR));
        if closes {
            log.close().unwrap();
        }
        drop(log);
        // All records are now older than twenty hours, and only some older than forty.
        disk.clock().advance(34 * HOUR);
        let log = reopen(&disk);
        log.maintain().unwrap();
        let kept = ends(&log);
        assert!(offset(20) < kept.start && kept.start <= offset(50), "{kept:?}");
        log.maintain().unwrap();
        assert_eq!(ends(&log).start, offset(100), "the next look goes by the age itself");
    }
}

/// The log's own thread would not look, and an embedded log fill its disk.
#[test]
fn the_maintenance_thread_applies_retention_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions::new().check_interval(Duration::from_millis(1));
    let log = options.open(dir.path()).unwrap();
    let retention = Retention::forever().max_bytes(2048);
    log.create_topic("t", TopicConfig::new().segment_bytes(1024).retention(retention)).unwrap();
    // A reader at offset 0 is told when the thread has been there; nothing else would end this.
    let mut rounds = 0_u64;
    loop {
        send(&log, "t", &["some value that fills segments"; 20]);
        rounds += 1;
        let start = log.reader("t").start_at(StartAt::Offset(Offset::ZERO)).open();
        if let Err(error) = start {
            assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
            assert!(ends(&log).start > Offset::ZERO);
            break;
        }
    }
    assert_eq!(ends(&log).end, offset(20 * rounds));
    log.close().unwrap();
}

/// A trim would remove more or less than it was told, or come back after a crash.
#[test]
fn trim_is_exact_and_survives() {
    let (disk, log) = simulated(6);
    log.create_topic("t", TopicConfig::new().segment_bytes(1024).sync(SyncPolicy::Never)).unwrap();
    let producer = log.producer("t").unwrap();
    for _ in 0..10 {
        producer.send_all((0..10).map(|_| Record::new(&[b'v'; 50]))).unwrap();
    }
    let t0 = place("t", 0);
    let mut start = 0;
    for (before, expected) in [(0, 0), (1, 1), (37, 37), (20, 37), (90, 90), (90, 90)] {
        assert_eq!(log.trim(&t0, offset(before)).unwrap(), offset(expected));
        start = expected;
        let kept = ends(&log);
        assert_eq!(kept.readable(), offset(start)..offset(100));
        assert!(kept.durable_end >= kept.start, "what is behind a start is durable");
        let found = all(log.reader("t"));
        assert_eq!(found.first().map(|record| record.offset()), Some(offset(start)));
        assert_eq!(found.len() as u64, 100 - start);
        for policy in CrashPolicy::ALL {
            let log = reopen(&disk.fork().crash(*policy, before));
            assert_eq!(ends(&log).start, offset(start), "{policy:?}");
        }
    }
    assert_eq!(start, 90);
    assert!(segments(&disk) <= 3, "whole segments below the start are freed");
    for beyond in [100, 101, u64::MAX] {
        assert_eq!(log.trim(&t0, offset(beyond)).unwrap(), offset(100), "nothing behind the end");
    }
    assert_eq!(producer.send(Record::new("v")).unwrap().offset(), offset(100));
    let log = reopen(&disk.crash(CrashPolicy::KeepAll, 1));
    assert_eq!(ends(&log).readable(), offset(100)..offset(101));
}

/// A fetch under way would fail because its files are unlinked, or give other records.
#[test]
fn readers_in_the_middle_finish_what_they_have() {
    let (disk, log) = simulated(7);
    fill(&disk, &log, Retention::forever().max_age(20 * HOUR));
    let mut reader = log.reader("t").stop_at_end().open().unwrap();
    let batch = reader.next_batch().unwrap().unwrap();
    let mut slow = log.reader("t").open().unwrap();
    log.trim(&place("t", 0), offset(100)).unwrap();
    log.maintain().unwrap();
    assert_eq!(segments(&disk), 1, "the active one is left");
    assert_eq!(batch.iter().filter(|record| record.value() == Some(&[b'v'; 150])).count(), 100);
    let error = slow.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
    assert_eq!(error.valid_range(), Some(offset(100)..offset(100)));
}

/// Beside a trimming thread a reader would meet a file that is gone, and call it damage.
#[test]
fn reading_beside_a_trim_gives_records_or_the_valid_range() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions::new().tail_bytes(0).open_files(1);
    let log = options.open(dir.path()).unwrap();
    let config = TopicConfig::new().segment_bytes(1024).sync(SyncPolicy::Never);
    log.create_topic("t", config).unwrap();
    let producer = log.producer("t").unwrap();
    for number in 0..2000_u64 {
        producer.send(Record::new(&number.to_le_bytes())).unwrap();
    }
    let read = || {
        let (mut found, mut passed) = (0, 0);
        let mut reader = log.reader("t").fetch_bytes(64 * 1024).stop_at_end().open().unwrap();
        while let Some(record) = reader.next() {
            match record {
                Ok(record) => {
                    assert_eq!(record.value(), Some(&record.offset().value().to_le_bytes()[..]));
                    found += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
                    passed += 1;
                    reader.seek(0.into(), error.valid_range().unwrap().start).unwrap();
                }
            }
        }
        (found, passed)
    };
    std::thread::scope(|scope| {
        let readers = [(); 2].map(|()| scope.spawn(|| while read().0 > 0 {}));
        for before in (0..=2000).step_by(10) {
            log.trim(&place("t", 0), offset(before)).unwrap();
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    assert_eq!(ends(&log).readable(), offset(2000)..offset(2000));
    log.close().unwrap();
    assert_eq!(files(dir.path()), 1, "what was being read has been unlinked since");
}

#[expect(clippy::disallowed_methods, reason = "the test counts what is left on the disk")]
fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("topics/1/0")).unwrap().count()
}

/// Every crash would leave a file behind that nobody ever unlinks.
#[test]
fn what_recovery_replaces_does_not_stay() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", TopicConfig::new()).unwrap();
    send(&log, "t", &["a"]);
    drop(log);
    for lives in 2..10 {
        let log = Log::open(dir.path()).unwrap();
        send(&log, "t", &["a"]);
        let replaced = log.recovery().partitions.iter().any(|found| found.kept_records > 0);
        assert!(replaced, "the life before was too long: its end was noted");
        let segments = log.stats().partitions[0].segments;
        assert!(files(dir.path()) >= segments);
        if lives % 3 == 0 {
            log.close().unwrap();
            assert_eq!(files(dir.path()), segments);
            drop(Log::open(dir.path()).unwrap());
            let log = Log::open(dir.path()).unwrap();
            send(&log, "t", &["a"]);
        }
    }
}

/// Segments of an idle topic would never be sealed, so that retention could not let them go.
#[test]
fn segments_are_sealed_by_age() {
    let disk = SimDisk::new(8);
    let log = open(&disk.env(), disk.root().join("log"), LogOptions::new()).unwrap();
    log.create_topic("t", TopicConfig::new().segment_age(HOUR)).unwrap();
    for sent in 1..=3 {
        send(&log, "t", &["a", "b"]);
        assert_eq!(log.stats().partitions[0].segments, sent);
        disk.clock().advance(HOUR + Duration::from_millis(1));
    }
    assert_eq!(all(log.reader("t")).len(), 6);
}
