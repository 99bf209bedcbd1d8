//! Workers on threads of their own, over a real disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use brooklet::retry::Retry;
use brooklet::worker::{Delivery, Failure, State, Worker};
use brooklet::{Log, Record, TopicConfig};
use parking_lot::Mutex;

use super::{Seen, committed, ms, place, secs, text};

/// Long enough for anything that happens at all.
const PATIENCE: Duration = Duration::from_secs(600);

fn log_with(partitions: u32) -> (tempfile::TempDir, Log) {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", TopicConfig::new().partitions(partitions)).unwrap();
    (dir, log)
}

fn send(log: &Log, values: impl Iterator<Item = (u32, u32)>) {
    let records: Vec<_> =
        values.map(|(key, number)| (key.to_string(), number.to_string())).collect();
    let records = records.iter().map(|(key, number)| Record::new(number).key(key));
    log.producer("t").unwrap().send_all(records).unwrap();
}

/// Under load a record would be lost, repeated, or overtake another one of its key.
#[test]
fn many_threads_keep_the_order_of_keys_and_handle_everything_once() {
    const KEYS: u32 = 40;
    const EACH: u32 = 100;
    let (_dir, log) = log_with(3);
    send(&log, (0..EACH).flat_map(|number| (0..KEYS).map(move |key| (key, number))));
    let handled = Arc::new(Mutex::new(BTreeMap::<String, Vec<u32>>::new()));
    let inside = Arc::new(Mutex::new(BTreeMap::<String, u32>::new()));
    let (done, all_done) = channel();
    let failures = Arc::new(AtomicU64::new(0));
    let (lines, failed) = (Arc::clone(&handled), Arc::clone(&failures));
    let worker = Worker::new(&log, "g").topics(["t"]).threads(4);
    let worker = worker.retry(Retry::exponential(Duration::from_micros(200)).any_attempts());
    let ready = worker.handle(move |delivery: Delivery| {
        let key = String::from_utf8(delivery.key().unwrap().to_vec()).unwrap();
        let number: u32 = text(&delivery).parse()?;
        let beside = std::mem::replace(inside.lock().entry(key.clone()).or_default(), 1);
        assert_eq!(beside, 0, "two records of {key} at once");
        let outcome = match (number % 7, delivery.attempt()) {
            (0, 1..=2) => {
                failed.fetch_add(1, Ordering::SeqCst);
                Err(Failure::retry("again"))
            }
            _ => {
                lines.lock().entry(key.clone()).or_default().push(number);
                Ok(())
            }
        };
        inside.lock().insert(key, 0);
        if outcome.is_ok() {
            done.send(())?;
        }
        outcome
    });
    let running = ready.spawn().unwrap();
    for _ in 0..KEYS * EACH {
        all_done.recv().unwrap();
    }
    let report = running.stop(PATIENCE);
    assert!(report.is_drained && report.error.is_none() && report.abandoned.is_empty());
    let expected: Vec<u32> = (0..EACH).collect();
    assert_eq!(handled.lock().len(), KEYS as usize);
    assert!(handled.lock().values().all(|numbers| *numbers == expected));
    assert_eq!(failures.load(Ordering::SeqCst), u64::from(KEYS * EACH.div_ceil(7) * 2));
    let places = [0, 1, 2].map(|partition| committed(&log, "g", &place("t", partition)));
    assert_eq!(places.iter().sum::<u64>(), u64::from(KEYS * EACH));
    assert!(all_done.try_recv().is_err(), "a record was handled twice");
    log.close().unwrap();
}

/// A handler that stands at a gate until it is let through.
struct Gate {
    arrived: Receiver<String>,
    open: Sender<()>,
}

