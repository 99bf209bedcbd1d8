//! The clock of a bus: what time does, and that it does it at its time.

use std::sync::Arc;
use std::time::Duration;

use brooklet::retry::Retry;
use brooklet::testing::{Clock, TestBus};
use brooklet::worker::{Failure, State, Worker};
use brooklet::{ErrorKind, Record, Retention, TopicConfig};
use parking_lot::Mutex;

use super::{ms, publish};

/// An hour in one step would be one attempt, and a back-off be tested that is not the real one.
#[test]
fn the_clock_stops_wherever_something_comes_due() {
    let mut bus = TestBus::new().unwrap();
    publish(&bus, "down");
    let times = Arc::new(Mutex::new(Vec::new()));
    let (clock, noted) = (bus.clock(), Arc::clone(&times));
    let retry = Retry::exponential(ms(100)).max_delay(Duration::from_secs(10)).any_attempts();
    let worker = Worker::new(bus.log(), "billing").topics(["orders"]).retry(retry);
    let worker = worker.handle(move |_| {
        noted.lock().push(clock.monotonic());
        Err(Failure::retry("no answer"))
    });
    bus.attach(worker).unwrap();
    let settled = bus.advance(Duration::from_secs(3_600)).unwrap();
    assert_eq!(bus.clock().monotonic(), Duration::from_secs(3_600));
    let times = times.lock();
    assert_eq!(settled.retried, times.len() as u64);
    // The waits are drawn evenly up to ten seconds.
    assert!(times.len() > 360, "{} attempts in an hour", times.len());
    let gaps = times.windows(2).map(|two| two[1] - two[0]).collect::<Vec<_>>();
    assert!(gaps.iter().all(|gap| *gap <= Duration::from_secs(10)), "{gaps:?}");
    assert!(gaps[0] <= ms(100) && gaps[1] <= ms(200), "{gaps:?}");
    assert!(settled.sleeping_for.is_some_and(|until| until <= Duration::from_secs(10)));
}

/// Timestamps would fall behind by up to a millisecond at each stop of the clock.
#[test]
fn both_clocks_pass_the_same_time_however_often_they_stop() {
    let mut bus = TestBus::new().unwrap();
    publish(&bus, "down");
    let worker = Worker::new(bus.log(), "billing").topics(["orders"]);
    let control = bus.attach(worker.handle(|_| Err(Failure::unavailable("no database")))).unwrap();
    let wall = bus.publish("times", Record::new("0")).map(|_| bus.topic("times").records());
    let before = wall.unwrap().unwrap()[0].timestamp().as_millis();
    let settled = bus.advance(Duration::from_secs(3_600)).unwrap();
    assert!(settled.unavailable > 100, "{settled:?}");
    assert!(matches!(control.status().state, State::Unavailable { .. }));
    bus.publish("times", Record::new("1")).unwrap();
    let after = bus.topic("times").records().unwrap()[1].timestamp().as_millis();
    assert_eq!(after - before, 3_600_000);
    bus.dead_letters().assert_none();
}

/// Retention and the fencing of late members could only be tested with patience.
#[test]
fn time_lets_records_go_and_fences_members_that_are_late() {
    let mut bus = TestBus::new().unwrap();
    let retention = Retention::forever().max_age(Duration::from_secs(3_600));
    let config = TopicConfig::new().segment_age(Duration::from_secs(60)).retention(retention);
    bus.log().create_topic("orders", config).unwrap();
    publish(&bus, "old");
    let mut late = bus.log().consumer("late").topics(["orders"]).open().unwrap();
    assert_eq!(late.poll(Duration::ZERO).unwrap().len(), 1);
    bus.advance(Duration::from_secs(1_800)).unwrap();
    publish(&bus, "new");
    bus.topic("orders").assert_values(["old", "new"]);
    let error = late.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    bus.advance(Duration::from_secs(1_801)).unwrap();
    bus.topic("orders").assert_values(["new"]);
}

/// What was published just before would be handled an hour later.
#[test]
fn what_can_happen_now_happens_before_time_passes() {
    let mut bus = TestBus::new().unwrap();
    publish(&bus, "now");
    let handled_at = Arc::new(Mutex::new(None));
    let (clock, noted) = (bus.clock(), Arc::clone(&handled_at));
    let worker = Worker::new(bus.log(), "billing").topics(["orders"]);
    let worker = worker.handle(move |_| {
        *noted.lock() = Some(clock.monotonic());
        Ok(())
    });
    bus.attach(worker).unwrap();
    assert_eq!(bus.advance(Duration::from_secs(3_600)).unwrap().handled, 1);
    assert_eq!(*handled_at.lock(), Some(Duration::ZERO));
}
