//! What each ack costs and survives: the nine cells of the durability table, measured here and now.
//! The topic says when records are synced, the sender how long it waits.
#![expect(clippy::print_stdout, reason = "a program prints what it has measured")]
#![expect(clippy::disallowed_methods, reason = "a program may look at the clock")]

use std::time::{Duration, Instant};

use brooklet::{Acks, Log, Record, SyncPolicy, TopicConfig, TopicName, TopicPartition};

const SENDS: u32 = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let log = Log::open(dir.path())?;
    let policies = [
        ("always", SyncPolicy::Always),
        ("every", SyncPolicy::Every(Duration::from_millis(100))),
        ("never", SyncPolicy::Never),
    ];
    println!("{:<8} {:>12} {:>12} {:>12}", "", "None", "Written", "Durable");
    for (topic, policy) in policies {
        log.create_topic(topic, TopicConfig::new().sync(policy))?;
        let mut costs = Vec::new();
        for acks in [Acks::None, Acks::Written, Acks::Durable] {
            let producer = log.producer(topic)?.acks(acks);
            let start = Instant::now();
            for _ in 0..SENDS {
                producer.send(Record::new(&[7; 100]))?;
            }
            let cost = format!("{:.1?}", start.elapsed() / SENDS);
            costs.push(format!("{cost:>12}"));
        }
        println!("{topic:<8} {}", costs.join(" "));

        // The last sends waited for the disk: everything before them survives a power cut as well.
        let place = TopicPartition::new(TopicName::new(topic)?, 0.into());
        let offsets = log.offsets(&place)?;
        assert_eq!(offsets.durable_end.value(), u64::from(3 * SENDS));
    }
    log.close()?;
    Ok(())
}
