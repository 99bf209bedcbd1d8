//! Topics: made, described, changed, deleted, and what of that a restart keeps.

use std::time::Duration;

use brooklet::testing::{CrashPolicy, Op, OpKind};
use brooklet::{
    Acks, Ensured, ErrorKind, Fate, Log, LogOptions, Offset, Record, Retention, SyncPolicy,
    TopicConfig,
};

use super::{offset, place, reopen, send, simulated, values};

/// Every setting away from its default.
fn unusual() -> TopicConfig {
    let hour = Duration::from_secs(3600);
    TopicConfig::new()
        .partitions(7)
        .sync(SyncPolicy::Every(Duration::from_millis(250)))
        .segment_bytes(4096)
        .segment_age(hour)
        .retention(Retention::forever().max_age(hour * 2).max_bytes(1 << 20).hold_uncommitted(true))
        .max_record_bytes(1000)
}

/// A topic would come back from a restart without a setting, or under another order.
#[test]
fn topics_and_their_settings_survive_reopening() {
    let (disk, log) = simulated(1);
    let configs = [
        ("defaults", TopicConfig::new()),
        ("unusual", unusual()),
        ("always", TopicConfig::new().sync(SyncPolicy::Always)),
        ("Never", TopicConfig::new().sync(SyncPolicy::Never)),
    ];
    for (name, config) in &configs {
        log.create_topic(name, config.clone()).unwrap();
    }
    let described = log.topics().unwrap();
    let names = described.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["Never", "always", "defaults", "unusual"]);
    assert_eq!(log.topic("unusual").unwrap().config, unusual());
    assert_eq!(log.topic("unusual").unwrap().config.partition_count(), 7);
    assert_eq!(log.topic("defaults").unwrap().config.sync_policy(), SyncPolicy::Always);
    // Once after a clean close, once after a loss of power.
    log.close().unwrap();
    let log = reopen(&disk);
    assert_eq!(log.topics().unwrap(), described);
    let disk = disk.crash(CrashPolicy::LoseAll, 1);
    assert_eq!(reopen(&disk).topics().unwrap(), described);
}

/// A service that ensures its topics at start would not learn that one differs, or would change it.
#[test]
fn ensuring_tells_what_differs_and_changes_nothing() {
    let (disk, log) = simulated(2);
    assert_eq!(log.ensure_topic("t", unusual()).unwrap(), Ensured::Created);
    assert_eq!(log.ensure_topic("t", unusual()).unwrap(), Ensured::Unchanged);
    let before = disk.snapshot();
    let differs = [
        (unusual().partitions(8), vec!["partitions"]),
        (unusual().sync(SyncPolicy::Never), vec!["sync"]),
        (unusual().segment_bytes(8192), vec!["segment_bytes"]),
        (unusual().segment_age(Duration::from_secs(1)), vec!["segment_age"]),
        (unusual().retention(Retention::forever()), vec!["retention"]),
        (unusual().max_record_bytes(1001), vec!["max_record_bytes"]),
        (unusual().partitions(1).max_record_bytes(64), vec!["partitions", "max_record_bytes"]),
    ];
    for (config, expected) in differs {
        assert_eq!(log.ensure_topic("t", config).unwrap(), Ensured::Differs(expected));
        assert_eq!(log.topic("t").unwrap().config, unusual());
    }
    let error = log.create_topic("t", unusual()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicExists);
    assert_eq!(disk.snapshot(), before);
}

/// A topic made without a policy would be less durable than its log's options say.
#[test]
fn the_logs_default_policy_is_taken_when_a_topic_is_made() {
    let policy = SyncPolicy::Every(Duration::from_secs(1));
    let log = LogOptions::new().default_sync(policy).open_in_memory().unwrap();
    log.create_topic("t", TopicConfig::new()).unwrap();
    assert_eq!(log.topic("t").unwrap().config.sync_policy(), policy);
    assert_eq!(log.ensure_topic("t", TopicConfig::new()).unwrap(), Ensured::Unchanged);
    let other = TopicConfig::new().sync(SyncPolicy::Always);
    assert_eq!(log.ensure_topic("t", other).unwrap(), Ensured::Differs(vec!["sync"]));
}

