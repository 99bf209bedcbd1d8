//! User code that panics inside a call of the log: the panic is its caller's, and the log goes on.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use brooklet::partitioner::{Choice, Partitioner};
use brooklet::testing::{Fault, OpKind, Repeat, SimDisk, open};
use brooklet::{
    Acks, ErrorKind, Fate, HandOver, LogOptions, RebalanceListener, Record, TopicConfig,
    TopicPartition,
};

use super::{reopen, send, simulated, values};

#[derive(Debug)]
struct Panics;

impl Partitioner for Panics {
    fn partition(&self, _: Option<&[u8]>, _: Option<&[u8]>, _: NonZeroU32) -> Choice {
        panic!("no choice");
    }
}

impl RebalanceListener for Panics {
    fn assigned(&mut self, _: &[TopicPartition]) {
        panic!("no thanks");
    }

    fn revoked(&mut self, _: Vec<HandOver>) {
        panic!("never");
    }
}

/// A partitioner that panics would leave a lock held, a record half sent, or the log poisoned.
#[test]
fn a_partitioner_that_panics_harms_its_own_send_alone() {
    let (disk, log) = simulated(1);
    log.create_topic("t", TopicConfig::new().partitions(2)).unwrap();
    send(&log, "t", &["before"]);
    let producer = log.producer("t").unwrap().partitioner(Panics);
    for _ in 0..3 {
        let sent = catch_unwind(AssertUnwindSafe(|| producer.send(Record::new("never"))));
        assert!(sent.is_err(), "it did not panic");
        let pending = catch_unwind(AssertUnwindSafe(|| producer.submit(Record::new("never"))));
        assert!(pending.is_err(), "it did not panic");
    }
    send(&log, "t", &["after"]);
    log.close().unwrap();
    let log = reopen(&disk);
    assert!(log.recovery().was_clean);
    let mut found = values(&log, "t");
    found.sort();
    assert_eq!(found, ["after", "before"]);
}

/// A listener that panics would keep its group from ever being used again.
#[test]
fn a_listener_that_panics_leaves_its_group_to_others() {
    let (_disk, log) = simulated(2);
    log.create_topic("t", TopicConfig::new()).unwrap();
    send(&log, "t", &["one"]);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut member = log.consumer("g").topics(["t"]).listener(Panics).open().unwrap();
        member.poll(Duration::ZERO).map(|batch| batch.len())
    }));
    assert!(panicked.is_err(), "it did not panic");
    let mut next = log.consumer("g").topics(["t"]).open().unwrap();
    let batch = next.poll(Duration::ZERO).unwrap();
    assert_eq!(batch.len(), 1);
    next.commit().unwrap();
    next.leave().unwrap();
    log.close().unwrap();
}

/// A hook for errors that panics would take the log's own work down with it.
#[test]
fn a_hook_that_panics_leaves_the_partition_as_it_is() {
    let disk = SimDisk::new(3);
    let options = LogOptions::new().on_background_error(|error| panic!("{error:?}"));
    let log = open(&disk.env(), disk.root().join("log"), options).unwrap();
    log.create_topic("t", TopicConfig::new()).unwrap();
    send(&log, "t", &["before"]);
    let is_segment = |op: &brooklet::testing::Op| {
        op.kind == OpKind::Sync && op.path.extension() == Some("seg".as_ref())
    };
    disk.fail_when(is_segment, Fault::Eio, Repeat::Once);
    let producer = log.producer("t").unwrap().acks(Acks::None);
    let sent = catch_unwind(AssertUnwindSafe(|| producer.send(Record::new("lost"))));
    assert_eq!(disk.fired(), 1);
    assert!(sent.is_err(), "the hook was not called on this thread");
    let error = producer.acks(Acks::Durable).send(Record::new("refused")).unwrap_err();
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Poisoned, Fate::NotAppended));
    log.reopen_partition(&super::place("t", 0)).unwrap();
    send(&log, "t", &["after"]);
    let found = values(&log, "t");
    assert!(found.first().is_some_and(|first| first == "before"), "{found:?}");
    assert!(found.last().is_some_and(|last| last == "after"), "{found:?}");
    log.close().unwrap();
}
