//! Damage that is found while the log is open, by a partition that is opened anew.

use brooklet::testing::{Fault, OpKind, Repeat, SimDisk};
use brooklet::{Acks, ErrorKind, PartitionId, Record, TopicConfig, TopicPartition};

use super::history::{History, Stop, TOPIC, appends, lost, open_log, read_over, segments_of};

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

/// Recovery would read the whole log at every start, however far back nothing can have changed, and
/// stop a partition for what only a reader of old records meets.
#[test]
fn nothing_below_the_mark_in_the_manifest_is_looked_at() {
    let history = History::new(Stop::Marked);
    let end = history.records.len() as u64;
    let mark = history.manifest_mark;
    let old = history.frames().filter(|(_, frame)| frame.offsets().end <= mark);
    let old = old.collect::<Vec<_>>();
    assert!(old.len() > 3, "{} frames lie below the mark", old.len());
    for (segment, frame) in old {
        let disk = history.disk.fork();
        disk.flip_bit(&segment.path, 8 * frame.bytes.start as u64).unwrap();
        let log = open_log(&disk).unwrap();
        appends(&log, TOPIC, end);
        let found = log.recovery().partitions;
        assert!(found.iter().all(|found| found.damage.is_none()), "{found:?}");
        let (records, errors) = read_over(&log, TOPIC).unwrap();
        assert_eq!((records.len() as u64, errors.len()), (end + 1 - frame.records.len() as u64, 1));
    }
}