/// A worker of group `g` whose handler stops at `at`, and tells of all others.
fn gated(log: &Log, at: &'static str, seen: &Seen) -> (Worker, Gate, impl Fn(&Delivery) + use<>) {
    let (arrive, arrived) = channel();
    let (open, opened) = channel();
    let (seen, opened) = (seen.clone(), Mutex::new(opened));
    let pass = move |delivery: &Delivery| {
        let value = seen.note(delivery);
        let is_held = value == at;
        arrive.send(value).unwrap();
        if is_held {
            opened.lock().recv().unwrap();
        }
    };
    (Worker::new(log, "g").topics(["t"]), Gate { arrived, open }, pass)
}

/// A member that joins would be given a record that another one has, or stop one that goes on.
#[test]
fn a_member_joins_while_a_handler_stands_and_the_other_partition_goes_on() {
    let (_dir, log) = log_with(2);
    // Keys by trial: one for each partition.
    let fixed = |partition| brooklet::partitioner::Fixed(brooklet::PartitionId::new(partition));
    let producers = [0, 1].map(|n| log.producer("t").unwrap().partitioner(fixed(n)));
    let (one, two) = (Seen::default(), Seen::default());
    let (worker, gate, pass) = gated(&log, "held", &one);
    let first = worker.threads(2).handle(move |delivery| {
        pass(&delivery);
        Ok(())
    });
    let first = first.spawn().unwrap();
    producers[0].send(Record::new("held")).unwrap();
    assert_eq!(gate.arrived.recv().unwrap(), "held");
    let (worker, other, pass) = gated(&log, "", &two);
    let second = worker.handle(move |delivery| {
        pass(&delivery);
        Ok(())
    });
    let second = second.spawn().unwrap();
    // Whichever partition is to move, the first worker is told; the one that it keeps goes on.
    let revoked = loop {
        let status = first.status();
        if let Some(leaving) = status.partitions.iter().find(|partition| partition.is_revoked) {
            break Some(leaving.partition.clone());
        }
        if status.partitions.len() == 1 && !second.status().partitions.is_empty() {
            break None;
        }
        std::thread::yield_now();
    };
    // The partition of the held record can only move when it is settled; the other one at once.
    match &revoked {
        Some(leaving) => {
            assert_eq!(*leaving, place("t", 0));
            producers[1].send(Record::new("goes on")).unwrap();
            assert_eq!(gate.arrived.recv().unwrap(), "goes on");
            assert!(second.status().partitions.is_empty());
        }
        None => {
            producers[1].send(Record::new("goes on")).unwrap();
            assert_eq!(other.arrived.recv().unwrap(), "goes on");
        }
    }
    producers[0].send(Record::new("after")).unwrap();
    gate.open.send(()).unwrap();
    let after = match revoked {
        Some(_) => other.arrived.recv(),
        None => gate.arrived.recv(),
    };
    assert_eq!(after.unwrap(), "after");
    assert!(first.stop(PATIENCE).is_drained && second.stop(PATIENCE).is_drained);
    let mut values = one.values();
    values.extend(two.values());
    values.sort_unstable();
    assert_eq!(values, ["after", "goes on", "held"]);
    assert_eq!(
        (committed(&log, "g", &place("t", 0)), committed(&log, "g", &place("t", 1))),
        (2, 1)
    );
}

