//! Readers: where they start, what they wait for, where they end.

use std::time::Duration;

use brooklet::testing::{SimDisk, open};
use brooklet::{
    Acks, ErrorKind, Log, LogOptions, Offset, PartitionId, Record, StartAt, StoredRecord,
    Timestamp, TopicConfig,
};

use super::{all, offset, place, reopen, send, simulated, values};

/// How many records the tests of starting points use; some of them span several segments.
const COUNT: u64 = 400;

/// Times that go up and down along the log, with equal ones among them.
fn times() -> Vec<i64> {
    let mut times = (0..COUNT as i64).map(|number| number / 2 * 10).collect::<Vec<_>>();
    for (at, earlier) in [(50, 5), (51, 9_000), (200, -1), (201, 0), (399, 100)] {
        times[at] = earlier;
    }
    times
}

/// Fills a topic of several small segments, in batches of one and of many records.
fn fill(log: &Log) {
    log.create_topic("t", TopicConfig::new().segment_bytes(4096)).unwrap();
    let producer = log.producer("t").unwrap();
    for (round, times) in times().chunks(20).enumerate() {
        let records = times.iter().map(|time| {
            Record::new("some value of some length").timestamp(Timestamp::from_millis(*time))
        });
        match round % 2 {
            0 => assert_eq!(producer.send_all(records).unwrap().len(), 1),
            _ => records.for_each(|record| _ = producer.send(record).unwrap()),
        }
    }
    assert!(log.stats().partitions[0].segments > 4);
}

/// The first offset that a reader gives, or none at the end.
fn first(log: &Log, start: StartAt) -> Option<u64> {
    let reader = log.reader("t").start_at(start).stop_at_end().open().unwrap();
    let found = reader.map(|record| record.unwrap().offset().value()).collect::<Vec<_>>();
    assert!(found.is_sorted() && found.last().is_none_or(|last| *last == COUNT - 1));
    found.first().copied()
}

/// A replay from a time would skip events, or begin far too early (Kafka's rule, by brute force).
#[test]
fn a_time_is_the_first_offset_of_that_time_or_later() {
    let (disk, log) = simulated(1);
    fill(&log);
    let times = times();
    let wanted = [i64::MIN, -2, -1, 0, 1, 5, 9, 10, 11, 250, 995, 1000, 1985, 1986, 8999, 9000];
    let check = |log: &Log| {
        for time in wanted.into_iter().chain([9001, i64::MAX]).chain((0..2000).step_by(37)) {
            let expected = times.iter().position(|found| *found >= time);
            let found = first(log, StartAt::Timestamp(Timestamp::from_millis(time)));
            assert_eq!(found, expected.map(|at| at as u64), "from time {time}");
        }
    };
    check(&log);
    log.close().unwrap();
    let log = reopen(&disk);
    check(&log);
    drop(log);
    check(&reopen(&disk));
}

/// Somebody would read from elsewhere than he asked, and not know it.
#[test]
fn readers_start_where_they_are_told() {
    let (_, log) = simulated(2);
    fill(&log);
    assert_eq!(first(&log, StartAt::Earliest), Some(0));
    assert_eq!(first(&log, StartAt::Latest), None);
    for at in (0..COUNT).step_by(7) {
        assert_eq!(first(&log, StartAt::Offset(offset(at))), Some(at));
    }
    assert_eq!(first(&log, StartAt::Offset(offset(COUNT))), None, "the end is a valid start");
    for at in [COUNT + 1, u64::MAX] {
        let error = log.reader("t").start_at(StartAt::Offset(offset(at))).open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
        assert_eq!(error.valid_range(), Some(Offset::ZERO..offset(COUNT)));
    }
    log.trim(&place("t", 0), offset(123)).unwrap();
    assert_eq!(first(&log, StartAt::Earliest), Some(123));
    let error = log.reader("t").start_at(StartAt::Offset(offset(122))).open().unwrap_err();
    assert_eq!(error.valid_range(), Some(offset(123)..offset(COUNT)));
    let early = StartAt::Timestamp(Timestamp::from_millis(0));
    assert_eq!(first(&log, early), Some(123), "what is gone is not found");
}

/// Records of one partition would come out of order, or those of another not at all.
#[test]
fn all_partitions_are_read_each_in_order() {
    let log = Log::in_memory().unwrap();
    log.create_topic("t", TopicConfig::new().partitions(5)).unwrap();
    let producer = log.producer("t").unwrap();
    for number in 0..500_u32 {
        producer.send(Record::new("v").key(&number.to_le_bytes())).unwrap();
    }
    let found = all(log.reader("t"));
    assert_eq!(found.len(), 500);
    for partition in (0..5).map(PartitionId::new) {
        let own = found.iter().filter(|record| record.partition() == partition).cloned();
        let own = own.collect::<Vec<_>>();
        assert!(own.iter().zip(0..).all(|(record, at)| record.offset() == offset(at)));
        assert_eq!(own, all(log.reader("t").partition(partition)));
    }
    let error = log.reader("t").partition(5).open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownPartition);
}

