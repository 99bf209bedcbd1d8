//! Rolls that fail after they have left something.

use brooklet::testing::{CrashPolicy, Fault, Op, OpKind, Repeat, SimDisk, open};
use brooklet::{Acks, Error, Log, LogOptions, Record, TopicConfig, TopicPartition};

fn opened(disk: &SimDisk) -> Log {
    open(&disk.env(), disk.root().join("log"), LogOptions::new()).unwrap()
}

fn sent(log: &Log, count: usize) -> Result<u64, Error> {
    let producer = log.producer("t")?.acks(Acks::Durable);
    let value = [7; 200];
    for _ in 0..count {
        producer.send(Record::new(&value))?;
    }
    Ok(end(log))
}

fn end(log: &Log) -> u64 {
    let place = TopicPartition::new("t".parse().unwrap(), 0.into());
    log.offsets(&place).unwrap().durable_end.value()
}

fn started(disk: &SimDisk) -> Log {
    let log = opened(disk);
    log.create_topic("t", TopicConfig::new().segment_bytes(1024)).unwrap();
    sent(&log, 1).unwrap();
    log
}

fn is_segment(op: &Op) -> bool {
    op.path.extension().is_some_and(|extension| extension == "seg")
}

/// A row for a segment that was given up would end the one before it, and what came there be lost.
#[test]
fn a_roll_that_failed_though_its_row_was_written_ends_nothing() {
    let rehearsal = SimDisk::new(8);
    let log = started(&rehearsal);
    rehearsal.clear_log();
    let mut before = 0;
    while !rehearsal.log().iter().any(|op| op.kind == OpKind::CreateNew && is_segment(op)) {
        // The manifest knows all of it to be durable: the next segment begins at the mark.
        log.maintain().unwrap();
        rehearsal.clear_log();
        sent(&log, 1).unwrap();
        before += 1;
    }
    let ops = rehearsal.log();
    let made = ops.iter().position(|op| op.kind == OpKind::CreateNew && is_segment(op)).unwrap();
    let is_row = |op: &&Op| op.kind == OpKind::Write && !is_segment(op);
    let row = ops[made..].iter().find(is_row).unwrap().number;
    let mut went_on = 0;
    for policy in CrashPolicy::ALL {
        let disk = SimDisk::new(8);
        let log = started(&disk);
        for _ in 1..before {
            log.maintain().unwrap();
            sent(&log, 1).unwrap();
        }
        log.maintain().unwrap();
        // All attempts to write the row, the one in a new file as well.
        let is_manifest = |op: &Op| op.path.starts_with("/sim/log/manifest");
        let is_row = move |op: &Op| op.number >= row && op.kind == OpKind::Write && is_manifest(op);
        disk.fail_when(is_row, Fault::UnconfirmedWrite, Repeat::Forever);
        let mut told = end(&log);
        for _ in 0..2 {
            if let Ok(end) = sent(&log, 1) {
                told = end;
                went_on += 1;
            }
        }
        assert!(disk.fired() > 0, "no row was written");
        let log = opened(&disk.crash(*policy, 1));
        assert!(end(&log) >= told, "{policy:?}: {} of {told}", end(&log));
        let read = log.reader("t").stop_at_end().open().unwrap().filter(Result::is_ok).count();
        assert_eq!(read as u64, end(&log), "{policy:?}");
    }
    assert!(went_on > 0, "nothing was sent behind the failed roll");
}
