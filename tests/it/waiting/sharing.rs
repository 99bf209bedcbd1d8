//! Many share one sync, timed syncs come when they are due, and readers are woken by either.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use brooklet::partitioner::{ByFn, Fixed};
use brooklet::testing::{FailedSync, Fault, Op, OpKind, Repeat, SimDisk, open};
use brooklet::{
    Acks, ErrorKind, Fate, LogOptions, Record, SendError, StartAt, SyncPolicy, TopicConfig,
};

use super::{Scene, place, until};

/// A record that nobody waits for would stay invisible until the next one comes.
#[test]
fn one_written_record_followed_by_silence_becomes_visible() {
    for policy in [SyncPolicy::Always, SyncPolicy::Never] {
        for acks in [Acks::None, Acks::Written] {
            let scene = Scene::new(LogOptions::new(), TopicConfig::new().sync(policy));
            let mut reader = scene.log.reader("t").start_at(StartAt::Latest).open().unwrap();
            thread::scope(|scope| {
                let seen = scope.spawn(|| reader.next().unwrap().unwrap());
                let receipt = scene.producer(acks).send(Record::new("alone")).unwrap();
                let record = seen.join().unwrap();
                assert_eq!(record.offset(), receipt.offset());
                assert_eq!(record.value(), Some(&b"alone"[..]));
            });
        }
    }
}

/// A submitted record would wait for somebody who waits.
#[test]
fn one_submitted_record_followed_by_silence_becomes_visible() {
    let scene = Scene::new(LogOptions::new(), TopicConfig::new());
    let mut reader = scene.log.reader("t").start_at(StartAt::Latest).open().unwrap();
    let _pending = scene.producer(Acks::Durable).submit(Record::new("alone"));
    assert_eq!(reader.next().unwrap().unwrap().value(), Some(&b"alone"[..]));
}

/// Consumers of an `Always` topic would see what a power cut can take back.
#[test]
fn nothing_is_seen_before_it_is_durable() {
    let scene = Scene::new(LogOptions::new(), TopicConfig::new());
    let mut reader = scene.log.reader("t").start_at(StartAt::Latest).open().unwrap();
    scene.hold_syncs();
    let receipt = scene.producer(Acks::Written).send(Record::new("alone")).unwrap();
    scene.disk.wait_for_waiting_syncs(1);
    assert!(reader.poll(Duration::ZERO).is_none());
    assert_eq!(scene.log.offsets(&place()).unwrap().end, receipt.offset());
    scene.disk.release_syncs();
    assert_eq!(reader.next().unwrap().unwrap().offset(), receipt.offset());
}

/// Every sender would pay for a sync of its own.
#[test]
fn threads_that_wait_for_durability_share_syncs() {
    let scene = Scene::new(LogOptions::new(), TopicConfig::new());
    let before = scene.syncs();
    scene.hold_syncs();
    thread::scope(|scope| {
        let sends = || scene.producer(Acks::Durable).send(Record::new("shared")).unwrap();
        let senders: Vec<_> = (0..32).map(|_| scope.spawn(sends)).collect();
        scene.disk.wait_for_waiting_syncs(1);
        until(|| scene.written_end() == 33);
        assert_eq!(scene.disk.syncs_waiting(), 1, "one sync of a file at a time");
        assert_eq!(scene.log.offsets(&place()).unwrap().durable_end.value(), 1);
        scene.disk.release_syncs();
        let offsets = senders.into_iter().map(|sender| sender.join().unwrap().offset().value());
        let mut offsets = offsets.collect::<Vec<_>>();
        offsets.sort_unstable();
        assert!(offsets.into_iter().eq(1..=32));
    });
    let syncs = scene.syncs() - before;
    assert!(syncs <= 2, "{syncs} syncs: one was under way, and one more covers everybody");
}

