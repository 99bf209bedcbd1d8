//! Groups through the public API: who reads what, and how far the group is.

use std::collections::BTreeSet;
use std::time::Duration;

use brooklet::{Consumer, Error, ErrorKind, Log, Offset, Record, StartAt, TopicConfig};

mod chaos;
mod crashes;
mod dice;
mod listening;
pub(crate) mod model;
mod quiet;
mod racing;
mod reading;
mod refusing;
mod sharing;
mod topics;
mod waking;

const NOW: Duration = Duration::ZERO;

fn log_with(topic: &str, partitions: u32) -> Log {
    let log = Log::in_memory().unwrap();
    log.create_topic(topic, TopicConfig::new().partitions(partitions)).unwrap();
    log
}

fn send(log: &Log, topic: &str, keys: std::ops::Range<u32>) {
    let producer = log.producer(topic).unwrap();
    for key in keys {
        let key = key.to_string();
        producer.send(Record::new(&key).key(&key)).unwrap();
    }
}

/// Two partitions with twenty records, all of them in the hands of the group's only member.
fn all_handed_out() -> (Log, Consumer) {
    let log = log_with("orders", 2);
    send(&log, "orders", 0..20);
    let mut first = log.consumer("billing").topics(["orders"]).open().unwrap();
    assert_eq!(values(&mut first).len(), 20);
    (log, first)
}

/// Everything that is there for the consumer now.
fn values(consumer: &mut Consumer) -> Vec<String> {
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    let mut values = Vec::new();
    loop {
        let batch = consumer.poll(NOW).unwrap();
        if batch.is_empty() {
            return values;
        }
        values.extend(batch.iter().map(|record| text(record.value().unwrap())));
    }
}

fn partitions(consumer: &Consumer) -> BTreeSet<u32> {
    let owned = consumer.assignment();
    owned.iter().map(|place| place.partition().value()).collect()
}
