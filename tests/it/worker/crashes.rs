//! Records that take the process with them.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::Poll;

use brooklet::dlq::{Filter, Letters};
use brooklet::retry::Retry;
use brooklet::testing::{CrashPolicy, SimDisk, open};
use brooklet::worker::{Control, Failure, Worker};
use brooklet::{LogOptions, SyncPolicy, TopicConfig};
use parking_lot::Mutex;

use super::{Bench, Seen, ms, place};

/// A session over a disk, with a topic `t` of so many partitions.
fn session(disk: &SimDisk, partitions: u32, sync: SyncPolicy) -> Bench {
    let log = open(&disk.env(), disk.root().join("log"), LogOptions::new()).unwrap();
    let config = TopicConfig::new().partitions(partitions).sync(sync);
    log.ensure_topic("t", config).unwrap();
    Bench::over(log, disk.clock())
}

/// Handles everything but what begins with `kill`, which never returns: the process ends with it.
fn mortal(bench: &mut Bench, seen: &Seen) -> Control {
    let seen = seen.clone();
    let worker = Worker::new(&bench.log, "g").topics(["t"]).threads(8);
    bench.attach(worker.retry(Retry::exponential(ms(10))).handle_async(move |delivery| {
        let value = seen.note(&delivery);
        let (kills, attempt) = (value.starts_with("kill"), delivery.attempt());
        async move {
            // One that fails first, and only then takes the process with it.
            if value == "kill later" && attempt == 1 {
                return Err(Failure::retry("first"));
            }
            if kills {
                pending::<()>().await;
            }
            Ok(())
        }
    }))
}

fn letters(bench: &Bench) -> Vec<(String, String, u32)> {
    let letters = Letters::of(&bench.log).list(&Filter::new()).unwrap();
    let letter = |letter: &brooklet::dlq::Letter| {
        let value = String::from_utf8(letter.value().unwrap().to_vec()).unwrap();
        (value, letter.error_type().to_owned(), letter.attempts())
    };
    letters.iter().map(letter).collect()
}

/// A service would crash for ever on one record, or healthy records be given up with it.
#[test]
fn a_record_that_ends_the_process_is_given_up_at_the_third_restart() {
    for (killer, sync) in [
        ("kill", SyncPolicy::Always),
        ("kill", SyncPolicy::Never),
        ("kill later", SyncPolicy::Always),
    ] {
        let mut disk = SimDisk::new(9);
        let mut bench = session(&disk, 3, sync);
        for number in 0..30 {
            let value = if number == 11 { killer.to_owned() } else { number.to_string() };
            bench.send("t", &value, Some(&number.to_string()));
        }
        let seen = Seen::default();
        let mut starts = Vec::new();
        for restart in 0..4 {
            mortal(&mut bench, &seen);
            bench.advance(ms(10));
            bench.advance(ms(10));
            let values = seen.values();
            starts.push(values.iter().filter(|value| *value == killer).count());
            if restart < 3 {
                assert!(letters(&bench).is_empty(), "given up at restart {restart}");
                // The process ends in the handler; what it has written is there.
                let after = disk.crash(CrashPolicy::KeepAll, restart);
                drop(bench);
                disk = after;
                bench = session(&disk, 3, sync);
            }
        }
        let per_session = if killer == "kill" { 1 } else { 2 };
        assert_eq!(starts, [per_session, per_session, per_session, 0], "{killer} {sync:?}");
        assert_eq!(letters(&bench), [(killer.to_owned(), "crash".to_owned(), 2)]);
        let committed = (0..3).map(|partition| bench.committed("g", &place("t", partition)));
        assert_eq!(committed.sum::<u64>(), 30, "{killer} {sync:?}");
        assert_eq!(bench.stop(), [true]);
    }
}