/// Leaders that hand on to each other would leave the last one without a sync, for ever.
#[test]
fn leaders_hand_on_until_nobody_waits() {
    let value = vec![b'x'; 1000];
    for acks in [[Acks::Durable; 3], [Acks::Written, Acks::Durable, Acks::Written]] {
        // Every record makes a new segment, whose first sync is held while the others come.
        let scene = Scene::new(LogOptions::new(), TopicConfig::new().segment_bytes(1024));
        for _ in 0..100 {
            scene.hold_syncs();
            thread::scope(|scope| {
                let send = |acks| {
                    let producer = scene.producer(acks);
                    let value = &value;
                    scope.spawn(move || producer.send(Record::new(value)).unwrap())
                };
                let leader = send(acks[0]);
                scene.disk.wait_for_waiting_syncs(1);
                let followers = [send(acks[1]), send(acks[2])];
                until(|| scene.log.stats().partitions[0].queued_bytes > 3 * value.len());
                // After that there is silence: nobody comes who could help out.
                scene.disk.release_syncs();
                leader.join().unwrap();
                followers.into_iter().for_each(|follower| _ = follower.join().unwrap());
            });
        }
        scene.producer(Acks::Durable).send(Record::new(&value)).unwrap();
        assert_eq!(scene.values().len(), 302);
        scene.log.close().unwrap();
    }
}

/// The syncs of one partition would keep the records of another one waiting.
#[test]
fn partitions_sync_side_by_side() {
    let scene = Scene::new(LogOptions::new(), TopicConfig::new().partitions(4));
    let producer = scene.producer(Acks::Durable);
    let to = |partition: u32| {
        let fixed = Fixed(partition.into());
        producer.clone().partitioner(fixed)
    };
    for partition in 0..4 {
        to(partition).send(Record::new("warm")).unwrap();
    }
    for _ in 0..300 {
        scene.hold_syncs();
        let submit = |partition| to(partition).submit(Record::new("cold"));
        let pending: Vec<_> = (0..4).map(submit).collect();
        scene.disk.wait_for_waiting_syncs(4);
        scene.disk.release_syncs();
        for (partition, pending) in (0..).zip(pending) {
            assert_eq!(pending.wait().unwrap().partition().value(), partition);
        }
    }
}

/// Timed syncs would come too early and cost, or too late and lose.
#[test]
fn a_timed_sync_comes_when_it_is_due_and_not_before() {
    let disk = SimDisk::new(3);
    let log = open(&disk.env(), disk.root().join("log"), LogOptions::new()).unwrap();
    let interval = Duration::from_millis(200);
    log.create_topic("t", TopicConfig::new().sync(SyncPolicy::Every(interval))).unwrap();
    let producer = log.producer("t").unwrap();
    let syncs = || {
        let is_sync = |op: &&Op| op.kind == OpKind::Sync;
        disk.log()
            .iter()
            .filter(is_sync)
            .filter(|op| op.path.extension().is_some_and(|e| e == "seg"))
            .count()
    };
    producer.send(Record::new("makes the file")).unwrap();
    disk.clock().advance(interval);
    log.maintain().unwrap();
    let mut before = syncs();
    for round in 1..=3 {
        let receipt = producer.send(Record::new("timed")).unwrap();
        let durable_end = || log.offsets(&place()).unwrap().durable_end;
        disk.clock().advance(interval / 2);
        producer.send(Record::new("does not push it back")).unwrap();
        log.maintain().unwrap();
        assert_eq!(syncs(), before, "round {round}: a sync before it was due");
        assert!(durable_end() <= receipt.offset());
        disk.clock().advance(interval / 2);
        log.maintain().unwrap();
        assert_eq!(syncs(), before + 1, "round {round}: one sync for both");
        assert!(durable_end() > receipt.offset());
        before = syncs();
        disk.clock().advance(interval * 2);
        log.maintain().unwrap();
        assert_eq!(syncs(), before, "round {round}: a sync of nothing");
    }
}

/// A log with threads would leave records of a timed topic unsynced until somebody asks.
#[test]
fn a_timed_sync_comes_by_itself_where_there_are_threads() {
    let policy = SyncPolicy::Every(Duration::from_millis(5));
    let scene = Scene::maintained(LogOptions::new(), TopicConfig::new().sync(policy));
    let receipt = scene.producer(Acks::Written).send(Record::new("timed")).unwrap();
    until(|| scene.log.offsets(&place()).unwrap().durable_end > receipt.offset());
}

