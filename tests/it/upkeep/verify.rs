//! Checks of a whole directory: what they find, and what they do not take for damage.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brooklet::testing::{CrashPolicy, SimDisk};
use brooklet::{
    Acks, FindingKind, Log, LogOptions, Record, SyncPolicy, TopicConfig, TopicPartition,
};

use super::backup::Stops;
use super::{at, open_at, verify_at};
use crate::damage::history::{History, Stop, TOPIC, journal_path};

fn kinds(disk: &SimDisk) -> Vec<FindingKind> {
    verify_at(disk, "log").findings.into_iter().map(|finding| finding.kind).collect()
}

/// A log that is whole would be called damaged, or a check would change what it looks at.
#[test]
fn a_whole_log_is_whole_however_its_session_ended() {
    for stop in Stop::ALL {
        let history = History::new(stop);
        let before = history.disk.snapshot();
        let found = verify_at(&history.disk, "log");
        assert!(found.is_whole() && found.findings.is_empty(), "{stop:?}: {found:?}");
        // One more stands in the other topic.
        assert_eq!(found.records, history.records.len() as u64 + 1, "{stop:?}");
        let segments = history.segments.len() as u64 + 1;
        assert_eq!(found.files, segments + 3, "{stop:?}");
        assert!(history.disk.snapshot() == before, "{stop:?}: the check changed something");
        let log = open_at(&history.disk, "log").unwrap();
        log.producer(TOPIC).unwrap().send(Record::new("one more")).unwrap();
        let found = log.verify().unwrap();
        assert!(found.is_whole(), "{stop:?}: {found:?}");
        assert_eq!(found.records, history.records.len() as u64 + 2, "{stop:?}");
    }
}

/// A missing file would pass unseen until somebody reads there.
#[test]
fn each_segment_deleted_in_turn_is_found_missing() {
    let history = History::new(Stop::Clean);
    for segment in &history.segments {
        let disk = history.disk.fork();
        disk.remove(&segment.path).unwrap();
        let found = verify_at(&disk, "log");
        let damage = found.damage().collect::<Vec<_>>();
        let [finding] = damage[..] else { panic!("{found:?}") };
        assert_eq!((finding.kind, &finding.path), (FindingKind::Missing, &segment.path));
        let offsets = finding.offsets.clone().unwrap();
        assert_eq!(offsets.start.value()..offsets.end.value(), segment.offsets());
        assert_eq!(finding.partition, Some(TopicPartition::new(TOPIC.parse().unwrap(), 0.into())));
    }
}

/// What can be made again from the frames would be called a loss, or its damage would go untold.
#[test]
fn a_damaged_head_or_footer_is_told_and_is_no_loss() {
    let history = History::new(Stop::Clean);
    let mut told = 0;
    for segment in &history.segments {
        let frames = &segment.parsed.frames;
        let (first, last) = (frames.first().unwrap(), frames.last().unwrap());
        let derived = (0..first.bytes.start).chain(last.bytes.end..segment.bytes.len());
        for byte in derived {
            let disk = history.disk.fork();
            disk.flip_bit(&segment.path, 8 * byte as u64 + 3).unwrap();
            let found = verify_at(&disk, "log");
            assert!(found.is_whole(), "byte {byte}: {found:?}");
            told += usize::from(kinds(&disk) == [FindingKind::Derived]);
        }
    }
    assert!(told > 100, "only {told} were told");
}

/// Topics that were made since would be forgotten, and their files be removed.
#[test]
fn an_older_catalog_in_the_place_of_the_last_one_is_a_contradiction() {
    let history = History::new(Stop::Clean);
    let disk = history.disk.fork();
    let path = journal_path(&disk, "catalog");
    let before = disk.read_file(&path).unwrap();
    let log = open_at(&disk, "log").unwrap();
    log.create_topic("later", TopicConfig::new()).unwrap();
    log.close().unwrap();
    let newer = journal_path(&disk, "catalog");
    disk.remove(&newer).unwrap();
    disk.write_file(&path, &before).unwrap();
    assert_eq!(kinds(&disk).first(), Some(&FindingKind::Contradiction));
    assert!(open_at(&disk, "log").is_err());
}