/// A reader that should end would wait, or give records that came after it was opened.
#[test]
fn stopping_at_the_end_is_the_end_as_it_was_at_opening() {
    let log = Log::in_memory().unwrap();
    log.create_topic("t", TopicConfig::new()).unwrap();
    send(&log, "t", &["a", "b"]);
    let mut reader = log.reader("t").stop_at_end().open().unwrap();
    log.producer("t").unwrap().send_all([Record::new("c"), Record::new("d")]).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().value(), Some(&b"a"[..]));
    assert_eq!(reader.next().unwrap().unwrap().value(), Some(&b"b"[..]));
    assert!(reader.next().is_none());
    assert!(reader.next_batch().is_none() && reader.poll(Duration::MAX).is_none());
    assert!(
        log.reader("t").start_at(StartAt::Latest).stop_at_end().open().unwrap().next().is_none()
    );
    log.create_topic("empty", TopicConfig::new()).unwrap();
    assert!(log.reader("empty").stop_at_end().open().unwrap().next().is_none());
}

/// A wake-up would be lost and two services wait for each other for ever.
#[test]
fn followers_are_woken_by_what_is_sent() {
    let disk = SimDisk::new(3);
    let simulated = open(&disk.env_with_threads(), disk.root().join("log"), LogOptions::new());
    for log in [Log::in_memory().unwrap(), simulated.unwrap()] {
        for name in ["ping", "pong"] {
            log.create_topic(name, TopicConfig::new().partitions(2)).unwrap();
        }
        let answer = |from: &str, to: &str, acks| {
            let producer = log.producer(to).unwrap().acks(acks);
            let reader = log.reader(from).open().unwrap();
            for record in reader.take(1000) {
                let record = record.unwrap();
                producer.send(Record::new(record.value().unwrap())).unwrap();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| answer("ping", "pong", Acks::Durable));
            scope.spawn(|| answer("pong", "ping", Acks::None));
            send(&log, "ping", &["ball"]);
        });
        assert_eq!(log.stats().records(), 2001);
    }
}

/// A thread that follows would outlive its log, or a close would hang.
#[test]
fn parked_followers_end_with_the_log_or_the_topic() {
    for closes in [true, false] {
        let log = Log::in_memory().unwrap();
        log.create_topic("t", TopicConfig::new().partitions(3)).unwrap();
        send(&log, "t", &["a"]);
        let (told, seen) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let follower = scope.spawn(|| {
                let mut reader = log.reader("t").open().unwrap();
                told.send(reader.next().unwrap().unwrap()).unwrap();
                let error = reader.next().unwrap().unwrap_err();
                assert!(reader.next().is_none(), "it is told once");
                error.kind()
            });
            seen.recv().unwrap();
            let expected = match closes {
                true => log.close().map(|()| ErrorKind::Closed).unwrap(),
                false => log.delete_topic("t").map(|()| ErrorKind::UnknownTopic).unwrap(),
            };
            assert_eq!(follower.join().unwrap(), expected);
        });
    }
}

/// `poll` would wait without end, or give up although there is something.
#[test]
fn polling_waits_no_longer_than_it_is_told() {
    let (_, manual) = simulated(4);
    for log in [Log::in_memory().unwrap(), manual] {
        log.create_topic("t", TopicConfig::new()).unwrap();
        let mut reader = log.reader("t").open().unwrap();
        for timeout in [Duration::ZERO, Duration::from_millis(2)] {
            assert!(reader.poll(timeout).is_none());
        }
        for round in 1..=3 {
            send(&log, "t", &["a", "b"]);
            let batch = reader.poll(Duration::MAX).unwrap().unwrap();
            assert_eq!(batch.len(), 2);
            assert_eq!(reader.position(PartitionId::ZERO), Some(offset(2 * round)));
            assert!(reader.poll(Duration::ZERO).is_none());
        }
    }
}

/// A batch would give other records than the iterator, or records that move under its owner.
#[test]
fn batches_hold_what_the_iterator_gives() {
    let (_, log) = simulated(5);
    fill(&log);
    let mut reader = log.reader("t").stop_at_end().fetch_bytes(64 * 1024).open().unwrap();
    let batches = std::iter::from_fn(|| reader.next_batch()).collect::<Result<Vec<_>, _>>();
    let batches = batches.unwrap();
    log.delete_topic("t").unwrap();
    let records = batches.iter().flat_map(|batch| batch.iter().map(|record| record.to_stored()));
    let records = records.collect::<Vec<_>>();
    assert_eq!(records.len(), 400);
    let counted = batches.iter().map(|batch| {
        assert!(!batch.is_empty() && batch.bytes() > 0);
        assert_eq!(batch.into_iter().count(), batch.len());
        batch.len()
    });
    assert_eq!(counted.sum::<usize>(), records.len());
    for (record, time) in records.iter().zip(times()) {
        assert_eq!(record.timestamp().as_millis(), time);
        assert_eq!(record.value_bytes().unwrap(), "some value of some length");
    }
}