/// A batch that was lost before its sync would be acknowledged, because others are durable by then.
#[test]
fn a_partition_opened_anew_acknowledges_nothing_from_before() {
    let options = LogOptions::new().unsynced_bytes(3000);
    let scene = Scene::new(options, TopicConfig::new().sync(SyncPolicy::Never).partitions(2));
    scene.disk.set_failed_sync(FailedSync::ShowsOld);
    let value = vec![b'x'; 1000];
    let to = |partition: u32| scene.producer(Acks::Written).partitioner(Fixed(partition.into()));
    to(1).acks(Acks::Durable).send(Record::new("first")).unwrap();
    scene.hold_syncs();
    for _ in 0..3 {
        to(1).send(Record::new(&value)).unwrap();
    }
    scene.disk.wait_for_waiting_syncs(1);
    thread::scope(|scope| {
        let by_key = ByFn::new(|key: Option<&[u8]>, _, _| u32::from(key == Some(b"1")));
        let producer = scene.producer(Acks::Durable).partitioner(by_key);
        let records = ["0", "1"].map(|key| Record::new("both").key(key));
        let sends = scope.spawn(move || producer.send_all(records).unwrap_err());
        // The first batch is written, and the second one waits for room.
        until(|| scene.written_end() == 2);
        assert_eq!(scene.disk.writeback_fails(is_in_first), 1);
        scene.disk.fail_when(|op| is_in_first(&op.path), Fault::Eio, Repeat::Once);
        assert_eq!(to(0).send(Record::new("fails")).unwrap_err().fate(), Fate::Unknown);
        scene.log.reopen_partition(&place()).unwrap();
        assert_eq!(scene.written_end(), 1, "the first batch is not lost");
        scene.disk.release_syncs();
        let error = sends.join().unwrap();
        let fates = error.results().iter().map(|result| result.as_ref().err().map(SendError::fate));
        assert_eq!(fates.collect::<Vec<_>>(), [Some(Fate::Unknown), None]);
    });
    assert_eq!(scene.disk.fired(), 1);
    assert_eq!(scene.values(), ["first"]);
}

fn is_in_first(path: &Path) -> bool {
    path.starts_with("/sim/log/topics/1/0")
}

/// Whoever leads would take the first round that succeeds for its own.
#[test]
fn a_leader_behind_more_than_a_round_is_told_of_its_own_round() {
    // Which write to the segment fails, if any: how many there are, what the leader was told, and
    // whether the records before its own were written.
    let lead = |failing: Option<u64>| {
        let disk = SimDisk::new(3);
        let log = open(&disk.env_when_told(), disk.root().join("log"), LogOptions::new()).unwrap();
        log.create_topic("t", TopicConfig::new()).unwrap();
        let producer = log.producer("t").unwrap().acks(Acks::Written);
        producer.send(Record::new("opens it")).unwrap();
        let large = vec![7; 700 * 1024];
        let pending = [(); 3].map(|()| producer.submit(Record::new(&large)));
        let is_frame =
            |op: &Op| op.kind == OpKind::Write && op.path.extension() == Some("seg".as_ref());
        let written = AtomicU64::new(0);
        let fails = move |op: &Op| {
            is_frame(op) && Some(written.fetch_add(1, Ordering::Relaxed) + 1) == failing
        };
        disk.fail_when(fails, Fault::Eio, Repeat::Once);
        disk.clear_log();
        let sent = producer.send(Record::new("its own")).map(|_| ());
        let writes = disk.log().iter().filter(|op| is_frame(op)).count() as u64;
        assert_eq!(disk.fired(), u64::from(failing.is_some()));
        log.maintain().unwrap();
        (writes, sent, pending.map(|pending| pending.wait().is_ok()))
    };
    let (writes, sent, before) = lead(None);
    assert!(writes > 1 && sent.is_ok() && before == [true; 3], "{writes}: {sent:?}, {before:?}");
    let mut fates = Vec::new();
    for failing in 1..=writes {
        let (_, sent, before) = lead(Some(failing));
        let Err(error) = sent else {
            // It only kept room from being made ahead.
            assert_eq!(before, [true; 3], "write {failing}");
            continue;
        };
        // The last one shares the leader's round; what fails before it leaves the queue unwritten.
        let fate = if before[1] { Fate::Unknown } else { Fate::NotAppended };
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Io, fate), "write {failing}");
        assert!(!before[2], "write {failing}: {before:?}");
        fates.push(fate);
    }
    fates.dedup();
    assert_eq!(fates, [Fate::NotAppended, Fate::Unknown]);
}
