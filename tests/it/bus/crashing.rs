//! Ends of the program, bad and good, and what it finds when it is started again.

use std::future::pending;

use brooklet::testing::{BusOptions, CrashPolicy, Fault, Step, TestBus};
use brooklet::worker::Worker;
use brooklet::{Acks, ErrorKind, Log, LogOptions, Record, SyncPolicy};

use super::{Seen, billing, bus_with, publish};

/// What a power cut loses would be there, or what it cannot lose be gone.
#[test]
fn a_crash_loses_what_was_not_durable_and_nothing_else() {
    for (policy, kept) in [(CrashPolicy::LoseAll, 2), (CrashPolicy::KeepAll, 3)] {
        let log = LogOptions::new().default_sync(SyncPolicy::Never);
        let mut bus = BusOptions::new().log(log).open().unwrap();
        publish(&bus, "synced 0");
        let producer = bus.log().producer("orders").unwrap();
        let durable = producer.clone().acks(Acks::Durable);
        durable.send(Record::new("synced 1")).unwrap();
        producer.send(Record::new("written")).unwrap();
        bus.topic("orders").assert_len(3);
        bus.crash(policy);
        assert!(producer.send(Record::new("late")).is_err(), "what was made before is dead");
        let seen = Seen::default();
        bus.restart(|log| Ok([billing(log, &seen)])).unwrap();
        assert!(!bus.log().recovery().was_clean);
        bus.topic("orders").assert_len(kept);
        assert_eq!(bus.settle().unwrap().handled, kept as u64);
        assert_eq!(seen.take().len(), kept);
    }
}

/// What was committed would be handled again, or what was not committed be forgotten.
#[test]
fn work_goes_on_behind_a_crash_where_it_was_committed() {
    let seen = Seen::default();
    let mut bus = bus_with(&["fine 0", "dead 1", "fine 2"], &seen);
    bus.settle().unwrap();
    publish(&bus, "fine 3");
    seen.take();
    bus.crash(CrashPolicy::LoseAll);
    bus.restart(|log| Ok([billing(log, &seen)])).unwrap();
    let settled = bus.settle().unwrap();
    assert_eq!((settled.handled, settled.dead), (1, 0));
    assert_eq!(seen.take(), ["fine 3"]);
    bus.dead_letters().value("dead 1").assert_one();

    // A second one, before anything was done.
    publish(&bus, "fine 4");
    for _ in 0..2 {
        bus.crash(CrashPolicy::LoseAll);
    }
    bus.restart(|log| Ok([billing(log, &seen)])).unwrap();
    bus.settle().unwrap();
    assert_eq!(seen.take(), ["fine 4"]);
    bus.group("billing").assert_committed("orders", 0, 5);
}

/// A program could not be tested with the record that ends it.
#[test]
fn a_record_that_ends_the_program_is_given_up_at_the_third_restart() {
    let seen = Seen::default();
    let build = |log: &Log| {
        let seen = seen.clone();
        let worker = Worker::new(log, "billing").topics(["orders"]);
        Ok([worker.handle_async(move |delivery| {
            let value = seen.note(&delivery);
            async move {
                if value == "end" {
                    pending::<()>().await;
                }
                Ok(())
            }
        })])
    };
    let mut bus = TestBus::new().unwrap();
    for order in ["before", "end", "behind"] {
        publish(&bus, order);
    }
    bus.restart(build).unwrap();
    for _ in 0..3 {
        let settled = bus.settle().unwrap();
        assert_eq!((settled.running, settled.dead), (1, 0));
        assert_eq!(seen.take().last().unwrap(), "end");
        bus.crash(CrashPolicy::KeepAll);
        bus.restart(build).unwrap();
    }
    assert_eq!(bus.settle().unwrap().dead, 1);
    assert_eq!(seen.take(), ["behind"]);
    assert_eq!(bus.dead_letters().value("end").assert_one().error_type(), "crash");
}

/// A restart in good order would be a crash, and tests of it mean nothing.
#[test]
fn a_restart_without_a_crash_finishes_what_was_begun() {
    let seen = Seen::default();
    let mut bus = bus_with(&["fine 0", "again 1"], &seen);
    let settled = bus.settle().unwrap();
    assert_eq!((settled.handled, settled.retried), (1, 1));
    publish(&bus, "fine 2");
    seen.take();
    let before = bus.log().clone();
    bus.restart(|log| Ok([billing(log, &seen)])).unwrap();
    assert!(bus.log().recovery().was_clean);
    assert_eq!(before.topics().unwrap_err().kind(), ErrorKind::Closed);
    bus.advance(std::time::Duration::from_secs(60)).unwrap();
    assert_eq!(seen.take(), ["again 1", "fine 2", "again 1"], "attempts begin anew");
    bus.group("billing").assert_caught_up();
}

/// A start that fails would leave a bus that cannot be started any more.
#[test]
fn a_restart_that_failed_can_be_tried_again() {
    let seen = Seen::default();
    let mut bus = bus_with(&["fine"], &seen);
    bus.crash(CrashPolicy::LoseAll);
    let error = bus.attach(billing(bus.log(), &seen)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "attach a worker: log is closed: the bus has crashed and was not restarted"
    );
    // What `build` says.
    let refused = bus.restart(|log| {
        log.producer("alerts")?;
        Ok([billing(log, &seen)])
    });
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::UnknownTopic);
    // What opening meets.
    bus.crash(CrashPolicy::LoseAll);
    bus.fail(Step::Catalog).always(Fault::Eio).unwrap();
    bus.disk().power_off_at(bus.disk().ops());
    assert!(bus.restart(|log| Ok([billing(log, &seen)])).is_err());
    bus.crash(CrashPolicy::LoseAll);
    bus.restart(|log| Ok([billing(log, &seen)])).unwrap();
    assert_eq!(bus.settle().unwrap().handled, 1);
}