/// A deleted topic would keep its space, or take another topic's files with it.
#[test]
fn deleting_frees_the_disk_and_leaves_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    for name in ["gone", "kept"] {
        log.create_topic(name, TopicConfig::new().partitions(3).segment_bytes(1024)).unwrap();
        send(&log, name, &["some value that fills segments"; 100]);
    }
    #[expect(clippy::disallowed_methods, reason = "the test counts what is left on the disk")]
    let topics = |dir: &std::path::Path| std::fs::read_dir(dir.join("topics")).unwrap().count();
    assert_eq!(topics(dir.path()), 2);
    log.delete_topic("gone").unwrap();
    assert_eq!(topics(dir.path()), 1);
    assert_eq!(log.delete_topic("gone").unwrap_err().kind(), ErrorKind::UnknownTopic);
    assert_eq!(log.topic("gone").unwrap_err().kind(), ErrorKind::UnknownTopic);
    assert_eq!(values(&log, "kept").len(), 100);
    drop(log);
    let log = Log::open(dir.path()).unwrap();
    assert_eq!(log.topics().unwrap().len(), 1);
    assert_eq!(values(&log, "kept").len(), 100);
    assert_eq!(topics(dir.path()), 1);
}

/// Somebody would read records of a topic that was deleted, or be told old offsets.
#[test]
fn a_topic_made_again_has_nothing_of_the_old_one() {
    for (round, policy) in CrashPolicy::ALL.iter().enumerate() {
        let (disk, log) = simulated(3);
        let config = TopicConfig::new().segment_bytes(1024);
        log.create_topic("t", config.clone()).unwrap();
        send(&log, "t", &["old"; 50]);
        let old = log.producer("t").unwrap();
        log.delete_topic("t").unwrap();
        log.create_topic("t", config).unwrap();
        assert_eq!(values(&log, "t"), [""; 0]);
        let refused = old.send(Record::new("old")).unwrap_err();
        assert_eq!(refused.error().kind(), ErrorKind::UnknownTopic);
        assert_eq!(refused.fate(), Fate::NotAppended);
        let receipt = log.producer("t").unwrap().send(Record::new("new")).unwrap();
        assert_eq!(receipt.offset(), Offset::ZERO);
        assert_eq!(values(&log, "t"), ["new"]);
        let disk = disk.crash(*policy, round as u64);
        assert_eq!(values(&reopen(&disk), "t"), ["new"], "after {policy:?}");
    }
}

/// A live handle would go on in files that are gone, or hang.
#[test]
fn handles_of_a_deleted_topic_say_so() {
    let log = Log::in_memory().unwrap();
    log.create_topic("t", TopicConfig::new()).unwrap();
    send(&log, "t", &["a", "b"]);
    let producer = log.producer("t").unwrap();
    let mut reader = log.reader("t").stop_at_end().open().unwrap();
    log.delete_topic("t").unwrap();
    let unknown = |kind: ErrorKind| assert_eq!(kind, ErrorKind::UnknownTopic);
    let refused = producer.send(Record::new("c")).unwrap_err();
    assert_eq!(refused.fate(), Fate::NotAppended);
    unknown(refused.error().kind());
    unknown(producer.submit(Record::new("c")).wait().unwrap_err().error().kind());
    unknown(producer.send_all([Record::new("c")]).unwrap_err().first().error().kind());
    unknown(reader.next().unwrap().unwrap_err().kind());
    assert!(reader.next().is_none(), "an error that does not pass is told once");
    unknown(log.producer("t").unwrap_err().kind());
    unknown(log.reader("t").open().unwrap_err().kind());
    unknown(log.offsets(&place("t", 0)).unwrap_err().kind());
    unknown(log.trim(&place("t", 0), offset(1)).unwrap_err().kind());
    unknown(log.alter_topic("t", TopicConfig::new()).unwrap_err().kind());
    unknown(log.add_partitions("t", 2).unwrap_err().kind());
}

/// A partition that nobody had looked at would be recovered for the deletion, or come to life later.
#[test]
fn handles_of_a_deleted_topic_that_was_never_looked_at_say_so() {
    let (disk, log) = simulated(9);
    log.create_topic("t", TopicConfig::new()).unwrap();
    send(&log, "t", &["a", "b"]);
    drop(log);
    let disk = disk.crash(CrashPolicy::KeepAll, 1);
    let log = reopen(&disk);
    let (producer, reader) = (log.producer("t").unwrap(), log.reader("t"));
    disk.clear_log();
    log.delete_topic("t").unwrap();
    let is_segment = |op: &&Op| op.path.extension() == Some("seg".as_ref());
    let kinds = disk.log().iter().filter(is_segment).map(|op| op.kind).collect::<Vec<_>>();
    assert_eq!(kinds, [OpKind::Remove]);
    let refused = producer.send(Record::new("c")).unwrap_err();
    assert_eq!((refused.kind(), refused.fate()), (ErrorKind::UnknownTopic, Fate::NotAppended));
    let kind = producer.submit(Record::new("c")).wait().unwrap_err().kind();
    assert_eq!(kind, ErrorKind::UnknownTopic);
    let read = reader.open().and_then(|mut reader| reader.next().unwrap());
    assert_eq!(read.unwrap_err().kind(), ErrorKind::UnknownTopic);
    assert!(log.recovery().pending.is_empty());
    log.maintain().unwrap();
    log.close().unwrap();
    assert!(!disk.files().iter().any(|path| path.starts_with(disk.root().join("log/topics"))));
}

