//! What a poll hands out: in turns, within its limits, and from the right place.

use super::{BTreeSet, Consumer, Log, NOW, Offset, Record, TopicConfig, log_with, send, values};
use brooklet::{ErrorKind, Retention, StartAt, TopicPartition};

fn fill(log: &Log, topic: &str, key: &str, count: usize) -> TopicPartition {
    let producer = log.producer(topic).unwrap();
    let records = (0..count).map(|_| Record::new("v").key(key));
    let receipts = producer.send_all(records).unwrap();
    receipts[0].topic_partition().clone()
}

/// Keys that go to different partitions of a topic with two.
fn two_keys(log: &Log) -> [(&'static str, TopicPartition); 2] {
    let mut found = Vec::<(&str, TopicPartition)>::new();
    for key in ["a", "b", "c", "d", "e", "f"] {
        let place = fill(log, "orders", key, 1);
        if found.iter().all(|(_, other)| *other != place) {
            found.push((key, place));
        }
    }
    found.try_into().unwrap()
}

/// A busy partition would keep the others waiting for ever.
#[test]
fn partitions_take_turns_and_a_split_batch_loses_nothing() {
    let log = log_with("orders", 2);
    let [(busy, busy_place), (quiet, quiet_place)] = two_keys(&log);
    fill(&log, "orders", busy, 1_000);
    fill(&log, "orders", quiet, 10);
    let mut consumer = log.consumer("billing").topics(["orders"]).max_records(7).open().unwrap();
    let mut next = std::collections::BTreeMap::new();
    let mut polls_until_quiet_is_done = 0;
    let quiet_end = log.offsets(&quiet_place).unwrap().end;
    loop {
        let batch = consumer.poll(NOW).unwrap();
        assert!(batch.len() <= 7, "{} records", batch.len());
        if batch.is_empty() {
            break;
        }
        for record in &batch {
            let next = next.entry(record.topic_partition().clone()).or_insert(0);
            assert_eq!(record.offset().value(), *next, "of {}", record.topic_partition());
            *next += 1;
        }
        if consumer.position(&quiet_place) != Some(quiet_end) {
            polls_until_quiet_is_done += 1;
        }
    }
    for place in [&busy_place, &quiet_place] {
        assert_eq!(next[place], log.offsets(place).unwrap().end.value());
    }
    assert!(polls_until_quiet_is_done < 10, "a quiet partition waited for a busy one");
}

/// A paused partition would be read, or never again; a seek would commit.
#[test]
fn partitions_are_paused_and_resumed_and_sought_in() {
    let log = log_with("orders", 2);
    let [(one, first), (two, second)] = two_keys(&log);
    let mut consumer = log.consumer("billing").topics(["orders"]).open().unwrap();
    values(&mut consumer);
    consumer.commit().unwrap();
    consumer.pause(&first).unwrap();
    fill(&log, "orders", one, 5);
    fill(&log, "orders", two, 3);
    assert_eq!(consumer.lag().unwrap()[&first], 5);
    assert_eq!(values(&mut consumer).len(), 3);
    assert_eq!(consumer.lag().unwrap()[&first], 5);
    assert_eq!(consumer.lag().unwrap()[&second], 0);
    consumer.resume(&first).unwrap();
    assert_eq!(values(&mut consumer).len(), 5);
    let committed = consumer.committed(&first);
    consumer.seek(&first, Offset::ZERO).unwrap();
    assert_eq!(consumer.position(&first), Some(Offset::ZERO));
    assert_eq!(consumer.committed(&first), committed);
    let end = log.offsets(&first).unwrap().end.value();
    assert_eq!(values(&mut consumer).len() as u64, end);
    let before_commit = log.group("billing").unwrap().lag();
    assert_eq!(before_commit, 8);
    consumer.commit().unwrap();
    assert_eq!(log.group("billing").unwrap().lag(), 0);
}

fn trimmed() -> (Log, TopicPartition, TopicPartition, Consumer) {
    let log = log_with("orders", 2);
    let [(one, first), (two, second)] = two_keys(&log);
    let consumer = log.consumer("billing").topics(["orders"]).open().unwrap();
    fill(&log, "orders", one, 10);
    fill(&log, "orders", two, 10);
    log.trim(&first, Offset::new(4)).unwrap();
    (log, first, second, consumer)
}

/// Records that retention took would be skipped in silence, or stop all partitions.
#[test]
fn a_position_that_is_gone_is_told_each_time_and_the_others_go_on() {
    let (log, first, second, mut consumer) = trimmed();
    let mut errors = 0;
    let mut read = BTreeSet::new();
    for _ in 0..6 {
        match consumer.poll(NOW) {
            Ok(batch) => read.extend(batch.iter().map(|record| record.topic_partition().clone())),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
                assert_eq!(error.partition(), Some(&first));
                let end = log.offsets(&first).unwrap().end;
                assert_eq!(error.valid_range(), Some(Offset::new(4)..end));
                errors += 1;
            }
        }
    }
    assert!(errors >= 3, "told {errors} times in 6 polls");
    assert_eq!(read, BTreeSet::from([second]));
    consumer.seek(&first, Offset::new(4)).unwrap();
    let batch = consumer.poll(NOW).unwrap();
    assert_eq!(batch.iter().next().unwrap().offset(), Offset::new(4));
}

