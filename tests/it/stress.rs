//! Everything at once: senders of every kind, readers that follow, and the removal of segments.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use brooklet::partitioner::{ByFn, Fixed};
use brooklet::{
    Acks, ErrorKind, Log, LogOptions, Offset, PartitionId, Producer, Receipt, Record, SyncPolicy,
    TopicConfig, TopicName, TopicPartition,
};

const PARTITIONS: u32 = 3;
const SENDERS: u32 = 8;
const PER_SENDER: u32 = 1500;
/// The last record of each partition.
const END: &str = "end";

/// Where each value stands, as its sender was told.
type Told = BTreeMap<(u32, u64), String>;

/// Records would be lost, doubled, moved or reordered once threads get into each other's way.
#[test]
fn everything_at_once_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    for policy in [SyncPolicy::Always, SyncPolicy::Never] {
        let dir = dir.path().join(format!("{policy:?}"));
        let log = options().open(&dir).unwrap();
        let told = run(&log, policy);
        log.close().unwrap();
        let log = options().open(&dir).unwrap();
        assert!(log.recovery().was_clean);
        compare(&log, &told);
    }
}

/// The same without threads of the log's own: whoever asks does the work.
#[test]
fn everything_at_once_in_memory() {
    for policy in [SyncPolicy::Always, SyncPolicy::Never] {
        let log = options().open_in_memory().unwrap();
        let told = run(&log, policy);
        compare(&log, &told);
        log.close().unwrap();
    }
}

fn options() -> LogOptions {
    LogOptions::new().buffer_bytes(16 * 1024).unsynced_bytes(64 * 1024).tail_bytes(8 * 1024)
}

fn run(log: &Log, policy: SyncPolicy) -> Told {
    let config = TopicConfig::new().partitions(PARTITIONS).segment_bytes(8 * 1024).sync(policy);
    log.create_topic("t", config).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        let lanes = [None, Some(0), Some(1), Some(2)];
        let readers = lanes.map(|partition| scope.spawn(move || follow(log, partition)));
        let end = End(log);
        let trims = scope.spawn(|| trim_and_maintain(log, &done));
        let senders = (0..SENDERS).map(|sender| scope.spawn(move || send(log, sender)));
        let senders = senders.collect::<Vec<_>>();
        let mut told = Told::new();
        for sender in senders {
            for (at, value) in sender.join().unwrap() {
                let before = told.insert(at, value);
                assert!(before.is_none(), "{at:?} was given twice");
            }
        }
        done.store(true, Ordering::Release);
        let trimmed = trims.join().unwrap();
        assert!(trimmed > 0, "nothing was ever trimmed");
        drop(end);
        for reader in readers {
            compare_seen(&reader.join().unwrap(), &told);
        }
        told
    })
}

/// Tells the readers that nothing more comes; also where something has failed, so that they end.
struct End<'a>(&'a Log);

impl Drop for End<'_> {
    fn drop(&mut self) {
        for partition in 0..PARTITIONS {
            let fixed = Fixed(PartitionId::new(partition));
            let producer = self.0.producer("t").unwrap().partitioner(fixed).acks(Acks::Durable);
            producer.send(Record::new(END)).unwrap();
        }
    }
}

/// One sender, all ways of sending in turn; its records in each partition are numbered in order.
fn send(log: &Log, sender: u32) -> Vec<((u32, u64), String)> {
    let by_key = ByFn::new(|key: Option<&[u8]>, _, _| u32::from(key.unwrap_or_default()[0] - b'0'));
    let producer = log.producer("t").unwrap().partitioner(by_key).timeout(None);
    let mut told = Vec::new();
    let mut number = 0;
    while number < PER_SENDER {
        let acks = [Acks::None, Acks::Written, Acks::Durable][((number / 5 + sender) % 3) as usize];
        let producer = producer.clone().acks(acks);
        match number % 4 {
            0 => number += send_some(&producer, (sender, number), &mut told),
            1 => number += submit_some(&producer, (sender, number), &mut told),
            _ => {
                let (key, value) = record(sender, number);
                let receipt = producer.send(Record::new(&value).key(&key)).unwrap();
                told.push((place(&receipt), value));
                number += 1;
            }
        }
    }
    told
}

fn record(sender: u32, number: u32) -> (String, String) {
    let partition = (sender + number) % PARTITIONS;
    (partition.to_string(), format!("{sender}:{number:06}:{}", "x".repeat((number % 90) as usize)))
}

fn place(receipt: &Receipt) -> (u32, u64) {
    (receipt.partition().value(), receipt.offset().value())
}

