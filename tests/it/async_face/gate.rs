//! A disk that answers nothing holds up nobody but those who wait for it.

use brooklet::{Acks, LogOptions};

use super::{Arc, AtomicU64, BTreeSet, Ordering, Record, Scene, name, thread};

/// One slow disk would stop every task of a program that runs on one thread.
#[test]
fn other_tasks_go_on_while_every_sync_is_held() {
    const SUBMITS: usize = 100;
    const STEPS: u64 = 1_000;
    // Room for ten records of a thousand bytes and no more.
    let options = LogOptions::new().buffer_bytes(4_400).unsynced_bytes(6_600).send_timeout(None);
    let scene = Arc::new(Scene::with(options, 1));
    scene.send(0..1);
    let here = BTreeSet::from([name(thread::current().id())]);
    scene.disk.hold_syncs();
    scene.disk.clear_log();

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let returned = Arc::new(AtomicU64::new(0));
        let producer = scene.log.producer("orders").unwrap().acks(Acks::Durable);
        let counter = Arc::clone(&returned);
        let sending = tokio::spawn(async move {
            let value = "x".repeat(1_000);
            let pending = (0..SUBMITS).map(|_| producer.submit(Record::new(&value)));
            let pending = pending.collect::<Vec<_>>();
            counter.store(pending.len() as u64, Ordering::Release);
            let mut offsets = Vec::new();
            for pending in pending {
                offsets.push(pending.await.unwrap().offset().value());
            }
            offsets
        });
        let watched = Arc::clone(&scene);
        let stepping = tokio::spawn(async move {
            let mut steps = 0;
            while steps < STEPS || returned.load(Ordering::Acquire) < SUBMITS as u64 {
                steps += 1;
                tokio::task::yield_now().await;
            }
            // The gate is still shut, and the budget used up.
            watched.disk.wait_for_waiting_syncs(1);
            let stats = watched.log.stats().partitions.remove(0);
            assert!(stats.queued_bytes + (stats.unsynced_bytes as usize) < 20_000, "{stats:?}");
            watched.disk.release_syncs();
            steps
        });
        assert!(stepping.await.unwrap() >= STEPS);
        assert_eq!(sending.await.unwrap(), (1..=SUBMITS as u64).collect::<Vec<_>>());
    });
    assert_eq!(scene.calls_on(&here), [], "file calls on the executor's thread");
}

/// A commit and a cold read would hold up the other tasks as well.
#[test]
fn a_commit_at_the_gate_lets_other_tasks_go_on() {
    let scene = Scene::new(2);
    scene.send(0..50);
    let here = BTreeSet::from([name(thread::current().id())]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut consumer = scene.consumer();
    scene.disk.clear_log();
    runtime.block_on(async {
        let mut read = 0;
        while read < 50 {
            read += consumer.poll_async().await.unwrap().len();
        }
        scene.disk.hold_syncs();
        let committing = tokio::spawn(consumer.commit_async());
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        scene.disk.wait_for_waiting_syncs(1);
        assert!(!committing.is_finished(), "a commit without its sync");
        scene.disk.release_syncs();
        committing.await.unwrap().unwrap();
    });
    assert!(scene.read_calls() > 0, "nothing was read from a file");
    assert_eq!(scene.calls_on(&here), [], "file calls on the executor's thread");
}
