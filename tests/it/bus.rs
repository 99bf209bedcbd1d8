//! The test bus: that workers get time, and that what a test asks for happens, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use brooklet::testing::TestBus;
use brooklet::worker::{Delivery, Failure, ReadyWorker, Worker};
use brooklet::{Log, Record};
use parking_lot::Mutex;

mod crashing;
mod delayed;
mod failing;
mod many;
mod probing;
mod settling;
mod timing;

/// What handlers were given, in order.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn note(&self, delivery: &Delivery) -> String {
        let value = text(delivery);
        self.0.lock().push(value.clone());
        value
    }

    /// All since it was last asked.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.value().unwrap_or_default().to_vec()).unwrap()
}

/// A worker of `billing` that gives up what begins with `dead`, and tries `again …` once more.
fn billing(log: &Log, seen: &Seen) -> ReadyWorker {
    let seen = seen.clone();
    let worker = Worker::new(log, "billing").topics(["orders"]);
    worker.handle(move |delivery| {
        let value = seen.note(&delivery);
        match value.split(' ').next() {
            Some("dead") => Err(Failure::Dead("no such customer".into())),
            Some("again") if delivery.attempt() == 1 => Err(Failure::Retry("no answer".into())),
            _ => Ok(()),
        }
    })
}

/// A bus with these orders, and the worker.
fn bus_with(orders: &[&str], seen: &Seen) -> TestBus {
    let mut bus = TestBus::new().unwrap();
    for order in orders {
        publish(&bus, order);
    }
    bus.attach(billing(bus.log(), seen)).unwrap();
    bus
}

fn publish(bus: &TestBus, order: &str) {
    bus.publish("orders", Record::new(order)).unwrap();
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What a test would print that ends in `work`.
fn message_of<R>(work: impl FnOnce() -> R) -> String {
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    let Err(panic) = panic else { panic!("it should have failed") };
    panic.downcast_ref::<String>().expect("a text").clone()
}
