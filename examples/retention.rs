//! Keeping less than everything: by size, by age, and by hand.
//! Whole segments go, oldest first; what is left keeps its offsets.

use std::time::Duration;

use brooklet::{ErrorKind, Log, Offset, Record, Retention, StartAt, TopicConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let log = Log::open(dir.path())?;
    let week = Duration::from_secs(7 * 24 * 3600);
    let retention = Retention::forever().max_bytes(8 * 1024).max_age(week);
    log.create_topic("logs", TopicConfig::new().segment_bytes(4096).retention(retention))?;
    let producer = log.producer("logs")?;
    let mut last = producer.send(Record::new("first line"))?;
    for _ in 0..500 {
        last = producer.send(Record::new("a line of a hundred bytes or so").key("host-1"))?;
    }
    let logs = last.topic_partition();

    // The log looks by itself every half minute; `maintain` does it now.
    log.maintain()?;
    let kept = log.offsets(logs)?.readable();
    assert!(Offset::ZERO < kept.start && kept.end == Offset::new(501));

    // What is gone is an error that says what is left, and never a silent jump.
    let gone = log.reader("logs").start_at(StartAt::Offset(Offset::ZERO)).open();
    let error = gone.err().ok_or("offset 0 was retained away")?;
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
    assert_eq!(error.valid_range(), Some(kept));

    // By hand, to the record.
    let start = log.trim(logs, last.offset())?;
    assert_eq!(start, last.offset());
    let left = log.reader("logs").stop_at_end().open()?.collect::<Result<Vec<_>, _>>()?;
    assert_eq!(left.len(), 1);
    log.close()?;
    Ok(())
}
