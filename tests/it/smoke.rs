//! The shortest way through the whole log, on disk and in memory.

use brooklet::partitioner::Fixed;
use brooklet::{Acks, Log, Record, StartAt, TopicConfig};

fn fill(log: &Log) {
    log.create_topic("orders", TopicConfig::new().partitions(3).segment_bytes(4096)).unwrap();
    let producer = log.producer("orders").unwrap();
    for number in 0..100 {
        let key = format!("order-{number}");
        let acks = [Acks::None, Acks::Written, Acks::Durable][number % 3];
        producer.clone().acks(acks).send(Record::new(&key).key(&key)).unwrap();
    }
    // Readers see what is durable: the last send of each partition waits for that.
    for (partition, count) in [(0, 20), (1, 20), (2, 10)] {
        let producer = producer.clone().partitioner(Fixed(partition.into()));
        producer.send_all((0..count).map(|_| Record::new("bulk"))).unwrap();
    }
}

fn check(log: &Log) {
    let read = |start| {
        let reader = log.reader("orders").start_at(start).stop_at_end().open().unwrap();
        reader.map(|record| record.unwrap()).collect::<Vec<_>>()
    };
    let all = read(StartAt::Earliest);
    assert_eq!(all.len(), 150);
    for record in &all {
        assert!(record.value() == Some(b"bulk") || record.value() == record.key());
    }
}

/// Nothing at all would work.
#[test]
fn what_is_sent_is_read_in_memory() {
    let log = Log::in_memory().unwrap();
    fill(&log);
    check(&log);
    log.close().unwrap();
}

/// Nothing would survive a restart.
#[test]
fn what_is_sent_is_read_after_a_clean_close_and_after_a_drop() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    fill(&log);
    check(&log);
    log.close().unwrap();
    let log = Log::open(dir.path()).unwrap();
    assert!(log.recovery().was_clean);
    check(&log);
    log.producer("orders").unwrap().send(Record::new("bulk")).unwrap();
    drop(log);
    let log = Log::open(dir.path()).unwrap();
    assert!(!log.recovery().was_clean);
    let all = log.reader("orders").stop_at_end().open().unwrap();
    assert_eq!(all.collect::<Result<Vec<_>, _>>().unwrap().len(), 151);
    assert!(log.recovery().is_whole(), "{:?}", log.recovery());
    log.close().unwrap();
}

/// A log that was closed would be recovered all the same, because the session wrote nothing.
#[test]
fn a_session_that_writes_nothing_closes_cleanly_too() {
    let dir = tempfile::tempdir().unwrap();
    Log::open(dir.path()).unwrap().close().unwrap();
    let log = Log::open(dir.path()).unwrap();
    assert!(log.recovery().was_clean, "made and closed");
    fill(&log);
    log.maintain().unwrap();
    drop(log);
    for was_clean in [false, true, true] {
        let log = Log::open(dir.path()).unwrap();
        assert_eq!(log.recovery().was_clean, was_clean);
        // Two sessions look at nothing, so that the third still has everything to recover.
        if was_clean {
            assert_eq!(log.recovery().pending.len(), 3);
        }
        log.close().unwrap();
    }
    let log = Log::open(dir.path()).unwrap();
    check(&log);
    assert!(log.recovery().is_whole(), "{:?}", log.recovery());
}
