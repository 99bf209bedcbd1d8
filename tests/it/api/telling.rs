//! What a log says of itself: where partitions stand, how it is doing, what it found.

use std::sync::mpsc;

use brooklet::testing::{CrashPolicy, Fault, OpKind, Repeat, SimDisk, open};
use brooklet::{
    Acks, BackgroundError, Batch, Error, ErrorKind, Log, LogOptions, Offset, Pending, Producer,
    Reader, ReaderBuilder, Receipt, Record, RecoveryReport, SendAllError, SendError, Stats,
    StoredRecord, SyncPolicy, TopicConfig, dlq,
};

use super::{offset, place, reopen, send, simulated, values};

/// A user's thread or task could not hold what the log gives him.
#[test]
fn handles_and_answers_cross_threads() {
    fn crosses<T: Send + Sync + std::fmt::Debug>() {}
    crosses::<Log>();
    crosses::<LogOptions>();
    crosses::<Producer>();
    crosses::<Reader>();
    crosses::<ReaderBuilder>();
    crosses::<Batch>();
    crosses::<StoredRecord>();
    crosses::<Receipt>();
    crosses::<Pending>();
    crosses::<Error>();
    crosses::<SendError>();
    crosses::<SendAllError>();
    crosses::<BackgroundError>();
    crosses::<Stats>();
    crosses::<RecoveryReport>();
    crosses::<(dlq::Letters, dlq::Filter, dlq::Redrive, dlq::Discard, dlq::DeadLetters)>();
    crosses::<(dlq::Letter, dlq::Unreadable, dlq::Counts, dlq::FailureGroup, dlq::Redriven)>();
    fn is_future<T: Future + Send + 'static>() {}
    is_future::<Pending>();
}

