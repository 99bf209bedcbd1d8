//! Backups: copies of a live log that open as logs, whatever happens while they are made.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use brooklet::testing::{CrashPolicy, Fault, Repeat, SimDisk};
use brooklet::worker::{Failure, Worker};
use brooklet::{
    ErrorKind, Log, Offset, Record, Retention, SyncPolicy, TopicConfig, TopicPartition,
};

use super::{Told, at, open_at, told, verify_at};
use crate::damage::history::{History, OTHER, Stop, TOPIC, log_dir, open_log, read_over};

/// A log with everything in it: several topics and policies, a trim, commits, dead letters.
fn furnished(disk: &SimDisk) -> Log {
    let log = open_at(disk, "log").unwrap();
    let config = TopicConfig::new().segment_bytes(1024);
    log.create_topic("orders", config.clone().partitions(2)).unwrap();
    log.create_topic("clicks", config.clone().sync(SyncPolicy::Never)).unwrap();
    log.create_topic("empty", config.retention(Retention::forever().max_bytes(1 << 20))).unwrap();
    log.create_topic("gone", TopicConfig::new()).unwrap();
    for topic in ["orders", "clicks"] {
        let producer = log.producer(topic).unwrap();
        for number in 0..20 {
            let value = format!("{topic} {number} {}", "x".repeat(120));
            producer
                .send(Record::new(&value).key(&format!("key {number}")).header("a", "b"))
                .unwrap();
        }
    }
    log.trim(&TopicPartition::new("clicks".parse().unwrap(), 0.into()), Offset::new(7)).unwrap();
    let mut consumer = log.consumer("reading").topics(["clicks", "gone"]).open().unwrap();
    assert!(!consumer.poll(Duration::ZERO).unwrap().is_empty());
    consumer.commit().unwrap();
    drop(consumer);
    log.delete_topic("gone").unwrap();
    let worker = Worker::new(&log, "billing").topics(["orders"]).handle(|delivery| {
        match delivery.offset().value() % 5 {
            3 => Err(Failure::Dead("not to be billed".into())),
            _ => Ok(()),
        }
    });
    futures_lite::future::block_on(futures_lite::future::or(
        async {
            let _ = worker.run(std::future::pending::<()>()).await;
        },
        async {
            let caught_up = || {
                let group = log.group("billing");
                group.is_ok_and(|group| group.partitions.iter().all(|found| found.lag == 0))
            };
            while !caught_up() {
                futures_lite::future::yield_now().await;
            }
        },
    ));
    log
}

/// A restored log would lack records, settings, positions or letters, or have other ones.
#[test]
fn a_backup_is_the_log_once_more() {
    let disk = SimDisk::new(5);
    let log = furnished(&disk);
    let whole = told(&log).unwrap();
    assert!(whole.topics.len() >= 4, "dead letters are part of it: {:?}", whole.topics.keys());
    let report = log.backup(at(&disk, "copy")).unwrap();
    assert!(report.is_whole());
    let records: usize = whole.records.values().map(Vec::len).sum();
    assert_eq!((report.topics, report.records), (whole.topics.len() as u64, records as u64));
    for policy in [CrashPolicy::LoseAll, CrashPolicy::KeepAll, CrashPolicy::UnlinkFirst] {
        let after = disk.crash(policy, 7);
        let found = verify_at(&after, "copy");
        assert!(found.findings.is_empty(), "{policy:?}: {found:?}");
        let copy = open_at(&after, "copy").unwrap();
        assert!(copy.recovery().was_clean, "{policy:?}");
        assert_eq!(told(&copy).unwrap().differences(&whole), "", "{policy:?}");
        // It goes on like any other log, and knows the letters that it has.
        copy.producer("orders").unwrap().send(Record::new("one more")).unwrap();
        copy.create_topic("next", TopicConfig::new()).unwrap();
        assert!(brooklet::dlq::Letters::of(&copy).failure_groups(&Default::default()).is_ok());
        copy.close().unwrap();
    }
}

/// The operations that a backup makes when nothing fails, and what it is to copy.
fn rehearsal() -> (Range<u64>, Told) {
    let disk = SimDisk::new(6);
    let log = furnished(&disk);
    let whole = told(&log).unwrap();
    let before = disk.ops();
    assert!(log.backup(at(&disk, "copy")).unwrap().is_whole());
    let operations = before..disk.ops();
    assert!(operations.end - operations.start > 50, "{operations:?}");
    (operations, whole)
}