/// An unclean stop that no worker saw would count against a record, or be no reason to watch one.
///
/// Nothing tells it from one in the hands of a handler that had committed nothing yet.
#[test]
fn behind_an_unclean_stop_the_second_end_of_a_process_convicts() {
    let mut disk = SimDisk::new(12);
    let bench = session(&disk, 1, SyncPolicy::Always);
    bench.send("t", "kill", None);
    drop(bench);
    let seen = Seen::default();
    let mut found = Vec::new();
    for restart in 0..3 {
        disk = disk.crash(CrashPolicy::KeepAll, restart);
        let mut bench = session(&disk, 1, SyncPolicy::Always);
        mortal(&mut bench, &seen);
        bench.advance(ms(10));
        found.push((seen.values().len(), letters(&bench).len()));
    }
    assert_eq!(found, [(1, 0), (1, 0), (0, 1)]);
}

/// After a crash records would run beside the one that causes it, or one by one for ever.
#[test]
fn suspects_run_alone_and_what_comes_after_them_together() {
    let disk = SimDisk::new(10);
    let bench = session(&disk, 1, SyncPolicy::Always);
    for number in 0..20 {
        bench.send("t", &number.to_string(), None);
    }
    drop(bench);
    let disk = disk.crash(CrashPolicy::KeepAll, 1);
    let mut bench = session(&disk, 1, SyncPolicy::Always);
    let seen = Seen::default();
    let handler = seen.clone();
    let worker = Worker::new(&bench.log, "g").topics(["t"]).threads(8).max_ahead(10);
    let (open_gate, gate) = futures_gate();
    let control = bench.attach(worker.handle_async(move |delivery| {
        handler.note(&delivery);
        gate()
    }));
    for number in 0..10 {
        let running = control.status().partitions[0].running.clone();
        assert_eq!(running.len(), 1, "{running:?}");
        assert_eq!(running[0].offset.value(), number);
        let at = bench.log.group("g").unwrap().partitions[0].committed.clone().unwrap();
        let note = String::from_utf8(at.metadata().to_vec()).unwrap();
        assert!(note.contains(&format!("marks={number}:1")), "{note}");
        open_gate.send(()).unwrap();
        bench.advance(ms(1));
    }
    let running = control.status().partitions[0].running.len();
    assert_eq!(running, 8, "the others run together");
    (0..10).for_each(|_| open_gate.send(()).unwrap());
    (0..10).for_each(|_| bench.advance(ms(1)));
    assert_eq!(seen.take().len(), 20);
    let at = bench.log.group("g").unwrap().partitions[0].committed.clone().unwrap();
    let note = String::from_utf8(at.metadata().to_vec()).unwrap();
    assert_eq!((at.offset().value(), note.as_str()), (20, "brooklet-worker/1 ahead=10 letters=0"));
}

type Answer = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// Futures that are ready one by one: each `()` lets one of them go.
fn futures_gate() -> (Sender<()>, impl Fn() -> Answer) {
    let (sender, receiver) = channel();
    let receiver = Arc::new(Mutex::new(receiver));
    let gate = move || -> Answer {
        let receiver = Arc::clone(&receiver);
        Box::pin(poll_fn(move |_| match receiver.lock().try_recv() {
            Ok(()) => Poll::Ready(Ok(())),
            Err(_) => Poll::Pending,
        }))
    };
    (sender, gate)
}

/// A clean stop in the middle would count against the record that was under way.
#[test]
fn a_clean_stop_leaves_no_mark_and_the_rest_of_the_window() {
    let disk = SimDisk::new(11);
    let bench = session(&disk, 1, SyncPolicy::Always);
    for number in 0..5 {
        bench.send("t", &number.to_string(), None);
    }
    drop(bench);
    let disk = disk.crash(CrashPolicy::KeepAll, 1);
    let mut bench = session(&disk, 1, SyncPolicy::Always);
    let (open_gate, gate) = futures_gate();
    bench.attach(Worker::new(&bench.log, "g").topics(["t"]).handle_async(move |_| gate()));
    open_gate.send(()).unwrap();
    bench.advance(ms(1));
    bench.hands[0].control.stop();
    bench.settle();
    open_gate.send(()).unwrap();
    bench.advance(ms(1));
    assert_eq!(bench.stop(), [true]);
    let at = bench.log.group("g").unwrap().partitions[0].committed.clone().unwrap();
    let note = String::from_utf8(at.metadata().to_vec()).unwrap();
    let whole = "brooklet-worker/1 ahead=1000 letters=0 suspect=5";
    assert_eq!((at.offset().value(), note.as_str()), (2, whole));
}