/// Whoever watches how far a partition is durable would be told a wish.
#[test]
fn offsets_say_what_is_written_durable_and_visible() {
    let (_, log) = simulated(1);
    log.create_topic("t", TopicConfig::new().partitions(2).sync(SyncPolicy::Never)).unwrap();
    let t1 = place("t", 1);
    let fixed = brooklet::partitioner::Fixed(1.into());
    let producer = log.producer("t").unwrap().partitioner(fixed);
    let ends = || {
        let offsets = log.offsets(&t1).unwrap();
        let ends = [offsets.start, offsets.durable_end, offsets.written_end, offsets.end];
        ends.map(Offset::value)
    };
    assert_eq!(ends(), [0, 0, 0, 0]);
    for _ in 0..3 {
        producer.send(Record::new("v")).unwrap();
    }
    assert_eq!(ends(), [0, 0, 3, 3]);
    producer.clone().acks(Acks::Durable).send(Record::new("v")).unwrap();
    assert_eq!(ends(), [0, 4, 4, 4]);
    producer.send(Record::new("v")).unwrap();
    assert_eq!(ends(), [0, 4, 5, 5]);
    log.trim(&t1, offset(2)).unwrap();
    assert_eq!(ends(), [2, 5, 5, 5]);
    assert_eq!(log.offsets(&t1).unwrap().readable(), offset(2)..offset(5));
    let error = log.offsets(&place("t", 2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownPartition);
    assert_eq!(log.offsets(&place("u", 0)).unwrap_err().kind(), ErrorKind::UnknownTopic);
}

/// An operator would look at numbers that have nothing to do with what happened.
#[test]
fn stats_count_what_happened() {
    let (_, log) = simulated(2);
    assert_eq!((log.stats().records(), log.stats().syncs()), (0, 0));
    log.create_topic("a", TopicConfig::new().segment_bytes(1024)).unwrap();
    log.create_topic("b", TopicConfig::new().partitions(2).sync(SyncPolicy::Never)).unwrap();
    send(&log, "a", &["some value that fills segments"; 30]);
    send(&log, "b", &["x", "y", "z"]);
    let stats = log.stats();
    assert_eq!((stats.records(), stats.syncs()), (33, 30));
    let places = stats.partitions.iter().map(|found| found.partition.to_string());
    assert_eq!(places.collect::<Vec<_>>(), ["a/0", "b/0", "b/1"]);
    let a = &stats.partitions[0];
    assert_eq!((a.records, a.syncs, a.queued_bytes, a.unsynced_bytes), (30, 30, 0, 0));
    assert_eq!(a.offsets, log.offsets(&place("a", 0)).unwrap());
    assert!(a.segments >= 3 && a.bytes >= 30 * (30 + 64) && a.stopped.is_none(), "{a:?}");
    assert!(a.longest_sync <= a.sync_time);
    let b = &stats.partitions[1..];
    assert_eq!(b.iter().map(|found| found.records).sum::<u64>(), 3);
    assert!(b.iter().all(|found| found.syncs == 0 && found.unsynced_bytes == found.bytes));
    assert!(values(&log, "a").len() == 30 && log.stats().open_files <= 256);
}

/// A partition that takes no writes any more would look healthy, and its owner hear nothing.
#[test]
fn a_stopped_partition_tells_its_cause_and_the_hook_what_is_lost() {
    let disk = SimDisk::new(3);
    let (tells, told) = mpsc::channel::<BackgroundError>();
    let hook = move |error| tells.send(error).unwrap();
    let options = LogOptions::new().on_background_error(hook);
    let log = open(&disk.env(), disk.root().join("log"), options).unwrap();
    log.create_topic("t", TopicConfig::new().partitions(2).sync(SyncPolicy::Never)).unwrap();
    let to = |partition: u32| {
        let fixed = brooklet::partitioner::Fixed(partition.into());
        log.producer("t").unwrap().partitioner(fixed).acks(Acks::None)
    };
    to(0).send(Record::new("kept")).unwrap();
    let fails = |op: &brooklet::testing::Op| {
        op.kind == OpKind::Write && op.path.extension() == Some("seg".as_ref())
    };
    disk.fail_when(fails, Fault::Eio, Repeat::Once);
    let _ = to(0).send(Record::new("lost"));
    assert_eq!(disk.fired(), 1);
    let stats = log.stats();
    let stopped = stats.partitions[0].stopped.clone().unwrap();
    assert_eq!(stopped.kind(), ErrorKind::Poisoned);
    assert!(stopped.io_error().is_some() && stopped.path().is_some(), "{stopped}");
    assert!(stats.partitions[1].stopped.is_none());
    let told = told.try_iter().collect::<Vec<_>>();
    assert!(!told.is_empty());
    for error in &told {
        assert_eq!(error.partition, Some(place("t", 0)), "{error:?}");
    }
    to(1).send(Record::new("elsewhere")).unwrap();
    assert_eq!(values(&log, "t"), ["kept", "elsewhere"]);
    log.reopen_partition(&place("t", 0)).unwrap();
    assert!(log.stats().partitions[0].stopped.is_none());
    to(0).send(Record::new("again")).unwrap();
    assert_eq!(values(&log, "t").len(), 3);
}

/// Somebody would learn too late, or never, that his last session ended badly.
#[test]
fn recovery_reports_how_the_last_session_ended() {
    let (disk, log) = simulated(4);
    assert!(!log.recovery().was_clean, "a new log was closed by nobody");
    assert!(log.recovery().is_whole() && log.recovery().pending.is_empty());
    log.create_topic("t", TopicConfig::new().partitions(2).sync(SyncPolicy::Never)).unwrap();
    send(&log, "t", &["a", "b", "c"]);
    let disk = disk.crash(CrashPolicy::KeepAll, 1);
    let log = reopen(&disk);
    let report = log.recovery();
    assert!(!report.was_clean && report.partitions.is_empty());
    assert_eq!(report.pending, [place("t", 0), place("t", 1)]);
    assert_eq!(values(&log, "t").len(), 3);
    let report = log.recovery();
    assert!(report.is_whole() && report.pending.is_empty(), "{report:?}");
    assert_eq!(report.partitions.iter().map(|found| found.kept_records).sum::<u64>(), 3);
    log.close().unwrap();
    drop(log);
    disk.write_file("log/stranger.txt", b"hello").unwrap();
    let log = reopen(&disk);
    let report = log.recovery();
    assert!(report.was_clean && report.is_whole() && report.pending.is_empty());
    assert_eq!(report.unknown_files, [disk.root().join("log/stranger.txt")]);
    assert_eq!(disk.read_file("log/stranger.txt").unwrap(), b"hello");
}

/// An error would not say what was being done, to which partition, in which file.
#[test]
fn errors_tell_operation_place_and_cause() {
    let (disk, log) = simulated(5);
    log.create_topic("orders", TopicConfig::new()).unwrap();
    send(&log, "orders", &["a"]);
    let fails = |op: &brooklet::testing::Op| op.kind == OpKind::Sync;
    disk.fail_when(fails, Fault::StorageFull, Repeat::Once);
    let error = log.producer("orders").unwrap().send(Record::new("b")).unwrap_err();
    assert_eq!(disk.fired(), 1);
    let text = error.to_string();
    for piece in ["append to orders/0: ", "sync failed: ", ".seg", "os error 28"] {
        assert!(text.contains(piece), "{piece:?} in {text}");
    }
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(std::io::Error::from(error.error().clone()).kind(), std::io::ErrorKind::StorageFull);
    let unknown = log.producer("order").unwrap_err();
    assert_eq!(unknown.to_string(), "open producer for order: unknown topic");
}
