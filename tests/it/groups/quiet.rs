//! What a group leaves alone: nothing is written that stands already, and nobody loses a partition
//! over what changes nothing for it.

use brooklet::testing::{Fault, OpKind, Repeat, SimDisk, open};
use brooklet::{Log, LogOptions, TopicPartition};

use super::{
    ErrorKind, NOW, Offset, Record, TopicConfig, all_handed_out, partitions, send, values,
};

fn place(partition: u32) -> TopicPartition {
    TopicPartition::new("orders".parse().unwrap(), partition.into())
}

fn simulated(partitions: u32) -> (SimDisk, Log) {
    let disk = SimDisk::new(17);
    let log = open(&disk.env(), disk.root().join("log"), LogOptions::new()).unwrap();
    log.create_topic("orders", TopicConfig::new().partitions(partitions)).unwrap();
    (disk, log)
}

/// Programs that commit at every poll would pay for a sync each time, though nothing has come.
#[test]
fn a_commit_that_stands_is_not_written_again_and_first_positions_are_found_once() {
    let (disk, log) = simulated(2);
    send(&log, "orders", 0..20);
    let mut first = log.consumer("billing").topics(["orders"]).open().unwrap();
    let mut counted = disk.ops();
    let second = log.consumer("billing").topics(["orders"]).open().unwrap();
    assert_eq!(disk.ops(), counted, "a member that finds all positions wrote something");
    second.leave().unwrap();
    assert_eq!(values(&mut first).len(), 20);
    counted = disk.ops();
    first.commit().unwrap();
    assert!(disk.ops() > counted, "the commit was not written");
    counted = disk.ops();
    first.commit().unwrap();
    let again = [0, 1].map(|number| (place(number), first.position(&place(number)).unwrap()));
    first.commit_offsets(again).unwrap();
    assert_eq!(disk.ops(), counted, "a commit that stands was written again");
}

/// The next owner would be handed records that are still in somebody's hands.
#[test]
fn a_commit_of_a_part_of_what_was_handed_out_lets_no_partition_go() {
    let (log, mut first) = all_handed_out();
    first.commit_offsets([0, 1].map(|number| (place(number), Offset::new(1)))).unwrap();
    let mut second = log.consumer("billing").topics(["orders"]).open().unwrap();
    assert!(partitions(&second).is_empty(), "{:?}", partitions(&second));
    assert!(second.poll(NOW).unwrap().is_empty());
    first.commit().unwrap();
    assert!(first.poll(NOW).unwrap().is_empty());
    assert!(second.poll(NOW).unwrap().is_empty());
    assert_eq!((partitions(&first).len(), partitions(&second).len()), (1, 1));
}

/// A consumer that is done would read again, or be refused, because a partition was opened anew.
#[test]
fn a_partition_that_is_opened_anew_with_all_that_was_committed_stays_with_its_owner() {
    let (disk, log) = simulated(1);
    send(&log, "orders", 0..10);
    let mut consumer = log.consumer("billing").topics(["orders"]).open().unwrap();
    assert_eq!(values(&mut consumer).len(), 10);
    consumer.commit().unwrap();
    let is_segment = |path: &std::path::Path| path.extension() == Some("seg".as_ref());
    disk.fail_when(
        move |op| op.kind == OpKind::Sync && is_segment(&op.path),
        Fault::Eio,
        Repeat::Once,
    );
    let refused = log.producer("orders").unwrap().send(Record::new("x")).unwrap_err();
    assert_eq!((disk.fired(), refused.kind()), (1, ErrorKind::Io));
    log.reopen_partition(&place(0)).unwrap();
    let end = log.offsets(&place(0)).unwrap().end;
    assert!((10..=11).contains(&end.value()), "{end}");
    assert_eq!(consumer.position(&place(0)), Some(Offset::new(10)));
    consumer.commit_offsets([(place(0), Offset::new(10))]).unwrap();
    let read = values(&mut consumer);
    assert_eq!(read.len() as u64, end.value() - 10, "{read:?}");
}
