//! Records that fail: tried again in time and in order, and given up in the end.

use std::future::pending;
use std::sync::Arc;

use brooklet::dlq::{Filter, Letters};
use brooklet::retry::Retry;
use brooklet::worker::{Counts, Failure, State, Why, Worker};
use brooklet::{Acks, ErrorKind, Log, Record, TopicConfig};
use parking_lot::Mutex;

use super::{Bench, Seen, ms, place, secs, text};

fn counts(bench: &Bench) -> Counts {
    bench.hands[0].control.status().counts
}

fn letters(log: &Log) -> Vec<(u64, String, String, u32)> {
    let letters = Letters::of(log).list(&Filter::new()).unwrap();
    let letter = |letter: &brooklet::dlq::Letter| {
        let kind = letter.error_type().to_owned();
        (letter.source_offset().value(), kind, letter.error().to_owned(), letter.attempts())
    };
    letters.iter().map(letter).collect()
}

/// A failing record would hold up other keys, or be overtaken by its own.
#[test]
fn a_key_waits_for_its_failed_record_and_the_others_go_on() {
    let mut bench = Bench::with("t", TopicConfig::new());
    for (value, key) in [("a1", "a"), ("b1", "b"), ("a2", "a"), ("b2", "b")] {
        bench.send("t", value, Some(key));
    }
    bench.send("t", "loose", None);
    let seen = Seen::default();
    let handler = seen.clone();
    let worker = Worker::new(&bench.log, "g").topics(["t"]);
    let worker =
        worker.retry(Retry::exponential(ms(100)).max_attempts(4)).handle(move |delivery| {
            let value = handler.note(&delivery);
            match (value.as_str(), delivery.attempt()) {
                ("a1", 1..=2) => Err(Failure::retry("not yet")),
                _ => Ok(()),
            }
        });
    let control = bench.attach(worker);
    assert_eq!(seen.values(), ["a1", "b1", "b2", "loose"]);
    assert_eq!(bench.committed("g", &place("t", 0)), 0);
    let status = control.status();
    let blocked = status.partitions[0].blocked.clone().unwrap();
    assert_eq!(blocked.at.value(), 0);
    let Why::Retrying { attempts: 1, reason, next_in } = blocked.why else { panic!("{blocked:?}") };
    assert_eq!((reason.to_string().as_str(), next_in.as_millis()), ("not yet", 100));

    bench.advance(ms(99));
    assert_eq!(seen.values(), [""; 0]);
    bench.advance(ms(1));
    assert_eq!(seen.take(), [("a1".to_owned(), 2)]);
    bench.advance(ms(199));
    assert_eq!(seen.values(), [""; 0]);
    bench.advance(ms(1));
    assert_eq!(seen.take(), [("a1".to_owned(), 3), ("a2".to_owned(), 1)]);
    assert_eq!(bench.committed("g", &place("t", 0)), 5);
    assert_eq!((counts(&bench).handled, counts(&bench).retried), (5, 2));
    assert!(letters(&bench.log).is_empty());
}

/// A hopeless record would be tried for ever, or vanish without a letter.
#[test]
fn a_record_is_given_up_by_attempts_by_age_and_on_demand() {
    let mut bench = Bench::with("t", TopicConfig::new());
    for value in ["always", "dead", "late", "fine", "panics"] {
        bench.send("t", value, None);
    }
    let seen = Seen::default();
    let handler = seen.clone();
    let retry = Retry::exponential(ms(100)).max_attempts(3).max_elapsed(secs(5));
    let worker = Worker::new(&bench.log, "g").topics(["t"]).retry(retry);
    bench.attach(worker.handle(move |delivery| match handler.note(&delivery).as_str() {
        "always" => Err(std::io::Error::other("no stock").into()),
        "dead" => Err(Failure::Dead("not an order".into())),
        "late" => Err(Failure::RetryAfter(secs(6), "in a while".into())),
        "panics" => panic!("number {}", 7),
        _ => Ok(()),
    }));
    bench.advance(ms(100));
    bench.advance(ms(200));
    assert_eq!(seen.take().len(), 5 + 2 + 2);
    let given_up = [
        (0, "std::io::error::Error", "no stock", 3),
        (1, "&str", "not an order", 1),
        (2, "&str", "in a while", 1),
        (4, "panic", "number 7", 3),
    ];
    let told = letters(&bench.log);
    let told = told.iter().map(|(at, kind, text, n)| (*at, kind.as_str(), text.as_str(), *n));
    let mut told = told.collect::<Vec<_>>();
    told.sort_unstable();
    assert_eq!(told, given_up);
    assert_eq!(bench.committed("g", &place("t", 0)), 5);
    assert_eq!((counts(&bench).handled, counts(&bench).dead, counts(&bench).retried), (1, 4, 4));
    bench.advance(secs(60));
    assert!(seen.take().is_empty());
    assert_eq!(bench.stop(), [true]);
}

