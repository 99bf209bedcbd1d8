//! Handlers of values that are JSON.

use std::sync::Arc;

use brooklet::dlq::{Filter, Letters};
use brooklet::worker::{Delivery, Failure, Worker};
use brooklet::{Record, TopicConfig};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Bench;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
}

/// A value that nobody can read would be tried again for ever, or change on its way to the letter.
#[test]
fn what_cannot_be_read_is_given_up_at_once_with_its_bytes() {
    let mut bench = Bench::with("orders", TopicConfig::new());
    let producer = bench.log.producer("orders").unwrap();
    let broken = b"{\"id\":\xff";
    let first = Record::json(&Order { id: 7 }).unwrap();
    for record in [first, Record::new(broken), Record::without_value()] {
        producer.send(record).unwrap();
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handler = {
        let seen = Arc::clone(&seen);
        move |delivery: Delivery| -> Result<(), Failure> {
            let order = delivery.json::<Order>()?;
            seen.lock().push(order);
            Ok(())
        }
    };
    bench.attach(Worker::new(&bench.log, "billing").topics(["orders"]).handle(handler));
    assert_eq!(*seen.lock(), [Order { id: 7 }]);
    let letters = Letters::of(&bench.log).list(&Filter::new()).unwrap();
    let values = letters.iter().map(|letter| letter.value()).collect::<Vec<_>>();
    assert_eq!(values, [Some(&broken[..]), None]);
    assert!(letters.iter().all(|letter| letter.attempts() == 1));
}
