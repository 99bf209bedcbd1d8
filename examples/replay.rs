//! Replay: from the beginning, from an offset, from a time, and onward as records arrive.
//! Reading moves nobody's position: every reader and every group has its own.

use std::thread;
use std::time::Duration;

use brooklet::{Log, Offset, Record, StartAt, Timestamp, TopicConfig};

/// When the sensor measured for the first time.
const NOON: i64 = 1_517_400_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let log = Log::open(dir.path())?;
    log.create_topic("degrees", TopicConfig::new())?;
    let producer = log.producer("degrees")?;
    for minute in 0..60_i64 {
        let time = Timestamp::from_millis(NOON + minute * 60_000);
        producer.send(Record::new(&(20 + minute / 10).to_string()).timestamp(time))?;
    }

    let count = |start| -> Result<usize, brooklet::Error> {
        let reader = log.reader("degrees").start_at(start).stop_at_end().open()?;
        Ok(reader.collect::<Result<Vec<_>, _>>()?.len())
    };
    assert_eq!(count(StartAt::Earliest)?, 60);
    assert_eq!(count(StartAt::Offset(Offset::new(45)))?, 15);
    assert_eq!(count(StartAt::Timestamp(Timestamp::from_millis(NOON + 30 * 60_000)))?, 30);

    // A group begins at a time as well, and keeps its own position from then on.
    let half_past = StartAt::Timestamp(Timestamp::from_millis(NOON + 30 * 60_000));
    let mut audit = log.consumer("audit").topics(["degrees"]).start_at(half_past).open()?;
    assert_eq!(audit.poll(Duration::ZERO)?.len(), 30);
    audit.commit()?;
    audit.leave()?;

    // Without `stop_at_end` a reader waits at the end, and is woken when there is more.
    let mut follower = log.reader("degrees").start_at(StartAt::Latest).open()?;
    let sender = thread::Builder::new().spawn(move || producer.send(Record::new("31")))?;
    let next = follower.next().ok_or("a reader that follows has no end")??;
    assert_eq!(next.value(), Some(&b"31"[..]));

    let receipt = sender.join().map_err(|_| "the sender panicked")??;
    assert_eq!(receipt.offset(), next.offset());
    log.close()?;
    Ok(())
}
