//! How far a worker goes ahead, when it commits, and when it waits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use brooklet::retry::Retry;
use brooklet::worker::{CommitEvery, Failure, Worker};
use brooklet::{Log, Offset, Record, StartAt, TopicConfig};

use super::{Bench, Seen, ms, place, secs, text};

fn send_many(log: &Log, count: u32) {
    let values: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    log.producer("t").unwrap().send_all(values.iter().map(Record::new)).unwrap();
}

/// After a crash more records would be handled again, and be suspect, than was promised.
#[test]
fn a_partition_goes_only_so_far_past_a_record_that_fails() {
    let mut bench = Bench::with("t", TopicConfig::new().partitions(1));
    send_many(&bench.log, 5_000);
    let (is_failing, seen) = (Arc::new(AtomicBool::new(true)), Seen::default());
    let (failing, handler) = (Arc::clone(&is_failing), seen.clone());
    let worker = Worker::new(&bench.log, "g").topics(["t"]).retry(Retry::default().any_attempts());
    let control = bench.attach(worker.handle(move |delivery| {
        match handler.note(&delivery) == "7" && failing.load(Ordering::SeqCst) {
            true => Err(Failure::retry("not yet")),
            false => Ok(()),
        }
    }));
    let handled: BTreeSet<String> = seen.values().into_iter().collect();
    // What is committed when the failing record blocks is 7: up to 1,007 may have begun.
    assert_eq!((handled.len(), bench.committed("g", &place("t", 0))), (1_007, 7));
    assert!(control.status().partitions[0].held <= 2_000);
    is_failing.store(false, Ordering::SeqCst);
    bench.advance(secs(1));
    assert_eq!(seen.take().len(), 5_000 - 1_007 + 1);
    assert_eq!(bench.committed("g", &place("t", 0)), 5_000);
    assert_eq!(control.status().counts.handled, 5_000);
}

/// Commits would come too rarely for what was asked, or never where the window is small.
#[test]
fn commits_come_as_often_as_asked() {
    let at = |bench: &Bench| bench.committed("g", &place("t", 0));
    for (policy, ahead) in [
        (CommitEvery::Batch, 1_000),
        (CommitEvery::Batch, 3),
        (CommitEvery::Records(10_000), 7),
        (CommitEvery::Records(50), 1_000),
    ] {
        let mut bench = Bench::with("t", TopicConfig::new());
        send_many(&bench.log, 1_234);
        let worker = Worker::new(&bench.log, "g").topics(["t"]).commit_every(policy);
        bench.attach(worker.max_ahead(ahead).handle(|_| Ok(())));
        assert_eq!(at(&bench), 1_234, "{policy:?} {ahead}");
    }
    let mut bench = Bench::with("t", TopicConfig::new());
    let worker = Worker::new(&bench.log, "g").topics(["t"]);
    bench.attach(worker.commit_every(CommitEvery::Interval(secs(5))).handle(|_| Ok(())));
    send_many(&bench.log, 10);
    bench.settle();
    bench.advance(ms(4_999));
    assert_eq!(at(&bench), 0);
    bench.advance(ms(1));
    assert_eq!(at(&bench), 10);
    send_many(&bench.log, 10);
    bench.settle();
    assert_eq!((at(&bench), bench.stop()), (10, vec![true]));
    assert_eq!(at(&bench), 20, "who stops commits");
}

/// A second run would handle records twice, or a first one skip some.
#[test]
fn the_next_worker_begins_where_the_last_one_stopped() {
    let mut bench = Bench::with("t", TopicConfig::new().partitions(3));
    for number in 0..30 {
        bench.send("t", &number.to_string(), Some(&number.to_string()));
    }
    let seen = Seen::default();
    for expected in [30, 0] {
        let handler = seen.clone();
        let worker = Worker::new(&bench.log, "g").topics(["t"]).threads(3);
        bench.attach(worker.handle(move |delivery| {
            handler.note(&delivery);
            Ok(())
        }));
        assert_eq!(seen.take().len(), expected);
        assert!(bench.stop().into_iter().all(|drained| drained));
    }
    // Another group is on its own, and begins where it likes.
    let handler = seen.clone();
    let worker = Worker::new(&bench.log, "late").topics(["t"]).start_at(StartAt::Latest);
    bench.attach(worker.handle(move |delivery| {
        handler.note(&delivery);
        Ok(())
    }));
    bench.send("t", "new", None);
    bench.settle();
    assert_eq!(seen.values(), ["new"]);
}

/// A worker would stop for good where retention was faster, or skip records without a word.
#[test]
fn records_that_retention_took_are_told_or_skipped_as_asked() {
    for skips in [false, true] {
        let mut bench = Bench::with("t", TopicConfig::new());
        let worker = Worker::new(&bench.log, "g").topics(["t"]);
        let first = worker.clone().handle(|_| Ok(()));
        bench.attach(first);
        assert_eq!(bench.stop(), [true]);
        send_many(&bench.log, 10);
        bench.log.trim(&place("t", 0), Offset::new(4)).unwrap();
        let seen = Seen::default();
        let handler = seen.clone();
        let worker = if skips { worker.on_out_of_range(StartAt::Earliest) } else { worker };
        let control = bench.attach(worker.handle(move |delivery| {
            handler.note(&delivery);
            Ok(())
        }));
        let status = control.status();
        if skips {
            assert_eq!(seen.values(), ["4", "5", "6", "7", "8", "9"]);
            assert_eq!(bench.committed("g", &place("t", 0)), 10);
            assert!(status.partitions[0].blocked.is_none());
        } else {
            assert!(seen.take().is_empty());
            let blocked = status.partitions[0].blocked.clone().unwrap();
            assert!(format!("{:?}", blocked.why).contains("offset out of range"), "{blocked:?}");
        }
    }
}

/// Topics that come later, and redriven ones, would not be handled.
#[test]
fn a_pattern_takes_in_topics_that_are_made_later() {
    let mut bench = Bench::with("orders.eu", TopicConfig::new());
    let seen = Seen::default();
    let handler = seen.clone();
    let worker = Worker::new(&bench.log, "g").matching("orders.*");
    bench.attach(worker.handle(move |delivery| {
        handler.note(&delivery);
        match text(&delivery).as_str() {
            "bad" => Err(Failure::dead("bad")),
            _ => Ok(()),
        }
    }));
    bench.log.create_topic("orders.us", TopicConfig::new()).unwrap();
    bench.send("orders.us", "bad", None);
    bench.send("orders.us", "good", None);
    bench.send("orders.eu", "other", None);
    bench.settle();
    let mut values = seen.values();
    values.sort_unstable();
    assert_eq!(values, ["bad", "good", "other"], "letters are not orders");
    bench.log.add_partitions("orders.us", 2).unwrap();
    let fixed = brooklet::partitioner::Fixed(brooklet::PartitionId::new(1));
    let producer = bench.log.producer("orders.us").unwrap().partitioner(fixed);
    producer.send(Record::new("added")).unwrap();
    bench.settle();
    assert_eq!(seen.values(), ["added"]);
}
