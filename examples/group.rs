//! Two members of a group share a topic; one leaves, and the other goes on where it stopped.
//! A group remembers how far it is: what is committed is not read again, after a restart either.

use std::time::Duration;

use brooklet::{Consumer, Log, Record, TopicConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let log = Log::open(dir.path())?;
    log.create_topic("orders", TopicConfig::new().partitions(4))?;
    let producer = log.producer("orders")?;
    for number in 0..100 {
        let key = format!("customer-{}", number % 10);
        producer.send(Record::new("created").key(&key))?;
    }

    let mut first = log.consumer("billing").topics(["orders"]).open()?;
    let mut second = log.consumer("billing").topics(["orders"]).open()?;
    let handled = handle(&mut first)? + handle(&mut second)?;
    assert_eq!(handled, 100, "each record goes to one of the two");
    assert_eq!((first.assignment().len(), second.assignment().len()), (2, 2));

    // What a member has not committed when it goes is read by those who stay.
    second.leave()?;
    producer.send(Record::new("paid").key("customer-3"))?;
    assert_eq!(handle(&mut first)?, 1);
    assert_eq!(first.assignment().len(), 4);

    // Another group reads everything for itself.
    let mut shipping = log.consumer("shipping").topics(["orders"]).open()?;
    assert_eq!(handle(&mut shipping)?, 101);
    log.close()?;

    let log = Log::open(dir.path())?;
    assert_eq!(log.group("billing")?.lag(), 0, "the group's positions are in the directory");
    Ok(())
}

/// Handles everything that is there: poll, handle, commit, and again.
fn handle(consumer: &mut Consumer) -> Result<usize, brooklet::Error> {
    let mut handled = 0;
    loop {
        let batch = consumer.poll(Duration::ZERO)?;
        if batch.is_empty() {
            return Ok(handled);
        }
        handled += batch.iter().count();
        consumer.commit()?;
    }
}