/// A handler that never returns would keep the worker from ending, and nobody know of it.
#[test]
fn what_does_not_return_in_time_is_reported_and_left_behind() {
    let (_dir, log) = log_with(1);
    send(&log, [(1, 1), (2, 2), (2, 3)].into_iter());
    let seen = Seen::default();
    let (worker, gate, pass) = gated(&log, "2", &seen);
    let running = worker.threads(2).handle(move |delivery| {
        pass(&delivery);
        Ok(())
    });
    let running = running.spawn().unwrap();
    let arrived = [gate.arrived.recv().unwrap(), gate.arrived.recv().unwrap()];
    assert!(arrived.contains(&"2".to_owned()));
    let control = running.control();
    let report = running.stop(ms(1));
    assert!(!report.is_drained && report.error.is_none());
    let abandoned: Vec<_> = report.abandoned.iter().map(|(_, at)| at.value()).collect();
    assert_eq!(abandoned, [1]);
    assert!(matches!(control.status().state, State::Stopped));
    // Somebody else handles it, though the first handler stands there still.
    let (worker, other, pass) = gated(&log, "", &seen);
    let running = worker.handle(move |delivery| {
        pass(&delivery);
        Ok(())
    });
    let running = running.spawn().unwrap();
    let again: Vec<String> = other.arrived.iter().take_while(|value| value != "3").collect();
    assert!(again.contains(&"2".to_owned()), "{again:?}");
    gate.open.send(()).unwrap();
    assert!(running.stop(PATIENCE).is_drained);
    assert_eq!(committed(&log, "g", &place("t", 0)), 3);
    assert!(log.group("g").unwrap().members.is_empty());
}

/// A late answer would settle a record that has failed, or its next attempt run beside it.
#[test]
fn a_thread_that_is_late_is_not_listened_to_and_not_overtaken() {
    let (_dir, log) = log_with(1);
    send(&log, [(1, 1), (1, 2)].into_iter());
    let seen = Seen::default();
    let (worker, gate, pass) = gated(&log, "1", &seen);
    let retry = Retry::exponential(Duration::from_micros(1)).max_attempts(2);
    let worker = worker.threads(2).handler_timeout(ms(20)).retry(retry);
    let running = worker.handle(move |delivery| {
        if delivery.attempt() == 1 {
            pass(&delivery);
        }
        Ok(())
    });
    let running = running.spawn().unwrap();
    assert_eq!(gate.arrived.recv().unwrap(), "1");
    loop {
        let status = running.status();
        let [partition] = status.partitions.as_slice() else { panic!("{status:?}") };
        assert_eq!(partition.running.len(), 1, "the next attempt runs beside a late one");
        if partition.running[0].is_overdue {
            assert!(partition.blocked.is_some());
            break;
        }
        std::thread::yield_now();
    }
    assert_eq!(running.status().counts.handled, 0);
    gate.open.send(()).unwrap();
    assert_eq!(gate.arrived.recv().unwrap(), "2");
    let control = running.control();
    assert!(running.stop(PATIENCE).is_drained);
    let counts = control.status().counts;
    assert_eq!((counts.handled, counts.retried, counts.dead), (2, 1, 0));
    assert_eq!(seen.values(), ["1", "2"]);
}

/// A worker that nobody holds would go on for ever, or take the records in its hands along.
#[test]
fn a_worker_that_is_dropped_finishes_what_it_has_begun() {
    let (_dir, log) = log_with(1);
    send(&log, [(1, 1), (1, 2)].into_iter());
    let seen = Seen::default();
    let (worker, gate, pass) = gated(&log, "1", &seen);
    let running = worker.handle(move |delivery| {
        pass(&delivery);
        Ok(())
    });
    let running = running.spawn().unwrap();
    assert_eq!(gate.arrived.recv().unwrap(), "1");
    drop(running);
    gate.open.send(()).unwrap();
    while !log.group("g").unwrap().members.is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(committed(&log, "g", &place("t", 0)), 1);
    assert_eq!(seen.values(), ["1"]);
    assert!(gate.arrived.recv().is_err(), "its thread has not ended");
}

/// A log that is closed would leave its workers standing.
#[test]
fn a_closed_log_ends_its_workers_and_says_so() {
    let (_dir, log) = log_with(1);
    let running = Worker::new(&log, "g").topics(["t"]).threads(2).handle(|_| Ok(()));
    let running = running.spawn().unwrap();
    log.close().unwrap();
    while !matches!(running.status().state, State::Stopped) {
        std::thread::yield_now();
    }
    let report = running.stop(secs(0));
    assert_eq!(report.error.unwrap().kind(), brooklet::ErrorKind::Closed);
}
