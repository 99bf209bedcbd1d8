//! What users call, verb by verb: what it does, and what it refuses.

mod clocks;
mod keeping;
mod panicking;
mod reading;
mod refusing;
mod sending;
mod telling;
mod topics;

use brooklet::testing::{SimDisk, open};
use brooklet::{
    Log, LogOptions, Offset, PartitionId, ReaderBuilder, StoredRecord, TopicName, TopicPartition,
};

/// A log on a simulated disk, with a clock that stands still and no threads.
fn simulated(seed: u64) -> (SimDisk, Log) {
    let disk = SimDisk::new(seed);
    let log = reopen(&disk);
    (disk, log)
}

/// Opens the log of a simulated disk again.
fn reopen(disk: &SimDisk) -> Log {
    open(&disk.env(), disk.root().join("log"), LogOptions::new()).unwrap()
}

fn place(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(partition))
}

fn offset(value: u64) -> Offset {
    Offset::new(value)
}

/// Everything from where the reader starts to the end.
fn all(reader: ReaderBuilder) -> Vec<StoredRecord> {
    reader.stop_at_end().open().unwrap().collect::<Result<_, _>>().unwrap()
}

/// The values of a topic as text, partition by partition in the order they are read.
fn values(log: &Log, topic: &str) -> Vec<String> {
    let text =
        |record: &StoredRecord| String::from_utf8(record.value().unwrap_or(b"-").to_vec()).unwrap();
    all(log.reader(topic)).iter().map(text).collect()
}

/// Sends one value after another.
fn send(log: &Log, topic: &str, values: &[&str]) {
    let producer = log.producer(topic).unwrap();
    for value in values {
        producer.send(brooklet::Record::new(value)).unwrap();
    }
}
