//! Journals that are longer than one batch: many partitions, and what a group has committed of each.

use std::time::Duration;

use brooklet::partitioner::ByFn;
use brooklet::testing::{CrashPolicy, SimDisk, open, verify};
use brooklet::{Log, LogOptions, PartitionId, Record, TopicConfig};

const PARTITIONS: u32 = 1_500;

fn opened(disk: &SimDisk) -> Log {
    let options = LogOptions::new().manual_maintenance(true);
    open(&disk.env(), disk.root().join("log"), options).unwrap()
}

/// One record for every partition, in its order.
fn send_everywhere(log: &Log) {
    let by_key = ByFn::new(|key: Option<&[u8]>, _, _| {
        PartitionId::new(u32::from_le_bytes(key.unwrap().try_into().unwrap()))
    });
    let producer = log.producer("t").unwrap().partitioner(by_key);
    let keys = (0..PARTITIONS).map(u32::to_le_bytes).collect::<Vec<_>>();
    producer.send_all(keys.iter().map(|key| Record::new("a").key(key))).unwrap();
}

fn consume(log: &Log) -> usize {
    let mut consumer = log.consumer("a-group-of-some-length").topics(["t"]).open().unwrap();
    let mut count = 0;
    loop {
        let batch = consumer.poll(Duration::ZERO).unwrap();
        if batch.is_empty() {
            break;
        }
        count += batch.iter().count();
    }
    consumer.commit().unwrap();
    consumer.leave().unwrap();
    count
}

/// What does not fit the first batch of a journal's snapshot would be forgotten at its next opening.
#[test]
fn journals_of_several_batches_are_kept_whole_through_openings_closes_and_crashes() {
    let mut disk = SimDisk::new(31);
    let log = opened(&disk);
    log.create_topic("t", TopicConfig::new().partitions(PARTITIONS)).unwrap();
    drop(log);
    for (session, is_closed) in [true, false, true, false].into_iter().enumerate() {
        disk = disk.crash(CrashPolicy::LoseAll, session as u64 + 1);
        let log = opened(&disk);
        assert_eq!(log.topic("t").unwrap().config.partition_count(), PARTITIONS);
        send_everywhere(&log);
        assert_eq!(consume(&log), PARTITIONS as usize, "session {session}");
        if is_closed {
            log.close().unwrap();
        }
    }
    let disk = disk.crash(CrashPolicy::LoseAll, 9);
    let found = verify(&disk.env(), disk.root().join("log")).unwrap();
    assert!(found.is_whole(), "{found:?}");
    assert_eq!(found.records, 4 * u64::from(PARTITIONS));
    let group = opened(&disk).group("a-group-of-some-length").unwrap();
    assert_eq!((group.partitions.len(), group.lag()), (PARTITIONS as usize, 0));
}
