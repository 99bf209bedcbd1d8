//! A consumer behind a channel: order of acks, hand-overs, ends, errors.

use brooklet::{ErrorKind, Log, Offset, Record, StoredRecord, TopicConfig};

use super::{BTreeSet, NOW, Scene, number, place, until};

/// The next `count` records of a channel.
fn take(
    records: &crossbeam_channel::Receiver<Result<StoredRecord, brooklet::Error>>,
    count: usize,
) -> Vec<StoredRecord> {
    records.iter().take(count).map(Result::unwrap).collect()
}

/// A record would be counted as done with because a later one is.
#[test]
fn acks_in_any_order_commit_what_has_no_gap() {
    let scene = Scene::new(1);
    scene.send(0..10);
    let (acker, records) = scene.consumer().into_channel(3).unwrap();
    let taken = take(&records, 10);
    assert_eq!(taken.iter().map(|r| number(r.value())).collect::<Vec<_>>(), Vec::from_iter(0..10));
    let group = scene.log.consumer("billing").topics(["orders"]).open().unwrap();
    let committed = || group.committed(&place(0)).map(|at| at.offset().value());
    let steps = [(1, 0), (2, 0), (0, 3), (9, 3), (4, 3), (3, 5), (3, 5), (8, 5)];
    for (ack, expected) in steps {
        acker.ack(&taken[ack]).unwrap();
        acker.flush().unwrap();
        assert_eq!(committed().unwrap_or(0), expected, "after the ack of {ack}");
    }
    acker.leave().unwrap();
    drop(group);
    let mut next = scene.consumer();
    let again = next.poll(NOW).unwrap();
    assert_eq!(again.iter().map(|r| number(r.value())).collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
}

/// A partition would move while its records are being handled, or hold up those that stay.
#[test]
fn a_partition_that_is_to_go_waits_for_its_acks_and_the_others_go_on() {
    let scene = Scene::new(4);
    scene.send(0..40);
    let (acker, records) = scene.consumer().into_channel(100).unwrap();
    let taken = take(&records, 40);
    let mut other = scene.consumer();
    scene.send(40..80);
    // Two partitions stay, and their records come; nothing of the other two moves.
    let owner = |record: &StoredRecord| record.partition();
    let first = records.recv().unwrap().unwrap();
    let mut more = vec![first];
    until(|| {
        more.extend(records.try_iter().map(Result::unwrap));
        let partitions = more.iter().map(owner).collect::<BTreeSet<_>>();
        partitions.len() == 2 && other.poll(NOW).unwrap().is_empty()
    });
    assert!(other.assignment().is_empty(), "handed over with records in hand");
    let stays = more.iter().map(owner).collect::<BTreeSet<_>>();
    for record in taken.iter().filter(|record| !stays.contains(&owner(record))) {
        acker.ack(record).unwrap();
    }
    acker.flush().unwrap();
    let mut got = Vec::new();
    until(|| {
        let batch = other.poll(NOW).unwrap();
        got.extend(batch.iter().map(|record| record.to_stored()));
        more.extend(records.try_iter().map(Result::unwrap));
        got.len() + more.len() == 40
    });
    let moved = got.iter().map(owner).collect::<BTreeSet<_>>();
    assert_eq!(moved.len(), 2);
    assert!(moved.is_disjoint(&stays), "a partition with two readers");
    let mut values = got.iter().chain(&more).map(|r| number(r.value())).collect::<Vec<_>>();
    values.sort_unstable();
    assert_eq!(values, (40..80).collect::<Vec<_>>());
}

/// Records that nobody has taken would hold up a partition that is to go.
#[test]
fn what_is_not_in_the_channel_yet_is_left_to_the_next_owner() {
    let scene = Scene::new(2);
    scene.send(0..100);
    let (acker, records) = scene.consumer().into_channel(1).unwrap();
    until(|| records.is_full());
    let mut other = scene.consumer();
    // The one record in the channel belongs to one partition; the other one can go at once, or
    // goes when that record is acked.
    let record = records.recv().unwrap().unwrap();
    acker.ack(&record).unwrap();
    let mut here = vec![number(record.value())];
    let mut there = Vec::new();
    until(|| {
        for record in records.try_iter().map(Result::unwrap) {
            acker.ack(&record).unwrap();
            here.push(number(record.value()));
        }
        there.extend(other.poll(NOW).unwrap().iter().map(|record| number(record.value())));
        other.commit().unwrap();
        here.len() + there.len() >= 100
    });
    assert!(!there.is_empty() && !here.is_empty());
    let mut all = [here, there].concat();
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>(), "lost, or handled by both");
    acker.leave().unwrap();
}

