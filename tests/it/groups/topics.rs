//! Topics that come, grow, go and come again while a group reads them.

use std::path::Path;

use super::{
    BTreeSet, Error, ErrorKind, Log, NOW, Offset, Record, StartAt, TopicConfig, log_with,
    partitions, send, values,
};
use brooklet::testing::{CrashPolicy, Fault, Op, Repeat, SimDisk, open};
use brooklet::{Acks, CommittedOffset, Consumer, LogOptions};

fn tell(log: &Log, topic: &str, value: &str) {
    log.producer(topic).unwrap().send(Record::new(value)).unwrap();
}

/// New topics would be missed, or read from their end.
#[test]
fn a_pattern_takes_in_topics_that_are_made_later_from_their_first_record() {
    let log = log_with("orders.eu", 1);
    tell(&log, "orders.eu", "old");
    let builder = log.consumer("billing").matching("orders.*").start_at(StartAt::Latest);
    let mut consumer = builder.open().unwrap();
    assert_eq!(consumer.assignment().len(), 1);
    for topic in ["orders.us", "clicks", "orders"] {
        log.create_topic(topic, TopicConfig::new()).unwrap();
        tell(&log, topic, topic);
    }
    assert_eq!(values(&mut consumer), ["orders.us"]);
    log.delete_topic("orders.us").unwrap();
    assert!(values(&mut consumer).is_empty());
    assert_eq!(consumer.assignment().len(), 1);
    // Whoever comes later, and wants to begin at the end, takes nothing from those that read.
    log.create_topic("orders.jp", TopicConfig::new()).unwrap();
    tell(&log, "orders.jp", "orders.jp");
    let builder = log.consumer("billing").topics(["orders.jp"]).start_at(StartAt::Latest);
    let mut other = builder.open().unwrap();
    let mut read = values(&mut consumer);
    read.extend(values(&mut other));
    assert_eq!(read, ["orders.jp"]);
}

/// Partitions that are added would begin at their end, or belong to nobody.
#[test]
fn added_partitions_begin_at_their_first_record_and_have_no_commit() {
    let log = log_with("orders", 1);
    let builder = log.consumer("billing").topics(["orders"]).start_at(StartAt::Latest);
    let mut consumer = builder.open().unwrap();
    let generation = log.group("billing").unwrap().generation;
    log.add_partitions("orders", 4).unwrap();
    send(&log, "orders", 0..40);
    let group = log.group("billing").unwrap();
    assert!(group.generation > generation);
    assert_eq!(group.partitions.iter().filter(|found| found.committed.is_some()).count(), 1);
    assert_eq!((group.lag(), values(&mut consumer).len()), (40, 40));
    assert_eq!(partitions(&consumer), BTreeSet::from([0, 1, 2, 3]));
}

/// A commit for records that are gone would skip those of a topic of the same name.
#[test]
fn a_topic_that_was_deleted_and_made_again_is_read_from_its_first_record() {
    for reopens in [false, true] {
        let disk = SimDisk::new(4);
        let dir = disk.root().join("log");
        let start = || open(&disk.env(), &dir, LogOptions::new()).unwrap();
        let join = |log: &Log| log.consumer("billing").topics(["orders"]).open().unwrap();
        let mut log = start();
        log.create_topic("orders", TopicConfig::new()).unwrap();
        send(&log, "orders", 0..5);
        let mut consumer = join(&log);
        values(&mut consumer);
        consumer.commit().unwrap();
        let place = consumer.assignment().pop().unwrap();
        log.delete_topic("orders").unwrap();
        let error = consumer.commit_offsets([(place.clone(), Offset::new(5))]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotOwner);
        consumer.commit().unwrap();
        assert!(consumer.poll(NOW).unwrap().is_empty());
        assert_eq!(consumer.assignment(), []);
        if reopens {
            drop(consumer);
            log.close().unwrap();
            log = start();
            assert_eq!(log.groups().unwrap(), []);
            log.create_topic("orders", TopicConfig::new()).unwrap();
            consumer = join(&log);
        } else {
            log.create_topic("orders", TopicConfig::new()).unwrap();
        }
        send(&log, "orders", 5..8);
        assert_eq!(values(&mut consumer), ["5", "6", "7"], "reopens: {reopens}");
        consumer.commit().unwrap();
        assert_eq!(consumer.committed(&place).map(|at| at.offset()), Some(Offset::new(3)));
    }
}

/// What was committed for a topic that is gone would count for the next one, if the power went off
/// before that was forgotten.
#[test]
fn commits_that_outlive_their_topic_count_for_no_other() {
    let join = |log: &Log| log.consumer("billing").topics(["orders"]).open().unwrap();
    let noted = |at: u64| CommittedOffset::at(Offset::new(at)).with_metadata("old");
    for records in [0, 5] {
        let disk = SimDisk::new(4);
        let dir = disk.root().join("log");
        let log = open(&disk.env(), &dir, LogOptions::new()).unwrap();
        log.create_topic("clicks", TopicConfig::new()).unwrap();
        log.create_topic("orders", TopicConfig::new()).unwrap();
        send(&log, "orders", 0..records);
        let consumer = join(&log);
        let place = consumer.assignment().pop().unwrap();
        consumer.commit_offsets([(place.clone(), noted(records.into()))]).unwrap();
        drop(consumer);
        log.delete_topic("orders").unwrap();
        // Everything that told of the topic is gone for good with this, but for the commit.
        log.add_partitions("clicks", 2).unwrap();
        let disk = disk.crash(CrashPolicy::LoseAll, 0);
        let log = open(&disk.env(), &dir, LogOptions::new()).unwrap();
        assert_eq!(log.groups().unwrap().len(), 1, "the commit was forgotten, and shows nothing");
        log.create_topic("orders", TopicConfig::new()).unwrap();
        send(&log, "orders", 0..6);
        let mut consumer = join(&log);
        assert_eq!(values(&mut consumer).len(), 6);
        assert_eq!(consumer.committed(&place), Some(CommittedOffset::at(Offset::ZERO)));
    }
}

/// A first position that was never written would be taken for one that was.
#[test]
fn a_pattern_whose_first_positions_could_not_be_written_is_not_known() {
    let disk = SimDisk::new(4);
    let dir = disk.root().join("log");
    let log = open(&disk.env(), &dir, LogOptions::new()).unwrap();
    log.create_topic("orders.eu", TopicConfig::new()).unwrap();
    send(&log, "orders.eu", 0..5);
    let join = || -> Result<Consumer, Error> {
        log.consumer("billing").matching("orders.*").start_at(StartAt::Latest).open()
    };
    let is_journal = |op: &Op| op.path.starts_with(Path::new("/sim/log/offsets"));
    disk.fail_when(is_journal, Fault::Eio, Repeat::Forever);
    join().unwrap_err();
    assert!(disk.fired() > 0);
    disk.clear_faults();
    let mut consumer = join().unwrap();
    assert!(values(&mut consumer).is_empty(), "the first position was forgotten");
    drop(consumer);
    // And one that failed at first and was written then is known after a restart.
    log.delete_group("billing").unwrap();
    disk.fail_when(is_journal, Fault::Eio, Repeat::Once);
    drop(join().unwrap());
    log.create_topic("orders.us", TopicConfig::new()).unwrap();
    log.producer("orders.us").unwrap().acks(Acks::Durable).send(Record::new("first")).unwrap();
    log.close().unwrap();
    let log = open(&disk.env(), &dir, LogOptions::new()).unwrap();
    let builder = log.consumer("billing").matching("orders.*").start_at(StartAt::Latest);
    assert_eq!(values(&mut builder.open().unwrap()), ["first"]);
}
