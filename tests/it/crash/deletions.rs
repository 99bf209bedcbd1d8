//! What a deletion leaves behind is never taken for damage, however it went and whatever comes next.

use std::ops::Range;

use brooklet::partitioner::Fixed;
use brooklet::testing::{CrashPolicy, Fault, Op, Repeat, SimDisk, open, verify};
use brooklet::{
    Acks, Ensured, Error, ErrorKind, Log, LogOptions, PartitionId, Record, SyncPolicy, TopicConfig,
    TopicPartition,
};

use crate::pace::some;

fn opened(disk: &SimDisk) -> Result<Log, Error> {
    let options = LogOptions::new().manual_maintenance(true);
    open(&disk.env(), disk.root().join("log"), options)
}

fn count(log: &Log, topic: &str) -> usize {
    log.reader(topic).stop_at_end().open().unwrap().flatten().count()
}

/// A session in which a topic is about to be deleted.
///
/// Two partitions are durable and were not looked at. What the third one had in a listed segment is
/// gone with the power; this session has seen that, and written nothing of it yet.
fn about_to_delete() -> (SimDisk, Log) {
    let disk = SimDisk::new(41);
    let log = opened(&disk).unwrap();
    log.create_topic("kept", TopicConfig::new()).unwrap();
    log.producer("kept").unwrap().send(Record::new("kept")).unwrap();
    let config = TopicConfig::new().partitions(3).segment_bytes(1024).sync(SyncPolicy::Never);
    log.create_topic("gone", config).unwrap();
    let send = |partition: u32, acks| {
        let producer = log.producer("gone").unwrap().acks(acks);
        let producer = producer.partitioner(Fixed(PartitionId::new(partition)));
        producer.send(Record::new(&[7; 400])).unwrap();
    };
    (0..5).for_each(|_| send(0, Acks::Durable));
    (0..3).for_each(|_| send(1, Acks::Written));
    send(2, Acks::Durable);
    // It makes the rows durable that list the segments.
    log.create_topic("other", TopicConfig::new()).unwrap();
    drop(log);
    let disk = disk.crash(CrashPolicy::LoseAll, 1);
    let log = opened(&disk).unwrap();
    log.producer("kept").unwrap().send(Record::new("kept")).unwrap();
    let place = TopicPartition::new("gone".parse().unwrap(), 1.into());
    assert_eq!(log.offsets(&place).unwrap().end.value(), 0);
    (disk, log)
}

/// The operations of a deletion, and of the next one, when nothing fails.
fn rehearsal() -> (u64, u64) {
    let (disk, log) = about_to_delete();
    let before = disk.ops();
    log.delete_topic("gone").unwrap();
    let between = disk.ops();
    log.delete_topic("other").unwrap();
    assert!(between - before > 10 && disk.ops() - between > 2);
    (between - before, disk.ops() - between)
}

/// A session, with faults at such operations from now on; and how many operations there were.
fn failing(faults: Range<u64>) -> (SimDisk, Log, u64) {
    let (disk, log) = about_to_delete();
    let first = disk.ops();
    let is_hit = move |op: &Op| faults.contains(&(op.number - first));
    disk.fail_when(is_hit, Fault::Eio, Repeat::Forever);
    (disk, log, first)
}

/// Deletes with `faults` on the way, goes on without them, and loses power at a later operation.
fn cut_behind(faults: Range<u64>, cut: u64) -> (SimDisk, u64) {
    let (disk, log, _) = failing(faults);
    let _ = log.delete_topic("gone");
    let fired = disk.fired();
    disk.clear_faults();
    disk.power_off_at(disk.ops() + cut);
    let _ = log.delete_topic("other");
    (disk, fired)
}

/// The ways to lose power that leave torn writes.
fn tearing() -> impl Iterator<Item = (u64, CrashPolicy)> {
    use CrashPolicy::{GarbageTail, TornOp, ZeroedTail};
    (0..).zip([GarbageTail, ZeroedTail, TornOp].into_iter().cycle().take(6))
}

