//! Partitions are shared out, move when members come and go, and are read by one at a time.

use super::{
    BTreeSet, ErrorKind, Log, NOW, Offset, Record, StartAt, TopicConfig, all_handed_out, log_with,
    partitions, send, values,
};

/// A group would lose records between two members, or hand them out twice.
#[test]
fn two_members_share_the_partitions_and_all_records_are_read_once() {
    let log = log_with("orders", 4);
    send(&log, "orders", 0..100);
    let mut first = log.consumer("billing").topics(["orders"]).open().unwrap();
    assert_eq!(partitions(&first).len(), 4);
    let mut read = values(&mut first);
    first.commit().unwrap();
    let mut second = log.consumer("billing").topics(["orders"]).open().unwrap();
    // With nothing outstanding the move is immediate.
    assert_eq!(partitions(&second).len(), 2);
    send(&log, "orders", 100..200);
    read.extend(values(&mut first));
    read.extend(values(&mut second));
    assert_eq!(partitions(&first).len(), 2);
    assert!(partitions(&first).is_disjoint(&partitions(&second)));
    let distinct = read.iter().collect::<BTreeSet<_>>();
    assert_eq!((read.len(), distinct.len()), (200, 200));
}

/// A partition would be read by its next owner while its last one still works on it.
#[test]
fn a_partition_with_outstanding_records_moves_when_its_owner_polls_again() {
    let (log, mut first) = all_handed_out();
    let mut second = log.consumer("billing").topics(["orders"]).open().unwrap();
    assert!(values(&mut second).is_empty(), "nothing was handed over yet");
    first.commit().unwrap();
    assert!(values(&mut second).is_empty());
    send(&log, "orders", 20..40);
    let mut read = values(&mut first);
    read.extend(values(&mut second));
    assert_eq!(read.len(), 20);
    assert_eq!((partitions(&first).len(), partitions(&second).len()), (1, 1));
}

/// What a member left undone would be lost.
#[test]
fn what_was_not_committed_is_read_again() {
    let log = log_with("orders", 1);
    send(&log, "orders", 0..10);
    let mut first = log.consumer("billing").topics(["orders"]).open().unwrap();
    let batch = first.poll(NOW).unwrap();
    let third = batch.iter().nth(2).unwrap();
    first.commit_through(&third).unwrap();
    first.leave().unwrap();
    let mut second = log.consumer("billing").topics(["orders"]).open().unwrap();
    assert_eq!(values(&mut second), ["3", "4", "5", "6", "7", "8", "9"]);
}

/// Commits would be forgotten with the process.
#[test]
fn commits_survive_a_restart_and_latest_is_resolved_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("orders", TopicConfig::new()).unwrap();
    send(&log, "orders", 0..5);
    let open = |log: &Log| {
        log.consumer("late").topics(["orders"]).start_at(StartAt::Latest).open().unwrap()
    };
    drop(open(&log));
    send(&log, "orders", 5..8);
    drop(log);
    let log = Log::open(dir.path()).unwrap();
    log.add_partitions("orders", 2).unwrap();
    let producer = log.producer("orders").unwrap();
    producer.send(Record::new("new").key("0")).unwrap();
    let mut consumer = open(&log);
    let mut read = values(&mut consumer);
    read.sort();
    assert_eq!(read, ["5", "6", "7", "new"]);
    consumer.commit().unwrap();
    drop(consumer);
    log.close().unwrap();
    let log = Log::open(dir.path()).unwrap();
    assert!(values(&mut open(&log)).is_empty());
}

/// A member could commit for others, backwards, or for records that do not exist.
#[test]
fn commits_are_checked() {
    let log = log_with("orders", 2);
    send(&log, "orders", 0..20);
    let mut consumer = log.consumer("billing").topics(["orders"]).open().unwrap();
    assert_eq!(consumer.poll(NOW).unwrap().len(), 20);
    let place = consumer.assignment()[0].clone();
    let end = log.offsets(&place).unwrap().end;
    let refused = |offset: Offset| consumer.commit_offsets([(place.clone(), offset)]).unwrap_err();
    let behind = Offset::new(end.value() + 1);
    assert_eq!(refused(behind).kind(), ErrorKind::OffsetOutOfRange);
    consumer.commit_offsets([(place.clone(), Offset::new(3))]).unwrap();
    assert_eq!(refused(Offset::new(2)).kind(), ErrorKind::OffsetRegression);
    consumer.commit_offsets([(place.clone(), Offset::new(3))]).unwrap();
    let mut other = log.consumer("billing").topics(["orders"]).open().unwrap();
    consumer.poll(NOW).unwrap();
    other.poll(NOW).unwrap();
    let foreign = other.assignment()[0].clone();
    let error = consumer.commit_offsets([(foreign, end)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotOwner);
}