fn send_some(
    producer: &Producer,
    (sender, first): (u32, u32),
    told: &mut Vec<((u32, u64), String)>,
) -> u32 {
    let last = PER_SENDER.min(first + 7);
    let records: Vec<_> = (first..last).map(|number| record(sender, number)).collect();
    let batch = records.iter().map(|(key, value)| Record::new(value).key(key));
    for receipt in producer.send_all(batch).unwrap() {
        let partition = receipt.topic_partition().partition().value();
        let own = records.iter().filter(|(key, _)| *key == partition.to_string());
        let offsets = receipt.offsets().start.value()..receipt.offsets().end.value();
        let placed = offsets.zip(own.map(|(_, value)| value.clone()));
        told.extend(placed.map(|(offset, value)| ((partition, offset), value)));
    }
    last - first
}

fn submit_some(
    producer: &Producer,
    (sender, first): (u32, u32),
    told: &mut Vec<((u32, u64), String)>,
) -> u32 {
    let last = PER_SENDER.min(first + 9);
    let records: Vec<_> = (first..last).map(|number| record(sender, number)).collect();
    let pending: Vec<_> =
        records.iter().map(|(key, value)| producer.submit(Record::new(value).key(key))).collect();
    for (pending, (_, value)) in pending.into_iter().zip(records) {
        told.push((place(&pending.wait().unwrap()), value));
    }
    last - first
}

/// Keeps removing all but the newest records; says how often something went.
fn trim_and_maintain(log: &Log, done: &AtomicBool) -> u32 {
    let mut trimmed = 0;
    while !done.load(Ordering::Acquire) || trimmed == 0 {
        for partition in (0..PARTITIONS).map(topic_partition) {
            let offsets = log.offsets(&partition).unwrap();
            let keep = offsets.end.value().saturating_sub(300);
            let start = log.trim(&partition, Offset::new(keep)).unwrap();
            trimmed += u32::from(start > offsets.start);
            log.reopen_partition(&partition).unwrap();
        }
        log.maintain().unwrap();
        assert!(log.stats().partitions.iter().all(|partition| partition.stopped.is_none()));
        thread::yield_now();
    }
    trimmed
}

/// Everything that a reader sees from the beginning to the end; what is trimmed it misses.
fn follow(log: &Log, partition: Option<u32>) -> Told {
    let reader = log.reader("t");
    let mut reader = match partition {
        Some(partition) => reader.partition(partition).open().unwrap(),
        None => reader.open().unwrap(),
    };
    let followed: Vec<_> =
        (0..PARTITIONS).filter(|p| partition.is_none_or(|one| one == *p)).collect();
    let mut next = BTreeMap::new();
    let mut seen = Told::new();
    let mut ended = 0;
    while ended < followed.len() {
        match reader.next_batch() {
            Some(Ok(batch)) => {
                for record in &batch {
                    let (partition, offset) = (record.partition().value(), record.offset().value());
                    let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
                    let expected = next.insert(partition, offset + 1);
                    let is_next = expected.is_none_or(|expected| expected == offset);
                    assert!(is_next, "{partition}@{offset} came instead of {expected:?}");
                    ended += usize::from(value == END);
                    seen.insert((partition, offset), value);
                }
            }
            Some(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
                for partition in &followed {
                    let start = log.offsets(&topic_partition(*partition)).unwrap().start;
                    if reader.position((*partition).into()).unwrap() < start {
                        reader.seek((*partition).into(), start).unwrap();
                        next.remove(partition);
                    }
                }
            }
            None => thread::yield_now(),
        }
    }
    seen
}

/// What was read is what was told, offset by offset.
fn compare_seen(seen: &Told, told: &Told) {
    for (at, value) in seen.iter().filter(|(_, value)| *value != END) {
        assert_eq!(told.get(at), Some(value), "{at:?} was told otherwise");
    }
}

/// What is told is dense, in the order of each sender, and in the log from its start on.
fn compare(log: &Log, told: &Told) {
    assert_eq!(told.len() as u32, SENDERS * PER_SENDER);
    for partition in 0..PARTITIONS {
        let own = told.iter().filter(|((of, _), _)| *of == partition);
        let mut newest = BTreeMap::new();
        for (expected, ((_, offset), value)) in (0..).zip(own.clone()) {
            assert_eq!(*offset, expected, "partition {partition} has a hole");
            let (sender, rest) = value.split_once(':').unwrap();
            let before = newest.insert(sender, rest);
            assert!(before.is_none_or(|before| before < rest), "{value} was overtaken");
        }
        let reader = log.reader("t").partition(partition).stop_at_end().open().unwrap();
        let records = reader.map(Result::unwrap).map(|record| {
            let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
            ((partition, record.offset().value()), value)
        });
        let kept: Told = records.collect();
        let start = log.offsets(&topic_partition(partition)).unwrap().start.value();
        let expected = own.clone().filter(|((_, offset), _)| *offset >= start);
        let expected = expected.map(|(at, value)| (*at, value.clone()));
        let end = ((partition, own.count() as u64), END.to_owned());
        assert_eq!(kept, expected.chain([end]).collect::<Told>());
    }
}

fn topic_partition(partition: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new("t").unwrap(), PartitionId::new(partition))
}
