//! Damage that is found while the log is open, by a partition that is opened anew.

use brooklet::testing::{Fault, OpKind, Repeat, SimDisk};
use brooklet::{Acks, ErrorKind, PartitionId, Record, TopicConfig, TopicPartition};

use super::history::{TOPIC, lost, open_log, read_over, segments_of};

/// The last record that was acknowledged would be cut off like a torn tail: nothing in the files
/// proves it, and only the session knows.
#[test]
fn what_this_session_has_acknowledged_is_never_taken_for_a_torn_tail() {
    let disk = SimDisk::new(6);
    let log = open_log(&disk).unwrap();
    log.create_topic(TOPIC, TopicConfig::new()).unwrap();
    let producer = log.producer(TOPIC).unwrap().acks(Acks::Durable);
    for value in ["a", "b", "c"] {
        producer.send(Record::new(value)).unwrap();
    }
    let is_write = |op: &brooklet::testing::Op| {
        op.kind == OpKind::Write && op.path.extension().is_some_and(|end| end == "seg")
    };
    disk.fail_when(is_write, Fault::Eio, Repeat::Once);
    producer.send(Record::new("d")).unwrap_err();
    assert_eq!(disk.fired(), 1);
    let segment = segments_of(&disk, 1).pop().unwrap();
    let last = segment.parsed.frames.last().unwrap();
    assert_eq!(last.offsets(), 2..3);
    disk.flip_bit(&segment.path, 8 * last.bytes.end as u64 - 1).unwrap();

    let place = TopicPartition::new(TOPIC.parse().unwrap(), PartitionId::ZERO);
    log.reopen_partition(&place).unwrap();
    let found = log.recovery().partitions;
    assert_eq!(found.len(), 1);
    let damage = found[0].damage.as_ref().expect("it was cut off");
    assert_eq!((damage.kind(), lost(damage)), (ErrorKind::Corrupt, Some(2..3)));
    let (records, errors) = read_over(&log, TOPIC).unwrap();
    assert_eq!((records.len(), errors.len()), (2, 1), "{errors:?}");
    assert!(producer.send(Record::new("e")).is_err(), "a record took the place of another");
}