/// The policy that a consumer has chosen would not be followed.
#[test]
fn a_position_that_is_gone_is_replaced_as_the_consumer_has_chosen() {
    for (start, first_offset) in [(StartAt::Earliest, Some(4)), (StartAt::Latest, None)] {
        let (log, first, _, consumer) = trimmed();
        drop(consumer);
        let builder = log.consumer("billing").topics(["orders"]).on_out_of_range(start);
        let mut consumer = builder.open().unwrap();
        let mut offsets = Vec::new();
        loop {
            let batch = consumer.poll(NOW).unwrap();
            if batch.is_empty() {
                break;
            }
            let of_first = batch.iter().filter(|record| *record.topic_partition() == first);
            offsets.extend(of_first.map(|record| record.offset().value()));
        }
        assert_eq!(offsets.first().copied(), first_offset, "{start:?}");
        assert_eq!(consumer.position(&first), Some(log.offsets(&first).unwrap().end));
    }
}

/// Retention would remove what a group still needs, or keep what nobody does.
#[test]
fn what_a_group_has_not_committed_is_held() {
    let log = Log::in_memory().unwrap();
    let keeping = Retention::forever().max_bytes(1_024).hold_uncommitted(true);
    let config = TopicConfig::new().segment_bytes(1_024).retention(keeping);
    log.create_topic("held.named", config.clone()).unwrap();
    let start = |topic: &str| {
        log.maintain().unwrap();
        let place = log.stats().partitions.into_iter().map(|stats| stats.partition);
        let place = place.filter(|place| place.topic().as_str() == topic).last().unwrap();
        log.offsets(&place).unwrap().start.value()
    };
    let fill = |topic: &str| {
        let producer = log.producer(topic).unwrap();
        (0..100).for_each(|_| drop(producer.send(Record::new(&[b'x'; 100])).unwrap()));
    };
    let mut consumer = log.consumer("billing").matching("held.*").open().unwrap();
    // A topic that was made later has no commit to be held by; its reader holds it.
    log.create_topic("held.later", config.clone()).unwrap();
    log.create_topic("loose", config).unwrap();
    ["held.named", "held.later", "loose"].into_iter().for_each(fill);
    assert_eq!(["held.named", "held.later"].map(start), [0, 0]);
    assert!(start("loose") > 0, "nothing is removed at all");
    values(&mut consumer);
    assert_eq!(["held.named", "held.later"].map(start), [0, 0]);
    consumer.commit().unwrap();
    assert!(["held.named", "held.later"].map(start).iter().all(|start| *start > 0));
}

/// One group would read, commit or skip for another.
#[test]
fn groups_do_not_touch_each_other() {
    let log = log_with("orders", 2);
    send(&log, "orders", 0..10);
    let open = |group: &str| log.consumer(group).topics(["orders"]).open().unwrap();
    let (mut billing, mut shipping) = (open("billing"), open("shipping"));
    assert_eq!(values(&mut billing).len(), 10);
    billing.commit().unwrap();
    assert_eq!(log.group("shipping").unwrap().lag(), 10);
    assert_eq!(values(&mut shipping).len(), 10);
    log.reset_group("billing").fence_members().apply().unwrap();
    shipping.commit().unwrap();
    drop(billing);
    log.delete_group("billing").unwrap();
    assert_eq!(log.group("shipping").unwrap().lag(), 0);
    assert_eq!(log.groups().unwrap().len(), 1);
    log.reset_group("shipping").fence_members().to(StartAt::Earliest).apply().unwrap();
    drop(open("billing"));
    let reset = log.reset_group("billing").to_group("shipping").apply().unwrap();
    assert!(reset.iter().all(|reset| reset.to == Offset::ZERO));
}
