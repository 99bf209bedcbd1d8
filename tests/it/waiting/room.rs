//! Room runs out in order: tickets, time limits, withdrawals, and what becomes of void receipts.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use brooklet::testing::{Fault, Op, OpKind, Repeat};
use brooklet::{
    Acks, BackgroundError, ErrorKind, Fate, LogOptions, Offset, Pending, Receipt, Record,
    SyncPolicy, TopicConfig,
};
use parking_lot::Mutex;

use super::{Scene, block_on, place, until};

/// A record takes about this much in the file; it is a little more than the value alone.
const VALUE_BYTES: usize = 1000;
const FRAME_BYTES: usize = 1100;
/// So many records may be written and not synced, and so many more may be queued.
const UNSYNCED: usize = 10;
const QUEUED: usize = 3;

fn narrow() -> LogOptions {
    LogOptions::new()
        .buffer_bytes(QUEUED * FRAME_BYTES)
        .unsynced_bytes((UNSYNCED * FRAME_BYTES) as u64)
}

fn value(number: usize) -> String {
    format!("{number:0VALUE_BYTES$}")
}

/// A hundred records submitted while no sync comes to an end.
fn submit_hundred(scene: &Scene) -> Vec<Pending> {
    let producer = scene.producer(Acks::Written);
    scene.hold_syncs();
    (0..100).map(|number| producer.submit(Record::new(&value(number)))).collect()
}

fn offset(receipt: &Receipt) -> u64 {
    receipt.offset().value()
}

/// A submit would block, or touch a file on the caller's thread, or records would overtake others.
#[test]
fn submits_return_at_once_and_room_is_granted_in_order() {
    let scene = Scene::new(narrow(), TopicConfig::new());
    let mut pending = submit_hundred(&scene);
    let here = thread::current().id();
    let ops = scene.disk.log();
    assert!(ops.iter().all(|op| op.thread != here), "a file call on the caller's thread: {ops:?}");

    // What has room is written while the sync is held, and nothing else is.
    let rest = pending.split_off(UNSYNCED);
    let first: Vec<_> = pending.into_iter().map(|pending| pending.wait().unwrap()).collect();
    scene.disk.wait_for_waiting_syncs(1);
    let mut rest = rest.into_iter().collect::<Vec<_>>();
    let beyond = rest.split_off(QUEUED + 2);
    let mut beyond = beyond.into_iter().collect::<Vec<_>>();
    assert!(beyond.iter_mut().all(|pending| pending.try_wait().is_none()), "room without end");
    let stats = scene.log.stats().partitions.remove(0);
    assert!(stats.queued_bytes <= QUEUED * FRAME_BYTES, "{stats:?}");
    assert!(stats.unsynced_bytes <= ((UNSYNCED + QUEUED) * FRAME_BYTES) as u64, "{stats:?}");
    assert_eq!(scene.disk.syncs_waiting(), 1);

    scene.disk.release_syncs();
    let later = rest.into_iter().chain(beyond).map(|pending| pending.wait().unwrap());
    let offsets: Vec<_> = first.iter().map(offset).chain(later.map(|r| offset(&r))).collect();
    assert_eq!(offsets, (1..=100).collect::<Vec<_>>());
    scene.log.close().unwrap();
}

/// A record that was given up would be in the log all the same, or its offset lost.
#[test]
fn what_is_dropped_before_it_has_room_is_withdrawn() {
    let scene = Scene::new(narrow(), TopicConfig::new());
    let mut kept = Vec::new();
    for (number, pending) in submit_hundred(&scene).into_iter().enumerate() {
        if (30..70).contains(&number) { drop(pending) } else { kept.push((number, pending)) }
    }
    scene.disk.release_syncs();
    for (place, (number, pending)) in (1..).zip(kept) {
        assert_eq!(offset(&pending.wait().unwrap()), place, "record {number}");
    }
    scene.producer(Acks::Durable).send(Record::new("last")).unwrap();
    let expected = (0..30).chain(70..100).map(value);
    let expected = ["first".to_owned()].into_iter().chain(expected).chain(["last".to_owned()]);
    assert_eq!(scene.values(), expected.collect::<Vec<_>>());
}

/// A sender would wait for ever, or be told that its record is lost when it is not.
#[test]
fn time_limits_end_the_wait_for_room_alone() {
    let scene = Scene::new(narrow(), TopicConfig::new());
    let pending = submit_hundred(&scene);
    let hurried = scene.producer(Acks::Written).timeout(Some(Duration::from_millis(20)));
    let submitted = hurried.submit(Record::new("submitted"));
    let told = [
        hurried.send(Record::new("sent")).unwrap_err(),
        submitted.wait().unwrap_err(),
        block_on(hurried.submit(Record::new("awaited"))).unwrap_err(),
    ];
    for error in told {
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::NotAppended));
        assert!(error.to_string().starts_with("append to t/0: "), "{error}");
    }
    scene.disk.release_syncs();
    let last = pending.into_iter().map(|pending| pending.wait().unwrap()).last().unwrap();
    assert_eq!(offset(&last), 100);
    scene.producer(Acks::Durable).send(Record::new("last")).unwrap();
    let values = scene.values();
    assert_eq!(values.len(), 102);
    assert!(values.iter().all(|value| !["submitted", "sent", "awaited"].contains(&value.as_str())));
}

