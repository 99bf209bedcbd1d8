//! How much an opening reads: what is known to be durable is not gone over again.

use brooklet::testing::{CrashPolicy, OpKind, SimDisk, open};
use brooklet::{Acks, LogOptions, Record, SyncPolicy, TopicConfig, TopicPartition};

const RECORD: usize = 16 * 1024;

/// Sends in two batches of records, between which the manifest takes note of what is durable if it
/// is told to; the session then vanishes.
fn left(segment_bytes: u64, notes: bool) -> SimDisk {
    let disk = SimDisk::new(11);
    let options = LogOptions::new().manual_maintenance(true);
    let log = open(&disk.env(), disk.root().join("log"), options).unwrap();
    let config = TopicConfig::new().sync(SyncPolicy::Never).segment_bytes(segment_bytes);
    log.create_topic("t", config).unwrap();
    let producer = log.producer("t").unwrap().acks(Acks::Written);
    let value = vec![7; RECORD];
    let send = |count: usize| {
        for _ in 0..count {
            producer.send(Record::new(&value)).unwrap();
        }
    };
    send(60);
    producer.clone().acks(Acks::Durable).send(Record::new(&value)).unwrap();
    if notes {
        log.maintain().unwrap();
    }
    send(3);
    drop(producer);
    drop(log);
    disk.crash(CrashPolicy::KeepAll, 1)
}

/// The reads of segments at the first use of the partition, by segment, and what is there then.
fn opened(disk: &SimDisk) -> (Vec<(String, usize)>, u64) {
    disk.clear_log();
    let log = open(&disk.env(), disk.root().join("log"), LogOptions::new()).unwrap();
    let end = log.offsets(&TopicPartition::new("t".parse().unwrap(), 0.into())).unwrap().end;
    let mut reads: Vec<(String, usize)> = Vec::new();
    for op in disk.log().into_iter().filter(|op| op.kind == OpKind::Read) {
        let name = op.path.file_name().unwrap().to_string_lossy().into_owned();
        match reads.iter_mut().find(|(of, _)| *of == name) {
            Some((_, count)) => *count += 1,
            None if name.ends_with(".seg") => reads.push((name, 1)),
            None => {}
        }
    }
    (reads, end.value())
}

/// Every opening would take as long as there are segments.
#[test]
fn segments_that_are_known_to_be_durable_are_not_read() {
    let (unknown, end) = opened(&left(256 * 1024, false));
    assert_eq!(end, 64);
    assert!(unknown.len() > 3, "{unknown:?}");
    let (known, end) = opened(&left(256 * 1024, true));
    assert_eq!(end, 64);
    assert!(known.len() <= 2, "{known:?}");
    assert!(known.iter().all(|read| !unknown[..2].iter().any(|early| early.0 == read.0)));
}

/// Every opening would take as long as the last segment is, however often it was synced.
#[test]
fn the_last_segment_is_read_from_what_was_noted_to_be_durable() {
    let (unknown, end) = opened(&left(64 * 1024 * 1024, false));
    assert_eq!((end, unknown.len()), (64, 1));
    let (known, end) = opened(&left(64 * 1024 * 1024, true));
    assert_eq!((end, known.len()), (64, 1));
    let (whole, rest) = (unknown[0].1, known[0].1);
    assert!(2 * rest < whole, "{rest} reads where the whole segment takes {whole}");
}
