//! Times in which nothing can be handled: outages, pauses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use brooklet::dlq::{Filter, Letters};
use brooklet::retry::Retry;
use brooklet::worker::{Failure, State, Worker};
use brooklet::{Timestamp, TopicConfig};

use super::{Bench, Seen, ms, place, secs};

/// A database that is down for an hour would empty the topic into the dead letters.
#[test]
fn an_outage_costs_no_attempt_and_ends_by_itself() {
    let mut bench = Bench::with("t", TopicConfig::new().partitions(2));
    for number in 0..20 {
        bench.send("t", &number.to_string(), Some(&number.to_string()));
    }
    let (seen, is_down) = (Seen::default(), Arc::new(AtomicBool::new(true)));
    let (handler, down) = (seen.clone(), Arc::clone(&is_down));
    // One attempt and a minute: anything that counted would make a letter.
    let retry = Retry::exponential(ms(10)).max_attempts(1).max_elapsed(secs(60));
    let worker = Worker::new(&bench.log, "g").topics(["t"]).threads(4).retry(retry);
    let control = bench.attach(worker.handle(move |delivery| {
        handler.note(&delivery);
        match down.load(Ordering::SeqCst) {
            true => Err(Failure::unavailable("no route to the database")),
            false => Ok(()),
        }
    }));
    assert_eq!(seen.take().len(), 1, "one record is enough to know it");
    let State::Unavailable { since, reason, attempts: 1 } = control.status().state else {
        panic!("{:?}", control.status().state)
    };
    assert_eq!(since, Timestamp::from_millis(1_700_000_000_000));
    assert_eq!(reason.to_string(), "no route to the database");
    for _ in 0..3_600 {
        bench.advance(secs(1));
    }
    let probes = seen.take();
    assert!((100..200).contains(&probes.len()), "{} probes in an hour", probes.len());
    assert!(probes.iter().all(|(_, attempt)| *attempt == 1));
    assert!(matches!(control.status().state, State::Unavailable { .. }));

    is_down.store(false, Ordering::SeqCst);
    bench.advance(secs(31));
    let mut values = seen.values();
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), 20);
    assert!(matches!(control.status().state, State::Running));
    assert_eq!(control.status().counts.handled, 20);
    assert!(Letters::of(&bench.log).list(&Filter::new()).unwrap().is_empty());
    let committed = [0, 1].map(|partition| bench.committed("g", &place("t", partition)));
    assert_eq!(committed.iter().sum::<u64>(), 20);
}

/// A paused worker would go on, or forget what it had.
#[test]
fn a_paused_worker_begins_nothing_and_goes_on_where_it_was() {
    let mut bench = Bench::with("t", TopicConfig::new());
    let seen = Seen::default();
    let handler = seen.clone();
    let worker = Worker::new(&bench.log, "g").topics(["t"]);
    let worker = worker.retry(Retry::exponential(ms(100)).max_elapsed(secs(1)));
    let control = bench.attach(worker.handle(move |delivery| {
        handler.note(&delivery);
        match delivery.attempt() {
            1 => Err(Failure::retry("first")),
            _ => Ok(()),
        }
    }));
    bench.send("t", "a", None);
    bench.settle();
    assert_eq!(seen.take(), [("a".to_owned(), 1)]);
    control.pause();
    bench.send("t", "b", None);
    bench.advance(secs(3600));
    assert!(matches!(control.status().state, State::Paused));
    assert!(seen.take().is_empty());
    assert_eq!(control.status().partitions[0].held, 2);
    control.resume();
    bench.settle();
    // It is not too old to be tried again: the pause does not count.
    assert_eq!(seen.take(), [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    assert_eq!(bench.stop(), [true]);
}