/// A copy that was interrupted would pass for a log, with less in it than it should have.
#[test]
fn a_power_cut_at_any_operation_leaves_a_whole_copy_or_none() {
    let (operations, whole) = rehearsal();
    let (mut none, mut complete) = (0, 0);
    for number in operations {
        let disk = SimDisk::new(6);
        let log = furnished(&disk);
        disk.power_off_at(number);
        let made = log.backup(at(&disk, "copy"));
        let policies = [CrashPolicy::LoseAll, CrashPolicy::KeepAll, CrashPolicy::PrefixPerFile];
        for policy in policies.into_iter().cycle().skip(number as usize % 3).take(1) {
            let after = disk.crash(policy, number);
            match open_at(&after, "copy") {
                Ok(copy) if copy.topics().unwrap().is_empty() => {
                    // There is not even a file of it yet; a new log was made in its place.
                    assert!(made.is_err());
                    none += 1;
                }
                Ok(copy) => {
                    assert_eq!(
                        told(&copy).unwrap().differences(&whole),
                        "",
                        "{policy:?} at {number}"
                    );
                    complete += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{policy:?} at {number}: {error}");
                    assert!(made.is_err());
                    none += 1;
                }
            }
            let log = open_at(&after, "log").unwrap();
            assert!(log.recovery().partitions.iter().all(|found| found.damage.is_none()));
        }
    }
    assert!(none > 50 && complete > 0, "{none} {complete}");
}

/// A refused operation would be passed over, and the copy would lack what it was about.
#[test]
fn any_failing_operation_fails_the_backup_and_harms_nothing() {
    let (operations, whole) = rehearsal();
    let mut failed = 0;
    for number in operations {
        let disk = SimDisk::new(6);
        let log = furnished(&disk);
        disk.fail_at(number, Fault::Eio, Repeat::Once);
        let made = log.backup(at(&disk, "copy"));
        assert_eq!(disk.fired(), 1, "operation {number} did not fail");
        match made {
            // Some operations only make things easier: room ahead, a footer.
            Ok(report) => {
                assert!(report.is_whole());
                let found = told(&open_at(&disk, "copy").unwrap()).unwrap();
                assert_eq!(found.differences(&whole), "", "operation {number}");
            }
            Err(error) => {
                failed += 1;
                assert_eq!(error.kind(), ErrorKind::Io, "operation {number}: {error}");
                assert!(log.backup(at(&disk, "other")).unwrap().is_whole());
                let found = told(&open_at(&disk, "other").unwrap()).unwrap();
                assert_eq!(found.differences(&whole), "", "operation {number}");
            }
        }
        assert_eq!(told(&log).unwrap().differences(&whole), "", "operation {number}");
    }
    assert!(failed > 30, "only {failed} failed");
}

/// Damage would be copied, or one bad record would keep all others from being saved.
#[test]
fn what_is_damaged_is_missing_in_the_copy_and_told() {
    let history = History::new(Stop::Clean);
    for (segment, frame) in history.frames() {
        let disk = history.disk.fork();
        disk.flip_bit(&segment.path, 8 * (frame.bytes.start as u64 + 70)).unwrap();
        let log = open_log(&disk).unwrap();
        let report = log.backup(at(&disk, "copy")).unwrap();
        let lost = report.lost.iter().map(|error| {
            let lost = error.lost_range().unwrap();
            lost.start.value()..lost.end.value()
        });
        assert_eq!(lost.collect::<Vec<_>>(), [frame.offsets()]);
        assert_eq!(report.lost[0].path(), Some(&*segment.path));
        let copy = open_at(&disk, "copy").unwrap();
        let (records, errors) = read_over(&copy, TOPIC).unwrap();
        assert_eq!(records, history.without(&frame.offsets()));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].kind(), ErrorKind::MissingSegment);
        assert_eq!(read_over(&copy, OTHER).unwrap().0.len(), 1);
        let next = copy.producer(TOPIC).unwrap().send(Record::new("behind it")).unwrap();
        assert_eq!(next.offset().value(), history.records.len() as u64);
    }
}

/// A backup would write among the files of something else.
#[test]
fn a_backup_needs_a_place_of_its_own() {
    let disk = SimDisk::new(2);
    let log = open_at(&disk, "log").unwrap();
    log.create_topic("orders", TopicConfig::new()).unwrap();
    let before = disk.snapshot();
    let refused = log.backup(log_dir(&disk)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotEmpty, "{refused}");
    disk.env().fs.create_dir(&at(&disk, "notes")).unwrap();
    disk.write_file(at(&disk, "notes").join("notes.txt"), b"not a log").unwrap();
    let refused = log.backup(at(&disk, "notes")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotEmpty, "{refused}");
    assert!(disk.snapshot().len() == before.len() + 1);
    assert!(log.backup(at(&disk, "new/place")).unwrap().is_whole());
    let refused = log.backup(at(&disk, "new/place")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotEmpty, "{refused}");
    log.close().unwrap();
    assert_eq!(log.backup(at(&disk, "third")).unwrap_err().kind(), ErrorKind::Closed);
}

