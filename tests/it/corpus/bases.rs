//! Small valid directories to be mutated, written once in a process, and what was written to them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use brooklet::partitioner::Fixed;
use brooklet::testing::SimDisk;
use brooklet::{Acks, Log, Offset, PartitionId, Record, SyncPolicy, Timestamp, TopicConfig};

use super::world::{Seen, disk_with, files_of, look_at, open_on};
use crate::format::directory::{Files, Stored};

/// A directory, what it was before, and every record that was ever written at its offset.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) files: Files,
    /// The same log at earlier moments, oldest first.
    pub(crate) older: Vec<Files>,
    pub(crate) written: BTreeMap<(String, u32), BTreeMap<u64, Stored>>,
}

/// How the last session came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// It closed the log.
    Clean,
    /// It vanished; everything was synced.
    Synced,
    /// It vanished; nothing of its own was synced.
    Unsynced,
    /// It vanished; the first half was synced, and the manifest had taken note of that.
    Marked,
}

/// All bases; the same in every process.
pub(crate) fn bases() -> &'static [Base] {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| {
        [Stop::Clean, Stop::Synced, Stop::Unsynced, Stop::Marked].map(Base::new).into()
    })
}

impl Base {
    fn new(stop: Stop) -> Self {
        let disk = disk_with(&Files::new());
        let mut base = Self { files: Files::new(), older: Vec::new(), written: BTreeMap::new() };
        let log = open_on(&disk, false).unwrap();
        let policy = match stop {
            Stop::Clean | Stop::Synced => SyncPolicy::Always,
            Stop::Unsynced | Stop::Marked => SyncPolicy::Never,
        };
        let config = TopicConfig::new().segment_bytes(1024).sync(policy);
        log.create_topic("orders", config.clone().partitions(2)).unwrap();
        log.create_topic("other", config).unwrap();
        send(&log, "other", 0, 1, Acks::Durable);
        send(&log, "orders", 0, 4, Acks::Durable);
        send(&log, "orders", 1, 2, Acks::Durable);
        base.keep(&log, &disk);
        commit(&log);
        log.close().unwrap();
        base.older.push(files_of(&disk));
        let log = open_on(&disk, false).unwrap();
        let acks = if policy == SyncPolicy::Always { Acks::Durable } else { Acks::Written };
        send(&log, "orders", 0, 5, acks);
        let orders = brooklet::TopicPartition::new("orders".parse().unwrap(), 0.into());
        if stop == Stop::Marked {
            send(&log, "orders", 0, 1, Acks::Durable);
            log.maintain().unwrap();
        }
        if matches!(stop, Stop::Clean | Stop::Marked) {
            log.trim(&orders, Offset::new(2)).unwrap();
        }
        base.keep(&log, &disk);
        commit(&log);
        send(&log, "orders", 0, 4, acks);
        send(&log, "orders", 1, 1, acks);
        base.keep(&log, &disk);
        if stop == Stop::Clean {
            log.close().unwrap();
        }
        drop(log);
        base.files = files_of(&disk);
        base
    }

    /// Takes note of what stands in the log now.
    fn keep(&mut self, log: &Log, disk: &SimDisk) {
        self.older.push(files_of(disk));
        let Seen { partitions } = look_at(log);
        for (place, shown) in partitions {
            self.written.entry(place).or_default().extend(shown.unwrap().records);
        }
    }
}

fn send(log: &Log, topic: &str, partition: u32, batches: usize, acks: Acks) {
    let producer = log.producer(topic).unwrap().acks(acks);
    let producer = producer.partitioner(Fixed(PartitionId::new(partition)));
    for batch in 0..batches {
        let text = |part: usize| format!("batch {batch} part {part} {}", "x".repeat(30 * part));
        let values: Vec<String> = (0..=batch % 3).map(text).collect();
        let record = |(at, value)| {
            let record = Record::new(value).key("key").header("who", "test");
            match at {
                0 => record.header_without_value("mark"),
                _ => record.timestamp(Timestamp::from_millis(1_000)),
            }
        };
        producer.send_all(values.iter().enumerate().map(record)).unwrap();
    }
}

fn commit(log: &Log) {
    let mut consumer = log.consumer("billing").topics(["orders"]).max_records(2).open().unwrap();
    consumer.poll(std::time::Duration::ZERO).unwrap();
    consumer.commit().unwrap();
    consumer.leave().unwrap();
}
