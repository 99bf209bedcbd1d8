//! Producers: where records go, what is kept of them, and what a receipt says.

use std::num::NonZeroU32;

use brooklet::partitioner::{ByFn, Choice, Fixed, Sticky};
use brooklet::testing::CrashPolicy;
use brooklet::{
    Acks, ErrorKind, Fate, Header, Log, Offset, PartitionId, Record, SyncPolicy, Timestamp,
    TopicConfig,
};

use super::{all, offset, place, reopen, simulated, values};

fn three_partitions() -> Log {
    let log = Log::in_memory().unwrap();
    log.create_topic("orders", TopicConfig::new().partitions(3)).unwrap();
    log
}

/// A user who moves to Kafka, or back, would find keys in other partitions.
#[test]
fn keys_go_where_kafkas_java_client_sends_them() {
    // The hashes of the Java client's own tests, and the remainders by hand.
    let hashes: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];
    for partitions in [1, 3, 12, 100] {
        let log = Log::in_memory().unwrap();
        log.create_topic("t", TopicConfig::new().partitions(partitions)).unwrap();
        let producer = log.producer("t").unwrap();
        for (key, hash) in hashes {
            let expected = (hash & 0x7fff_ffff).cast_unsigned() % partitions;
            let one = producer.send(Record::new("v").key(key)).unwrap();
            assert_eq!(one.partition().value(), expected, "{key} of {partitions}");
            let many = producer.send_all([Record::new("v").key(key)]).unwrap();
            assert_eq!(many[0].topic_partition(), one.topic_partition());
            let later = producer.submit(Record::without_value().key(key)).wait().unwrap();
            assert_eq!(later.topic_partition(), one.topic_partition());
        }
    }
}

/// Keyless records would pile up in one partition, or tear a batch apart.
#[test]
fn keyless_records_stick_for_a_batch_and_go_round() {
    let log = three_partitions();
    for producer in
        [log.producer("orders").unwrap(), log.producer("orders").unwrap().partitioner(Sticky)]
    {
        let sent = |_| producer.send(Record::new("v")).unwrap().partition().value();
        let mut used = (0..3).map(sent).collect::<Vec<_>>();
        used.sort_unstable();
        assert_eq!(used, [0, 1, 2]);
        let batches = producer.send_all((0..100).map(|_| Record::new("v"))).unwrap();
        assert_eq!(batches.len(), 1, "one batch holds them all");
    }
    let keyed = log.producer("orders").unwrap().partitioner(Sticky);
    let send = |_| keyed.send(Record::new("v").key("same")).unwrap().partition();
    let used = (0..3).map(send).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(used.len(), 3, "this partitioner takes no notice of keys");
}

/// A record would go elsewhere than its sender said, or a bad choice take the process down.
#[test]
fn senders_can_choose_partitions_themselves() {
    let log = three_partitions();
    let producer = log.producer("orders").unwrap();
    let two = producer.clone().partitioner(Fixed(PartitionId::new(2)));
    assert_eq!(two.send(Record::new("v").key("k")).unwrap().to_string(), "orders/2@0");
    assert_eq!(two.send(Record::new("v")).unwrap().to_string(), "orders/2@1");
    let by_value = producer.clone().partitioner(ByFn::new(
        |key: Option<&[u8]>, value: Option<&[u8]>, count: NonZeroU32| match (key, value) {
            (Some(_), Some(value)) => Choice::from(value.len() as u32 % count),
            _ => Choice::Sticky,
        },
    ));
    for len in 0..6 {
        let value = vec![b'v'; len];
        let receipt = by_value.send(Record::new(&value).key("k")).unwrap();
        assert_eq!(receipt.partition().value() as usize, len % 3);
    }
    let before = log.stats().records();
    for choice in [3, 4, u32::MAX] {
        let wrong = producer.clone().partitioner(Fixed(PartitionId::new(choice)));
        let one = wrong.send(Record::new("v")).unwrap_err();
        let later = wrong.submit(Record::new("v")).wait().unwrap_err();
        let many = wrong.send_all([Record::new("v")]).unwrap_err();
        for error in [&one, &later, many.first()] {
            assert_eq!(error.error().kind(), ErrorKind::InvalidRecord);
            assert_eq!(error.fate(), Fate::NotAppended);
            assert!(error.to_string().contains(&format!("chose {choice} of 3")), "{error}");
        }
        assert!(many.results().is_empty(), "nothing was tried");
    }
    assert_eq!(log.stats().records(), before);
}