/// A send that waits for room would be overtaken by submits that came later, or never be let in.
#[test]
fn threads_and_submits_stand_in_one_line() {
    let scene = Scene::new(narrow(), TopicConfig::new());
    let before = submit_hundred(&scene);
    thread::scope(|scope| {
        let producer = scene.producer(Acks::Durable);
        let senders: Vec<_> = (0..4)
            .map(|number| {
                let producer = producer.clone();
                scope.spawn(move || offset(&producer.send(Record::new(&value(number))).unwrap()))
            })
            .collect();
        let after = producer.submit(Record::new("after"));
        scene.disk.release_syncs();
        let before = before.into_iter().map(|pending| offset(&pending.wait().unwrap()));
        assert!(before.eq(1..=100), "somebody has jumped the queue");
        let mut offsets: Vec<_> = senders.into_iter().map(|join| join.join().unwrap()).collect();
        offsets.push(offset(&after.wait().unwrap()));
        offsets.sort_unstable();
        assert!(offsets.into_iter().eq(101..=105));
    });
}

/// A task would not be woken, or woken by the waker that it has replaced.
#[test]
fn a_pending_record_can_be_awaited() {
    let scene = Scene::new(LogOptions::new(), TopicConfig::new());
    scene.hold_syncs();
    let mut pending = scene.producer(Acks::Durable).submit(Record::new("awaited"));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::pin::Pin::new(&mut pending).poll(&mut context).is_pending());
    scene.disk.wait_for_waiting_syncs(1);
    thread::scope(|scope| {
        let task = scope.spawn(move || block_on(pending).unwrap());
        scene.disk.release_syncs();
        assert_eq!(offset(&task.join().unwrap()), 1);
    });
    let failed = scene.producer(Acks::Durable).submit(Record::new(&vec![0; 2 << 20]));
    assert_eq!(block_on(failed).unwrap_err().kind(), ErrorKind::InvalidRecord);
}

/// Nobody would learn that records were lost which were accepted without waiting.
#[test]
fn receipts_that_become_void_are_told_with_their_range() {
    let heard = Arc::new(Mutex::new(Vec::<BackgroundError>::new()));
    let hears = Arc::clone(&heard);
    let options = LogOptions::new().on_background_error(move |error| hears.lock().push(error));
    let config = TopicConfig::new().segment_bytes(1024);
    let scene = Scene::new(options, config);
    let producer = scene.producer(Acks::Durable);
    scene.hold_syncs();
    thread::scope(|scope| {
        // It makes a new segment, whose sync is held: whoever comes now is queued.
        let leads = scope.spawn(|| producer.send(Record::new(&value(0))).unwrap_err());
        scene.disk.wait_for_waiting_syncs(1);
        let hasty = producer.clone().acks(Acks::None);
        let receipts = (1..=5).map(|number| hasty.send(Record::new(&value(number))).unwrap());
        assert!(receipts.map(|receipt| offset(&receipt)).eq(2..=6));
        // Not the footer of the old segment, which can do without.
        let is_new = |op: &Op| op.path.to_string_lossy().contains("/00000000000000000001-");
        let is_frame = move |op: &Op| op.kind == OpKind::Write && is_new(op);
        scene.disk.fail_when(is_frame, Fault::Eio, Repeat::Once);
        scene.disk.release_syncs();
        assert_eq!(leads.join().unwrap().fate(), Fate::Unknown);
    });
    assert_eq!(scene.disk.fired(), 1);
    let heard = std::mem::take(&mut *heard.lock());
    let lost: Vec<_> = heard.iter().filter_map(|error| error.lost.clone()).collect();
    assert_eq!(lost, [Offset::new(2)..Offset::new(7)], "{heard:?}");
    assert!(heard.iter().all(|error| error.partition == Some(place())), "{heard:?}");
    scene.log.reopen_partition(&place()).unwrap();
    let again = producer.send(Record::new("again")).unwrap();
    assert!(offset(&again) <= 2, "the offsets of lost records are given again: {again}");
    assert_eq!(scene.values().last().map(String::as_str), Some("again"));
}

/// What a power cut can take would have no bound.
#[test]
fn unsynced_bytes_are_bounded_where_nobody_asks_for_syncs() {
    let scene = Scene::new(narrow(), TopicConfig::new().sync(SyncPolicy::Never));
    let producer = scene.producer(Acks::Written);
    let before = scene.syncs();
    scene.hold_syncs();
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            (0..100)
                .map(|number| offset(&producer.send(Record::new(&value(number))).unwrap()))
                .max()
        });
        scene.disk.wait_for_waiting_syncs(1);
        until(|| scene.written_end() > UNSYNCED as u64);
        let stats = scene.log.stats().partitions.remove(0);
        assert!(stats.unsynced_bytes <= ((UNSYNCED + 1) * FRAME_BYTES) as u64, "{stats:?}");
        scene.disk.release_syncs();
        assert_eq!(sender.join().unwrap(), Some(100));
    });
    assert!(scene.syncs() - before >= 8, "{} syncs for ten budgets", scene.syncs() - before);
}