/// New partitions would be lost, not be used, or disturb the old ones.
#[test]
fn partitions_are_added_and_used() {
    let (disk, log) = simulated(4);
    log.create_topic("t", TopicConfig::new()).unwrap();
    let producer = log.producer("t").unwrap();
    producer.send(Record::new("before").key("k3")).unwrap();
    log.add_partitions("t", 5).unwrap();
    log.add_partitions("t", 5).unwrap();
    assert_eq!(log.topic("t").unwrap().config.partition_count(), 5);
    // The producer was made before, and knows of them all the same.
    let partitions = (0..50).map(|number| {
        let key = format!("k{number}");
        producer.send(Record::new("after").key(&key)).unwrap().partition().value()
    });
    let used = partitions.collect::<std::collections::BTreeSet<_>>();
    assert_eq!(used.len(), 5);
    let disk = disk.crash(CrashPolicy::LoseAll, 1);
    let log = reopen(&disk);
    assert_eq!(log.topic("t").unwrap().config.partition_count(), 5);
    assert_eq!(values(&log, "t").len(), 51);
    assert_eq!(log.offsets(&place("t", 4)).unwrap().start, Offset::ZERO);
}

/// Consumers of an `Always` topic would see records that a power cut takes back.
#[test]
fn altering_to_always_syncs_what_is_there_first() {
    let (disk, log) = simulated(5);
    let never = TopicConfig::new().partitions(2).sync(SyncPolicy::Never);
    log.create_topic("t", never.clone()).unwrap();
    let producer = log.producer("t").unwrap();
    producer.send_all((0..10).map(|_| Record::new("a").key("x"))).unwrap();
    producer.send_all((0..10).map(|_| Record::new("a").key("y2"))).unwrap();
    let unaltered = disk.fork().crash(CrashPolicy::LoseAll, 1);
    assert_eq!(values(&reopen(&unaltered), "t"), [""; 0], "nothing was durable before");

    log.alter_topic("t", never.sync(SyncPolicy::Always)).unwrap();
    assert_eq!(values(&log, "t").len(), 20);
    assert_eq!(values(&reopen(&disk.fork().crash(CrashPolicy::LoseAll, 1)), "t").len(), 20);
    // From now on a producer waits for the sync without being told.
    producer.send(Record::new("b").key("x")).unwrap();
    let log = reopen(&disk.crash(CrashPolicy::LoseAll, 1));
    assert_eq!(values(&log, "t").len(), 21);
    assert_eq!(log.topic("t").unwrap().config.sync_policy(), SyncPolicy::Always);
}

/// A change of settings would wait for a restart, or not survive one.
#[test]
fn altered_settings_hold_at_once_and_after_reopening() {
    let (disk, log) = simulated(6);
    log.create_topic("t", TopicConfig::new()).unwrap();
    let producer = log.producer("t").unwrap();
    producer.send(Record::new(&[7; 500])).unwrap();
    let config = TopicConfig::new().max_record_bytes(100).sync(SyncPolicy::Never);
    let config = config.segment_bytes(1024);
    log.alter_topic("t", config.clone()).unwrap();
    let refused = producer.send(Record::new(&[7; 500])).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::InvalidRecord);
    let syncs = log.stats().syncs();
    for _ in 0..50 {
        producer.send(Record::new(&[7; 80])).unwrap();
    }
    assert_eq!(log.stats().syncs(), syncs, "nobody asked for a sync, and the topic does not");
    assert!(log.stats().partitions[0].segments > 2);
    producer.clone().acks(Acks::Durable).send(Record::new("last")).unwrap();
    let log = reopen(&disk.crash(CrashPolicy::LoseAll, 1));
    assert_eq!(log.topic("t").unwrap().config, config);
    assert_eq!(values_len(&log), 52);
}

fn values_len(log: &Log) -> usize {
    super::all(log.reader("t")).len()
}
