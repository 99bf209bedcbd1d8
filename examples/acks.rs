//! How long a sender waits, and what that gives it: nothing, the process's death, a power cut.
//! The topic decides when records are synced; the acks only say who waits for it.

use brooklet::{Acks, Log, Record, SyncPolicy, TopicConfig, TopicName, TopicPartition};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let log = Log::open(dir.path())?;
    log.create_topic("clicks", TopicConfig::new().sync(SyncPolicy::Never))?;
    let clicks = TopicPartition::new(TopicName::new("clicks")?, 0.into());
    let producer = log.producer("clicks")?;

    // Accepted in memory. Whoever can lose a record does not wait for it.
    producer.clone().acks(Acks::None).send(Record::new("one"))?;

    // In the file: kill the process and it is there. This is the default on this topic.
    producer.clone().acks(Acks::Written).send(Record::new("two"))?;
    let offsets = log.offsets(&clicks)?;
    assert_eq!(offsets.written_end.value(), 2);
    assert_eq!(offsets.durable_end.value(), 0, "nobody has asked for a sync");

    // Synced: cut the power and it is there, and with it everything before it.
    producer.clone().acks(Acks::Durable).send(Record::new("three"))?;
    assert_eq!(log.offsets(&clicks)?.durable_end.value(), 3);

    // On a topic that syncs always, the default is to wait for that.
    log.create_topic("payments", TopicConfig::new())?;
    let receipt = log.producer("payments")?.send(Record::new("42.00 EUR").key("alice"))?;
    let durable_end = log.offsets(receipt.topic_partition())?.durable_end;
    assert!(durable_end > receipt.offset());
    log.close()?;
    Ok(())
}
