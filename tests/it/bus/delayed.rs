//! Late visibility: code that takes for granted what a disk does not promise fails in its test.

use brooklet::testing::{BusOptions, TestBus};
use brooklet::worker::{Failure, Worker};
use brooklet::{Acks, Error, Log, Record, TopicConfig};

use super::{Seen, billing, publish};

fn both() -> [TestBus; 2] {
    [BusOptions::new(), BusOptions::new().delayed_visibility()].map(|options| {
        let bus = options.open().unwrap();
        publish(&bus, "old");
        bus
    })
}

/// How many orders there are, once one more was sent.
type CountOneMore = fn(&Log) -> Result<usize, Error>;

/// Sends without waiting, and takes for granted that everybody sees it.
fn wrong(log: &Log) -> Result<usize, Error> {
    log.producer("orders")?.acks(Acks::None).send(Record::new("new"))?;
    Ok(log.reader("orders").stop_at_end().open()?.count())
}

/// The same, by a submission that is forgotten.
fn also_wrong(log: &Log) -> Result<usize, Error> {
    drop(log.producer("orders")?.submit(Record::new("new")));
    Ok(log.reader("orders").stop_at_end().open()?.count())
}

/// Waits for what it needs.
fn right(log: &Log) -> Result<usize, Error> {
    log.producer("orders")?.send(Record::new("new"))?;
    Ok(log.reader("orders").stop_at_end().open()?.count())
}

/// Code that loses a race on every real disk would pass its tests.
#[test]
fn code_that_reads_what_it_did_not_wait_for_fails_under_delay_alone() {
    let cases: [(CountOneMore, usize); 3] = [(wrong, 1), (also_wrong, 1), (right, 2)];
    for (code, under_delay) in cases {
        let [inline, mut delayed] = both();
        assert_eq!(code(inline.log()).unwrap(), 2);
        assert_eq!(code(delayed.log()).unwrap(), under_delay);
        // Late, but not lost.
        delayed.settle().unwrap();
        delayed.topic("orders").assert_values(["old", "new"]);
    }
}

/// A handler that reads what it has just sent would pass its test, and fail in service.
#[test]
fn a_handler_cannot_see_what_it_emits() {
    for (mut bus, is_delayed) in both().into_iter().zip([false, true]) {
        bus.log().create_topic("totals", TopicConfig::new()).unwrap();
        let log = bus.log().clone();
        let worker = Worker::new(bus.log(), "billing").topics(["orders"]);
        bus.attach(worker.handle(move |delivery| {
            let producer = log.producer("totals")?;
            let before = log.reader("totals").stop_at_end().open()?.count();
            delivery.emit(&producer, Record::new("1"))?;
            let after = log.reader("totals").stop_at_end().open()?.count();
            // A handler that counts on it gives its record up.
            if after > before { Ok(()) } else { Err(Failure::dead("it is not there")) }
        }))
        .unwrap();
        let settled = bus.settle().unwrap();
        assert_eq!((settled.handled, settled.dead), if is_delayed { (0, 1) } else { (1, 0) });
        bus.topic("totals").assert_len(1);
    }
}

/// Under delay nothing would ever come to an end, or records be handled before they are visible.
#[test]
fn what_was_late_is_handled_before_the_bus_has_settled() {
    let [_, mut bus] = both();
    let seen = Seen::default();
    bus.attach(billing(bus.log(), &seen)).unwrap();
    let forwarding = bus.log().producer("orders").unwrap();
    bus.log().create_topic("inbox", TopicConfig::new().partitions(2)).unwrap();
    let worker = Worker::new(bus.log(), "forward").topics(["inbox"]);
    let worker = worker.handle_async(move |delivery| {
        let forwarding = forwarding.clone();
        async move {
            forwarding.submit(Record::new(delivery.value().unwrap_or_default())).await?;
            Ok(())
        }
    });
    bus.attach(worker).unwrap();
    let producer = bus.log().producer("inbox").unwrap();
    let pending = (0..20).map(|number| {
        let key = number.to_string();
        producer.submit(Record::new(&key).key(&key))
    });
    let pending = pending.collect::<Vec<_>>();
    bus.topic("inbox").assert_empty();
    let settled = bus.settle().unwrap();
    assert_eq!((settled.handled, settled.running), (41, 0));
    assert!(pending.into_iter().all(|mut sent| sent.try_wait().is_some_and(|it| it.is_ok())));
    assert_eq!(seen.take().len(), 21);
    bus.group("billing").assert_caught_up();
}
