//! Testing a program that handles events: the production worker, without files, threads or patience.
//! The clock moves by hand, the disk fails when it is told to, and the power can be cut.

use std::time::Duration;

use brooklet::testing::{CrashPolicy, Fault, Step, TestBus};
use brooklet::worker::{Failure, ReadyWorker, Worker};
use brooklet::{Error, Log, Record, TopicConfig};

/// The program under test: it bills orders, and says so in a topic of its own.
fn billing(log: &Log) -> Result<[ReadyWorker; 1], Error> {
    log.ensure_topic("bills", TopicConfig::new())?;
    let bills = log.producer("bills")?;
    let worker = Worker::new(log, "billing").topics(["orders"]);
    Ok([worker.handle(move |delivery| {
        let order = String::from_utf8_lossy(delivery.value().unwrap_or_default()).into_owned();
        if order.contains("free") {
            return Err(Failure::Dead("nothing to bill".into()));
        }
        // The bank does not answer at once.
        if delivery.attempt() < 3 {
            return Err(Failure::Retry("no answer from the bank".into()));
        }
        Ok(delivery.emit(&bills, Record::new(&order))?)
    })])
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut bus = TestBus::new()?;
    bus.publish("orders", Record::new("one lamp"))?;
    bus.restart(billing)?;

    // Nothing happens that was not asked for, and the bus says what did.
    let settled = bus.settle()?;
    assert_eq!((settled.handled, settled.retried), (0, 1));
    let settled = bus.advance(Duration::from_secs(60))?;
    assert_eq!((settled.handled, settled.retried), (1, 1));
    bus.topic("bills").assert_values(["one lamp"]);

    // What cannot be billed is put aside, even if the disk is full at first.
    bus.fail(Step::DeadLetter).once(Fault::StorageFull)?;
    bus.publish("orders", Record::new("a free sample"))?;
    assert_eq!(bus.settle()?.dead, 0);
    assert_eq!(bus.advance(Duration::from_secs(60))?.dead, 1);
    bus.dead_letters().group("billing").error_contains("nothing to bill").assert_one();

    // A power cut in the middle of the retries: the order is billed after the restart, once.
    bus.publish("orders", Record::new("two chairs"))?;
    bus.settle()?;
    bus.crash(CrashPolicy::LoseAll);
    bus.restart(billing)?;
    bus.advance(Duration::from_secs(60))?;
    bus.topic("bills").assert_values(["one lamp", "two chairs"]);
    bus.group("billing").assert_caught_up();
    Ok(())
}
