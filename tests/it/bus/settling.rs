//! Giving workers time, and telling what they did with it.

use std::future::pending;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use brooklet::retry::Retry;
use brooklet::testing::{BusOptions, Settled, TestBus};
use brooklet::worker::{Failure, State, Worker};
use brooklet::{ErrorKind, Record, TopicConfig};
use parking_lot::Mutex;

use super::{Seen, billing, bus_with, message_of, ms, publish};

fn numbers(settled: Settled) -> (u64, u64, u64) {
    (settled.handled, settled.retried, settled.dead)
}

/// A test could not tell what happened because of what it did.
#[test]
fn settling_tells_what_was_done_since_the_last_time() {
    let seen = Seen::default();
    let mut bus = bus_with(&["fine", "again 1", "dead 2"], &seen);
    assert!(seen.take().is_empty(), "nothing happens before the bus settles");
    let settled = bus.settle().unwrap();
    assert_eq!(numbers(settled), (1, 1, 1));
    assert!(settled.sleeping_for.is_some_and(|until| until > Duration::ZERO));
    assert_eq!(seen.take(), ["fine", "again 1", "dead 2"]);

    let settled = bus.settle().unwrap();
    assert_eq!(numbers(settled), (0, 0, 0), "nothing happens twice");
    let settled = bus.advance(settled.sleeping_for.unwrap()).unwrap();
    assert_eq!(numbers(settled), (1, 0, 0));
    assert_eq!((settled.sleeping_for, settled.running, settled.stopped), (None, 0, 0));
    assert_eq!(seen.take(), ["again 1"]);
    bus.group("billing").assert_caught_up();
    bus.dead_letters().assert_count(1);
}

/// A chain of modules would stop half-way, and a test see only its first step.
#[test]
fn all_workers_are_driven_until_none_has_anything_to_do() {
    let mut bus = TestBus::new().unwrap();
    let config = TopicConfig::new().partitions(3);
    for topic in ["a", "b", "c"] {
        bus.log().create_topic(topic, config.clone()).unwrap();
    }
    let copying = |from: &str, to: &str| {
        let producer = bus.log().producer(to).unwrap();
        Worker::new(bus.log(), "chain").topics([from]).handle(move |delivery| {
            let record = Record::new(delivery.value().unwrap()).key(delivery.key().unwrap());
            Ok(delivery.emit(&producer, record)?)
        })
    };
    // The last one first, so that one round is not enough.
    for worker in [copying("b", "c"), copying("a", "b")] {
        bus.attach(worker).unwrap();
    }
    for number in 0..100 {
        let key = number.to_string();
        bus.publish("a", Record::new(&key).key(&key)).unwrap();
    }
    assert_eq!(bus.settle().unwrap().handled, 200);
    bus.topic("c").assert_len(100);
    bus.group("chain").assert_caught_up();
}

/// Two members on one bus would both have every record, or one of them nothing for ever.
#[test]
fn members_of_a_group_share_its_records() {
    let mut bus = TestBus::new().unwrap();
    bus.log().create_topic("orders", TopicConfig::new().partitions(4)).unwrap();
    let (one, two) = (Seen::default(), Seen::default());
    let first = bus.attach(billing(bus.log(), &one)).unwrap();
    bus.attach(billing(bus.log(), &two)).unwrap();
    for number in 0..40 {
        let key = number.to_string();
        bus.publish("orders", Record::new(&key).key(&key)).unwrap();
    }
    assert_eq!(bus.settle().unwrap().handled, 40);
    let (one_had, two_had) = (one.take().len(), two.take().len());
    assert!(one_had > 0 && two_had > 0 && one_had + two_had == 40, "{one_had} and {two_had}");

    first.stop();
    for number in 0..40 {
        let key = number.to_string();
        bus.publish("orders", Record::new(&key).key(&key)).unwrap();
    }
    let settled = bus.settle().unwrap();
    assert_eq!((settled.stopped, settled.handled), (1, 40));
    assert!(matches!(first.status().state, State::Stopped));
    assert_eq!((one.take().len(), two.take().len()), (0, 40));
    assert_eq!(bus.settle().unwrap().stopped, 0);
}

