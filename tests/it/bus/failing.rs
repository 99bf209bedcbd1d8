//! Faults by the step of the log that they hit.

use brooklet::testing::{Fault, Step, TestBus};
use brooklet::worker::Why;
use brooklet::{
    Acks, ErrorKind, Fate, PartitionId, Record, TopicConfig, TopicName, TopicPartition,
};

use super::{Seen, billing, bus_with, publish};

fn place(topic: &str) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(0))
}

fn minute(bus: &mut TestBus) -> u64 {
    bus.advance(std::time::Duration::from_secs(60)).unwrap().handled
}

/// A test of what a program does without a disk would run with one.
#[test]
fn appends_and_syncs_fail_for_the_topic_that_was_named() {
    let bus = TestBus::new().unwrap();
    for topic in ["orders", "users"] {
        bus.publish(topic, Record::new("kept")).unwrap();
    }
    let send = |topic: &str| bus.log().producer(topic).unwrap().send(Record::new("new"));
    bus.fail(Step::Append).on("orders").always(Fault::StorageFull).unwrap();
    for _ in 0..2 {
        let error = send("orders").unwrap_err();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::StorageFull, Fate::NotAppended));
    }
    send("users").unwrap();
    assert_eq!(bus.disk().fired(), 2);
    bus.disk().clear_faults();
    send("orders").unwrap();

    bus.fail(Step::Sync).on("users").once(Fault::Eio).unwrap();
    assert_eq!(send("users").unwrap_err().fate(), Fate::Unknown);
    assert_eq!(bus.disk().fired(), 3);
    send("orders").unwrap();
    assert_eq!(send("users").unwrap_err().kind(), ErrorKind::Poisoned);
    let error = bus.fail(Step::Append).on("none").once(Fault::Eio).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownTopic);
}

/// The same, for what is read and for what the catalog keeps.
#[test]
fn reads_and_changes_of_topics_fail() {
    let mut bus = TestBus::new().unwrap();
    for number in 0..10 {
        publish(&bus, &number.to_string());
    }
    // What was written in this session is in memory; what is older is read.
    bus.restart(|_| Ok([])).unwrap();
    bus.log().offsets(&place("orders")).unwrap();
    bus.fail(Step::Read).on("orders").once(Fault::Eio).unwrap();
    assert_eq!(bus.topic("orders").records().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(bus.disk().fired(), 1);
    bus.topic("orders").assert_len(10);

    bus.fail(Step::Catalog).always(Fault::StorageFull).unwrap();
    let error = bus.log().create_topic("users", TopicConfig::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(bus.disk().fired() > 1);
    bus.disk().clear_faults();
    bus.log().create_topic("users", TopicConfig::new()).unwrap();
}

/// A worker whose commits fail would lose its position, or say nothing.
#[test]
fn commits_fail_and_are_made_up_for() {
    let seen = Seen::default();
    let mut bus = bus_with(&["fine 0", "fine 1"], &seen);
    let control = bus.attach(billing(bus.log(), &Seen::default())).unwrap();
    control.stop();
    bus.fail(Step::Commit).always(Fault::StorageFull).unwrap();
    bus.settle().unwrap();
    assert!(bus.disk().fired() > 0);
    assert_eq!(seen.take().len(), 2);
    assert_eq!(bus.group("billing").lag().unwrap(), 2);
    bus.disk().clear_faults();
    minute(&mut bus);
    bus.group("billing").assert_caught_up();
    assert!(seen.take().is_empty(), "a commit that fails is no reason to handle again");
}

/// The one write that nobody may lose could not be made to fail.
#[test]
fn dead_letters_fail_before_there_was_one_and_after() {
    let seen = Seen::default();
    let mut bus = bus_with(&["dead 0", "fine 1"], &seen);
    let control = bus.attach(billing(bus.log(), &seen)).unwrap();
    for number in 0..2_usize {
        bus.fail(Step::DeadLetter).on("orders").always(Fault::StorageFull).unwrap();
        let fired = bus.disk().fired();
        bus.settle().unwrap();
        assert!(bus.disk().fired() > fired, "the fault did not fire");
        bus.dead_letters().assert_count(number);
        bus.publish("orders", Record::new("fine")).expect("other topics are not hit");
        let statuses = control.status().partitions;
        assert!(statuses.is_empty(), "the one partition is with the first worker");
        bus.disk().clear_faults();
        minute(&mut bus);
        bus.dead_letters().assert_count(number + 1);
        bus.group("billing").assert_caught_up();
        publish(&bus, "dead again");
    }
    bus.settle().unwrap();
    bus.dead_letters().assert_count(3);
}

/// A fault for letters of one topic would hit those of another.
#[test]
fn dead_letters_fail_for_the_topic_that_they_are_about() {
    let seen = Seen::default();
    let mut bus = TestBus::new().unwrap();
    for topic in ["orders", "users"] {
        bus.publish(topic, Record::new("dead")).unwrap();
    }
    let mut controls = Vec::new();
    for topic in ["orders", "users"] {
        let seen = seen.clone();
        let worker = brooklet::worker::Worker::new(bus.log(), topic).topics([topic]);
        let worker = worker.handle(move |delivery| {
            seen.note(&delivery);
            Err(brooklet::worker::Failure::dead("bad"))
        });
        controls.push(bus.attach(worker).unwrap());
    }
    bus.fail(Step::DeadLetter).on("users").always(Fault::StorageFull).unwrap();
    assert_eq!(bus.settle().unwrap().dead, 1);
    bus.dead_letters().topic("orders").assert_one();
    bus.dead_letters().topic("users").assert_none();
    let blocked = controls[1].status().partitions[0].blocked.clone().unwrap();
    assert!(matches!(blocked.why, Why::Letter { reason: Some(_) }), "{blocked:?}");
    assert!(controls[0].status().partitions[0].blocked.is_none());

    // A topic of dead letters is a topic: its other writes are appends.
    let producer = bus.log().producer("orders").unwrap().acks(Acks::Written);
    producer.send(Record::new("dead too")).unwrap();
    assert_eq!(bus.settle().unwrap().dead, 1);
    assert_eq!(seen.take().len(), 3);
}