/// A handler that hangs would hold its record for ever, or run beside the next attempt.
#[test]
fn a_future_that_takes_too_long_is_dropped_and_counts_as_an_attempt() {
    let mut bench = Bench::with("t", TopicConfig::new());
    bench.send("t", "hangs", Some("k"));
    bench.send("t", "next", Some("k"));
    let seen = Seen::default();
    let handler = seen.clone();
    let alive = Arc::new(());
    let inside = Arc::clone(&alive);
    let retry = Retry::exponential(ms(100)).max_attempts(2);
    let worker = Worker::new(&bench.log, "g").topics(["t"]).handler_timeout(secs(10)).retry(retry);
    let control = bench.attach(worker.handle_async(move |delivery| {
        let (value, held) = (handler.note(&delivery), Arc::clone(&inside));
        async move {
            if value == "hangs" {
                pending::<()>().await;
            }
            drop(held);
            Ok(())
        }
    }));
    let running = control.status().partitions[0].running.clone();
    assert_eq!((running.len(), running[0].attempt, running[0].is_overdue), (1, 1, false));
    assert_eq!(Arc::strong_count(&alive), 3);
    bench.advance(secs(10));
    assert_eq!(Arc::strong_count(&alive), 2, "the future lives on");
    assert_eq!(seen.take(), [("hangs".to_owned(), 1)]);
    bench.advance(ms(100));
    assert_eq!(seen.take(), [("hangs".to_owned(), 2)]);
    bench.advance(secs(10));
    assert_eq!(seen.take(), [("next".to_owned(), 1)]);
    let told = letters(&bench.log);
    assert_eq!(told, [(0, "timeout".to_owned(), "no answer within 10s".to_owned(), 2)]);
    assert_eq!(bench.committed("g", &place("t", 0)), 2);
}

/// What a handler sends on would be lost though its record counts as handled.
#[test]
fn what_is_emitted_is_there_before_the_record_is_settled() {
    let mut bench = Bench::with("t", TopicConfig::new());
    bench.log.create_topic("alerts", TopicConfig::new().max_record_bytes(100)).unwrap();
    bench.log.create_topic("away", TopicConfig::new()).unwrap();
    for value in ["1", "2", "3"] {
        bench.send("t", value, None);
    }
    let alerts = bench.log.producer("alerts").unwrap().acks(Acks::None);
    let away = bench.log.producer("away").unwrap();
    bench.log.delete_topic("away").unwrap();
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let retry = Retry::exponential(ms(100)).max_attempts(2);
    let worker = Worker::new(&bench.log, "g").topics(["t"]).retry(retry);
    bench.attach(worker.handle(move |delivery| {
        let value = text(&delivery);
        match value.as_str() {
            "1" => delivery.emit(&alerts, Record::new("alert"))?,
            "2" => delivery.emit(&alerts, Record::new(&[0; 200]))?,
            _ => delivery.emit(&away, Record::new("nowhere"))?,
        }
        *keep.lock() = Some((delivery, alerts.clone()));
        Ok(())
    }));
    bench.advance(ms(100));
    let told = letters(&bench.log);
    let kinds = told.iter().map(|(at, kind, _, attempts)| (*at, kind.as_str(), *attempts));
    let error = "brooklet::error::Error";
    assert_eq!(kinds.collect::<Vec<_>>(), [(1, error, 2), (2, error, 2)]);
    let emitted = bench.log.reader("alerts").stop_at_end().open().unwrap().count();
    assert_eq!(emitted, 1);
    let kept = kept.lock().take().unwrap();
    let late = kept.0.emit(&kept.1, Record::new("late")).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Closed);
}

/// A worker that cannot work would look as if it did.
#[test]
fn what_is_wrong_is_told_at_the_start() {
    let log = Log::in_memory().unwrap();
    log.create_topic("t", TopicConfig::new()).unwrap();
    let worker = |group: &str| Worker::new(&log, group).topics(["t"]);
    let other = brooklet::dlq::DeadLetters::default_for("other");
    let cases = [
        (worker("g").threads(0), ErrorKind::InvalidConfig),
        (worker("g").max_ahead(0), ErrorKind::InvalidConfig),
        (worker("g").handler_timeout(ms(0)), ErrorKind::InvalidConfig),
        (worker("g").dead_letters(other), ErrorKind::InvalidConfig),
        (worker("not a name"), ErrorKind::InvalidName),
        (worker("g").topics(["missing"]), ErrorKind::UnknownTopic),
        (worker("g").matching("[").topics(["t"]), ErrorKind::InvalidName),
        (Worker::new(&log, "g"), ErrorKind::InvalidConfig),
        // In memory there are no threads.
        (worker("g"), ErrorKind::Io),
    ];
    for (worker, kind) in cases {
        let ready = worker.handle(|_| Ok(()));
        let control = ready.control();
        let error = ready.spawn().unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        // What only the group can tell is told by the attempt to join it.
        let is_known = matches!(control.status().state, State::Stopped);
        assert_eq!(is_known, !error.to_string().starts_with("join"), "{error}");
    }
    log.close().unwrap();
    let mut bench = Bench::over(log.clone(), Default::default());
    bench.attach(Worker::new(&log, "g").matching("*").handle(|_| Ok(())));
    let Some(Err(error)) = &bench.hands[0].report else { panic!("a closed log is read") };
    assert_eq!(error.kind(), ErrorKind::Closed);
}
