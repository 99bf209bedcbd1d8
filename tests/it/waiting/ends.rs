//! How waiting ends when the log does: nobody is left behind, and nothing runs on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use brooklet::testing::{Env, Join, SimDisk, Spawn, open};
use brooklet::{Acks, ErrorKind, Fate, LogOptions, Record, StartAt, SyncPolicy, TopicConfig};

use super::{Scene, until};

/// Whoever waits when the log is closed would wait for ever, or take a lost record for written.
#[test]
fn a_close_wakes_senders_and_readers() {
    let value = vec![b'x'; 1000];
    let options = LogOptions::new().buffer_bytes(2000).unsynced_bytes(4000);
    let scene = Scene::new(options, TopicConfig::new());
    scene.hold_syncs();
    let producer = scene.producer(Acks::Durable);
    let pending: Vec<_> = (0..30).map(|_| producer.submit(Record::new(&value))).collect();
    scene.disk.wait_for_waiting_syncs(1);
    let acked = thread::scope(|scope| {
        let mut reader = scene.log.reader("t").start_at(StartAt::Latest).open().unwrap();
        let reader = scope.spawn(move || (reader.next().unwrap().unwrap_err(), reader.next()));
        let sender = scope.spawn(|| producer.send(Record::new(&value)).unwrap_err());
        let closes = scope.spawn(|| scene.log.close());
        // Those without room and those who read learn of it while the last sync is still held.
        let told = sender.join().unwrap();
        assert_eq!((told.kind(), told.fate()), (ErrorKind::Closed, Fate::NotAppended));
        let (error, end) = reader.join().unwrap();
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert!(end.is_none());
        assert!(!closes.is_finished(), "a close does not wait for the last sync");
        scene.disk.release_syncs();
        closes.join().unwrap().unwrap();
        let outcomes = pending.into_iter().map(|pending| match pending.wait() {
            Ok(receipt) => Some(receipt.offset().value()),
            Err(error) => {
                assert_eq!((error.kind(), error.fate()), (ErrorKind::Closed, Fate::NotAppended));
                None
            }
        });
        outcomes.collect::<Vec<_>>()
    });
    let count = acked.iter().flatten().count();
    assert!(acked[..count].iter().flatten().copied().eq(1..=count as u64), "{acked:?}");
    assert!((1..30).contains(&count), "{acked:?}");
    assert_eq!(producer.send(Record::new("late")).unwrap_err().kind(), ErrorKind::Closed);
    let late = producer.submit(Record::new("late")).wait().unwrap_err();
    assert_eq!((late.kind(), late.fate()), (ErrorKind::Closed, Fate::NotAppended));
    let again = open(&scene.disk.env(), scene.disk.root().join("log"), LogOptions::new()).unwrap();
    assert!(again.recovery().was_clean);
    let read = again.reader("t").stop_at_end().open().unwrap();
    assert_eq!(read.map(Result::unwrap).count(), count + 1);
}

/// A deleted topic would keep its senders and readers waiting.
#[test]
fn a_deletion_wakes_senders_and_readers() {
    let value = vec![b'x'; 1000];
    let options = LogOptions::new().buffer_bytes(2000).unsynced_bytes(4000);
    let scene = Scene::new(options, TopicConfig::new());
    let mut reader = scene.log.reader("t").start_at(StartAt::Latest).open().unwrap();
    let producer = scene.producer(Acks::Durable);
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            loop {
                match reader.next() {
                    Some(Err(error)) => return error,
                    Some(Ok(_)) => {}
                    None => panic!("a deleted topic has no end"),
                }
            }
        });
        let sender = scope.spawn(|| {
            loop {
                if let Err(error) = producer.send(Record::new(&value)) {
                    return error;
                }
            }
        });
        until(|| scene.written_end() > 5);
        scene.log.delete_topic("t").unwrap();
        assert_eq!(reader.join().unwrap().kind(), ErrorKind::UnknownTopic);
        let told = sender.join().unwrap();
        assert_eq!((told.kind(), told.fate()), (ErrorKind::UnknownTopic, Fate::NotAppended));
    });
}

/// Counts the threads that are running.
#[derive(Debug)]
struct Counting {
    spawn: Arc<dyn Spawn>,
    started: AtomicUsize,
    running: Arc<AtomicUsize>,
}

impl Spawn for Counting {
    fn waits_to_be_told(&self) -> bool {
        false
    }

    fn can_spawn(&self) -> bool {
        self.spawn.can_spawn()
    }

    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Join>> {
        self.started.fetch_add(1, Ordering::SeqCst);
        self.running.fetch_add(1, Ordering::SeqCst);
        let running = Arc::clone(&self.running);
        let counted = move || {
            work();
            running.fetch_sub(1, Ordering::SeqCst);
        };
        self.spawn.spawn(name, Box::new(counted))
    }
}

/// A log that was let go of would keep its threads, its lock, or its descriptors.
#[test]
fn the_last_handle_stops_the_threads_and_frees_the_lock() {
    let disk = SimDisk::new(17);
    let dir = disk.root().join("log");
    for closes in [false, true] {
        let env = disk.env_with_threads();
        let running = Arc::default();
        let counting = Counting {
            spawn: Arc::clone(&env.spawn),
            started: AtomicUsize::new(0),
            running: Arc::clone(&running),
        };
        let counting = Arc::new(counting);
        let env = Env { spawn: Arc::clone(&counting) as Arc<dyn Spawn>, ..env };
        let log = open(&env, &dir, LogOptions::new()).unwrap();
        let policy = SyncPolicy::Every(Duration::from_secs(3600));
        log.ensure_topic("t", TopicConfig::new().sync(policy)).unwrap();
        let producer = log.producer("t").unwrap();
        producer.submit(Record::new("submitted")).wait().unwrap();
        let reader = log.reader("t").open().unwrap();
        assert_eq!(open(&env, &dir, LogOptions::new()).unwrap_err().kind(), ErrorKind::AlreadyOpen);
        if closes {
            log.close().unwrap();
        }
        drop(log);
        drop(reader);
        if !closes {
            // A producer alone keeps the log.
            producer.send(Record::new("sent")).unwrap();
        }
        drop(producer);
        assert!(counting.started.load(Ordering::SeqCst) >= 2, "a worker and a clock watcher");
        assert_eq!(running.load(Ordering::SeqCst), 0);
        let again = open(&disk.env(), &dir, LogOptions::new()).unwrap();
        assert_eq!(again.recovery().was_clean, closes);
    }
}

/// Two threads that close at once would wait for each other, or the second would come too early.
#[test]
fn closing_twice_at_once_is_closing_once() {
    let scene = Scene::new(LogOptions::new(), TopicConfig::new());
    scene.producer(Acks::Written).send(Record::new("last")).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| scene.log.close().unwrap());
        }
    });
    let again = open(&scene.disk.env(), scene.disk.root().join("log"), LogOptions::new()).unwrap();
    assert!(again.recovery().was_clean);
    assert_eq!(again.reader("t").stop_at_end().open().unwrap().count(), 2);
}
