//! A test of event-driven code: the log in memory stands in for the one on disk.
//! It runs the same code without a file, a thread, a sleep or a container.

use brooklet::{Log, Record, StoredRecord, TopicConfig};

/// The code under test: it knows a log, not where the log is kept.
struct Checkout {
    log: Log,
}

impl Checkout {
    fn new(log: Log) -> Result<Self, brooklet::Error> {
        log.ensure_topic("orders", TopicConfig::new().partitions(3))?;
        log.ensure_topic("mails", TopicConfig::new())?;
        Ok(Self { log })
    }

    fn place(&self, order: &str) -> Result<(), brooklet::Error> {
        self.log.producer("orders")?.send(Record::new("placed").key(order))?;
        Ok(())
    }

    /// Writes one mail for each order.
    fn send_mails(&self) -> Result<(), brooklet::Error> {
        let mails = self.log.producer("mails")?;
        for order in self.log.reader("orders").stop_at_end().open()? {
            let order = order?;
            let key = order.key().unwrap_or_default();
            mails.send(Record::new("thank you").key(key).header("template", "v2"))?;
        }
        Ok(())
    }
}

fn main() -> Result<(), brooklet::Error> {
    let log = Log::in_memory()?;
    let checkout = Checkout::new(log.clone())?;
    checkout.place("order-1")?;
    checkout.place("order-2")?;
    checkout.send_mails()?;

    let mails = log.reader("mails").stop_at_end().open()?;
    let mails = mails.collect::<Result<Vec<StoredRecord>, _>>()?;
    let mut keys = mails.iter().filter_map(StoredRecord::key).collect::<Vec<_>>();
    keys.sort_unstable();
    assert_eq!(keys, [b"order-1", b"order-2"]);
    Ok(())
}
