//! Dead letters: what cannot be handled is put aside, looked at, and handled again by its group.
//! Another group that reads the same records sees nothing of it.
#![expect(clippy::print_stdout, reason = "a program prints what it has found")]
#![expect(clippy::disallowed_methods, reason = "a program may look again a little later")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brooklet::dlq::{Filter, Letters, State};
use brooklet::testing::wait_for;
use brooklet::worker::{Delivery, Failure, Worker};
use brooklet::{Log, Record, TopicConfig};

const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let log = Log::open(dir.path())?;
    log.create_topic("orders", TopicConfig::new().partitions(3))?;
    log.create_topic("bills", TopicConfig::new())?;
    let (producer, bills) = (log.producer("orders")?, log.producer("bills")?);

    // Until somebody enters their prices, chairs cannot be billed.
    let has_chairs = Arc::new(AtomicBool::new(false));
    let prices = Arc::clone(&has_chairs);
    let worker = Worker::new(&log, "billing").topics(["orders"]);
    let running = worker.handle(move |delivery: Delivery| {
        let order = delivery.value().unwrap_or_default();
        if order.starts_with(b"chair") && !prices.load(Ordering::Relaxed) {
            return Err(Failure::Dead(format!("no price for {}", order.escape_ascii()).into()));
        }
        Ok(delivery.emit(&bills, Record::new(order))?)
    });
    let running = running.spawn()?;
    for order in ["lamp", "chair 17", "table", "chair 4", "shelf"] {
        producer.send(Record::new(order).key(order))?;
    }
    // Nobody waits for the chairs.
    assert!(wait_for(&log, "bills", 3, PATIENCE)?);
    let letters = Letters::of(&log);
    let waiting = Filter::new().group("billing").state(State::Waiting);
    while letters.count(&waiting)?.waiting < 2 {
        std::thread::sleep(Duration::from_millis(1));
    }

    // Why? Failures that differ in their numbers alone have one cause.
    for cause in letters.failure_groups(&waiting)? {
        println!("{} times: {}", cause.count, cause.sample.error());
        assert_eq!(cause.count, 2);
    }

    // The cause is mended, and billing gets them again.
    has_chairs.store(true, Ordering::Relaxed);
    assert_eq!(letters.redrive(&waiting).run()?.letters, 2);
    assert!(wait_for(&log, "bills", 5, PATIENCE)?);
    assert!(running.stop(PATIENCE).is_drained);
    assert_eq!(log.group("billing")?.lag(), 0);
    let counts = letters.count(&Filter::new())?;
    assert_eq!((counts.waiting, counts.redriven), (0, 2));
    log.close()?;
    Ok(())
}
