//! A panic in the middle of a file operation: it strikes one thread, stops what it was writing, and
//! leaves nobody waiting.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use brooklet::testing::{CrashPolicy, Fault, Op, OpKind, Repeat, SimDisk, open};
use brooklet::{
    Acks, ErrorKind, Fate, Log, LogOptions, Offset, PartitionId, Record, StartAt, SyncPolicy,
    TopicConfig, TopicName, TopicPartition,
};

use super::{SEED, case, report};

fn dir(disk: &SimDisk) -> PathBuf {
    disk.root().join("log")
}

fn partition(topic: &str) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::ZERO)
}

/// Has the first operation that `fits` panic, and tells whether it has.
fn strike(disk: &SimDisk, fits: impl Fn(&Op) -> bool + Send + Sync + 'static) -> Arc<AtomicBool> {
    let struck = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&struck);
    let strikes = move |op: &Op| {
        if fits(op) && !note.swap(true, Ordering::Relaxed) {
            // Without the message of a panic: there are many.
            resume_unwind(Box::new("struck".to_owned()));
        }
        false
    };
    disk.fail_when(strikes, Fault::Eio, Repeat::Forever);
    struck
}

/// A short life of two topics; what each durable send was told, by topic.
fn live(disk: &SimDisk) -> Vec<(&'static str, String, Offset)> {
    let mut acked = Vec::new();
    let caught = |act: &mut dyn FnMut()| drop(catch_unwind(AssertUnwindSafe(act)));
    let mut log = None::<Log>;
    caught(&mut || log = open(&disk.env(), dir(disk), LogOptions::new()).ok());
    let Some(log) = log else { return acked };
    let config = TopicConfig::new().segment_bytes(1024).sync(SyncPolicy::Always);
    for topic in ["t", "u"] {
        caught(&mut || drop(log.create_topic(topic, config.clone())));
    }
    for number in 0..6 {
        for topic in ["t", "u"] {
            let value = format!("{number:->400}");
            caught(&mut || {
                let Ok(producer) = log.producer(topic) else { return };
                if let Ok(receipt) = producer.send(Record::new(&value)) {
                    acked.push((topic, value.clone(), receipt.offset()));
                }
            });
        }
    }
    caught(&mut || drop(log.trim(&partition("t"), Offset::new(1))));
    caught(&mut || drop(log.maintain()));
    caught(&mut || drop(log.reopen_partition(&partition("t"))));
    caught(&mut || drop(log.close()));
    acked
}

/// A panic at any moment would lose what was acknowledged, or leave the log unable to close or open.
#[test]
fn a_panic_at_any_operation_loses_nothing_and_hangs_nobody() {
    let healthy = SimDisk::new(SEED);
    assert_eq!(live(&healthy).len(), 12);
    let mut failures = Vec::new();
    for op in healthy.log() {
        failures.extend(case(&op, Fault::Eio, || {
            let disk = SimDisk::new(SEED);
            let number = op.number;
            let struck = strike(&disk, move |op| op.number == number);
            let acked = live(&disk);
            assert!(struck.load(Ordering::Relaxed), "nothing was struck");
            disk.clear_faults();
            let dark = disk.fork().crash(CrashPolicy::LoseAll, 1);
            for disk in [dark, disk] {
                let log = open(&disk.env(), dir(&disk), LogOptions::new()).unwrap();
                for (topic, value, offset) in &acked {
                    if *offset < log.offsets(&partition(topic)).unwrap().start {
                        continue;
                    }
                    let reader = log.reader(topic).start_at(StartAt::Offset(*offset)).open();
                    let found = reader.unwrap().next().expect("it is lost").unwrap();
                    assert_eq!(found.value(), Some(value.as_bytes()));
                }
                log.close().unwrap();
            }
        }));
    }
    report(&failures, healthy.log().len());
}

/// Senders beside the one who is struck would wait for ever; the partition beside would stop too.
#[test]
fn a_panic_of_the_leader_is_told_to_those_who_wait_for_it() {
    for kind in [OpKind::Write, OpKind::Sync] {
        let disk = SimDisk::new(SEED);
        let told = Arc::new(AtomicU32::new(0));
        let options = LogOptions::new().on_background_error({
            let told = Arc::clone(&told);
            move |error| {
                assert_eq!(error.error.kind(), ErrorKind::Io);
                told.fetch_add(1, Ordering::Relaxed);
                resume_unwind(Box::new("the hook panics as well"));
            }
        });
        let log = open(&disk.env_with_threads(), dir(&disk), options).unwrap();
        for topic in ["t", "u"] {
            log.create_topic(topic, TopicConfig::new().sync(SyncPolicy::Always)).unwrap();
            log.producer(topic).unwrap().send(Record::new("first")).unwrap();
        }
        let struck = strike(&disk, move |op| {
            op.kind == kind && op.path.to_string_lossy().contains("topics/1/")
        });
        let send = || {
            let producer = log.producer("t").unwrap().acks(Acks::Durable);
            catch_unwind(AssertUnwindSafe(|| producer.send(Record::new("beside"))))
        };
        let outcomes = thread::scope(|scope| {
            let senders = (0..4).map(|_| scope.spawn(send)).collect::<Vec<_>>();
            senders.into_iter().map(|sender| sender.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(struck.load(Ordering::Relaxed), "nothing was struck");
        assert_eq!(told.load(Ordering::Relaxed), 1, "the log's owner was not told");
        for told in outcomes.into_iter().flatten() {
            let error = told.expect_err("a send behind the panic stands");
            let unknown = error.fate() == Fate::Unknown;
            let kinds = [ErrorKind::Io, ErrorKind::Poisoned];
            assert!(kinds.contains(&error.kind()), "{error}, unknown: {unknown}");
        }
        let refused = log.producer("t").unwrap().send(Record::new("late")).unwrap_err();
        assert_eq!((refused.kind(), refused.fate()), (ErrorKind::Poisoned, Fate::NotAppended));
        log.producer("u").unwrap().send(Record::new("beside")).unwrap();
        log.reopen_partition(&partition("t")).unwrap();
        log.producer("t").unwrap().send(Record::new("again")).unwrap();
        log.close().unwrap();
    }
}
