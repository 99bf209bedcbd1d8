//! What recovery leaves behind: nothing but the log, whatever it met and however often it began.

use std::collections::BTreeSet;

use brooklet::testing::{CrashPolicy, Fault, OpKind, Repeat, SimDisk, open, verify};
use brooklet::{Acks, Error, ErrorKind, Log, LogOptions, Record, TopicConfig, TopicPartition};

fn place() -> TopicPartition {
    TopicPartition::new("t".parse().unwrap(), 0.into())
}

fn opened(disk: &SimDisk) -> Result<Log, Error> {
    let options = LogOptions::new().manual_maintenance(true);
    let log = open(&disk.env(), disk.root().join("log"), options)?;
    log.offsets(&place())?;
    Ok(log)
}

/// Three segments, of which the last one was synced up to the record before the last one.
fn left() -> SimDisk {
    let disk = SimDisk::new(21);
    let options = LogOptions::new().manual_maintenance(true);
    let log = open(&disk.env(), disk.root().join("log"), options).unwrap();
    log.create_topic("t", TopicConfig::new().segment_bytes(1024)).unwrap();
    let producer = log.producer("t").unwrap();
    let send = |number: u8| producer.send(Record::new(&[number; 200])).unwrap();
    (0..10).for_each(|number| _ = send(number));
    producer.acks(Acks::Written).send(Record::new(&[10; 200])).unwrap();
    drop(log);
    disk.crash(CrashPolicy::KeepAll, 1)
}

/// The segment files of the partition: base offset and salt, as their names have them.
fn segments(disk: &SimDisk) -> BTreeSet<String> {
    let files = disk.files().into_iter().filter(|path| path.extension() == Some("seg".as_ref()));
    files.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

/// Copies and empty files of one interrupted recovery would pile up, or be taken for something.
#[test]
fn a_recovery_that_was_interrupted_leaves_nothing_behind_the_next_one() {
    let rehearsal = left();
    drop(opened(&rehearsal).unwrap());
    let mut gone = 0;
    for at in 0..rehearsal.ops() {
        for policy in [CrashPolicy::KeepAll, CrashPolicy::LoseAll, CrashPolicy::PrefixPerFile] {
            let disk = left();
            disk.power_off_at(at);
            let _ = opened(&disk);
            let disk = disk.crash(policy, at);
            let before = segments(&disk);
            let log = opened(&disk).unwrap();
            assert!(log.offsets(&place()).unwrap().end.value() >= 10, "{policy:?} at {at}");
            let told = log.recovery().partitions;
            assert!(
                told.iter().all(|found| found.aside.is_empty()),
                "{policy:?} at {at}: {told:?}"
            );
            log.maintain().unwrap();
            gone += before.difference(&segments(&disk)).count();
            drop(log);
            let found = verify(&disk.env(), disk.root().join("log")).unwrap();
            assert!(found.findings.is_empty(), "{policy:?} at {at}: {found:?}");
        }
    }
    assert!(gone > 0, "no recovery left a file to be removed");
}

/// More would be written anew than is in doubt.
#[test]
fn what_is_known_to_be_durable_is_not_copied() {
    let disk = left();
    let before = segments(&disk);
    drop(opened(&disk).unwrap());
    let after = segments(&disk);
    let made = after.difference(&before).collect::<Vec<_>>();
    assert_eq!(made.len(), 1, "{made:?}");
    // The last frame says that the ten records before it are durable.
    assert!(made[0].starts_with("00000000000000000010-"), "{made:?}");
    let found = verify(&disk.env(), disk.root().join("log")).unwrap();
    assert!(found.findings.is_empty(), "{found:?}");
    assert_eq!(found.records, 11);
}

/// A file that cannot be read at this moment would be given up for lost.
#[test]
fn what_the_system_refuses_is_no_damage() {
    for kind in [OpKind::Open, OpKind::ReadDir, OpKind::Read, OpKind::Len] {
        let disk = left();
        let topics = disk.root().join("log/topics/1/0");
        let is_there =
            move |op: &brooklet::testing::Op| op.kind == kind && op.path.starts_with(&topics);
        disk.fail_when(is_there, Fault::Eio, Repeat::Once);
        let options = LogOptions::new().manual_maintenance(true);
        let log = open(&disk.env(), disk.root().join("log"), options).unwrap();
        let refused = log.offsets(&place());
        assert_eq!(disk.fired(), 1, "{kind:?} did not fail");
        assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::Io), "{kind:?}");
        assert_eq!(log.offsets(&place()).unwrap().end.value(), 11, "{kind:?}");
        let told = log.recovery().partitions;
        assert!(told.iter().all(|found| found.damage.is_none()), "{kind:?}: {told:?}");
        assert_eq!(log.reader("t").stop_at_end().open().unwrap().flatten().count(), 11);
    }
}

/// A file that carries a segment's name would one day become part of the log, or pass unsaid.
#[test]
fn strange_segments_are_set_aside_where_they_could_continue_the_log() {
    let disk = left();
    let log = opened(&disk).unwrap();
    log.trim(&place(), 5.into()).unwrap();
    drop(log);
    let dir = disk.root().join("log/topics/1/0");
    let [below, within] =
        ["00000000000000000002-deadbeef.seg", "00000000000000000006-deadbeef.seg"]
            .map(|name| dir.join(name));
    for path in [&below, &within] {
        disk.write_file(path, &[7; 300]).unwrap();
    }
    let disk = disk.crash(CrashPolicy::KeepAll, 2);
    let log = opened(&disk).unwrap();
    let told = log.recovery().partitions;
    let aside = told.iter().flat_map(|found| &found.aside).collect::<Vec<_>>();
    let unknown = told.iter().flat_map(|found| &found.unknown_files).collect::<Vec<_>>();
    assert_eq!((aside, unknown), (vec![&within], vec![&below]), "{told:?}");
    log.maintain().unwrap();
    assert_eq!(log.reader("t").stop_at_end().open().unwrap().flatten().count(), 6);
    for path in [&below, &within] {
        assert_eq!(disk.read_file(path).unwrap(), [7; 300], "{}", path.display());
    }
}