/// A test that can never end would hang, and nobody know why.
#[test]
fn workers_that_never_rest_fail_their_test_with_a_reason() {
    let feeding = |bus: &mut TestBus| {
        publish(bus, "again");
        let producer = bus.log().producer("orders").unwrap();
        let worker = Worker::new(bus.log(), "billing").topics(["orders"]);
        let worker = worker.handle(move |delivery| {
            Ok(delivery.emit(&producer, Record::new(delivery.value().unwrap()))?)
        });
        bus.attach(worker).unwrap();
    };
    for options in [BusOptions::new(), BusOptions::new().delayed_visibility()] {
        let mut bus = options.max_turns(5_000).open().unwrap();
        feeding(&mut bus);
        let text = message_of(|| bus.settle());
        assert!(text.starts_with("workers do not come to rest within 5000 turns"), "{text}");
        assert!(text.contains("worker 0: Counts { handled: "), "{text}");
    }
    let mut bus = BusOptions::new().max_turns(5_000).open().unwrap();
    publish(&bus, "bad");
    let worker = Worker::new(bus.log(), "billing").topics(["orders"]);
    let retry = Retry::exponential(Duration::ZERO).any_attempts();
    bus.attach(worker.retry(retry).handle(|_| Err(Failure::retry("no answer")))).unwrap();
    let text = message_of(|| bus.settle());
    assert!(text.contains("orders/0@0: Retrying") && text.contains("no answer"), "{text}");
}

/// A worker of another bus would be driven here, and its own bus wait for it.
#[test]
fn a_worker_of_another_log_is_refused() {
    let mut bus = TestBus::new().unwrap();
    let other = TestBus::new().unwrap();
    publish(&other, "fine");
    let error = bus.attach(billing(other.log(), &Seen::default())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert_eq!(
        error.to_string(),
        "attach a worker: invalid configuration: it is a worker of another log"
    );
    assert!(other.log().group("billing").unwrap().members.is_empty(), "it has left at once");
    let error = bus.attach(billing(bus.log(), &Seen::default())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownTopic, "what is wrong with a worker is told");
}

/// A bus would wait for ever for a handler that waits for the test.
#[test]
fn a_future_that_waits_is_told_and_goes_on_when_it_is_woken() {
    let mut bus = TestBus::new().unwrap();
    publish(&bus, "1");
    let gate = Arc::new(Mutex::new((false, None::<Waker>)));
    let seen_by_handler = Arc::clone(&gate);
    let worker = Worker::new(bus.log(), "billing").topics(["orders"]);
    let worker = worker.handle_async(move |_| {
        let gate = Arc::clone(&seen_by_handler);
        std::future::poll_fn(move |context: &mut Context<'_>| {
            let (is_open, waker) = &mut *gate.lock();
            *waker = Some(context.waker().clone());
            if *is_open { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
    });
    bus.attach(worker).unwrap();
    for _ in 0..2 {
        let settled = bus.settle().unwrap();
        assert_eq!((settled.handled, settled.running), (0, 1));
    }
    let waker = {
        let mut gate = gate.lock();
        gate.0 = true;
        gate.1.take().unwrap()
    };
    waker.wake();
    let settled = bus.settle().unwrap();
    assert_eq!((settled.handled, settled.running), (1, 0));
}

/// Async handlers could not be tested on the runtime that they need.
#[test]
fn settling_in_a_task_waits_for_what_handlers_wait_for() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for options in [BusOptions::new(), BusOptions::new().delayed_visibility()] {
        runtime.block_on(async {
            let mut bus = options.open().unwrap();
            for number in 0..10 {
                publish(&bus, &number.to_string());
            }
            let producer = {
                bus.log().create_topic("done", TopicConfig::new()).unwrap();
                bus.log().producer("done").unwrap()
            };
            let worker = Worker::new(bus.log(), "billing").topics(["orders"]).threads(3);
            let worker = worker.handle_async(move |delivery| {
                let producer = producer.clone();
                // Only another task of the runtime can answer.
                let answer = tokio::spawn(async {
                    tokio::task::yield_now().await;
                    tokio::time::sleep(ms(1)).await;
                });
                async move {
                    answer.await?;
                    producer.submit(Record::new(delivery.value().unwrap())).await?;
                    Ok(())
                }
            });
            bus.attach(worker).unwrap();
            let settled = bus.settle_async().await.unwrap();
            assert_eq!((settled.handled, settled.running), (10, 0));
            bus.topic("done").assert_len(10);
            assert_eq!(bus.settle_async().await.unwrap(), Settled::default());
        });
    }
}

/// A handler that takes too long would be waited for, or never be tried again.
#[test]
fn a_handler_that_takes_too_long_is_given_up_by_the_clock_of_the_bus() {
    let mut bus = TestBus::new().unwrap();
    publish(&bus, "slow");
    let worker = Worker::new(bus.log(), "billing").topics(["orders"]);
    let worker = worker.retry(Retry::none()).handler_timeout(ms(500));
    bus.attach(worker.handle_async(|_| pending())).unwrap();
    let settled = bus.settle().unwrap();
    assert_eq!((settled.running, settled.sleeping_for), (1, Some(ms(500))));
    assert_eq!(bus.advance(ms(499)).unwrap().dead, 0);
    let settled = bus.advance(ms(1)).unwrap();
    assert_eq!((settled.running, settled.dead), (0, 1));
    bus.dead_letters().error_contains("500").assert_one();
}