/// The records that must come back exactly as they went in.
fn strange_records() -> Vec<Record<'static>> {
    let records = vec![
        Record::without_value(),
        Record::without_value().key("tombstone"),
        Record::new(""),
        Record::new("").key(""),
        Record::new("v").key(&[0, 255, 0x80][..]),
        Record::new("v").header("b", "1").header("a", "2").header("b", "3"),
        Record::new("v").header_without_value("null").header("empty", "").header("", "unnamed"),
        Record::new("v").timestamp(Timestamp::from_millis(0)),
        Record::new("v").timestamp(Timestamp::from_millis(-1)),
        Record::new("v").timestamp(Timestamp::from_millis(i64::MAX)),
        Record::new("v").timestamp(Timestamp::from_millis(i64::MIN)),
        Record::new("v").timestamp(Timestamp::from_millis(1_517_363_399_650)).key("k"),
    ];
    records
}

/// What a reader gets would differ from what was sent: null taken for empty, headers reordered.
#[test]
fn records_come_back_exactly_as_they_were_sent() {
    let (disk, log) = simulated(1);
    let sent = strange_records();
    for name in ["one by one", "at once", "submitted"].map(|name| name.replace(' ', "-")) {
        log.create_topic(&name, TopicConfig::new()).unwrap();
        let producer = log.producer(&name).unwrap();
        match name.as_str() {
            "at-once" => assert!(!producer.send_all(sent.clone()).unwrap().is_empty()),
            "submitted" => sent.iter().for_each(|record| {
                producer.submit(record.clone()).wait().unwrap();
            }),
            _ => sent.iter().for_each(|record| {
                producer.send(record.clone()).unwrap();
            }),
        }
    }
    let crashed = disk.fork().crash(CrashPolicy::LoseAll, 1);
    for log in [log, reopen(&crashed)] {
        for topic in log.topics().unwrap() {
            let found = all(log.reader(topic.name.as_str()));
            assert_eq!(found.len(), sent.len());
            for (record, found) in sent.iter().zip(&found) {
                assert_eq!(found.key(), record.key_bytes());
                assert_eq!(found.value(), record.value_bytes());
                let again = found.to_record();
                assert_eq!(headers(&again), headers(record));
                match format!("{record:?}").contains("timestamp: None") {
                    true => assert_eq!(found.timestamp(), found.append_time()),
                    false => {
                        assert!(format!("{record:?}").contains(&format!(
                            "timestamp: Some(Timestamp({}))",
                            found.timestamp()
                        )))
                    }
                }
            }
            let doubled = &found[5].headers();
            assert_eq!(doubled.last("b"), Some(Some(&b"3"[..])));
            assert_eq!(found[6].headers().last("null"), Some(None));
            assert_eq!(found[6].headers().last("absent"), None);
        }
    }
}

/// What a record prints of its headers, which has their order, doubles and nulls.
fn headers(record: &Record<'_>) -> String {
    let text = format!("{record:?}");
    text.split("headers: ").nth(1).unwrap().split(", timestamp").next().unwrap().to_owned()
}

/// Whoever reads one header after another would miss one.
#[test]
fn headers_are_counted_and_iterated_in_order() {
    let log = Log::in_memory().unwrap();
    log.create_topic("t", TopicConfig::new()).unwrap();
    let record = Record::new("v").header("n", "1").header_without_value("x").header("n", "2");
    log.producer("t").unwrap().send(record).unwrap();
    let found = all(log.reader("t"));
    let found = found[0].headers();
    assert_eq!((found.len(), found.is_empty()), (3, false));
    let header = |name, value| Header { name, value };
    let expected = [header("n", Some(&b"1"[..])), header("x", None), header("n", Some(b"2"))];
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
}

/// A record without a time of its own would get none, or another than its append's.
#[test]
fn append_times_come_from_the_clock_and_never_go_back() {
    let (disk, log) = simulated(2);
    log.create_topic("t", TopicConfig::new()).unwrap();
    let producer = log.producer("t").unwrap();
    let start = 1_700_000_000_000;
    for wall in [start, start + 500, start - 10_000_000, start + 1_000] {
        disk.clock().set_wall(wall);
        producer.send(Record::new("v")).unwrap();
        producer.send(Record::new("v").timestamp(Timestamp::from_millis(7))).unwrap();
    }
    let found = all(log.reader("t"));
    let appended = found.iter().map(|record| record.append_time().as_millis() - start);
    assert_eq!(appended.collect::<Vec<_>>(), [0, 0, 500, 500, 500, 500, 1000, 1000]);
    for pair in found.chunks(2) {
        assert_eq!(pair[0].timestamp(), pair[0].append_time());
        assert_eq!(pair[1].timestamp().as_millis(), 7);
    }
}