/// Going back in a log would skip what was fetched already, or give it twice.
#[test]
fn seeking_goes_on_from_the_very_offset() {
    let log = Log::in_memory().unwrap();
    log.create_topic("t", TopicConfig::new().partitions(2)).unwrap();
    let producer = log.producer("t").unwrap();
    for partition in 0..2 {
        let fixed = brooklet::partitioner::Fixed(PartitionId::new(partition));
        let producer = producer.clone().partitioner(fixed);
        producer.send_all((0..10).map(|_| Record::new("v"))).unwrap();
    }
    let [zero, one] = [0, 1].map(PartitionId::new);
    let mut reader = log.reader("t").stop_at_end().open().unwrap();
    let mut next = || reader.next().map(|record| record.unwrap());
    let own = |record: &StoredRecord| (record.partition(), record.offset().value());
    assert_eq!(next().as_ref().map(own), Some((zero, 0)));
    assert_eq!(next().as_ref().map(own), Some((zero, 1)));
    assert_eq!(reader.position(zero), Some(offset(2)));
    reader.seek(zero, offset(8)).unwrap();
    reader.seek(one, offset(9)).unwrap();
    assert_eq!(reader.position(zero), Some(offset(8)));
    let mut left = reader.by_ref().map(|record| own(&record.unwrap())).collect::<Vec<_>>();
    left.sort_unstable();
    assert_eq!(left, [(zero, 8), (zero, 9), (one, 9)]);
    reader.seek(zero, offset(9)).unwrap();
    assert_eq!(reader.by_ref().count(), 1, "a reader that has ended can be sent back");
    let error = reader.seek(PartitionId::new(2), Offset::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownPartition);
    assert_eq!(reader.position(PartitionId::new(2)), None);
}

/// One partition out of range would end the reading of the others, or be jumped over silently.
#[test]
fn a_partition_out_of_range_says_so_once_and_the_others_go_on() {
    let log = Log::in_memory().unwrap();
    log.create_topic("t", TopicConfig::new().partitions(3)).unwrap();
    let producer = log.producer("t").unwrap();
    for number in 0..90_u32 {
        producer.send(Record::new("v").key(&number.to_le_bytes())).unwrap();
    }
    let mut reader = log.reader("t").stop_at_end().open().unwrap();
    let end = log.trim(&place("t", 1), offset(5)).unwrap();
    let valid = log.offsets(&place("t", 1)).unwrap().readable();
    let (found, errors): (Vec<_>, Vec<_>) = reader.by_ref().partition(Result::is_ok);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let error = errors[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
    assert_eq!(error.valid_range(), Some(valid.clone()));
    let elsewhere = 90 - valid.end.value() as usize;
    assert_eq!(found.len(), elsewhere);
    reader.seek(PartitionId::new(1), end).unwrap();
    assert_eq!(reader.count() as u64, valid.end.value() - end.value());
}

/// A limit on fetches would be ignored, or keep a large record from ever being read.
#[test]
fn fetches_keep_near_their_size_and_pass_any_record() {
    let (_, log) = simulated(6);
    log.create_topic("t", TopicConfig::new()).unwrap();
    send(&log, "t", &["x".repeat(10_000).as_str(); 50]);
    send(&log, "t", &["y".repeat(500_000).as_str(), "z"]);
    let sizes = |bytes: usize| {
        let mut reader = log.reader("t").stop_at_end().fetch_bytes(bytes).open().unwrap();
        std::iter::from_fn(|| reader.next_batch())
            .map(|batch| batch.unwrap().bytes())
            .collect::<Vec<_>>()
    };
    let small = sizes(64 * 1024);
    assert!(small.len() > 7, "{small:?}");
    // The batch that passes the size is the last one of its fetch.
    let near = 64 * 1024..64 * 1024 + 10_100;
    assert!(small.iter().all(|size| *size < near.end || *size > 500_000), "{small:?}");
    assert!(small.iter().filter(|size| near.contains(size)).count() >= 6, "{small:?}");
    assert!(sizes(8 << 20).len() <= 2);
    assert_eq!(values(&log, "t").len(), 52);
    for bytes in [0, 1023, (64 << 20) + 1] {
        let error = log.reader("t").fetch_bytes(bytes).open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    }
}
