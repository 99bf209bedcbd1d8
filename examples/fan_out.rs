//! Modules of one program talk through a topic: every module gets every event, each at its own pace.
//! Nothing is synced: the events outlive the modules and the process, not a power cut.
#![expect(clippy::disallowed_methods, reason = "a program may start threads")]

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use brooklet::{Log, Record, SyncPolicy, TopicConfig};

const EVENTS: usize = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let log = Log::open(dir.path())?;
    log.create_topic("events", TopicConfig::new().sync(SyncPolicy::Never))?;

    // A group for each module: none takes anything from the others.
    let modules = ["audit", "mail", "search"].map(|module| {
        let consumer = log.consumer(module).topics(["events"]).open();
        (module, thread::spawn(move || listen(consumer?)))
    });

    let producer = log.producer("events")?;
    for number in 0..EVENTS {
        let user = format!("user-{}", number % 7);
        producer.send(Record::new("signed in").key(&user))?;
    }

    for (module, thread) in modules {
        let seen = thread.join().map_err(|_| format!("{module} has panicked"))??;
        assert_eq!(seen.values().sum::<usize>(), EVENTS, "{module} has seen them all");
        assert_eq!(seen.len(), 7);
    }
    log.close()?;
    Ok(())
}

/// Counts the events of each user; parked, not polling in circles, while there are none.
fn listen(
    mut consumer: brooklet::Consumer,
) -> Result<BTreeMap<Option<Vec<u8>>, usize>, brooklet::Error> {
    let mut seen = BTreeMap::new();
    while seen.values().sum::<usize>() < EVENTS {
        for record in &consumer.poll(Duration::from_secs(1))? {
            *seen.entry(record.key().map(Vec::from)).or_default() += 1;
        }
        consumer.commit()?;
    }
    Ok(seen)
}