/// A commit that the next open lowers would come as a surprise.
#[test]
fn a_commit_behind_the_end_is_told() {
    let disk = SimDisk::new(3);
    let log = open_at(&disk, "log").unwrap();
    log.create_topic("clicks", TopicConfig::new().sync(SyncPolicy::Never)).unwrap();
    log.create_topic("orders", TopicConfig::new()).unwrap();
    log.producer("clicks").unwrap().send(Record::new("seen, and not synced")).unwrap();
    let mut consumer = log.consumer("billing").topics(["clicks"]).open().unwrap();
    assert_eq!(consumer.poll(Duration::ZERO).unwrap().len(), 1);
    consumer.commit().unwrap();
    // A durable commit of another topic takes this one along.
    log.producer("orders").unwrap().send(Record::new("durable")).unwrap();
    let mut other = log.consumer("shipping").topics(["orders"]).open().unwrap();
    assert_eq!(other.poll(Duration::ZERO).unwrap().len(), 1);
    other.commit().unwrap();
    let after = disk.crash(CrashPolicy::LoseAll, 1);
    assert_eq!(kinds(&after), [FindingKind::CommitAhead]);
    let log = open_at(&after, "log").unwrap();
    log.group("billing").unwrap();
    assert_eq!(log.recovery().lowered_commits.len(), 1);
    assert!(log.verify().unwrap().findings.is_empty());
}

/// Strangers' files and remains would be taken for damage, or nobody would hear of them.
#[test]
fn what_is_no_part_of_the_log_is_told_and_is_no_loss() {
    let disk = History::new(Stop::Clean).disk.fork();
    let put = |path: &str| disk.write_file(at(&disk, "log").join(path), b"a stranger").unwrap();
    put("notes.txt");
    put("catalog/notes.txt");
    put("topics/1/0/notes.txt");
    assert_eq!(kinds(&disk), [FindingKind::Unknown; 3]);
    let found = verify_at(&disk, "log");
    assert!(found.is_whole());
    assert!(found.findings.iter().all(|finding| finding.path.ends_with("notes.txt")));
}

/// Somebody at work would be called damage.
#[test]
fn a_check_beside_writers_that_roll_trim_and_delete_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions::new().check_interval(Duration::from_millis(2));
    let log = options.open(dir.path()).unwrap();
    let config = TopicConfig::new().segment_bytes(2048);
    log.create_topic("orders", config.clone()).unwrap();
    log.create_topic("clicks", config.clone().sync(SyncPolicy::Never)).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stops = Stops(&stop);
        for (topic, acks) in [("orders", Acks::Durable), ("clicks", Acks::Written)] {
            let (log, stop) = (&log, &stop);
            scope.spawn(move || {
                let producer = log.producer(topic).unwrap().acks(acks);
                while !stop.load(Ordering::Relaxed) {
                    let receipt = producer.send(Record::new(&"x".repeat(300))).unwrap();
                    if receipt.offset().value() % 50 == 49 {
                        log.trim(receipt.topic_partition(), receipt.offset()).unwrap();
                    }
                }
            });
        }
        let (log, stop, config) = (&log, &stop, &config);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                log.create_topic("passing", config.clone()).unwrap();
                log.producer("passing").unwrap().send(Record::new("soon gone")).unwrap();
                log.delete_topic("passing").unwrap();
            }
        });
        let mut records = 0;
        // As long as it takes for both sides to have done something.
        let mut round = 0;
        while round < 40 || log.stats().records() < 200 {
            let found = match round % 2 {
                0 => log.verify().unwrap(),
                _ => Log::verify_dir(dir.path()).unwrap(),
            };
            records += found.records;
            assert!(found.is_whole(), "round {round}: {:?}", found.damage().collect::<Vec<_>>());
            round += 1;
        }
        assert!(records > 0, "the checks saw no record");
    });
}