/// A log in memory would be copied to memory, where nobody finds it.
#[test]
fn a_log_in_memory_is_copied_to_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::in_memory().unwrap();
    log.create_topic("orders", TopicConfig::new()).unwrap();
    log.producer("orders").unwrap().send(Record::new("from memory")).unwrap();
    assert!(log.backup(dir.path().join("copy")).unwrap().is_whole());
    let copy = Log::open(dir.path().join("copy")).unwrap();
    let record = copy.reader("orders").open().unwrap().next().unwrap().unwrap();
    assert_eq!(record.value(), Some(&b"from memory"[..]));
}

/// Records that were acknowledged before the call, or commits' records, would be missing.
#[test]
fn a_backup_under_load_has_all_that_was_acknowledged_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path().join("log")).unwrap();
    let config = TopicConfig::new().segment_bytes(8192);
    log.create_topic("orders", config.clone().sync(SyncPolicy::Never)).unwrap();
    log.create_topic("bills", config.clone()).unwrap();
    let (stop, acked) = (AtomicBool::new(false), AtomicU64::new(0));
    let allowed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        // Whatever is found, the others come to an end.
        let _stops = Stops(&stop);
        scope.spawn(|| {
            let producer = log.producer("orders").unwrap();
            while !stop.load(Ordering::Relaxed) {
                let number = acked.load(Ordering::Relaxed);
                if number >= allowed.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                    continue;
                }
                producer.send(Record::new(&format!("order {number}"))).unwrap();
                acked.store(number + 1, Ordering::Release);
            }
        });
        scope.spawn(|| {
            // A bill rests on an order, and a commit on both.
            let bills = log.producer("bills").unwrap();
            let mut consumer = log.consumer("billing").topics(["orders"]).open().unwrap();
            while !stop.load(Ordering::Relaxed) {
                let batch = consumer.poll(Duration::from_millis(5)).unwrap();
                let values = batch.iter().map(|record| Record::new(record.value().unwrap()));
                bills.send_all(values).unwrap();
                consumer.commit().unwrap();
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                log.create_topic("passing", config.clone()).unwrap();
                log.producer("passing").unwrap().send(Record::new("soon gone")).unwrap();
                log.delete_topic("passing").unwrap();
            }
        });
        for round in 0..10 {
            // Enough to go on for as long as the copy takes, and not for ever.
            allowed.fetch_add(500, Ordering::Relaxed);
            while acked.load(Ordering::Acquire) < 200 * (round + 1) {
                std::thread::yield_now();
            }
            let before = acked.load(Ordering::Acquire);
            let path = dir.path().join(format!("copy {round}"));
            assert!(log.backup(&path).unwrap().is_whole(), "copy {round}");
            check_copy(&path, before);
        }
    });
}

/// Stops all threads that look at the flag, when it goes.
pub(super) struct Stops<'a>(pub(super) &'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn check_copy(path: &std::path::Path, acked: u64) {
    let found = Log::verify_dir(path).unwrap();
    assert!(found.findings.is_empty(), "{found:?}");
    let copy = Log::open(path).unwrap();
    let (orders, errors) = read_over(&copy, "orders").unwrap();
    assert!(errors.is_empty() && orders.len() as u64 >= acked, "{} of {acked}", orders.len());
    for (order, number) in orders.iter().zip(0..) {
        assert_eq!(order.value, Some(format!("order {number}").into_bytes()));
    }
    let (bills, _) = read_over(&copy, "bills").unwrap();
    let counts = bills.iter().map(|bill| (bill.value.clone(), ()));
    let billed = counts.collect::<BTreeMap<_, _>>();
    for partition in copy.group("billing").map(|group| group.partitions).unwrap_or_default() {
        let committed = partition.committed.map_or(0, |at| at.offset().value());
        assert!(committed <= orders.len() as u64, "a commit without its records");
        for order in orders.iter().take(usize::try_from(committed).unwrap()) {
            assert!(billed.contains_key(&order.value), "a commit without what was done before it");
        }
    }
}
