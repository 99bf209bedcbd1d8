//! Parked polls: whoever has something for them wakes them. Under a fault these tests wait for a
//! long time, and fail.

use std::sync::mpsc::channel;

use super::{Consumer, Duration, ErrorKind, Log, NOW, Record, TopicConfig, send, values};

const LONG: Duration = Duration::from_secs(120);

fn log() -> (tempfile::TempDir, Log) {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("orders", TopicConfig::new().partitions(2)).unwrap();
    (dir, log)
}

fn join(log: &Log) -> Consumer {
    log.consumer("billing").topics(["orders"]).open().unwrap()
}

/// A consumer would notice a record when its time is over, and not when it comes.
#[test]
fn a_parked_poll_is_woken_by_a_record() {
    let (_dir, log) = log();
    let mut consumer = join(&log);
    std::thread::scope(|scope| {
        let (ready, is_ready) = channel();
        let log = &log;
        scope.spawn(move || {
            for _ in is_ready {
                log.producer("orders").unwrap().send(Record::new("x")).unwrap();
            }
        });
        for _ in 0..50 {
            ready.send(()).unwrap();
            assert_eq!(consumer.poll(LONG).unwrap().len(), 1);
        }
        drop(ready);
    });
}

/// A partition would wait for a member that waits itself.
#[test]
fn a_parked_poll_is_woken_by_a_rebalance() {
    let (_dir, log) = log();
    send(&log, "orders", 0..20);
    let mut first = join(&log);
    let mut second = join(&log);
    assert!(!values(&mut second).is_empty());
    std::thread::scope(|scope| {
        let parked = scope.spawn(move || first.poll(LONG).map(|batch| (first, batch.len())));
        let (mut first, count) = parked.join().unwrap().unwrap();
        assert!(count > 0);
        first.commit().unwrap();
        // It has nothing left to read, and gets what the other has left behind.
        let parked = scope.spawn(move || first.poll(LONG).map(|batch| batch.len()));
        second.leave().unwrap();
        assert_eq!(parked.join().unwrap().unwrap(), 20 - count);
    });
}

/// A member that is dead would keep its partitions until the most patient one looks.
#[test]
fn a_parked_poll_gets_what_an_impatient_member_does_not_come_for() {
    let (_dir, log) = log();
    let mut patient = join(&log);
    let impatient = log.consumer("billing").topics(["orders"]);
    let mut impatient =
        impatient.max_poll_interval(Some(Duration::from_millis(50))).open().unwrap();
    patient.poll(NOW).unwrap();
    send(&log, "orders", 0..20);
    let mut read = 0;
    while read < 20 {
        let batch = patient.poll(LONG).unwrap();
        assert!(!batch.is_empty(), "nobody looked after the other one");
        read += batch.len();
    }
    assert_eq!(impatient.poll(NOW).unwrap_err().kind(), ErrorKind::Fenced);
}

/// A log could not be closed while somebody waits for records.
#[test]
fn a_parked_poll_is_woken_by_the_end_of_the_log() {
    for _ in 0..20 {
        let (_dir, log) = log();
        let mut consumer = join(&log);
        std::thread::scope(|scope| {
            let (ready, is_ready) = channel();
            let parked = scope.spawn(move || {
                ready.send(()).unwrap();
                consumer.poll(LONG)
            });
            is_ready.recv().unwrap();
            log.close().unwrap();
            assert_eq!(parked.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
        });
    }
}

/// Partitions that are made while others join would belong to nobody.
#[test]
fn partitions_and_members_that_come_at_once_find_each_other() {
    let (_dir, log) = log();
    for count in 3..40 {
        let consumers = std::thread::scope(|scope| {
            scope.spawn(|| log.add_partitions("orders", count).unwrap());
            let joining = (0..3).map(|_| scope.spawn(|| join(&log))).collect::<Vec<_>>();
            joining.into_iter().map(|member| member.join().unwrap()).collect::<Vec<_>>()
        });
        let group = log.group("billing").unwrap();
        let owned = group.members.iter().map(|member| member.assignment.len()).sum::<usize>();
        assert_eq!((owned, group.members.len()), (count as usize, 3));
        drop(consumers);
    }
}