/// A receipt would name another place than the one its record stands in.
#[test]
fn receipts_name_the_place_of_each_record() {
    let log = three_partitions();
    let producer = log.producer("orders").unwrap();
    for number in 0..30_u32 {
        let key = format!("key-{}", number % 7);
        let acks = [Acks::None, Acks::Written, Acks::Durable][number as usize % 3];
        let value = number.to_string();
        let record = Record::new(&value).key(&key);
        let receipt = producer.clone().acks(acks).send(record).unwrap();
        let (partition, at) = (receipt.partition(), receipt.offset());
        assert_eq!(receipt.to_string(), format!("orders/{partition}@{at}"));
        assert_eq!(*receipt.topic_partition(), place("orders", partition.value()));
    }
    for partition in 0..3 {
        let found = all(log.reader("orders").partition(partition));
        for (record, expected) in found.iter().zip(0..) {
            assert_eq!(record.offset(), offset(expected));
        }
    }
    let batches = producer.send_all((0..10).map(|_| Record::new("x").key("key-1"))).unwrap();
    let range = batches[0].offsets();
    assert_eq!(range.end.value() - range.start.value(), 10);
    let place = batches[0].topic_partition();
    assert_eq!(log.offsets(place).unwrap().end, range.end);
    assert!(producer.send_all([]).unwrap().is_empty());
}

/// A large `send_all` would lose the order of a partition, or fail for its size.
#[test]
fn many_records_are_split_into_batches_in_order() {
    let log = three_partitions();
    let producer = log.producer("orders").unwrap();
    let values = (0..5000).map(|number| format!("{number:0100}")).collect::<Vec<_>>();
    let keys = (0..5000).map(|number| format!("k{}", number % 10)).collect::<Vec<_>>();
    let records = values.iter().zip(&keys).map(|(value, key)| Record::new(value).key(key));
    let batches = producer.send_all(records).unwrap();
    assert!(batches.len() > 6, "{} batches", batches.len());
    let counted = batches.iter().map(|batch| {
        let offsets = batch.offsets();
        offsets.end.value() - offsets.start.value()
    });
    assert_eq!(counted.sum::<u64>(), 5000);
    for partition in 0..3 {
        let found = all(log.reader("orders").partition(partition));
        assert!(found.is_sorted_by(|one, next| one.value() < next.value()));
    }
    assert_eq!(values.len(), self::values(&log, "orders").len());
}

/// An ack would be given before what it stands for has happened, or long after.
#[test]
fn acks_stand_for_what_has_happened() {
    let everything = [SyncPolicy::Always, SyncPolicy::Never];
    for policy in everything {
        for acks in [None, Some(Acks::Written), Some(Acks::Durable)] {
            let (disk, log) = simulated(3);
            log.create_topic("t", TopicConfig::new().sync(policy)).unwrap();
            let producer = log.producer("t").unwrap();
            let producer = acks.map_or(producer.clone(), |acks| producer.acks(acks));
            producer.send(Record::new("v")).unwrap();
            let offsets = log.offsets(&place("t", 0)).unwrap();
            assert_eq!(offsets.written_end, offset(1), "{policy:?} {acks:?}");
            let is_durable = policy == SyncPolicy::Always || acks == Some(Acks::Durable);
            let durable_end = if is_durable { offset(1) } else { Offset::ZERO };
            assert_eq!(offsets.durable_end, durable_end, "{policy:?} {acks:?}");
            let lost = reopen(&disk.fork().crash(CrashPolicy::LoseAll, 1));
            assert_eq!(values(&lost, "t").len(), usize::from(is_durable), "{policy:?} {acks:?}");
            let killed = reopen(&disk.crash(CrashPolicy::KeepAll, 1));
            assert_eq!(values(&killed, "t").len(), 1, "{policy:?} {acks:?}");
        }
    }
}

/// A clone would be a stranger: with other acks, or to another topic.
#[test]
fn producers_are_cheap_clones_that_keep_their_settings() {
    let log = three_partitions();
    let producer = log.producer("orders").unwrap().partitioner(Fixed(PartitionId::new(1)));
    let clone = producer.clone();
    assert_eq!(clone.topic().as_str(), "orders");
    let mut sent = vec![producer.send(Record::new("a")).unwrap()];
    std::thread::scope(|scope| {
        let other = scope.spawn(|| clone.send(Record::new("b")).unwrap());
        sent.push(other.join().unwrap());
    });
    assert_eq!(
        sent.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["orders/1@0", "orders/1@1"]
    );
}
