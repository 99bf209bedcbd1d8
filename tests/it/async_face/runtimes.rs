//! The same life of a group under every executor, with no file call on the threads of any.

use std::future::Future;

use brooklet::{ErrorKind, LogOptions, Reader, StoredRecord};
use parking_lot::Mutex;

use super::{Arc, AtomicU64, BTreeSet, Consumer, Ordering, Record, Scene, name, number, thread};

/// Runs a life under each executor; it notes the threads that it finds itself on.
pub(super) fn under_each<F>(scene: impl Fn() -> Scene, life: impl Fn(Arc<Scene>, Threads) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    for runtime in ["tokio, one thread", "tokio, two threads", "smol", "pollster"] {
        let scene = Arc::new(scene());
        let threads = Threads::default();
        let life = life(Arc::clone(&scene), threads.clone());
        match runtime {
            "tokio, one thread" => {
                tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(life);
            }
            "tokio, two threads" => {
                let builder = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
                let runtime = builder.unwrap();
                runtime.block_on(runtime.spawn(life)).unwrap();
            }
            "smol" => {
                let executor = async_executor::Executor::new();
                let task = executor.spawn(life);
                futures_lite::future::block_on(executor.run(task));
            }
            _ => pollster::block_on(life),
        }
        let seen = threads.0.lock().clone();
        assert!(!seen.is_empty(), "{runtime}: the life noted no thread");
        assert_eq!(scene.calls_on(&seen), [], "{runtime}: file calls on the executor");
        assert!(scene.read_calls() > 0, "{runtime}: nothing was read from a file");
    }
}

/// The threads that a task was seen on.
#[derive(Clone, Default)]
pub(super) struct Threads(Arc<Mutex<BTreeSet<String>>>);

impl Threads {
    pub(super) fn note(&self) {
        self.0.lock().insert(name(thread::current().id()));
    }
}

/// Join, poll, commit, leave, replay and close would block an executor, or lose or repeat records.
#[test]
fn a_group_lives_under_every_executor() {
    let cold = || Scene::with(LogOptions::new().tail_bytes(0), 3);
    under_each(cold, |scene, threads| async move {
        threads.note();
        let log = &scene.log;
        let producer = log.producer("orders").unwrap();
        for value in 0..300 {
            let value = value.to_string();
            producer.submit(Record::new(&value).key(&value)).await.unwrap();
            threads.note();
        }
        let mut first = log.consumer("billing").topics(["orders"]).open_async().await.unwrap();
        let mut read = Vec::new();
        while read.len() < 300 {
            let batch = first.poll_async().await.unwrap();
            threads.note();
            read.extend(batch.iter().map(|record| number(record.value())));
        }
        read.sort_unstable();
        assert_eq!(read, (0..300).collect::<Vec<_>>());
        first.commit_async().await.unwrap();
        threads.note();
        first.leave_async().await.unwrap();

        let mut second = log.consumer("billing").topics(["orders"]).open_async().await.unwrap();
        producer.submit(Record::new("300")).await.unwrap();
        let batch = second.poll_async().await.unwrap();
        threads.note();
        let values = batch.iter().map(|record| record.to_stored()).collect::<Vec<StoredRecord>>();
        assert_eq!(values.len(), 1, "what was committed came again: {values:?}");
        second.commit_through_async(&values[0]).await.unwrap();

        let mut reader = log.reader("orders").stop_at_end().open_async().await.unwrap();
        let mut count = 0;
        while let Some(batch) = reader.next_batch_async().await {
            threads.note();
            count += batch.unwrap().len();
        }
        assert_eq!(count, 301);
        log.close_async().await.unwrap();
        threads.note();
        assert_eq!(second.poll_async().await.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(second.commit_async().await.unwrap_err().kind(), ErrorKind::Closed);
    });
}

/// A log that recovers on first use would do so on the executor's thread.
#[test]
fn recovery_and_cold_partitions_are_the_work_of_the_logs_threads() {
    let crashed = || {
        let scene = Scene::with(LogOptions::new(), 8);
        scene.send(0..100);
        // The group is known, so that joining it opens no partition: the first poll does.
        drop(scene.log.consumer("audit").topics(["orders"]).open().unwrap());
        let disk = scene.disk.crash(brooklet::testing::CrashPolicy::LoseAll, 5);
        Scene::on(disk, LogOptions::new())
    };
    under_each(crashed, |scene, threads| async move {
        threads.note();
        let builder = scene.log.consumer("audit").topics(["orders"]);
        let mut consumer = builder.open_async().await.unwrap();
        let mut count = 0;
        while count < 100 {
            count += consumer.poll_async().await.unwrap().len();
            threads.note();
        }
        assert_eq!(count, 100);
    });
}

/// A task that waits for records would sleep through them, or through the end of the log.
#[test]
fn a_waiting_task_is_woken_by_records_and_by_the_end() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for options in [LogOptions::new(), LogOptions::new().tail_bytes(0)] {
            let scene = Scene::with(options, 3);
            let polled = Arc::new(AtomicU64::new(0));
            let replayed = Arc::new(AtomicU64::new(0));
            let following = tokio::spawn(follow(scene.consumer(), Arc::clone(&polled)));
            let reader = scene.log.reader("orders").open().unwrap();
            let replaying = tokio::spawn(replay(reader, Arc::clone(&replayed)));
            let producer = scene.log.producer("orders").unwrap();
            for value in 0..200 {
                let value = value.to_string();
                producer.submit(Record::new(&value).key(&value)).await.unwrap();
            }
            for count in [polled, replayed] {
                while count.load(Ordering::Acquire) < 200 {
                    tokio::task::yield_now().await;
                }
            }
            scene.log.close_async().await.unwrap();
            assert_eq!(following.await.unwrap(), ErrorKind::Closed);
            assert_eq!(replaying.await.unwrap(), ErrorKind::Closed);
        }
    });
}

async fn follow(mut consumer: Consumer, count: Arc<AtomicU64>) -> ErrorKind {
    loop {
        match consumer.poll_async().await {
            Ok(batch) => count.fetch_add(batch.len() as u64, Ordering::AcqRel),
            Err(error) => return error.kind(),
        };
    }
}

async fn replay(mut reader: Reader, count: Arc<AtomicU64>) -> ErrorKind {
    loop {
        match reader.next_batch_async().await {
            Some(Ok(batch)) => count.fetch_add(batch.len() as u64, Ordering::AcqRel),
            Some(Err(error)) => return error.kind(),
            None => panic!("the end of a reader that has none"),
        };
    }
}