/// A member that nobody listens to would keep its partitions.
#[test]
fn dropping_either_end_lets_the_member_leave() {
    let scene = Scene::new(1);
    scene.send(0..5);
    let (acker, records) = scene.consumer().into_channel(10).unwrap();
    let taken = take(&records, 5);
    acker.ack(&taken[0]).unwrap();
    let clone = acker.clone();
    drop(acker);
    clone.ack(&taken[1]).unwrap();
    drop(clone);
    assert!(records.recv().is_err(), "the channel has no end");
    let mut next = scene.consumer();
    assert_eq!(next.poll(NOW).unwrap().len(), 3);
    next.leave().unwrap();

    let (acker, records) = scene.consumer().into_channel(1).unwrap();
    drop(records);
    let mut next = scene.consumer();
    let mut read = 0;
    until(|| {
        read += next.poll(NOW).unwrap().len();
        read == 3
    });
    until(|| acker.ack(&taken[2]).is_err());
    assert_eq!(acker.ack(&taken[2]).unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(acker.flush().unwrap_err().kind(), ErrorKind::Fenced);
}

/// The end of the log would leave whoever waits at the channel waiting.
#[test]
fn the_end_of_the_log_comes_through_the_channel() {
    let scene = Scene::new(1);
    let (acker, records) = scene.consumer().into_channel(1).unwrap();
    scene.log.close().unwrap();
    assert_eq!(records.recv().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert!(records.recv().is_err());
    assert_eq!(acker.flush().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(acker.leave().unwrap_err().kind(), ErrorKind::Closed);
}

/// A partition that cannot be read would flood the channel with the same error, or stay silent.
#[test]
fn an_error_is_told_once_and_a_seek_leads_past_it() {
    let scene = Scene::new(2);
    scene.send(0..20);
    let mut consumer = scene.consumer();
    consumer.seek(&place(0), Offset::new(1_000)).unwrap();
    let (acker, records) = consumer.into_channel(5).unwrap();
    let mut errors = Vec::new();
    let mut values = Vec::new();
    let end = scene.log.offsets(&place(1)).unwrap().end.value() as usize;
    while values.len() < end || errors.is_empty() {
        match records.recv().unwrap() {
            Ok(record) => values.push(number(record.value())),
            Err(error) => errors.push(error),
        }
    }
    scene.send(20..21);
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].kind(), ErrorKind::OffsetOutOfRange);
    assert_eq!(errors[0].partition(), Some(&place(0)));
    acker.seek(&place(0), Offset::ZERO).unwrap();
    values.extend(take(&records, 21 - values.len()).iter().map(|r| number(r.value())));
    values.sort_unstable();
    assert_eq!(values, (0..21).collect::<Vec<_>>());
    assert_eq!(acker.seek(&place(7), Offset::ZERO).unwrap_err().kind(), ErrorKind::NotOwner);
}

/// A consumer could not wait beside other channels.
#[test]
fn it_stands_in_a_select_beside_others() {
    let scene = Scene::new(1);
    let (acker, records) = scene.consumer().into_channel(1).unwrap();
    let (stop, stopped) = crossbeam_channel::bounded::<()>(1);
    scene.send(0..3);
    let mut read = 0;
    loop {
        crossbeam_channel::select! {
            recv(records) -> record => {
                acker.ack(&record.unwrap().unwrap()).unwrap();
                read += 1;
                if read == 3 {
                    stop.send(()).unwrap();
                }
            }
            recv(stopped) -> _ => break,
        }
    }
    acker.leave().unwrap();
    assert!(scene.consumer().poll(NOW).unwrap().is_empty());
}

/// A channel without a thread would be silent for ever.
#[test]
fn what_cannot_be_is_refused() {
    let log = Log::in_memory().unwrap();
    log.create_topic("orders", TopicConfig::new()).unwrap();
    log.producer("orders").unwrap().send(Record::new("1")).unwrap();
    let open = || log.consumer("billing").topics(["orders"]).open().unwrap();
    let scene = Scene::new(1);
    let refused = [
        open().into_channel(1).unwrap_err(),
        scene.consumer().into_channel(0).unwrap_err(),
        scene.consumer().into_channel(usize::MAX).unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().starts_with("open a channel as billing: "), "{error}");
    }
    assert_eq!(open().poll(NOW).unwrap().len(), 1);
}
