//! Futures that are dropped while they wait: nothing is lost, nothing comes twice.

use brooklet::testing::{Env, ManualClock, OpKind, SimDisk, open};
use brooklet::{CommittedOffset, ErrorKind, Log, LogOptions, Offset, Record, TopicConfig};

use super::{
    Arc, BTreeSet, Bell, NOW, Poll, Scene, number, pin, place, poll_once, poll_pinned, until,
};

/// A time limit around a poll would lose what was being read, or hand it out again.
#[test]
fn polls_that_are_dropped_lose_nothing() {
    let scene = Scene::new(7);
    let mut read = Vec::new();
    let mut dropped = 0;
    let builder = scene.log.consumer("billing").topics(["orders"]).max_records(3);
    let mut consumer = builder.open().unwrap();
    for round in 0..10 {
        scene.send(round * 100..(round + 1) * 100);
        scene.reads.shut();
        // The first begins the reads, the second finds them under way.
        for _ in 0..2 {
            assert!(poll_once(consumer.poll_async(), &Arc::default()).is_pending());
            dropped += 1;
        }
        scene.reads.wait_for(1);
        scene.reads.open();
        let all = (round as usize + 1) * 100;
        while read.len() < all {
            // Threads and tasks take turns at the same consumer.
            let batch = match (round + read.len() as u32) % 3 {
                0 => consumer.poll(NOW).unwrap(),
                _ => pollster::block_on(consumer.poll_async()).unwrap(),
            };
            read.extend(batch.iter().map(|record| number(record.value())));
        }
        drop(consumer.commit_async());
    }
    assert_eq!(dropped, 20);
    let distinct = read.iter().collect::<BTreeSet<_>>();
    assert_eq!((read.len(), distinct.len()), (1000, 1000));
    consumer.leave().unwrap();
    let mut next = scene.consumer();
    assert!(next.poll(NOW).unwrap().is_empty(), "a commit was lost with its future");
}

/// The same for a reader, which would also read again what was read already.
#[test]
fn reads_that_are_dropped_lose_nothing() {
    for thread_takes_over in [false, true] {
        let scene = Scene::new(5);
        scene.send(0..500);
        let mut reader = scene.log.reader("orders").stop_at_end().open().unwrap();
        scene.reads.shut();
        assert!(poll_once(reader.next_batch_async(), &Arc::default()).is_pending());
        scene.reads.wait_for(4);
        assert!(poll_once(reader.next_batch_async(), &Arc::default()).is_pending());
        scene.reads.open();
        let next = || match thread_takes_over {
            true => reader.next_batch(),
            false => pollster::block_on(reader.next_batch_async()),
        };
        let batches = std::iter::from_fn(next).map(Result::unwrap).collect::<Vec<_>>();
        let records = batches.iter().flatten();
        let mut values = records.map(|record| number(record.value())).collect::<Vec<_>>();
        values.sort_unstable();
        assert_eq!(values, (0..500).collect::<Vec<_>>());
    }
}

/// What was being read before a seek would come behind it.
#[test]
fn a_seek_forgets_what_is_being_read() {
    let scene = Scene::new(1);
    scene.send(0..50);
    let mut reader = scene.log.reader("orders").open().unwrap();
    let mut consumer = scene.consumer();
    scene.reads.shut();
    assert!(poll_once(reader.next_batch_async(), &Arc::default()).is_pending());
    assert!(poll_once(consumer.poll_async(), &Arc::default()).is_pending());
    scene.reads.wait_for(2);
    reader.seek(0.into(), Offset::new(7)).unwrap();
    consumer.seek(&place(0), Offset::new(9)).unwrap();
    scene.reads.open();
    let batch = pollster::block_on(reader.next_batch_async()).unwrap().unwrap();
    assert_eq!(batch.iter().next().unwrap().offset(), Offset::new(7));
    let batch = pollster::block_on(consumer.poll_async()).unwrap();
    assert_eq!(batch.iter().next().unwrap().offset(), Offset::new(9));
}