/// Looks at what is left; whether the catalog was torn.
fn check(disk: &SimDisk, what: &str) -> bool {
    let found = verify(&disk.env(), disk.root().join("log")).unwrap();
    assert!(found.is_whole(), "{what}: {found:?}");
    let log = opened(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(count(&log, "kept"), 2, "{what}");
    match log.topic("gone") {
        Ok(_) => assert!(count(&log, "gone") >= 6, "{what}: it is there with less in it"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::UnknownTopic, "{what}"),
    }
    log.recovery().torn_journals.contains(&"catalog")
}

/// The log could not be opened any more: segments without a topic look like a damaged catalog.
#[test]
fn a_torn_catalog_behind_a_deletion_is_a_torn_catalog() {
    let (_, next) = rehearsal();
    let mut were_torn = 0;
    for cut in 0..=next {
        for (seed, policy) in (0..).zip(CrashPolicy::ALL.iter().cycle().take(24)) {
            let (disk, _) = cut_behind(0..0, cut);
            let disk = disk.crash(*policy, seed);
            were_torn += usize::from(check(&disk, &format!("{policy:?} {seed} at {cut}")));
        }
    }
    assert!(were_torn > 0, "no catalog was torn");
}

/// The same, if what the deletion has left could not be taken back, or the deletion itself is in
/// doubt.
#[test]
fn a_torn_catalog_behind_a_deletion_that_failed_is_a_torn_catalog() {
    let (deletion, next) = rehearsal();
    let (mut were_torn, mut failed) = (0, 0);
    for first in some(0..deletion, 11) {
        for spell in [2, deletion] {
            // A journal that failed is written anew before anything else happens.
            for cut in 0..=2 * next {
                let (disk, fired) = cut_behind(first..first + spell, cut);
                failed += fired;
                for (seed, policy) in tearing() {
                    let what = format!("{policy:?} at {cut} behind {first} and {spell}");
                    were_torn += usize::from(check(&disk.crash(policy, seed), &what));
                }
            }
        }
    }
    assert!(failed > 0, "nothing failed");
    assert!(were_torn > 0, "no catalog was torn");
}

/// The same, if power is lost in the very deletion, while it gets over a failure.
#[test]
fn a_torn_catalog_within_a_deletion_that_met_a_failure_is_a_torn_catalog() {
    let (deletion, _) = rehearsal();
    let (mut were_torn, mut failed) = (0, 0);
    for first in some(0..deletion, 11) {
        for cut in first + 1..2 * deletion {
            let (disk, log, before) = failing(first..first + 1);
            disk.power_off_at(before + cut);
            let _ = log.delete_topic("gone");
            failed += disk.fired();
            for (seed, policy) in tearing() {
                let what = format!("{policy:?} at {cut} behind {first}");
                were_torn += usize::from(check(&disk.crash(policy, seed), &what));
            }
        }
    }
    assert!(failed > 0, "nothing failed");
    assert!(were_torn > 0, "no catalog was torn");
}

/// What an earlier deletion has left would keep a program from using the topics that are there.
#[test]
fn only_changes_wait_for_what_a_deletion_has_left() {
    let (disk, log) = about_to_delete();
    let manifest = disk.root().join("log/manifest");
    let fails = move |op: &Op| op.path.starts_with(&manifest);
    disk.fail_when(fails, Fault::Eio, Repeat::Forever);
    assert_eq!(log.delete_topic("gone").unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(log.topic("gone").unwrap_err().kind(), ErrorKind::UnknownTopic);
    assert_eq!(log.ensure_topic("kept", TopicConfig::new()).unwrap(), Ensured::Unchanged);
    assert_eq!(log.delete_topic("other").unwrap_err().kind(), ErrorKind::Io);
    assert!(log.topic("other").is_ok(), "nothing of it was changed");
    assert!(disk.fired() > 0);
    disk.clear_faults();
    log.delete_topic("other").unwrap();
    assert!(log.topic("other").is_err());
}