/// A commit would be lost with the request that has begun it, or its member leave before it.
#[test]
fn a_commit_goes_on_when_it_is_dropped_and_the_member_leaves_behind_it() {
    for leaves in [true, false] {
        let scene = Scene::new(1);
        scene.send(0..10);
        let mut consumer = scene.consumer();
        assert_eq!(consumer.poll(NOW).unwrap().len(), 10);
        scene.disk.hold_syncs();
        let bell = Arc::default();
        assert!(poll_once(consumer.commit_async(), &bell).is_pending());
        scene.disk.wait_for_waiting_syncs(1);
        let later = [(place(0), CommittedOffset::at(Offset::new(10)).with_metadata("later"))];
        assert!(poll_once(consumer.commit_offsets_async(later), &bell).is_pending());
        if leaves {
            let mut leaving = pin!(consumer.leave_async());
            assert!(poll_pinned(leaving.as_mut(), &bell).is_pending());
            scene.disk.release_syncs();
            pollster::block_on(leaving).unwrap();
        } else {
            drop(consumer);
            scene.disk.release_syncs();
        }
        let next = scene.consumer();
        until(|| next.committed(&place(0)).is_some_and(|at| &at.metadata()[..] == b"later"));
        assert_eq!(next.committed(&place(0)).unwrap().offset(), Offset::new(10));
    }
}

/// Commits that are begun one after the other would overtake each other, and be refused.
#[test]
fn commits_are_done_in_their_order() {
    let scene = Scene::new(1);
    scene.send(0..100);
    let mut consumer = scene.consumer();
    let batch = consumer.poll(NOW).unwrap();
    let begun = batch.iter().map(|record| consumer.commit_through_async(&record));
    for commit in begun.collect::<Vec<_>>() {
        pollster::block_on(commit).unwrap();
    }
    assert_eq!(consumer.committed(&place(0)).unwrap().offset(), Offset::new(100));
    let back = [(place(0), Offset::new(3))];
    let error = pollster::block_on(consumer.commit_offsets_async(back)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetRegression);
    let foreign = [(place(9), Offset::new(3))];
    let error = consumer.commit_offsets_async(foreign).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotOwner);
    assert!(error.to_string().starts_with("commit as billing: "), "{error}");
}

/// A member that waits would be fenced, or one that is busy elsewhere never.
#[test]
fn a_member_is_late_only_while_it_does_not_wait() {
    let disk = SimDisk::new(3);
    let clock: Arc<ManualClock> = disk.clock();
    let env = Env { clock: Arc::clone(&clock) as Arc<_>, ..disk.env_with_threads() };
    let options = LogOptions::new().manual_maintenance(true);
    let log = open(&env, disk.root().join("log"), options).unwrap();
    log.create_topic("orders", TopicConfig::new()).unwrap();
    let limit = std::time::Duration::from_secs(60);
    let builder = log.consumer("billing").topics(["orders"]).max_poll_interval(Some(limit));
    let mut consumer = builder.open().unwrap();
    let bell = Arc::new(Bell::default());
    {
        let mut waiting = pin!(consumer.poll_async());
        assert!(poll_pinned(waiting.as_mut(), &bell).is_pending());
        clock.advance(limit * 10);
        log.maintain().unwrap();
        assert!(poll_pinned(waiting.as_mut(), &bell).is_pending(), "fenced while it waited");
    }
    clock.advance(limit / 2);
    log.maintain().unwrap();
    assert!(consumer.poll(NOW).unwrap().is_empty());
    assert!(poll_once(consumer.poll_async(), &bell).is_pending());
    clock.advance(limit * 2);
    log.maintain().unwrap();
    let Poll::Ready(Err(error)) = poll_once(consumer.poll_async(), &bell) else {
        panic!("a dropped future has kept its member in the group");
    };
    assert_eq!(error.kind(), ErrorKind::Fenced);
}

/// A member whose opening nobody waits for any more would stay in its group for ever.
#[test]
fn a_member_that_nobody_waited_for_leaves_again() {
    let scene = Scene::new(4);
    scene.send(0..40);
    scene.disk.hold_syncs();
    let opening = || scene.log.consumer("billing").topics(["orders"]).open_async();
    let bell = Arc::default();
    assert!(poll_once(opening(), &bell).is_pending());
    scene.disk.wait_for_waiting_syncs(1);
    assert!(poll_once(scene.log.reader("orders").open_async(), &bell).is_pending());
    scene.disk.release_syncs();
    let mut next = pollster::block_on(opening()).unwrap();
    let mut read = 0;
    until(|| {
        read += next.poll(NOW).unwrap().len();
        read == 40
    });
    assert_eq!(next.assignment().len(), 4);
}

/// In memory, where there are no threads, a task would never be woken.
#[test]
fn a_send_wakes_whoever_waits_where_there_are_no_threads() {
    let log = Log::in_memory().unwrap();
    log.create_topic("orders", TopicConfig::new().partitions(6)).unwrap();
    let bell = Arc::new(Bell::default());
    let mut consumer = log.consumer("billing").topics(["orders"]).open().unwrap();
    let mut reader = log.reader("orders").open().unwrap();
    let mut polling = pin!(consumer.poll_async());
    let mut reading = pin!(reader.next_batch_async());
    assert!(poll_pinned(polling.as_mut(), &bell).is_pending());
    assert!(poll_pinned(reading.as_mut(), &bell).is_pending());
    assert_eq!(bell.rung(), 0);
    log.producer("orders").unwrap().send(Record::new("1")).unwrap();
    assert_eq!(bell.rung(), 2);
    let Poll::Ready(Ok(batch)) = poll_pinned(polling.as_mut(), &bell) else {
        panic!("woken for nothing");
    };
    assert_eq!(batch.len(), 1);
    assert!(poll_pinned(reading.as_mut(), &bell).is_ready());
}

/// More cold partitions than are read at a time would starve, or wake nobody.
#[test]
fn many_cold_partitions_all_have_their_turn() {
    let scene = Scene::new(40);
    scene.send(0..2_000);
    let mut consumer = scene.consumer();
    let mut read = 0;
    while read < 2_000 {
        // Only what wakes the task lets it go on.
        read += pollster::block_on(consumer.poll_async()).unwrap().len();
    }
    assert_eq!(read, 2_000);
    // Nothing comes of a partition that is paused, and those that were away wake the others.
    for partition in 0..40 {
        consumer.seek(&place(partition), Offset::ZERO).unwrap();
    }
    scene.reads.shut();
    assert!(poll_once(consumer.poll_async(), &Arc::default()).is_pending());
    scene.reads.wait_for(4);
    for partition in 0..39 {
        consumer.pause(&place(partition)).unwrap();
    }
    scene.reads.open();
    let batch = pollster::block_on(consumer.poll_async()).unwrap();
    assert!(batch.iter().all(|record| record.partition().value() == 39));
}

/// A partition whose files cannot be read would silence the others, or end the consumer.
#[test]
fn a_failing_read_is_told_to_the_task_and_can_be_tried_again() {
    use brooklet::testing::{Fault, Repeat};

    let scene = Scene::new(2);
    scene.send(0..20);
    let mut consumer = scene.consumer();
    scene.disk.fail_when(|op| op.kind == OpKind::Read, Fault::Eio, Repeat::Once);
    let bell = Arc::new(Bell::default());
    let mut told = 0;
    let mut read = 0;
    while read < 20 {
        match poll_once(consumer.poll_async(), &bell) {
            Poll::Ready(Ok(batch)) => read += batch.len(),
            Poll::Ready(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Io);
                assert!(error.partition().is_some(), "{error}");
                told += 1;
            }
            Poll::Pending => std::thread::yield_now(),
        }
    }
    assert_eq!((told, scene.disk.fired()), (1, 1));
}

/// What is awaited after the log has ended would never be answered.
#[test]
fn everything_is_answered_when_the_log_closes() {
    for _ in 0..50 {
        let scene = Scene::new(9);
        scene.send(0..90);
        let mut consumer = scene.consumer();
        let mut reader = scene.log.reader("orders").open().unwrap();
        assert!(!consumer.poll(NOW).unwrap().is_empty());
        let bell = Arc::default();
        let _ = poll_once(reader.next_batch_async(), &bell);
        let _ = poll_once(consumer.poll_async(), &bell);
        let commits = (0..5).map(|_| consumer.commit_async()).collect::<Vec<_>>();
        let closing = scene.log.close_async();
        let later = consumer.commit_async();
        for commit in commits.into_iter().chain([later]) {
            match pollster::block_on(commit) {
                Ok(()) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
            }
        }
        let reading = std::iter::from_fn(|| pollster::block_on(reader.next_batch_async()));
        let told = reading.filter_map(Result::err).next().unwrap();
        assert_eq!(told.kind(), ErrorKind::Closed);
        let error = std::iter::repeat_with(|| pollster::block_on(consumer.poll_async()));
        let error = error.filter_map(Result::err).next().unwrap();
        assert_eq!(error.kind(), ErrorKind::Closed);
        pollster::block_on(closing).unwrap();
        pollster::block_on(consumer.leave_async()).unwrap();
    }
}
